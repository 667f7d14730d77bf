"""Mutes, acknowledgements and windows as stories: what was found, what was heard."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from msgspec.structs import replace

from lib.core import silences
from lib.core.enums import Decision
from lib.core.enums import JobFailureNotificationFrequency as Every
from lib.core.enums import JobFrequency, MessageKind, Severity, Status
from lib.core.jobs import FailureRule, FlappingRule, Job, JobKey, Policy
from lib.core.messages import KIND_OF, Message
from lib.core.policy import advance, decide, severity_of
from lib.core.records import Acknowledgement, Record
from lib.core.results import CheckResult, JobReport
from lib.core.silences import (
    MAX_MUTE,
    MAX_MUTES,
    Acknowledge,
    Mute,
    Scope,
    Silences,
    Unmute,
    Window,
    has_ended,
    in_force,
    with_acknowledgement,
    with_request,
)

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ONE_O_CLOCK = NOON + timedelta(hours=1)
KEY = JobKey("HTTPServerChecker", "http shop")
SHOP = Scope(("http shop",))
FOUND = {
    "S": Status.OK,
    "F": Status.FAILING,
    "U": Status.UNKNOWN,
    "W": Status.WARNING,
    "P": Status.PENDING,
}
HEARD = {
    (MessageKind.ALERT, Severity.CRITICAL): "A",
    (MessageKind.REMINDER, Severity.CRITICAL): "A",
    (MessageKind.RECOVERY, Severity.CRITICAL): "R",
    (MessageKind.ALERT, Severity.WARNING): "w",
    (MessageKind.RECOVERY, Severity.WARNING): "r",
}


def mute(until=ONE_O_CLOCK, scope=SHOP, at=NOON, mute_id="a", **more):
    return Mute(mute_id, at, scope, "ann", until=until, **more)


def unmute(scope=SHOP, at=NOON):
    return Unmute("u", at, scope, "ann")


def acknowledge(at=NOON, scope=SHOP, request_id="k"):
    return Acknowledge(request_id, at, scope, "ann", "disk is on its way")


def tell(runs, orders="", every=Every.ONSTATECHANGE, **policy):
    """Return what was heard in each run, of what was found; see ``told``."""
    return told(runs, orders, every, **policy)[0]


def told(runs, orders="", every=Every.ONSTATECHANGE, **policy):
    """Return what was heard in each run, of what was found, and the record after it.

    ``orders`` has a letter for each run: M, a mute is in force; W, a maintenance window
    is open; K, the job was acknowledged before that run; u, that was taken back.
    """
    record, heard = Record(KEY, "http shop"), ""
    rule = Policy(every, **policy)
    job = Job(KEY, "http shop", "http.py", JobFrequency.MINUTE, rule)
    held_by = {"M": Decision.MUTED, "W": Decision.MAINTENANCE}
    for number, letter in enumerate(runs):
        now, order = NOON + number * MINUTE, orders[number : number + 1]
        before = now - MINUTE / 2
        if order == "K":
            request = acknowledge(before)
            record = with_acknowledgement(record, "http shop", (), request)
        if order == "u":
            record = with_acknowledgement(record, "http shop", (), unmute(at=before))
        result = CheckResult(FOUND[letter], "why")
        decision = decide(record, result, rule, now, held_by.get(order))
        messages = ()
        if decision.notifies:
            kind, severity = KIND_OF[decision], severity_of(record, result)
            text = ("subject", "body", ("ops@example.com",), now)
            messages = (Message(f"{number:032x}", kind, *text, severity=severity),)
        record = advance(record, JobReport(job, result, decision, messages), now)
        heard += "".join(HEARD[one.kind, one.severity] for one in messages) or "."
    return heard, record


@pytest.mark.parametrize(
    ("runs", "orders", "heard"),
    [
        # A failure that begins and ends in silence is none of anybody's business.
        ("SFFS", " MMM", "...."),
        ("SFFS", " MM ", "...."),
        # One that lasts longer gives a first alert when the mute ends.
        ("SFFFS", " MM  ", "...AR"),
        ("SFFFS", " WW  ", "...AR"),
        # Also if people were notified before: they see that it lasts.
        ("SFFFFS", "  MM  ", ".A..AR"),
        # Whoever was notified gets the recovery, silence or not.
        ("SFFS", "  MM", ".A.R"),
        ("SFFSF", "  WWW", ".A.R."),
        ("SFFSFF", "  WWW ", ".A.R.A"),
        # What is no failure yet, and what is under way, is not held back.
        ("FPFS", "MMM ", "...."),
        # A mute that ends within a window: the window holds on.
        ("FFFF", "MWW ", "...A"),
        # Unknown is failing.
        ("UUU", "MM ", "..A"),
        ("UFF", " M ", "A.A"),
        # A warning is notified once; a mute that ends is no news of it.
        ("WWW", "MM ", "..w"),
        ("WWWS", " M  ", "w..r"),
        ("WWFFS", " MM  ", "w..AR"),
        ("FWW", "MM ", "..w"),
        ("FFWW", " MM ", "A.R."),
    ],
)
def test_a_mute_or_a_window(runs, orders, heard):
    assert tell(runs, orders) == heard


@pytest.mark.parametrize(
    ("runs", "orders", "heard"),
    [
        # No reminder until it is over; the recovery is for who was notified.
        ("FFFFS", " K   ", "A...R"),
        # The next failure is another one.
        ("FFSF", " K  ", "A.RA"),
        # Taken back while it is failing: a first alert.
        ("FFFF", " K u", "A..A"),
        # Worse than what was acknowledged.
        ("WWF", " K ", "w.A"),
        ("UUF", " K ", "A.A"),
        # No worse.
        ("FFUF", " K  ", "A..."),
        # Over, or only a warning by now: that is a recovery.
        ("FFWF", " K  ", "A.RA"),
        # There is nothing to acknowledge.
        ("SSF", " K ", "..A"),
        # Acknowledged in silence, before anybody was notified.
        ("FFFS", "MK  ", "...."),
        # The mute ends, the acknowledgement holds on.
        ("FFFFS", " KM  ", "A...R"),
    ],
)
def test_an_acknowledgement(runs, orders, heard):
    assert tell(runs, orders, every=Every.EVERYTIME) == heard


@pytest.mark.parametrize(
    ("runs", "orders", "minute"),
    [
        ("FFF", "", 0),
        # Unknown, then failing: another alert, of the same trouble.
        ("UFF", "", 0),
        ("FFFFF", " MM  ", 3),
        ("FFFF", " WWW", 0),
        ("FFFFF", " K u ", 3),
        # Worse than what was acknowledged.
        ("UUFF", " K  ", 2),
    ],
)
def test_an_escalation_counts_from_the_alert_at_the_end_of_a_silence(
    runs, orders, minute
):
    assert told(runs, orders)[1].alerted_at == NOON + minute * MINUTE


def test_where_there_are_reminders_silence_has_an_end_all_the_same():
    # Without a mute nobody gets a recovery here: that no reminder comes says it.
    assert tell("FFS", every=Every.EVERYTIME) == "AA."
    assert tell("FFS", " MM", every=Every.EVERYTIME) == "A.R"
    assert tell("FFFS", " M  ", every=Every.EVERYTIME) == "A.A."
    assert tell("FFS", " K ", every=Every.EVERYTIME) == "A.R"


def test_failures_count_on_in_silence():
    assert tell("FFFF", "MM  ", failures=FailureRule(3)) == "..A."
    assert tell("FFFF", "MMM ", failures=FailureRule(3)) == "...A"
    assert tell("FFSSS", " M   ", recoveries=2) == "A..R."


def test_in_silence_a_job_does_not_begin_to_flap():
    rule = FlappingRule(4, 20)
    # The fourth change would say it, at a result that is OK.
    assert tell("FSFS", flapping=rule) == "ARAA"
    assert tell("FSFS", "  MM", flapping=rule) == "AR.."
    # Whoever was notified gets the recovery.
    assert tell("FSFS", "   M", flapping=rule) == "ARAR"
    assert tell("FSFSF", "   M ", flapping=rule) == "ARARA"
    # At a failure it is held back as any other.
    assert tell("FSFSF", "    M", flapping=FlappingRule(5, 20)) == "ARAR."


@pytest.mark.parametrize(
    ("runs", "orders", "heard"),
    [
        # It flaps from the fourth change on, and was told so at the last A but one.
        ("SFSFSFF", "     M ", ".ARAA.A"),
        ("SFSFSFF", "     W ", ".ARAA.A"),
        ("SFSFSFFF", "      Ku", ".ARAA..A"),
        ("SFSFSUUF", "      K ", ".ARAA..A"),
        # One alert, and it flaps on.
        ("SFSFSFFSF", "     M   ", ".ARAA.A.."),
        # What is OK when the silence ends, or was when it did, is no such thing.
        ("SFSFSFSF", "     M  ", ".ARAA..."),
        ("SFSFSFSF", "     MM ", ".ARAA..."),
        ("SFSFSFSF", "     MMM", ".ARAA..."),
        # Reminders are held back, and the alert comes for all that.
        ("SFSFSFFSF", "", ".ARAA...."),
    ],
)
def test_flapping_in_silence_gives_a_first_alert_if_it_is_failing_at_the_end(
    runs, orders, heard
):
    assert tell(runs, orders, flapping=FlappingRule(4, 20)) == heard


def test_flapping_goes_on_after_the_alert_at_the_end_of_a_mute():
    rule = FlappingRule(4, 20)
    runs, orders = "SFSFSFF" + "F" * 12, "     M"
    steady = ".ARAA.A" + "." * 8 + "A" + "..."
    assert tell(runs, orders, flapping=rule) == steady


# Which jobs are meant.


@pytest.mark.parametrize(
    ("scope", "is_meant"),
    [
        (Scope(("http shop",)), True),
        (Scope(("http *",)), True),
        (Scope(("HTTPServerChecker",)), True),
        (Scope(("HTTPServerChecker/http shop",)), True),
        (Scope(("tcp *", "*shop")), True),
        (Scope(tags=("web",)), True),
        (Scope(("tcp *",), ("db", "web")), True),
        (Scope(("tcp *",)), False),
        (Scope(tags=("db",)), False),
        (Scope(), False),
    ],
)
def test_a_scope_means_jobs_by_name_pattern_and_tag(scope, is_meant):
    assert scope.includes(KEY, "http shop", ("web", "eu")) is is_meant


def held(silence, now=NOON, tags=()):
    found = silence.holding(KEY, "http shop", tags, now)
    return found.words(lambda moment: f"{moment:%H:%M}") if found else ""


def test_who_muted_it_until_when_and_why():
    silence = Silences((mute(why="deploy"), mute(NOON + 2 * MINUTE, mute_id="b")))
    assert held(silence) == "muted until 13:00 by ann: deploy"
    assert held(silence, NOON + timedelta(hours=1)) == ""
    assert held(Silences((mute(scope=Scope(("tcp *",))),))) == ""


def test_an_acknowledgement_is_told_with_who_and_why():
    known = Acknowledgement(Status.FAILING, NOON, "ann", "disk is on its way")
    record = Record(KEY, status=Status.FAILING, acknowledged=known)
    found = Silences().holding_record(record, "http shop", (), NOON)
    assert found.words(str) == "acknowledged by ann: disk is on its way"
    ok = replace(record, status=Status.OK)
    assert Silences().holding_record(ok, "http shop", (), NOON) is None


# Windows.


def window(start, length, zone=UTC, name="night"):
    length = length.total_seconds()
    return Silences(windows=(Window(name, SHOP, start, length),), zone=zone)


def test_a_window_is_open_once_from_its_start_for_its_length():
    silence = window("2026-11-22T12:00:00+00:00", timedelta(hours=2))
    moments = {
        NOON - MINUTE: "",
        NOON: "in the maintenance window night until 14:00",
        NOON + timedelta(minutes=119): "in the maintenance window night until 14:00",
        NOON + timedelta(hours=2): "",
        NOON + timedelta(days=1): "",
    }
    assert {at: held(silence, at) for at in moments} == moments


def test_a_window_is_open_again_and_again():
    silence = window("0 12 * * sun", timedelta(hours=2))
    open_at = [
        day
        for day in range(15)
        if held(silence, NOON + timedelta(days=day, minutes=119))
    ]
    assert open_at == [0, 7, 14]
    # In the midst of a minute, too.
    assert held(silence, NOON + timedelta(minutes=119, seconds=59.9))
    assert not held(silence, NOON + timedelta(hours=2))
    assert not held(silence, NOON - timedelta(seconds=0.1))


def test_of_windows_that_overlap_the_last_one_ends_the_silence():
    silence = window("0 11,12 * * *", timedelta(minutes=90))
    at = NOON + timedelta(minutes=10)
    assert held(silence, at) == "in the maintenance window night until 13:30"
    assert held(silence, NOON - MINUTE).endswith("until 12:30")


def test_a_window_counts_before_a_mute_since_its_time_is_left_out_of_uptime():
    silence = window("2026-11-22T12:00:00+00:00", timedelta(hours=2))
    both = replace(silence, mutes=(mute(),))
    assert held(both, NOON) == "in the maintenance window night until 14:00"
    assert held(both, NOON - MINUTE).startswith("muted")


@pytest.mark.long
@pytest.mark.parametrize(
    ("zone", "spring", "autumn"),
    [
        ("Europe/Berlin", (2027, 3, 28), (2027, 10, 31)),
        ("America/New_York", (2027, 3, 14), (2027, 11, 7)),
        ("Australia/Lord_Howe", (2027, 10, 3), (2027, 4, 4)),
    ],
)
def test_a_window_of_02_to_03_exists_once_in_each_of_the_two_odd_nights(
    zone, spring, autumn
):
    silence = window("0 2 * * *", timedelta(hours=1), ZoneInfo(zone))
    for year, month, day in (spring, autumn):
        night = datetime(year, month, day, tzinfo=ZoneInfo(zone)).astimezone(UTC)
        minutes = [night + number * MINUTE for number in range(24 * 60 - 30)]
        is_open = [bool(held(silence, minute)) for minute in minutes]
        first = is_open.index(True)
        assert sum(is_open) == 60
        assert all(is_open[first : first + 60])
        wall = minutes[first].astimezone(ZoneInfo(zone))
        hour = {spring: (3, 2), autumn: (2,)}[(year, month, day)]
        assert wall.hour in hour


def test_a_window_over_midnight_of_an_odd_night_has_its_length():
    berlin = ZoneInfo("Europe/Berlin")
    silence = window("0 22 * * *", timedelta(hours=8), berlin)
    evening = datetime(2027, 10, 30, 22, tzinfo=berlin).astimezone(UTC)
    assert not held(silence, evening - MINUTE)
    assert held(silence, evening)
    assert held(silence, evening + timedelta(hours=8) - MINUTE)
    assert not held(silence, evening + timedelta(hours=8))


# After silence the job is checked.


def test_a_job_whose_silence_has_ended_is_to_be_checked():
    record = Record(KEY, "http shop", Status.FAILING, held=Decision.MUTED)
    muted = Silences((mute(),))
    assert not has_ended(record, "http shop", (), muted, NOON)
    assert has_ended(record, "http shop", (), muted, NOON + timedelta(hours=1))
    assert has_ended(record, "http shop", (), None, NOON)
    assert not has_ended(replace(record, held=None), "http shop", (), None, NOON)
    known = Acknowledgement(Status.FAILING, NOON, "ann")
    acknowledged = replace(record, acknowledged=known)
    assert not has_ended(acknowledged, "http shop", (), None, NOON)


# Requests.


def after(*requests, now=NOON):
    mutes = ()
    for request in requests:
        mutes = with_request(mutes, request, now)
    return mutes


def test_a_mute_replaces_the_one_of_the_same_jobs():
    longer = mute(NOON + timedelta(hours=3), mute_id="b")
    assert after(mute(), longer) == (longer,)
    assert after(mute(), acknowledge()) == (mute(),)
    assert len(after(mute(), mute(scope=Scope(("http *",)), mute_id="b"))) == 2


def test_an_unmute_ends_the_mutes_before_it_for_these_jobs_only():
    all_http = mute(scope=Scope(("http *",)))
    assert after(mute(), unmute()) == ()
    lifted = after(all_http, unmute())
    blog = JobKey("HTTPServerChecker", "http blog")
    assert Silences(lifted).holding(KEY, "http shop", (), NOON) is None
    assert Silences(lifted).holding(blog, "http blog", (), NOON)
    # Where the jobs are known, a mute of none of them is over, and others stay.
    jobs = [Job(key, key.identity, "", "minute") for key in (KEY, blog)]
    assert with_request((all_http,), unmute(Scope(("*",))), NOON, jobs) == ()
    assert with_request((all_http,), unmute(Scope(("x",))), NOON, jobs) == (all_http,)
    assert with_request((all_http,), unmute(), NOON, jobs) == lifted
    # Muted again, after it.
    again = mute(mute_id="b", at=NOON + MINUTE)
    assert Silences(after(mute(), unmute(), again)).holding(KEY, "http shop", (), NOON)


def test_requests_that_are_applied_twice_do_no_harm():
    story = (
        mute(),
        unmute(at=NOON + MINUTE),
        mute(NOON + timedelta(hours=2), Scope(("tcp *",)), mute_id="b"),
        mute(mute_id="c", at=NOON + 2 * MINUTE),
    )
    once = after(*story)
    for begin in range(len(story)):
        mutes = once
        for request in story[begin:]:
            mutes = with_request(mutes, request, NOON)
        assert set(mutes) == set(once)


def test_a_mute_ends_and_none_is_longer_than_a_mute_may_be():
    assert in_force((mute(NOON),), NOON) == ()
    # The clock was set back by a year.
    (cut,) = in_force((mute(NOON + timedelta(days=365)),), NOON)
    assert cut.until == NOON + MAX_MUTE
    many = [
        mute(NOON + number * MINUTE, Scope((f"job {number}",)), mute_id=str(number))
        for number in range(1, MAX_MUTES + 10)
    ]
    kept = in_force(many, NOON)
    assert len(kept) == MAX_MUTES
    assert kept[-1] == many[-1]


def test_an_acknowledgement_is_of_what_was_there_when_somebody_asked():
    record = Record(KEY, "http shop", Status.FAILING, failing_since=NOON)
    late, early = acknowledge(NOON + MINUTE), acknowledge(NOON - MINUTE)
    known = with_acknowledgement(record, "http shop", (), late)
    assert known.acknowledged == Acknowledgement(
        Status.FAILING, NOON + MINUTE, "ann", "disk is on its way"
    )
    # Applied again, or an older one after it: nothing changes.
    assert with_acknowledgement(known, "http shop", (), late) is known
    assert with_acknowledgement(known, "http shop", (), acknowledge()) is known
    # It failed after that.
    assert with_acknowledgement(record, "http shop", (), early) is record
    assert with_acknowledgement(Record(KEY), "http shop", (), late) == Record(KEY)
    other = replace(late, scope=Scope(("tcp *",)))
    assert with_acknowledgement(record, "http shop", (), other) is record
    # Taken back, but not by what was asked before it.
    over = with_acknowledgement(known, "http shop", (), unmute(at=NOON + 2 * MINUTE))
    assert over.acknowledged is None
    assert with_acknowledgement(known, "http shop", (), unmute()) is known


def test_a_scope_is_told_as_it_was_given():
    assert str(Scope(("http *", "tcp db"), ("web",))) == "http *, tcp db, tag web"
    assert silences.Silences().code(Job(KEY, "http shop", "", "minute"), NOON) is None

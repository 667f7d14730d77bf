"""How much mail may leave, told with times and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from lib.core import ratelimit
from lib.core.enums import Severity
from lib.core.jobs import JobKey
from lib.core.ratelimit import DAY, HOUR, Limits, NotifiedJob, SendLog, TimedName
from lib.core.settings import Mail
from tests.support.mailing import message

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
OPS = ("ops@example.com",)
X, Y, Z, W = (JobKey("Web", name) for name in "xyzw")
USUAL = Limits(20, 100)


def sent(*minutes_ago):
    return SendLog(
        tuple(TimedName(f"m{minute}", NOON - minute * MINUTE) for minute in minutes_ago)
    )


def room(send_log, limits=USUAL, own=False):
    return ratelimit.room(send_log, limits, NOON, own=own)


@pytest.mark.parametrize(
    ("per_hour", "usual", "own"),
    [(20, 16, 20), (10, 8, 10), (5, 4, 5), (2, 1, 2), (1, 1, 1)],
)
def test_a_fifth_is_kept_for_checker_itself(per_hour, usual, own):
    limits = Limits(per_hour, 1000)
    assert room(SendLog(), limits) == usual
    assert room(SendLog(), limits, own=True) == own


def test_a_mail_takes_room_for_an_hour_and_for_a_day():
    assert room(sent(1, 2, 59)) == 13
    assert room(sent(1, 2, 60)) == 14
    send_log = sent(*range(61, 61 + 79))
    assert room(send_log) == 1
    assert room(sent(*range(61, 61 + 81))) == 0


def test_when_there_is_room_again():
    assert ratelimit.room_at(sent(5), USUAL, NOON) == NOON
    send_log = sent(*range(10, 26))
    assert room(send_log) == 0
    assert ratelimit.room_at(send_log, USUAL, NOON) == NOON + 35 * MINUTE
    send_log = sent(*range(100, 180))
    assert ratelimit.room_at(send_log, USUAL, NOON) == NOON - 179 * MINUTE + DAY


def test_a_mail_that_is_tried_again_counts_once():
    send_log = ratelimit.with_counted(
        ratelimit.with_counted(SendLog(), ["a", "b"], NOON), ["a"], NOON
    )
    assert sorted(one.name for one in send_log.counted) == ["a", "b"]
    assert ratelimit.without_counted(send_log, ["a"]).counted == (TimedName("b", NOON),)


def test_about_which_jobs_an_alert_left_is_known_for_an_hour_and_of_the_newest(
    monkeypatch,
):
    bad, odd = Severity.CRITICAL, Severity.WARNING
    send_log = ratelimit.with_notified(SendLog(), {X: bad, Y: bad}, NOON - 59 * MINUTE)
    send_log = ratelimit.with_notified(send_log, {X: odd}, NOON)
    assert ratelimit.notified_lately(send_log, NOON) == {X: odd, Y: bad}
    assert ratelimit.notified_lately(send_log, NOON + MINUTE) == {X: odd}
    monkeypatch.setattr(ratelimit, "MAX_NOTIFIED", 2)
    send_log = ratelimit.with_notified(send_log, {Z: bad, W: bad}, NOON)
    assert set(ratelimit.notified_lately(send_log, NOON)) == {Z, W}


# An outage.


def attempts_in_vain(minutes):
    """Return the minutes of the attempts of an outage that lasts for so long."""
    send_log, tried = SendLog(), []
    for minute in range(minutes):
        # Cron is a little late, and each time by another while.
        now = NOON + minute * MINUTE + timedelta(seconds=minute * 17 % 50)
        at = ratelimit.next_attempt_at(send_log)
        if at is None or now >= at:
            send_log = ratelimit.after_failure(send_log, "451 not now", now)
            tried.append(minute)
    return tried


def test_during_an_outage_one_message_is_tried_at_least_every_five_minutes():
    assert attempts_in_vain(24) == [0, 1, 3, 7, 11, 15, 19, 23]


def test_the_mails_of_one_session_fail_once():
    send_log = ratelimit.after_failure(SendLog(), "a", NOON)
    again = ratelimit.after_failure(send_log, "b", NOON + timedelta(seconds=20))
    assert (again.failures, again.failing_since, again.last_error) == (1, NOON, "b")


def late(at, **more):
    return replace(message(), born_at=at, **more)


def test_an_outage_that_is_over_is_remembered_with_its_reason():
    send_log = SendLog()
    for minute in (0, 1, 3, 7, 11, 15, 19, 23):
        at = NOON + minute * MINUTE
        send_log = ratelimit.after_failure(send_log, "451 not now\nmore", at)
    over = ratelimit.after_success(send_log, NOON + 25 * MINUTE)
    assert ratelimit.next_attempt_at(over) is None
    waited = late(at=NOON + 20 * MINUTE)
    assert ratelimit.why_late(waited, over, NOON + 26 * MINUTE) == "451 not now"
    later = late(at=NOON + 26 * MINUTE)
    assert ratelimit.why_late(later, over, NOON + 40 * MINUTE) == ""
    assert ratelimit.settled(over, NOON + 25 * MINUTE + DAY) == SendLog()


def test_why_a_message_is_late_is_its_own_error_or_the_limit():
    own = late(at=NOON, last_error="452 mailbox full", retry_at=NOON + 5 * MINUTE)
    limited = SendLog(limited_until=NOON + MINUTE)
    now = NOON + 6 * MINUTE
    assert ratelimit.why_late(own, limited, now) == "452 mailbox full"
    assert "rate limit" in ratelimit.why_late(late(at=NOON), limited, now)
    assert ratelimit.why_late(late(at=NOON + MINUTE), limited, now) == ""


@pytest.mark.parametrize("is_over", [False, True], ids=["not tried", "over"])
@pytest.mark.parametrize("minute", [-2, 4], ids=["before", "after"])
def test_a_message_names_what_held_it_back_last(minute, is_over):
    # The server was away for 3 minutes; then nothing could be tried for the limit.
    send_log = SendLog(limited_until=NOON + 53 * MINUTE)
    for failed in (0, 1, 2):
        at = NOON + failed * MINUTE
        send_log = ratelimit.after_failure(send_log, "451 try later", at)
    waited, now = late(at=NOON + minute * MINUTE), NOON + 54 * MINUTE
    if is_over:
        send_log = ratelimit.after_success(send_log, now)
    assert ratelimit.why_late(waited, send_log, now) == ratelimit.LIMIT_REACHED
    tried = replace(waited, last_error="451 try later", attempts=1)
    assert ratelimit.why_late(tried, send_log, now) == ratelimit.LIMIT_REACHED


def test_what_leaves_beside_the_limit_after_an_outage_names_the_outage():
    send_log = SendLog(limited_until=NOON + 53 * MINUTE)
    for failed in (0, 1, 3):
        at = NOON + failed * MINUTE
        send_log = ratelimit.after_failure(send_log, "451 try later", at)
    first = late(at=NOON - MINUTE)
    now = NOON + 7 * MINUTE
    why = ratelimit.why_late(first, send_log, now, is_reached=True)
    assert why == "451 try later"


def test_times_that_lie_in_the_future_count_as_now():
    ahead = NOON + 3 * DAY
    send_log = SendLog(
        counted=(TimedName("a", ahead),),
        refused_logins=(ahead,),
        held_until=ahead,
        bundles=(TimedName("x", ahead),),
        deferral_notified_at=ahead,
        refused=(TimedName("y", ahead),),
        failing_since=ahead,
        failed_at=ahead,
        notified=(NotifiedJob(X, ahead),),
    )
    assert ratelimit.is_ahead(send_log, NOON)
    settled = ratelimit.settled(send_log, NOON)
    assert not ratelimit.is_ahead(settled, NOON)
    assert settled.counted == (TimedName("a", NOON),)
    assert settled.held_until == NOON + HOUR
    assert settled.deferral_notified_at == NOON


def test_what_is_over_is_forgotten():
    long_ago = NOON - 2 * DAY
    send_log = SendLog(
        counted=(TimedName("a", long_ago),),
        refused_logins=(long_ago,),
        bundles=(TimedName("x", long_ago),),
        refused=(TimedName("y", long_ago),),
    )
    assert ratelimit.settled(send_log, NOON) == SendLog()


def test_a_refused_login_is_tried_four_times_an_hour_at_most():
    send_log = SendLog()
    for minute in range(4):
        assert not ratelimit.is_held(send_log, NOON + minute * MINUTE)
        send_log = ratelimit.after_refused_login(send_log, NOON + minute * MINUTE)
    assert ratelimit.is_held(send_log, NOON + 59 * MINUTE)
    assert not ratelimit.is_held(send_log, NOON + 60 * MINUTE)


def test_after_a_limit_of_the_server_nothing_goes_until_it_is_over():
    send_log = replace(SendLog(), held_until=NOON + HOUR)
    assert ratelimit.is_held(send_log, NOON + 59 * MINUTE)
    assert not ratelimit.is_held(send_log, NOON + HOUR)


def test_after_a_bundle_its_people_are_left_alone_for_five_minutes():
    late = ratelimit.after_bundle(SendLog(), OPS, NOON + timedelta(seconds=59))
    assert ratelimit.quiet_until(late, OPS) == NOON + 5 * MINUTE, "cron's minutes count"
    send_log = ratelimit.after_bundle(SendLog(), OPS, NOON)
    assert ratelimit.is_quiet(send_log, OPS, NOON + 4 * MINUTE)
    assert not ratelimit.is_quiet(send_log, OPS, NOON + 5 * MINUTE)
    assert not ratelimit.is_quiet(send_log, ("boss@example.com",), NOON)
    assert ratelimit.without_bundle(send_log, OPS) == SendLog()


def test_an_address_that_is_refused_is_reported_once_a_day():
    send_log = ratelimit.with_refused(SendLog(), "gone@example.com", NOON)
    assert ratelimit.is_refused(send_log, "gone@example.com")
    tomorrow = ratelimit.settled(send_log, NOON + DAY)
    assert not ratelimit.is_refused(tomorrow, "gone@example.com")


def test_the_limits_are_those_of_the_settings():
    assert ratelimit.limits_of(Mail()) == USUAL
    assert ratelimit.limits_of(Mail(mailsperhour=3, mailsperday=4)) == Limits(3, 4)
    assert ratelimit.limits_of(Mail(nomail=True)) is None

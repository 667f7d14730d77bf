"""-m replay: results on record are judged again, beside what was sent."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from lib.alerting.onrecord import OnRecord
from lib.alerting.replay import Replay
from lib.alerting.templates import MailContext, closing_message
from lib.core import decisions
from lib.core.decisions import Entry, Event, MailDetails, People
from lib.core.enums import JobFailureNotificationFrequency as Every
from lib.core.enums import MessageKind, Severity, Status
from lib.core.jobs import OWN_KEY, FailureRule, FlappingRule, Policy, file_stem
from lib.core.records import Record
from lib.core.replay import What, compared, sum_of
from lib.core.secret import Secrets
from lib.core.settings import Channel, Mail, Settings
from lib.report import replay
from lib.storage import auditlog, historylog
from lib.storage.auditlog import AuditLog
from lib.storage.history import Result
from tests.support.played import LETTERS, NOON, OPS, Played, job_of

LATER = datetime(2026, 11, 23, tzinfo=UTC)
BOSS = "boss@example.com"


def settings_of(state, **more):
    return Settings(
        path=Path("settings.cfg"),
        servername="web1",
        alertcontact=(OPS,),
        logfile=Path("log"),
        state=state,
        mail=more.pop("mail", Mail()),
        zone=UTC,
        **more,
    )


def replayed(played, terms_by=lambda _key, _name, terms: terms, **more):
    """Return the pairs of a replay by what is made of the recorded terms."""
    settings = settings_of(played.state, **more)
    on_record = OnRecord(settings, LATER)
    names = {key: on_record.name_of(key) for key in on_record.keys()}
    times = on_record.run_times(names)
    judge = Replay(settings, terms_by, times)
    return [
        pair
        for past in on_record.pasts(names)
        for pair in compared(past.sent, judge.told(past))
    ]


def with_policy(**changes):
    """Return what makes other terms of the recorded ones."""
    return lambda _key, _name, terms: replace(
        terms, policy=replace(terms.policy, **changes)
    )


def told(pairs):
    """Return of each pair the minute it was sent in, and the one it would be in."""

    def minute(one):
        return None if one is None else int((one.at - NOON).total_seconds() // 60)

    return [
        (pair.either.what.value, minute(pair.sent), minute(pair.would_be))
        for pair in pairs
    ]


@pytest.fixture
def played(tmp_path):
    return Played(tmp_path)


# Unchanged settings.

POLICIES = st.builds(
    Policy,
    notify=st.sampled_from(list(Every)),
    failures=st.sampled_from(
        [FailureRule(1), FailureRule(3), FailureRule(2, 3), FailureRule(seconds=180)]
    ),
    notifies_recovery=st.booleans(),
    recoveries=st.integers(1, 3),
    notifies_warnings=st.booleans(),
    flapping=st.sampled_from([FlappingRule(), FlappingRule(3, 8), FlappingRule(0, 0)]),
)
STORIES = st.text(alphabet="".join(LETTERS) + "OOFF ", min_size=1, max_size=40)


@given(st.lists(st.tuples(POLICIES, STORIES), min_size=1, max_size=3))
def test_unchanged_settings_give_what_the_audit_log_has(drawn):
    with tempfile.TemporaryDirectory() as folder:
        played = Played(Path(folder))
        jobs = [
            (replace(job_of(f"disk {number}"), policy=rule), story.ljust(40))
            for number, (rule, story) in enumerate(drawn)
        ]
        played.play(dict(jobs))
        assert [pair for pair in replayed(played) if not pair.is_same] == []


def test_each_result_is_judged_by_the_terms_of_its_run(played):
    once, thrice = job_of("disk /"), job_of("disk /", failures=FailureRule(3))
    played.play({once: "OFO"})
    played.play({thrice: "FFO"})
    assert told(replayed(played)) == [("first_alert", 1, 1), ("recovery", 2, 2)]


# Changed settings.


def test_more_failures_are_told_later_or_never(played):
    played.play({job_of("disk /"): "OFOFFFFOF"})
    pairs = replayed(played, with_policy(failures=FailureRule(3)))
    assert told(pairs) == [
        ("first_alert", 1, None),
        ("recovery", 2, None),
        ("first_alert", 3, 5),
        ("recovery", 7, 7),
        ("first_alert", 8, None),
    ]
    found = sum_of(pairs)
    assert (found.sent, found.would_be, found.never) == (5, 2, 2)
    assert found.later == [timedelta(minutes=2)]


def test_fewer_failures_are_told_earlier_and_more_often(played):
    played.play({job_of("disk /", failures=FailureRule(3)): "OFOFFFFO"})
    pairs = replayed(played, with_policy(failures=FailureRule(1)))
    found = sum_of(pairs)
    assert (found.sent, found.would_be, found.new) == (2, 4, 1)
    assert found.earlier == [timedelta(minutes=2)]


def test_reminders_are_counted_apart_from_first_alerts(played):
    rule = {"notify": Every.EVERYFIVEMINUTES}
    played.play({job_of("disk /", **rule): "F" * 21})
    pairs = replayed(played, with_policy(notify=Every.EVERYTENMINUTES))
    assert told(pairs) == [
        ("first_alert", 0, 0),
        ("reminder", 5, None),
        ("reminder", 10, 10),
        ("reminder", 15, None),
        ("reminder", 20, 20),
    ]
    assert sum_of(pairs).never == 0


def test_reminders_of_a_later_first_alert_are_later_too(played):
    played.play({job_of("disk /", notify=Every.EVERYTENMINUTES): "F" * 15})
    pairs = replayed(played, with_policy(failures=FailureRule(3)))
    assert told(pairs) == [("first_alert", 0, 2), ("reminder", 10, 12)]


def test_other_people_are_shown(played):
    played.play({job_of("disk /"): "FO"})
    pairs = replayed(played, lambda _key, _name, terms: replace(terms, contact=(BOSS,)))
    assert [(pair.sent.to.addresses, pair.would_be.to.addresses) for pair in pairs] == [
        ((OPS,), (BOSS,))
    ] * 2
    assert sum_of(pairs).elsewhere == 2


def test_results_may_have_another_status(played):
    played.play({job_of("disk /"): "FFOO"})
    settings = settings_of(played.state)
    on_record = OnRecord(settings, LATER)
    judge = Replay(
        settings,
        lambda _key, _name, terms: terms,
        status_by=lambda _key, _status, numbers: Status(
            "failing" if numbers == {} else "ok"
        ),
    )
    (past,) = on_record.pasts({job_of("disk /").key: "disk /"})
    assert told(compared(past.sent, judge.told(past))) == [
        ("first_alert", 0, 0),
        ("recovery", 2, None),
    ]


def test_a_job_that_is_disabled_notifies_nobody(played):
    played.play({job_of("disk /"): "FO"})
    assert told(replayed(played, lambda *_: None)) == [
        ("first_alert", 0, None),
        ("recovery", 1, None),
    ]


def test_a_window_makes_it_leave_later(played):
    played.play({job_of("disk /"): "FO"})
    pairs = replayed(played, with_policy(when="mon-sun 18:00-20:00"))
    assert [pair.delay for pair in pairs] == [
        timedelta(hours=6),
        timedelta(hours=5, minutes=59),
    ]


def test_a_channel_gets_critical_messages_only(played):
    pager = Channel("pager", level=Severity.CRITICAL)
    played.play({job_of("disk /"): "WFO"})
    contact = ("pager",)
    pairs = replayed(
        played,
        lambda _key, _name, terms: replace(terms, contact=contact),
        channels={"pager": pager},
    )
    assert told(pairs) == [
        ("warning", 0, None),
        ("first_alert", 1, 1),
        ("recovery", 2, 2),
    ]


def test_a_failure_is_escalated_by_the_run_in_which_it_is_due(played):
    channels = {
        "desk": Channel("desk", escalate=("boss", 180.0)),
        "boss": Channel("boss"),
    }
    # Another job shows when runs were; this one is checked seldom.
    played.play(
        {job_of("disk /", contact=("desk",)): "F    FO", job_of("disk b"): "FOOOOOF"}
    )
    pairs = [
        pair
        for pair in replayed(played, channels=channels)
        if pair.either.name == "disk /"
    ]
    assert told(pairs) == [
        ("first_alert", 0, 0),
        ("escalation", None, 3),
        ("recovery", 6, 6),
    ]
    assert pairs[2].would_be.to.addresses == ("desk", "boss")


# What is missing, and what happened beside results.


@pytest.mark.parametrize("has_entries", [True, False])
@pytest.mark.parametrize("killed", [1, 3, 4, 5, 6, 7])
def test_a_run_that_was_killed_is_read_from_what_is_there(played, killed, has_entries):
    job = job_of("disk /")
    for number, letter in enumerate("OFFOOFOFO"):
        is_killed = number == killed
        played.run(
            {job: letter},
            no_history=is_killed,
            no_audit_log=is_killed and not has_entries,
        )
    pairs = replayed(played)
    assert [pair for pair in pairs if not pair.is_same] == []
    assert len(pairs) == 6


def test_a_job_that_is_gone_is_closed(played):
    job = job_of("disk /")
    played.play({job: "FF"})
    record = Record(job.key, job.name, Status.FAILING, notified=(OPS,))
    log = AuditLog(played.state, Secrets())
    message = closing_message("c" * 32, record, (OPS,), MailContext(played.now, UTC))
    log.note(decisions.gone(record, [message], played.now))
    log.write()
    played.now += timedelta(minutes=1)
    assert told(replayed(played)) == [("first_alert", 0, 0), ("closing", 2, 2)]
    # Nobody hears of the end of what nobody heard of.
    rule = with_policy(failures=FailureRule(5))
    assert told(replayed(played, rule)) == [
        ("first_alert", 0, None),
        ("closing", 2, None),
    ]


@pytest.mark.parametrize("has_renames", [False, True])
def test_a_renamed_job_keeps_its_record(played, has_renames):
    old, new = job_of("disk old"), job_of("disk new")
    played.play({old: "FF"})
    if has_renames:
        at = played.now.timestamp()
        row = Result.of(new.key, Status.FAILING, "", 0.1, {}, "", b"", 60.0)
        historylog.record(played.state, UTC, at, [row], [(old.key, new.key)])
        played.now += timedelta(minutes=1)
    played._records[new.key] = replace(played._records[old.key], key=new.key)
    log = AuditLog(played.state, Secrets())
    log.note([decisions.renamed(new, Record(old.key, old.name), played.now)])
    log.write()
    played.play({new: "FO"})
    end = 4 if has_renames else 3
    assert told(replayed(played)) == [("first_alert", 0, 0), ("recovery", end, end)]


def test_a_job_that_was_renamed_while_it_was_ok_is_one_job(played):
    old, new = job_of("disk old"), job_of("disk new")
    played.play({old: "FO"})
    # Nothing was on record of it, so the audit log says nothing of the rename.
    at = played.now.timestamp()
    row = Result.of(new.key, Status.OK, "", 0.1, {}, "", b"", 60.0)
    historylog.record(played.state, UTC, at, [row], [(old.key, new.key)])
    played.play({new: "OF"})
    assert OnRecord(settings_of(played.state), LATER).keys() == {new.key}
    # The old name is that of another job now.
    played.play({new: "F", old: "F"})
    assert sorted(told(replayed(played))) == [
        ("first_alert", 0, 0),
        ("first_alert", 3, 3),
        ("first_alert", 4, 4),
        ("recovery", 1, 1),
    ]


def test_whom_a_jobs_own_code_notifies_is_as_it_was(played):
    job = job_of("Own", "Own")
    played.play({job: "OFO"})
    path = played.state / "decisions.log"
    # The hook sent it elsewhere.
    lines = path.read_text().splitlines()
    lines = [
        line.replace(OPS, BOSS) if "\tqueued\t" in line else line for line in lines
    ]
    path.write_text("\n".join(lines) + "\n")
    pairs = replayed(played, with_policy(failures=FailureRule(1)))
    assert [pair.is_same for pair in pairs] == [True, True]
    assert pairs[0].would_be.to.addresses == (BOSS,)


def test_what_a_hook_told_elsewhere_is_told_by_nobody_else(played):
    played.play({job_of("Own", "Own"): "OFO"})
    path = played.state / "decisions.log"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if "\tqueued\t" not in line))
    assert replayed(played) == []


@pytest.mark.parametrize(
    ("code", "told_to"), [(Event.SENT, (OPS, "desk")), (Event.DROPPED, ("desk",))]
)
def test_a_fallback_and_a_rejected_address_count_as_they_did(played, code, told_to):
    job = job_of("disk /", contact=(OPS,) if code is Event.SENT else (OPS, "desk"))
    played.play({job: "F"})
    to = "desk" if code is Event.SENT else OPS
    details = MailDetails("d" * 32, MessageKind.ALERT, People((to,)), born_at=NOON)
    log = AuditLog(played.state, Secrets())
    log.note([Entry(NOON, job.key, job.name, code, details)])
    log.write()
    record = played._records[job.key]
    played._records[job.key] = replace(record, notified=told_to)
    played.play({job: "O"})
    pairs = replayed(played)
    assert [pair.is_same for pair in pairs] == [True, True]
    assert pairs[1].would_be.to.addresses == told_to


def test_what_was_only_logged_says_so(played):
    job = job_of("disk /")
    played.play({job: "FFO"})
    alert, recovery = (pair.sent for pair in replayed(played))
    (queued,) = [
        entry
        for entry in auditlog.read_entries(played.state, lambda key, _name: True)
        if entry.code is Event.QUEUED and entry.at == alert.at
    ]
    log = AuditLog(played.state, Secrets())
    log.note([replace(queued, code=Event.LOGGED)])
    log.write()
    pairs = replayed(played)
    assert [pair.sent.is_logged for pair in pairs] == [True, False]
    assert [pair.is_same for pair in pairs] == [True, True]
    assert replay.summary(pairs) == (
        "2 sent (1 logged, not mailed: nomail), 2 would be: the same."
    )


def test_a_record_that_was_lost_is_told_again(played):
    job = job_of("disk /")
    played.play({job: "FF"})
    log = AuditLog(played.state, Secrets())
    log.note(decisions.lost(OWN_KEY, [f"{file_stem(job.key)}: is gone"], played.now))
    log.write()
    played._records[job.key] = Record(job.key, status=Status.UNKNOWN)
    played.play({job: "FO"})
    assert told(replayed(played)) == [
        ("first_alert", 0, 0),
        ("first_alert", 2, 2),
        ("recovery", 3, 3),
    ]


def test_of_a_job_without_terms_nothing_is_said(played):
    played.play({job_of("disk /"): "FO"})
    (played.state / "history" / "policies.log").unlink()
    on_record = OnRecord(settings_of(played.state), LATER)
    names = {key: on_record.name_of(key) for key in on_record.keys()}
    assert list(on_record.pasts(names)) == []
    assert on_record.unknown == ["disk /"]


def test_what_began_before_the_rows_is_known(played):
    job = job_of("disk /")
    played.play({job: "OFFFFO"})
    for log in (played.state / "history").glob("*.log"):
        if log.name.startswith("2026"):
            log.unlink()
    played.play({job_of("disk b"): "O"})
    played.play({job: "O"})
    assert What.FIRST_ALERT not in {
        pair.either.what for pair in replayed(played) if pair.would_be
    }

"""The rules, as stories: what the job found, and under it what a person heard."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from lib.config.fields import failures
from lib.core.enums import Decision
from lib.core.enums import JobFailureNotificationFrequency as Every
from lib.core.enums import JobFrequency, MessageKind, Severity, Status
from lib.core.flapping import phase_of
from lib.core.jobs import NEVER_FLAPPING, FailureRule, FlappingRule, Job, JobKey, Policy
from lib.core.messages import Message
from lib.core.policy import (
    advance,
    attempted,
    decide,
    is_for_hooks,
    is_sendable,
    limited,
    put_off,
    settings_decision,
    settings_memory,
    settled,
    severity_of,
    unseen,
)
from lib.core.records import KnownRecords, Record
from lib.core.results import CheckResult, JobReport
from tests.support.fakes import older_record

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

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
SPOKEN = {
    Decision.FIRST_ALERT: MessageKind.ALERT,
    Decision.REMINDER: MessageKind.REMINDER,
    Decision.RECOVERY: MessageKind.RECOVERY,
}
_ids = iter(range(1, 1_000_000))


def message(kind=MessageKind.ALERT, to=("ops@example.com",), at=NOON, **more):
    return Message(f"{next(_ids):032x}", kind, "subject", "body", to, at, **more)


def one_run(record, letter, policy, now, to=("ops@example.com",)):
    """One run of one job: what ``run`` and a worker do, without their hands."""
    result = CheckResult(FOUND[letter], "why")
    decision = decide(record, result, policy, now)
    spoken = ()
    if decision.notifies:
        phase = phase_of(record, result.status, decision, policy, now)
        severity = severity_of(record, result, phase)
        spoken = (message(SPOKEN[decision], to, now, severity=severity),)
    job = Job(JobKey("K", "k"), "k", "K.py", JobFrequency.MINUTE, policy)
    return advance(record, JobReport(job, result, decision, spoken), now), decision


NEW = Record(JobKey("K", "k"))
NEVER_FLAPS = Policy(flapping=NEVER_FLAPPING)


def tell_story(every, after, runs, mail="", step=MINUTE, record=NEW, **policy):
    """Return what was heard in each run; ``mail`` says in which runs mail is down."""
    heard = ""
    for number, letter in enumerate(runs):
        rule = Policy(every, failures(str(after)), **policy)
        record, _ = one_run(record, letter, rule, NOON + number * step)
        if mail[number : number + 1] != "-":
            heard += (
                "".join(HEARD[sent.kind, sent.severity] for sent in record.queued)
                or "."
            )
            record = replace(record, queued=())
        else:
            heard += "."
    return heard


@pytest.mark.parametrize(
    ("every", "after", "runs", "heard"),
    [
        (Every.EVERYTIME, 1, "SFFS", ".AA."),
        (Every.EVERYTIME, 2, "FFF", ".AA"),
        (Every.EVERYTIME, 1, "SSSS", "...."),
        (Every.ONSTATECHANGE, 1, "SFFFS", ".A..R"),
        (Every.ONSTATECHANGE, 2, "FFFS", ".A.R"),
        (Every.ONSTATECHANGE, 2, "FSFSFF", ".....A"),
        (Every.ONSTATECHANGE, 1, "FSFS", "ARAR"),
        (Every.EVERYFIVEMINUTES, 1, "FFFFFF", "A....A"),
        (Every.EVERYFIVEMINUTES, 3, "FFFFFFFF", "..A....A"),
        (Every.EVERYFIVEMINUTES, 1, "FSFS", "A.A."),
        (Every.EVERYTENMINUTES, 1, "F" * 11, "A.........A"),
        (Every.EVERYHOUR, 1, "F" * 61, "A" + "." * 58 + "A."),
        # A check that could not be made counts, and is not fine.
        (Every.ONSTATECHANGE, 1, "UUS", "A.R"),
        (Every.ONSTATECHANGE, 2, "UFFS", ".A.R"),
        (Every.ONSTATECHANGE, 1, "UFFS", "AA.R"),
        (Every.ONSTATECHANGE, 1, "FUFS", "A..R"),
        # Under way is neither a failure nor a recovery.
        (Every.ONSTATECHANGE, 2, "FPFPS", "..A.R"),
        (Every.ONSTATECHANGE, 1, "PPS", "..."),
    ],
)
def test_who_hears_what(every, after, runs, heard):
    assert tell_story(every, after, runs) == heard


@pytest.mark.parametrize(
    ("every", "step", "heard"),
    [
        (Every.EVERYHOUR, timedelta(minutes=59, seconds=30), "AAAA"),
        (Every.EVERYDAY, timedelta(hours=23, minutes=59), "AAAA"),
        (Every.EVERYDAY, timedelta(hours=23), "A.A."),
        (Every.EVERYFIVEMINUTES, timedelta(minutes=4, seconds=40), "AAAA"),
        (Every.EVERYTENMINUTES, timedelta(minutes=9, seconds=20), "AAAA"),
    ],
)
def test_cron_jitter_never_skips_a_reminder(every, step, heard):
    assert tell_story(every, 1, "FFFF", step=step) == heard


def test_an_alert_that_could_not_leave_comes_once_when_mail_is_back():
    assert tell_story(Every.ONSTATECHANGE, 1, "FFF", mail="--+") == "..A"


def test_a_recovery_while_mail_is_down_comes_after_its_problem():
    assert tell_story(Every.ONSTATECHANGE, 1, "FSS", mail="--+") == "..AR"


@pytest.mark.parametrize(("before", "after", "heard"), [(5, 2, "A"), (1, 5, ".")])
def test_a_threshold_changed_between_runs_neither_skips_nor_repeats(
    before, after, heard
):
    record = Record(JobKey("K", "k"))
    for number in range(3):
        record, _ = one_run(
            record,
            "F",
            Policy(Every.ONSTATECHANGE, FailureRule(before)),
            NOON + number * MINUTE,
        )
    _, decision = one_run(
        record, "F", Policy(Every.ONSTATECHANGE, FailureRule(after)), NOON + 3 * MINUTE
    )
    assert ("A" if decision.notifies else ".") == heard


def test_a_policy_changed_to_reminders_counts_from_the_last_alert():
    record, _ = one_run(
        Record(JobKey("K", "k")), "F", Policy(Every.ONSTATECHANGE), NOON
    )
    hourly = Policy(Every.EVERYHOUR)
    assert one_run(record, "F", hourly, NOON + 30 * MINUTE)[1] is Decision.TOO_SOON
    assert one_run(record, "F", hourly, NOON + 60 * MINUTE)[1] is Decision.REMINDER


def test_a_policy_changed_to_state_change_does_not_alert_again_but_recovers():
    record, _ = one_run(Record(JobKey("K", "k")), "F", Policy(Every.EVERYHOUR), NOON)
    changed = Policy(Every.ONSTATECHANGE)
    record, decision = one_run(record, "F", changed, NOON + 2 * 60 * MINUTE)
    assert decision is Decision.ALREADY_NOTIFIED
    assert one_run(record, "S", changed, NOON + 3 * 60 * MINUTE)[1] is Decision.RECOVERY


def test_a_recovery_that_nobody_waits_for_is_quiet():
    record, decision = one_run(NEW, "F", Policy(failures=FailureRule(3)), NOON)
    assert decision is Decision.NOT_YET
    assert one_run(record, "S", Policy(), NOON)[1] is Decision.QUIET_RECOVERY


# Warnings: w, and r for their end; A and R are about a failure.


@pytest.mark.parametrize(
    ("every", "after", "runs", "heard"),
    [
        (Every.ONSTATECHANGE, 1, "SWWWS", ".w..r"),
        # Once when it begins and once when it is over, whatever the reminders.
        (Every.EVERYTIME, 1, "WWWSS", "w..r."),
        # It is no failure, and waits for no count.
        (Every.ONSTATECHANGE, 3, "WWWS", "w..r"),
        (Every.ONSTATECHANGE, 2, "FWFWF", ".w..."),
        (Every.ONSTATECHANGE, 2, "FWFFS", ".w.AR"),
        # A failure after it is a first alert.
        (Every.ONSTATECHANGE, 1, "WFFS", "wA.R"),
        (Every.EVERYFIVEMINUTES, 1, "WFS", "wA."),
        # A warning after a failure is its recovery, and the begin of the warning.
        (Every.ONSTATECHANGE, 1, "FWWS", "AR.r"),
        (Every.ONSTATECHANGE, 1, "FWFWS", "ARARr"),
        (Every.EVERYTIME, 1, "FFWWS", "AAR.r"),
        # Unknown is notified as failing is.
        (Every.ONSTATECHANGE, 1, "WUWS", "wARr"),
        (Every.ONSTATECHANGE, 1, "WPWS", "w..r"),
    ],
)
def test_who_hears_of_a_warning(every, after, runs, heard):
    assert tell_story(every, after, runs) == heard


@pytest.mark.parametrize(
    ("every", "runs", "heard"),
    [
        (Every.ONSTATECHANGE, "WWS", "..."),
        (Every.ONSTATECHANGE, "WFS", ".AR"),
        # That the failure is over is said, that the warning is over is not.
        (Every.ONSTATECHANGE, "FWWS", "AR.."),
        (Every.ONSTATECHANGE, "FWFS", "ARAR"),
        (Every.EVERYTIME, "FWWS", "A..."),
        (Every.EVERYTIME, "FWF", "A.A"),
    ],
)
def test_warnings_that_nobody_wants_to_hear_of(every, runs, heard):
    assert tell_story(every, 1, runs, notifies_warnings=False) == heard


def test_a_warning_that_is_not_notified_is_said_to_be_so():
    silent = Policy(notifies_warnings=False)
    record, decision = one_run(NEW, "W", silent, NOON)
    assert decision is Decision.QUIET_WARNING
    assert (record.status, record.warnings) == (Status.WARNING, 1)
    assert one_run(record, "S", silent, NOON)[1] is Decision.QUIET_RECOVERY


def test_an_alert_of_a_warning_that_could_not_leave_comes_once_with_its_end():
    assert tell_story(Every.ONSTATECHANGE, 1, "WWS", mail="--+") == "..wr"


def test_a_record_keeps_since_when_and_how_often_it_is_a_warning():
    record = NEW
    for number, letter in enumerate("FWW"):
        record, _ = one_run(record, letter, Policy(), NOON + number * MINUTE)
    assert (record.status, record.failures, record.failing_since) == (
        Status.WARNING,
        0,
        None,
    )
    assert (record.warnings, record.warning_since) == (2, NOON + MINUTE)
    assert record.since == NOON + MINUTE
    record, _ = one_run(record, "F", Policy(), NOON + 3 * MINUTE)
    assert (record.warnings, record.since) == (0, NOON + 3 * MINUTE)


def test_who_heard_of_the_failure_hears_of_the_end_of_its_warning():
    record, _ = one_run(NEW, "F", Policy(), NOON, to=("old@example.com",))
    thread = record.thread
    record, _ = one_run(record, "W", Policy(), NOON + MINUTE)
    assert record.notified == ("old@example.com",)
    assert (record.thread, record.notified_status) == (thread, Status.WARNING)


@pytest.mark.parametrize(
    ("runs", "speaks"),
    [
        ("F", True),
        ("U", False),
        ("W", False),
        ("FS", True),
        ("FW", False),
        # The end of a warning; then flapping: its beginning and its end.
        ("WS", False),
        ("FSFSF", True),
        ("FSFSFS", False),
        ("FSFSFSF" + "F" * 10, False),
    ],
)
def test_a_hook_speaks_of_failing_and_ok_only(runs, speaks):
    record, now = NEW, NOON
    for letter in runs[:-1]:
        record, _ = one_run(record, letter, Policy(), now)
        now += MINUTE
    result = CheckResult(FOUND[runs[-1]])
    decision = decide(record, result, Policy(), now)
    assert is_for_hooks(record, result, decision, Policy(), now) is speaks


# Failures: a count, N of M, or a time.


@pytest.mark.parametrize(
    ("every", "after", "runs", "heard"),
    [
        (Every.ONSTATECHANGE, "3/4", "FSFFS", "...AR"),
        (Every.ONSTATECHANGE, "3/4", "FFSF", "...A"),
        (Every.ONSTATECHANGE, "3/4", "FSFSFSFS", "........"),
        (Every.ONSTATECHANGE, "3/5", "FSFSFSFS", "....AR.."),
        # A warning and unknown count as what they are.
        (Every.ONSTATECHANGE, "2/3", "UWF", ".wA"),
        # After it was over, counting begins anew.
        (Every.ONSTATECHANGE, "2/3", "FFSFSF", ".AR..A"),
        (Every.EVERYTIME, "2/3", "FSFF", "..AA"),
        (Every.ONSTATECHANGE, "3/3", "FFSFFF", ".....A"),
        (Every.ONSTATECHANGE, "2/3", "FPF", "..A"),
        # Failing for so long.
        (Every.ONSTATECHANGE, "3min", "FFFFF", "...A."),
        (Every.ONSTATECHANGE, "3min", "FFSFFFFS", "......AR"),
        (Every.EVERYTIME, "2min", "FFFFS", "..AA."),
        (Every.ONSTATECHANGE, "2min", "WFFF", "w..A"),
    ],
)
def test_failures_are_counted_as_was_asked_for(every, after, runs, heard):
    assert tell_story(every, after, runs, flapping=NEVER_FLAPPING) == heard


@pytest.mark.parametrize("late", [-25, 25])
def test_a_run_that_is_early_or_late_does_not_put_off_a_time_of_failures(late):
    policy = Policy(failures=FailureRule(seconds=300))
    record, _ = one_run(NEW, "F", policy, NOON)
    now = NOON + timedelta(minutes=5, seconds=late)
    assert one_run(record, "F", policy, now)[1] is Decision.FIRST_ALERT


def test_a_slow_job_alerts_at_the_first_check_after_the_time():
    policy = Policy(failures=FailureRule(seconds=900))
    record, decision = one_run(NEW, "F", policy, NOON)
    assert decision is Decision.NOT_YET
    hour_later = NOON + timedelta(hours=1)
    assert one_run(record, "F", policy, hour_later)[1] is Decision.FIRST_ALERT


def test_the_last_results_are_kept_while_they_count_and_no_longer():
    some = Policy(failures=FailureRule(2, 3))
    record, kept = NEW, []
    for letter in "FSSSFF":
        record, _ = one_run(record, letter, some, NOON)
        kept.append(record.recent)
    assert kept == ["F", "F.", "F..", "", "F", ""]
    record, _ = one_run(replace(NEW, recent="F"), "S", Policy(), NOON)
    assert record.is_default


# Flapping: one alert when it begins, one message when it is steady.

#: Five changes, each with its message, and the sixth, which makes it flap.
BEGINS, HEARD_SO_FAR = "FSFSFS", "ARARAA"


@pytest.mark.parametrize(
    ("every", "after", "runs", "heard"),
    [
        (Every.ONSTATECHANGE, 1, BEGINS + "FSFSFSFS", HEARD_SO_FAR + "........"),
        # Steady for ten checks after the last change: once how it is.
        (Every.ONSTATECHANGE, 1, BEGINS + "S" * 12, HEARD_SO_FAR + "." * 9 + "R.."),
        (Every.ONSTATECHANGE, 1, BEGINS + "F" * 12, HEARD_SO_FAR + "." * 10 + "A."),
        (Every.ONSTATECHANGE, 1, BEGINS + "W" * 12, HEARD_SO_FAR + "." * 10 + "R."),
        # One change less, or the first one longer ago than 20 checks, is no flapping.
        (Every.ONSTATECHANGE, 1, "FSFSFFFF", "ARARA..."),
        (Every.ONSTATECHANGE, 1, "FSFSF" + "F" * 15 + "S", "ARARA" + "." * 15 + "R"),
        (Every.ONSTATECHANGE, 1, "FSFSF" + "F" * 14 + "S", "ARARA" + "." * 14 + "A"),
        # What fails at every other check never reaches the count, and is told.
        (Every.ONSTATECHANGE, 3, "FSFSFSFSFS", ".....A...."),
        (Every.ONSTATECHANGE, 2, "FSSSFSSSFSSSFSSS", "." * 9 + "A" + "." * 6),
        # After it was steady, counting begins anew.
        (
            Every.ONSTATECHANGE,
            1,
            BEGINS + "S" * 10 + "FSF",
            HEARD_SO_FAR + "." * 9 + "RARA",
        ),
        # Each status is one of its own; what is under way is none.
        (Every.ONSTATECHANGE, 1, "FUFUFUFUFU", "A....A...."),
        (Every.ONSTATECHANGE, 1, "WSWSWS", "wrwrww"),
        (Every.ONSTATECHANGE, 1, "WSWSWS" + "S" * 11, "wrwrww" + "." * 9 + "r."),
        (Every.ONSTATECHANGE, 1, "FPSPFPSPFPS", "A.R.A.R.A.A"),
        # Reminders follow the policy, of a failure only.
        (Every.EVERYTIME, 1, "FSFSFSSFFS", "A.A.AA.AA."),
        (Every.EVERYFIVEMINUTES, 1, "FSFSFSFSFSFS", "A.A.AA....A."),
    ],
)
def test_a_job_that_flaps_is_told_of_once(every, after, runs, heard):
    assert tell_story(every, after, runs) == heard


def test_an_hour_without_a_change_is_steady_as_well():
    hour, ten = timedelta(hours=1), timedelta(minutes=10)
    every = Every.ONSTATECHANGE
    assert tell_story(every, 1, BEGINS + "SS", step=hour) == HEARD_SO_FAR + "R."
    heard = HEARD_SO_FAR + "." * 5 + "R."
    assert tell_story(every, 1, BEGINS + "S" * 7, step=ten) == heard


def test_no_job_flaps_over_days():
    step = timedelta(hours=5)
    assert tell_story(Every.ONSTATECHANGE, 1, "FSFSFSFS", step=step) == "ARARARAR"


@pytest.mark.parametrize(
    ("rule", "heard"),
    [
        (NEVER_FLAPPING, "ARARARAR"),
        (FlappingRule(3, 5), "ARA....."),
        (FlappingRule(8, 9), "ARARARAA"),
    ],
)
def test_what_flaps_is_what_was_asked_for(rule, heard):
    assert tell_story(Every.ONSTATECHANGE, 1, "FSFSFSFS", flapping=rule) == heard


def test_warnings_that_nobody_wants_to_hear_of_do_not_flap():
    quiet = {"notifies_warnings": False}
    assert tell_story(Every.ONSTATECHANGE, 1, "WSWSWSWS", **quiet) == "........"
    assert tell_story(Every.ONSTATECHANGE, 1, "FWFWFWFW", **quiet) == "ARARAA.."


def flapping_record(runs=BEGINS):
    record, now = NEW, NOON
    for letter in runs:
        record, _ = one_run(record, letter, Policy(), now)
        now += MINUTE
    return record


def test_a_record_keeps_the_changes_and_their_times_while_they_count():
    record = flapping_record("FSSF")
    times = [(change.at - NOON) / MINUTE for change in record.changes]
    statuses = "".join(change.status.value[0] for change in record.changes)
    assert (times, statuses) == ([0, 1, 3], "fof")
    assert flapping_record("FS" + "S" * 18).changes
    assert flapping_record("FS" + "S" * 19).changes[0].at == NOON + MINUTE
    record = flapping_record("FS" + "S" * 20)
    assert (record.changes, record.checks) == ((), 0)
    assert replace(record, queued=()).is_default


def test_while_it_flaps_a_record_keeps_who_was_notified_and_how_it_is():
    record = flapping_record()
    assert record.flapping_since == NOON + 5 * MINUTE
    assert (record.status, record.notified_status) == (Status.OK, Status.FAILING)
    assert record.notified == ("ops@example.com",)
    thread = record.thread
    record = flapping_record(BEGINS + "F")
    assert (record.status, record.failures) == (Status.FAILING, 1)
    assert record.notified == ("ops@example.com",)
    assert record.thread is not None and thread is not None


def test_flapping_that_is_switched_off_ends_at_the_next_check():
    record = flapping_record()
    record, decision = one_run(record, "S", NEVER_FLAPS, NOON + 6 * MINUTE)
    assert decision is Decision.RECOVERY
    assert replace(record, queued=()).is_default


def test_a_lost_record_is_no_change():
    lost = Record(JobKey("K", "k"), status=Status.UNKNOWN)
    assert one_run(lost, "S", Policy(), NOON)[0].is_default


def test_a_recheck_brings_no_reminder():
    failed = CheckResult(Status.FAILING)
    record, _ = one_run(NEW, "F", Policy(), NOON)
    each_time = Policy(Every.EVERYTIME)
    reminder = decide(record, failed, each_time, NOON + MINUTE)
    recheck = decide(record, failed, each_time, NOON + MINUTE, is_recheck=True)
    assert (reminder, recheck) == (Decision.REMINDER, Decision.TOO_SOON)
    record = flapping_record()
    recheck = decide(record, failed, each_time, NOON + 9 * MINUTE, is_recheck=True)
    assert recheck is Decision.FLAPPING


def test_a_recheck_counts_for_the_first_alert_and_for_the_recovery():
    twice = Policy(failures=FailureRule(2))
    record, _ = one_run(NEW, "F", twice, NOON)
    failed, ok = CheckResult(Status.FAILING), CheckResult(Status.OK)
    alert = decide(record, failed, twice, NOON + MINUTE, is_recheck=True)
    assert alert is Decision.FIRST_ALERT
    record, _ = one_run(record, "F", twice, NOON + MINUTE)
    recovery = decide(record, ok, twice, NOON + 2 * MINUTE, is_recheck=True)
    assert recovery is Decision.RECOVERY


# Pending: it has an end.


def test_a_job_that_is_pending_for_too_long_is_unknown_and_still_asked():
    record, now = NEW, NOON
    asked = CheckResult(Status.PENDING, "the backup is at 40%")
    while True:
        result = limited(record, asked, Policy(), now)
        if result.status is not Status.PENDING:
            break
        record, _ = one_run(record, "P", Policy(), now)
        now += MINUTE
    assert now - NOON == timedelta(hours=1)
    assert (result.status, result.ask_again) == (Status.UNKNOWN, True)
    assert result.reason == (
        "it has been pending since 2026-11-22 12:00 UTC, for longer than "
        "pendinglimit = 1h: the backup is at 40%"
    )
    job = Job(JobKey("K", "k"), "k", "K.py", JobFrequency.MINUTE)
    report = JobReport(job, result, Decision.FIRST_ALERT)
    record = advance(record, report, now)
    assert (record.status, record.pending_since) == (Status.UNKNOWN, NOON)
    assert limited(record, asked, Policy(), now + MINUTE).status is Status.UNKNOWN
    record, _ = one_run(record, "S", Policy(), now + MINUTE)
    assert not record.pending
    assert limited(record, asked, Policy(), now).status is Status.PENDING


def test_a_limit_of_pending_may_be_another_one_or_none():
    since_noon = Record(JobKey("K", "k"), pending_since=NOON)
    asked, later = CheckResult(Status.PENDING), NOON + timedelta(minutes=10)
    ten = Policy(pending_limit_s=600)
    assert limited(since_noon, asked, ten, later - MINUTE) == asked
    assert limited(since_noon, asked, ten, later).status is Status.UNKNOWN
    never = Policy(pending_limit_s=0)
    assert limited(since_noon, asked, never, NOON + timedelta(days=9)) == asked
    failed = CheckResult(Status.FAILING)
    assert limited(since_noon, failed, ten, later) == failed


# Recoveries: how many results end a failure.


@pytest.mark.parametrize(
    ("every", "after", "runs", "heard"),
    [
        (Every.ONSTATECHANGE, 1, "FSSS", "A.R."),
        (Every.ONSTATECHANGE, 1, "FSFSS", "A...R"),
        # A result that is a warning is no failure either.
        (Every.ONSTATECHANGE, 1, "FSWS", "A.Rr"),
        (Every.ONSTATECHANGE, 1, "FWWS", "A.Rr"),
        (Every.ONSTATECHANGE, 1, "FWFWWW", "A...R."),
        # No reminder comes of a result that is OK.
        (Every.EVERYTIME, 1, "FSFSSF", "A.A..A"),
        (Every.EVERYFIVEMINUTES, 1, "FSSSSSF", "A.....A"),
        # Nobody heard of it yet: consecutive failures are what counts.
        (Every.ONSTATECHANGE, 2, "FSFSFFSS", ".....A.R"),
        (Every.ONSTATECHANGE, 1, "FPSPS", "A...R"),
    ],
)
def test_two_results_end_a_failure(every, after, runs, heard):
    assert (
        tell_story(every, after, runs, recoveries=2, flapping=NEVER_FLAPPING) == heard
    )


def test_until_it_is_over_a_job_counts_as_failing():
    twice = Policy(recoveries=2)
    record, _ = one_run(NEW, "F", twice, NOON)
    record, decision = one_run(record, "S", twice, NOON + MINUTE)
    assert decision is Decision.RECOVERING
    assert (record.status, record.failures) == (Status.FAILING, 1)
    assert (record.recovering, record.failing_since) == (1, NOON)
    record, _ = one_run(record, "F", twice, NOON + 2 * MINUTE)
    assert (record.recovering, record.failures, record.failing_since) == (0, 2, NOON)


def test_those_who_got_the_problem_are_remembered_for_its_recovery():
    record, _ = one_run(
        Record(JobKey("K", "k")), "F", Policy(), NOON, to=("old@example.com",)
    )
    assert record.notified == ("old@example.com",)


def test_what_a_job_sends_of_its_own_accord_tells_nobody_that_it_fails():
    note, alert = message(MessageKind.NOTE, ("boss@example.com",)), message()
    job = Job(JobKey("K", "k"), "k", "K.py", JobFrequency.MINUTE)
    failed = CheckResult(Status.FAILING, "why")
    report = JobReport(job, failed, Decision.FIRST_ALERT, (note, alert))
    record = advance(Record(JobKey("K", "k")), report, NOON)
    assert (record.notified, record.thread) == (alert.to, alert.message_id)


def test_a_record_keeps_since_when_how_often_and_why():
    record = Record(JobKey("K", "k"))
    for number in range(3):
        record, _ = one_run(record, "F", Policy(), NOON + number * MINUTE)
    assert (record.failing_since, record.failures) == (NOON, 3)
    assert (record.last_reason, record.notified_at) == ("why", NOON)


def test_nothing_but_memory_and_what_is_queued_outlives_a_recovery():
    record, _ = one_run(
        Record(JobKey("K", "k"), memory={"seen": 1}), "F", NEVER_FLAPS, NOON
    )
    record, _ = one_run(record, "S", NEVER_FLAPS, NOON + MINUTE)
    assert len(record.queued) == 2
    assert replace(record, queued=()) == Record(
        JobKey("K", "k"), "k", memory={"seen": 1}
    )


# The clock.


@pytest.mark.parametrize("every", list(Every))
def test_a_clock_stepped_back_silences_no_job_for_longer_than_its_window(every):
    future = NOON + timedelta(days=365)
    record, _ = one_run(Record(JobKey("K", "k")), "F", Policy(every), future)
    record, _ = one_run(record, "F", Policy(every), NOON)
    later = NOON + timedelta(hours=24)
    spoke = one_run(record, "F", Policy(every), later)[1].notifies
    assert spoke == (every is not Every.ONSTATECHANGE)


def test_a_clock_stepped_back_makes_no_burst():
    record, _ = one_run(
        Record(JobKey("K", "k")), "F", Policy(Every.EVERYHOUR), NOON + 90 * MINUTE
    )
    heard = tell_story(Every.EVERYHOUR, 1, "F" * 10, record=replace(record, queued=()))
    assert heard == "." * 10


def test_a_clock_stepped_forward_brings_one_reminder():
    record, _ = one_run(Record(JobKey("K", "k")), "F", Policy(Every.EVERYHOUR), NOON)
    year = NOON + timedelta(days=365)
    record, decision = one_run(record, "F", Policy(Every.EVERYHOUR), year)
    assert decision is Decision.REMINDER
    assert one_run(record, "F", Policy(Every.EVERYHOUR), year + MINUTE)[1] is (
        Decision.TOO_SOON
    )


def test_a_failure_from_the_future_is_failing_since_now():
    record, _ = one_run(
        Record(JobKey("K", "k")), "F", Policy(), NOON + timedelta(days=1)
    )
    assert settled(record, NOON).failing_since == NOON


def test_a_queued_message_does_not_wait_for_a_year_because_the_clock_once_did():
    far = replace(message(), retry_at=NOON + timedelta(days=365))
    record = settled(Record(JobKey("K", "k"), queued=(far,)), NOON)
    assert is_sendable(record.queued[0], NOON)


def test_a_record_in_order_is_left_as_it_is():
    record = Record(JobKey("K", "k"), failures=1, failing_since=NOON)
    assert settled(record, NOON) is record


# Lost state.


def test_a_job_whose_record_was_lost_alerts_at_its_first_failure():
    lost = Record(JobKey("K", "k"), status=Status.UNKNOWN)
    policy = Policy(Every.ONSTATECHANGE, FailureRule(5))
    assert one_run(lost, "F", policy, NOON)[1] is Decision.FIRST_ALERT
    assert one_run(lost, "S", policy, NOON)[1] is Decision.QUIET_RECOVERY
    assert one_run(lost, "U", policy, NOON)[1] is Decision.NOT_YET


# Trying again.


def waits(tries: int) -> Iterator[float]:
    queued, now = message(), NOON
    for _ in range(tries):
        queued = put_off(attempted(queued, now), now)
        assert queued.retry_at is not None
        yield (queued.retry_at - now) / MINUTE
        now = queued.retry_at


def test_each_attempt_waits_longer_up_to_an_hour():
    for wait, least in zip(
        waits(9), (50 / 60, 2, 4, 8, 15, 30, 60, 60, 60), strict=True
    ):
        assert least <= wait <= least * 1.1


def test_what_a_killed_run_was_sending_is_tried_again_within_five_minutes():
    queued, now = message(), NOON
    for _ in range(9):
        queued = attempted(queued, now)
        assert queued.retry_at is not None
        assert 50 / 60 * MINUTE <= queued.retry_at - now < 4 * MINUTE
        now = queued.retry_at


def test_a_message_is_not_tried_before_its_time():
    queued = attempted(message(), NOON)
    assert not is_sendable(queued, NOON + timedelta(seconds=49))
    assert is_sendable(queued, NOON + timedelta(seconds=56))


# Forgetting, and what came from the older program.


def test_a_job_nobody_meets_is_forgotten_after_thirty_days():
    record = unseen(Record(JobKey("K", "k"), failures=2), NOON)
    assert record is not None
    assert record.unseen_since == NOON
    assert unseen(record, NOON + timedelta(days=29)) == record
    assert unseen(record, NOON + timedelta(days=31)) is None


def test_what_is_queued_is_not_forgotten_with_its_job():
    record = Record(JobKey("K", "k"), unseen_since=NOON, queued=(message(),))
    assert unseen(record, NOON + timedelta(days=90)) == record


def test_an_alert_of_the_older_program_is_neither_repeated_nor_forgotten():
    alerted = older_record("<class 'jobs.X.X'>|a", NOON - 60 * MINUTE, NOON, 4)
    other = older_record("<class 'jobs.X.X'>|b", NOON, None, 1)
    known = KnownRecords(unclaimed=(other, alerted))
    record = known.of(older_job("<class 'jobs.X.X'>|a"))
    assert (record.failures, record.notified) == (4, ("ops@example.com",))
    record, decision = one_run(record, "F", Policy(), NOON + MINUTE)
    assert decision is Decision.ALREADY_NOTIFIED
    assert one_run(record, "S", Policy(), NOON + 2 * MINUTE)[1] is Decision.RECOVERY


def test_a_job_the_older_program_did_not_know_starts_new():
    known = KnownRecords(unclaimed=(older_record("<class 'jobs.X.X'>|a"),))
    assert known.of(older_job("")) == Record(JobKey("K", "k"))


def older_job(formerly):
    to = ("ops@example.com",)
    key = JobKey("K", "k")
    return Job(key, "k", "K.py", JobFrequency.HOUR, contact=to, formerly=formerly)


# The settings.


def mails_about_settings(minutes):
    """Return the minutes of alerts and recoveries, where only those given are good."""
    rule = Policy(Every.EVERYHOUR, notifies_recovery=True)
    job = Job(JobKey.of_section(""), "settings.cfg", "s", JobFrequency.MINUTE, rule)
    record, alerts, others = Record(job.key), [], []
    for minute in range(240):
        now = NOON + minute * MINUTE
        status = Status.OK if minutes(minute) else Status.FAILING
        result = CheckResult(status, "why")
        decision = settings_decision(record, decide(record, result, rule, now), now)
        sent = (message(SPOKEN[decision], at=now),) if decision.notifies else ()
        memory = settings_memory(decision, now)
        report = JobReport(job, result, decision, sent, memory)
        record = replace(advance(record, report, now), queued=())
        for mail in sent:
            is_alert = mail.kind is not MessageKind.RECOVERY
            (alerts if is_alert else others).append(minute)
    return alerts, others


@pytest.mark.parametrize(
    "good",
    [
        lambda minute: False,
        lambda minute: minute % 2,
        lambda minute: minute % 7 > 0,
        lambda minute: minute % 61 > 0,
    ],
    ids=["never", "each other minute", "six of seven", "an hour"],
)
def test_settings_that_cannot_be_used_are_one_mail_an_hour(good):
    alerts, recoveries = mails_about_settings(good)
    assert alerts[0] == 0 and len(alerts) >= 3
    gaps = [later - before for before, later in zip(alerts, alerts[1:])]
    assert min(gaps) >= 60
    assert len(recoveries) <= len(alerts)


def test_settings_that_are_mended_are_one_recovery_in_the_next_minute():
    assert mails_about_settings(lambda minute: minute >= 3) == ([0], [3])

"""The rules: whether to notify, when to retry, what to remember.

``decide`` and ``advance`` say what becomes of a result; below them is what becomes of
a message: it is attempted, delivered, or rejected for some addresses.
Pure functions of values.  ``tests/unit/core/test_policy.py`` shows the rules as
stories: what a job found in each run, and what a person received.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from operator import attrgetter

from msgspec.structs import replace

from lib.core import flapping
from lib.core.enums import (
    Decision,
    DeliveryResult,
    JobFailureNotificationFrequency,
    JobFrequency,
    MessageKind,
    Severity,
    Status,
)
from lib.core.flapping import Phase
from lib.core.jobs import FailureRule, Policy, period_text
from lib.core.messages import Message, RoundTripDelivery
from lib.core.records import Record
from lib.core.results import CheckResult, JobReport
from lib.core.text import mail_time, moment_in

#: Shorter than the promise by a little, so that cron jitter never skips one.
REPEAT_AFTER = {
    JobFailureNotificationFrequency.EVERYTIME: timedelta(0),
    JobFailureNotificationFrequency.EVERYFIVEMINUTES: timedelta(minutes=4, seconds=30),
    JobFailureNotificationFrequency.EVERYTENMINUTES: timedelta(minutes=9, seconds=15),
    JobFailureNotificationFrequency.EVERYHOUR: timedelta(minutes=59),
    JobFailureNotificationFrequency.EVERYDAY: timedelta(hours=23, minutes=50),
}

#: How long after the first, second, ... attempt the next one may come.
RETRY_AFTER = (
    timedelta(seconds=50),
    timedelta(minutes=2),
    timedelta(minutes=4),
    timedelta(minutes=8),
    timedelta(minutes=15),
    timedelta(minutes=30),
    timedelta(minutes=60),
)
#: An attempt whose run was killed says nothing about the server or the address, so that
#: the next one comes within five minutes: with the jitter of cron and the last minute.
UNFINISHED_RETRY_AFTER = timedelta(minutes=3, seconds=50)

#: How long the record of a job that no run meets any more is kept.
FORGET_AFTER = timedelta(days=30)

#: After so many complete discoveries in a row without it a job is gone: settings may be
#: half written in one minute and whole in the next.
GONE_AFTER = 2

#: By how much sooner a time of ``failures`` is over, for the same reason.
JITTER = timedelta(seconds=30)

#: How many messages about events of one job wait to be sent at most.
MAX_EVENTS_QUEUED = 5

#: The most of a reason that a record keeps.
REASON_LENGTH = 1000

#: How many round-trip mails a record keeps; only the last one is in use.
MAX_ROUND_TRIPS = 3

#: The alerts that a mute and the like hold back, and what lasts with them: when they
#: end, whoever was notified before learns that the job is failing still.
_HELD_BY_PEOPLE = (Decision.MUTED, Decision.ACKNOWLEDGED)
_HELD_BACK = frozenset(
    {
        Decision.FIRST_ALERT,
        Decision.REMINDER,
        Decision.TOO_SOON,
        Decision.ALREADY_NOTIFIED,
        Decision.FLAPPING,
    }
)

#: The times of a record that lie in the past.
_MOMENTS = (
    "failing_since",
    "warning_since",
    "notified_at",
    "alerted_at",
    "pending_since",
    "unseen_since",
)
_moments = attrgetter(*_MOMENTS)

#: Kinds that say that a job is failing, or a warning.
_ALERTS = frozenset({MessageKind.ALERT, MessageKind.REMINDER})


def settled(record: Record, now: datetime) -> Record:
    """Return the record with every time that lies in the future set to ``now``.

    After the clock was set back, a job must not be silent until it has caught up.
    """
    corrected = {
        name: now
        for name, moment in zip(_MOMENTS, _moments(record), strict=True)
        if moment is not None and moment > now
    }
    queued = tuple(
        (
            replace(message, retry_at=now)
            if message.retry_at and message.retry_at > now + 2 * RETRY_AFTER[-1]
            else message
        )
        for message in record.queued
    )
    record = flapping.settled(record, now)
    if not corrected and queued == record.queued:
        return record
    return replace(record, queued=queued, **corrected)


def default_failures(
    schedule: str, recheck: str, *, is_across_network: bool
) -> FailureRule:
    """Return ``failures`` of a target that does not say it.

    Across a network single failures come and go: three in a row where it is checked
    each minute, two where a failing one is checked again soon.  What is on this machine
    is told at once, and so is what would wait for hours for a second check.
    """
    if not is_across_network:
        return FailureRule(1)
    if schedule == JobFrequency.MINUTE:
        return FailureRule(3)
    return FailureRule(2 if recheck else 1)


def default_recoveries(schedule: str, *, is_across_network: bool) -> int:
    """Return ``recoveries`` of a target that does not say it."""
    return 2 if is_across_network and schedule == JobFrequency.MINUTE else 1


def limited(
    record: Record, result: CheckResult, policy: Policy, now: datetime
) -> CheckResult:
    """Return the result; unknown for a job that has been pending for too long.

    It is still asked in each minute run, so that its end is known soon.
    """
    since = record.pending_since
    if result.status is not Status.PENDING or since is None:
        return result
    limit = timedelta(seconds=policy.pending_limit_s)
    if not limit or now - since < limit:
        return result
    reason = (
        f"it has been pending since {mail_time(since, UTC)}, for longer than "
        f"pendinglimit = {period_text(policy.pending_limit_s)}: {result.reason}"
    )
    return replace(result, status=Status.UNKNOWN, reason=reason, ask_again=True)


def status_after(record: Record, status: Status, policy: Policy) -> Status:
    """Return what a job counts as after a result with this status.

    Where ``recoveries`` asks for several results, a failure that somebody was notified
    of lasts until there are as many in a row that are OK or a warning.
    """
    if status.is_failure or not _notified_of_failure(record):
        return status
    is_over = record.recovering + 1 >= policy.recoveries
    return status if is_over else record.status


def decide(
    record: Record,
    result: CheckResult,
    policy: Policy,
    now: datetime,
    held: Decision | None = None,
    *,
    is_recheck: bool = False,
) -> Decision:
    """Return whether and how to notify about a result, given what was sent before.

    ``held`` is why alerts of the job are held back now, if they are.  ``is_recheck``:
    the job ran because it is failing, not by its own schedule; no reminder is due then.
    """
    if result.status is Status.OK and record.is_default:
        return Decision.OK
    decision = _decide(record, result, policy, now)
    if decision is Decision.REMINDER and is_recheck:
        is_flapping = record.flapping_since is not None
        decision = Decision.FLAPPING if is_flapping else Decision.TOO_SOON
    if decision not in _HELD_BACK:
        return decision
    known = record.acknowledged
    is_known = known is not None and known.covers(result.status)
    # What is news in itself was not known when somebody said so.
    if held is None and is_known and not result.is_event:
        held = Decision.ACKNOWLEDGED
    if decision is Decision.FLAPPING and result.status is Status.OK:
        return decision
    if held is not None and result.status is Status.OK:
        # In silence it does not begin to flap; whoever was notified gets the recovery.
        return _decide_change(record, result, policy, now)
    if held is not None:
        return held
    # What was held back is over, and the failure is not.
    if record.held is not None and result.status.is_failure:
        return Decision.FIRST_ALERT
    return decision


def out_of_reach(decision: Decision, why: Decision) -> Decision:
    """Return the decision about a job whose target could not be reached to be judged.

    It is ``why``, unreachable or blind, also if somebody muted or acknowledged it: that
    time is not one of its failure.  A maintenance window is left out of uptime anyway.
    Below the failure count, too: how often a target could not be reached says nothing
    of it.
    """
    is_alert = decision in _HELD_BACK or decision in _HELD_BY_PEOPLE
    return why if is_alert or decision is Decision.NOT_YET else decision


def _decide(
    record: Record, result: CheckResult, policy: Policy, now: datetime
) -> Decision:
    if result.status is Status.PENDING:
        return Decision.PENDING
    phase = flapping.phase(record, result.status, policy, now)
    if phase is Phase.BEGINS:
        return Decision.FIRST_ALERT
    if phase is Phase.LASTS:
        return _decide_flapping(record, result, policy, now)
    if phase is Phase.IS_OVER:
        # Everybody knows that it is flapping.
        is_failure = result.status.is_failure
        return Decision.FIRST_ALERT if is_failure else Decision.RECOVERY
    return _decide_change(record, result, policy, now)


def _decide_change(
    record: Record, result: CheckResult, policy: Policy, now: datetime
) -> Decision:
    """Return the decision about a job that is not flapping."""
    if result.is_event:
        return _decide_event(record, result, policy, now)
    if result.status.is_failure:
        return _decide_failure(record, result, policy, now)
    if status_after(record, result.status, policy).is_failure:
        return Decision.RECOVERING
    if result.status is Status.WARNING:
        return _decide_warning(record, policy)
    return _decide_ok(record, policy)


def _decide_event(
    record: Record, result: CheckResult, policy: Policy, now: datetime
) -> Decision:
    """Return the decision about what is news in itself, whatever was before.

    ``notify`` is how often at most.  Where nothing leaves, a few messages wait, and the
    job keeps the rest for the next one.
    """
    is_warning = result.status is Status.WARNING
    if is_warning and not policy.notifies_warnings:
        return Decision.QUIET_WARNING
    if sum(message.is_event for message in record.queued) >= MAX_EVENTS_QUEUED:
        return Decision.TOO_SOON
    on_change = policy.notify is JobFailureNotificationFrequency.ONSTATECHANGE
    if record.notified_of_event and not on_change:
        is_due = _is_reminder_due(record, policy, now)
        return Decision.FIRST_ALERT if is_due else Decision.TOO_SOON
    if is_warning or _notified_of_failure(record) or record.notified_of_event:
        return Decision.FIRST_ALERT
    return _decide_unnotified(record, result, policy, now)


def _decide_failure(
    record: Record, result: CheckResult, policy: Policy, now: datetime
) -> Decision:
    if record.notified_at is None or not _notified_of_failure(record):
        return _decide_unnotified(record, result, policy, now)
    if (result.status, record.notified_status) == (Status.FAILING, Status.UNKNOWN):
        return Decision.FIRST_ALERT
    if policy.notify is JobFailureNotificationFrequency.ONSTATECHANGE:
        return Decision.ALREADY_NOTIFIED
    is_due = _is_reminder_due(record, policy, now)
    return Decision.REMINDER if is_due else Decision.TOO_SOON


def _decide_flapping(
    record: Record, result: CheckResult, policy: Policy, now: datetime
) -> Decision:
    if not result.status.is_failure or not _is_reminder_due(record, policy, now):
        return Decision.FLAPPING
    return Decision.REMINDER


def _is_reminder_due(record: Record, policy: Policy, now: datetime) -> bool:
    if policy.notify is JobFailureNotificationFrequency.ONSTATECHANGE:
        return False
    notified_at = record.notified_at or now
    return now - min(notified_at, now) >= REPEAT_AFTER[policy.notify]


def _decide_unnotified(
    record: Record, result: CheckResult, policy: Policy, now: datetime
) -> Decision:
    # With the record its count was lost; waiting for a new one could hide an alert.
    count_is_lost = record.status is Status.UNKNOWN and record.failures == 0
    if result.status is Status.FAILING and count_is_lost:
        return Decision.FIRST_ALERT
    enough = _is_enough(record, policy.failures, now)
    return Decision.FIRST_ALERT if enough else Decision.NOT_YET


def _is_enough(record: Record, rule: FailureRule, now: datetime) -> bool:
    """Return whether one more failure brings the first alert."""
    if rule.seconds:
        length = now - min(record.failing_since or now, now)
        return length >= timedelta(seconds=rule.seconds) - JITTER
    if rule.of:
        recent = _with_result(record.recent, rule, is_failure=True)
        return recent.count("F") >= rule.count
    return record.failures + 1 >= rule.count


def _with_result(recent: str, rule: FailureRule, *, is_failure: bool) -> str:
    """Return the last results with one more, from the first failure on."""
    results = recent + ("F" if is_failure else ".")
    return results[-rule.of :].lstrip(".")


def _decide_warning(record: Record, policy: Policy) -> Decision:
    if _notified_of_failure(record):
        # Where no mail says that the failure is over, this is the first of the warning.
        says_so = _notifies_recovery(record, policy) or policy.notifies_warnings
        return Decision.RECOVERY if says_so else Decision.QUIET_RECOVERY
    if not policy.notifies_warnings:
        return Decision.QUIET_WARNING
    is_known = record.notified_status is Status.WARNING and not record.notified_of_event
    return Decision.ALREADY_NOTIFIED if is_known else Decision.FIRST_ALERT


def _decide_ok(record: Record, policy: Policy) -> Decision:
    if record.status is Status.OK:
        return Decision.OK
    if record.notified_of_event:
        says_so = False
    elif record.notified_status is Status.WARNING:
        says_so = policy.notifies_warnings
    else:
        says_so = record.notified_at is not None and _notifies_recovery(record, policy)
    return Decision.RECOVERY if says_so else Decision.QUIET_RECOVERY


def _notified_of_failure(record: Record) -> bool:
    """Return whether the last that anybody was notified of is a failure that lasts."""
    return record.notified_at is not None and not (
        record.notified_status is Status.WARNING or record.notified_of_event
    )


def _notifies_recovery(record: Record, policy: Policy) -> bool:
    on_change = policy.notify is JobFailureNotificationFrequency.ONSTATECHANGE
    # Where reminders are held back, that none comes does not say that it is over.
    is_held = record.held is not None
    return on_change or policy.notifies_recovery or is_held


def is_for_hooks(
    record: Record,
    result: CheckResult,
    decision: Decision,
    policy: Policy,
    now: datetime,
) -> bool:
    """Return whether a hook of the job's author can say what a mail is to say.

    Hooks know failing and OK again; unknown, warnings and flapping get the default
    mail.
    """
    if flapping.phase_of(record, result.status, decision, policy, now):
        return False
    if result.status is Status.OK:
        return record.notified_status is not Status.WARNING
    return result.status is Status.FAILING


def severity_of(
    record: Record, result: CheckResult, phase: Phase | None = None
) -> Severity:
    """Return the severity of the news of a result; ``record`` is from before it.

    The end of a failure is as severe as the failure was, so that it reaches the same
    people.  A job that begins to flap is as severe as the worst that it was.
    """
    if result.status.is_failure or _notified_of_failure(record):
        return Severity.CRITICAL
    if phase is Phase.BEGINS and flapping.worst(record).is_failure:
        return Severity.CRITICAL
    return Severity.WARNING


def advance(record: Record, report: JobReport, now: datetime) -> Record:
    """Return the record to keep after this run.

    The messages of the report are queued from here on: ``notified_at`` moves when
    they are committed, and they stay queued until a server has accepted them.
    """
    if record.is_default and says_only_ok(report):
        # As nearly all jobs in nearly all runs.
        return Record(record.key, report.job.name)
    before = settled(record, now)
    memory = before.memory if report.memory is None else report.memory
    updated = replace(
        before,
        name=report.job.name,
        memory=memory,
        queued=before.queued + report.messages,
        pending_since=_pending_since(before, report.result, now),
        unseen_since=None,
        absences=0,
    )
    result, decision = report.result, report.decision
    if result.status is Status.PENDING:
        return updated
    if not decision.is_about_the_way:
        # How often a target could not be reached says nothing of it.
        updated = replace(updated, recent=_recent(before, report))
        updated = _with_phase(updated, before, report, now)
    if decision is Decision.RECOVERING:
        return replace(updated, recovering=before.recovering + 1)
    if result.status is Status.OK:
        return _with_ok(updated, report, now)
    if result.status is Status.WARNING:
        updated = _with_warning(updated, result, now)
        updated = _with_held(updated, report)
        if decision is Decision.RECOVERY:
            # They are notified of the warning too, and get its end.
            return replace(updated, notified_status=Status.WARNING)
        if decision is Decision.QUIET_RECOVERY:
            return _without_notified(updated)
    else:
        updated = _with_failure(updated, result, now)
        updated = _with_held(updated, report)
    if not decision.notifies:
        return updated
    if before.held is not None:
        # What ends a silence is a first alert, from which an escalation counts.
        updated = replace(updated, alerted_at=None)
    return _notified(updated, report, now)


def says_only_ok(report: JobReport) -> bool:
    """Return whether nothing of a report is to be remembered, unless something was."""
    return (
        report.decision is Decision.OK
        and report.result.status is Status.OK
        and report.memory is None
        and not report.messages
        and not report.result.ask_again
    )


def _pending_since(
    before: Record, result: CheckResult, now: datetime
) -> datetime | None:
    """Return since when it is to be asked again; None if it is not."""
    is_pending = result.status is Status.PENDING or result.ask_again
    return (before.pending_since or now) if is_pending else None


def _with_phase(
    record: Record, before: Record, report: JobReport, now: datetime
) -> Record:
    """Return the record with what the check says of flapping."""
    status, policy = report.result.status, report.job.policy
    phase = flapping.phase_of(before, status, report.decision, policy, now)
    if phase is Phase.IS_OVER:
        return flapping.over(record)
    record = flapping.counted(record, status, policy, now)
    return replace(record, flapping_since=now) if phase is Phase.BEGINS else record


def _recent(before: Record, report: JobReport) -> str:
    """Return the last results, as far as they count for the first alert."""
    rule, is_failure = report.job.policy.failures, report.result.status.is_failure
    is_notified = _notified_of_failure(before) or (
        is_failure and report.decision.notifies
    )
    if not rule.of or is_notified:
        return ""
    return _with_result(before.recent, rule, is_failure=is_failure)


def _fresh(record: Record) -> Record:
    """Return what outlives a failure or a warning."""
    return Record(
        record.key,
        record.name,
        memory=record.memory,
        queued=record.queued,
        recent=record.recent,
    )


def _with_ok(record: Record, report: JobReport, now: datetime) -> Record:
    """Return the record of a job that is OK; while it flaps, with who was notified."""
    ok = replace(
        _fresh(record),
        changes=record.changes,
        checks=record.checks,
        flapping_since=record.flapping_since,
    )
    if record.flapping_since is None:
        return _with_last_event(ok, record, report.job.policy, now)
    ok = replace(
        ok,
        notified_at=record.notified_at,
        notified=record.notified,
        notified_status=record.notified_status,
        delivery=record.delivery,
        thread=record.thread,
    )
    return _notified(ok, report, now) if report.decision.notifies else ok


def _with_last_event(
    ok: Record, record: Record, policy: Policy, now: datetime
) -> Record:
    """Return the record with when people were notified, if more has to wait for it."""
    on_change = policy.notify is JobFailureNotificationFrequency.ONSTATECHANGE
    if on_change or not record.notified_of_event:
        return ok
    if _is_reminder_due(record, policy, now):
        return ok
    return replace(
        ok,
        notified_at=record.notified_at,
        notified_status=record.notified_status,
        notified_of_event=True,
        delivery=record.delivery,
    )


def _with_failure(record: Record, result: CheckResult, now: datetime) -> Record:
    return replace(
        record,
        status=result.status,
        failures=record.failures + 1,
        failing_since=record.failing_since or result.since or now,
        recovering=0,
        warnings=0,
        warning_since=None,
        last_reason=result.reason[:REASON_LENGTH],
    )


def _with_warning(record: Record, result: CheckResult, now: datetime) -> Record:
    return replace(
        record,
        status=Status.WARNING,
        failures=0,
        failing_since=None,
        recovering=0,
        warnings=record.warnings + 1,
        warning_since=record.warning_since or now,
        last_reason=result.reason[:REASON_LENGTH],
    )


def _with_held(record: Record, report: JobReport) -> Record:
    """Return the record with why its alerts are held back, if they are."""
    decision, known = report.decision, record.acknowledged
    lasts = known is not None and known.covers(report.result.status)
    return replace(
        record,
        held=decision if decision.holds_back else None,
        held_by=report.held_by if decision.holds_back else "",
        # Whoever keeps the record knows it.
        held_why="",
        acknowledged=known if lasts else None,
    )


def _without_notified(record: Record) -> Record:
    return replace(
        record,
        notified_at=None,
        alerted_at=None,
        notified=(),
        notified_status=None,
        notified_of_event=False,
        delivery=DeliveryResult.SENT,
        thread=None,
    )


def _notified(record: Record, report: JobReport, now: datetime) -> Record:
    # What a job sends of its own accord does not notify of its failure.
    alerts = [message for message in report.messages if message.kind.is_about_trouble]
    addresses = [to for message in alerts for to in message.to]
    first = alerts[0].message_id if alerts else None
    is_failure = report.result.status.is_failure
    begins = record.alerted_at is None or not _notified_of_failure(record)
    return replace(
        record,
        notified_at=now,
        alerted_at=(now if begins else record.alerted_at) if is_failure else None,
        notified=tuple(dict.fromkeys((*record.notified, *addresses))),
        notified_status=_notified_status(record, report.result.status),
        notified_of_event=report.result.is_event,
        thread=record.thread or first,
    )


def _notified_status(record: Record, status: Status) -> Status:
    """Return what people are notified of: of a job that flaps, the worst."""
    return status if record.flapping_since is None else flapping.worst(record)


def is_sendable(message: Message, now: datetime) -> bool:
    """Return whether an attempt to send a message may be made now."""
    return message.retry_at is None or message.retry_at <= now


def attempted(message: Message, now: datetime) -> Message:
    """Return the message as it is stored before an attempt to send it.

    Until the result of the attempt is stored it counts as one whose run was killed.
    """
    tried = replace(message, attempts=message.attempts + 1, in_doubt=True)
    wait = min(_retry_after(tried), UNFINISHED_RETRY_AFTER)
    return replace(tried, retry_at=now + wait)


def put_off(message: Message, now: datetime) -> Message:
    """Return the message as it is stored after an attempt in vain."""
    return replace(message, retry_at=now + _retry_after(message))


def _retry_after(message: Message) -> timedelta:
    """Return how long a message waits after its last attempt.

    It grows by RETRY_AFTER, plus up to a tenth that depends on the message's id, so
    that many messages are not retried at once.
    """
    wait = RETRY_AFTER[min(message.attempts, len(RETRY_AFTER)) - 1]
    fraction = sum(message.message_id.encode("utf-8", "replace")) % 256 / 255
    return wait * (1 + fraction / 10)


def all_due(record: Record, way: str = "") -> Record:
    """Return the record with every message due now, as after an outage.

    ``way``: only those that leave by it; empty: mail.
    """
    if all(message.retry_at is None for message in record.queued):
        return record
    queued = tuple(
        replace(message, retry_at=None) if message.way == way else message
        for message in record.queued
    )
    return replace(record, queued=queued)


def with_left(record: Record, message_id: str, left: Message | None) -> Record:
    """Return the record with a message replaced by what is left of it, or removed."""
    queued = []
    for message in record.queued:
        if message.message_id != message_id:
            queued.append(message)
        elif left is not None:
            queued.append(left)
    return replace(record, queued=tuple(queued))


def without(record: Record, ids: Collection[str]) -> Record:
    """Return the record without the messages of a bundle that was sent."""
    left = tuple(message for message in record.queued if message.message_id not in ids)
    return replace(record, queued=left) if len(left) < len(record.queued) else record


def without_dead(record: Record, message: Message, dead: Collection[str]) -> Record:
    """Return the record after a message was rejected for good for some addresses.

    Who did not get the alert does not get the recovery.  If nobody is left, everybody
    gets it: they may have learnt of the problem in another way.
    """
    record = not_shared(record, message, dead)
    left = tuple(to for to in record.notified if to not in dead)
    begins = message.kind in _ALERTS
    return replace(record, notified=left) if left and begins else record


def not_shared(record: Record, message: Message, people: Collection[str]) -> Record:
    """Return the record after a message was dropped for some of those it is for.

    Its other parts are no longer shared with them.
    """
    if not any(message.shared_with for message in record.queued):
        return record
    queued = tuple(
        (
            replace(
                other,
                shared_with=tuple(to for to in other.shared_with if to not in people),
            )
            if other.public_id == message.public_id
            else other
        )
        for other in record.queued
    )
    return replace(record, queued=queued)


def with_round_trip(record: Record, round_trip_mail: RoundTripDelivery) -> Record:
    """Return the record after a round-trip mail was accepted or rejected for good.

    Its job is asked again in the next run: after an outage a mail that left late is
    looked for at once.
    """
    others = tuple(
        delivery
        for delivery in record.round_trips
        if delivery.message_id != round_trip_mail.message_id
    )
    return replace(
        record,
        round_trips=(*others, round_trip_mail)[-MAX_ROUND_TRIPS:],
        pending_since=record.pending_since or round_trip_mail.at,
    )


def delivered(
    record: Record,
    kinds: Collection[MessageKind],
    result: DeliveryResult,
    refused: Collection[str] = (),
) -> Record:
    """Return the record with the delivery result of mails of these kinds.

    REFUSED is recorded only if all notified addresses are among those ``refused``.
    """
    if record.notified_at is None or _ALERTS.isdisjoint(kinds):
        return record
    addresses = {to for to in record.notified if "@" in to}
    if result is DeliveryResult.REFUSED and not addresses <= set(refused):
        return record
    return replace(record, delivery=result)


def unseen(record: Record, now: datetime) -> Record | None:
    """Return the record of a job that no run meets any more; None to remove it.

    A record with queued messages is never removed.
    """
    since = record.unseen_since or now
    if now - since > FORGET_AFTER and not record.queued:
        return None
    return replace(record, unseen_since=since)


def not_found(record: Record, now: datetime) -> Record:
    """Return the record after a complete discovery that did not find its job."""
    since = record.unseen_since or now
    return replace(record, unseen_since=since, absences=record.absences + 1)


def is_gone(record: Record) -> bool:
    """Return whether a job that was not OK is certainly not checked any more."""
    return record.absences >= GONE_AFTER


def closed(record: Record, messages: tuple[Message, ...]) -> Record:
    """Return the record of a job that is gone: nothing is left of its failure.

    If the job comes back and fails, that is a first alert.
    """
    left = _fresh(replace(record, queued=record.queued + messages, recent=""))
    return replace(left, unseen_since=record.unseen_since)


#: When the mail about the settings was last due, in the memory of their record.
_MAILED_AT = "mailed_at"
#: Settings that are mended and broken again each minute are no flood of mails.
SETTINGS_AGAIN_AFTER = timedelta(hours=1) - JITTER


def settings_decision(record: Record, decision: Decision, now: datetime) -> Decision:
    """Return the decision about settings that cannot be used: one mail an hour."""
    if decision not in (Decision.FIRST_ALERT, Decision.REMINDER):
        return decision
    mailed_at = moment_in(record.memory.get(_MAILED_AT))
    if mailed_at is None or not timedelta(0) <= now - mailed_at < SETTINGS_AGAIN_AFTER:
        return decision
    return Decision.TOO_SOON


def settings_memory(decision: Decision, now: datetime) -> dict[str, str] | None:
    """Return what the settings' record is to remember; None: what it does already."""
    if decision in (Decision.FIRST_ALERT, Decision.REMINDER):
        return {_MAILED_AT: now.isoformat()}
    return None

"""The default mails about jobs: alert, reminder and recovery, and the test mail.

The subject says what is wrong and why; the body since when, what comes next and how to
check.  The reader was woken by it.  To change a wording, change it here and run
``make approve``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, tzinfo

import msgspec
from msgspec.structs import replace

from lib.core import flapping, schedule
from lib.core.decisions import held_words
from lib.core.enums import (
    Decision,
    JobFailureNotificationFrequency,
    MessageKind,
    Severity,
    Status,
)
from lib.core.flapping import Phase
from lib.core.jobs import PEER_CHECKER, Job, JobKey, Policy, page_name
from lib.core.messages import KIND_OF, Message
from lib.core.policy import severity_of
from lib.core.records import Change, Record
from lib.core.results import CheckResult, JobReport, value_lines
from lib.core.settings import MAIL, Command, Settings, bare_command
from lib.core.text import (
    age,
    counted,
    day_time,
    duration,
    first_line,
    mail_time,
    paragraphs,
)

NEXT_MAIL = {
    JobFailureNotificationFrequency.EVERYTIME: "after each failing check",
    JobFailureNotificationFrequency.EVERYFIVEMINUTES: "in 5 minutes, if still failing",
    JobFailureNotificationFrequency.EVERYTENMINUTES: "in 10 minutes, if still failing",
    JobFailureNotificationFrequency.EVERYHOUR: "in an hour, if still failing",
    JobFailureNotificationFrequency.EVERYDAY: "in a day, if still failing",
    JobFailureNotificationFrequency.ONSTATECHANGE: "on recovery",
}
#: How long more of what is news in itself waits.
NEXT_EVENT = {
    JobFailureNotificationFrequency.EVERYFIVEMINUTES: "in 5 minutes",
    JobFailureNotificationFrequency.EVERYTENMINUTES: "in 10 minutes",
    JobFailureNotificationFrequency.EVERYHOUR: "in an hour",
    JobFailureNotificationFrequency.EVERYDAY: "in a day",
}


class MailContext(msgspec.Struct, frozen=True):
    """What a mail about a job says that neither the job nor its result knows."""

    now: datetime
    #: In which its times are shown.
    zone: tzinfo | None
    #: Makes the commands that it tells people to enter.
    command: Command = bare_command
    #: Further lines about what is not OK, as ``fact_line`` makes them.
    facts: Sequence[str] = ()


def default_message(
    message_id: str,
    job: Job,
    record: Record,
    result: CheckResult,
    decision: Decision,
    context: MailContext,
) -> Message:
    """Return the mail for a decision; ``record`` is the one from before the run.

    Alerts and reminders go to the job's contact, a recovery to those who got the alert.
    """
    kind, now = KIND_OF[decision], context.now
    recovery = kind is MessageKind.RECOVERY
    phase = flapping.phase_of(record, result.status, decision, job.policy, now)
    if phase:
        subject = _flapping_subject(phase, job, record, result, context)
        body = _flapping_body(phase, job, record, result, kind, context)
    else:
        subject = _subject(job, record, result, kind, now)
        body = _body(job, record, result, kind, context)
    return Message(
        message_id=message_id,
        kind=kind,
        subject=subject,
        body=body,
        to=(record.notified if recovery and record.notified else job.contact),
        born_at=now,
        reason="" if recovery else _cause(result),
        host=result.host,
        addresses=result.addresses,
        thread=record.thread,
        since=_start(record, result, kind, now),
        severity=severity_of(record, result, phase),
        status=result.status,
        is_event=result.is_event,
    )


def compose(
    report: JobReport, record: Record, message_id: str, context: MailContext
) -> tuple[Message, ...]:
    """Return the messages of a report as they are queued, the default mail first.

    ``record`` is the one from before the run, ``message_id`` is for the default mail.
    """
    job, result = report.job, report.result
    mails = [
        (
            with_status_lines(message, job, record, result, context)
            if message.kind.is_about_trouble
            else message
        )
        for message in report.messages
    ]
    if not report.default_mail:
        return tuple(mails)
    shown = replace(result, output=paragraphs(result.output, report.hook_trouble))
    default = default_message(message_id, job, record, shown, report.decision, context)
    return (default, *mails)


def with_status_lines(
    message: Message,
    job: Job,
    record: Record,
    result: CheckResult,
    context: MailContext,
) -> Message:
    """Return the mail of a job's own hook with the status lines below its text."""
    status_lines = "\n".join(
        _status_lines(job, record, result, message.kind, context, with_reason=True)
    )
    body = message.body.rstrip()
    return replace(
        message,
        body=f"{body}\n\n{status_lines}\n" if body else f"{status_lines}\n",
        # All messages about one result have the same time.
        born_at=context.now,
        reason=_cause(result),
        host=result.host,
        addresses=result.addresses,
        since=_start(record, result, message.kind, context.now),
        status=result.status,
        is_event=result.is_event,
    )


def _start(
    record: Record, result: CheckResult, kind: MessageKind, now: datetime
) -> datetime:
    """Return when what a message is about began: the failure, or the warning."""
    is_over = kind is MessageKind.RECOVERY
    if is_over or result.status.is_failure is record.status.is_failure:
        return min(record.since or now, now)
    return min(result.since or now, now)


def _cause(result: CheckResult) -> str:
    """Return the reason without the host, which other jobs may fail for as well."""
    return first_line(result.cause or result.reason)


def closing_message(
    message_id: str,
    record: Record,
    to: tuple[str, ...],
    context: MailContext,
) -> Message:
    """Return the mail that a job is gone, for those who know that it was not OK.

    A job that runs still meet is disabled.  ``to`` is for a record that does not say
    who was notified.
    """
    status, now, zone = record.status, context.now, context.zone
    since = mail_time(min(record.since or now, now), zone)
    count = [f"Consecutive failures:  {record.failures}"]
    unseen = record.unseen_since
    not_found = [f"Not found since:       {mail_time(unseen, zone)}"] if unseen else []
    body = [
        *_why_closed(record),
        "",
        f"{_SINCE[status]}         {since}",
        *not_found,
        *(count if status.is_failure else []),
        f"Last reason:           {first_line(record.last_reason)}",
        f"Checked now:           {context.command('list')}",
    ]
    return Message(
        message_id=message_id,
        kind=MessageKind.CLOSING,
        subject=f"{record.name} is no longer checked; it {_WAS[status]} since {since}",
        body="\n".join(body) + "\n",
        to=record.notified or to,
        born_at=now,
        thread=record.thread,
        since=record.since,
        severity=Severity.CRITICAL if status.is_failure else Severity.WARNING,
    )


def lost_records_message(
    message_id: str, lines: Sequence[str], to: tuple[str, ...], now: datetime
) -> Message:
    """Return the mail that says which state files were lost or damaged."""
    count = "a state file was" if len(lines) == 1 else f"{len(lines)} state files were"
    body = [
        "Checker has lost what it knew about some jobs:",
        "",
        *(f"    {line}" for line in lines[:200]),
        *([f"    and {len(lines) - 200} more"] if len(lines) > 200 else []),
        "",
        "These jobs are unknown until they have run again.  If one of them is failing,",
        "you get an alert, even if you got one before; if it is OK, you get no mail.",
        "Damaged files are moved to quarantine/ in the state folder.  The usual causes",
        "are a full or failing disk, or a file that was edited by hand.",
    ]
    return Message(
        message_id=message_id,
        kind=MessageKind.NOTE,
        subject=f"{count} lost or damaged",
        body="\n".join(body) + "\n",
        to=to,
        born_at=now,
    )


def blind_message(
    message_id: str,
    kind: MessageKind,
    since: datetime,
    to: tuple[str, ...],
    now: datetime,
    zone: tzinfo | None,
    thread: str | None,
) -> Message:
    """Return the mail that says from when until when no anchor answered."""
    start, length = mail_time(since, zone), duration(age(since, now))
    body = [
        f"This machine was blind from {start}",
        f"until {mail_time(now, zone)}, for {length}: no anchor answered.",
        "",
        "Network checks were unknown meanwhile, and nobody was notified of them.  They",
        "are made again in the next run; what fails then is an alert of its own.",
    ]
    return Message(
        message_id=message_id,
        kind=kind,
        subject=f"blind from {start} to {mail_time(now, zone)}",
        body="\n".join(body) + "\n",
        to=to,
        born_at=now,
        thread=thread,
        since=since,
    )


def escalation_message(
    message_id: str,
    record: Record,
    to: tuple[str, ...],
    context: MailContext,
) -> Message:
    """Return what those hear to whom a failing job is escalated."""
    now, command = context.now, context.command
    start = record.failing_since or now
    reason = first_line(record.last_reason)
    body = [
        *_indented(record.last_reason),
        "",
        f"Failing since:         {_since(start, context)}",
        f"Consecutive failures:  {record.failures}",
        *_notified_lines(record),
        "Nobody has acknowledged it, so it is escalated to you.",
        f"Acknowledge:           {command('ack', record.name)}",
        f"Check now:             {command('run', record.name)}",
    ]
    return Message(
        message_id=message_id,
        kind=MessageKind.ALERT,
        subject=f"{record.name} is still failing, escalated: {reason}",
        body="\n".join(body) + "\n",
        to=to,
        born_at=now,
        thread=record.thread,
        since=start,
        reason=reason,
        status=record.status,
    )


def _notified_lines(record: Record) -> Iterator[str]:
    """Yield who was notified of a failure, and who was not yet, and why."""
    yield f"Notified:              {', '.join(record.reached) or 'nobody yet'}"
    for message in record.queued:
        if message.kind.is_about_trouble:
            why = first_line(message.last_error) or "the message is queued"
            yield f"Not notified yet:      {', '.join(message.to)}: {why}"


def test_message(
    message_id: str, servername: str, to: tuple[str, ...], now: datetime
) -> Message:
    """Return the message of ``-m test`` and ``-m testmail``."""
    is_mail = all("@" in name for name in to)
    if is_mail:
        body = (
            f"This mail was sent by checker.py -m testmail on {servername}.\n\n"
            "Alerts have the same sender, and their subjects begin in the same way.\n"
            "If this mail is in a spam folder, alerts will be too.\n"
        )
    else:
        body = (
            f"This message was sent by checker.py -m test on {servername}.\n"
            "Alerts come in the same way.\n"
        )
    return Message(
        message_id=message_id,
        kind=MessageKind.NOTE,
        subject=f"test {'mail' if is_mail else 'message'}, nothing is wrong",
        body=body,
        to=to,
        born_at=now,
    )


def proof_message(
    message_id: str,
    channel: str,
    number: int,
    every: str,
    next_at: datetime,
    now: datetime,
    zone: tzinfo | None,
) -> Message:
    """Return the numbered test message of a channel."""
    return Message(
        message_id=message_id,
        kind=MessageKind.PROOF,
        subject=f"test {number} of channel {channel}, nothing is wrong",
        body=(
            f"This is test message number {number} of [channel {channel}], for which "
            f"proof = {every}.\n"
            "It shows that alerts arrive.  If a number is missing, one did not.\n"
            f"The next one is due {mail_time(next_at, zone)}.\n"
        ),
        to=(channel,),
        born_at=now,
    )


def _subject(
    job: Job, record: Record, result: CheckResult, kind: MessageKind, now: datetime
) -> str:
    still = "still " if kind is MessageKind.REMINDER else ""
    reason = first_line(_reason(result))
    if kind is MessageKind.RECOVERY:
        length = duration(now - _start(record, result, kind, now))
        if result.status is Status.WARNING:
            return f"{job.name} is now WARNING, after failing for {length}: {reason}"
        return f"{job.name} is OK again after {length}"
    if result.status is Status.WARNING:
        return f"{job.name} is WARNING: {reason}"
    if result.status is Status.UNKNOWN:
        return f"{job.name} {still}cannot be checked: {reason}"
    return f"{job.name} is {still}failing: {reason}"


def _body(
    job: Job,
    record: Record,
    result: CheckResult,
    kind: MessageKind,
    context: MailContext,
) -> str:
    parts = []
    is_ok = result.status is Status.OK
    if not is_ok:
        parts.append("\n".join(_indented(_reason(result))))
    parts.append("\n".join(_status_lines(job, record, result, kind, context)))
    if result.output and not is_ok:
        parts.append(result.output.rstrip())
    return "\n\n".join(parts) + "\n"


def _flapping_subject(
    phase: Phase,
    job: Job,
    record: Record,
    result: CheckResult,
    context: MailContext,
) -> str:
    """Return the subject of a mail of a job that flaps, or did.

    The mail may have to wait, and the job change meanwhile: it says when it was so.
    """
    now = context.now
    status, reason = _STATUS_WORDS[result.status], ""
    if result.status is not Status.OK:
        reason = f": {first_line(_reason(result))}"
    if phase is Phase.IS_OVER:
        again = " again" if result.status is Status.OK else ""
        length = duration(age(record.flapping_since or now, now))
        steady = f"steady after {length} of flapping"
        return f"{job.name} is {status}{again}, {steady}{reason}"
    status = f"{status} at {day_time(now, context.zone)}{reason}"
    if phase is Phase.LASTS:
        return f"{job.name} is still flapping, {status}"
    changes = _changes(job, record, result, now)
    length = duration(now - changes[0].at)
    return f"{job.name} is flapping, {len(changes)} changes in {length}, {status}"


def _changes(
    job: Job, record: Record, result: CheckResult, now: datetime
) -> tuple[Change, ...]:
    """Return the last changes of the status, this check included."""
    return flapping.counted(record, result.status, job.policy, now).changes


def _flapping_body(
    phase: Phase,
    job: Job,
    record: Record,
    result: CheckResult,
    kind: MessageKind,
    context: MailContext,
) -> str:
    now, zone = context.now, context.zone
    is_ok = result.status is Status.OK
    changes = [
        f"    {mail_time(change.at, zone)}  {_STATUS_WORDS[change.status]}"
        for change in _changes(job, record, result, now)
    ]
    next_mail = _next_mail_flapping(phase, job.policy, result.status)
    status = _STATUS_WORDS[result.status]
    lines = [
        f"Flapping since:        {_since(record.flapping_since or now, context)}",
        f"Last result:           {status}, {mail_time(now, zone)}",
        *_held_before(record, kind),
        *_target(result),
        *_measured(result),
        *context.facts,
        *_about(job),
        f"Checked:               {schedule.words(job.schedule)}",
        f"Next mail:             {next_mail}",
        f"Check now:             {_check_command(job, context.command)}",
    ]
    parts = [
        "" if is_ok else "\n".join(_indented(_reason(result))),
        "\n".join(("The last changes:", *changes)) if changes else "",
        "\n".join(lines),
        "" if is_ok else result.output,
    ]
    return paragraphs(*parts) + "\n"


def _next_mail_flapping(phase: Phase, policy: Policy, status: Status) -> str:
    if phase is Phase.IS_OVER:
        is_ok = status is Status.OK
        return "if it fails again" if is_ok else _next_mail(policy, status)
    steady = "when it is steady for 10 checks or an hour"
    if policy.notify is JobFailureNotificationFrequency.ONSTATECHANGE:
        return steady
    return f"{NEXT_MAIL[policy.notify]}, or {steady}"


#: The status of a job that flaps, in the middle of a sentence.
_STATUS_WORDS = {
    Status.OK: "OK",
    Status.WARNING: "WARNING",
    Status.FAILING: "failing",
    Status.UNKNOWN: "unknown",
}


def _status_lines(
    job: Job,
    record: Record,
    result: CheckResult,
    kind: MessageKind,
    context: MailContext,
    *,
    with_reason: bool = False,
) -> list[str]:
    start = _start(record, result, kind, context.now)
    if kind is MessageKind.RECOVERY:
        return _recovery_lines(job, record, result, start, context)
    reason = [f"Reason:                {first_line(_reason(result))}"]
    count = [f"Consecutive failures:  {record.failures + 1}"]
    is_failure = result.status.is_failure
    return [
        f"{_SINCE[result.status]}         {_since(start, context)}",
        *(count if is_failure else []),
        *_held_before(record, kind),
        *_depending(job),
        *(reason if with_reason else []),
        *_target(result),
        *_measured(result),
        *context.facts,
        *_about(job),
        f"Checked:               {schedule.words(job.schedule)}",
        f"Next mail:             {_next_mail_about(job.policy, result)}",
        f"Check now:             {_check_command(job, context.command)}",
    ]


def fact_line(label: str, words: str) -> str:
    """Return a line of a mail: a label and what it says, below those of the others."""
    with_colon = f"{label}:"
    return f"{with_colon:<23}{words}"


def page_line(settings: Settings, key: JobKey) -> Iterator[str]:
    """Yield the line with the link to a job's page, if ``[page] url`` is given."""
    if settings.page.url:
        yield fact_line("Page", f"{settings.page.url.rstrip('/')}/{page_name(key)}")


def _target(result: CheckResult) -> Iterator[str]:
    """Yield what is checked, and who answered."""
    if result.target:
        yield f"Target:                {result.target}"
    if result.answered_by:
        yield f"Answered by:           {result.answered_by}"


def _held_before(record: Record, kind: MessageKind) -> Iterator[str]:
    """Yield why nobody got this alert, or a reminder, before."""
    if kind is MessageKind.ALERT and record.held is not None:
        words = held_words(record.held, record.held_by, record.held_why)
        yield f"Held back until now:   {words}"


def _depending(job: Job) -> Iterator[str]:
    """Yield how many jobs depend on this one."""
    if job.dependents:
        jobs = (
            f"{counted(job.dependents, 'job')}, of which nobody is notified meanwhile"
        )
        yield f"Depending on it:       {jobs}"


def _measured(result: CheckResult) -> Iterator[str]:
    """Yield a line for each value, with its thresholds."""
    for number, line in enumerate(value_lines(result.values)):
        yield f"{'':<23}{line}" if number else fact_line("Measured", line)


def _about(job: Job) -> Iterator[str]:
    """Yield what the settings say of a job."""
    if job.description:
        yield f"Description:           {job.description}"
    if job.runbook:
        yield f"Runbook:               {job.runbook}"
    if job.tags:
        yield f"Tags:                  {', '.join(job.tags)}"


def _why_closed(record: Record) -> tuple[str, ...]:
    """Return why a job is not checked any more; one that runs meet is disabled."""
    if record.unseen_since is None:
        return _DISABLED
    return _PEER_GONE if record.key.file == PEER_CHECKER else _GONE


_PEER_GONE = (
    "Its line in [peers] is gone, or has another name now.  This is no recovery:",
    "from here on nothing is known of this peer, and it is not asked.",
)
_GONE = (
    "Its section or job file is gone, or has another name now.  This is no",
    "recovery: from here on nothing is known of it.  Where a section was renamed,",
    "was = OLD NAME in it keeps the history.",
)
_DISABLED = (
    "It is disabled: enabled = no in the settings.  This is no recovery: from here",
    "on nothing is known of it.",
)
#: What a job that is gone was before.
_WAS = {
    Status.FAILING: "was failing",
    Status.UNKNOWN: "could not be checked",
    Status.WARNING: "was WARNING",
}
#: The label of the start of each status.
_SINCE = {
    Status.FAILING: "Failing since:",
    Status.UNKNOWN: "Unknown since:",
    Status.WARNING: "Warning since:",
}


def _recovery_lines(
    job: Job,
    record: Record,
    result: CheckResult,
    start: datetime,
    context: MailContext,
) -> list[str]:
    """Return the lines about what is over, and about a warning that is left of it."""
    was_failing = record.status.is_failure
    was_unknown = record.status is record.notified_status is Status.UNKNOWN
    label = _SINCE[Status.FAILING if was_failing else Status.WARNING]
    if was_unknown:
        label = _SINCE[Status.UNKNOWN]
    count = [f"Consecutive failures:  {record.failures}"]
    now_since = "OK since:     " if result.status is Status.OK else "Warning since:"
    lines = [
        f"{label}         {_since(start, context)}",
        f"{now_since}         {mail_time(context.now, context.zone)}",
        *(count if was_failing else []),
        f"Last reason:           {first_line(record.last_reason)}",
        f"Checked:               {schedule.words(job.schedule)}",
    ]
    if result.status is Status.OK:
        return lines
    return [
        *lines,
        f"Next mail:             {_next_mail(job.policy, result.status)}",
        f"Check now:             {_check_command(job, context.command)}",
    ]


def _next_mail_about(policy: Policy, result: CheckResult) -> str:
    if not result.is_event:
        return _next_mail(policy, result.status)
    wait = NEXT_EVENT.get(policy.notify, "")
    return f"{wait}, if there is more" if wait else "as soon as there is more"


def _next_mail(policy: Policy, status: Status) -> str:
    if status.is_failure:
        return NEXT_MAIL[policy.notify]
    if policy.notifies_warnings:
        return "when it is OK again or failing"
    return "if it fails again"


def _since(start: datetime, context: MailContext) -> str:
    """Return the start, and for how long if that is a second or more."""
    length = age(start, context.now)
    if length < timedelta(seconds=1):
        return mail_time(context.now, context.zone)
    return f"{mail_time(start, context.zone)}, for {duration(length)}"


def _check_command(job: Job, command: Command) -> str:
    if job.key.is_way and job.key.identity != MAIL:
        channel, _slash, _service = job.key.identity.partition("/")
        return command("test", channel)
    if job.check_now:
        return command(job.check_now)
    return command("validate") if job.is_own else command("run", job.name)


def _reason(result: CheckResult) -> str:
    return result.reason or "the check failed and gave no reason"


def _indented(text: str) -> list[str]:
    return [f"    {line}" for line in text.splitlines()]

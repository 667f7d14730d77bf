"""The text of every mail that Checker writes itself.

Pure: facts in, subject and body out.  A mail is read by somebody who was woken by it:
the subject says what and why, the first lines since when and how often, then what
comes next and how to look.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from lib.core.enums import (
    Decision,
    JobFailureNotificationFrequency,
    JobFrequency,
    MessageKind,
    Status,
)
from lib.core.jobs import Job
from lib.core.messages import KIND_OF, Message
from lib.core.records import Record
from lib.core.results import CheckResult, JobReport
from lib.core.text import counted, duration, first_line, local, paragraphs, since

EVERY = {
    JobFrequency.MINUTE: "every minute",
    JobFrequency.HOUR: "every hour",
    JobFrequency.DAY: "every day at midnight",
    JobFrequency.DAY_NOON: "every day at noon",
}

NEXT_MAIL = {
    JobFailureNotificationFrequency.EVERYTIME: "each time it fails",
    JobFailureNotificationFrequency.EVERYFIVEMINUTES: "in 5 minutes, while this lasts",
    JobFailureNotificationFrequency.EVERYTENMINUTES: "in 10 minutes, while this lasts",
    JobFailureNotificationFrequency.EVERYHOUR: "in an hour, while this lasts",
    JobFailureNotificationFrequency.EVERYDAY: "in a day, while this lasts",
    JobFailureNotificationFrequency.ONSTATECHANGE: "when it is fine again",
}


def default_message(
    message_id: str,
    job: Job,
    record: Record,
    result: CheckResult,
    decision: Decision,
    now: datetime,
) -> Message:
    """Return the mail for a decision that notifies; ``record`` is that before the run.

    An alert and a reminder go to the job's contact, a recovery to those who got the
    alert.
    """
    kind = KIND_OF[decision]
    recovery = kind is MessageKind.RECOVERY
    return Message(
        message_id=message_id,
        kind=kind,
        subject=_subject(job, record, result, kind, now),
        body=_body(job, record, result, kind, now),
        to=(record.notified if recovery and record.notified else job.contact),
        born_at=now,
        reason="" if recovery else first_line(result.reason),
        thread=record.thread,
        since=min(record.failing_since or now, now),
    )


def compose(
    report: JobReport, record: Record, now: datetime, message_id: str
) -> tuple[Message, ...]:
    """Return the messages of a report as they are queued, the default mail first.

    ``record`` is what was remembered before it, ``message_id`` the default mail's.
    """
    job, result = report.job, report.result
    mails = [
        with_facts(one, job, record, result, now) if one.kind.is_about_trouble else one
        for one in report.messages
    ]
    if not report.default_mail:
        return tuple(mails)
    shown = replace(result, output=paragraphs(result.output, report.hook_trouble))
    default = default_message(message_id, job, record, shown, report.decision, now)
    return (default, *mails)


def with_facts(
    message: Message, job: Job, record: Record, result: CheckResult, now: datetime
) -> Message:
    """Return the mail of a job's own hook with the facts below its author's words."""
    facts = "\n".join(_facts(job, record, result, message.kind, now, with_reason=True))
    body = message.body.rstrip()
    return replace(
        message,
        body=f"{body}\n\n{facts}\n" if body else f"{facts}\n",
        # All that is said of one outcome has one time.
        born_at=now,
        reason=first_line(result.reason),
        since=min(record.failing_since or now, now),
    )


def lost_records_message(
    message_id: str, lines: Sequence[str], to: tuple[str, ...], now: datetime
) -> Message:
    """Return the one mail that says which of Checker's files were lost or damaged."""
    count = "a state file was" if len(lines) == 1 else f"{len(lines)} state files were"
    body = [
        "What Checker remembered of some jobs is gone:",
        "",
        *(f"    {line}" for line in lines[:200]),
        *([f"    and {len(lines) - 200} more"] if len(lines) > 200 else []),
        "",
        "These jobs are unknown until they have run again.  If one of them fails, you",
        "get an alert, even if you had one before; if it is fine, you hear no more.",
        "Damaged files are kept in quarantine/ of the state folder.  A disk that was",
        "full or failing, or a file edited by hand, are the usual causes.",
    ]
    return Message(
        message_id=message_id,
        kind=MessageKind.NOTE,
        subject=f"{count} lost or damaged",
        body="\n".join(body) + "\n",
        to=to,
        born_at=now,
    )


def trial_message(
    message_id: str, servername: str, to: tuple[str, ...], now: datetime
) -> Message:
    """Return the mail of ``-m testmail``."""
    return Message(
        message_id=message_id,
        kind=MessageKind.NOTE,
        subject="a test mail, nothing is wrong",
        body=(
            f"Somebody typed checker.py -m testmail on {servername}.\n\n"
            "Alerts come from this sender, and their subjects begin like this one.\n"
            "If this mail was in a spam folder, alerts will be too.\n"
        ),
        to=to,
        born_at=now,
    )


def _subject(
    job: Job, record: Record, result: CheckResult, kind: MessageKind, now: datetime
) -> str:
    if kind is MessageKind.RECOVERY:
        return f"{job.name} is fine again after {_how_long(record, now)}"
    still = "still " if kind is MessageKind.REMINDER else ""
    reason = first_line(_reason(result))
    if result.status is Status.UNKNOWN:
        return f"{job.name} {still}could not be checked: {reason}"
    return f"{job.name} is {still}failing: {reason}"


def _body(
    job: Job, record: Record, result: CheckResult, kind: MessageKind, now: datetime
) -> str:
    parts = []
    if kind is not MessageKind.RECOVERY:
        parts.append("\n".join(_indented(_reason(result))))
    parts.append("\n".join(_facts(job, record, result, kind, now)))
    if result.output and kind is not MessageKind.RECOVERY:
        parts.append(result.output.rstrip())
    return "\n\n".join(parts) + "\n"


def _facts(
    job: Job,
    record: Record,
    result: CheckResult,
    kind: MessageKind,
    now: datetime,
    *,
    with_reason: bool = False,
) -> list[str]:
    if kind is MessageKind.RECOVERY:
        start = min(record.failing_since or now, now)
        return [
            f"Was failing:  {since(start, now)}",
            f"Until:        {local(now)}",
            f"In a row:     {counted(record.failures, 'failure')}",
            f"Last reason:  {first_line(record.last_reason)}",
            f"Checked:      {EVERY[job.frequency]}",
        ]
    start = min(record.failing_since or now, now)
    reason = [f"Reason:     {first_line(_reason(result))}"] if with_reason else []
    unknown = result.status is Status.UNKNOWN
    return [
        f"{'Unknown: ' if unknown else 'Failing: '}   {_since(start, now)}",
        f"In a row:   {counted(record.failures + 1, 'failure')}",
        *reason,
        f"Checked:    {EVERY[job.frequency]}",
        f"Next mail:  {NEXT_MAIL[job.policy.notify]}",
        f"Look now:   checker.py -m {_how_to_look(job)}",
    ]


def _since(start: datetime, now: datetime) -> str:
    # Of a moment ago there is no length to tell.
    if now - start < timedelta(seconds=1):
        return f"since {local(now)}"
    return since(start, now)


def _how_to_look(job: Job) -> str:
    if job.is_own:
        return "validate"
    return job.check_now or f"run {shlex.quote(job.name)}"


def _reason(result: CheckResult) -> str:
    return result.reason or "the check said no, and gave no reason"


def _indented(text: str) -> list[str]:
    return [f"    {line}" for line in text.splitlines()]


def _how_long(record: Record, now: datetime) -> str:
    return duration(now - min(record.failing_since or now, now))

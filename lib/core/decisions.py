"""Why somebody was notified, or was not: each decision as codes, and in a sentence.

An entry of the audit log is about one job: what was found and what the policy said, or
what became of a message.  A job that is OK and stays so leaves none.  Stored are codes
and facts (``lib/storage/auditlog.py`` keeps the lines); whoever reads the log goes by
these.  ``sentence`` makes the words of them, where people read.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from lib.core.enums import Decision, DeliveryResult, MessageKind, Status
from lib.core.jobs import JobKey, Policy
from lib.core.messages import Message
from lib.core.records import Record
from lib.core.results import CheckResult, JobReport
from lib.core.text import counted, duration, first_line, local, policy_words

#: As much of a reason, a subject or a server's answer as an entry holds.
MAX_LETTERS = 300
#: Of many addresses an entry names so many.
MAX_ADDRESSES = 5


class Event(enum.StrEnum):
    """What became of a message, or of what was remembered: a stable code."""

    QUEUED = "queued"
    SENT = "sent"
    #: With nomail: it was written to the log, and nobody was mailed.
    LOGGED = "logged"
    #: An attempt failed; there is another one.
    FAILED = "failed"
    #: It has not left in the run that queued it.
    DEFERRED = "deferred"
    #: Newer news of the same job stand for it.
    MERGED = "merged"
    #: It left as a part of one mail for many.
    BUNDLED = "bundled"
    #: The server refuses it for good.
    DROPPED = "dropped"
    JOB_FORGOTTEN = "job_forgotten"
    STATE_LOST = "state_lost"
    STATE_READ_AGAIN = "state_read_again"


@dataclass(frozen=True, slots=True)
class People:
    """Some recipients, and how many more there were."""

    addresses: tuple[str, ...] = ()
    more: int = 0

    def __str__(self) -> str:
        words = ", ".join(self.addresses) or "nobody"
        return f"{words} and {counted(self.more, 'other')}" if self.more else words


@dataclass(frozen=True, slots=True)
class JobDetails:
    """What was found, and what a decision was made from."""

    status: Status
    failures: int = 0
    reason: str = ""
    policy: Policy = Policy()
    #: Who was notified before, and when.
    notified: People = People()
    notified_at: datetime | None = None
    #: The message that notifies them is still queued.
    is_queued: bool = False
    #: What became of it else.
    delivery: DeliveryResult = DeliveryResult.SENT
    #: Where it is over: since when it lasted.
    failing_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class MailDetails:
    """A message, and what became of it."""

    message_id: str
    kind: MessageKind
    to: People
    subject: str = ""
    #: Why it has not left, or never will.
    why: str = ""
    attempts: int = 0
    retry_at: datetime | None = None
    #: How long it has waited.
    delay_s: float = 0.0
    by_backup: bool = False
    #: What it became a part of.
    into: str = ""
    into_subject: str = ""
    #: What became of that.
    into_delivery: DeliveryResult = DeliveryResult.SENT


@dataclass(frozen=True, slots=True)
class StateDetails:
    """What happened to what was remembered."""

    #: What is lost, and why.
    what: str = ""
    #: Since when no run has met the job.
    unseen_since: datetime | None = None
    #: How many messages are queued in what can be read again.
    queued: int = 0


Details = JobDetails | MailDetails | StateDetails

#: The details that belong to a code.
DETAILS: Mapping[Decision | Event, type[Details]] = {
    **dict.fromkeys(Decision, JobDetails),
    **dict.fromkeys(Event, MailDetails),
    Event.JOB_FORGOTTEN: StateDetails,
    Event.STATE_LOST: StateDetails,
    Event.STATE_READ_AGAIN: StateDetails,
}


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the audit log: what was decided about a job, and why."""

    at: datetime
    #: The job's key and its name.
    key: JobKey
    name: str
    code: Decision | Event
    details: Details


# What a run decides.


def judged(
    report: JobReport, before: Record, after: Record, now: datetime
) -> Iterator[Entry]:
    """Yield what was decided about a job's outcome, and each mail queued for it.

    Nothing for a job that is OK and stays so, or that is merely under way again.
    """
    job, result = report.job, report.result
    if _is_news(result, report.decision, before):
        over = result.status is Status.OK
        details = JobDetails(
            result.status,
            after.failures,
            _cut(first_line(result.reason)),
            job.policy,
            _people(before.notified),
            before.notified_at,
            any(one.kind.is_about_trouble for one in before.queued),
            before.delivery,
            before.failing_since if over else None,
        )
        yield Entry(now, job.key, job.name, report.decision, details)
    for message in report.messages:
        yield queued(job.key, job.name, message, now)


def _is_news(result: CheckResult, decision: Decision, before: Record) -> bool:
    if decision is Decision.PENDING:
        return not before.pending or before.failures > 0
    return result.status is not Status.OK or decision is not Decision.OK


def queued(key: JobKey, name: str, message: Message, now: datetime) -> Entry:
    """Return that a mail is queued."""
    return Entry(now, key, name, Event.QUEUED, _mail(message))


def sent(
    key: JobKey, name: str, message: Message, now: datetime, *, by_second: bool = False
) -> Entry:
    """Return that a mail was taken by the mail server."""
    waited_s = max(0.0, (now - message.born_at).total_seconds())
    details = replace(_mail(message), delay_s=round(waited_s), by_backup=by_second)
    return Entry(now, key, name, Event.SENT, details)


def logged(key: JobKey, name: str, message: Message, now: datetime) -> Entry:
    """Return that a mail went to the log, and to nobody."""
    return Entry(now, key, name, Event.LOGGED, _mail(message))


def failed(key: JobKey, name: str, message: Message, why: str, now: datetime) -> Entry:
    """Return that an attempt failed; ``message`` as it is queued after it."""
    details = replace(
        _mail(message),
        why=_cut(first_line(why)),
        attempts=message.attempts,
        retry_at=message.retry_at,
    )
    return Entry(now, key, name, Event.FAILED, details)


def deferred(record: Record, message: Message, why: str, now: datetime) -> Entry:
    """Return that a mail has not left in the run that queued it, and why."""
    details = replace(_mail(message), why=_cut(first_line(why)))
    return Entry(now, record.key, record.name, Event.DEFERRED, details)


def dropped(
    key: JobKey, name: str, message: Message, address: str, why: str, now: datetime
) -> Entry:
    """Return that a mail will never be sent to an address, and why."""
    details = replace(_mail(message), to=People((address,)), why=_cut(first_line(why)))
    return Entry(now, key, name, Event.DROPPED, details)


def merged(before: Record, after: Record, now: datetime) -> Iterator[Entry]:
    """Yield the mails that newer news of the same job stand for, if any."""
    there = {one.message_id for one in before.queued}
    for into in [one for one in after.queued if one.message_id not in there]:
        yield from _parts(before, after, into, Event.MERGED, now)


def bundled(
    before: Record,
    after: Record,
    bundle: Message,
    sent_at: datetime | None,
    result: DeliveryResult = DeliveryResult.SENT,
) -> Iterator[Entry]:
    """Yield the mails of a job that one mail for many, owed no more, stood for."""
    if sent_at is not None:
        yield from _parts(before, after, bundle, Event.BUNDLED, sent_at, result)


def _parts(
    before: Record,
    after: Record,
    into: Message,
    code: Event,
    now: datetime,
    delivery: DeliveryResult = DeliveryResult.SENT,
) -> Iterator[Entry]:
    left = {one.message_id for one in after.queued}
    subject = _cut(first_line(into.subject))
    for message in before.queued:
        if message.message_id not in left:
            details = replace(
                _mail(message),
                into=into.message_id,
                into_subject=subject,
                into_delivery=delivery,
            )
            yield Entry(now, before.key, before.name, code, details)


def forgotten(record: Record, now: datetime) -> Entry:
    """Return that a job which no run meets any more is forgotten."""
    details = StateDetails(unseen_since=record.unseen_since)
    return Entry(now, record.key, record.name, Event.JOB_FORGOTTEN, details)


def lost(key: JobKey, lines: Iterable[str], now: datetime) -> Iterator[Entry]:
    """Yield what of our memory was lost; ``key`` is that of Checker's own record."""
    for line in lines:
        yield Entry(now, key, "state", Event.STATE_LOST, StateDetails(_cut(line)))


def read_again(records: Iterable[Record], now: datetime) -> Iterator[Entry]:
    """Yield that what was remembered of these jobs can be read again."""
    for record in records:
        details = StateDetails(queued=len(record.queued))
        yield Entry(now, record.key, record.name, Event.STATE_READ_AGAIN, details)


def _people(addresses: tuple[str, ...]) -> People:
    more = max(0, len(addresses) - MAX_ADDRESSES)
    return People(addresses[:MAX_ADDRESSES], more)


def _mail(message: Message) -> MailDetails:
    return MailDetails(
        message.message_id,
        message.kind,
        _people(message.to),
        _cut(first_line(message.subject)),
    )


def _cut(text: str) -> str:
    return text if len(text) <= MAX_LETTERS else f"{text[: MAX_LETTERS - 4]} ..."


# Words.

#: What became of a mail of nomail.
NOT_MAILED = "logged, not mailed (nomail)"
#: A mail was ...
DELIVERED = {
    DeliveryResult.SENT: "sent",
    DeliveryResult.LOGGED: NOT_MAILED,
    DeliveryResult.REFUSED: "refused for good",
}
#: A decision in a few words, for the log.
WORDS = {
    Decision.OK: "fine",
    Decision.PENDING: "pending",
    Decision.NOT_YET: "failing, too few in a row to tell",
    Decision.FIRST_ALERT: "failing, first alert",
    Decision.REMINDER: "failing, reminder",
    Decision.TOO_SOON: "failing, too soon for a reminder",
    Decision.ALREADY_NOTIFIED: "failing, already told",
    Decision.RECOVERY: "fine again, recovery told",
    Decision.QUIET_RECOVERY: "fine again",
}


def sentence(entry: Entry) -> str:
    """Return what an entry says, in words."""
    details = entry.details
    if isinstance(details, MailDetails):
        return _mail_sentence(entry.code, details)
    if isinstance(details, StateDetails):
        return _state_sentence(entry.code, details)
    reason = f": {details.reason}" if details.reason else ""
    policy = _POLICY_SAID.get(entry.code)
    said = policy(details, entry.at) if policy else ""
    return f"{_found(details)}{reason}{f'; {said}' * bool(said)}"


def _found(details: JobDetails) -> str:
    if details.status in (Status.FAILING, Status.UNKNOWN):
        return f"{details.status}, {details.failures} in a row"
    is_pending = details.status is Status.PENDING
    return "under way" if is_pending else str(details.status)


def _notified(details: JobDetails, now: datetime) -> str:
    """Return who was notified, and when; or what became of the mail otherwise."""
    people, at = details.notified, local(details.notified_at or now)
    if details.is_queued:
        return f"the mail of {at} to {people} has still to leave"
    if details.delivery is not DeliveryResult.SENT:
        return f"the mail of {at} to {people} was {DELIVERED[details.delivery]}"
    is_one = len(people.addresses) == 1
    return f"{people} {'was' if is_one else 'were'} told at {at}"


def _no_mail_of_recovery(details: JobDetails, now: datetime) -> str:
    if details.notified_at is None:
        return "fine again, no mail: nobody was told that it was not"
    rule = policy_words(details.policy)
    notified = _notified(details, now)
    return f"fine again, no mail: the policy is {rule} it fails; {notified}"


#: What the policy said, and to what.
_POLICY_SAID: Mapping[Decision | Event, Callable[[JobDetails, datetime], str]] = {
    Decision.PENDING: lambda one, at: "asked again in the next minute run",
    Decision.NOT_YET: lambda one, at: (
        f"no mail yet: the first one comes after {one.policy.failures} in a row"
    ),
    Decision.FIRST_ALERT: lambda one, at: (
        f"first alert, as the policy is: {policy_words(one.policy)}"
    ),
    Decision.REMINDER: lambda one, at: (
        f"reminder: {_notified(one, at)}, and the policy is: {policy_words(one.policy)}"
    ),
    Decision.TOO_SOON: lambda one, at: (
        f"no mail, too soon: {_notified(one, at)}, and the policy is: "
        f"{policy_words(one.policy)}"
    ),
    Decision.ALREADY_NOTIFIED: lambda one, at: (
        f"no mail: {_notified(one, at)}; the next one comes when it is fine again"
    ),
    Decision.RECOVERY: lambda one, at: f"recovery mail: {_notified(one, at)}",
    Decision.QUIET_RECOVERY: _no_mail_of_recovery,
}


def _mail_sentence(code: Decision | Event, mail: MailDetails) -> str:
    what = f"{mail.kind} to {mail.to}"
    if code is Event.FAILED and mail.attempts:
        what = f"attempt {mail.attempts} to send {what}"
    return f"{what} {_became(code, mail)}: {mail.subject!r}"


def _became(code: Decision | Event, mail: MailDetails) -> str:
    """Return what became of a message, as the end of a sentence."""
    if code is Event.SENT:
        # Cron's minute is no delay.
        waited = duration(timedelta(seconds=mail.delay_s)) if mail.delay_s >= 60 else ""
        late = f", {waited} late" if waited else ""
        return f"was sent{late}{', by the second account' * mail.by_backup}"
    if code is Event.FAILED:
        after = f"after {local(mail.retry_at)}" if mail.retry_at else "in the next run"
        return f"failed: {mail.why}; tried again {after}"
    if code is Event.DEFERRED:
        return f"waits: {mail.why or 'it was not its turn yet'}"
    if code is Event.MERGED:
        return (
            f"was not sent in time, and is a part of newer news, {mail.into_subject!r}"
        )
    if code is Event.BUNDLED:
        return f"was {DELIVERED[mail.into_delivery]} as a part of {mail.into_subject!r}"
    if code is Event.LOGGED:
        return f"was {NOT_MAILED}"
    if code is Event.DROPPED:
        return f"was refused and is not tried again: {mail.why}"
    return "is to be sent"


def _state_sentence(code: Decision | Event, details: StateDetails) -> str:
    if code is Event.STATE_LOST:
        return f"what was remembered is gone: {details.what}"
    if code is Event.STATE_READ_AGAIN:
        mails = f"; {counted(details.queued, 'mail')} owed" if details.queued else ""
        return f"its state file, which could not be read, can be read again{mails}"
    at = details.unseen_since
    since = f" since {local(at)}" if at else ""
    return f"no run met this job{since}; what was remembered of it is forgotten"

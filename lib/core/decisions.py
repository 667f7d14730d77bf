"""Entries of the audit log: why somebody was notified, or was not.

An entry is about one job: what a check found and what the policy decided, or what
became of a message.  A job that stays OK has none.  Entries hold stable codes and
facts (``lib/storage/auditlog.py`` stores them); ``sentence`` words them for people.
To add a code, give it its details in DETAILS and its words in ``sentence``.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from lib.core.encoding import Count, Moment, Seconds, Stored
from lib.core.enums import Decision, DeliveryResult, MessageKind, Status
from lib.core.flapping import Phase, phase_of
from lib.core.jobs import Job, JobKey, Policy
from lib.core.messages import Message
from lib.core.records import Record
from lib.core.results import CheckResult, JobReport
from lib.core.sanitize import quoted
from lib.core.text import (
    TimeText,
    counted,
    cut,
    duration,
    failures_words,
    first_line,
    policy_words,
)

if TYPE_CHECKING:
    from lib.core.silences import Held

#: The most of a reason, a subject or a server's response that an entry holds.
MAX_CHARACTERS = 300
#: The most addresses that an entry names.
MAX_ADDRESSES = 5


class Event(enum.StrEnum):
    """What became of a message, or of a job's record: a stable code."""

    QUEUED = "queued"
    SENT = "sent"
    #: With nomail: written to the log instead of sent.
    LOGGED = "logged"
    #: An attempt failed; it is retried.
    FAILED = "failed"
    #: Not sent in the run that queued it.
    DEFERRED = "deferred"
    #: Replaced by a newer message about the same job.
    MERGED = "merged"
    #: Sent as part of a bundle.
    BUNDLED = "bundled"
    #: Rejected for good by the server.
    DROPPED = "dropped"
    #: Below the level of its channel.
    SKIPPED = "skipped"
    #: Its channel is gone: others get it.
    REDIRECTED = "redirected"
    JOB_FORGOTTEN = "job_forgotten"
    #: It is not checked any more, and was not OK.
    JOB_GONE = "job_gone"
    #: A section was renamed; the job has the record of the old name.
    JOB_RENAMED = "job_renamed"
    STATE_LOST = "state_lost"
    STATE_READ_AGAIN = "state_read_again"
    #: What somebody asked for: no alert until then, alerts again, no reminders.
    MUTE = "mute"
    UNMUTE = "unmute"
    ACKNOWLEDGE = "acknowledge"
    #: And a check in the next run.
    CHECK = "check"
    #: What is shown on the page from here on, or no longer.
    ANNOUNCE = "announce"
    WITHDRAW = "withdraw"


class People(Stored, frozen=True):
    """Some recipients, and how many more there were."""

    addresses: tuple[str, ...] = ()
    more: Count = 0

    def __str__(self) -> str:
        words = ", ".join(self.addresses) or "nobody"
        return f"{words} and {counted(self.more, 'other')}" if self.more else words


class JobDetails(Stored, frozen=True):
    """What a check found, and what the decision was based on."""

    status: Status
    #: Consecutive failures.
    failures: Count = 0
    reason: str = ""
    policy: Policy = Policy()
    #: Who was notified before, and when; only those whose message is still queued, if
    #: there are such.
    notified: People = People()
    notified_at: Moment | None = None
    #: Whether the message that notifies them is still queued.
    is_queued: bool = False
    #: What became of that message otherwise.
    delivery: DeliveryResult = DeliveryResult.SENT
    #: After a recovery: since when it was failing, or a warning.
    failing_since: Moment | None = None
    #: What the check says of flapping, and how many changes there were of late.
    flapping: Phase | None = None
    changes: Count = 0
    #: Who muted or acknowledged it, or the maintenance window; why, and until when.
    held_by: str = ""
    held_why: str = ""
    held_until: Moment | None = None
    #: Why alerts were held back until then.
    held_before: Decision | None = None


class MailDetails(Stored, frozen=True):
    """A message, and what became of it."""

    message_id: str
    kind: MessageKind
    to: People
    subject: str = ""
    #: Why it was not sent.
    why: str = ""
    #: When it was queued; None: then.
    born_at: Moment | None = None
    attempts: Count = 0
    retry_at: Moment | None = None
    #: Nothing was accepted: only one message, of all, is tried then.
    is_outage: bool = False
    #: How late it was sent.
    delay_s: Seconds = 0.0
    by_backup: bool = False
    #: The message it became part of.
    into: str = ""
    into_subject: str = ""
    #: What became of that message.
    into_delivery: DeliveryResult = DeliveryResult.SENT


class StateDetails(Stored, frozen=True):
    """What happened to a record."""

    #: What was lost, and why; the name before; the status of a job that is gone.
    what: str = ""
    #: Since when no run has met the job.
    unseen_since: Moment | None = None
    #: How many messages are queued in a record that is readable again.
    queued: Count = 0


class RequestDetails(Stored, frozen=True):
    """What somebody asked for, about a job and perhaps others, or announced."""

    #: The names, patterns and tags as they were given.
    jobs: str = ""
    who: str = ""
    #: Why; of an announcement its text.
    why: str = ""
    until: Moment | None = None


Details = JobDetails | MailDetails | StateDetails | RequestDetails

#: The type of details of each code.
DETAILS: Mapping[Decision | Event, type[Details]] = {
    **dict.fromkeys(Decision, JobDetails),
    **dict.fromkeys(Event, MailDetails),
    Event.JOB_FORGOTTEN: StateDetails,
    Event.JOB_GONE: StateDetails,
    Event.JOB_RENAMED: StateDetails,
    Event.STATE_LOST: StateDetails,
    Event.STATE_READ_AGAIN: StateDetails,
    Event.MUTE: RequestDetails,
    Event.UNMUTE: RequestDetails,
    Event.ACKNOWLEDGE: RequestDetails,
    Event.CHECK: RequestDetails,
    Event.ANNOUNCE: RequestDetails,
    Event.WITHDRAW: RequestDetails,
}
#: The codes by their words.
CODES = {str(code): code for code in DETAILS}


class Entry(msgspec.Struct, frozen=True):
    """An entry of the audit log: what was decided about a job, and why."""

    at: datetime
    #: The job's key and its name.
    key: JobKey
    name: str
    code: Decision | Event
    details: Details


def judged(
    report: JobReport,
    before: Record,
    after: Record,
    now: datetime,
    held: Held | None = None,
) -> Iterator[Entry]:
    """Yield the decision about a job's result, and each message queued for it.

    Nothing for a job that stays OK, or that is pending again.  ``held`` is what holds
    its alerts back, if that is the decision.
    """
    job, result = report.job, report.result
    if _is_news(result, report.decision, before):
        over = report.decision in (Decision.RECOVERY, Decision.QUIET_RECOVERY)
        phase = phase_of(before, result.status, report.decision, job.policy, now)
        waiting = _waiting(before)
        details = JobDetails(
            result.status,
            after.failures,
            _line(result.reason),
            job.policy,
            people_of(waiting or before.notified),
            before.notified_at,
            bool(waiting),
            before.delivery,
            before.since if over else None,
            phase,
            len(after.changes) if phase else 0,
            held.by if held else before.held_by,
            _line(held.why if held else before.held_why),
            held.until if held else None,
            before.held,
        )
        yield Entry(now, job.key, job.name, report.decision, details)
    for message in report.messages:
        yield queued(job.key, job.name, message, now)


def _is_news(result: CheckResult, decision: Decision, before: Record) -> bool:
    if decision is Decision.PENDING:
        return not before.pending or before.failures > 0
    return result.status is not Status.OK or decision is not Decision.OK


def queued(key: JobKey, name: str, message: Message, now: datetime) -> Entry:
    """Return the entry of a message that was queued."""
    details = replace(_mail(message), born_at=None)
    return Entry(now, key, name, Event.QUEUED, details)


def sent(
    key: JobKey, name: str, message: Message, now: datetime, *, by_backup: bool = False
) -> Entry:
    """Return the entry of a message that a mail server accepted."""
    delay_s = max(0.0, (now - message.born_at).total_seconds())
    details = replace(_mail(message), delay_s=round(delay_s), by_backup=by_backup)
    return Entry(now, key, name, Event.SENT, details)


def logged(key: JobKey, name: str, message: Message, now: datetime) -> Entry:
    """Return the entry of a message that was written to the log instead of sent."""
    return Entry(now, key, name, Event.LOGGED, _mail(message))


def failed(key: JobKey, name: str, message: Message, why: str, now: datetime) -> Entry:
    """Return the entry of a failed attempt; ``message`` as it is queued after it."""
    details = replace(
        _mail(message),
        why=_line(why),
        attempts=message.attempts,
        retry_at=message.retry_at,
    )
    return Entry(now, key, name, Event.FAILED, details)


def with_retry(
    entry: Entry,
    held_until: datetime | None,
    outage_until: datetime | None,
    *,
    all_are_due: bool,
) -> Entry:
    """Return the entry of a failed attempt with when the next one really comes.

    ``held_until``: no session is opened before.  ``outage_until``: nothing was
    accepted, and then one message is tried.  ``all_are_due``: an outage has just ended.
    """
    details = entry.details
    assert isinstance(details, MailDetails)
    retry_at, is_outage = details.retry_at, False
    if all_are_due:
        retry_at = None
    elif outage_until is not None and details.kind is not MessageKind.ROUND_TRIP:
        retry_at, is_outage = outage_until, True
    if held_until is not None:
        retry_at = max(held_until, retry_at or held_until)
    return replace(
        entry, details=replace(details, retry_at=retry_at, is_outage=is_outage)
    )


def deferred(record: Record, message: Message, why: str, now: datetime) -> Entry:
    """Return the entry of a message that the run that queued it did not send."""
    details = replace(_mail(message), why=_line(why))
    return Entry(now, record.key, record.name, Event.DEFERRED, details)


def skipped(record: Record, message: Message, now: datetime) -> Entry:
    """Return the entry of a message that is below the level of its channel."""
    return Entry(now, record.key, record.name, Event.SKIPPED, _mail(message))


def redirected(record: Record, message: Message, why: str, now: datetime) -> Entry:
    """Return the entry of a message that others get, as its channel is gone."""
    details = replace(_mail(message), why=_line(why))
    return Entry(now, record.key, record.name, Event.REDIRECTED, details)


def dropped(
    key: JobKey, name: str, message: Message, address: str, why: str, now: datetime
) -> Entry:
    """Return the entry of a message that an address will never get."""
    details = replace(_mail(message), to=People((address,)), why=_line(why))
    return Entry(now, key, name, Event.DROPPED, details)


def merged(before: Record, after: Record, now: datetime) -> Iterator[Entry]:
    """Yield an entry for each message that was merged into a newer one of its job."""
    old_ids = {message.message_id for message in before.queued}
    new = [message for message in after.queued if message.message_id not in old_ids]
    for into in new:
        yield from _parts(before, after, into, Event.MERGED, now)


def superseded(record: Record, old: Message, new: Message, now: datetime) -> Entry:
    """Return the entry of a reminder that another message of its job stands for."""
    details = replace(_mail(old), into=new.message_id, into_subject=_line(new.subject))
    return Entry(now, record.key, record.name, Event.MERGED, details)


def bundled(
    before: Record,
    after: Record,
    bundle: Message,
    sent_at: datetime | None,
    result: DeliveryResult = DeliveryResult.SENT,
) -> Iterator[Entry]:
    """Yield an entry for each message of a job that a finished bundle contained."""
    if sent_at is not None:
        yield from _parts(before, after, bundle, Event.BUNDLED, sent_at, result)


def delivery_of(entry: Entry) -> DeliveryResult | None:
    """Return what became of a message, if this is the entry that says how it left."""
    if entry.code is Event.BUNDLED and isinstance(entry.details, MailDetails):
        return entry.details.into_delivery
    return _DELIVERED_BY.get(entry.code)


_DELIVERED_BY: Mapping[Decision | Event, DeliveryResult] = {
    Event.SENT: DeliveryResult.SENT,
    Event.LOGGED: DeliveryResult.LOGGED,
}


def _parts(
    before: Record,
    after: Record,
    into: Message,
    code: Event,
    now: datetime,
    delivery: DeliveryResult = DeliveryResult.SENT,
) -> Iterator[Entry]:
    queued_ids = {message.message_id for message in after.queued}
    subject = _line(into.subject)
    for message in before.queued:
        if message.message_id not in queued_ids:
            details = replace(
                _mail(message),
                into=into.message_id,
                into_subject=subject,
                into_delivery=delivery,
            )
            yield Entry(now, before.key, before.name, code, details)


def forgotten(record: Record, now: datetime) -> Entry:
    """Return the entry of a job whose record is removed, as no run meets it."""
    details = StateDetails(unseen_since=record.unseen_since)
    return Entry(now, record.key, record.name, Event.JOB_FORGOTTEN, details)


def gone(record: Record, messages: Iterable[Message], now: datetime) -> Iterator[Entry]:
    """Yield the end of a job that is not checked any more, and what it queues."""
    details = StateDetails(str(record.status), unseen_since=record.unseen_since)
    yield Entry(now, record.key, record.name, Event.JOB_GONE, details)
    for message in messages:
        yield queued(record.key, record.name, message, now)


def renamed(job: Job, before: Record, now: datetime) -> Entry:
    """Return the entry of a job that has the record of its old name from here on."""
    details = StateDetails(_line(before.name), queued=len(before.queued))
    return Entry(now, job.key, job.name, Event.JOB_RENAMED, details)


def requested(
    code: Event, key: JobKey, name: str, details: RequestDetails, now: datetime
) -> Entry:
    """Return the entry of what somebody asked for; ``code`` is its kind."""
    return Entry(now, key, name, code, details)


def lost(key: JobKey, lines: Iterable[str], now: datetime) -> Iterator[Entry]:
    """Yield an entry for each loss of state; ``key`` is Checker's own."""
    for line in lines:
        yield Entry(now, key, "state", Event.STATE_LOST, StateDetails(_line(line)))


def read_again(records: Iterable[Record], now: datetime) -> Iterator[Entry]:
    """Yield an entry for each record that is readable again."""
    for record in records:
        details = StateDetails(queued=len(record.queued))
        yield Entry(now, record.key, record.name, Event.STATE_READ_AGAIN, details)


def people_of(addresses: Iterable[str], more: int = 0) -> People:
    """Return recipients as an entry names them; ``more`` were not named before."""
    names = tuple(dict.fromkeys(addresses))
    more += max(0, len(names) - MAX_ADDRESSES)
    return People(names[:MAX_ADDRESSES], more)


def _waiting(record: Record) -> tuple[str, ...]:
    """Return those for whom a message about trouble is still queued."""
    waiting = (
        to
        for message in record.queued
        if message.kind.is_about_trouble
        for to in message.to
    )
    return tuple(dict.fromkeys(waiting))


def _line(text: str) -> str:
    """Return the first line of a text, not longer than the audit log keeps it."""
    return cut(first_line(text), MAX_CHARACTERS)


def _mail(message: Message) -> MailDetails:
    return MailDetails(
        message.message_id,
        message.kind,
        people_of(message.to),
        _line(message.subject),
        born_at=message.born_at,
    )


#: With nomail.
NOT_MAILED = "logged, not mailed (nomail)"
#: Continues "the mail was ...".
DELIVERED = {
    DeliveryResult.SENT: "sent",
    DeliveryResult.LOGGED: NOT_MAILED,
    DeliveryResult.REFUSED: "rejected for good",
}
#: The same in a word, behind a name.
_DELIVERED_MARKS = {
    DeliveryResult.LOGGED: " (logged)",
    DeliveryResult.REFUSED: " (rejected)",
}


def marked(names: Iterable[str], delivery: DeliveryResult) -> tuple[str, ...]:
    """Return who was notified; an address with what became of the mail, if not sent."""
    mark = _DELIVERED_MARKS.get(delivery, "")
    return tuple(f"{name}{mark}" if "@" in name else name for name in names)


def sent_and_not(people: People, delivery: DeliveryResult) -> tuple[People, People]:
    """Return who has a message, and to whom its mail was not sent."""
    if delivery is DeliveryResult.SENT:
        return people, People()
    channels = tuple(name for name in people.addresses if "@" not in name)
    by_mail = tuple(name for name in people.addresses if "@" in name)
    return People(channels), People(by_mail, people.more) if by_mail else People()


#: Each decision in a few words, for the log; they follow the status of the result.
WORDS = {
    Decision.OK: "",
    Decision.PENDING: "",
    Decision.NOT_YET: "below the failure count for an alert",
    Decision.FIRST_ALERT: "first alert",
    Decision.REMINDER: "reminder",
    Decision.TOO_SOON: "too soon for a reminder",
    Decision.ALREADY_NOTIFIED: "already notified",
    Decision.FLAPPING: "flapping",
    Decision.RECOVERING: "not often enough to end the failure",
    Decision.RECOVERY: "recovery",
    Decision.QUIET_RECOVERY: "no mail of the recovery",
    Decision.QUIET_WARNING: "no mail of warnings",
    Decision.MUTED: "muted",
    Decision.ACKNOWLEDGED: "acknowledged",
    Decision.MAINTENANCE: "in a maintenance window",
    Decision.UNREACHABLE: "unreachable",
    Decision.BLIND: "this machine is blind",
}


def words(status: Status, decision: Decision) -> str:
    """Return a result and its decision in a few words: ``failing, first alert``."""
    what = "OK" if status is Status.OK else str(status)
    follows = WORDS[decision]
    return f"{what}, {follows}" if follows else what


def sentence(entry: Entry, time_text: TimeText) -> str:
    """Return an entry as a sentence for people."""
    details = entry.details
    if isinstance(details, MailDetails):
        return _mail_sentence(entry.code, details, time_text)
    if isinstance(details, StateDetails):
        return _state_sentence(entry.code, details, time_text)
    if isinstance(details, RequestDetails):
        return _request_sentence(entry.code, details, time_text)
    reason = f": {details.reason}" if details.reason else ""
    words = f"{_status_words(details)}{reason}"
    explain = _EXPLANATIONS.get(entry.code)
    if isinstance(entry.code, Decision) and entry.code.holds_back:
        return f"{words}; no mail: {_held_words(entry.code, details, time_text)}"
    if explain is None:
        return words
    return f"{words}; {explain(details, _notified(details, entry.at, time_text))}"


def _status_words(details: JobDetails) -> str:
    if details.status.is_failure:
        return f"{details.status} (consecutive failures: {details.failures})"
    return "OK" if details.status is Status.OK else str(details.status)


def _held_words(code: Decision, details: JobDetails, time_text: TimeText) -> str:
    """Return what holds alerts back: ``muted by ann until 14:00: deploy``."""
    words = held_words(code, details.held_by)
    if code is Decision.ACKNOWLEDGED:
        words += ", until it is over or gets worse"
    elif details.held_until:
        words += f" until {time_text(details.held_until)}"
    return f"{words}: {details.held_why}" if details.held_why else words


def held_words(code: Decision, by: str, why: str = "") -> str:
    """Return what holds alerts back, without its end: ``muted by ann: deploy``."""
    if code.is_about_the_way:
        return f"{WORDS[code]}: {by}" if by else WORDS[code]
    if code is Decision.MAINTENANCE:
        words = f"in the maintenance window {by}" if by else WORDS[code]
    else:
        words = f"{WORDS[code]} by {by}" if by else WORDS[code]
    return f"{words}: {why}" if why else words


def _first_alert(details: JobDetails, _notified: str) -> str:
    policy = policy_words(details.policy)
    words = f"first alert{_flapping_words(details)}; policy: {policy}"
    if details.held_before is None:
        return words
    before = held_words(details.held_before, details.held_by, details.held_why)
    return f"{words}; until now it was {before}"


def _notified(details: JobDetails, now: datetime, time_text: TimeText) -> str:
    """Return who was notified, and when; or what became of the mail otherwise."""
    if details.notified_at is None and not details.notified.addresses:
        return "nobody was notified of it"
    people, at = details.notified, time_text(details.notified_at or now)
    if details.is_queued:
        return f"the mail of {at} to {people} is still queued"
    notified, others = sent_and_not(people, details.delivery)
    verb = "was" if len(notified.addresses) == 1 else "were"
    words = [f"{notified} {verb} notified at {at}"] if notified.addresses else []
    if others.addresses:
        when = "" if words else f" of {at}"
        words += [f"the mail{when} to {others} was {DELIVERED[details.delivery]}"]
    return ", ".join(words)


def _no_mail_of_recovery(details: JobDetails, notified: str) -> str:
    if details.notified_at is None:
        return "no mail of the recovery: nobody was notified of the problem"
    rule = policy_words(details.policy)
    return f"no mail of the recovery, by the policy ({rule}); {notified}"


def _flapping_words(details: JobDetails) -> str:
    if details.flapping is Phase.BEGINS:
        return f", it is flapping ({details.changes} changes of late)"
    if details.flapping is Phase.LASTS:
        return ", it is flapping still"
    return ", it is steady after flapping" if details.flapping else ""


#: What follows from each decision, and why; made of the details and of who was
#: notified.
_EXPLANATIONS: Mapping[Decision | Event, Callable[[JobDetails, str], str]] = {
    Decision.PENDING: lambda details, notified: "checked again in the next minute run",
    Decision.NOT_YET: lambda details, notified: (
        "no mail yet: the first alert comes after "
        f"{failures_words(details.policy.failures)}"
    ),
    Decision.FIRST_ALERT: _first_alert,
    Decision.REMINDER: lambda details, notified: (
        f"reminder: {notified}; policy: {policy_words(details.policy)}"
    ),
    Decision.TOO_SOON: lambda details, notified: (
        f"no mail, too soon for a reminder: {notified}; policy: "
        f"{policy_words(details.policy)}"
    ),
    Decision.ALREADY_NOTIFIED: lambda details, notified: (
        f"no mail: {notified}; the next mail is the recovery"
    ),
    Decision.FLAPPING: lambda details, notified: (
        f"no mail, it is flapping: {notified}; the next mail comes when it is steady"
    ),
    Decision.RECOVERING: lambda details, notified: (
        f"no mail of the recovery yet: the failure ends after "
        f"{details.policy.recoveries} consecutive results that are not failing"
    ),
    Decision.QUIET_WARNING: lambda details, notified: ("no mail: notify_warnings = no"),
    Decision.RECOVERY: lambda details, notified: (
        f"recovery mail{_flapping_words(details)}: {notified}"
    ),
    Decision.QUIET_RECOVERY: _no_mail_of_recovery,
}


#: A message's kind, for people.
_KIND_WORDS = {
    **{kind: str(kind) for kind in MessageKind},
    MessageKind.ROUND_TRIP: "round-trip mail",
    MessageKind.CLOSING: "closing message",
}


def _mail_sentence(
    code: Decision | Event, mail: MailDetails, time_text: TimeText
) -> str:
    what = f"{_KIND_WORDS[mail.kind]} to {mail.to}"
    if code is Event.FAILED and mail.attempts:
        what = f"attempt {mail.attempts} to send {what}"
    return f"{what} {_delivery_words(code, mail, time_text)}: {quoted(mail.subject)}"


def _delivery_words(
    code: Decision | Event, mail: MailDetails, time_text: TimeText
) -> str:
    """Return what became of a message, as the end of a sentence."""
    if code is Event.SENT:
        words = "was sent"
        # Cron's minute is no delay.
        if mail.delay_s >= 60:
            words += f", {duration(timedelta(seconds=mail.delay_s))} late"
        return f"{words}, by the backup account" if mail.by_backup else words
    if code is Event.FAILED:
        after = (
            f"after {time_text(mail.retry_at)}" if mail.retry_at else "in the next run"
        )
        if mail.is_outage:
            tried = f"while nothing is accepted, one message is tried {after}"
            return f"failed: {mail.why}; {tried}"
        return f"failed: {mail.why}; retried {after}"
    if code is Event.DEFERRED:
        return f"is deferred: {mail.why or 'not sent in this run'}"
    if code is Event.MERGED:
        return f"was not sent in time and is merged into {quoted(mail.into_subject)}"
    if code is Event.BUNDLED:
        bundle = f"the bundle {quoted(mail.into_subject)}"
        return f"was {DELIVERED[mail.into_delivery]} in {bundle}"
    if code is Event.LOGGED:
        return f"was {NOT_MAILED}"
    if code is Event.SKIPPED:
        return "is not sent: that channel takes critical messages only"
    if code is Event.REDIRECTED:
        return f"is not sent: {mail.why}"
    if code is Event.DROPPED:
        return f"was rejected and is not retried: {mail.why}"
    return "is queued"


def _state_sentence(
    code: Decision | Event, details: StateDetails, time_text: TimeText
) -> str:
    if code is Event.STATE_LOST:
        return f"state was lost: {details.what}"
    if code is Event.STATE_READ_AGAIN:
        return f"its state file is readable again{_queued_mails(details)}"
    if code is Event.JOB_RENAMED:
        mails = _queued_mails(details)
        return f"it was {quoted(details.what)} before, and keeps that record{mails}"
    at = details.unseen_since
    since = f" since {time_text(at)}" if at else ""
    if code is Event.JOB_GONE and not at:
        return f"no longer checked: it is disabled; it was {details.what}"
    if code is Event.JOB_GONE:
        return f"no longer checked: no run met it{since}; it was {details.what}"
    return f"no run met this job{since}; its record is removed"


def _request_sentence(
    code: Decision | Event, details: RequestDetails, time_text: TimeText
) -> str:
    if code is Event.MUTE and details.until is not None:
        words = f"muted until {time_text(details.until)}"
    elif code is Event.ACKNOWLEDGE:
        words = "acknowledged"
    elif code is Event.CHECK:
        words = "a check now was asked for"
    elif code is Event.ANNOUNCE:
        until = f" until {time_text(details.until)}" if details.until else ""
        words = f"announced{until}"
    elif code is Event.WITHDRAW:
        words = "no longer announced"
    else:
        words = "unmuted"
    by = f" by {details.who}" if details.who else ""
    why = f": {details.why}" if details.why else ""
    jobs = f" ({details.jobs})" if details.jobs else ""
    return f"{words}{by}{jobs}{why}"


def _queued_mails(details: StateDetails) -> str:
    return f"; queued mails: {details.queued}" if details.queued else ""

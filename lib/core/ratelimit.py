"""The rate limits of mail, and the log of what was sent that they are computed from.

A mail counts from before its first attempt, under its message id, so that a retry
counts once.  ``deferral`` says why a queued message still waits.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from lib.core.encoding import Count, Moment, Stored
from lib.core.enums import DeliveryResult, MessageKind, Severity
from lib.core.jobs import JobKey
from lib.core.messages import Message
from lib.core.settings import Mail
from lib.core.text import first_line

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
#: After a bundle, the next one to the same recipients waits this long; whole minutes
#: are counted, so that cron's jitter never adds one.  That is at most 12 an hour.
QUIET = timedelta(minutes=5)
#: What is promised to leave leaves within this.
PROMISE = timedelta(minutes=5)
#: Providers lock an account after repeated logins with an old password.
LOGINS_PER_HOUR = 4
#: One mail in this many is reserved for Checker's own notices.
RESERVE = 5
#: During an outage: how many minutes after the first, second, ... attempt in vain the
#: next one comes.  With the jobs of its run, the last is still within PROMISE.
OUTAGE_RETRY_AFTER = (1, 2, 4)
ALMOST_A_MINUTE = timedelta(seconds=50)
#: Why a message is late that waited for the rate limit.
LIMIT_REACHED = "the rate limit (mailsperhour, mailsperday) was reached"
#: The most jobs that are remembered as notified in the last hour.
MAX_NOTIFIED = 500


class TimedName(Stored, frozen=True):
    """A message id, a recipient or an address, and a time."""

    name: str
    at: Moment


class NotifiedJob(Stored, frozen=True):
    """A job, and when the last alert about it was sent."""

    key: JobKey
    at: Moment
    severity: Severity = Severity.CRITICAL


class Outage(Stored, frozen=True):
    """A time in which no attempt succeeded."""

    since: Moment
    until: Moment
    why: str = ""
    #: When the next attempt was due; until then it held mail back.
    held_until: Moment | None = None


_Timed = TypeVar("_Timed", TimedName, NotifiedJob)


class SendLog(Stored, frozen=True):
    """What is remembered of sending: outbox.json."""

    #: The ids of the mails of the last day, and the time of each one's last attempt.
    counted: tuple[TimedName, ...] = ()
    #: When the server rejected our login, in the last hour.
    refused_logins: tuple[Moment, ...] = ()
    #: The server is rate-limiting us until then; kept until it accepts mail again.
    held_until: Moment | None = None
    #: The recipients of bundles, and when each was sent.
    bundles: tuple[TimedName, ...] = ()
    #: When people were last notified that mail is held back.
    deferral_notified_at: Moment | None = None
    #: Rejected addresses, and when others were notified of it.
    refused: tuple[TimedName, ...] = ()
    #: The backup account failed; it is not used before this.
    backup_held_until: Moment | None = None
    #: The rate limit is or was reached until then, except for Checker's own notices.
    limited_until: Moment | None = None
    #: The note about deferred mail: its id, and the jobs that it lists.
    deferral_note: str = ""
    deferral_jobs: tuple[JobKey, ...] = ()
    #: The jobs about which an alert was sent in the last hour; the newest only.
    notified: tuple[NotifiedJob, ...] = ()
    #: Since when no attempt has succeeded, and why the last one failed; None: the last
    #: one succeeded.  What was wrong with one address does not count.
    failing_since: Moment | None = None
    last_error: str = ""
    #: The attempts in vain since then, and the last of them.
    failures: Count = 0
    failed_at: Moment | None = None
    #: How many messages were accepted by this way, ever, and how many attempts failed.
    accepted_count: Count = 0
    #: With nomail: how many were written to the log instead, ever.
    logged_count: Count = 0
    failed_count: Count = 0
    #: When the last test message of ``proof`` was accepted.
    proof_accepted_at: Moment | None = None
    #: The last time that was like that, of the last day.
    outage: Outage | None = None


class Limits(msgspec.Struct, frozen=True):
    """How many mails may be sent."""

    per_hour: int
    per_day: int


def limits_of(mail: Mail, way: str = "") -> Limits | None:
    """Return the limits of mail, or of a channel; None if mails go to the log."""
    return (
        None if mail.nomail and not way else Limits(mail.mailsperhour, mail.mailsperday)
    )


def settled(send_log: SendLog, now: datetime) -> SendLog:
    """Return the log with future times set to now, and without expired entries."""
    held, backup_held = send_log.held_until, send_log.backup_held_until
    limited, outage = send_log.limited_until, send_log.outage
    return replace(
        send_log,
        counted=_recent(send_log.counted, now, DAY),
        refused_logins=tuple(
            min(at, now) for at in send_log.refused_logins if now - at < HOUR
        ),
        held_until=min(held, now + HOUR) if held else None,
        backup_held_until=min(backup_held, now + HOUR) if backup_held else None,
        limited_until=(
            min(limited, now + DAY) if limited and limited > now - DAY else None
        ),
        bundles=_recent(send_log.bundles, now, QUIET),
        deferral_notified_at=_past(send_log.deferral_notified_at, now),
        refused=_recent(send_log.refused, now, DAY),
        notified=_recent(send_log.notified, now, HOUR),
        failing_since=_past(send_log.failing_since, now),
        failed_at=_past(send_log.failed_at, now),
        outage=outage if outage and now - outage.until < DAY else None,
    )


def is_ahead(send_log: SendLog, now: datetime) -> bool:
    """Return whether the log has times in the future: the clock was set back."""
    moments = [send_log.deferral_notified_at or now, *send_log.refused_logins]
    moments += [send_log.failing_since or now, send_log.failed_at or now]
    for names in (send_log.counted, send_log.bundles, send_log.refused):
        moments += [name.at for name in names]
    moments += [job.at for job in send_log.notified]
    return max(moments) > now or (send_log.held_until or now) > now + HOUR


def with_counted(send_log: SendLog, ids: Iterable[str], now: datetime) -> SendLog:
    """Return the log as it is stored before these mails are attempted."""
    ids = list(ids)
    others = without_counted(send_log, ids).counted
    mails = (TimedName(message_id, now) for message_id in ids)
    return replace(send_log, counted=(*others, *mails))


def without_counted(send_log: SendLog, ids: Collection[str]) -> SendLog:
    """Return the log after these mails were certainly not accepted."""
    removed = set(ids)
    counted = tuple(mail for mail in send_log.counted if mail.name not in removed)
    return replace(send_log, counted=counted)


def with_taken(send_log: SendLog, result: DeliveryResult) -> SendLog:
    """Return the log after a message was accepted, or logged with nomail."""
    if result is DeliveryResult.LOGGED:
        return replace(send_log, logged_count=send_log.logged_count + 1)
    return replace(send_log, accepted_count=send_log.accepted_count + 1)


def with_notified(
    send_log: SendLog, jobs: Mapping[JobKey, Severity], now: datetime
) -> SendLog:
    """Return the log after alerts about these jobs were sent."""
    others = (job for job in send_log.notified if job.key not in jobs)
    notified = (NotifiedJob(key, now, severity) for key, severity in jobs.items())
    return replace(send_log, notified=(*others, *notified)[-MAX_NOTIFIED:])


def notified_lately(send_log: SendLog, now: datetime) -> Mapping[JobKey, Severity]:
    """Return the jobs about which an alert was sent in the last hour."""
    return {job.key: job.severity for job in send_log.notified if now - job.at < HOUR}


def is_known(
    notified: Mapping[JobKey, Severity], key: JobKey, severity: Severity
) -> bool:
    """Return whether an alert of that severity, or of a higher one, was sent lately."""
    known = notified.get(key)
    return known is Severity.CRITICAL or known is severity


def alerts_in(message: Message) -> bool:
    """Return whether a message says that a job began to fail, or to be a warning."""
    is_merged = message.merged is not None and message.merged.times > 0
    return message.kind is MessageKind.ALERT or is_merged


def room(send_log: SendLog, limits: Limits | None, now: datetime, *, own: bool) -> int:
    """Return how many mails may be sent now; ``own``: Checker's own notices."""
    if limits is None:
        return 1_000_000
    last_hour = sum(now - mail.at < HOUR for mail in send_log.counted)
    left = (
        _usable(limits.per_hour, own) - last_hour,
        _usable(limits.per_day, own) - len(send_log.counted),
    )
    return max(0, min(left))


def room_at(send_log: SendLog, limits: Limits, now: datetime) -> datetime:
    """Return when a mail that is not one of Checker's own may be sent."""
    moments = sorted(mail.at for mail in send_log.counted)
    ends = [now]
    for length, limit in ((HOUR, limits.per_hour), (DAY, limits.per_day)):
        inside = [at for at in moments if now - at < length]
        too_many = len(inside) - _usable(limit, own=False)
        if too_many >= 0:
            ends.append(inside[too_many] + length)
    return max(ends)


def _usable(limit: int, own: bool) -> int:
    # At least one mail is never reserved.
    return limit if own else limit - min(limit - 1, max(1, limit // RESERVE))


def is_held(send_log: SendLog, now: datetime) -> bool:
    """Return whether no SMTP session may be opened now."""
    return held_until(send_log, now) is not None


def held_until(send_log: SendLog, now: datetime) -> datetime | None:
    """Return until when no SMTP session may be opened; None: one may be now."""
    if send_log.held_until is not None and now < send_log.held_until:
        return send_log.held_until
    attempts = [at for at in send_log.refused_logins if now - at < HOUR]
    return min(attempts) + HOUR if len(attempts) >= LOGINS_PER_HOUR else None


def backup_is_held(send_log: SendLog, now: datetime) -> bool:
    """Return whether the backup account may not be used now."""
    return send_log.backup_held_until is not None and now < send_log.backup_held_until


def holding_backup(send_log: SendLog, now: datetime) -> SendLog:
    """Return the log after the backup account failed."""
    return replace(send_log, backup_held_until=now + HOUR / LOGINS_PER_HOUR)


def is_quiet(send_log: SendLog, to: tuple[str, ...], now: datetime) -> bool:
    """Return whether these recipients got a bundle within the last QUIET."""
    until = quiet_until(send_log, to)
    return until is not None and now < until


def quiet_until(send_log: SendLog, to: tuple[str, ...]) -> datetime | None:
    """Return until when these recipients get no bundle; None if they got none."""
    name = _contact(to)
    ends = [
        after_quiet(bundle.at) for bundle in send_log.bundles if bundle.name == name
    ]
    return max(ends, default=None)


def after_quiet(sent_at: datetime) -> datetime:
    """Return when the next bundle may come after one that was sent then."""
    return _minute(sent_at) + QUIET


def without_bundle(send_log: SendLog, to: tuple[str, ...]) -> SendLog:
    """Return the log after a bundle that was certainly not accepted."""
    name = _contact(to)
    others = tuple(bundle for bundle in send_log.bundles if bundle.name != name)
    return replace(send_log, bundles=others)


def after_bundle(send_log: SendLog, to: tuple[str, ...], now: datetime) -> SendLog:
    """Return the log after a bundle that was, or may have been, accepted."""
    others = without_bundle(send_log, to).bundles
    return replace(send_log, bundles=(*others, TimedName(_contact(to), now)))


def after_refused_login(send_log: SendLog, now: datetime) -> SendLog:
    """Return the log after a rejected login."""
    return replace(send_log, refused_logins=(*send_log.refused_logins, now))


def after_success(send_log: SendLog, now: datetime) -> SendLog:
    """Return the log after an attempt that succeeded: all that waits is due."""
    outage = send_log.outage
    if send_log.failing_since is not None:
        held_until = min(next_attempt_at(send_log) or now, now)
        outage = Outage(send_log.failing_since, now, send_log.last_error, held_until)
    return replace(
        send_log,
        held_until=None,
        refused_logins=(),
        failing_since=None,
        last_error="",
        failures=0,
        failed_at=None,
        outage=outage,
    )


def after_failure(send_log: SendLog, why: str, now: datetime) -> SendLog:
    """Return the log after an attempt that failed for all recipients.

    Those of one session count once.
    """
    failed_at = send_log.failed_at
    is_another = failed_at is None or _minute(failed_at) != _minute(now)
    return replace(
        send_log,
        failing_since=send_log.failing_since or now,
        last_error=first_line(why),
        failures=send_log.failures + is_another,
        failed_at=now,
    )


def next_attempt_at(send_log: SendLog) -> datetime | None:
    """Return when one message is tried, during an outage; None if there is none."""
    if send_log.failing_since is None or send_log.failed_at is None:
        return None
    step = min(send_log.failures, len(OUTAGE_RETRY_AFTER)) - 1
    slot = _minute(send_log.failed_at) + OUTAGE_RETRY_AFTER[max(0, step)] * MINUTE
    return max(slot, send_log.failed_at + ALMOST_A_MINUTE)


def why_late(
    message: Message,
    send_log: SendLog,
    now: datetime,
    *,
    is_reached: bool = False,
    others: Iterable[tuple[datetime, str]] = (),
) -> str:
    """Return why a message that leaves now did not leave before; empty: not known.

    Of the reasons in force while it waited that is the last one.  ``is_reached``: the
    rate limit is reached, and the message leaves beside it.  ``others`` are more
    reasons, each with when it was over.
    """
    outage_end, outage_why = _last_outage(send_log, now)
    reasons = list(others)
    if message.last_error:
        # The end of an outage makes all due.
        own_end = message.retry_at or outage_end or now
        reasons.append((own_end, first_line(message.last_error)))
    if outage_end and outage_why and outage_end > message.born_at:
        reasons.append((outage_end, outage_why))
    limited = send_log.limited_until
    if limited is not None and limited > message.born_at:
        # What leaves beside the limit has not waited for it since it was promised.
        limit_end = now - PROMISE if is_reached else limited
        reasons.append((limit_end, LIMIT_REACHED))
    last = max(reasons, key=lambda reason: min(reason[0], now), default=(now, ""))
    return last[1]


def _last_outage(send_log: SendLog, now: datetime) -> tuple[datetime | None, str]:
    """Return until when the last outage held mail back, and why; None: none did."""
    if send_log.failing_since is not None:
        return next_attempt_at(send_log) or now, send_log.last_error
    outage = send_log.outage
    return (outage.held_until or outage.until, outage.why) if outage else (None, "")


def with_refused(send_log: SendLog, address: str, now: datetime) -> SendLog:
    """Return the log after others were notified of a rejected address."""
    return replace(send_log, refused=(*send_log.refused, TimedName(address, now)))


def is_refused(send_log: SendLog, address: str) -> bool:
    """Return whether others were notified of this rejected address today."""
    return any(refused.name == address for refused in send_log.refused)


def _minute(moment: datetime) -> datetime:
    """Return the beginning of the minute, the slot of cron's run."""
    return moment.replace(second=0, microsecond=0)


def _past(moment: datetime | None, now: datetime) -> datetime | None:
    return min(moment, now) if moment else None


def _contact(to: tuple[str, ...]) -> str:
    return ",".join(to)


def _recent(
    entries: tuple[_Timed, ...], now: datetime, length: timedelta
) -> tuple[_Timed, ...]:
    return tuple(
        replace(entry, at=now) if entry.at > now else entry
        for entry in entries
        if now - entry.at < length
    )

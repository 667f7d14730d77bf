"""The rate limits of mail, and the log of what was sent that they are computed from.

A mail counts from before its first attempt, under its message id, so that a retry
counts once.  ``deferral`` says why a queued message still waits.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from lib.core.encoding import Moment, Stored
from lib.core.jobs import JobKey
from lib.core.settings import Mail

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
#: After a bundle, the next mail to the same recipients waits this long.
QUIET = timedelta(minutes=5)
#: Providers lock an account after repeated logins with an old password.
LOGINS_PER_HOUR = 4
#: One mail in this many is reserved for Checker's own notices.
RESERVE = 5
#: When a rate limit is reached, this many first alerts an hour are sent outside the
#: limits; further ones are bundled, one mail each QUIET.
FIRST_ALERTS_PER_HOUR = 12
#: The most jobs that are remembered as notified in the last hour.
MAX_NOTIFIED = 500


class TimedName(Stored, frozen=True):
    """A message id, a recipient or an address, and a time."""

    name: str
    at: Moment


class NotifiedJob(Stored, frozen=True):
    """A job, and when mail about it was last sent."""

    key: JobKey
    at: Moment


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
    #: The rate limit is reached until then, except for Checker's own notices.
    limited_until: Moment | None = None
    #: The ids of the mails of the last hour that were sent outside the limits.
    outside_limits: tuple[TimedName, ...] = ()
    #: The jobs about which mail was sent in the last hour; the newest only.
    notified: tuple[NotifiedJob, ...] = ()


class Limits(msgspec.Struct, frozen=True):
    """How many mails may be sent."""

    per_hour: int
    per_day: int


def limits_of(mail: Mail) -> Limits | None:
    """Return the limits; None if mails go to the log."""
    return None if mail.nomail else Limits(mail.mailsperhour, mail.mailsperday)


def settled(send_log: SendLog, now: datetime) -> SendLog:
    """Return the log with future times set to now, and without expired entries."""
    held, backup_held = send_log.held_until, send_log.backup_held_until
    limited = send_log.limited_until
    return replace(
        send_log,
        counted=_recent(send_log.counted, now, DAY),
        refused_logins=tuple(
            min(at, now) for at in send_log.refused_logins if now - at < HOUR
        ),
        held_until=min(held, now + HOUR) if held else None,
        backup_held_until=min(backup_held, now + HOUR) if backup_held else None,
        limited_until=min(limited, now + DAY) if limited and limited > now else None,
        bundles=_recent(send_log.bundles, now, QUIET),
        deferral_notified_at=(
            min(send_log.deferral_notified_at, now)
            if send_log.deferral_notified_at
            else None
        ),
        refused=_recent(send_log.refused, now, DAY),
        outside_limits=_recent(send_log.outside_limits, now, HOUR),
        notified=_recent(send_log.notified, now, HOUR),
    )


def is_ahead(send_log: SendLog, now: datetime) -> bool:
    """Return whether the log has times in the future: the clock was set back."""
    moments = [send_log.deferral_notified_at or now, *send_log.refused_logins]
    for names in (
        send_log.counted,
        send_log.bundles,
        send_log.refused,
        send_log.outside_limits,
    ):
        moments += [name.at for name in names]
    moments += [job.at for job in send_log.notified]
    return max(moments) > now or (send_log.held_until or now) > now + HOUR


def with_counted(
    send_log: SendLog,
    ids: Iterable[str],
    now: datetime,
    outside_limits: Collection[str] = (),
) -> SendLog:
    """Return the log as it is stored before these mails are attempted.

    The mails of ``outside_limits`` do not count, nor do those that did not before.
    """
    ids = list(ids)
    others = without_counted(send_log, ids)
    outside = {*outside_limits, *(mail.name for mail in send_log.outside_limits)}
    mails = [TimedName(message_id, now) for message_id in ids]
    return replace(
        send_log,
        counted=(
            *others.counted,
            *(mail for mail in mails if mail.name not in outside),
        ),
        outside_limits=(
            *others.outside_limits,
            *(mail for mail in mails if mail.name in outside),
        ),
    )


def without_counted(send_log: SendLog, ids: Collection[str]) -> SendLog:
    """Return the log after these mails were certainly not accepted."""
    removed = set(ids)
    return replace(
        send_log,
        counted=tuple(mail for mail in send_log.counted if mail.name not in removed),
        outside_limits=tuple(
            mail for mail in send_log.outside_limits if mail.name not in removed
        ),
    )


def first_alerts_left(send_log: SendLog, now: datetime) -> int:
    """Return how many first alerts may be sent singly outside the limits now."""
    last_hour = sum(now - mail.at < HOUR for mail in send_log.outside_limits)
    return max(0, FIRST_ALERTS_PER_HOUR - last_hour)


def with_notified(send_log: SendLog, keys: Iterable[JobKey], now: datetime) -> SendLog:
    """Return the log after mail about these jobs was sent."""
    keys = list(keys)
    renewed = set(keys)
    others = (job for job in send_log.notified if job.key not in renewed)
    notified = (*others, *(NotifiedJob(key, now) for key in keys))
    return replace(send_log, notified=notified[-MAX_NOTIFIED:])


def notified_lately(send_log: SendLog, now: datetime) -> frozenset[JobKey]:
    """Return the keys of the jobs about which mail was sent in the last hour."""
    return frozenset(job.key for job in send_log.notified if now - job.at < HOUR)


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
    if send_log.held_until is not None and now < send_log.held_until:
        return True
    attempts = sum(now - at < HOUR for at in send_log.refused_logins)
    return attempts >= LOGINS_PER_HOUR


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
    """Return until when these recipients get no mail; None if they got no bundle."""
    name = _contact(to)
    ends = [bundle.at + QUIET for bundle in send_log.bundles if bundle.name == name]
    return max(ends, default=None)


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


def with_refused(send_log: SendLog, address: str, now: datetime) -> SendLog:
    """Return the log after others were notified of a rejected address."""
    return replace(send_log, refused=(*send_log.refused, TimedName(address, now)))


def is_refused(send_log: SendLog, address: str) -> bool:
    """Return whether others were notified of this rejected address today."""
    return any(refused.name == address for refused in send_log.refused)


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

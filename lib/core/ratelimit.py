"""How much mail may leave, and when: what is remembered of sending, and its rules.

Pure.  A mail counts from before it is tried, under its message's id, so that one that
is tried again counts once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeVar

from lib.core.jobs import JobKey
from lib.core.settings import Mail

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
#: After a digest, the next mail to the same people waits this long.
QUIET = timedelta(minutes=5)
#: The provider locks an account out that goes on with a password of yesterday.
LOGINS_PER_HOUR = 4
#: One part in so many is kept for what Checker has to say of itself.
RESERVE = 5
#: Where there is no room, so many first alerts an hour leave all the same, beside the
#: limits; further ones come together, in one mail each QUIET.
FIRST_ALERTS_PER_HOUR = 12
#: Of so many jobs it is known that mail about them left in the last hour.
MAX_NOTIFIED = 500


@dataclass(frozen=True)
class At:
    """Something, and when it was."""

    name: str
    at: datetime


@dataclass(frozen=True)
class NotifiedAt:
    """A job, and when mail about it left."""

    key: JobKey
    at: datetime


_Moment = TypeVar("_Moment", At, NotifiedAt)


@dataclass(frozen=True)
class SendLog:
    """What is remembered of sending: outbox.json."""

    #: The ids of the mails of the last day, and when each was last tried.
    counted: tuple[At, ...] = ()
    #: When the server refused our login, in the last hour.
    refused_logins: tuple[datetime, ...] = ()
    #: The server wants no more mail before this; kept until it has taken some again.
    held_until: datetime | None = None
    #: To whom a digest went, and when.
    bundles: tuple[At, ...] = ()
    #: When people were last told that mail is held back.
    deferral_notified_at: datetime | None = None
    #: Addresses that are refused for good, and when others were told of it.
    refused: tuple[At, ...] = ()
    #: The second account would not do; it is left alone before this.
    second_held_until: datetime | None = None
    #: Until then there is room only for what Checker says of itself.
    full_until: datetime | None = None
    #: The ids of the mails of the last hour that left beside the limits.
    beside: tuple[At, ...] = ()
    #: The jobs about which mail left in the last hour; the newest only.
    notified: tuple[NotifiedAt, ...] = ()


@dataclass(frozen=True)
class Limits:
    """How many mails may leave."""

    per_hour: int
    per_day: int


def limits_of(mail: Mail) -> Limits | None:
    """Return the limits; None where mails go to the log."""
    return None if mail.nomail else Limits(mail.mailsperhour, mail.mailsperday)


def settled(send_log: SendLog, now: datetime) -> SendLog:
    """Return the book with future times as now, and without what is over."""
    hold, second = send_log.held_until, send_log.second_held_until
    full = send_log.full_until
    return replace(
        send_log,
        counted=_recent(send_log.counted, now, DAY),
        refused_logins=tuple(
            min(at, now) for at in send_log.refused_logins if now - at < HOUR
        ),
        held_until=min(hold, now + HOUR) if hold else None,
        second_held_until=min(second, now + HOUR) if second else None,
        full_until=min(full, now + DAY) if full and full > now else None,
        bundles=_recent(send_log.bundles, now, QUIET),
        deferral_notified_at=(
            min(send_log.deferral_notified_at, now)
            if send_log.deferral_notified_at
            else None
        ),
        refused=_recent(send_log.refused, now, DAY),
        beside=_recent(send_log.beside, now, HOUR),
        notified=_recent(send_log.notified, now, HOUR),
    )


def is_ahead(send_log: SendLog, now: datetime) -> bool:
    """Return whether times in the book are yet to come: the clock was set back."""
    those = (*send_log.counted, *send_log.bundles, *send_log.refused, *send_log.beside)
    moments = [one.at for one in those] + [one.at for one in send_log.notified]
    moments += [*send_log.refused_logins, send_log.deferral_notified_at or now]
    return max(moments) > now or (send_log.held_until or now) > now + HOUR


# Room.


def counting(
    send_log: SendLog, ids: Iterable[str], now: datetime, beside: Collection[str] = ()
) -> SendLog:
    """Return the book as it is kept before these mails are tried.

    Those of ``beside`` leave beside the limits, as do those that did so before.
    """
    ids = list(ids)
    kept = uncounting(send_log, ids)
    those = {*beside, *(one.name for one in send_log.beside)}.intersection(ids)
    fresh = [At(one, now) for one in ids]
    return replace(
        send_log,
        counted=(*kept.counted, *(one for one in fresh if one.name not in those)),
        beside=(*kept.beside, *(one for one in fresh if one.name in those)),
    )


def uncounting(send_log: SendLog, ids: Collection[str]) -> SendLog:
    """Return the book after these mails were surely not taken."""
    gone = set(ids)
    return replace(
        send_log,
        counted=tuple(one for one in send_log.counted if one.name not in gone),
        beside=tuple(one for one in send_log.beside if one.name not in gone),
    )


def first_alerts_left(send_log: SendLog, now: datetime) -> int:
    """Return how many first alerts may leave one by one beside the limits now."""
    lasts_hour = sum(now - one.at < HOUR for one in send_log.beside)
    return max(0, FIRST_ALERTS_PER_HOUR - lasts_hour)


def notifying(send_log: SendLog, keys: Iterable[JobKey], now: datetime) -> SendLog:
    """Return the book after mail about these jobs has left."""
    keys = list(keys)
    gone = set(keys)
    others = (one for one in send_log.notified if one.key not in gone)
    those = (*others, *(NotifiedAt(key, now) for key in keys))
    return replace(send_log, notified=those[-MAX_NOTIFIED:])


def notified_lately(send_log: SendLog, now: datetime) -> frozenset[JobKey]:
    """Return the keys of the jobs about which mail left in the last hour."""
    return frozenset(one.key for one in send_log.notified if now - one.at < HOUR)


def room(send_log: SendLog, limits: Limits | None, now: datetime, *, own: bool) -> int:
    """Return how many mails may leave now; ``own``: of Checker's own."""
    if limits is None:
        return 1_000_000
    lasts_hour = sum(now - one.at < HOUR for one in send_log.counted)
    left = (
        _most(limits.per_hour, own) - lasts_hour,
        _most(limits.per_day, own) - len(send_log.counted),
    )
    return max(0, min(left))


def room_at(send_log: SendLog, limits: Limits, now: datetime) -> datetime:
    """Return when there is room for a mail that is not of Checker's own."""
    moments = sorted(one.at for one in send_log.counted)
    found = [now]
    for length, limit in ((HOUR, limits.per_hour), (DAY, limits.per_day)):
        inside = [at for at in moments if now - at < length]
        too_many = len(inside) - _most(limit, own=False)
        if too_many >= 0:
            found.append(inside[too_many] + length)
    return max(found)


def _most(limit: int, own: bool) -> int:
    # One mail at all is more than none at all.
    return limit if own else limit - min(limit - 1, max(1, limit // RESERVE))


# Holding.


def is_held(send_log: SendLog, now: datetime) -> bool:
    """Return whether no session may be opened now."""
    if send_log.held_until is not None and now < send_log.held_until:
        return True
    tries = sum(now - at < HOUR for at in send_log.refused_logins)
    return tries >= LOGINS_PER_HOUR


def second_is_held(send_log: SendLog, now: datetime) -> bool:
    """Return whether the second account is to be left alone now."""
    return send_log.second_held_until is not None and now < send_log.second_held_until


def holding_second(send_log: SendLog, now: datetime) -> SendLog:
    """Return the book after the second account would not do."""
    return replace(send_log, second_held_until=now + HOUR / LOGINS_PER_HOUR)


def is_quiet(send_log: SendLog, to: tuple[str, ...], now: datetime) -> bool:
    """Return whether these people have had a digest only just now."""
    until = quiet_until(send_log, to)
    return until is not None and now < until


def quiet_until(send_log: SendLog, to: tuple[str, ...]) -> datetime | None:
    """Return until when they are to have none, after a digest; None: they had none."""
    name = _contact(to)
    found = [one.at + QUIET for one in send_log.bundles if one.name == name]
    return max(found, default=None)


def without_bundle(send_log: SendLog, to: tuple[str, ...]) -> SendLog:
    """Return the book after a digest that was surely not taken."""
    name = _contact(to)
    return replace(
        send_log, bundles=tuple(one for one in send_log.bundles if one.name != name)
    )


def after_bundle(send_log: SendLog, to: tuple[str, ...], now: datetime) -> SendLog:
    """Return the book after a digest that was, or may have been, taken."""
    others = without_bundle(send_log, to).bundles
    return replace(send_log, bundles=(*others, At(_contact(to), now)))


def after_refused_login(send_log: SendLog, now: datetime) -> SendLog:
    """Return the book after a session whose login was not taken."""
    return replace(send_log, refused_logins=(*send_log.refused_logins, now))


def telling_refused(send_log: SendLog, address: str, now: datetime) -> SendLog:
    """Return the book when others are told that an address is refused."""
    return replace(send_log, refused=(*send_log.refused, At(address, now)))


def knows_refused(send_log: SendLog, address: str) -> bool:
    """Return whether others were told today that this address is refused."""
    return any(one.name == address for one in send_log.refused)


def _contact(to: tuple[str, ...]) -> str:
    return ",".join(to)


def _recent(
    those: tuple[_Moment, ...], now: datetime, length: timedelta
) -> tuple[_Moment, ...]:
    return tuple(
        replace(one, at=now) if one.at > now else one
        for one in those
        if now - one.at < length
    )

"""A parcel, and what becomes of the records that its messages lie in.

Pure.

Which of a job's messages may go now, and which wait for an older one.

Pure.  No recovery is read before its problem; nobody waits for somebody else's mailbox.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

from lib.core import policy
from lib.core.enums import DeliveryResult, MessageKind
from lib.core.jobs import JobKey
from lib.core.messages import Digest, Gone, Message
from lib.core.records import Record

#: A job has one probe under way; the others are for people who look.
MOST_GONE = 3
#: What tells that a job is not fine.
_BEGINS = frozenset({MessageKind.ALERT, MessageKind.REMINDER})


@dataclass(frozen=True)
class Parcel:
    """What is handed over as one mail."""

    message: Message
    #: The messages it stands for; its own id, as a rule.
    ids: tuple[str, ...]
    #: The record in which the message lies; None for a digest.
    key: JobKey | None
    #: When the oldest of its messages was born.
    oldest: datetime
    #: There is no room for it; as first alerts it leaves beside the rate limits.
    beside_limits: bool = False
    #: After it the next mail to the same people waits a little, as after a digest.
    starts_cool_down: bool = False


def with_attempts(record: Record, those: Iterable[Parcel], now: datetime) -> Record:
    """Return the record as it is kept before these of its messages are tried.

    What was folded is one message from here on.
    """
    place = {parcel.ids[-1]: parcel.message for parcel in those}
    gone = {one for parcel in those for one in parcel.ids}
    owed: list[Message] = []
    for one in record.owed:
        message = place.get(one.message_id)
        if message is not None:
            owed.append(policy.attempted(message, now))
        elif one.message_id not in gone:
            owed.append(one)
    return replace(record, owed=tuple(owed))


def without(record: Record, ids: Collection[str]) -> Record:
    """Return the record without the messages that a digest was sent for."""
    left = tuple(one for one in record.owed if one.message_id not in ids)
    return replace(record, owed=left) if len(left) < len(record.owed) else record


def with_gone(record: Record, probe: Gone) -> Record:
    """Return the record after one of its probes was taken, or refused for good."""
    others = tuple(one for one in record.gone if one.message_id != probe.message_id)
    return replace(record, gone=(*others, probe)[-MOST_GONE:])


def unheard(record: Record, message: Message, dead: Collection[str]) -> Record:
    """Return the record after these will never get a message of it.

    Who never hears of a problem is not told of its end either.  Where nobody would be
    left, the end goes to everybody: they may have heard by another way.
    """
    left = tuple(to for to in record.told if to not in dead)
    begins = message.kind in _BEGINS
    return replace(record, told=left) if left and begins else record


def delivered(
    record: Record,
    kinds: Collection[MessageKind],
    result: DeliveryResult,
    refused: Collection[str] = (),
) -> Record:
    """Return the record after messages of these kinds have come to their end.

    Refused it is only where all who count as told are among those ``refused``.
    """
    if record.told_at is None or _BEGINS.isdisjoint(kinds):
        return record
    if result is DeliveryResult.REFUSED and not set(record.told) <= set(refused):
        return record
    return replace(record, delivery=result)


def with_left(record: Record, message_id: str, left: Message | None) -> Record:
    """Return the record after an attempt: what is left is owed in its place."""
    owed = []
    for one in record.owed:
        if one.message_id != message_id:
            owed.append(one)
        elif left is not None:
            owed.append(left)
    return replace(record, owed=tuple(owed))


@dataclass
class Lot:
    """A job's messages to one contact that may go together, in order."""

    key: JobKey
    name: str
    messages: list[Message] = field(default_factory=list)
    #: How many of them, from the first on, need not wait for their next attempt.
    ready: int = 0


@dataclass(frozen=True)
class Waiting:
    """The ids of messages that are not to be handled as others are."""

    #: Sent in a digest; they have only not left their records yet.
    sent: frozenset[str] = frozenset()
    #: In a digest that may have been taken: it goes again as it is, before others.
    frozen: frozenset[str] = frozenset()


def waiting_in(digests: Iterable[Digest]) -> Waiting:
    """Return what the digests on disk say of messages."""
    sent: set[str] = set()
    frozen: set[str] = set()
    for digest in digests:
        if digest.sent_at is not None:
            sent.update(digest.ids)
        elif digest.message.in_doubt:
            frozen.update(digest.ids)
    return Waiting(frozenset(sent), frozenset(frozen))


def parted(record: Record, now: datetime) -> Record:
    """Return the record with messages split whose people do not all wait the same.

    Where some of a message's people still wait for an older one that was put off, as
    with a mailbox that is full, the others do not wait with them.
    """
    if len(record.owed) < 2:
        return record
    late: set[str] = set()
    owed: list[Message] = []
    for one in record.owed:
        blocked = tuple(address for address in one.to if address in late)
        free = tuple(address for address in one.to if address not in late)
        if blocked and free and not one.attempts:
            apart = hashlib.sha256(
                " ".join((one.message_id, *blocked)).encode("utf-8", "surrogatepass")
            )
            owed.append(replace(one, to=free))
            owed.append(replace(one, to=blocked, message_id=apart.hexdigest()[:32]))
        else:
            owed.append(one)
        if not policy.is_sendable(one, now):
            late.update(one.to)
    return replace(record, owed=tuple(owed)) if len(owed) > len(record.owed) else record


def lots(record: Record, waiting: Waiting, now: datetime) -> dict[tuple[str, ...], Lot]:
    """Return a record's messages that may go now, by contact.

    A message waits for older ones of its job to any of the same people, unless they
    go with it, so that no recovery is read before its problem.
    """
    found: dict[tuple[str, ...], Lot] = {}
    blocked: set[str] = set()
    for one in record.owed:
        if one.message_id in waiting.sent:
            continue
        people = set(one.to)
        elsewhere = any(to != one.to and people.intersection(to) for to in found)
        if one.message_id in waiting.frozen or elsewhere or people & blocked:
            blocked |= people
            continue
        lot = found.setdefault(one.to, Lot(record.key, record.name))
        if lot.ready == len(lot.messages) and policy.is_sendable(one, now):
            lot.ready += 1
        lot.messages.append(one)
    return found


def taken_out(lot: Lot, kinds: Collection[MessageKind]) -> list[Message]:
    """Return the messages of these kinds, which are no longer in the lot."""
    found = [one for one in lot.messages if one.kind in kinds]
    if found:
        stays = [one.kind not in kinds for one in lot.messages]
        lot.ready = sum(stays[: lot.ready])
        lot.messages[:] = [one for one in lot.messages if one.kind not in kinds]
    return found

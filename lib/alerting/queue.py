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
from lib.core.messages import Bundle, Message, RoundTripDelivery
from lib.core.records import Record

#: A job has one probe under way; the others are for people who look.
MAX_ROUND_TRIPS = 3
#: What tells that a job is not fine.
_BEGINS = frozenset({MessageKind.ALERT, MessageKind.REMINDER})


@dataclass(frozen=True)
class Envelope:
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


def with_attempts(record: Record, those: Iterable[Envelope], now: datetime) -> Record:
    """Return the record as it is kept before these of its messages are tried.

    What was folded is one message from here on.
    """
    place = {envelope.ids[-1]: envelope.message for envelope in those}
    gone = {one for envelope in those for one in envelope.ids}
    queued: list[Message] = []
    for one in record.queued:
        message = place.get(one.message_id)
        if message is not None:
            queued.append(policy.attempted(message, now))
        elif one.message_id not in gone:
            queued.append(one)
    return replace(record, queued=tuple(queued))


def without(record: Record, ids: Collection[str]) -> Record:
    """Return the record without the messages that a digest was sent for."""
    left = tuple(one for one in record.queued if one.message_id not in ids)
    return replace(record, queued=left) if len(left) < len(record.queued) else record


def with_round_trip(record: Record, round_trip_mail: RoundTripDelivery) -> Record:
    """Return the record after one of its probes was taken, or refused for good."""
    others = tuple(
        one
        for one in record.round_trips
        if one.message_id != round_trip_mail.message_id
    )
    return replace(record, round_trips=(*others, round_trip_mail)[-MAX_ROUND_TRIPS:])


def unheard(record: Record, message: Message, dead: Collection[str]) -> Record:
    """Return the record after these will never get a message of it.

    Who never hears of a problem is not told of its end either.  Where nobody would be
    left, the end goes to everybody: they may have heard by another way.
    """
    left = tuple(to for to in record.notified if to not in dead)
    begins = message.kind in _BEGINS
    return replace(record, notified=left) if left and begins else record


def delivered(
    record: Record,
    kinds: Collection[MessageKind],
    result: DeliveryResult,
    refused: Collection[str] = (),
) -> Record:
    """Return the record after messages of these kinds have come to their end.

    Refused it is only where all who count as told are among those ``refused``.
    """
    if record.notified_at is None or _BEGINS.isdisjoint(kinds):
        return record
    if result is DeliveryResult.REFUSED and not set(record.notified) <= set(refused):
        return record
    return replace(record, delivery=result)


def with_left(record: Record, message_id: str, left: Message | None) -> Record:
    """Return the record after an attempt: what is left is owed in its place."""
    queued = []
    for one in record.queued:
        if one.message_id != message_id:
            queued.append(one)
        elif left is not None:
            queued.append(left)
    return replace(record, queued=tuple(queued))


@dataclass
class JobQueue:
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


def waiting_in(bundles: Iterable[Bundle]) -> Waiting:
    """Return what the digests on disk say of messages."""
    sent: set[str] = set()
    frozen: set[str] = set()
    for bundle in bundles:
        if bundle.sent_at is not None:
            sent.update(bundle.ids)
        elif bundle.message.in_doubt:
            frozen.update(bundle.ids)
    return Waiting(frozenset(sent), frozenset(frozen))


def parted(record: Record, now: datetime) -> Record:
    """Return the record with messages split whose people do not all wait the same.

    Where some of a message's people still wait for an older one that was put off, as
    with a mailbox that is full, the others do not wait with them.
    """
    if len(record.queued) < 2:
        return record
    late: set[str] = set()
    queued: list[Message] = []
    for one in record.queued:
        blocked = tuple(address for address in one.to if address in late)
        free = tuple(address for address in one.to if address not in late)
        if blocked and free and not one.attempts:
            apart = hashlib.sha256(
                " ".join((one.message_id, *blocked)).encode("utf-8", "surrogatepass")
            )
            queued.append(replace(one, to=free))
            queued.append(replace(one, to=blocked, message_id=apart.hexdigest()[:32]))
        else:
            queued.append(one)
        if not policy.is_sendable(one, now):
            late.update(one.to)
    return (
        replace(record, queued=tuple(queued))
        if len(queued) > len(record.queued)
        else record
    )


def queues(
    record: Record, waiting: Waiting, now: datetime
) -> dict[tuple[str, ...], JobQueue]:
    """Return a record's messages that may go now, by contact.

    A message waits for older ones of its job to any of the same people, unless they
    go with it, so that no recovery is read before its problem.
    """
    found: dict[tuple[str, ...], JobQueue] = {}
    blocked: set[str] = set()
    for one in record.queued:
        if one.message_id in waiting.sent:
            continue
        people = set(one.to)
        elsewhere = any(to != one.to and people.intersection(to) for to in found)
        if one.message_id in waiting.frozen or elsewhere or people & blocked:
            blocked |= people
            continue
        queue = found.setdefault(one.to, JobQueue(record.key, record.name))
        if queue.ready == len(queue.messages) and policy.is_sendable(one, now):
            queue.ready += 1
        queue.messages.append(one)
    return found


def taken_out(queue: JobQueue, kinds: Collection[MessageKind]) -> list[Message]:
    """Return the messages of these kinds, which are no longer in the lot."""
    found = [one for one in queue.messages if one.kind in kinds]
    if found:
        stays = [one.kind not in kinds for one in queue.messages]
        queue.ready = sum(stays[: queue.ready])
        queue.messages[:] = [one for one in queue.messages if one.kind not in kinds]
    return found

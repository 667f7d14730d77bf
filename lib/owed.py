"""A parcel, and what becomes of the records that its messages lie in.

Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from lib import decide
from lib.model import DeliveryResult, Gone, JobKey, Message, MessageKind, Record

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
            owed.append(decide.attempted(message, now))
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

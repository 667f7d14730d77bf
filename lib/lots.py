"""Which of a job's messages may go now, and which wait for an older one.

Pure.  No recovery is read before its problem; nobody waits for somebody else's mailbox.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

from lib import decide
from lib.digests import Digest
from lib.model import JobKey, Message, MessageKind, Record


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
        if not decide.is_sendable(one, now):
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
        if lot.ready == len(lot.messages) and decide.is_sendable(one, now):
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

"""The queue: which messages of a record may be sent now, and the record before that.

No recovery is sent before its alert, and nobody waits for another recipient's mailbox.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable
from datetime import datetime

import msgspec
from msgspec.structs import replace

from lib.core import policy
from lib.core.enums import MessageKind
from lib.core.hours import NO_WINDOWS, Windows
from lib.core.jobs import JobKey
from lib.core.messages import Bundle, Message
from lib.core.records import Record


class Envelope(msgspec.Struct, frozen=True):
    """What is sent as one mail."""

    message: Message
    #: The ids of the messages in it; usually only its own.
    ids: tuple[str, ...]
    #: The record of the message; None for a bundle.
    key: JobKey | None
    #: The time of its oldest message.
    oldest: datetime
    #: The rate limit is used up; it is sent beside it, as a bundle is or in its place.
    beside_limits: bool = False

    @property
    def starts_cool_down(self) -> bool:
        """Return whether the next bundle to the same people waits after it."""
        is_note = self.message.lists_deferred
        return self.key is None or (self.beside_limits and not is_note)


def with_attempts(
    record: Record, envelopes: Iterable[Envelope], now: datetime
) -> Record:
    """Return the record as it is saved before these envelopes are tried.

    Merged messages are one message from here on.
    """
    envelopes = list(envelopes)
    replacements = {envelope.ids[-1]: envelope.message for envelope in envelopes}
    merged_ids = {message_id for envelope in envelopes for message_id in envelope.ids}
    queued: list[Message] = []
    for message in record.queued:
        replacement = replacements.get(message.message_id)
        if replacement is not None:
            queued.append(policy.attempted(replacement, now))
        elif message.message_id not in merged_ids:
            queued.append(message)
    return replace(record, queued=tuple(queued))


class JobQueue(msgspec.Struct):
    """A job's messages to one contact that may be sent together, in order."""

    key: JobKey
    name: str
    messages: list[Message] = []
    #: How many of them, from the first on, are due now.
    ready: int = 0
    #: An older one that may have been accepted: it is sent again as it is, before them.
    doubtful: Message | None = None

    @property
    def oldest_at(self) -> datetime:
        """Return the time of its oldest message."""
        return (self.doubtful or self.messages[0]).born_at


class BundledIds(msgspec.Struct, frozen=True):
    """The ids of messages that are in a bundle on disk."""

    #: Sent in a bundle, but not yet removed from their records.
    sent: frozenset[str] = frozenset()
    #: In a bundle that may have been accepted; it is sent again unchanged, first.
    frozen: frozenset[str] = frozenset()


def bundled_ids(bundles: Iterable[Bundle]) -> BundledIds:
    """Return the ids of the messages in these bundles."""
    sent: set[str] = set()
    frozen: set[str] = set()
    for bundle in bundles:
        if bundle.sent_at is not None:
            sent.update(bundle.ids)
        elif bundle.message.in_doubt:
            frozen.update(bundle.ids)
    return BundledIds(frozenset(sent), frozenset(frozen))


def split_by_recipient(record: Record, now: datetime) -> Record:
    """Return the record with messages split where only some recipients must wait.

    A recipient waits for an older message that was deferred, as with a full mailbox;
    the others get the message now.
    """
    if all(policy.is_sendable(message, now) for message in record.queued[:-1]):
        return record
    late: set[str] = set()
    queued: list[Message] = []
    for message in record.queued:
        blocked = tuple(address for address in message.to if address in late)
        free = tuple(address for address in message.to if address not in late)
        if blocked and free and not message.attempts:
            apart = hashlib.sha256(
                " ".join((message.message_id, *blocked)).encode(
                    "utf-8", "surrogatepass"
                )
            )
            queued.append(replace(message, to=free))
            queued.append(
                replace(message, to=blocked, message_id=apart.hexdigest()[:32])
            )
        else:
            queued.append(message)
        if not policy.is_sendable(message, now):
            late.update(message.to)
    return (
        replace(record, queued=tuple(queued))
        if len(queued) > len(record.queued)
        else record
    )


def queues(
    record: Record,
    waiting: BundledIds,
    now: datetime,
    *,
    windows: Windows = NO_WINDOWS,
    ignores_retry: bool = False,
) -> dict[tuple[str, ...], JobQueue]:
    """Return a record's messages that may be sent now, by contact.

    A message waits for its window, and for older ones of its job to any of the same
    people, unless they are sent with it, so that no recovery arrives before its alert.
    ``ignores_retry``: the times of the next attempts do not count.
    """
    by_contact: dict[tuple[str, ...], JobQueue] = {}
    blocked: set[str] = set()
    for message in record.queued:
        if message.message_id in waiting.sent:
            continue
        people = set(message.to)
        elsewhere = any(
            to != message.to and people.intersection(to) for to in by_contact
        )
        is_closed = windows.opens_at(message, now) is not None
        is_frozen = message.message_id in waiting.frozen
        if is_closed or is_frozen or elsewhere or people & blocked:
            blocked |= people
            continue
        queue = by_contact.setdefault(message.to, JobQueue(record.key, record.name))
        if message.in_doubt and message.kind is not MessageKind.ROUND_TRIP:
            blocked |= people
            if not queue.messages:
                queue.doubtful = message
            continue
        is_sendable = ignores_retry or policy.is_sendable(message, now)
        if queue.ready == len(queue.messages) and is_sendable:
            queue.ready += 1
        queue.messages.append(message)
    return by_contact


def without_stale(
    record: Record, windows: Windows, now: datetime
) -> tuple[Record, list[tuple[Message, Message]]]:
    """Return the record without reminders that wait for a window and say nothing new.

    Behind its first alert, or another reminder, one says what that one will say.
    Returned with it is each that was left out, with the one in its place.
    """
    before: dict[tuple[str, ...], Message] = {}
    stale: dict[str, tuple[Message, Message]] = {}
    for message in record.queued:
        is_tried = message.attempts or message.in_doubt
        if is_tried or windows.opens_at(message, now) is None:
            before.pop(message.to, None)
            continue
        if message.kind is not MessageKind.REMINDER:
            if message.kind.is_about_trouble:
                before[message.to] = message
            continue
        known = before.get(message.to)
        if known is not None and known.kind is MessageKind.ALERT:
            stale[message.message_id] = message, known
            continue
        if known is not None and known.kind is MessageKind.REMINDER:
            stale[known.message_id] = known, message
        before[message.to] = message
    return policy.without(record, stale), list(stale.values())


def pop_kinds(queue: JobQueue, kinds: Collection[MessageKind]) -> list[Message]:
    """Remove the messages of these kinds from the queue and return them."""
    return _pop(queue, lambda message: message.kind in kinds)


def pop_deferral_notes(queue: JobQueue) -> list[Message]:
    """Remove the notes that list deferred messages from the queue and return them."""
    return _pop(queue, lambda message: message.lists_deferred)


def pop_ids(queue: JobQueue, ids: Collection[str]) -> list[Message]:
    """Remove the messages of these ids from the queue and return them."""
    return _pop(queue, lambda message: message.message_id in ids)


def _pop(queue: JobQueue, is_wanted: Callable[[Message], bool]) -> list[Message]:
    popped = [message for message in queue.messages if is_wanted(message)]
    if popped:
        stays = [not is_wanted(message) for message in queue.messages]
        queue.ready = sum(stays[: queue.ready])
        queue.messages[:] = [
            message for message in queue.messages if not is_wanted(message)
        ]
    return popped

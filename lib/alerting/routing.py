"""Which messages leave by mail, and which by a channel of the settings.

A contact lists addresses and names of channels.  Before a message is sent it is split
into one for all addresses and one for each way of its channels, which are queued,
retried and limited each by itself.  ``Message.way`` says which one it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta, tzinfo

from msgspec.structs import replace

from lib.core import hours, policy
from lib.core.enums import MessageKind, Severity
from lib.core.hours import NO_WINDOWS, Windows
from lib.core.messages import Message
from lib.core.records import Record
from lib.core.settings import Channel
from lib.core.text import first_line

#: What says that an alert is over.
_ENDS = frozenset({MessageKind.RECOVERY, MessageKind.CLOSING})


def split_by_way(record: Record, channels: Mapping[str, Channel]) -> Record:
    """Return the record with each message split into one for each way.

    The one for the addresses keeps its id.  Each other one has an id that is always the
    same, so that a crash in between repeats nothing; its ``origin`` and its thread are
    those from before, whoever else gets the message.
    """
    if all(_is_split(message, channels) for message in record.queued):
        return record
    queued: list[Message] = []
    for message in record.queued:
        queued += _parts(message, channels)
    return replace(record, queued=tuple(queued))


def _is_split(message: Message, channels: Mapping[str, Channel]) -> bool:
    to = message.to
    if all("@" in address for address in to):
        return True
    return len(to) == 1 and _ways(to[0], channels) == to


def _parts(message: Message, channels: Mapping[str, Channel]) -> Iterator[Message]:
    if _is_split(message, channels):
        yield message
        return
    addresses = tuple(to for to in message.to if "@" in to)
    people = people_of(message.to, channels)
    if addresses:
        yield _shared(replace(message, to=addresses), people)
    for name in message.to:
        if "@" not in name:
            has_fallback = _fallback_of(name, channels) in message.to
            for way in _ways(name, channels):
                part = _shared(_by_way(message, way), people)
                yield replace(part, fell_back=True) if has_fallback else part


def people_of(
    contact: Iterable[str], channels: Mapping[str, Channel]
) -> tuple[str, ...]:
    """Return the addresses of a contact, and the ways of its channels."""
    return tuple(way for name in contact for way in _ways(name, channels))


def _shared(message: Message, people: Iterable[str]) -> Message:
    """Return a message that knows that these get it as well."""
    own = message.to
    others = (
        one for one in people if one not in own and one.partition("/")[0] not in own
    )
    shared_with = tuple(dict.fromkeys((*message.shared_with, *others)))
    return replace(message, shared_with=shared_with)


def shared(
    messages: Iterable[Message], public_id: str, people: Iterable[str]
) -> tuple[Message, ...]:
    """Return these messages; the parts of one know that ``people`` get it as well."""
    people = tuple(people)
    return tuple(
        _shared(message, people) if message.public_id == public_id else message
        for message in messages
    )


def _fallback_of(name: str, channels: Mapping[str, Channel]) -> str | None:
    channel = channels.get(name)
    return channel.fallback[0] if channel and channel.fallback else None


def without_minor(
    record: Record, channels: Mapping[str, Channel]
) -> tuple[Record, list[Message]]:
    """Return the record without what is below the level of its channel, and that.

    The messages are split.  What a server may have accepted already is left.
    """
    minor = [
        message
        for message in record.queued
        if message.way and not message.in_doubt and _is_minor(message, channels)
    ]
    if not minor:
        return record, []
    for message in minor:
        record = policy.not_shared(record, message, message.to)
    ids = {message.message_id for message in minor}
    return policy.without(record, ids), minor


def _is_minor(message: Message, channels: Mapping[str, Channel]) -> bool:
    channel = channels.get(message.way.partition("/")[0])
    if channel is None or channel.level is not Severity.CRITICAL:
        return False
    is_warning = message.severity is Severity.WARNING
    is_summary = message.kind is MessageKind.SUMMARY
    return is_summary or (message.kind.is_about_trouble and is_warning)


def with_fallbacks(
    record: Record,
    channels: Mapping[str, Channel],
    failing: Mapping[str, str],
    now: datetime,
    windows: Windows = NO_WINDOWS,
) -> Record:
    """Return the record with a copy of what a channel does not take for its fallback.

    ``failing`` has why the last attempt by each way failed, or an empty text.  A
    channel that is outside its window does not fail: its time begins when that opens.
    The message stays queued: the channel may take it later.  Who gets a copy of an
    alert is notified, and so gets the recovery; one that is queued already goes with
    the alert.
    """
    queued: list[Message] = []
    notified = list(record.notified)
    fallen: set[str] = set()
    copies: list[tuple[str, tuple[str, ...]]] = []
    for message in record.queued:
        channel = channels.get(message.way.partition("/")[0])
        is_end = message.way in fallen and message.kind in _ENDS
        if (
            channel is None
            or channel.fallback is None
            or message.fell_back
            or message.kind is MessageKind.PROOF
            or not (is_end or _falls_back(message, channel, failing, now, windows))
        ):
            queued.append(message)
            continue
        name, _after = channel.fallback
        own = message.last_error if message.attempts else ""
        why = own or failing.get(message.way, "") or channel.problem
        queued.append(replace(message, fell_back=True))
        queued.append(_for_fallback(message, name, why))
        copies.append((message.public_id, _ways(name, channels)))
        if message.kind.is_about_trouble:
            fallen.add(message.way)
            notified.append(name)
    if not copies:
        return record
    record = replace(record, queued=tuple(queued))
    for public_id, ways in copies:
        record = replace(record, queued=shared(record.queued, public_id, ways))
    if record.notified_at is None:
        return record
    return replace(record, notified=tuple(dict.fromkeys(notified)))


def _falls_back(
    message: Message,
    channel: Channel,
    failing: Mapping[str, str],
    now: datetime,
    windows: Windows,
) -> bool:
    if channel.fallback is None:
        return False
    if not message.attempts and windows.opens_at(message, now) is not None:
        return False
    was_tried = message.attempts or failing.get(message.way) or channel.problem
    since = windows.first_open(message)
    is_late = now - since >= timedelta(seconds=channel.fallback[1])
    return bool(was_tried and is_late)


def _for_fallback(message: Message, name: str, why: str) -> Message:
    why = first_line(why).removeprefix(f"{message.way}: ").rstrip(".")
    tried = (
        f"This is for {message.way}, which has not accepted it: {why}.\n"
        f"{name} gets it as its fallback."
    )
    return replace(
        message,
        message_id=_id(message.message_id, f"fallback {name}"),
        origin=message.public_id,
        body=f"{tried}\n\n{message.body}",
        to=(name,),
        attempts=0,
        retry_at=None,
        # Why it is late.
        last_error=f"{message.way} has not accepted it: {why}",
        in_doubt=False,
        fell_back=False,
        shared_with=(*message.shared_with, *message.to),
    )


def without_gone(
    record: Record, channels: Mapping[str, Channel], contact: tuple[str, ...]
) -> tuple[Record, list[tuple[Message, str]]]:
    """Return the record with what waits for a way that is gone going to others.

    The settings have no such channel, or no such service of it, any more.  Its fallback
    gets the message, or else ``contact``, with the reason: those who neither have it
    nor get it anyway.  They are notified in its place.  Returned with it is each such
    message, with what became of it.
    """
    gone: list[tuple[Message, str]] = []
    for message in record.queued:
        way = message.way
        if not way or not is_gone(way, channels):
            continue
        why = f"the settings no longer have the channel {way}"
        if message.kind is MessageKind.PROOF:
            gone.append((message, why))
        elif message.fell_back:
            gone.append((message, f"{why}, and its fallback has it"))
        else:
            fallback = _fallback_of(way.partition("/")[0], channels)
            to = (fallback,) if fallback else contact
            record, what = _for_others(record, message.message_id, to, channels)
            gone.append((message, f"{why}, so {what}"))
    return policy.without(record, {message.message_id for message, _why in gone}), gone


def _for_others(
    record: Record,
    message_id: str,
    contact: tuple[str, ...],
    channels: Mapping[str, Channel],
) -> tuple[Record, str]:
    """Return the record with a copy of a message for those who would not get it.

    The message is left in it.  Returned with it is who gets it, as a sentence.
    """
    message = next(one for one in record.queued if one.message_id == message_id)
    waiting = {
        to
        for one in record.queued
        if one.public_id == message.public_id and one is not message
        for to in one.to
    }
    gets: list[str] = []
    has: list[str] = []
    awaits: list[str] = []
    for name in contact:
        ways = _ways(name, channels)
        if waiting.intersection((name, *ways)):
            awaits.append(name)
        elif set(ways).intersection(message.shared_with):
            has.append(name)
        else:
            gets.append(name)
    sentences = []
    if gets:
        record = _with_copy(record, message, tuple(gets), channels)
        sentences.append(f"it goes to {', '.join(gets)}")
    if has:
        sentences.append(f"{', '.join(has)} {'has' if len(has) == 1 else 'have'} it")
    if awaits:
        sentences.append(f"it is queued for {', '.join(awaits)} already")
    name = message.way.partition("/")[0]
    if name in record.notified:
        # A channel that has lost a service only is notified by the others.
        left = (one for one in record.notified if one != name or name in channels)
        people = tuple(dict.fromkeys((*gets, *left)))
        record = replace(record, notified=people)
    return record, " and ".join(sentences)


def _with_copy(
    record: Record,
    message: Message,
    to: tuple[str, ...],
    channels: Mapping[str, Channel],
) -> Record:
    """Return the record with a copy of a message for others, before the message."""
    place = record.queued.index(message)
    people = people_of(to, channels)
    queued = list(shared(record.queued, message.public_id, people))
    queued.insert(place, _in_place_of_gone(message, to))
    return replace(record, queued=tuple(queued))


def is_gone(way: str, channels: Mapping[str, Channel]) -> bool:
    """Return whether the settings have no such channel, or no such service of it."""
    return way not in channels and channel_of(way, channels) is None


def _in_place_of_gone(message: Message, to: tuple[str, ...]) -> Message:
    why = (
        f"This is for the channel {message.way}, which the settings no longer have.\n"
        f"{', '.join(to)} {'gets' if len(to) == 1 else 'get'} it in its place."
    )
    return replace(
        message,
        message_id=_id(message.message_id, "gone"),
        origin=message.public_id,
        body=f"{why}\n\n{message.body}",
        to=to,
        attempts=0,
        retry_at=None,
        # Why it is late.
        last_error=_why_late_in_place_of(message),
        in_doubt=False,
    )


def _why_late_in_place_of(message: Message) -> str:
    gone = f"the channel {message.way}, which the settings no longer have"
    if not message.last_error:
        return f"it was for {gone}"
    return f"{first_line(message.last_error).rstrip('.')}; it was for {gone}"


def escalations(
    record: Record,
    channels: Mapping[str, Channel],
    now: datetime,
    zone: tzinfo | None = None,
    when: str = "",
) -> tuple[str, ...]:
    """Return the channels that are to hear of a job that is failing for long.

    ``escalate`` counts from the first alert, or from when that could first leave: by
    the window of the channel and by ``when``, that of the job.  Nobody hears of what is
    acknowledged or held back.
    """
    alerted_at, known = record.alerted_at, record.acknowledged
    if alerted_at is None or not record.status.is_failure or record.held is not None:
        return ()
    if known is not None and known.covers(record.status):
        return ()
    names = []
    for name in record.notified:
        channel = channels.get(name)
        if channel is None or channel.escalate is None:
            continue
        successor, after_s = channel.escalate
        windows = tuple(filter(None, (channel.when, when)))
        since = hours.opens_at(windows, alerted_at, zone) or alerted_at
        is_due = now - since >= timedelta(seconds=after_s)
        if is_due and successor not in record.notified:
            names.append(successor)
    return tuple(dict.fromkeys(names))


def _by_way(message: Message, way: str) -> Message:
    if message.to == (way,):
        return message
    return replace(
        message,
        to=(way,),
        message_id=_id(message.message_id, way),
        origin=message.public_id,
    )


def is_of(message: Message, message_id: str) -> bool:
    """Return whether it is the message of that id, or was split from it."""
    return message.message_id in (message_id, _id(message_id, message.way))


def _ways(name: str, channels: Mapping[str, Channel]) -> tuple[str, ...]:
    """Return the ways of a contact's name; itself if it is one, or if it is unknown."""
    channel = channels.get(name)
    return channel.ways if channel else (name,)


def _id(message_id: str, way: str) -> str:
    text = f"{message_id} {way}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).hexdigest()[:32]


def needs_ways(records: Iterable[Record]) -> bool:
    """Return whether a queued message is for anything but mail addresses."""
    return any(
        "@" not in name
        for record in records
        for message in record.queued
        for name in message.to
    )


def of_way(records: Iterable[Record], way: str) -> Iterator[Record]:
    """Yield the records with messages that leave by this way, without the others."""
    for record in records:
        queued = tuple(message for message in record.queued if message.way == way)
        if len(queued) == len(record.queued):
            if queued:
                yield record
        elif queued:
            yield replace(record, queued=queued)


def ways_of(records: Iterable[Record]) -> set[str]:
    """Return the ways other than mail by which queued messages leave."""
    ways = {message.way for record in records for message in record.queued}
    ways.discard("")
    return ways


def channel_of(way: str, channels: Mapping[str, Channel]) -> Channel | None:
    """Return the channel of a way; None if there is no such way any more."""
    channel = channels.get(way.partition("/")[0])
    if channel is None or not (channel.problem or way in channel.ways):
        return None
    return channel

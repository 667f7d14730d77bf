"""Which messages leave by mail, and which by a channel of the settings.

A contact lists addresses and names of channels.  Before a message is sent it is split
into one for all addresses and one for each way of its channels, which are queued,
retried and limited each by itself.  ``Message.way`` says which one it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping

from msgspec.structs import replace

from lib.core.messages import Message
from lib.core.records import Record
from lib.core.settings import Channel


def split_by_way(record: Record, channels: Mapping[str, Channel]) -> Record:
    """Return the record with each message split into one for each way.

    The one for the addresses keeps its id.  Each other one has an id that is always the
    same, so that a crash in between repeats nothing.
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
    if addresses:
        yield replace(message, to=addresses)
    for name in message.to:
        if "@" not in name:
            for way in _ways(name, channels):
                yield _by_way(message, way)


def _by_way(message: Message, way: str) -> Message:
    if message.to == (way,):
        return message
    thread = message.thread and _id(message.thread, way)
    return replace(
        message, to=(way,), message_id=_id(message.message_id, way), thread=thread
    )


def _ways(name: str, channels: Mapping[str, Channel]) -> tuple[str, ...]:
    """Return the ways of a contact's name; itself if it is one, or if it is unknown."""
    channel = channels.get(name)
    return channel.ways if channel else (name,)


def _id(message_id: str, way: str) -> str:
    text = f"{message_id} {way}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).hexdigest()[:32]


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

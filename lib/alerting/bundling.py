"""Bundles: one mail for many messages, grouped by the reason or host they share.

While a bundle is queued its messages are not sent otherwise; once it is marked as sent
they are removed from their records.  To group by something else, yield it in
``_traits``.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, tzinfo

import msgspec
from msgspec.structs import replace

from lib.alerting.merge import line_of
from lib.core import policy
from lib.core.enums import MessageKind, Status
from lib.core.jobs import OWN_KEY
from lib.core.messages import Bundle, Message
from lib.core.records import Record
from lib.core.text import mail_time

#: A bundle lists the subjects of its messages up to this many bytes.
MAX_LISTED = 256 * 1024


def settled(bundle: Bundle, now: datetime) -> Bundle:
    """Return the bundle with every time that lies in the future set to ``now``."""
    queued = Record(OWN_KEY, queued=(bundle.message,))
    return replace(
        bundle,
        message=policy.settled(queued, now).queued[0],
        tried_at=min(bundle.tried_at, now) if bundle.tried_at else None,
    )


def attempted(bundle: Bundle, now: datetime) -> Bundle:
    """Return the bundle as it is saved before an attempt to send it."""
    return replace(bundle, message=policy.attempted(bundle.message, now), tried_at=now)


def obsolete(records: Iterable[Record], bundles: Mapping[str, Bundle]) -> list[str]:
    """Return the ids of unsent bundles whose messages are no longer queued.

    A bundle whose last attempt is in doubt is kept until a server accepts it.
    """
    waiting = {
        name: set(bundle.ids)
        for name, bundle in bundles.items()
        if bundle.sent_at is None and not bundle.message.in_doubt
    }
    if not waiting:
        return []
    queued = {message.message_id for record in records for message in record.queued}
    return [name for name, ids in waiting.items() if not ids & queued]


def bundle_id(ids: Collection[str]) -> str:
    """Return the id of a bundle of these messages; it is always the same."""
    return hashlib.sha256("\n".join(ids).encode("utf-8", "surrogatepass")).hexdigest()[
        :32
    ]


# The text.


def bundle_message(
    message_id: str,
    entries: Sequence[tuple[str, Message]],
    now: datetime,
    zone: tzinfo | None,
) -> Message:
    """Return one mail for many messages, each given with its job's name, oldest first.

    It lists the subjects in groups and counts what does not fit.
    """
    groups = grouped(entries)
    return Message(
        message_id=message_id,
        kind=MessageKind.NOTE,
        subject=_bundle_subject(entries, groups),
        body=_bundle_body(entries, groups, zone),
        to=entries[0][1].to,
        born_at=now,
    )


def _word(message: Message) -> str:
    """Return how a message is counted."""
    if message.status is Status.WARNING:
        return "warning"
    return WORDS[message.kind]


def _counts(messages: Iterable[Message], more: str = "") -> str:
    counts = Counter(map(_word, messages))
    known = dict.fromkeys((*WORDS.values(), "warning"))
    words = [word for word in known if counts[word]]
    return ", ".join(f"{counts[word]:,} {more}{word}" for word in words)


def _bundle_subject(
    entries: Sequence[tuple[str, Message]], groups: Sequence[Group]
) -> str:
    counts = _counts(one for _name, one in entries)
    largest = max(groups, key=lambda group: len(group.messages))
    if largest.is_kind:
        return counts
    share = f"{len(largest.messages):,} times " if len(groups) > 1 else ""
    return f"{counts}: {share}{largest.title}"


def _bundle_body(
    entries: Sequence[tuple[str, Message]],
    groups: Sequence[Group],
    zone: tzinfo | None,
) -> str:
    first, last = entries[0][1].born_at, entries[-1][1].born_at
    lines = [
        f"{len(entries):,} messages: {_counts(one for _name, one in entries)}.",
        f"First:      {mail_time(first, zone)}",
        f"Last:       {mail_time(last, zone)}",
        "Check now:  checker.py -m list",
    ]
    size = sum(map(len, lines))
    unlisted: list[Message] = []
    for group in groups:
        messages = group.messages
        if size >= MAX_LISTED:
            unlisted += messages
            continue
        head = ["", f"{group.title} ({len(messages):,})"]
        size += len(head[1].encode("utf-8", "replace")) + 2
        lines += head
        for number, message in enumerate(messages):
            line = f"    {line_of(message, zone)}"
            size += len(line.encode("utf-8", "replace")) + 1
            if size >= MAX_LISTED:
                unlisted += messages[number:]
                break
            lines.append(line)
    if unlisted:
        lines += ["", f"and {_counts(unlisted, 'more ')}"]
    return "\n".join(lines) + "\n"


#: How messages of a kind are counted, unless they are about a warning.
WORDS = {
    MessageKind.ALERT: "failing",
    MessageKind.REMINDER: "still failing",
    MessageKind.RECOVERY: "OK again",
    MessageKind.CLOSING: "no longer checked",
    MessageKind.NOTE: "other",
    MessageKind.ROUND_TRIP: "other",
    MessageKind.SUMMARY: "other",
}


class Trait(msgspec.Struct, frozen=True):
    """A reason, host or address that messages may share."""

    what: str
    value: str

    def __str__(self) -> str:
        return self.value if self.what == "reason" else f"{self.what} {self.value}"


class Group(msgspec.Struct, frozen=True):
    """Messages that share something."""

    title: str
    messages: tuple[Message, ...]
    #: They share only their kind.
    is_kind: bool = False


def grouped(entries: Sequence[tuple[str, Message]]) -> list[Group]:
    """Return the messages in groups, in the order of each group's first message.

    A message is in the largest group that it has a trait of.
    """
    about = [traits(message) for _name, message in entries]
    counts = Counter(trait for own in about for trait in own)
    groups: dict[Trait | str, list[int]] = {}
    for number, ((name, message), own) in enumerate(zip(entries, about, strict=True)):
        most = max(own, key=lambda trait: counts[trait], default=None)
        if most is None or counts[most] < 2:
            job_kind = name.split(" ")[0] if name else ""
            title = f"{job_kind}, {_word(message)}"
            groups.setdefault(title, []).append(number)
        else:
            groups.setdefault(most, []).append(number)
    return [
        Group(
            _title(key, [about[number] for number in numbers]),
            tuple(entries[number][1] for number in numbers),
            is_kind=isinstance(key, str),
        )
        for key, numbers in groups.items()
    ]


def traits(message: Message) -> tuple[Trait, ...]:
    """Return the reason, host and addresses of an alert or reminder."""
    if message.kind not in (MessageKind.ALERT, MessageKind.REMINDER):
        return ()
    return tuple(dict.fromkeys(_traits(message)))


def _traits(message: Message) -> Iterator[Trait]:
    if message.reason:
        yield Trait("reason", message.reason)
    if message.host:
        yield Trait("address" if _is_address(message.host) else "host", message.host)
    for address in message.addresses:
        yield Trait("address", address)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _title(key: Trait | str, traits_of: Sequence[tuple[Trait, ...]]) -> str:
    """Return the traits that a whole group shares, the reason first."""
    if isinstance(key, str):
        return key
    shared = set(traits_of[0]).intersection(*traits_of)
    return ", ".join(str(trait) for trait in traits_of[0] if trait in shared)

"""Bundles: one mail for many messages, grouped by the reason or host they share.

While a bundle is queued its messages are not sent otherwise; once it is marked as sent
they are removed from their records.  One that is too long goes on in a next part.  To
group by something else, yield it in ``_traits``.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, tzinfo

import msgspec
from msgspec.structs import replace

from lib.alerting.merge import line_of
from lib.core import policy
from lib.core.enums import MessageKind, Status
from lib.core.jobs import OWN_KEY
from lib.core.messages import MAX_BODY, Bundle, Message
from lib.core.records import Record
from lib.core.settings import Command, bare_command
from lib.core.text import counted, first_line, mail_time, wrapped
from lib.net.address import is_address

#: A part of a bundle has at most about this many bytes, because mail clients hide the
#: rest: Gmail shows 102 kB.
MAX_PART = 98_000
#: Rather than in more parts than this, a bundle comes in parts that are longer, up to
#: what a mail may have.
FEW_PARTS = 3
MAX_LONG_PART = MAX_BODY - 4096
#: The width of the lines that list names.
WIDTH = 78


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


#: A message, with the name of its job.
Entry = tuple[str, Message]


def split(entries: Sequence[Entry]) -> list[list[int]]:
    """Return the parts of a bundle, each as the numbers of its entries, in order.

    Each part can list the names of all its jobs.  Entries that share something stay
    together.
    """
    sizes = [_bytes_of(_short(*entry)) + 2 for entry in entries]
    # The names are in lines that are indented.
    total = sum(sizes) * WIDTH // (WIDTH - 5)
    if total <= MAX_PART:
        return [list(range(len(entries)))]
    limit = max(MAX_PART, min(MAX_LONG_PART, total // FEW_PARTS + 1024))
    parts: list[list[int]] = [[]]
    size = 0.0
    for group in grouped(entries):
        size += _bytes_of(group.title) + 20
        for number in group.numbers:
            more = sizes[number] * WIDTH / (WIDTH - 5)
            if parts[-1] and size + more > limit:
                parts.append([])
                size = _bytes_of(group.title) + 20
            parts[-1].append(number)
            size += more
    return [sorted(part) for part in parts]


def bundle_message(
    message_id: str,
    entries: Sequence[Entry],
    now: datetime,
    zone: tzinfo | None,
    part: tuple[int, int] = (1, 1),
    command: Command = bare_command,
    waited_for: str = "",
) -> Message:
    """Return one mail for many messages, each given with its job's name, oldest first.

    It lists the subjects in groups, or just the names if there are very many.
    ``part``: its number, and of how many.  ``command`` makes the one to paste.
    ``waited_for``: it is a catch-up message, of what began and ended outside this
    window.
    """
    groups = grouped(entries)
    subject = _bundle_subject(entries, groups, part)
    body = _bundle_body(entries, groups, zone, part, command)
    if waited_for:
        subject = _catch_up_subject(entries, part)
        body = f"{wrapped(CATCH_UP.format(window=waited_for))}\n\n{body}"
    return Message(
        message_id=message_id,
        kind=MessageKind.NOTE,
        subject=subject,
        body=body,
        to=entries[0][1].to,
        born_at=now,
    )


#: How a catch-up message begins.
CATCH_UP = (
    "All of this began and ended outside the window ({window}), so each is one line "
    "here."
)


def _catch_up_subject(entries: Sequence[Entry], part: tuple[int, int]) -> str:
    if len(entries) == 1:
        return f"Catch-up: {first_line(entries[0][1].subject)}"
    number = f" (part {part[0]} of {part[1]})" if part[1] > 1 else ""
    return f"Catch-up: {_counts(message for _name, message in entries)}{number}"


def _word(message: Message) -> str:
    """Return how a message is counted."""
    if message.status is Status.WARNING:
        return "warning"
    # Only of a job that begins to flap is there an alert that it is OK.
    if message.status is Status.OK and message.kind is MessageKind.ALERT:
        return "flapping"
    if message.status is Status.UNKNOWN and message.kind in _UNKNOWN:
        return _UNKNOWN[message.kind]
    return WORDS[message.kind]


def _counts(messages: Iterable[Message]) -> str:
    counts = Counter(map(_word, messages))
    order = dict.fromkeys((*WORDS.values(), *_UNKNOWN.values(), "flapping", "warning"))
    # Notes come last: nothing is down for them.
    words = sorted(filter(counts.get, order), key=lambda word: word == NOTE)
    return ", ".join(
        f"{counts[word]:,} {_plural(word, counts[word])}" for word in words
    )


def _plural(word: str, count: int) -> str:
    return f"{word}s" if word in (NOTE, "warning") and count > 1 else word


def _bundle_subject(
    entries: Sequence[Entry], groups: Sequence[Group], part: tuple[int, int]
) -> str:
    counts = _counts(message for _name, message in entries)
    if all(_word(message) == NOTE for _name, message in entries):
        counts = first_line(entries[0][1].subject)
        if len(entries) > 1:
            more = len(entries) - 1
            counts += f", and {more:,} more {_plural(NOTE, more)}"
    if part[1] > 1:
        counts += f" (part {part[0]} of {part[1]})"
    largest = max(groups, key=lambda group: len(group.numbers))
    if largest.is_kind:
        return counts
    share = f"{len(largest.numbers):,} times " if len(groups) > 1 else ""
    return f"{counts}: {share}{largest.title}"


def _bundle_body(
    entries: Sequence[Entry],
    groups: Sequence[Group],
    zone: tzinfo | None,
    part: tuple[int, int],
    command: Command,
) -> str:
    first, last = entries[0][1].born_at, entries[-1][1].born_at
    lines = [
        f"{len(entries):,} message{'s' * (len(entries) > 1)}: "
        f"{_counts(message for _name, message in entries)}."
    ]
    if part[1] > 1:
        lines.append(f"Part {part[0]} of {part[1]}; the other parts list the others.")
    lines += [
        f"First:      {mail_time(first, zone)}",
        f"Last:       {mail_time(last, zone)}",
        f"Check now:  {command('list')}",
    ]
    listed = _subjects(entries, groups, zone) if part[1] == 1 else None
    if listed is None:
        listed = [
            line
            for group in groups
            for line in _names(group, [entries[number] for number in group.numbers])
        ]
    return "\n".join((*lines, *listed)) + "\n"


def _subjects(
    entries: Sequence[Entry], groups: Sequence[Group], zone: tzinfo | None
) -> list[str] | None:
    """Return the groups with each subject in a line; None if that is too long."""
    lines: list[str] = []
    size = 0
    for group in groups:
        lines += _head(group)
        for number in group.numbers:
            message = entries[number][1]
            line = f"    {line_of(message, zone)}{_depending(message)}"
            size += _bytes_of(line) + 1
            if size > MAX_PART:
                return None
            lines.append(line)
    return lines


def _names(group: Group, entries: Iterable[Entry]) -> list[str]:
    """Return a group with the names of its jobs, as many in a line as fit."""
    lines, line = _head(group), ""
    for entry in entries:
        name = _short(*entry)
        if line and len(line) + len(name) + 2 > WIDTH - 4:
            lines.append(f"    {line},")
            line = ""
        line = f"{line}, {name}" if line else name
    return [*lines, f"    {line}"]


def _head(group: Group) -> list[str]:
    return ["", f"{group.title} ({len(group.numbers):,})"]


def _short(name: str, message: Message) -> str:
    """Return what stands for a message in a list of names."""
    if message.kind.is_about_trouble and name:
        return f"{name}{_depending(message)}"
    return first_line(message.subject)


def _depending(message: Message) -> str:
    """Return how many jobs depend on the one of a message; empty if none does."""
    count = message.dependents
    if not count:
        return ""
    return f" ({counted(count, 'job')} {'depends' if count == 1 else 'depend'} on it)"


def _bytes_of(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


#: What is about no job's status: Checker's own, and what a job sends of its own accord.
NOTE = "note"
#: How messages of a kind are counted, unless they are about a warning.
WORDS = {
    MessageKind.ALERT: "failing",
    MessageKind.REMINDER: "still failing",
    MessageKind.RECOVERY: "OK again",
    MessageKind.CLOSING: "no longer checked",
    MessageKind.NOTE: NOTE,
    MessageKind.ROUND_TRIP: NOTE,
    MessageKind.SUMMARY: NOTE,
    MessageKind.PROOF: NOTE,
}
#: The same of those about a job that cannot be checked.
_UNKNOWN = {MessageKind.ALERT: "unknown", MessageKind.REMINDER: "still unknown"}


class Trait(msgspec.Struct, frozen=True):
    """A reason, host or address that messages may share."""

    what: str
    value: str

    def __str__(self) -> str:
        return self.value if self.what == "reason" else f"{self.what} {self.value}"


class Group(msgspec.Struct, frozen=True):
    """Messages that share something."""

    title: str
    #: The numbers of their entries.
    numbers: tuple[int, ...]
    #: They share only their kind.
    is_kind: bool = False


def grouped(entries: Sequence[Entry]) -> list[Group]:
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
            tuple(numbers),
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
        yield Trait("address" if is_address(message.host) else "host", message.host)
    for address in message.addresses:
        yield Trait("address", address)


def _title(key: Trait | str, traits_of: Sequence[tuple[Trait, ...]]) -> str:
    """Return the traits that a whole group shares, the reason first."""
    if isinstance(key, str):
        return key
    shared = set(traits_of[0]).intersection(*traits_of)
    return ", ".join(str(trait) for trait in traits_of[0] if trait in shared)

"""One mail for many: how it is kept, and what it says.

Pure.  While a digest waits to be sent its messages are not sent otherwise; once it is
marked as sent they only have to leave their records.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from lib import decide
from lib.model import OWN_KEY, DeliveryResult, Message, MessageKind, Record
from lib.shared import WORDS, Group, grouped
from lib.summaries import line_of
from lib.wording import local

#: A digest lists the subjects of its messages up to this many bytes.
MOST_LISTED = 256 * 1024


@dataclass(frozen=True)
class Digest:
    """One mail for many messages, as it is kept: digests/ID.json.

    While it waits to be sent its messages are not sent otherwise.
    """

    message: Message
    #: The ids of the messages, which lie in the records.
    ids: tuple[str, ...]
    tried_at: datetime | None = None
    #: Nobody is owed it any more; its messages may leave their records.
    sent_at: datetime | None = None
    #: What became of it then.
    result: DeliveryResult = DeliveryResult.SENT


def settled(digest: Digest, now: datetime) -> Digest:
    """Return the digest with every time that lies in the future set to ``now``."""
    owed = Record(OWN_KEY, owed=(digest.message,))
    return replace(
        digest,
        message=decide.settled(owed, now).owed[0],
        tried_at=min(digest.tried_at, now) if digest.tried_at else None,
    )


def attempted(digest: Digest, now: datetime) -> Digest:
    """Return the digest as it is kept before an attempt to send it."""
    return replace(digest, message=decide.attempted(digest.message, now), tried_at=now)


def pointless(records: Iterable[Record], digests: Mapping[str, Digest]) -> list[str]:
    """Return the digests that are not sent and whose messages are no longer owed.

    One that may have been taken is not among them: it is owed until it surely was.
    """
    waiting = {
        name: set(digest.ids)
        for name, digest in digests.items()
        if digest.sent_at is None and not digest.message.in_doubt
    }
    if not waiting:
        return []
    owed = {one.message_id for record in records for one in record.owed}
    return [name for name, ids in waiting.items() if not ids & owed]


def tried_in_vain(digests: Iterable[Digest]) -> frozenset[str]:
    """Return the ids of the messages whose digest was tried and is still owed."""
    live = [one for one in digests if one.sent_at is None and one.message.attempts]
    return frozenset(name for one in live for name in one.ids)


def digest_id(ids: Collection[str]) -> str:
    """Return the id of a digest of these messages; it is always the same."""
    return hashlib.sha256("\n".join(ids).encode("utf-8", "surrogatepass")).hexdigest()[
        :32
    ]


# What it says.


def digest_message(
    message_id: str, entries: Sequence[tuple[str, Message]], now: datetime
) -> Message:
    """Return one mail for many, each with its job's name; the oldest first.

    It lists the subjects, in groups of what they share, and counts what no longer fits.
    """
    groups = grouped(entries)
    return Message(
        message_id=message_id,
        kind=MessageKind.NOTE,
        subject=_digest_subject(entries, groups),
        body=_digest_body(entries, groups),
        to=entries[0][1].to,
        born_at=now,
    )


def _word(message: Message) -> str:
    return WORDS[message.kind]


def _counts(messages: Iterable[Message], more: str = "") -> str:
    counts = Counter(map(_word, messages))
    words = [word for word in dict.fromkeys(WORDS.values()) if counts[word]]
    return ", ".join(f"{counts[word]:,} {more}{word}" for word in words)


def _digest_subject(
    entries: Sequence[tuple[str, Message]], groups: Sequence[Group]
) -> str:
    counts = _counts(one for _name, one in entries)
    largest = max(groups, key=lambda group: len(group.messages))
    if largest.is_kind:
        return f"{counts} in one mail"
    share = f"{len(largest.messages):,} times " if len(groups) > 1 else ""
    return f"{counts}: {share}{largest.title}"


def _digest_body(
    entries: Sequence[tuple[str, Message]], groups: Sequence[Group]
) -> str:
    first, last = entries[0][1].born_at, entries[-1][1].born_at
    lines = [
        f"{len(entries):,} mails in one: {_counts(one for _name, one in entries)}.",
        f"The first is of {local(first)}, the last of {local(last)}.",
        "Look now:  checker.py -m list",
    ]
    size = sum(map(len, lines))
    unlisted: list[Message] = []
    for group in groups:
        messages = group.messages
        if size >= MOST_LISTED:
            unlisted += messages
            continue
        head = ["", f"{group.title} ({len(messages):,})"]
        size += len(head[1].encode("utf-8", "replace")) + 2
        lines += head
        for number, one in enumerate(messages):
            line = f"    {line_of(one)}"
            size += len(line.encode("utf-8", "replace")) + 1
            if size >= MOST_LISTED:
                unlisted += messages[number:]
                break
            lines.append(line)
    if unlisted:
        lines += ["", f"and {_counts(unlisted, 'more ')}"]
    return "\n".join(lines) + "\n"

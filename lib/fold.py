"""Stale news -> one message that is still true.

While mail is held up, an alert and its recovery, flaps and reminders may wait together.
They become one message that tells what has been and what is now.  Pure; the stories
are in ``tests/test_fold.py``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from lib import summaries
from lib.model import Folded, Message, MessageKind

#: A message keeps as many lines of those that it stands for.
MOST_LINES = 50

#: What tells that something has changed; what does not may be left out by the next.
_NEWS = (MessageKind.ALERT, MessageKind.RECOVERY)


@dataclass(frozen=True)
class Piece:
    """A message to hand over, and the ids of those that it stands for."""

    message: Message
    ids: tuple[str, ...]


def folded(name: str, waiting: Sequence[Message]) -> list[Piece]:
    """Return what is left to say when all of ``waiting`` is said at once.

    They are one job's messages to the same people, in the order of events.  What a
    job sends of its own accord is left as it is.  Of several reminders the last is
    kept; whatever came before the last change becomes one message with it, so that
    nobody reads of an end without its beginning.
    """
    if len(waiting) == 1:
        return [Piece(waiting[0], (waiting[0].message_id,))]
    trouble = [one for one in waiting if one.kind.is_about_trouble]
    others = [one for one in waiting if not one.kind.is_about_trouble]
    pieces = [Piece(one, (one.message_id,)) for one in others]
    if trouble:
        pieces += _folded_trouble(name, trouble)
    return sorted(pieces, key=lambda piece: piece.message.born_at)


def _folded_trouble(name: str, trouble: list[Message]) -> list[Piece]:
    ends = [number for number, one in enumerate(trouble) if one.kind in _NEWS]
    end = ends[-1] + 1 if ends else 0
    head, reminders = trouble[:end], trouble[end:]
    pieces = []
    if len({_said(one) for one in head}) > 1:
        pieces.append(_folded_into_one(name, head))
    else:
        pieces += [Piece(one, (one.message_id,)) for one in head]
    last = [one for one in reminders if _said(one) == _said(reminders[-1])]
    stale = tuple(one.message_id for one in reminders if one not in last)
    for number, one in enumerate(last):
        pieces.append(
            Piece(one, ((*stale, one.message_id) if number == 0 else (one.message_id,)))
        )
    return pieces


def _said(message: Message) -> tuple[object, ...]:
    """Return what the messages of one verdict share."""
    return message.kind, message.born_at


def _folded_into_one(name: str, messages: list[Message]) -> Piece:
    last, first = messages[-1], messages[0]
    told = first.folded.told if first.folded else first.kind is not MessageKind.ALERT
    before = [one.folded for one in messages if one.folded]
    fresh = [one for one in messages if not one.folded]
    alerts = [one for one in fresh if one.kind is MessageKind.ALERT]
    # Of what was told the reader knows since when; the news begins with the next one.
    start = alerts[0] if told and alerts and not before else first
    fold = Folded(
        times=sum(one.times for one in before) + len({_said(one) for one in alerts}),
        since=before[0].since if before else start.since or start.born_at,
        lines=tuple(_lines(messages))[-MOST_LINES:],
        told=told,
        doubtful=any(one.doubtful for one in before)
        or any(one.in_doubt for one in messages),
    )
    why = next((one.last_error for one in reversed(messages) if one.last_error), "")
    ids = tuple(one.message_id for one in messages)
    message = summaries.folded_message(_id_for(messages), name, last, fold, why)
    return Piece(replace(message, thread=first.thread if told else None), ids)


def _lines(messages: Sequence[Message]) -> Iterator[str]:
    for one in messages:
        if one.folded:
            yield from one.folded.lines
        else:
            yield summaries.line_of(one)


def _id_for(messages: Sequence[Message]) -> str:
    """Return the last one's id, which later mails may refer to.

    If that mail may have been taken as it was, another, which is always the same.
    """
    last = messages[-1]
    if not last.in_doubt:
        return last.message_id
    ids = " ".join(one.message_id for one in messages)
    return hashlib.sha256(ids.encode("utf-8", "surrogatepass")).hexdigest()[:32]

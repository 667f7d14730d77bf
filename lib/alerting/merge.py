"""Stale news -> one message that is still true.

While mail is held up, an alert and its recovery, flaps and reminders may wait together.
They become one message that tells what has been and what is now.  Pure; the stories
are in ``tests/unit/alerting/test_merge.py``.

The text of mails that stand for others, or tell of mail itself.

Pure: messages in, a message out.  For the mails about jobs see ``letters``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from lib.core.enums import MessageKind
from lib.core.messages import Merged, Message
from lib.core.text import counted, duration, first_line, local

#: A message keeps as many lines of those that it stands for.
MAX_LINES = 50

#: What tells that something has changed; what does not may be left out by the next.
_NEWS = (MessageKind.ALERT, MessageKind.RECOVERY)


@dataclass(frozen=True)
class MergedMessage:
    """A message to hand over, and the ids of those that it stands for."""

    message: Message
    ids: tuple[str, ...]


def merged(name: str, waiting: Sequence[Message]) -> list[MergedMessage]:
    """Return what is left to say when all of ``waiting`` is said at once.

    They are one job's messages to the same people, in the order of events.  What a
    job sends of its own accord is left as it is.  Of several reminders the last is
    kept; whatever came before the last change becomes one message with it, so that
    nobody reads of an end without its beginning.
    """
    if len(waiting) == 1:
        return [MergedMessage(waiting[0], (waiting[0].message_id,))]
    trouble = [one for one in waiting if one.kind.is_about_trouble]
    others = [one for one in waiting if not one.kind.is_about_trouble]
    merged_messages = [MergedMessage(one, (one.message_id,)) for one in others]
    if trouble:
        merged_messages += _merged_trouble(name, trouble)
    return sorted(
        merged_messages, key=lambda merged_message: merged_message.message.born_at
    )


def _merged_trouble(name: str, trouble: list[Message]) -> list[MergedMessage]:
    ends = [number for number, one in enumerate(trouble) if one.kind in _NEWS]
    end = ends[-1] + 1 if ends else 0
    head, reminders = trouble[:end], trouble[end:]
    merged_messages = []
    if len({_said(one) for one in head}) > 1:
        merged_messages.append(_merged_into_one(name, head))
    else:
        merged_messages += [MergedMessage(one, (one.message_id,)) for one in head]
    last = [one for one in reminders if _said(one) == _said(reminders[-1])]
    stale = tuple(one.message_id for one in reminders if one not in last)
    for number, one in enumerate(last):
        merged_messages.append(
            MergedMessage(
                one, ((*stale, one.message_id) if number == 0 else (one.message_id,))
            )
        )
    return merged_messages


def _said(message: Message) -> tuple[object, ...]:
    """Return what the messages of one verdict share."""
    return message.kind, message.born_at


def _merged_into_one(name: str, messages: list[Message]) -> MergedMessage:
    last, first = messages[-1], messages[0]
    notified = (
        first.merged.notified if first.merged else first.kind is not MessageKind.ALERT
    )
    before = [one.merged for one in messages if one.merged]
    fresh = [one for one in messages if not one.merged]
    alerts = [one for one in fresh if one.kind is MessageKind.ALERT]
    # Of what was told the reader knows since when; the news begins with the next one.
    start = alerts[0] if notified and alerts and not before else first
    fold = Merged(
        times=sum(one.times for one in before) + len({_said(one) for one in alerts}),
        since=before[0].since if before else start.since or start.born_at,
        lines=tuple(_lines(messages))[-MAX_LINES:],
        notified=notified,
        in_doubt=any(one.in_doubt for one in before)
        or any(one.in_doubt for one in messages),
    )
    why = next((one.last_error for one in reversed(messages) if one.last_error), "")
    ids = tuple(one.message_id for one in messages)
    message = merge_text(_id_for(messages), name, last, fold, why)
    return MergedMessage(
        replace(message, thread=first.thread if notified else None), ids
    )


def _lines(messages: Sequence[Message]) -> Iterator[str]:
    for one in messages:
        if one.merged:
            yield from one.merged.lines
        else:
            yield line_of(one)


def _id_for(messages: Sequence[Message]) -> str:
    """Return the last one's id, which later mails may refer to.

    If that mail may have been taken as it was, another, which is always the same.
    """
    last = messages[-1]
    if not last.in_doubt:
        return last.message_id
    ids = " ".join(one.message_id for one in messages)
    return hashlib.sha256(ids.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def line_of(message: Message) -> str:
    """Return a message as a line of those that another stands for."""
    return f"{local(message.born_at)}  {first_line(message.subject)}"


# Stale news.


def merge_text(
    message_id: str, name: str, last: Message, fold: Merged, why: str
) -> Message:
    """Return the message that tells what has been, and what is now, as ``last`` has it.

    ``why`` is what kept the others from leaving, if that is known.
    """
    over = last.kind is MessageKind.RECOVERY
    return replace(
        last,
        message_id=message_id,
        subject=_merged_subject(name, last, fold),
        body="\n\n".join(
            (
                f"{_lead(name, last, fold)}\n{_why_only_now(fold, why, over=over)}",
                last.body.rstrip(),
                "This mail stands for:\n"
                + "\n".join(f"    {line}" for line in fold.lines),
            )
        )
        + "\n",
        attempts=0,
        retry_at=None,
        last_error=why,
        in_doubt=False,
        since=fold.since,
        merged=fold,
    )


def _merged_subject(name: str, last: Message, fold: Merged) -> str:
    long = duration(last.born_at - fold.since)
    if last.kind is not MessageKind.RECOVERY:
        again = f"{_ordinal(fold.times)} time in {long}" if fold.times > 1 else "again"
        return f"{first_line(last.subject)} ({again})"
    if fold.notified and fold.times:
        more = counted(fold.times, "more time")
        return f"{name} is fine again; it failed {more} in {long}"
    if fold.times > 1:
        return f"{name} is fine again; it failed {fold.times} times in {long}"
    if fold.notified:
        return first_line(last.subject)
    return f"{name} was failing for {long}, it is fine again"


def _lead(name: str, last: Message, fold: Merged) -> str:
    start, end = local(fold.since), local(last.born_at)
    span = f"from {start} to {end} ({duration(last.born_at - fold.since)})"
    if last.kind is not MessageKind.RECOVERY:
        if fold.times > 1:
            times = f"{name} failed {fold.times} times since {start}"
            return f"{times}; the last time is below."
        return f"{name} was fine for a while, and is failing again since {end}."
    if fold.notified and fold.times:
        more = counted(fold.times, "more time")
        return f"{name} was fine, failed {more} {span}, and is fine again."
    verb = f"failed {fold.times} times" if fold.times > 1 else "was failing"
    return f"{name} {verb} {span}, it is fine again."


def _why_only_now(fold: Merged, why: str, *, over: bool) -> str:
    if fold.in_doubt:
        start = (
            "You may have been told before: a mail may have left when the line broke"
        )
        return f"{start}: {why}" if why else f"{start}."
    what = "of all of this" if fold.notified else ""
    start = " ".join(f"You were not told {what} before".split())
    if why:
        return f"{start}, because the mail could not leave: {why}"
    return f"{start}, because the mail waited for others to go with it."


def _ordinal(number: int) -> str:
    ending = (
        "th"
        if number % 100 in (11, 12, 13)
        else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    )
    return f"the {number}{ending}"

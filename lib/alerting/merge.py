"""Merge queued messages of one job that are out of date into one that is true now.

While mail is down, an alert and its recovery, flaps and reminders are queued together.
They become one message that says what happened and what the status is.  The cases are
in ``tests/unit/alerting/test_merge.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, tzinfo
from functools import cached_property, partial

import msgspec
from msgspec.structs import replace

from lib.core.enums import MessageKind, Severity, Status
from lib.core.messages import Merged, Message
from lib.core.text import counted, duration, first_line, mail_time

#: The most lines about merged messages.
MAX_LINES = 50

#: Kinds that report a change of status; others may be dropped in favour of a later one.
_CHANGES = (MessageKind.ALERT, MessageKind.RECOVERY, MessageKind.CLOSING)


class MergedMessage:
    """A message to send in place of its parts; it is written when asked for."""

    def __init__(
        self,
        parts: Sequence[Message],
        severity: Severity | None = None,
        write: Callable[[], Message] | None = None,
    ) -> None:
        """``parts``, oldest first.  ``write``: None if the last of them is sent."""
        self.parts = parts
        self._last = parts[-1]
        self.severity = severity or self._last.severity
        self._write = write

    @property
    def ids(self) -> tuple[str, ...]:
        """Return the ids of its parts."""
        return tuple(message.message_id for message in self.parts)

    @property
    def message_id(self) -> str:
        """Return the id of the message, which is that of its last part."""
        return self._last.message_id

    @property
    def kind(self) -> MessageKind:
        """Return the kind of the message."""
        return self._last.kind

    @property
    def born_at(self) -> datetime:
        """Return the time of the message."""
        return self._last.born_at

    @cached_property
    def message(self) -> Message:
        """Return the message."""
        return self._write() if self._write else self._last


def merged(
    name: str, waiting: Sequence[Message], zone: tzinfo | None, why_late: str = ""
) -> list[MergedMessage]:
    """Return the messages to send in place of ``waiting``.

    ``waiting`` has one job's messages to the same people, oldest first; none of them
    may have been accepted.  What a job sends by itself, and what is news in itself, is
    not changed.  Of several reminders the last is kept; everything
    up to the last change of status becomes one message, so that nobody gets a recovery
    without its alert.  ``why_late``: what they waited for last.
    """
    if len(waiting) == 1:
        return [MergedMessage(waiting)]
    trouble = [message for message in waiting if _may_be_merged(message)]
    others = [message for message in waiting if not _may_be_merged(message)]
    merged_messages = [MergedMessage((message,)) for message in others]
    if trouble:
        merged_messages += _merged_trouble(name, trouble, zone, why_late)
    return sorted(merged_messages, key=lambda merged_message: merged_message.born_at)


def _may_be_merged(message: Message) -> bool:
    return message.kind.is_about_trouble and not message.is_event


def _merged_trouble(
    name: str, trouble: list[Message], zone: tzinfo | None, why_late: str
) -> list[MergedMessage]:
    ends = [
        number for number, message in enumerate(trouble) if message.kind in _CHANGES
    ]
    end = ends[-1] + 1 if ends else 0
    head, reminders = trouble[:end], trouble[end:]
    merged_messages = []
    if len({_decision_of(message) for message in head}) > 1:
        severity = _worst_of(head)
        write = partial(_merged_into_one, name, head, severity, zone, why_late)
        merged_messages.append(MergedMessage(head, severity, write))
    else:
        merged_messages += [MergedMessage((message,)) for message in head]
    last = [
        message
        for message in reminders
        if _decision_of(message) == _decision_of(reminders[-1])
    ]
    if last:
        stale = [message for message in reminders if message not in last]
        merged_messages.append(MergedMessage((*stale, last[0])))
        merged_messages += [MergedMessage((message,)) for message in last[1:]]
    return merged_messages


def _decision_of(message: Message) -> tuple[object, ...]:
    """Return what the messages of one decision have in common."""
    return message.kind, message.born_at


def _worst_of(messages: Iterable[Message]) -> Severity:
    return max((message.severity for message in messages), key=list(Severity).index)


def _merged_into_one(
    name: str,
    messages: list[Message],
    severity: Severity,
    zone: tzinfo | None,
    why_late: str,
) -> Message:
    last, first = messages[-1], messages[0]
    notified = (
        first.merged.notified if first.merged else first.kind is not MessageKind.ALERT
    )
    earlier = [message.merged for message in messages if message.merged]
    # Warnings are counted only where nothing was worse.
    worst = [message for message in messages if message.severity is severity]
    alerts = [
        message
        for message in worst
        if message.kind is MessageKind.ALERT
        and not message.merged
        and not _is_flapping(message)
    ]
    # The recipient knows of the first problem, so the mail begins with the next one.
    start = alerts[0] if notified and alerts and not earlier else first
    history = Merged(
        times=sum(message.merged.times for message in worst if message.merged)
        + len({_decision_of(message) for message in alerts}),
        since=earlier[0].since if earlier else start.since or start.born_at,
        lines=tuple(_lines(messages[-MAX_LINES:], zone))[-MAX_LINES:],
        notified=notified,
        recovered=any(merged.recovered for merged in earlier)
        or any(message.kind is MessageKind.RECOVERY for message in messages),
        is_unknown=_was_unknown(messages),
    )
    why = next(
        (message.last_error for message in reversed(messages) if message.last_error), ""
    )
    began_at = _as_it_is_since(messages)
    last = replace(last, severity=severity)
    message = merge_text(name, last, began_at, history, why, why_late, zone)
    return replace(message, thread=first.thread if notified else None)


def _as_it_is_since(messages: Sequence[Message]) -> datetime:
    """Return since when a job is as the last of its messages says.

    An alert may repeat the one before, as at the end of a mute.
    """
    last, first = messages[-1], messages[0]
    since = last.born_at
    for message in reversed(messages):
        if message.kind is not MessageKind.ALERT or message.status is not last.status:
            return since
        since = message.born_at
    return first.since or since


def _was_unknown(messages: Sequence[Message]) -> bool:
    """Return whether a job could not be checked, and never failed."""
    begun = [message for message in messages if not message.kind.ends_trouble]
    earlier = [message.merged.is_unknown for message in messages if message.merged]
    statuses = {message.status for message in begun if not message.merged}
    return all(earlier) and bool(begun or earlier) and statuses <= {Status.UNKNOWN}


def _is_flapping(message: Message) -> bool:
    """Return whether it says that a job that is OK now begins to flap."""
    return message.kind is MessageKind.ALERT and message.status is Status.OK


def _lines(messages: Sequence[Message], zone: tzinfo | None) -> Iterator[str]:
    for message in messages:
        if message.merged:
            yield from message.merged.lines
        else:
            yield line_of(message, zone)


def line_of(message: Message, zone: tzinfo | None) -> str:
    """Return a message as a line of a list."""
    return f"{mail_time(message.born_at, zone)}  {first_line(message.subject)}"


# The text.


def merge_text(
    name: str,
    last: Message,
    began_at: datetime,
    history: Merged,
    why: str,
    why_late: str,
    zone: tzinfo | None,
) -> Message:
    """Return the message that says what happened before ``last``, and then ``last``.

    ``began_at``: since when it is as ``last`` says.  ``why`` is the last error of the
    earlier ones, ``why_late`` the last reason of their way, if known.
    """
    return replace(
        last,
        subject=_merged_subject(name, last, history),
        body="\n\n".join(
            (
                _lead(name, last, began_at, history, zone)
                + f"\n{_why_only_now(history, why, why_late)}",
                last.body.rstrip(),
                "Messages merged into this mail:\n"
                + "\n".join(f"    {line}" for line in history.lines),
            )
        )
        + "\n",
        attempts=0,
        retry_at=None,
        last_error=why,
        since=history.since,
        merged=history,
    )


def _merged_subject(name: str, last: Message, history: Merged) -> str:
    long = duration(last.born_at - history.since)
    if not last.kind.ends_trouble:
        if not history.recovered or _is_flapping(last):
            return first_line(last.subject)
        if _eased(last):
            return f"{first_line(last.subject)} (it failed before)"
        again = (
            f"{_ordinal(history.times)} time in {long}"
            if history.times > 1
            else "again"
        )
        return f"{first_line(last.subject)} ({again})"
    words, end = _words(last, history), _end(last)
    if history.notified and history.times:
        more = counted(history.times, "more time")
        return f"{name} {end}; it {words.past} {more} in {long}"
    if history.times > 1:
        return f"{name} {end}; it {words.past} {history.times} times in {long}"
    if history.notified or not history.times:
        return first_line(last.subject)
    return f"{name} {end}; it {words.lasting} for {long}"


def _lead(
    name: str,
    last: Message,
    began_at: datetime,
    history: Merged,
    zone: tzinfo | None,
) -> str:
    start = mail_time(history.since, zone)
    end = mail_time(last.born_at, zone)
    span = f"{duration(last.born_at - history.since)}, from {start} to {end},"
    words = _words(last, history)
    if _is_flapping(last):
        times = f" failed {counted(history.times, 'time')} since {start} and"
        return f"{name}{times if history.times else ''} has been flapping since {end}."
    if not last.kind.ends_trouble:
        if not history.recovered:
            was = "was not OK before and " if began_at > history.since else ""
            return f"{name} {was}{words.present} since {mail_time(began_at, zone)}."
        if _eased(last):
            return f"{name} failed before, was OK and has been WARNING since {end}."
        if history.times > 1:
            times = f"{name} {words.past} {history.times} times since {start}"
            return f"{times}; the last {words.noun} is below."
        return f"{name} was OK for a while and {words.present} again since {end}."
    if history.notified and history.times:
        more = counted(history.times, "more time")
        return f"{name} was OK, {words.past} {more} within {span} and {_end(last)}."
    if history.times > 1:
        times = f"{words.past} {history.times} times within"
        return f"{name} {times} {span} and {_end(last)}."
    was = words.lasting if history.notified or history.times else "was flapping"
    return f"{name} {was} for {span} and {_end(last)}."


class _Words(msgspec.Struct, frozen=True):
    """Verbs for the worst that a merged message is about."""

    past: str
    lasting: str
    present: str
    noun: str


_FAILURE = _Words("failed", "was failing", "has been failing", "failure")
_WARNING = _Words("was WARNING", "was WARNING", "has been WARNING", "warning")
_UNKNOWN = _Words(
    "could not be checked", "could not be checked", "has been unknown", "problem"
)


def _words(last: Message, history: Merged) -> _Words:
    if history.is_unknown:
        return _UNKNOWN
    return _WARNING if last.severity is Severity.WARNING else _FAILURE


def _eased(last: Message) -> bool:
    """Return whether it is a warning, and something before it was a failure."""
    return last.status is Status.WARNING and last.severity is Severity.CRITICAL


def _end(last: Message) -> str:
    """Return what a job is after the failure or the warning."""
    if last.kind is MessageKind.CLOSING:
        return "is no longer checked"
    return "is now WARNING" if last.status is Status.WARNING else "is OK again"


def _why_only_now(history: Merged, why: str, why_late: str) -> str:
    what = " of all of this" if history.notified else ""
    start = f"You were not notified{what} before"
    # An error may have been over long before the message left.
    if why_late and why_late != first_line(why):
        return f"{start}: {why_late}."
    if why:
        return f"{start}, because the mail could not be sent: {why}"
    return f"{start}, because the mail waited to be sent together with others."


def _ordinal(number: int) -> str:
    ending = (
        "th"
        if number % 100 in (11, 12, 13)
        else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    )
    return f"the {number}{ending}"

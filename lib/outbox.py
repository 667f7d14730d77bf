"""Committed messages -> a channel, and what became of each.

The messages lie in the records.  Here is decided which are tried now; they are handed
to a child process that holds the SMTP session, and can be killed when the session's
time is over.  The attempt is counted on disk before it is made, and a message leaves
its record only when the server has taken it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from lib import decide, process
from lib.model import Message, Record, Settings
from lib.wording import counted, first_line, local

logger = logging.getLogger(__name__)

#: How many mails one session takes; the rest wait for the next.
MOST_AT_ONCE = 100
#: A session that takes longer is over, whatever the server does.
SESSION_S = 30.0
#: The first message waits this long for others that will go with it.
GATHER_S = 5.0

Envelope = tuple[str, Message]


@dataclass(frozen=True)
class Sent:
    """A message was taken, for all its recipients but those refused."""

    key: str
    message: Message
    refused: Mapping[str, str]


@dataclass(frozen=True)
class Unsent:
    """A message was not taken; the text says at which step and why."""

    key: str
    message: Message
    why: str


def sendable(records: Iterable[Record], now: datetime) -> list[Envelope]:
    """Return the owed messages that may be tried now, each with its record's key.

    The oldest first.  One that waits for its next attempt holds back the younger ones
    of its job, so that no recovery is read before its problem.
    """
    found = []
    for record in records:
        for message in record.owed:
            if not decide.is_sendable(message, now):
                break
            found.append((record.key, message))
    return sorted(found, key=lambda envelope: envelope[1].born_at)


def counted_attempts(
    records: Mapping[str, Record], batch: Iterable[Envelope], now: datetime
) -> dict[str, Record]:
    """Return the records of a batch as they are kept before the attempt."""
    tried = {message.message_id for _key, message in batch}
    return {
        key: replace(
            records[key],
            owed=tuple(
                (
                    decide.attempted(message, now)
                    if message.message_id in tried
                    else message
                )
                for message in records[key].owed
            ),
        )
        for key, _message in batch
    }


def settle(record: Record, event: Sent | Unsent) -> Record:
    """Return the record after an attempt: what was taken is no longer owed.

    Recipients that were refused are still owed the message, and nobody else is.
    """
    left = []
    for message in record.owed:
        if message.message_id != event.message.message_id:
            left.append(message)
        elif isinstance(event, Unsent):
            left.append(replace(message, last_error=event.why))
        elif event.refused:
            why = "; ".join(f"{to}: {said}" for to, said in event.refused.items())
            to = tuple(address for address in message.to if address in event.refused)
            left.append(replace(message, to=to, last_error=why))
    return replace(record, owed=tuple(left))


class Outbox:
    """The sessions of one run, one at a time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._child: process.Child | None = None
        self._waiting: dict[str, Envelope] = {}
        self._deadline = float("inf")
        self.sent = 0

    @property
    def is_busy(self) -> bool:
        """Return whether a session is open."""
        return self._child is not None

    @property
    def children(self) -> list[process.Child]:
        """Return the processes to wait for."""
        return [self._child] if self._child else []

    def next_deadline(self) -> float:
        """Return when, by the monotonic clock, the session is over."""
        return self._deadline if self._child else float("inf")

    def start(self, batch: list[Envelope], limit_s: float) -> None:
        """Open a session for a batch whose attempts are counted on disk."""
        length = min(SESSION_S, limit_s)
        self._waiting = {message.message_id: (key, message) for key, message in batch}
        self._deadline = time.monotonic() + length
        self._child = process.start(
            lambda tell: deliver(self._settings, batch, tell, length)
        )

    def events(self) -> Iterator[Sent | Unsent]:
        """Yield what has become of messages since; never wait."""
        child = self._child
        if child is None:
            return
        ended = child.has_ended()
        child.read_printed()
        for frame in child.frames():
            event = self._read(frame)
            if event is not None:
                yield event
        if ended or time.monotonic() >= self._deadline:
            why = "the session took too long" if not ended else "the session broke off"
            yield from self._close(why, child)

    def stop(self) -> Iterator[Unsent]:
        """End the session; what was not answered stays owed."""
        if self._child is not None:
            yield from self._close("the run had to end", self._child)

    def _close(self, why: str, child: process.Child) -> Iterator[Unsent]:
        child.end()
        child.read_printed()
        if child.printed:
            why = f"{why}: {first_line(child.printed.decode('utf-8', 'replace'))}"
        self._child = None
        for key, message in self._waiting.values():
            yield Unsent(key, message, why)
        self._waiting = {}

    def _read(self, frame: Any) -> Sent | Unsent | None:
        word, *rest = frame
        if word == "step":
            logger.debug("%s", rest[0])
            return None
        key, message = self._waiting.pop(rest[0])
        if word == "sent":
            self.sent += 1
            return Sent(key, message, rest[1])
        return Unsent(key, message, rest[1])


def deliver(
    settings: Settings,
    envelopes: Iterable[Envelope],
    tell: Callable[[Any], None],
    limit_s: float,
) -> None:
    """Hand messages to the channel, in the child; tell of each step and each fate.

    After one that was not taken, the younger ones of its job wait for it.
    """
    from lib.channels import NotSent, channel_for, compose, sender_of

    left = list(envelopes)
    sender = sender_of(settings)
    why = "the server ended the session"
    held_back: set[str] = set()
    try:
        channel = channel_for(settings, lambda line: tell(["step", line]), limit_s)
        with channel as session:
            while left and session.usable:
                key, message = left.pop(0)
                if key in held_back:
                    tell(["unsent", message.message_id, "an earlier mail comes first"])
                    continue
                try:
                    data = compose(message, settings)
                    refused = session.send(sender, message.to, data)
                    tell(["sent", message.message_id, refused])
                except NotSent as error:
                    why = str(error)
                    held_back.add(key)
                    tell(["unsent", message.message_id, why])
    except NotSent as error:
        why = str(error)
    for _key, message in left:
        tell(["unsent", message.message_id, why])


def send_now(
    settings: Settings, message: Message, on_step: Callable[[str], None]
) -> str:
    """Send one message at once, telling each step; return why not, or nothing.

    For a person who waits: no record, no second attempt.
    """
    child = process.start(
        lambda tell: deliver(settings, [("", message)], tell, SESSION_S)
    )
    deadline = time.monotonic() + SESSION_S
    why = "the session took too long"
    while time.monotonic() < deadline:
        process.wait([child], deadline - time.monotonic())
        ended = child.has_ended()
        for frame in child.frames():
            if frame[0] == "step":
                on_step(frame[1])
            elif frame[0] == "sent":
                refused = "; ".join(f"{to}: {said}" for to, said in frame[2].items())
                child.end()
                return refused
            else:
                why = frame[2]
        if ended:
            break
    child.end()
    child.read_printed()
    return why


def explained(unsent: Iterable[Unsent]) -> Iterator[str]:
    """Yield a line for each reason why messages did not leave, for the log."""
    by_reason: dict[str, list[Unsent]] = {}
    for one in unsent:
        by_reason.setdefault(one.why, []).append(one)
    for why, those in by_reason.items():
        oldest = min(one.message.born_at for one in those)
        yield (
            f"{counted(len(those), 'mail')} not sent, the oldest of {local(oldest)}: "
            f"{why}; kept, and tried again in a later run"
        )


def is_worth_gathering(batch: Iterable[Envelope], now: datetime) -> bool:
    """Return whether the oldest message has waited long enough for company."""
    oldest = min((message.born_at for _key, message in batch), default=now)
    return (now - oldest).total_seconds() >= GATHER_S

"""Parcels -> a channel, and what became of each.

They are handed to a child process that holds the SMTP session, and can be killed when
the session's time is over.  What is handed over when is the postman's.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lib import process
from lib.child import Tell
from lib.fates import Refusal
from lib.model import Message, Settings
from lib.owed import Parcel
from lib.ways import Ways
from lib.wording import counted, first_line, local

logger = logging.getLogger(__name__)

#: How many mails one session takes; the rest wait for the next.
MOST_AT_ONCE = 100
#: A session that takes longer is over, whatever the server does.
SESSION_S = 30.0
#: One that is not in a process of its own.
HERE_S = 15.0


@dataclass(frozen=True)
class Sent:
    """A parcel was taken, for all its recipients but those refused."""

    parcel: Parcel
    refused: Mapping[str, str] = field(default_factory=dict)
    #: It went by the second account.
    by_second: bool = False


@dataclass(frozen=True)
class Declined:
    """The first account would not do; its mails go by the second."""

    refusal: Refusal


@dataclass(frozen=True)
class Unsent:
    """A parcel was not taken; the refusal says at which step and why."""

    parcel: Parcel
    refusal: Refusal
    #: It is the second account that would not take it.
    by_second: bool = False


Event = Sent | Unsent | Declined


class Outbox:
    """The sessions of one run, one at a time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._child: process.Child | None = None
        self._waiting: dict[str, Parcel] = {}
        self._begun: set[str] = set()
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

    def start(
        self, batch: Iterable[Parcel], limit_s: float, ways: Ways | None = None
    ) -> None:
        """Open a session for parcels whose attempts are counted on disk."""
        parcels = list(batch)
        length = min(SESSION_S, limit_s)
        self._waiting = {parcel.message.message_id: parcel for parcel in parcels}
        self._begun = set()
        self._deadline = time.monotonic() + length
        self._child = _session(
            lambda tell, limit_s: _deliver(
                self._settings, parcels, tell, limit_s, ways
            ),
            length,
        )

    def events(self) -> Iterator[Event]:
        """Yield what has become of parcels since; never wait."""
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

    def stop(self) -> Iterator[Event]:
        """End the session; what was not answered stays owed."""
        child = self._child
        if child is not None:
            # What the server has taken by now must not be sent again.
            for frame in child.frames():
                event = self._read(frame)
                if event is not None:
                    yield event
            yield from self._close("the run had to end", child)

    def _close(self, why: str, child: process.Child) -> Iterator[Unsent]:
        child.end()
        child.read_printed()
        if child.printed:
            why = f"{why}: {first_line(child.printed.decode('utf-8', 'replace'))}"
        self._child = None
        for name, parcel in self._waiting.items():
            yield Unsent(parcel, Refusal(why, begun=name in self._begun))
        self._waiting = {}

    def _read(self, frame: Any) -> Event | None:
        word, *rest = frame
        if word == "step":
            logger.debug("%s", rest[0])
            return None
        if word == "begun":
            self._begun.add(rest[0])
            return None
        if word == "refused":
            return Declined(Refusal(**rest[0]))
        parcel = self._waiting.pop(rest[0])
        if word == "sent":
            # With nomail the log took it.
            self.sent += not self._settings.mail.nomail
            return Sent(parcel, rest[1], by_second=bool(rest[2]))
        return Unsent(parcel, Refusal(**rest[1]), by_second=bool(rest[2]))


def send_now(
    settings: Settings,
    message: Message,
    on_step: Callable[[str], None],
    limit_s: float = SESSION_S,
) -> str:
    """Send one message at once, telling each step; return why not, or nothing.

    For a person who waits: no record, no second attempt.
    """
    limit_s = min(SESSION_S, limit_s)
    parcel = Parcel(message, (message.message_id,), None, message.born_at)
    child = _session(
        lambda tell, length: _deliver(settings, [parcel], tell, length), limit_s
    )
    deadline = time.monotonic() + limit_s
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
            elif frame[0] == "unsent":
                why = frame[2]["why"]
        if ended:
            break
    child.end()
    child.read_printed()
    return why


def _session(work: Callable[[Tell, float], None], limit_s: float) -> process.Child:
    """Have the work done by a child, or here where there can be no other process.

    Here it holds up the run, so it gets less time.
    """
    try:
        return process.start(lambda tell: work(tell, limit_s))
    except OSError:
        # It has been said, with the limit.
        limit_s = min(HERE_S, limit_s)
        return process.do_here(lambda tell: work(tell, limit_s), limit_s)


def _deliver(
    settings: Settings,
    parcels: list[Parcel],
    tell: Tell,
    limit_s: float,
    ways: Ways | None = None,
) -> None:
    # Only the child needs to know how.
    from lib.delivery import deliver

    deliver(settings, parcels, tell, limit_s, ways)


def explained(unsent: Iterable[Unsent]) -> Iterator[str]:
    """Yield a line for each reason why messages did not leave, for the log."""
    by_reason: dict[str, list[Parcel]] = {}
    for one in unsent:
        by_reason.setdefault(one.refusal.why, []).append(one.parcel)
    for why, those in by_reason.items():
        oldest = min(parcel.oldest for parcel in those)
        count = sum(len(parcel.ids) for parcel in those)
        yield (
            f"{counted(count, 'mail')} not sent, the oldest of {local(oldest)}: "
            f"{why}; kept, and tried again in a later run"
        )

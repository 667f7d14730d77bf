"""Parcels -> a channel, and what became of each.

They are handed to a child process that holds the SMTP session, and can be killed when
the session's time is over.  What is handed over when is the postman's.

Parcels -> the mail server, in the child process of the outbox.

What the first account cannot take goes by the second one, ``[email backup]``, if there
is one.  A probe does not: it is to prove the first.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lib.alerting.accounts import Ways
from lib.alerting.channels import Channel, channel_for
from lib.alerting.queue import Parcel
from lib.alerting.results import Refusal
from lib.core.enums import MessageKind
from lib.core.messages import Message
from lib.core.settings import Mail, Settings
from lib.core.text import counted, first_line, local, wrapped
from lib.mail.mime import compose, sender_of
from lib.mail.replies import NotSent
from lib.system import process
from lib.system.process import Tell

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
    pass

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


#: The end of a mail that went by the second account.
BY_SECOND = (
    "This mail came by the second account, [email backup].  Why not by the first: {why}"
)


def deliver(
    settings: Settings,
    parcels: Iterable[Parcel],
    tell: Tell,
    limit_s: float,
    ways: Ways | None = None,
) -> None:
    """Hand parcels to the channel, in the child; tell of each step and each fate.

    What the first account cannot take goes by the second, if there is one that may be
    used, and says so.  A probe is handed to the first one whatever is known against it:
    only that can show that its mail arrives again.
    """
    ends_at = time.monotonic() + limit_s
    left = list(parcels)
    ways = ways or Ways(settings.mail.backup)
    backup = ways.second
    if backup is None:
        _Session(settings, tell, limit_s).carry_out(left)
        return
    passed = [one for one in left if ways.why_not_first and not _is_probe(one)]
    tried = [one for one in left if one not in passed]
    over: list[Parcel] = []
    why_not_first = ways.why_not_first
    if tried:
        first = _Session(settings, tell, limit_s / 2, has_another=True)
        over = first.carry_out(tried)
        why_not_first = why_not_first or first.why
        if first.refusal:
            tell(["refused", first.refusal])
        probes = [one for one in over if _is_probe(one)]
        _tell_unsent(probes, {"why": first.why}, tell)
    others = [*passed, *(one for one in over if not _is_probe(one))]
    if others:
        left_s = ends_at - time.monotonic()
        second = _Session(settings, tell, left_s, account=backup)
        second.note = BY_SECOND.format(why=first_line(why_not_first))
        second.carry_out(others)


def _is_probe(parcel: Parcel) -> bool:
    return parcel.message.kind is MessageKind.PROBE


class _Session:
    """One session of one account, in the child.

    After a mail that was not taken, the younger ones of its job to the same people
    wait for it.
    """

    def __init__(
        self,
        settings: Settings,
        tell: Tell,
        limit_s: float,
        *,
        account: Mail | None = None,
        has_another: bool = False,
    ) -> None:
        self._settings = settings
        self._tell = tell
        self._limit_s = limit_s
        self._account = account
        self._via = "second" if account else ""
        #: What is not taken because of the account is left to another one.
        self._has_another = has_another
        #: What the mails say of this account.
        self.note = ""
        #: Why the account would not do, and as a frame can hold it.
        self.why = ""
        self.refusal: dict[str, Any] = {}

    def carry_out(self, parcels: list[Parcel]) -> list[Parcel]:
        """Return what is left to another account, its fate not told."""
        self._left = list(parcels)
        self._over: list[Parcel] = []
        why: dict[str, Any] = {"why": "the server ended the session"}
        try:
            channel = channel_for(
                self._settings,
                lambda line: self._tell(["step", line]),
                self._limit_s,
                self._account,
            )
            with channel as session:
                why = self._speak(session) or why
        except NotSent as error:
            why = _told(error)
        if self._left and self._has_another:
            self._leave(self._left, why)
        else:
            # What was said to the recipients of one mail is nothing to the others.
            only = {**why, "refused": {}, "permanent": False}
            _tell_unsent(self._left, only, self._tell, self._via)
        return self._over

    def _speak(self, session: Channel) -> dict[str, Any]:
        """Hand over while the session lasts; return the last refusal."""
        sender = sender_of(self._settings, self._account)
        why: dict[str, Any] = {}
        held_back: dict[Any, bool] = {}
        while self._left and session.usable:
            parcel = self._left.pop(0)
            message = parcel.message
            name = message.message_id
            job = (parcel.key or name, message.to)
            if job in held_back:
                if held_back[job]:
                    self._over.append(parcel)
                else:
                    later = {"why": "an earlier mail comes first"}
                    self._tell(["unsent", name, later, self._via])
                continue
            if self.note:
                body = f"{message.body.rstrip()}\n\n{wrapped(self.note)}\n"
                message = replace(message, body=body)
            try:
                data = compose(message, self._settings, self._account)
                self._tell(["begun", name])
                refused = session.send(sender, message.to, data)
                self._tell(["sent", name, refused, self._via])
            except NotSent as error:
                why = _told(error)
                is_ours = Refusal(**why, begun=True).is_about_us
                held_back[job] = self._has_another and is_ours
                if held_back[job]:
                    self._leave([parcel], why)
                else:
                    self._tell(["unsent", name, {**why, "begun": True}, self._via])
        return why

    def _leave(self, parcels: Iterable[Parcel], why: dict[str, Any]) -> None:
        self._over += parcels
        self.why = str(why["why"])
        self.refusal = {**why, "refused": {}, "permanent": False}


def _tell_unsent(
    parcels: Iterable[Parcel], why: Mapping[str, Any], tell: Tell, via: str = ""
) -> None:
    for parcel in parcels:
        tell(["unsent", parcel.message.message_id, dict(why), via])


def _told(error: Any) -> dict[str, Any]:
    """Return a NotSent as a frame can hold it."""
    return {
        "why": str(error),
        "step": error.step,
        "code": error.code,
        "status": error.status,
        "permanent": error.permanent,
        "refused": error.refused,
    }

"""Deliver envelopes through a channel, in a child process with a deadline.

``Outbox`` runs the session and yields an event per envelope; what to send when is
decided by ``dispatcher``.  Mails that the primary account cannot send go through the
backup account; round-trip mails do not, because they are to prove the primary.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, tzinfo
from itertools import filterfalse
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from lib.alerting import routing
from lib.alerting.planning import Accounts
from lib.alerting.queue import Envelope
from lib.alerting.results import NOT_YET, DeliveryFailure
from lib.core.enums import MessageKind
from lib.core.jobs import OWN_KEY
from lib.core.messages import Message
from lib.core.records import Record
from lib.core.settings import Mail, Settings
from lib.core.text import counted, first_line, mail_time, wrapped
from lib.mail.connection import ignore
from lib.mail.replies import DeliveryError
from lib.system import process
from lib.system.process import Emit

if TYPE_CHECKING:
    from lib.alerting.channels import Channel as MailSession
    from lib.alerting.senders import Call
    from lib.core.settings import Channel

logger = logging.getLogger(__name__)

NOT_SET_UP = "mail is not set up: set smtpserver in [email] of settings.cfg"
#: The most mails of one session; the rest wait for the next.
MAX_AT_ONCE = 100
#: Some servers hang up after each mail that they refuse: so many sessions of an account
#: follow each other, and one is begun only if it has so much time.
MAX_SESSIONS = 10
LEAST_SESSION_S = 2.0
#: A session that takes longer is ended.
SESSION_S = 30.0
#: The same, if it cannot have a process of its own.
HERE_S = 15.0


class Sent(msgspec.Struct, frozen=True):
    """An envelope was accepted, except for the recipients in ``refused``."""

    envelope: Envelope
    refused: Mapping[str, str] = {}
    #: The backup account sent it.
    by_backup: bool = False


class PrimaryFailed(msgspec.Struct, frozen=True):
    """The primary account failed; its mails go through the backup account."""

    failure: DeliveryFailure


class Unsent(msgspec.Struct, frozen=True):
    """An envelope was not accepted; ``failure`` says at which step and why."""

    envelope: Envelope
    failure: DeliveryFailure
    #: The backup account failed.
    by_backup: bool = False


Event = Sent | Unsent | PrimaryFailed


class Outbox:
    """The mail sessions of one run, one at a time."""

    #: The most envelopes of one session; the rest wait for the next.
    max_at_once = MAX_AT_ONCE

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._child: process.Child | None = None
        self._waiting: dict[str, Envelope] = {}
        self._begun: set[str] = set()
        #: What an account's server said to recipients before it hung up, by mail.
        self._refused: dict[str, Mapping[str, str]] = {}
        self._deadline = float("inf")
        self._on_step: Callable[[str], None] = ignore
        self.sent = 0

    @property
    def is_busy(self) -> bool:
        """Return whether a session is open."""
        return self._child is not None

    @property
    def _is_real(self) -> bool:
        """Return whether what is accepted is sent; with nomail it is not."""
        return not self._settings.mail.nomail

    @property
    def children(self) -> list[process.Child]:
        """Return the processes to wait for."""
        return [self._child] if self._child else []

    def next_deadline(self) -> float:
        """Return when the session must end, by the monotonic clock."""
        return self._deadline if self._child else float("inf")

    def start(
        self,
        batch: Iterable[Envelope],
        limit_s: float,
        accounts: Accounts | None = None,
    ) -> None:
        """Open a session for envelopes whose attempts are counted on disk."""
        envelopes = list(batch)
        length = min(SESSION_S, limit_s)
        self._waiting = {
            envelope.message.message_id: envelope for envelope in envelopes
        }
        self._begun, self._refused = set(), {}
        self._deadline = time.monotonic() + length
        self._child = _session(
            lambda emit, limit_s: deliver(
                self._settings, envelopes, emit, limit_s, accounts
            ),
            length,
        )

    def events(self) -> Iterator[Event]:
        """Yield the results since the last call, without waiting."""
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
            yield from self._close(self._words(ended), child)

    def _words(self, ended: bool) -> str:
        """Return how a session failed that is over without a result."""
        how = "ended unexpectedly" if ended else "took too long"
        return f"the SMTP session {how}"

    def stop(self) -> Iterator[Event]:
        """End the session; envelopes without an answer stay queued."""
        child = self._child
        if child is not None:
            # What the server has accepted must not be sent again.
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
        for name, envelope in self._waiting.items():
            failure = DeliveryFailure(why, begun=name in self._begun)
            yield Unsent(envelope, self._with_refused(name, failure))
        self._waiting = {}

    def _with_refused(self, name: str, failure: DeliveryFailure) -> DeliveryFailure:
        """Return the failure of a mail, with those refused in an earlier session."""
        before = self._refused.get(name)
        if not before or failure.permanent and not failure.refused:
            # What is wrong with the mail itself is said of it as a whole.
            return failure
        return replace(failure, refused={**before, **failure.refused})

    def _read(self, frame: Any) -> Event | None:
        word, *rest = frame
        if word == "step":
            logger.debug("%s", rest[0])
            self._on_step(rest[0])
            return None
        if word == "begun":
            self._begun.add(rest[0])
            return None
        if word == "hung up":
            self._begun.discard(rest[0])
            self._refused[rest[0]] = rest[1]
            return None
        if word == "refused":
            return PrimaryFailed(DeliveryFailure(**rest[0]))
        envelope = self._waiting.pop(rest[0])
        if word == "sent":
            self.sent += self._is_real
            return Sent(envelope, rest[1], by_backup=bool(rest[2]))
        failure = self._with_refused(rest[0], DeliveryFailure(**rest[1]))
        return Unsent(envelope, failure, by_backup=bool(rest[2]))


class ChannelOutbox(Outbox):
    """The calls of one way of a channel, one at a time: each is one message."""

    max_at_once = 1
    _is_real = True

    def __init__(
        self,
        settings: Settings,
        way: str,
        on_step: Callable[[str], None] = ignore,
    ) -> None:
        super().__init__(settings)
        self._on_step = on_step
        self._way = way
        self._limit_s = 0.0

    def call(self, channel: Channel, envelope: Envelope, job: str) -> None:
        """Send an envelope whose attempt is counted on disk.

        Raise OSError if no process can be started.
        """
        from lib.alerting.senders import Call

        one = Call(self._settings, channel, self._way, envelope.message, job)
        self._waiting = {envelope.message.message_id: envelope}
        self._begun = set()
        self._limit_s = channel.timeout_s
        self._deadline = time.monotonic() + channel.timeout_s
        self._child = process.start(lambda emit: call_channel(one, emit))

    def _words(self, ended: bool) -> str:
        if ended:
            return f"{self._way}: the call ended unexpectedly"
        return f"{self._way}: not done within {self._limit_s:g} s"


def call_channel(call: Call, emit: Emit) -> None:
    """Send one message by a channel and emit the result; runs in the child process."""
    from lib.alerting import senders

    name = call.message.message_id
    try:
        report = senders.Report(
            lambda: emit(["begun", name]), lambda line: emit(["step", line])
        )
        senders.send(call, report)
        emit(["sent", name, {}, ""])
    except DeliveryError as error:
        emit(["unsent", name, {**_as_frame(error), "begun": True}, ""])
    except Exception as error:
        # A library's own; its text may hold a URL.
        where = f"{call.way}: {type(error).__name__}"
        emit(
            [
                "unsent",
                name,
                {
                    "why": senders.without_secrets(call, f"{where}: {error}"),
                    "begun": True,
                },
                "",
            ]
        )


def send_now(
    settings: Settings,
    message: Message,
    on_step: Callable[[str], None],
    limit_s: float = SESSION_S,
) -> str:
    """Send one message now and report each step; return why it failed, or nothing.

    For a person at a terminal: no record, no second attempt.  With --nomail nothing
    leaves by any way.
    """
    if settings.mail.holds:
        return _mail_now(settings, message, on_step, limit_s)
    ends_at = time.monotonic() + limit_s
    whole = Record(OWN_KEY, queued=(message,))
    failures = []
    for part in routing.split_by_way(whole, settings.channels).queued:
        left_s = max(1.0, ends_at - time.monotonic())
        send = _call_now if part.way else _mail_now
        failures.append(send(settings, part, on_step, left_s))
    return "; ".join(filter(None, failures))


def _call_now(
    settings: Settings,
    message: Message,
    on_step: Callable[[str], None],
    limit_s: float,
) -> str:
    way = message.way
    channel = routing.channel_of(way, settings.channels)
    if channel is None or channel.problem:
        return f"{way}: {channel.problem if channel else 'there is no such channel'}"
    box = ChannelOutbox(settings, way, lambda line: on_step(f"{way}: {line}"))
    envelope = Envelope(message, (message.message_id,), None, message.born_at)
    timeout_s = min(channel.timeout_s, limit_s)
    try:
        box.call(replace(channel, timeout_s=timeout_s), envelope, "")
    except OSError as error:
        return f"{way}: {error.strerror}"
    why = ""
    while box.is_busy:
        process.wait(box.children, box.next_deadline() - time.monotonic())
        for event in box.events():
            why = event.failure.why if isinstance(event, Unsent) else ""
    return why


def _mail_now(
    settings: Settings,
    message: Message,
    on_step: Callable[[str], None],
    limit_s: float,
) -> str:
    if not (settings.mail.is_set_up or settings.mail.nomail):
        return settings.mail.trouble or NOT_SET_UP
    limit_s = min(SESSION_S, limit_s)
    envelope = Envelope(message, (message.message_id,), None, message.born_at)
    child = _session(
        lambda emit, length: deliver(settings, [envelope], emit, length), limit_s
    )
    deadline = time.monotonic() + limit_s
    why = "the SMTP session took too long"
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


def _session(work: Callable[[Emit, float], None], limit_s: float) -> process.Child:
    """Do the work in a child process, or in this one if no process can be started.

    In this process it delays the run, so it gets less time.
    """
    try:
        return process.start(lambda emit: work(emit, limit_s))
    except OSError:
        # The limit that caused this is logged already.
        limit_s = min(HERE_S, limit_s)
        return process.do_here(lambda emit: work(emit, limit_s), limit_s)


def failure_lines(
    unsent: Iterable[Unsent],
    zone: tzinfo | None,
    way: str = "",
    *,
    is_queued: bool = True,
) -> Iterator[str]:
    """Yield a log line for each reason why messages were not sent.

    ``way``: that of a channel; empty: mail.  ``is_queued``: they are tried again.
    """
    follows = "queued, a later run tries again"
    if not is_queued:
        follows = "rejected, not retried"
    by_reason: dict[str, list[Envelope]] = {}
    for event in unsent:
        by_reason.setdefault(event.failure.why, []).append(event.envelope)
    for why, envelopes in by_reason.items():
        oldest = min(envelope.oldest for envelope in envelopes)
        count = sum(len(envelope.ids) for envelope in envelopes)
        what = (
            f"{counted(count, 'message')} to {way}" if way else counted(count, "mail")
        )
        yield (
            f"{what} not sent, the oldest from "
            f"{mail_time(oldest, zone)}: {why}; {follows}"
        )


#: Why the mails were not sent that come after the one with which a session ended.
SESSION_ENDED = "the server ended the session"
#: Added to a mail that the backup account sends.
BY_BACKUP = (
    "This mail was sent by the backup account, [email backup].  The primary account "
    "was not used: {why}"
)


def deliver(
    settings: Settings,
    envelopes: Iterable[Envelope],
    emit: Emit,
    limit_s: float,
    accounts: Accounts | None = None,
) -> None:
    """Send envelopes and emit each step and result; runs in the child process.

    Mails that the primary account cannot send go through the backup account and say so.
    Round-trip mails always use the primary: only they can show that it works again.
    """
    ends_at = time.monotonic() + limit_s
    left = list(envelopes)
    accounts = accounts or Accounts(settings.mail.backup)
    backup = accounts.backup
    if backup is None:
        _Session(settings, emit, limit_s).send(left)
        return
    passed = [
        envelope
        for envelope in left
        if accounts.why_not_primary and not _is_round_trip(envelope)
    ]
    tried = [envelope for envelope in left if envelope not in passed]
    unsent: list[Envelope] = []
    why_not_primary = accounts.why_not_primary
    if tried:
        first = _Session(
            settings,
            emit,
            limit_s / 2,
            has_another=True,
            late_before=accounts.late_before,
        )
        unsent = first.send(tried)
        why_not_primary = why_not_primary or first.why
        if first.failure:
            emit(["refused", first.failure])
        round_trip_mails = list(filter(_is_round_trip, unsent))
        _emit_unsent(round_trip_mails, {"why": first.why}, emit)
    others = [*passed, *filterfalse(_is_round_trip, unsent)]
    if others:
        left_s = ends_at - time.monotonic()
        secondary = _Session(settings, emit, left_s, account=backup)
        secondary.note = BY_BACKUP.format(why=first_line(why_not_primary))
        secondary.send(others)


def _is_round_trip(envelope: Envelope) -> bool:
    return envelope.message.kind is MessageKind.ROUND_TRIP


class _Session:
    """The session of one account, in the child process.

    After a mail that failed, later ones of its job to the same people are not tried.
    Where the server has ended the session with it, the others go in a new one.
    """

    def __init__(
        self,
        settings: Settings,
        emit: Emit,
        limit_s: float,
        *,
        account: Mail | None = None,
        has_another: bool = False,
        late_before: datetime | None = None,
    ) -> None:
        self._settings = settings
        self._emit = emit
        self._limit_s = limit_s
        self._account = account
        self._via = "backup" if account else ""
        #: Failures of this account leave the mail to another one.
        self._has_another = has_another
        self._late_before = late_before
        #: A sentence that is added to each mail.
        self.note = ""
        #: Why the account failed, in words and as a frame.
        self.why = ""
        self.failure: dict[str, Any] = {}

    def send(self, envelopes: list[Envelope]) -> list[Envelope]:
        """Return the envelopes that are left to another account."""
        self._left = list(envelopes)
        self._over: list[Envelope] = []
        self._held_back: dict[Any, bool] = {}
        #: What was said to recipients before the server ended a session, by mail.
        self._refused: dict[str, dict[str, str]] = {}
        ends_at = time.monotonic() + self._limit_s
        why: dict[str, Any] = {}
        for _number in range(MAX_SESSIONS):
            left_s = ends_at - time.monotonic()
            if why and left_s < LEAST_SESSION_S:
                break
            why = self._send_in_session(left_s)
            if not (self._left and self._may_go_on):
                break
        if self._left and self._has_another:
            self._leave(self._left, why)
        else:
            # A reply to one mail says nothing about the others.
            only = {**why, "refused": {}, "permanent": False}
            if self._may_go_on:
                only = {"why": SESSION_ENDED}
            _emit_unsent(self._left, only, self._emit, self._via)
        return self._over

    def _send_in_session(self, limit_s: float) -> dict[str, Any]:
        """Send until all is done or the session is over; return the last failure."""
        from lib.alerting.channels import channel_for

        self._may_go_on = False
        try:
            channel = channel_for(
                self._settings,
                lambda line: self._emit(["step", line]),
                limit_s,
                self._account,
            )
            with channel as session:
                return self._send_all(session) or {"why": SESSION_ENDED}
        except DeliveryError as error:
            return _as_frame(error)

    def _send_all(self, session: MailSession) -> dict[str, Any]:
        """Send while the session lasts; return the last failure."""
        from lib.mail.mime import compose, sender_of

        sender = sender_of(self._settings, self._account)
        why: dict[str, Any] = {}
        is_first = True
        while self._left and session.usable:
            envelope = self._left.pop(0)
            message = envelope.message
            name = message.message_id
            job = (envelope.key or name, message.to)
            if job in self._held_back:
                if self._held_back[job]:
                    self._over.append(envelope)
                else:
                    later = {"why": NOT_YET}
                    self._emit(["unsent", name, later, self._via])
                continue
            if self.note:
                body = f"{message.body.rstrip()}\n\n{wrapped(self.note)}\n"
                message = replace(message, body=body)
            before = self._refused.get(name, {})
            to = [who for who in message.to if who not in before]
            try:
                data = compose(message, self._settings, self._account)
                self._emit(["begun", name])
                refused = session.send(sender, to, data)
                self._emit(["sent", name, {**before, **refused}, self._via])
            except DeliveryError as error:
                why = _as_frame(error)
                failure = DeliveryFailure(**why, begun=True)
                self._may_go_on = failure.is_of_this_session(is_first=is_first)
                is_lost = failure.code in (None, 421)
                if failure.step == "MAIL FROM" and is_lost and not is_first:
                    # A session takes so many mails, and this one was too many.
                    self._left.insert(0, envelope)
                    break
                if is_lost and self._has_others(message, failure):
                    self._emit(["hung up", name, self._refused[name]])
                    self._left.insert(0, envelope)
                    break
                self._held_back[job] = self._is_for_another(envelope, failure)
                if self._held_back[job]:
                    self._leave([envelope], why)
                else:
                    self._emit(["unsent", name, {**why, "begun": True}, self._via])
            is_first = False
        return why

    def _has_others(self, message: Message, failure: DeliveryFailure) -> bool:
        """Return whether the server ended the session for some of the recipients only.

        In the next session the others get the mail without those.
        """
        refused = self._refused.setdefault(message.message_id, {})
        is_more_known = not failure.refused.keys() <= refused.keys()
        refused.update(failure.refused)
        return is_more_known and not failure.in_doubt and refused.keys() < {*message.to}

    def _is_for_another(self, envelope: Envelope, failure: DeliveryFailure) -> bool:
        """Return whether a mail that was not accepted is left to another account.

        Also one that is put off and late already, and one that would be given up.
        """
        if not self._has_another:
            return False
        if failure.is_about_us or failure.is_servers_trouble:
            return True
        if failure.in_doubt or _is_round_trip(envelope):
            return False
        if failure.permanent:
            return envelope.message.shortened and not failure.refused
        is_late = self._late_before is not None and envelope.oldest < self._late_before
        return failure.is_about_all and is_late

    def _leave(self, envelopes: Sequence[Envelope], why: dict[str, Any]) -> None:
        self._over += envelopes
        for envelope in envelopes:
            # The other account asks its own server.
            if envelope.message.message_id in self._refused:
                self._emit(["hung up", envelope.message.message_id, {}])
        self.why = str(why["why"])
        self.failure = {**why, "refused": {}, "permanent": False}


def _emit_unsent(
    envelopes: Iterable[Envelope], why: Mapping[str, Any], emit: Emit, via: str = ""
) -> None:
    for envelope in envelopes:
        emit(["unsent", envelope.message.message_id, dict(why), via])


def _as_frame(error: Any) -> dict[str, Any]:
    """Return a DeliveryError as a frame can hold it."""
    return {
        "why": str(error),
        "step": error.step,
        "answer": error.answer,
        "code": error.code,
        "status": error.status,
        "permanent": error.permanent,
        "refused": error.refused,
    }

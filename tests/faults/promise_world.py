"""Simulated minutes: the program's own queue, planner and books, and a server.

A history says what each job finds in each minute, how the server is, and which runs are
killed.  A run commits what it found and sends as the program does; only SMTP is a
stand-in, which takes no time.  What happened is told to the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from lib.alerting.delivery import Event, Sent, Unsent
from lib.alerting.dispatcher import WayDispatcher
from lib.alerting.planning import Progress
from lib.alerting.queue import Envelope
from lib.alerting.results import NOT_YET, DeliveryFailure
from lib.core.enums import MessageKind, Status
from lib.core.jobs import JobKey
from lib.core.messages import Message
from lib.core.records import Record
from lib.core.settings import Mail, Settings
from lib.storage.auditlog import AuditLog
from lib.storage.session import StoreSession
from lib.storage.store import State
from tests.faults.promise_model import Attempt, Model, Queued

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MINUTE, SECOND = timedelta(minutes=1), timedelta(seconds=1)
#: The run looks this often at what may be sent, while its jobs are running.
LOOK_EVERY = 10
KINDS = {"alert": "is failing: why", "reminder": "is still failing: why"}
FAILURES = {
    "gone": DeliveryFailure("smtp.example.com: connect: refused", "connect"),
    "data": DeliveryFailure("451 4.3.0 not now", "end of mail", 451, begun=True),
    "rcpt": DeliveryFailure("451 4.3.0 lookup", "RCPT TO", 451, begun=True),
    "doubt": DeliveryFailure("no answer", "end of mail", begun=True),
    "doubt, arrived": DeliveryFailure("no answer", "end of mail", begun=True),
}
OVER = DeliveryFailure("the server ended the session")


class Killed(Exception):
    """The run was killed while it was sending."""


@dataclass(frozen=True)
class JobStory:
    """One job: who hears of it, and in which minutes it is failing."""

    name: str
    to: tuple[str, ...]
    failing: frozenset[int]
    #: Every so many minutes it says that it is still failing; 0: never.
    reminds: int = 0


@dataclass(frozen=True)
class History:
    """All that happens."""

    jobs: tuple[JobStory, ...]
    minutes: int
    per_hour: int = 20
    per_day: int = 100
    #: How the server is in a minute; it takes mail in all others.
    server: Mapping[int, str] = field(default_factory=dict)
    #: How many mails a run that is killed sends before.
    kills: Mapping[int, int] = field(default_factory=dict)
    #: The second in which a run begins, and how long its jobs take.
    begins: tuple[int, ...] = (1,)
    lasts: tuple[int, ...] = (2,)


class World:
    """Plays a history."""

    def __init__(self, folder: Path, history: History) -> None:
        self._folder = folder
        self._history = history
        self._mail = Mail(
            smtpserver="smtp.example.com",
            mailsperhour=history.per_hour,
            mailsperday=history.per_day,
        )
        self._settings = Settings(
            path=folder / "settings.cfg",
            servername="web1",
            alertcontact=("admin@example.com",),
            logfile=folder / "log",
            state=folder / "state",
            mail=self._mail,
            zone=UTC,
        )
        self._settings.state.mkdir(mode=0o700)
        self.model = Model(history.per_hour, history.per_day)
        self.now = NOON
        self.minute = 0
        self._queued: set[str] = set()

    def play(self) -> Model:
        """Play all minutes, and let what is left leave."""
        history = self._history
        for minute in range(history.minutes):
            self._run(minute)
        minute = history.minutes
        while self._queued and minute < history.minutes + 3000:
            self._run(minute)
            # What the day's limit holds back leaves a day later.
            minute += 1 if minute < history.minutes + 20 else 31
        self.model.judge()
        return self.model

    def _run(self, minute: int) -> None:
        history = self._history
        self.minute = minute
        begin = history.begins[minute % len(history.begins)]
        lasts = history.lasts[minute % len(history.lasts)]
        self.now = began_at = NOON + minute * MINUTE + begin * SECOND
        store = State(self._settings.state)
        session = StoreSession(store, store.load(), (), self.now)
        audit_log = AuditLog(self._settings.state, self._settings.secrets)
        outbox = Server(self, history.kills.get(minute))
        dispatcher = WayDispatcher(
            self._settings, session, lambda: self.now, audit_log, outbox=outbox
        )
        try:
            if self._queued:
                for _ in range(0, lasts, LOOK_EVERY):
                    self._send(dispatcher, Progress(began_at, jobs_done=False))
                    self.now += LOOK_EVERY * SECOND
            self.now = max(self.now, began_at + lasts * SECOND)
            self._find(session, minute)
            session.commit()
            self._send(dispatcher, Progress(began_at))
            session.commit()
        except Killed:
            self.model.killed.append(self.now)
            session = StoreSession(store, store.load(), (), self.now)
        self._note_left(session, began_at)

    def _send(self, dispatcher: WayDispatcher, progress: Progress) -> None:
        for _ in range(200):
            # The dispatcher looks twice a second by the real clock, which stands still.
            dispatcher._next_look = 0.0
            dispatcher.send(progress, 50.0)
            if dispatcher.is_busy:
                dispatcher.save_results()
            elif dispatcher.is_idle:
                return
        raise AssertionError("it sends again and again")

    def _note_left(self, session: StoreSession, began_at: datetime) -> None:
        queued = {
            message.message_id
            for record in session.records.values()
            for message in record.queued
        }
        for message_id in self._queued - queued:
            self.model.left(message_id, began_at)
        self._queued = queued

    # What the jobs find.

    def _find(self, session: StoreSession, minute: int) -> None:
        for job in self._history.jobs:
            key = JobKey("Jobs", job.name)
            record = session.records.get(key, Record(key, job.name))
            kind = self._news(job, record, minute)
            if kind is None:
                continue
            message = self._message(job, kind, minute)
            self.model.queued.append(
                Queued(self.now, job.name, kind, message.message_id, job.to)
            )
            self._queued.add(message.message_id)
            is_over = kind == "recovery"
            if is_over:
                self.model.ok_since[job.name] = self.now
            else:
                self.model.ok_since.pop(job.name, None)
            session.keep(
                Record(
                    key,
                    job.name,
                    Status.OK if is_over else Status.FAILING,
                    failing_since=None if is_over else record.failing_since or self.now,
                    notified_at=None if is_over else self.now,
                    queued=(*record.queued, message),
                )
            )

    def _news(self, job: JobStory, record: Record, minute: int) -> str | None:
        is_failing = minute in job.failing
        if is_failing and record.status is Status.OK:
            return "alert"
        if not is_failing:
            return "recovery" if record.status is Status.FAILING else None
        since = self.now - (record.notified_at or self.now)
        late = job.reminds and since >= job.reminds * MINUTE - 30 * SECOND
        return "reminder" if late else None

    def _message(self, job: JobStory, kind: str, minute: int) -> Message:
        words = KINDS.get(kind, "is OK again after some time")
        return Message(
            message_id=f"{job.name}-{minute}-{kind}",
            kind=MessageKind(kind),
            subject=f"{job.name} {words}",
            body="text\n",
            to=job.to,
            born_at=self.now,
            since=self.now,
            reason="" if kind == "recovery" else "why",
            status=Status.OK if kind == "recovery" else Status.FAILING,
        )


class Server:
    """Stands in for a session in a child process, and for the server that it meets."""

    max_at_once = 100

    def __init__(self, world: World, kill_after: int | None) -> None:
        self._world = world
        self._kill_after = kill_after
        self._events: list[Event] = []
        self.sent = 0
        self.children: list[Any] = []

    @property
    def is_busy(self) -> bool:
        return bool(self._events)

    def next_deadline(self) -> float:
        return float("inf")

    def stop(self) -> Iterator[Event]:
        return self.events()

    def start(
        self, batch: Iterable[Envelope], limit_s: float, accounts: object = None
    ) -> None:
        how = self._world._history.server.get(self._world.minute, "")
        failed: set[object] = set()
        is_over = how == "gone"
        envelopes = list(batch)
        for number, envelope in enumerate(envelopes):
            about = (envelope.key or envelope.message.message_id, envelope.message.to)
            if self._kill_after is not None and self.sent >= self._kill_after:
                # All of them were counted, so the next run cannot know.
                for left in envelopes[number:]:
                    self._note(left, "in doubt", arrived=False)
                raise Killed
            if is_over and how != "gone":
                self._events.append(Unsent(envelope, OVER))
            elif about in failed:
                self._events.append(Unsent(envelope, DeliveryFailure(NOT_YET)))
            elif how:
                failed.add(about)
                is_over = is_over or how.startswith("doubt")
                self._refuse(envelope, how)
            else:
                self.sent += 1
                self._note(envelope, "accepted", arrived=True)
                self._events.append(Sent(envelope))

    def _refuse(self, envelope: Envelope, how: str) -> None:
        failure = FAILURES[how]
        if how == "rcpt":
            said = dict.fromkeys(envelope.message.to, "451 4.3.0 lookup")
            failure = replace(failure, refused=said)
        in_doubt = how.startswith("doubt")
        result = "in doubt" if in_doubt else "refused"
        self._note(envelope, result, arrived=how.endswith("arrived"))
        self._events.append(Unsent(envelope, failure))

    def _note(self, envelope: Envelope, result: str, *, arrived: bool) -> None:
        message = envelope.message
        self._world.model.tried(
            Attempt(
                self._world.now,
                message.message_id,
                message.to,
                message.subject,
                message.text,
                result,
                arrived,
            )
        )

    def events(self) -> Iterator[Event]:
        events, self._events = self._events, []
        return iter(events)

"""The supervisor of a run: starts workers, saves results, has mail sent in time.

Each report becomes a record.  Record and queued messages are committed together before
anything is sent.  Job code never runs here.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from types import FrameType

from msgspec.structs import replace

from lib.alerting.dispatcher import Dispatcher
from lib.core.enums import JobFrequency
from lib.core.settings import Settings
from lib.peers import publish
from lib.runner import emergency, problems
from lib.runner.context import RunContext
from lib.runner.manager import LostJob, WorkerManager
from lib.storage.store import State
from lib.system import orphans, process
from lib.system.errors import StateError
from lib.workers.worker import Order

logger = logging.getLogger(__name__)

#: A run ends within this, so that one lock suffices and is never stale.
RUN_S = 55.0
#: Jobs get this much of it; the rest is for their mails.
JOBS_S = 50.5
#: What is left when what many records are in is put into files of their own.
SETTLE_BEFORE_S = 3.0
#: A report waits at most this long for others to be committed with it.
COMMIT_AFTER_S = 0.5


class Stop:
    """Whether somebody asked the run to end: SIGTERM, or Ctrl-C."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def _ask(self, number: int, _frame: FrameType | None) -> None:
        if not self.asked:
            logger.warning("%s: the run ends early", signal.Signals(number).name)
        self.asked = True


class Supervisor:
    """One run, from the state it reads to the state it writes."""

    def __init__(
        self,
        settings: Settings,
        state: State,
        ordered: JobFrequency,
        now: Callable[[], datetime],
        stop: Stop,
    ) -> None:
        self._settings = settings
        #: Nothing is sent once it is frozen.
        self._writer = state.writer
        self._now = now
        self._ends_at = time.monotonic() + RUN_S
        self._jobs_end_at = time.monotonic() + JOBS_S
        self._stop = stop
        context = self._context = RunContext(settings, state, ordered, now)
        self._session = context.session
        self._results = context.results
        self._adopts = False
        self._dispatcher = Dispatcher(settings, self._session, now, context.audit_log)
        self._workers = WorkerManager(
            settings.ini,
            self._order(),
            lambda file: problems.facts_of_file(file, settings),
        )

    def _order(self) -> Order:
        settings = self._settings
        return Order(
            due=self._context.run_recorder.due,
            records=dict(self._session.records),
            lost=self._session.lost,
            old_entries=self._session.old_entries,
            contact=settings.alertcontact,
            secrets=settings.secrets,
            limits=settings.limits,
            mail=settings.mail,
            zone=settings.zone,
            # Messages of hooks could not be saved.
            notifies=not self._writer.frozen,
            now=self._now,
        )

    def carry_out(self) -> None:
        """Do the whole run, or what is possible if state cannot be written."""
        try:
            self._guarded(self._context.begin)
            self._set_to_work()
            while not self._is_over():
                self._guarded(self._turn)
        finally:
            # Whatever happened, no process is left.
            not_done = list(self._workers.stop())
            self._guarded(self._dispatcher.stop)
            if self._adopts:
                orphans.end_all(process.at_work)
        self._put_off(not_done)
        self._guarded(self._close)
        self._publish()

    def _guarded(self, step: Callable[[], None]) -> None:
        """Do a step that writes; if that fails, write and send nothing more."""
        try:
            step()
        except StateError as error:
            self._writer.freeze(error)
            with contextlib.suppress(StateError):
                self._dispatcher.stop()

    def _set_to_work(self) -> None:
        files = self._context.files_to_load()
        # The kinds that ship leave no processes behind.
        self._adopts = not all(file.ships for file in files) and orphans.adopt()
        self._workers.start(files)
        records = list(self._session.records.values())
        for facts, result in (
            *problems.stand_ins(self._settings),
            *problems.mended(self._settings, records),
        ):
            self._results.judge(facts, result)

    def _is_over(self) -> bool:
        if self._stop.asked or time.monotonic() >= self._ends_at:
            return True
        at_work = not self._workers.is_done or self._dispatcher.is_busy
        if at_work or self._session.waiting_since is not None:
            return False
        return bool(self._writer.frozen) or self._dispatcher.is_idle

    def _turn(self) -> None:
        """Wait for an event and handle it."""
        children = self._workers.children + self._dispatcher.children
        if children:
            process.wait(children, self._until_next())
        for event in self._workers.events():
            self._results.hear(event)
        if time.monotonic() >= self._jobs_end_at:
            self._put_off(self._workers.stop())
        self._dispatcher.save_results()
        if self._workers.is_done and not self._writer.frozen:
            self._context.summaries.write_due(self._now())
        since = self._session.waiting_since
        if since is not None and (
            self._workers.is_done or time.monotonic() >= since + COMMIT_AFTER_S
        ):
            self._session.commit()
        is_durable = self._session.waiting_since is None
        if not (self._stop.asked or self._writer.frozen):
            self._dispatcher.send(
                jobs_done=self._workers.is_done,
                jobs_left=self._workers.left,
                left_s=self._ends_at - time.monotonic(),
            )
        # After the mails, which must not wait for it.
        if is_durable:
            self._context.write_audit_log()

    def _until_next(self) -> float:
        moments = [
            self._workers.next_deadline(),
            self._dispatcher.next_deadline(),
            self._ends_at if self._workers.is_done else self._jobs_end_at,
        ]
        if (since := self._session.waiting_since) is not None:
            moments.append(since + COMMIT_AFTER_S)
        # If another process holds its pipe open, a dead child causes no event.
        return max(0.0, min(1.0, min(moments) - time.monotonic()))

    def _put_off(self, lost: Iterable[LostJob]) -> None:
        for one in lost:
            self._results.put_off(one, was_told_to_end=self._stop.asked)

    # The end.

    def _close(self) -> None:
        if not self._writer.frozen:
            self._dispatcher.log_deferred(self._context.run_recorder.began_at)
        self._context.close(
            self._dispatcher.sent,
            self._dispatcher.tried_in_bundles,
            was_told_to_end=self._stop.asked,
            settle_until=self._ends_at - SETTLE_BEFORE_S,
        )

    def _publish(self) -> None:
        """Write the answer for peers; mail the admin if state cannot be written."""
        records = self._session.records.values()
        run_recorder = self._context.run_recorder
        if self._settings.status.write:
            facts = run_recorder.facts
            if self._writer.frozen:
                # A run that cannot be recorded counts as not ended.
                facts = replace(facts, ended_at=None)
            publish.write(self._settings, facts, self._now())
        if self._writer.frozen and not self._stop.asked:
            emergency.emit(
                self._settings,
                self._writer.frozen,
                records,
                run_recorder.began_at,
                self._ends_at - time.monotonic(),
            )

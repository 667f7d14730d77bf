"""The worker manager: starts workers, reads events, kills at the deadline.

``lib/runner/blame.py`` decides what follows when a worker dies.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from lib.core.ini import IniFile
from lib.core.jobs import Job, JobFile
from lib.core.results import JobReport
from lib.core.text import first_line
from lib.runner.blame import LostJob as LostJob
from lib.runner.blame import attribute_crash, unknown
from lib.runner.handle import Work, WorkerHandle
from lib.system import process
from lib.workers import protocol, worker
from lib.workers.worker import Order

logger = logging.getLogger(__name__)

#: How long a worker may take to load its files.
LOAD_TIMEOUT_S = 20.0
#: How many workers there are at once; each is a process.
AT_ONCE = 64


class JobsMet(msgspec.Struct, frozen=True):
    """A worker has loaded its files; these are their jobs."""

    jobs: tuple[Job, ...]
    warnings: tuple[str, ...] = ()


class Reported(msgspec.Struct, frozen=True):
    """A job is done."""

    report: JobReport


Event = JobsMet | Reported | LostJob


class WorkerManager:
    """The workers of a run."""

    def __init__(
        self,
        ini: IniFile,
        order: Order,
        file_facts: Callable[[JobFile], Job],
        *,
        load_timeout_s: float = LOAD_TIMEOUT_S,
        at_once: int = AT_ONCE,
    ) -> None:
        self._ini = ini
        self._order = order
        self._file_facts = file_facts
        self._load_timeout_s = load_timeout_s
        self._at_once = at_once
        self._handles: list[WorkerHandle] = []
        self._waiting: deque[Work] = deque()

    def start(self, files: Iterable[JobFile]) -> None:
        """Start a worker for each of the user's files, and one for all that ship."""
        files = tuple(files)
        if files:
            worker.prepare()
        shipped = tuple(file for file in files if file.ships)
        own = [(file,) for file in files if not file.ships]
        for together in ([shipped] if shipped else []) + own:
            self._waiting.append(Work(together, self._order))
        self._start_some()

    @property
    def is_done(self) -> bool:
        """Return whether no worker is left."""
        return not self._handles and not self._waiting

    @property
    def left(self) -> int:
        """Return how many jobs are known to be due and not done."""
        return sum(len(handle.left) for handle in self._handles) + sum(
            len(work.jobs) for work in self._waiting
        )

    @property
    def children(self) -> list[process.Child]:
        """Return the processes to wait for."""
        return [handle.child for handle in self._handles]

    def next_deadline(self) -> float:
        """Return when the next worker must be killed, by the monotonic clock."""
        return min((handle.deadline for handle in self._handles), default=float("inf"))

    def events(self) -> Iterator[Event]:
        """Yield the events since the last call, without waiting."""
        for handle in list(self._handles):
            # Its last reports are read before its crash is handled.
            has_ended = handle.child.has_ended()
            handle.child.read_printed()
            for frame in handle.child.frames():
                yield from self._hear(handle, frame)
            if has_ended:
                self._dismiss(handle)
                how = process.how_it_ended(handle.child.status or 0)
                if handle.child.was_short:
                    how = first_line(handle.printed) or how
                if handle.child.was_short and not handle.stuck_at:
                    process.log_once(how)
                    yield from self._unfinished(handle.rest, how)
                else:
                    yield from self._attribute_crash(handle, how)
            elif handle.deadline <= time.monotonic():
                self._dismiss(handle)
                yield from self._attribute_crash(handle, "")
        why = self._start_some()
        if why and not self._handles:
            # No worker is left whose end would free resources.
            yield from self._unfinished(self._waiting.popleft(), why)

    def stop(self) -> Iterator[LostJob]:
        """Kill all workers; yield their unfinished jobs as unknown."""
        handles, waiting = list(self._handles), list(self._waiting)
        self._waiting.clear()
        for handle in handles:
            self._dismiss(handle)
        for handle in handles:
            if handle.jobs is None:
                waiting.append(handle.work)
                continue
            for key, job in handle.left.items():
                what = "was done" if key in handle.stuck_at else "began"
                yield unknown(job, f"the run had to end before it {what}")
        for work in waiting:
            yield from self._unfinished(work, "the run had to end before it began")

    def _start_some(self) -> str:
        """Start waiting workers up to the limit; return why one cannot be started."""
        while self._waiting and len(self._handles) < self._at_once:
            work = self._waiting[0]
            try:
                child = process.start(
                    lambda emit, work=work: worker.work(  # type: ignore[misc]
                        work.files, self._ini, work.order, emit
                    ),
                    alone=True,
                )
            except OSError as error:
                return str(error.strerror)
            self._waiting.popleft()
            now = time.monotonic()
            self._handles.append(
                WorkerHandle(child, work, now, now + self._load_timeout_s)
            )
        return ""

    def _hear(self, handle: WorkerHandle, frame: Any) -> Iterator[Event]:
        is_again = bool(handle.work.jobs)
        try:
            said = handle.hear(frame, time.monotonic())
        except (ValueError, TypeError, KeyError, IndexError) as error:
            logger.error(
                "the worker of %s said what it must not: %r", handle.work, error
            )
            return
        if isinstance(said, protocol.Loaded) and not is_again:
            yield JobsMet(tuple(handle.met.values()), said.warnings)
        elif isinstance(said, JobReport):
            yield Reported(said)

    def _dismiss(self, handle: WorkerHandle) -> None:
        handle.child.end()
        handle.child.read_printed()
        self._handles.remove(handle)
        if handle.printed:
            logger.info("%s printed:\n%s", handle.work, handle.printed)

    def _attribute_crash(self, handle: WorkerHandle, how: str) -> Iterator[LostJob]:
        """Yield the job at fault if it is known; have the others run again."""
        if handle.ended:
            for job in handle.left.values():
                yield unknown(job, f"{job.file} has it no more, or did not run it")
            return
        logger.warning(
            "the worker of %s %s", handle.work, how or "did not answer and was killed"
        )
        now = time.monotonic()
        found = attribute_crash(
            handle, how, now, self._file_facts, self._load_timeout_s
        )
        self._waiting += found.again
        yield from found.lost

    def _unfinished(self, work: Work, why: str) -> Iterator[LostJob]:
        """Yield the jobs of unfinished work, or its files if the jobs are not known."""
        jobs = work.jobs.values() or map(self._file_facts, work.files)
        for job in jobs:
            yield unknown(job, why)

"""The workers of one run: started, listened to, killed at their deadlines.

What comes out are events: which jobs a worker found, a report, or a job that was lost
with its worker.  When a worker dies or stalls, the jobs that were under way run again
once, each alone in a process of its own, so that the guilty one is named; those that
had not begun run again together.
"""

from __future__ import annotations

import configparser
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from lib import plain, process
from lib.model import Condition, JobFacts, JobFile, Outcome, Report
from lib.worker import HOOK_TIMEOUT_S, Order, work

logger = logging.getLogger(__name__)

#: How long a worker may take to load its files.
LOAD_TIMEOUT_S = 20.0
#: A worker tells of a late job itself, unless it cannot; this much later it is stuck.
STALL_AFTER_S = 1.5
#: How many processes run single jobs again at once.
ALONE_AT_ONCE = 8


@dataclass(frozen=True)
class Met:
    """A worker has loaded its files; these are the jobs it found."""

    jobs: tuple[JobFacts, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reported:
    """A job is done."""

    report: Report


@dataclass(frozen=True)
class Lost:
    """A job took its worker down, or went down with it; the outcome says how."""

    job: JobFacts
    outcome: Outcome


Event = Met | Reported | Lost


@dataclass
class _Worker:
    """A worker process and what is known of its jobs."""

    child: process.Child
    files: tuple[JobFile, ...]
    order: Order
    began: float
    #: The jobs it met, by key; None until it has loaded its files.
    jobs: dict[str, JobFacts] | None = None
    #: Under way: the moment from which the job is stuck.
    stuck_at: dict[str, float] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    ended: bool = False

    @property
    def deadline(self) -> float:
        if self.jobs is None:
            return self.began + LOAD_TIMEOUT_S
        return min(self.stuck_at.values(), default=float("inf"))


class Crew:
    """All workers of a run."""

    def __init__(
        self,
        config: configparser.ConfigParser,
        order: Order,
        file_facts: Callable[[JobFile], JobFacts],
    ) -> None:
        self._config = config
        self._order = order
        self._file_facts = file_facts
        self._workers: list[_Worker] = []
        self._again: list[tuple[tuple[JobFile, ...], Order]] = []

    def start(self, files: Iterable[JobFile]) -> None:
        """Start a worker for each file of somebody's own, one for all that ship."""
        files = tuple(files)
        shipped = tuple(file for file in files if file.ships)
        if shipped:
            self._start(shipped, self._order)
        for file in files:
            if not file.ships:
                self._start((file,), self._order)

    @property
    def is_done(self) -> bool:
        """Return whether no worker is left."""
        return not self._workers and not self._again

    @property
    def children(self) -> list[process.Child]:
        """Return the processes to wait for."""
        return [worker.child for worker in self._workers]

    def next_deadline(self) -> float:
        """Return when, by the monotonic clock, somebody has to be killed."""
        return min((worker.deadline for worker in self._workers), default=float("inf"))

    def events(self) -> Iterator[Event]:
        """Yield what has happened since; never wait."""
        for worker in list(self._workers):
            worker.child.read_printed()
            for frame in worker.child.frames():
                yield from self._take(worker, frame)
            if worker.ended:
                self._dismiss(worker)
                yield from self._unmentioned(worker)
            elif worker.child.has_ended():
                # What it told before it died is read before it is mourned.
                for frame in worker.child.frames():
                    yield from self._take(worker, frame)
                how = process.how_it_ended(worker.child.status or 0)
                self._dismiss(worker)
                if not worker.ended:
                    yield from self._mourn(worker, how)
            elif worker.deadline <= time.monotonic():
                self._dismiss(worker)
                yield from self._mourn(worker, "")
        while self._again and len(self._workers) < ALONE_AT_ONCE:
            self._start(*self._again.pop(0))

    def stop(self) -> Iterator[Lost]:
        """Kill everybody; yield the jobs that had no chance to end, as unknown."""
        unfinished: list[tuple[JobFacts, str]] = []
        for worker in list(self._workers):
            self._dismiss(worker)
            for key, facts in self._wanted(worker):
                begun = key in worker.stuck_at
                unfinished.append((facts, "was done" if begun else "its turn came"))
        for files, order in self._again:
            unfinished += [
                (self._file_facts(file), "it was tried again")
                for file in files
                if order.only is None
            ]
        self._again.clear()
        for facts, what in unfinished:
            detail = f"the run had to end before {what}"
            yield Lost(facts, Outcome(Condition.UNKNOWN, detail, ask_again=True))

    def _start(self, files: tuple[JobFile, ...], order: Order) -> None:
        child = process.start(lambda tell: work(files, self._config, order, tell))
        self._workers.append(_Worker(child, files, order, time.monotonic()))

    def _dismiss(self, worker: _Worker) -> None:
        worker.child.end()
        worker.child.read_printed()
        self._workers.remove(worker)
        if worker.child.printed:
            logger.info(
                "%s printed:\n%s",
                ", ".join(str(file.path) for file in worker.files),
                worker.child.printed.decode("utf-8", "replace").rstrip(),
            )

    def _take(self, worker: _Worker, frame: Any) -> Iterator[Event]:
        try:
            event = self._read(worker, frame)
        except (ValueError, TypeError, KeyError, IndexError) as error:
            logger.error("a worker said what it should not: %s", error)
            return
        if event is not None:
            yield event

    def _read(self, worker: _Worker, frame: Any) -> Event | None:
        word = frame[0]
        if word == "jobs":
            jobs = tuple(plain.from_plain(JobFacts, one) for one in frame[1])
            worker.jobs = {job.key: job for job in jobs}
            return Met(jobs, tuple(str(warning) for warning in frame[2]))
        if worker.jobs is None:
            raise ValueError(f"{word} before its jobs")
        if word == "at":
            limit = worker.jobs[frame[1]].timeout_s + STALL_AFTER_S
            worker.stuck_at[frame[1]] = time.monotonic() + limit
        elif word == "speaks":
            limit = HOOK_TIMEOUT_S + STALL_AFTER_S
            worker.stuck_at[frame[1]] = time.monotonic() + limit
        elif word == "report":
            return self._read_report(worker, frame[1])
        elif word == "end":
            worker.ended = True
        return None

    def _read_report(self, worker: _Worker, body: Any) -> Reported | None:
        report = plain.from_plain(Report, body)
        key = report.job.key
        if worker.jobs is None or key not in worker.jobs or key in worker.done:
            raise ValueError(f"a report of {key!r}, which is not its own")
        worker.done.add(key)
        worker.stuck_at.pop(key, None)
        return Reported(report)

    def _wanted(self, worker: _Worker) -> list[tuple[str, JobFacts]]:
        """Return the jobs of a worker that are not done, those not due left out."""
        if worker.jobs is None:
            facts = [self._file_facts(file) for file in worker.files]
            return [(one.key, one) for one in facts]
        return [
            (key, facts)
            for key, facts in worker.jobs.items()
            if key not in worker.done and self._is_due(worker.order, facts)
        ]

    def _is_due(self, order: Order, facts: JobFacts) -> bool:
        if order.only is not None:
            return facts.key in order.only
        record = order.records.get(facts.key)
        return facts.frequency in order.due or (record is not None and record.pending)

    def _unmentioned(self, worker: _Worker) -> Iterator[Lost]:
        for _key, facts in self._wanted(worker):
            detail = "its worker ended without a word about it"
            yield Lost(facts, Outcome(Condition.UNKNOWN, detail, ask_again=True))

    def _mourn(self, worker: _Worker, how: str) -> Iterator[Lost]:
        """Yield the guilty if it is known; have the others run again."""
        logger.warning(
            "the worker of %s %s",
            ", ".join(file.name for file in worker.files),
            how or "did not answer any more and was killed",
        )
        if worker.jobs is None:
            yield from self._mourn_files(worker, how)
            return
        left = dict(self._wanted(worker))
        suspects = [key for key in left if key in worker.stuck_at] or list(left)
        if len(suspects) == 1:
            for key in suspects:
                yield self._lost(worker, left.pop(key), how)
        else:
            for key in suspects:
                del left[key]
                self._run_again(worker, frozenset({key}))
        if left:
            self._run_again(worker, frozenset(left))

    def _mourn_files(self, worker: _Worker, how: str) -> Iterator[Lost]:
        if len(worker.files) > 1:
            self._again += [((file,), worker.order) for file in worker.files]
            return
        for file in worker.files:
            text = how or f"was still not loaded after {LOAD_TIMEOUT_S:g} s"
            outcome = Outcome(
                Condition.FAILING, f"{file.path} cannot be loaded: {text}"
            )
            yield Lost(self._file_facts(file), outcome)

    def _run_again(self, worker: _Worker, keys: frozenset[str]) -> None:
        assert worker.jobs is not None
        paths = {worker.jobs[key].file for key in keys}
        files = tuple(file for file in worker.files if str(file.path) in paths)
        self._again.append((files, replace(worker.order, only=keys)))

    def _lost(self, worker: _Worker, job: JobFacts, how: str) -> Lost:
        late = f"timed out after {job.timeout_s:g} s, and had to be killed"
        printed = worker.child.printed.decode("utf-8", "replace").rstrip()
        evidence = f"It printed:\n{printed}" if printed else ""
        return Lost(job, Outcome(Condition.FAILING, how or late, evidence))

"""The worker manager: starts workers, reads events, kills at the deadline.

``WorkerManager`` has the workers of a run, ``WorkerHandle`` is one of them: its work,
its events, and when it counts as stalled.  ``attribute_crash`` decides about the jobs
of a worker that crashed or stalled: those under way run again, each in a process of its
own, so that the one at fault is found; where they are many, in groups, of which the one
that crashes is divided again.  Those that had not begun run again together.
Times are seconds of the monotonic clock.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from lib.core.enums import Status
from lib.core.ini import IniFile
from lib.core.jobs import Job, JobFile, JobKey, KindInfo
from lib.core.results import CheckResult, JobReport
from lib.core.sanitize import fit
from lib.core.settings import Problem, Settings
from lib.core.text import first_line, paragraphs, printed_part
from lib.storage.store import PINGS
from lib.system import process
from lib.system.process import MAX_PRINTED, Child
from lib.workers import protocol, worker
from lib.workers.worker import Order

logger = logging.getLogger(__name__)

#: How long a worker may take to load its files.
LOAD_TIMEOUT_S = 20.0
#: How many workers there are at once; each is a process.
AT_ONCE = 64
#: So many suspects of a crash run again alone; more, in so many groups.
SUSPECTS = 16
#: How often workers may die before their jobs have begun.
MAX_ATTEMPTS = 2
#: A worker tells of a late job itself, unless it cannot; this much later it is stuck.
STALL_AFTER_S = 1.5
#: One that says nothing for so long lets no thread have its turn, so no other job.
SILENCE_S = 5.0
#: When all is said, the process ends.
END_TIMEOUT_S = 2.0


class JobsMet(msgspec.Struct, frozen=True):
    """A worker has loaded its files; these are their jobs."""

    jobs: tuple[Job, ...]
    warnings: tuple[str, ...] = ()
    #: What is wrong in the sections of targets.
    problems: tuple[Problem, ...] = ()
    kinds: tuple[KindInfo, ...] = ()
    #: The names of the files that may have jobs which are not among them.
    partial: tuple[str, ...] = ()
    #: The keys of those that it runs.
    wanted: frozenset[JobKey] = frozenset()


class LostJob(msgspec.Struct, frozen=True):
    """A job whose worker died; the result says how."""

    job: Job
    result: CheckResult


Event = JobsMet | JobReport | LostJob


def order_by(settings: Settings, **more: Any) -> Order:
    """Return an order with what workers need of the settings, and with ``more``."""
    return Order(
        contact=settings.alertcontact,
        secrets=settings.secrets,
        limits=settings.limits,
        mail=settings.mail,
        zone=settings.zone,
        pings=str(settings.state / PINGS),
        **more,
    )


class WorkerManager:
    """The workers of a run."""

    def __init__(
        self,
        ini: IniFile,
        order: Order,
        *,
        load_timeout_s: float = LOAD_TIMEOUT_S,
        at_once: int = AT_ONCE,
    ) -> None:
        self._ini = ini
        self._order = order
        self._load_timeout_s = load_timeout_s
        self._at_once = at_once
        self._handles: list[WorkerHandle] = []
        self._waiting: deque[Work] = deque()
        #: The files that workers were started for.
        self._files: list[JobFile] = []

    def start(self, files: Iterable[JobFile]) -> None:
        """Start a worker for each of the user's files, and one for all that ship."""
        files = tuple(files)
        if files:
            worker.prepare(files)
            # Here, since each worker would have a copy of what it reads.
            self._ini.pack()
        for together in _together(files):
            self._waiting.append(Work(together, self._order))
        self._files += files
        self._start_some()

    def run_also(self, jobs: Mapping[JobKey, Job]) -> None:
        """Run these jobs, which a worker has met and does not run, in another one.

        Of each of the user's files in its own, as ``start`` does.
        """
        for together in _together(self._files):
            paths = {str(file.path) for file in together}
            own = {key: job for key, job in jobs.items() if job.file in paths}
            if own:
                self._waiting.append(Work(together, self._order).only(own))

    @property
    def is_done(self) -> bool:
        """Return whether no worker is left."""
        return not self._handles and not self._waiting

    @property
    def have_loaded(self) -> bool:
        """Return whether the workers have met all jobs of their files."""
        is_met = all(handle.jobs is not None for handle in self._handles)
        return is_met and all(work.jobs for work in self._waiting)

    def may_report(self, key: JobKey) -> bool:
        """Return whether a result of a job may still come."""
        for handle in self._handles:
            if key in handle.left or (
                handle.jobs is None and handle.work.may_have(key)
            ):
                return True
        return any(work.may_have(key) for work in self._waiting)

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
                yield from self._events_of(handle, frame)
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

    def _events_of(self, handle: WorkerHandle, frame: Any) -> Iterator[Event]:
        is_again = bool(handle.work.jobs)
        try:
            event = handle.read(frame, time.monotonic())
        except (ValueError, TypeError, KeyError, IndexError) as error:
            logger.error(
                "the worker of %s said what it must not: %r", handle.work, error
            )
            return
        if isinstance(event, protocol.Loaded) and not is_again:
            jobs = tuple(handle.met.values())
            yield JobsMet(
                jobs,
                event.warnings,
                event.problems,
                event.kinds,
                event.partial,
                frozenset(handle.left),
            )
        elif isinstance(event, protocol.Reports):
            yield from event.reports

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
            "the worker of %s %s",
            handle.work,
            _with_verb(how) or "did not answer and was killed",
        )
        now = time.monotonic()
        attribution = attribute_crash(handle, how, now, self._load_timeout_s)
        self._waiting += attribution.again
        yield from attribution.lost

    def _unfinished(self, work: Work, why: str) -> Iterator[LostJob]:
        """Yield the jobs of unfinished work, or its files if the jobs are not known."""
        for job in work.jobs.values() or map(work.job_of, work.files):
            yield unknown(job, why)


def _together(files: Iterable[JobFile]) -> Iterator[tuple[JobFile, ...]]:
    """Yield the files of each worker: those that ship in one, each other alone."""
    files = list(files)
    shipped = tuple(file for file in files if file.ships)
    if shipped:
        yield shipped
    yield from ((file,) for file in files if not file.ships)


class Work(msgspec.Struct, frozen=True):
    """What a worker is started for."""

    files: tuple[JobFile, ...]
    order: Order
    #: Its jobs, by key, where they are known from a worker before.
    jobs: Mapping[JobKey, Job] = {}
    #: How often they were tried by workers that died before any of them began.
    attempts: int = 0

    def __str__(self) -> str:
        return ", ".join(str(file.path) for file in self.files)

    def may_have(self, key: JobKey) -> bool:
        """Return whether a job may be one of it."""
        if self.jobs:
            return key in self.jobs
        return any(file.name == key.file for file in self.files)

    def job_of(self, file: JobFile) -> Job:
        """Return the job that stands for a file that was not loaded."""
        return Job.of_file(file, self.order.contact)

    def only(self, jobs: Mapping[JobKey, Job], attempts: int = 0) -> Work:
        """Return the work of running just these jobs, all of them or one alone."""
        paths = {job.file for job in jobs.values()}
        return Work(
            tuple(file for file in self.files if str(file.path) in paths),
            replace(self.order, only=frozenset(jobs)),
            jobs,
            attempts,
        )


class WorkerHandle(msgspec.Struct, eq=False):
    """A worker process and what is known of its jobs."""

    child: Child
    work: Work
    last_frame_at: float
    #: When it must have loaded its files.
    loaded_by: float
    #: All jobs of its files; None until it has loaded them.
    jobs: Mapping[JobKey, Job] | None = None
    #: The jobs that it has reported until then.
    met: dict[JobKey, Job] = {}
    #: Those that it is to run and that are not done.
    left: dict[JobKey, Job] = {}
    #: Those under way, and the moment from which each is stuck.
    stuck_at: dict[JobKey, float] = {}
    #: The results of those whose hooks are at work.
    results: dict[JobKey, CheckResult] = {}
    #: When it last reported a job.
    reported_at: float = 0.0
    #: When it had nothing left to do, or said so.
    done_at: float | None = None
    ended: bool = False

    def __post_init__(self) -> None:
        self.left.update(self.work.jobs)

    @property
    def deadline(self) -> float:
        """Return when it counts as stalled if no other frame comes."""
        if self.jobs is None:
            return self.loaded_by
        if self.done_at is not None:
            return self.done_at + (END_TIMEOUT_S if self.ended else SILENCE_S)
        deadline = min(self.stuck_at.values(), default=float("inf"))
        # Many checks may end at one time; while it reports some, it is at work.
        deadline = max(deadline, self.reported_at + STALL_AFTER_S)
        if len(self.left) > 1:
            deadline = min(deadline, self.last_frame_at + SILENCE_S)
        return deadline

    @property
    def rest(self) -> Work:
        """Return the work of what is left."""
        return self.work if self.jobs is None else replace(self.work, jobs=self.left)

    @property
    def printed(self) -> str:
        """Return what came through its standard streams, as it may be shown."""
        text = self.child.printed.decode("utf-8", "replace")
        return fit(text, self.work.order.secrets, MAX_PRINTED).rstrip()

    def is_late(self, key: JobKey, now: float) -> bool:
        """Return whether a job is past its own deadline."""
        return self.stuck_at.get(key, now + 1) <= now

    def read(self, frame: object, now: float) -> protocol.Event:
        """Return the event of a frame, after noting what it says of the jobs.

        Raise ValueError, TypeError, KeyError or IndexError if it says what it must not.
        """
        event = protocol.read(frame, self.jobs or {})
        self.last_frame_at = now
        if isinstance(event, protocol.Jobs):
            self.met.update(event.jobs)
            # Those of a worker before that are not there any more stay left.
            self.left.update({key: event.jobs[key] for key in event.wanted})
        elif isinstance(event, protocol.Loaded):
            self.jobs = self.met
        elif isinstance(event, protocol.Started):
            for job in event.jobs:
                self.stuck_at[job.key] = now + job.timeout_s + STALL_AFTER_S
        elif isinstance(event, protocol.Notifying):
            limit = self.work.order.hook_timeout_s + STALL_AFTER_S
            self.stuck_at[event.job.key] = now + limit
            self.results[event.job.key] = event.result
        elif isinstance(event, protocol.Reports):
            self.reported_at = now
            for report in event.reports:
                # A job that is not left has been reported before: KeyError.
                del self.left[report.job.key]
                self.stuck_at.pop(report.job.key, None)
                self.results.pop(report.job.key, None)
        elif isinstance(event, protocol.Ended):
            self.ended = True
            self.done_at = now
        if self.done_at is None and self.jobs is not None and not self.left:
            # Its pulse may go on where it has no memory left to come to its end.
            self.done_at = now
        return event


class CrashAttribution(msgspec.Struct, frozen=True):
    """The jobs that are lost, and the work to start again."""

    lost: tuple[LostJob, ...] = ()
    again: tuple[Work, ...] = ()


def attribute_crash(
    handle: WorkerHandle,
    how: str,
    now: float,
    load_timeout_s: float,
) -> CrashAttribution:
    """Return what follows from a worker that died or stalled.

    ``how`` says how the process ended; nothing if it stalled and was killed.
    """
    if handle.jobs is None:
        how = how or f"that took over {load_timeout_s:g} s"
        return _while_loading(handle, how)
    left = dict(handle.left)
    suspects = [left.pop(key) for key in list(left) if key in handle.stuck_at]
    alone = len(suspects) == 1
    lost: list[LostJob] = []
    again: list[Work] = []
    unsure: list[Job] = []
    for job in suspects:
        result = handle.results.get(job.key)
        if result is not None:
            lost.append(LostJob(job, _without_hook(result, how)))
        elif alone and (how or handle.is_late(job.key, now)):
            lost.append(_guilty(handle, job, how))
        else:
            unsure.append(job)
    for number in range(min(SUSPECTS, len(unsure))):
        group = unsure[number::SUSPECTS]
        again.append(handle.work.only({job.key: job for job in group}))
    attempts = 0 if suspects else handle.work.attempts + 1
    rest = _of_the_rest(handle.work, left, attempts, how)
    return CrashAttribution((*lost, *rest.lost), (*again, *rest.again))


def _while_loading(handle: WorkerHandle, how: str) -> CrashAttribution:
    """Blame the file; if there are several, load each in a worker of its own."""
    work = handle.work
    if work.jobs:
        return _of_the_rest(work, handle.left, work.attempts + 1, how)
    if len(work.files) > 1:
        return CrashAttribution(
            again=tuple(replace(work, files=(file,)) for file in work.files)
        )
    job = work.job_of(work.files[0])
    return CrashAttribution((_guilty(handle, job, f"{work} cannot be loaded: {how}"),))


def _of_the_rest(
    work: Work, left: dict[JobKey, Job], attempts: int, how: str
) -> CrashAttribution:
    """Have a new worker run the jobs that had not begun, unless that failed before."""
    if not left:
        return CrashAttribution()
    if attempts < MAX_ATTEMPTS:
        return CrashAttribution(again=(work.only(left, attempts),))
    why = f"its worker {_with_verb(how) or 'got stuck'} before it began"
    return CrashAttribution(tuple(unknown(job, why) for job in left.values()))


def _guilty(handle: WorkerHandle, job: Job, how: str) -> LostJob:
    late = f"timed out after {job.timeout_s:g} s, and had to be killed"
    output = printed_part(handle.printed, shared=len(handle.left) > 1)
    return LostJob(job, CheckResult(Status.FAILING, how or late, output))


def _without_hook(result: CheckResult, how: str) -> CheckResult:
    why = _with_verb(how) or "did not answer any more and was killed"
    note = f"While its hook was at work, its worker {why}; this is the default mail."
    return replace(result, output=paragraphs(result.output, note))


def _with_verb(how: str) -> str:
    """Return how a process ended, as it follows its name: ``was killed by SIGSEGV``."""
    return f"was {how}" if how.startswith("killed ") else how


def unknown(job: Job, why: str) -> LostJob:
    """Return a job as unknown, to be run again."""
    return LostJob(job, CheckResult(Status.UNKNOWN, why, ask_again=True))

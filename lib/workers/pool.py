"""Runs the jobs of one worker in parallel threads, each with a deadline.

The threads hide waiting; they do not make Python faster.  The main thread watches the
deadlines: a job that takes too long has timed out, and its thread is abandoned.  The
targets of a kind that has ``check_many`` are checked in one thread, all at once; that
they end in time is the kind's own work, and if it fails the supervisor sees it.
"""

from __future__ import annotations

import enum
import logging
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from lib.core.enums import Decision, Status
from lib.core.messages import fit_mail
from lib.core.policy import decide, limited
from lib.core.records import Record
from lib.core.results import CheckResult, JobReport
from lib.core.schedule import Due, is_recheck
from lib.core.secret import NO_SECRETS, Secrets
from lib.plugins import legacy
from lib.plugins.discover import LoadedJob
from lib.plugins.errors import whereabouts
from lib.plugins.target import TargetJob, deadlines
from lib.system import limits
from lib.system.process import Emit
from lib.workers import execute, protocol
from lib.workers.execute import HookResult
from lib.workers.output import KeptOutput, OutputCapture

if TYPE_CHECKING:
    from lib.core.silences import Silences

logger = logging.getLogger(__name__)

_NO_HOOK = HookResult()
#: So many reports of jobs that run at once are sent together: each write wakes the
#: supervisor.  Before others begin, and before a pause, all are sent.
FRAMES_AT_ONCE = 200
#: A check that ends at its deadline has so long to say what it came to.
WORDS_S = 0.5


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What applies to all tasks of a worker."""

    secrets: Secrets = Secrets()
    notifies: bool = True
    hook_timeout_s: float = 10.0
    #: What holds alerts back; None: nothing does.
    silences: Silences | None = None
    #: What the run runs, which tells a recheck from a check that is due.
    due: Due = Due()
    #: The clock of the run.
    now: Callable[[], datetime]

    def held(self, task: Task, result: CheckResult, now: datetime) -> Decision | None:
        """Return why the alerts of a job are held back; None if they are not."""
        # The alert of a job that flaps may come with a result that is OK.
        has_none = result.status is Status.OK and not task.record.changes
        if self.silences is None or has_none:
            return None
        return self.silences.code(task.loaded.job, now)


class Stage(enum.Enum):
    """The stage of a task; the thread that moves it on carries out the next stage."""

    EXECUTING = enum.auto()
    NOTIFYING = enum.auto()
    DONE = enum.auto()


class Task(msgspec.Struct, eq=False):
    """One job and the state of its execution."""

    loaded: LoadedJob
    record: Record
    stage: Stage = Stage.EXECUTING
    deadline: float = float("inf")
    thread: int = 0
    kept: KeptOutput = msgspec.field(default_factory=KeptOutput)
    began_at: float = 0.0
    #: True if ``execute`` timed out: its memory may be half changed.
    late: bool = False
    #: The result and the decision, once they are known.
    result: CheckResult = CheckResult(Status.UNKNOWN)
    decision: Decision = Decision.OK

    def secrets(self, rules: Rules) -> Secrets:
        """Return what must not leave the worker, the job's own secrets included."""
        job = self.loaded.instance
        own = job._checker.secrets if job is not None else NO_SECRETS
        return (
            Secrets((*own, *rules.secrets)) if own is not NO_SECRETS else rules.secrets
        )

    def timed_out(self) -> CheckResult:
        """Return the result of a job that did not finish in time."""
        limit = self.loaded.job.timeout_s
        reason = f"timed out after {limit:g} s"
        return CheckResult(Status.FAILING, reason, whereabouts(self.thread), limit)

    def overdue_hook(self, rules: Rules) -> HookResult:
        """Return the result of a hook that did not return in time."""
        if not (self.decision.notifies and rules.notifies):
            return HookResult()
        return execute.overdue_hook(self.loaded, rules.hook_timeout_s)

    def report(self, hook: HookResult, rules: Rules) -> JobReport:
        """Return the report for the supervisor, with the result of the hook."""
        memory = None
        if not self.late:
            memory = execute.memory_to_keep(self.loaded, self.record)
        # The alert comes first, since later mails are threaded to it.
        mails = (*hook.messages, *execute.notes(self.loaded))
        secrets = self.secrets(rules) if mails or memory else NO_SECRETS
        return JobReport(
            self.loaded.job,
            self.result,
            self.decision,
            tuple(fit_mail(mail, secrets) for mail in mails),
            execute.fit_memory(memory, secrets),
            hook.default_mail,
            hook.problem,
            consumed=() if self.late else execute.consumed(self.loaded),
        )


#: How often the main thread tells the supervisor that it is alive.
PULSE_S = 0.5
#: How many threads there are at first and at most, and when more are considered.
FIRST_THREADS, MAX_THREADS = 4, 128
GROW_AFTER_S = 0.005


class TaskPool:
    """The waiting jobs, the running tasks, and the threads that run them."""

    def __init__(
        self,
        jobs: Iterable[LoadedJob],
        record_of: Callable[[LoadedJob], Record],
        rules: Rules,
        emit: Emit,
        capture: OutputCapture,
    ) -> None:
        self._record_of = record_of
        self._rules = rules
        self._emit = emit
        self._capture = capture
        singles, self._groups = _grouped(jobs)
        self._waiting = deque(singles)
        self._waited = len(self._waiting)
        self._left = self._waited + sum(map(len, self._groups))
        self._live_threads = 0
        self._running: set[Task] = set()
        self._lock = threading.Lock()
        self._over = threading.Event()

    def run(self) -> None:
        """Run all tasks; return when each is reported, done or timed out."""
        if self._left == 0:
            return
        self._start_groups()
        self._add_threads()
        if not self._live_threads and self._waiting:
            raise RuntimeError("can't start new thread")
        pulse_at = time.monotonic()
        while not self._over.wait(self._until_next()):
            now = time.monotonic()
            if now >= pulse_at:
                self._emit(protocol.PULSE)
                pulse_at = now + PULSE_S
            for task in list(self._running):
                if task.deadline <= now:
                    self._time_out(task)
            self._add_threads()

    def _start_groups(self) -> None:
        # Nothing else holds the jobs, so that each is freed once it is done.
        groups, self._groups = self._groups, []
        for group in groups:
            if not _start(partial(self._serve_many, group)):
                self._waiting.extend(group.values())
                self._waited = len(self._waiting)

    def _add_threads(self) -> None:
        """Double the threads while all of them are busy waiting, up to a limit.

        ``_live_threads`` counts the threads that are not stuck.
        """
        started = self._waited - len(self._waiting)
        self._waited = len(self._waiting)
        if started < max(1, self._live_threads):
            more = max(FIRST_THREADS, self._live_threads)
            more = min(more, self._waited, MAX_THREADS - self._live_threads)
            self._live_threads += sum(_start(self._serve) for _ in range(more))

    def _until_next(self) -> float:
        nearest = min((task.deadline for task in list(self._running)), default=1e9)
        can_grow = self._waiting and self._live_threads < MAX_THREADS
        most = GROW_AFTER_S if can_grow else PULSE_S
        return max(0.001, min(most, nearest - time.monotonic()))

    # In the threads.

    def _serve(self) -> None:
        """Run one task after the other until none is waiting."""
        frames: list[Any] = []
        while True:
            try:
                loaded = self._waiting.popleft()
            except IndexError:
                self._finish(frames)
                return
            task = Task(loaded, self._record_of(loaded))
            self._begin(task)
            # In one write with the last report, since each write costs a thread switch.
            self._finish(frames, protocol.started(task.loaded.job.key))
            result = execute.execute(task.loaded, task.record)
            result = self._fit(result, task)
            if not self._move(task, Stage.EXECUTING, Stage.NOTIFYING):
                return
            frame = self._notify(task, result)
            if frame is None:
                return
            frames = [frame]

    def _serve_many(self, left: dict[int, LoadedJob]) -> None:
        """Run the jobs of one kind all at once; what does not end there, alone.

        Each that ends is removed from ``left``.
        """
        while left:
            batch = _Batch(left, self._record_of)
            self._run_batch(batch)
            # Those that had not begun are tried together again.
            for key in batch.under_way:
                del left[key]
            alone = [task.loaded for task in batch.under_way.values()]
            if not batch.begun:
                alone += left.values()
                left.clear()
            self._waiting.extend(alone)

    def _run_batch(self, batch: _Batch) -> None:
        frames: list[Any] = []

        def begin(jobs: Sequence[TargetJob]) -> list[Any]:
            keys = [task.loaded.job.key for task in map(batch.begin, jobs)]
            self._finish(frames, protocol.started(*keys))
            frames.clear()
            return deadlines(jobs)

        def take(answer: tuple[TargetJob, object] | None) -> None:
            if answer is not None:
                task, outcome = batch.end(answer[0]), answer[1]
                seconds = time.monotonic() - task.began_at
                frame = self._frame_of_ok(answer[0], task, outcome, seconds)
                if frame is not None:
                    frames.append(frame)
                else:
                    result = execute.finish(task.loaded, outcome, seconds)
                    self._conclude(task, result, frames)
            if frames and (answer is None or len(frames) >= FRAMES_AT_ONCE):
                self._finish(frames)
                frames.clear()

        for task, result in batch.unprepared():
            self._conclude(task, result, frames)
        try:
            for answer in batch.check(begin):
                take(answer)
        # Job code may raise anything.
        except BaseException:  # noqa: B036
            logger.warning("check_many failed; what it had begun is tried alone")
            logger.warning("%s", traceback.format_exc())
        self._finish(frames)

    def _frame_of_ok(
        self, job: TargetJob, task: Task, outcome: object, seconds: float
    ) -> Any:
        """Return the frame of a job that is only OK; None for any other."""
        # With -m run more is shown of it.
        if not self._rules.notifies:
            return None
        values = execute.only_ok(job, task.record, outcome)
        if values is None:
            return None
        if secrets := task.secrets(self._rules):
            values = execute.fit_values(values, secrets)
        return protocol.ok(task.loaded.job.key, round(seconds, 3), values)

    def _conclude(self, task: Task, result: CheckResult, frames: list[Any]) -> None:
        """Decide about a result of many, and add the frame of its report."""
        result = self._fit(result, task)
        task.stage = Stage.NOTIFYING
        if _has_own_hooks(task.loaded.instance):
            # Which may take their time: not here, where others wait.
            task.deadline = time.monotonic() + self._rules.hook_timeout_s
            self._running.add(task)
            if _start(lambda: self._notify_for(task, result)):
                return
        frames.append(self._notify(task, result))

    def _begin(self, task: Task) -> None:
        task.deadline = time.monotonic() + task.loaded.job.timeout_s
        if isinstance(task.loaded.instance, TargetJob):
            task.deadline += WORDS_S
        self._running.add(task)
        self._take_over(task)

    def _take_over(self, task: Task) -> None:
        task.thread = threading.get_ident()
        legacy.set_current_job(task.loaded.instance)
        self._capture.begin(task.kept)

    def _move(self, task: Task, before: Stage, after: Stage) -> bool:
        """Move the task on; return False if another thread did so before."""
        with self._lock:
            if task.stage is not before:
                return False
            task.stage = after
            task.deadline = time.monotonic() + self._rules.hook_timeout_s
            return True

    def _notify(self, task: Task, result: CheckResult) -> Any:
        """Call the hook if one is due; return the frame of the report.

        Return None if the hook took too long, since the main thread has reported it.
        """
        job, now = task.loaded.job, self._rules.now()
        result = limited(task.record, result, job.policy, now)
        held = self._rules.held(task, result, now)
        decision = decide(
            task.record,
            result,
            job.policy,
            now,
            held,
            is_recheck=is_recheck(job, task.record, self._rules.due),
        )
        task.result, task.decision = result, decision
        hook = _NO_HOOK
        if decision.notifies and self._rules.notifies:
            self._emit(protocol.notifying(job.key, result))
            hook = execute.call_hook(
                task.loaded,
                task.record,
                result,
                decision,
                now,
                task.secrets(self._rules),
            )
        if not self._move(task, Stage.NOTIFYING, Stage.DONE):
            return None
        return self._reported(task, hook)

    def _fit(self, result: CheckResult, task: Task) -> CheckResult:
        # With -m run the output is shown even if the job is OK.
        secrets = task.secrets(self._rules)
        is_plain = result.status is Status.OK and not result.reason
        if is_plain and self._rules.notifies:
            if not (result.values and secrets):
                return result
            return replace(result, values=execute.fit_values(result.values, secrets))
        self._capture.drain()
        result = execute.with_target(result, task.loaded)
        return execute.fit_result(result, task.kept, secrets)

    def _reported(self, task: Task, hook: HookResult) -> Any:
        # One of many, without hooks of its own, has no thread for itself.
        if task.thread:
            self._running.discard(task)
            self._capture.end(task.kept)
        return protocol.report(task.report(hook, self._rules))

    def _notify_for(self, task: Task, late: CheckResult) -> None:
        """Carry on with a task whose own thread is stuck."""
        self._take_over(task)
        frame = self._notify(task, late)
        self._finish([frame] if frame is not None else [])

    def _finish(self, frames: list[Any], *more: Any) -> None:
        if frames or more:
            self._emit(*protocol.together(frames), *more)
        if frames:
            with self._lock:
                self._left -= len(frames)
                if self._left == 0:
                    self._over.set()

    # In the main thread.

    def _time_out(self, task: Task) -> None:
        """Report a task whose deadline has passed, and abandon its thread."""
        if self._move(task, Stage.EXECUTING, Stage.NOTIFYING):
            task.late = True
            self._live_threads -= 1
            late = self._fit(task.timed_out(), task)
            if not _start(lambda: self._notify_for(task, late)):
                # In this thread: the other jobs wait until the hook returns.
                self._notify_for(task, late)
        elif self._move(task, Stage.NOTIFYING, Stage.DONE):
            self._finish([self._reported(task, task.overdue_hook(self._rules))])
            if not task.late:
                self._live_threads -= 1


class _Batch:
    """The jobs of one kind that are checked together."""

    def __init__(
        self,
        left: dict[int, LoadedJob],
        record_of: Callable[[LoadedJob], Record],
    ) -> None:
        self._left = left
        self._record_of = record_of
        #: How many have begun, and those of them that have not ended.
        self.begun = 0
        self.under_way: dict[int, Task] = {}

    def unprepared(self) -> Iterator[tuple[Task, CheckResult]]:
        """Prepare all jobs; yield those that cannot be checked, with the result."""
        for key, loaded in list(self._left.items()):
            job = loaded.instance
            assert isinstance(job, TargetJob)
            result = execute.prepare(job)
            if result is not None:
                del self._left[key]
                self.begun += 1
                task = Task(loaded, self._record_of(loaded))
                execute.equip(job, task.record)
                yield task, result

    def check(
        self, begin: Callable[[Sequence[TargetJob]], Sequence[Any]]
    ) -> Iterable[tuple[TargetJob, object] | None]:
        """Return what comes of those that are left, as it is known."""
        if not self._left:
            return ()
        jobs: Any = [loaded.instance for loaded in self._left.values()]
        answers: Iterable[Any] = type(jobs[0]).check_many(jobs, begin)
        return answers

    def begin(self, job: TargetJob) -> Task:
        """Return the task of a job that begins now."""
        key = id(job)
        loaded = self._left[key]
        task = Task(loaded, self._record_of(loaded))
        execute.equip(job, task.record)
        task.began_at = time.monotonic()
        self.begun += 1
        self.under_way[key] = task
        return task

    def end(self, job: TargetJob) -> Task:
        """Return the task of a job whose result is there; one may never have begun."""
        key = id(job)
        if key not in self.under_way:
            self.begin(job)
        del self._left[key]
        return self.under_way.pop(key)


def _grouped(
    jobs: Iterable[LoadedJob],
) -> tuple[list[LoadedJob], list[dict[int, LoadedJob]]]:
    """Return the jobs that run one by one, and those of each kind that run at once.

    The latter by the identity of the object.
    """
    singles: list[LoadedJob] = []
    groups: dict[type, dict[int, LoadedJob]] = {}
    for loaded in jobs:
        job = loaded.instance
        # A command for a secret would have the others wait.
        if isinstance(job, TargetJob) and job.checks_many and not job.runs_a_command:
            groups.setdefault(type(job), {})[id(job)] = loaded
        else:
            singles.append(loaded)
    many = [group for group in groups.values() if len(group) > 1]
    singles += [
        one for group in groups.values() if len(group) == 1 for one in group.values()
    ]
    return singles, many


def _has_own_hooks(job: object) -> bool:
    cls = type(job)
    return (
        getattr(cls, "onFailure", None) is not TargetJob.onFailure
        or getattr(cls, "onStateChangeSuccess", None)
        is not TargetJob.onStateChangeSuccess
    )


def _start(work: Callable[[], None]) -> bool:
    """Run ``work`` in a new thread; return False if no thread can be started."""
    limits.make_room_for_a_thread()
    try:
        threading.Thread(target=work, daemon=True).start()
    except RuntimeError:
        return False
    return True

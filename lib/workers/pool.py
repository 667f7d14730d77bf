"""One job on its way through a worker, and what is said of it at the end.

The jobs of one worker, many side by side, each with its deadline.

Threads do not make Python faster, they hide waiting.  The main thread keeps the
deadlines: a thread that does not come back is left behind, and its job has timed out.
"""

from __future__ import annotations

import enum
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from lib.core.enums import Decision, Status
from lib.core.messages import fit_mail
from lib.core.policy import decide
from lib.core.records import Record
from lib.core.results import CheckResult, JobReport
from lib.plugins import legacy
from lib.plugins.discover import Found
from lib.plugins.errors import whereabouts
from lib.system import limits
from lib.system.process import Emit
from lib.workers import execute, protocol
from lib.workers.execute import HookResult
from lib.workers.output import KeptOutput, OutputCapture


@dataclass(frozen=True)
class Rules:
    """What holds for all tasks of a worker."""

    secrets: tuple[str, ...] = field(default=(), repr=False)
    notifies: bool = True
    hook_timeout_s: float = 10.0
    #: The clock of the run.
    now: Callable[[], datetime] = field(kw_only=True)


class Stage(enum.Enum):
    """How far a job has come; whoever moves it on goes on with it."""

    EXECUTING = enum.auto()
    SPEAKING = enum.auto()
    DONE = enum.auto()


@dataclass(eq=False, slots=True)
class Task:
    """A job on its way through the worker."""

    found: Found
    record: Record
    stage: Stage = Stage.EXECUTING
    deadline: float = float("inf")
    thread: int = 0
    kept: KeptOutput = field(default_factory=KeptOutput)
    #: Its thread is still in it; what it remembers is half done.
    late: bool = False
    #: What was found, and is to be said, once it is known.
    result: CheckResult = CheckResult(Status.UNKNOWN)
    decision: Decision = Decision.OK

    def timed_out(self) -> CheckResult:
        """Return what is found of a job that is not done in its time."""
        limit = self.found.facts.timeout_s
        reason = f"timed out after {limit:g} s"
        return CheckResult(Status.FAILING, reason, whereabouts(self.thread), limit)

    def overdue_hook(self, rules: Rules) -> HookResult:
        """Return what came of a hook that did not return in time."""
        if not (self.decision.notifies and rules.notifies):
            return HookResult()
        return execute.overdue_hook(self.found, rules.hook_timeout_s)

    def report(self, hook: HookResult, rules: Rules) -> JobReport:
        """Return what the supervisor is told, with what came of the job's hook."""
        secrets = rules.secrets
        memory = None if self.late else execute.memory_to_keep(self.found, self.record)
        # The alert first: later mails are threaded to it.
        mails = (*hook.messages, *execute.notes(self.found))
        return JobReport(
            self.found.facts,
            self.result,
            self.decision,
            tuple(fit_mail(mail, secrets) for mail in mails),
            execute.fit_memory(memory, secrets),
            hook.default_mail,
            hook.trouble,
        )


#: How often the main thread says that it gets its turn.
PULSE_S = 0.5
#: Threads to begin with and at most, and how often there are more.
FIRST_THREADS, SIDE_BY_SIDE = 4, 128
HIRE_AFTER_S = 0.005


class TaskPool:
    """The jobs that wait, the tasks under way, and the threads that work on them."""

    def __init__(
        self,
        jobs: Iterable[Found],
        record_of: Callable[[Found], Record],
        rules: Rules,
        emit: Emit,
        printing: OutputCapture,
    ) -> None:
        self._record_of = record_of
        self._rules = rules
        self._emit = emit
        self._printing = printing
        self._waiting = deque(jobs)
        self._left = self._waited = len(self._waiting)
        self._hands = 0
        self._under_way: set[Task] = set()
        self._lock = threading.Lock()
        self._over = threading.Event()

    def run(self) -> None:
        """Return when every task is done, or was given up and reported."""
        if self._left == 0:
            return
        self._hire()
        if not self._hands:
            raise RuntimeError("can't start new thread")
        pulse_at = time.monotonic()
        while not self._over.wait(self._until_next()):
            now = time.monotonic()
            if now >= pulse_at:
                self._emit(protocol.PULSE)
                pulse_at = now + PULSE_S
            for task in [one for one in list(self._under_way) if one.deadline <= now]:
                self._give_up(task)
            self._hire()

    def _hire(self) -> None:
        """Have twice as many threads at it while they only wait, up to a limit.

        ``_hands`` counts those that are not stuck.
        """
        begun = self._waited - len(self._waiting)
        self._waited = len(self._waiting)
        if begun < max(1, self._hands):
            more = max(FIRST_THREADS, self._hands)
            more = min(more, self._waited, SIDE_BY_SIDE - self._hands)
            self._hands += sum(_start(self._serve) for _ in range(more))

    def _until_next(self) -> float:
        nearest = min((task.deadline for task in list(self._under_way)), default=1e9)
        could_hire = self._waiting and self._hands < SIDE_BY_SIDE
        most = HIRE_AFTER_S if could_hire else PULSE_S
        return max(0.001, min(most, nearest - time.monotonic()))

    # In the threads.

    def _serve(self) -> None:
        """Carry out one task after the other, until none is waiting."""
        frames: list[Any] = []
        while True:
            try:
                found = self._waiting.popleft()
            except IndexError:
                self._finish(frames)
                return
            task = Task(found, self._record_of(found))
            self._begin(task)
            # With the last report, for each write costs other threads their turn.
            self._finish(frames, protocol.begun(task.found.facts.key))
            result = execute.execute(task.found, task.record)
            result = self._fitted(result, task)
            if not self._move(task, Stage.EXECUTING, Stage.SPEAKING):
                return
            spoken = self._speak(task, result)
            if spoken is None:
                return
            frames = [spoken]

    def _begin(self, task: Task) -> None:
        task.thread = threading.get_ident()
        task.deadline = time.monotonic() + task.found.facts.timeout_s
        self._under_way.add(task)
        self._at_work(task)

    def _at_work(self, task: Task) -> None:
        legacy.set_speaking_job(task.found.job)
        self._printing.begin(task.kept)

    def _move(self, task: Task, before: Stage, after: Stage) -> bool:
        """Return whether it was us who moved the task on; if not, another did."""
        with self._lock:
            if task.stage is not before:
                return False
            task.stage = after
            task.deadline = time.monotonic() + self._rules.hook_timeout_s
            return True

    def _speak(self, task: Task, result: CheckResult) -> Any:
        """Return the frame of the report; None if somebody else reports by now."""
        facts, now = task.found.facts, self._rules.now()
        decision = decide(task.record, result, facts.policy, now)
        task.result, task.decision = result, decision
        hook = HookResult()
        if decision.notifies and self._rules.notifies:
            self._emit(protocol.speaking(facts.key, result))
            hook = execute.call_hook(
                task.found, task.record, result, decision, self._rules.secrets
            )
        if not self._move(task, Stage.SPEAKING, Stage.DONE):
            return None
        return self._reported(task, hook)

    def _fitted(self, result: CheckResult, task: Task) -> CheckResult:
        if result.status is Status.OK and self._rules.notifies:
            # Of a job that is tried people see what it printed, however it went.
            return result
        self._printing.drain()
        return execute.fit_outcome(result, task.kept, self._rules.secrets)

    def _reported(self, task: Task, hook: HookResult) -> Any:
        self._under_way.discard(task)
        self._printing.end(task.kept)
        return protocol.report(task.report(hook, self._rules))

    def _speak_for(self, task: Task, late: CheckResult) -> None:
        """Go on with a task whose own thread is stuck."""
        self._at_work(task)
        spoken = self._speak(task, late)
        self._finish([spoken] if spoken is not None else [])

    def _finish(self, frames: list[Any], *more: Any) -> None:
        if frames or more:
            self._emit(*frames, *more)
        if frames:
            with self._lock:
                self._left -= len(frames)
                if self._left == 0:
                    self._over.set()

    # In the main thread.

    def _give_up(self, task: Task) -> None:
        """Go on without the thread that is stuck in the task."""
        if self._move(task, Stage.EXECUTING, Stage.SPEAKING):
            task.late = True
            self._hands -= 1
            late = self._fitted(task.timed_out(), task)
            if not _start(lambda: self._speak_for(task, late)):
                # Here, where its hook holds up the others at worst for its time.
                self._speak_for(task, late)
        elif self._move(task, Stage.SPEAKING, Stage.DONE):
            self._finish([self._reported(task, task.overdue_hook(self._rules))])
            self._hands -= not task.late


def _start(work: Callable[[], None]) -> bool:
    """Return whether a thread is at it; the system may have no more."""
    limits.make_room_for_a_thread()
    try:
        threading.Thread(target=work, daemon=True).start()
    except RuntimeError:
        return False
    return True

"""Imports and runs job code, in a process that may be killed.

One worker loads its job files, says which jobs they hold, and runs those that are
due, many side by side.  Threads do not make Python faster, they hide waiting.  The
main thread keeps each job's deadline: a thread that does not come back is left behind
and its job has timed out.

Frames to the supervisor: ``["jobs", [facts, ...], [warning, ...]]`` once, ``["at",
key]`` when a job starts, ``["speaks", key]`` when its hook is called, ``["report",
{...}]`` when it is done, and ``["end"]``.
"""

from __future__ import annotations

import configparser
import io
import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from lib import jobbase, oldjobs
from lib.decide import decide, is_due, remembered
from lib.discover import Found, discover
from lib.execute import collected, default, execute, memory_after, speak
from lib.model import (
    Condition,
    JobFile,
    JobFrequency,
    Message,
    OldEntry,
    Outcome,
    Record,
    Report,
    Verdict,
    file_stem,
    scrubbed,
)
from lib.process import MAX_PRINTED, Tell

logger = logging.getLogger(__name__)

#: How many jobs of one worker are under way at once.
SIDE_BY_SIDE = 128
#: A hook composes a mail; what takes longer is stuck, and the default mail goes out.
HOOK_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Order:
    """What a worker is to do."""

    due: frozenset[JobFrequency] = frozenset()
    records: Mapping[str, Record] = field(default_factory=dict)
    #: File stems of records that were lost or damaged.
    lost: frozenset[str] = frozenset()
    old_entries: tuple[OldEntry, ...] = ()
    contact: tuple[str, ...] = ()
    secrets: tuple[str, ...] = field(default=(), repr=False)
    #: Run these jobs and no others, due or not; None: those that are due.
    only: frozenset[str] | None = None
    #: Call the hooks; not where people only want to look.
    speaks: bool = True


@dataclass
class _Task:
    """A job on its way through the worker."""

    found: Found
    record: Record
    deadline: float = float("inf")
    outcome: Outcome | None = None
    verdict: Verdict = Verdict.FINE
    messages: tuple[Message, ...] = ()
    printed: str = ""
    #: Who works on it; a thread that was left behind is no longer the one.
    thread: int = 0


def record_of(
    key: str,
    records: Mapping[str, Record],
    lost: frozenset[str],
    formerly: str,
    old_entries: tuple[OldEntry, ...],
    contact: tuple[str, ...],
) -> Record:
    """Return what is remembered of a job, also where that is that it was lost."""
    if key in records:
        return records[key]
    if file_stem(key) in lost:
        return Record(key, condition=Condition.UNKNOWN)
    return remembered(Record(key), formerly, old_entries, contact)


def work(
    files: tuple[JobFile, ...],
    config: configparser.ConfigParser,
    order: Order,
    tell: Tell,
) -> None:
    """Load ``files``, tell which jobs they hold, run those the order names."""
    _keep_log_off_the_jobs()
    printing = _PrintingTo()
    sys.stdout = sys.stderr = printing
    jobs: list[Found] = []
    warnings = []
    for file in files:
        oldjobs.build(file.path.parent)
        found = discover(file, config, order.contact)
        jobs += (found.file, *found.jobs)
        warnings += [found.warning] if found.warning else []
    tell(["jobs", [one.facts for one in jobs], warnings])
    tasks = [task for one in jobs if (task := _task(one, order)) is not None]
    # A job that was left over from the last run comes first.
    tasks.sort(key=lambda task: not task.record.pending)
    _Bench(tasks, order, tell, printing).run()
    tell(["end"])


def _task(found: Found, order: Order) -> _Task | None:
    facts = found.facts
    record = record_of(
        facts.key,
        order.records,
        order.lost,
        facts.formerly,
        order.old_entries,
        facts.contact,
    )
    if order.only is not None:
        wanted = facts.key in order.only
    elif found.trouble:
        # It cannot run, and says so each minute, whatever it asked for.
        wanted = True
    else:
        wanted = is_due(facts.frequency, record, order.due)
    return _Task(found, record) if wanted else None


class _Bench:
    """The tasks of one worker, and the threads that work on them."""

    def __init__(
        self, tasks: list[_Task], order: Order, tell: Tell, printing: _PrintingTo
    ) -> None:
        self._order = order
        self._tell = tell
        self._printing = printing
        self._waiting: queue.SimpleQueue[_Task] = queue.SimpleQueue()
        self._events: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._under_way: dict[str, _Task] = {}
        self._left = len(tasks)
        for task in tasks:
            self._waiting.put(task)

    def run(self) -> None:
        for _ in range(min(self._left, SIDE_BY_SIDE)):
            threading.Thread(target=self._serve, daemon=True).start()
        while self._left:
            try:
                self._events.get(timeout=self._until_next_deadline())()
            except queue.Empty:
                self._leave_behind_the_late()

    # In the threads.

    def _serve(self) -> None:
        while True:
            try:
                task = self._waiting.get_nowait()
            except queue.Empty:
                return
            task.thread = threading.get_ident()
            if not self._execute(task):
                return

    def _execute(self, task: _Task) -> bool:
        """Work on a task; return False if this thread was left behind meanwhile."""
        mine = task.thread
        self._events.put(lambda: self._started(task))
        self._at_work(task)
        outcome = execute(task.found, task.record)
        if task.thread != mine:
            return False
        return self._speak(task, self._with_printed(task, outcome), mine)

    def _speak(self, task: _Task, outcome: Outcome, mine: int) -> bool:
        now = datetime.now(UTC)
        verdict = decide(task.record, outcome, task.found.facts.policy, now)
        asks = verdict.speaks and self._order.speaks
        self._events.put(lambda: self._judged(task, mine, outcome, verdict, asks))
        messages: tuple[Message, ...] = ()
        if asks:
            self._at_work(task)
            messages = speak(task.found, task.record, outcome, verdict, now)
        jobbase.set_speaking_job(None)
        self._events.put(lambda: self._spoken(task, mine, messages))
        return task.thread == mine

    def _at_work(self, task: _Task) -> None:
        jobbase.set_speaking_job(task.found.job)
        self._printing.task = task

    def _with_printed(self, task: _Task, outcome: Outcome) -> Outcome:
        if not task.printed or outcome.condition is Condition.FINE:
            return outcome
        printed = f"It printed:\n{task.printed}"
        evidence = f"{outcome.evidence.rstrip()}\n\n{printed}".lstrip()
        return replace(outcome, evidence=evidence)

    # In the main thread.

    def _started(self, task: _Task) -> None:
        key = task.found.facts.key
        task.deadline = time.monotonic() + task.found.facts.timeout_s
        self._under_way[key] = task
        self._tell(["at", key])

    def _judged(
        self, task: _Task, thread: int, outcome: Outcome, verdict: Verdict, asks: bool
    ) -> None:
        if task.thread != thread:
            return
        task.outcome, task.verdict = outcome, verdict
        if asks:
            task.deadline = time.monotonic() + HOOK_TIMEOUT_S
            self._tell(["speaks", task.found.facts.key])

    def _spoken(self, task: _Task, thread: int, messages: tuple[Message, ...]) -> None:
        if task.thread != thread:
            return
        task.messages = messages
        self._report(task)

    def _until_next_deadline(self) -> float:
        nearest = min((task.deadline for task in self._under_way.values()), default=0.0)
        # Without a task under way one is about to start.
        return max(0.0, nearest - time.monotonic()) if nearest else 1.0

    def _leave_behind_the_late(self) -> None:
        now = time.monotonic()
        for task in [one for one in self._under_way.values() if one.deadline <= now]:
            task.thread = 0
            if task.outcome is None:
                self._time_out(task)
            else:
                self._default_instead(task)
            threading.Thread(target=self._serve, daemon=True).start()

    def _time_out(self, task: _Task) -> None:
        limit = task.found.facts.timeout_s
        late = Outcome(
            Condition.FAILING, f"timed out after {limit:g} s", seconds=float(limit)
        )
        late = self._with_printed(task, late)
        task.deadline = time.monotonic() + HOOK_TIMEOUT_S

        def speak_for_it() -> None:
            # In a thread of its own: that of the job is stuck in it.
            task.thread = threading.get_ident()
            self._speak(task, late, task.thread)

        threading.Thread(target=speak_for_it, daemon=True).start()

    def _default_instead(self, task: _Task) -> None:
        assert task.outcome is not None
        facts = task.found.facts
        logger.warning("%s: its hook took over %g s", facts.name, HOOK_TIMEOUT_S)
        now = datetime.now(UTC)
        task.messages = (default(facts, task.record, task.outcome, task.verdict, now),)
        self._report(task)

    def _report(self, task: _Task) -> None:
        assert task.outcome is not None
        key = task.found.facts.key
        self._under_way.pop(key, None)
        self._left -= 1
        memory, trouble = memory_after(task.found)
        if trouble:
            logger.warning("%s: %s", task.found.facts.name, trouble)
        report = Report(
            task.found.facts,
            task.outcome,
            task.verdict,
            (*collected(task.found), *task.messages),
            None if memory == dict(task.record.memory) else memory,
        )
        self._tell(["report", _clean(report, self._order.secrets)])


def _clean(report: Report, secrets: tuple[str, ...]) -> Report:
    """Return the report without a secret in any text."""
    outcome = replace(
        report.outcome,
        detail=scrubbed(report.outcome.detail, secrets),
        evidence=scrubbed(report.outcome.evidence, secrets),
    )
    messages = tuple(
        replace(
            message,
            subject=scrubbed(message.subject, secrets),
            body=scrubbed(message.body, secrets),
        )
        for message in report.messages
    )
    return replace(report, outcome=outcome, messages=messages)


class _PrintingTo(io.TextIOBase):
    """Standard output and error of job code: kept with the job that is at work."""

    def __init__(self) -> None:
        self._local = threading.local()

    @property
    def task(self) -> _Task | None:
        """Return whose code runs in this thread."""
        return getattr(self._local, "task", None)

    @task.setter
    def task(self, task: _Task) -> None:
        self._local.task = task

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 2

    def write(self, text: str) -> int:
        task = self.task
        if task is None:
            os.write(2, text.encode("utf-8", "replace"))
        elif len(task.printed) < MAX_PRINTED:
            task.printed = (task.printed + text)[:MAX_PRINTED]
        return len(text)


def _keep_log_off_the_jobs() -> None:
    """Let what job code logs be shown with its job; the log file has all of it.

    Errors of Checker's own go to standard error, where cron makes a mail of them; a
    job that logs an error has failed, and is told in the ordinary way.
    """
    root = logging.getLogger()
    for handler in list(root.handlers):
        if handler.get_name() == "supervisor":
            root.removeHandler(handler)

"""The handle of one worker: its work, its reports, and when it counts as stalled.

``lib/runner/manager.py`` acts on it.  Times are seconds of the monotonic clock.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from lib.core.jobs import Job, JobFile, JobKey
from lib.core.results import CheckResult, JobReport
from lib.core.sanitize import fit
from lib.system.process import MAX_PRINTED, Child
from lib.workers import protocol
from lib.workers.worker import Order

#: A worker tells of a late job itself, unless it cannot; this much later it is stuck.
STALL_AFTER_S = 1.5
#: One that says nothing for so long lets no thread have its turn, so no other job.
SILENCE_S = 5.0
#: When all is said, the process ends.
END_TIMEOUT_S = 2.0


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
    heard_at: float
    #: When it must have loaded its files.
    patience: float
    #: All that it met; None until it has loaded its files.
    jobs: Mapping[JobKey, Job] | None = None
    #: What it has told of until then.
    met: dict[JobKey, Job] = {}
    #: Those that it is to run and that are not done.
    left: dict[JobKey, Job] = {}
    #: Those under way, and the moment from which each is stuck.
    stuck_at: dict[JobKey, float] = {}
    #: What was found by those whose hooks are at work.
    found: dict[JobKey, CheckResult] = {}
    #: When it had nothing left to do, or said so.
    done_at: float | None = None
    ended: bool = False

    def __post_init__(self) -> None:
        self.left.update(self.work.jobs)

    @property
    def deadline(self) -> float:
        """Return when it is stuck if nothing more is heard."""
        if self.jobs is None:
            return self.patience
        if self.done_at is not None:
            return self.done_at + (END_TIMEOUT_S if self.ended else SILENCE_S)
        deadline = min(self.stuck_at.values(), default=float("inf"))
        if len(self.left) > 1:
            deadline = min(deadline, self.heard_at + SILENCE_S)
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

    def hear(self, frame: object, now: float) -> protocol.Event:
        """Return what a frame says, and keep it in mind.

        Raise ValueError, TypeError, KeyError or IndexError if it says what it must not.
        """
        said = protocol.read(frame, self.jobs or {})
        self.heard_at = now
        if isinstance(said, protocol.Jobs):
            self.met.update(said.jobs)
            # Those of a worker before that are not there any more stay left.
            self.left.update({key: said.jobs[key] for key in said.wanted})
        elif isinstance(said, protocol.Loaded):
            self.jobs = self.met
        elif isinstance(said, protocol.Started):
            limit = said.job.timeout_s + STALL_AFTER_S
            self.stuck_at[said.job.key] = now + limit
        elif isinstance(said, protocol.Notifying):
            limit = self.work.order.hook_timeout_s + STALL_AFTER_S
            self.stuck_at[said.job.key] = now + limit
            self.found[said.job.key] = said.result
        elif isinstance(said, JobReport):
            # A job that is not left has been reported before: KeyError.
            del self.left[said.job.key]
            self.stuck_at.pop(said.job.key, None)
            self.found.pop(said.job.key, None)
        elif isinstance(said, protocol.Ended):
            self.ended = True
            self.done_at = now
        if self.done_at is None and self.jobs is not None and not self.left:
            # Its pulse may go on where it has no memory left to come to its end.
            self.done_at = now
        return said

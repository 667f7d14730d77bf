"""The messages from a worker to the supervisor: events to frames, and back.

A frame is a list that begins with the name of the event.  Frames are validated when
read, since job code runs in the process that sends them.  For a new event, add a class,
a function that returns its frame, and a branch in ``read``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from lib.core.encoding import convert, same
from lib.core.enums import Decision, Status
from lib.core.jobs import Job, JobKey, KindInfo
from lib.core.messages import Message
from lib.core.results import CheckResult, JobReport, Value, Values
from lib.core.settings import Problem

#: More jobs in one frame would need much memory on both sides.
JOBS_PER_FRAME = 500
#: The worker's main thread is alive.
PULSE = ["pulse"]
#: The last frame.
END = ["end"]


class Jobs(msgspec.Struct, frozen=True):
    """A part of the jobs in the files."""

    jobs: Mapping[JobKey, Job]
    #: The keys of the jobs that this worker runs.
    wanted: frozenset[JobKey]


class Loaded(msgspec.Struct, frozen=True):
    """All files are loaded and their jobs were sent."""

    warnings: tuple[str, ...] = ()
    #: What is wrong in the sections of targets.
    problems: tuple[Problem, ...] = ()
    #: The kinds in the files.
    kinds: tuple[KindInfo, ...] = ()
    #: The names of the files that may have jobs which were not sent.
    partial: tuple[str, ...] = ()


class Started(msgspec.Struct, frozen=True):
    """The execution of jobs has started, of one or of many at once."""

    jobs: tuple[Job, ...]


class Notifying(msgspec.Struct, frozen=True):
    """The hook of a job is being called, for this result."""

    job: Job
    result: CheckResult


class Ended(msgspec.Struct, frozen=True):
    """The worker has run all its jobs."""


Event = Jobs | Loaded | Started | Notifying | JobReport | Ended | None


def jobs(all_jobs: Sequence[Job], wanted: Collection[JobKey]) -> Iterator[Any]:
    """Yield frames of Jobs, of at most JOBS_PER_FRAME jobs each."""
    for first in range(0, len(all_jobs), JOBS_PER_FRAME):
        part = all_jobs[first : first + JOBS_PER_FRAME]
        yield ["jobs", part, [job.key for job in part if job.key in wanted]]


def loaded(
    warnings: Iterable[str],
    problems: Iterable[Problem] = (),
    kinds: Iterable[KindInfo] = (),
    partial: Iterable[str] = (),
) -> Any:
    """Return the frame of Loaded."""
    return ["loaded", list(warnings), list(problems), list(kinds), list(partial)]


def started(*keys: JobKey) -> Any:
    """Return the frame of Started."""
    return ["started", *keys]


def notifying(key: JobKey, result: CheckResult) -> Any:
    """Return the frame of Notifying."""
    return ["notifying", key, result]


def report(report: JobReport) -> Any:
    """Return the frame of a JobReport; a short one if it only says OK."""
    key, result = report.job.key, report.result
    ok_result = _ok_result(result.seconds, result.values)
    if report == JobReport(report.job, ok_result, Decision.OK):
        return ["ok", key, result.seconds, result.values]
    hook = [report.messages, report.default_mail, report.hook_trouble]
    return ["report", key, result, report.decision, hook, report.memory]


def read(frame: Any, jobs: Mapping[JobKey, Job]) -> Event:
    """Return the event of a frame; ``jobs`` are the worker's jobs.

    Raise ValueError, TypeError, KeyError or IndexError if the frame is not valid.
    """
    word, *rest = frame
    if word == "started":
        return Started((jobs[_key(rest[0])], *(jobs[_key(key)] for key in rest[1:])))
    if word == "ok":
        key, seconds, values = rest
        ok_result = _ok_result(
            convert(seconds, float), convert(values, dict[str, Value])
        )
        return JobReport(jobs[_key(key)], ok_result, Decision.OK)
    if word == "report":
        return _read_report(rest, jobs)
    if word == "notifying":
        return Notifying(jobs[_key(rest[0])], convert(rest[1], CheckResult))
    if word == "jobs":
        return _read_jobs(rest)
    if word == "loaded":
        warnings, problems, kinds, partial = rest
        return Loaded(
            tuple(str(warning) for warning in warnings),
            convert(problems, tuple[Problem, ...]),
            convert(kinds, tuple[KindInfo, ...]),
            convert(partial, tuple[str, ...]),
        )
    if word == "end":
        return Ended()
    if word == "pulse":
        return None
    raise ValueError(f"unknown event {str(word)[:40]!r}")


def _key(frame: Any) -> JobKey:
    return convert(frame, JobKey)


def _ok_result(seconds: float, values: Values) -> CheckResult:
    return CheckResult(Status.OK, seconds=seconds, values=values)


def _read_report(rest: list[Any], jobs: Mapping[JobKey, Job]) -> JobReport:
    key, result, decision, (messages, default_mail, hook_trouble), memory = rest
    if memory is not None and not isinstance(memory, dict):
        raise ValueError("a memory is not a dict")
    return JobReport(
        jobs[_key(key)],
        convert(result, CheckResult),
        Decision(decision),
        convert(messages, tuple[Message, ...]),
        memory,
        convert(default_mail, bool),
        convert(hook_trouble, str),
    )


def _shared(job: Job) -> Job:
    """Return the job with values that many jobs have in common stored once."""
    key = JobKey(same(job.key.file), job.key.identity)
    return replace(
        job,
        key=key,
        # A target's name is its identity.
        name=key.identity if job.name == key.identity else job.name,
        file=same(job.file),
        schedule=same(job.schedule),
        policy=same(job.policy),
        contact=same(job.contact),
        tags=same(job.tags),
    )


def _read_jobs(rest: list[Any]) -> Jobs:
    part, wanted = rest
    jobs = [_shared(job) for job in convert(part, list[Job])]
    wanted_keys = set(map(_key, wanted))
    # The keys of the jobs themselves: the others would be kept beside them.
    return Jobs(
        {job.key: job for job in jobs},
        frozenset(job.key for job in jobs if job.key in wanted_keys),
    )

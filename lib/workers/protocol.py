"""The messages from a worker to the supervisor: events to frames, and back.

A frame is a list that begins with the name of the event.  Frames are validated when
read, since job code runs in the process that sends them.  For a new event, add a class,
a function that returns its frame, and a branch in ``read``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
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


class Reports(msgspec.Struct, frozen=True):
    """What became of some jobs."""

    reports: tuple[JobReport, ...]


class Ended(msgspec.Struct, frozen=True):
    """The worker has run all its jobs."""


Event = Jobs | Loaded | Started | Notifying | Reports | Ended | None

#: All of a job but its key and its name.
_what_it_shares = attrgetter(*Job.__struct_fields__[2:])


def jobs(all_jobs: Sequence[Job], wanted: Collection[JobKey]) -> Iterator[Any]:
    """Yield frames of Jobs, of at most JOBS_PER_FRAME jobs each.

    Of targets one after the other that differ in their names only, the first is sent
    whole and of the others their names.
    """
    for first in range(0, len(all_jobs), JOBS_PER_FRAME):
        groups: list[tuple[bool, Job, list[str]]] = []
        before: Any = None
        for job in all_jobs[first : first + JOBS_PER_FRAME]:
            is_wanted = job.key in wanted
            kind = (is_wanted, job.key.file, _what_it_shares(job))
            if kind == before and job.name == job.key.identity:
                groups[-1][2].append(job.name)
            else:
                groups.append((is_wanted, job, []))
                before = kind
        yield ["jobs", groups]


def loaded(
    warnings: Iterable[str],
    problems: Iterable[Problem] = (),
    kinds: Iterable[KindInfo] = (),
    partial: Iterable[str] = (),
) -> Any:
    """Return the frame of Loaded."""
    return ["loaded", list(warnings), list(problems), list(kinds), list(partial)]


def started(*keys: JobKey) -> Any:
    """Return the frame of Started; all jobs are of one file."""
    return ["started", keys[0].file, [key.identity for key in keys]]


def notifying(key: JobKey, result: CheckResult) -> Any:
    """Return the frame of Notifying."""
    return ["notifying", key, result]


def report(report: JobReport) -> Any:
    """Return the frame of one report; a short one if it only says OK."""
    key, result = report.job.key, report.result
    if _says_only_ok(report):
        return ok(key, result.seconds, result.values)
    hook = [report.messages, report.default_mail, report.hook_trouble]
    kept = [report.memory, report.consumed]
    return ["report", key, result, report.decision, hook, kept]


def ok(key: JobKey, seconds: float, values: Values) -> Any:
    """Return the frame of a report that only says OK."""
    return ["ok", key.file, (key.identity, seconds, values)]


#: All of a report but its job and what "ok" says of the result.
_what_else_it_says = attrgetter(
    *JobReport.__struct_fields__[2:],
    *(
        f"result.{name}"
        for name in CheckResult.__struct_fields__
        if name not in ("seconds", "values")
    ),
)


def _says_only_ok(report: JobReport) -> bool:
    return bool(_what_else_it_says(report) == _ONLY_OK)


def together(frames: Iterable[Any]) -> list[Any]:
    """Return the same frames, those of jobs that are only OK in one."""
    all_of_them: list[Any] = []
    of_file: dict[str, Any] = {}
    for frame in frames:
        if frame[0] != "ok":
            all_of_them.append(frame)
        elif frame[1] in of_file:
            of_file[frame[1]] += frame[2:]
        else:
            of_file[frame[1]] = list(frame)
    return [*of_file.values(), *all_of_them]


def read(frame: Any, jobs: Mapping[JobKey, Job]) -> Event:
    """Return the event of a frame; ``jobs`` are the worker's jobs.

    Raise ValueError, TypeError, KeyError or IndexError if the frame is not valid.
    """
    word, *rest = frame
    if word == "started":
        file, identities = convert(rest, tuple[str, tuple[str, ...]])
        return Started(tuple(jobs[JobKey(file, name)] for name in identities))
    if word == "ok":
        return _read_oks(convert(rest[0], str), rest[1:], jobs)
    if word == "report":
        return Reports((_read_report(rest, jobs),))
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


_ONLY_OK = _what_else_it_says(
    JobReport(Job(JobKey(""), "", "", ""), CheckResult(Status.OK), Decision.OK)
)


def _read_oks(file: str, rest: list[Any], jobs: Mapping[JobKey, Job]) -> Reports:
    oks = convert(rest, list[tuple[str, float, dict[str, Value]]])
    return Reports(
        tuple(
            JobReport(
                jobs[JobKey(file, identity)],
                CheckResult(Status.OK, seconds=seconds, values=values),
                Decision.OK,
            )
            for identity, seconds, values in oks
        )
    )


def _read_report(rest: list[Any], jobs: Mapping[JobKey, Job]) -> JobReport:
    key, result, decision, (messages, default_mail, hook_trouble), kept = rest
    memory, consumed = kept
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
        consumed=convert(consumed, tuple[str, ...]),
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
    (groups,) = convert(rest, tuple[list[tuple[bool, Job, list[str]]]])
    jobs: dict[JobKey, Job] = {}
    wanted: list[JobKey] = []
    for is_wanted, first, names in groups:
        first = _shared(first)
        file = first.key.file
        # The keys of the jobs themselves: others would be kept beside them.
        keys = [first.key, *(JobKey(file, name) for name in names)]
        jobs[first.key] = first
        for key in keys[1:]:
            jobs[key] = replace(first, key=key, name=key.identity)
        if is_wanted:
            wanted += keys
    return Jobs(jobs, frozenset(wanted))

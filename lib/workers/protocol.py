"""What a worker says to the supervisor: values -> frames, and back.

A frame is a list that begins with a word.  What comes back is checked, for job code
runs in the process that sends it.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lib.core import plain
from lib.core.enums import Decision, Status
from lib.core.jobs import Job, JobKey
from lib.core.messages import Message
from lib.core.results import CheckResult, JobReport

#: So many jobs are told at once; more would take much memory on both sides.
AT_ONCE = 500
#: The worker is there, and its main thread gets its turn.
PULSE = ["pulse"]
#: All is said.
END = ["end"]


@dataclass(frozen=True)
class Some:
    """Some of the jobs in the files."""

    jobs: Mapping[JobKey, Job]
    #: The keys of those that this worker runs.
    wanted: frozenset[JobKey]


@dataclass(frozen=True)
class Loaded:
    """The files are loaded, and their jobs all told."""

    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Begun:
    """A job is executed from here on."""

    job: Job


@dataclass(frozen=True)
class Speaking:
    """The hook of a job is called from here on; this is what was found before."""

    job: Job
    result: CheckResult


@dataclass(frozen=True)
class Ended:
    """The worker is done."""


Said = Some | Loaded | Begun | Speaking | JobReport | Ended | None


def jobs(facts: Sequence[Job], wanted: Collection[JobKey]) -> Iterator[Any]:
    """Yield frames of Some, of not too many jobs each."""
    for first in range(0, len(facts), AT_ONCE):
        some = facts[first : first + AT_ONCE]
        yield ["jobs", some, [one.key for one in some if one.key in wanted]]


def loaded(warnings: Iterable[str]) -> Any:
    """Return the frame of Loaded."""
    return ["loaded", list(warnings)]


def begun(key: JobKey) -> Any:
    """Return the frame of Begun."""
    return ["at", key]


def speaking(key: JobKey, result: CheckResult) -> Any:
    """Return the frame of Speaking."""
    return ["speaks", key, result]


def report(said: JobReport) -> Any:
    """Return the frame of a Report, a short one if there is nothing to report."""
    key, result = said.job.key, said.result
    if said == JobReport(said.job, _fine(result.seconds), Decision.OK):
        return ["fine", key, result.seconds]
    hook = [said.messages, said.default_mail, said.hook_trouble]
    return ["report", key, result, said.decision, hook, said.memory]


def read(frame: Any, jobs: Mapping[JobKey, Job]) -> Said:
    """Return what a frame says; ``jobs`` are those of its worker.

    Raise ValueError, TypeError, KeyError or IndexError if it is none of ours.
    """
    word, *rest = frame
    if word == "at":
        return Begun(jobs[_key(rest[0])])
    if word == "fine":
        key, seconds = rest
        return JobReport(
            jobs[_key(key)],
            _fine(plain.from_plain(float, seconds)),
            Decision.OK,
        )
    if word == "report":
        return _read_report(rest, jobs)
    if word == "speaks":
        return Speaking(jobs[_key(rest[0])], plain.from_plain(CheckResult, rest[1]))
    if word == "jobs":
        return _read_jobs(rest)
    if word == "loaded":
        return Loaded(tuple(str(warning) for warning in rest[0]))
    if word == "end":
        return Ended()
    if word == "pulse":
        return None
    raise ValueError(f"{str(word)[:40]!r} is no word of ours")


def _key(text: Any) -> JobKey:
    if type(text) is not str:
        raise TypeError("a key that is no text")
    return JobKey.parse(text)


def _fine(seconds: float) -> CheckResult:
    return CheckResult(Status.OK, seconds=seconds)


def _read_report(rest: list[Any], jobs: Mapping[JobKey, Job]) -> JobReport:
    key, result, decision, (messages, default_mail, hook_trouble), memory = rest
    if memory is not None and not isinstance(memory, dict):
        raise ValueError("a memory that is none")
    return JobReport(
        jobs[_key(key)],
        plain.from_plain(CheckResult, result),
        Decision(decision),
        tuple(plain.from_plain(Message, message) for message in messages),
        memory,
        plain.from_plain(bool, default_mail),
        plain.from_plain(str, hook_trouble),
    )


@functools.lru_cache
def _same(value: Any) -> Any:
    """Return one for all that are equal."""
    return value


def _shared(job: Job) -> Job:
    """Return the facts of a job, with what thousands have in common there once."""
    file, policy, contact = map(_same, (job.file, job.policy, job.contact))
    return replace(job, file=file, policy=policy, contact=contact)


def _read_jobs(rest: list[Any]) -> Some:
    facts, wanted = rest
    jobs = [_shared(plain.from_plain(Job, job)) for job in facts]
    found = {job.key: job for job in jobs}
    return Some(found, frozenset(found.keys() & map(_key, wanted)))

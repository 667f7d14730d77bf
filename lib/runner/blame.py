"""Decide what to do about the jobs of a worker that crashed or stalled.

Jobs under way run again once, each in a process of its own, so that the one at fault
is found; jobs that had not begun run again together.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from msgspec.structs import replace

from lib.core.enums import Status
from lib.core.jobs import Job, JobFile, JobKey
from lib.core.results import CheckResult
from lib.core.text import paragraphs, printed_part
from lib.runner.handle import Work, WorkerHandle

#: How often workers may die before their jobs have begun.
MAX_ATTEMPTS = 2


class LostJob(msgspec.Struct, frozen=True):
    """A job whose worker died; the result says how."""

    job: Job
    result: CheckResult


class CrashAttribution(msgspec.Struct, frozen=True):
    """The jobs that are lost, and the work to start again."""

    lost: tuple[LostJob, ...] = ()
    again: tuple[Work, ...] = ()


def unknown(job: Job, why: str) -> LostJob:
    """Return a job as unknown, to be run again."""
    return LostJob(job, CheckResult(Status.UNKNOWN, why, ask_again=True))


def attribute_crash(
    handle: WorkerHandle,
    how: str,
    now: float,
    file_facts: Callable[[JobFile], Job],
    load_timeout_s: float,
) -> CrashAttribution:
    """Return what follows from a worker that died or stalled.

    ``how`` says how the process ended; nothing if it stalled and was killed.
    """
    if handle.jobs is None:
        how = how or f"that took over {load_timeout_s:g} s"
        return _while_loading(handle, how, file_facts)
    left = dict(handle.left)
    suspects = [left.pop(key) for key in list(left) if key in handle.stuck_at]
    alone = len(suspects) == 1
    lost: list[LostJob] = []
    again: list[Work] = []
    for job in suspects:
        result = handle.found.get(job.key)
        if result is not None:
            lost.append(LostJob(job, _without_hook(result, how)))
        elif alone and (how or handle.is_late(job.key, now)):
            lost.append(_guilty(handle, job, how))
        else:
            again.append(handle.work.only({job.key: job}))
    attempts = 0 if suspects else handle.work.attempts + 1
    rest = _of_the_rest(handle.work, left, attempts, how)
    return CrashAttribution((*lost, *rest.lost), (*again, *rest.again))


def _while_loading(
    handle: WorkerHandle, how: str, file_facts: Callable[[JobFile], Job]
) -> CrashAttribution:
    """Blame the file; if there are several, load each in a worker of its own."""
    work = handle.work
    if work.jobs:
        return _of_the_rest(work, handle.left, work.attempts + 1, how)
    if len(work.files) > 1:
        return CrashAttribution(
            again=tuple(replace(work, files=(one,)) for one in work.files)
        )
    facts = file_facts(work.files[0])
    return CrashAttribution(
        (_guilty(handle, facts, f"{work} cannot be loaded: {how}"),)
    )


def _of_the_rest(
    work: Work, left: dict[JobKey, Job], attempts: int, how: str
) -> CrashAttribution:
    """Have a new worker run the jobs that had not begun, unless that failed before."""
    if not left:
        return CrashAttribution()
    if attempts < MAX_ATTEMPTS:
        return CrashAttribution(again=(work.only(left, attempts),))
    why = f"its worker {how or 'got stuck'} before it began"
    return CrashAttribution(tuple(unknown(job, why) for job in left.values()))


def _guilty(handle: WorkerHandle, job: Job, how: str) -> LostJob:
    late = f"timed out after {job.timeout_s:g} s, and had to be killed"
    output = printed_part(handle.printed, shared=len(handle.left) > 1)
    return LostJob(job, CheckResult(Status.FAILING, how or late, output))


def _without_hook(result: CheckResult, how: str) -> CheckResult:
    why = how or "did not answer any more and was killed"
    note = f"While its hook was at work, its worker {why}; this is the default mail."
    return replace(result, output=paragraphs(result.output, note))

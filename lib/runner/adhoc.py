"""Run jobs for a person at a terminal: -m list, run and validate.

Workers are used as in a run; no state is written and no mail is sent.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase

import msgspec
from msgspec.structs import replace

from lib.config.jobsections import JobSections
from lib.core.enums import Decision
from lib.core.jobs import Job, KindInfo, Policy
from lib.core.records import KnownRecords
from lib.core.results import CheckResult, JobReport
from lib.core.settings import Problem, Settings
from lib.runner import results
from lib.runner.manager import LOAD_TIMEOUT_S, JobsMet, LostJob, WorkerManager, order_by
from lib.storage.store import State
from lib.system import orphans, process
from lib.system.clock import utc_now
from lib.system.errors import StateError
from lib.workers.worker import Order

#: The same as for a run.
LOOK_S = 55.0


class AdhocResult(msgspec.Struct, frozen=True):
    """What the workers reported."""

    jobs: tuple[Job, ...] = ()
    reports: tuple[JobReport, ...] = ()
    warnings: tuple[str, ...] = ()
    #: What is wrong in the sections of targets.
    problems: tuple[Problem, ...] = ()
    kinds: tuple[KindInfo, ...] = ()


def meet(settings: Settings, *, advises: bool = False) -> AdhocResult:
    """Return every job, and a report for each file that could not be loaded.

    No job is executed.  With ``advises``, the problems include what is right and hardly
    meant so, and the secrets of targets are tried.
    """
    order = order_by(
        settings,
        known=_known(State(settings.state)) if advises else KnownRecords(),
        had_jobs=_had_jobs(State(settings.state)),
        advises=advises,
        executes=False,
        notifies=False,
        describes=True,
    )
    asked = _ask(settings, order)
    jobs = {job.key: job for job in asked.jobs if not job.is_own}
    for report in asked.reports:
        if report.result.reason:
            jobs[report.job.key] = report.job
    # Workers finish in any order; people want the same one each time.
    place = {str(file.path): number for number, file in enumerate(settings.job_files)}
    ordered = sorted(jobs.values(), key=lambda job: place.get(job.file, len(place)))
    return replace(asked, jobs=tuple(ordered))


def _known(state: State) -> KnownRecords:
    """Return the records, for what a kind says of what it remembers."""
    try:
        return KnownRecords(state.load().records)
    except StateError:
        # -m validate says what is wrong with the folder.
        return KnownRecords()


def _had_jobs(state: State) -> frozenset[str]:
    """Return the names of the job files that had a job, or were failing, before."""
    try:
        return frozenset(
            key.file for key in (*state.load_catalog(), *state.load().records)
        )
    except StateError:
        # -m validate says what is wrong with the folder.
        return frozenset()


def try_jobs(
    settings: Settings, patterns: Sequence[str]
) -> tuple[AdhocResult, list[str]]:
    """Return the results of the jobs that match, and the patterns that match none.

    A shell pattern is compared with a job's name and its file name.
    """
    there = meet(settings)
    matching, unmatched = matching_jobs(there.jobs, patterns)
    wanted = {job.key for job in matching}
    state = State(settings.state)
    remembered = state.load()
    order = order_by(
        settings,
        known=KnownRecords(remembered.records),
        only=frozenset(wanted),
        notifies=False,
    )
    orphans.adopt()
    try:
        asked = _ask(settings, order)
    finally:
        orphans.end_all(process.at_work)
    reports = [report for report in asked.reports if report.job.key in wanted]
    reports.sort(key=lambda report: report.job.name)
    if any(report.job.rule for report in reports):
        from lib.runner import groups

        catalog, now = state.load_catalog(), utc_now()
        reports = groups.of_trial(
            reports, there.jobs, remembered, catalog, now, settings.zone
        )
    return AdhocResult(there.jobs, tuple(reports), there.warnings), unmatched


def matching_jobs(
    jobs: Iterable[Job], patterns: Sequence[str]
) -> tuple[list[Job], list[str]]:
    """Return the jobs that match, and the patterns that match none.

    A shell pattern is compared with a job's name and its file name; a job that is
    disabled has to be named in full.
    """
    jobs = list(jobs)
    matching = [
        job
        for job in jobs
        if _matches(job, patterns) and (job.enabled or job.name in patterns)
    ]
    unmatched = [
        pattern
        for pattern in patterns
        if not any(_matches(job, [pattern]) for job in jobs)
    ]
    return matching, unmatched


def problems_of(settings: Settings, there: AdhocResult) -> tuple[Problem, ...]:
    """Return the problems of job files, jobs and the state folder."""
    notified = {job.key for job, _result in results.stand_ins(settings)}
    wrong_targets = {
        problem.section for problem in there.problems if not problem.warning
    }
    refused = [
        Problem(file.refused, str(file.path))
        for file in settings.job_files
        if file.refused
    ]
    broken = [
        Problem(f"{report.job.name}: {report.result.reason}", report.job.file)
        for report in there.reports
        if report.result.reason
        and report.job.key not in notified
        and report.job.name not in wrong_targets
    ]
    odd = [Problem(warning, warning=True) for warning in there.warnings]
    unused = _unused_sections(settings, there, knows_all=not (refused or broken))
    why = State(settings.state).why_not_usable()
    state = [Problem(why, str(settings.path), "general")] if why else []
    if settings.maintenance:
        from lib.config.maintenance import odd_windows

        odd += odd_windows(settings, there.jobs, utc_now())
    if settings.page.public:
        from lib.config.advice import tags_of_no_job

        odd += tags_of_no_job(settings, there.jobs)
    if any(job.depends or job.rule for job in there.jobs) or settings.anchors:
        from lib.runner import reachability

        state += reachability.problems(settings, there.jobs)
    return (*unused, *state, *refused, *broken, *odd)


def _unused_sections(
    settings: Settings, there: AdhocResult, *, knows_all: bool
) -> Iterator[Problem]:
    """Yield a problem for each section ``[job NAME]`` that is about no job."""
    files = {str(file.path): file.name for file in settings.job_files}
    return JobSections(settings.ini).unused(
        there.jobs,
        files.values(),
        {files[kind.file]: kind.kind for kind in there.kinds},
        knows_all=knows_all,
    )


def _matches(job: Job, patterns: Sequence[str]) -> bool:
    return any(
        pattern in (job.name, job.key.file) or fnmatchcase(job.name, pattern)
        for pattern in patterns
    )


def _ask(settings: Settings, order: Order) -> AdhocResult:
    # The command of each secret may take its time.
    load_timeout_s = LOOK_S if order.advises else LOAD_TIMEOUT_S
    workers = WorkerManager(settings.ini, order, load_timeout_s=load_timeout_s)
    jobs: list[Job] = []
    reports = [_unjudged(job, result) for job, result in results.stand_ins(settings)]
    warnings: list[str] = []
    wrong: list[Problem] = []
    kinds: list[KindInfo] = []
    ends_at = time.monotonic() + LOOK_S
    try:
        workers.start(file for file in settings.job_files if not file.refused)
        while not workers.is_done and time.monotonic() < ends_at:
            until = min(workers.next_deadline(), ends_at) - time.monotonic()
            process.wait(workers.children, max(0.0, min(1.0, until)))
            for event in workers.events():
                if isinstance(event, JobsMet):
                    jobs += event.jobs
                    warnings += event.warnings
                    wrong += event.problems
                    kinds += event.kinds
                elif isinstance(event, LostJob):
                    reports.append(_unjudged(event.job, event.result))
                else:
                    reports.append(event)
    finally:
        reports += [_unjudged(lost.job, lost.result) for lost in workers.stop()]
    return AdhocResult(
        tuple(jobs), tuple(reports), tuple(warnings), tuple(wrong), tuple(kinds)
    )


def _unjudged(job: Job, result: CheckResult) -> JobReport:
    return JobReport(replace(job, policy=Policy()), result, Decision.NOT_YET)

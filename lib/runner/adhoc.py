"""Ask the jobs without remembering anything: what is there, and what it finds now.

For people at a terminal.  Workers are used as in a run, so that a job that hangs or
crashes harms nobody; no state is written and no mail is sent.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from lib.core.enums import Decision
from lib.core.jobs import JobFacts, Policy
from lib.core.results import Outcome, Report
from lib.core.settings import Problem, Settings
from lib.runner import problems
from lib.runner.blame import Lost
from lib.runner.manager import Crew, Met
from lib.storage.store import State
from lib.system import process
from lib.workers.worker import Order

#: As long as a run.
LOOK_S = 55.0


@dataclass(frozen=True)
class Look:
    """What workers told."""

    jobs: tuple[JobFacts, ...] = ()
    reports: tuple[Report, ...] = ()
    warnings: tuple[str, ...] = ()


def meet(settings: Settings) -> Look:
    """Return every job there is, and a report of each that could not be loaded.

    Nothing is executed but what loading takes.
    """
    order = Order(contact=settings.alertcontact, speaks=False, limits=settings.limits)
    found = _ask(settings, order)
    jobs = {job.key: job for job in found.jobs if not job.is_own}
    for report in found.reports:
        if report.outcome.detail:
            jobs[report.job.key] = report.job
    # Workers answer when they are ready; people want one order.
    place = {str(file.path): number for number, file in enumerate(settings.job_files)}
    ordered = sorted(jobs.values(), key=lambda job: place.get(job.file, len(place)))
    return replace(found, jobs=tuple(ordered))


def try_jobs(settings: Settings, patterns: Sequence[str]) -> tuple[Look, list[str]]:
    """Return what the jobs that match find now, and the patterns that match none.

    A pattern is a shell's; it is held against a job's name and its file's.
    """
    there = meet(settings)
    wanted = {job.key for job in there.jobs if _matches(job, patterns)}
    unmatched = [
        pattern
        for pattern in patterns
        if not any(_matches(job, [pattern]) for job in there.jobs)
    ]
    records = State(settings.state).load().records
    order = Order(
        records=records,
        contact=settings.alertcontact,
        secrets=settings.secrets,
        limits=settings.limits,
        mail=settings.mail,
        only=frozenset(wanted),
        speaks=False,
    )
    found = _ask(settings, order)
    reports = [report for report in found.reports if report.job.key in wanted]
    reports.sort(key=lambda report: report.job.name)
    return Look(there.jobs, tuple(reports), there.warnings), unmatched


def problems_of(settings: Settings, there: Look) -> tuple[Problem, ...]:
    """Return what is wrong beyond the settings: job files, jobs, the state folder."""
    told = {facts.key for facts, _outcome in problems.stand_ins(settings)}
    refused = [
        Problem(file.refused, str(file.path))
        for file in settings.job_files
        if file.refused
    ]
    broken = [
        Problem(f"{report.job.name}: {report.outcome.detail}", report.job.file)
        for report in there.reports
        if report.outcome.detail and report.job.key not in told
    ]
    odd = [Problem(warning, warning=True) for warning in there.warnings]
    why = State(settings.state).why_not_usable()
    state = [Problem(why, str(settings.path), "general")] if why else []
    return (*state, *refused, *broken, *odd)


def _matches(job: JobFacts, patterns: Sequence[str]) -> bool:
    return any(
        pattern in (job.name, job.key.file) or fnmatchcase(job.name, pattern)
        for pattern in patterns
    )


def _ask(settings: Settings, order: Order) -> Look:
    crew = Crew(
        settings.config, order, lambda file: problems.facts_of_file(file, settings)
    )
    jobs: list[JobFacts] = []
    reports = [
        _unjudged(facts, outcome) for facts, outcome in problems.stand_ins(settings)
    ]
    warnings: list[str] = []
    ends_at = time.monotonic() + LOOK_S
    try:
        crew.start(file for file in settings.job_files if not file.refused)
        while not crew.is_done and time.monotonic() < ends_at:
            until = min(crew.next_deadline(), ends_at) - time.monotonic()
            process.wait(crew.children, max(0.0, min(1.0, until)))
            for event in crew.events():
                if isinstance(event, Met):
                    jobs += event.jobs
                    warnings += event.warnings
                elif isinstance(event, Lost):
                    reports.append(_unjudged(event.job, event.outcome))
                else:
                    reports.append(event.report)
    finally:
        reports += [_unjudged(lost.job, lost.outcome) for lost in crew.stop()]
    return Look(tuple(jobs), tuple(reports), tuple(warnings))


def _unjudged(job: JobFacts, outcome: Outcome) -> Report:
    return Report(replace(job, policy=Policy()), outcome, Decision.NOT_YET)

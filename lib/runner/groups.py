"""Collects how the members of a group are, by this run and by what is on record."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, tzinfo

import msgspec
from msgspec.structs import replace

from lib.config.hints import nearest
from lib.core import groups
from lib.core.dependencies import (
    HELD_WORDS,
    Dependencies,
    DependencyError,
    last_status,
)
from lib.core.enums import JobFrequency, Status
from lib.core.groups import Found, Member
from lib.core.jobs import CatalogEntry, Job, JobKey, job_of
from lib.core.records import KnownRecords, Record, RunRecord
from lib.core.results import CheckResult, JobReport
from lib.core.schedule import last_run
from lib.core.silences import Silences
from lib.core.text import first_line
from lib.storage.store import Remembered, last_runs


class Known(msgspec.Struct, frozen=True):
    """What is known of jobs."""

    met: Mapping[JobKey, Job]
    catalog: Mapping[JobKey, CatalogEntry]
    #: What is on record of a job, and the last runs.
    record_of: Callable[[Job], Record]
    run: RunRecord
    #: What was found in this run.
    judged: Mapping[JobKey, Status]
    silences: Silences | None = None
    zone: tzinfo | None = None
    #: The reasons that are not on record.
    reasons: Mapping[JobKey, str] = {}

    def job(self, key: JobKey) -> Job:
        """Return a job as it was met, or as the last run met it."""
        return self.met[key] if key in self.met else job_of(key, self.catalog[key])

    def entry(self, job: Job) -> CatalogEntry | None:
        """Return what the last run knew of a job, be it under its old name."""
        before = job.key_before
        entry = self.catalog.get(job.key)
        return self.catalog.get(before) if entry is None and before else entry


def found(known: Known, jobs: Dependencies, group: Job, now: datetime) -> Found:
    """Return what follows for a group from its members."""
    assert group.rule is not None
    members = [known.job(key) for key in jobs.members(group.key)]
    enabled = [job for job in members if job.enabled]
    last = last_runs(known.run)
    return groups.found(
        group.rule,
        [_member(known, job, last, now) for job in enabled],
        now,
        disabled=len(members) - len(enabled),
    )


def _member(
    known: Known, job: Job, last: Mapping[JobFrequency, datetime], now: datetime
) -> Member:
    """Return how a member is: by this run, or else by its last result."""
    record = known.record_of(job)
    status = known.judged.get(job.key, Status.PENDING)
    at = None
    if status is Status.PENDING:
        status, at = _before(known, job, record, last)
    if status is Status.OK:
        return Member(job.name, status, at)
    return Member(
        job.name,
        status,
        at,
        record.in_the_way,
        _held_words(known, job, record, status, now),
        first_line(known.reasons.get(job.key, record.last_reason)),
    )


def _held_words(
    known: Known, job: Job, record: Record, status: Status, now: datetime
) -> str:
    """Return what holds the alerts of a member back, which counts all the same."""
    held = None
    if known.silences is not None:
        held = known.silences.holding(job.key, job.name, job.tags, now)
    if held is None and record.acknowledged is not None:
        return "acknowledged" if record.acknowledged.covers(status) else ""
    return HELD_WORDS.get(held.code, "") if held else ""


def _before(
    known: Known, job: Job, record: Record, last: Mapping[JobFrequency, datetime]
) -> tuple[Status, datetime | None]:
    """Return what the last result of a job was, and when; PENDING: it had none."""
    entry, status = known.entry(job), last_status(record)
    if status is Status.OK and (entry is None or entry.is_new):
        return Status.PENDING, None
    ran_at = entry.ran_at if entry is not None else None
    return status, last_run(job, record, ran_at, last, known.zone) or record.since


def of_trial(
    reports: Sequence[JobReport],
    jobs: Iterable[Job],
    remembered: Remembered,
    catalog: Mapping[JobKey, CatalogEntry],
    now: datetime,
    zone: tzinfo | None,
) -> list[JobReport]:
    """Return the reports of jobs that were tried, groups as follows from all others.

    What was not tried counts by its last result.
    """
    there = {job.key: job for job in jobs if job.key.is_check}
    known = Dependencies(there)
    judged = {
        report.job.key: report.result.status
        for report in reports
        if report.job.rule is None
    }
    reasons = {report.job.key: report.result.reason for report in reports}
    facts = Known(
        there,
        catalog,
        KnownRecords(remembered.records, remembered.lost).of,
        remembered.run,
        judged,
        zone=zone,
        reasons=reasons,
    )
    done: dict[JobKey, JobReport] = {}
    left = [report for report in reports if report.job.rule is not None]
    for report in _members_first(left, known):
        found_now = _tried(facts, known, report, now)
        key = report.job.key
        done[key] = found_now
        judged[key], reasons[key] = found_now.result.status, found_now.result.reason
    return [done.get(report.job.key, report) for report in reports]


def _members_first(
    reports: Iterable[JobReport], known: Dependencies
) -> Iterator[JobReport]:
    """Yield groups, those that are members of another one before it."""
    left = {report.job.key: report for report in reports}
    while left:
        ready = [key for key in left if left.keys().isdisjoint(known.members(key))]
        # Those that are in a loop say so.
        for key in ready or list(left):
            yield left.pop(key)


def _tried(
    facts: Known, known: Dependencies, report: JobReport, now: datetime
) -> JobReport:
    if report.result.status is not Status.OK:
        return report
    try:
        known.check(report.job.key)
    except DependencyError as error:
        reason = error.with_hint(lambda name: nearest(name, known.names))
        result = CheckResult(Status.FAILING, f"{error.option}: {reason}")
    else:
        found_now = found(facts, known, report.job, now)
        result = replace(
            report.result, status=found_now.status, reason=found_now.reason
        )
    return replace(report, result=result)

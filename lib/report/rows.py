"""What Checker says about itself: jobs, results and problems as rows.

A row is a dict with stable keys; ``lib/report/table.py`` prints rows as a table, as
text or as JSON.  The columns name what a table shows of a row; JSON holds all of it.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from lib.core.enums import Status
from lib.core.jobs import Job, JobKey
from lib.core.records import Record
from lib.core.results import JobReport
from lib.core.sanitize import harmless
from lib.core.settings import Problem
from lib.core.text import counted, first_line, local, policy_words, since

JOB_COLUMNS = ("job", "every", "notify", "contact", "verdict", "last_run", "file")
RESULT_COLUMNS = ("job", "verdict", "seconds", "reason")
PROBLEM_COLUMNS = ("where", "section", "problem", "text")

#: The word for a job of which nothing is known because it has not been met by a run.
NOT_RUN_YET = "not run yet"
#: The word for one that has nothing to work with, and found nothing wrong.
NOT_SET_UP = "not set up"


def job_rows(
    jobs: Iterable[Job],
    records: Mapping[JobKey, Record],
    judged: Container[JobKey],
    now: datetime,
    *,
    ran_at: Mapping[JobKey, datetime] | None = None,
) -> list[dict[str, Any]]:
    """Return a row per job: what it is, and what is remembered of it.

    ``records`` and ``ran_at`` (when each last ran, where that is known) go by key.  A
    job without a record is fine if its key is among those ``judged``, and otherwise
    has not run yet.
    """
    return [
        _job_row(
            job,
            records.get(job.key, Record(job.key)),
            job.key in judged,
            (ran_at or {}).get(job.key),
            now,
        )
        for job in jobs
    ]


def result_rows(reports: Iterable[JobReport]) -> list[dict[str, Any]]:
    """Return a row per execution: what it found, why, and how long it took."""
    return [
        {
            "job": report.job.name,
            "verdict": report.result.status.value,
            "reason": first_line(report.result.reason),
            "seconds": round(report.result.seconds, 3),
            "detail": report.result.reason,
            "key": str(report.job.key),
            "file": report.job.file,
        }
        for report in reports
    ]


def detail_lines(reports: Iterable[JobReport]) -> Iterator[str]:
    """Yield what a table has no room for: longer reasons, tracebacks, what was said."""
    for report in reports:
        result = report.result
        more = [result.reason] if "\n" in result.reason.strip() else []
        more += [result.output] if result.output else []
        if more:
            yield f"\n{harmless(report.job.name)}:"
            for line in "\n".join(more).splitlines():
                yield f"    {harmless(line)}".rstrip()


def problem_rows(problems: Iterable[Problem]) -> list[dict[str, Any]]:
    """Return a row per problem: where it is, how bad, and what it is."""
    return [
        {
            "where": problem.where,
            "section": problem.section,
            "problem": "warning" if problem.warning else "error",
            "text": problem.text,
            "stops_every_run": problem.fatal,
        }
        for problem in problems
    ]


def verdict_words(record: Record, was_judged: bool, now: datetime) -> str:
    """Return what is remembered of a job, and what is still to be sent about it."""
    words = _verdict(record, was_judged, now)
    return (
        f"{words}; {counted(len(record.queued), 'mail')} owed"
        if record.queued
        else words
    )


def _verdict(record: Record, was_judged: bool, now: datetime) -> str:
    if record.status is Status.OK:
        return _word(record, was_judged)
    words = record.status.value
    if record.failing_since is not None:
        words += f" {since(record.failing_since, now)}"
    if record.failures > 0:
        words += f", {record.failures} in a row"
    if record.pending:
        words += ", now pending"
    reason = first_line(record.last_reason)
    return f"{words}: {reason}" if reason else words


def _word(record: Record, was_judged: bool) -> str:
    """Return the one word for a job: its condition, pending, or not run yet."""
    if record.status is not Status.OK:
        return record.status.value
    if record.pending:
        return Status.PENDING.value
    # A record that holds anything at all was written by a run that met the job.
    has_run = was_judged or record != Record(record.key)
    proof = record.memory.get("proof")
    if isinstance(proof, dict) and proof.get("verdict") == NOT_SET_UP:
        return NOT_SET_UP
    return Status.OK.value if has_run else NOT_RUN_YET


def _job_row(
    job: Job,
    record: Record,
    was_judged: bool,
    ran_at: datetime | None,
    now: datetime,
) -> dict[str, Any]:
    return {
        "job": job.name,
        "every": job.frequency.value,
        "notify": policy_words(job.policy),
        "contact": job.contact,
        "verdict": verdict_words(record, was_judged, now),
        "last_run": local(ran_at) if ran_at else "",
        "file": job.file,
        "key": str(job.key),
        "status": _word(record, was_judged).replace(" ", "_"),
        "failing_since": record.failing_since,
        "failures": record.failures,
        "reason": record.last_reason,
        "mails_owed": len(record.queued),
        "last_run_at": ran_at,
        "notify_policy": job.policy.notify.value,
        "notify_after": job.policy.failures,
        "timeout_s": job.timeout_s,
    }

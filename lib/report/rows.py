"""Jobs, results and problems as rows for ``table.show``.

A row is a dict of data: codes, moments, seconds.  What a table says in words is under
WORDS, by column; JSON is without it.  A table shows the columns that are listed here.
To add one, add its key to the row, its name to the list, and what it is to
docs/json.schema.json.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, tzinfo
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from lib.core import decisions
from lib.core.enums import IN_THE_WAY, Decision, Status
from lib.core.jobs import CatalogEntry, Job, JobKey, Policy
from lib.core.records import Record, RunRecord
from lib.core.results import JobReport, Threshold, Values, value_lines
from lib.core.sanitize import harmless
from lib.core.schedule import last_run
from lib.core.settings import Problem
from lib.core.text import (
    TimeText,
    counted,
    first_line,
    policy_words,
    since,
    some_of,
    table_time,
    utc,
)
from lib.storage.store import last_runs

if TYPE_CHECKING:
    from lib.core.hours import Windows
    from lib.core.silences import Held, Silences
    from lib.storage.historyrows import Row

#: The key of what a row says in words; no name of a value or an option is like it.
WORDS = "(words)"

JOB_COLUMNS = (
    "job",
    "status",
    "last_run",
    "next_check",
    "every",
    "notify",
    "contact",
    "notified",
    "details",
)
RESULT_COLUMNS = ("job", "status", "seconds", "reason")
CHECKED_COLUMNS = (*RESULT_COLUMNS[:-1], "follows", RESULT_COLUMNS[-1])
#: The most recipients that a table names in a row.
MAX_NOTIFIED = 3
PROBLEM_COLUMNS = ("where", "section", "problem", "text")

#: The status of a job that no run has executed.
NOT_RUN_YET = "not_run_yet"
#: The status of a job that lacks the settings to do its work.
NOT_SET_UP = "not_set_up"
#: The status of a job that the settings switch off.
DISABLED = "disabled"


def job_rows(
    jobs: Iterable[Job],
    records: Mapping[JobKey, Record],
    judged: Container[JobKey],
    now: datetime,
    zone: tzinfo | None,
    *,
    ran_at: Mapping[JobKey, datetime | None] = MappingProxyType({}),
    next_at: Mapping[JobKey, datetime | None] = MappingProxyType({}),
    measured: Mapping[JobKey, Values] | None = None,
    notes: Mapping[JobKey, str] = MappingProxyType({}),
    silences: Silences | None = None,
    windows: Windows | None = None,
) -> list[dict[str, Any]]:
    """Return a row per job: its policy and its status.

    ``ran_at`` has the time of the last run and ``next_at`` that of the next one, if
    known, ``measured`` its values, ``notes`` what it says though it is OK, ``silences``
    what holds alerts back, ``windows`` when messages may leave.  A job without a record
    is OK if its key is in ``judged``; otherwise it has not run yet.
    """
    time_text = partial(table_time, zone=zone, now=now)
    return [
        {
            **_job_row(
                job,
                records.get(job.key, Record(job.key)),
                job.key in judged,
                ran_at.get(job.key),
                next_at.get(job.key),
                now,
                time_text,
                silences,
                windows,
                notes.get(job.key, ""),
            ),
            "values": value_rows((measured or {}).get(job.key, {})),
        }
        for job in jobs
    ]


#: The order of a list; what is not here comes last, as OK does.
_FIRST = (
    Status.FAILING,
    Status.UNKNOWN,
    Status.WARNING,
    Status.PENDING,
    *IN_THE_WAY,
)
#: What counts as failing: also what could not be judged.
_DOWN = (Status.FAILING, Status.UNKNOWN, *IN_THE_WAY)


def listed(
    rows: Iterable[dict[str, Any]], *, failing: bool = False, tags: Collection[str] = ()
) -> list[dict[str, Any]]:
    """Return rows of jobs as they are listed: failing first, then unknown, warnings.

    With ``failing`` only those that are failing, unknown or could not be judged, with
    ``tags`` only those that have all of them.
    """
    order = {status.value: number for number, status in enumerate(_FIRST)}
    wanted = [
        row
        for row in rows
        if set(tags) <= set(row["tags"]) and (not failing or row["status"] in _DOWN)
    ]
    return sorted(wanted, key=lambda row: order.get(row["status"], len(order)))


def result_rows(reports: Iterable[JobReport]) -> list[dict[str, Any]]:
    """Return a row per execution: status, reason and duration."""
    return [
        {
            "job": report.job.name,
            "status": report.result.status.value,
            "reason": first_line(report.result.reason),
            "seconds": round(report.result.seconds, 3),
            "full_reason": report.result.reason,
            "values": value_rows(report.result.values),
            "target": report.result.target,
            "answered_by": report.result.answered_by,
            "key": str(report.job.key),
            "file": report.job.file,
        }
        for report in reports
    ]


def checked_rows(
    reports: Sequence[JobReport], records: Mapping[JobKey, Record]
) -> list[dict[str, Any]]:
    """Return a row per execution: its result, its decision, what became of its mail.

    ``records`` are those from after the run.
    """
    rows = []
    for report, row in zip(reports, result_rows(reports), strict=True):
        record = records.get(report.job.key, Record(report.job.key))
        row[WORDS] = {"follows": _follows(report.decision, record)}
        row["decision"] = report.decision.value
        row["notified"] = record.reached
        row["delivery"] = record.delivery_result
        row["queued_messages"] = len(record.queued)
        rows.append(row)
    return rows


def _follows(decision: Decision, record: Record) -> str:
    """Return a decision in words, and whether the mail about it has left."""
    words = decisions.WORDS[decision]
    if not decision.notifies:
        return words
    if record.queued:
        return f"{words}, still queued: see -m why"
    people = decisions.People(record.reached)
    people, others = decisions.sent_and_not(people, record.delivery)
    if not others.addresses:
        return f"{words}, sent"
    became = decisions.DELIVERED[record.delivery]
    if not people.addresses:
        return f"{words}, {became}"
    return f"{words}, sent to {people}; the mail was {became}"


def detail_lines(reports: Iterable[JobReport]) -> Iterator[str]:
    """Yield what does not fit in a table: longer reasons, tracebacks and output."""
    for report in reports:
        result = report.result
        more = [result.reason] if "\n" in result.reason.strip() else []
        if result.answered_by:
            more.append(f"answered by {result.answered_by}")
        more += value_lines(result.values)
        more += [result.output] if result.output else []
        if more:
            yield f"\n{harmless(report.job.name)}:"
            for line in "\n".join(more).splitlines():
                yield f"    {harmless(line)}".rstrip()


def value_rows(values: Values) -> dict[str, dict[str, Any]]:
    """Return measured values by name, as JSON has them: number, unit, thresholds."""
    return {
        name: {
            "number": value.number,
            "unit": value.unit.value,
            "warn": _ends(value.warn),
            "fail": _ends(value.fail),
        }
        for name, value in values.items()
    }


def held_row(held: Held | None) -> dict[str, Any] | None:
    """Return what holds alerts back, as JSON has it; None if nothing does."""
    if held is None:
        return None
    return {
        "code": held.code.value,
        "by": held.by,
        "until": held.until,
        "why": held.why,
    }


def _ends(threshold: Threshold | None) -> dict[str, float | None] | None:
    if threshold is None:
        return None
    return {"low": threshold.low, "high": threshold.high}


def problem_rows(problems: Iterable[Problem]) -> list[dict[str, Any]]:
    """Return a row per problem of the settings or job files."""
    return [
        {
            **place_row(problem.where),
            "section": problem.section,
            "severity": "warning" if problem.warning else "error",
            "text": problem.text,
            "stops_every_run": problem.fatal,
            WORDS: {
                "where": problem.where,
                "problem": "warning" if problem.warning else "error",
            },
        }
        for problem in problems
    ]


def each_once(problems: Iterable[Problem]) -> Iterator[Problem]:
    """Yield the problems; one that a line causes in several sections comes once.

    Such a line is that of a template, or of a section with several hosts.
    """
    sections: dict[Problem, list[str]] = {}
    for problem in problems:
        anywhere = replace(problem, section="")
        sections.setdefault(anywhere, []).append(problem.section)
    for problem, titles in sections.items():
        more = f", {len(titles) - 1} more" if len(titles) > 1 else ""
        yield replace(problem, section=f"{titles[0]}{more}")


def place_row(where: str) -> dict[str, Any]:
    """Return a place such as ``settings.cfg:12`` as JSON has it."""
    file, _colon, line = where.rpartition(":")
    if file and line.isdecimal():
        return {"file": file, "line": int(line)}
    return {"file": where, "line": None}


def policy_row(policy: Policy) -> dict[str, Any]:
    """Return a policy as JSON has it: when the first alert comes, and what follows."""
    rule, flapping = policy.failures, policy.flapping
    return {
        "notify": policy.notify.value,
        "failures": {
            "count": rule.count,
            "of": rule.of or None,
            "seconds": rule.seconds or None,
        },
        "recoveries": policy.recoveries,
        "notify_warnings": policy.notifies_warnings,
        "flapping": (
            {"changes": flapping.changes, "checks": flapping.checks}
            if flapping.changes
            else None
        ),
        "pending_limit_s": policy.pending_limit_s or None,
        "when": policy.when or None,
    }


def status_words(record: Record, status: str) -> str:
    """Return a status as a table has it: unreachable or blind if it was not judged."""
    return record.in_the_way.value if record.in_the_way else status


def notified_words(record: Record) -> str:
    """Return who was notified, the first of many, and whose mail was not sent."""
    return some_of(decisions.marked(record.reached, record.delivery), MAX_NOTIFIED)


def details_of(
    record: Record, now: datetime, time_text: TimeText, windows: Windows | None = None
) -> str:
    """Return since when and why a job is not OK, and how many messages are queued."""
    parts = []
    if record.status is not Status.OK:
        if record.since is not None:
            parts.append(since(record.since, now, time_text))
        if record.failures > 0:
            parts.append(counted(record.failures, "consecutive failure"))
        if record.recovering > 0:
            parts.append(f"OK the last {counted(record.recovering, 'time')}")
        if record.pending:
            parts.append("now pending")
    elif record.pending_since is not None:
        parts.append(since(record.pending_since, now, time_text))
    if record.flapping_since is not None:
        parts.append(f"flapping since {time_text(record.flapping_since)}")
    text = ", ".join(parts)
    reason = first_line(record.last_reason)
    if reason and record.status is not Status.OK:
        text = f"{text}: {reason}" if text else reason
    if record.queued:
        queued = _queued_words(record, now, time_text, windows)
        text = f"{text}; {queued}" if text else queued
    return text


def _queued_words(
    record: Record, now: datetime, time_text: TimeText, windows: Windows | None
) -> str:
    """Return how many messages are queued, and until when the first one waits."""
    count = counted(len(record.queued), "message")
    moments = [windows.opens_at(one, now) for one in record.queued if windows]
    waits = [moment for moment in moments if moment is not None]
    if not waits:
        return f"{count} queued"
    until = time_text(min(waits))
    if len(waits) < len(record.queued):
        return f"{count} queued, {len(waits)} for a window until {until}"
    ends = "waits for its window" if len(waits) == 1 else "wait for their window"
    return f"{count} {ends} until {until}"


def status_of(record: Record, was_judged: bool) -> str:
    """Return the code for a job: its status, pending, not set up or not run yet.

    Unreachable or blind if it could not be judged.
    """
    if record.in_the_way:
        return record.in_the_way.value
    if record.status is not Status.OK:
        return record.status.value
    if record.pending:
        return Status.PENDING.value
    if record.is_not_set_up:
        return NOT_SET_UP
    # Only a run that executed the job writes a record that is not empty.
    has_run = was_judged or record != Record(record.key)
    return Status.OK.value if has_run else NOT_RUN_YET


def checked_at(
    key: JobKey,
    record: Record,
    known: CatalogEntry | None,
    latest: Row | None,
    run: RunRecord,
    zone: tzinfo | None,
) -> datetime | None:
    """Return when a job was last checked; None if it was not, or it is not known.

    History's last row of a job is forgotten after weeks; its schedule is not.
    """
    if latest is not None:
        return utc(latest.at)
    if known is None or known.is_new:
        return None
    job = Job(key, known.name, known.file, known.schedule, recheck=known.recheck)
    return last_run(job, record, known.ran_at, last_runs(run), zone)


def trouble_row(record: Record) -> dict[str, Any]:
    """Return since when and how often a job was not OK, and why, for JSON."""
    return {
        "failing_since": record.failing_since,
        "failures": record.failures,
        "recovering": record.recovering,
        "warning_since": record.warning_since,
        "warnings": record.warnings,
        "pending_since": record.pending_since,
        "flapping_since": record.flapping_since,
        "reason": record.last_reason,
    }


def _job_row(
    job: Job,
    record: Record,
    was_judged: bool,
    ran_at: datetime | None,
    next_at: datetime | None,
    now: datetime,
    time_text: TimeText,
    silences: Silences | None,
    windows: Windows | None,
    noted: str,
) -> dict[str, Any]:
    held = (
        silences.holding_record(record, job.name, job.tags, now) if silences else None
    )
    details = details_of(record, now, time_text, windows)
    words = held.words(time_text) if held else ""
    status = status_of(record, was_judged) if job.enabled else DISABLED
    note = noted if status == Status.OK else ""
    return {
        "job": job.name,
        "key": str(job.key),
        "status": status,
        "last_run_at": ran_at,
        "next_check_at": next_at,
        "every": job.schedule,
        "policy": policy_row(job.policy),
        "recheck": job.recheck,
        "contact": job.contact,
        "notified": record.reached,
        "notified_at": record.reached_at,
        "delivery": record.delivery_result,
        "file": job.file,
        **trouble_row(record),
        "note": note,
        "queued_messages": len(record.queued),
        "held": held_row(held),
        "timeout_s": job.timeout_s,
        "enabled": job.enabled,
        "tags": job.tags,
        "depends": [str(dependency) for dependency in job.depends],
        "runbook": job.runbook,
        "description": job.description,
        WORDS: {
            "last_run": time_text(ran_at) if ran_at else "",
            "next_check": time_text(next_at) if next_at else "",
            "notify": policy_words(job.policy),
            "status": status,
            "notified": notified_words(record),
            "details": "; ".join(filter(None, (words, details, note))),
        },
    }

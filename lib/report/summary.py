"""The numbered daily or weekly mail of ``[summary]``: what is failing and what was.

The first line says whether all jobs are OK; each section is there even if it is empty.
To add a section, write a function of the SummaryInput and list it in ``_sections``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from lib.core import deferral, health
from lib.core.calendar import DueSummary
from lib.core.decisions import Entry, JobDetails
from lib.core.enums import Decision, Health, MessageKind, Status
from lib.core.health import prover
from lib.core.hours import windows_of
from lib.core.jobs import CERTIFICATE_CHECKER, CatalogEntry, JobKey
from lib.core.messages import Message
from lib.core.ratelimit import SendLog
from lib.core.records import Record, RunRecord, counted_jobs
from lib.core.results import Timing
from lib.core.settings import Settings
from lib.core.text import (
    age,
    counted,
    cut,
    duration,
    first_line,
    mail_time,
    moment_in,
    since,
    some_of,
)
from lib.report import status

if TYPE_CHECKING:
    from lib.core.silences import Silences

#: Certificates that expire within this time are listed.
DUE_WITHIN = timedelta(days=30)

_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_ENDS = (Decision.RECOVERY, Decision.QUIET_RECOVERY)


class SummaryInput(msgspec.Struct, frozen=True):
    """What a summary is made of, as read from state/."""

    records: Mapping[JobKey, Record]
    #: The jobs that exist.
    catalog: Mapping[JobKey, CatalogEntry]
    run: RunRecord
    #: The start of the period.
    since: datetime
    now: datetime
    #: The decisions of the period.
    entries: tuple[Entry, ...] = ()
    #: Older decisions are no longer in the audit log; None: all are.
    on_file_since: datetime | None = None
    slowest: tuple[Timing, ...] = ()
    #: How many runs of the period were skipped because another was at work.
    skipped: int = 0
    zone: tzinfo | None = None
    #: What holds alerts back; None: nothing does.
    silences: Silences | None = None

    def time_text(self, moment: datetime) -> str:
        """Return a moment as a mail has it."""
        return mail_time(moment, self.zone)


class Recovery(msgspec.Struct, frozen=True):
    """A job that is OK again."""

    name: str
    #: When it last recovered, and since when it was failing.
    at: datetime
    since: datetime | None
    times: int = 1


def failing_records(facts: SummaryInput) -> list[Record]:
    """Return the existing jobs that are failing or unknown, the latest first."""
    return _latest_first(
        record
        for record in facts.records.values()
        if record.status.is_failure and record.unseen_since is None
    )


def warning_records(facts: SummaryInput) -> list[Record]:
    """Return the existing jobs that are a warning, the latest first."""
    return _latest_first(
        record
        for record in facts.records.values()
        if record.status is Status.WARNING and record.unseen_since is None
    )


def silent_jobs(facts: SummaryInput) -> dict[str, list[str]]:
    """Return the jobs that are muted, acknowledged, in maintenance, disabled, or blind.

    Their names, by the reason.
    """
    jobs = {key: entry.name for key, entry in facts.catalog.items()}
    broken = (*failing_records(facts), *warning_records(facts))
    jobs.update({one.key: one.name for one in broken if one.key not in jobs})
    names: dict[str, list[str]] = {}
    for key, name in sorted(jobs.items(), key=lambda job: job[1]):
        if words := _silence(key, name, facts):
            names.setdefault(words, []).append(name)
    return names


def _silence(key: JobKey, name: str, facts: SummaryInput) -> str:
    """Return why no alert about a job leaves; empty if one may."""
    record, entry = facts.records.get(key, Record(key)), facts.catalog.get(key)
    if entry is not None and not entry.enabled:
        return "disabled"
    if facts.silences is None and record.acknowledged is None:
        return ""
    from lib.core.silences import Silences

    silences = facts.silences or Silences()
    tags = entry.tags if entry is not None else ()
    held = silences.holding_record(record, name, tags, facts.now)
    return held.words(facts.time_text) if held is not None else ""


def _latest_first(records: Iterable[Record]) -> list[Record]:
    by_name = sorted(records, key=lambda record: record.name)
    return sorted(by_name, key=lambda record: record.since or _LONG_AGO, reverse=True)


def failing_line(record: Record, facts: SummaryInput) -> str:
    """Return the name, since when it is failing, unknown or a warning, and why."""
    words = [record.name or str(record.key)]
    words += ["unknown"] if record.status is Status.UNKNOWN else []
    start = record.since
    words += [since(start, facts.now, facts.time_text)] if start else []
    reason = first_line(record.last_reason)
    return ", ".join(words) + (f": {reason}" if reason else "")


def recoveries(facts: SummaryInput) -> list[Recovery]:
    """Return the jobs that recovered in the period and are OK now, the latest first."""
    bad = {record.key for record in (*failing_records(facts), *warning_records(facts))}
    recovered: dict[JobKey, Recovery] = {}
    for entry in facts.entries:
        details = entry.details
        if (
            isinstance(details, JobDetails)
            and entry.code in _ENDS
            and entry.key not in bad
        ):
            times = recovered[entry.key].times + 1 if entry.key in recovered else 1
            start = details.failing_since
            # The audit log has whole seconds.
            start = start.replace(microsecond=0) if start else None
            recovered[entry.key] = Recovery(entry.name, entry.at, start, times)
    return sorted(recovered.values(), key=lambda recovery: recovery.at, reverse=True)


def recovery_lines(facts: SummaryInput) -> Iterator[str]:
    """Yield when each job recovered, and after how long."""
    start = facts.on_file_since
    if start is not None and start > facts.since:
        yield f"(the audit log begins at {facts.time_text(start)})"
    for recovery in recoveries(facts):
        times = f"{recovery.times} times, last " if recovery.times > 1 else ""
        length = (
            f", after {duration(age(recovery.since, recovery.at))}"
            if recovery.since
            else ""
        )
        yield f"{recovery.name}, {times}{facts.time_text(recovery.at)}{length}"


def certificate_lines(facts: SummaryInput) -> list[str]:
    """Return the certificates that expire soon, the next one first."""
    expiring = []
    for key, record in facts.records.items():
        ends_at = moment_in(record.memory.get("expires"))
        is_there = key.file == CERTIFICATE_CHECKER and record.unseen_since is None
        if is_there and ends_at is not None and ends_at - facts.now <= DUE_WITHIN:
            expiring.append((ends_at, record.name))
    return [
        f"{name}: {_left(ends_at, facts.now)}" for ends_at, name in sorted(expiring)
    ]


def _left(ends_at: datetime, now: datetime) -> str:
    left, day = ends_at - now, f"{ends_at:%Y-%m-%d}"
    if left <= timedelta(0):
        return f"expired on {day}"
    days = counted(left.days, "day") if left.days else "less than a day"
    return f"expires in {days}, on {day}"


def slow_lines(facts: SummaryInput) -> list[str]:
    """Return the slowest checks, each with its longest duration."""
    return [
        f"{timing.seconds:.3g} s  {timing.name}, {facts.time_text(timing.at)}"
        for timing in facts.slowest
    ]


def proofs(facts: SummaryInput, settings: Settings) -> tuple[str, list[str]]:
    """Return how many round-trip mails arrived, and a line for each that did not."""
    record = prover(facts.records.values())
    memory = record.memory if record else {}
    history = memory.get("history")
    if record and record.is_not_set_up:
        return f"not set up: {memory['proof'].get('why', '')}", []
    if settings.mail.mailbox is None:
        return "not set up: [email] imapserver is not set", []
    made = [
        line
        for line in (history if isinstance(history, list) else [])
        if _is_proof(line) and (moment_in(line[0]) or facts.since) > facts.since
    ]
    if not made:
        return "none sent", []
    failed = [line for line in made if line[3] != "arrived"]
    words = f"{len(made) - len(failed)} of {len(made)} arrived in time"
    seconds = [line[2] for line in made if isinstance(line[2], int | float)]
    if seconds:
        words += f", the slowest after {max(seconds):g} s"
    return words, [
        status.proof_line(line, facts.time_text) for line in reversed(failed)
    ]


def _is_proof(line: object) -> bool:
    return isinstance(line, list) and len(line) >= 4


def peer_lines(facts: SummaryInput, settings: Settings) -> list[str]:
    """Return the status of each peer."""
    peers = status.peer_words(
        settings, facts.records, facts.catalog, facts.now, facts.time_text
    )
    return [f"{name}: {words}" for name, words in peers]


def skipped_words(facts: SummaryInput) -> str:
    """Return how many runs were skipped, and why."""
    if not facts.skipped:
        return "none"
    at = facts.run.skipped_at
    last = f", last {facts.time_text(at)}" if at else ""
    return f"{facts.skipped}{last}: the run before was not finished"


#: The most lines of a section, and letters of a line.
MAX_LINES, MAX_CHARACTERS = 20, 200
#: A run may take a minute; a summary that is written this long after is late.
LATE_AFTER = timedelta(minutes=10)


def message(
    message_id: str, issue: DueSummary, facts: SummaryInput, settings: Settings
) -> Message:
    """Return the summary that is due."""
    bad = failing_records(facts)
    health_now = _health(facts, settings)
    trouble = _TROUBLE.get(health_now.word, "")
    headline = _headline(bad, facts, trouble)
    body = [
        _opening(bad, facts),
        *([f"{trouble.capitalize()}: {health_now.why}."] if trouble else []),
        *_late(issue, facts),
        "",
        *_sections(bad, facts, settings),
        "",
        f"Since:      {facts.time_text(facts.since)}",
        f"Until:      {facts.time_text(facts.now)}",
        f"Next mail:  {facts.time_text(issue.next_at)}, {_name(issue, 1)}",
        f"Check now:  {settings.command('status')}",
    ]
    return Message(
        message_id=message_id,
        kind=MessageKind.SUMMARY,
        subject=f"{_name(issue)}: {headline}",
        body="\n".join(body) + "\n",
        to=settings.alertcontact,
        born_at=facts.now,
    )


def _name(issue: DueSummary, more: int = 0) -> str:
    return f"{issue.kind} summary {issue.number + more}"


# The first line and the subject.


def _opening(bad: Sequence[Record], facts: SummaryInput) -> str:
    jobs = counted(len(counted_jobs(facts.catalog, facts.records)), "job")
    failing, unknown = _failing_and_unknown(bad)
    warnings = len(warning_records(facts))
    if not bad and not warnings:
        return f"All OK: {jobs}, none failing."
    words = f"{failing} of {jobs} failing"
    words += f", {unknown} unknown" if unknown else ""
    words += f", {counted(warnings, 'warning')}" if warnings else ""
    return f"{words}."


#: What peers hear, in words.
_TROUBLE = {Health.MAIL_PROBLEM: "mail problem", Health.JOB_PROBLEM: "job problem"}


def _headline(bad: Sequence[Record], facts: SummaryInput, trouble: str) -> str:
    failing, unknown = _failing_and_unknown(bad)
    recovered, warnings = len(recoveries(facts)), len(warning_records(facts))
    words = [
        f"{failing} failing" if failing else "",
        f"{unknown} unknown" if unknown else "",
        counted(warnings, "warning") if warnings else "",
        trouble,
        "" if bad or warnings or trouble else "all OK",
        f"{recovered} recovered" if recovered else "",
    ]
    return ", ".join(filter(None, words))


def _failing_and_unknown(bad: Sequence[Record]) -> tuple[int, int]:
    unknown = sum(record.status is Status.UNKNOWN for record in bad)
    return len(bad) - unknown, unknown


def _health(facts: SummaryInput, settings: Settings) -> health.State:
    # This run is under way, so the age of the last one does not matter.  A summary that
    # a run with --nomail writes is sent by a later one.
    run, mail = replace(facts.run, ended_at=facts.now), settings.mail
    mail = replace(mail, nomail=mail.nomail and not mail.holds)
    records = facts.records.values()
    left = deferral.deferred(records, (), SendLog(), facts.now, windows_of(settings))
    run = health.with_inputs(run, records, left.messages, left.count, left.stuck)
    return health.assess(
        health.inputs_of(run), replace(settings, mail=mail), facts.now, facts.time_text
    )


def _late(issue: DueSummary, facts: SummaryInput) -> Iterator[str]:
    if facts.now - issue.due_at >= LATE_AFTER:
        yield f"This summary is late: it was due {facts.time_text(issue.due_at)}."


# The sections.


def _sections(
    bad: Sequence[Record], facts: SummaryInput, settings: Settings
) -> Iterator[str]:
    failing = [failing_line(record, facts) for record in bad]
    warnings = [failing_line(record, facts) for record in warning_records(facts)]
    certificates = certificate_lines(facts)
    peers = peer_lines(facts, settings)
    silent = silent_jobs(facts)
    silent_lines = [f"{some_of(some, 5)}: {words}" for words, some in silent.items()]
    slow = slow_lines(facts)
    recovered = _count(recoveries(facts))
    yield from _section("Failing", _count(bad), failing)
    yield from _section("Warnings", _count(warnings), warnings)
    silent_count = _count([name for names in silent.values() for name in names])
    yield from _section("Muted, disabled or out of reach", silent_count, silent_lines)
    yield from _section("Recovered", recovered, recovery_lines(facts))
    yield from _section(
        "Certificates that expire within 30 days", _count(certificates), certificates
    )
    yield from _section("Slowest checks", _count(slow), slow)
    yield from _section("Round-trip mail", *proofs(facts, settings))
    yield from _section("Peers", _count(peers), peers)
    yield from _section("Skipped runs", skipped_words(facts), [])


def _count(lines: Sequence[object]) -> str:
    return str(len(lines) or "none")


def _section(title: str, words: str, lines: Iterable[str]) -> Iterator[str]:
    """Yield a heading and the lines below it, MAX_LINES at most."""
    lines = list(lines)
    yield f"{title}: {words}"
    for line in lines[:MAX_LINES]:
        yield f"    {cut(line, MAX_CHARACTERS)}"
    if len(lines) > MAX_LINES:
        yield f"    and {len(lines) - MAX_LINES} more"

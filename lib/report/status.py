"""-m status: the health of Checker itself, read from state/.

To add a line, add a pair of item and value to ``rows``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from functools import partial
from types import MappingProxyType
from typing import Any

from lib.core import calendar, deferral, health
from lib.core.calendar import SummarySeries
from lib.core.enums import Status
from lib.core.health import prover
from lib.core.jobs import CatalogEntry, JobKey
from lib.core.records import Record, RunRecord
from lib.core.settings import Settings
from lib.core.text import (
    TimeText,
    age,
    counted,
    duration,
    first_line,
    moment_in,
    since,
    table_time,
    zone_words,
)

COLUMNS = ("item", "value")
#: How many round-trip mails are shown, the last first.
MAX_PROOFS = 10
#: How many deferred messages are shown, the oldest.
MAX_DEFERRED = 20


def rows(
    settings: Settings,
    run: RunRecord,
    records: Mapping[JobKey, Record],
    now: datetime,
    catalog: Mapping[JobKey, CatalogEntry] = MappingProxyType({}),
    summaries: Iterable[SummarySeries] = (),
) -> list[dict[str, Any]]:
    """Return a row per item; the first is the answer that peers get.

    ``catalog`` tells which peers were asked before, ``summaries`` which were sent.
    """
    time_text = partial(table_time, zone=settings.zone, now=now)
    answer = health.assess(health.inputs_of(run), settings, now, time_text)
    because = f": {answer.why}" if answer.why else ""
    peers = peer_words(settings, records, catalog, now, time_text)
    lines = [
        ("answer to peers", f"{answer.word}{because}"),
        ("last run", _last_run(run, now, time_text)),
        ("settings", _settings(settings, run, time_text)),
        *_skips(run, time_text),
        ("queued messages", _queued(records, time_text)),
        *_deferred(run, now, time_text),
        *_proof(settings, records, time_text),
        *((f"peer {name}", words) for name, words in peers),
        *_summaries(settings, summaries, now, time_text),
        ("time zone", zone_words(settings.zone, now)),
    ]
    return [dict(zip(COLUMNS, line, strict=True)) for line in lines]


def _last_run(run: RunRecord, now: datetime, time_text: TimeText) -> str:
    if run.ended_at is None:
        return "no run has finished yet"
    statuses = (
        f"{run.failing} failing, {run.unknown} unknown, "
        f"{counted(run.warning, 'warning')}, {run.pending} pending"
    )
    return (
        f"finished {time_text(run.ended_at)}, {duration(age(run.ended_at, now))} ago: "
        f"{counted(run.jobs, 'job')}, {run.ran} ran, {statuses}"
    )


def _settings(settings: Settings, run: RunRecord, time_text: TimeText) -> str:
    """Return which settings are in use."""
    in_use, since = settings.last_usable, run.settings_failing_since
    if in_use is None and since is not None:
        # A password is looked for by runs only.
        return (
            f"{settings.path}; runs cannot use them since {time_text(since)}: "
            "checker.py -m validate says why"
        )
    if in_use is None:
        return str(settings.path)
    when = f" since {time_text(since)}" if since else ""
    return (
        f"{settings.path} cannot be used{when}: {in_use.problems[0]}; in use are those "
        f"of {time_text(in_use.at)}: {in_use.path}"
    )


def _skips(run: RunRecord, time_text: TimeText) -> Iterator[tuple[str, str]]:
    if run.skipped and run.skipped_at:
        last = f"last {time_text(run.skipped_at)}"
        yield "skipped runs", f"{run.skipped}, {last}: the run before was not finished"


def _queued(records: Mapping[JobKey, Record], time_text: TimeText) -> str:
    messages = [message for record in records.values() for message in record.queued]
    if not messages:
        return "none"
    oldest = min(message.born_at for message in messages)
    words = f"{len(messages)}, the oldest from {time_text(oldest)}"
    errors = [message.last_error for message in messages if message.last_error]
    return f"{words}: {errors[0]}" if errors else words


def _deferred(
    run: RunRecord, now: datetime, time_text: TimeText
) -> Iterator[tuple[str, str]]:
    """Yield a line for each message that the last run left in the queue."""
    for message in run.deferred[:MAX_DEFERRED]:
        stuck = "stuck: " if health.is_stuck(message, now) else ""
        yield "", f"{stuck}{deferral.line(message, time_text)}"
    more = run.deferred_count - MAX_DEFERRED
    if more > 0:
        yield "", f"and {more:,} more"


def _proof(
    settings: Settings, records: Mapping[JobKey, Record], time_text: TimeText
) -> Iterator[tuple[str, str]]:
    record = prover(records.values())
    proof = record.memory.get("proof") if record else None
    if settings.mail.mailbox is None:
        yield "round-trip mail", "not set up: [email] imapserver is not set"
        return
    if record is None or not isinstance(proof, dict):
        yield "round-trip mail", "none sent yet"
        return
    status, more = proof.get("result", ""), proof.get("why") or proof.get("trouble")
    yield "round-trip mail", f"{status}: {more}" if more else f"{status}"
    history = record.memory.get("history")
    for line in reversed(history[-MAX_PROOFS:] if isinstance(history, list) else []):
        if isinstance(line, list) and len(line) >= 4:
            yield "", proof_line(line, time_text)


def proof_line(line: list[Any], time_text: TimeText) -> str:
    """Return a round-trip mail: sent, status, arrived, seconds, slowest hop."""
    sent, arrived, seconds, status, *hop = line
    words = f"sent {_shown(sent, time_text)}"
    if status != "arrived":
        words += f", {status}"
    if arrived:
        words += f", arrived {_shown(arrived, time_text)}"
    if isinstance(seconds, int | float):
        words += f" after {seconds:g} s"
    return words + (f"; slowest hop: {hop[0]}" if hop and hop[0] else "")


def peer_words(
    settings: Settings,
    records: Mapping[JobKey, Record],
    catalog: Mapping[JobKey, CatalogEntry],
    now: datetime,
    time_text: TimeText,
) -> Iterator[tuple[str, str]]:
    """Yield each peer's name and its status."""
    for peer in settings.peers.peers:
        key = JobKey.of_peer(peer.name)
        record, known = records.get(key, Record(key)), catalog.get(key)
        if record.status is not Status.OK:
            reason = first_line(record.last_reason)
            words = str(record.status)
            if record.since:
                words += f" {since(record.since, now, time_text)}"
            yield peer.name, f"{words}{f': {reason}' if reason else ''}"
        elif record.pending:
            yield peer.name, "no answer, asked again in the next run"
        else:
            was_asked = known is not None and known.judged
            yield peer.name, "OK" if was_asked else "not asked yet"


def _summaries(
    settings: Settings,
    summaries: Iterable[SummarySeries],
    now: datetime,
    time_text: TimeText,
) -> Iterator[tuple[str, str]]:
    known = {series.kind: series for series in summaries}
    for kind in calendar.KINDS:
        next_at = calendar.next_time(settings.summary, kind, now, settings.zone)
        series = known.get(kind, SummarySeries(kind))
        if next_at is None:
            continue
        issue = calendar.due(series, settings.summary, now, settings.zone)
        when = time_text(next_at)
        coming = f"number {series.number + 1} is due {when}"
        if issue is not None:
            when = time_text(issue.due_at)
            coming = f"number {issue.number} was due {when} and is not written yet"
        if series.number and series.written_at:
            last = f"number {series.number} was written {time_text(series.written_at)}"
            coming = f"{last}, {coming}"
        yield f"{kind} summary", coming


def _shown(text: object, time_text: TimeText) -> str:
    moment = moment_in(text)
    return time_text(moment) if moment else str(text)[:40]

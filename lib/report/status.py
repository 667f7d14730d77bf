"""-m status: the health of Checker itself, read from state/.

To add a line, add a pair of item and value to ``rows``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

from lib.core import calendar, health
from lib.core.calendar import SummarySeries
from lib.core.enums import Status
from lib.core.health import prover
from lib.core.jobs import CatalogEntry, JobKey
from lib.core.records import Record, RunRecord
from lib.core.settings import Settings
from lib.core.text import counted, duration, first_line, local, since

COLUMNS = ("item", "value")
#: How many round-trip mails are shown, the last first.
MAX_PROOFS = 10


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
    answer = health.assess(health.inputs_of(run), settings, now)
    because = f": {answer.why}" if answer.why else ""
    peers = peer_words(settings, records, catalog, now)
    lines = [
        ("answer to peers", f"{answer.word}{because}"),
        ("last run", _last_run(run, now)),
        *_skips(run),
        ("queued messages", _queued(records)),
        *_proof(settings, records, now),
        *((f"peer {name}", words) for name, words in peers),
        *_summaries(settings, summaries, now),
    ]
    return [dict(zip(COLUMNS, line, strict=True)) for line in lines]


def _last_run(run: RunRecord, now: datetime) -> str:
    if run.ended_at is None:
        return "no run has finished yet"
    statuses = f"{run.failing} failing, {run.unknown} unknown, {run.pending} pending"
    return (
        f"finished {local(run.ended_at)}, {duration(now - run.ended_at)} ago: "
        f"{counted(run.jobs, 'job')}, {run.ran} ran, {statuses}"
    )


def _skips(run: RunRecord) -> Iterator[tuple[str, str]]:
    if run.skipped and run.skipped_at:
        last = f"last {local(run.skipped_at)}"
        yield "skipped runs", f"{run.skipped}, {last}: the run before was not finished"


def _queued(records: Mapping[JobKey, Record]) -> str:
    messages = [message for record in records.values() for message in record.queued]
    if not messages:
        return "none"
    oldest = min(message.born_at for message in messages)
    words = f"{len(messages)}, the oldest from {local(oldest)}"
    errors = [message.last_error for message in messages if message.last_error]
    return f"{words}: {errors[0]}" if errors else words


def _proof(
    settings: Settings, records: Mapping[JobKey, Record], now: datetime
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
            yield "", proof_line(line)


def proof_line(line: list[Any]) -> str:
    """Return a round-trip mail: sent, status, arrived, seconds, slowest hop."""
    sent, arrived, seconds, status, *hop = line
    words = f"sent {_shown(sent)}"
    if status != "arrived":
        words += f", {status}"
    if arrived:
        words += f", arrived {_shown(arrived)}"
    if isinstance(seconds, int | float):
        words += f" after {seconds:g} s"
    return words + (f"; slowest hop: {hop[0]}" if hop and hop[0] else "")


def peer_words(
    settings: Settings,
    records: Mapping[JobKey, Record],
    catalog: Mapping[JobKey, CatalogEntry],
    now: datetime,
) -> Iterator[tuple[str, str]]:
    """Yield each peer's name and its status."""
    for peer in settings.peers.peers:
        key = JobKey.of_peer(peer.name)
        record, known = records.get(key, Record(key)), catalog.get(key)
        if record.status is not Status.OK:
            reason = first_line(record.last_reason)
            words = str(record.status)
            if record.failing_since:
                words += f" {since(record.failing_since, now)}"
            yield peer.name, f"{words}{f': {reason}' if reason else ''}"
        elif record.pending:
            yield peer.name, "no answer, asked again in the next run"
        else:
            was_asked = known is not None and known.judged
            yield peer.name, "OK" if was_asked else "not asked yet"


def _summaries(
    settings: Settings, summaries: Iterable[SummarySeries], now: datetime
) -> Iterator[tuple[str, str]]:
    known = {series.kind: series for series in summaries}
    for kind in calendar.KINDS:
        next_at = calendar.next_time(settings.summary, kind, now)
        series = known.get(kind, SummarySeries(kind))
        if next_at is None:
            continue
        issue = calendar.due(series, settings.summary, now)
        when = local(next_at)
        coming = f"number {series.number + 1} is due {when}"
        if issue is not None:
            when = local(issue.due_at)
            coming = f"number {issue.number} was due {when} and is not written yet"
        if series.number and series.written_at:
            last = f"number {series.number} was written {local(series.written_at)}"
            coming = f"{last}, {coming}"
        yield f"{kind} summary", coming


def _shown(moment: object) -> str:
    try:
        return local(datetime.fromisoformat(str(moment)))
    except ValueError:
        return str(moment)[:40]

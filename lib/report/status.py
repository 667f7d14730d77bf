"""-m status: how Checker itself is, for people, from what is kept in state/."""

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

COLUMNS = ("what", "how_it_is")
#: As many proofs are shown, the last first.
MAX_PROOFS = 10


def rows(
    settings: Settings,
    run: RunRecord,
    records: Mapping[JobKey, Record],
    now: datetime,
    catalog: Mapping[JobKey, CatalogEntry] = MappingProxyType({}),
    summaries: Iterable[SummarySeries] = (),
) -> list[dict[str, Any]]:
    """Return what there is to say, a row each: the word that peers are told first.

    ``catalogue`` tells which peers were asked already, ``bulletins`` how far they are.
    """
    how = health.assess(health.inputs_of(run), settings, now)
    because = f": {how.why}" if how.why else ""
    peers = peer_words(settings, records, catalog, now)
    lines = [
        ("peers are told", f"{how.word}{because}"),
        ("last run", _last_run(run, now)),
        *_skips(run),
        ("mails owed", _queued(records, now)),
        *_proof(settings, records, now),
        *((f"peer {name}", words) for name, words in peers),
        *_summaries(settings, summaries, now),
    ]
    return [dict(zip(COLUMNS, line, strict=True)) for line in lines]


def _last_run(run: RunRecord, now: datetime) -> str:
    if run.ended_at is None:
        return "none has finished yet"
    found = f"{run.failing} failing, {run.unknown} unknown, {run.pending} pending"
    return (
        f"ended {local(run.ended_at)}, {duration(now - run.ended_at)} ago: "
        f"{counted(run.jobs, 'job')}, {run.ran} ran, {found}"
    )


def _skips(run: RunRecord) -> Iterator[tuple[str, str]]:
    if run.skipped and run.skipped_at:
        last = f"the last {local(run.skipped_at)}"
        yield "runs skipped", f"{run.skipped} found another at work, {last}"


def _queued(records: Mapping[JobKey, Record], now: datetime) -> str:
    queued = [one for record in records.values() for one in record.queued]
    if not queued:
        return "none"
    oldest = min(queued, key=lambda one: one.born_at)
    why = next((one.last_error for one in queued if one.last_error), "")
    born = f"the oldest of {local(oldest.born_at)}"
    return f"{len(queued)}, {born}{f': {why}' if why else ''}"


def _proof(
    settings: Settings, records: Mapping[JobKey, Record], now: datetime
) -> Iterator[tuple[str, str]]:
    record = prover(records.values())
    proof = record.memory.get("proof") if record else None
    if settings.mail.mailbox is None:
        yield "proof of mail", "not set up: [email] imapserver is not given"
        return
    if record is None or not isinstance(proof, dict):
        yield "proof of mail", "not made yet"
        return
    more = proof.get("why") or proof.get("trouble")
    yield "proof of mail", f"{proof.get('verdict', '')}{f': {more}' if more else ''}"
    history = record.memory.get("history")
    for line in reversed(history[-MAX_PROOFS:] if isinstance(history, list) else []):
        if isinstance(line, list) and len(line) >= 4:
            yield "", proof_line(line)


def proof_line(line: list[Any]) -> str:
    """Return one proof of the history: sent, arrived, seconds, verdict, longest hop."""
    sent, arrived, seconds, verdict, *hop = line
    words = f"sent {_shown(sent)}"
    if verdict != "arrived":
        words += f", {verdict}"
    if arrived:
        words += f", arrived {_shown(arrived)}"
    if isinstance(seconds, int | float):
        words += f" after {seconds:g} s"
    return words + (f"; longest: {hop[0]}" if hop and hop[0] else "")


def peer_words(
    settings: Settings,
    records: Mapping[JobKey, Record],
    catalog: Mapping[JobKey, CatalogEntry],
    now: datetime,
) -> Iterator[tuple[str, str]]:
    """Yield each peer's name, and how it is as far as it was asked."""
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
            yield peer.name, "did not answer, is asked again"
        else:
            was_asked = known is not None and known.judged
            yield peer.name, "fine" if was_asked else "not asked yet"


def _summaries(
    settings: Settings, those: Iterable[SummarySeries], now: datetime
) -> Iterator[tuple[str, str]]:
    known = {one.kind: one for one in those}
    for kind in calendar.KINDS:
        next_at = calendar.next_time(settings.summary, kind, now)
        series = known.get(kind, SummarySeries(kind))
        if next_at is None:
            continue
        issue = calendar.due(series, settings.summary, now)
        when = local(next_at)
        coming = f"number {series.number + 1} comes {when}"
        if issue is not None:
            when = local(issue.due_at)
            coming = f"number {issue.number} was due {when}, and no run has written it"
        if series.number and series.written_at:
            coming = f"{series.number} was of {local(series.written_at)}, {coming}"
        yield f"{kind} summary", coming


def _shown(moment: object) -> str:
    try:
        return local(datetime.fromisoformat(str(moment)))
    except ValueError:
        return str(moment)[:40]

"""-m status: how Checker itself is, for people, from what is kept in state/."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from lib import health
from lib.model import Record, RunFacts, Settings
from lib.proof import PROVER
from lib.wording import counted, duration, local

COLUMNS = ("what", "how_it_is")
#: As many proofs are shown, the last first.
MOST_PROOFS = 10


def rows(
    settings: Settings, run: RunFacts, records: Mapping[str, Record], now: datetime
) -> list[dict[str, Any]]:
    """Return what there is to say, a row each: the word that peers are told first."""
    how = health.judged(health.evidence(run), settings, now)
    because = f": {how.why}" if how.why else ""
    lines = [
        ("peers are told", f"{how.word}{because}"),
        ("last run", _last_run(run, now)),
        *_skips(run),
        ("mails owed", _owed(records, now)),
        *_proof(settings, records, now),
        *_peers(settings, records),
    ]
    return [dict(zip(COLUMNS, line, strict=True)) for line in lines]


def _last_run(run: RunFacts, now: datetime) -> str:
    if run.ended_at is None:
        return "none has finished yet"
    found = f"{run.failing} failing, {run.unknown} unknown, {run.pending} pending"
    return (
        f"ended {local(run.ended_at)}, {duration(now - run.ended_at)} ago: "
        f"{counted(run.jobs, 'job')}, {run.ran} ran, {found}"
    )


def _skips(run: RunFacts) -> Iterator[tuple[str, str]]:
    if run.skipped and run.skipped_at:
        since = f"the last {local(run.skipped_at)}"
        yield "runs skipped", f"{run.skipped} found another at work, {since}"


def _owed(records: Mapping[str, Record], now: datetime) -> str:
    owed = [one for record in records.values() for one in record.owed]
    if not owed:
        return "none"
    oldest = min(owed, key=lambda one: one.born_at)
    why = next((one.last_error for one in owed if one.last_error), "")
    since = f"the oldest of {local(oldest.born_at)}"
    return f"{len(owed)}, {since}{f': {why}' if why else ''}"


def _proof(
    settings: Settings, records: Mapping[str, Record], now: datetime
) -> Iterator[tuple[str, str]]:
    record = next((one for key, one in records.items() if key.startswith(PROVER)), None)
    proof = record.memory.get("proof") if record else None
    if settings.mail.mailbox is None:
        yield "proof of mail", "not set up: [email] imapserver is not given"
        return
    if record is None or not isinstance(proof, dict):
        yield "proof of mail", "not made yet"
        return
    yield "proof of mail", str(proof.get("verdict", ""))
    history = record.memory.get("history")
    for line in reversed(history[-MOST_PROOFS:] if isinstance(history, list) else []):
        if isinstance(line, list) and len(line) >= 4:
            yield "", _proof_line(line)


def _proof_line(line: list[Any]) -> str:
    """Return one proof of the history: sent, arrived, seconds, verdict, longest hop."""
    sent, arrived, seconds, verdict, *hop = line
    words = f"sent {_shown(sent)}, {verdict}"
    if arrived:
        words += f", arrived {_shown(arrived)}"
    if isinstance(seconds, int | float):
        words += f" after {seconds:g} s"
    return words + (f"; longest: {hop[0]}" if hop and hop[0] else "")


def _peers(
    settings: Settings, records: Mapping[str, Record]
) -> Iterator[tuple[str, str]]:
    for peer in settings.peers.peers:
        name = f"peer {peer.name}"
        record = next((one for one in records.values() if one.name == name), None)
        if record is None:
            yield name, "fine, or not asked yet"
        elif record.pending:
            yield name, "did not answer, is asked again"
        else:
            reason = record.last_reason.partition("\n")[0]
            words = f"{record.condition}{f': {reason}' if reason else ''}"
            yield name, words


def _shown(moment: object) -> str:
    try:
        return local(datetime.fromisoformat(str(moment)))
    except ValueError:
        return str(moment)[:40]

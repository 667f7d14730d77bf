"""The last proof that our own mail arrives, and those before it.  Pure.

EmailChecker keeps them in its memory.  The last one says ``proved_at`` or
``failed_at``, the verdict in a word, and ``interval_s``, how far apart two of them may
be: what peers are told and by which account mail leaves go by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from lib.model import EMAIL_CHECKER, Record
from lib.wording import local

#: So many are remembered.
MOST_HISTORY = 48
_INTERVAL_S = 3600

Proof = Mapping[str, Any]


# As EmailChecker keeps it; ``probe`` is what it knows of the mail.


def proven(
    verdict: str,
    probe: Mapping[str, Any],
    interval_s: int,
    now: datetime,
    *,
    folder: str,
    trouble: str = "",
) -> dict[str, Any]:
    """Return the proof to keep of a mail that was found."""
    kept = {**_facts(verdict, probe, interval_s), "proved_at": now.isoformat()}
    return {**kept, "folder": folder, **({"trouble": trouble} if trouble else {})}


def failed(
    verdict: str,
    probe: Mapping[str, Any],
    interval_s: int,
    now: datetime,
    before: Any,
) -> dict[str, Any]:
    """Return the proof to keep of one that failed, after the one ``before``."""
    kept = {**_facts(verdict, probe, interval_s), "failed_at": now.isoformat()}
    if isinstance(before, dict) and "proved_at" in before:
        kept["proved_at"] = before["proved_at"]
    return kept


def with_line(history: Any, probe: Mapping[str, Any], verdict: str) -> list[Any]:
    """Return the history with one proof more.

    When it was sent, when it arrived, seconds, the verdict, the longest step.
    """
    line = [
        probe.get("taken") or probe.get("sent"),
        probe.get("arrived"),
        probe.get("seconds"),
        verdict,
        probe.get("hop", ""),
    ]
    before = history if isinstance(history, list) else []
    return [*before, line][-MOST_HISTORY:]


def _facts(verdict: str, probe: Mapping[str, Any], interval_s: int) -> dict[str, Any]:
    return {
        "verdict": verdict,
        "interval_s": interval_s,
        "seconds": probe.get("seconds"),
        "hop": probe.get("hop", ""),
    }


# As it is read.


def prover(records: Iterable[Record]) -> Record | None:
    """Return the record that knows whether our own mail arrives, if there is one."""
    return next(
        (one for one in records if one.key.file == EMAIL_CHECKER and one.key.is_check),
        None,
    )


def proof_in(records: Iterable[Record]) -> Proof | None:
    """Return the last proof; None where none was tried."""
    record = prover(records)
    found = record.memory.get("proof") if record else None
    return found if isinstance(found, dict) else None


def proved_at(proof: Proof | None) -> datetime | None:
    """Return when a mail was last seen to arrive; None if none was."""
    return _moment(proof, "proved_at")


def trouble(proof: Proof | None, now: datetime) -> str:
    """Return why the last proof does not stand; nothing if it does, or there is none.

    It stands until one fails, for twice the time between two of them.
    """
    failed_at, seen_at = _moment(proof, "failed_at"), proved_at(proof)
    if proof is not None and failed_at is not None:
        verdict = proof.get("verdict", "")
        return (
            f"the proof of {local(failed_at)} that mail arrives has failed: {verdict}"
        )
    if proof is None or seen_at is None:
        return ""
    interval_s = proof.get("interval_s")
    length = timedelta(seconds=interval_s if type(interval_s) is int else _INTERVAL_S)
    if now - seen_at > 2 * length:
        return f"the last proof that mail arrives is too old: {local(seen_at)}"
    return ""


def _moment(proof: Proof | None, name: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(str((proof or {})[name]))
    except (KeyError, ValueError):
        return None
    return found if found.tzinfo else None

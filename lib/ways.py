"""By which account mail leaves: the first, or the second while that will not do.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from lib import budget
from lib.budget import Postbook
from lib.model import Mail, Record
from lib.wording import local

#: How the key of the record begins that knows whether our own mail arrives.
PROVER = "EmailChecker/"
HELD = "the first account has refused us too often, or wants no more mail for now"


@dataclass(frozen=True)
class Ways:
    """Which accounts a session may use."""

    #: None where there is no second account, or it is not to be used now.
    second: Mail | None = None
    #: Why not the first; empty: try it.
    why_not_first: str = ""


def ways(mail: Mail, book: Postbook, records: Iterable[Record], now: datetime) -> Ways:
    """Return by which accounts to send now.

    The second one is for when the first is refused, or when the last proof that its
    mail arrives has failed.
    """
    if mail.backup is None or budget.second_is_held(book, now):
        return Ways()
    if budget.is_held(book, now):
        return Ways(mail.backup, HELD)
    return Ways(mail.backup, why_unproven(records, now))


def why_unproven(records: Iterable[Record], now: datetime) -> str:
    """Return why what the first account takes may not arrive; or nothing.

    Before the first proof nothing is known against it.
    """
    for record in records:
        proof = record.memory.get("proof")
        if not (record.key.startswith(PROVER) and isinstance(proof, dict)):
            continue
        failed_at, proved_at = _moment(proof, "failed_at"), _moment(proof, "proved_at")
        if failed_at is not None:
            when = local(failed_at)
            return f"the proof of {when} that its mail arrives has failed"
        interval = proof.get("interval_s")
        if proved_at is None or not isinstance(interval, int):
            continue
        if now - proved_at > 2 * timedelta(seconds=interval) + timedelta(hours=1):
            return f"the last proof that its mail arrives is of {local(proved_at)}"
    return ""


def _moment(proof: dict[str, object], name: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(proof[name]))
    except (KeyError, ValueError):
        return None
    return found if found.tzinfo else None

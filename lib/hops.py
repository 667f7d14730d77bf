"""The way of a mail, by the Received lines that each server on it has put on top.

Pure.  The clocks are the servers' own, so a hop may seem to take no time at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

#: A mail that has gone round in circles has no more to tell.
MOST_HOPS = 50


@dataclass(frozen=True)
class Hop:
    """One step of the way: who took the mail, and how long after the one before."""

    by: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.seconds:.0f} s to {self.by}"


def hops(
    received: Sequence[str], sent_at: datetime, arrived_at: datetime | None
) -> list[Hop]:
    """Return the steps in the order in which they were made.

    ``received`` are the Received lines as they stand in the mail, the last step first.
    """
    before = sent_at
    found = []
    for by, at in _steps(received, arrived_at):
        found.append(Hop(by, max(0.0, (at - before).total_seconds())))
        before = at
    return found


def longest(steps: Sequence[Hop]) -> str:
    """Return which step took longest, in words; empty if none took time."""
    most = max(steps, key=lambda hop: hop.seconds, default=None)
    return str(most) if most is not None and most.seconds >= 1 else ""


def _steps(
    received: Sequence[str], arrived_at: datetime | None
) -> Iterator[tuple[str, datetime]]:
    for line in reversed(received[:MOST_HOPS]):
        at = _moment(line)
        if at is not None:
            by = re.search(r"\bby\s+([^\s;()]{1,100})", line)
            yield (by[1] if by and by[1].isprintable() else "a server"), at
    if arrived_at is not None:
        yield "the mailbox", arrived_at


def _moment(line: str) -> datetime | None:
    from email.utils import parsedate_to_datetime

    try:
        found = parsedate_to_datetime(line.rpartition(";")[2].strip()[:80])
        return found if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None

"""Uptime and outages: what history says of a time, as numbers and in words.

All of it are functions of values: shares of time, changes of status, moments in seconds
since 1970.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from datetime import date, timedelta, tzinfo
from typing import NamedTuple

from lib.core.decisions import Entry, Event, StateDetails
from lib.core.enums import Status
from lib.core.records import Record
from lib.core.text import duration
from lib.storage.history import TIMES, Change, Row, Share
from lib.storage.historynow import midnight

_UP = (Status.OK, Status.WARNING)
#: While one of these holds, a failure is not counted.
_NOT_COUNTED = ("maintenance", "unreachable", "blind")
#: What uptime leaves out, in words.
LEFT_OUT_WORDS = {
    "nothing": "without a result",
    "maintenance": "in maintenance",
    "unreachable": "unreachable",
    "blind": "blind",
    "unknown": "unknown",
    "pending": "pending",
}
#: Less than this is what passes between two runs.
_WORTH_A_WORD_S = 300.0


class Outage(NamedTuple):
    """A time in which a job was failing, as far as it lies in a period."""

    #: The first result that was failing; it may be before the period.
    began: float
    #: The first one that was OK or a warning again, or when the job was removed; None:
    #: there was none yet.
    ended: float | None
    #: How long it is known to have failed within the period.
    seconds: float
    reason: str
    #: Why alerts were held back as it began: one of ``CODES``; empty: they were not.
    held: str = ""


class _Spell:
    """An outage, and from when to when it was failing."""

    def __init__(self, change: Change) -> None:
        self.began, self.reason, self.held = change.at, change.reason, change.code
        self.ended: float | None = None
        self.parts: list[tuple[float, float]] = []

    def by_day(self, edges: Sequence[float]) -> dict[int, float]:
        """Return for how many seconds it was failing, by the day's place in edges."""
        found: dict[int, float] = {}
        for first, last in self.parts:
            day = max(0, bisect_right(edges, first) - 1)
            while day + 1 < len(edges) and edges[day] < last:
                length = min(edges[day + 1], last) - max(edges[day], first)
                if length > 0:
                    found[day] = found.get(day, 0.0) + length
                day += 1
        return found


def removed_at(
    record: Record | None, entries: Iterable[Entry], last: Row | None
) -> float | None:
    """Return when a job that is no longer checked was removed or disabled.

    That is what its record or the audit log says of it since its ``last`` result, or
    else the time of that result.  None: nothing on record says.
    """
    moments = [
        entry.details.unseen_since or entry.at
        for entry in entries
        if entry.code in (Event.JOB_GONE, Event.JOB_FORGOTTEN)
        and isinstance(entry.details, StateDetails)
    ]
    if record is not None and record.unseen_since is not None:
        moments.append(record.unseen_since)
    last_at = last.at if last else 0.0
    # It may have been removed before, and have come back.
    later = [at for moment in moments if (at := moment.timestamp()) >= last_at]
    return min(later, default=last_at or None)


def outages(
    changes: Iterable[Change],
    edges: Sequence[float],
    failing: Sequence[float],
    removed: float | None = None,
) -> list[Outage]:
    """Return the outages of one job in a period, the first one first.

    ``changes`` are all of the job's up to the end of the period, in their order.
    ``edges`` are where the period's days begin, and its end; ``failing`` has for how
    many seconds of each day the job is known to have failed.  An outage goes on while
    it is not known how the job is, as in maintenance; such time is not counted, nor is
    time without a result.  Where a day has several outages and time without a result,
    that is taken from each in proportion.  It ends when the job is ``removed``, and has
    no length if that is all that is known of it.
    """
    spells = _spells(changes, edges[-1], removed)
    lengths = [spell.by_day(edges) for spell in spells]
    totals = [0.0] * len(failing)
    for by_day in lengths:
        for day, length in by_day.items():
            totals[day] += length
    parts = [
        min(1.0, known / total) if total else 0.0
        for known, total in zip(failing, totals, strict=True)
    ]
    return [
        Outage(
            spell.began,
            spell.ended,
            sum(length * parts[day] for day, length in by_day.items()),
            spell.reason,
            spell.held,
        )
        for spell, by_day in zip(spells, lengths, strict=True)
        if by_day or edges[0] <= spell.began == spell.ended
    ]


def _spells(
    changes: Iterable[Change], end: float, removed: float | None
) -> list[_Spell]:
    found: list[_Spell] = []
    spell: _Spell | None = None
    failing_from: float | None = None
    for change in changes:
        if spell is not None and failing_from is not None:
            spell.parts.append((failing_from, change.at))
        failing_from = None
        if change.status in _UP:
            if spell is not None:
                spell.ended = change.at
            spell = None
        elif change.status is Status.FAILING and change.code not in _NOT_COUNTED:
            failing_from = change.at
            if spell is None:
                spell = _Spell(change)
                found.append(spell)
    if spell is not None and removed is not None and removed < end:
        spell.ended = end = removed
    if spell is not None and failing_from is not None:
        spell.parts.append((failing_from, end))
    return found


def notified_after(
    outage: Outage, sent: Sequence[float], next_began: float = math.inf
) -> float | None:
    """Return how many seconds after its begin the first alert left; None: none did.

    ``sent`` are the moments at which messages about the job left, sorted, in whole
    seconds; those from ``next_began`` on are about the next outage.
    """
    first = math.floor(outage.began)
    moment = next((at for at in sent if first <= at < next_began), None)
    return None if moment is None else max(0.0, moment - outage.began)


def month_days(year: int, month: int) -> list[date]:
    """Return the days of a month; raise ValueError if there is no such month."""
    first = date(year, month, 1)
    following = date(year + month // 12, month % 12 + 1, 1)
    return [first + timedelta(days=one) for one in range((following - first).days)]


def midnights(days: Sequence[date], zone: tzinfo | None) -> list[float]:
    """Return where each day begins, and where the last one ends.

    A day is one of the zone's, of 23 to 25 hours; None: this machine's zone.
    """
    return [midnight(one, zone) for one in (*days, days[-1] + timedelta(days=1))]


def percent_words(uptime: float | None) -> str:
    """Return an uptime: ``99.98%``; never more than it is.  Empty: nothing is known."""
    if uptime is None:
        return ""
    percent = whole_hundredths(uptime)
    return f"{percent:.2f}%" if percent < 100 else "100%"


def whole_hundredths(uptime: float) -> float:
    """Return an uptime in per cent, rounded down to hundredths: never more than it is.

    What is short of the next by rounding errors of floats alone is not rounded down.
    """
    return math.floor(uptime * 10_000 + 1e-6) / 100


def left_out_words(share: Share) -> str:
    """Return what an uptime leaves out: ``2 hours without a result, 1 hour blind``."""
    return ", ".join(
        f"{duration(timedelta(seconds=seconds))} {words}"
        for name, words in LEFT_OUT_WORDS.items()
        if (seconds := share[TIMES.index(name)]) >= _WORTH_A_WORD_S
    )

"""-m history: what a job's results were, from the newest to the oldest.

``stretches`` makes of rows and changes of status what is shown: a line for as long as
the status stayed the same, time without a result included.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from functools import partial
from itertools import pairwise, zip_longest
from types import MappingProxyType
from typing import Any, NamedTuple

from lib.core.jobs import JobKey
from lib.core.results import Unit, Values, amount_words, spread_words
from lib.core.text import TimeText, duration, table_time, utc
from lib.report.rows import WORDS
from lib.report.uptime import left_out_words, percent_words
from lib.storage.history import TIMES, Change, History, Known, Row, Share

COLUMNS = ("at", "for", "status", "held", "checks", "took", "values", "reason")
#: Of each result by itself.
ALL_COLUMNS = ("at", "status", "held", "took", "values", "reason")
#: How many lines are shown without --all, the newest.
MAX_SHOWN = 40
#: The status of a time without a result, and of one of which no change is on record.
NO_RESULT, NOT_KNOWN = "no_result", "not_known"
#: What is shorter is no gap: buckets are counted to the millisecond.
MIN_GAP_S = 0.01


class Stretch(NamedTuple):
    """A time in which the status, and what held alerts back, stayed the same."""

    at: float
    ends: float
    #: A status, NO_RESULT or NOT_KNOWN.
    status: str
    code: str
    #: How many results there were; 0: only the change is still on record.
    checks: int
    #: How long the slowest of the checks took.
    seconds: float
    #: The lowest and the highest number of each value.
    values: Mapping[str, tuple[float, float]]
    #: The reason of the last result.
    reason: str


class Past(NamedTuple):
    """The history of one job from ``since`` up to ``until``."""

    key: JobKey
    name: str
    since: float
    until: float
    #: From then on all results are on record; before, changes of status only.
    rows_since: float
    rows: Sequence[Row]
    changes: Sequence[Change]
    stretches: Sequence[Stretch]
    #: How the time was shared.
    share: Share


def past(
    history: History,
    key: JobKey,
    name: str,
    since: float,
    until: float,
    removed: float | None = None,
) -> Past | None:
    """Return the history of a job; None: there is nothing on record of it.

    ``removed``: when it was removed, if it is no longer checked.
    """
    latest = history.latest().get(key)
    changes = history.changes(key, 0, until)
    if latest is None and not changes:
        return None
    begun = history.rows_since()
    rows_since = max(since, min(until, until if begun is None else begun))
    ((_key, rows),) = history.stands((key,), rows_since, until)
    known_to = until if removed is None else max(since, min(until, removed))
    share = history.share(key, since, known_to)
    older = _older(history, key, changes, (since, known_to, rows_since))
    newer = stretches(rows, rows_since, until, known_to)
    if all(one.status == NO_RESULT for one in older):
        # There was nothing that could have been thinned.
        rows_since = since
    return Past(
        key,
        name,
        since,
        until,
        rows_since,
        [row for row in rows if row.at >= rows_since],
        [change for change in changes if change.at >= since],
        _joined([*older, *newer]),
        share._replace(nothing=share.nothing + until - known_to),
    )


def stretches(
    rows: Iterable[Row], since: float, until: float, known_to: float = math.inf
) -> list[Stretch]:
    """Return the stretches of a time by its rows, the first one first.

    No row says anything of the time from ``known_to`` on.  ``rows`` may begin with the
    one that stands at ``since``.  Time without a result is a stretch of its own; they
    follow each other without a gap.
    """
    found: list[Stretch] = []
    at = since
    for row, ends in _stands(rows, since, min(until, known_to)):
        if row.at > at:
            found.append(_nothing(at, row.at))
        start, at = max(at, row.at), ends
        last = found[-1] if found else None
        # The one that stood at the beginning was a result of before.
        checks = 1 if row.at >= since else 0
        if last and (last.status, last.code) == (row.status.value, row.code):
            found[-1] = last._replace(
                ends=ends,
                checks=last.checks + checks,
                seconds=max(last.seconds, row.seconds),
                values=_wider(last.values, row.values),
                reason=row.reason,
            )
            continue
        values = {name: (number, number) for name, number in row.values.items()}
        found.append(
            Stretch(
                start,
                ends,
                row.status.value,
                row.code,
                checks,
                row.seconds,
                values,
                row.reason,
            )
        )
    if at < until:
        found.append(_nothing(at, until))
    return found


def _stands(
    rows: Iterable[Row], since: float, until: float
) -> Iterator[tuple[Row, float]]:
    """Yield each row that stands within a time, and until when it does."""
    ordered = list(rows)
    for row, following in zip_longest(ordered, ordered[1:]):
        ends = min(following.at if following else until, row.at + row.holds_s, until)
        if ends > since and row.at < until:
            yield row, ends


def _nothing(at: float, ends: float) -> Stretch:
    return Stretch(at, ends, NO_RESULT, "", 0, 0.0, {}, "")


def _joined(found: Iterable[Stretch]) -> list[Stretch]:
    """Return the same, times without a result that follow each other as one."""
    joined: list[Stretch] = []
    for one in found:
        last = joined[-1] if joined else None
        if last and last.status == one.status == NO_RESULT:
            joined[-1] = last._replace(ends=one.ends)
        else:
            joined.append(one)
    return joined


def _wider(
    known: Mapping[str, tuple[float, float]], values: Mapping[str, float]
) -> dict[str, tuple[float, float]]:
    found = dict(known)
    for name, number in values.items():
        low, high = found.get(name, (number, number))
        found[name] = min(low, number), max(high, number)
    return found


def _older(
    history: History,
    key: JobKey,
    changes: Sequence[Change],
    edges: tuple[float, float, float],
) -> list[Stretch]:
    """Return the stretches of a time whose results are not kept one by one.

    ``edges``: when it begins, from when on nothing is known, and when it ends.
    """
    since, known_to, until = edges
    found = list(_thinned(history, key, changes, since, min(known_to, until)))
    if known_to < until:
        found.append(_nothing(known_to, until))
    return found


def _thinned(
    history: History, key: JobKey, changes: Sequence[Change], since: float, until: float
) -> Iterator[Stretch]:
    """Yield the stretches of the part of it that is known."""
    if since >= until:
        return
    moments = [change.at for change in changes]
    gaps = gaps_in(history.known(key, since, until), moments)
    at = since
    for begin, end in gaps:
        begin, end = max(begin, at), min(end, until)
        if begin < end:
            yield from _between_changes(changes, at, begin)
            yield _nothing(begin, end)
            at = end
    yield from _between_changes(changes, at, until)


def gaps_in(
    pieces: Sequence[Known], results: Sequence[float]
) -> list[tuple[float, float]]:
    """Return from when to when there was no result.

    Of a piece that is known in part, the known part begins with a result if one is on
    record, or lies at the side where the piece beside it is known.
    """
    found: list[tuple[float, float]] = []
    before = 0.0
    for piece, after in zip_longest(pieces, pieces[1:]):
        start = _known_from(piece, before, after, results)
        ends = start + piece.known_s
        for begin, end in ((piece.at, start), (ends, piece.ends)):
            if end - begin < MIN_GAP_S:
                continue
            if found and begin - found[-1][1] < MIN_GAP_S:
                begin = found.pop()[0]
            found.append((begin, end))
        before = piece.known_s
    return found


def _known_from(
    piece: Known, before: float, after: Known | None, results: Sequence[float]
) -> float:
    """Return when the part of a piece begins that is known."""
    latest = piece.ends - piece.known_s
    if before:
        return piece.at
    place = bisect_left(results, piece.at)
    if place < len(results) and results[place] <= latest:
        return results[place]
    return latest if after is not None and after.known_s else piece.at


def _between_changes(
    changes: Sequence[Change], since: float, until: float
) -> Iterator[Stretch]:
    """Yield the stretches of a time of which changes alone are on record."""
    first = min(changes[0].at if changes else until, until)
    if first - since >= MIN_GAP_S:
        yield Stretch(since, first, NOT_KNOWN, "", 0, 0.0, {}, "")
    moments = [*(change.at for change in changes), max(until, first)]
    for change, (at, ends) in zip(changes, pairwise(moments), strict=True):
        start, end = max(at, since), min(ends, until)
        if start < end:
            status, code = change.status.value, change.code
            yield Stretch(start, end, status, code, 0, 0.0, {}, change.reason)


# For people, and as data.


def headline(found: Past, now: datetime, zone: tzinfo | None) -> str:
    """Return the job's name and its uptime, and what that leaves out."""
    share, begun = found.share, utc(found.since)
    uptime = percent_words(share.uptime) or "nothing known"
    words = f"{found.name}: {uptime} since {table_time(begun, zone, now)}"
    if left_out := left_out_words(share):
        words += f"; not counted: {left_out}"
    if any(
        one.at < found.rows_since and one.status != NO_RESULT for one in found.stretches
    ):
        rows_since = table_time(utc(found.rows_since), zone, now)
        words += f"; before {rows_since} only changes of status are listed"
    return words


def stretch_rows(
    found: Past, units: Values, now: datetime, zone: tzinfo | None
) -> list[dict[str, Any]]:
    """Return a row per stretch, the newest first.  ``units``: its last values."""
    time_text = partial(table_time, zone=zone, now=now)
    return [
        {
            "at": time_text(utc(one.at)),
            "for": duration(timedelta(seconds=one.ends - one.at)),
            "status": one.status,
            "held": one.code,
            "checks": one.checks or "",
            "took": amount_words(one.seconds, Unit.SECONDS) if one.checks else "",
            "values": _values_words(one.values, units),
            "reason": one.reason,
        }
        for one in reversed(found.stretches)
    ]


def result_rows(
    found: Past, units: Values, now: datetime, zone: tzinfo | None
) -> list[dict[str, Any]]:
    """Return a row per result, the newest first; as data, and in words."""
    time_text: TimeText = partial(table_time, zone=zone, now=now)
    return [
        {
            "at": utc(row.at),
            "status": row.status.value,
            "held": row.code or None,
            "seconds": row.seconds,
            "values": dict(row.values),
            "reason": row.reason,
            WORDS: {
                "at": time_text(utc(row.at)),
                "held": row.code,
                "took": amount_words(row.seconds, Unit.SECONDS),
                "values": _values_words(
                    {name: (number, number) for name, number in row.values.items()},
                    units,
                ),
            },
        }
        for row in reversed(found.rows)
    ]


def data(found: Past, now: datetime, zone: tzinfo | None) -> dict[str, Any]:
    """Return all of it for --json, the newest first."""
    return {
        "job": found.name,
        "key": str(found.key),
        "since": utc(found.since),
        "until": utc(found.until),
        "rows_since": utc(found.rows_since),
        "uptime": found.share.uptime,
        "time_s": dict(zip(TIMES, found.share, strict=True)),
        "changes": [
            {
                "at": utc(change.at),
                "status": change.status.value,
                "before": change.before.value if change.before else None,
                "held": change.code or None,
                "reason": change.reason,
            }
            for change in reversed(found.changes)
        ],
        "rows": result_rows(found, MappingProxyType({}), now, zone),
    }


def _values_words(values: Mapping[str, tuple[float, float]], units: Values) -> str:
    words = []
    for name, (low, high) in values.items():
        unit = units[name].unit if name in units else Unit.COUNT
        words.append(f"{name} {spread_words(low, high, unit)}")
    return ", ".join(words)

"""Bars and graphs of the page, as inline SVG that is small: 1,000 of each fit.

A bar has a letter for each day, a graph a number for each slice of 24 hours.  Both are
drawn in units of their own, one for each day or slice; ``templates/page.css`` has their
size and colours, so that a row of the page has nothing but its lines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from itertools import groupby
from math import inf, isfinite

import msgspec

from lib.core.enums import Status
from lib.core.results import DURATION, Threshold, Unit, Value, Values, amount_words
from lib.core.sparkline import sampled
from lib.report.uptime import whole_hundredths
from lib.storage.history import Row, Share

DAYS = 90
GRAPH_S = 86_400.0
#: How high a graph and a bar are, in their own units.
HEIGHT = 20
#: Slices of a graph: of a job's own page, and in a list of so many jobs at most.
FINE = 96
_SLICES = ((50, 96), (250, 48))
COARSE = 24

#: The letters of a status, which are classes of the page as well.
LETTERS = {
    Status.OK: "o",
    Status.WARNING: "w",
    Status.FAILING: "f",
    Status.UNKNOWN: "u",
    Status.PENDING: "p",
}
#: A day in which alerts were held back or nothing was seen, and one without a result.
LEFT_OUT, NOTHING = "h", "n"


class Series(msgspec.Struct, frozen=True):
    """What a job measured over 24 hours: the worst number of each slice."""

    name: str
    unit: Unit = Unit.COUNT
    #: The oldest is first; None: there was none.
    points: tuple[float | None, ...] = ()


def slices_for(jobs: int) -> int:
    """Return how many slices the graphs of a list of so many jobs have."""
    return next((slices for most, slices in _SLICES if jobs <= most), COARSE)


def letter_of(share: Share) -> str:
    """Return the letter of a day: the worst that was known of it."""
    ok, warning, failing, unknown, pending, window, unreachable, blind, _none = share
    if failing:
        return "f"
    if unknown:
        return "u"
    if warning:
        return "w"
    if ok:
        return "o"
    if window or unreachable or blind:
        return LEFT_OUT
    return "p" if pending else NOTHING


def letters_of(days: Mapping[str, Share], names: Iterable[str]) -> str:
    """Return a letter for each of the days that are named."""
    return "".join([letter_of(days[day]) if day in days else NOTHING for day in names])


def day_names(last: date, count: int = DAYS) -> list[str]:
    """Return the last days up to one, as history calls them; the oldest is first."""
    return [(last - timedelta(days=ago)).isoformat() for ago in range(count)][::-1]


def bar_paths(letters: str) -> Iterator[tuple[str, str]]:
    """Yield of each letter its path: a line along all of its days."""
    runs: dict[str, list[str]] = {}
    at = 0
    for letter, same in groupby(letters):
        length = len(list(same))
        if letter != NOTHING:
            line = f"M{at} {HEIGHT // 2}h{length}"
            runs.setdefault(letter, []).append(line)
        at += length
    for letter, lines in runs.items():
        yield letter, "".join(lines)


def series_of(
    rows: Sequence[Row], values: Values, until: float, *, slices: int = FINE
) -> tuple[Series, ...]:
    """Return what rows of 24 hours up to ``until`` say of each value, or the duration.

    The oldest row is first.  ``values`` are those of now: they have units and
    thresholds.  A value that is not among them any more is left out.
    """
    since = until - GRAPH_S
    found = []
    for name, value in values.items():
        known = [row for row in rows if name in row.values]
        moments = [row.at for row in known]
        numbers = [row.values[name] for row in known]
        pick = min if value.is_low_bad else max
        samples = sampled(moments, numbers, since, until, slices, pick)
        found.append(Series(name, value.unit, tuple(samples)))
    if not found:
        moments, numbers = [row.at for row in rows], [row.seconds for row in rows]
        samples = sampled(moments, numbers, since, until, slices)
        found.append(Series(DURATION, Unit.SECONDS, tuple(samples)))
    return tuple(found)


def coarser(series: Series, slices: int, *, is_low: bool = False) -> Series:
    """Return the same with fewer slices, the worst of each group kept."""
    size = len(series.points) // slices
    if size < 2:
        return series
    worst = min if is_low else max
    points = []
    for start in range(0, slices * size, size):
        known = [one for one in series.points[start : start + size] if one is not None]
        points.append(worst(known) if known else None)
    return msgspec.structs.replace(series, points=tuple(points))


class Drawing(msgspec.Struct, frozen=True):
    """A graph as lines: of its numbers, and of its thresholds by their letter."""

    line: str
    limits: tuple[tuple[str, str], ...]
    low: float
    high: float
    slices: int


def drawing(series: Series, value: Value | None, height: int = HEIGHT) -> Drawing:
    """Return a graph in which every number and every threshold has its place."""
    known = [point for point in series.points if point is not None]
    limits = _limits_of(value)
    ends = [*known, *(limit for _letter, limit in limits)]
    slices = len(series.points)
    if not known:
        return Drawing("", (), 0.0, 0.0, slices)
    low, high = min(ends), max(ends)
    # A graph that starts at zero shows proportions, and that nothing changed.
    low = min(low, 0.0) if low < 0 or low < 0.5 * high else low
    # Where a float cannot say how far apart the numbers are, it is a flat line.
    distance = high - low
    scale = (height - 2) / distance if 0 < distance < inf else 0.0
    is_flat = not 0 < scale < inf

    def place(number: float) -> int:
        return height - 1 - (0 if is_flat else round((number - low) * scale))

    line = _line(series.points, place)
    drawn = dict.fromkeys(
        (letter, f"M0 {place(limit)}h{slices}") for letter, limit in limits
    )
    return Drawing(line, tuple(drawn), low, high, slices)


def _limits_of(value: Value | None) -> list[tuple[str, float]]:
    if value is None:
        return []
    of_both: list[tuple[str, Threshold | None]] = [("w", value.warn), ("f", value.fail)]
    return [
        (letter, end)
        for letter, threshold in of_both
        if threshold is not None
        for end in (threshold.low, threshold.high)
        if end is not None and isfinite(end)
    ]


def _line(points: Sequence[float | None], place: Callable[[float], int]) -> str:
    """Return a path with as few letters as will do; a gap begins a new line."""
    parts: list[str] = []
    before: int | None = None
    flat, last = 0, ""
    for number, point in enumerate(points):
        height = None if point is None else place(point)
        if height is not None and height == before:
            flat += 1
            continue
        if flat:
            parts.append(f"h{flat}")
            flat, last = 0, "h"
        if height is not None and before is None:
            parts.append(f"M{number} {height}")
            last = "M"
            if number + 1 == len(points) or points[number + 1] is None:
                # So that a point alone is seen.
                parts.append("h.5")
        elif height is not None and before is not None:
            change = height - before
            space = "" if change < 0 else " "
            parts.append(f"{' ' if last == 'l' else 'l'}1{space}{change}")
            last = "l"
        before = height
    if flat:
        parts.append(f"h{flat}")
    return "".join(parts)


def span_words(drawn: Drawing, unit: Unit) -> tuple[str, str]:
    """Return the numbers at the low and the high end of a graph, for people."""
    return amount_words(drawn.low, unit), amount_words(drawn.high, unit)


def uptime_words(uptime: float | None) -> str:
    """Return an uptime in per cent, rounded down, so that 100 % means all of it."""
    if uptime is None:
        return "–"
    percent = whole_hundredths(uptime)
    return f"{percent:.4g} %" if percent < 100 else "100 %"

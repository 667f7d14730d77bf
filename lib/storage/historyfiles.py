"""The files of state/history/ by name, and what becomes of them as they age.

``HOUR.log`` is what runs append to, ``HOUR.rows`` and ``DAY.rows`` are its results as
columns.  Later a day has buckets of five minutes, ``DAY.5min``, then of an hour,
``DAY.1h``, of which those of a month make ``MONTH.1h``.  Hours and days are of UTC.
Of days without any file, in which a result stood, the buckets are in the next file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from lib.core.settings import HistoryAges

FOLDER = "history"
BARS, CHANGES, POLICIES = "bars.log", "changes.log", "policies.log"
RENAMES = "renames.log"
#: Changes of before, when there were too many for one file: as lines, then compressed.
OLD_CHANGES, PACKED = "changes-", ".packed"
LOG, ROWS, MINUTES, HOURS = ".log", ".rows", ".5min", ".1h"
#: The seconds of a bucket.
STEPS = {MINUTES: 300, HOURS: 3600}
#: A file that is being made; the next slice goes on.
UNFINISHED = ".part"

_ROW_FILE = re.compile(r"\d{4}-\d\d-\d\d(T\d\d)?(\.log|\.rows)")
_BUCKET_FILE = re.compile(r"\d{4}-\d\d(-\d\d)?(\.5min|\.1h)")
_DAY_S = 86_400


def utc_hour(moment: float) -> str:
    """Return the hour of UTC of a moment, as its log is called."""
    latest = 253_402_300_799.0
    return datetime.fromtimestamp(min(moment, latest), UTC).strftime("%Y-%m-%dT%H")


def listed(folder: Path) -> list[str]:
    """Return the names of all files, sorted; none if the folder cannot be read."""
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def row_files(names: Collection[str]) -> list[str]:
    """Return the names of the files that have rows: of each day, then its hours."""
    return [name for name in names if _ROW_FILE.fullmatch(name)]


def bucket_files(names: Collection[str]) -> list[str]:
    """Return the names of the files that have buckets."""
    return [name for name in names if _BUCKET_FILE.fullmatch(name)]


def old_changes(names: Collection[str]) -> list[str]:
    """Return the names of the files that have changes of before."""
    return [
        name
        for name in names
        if name.startswith(OLD_CHANGES) and name.endswith((LOG, PACKED))
    ]


def span_of(name: str) -> tuple[float, float]:
    """Return when the time begins and ends of which a file has results."""
    stem = name.partition(".")[0]
    if len(stem) == len("2026-11"):
        year, month = int(stem[:4]), int(stem[5:])
        begin = datetime(year, month, 1, tzinfo=UTC)
        end = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
        return begin.timestamp(), end.timestamp()
    at = datetime.fromisoformat(stem).replace(tzinfo=UTC).timestamp()
    return at, at + (3600 if "T" in stem else _DAY_S)


def gap_before(name: str, names: Collection[str]) -> tuple[float, float]:
    """Return when the time begins and ends that no file has before one of a day."""
    begin = span_of(name)[0]
    ends = [span_of(one)[1] for one in (*row_files(names), *bucket_files(names))]
    return max((end for end in ends if end <= begin), default=begin), begin


def reaches(names: Collection[str]) -> dict[str, tuple[float, float]]:
    """Return of which time each file of buckets may have some.

    That is from the begin of the file before it on: which days of a month have none of
    their own, its name does not say.
    """
    found = dict[str, tuple[float, float]]()
    before = latest = None
    for name in sorted((*row_files(names), *bucket_files(names)), key=span_of):
        begin, end = span_of(name)
        if begin != latest:
            before, latest = latest, begin
        if name.endswith(tuple(STEPS)):
            found[name] = begin if before is None else before, end
    return found


class Step(NamedTuple):
    """A file that is to be made of others, which are removed then."""

    #: Empty: they are only removed.
    target: str
    made_of: tuple[str, ...]


def plan(names: Collection[str], current: str, ages: HistoryAges) -> Iterator[Step]:
    """Yield what is to be done, what is newest first; ``current``: the log of now.

    Days are counted by their files, and not by the clock: one that is wrong for a
    while makes nothing old.
    """
    rows, buckets = row_files(sorted(names)), bucket_files(sorted(names))
    for name in old_changes(names):
        if name.endswith(LOG):
            yield Step(name.removesuffix(LOG) + PACKED, (name,))
    for name in rows:
        if name.endswith(LOG) and name != current:
            yield Step(name.removesuffix(LOG) + ROWS, (name,))
    hours = [name for name in rows if "T" in name and name.endswith(ROWS)]
    for day in sorted({name[:10] for name in hours}):
        if day < current[:10]:
            of_day = tuple(name for name in hours if name.startswith(day))
            yield Step(day + ROWS, of_day)
    by_day = [name for name in buckets if len(name.partition(".")[0]) == 10]
    days = sorted({name[:10] for name in (*rows, *by_day)})
    for name in rows:
        if name.endswith(ROWS) and "T" not in name:
            if name[:10] not in _newest(days, ages.results):
                yield Step(name[:10] + MINUTES, (name,))
    for name in by_day:
        if name.endswith(MINUTES) and name[:10] not in _newest(days, ages.five_minutes):
            yield Step(name[:10] + HOURS, (name,))
    yield from _of_months(by_day)
    yield from _too_old(days, by_day, buckets, ages)


def _newest(days: Sequence[str], age_s: float) -> Sequence[str]:
    return days[-max(1, round(age_s / _DAY_S)) :]


def _of_months(by_day: Sequence[str]) -> Iterator[Step]:
    """Yield the months of which all days have become hours."""
    minutes = {name[:7] for name in by_day if name.endswith(MINUTES)}
    hours = [name for name in by_day if name.endswith(HOURS)]
    for month in sorted({name[:7] for name in hours}):
        if month not in minutes and any(name[:7] > month for name in by_day):
            yield Step(
                month + HOURS, tuple(name for name in hours if name[:7] == month)
            )


def _too_old(
    days: Sequence[str],
    by_day: Sequence[str],
    buckets: Sequence[str],
    ages: HistoryAges,
) -> Iterator[Step]:
    """Yield what is older than hours are kept."""
    kept = _newest(days, ages.hours)
    old = [name for name in by_day if name[:10] not in kept]
    left = round(ages.hours / _DAY_S) - len(days)
    for name in reversed([name for name in buckets if name not in by_day]):
        if left <= 0:
            old.append(name)
        begin, end = span_of(name)
        left -= round((end - begin) / _DAY_S)
    if old:
        yield Step("", tuple(old))


def is_anything_due(folder: Path, at: float, ages: HistoryAges) -> bool:
    """Return whether there is anything to be done after a run that began at ``at``."""
    names = listed(folder)
    return BARS + UNFINISHED in names or any(plan(names, utc_hour(at) + LOG, ages))

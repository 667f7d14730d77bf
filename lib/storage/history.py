"""state/history/: the result of each check, as runs append them and reports read them.

Runs append to ``HOUR.log`` (``historyblocks.py``), which they sum up in ``now.bin``
(``historynow.py``).  What is over becomes columns by job (``historycolumns.py``), later
buckets (``historybuckets.py``); ``historyfiles.py`` says when, ``historythin.py`` does
it.  ``bars.log`` has the time of each job by day, for all days before today;
``changes.log`` each change of status, for ever; ``policies.log`` each policy once;
``renames.log`` which jobs had another name before (``historynames.py``).

Times are seconds since 1970 (float), durations are seconds.  What is damaged is passed
over; the rest is read.
"""

from __future__ import annotations

import logging
import os
import zlib
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta, tzinfo
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from lib.core.jobs import JobKey
from lib.core.text import table_time, utc
from lib.storage.historybars import Bars, bars_in, days_in, ordinal_of, which_days
from lib.storage.historyblocks import (
    CHANGES_KIND,
    Block,
    Losses,
    RunLog,
    bars_block,
    block,
    blocks,
    naming,
    payload_of,
    refuse_newer,
)
from lib.storage.historyfiles import (
    BARS,
    CHANGES,
    FOLDER,
    LOG,
    MINUTES,
    PACKED,
    POLICIES,
    STEPS,
    bucket_files,
    listed,
    old_changes,
    reaches,
    row_files,
    span_of,
)
from lib.storage.historynames import Names, names_in
from lib.storage.historynow import (
    BEFORE,
    NOW,
    Summary,
    are_changes_lost,
    begin_of,
    content_of,
    local_day,
    lost_changes,
    next_midnight,
    read_summary,
)
from lib.storage.historyrows import (
    CODES,
    MAX_REASON,
    STATUSES,
    TIMES,
    Change,
    Result,
    Row,
    Share,
    Trace,
    change_of,
    hash_of,
    share_of,
    text_of,
)
from lib.system.errors import NewerState, trouble

if TYPE_CHECKING:
    from lib.storage.historybuckets import Bucket
    from lib.storage.historycolumns import Checks, Source

#: What reports need beside what is defined here.
__all__ = (
    "CODES",
    "MAX_REASON",
    "STATUSES",
    "TIMES",
    "Change",
    "History",
    "Known",
    "Result",
    "Row",
    "Share",
    "Trace",
    "bars_block",
    "share_of",
)

logger = logging.getLogger(__name__)

_DAY_S = 86_400
#: The result that stands at a moment is most often one of so shortly before.
_SHORTLY_S = 900.0
#: So many files are kept of which job after job is asked what stood at a moment.
KEPT_WHOLE = 4
#: So many changes are compressed together.
CHANGES_IN_BLOCK = 1000


class Known(NamedTuple):
    """A stretch of time, and of how many of its seconds the results are known."""

    at: float
    ends: float
    known_s: float


class History:
    """state/history/ as reports read it.  Nothing of it is written."""

    def __init__(self, state: Path, zone: tzinfo | None = None) -> None:
        self.folder = state / FOLDER
        #: Where people live: a day is one of theirs, of 23 to 25 hours.
        self.zone = zone
        self._wholes: dict[str, Source] = {}
        self._losses = Losses()

    @cached_property
    def names(self) -> Names:
        """Return which names jobs had before; what is read is by those of now."""
        return names_in(self.folder)

    def latest(self) -> dict[JobKey, Row]:
        """Return the last row of every job."""
        jobs = self._summary().jobs
        return {JobKey.parse(key): one.row() for key, one in jobs.items()}

    def rows(self, key: JobKey, since: float, until: float) -> list[Row]:
        """Return a job's rows from ``since`` up to, not including, ``until``.

        The oldest is first.  Damaged blocks are passed over.
        """
        ((_key, rows),) = self.rows_of((key,), since, until)
        return rows

    def rows_of(
        self, keys: Iterable[JobKey], since: float, until: float
    ) -> Iterator[tuple[JobKey, list[Row]]]:
        """Yield each of many jobs with its rows, as ``rows`` returns them.

        What a file has for all jobs is read once.
        """
        from lib.storage.historycolumns import merged

        sources = self._sources(since, until)
        for key in keys:
            rows = merged(sources, str(key))
            yield key, [row for row in rows if since <= row.at < until]

    def stands(
        self, keys: Iterable[JobKey], since: float, until: float
    ) -> Iterator[tuple[JobKey, list[Row]]]:
        """Yield each of many jobs with its rows, and the one that stands at ``since``.

        Others of before may come with it.  Of one whose day is kept as buckets only, no
        more is known than ``standing`` says.
        """
        for key, rows in self.rows_of(keys, since - _SHORTLY_S, until):
            if not rows or rows[0].at > since:
                before = self._before(key, since, until)
                rows = rows if before is None else [before, *rows]
            yield key, rows

    def traces(
        self, names: Mapping[JobKey, str | None], since: float, until: float
    ) -> Iterator[tuple[JobKey, Trace]]:
        """Yield each of many jobs with the same as columns, which is much quicker.

        ``names`` has the value of each whose numbers are wanted; None: how long the
        checks took.
        """
        from lib.storage.historycolumns import merged_trace

        sources = self._sources(since - _SHORTLY_S, until)
        for key, name in names.items():
            found = merged_trace(sources, str(key), name)
            found = found.between(since - _SHORTLY_S, until)
            if not found.moments or found.moments[0] > since:
                before = self._before(key, since, until)
                found = found if before is None else found.after(before)
            yield key, found

    def _before(self, key: JobKey, since: float, until: float) -> Row | None:
        """Return the row that stands at ``since``, if one is known to."""
        found = self.standing(key, since)
        if found is not None:
            return found
        # Its own day has been thinned; the next one that has not says what it was.
        for name in row_files(listed(self.folder)):
            if since < span_of(name)[0] < until:
                before = self._whole(name).before(str(key))
                return before if before is not None and before.at <= since else None
        return None

    def slowest(
        self, keys: Collection[JobKey], since: float, until: float
    ) -> dict[JobKey, tuple[float, float]]:
        """Return of each job how many seconds its slowest check took, and when it was.

        Of days whose results are not kept one by one, when to five minutes or an hour.
        Of equal ones the first.
        """
        from lib.storage.historybuckets import BucketFile

        row_days, found = set(self._row_days()), dict[JobKey, tuple[float, float]]()
        names = listed(self.folder)
        # The oldest first, so that of equal ones the first stays.
        for name in sorted((*row_files(names), *bucket_files(names)), key=span_of):
            begin, end = span_of(name)
            if not _is_within(name, since, until):
                continue
            is_whole = since <= begin and end <= until
            source: Checks
            if name.endswith(tuple(STEPS)):
                # A day of which there are rows is known better.
                days = range(int(begin // _DAY_S), int(end // _DAY_S))
                better = row_days.intersection(days)
                is_whole = is_whole and not better
                source = BucketFile(self.folder / name, better, self._losses)
                source = self.names.joined_checks(source)
            else:
                source = self._source(name, since, until)
            for key in keys:
                known = found.get(key, (-1.0, 0.0))
                # Most often it is enough to look at the most.
                if is_whole and source.most(str(key)) <= known[0]:
                    continue
                checks = source.trace(str(key), None).between(since, until)
                most = max(checks.numbers, default=-1.0)
                if most > known[0]:
                    found[key] = most, checks.moments[checks.numbers.index(most)]
        return found

    def days(
        self, keys: Collection[JobKey] | None = None, count: int = 90, until: float = 0
    ) -> dict[JobKey, dict[str, Share]]:
        """Return the time of jobs by day, the last ``count`` days up to ``until``.

        A day is a text such as 2026-11-29; a day without one has no result at all.
        ``keys``: None: of all jobs.  ``until``: 0: today, as far as it was counted.
        """
        summary = self._summary()
        last = local_day(until, self.zone) if until else summary.today
        if not last:
            return {}
        first = (date.fromisoformat(last) - timedelta(days=count - 1)).isoformat()
        wanted = None if keys is None else {str(key) for key in keys}
        renamed = {str(one.old) for one in self.names.renames}
        found: dict[str, dict[str, Share]] = {}
        for day, bars in self._bars(first, last):
            if day == summary.today:
                # It was over in another time zone.
                continue
            for key, times in bars.items():
                if key in renamed:
                    key = self._owner_at_end(key, day)
                if wanted is None or key in wanted:
                    found.setdefault(key, {})[day] = Share(*times)
        if first <= summary.today <= last:
            for key, one in summary.jobs.items():
                if (wanted is None or key in wanted) and any(one.times):
                    found.setdefault(key, {})[summary.today] = Share(*one.times)
        return {JobKey.parse(key): by_day for key, by_day in found.items()}

    def _bars(self, first: str, last: str) -> Iterator[tuple[str, Bars]]:
        try:
            yield from bars_in(content_of(self.folder / BARS), first, last)
        except NewerState as error:
            logger.warning("%s is not read on: %s", BARS, error)

    def _owner_at_end(self, key: str, day: str) -> str:
        """Return whose a day is that is counted under a key."""
        end = next_midnight(day, self.zone)
        return str(self.names.owner(JobKey.parse(key), end - 1))

    def buckets(self, key: JobKey, since: float, until: float) -> list[Bucket]:
        """Return a job's results as buckets, the oldest first, for graphs.

        They are of five minutes, those of older days of an hour: whatever is kept.
        The first and the last may lie partly outside.
        """
        from lib.storage.historybuckets import buckets_of

        row_days, step = self._row_days(), STEPS[MINUTES]
        found = self._kept_buckets(key, since, until, row_days)
        since -= since % step
        for begin, end in _between(self._bucket_days(row_days), since, until):
            rows, standing = self.rows(key, begin, end), self._before(key, begin, end)
            found += buckets_of(rows, standing, begin, end, step)
        return sorted(found, key=lambda bucket: bucket.at)

    def known(self, key: JobKey, since: float, until: float) -> list[Known]:
        """Return how much of a time is known of a job, piece by piece.

        The pieces follow each other: buckets, what is between them, and days of which
        no bucket is kept.  The first and the last may lie partly outside.
        """
        names = listed(self.folder)
        names = [*row_files(names), *bucket_files(names)]
        begins = min((span_of(name)[0] for name in names), default=until)
        found = self._known_by_day(key, since, min(begins, until))
        for bucket in self.buckets(key, max(since, begins), until):
            known_s = sum(bucket.share[:-1])
            found.append(Known(bucket.at, bucket.at + bucket.step_s, known_s))
        return list(_without_gaps(found, since, until))

    def _known_by_day(self, key: JobKey, since: float, until: float) -> list[Known]:
        if since >= until:
            return []
        count = int((until - since) // _DAY_S) + 2
        found = []
        for day, share in sorted(self.days({key}, count, until).get(key, {}).items()):
            begin = begin_of(day, self.zone)
            ends = next_midnight(day, self.zone)
            known_s = sum(share[:-1])
            if until < ends:
                # What comes then has buckets.
                known_s -= sum(self.share(key, until, ends)[:-1])
                ends = until
            if since < ends:
                known_s = min(max(known_s, 0.0), ends - begin)
                found.append(Known(begin, ends, known_s))
        return found

    def share(self, key: JobKey, since: float, until: float) -> Share:
        """Return how a job's time from ``since`` to ``until`` is shared.

        Exactly, as long as its results are kept; of older time as its buckets say, of
        which one that lies partly outside counts by the part.  ``days`` is quicker for
        many jobs and whole days.
        """
        ((_key, share),) = self.shares((key,), since, until)
        return share

    def shares(
        self, keys: Collection[JobKey], since: float, until: float
    ) -> Iterator[tuple[JobKey, Share]]:
        """Yield each of many jobs with how its time is shared, as ``share`` returns it.

        What a file has for all jobs is read once.
        """
        row_days = self._row_days()
        spans = list(_between(self._bucket_days(row_days), since, until))
        traced = [self.traces(dict.fromkeys(keys), *span) for span in spans]
        for key in keys:
            times = Share()
            for bucket in self._kept_buckets(key, since, until, row_days):
                ends = min(until, bucket.at + bucket.step_s)
                part = (ends - max(since, bucket.at)) / bucket.step_s
                times += Share(*(part * seconds for seconds in bucket.share))
            for span, traces in zip(spans, traced, strict=True):
                _key, trace = next(traces)
                times += trace.share(*span)
            yield key, times._replace(nothing=until - since - sum(times[:-1]))

    def jobs(self, since: float, until: float) -> set[JobKey]:
        """Return the jobs of which there may be results of a time."""
        from lib.storage.historycolumns import ColumnFile

        keys = set().union(*(one.keys() for one in self._sources(since, until)))
        for name, (begin, end) in reaches(listed(self.folder)).items():
            if begin < until and since < end:
                file = ColumnFile(self.folder / name, losses=self._losses)
                keys |= self.names.owners(file.keys())
        return set(map(JobKey.parse, keys))

    def standing(self, key: JobKey, moment: float) -> Row | None:
        """Return the last row of a job before a moment; None: there is none.

        Of one whose day is kept as buckets only, no more is known than when it was,
        its status, what held its alerts back, and for how long it stands.
        """
        for name in reversed(row_files(listed(self.folder))):
            begin, _end = span_of(name)
            if begin > moment:
                continue
            source = self._whole(name)
            rows = [row for row in source.rows(str(key)) if row.at < moment]
            if rows:
                return max(rows, key=lambda row: row.at)
            # A day says what stood before it; an hour does not.
            if "T" not in name:
                return source.before(str(key))
        return None

    def uptimes(
        self, keys: Collection[JobKey] | None = None, days: int = 30, until: float = 0
    ) -> dict[JobKey, Share]:
        """Return the time of jobs over the last ``days`` days, today included."""
        return {
            key: sum(by_day.values(), Share())
            for key, by_day in self.days(keys, days, until).items()
        }

    def changes(
        self, key: JobKey | None = None, since: float = 0.0, until: float = float("inf")
    ) -> list[Change]:
        """Return the changes of status, the oldest first; of one job, or of all."""
        found = {}
        parts = () if key is None else self.names.parts(key)
        wanted = [msgspec.json.encode(part.key) for part in parts] or [b""]
        for line in self._change_lines(since, until):
            # Most lines are of other jobs.
            is_wanted = any(name in line for name in wanted)
            change = change_of(line) if is_wanted else None
            if change is None or not since <= change.at < until:
                continue
            change = change._replace(key=self.names.owner(change.key, change.at))
            if key in (None, change.key):
                # A run that was killed may have written it twice.
                found[change.key, change.at] = change
        return sorted(found.values(), key=lambda change: (change.at, change.key))

    def _change_lines(self, since: float, until: float) -> Iterator[bytes]:
        """Yield the lines of changes, if they may be of a time."""
        for name in (*old_changes(listed(self.folder)), CHANGES):
            path = self.folder / name
            content, lost = content_of(path), list[bytes]()
            if name.endswith(PACKED):
                try:
                    with naming(path):
                        note = partial(lost.append, b"")
                        content = _unpacked_changes(content, since, until, note)
                except NewerState as error:
                    self._losses.unread(path, error)
                    logger.warning("it is not read on: %s", error)
                    continue
            else:
                lost = _damaged_lines(content)
            self._losses.damaged_changes(path, len(lost))
            yield from content.split(b"\n")

    def policies(self) -> dict[str, bytes]:
        """Return the terms of each policy that a run had, as JSON text, by its hash."""
        found = {}
        for line in content_of(self.folder / POLICIES).split(b"\n"):
            name, _space, text = line.partition(b" ")
            if hash_of(text) == name.decode("ascii", "replace"):
                found[name.decode()] = text
        return found

    def rows_since(self) -> float | None:
        """Return from when on there are rows; None: there are none."""
        names = row_files(listed(self.folder))
        return min((span_of(name)[0] for name in names), default=None)

    def troubles(self, now: datetime) -> list[str]:
        """Return what is missing of it, since when, and what to do; empty: nothing.

        Of what is damaged that is what was met by whatever was read of it so far.
        """
        try:
            os.scandir(self.folder).close()
        except FileNotFoundError:
            # No run has written yet.
            return []
        except OSError as error:
            return [f"nothing is shown: {trouble(self.folder, 'read it', error)}"]
        if why := self.not_written(now):
            return [why]
        summary = self._summary()
        found = self.lost_time()
        if not summary.log and row_files(listed(self.folder)):
            found.append(
                f"{self.folder / NOW} and {BEFORE} are damaged or gone: the latest "
                "results and the time of today are missing until the next run, which "
                "counts anew what it can"
            )
        if summary.today_since:
            since = table_time(utc(summary.today_since), self.zone, now)
            found.append(
                f"{self.folder / NOW} was lost, or the time zone was changed: the time "
                f"of today before {since} counts as unknown until the day is over, and "
                "is counted anew then"
            )
        if summary.changes_lost_at:
            lost_at = utc(summary.changes_lost_at)
            since = table_time(lost_at, self.zone, now)
            found.append(f"since {since} {lost_changes(self.folder)}")
        elif self._are_changes_lost(summary):
            found.append(lost_changes(self.folder))
        self._note_newer()
        return [*found, *self._losses.texts()]

    def _are_changes_lost(self, summary: Summary) -> bool:
        try:
            return are_changes_lost(self.folder, summary)
        except OSError:
            # What reads them says so.
            return False

    def look_through(self) -> None:
        """Read all results that are kept, so that ``troubles`` says what is damaged."""
        from lib.storage.historycolumns import ColumnFile

        for name in row_files(listed(self.folder)):
            if name.endswith(LOG):
                self._source(name, 0.0, float("inf"))
            else:
                ColumnFile(self.folder / name, losses=self._losses).look_through()

    def _note_newer(self) -> None:
        """Note which files of hours, days and months a newer Checker wrote."""
        names = listed(self.folder)
        for name in (*row_files(names), *bucket_files(names)):
            path = self.folder / name
            try:
                refuse_newer(path)
            except NewerState as error:
                self._losses.unread(path, error)

    def lost_days(self) -> list[str]:
        """Return the days that are over and have results, and no time in bars.log.

        Or one by the midnights of another time zone.  The oldest is first.  Raise
        NewerState.
        """
        today = self._today()
        known = days_in(content_of(self.folder / BARS))
        return [
            day
            for day in self._days_with_files()
            if day < today and known.get(ordinal_of(day)) != begin_of(day, self.zone)
        ]

    def _today(self) -> str:
        """Return the day of the last run; empty: none is known."""
        summary = self._summary()
        if not row_files([summary.log]):
            return ""
        # The clock may have been ahead once, of which it says today.
        begin = span_of(summary.log)[0]
        return min(summary.today, local_day(begin, self.zone))

    def _days_of_nothing(self, known: Collection[int]) -> list[str]:
        """Return the days before today of which neither time nor results are kept.

        ``known``: the days that bars.log has.
        """
        today, first = self._today(), self._first_change()
        if not today or first is None:
            return []
        days = range(ordinal_of(local_day(first, self.zone)), ordinal_of(today))
        lost = [date.fromordinal(day).isoformat() for day in days if day not in known]
        kept = set(self._days_with_files())
        return [day for day in lost if day not in kept]

    def _days_with_files(self) -> list[str]:
        """Return the days where people live of which there may be results."""
        names, row_days, found = listed(self.folder), self._row_days(), set[str]()
        for day in self._bucket_days(row_days).union(row_days):
            for moment in (day * _DAY_S, (day + 1) * _DAY_S - 1):
                found.add(local_day(moment, self.zone))
        # A month's file says nothing of when it begins; the first change does.
        of_days = [
            name for name in bucket_files(names) if len(name) > len("2026-11.1h")
        ]
        ends = [span_of(name)[1] - 1 for name in (*row_files(names), *of_days)]
        begun = [self._first_change(), *ends]
        first = min((at for at in begun if at is not None), default=0.0)
        return sorted(day for day in found if day >= local_day(first, self.zone))

    def _first_change(self) -> float | None:
        """Return when the oldest change on record was written; None: there is none."""
        lines = self._change_lines(0.0, float("inf"))
        changes = (change_of(line) for line in lines)
        return next((change.at for change in changes if change is not None), None)

    def lost_time(self) -> list[str]:
        """Return in words of which days bars.log has lost the time, if of any."""
        path, damage = self.folder / BARS, list[bytes]()
        try:
            known = days_in(content_of(path), partial(damage.append, b""))
            lost = self.lost_days()
        except NewerState as error:
            return [f"{path}: {error}"]
        moved = [day for day in lost if ordinal_of(day) in known]
        gone = [day for day in lost if day not in moved]
        nothing = self._days_of_nothing(known) if damage else []
        found = []
        if gone:
            found.append(
                f"{path} is not whole: the time of {which_days(gone)} counts as "
                "unknown in uptimes, bars and the lengths of outages until runs have "
                "counted it anew; days of which no results are kept stay unknown "
                "unless you put it back from a backup"
            )
        if nothing:
            found.append(
                f"{path} is damaged: the time of {which_days(nothing)}, of which no "
                "results are kept, counts as unknown in uptimes, bars and the lengths "
                "of outages; put it back from a backup"
            )
        if moved:
            found.append(
                f"{path}: the time of {which_days(moved)} was counted by another time "
                "zone; uptimes, bars and the lengths of outages are only near the "
                "truth until runs have counted it anew"
            )
        return found

    def not_written(self, now: datetime) -> str:
        """Return since when no run adds to it, why, and what to do; empty: runs do."""
        logs = [name for name in row_files(listed(self.folder)) if name.endswith(LOG)]
        try:
            ends = read_summary(self.folder).ends
            for name in logs:
                _refuse_newer(self.folder / name, ends.get(name, 0))
        except NewerState as error:
            written_at = max(_written_at(self.folder / name) for name in (NOW, *logs))
            since = table_time(utc(written_at), self.zone, now)
            return f"nothing is added since {since}: {error}"
        return ""

    def size(self) -> int:
        """Return how many bytes its files have."""
        try:
            with os.scandir(self.folder) as entries:
                return sum(entry.stat().st_size for entry in entries)
        except OSError:
            return 0

    def _summary(self) -> Summary:
        try:
            return read_summary(self.folder)
        except NewerState as error:
            logger.warning("the history is not read: %s", error)
            return Summary()

    def _sources(self, since: float, until: float) -> list[Source]:
        """Return what has rows of a time: the days, the hours, the logs."""
        return [
            self._source(name, since, until)
            for name in row_files(listed(self.folder))
            if _is_within(name, since, until)
        ]

    def _whole(self, name: str) -> Source:
        """Return a file with rows; what is asked of it for many jobs is read once."""
        if name not in self._wholes:
            while len(self._wholes) >= KEPT_WHOLE:
                del self._wholes[next(iter(self._wholes))]
            self._wholes[name] = self._source(name, 0.0, float("inf"))
        return self._wholes[name]

    def _row_days(self) -> list[int]:
        """Return the days, counted from 1970, of which there are rows."""
        names = row_files(listed(self.folder))
        return sorted({int(span_of(name)[0] // _DAY_S) for name in names})

    def _bucket_days(self, row_days: Collection[int]) -> set[int]:
        """Return the days of which there are buckets alone."""
        found = set[int]()
        for begin, end in reaches(listed(self.folder)).values():
            found.update(range(int(begin // _DAY_S), int(end // _DAY_S)))
        return found.difference(row_days)

    def _kept_buckets(
        self, key: JobKey, since: float, until: float, row_days: Collection[int]
    ) -> list[Bucket]:
        """Return the buckets of the days that have no rows any more."""
        found: list[Bucket] = []
        # A day of which there are both was just being made.
        known = set(row_days)
        spans = reaches(listed(self.folder))
        for ending in STEPS:
            days = set()
            for name, (begin, end) in spans.items():
                if not name.endswith(ending) or end <= since or until <= begin:
                    continue
                for bucket in self._buckets_in(name, key):
                    day = int(bucket.at // _DAY_S)
                    is_inside = bucket.at < until and since < bucket.at + bucket.step_s
                    if day not in known and is_inside:
                        days.add(day)
                        found.append(bucket)
            known |= days
        # What a day has itself comes before what the next one has of it.
        return sorted({bucket.at: bucket for bucket in reversed(found)}.values())

    def _buckets_in(self, name: str, key: JobKey) -> Iterator[Bucket]:
        """Yield the buckets of a job in a file."""
        from lib.storage.historybuckets import unpacked_buckets
        from lib.storage.historycolumns import ColumnFile

        file, step = (
            ColumnFile(self.folder / name, losses=self._losses),
            STEPS[name[name.index(".") :]],
        )
        for part in self.names.parts(key):
            there = file.block(part.key)
            if there is not None:
                for bucket in unpacked_buckets(*there, step):
                    if part.since < bucket.at + step and bucket.at < part.until:
                        yield bucket

    def _source(self, name: str, since: float, until: float) -> Source:
        path = self.folder / name
        if name.endswith(LOG):
            note = partial(self._losses.damaged, path, "results of a run are missing")
            try:
                with naming(path):
                    log = RunLog(content_of(path), 0, since, until, note)
            except NewerState as error:
                self._losses.unread(path, error)
                logger.warning("the history is not read: %s", error)
                return RunLog(b"")
            return self.names.joined(log)
        from lib.storage.historycolumns import ColumnFile

        return self.names.joined(ColumnFile(path, losses=self._losses))


def _written_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _refuse_newer(path: Path, start: int) -> None:
    """Raise NewerState, which names the file, if a newer Checker wrote on there."""
    with naming(path):
        for _block in blocks(content_of(path), start):
            pass


def _damaged_lines(content: bytes) -> list[bytes]:
    """Return the lines that are not whole, and that were not written again."""
    lines = content.split(b"\n")
    # A run may just be writing the last one.
    damaged = [line for line in lines[:-1] if line and text_of(line) is None]
    ordered = sorted(set(lines)) if damaged else []

    def is_written_again(line: bytes) -> bool:
        """Return whether a run had it cut off, and the next one wrote it whole."""
        place = bisect_right(ordered, line)
        return place < len(ordered) and ordered[place].startswith(line)

    return [line for line in damaged if not is_written_again(line)]


def packed_changes(content: bytes) -> bytes:
    """Return lines of changes as blocks, which say of which time they are."""
    lines, found = content.split(b"\n"), bytearray()
    for first in range(0, len(lines), CHANGES_IN_BLOCK):
        part = lines[first : first + CHANGES_IN_BLOCK]
        changes = [change for line in part if (change := change_of(line)) is not None]
        if changes:
            moments = [max(0, round(change.at * 1000)) for change in changes]
            payload = zlib.compress(b"\n".join(part), 9)
            count, span = len(changes), (min(moments), max(moments))
            found += block(CHANGES_KIND, count, *span, payload)
    return bytes(found)


def _unpacked_changes(
    content: bytes, since: float, until: float, passed_over: Callable[[], None]
) -> bytes:
    def wants(one: Block) -> bool:
        is_kind = one.kind == CHANGES_KIND
        return is_kind and one.at_ms / 1000 < until and since <= one.names_at / 1000

    return b"\n".join(
        zlib.decompress(payload_of(content, one))
        for one in blocks(content, 0, wants, passed_over)
    )


def _is_within(name: str, since: float, until: float) -> bool:
    """Return whether a file may have results of a time."""
    begins, ends = span_of(name)
    return begins < until and since < ends


def _between(
    days: Collection[int], since: float, until: float
) -> Iterator[tuple[float, float]]:
    """Yield from when to when a time lies in none of these days.

    A day without any file is such time: what stood before it may stand still.
    """
    begin = since
    for day in sorted(days):
        start, end = float(day * _DAY_S), float((day + 1) * _DAY_S)
        if begin < min(start, until):
            yield begin, min(start, until)
        begin = max(begin, end)
    if begin < until:
        yield begin, until


def _without_gaps(
    found: Iterable[Known], since: float, until: float
) -> Iterator[Known]:
    """Yield these, and between them what is not known at all."""
    at = since
    for one in found:
        if at < one.at:
            yield Known(at, one.at, 0.0)
        yield one
        at = one.ends
    if at < until:
        yield Known(at, until, 0.0)

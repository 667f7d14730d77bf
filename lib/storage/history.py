"""state/history/: the result of each check, as runs append them and reports read them.

Runs append to ``HOUR.log`` (``historyblocks.py``), which they sum up in ``now.bin``
(``historynow.py``).  An hour that is over becomes ``HOUR.rows``, and the hours of a day
that is over become ``DAY.rows``: columns by job (``historycolumns.py``).  ``bars.log``
has the time of each job by day, for all days before today; ``changes.log`` each change
of status, for ever; ``policies.log`` each policy once.  Hours and days are of UTC.

Times are seconds since 1970 (float), durations are seconds.  What is damaged is passed
over; the rest is read.
"""

from __future__ import annotations

import logging
import os
import re
import zlib
from collections.abc import Collection, Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from lib.core.jobs import JobKey
from lib.storage.historyblocks import (
    BARS_KIND,
    Block,
    RunLog,
    block,
    blocks,
    payload_of,
)
from lib.storage.historynow import NOW, Summary, content_of, local_day, read_summary
from lib.storage.historyrows import (
    CODES,
    MAX_REASON,
    STATUSES,
    TIMES,
    Change,
    Result,
    Row,
    Share,
    change_of,
    hash_of,
    share_of,
)
from lib.system.errors import NewerState

if TYPE_CHECKING:
    from lib.storage.historycolumns import Source

#: What reports need beside what is defined here.
__all__ = (
    "CODES",
    "MAX_REASON",
    "STATUSES",
    "TIMES",
    "Change",
    "History",
    "Result",
    "Row",
    "Share",
    "share_of",
)

logger = logging.getLogger(__name__)

FOLDER = "history"
BARS, CHANGES, POLICIES = "bars.log", "changes.log", "policies.log"
LOG, ROWS = ".log", ".rows"

_ROW_FILE = re.compile(r"(\d{4}-\d\d-\d\d)(T\d\d)?(\.log|\.rows)")


class History:
    """state/history/ as reports read it.  Nothing of it is written."""

    def __init__(self, state: Path, zone: tzinfo | None = None) -> None:
        self.folder = state / FOLDER
        #: Where people live: a day is one of theirs, of 23 to 25 hours.
        self.zone = zone

    def latest(self) -> dict[JobKey, Row]:
        """Return the last row of every job."""
        jobs = self._summary().jobs
        return {JobKey.parse(key): one.row() for key, one in jobs.items()}

    def rows(self, key: JobKey, since: float, until: float) -> list[Row]:
        """Return a job's rows from ``since`` up to, not including, ``until``.

        The oldest is first.  Damaged blocks are passed over.
        """
        from lib.storage.historycolumns import merged

        rows = merged(self._sources(since, until), str(key))
        return [row for row in rows if since <= row.at < until]

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
        found: dict[str, dict[str, Share]] = {}
        for day, bars in _bars_in(content_of(self.folder / BARS), first, last):
            for key, times in bars.items():
                if wanted is None or key in wanted:
                    found.setdefault(key, {})[day] = Share(*times)
        if first <= summary.today <= last:
            for key, one in summary.jobs.items():
                if (wanted is None or key in wanted) and any(one.times):
                    found.setdefault(key, {})[summary.today] = Share(*one.times)
        return {JobKey.parse(key): by_day for key, by_day in found.items()}

    def share(self, key: JobKey, since: float, until: float) -> Share:
        """Return how a job's time from ``since`` to ``until`` is shared, exactly.

        From its rows; ``days`` is quicker for many jobs and whole days.
        """
        # A day's result may stand at the beginning.
        rows = self.rows(key, since - 2 * 86_400, until)
        return share_of(rows, since, until)

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
        wanted = b"" if key is None else msgspec.json.encode(str(key))
        for line in content_of(self.folder / CHANGES).split(b"\n"):
            # Most lines are of other jobs.
            change = change_of(line) if wanted in line else None
            if (
                change is not None
                and since <= change.at < until
                and key in (None, change.key)
            ):
                # A run that was killed may have written it twice.
                found[change.key, change.at] = change
        return sorted(found.values(), key=lambda change: (change.at, change.key))

    def policies(self) -> dict[str, bytes]:
        """Return each policy that a run had, as JSON text, by its hash."""
        found = {}
        for line in content_of(self.folder / POLICIES).split(b"\n"):
            name, _space, text = line.partition(b" ")
            if hash_of(text) == name.decode("ascii", "replace"):
                found[name.decode()] = text
        return found

    def rows_since(self) -> float | None:
        """Return from when on there are rows; None: there are none."""
        names = row_files(self.folder)
        return min((span_of(name)[0] for name in names), default=None)

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
            logger.warning("%s is not read: %s", self.folder / NOW, error)
            return Summary()

    def _sources(self, since: float, until: float) -> list[Source]:
        """Return what has rows of a time: the days, the hours, the logs."""
        found = []
        for name in row_files(self.folder):
            begins, ends = span_of(name)
            if begins < until and since < ends:
                found.append(self._source(name, since, until))
        return found

    def _source(self, name: str, since: float, until: float) -> Source:
        path = self.folder / name
        if name.endswith(LOG):
            try:
                return RunLog(content_of(path), 0, since, until)
            except NewerState as error:
                logger.warning("%s is not read: %s", path, error)
                return RunLog(b"")
        from lib.storage.historycolumns import ColumnFile

        return ColumnFile(path)


def utc_hour(moment: float) -> str:
    """Return the hour of UTC of a moment, as its log is called."""
    latest = 253_402_300_799.0
    return datetime.fromtimestamp(min(moment, latest), UTC).strftime("%Y-%m-%dT%H")


def row_files(folder: Path) -> list[str]:
    """Return the names of the files that have rows: of each day, then its hours."""
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    return sorted(name for name in names if _ROW_FILE.fullmatch(name))


def has_old_hours(folder: Path) -> bool:
    """Return whether a log, or an hour of another day, is to be made small."""
    names = row_files(folder)
    logs = [name for name in names if name.endswith(LOG)]
    if len(logs) != 1:
        return len(logs) > 1
    return any("T" in name and name[:10] < logs[0][:10] for name in names)


def span_of(name: str) -> tuple[float, float]:
    """Return when the time begins and ends of which a file has rows."""
    begin = datetime.fromisoformat(name.partition(".")[0]).replace(tzinfo=UTC)
    length_s = 3600 if "T" in name else 86_400
    return begin.timestamp(), begin.timestamp() + length_s


def bars_block(day: str, bars: dict[str, list[float]]) -> bytes:
    """Return a block of how long each job was what on a day."""
    payload = zlib.compress(msgspec.json.encode((day, bars)))
    return block(BARS_KIND, len(bars), 0, date.fromisoformat(day).toordinal(), payload)


def _bars_in(
    content: bytes, first: str, last: str
) -> Iterator[tuple[str, dict[str, list[float]]]]:
    days = range(
        date.fromisoformat(first).toordinal(), date.fromisoformat(last).toordinal() + 1
    )

    def wants(one: Block) -> bool:
        return one.kind == BARS_KIND and one.names_at in days

    try:
        for one in blocks(content, 0, wants):
            text = zlib.decompress(payload_of(content, one))
            yield msgspec.json.decode(text, type=tuple[str, dict[str, list[float]]])
    except NewerState as error:
        logger.warning("%s is not read on: %s", BARS, error)

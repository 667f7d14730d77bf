"""now.bin of state/history/: what the logs say, summed up.

It has the last row of each job, and its time today.  It is derived: a run that finds
it behind reads the logs again from there.  ``before.bin`` is what it was when the
current log was begun, for the case that it is lost.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from math import isfinite
from pathlib import Path

import msgspec

from lib.core.jobs import JobKey
from lib.core.text import in_zone
from lib.storage.historyblocks import NOW_KIND, blocks, naming, payload_of
from lib.storage.historyfiles import BARS, CHANGES, LOG, listed, old_changes
from lib.storage.historyrows import (
    CODES,
    NOTHING,
    STATUSES,
    TIME_OF_CODE,
    TIMES,
    Change,
    Rename,
    Result,
    Row,
    rounded,
)

logger = logging.getLogger(__name__)

NOW, BEFORE = "now.bin", "before.bin"
FORGET_AFTER_S = 14 * 86_400.0
#: For how long it is said that something was lost.
SAID_FOR_S = 14 * 86_400.0


def content_of(path: Path) -> bytes:
    """Return what a file holds; nothing if it is missing, or cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        _say_unreadable(path, error.strerror or str(error))
        return b""


@lru_cache
def _say_unreadable(path: Path, why: str) -> None:
    """Log it, once in a process: a report looks into a file several times."""
    logger.warning("%s cannot be read: %s", path, why)


class Latest(msgspec.Struct, array_like=True):
    """What the blocks up to now say of one job."""

    at: float = 0.0
    #: Its status and its code, as places in STATUSES and CODES; -1: none.
    status: int = -1
    code: int = 0
    holds_s: float = 0.0
    seconds: float = 0.0
    values: Mapping[str, float] = {}
    reason: str = ""
    policy: str = ""
    #: Up to when its time is counted, and the seconds of today, by TIMES.
    counted_to: float = 0.0
    times: list[float] = msgspec.field(default_factory=lambda: [0.0] * len(TIMES))

    def row(self) -> Row:
        """Return its last row."""
        return Row(
            self.at,
            STATUSES[self.status],
            CODES[self.code],
            self.seconds,
            {name: rounded(number) for name, number in self.values.items()},
            self.reason,
            self.policy,
            self.holds_s,
        )

    def count_to(self, moment: float) -> None:
        """Count the time up to a moment: as its status, as long as that holds."""
        start = self.counted_to
        if start > moment + 60:
            # The clock was set back.
            self.counted_to = moment
            return
        if self.status < 0 or moment <= start:
            self.counted_to = max(start, moment) if self.status >= 0 else moment
            return
        held_to = min(moment, max(start, self.at + self.holds_s))
        kind = TIME_OF_CODE.get(self.code, self.status)
        self.times[kind] += held_to - start
        self.times[NOTHING] += moment - held_to
        self.counted_to = moment


class Summary(msgspec.Struct):
    """now.bin: what the logs say up to where they were read."""

    #: The log that was written last, and where in it the names of the jobs are.
    log: str = ""
    names_at: int = -1
    #: Up to where each log was read.
    ends: dict[str, int] = {}
    #: The day that times are counted for, where people live, as 2026-11-29.
    today: str = ""
    #: When it began, by the time zone of then.
    today_at: float = 0.0
    #: From when on it is counted where now.bin was lost, or another time zone came to
    #: count; 0: from its beginning.
    today_since: float = 0.0
    jobs: dict[str, Latest] = {}
    policies: list[str] = []
    #: How long changes.log is, and when a run found that it had become shorter.
    changes_bytes: int = 0
    changes_lost_at: float = 0.0


def read_summary(folder: Path) -> Summary:
    """Return what now.bin says; what before.bin does if it is damaged or missing.

    That is as of the log before the current one.  An empty one if both are.  Raise
    NewerState, which names the file, if a newer Checker wrote it.
    """
    for name in (NOW, BEFORE):
        with naming(folder / name):
            summary = _summary_in(content_of(folder / name))
        if summary is not None:
            return summary
    return Summary()


def _summary_in(content: bytes) -> Summary | None:
    for one in blocks(content):
        if one.kind == NOW_KIND:
            try:
                payload = payload_of(content, one)
                return msgspec.msgpack.decode(payload, type=Summary)
            except msgspec.MsgspecError:
                return None
    return None


def are_changes_lost(folder: Path, summary: Summary) -> bool:
    """Return whether changes of status are gone which a run had written."""
    size = size_of(folder / CHANGES)
    if size and size >= summary.changes_bytes:
        return False
    asides = old_changes(listed(folder))
    if size < summary.changes_bytes:
        # A run that was killed may just have set them aside.
        return not any(name.endswith(LOG) for name in asides)
    return not asides and (folder / BARS).exists()


def size_of(path: Path) -> int:
    """Return how many bytes a file has; 0 if it is missing."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def lost_changes(folder: Path) -> str:
    """Return in words that changes of status were lost, and what to do."""
    return (
        f"{folder / CHANGES} is shorter than it was: changes of status are missing in "
        "outages, incidents and -m history; put it back from a backup"
    )


def local_day(moment: float, zone: tzinfo | None) -> str:
    """Return the day of a moment where people live."""
    return in_zone(datetime.fromtimestamp(moment, UTC), zone).date().isoformat()


def midnight(day: date, zone: tzinfo | None) -> float:
    """Return when a day begins; None: in this machine's zone."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()


def begin_of(day: str, zone: tzinfo | None) -> float:
    """Return when a day begins where people live."""
    return midnight(date.fromisoformat(day), zone)


def next_midnight(day: str, zone: tzinfo | None) -> float:
    """Return when a day is over where people live."""
    return midnight(date.fromisoformat(day) + timedelta(days=1), zone)


class Counted:
    """Takes results in their order, and sums them up."""

    def __init__(
        self, summary: Summary, zone: tzinfo | None, renames: Sequence[Rename] = ()
    ) -> None:
        self.summary, self._zone, self._renames = summary, zone, renames
        #: The bars of days that are over, with when each began; changes of status.
        self.bars: list[tuple[str, dict[str, list[float]], float]] = []
        self.changes: list[Change] = []

    def begin(self, at: float) -> None:
        """Count up to a moment that a run has; finish the days that are over."""
        summary = self.summary
        day = local_day(at, self._zone)
        if not summary.today:
            self._begin_day(day)
        elif summary.today_at != begin_of(summary.today, self._zone):
            self._begin_in_zone(day, at)
        # A clock that was set back changes no day that is over.
        while summary.today < day:
            self._finish(day)
        for one in summary.jobs.values():
            one.count_to(at)
        for rename in self._renames:
            if rename.at <= at:
                self._rename(rename)

    def _rename(self, rename: Rename) -> None:
        """Give a job what its old name has, if that is of before."""
        jobs, old, new = self.summary.jobs, str(rename.old), str(rename.new)
        if old not in jobs or jobs[old].at >= rename.at:
            return
        before = jobs.pop(old)
        if new not in jobs or jobs[new].at < before.at:
            jobs[new] = before
        # The places of the others are not those of the log's names.
        self.summary.names_at = -1

    def _finish(self, day: str) -> None:
        summary = self.summary
        end = next_midnight(summary.today, self._zone)
        bars = {}
        for key, one in summary.jobs.items():
            one.count_to(end)
            if any(one.times):
                bars[key] = list(one.times)
            one.times = [0.0] * len(TIMES)
        # A day of which a part is missing is counted anew from its results.
        if bars and not summary.today_since:
            self.bars.append((summary.today, bars, summary.today_at))
        summary.today_since = 0.0
        self._forget(end)
        following = date.fromisoformat(summary.today) + timedelta(days=1)
        # After a year without a run there is nothing to count of its days.
        is_quiet = all(one.at + one.holds_s < end for one in summary.jobs.values())
        far = (date.fromisoformat(day) - following).days > 100
        self._begin_day(day if is_quiet and far else following.isoformat())

    def _begin_day(self, day: str) -> None:
        self.summary.today = day
        self.summary.today_at = begin_of(day, self._zone)

    def _begin_in_zone(self, day: str, at: float) -> None:
        """Begin a day that was under way when another time zone came to count.

        What was before is counted anew when the day is over.
        """
        self._begin_day(day)
        self.summary.today_since = at
        for one in self.summary.jobs.values():
            one.count_to(at)
            one.times = [0.0] * len(TIMES)

    def _forget(self, midnight: float) -> None:
        """Forget jobs that have had no result for long: they are no more."""
        jobs = self.summary.jobs
        gone = [
            key
            for key, one in jobs.items()
            if one.at + one.holds_s + FORGET_AFTER_S < midnight
        ]
        for key in gone:
            del jobs[key]
        if gone:
            # The places of the others are not those of the log's names.
            self.summary.names_at = -1

    def take(self, key: str, at: float, found: Row | Result, policy: str) -> None:
        """Take a result of the moment that was begun."""
        one = self.summary.jobs.get(key)
        if one is None:
            one = self.summary.jobs[key] = Latest(counted_to=at)
        status, code = STATUSES.index(found.status), CODES.index(found.code)
        if one.status != status or one.code != code:
            before = STATUSES[one.status] if one.status >= 0 else None
            job, reason = JobKey.parse(key), found.reason
            change = Change(job, at, found.status, found.code, reason, before)
            self.changes.append(change)
        one.at, one.status, one.code = at, status, code
        one.holds_s, one.seconds = found.holds_s, found.seconds
        values = found.values
        if not all(map(isfinite, values.values())):
            # JSON, by which others get them, has no word for the others.
            values = {
                name: number for name, number in values.items() if isfinite(number)
            }
        one.values = values
        one.reason, one.policy = found.reason, policy

"""When a bulletin of ``[summary]`` is due, and which number it has.

Pure.  By the clock on the wall of a zone, so that there is one for each day whatever
the clocks do: a time that a day skips comes as much later, one that comes twice counts
the first time.  What was missed, however often, is made good by one.  The rules are
told as stories in ``tests/unit/core/test_calendar.py``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from lib.core.settings import SummaryTimes
from lib.core.text import in_zone

DAILY, WEEKLY = KINDS = ("daily", "weekly")
_WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
#: Within so many days of today each kind has a time before and after, in any zone.
_DAYS_AROUND = {DAILY: 3, WEEKLY: 9}


@dataclass(frozen=True)
class Series:
    """The bulletins of one kind: how many there were, and how far they reach."""

    kind: str
    #: That of the last one; 0 before the first.
    number: int = 0
    #: Times up to this one need no bulletin any more; None while it is switched off.
    reached: datetime | None = None
    #: When the last one was written, or the series began: the next tells of the rest.
    written_at: datetime | None = None
    #: How many runs had been skipped by then, in all.
    skipped: int = 0


@dataclass(frozen=True)
class Issue:
    """A bulletin that is due now."""

    kind: str
    number: int
    #: When it was due; long ago if no run has been able to write it.
    due_at: datetime
    #: What it tells of begins there.
    since: datetime
    #: When the one after it is due.
    next_at: datetime


def is_on(times: SummaryTimes, kind: str) -> bool:
    """Return whether there are bulletins of this kind."""
    return bool(times.daily if kind == DAILY else times.weekly)


def coming(
    times: SummaryTimes, kind: str, now: datetime, zone: tzinfo | None = None
) -> datetime | None:
    """Return when the next bulletin of a kind will be due; None: never.

    ``zone`` None is, here as below, that of this machine, or UTC if it has none that
    can be used.
    """
    return _around(times, kind, now, zone)[1]


def kept_up(
    those: Iterable[Series],
    times: SummaryTimes,
    skipped: int,
    now: datetime,
    zone: tzinfo | None = None,
) -> tuple[Series, ...]:
    """Return the series as the settings have them now, of each kind at most one.

    One that was switched on begins now, so that its first bulletin comes at its next
    time; one that was switched off keeps its number.
    """
    known = {one.kind: one for one in those}
    found = (
        _kept_up(known.get(kind, Series(kind)), times, skipped, now, zone)
        for kind in KINDS
    )
    return tuple(one for one in found if one != Series(one.kind))


def _kept_up(
    series: Series,
    times: SummaryTimes,
    skipped: int,
    now: datetime,
    zone: tzinfo | None,
) -> Series:
    last, next_one = _around(times, series.kind, now, zone)
    if last is None or next_one is None:
        return Series(series.kind, series.number)
    if series.reached is None:
        return replace(series, reached=now, written_at=now, skipped=skipped)
    if series.reached > next_one:
        # The clock was set back; nothing must be silent until it has caught up.
        return replace(series, reached=last, written_at=min(last, now))
    return series


def due(
    series: Series, times: SummaryTimes, now: datetime, zone: tzinfo | None = None
) -> Issue | None:
    """Return the bulletin to write now, if it is time for one."""
    last, next_one = _around(times, series.kind, now, zone)
    reached = series.reached
    if last is None or next_one is None or reached is None or last <= reached:
        return None
    first = coming(times, series.kind, reached, zone) or last
    since = min(series.written_at or reached, now)
    return Issue(series.kind, series.number + 1, first, since, next_one)


def written(
    series: Series,
    times: SummaryTimes,
    skipped: int,
    now: datetime,
    zone: tzinfo | None = None,
) -> Series:
    """Return the series after the bulletin that was due."""
    reached = _around(times, series.kind, now, zone)[0]
    return Series(series.kind, series.number + 1, reached, now, skipped)


def _around(
    times: SummaryTimes, kind: str, now: datetime, zone: tzinfo | None
) -> tuple[datetime | None, datetime | None]:
    """Return the last time of a kind up to now, and the first after it; None: none."""
    if not is_on(times, kind):
        return None, None
    today = in_zone(now, zone).date()
    most = _DAYS_AROUND[kind]
    days = (today + timedelta(days=number) for number in range(-most, most + 1))
    if kind == DAILY:
        moments = [_moment(day, times.daily, zone) for day in days]
    else:
        weekday, clock = times.weekly or ("", "")
        moments = [
            _moment(day, clock, zone) for day in days if _WEEK[day.weekday()] == weekday
        ]
    past = [one for one in moments if one <= now]
    return max(past), min(one for one in moments if one > now)


def _moment(day: date, clock: str, zone: tzinfo | None) -> datetime:
    """Return when the clock on the wall shows a time on a day, the first time.

    Where it skips that time: when as much has passed as if it did not.
    """
    hour, minute = clock.split(":")
    wall = datetime.combine(day, time(int(hour), int(minute)))
    # Without a zone it is this machine's, by timestamp(): astimezone() takes a time
    # that is skipped for an earlier one.
    moment = datetime.fromtimestamp(wall.replace(tzinfo=zone).timestamp(), UTC)
    if zone is None and in_zone(moment).tzinfo is UTC:
        # It is UTC, or cannot be used.
        return wall.replace(tzinfo=UTC)
    return moment

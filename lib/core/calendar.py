"""When a summary of ``[summary]`` or a ``proof`` is due, and which number it has.

Times are local times of a zone.  There is one summary for each day or week whatever
the clocks do: a time that is skipped by summer time is shifted by as much, one that
occurs twice counts the first time.  Missed summaries are replaced by a single one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache

import msgspec
from msgspec.structs import replace

from lib.core.encoding import Count, Moment, Stored
from lib.core.settings import SummaryTimes
from lib.core.text import in_zone

DAILY, WEEKLY = KINDS = ("daily", "weekly")
_WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
#: Within this many days each kind has a due time before and after, in any zone.
_DAYS_AROUND = {DAILY: 3, WEEKLY: 9}


class SummarySeries(Stored, frozen=True):
    """The summaries of one kind: how many were written, and up to when."""

    kind: str
    #: The number of the last summary; 0 before the first.
    number: Count = 0
    #: Due times up to here are covered; None while the kind is switched off.
    covered_until: Moment | None = None
    #: When the last one was written, or the series began: the next one starts there.
    written_at: Moment | None = None
    #: The total of skipped runs at that time.
    skipped: Count = 0


class DueSummary(msgspec.Struct, frozen=True):
    """A summary that is due now."""

    kind: str
    number: int
    #: When it was due; long ago if no run has been able to write it.
    due_at: datetime
    #: The start of the period it covers.
    since: datetime
    #: When the next one is due.
    next_at: datetime


def is_on(times: SummaryTimes, kind: str) -> bool:
    """Return whether summaries of this kind are switched on."""
    return bool(times.daily if kind == DAILY else times.weekly)


def next_time(
    times: SummaryTimes, kind: str, now: datetime, zone: tzinfo | None = None
) -> datetime | None:
    """Return when the next summary of a kind is due; None: never.

    ``zone`` None is, here as below, the zone of this machine, or UTC if its zone
    cannot be used.
    """
    return _around(times, kind, now, zone)[1]


def updated(
    all_series: Iterable[SummarySeries],
    times: SummaryTimes,
    skipped: int,
    now: datetime,
    zone: tzinfo | None = None,
) -> tuple[SummarySeries, ...]:
    """Return the series as the settings ask for them, at most one of each kind.

    A series that was switched on begins now, so that its first summary comes at its
    next time; one that was switched off keeps its number.
    """
    known = {series.kind: series for series in all_series}
    new = (
        _updated(known.get(kind, SummarySeries(kind)), times, skipped, now, zone)
        for kind in KINDS
    )
    return tuple(series for series in new if series != SummarySeries(series.kind))


def _updated(
    series: SummarySeries,
    times: SummaryTimes,
    skipped: int,
    now: datetime,
    zone: tzinfo | None,
) -> SummarySeries:
    last, coming = _around(times, series.kind, now, zone)
    if last is None or coming is None:
        return SummarySeries(series.kind, series.number)
    if series.covered_until is None:
        return replace(series, covered_until=now, written_at=now, skipped=skipped)
    if series.covered_until > coming:
        # The clock was set back; do not wait until it has caught up.
        return replace(series, covered_until=last, written_at=min(last, now))
    return series


def due(
    series: SummarySeries,
    times: SummaryTimes,
    now: datetime,
    zone: tzinfo | None = None,
) -> DueSummary | None:
    """Return the summary to write now; None if none is due."""
    last, coming = _around(times, series.kind, now, zone)
    covered_until = series.covered_until
    if last is None or coming is None or covered_until is None or last <= covered_until:
        return None
    first = next_time(times, series.kind, covered_until, zone) or last
    since = min(series.written_at or covered_until, now)
    return DueSummary(series.kind, series.number + 1, first, since, coming)


def advanced(
    series: SummarySeries,
    times: SummaryTimes,
    skipped: int,
    now: datetime,
    zone: tzinfo | None = None,
) -> SummarySeries:
    """Return the series after the summary that was due was written."""
    covered_until = _around(times, series.kind, now, zone)[0]
    return SummarySeries(series.kind, series.number + 1, covered_until, now, skipped)


def _around(
    times: SummaryTimes, kind: str, now: datetime, zone: tzinfo | None
) -> tuple[datetime | None, datetime | None]:
    """Return the last due time up to now and the next one; None if switched off."""
    if not is_on(times, kind):
        return None, None
    today = in_zone(now, zone).date()
    span = _DAYS_AROUND[kind]
    days = (today + timedelta(days=number) for number in range(-span, span + 1))
    if kind == DAILY:
        moments = [local_moment(day, times.daily, zone) for day in days]
    else:
        weekday, clock = times.weekly or ("", "")
        moments = [
            local_moment(day, clock, zone)
            for day in days
            if _WEEK[day.weekday()] == weekday
        ]
    last = max(moment for moment in moments if moment <= now)
    return last, min(moment for moment in moments if moment > now)


# The test messages of channels.


#: At which time of the day a proof is due, on the first day of its period.
PROOF_CLOCK = "09:00"


class ProofSeries(Stored, frozen=True):
    """The test messages of a channel: how many were written, and up to when."""

    channel: str
    number: Count = 0
    #: Due times up to here are covered.
    covered_until: Moment | None = None


def proof_series(
    known: Iterable[ProofSeries], every: Mapping[str, str], now: datetime
) -> tuple[ProofSeries, ...]:
    """Return the series as the settings ask for them; a new one begins now.

    ``every`` is how often, by channel: daily, weekly or monthly.
    """
    by_name = {series.channel: series for series in known}
    return tuple(by_name.get(name, ProofSeries(name, 0, now)) for name in every)


def proof_times(
    every: str, now: datetime, zone: tzinfo | None
) -> tuple[datetime, datetime]:
    """Return when a proof was due last, and when one is due next."""
    today = in_zone(now, zone).date()
    days = [today + timedelta(days=number) for number in range(-32, 33)]
    if every == WEEKLY:
        days = [day for day in days if day.weekday() == 0]
    elif every != DAILY:
        days = [day for day in days if day.day == 1]
    moments = [local_moment(day, PROOF_CLOCK, zone) for day in days]
    last = max(moment for moment in moments if moment <= now)
    return last, min(moment for moment in moments if moment > now)


def is_proof_due(
    series: ProofSeries, every: str, now: datetime, zone: tzinfo | None
) -> bool:
    """Return whether a proof is to be written: once a period, however late.

    After the clock was set back it does not wait until that has caught up.
    """
    last, coming = proof_times(every, now, zone)
    covered_until = series.covered_until or now
    return last > covered_until or covered_until > coming


def local_moment(day: date, clock: str, zone: tzinfo | None) -> datetime:
    """Return when a local time first occurs on a day.

    A time that summer time skips is shifted forward by the length of the gap.
    """
    # Not kept: the zone of the machine may change.
    if zone is None:
        return _moment_here(day, clock)
    return _moment_in(day, clock, zone)


# Asked for the same days again and again, about each kind and channel.
@lru_cache(512)
def _moment_in(day: date, clock: str, zone: tzinfo) -> datetime:
    moment = _wall(day, clock).replace(tzinfo=zone).timestamp()
    return datetime.fromtimestamp(moment, UTC)


def _moment_here(day: date, clock: str) -> datetime:
    wall = _wall(day, clock)
    # timestamp() without a zone uses this machine's: astimezone() would map a skipped
    # time to an earlier one.
    moment = datetime.fromtimestamp(wall.timestamp(), UTC)
    if in_zone(moment).tzinfo is UTC:
        # The machine's zone is UTC, or cannot be used.
        return wall.replace(tzinfo=UTC)
    return moment


def _wall(day: date, clock: str) -> datetime:
    hour, minute = clock.split(":")
    return datetime.combine(day, time(int(hour), int(minute)))

"""When a bulletin is due: stories of runs and of clocks, with nothing but values."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from msgspec.structs import replace

from lib.core import calendar
from lib.core.calendar import SummarySeries
from lib.core.settings import SummaryTimes

DAILY = SummaryTimes(daily="08:00")
WEEKLY = SummaryTimes(weekly=("mon", "08:00"))
BOTH = SummaryTimes("08:00", ("mon", "08:00"))
OFF = SummaryTimes()
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
#: A Sunday.
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
MORNING = NOON.replace(hour=8)


def a_run(those, times, now, zone=UTC, skipped=0):
    """Return the series after a run, and the bulletins that it wrote."""
    kept, issues = [], []
    for series in calendar.updated(those, times, skipped, now, zone):
        issue = calendar.due(series, times, now, zone)
        if issue:
            issues.append(issue)
            series = calendar.advanced(series, times, skipped, now, zone)
        kept.append(series)
    return tuple(kept), issues


def story(times, runs, zone=UTC, those=()):
    """Return what was written by runs at these moments: (when, issue)."""
    notified = []
    for now in runs:
        those, issues = a_run(those, times, now, zone)
        notified += [(now, issue) for issue in issues]
    return notified


def each_minute(begin, end):
    return [begin + number * MINUTE for number in range((end - begin) // MINUTE)]


# When there is one.


def test_the_first_comes_at_the_next_time_and_not_at_once():
    notified = story(DAILY, each_minute(NOON, NOON + 2 * DAY))
    assert [now for now, _issue in notified] == [MORNING + DAY, MORNING + 2 * DAY]
    first, second = [issue for _now, issue in notified]
    assert (first.number, second.number) == (1, 2)
    assert (first.since, second.since) == (NOON, MORNING + DAY)
    assert first.next_at == MORNING + 2 * DAY


def test_none_comes_where_none_is_asked_for():
    assert story(OFF, each_minute(NOON, NOON + DAY)) == []
    assert a_run((), OFF, NOON) == ((), [])
    for kind in calendar.KINDS:
        assert calendar.next_time(OFF, kind, NOON, UTC) is None


def test_the_weekly_one_comes_on_its_day():
    notified = story(WEEKLY, [NOON + number * DAY / 4 for number in range(60)])
    assert [now for now, _issue in notified] == [NOON + DAY, NOON + 8 * DAY]
    assert {now.weekday() for now, _issue in notified} == {0}


def test_each_kind_has_numbers_of_its_own():
    notified = story(BOTH, [MORNING + number * DAY for number in range(16)])
    numbers = {kind: [] for kind in calendar.KINDS}
    for _now, issue in notified:
        numbers[issue.kind].append(issue.number)
    assert numbers["weekly"] == [1, 2, 3]
    assert numbers["daily"] == list(range(1, 16))


def test_one_that_was_missed_is_made_good_once_and_knows_when_it_was_due():
    away = [MORNING + MINUTE, MORNING + 4 * DAY + 90 * MINUTE]
    ((now, issue),) = story(DAILY, [*away, away[-1] + MINUTE])
    assert now == away[-1]
    assert (issue.number, issue.due_at) == (1, MORNING + DAY)
    assert issue.next_at == MORNING + 5 * DAY


def test_after_a_month_off_it_is_still_one():
    away = [MORNING + MINUTE, MORNING + 30 * DAY]
    assert len(story(DAILY, each_minute(*away)[:2] + [away[-1]])) == 1
    assert len(story(WEEKLY, away)) == 1


# The settings change.


def test_switched_off_and_on_again_the_next_number_comes_at_the_next_time():
    those, _none = a_run((), DAILY, NOON)
    those, (first,) = a_run(those, DAILY, MORNING + DAY)
    those, none = a_run(those, OFF, NOON + DAY)
    assert none == []
    assert those == (SummarySeries("daily", number=1),)
    those, none = a_run(those, DAILY, NOON + 9 * DAY)
    assert none == []
    _those, (second,) = a_run(those, DAILY, MORNING + 10 * DAY)
    assert (first.number, second.number) == (1, 2)
    assert second.since == NOON + 9 * DAY


def test_an_earlier_time_brings_no_second_one_today():
    those, _none = a_run((), DAILY, MORNING - MINUTE)
    those, one = a_run(those, DAILY, MORNING)
    assert len(one) == 1
    earlier = SummaryTimes(daily="07:00")
    notified = story(earlier, each_minute(NOON, NOON + DAY), those=those)
    assert [now for now, _issue in notified] == [MORNING + 23 * 60 * MINUTE]


# The clock jumps.


def test_a_clock_set_back_by_an_hour_brings_no_second_one():
    those, _none = a_run((), DAILY, MORNING - MINUTE)
    those, one = a_run(those, DAILY, MORNING)
    assert len(one) == 1
    notified = story(DAILY, each_minute(MORNING - 60 * MINUTE, NOON), those=those)
    assert notified == []


def test_a_clock_that_was_years_ahead_silences_nobody():
    those, _none = a_run((), DAILY, NOON + 1000 * DAY)
    those, one = a_run(those, DAILY, NOON + 1001 * DAY)
    assert len(one) == 1
    notified = story(DAILY, each_minute(NOON, NOON + DAY), those=those)
    ((now, issue),) = notified
    assert (now, issue.number) == (MORNING + DAY, 2)
    assert issue.since <= now


# The clocks change, twice a year.

CHANGES = [
    ("Europe/Berlin", "2026-03-29"),
    ("Europe/Berlin", "2026-10-25"),
    ("America/New_York", "2026-03-08"),
    ("America/New_York", "2026-11-01"),
    # Midnight is skipped, and comes twice.
    ("America/Havana", "2026-03-08"),
    ("America/Havana", "2026-11-01"),
    ("Asia/Beirut", "2026-03-29"),
    # Half an hour.
    ("Australia/Lord_Howe", "2026-04-05"),
    ("Australia/Lord_Howe", "2026-10-04"),
    # The hour before midnight is skipped.
    ("America/Nuuk", "2026-03-28"),
]
CLOCKS = ("00:00", "00:30", "01:30", "02:00", "02:15", "02:30", "08:00", "23:30")


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize(("zone", "day"), CHANGES)
def test_there_is_one_for_each_day_and_at_its_time_where_the_day_has_it(
    zone, day, clock
):
    local = ZoneInfo(zone)
    begin = datetime.fromisoformat(day).replace(tzinfo=local).astimezone(UTC)
    step = (15 if clock.endswith("15") else 30) * MINUTE
    runs = [begin - DAY + number * step for number in range(4 * DAY // step)]
    notified = story(SummaryTimes(daily=clock), runs, local)
    assert [issue.number for _now, issue in notified] == list(
        range(1, len(notified) + 1)
    )
    assert all(now == issue.due_at for now, issue in notified)
    walls = [now.astimezone(local) for now, _issue in notified]
    # Of two the first.
    assert not any(wall.fold for wall in walls)
    days = [wall.date() for wall in walls]
    for number, wall in enumerate(walls):
        if f"{wall:%H:%M}" != clock:
            # A time that was skipped comes as much later as was skipped.
            assert _is_skipped(wall, clock, local), wall
            # The next day may have begun by then.
            days[number] -= DAY * (f"{wall:%H:%M}" < clock)
    assert days == [days[0] + number * DAY for number in range(len(days))]
    assert len(days) >= 3


def _is_skipped(wall, clock, local):
    hour, minute = map(int, clock.split(":"))
    for day in (wall, wall - DAY):
        asked = day.replace(hour=hour, minute=minute, fold=0)
        there = asked.astimezone(UTC).astimezone(local)
        if there == wall and there.replace(tzinfo=None) != asked.replace(tzinfo=None):
            return True
    return False


@pytest.mark.parametrize(
    "clocks",
    [CLOCKS[::4], pytest.param(CLOCKS, marks=pytest.mark.long)],
    ids=lambda clocks: f"{len(clocks)} clocks",
)
@pytest.mark.parametrize(("zone", "day"), CHANGES)
def test_the_zone_of_the_machine_is_as_good_as_any(monkeypatch, zone, day, clocks):
    begin = datetime.fromisoformat(day).replace(tzinfo=UTC) - 2 * DAY
    runs = [begin + number * 30 * MINUTE for number in range(4 * 24 * 2)]
    times = [SummaryTimes(clock, ("sun", clock)) for clock in clocks]
    expected = [story(one, runs, ZoneInfo(zone)) for one in times]
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert [story(one, runs, None) for one in times] == expected
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_day_that_a_zone_leaves_out_has_none_of_its_own():
    # Samoa went from the 29th to the 31st of December.
    local = ZoneInfo("Pacific/Apia")
    begin = datetime(2011, 12, 28, 12, tzinfo=local).astimezone(UTC)
    notified = story(DAILY, each_minute(begin, begin + 3 * DAY), local)
    days = [issue.due_at.astimezone(local).day for _now, issue in notified]
    assert days == [29, 31, 1]


# What is remembered.


def test_the_next_one_of_a_kind_is_known():
    daily, weekly = "daily", "weekly"
    assert calendar.next_time(BOTH, daily, NOON, UTC) == MORNING + DAY
    assert calendar.next_time(BOTH, daily, MORNING, UTC) == MORNING + DAY
    assert calendar.next_time(BOTH, weekly, NOON + 2 * DAY, UTC) == MORNING + 8 * DAY


def test_the_skipped_runs_of_each_period_can_be_reported():
    those, _none = a_run((), DAILY, NOON, skipped=7)
    assert those[0].skipped == 7
    those, _one = a_run(those, DAILY, MORNING + DAY, skipped=9)
    assert those[0] == replace(those[0], number=1, skipped=9)


# The test messages of channels.


@pytest.mark.parametrize(
    ("every", "now", "last", "coming"),
    [
        ("daily", "2026-11-25 08:59", "2026-11-24 09:00", "2026-11-25 09:00"),
        ("daily", "2026-11-25 09:00", "2026-11-25 09:00", "2026-11-26 09:00"),
        # Wednesday.
        ("weekly", "2026-11-25 12:00", "2026-11-23 09:00", "2026-11-30 09:00"),
        ("monthly", "2026-11-25 12:00", "2026-11-01 09:00", "2026-12-01 09:00"),
        ("monthly", "2026-12-01 09:00", "2026-12-01 09:00", "2027-01-01 09:00"),
        ("monthly", "2026-03-01 08:00", "2026-02-01 09:00", "2026-03-01 09:00"),
    ],
)
def test_a_proof_is_due_by_the_clock(every, now, last, coming):
    moments = [datetime.fromisoformat(f"{text}+00:00") for text in (now, last, coming)]
    assert calendar.proof_times(every, moments[0], UTC) == (moments[1], moments[2])


@pytest.mark.parametrize(
    ("covered_until", "is_due"),
    [
        ("2026-11-23 09:00", False),
        ("2026-11-23 08:59", True),
        ("2026-10-01 09:00", True),
        ("2026-11-25 12:00", False),
        # The clock was set back.
        ("2027-06-01 09:00", True),
    ],
)
def test_a_proof_is_due_once_a_period_however_late(covered_until, is_due):
    until = datetime.fromisoformat(f"{covered_until}+00:00")
    series = calendar.ProofSeries("pager", 3, until)
    now = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
    assert calendar.is_proof_due(series, "weekly", now, UTC) is is_due


def test_a_series_of_proofs_begins_now_and_ends_with_its_channel():
    now = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
    known = (
        calendar.ProofSeries("pager", 3, now),
        calendar.ProofSeries("gone", 1, now),
    )
    series = calendar.proof_series(known, {"pager": "daily", "new": "weekly"}, now)
    assert series == (known[0], calendar.ProofSeries("new", 0, now))

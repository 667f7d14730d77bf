"""When a job is due: by order, interval or cron, and in the nights of the clocks."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from lib.core.enums import JobFrequency, Status
from lib.core.jobs import Job, JobKey
from lib.core.records import Record
from lib.core.schedule import (
    Due,
    due_in,
    holds_s,
    is_due,
    is_recheck,
    is_wanted,
    last_run,
    next_check,
    read,
    read_recheck,
    words,
)

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
KEY = JobKey("K", "k")
BERLIN = ZoneInfo("Europe/Berlin")
#: The nights of 2026 in which Berlin changes its clocks, from 00:00 UTC on: in spring
#: 02:00 is 03:00, in autumn the hour from 02:00 comes twice.
SPRING = datetime(2026, 3, 29, 0, 0, tzinfo=UTC)
AUTUMN = datetime(2026, 10, 25, 0, 0, tzinfo=UTC)


def minute_run(now, zone=UTC, last=None):
    """What a run of -c minute runs; the one before was a minute ago."""
    runs = {JobFrequency.MINUTE: last or now - MINUTE}
    return due_in(JobFrequency.MINUTE, runs, now, zone)


def due_times(schedule, start, length, zone=UTC, key=KEY):
    """Return at which local times the runs of each minute find a job due."""
    count = int(length / MINUTE)
    moments = [start + number * MINUTE for number in range(count)]
    return [
        f"{moment.astimezone(zone):%H:%M%z}"
        for moment in moments
        if is_due(schedule, key, minute_run(moment, zone))
    ]


# Frequencies.


@pytest.mark.parametrize(
    ("ordered", "runs"),
    [
        ("minute", {"minute"}),
        ("hour", {"minute", "hour"}),
        ("day", {"minute", "hour", "day"}),
        ("day_noon", {"minute", "hour", "day_noon"}),
    ],
)
def test_an_order_includes_the_more_frequent_jobs(ordered, runs):
    due = due_in(JobFrequency(ordered), {}, NOON)
    assert {each for each in JobFrequency if is_due(each, KEY, due)} == runs


@pytest.mark.parametrize(
    ("frequency", "age", "missed"),
    [
        ("hour", timedelta(minutes=65), False),
        ("hour", timedelta(minutes=67), True),
        ("day", timedelta(hours=26), False),
        ("day", timedelta(hours=27), True),
        ("day_noon", timedelta(days=3), True),
        ("hour", timedelta(days=-365), True),
    ],
)
def test_a_missed_slot_is_caught_up(frequency, age, missed):
    last = {JobFrequency(frequency): NOON - age}
    due = due_in(JobFrequency.MINUTE, last, NOON)
    assert is_due(frequency, KEY, due) == missed


def test_a_machine_that_was_off_for_three_days_runs_each_job_once():
    schedules = [*JobFrequency, "5min", "2h", "30d", "30 2 * * *", "0 0 1 1 *"]
    last = dict.fromkeys(JobFrequency, NOON - timedelta(days=3))
    due = due_in(JobFrequency.MINUTE, last, NOON, UTC)
    ran = {each for each in schedules if is_due(each, KEY, due)}
    assert ran == {*schedules} - {"30d", "0 0 1 1 *"}
    again = dict.fromkeys(due.frequencies, NOON)
    due = due_in(JobFrequency.MINUTE, again, NOON + MINUTE, UTC)
    assert {each for each in schedules if is_due(each, KEY, due)} == {"minute"}


# Intervals.


@pytest.mark.parametrize(("schedule", "count"), [("5min", 12), ("7min", 9), ("1h", 1)])
def test_an_interval_is_due_once_in_its_length(schedule, count):
    times = due_times(schedule, NOON, timedelta(hours=1))
    assert count - 1 <= len(times) <= count


def test_intervals_are_spread_over_their_length():
    keys = [JobKey("K", str(number)) for number in range(500)]
    counts = [
        sum(is_due("5min", key, minute_run(NOON + number * MINUTE)) for key in keys)
        for number in range(5)
    ]
    assert sum(counts) == 500
    assert min(counts) > 60


def test_a_late_second_run_in_a_minute_runs_an_interval_once():
    times = due_times("2h", NOON, timedelta(hours=2))
    hour, minute = map(int, times[0][:5].split(":"))
    slot = NOON.replace(hour=hour, minute=minute)
    late = slot + timedelta(seconds=40)
    assert is_due("2h", KEY, minute_run(late, last=slot - MINUTE))
    assert not is_due("2h", KEY, minute_run(late, last=slot))


@pytest.mark.parametrize("schedule", ["2h", "0 13 * * *"])
def test_a_run_that_did_not_take_place_is_made_up_for_once(schedule):
    moments = (NOON + number * MINUTE for number in range(1, 121))
    slot = next(one for one in moments if is_due(schedule, KEY, minute_run(one)))
    after = slot + MINUTE
    assert is_due(schedule, KEY, minute_run(after, last=slot - MINUTE))
    assert not is_due(schedule, KEY, minute_run(after + MINUTE, last=after))


@pytest.mark.parametrize("schedule", ["5min", "*/5 * * * *"])
def test_a_clock_that_was_set_back_stops_nothing(schedule):
    future = NOON + timedelta(days=365)
    runs = [minute_run(NOON + number * MINUTE, last=future) for number in range(10)]
    assert sum(is_due(schedule, KEY, due) for due in runs) == 2


@pytest.mark.parametrize("schedule", ["5min", "0 3 * * *"])
def test_without_a_run_on_record_this_minute_counts(schedule):
    slots = [
        moment
        for moment in (NOON + number * MINUTE for number in range(24 * 60))
        if is_due(schedule, KEY, due_in(JobFrequency.MINUTE, {}, moment, UTC))
    ]
    assert len(slots) == (288 if schedule == "5min" else 1)


# Cron.


@pytest.mark.parametrize(
    ("schedule", "start", "times"),
    [
        ("30 13 * * *", NOON, ["13:30+0000"]),
        ("*/20 12 * * *", NOON, ["12:00+0000", "12:20+0000", "12:40+0000"]),
        ("0 12-13 * * sun", NOON, ["12:00+0000", "13:00+0000"]),
        ("0 12 * * 7", NOON, ["12:00+0000"]),
        ("0 12 * * 0", NOON, ["12:00+0000"]),
        ("0 12 * * mon-sat", NOON, []),
        ("0 12 22 nov *", NOON, ["12:00+0000"]),
        # A star in either field of days: both must match; without one, either.
        ("0 12 */2 * sun", NOON, []),
        ("0 12 1 * sun", NOON, ["12:00+0000"]),
    ],
)
def test_a_cron_expression_is_due_in_its_minutes(schedule, start, times):
    assert due_times(schedule, start, timedelta(hours=2)) == times


@pytest.mark.parametrize(
    ("schedule", "night", "times"),
    [
        # What the night leaves out runs after it; with a star the hour is not there.
        ("30 2 * * *", SPRING, ["03:00+0200"]),
        ("*/30 2 * * *", SPRING, []),
        ("30 3 * * *", SPRING, ["03:30+0200"]),
        # What comes twice runs once; with a star it runs in both hours.
        ("30 2 * * *", AUTUMN, ["02:30+0200"]),
        (
            "*/30 2 * * *",
            AUTUMN,
            ["02:00+0200", "02:30+0200", "02:00+0100", "02:30+0100"],
        ),
        ("0 3 * * *", AUTUMN, ["03:00+0100"]),
    ],
)
def test_in_the_nights_of_the_clocks(schedule, night, times):
    hours = timedelta(hours=3)
    assert due_times(schedule, night, hours, BERLIN) == times


@pytest.mark.parametrize("night", [SPRING, AUTUMN])
def test_intervals_go_on_through_the_nights_of_the_clocks(night):
    assert len(due_times("20min", night, timedelta(hours=3), BERLIN)) == 9


@pytest.fixture
def machine_in_berlin(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("night", [SPRING, AUTUMN])
@pytest.mark.parametrize("schedule", ["30 2 * * *", "*/30 2 * * *", "0 3 * * *"])
def test_the_zone_of_the_machine_changes_its_clocks_too(
    machine_in_berlin, night, schedule
):
    moments = [night + number * MINUTE for number in range(180)]
    by_machine, by_settings = (
        [one for one in moments if is_due(schedule, KEY, minute_run(one, zone))]
        for zone in (None, BERLIN)
    )
    assert by_machine == by_settings


def test_half_the_hour_that_lord_howe_repeats_is_no_trap():
    zone = ZoneInfo("Australia/Lord_Howe")
    night = datetime(2026, 4, 4, 14, 0, tzinfo=UTC)
    assert len(due_times("45 1 * * *", night, timedelta(hours=3), zone)) == 1


@pytest.mark.parametrize("zone", ["Africa/Cairo", "America/Santiago"])
def test_a_midnight_that_is_left_out_runs_at_one(zone):
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for day in range(365):
        moment = start + timedelta(days=day)
        before = minute_run(moment, ZoneInfo(zone), last=moment - timedelta(days=1))
        assert is_due("0 0 * * *", KEY, before)


# Texts.


@pytest.mark.parametrize(
    ("text", "schedule", "said"),
    [
        ("Minute", "minute", "every minute"),
        ("day_noon", "day_noon", "every day at noon"),
        ("5min", "5min", "every 5 minutes"),
        ("60 min", "1h", "every hour"),
        ("90min", "90min", "every 1 hour 30 minutes"),
        ("24h", "1d", "every day"),
        ("1min", "minute", "every minute"),
        ("30 2 *  * MON-fri", "30 2 * * mon-fri", "by cron, 30 2 * * mon-fri"),
        ("0 0 1,15 jan-mar/2 *", "0 0 1,15 jan-mar/2 *", None),
        ("0 0 29 2 *", "0 0 29 2 *", None),
    ],
)
def test_a_schedule_is_kept_in_one_form_and_has_words(text, schedule, said):
    assert read(text) == schedule
    assert read(schedule) == schedule
    assert said is None or words(schedule) == said


@pytest.mark.parametrize(
    "text",
    [
        "",
        "second",
        "10s",
        "0min",
        "40d",
        "1.5h",
        "@daily",
        "0 3 * *",
        "0 0 3 * * *",
        "60 * * * *",
        "0 24 * * *",
        "0 0 0 * *",
        "0 0 * 13 *",
        "0 0 * * 8",
        "0 0 * * sunday",
        "0 0 * * mon,",
        # Cron programs read these differently, or not at all.
        "0 22-2 * * *",
        "55-2 * * * *",
        "0 23-2/2 * * *",
        "0 0 * * fri-mon",
        "0 0 * * sat-sun",
        "0 0 * oct-mar *",
        "0 9-9 * * *",
        "0 9-9/1 * * *",
        "5/15 * * * *",
        "0 23/2 * * *",
        "0~30 * * * *",
        "*/90 * * * *",
        "*/0 * * * *",
        "0 0 * * sat#1",
        "0 0 * * 5l",
        "0 0 l * *",
        "0 0 lw * *",
        "0 0 15w * *",
        "0 0 ? * *",
        "0 0 31 feb *",
        "0 0 31 4,6 *",
        "\u0665 * * * *",
    ],
)
def test_what_is_no_schedule_is_answered_with_the_right_form(text, approved):
    with pytest.raises(ValueError) as caught:
        read(text)
    approved(str(caught.value))


def ran(schedule, last, ran_at=None, recheck="", **record):
    return last_run(
        Job(KEY, "k", "K.py", schedule, recheck=recheck),
        Record(KEY, **record),
        ran_at,
        last,
        UTC,
    )


def test_when_a_job_last_ran_follows_from_the_last_runs():
    last = {JobFrequency.MINUTE: NOON, JobFrequency.HOUR: NOON - timedelta(minutes=3)}
    assert ran("minute", last) == NOON
    assert ran("day", last) is None
    assert ran("30 2 * * *", last) == NOON.replace(hour=2, minute=30)
    assert ran("0 12 * * *", last) == NOON
    at = ran("2h", last)
    assert NOON - at < timedelta(hours=2)
    assert is_due("2h", KEY, minute_run(at))
    assert ran("2h", {}) is None


def test_a_job_that_ran_apart_from_its_schedule_last_ran_then():
    last = {JobFrequency.MINUTE: NOON, JobFrequency.HOUR: NOON - timedelta(minutes=59)}
    first_run = NOON - timedelta(minutes=20)
    assert ran("hour", last, first_run) == first_run
    assert ran("day", last, first_run) == first_run
    assert ran("day", {}, first_run) == first_run
    # Its own time has come since.
    assert ran("hour", {**last, JobFrequency.HOUR: NOON}, first_run) == NOON
    assert ran("hour", last, pending_since=first_run) == NOON


@pytest.mark.parametrize("schedule", ["hour", "day", "0 0 1 1 *"])
def test_a_failing_job_last_ran_when_it_was_rechecked(schedule):
    last = {
        JobFrequency.MINUTE: NOON,
        JobFrequency.HOUR: NOON - timedelta(minutes=59),
        JobFrequency.DAY: NOON - timedelta(hours=12),
    }
    failing = {"status": Status.FAILING, "failures": 2, "recheck": "5min"}
    at = ran(schedule, last, failing_since=NOON - timedelta(minutes=30), **failing)
    assert NOON - at < timedelta(minutes=5)
    assert is_recheck(job_of(schedule), Record(KEY, **FAILING), minute_run(at))
    # No recheck has come since it began.
    since = at + timedelta(seconds=1)
    assert ran(schedule, last, since, failing_since=since, **failing) == since
    # It is checked as often in any case.
    assert ran("5min", last, failing_since=since, **failing) == ran("5min", last)


def test_a_worker_without_a_run_has_nothing_due():
    schedules = [*JobFrequency, "5min", "* * * * *"]
    assert not any(is_due(schedule, KEY, Due()) for schedule in schedules)


# Rechecks: a failing job of a slow schedule runs again sooner.


def job_of(schedule, recheck="5min"):
    return Job(KEY, "k", "K.py", schedule, recheck=recheck)


def wanted(job, minutes=60, start=NOON + MINUTE, **record):
    """Return in which minutes from 12:01 on the runs of each minute run a job."""
    moments = [start + number * MINUTE for number in range(minutes)]
    return [
        moment
        for moment in moments
        if is_wanted(job, Record(KEY, **record), minute_run(moment))
    ]


FAILING = {"status": Status.FAILING, "failures": 1}


@pytest.mark.parametrize("schedule", ["hour", "day", "day_noon", "2h", "0 0 1 1 *"])
@pytest.mark.parametrize("status", [Status.FAILING, Status.UNKNOWN])
def test_a_failing_job_of_a_slow_schedule_runs_again_each_five_minutes(
    schedule, status
):
    times = wanted(job_of(schedule), status=status, failures=1)
    # Of the twelve, one may be a time of its own schedule.
    assert 12 <= len(times) <= 13
    rechecks = [now for now in times if not is_due(schedule, KEY, minute_run(now))]
    assert all(
        is_recheck(job_of(schedule), Record(KEY, **FAILING), minute_run(now))
        for now in rechecks
    )


@pytest.mark.parametrize(
    ("schedule", "recheck", "record"),
    [
        ("hour", "5min", {}),
        ("hour", "5min", {"status": Status.WARNING, "warnings": 1}),
        ("hour", "", FAILING),
        ("hour", "2h", FAILING),
        ("hour", "1h", FAILING),
        ("day", "2d", FAILING),
    ],
)
def test_what_is_not_failing_or_is_checked_as_often_is_not_rechecked(
    schedule, recheck, record
):
    assert wanted(job_of(schedule, recheck), **record) == []


def test_a_recheck_that_did_not_take_place_is_caught_up_once():
    failing = Record(KEY, **FAILING)
    late = minute_run(NOON + 17 * MINUTE, last=NOON)
    assert is_recheck(job_of("day"), failing, late)
    assert len(wanted(job_of("day"), 5, NOON + 18 * MINUTE, **FAILING)) == 1


def test_a_check_at_its_own_time_or_of_a_pending_job_is_no_recheck():
    hourly = due_in(JobFrequency.HOUR, {}, NOON)
    assert is_wanted(job_of("hour"), Record(KEY, **FAILING), hourly)
    assert not is_recheck(job_of("hour"), Record(KEY, **FAILING), hourly)
    pending = Record(KEY, **FAILING, pending_since=NOON)
    runs = [minute_run(NOON + number * MINUTE) for number in range(1, 6)]
    assert all(is_wanted(job_of("hour"), pending, due) for due in runs)
    assert not any(is_recheck(job_of("hour"), pending, due) for due in runs)


@pytest.mark.parametrize(
    ("schedule", "record", "expected"),
    [
        ("minute", {}, "12:01"),
        ("day", {"pending_since": NOON}, "12:01"),
        ("30 14 * * *", {}, "14:30"),
        ("0 12 * * *", {}, "12:00"),
    ],
)
def test_when_a_job_runs_next(schedule, record, expected):
    now = NOON + timedelta(seconds=20)
    when = next_check(job_of(schedule), Record(KEY, **record), now, UTC)
    assert f"{when:%H:%M}" == expected
    assert when > now


@pytest.mark.parametrize("schedule", ["5min", "7min", "2h", "hour", "day"])
@pytest.mark.parametrize("record", [{}, FAILING], ids=["ok", "failing"])
def test_the_next_check_is_when_a_run_wants_the_job(schedule, record):
    job, remembered, now = job_of(schedule), Record(KEY, **record), NOON
    when = next_check(job, remembered, now, UTC)
    is_frequency = schedule in ("hour", "day")
    due = minute_run(when)
    if is_frequency and not is_recheck(job, remembered, due):
        due = due_in(JobFrequency(schedule), {}, when)
    assert is_wanted(job, remembered, due)
    minutes = int((when - now) / MINUTE) - 1
    assert wanted(job, minutes, **record) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [("5min", "5min"), ("5 min", "5min"), ("60min", "1h"), ("No", "no"), ("off", "no")],
)
def test_a_recheck_is_an_interval_or_no(text, expected):
    assert read_recheck(text) == expected


@pytest.mark.parametrize("text", ["30s", "hour", "31d", "", "yes", "5", "0min"])
def test_what_is_no_recheck_says_what_was_expected(text):
    with pytest.raises(ValueError, match="from 1min to 30d such as 5min, or no"):
        read_recheck(text)


@pytest.mark.parametrize(
    ("every", "seconds"),
    [("minute", 150), ("5min", 414), ("hour", 4044), ("*/5 * * * *", 95_400)],
)
def test_a_result_stands_until_the_next_one_is_missed(every, seconds):
    assert holds_s(every) == seconds

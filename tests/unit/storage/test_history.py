"""state/history/: what runs append is read back, and what is damaged costs no more."""

from __future__ import annotations

import errno
import itertools
import logging
import os
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from lib.core.enums import Status
from lib.core.jobs import Job, JobKey
from lib.core.results import CheckResult, Value
from lib.core.schedule import holds_s
from lib.core.settings import HistoryAges
from lib.core.text import utc
from lib.storage import history as history_module
from lib.storage import historylog, historythin
from lib.storage.history import History, Result, Share, packed_changes, share_of
from lib.storage.historyblocks import HEADER_BYTES, Losses, blocks, payload_of
from lib.storage.historybuckets import (
    buckets_of,
    coarser,
    packed_buckets,
    unpacked_buckets,
)
from lib.storage.historycolumns import Packer, Unpacker, pack_sparse, sparse
from lib.storage.historyfiles import plan
from lib.storage.historynow import local_day, midnight
from lib.storage.historyrows import Results, Row, rounded

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()
KEY, OTHER = JobKey("DiskSpace", "disk root"), JobKey("HTTPServerChecker", "http a")
POLICY = b'{"failures":2}'
BERLIN, NEW_YORK = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")
AGES = HistoryAges(2 * 86_400.0, 4 * 86_400.0, 6 * 86_400.0)


def result(status=Status.OK, key=KEY, code="", reason="", holds_s=150.0, **values):
    return Result.of(key, status, code, 0.25, values, reason, POLICY, holds_s)


def record(folder, at, *results, zone=UTC):
    historylog.record(folder, zone, at, results or [result()])


def log_of(folder, hour="2026-11-22T12"):
    return folder / "history" / f"{hour}.log"


def rows_of(folder, name="2026-11-22"):
    return folder / "history" / f"{name}.rows"


def everything(folder, key=KEY, zone=UTC):
    return History(folder, zone).rows(key, 0, NOON + 1e9)


def test_the_results_of_a_run_are_read_as_they_were_added():
    results = Results()
    job = Job(KEY, "disk root", "", "hour")
    values = {"used": Value(97.5), "n": Value(3.0)}
    for status, found, reason in (
        (Status.OK, values, ""),
        (Status.FAILING, {}, "it is slow"),
        (Status.OK, {"n": Value(-1.0)}, ""),
        (Status.OK, {name: Value(2.0) for name in values}, ""),
    ):
        one = CheckResult(status, seconds=0.25, values=found)
        results.add(job, "muted", one, reason)
    first, *_others = found = list(results)
    assert [(one.status, one.reason, one.values) for one in found] == [
        (Status.OK, "", {"used": 97.5, "n": 3.0}),
        (Status.FAILING, "it is slow", {}),
        (Status.OK, "", {"n": -1.0}),
        (Status.OK, "", {"used": 2.0, "n": 2.0}),
    ]
    assert {(one.key, one.code, one.seconds) for one in found} == {(KEY, "muted", 0.25)}
    assert {one.policy for one in found} == {first.policy}
    assert first.holds_s == holds_s("hour")


def test_what_a_run_appends_is_read_back(tmp_path):
    bad = result(
        Status.FAILING, OTHER, "muted", "it is slow", used=97.123456789, n=32_100
    )
    record(tmp_path, NOON, result(used=1.5), bad)
    record(tmp_path, NOON + 60, result(Status.WARNING))
    [row] = everything(tmp_path, OTHER)
    assert (row.at, row.status, row.code) == (NOON, Status.FAILING, "muted")
    assert (row.seconds, row.reason, row.holds_s) == (0.25, "it is slow", 150)
    assert row.values == {"used": 97.12, "n": 32_100.0}
    assert [one.status for one in everything(tmp_path)] == [Status.OK, Status.WARNING]
    history = History(tmp_path, UTC)
    assert history.policies() == {row.policy: POLICY}
    assert history.latest()[OTHER] == row
    assert history.rows(KEY, NOON + 1, NOON + 60) == []
    assert everything(tmp_path, JobKey("X", "x")) == []


def test_each_run_is_one_append_with_the_names_once(tmp_path):
    record(tmp_path, NOON, result(), result(key=OTHER))
    first = log_of(tmp_path).stat().st_size
    record(tmp_path, NOON + 60, result(), result(key=OTHER))
    second = log_of(tmp_path).stat().st_size - first
    record(tmp_path, NOON + 120, result(), result(key=OTHER))
    assert log_of(tmp_path).stat().st_size == first + 2 * second
    assert log_of(tmp_path).read_bytes().count(POLICY) == 0
    assert second < first


def test_a_change_is_kept_and_what_stays_is_not(tmp_path):
    record(tmp_path, NOON)
    record(tmp_path, NOON + 60)
    record(tmp_path, NOON + 120, result(Status.FAILING, reason="no"))
    record(tmp_path, NOON + 180, result(Status.FAILING, code="maintenance"))
    found = History(tmp_path).changes(KEY)
    assert [(one.at - NOON, one.before, one.status, one.code) for one in found] == [
        (0, None, Status.OK, ""),
        (120, Status.OK, Status.FAILING, ""),
        (180, Status.FAILING, Status.FAILING, "maintenance"),
    ]
    assert found[1].reason == "no"


def test_time_without_a_result_and_maintenance_are_left_out_of_uptime(tmp_path):
    record(tmp_path, NOON)
    record(tmp_path, NOON + 60, result(Status.FAILING))
    record(tmp_path, NOON + 120, result(code="maintenance"))
    record(tmp_path, NOON + 180)
    # It holds for 150 seconds.
    record(tmp_path, NOON + 480)
    expected = Share(ok=60 + 150, failing=60, maintenance=60, nothing=150)
    assert History(tmp_path, UTC).days()[KEY] == {"2026-11-22": expected}
    assert History(tmp_path, UTC).share(KEY, NOON, NOON + 480) == expected
    assert expected.uptime == 210 / 270
    assert expected.left_out == 210
    assert Share(nothing=5).uptime is None


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25)])
def test_a_day_has_the_hours_that_its_clock_has(tmp_path, day, hours):
    start = datetime.fromisoformat(day).replace(tzinfo=BERLIN).timestamp()
    for hour in range(-1, hours + 2):
        record(tmp_path, start + hour * 3600, result(holds_s=4000.0), zone=BERLIN)
    days = History(tmp_path, BERLIN).days([KEY])[KEY]
    assert days[day] == Share(ok=hours * 3600.0)
    assert sum(len(by_day) for by_day in [days]) == 3


def test_of_old_days_bars_and_changes_stay(tmp_path):
    for day in range(17):
        record(tmp_path, NOON + 86_400 * day)
        assert historythin.thin(tmp_path)
    history = History(tmp_path, UTC)
    assert len(history.rows(KEY, 0, NOON + 1e9)) == 14
    assert len(history.days()[KEY]) == 17
    assert history.days(count=3)[KEY].keys() == {
        "2026-12-06",
        "2026-12-07",
        "2026-12-08",
    }
    assert [change.at for change in history.changes()] == [NOON]


STATUSES = st.sampled_from(list(Status))
CODES = st.sampled_from(["", "", "muted", "maintenance", "blind", "unreachable"])
STEPS = st.sampled_from([60, 60, 61, 300, 4_000, 90_000])
RUNS = st.lists(st.tuples(STEPS, STATUSES, CODES), min_size=1, max_size=12)


@pytest.mark.long
@given(RUNS, st.sampled_from([150.0, 5000.0]))
def test_bars_equal_what_the_rows_say(tmp_path_factory, runs, holds_s):
    folder = tmp_path_factory.mktemp("h")
    at = datetime(2026, 10, 24, 20, tzinfo=UTC).timestamp()
    begun = None
    for step, status, code in runs:
        at += step
        begun = begun or at
        record(folder, at, result(status, code=code, holds_s=holds_s), zone=BERLIN)
    history = History(folder, BERLIN)
    by_day = history.days([KEY]).get(KEY, {})
    rows = history.rows(KEY, 0, at + 1)
    assert len(rows) == len(runs)
    assert sum(by_day.values(), Share()) == share_of(rows, begun, at)
    for day, share in by_day.items():
        # One of them has 25 hours.
        midnight = datetime.fromisoformat(day).replace(tzinfo=BERLIN)
        ends = (midnight + timedelta(days=1)).timestamp()
        span = max(begun, midnight.timestamp()), min(at, ends)
        assert share == pytest.approx(share_of(rows, *span), abs=1e-6)


# Hours and days that are over.


@pytest.fixture
def two_days(tmp_path):
    for minute in range(40):
        bad = [result(Status.FAILING, reason="no", used=1e9)] * (minute % 7 == 1)
        good = result(used=minute * 1.1, n=minute) if minute % 5 else result()
        other = [result(key=OTHER, only=1 / 3)] * (minute % 3 == 0)
        record(tmp_path, NOON + 90 * minute, *(bad or [good]), *other)
    record(tmp_path, NOON + 86_400)
    return tmp_path


@settings(max_examples=10)
@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=8),
    st.sampled_from([60, 40_000, 90_000]),
)
def test_the_slowest_check_is_known_before_and_after_thinning(
    tmp_path_factory, checks, step
):
    folder = tmp_path_factory.mktemp("slowest")
    at = NOON
    for seconds in checks:
        at += step
        one, other = replace(result(), seconds=float(seconds)), result(key=OTHER)
        record(folder, at, one, other)
    history, since = History(folder, UTC), NOON + 1.5 * step
    rows = history.rows(KEY, since, at)
    expected = {}
    if rows:
        least, when = min((-row.seconds, row.at) for row in rows)
        expected[KEY] = (-least, when)
    assert history.slowest([KEY], since, at) == expected
    assert history.slowest([], since, at) == {}
    ages = HistoryAges(results=86_400.0, five_minutes=3 * 86_400.0)
    while not historythin.thin(folder, ages):
        pass
    found = history.slowest([KEY, OTHER], 0, at + 1)
    assert found[KEY][0] == max(checks)
    first = NOON + step * (checks.index(max(checks)) + 1)
    assert first - 3600 < found[KEY][1] <= first
    assert found[OTHER][0] == 0.25


def test_what_is_over_is_made_small_and_reads_the_same(two_days):
    before, other = everything(two_days), everything(two_days, OTHER)
    assert (len(before), len(other)) == (41, 14)
    size = log_of(two_days).stat().st_size
    assert historythin.thin(two_days)
    assert everything(two_days) == before and everything(two_days, OTHER) == other
    assert sorted(path.name for path in (two_days / "history").iterdir()) == [
        "2026-11-22.rows",
        "2026-11-23T12.log",
        "bars.log",
        "before.bin",
        "changes.log",
        "lock",
        "now.bin",
        "policies.log",
    ]
    assert rows_of(two_days).stat().st_size < size / 2
    # A clock that is set back begins the log of the hour again.
    record(two_days, NOON + 30)
    record(two_days, NOON + 86_460)
    assert historythin.thin(two_days)
    assert not log_of(two_days).exists()
    assert len(everything(two_days)) == 43


def renamed_twice(folder, ages):
    """Write a job of ten days that was renamed on the third and on the eighth."""
    old, between = JobKey("DiskSpace", "disk a"), JobKey("DiskSpace", "disk b")
    was = {3: (old, between), 8: (between, KEY)}
    renames, keys = [], old
    for hour in range(240):
        at = DAY + 3600 * hour + 1800
        if hour % 24 == 5 and hour // 24 in was:
            renames, keys = [was[hour // 24]], was[hour // 24][1]
        status = Status.FAILING if hour % 50 < 7 else Status.OK
        found = result(status, keys, holds_s=4000.0, used=float(hour))
        historylog.record(folder, BERLIN, at, [found, result(key=OTHER)], renames)
        if ages and hour % 12 == 0:
            assert historythin.thin(folder, ages)
    return at + 1


def one_name(folder, ages):
    for hour in range(240):
        status = Status.FAILING if hour % 50 < 7 else Status.OK
        found = result(status, KEY, holds_s=4000.0, used=float(hour))
        at = DAY + 3600 * hour + 1800
        historylog.record(folder, BERLIN, at, [found, result(key=OTHER)])
        if ages and hour % 12 == 0:
            assert historythin.thin(folder, ages)


def shown_of(folder, until):
    history = History(folder, BERLIN)
    span = DAY, until
    return [
        history.latest(),
        history.days(None, 20, until),
        history.days([KEY], 20, until),
        history.changes(),
        history.changes(KEY),
        history.rows(KEY, *span),
        history.share(KEY, *span),
        history.buckets(KEY, *span),
        history.slowest([KEY], *span),
        [history.standing(KEY, DAY + 86_400 * day) for day in range(9, 11)],
        list(history.stands([KEY], until - 200_000, until)),
        [trace.numbers for _key, trace in history.traces({KEY: "used"}, *span)],
    ]


@pytest.mark.parametrize("ages", [pytest.param(None, marks=pytest.mark.long), AGES])
def test_a_renamed_job_has_the_history_of_its_old_names(tmp_path, ages):
    for name in ("renamed", "one"):
        (tmp_path / name).mkdir()
    until = renamed_twice(tmp_path / "renamed", ages)
    one_name(tmp_path / "one", ages)
    for found, expected in zip(
        shown_of(tmp_path / "renamed", until),
        shown_of(tmp_path / "one", until),
        strict=True,
    ):
        assert found == expected


@pytest.mark.parametrize("is_lost", [False, True])
def test_a_name_that_is_in_use_again_is_another_jobs(tmp_path, is_lost):
    old = JobKey("DiskSpace", "disk old")
    record(tmp_path, NOON, result(Status.FAILING, old))
    # The section says so in every run.
    for minute in (1, 2):
        at = NOON + 60 * minute
        found = [result(Status.FAILING)]
        historylog.record(tmp_path, UTC, at, found, [(old, KEY)])
    if is_lost:
        (tmp_path / "history" / "now.bin").unlink()
    record(tmp_path, NOON + 180, result(key=old), result())
    history = History(tmp_path, UTC)
    assert [row.at - NOON for row in history.rows(KEY, 0, NOON + 999)] == [
        0,
        60,
        120,
        180,
    ]
    assert [row.at - NOON for row in history.rows(old, 0, NOON + 999)] == [180]
    assert [change.at - NOON for change in history.changes(KEY)] == [0, 180]
    assert [change.at - NOON for change in history.changes(old)] == [180]
    assert history.days()[KEY]["2026-11-22"].failing == 180
    renames = (tmp_path / "history" / "renames.log").read_bytes()
    assert renames.count(b"\n") == 1


def test_a_job_that_got_its_old_name_back_keeps_its_history(tmp_path):
    old = JobKey("DiskSpace", "disk old")
    keys = [old, KEY, old, KEY]
    for minute, key in enumerate(keys):
        before = [(keys[minute - 1], key)] if minute else []
        at = NOON + 60 * minute
        historylog.record(tmp_path, UTC, at, [result(key=key)], before)
    history = History(tmp_path, UTC)
    assert len(history.rows(KEY, 0, NOON + 999)) == 4
    assert history.rows(old, 0, NOON + 999) == []
    assert set(history.latest()) == set(history.days()) == {KEY}


def test_a_line_of_a_rename_that_is_not_whole_is_passed_over(tmp_path):
    old = JobKey("DiskSpace", "disk old")
    record(tmp_path, NOON, result(key=old))
    path = tmp_path / "history" / "renames.log"
    path.write_bytes(b"00000000 [1, 2]\nhalf a li")
    historylog.record(tmp_path, UTC, NOON + 60, [result()], [(old, KEY)])
    assert len(everything(tmp_path)) == 2


def test_an_hour_of_today_is_made_small(tmp_path):
    for minute in (0, 59, 60):
        record(tmp_path, NOON + 60 * minute, result(used=1.5))
    before = everything(tmp_path)
    assert historythin.thin(tmp_path)
    assert rows_of(tmp_path, "2026-11-22T12").exists()
    assert not log_of(tmp_path).exists() and not rows_of(tmp_path).exists()
    assert everything(tmp_path) == before


def test_a_log_that_is_not_counted_yet_stays(tmp_path):
    record(tmp_path, NOON)
    now = (tmp_path / "history" / "now.bin").read_bytes()
    record(tmp_path, NOON + 60)
    (tmp_path / "history" / "now.bin").write_bytes(now)
    # Killed after the log of the next hour was begun.
    record(tmp_path, NOON + 3600)
    (tmp_path / "history" / "now.bin").write_bytes(now)
    historythin.thin(tmp_path)
    assert log_of(tmp_path).exists()
    record(tmp_path, NOON + 3660)
    assert historythin.thin(tmp_path)
    assert not log_of(tmp_path).exists()
    assert len(everything(tmp_path)) == 4


@pytest.mark.fault("A14", "thinning is killed within each write")
def test_a_slice_ends_in_time_and_the_next_goes_on(tmp_path):
    keys = [JobKey("Many", str(number)) for number in range(7)]
    for at in (0, 60, 86_400):
        record(tmp_path, NOON + at, *(result(key=key, used=at) for key in keys))
    before, calls = [everything(tmp_path, key) for key in keys], 0
    while not historythin.thin(tmp_path, AGES, 2.5, itertools.count().__next__):
        calls += 1
        assert [everything(tmp_path, key) for key in keys] == before
        for part in (tmp_path / "history").glob("*.part"):
            # Killed within a write.
            part.write_bytes(part.read_bytes() + b"CkrHtorn")
    assert calls > 5
    assert [everything(tmp_path, key) for key in keys] == before
    assert rows_of(tmp_path).exists()


def test_a_part_of_other_files_is_begun_again(two_days):
    assert not historythin.thin(two_days, AGES, 1.5, itertools.count().__next__)
    part = two_days / "history" / "2026-11-22T12.rows.part"
    assert part.exists()
    record(two_days, NOON + 100)
    record(two_days, NOON + 86_460)
    assert historythin.thin(two_days)
    assert len(everything(two_days)) == 43


@pytest.mark.fault("A14", "killed before what was thinned is removed")
def test_what_a_file_was_made_of_is_read_once_after_a_kill(two_days):
    before, content = everything(two_days), log_of(two_days).read_bytes()
    historythin.thin(two_days)
    log_of(two_days).write_bytes(content)
    assert everything(two_days) == before
    record(two_days, NOON + 86_460)
    assert historythin.thin(two_days)
    assert not log_of(two_days).exists()
    assert everything(two_days)[:-1] == before


@pytest.mark.long
@pytest.mark.fault("C14", "a flipped bit in a file of columns")
def test_a_damaged_byte_costs_the_rows_of_one_job(two_days):
    historythin.thin(two_days)
    whole = rows_of(two_days).read_bytes()
    before = everything(two_days), everything(two_days, OTHER)
    both = 0
    for at in range(0, len(whole), 11):
        broken = bytearray(whole)
        broken[at] ^= 4
        rows_of(two_days).write_bytes(broken)
        found = everything(two_days), everything(two_days, OTHER)
        intact = [one == expected for one, expected in zip(found, before, strict=True)]
        both += all(intact)
        assert any(intact), at
    # The index and what all jobs share are there twice.
    assert both > len(whole) / 44


def test_nobody_thins_while_another_does(two_days):
    import subprocess
    import sys

    lock = two_days / "history" / "lock"
    hold = "import fcntl,sys; f=open(sys.argv[1],'w'); fcntl.lockf(f,fcntl.LOCK_EX);"
    hold += "print(1, flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, lock],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        other.stdout.readline()
        assert not historythin.thin(two_days)
        other.stdin.close()
    assert historythin.thin(two_days)


# What is old.

DAY = datetime(2026, 10, 23, tzinfo=UTC).timestamp()


def names_in(folder, *endings):
    names = [path.name for path in (folder / "history").iterdir()]
    return sorted(name for name in names if name.endswith(endings))


def thin(folder, ages=AGES):
    assert historythin.thin(folder, ages, slice_s=100)


def test_results_become_five_minutes_then_hours_then_nothing(tmp_path):
    for day in range(8):
        for minute in (0, 1, 7, 70):
            value = 10.0 * day + minute / 10
            record(tmp_path, DAY + 86_400 * day + 60 * minute, result(load=value))
        thin(tmp_path)
    assert names_in(tmp_path, ".rows", "T01.log", ".5min", ".1h") == [
        "2026-10-25.1h",
        "2026-10-26.1h",
        "2026-10-27.5min",
        "2026-10-28.5min",
        "2026-10-29.rows",
        "2026-10-30T00.rows",
        "2026-10-30T01.log",
    ]
    history = History(tmp_path, UTC)
    hour = history.buckets(KEY, DAY + 2 * 86_400, DAY + 3 * 86_400)[0]
    assert (hour.step_s, hour.results, hour.seconds, hour.slowest) == (
        3600,
        3,
        0.25,
        0.25,
    )
    assert hour.values == {"load": (20.3, 20.0, 20.7)}
    assert hour.share == Share(ok=60 + 150 + 150, nothing=3600 - 360)
    first, second, *_ = history.buckets(KEY, DAY + 4 * 86_400, DAY + 5 * 86_400)
    assert (first.at, first.results) == (DAY + 4 * 86_400, 2)
    assert first.values == {"load": (40.05, 40.0, 40.1)}
    assert (second.at - first.at, second.results) == (300, 1)
    raw = history.buckets(KEY, DAY + 6 * 86_400, DAY + 6 * 86_400 + 600)
    assert [(bucket.step_s, bucket.results) for bucket in raw] == [(300, 2), (300, 1)]
    assert len(history.days()[KEY]) == 8


def test_the_days_of_a_month_become_one_file(tmp_path):
    for day in range(7, 13):
        record(tmp_path, DAY + 86_400 * day)
        thin(tmp_path, HistoryAges(2 * 86_400.0, 2 * 86_400.0, 60 * 86_400.0))
    assert names_in(tmp_path, ".1h") == ["2026-10.1h", "2026-11-01.1h", "2026-11-02.1h"]
    history = History(tmp_path, UTC)
    assert len(history.buckets(KEY, DAY, DAY + 20 * 86_400)) == 6
    assert history.share(KEY, DAY, DAY + 20 * 86_400).ok == 6 * 150


#: Ages by which what is kept of days becomes coarser and coarser; at last whole months.
EVER_COARSER = [
    HistoryAges(results=results * 86_400.0, five_minutes=minutes * 86_400.0)
    for results, minutes in ((90, 90), (5, 90), (2, 90), (2, 6), (2, 4), (2, 2))
]


@pytest.mark.parametrize("begin", ["2026-10-03", "2026-10-27", "2026-10-30"])
def test_what_stands_in_days_without_a_file_stands_after_thinning(tmp_path, begin):
    begin = datetime.fromisoformat(begin).replace(tzinfo=UTC).timestamp()
    # For two days and then for five there was no run, and one result stood for four.
    for day in (0, 1, 2, 5, 6, 12, 13, 14, 45):
        for hour in (1, 3.999) if day != 2 else (1,):
            holds_s = 4 * 86_400.0 if day == 2 else 3_700.0
            at = begin + 86_400 * day + 3_600 * hour
            record(tmp_path, at, result(Status.WARNING, holds_s=holds_s))
    history, last = History(tmp_path, UTC), begin + 46 * 86_400
    spans = [(begin + 86_400 * 3, begin + 86_400 * 5), (begin, last)]
    spans += [(begin + 3_600 * hour, begin + 3_600 * 90) for hour in range(0, 90, 7)]
    rows = history.rows(KEY, begin, last)
    expected = [share_of(rows, *span) for span in spans]
    assert expected[0] == Share(warning=2 * 86_400.0)
    for ages in EVER_COARSER:
        thin(tmp_path, ages)
        found = [history.share(KEY, *span) for span in spans]
        # An hour of which a part was known is counted by the part.
        assert [share.warning for share in found] == pytest.approx(
            [share.warning for share in expected], abs=3_600
        )
        assert found[:2] == [pytest.approx(share, abs=1e-3) for share in expected[:2]]
        buckets = history.buckets(KEY, *spans[0])
        assert sum(bucket.share.warning for bucket in buckets) == 2 * 86_400
        assert {bucket.results for bucket in buckets} == {0}


def test_many_changes_are_compressed_and_read_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(historylog, "MAX_CHANGES", 4000)
    monkeypatch.setattr(history_module, "CHANGES_IN_BLOCK", 10)
    statuses = itertools.cycle([Status.OK, Status.FAILING, Status.UNKNOWN])
    for minute in range(120):
        status = next(statuses)
        record(tmp_path, NOON + 60 * minute, result(status, reason="it is so"))
    history = History(tmp_path, UTC)
    before, span = history.changes(), (NOON + 60 * 20, NOON + 60 * 70)
    assert len(before) == 120
    assert len(names_in(tmp_path, ".log")) > 3
    thin(tmp_path)
    [first, *_rest] = names_in(tmp_path, ".packed")
    assert history.changes() == before
    assert history.changes(KEY, *span) == before[20:70]
    content = bytearray((tmp_path / "history" / first).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "history" / first).write_bytes(content)
    assert len(history.changes()) == 110


def test_a_job_that_is_no_more_is_forgotten(tmp_path):
    record(tmp_path, NOON, result(key=OTHER), result(), result(key=JobKey("X", "x")))
    for day in range(1, 20):
        record(tmp_path, NOON + 86_400 * day, result(key=JobKey("X", "x")), result())
    history = History(tmp_path, UTC)
    assert set(history.latest()) == {KEY, JobKey("X", "x")}
    assert max(history.days()[OTHER]) == "2026-12-06"
    assert len(everything(tmp_path)) == 20 and len(everything(tmp_path, OTHER)) == 1
    assert {row.holds_s for row in everything(tmp_path)} == {150.0}


def test_a_month_goes_when_enough_days_follow():
    names = [f"2026-{month:02}.1h" for month in range(1, 10)] + ["2026-10-01.rows"]
    ages = HistoryAges(hours=100 * 86_400.0)
    [step] = plan(names, "2026-10-02T00.log", ages)
    # 30 of September, 31 of August, 31 of July, and the one of October.
    assert (step.target, step.made_of) == ("", tuple(reversed(names[:5])))


SHARED = given(RUNS, st.sampled_from([150.0, 5000.0, 200_000.0]), st.data())


@pytest.mark.long
@settings(max_examples=8)
@SHARED
def test_time_of_old_days_is_shared_as_the_results_were(
    tmp_path_factory, runs, holds_s, data
):
    shared_as_the_results_were(tmp_path_factory.mktemp("h"), runs, holds_s, data)


@pytest.mark.long
@settings(max_examples=60)
@SHARED
def test_time_of_many_old_days_is_shared_as_the_results_were(
    tmp_path_factory, runs, holds_s, data
):
    shared_as_the_results_were(tmp_path_factory.mktemp("h"), runs, holds_s, data)


def shared_as_the_results_were(folder, runs, holds_s, data):
    at = DAY + 0.25
    for step, status, code in runs:
        at += step
        record(
            folder, at, result(status, code=code, holds_s=holds_s), result(key=OTHER)
        )
    for day in range(1, 3):
        record(folder, at + 86_400 * day, result(key=OTHER))
    history, all_of_it = History(folder, UTC), (DAY, at + 86_400 * 5)
    hours = st.integers(0, int((at - DAY) / 3600) + 30)
    spans = [
        sorted(DAY + 3600 * hour for hour in data.draw(st.tuples(hours, hours)))
        for _ in range(3)
    ]
    rows = history.rows(KEY, *all_of_it)
    expected = [share_of(rows, *span) for span in (all_of_it, *spans)]
    for ages in (
        HistoryAges(),
        HistoryAges(2 * 86_400.0),
        HistoryAges(2 * 86_400.0, 3 * 86_400.0),
    ):
        thin(folder, ages)
        found = [history.share(KEY, *span) for span in (all_of_it, *spans)]
        for one, share in zip(found, expected, strict=True):
            assert one == pytest.approx(share, abs=1e-3)


NUMBERS_OF_ROWS = st.lists(
    st.tuples(st.integers(1, 4000), st.floats(-1000, 1000), st.floats(0, 60)),
    min_size=1,
    max_size=30,
)


@given(NUMBERS_OF_ROWS)
def test_buckets_have_the_mean_and_the_extremes(numbers):
    at, rows = DAY, []
    for step, number, seconds in numbers:
        at += step
        values = {"n": rounded(number)} if number > -900 else {}
        taken = round(seconds, 3)
        rows.append(Row(at, Status.OK, "", taken, values, "", "", 150.0))
    end = at + 7200 - at % 3600
    buckets = buckets_of(rows, None, DAY, end, 300)
    packed = packed_buckets("a b", buckets)
    [one] = blocks(packed)
    assert unpacked_buckets(one, payload_of(packed, one), 300) == buckets
    hours = coarser(buckets, 3600)
    for bucket in (*buckets, *hours):
        ends = bucket.at + bucket.step_s
        inside = [row for row in rows if bucket.at <= row.at < ends]
        assert bucket.results == len(inside)
        assert bucket.share == pytest.approx(share_of(rows, bucket.at, ends))
        assert bucket.slowest == max((row.seconds for row in inside), default=0)
        there = [row.values["n"] for row in inside if row.values]
        assert bool(there) == ("n" in bucket.values)
        if there:
            spread = bucket.values["n"]
            assert spread.low == pytest.approx(min(there), rel=6e-3)
            assert spread.high == pytest.approx(max(there), rel=6e-3)


# What is damaged.


@pytest.mark.fault("A14", "a run is killed while it appends its results, at any byte")
def test_a_write_that_was_cut_off_costs_that_run_only(tmp_path):
    record(tmp_path, NOON)
    whole = log_of(tmp_path).read_bytes()
    record(tmp_path, NOON + 60)
    added = log_of(tmp_path).read_bytes()[len(whole) :]
    now = (tmp_path / "history" / "now.bin").read_bytes()
    for cut in range(0, len(added), 7):
        log_of(tmp_path).write_bytes(whole + added[:cut])
        (tmp_path / "history" / "now.bin").write_bytes(now)
        record(tmp_path, NOON + 120)
        assert [row.at - NOON for row in everything(tmp_path)] == [0, 120], cut


@pytest.mark.fault("C14", "a flipped bit in a log of results")
def test_a_flipped_bit_costs_one_row(tmp_path):
    for minute in range(3):
        record(tmp_path, NOON + 60 * minute)
    content = log_of(tmp_path).read_bytes()
    one = (len(content) - HEADER_BYTES) // 3
    for at in range(len(content) - one, len(content), 3):
        broken = bytearray(content)
        broken[at] ^= 4
        log_of(tmp_path).write_bytes(broken)
        assert len(everything(tmp_path)) >= 2
        assert {row.status for row in everything(tmp_path)} == {Status.OK}


@pytest.mark.fault("A14", "a run is killed before it sums up its results")
def test_a_run_that_was_killed_before_the_summary_is_caught_up(tmp_path):
    record(tmp_path, NOON)
    before = (tmp_path / "history" / "now.bin").read_bytes()
    record(tmp_path, NOON + 60, result(Status.FAILING))
    (tmp_path / "history" / "now.bin").write_bytes(before)
    record(tmp_path, NOON + 120)
    assert History(tmp_path, UTC).days()[KEY] == {
        "2026-11-22": Share(ok=60, failing=60)
    }
    assert len(History(tmp_path).changes()) == 3


@pytest.mark.fault("C14", "the summary of the results is damaged")
def test_a_lost_summary_is_made_anew(tmp_path):
    record(tmp_path, NOON)
    record(tmp_path, NOON + 60, result(Status.FAILING, key=OTHER))
    (tmp_path / "history" / "now.bin").write_bytes(b"garbage")
    record(tmp_path, NOON + 120)
    assert set(History(tmp_path).latest()) == {KEY, OTHER}
    assert len(everything(tmp_path)) == 2
    assert len(everything(tmp_path, OTHER)) == 1


@pytest.mark.parametrize("how", ["emptied", "deleted", "cut"])
def test_lost_changes_are_said_once_and_shown_until_they_are_put_back(
    tmp_path, caplog, how
):
    for minute, status in enumerate([Status.OK, Status.FAILING, Status.OK]):
        record(tmp_path, NOON + 60 * minute, result(status))
    path, history = tmp_path / "history" / "changes.log", History(tmp_path, UTC)
    whole, now = path.read_bytes(), datetime.fromtimestamp(NOON, UTC)
    assert not history.troubles(now) and not caplog.messages
    if how == "deleted":
        path.unlink()
    else:
        path.write_bytes(whole[: 90 if how == "cut" else 0])
    (said,) = history.troubles(now)
    assert said.startswith(f"{path} is shorter than it was: changes of status are ")
    for minute in (4, 5, 6):
        record(tmp_path, NOON + 60 * minute)
    record(tmp_path, NOON + 7 * 60, result(Status.FAILING))
    (line,) = caplog.messages
    assert f"{path} is shorter than it was: changes of status are missing" in line
    said = history.troubles(now)
    assert said[0] == f"since 2026-11-22 12:04 {line}"
    assert len(said) == (2 if how == "cut" else 1)
    path.write_bytes(whole + path.read_bytes())
    record(tmp_path, NOON + 8 * 60)
    assert not history.troubles(now) and len(caplog.messages) == 1
    assert len(history.changes()) == 5


@pytest.mark.fault("C14", "changes of status are damaged")
@pytest.mark.parametrize("is_packed", [False, True])
def test_damaged_changes_are_counted_and_said(tmp_path, is_packed):
    statuses = itertools.cycle([Status.OK, Status.FAILING])
    for minute, status in zip(range(6), statuses, strict=False):
        record(tmp_path, NOON + 60 * minute, result(status))
    path, now = tmp_path / "history" / "changes.log", datetime.fromtimestamp(NOON, UTC)
    content = path.read_bytes()
    if is_packed:
        path = path.with_name("changes-01795349000.packed")
        content = packed_changes(content) + packed_changes(content)
    damaged = bytearray(content)
    damaged[100] ^= 1
    damaged[300] ^= not is_packed
    path.write_bytes(damaged)
    history = History(tmp_path, UTC)
    assert len(history.changes()) == (6 if is_packed else 4)
    lost = "1 change" if is_packed else "2 changes"
    assert history.troubles(now) == [
        f"{path} is damaged: it has lost at least {lost} of status, so outages may be "
        "longer, shorter or missing; put it back from a backup"
    ]
    path.write_bytes(content)
    assert History(tmp_path, UTC).troubles(now) == []


@pytest.mark.fault("A14", "a run is killed while it appends changes of status")
def test_a_change_that_was_cut_off_and_written_again_is_not_missed(tmp_path):
    record(tmp_path, NOON)
    path, now = tmp_path / "history" / "changes.log", datetime.fromtimestamp(NOON, UTC)
    before, summary = path.read_bytes(), path.with_name("now.bin").read_bytes()
    record(tmp_path, NOON + 60, result(Status.FAILING), result(key=OTHER))
    added = path.read_bytes()[len(before) :]
    for cut in range(0, len(added), 7):
        path.write_bytes(before + added[:cut])
        path.with_name("now.bin").write_bytes(summary)
        history = History(tmp_path, UTC)
        assert len(history.changes()) < 4 and history.troubles(now) == []
        record(tmp_path, NOON + 120, result(Status.FAILING), result(key=OTHER))
        assert len(history.changes()) == 3 and history.troubles(now) == []


def test_changes_that_are_lost_with_the_summary_are_missed_too(tmp_path):
    for day in range(3):
        record(tmp_path, NOON + 86_400 * day)
    for name in ("changes.log", "now.bin", "before.bin"):
        (tmp_path / "history" / name).unlink()
    record(tmp_path, NOON + 86_400 * 2 + 60)
    *_more, line = History(tmp_path, UTC).troubles(datetime.fromtimestamp(NOON, UTC))
    assert line.startswith("since 2026-11-24 12:01 ")


@pytest.mark.fault("C14", "both summaries of the results are lost")
@pytest.mark.parametrize("is_folded", [False, True])
def test_the_time_of_a_day_that_was_lost_with_the_summary_is_counted_anew(
    tmp_path, is_folded
):
    for hour in range(4):
        record(tmp_path, NOON + 3600 * hour)
    now, history = datetime.fromtimestamp(NOON, UTC), History(tmp_path, UTC)
    assert historythin.thin(tmp_path, zone=UTC) and history.troubles(now) == []
    for name in ("now.bin", "before.bin"):
        (tmp_path / "history" / name).write_bytes(b"x" * is_folded)
    (said,) = history.troubles(now)
    path = tmp_path / "history" / "now.bin"
    assert said.startswith(f"{path} and before.bin are damaged or gone: the latest ")
    if is_folded:
        log_of(tmp_path, "2026-11-22T15").unlink()
    record(tmp_path, NOON + 3600 * 5)
    (said,) = history.troubles(now)
    since = "2026-11-22 17:00" if is_folded else "2026-11-22 15:00"
    assert f"the time of today before {since} counts as " in said
    record(tmp_path, NOON + 86_400)
    assert historythin.thin(tmp_path, zone=UTC) and history.troubles(now) == []
    assert history.days()[KEY]["2026-11-22"].ok == 150 * (4 if is_folded else 5)


@pytest.mark.fault("C14", "the time of days is damaged or gone")
@pytest.mark.parametrize("how", ["x", "gone", "flipped", "cut off and repeated"])
def test_lost_time_of_days_is_said(tmp_path, how):
    for day in range(5):
        record(tmp_path, NOON + 86_400 * day)
    path, history = tmp_path / "history" / "bars.log", History(tmp_path, UTC)
    now = datetime.fromtimestamp(NOON + 86_400 * 4, UTC)
    assert history.troubles(now) == []
    before, content = history.days()[KEY], bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    damaged = {"x": b"x", "gone": b"", "flipped": bytes(content)}
    path.write_bytes(damaged.get(how, path.read_bytes()[:-9] + path.read_bytes()))
    if how == "gone":
        path.unlink()
    which = {"flipped": "2026-11-24"}.get(how, "4 days from 2026-11-22 on")
    expected = f"{path} is not whole: the time of {which} counts as unknown"
    found = history.troubles(now)
    if how == "cut off and repeated":
        assert found == []
    else:
        assert [line.partition(" in uptimes")[0] for line in found] == [expected]
    assert historythin.thin(tmp_path, zone=UTC)
    assert history.troubles(now) == []
    after = history.days()[KEY]
    assert [(day, after[day][:-1]) for day in sorted(after)] == [
        (day, share[:-1]) for day, share in before.items()
    ]


@pytest.mark.fault("C14", "the time of days is damaged, of which no results are kept")
def test_lost_time_of_days_without_results_is_said(tmp_path):
    # Nothing was checked on the 25th.
    for day in (0, 1, 2, 4, 5, 6, 7):
        record(tmp_path, NOON + 86_400 * day)
    path, history = tmp_path / "history" / "bars.log", History(tmp_path, UTC)
    now = datetime.fromtimestamp(NOON + 86_400 * 7, UTC)
    for day in (22, 23, 24):
        log_of(tmp_path, f"2026-11-{day}T12").unlink()
    assert history.troubles(now) == []
    whole = path.read_bytes()
    content, which = bytearray(whole), list(blocks(whole))
    content[which[1].start] ^= 1
    path.write_bytes(content)
    backup = "put it back from a backup"
    (said,) = history.troubles(now)
    assert said.startswith(f"{path} is damaged: the time of 2026-11-23, of which no ")
    assert said.endswith(backup)
    assert historythin.thin(tmp_path, zone=UTC) and history.troubles(now) == [said]
    content[which[0].start] ^= 1
    path.write_bytes(content)
    (said,) = history.troubles(now)
    assert "damaged: the time of 2 days from 2026-11-22 on, of which no " in said
    # Of one that has results, those of others are said by themselves.
    content[which[-1].start] ^= 1
    content += whole[which[-2].start - HEADER_BYTES : which[-2].end]
    path.write_bytes(content)
    first, second = history.troubles(now)
    assert "the time of 2026-11-28 counts as unknown" in first
    assert second == said


def thinned(folder, zone=UTC, slice_s=1e9):
    """Thin until nothing is to be done; return how many slices it took."""
    ages = HistoryAges(2 * 86_400.0, 4 * 86_400.0, 60 * 86_400.0)
    for slices in range(1, 1000):
        # Each look at the clock takes a second.
        clock = itertools.count().__next__
        if historythin.thin(folder, ages, slice_s, clock, zone):
            return slices
    raise AssertionError("it has no end")


@pytest.mark.long
@pytest.mark.fault("C14", "the time of days is damaged or gone, and runs go on")
@pytest.mark.parametrize(
    ("how", "zone"),
    [("x", UTC), ("gone", BERLIN), ("flipped", BERLIN), ("x", NEW_YORK)],
)
def test_lost_time_of_days_is_counted_anew(tmp_path, caplog, how, zone):
    """Also of days of which five minutes, hours or a month are kept."""
    begin = datetime(2026, 10, 20, 12, tzinfo=zone).timestamp()
    for day in range(18):
        for minute in (0, 1, 40):
            at = begin + 86_400 * day + minute * 97
            bad = result(Status.FAILING, code="maintenance" * (day % 2))
            results = [bad if minute else result(), result(key=OTHER, holds_s=3600.0)]
            record(tmp_path, at, *results[: 1 + (day > 4)], zone=zone)
        thinned(tmp_path, zone)
    path, history = tmp_path / "history" / "bars.log", History(tmp_path, zone)
    now = datetime.fromtimestamp(at, UTC)
    assert history.troubles(now) == [] and not caplog.messages
    before, content = history.days(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes({"x": b"x", "gone": b"", "flipped": bytes(content)}[how])
    if how == "gone":
        path.unlink()
        # A later day does not hide what is missing.
        record(tmp_path, at + 86_400, zone=zone)
        before = {key: {**before[key], **days} for key, days in history.days().items()}
    (said,) = history.troubles(now)
    assert f"{path} is not whole: the time of " in said
    # Two looks at the clock are not enough for a day of two jobs.
    slices = thinned(tmp_path, zone, slice_s=2 if how == "gone" else 1e9)
    assert slices > len(before[KEY]) if how == "gone" else slices == 1
    assert caplog.messages == [said]
    assert history.troubles(now) == []
    found = history.days()
    for key, days in before.items():
        for day, share in days.items():
            if any(share[:-1]):
                known = pytest.approx(share[:-1], abs=0.002)
                assert found[key][day][:-1] == known, (key, day)
    assert not path.with_name("bars.log.part").exists()


def check_today(history, at):
    """See that of the day in which the zone was changed all is known or said."""
    thinned(history.folder.parent, history.zone)
    now, today = utc(at), local_day(at, history.zone)
    assert [one for one in history.troubles(now) if "the time of today before" in one]
    counted = history.days()[KEY].get(today, Share())
    assert sum(counted[:-1]) <= at - midnight(date.fromisoformat(today), history.zone)


@pytest.mark.long
@pytest.mark.parametrize(
    ("old", "new"), [(NEW_YORK, BERLIN), (BERLIN, NEW_YORK), (UTC, BERLIN)]
)
def test_days_are_counted_anew_when_the_time_zone_is_another(tmp_path, old, new):
    """Also the day in which it changed."""
    folders, begin = [tmp_path / "moved", tmp_path / "settled"], NOON - 3600
    for folder in folders:
        folder.mkdir()
    # One zone is in tomorrow when it changes, the other is not.
    changed = 24 * 5 + 14
    for hour in range(24 * 8):
        status = Status.FAILING if 30 < hour < 40 or hour == changed else Status.OK
        zone = old if hour < changed else new
        for folder, there in zip(folders, (zone, new), strict=True):
            found = result(status, holds_s=3600.0)
            record(folder, begin + 3600 * hour, found, zone=there)
        if hour == changed:
            said = "\n".join(History(folders[0], new).lost_time())
            assert "was counted by another time zone" in said
        if hour in (changed, changed + 1):
            check_today(History(folders[0], new), begin + 3600 * hour)
    now = datetime.fromtimestamp(begin + 3600 * hour, UTC)
    moved, settled = (History(folder, new) for folder in folders)
    assert "until runs have counted it anew" in "\n".join(moved.troubles(now))
    assert settled.troubles(now) == []
    assert moved.days() != settled.days()
    thinned(folders[0], new)
    assert moved.troubles(now) == []
    after, expected = moved.days()[KEY], settled.days()[KEY]
    assert after.keys() == expected.keys() and len(after) >= 8
    for day, share in expected.items():
        assert after[day][:-1] == pytest.approx(share[:-1], abs=0.002), day


def test_a_history_that_cannot_be_read_is_said(tmp_path, caplog):
    now = datetime.fromtimestamp(NOON, UTC)
    assert History(tmp_path, UTC).troubles(now) == []
    # Root may read what others may not; what is no folder nobody can.
    (tmp_path / "history").write_text("not a folder")
    assert History(tmp_path, UTC).troubles(now) == [
        f"nothing is shown: {tmp_path / 'history'}: cannot read it: Not a directory; "
        "something else is in its place, move it away"
    ]
    record(tmp_path, NOON)
    (line,) = caplog.messages
    assert "something else is in its place" in line and "the run goes on" in line


@pytest.mark.fault("C14", "an older copy of a log is put back")
def test_an_older_copy_that_was_put_back_is_read_on(tmp_path):
    record(tmp_path, NOON, result(), result(key=OTHER))
    older = log_of(tmp_path).read_bytes()
    record(tmp_path, NOON + 60)
    log_of(tmp_path).write_bytes(older)
    record(tmp_path, NOON + 120, result(), result(key=OTHER))
    assert [row.at - NOON for row in everything(tmp_path)] == [0, 120]
    assert [row.at - NOON for row in everything(tmp_path, OTHER)] == [0, 120]


@pytest.mark.fault("T8", "the clock is 400 days ahead for a minute")
def test_a_clock_that_is_set_back_loses_nothing(tmp_path):
    for at in (0, 86_400 * 400, 60, 120):
        record(tmp_path, NOON + at)
    assert [row.at - NOON for row in everything(tmp_path)] == [0, 60, 120, 86_400 * 400]


@pytest.mark.fault("C14", "history written by a newer version")
@pytest.mark.parametrize("name", ["now.bin", "2026-11-22T12.log"])
def test_what_a_newer_checker_wrote_is_one_line(tmp_path, caplog, name):
    record(tmp_path, NOON)
    path = tmp_path / "history" / name
    content = bytearray(path.read_bytes())
    as_newer(content)
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        if name == "now.bin":
            assert History(tmp_path).latest() == {}
        else:
            assert everything(tmp_path) == []
    assert [line for line in caplog.messages if f"{path}: it was" in line]
    assert len(caplog.messages) == 1


@pytest.mark.fault("C14", "history written by a newer version, and a run")
@pytest.mark.parametrize("name", ["now.bin", "2026-11-22T12.log"])
def test_a_history_of_a_newer_checker_is_not_written_which_is_an_error(
    tmp_path, caplog, name
):
    record(tmp_path, NOON)
    path, older = tmp_path / "history" / name, log_of(tmp_path).read_bytes()
    if name != "now.bin":
        # now.bin is of before.
        summary = path.with_name("now.bin").read_bytes()
        record(tmp_path, NOON + 60)
        path.with_name("now.bin").write_bytes(summary)
        newer = older + in_format_2(path.read_bytes()[len(older) :])
    else:
        newer = in_format_2(path.read_bytes())
    path.write_bytes(newer)
    record(tmp_path, NOON + 120)
    assert path.read_bytes() == newer
    [said] = caplog.records
    assert said.levelno == logging.ERROR
    assert said.getMessage() == (
        f"the history is not written, the run goes on: {path}: it was written by a "
        "newer Checker (format 2, this one knows 1); upgrade this one, or move the "
        "file away"
    )
    for one in path.parent.iterdir():
        os.utime(one, (NOON, NOON))
    now, told = datetime.fromtimestamp(NOON, UTC), History(tmp_path, UTC).not_written
    assert told(now).startswith(
        f"nothing is added since 2026-11-22 12:00: {path}: it was written by a newer"
    )
    assert History(tmp_path, UTC).troubles(now) == [told(now)]
    path.unlink()
    record(tmp_path, NOON + 180)
    assert told(now) == ""
    assert NOON + 180 in [row.at for row in everything(tmp_path)]


@pytest.mark.fault("B16", "EIO for once while results are thinned")
def test_what_cannot_be_read_for_once_is_not_thinned(two_days, caplog):
    before = everything(two_days)
    refused = []

    def refuses(descriptor, length, offset, pread=os.pread):
        name = os.readlink(f"/proc/self/fd/{descriptor}")
        if name.endswith(".rows"):
            refused.append(name)
            raise OSError(errno.EIO, "Input/output error")
        return pread(descriptor, length, offset)

    with pytest.MonkeyPatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(os, "pread", refuses)
        assert not historythin.thin(two_days)
    [line] = caplog.messages
    assert refused and "Input/output error" in line
    assert historythin.thin(two_days)
    assert everything(two_days) == before


@pytest.mark.fault("C14", "old history written by a newer version")
def test_what_a_newer_checker_wrote_is_not_thinned(two_days, caplog):
    historythin.thin(two_days)
    path = rows_of(two_days)
    path.write_bytes(in_format_2(path.read_bytes()))
    before = path.read_bytes()
    for day in range(2, 5):
        record(two_days, NOON + 86_400 * day)
    with caplog.at_level(logging.WARNING):
        thin(two_days)
        assert path.read_bytes() == before
        assert rows_of(two_days, "2026-11-25").exists()
        assert len(everything(two_days)) == 2
    assert all("newer Checker" in line for line in caplog.messages)
    now = datetime.fromtimestamp(NOON + 86_400 * 4, UTC)
    (said,) = History(two_days, UTC).troubles(now)
    assert said.startswith(f"{path}: it was written by a newer Checker (format 2")


@pytest.mark.fault("C14", "a flipped bit in what is read of the history is said")
@pytest.mark.parametrize("name", ["2026-11-22T12.log", "2026-11-22.rows"])
@pytest.mark.parametrize("how", ["flipped", "cut"])
def test_what_was_damaged_of_what_was_read_is_said(two_days, caplog, name, how):
    path = two_days / "history" / name
    if name.endswith(".rows"):
        historythin.thin(two_days, zone=UTC)
    history, now = History(two_days, UTC), datetime.fromtimestamp(NOON + 86_400, UTC)
    history.rows(KEY, 0, NOON + 1e9)
    assert history.troubles(now) == []
    content = bytearray(path.read_bytes())
    if how == "flipped":
        # The names, or what all jobs share, are before it.
        content[list(blocks(bytes(content)))[1].start + 9] ^= 1
    path.write_bytes(content if how == "flipped" else content[: len(content) // 3])
    history = History(two_days, UTC)
    assert history.troubles(now) == []
    history.rows(KEY, 0, NOON + 1e9)
    if how == "cut" and name.endswith(".log"):
        # A run may just be writing.
        assert history.troubles(now) == []
        return
    (said,) = history.troubles(now)
    what = {
        "2026-11-22T12.log": "results of a run are missing",
        "2026-11-22.rows": "what it has of disk root is missing",
    }[name]
    if how == "cut":
        what = "its end, and results of jobs, may be missing"
    assert said.startswith(f"{path} is damaged: {what}; put it back from a backup")
    if how == "flipped":
        for day in range(2, 5):
            record(two_days, NOON + 86_400 * day)
        thin(two_days)
        assert f"made small without a part: {said}" in caplog.messages


def test_what_is_damaged_is_said_by_the_names_of_jobs_in_one_order(tmp_path):
    day, hour, keys = tmp_path / "b.rows", tmp_path / "a.log", [KEY, OTHER]
    keys += [JobKey("EmailChecker", "EmailChecker"), JobKey("Broken")]
    backup = "put it back from a backup (without one you may move it away, with the "
    for order in itertools.permutations(keys):
        losses = Losses()
        for key in order:
            losses.damaged_job(day, str(key))
        losses.damaged(hour, "results of a run are missing")
        losses.damaged_job(hour, str(order[0]))
        first, second = losses.texts()
        name = order[0].identity or "Broken/"
        assert first == (
            f"{hour} is damaged: results of a run are missing, what it has of {name} "
            f"is missing; {backup}rest of what it has)"
        )
        assert second.startswith(
            f"{day} is damaged: what it has of Broken/, EmailChecker, disk root and 1 "
            f"more is missing; {backup}"
        )
    losses = Losses()
    losses.damaged_job(day, str(OTHER))
    losses.damaged_job(day, str(KEY))
    assert "what it has of disk root and http a is missing" in losses.texts()[0]


def in_format_2(content):
    """Return what a newer Checker would have written."""
    found = bytearray(content)
    at = content.find(b"CkrH")
    while at >= 0:
        header = found[at : at + HEADER_BYTES]
        as_newer(header)
        found[at : at + HEADER_BYTES] = header
        at = content.find(b"CkrH", at + 1)
    return bytes(found)


def as_newer(content):
    import zlib

    content[4] = 2
    total = zlib.crc32(content[: HEADER_BYTES - 4])
    content[HEADER_BYTES - 4 : HEADER_BYTES] = total.to_bytes(4, "little")


@pytest.mark.fault("B16", "the history cannot be written")
def test_what_cannot_be_written_is_one_line(tmp_path, caplog):
    (tmp_path / "history").write_text("in its place")
    with caplog.at_level(logging.WARNING):
        record(tmp_path, NOON)
    [said] = caplog.records
    assert said.levelno == logging.ERROR and "the run goes on" in said.getMessage()


# Columns.

NUMBERS = st.one_of(
    st.floats(-100, 100).map(rounded),
    st.floats(allow_nan=False).map(rounded),
    st.integers(-(10**7), 10**7).map(float),
    st.floats(allow_nan=False),
)


@given(st.lists(NUMBERS, max_size=20), st.lists(st.integers(-(2**40), 2**50)))
def test_columns_are_read_back_exactly(floats, whole):
    pack = Packer()
    pack.floats(floats)
    pack.whole(whole)
    pack_sparse(pack, [None, *floats, None])
    unpack = Unpacker(pack.packed(b"text"))
    assert list(unpack.floats(len(floats))) == floats
    assert list(unpack.whole(len(whole))) == whole
    assert dict(sparse(unpack, len(floats) + 2)) == dict(enumerate(floats, 1))
    assert unpack.text == b"text"


@given(st.floats())
def test_a_rounded_number_stays_as_it_is(number):
    once = rounded(number)
    assert str(rounded(once)) == str(once)
    if 1 <= abs(number) < 1e300:
        assert abs(once - number) <= abs(number) / 1000

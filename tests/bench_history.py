"""What the history costs, beside SQLite doing the same: a part of ``make bench``.

``python -m tests.bench_history 7`` takes a week of 1,000 jobs each minute, which is
some ten minutes of CPU.  Each result has a status, milliseconds and two noisy values;
one in a hundred fails, for ten minutes on average, and has a reason.  A year's size is
summed from what each tier has of a day, as the program itself wrote it; of one day
alone it is a tenth too much, since a month of hours shares one file.
"""

from __future__ import annotations

import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from lib.core.enums import Status
from lib.core.jobs import JobKey
from lib.core.settings import HistoryAges
from lib.storage import historylog, historythin
from lib.storage.history import History, Result, packed_changes
from lib.storage.historyblocks import bars_block
from lib.storage.historyfiles import (
    BARS,
    CHANGES,
    FOLDER,
    HOURS,
    MINUTES,
    ROWS,
    is_anything_due,
)
from lib.storage.historynow import midnight
from lib.storage.historyrows import STATUSES, TIMES

DAY_S = 86_400
#: So many days of each tier, in a year.
RAW_DAYS, MINUTE_DAYS, HOUR_DAYS, MONTH_DAYS = 14, 76, 275, 30
MB = 1e6
#: The runs of the last day, which ends within an hour.
LAST_DAY = 6 * 60 + 50


class Measured(NamedTuple):
    """What was measured; seconds are of CPU."""

    run_s: float
    read_s: float
    bars_s: float
    thin_s_a_day: float
    row_bytes: float
    year_bytes: float


class OfSqlite(NamedTuple):
    """What SQLite takes for the same."""

    run_s: float
    read_s: float
    row_bytes: float


def runs(jobs: int, minutes: int, start: float) -> Iterator[tuple[float, list[Result]]]:
    """Yield the moment of each run, and its results."""
    chance, left = random.Random(1), [0] * jobs
    keys = [
        JobKey("HTTPServerChecker", f"http www{job}.example.com") for job in range(jobs)
    ]
    for minute in range(minutes):
        results = []
        for job, key in enumerate(keys):
            left[job] = max(0, left[job] - 1)
            if not left[job] and chance.random() < 0.001:
                left[job] = 1 + round(chance.expovariate(0.1))
            values = {
                "time": max(0.0, chance.gauss(0.2, 0.04)),
                "load": chance.uniform(0, 100),
            }
            reason = f"status {chance.choice((500, 502, 503))}: try {minute}"
            results.append(
                Result.of(
                    key,
                    Status.FAILING if left[job] else Status.OK,
                    "",
                    max(0.001, chance.gauss(0.2, 0.04)),
                    values,
                    reason if left[job] else "",
                    b'{"failures":2}',
                    150.0,
                )
            )
        yield start + 60 * minute + chance.gauss(1, 0.1), results


def of_history(state: Path, jobs: int = 1000, days: int = 1) -> Measured:
    """Let so many days pass, and some hours, and return what they cost."""
    state.mkdir(exist_ok=True)
    minutes = days * 1440 + LAST_DAY
    # The month ends with the last whole day.
    start = datetime(2026, 11, 1, tzinfo=UTC).timestamp() - days * DAY_S
    folder, ages, appended, thinned = state / FOLDER, HistoryAges(), list[float](), 0.0
    for at, results in runs(jobs, minutes, start):
        appended.append(cpu_s(historylog.record, state, UTC, at, results))
        if is_anything_due(folder, at, ages):
            thinned += cpu_s(historythin.thin, state, ages, 1000.0)
    end = start + 60 * minutes
    keys = list(History(state).latest())[:: max(1, jobs // 9)]
    read = [cpu_s(History(state, UTC).rows, key, end - DAY_S, end) for key in keys]
    rows, changes = size(folder, ROWS, "T"), (folder / CHANGES).read_bytes()
    for old in folder.glob("changes-*"):
        old.unlink()
    thinned += cpu_s(lambda: _all_minutes(state))
    minute_bytes = size(folder, MINUTES)
    by_day, by_month = _hours(state)
    tiers = (
        rows * RAW_DAYS
        + minute_bytes * MINUTE_DAYS
        + by_day * MONTH_DAYS
        + by_month * (HOUR_DAYS - MONTH_DAYS)
    )
    year = tiers / days + len(packed_changes(changes)) / minutes * 1440 * 365
    bars_s, bars_bytes = _bars(state.with_name("bars"), jobs)
    return Measured(
        statistics.median(appended),
        statistics.median(read),
        bars_s,
        thinned / days,
        rows / days / 1440 / jobs,
        year + bars_bytes / 90 * 365,
    )


def _all_minutes(state: Path) -> None:
    """Have all days but the last as five minutes."""
    ages = HistoryAges(results=DAY_S)
    assert historythin.thin(state, ages, slice_s=1000)


def _hours(state: Path) -> tuple[int, int]:
    """Return how long the hours are in a file for each day, and in one for a month."""
    folder, ages = state / FOLDER, HistoryAges(results=DAY_S, five_minutes=DAY_S)
    one_day = next(folder.glob(f"*{MINUTES}")).read_bytes()
    assert historythin.thin(state, ages, slice_s=1000)
    by_day = size(folder, HOURS)
    # As soon as the next month has a day, those of one that is over become one file.
    (folder / f"2026-11-01{MINUTES}").write_bytes(one_day)
    assert historythin.thin(state, ages, slice_s=1000)
    return by_day, size(folder, HOURS)


def _bars(state: Path, jobs: int) -> tuple[float, int]:
    """Return what reading 90 days of bars costs, and how long they are."""
    folder, chance = state / FOLDER, random.Random(2)
    folder.mkdir(parents=True)
    content = b""
    for number in range(90):
        day, bars = date(2026, 8, 1) + timedelta(days=number), {}
        for job in range(jobs):
            failing = round(chance.expovariate(0.01), 3)
            times = [0.0] * len(TIMES)
            times[0], times[2] = DAY_S - failing, failing
            bars[f"HTTPServerChecker/http www{job}.example.com"] = times
        content += bars_block(str(day), bars, midnight(day, UTC))
    (folder / BARS).write_bytes(content)
    until = datetime(2026, 10, 29, 12, tzinfo=UTC).timestamp()
    history = History(state, UTC)
    found = history.days(until=until)
    assert len(found) == jobs and len(next(iter(found.values()))) == 90
    return cpu_s(lambda: history.days(until=until)), len(content)


def of_sqlite(folder: Path, jobs: int = 1000, days: int = 1) -> OfSqlite:
    """Put the same into a table, one transaction and one fsync a run."""
    minutes, start = days * 1440, 1_790_000_000.0
    path = folder / "history.db"
    database = sqlite3.connect(path, isolation_level=None)
    database.executescript("""
        PRAGMA journal_mode = WAL;
        PRAGMA synchronous = FULL;
        CREATE TABLE results (
            job INTEGER, at REAL, status INTEGER, code INTEGER, ms INTEGER,
            first REAL, second REAL, reason TEXT, policy INTEGER, holds INTEGER,
            PRIMARY KEY (job, at)
        ) WITHOUT ROWID;
        """)
    appended = [
        cpu_s(_insert, database, at, results)
        for at, results in runs(jobs, minutes, start)
    ]
    question = "SELECT * FROM results WHERE job = ? AND at >= ? AND at < ?"
    end = start + 60 * minutes
    read = [
        cpu_s(_fetch, database, question, (job, end - DAY_S, end))
        for job in range(0, jobs, max(1, jobs // 9))
    ]
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    row_bytes = path.stat().st_size / minutes / jobs
    return OfSqlite(statistics.median(appended), statistics.median(read), row_bytes)


def _fetch(database: sqlite3.Connection, question: str, about: Sequence[float]) -> None:
    database.execute(question, about).fetchall()


def _insert(database: sqlite3.Connection, at: float, results: Sequence[Result]) -> None:
    database.execute("BEGIN")
    database.executemany(
        "INSERT INTO results VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (
                job,
                at,
                STATUSES.index(one.status),
                0,
                round(one.seconds * 1000),
                *one.values.values(),
                one.reason or None,
                0,
                one.holds_s,
            )
            for job, one in enumerate(results)
        ),
    )
    database.execute("COMMIT")


def cpu_s(call: Callable[..., object], *arguments: object) -> float:
    """Return the seconds of CPU that a call takes."""
    began = time.process_time()
    call(*arguments)
    return time.process_time() - began


def size(folder: Path, ending: str, without: str = "\0") -> int:
    """Return how long the files of an ending are."""
    return sum(
        path.stat().st_size
        for path in folder.glob(f"*{ending}")
        if without not in path.name
    )


def main(jobs: int, days: int) -> None:
    """Print what was measured."""
    with tempfile.TemporaryDirectory(prefix="checker-bench-") as name:
        ours = of_history(Path(name, "state"), jobs, days)
        theirs = of_sqlite(Path(name), jobs, min(days, 1))
    print(f"history of {jobs:,} jobs each minute, {days} days, beside SQLite")
    for what, our, their, limit, unit in (
        ("a run adds, CPU", ours.run_s * 1000, theirs.run_s * 1000, 20, "ms"),
        ("24 h of one job, CPU", ours.read_s * 1000, theirs.read_s * 1000, 20, "ms"),
        ("a result on disk", ours.row_bytes, theirs.row_bytes, 7, "bytes"),
        ("90 days of bars, CPU", ours.bars_s * 1000, None, 500, "ms"),
        ("a year on disk", ours.year_bytes / MB, None, 400, "MB"),
        ("thinning, CPU a day", ours.thin_s_a_day, None, None, "s"),
    ):
        beside = f", SQLite {their:.1f} {unit}" if their is not None else ""
        most = f", limit {limit} {unit}" if limit is not None else ""
        print(f"  {what}: {our:.1f} {unit}{beside}{most}")


if __name__ == "__main__":
    main(1000, int(sys.argv[1]) if len(sys.argv) > 1 else 1)

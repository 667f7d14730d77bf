"""Makes a state folder with a history, and reads it: rows of ``make bench-against``.

    python benchhistory.py WHAT ROOT STATE JOBS

ROOT is the checkout whose code does it.  ``WHAT`` is ``day``, which lets 24 hours pass
with a run each minute, ``days``, which lets 90 days pass and a run each hour of the
last, or what is then measured and printed: ``page``, ``page-size``, ``history``,
``bars``, ``status``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from inspect import signature
from pathlib import Path
from random import Random
from typing import Any

#: When the last run was: in the morning, so that a day and some hours are read.
END = datetime(2026, 11, 22, 6, 50, tzinfo=UTC)
DAY_S = 86_400


def key_of(number: int) -> Any:
    from lib.core.jobs import JobKey

    return JobKey("HTTPServerChecker", f"http www{number}.example.com")


def value(number: float = 0.2) -> Any:
    from lib.core.results import Threshold, Unit, Value

    return Value(number, Unit.SECONDS, fail=Threshold(high=2.0))


def runs(state: Path, jobs: int, minutes: range) -> None:
    """Let runs pass in these minutes before the end."""
    from lib.core.enums import Status
    from lib.core.settings import HistoryAges
    from lib.storage import historylog, historythin
    from lib.storage.history import Result

    # Of before it is made of names and numbers.
    made = getattr(Result, "of", Result)

    chance = Random(1)
    for minute in minutes:
        at = (END - timedelta(minutes=minute)).timestamp() + chance.random()
        results = []
        for number in range(jobs):
            status = Status.FAILING if (number + minute) % 997 == 0 else Status.OK
            values = {"time": chance.gauss(0.2, 0.04), "load": chance.uniform(0, 100)}
            one = (status, "", 0.2, values, "", b"{}", 150.0)
            results.append(made(key_of(number), *one))
        historylog.record(state, UTC, at, results)
        if minute % 60 == 0:
            historythin.thin(state, HistoryAges(), 1000.0)


def ninety_days(state: Path, jobs: int) -> None:
    """Have bars of 90 days, each with some minutes of failing."""
    from lib.storage.history import BARS, FOLDER, TIMES, bars_block

    chance, content = Random(2), b""
    for ago in range(90, 0, -1):
        bars = {}
        for number in range(jobs):
            times = [0.0] * len(TIMES)
            times[TIMES.index("failing")] = failing = 180.0 * (chance.random() < 1 / 60)
            times[TIMES.index("ok")] = DAY_S - failing
            bars[str(key_of(number))] = times
        day = END.date() - timedelta(days=ago)
        begin = datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
        # Earlier commits do not say when a day began.
        more = (begin,) if _takes(bars_block, "begin") else ()
        content += bars_block(day.isoformat(), bars, *more)
    (state / FOLDER / BARS).write_bytes(content)


def rest(state: Path, jobs: int) -> None:
    """Have what a run keeps beside the history."""
    from lib.core.jobs import CatalogEntry
    from lib.core.records import RunRecord
    from lib.storage.store import State

    keys = [key_of(number) for number in range(jobs)]
    place = State(state)
    place.save_run(RunRecord(began_at=END, ended_at=END))
    place.save_catalog(
        {
            key: CatalogEntry(
                key.identity, key.file, "minute", judged=True, tags=(f"t{number % 10}",)
            )
            for number, key in enumerate(keys)
        }
    )
    values = {"time": value(), "load": value()}
    place.save_values(
        dict.fromkeys(keys, values), dict.fromkeys(keys), {}, set(keys)  # type: ignore
    )


def settings_of(state: Path) -> Any:
    from lib.core.settings import Mail, Settings

    return Settings(
        path=Path("settings.cfg"),
        servername="web1",
        alertcontact=("ops@example.com",),
        logfile=Path("log"),
        state=state,
        mail=Mail(nomail=True),
        zone=UTC,
    )


def page(state: Path, jobs: int) -> tuple[float, int]:
    """Return what the front page costs in CPU seconds, and how many bytes it has."""
    from lib.report.graphs import slices_for
    from lib.report.page import link_of, overview
    from lib.report.reader import Reader

    now = END + timedelta(seconds=30)
    reader = Reader(settings_of(state), now)
    keys = [key_of(number) for number in range(jobs)]
    graphs = {
        link_of(key): reader.graph(key, rows, slices_for(jobs))
        for key, rows in reader.rows_of(keys)
    }
    texts: list[str] = []

    def make() -> None:
        again = Reader(settings_of(state), now)
        texts.append(overview(again.snapshot(graphs)))

    return cpu_s(make), len(texts[0].encode())


def history(state: Path, jobs: int) -> float:
    """Return what the last 24 hours of one job cost, in milliseconds."""
    from lib.storage.history import History

    end = END.timestamp() + 30
    keys = [key_of(number) for number in range(0, jobs, max(1, jobs // 9))]
    took = [
        cpu_s(lambda key=key: History(state, UTC).rows(key, end - DAY_S, end))
        for key in keys
    ]
    return 1000 * sorted(took)[len(took) // 2]


def bars(state: Path, _jobs: int) -> float:
    """Return what 90 days of all jobs cost."""
    from lib.storage.history import History

    until = END.timestamp() + 30
    return cpu_s(lambda: History(state, UTC).days(until=until))


def status(state: Path, jobs: int) -> float:
    """Return what the last 24 hours of all jobs cost in ``-m status``."""
    from lib.report.glance import looks
    from lib.storage.history import History

    values = {"time": value(), "load": value()}
    keys = [key_of(number) for number in range(jobs)]
    measured, now = dict.fromkeys(keys, values), END + timedelta(seconds=30)

    def look() -> None:
        history = History(state, UTC)
        # Earlier commits read the latest results themselves.
        more = {"latest": history.latest()} if _takes(looks, "latest") else {}
        looks(history, keys, measured, now=now, **more)

    return cpu_s(look)


def _takes(function: Callable[..., object], name: str) -> bool:
    return name in signature(function).parameters


def cpu_s(call: Callable[[], object]) -> float:
    """Return the seconds of CPU that a call takes; what it imports is loaded before."""
    call()
    began = time.process_time()
    call()
    return time.process_time() - began


def main(what: str, root: str, folder: str, count: str) -> None:
    """Do what is asked, by the code of a checkout."""
    sys.path[0] = root
    state, jobs = Path(folder), int(count)
    if what in ("day", "days"):
        state.mkdir(mode=0o700)
        runs(state, jobs, range(1440, -1, -1 if what == "day" else -60))
        if what == "days":
            ninety_days(state, jobs)
        rest(state, jobs)
        return
    if what in ("page", "page-size"):
        took, size = page(state, jobs)
        print(took if what == "page" else size / 1000)
        return
    measured = {"history": history, "bars": bars, "status": status}
    print(measured[what](state, jobs))


if __name__ == "__main__":
    main(*sys.argv[1:])

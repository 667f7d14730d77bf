"""The soak: a week of simulated minutes, and what came of it: ``make soak``.

Most minutes are carried out in one process, which would show what leaks; some are
starts as cron makes them, of which some are killed.  The clocks change both ways, and
mail is away for six hours.  What is run and told is held against a model.  The same
seed draws the same week.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lib.core.text import counted
from tests.bench import commit, machine
from tests.faults.soak_jobs import COUNTING
from tests.faults.soak_plan import WEEK, ZONE, changes
from tests.faults.soak_result import Held, Result
from tests.faults.soak_run import soak
from tests.faults.table import seed


def main() -> int:
    """Print what came of it, some minutes later; return the exit code."""
    parser = argparse.ArgumentParser(description="A week of simulated minutes.")
    parser.add_argument("--seed", type=int, default=seed())
    given = parser.parse_args()
    # Later than now, so that no file is newer than the clock.
    year = datetime.now(UTC).year + 1
    print(f"commit    {commit()}")
    print(f"machine   {machine()}")
    print(f"seed      {given.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="checker-soak-") as name:
        try:
            result = soak(Path(name), WEEK, given.seed, year, say=_say)
        except pytest.skip.Exception as missing:
            print(f"soak: {missing}", file=sys.stderr)
            return 1
    for line in summary(result, year):
        print(line)
    for fault in result.faults:
        print(f"WRONG     {fault}")
    return int(bool(result.faults))


def summary(result: Result, year: int) -> Iterator[str]:
    """Yield what came of a soak, a line each."""
    notified, runs = result.notified, result.runs
    around = " and ".join(f"{one.astimezone(ZONE):%Y-%m-%d}" for one in changes(year))
    begin, end = (one.astimezone(ZONE) for one in result.outage)
    yield f"minutes   {result.minutes:,}, around the changes of {around} in {ZONE}"
    yield f"starts    {result.in_process + result.real:,}"
    yield f"          {result.in_process:,} in one process, the others as cron does it"
    yield f"          {len(result.killed)} killed"
    yield f"          {result.skipped} found another at work, started at the same time"
    yield f"missed    {result.missed}"
    listed = ", ".join(f"{name} {runs[name]:,} times" for name in COUNTING)
    yield f"executed  {listed}"
    yield f"outage    {begin:%Y-%m-%d %H:%M %Z} to {end:%Y-%m-%d %H:%M %Z}"
    yield f"news      {result.news} in {notified.mails} mails: {notified.lost} lost"
    yield f"          {notified.anew} told again with a new Message-ID"
    yield f"          {notified.repeated + notified.doubtful} told again after a kill"
    latest = counted(notified.latest.seconds // 60, "minute")
    yield f"          {latest} late at most, but for the outage"
    promised = counted(notified.promised.seconds // 60, "minute")
    yield f"          {promised} at most for first alerts and their ends"
    yield f"replayed  {result.replayed} of {result.decided} notifications, alike"
    if len(result.held) == 2:
        first, last = map(_held, result.held)
        yield f"held      {first} after a day"
        yield f"          {last} in the end"
    yield f"took      {result.seconds:.0f} s"


def _held(held: Held) -> str:
    return (
        f"{len(held.files)} files, {held.descriptors} descriptors, "
        f"{held.processes} process, {held.threads} thread, {held.memory}"
    )


def _say(text: str) -> None:
    print(f"          {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())

"""Carries out runs, one after the other in one process, at the times that are told.

Started by ``soak_world.py`` as a program of its own, beside the Checker on its path:

    soak_minutes.py SETTINGS JOBS STATE BASE

Each line that it reads orders a run, ``FREQUENCY MOMENT``, or asks what is ``held``;
each that it writes is JSON and answers that.  What would leak, leaks here.
"""

from __future__ import annotations

import ctypes
import gc
import json
import logging
import os
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

from lib.config.load import load_settings
from lib.core.enums import JobFrequency
from lib.runner.run import run


class Heard(logging.Handler):
    """Keeps what cron would mail."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


class Clock:
    """Goes on from the moment that is told."""

    def __init__(self, moment: datetime) -> None:
        self._moment = moment
        self._set_at = time.monotonic()

    def __call__(self) -> datetime:
        return self._moment + timedelta(seconds=time.monotonic() - self._set_at)


def main() -> None:
    heard = Heard()
    logging.getLogger().addHandler(heard)
    for line in sys.stdin:
        answer = held() if line == "held\n" else carry_out(*line.split(), heard)
        print(json.dumps(answer), flush=True)


def carry_out(ordered: str, moment: str, heard: Heard) -> dict[str, object]:
    """Carry out a run; return its exit code, what it said and whom it left behind."""
    settings, jobs, state, base = map(Path, sys.argv[1:])
    heard.lines = []
    # Read anew each time, as in a start of its own.
    found = load_settings(settings, base=base, jobs=[jobs], state=state)
    clock = Clock(datetime.fromisoformat(moment))
    code = run(found, JobFrequency(ordered), now=clock)
    return {"code": code, "said": "\n".join(heard.lines), "left": len(children())}


class _Mallinfo(ctypes.Structure):
    """What mallinfo2(3) returns."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        )
    ]


def held() -> dict[str, int]:
    """Return what this process holds between two runs."""
    gc.collect()
    library = ctypes.CDLL(None)
    # What is free, and only kept by the C library, is not held.
    library.malloc_trim(0)
    library.mallinfo2.restype = _Mallinfo
    memory = library.mallinfo2()
    return {
        # The list itself is read by one that is not there any more.
        "descriptors": len(os.listdir("/proc/self/fd")) - 1,
        "threads": len(os.listdir("/proc/self/task")),
        # Python's own is among it: PYTHONMALLOC is malloc.
        "in_use": memory.uordblks + memory.hblkhd,
    }


def children() -> list[str]:
    """Return the children of this process, also those that nobody has waited for."""
    lists = Path("/proc/self/task").glob("*/children")
    return [pid for one in lists for pid in one.read_text().split()]


if __name__ == "__main__":
    main()

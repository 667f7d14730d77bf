"""What it costs to follow a log, beside one ``re.finditer``: a part of ``make bench``.

Both look for the same lines in the same bytes, which come from the page cache: who
looks with ``finditer`` reads them in blocks, each to the same memory.  What it takes
with all bytes in memory from the start is shown as well: a search for a plain word then
takes no longer than to read them.
"""

from __future__ import annotations

import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from lib.net.connect import Deadline
from lib.plugins import logfiles, search
from lib.plugins.logreader import BLOCK

MB, TURNS = 100, 7
PATTERNS = {
    "a plain word": rb"ERROR",
    "alternatives": rb"ERROR|FATAL|panic",
    "a class": rb"[Ee]rror: ",
}
LINE = "2026-11-29T13:29:41 host app[{pid}]: request {number} took {ms} ms, all is well"
#: One in so many lines is the one that is looked for.
RARE = 20_000


class Measured(NamedTuple):
    """CPU seconds, the median of some turns, and how many lines were found."""

    ours: float
    #: With what it takes to read the bytes, and with all of them in memory.
    finditer: float
    in_memory: float
    found: int
    #: The median of the turns' ratios.
    ratio: float


class _Found(search.News):
    count = 0

    def take(self, found: search.Found, source: str = "") -> None:
        self.count += found.count


def write(path: Path, size: int) -> None:
    """Write a log of some size."""
    with path.open("w") as log:
        for number in range(size // len(LINE)):
            log.write(
                LINE.format(pid=number % 997, number=number, ms=number * 7 % 5000)
            )
            log.write(" ERROR FATAL panic Error: \n" if number % RARE == 7 else "\n")


def measured(path: Path, pattern: bytes, turns: int) -> Measured:
    """Return what a pattern costs; both sides take turns."""
    wanted, data = re.compile(pattern, re.M), path.read_bytes()
    rows, news = [], _Found()
    for _turn in range(turns):
        news = _Found()
        ours = _cpu(lambda news=news: _follow(path, wanted, news))
        theirs = _cpu(lambda: _read(path, wanted))
        in_memory = _cpu(lambda: sum(1 for _ in wanted.finditer(data)))
        rows.append((ours, theirs, in_memory))
    sides = (statistics.median(side) for side in zip(*rows, strict=True))
    ratio = statistics.median(ours / theirs for ours, theirs, _ in rows)
    return Measured(*sides, news.count, ratio)


def _cpu(call: Callable[[], object]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


def _follow(path: Path, wanted: re.Pattern[bytes], news: _Found) -> None:
    within = Deadline(60)
    with search.Search(wanted, None, within) as searching:
        look = search.Look(searching, news, within, time.time(), is_from_end=False)
        logfiles.follow(look, str(path), "", {})


def _read(path: Path, wanted: re.Pattern[bytes]) -> None:
    data, at = bytearray(BLOCK), 0
    room = memoryview(data)
    with path.open("rb", buffering=0) as log:
        while number := os.preadv(log.fileno(), [room], at):
            sum(1 for _ in wanted.finditer(data, 0, number))
            at += number


def main(mb: int = MB, turns: int = TURNS) -> None:
    """Print what each pattern costs."""
    print(f"{mb} MB of new lines of a log, beside one re.finditer (limit 1.2):")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "app.log")
        write(path, mb * 1_000_000)
        for name, pattern in PATTERNS.items():
            row = measured(path, pattern, turns)
            print(
                f"  {name}: {row.ours:.3f} of {row.finditer:.3f} CPU s, "
                f"{row.ratio:.2f}; with all in memory {row.in_memory:.3f}"
            )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

"""Logs under copytruncate: drawn histories, which go on at any call of a check.

Small logs, which are rotated again and again, are the hard ones: little tells one from
the other.
"""

from __future__ import annotations

import gzip
import os
import random
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from lib.net.connect import Deadline
from lib.plugins import logfiles, logreader, search

#: What asks the system for a file, or for what is in it.
CALLS = {os.open, os.fstat, os.pread, os.preadv, os.scandir, os.stat}
MODULES = (logfiles.__file__, logreader.__file__)


class Manner(NamedTuple):
    """How a log is rotated."""

    is_dated: bool
    packs: bool = False
    packs_later: bool = False


MANNERS = [
    Manner(is_dated, *packs)
    for packs in ((), (True,), (False, True))
    for is_dated in (False, True)
]


def numbers(content: bytes) -> list[int]:
    return [int(number) for number in re.findall(rb"^<(\d+)>", content, re.M)]


class Told(search.News):
    """All lines that were found, and what was said beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: Counter[int] = Counter()

    def take(self, found: search.Found, source: str = "") -> None:
        self.lines.update(numbers(b"\n".join(found.lines)))


class Follower:
    """Follows a log from its start, and keeps where it is."""

    def __init__(self, log: Path) -> None:
        self.told, self._log, self._kept = Told(), log, {}

    def look(self) -> None:
        within = Deadline(30)
        with search.Search(re.compile(rb"ERROR", re.M), None, within) as searching:
            look = search.Look(
                searching, self.told, within, time.time(), is_from_end=False
            )
            self._kept = logfiles.follow(look, str(self._log), "", self._kept)


class Writer:
    """Writes numbered lines to a log, and rotates it step by step."""

    def __init__(self, log: Path, chance: random.Random, *, in_gap: bool) -> None:
        self.log, self.chance = log, chance
        self.manner = chance.choice(MANNERS)
        #: Whether lines come between the copy and the truncation, which are lost.
        self.in_gap = in_gap
        self.count = 0
        self._date = 1790000000

    def write(self) -> None:
        with self.log.open("ab", buffering=0) as file:
            for _line in range(self.chance.randint(1, 4)):
                self.count += 1
                more = b"x" * (self.count * 7 % 300)
                file.write(b"<%d> ERROR %s\n" % (self.count, more))

    def _writes(self) -> Iterator[str]:
        if self.chance.random() < 0.5:
            self.write()
            yield "write"

    def steps(self) -> Iterator[str]:
        """Write and rotate without end; yield after each step."""
        while True:
            for _write in range(self.chance.randint(0, 3)):
                yield from self._writes()
            yield from self._rotate()
            yield "rotated"

    def _rotate(self) -> Iterator[str]:
        if self.manner.is_dated:
            self._date += 1
            copy = self.log.with_name(f"app.log-{self._date}")
        else:
            yield from self._rename()
            copy = self.log.with_name("app.log.1")
        earlier = [
            path
            for path in self.log.parent.glob("app.log?*")
            if path.suffix != ".gz" and path != copy
        ]
        yield from self._copy(copy)
        os.truncate(self.log, 0)
        yield "truncate"
        yield from self._writes()
        packed = [copy] if self.manner.packs else []
        for path in earlier if self.manner.packs_later else packed:
            yield from self._pack(path)

    def _rename(self) -> Iterator[str]:
        for number in range(9, 0, -1):
            for ending in ("", ".gz"):
                path = self.log.with_name(f"app.log.{number}{ending}")
                if path.exists():
                    path.rename(self.log.with_name(f"app.log.{number + 1}{ending}"))
                    yield "rename"

    def _copy(self, copy: Path) -> Iterator[str]:
        with self.log.open("rb") as source, copy.open("wb", buffering=0) as target:
            yield "create copy"
            size = os.fstat(source.fileno()).st_size
            target.write(source.read(self.chance.randint(0, size)))
            yield "copy some"
            if self.in_gap:
                yield from self._writes()
            target.write(source.read())
        yield "copy whole"
        if self.in_gap:
            yield from self._writes()

    def _pack(self, path: Path) -> Iterator[str]:
        content, info = gzip.compress(path.read_bytes()), path.stat()
        packed = path.with_name(f"{path.name}.gz")
        with packed.open("wb", buffering=0) as file:
            yield "pack"
            file.write(content[: len(content) // 2])
            yield "pack half"
            file.write(content[len(content) // 2 :])
        yield "pack whole"
        os.utime(packed, ns=(info.st_atime_ns, info.st_mtime_ns))
        yield "set its time"
        path.unlink()
        yield "unlink"


class Meanwhile:
    """Takes steps of a writer at some calls of a check."""

    def __init__(self, steps: Iterator[str], chance: random.Random) -> None:
        self._steps, self._chance = steps, chance
        self._likely = chance.choice([0.02, 0.05, 0.1])
        self._left = 0

    def during(self, look: Callable[[], None]) -> None:
        before = sys.getprofile()
        self._left = self._chance.choice([0, 1, 1, 2, 3])
        sys.setprofile(self._watch)
        try:
            look()
        finally:
            sys.setprofile(before)

    def _watch(self, frame, event, what) -> None:
        is_ours = event in ("c_call", "c_return") and what in CALLS
        if not (is_ours and self._left and frame.f_code.co_filename in MODULES):
            return
        if self._chance.random() < self._likely:
            self._left -= 1
            sys.setprofile(None)
            next(self._steps)
            sys.setprofile(self._watch)


def in_files(log: Path) -> set[int]:
    """Return which lines there are in a log and in what is rotated of it."""
    lines: set[int] = set()
    for path in log.parent.iterdir():
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            lines.update(numbers(file.read()))
    return lines


def play(log: Path, chance: random.Random, *, in_gap: bool) -> tuple[Writer, Told]:
    """Play a history to the end of its last rotation; return what was told."""
    log.parent.mkdir()
    log.touch()
    writer, follower = Writer(log, chance, in_gap=in_gap), Follower(log)
    follower.look()
    steps = writer.steps()
    meanwhile = Meanwhile(steps, chance)
    for _check in range(chance.randint(2, 8)):
        for _step in range(chance.randint(0, chance.choice([1, 20]))):
            next(steps)
        meanwhile.during(follower.look)
    while next(steps) != "rotated":
        pass
    for _check in range(3):
        follower.look()
    return writer, follower.told


@pytest.mark.parametrize(
    "seed",
    [
        pytest.param(number, marks=pytest.mark.long if number else ())
        for number in range(40)
    ],
)
def test_in_each_history_lines_are_told_once_and_no_loss_is_named(
    tmp_path, monkeypatch, seed
):
    monkeypatch.setattr(search, "MAX_LINES", 1_000_000)
    for number in range(4):
        log = tmp_path / str(number) / "app.log"
        chance = random.Random(f"{seed} {number}")
        writer, told = play(log, chance, in_gap=False)
        assert told.lines == Counter(range(1, writer.count + 1)), number
        assert (told.lost, told.unsure, told.missing) == ([], [], []), number
        assert not told.unknown, number
        shutil.rmtree(log.parent)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(40))
def test_with_lines_between_copy_and_truncation_all_is_told_or_named(
    tmp_path, monkeypatch, seed
):
    monkeypatch.setattr(search, "MAX_LINES", 1_000_000)
    for number in range(4):
        log = tmp_path / str(number) / "app.log"
        chance = random.Random(f"{seed} {number}")
        writer, told = play(log, chance, in_gap=True)
        missing = set(range(1, writer.count + 1)) - told.lines.keys()
        assert told.lost or told.unsure or not missing & in_files(log), number
        assert not told.unknown and not told.missing, number
        shutil.rmtree(log.parent)

"""Blocks, of which the files of state/history/ are made, and the log that runs append.

A block has a header with its sum, its time and its length.  A damaged one is passed
over, and what follows is found by the next header.  ``HOUR.log`` has a block for each
run, and a block of job names where they changed; a run's block is columns, so that one
job's row is found by its position, and the rest is not taken apart.
"""

from __future__ import annotations

import math
import struct
import sys
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from lib.core.jobs import JobKey
from lib.core.text import counted, some_of
from lib.storage.historyrows import (
    CODES,
    STATUSES,
    TIME_OF_CODE,
    Result,
    Row,
    Trace,
    in_order,
    rounded,
)
from lib.system.errors import NewerState, trouble

T = TypeVar("T")

_MAGIC = b"CkrH"
FORMAT = 1
#: Magic, format, kind, rows, length of the payload, milliseconds, where in the file the
#: names are, sum of the payload; then the sum of this.
_HEADER = struct.Struct("<4sBcIIqQI")
_SUM = struct.Struct("<I")
HEADER_BYTES = _HEADER.size + _SUM.size
#: What a block is: a run, the names of jobs, the summary, bars of a day, changes; in
#: files of columns what all jobs share, a job, the index.
RUN, NAMES, NOW_KIND, BARS_KIND, CHANGES_KIND = b"R", b"N", b"S", b"D", b"C"
HEAD, JOB, INDEX = b"H", b"J", b"I"


class Block(NamedTuple):
    """The header of a block, and where its payload is."""

    kind: bytes
    rows: int
    start: int
    length: int
    at_ms: int
    names_at: int

    @property
    def end(self) -> int:
        """Return where the next block begins."""
        return self.start + self.length


def block(kind: bytes, rows: int, at_ms: int, names_at: int, payload: bytes) -> bytes:
    """Return a block: its header, and its payload."""
    length, total = len(payload), zlib.crc32(payload)
    header = _HEADER.pack(_MAGIC, FORMAT, kind, rows, length, at_ms, names_at, total)
    return header + _SUM.pack(zlib.crc32(header)) + payload


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Have NewerState name the file that is read."""
    try:
        yield
    except NewerState as error:
        raise NewerState(f"{path}: {error}") from error


class Losses:
    """What of the history could not be read, by file."""

    def __init__(self) -> None:
        self._unread: dict[Path, str] = {}
        #: What is missing of each file, and the jobs of which something is.
        self._damaged: dict[Path, set[str]] = {}
        self._jobs: dict[Path, set[str]] = {}
        #: How many changes of status each file has lost at least.
        self._changes: dict[Path, int] = {}

    def unread(self, path: Path, error: OSError | NewerState) -> None:
        """Note that a file is not read at all; NewerState names it."""
        if isinstance(error, NewerState):
            self._unread[path] = str(error)
        else:
            self._unread[path] = str(trouble(path, "read it", error))

    def damaged(self, path: Path, what: str) -> None:
        """Note what is missing of a file."""
        self._damaged.setdefault(path, set()).add(what)

    def damaged_job(self, path: Path, key: str) -> None:
        """Note that what a file has of a job is missing."""
        name = JobKey.parse(key).identity or key
        self._jobs.setdefault(path, set()).add(name)

    def damaged_changes(self, path: Path, count: int) -> None:
        """Note how many changes of status a file has lost at least."""
        self._changes[path] = count

    def texts(self) -> list[str]:
        """Return what is missing, where, and what to do, a text for each file."""
        paths = sorted({*self._damaged, *self._jobs})
        unread = [self._unread[path] for path in sorted(self._unread)]
        changes = [
            f"{path} is damaged: it has lost at least {counted(count, 'change')} of "
            "status, so outages may be longer, shorter or missing; put it back from a "
            "backup"
            for path, count in sorted(self._changes.items())
            if count
        ]
        return [*unread, *changes, *map(self._text, paths)]

    def _text(self, path: Path) -> str:
        what = sorted(self._damaged.get(path, ()))
        if jobs := sorted(self._jobs.get(path, ())):
            what.append(f"what it has of {_together(jobs)} is missing")
        return (
            f"{path} is damaged: {', '.join(what)}; put it back from a backup (without "
            "one you may move it away, with the rest of what it has)"
        )


def _together(names: list[str]) -> str:
    """Return names as in a sentence: ``a``, ``a and b``, ``a, b, c and 2 more``."""
    if len(names) in (2, 3):
        return f"{', '.join(names[:-1])} and {names[-1]}"
    return some_of(names, 3)


def blocks(
    content: bytes,
    start: int = 0,
    wants: Callable[[Block], bool] | None = None,
    passed_over: Callable[[], None] = lambda: None,
) -> Iterator[Block]:
    """Yield the blocks that are whole; pass over what is damaged.

    ``wants``: the others are passed over without being read.  ``passed_over`` is called
    where something damaged lies before a block; at the end, a run may just be writing.
    Raise NewerState at one that was written by a newer Checker.
    """
    at, end, view = start, len(content), memoryview(content)
    is_damaged = False
    while at + HEADER_BYTES <= end:
        magic, version, kind, rows, length, at_ms, names_at, total = (
            _HEADER.unpack_from(content, at)
        )
        (found,) = _SUM.unpack_from(content, at + _HEADER.size)
        is_ours = magic == _MAGIC and found == zlib.crc32(view[at : at + _HEADER.size])
        if is_ours and version > FORMAT:
            raise NewerState(
                f"it was written by a newer Checker (format {version}, this one knows "
                f"{FORMAT}); upgrade this one, or move the file away"
            )
        first = at + HEADER_BYTES
        last = first + length
        if is_ours and last <= end:
            one = Block(kind, rows, first, length, at_ms, names_at)
            is_wanted = wants is None or wants(one)
            if is_wanted:
                is_whole = zlib.crc32(view[first:last]) == total
            else:
                # Of a block that was cut off the next one lies within.
                is_whole = last == end or content[last : last + 4] == _MAGIC
            if is_whole:
                if is_damaged:
                    passed_over()
                is_damaged, at = False, last
                if is_wanted:
                    yield one
                continue
        # A write that was cut off: the next block begins somewhere behind it.
        is_damaged = True
        at = content.find(_MAGIC, at + 1)
        if at < 0:
            return


def payload_of(content: bytes, block: Block) -> memoryview:
    """Return the payload of a block."""
    return memoryview(content)[block.start : block.end]


class _More(msgspec.Struct, omit_defaults=True):
    """What a run's block has beside its columns."""

    #: The names of values that rows have, and the hashes of policies.
    shapes: list[list[str]]
    policies: list[str]
    #: By the number of the row.
    reasons: dict[int, str] = {}


#: The columns of a run's block: the job's place in the names, the status, the code,
#: the place of its policy, of its shape, its milliseconds, the seconds it holds, and
#: where its values begin.
_COLUMNS = "IBBHHIII"
_WIDTHS = tuple(struct.calcsize(letter) for letter in _COLUMNS)
_COUNT = struct.Struct("<I")


#: The place of a job in the names, its result, and the hash of its terms.
Entry = tuple[int, Result, str]


def run_block(at_ms: int, names_at: int, rows: Sequence[Entry]) -> bytes:
    """Return the block of a run, whose rows are in the order of their jobs' places."""
    positions, results, hashes = zip(*rows, strict=True)
    shapes = _places(one.names for one in results)
    policies = _places(hashes)
    numbers, firsts = array("d"), []
    for one in results:
        firsts.append(len(numbers))
        numbers += one.numbers
    columns = (
        positions,
        [STATUSES.index(one.status) for one in results],
        [CODES.index(one.code) for one in results],
        [policies[one] for one in hashes],
        [shapes[one.names] for one in results],
        [_as_unsigned(one.seconds * 1000) for one in results],
        [_as_unsigned(one.holds_s) for one in results],
        firsts,
    )
    parts = [
        struct.pack(f"<{len(rows)}{letter}", *column)
        for letter, column in zip(_COLUMNS, columns, strict=True)
    ]
    reasons = {number: one.reason for number, one in enumerate(results) if one.reason}
    more = msgspec.json.encode(_More([*map(list, shapes)], list(policies), reasons))
    parts += [_COUNT.pack(len(numbers)), little(numbers).tobytes(), more]
    return block(RUN, len(rows), at_ms, names_at, b"".join(parts))


def _places(values: Iterable[T]) -> dict[T, int]:
    """Return the different ones of some values, each with its place among them."""
    return {value: place for place, value in enumerate(dict.fromkeys(values))}


def _as_unsigned(number: float) -> int:
    """Return a number as four bytes have it: whole, not below zero."""
    if number >= 2**32 - 1:
        return 2**32 - 1
    return round(number) if number > 0 else 0


class RunBlock:
    """The rows of a run's block, of which each is found by its position."""

    def __init__(self, content: bytes, block: Block) -> None:
        self._at = block.at_ms / 1000
        self._columns: list[array[int]] = []
        at = block.start
        for letter, width in zip(_COLUMNS, _WIDTHS, strict=True):
            self._columns.append(_array(letter, content, at, width * block.rows))
            at += width * block.rows
        (count,) = _COUNT.unpack_from(content, at)
        at += _COUNT.size
        self._numbers = _array("d", content, at, 8 * count)
        more = memoryview(content)[at + 8 * count : block.end]
        self._more = msgspec.json.decode(more, type=_More)

    def positions(self) -> Sequence[int]:
        """Return the places of its jobs in the names, in their order."""
        return self._columns[0]

    def find(self, position: int) -> int | None:
        """Return the number of the row of the job at this place; None: it has none."""
        positions = self._columns[0]
        # Most often all jobs run, and each is in its own place.
        if position < len(positions) and positions[position] == position:
            return position
        found = bisect_left(positions, position)
        is_there = found < len(positions) and positions[found] == position
        return found if is_there else None

    def row(self, number: int) -> Row:
        """Return a row."""
        more = self._more
        _positions, statuses, codes, policies, shapes, ms, holds, firsts = self._columns
        names, first = more.shapes[shapes[number]], firsts[number]
        numbers = self._numbers[first : first + len(names)]
        return Row(
            self._at,
            STATUSES[statuses[number]],
            CODES[codes[number]],
            ms[number] / 1000,
            dict(zip(names, map(rounded, numbers), strict=True)),
            more.reasons.get(number, ""),
            more.policies[policies[number]],
            float(holds[number]),
        )

    def point(self, number: int, name: str | None) -> tuple[int, float, float]:
        """Return what the time of a row is counted as, how long it holds, one number.

        ``name``: the value that is wanted; None: how long the check took.
        """
        _positions, statuses, codes, _policies, shapes, ms, holds, firsts = (
            self._columns
        )
        kind = TIME_OF_CODE.get(codes[number], statuses[number])
        value = math.nan
        if name is None:
            value = ms[number] / 1000
        elif name in (names := self._more.shapes[shapes[number]]):
            value = rounded(self._numbers[firsts[number] + names.index(name)])
        return kind, float(holds[number]), value


def _array(letter: str, content: bytes, at: int, length: int) -> array[Any]:
    """Return the numbers that lie in so many bytes from a place on."""
    numbers = array(letter)
    numbers.frombytes(memoryview(content)[at : at + length])
    return little(numbers)


def little(numbers: array[Any]) -> array[Any]:
    """Return numbers as files have them, or of files: the lowest byte first."""
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def names_block(names: list[str], at_ms: int) -> bytes:
    """Return a block of the names of jobs, by which rows say whose they are."""
    payload = zlib.compress(msgspec.json.encode(names), 1)
    return block(NAMES, len(names), at_ms, 0, payload)


def bars_block(day: str, bars: dict[str, list[float]], begin: float) -> bytes:
    """Return a block of how long each job was what on a day.

    ``begin``: when the day began, which depends on where people live.
    """
    payload = zlib.compress(msgspec.json.encode((day, bars)))
    number = date.fromisoformat(day).toordinal()
    return block(BARS_KIND, len(bars), round(begin * 1000), number, payload)


def refuse_newer(path: Path) -> None:
    """Raise NewerState, which names the file, if it begins as those of a newer one."""
    try:
        with path.open("rb", buffering=0) as file, naming(path):
            next(blocks(file.read(HEADER_BYTES)), None)
    except OSError:
        # Whoever reads it says so.
        return


def _places_in(content: bytes, at: int) -> dict[str, int]:
    """Return the place of each job, by the block of names at a place of a file."""
    try:
        found = next(blocks(content, at), None)
    except NewerState:
        return {}
    if found is None or found.kind != NAMES or found.start != at + HEADER_BYTES:
        return {}
    text = zlib.decompress(payload_of(content, found))
    names = msgspec.json.decode(text, type=list[str])
    return {name: place for place, name in enumerate(names)}


class RunLog:
    """What a log holds, or the part of it from ``start`` on.

    Raise NewerState where a newer Checker wrote a part of it.
    """

    def __init__(
        self,
        content: bytes,
        start: int = 0,
        since: float = 0.0,
        until: float = float("inf"),
        passed_over: Callable[[], None] = lambda: None,
    ) -> None:
        def wants(one: Block) -> bool:
            return one.kind == RUN and since <= one.at_ms / 1000 < until

        self._content = content
        self._runs = [
            (one, RunBlock(content, one))
            for one in blocks(content, start, wants, passed_over)
        ]
        self._places = {
            at: _places_in(content, at)
            for at in {one.names_at for one, _ in self._runs}
        }

    def keys(self) -> set[str]:
        """Return the jobs of which there may be rows."""
        return set().union(*self._places.values())

    def times(self) -> list[int]:
        """Return when each run was, in milliseconds."""
        return [one.at_ms for one, _run in self._runs]

    def rows(self, key: str) -> list[Row]:
        """Return the rows of a job, in the order in which they were written."""
        found = []
        for one, run in self._runs:
            place = self._places[one.names_at].get(key)
            number = None if place is None else run.find(place)
            if number is not None:
                found.append(run.row(number))
        return found

    def trace(self, key: str, name: str | None) -> Trace:
        """Return the rows of a job as columns, with one number of each."""
        moments, kinds = list[float](), list[int]()
        holds, numbers = list[float](), list[float]()
        for one, run in self._runs:
            place = self._places[one.names_at].get(key)
            number = None if place is None else run.find(place)
            if number is not None:
                kind, holds_s, value = run.point(number, name)
                moments.append(one.at_ms / 1000)
                kinds.append(kind)
                holds.append(holds_s)
                numbers.append(value)
        return in_order(Trace(moments, kinds, holds, numbers))

    def most(self, key: str) -> float:
        """Return the seconds of the slowest check of a job; -1: there is none."""
        return max(self.trace(key, None).numbers, default=-1.0)

    def before(self, _key: str) -> Row | None:
        """Return None: a log says nothing of the time before it."""
        return None

    def after(self, _key: str) -> Row | None:
        """Return None: what stands at the end is known when the hour is over."""
        return None

    def runs(self) -> Iterator[tuple[Block, list[tuple[str, Row]]]]:
        """Yield the block of each run, and its rows by job."""
        names = {at: list(places) for at, places in self._places.items()}
        for one, run in self._runs:
            known = names[one.names_at]
            yield (
                one,
                [
                    (known[place], run.row(number))
                    for number, place in enumerate(run.positions())
                    if place < len(known)
                ],
            )

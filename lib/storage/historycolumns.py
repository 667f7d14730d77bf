"""Files of columns: what the history keeps of hours and days that are over.

A file has a block that all jobs share, a block for each job in the order of their
names, and an index at its end, by which one job is read without the others.  Where the
index is damaged, the blocks say the same.  A job's block is its columns, compressed:
whole numbers as distances from the least, byte by byte, each byte with a code of its
own.  What is constant takes no room.
"""

from __future__ import annotations

import itertools
import logging
import math
import os
import struct
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import msgspec

from lib.storage.historyblocks import (
    HEAD,
    HEADER_BYTES,
    INDEX,
    JOB,
    Block,
    Losses,
    block,
    blocks,
    little,
    naming,
    payload_of,
)
from lib.storage.historyfiles import UNFINISHED
from lib.storage.historyrows import (
    CODES,
    STATUSES,
    TIME_OF_CODE,
    Row,
    Trace,
    in_order,
)
from lib.system.errors import NewerState
from lib.system.files import open_to_write, sync_folder, write_whole

logger = logging.getLogger(__name__)

#: So much is read at the end of a file, which is enough for most indices.
TAIL_BYTES = 32 * 1024
#: So much is written at once.
WRITE_BYTES = 256 * 1024

#: How long the index is; at the very end.
_TRAILER = struct.Struct("<I4s")
_END = b"CkrE"
#: How a column of whole numbers is kept: in so many bytes, each apart; as steps; as
#: digits of one number.
_WIDTH, _DELTA, _DIGITS = 0x0F, 0x10, 0x20
#: A column of numbers that are no short decimals.
_DOUBLES = 0
_EXPONENT_0 = 64
_OWN_EXPONENTS = 255
_TYPES = "BBHIIQQQQ"


# Columns.


class Packer:
    """Makes columns into bytes."""

    def __init__(self) -> None:
        self._heads = bytearray()
        self._planes: list[bytes] = []

    def whole(self, numbers: Sequence[int]) -> None:
        """Add a column of whole numbers."""
        least, most = min(numbers, default=0), max(numbers, default=0)
        mode, first = 0, 0
        if most > least:
            steps = [after - one for one, after in itertools.pairwise(numbers)]
            low, high = min(steps), max(steps)
            if high - low < most - least:
                mode, first = _DELTA, numbers[0]
                least, most, numbers = low, high, steps
        width = ((most - least).bit_length() + 7) // 8
        if width and _is_short_noise(numbers):
            mode |= _DIGITS
        self._heads.append(mode | width)
        _append_number(self._heads, least)
        if mode & _DELTA:
            _append_number(self._heads, first)
        if mode & _DIGITS:
            self._add_digits([number - least for number in numbers], most - least + 1)
        elif width:
            cells = array(_TYPES[width], [number - least for number in numbers])
            self._add_planes(cells, width)

    def floats(self, numbers: Sequence[float]) -> None:
        """Add a column of numbers: as whole ones where they are short decimals."""
        own = _decimals(numbers)
        if own is None:
            self._heads.append(_DOUBLES)
            self._add_planes(array("d", numbers), 8)
            return
        mantissas, exponents = own
        least, most = min(exponents, default=0), max(exponents, default=0)
        # All by the least exponent, unless that makes longer numbers.
        shared = [
            number * 10 ** (exponent - least)
            for number, exponent in zip(mantissas, exponents, strict=True)
        ]
        if least < most and _bits(shared) > _bits(mantissas) + 1:
            self._heads.append(_OWN_EXPONENTS)
            self.whole(exponents)
            self.whole(mantissas)
        else:
            self._heads.append(_EXPONENT_0 + least)
            self.whole(shared)

    def count(self, number: int) -> None:
        """Add one whole number."""
        _append_number(self._heads, number)

    def packed(self, text: bytes) -> bytes:
        """Return a text and the columns, compressed."""
        lengths = bytearray()
        _append_number(lengths, len(text))
        _append_number(lengths, len(self._heads))
        deflate = zlib.compressobj(6, zlib.DEFLATED, -13, 8, zlib.Z_FILTERED)
        parts = []
        for piece in (b"%s%s%s" % (lengths, text, self._heads), *self._planes):
            # Each has a code of its own.
            parts += [deflate.compress(piece), deflate.flush(zlib.Z_BLOCK)]
        return b"".join((*parts, deflate.flush()))

    def _add_digits(self, numbers: Sequence[int], base: int) -> None:
        """Add numbers as the digits of one large number."""
        total = 0
        for number in reversed(numbers):
            total = total * base + number
        _append_number(self._heads, base)
        self._planes.append(total.to_bytes(_digit_bytes(len(numbers), base), "little"))

    def _add_planes(self, cells: array[Any], width: int) -> None:
        content, size = little(cells).tobytes(), cells.itemsize
        self._planes += [content[byte::size] for byte in range(width)]


class Unpacker:
    """Reads columns in the order in which they were added."""

    def __init__(self, packed: bytes | memoryview) -> None:
        self._content = content = zlib.decompress(packed, -13)
        length, at = _number_at(content, 0)
        heads, at = _number_at(content, at)
        self.text = content[at : at + length]
        self._head = at + length
        self._plane = self._head + heads

    def whole(self, count: int) -> Sequence[int]:
        """Return a column of so many whole numbers."""
        mode = self._content[self._head]
        least, self._head = _number_at(self._content, self._head + 1)
        if not mode & _DELTA:
            return self._shifted(count, mode, least)
        first, self._head = _number_at(self._content, self._head)
        steps = self._shifted(count - 1, mode, least)
        return list(itertools.accumulate(steps, initial=first))

    def floats(self, count: int) -> Sequence[float]:
        """Return a column of so many numbers."""
        kind = self._content[self._head]
        self._head += 1
        if kind == _DOUBLES:
            return little(self._planes_of("d", count, 8)).tolist()
        if kind == _OWN_EXPONENTS:
            exponents = self.whole(count)
            return list(map(_scaled, self.whole(count), exponents))
        exponent, whole = kind - _EXPONENT_0, self.whole(count)
        scale = 10.0 ** abs(exponent)
        if exponent > 0:
            return [number * scale for number in whole]
        return [number / scale for number in whole]

    def skip(self, count: int) -> None:
        """Pass over a column of so many whole numbers."""
        mode = self._content[self._head]
        _least, self._head = _number_at(self._content, self._head + 1)
        if mode & _DELTA:
            _first, self._head = _number_at(self._content, self._head)
            count -= 1
        if mode & _DIGITS:
            base, self._head = _number_at(self._content, self._head)
            self._plane += _digit_bytes(count, base)
        else:
            self._plane += (mode & _WIDTH) * count

    def skip_floats(self, count: int) -> None:
        """Pass over a column of so many numbers."""
        kind = self._content[self._head]
        self._head += 1
        if kind == _DOUBLES:
            self._plane += 8 * count
            return
        if kind == _OWN_EXPONENTS:
            self.skip(count)
        self.skip(count)

    def count(self) -> int:
        """Return one whole number."""
        number, self._head = _number_at(self._content, self._head)
        return number

    def _shifted(self, count: int, mode: int, least: int) -> Sequence[int]:
        width = mode & _WIDTH
        if not width:
            return [least] * count
        if mode & _DIGITS:
            cells = self._digits_of(count)
        else:
            cells = little(self._planes_of(_TYPES[width], count, width)).tolist()
        return [cell + least for cell in cells] if least else cells

    def _digits_of(self, count: int) -> list[int]:
        base, self._head = _number_at(self._content, self._head)
        end = self._plane + _digit_bytes(count, base)
        total = int.from_bytes(self._content[self._plane : end], "little")
        self._plane, digits = end, list[int]()
        for _ in range(count):
            total, digit = divmod(total, base)
            digits.append(digit)
        return digits

    def _planes_of(self, letter: str, count: int, width: int) -> array[Any]:
        cells: array[Any] = array(letter)
        content = bytearray(cells.itemsize * count)
        for byte in range(width):
            end = self._plane + count
            content[byte :: cells.itemsize] = self._content[self._plane : end]
            self._plane = end
        cells.frombytes(content)
        return cells


def _append_number(content: bytearray, number: int) -> None:
    """Append a whole number, in as many bytes as it needs."""
    rest = number * 2 if number >= 0 else -number * 2 - 1
    while rest > 127:
        content.append(rest & 127 | 128)
        rest >>= 7
    content.append(rest)


def _number_at(content: bytes, at: int) -> tuple[int, int]:
    """Return the number that begins at a place, and where it ends."""
    rest = shift = 0
    while True:
        byte = content[at]
        at += 1
        rest |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return (-(rest + 1) // 2 if rest & 1 else rest // 2), at


def _is_short_noise(numbers: Sequence[int]) -> bool:
    """Return whether numbers are better digits than bytes with a code.

    The code would take more room than it saves.
    """
    return len(numbers) < 600 and len(set(numbers)) > len(numbers) / 4


def _digit_bytes(count: int, base: int) -> int:
    return math.ceil(count * math.log2(base) / 8) + 1


def _decimals(numbers: Sequence[float]) -> tuple[list[int], list[int]] | None:
    """Return whole numbers, and the exponents of ten that make these numbers of them.

    None: there are no such.
    """
    mantissas, exponents = list[int](), list[int]()
    for number in numbers:
        size = abs(number)
        if not number:
            # Any exponent will do.
            exponent = exponents[-1] if exponents else 0
        elif 1e3 <= size < 1e6:
            exponent = 0
        elif 1e-15 < size < 1e15:
            # They have four digits.
            exponent = math.floor(math.log10(size)) - 3
        else:
            return None
        mantissas.append(round(_scaled(number, -exponent)))
        exponents.append(exponent)
        if _scaled(mantissas[-1], exponent) != number:
            return None
    while any(mantissas) and not any(number % 10 for number in mantissas):
        mantissas = [number // 10 for number in mantissas]
        exponents = [exponent + 1 for exponent in exponents]
    return mantissas, exponents


def _scaled(number: float, exponent: int) -> float:
    """Return a number times a power of ten, as its decimals are read."""
    if exponent > 0:
        return number * 10.0**exponent
    return number / 10.0**-exponent


def _bits(numbers: Sequence[int]) -> int:
    return (max(numbers, default=0) - min(numbers, default=0)).bit_length()


# The rows of a job.


#: Of a row that stands at the beginning of another file: when it was, in milliseconds,
#: its status and its code, and the seconds it holds.
_Standing = tuple[int, int, int, int]


class _Text(msgspec.Struct, array_like=True):
    """What a job's block has beside its columns."""

    key: str
    #: The names of its values.
    names: list[str]
    policies: list[str]
    #: By the number of the row.
    reasons: dict[int, str]
    #: What stood before the first row, and what stands after the last.
    before: _Standing | None
    after: _Standing | None


def packed_rows(
    key: str, rows: Sequence[Row], times: Sequence[int], before: Row | None = None
) -> bytes:
    """Return the rows of a job as a block; ``times``: of all runs, in milliseconds.

    ``before`` is the row before them.
    """
    pack, policies = Packer(), dict[str, int]()
    reasons = {number: row.reason for number, row in enumerate(rows) if row.reason}
    pack.whole([bisect_left(times, round(row.at * 1000)) for row in rows])
    pack.whole([STATUSES.index(row.status) for row in rows])
    pack.whole([CODES.index(row.code) for row in rows])
    pack.whole([policies.setdefault(row.policy, len(policies)) for row in rows])
    pack.whole([round(row.seconds * 1000) for row in rows])
    pack.whole([round(row.holds_s) for row in rows])
    names = list(dict.fromkeys(name for row in rows for name in row.values))
    for name in names:
        pack_sparse(pack, [row.values.get(name) for row in rows])
    after = rows[-1] if rows else before
    text = msgspec.json.encode(
        _Text(key, names, list(policies), reasons, _standing(before), _standing(after))
    )
    at_ms = round(rows[0].at * 1000) if rows else 0
    return block(JOB, len(rows), at_ms, 0, pack.packed(text))


def _standing(row: Row | None) -> _Standing | None:
    if row is None:
        return None
    status, code = STATUSES.index(row.status), CODES.index(row.code)
    return round(row.at * 1000), status, code, round(row.holds_s)


def _row_of(standing: _Standing | None) -> Row | None:
    """Return a row of which no more is known than how long it is what."""
    if standing is None:
        return None
    at_ms, status, code, holds_s = standing
    status_of, code_of = STATUSES[status], CODES[code]
    return Row(at_ms / 1000, status_of, code_of, 0.0, {}, "", "", float(holds_s))


def pack_sparse(pack: Packer, numbers: Sequence[float | None]) -> None:
    """Add a column of which some may be missing."""
    there = [place for place, number in enumerate(numbers) if number is not None]
    pack.count(len(there))
    if len(there) < len(numbers):
        pack.whole(there)
    pack.floats([number for number in numbers if number is not None])


def sparse(unpack: Unpacker, count: int) -> Iterable[tuple[int, float]]:
    """Return the places and the numbers of a column of which some may be missing."""
    there = unpack.count()
    places = unpack.whole(there) if there < count else range(count)
    return zip(places, unpack.floats(there), strict=True)


def skip_sparse(unpack: Unpacker, count: int) -> None:
    """Pass over such a column."""
    there = unpack.count()
    if there < count:
        unpack.skip(there)
    unpack.skip_floats(there)


def _unpacked_rows(one: Block, packed: memoryview, times: Sequence[int]) -> list[Row]:
    count, unpack = one.rows, Unpacker(packed)
    more = msgspec.json.decode(unpack.text, type=_Text)
    moments = [times[run] / 1000 for run in unpack.whole(count)]
    statuses = [STATUSES[place] for place in unpack.whole(count)]
    codes = [CODES[place] for place in unpack.whole(count)]
    hashes = [more.policies[place] for place in unpack.whole(count)]
    seconds = [number / 1000 for number in unpack.whole(count)]
    holds = map(float, unpack.whole(count))
    values = [dict[str, float]() for _ in moments]
    for name in more.names:
        for place, number in sparse(unpack, count):
            values[place][name] = number
    texts = [""] * count
    for place, reason in more.reasons.items():
        texts[place] = reason
    columns = (moments, statuses, codes, seconds, values, texts, hashes, holds)
    # As Row._make does it, without a call of Python's for each.
    rows = zip(*columns, strict=True)
    return list(map(tuple.__new__, itertools.repeat(Row), rows))


def _unpacked_trace(
    one: Block, packed: memoryview, times: Sequence[float], name: str | None
) -> Trace:
    count, unpack = one.rows, Unpacker(packed)
    more = msgspec.json.decode(unpack.text, type=_Text)
    moments = [times[run] for run in unpack.whole(count)]
    kinds, codes = unpack.whole(count), unpack.whole(count)
    if any(codes):
        kinds = [
            TIME_OF_CODE.get(code, kind)
            for code, kind in zip(codes, kinds, strict=True)
        ]
    unpack.skip(count)
    milliseconds = unpack.whole(count)
    holds = list(map(float, unpack.whole(count)))
    if name is None:
        return Trace(moments, kinds, holds, [number / 1000 for number in milliseconds])
    numbers = [math.nan] * count
    for there in more.names:
        if there == name:
            for place, number in sparse(unpack, count):
                numbers[place] = number
            break
        skip_sparse(unpack, count)
    return Trace(moments, kinds, holds, numbers)


# Files.


class Head(msgspec.Struct, array_like=True):
    """What all jobs of a file share."""

    #: From which files it is made, and how long they were.
    sources: list[tuple[str, int]]
    #: When the runs were, in milliseconds: the first, then the distances.
    times: list[int]


class Index(msgspec.Struct, array_like=True):
    """What is at the end of a file."""

    #: Where the first job's block is, the names of the jobs, how long each block is.
    start: int
    keys: list[str]
    lengths: list[int]
    head: Head


#: What a file has of a job that it does not have.
NO_TRACE = Trace((), (), (), ())


class ColumnFile:
    """A file of columns, of which a job is read by itself.

    What cannot be read is said in one line, and has no job; ``losses`` gets it.
    ``is_strict``: it raises OSError or NewerState.
    """

    def __init__(
        self, path: Path, *, is_strict: bool = False, losses: Losses | None = None
    ) -> None:
        self._path, self._is_strict = path, is_strict
        self._losses = losses or Losses()
        self._index = Index(0, [], [], Head([], []))
        try:
            with naming(path):
                index = _index_of(path)
                if index is None:
                    what = "its end, and results of jobs, may be missing"
                    self._losses.damaged(path, what)
                self._index = index or _scanned(path)
        except (OSError, NewerState) as error:
            self._fail(error)

    def _fail(self, error: OSError | NewerState) -> None:
        if self._is_strict:
            raise error
        # A file that is missing has become part of another one.
        if isinstance(error, FileNotFoundError):
            return
        self._losses.unread(self._path, error)
        why = error.strerror if isinstance(error, OSError) else error
        logger.warning("%s is not read: %s", self._path, why or error)

    def keys(self) -> set[str]:
        """Return the jobs that it has."""
        return set(self._index.keys)

    @cached_property
    def _times(self) -> list[int]:
        return list(itertools.accumulate(self._index.head.times))

    @cached_property
    def _moments(self) -> list[float]:
        return [time / 1000 for time in self._times]

    @cached_property
    def _starts(self) -> list[int]:
        """Return where the block of each job begins."""
        index = self._index
        return list(itertools.accumulate(index.lengths, initial=index.start))

    def times(self) -> list[int]:
        """Return when the runs were, in milliseconds."""
        return self._times

    def rows(self, key: str) -> list[Row]:
        """Return the rows of a job."""
        found = self.block(key)
        if found is None:
            return []
        return _unpacked_rows(*found, self._times)

    def trace(self, key: str, name: str | None) -> Trace:
        """Return the rows of a job as columns, with one number of each."""
        found = self.block(key)
        if found is None:
            return NO_TRACE
        return _unpacked_trace(*found, self._moments, name)

    def most(self, key: str) -> float:
        """Return the seconds of the slowest check of a job; -1: there is none."""
        found = self.block(key)
        if found is None:
            return -1.0
        one, packed = found
        unpack = Unpacker(packed)
        for _column in ("run", "status", "code", "policy"):
            unpack.skip(one.rows)
        return max(unpack.whole(one.rows), default=-1000) / 1000

    def before(self, key: str) -> Row | None:
        """Return the row that stood before the first one of a job.

        Nothing else of it is known than how long it is what; None: there was none.
        """
        text = self._text(key)
        return None if text is None else _row_of(text.before)

    def after(self, key: str) -> Row | None:
        """Return the row of a job that stands at the end."""
        text = self._text(key)
        return None if text is None else _row_of(text.after)

    def _text(self, key: str) -> _Text | None:
        found = self.block(key)
        if found is None:
            return None
        return msgspec.json.decode(Unpacker(found[1]).text, type=_Text)

    def block(self, key: str) -> tuple[Block, memoryview] | None:
        """Return the block of a job, and what is in it.

        None: it has none, or one that is damaged.
        """
        keys, lengths = self._index.keys, self._index.lengths
        place = bisect_left(keys, key)
        if place == len(keys) or keys[place] != key:
            return None
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                content = os.pread(descriptor, lengths[place], self._starts[place])
            finally:
                os.close(descriptor)
            with naming(self._path):
                return self._whole(key, content)
        except (OSError, NewerState) as error:
            self._fail(error)
            return None

    def _whole(self, key: str, content: bytes) -> tuple[Block, memoryview] | None:
        """Return the block of a job, and what is in it; None if it is damaged."""
        found = next(blocks(content), None)
        if found is None:
            self._losses.damaged_job(self._path, key)
            return None
        return found, payload_of(content, found)

    def look_through(self) -> None:
        """Look at the block of each job, of which ``losses`` gets what is damaged."""
        keys, lengths = self._index.keys, self._index.lengths
        try:
            content = self._path.read_bytes()
            with naming(self._path):
                for key, start, length in zip(
                    keys, self._starts, lengths, strict=False
                ):
                    self._whole(key, content[start : start + length])
        except (OSError, NewerState) as error:
            self._fail(error)


def _scanned(path: Path) -> Index:
    """Return the index of a file that has none, by its blocks."""
    content, head, jobs = path.read_bytes(), Head([], []), dict[str, Block]()
    for one in blocks(content):
        if one.kind == HEAD:
            text = zlib.decompress(payload_of(content, one))
            head = msgspec.json.decode(text, type=Head)
        elif one.kind == JOB:
            jobs[_key_of(payload_of(content, one))] = one
    if not jobs:
        return Index(0, [], [], head)
    keys, starts = sorted(jobs), [one.start - HEADER_BYTES for one in jobs.values()]
    # A job that is damaged lies behind another one.
    ends = [*starts[1:], len(content)]
    lengths = [end - start for start, end in zip(starts, ends, strict=True)]
    return Index(starts[0], keys, lengths, head)


def _key_of(packed: memoryview) -> str:
    key, *_rest = msgspec.json.decode(Unpacker(packed).text)
    return str(key)


def _index_of(path: Path) -> Index | None:
    """Return the index of a file; None if it has none that is whole."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        tail = os.pread(descriptor, TAIL_BYTES, max(0, size - TAIL_BYTES))
        if len(tail) < _TRAILER.size:
            return None
        length, end = _TRAILER.unpack_from(tail, len(tail) - _TRAILER.size)
        if end != _END or length > size:
            return None
        length += _TRAILER.size
        if length > len(tail):
            tail = os.pread(descriptor, length, size - length)
    finally:
        os.close(descriptor)
    for one in blocks(tail, len(tail) - length):
        if one.kind == INDEX:
            text = zlib.decompress(payload_of(tail, one))
            return msgspec.json.decode(text, type=Index)
    return None


class Checks(Protocol):
    """What knows how long checks took."""

    def trace(self, key: str, name: str | None) -> Trace:
        """Return the rows of a job as columns.

        ``name``: the value whose numbers are wanted; None: how long each check took.
        """

    def most(self, key: str) -> float:
        """Return the seconds of the slowest check of a job; -1: there is none."""


class Source(Checks, Protocol):
    """What rows come from: a log, or a file of columns."""

    def keys(self) -> set[str]:
        """Return the jobs of which there may be rows."""

    def times(self) -> list[int]:
        """Return when each run was, in milliseconds."""

    def rows(self, key: str) -> list[Row]:
        """Return the rows of a job."""

    def before(self, key: str) -> Row | None:
        """Return the row that stood before the first one of a job, if it is told."""

    def after(self, key: str) -> Row | None:
        """Return the row of a job that stands at the end, if it is told."""


def merged(sources: Iterable[Source], key: str) -> list[Row]:
    """Return the rows of a job from all sources, the oldest first, each once."""
    found = [row for source in sources for row in source.rows(key)]
    if all(one.at < after.at for one, after in itertools.pairwise(found)):
        return found
    # A clock that was set back wrote them in another order; a file that was being
    # merged may be there twice.
    return sorted({row.at: row for row in found}.values(), key=lambda row: row.at)


def merged_trace(sources: Iterable[Source], key: str, name: str | None) -> Trace:
    """Return the rows of a job from all sources as columns, each row once."""
    moments, kinds = list[float](), list[int]()
    holds, numbers = list[float](), list[float]()
    for source in sources:
        found = source.trace(key, name)
        moments += found.moments
        kinds += found.kinds
        holds += found.holds
        numbers += found.numbers
    return in_order(Trace(moments, kinds, holds, numbers))


def write(
    path: Path,
    made_of: list[tuple[str, int]],
    times: Sequence[int],
    keys: Sequence[str],
    block_of: Callable[[str], bytes],
    is_over: Callable[[], bool],
) -> bool:
    """Write a file of columns, or a part of it; return whether it is done.

    ``made_of`` is how a part is known again that another process began; at least one
    job is done each time.  Raise StateError or OSError.
    """
    distances = [after - one for one, after in itertools.pairwise((0, *times))]
    head = Head(made_of, distances)
    begin = block(HEAD, 0, 0, 0, zlib.compress(msgspec.json.encode(head)))
    descriptor = open_to_write(path.with_name(path.name + UNFINISHED), append=True)
    try:
        before = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        lengths, end = _whole_jobs(before, begin)
        os.ftruncate(descriptor, end)
        waiting = bytearray(begin if not end else b"")
        for key in keys[len(lengths) :]:
            content = block_of(key)
            waiting += content
            lengths.append(len(content))
            if len(waiting) > WRITE_BYTES:
                write_whole(descriptor, waiting)
                waiting.clear()
            if is_over():
                break
        if len(lengths) == len(keys):
            index = Index(len(begin), list(keys), lengths, head)
            last = block(INDEX, 0, 0, 0, zlib.compress(msgspec.json.encode(index)))
            waiting += last + _TRAILER.pack(len(last), _END)
        write_whole(descriptor, waiting)
        if len(lengths) < len(keys):
            return False
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    path.with_name(path.name + UNFINISHED).rename(path)
    sync_folder(path.parent)
    return True


def _whole_jobs(content: bytes, begin: bytes) -> tuple[list[int], int]:
    """Return the lengths of the blocks of jobs in an unfinished file, and their end."""
    if not content.startswith(begin):
        return [], 0
    lengths, end = list[int](), len(begin)
    for one in blocks(content, end):
        if one.kind != JOB or one.start != end + HEADER_BYTES:
            break
        lengths.append(one.end - end)
        end = one.end
    return lengths, end

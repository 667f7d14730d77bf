"""state/history/: the result of each check, as runs append them and reports read them.

``2026-11-29.log`` holds a day of UTC: a block for each run, and a block of job names
where they changed.  A block has a header with its sum, its time and its length, then
columns: one job's row is found by its position, and the rest is not taken apart.
``now.bin`` sums up what the blocks say: the last row of each job, and its time today.
It is derived: a run that finds it missing, or behind, reads the blocks again.
``bars.log`` has the time of each job by day, for all days before today;
``changes.log`` each change of status, for ever; ``policies.log`` each policy once.

Times are seconds since 1970 (float), durations are seconds.  What is damaged is passed
over; the rest is read.
"""

from __future__ import annotations

import itertools
import logging
import os
import re
import struct
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from pathlib import Path
from typing import NamedTuple

import msgspec

from lib.core.encoding import digest
from lib.core.enums import Status
from lib.core.jobs import JobKey
from lib.system.errors import NewerState

logger = logging.getLogger(__name__)

FOLDER = "history"
NOW, BARS, CHANGES, POLICIES = "now.bin", "bars.log", "changes.log", "policies.log"

#: The status of a row, and why its alerts are held back; a number on disk is the place
#: in these, so they only ever grow.
STATUSES = (
    Status.OK,
    Status.WARNING,
    Status.FAILING,
    Status.UNKNOWN,
    Status.PENDING,
)
CODES = (
    "",
    "maintenance",
    "unreachable",
    "blind",
    "muted",
    "acknowledged",
)
#: What time is counted as.  ``nothing``: there was no result.
TIMES = (
    "ok",
    "warning",
    "failing",
    "unknown",
    "pending",
    "maintenance",
    "unreachable",
    "blind",
    "nothing",
)
_NOTHING = TIMES.index("nothing")
_TIME_OF_CODE = {CODES.index(code): TIMES.index(code) for code in CODES[1:4]}

MAX_REASON = 200

_DAY_FILE = re.compile(r"\d{4}-\d\d-\d\d\.logz?")

_MAGIC = b"CkrH"
FORMAT = 1
#: Magic, format, kind, rows, length of the payload, milliseconds, where in the file the
#: names are, sum of the payload; then the sum of this.
_HEADER = struct.Struct("<4sBcIIqQI")
_SUM = struct.Struct("<I")
HEADER_BYTES = _HEADER.size + _SUM.size
_RUN, _NAMES, NOW_KIND, _BARS, _PART = b"R", b"N", b"S", b"D", b"Z"


class Row(NamedTuple):
    """A result of one job."""

    #: Seconds since 1970.
    at: float
    status: Status
    #: Why its alerts were held back: one of ``CODES``; empty if they were not.
    code: str
    #: How long the check took.
    seconds: float
    #: What was measured, by name; in the unit that ``values.json`` has of it.
    values: Mapping[str, float]
    #: The first line of the reason, at most 200 characters.
    reason: str
    #: The hash of the policy in force: see ``History.policies``.
    policy: str
    #: For how long it stands if no other follows.
    holds_s: float


class Change(NamedTuple):
    """A result whose status, or whose being held back, is another than before."""

    key: JobKey
    at: float
    status: Status
    code: str
    reason: str
    #: The status before; None: there was none.
    before: Status | None


class Share(NamedTuple):
    """How long a job was what, in seconds: its fields are ``TIMES``."""

    ok: float = 0.0
    warning: float = 0.0
    failing: float = 0.0
    unknown: float = 0.0
    pending: float = 0.0
    maintenance: float = 0.0
    unreachable: float = 0.0
    blind: float = 0.0
    nothing: float = 0.0

    @property
    def uptime(self) -> float | None:
        """Return which part of the time it was OK or a warning, from 0 to 1.

        Time in which that is not known is left out: without a result, pending,
        unknown, maintenance, unreachable, blind.  None: nothing is left.
        """
        up = self.ok + self.warning
        known = up + self.failing
        return up / known if known else None

    @property
    def left_out(self) -> float:
        """Return the seconds that ``uptime`` leaves out."""
        return sum(self[3:])

    def __add__(self, other: object) -> Share:
        """Return the time of both."""
        if not isinstance(other, Share):
            return NotImplemented
        return Share(*(one + two for one, two in zip(self, other, strict=True)))


class Result(NamedTuple):
    """A result as a run hands it over to be kept."""

    key: JobKey
    status: Status
    code: str
    seconds: float
    values: Mapping[str, float]
    reason: str
    #: The policy in force, as text; it is kept once.
    policy: bytes
    holds_s: float


# Blocks.


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


def _blocks(content: bytes, start: int = 0) -> Iterator[Block]:
    """Yield the blocks whose sums are right; pass over what is damaged.

    Raise NewerState at one that was written by a newer Checker.
    """
    at, end, view = start, len(content), memoryview(content)
    while at + HEADER_BYTES <= end:
        magic, version, kind, rows, length, at_ms, names_at, total = (
            _HEADER.unpack_from(content, at)
        )
        (found,) = _SUM.unpack_from(content, at + _HEADER.size)
        is_ours = magic == _MAGIC and found == zlib.crc32(view[at : at + _HEADER.size])
        if is_ours and version > FORMAT:
            raise NewerState(f"it was written by a newer Checker (format {version})")
        first = at + HEADER_BYTES
        last = first + length
        if is_ours and last <= end and zlib.crc32(view[first:last]) == total:
            yield Block(kind, rows, first, length, at_ms, names_at)
            at = last
            continue
        # A write that was cut off: the next block begins somewhere behind it.
        at = content.find(_MAGIC, at + 1)
        if at < 0:
            return


def _payload(content: bytes, block: Block) -> memoryview:
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
_NUMBERS = tuple(struct.Struct(f"<{letter}") for letter in _COLUMNS)
_WIDTHS = tuple(number.size for number in _NUMBERS)
_ROW_BYTES = sum(_WIDTHS)
_OFFSETS = tuple(itertools.accumulate((0, *_WIDTHS[:-1])))
_COUNT = struct.Struct("<I")


def run_block(at_ms: int, names_at: int, rows: list[Entry]) -> bytes:
    """Return the block of a run, whose rows are in the order of their jobs' places."""
    shapes: dict[tuple[str, ...], int] = {}
    policies: dict[str, int] = {}
    reasons: dict[int, str] = {}
    numbers: list[float] = []
    columns: list[tuple[int, ...]] = []
    for count, (position, result, policy) in enumerate(rows):
        shape = tuple(result.values)
        columns.append(
            (
                position,
                STATUSES.index(result.status),
                CODES.index(result.code),
                policies.setdefault(policy, len(policies)),
                shapes.setdefault(shape, len(shapes)),
                min(max(0, round(result.seconds * 1000)), 2**32 - 1),
                min(max(0, round(result.holds_s)), 2**32 - 1),
                len(numbers),
            )
        )
        numbers += result.values.values()
        if result.reason:
            reasons[count] = result.reason
    parts = [
        struct.pack(f"<{len(rows)}{letter}", *column)
        for letter, column in zip(_COLUMNS, zip(*columns, strict=True), strict=True)
    ]
    more = msgspec.json.encode(_More([*map(list, shapes)], list(policies), reasons))
    parts += [
        _COUNT.pack(len(numbers)),
        struct.pack(f"<{len(numbers)}d", *numbers),
        more,
    ]
    return block(_RUN, len(rows), at_ms, names_at, b"".join(parts))


class Entry(NamedTuple):
    """A result, the place of its job in the names, and the hash of its policy."""

    position: int
    result: Result
    policy: str


class _RunBlock:
    """The rows of a run's block, of which each is found by its position."""

    def __init__(self, content: bytes, block: Block) -> None:
        self._content, self._block = content, block
        self._more: _More | None = None

    def positions(self) -> Sequence[int]:
        """Return the places of its jobs in the names, in their order."""
        block = self._block
        return struct.unpack_from(f"<{block.rows}I", self._content, block.start)

    def find(self, position: int) -> int | None:
        """Return the number of the row of the job at this place; None: it has none."""
        block, content = self._block, self._content
        # Most often all jobs run, and each is in its own place.
        if position < block.rows and self._number(0, position) == position:
            return position
        column = memoryview(content)[block.start : block.start + 4 * block.rows]
        found = bisect_left(_whole_numbers(column), position)
        is_there = found < block.rows and self._number(0, found) == position
        return found if is_there else None

    def row(self, number: int) -> Row:
        """Return a row."""
        more = self._rest()
        _position, status, code, policy, shape, ms, holds, first = (
            self._number(column, number) for column in range(len(_COLUMNS))
        )
        names = more.shapes[shape]
        at = self._block.start + _ROW_BYTES * self._block.rows + 4 + 8 * first
        numbers = struct.unpack_from(f"<{len(names)}d", self._content, at)
        return Row(
            self._block.at_ms / 1000,
            STATUSES[status],
            CODES[code],
            ms / 1000,
            dict(zip(names, numbers, strict=True)),
            more.reasons.get(number, ""),
            more.policies[policy],
            float(holds),
        )

    def _number(self, column: int, row: int) -> int:
        block = self._block
        at = block.start + _OFFSETS[column] * block.rows + _WIDTHS[column] * row
        number: int = _NUMBERS[column].unpack_from(self._content, at)[0]
        return number

    def _rest(self) -> _More:
        if self._more is None:
            block = self._block
            at = block.start + _ROW_BYTES * block.rows
            (count,) = _COUNT.unpack_from(self._content, at)
            text = memoryview(self._content)[at + 4 + 8 * count : block.end]
            self._more = msgspec.json.decode(text, type=_More)
        return self._more


def _whole_numbers(column: memoryview) -> array[int]:
    numbers: array[int] = array("I")
    numbers.frombytes(column)
    return numbers


# What sums up the blocks.


class Latest(msgspec.Struct, array_like=True):
    """What the blocks up to now say of one job."""

    at: float = 0.0
    #: Its status and its code, as places in STATUSES and CODES; -1: none.
    status: int = -1
    code: int = 0
    holds_s: float = 0.0
    seconds: float = 0.0
    values: dict[str, float] = {}
    reason: str = ""
    policy: str = ""
    #: Up to when its time is counted, and the seconds of today, by TIMES.
    counted_to: float = 0.0
    times: list[float] = msgspec.field(default_factory=lambda: [0.0] * len(TIMES))

    def row(self) -> Row:
        """Return its last row."""
        return Row(
            self.at,
            STATUSES[self.status],
            CODES[self.code],
            self.seconds,
            self.values,
            self.reason,
            self.policy,
            self.holds_s,
        )

    def count_to(self, moment: float) -> None:
        """Count the time up to a moment: as its status, as long as that holds."""
        start = self.counted_to
        if start > moment + 60:
            # The clock was set back.
            self.counted_to = moment
            return
        if self.status < 0 or moment <= start:
            self.counted_to = max(start, moment) if self.status >= 0 else moment
            return
        held_to = min(moment, max(start, self.at + self.holds_s))
        kind = _TIME_OF_CODE.get(self.code, self.status)
        self.times[kind] += held_to - start
        self.times[_NOTHING] += moment - held_to
        self.counted_to = moment


class Summary(msgspec.Struct):
    """now.bin: what the blocks up to ``end`` of the file of ``day`` say."""

    #: The day of UTC whose file was read last, up to where, and where its names are.
    day: str = ""
    end: int = 0
    names_at: int = -1
    #: The day that times are counted for, where people live, as 2026-11-29.
    today: str = ""
    jobs: dict[str, Latest] = {}
    policies: list[str] = []


def _local_day(moment: float, zone: tzinfo | None) -> str:
    """Return the day of a moment where people live."""
    return datetime.fromtimestamp(moment, UTC).astimezone(zone).date().isoformat()


def _midnight(day: date, zone: tzinfo | None) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()


def _next_midnight(day: str, zone: tzinfo | None) -> float:
    return _midnight(date.fromisoformat(day) + timedelta(days=1), zone)


class Counted:
    """Takes results in their order, and sums them up."""

    def __init__(self, summary: Summary, zone: tzinfo | None) -> None:
        self.summary, self._zone = summary, zone
        #: The bars of days that are over, and the changes of status.
        self.bars: list[tuple[str, dict[str, list[float]]]] = []
        self.changes: list[Change] = []

    def begin(self, at: float) -> None:
        """Count up to a moment that a run has; finish the days that are over."""
        summary = self.summary
        day = _local_day(at, self._zone)
        if not summary.today:
            summary.today = day
        # A clock that was set back changes no day that is over.
        while summary.today < day:
            self._finish(day)
        for one in summary.jobs.values():
            one.count_to(at)

    def _finish(self, day: str) -> None:
        summary = self.summary
        midnight = _next_midnight(summary.today, self._zone)
        bars = {}
        for key, one in summary.jobs.items():
            one.count_to(midnight)
            if any(one.times):
                bars[key] = list(one.times)
            one.times = [0.0] * len(TIMES)
        if bars:
            self.bars.append((summary.today, bars))
        following = date.fromisoformat(summary.today) + timedelta(days=1)
        # After a year without a run there is nothing to count of its days.
        is_quiet = all(one.at + one.holds_s < midnight for one in summary.jobs.values())
        far = (date.fromisoformat(day) - following).days > 100
        summary.today = day if is_quiet and far else following.isoformat()

    def take(self, key: str, row: Row) -> None:
        """Take a result of the moment that was begun."""
        one = self.summary.jobs.get(key)
        if one is None:
            one = self.summary.jobs[key] = Latest(counted_to=row.at)
        status, code = STATUSES.index(row.status), CODES.index(row.code)
        if (one.status, one.code) != (status, code):
            before = STATUSES[one.status] if one.status >= 0 else None
            self.changes.append(
                Change(
                    JobKey.parse(key), row.at, row.status, row.code, row.reason, before
                )
            )
        one.at, one.status, one.code = row.at, status, code
        one.holds_s, one.seconds, one.values = (
            row.holds_s,
            row.seconds,
            dict(row.values),
        )
        one.reason, one.policy = row.reason, row.policy


# Reading files.


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        logger.warning("%s cannot be read: %s", path, error.strerror or error)
        return b""


def _names_in(content: bytes, at: int) -> list[str] | None:
    """Return the names of a block that begins at a place of a file; None: no such."""
    try:
        found = next(_blocks(content, at), None)
    except NewerState:
        return None
    if found is None or found.kind != _NAMES or found.start != at + HEADER_BYTES:
        return None
    text = zlib.decompress(_payload(content, found))
    return msgspec.json.decode(text, type=list[str])


def read_summary(path: Path) -> Summary:
    """Return what now.bin says; an empty one if it is damaged or missing.

    Raise NewerState if a newer Checker wrote it.
    """
    content = _content(path)
    for one in _blocks(content):
        if one.kind == NOW_KIND:
            try:
                return msgspec.json.decode(_payload(content, one), type=Summary)
            except msgspec.MsgspecError:
                break
    return Summary()


class History:
    """state/history/ as reports read it.  Nothing of it is written."""

    def __init__(self, state: Path, zone: tzinfo | None = None) -> None:
        self.folder = state / FOLDER
        #: Where people live: a day is one of theirs, of 23 to 25 hours.
        self.zone = zone

    def latest(self) -> dict[JobKey, Row]:
        """Return the last row of every job."""
        jobs = self._summary().jobs
        return {JobKey.parse(key): one.row() for key, one in jobs.items()}

    def rows(self, key: JobKey, since: float, until: float) -> list[Row]:
        """Return a job's rows from ``since`` up to, not including, ``until``.

        The oldest is first.  Damaged blocks are passed over.
        """
        found: list[Row] = []
        for day in self._days(since, until):
            for content in _contents(self.folder, day):
                found += _rows_in(content, str(key), since, until, day)
        # A clock that was set back wrote them in another order; a day that is being
        # compressed may be there twice.
        return sorted({row.at: row for row in found}.values(), key=lambda row: row.at)

    def days(
        self, keys: Collection[JobKey] | None = None, count: int = 90, until: float = 0
    ) -> dict[JobKey, dict[str, Share]]:
        """Return the time of jobs by day, the last ``count`` days up to ``until``.

        A day is a text such as 2026-11-29; a day without one has no result at all.
        ``keys``: None: of all jobs.  ``until``: 0: today, as far as it was counted.
        """
        summary = self._summary()
        last = _local_day(until, self.zone) if until else summary.today
        if not last:
            return {}
        first = (date.fromisoformat(last) - timedelta(days=count - 1)).isoformat()
        wanted = None if keys is None else {str(key) for key in keys}
        found: dict[str, dict[str, Share]] = {}
        for day, bars in _bars_in(_content(self.folder / BARS)):
            if not first <= day <= last:
                continue
            for key, times in bars.items():
                if wanted is None or key in wanted:
                    found.setdefault(key, {})[day] = Share(*times)
        if first <= summary.today <= last:
            for key, one in summary.jobs.items():
                if (wanted is None or key in wanted) and any(one.times):
                    found.setdefault(key, {})[summary.today] = Share(*one.times)
        return {JobKey.parse(key): by_day for key, by_day in found.items()}

    def share(self, key: JobKey, since: float, until: float) -> Share:
        """Return how a job's time from ``since`` to ``until`` is shared, exactly.

        From its rows; ``days`` is quicker for many jobs and whole days.
        """
        # A day's result may stand at the beginning.
        rows = self.rows(key, since - 2 * 86_400, until)
        return share_of(rows, since, until)

    def uptimes(
        self, keys: Collection[JobKey] | None = None, days: int = 30, until: float = 0
    ) -> dict[JobKey, Share]:
        """Return the time of jobs over the last ``days`` days, today included."""
        return {
            key: sum(by_day.values(), Share())
            for key, by_day in self.days(keys, days, until).items()
        }

    def changes(
        self, key: JobKey | None = None, since: float = 0.0, until: float = float("inf")
    ) -> list[Change]:
        """Return the changes of status, the oldest first; of one job, or of all."""
        found = {}
        for line in _content(self.folder / CHANGES).split(b"\n"):
            change = _change_of(line)
            if (
                change is not None
                and since <= change.at < until
                and key in (None, change.key)
            ):
                # A run that was killed may have written it twice.
                found[change.key, change.at] = change
        return sorted(found.values(), key=lambda change: (change.at, change.key))

    def policies(self) -> dict[str, bytes]:
        """Return each policy that a run had, as JSON text, by its hash."""
        found = {}
        for line in _content(self.folder / POLICIES).split(b"\n"):
            name, _space, text = line.partition(b" ")
            if hash_of(text) == name.decode("ascii", "replace"):
                found[name.decode()] = text
        return found

    def size(self) -> int:
        """Return how many bytes its files have."""
        try:
            with os.scandir(self.folder) as entries:
                return sum(entry.stat().st_size for entry in entries)
        except OSError:
            return 0

    def _summary(self) -> Summary:
        try:
            return read_summary(self.folder / NOW)
        except NewerState as error:
            logger.warning("%s is not read: %s", self.folder / NOW, error)
            return Summary()

    def _days(self, since: float, until: float) -> list[str]:
        days = all_days(self.folder)
        first, last = utc_day(max(0.0, since)), utc_day(until)
        return [day for day in days if first <= day <= last]


def share_of(rows: Iterable[Row], since: float, until: float) -> Share:
    """Return how the time from ``since`` to ``until`` is shared, by a job's rows.

    A row stands until the next one, at most for the time it holds.
    """
    times = [0.0] * len(TIMES)
    ordered = list(rows)
    at = since
    for row, following in itertools.zip_longest(ordered, ordered[1:]):
        ends = min(following.at if following else until, row.at + row.holds_s, until)
        start = max(row.at, at)
        if start > at:
            times[_NOTHING] += min(start, until) - at
            at = min(start, until)
        if ends > at:
            kind = _TIME_OF_CODE.get(CODES.index(row.code), STATUSES.index(row.status))
            times[kind] += ends - at
            at = ends
    times[_NOTHING] += max(0.0, until - at)
    return Share(*times)


def day_files(folder: Path) -> list[str]:
    """Return the days of UTC of which there is a file as runs write it, sorted."""
    return sorted(name[:10] for name in _day_names(folder) if name.endswith(".log"))


def all_days(folder: Path) -> list[str]:
    """Return the days of UTC of which there is a file, compressed or not, sorted."""
    return sorted({name[:10] for name in _day_names(folder)})


def _day_names(folder: Path) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if _DAY_FILE.fullmatch(name)]
    except OSError:
        return []


def _contents(folder: Path, day: str) -> Iterator[bytes]:
    """Yield what the files of a day hold.

    The one as runs write it is read first: it goes when the other is there.
    """
    yield _content(folder / f"{day}.log")
    yield unpacked(_content(folder / f"{day}.logz"))


def packed_part(part: bytes, place: int) -> bytes:
    """Return a part of a day's file, compressed, which begins at ``place`` of it."""
    return block(_PART, len(part), 0, place, zlib.compress(part))


def parts_in(content: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield of each whole part its place, its size, and where it ends in the file."""
    for one in _blocks(content):
        if one.kind == _PART:
            yield one.names_at, one.rows, one.end


def unpacked(content: bytes) -> bytes:
    """Return what a compressed day holds; a part that is damaged as zeros."""
    whole = bytearray()
    try:
        for one in _blocks(content):
            if one.kind == _PART:
                whole += bytes(max(0, one.names_at - len(whole)))
                whole += zlib.decompress(_payload(content, one))
    except NewerState as error:
        logger.warning("a compressed day is not read on: %s", error)
    return bytes(whole)


def utc_day(moment: float) -> str:
    """Return the day of UTC of a moment, as its file is called."""
    latest = 253_402_300_799.0
    return datetime.fromtimestamp(min(moment, latest), UTC).date().isoformat()


def _rows_in(
    content: bytes, key: str, since: float, until: float, day: str
) -> Iterator[Row]:
    """Yield the rows of one job from a day's file."""
    places: dict[int, int] = {}
    try:
        for one in _blocks(content):
            if one.kind != _RUN or not since <= one.at_ms / 1000 < until:
                continue
            place = places.get(one.names_at)
            if place is None:
                names = _names_in(content, one.names_at) or []
                place = names.index(key) if key in names else -1
                places[one.names_at] = place
            if place < 0:
                continue
            run = _RunBlock(content, one)
            number = run.find(place)
            if number is not None:
                yield run.row(number)
    except NewerState as error:
        logger.warning("the history of %s is not read on: %s", day, error)


def runs_in(
    content: bytes, start: int
) -> Iterator[tuple[Block, list[tuple[str, Row]]]]:
    """Yield each whole run's block from ``start`` on, and its rows by key."""
    names: dict[int, list[str]] = {}
    for one in _blocks(content, start):
        if one.kind != _RUN:
            continue
        if one.names_at not in names:
            names[one.names_at] = _names_in(content, one.names_at) or []
        known, run = names[one.names_at], _RunBlock(content, one)
        yield (
            one,
            [
                (known[place], run.row(number))
                for number, place in enumerate(run.positions())
                if place < len(known)
            ],
        )


def names_block(names: list[str], at_ms: int) -> bytes:
    """Return a block of the names of jobs, by which rows say whose they are."""
    payload = zlib.compress(msgspec.json.encode(names), 1)
    return block(_NAMES, len(names), at_ms, 0, payload)


def bars_block(day: str, bars: dict[str, list[float]]) -> bytes:
    """Return a block of how long each job was what on a day."""
    return block(
        _BARS, len(bars), 0, 0, zlib.compress(msgspec.json.encode((day, bars)))
    )


def _bars_in(content: bytes) -> Iterator[tuple[str, dict[str, list[float]]]]:
    try:
        for one in _blocks(content):
            if one.kind == _BARS:
                text = zlib.decompress(_payload(content, one))
                yield msgspec.json.decode(text, type=tuple[str, dict[str, list[float]]])
    except NewerState as error:
        logger.warning("%s is not read on: %s", BARS, error)


def change_line(change: Change) -> bytes:
    """Return a change as a line: its sum, and JSON."""
    text = msgspec.json.encode(
        [
            str(change.key),
            change.at,
            change.status,
            change.code,
            change.reason,
            change.before,
        ]
    )
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _change_of(line: bytes) -> Change | None:
    """Return the change of a line; None if the line is not whole."""
    total, _space, text = line.partition(b" ")
    if len(total) != 8 or b"%08x" % zlib.crc32(text) != total:
        return None
    try:
        key, at, status, code, reason, before = msgspec.json.decode(text)
        return Change(
            JobKey.parse(key),
            at,
            Status(status),
            code,
            reason,
            Status(before) if before else None,
        )
    except ValueError:
        return None


def hash_of(text: bytes) -> str:
    """Return the hash by which rows name a policy."""
    return digest(text)[:16]

"""What the history keeps: rows, changes of status, and the time of a job by status.

Times are seconds since 1970 (float), durations are seconds.
"""

from __future__ import annotations

import itertools
import math
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import add, lt
from typing import NamedTuple, Self

import msgspec

from lib.core import schedule
from lib.core.encoding import digest
from lib.core.enums import Status
from lib.core.jobs import Job, JobKey, Terms
from lib.core.results import CheckResult
from lib.storage.codec import as_part

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
NOTHING = TIMES.index("nothing")
TIME_OF_CODE = {CODES.index(code): TIMES.index(code) for code in CODES[1:4]}

MAX_REASON = 200


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
    #: The hash of the terms that it was judged by: see ``History.policies``.
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


class Rename(NamedTuple):
    """A job has another key from a moment on."""

    at: float
    old: JobKey
    new: JobKey


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
        # Moments are floats: a half of the time is one, to the millisecond.
        up = round(self.ok + self.warning, 3)
        known = up + round(self.failing, 3)
        return up / known if known else None

    @property
    def left_out(self) -> float:
        """Return the seconds that ``uptime`` leaves out."""
        return sum(self[3:])

    def __add__(self, other: object) -> Share:
        """Return the time of both."""
        if not isinstance(other, Share):
            return NotImplemented
        return Share(*map(add, self, other))


class Result(msgspec.Struct, frozen=True, gc=False):
    """A result as a run hands it over to be kept."""

    key: JobKey
    status: Status
    code: str
    seconds: float
    #: The names of what was measured, which thousands share, and the numbers.
    names: tuple[str, ...]
    numbers: array[float]
    reason: str
    #: The terms that it was judged by (``lib/core/jobs.py``), as text; kept once.
    policy: bytes
    holds_s: float

    @classmethod
    def of(
        cls,
        key: JobKey,
        status: Status,
        code: str,
        seconds: float,
        values: Mapping[str, float],
        reason: str,
        policy: bytes,
        holds_s: float,
    ) -> Self:
        """Return a result with these values."""
        numbers = array("d", values.values())
        return cls(
            key, status, code, seconds, tuple(values), numbers, reason, policy, holds_s
        )

    @property
    def values(self) -> dict[str, float]:
        """Return what was measured, by name."""
        return dict(zip(self.names, self.numbers, strict=True))


class _Common(NamedTuple):
    """What a result has in common with others, those of thousands of targets."""

    status: Status
    code: str
    names: tuple[str, ...]
    reason: str
    policy: bytes
    holds_s: float


class Results:
    """The results of a run as columns: an object for each would take much memory."""

    def __init__(self) -> None:
        self._keys: list[JobKey] = []
        self._seconds = array("d")
        #: The numbers of all results, one after the other.
        self._numbers = array("d")
        self._common: list[_Common] = []
        self._same: dict[_Common, _Common] = {}
        #: The text of terms, by their parts.
        self._terms: dict[tuple[object, ...], bytes] = {}
        self._holds: dict[str, float] = {}

    def __iter__(self) -> Iterator[Result]:
        begin = 0
        for key, seconds, common in zip(
            self._keys, self._seconds, self._common, strict=True
        ):
            status, code, names, reason, policy, holds_s = common
            end = begin + len(names)
            numbers = self._numbers[begin:end]
            begin = end
            yield Result(
                key, status, code, seconds, names, numbers, reason, policy, holds_s
            )

    def add(
        self,
        job: Job,
        code: str,
        result: CheckResult,
        reason: str = "",
        *,
        ran_apart: bool = False,
    ) -> None:
        """Add a result of a job; ``code`` is why its alerts are held back, if so."""
        holds_s = self._holds.get(job.schedule)
        if holds_s is None:
            holds_s = self._holds[job.schedule] = schedule.holds_s(job.schedule)
        common = _Common(
            result.status,
            code,
            tuple(result.values),
            reason,
            self._terms_of(job, result, ran_apart),
            holds_s,
        )
        self._keys.append(job.key)
        self._seconds.append(result.seconds)
        self._numbers.extend([value.number for value in result.values.values()])
        self._common.append(self._same.setdefault(common, common))

    def _terms_of(self, job: Job, result: CheckResult, ran_apart: bool) -> bytes:
        """Return the text of the terms; most jobs have those of others."""
        parts = (
            job.policy,
            job.schedule,
            job.contact,
            job.recheck,
            job.is_across_network,
            ran_apart,
            result.is_event,
            job.is_own,
        )
        text = self._terms.get(parts)
        if text is None:
            text = self._terms[parts] = bytes(as_part(Terms(*parts)))
        return text


class Trace(NamedTuple):
    """Results of one job as columns, the oldest first: its time, and one number."""

    moments: Sequence[float]
    #: What the time of each is counted as: a place in TIMES.
    kinds: Sequence[int]
    #: For how many seconds each stands if no other follows.
    holds: Sequence[float]
    #: What was asked for: a value, or how long the check took; NaN: it has none.
    numbers: Sequence[float]

    def share(self, since: float, until: float) -> Share:
        """Return how the time from ``since`` to ``until`` is shared.

        A result stands until the next one, at most for the time it holds.
        """
        times, at = [0.0] * len(TIMES), since
        following = itertools.chain(self.moments[1:], (until,))
        for start, ends, kind, holds_s in zip(
            self.moments, following, self.kinds, self.holds
        ):
            if start >= until:
                break
            held_to = start + holds_s
            if held_to < ends:
                ends = held_to
            if ends > until:
                ends = until
            if ends > at:
                if start > at:
                    times[NOTHING] += start - at
                    at = start
                times[kind] += ends - at
                at = ends
        times[NOTHING] += max(0.0, until - at)
        return Share(*times)

    def after(self, row: Row) -> Trace:
        """Return the same with a row of before, whose number is not asked for."""
        return Trace(
            [row.at, *self.moments],
            [kind_of(row), *self.kinds],
            [row.holds_s, *self.holds],
            [math.nan, *self.numbers],
        )

    def between(self, since: float, until: float) -> Trace:
        """Return those from ``since`` up to, not including, ``until``."""
        begin = bisect_left(self.moments, since)
        end = bisect_left(self.moments, until)
        inside = slice(begin, end)
        return Trace(
            self.moments[inside],
            self.kinds[inside],
            self.holds[inside],
            self.numbers[inside],
        )


def in_order(trace: Trace) -> Trace:
    """Return the same, the oldest first and each once.

    A clock that was set back wrote them in another order; a file that was being merged
    may be there twice.
    """
    if all(map(lt, trace.moments, trace.moments[1:])):
        return trace
    once = {row[0]: row for row in zip(*trace, strict=True)}
    moments, kinds, holds, numbers = zip(*sorted(once.values()), strict=True)
    return Trace(moments, kinds, holds, numbers)


def trace_of(rows: Iterable[Row], name: str | None = None) -> Trace:
    """Return rows as columns, with the numbers of a value; None: the seconds."""
    ordered = list(rows)
    return Trace(
        [row.at for row in ordered],
        [kind_of(row) for row in ordered],
        [row.holds_s for row in ordered],
        [
            row.seconds if name is None else row.values.get(name, math.nan)
            for row in ordered
        ],
    )


def rounded(number: float, digits: int = 4) -> float:
    """Return a value as it is kept: four digits, whole numbers below a million exactly.

    Noise in further digits would make up most of the history.
    """
    if digits == 4 and 1e4 <= abs(number) < 1e6:
        return float(round(number))
    return float(f"{number:.{digits}g}")


def kind_of(row: Row) -> int:
    """Return what the time of a row is counted as: the place in TIMES."""
    return TIME_OF_CODE.get(CODES.index(row.code), STATUSES.index(row.status))


def share_of(rows: Iterable[Row], since: float, until: float) -> Share:
    """Return how the time from ``since`` to ``until`` is shared, by a job's rows.

    A row stands until the next one, at most for the time it holds.
    """
    return trace_of(rows).share(since, until)


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
    return summed_line(text)


def change_of(line: bytes) -> Change | None:
    """Return the change of a line; None if the line is not whole."""
    text = text_of(line)
    if text is None:
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


def summed_line(text: bytes) -> bytes:
    """Return a text as a line that begins with its sum."""
    return b"%08x %s\n" % (zlib.crc32(text), text)


def text_of(line: bytes) -> bytes | None:
    """Return the text of such a line; None if the line is not whole."""
    total, _space, text = line.partition(b" ")
    is_whole = len(total) == 8 and b"%08x" % zlib.crc32(text) == total
    return text if is_whole else None

"""Buckets: what is left of older results, for each five minutes or each hour.

A bucket has how its time is shared, to the millisecond, how many results there were,
how long they took, and of each value the mean, the lowest and the highest.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import compress
from operator import add
from pathlib import Path
from typing import NamedTuple

import msgspec

from lib.storage.historyblocks import JOB, Block, Losses, block
from lib.storage.historycolumns import (
    NO_TRACE,
    ColumnFile,
    Packer,
    Unpacker,
    pack_sparse,
    sparse,
)
from lib.storage.historyfiles import STEPS
from lib.storage.historyrows import (
    NOTHING,
    TIMES,
    Row,
    Share,
    Trace,
    kind_of,
    rounded,
)

#: The kind of a bucket that has time of several.
_MIXED = len(TIMES)


class Spread(NamedTuple):
    """What a value was in a bucket."""

    mean: float
    low: float
    high: float


class Bucket(NamedTuple):
    """The results of a job in a stretch of time."""

    #: When it begins, in seconds since 1970, and how long it is.
    at: float
    step_s: int
    #: How many results there were; 0: one of before still stood.
    results: int
    share: Share
    #: How long the checks took: on average, and at most; 0 without a result.
    seconds: float
    slowest: float
    values: Mapping[str, Spread]


def buckets_of(
    rows: Sequence[Row], standing: Row | None, begin: float, end: float, step_s: int
) -> list[Bucket]:
    """Return the buckets of a time in which these are the rows, the oldest first.

    ``standing`` is the row before them.  A bucket without any time that is known has
    no entry.
    """
    times = _times_of(
        rows if standing is None else [standing, *rows],
        round(begin * 1000),
        round(end * 1000),
        step_s * 1000,
    )
    for row in rows:
        times.setdefault(int(row.at // step_s), [0] * len(TIMES))
    moments = [row.at for row in rows]
    found = []
    for place in sorted(times):
        first = bisect_left(moments, place * step_s)
        last = bisect_left(moments, (place + 1) * step_s)
        found.append(_bucket(place, step_s, rows[first:last], times[place]))
    return found


def _times_of(
    rows: Sequence[Row], begin: int, end: int, step: int
) -> dict[int, list[int]]:
    """Return the time of each bucket by TIMES, all in milliseconds."""
    times: dict[int, list[int]] = {}
    for kind, start, after in _stretches(rows, begin, end):
        while start < after:
            place = start // step
            ends = min(after, (place + 1) * step)
            of_bucket = times.setdefault(place, [0] * len(TIMES))
            of_bucket[kind] += ends - start
            start = ends
    return times


def _stretches(
    rows: Sequence[Row], begin: int, end: int
) -> Iterator[tuple[int, int, int]]:
    """Yield from when to when the time was of a kind."""
    before = -1, begin, begin
    for row, following in itertools.zip_longest(rows, rows[1:]):
        at = round(row.at * 1000)
        start = max(at, begin)
        after = min(
            round(following.at * 1000) if following else end,
            at + round(row.holds_s * 1000),
            end,
        )
        if after <= start:
            continue
        kind = kind_of(row)
        if kind == before[0] and start == before[2]:
            before = kind, before[1], after
            continue
        yield before
        before = kind, start, after
    yield before


def _bucket(
    place: int, step_s: int, rows: Sequence[Row], times: Sequence[int]
) -> Bucket:
    seconds = [row.seconds for row in rows]
    names = dict.fromkeys(name for row in rows for name in row.values)
    values = {}
    for name in names:
        numbers = [row.values[name] for row in rows if name in row.values]
        values[name] = _spread(sum(numbers) / len(numbers), min(numbers), max(numbers))
    return Bucket(
        float(place * step_s),
        step_s,
        len(rows),
        _share(times, step_s),
        round(sum(seconds) / len(rows), 3) if rows else 0.0,
        max(seconds, default=0.0),
        values,
    )


def _spread(mean: float, low: float, high: float) -> Spread:
    """Return the three with as many digits as mean something.

    Of what is spread widely, a fourth digit of the mean is noise.
    """
    is_wide = high - low > abs(mean) / 50
    return Spread(rounded(mean, 3 if is_wide else 4), rounded(low, 3), rounded(high, 3))


def _share(times: Sequence[int], step_s: int) -> Share:
    """Return the time of a bucket; what is left of it has no result."""
    known = [number / 1000 for number in times[:NOTHING]]
    return Share(*known)._replace(nothing=step_s - sum(times[:NOTHING]) / 1000)


def coarser(buckets: Iterable[Bucket], step_s: int) -> list[Bucket]:
    """Return longer buckets that are made of these, the oldest first."""
    found = []
    for place, group in itertools.groupby(buckets, lambda one: int(one.at // step_s)):
        of_place = list(group)
        times = [
            sum(round(one.share[kind] * 1000) for one in of_place)
            for kind in range(len(TIMES))
        ]
        results = sum(one.results for one in of_place)
        seconds = sum(one.seconds * one.results for one in of_place)
        names = dict.fromkeys(name for one in of_place for name in one.values)
        found.append(
            Bucket(
                float(place * step_s),
                step_s,
                results,
                _share(times, step_s),
                round(seconds / results, 3) if results else 0.0,
                max(one.slowest for one in of_place),
                {name: _together(name, of_place) for name in names},
            )
        )
    return found


def _together(name: str, buckets: Iterable[Bucket]) -> Spread:
    there = [one for one in buckets if name in one.values]
    spreads = [one.values[name] for one in there]
    total = sum(one.values[name].mean * one.results for one in there)
    return _spread(
        total / sum(one.results for one in there),
        min(spread.low for spread in spreads),
        max(spread.high for spread in spreads),
    )


def packed_buckets(key: str, buckets: Sequence[Bucket]) -> bytes:
    """Return the buckets of a job as a block."""
    pack = Packer()
    times = [[round(part * 1000) for part in one.share[:NOTHING]] for one in buckets]
    kinds = [
        _kind(of_bucket, one.step_s)
        for of_bucket, one in zip(times, buckets, strict=True)
    ]
    pack.whole([int(one.at // one.step_s) for one in buckets])
    pack.whole([one.results for one in buckets])
    pack.whole(kinds)
    mixed = [of for of, kind in zip(times, kinds, strict=True) if kind == _MIXED]
    for kind in range(NOTHING):
        pack.whole([of_bucket[kind] for of_bucket in mixed])
    pack.whole([round(one.seconds * 1000) for one in buckets])
    pack.whole([round((one.slowest - one.seconds) * 1000) for one in buckets])
    names = list(dict.fromkeys(name for one in buckets for name in one.values))
    for name in names:
        spreads = [one.values.get(name) for one in buckets]
        for part in range(3):
            pack_sparse(pack, [one[part] if one else None for one in spreads])
    at_ms = round(buckets[0].at * 1000) if buckets else 0
    text = msgspec.json.encode((key, names))
    return block(JOB, len(buckets), at_ms, 0, pack.packed(text))


def _kind(times: Sequence[int], step_s: int) -> int:
    """Return the kind of a bucket that has just one; MIXED if it has several."""
    if not any(times):
        return NOTHING
    most = max(times)
    return times.index(most) if most == step_s * 1000 else _MIXED


def unpacked_buckets(one: Block, packed: memoryview, step_s: int) -> list[Bucket]:
    """Return the buckets of a job's block, the oldest first."""
    count, unpack = one.rows, Unpacker(packed)
    _key, names = msgspec.json.decode(unpack.text, type=tuple[str, list[str]])
    moments = [float(place * step_s) for place in unpack.whole(count)]
    results, kinds = unpack.whole(count), unpack.whole(count)
    mixed = sum(kind == _MIXED for kind in kinds)
    times = zip(*(unpack.whole(mixed) for _ in range(NOTHING)), strict=True)
    whole = [_whole_share(kind, step_s) for kind in range(len(TIMES))]
    shares = [
        _share(next(times), step_s) if kind == _MIXED else whole[kind] for kind in kinds
    ]
    seconds = unpack.whole(count)
    slowest = map(sum, zip(seconds, unpack.whole(count), strict=True))
    values = [dict[str, Spread]() for _ in moments]
    for name in names:
        columns = [list(sparse(unpack, count)) for _ in range(3)]
        for (place, mean), (_, low), (_, high) in zip(*columns, strict=True):
            values[place][name] = Spread(mean, low, high)
    return [
        Bucket(at, step_s, number, share, mean / 1000, most / 1000, of_bucket)
        for at, number, share, mean, most, of_bucket in zip(
            moments, results, shares, seconds, slowest, values, strict=True
        )
    ]


class BucketFile:
    """A file of buckets, of which the slowest checks are asked for.

    ``but``: days, counted from 1970, that are left out.
    """

    def __init__(self, path: Path, but: Collection[int], losses: Losses) -> None:
        self._file = ColumnFile(path, losses=losses)
        self._step_s = STEPS[path.name[path.name.index(".") :]]
        self._but = but

    def most(self, key: str) -> float:
        """Return how many seconds the slowest check of a job took; -1: there is none.

        Days that are left out count here.
        """
        found = self._file.block(key)
        if found is None:
            return -1.0
        return max(_slowest_of(*found), default=-1000) / 1000

    def trace(self, key: str, _name: str | None) -> Trace:
        """Return when each bucket begins that has a result, and its slowest check."""
        found = self._file.block(key)
        if found is None:
            return NO_TRACE
        one, packed = found
        seconds, unpack = _slowest_of(one, packed), Unpacker(packed)
        places, results = unpack.whole(one.rows), unpack.whole(one.rows)
        if self._but:
            of_day = 86_400 // self._step_s
            results = [
                number if place // of_day not in self._but else 0
                for place, number in zip(places, results, strict=True)
            ]
        moments = [float(place * self._step_s) for place in compress(places, results)]
        slowest = [number / 1000 for number in compress(seconds, results)]
        return Trace(moments, (), (), slowest)


def _slowest_of(one: Block, packed: memoryview) -> list[int]:
    """Return the milliseconds of the slowest check of each bucket."""
    count, unpack = one.rows, Unpacker(packed)
    unpack.skip(count)
    unpack.skip(count)
    mixed = unpack.whole(count).count(_MIXED)
    for _ in range(NOTHING):
        unpack.skip(mixed)
    return list(map(add, unpack.whole(count), unpack.whole(count)))


def _whole_share(kind: int, step_s: int) -> Share:
    return Share()._replace(**{TIMES[kind]: float(step_s)})

"""History by brute force: what must be shown, read by plain loops from what was fed in.

Nothing here is shared with the code that is held against it: no file is read, nothing
is added up by day or bucket.  Moments and lengths are whole milliseconds, parts of a
time are fractions, so that nothing is rounded before it is shown.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta, tzinfo
from fractions import Fraction
from typing import NamedTuple

#: What the time of a result is counted as when alerts were held back for one of these.
IN_THE_WAY = ("unreachable", "blind")
CODES_THAT_COUNT = ("maintenance", "unreachable", "blind")
UP, BAD = ("ok", "warning"), ("warning", "unknown", "failing")
DAY_MS = 86_400_000


class Fed(NamedTuple):
    """A result of a job as it was handed to the writer of the history."""

    job: str
    at: int
    status: str
    code: str
    #: How long the check took, and for how many seconds the result stands.
    ms: int
    holds_s: int
    values: dict[str, float]
    reason: str

    @property
    def kind(self) -> str:
        """Return what its time is counted as."""
        return self.code if self.code in CODES_THAT_COUNT else self.status


class Trouble(NamedTuple):
    """From a job's first result that is not OK to the next that is."""

    job: str
    began: int
    ended: int | None
    #: The worst that was judged, if any of it was, and the reason it gave first.
    status: str
    reason: str
    code: str
    #: Unreachable or blind, if it is so now, or if none of it was judged.
    in_the_way: str = ""

    @property
    def shown(self) -> str:
        """Return its status as it is shown."""
        return self.in_the_way or self.status


class BruteForce:
    """Reads what was fed in, job by job and piece by piece."""

    def __init__(self, fed: Iterable[Fed], zone: tzinfo) -> None:
        self.fed, self.zone = sorted(fed, key=lambda one: one.at), zone
        self._spans: dict[date, tuple[int, int]] = {}
        self._day_times: dict[tuple[str, date], dict[str, int]] = {}

    def rows(self, job: str, since: int = 0, until: int = 2**60) -> list[Fed]:
        """Return a job's results from ``since`` up to, not including, ``until``."""
        return [one for one in self.fed if one.job == job and since <= one.at < until]

    def kind_at(self, job: str, moment: int) -> str:
        """Return what a job was at a moment: nothing, if no result stood."""
        kind = "nothing"
        for one in self.rows(job):
            if one.at <= moment:
                stands = moment < one.at + 1000 * one.holds_s
                kind = one.kind if stands else "nothing"
        return kind

    def times(self, job: str, since: int, until: int) -> dict[str, int]:
        """Return for how many milliseconds of a time a job was what."""
        edges = {since, until}
        for one in self.rows(job):
            edges |= {one.at, one.at + 1000 * one.holds_s}
        inside = sorted(edge for edge in edges if since <= edge <= until)
        found: dict[str, int] = {}
        for begin, end in zip(inside, inside[1:], strict=False):
            kind = self.kind_at(job, begin)
            found[kind] = found.get(kind, 0) + end - begin
        return found

    def uptime(self, job: str, since: int, until: int) -> Fraction | None:
        """Return which part of a time, as far as it is known, a job was up."""
        return part_up(self.times(job, since, until))

    # Days, as people have them.

    def day_of(self, moment: int) -> date:
        """Return the day of a moment."""
        return datetime.fromtimestamp(moment / 1000, UTC).astimezone(self.zone).date()

    def span_of(self, day: date) -> tuple[int, int]:
        """Return when a day begins and ends, found by going through the hours."""
        if day in self._spans:
            return self._spans[day]
        noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
        first = round((noon - timedelta(hours=30)).timestamp()) * 1000
        # No clock is changed at another time than a quarter of an hour.
        quarters = [first + 900_000 * number for number in range(4 * 64)]
        inside = [at for at in quarters if self.day_of(at) == day]
        self._spans[day] = inside[0], inside[-1] + 900_000
        return self._spans[day]

    def last_days(self, count: int, now: int) -> list[date]:
        """Return the last days up to today, the oldest first."""
        today = self.day_of(now)
        return [today - timedelta(days=ago) for ago in range(count)][::-1]

    def day_times(self, job: str, day: date) -> dict[str, int]:
        """Return the time of a day, from the job's first result to the last run."""
        if (job, day) not in self._day_times:
            begin, end = self.span_of(day)
            begin = max(begin, self.rows(job)[0].at)
            end = min(end, self.fed[-1].at)
            times = self.times(job, begin, end) if begin < end else {}
            self._day_times[job, day] = times
        return self._day_times[job, day]

    def days_times(self, job: str, count: int, now: int) -> dict[str, int]:
        """Return the time of the last days together."""
        total: dict[str, int] = {}
        for day in self.last_days(count, now):
            for kind, length in self.day_times(job, day).items():
                total[kind] = total.get(kind, 0) + length
        return total

    def letter(self, job: str, day: date) -> str:
        """Return the letter of a day in the bar: the worst that was known of it."""
        times = self.day_times(job, day)
        order = ("failing", "unknown", "warning", "ok", *CODES_THAT_COUNT, "pending")
        for kind in order:
            if times.get(kind):
                return "h" if kind in CODES_THAT_COUNT else kind[0]
        return "n"

    # Numbers.

    def worst(
        self, job: str, name: str, since: int, until: int, parts: int, low: bool
    ) -> list[float | None]:
        """Return the worst number of each part of a time; "": of the seconds."""
        found: list[float | None] = []
        for part in range(parts):
            begin = since + Fraction((until - since) * part, parts)
            end = since + Fraction((until - since) * (part + 1), parts)
            numbers = [
                one.values[name] if name else one.ms / 1000
                for one in self.rows(job, since, until)
                if begin <= one.at < end and (not name or name in one.values)
            ]
            found.append((min if low else max)(numbers) if numbers else None)
        return found

    # What was wrong.

    def troubles(self, job: str) -> list[Trouble]:
        """Return from when to when a job was not OK, the latest first."""
        found: list[Trouble] = []
        bad: list[Fed] = []
        for one in self.rows(job):
            if one.status in BAD:
                bad.append(one)
            elif one.status == "ok" and bad:
                found.append(_trouble(bad, one.at))
                bad = []
        if bad:
            found.append(_trouble(bad, None))
        return found[::-1]

    def outages(self, job: str, since: int, until: int) -> list[Trouble]:
        """Return when a job was failing, as far as that counts, the first one first.

        Of a time: those that a failing result of it, or one that stood, is part of.
        """
        found: list[Trouble] = []
        under_way: Trouble | None = None
        is_within = False
        rows = self.rows(job, 0, until)
        ends = [*(one.at for one in rows[1:]), until]
        for one, end in zip(rows, ends, strict=True):
            if one.status in UP:
                if under_way is not None and is_within:
                    found.append(under_way._replace(ended=one.at))
                under_way, is_within = None, False
            elif one.kind == "failing":
                if under_way is None:
                    under_way = Trouble(
                        job, one.at, None, one.status, one.reason, one.code
                    )
                is_within = is_within or max(one.at, since) < end
        if under_way is not None and is_within:
            found.append(under_way)
        return found

    def last(self, job: str) -> Fed:
        """Return the last result of a job."""
        return self.rows(job)[-1]


def _trouble(bad: list[Fed], ended: int | None) -> Trouble:
    """Return the trouble of these results, which follow each other."""
    first, last = bad[0], bad[-1]
    judged = [one for one in bad if one.code not in IN_THE_WAY] or bad
    worst = max(judged, key=lambda one: BAD.index(one.status))
    is_shown = last.code in IN_THE_WAY and (ended is None or judged is bad)
    return Trouble(
        first.job,
        first.at,
        ended,
        worst.status,
        worst.reason,
        first.code,
        last.code if is_shown else "",
    )


def part_up(times: dict[str, int]) -> Fraction | None:
    """Return which part of the time that is known was OK or a warning."""
    up = sum(times.get(kind, 0) for kind in UP)
    known = up + times.get("failing", 0)
    return Fraction(up, known) if known else None


def hundredths(part: Fraction) -> Fraction:
    """Return a part in per cent, cut off after two digits."""
    return Fraction(part * 10_000 // 1, 100)

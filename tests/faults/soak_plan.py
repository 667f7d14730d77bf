"""What happens in each minute of the soak: who is dark, how mail is, which runs start.

The simulated time is two stretches, each around one of the changes of the clocks of the
next year; in between the machine was off.  In the first one there is a mail outage with
the change in the midst of it.  Chance draws the rest, from a seed.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from lib.core.enums import JobFrequency
from tests.faults.crond import MINUTE, starts

ZONE = ZoneInfo("Europe/Berlin")

LAMPS = tuple(f"Lamp {name}" for name in ("ant", "bee", "cat", "dog", "eel", "fox"))
#: The jobs, each of which looks whether something is dark, and how often it does.
JOBS = {
    **dict.fromkeys(LAMPS, JobFrequency.MINUTE),
    "Reminds": JobFrequency.MINUTE,
    "Hourly": JobFrequency.HOUR,
    "Daily": JobFrequency.DAY,
    "Noon": JobFrequency.DAY_NOON,
}
#: The job that says every ten minutes that it is still dark.
REMINDS = "Reminds"
#: A target that is the mail server itself.
DESK = "tcp desk"

#: How many minutes something is lit, and dark, on the average.
LASTS = {
    **dict.fromkeys(LAMPS, (400, 30)),
    "Reminds": (500, 40),
    "Hourly": (900, 200),
    "Daily": (2000, 1500),
    "Noon": (2000, 1500),
}


class Mail(enum.Enum):
    """How the mail server is."""

    TAKES = "takes"
    REFUSES = "refuses"
    GONE = "gone"


@dataclass(frozen=True)
class Shape:
    """How long the soak is, in minutes, and how much happens in it."""

    #: How long each stretch is, and how much of it is before the change.
    stretch: int
    before: int
    #: What is measured first is measured after this many minutes.
    first_day: int
    outage_at: int
    outage: int
    #: How many starts are real ones, and how many of those are killed.
    real: int
    kills: int
    #: Before something is measured, or the machine is off, for so long all is lit.
    calm: int
    #: How often all lamps go dark in the same minute, and for how long.
    bursts: int
    burst: int
    #: How much more memory may be in use in the end than at first.
    memory_mib: float
    #: How much faster all changes than LASTS says.
    pace: int = 1

    @property
    def minutes(self) -> int:
        return 2 * self.stretch


#: What Python takes once and keeps is there after the first day: in the 8,640 minutes
#: that follow, half a mebibyte is 60 bytes a run.
WEEK = Shape(
    stretch=5040,
    before=2520,
    first_day=1440,
    outage_at=2340,
    outage=360,
    real=540,
    kills=21,
    calm=90,
    bursts=4,
    burst=15,
    memory_mib=0.5,
)
#: So many minutes are left in the end for a kill that comes too late.
MAX_TRIES = 8
#: As much as fits into a few seconds.  Python is still growing into its work then.
HOURS = Shape(
    stretch=60,
    before=20,
    first_day=60,
    outage_at=14,
    outage=12,
    real=5,
    kills=1,
    calm=8,
    bursts=1,
    burst=6,
    memory_mib=1,
    pace=4,
)


@dataclass(frozen=True)
class Minute:
    """One minute: what cron starts in it, and how the world is."""

    at: datetime
    orders: tuple[JobFrequency, ...]
    dark: frozenset[str] = frozenset()
    mail: Mail = Mail.TAKES
    #: Started as a process of its own, by the command line.
    is_real: bool = False
    is_killed: bool = False
    is_measured: bool = False


def changes(year: int) -> tuple[datetime, datetime]:
    """Return the two moments of a year at which the clocks of ZONE change."""
    hour = timedelta(hours=1)
    begin = datetime(year, 1, 1, tzinfo=UTC)
    moments = [begin + number * hour for number in range(365 * 24)]
    first, second = (
        one
        for one in moments
        if one.astimezone(ZONE).utcoffset() != (one - hour).astimezone(ZONE).utcoffset()
    )
    return first, second


def plan(shape: Shape, seed: int, year: int) -> list[Minute]:
    """Return all minutes, in order."""
    chance = random.Random(seed)
    minutes = []
    for change in changes(year):
        begin = change - shape.before * MINUTE
        for at, orders in starts(ZONE, begin, shape.stretch):
            minutes.append(Minute(at, tuple(orders)))
    measured = (shape.first_day - 1, shape.minutes - 1)
    calm_until = (*measured, shape.stretch - 1)
    for number, dark in enumerate(_dark(shape, calm_until, chance)):
        minutes[number] = replace(minutes[number], dark=dark)
    for number in measured:
        minutes[number] = replace(minutes[number], is_measured=True)
    for number, mail in _outage(shape).items():
        minutes[number] = replace(minutes[number], mail=mail)
    return _with_real_starts(minutes, shape, chance)


def outage_of(minutes: list[Minute]) -> tuple[datetime, datetime]:
    """Return when mail was not taken for the first time, and for the last."""
    moments = [one.at for one in minutes if one.mail is not Mail.TAKES]
    return moments[0], moments[-1]


def _dark(
    shape: Shape, calm_until: tuple[int, ...], chance: random.Random
) -> Iterator[frozenset[str]]:
    """Yield for each minute what is dark in it."""
    calm = {
        number for end in calm_until for number in range(end - shape.calm + 1, end + 1)
    }
    free = [one for one in range(shape.minutes - shape.burst) if one not in calm]
    burst = {
        number
        for begin in chance.sample(free, shape.bursts)
        for number in range(begin, begin + shape.burst)
    }
    dark: set[str] = set()
    for number in range(shape.minutes):
        for name, (lit_for, dark_for) in LASTS.items():
            lasts = dark_for if name in dark else lit_for
            if chance.random() < shape.pace / lasts:
                dark ^= {name}
        if number in calm:
            dark.clear()
        yield frozenset(dark | set(LAMPS) if number in burst - calm else dark)


def _outage(shape: Shape) -> dict[int, Mail]:
    """Return how mail is in the minutes of the outage, by their number.

    First nobody listens, then the server answers, and takes nothing.
    """
    half = shape.outage // 2
    return {
        shape.outage_at + number: Mail.GONE if number < half else Mail.REFUSES
        for number in range(shape.outage)
    }


def _with_real_starts(
    minutes: list[Minute], shape: Shape, chance: random.Random
) -> list[Minute]:
    """Return the minutes with some starts real, and some of those killed."""
    pairs = {number for number, one in enumerate(minutes) if len(one.orders) > 1}
    # The first one finds nothing; what is measured is that of a run that went well.
    usual = [
        number
        for number, one in enumerate(minutes)
        if number and len(one.orders) == 1 and not one.is_measured
    ]
    killed = _killed(minutes, usual, shape, chance)
    others = [number for number in usual if number not in killed]
    count = shape.real - 2 * len(pairs) - len(killed)
    real = killed | pairs | set(chance.sample(others, count))
    return [
        replace(one, is_real=number in real, is_killed=number in killed)
        for number, one in enumerate(minutes)
    ]


def _killed(
    minutes: list[Minute], usual: list[int], shape: Shape, chance: random.Random
) -> set[int]:
    """Return the numbers of the starts that are killed, as many each day.

    In turn one in which something goes dark or is lit, one of a whole hour, and any.
    """
    wanted = (
        {one for one in usual if minutes[one].dark != minutes[one - 1].dark},
        {one for one in usual if minutes[one].orders != (JobFrequency.MINUTE,)},
        set(usual),
    )
    length = shape.minutes // shape.kills
    found = set()
    for number in range(shape.kills):
        # Not in the last ones: one that comes too late is tried again.
        here = [
            one
            for one in usual
            if one // length == number and one < len(minutes) - MAX_TRIES
        ]
        some = [one for one in here if one in wanted[number % len(wanted)]]
        found.add(chance.choice(some or here))
    return found

"""What must have been run and told in the soak, stated naively, minute by minute.

Each job looks whether something is dark.  People hear when it goes dark and when it is
lit again, of one that reminds: when it goes dark, and every ten minutes while it lasts;
of the target across a network only once several checks have found it.
Which jobs a minute runs is what cron ordered, what was missed before, and what no run
has met.

What a run that was killed has done nobody can know from outside, so that is read from
what it left on disk; see ``reference.py``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from lib.core.enums import JobFrequency
from tests.faults.reference import FAILING, OK
from tests.faults.soak_plan import DESK

STILL = "is still failing"

#: What an order runs.
RUNS = {
    JobFrequency.MINUTE: {JobFrequency.MINUTE},
    JobFrequency.HOUR: {JobFrequency.MINUTE, JobFrequency.HOUR},
    JobFrequency.DAY: {JobFrequency.MINUTE, JobFrequency.HOUR, JobFrequency.DAY},
    JobFrequency.DAY_NOON: {
        JobFrequency.MINUTE,
        JobFrequency.HOUR,
        JobFrequency.DAY_NOON,
    },
}
#: How long after the last run of a frequency the next run of any catches up on it.
CAUGHT_UP_AFTER = {
    JobFrequency.HOUR: timedelta(minutes=66),
    JobFrequency.DAY: timedelta(hours=26, minutes=30),
    JobFrequency.DAY_NOON: timedelta(hours=26, minutes=30),
}
REMINDED_AFTER = timedelta(minutes=10)
#: How many checks find it dark before people hear of it, and lit again; else one each.
CHECKS = {DESK: (3, 2)}


@dataclass(frozen=True)
class News:
    """Something that people must hear, and the minute in which it was so."""

    at: datetime
    job: str
    word: str


@dataclass
class Model:
    """What has come of all minutes so far."""

    #: How often each job runs.
    jobs: Mapping[str, JobFrequency]
    #: Those that remind.
    reminding: frozenset[str]
    #: Those that people were told are failing.
    dark: set[str] = field(default_factory=set)
    #: What the last check of each found, and how many before it found the same.
    consecutive: dict[str, tuple[bool, int]] = field(default_factory=dict)
    #: Those that a run has met.
    met: set[str] = field(default_factory=set)
    notified_at: dict[str, datetime] = field(default_factory=dict)
    news: list[News] = field(default_factory=list)
    #: How often each job was run by a run that was not killed.
    runs: Counter[str] = field(default_factory=Counter)
    last: dict[JobFrequency, datetime] = field(default_factory=dict)

    def due(self, order: JobFrequency, at: datetime, seen: Collection[str]) -> set[str]:
        """Return the jobs that a run of this minute runs; ``seen`` have run in it.

        Where the time to catch up is over in this very minute, the seconds decide,
        which nobody knows here: then both is right.
        """
        now = self._frequencies(order, at, seen)
        return {
            name
            for name, frequency in self.jobs.items()
            if frequency in now or name not in self.met
        }

    def run(
        self,
        order: JobFrequency,
        at: datetime,
        dark: Collection[str],
        seen: Collection[str],
    ) -> set[str]:
        """Note a whole run; return the jobs that it ran."""
        due = self.due(order, at, seen)
        self.last.update(dict.fromkeys(self._frequencies(order, at, seen), at))
        self.met.update(self.jobs)
        for name in due:
            self.runs[name] += 1
            self.judge(name, at, is_dark=name in dark)
        return due

    def judge(self, name: str, at: datetime, *, is_dark: bool) -> None:
        """Note what a run has found of one job."""
        found, count = self.consecutive.get(name, (False, 0))
        count = count + 1 if found == is_dark else 1
        self.consecutive[name] = (is_dark, count)
        failures, recoveries = CHECKS.get(name, (1, 1))
        if count >= (failures if is_dark else recoveries):
            self.decide(name, at, is_dark=is_dark)

    def decide(self, name: str, at: datetime, *, is_dark: bool) -> None:
        """Note what enough checks have found of one job."""
        if is_dark and name not in self.dark:
            self._emit(name, FAILING, at)
        elif is_dark and self.reminds_at(name, at):
            self._emit(name, STILL, at)
        elif not is_dark and name in self.dark and name not in self.reminding:
            self._emit(name, OK, at)
        self.dark = self.dark | {name} if is_dark else self.dark - {name}

    def reminds_at(self, name: str, at: datetime) -> bool:
        """Return whether a job that is dark says so again."""
        if name not in self.reminding:
            return False
        return at - self.notified_at[name] >= REMINDED_AFTER

    def _frequencies(
        self, order: JobFrequency, at: datetime, seen: Collection[str]
    ) -> set[JobFrequency]:
        found = set(RUNS[order])
        just_now = {self.jobs[name] for name in seen}
        for frequency, patience in CAUGHT_UP_AFTER.items():
            ago = at - self.last.get(frequency, at)
            if ago > patience or (ago == patience and frequency in just_now):
                found.add(frequency)
        return found

    def _emit(self, name: str, word: str, at: datetime) -> None:
        self.news.append(News(at, name, word))
        self.notified_at[name] = at

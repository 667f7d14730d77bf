"""What depends on what: ``depends = NAME, ...``.

While a job is failing, those that depend on it are *unreachable*: that they fail says
nothing of themselves, so nobody is notified of them.
Pure functions of values; the stories are in ``tests/unit/core/test_dependencies.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import cached_property
from typing import Protocol

import msgspec

from lib.core.enums import Decision, Status
from lib.core.jobs import Dependency, JobKey
from lib.core.records import Record
from lib.core.text import age, duration


class Dependent(Protocol):
    """A job that may depend on others."""

    @property
    def name(self) -> str: ...

    @property
    def depends(self) -> tuple[Dependency, ...]: ...


class DependencyError(Exception):
    """``depends`` of a job cannot be used; the text says why."""


class Dependencies:
    """The jobs that runs meet, and what each depends on."""

    def __init__(self, jobs: Mapping[JobKey, Dependent]) -> None:
        self._jobs = jobs
        self._keys: dict[str, list[JobKey]] = {}
        self._short: dict[str, list[JobKey]] = {}
        for key, job in jobs.items():
            self._keys.setdefault(job.name, []).append(key)
            _kind, _space, short = job.name.partition(" ")
            if short:
                self._short.setdefault(short, []).append(key)

    @property
    def names(self) -> Iterable[str]:
        """Return the names that may be given."""
        return self._keys

    def parents(self, key: JobKey) -> Iterator[tuple[JobKey, Dependency]]:
        """Yield what a job depends on; raise DependencyError if a name is none.

        A job does not depend on itself: ``[defaults ping]`` may name one of its own.
        """
        for dependency in self._jobs[key].depends:
            parent = self._key_of(dependency.name)
            if parent != key:
                yield parent, dependency

    def _key_of(self, name: str) -> JobKey:
        """Return the job of a name; it may lack the kind: ``up/web1``."""
        keys = self._keys.get(name) or self._short.get(name, [])
        if not keys:
            raise UnknownName(name)
        if len(keys) > 1:
            names = ", ".join(sorted(self._jobs[key].name for key in keys)[:5])
            raise DependencyError(f"{name!r} may be each of {names}; give the kind too")
        return keys[0]

    def check(self, key: JobKey) -> None:
        """Raise DependencyError if a name is no job, or if a job depends on itself."""
        list(self.parents(key))
        way = self._way_back(key)
        if way:
            names = " -> ".join(self._jobs[each].name for each in way)
            raise DependencyError(f"it depends on itself: {names}")

    def _way_back(self, start: JobKey) -> list[JobKey]:
        """Return the way from a job to itself; empty if there is none."""
        ways, seen = [[start]], {start}
        while ways:
            way = ways.pop()
            for parent in self._known_parents(way[-1]):
                if parent == start:
                    return [*way, start]
                if parent not in seen:
                    seen.add(parent)
                    ways.append([*way, parent])
        return []

    def _known_parents(self, key: JobKey) -> list[JobKey]:
        try:
            return [parent for parent, _dependency in self.parents(key)]
        except DependencyError:
            # That job says so itself.
            return []

    def has_failing(self, key: JobKey, records: Mapping[JobKey, Record]) -> bool:
        """Return whether a job depends on one that was failing the last time."""
        if key not in self._jobs:
            return False
        try:
            parents = list(self.parents(key))
        except DependencyError:
            return False
        return any(
            Parent("", last_status(records[parent])).holds(dependency)
            for parent, dependency in parents
            if parent in records
        )

    def dependents(self, key: JobKey) -> int:
        """Return how many jobs depend on a job, directly or not."""
        found: set[JobKey] = set()
        left = [key]
        while left:
            new = set(self._children.get(left.pop(), ())) - found - {key}
            found |= new
            left += new
        return len(found)

    @cached_property
    def _children(self) -> dict[JobKey, list[JobKey]]:
        children: dict[JobKey, list[JobKey]] = {}
        for child, job in self._jobs.items():
            for parent in self._known_parents(child) if job.depends else ():
                children.setdefault(parent, []).append(child)
        return children


def out_of_reach(
    records: Mapping[JobKey, Record],
    jobs: Mapping[JobKey, Dependent],
    *,
    is_blind: bool,
) -> frozenset[JobKey]:
    """Return the jobs that were out of reach, and still are by what is on record."""
    known = Dependencies(jobs)
    return frozenset(
        key
        for key, record in records.items()
        if (record.held is Decision.BLIND and is_blind)
        or (record.held is Decision.UNREACHABLE and known.has_failing(key, records))
    )


def last_status(record: Record) -> Status:
    """Return what the last check of a job found, by its record.

    While ``recoveries`` asks for more results the record is still that of a failure.
    """
    return Status.OK if record.recovering else record.status


class UnknownName(DependencyError):
    """There is no job of a name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no job {name!r}")
        self.name = name

    def with_hint(self, nearest: Callable[[str], str]) -> str:
        """Return the text, with what may be meant."""
        return f"{self}{nearest(self.name) or '; see -m list'}"


class Parent(msgspec.Struct, frozen=True):
    """How a job is on which others depend."""

    name: str
    status: Status
    #: When it was found so; None: in this run.
    at: datetime | None = None
    #: Why nobody is notified of it: ``muted``; empty: they are.
    held: str = ""

    def holds(self, dependency: Dependency) -> bool:
        """Return whether what depends on it counts as unreachable."""
        is_warning = self.status is Status.WARNING and dependency.on_warning
        return self.status.is_failure or is_warning

    def words(self, now: datetime) -> str:
        """Return it for people: ``ping gw is failing (5 minutes ago), muted``."""
        when = f" ({duration(age(self.at, now))} ago)" if self.at else ""
        held = f", {self.held}" if self.held else ""
        return f"{self.name} is {self.status}{when}{held}"

"""What depends on what: ``depends = NAME, ...``, and ``of`` of ``[group NAME]``.

While a job is failing, those that depend on it are *unreachable*: that they fail says
nothing of themselves, so nobody is notified of them.  What a group finds follows from
its members (``lib/core/groups.py``), so neither may wait for itself.
Pure functions of values; the stories are in ``tests/unit/core/test_dependencies.py``.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from fnmatch import translate
from functools import cached_property
from typing import Protocol

import msgspec

from lib.core.enums import Decision, JobFrequency, Status
from lib.core.jobs import WILDCARDS, Dependency, JobKey, Rule
from lib.core.records import Record
from lib.core.text import age, counted, duration

#: What is said of a job about which nobody is notified.
HELD_WORDS = {Decision.MUTED: "muted", Decision.MAINTENANCE: "in maintenance"}


class Dependent(Protocol):
    """A job that may depend on others."""

    @property
    def name(self) -> str: ...

    @property
    def depends(self) -> tuple[Dependency, ...]: ...

    @property
    def was(self) -> str: ...

    @property
    def tags(self) -> tuple[str, ...]: ...

    @property
    def rule(self) -> Rule | None: ...

    @property
    def is_own(self) -> bool: ...

    @property
    def enabled(self) -> bool: ...

    @property
    def schedule(self) -> str: ...


class DependencyError(Exception):
    """``depends`` or ``of`` of a job cannot be used; the text says why."""

    #: The option that is wrong.
    option = "depends"

    def with_hint(self, nearest: Callable[[str], str]) -> str:
        """Return the text, with what may be meant."""
        return str(self)


class NotThereError(DependencyError):
    """No job is there that is meant, or too few; it may be in a file that is broken."""


class GroupError(NotThereError):
    """The members of a group are not there."""

    option = "of"


class Dependencies:
    """The jobs that runs meet, and what each depends on."""

    def __init__(self, jobs: Mapping[JobKey, Dependent]) -> None:
        self._jobs = jobs
        self._keys: dict[str, list[JobKey]] = {}
        self._short: dict[str, list[JobKey]] = {}
        #: By the names that sections had before.
        self._former: dict[str, list[JobKey]] = {}
        self._members: dict[JobKey, tuple[JobKey, ...]] = {}
        for key, job in jobs.items():
            self._keys.setdefault(job.name, []).append(key)
            _kind, _space, short = job.name.partition(" ")
            if short:
                self._short.setdefault(short, []).append(key)
            _kind, _space, short = job.was.partition(" ")
            if short:
                self._former.setdefault(job.was, []).append(key)
                self._former.setdefault(short, []).append(key)

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
        """Return the job of a name; it may lack the kind: ``up/web1``.

        It may be one that the job had before, and that no other has now.  For a host of
        a section that is wrong it is the job of that section.
        """
        keys = (
            self._keys.get(name)
            or self._short.get(name)
            or self._former.get(name)
            or self._of_wrong_section(name)
        )
        if not keys:
            for section, hosts in self._of_hosts.items():
                if name in (section, section.partition(" ")[2]):
                    raise HostsName(section, self.name(hosts[0]))
            raise UnknownName(name)
        if len(keys) > 1:
            names = ", ".join(sorted(self._jobs[key].name for key in keys)[:5])
            raise DependencyError(f"{name!r} may be each of {names}; give the kind too")
        return keys[0]

    def _of_wrong_section(self, name: str) -> list[JobKey]:
        """Return the job of a section that is wrong, if a host of it may be meant."""
        section, _slash, _host = name.rpartition("/")
        found = self._keys.get(section) or self._short.get(section, [])
        return [key for key in found if self._jobs[key].is_own]

    def members(self, key: JobKey) -> tuple[JobKey, ...]:
        """Return the members of a group that are there; of any other job, none."""
        if key not in self._members:
            rule = self._jobs[key].rule
            found = self._matches(rule) if rule is not None else ()
            keys = dict.fromkeys(member for _word, keys in found for member in keys)
            self._members[key] = tuple(keys)
        return self._members[key]

    def _matches(self, rule: Rule) -> Iterator[tuple[str, Sequence[JobKey]]]:
        """Yield each name, pattern and tag of a rule with the jobs that it means.

        Patterns and tags mean no groups, which have a rule of their own.
        """
        for word in rule.of:
            if WILDCARDS.isdisjoint(word):
                yield word, self._keys_of(word)
            else:
                matches = re.compile(translate(word)).match
                found = [key for key in self._single if matches(self.name(key))]
                yield word, found or self._of_wrong_section(word)
        for tag in rule.tags:
            yield f"tag {tag}", [
                key for key in self._single if tag in self._jobs[key].tags
            ]

    @cached_property
    def _single(self) -> list[JobKey]:
        return [key for key, job in self._jobs.items() if job.rule is None]

    def _keys_of(self, name: str) -> Sequence[JobKey]:
        """Return the jobs of a name, which may be that of a section with ``hosts``."""
        with contextlib.suppress(UnknownName):
            return (self._key_of(name),)
        return self._of_hosts.get(name, ())

    @cached_property
    def _of_hosts(self) -> dict[str, list[JobKey]]:
        found: dict[str, list[JobKey]] = {}
        for key in self._jobs:
            before, _slash, _host = self.name(key).rpartition("/")
            if before:
                found.setdefault(before, []).append(key)
        return found

    def name(self, key: JobKey) -> str:
        """Return the name of a job."""
        return self._jobs[key].name

    def check(self, key: JobKey) -> None:
        """Raise DependencyError if a name is no job, or if a job depends on itself.

        And if a group has not as many members as it needs.
        """
        list(self.parents(key))
        rule = self._jobs[key].rule
        if rule is not None:
            self._check_members(key, rule)
        way = self._way_back(key) if key in self._unordered else []
        if way:
            names = " -> ".join(map(self.name, way))
            error = DependencyError(f"it depends on itself: {names}")
            if way[1] in self.members(key):
                error.option = "of"
            raise error

    def _check_members(self, key: JobKey, rule: Rule) -> None:
        try:
            for word, keys in self._matches(rule):
                if keys:
                    continue
                if word in rule.of and WILDCARDS.isdisjoint(word):
                    raise UnknownName(word)
                is_tag = word not in rule.of
                what = f"has the {word}" if is_tag else f"matches {word!r}"
                raise GroupError(f"no job {what}; see -m list")
        except DependencyError as error:
            error.option = "of"
            raise
        there = len(self.members(key))
        if rule.need > there:
            raise GroupError(
                f"need = {rule.need} can never be, as it has {counted(there, 'member')}"
            )

    @cached_property
    def _unordered(self) -> frozenset[JobKey]:
        """The jobs that wait for themselves, or for one that does."""
        waits = {
            key: set(self._awaited(key))
            for key, job in self._jobs.items()
            if job.depends or job.rule is not None
        }
        waiting: dict[JobKey, list[JobKey]] = {}
        left: dict[JobKey, int] = {}
        for key, awaited in waits.items():
            open_ones = [each for each in awaited if each in waits]
            left[key] = len(open_ones)
            for each in open_ones:
                waiting.setdefault(each, []).append(key)
        ready = [key for key, count in left.items() if not count]
        while ready:
            key = ready.pop()
            del left[key]
            for waiter in waiting.get(key, ()):
                left[waiter] -= 1
                if not left[waiter]:
                    ready.append(waiter)
        return frozenset(left)

    def _way_back(self, start: JobKey) -> list[JobKey]:
        """Return the way from a job to itself; empty if there is none."""
        ways, seen = [[start]], {start}
        while ways:
            way = ways.pop()
            for parent in self._awaited(way[-1]):
                if parent == start:
                    return [*way, start]
                if parent not in seen:
                    seen.add(parent)
                    ways.append([*way, parent])
        return []

    def _awaited(self, key: JobKey) -> list[JobKey]:
        """Return what is known before a job is judged: its parents, its members."""
        with contextlib.suppress(DependencyError):
            parents = [parent for parent, _dependency in self._known_parents(key)]
            return [*parents, *self.members(key)]
        # That job says so itself.
        return []

    def _known_parents(self, key: JobKey) -> list[tuple[JobKey, Dependency]]:
        """Return what a job depends on; nothing if a name is none."""
        try:
            return list(self.parents(key))
        except DependencyError:
            # That job says so itself.
            return []

    def ancestors(self, key: JobKey, is_end: Callable[[JobKey], bool]) -> list[JobKey]:
        """Return what a job depends on, directly or not; raise DependencyError.

        Not what is behind one at which the way ends.
        """
        found = {parent: None for parent, _dependency in self.parents(key)}
        left = list(found)
        while left:
            behind = left.pop()
            if is_end(behind):
                continue
            for parent, _dependency in self._known_parents(behind):
                if parent not in found:
                    found[parent] = None
                    left.append(parent)
        return list(found)

    def failing(
        self, key: JobKey, look: Callable[[JobKey, Dependency], Look]
    ) -> Iterator[JobKey]:
        """Yield the parents of a job that are failing, each once.

        In the place of one that was OK when it was checked last stand its own parents
        that are failing only since then.
        """
        left: list[tuple[JobKey, datetime | None]] = [(key, None)]
        seen = {key}
        while left:
            child, ok_at = left.pop()
            for parent, dependency in self._known_parents(child):
                if parent in seen:
                    continue
                found = look(parent, dependency)
                if found.is_failing and not found.was_failing(ok_at):
                    seen.add(parent)
                    yield parent
                elif found.is_open:
                    seen.add(parent)
                    times = [time for time in (ok_at, found.ok_at) if time is not None]
                    left.append((parent, max(times, default=None)))

    def has_failing(
        self,
        key: JobKey,
        records: Mapping[JobKey, Record],
        ok_at: Callable[[JobKey], datetime | None],
    ) -> bool:
        """Return whether a job depends on one that was failing the last time.

        ``ok_at`` says when a job was checked last that was OK.
        """

        def look(parent: JobKey, dependency: Dependency) -> Look:
            record = records.get(parent, Record(parent))
            if Parent("", last_status(record)).holds(dependency):
                return Look(is_failing=True, since=record.since)
            # A run that does not check it looks at its own parents.
            is_open = not self._is_asked_each_minute(parent)
            return Look(is_open=is_open, ok_at=ok_at(parent) if is_open else None)

        return key in self._jobs and any(self.failing(key, look))

    def _is_asked_each_minute(self, key: JobKey) -> bool:
        job = self._jobs[key]
        return job.enabled and job.schedule == JobFrequency.MINUTE

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
        having_some = (child for child, job in self._jobs.items() if job.depends)
        for child in having_some:
            for parent, _dependency in self._known_parents(child):
                children.setdefault(parent, []).append(child)
        return children


def out_of_reach(
    records: Mapping[JobKey, Record],
    jobs: Mapping[JobKey, Dependent],
    ok_at: Callable[[JobKey], datetime | None],
    *,
    is_blind: bool,
) -> frozenset[JobKey]:
    """Return the jobs that were out of reach, and still are by what is on record.

    ``ok_at`` says when a job was checked last that was OK.
    """
    known = Dependencies(jobs)
    return frozenset(
        key
        for key, record in records.items()
        if (record.held is Decision.BLIND and is_blind)
        or (
            record.held is Decision.UNREACHABLE
            and known.has_failing(key, records, ok_at)
        )
    )


def last_status(record: Record) -> Status:
    """Return what the last check of a job found, by its record.

    While ``recoveries`` asks for more results the record is still that of a failure.
    """
    return Status.OK if record.recovering else record.status


class UnknownName(NotThereError):
    """There is no job of a name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no job {name!r}")
        self.name = name

    def with_hint(self, nearest: Callable[[str], str]) -> str:
        """Return the text, with what may be meant."""
        return f"{self}{nearest(self.name) or '; see -m list'}"


class HostsName(UnknownName):
    """The name is that of a section with hosts, each of which is a job."""

    def __init__(self, name: str, first: str) -> None:
        super().__init__(name)
        self._first = first

    def with_hint(self, nearest: Callable[[str], str]) -> str:
        """Return the text, with what to say in its place."""
        return (
            f"{self.name!r} has hosts: name one of its jobs, such as "
            f"{self._first!r}, or a [group NAME] with of = {self.name}"
        )


class Look(msgspec.Struct, frozen=True):
    """What a run finds at a parent on the way to what holds a job back."""

    is_failing: bool = False
    #: Since when it is failing, if that is known.
    since: datetime | None = None
    #: It is not, and its own parents count, as this run has not checked it.
    is_open: bool = False
    #: When it was checked last, if that is known.
    ok_at: datetime | None = None

    def was_failing(self, ok_at: datetime | None) -> bool:
        """Return whether it was when what depends on it was OK, so is not in the way.

        A run checks both in one minute.
        """
        if self.since is None or ok_at is None:
            return False
        return _minute(self.since) <= _minute(ok_at)


def _minute(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)


class Parent(msgspec.Struct, frozen=True):
    """How a job is on which others depend."""

    name: str
    status: Status
    #: When it was found so; None: in this run.
    at: datetime | None = None
    #: Why nobody is notified of it: ``muted``; empty: they are.
    held: str = ""
    #: UNREACHABLE or BLIND, if lists call it so.
    way: Decision | None = None

    def holds(self, dependency: Dependency) -> bool:
        """Return whether what depends on it counts as unreachable."""
        is_warning = self.status is Status.WARNING and dependency.on_warning
        return self.status.is_failure or is_warning

    def words(self, now: datetime) -> str:
        """Return it for people: ``ping gw is failing (5 minutes ago), muted``."""
        when = f" ({duration(age(self.at, now))} ago)" if self.at else ""
        held = f", {self.held}" if self.held else ""
        return f"{self.name} is {self.way or self.status}{when}{held}"

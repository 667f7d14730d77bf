"""renames.log of state/history/: the names that jobs had before, and until when.

Each result stays in its file under the key that its job had then.  ``Names`` says whose
it is now: readers ask for a job by its key of today.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from lib.core.jobs import JobKey
from lib.storage.historyfiles import RENAMES
from lib.storage.historynow import content_of
from lib.storage.historyrows import Rename, Row, Trace, in_order, summed_line, text_of

if TYPE_CHECKING:
    from lib.storage.historycolumns import Checks, Source


class Part(NamedTuple):
    """The time in which what is on file under a key is of a certain job."""

    key: str
    since: float
    until: float


class Names:
    """Whose a key was at which moment: its own, or of a job that has another now.

    A key that is in use again is another job's from the rename on.
    """

    def __init__(self, renames: Iterable[Rename] = ()) -> None:
        self.renames = sorted(renames)
        self._old = {one.old for one in self.renames}
        self._parts: dict[str, list[Part]] = {}
        for key in sorted({each for one in self.renames for each in one[1:]}):
            edges = [one.at for one in self.renames if one.old == key]
            for since, until in pairwise([-math.inf, *edges, math.inf]):
                owner = str(self.owner(key, since))
                part = Part(str(key), since, until)
                self._parts.setdefault(owner, []).append(part)

    def owner(self, key: JobKey, at: float) -> JobKey:
        """Return the key of now of the job that had a key at a moment."""
        owner = key
        if key in self._old:
            for one in self.renames:
                if one.old == owner and at < one.at:
                    owner, at = one.new, one.at
        return owner

    def then(self, key: JobKey, at: float) -> JobKey:
        """Return the key that a job had at a moment; ``key`` is that of now."""
        for one in reversed(self.renames):
            if one.new == key and at < one.at:
                key = one.old
        return key

    def renamed(self, text: str) -> JobKey | None:
        """Return the key of now of the job that had this name or key, if one had."""
        for one in reversed(self.renames):
            if text in (one.old.identity, str(one.old)):
                return self.owner(one.new, one.at)
        return None

    def called_now(self, text: str, names: Mapping[JobKey, str]) -> str:
        """Return what the job that had this name or key is called now, or nothing.

        ``names`` are those of the jobs that exist.
        """
        key = self.renamed(text)
        return names.get(key, "") if key is not None else ""

    def parts(self, key: JobKey | str) -> Sequence[Part]:
        """Return under which keys a job's results are on file, and of which time."""
        return self._parts.get(str(key)) or (Part(str(key), -math.inf, math.inf),)

    def key_at(self, key: JobKey, moment: float) -> str:
        """Return under which key a job of now was counted at a moment.

        Of several it is the last one.
        """
        there = [one.key for one in self.parts(key) if one.since <= moment < one.until]
        return str(key) if not there or str(key) in there else there[-1]

    def owners(self, keys: Collection[str]) -> set[str]:
        """Return the jobs of which some time is on file under these keys."""
        found = {key for key in keys if key not in self._parts}
        for owner, parts in self._parts.items():
            if any(part.key in keys for part in parts):
                found.add(owner)
        return found

    def until(self, moment: float) -> Names:
        """Return the same as it was at a moment."""
        return Names(one for one in self.renames if one.at < moment)

    def joined(self, source: Source) -> Source:
        """Return a source in which each job has what is its own, by whatever name."""
        return Joined(source, self) if self.renames else source

    def joined_checks(self, source: Checks) -> Checks:
        """Return the same of how long checks took."""
        return JoinedChecks(source, self) if self.renames else source


class JoinedChecks:
    """How long checks took, by the keys that jobs have now."""

    def __init__(self, source: Checks, names: Names) -> None:
        self._checks, self._names = source, names

    def trace(self, key: str, name: str | None) -> Trace:
        """Return the rows of a job as columns, the oldest first."""
        columns: list[list[Any]] = [[], [], [], []]
        for part in self._names.parts(key):
            found = self._checks.trace(part.key, name)
            for column, more in zip(columns, found.between(part.since, part.until)):
                column += more
        return in_order(Trace(*columns))

    def most(self, key: str) -> float:
        """Return the seconds of the slowest check, or more; -1: there is none."""
        return max(self._checks.most(part.key) for part in self._names.parts(key))


class Joined(JoinedChecks):
    """A source of rows, by the keys that jobs have now."""

    def __init__(self, source: Source, names: Names) -> None:
        super().__init__(source, names)
        self._source = source

    def keys(self) -> set[str]:
        """Return the jobs of which there may be rows."""
        return self._names.owners(self._source.keys())

    def times(self) -> list[int]:
        """Return when each run was, in milliseconds."""
        return self._source.times()

    def rows(self, key: str) -> list[Row]:
        """Return the rows of a job; of a renamed one not in their order."""
        return [
            row
            for part in self._names.parts(key)
            for row in self._source.rows(part.key)
            if part.since <= row.at < part.until
        ]

    def before(self, key: str) -> Row | None:
        """Return the row that stood before the first one of a job, if it is told."""
        parts = self._names.parts(key)
        return _latest((part, self._source.before(part.key)) for part in parts)

    def after(self, key: str) -> Row | None:
        """Return the row of a job that stands at the end, if it is told."""
        parts = self._names.parts(key)
        return _latest((part, self._source.after(part.key)) for part in parts)


def _latest(found: Iterable[tuple[Part, Row | None]]) -> Row | None:
    rows = [row for part, row in found if row and part.since <= row.at < part.until]
    return max(rows, key=lambda row: row.at, default=None)


def names_in(folder: Path) -> Names:
    """Return what renames.log says; lines that are not whole are passed over."""
    found = map(_rename_of, content_of(folder / RENAMES).split(b"\n"))
    return Names(one for one in found if one is not None)


def new_renames(
    known: Iterable[Rename], now: Iterable[tuple[JobKey, JobKey]], at: float
) -> list[Rename]:
    """Return those of old and new keys of ``now`` that are not known yet.

    A section says ``was`` in every run; a job that got its old name back, and then the
    new one again, was renamed each time.
    """
    last = {frozenset(one[1:]): one.new for one in known}
    return [
        Rename(at, old, new)
        for old, new in now
        if last.get(frozenset((old, new))) != new
    ]


def rename_line(rename: Rename) -> bytes:
    """Return a rename as a line: its sum, and JSON."""
    text = msgspec.json.encode([rename.at, str(rename.old), str(rename.new)])
    return summed_line(text)


def _rename_of(line: bytes) -> Rename | None:
    text = text_of(line)
    if text is None:
        return None
    try:
        at, old, new = msgspec.json.decode(text)
        return Rename(at, JobKey.parse(old), JobKey.parse(new))
    except ValueError:
        return None

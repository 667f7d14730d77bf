"""state/ <-> records: what Checker remembers, in one small file per job.

Only a job that is not plainly fine has a file.  Only the run that holds the lock
writes; anybody may read, and never meets half a file.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from lib import batches, plain
from lib.batches import STEM, Batches
from lib.disk import (
    MAX_FILE,
    Damaged,
    StateError,
    listed,
    move_away,
    remove_leftovers,
    replace_files,
    sync_folder,
)
from lib.lock import Holder, Lock
from lib.model import (
    Asked,
    JobFrequency,
    Known,
    Record,
    RunFacts,
    file_stem,
)
from lib.remedy import trouble, why_not_usable
from lib.sealed import packed, read_value

logger = logging.getLogger(__name__)

#: The files that hold no record, by stem; no record's is one of these.
RUN, CATALOGUE = "run", "catalogue"
#: What ``file_stem`` makes; any other file in the folder is not ours.
_RECORD_NAME = re.compile(r"[a-z0-9-]+-[0-9a-f]{10}\.json")


@dataclass(frozen=True)
class Remembered:
    """All that was found in the state folder."""

    records: dict[str, Record] = field(default_factory=dict)
    #: What is damaged or missing, by file stem, and what is wrong with it.
    lost: dict[str, str] = field(default_factory=dict)
    run: RunFacts = RunFacts()


@dataclass(frozen=True)
class _Catalogue:
    jobs: Mapping[str, Any]
    #: When each job file was last asked, by its path.
    asked: Mapping[str, Any] = field(default_factory=dict)


class State:
    """The state folder."""

    def __init__(self, folder: Path, batch_from: int = batches.FROM) -> None:
        self.folder = folder
        #: From so many records on one file takes them all.
        self._batch_from = batch_from
        self._jobs = folder / "jobs"
        self._lock = Lock(folder)
        self._batches = Batches(folder)
        self._revision = 0

    def why_not_usable(self) -> str:
        """Return what is wrong with the folder, and what to type; nothing if fine."""
        jobs = self._jobs if os.path.lexists(self._jobs) else self.folder
        return why_not_usable(self.folder) or why_not_usable(jobs)

    def lock(self, now: datetime, length: timedelta) -> Holder | None:
        """Take the lock for a run; return None, or who holds it if somebody does.

        Raise StateError if the folder cannot be used.
        """
        if why := self.why_not_usable():
            raise StateError(why)
        return self._lock.take(now, length)

    def unlock(self) -> None:
        """Let others take the lock, now that the run is over."""
        self._lock.give_back()

    def count_skip(self, now: datetime) -> None:
        """Note, without the lock, that a run found another at work."""
        self._lock.count_skip(now)

    def take_skips(
        self, counted: datetime | None = None
    ) -> tuple[int, datetime | None]:
        """Return how many runs were skipped after ``counted``, and when the last."""
        return self._lock.take_skips(counted)

    # Reading.

    def load(self) -> Remembered:
        """Return all that is remembered; what is damaged or missing is only named.

        Raise StateError if the folder cannot be read, or a file is of a newer Checker.
        """
        run, why = self._read_run()
        found = Remembered(run=run)
        batched, damaged = self._batches.load()
        files = self._record_files()
        if why and not self._is_new(files):
            found.lost[RUN] = f"{self._path(RUN)}: {why}"
        found.records.update(batched)
        found.lost.update(damaged)
        stems = {file_stem(key) for key in batched}
        for path in files:
            try:
                record = _read_record(path)
            except FileNotFoundError:
                # Whoever reads without the lock may meet one that is just removed.
                continue
            except Damaged as error:
                if path.stem in stems:
                    # A batch has what it held, or later, and replaces it.
                    logger.warning("%s: %s; a batch has its record", path, error)
                    continue
                found.lost[path.stem] = f"{path}: {error}"
            else:
                stems.add(path.stem)
                if record.revision < _revision(batched.get(record.key)):
                    continue
                found.records[record.key] = record
                self._batches.supersede([record])
        for stem in run.records:
            if stem not in stems and stem not in found.lost:
                found.lost[stem] = f"{self._path(stem)}: it is missing"
        self._revision = max(map(_revision, found.records.values()), default=0)
        return found

    def load_run(self) -> RunFacts:
        """Return what is remembered of the runs; nothing if that is lost."""
        return self._read_run()[0]

    def load_catalogue(self) -> dict[str, Known]:
        """Return the jobs the last runs met, by key; none if that is lost."""
        return self.load_met()[0]

    def load_met(self) -> tuple[dict[str, Known], dict[str, Asked]]:
        """Return the jobs the last runs met, and when each file was asked for its own.

        Nothing of either if that is lost.
        """
        path = self._path(CATALOGUE)
        try:
            found = read_value(path, _Catalogue)
            return (
                {key: plain.from_plain(Known, one) for key, one in found.jobs.items()},
                {key: plain.from_plain(Asked, one) for key, one in found.asked.items()},
            )
        except FileNotFoundError:
            return {}, {}
        except (Damaged, ValueError) as error:
            logger.warning("%s: %s; it is made anew", path, error)
            return {}, {}

    # Writing, under the lock.

    def clear_leftovers(self) -> None:
        """Remove what a run that was killed left half written."""
        for folder in (self.folder, self._jobs):
            remove_leftovers(folder)

    def quarantine(self, stems: Iterable[str], now: datetime) -> None:
        """Move damaged files out of the way; one that cannot be moved stays."""
        paths = [self._path(stem) for stem in stems]
        move_away(paths, self.folder / "quarantine", now)

    def save(self, records: Iterable[Record]) -> None:
        """Commit records, each with the messages it owes; raise StateError.

        Many go into one file first; ``settle`` gives each its own.  One that has grown
        too large to be read again is not written: it stays as it was, until what it
        owes has left.
        """
        self._revision += 1
        records = [replace(one, revision=self._revision) for one in records]
        if len(records) >= self._batch_from:
            self._batches.write(one for one in records if not _is_too_long(one))
            return
        self._write_files(records)

    def settle(self, until: float) -> None:
        """Put what is in batches into files of its own; raise StateError.

        As much as can be done until that moment of the monotonic clock; the next run
        goes on with it.
        """
        for some in self._batches.pending():
            if time.monotonic() >= until:
                return
            self._write_files(some)
        self._batches.remove()

    @property
    def is_settled(self) -> bool:
        """Return whether each record is in a file of its own."""
        return not self._batches.are_there

    def _write_files(self, records: list[Record]) -> None:
        contents = (
            (self._path(file_stem(record.key)), packed(record)) for record in records
        )
        self._make_jobs_folder()
        replace_files(one for one in contents if not _is_too_large(*one))
        self._batches.supersede(records)

    def forget(self, stems: Iterable[str]) -> None:
        """Remove the files of jobs of which nothing is left to remember.

        Not while a batch may hold an older record of one, which would come back.
        """
        stems = list(stems) if self.is_settled else []
        for stem in stems:
            path = self._path(stem)
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise trouble(path, "remove it", error) from error
        if stems:
            sync_folder(self._jobs)

    def save_run(self, run: RunFacts) -> None:
        """Commit what is remembered of the runs; raise StateError."""
        replace_files([(self._path(RUN), packed(run))])

    def save_catalogue(
        self, jobs: Mapping[str, Known], asked: Mapping[str, Asked] | None = None
    ) -> None:
        """Replace the list of jobs that were met; raise StateError."""
        in_order = _Catalogue({key: jobs[key] for key in sorted(jobs)}, asked or {})
        replace_files([(self._path(CATALOGUE), packed(in_order))])

    def _is_new(self, files: list[Path]) -> bool:
        """Return whether no run has left anything in the folder yet."""
        others = (self._path(RUN), self._path(CATALOGUE))
        is_new = not files and self.is_settled and not any(map(os.path.lexists, others))
        if is_new:
            logger.info("the state folder %s is empty: a fresh start", self.folder)
        return is_new

    def _path(self, stem: str) -> Path:
        is_record = stem not in (RUN, CATALOGUE) and not STEM.fullmatch(stem)
        folder = self._jobs if is_record else self.folder
        return folder / f"{stem}.json"

    def _make_jobs_folder(self) -> None:
        if self._jobs.is_dir():
            return
        try:
            self._jobs.mkdir(mode=0o700)
        except OSError as error:
            raise trouble(self._jobs, "make it", error) from error
        sync_folder(self.folder)

    def _record_files(self) -> list[Path]:
        names = listed(self._jobs)
        return [self._jobs / name for name in names if _RECORD_NAME.fullmatch(name)]

    def _read_run(self) -> tuple[RunFacts, str]:
        """Return what is remembered of the runs, and why that is nothing if it is."""
        try:
            return read_value(self._path(RUN), RunFacts), ""
        except FileNotFoundError:
            return RunFacts(), "it is missing"
        except Damaged as error:
            return RunFacts(), str(error)


def last_runs(run: RunFacts) -> dict[JobFrequency, datetime]:
    """Return when each frequency last ran; what cannot be read is left out."""
    found = {}
    for word, moment in run.last_runs.items():
        try:
            when = datetime.fromisoformat(moment)
            if when.tzinfo is not None:
                found[JobFrequency(word)] = when
        except (TypeError, ValueError):
            logger.warning("run.json: %r is no time of a last run", word)
    return found


def _read_record(path: Path) -> Record:
    record = read_value(path, Record)
    if file_stem(record.key) != path.stem:
        raise Damaged(f"it is the record of another job, {record.key[:60]!r}")
    return record


def _revision(record: Record | None) -> int:
    return record.revision if record else 0


def _is_too_long(record: Record) -> bool:
    length = sum(len(one.body) for one in record.owed)
    # A letter takes up to six bytes there.
    return length * 6 > MAX_FILE and _is_too_large(Path(record.key), packed(record))


def _is_too_large(path: Path, content: bytes) -> bool:
    if len(content) <= MAX_FILE:
        return False
    logger.error(
        "%s: %d bytes are too many to be kept; it stays as it was", path, len(content)
    )
    return True

"""state/ <-> records: what Checker remembers, in one small file per job.

Only a job that is not plainly fine has a file.  Only the run that holds the lock
writes; anybody may read, and never meets half a file.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from lib import plain
from lib.disk import (
    TEMPORARY,
    Damaged,
    StateError,
    packed,
    read_capped,
    replace_files,
    sync_folder,
    unpacked,
)
from lib.model import JobFrequency, Known, Record, RunFacts, file_stem

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class Remembered:
    """All that was found in the state folder."""

    records: dict[str, Record] = field(default_factory=dict)
    #: File stems of records that are damaged or missing, and what is wrong with each.
    lost: dict[str, str] = field(default_factory=dict)
    run: RunFacts = RunFacts()


@dataclass(frozen=True)
class Holder:
    """Who holds the lock, as the lock file tells it."""

    pid: int = 0
    began_at: datetime | None = None
    ends_by: datetime | None = None


class State:
    """The state folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._jobs = folder / "jobs"
        self._lock: int | None = None

    def why_not_usable(self) -> str:
        """Return what is wrong with the folder, and what to do; nothing if it is fine."""
        if not self.folder.is_dir():
            there = "is no folder" if self.folder.exists() else "does not exist"
            return f"the state folder {self.folder} {there}: mkdir -m 700 {self.folder}"
        if not os.access(self.folder, os.W_OK | os.X_OK):
            return f"the state folder {self.folder} is not writable for this user"
        return ""

    # The lock.

    def lock(self, now: datetime, length: timedelta) -> Holder | None:
        """Take the lock for a run; return None, or who holds it if somebody does.

        An fcntl lock is the process's own: a child does not hold it, and the kernel
        frees it at death.  Closing any descriptor of the file would drop it, so the
        file is opened here only.  Raise StateError if the folder cannot be used.
        """
        if why := self.why_not_usable():
            raise StateError(why)
        path = self.folder / "lock"
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(path, flags, 0o600)
        except OSError as error:
            raise _unusable(path, error) from error
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            holder = _read_holder(descriptor)
            os.close(descriptor)
            return holder
        self._lock = descriptor
        _write_holder(descriptor, Holder(os.getpid(), now, now + length))
        return None

    def count_skip(self, now: datetime) -> None:
        """Note, without the lock, that a run found another at work.

        The next run that gets the lock counts it.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(self.folder / "skipped", flags, 0o600)
        except OSError as error:
            logger.warning("a skipped run could not be counted: %s", error)
            return
        try:
            os.write(descriptor, f"{now.isoformat()}\n".encode())
        finally:
            os.close(descriptor)

    def take_skips(self) -> tuple[int, datetime | None]:
        """Return how many runs were skipped since this was last asked, and when last."""
        path = self.folder / "skipped"
        try:
            lines = read_capped(path).decode("ascii", "replace").split()
            os.unlink(path)
        except (OSError, Damaged):
            return 0, None
        try:
            return len(lines), datetime.fromisoformat(lines[-1])
        except (IndexError, ValueError):
            return len(lines), None

    # Reading.

    def load(self) -> Remembered:
        """Return all that is remembered; damaged files are only named.

        Raise StateError if the folder cannot be read, or a file is of a newer Checker.
        """
        found = Remembered(run=self.load_run())
        for path in self._record_files():
            try:
                record = self._read_record(path)
                found.records[record.key] = record
            except (Damaged, ValueError, OSError) as error:
                found.lost[path.stem] = f"{path}: {error}"
        present = {file_stem(key) for key in found.records}
        for stem in found.run.records:
            if stem not in present and stem not in found.lost:
                found.lost[stem] = f"{self._jobs / stem}.json: it is missing"
        return found

    def load_run(self) -> RunFacts:
        """Return what is remembered of the runs; nothing if that is damaged."""
        found = self._read_whole(self.folder / "run.json", RunFacts)
        return found if found is not None else RunFacts()

    def load_catalogue(self) -> dict[str, Known]:
        """Return the jobs the last runs met, by key; none if that is damaged."""
        path = self.folder / "catalogue.json"
        try:
            body, _ = unpacked(read_capped(path))
            jobs = body.get("jobs", {})
            return {key: plain.from_plain(Known, one) for key, one in jobs.items()}
        except FileNotFoundError:
            return {}
        except (OSError, Damaged, ValueError, TypeError, AttributeError) as error:
            logger.warning("%s: %s; it is made anew", path, error)
            return {}

    # Writing, under the lock.

    def clear_leftovers(self) -> None:
        """Remove what a run that was killed left half written."""
        for folder in (self.folder, self._jobs):
            for path in _listed(folder):
                if path.name.startswith(".") and path.name.endswith(TEMPORARY):
                    path.unlink(missing_ok=True)

    def quarantine(self, stems: Iterable[str], now: datetime) -> None:
        """Keep a copy of damaged files, by a second name for the same content.

        Raise StateError if that is not possible; the file itself stays.
        """
        folder = self.folder / "quarantine"
        stamp = now.strftime("%Y%m%dT%H%M%S")
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            for stem in stems:
                path = self._jobs / f"{stem}.json"
                if path.exists():
                    os.link(path, folder / f"{stem}.{stamp}.json")
        except FileExistsError:
            return
        except OSError as error:
            raise _unusable(folder, error) from error

    def save(self, records: Iterable[Record]) -> None:
        """Commit records, each with the messages it owes; raise StateError."""
        contents = [
            (self._jobs / f"{file_stem(record.key)}.json", packed(record))
            for record in records
        ]
        if contents:
            self._make_jobs_folder()
            replace_files(contents)

    def forget(self, stems: Iterable[str]) -> None:
        """Remove the files of jobs of which nothing is left to remember."""
        stems = list(stems)
        for stem in stems:
            (self._jobs / f"{stem}.json").unlink(missing_ok=True)
        if stems:
            sync_folder(self._jobs)

    def save_run(self, run: RunFacts) -> None:
        """Commit what is remembered of the runs; raise StateError."""
        replace_files([(self.folder / "run.json", packed(run))])

    def save_catalogue(self, jobs: Mapping[str, Known]) -> None:
        """Replace the list of jobs that were met; raise StateError."""
        body = {"jobs": {key: plain.to_plain(jobs[key]) for key in sorted(jobs)}}
        replace_files([(self.folder / "catalogue.json", packed(body))])

    def _make_jobs_folder(self) -> None:
        if self._jobs.is_dir():
            return
        try:
            self._jobs.mkdir(mode=0o700)
        except OSError as error:
            raise _unusable(self._jobs, error) from error
        sync_folder(self.folder)

    def _record_files(self) -> list[Path]:
        return [
            path
            for path in _listed(self._jobs)
            if path.suffix == ".json" and not path.name.startswith(".")
        ]

    def _read_record(self, path: Path) -> Record:
        try:
            body, has_sum = unpacked(read_capped(path))
        except StateError as error:
            raise StateError(f"{path}: {error}") from error
        record = plain.from_plain(Record, body)
        if file_stem(record.key) != path.stem:
            raise Damaged(f"it holds the record of another job, {record.key!r}")
        if not has_sum:
            logger.warning("%s has no sum: taken as edited by hand", path)
        return record

    def _read_whole(self, path: Path, cls: type[T]) -> T | None:
        try:
            body, _ = unpacked(read_capped(path))
            return plain.from_plain(cls, body)
        except FileNotFoundError:
            return None
        except StateError as error:
            raise StateError(f"{path}: {error}") from error
        except (OSError, Damaged, ValueError) as error:
            logger.warning("%s: %s; it is made anew", path, error)
            return None


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


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _unusable(folder, error) from error


def _unusable(path: Path, error: OSError) -> StateError:
    return StateError(
        f"{path}: {error.strerror}: the state folder must be writable, and on a disk "
        "with room, for the user whose crontab starts Checker"
    )


def _read_holder(descriptor: int) -> Holder:
    try:
        body: Any = plain.loads(os.pread(descriptor, 4096, 0))
        return plain.from_plain(Holder, body)
    except (OSError, ValueError):
        return Holder()


def _write_holder(descriptor: int, holder: Holder) -> None:
    text = plain.dumps(holder).encode("ascii") + b"\n"
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text, 0)
    except OSError as error:
        # For people only; the lock itself is held.
        logger.warning("the lock file could not be written: %s", error)

"""jobs/ of the state folder: a file for each record.

Only the run that holds the lock writes here; anybody may read, and never meets half a
file.

Many records in one file, until each has its own again.

To make thousands of files durable takes longer than an alert may wait.  So where many
records change at once, one file takes them all: its rename is the commit.  Later, at
leisure, each record goes into its own file, and the batch goes away.

A record has a revision, which rises with each commit: of a record that is found twice
the higher one is the truth, so a batch may be read again at any time without harm.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from lib.core.encoding import Stored
from lib.core.jobs import JobKey, file_stem
from lib.core.records import Record
from lib.storage.codec import packed, packed_tightly, read_value
from lib.storage.writer import Writer
from lib.system.files import MAX_FILE, Damaged, listed

logger = logging.getLogger(__name__)

#: What ``file_stem`` makes; any other file in the folder is not ours.
_NAME = re.compile(r"([a-z0-9-]+-[0-9a-f]{10})\.json")


class RecordFiles:
    """The files of the records."""

    def __init__(self, state: Path, writer: Writer) -> None:
        self._writer = writer
        self.folder = state / "jobs"

    def path(self, stem: str) -> Path:
        """Return where the record with this file stem is kept."""
        return self.folder / f"{stem}.json"

    @property
    def is_there(self) -> bool:
        """Return whether something stands in the folder's place."""
        return os.path.lexists(self.folder)

    def load(self) -> tuple[dict[str, Record], dict[str, Damaged]]:
        """Return the records, and what is wrong with the damaged ones, by file stem.

        Raise StateError if the folder cannot be read, or a file is of a newer Checker.
        """
        found: dict[str, Record] = {}
        damaged: dict[str, Damaged] = {}
        for name in listed(self.folder):
            match = _NAME.fullmatch(name)
            if match is None:
                continue
            stem = match[1]
            try:
                found[stem] = _read(f"{self.folder}/{name}", stem)
            except FileNotFoundError:
                # Whoever reads without the lock may meet one that is just removed.
                continue
            except Damaged as error:
                damaged[stem] = error
        return found, damaged

    def write(self, records: Iterable[Record]) -> None:
        """Commit records, each in one step; raise StateError.

        One that could not be read again is not written: its file stays as it was.
        """
        contents = (
            (f"{self.folder}/{file_stem(record.key)}.json", packed(record))
            for record in records
        )
        self._writer.make_folder(self.folder)
        self._writer.replace(one for one in contents if not _is_too_large(*one))

    def remove(self, stems: Iterable[str]) -> None:
        """Remove these files; raise StateError."""
        self._writer.remove(map(self.path, stems))


def is_too_long(record: Record) -> bool:
    """Return whether a record has grown too large to be read again."""
    if not record.queued:
        return False
    length = sum([len(message.body) for message in record.queued])
    # A letter takes up to six bytes there.
    return length * 6 > MAX_FILE and _is_too_large(str(record.key), packed(record))


def _read(path: str, stem: str) -> Record:
    record = read_value(path, Record)
    if file_stem(record.key) != stem:
        raise Damaged(f"it is the record of another job, {str(record.key)[:60]!r}")
    return record


def _is_too_large(path: str, content: bytes) -> bool:
    if len(content) <= MAX_FILE:
        return False
    logger.error(
        "%s: %d bytes are too many to be kept; it stays as it was", path, len(content)
    )
    return True


#: From so many records on one file takes them all.
FROM = 200
#: A batch that is larger is divided.
MAX_BYTES = 16 * 1024 * 1024
#: So many records go into files of their own at once.
AT_ONCE = 500

_BATCH_NAME = re.compile(r"batch-(\d{8})\.json")
STEM = re.compile(r"batch-\d{8}")


class Batch(Stored, frozen=True):
    """What is in the file of a batch."""

    records: tuple[Record, ...] = ()


class Batches:
    """The batches in the state folder, and what of them is in no file of its own."""

    def __init__(self, folder: Path, writer: Writer) -> None:
        self._folder = folder
        self._writer = writer
        self._paths: list[Path] = []
        #: The records that have to be put into files of their own, by key.
        self._pending: dict[JobKey, Record] = {}
        self._last = 0

    @property
    def are_there(self) -> bool:
        """Return whether there is a batch whose records are not all in files."""
        return bool(self._paths)

    # Reading.

    def load(self) -> tuple[dict[JobKey, Record], dict[str, Damaged]]:
        """Return the records of all batches, and what is wrong with the damaged ones.

        Raise StateError if a batch cannot be opened, or is of a newer Checker.
        """
        found: dict[JobKey, Record] = {}
        damaged: dict[str, Damaged] = {}
        self._paths = []
        for name in listed(self._folder):
            match = _BATCH_NAME.fullmatch(name)
            if match is None:
                continue
            path = self._folder / name
            self._last = max(self._last, int(match[1]))
            try:
                batch = read_value(path, Batch)
            except FileNotFoundError:
                # Whoever reads without the lock: by now all is in files of their own.
                continue
            except Damaged as error:
                damaged[path.stem] = error
                continue
            self._paths.append(path)
            for record in batch.records:
                before = found.get(record.key)
                if before is None or before.revision < record.revision:
                    found[record.key] = record
        self._pending = dict(found)
        return found, damaged

    # Writing, under the lock.

    def write(self, groups: Iterable[tuple[Record, ...]]) -> None:
        """Commit records by one rename, or a few; raise StateError.

        Those of a group by the same.
        """
        for some in _parts(groups):
            self._last += 1
            path = self._folder / f"batch-{self._last:08}.json"
            self._writer.replace([(path, packed_tightly(Batch(tuple(some))))])
            self._paths.append(path)
            self._pending.update((record.key, record) for record in some)

    def supersede(self, records: Iterable[Record]) -> None:
        """Note that these are in files of their own, as they are now."""
        for record in records:
            self._pending.pop(record.key, None)

    def pending(self) -> Iterator[list[Record]]:
        """Yield, some at a time, what has to be put into files of its own."""
        records = list(self._pending.values())
        for first in range(0, len(records), AT_ONCE):
            yield records[first : first + AT_ONCE]

    def remove(self) -> None:
        """Remove the batches if nothing of them is pending; raise StateError."""
        if self._pending or not self._paths:
            return
        self._writer.remove(self._paths)
        self._paths = []


def _parts(groups: Iterable[tuple[Record, ...]]) -> Iterator[list[Record]]:
    """Yield the records in parts that are not too large for a file."""
    some: list[Record] = []
    length = 0
    for group in groups:
        # Bodies make the difference; the rest of a record is some hundred bytes.
        size = 0
        for record in group:
            size += 1000 + sum([len(message.body) for message in record.queued])
        if some and length + size > MAX_BYTES:
            yield some
            some, length = [], 0
        some += group
        length += size
    if some:
        yield some

"""Many records in one file, until each has its own again.

To make thousands of files durable takes longer than an alert may wait.  So where many
records change at once, one file takes them all: its rename is the commit.  Later, at
leisure, each record goes into its own file, and the batch goes away.

A record has a revision, which rises with each commit: of a record that is found twice
the higher one is the truth, so a batch may be read again at any time without harm.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lib.disk import Damaged, listed, replace_files, sync_folder
from lib.model import JobKey, Record
from lib.remedy import trouble
from lib.sealed import packed_tightly, read_value

#: From so many records on one file takes them all.
FROM = 200
#: A batch that is larger is divided.
MOST_BYTES = 16 * 1024 * 1024
#: So many records go into files of their own at once.
AT_ONCE = 500

_NAME = re.compile(r"batch-(\d{8})\.json")
STEM = re.compile(r"batch-\d{8}")


@dataclass(frozen=True)
class Batch:
    """What is in the file of a batch."""

    records: tuple[Record, ...] = ()


class Batches:
    """The batches in the state folder, and what of them is in no file of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
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
            match = _NAME.fullmatch(name)
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

    def write(self, records: Iterable[Record]) -> None:
        """Commit records by one rename, or a few; raise StateError."""
        for some in _parts(records):
            self._last += 1
            path = self._folder / f"batch-{self._last:08}.json"
            replace_files([(path, packed_tightly(Batch(tuple(some))))])
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
        for path in self._paths:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise trouble(path, "remove it", error) from error
        self._paths = []
        sync_folder(self._folder)


def _parts(records: Iterable[Record]) -> Iterator[list[Record]]:
    """Yield the records in parts that are not too large for a file."""
    some: list[Record] = []
    length = 0
    for record in records:
        # Bodies make the difference; the rest of a record is some hundred bytes.
        size = 1000 + sum(len(one.body) for one in record.owed)
        if some and length + size > MOST_BYTES:
            yield some
            some, length = [], 0
        some.append(record)
        length += size
    if some:
        yield some

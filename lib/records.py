"""jobs/ of the state folder: a file for each record.

Only the run that holds the lock writes here; anybody may read, and never meets half a
file.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from lib.disk import MAX_FILE, Damaged, listed, replace_files, sync_folder
from lib.model import Record, file_stem
from lib.remedy import trouble
from lib.sealed import packed, read_value

logger = logging.getLogger(__name__)

#: What ``file_stem`` makes; any other file in the folder is not ours.
_NAME = re.compile(r"[a-z0-9-]+-[0-9a-f]{10}\.json")


class RecordFiles:
    """The files of the records."""

    def __init__(self, state: Path) -> None:
        self._state = state
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
        for path in self._paths():
            try:
                found[path.stem] = _read(path)
            except FileNotFoundError:
                # Whoever reads without the lock may meet one that is just removed.
                continue
            except Damaged as error:
                damaged[path.stem] = error
        return found, damaged

    def write(self, records: Iterable[Record]) -> None:
        """Commit records, each in one step; raise StateError.

        One that could not be read again is not written: its file stays as it was.
        """
        contents = (
            (self.path(file_stem(record.key)), packed(record)) for record in records
        )
        self._make_folder()
        replace_files(one for one in contents if not _is_too_large(*one))

    def remove(self, stems: Iterable[str]) -> None:
        """Remove these files; raise StateError."""
        for stem in stems:
            path = self.path(stem)
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise trouble(path, "remove it", error) from error
        sync_folder(self.folder)

    def _paths(self) -> Iterator[Path]:
        names = listed(self.folder)
        return (self.folder / name for name in names if _NAME.fullmatch(name))

    def _make_folder(self) -> None:
        if self.folder.is_dir():
            return
        try:
            self.folder.mkdir(mode=0o700)
        except OSError as error:
            raise trouble(self.folder, "make it", error) from error
        sync_folder(self._state)


def is_too_long(record: Record) -> bool:
    """Return whether a record has grown too large to be read again."""
    length = sum(len(one.body) for one in record.owed)
    # A letter takes up to six bytes there.
    return length * 6 > MAX_FILE and _is_too_large(
        Path(str(record.key)), packed(record)
    )


def _read(path: Path) -> Record:
    record = read_value(path, Record)
    if file_stem(record.key) != path.stem:
        raise Damaged(f"it is the record of another job, {str(record.key)[:60]!r}")
    return record


def _is_too_large(path: Path, content: bytes) -> bool:
    if len(content) <= MAX_FILE:
        return False
    logger.error(
        "%s: %d bytes are too many to be kept; it stays as it was", path, len(content)
    )
    return True

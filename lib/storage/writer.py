"""Each change of the files in the state folder, or none: the flag that freezes it.

The first error freezes it: from there on what is remembered may be read as far as it
goes, nothing is written, and nothing that is queued is sent.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from lib.system.errors import NewerState, StateError, trouble
from lib.system.files import (
    move_away,
    remove_leftovers,
    replace_files,
    sync_folder,
    thin,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Writer:
    """Writes files, until it is frozen; raises StateError."""

    def __init__(self) -> None:
        #: Why nothing is written any more; empty while all is well.
        self.frozen = ""

    def freeze(self, error: StateError) -> None:
        """Write nothing any more."""
        if not self.frozen:
            self.frozen = str(error)
            logger.error("%s; this run judges, keeps nothing, sends no alert", error)

    def read_or_freeze(self, read: Callable[[], T], otherwise: T) -> T:
        """Return what is read; where that fails, freeze, and return ``otherwise``.

        State of a newer Checker is not to be judged by: raise NewerState.
        """
        try:
            return read()
        except NewerState:
            raise
        except StateError as error:
            self.freeze(error)
            return otherwise

    def replace(self, contents: Iterable[tuple[str | Path, bytes]]) -> None:
        """Replace each file by its content, all in one batch."""
        if not self.frozen:
            replace_files(contents)

    def remove(self, paths: Iterable[Path]) -> None:
        """Remove these files of one folder, durably; one that is missing is gone."""
        paths = [] if self.frozen else list(paths)
        for path in paths:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise trouble(path, "remove it", error) from error
        if paths:
            sync_folder(paths[0].parent)

    def make_folder(self, folder: Path) -> None:
        """Make a folder that only this user may enter, unless it is there."""
        if self.frozen or folder.is_dir():
            return
        try:
            folder.mkdir(mode=0o700)
        except OSError as error:
            raise trouble(folder, "make it", error) from error
        sync_folder(folder.parent)

    def remove_leftovers(self, folder: Path) -> None:
        """Remove what a run that was killed left half written."""
        if not self.frozen:
            remove_leftovers(folder)

    def move_away(self, paths: Iterable[Path], folder: Path, now: datetime) -> None:
        """Move those that exist into a folder, under dated names.

        A file that cannot be moved stays, with an error in the log.
        """
        if not self.frozen:
            move_away(paths, folder, now)

    def thin(self, folder: Path, *, most_files: int, most_bytes: int) -> None:
        """Remove the oldest files of a folder where there are too many, or too much."""
        if not self.frozen:
            thin(folder, most_files=most_files, most_bytes=most_bytes)

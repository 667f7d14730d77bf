"""The settings of now, for a process that stays: read anew once they have changed."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

from lib.config.load import SettingsError
from lib.core.settings import Settings

logger = logging.getLogger(__name__)


class FreshSettings:
    """Called, it returns the settings as their files are now.

    Where they cannot be used any more, those before hold, and the log says so: the
    runs fail then, which is what peers must hear.
    """

    def __init__(self, settings: Settings, load: Callable[[], Settings]) -> None:
        self._settings = settings
        self._load = load
        self._mark = _mark(settings.files)
        self._lock = threading.Lock()

    def __call__(self) -> Settings:
        """Return the settings."""
        with self._lock:
            mark = _mark(self._settings.files)
            if mark != self._mark:
                self._mark = mark
                self._read_anew()
            return self._settings

    def _read_anew(self) -> None:
        before = self._settings
        try:
            self._settings = self._load()
        except SettingsError as error:
            logger.error("%s\nthe settings of before hold until this is mended", error)
            return
        self._mark = _mark(self._settings.files)
        if self._settings.status.listen != before.status.listen:
            logger.warning("[status] listen has changed: start the daemon anew for it")


def _mark(files: tuple[Path, ...]) -> tuple[tuple[int, ...], ...]:
    """Return what is another once one of the files is, or one has come beside them."""
    paths = (*files, *dict.fromkeys(path.parent for path in files))
    return tuple(map(_facts, paths))


def _facts(path: Path) -> tuple[int, ...]:
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return (found.st_mtime_ns, found.st_size, found.st_ino)

"""The settings as their files are now, for the daemon."""

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
    """The settings as their files are now; call it to get them.

    If they cannot be used any more, the previous ones stay in use, and the log says
    so.
    """

    def __init__(self, settings: Settings, load: Callable[[], Settings]) -> None:
        self._settings = settings
        self._load = load
        self._fingerprint = _fingerprint(_sources(settings))
        self._lock = threading.Lock()

    def __call__(self) -> Settings:
        """Return the settings."""
        with self._lock:
            fingerprint = _fingerprint(_sources(self._settings))
            if fingerprint != self._fingerprint:
                self._fingerprint = fingerprint
                self._reload()
            return self._settings

    def _reload(self) -> None:
        before = self._settings
        try:
            self._settings = self._load()
        except SettingsError as error:
            logger.error(
                "%s\nthe previous settings stay in use until this is fixed", error
            )
            return
        self._fingerprint = _fingerprint(_sources(self._settings))
        for section in ("status", "page"):
            now, then = getattr(self._settings, section), getattr(before, section)
            if now.listen != then.listen:
                logger.warning(
                    "[%s] listen has changed: restart the daemon to apply it", section
                )


def _sources(settings: Settings) -> tuple[Path, ...]:
    """Return the files that settings are read from, whether or not they can be."""
    return tuple(settings.ini.folder / name for name in settings.ini.names)


def _fingerprint(files: tuple[Path, ...]) -> tuple[tuple[int, ...], ...]:
    """Return a fingerprint of the files and their folders."""
    paths = (*files, *dict.fromkeys(path.parent for path in files))
    return tuple(map(_file_state, paths))


def _file_state(path: Path) -> tuple[int, ...]:
    try:
        status = os.stat(path)
    except OSError:
        return ()
    return (status.st_mtime_ns, status.st_size, status.st_ino)

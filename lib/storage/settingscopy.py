"""The last usable settings: a copy in ``state/settings/``, for runs to go on with.

It holds the text of settings.cfg and of what that includes, passwords as well, so only
the owner may read it.  What the settings refer to (``hosts_file``, ``pass_file``,
``cafile``, job files) is not copied: it is read where it is.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from lib.core.encoding import Moment, Stored
from lib.storage.codec import packed, read_value
from lib.storage.store import SETTINGS_COPY, State
from lib.system.errors import StateError, trouble
from lib.system.files import MAX_FILE, Damaged
from lib.system.permissions import why_not_secret

logger = logging.getLogger(__name__)


class SettingsCopy(Stored, frozen=True):
    """The text of settings that could be used."""

    #: The path of settings.cfg.
    path: str
    at: Moment
    #: The lines of each file, by its name; settings.cfg comes first.
    files: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, path: Path, texts: Mapping[str, str], now: datetime) -> SettingsCopy:
        """Return the copy of these texts."""
        lines = {name: tuple(text.split("\n")) for name, text in texts.items()}
        return cls(one_name(path), now, lines)

    @property
    def texts(self) -> dict[str, str]:
        """Return the text of each file."""
        return {name: "\n".join(lines) for name, lines in self.files.items()}


def one_name(path: Path) -> str:
    """Return the same text whichever way a file is named, be it there or not."""
    return os.path.join(os.path.realpath(path.parent), path.name)


def find(folder: Path, settings: Path) -> tuple[SettingsCopy | None, str]:
    """Return the copy of these settings in a state folder, or why there is none.

    One that somebody else may have written, or can read, is none.
    """
    path = folder / SETTINGS_COPY
    try:
        if why := State(folder).why_not_safe() or why_not_secret(path):
            return None, f"{path} is not used: {why}"
        copy = read_value(path, SettingsCopy)
    except FileNotFoundError:
        return None, f"there is no {path}"
    except OSError as error:
        return None, f"{path} cannot be read: {error.strerror}"
    except (Damaged, StateError) as error:
        return None, f"{path} cannot be used: {error}"
    if copy.path != one_name(settings):
        return None, f"{path} is a copy of {copy.path}"
    if not copy.files:
        return None, f"{path} is empty"
    return copy, ""


def save(state: State, copy: SettingsCopy) -> bool:
    """Replace the copy; return whether that could be done, and log it if not."""
    path = state.folder / SETTINGS_COPY
    content = packed(copy)
    try:
        if len(content) > MAX_FILE:
            raise StateError(f"{path}: the settings are too large to be copied")
        _make(path.parent)
        state.writer.replace([(path, content)])
    except StateError as error:
        logger.warning("%s; the run goes on", error)
        return False
    return True


def _make(folder: Path) -> None:
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        return
    except OSError as error:
        raise trouble(folder, "make it", error) from error

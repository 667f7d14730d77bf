"""Keeps what runs go on with when the settings cannot be used any more.

A run whose settings can be used copies their text into ``state/settings/`` if it has
changed, and notes outside the state folder where that folder is: settings that cannot
be read do not say it.  ``lib/cli/lastusable.py`` finds both.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterable
from pathlib import Path

from lib.config.ini import Unreadable, texts_of
from lib.core.encoding import digest
from lib.runner.context import RunContext
from lib.runner.emergency import private_folder, usual_places
from lib.storage import settingscopy
from lib.storage.settingscopy import SettingsCopy

logger = logging.getLogger(__name__)


def keep(ctx: RunContext, *, is_current: bool) -> str:
    """Copy the settings, unless the copy is current and whole; note where it lies.

    Return the digest of what the copy holds.
    """
    settings = ctx.settings
    if settings.ini.get("general", "state"):
        note_folder(settings.path, settings.state, usual_places())
    if is_current and settingscopy.find(settings.state, settings.path)[0]:
        return settings.digest
    try:
        texts, now_digest = texts_of(settings.ini)
    except Unreadable as error:
        # The next run says so, and goes on with the copy that there is.
        logger.warning("%s: not copied: %s", settings.path, error.text)
        return ctx.run.settings_copied
    if now_digest != settings.digest:
        # They were changed while this run was at work; nobody knows if they are usable.
        return ctx.run.settings_copied
    copy = SettingsCopy.of(settings.path, texts, ctx.began_at)
    is_saved = settingscopy.save(ctx.state, copy)
    return settings.digest if is_saved else ctx.run.settings_copied


def note_folder(settings: Path, folder: Path, places: Iterable[Path]) -> None:
    """Note where the state folder of these settings is, in the first usable place.

    It is a link that leads there, in a folder that only this user may enter.
    """
    name = link_name(settings)
    for place in places:
        with contextlib.suppress(OSError):
            handle = private_folder(place)
            try:
                _link(handle, name, str(folder))
            finally:
                os.close(handle)
            return


def noted_folder(settings: Path, places: Iterable[Path]) -> Path | None:
    """Return the state folder that a run noted for these settings; None: none did."""
    for place in places:
        with contextlib.suppress(OSError):
            handle = private_folder(place)
            try:
                return Path(os.readlink(link_name(settings), dir_fd=handle))
            finally:
                os.close(handle)
    return None


def link_name(settings: Path) -> str:
    """Return the name of the link for these settings."""
    name = settingscopy.one_name(settings)
    return f"state-{digest(os.fsencode(name))[:32]}"


def _link(handle: int, name: str, target: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        if os.readlink(name, dir_fd=handle) == target:
            return
    new = f".{name}.{os.getpid()}"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new, dir_fd=handle)
    os.symlink(target, new, dir_fd=handle)
    os.rename(new, name, src_dir_fd=handle, dst_dir_fd=handle)

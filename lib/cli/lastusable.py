"""Finds the last usable settings, when those of now cannot be used.

They lie in the state folder, which the settings themselves may name.  It is looked for
where ``--state`` says; else where a run has noted that it is, where settings.cfg still
says, and in the checkout.
"""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec.structs import replace

from lib.cli.as_owner import state_folder
from lib.config.load import SettingsError
from lib.core.settings import LastUsable, Problem, Settings
from lib.core.text import mail_time
from lib.runner.emergency import usual_places
from lib.runner.lastusable import noted_folder
from lib.storage.settingscopy import find
from lib.storage.store import SETTINGS_COPY
from lib.system.permissions import why_not_run, why_not_write

logger = logging.getLogger(__name__)


def last_usable(
    args: argparse.Namespace, error: SettingsError, load: Callable[..., Settings]
) -> Settings:
    """Return the settings that could last be used.

    ``load`` makes them of a ``copy`` of the files, and of the ``state`` folder.  Raise
    SettingsError, which says where they were looked for, if there are none.
    """
    path, whys = args.file.absolute(), []
    for folder in dict.fromkeys(_folders(args, path)):
        copy, why = find(folder, path)
        if copy is None:
            whys.append(why)
            continue
        where = folder / SETTINGS_COPY
        try:
            settings = load(copy=copy.texts, state=folder)
        except SettingsError as other:
            whys.append(f"{where} cannot be used either: {other.problems[0]}")
            continue
        in_use = LastUsable(error.problems, where, copy.at)
        return replace(settings, files=(where,), last_usable=in_use)
    text = f"nothing runs: there is no copy of earlier settings ({'; '.join(whys)})"
    hint = "" if args.state else "; if the state folder is another one, type --state"
    problem = Problem(text + hint, str(path), fatal=True)
    raise SettingsError((*error.problems, problem), error.settings) from error


def _folders(args: argparse.Namespace, path: Path) -> Iterator[Path]:
    """Yield the folders in which the copy may be, the likeliest first."""
    if args.state:
        yield Path(args.state).absolute()
        return
    if noted := noted_folder(path, usual_places()):
        yield noted
    if _is_ours(path):
        yield state_folder(args)
    yield Path(args.base).absolute() / "state"


def _is_ours(path: Path) -> bool:
    """Return whether what the file says of the state folder may be believed."""
    try:
        return not (why_not_run(path) if os.geteuid() == 0 else why_not_write(path))
    except OSError:
        # It is not there, and so says nothing.
        return False


def log_use(in_use: LastUsable, settings: Settings) -> None:
    """Log why earlier settings are in use, and which."""
    for problem in in_use.problems:
        logger.error("%s", problem)
    when = mail_time(in_use.at, settings.zone)
    logger.error(
        "until this is corrected the settings of %s are in use: %s", when, in_use.path
    )

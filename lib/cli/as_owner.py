"""Run a command that root typed as the owner of the state folder.

As root it would leave files that the owner's cron job cannot read, and would run the
owner's settings and job files.  Root reads only where the state folder is and who owns
it.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lib.config.ini import IniText, Unreadable, decoded, file_content
from lib.system.errors import StateError
from lib.system.permissions import become, user_name

if TYPE_CHECKING:
    import argparse


#: The lines from its title to the next one.
_GENERAL = r"(?ms)^\[general\].*?(?=^\[|\Z)"


def become_owner(args: argparse.Namespace, arguments: list[str]) -> None:
    """Start the command again as the owner of its state folder; return if that is root.

    A new process has no file open and nothing in memory that only root may read.  Raise
    StateError if the owner cannot run it.
    """
    folder = state_folder(args)
    try:
        owner = os.stat(folder)
    except OSError:
        # The command itself reports what is wrong with the folder.
        return
    if owner.st_uid == 0:
        return
    user = user_name(owner.st_uid)
    checker = str(args.base / "checker.py")
    needed = [sys.executable, checker, str(args.base / "lib"), *_pythons_own()]
    try:
        become(owner.st_uid, owner.st_gid)
        for path in needed:
            if not os.access(path, os.R_OK):
                raise PermissionError(0, f"{user} may not read {path}")
        os.execv(sys.executable, [sys.executable, checker, *arguments])
    except OSError as error:
        raise StateError(
            f"the state folder {folder} belongs to {user}, but the command cannot go "
            f"on as {user}: {error.strerror}; mend that, or: "
            f"chown -R root {shlex.quote(str(folder))}"
        ) from error


def _pythons_own() -> list[str]:
    """Return the folders of this Python and its libraries.

    Folders that only root has added to the path are left out.
    """
    standard = os.path.dirname(os.__file__)
    own = [path for path in sys.path if path.startswith((sys.prefix, standard))]
    return [path for path in own if os.path.exists(path)]


def check_owner(state: Path, settings: Path) -> None:
    """Raise StateError if root would use the state folder of another user.

    This happens if only an included file names the folder.
    """
    try:
        owner = os.stat(state).st_uid
    except OSError:
        return
    if owner != 0:
        raise StateError(
            f"the state folder {state} belongs to {user_name(owner)}, and root looks "
            f"for its name in {settings} only, not in what that includes; put the line "
            f"there, or type: --state {shlex.quote(str(state))}"
        )


def state_folder(args: argparse.Namespace) -> Path:
    """Return the state folder: of the command line, of the settings, or the default."""
    if args.state:
        return Path(args.state).absolute()
    path: Path = args.file.absolute()
    try:
        owner = os.stat(path).st_uid
        text = decoded(file_content(path, is_main=True)[1])
    except (OSError, Unreadable):
        # Loading the settings reports it.
        return Path(args.base).absolute() / "state"
    general = IniText("".join(re.findall(_GENERAL, text)), path.name)
    named = general.value("general", "state")
    if named is None or not named.raw:
        return Path(args.base).absolute() / "state"
    return path.parent / _at_home_of(owner, named.raw)


def _at_home_of(owner: int, path: str) -> str:
    """Return a path in which ``~`` is the home of the owner of the settings."""
    import pwd

    first, slash, rest = path.partition("/")
    if first != "~":
        return os.path.expanduser(path)
    try:
        return pwd.getpwuid(owner).pw_dir + slash + rest
    except KeyError:
        return path

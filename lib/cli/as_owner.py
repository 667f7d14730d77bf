"""A command that root has typed goes on as the user whose state folder it is about.

Else it would leave files that the user's cron job cannot read, and run the user's
settings and job files as root.  Of the settings root reads the one line that says where
the state folder is, and of that folder to whom it belongs.
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
_GENERAL = re.compile(r"^\[general\].*?(?=^\[|\Z)", re.MULTILINE | re.DOTALL)


def become_owner(given: argparse.Namespace, arguments: list[str]) -> None:
    """Start the command anew as the owner of its state folder; return if it is root's.

    A new program has nothing open or in memory that root could read and the user
    cannot.  Raise StateError if the user cannot carry it out.
    """
    folder = _state_folder(given)
    try:
        owner = os.stat(folder)
    except OSError:
        # Whoever goes on says what is wrong with it.
        return
    if owner.st_uid == 0:
        return
    user = user_name(owner.st_uid)
    checker = str(given.base / "checker.py")
    needed = [sys.executable, checker, str(given.base / "lib"), *_pythons_own()]
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

    Not those that root alone has added, which the user does without.
    """
    standard = os.path.dirname(os.__file__)
    own = [path for path in sys.path if path.startswith((sys.prefix, standard))]
    return [path for path in own if os.path.exists(path)]


def check_owner(state: Path, settings: Path) -> None:
    """Raise StateError if root is about to use the state folder of another user.

    That is one which only a file names that root has not read before.
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


def _state_folder(given: argparse.Namespace) -> Path:
    """Return what the command line says, or the settings, or else the default."""
    if given.state:
        return Path(given.state).absolute()
    path: Path = given.file.absolute()
    try:
        owner = os.stat(path).st_uid
        text = decoded(file_content(path, is_main=True)[1])
    except (OSError, Unreadable):
        # Reading all of it says so.
        return Path(given.base).absolute() / "state"
    general = IniText("".join(_GENERAL.findall(text)), path.name)
    named = general.value("general", "state")
    if named is None or not named.raw:
        return Path(given.base).absolute() / "state"
    return path.parent / _at_home_of(owner, named.raw)


def _at_home_of(owner: int, path: str) -> str:
    """Return a path with ``~`` as the owner of the settings means it."""
    import pwd

    first, slash, rest = path.partition("/")
    if first != "~":
        return os.path.expanduser(path)
    try:
        return pwd.getpwuid(owner).pw_dir + slash + rest
    except KeyError:
        return path

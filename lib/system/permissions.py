"""Who may read or write files that we run, rely on, or keep a password in.

Root and the user who runs us are trusted.  So is a group with no other members: the
private group that many systems give each user.
"""

from __future__ import annotations

import functools
import os
import stat
from pathlib import Path


def why_not_run(path: Path) -> str:
    """Return why nothing in this file or folder may be run, and the fix.

    Return "" if it may.  Raise OSError if that cannot be checked.
    """
    facts = os.stat(path)
    return _why_not_owner(path, facts) or why_not_write(path, facts)


def why_not_write(path: Path, facts: os.stat_result | None = None) -> str:
    """Return who else may write the file, and the command that fixes it, or ""."""
    facts = facts or os.stat(path)
    letters = _others(facts, group_bit=stat.S_IWGRP, world_bit=stat.S_IWOTH)
    return _why_not_mode(path, letters, "write", f"{letters}-w")


def why_not_secret(path: Path) -> str:
    """Return why a password is not safe in this file, and the fix, or ""."""
    facts = os.stat(path)
    if owner := _why_not_owner(path, facts):
        return owner
    for what, group_bit, world_bit in (
        ("read", stat.S_IRGRP, stat.S_IROTH),
        ("write", stat.S_IWGRP, stat.S_IWOTH),
    ):
        letters = _others(facts, group_bit=group_bit, world_bit=world_bit)
        if letters:
            return _why_not_mode(path, letters, what, "600")
    return ""


def why_not_keep(folder: Path) -> str:
    """Return why state is not safe in this folder, and the fix, or "".

    Its subfolders count as well.  Raise OSError if that cannot be checked.
    """
    subfolders = [Path(entry) for entry in os.scandir(folder) if entry.is_dir()]
    for path in (folder, *sorted(subfolders)):
        if why := why_not_run(path):
            return f"nothing is kept in the folder {path}: {why}"
    return ""


def can_anybody_replace(folder: str) -> bool:
    """Return whether every user may replace any file in this folder."""
    try:
        mode = os.stat(folder).st_mode
    except OSError:
        # It does not exist any more.
        return False
    return bool(mode & stat.S_IWOTH and not mode & stat.S_ISVTX)


def _why_not_owner(path: Path, facts: os.stat_result) -> str:
    me = os.geteuid()
    if facts.st_uid in (0, me):
        return ""
    trusted = "root" if me == 0 else f"root or {user_name(me)}"
    fix = f"chown {user_name(me)} {_quoted(path)}"
    return f"it belongs to {user_name(facts.st_uid)}, not to {trusted}: {fix}"


def _why_not_mode(path: Path, letters: str, what: str, mode: str) -> str:
    if not letters:
        return ""
    who = "anybody" if "o" in letters else "its group"
    return f"{who} can {what} it: chmod {mode} {_quoted(path)}"


def _quoted(path: Path) -> str:
    import shlex

    return shlex.quote(str(path))


def _others(facts: os.stat_result, *, group_bit: int, world_bit: int) -> str:
    """Return the letters of chmod for those with a right they should not have."""
    group = facts.st_mode & group_bit and not _is_private(facts.st_gid, facts.st_uid)
    letters = "g" if group else ""
    return f"{letters}o" if facts.st_mode & world_bit else letters


@functools.cache
def _is_private(gid: int, owner: int) -> bool:
    """Return whether a group has only the owner, the user who runs us and root."""
    import grp
    import pwd

    trusted = {0, owner, os.geteuid()}
    try:
        members = grp.getgrgid(gid).gr_mem
        uids = {pwd.getpwnam(name).pw_uid for name in members}
    except KeyError:
        return False
    users = {user.pw_uid for user in pwd.getpwall() if user.pw_gid == gid}
    # A group without users may be that of a set-group-id program.
    return users != set() and (uids | users) <= trusted


def user_name(uid: int) -> str:
    """Return a user's name; the number if it has none."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def become(uid: int, gid: int) -> None:
    """Switch to this user for good, as a login does; raise OSError.

    ``gid``: the group of a user without an entry in passwd.
    """
    import pwd

    try:
        user = pwd.getpwuid(uid)
        name, home, gid = user.pw_name, user.pw_dir, user.pw_gid
        groups = os.getgrouplist(name, gid)
    except KeyError:
        # Never root's group: the user's own, as most systems number them.
        name, home, gid = str(uid), "/", gid or uid
        groups = [gid]
    os.setgroups(groups)
    os.setgid(gid)
    os.setuid(uid)
    os.environ.update(HOME=home, USER=name, LOGNAME=name)
    # Root's own.
    os.environ.pop("XDG_RUNTIME_DIR", None)

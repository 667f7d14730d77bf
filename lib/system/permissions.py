"""Who we are, and who else may write what we run or rely on, or read a password.

Root and the user who runs us are trusted.  So is a group of nobody else: the private
group that many systems give each user.
"""

from __future__ import annotations

import functools
import os
import shlex
import stat
from pathlib import Path


def why_not_run(path: Path) -> str:
    """Return why nothing in this file or folder may be run, with the way out.

    Return "" if it may.  Raise OSError if one cannot look.
    """
    facts = os.stat(path)
    return _why_not_owner(path, facts) or why_not_write(path, facts)


def why_not_write(path: Path, facts: os.stat_result | None = None) -> str:
    """Return who else may write the file, with the command that ends it, or ""."""
    facts = facts or os.stat(path)
    letters = _others(facts, group_bit=stat.S_IWGRP, world_bit=stat.S_IWOTH)
    return _why_not_mode(path, letters, "write", f"{letters}-w")


def why_not_secret(path: Path) -> str:
    """Return why a password is not safe in this file, with the way out, or ""."""
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
    """Return why what we remember is not safe in this folder, with the way out, or "".

    Its folders count as well.  Raise OSError if one cannot look.
    """
    inside = [Path(one) for one in os.scandir(folder) if one.is_dir()]
    for path in (folder, *sorted(inside)):
        if why := why_not_run(path):
            return f"nothing is kept in the folder {path}: {why}"
    return ""


def can_anybody_replace(folder: str) -> bool:
    """Return whether every user may replace any file in this folder."""
    try:
        mode = os.stat(folder).st_mode
    except OSError:
        # Gone by now: nobody can.
        return False
    return bool(mode & stat.S_IWOTH and not mode & stat.S_ISVTX)


def _why_not_owner(path: Path, facts: os.stat_result) -> str:
    me = os.geteuid()
    if facts.st_uid in (0, me):
        return ""
    trusted = "root" if me == 0 else f"root or {user_name(me)}"
    way_out = f"chown {user_name(me)} {shlex.quote(str(path))}"
    return f"it belongs to {user_name(facts.st_uid)}, not to {trusted}: {way_out}"


def _why_not_mode(path: Path, letters: str, what: str, mode: str) -> str:
    if not letters:
        return ""
    who = "anybody" if "o" in letters else "its group"
    return f"{who} can {what} it: chmod {mode} {shlex.quote(str(path))}"


def _others(facts: os.stat_result, *, group_bit: int, world_bit: int) -> str:
    """Return the letters of chmod for those who hold the right and should not."""
    group = facts.st_mode & group_bit and not _is_private(facts.st_gid, facts.st_uid)
    return "g" * bool(group) + "o" * bool(facts.st_mode & world_bit)


@functools.cache
def _is_private(gid: int, owner: int) -> bool:
    """Return whether nobody but the owner, the user who runs us and root is in it."""
    import grp
    import pwd

    trusted = {0, owner, os.geteuid()}
    try:
        members = grp.getgrgid(gid).gr_mem
        uids = {pwd.getpwnam(name).pw_uid for name in members}
    except KeyError:
        return False
    users = {user.pw_uid for user in pwd.getpwall() if user.pw_gid == gid}
    # A group that is nobody's own may be that of some set-group-id program.
    return users != set() and (uids | users) <= trusted


def user_name(uid: int) -> str:
    """Return what a user is called; the number of one whom nobody knows."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def become(uid: int, gid: int) -> None:
    """Be this user from here on, as after a login; raise OSError.

    ``gid``: the group of one whom nobody knows.
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

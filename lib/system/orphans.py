"""Processes that jobs left behind outside their worker's process group.

A process that starts a session of its own is not killed with its group.  On Linux the
supervisor becomes the subreaper of everything below it, and kills what is left; so does
a worker that runs commands.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Collection, Iterable
from typing import NamedTuple

logger = logging.getLogger(__name__)

_PR_SET_CHILD_SUBREAPER = 36
#: The children that this process had before, such as those of a shell that exec'd us.
_inherited: set[int] = set()
#: How often to look again: killing a process may orphan its children.
GENERATIONS = 3
#: How long a killed process may take to end; one that waits for a disk does not.
END_S = 0.1


def adopt() -> bool:
    """Become the parent of every orphan below; return whether that is possible."""
    if sys.platform != "linux":
        return False
    if _has_children():
        _inherited.update(_children())
    try:
        import ctypes

        prctl = ctypes.CDLL(None).prctl
        return int(prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)) == 0
    except (ImportError, OSError, AttributeError):
        return False


def end_all(ours: Collection[int]) -> None:
    """Kill the children of this process that are not ``ours``; name each in the log.

    One that does not end, since it waits for a disk or a hung mount, is left behind.
    """
    if not _has_children():
        # The ordinary case, and /proc may list thousands of processes.
        return
    others = {*ours, *_inherited}
    for _ in range(GENERATIONS):
        orphans = {pid: name for pid, name in _children().items() if pid not in others}
        if not orphans:
            return
        for pid, name in orphans.items():
            what = "it is killed"
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                # It has ended by itself.
                continue
            except PermissionError:
                what = "it is another user's, and goes on"
            logger.warning("a job left process %d (%s) behind; %s", pid, name, what)
        _reap(orphans)
        others.update(orphans)


def end_of(session: int, mark: bytes) -> list[str]:
    """Kill what a command left behind among our children; return the names.

    That is what is in its ``session``, or has ``mark`` in its environment: a process
    that starts a session of its own keeps that.
    """
    names: list[str] = []
    for _ in range(10 * GENERATIONS):
        left = [pid for pid in _listed_children() if _is_of(pid, session, mark)]
        if not left:
            break
        for pid in left:
            name = _killed(pid)
            if name:
                names.append(name)
    return names


class Other(NamedTuple):
    """A process that a command left behind and that is another user's."""

    pid: int
    #: Its name and user, for people.
    words: str
    #: False: a command that ran at the same time may have left it.
    is_certain: bool


def others_of(session: int, running: Collection[int]) -> list[Other]:
    """Return what goes on of a command since it is another user's.

    Root ends that.  Of a process that started a session of its own nothing tells whose
    it was: it belongs to none of the ``running`` commands' sessions.
    """
    if os.geteuid() == 0:
        return []
    others = []
    for pid in _listed_children():
        try:
            uid = os.stat(f"/proc/{pid}").st_uid
            own = os.getsid(pid)
            if uid == os.geteuid() or own in running or pid in _inherited:
                continue
            with open(f"/proc/{pid}/stat", errors="replace") as file:
                before, _bracket, after = file.read().rpartition(")")
        except OSError:
            continue
        if after.split()[0] not in "ZX":
            words = f"{before.partition('(')[2]} ({pid}) of {_user(uid)}"
            others.append(Other(pid, words, own == session))
    return others


def _user(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _listed_children() -> list[int]:
    """Return our children as the kernel lists them, which costs little."""
    children: list[int] = []
    try:
        threads = os.listdir("/proc/self/task")
    except OSError:
        return []
    for thread in threads:
        try:
            with open(f"/proc/self/task/{thread}/children") as file:
                children += map(int, file.read().split())
        except OSError:
            # The thread has ended, or this kernel has no such list.
            continue
    return children


def _is_of(pid: int, session: int, mark: bytes) -> bool:
    try:
        if os.getsid(pid) == session:
            return True
        with open(f"/proc/{pid}/environ", "rb") as file:
            return mark in file.read()
    except OSError:
        # It has ended, or it is another user's.
        return False


def _killed(pid: int) -> str:
    """Kill a child; return its name, or "" if it had ended already."""
    try:
        with open(f"/proc/{pid}/stat", errors="replace") as file:
            before, _bracket, after = file.read().rpartition(")")
        os.kill(pid, signal.SIGKILL)
    except OSError:
        return ""
    _reap([pid])
    return "" if after.split()[0] in "ZX" else before.partition("(")[2]


def _reap(killed: Iterable[int]) -> None:
    """Wait for the ends of children, not for long."""
    until = time.monotonic() + END_S
    left = set(killed)
    while left := {pid for pid in left if not _is_reaped(pid)}:
        if time.monotonic() > until:
            return
        time.sleep(0.002)


def _is_reaped(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _children() -> dict[int, str]:
    """Return the children of this process that have not ended, with their names."""
    children: dict[int, str] = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", errors="replace") as file:
                before, _bracket, after = file.read().rpartition(")")
        except OSError:
            continue
        state, parent = after.split()[:2]
        if int(parent) == os.getpid() and state not in "ZX":
            children[int(entry)] = before.partition("(")[2]
    return children

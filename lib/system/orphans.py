"""Processes that jobs left behind outside their worker's process group.

A process that starts a session of its own is not killed with its group.  On Linux the
supervisor becomes the subreaper of everything below it, and kills what is left.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Collection

logger = logging.getLogger(__name__)

_PR_SET_CHILD_SUBREAPER = 36
#: The children that this process had before, such as those of a shell that exec'd us.
_inherited: set[int] = set()
#: How often to look again: killing a process may orphan its children.
GENERATIONS = 3


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
    """Kill the children of this process that are not ``ours``; name each in the log."""
    if not _has_children():
        # The ordinary case, and /proc may list thousands of processes.
        return
    others = {*ours, *_inherited}
    for _ in range(GENERATIONS):
        orphans = {pid: name for pid, name in _children().items() if pid not in others}
        if not orphans:
            return
        for pid, name in orphans.items():
            logger.warning("a job left process %d (%s) behind; it is killed", pid, name)
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            except (ProcessLookupError, ChildProcessError, PermissionError):
                # It ended by itself, or is not our child any more.
                continue


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

"""Processes that jobs left behind, out of reach of their worker's end.

What leaves its session is killed with nobody's group.  So that it is not lost sight of,
the supervisor takes the place of init for all that is started below it (Linux only).
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Collection

logger = logging.getLogger(__name__)

_PR_SET_CHILD_SUBREAPER = 36
#: The children this process was started with: a shell's that became us, say.
_inherited: set[int] = set()
#: As often as killing may bring up others that were theirs.
GENERATIONS = 3


def adopt() -> bool:
    """Become the parent of every orphan below; return whether that can be had."""
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
    others = {*ours, *_inherited}
    for _ in range(GENERATIONS):
        left = {pid: name for pid, name in _children().items() if pid not in others}
        if not left:
            return
        for pid, name in left.items():
            logger.warning("a job left process %d (%s) behind; it is killed", pid, name)
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            except (ProcessLookupError, ChildProcessError, PermissionError):
                # It has ended by itself, or has become somebody else's.
                continue


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _children() -> dict[int, str]:
    """Return the children of this process that have not ended, with their names."""
    us, found = os.getpid(), {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", errors="replace") as file:
                before, _bracket, after = file.read().rpartition(")")
        except OSError:
            continue
        state, parent = after.split()[:2]
        if int(parent) == us and state not in "ZX":
            found[int(entry)] = before.partition("(")[2]
    return found

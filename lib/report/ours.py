"""Which files in other people's folders are ours: those that bear our mark.

Pages and metrics are written where somebody says, beside files of theirs.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

#: What each of our pages has near its beginning.
MARK = '<meta name="generator" content="Checker">'
#: How our metrics begin.
METRICS_MARK = "# HELP checker_"
_HEAD_BYTES = 1000


def is_ours(path: Path) -> bool:
    """Return whether it is a page with our mark, or a file with nothing in it.

    That may be one of ours, as a kill or a power cut leaves it.
    """
    head = _head_of(path)
    return head is not None and (MARK.encode() in head or not head.strip(b"\0"))


def was_written(path: Path) -> bool:
    """Return whether a run wrote it: it has our mark, as a page or as metrics."""
    head = _head_of(path) or b""
    return any(mark.encode() in head for mark in (MARK, METRICS_MARK))


def _head_of(path: Path) -> bytes | None:
    """Return how a file begins; None: it is none, or cannot be read."""
    try:
        # Not a link, and a pipe is not waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        return os.read(descriptor, _HEAD_BYTES) if is_file else None
    except OSError:
        return None
    finally:
        os.close(descriptor)

"""What a child process is in its own eyes: what it has, how it tells, how it ends.

``lib/process.py`` is how its parent sees it.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import sys
import threading
from collections.abc import Callable, Collection
from typing import Any, NoReturn, Protocol

from lib import plain
from lib.disk import write_whole
from lib.inherited import reset_signals_of_child
from lib.shortage import shortage

#: What stands before each frame.
LENGTH = struct.Struct(">I")
#: Exit codes of a child whose own work broke down, that cannot tell any more, or that
#: could not have what the system keeps short.
BROKEN, CUT_OFF, SHORT = 70, 71, 72


class Tell(Protocol):
    """Sends frames to the parent, from any thread, all or none of them in between."""

    def __call__(self, *frames: Any) -> None: ...


def be_the_child(
    work: Callable[[Tell], None],
    frames_write: int,
    printed_write: int,
    lifeline: int,
    leave: Collection[int] | None,
) -> NoReturn:
    """Do the work, and end.

    The descriptors to ``leave`` are closed; None: all but the child's own.
    """
    status = BROKEN
    try:
        os.setsid()
        reset_signals_of_child()
        _take_standard_streams(printed_write)
        if leave is None:
            leave = _open_descriptors() - {0, 1, 2, frames_write, lifeline}
        for descriptor in leave:
            _close_quietly(descriptor)
        _die_with_parent(lifeline)
        work(_teller(frames_write))
        status = 0
    except BaseException as error:  # noqa: B036  # we end right here
        status, words = _last_words(error)
        write_whole(2, words.encode("utf-8", "replace"))
    finally:
        # Threads left behind must not keep the process; nothing is flushed twice.
        os._exit(status)


def _take_standard_streams(printed_write: int) -> None:
    """Take the child's own standard streams; the parent's do not fit."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(printed_write, 1)
    os.dup2(printed_write, 2)
    os.close(nothing)
    os.close(printed_write)
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__


def _last_words(error: BaseException) -> tuple[int, str]:
    """Return the exit code of a child that ends in an error, and what it says."""
    # Memory is used up by somebody, who is to be named.
    words = "" if isinstance(error, MemoryError) else shortage(error)
    if words:
        return SHORT, f"{words}\n"
    import traceback

    return BROKEN, "".join(traceback.format_exception(error))


def _open_descriptors() -> set[int]:
    try:
        return {int(name) for name in os.listdir("/dev/fd")}
    except OSError:
        return set(range(3, 1024))


def _die_with_parent(lifeline: int) -> None:
    """Have the kernel kill us and what we start when the parent's end is closed.

    It needs no thread of ours, so a loop in C that lets no other run is no hindrance.
    Elsewhere than on Linux a child ends when it next tells something.
    """
    if not hasattr(fcntl, "F_SETSIG"):
        return
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
    flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | os.O_ASYNC)
    # The parent may have gone before that.
    if select.select([lifeline], [], [], 0)[0]:
        os._exit(0)


def _teller(descriptor: int) -> Tell:
    lock = threading.Lock()

    def tell(*frames: Any) -> None:
        parts = bytearray()
        for frame in frames:
            body = plain.dumps(frame).encode("ascii")
            parts += LENGTH.pack(len(body)) + body
        try:
            with lock:
                write_whole(descriptor, parts)
        except OSError:
            # The parent is gone, or job code has closed what it did not open.
            os._exit(CUT_OFF)

    return tell


def _close_quietly(descriptor: int) -> None:
    try:
        os.close(descriptor)
    except OSError:
        return

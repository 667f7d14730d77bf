"""A child process that tells, frame by frame, what it does, and that may be killed.

A frame is one JSON value behind its length.  The child has a session of its own, so
that killing it takes along what it started, and it is killed when its parent is gone.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Iterator
from typing import Any

from lib import plain
from lib.child import BROKEN, CUT_OFF, LENGTH, Tell, be_the_child

#: Larger than any report; what claims to be longer is noise.
MAX_FRAME = 64 * 1024 * 1024
#: As much of what a child prints as is kept.
MAX_PRINTED = 64 * 1024
#: After SIGKILL only a wait for a disk keeps a process; nobody waits for that.
KILL_TIMEOUT_S = 1.0


class Child:
    """A child at work, as its parent sees it."""

    def __init__(self, pid: int, frames_fd: int, printed_fd: int, lifeline: int):
        self.pid = pid
        self.frames_fd = frames_fd
        self.printed_fd = printed_fd
        #: Readable when the child has ended; -1 where the system has no such thing.
        self.ended_fd = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else -1
        #: The exit status as waitpid gives it; None while it runs.
        self.status: int | None = None
        self.printed = b""
        self._lifeline = lifeline
        self._buffer = bytearray()

    def frames(self) -> Iterator[Any]:
        """Yield the frames that have come whole; never wait.

        What is no frame ends the conversation: the child is killed.
        """
        self._drain()
        while len(self._buffer) >= LENGTH.size:
            (length,) = LENGTH.unpack_from(self._buffer)
            if length > MAX_FRAME:
                return self._garble()
            end = LENGTH.size + length
            if len(self._buffer) < end:
                return None
            body = bytes(self._buffer[LENGTH.size : end])
            del self._buffer[:end]
            try:
                frame = plain.loads(body)
            except ValueError:
                return self._garble()
            yield frame

    def read_printed(self) -> None:
        """Keep what the child printed, up to MAX_PRINTED; the rest is let go."""
        # As much at once as a pipe holds: one that prints without end gets no more.
        for _ in range(MAX_PRINTED // 4096):
            part = _read(self.printed_fd)
            if part is None:
                return
            if not part:
                self._close("printed_fd")
                return
            self.printed = (self.printed + part)[:MAX_PRINTED]

    def has_ended(self) -> bool:
        """Return whether the child is gone; what it started goes with it."""
        if self.status is None:
            look = os.WEXITED | os.WNOHANG | os.WNOWAIT
            if os.waitid(os.P_PID, self.pid, look) is not None:
                # Before its number is given back, so that nobody else has it.
                _kill_group(self.pid)
                _pid, self.status = os.waitpid(self.pid, 0)
                at_work.discard(self.pid)
        return self.status is not None

    def end(self) -> None:
        """Kill the child, and what it started, if still there; free everything."""
        if not self.has_ended():
            _kill_group(self.pid)
            os.kill(self.pid, signal.SIGKILL)
            self._await_end()
        for name in ("frames_fd", "printed_fd", "ended_fd", "_lifeline"):
            self._close(name)

    def _await_end(self) -> None:
        waiting = select.poll()
        if self.ended_fd >= 0:
            waiting.register(self.ended_fd, select.POLLIN)
        for _ in range(int(KILL_TIMEOUT_S / 0.05)):
            waiting.poll(50)
            if self.has_ended():
                return

    def _close(self, name: str) -> None:
        descriptor = getattr(self, name)
        if descriptor >= 0:
            _parents_ends.discard(descriptor)
            os.close(descriptor)
            setattr(self, name, -1)

    def _drain(self) -> None:
        # More at once than a pipe holds, and no more: another may have news too.
        for _ in range(64):
            part = _read(self.frames_fd)
            if part is None:
                return
            if not part:
                self._close("frames_fd")
            self._buffer += part

    def _garble(self) -> None:
        self._buffer.clear()
        _kill_group(self.pid)


#: Descriptors of the parent's that a new child must not hold open.
_parents_ends: set[int] = set()
#: The processes that were started here and have not ended.
at_work: set[int] = set()


def start(work: Callable[[Tell], None], *, alone: bool = False) -> Child:
    """Return a child that runs ``work``, with a function that sends frames.

    The child ends when ``work`` returns, and never comes back into our code.  One
    that is ``alone`` has nothing of its parent's open: no log, no lock, no terminal.
    Raise OSError if there can be no more processes.
    """
    pipes: list[int] = []
    try:
        for _ in range(3):
            pipes += os.pipe()
        pid = os.fork()
    except OSError:
        for descriptor in pipes:
            os.close(descriptor)
        raise
    frames_read, frames_write, printed_read, printed_write, lifeline, ours = pipes
    mine = {frames_read, printed_read, ours}
    if pid == 0:
        leave = None if alone else _parents_ends | mine
        be_the_child(work, frames_write, printed_write, lifeline, leave)
    for theirs in (frames_write, printed_write, lifeline):
        os.close(theirs)
    for descriptor in (frames_read, printed_read):
        os.set_blocking(descriptor, False)
    _parents_ends.update(mine)
    at_work.add(pid)
    return Child(pid, frames_read, printed_read, ours)


def wait(children: list[Child], timeout_s: float) -> None:
    """Return when a child has something to tell, has ended, or the time is over."""
    poll = select.poll()
    for child in children:
        for descriptor in (child.frames_fd, child.printed_fd, child.ended_fd):
            if descriptor >= 0:
                poll.register(descriptor, select.POLLIN)
        if child.ended_fd < 0:
            timeout_s = min(timeout_s, 0.05)
    poll.poll(max(0, int(timeout_s * 1000) + 1))


def how_it_ended(status: int) -> str:
    """Return in words why a process is gone that should not be."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return f"killed by {name}{hint}"
    code = os.waitstatus_to_exitcode(status)
    if code == BROKEN:
        return "broke down, which is a fault of Checker's own"
    if code == CUT_OFF:
        return "closed descriptors that are not its own"
    return f"called os._exit({code})"


def _read(descriptor: int) -> bytes | None:
    """Return what can be read: nothing at its end, None if there is nothing yet."""
    if descriptor < 0:
        return None
    try:
        return os.read(descriptor, 65536)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        # Nobody is left in it, or it is not made yet.
        return

"""A child process that tells, frame by frame, what it does, and that may be killed.

A frame is one JSON value behind its length.  The child has a session of its own, so
that killing it takes along what it started; it notices when its parent is gone.
"""

from __future__ import annotations

import os
import select
import signal
import struct
from collections.abc import Callable, Iterator
from typing import Any

from lib import plain

_LENGTH = struct.Struct(">I")
#: Larger than any report; what claims to be longer is noise.
MAX_FRAME = 64 * 1024 * 1024
#: As much of what a child prints as is kept.
MAX_PRINTED = 64 * 1024

Tell = Callable[[Any], None]


class Child:
    """A child at work, as its parent sees it."""

    def __init__(self, pid: int, frames_fd: int, printed_fd: int, lifeline: int):
        self.pid = pid
        self.frames_fd = frames_fd
        self.printed_fd = printed_fd
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
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if length > MAX_FRAME:
                return self._garble()
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                return None
            body = bytes(self._buffer[_LENGTH.size : end])
            del self._buffer[:end]
            try:
                frame = plain.loads(body)
            except ValueError:
                return self._garble()
            yield frame

    def read_printed(self) -> None:
        """Keep what the child printed, up to MAX_PRINTED; the rest is let go."""
        while (part := _read(self.printed_fd)) is not None:
            if not part:
                _close(self.printed_fd)
                self.printed_fd = -1
                return
            self.printed = (self.printed + part)[:MAX_PRINTED]

    def has_ended(self) -> bool:
        """Return whether the child is gone; its status is kept then."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = status
        return self.status is not None

    def end(self) -> None:
        """Kill the child, and what it started, if it is still there; free everything."""
        if not self.has_ended():
            _kill_group(self.pid)
            os.kill(self.pid, signal.SIGKILL)
            _pid, self.status = os.waitpid(self.pid, 0)
        # What it started outlives it, in the group that has its number.
        _kill_group(self.pid)
        for name in ("frames_fd", "printed_fd", "_lifeline"):
            descriptor = getattr(self, name)
            if descriptor >= 0:
                _close(descriptor)
                setattr(self, name, -1)

    def _drain(self) -> None:
        while self.frames_fd >= 0 and (part := _read(self.frames_fd)) is not None:
            if not part:
                _close(self.frames_fd)
                self.frames_fd = -1
            self._buffer += part

    def _garble(self) -> None:
        self._buffer.clear()
        _kill_group(self.pid)


#: Descriptors of the parent's that a new child must not hold open.
_parents_ends: set[int] = set()


def start(work: Callable[[Tell], None]) -> Child:
    """Return a child that runs ``work``, with a function that sends a frame.

    The child ends when ``work`` returns, and never comes back into our code.
    """
    frames_read, frames_write = os.pipe()
    printed_read, printed_write = os.pipe()
    lifeline_read, lifeline_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 70
        try:
            os.setsid()
            for mine in (frames_read, printed_read, lifeline_write, *_parents_ends):
                _close_quietly(mine)
            _become_child(printed_write)
            work(_teller(frames_write, lifeline_read))
            status = 0
        finally:
            # Threads left behind must not keep the process; nothing is flushed twice.
            os._exit(status)
    for theirs in (frames_write, printed_write, lifeline_read):
        os.close(theirs)
    for descriptor in (frames_read, printed_read):
        os.set_blocking(descriptor, False)
    _parents_ends.update((frames_read, printed_read, lifeline_write))
    return Child(pid, frames_read, printed_read, lifeline_write)


def wait(children: list[Child], timeout_s: float) -> None:
    """Return when a child has something to tell, has ended, or the time is over."""
    poll = select.poll()
    for child in children:
        for descriptor in (child.frames_fd, child.printed_fd):
            if descriptor >= 0:
                poll.register(descriptor, select.POLLIN)
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
    return f"called os._exit({os.waitstatus_to_exitcode(status)})"


def _become_child(printed_write: int) -> None:
    """Take the child's own standard streams; undo what the parent set up."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGPIPE, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(printed_write, 1)
    os.dup2(printed_write, 2)
    os.close(nothing)
    os.close(printed_write)


def _teller(descriptor: int, lifeline: int) -> Tell:
    """Return the function that sends a frame; it ends us when the parent is gone."""

    def tell(frame: Any) -> None:
        ready, _, _ = select.select([lifeline], [], [], 0)
        if ready:
            os._exit(0)
        body = plain.dumps(frame).encode("ascii")
        data = memoryview(_LENGTH.pack(len(body)) + body)
        while data:
            data = data[os.write(descriptor, data) :]

    return tell


def _read(descriptor: int) -> bytes | None:
    """Return what there is to read: nothing at its end, None if there is nothing yet."""
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


def _close(descriptor: int) -> None:
    _parents_ends.discard(descriptor)
    os.close(descriptor)


def _close_quietly(descriptor: int) -> None:
    try:
        os.close(descriptor)
    except OSError:
        return

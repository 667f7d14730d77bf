"""A child process that tells, frame by frame, what it does, and that may be killed.

A frame is one JSON value behind its length.  The child has a session of its own, so
that killing it takes along what it started, and it is killed when its parent is gone.

What a child process is in its own eyes: what it has, how it tells, how it ends.

``lib/system/process.py`` is how its parent sees it.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import select
import signal
import struct
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from types import FrameType
from typing import Any, NoReturn, Protocol

from lib.core import plain
from lib.system.errors import shortage
from lib.system.files import write_whole
from lib.system.startup import reset_signals_of_child

logger = logging.getLogger(__name__)

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

    @property
    def was_short(self) -> bool:
        """Return whether it ended for what the system would not give; it says what."""
        status = self.status
        return status is not None and status == SHORT << 8

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
#: What was said of processes that could not be started.
_said: set[str] = set()


def start(work: Callable[[Emit], None], *, alone: bool = False) -> Child:
    """Return a child that runs ``work``, with a function that sends frames.

    The child ends when ``work`` returns, and never comes back into our code.  One
    that is ``alone`` has nothing of its parent's open: no log, no lock, no terminal.
    Raise OSError if there can be no more processes; it names the limit.
    """
    pipes: list[int] = []
    try:
        for _ in range(3):
            pipes += os.pipe()
        pid = os.fork()
    except OSError as error:
        for descriptor in pipes:
            os.close(descriptor)
        say_once(words := _why_no_process(error))
        raise OSError(error.errno, words) from error
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


def do_here(work: Callable[[Emit], None], limit_s: float) -> Child:
    """Do the work in this process, where there can be no other; return its end.

    What waits for longer than the limit is interrupted by a TimeoutError.
    """
    frames: list[Any] = []
    is_over = False

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        if not is_over:
            raise TimeoutError(errno.ETIMEDOUT, "it took too long")

    def emit(*some: Any) -> None:
        frames.extend(plain.loads(plain.dumps(frame)) for frame in some)

    printed = ""
    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, max(0.01, limit_s), 1.0)
    try:
        work(emit)
    except Exception as error:
        printed = shortage(error) or f"{type(error).__name__}: {error}"
    finally:
        is_over = True
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    return _Done(frames, printed)


class _Done(Child):
    """What was done here, as a child that has ended."""

    def __init__(self, frames: list[Any], printed: str) -> None:
        self.pid = 0
        self.frames_fd = self.printed_fd = self.ended_fd = self._lifeline = -1
        self.status = 0
        self.printed = printed.encode("utf-8", "replace")
        self._frames = frames

    def frames(self) -> Iterator[Any]:
        """Yield the frames that are left."""
        while self._frames:
            yield self._frames.pop(0)


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
        return "failed, which is a bug in Checker"
    if code == SHORT:
        return "hit a limit of the system"
    if code == CUT_OFF:
        return "closed file descriptors of others"
    return f"called os._exit({code})"


def _why_no_process(error: OSError) -> str:
    words = shortage(error, of_process=True)
    return words or f"no process can be started: {error.strerror}"


def say_once(words: str) -> None:
    """Log what cannot be had, unless that was said in this run."""
    if words not in _said:
        _said.add(words)
        logger.error("%s; the run goes on without it", words)


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


#: What stands before each frame.
LENGTH = struct.Struct(">I")
#: Exit codes of a child whose own work broke down, that cannot tell any more, or that
#: could not have what the system keeps short.
BROKEN, CUT_OFF, SHORT = 70, 71, 72


class Emit(Protocol):
    """Sends frames to the parent, from any thread, all or none of them in between."""

    def __call__(self, *frames: Any) -> None: ...


def be_the_child(
    work: Callable[[Emit], None],
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


def _teller(descriptor: int) -> Emit:
    lock = threading.Lock()

    def emit(*frames: Any) -> None:
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

    return emit


def _close_quietly(descriptor: int) -> None:
    try:
        os.close(descriptor)
    except OSError:
        return

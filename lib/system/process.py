"""Child processes that send frames to their parent, killed with all they start.

A frame is one JSON value with its length in front.  ``start`` forks a child in a
session of its own; ``Child`` is the parent's side, ``be_the_child`` the child's.  A
child is killed when its parent is gone.
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

from lib.core import encoding
from lib.system.errors import shortage
from lib.system.files import write_whole
from lib.system.startup import reset_signals_of_child

logger = logging.getLogger(__name__)

#: Larger than any report; a longer frame is garbage.
MAX_FRAME = 64 * 1024 * 1024
#: The most of a child's output that is kept.
MAX_PRINTED = 64 * 1024
#: How long to wait after SIGKILL; only a blocked disk delays the end that long.
KILL_TIMEOUT_S = 1.0
#: The length in front of each frame.
LENGTH = struct.Struct(">I")
#: Exit codes of a child: its work raised an error, it cannot write to its parent, or
#: it hit a limit of the system.
BROKEN, CUT_OFF, SHORT = 70, 71, 72


class Child:
    """A running child, as its parent sees it."""

    def __init__(self, pid: int, frames_fd: int, printed_fd: int, lifeline: int):
        self.pid = pid
        self.frames_fd = frames_fd
        self.printed_fd = printed_fd
        #: Readable when the child has ended; -1 if the system has no pidfd.
        self.ended_fd = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else -1
        #: The exit status as waitpid gives it; None while it runs.
        self.status: int | None = None
        self.printed = b""
        self._lifeline = lifeline
        self._buffer = bytearray()

    def frames(self) -> Iterator[Any]:
        """Yield the complete frames; never wait.

        A child that sends anything else is killed.
        """
        self._drain()
        while len(self._buffer) >= LENGTH.size:
            (length,) = LENGTH.unpack_from(self._buffer)
            if length > MAX_FRAME:
                return self._kill_for_garbage()
            end = LENGTH.size + length
            if len(self._buffer) < end:
                return None
            body = bytes(self._buffer[LENGTH.size : end])
            del self._buffer[:end]
            try:
                frame = encoding.decode(body)
            except ValueError:
                return self._kill_for_garbage()
            yield frame

    def read_printed(self) -> None:
        """Keep what the child printed, up to MAX_PRINTED; discard the rest."""
        # At most one pipe full: a child that prints without end gets no more.
        for _ in range(MAX_PRINTED // 4096):
            part = _read(self.printed_fd)
            if part is None:
                return
            if not part:
                self._close("printed_fd")
                return
            self.printed = (self.printed + part)[:MAX_PRINTED]

    def has_ended(self) -> bool:
        """Return whether the child has ended; kill what it started if so."""
        if self.status is None:
            look = os.WEXITED | os.WNOHANG | os.WNOWAIT
            if os.waitid(os.P_PID, self.pid, look) is not None:
                # Before waitpid frees the pid, which another process could get.
                _kill_group(self.pid)
                _pid, self.status = os.waitpid(self.pid, 0)
                at_work.discard(self.pid)
        return self.status is not None

    @property
    def was_short(self) -> bool:
        """Return whether it ended because of a system limit, which its output names."""
        status = self.status
        return status is not None and status == SHORT << 8

    def end(self, timeout_s: float = KILL_TIMEOUT_S) -> None:
        """Kill the child, and what it started, if still running; close everything.

        One that is killed has so long to end; where ``status`` is None then, the kernel
        does not let go of it.
        """
        if not self.has_ended():
            _kill_group(self.pid)
            os.kill(self.pid, signal.SIGKILL)
            self._await_end(timeout_s)
        for name in ("frames_fd", "printed_fd", "ended_fd", "_lifeline"):
            self._close(name)

    def _await_end(self, timeout_s: float) -> None:
        waiting = select.poll()
        if self.ended_fd >= 0:
            waiting.register(self.ended_fd, select.POLLIN)
        for _ in range(int(timeout_s / 0.05)):
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
        # A few pipes full at most: other children send frames, too.
        for _ in range(64):
            part = _read(self.frames_fd)
            if part is None:
                return
            if not part:
                self._close("frames_fd")
            self._buffer += part

    def _kill_for_garbage(self) -> None:
        self._buffer.clear()
        _kill_group(self.pid)


#: The parent's descriptors, which a new child must close.
_parents_ends: set[int] = set()
#: The children that have not ended.
at_work: set[int] = set()
#: The errors that were logged once.
_logged: set[str] = set()


def start(work: Callable[[Emit], None], *, alone: bool = False) -> Child:
    """Return a child that runs ``work``, with a function that sends frames.

    The child ends when ``work`` returns, and never returns into our code.  With
    ``alone`` it holds nothing of its parent open: log, lock or terminal.
    Raise OSError, which names the limit, if no process can be started.
    """
    pipes: list[int] = []
    try:
        for _ in range(3):
            pipes += os.pipe()
        pid = os.fork()
    except OSError as error:
        for descriptor in pipes:
            os.close(descriptor)
        log_once(words := _why_no_process(error))
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
    """Do the work in this process, if no child can be started; return the result.

    Work that takes longer than the limit is interrupted by a TimeoutError.
    """
    frames: list[Any] = []
    is_over = False

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        if not is_over:
            raise TimeoutError(errno.ETIMEDOUT, "it took too long")

    def emit(*new: Any) -> None:
        frames.extend(encoding.decode(encoding.encode(frame)) for frame in new)

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
    """Work that was done in this process, as a child that has ended."""

    def __init__(self, frames: list[Any], printed: str) -> None:
        self.pid = 0
        self.frames_fd = self.printed_fd = self.ended_fd = self._lifeline = -1
        self.status = 0
        self.printed = printed.encode("utf-8", "replace")
        self._frames = frames

    def frames(self) -> Iterator[Any]:
        """Yield the remaining frames."""
        while self._frames:
            yield self._frames.pop(0)


def wait(children: list[Child], timeout_s: float) -> None:
    """Return when a child has sent something, has ended, or the time is over."""
    poll = select.poll()
    for child in children:
        for descriptor in (child.frames_fd, child.printed_fd, child.ended_fd):
            if descriptor >= 0:
                poll.register(descriptor, select.POLLIN)
        if child.ended_fd < 0:
            timeout_s = min(timeout_s, 0.05)
    poll.poll(max(0, int(timeout_s * 1000) + 1))


def how_it_ended(status: int) -> str:
    """Return in words how a process ended that should not have."""
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


def log_once(words: str) -> None:
    """Log an error about a limit, once in a run."""
    if words not in _logged:
        _logged.add(words)
        logger.error("%s; the run goes on without it", words)


def _read(descriptor: int) -> bytes | None:
    """Return what can be read: b"" at the end, None if there is nothing yet."""
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
        # The group is empty, or does not exist yet.
        return


class Emit(Protocol):
    """Sends frames to the parent, from any thread, without others in between."""

    def __call__(self, *frames: Any) -> None: ...


def be_the_child(
    work: Callable[[Emit], None],
    frames_write: int,
    printed_write: int,
    lifeline: int,
    leave: Collection[int] | None,
) -> NoReturn:
    """Do the work, and end this process.

    The descriptors of ``leave`` are closed; None: all but the child's own.
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
        work(_emitter(frames_write))
        status = 0
    except BaseException as error:  # noqa: B036  # the process ends here
        status, words = _last_words(error)
        write_whole(2, words.encode("utf-8", "replace"))
    finally:
        # Remaining threads must not delay the end; nothing is flushed twice.
        os._exit(status)


def _take_standard_streams(printed_write: int) -> None:
    """Replace the parent's standard streams by the child's own."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(printed_write, 1)
    os.dup2(printed_write, 2)
    os.close(nothing)
    os.close(printed_write)
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__


def _last_words(error: BaseException) -> tuple[int, str]:
    """Return the exit code and the last words of a child that ends in an error."""
    # For a MemoryError the traceback shows who used up the memory.
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

    It needs no thread, so it works even if C code holds the interpreter.  On other
    systems than Linux a child ends when it next sends a frame.
    """
    if not hasattr(fcntl, "F_SETSIG"):
        return
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
    flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | os.O_ASYNC)
    # The parent may have ended before that.
    if select.select([lifeline], [], [], 0)[0]:
        os._exit(0)


def _emitter(descriptor: int) -> Emit:
    lock = threading.Lock()

    def emit(*frames: Any) -> None:
        parts = bytearray()
        for frame in frames:
            body = encoding.encode(frame)
            parts += LENGTH.pack(len(body)) + body
        try:
            with lock:
                write_whole(descriptor, parts)
        except OSError:
            # The parent is gone, or job code closed a descriptor of ours.
            os._exit(CUT_OFF)

    return emit


def _close_quietly(descriptor: int) -> None:
    try:
        os.close(descriptor)
    except OSError:
        return

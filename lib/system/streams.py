"""Standard output and error that never stop or delay a run.

Diagnostics (the log, notes, errors) are best effort: a reader that does not read, or a
full disk, costs a run about a second and no more.  Requested output (a table, JSON)
waits for its reader, and if it cannot be written, one line says so.
"""

from __future__ import annotations

import io
import os
import select
import stat
import sys
import time
from typing import Any, TextIO, cast

#: The total time that diagnostics wait for a reader.
PATIENCE_S = 1.0
#: A pipe that poll() calls writable takes this many bytes without blocking.
_AT_ONCE = 512
_LOOK_AGAIN_S = 0.01


class OutputError(OSError):
    """Standard output cannot be written."""


def best_effort(descriptor: int) -> TextIO:
    """Return a stream for diagnostics, with a descriptor of its own."""
    return io.TextIOWrapper(
        # TextIOWrapper works with a raw stream, too.
        cast(io.BufferedWriter, _BestEffort(descriptor)),
        encoding="utf-8",
        errors="backslashreplace",
        line_buffering=True,
    )


def error_stream() -> TextIO:
    """Return standard error as a stream for diagnostics."""
    if isinstance(getattr(sys.stderr, "buffer", None), _BestEffort):
        return sys.stderr
    return best_effort(sys.stderr.fileno())


def output() -> TextIO:
    """Return standard output as a stream for requested output."""
    raw = _Output(1, "wb", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=sys.stdout.encoding,
        errors="backslashreplace",
        line_buffering=raw.isatty(),
    )


class _BestEffort(io.RawIOBase):
    """A raw stream whose writes never raise, and wait PATIENCE_S in total."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, kind = _separate_descriptor(descriptor)
        self._is_file = stat.S_ISREG(kind)
        self._socket: Any = None
        if stat.S_ISSOCK(kind):
            import socket

            self._socket = socket.socket(fileno=self._descriptor)
        self._patience_s = PATIENCE_S

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: Any) -> int:
        left = memoryview(bytes(data))
        length = len(left)
        try:
            while left and self._is_ready():
                left = left[self._write_some(left) :]
        except OSError:
            # The reader is gone, or the disk is full.
            pass
        return length

    def _is_ready(self) -> bool:
        if self._is_file:
            return True
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        if poll.poll(0):
            return True
        began = time.monotonic()
        is_ready = bool(poll.poll(self._patience_s * 1000))
        self._patience_s -= min(self._patience_s, time.monotonic() - began)
        return is_ready

    def _write_some(self, data: memoryview) -> int:
        try:
            if self._is_file:
                return os.write(self._descriptor, data)
            if self._socket is not None:
                return int(self._socket.send(data[:_AT_ONCE], _DONTWAIT))
            return os.write(self._descriptor, data[:_AT_ONCE])
        except BlockingIOError:
            if self._patience_s <= 0:
                raise
            self._patience_s -= _LOOK_AGAIN_S
            time.sleep(_LOOK_AGAIN_S)
            return 0


#: socket.MSG_DONTWAIT, without loading the module for it.
_DONTWAIT = 0x40 if sys.platform == "linux" else 0x80


def _separate_descriptor(descriptor: int) -> tuple[int, int]:
    """Return a descriptor of the same file that does not block, and the file's mode.

    It is opened again, as O_NONBLOCK on the original would apply to all who share it.
    If that is not possible (a socket, a file, another system), it is a duplicate, which
    may block if another process fills the pipe between poll and write.
    """
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISFIFO(mode) or os.isatty(descriptor):
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            try:
                return os.open(f"/proc/self/fd/{descriptor}", flags), mode
            except OSError:
                pass  # duplicate it
        return os.dup(descriptor), mode
    except OSError:
        # No descriptor is free, or this one is closed.
        return descriptor, 0


class _Output(io.FileIO):
    """Standard output, whose errors are raised as OutputError."""

    _is_lost = False

    def write(self, data: Any) -> int:
        while not self._is_lost:
            try:
                written = super().write(data)
            except OSError as error:
                self._is_lost = True
                if isinstance(error, BrokenPipeError):
                    raise
                raise OutputError(error.errno, error.strerror) from error
            if written is not None:
                return written
            # The descriptor was set to non-blocking; wait for the reader all the same.
            poll = select.poll()
            poll.register(1, select.POLLOUT)
            poll.poll()
        # Discard what is left in the buffers.
        return len(memoryview(data).cast("B"))

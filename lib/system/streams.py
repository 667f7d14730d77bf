"""Standard output and error that stop nobody, whatever is behind them.

What is said on the way (the log, notes, errors) is written as far as it is taken: a
reader that does not read, or a full disk, costs a run about a second and no more.
What was asked for (a table, JSON) waits for its reader as everywhere, and where it
cannot be written, one line says so.
"""

from __future__ import annotations

import io
import os
import select
import stat
import sys
import time
from typing import Any, TextIO, cast

#: As long as is waited for a reader, all in all.
PATIENCE_S = 1.0
#: A reader that is ready takes so much from us at once, whatever else it is sent.
_AT_ONCE = 512
_LOOK_AGAIN_S = 0.01


class OutputError(OSError):
    """Standard output cannot be written."""


def best_effort(descriptor: int) -> TextIO:
    """Return a stream for what is said on the way, with a descriptor of its own."""
    return io.TextIOWrapper(
        # Raw is enough for it.
        cast(io.BufferedWriter, _BestEffort(descriptor)),
        encoding="utf-8",
        errors="backslashreplace",
        line_buffering=True,
    )


def error_stream() -> TextIO:
    """Return standard error as a stream for what is said on the way."""
    if isinstance(getattr(sys.stderr, "buffer", None), _BestEffort):
        return sys.stderr
    return best_effort(sys.stderr.fileno())


def output() -> TextIO:
    """Return standard output as a stream for what was asked for."""
    raw = _Output(1, "wb", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=sys.stdout.encoding,
        errors="backslashreplace",
        line_buffering=raw.isatty(),
    )


class _BestEffort(io.RawIOBase):
    """Where writing never raises, and waits for PATIENCE_S altogether."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, kind = _descriptor_of_its_own(descriptor)
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
            # Nobody is there, or the disk is full.
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


def _descriptor_of_its_own(descriptor: int) -> tuple[int, int]:
    """Return a descriptor of the same file that does not block, and the file's mode.

    It is opened anew, for what is set on this one is set for all who share it.  Where
    that cannot be had (a socket, a file, another system), a copy that may block, if
    somebody fills it between a look and a write.
    """
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISFIFO(mode) or os.isatty(descriptor):
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            try:
                return os.open(f"/proc/self/fd/{descriptor}", flags), mode
            except OSError:
                pass  # as it is, then
        return os.dup(descriptor), mode
    except OSError:
        # None is to be had, or there is none.
        return descriptor, 0


class _Output(io.FileIO):
    """Standard output, that says of an error that it is its own."""

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
            # Somebody has set it not to block; its reader is waited for all the same.
            poll = select.poll()
            poll.register(1, select.POLLOUT)
            poll.poll()
        # What is left in buffers has nowhere to go.
        return len(memoryview(data).cast("B"))

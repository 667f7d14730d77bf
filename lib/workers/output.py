"""Captures what job code prints and logs, and keeps it with the running job.

Text from ``print`` belongs to the job of its thread.  Output to descriptors 1 and 2,
mostly of child processes, cannot be assigned, so each running job keeps it.  All output
is also sent to the supervisor, which still has it if this process crashes.
"""

from __future__ import annotations

import io
import logging
import os
import select
import sys
import threading

from lib.system.files import write_whole
from lib.system.process import MAX_PRINTED

#: Kept beyond what is shown, so that a secret at the end is found and removed whole.
_MARGIN = 4096


class KeptOutput:
    """What one job has printed; ``shared`` if it may be the output of another job."""

    def __init__(self) -> None:
        self._data = bytearray()
        self.shared = False

    def add(self, data: bytes) -> None:
        """Keep ``data``, up to the limit."""
        left = MAX_PRINTED + _MARGIN - len(self._data)
        if left > 0:
            self._data += data[:left]

    @property
    def text(self) -> str:
        """Return the output that was kept."""
        return self._data.decode("utf-8", "replace")


class OutputCapture:
    """Captures standard output and error of this process from its creation on."""

    def __init__(self) -> None:
        #: To the supervisor.  Not blocking: if the pipe is full, output is dropped.
        self.outside = os.dup(2)
        os.set_blocking(self.outside, False)
        self._left = MAX_PRINTED
        self._local = threading.local()
        self._running: set[KeptOutput] = set()
        self._lock = threading.Lock()
        self._inside, write = os.pipe()
        os.set_blocking(self._inside, False)
        # Before anything is redirected, since starting a thread may fail.
        threading.Thread(target=self._listen, daemon=True).start()
        for descriptor in (1, 2):
            os.dup2(write, descriptor)
        os.close(write)
        sys.stdout = self._stream(1)
        sys.stderr = self._stream(2)

    def begin(self, kept: KeptOutput) -> None:
        """Keep in ``kept`` what this thread prints from here on."""
        self._local.kept = kept
        self._running.add(kept)

    def end(self, kept: KeptOutput) -> None:
        """Stop keeping output in ``kept``; any thread may call this."""
        self._running.discard(kept)
        if getattr(self._local, "kept", None) is kept:
            self._local.kept = None

    def take(self, data: bytes, *, mine: bool = True) -> None:
        """Keep what was printed, by this thread if it is ``mine``."""
        self._pass_on(data)
        kept = getattr(self._local, "kept", None) if mine else None
        if kept is not None:
            kept.add(data)
            return
        running = list(self._running)
        for kept in running:
            kept.add(data)
            kept.shared = kept.shared or len(running) > 1

    def drain(self) -> None:
        """Keep what has arrived through the descriptors, without waiting."""
        with self._lock:
            while data := self._read():
                self.take(data, mine=False)

    def release(self) -> None:
        """Capture no more: what is printed from here on goes to the supervisor."""
        self.drain()
        for descriptor in (1, 2):
            os.dup2(self.outside, descriptor)

    def _listen(self) -> None:
        waiting = select.poll()
        waiting.register(self._inside, select.POLLIN)
        while True:
            # Any other event means that job code closed our descriptor.
            if any(event & select.POLLIN == 0 for _fd, event in waiting.poll()):
                return
            self.drain()

    def _read(self) -> bytes:
        try:
            return os.read(self._inside, 65536)
        except OSError:
            return b""

    def _pass_on(self, data: bytes) -> None:
        data = data[: max(0, self._left)]
        self._left -= len(data)
        try:
            write_whole(self.outside, data)
        except OSError:
            # The pipe is full, or was closed by job code.  The jobs keep it anyway.
            return

    def _stream(self, descriptor: int) -> io.TextIOWrapper:
        return io.TextIOWrapper(
            _Sink(self, descriptor),  # type: ignore[arg-type]  # raw is enough for it
            encoding="utf-8",
            errors="backslashreplace",
            write_through=True,
        )


class _Sink(io.RawIOBase):
    """The raw stream below ``sys.stdout`` and ``sys.stderr``."""

    def __init__(self, capture: OutputCapture, descriptor: int) -> None:
        self._capture = capture
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def write(self, data: bytes) -> int:  # type: ignore[override]  # any buffer
        self._capture.take(bytes(data))
        return len(data)


class JobLog(logging.Handler):
    """Keeps what job code logs with what it prints, instead of writing it to our log.

    There an ERROR would look like one of Checker itself.
    """

    def __init__(self, capture: OutputCapture) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
        self._capture = capture

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
        except Exception:
            # The arguments do not match the format, which must not fail the job.
            text = f"{record.levelname} {record.msg}"
        self._capture.take(f"{text}\n".encode("utf-8", "replace"))

"""What job code prints and logs, kept with the job that is at work.

``print`` is known by its thread.  What comes through the descriptors 1 and 2, from
other programs above all, is given to each job that is at work, for no one can tell.
All of it also goes to the supervisor, which has it when this process is gone.
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

#: Kept beyond what is shown, so that no half secret stays where it is cut.
_MARGIN = 4096


class KeptOutput:
    """What one job has printed, and whether another one may have."""

    def __init__(self) -> None:
        self._data = bytearray()
        self.shared = False

    def add(self, data: bytes) -> None:
        """Keep more of it, up to a limit."""
        room = MAX_PRINTED + _MARGIN - len(self._data)
        if room > 0:
            self._data += data[:room]

    @property
    def text(self) -> str:
        """Return all of it."""
        return self._data.decode("utf-8", "replace")


class OutputCapture:
    """Standard output and error of this process, from here on."""

    def __init__(self) -> None:
        #: To the supervisor; it is full when nobody reads, and then nobody waits.
        self.outside = os.dup(2)
        os.set_blocking(self.outside, False)
        self._left = MAX_PRINTED
        self._local = threading.local()
        self._at_work: set[KeptOutput] = set()
        self._lock = threading.Lock()
        self._inside, write = os.pipe()
        os.set_blocking(self._inside, False)
        # Before anything is redirected: there may be no more threads.
        threading.Thread(target=self._listen, daemon=True).start()
        for descriptor in (1, 2):
            os.dup2(write, descriptor)
        os.close(write)
        sys.stdout = self._stream(1)
        sys.stderr = self._stream(2)

    def begin(self, kept: KeptOutput) -> None:
        """Keep there what this thread prints from here on."""
        self._local.kept = kept
        self._at_work.add(kept)

    def end(self, kept: KeptOutput) -> None:
        """Let go of it, whichever thread began."""
        self._at_work.discard(kept)
        if getattr(self._local, "kept", None) is kept:
            self._local.kept = None

    def take(self, data: bytes, *, mine: bool = True) -> None:
        """Keep what was printed: by this thread, if it is ``mine``."""
        self._pass_on(data)
        kept = getattr(self._local, "kept", None) if mine else None
        if kept is not None:
            kept.add(data)
            return
        at_work = list(self._at_work)
        for one in at_work:
            one.add(data)
            one.shared = one.shared or len(at_work) > 1

    def drain(self) -> None:
        """Take what has come through the descriptors; never wait."""
        with self._lock:
            while data := self._read():
                self.take(data, mine=False)

    def _listen(self) -> None:
        waiting = select.poll()
        waiting.register(self._inside, select.POLLIN)
        while True:
            # Anything else is that job code has closed what it did not open.
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
            # Full, or closed by job code: the jobs have it all the same.
            return

    def _stream(self, descriptor: int) -> io.TextIOWrapper:
        return io.TextIOWrapper(
            _Sink(self, descriptor),  # type: ignore[arg-type]  # raw is enough for it
            encoding="utf-8",
            errors="backslashreplace",
            write_through=True,
        )


class _Sink(io.RawIOBase):
    """Where ``print`` ends."""

    def __init__(self, printing: OutputCapture, descriptor: int) -> None:
        self._printing = printing
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def write(self, data: bytes) -> int:  # type: ignore[override]  # any buffer
        self._printing.take(bytes(data))
        return len(data)


class JobLog(logging.Handler):
    """What job code logs: kept with what it prints, and in the log with that.

    A job that logs an error has failed, and is told in the ordinary way.
    """

    def __init__(self, printing: OutputCapture) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
        self._printing = printing

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
        except Exception:
            # The arguments do not fit the format: no reason to fail the job.
            text = f"{record.levelname} {record.msg}"
        self._printing.take(f"{text}\n".encode("utf-8", "replace"))

"""Child: a program whose output is read as it comes, such as zstd or journalctl.

``Program`` of lib/plugins/command.py collects what a program prints, up to a limit, and
runs among others.  Here there is no limit, and whoever reads waits.
"""

from __future__ import annotations

import os
import select
from collections.abc import Sequence
from typing import Any

from lib.net.connect import Deadline

#: How much is read at once, at most.
BLOCK = 1024 * 1024


class Child:
    """A program whose output is read, killed at a deadline."""

    def __init__(self, words: Sequence[str], deadline: Deadline, **more: Any) -> None:
        """Start it; raise OSError if that cannot be done."""
        import subprocess

        self._deadline = deadline
        self._rest = b""
        self.process = subprocess.Popen(
            words,
            bufsize=0,
            stdout=subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C"},
            start_new_session=True,
            **{"stdin": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **more},
        )

    def read(self, most: int = BLOCK) -> bytes:
        """Return what comes next, nothing at the end; raise TimeoutError."""
        assert self.process.stdout is not None
        descriptor = self.process.stdout.fileno()
        if not select.select([descriptor], [], [], self._deadline.left())[0]:
            raise TimeoutError
        return os.read(descriptor, most)

    def readline(self) -> bytes:
        """Return the next line, with its end; nothing at the end of the output."""
        while b"\n" not in self._rest:
            part = self.read()
            if not part:
                line, self._rest = self._rest, b""
                return line
            self._rest += part
        line, _end, self._rest = self._rest.partition(b"\n")
        return line + b"\n"

    def end(self) -> int:
        """Kill it if it runs; return how it has ended."""
        import signal

        if self.process.poll() is None:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()
        return self.process.wait()

    def ended(self) -> int:
        """Return how it has ended by itself; raise TimeoutError if it has not."""
        import subprocess

        try:
            return self.process.wait(self._deadline.left())
        except subprocess.TimeoutExpired as error:
            raise TimeoutError from error

"""The program started in other ways than cron's: descriptors, signals, limits."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping
from types import MappingProxyType
from typing import IO, Any

from tests.support.instance import Instance, Ran
from tests.support.powers import as_anybody
from tests.support.waits import SOON_S

#: What a descriptor may be.
CLOSED, FULL, UNREAD, GONE = "closed", "full", "unread", "gone"


class Starter:
    """Starts the program with descriptors 0 to 2 in odd states."""

    def __init__(self) -> None:
        self._files: list[Any] = []
        self._started: list[subprocess.Popen[str]] = []

    def close(self) -> None:
        """End what was started, and close all."""
        for process in self._started:
            process.kill()
            process.wait(5)
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
        for file in self._files:
            file.close()

    def start(
        self,
        instance: Instance,
        arguments: tuple[str, ...],
        states: Mapping[int, str | Any] = MappingProxyType({}),
        before: tuple[str, ...] = (),
    ) -> subprocess.Popen[str]:
        """Start it; the words ``before`` stand before its command line.

        In place of the name of a state there may be a file.
        """
        line = shlex.join([*before, *instance.command(*arguments)])
        as_root = "setpriv" in before
        closed = [f"{one}>&-" for one, state in states.items() if state == CLOSED]
        command = ["/bin/sh", "-c", f"exec {line} {' '.join(closed)}"]
        found: list[Any] = [subprocess.DEVNULL, subprocess.PIPE, subprocess.PIPE]
        for number, state in states.items():
            if state != CLOSED:
                is_name = isinstance(state, str)
                found[number] = self._descriptor(state) if is_name else state
        process = subprocess.Popen(
            command if as_root else as_anybody(command),
            env={
                "PATH": "/usr/bin:/bin",
                "SHELL": "/bin/sh",
                "HOME": "/",
                "LOGNAME": "checker",
                "XDG_RUNTIME_DIR": str(instance.folder),
                **instance.environment,
            },
            cwd="/",
            stdin=found[0],
            stdout=found[1],
            stderr=found[2],
            text=True,
        )
        self._started.append(process)
        return process

    def run(
        self,
        instance: Instance,
        arguments: tuple[str, ...],
        states: Mapping[int, str | Any] = MappingProxyType({}),
        before: tuple[str, ...] = (),
        limit_s: float = SOON_S,
    ) -> Ran:
        """Run it to its end, which comes within the limit."""
        process = self.start(instance, arguments, states, before)
        out, err = process.communicate(timeout=limit_s)
        return Ran(process.returncode, out or "", err or "")

    def _descriptor(self, state: str) -> IO[bytes]:
        if state == FULL:
            self._files.append(open("/dev/full", "r+b", buffering=0))
            return self._files[-1]
        read, write = os.pipe()
        self._files.append(os.fdopen(write, "wb", buffering=0))
        if state == GONE:
            os.close(read)
            return self._files[-1]
        self._files.insert(0, os.fdopen(read, "rb", buffering=0))
        os.set_blocking(write, False)
        while self._files[-1].write(b"x" * 4096) is not None:
            pass
        os.set_blocking(write, True)
        return self._files[-1]

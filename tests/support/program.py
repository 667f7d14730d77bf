"""The program of a checkout, started again and again at a tenth of what a start costs.

Each start is a process of its own, which ``starter.py`` forks: what matters of a start
as cron does it, but for the loading of Python and of the modules.
"""

from __future__ import annotations

import atexit
import functools
import json
import select
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from tests.support.powers import as_anybody

CHECKOUT = Path(__file__).resolve().parent.parent.parent
#: A run ends within 55 s.
LIMIT_S = 70.0
#: What cron gives.
CRON = {"PATH": "/usr/bin:/bin", "SHELL": "/bin/sh", "HOME": "/"}


class Program:
    """A checkout whose program can be started, by one thread at a time."""

    def __init__(self, checkout: Path = CHECKOUT) -> None:
        self._lock = threading.Lock()
        self._program = checkout / "checker.py"
        python = checkout / ".venv" / "bin" / "python"
        if checkout == CHECKOUT or not python.exists():
            python = Path(sys.executable)
        starter = Path(__file__).with_name("starter.py")
        self._process = subprocess.Popen(
            as_anybody([str(python), str(starter), str(checkout)]),
            cwd="/",
            env=CRON,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def run(
        self,
        arguments: list[str],
        environment: Mapping[str, str],
        at: datetime | None = None,
        watch: Sequence[str] = (),
    ) -> tuple[int, str, str]:
        """Return the exit code of a start, and what it said on both streams.

        ``at`` is what the clock shows, if not the time; ``environment`` what is there
        beside what cron gives; ``watch`` is strace with its options, from the first
        step of the program on.
        """
        order = {
            "words": [str(self._program), *arguments],
            "environment": {**CRON, **environment},
            "at": at and at.timestamp(),
            "watch": [*watch],
        }
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        with self._lock:
            process.stdin.write(json.dumps(order) + "\n")
            ready = select.select([process.stdout], [], [], LIMIT_S)[0]
            assert ready, f"it does not end: {arguments}"
            code, out, err = json.loads(process.stdout.readline())
        return code, out, err

    def stop(self) -> None:
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


@functools.cache
def our_program() -> Program:
    """Return the program of this checkout, the same one for all tests."""
    program = Program()
    atexit.register(program.stop)
    return program

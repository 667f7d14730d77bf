"""A terminal of so many columns: what the program prints there, colors included."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
#: Starts a program of ours when the clock shows what is told.
START = f"""
import runpy, sys
sys.path.insert(0, {str(HERE)!r})
import clock
clock.install()
at, program = sys.argv[1:3]
clock.set_to(float(at))
sys.path[0] = program.rpartition("/")[0]
sys.argv = sys.argv[2:]
runpy.run_path(program, run_name="__main__")
"""


def printed(words: Sequence[str], at: datetime, columns: int = 80) -> str:
    """Return what a program of ours prints on a terminal, when the clock shows that.

    ``words`` are the program and its arguments.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-c", START, str(at.timestamp()), *words],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={
            "PATH": "/usr/bin:/bin",
            "TERM": "xterm-256color",
            "TZ": "UTC",
            "HOME": "/",
        },
        cwd="/",
    )
    os.close(theirs)
    said = bytearray()
    try:
        while part := os.read(ours, 65536):
            said += part
    except OSError:
        # Linux says so that nobody has the terminal open any more.
        pass
    os.close(ours)
    assert process.wait(timeout=60) == 0, said
    return said.decode().replace("\r\n", "\n")

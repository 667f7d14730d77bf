"""A terminal of so many columns: what the program prints there, colors included."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
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
    process, ours = _started([str(at.timestamp()), *words], columns)
    said = all_of(ours)
    assert process.wait(timeout=60) == 0, said
    return said.decode().replace("\r\n", "\n")


def all_of(ours: int) -> bytes:
    """Return what is printed on a terminal until nobody has it open; close it."""
    said = bytearray()
    try:
        while part := os.read(ours, 65536):
            said += part
    except OSError:
        # Linux says so that nobody has the terminal open any more.
        pass
    os.close(ours)
    return bytes(said)


def watched(words: Sequence[str], last: str, lines: int = 50) -> str:
    """Return what a program draws on a terminal up to ``last``; end it by Ctrl-C."""
    process, ours = _started([str(time.time()), *words], 80, lines)
    said, until = bytearray(), time.monotonic() + 20
    while last.encode() not in said and time.monotonic() < until:
        if not select.select([ours], [], [], 1)[0]:
            continue
        try:
            said += os.read(ours, 65536)
        except OSError:
            # It has ended.
            break
    # What comes right before a pause begins is heeded only when that ends.
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    os.close(ours)
    process.wait(timeout=60)
    return said.decode().replace("\r\n", "\n")


def _started(
    words: Sequence[str], columns: int, lines: int = 50
) -> tuple[subprocess.Popen[bytes], int]:
    """Return the process of START on a terminal, and our end of that."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-c", START, *words],
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
    return process, ours

"""What a process finds when it starts, put in order: whoever starts it, it is the same.

This runs before anything else, each minute, so it loads next to nothing.
"""

from __future__ import annotations

import os
import sys


def put_in_order() -> None:
    """Have what this process was started with put in order."""
    _open_standard_descriptors()
    _set_streams()


def _open_standard_descriptors() -> None:
    """Open 0, 1 and 2 where they are closed.

    Else the next file that is opened has that number, and gets what is printed.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
            continue
        except OSError:
            # It is the lowest that is free, so the next to be opened.
            pass
        try:
            os.open(os.devnull, os.O_RDWR)
        except OSError:
            os.open("/", os.O_RDONLY)
        os.set_inheritable(number, True)


def _set_streams() -> None:
    from lib.streams import best_effort, output

    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            # It was closed when Python started.
            mode = "w" if number else "r"
            stream = open(number, mode, errors="backslashreplace", closefd=False)
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
    sys.stdout, sys.stderr = output(), best_effort(2)

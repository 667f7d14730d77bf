"""Starts the program minute by minute, as cron does, when the clock shows what is told.

    starter.py CHECKOUT

A start is a process of its own, forked from this one, which has loaded the modules of
the checkout once: a start of Python for each would take ten times as long.  A line in
orders a start, a line out says how it ended; both are JSON.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import runpy
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

import clock


def main() -> None:
    program = Path(sys.argv[1]) / "checker.py"
    # As it is for the program.
    sys.path[0] = str(program.parent)
    clock.install()
    load_all(program.parent / "lib")
    gc.freeze()
    for line in sys.stdin:
        order = json.loads(line)
        out, err = nameless_file(), nameless_file()
        pid = os.fork()
        if pid == 0:
            become(order, out, err)
            start(program)
        _pid, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        answer = json.dumps([code, all_of(out), all_of(err)])
        os.write(1, f"{answer}\n".encode())


def load_all(folder: Path) -> None:
    """Load what a start may load, and what that loads when it is first needed."""
    for module in pkgutil.walk_packages([str(folder)], "lib."):
        importlib.import_module(module.name)
    for name in NEEDED_LATER:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


NEEDED_LATER = (
    "cryptography.x509",
    "email.headerregistry",
    "email.message",
    "email.policy",
    "encodings.idna",
    "hashlib",
    "http.client",
    "imaplib",
    "logging.handlers",
    "requests",
    "smtplib",
    "ssl",
    "traceback",
    "zoneinfo",
)


def become(order: dict[str, Any], out: int, err: int) -> None:
    """Be a process that cron has just started."""
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, descriptor in enumerate((nothing, out, err)):
        os.dup2(descriptor, number)
    os.closerange(3, 64)
    os.environ.clear()
    os.environ.update(order["environment"])
    time.tzset()
    if order["at"]:
        clock.set_to(order["at"])
    sys.argv = order["words"]


def start(program: Path) -> NoReturn:
    """Carry out the program, and end as Python does, without taking all apart."""
    code: object = 1
    try:
        runpy.run_path(str(program), run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
    except BaseException:  # noqa: B036  # this process ends right here
        traceback.print_exc()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def nameless_file() -> int:
    descriptor, path = tempfile.mkstemp()
    os.unlink(path)
    return descriptor


def all_of(descriptor: int) -> str:
    """Return what was written to a file, and close it."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    with open(descriptor, encoding="utf-8", errors="replace") as file:
        return file.read()


if __name__ == "__main__":
    main()

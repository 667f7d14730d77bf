"""Starts the program minute by minute, as cron does, when the clock shows what is told.

    starter.py CHECKOUT

A start is a process of its own, forked from this one, which has loaded the modules of
the checkout once: a start of Python for each would take ten times as long.  A line in
orders a start, a line out says how it ended; both are JSON.  With a ``watch``, strace
and its options, what is started is watched from its first step on.

The more this process has loaded, the more a fork costs, and a run forks its workers,
too: what few starts need is not loaded before.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import importlib
import json
import os
import pkgutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import types
from pathlib import Path
from typing import Any, NoReturn

import clock


def main() -> None:
    program = Path(sys.argv[1]) / "checker.py"
    # As it is for the program.
    sys.path[0] = str(program.parent)
    clock.install()
    load_all(program.parent / "lib")
    make_ready()
    compiled = compile(program.read_bytes(), str(program), "exec", dont_inherit=True)
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        order = json.loads(line)
        out, err = nameless_file(), nameless_file()
        pid = os.fork()
        if pid == 0:
            become(order, out, err)
            if order["watch"]:
                await_watcher()
            start(program, compiled)
        if order["watch"]:
            status = watched(pid, order["watch"], err)
        else:
            _pid, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        answer = json.dumps([code, all_of(out), all_of(err)])
        os.write(1, f"{answer}\n".encode())


def load_all(folder: Path) -> None:
    """Load what a start may load, and what that loads when it is first needed."""
    for module in pkgutil.walk_packages([str(folder)], "lib."):
        if not module.name.startswith(SELDOM_NEEDED):
            importlib.import_module(module.name)
    for name in NEEDED_LATER:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def make_ready() -> None:
    """Have msgspec read the annotations of all values, as it does at first use."""
    with contextlib.suppress(ImportError):
        import msgspec

        for name, module in list(sys.modules.items()):
            if name.startswith("lib."):
                for value in list(vars(module).values()):
                    if isinstance(value, msgspec.StructMeta):
                        # Most lack their fields; some are never read.
                        with contextlib.suppress(ValueError, NameError, TypeError):
                            msgspec.convert({}, value)


#: What is not loaded before: cryptography, which lib loads when it is needed, as well.
SELDOM_NEEDED = ("lib.mail.folders", "lib.net.dns", "lib.web")
NEEDED_LATER = (
    "configparser",
    "cronsim",
    "difflib",
    "email.headerregistry",
    "email.message",
    "email.policy",
    "encodings.idna",
    "encodings.utf_8_sig",
    "hashlib",
    "http.client",
    "imaplib",
    "logging.handlers",
    "pwd",
    "requests",
    "rich.console",
    "rich.table",
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


def await_watcher() -> None:
    """Stop, until somebody watches who is no parent of this process."""
    _prctl(_PR_SET_PTRACER, _ANYBODY)
    os.kill(os.getpid(), signal.SIGSTOP)


def watched(pid: int, command: list[str], err: int) -> int:
    """Watch over a process that has stopped; return how it ended.

    All that it has started is over by then as well.
    """
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    os.waitpid(pid, os.WUNTRACED)
    watcher = subprocess.Popen(
        [*command, "-q", "-p", str(pid)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=err,
    )
    while not _is_traced(pid):
        if watcher.poll() is not None:
            os.kill(pid, signal.SIGKILL)
            break
        time.sleep(0.0005)
    os.kill(pid, signal.SIGCONT)
    _pid, status = os.waitpid(pid, 0)
    watcher.wait()
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)
    _prctl(_PR_SET_CHILD_SUBREAPER, 0)
    return status


def _is_traced(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    return "TracerPid:\t0\n" not in status


#: Of linux/prctl.h.
_PR_SET_CHILD_SUBREAPER, _PR_SET_PTRACER, _ANYBODY = 36, 0x59616D61, -1


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value), 0, 0, 0)


def start(program: Path, compiled: types.CodeType) -> NoReturn:
    """Carry out the program, and end as Python does, without taking all apart."""
    main = types.ModuleType("__main__")
    main.__file__ = str(program)
    sys.modules["__main__"] = main
    came_to: object = 1
    try:
        exec(compiled, vars(main))
        came_to = 0
    except SystemExit as end:
        came_to = end.code
        if isinstance(came_to, str):
            print(came_to, file=sys.stderr)
    except BaseException:  # noqa: B036  # this process ends right here
        traceback.print_exc()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    if came_to is None:
        came_to = 0
    os._exit(came_to if isinstance(came_to, int) else 1)


def nameless_file() -> int:
    with tempfile.TemporaryFile(buffering=0) as file:
        return os.dup(file.fileno())


def all_of(descriptor: int) -> str:
    """Return what was written to a file, and close it."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    with open(descriptor, encoding="utf-8", errors="replace") as file:
        return file.read()


if __name__ == "__main__":
    main()

"""What the tests of rows share: an instance with a mail server, and its misfortunes."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import socket
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.instance import Instance, Ran
from tests.support.listeners import Listener, answer, hear
from tests.support.powers import as_anybody
from tests.support.servers import SmtpServer

#: A job that is fine, beside one that is not: it must not suffer.
CALM = """\
from lib.jobbase import *

class Calm(JobBase):
    def executeEvery(self):
        return JobFrequency.MINUTE

    def execute(self):
        raise CheckFailed("calm was judged")
"""


def job(name: str, execute: str, more: str = "", head: str = "") -> str:
    """Return a job file; ``execute`` and ``more`` are lines of code."""
    body = "\n".join(f"        {line}" for line in execute.splitlines())
    return f"""\
import ctypes, os, signal, socket, sys, threading, time
from lib.jobbase import *
{head}
class {name}(JobBase):
    def executeEvery(self):
        return JobFrequency.MINUTE

    def timeout(self):
        return 5

    def execute(self):
{body}

{more}
"""


def alert(name: str, reason: str) -> str:
    """Return the subject of an alert: how one is worded is tested elsewhere."""
    return f"{name} is failing: {reason}"


#: What the job of ``flag_job`` and a lamp of ``World`` are mailed about with.
FLAG_ALERT = alert("Flag", "the flag is down")
LAMP_ALERT = alert("Lamp ant", "it is dark")
CALM_ALERT = alert("Calm", "calm was judged")
#: The mail about a state folder, without and with one that is failing.
CANNOT_WRITE = "cannot write state"
CANNOT_WRITE_ONE = f"{CANNOT_WRITE}, 1 failing"


def subjects(smtp: SmtpServer) -> list[str]:
    """Return what was mailed, without the server's name before it."""
    return [mail.subject.strip().removeprefix("[web1] ") for mail in smtp.mails]


def is_running(pid: int) -> bool:
    """Return whether there is such a process, and it is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def in_own_mounts(instance: Instance, script: str) -> Ran:
    """Run a shell script with mounts of its own; ``$CRON`` is a run of a minute.

    Skip the test where that is not allowed.
    """
    round_trip_mail = ["unshare", "-m", "true"]
    if (
        os.geteuid() != 0
        or subprocess.run(round_trip_mail, capture_output=True).returncode
    ):
        pytest.skip("mounts need root and unshare -m")
    cron = shlex.join(as_anybody(instance.command("-m", "cron", "-c", "minute")))
    found = subprocess.run(
        ["unshare", "-m", "/bin/sh", "-c", script],
        env={
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/",
            "CRON": cron,
            "STATE": str(instance.state),
            "XDG_RUNTIME_DIR": str(instance.folder),
        },
        capture_output=True,
        text=True,
        timeout=100,
        cwd="/",
    )
    return Ran(found.returncode, found.stdout, found.stderr)


#: Without it waits of Python 3.11 hang under a faked clock, or fail; see the row T.
SHIM = """\
#define _GNU_SOURCE
#include <errno.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_nanosleep(clockid_t clock, int flags, const struct timespec *request,
                    struct timespec *left) {
    return syscall(SYS_clock_nanosleep, clock, flags, request, left) == 0 ? 0 : errno;
}
"""


def with_answer(instance: Instance) -> Instance:
    """Have the instance write its answer to peers, beside its settings."""
    instance.add(f"[status]\nwrite = {instance.folder / 'answer'}\n")
    return instance


def word(instance: Instance) -> str:
    """Return the word for peers, as the last run wrote it."""
    return (instance.folder / "answer").read_text().partition("\n")[0]


@contextlib.contextmanager
def serving(instance: Instance) -> Iterator[str]:
    """Give the URL at which a web server carries the answer of the instance."""

    def say(connection: socket.socket, listener: Listener) -> None:
        hear(connection, listener)
        connection.sendall(answer(body=(instance.folder / "answer").read_bytes()))

    with Listener(say) as there:
        yield there.url()


def cron_at(
    instance: Instance, handle: timedelta, ordered: str = "minute", *arguments: str
) -> Ran:
    """Run when the clock shows another time than it is."""
    instance.clock_ahead = handle
    try:
        return instance.cron(ordered, *arguments)
    finally:
        instance.clock_ahead = timedelta()


def faked_clock(folder: Path) -> dict[str, str]:
    """Return the environment in which FAKETIME shifts the clock, or skip the test."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not found or not compiler:
        pytest.skip("the clock is faked by libfaketime and a C compiler")
    source, shim = folder / "shim.c", folder / "shim.so"
    source.write_text(SHIM)
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", str(shim), str(source)], check=True
    )
    return {
        "LD_PRELOAD": f"{shim} {found[0]}",
        "DONT_FAKE_MONOTONIC": "1",
        # Else threads that wait for each other spin.
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",
        # Else Python compiles anew what looks changed, as all files do.
        "NO_FAKE_STAT": "1",
    }

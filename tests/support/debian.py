"""Debian's own daemons, each in the foreground until the end of a block."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

#: Where daemons are that only root looks for.
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
#: What every nginx is told; ``http`` is what it serves.
_NGINX = """\
daemon off;
master_process off;
user root;
pid {folder}/pid;
error_log stderr;
events {{}}
http {{
    client_body_temp_path {folder}/temp;
    proxy_temp_path {folder}/temp;
    fastcgi_temp_path {folder}/temp;
    uwsgi_temp_path {folder}/temp;
    scgi_temp_path {folder}/temp;
{http}
}}
"""


def program(name: str, package: str) -> str:
    """Return the path of a program; skip the test where it is missing."""
    path = shutil.which(name, path=_PATH)
    if path is None:
        pytest.skip(f"{name} is missing; as root: apt-get install {package}")
    return path


@contextlib.contextmanager
def daemon(
    words: list[str], is_ready: Callable[[], bool]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a daemon in the foreground until the end of the block."""
    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        until = time.monotonic() + 20
        while not is_ready():
            ended = process.poll() is not None
            if ended or time.monotonic() > until:
                process.kill()
                said = process.communicate()[0].decode(errors="replace")
                raise AssertionError(f"{words[0]} does not start: {said[-500:]}")
            time.sleep(0.02)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)
        process.kill()
        process.communicate()


@contextlib.contextmanager
def hanging(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Have a process stand still."""
    process.send_signal(signal.SIGSTOP)
    await_stillness(process.pid)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def await_stillness(*pids: int) -> None:
    """Return once processes that were told to stop do nothing any more.

    Of the threads of one, another may still give an answer.
    """
    until = time.monotonic() + 10
    while {state for pid in pids for state in _states(pid)} != {"T"}:
        assert time.monotonic() < until, "they do not stand still"
        time.sleep(0.01)


def group_of(leader: int) -> list[int]:
    """Return the processes of a group, by the pid of its leader."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(") ")[2].split()
            if int(fields[2]) == leader and fields[0] != "Z":
                found.append(int(stat.parent.name))
    return found


def _states(pid: int) -> Iterator[str]:
    """Yield the state of each thread of a process, as proc(5) has it."""
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        yield stat.read_text().rpartition(") ")[2][0]


def takes(port: int) -> bool:
    """Return whether a port takes connections."""
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def nginx_running(
    folder: Path, http: str, *ports: int
) -> Iterator[subprocess.Popen[bytes]]:
    """Run nginx until the end of the block, from when on it takes all of the ports.

    ``http`` is what its configuration has of HTTP.  Skip the test if there is none.
    """
    path, config = program("nginx", "nginx"), folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder, http=http))
    words = [path, "-p", str(folder), "-c", str(config), "-e", "stderr"]
    with daemon(words, lambda: all(map(takes, ports))) as process:
        yield process

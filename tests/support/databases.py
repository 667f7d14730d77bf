"""A server of PostgreSQL or MariaDB that is there for the clients of Debian.

    with database("postgres") as it: ...        it.environment is what its clients read

``OPTIONS`` in a line for MariaDB's clients stands for how they find it.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import tlsservers
from tests.support.certificates import issued


def shell(folder: Path, line: str, **environment: str) -> int:
    """Run a line of the shell; return its exit code."""
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        cwd=folder,
        env={**os.environ, "LC_ALL": "C", **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=60,
    ).returncode


class Database:
    """A server that runs, and how its clients reach it."""

    def __init__(self, name: str, server: tlsservers.TlsServer) -> None:
        self.folder = server.folder
        self.environment: dict[str, str] = {}
        if name == "postgres":
            self.environment = {
                "PGHOST": str(server.folder),
                "PGPORT": str(server.port),
                "PGUSER": "postgres",
            }

    def line(self, line: str) -> str:
        """Return a line of the shell with what its clients need."""
        return line.replace("OPTIONS", f"--no-defaults --socket={self.folder}/socket")

    def run(self, folder: Path, line: str) -> int:
        """Run a line of the shell; return its exit code."""
        return shell(folder, self.line(line), **self.environment)


@contextlib.contextmanager
def database(name: str) -> Iterator[Database]:
    """Start ``postgres`` or ``mysql``; skip what wants one that is not here."""
    if reason := tlsservers.why_not(name):
        pytest.skip(reason)
    leaf = issued("localhost", by=issued("Test root", ca=True, begins=-9, ends=9))
    with tlsservers.TlsServer(name, leaf) as server:
        yield Database(name, server)

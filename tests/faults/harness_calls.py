"""Runs under strace: which system calls a run makes, and a fault at one of them.

strace follows the supervisor alone (no ``-f``): workers and the session that sends are
processes of their own, so its count of calls is the supervisor's, the N-th call is the
same one in each run, and what is killed is what ``kill -9`` of the supervisor kills.
Its children notice, as they must in earnest.  A call that is killed or refused is not
carried out.
"""

from __future__ import annotations

import functools
import re
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from tests.faults.world import World

Test = TypeVar("Test")

#: What changes files, sockets, pipes or processes.
CHANGING = (
    "openat write pwrite64 ftruncate fsync fdatasync close rename renameat renameat2 "
    "unlink unlinkat mkdir mkdirat rmdir link symlink clone kill exit_group"
).split()
#: Of these, what the errors of a file system can come from.
OF_FILES = [one for one in CHANGING if one not in ("clone", "kill", "exit_group")]


@functools.cache
def _works() -> str:
    """Return why strace cannot be used here; nothing if it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    import subprocess

    try:
        ran = subprocess.run(["strace", "-o", "/dev/null", "true"], timeout=10)
    except subprocess.TimeoutExpired:
        return "strace does not come to an end here"
    return "" if ran.returncode == 0 else "strace may not trace here"


def needs_strace(test: Test) -> Test:
    """Have ``make integration`` run a test, and skip it where strace does not work."""
    why = _works()
    skip = pytest.mark.skipif(bool(why), reason=why or "strace works")
    return pytest.mark.integration(skip(test))


@dataclass(frozen=True)
class Call:
    """A system call of the supervisor: the ``number``-th of its name."""

    name: str
    number: int
    text: str

    def __str__(self) -> str:
        return f"{self.name} {self.number}: {self.text}"


_LINE = re.compile(r"(?:\d+ +)?([a-z0-9_]+)\(")


def traced(world: World, *options: str) -> tuple[int, str, list[str]]:
    """Return the exit code of a run under strace, what it said, and the trace."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "trace")
        names = ",".join(f"?{name}" for name in CHANGING)
        watch = ["strace", "-y", "-o", str(path), "-e", f"trace={names}", *options]
        code, said = world.run(watch=watch)
        return code, said, path.read_text(errors="replace").splitlines()


def calls(world: World, lines: list[str]) -> list[Call]:
    """Return the calls after the start: those from the lock on."""
    counts: Counter[str] = Counter()
    found = []
    begun = False
    for line in lines:
        match = _LINE.match(line)
        if match is None:
            continue
        name = match[1]
        counts[name] += 1
        begun = begun or str(world.state / "lock") in line
        if begun:
            text = line.replace(str(world.folder), "")[:100]
            found.append(Call(name, counts[name], text))
    return found


def touches_state(call: Call) -> bool:
    """Return whether a call is about a file or folder of the state, or of a spool."""
    return "/state" in call.text or "/spool/" in call.text


def changes_something(call: Call) -> bool:
    """Return whether the world differs before and after a call."""
    if call.name in ("clone", "kill", "exit_group"):
        return True
    if call.name == "openat":
        return "O_CREAT" in call.text
    if call.name == "close":
        # What it held is durable or not, whether closed by us or by the kernel.
        return False
    return touches_state(call) or "pipe:" in call.text

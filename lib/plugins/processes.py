"""The processes of this machine: as /proc has them, as psutil where there is no /proc.

psutil takes 20 ms to import and 0.3 ms for each process, which a check in each minute
should not cost.  Its answers are those of ``/proc``, and a test compares the two.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

#: Letters as ps and the kernel have them, and psutil's words for them.
STATES = {
    "R": "running",
    "S": "sleeping",
    "D": "disk-sleep",
    "T": "stopped",
    "t": "tracing-stop",
    "Z": "zombie",
    "X": "dead",
    "I": "idle",
    "P": "parked",
}
#: What runs a script, whose own name is then the first argument.
INTERPRETER = re.compile(
    r"(python|perl|ruby|node|php|lua|tclsh|bash|dash|ksh|zsh|sh)[\d.]*"
)
#: The kernel cuts a process's name to so many characters.
NAME_LENGTH = 15
#: Command lines may have 2 MB; a pattern needs no more than this.
MAX_COMMAND = 1024 * 1024
HAS_PROC = os.path.exists("/proc/self/stat")


class Process(NamedTuple):
    """A process as it was met, with what tells it apart from others of its pid."""

    pid: int
    #: As the kernel has it, and as its command line says.
    names: tuple[str, ...]
    command: str
    state: str
    #: The process that started it, or that took it over.
    parent: int
    started_at: float
    #: Seconds from the boot to its start, which no step of the clock changes.
    since_boot: float
    #: The CPU time that it used, in seconds.
    cpu_s: float

    @property
    def name(self) -> str:
        """Return what people call it."""
        return self.names[0] if self.names else ""


def all_pids() -> list[int]:
    """Return the numbers of the processes that this user can see."""
    if HAS_PROC:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    import psutil

    return psutil.pids()


def processes_of(pids: Iterable[int]) -> Iterator[Process]:
    """Yield the processes that there still are, but for those of this run."""
    booted_at = _booted_at()
    own = _own_pids(booted_at)
    for pid in pids:
        one = None if pid in own else _process(pid, booted_at)
        if one is not None:
            yield one


def user_of(one: Process) -> int | None:
    """Return the effective user of a process; None if it has ended."""
    if HAS_PROC:
        status = _read(f"/proc/{one.pid}/status")
        match = re.search(rb"^Uid:\s+\d+\s+(\d+)", status, re.MULTILINE)
        return int(match[1]) if match else None
    import psutil

    try:
        return psutil.Process(one.pid).uids().effective
    except psutil.Error:
        return None


def memory_of(one: Process) -> int:
    """Return the resident memory of a process in bytes; 0 if it has ended."""
    if HAS_PROC:
        numbers = _read(f"/proc/{one.pid}/statm").split()
        return int(numbers[1]) * os.sysconf("SC_PAGE_SIZE") if numbers else 0
    import psutil

    try:
        return int(psutil.Process(one.pid).memory_info().rss)
    except psutil.Error:
        return 0


def with_children(found: Sequence[Process]) -> list[Process]:
    """Return processes and all that they started, each once."""
    by_parent: dict[int, list[Process]] = {}
    for one in processes_of(all_pids()):
        by_parent.setdefault(one.parent, []).append(one)
    tree = {one.pid: one for one in found}
    waiting = list(found)
    while waiting:
        for child in by_parent.get(waiting.pop().pid, ()):
            if child.pid not in tree:
                tree[child.pid] = child
                waiting.append(child)
    return list(tree.values())


def names_of(name: str, arguments: Sequence[str]) -> tuple[str, ...]:
    """Return the names of a process: the kernel's, its program's, its script's."""
    names = [name]
    if arguments:
        program = os.path.basename(arguments[0].partition(" ")[0]).lstrip("-")
        if len(name) >= NAME_LENGTH and program.startswith(name):
            names = [program]
        names.append(program.rstrip(":"))
        is_script = len(arguments) > 1 and not arguments[1].startswith("-")
        if is_script and INTERPRETER.fullmatch(program):
            script = os.path.basename(arguments[1])
            names.append(script)
            if script[:NAME_LENGTH] == name or INTERPRETER.fullmatch(name):
                names.insert(0, script)
    return tuple(dict.fromkeys(filter(None, names)))


def _own_pids(booted_at: float) -> set[int]:
    """Return this process, and those above it that run the same program."""
    import sys

    program = os.path.basename(sys.argv[0]) or "checker.py"
    own, pid = {os.getpid()}, os.getppid()
    while pid > 0 and (parent := _process(pid, booted_at)) is not None:
        if program in parent.command:
            own.add(pid)
        pid = parent.parent
    return own


def _process(pid: int, booted_at: float) -> Process | None:
    """Return a process; None if it has ended, or this user may not look at it."""
    return _of_proc(pid, booted_at) if HAS_PROC else _of_psutil(pid, booted_at)


# As /proc has them.


def _booted_at() -> float:
    """Return when the machine was started, by its clock as it is now."""
    if HAS_PROC:
        match = re.search(rb"^btime (\d+)", _read("/proc/stat"), re.MULTILINE)
        return float(match[1]) if match else 0.0
    import psutil

    return psutil.boot_time()


def _of_proc(pid: int, booted_at: float) -> Process | None:
    # The name, in brackets, may hold anything; what follows it does not.
    head, _bracket, rest = _read(f"/proc/{pid}/stat").rpartition(b")")
    fields = rest.split()
    if len(fields) < 20:
        return None
    name = os.fsdecode(head.partition(b"(")[2])
    arguments = _arguments(_read(f"/proc/{pid}/cmdline", MAX_COMMAND))
    ticks = os.sysconf("SC_CLK_TCK")
    since_boot = int(fields[19]) / ticks
    return Process(
        pid,
        names_of(name, arguments),
        " ".join(arguments) or name,
        STATES.get(fields[0].decode(), ""),
        int(fields[1]),
        booted_at + since_boot,
        since_boot,
        round((int(fields[11]) + int(fields[12])) / ticks, 2),
    )


def _arguments(line: bytes) -> list[str]:
    """Return the arguments of a command line.

    They end with a zero byte each, but where a daemon has written a text of its own in
    their place.
    """
    if not line:
        return []
    text = os.fsdecode(line)
    if not text.endswith("\0"):
        return text.split(" ")
    arguments = text[:-1].split("\0")
    return text[:-1].split(" ") if len(arguments) == 1 else arguments


def _read(path: str, most: int = 65536) -> bytes:
    """Return what a file of /proc has; nothing if it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    parts = []
    try:
        while most > 0 and (part := os.read(descriptor, min(most, 65536))):
            parts.append(part)
            most -= len(part)
    except OSError:
        # It has ended meanwhile.
        return b""
    finally:
        os.close(descriptor)
    return b"".join(parts)


# As psutil has them.


def _of_psutil(pid: int, booted_at: float) -> Process | None:
    import psutil

    try:
        handle = psutil.Process(pid)
        with handle.oneshot():
            name, status = handle.name(), handle.status()
            try:
                arguments = handle.cmdline()
            except (psutil.ZombieProcess, psutil.AccessDenied):
                arguments = []
            try:
                times = handle.cpu_times()
                cpu_s = round(times.user + times.system, 2)
            except (psutil.ZombieProcess, psutil.AccessDenied):
                cpu_s = 0.0
            started_at = handle.create_time()
            return Process(
                handle.pid,
                names_of(name, arguments),
                " ".join(arguments) or name,
                str(status),
                handle.ppid(),
                started_at,
                started_at - booted_at,
                cpu_s,
            )
    except (psutil.Error, OverflowError):
        return None

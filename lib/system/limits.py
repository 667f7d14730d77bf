"""What a worker may take of the machine: memory, open files, processes.

Against accidents, not against malice: a job that needs more can ask for it, up to what
the system allows.
"""

from __future__ import annotations

import _thread
import resource
import sys
import threading

from lib.core.settings import Limits

MB = 1024 * 1024
#: As many threads as a worker has at most, and a few; see lib/workers/pool.py.
THREADS = 136
#: Where the stack has no limit, the C library takes this for a thread.
USUAL_STACK = 8 * MB
#: The C library reserves as much of the address space for a thread, and uses little.
ARENA = 128 * MB

#: The MB that this process is held to; empty where it is not.
_held: list[int] = []


def hold(limits: Limits) -> None:
    """Hold this process to its limits, from here on; what it starts has them too."""
    memory = limits.memory_mb * MB
    # What may be written to is counted.  The address space is mostly promises, so it
    # has room for them, and only stops what would fill it.
    _lower(resource.RLIMIT_DATA, memory)
    _lower(resource.RLIMIT_AS, memory + THREADS * (ARENA + _stack_size()))
    _held.append(limits.memory_mb)
    _set_files(limits.files)
    _lower(resource.RLIMIT_NPROC, limits.processes)
    if not _can_go_on():
        # It is counted for all that this user runs, and there are too many others.
        _soften(resource.RLIMIT_NPROC)


def make_room_for_a_thread() -> None:
    """Raise the limit of memory by a thread's stack, which is not the job's."""
    if _held:
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        if soft != resource.RLIM_INFINITY:
            _set(resource.RLIMIT_DATA, soft + _stack_size(), hard)


def memory_words() -> str:
    """Return that there is no memory left, and what the limit is."""
    limit = f": [general] workermemory is {_held[-1]} MB" if _held else ""
    return f"out of memory{limit}"


def _stack_size() -> int:
    if size := threading.stack_size():
        return size
    soft, _hard = resource.getrlimit(resource.RLIMIT_STACK)
    return USUAL_STACK if soft == resource.RLIM_INFINITY else soft


def _lower(which: int, limit: int) -> None:
    """Set a limit unless there is a lower one."""
    soft, hard = resource.getrlimit(which)
    if soft == resource.RLIM_INFINITY or limit < soft:
        _set(which, limit, hard)


def _set_files(limit: int) -> None:
    """Set how many files may be open, also where the system begins with fewer."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    _set(resource.RLIMIT_NOFILE, limit, hard)


def _soften(which: int) -> None:
    _soft, hard = resource.getrlimit(which)
    _set(which, hard, hard)


def _set(which: int, limit: int, hard: int) -> None:
    try:
        resource.setrlimit(which, (limit, hard))
    except (OSError, ValueError):
        # Not every system holds a process to everything.
        return


def _can_go_on() -> bool:
    """Return whether this process may still have a thread."""
    if sys.platform != "linux":
        return True
    try:
        # Thread.start would wait for ever for one that dies of the limit at once.
        _thread.start_new_thread(int, ())
    except RuntimeError:
        return False
    return True

"""The resource limits of a worker: memory, open files, processes.

They guard against accidents, not malice: a job that needs more can raise its soft
limits, up to what the system allows.
"""

from __future__ import annotations

import _thread
import resource
import sys
import threading

from lib.core.settings import Limits

MB = 1024 * 1024
#: The most threads of a worker, and a few more; see lib/workers/pool.py.
THREADS = 136
#: A thread's stack if the stack is not limited, as in the C library.
USUAL_STACK = 8 * MB
#: The address space that the C library reserves for a thread; it uses little of it.
ARENA = 128 * MB

#: The memory limit of this process in MB; empty without one.
_memory_mb: list[int] = []


def hold(limits: Limits) -> None:
    """Set the limits of this process and of what it starts from here on."""
    memory = limits.memory_mb * MB
    # RLIMIT_DATA counts memory that may be written to.  Most of the address space is
    # only reserved, so its limit has room for that.
    _lower(resource.RLIMIT_DATA, memory)
    _lower(resource.RLIMIT_AS, memory + THREADS * (ARENA + _stack_size()))
    _memory_mb.append(limits.memory_mb)
    _set_files(limits.files)
    _lower(resource.RLIMIT_NPROC, limits.processes)
    if not _can_go_on():
        # All processes of this user count, and there are too many others.
        _soften(resource.RLIMIT_NPROC)


def open_as_many_files_as_allowed() -> None:
    """Raise the limit of open files to the hard one: each check has a connection."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    _set(resource.RLIMIT_NOFILE, hard, hard)


def make_room_for_a_thread() -> None:
    """Raise the memory limit by a thread's stack, which the job does not use."""
    if _memory_mb:
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        if soft != resource.RLIM_INFINITY:
            _set(resource.RLIMIT_DATA, soft + _stack_size(), hard)


def memory_words() -> str:
    """Return the sentence for a job that ran out of memory."""
    limit = f": [general] workermemory is {_memory_mb[-1]} MB" if _memory_mb else ""
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
    """Set how many files may be open, also above the present soft limit."""
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
        # Not every system has every limit.
        return


def _can_go_on() -> bool:
    """Return whether this process can still start a thread."""
    if sys.platform != "linux":
        return True
    try:
        # Thread.start would wait for ever for a thread that cannot run.
        _thread.start_new_thread(int, ())
    except RuntimeError:
        return False
    return True

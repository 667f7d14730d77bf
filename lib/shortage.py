"""Which limit it was, where no descriptor, process, thread or memory is to be had."""

from __future__ import annotations

import errno
import os


def shortage(error: BaseException, *, of_process: bool = False) -> str:
    """Return what cannot be had, and the limit by its name; nothing if it is not that.

    ``of_process``: it was a process that was to be started.
    """
    # As each Python says it of a thread; there is no class for it.
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return f"no thread can be started: {_processes()}"
    if isinstance(error, MemoryError):
        return f"no memory can be had: {_memory()}"
    if not isinstance(error, OSError):
        return ""
    if error.errno == errno.EMFILE:
        limit = _limit("RLIMIT_NOFILE")
        what = "the limit of open files (ulimit -n)"
        return f"no more files can be open: {what} is {limit}"
    if error.errno == errno.ENFILE:
        return "no more files can be open on this machine: sysctl fs.file-max"
    if error.errno == errno.EAGAIN and of_process:
        return f"no process can be started: {_processes()}"
    if error.errno == errno.ENOMEM:
        return f"no memory can be had: {_memory()}"
    return ""


def _processes() -> str:
    limit = _limit("RLIMIT_NPROC")
    # It does not hold for root.
    if limit is not None and os.geteuid() != 0:
        return f"the limit of this user's processes (ulimit -u) is {limit}"
    return "this machine has no more (pids.max of the cgroup, sysctl kernel.pid_max)"


def _memory() -> str:
    for name, option in (("RLIMIT_AS", "-v"), ("RLIMIT_DATA", "-d")):
        limit = _limit(name)
        if limit is not None:
            return f"the limit (ulimit {option}) is {limit // (1024 * 1024)} MB"
    return "this machine, or the cgroup, has no more"


def _limit(name: str) -> int | None:
    import resource

    which = getattr(resource, name, None)
    if which is None:
        return None
    soft, _hard = resource.getrlimit(which)
    return soft if soft != resource.RLIM_INFINITY else None

"""Errors and limits of the operating system as sentences for people, with what to do.

To add advice for an error, give its number a row in HINTS.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

#: What to do about an error, for a person.  {folder} and {user} are filled in.
HINTS = {
    errno.ENOSPC: "make room on the disk (df -h {folder}; df -i {folder})",
    errno.EDQUOT: "the disk quota of {user} is used up",
    errno.EROFS: "its file system is mounted read-only (mount -o remount,rw ...)",
    errno.EACCES: "as root: chown -R {user} {folder}",
    errno.EPERM: "as root: chown -R {user} {folder}",
    errno.EIO: "the disk may be failing (dmesg)",
    errno.EFBIG: "a limit for the size of files is set (ulimit -f)",
    errno.ENOLCK: "the folder must be on a local disk",
    errno.ENOENT: "mkdir -m 700 -p {folder}",
    errno.EISDIR: "something else is in its place, move it away",
    errno.ENOTDIR: "something else is in its place, move it away",
    errno.EEXIST: "something else is in its place, move it away",
    errno.ELOOP: "a symbolic link is in its place, move it away",
    errno.EMFILE: "too many files are open (ulimit -n)",
    errno.ENFILE: "too many files are open on this machine",
    errno.ENOMEM: "there is no memory left",
}


class StateError(Exception):
    """State cannot be used; the text says which file, why, and what to do."""


class NewerState(StateError):
    """The state was written by a newer Checker, and is not touched."""


def trouble(path: Path, what: str, error: OSError) -> StateError:
    """Return an error for people: the path, what could not be done, why, a hint."""
    import shlex

    hint = HINTS.get(error.errno or 0, "")
    folder = path if os.path.isdir(path) else path.parent
    hint = hint.format(folder=shlex.quote(str(folder)), user=_user())
    text = f"{path}: cannot {what}: {error.strerror or error}"
    return StateError(f"{text}; {hint}" if hint else text)


def why_not_usable(folder: Path) -> str:
    """Return why a folder of ours cannot be used and what to type; empty if it can."""
    import shlex

    shown = shlex.quote(str(folder))
    try:
        status = os.stat(folder)
    except FileNotFoundError:
        if os.path.islink(folder):
            to = shlex.quote(os.path.realpath(folder))
            return f"{folder} is a symbolic link to nothing: mkdir -m 700 -p {to}"
        return f"the folder {folder} is missing: mkdir -m 700 -p {shown}"
    except PermissionError:
        above = "a folder above it is closed to this user"
        return f"the folder {folder} cannot be reached by {_user()}: {above}"
    except OSError as error:
        return str(trouble(folder, "use it", error))
    if not stat.S_ISDIR(status.st_mode):
        # No command that moves it: most likely a name was mistyped.
        return f"{folder} is not a folder; after moving it away: mkdir -m 700 {shown}"
    if os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return ""
    read_only = os.statvfs(folder).f_flag & os.ST_RDONLY
    number = errno.EROFS if read_only else errno.EACCES
    return str(trouble(folder, "write into it", OSError(number, os.strerror(number))))


def _user() -> str:
    """Return the current user, as chown takes it."""
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def shortage(error: BaseException, *, of_process: bool = False) -> str:
    """Return which resource is exhausted, and its limit; empty for other errors.

    ``of_process``: the error came from starting a process.
    """
    # The text is the same in each Python; there is no class for it.
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return f"no thread can be started: {_processes()}"
    if isinstance(error, MemoryError):
        return f"no memory is available: {_memory()}"
    if not isinstance(error, OSError):
        return ""
    if error.errno == errno.EMFILE:
        limit = _limit("RLIMIT_NOFILE")
        what = "the limit of open files (ulimit -n)"
        return f"no more files can be opened: {what} is {limit}"
    if error.errno == errno.ENFILE:
        return "no more files can be opened on this machine: sysctl fs.file-max"
    if error.errno == errno.EAGAIN and of_process:
        return f"no process can be started: {_processes()}"
    if error.errno == errno.ENOMEM:
        return f"no memory is available: {_memory()}"
    return ""


def _processes() -> str:
    limit = _limit("RLIMIT_NPROC")
    # It is not enforced for root.
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

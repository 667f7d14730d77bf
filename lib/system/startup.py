"""Puts a new process into a known state, whoever started it.

cron, systemd, a daemon, a wrapper and a shell each leave their own descriptors,
signals, limits, umask and environment, and some of that changes what a run does.  This
runs before anything else, each minute, so it imports next to nothing.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from types import FrameType

#: Python ignores these itself, and raises errors instead.
_IGNORED_BY_PYTHON = (signal.SIGPIPE, getattr(signal, "SIGXFSZ", None))
#: nohup, and a shell for background commands, ignore these on purpose.
_IGNORED_ON_PURPOSE = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)

#: cron's umask.  A stricter one stays, except for the owner's own rights.
UMASK, _OWNERS = 0o022, 0o700
#: The open files that a run needs, if the system allows it.
FILES = 1024
STACK = 8 * 1024 * 1024
#: Limits that are raised as far as the system allows.
_RAISED = (
    "RLIMIT_FSIZE RLIMIT_DATA RLIMIT_AS RLIMIT_RSS RLIMIT_NPROC RLIMIT_CPU".split()
)

#: These change Python's own behaviour, so it has to start again without them.
_PYTHONS = frozenset(
    "PYTHONASYNCIODEBUG PYTHONCASEOK PYTHONDEBUG PYTHONDEVMODE PYTHONDUMPREFS"
    " PYTHONEXECUTABLE PYTHONHOME PYTHONINSPECT PYTHONINTMAXSTRDIGITS"
    " PYTHONIOENCODING PYTHONMALLOC PYTHONMALLOCSTATS PYTHONOPTIMIZE PYTHONPLATLIBDIR"
    " PYTHONPROFILEIMPORTTIME PYTHONSAFEPATH PYTHONTRACEMALLOC PYTHONUSERBASE"
    " PYTHONVERBOSE PYTHONWARNDEFAULTENCODING PYTHONWARNINGS".split()
)
#: These change what we start: preloaded libraries, files that shells read first.
_LOADED_FIRST = frozenset(
    "LD_PRELOAD LD_AUDIT LD_DEBUG LD_DEBUG_OUTPUT LD_PROFILE"
    " BASH_ENV ENV CDPATH SHELLOPTS BASHOPTS BASH_XTRACEFD".split()
)
#: These are meant for this process only, not for its children.
_NOT_HANDED_ON = frozenset(
    "NOTIFY_SOCKET WATCHDOG_PID WATCHDOG_USEC LISTEN_PID LISTEN_FDS"
    " LISTEN_FDNAMES".split()
)
#: It makes TLS write the keys of its sessions to a file.
_SECRETS_LEAK = frozenset(["SSLKEYLOGFILE"])
_DROPPED = _PYTHONS | _LOADED_FIRST | _NOT_HANDED_ON | _SECRETS_LEAK
#: The prefix of functions that bash would use in place of commands.
_BASH_FUNCTION = "BASH_FUNC_"


def put_in_order() -> None:
    """Reset descriptors, signals, limits, umask, environment and streams.

    This may start Python again, if the environment had changed its behaviour.
    """
    _open_standard_descriptors()
    _reset_signals()
    _set_limits()
    umask = os.umask(UMASK)
    if umask != UMASK:
        os.umask((umask | UMASK) & ~_OWNERS)
    before = dict(os.environ)
    wanted = known_environment(before)
    if wanted != before:
        _put_environment(wanted)
        is_changed = any(name in _PYTHONS for name in before)
        if is_changed and not sys.flags.ignore_environment and sys.executable:
            _start_again()
    _set_streams()


def known_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without harmful variables, and with the needed ones.

    Anything else stays: people set variables for jobs and commands in the crontab.
    """
    known = {
        name: value
        for name, value in environ.items()
        if name not in _DROPPED and not name.startswith(_BASH_FUNCTION)
    }
    user = known.get("LOGNAME") or known.get("USER") or ""
    if not (user and known.get("HOME")):
        name, home = _of_this_user()
        user = user or name
        known["HOME"] = known.get("HOME") or home
    for name, value in (
        ("PATH", "/usr/bin:/bin"),
        ("SHELL", "/bin/sh"),
        ("LOGNAME", user),
        ("USER", user),
    ):
        known[name] = known.get(name) or value
    return known


def reset_signals_of_child() -> None:
    """Reset signals in a child to their defaults, none of them blocked."""
    for number in range(1, signal.NSIG):
        if number not in _IGNORED_BY_PYTHON and signal.getsignal(number) not in (
            signal.SIG_DFL,
            None,
        ):
            signal.signal(number, signal.SIG_DFL)
    # Python's own setting: writing to a closed connection raises instead of killing.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _open_standard_descriptors() -> None:
    """Open descriptors 0, 1 and 2 if they are closed.

    Otherwise the next file that is opened gets that number, and what is printed.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
            continue
        except OSError:
            # It is the lowest free number, so the next open() gets it.
            pass
        try:
            os.open(os.devnull, os.O_RDWR)
        except OSError:
            os.open("/", os.O_RDONLY)
        os.set_inheritable(number, True)


def _reset_signals() -> None:
    for number in range(1, signal.NSIG):
        if signal.getsignal(number) is not signal.SIG_IGN:
            continue
        if number in _IGNORED_ON_PURPOSE:
            # Unlike SIG_IGN, a handler is not inherited by what we start.
            signal.signal(number, _pass_over)
        elif number not in _IGNORED_BY_PYTHON:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _pass_over(_number: int, _frame: FrameType | None) -> None:
    """Ignore the signal."""


def raised(soft: int, hard: int, wanted: int) -> int:
    """Return the limit to set: at least ``wanted``, as far as the hard one allows."""
    # -1 is no limit.
    below = [limit if limit >= 0 else sys.maxsize for limit in (soft, hard, wanted)]
    limit = max(below[0], min(below[1:]))
    return limit if limit < sys.maxsize else -1


def _set_limits() -> None:
    """Raise soft limits that a shell has lowered; hard limits stay."""
    import resource

    wanted = {"RLIMIT_NOFILE": FILES, "RLIMIT_STACK": STACK}
    wanted.update(dict.fromkeys(_RAISED, -1))
    for name, least in wanted.items():
        which = getattr(resource, name, None)
        if which is not None:
            soft, hard = resource.getrlimit(which)
            _set_limit(which, soft, raised(soft, hard, least), hard)
    soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
    if hard > 1:
        # A process over the soft limit dies of SIGXCPU, which names the cause.
        _set_limit(resource.RLIMIT_CPU, soft, hard - 1, hard)
    # A core dump would contain passwords.
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    _set_limit(resource.RLIMIT_CORE, soft, 0, hard)


def _set_limit(which: int, soft: int, wanted: int, hard: int) -> None:
    import resource

    if wanted == soft:
        return
    try:
        resource.setrlimit(which, (wanted, hard))
    except (OSError, ValueError):
        # Not every system allows it.
        return


def _put_environment(wanted: Mapping[str, str]) -> None:
    for name in [name for name in os.environ if name not in wanted]:
        del os.environ[name]
    os.environ.update(wanted)


def _start_again() -> None:
    """Start Python again with the same arguments; continue if that fails."""
    words = getattr(sys, "orig_argv", None)
    if words:
        try:
            os.execv(sys.executable, [sys.executable, *words[1:]])
        except OSError:
            return


def _set_streams() -> None:
    from lib.system.streams import best_effort, output

    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            # The descriptor was closed when Python started.
            mode = "w" if number else "r"
            stream = open(number, mode, errors="backslashreplace", closefd=False)
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
    sys.stdout, sys.stderr = output(), best_effort(2)


def _of_this_user() -> tuple[str, str]:
    """Return the name and the home folder of the current user."""
    import pwd

    try:
        entry = pwd.getpwuid(os.geteuid())
    except (KeyError, OSError):
        return str(os.geteuid()), "/"
    return entry.pw_name, entry.pw_dir or "/"

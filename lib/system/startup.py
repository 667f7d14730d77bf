"""What a process finds when it starts, put in order: whoever starts it, it is the same.

cron, systemd, a daemon, a wrapper, a shell: each leaves its own descriptors, signals,
limits, umask and environment behind, and some of that changes what a run does.  This
runs before anything else, each minute, so it loads next to nothing.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from types import FrameType

#: Python ignores these itself, and has errors in their place.
_IGNORED_BY_PYTHON = (signal.SIGPIPE, getattr(signal, "SIGXFSZ", None))
#: nohup, and a shell for what stands before an &, have these ignored on purpose.
_IGNORED_ON_PURPOSE = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)

#: As cron has it.  Who is stricter stays so, but for what would lock us out ourselves.
UMASK, _OWNERS = 0o022, 0o700
#: As many files may be open as a run needs, where the system allows it.
FILES = 1024
STACK = 8 * 1024 * 1024
#: Those that are raised as far as the system allows.
_RAISED = (
    "RLIMIT_FSIZE RLIMIT_DATA RLIMIT_AS RLIMIT_RSS RLIMIT_NPROC RLIMIT_CPU".split()
)

#: Change what Python itself does, so that it has to start again without them.
_PYTHONS = frozenset(
    "PYTHONASYNCIODEBUG PYTHONCASEOK PYTHONDEBUG PYTHONDEVMODE PYTHONDUMPREFS"
    " PYTHONEXECUTABLE PYTHONHOME PYTHONINSPECT PYTHONINTMAXSTRDIGITS"
    " PYTHONIOENCODING PYTHONMALLOC PYTHONMALLOCSTATS PYTHONOPTIMIZE PYTHONPLATLIBDIR"
    " PYTHONPROFILEIMPORTTIME PYTHONSAFEPATH PYTHONTRACEMALLOC PYTHONUSERBASE"
    " PYTHONVERBOSE PYTHONWARNDEFAULTENCODING PYTHONWARNINGS".split()
)
#: Change what we start: libraries put into it, files that shells read first.
_LOADED_FIRST = frozenset(
    "LD_PRELOAD LD_AUDIT LD_DEBUG LD_DEBUG_OUTPUT LD_PROFILE"
    " BASH_ENV ENV CDPATH SHELLOPTS BASHOPTS BASH_XTRACEFD".split()
)
#: Meant for the process that was started, and for none that it starts.
_NOT_HANDED_ON = frozenset(
    "NOTIFY_SOCKET WATCHDOG_PID WATCHDOG_USEC LISTEN_PID LISTEN_FDS"
    " LISTEN_FDNAMES".split()
)
#: Has TLS write down the keys of its sessions.
_SECRETS_LEAK = frozenset(["SSLKEYLOGFILE"])
_DROPPED = _PYTHONS | _LOADED_FIRST | _NOT_HANDED_ON | _SECRETS_LEAK
#: Functions that bash would have in place of commands.
_BASH_FUNCTION = "BASH_FUNC_"


def put_in_order() -> None:
    """Have what this process was started with put in order.

    May start this Python once more, if it was told to behave otherwise than it does.
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
        misled = any(name in _PYTHONS for name in before)
        if misled and not sys.flags.ignore_environment and sys.executable:
            _start_again()
    _set_streams()


def known_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without what changes programs, and with what they need.

    Anything else stays: whoever writes a crontab sets there what jobs and commands
    are to know.
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
    """Have signals do in a child what they do in any program; none is blocked."""
    for number in range(1, signal.NSIG):
        if number not in _IGNORED_BY_PYTHON and signal.getsignal(number) not in (
            signal.SIG_DFL,
            None,
        ):
            signal.signal(number, signal.SIG_DFL)
    # As Python has it: what is written to a peer that is gone raises, and kills not.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _open_standard_descriptors() -> None:
    """Open 0, 1 and 2 where they are closed.

    Else the next file that is opened has that number, and gets what is printed.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
            continue
        except OSError:
            # It is the lowest that is free, so the next to be opened.
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
            # A handler is not passed on: what we start is to have its own way.
            signal.signal(number, _pass_over)
        elif number not in _IGNORED_BY_PYTHON:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _pass_over(_number: int, _frame: FrameType | None) -> None:
    """Do as if the signal was ignored."""


def raised(soft: int, hard: int, wanted: int) -> int:
    """Return the limit to set: at least ``wanted``, as far as the hard one allows."""
    # "Without limit" is -1 here and there.
    below = [limit if limit >= 0 else sys.maxsize for limit in (soft, hard, wanted)]
    found = max(below[0], min(below[1:]))
    return found if found < sys.maxsize else -1


def _set_limits() -> None:
    """Raise limits that somebody's shell has lowered; those of the system stay."""
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
        # What is over it is to die of SIGXCPU, which says so.
        _set_limit(resource.RLIMIT_CPU, soft, hard - 1, hard)
    # A core would hold passwords.
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    _set_limit(resource.RLIMIT_CORE, soft, 0, hard)


def _set_limit(which: int, soft: int, wanted: int, hard: int) -> None:
    import resource

    if wanted == soft:
        return
    try:
        resource.setrlimit(which, (wanted, hard))
    except (OSError, ValueError):
        # Not every system lets that be set.
        return


def _put_environment(wanted: Mapping[str, str]) -> None:
    for name in [name for name in os.environ if name not in wanted]:
        del os.environ[name]
    os.environ.update(wanted)


def _start_again() -> None:
    """Start this Python anew with the same words; go on as we are if it cannot be."""
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
            # It was closed when Python started.
            mode = "w" if number else "r"
            stream = open(number, mode, errors="backslashreplace", closefd=False)
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
    sys.stdout, sys.stderr = output(), best_effort(2)


def _of_this_user() -> tuple[str, str]:
    """Return the name and the home folder of whom this process runs as."""
    import pwd

    try:
        entry = pwd.getpwuid(os.geteuid())
    except (KeyError, OSError):
        return str(os.geteuid()), "/"
    return entry.pw_name, entry.pw_dir or "/"

"""A call that is killed, as by kill -9, before any of its calls that open or rename."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

#: What Python says before it makes such a call; see the table of audit events.
STEPS = frozenset(("open", "os.rename", "os.remove", "os.mkdir", "os.truncate"))


def killed_before(step: int, call: Callable[[], object]) -> bool:
    """Return whether a call was killed before this step of it, in a process of its own.

    It is not where it has fewer steps.
    """
    status = _status_of(step, _kill, call)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def survives(
    step: int, happens: Callable[[], object], call: Callable[[], object]
) -> bool:
    """Return whether a call ends without an error where this happens before a step."""
    return _status_of(step, happens, call) == 0


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _status_of(
    step: int, happens: Callable[[], object], call: Callable[[], object]
) -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            _before(step, happens)
            call()
            code = 0
        finally:
            os._exit(code)
    _pid, status = os.waitpid(pid, 0)
    return status


def each_kill(
    begin: Callable[[], object], call: Callable[[], object]
) -> Iterator[bool]:
    """Yield whether a call was killed, before each of its steps; at last it was not.

    ``begin`` makes what is there before it, each time.
    """
    for step in count():
        begin()
        was_killed = killed_before(step, call)
        yield was_killed
        if not was_killed:
            return


def _before(step: int, happens: Callable[[], object]) -> None:
    left = [step]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in STEPS or _only_reads(event, arguments):
            return
        left[0] -= 1
        # What happens makes steps of its own.
        if left[0] == -1:
            happens()

    sys.addaudithook(hook)


def _only_reads(event: str, arguments: tuple[Any, ...]) -> bool:
    return event == "open" and not arguments[2] & (os.O_CREAT | os.O_WRONLY | os.O_RDWR)

"""A clock that can be set ahead, for all Python code of this process and its forks.

``datetime`` itself is changed, not replaced: whatever asks for its type finds it.  What
C code asks the system stays as it is: TLS, and the times of files.
"""

from __future__ import annotations

import ctypes
import gc
import time
from datetime import UTC, datetime, tzinfo
from typing import Any

_ahead_s = 0.0
_real = {name: getattr(time, name) for name in ("time", "time_ns", "clock_gettime")}


def set_to(seconds: float) -> None:
    """Have the clock show this time now, in seconds since 1970, and go on from it."""
    global _ahead_s
    _ahead_s = seconds - _real["time"]()


def install() -> None:
    """Have this process ask our clock; before it imports what is to be tested."""
    time.time = _time
    time.time_ns = lambda: int(_time() * 1_000_000_000)
    time.clock_gettime = _clock_gettime
    for name in ("gmtime", "localtime", "ctime"):
        setattr(time, name, _OfNow(getattr(time, name)))
    strftime, localtime = time.strftime, time.localtime
    time.strftime = lambda form, at=None: strftime(form, at or localtime())
    (members,) = gc.get_referents(datetime.__dict__)
    members["now"], members["utcnow"] = classmethod(_now), classmethod(_utcnow)
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(datetime))


def _time() -> float:
    return float(_real["time"]()) + _ahead_s


def _clock_gettime(clock: int) -> float:
    if clock == time.CLOCK_REALTIME:
        return _time()
    return float(_real["clock_gettime"](clock))


class _OfNow:
    """A function of a time, or of now; no method where it lies."""

    def __init__(self, function: Any) -> None:
        self._function = function

    def __call__(self, seconds: float | None = None) -> Any:
        return self._function(_time() if seconds is None else seconds)


def _now(cls: type[datetime], tz: tzinfo | None = None) -> datetime:
    return cls.fromtimestamp(_time(), tz)


def _utcnow(cls: type[datetime]) -> datetime:
    return cls.fromtimestamp(_time(), UTC).replace(tzinfo=None)

"""How long what ends at once may take on a machine with other work.

A test that something is not waited for lets it last three times as long, or for ever:
on a busy machine a process may need seconds merely to start.
"""

from __future__ import annotations

import time
from collections.abc import Callable

SOON_S = 20


def until(happened: Callable[[], bool], limit_s: float = SOON_S) -> None:
    """Return once it has happened; fail if that takes longer than it ever should."""
    ends_at = time.monotonic() + limit_s
    while not happened():
        assert time.monotonic() < ends_at, "it never happened"
        time.sleep(0.02)

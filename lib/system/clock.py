"""The clock, as it enters at the edge: what reads the time takes it as an argument."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def utc_now() -> datetime:
    """Return the time now, in UTC."""
    return datetime.now(UTC)


def since_boot() -> float:
    """Return for how many seconds this machine has been up, its sleep included."""
    # Elsewhere than on Linux the monotonic clock begins with the boot.
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))

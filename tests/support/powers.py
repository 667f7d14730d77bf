"""What root may do and others may not: taken away, so that modes count in tests."""

from __future__ import annotations

import os
from collections.abc import Sequence


def as_anybody(command: Sequence[str]) -> list[str]:
    """Return a command for which file modes hold, also where root runs the tests."""
    if os.geteuid() != 0:
        return list(command)
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]

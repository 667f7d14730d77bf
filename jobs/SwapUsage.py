"""[swap NAME]: checks how much swap is used, and how fast it is read and written."""

from __future__ import annotations

import time
from typing import Any

from lib.jobbase import (
    CheckUnknown,
    Deadline,
    Options,
    Target,
    TargetJob,
    Values,
    kernel,
    option,
    per_second,
    percent,
)


class SwapUsage(TargetJob):
    """The swap of this machine."""

    kind = "swap"
    guide = """
        A machine without swap is OK. Much swap in use is no harm by itself; what hurts
        is `paging`, the pages that are read and written each second since the last run.
        Give it a threshold if you know what is much for your machine.

        Swap that is full cannot help any more when memory ends, so that is failing.
        """
    options: Options = {
        "fail_percent": option(percent, 90, help="failing if more than this is used"),
        "warn_percent": option(percent, 80, help="a warning above this"),
        "fail_paging": option(per_second, None, help="failing above this: pages/s"),
        "warn_paging": option(per_second, None, help="a warning above this"),
    }
    #: Where /proc is.
    root = "/"
    clock = staticmethod(time.time)

    def check(self, target: Target, deadline: Deadline) -> Values:
        """Return what is used in per cent, and the pages in and out each second."""
        meminfo = kernel.numbers(kernel.read(self.root, "proc/meminfo"))
        if not {"SwapTotal", "SwapFree"} <= meminfo.keys():
            raise CheckUnknown("/proc/meminfo has no SwapTotal and SwapFree")
        total, free = meminfo["SwapTotal"], meminfo["SwapFree"]
        self.note = f"{(total - free) / 1e9:.1f} of {total / 1e9:.1f} GB used"
        if not total:
            self.note = "this machine has no swap"
        used = 100 * (total - free) / total if total else 0.0
        values = {
            "used": percent(
                round(used, 1), warn=target.warn_percent, fail=target.fail_percent
            )
        }
        vmstat = kernel.numbers(kernel.read_if_there(self.root, "proc/vmstat"))
        if "pswpin" in vmstat and "pswpout" in vmstat:
            now = (self.clock(), vmstat["pswpin"] + vmstat["pswpout"])
            rate = rate_of(self.memory.get("pages"), now)
            self.memory["pages"] = list(now)
            if rate is not None:
                values["paging"] = per_second(
                    rate, warn=target.warn_paging, fail=target.fail_paging
                )
        return values


def rate_of(before: Any, now: tuple[float, int]) -> float | None:
    """Return the pages each second between two looks; None without an earlier one.

    A boot, or a clock that was set back, is no earlier look.
    """
    if not before:
        return None
    passed_s: float = now[0] - before[0]
    pages: int = now[1] - before[1]
    if passed_s <= 0 or pages < 0:
        return None
    return round(pages / passed_s, 1)

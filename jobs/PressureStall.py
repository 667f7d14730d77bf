"""[pressure NAME]: checks how long work stalls for lack of CPU, memory or disk."""

from __future__ import annotations

import errno
import os
import re

from lib.jobbase import (
    CheckUnknown,
    Deadline,
    Options,
    Target,
    TargetJob,
    Values,
    one_of,
    option,
    percent,
)

#: What is stalled: some of the work, or all of it.  All of a machine's work is never
#: stalled for lack of CPU.
STALLS = ("cpu_some", "memory_some", "memory_full", "io_some", "io_full")
RESOURCES = ("cpu", "memory", "io")
#: What a kernel without these figures needs.
NO_FIGURES = (
    "this kernel has no pressure figures (PSI): /proc/pressure/{} {}; it takes Linux "
    "4.20 or newer, built with CONFIG_PSI, and psi=1 on the kernel's command line if "
    "they are off by default"
)


class PressureStall(TargetJob):
    """Pressure stall information (PSI) of the kernel."""

    kind = "pressure"
    guide = """
        The kernel says in what share of the time some of the work, or all of it
        (`full`), waited for CPU, memory or disk. Unlike the load it says how much
        slower that made this machine. It averages over 10, 60 or 300 seconds;
        `average` says which of them is judged.

        All work waiting for memory is what freezes a machine, so only that is failing
        by default. That some work waits is ordinary for memory and disks, and judged
        where you give a threshold.
        """
    options: Options = {
        "average": option(
            one_of(("10", "60", "300")), "300", help="the seconds to average over"
        ),
        "fail_cpu_some": option(percent, None, help="failing above this"),
        "warn_cpu_some": option(percent, 50, help="a warning above this"),
        "fail_memory_some": option(percent, None, help="failing above this"),
        "warn_memory_some": option(percent, None, help="a warning above this"),
        "fail_memory_full": option(percent, 40, help="failing above this"),
        "warn_memory_full": option(percent, 10, help="a warning above this"),
        "fail_io_some": option(percent, None, help="failing above this"),
        "warn_io_some": option(percent, None, help="a warning above this"),
        "fail_io_full": option(percent, None, help="failing above this"),
        "warn_io_full": option(percent, 40, help="a warning above this"),
    }
    #: Where /proc is.
    root = "/"

    def check(self, target: Target, deadline: Deadline) -> Values:
        """Return the stalls in per cent of the time."""
        found = {}
        for resource in RESOURCES:
            averages = read_averages(self._read(resource))
            for word, by_seconds in averages.items():
                found[f"{resource}_{word}"] = by_seconds.get(target.average)
        values = {
            name: percent(
                share,
                warn=getattr(target, f"warn_{name}"),
                fail=getattr(target, f"fail_{name}"),
            )
            for name in STALLS
            if (share := found.get(name)) is not None
        }
        if not values:
            raise CheckUnknown("/proc/pressure is not understood")
        return values

    def _read(self, resource: str) -> str:
        path = os.path.join(self.root, "proc/pressure", resource)
        try:
            with open(path, encoding="ascii", errors="replace") as file:
                return file.read()
        except FileNotFoundError as error:
            raise CheckUnknown(NO_FIGURES.format(resource, "is missing")) from error
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:
                words = "is switched off"
                raise CheckUnknown(NO_FIGURES.format(resource, words)) from error
            raise CheckUnknown(
                f"/proc/pressure/{resource} cannot be read: {error.strerror}"
            ) from error


def read_averages(text: str) -> dict[str, dict[str, float]]:
    """Return the averages of ``some`` and ``full``, by their seconds, in per cent."""
    return {
        line.split()[0]: {
            seconds: float(share)
            for seconds, share in re.findall(r"avg(\d+)=(\d+(?:\.\d+)?)", line)
        }
        for line in text.splitlines()
        if line.strip()
    }

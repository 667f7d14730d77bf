"""[load NAME]: checks how many processes run or wait to run."""

from __future__ import annotations

from lib.jobbase import (
    CheckUnknown,
    Deadline,
    Options,
    Target,
    TargetJob,
    Values,
    count,
    kernel,
    option,
    switch,
)

MINUTES = ("1", "5", "15")
#: Of the load of 15 minutes on each core, where the settings give no threshold.
DEFAULT_WARN, DEFAULT_FAIL = 5.0, 10.0


class LoadAverage(TargetJob):
    """The load of this machine."""

    kind = "load"
    guide = """
        The load counts processes that run, that wait for a core, and on Linux those
        that wait for a disk. What is too much depends on the machine, so give
        thresholds that suit it, as numbers, or with `per_core = yes` for each core. A
        quota of the cgroup, such as that of a container, counts as its cores.

        Without any threshold the load of 15 minutes on each core is a warning above 5,
        and failing above 10: below that a machine is slow, but works.
        """
    options: Options = {
        "per_core": option(
            switch, False, help="yes: divide the load by the cores, or by the quota's"
        ),
        "fail_load1": option(count, None, help="failing above this, of 1 minute"),
        "warn_load1": option(count, None, help="a warning above this"),
        "fail_load5": option(count, None, help="failing above this, of 5 minutes"),
        "warn_load5": option(count, None, help="a warning above this"),
        "fail_load15": option(count, None, help="failing above this, of 15 minutes"),
        "warn_load15": option(count, None, help="a warning above this"),
    }
    #: Where /proc and /sys are.
    root = "/"

    def check(self, target: Target, deadline: Deadline) -> Values:
        """Return the three loads, divided by the cores if that is asked for."""
        loads = read_loads(kernel.read(self.root, "proc/loadavg"))
        cores = kernel.cores(self.root)
        self.note = f"load {loads[0]:g}, {loads[1]:g}, {loads[2]:g} on {cores:g} cores"
        divisor = cores if target.per_core else 1.0
        values = {
            f"load{minutes}": count(
                round(load / divisor, 2),
                warn=getattr(target, f"warn_load{minutes}"),
                fail=getattr(target, f"fail_load{minutes}"),
            )
            for minutes, load in zip(MINUTES, loads, strict=True)
        }
        if not any(value.warn or value.fail for value in values.values()):
            per_core = round(loads[2] / cores, 2)
            values["load15_per_core"] = count(
                per_core, warn=DEFAULT_WARN, fail=DEFAULT_FAIL
            )
        return values


def read_loads(text: str) -> tuple[float, float, float]:
    """Return the three loads of /proc/loadavg; raise CheckUnknown for other text."""
    try:
        one, five, fifteen = (float(word) for word in text.split()[:3])
    except ValueError as error:
        raise CheckUnknown(f"/proc/loadavg is not understood: {text[:60]!r}") from error
    return one, five, fifteen

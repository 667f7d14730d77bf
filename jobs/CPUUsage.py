"""[cpu NAME]: checks how busy the cores are, and what they wait for."""

from __future__ import annotations

import time
from collections.abc import Sequence
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
    percent,
    seconds,
)

#: The columns of the first line of /proc/stat; those of guests are in user and nice.
COLUMNS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
IDLE, IOWAIT, STEAL = (COLUMNS.index(word) for word in ("idle", "iowait", "steal"))
#: How long the first run measures; too short to judge.
FIRST_S = 0.5
#: The most times that are kept.
MANY = 15


class CPUUsage(TargetJob):
    """The cores of this machine."""

    kind = "cpu"
    guide = """
        The figures are those of the last 10 minutes (`over`), as one busy minute is
        ordinary; they need runs to compare with. The first run measures for half a
        second; nothing is judged before half of `over` is known, also after a boot.

        `busy` is all but idle, iowait and steal. `iowait` is time in which a core had
        nothing else to do than to wait for a disk. `steal` is time that the host gave
        to other virtual machines. A busy machine works, so the defaults only warn:
        nothing is failing unless you say so.
        """
    options: Options = {
        "over": option(
            seconds,
            600.0,
            help="judge the average over this time; 0s: since the run before",
        ),
        "fail_busy": option(percent, None, help="failing above this"),
        "warn_busy": option(percent, 95, help="a warning above this"),
        "fail_iowait": option(percent, None, help="failing above this"),
        "warn_iowait": option(percent, 40, help="a warning above this"),
        "fail_steal": option(percent, None, help="failing above this"),
        "warn_steal": option(percent, 10, help="a warning above this"),
    }
    #: Where /proc is.
    root = "/"
    clock = staticmethod(time.time)
    first_s = FIRST_S

    def check(self, target: Target, deadline: Deadline) -> Values:
        """Return busy, iowait and steal in per cent of all cores' time."""
        now: Sequence[int] = read_times(kernel.read(self.root, "proc/stat"))
        clock = self.clock()
        samples = comparable(self.memory.get("samples"), clock, now)
        is_first = not samples
        if is_first:
            time.sleep(self.first_s)
            before, before_at = now, clock
            now = read_times(kernel.read(self.root, "proc/stat"))
            clock = self.clock()
        else:
            before_at, before = start_of(samples, clock, target.over)
        self.memory["samples"] = kept(samples, clock, now, target.over)
        shares = shares_of(before, now)
        if shares is None:
            raise CheckUnknown("/proc/stat does not advance")
        self.note = f"over {clock - before_at:.0f} s"
        if is_first or clock - before_at < target.over / 2:
            # One busy minute after the first run is as ordinary as any other.
            self.note += ", too short to judge"
            return {name: percent(share) for name, share in shares.items()}
        return {
            name: percent(
                share,
                warn=getattr(target, f"warn_{name}"),
                fail=getattr(target, f"fail_{name}"),
            )
            for name, share in shares.items()
        }


#: When, in seconds of the epoch, and the times of all cores until then.
Sample = tuple[float, Sequence[int]]


def read_times(text: str) -> list[int]:
    """Return the times of all cores in /proc/stat, in ticks."""
    words = text.partition("\n")[0].split()
    if words[:1] != ["cpu"] or not all(word.isdigit() for word in words[1:]):
        raise CheckUnknown("/proc/stat is not understood: its first line is not cpu")
    times = [int(word) for word in words[1 : len(COLUMNS) + 1]]
    return times + [0] * (len(COLUMNS) - len(times))


def comparable(stored: Any, clock: float, now: Sequence[int]) -> list[Sample]:
    """Return the samples of earlier runs since the boot, oldest first.

    After a boot the times begin at 0 again; a clock that was set back makes none of
    them usable.
    """
    samples = []
    for at, times in stored or ():
        if at < clock and len(times) == len(now) and sum(times) < sum(now):
            samples.append((at, times))
    return samples


def start_of(samples: Sequence[Sample], clock: float, over_s: float) -> Sample:
    """Return the oldest sample within the time, or else the newest of all."""
    # A run is not exactly a minute after the one before.
    within = [sample for sample in samples if clock - sample[0] <= over_s + 15]
    return within[0] if within and over_s else samples[-1]


def kept(
    samples: Sequence[Sample], clock: float, now: Sequence[int], over_s: float
) -> list[Sample]:
    """Return the samples to remember: some of the time, and always the newest."""
    spacing_s = over_s / (MANY - 2)
    within = [sample for sample in samples if clock - sample[0] <= over_s]
    if len(within) > 1 and within[-1][0] - within[-2][0] < spacing_s:
        # The newest one stands for the last run only; it is replaced.
        within.pop()
    return [*within[-MANY:], (clock, list(now))]


def shares_of(before: Sequence[int], after: Sequence[int]) -> dict[str, float] | None:
    """Return busy, iowait and steal between two samples, in per cent; None if no time
    has passed.  The kernel's own iowait can run backwards; that counts as 0."""
    spent = [max(0, new - old) for old, new in zip(before, after, strict=True)]
    total = sum(spent)
    if not total:
        return None
    busy = total - spent[IDLE] - spent[IOWAIT] - spent[STEAL]
    ticks = {"busy": busy, "iowait": spent[IOWAIT], "steal": spent[STEAL]}
    return {name: round(100 * share / total, 1) for name, share in ticks.items()}

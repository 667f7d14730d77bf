"""[memory NAME]: checks how much memory is available, and what was killed for it."""

from __future__ import annotations

from lib.jobbase import (
    CheckUnknown,
    Deadline,
    Options,
    Share,
    Target,
    TargetJob,
    Values,
    count,
    kernel,
    option,
    share_or_size,
    with_free,
)


class MemoryUsage(TargetJob):
    """The memory of this machine, or of our cgroup if that has less."""

    kind = "memory"
    guide = """
        `available` is what programs can get without swapping, as the kernel reckons it:
        caches that it can drop count, so a machine is not "full" because it has read
        files. If the cgroup that Checker runs in, such as a container, has a limit and
        less of it left, that is what counts.

        A process that the kernel killed for lack of memory since the last run is a
        warning, which is over in the next run.
        """
    options: Options = {
        "fail_available": option(
            share_or_size, Share(5), below=True, help="failing below this: 5% or 500MB"
        ),
        "warn_available": option(
            share_or_size, Share(10), below=True, help="a warning below this"
        ),
        "fail_oom_kills": option(
            count, None, help="failing if more were killed since the last run: 0"
        ),
        "warn_oom_kills": option(
            count, 0, help="a warning if more were killed since the last run"
        ),
    }
    #: Where /proc and /sys are.
    root = "/"

    def check(self, target: Target, deadline: Deadline) -> Values:
        """Return what is available, and how many processes were killed."""
        total, available = available_of(
            kernel.numbers(kernel.read(self.root, "proc/meminfo"))
        )
        where = "this machine"
        limit = kernel.memory_limit(self.root)
        if limit and limit[0] < total and limit[0] - limit[1] < available:
            total, available = limit[0], max(0, limit[0] - limit[1])
            where = "the cgroup's limit"
        self.note = f"{available / 1e9:.1f} of {total / 1e9:.1f} GB available, {where}"
        values = with_free(
            "available",
            available,
            total,
            warn=target.warn_available,
            fail=target.fail_available,
        )
        kills = kernel.oom_kills(self.root)
        if kills is not None:
            before = self.memory.get("oom_kills")
            self.memory["oom_kills"] = kills
            values["oom_kills"] = count(
                since(before, kills),
                warn=target.warn_oom_kills,
                fail=target.fail_oom_kills,
            )
        return values


def available_of(meminfo: dict[str, int]) -> tuple[int, int]:
    """Return the memory of the machine, and what is available, in bytes."""
    try:
        return meminfo["MemTotal"], meminfo["MemAvailable"]
    except KeyError as error:
        raise CheckUnknown(
            f"/proc/meminfo has no {error.args[0]}; Linux 3.14 or newer has it"
        ) from error


def since(before: int | None, now: int) -> int:
    """Return how many were killed since the last run; a boot begins at 0 again."""
    if before is None:
        return 0
    return now - before if now >= before else now

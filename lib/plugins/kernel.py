"""What the kernel says in /proc and /sys, of the machine and of our own cgroup.

``root`` is where these two folders are: ``/``, or a folder with files to play.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from lib.plugins.base import CheckUnknown

#: The oldest kind of cgroup writes "no limit" as a number near 2**63.
_NO_LIMIT = 1 << 60


def read(root: str, path: str) -> str:
    """Return the text of a file of the kernel; raise CheckUnknown if it has none."""
    text = read_if_there(root, path)
    if not text:
        raise CheckUnknown(f"/{path} cannot be read; this check needs Linux with /proc")
    return text


def read_if_there(root: str, path: str) -> str:
    """Return the text of a file of the kernel; empty if it cannot be read."""
    try:
        with open(os.path.join(root, path), encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def numbers(text: str) -> dict[str, int]:
    """Return the numbers of lines such as ``MemFree:  10 kB`` or ``oom_kill 3``.

    Those with kB are returned in bytes.
    """
    found = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[1].isascii() and words[1].isdigit():
            factor = 1024 if words[2:] == ["kB"] else 1
            found[words[0].rstrip(":")] = int(words[1]) * factor
    return found


def cores(root: str) -> float:
    """Return how many cores we may use: those of the machine, or of our quota."""
    if hasattr(os, "sched_getaffinity"):
        usable = float(len(os.sched_getaffinity(0)))
    else:
        usable = float(os.cpu_count() or 1)
    quotas = [quota for folder in _cgroups(root, "cpu") if (quota := _quota(folder))]
    return min([usable, *quotas])


def _quota(folder: str) -> float:
    """Return the cores of a cgroup's quota; 0 if it has none."""
    words = read_if_there(folder, "cpu.max").split() or [
        read_if_there(folder, "cpu.cfs_quota_us").strip(),
        read_if_there(folder, "cpu.cfs_period_us").strip(),
    ]
    if len(words) == 2 and all(word.isdigit() and int(word) for word in words):
        return int(words[0]) / int(words[1])
    return 0.0


def memory_limit(root: str) -> tuple[int, int] | None:
    """Return limit and use in bytes of the cgroup with the least left above us.

    Cache of files that the kernel can drop at once counts as not used.  None: no cgroup
    that we are in has a limit below the memory of the machine.
    """
    limits = [limit for folder in _cgroups(root, "memory") if (limit := _limit(folder))]
    return min(limits, key=lambda limit: limit[0] - limit[1], default=None)


def _limit(folder: str) -> tuple[int, int] | None:
    stat = numbers(read_if_there(folder, "memory.stat"))
    for names in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        limit, used = (read_if_there(folder, name).strip() for name in names[:2])
        if limit.isdigit() and used.isdigit() and int(limit) < _NO_LIMIT:
            return int(limit), max(0, int(used) - stat.get(names[2], 0))
    return None


def oom_kills(root: str) -> int | None:
    """Return how many processes were killed for lack of memory since the boot.

    None: this kernel does not count them.
    """
    return numbers(read_if_there(root, "proc/vmstat")).get("oom_kill")


def _cgroups(root: str, controller: str) -> Iterator[str]:
    """Yield the folder of our cgroup for a controller, and of each above it."""
    for line in read_if_there(root, "proc/self/cgroup").splitlines():
        _number, _colon, rest = line.partition(":")
        controllers, _colon, path = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        top = os.path.join(root, "sys/fs/cgroup", controller if controllers else "")
        folder = path.strip("/")
        while True:
            yield os.path.join(top, folder)
            if not folder:
                break
            folder = os.path.dirname(folder)

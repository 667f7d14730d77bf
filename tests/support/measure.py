"""What one start of a program costs: wall time, CPU, memory of all its processes."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

#: A run ends within 55 s; one that does not is killed, and said to have been.
RUN_LIMIT_S = 58
SAMPLE_EVERY_S = 0.05


@dataclass(frozen=True)
class Cost:
    """What one start of a program took."""

    wall_s: float
    #: User and system time, also of the processes it started and waited for.
    cpu_s: float
    #: All its processes together; a page that n of them share counts 1/n in each.
    peak_pss_mib: float = 0.0
    processes: int = 0
    exit_code: int = 0
    said: str = ""


def cost(command: Sequence[str], *, watch: bool = False) -> Cost:
    """Return what one start took; with ``watch``, also the memory of its processes."""
    with tempfile.TemporaryFile() as said:
        began = time.perf_counter()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            # As cron gives it, or nearly.
            env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
            start_new_session=True,
        )
        peak_mib, most = 0.0, 1
        status, usage = 0, None
        while usage is None:
            pid, status, found = os.wait4(process.pid, os.WNOHANG if watch else 0)
            if pid:
                usage = found
            else:
                sizes = pss_mib(process.pid)
                peak_mib, most = max(peak_mib, sum(sizes)), max(most, len(sizes))
                if time.perf_counter() - began > RUN_LIMIT_S:
                    os.killpg(process.pid, signal.SIGKILL)
                time.sleep(SAMPLE_EVERY_S)
        wall_s = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        words = said.read().decode("utf-8", "replace").strip()
    cpu_s = usage.ru_utime + usage.ru_stime
    return Cost(wall_s, cpu_s, peak_mib, most, process.returncode, words)


def pss_mib(root: int) -> list[float]:
    """Return the proportional size of a process and of each that descends from it."""
    children: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            # The name, in brackets, may hold anything; what follows it does not.
            fields = Path(entry.path, "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(entry.name))
    family, found = [root], []
    while family:
        pid = family.pop()
        found.append(_pss_mib(pid))
        family += children.get(pid, [])
    return found


def _pss_mib(pid: int) -> float:
    """Return the size of one process; 0 where it is gone, or the system has no PSS."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024

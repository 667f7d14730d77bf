"""How long a run takes on this machine: ``make bench``.  Printed, never asserted.

The program is started as cron starts it, with settings and a state folder of its own
in a temporary place; the HTTP server is a process of its own on loopback.
"""

from __future__ import annotations

import asyncio
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 20
TARGETS = 1_000
#: A run ends within 55 s; one that does not is killed, and said to have been.
RUN_LIMIT_S = 58
#: So that the whole stays below a minute where a run is slow.
ROUNDS_LIMIT_S = 15
SAMPLE_EVERY_S = 0.02

GENERAL = """\
[general]
servername = bench
alertcontact = nobody@example.com
"""
TARGET = """
[http target-{number}]
url = http://127.0.0.1:{port}/{number}
expect_text = well
"""
ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\n"
    b"All well\n"
)


@dataclass(frozen=True)
class Cost:
    """What one start of a program took."""

    wall_s: float
    cpu_s: float
    #: All its processes together; a page that two share counts twice.
    peak_rss_mb: float = 0.0
    processes: int = 0
    exit_code: int = 0
    said: str = ""


def main() -> None:
    """Print everything; takes well under a minute where a run does."""
    print(f"commit   {commit()}")
    print(f"machine  {machine()}")
    with tempfile.TemporaryDirectory(prefix="checker-bench-") as name:
        folder = Path(name)
        bare = many([sys.executable, "-c", "pass"])
        print_costs("python -c pass", bare)
        whole = many(order(folder, "nothing-due", GENERAL))
        print_costs("a whole run with nothing due", whole)
        tick = many(idle_order(folder))
        print_costs("a tick with nothing due", tick)
        times = median_wall(tick) / median_wall(bare)
        print(f"  that is {times:.1f} times python -c pass (medians of wall time)")
        with http_server(folder) as port:
            sections = (TARGET.format(number=n, port=port) for n in range(TARGETS))
            text = GENERAL + "".join(sections)
            run = cost(order(folder, "targets", text), watch=True)
        served = int((folder / "served").read_text() or 0)
    print(f"{TARGETS} HTTP targets on loopback")
    print(
        f"  wall {run.wall_s:.2f} s, CPU {run.cpu_s:.2f} s, exit code {run.exit_code}"
    )
    print(f"  {TARGETS / run.wall_s:.0f} targets a second; {served} requests served")
    print(f"  peak RSS {run.peak_rss_mb:.0f} MB over {run.processes} processes at most")
    if run.said:
        print(f"  it said: {run.said[:500]}")


def commit() -> str:
    """Return the commit that is measured, and whether files differ from it."""
    done = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"],
        capture_output=True,
        text=True,
        timeout=10,
    )
    return done.stdout.strip() or "none"


def machine() -> str:
    """Return what the figures depend on."""
    memory_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    return (
        f"{os.cpu_count()} CPUs ({_cpu_name()}), {memory_mb} MB, "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    )


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if "model name" in line)
    return next(names, platform.machine())


def order(folder: Path, name: str, settings: str) -> list[str]:
    """Return the command line of a minute run with these settings."""
    path = folder / f"{name}.cfg"
    path.touch(0o600)
    path.write_text(settings, "utf-8")
    state = folder / f"{name}-state"
    state.mkdir(mode=0o700)
    program = [sys.executable, str(ROOT / "checker.py"), "-m", "cron", "-c", "minute"]
    return [*program, "--nomail", "-f", str(path), "--state", str(state)]


def idle_order(folder: Path) -> list[str]:
    """Return the command line of a run of which a note says it has nothing to do."""
    settings = f"{GENERAL}[email]\nnomail = yes\n"
    command = [word for word in order(folder, "idle", settings) if word != "--nomail"]
    # What has changed just now is not trusted.
    time.sleep(2.1)
    cost(command)
    cost(command)
    if not (folder / "idle-state" / "idle").exists():
        print("there is no note, so what follows are whole runs")
    return command


def many(command: Sequence[str]) -> list[Cost]:
    """Return what each of ROUNDS starts took, after one that warms caches."""
    cost(command)
    ends_at = time.monotonic() + ROUNDS_LIMIT_S
    found: list[Cost] = []
    while len(found) < ROUNDS and time.monotonic() < ends_at:
        found.append(cost(command))
    return found


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
        peak_mb, most = 0.0, 1
        status, usage = 0, None
        while usage is None:
            pid, status, found = os.wait4(process.pid, os.WNOHANG if watch else 0)
            if pid:
                usage = found
            else:
                sizes = resident_mb(process.pid)
                peak_mb, most = max(peak_mb, sum(sizes)), max(most, len(sizes))
                if time.perf_counter() - began > RUN_LIMIT_S:
                    os.killpg(process.pid, signal.SIGKILL)
                time.sleep(SAMPLE_EVERY_S)
        wall_s = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        words = said.read().decode("utf-8", "replace").strip()
    cpu_s = usage.ru_utime + usage.ru_stime
    return Cost(wall_s, cpu_s, peak_mb, most, process.returncode, words)


def resident_mb(root: int) -> list[float]:
    """Return the resident size of a process and of each that descends from it."""
    children: dict[int, list[int]] = {}
    size_mb: dict[int, float] = {}
    page_mb = os.sysconf("SC_PAGE_SIZE") / 2**20
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            # The name, in brackets, may hold anything; what follows it does not.
            fields = Path(entry.path, "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        pid = int(entry.name)
        children.setdefault(int(fields[1]), []).append(pid)
        size_mb[pid] = int(fields[21]) * page_mb
    family, found = [root], []
    while family:
        pid = family.pop()
        found.append(size_mb.get(pid, 0.0))
        family += children.get(pid, [])
    return found


def median_wall(costs: Sequence[Cost]) -> float:
    """Return the median of the wall times."""
    return statistics.median(one.wall_s for one in costs)


def print_costs(what: str, costs: Sequence[Cost]) -> None:
    """Print best and median of several starts, and what one said, if any did."""
    walls = sorted(one.wall_s * 1000 for one in costs)
    cpus = sorted(one.cpu_s * 1000 for one in costs)
    print(f"{what}, {len(costs)} starts")
    for name, found in (("wall", walls), ("CPU", cpus)):
        middle = statistics.median(found)
        print(f"  {name:4} best {found[0]:6.1f} ms, median {middle:6.1f} ms")
    loud = next((one for one in costs if one.exit_code or one.said), None)
    if loud:
        print(f"  exit code {loud.exit_code}; it said: {loud.said[:500]}")


@contextmanager
def http_server(folder: Path) -> Iterator[int]:
    """Run the HTTP server while the block runs; yield its port."""
    command = [sys.executable, __file__, "--serve", str(folder / "served")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline())
        finally:
            server.terminate()


async def serve(served: Path) -> None:
    """Answer every request on loopback until SIGTERM; leave how many in ``served``."""
    count = 0

    async def answer(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        nonlocal count
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                count += 1
                writer.write(ANSWER)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=1024)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    print(server.sockets[0].getsockname()[1], flush=True)
    await stopped.wait()
    served.write_text(str(count))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        asyncio.run(serve(Path(sys.argv[2])))
    else:
        main()

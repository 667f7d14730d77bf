"""A Linux of the test's own: Debian's user-mode-linux, which is a kernel as a process.

It has what this machine's kernel may lack or shares with everybody: cgroups of the
second kind with limits, NFS, and a clock that may be set.  ``looks(folder)`` boots it
once, on this machine's files, read-only; what is looked at in it is below ``LOOKS``.
The packages are user-mode-linux and nfs-kernel-server, and the file systemd-timesyncd.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
#: Where the package is installed, or unpacked: it cannot be installed beside chrony.
TIMESYNCDS = (
    Path("/usr/lib/systemd/systemd-timesyncd"),
    ROOT / "build/timesyncd/lib/systemd/systemd-timesyncd",
    ROOT / "build/timesyncd/usr/lib/systemd/systemd-timesyncd",
)
#: How long all may take, and how much memory the kernel has.
BOOT_S, LOOK_S, MEMORY = 240, 75, "400M"
#: Where what is found is left, in the kernel.
OUT = "/mnt/out"
#: System calls of x86-64, and the flag that turns a machine off.
_FINIT_MODULE, _POWER_OFF = 313, 0x4321FEDC


def why_not() -> str:
    """Return why no kernel can be booted here; empty if one can."""
    if os.geteuid() != 0 or os.uname().machine != "x86_64":
        return "a kernel of its own takes root and an x86-64 machine"
    for program, package in (
        ("linux.uml", "user-mode-linux"),
        ("rpc.nfsd", "nfs-kernel-server"),
        ("chronyd", "chrony"),
    ):
        if shutil.which(program, path="/usr/sbin:/usr/bin") is None:
            return f"as root: apt-get install {package}"
    return ""


def looks(folder: Path) -> dict[str, Any]:
    """Boot a kernel; return what each look has found in it."""
    out = folder / "out"
    out.mkdir()
    words = ["linux.uml", f"mem={MEMORY}", "root=none", "rootfstype=hostfs", "ro"]
    words += ["rootflags=/", "con=null", "con0=null,fd:1", "quiet"]
    words += [f"PYTHONPATH={ROOT}", f"init={sys.executable}"]
    words += ["--", "-m", "tests.support.ownkernel", str(out)]
    # It has processes of its own, which would stay behind.
    how: dict[str, Any] = {"stdin": -3, "stdout": -1, "stderr": -2}
    with subprocess.Popen(words, start_new_session=True, **how) as kernel:
        try:
            said, _none = kernel.communicate(timeout=BOOT_S)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(kernel.pid, signal.SIGKILL)
    path = out / "found"
    assert path.exists(), said.decode(errors="replace")[-3000:]
    return dict(json.loads(path.read_text()))


# What is done in that kernel, by its first process.


def main() -> None:
    """Look at everything, leave what was found, and turn the machine off."""
    try:
        _prepare(sys.argv[1])
        found = {look.__name__: _found_by(look) for look in LOOKS}
        Path(OUT, "new").write_text(json.dumps(found))
        Path(OUT, "new").rename(Path(OUT, "found"))
    except Exception:
        traceback.print_exc()
    sys.stdout.flush()
    ctypes.CDLL(None).reboot(_POWER_OFF)


def _prepare(out: str) -> None:
    os.environ["PATH"] = "/usr/sbin:/usr/bin:/sbin:/bin"
    mount("proc", "/proc", "proc")
    mount("sys", "/sys", "sysfs")
    for folder in ("/run", "/mnt", "/var/lib/nfs", "/var/lib/systemd"):
        mount("tmpfs", folder, "tmpfs")
    mount("none", OUT, "hostfs", out)
    mount("cgroup", "/sys/fs/cgroup", "cgroup2")
    signal.signal(signal.SIGALRM, _too_long)
    os.environ["TMPDIR"] = "/mnt/tmp"
    os.mkdir("/mnt/tmp")
    link("up")


def _found_by(look: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    print(look.__name__, flush=True)
    signal.alarm(LOOK_S)
    try:
        return look()
    except Exception:
        return {"error": traceback.format_exc()}


def _too_long(_number: int, _frame: object) -> None:
    raise TimeoutError


def mount(source: str, folder: str, kind: str, options: str = "") -> None:
    """Mount a file system on a folder that need not be there; raise OSError."""
    os.makedirs(folder, exist_ok=True)
    libc = ctypes.CDLL(None, use_errno=True)
    words = [os.fsencode(word) for word in (source, folder, kind)]
    if libc.mount(*words, 0, os.fsencode(options)):
        raise OSError(ctypes.get_errno(), "mount", folder)


def insert(module: str) -> None:
    """Load a module of the kernel, and what it needs."""
    folder = Path("/usr/lib/uml/modules", os.uname().release)
    needs: dict[str, list[str]] = {}
    for line in (folder / "modules.dep").read_text().splitlines():
        path, _colon, others = line.partition(":")
        needs[Path(path).stem] = [*reversed(others.split()), path]
    for path in needs[module]:
        with (folder / path).open("rb") as file:
            # One that is there already is an error, which is no matter.
            ctypes.CDLL(None).syscall(_FINIT_MODULE, file.fileno(), b"", 0)


def link(state: str) -> None:
    """Have the network, which is loopback, ``up`` or ``down``."""
    subprocess.run(["ip", "link", "set", "lo", state], check=True)


LOOK_IN_BOX = """\
import json, sys
from pathlib import Path
for folder in sys.argv[1:3]:
    Path(folder, "cgroup.procs").write_text("0")
kept = bytearray(int(sys.argv[3]))
for at in range(0, len(kept), 4096):
    kept[at] = 1
from jobs.MemoryUsage import MemoryUsage
from lib.plugins import kernel
from tests.support.listeners import job_of, result_of
memory = result_of(job_of(MemoryUsage, warn_available="25%"))
print(json.dumps([memory.status, memory.reason, kernel.cores("/")]))
"""


def looked_in(box: tuple[Path, Path], mb: int) -> subprocess.CompletedProcess[str]:
    """Return what a process in a cgroup finds that uses so much memory itself."""
    words = [sys.executable, "-c", LOOK_IN_BOX, *map(str, box), str(mb * 1024**2)]
    return subprocess.run(words, capture_output=True, text=True, cwd=ROOT)


def cgroup() -> dict[str, Any]:
    """Look at the limits of a cgroup: 80 MB, and half a core."""
    from jobs.MemoryUsage import MemoryUsage
    from tests.support.listeners import job_of, run_of

    top = Path("/sys/fs/cgroup")
    (top / "cgroup.subtree_control").write_text("+memory +cpu")
    box = top / "box" / "inner"
    box.parent.mkdir()
    (box.parent / "cgroup.subtree_control").write_text("+memory +cpu")
    box.mkdir()
    # Of what is above it the limits hold, too.
    (box.parent / "memory.max").write_text(str(80 * 1024**2))
    job = job_of(MemoryUsage)
    _said, memory = run_of(job, {})
    idle, used, killed = (looked_in((box, box), mb) for mb in (1, 60, 120))
    said, memory = run_of(job, memory)
    return {
        "idle": json.loads(idle.stdout),
        "used": json.loads(used.stdout),
        "killed": killed.returncode,
        "told": [said, run_of(job, memory)[0]],
        "half a core": _with_half_a_core(box),
    }


def _with_half_a_core(box: Path) -> list[float]:
    """Return the cores in a cgroup, and the load of each beside that of the machine."""
    from jobs.LoadAverage import LoadAverage
    from lib.plugins import kernel
    from tests.support.listeners import job_of, result_of

    job = job_of(LoadAverage, per_core="yes", warn_load15="1000")
    result_of(job)
    # The kernel looks each 5 seconds who is running, and may have seen nobody.
    ends_at = time.monotonic() + 60
    while os.getloadavg()[0] <= 0.1 and time.monotonic() < ends_at:
        pass
    output, to_parent = os.pipe()
    if not os.fork():
        (box / "cgroup.procs").write_text("0")
        # This kernel never wakes who has used up a quota; this does not take so long.
        (box / "cpu.max").write_text("500000 1000000")
        loads = [os.getloadavg()[0], result_of(job).values["load1"].number]
        loads += [os.getloadavg()[0]]
        cores = kernel.cores("/")
        (box / "cpu.max").write_text("max")
        os.write(to_parent, json.dumps([cores, *loads]).encode())
        os._exit(0)
    os.wait()
    return list(json.loads(os.read(output, 1000)))


def nfs() -> dict[str, Any]:
    """Look at a mount of NFS whose server goes away, and comes back."""
    from jobs.DiskSpace import DiskSpace
    from tests.support.listeners import job_of, run_of
    from tests.support.waits import until

    with _exported("/mnt/disk"):
        options = "vers=4.2,hard,addr=127.0.0.1,clientaddr=127.0.0.1"
        mount("127.0.0.1:/", "/mnt/nfs", "nfs4", options)
        one = job_of(DiskSpace, path="/mnt/nfs", timeout="10s")
        chosen = {"types": "nfs4, tmpfs", "paths": "/mnt/disk, /mnt/nfs"}
        every = job_of(DiskSpace, mounts="all", timeout="15s", **chosen)
        # Where others compute too, the first child takes its time to start.
        for job in (one, every):
            until(lambda job=job: run_of(job, {})[0].startswith("ok"), 30)
        link("down")
        found: dict[str, Any] = {}
        began = time.monotonic()
        found["hung"], memory = run_of(one, {})
        found["took"] = time.monotonic() - began
        found["left_behind"] = len(memory.get("left_behind", ()))
        found["every"], _memory = run_of(every, {})
        found["values"] = sorted(every.values)
        link("up")
        until(lambda: run_of(one, memory)[0].startswith("ok"), 60)
    return found


@contextlib.contextmanager
def _exported(folder: str) -> Iterator[None]:
    """Serve a folder by NFS; the kernel does that itself."""
    insert("nfsd")
    insert("nfsv4")
    mount("nfsd", "/proc/fs/nfsd", "nfsd")
    mount("tmpfs", folder, "tmpfs")
    for name in ("etab", "rmtab"):
        Path("/var/lib/nfs", name).touch()
    for line in (
        f"exportfs -o rw,no_root_squash,fsid=0 127.0.0.1:{folder}",
        "rpc.mountd -N 3",
        "rpc.nfsd -N 3 -V 4 2",
    ):
        subprocess.run(line.split(), check=True, capture_output=True)
    yield


CHRONY = """local stratum 3
allow 127.0.0.1
cmdport 0
bindcmdaddress /
pidfile /run/chronyd.pid
"""
TIMESYNCD = """[Time]
NTP=127.0.0.1
FallbackNTP=
ConnectionRetrySec=1
PollIntervalMinSec=16
PollIntervalMaxSec=17
"""


def timesyncd() -> dict[str, Any]:
    """Look at systemd-timesyncd: without a server, with one, and long after that."""
    from jobs.ClockChecker import TIMESYNCD as MARK
    from jobs.ClockChecker import ClockChecker
    from tests.support.listeners import job_of, run_of

    program = next((path for path in TIMESYNCDS if path.exists()), None)
    if program is None:
        return {"skipped": "systemd-timesyncd is neither installed nor unpacked"}
    job = job_of(ClockChecker, daemon="timesyncd")
    found = {"none": run_of(job, {})[0]}
    # What its unit does.
    passwd = Path("/etc/passwd").read_text()
    Path("/run/passwd").write_text(
        f"systemd-timesync:x:997:997::/:/bin/false\n{passwd}"
    )
    subprocess.run(["mount", "--bind", "/run/passwd", "/etc/passwd"], check=True)
    for folder in ("/run/systemd/timesync", "/var/lib/systemd/timesync"):
        os.makedirs(folder)
        os.chown(folder, 997, 997)
    os.makedirs("/run/systemd/timesyncd.conf.d")
    Path("/run/systemd/timesyncd.conf.d/test.conf").write_text(TIMESYNCD)
    Path("/run/chrony.conf").write_text(CHRONY)
    # It looks no server up while there is no address but that of loopback.
    subprocess.run("ip address add 192.0.2.1/32 dev lo".split(), check=True)
    with _running([str(program)]):
        time.sleep(2)
        found["alone"] = run_of(job, {})[0]
    with _running("chronyd -x -d -u root -f /run/chrony.conf".split()):
        time.sleep(2)
        # What is answered by nobody is asked again after half a minute only.
        with _running([str(program)]):
            ends_at = time.monotonic() + 20
            while time.monotonic() < ends_at and not os.path.exists(MARK):
                time.sleep(0.5)
            found["synchronised"] = run_of(job, {})[0]
    time.clock_settime(time.CLOCK_REALTIME, time.time() + 3 * 3600)
    found["later"] = run_of(job, {})[0]
    return found


@contextlib.contextmanager
def _running(words: list[str]) -> Iterator[None]:
    """Have a daemon run meanwhile."""
    daemon = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        daemon.kill()
        daemon.wait(5)


LOOKS = (cgroup, nfs, timesyncd)

if __name__ == "__main__":
    main()

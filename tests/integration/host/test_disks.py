"""[disk NAME] on file systems of the test's own, and [memory] in a cgroup.

btrfs whose metadata are full, read-only mounts, a disk that is missing, and mounts
that do not answer.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.DiskSpace import DiskSpace
from jobs.MemoryUsage import MemoryUsage
from lib.plugins import aside
from tests.support import mounts
from tests.support.listeners import found_by, job_of, result_of, run_of
from tests.support.ownkernel import looked_in
from tests.support.waits import SOON_S, until

pytestmark = pytest.mark.integration


def found(**options: object) -> str:
    return found_by(DiskSpace, **options)


def mounted(folder: Path, make: str, size: str, options: str = "") -> Iterator[Path]:
    """Yield a mounted image, or skip and say why."""
    if os.geteuid() != 0:
        pytest.skip("to mount a disk takes root")
    if shutil.which(make.split()[0]) is None:
        package = "btrfs-progs" if "btrfs" in make else "e2fsprogs"
        pytest.skip(f"as root: apt-get install {package}")
    try:
        with mounts.image(folder, make, size, options) as it:
            yield it
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no disk can be mounted here: {error.stderr!r}")


@pytest.fixture
def btrfs(tmp_path: Path) -> Iterator[Path]:
    yield from mounted(tmp_path / "disk", "mkfs.btrfs -q -m single", "120M")


@pytest.fixture
def ext4(tmp_path: Path) -> Iterator[Path]:
    yield from mounted(tmp_path / "disk", "mkfs.ext4 -q -N 64", "8M")


def test_btrfs_is_full_when_its_metadata_are(btrfs):
    said = found(path=btrfs, write_test="yes")
    assert said == "fine"
    # All room is given to data, most of which are removed again.  (metadata, which the
    # kernel may still make room in, is 81% with Linux 6.18.)
    for number in range(1000):
        with open(btrfs / f"data-{number}", "wb") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, 2**20)
            except OSError:
                break
    for number in range(1000):
        if number % 4:
            (btrfs / f"data-{number}").unlink(missing_ok=True)
    # Small files lie in the metadata.
    with pytest.raises(OSError, match="No space"):
        for number in range(100_000):
            (btrfs / str(number)).write_bytes(b"x" * 2000)
    os.sync()
    used = shutil.disk_usage(btrfs)
    assert used.used / used.total < 0.5
    # No byte is left, whatever is free for data.
    result = result_of(job_of(DiskSpace, path=btrfs))
    assert result.reason.startswith("used is 100%, over fail_percent = 90%")
    assert result.values["metadata"].number > 75
    said = found(path=btrfs, write_test="yes")
    assert said.startswith(f"no file can be created in {btrfs}: No space left")


def test_no_inode_left_is_failing(ext4):
    assert found(path=ext4) == "fine"
    with pytest.raises(OSError, match="No space"):
        for number in range(100):
            (ext4 / str(number)).touch()
    said = found(path=ext4)
    assert said.startswith("inodes is 100%, over fail_inodes")
    assert "no file can be created" in found(path=ext4, write_test="yes")


def test_a_disk_that_is_read_only_and_should_not_be_is_failing(ext4):
    options = {"path": ext4, "writable": "yes"}
    assert found(**options) == "fine"
    subprocess.run(["mount", "-o", "remount,ro", ext4], check=True)
    assert found(**options) == f"{ext4} is read-only"
    assert found(path=ext4, writable="no") == "fine"
    said = found(path=ext4, writable="no", write_test="yes")
    assert said == f"no file can be created in {ext4}: Read-only file system"


def test_a_disk_that_is_not_mounted_is_failing(ext4):
    assert found(path=ext4, mountpoint="yes") == "fine"
    subprocess.run(["umount", ext4], check=True)
    said = found(path=ext4, mountpoint="yes")
    assert said == f"nothing is mounted at {ext4}, which should be a mount point"
    assert found(path=ext4, mountpoint="no") == "fine"
    subprocess.run(["mount", "--bind", "/tmp", ext4], check=True)


def skip_without_fuse() -> None:
    if reason := mounts.why_not_bound():
        pytest.skip(reason)


def test_a_mount_that_hangs_is_unknown_until_it_answers(tmp_path):
    skip_without_fuse()
    real = tmp_path / "real"
    real.mkdir()
    with mounts.Bound(real, tmp_path / "mount") as bound:
        job = job_of(DiskSpace, path=bound.folder, timeout="3s", fail_percent="100%")
        assert run_of(job, {})[0].startswith("ok")
        bound.hang()
        began = time.monotonic()
        said, memory = run_of(job, {})
        assert said.startswith(f"unknown: the file system at {bound.folder} (fuse")
        assert " does not answer within 3 s" in said
        assert time.monotonic() - began < SOON_S
        bound.go_on()
        until(lambda: run_of(job, memory)[0].startswith("ok"))


def test_a_child_that_cannot_be_killed_is_left_behind_and_counted(tmp_path):
    skip_without_fuse()
    with mounts.Mute(tmp_path / "mute") as mute:
        options = {"path": mute.folder, "timeout": "3s", "fail_percent": "100%"}
        job = job_of(DiskSpace, **options)
        said, memory = run_of(job, {})
        assert said.startswith(
            f"unknown: the file system at {mute.folder} (fuse, mute)"
        )
        (child,) = memory["left_behind"].values()
        assert aside.is_still_there(child)
        state = Path(f"/proc/{child[0]}/stat").read_text().rpartition(")")[2].split()[0]
        assert state == "D"
        # It is not asked again meanwhile, so that no more are left behind.
        asked, began = mute.asked, time.monotonic()
        for _ in range(3):
            said, memory = run_of(job, memory)
            assert said.endswith("; a process of an earlier run still waits for it")
        assert (mute.asked, [*memory["left_behind"].values()]) == (asked, [child])
        assert time.monotonic() - began < 3 * 3
    until(lambda: not aside.is_still_there(child))
    said, memory = run_of(job, memory)
    assert said.startswith("ok") and not memory.get("left_behind")


def test_a_dead_mount_takes_no_time_of_the_others(tmp_path):
    skip_without_fuse()
    with mounts.Mute(tmp_path / "a") as one, mounts.Mute(tmp_path / "b") as two:
        job = job_of(
            DiskSpace,
            mounts="all",
            paths=f"/, {one.folder}, {two.folder}",
            fail_percent="100%",
            warn_percent="100%",
            timeout="5s",
        )
        began = time.monotonic()
        said, memory = run_of(job, {})
        assert time.monotonic() - began < 2 * 5
        assert said.startswith("unknown: ")
        assert f"{one.folder} (fuse, mute)" in said
        assert f"{two.folder} (fuse, mute)" in said
        assert len(memory["left_behind"]) == 2
        assert job.values["/ used"].number > 0


# The limits of a cgroup, from the kernel itself.

#: The root of each kind of cgroup, and what its limits of memory and CPU are called.
OLDER = ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "/sys/fs/cgroup/cpu")
NEWER = ("/sys/fs/cgroup", "memory.max", "/sys/fs/cgroup")


@pytest.fixture
def box() -> Iterator[tuple[Path, Path]]:
    """Yield the folders of a cgroup with 200 MB and half a core."""
    if os.geteuid() != 0:
        pytest.skip("to make a cgroup takes root")
    is_newer = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
    memory_root, limit, cpu_root = NEWER if is_newer else OLDER
    name = f"checker-{os.getpid()}"
    memory, cpu = Path(memory_root, name), Path(cpu_root, name)
    try:
        memory.mkdir()
        cpu.mkdir(exist_ok=is_newer)
        (memory / limit).write_text(str(200 * 1024**2))
        if is_newer:
            (cpu / "cpu.max").write_text("50000 100000")
        else:
            (cpu / "cpu.cfs_period_us").write_text("100000")
            (cpu / "cpu.cfs_quota_us").write_text("50000")
        yield memory, cpu
    except OSError as error:
        pytest.skip(f"no cgroup with limits can be made here: {error}")
    finally:
        for folder in {memory, cpu}:
            if folder.exists():
                until(lambda folder=folder: not (folder / "cgroup.procs").read_text())
                folder.rmdir()


def test_the_limits_of_a_cgroup_are_those_that_count(box):
    status, reason, cores = json.loads(looked_in(box, 1).stdout)
    assert (status, cores) == ("ok", 0.5)
    status, reason, _cores = json.loads(looked_in(box, 165).stdout)
    assert status == "warning"
    assert "of 0.2 GB available, the cgroup's limit" in reason


def test_a_process_that_is_killed_for_memory_is_told(box):
    job = job_of(MemoryUsage)
    said, memory = run_of(job, {})
    killed = looked_in(box, 400)
    assert killed.returncode == -signal.SIGKILL
    said, memory = run_of(job, memory)
    assert "oom_kills is 1, over warn_oom_kills = 0" in said
    assert run_of(job, memory)[0].startswith("ok")

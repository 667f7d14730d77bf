import os
import shutil
import subprocess
import threading

import pytest

from jobs.DiskSpace import (
    MANY,
    NEVER_S,
    DiskSpace,
    Usage,
    ask,
    ask_aside,
    chosen,
    full_in,
    mount_of,
    percent_used,
    read_mounts,
    read_nodev,
)
from lib.net.connect import Deadline
from lib.plugins import aside
from tests.support.listeners import found_by, job_of, result_of
from tests.support.machine import Machine


def found(**options):
    return found_by(DiskSpace, **options)


def test_a_disk_below_its_limit_is_ok(tmp_path):
    assert found(path=tmp_path, limit=100) == "fine"


def test_a_disk_above_its_limit_is_named_with_what_is_free(tmp_path, approved):
    usage = shutil.disk_usage(tmp_path)
    used = percent_used(usage.used, usage.free)
    if used <= 1:
        pytest.skip("this disk is empty")
    first, second = found(path=tmp_path, limit=1).split("\n")
    approved(first, hide={r"is \d+%": "is N%"})
    assert second.startswith(f"{tmp_path}: ") and second.endswith(" GB free")


def test_what_is_used_and_free_is_measured(tmp_path):
    result = result_of(job_of(DiskSpace, path=tmp_path, limit=100, warn_free="1B"))
    used, free = result.values["used"], result.values["free"]
    assert 0 <= used.number <= 100 and free.number > 0
    assert (used.fail.high, free.warn.low, free.fail) == (100, 1, None)


def test_too_little_that_is_free_fails_however_large_the_disk(tmp_path):
    few = {"path": tmp_path, "fail_free": "999TB", "limit": "100%"}
    assert " under fail_free = 999TB\n" in found(**few)
    assert found(**few, need="all") == "fine"


@pytest.mark.parametrize(
    ("used", "free", "percent"),
    [(0, 100, 0), (1, 999, 1), (90, 10, 90), (901, 99, 91), (100, 0, 100)],
)
def test_per_cent_are_rounded_up(used, free, percent):
    assert percent_used(used, free) == percent


def test_per_cent_are_those_of_df(tmp_path):
    usage = shutil.disk_usage(tmp_path)
    line = subprocess.run(
        ["df", "-P", str(tmp_path)], capture_output=True, text=True, check=True
    ).stdout.splitlines()[1]
    shown = int(line.split("%")[0].split()[-1])
    # Other programs write while we count.
    assert abs(percent_used(usage.used, usage.free) - shown) <= 1


def test_a_missing_path_is_named(tmp_path, approved):
    approved(found(path=tmp_path / "no"), "1")
    (tmp_path / "file").write_text("")
    approved(found(path=tmp_path / "file" / "x"), "2")


def test_a_disk_without_a_size_is_unknown(approved):
    approved(found(path="/proc"))


# All that is mounted, on a machine whose /proc and /etc are files to play.

MOUNTINFO = r"""
21 1 8:1 / / rw - ext4 /dev/sda1 rw
22 21 0:5 / /proc rw - proc proc rw
23 21 0:6 / /run rw - tmpfs tmpfs rw
24 21 8:2 / /srv/my\040data ro - xfs /dev/sdb1 ro
25 21 8:2 / /srv/again ro - xfs /dev/sdb1 ro
26 21 7:0 / /snap/core ro - squashfs /dev/loop0 ro
27 21 0:50 / /mnt/nfs rw - nfs4 server:/export rw
28 21 0:51 / /pool rw - zfs pool rw
29 21 8:3 / /mnt/over rw - ext4 /dev/sdc1 rw
30 21 8:4 / /mnt/over rw - ext4 /dev/sdc2 rw
cut short
"""
FILES = {
    "proc/self/mountinfo": MOUNTINFO,
    "proc/filesystems": "nodev\tproc\nnodev\ttmpfs\nnodev\tzfs\nnodev\tnfs4\n\text4\n",
    "etc/fstab": "# /srv/none x ro 0 0\n/dev/sdb1 /srv/my\\040data xfs defaults 0 2\n"
    "/dev/sda1 / ext4 errors=remount-ro 0 1\n",
}
GB = 10**9
ROOM = Usage(100 * GB, 60 * GB, 50 * GB, 1000, 900, 900, False, True)


@pytest.mark.parametrize(
    ("options", "paths"),
    [
        ({"mounts": "disks"}, "/ /pool /mnt/over /srv/again"),
        ({"mounts": "all"}, "/ /run /pool /proc /mnt/nfs /mnt/over /srv/again"),
        ({"mounts": "all", "types": "nfs*, zfs"}, "/pool /mnt/nfs"),
        ({"mounts": "disks", "types": "squashfs"}, "/snap/core"),
        ({"mounts": "disks", "exclude_types": "zfs, xfs"}, "/ /mnt/over"),
        ({"mounts": "disks", "devices": "/dev/sd*"}, "/ /mnt/over /srv/again"),
        ({"mounts": "disks", "exclude_devices": "/dev/sd[bc]*"}, "/ /pool"),
        # What is mounted twice is taken where it is asked for.
        ({"mounts": "disks", "paths": "/srv/my*"}, "/srv/my data"),
        ({"mounts": "disks", "exclude_paths": "/mnt/*, /srv/*"}, "/ /pool"),
    ],
)
def test_mounts_are_chosen_each_file_system_once(options, paths):
    target = job_of(DiskSpace, **options).target
    nodev = read_nodev(FILES["proc/filesystems"])
    found = [mount.path for mount in chosen(read_mounts(MOUNTINFO), nodev, target)]
    assert " ".join(found) == paths


def test_of_two_mounts_on_one_point_the_last_is_seen():
    mount = mount_of("/mnt/over/there", read_mounts(MOUNTINFO))
    assert (mount.device, mount.number) == ("/dev/sdc2", "8:4")
    assert mount_of("/mnt/overthere", read_mounts(MOUNTINFO)).path == "/"


class Disks(Machine):
    """A machine whose file systems answer as is said here."""

    def __init__(self, root, **options):
        super().__init__(DiskSpace, root, **options)
        self.answers = {}
        self.job.ask = self._ask
        self.asked = []

    def _ask(self, paths, write_test, deadline):
        for path, may_hang in paths.items():
            self.asked.append(path)
            answer = self.answers.get(path, ROOM)
            assert may_hang is (path in ("/mnt/nfs", "/pool", "/run", "/proc"))
            if answer is None:
                answer = aside.Hung("it hangs")
                answer.left_behind = (os.getpid(), aside.started_at(os.getpid()))
            yield path, answer


def disks(root, **options):
    return Disks(root, **({"mounts": "disks"} | options))


def test_each_file_system_is_judged(tmp_path):
    machine = disks(tmp_path)
    assert machine.found(FILES) == "ok"
    assert machine.number("/pool used") == 45
    machine.answers["/pool"] = ROOM._replace(available=5 * GB)
    assert machine.found(FILES) == "warning: /pool used is 89%, over warn_percent = 80%"
    machine.answers["/pool"] = ROOM._replace(free=9 * GB, available=4 * GB)
    machine.answers["/"] = ROOM._replace(files_free=150, files_available=150)
    assert machine.found(FILES) == "failing: /pool used is 96%, over fail_percent = 90%"
    del machine.answers["/pool"]
    assert machine.found(FILES) == "warning: / inodes is 85%, over warn_inodes = 80%"


def test_where_inodes_are_not_counted_they_are_no_trouble(tmp_path):
    machine = disks(tmp_path, paths="/")
    machine.answers["/"] = ROOM._replace(files=0, files_free=0, files_available=0)
    assert machine.found(FILES) == "ok"
    assert "/ inodes" not in machine.result.values


def test_nothing_chosen_is_unknown(tmp_path):
    found = disks(tmp_path, types="ntfs").found(FILES)
    assert found == "unknown: no mounted file system is chosen by these options"


def test_what_does_not_answer_is_unknown_named_and_asked_last(tmp_path, approved):
    machine = disks(tmp_path, mounts="all", types="ext4, nfs4", timeout="30s")
    machine.answers["/mnt/nfs"] = None
    approved(machine.found(FILES), "1")
    assert machine.asked[-1] == "/mnt/nfs"
    machine.asked.clear()
    # It is not asked again while the child of the run before waits for it.
    approved(machine.found(FILES), "2")
    assert "/mnt/nfs" not in machine.asked
    machine.answers["/"] = ROOM._replace(free=9 * GB, available=4 * GB)
    assert machine.found(FILES).startswith("failing: / used is 96%")
    # The child has ended, and with it what it waited for.
    machine.memory["left_behind"] = {"/mnt/nfs": [os.getpid(), 1]}
    machine.answers.clear()
    assert machine.found(FILES) == "ok"
    assert "left_behind" not in machine.memory


@pytest.mark.parametrize(
    ("path", "writable", "said"),
    [
        ("/srv/my data", "fstab", "failing: /srv/my data is read-only, and /etc/fstab"),
        ("/srv/my data", "yes", "failing: /srv/my data is read-only"),
        ("/srv/my data", "no", "ok"),
        # fstab does not name it.
        ("/srv/again", "fstab", "ok"),
        ("/srv/again", "yes", "failing: /srv/again is read-only"),
    ],
)
def test_what_is_read_only_and_should_not_be_is_failing(tmp_path, path, writable, said):
    machine = Disks(tmp_path, path=path, writable=writable)
    machine.answers[path] = ROOM._replace(is_read_only=True)
    found = machine.found(FILES)
    assert found.startswith(said) and (said != "ok" or found == said)


def test_fstab_may_say_read_only(tmp_path):
    machine = Disks(tmp_path, path="/srv/again")
    machine.answers["/srv/again"] = ROOM._replace(is_read_only=True)
    line = "/dev/sdb1 /srv/again xfs noatime,ro 0 0\n"
    assert machine.found({**FILES, "etc/fstab": line}) == "ok"


def test_an_empty_folder_where_a_disk_should_be_is_failing(tmp_path):
    machine = Disks(tmp_path, path="/srv/disk", mountpoint="yes")
    assert machine.found(FILES) == "ok"
    machine.answers["/srv/disk"] = ROOM._replace(is_mount_point=False)
    found = machine.found(FILES)
    assert found == (
        "failing: nothing is mounted at /srv/disk, which should be a mount point"
    )


def test_a_write_that_is_refused_is_failing(tmp_path):
    machine = Disks(tmp_path, path="/srv/disk", write_test="yes")
    machine.answers["/srv/disk"] = ROOM._replace(write_error="No space left on device")
    found = machine.found(FILES)
    assert found == (
        "failing: no file can be created in /srv/disk: No space left on device"
    )


def growing(machine, sizes_gb, step_s=600.0):
    """Return what is found while so much is free, ten minutes apart."""
    said = []
    for size in sizes_gb:
        machine.answers["/"] = ROOM._replace(available=size * GB)
        said.append(machine.found(FILES, after_s=step_s))
    return said


def test_a_disk_that_fills_up_is_told_before_it_is_full(tmp_path):
    machine = Disks(tmp_path, path="/", fail_full_in="2h", warn_full_in="5h")
    # 1.5 GB in ten minutes; the first three runs say nothing yet.
    said = growing(machine, [50, 48.5, 47, 45.5])
    assert said == ["ok"] * 4
    assert machine.number("full_in") == pytest.approx(45.5 / 9 * 3600)
    assert growing(machine, [44]) == [
        "warning: full_in is 4.889h, under warn_full_in = 5h"
    ]
    said = growing(machine, [18 + 0.01, 17])
    assert said[-1].startswith("failing: full_in is ")
    # Room was made: a disk that empties is never full.
    assert growing(machine, [60] * 40)[-1] == "ok"
    assert len(machine.memory["free"]["/"]) <= MANY + 2


@pytest.mark.parametrize(
    ("samples", "seconds"),
    [
        ([], None),
        ([(0, 9), (600, 8)], None),
        # Too short a time.
        ([(0, 9), (100, 8), (200, 7)], None),
        ([(0, 3000), (600, 2400), (1200, 1800)], 1800),
        ([(0, 3000), (600, 3000), (1200, 3000)], NEVER_S),
        ([(0, 100), (600, 200), (1200, 300)], NEVER_S),
        ([(0, 900), (600, 300), (1200, 0)], 0),
    ],
)
def test_a_line_is_laid_through_what_was_free(samples, seconds):
    assert full_in(samples) == seconds


def test_need_all_is_about_one_file_system(tmp_path):
    machine = disks(tmp_path, fail_free="10GB", need="all")
    full = ROOM._replace(total=20 * GB, free=1 * GB, available=1 * GB)
    # A small one is full, and a large one has 10 GB and more.
    machine.answers["/"] = ROOM._replace(
        total=900 * GB, free=20 * GB, available=20 * GB
    )
    assert machine.found(FILES) == "ok"
    machine.answers["/pool"] = full
    found = machine.found(FILES)
    assert found == (
        "failing: /pool used is 95%, over fail_percent = 90% and "
        "/pool free is 1GB, under fail_free = 10GB"
    )


def test_need_all_waits_until_the_growth_is_known(tmp_path):
    machine = Disks(tmp_path, path="/", fail_full_in="5h", need="all")
    # More than 90% are used from the first run on.
    said = growing(machine, [4, 3.5, 3, 2.5])
    assert [text.partition(":")[0] for text in said] == ["ok"] * 2 + ["failing"] * 2


def test_inodes_are_judged_by_themselves_whatever_need_says(tmp_path):
    machine = disks(tmp_path, fail_free="10GB", need="all")
    machine.answers["/pool"] = ROOM._replace(files_free=50, files_available=50)
    assert machine.found(FILES) == (
        "failing: inodes of /pool: 95% used, over fail_inodes = 90%"
    )
    machine.answers["/pool"] = ROOM._replace(files_free=150, files_available=150)
    assert machine.found(FILES) == (
        "warning: inodes of /pool: 85% used, over warn_inodes = 80%"
    )


def test_a_default_warning_gives_way_to_what_fails_sooner(tmp_path):
    machine = Disks(tmp_path, path="/", fail_percent="40%")
    assert machine.found(FILES).startswith("failing: used is 45%")
    assert machine.result.values["used"].warn is None


BTRFS = {
    "proc/self/mountinfo": "21 1 0:9 / / rw - btrfs /dev/sdz1 rw\n",
    "sys/fs/btrfs/uuid/devices/sdz1/size": f"{100 * 2**20 // 512}\n",
    "sys/fs/btrfs/uuid/allocation/data/disk_total": f"{60 * 2**20}\n",
    "sys/fs/btrfs/uuid/allocation/metadata/disk_total": f"{32 * 2**20}\n",
    "sys/fs/btrfs/uuid/allocation/metadata/total_bytes": f"{16 * 2**20}\n",
    "sys/fs/btrfs/uuid/allocation/metadata/bytes_used": f"{12 * 2**20}\n",
    "sys/fs/btrfs/uuid/allocation/metadata/bytes_may_use": "0\n",
    "sys/fs/btrfs/uuid/allocation/global_rsv_size": f"{4 * 2**20}\n",
    "sys/fs/btrfs/uuid/allocation/system/disk_total": f"{8 * 2**20}\n",
}


def test_btrfs_whose_metadata_are_full_is_failing_though_df_says_half(tmp_path):
    machine = Disks(tmp_path, path="/")
    assert machine.found(BTRFS) == "failing: metadata is 100%, over fail_percent = 90%"
    # 64 MB that no chunk has been made of are room for 32 MB more, written twice.
    larger = {"sys/fs/btrfs/uuid/devices/sdz1/size": f"{164 * 2**20 // 512}\n"}
    assert machine.found({**BTRFS, **larger}) == "ok"
    assert machine.number("metadata") == pytest.approx(33.3)


# What really answers.


def test_a_child_asks_the_kernel(tmp_path):
    paths = {str(tmp_path): False, str(tmp_path / "no"): True}
    found = dict(ask_aside(paths, True, Deadline(20)))
    usage, refused = (found[path] for path in paths)
    assert usage.total > 0 and usage.write_error == "" and not usage.is_mount_point
    assert refused.is_failing
    assert list(tmp_path.iterdir()) == []


def test_a_child_works_beside_threads(tmp_path):
    # Python 3.12 and newer warn of that, and a warning is an error here.
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        assert dict(ask_aside({str(tmp_path): False}, False, Deadline(20)))
    finally:
        stop.set()
        thread.join()


def test_the_root_is_a_mount_point():
    if not os.path.exists("/proc/self/mountinfo"):
        pytest.skip("needs /proc")
    assert ask("/", False).is_mount_point

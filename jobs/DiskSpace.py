"""[disk NAME]: checks how full file systems are, and that they are there and answer."""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, NamedTuple

from lib.jobbase import (
    CheckFailed,
    CheckUnknown,
    CheckWarning,
    Clash,
    Deadline,
    JobFrequency,
    Options,
    Target,
    TargetJob,
    Threshold,
    Value,
    Values,
    absolute_path,
    aside,
    kernel,
    many,
    one_of,
    option,
    percent,
    seconds,
    share_or_size,
    switch,
    with_free,
)

#: File systems that are always full, or have no size by nature.
ALWAYS_FULL = ("squashfs", "iso9660", "udf", "erofs", "cramfs", "romfs", "autofs")
#: Without a device of the kernel's, and yet on disks.
ON_DISKS = ("zfs", "bcachefs")
#: How long a file system may take to answer, if there is time.
PATIENCE_S = 8.0
#: The growth is known from so many samples, over at least so long.
FEWEST, SHORTEST_S = 3, 900.0
#: The most samples that are kept of a file system.
MANY = 24
#: What is written for what does not grow: as long as a duration can be.
NEVER_S = 3650 * 86_400.0


class DiskSpace(TargetJob):
    """The file system that a path is on, or all that are mounted."""

    kind = "disk"
    every = JobFrequency.HOUR
    recheck = "5min"
    judges_need = True
    guide = """
        `used` is what `df` shows as Use%: what is reserved for root counts as neither
        used nor free. On a large disk 10% is a lot of room: say what must be free,
        `fail_free = 50GB` or `fail_free = 5%`, beside a higher `fail_percent`. Inodes
        are judged where a file system has a fixed number of them. `need = all` is about
        `used`, `free` and `full_in` of one file system, and warns where each `fail_`
        has its `warn_`; inodes and metadata are judged by themselves.

        btrfs is full when its metadata are, whatever `df` says. So `metadata`, with
        what the file system reserves for itself, is judged as `used` is. A quota of a
        subvolume, or a subvolume that is read-only, is seen by `write_test = yes` only:
        it creates a small file in the folder `path`, writes it to the disk and removes
        it.

        `mounts = disks` checks each file system on a disk, and `mounts = all` those of
        the network, of FUSE and of memory too. Images that are always full, such as
        those of snap, are left out. `types`, `devices` and `paths` choose among them,
        each `exclude_` leaves some out: names or shell patterns such as `/srv/*`. A
        file system that is mounted in several places is checked once.

        A file system that is read-only although /etc/fstab does not say `ro` is
        failing: the kernel makes it so after errors of the disk. `mountpoint = yes` is
        for a path where a disk must be mounted: an empty folder in its place is
        failing.

        With `warn_full_in` or `fail_full_in` the free space of the last hours is
        remembered, and a line is laid through it. It takes three runs, and at least 15
        minutes, until that says anything.

        A file system that does not answer, such as NFS whose server is gone, is unknown
        and named; the others are checked. What cannot be killed is left behind, and is
        not asked again before it has ended.
        """
    options: Options = {
        "path": option(absolute_path, "", help="any file or folder on the file system"),
        "mounts": option(
            one_of(("disks", "all")), "", help="in place of path: all file systems"
        ),
        "types": option(many, (), help="only these types: ext4, xfs"),
        "exclude_types": option(many, (), help="not these types"),
        "devices": option(many, (), help="only these devices: /dev/sd*"),
        "exclude_devices": option(many, (), help="not these devices"),
        "paths": option(many, (), help="only what is mounted here: /srv/*"),
        "exclude_paths": option(many, (), help="not what is mounted here"),
        "fail_percent": option(
            percent, 90, help="failing if more than this is used", also="limit"
        ),
        "warn_percent": option(percent, 80, help="a warning if more than this is used"),
        "fail_free": option(
            share_or_size,
            None,
            below=True,
            help="failing if less than this is free: 5GB or 5%",
        ),
        "warn_free": option(
            share_or_size,
            None,
            below=True,
            help="a warning if less than this is free: 10GB or 10%",
        ),
        "fail_inodes": option(
            percent, 90, help="failing if more of the inodes are used"
        ),
        "warn_inodes": option(
            percent, 80, help="a warning if more of the inodes are used"
        ),
        "fail_full_in": option(
            seconds,
            None,
            below=True,
            help="failing if it is full in less than this: 5h",
        ),
        "warn_full_in": option(
            seconds, None, below=True, help="a warning if it is full in less than this"
        ),
        "growth_over": option(
            seconds, 21_600.0, help="reckon the growth from so much of the past"
        ),
        "mountpoint": option(
            switch, False, help="yes: failing if nothing is mounted at path itself"
        ),
        "writable": option(
            one_of(("fstab", "yes", "no")),
            "fstab",
            help="yes: failing if read-only; fstab: if /etc/fstab does not say ro; no",
        ),
        "write_test": option(
            switch, False, help="yes: failing if no file can be created in path"
        ),
    }
    #: Where /proc, /sys and /etc are.
    root = "/"
    clock = staticmethod(time.time)

    #: What asks them; a test hands in answers of its own.
    ask = staticmethod(lambda *given: ask_aside(*given))

    @classmethod
    def wrong_together(cls, target: Target) -> Iterator[Clash]:
        """Yield what does not fit: one of path and mounts must be given."""
        if not target.path and not target.mounts:
            yield Clash(
                "path is missing: any file or folder on the file system; or mounts = "
                "disks for all of them",
                ("path", "mounts"),
            )
        if target.path and target.mounts:
            yield Clash("path and mounts are given; keep one", ("path", "mounts"))
        if target.mounts and (target.mountpoint or target.write_test):
            yield Clash(
                "mountpoint and write_test need a path, not mounts",
                ("mountpoint", "write_test", "mounts"),
            )
        choosing = [name for name in _CHOOSING if getattr(target, name)]
        if target.path and choosing:
            yield Clash(
                f"{choosing[0]} chooses among mounts; it needs mounts = disks or all",
                (choosing[0], "path"),
            )

    def check(self, target: Target, deadline: Deadline) -> Values:
        """Return how much is used, in per cent, and what is free."""
        mounts = read_mounts(kernel.read_if_there(self.root, "proc/self/mountinfo"))
        if target.path:
            path = os.path.normpath(target.path)
            asked = {path: mount_of(path, mounts)}
        else:
            nodev = read_nodev(kernel.read_if_there(self.root, "proc/filesystems"))
            asked = {mount.path: mount for mount in chosen(mounts, nodev, target)}
            if not asked:
                raise CheckUnknown("no mounted file system is chosen by these options")
        answers = self._ask(asked, target, deadline)
        failing: list[str] = []
        warning: list[str] = []
        unknown: list[str] = []
        values: dict[str, Value | float] = {}
        shared_name = len(asked) == 1 and bool(target.path)
        for path, mount in asked.items():
            answer = answers[path]
            if isinstance(answer, (Silent, Refused)):
                (failing if answer.is_failing else unknown).append(answer.words)
                continue
            failing += self._faults(target, path, mount, answer)
            prefix = "" if shared_name else f"{path} "
            of_mount = self._values(target, path, mount, answer)
            if target.need == "all":
                failing += alone(path, of_mount, "fail")
                warning += alone(path, of_mount, "warn")
                of_mount = only_together(of_mount, target)
            values |= {f"{prefix}{name}": value for name, value in of_mount.items()}
        if failing:
            self.values = values
            raise CheckFailed("; ".join(failing + unknown))
        if unknown and not any(_is_bad(value) for value in values.values()):
            self.values = values
            raise CheckUnknown("; ".join(unknown))
        self.note = "\n".join([*self._notes(answers), *unknown])
        if warning and not any(_is_bad(value) for value in values.values()):
            self.values = values
            raise CheckWarning("\n".join(["; ".join(warning), self.note]))
        return values

    def _notes(self, answers: dict[str, Answer]) -> Iterator[str]:
        for path, answer in answers.items():
            if isinstance(answer, Usage):
                free, total = gigabytes(answer.available), gigabytes(answer.total)
                yield f"{path}: {free} of {total} free"

    def _ask(
        self, asked: dict[str, Mount | None], target: Target, deadline: Deadline
    ) -> dict[str, Answer]:
        """Return what each file system answers, and remember the children that hang."""
        left_behind = {
            path: child
            for path, child in (self.memory.pop("left_behind", None) or {}).items()
            if aside.is_still_there(child)
        }
        answers: dict[str, Answer] = {
            path: Silent(path, asked[path], 0.0)
            for path in asked
            if path in left_behind
        }
        # What may hang comes last, and alone.
        now = {
            path: _may_hang(asked[path])
            for path in sorted(asked, key=lambda path: _may_hang(asked[path]))
            if path not in left_behind
        }
        for path, answer in self.ask(now, target.write_test, deadline):
            if isinstance(answer, aside.Hung):
                answers[path] = Silent(
                    path, asked[path], min(PATIENCE_S, deadline.limit_s)
                )
                if answer.left_behind:
                    left_behind[path] = [*answer.left_behind]
            else:
                answers[path] = answer
        if left_behind:
            self.memory["left_behind"] = left_behind
        return {path: answers[path] for path in asked}

    def _faults(
        self, target: Target, path: str, mount: Mount | None, usage: Usage
    ) -> Iterator[str]:
        """Yield what is wrong with a file system whatever is free on it."""
        if target.mountpoint and not usage.is_mount_point:
            yield f"nothing is mounted at {path}, which should be a mount point"
        if usage.write_error:
            yield f"no file can be created in {path}: {usage.write_error}"
        if usage.is_read_only and target.writable == "yes":
            yield f"{path} is read-only"
        elif usage.is_read_only and target.writable == "fstab" and mount:
            fstab = read_fstab(kernel.read_if_there(self.root, "etc/fstab"))
            if fstab.get(mount.path) is False:
                yield f"{path} is read-only, and /etc/fstab does not say ro"

    def _values(
        self, target: Target, path: str, mount: Mount | None, usage: Usage
    ) -> dict[str, Value]:
        """Return what was measured of a file system, with its thresholds."""
        usable = usage.total - usage.free + usage.available
        if usable <= 0:
            if target.path and not target.write_test and not target.mountpoint:
                raise CheckUnknown(f"{path} is on a file system without a size")
            return {}
        values = {
            "used": percent(
                percent_used(usage.total - usage.free, usage.available),
                warn=target.warn_percent,
                fail=target.fail_percent,
            ),
            **with_free(
                "free",
                usage.available,
                usable,
                warn=target.warn_free,
                fail=target.fail_free,
            ),
        }
        if usage.files > 0:
            values["inodes"] = percent(
                percent_used(usage.files - usage.files_free, usage.files_available),
                warn=target.warn_inodes,
                fail=target.fail_inodes,
            )
        if mount and mount.type == "btrfs":
            share = metadata_used(self.root, mount.device)
            if share is not None:
                values["metadata"] = percent(
                    share, warn=target.warn_percent, fail=target.fail_percent
                )
        if target.warn_full_in or target.fail_full_in:
            full_in_s = self._growth(path, usage.available, target.growth_over)
            if full_in_s is not None:
                values["full_in"] = seconds(
                    full_in_s, warn=target.warn_full_in, fail=target.fail_full_in
                )
        return values

    def _growth(self, path: str, available: float, over_s: float) -> float | None:
        """Remember what is free now; return in how many seconds nothing is."""
        now = self.clock()
        free = self.memory.setdefault("free", {})
        samples = [
            (at, size) for at, size in free.get(path, ()) if now - over_s <= at < now
        ]
        samples.append((now, available))
        free[path] = thinned(samples, over_s / MANY)
        return full_in(samples)


#: The options that choose among mounts, with what of a mount they look at.
_CHOOSING = {
    "types": "type",
    "exclude_types": "type",
    "devices": "device",
    "exclude_devices": "device",
    "paths": "path",
    "exclude_paths": "path",
}


class Mount(NamedTuple):
    """One line of /proc/self/mountinfo."""

    number: str
    path: str
    type: str
    device: str


def read_mounts(text: str) -> list[Mount]:
    """Return what is mounted: of several on one mount point the last, which is seen."""
    found: dict[str, Mount] = {}
    for line in text.splitlines():
        before, _dash, after = line.partition(" - ")
        words, more = before.split(" "), after.split(" ")
        if len(words) >= 5 and len(more) >= 2:
            path = _unescaped(words[4])
            found.pop(path, None)
            found[path] = Mount(words[2], path, more[0], _unescaped(more[1]))
    return list(found.values())


def _unescaped(word: str) -> str:
    r"""Return a word of the kernel, in which a space is ``\040``."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), word)


def read_nodev(text: str) -> set[str]:
    """Return the types of /proc/filesystems that are on no device."""
    lines = (line.split("\t") for line in text.splitlines())
    return {words[1] for words in lines if words[0] == "nodev" and len(words) > 1}


def read_fstab(text: str) -> dict[str, bool]:
    """Return for each mount point of /etc/fstab whether it says ``ro``."""
    found = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 4 and not words[0].startswith("#"):
            found[_unescaped(words[1])] = "ro" in words[3].split(",")
    return found


def mount_of(path: str, mounts: Sequence[Mount]) -> Mount | None:
    """Return the mount that a path is on, as far as its text says."""
    above = [
        mount
        for mount in mounts
        if path == mount.path or path.startswith(mount.path.rstrip("/") + "/")
    ]
    return max(above, key=lambda mount: len(mount.path), default=None)


def chosen(
    mounts: Sequence[Mount], nodev: Collection[str], target: Target
) -> Iterator[Mount]:
    """Yield the mounts that a target asks for, each file system once."""
    seen = set()
    for mount in sorted(mounts, key=lambda mount: (len(mount.path), mount.path)):
        is_on_disk = mount.type in ON_DISKS or mount.type not in nodev
        is_wanted = target.mounts == "all" or is_on_disk
        if mount.type in ALWAYS_FULL or not is_wanted:
            is_wanted = mount.type in target.types
        if is_wanted and _passes(mount, target) and mount.number not in seen:
            seen.add(mount.number)
            yield mount


def _passes(mount: Mount, target: Target) -> bool:
    for name, of_mount in _CHOOSING.items():
        patterns = getattr(target, name)
        text = getattr(mount, of_mount)
        matches = any(fnmatchcase(text, pattern) for pattern in patterns)
        if patterns and matches == name.startswith("exclude_"):
            return False
    return True


def _may_hang(mount: Mount | None) -> bool:
    """Return whether somebody else answers for a file system than a disk."""
    return mount is None or not mount.device.startswith("/dev/") or "fuse" in mount.type


class Usage(NamedTuple):
    """What a file system says of itself: bytes, and numbers of inodes."""

    total: int
    free: int
    available: int
    files: int
    files_free: int
    files_available: int
    is_read_only: bool
    is_mount_point: bool
    #: Why no file could be created; empty if one could, or if none was asked for.
    write_error: str = ""


class Refused(NamedTuple):
    """Why a path could not be asked, and whether that is trouble of what it is on."""

    words: str
    is_failing: bool


class Silent:
    """A file system that does not answer."""

    is_failing = False

    def __init__(self, path: str, mount: Mount | None, waited_s: float) -> None:
        """Make the words; ``waited_s`` is 0 if an earlier run's child still waits."""
        where = f"{path} ({mount.type}, {mount.device})" if mount else path
        self.words = f"the file system at {where} does not answer"
        if waited_s:
            self.words += f" within {waited_s:.0f} s"
        else:
            self.words += "; a process of an earlier run still waits for it"


Answer = Usage | Refused | Silent


def ask_aside(
    paths: Mapping[str, bool], write_test: bool, deadline: Deadline
) -> Iterator[tuple[str, Usage | Refused | aside.Hung]]:
    """Yield each path with what it answered.

    Children ask them, as nothing ends a call into a file system that hangs; those that
    may, which ``paths`` says, are asked by a child each.
    """
    pieces = [
        aside.Piece(path, partial(_told, path, write_test), path, is_short=not may_hang)
        for path, may_hang in paths.items()
    ]

    def ends(begun: Sequence[str]) -> list[Deadline]:
        # The last one is to be told in time.
        left_s = deadline.ends_at - time.monotonic() - 1
        return [deadline.within(max(0.2, min(PATIENCE_S, left_s)))] * len(begun)

    for said in aside.do_many(pieces, ends):
        if said is None:
            continue
        path, told = said
        if isinstance(told, aside.Hung):
            yield path, told
        elif isinstance(told, Exception):
            yield path, Refused(f"{path} was not asked: {told}", False)
        else:
            is_usage, words = told
            yield path, Usage(*words) if is_usage else Refused(*words)


def _told(path: str, write_test: bool, _progress: object) -> tuple[bool, Sequence[Any]]:
    """Return an answer as plain values, in the child."""
    answer = ask(path, write_test)
    return isinstance(answer, Usage), tuple(answer)


#: What stands for trouble of the file system itself.
_BROKEN = {
    errno.ENOENT: "{} does not exist",
    errno.ENOTDIR: "{} does not exist: a part of the path is a file",
    errno.ENOTCONN: "{}: the program that serves this file system is gone",
    errno.ESTALE: "{}: the server does not know this mount any more (stale handle)",
    errno.EIO: "{} cannot be read: input/output error",
}


def ask(path: str, write_test: bool) -> Usage | Refused:
    """Return what the file system says that a path is on; this may never return."""
    try:
        stat = os.statvfs(path)
        is_mount_point = _is_mount_point(path)
    except OSError as error:
        if error.errno in _BROKEN:
            return Refused(_BROKEN[error.errno].format(path), True)
        return Refused(f"{path} cannot be read: {error.strerror}", False)
    write_error = ""
    if write_test:
        try:
            _write(path)
        except PermissionError as error:
            words = f"{path}: Checker may not create a file here: {error.strerror}"
            return Refused(words, False)
        except OSError as error:
            write_error = str(error.strerror)
    size = stat.f_frsize
    return Usage(
        total=stat.f_blocks * size,
        free=stat.f_bfree * size,
        available=stat.f_bavail * size,
        files=stat.f_files,
        files_free=stat.f_ffree,
        files_available=stat.f_favail,
        is_read_only=bool(stat.f_flag & os.ST_RDONLY),
        is_mount_point=is_mount_point,
        write_error=write_error,
    )


def _is_mount_point(path: str) -> bool:
    """Return whether something is mounted at a path; a bind mount counts."""
    real = os.path.realpath(path)
    mounts = read_mounts(kernel.read_if_there("/", "proc/self/mountinfo"))
    if mounts:
        # In a changed root the kernel does not list it.
        return real == "/" or any(mount.path == real for mount in mounts)
    return os.path.ismount(real)


def _write(folder: str) -> None:
    """Create a file, write it to the disk and remove it."""
    name = os.path.join(folder, f".checker-write-test-{os.urandom(8).hex()}")
    descriptor = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        # More than fits into the inode of btrfs.
        os.write(descriptor, bytes(4096))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
        os.unlink(name)


def metadata_used(root: str, device: str) -> float | None:
    """Return how full the metadata of btrfs are in per cent, with its own reserve.

    What no chunk has been made of yet counts as room.  None: the kernel does not say.
    """
    name = os.path.basename(os.path.realpath(device))
    top = os.path.join(root, "sys/fs/btrfs")
    try:
        folders = [os.path.join(top, uuid) for uuid in os.listdir(top)]
    except OSError:
        return None
    for folder in folders:
        if os.path.exists(os.path.join(folder, "devices", name)):
            try:
                return _metadata_share(folder)
            except (OSError, ValueError):
                return None
    return None


def _metadata_share(folder: str) -> float:
    def number(path: str) -> int:
        return int(kernel.read_if_there(folder, path))

    size = sum(
        512 * number(f"devices/{name}/size")
        for name in os.listdir(os.path.join(folder, "devices"))
    )
    kinds = ("data", "metadata", "system")
    taken = sum(number(f"allocation/{kind}/disk_total") for kind in kinds)
    total = number("allocation/metadata/total_bytes")
    # 2 where each block is written twice.
    copies = number("allocation/metadata/disk_total") / total
    reserved = max(
        number("allocation/global_rsv_size"),
        number("allocation/metadata/bytes_may_use"),
    )
    used = number("allocation/metadata/bytes_used") + reserved
    return round(100 * used / (total + max(0, size - taken) / copies), 1)


def thinned(
    samples: Sequence[tuple[float, float]], spacing_s: float
) -> list[tuple[float, float]]:
    """Return samples, oldest first, without those that are too near to the one kept
    before; the newest stays."""
    kept: list[tuple[float, float]] = []
    for sample in samples[:-1]:
        if not kept or sample[0] - kept[-1][0] >= spacing_s:
            kept.append(sample)
    return [*kept, *samples[-1:]]


def full_in(samples: Sequence[tuple[float, float]]) -> float | None:
    """Return in how many seconds nothing is free, from times and bytes that were free.

    A straight line is laid through them by least squares, as Prometheus does in
    predict_linear.  None: too few samples, or over too short a time.
    """
    if len(samples) < FEWEST or samples[-1][0] - samples[0][0] < SHORTEST_S:
        return None
    mean_at = sum(at for at, _size in samples) / len(samples)
    mean_size = sum(size for _at, size in samples) / len(samples)
    together = sum((at - mean_at) * (size - mean_size) for at, size in samples)
    change = together / sum((at - mean_at) ** 2 for at, _size in samples)
    if change >= 0:
        return NEVER_S
    return min(NEVER_S, max(0.0, samples[-1][1] / -change))


#: What ``need = all`` is not about.
_ALONE = ("inodes", "metadata")


def alone(path: str, values: dict[str, Value], severity: str) -> Iterator[str]:
    """Yield what is wrong in what is judged by itself; ``severity`` is warn or fail."""
    for name in _ALONE:
        value = values.get(name)
        limit: Threshold | None = getattr(value, severity, None)
        if value and limit and not limit.allows(value.number):
            high = f"{limit.option} = {limit.high:g}%"
            yield f"{name} of {path}: {value.number:g}% used, over {high}"


def only_together(values: dict[str, Value], target: Target) -> dict[str, Value]:
    """Return the values of a file system as ``need = all`` is meant.

    Without the thresholds of a severity that not all of them exceed: what is exceeded
    on another file system does not count, a growth that is not known yet is none, and
    warnings count where all that can fail has one.
    """
    wants_growth = target.fail_full_in or target.warn_full_in
    is_known = "full_in" in values or not wants_growth
    limits: dict[str, dict[str, Threshold]] = {}
    for severity in ("warn", "fail"):
        limits[severity] = {
            name: limit
            for name, value in values.items()
            if name not in _ALONE and (limit := getattr(value, severity))
        }
    # The default warning at 80% alone is not what somebody means who asks for all.
    if not limits["fail"].keys() <= limits["warn"].keys():
        limits["warn"] = {}
    for severity, of_severity in limits.items():
        is_exceeded = all(
            not limit.allows(values[name].number) for name, limit in of_severity.items()
        )
        if not (is_known and is_exceeded):
            limits[severity] = {}
    return {
        name: Value(
            value.number,
            value.unit,
            limits["warn"].get(name),
            limits["fail"].get(name),
        )
        for name, value in values.items()
    }


def _is_bad(value: Value | float) -> bool:
    """Return whether a value is outside what must not be left."""
    if not isinstance(value, Value) or value.fail is None:
        return False
    return not value.fail.allows(value.number)


def percent_used(used: int, free: int) -> int:
    """Return how full something is in per cent, rounded up, as df does.

    The space reserved for root counts as neither used nor free.
    """
    return -(-100 * used // (used + free)) if used + free > 0 else 0


def gigabytes(count: int) -> str:
    """Return a number of bytes in gigabytes."""
    return f"{count / 1e9:.1f} GB"

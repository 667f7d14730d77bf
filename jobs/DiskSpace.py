"""Watch how full a disk is.

One job per section ``[disk NAME]``; its options are in ``lib/config/kinds.py``.
"""

from __future__ import annotations

import configparser
import shutil
from collections.abc import Iterator

from lib.jobbase import (
    CheckFailed,
    CheckUnknown,
    JobBase,
    JobSpawner,
    TargetJob,
    targets,
)


class DiskSpace(JobSpawner):
    """One job per section [disk NAME]."""

    def get_sub_jobs(self, config: configparser.ConfigParser) -> Iterator[JobBase]:
        """Yield a job for each section."""
        for target in targets(config, "disk"):
            yield Disk(config, target)


class Disk(TargetJob):
    """One path, and the disk it is on."""

    def formerly(self) -> str:
        """Return nothing: the older program did not watch disks."""
        return ""

    def execute(self) -> bool:
        """Fail when the disk is fuller than its limit."""
        path, limit = self.values["path"], self.values["limit"]
        try:
            usage = shutil.disk_usage(path)
        except FileNotFoundError as error:
            raise CheckFailed(f"{path} is missing") from error
        except NotADirectoryError as error:
            raise CheckFailed(f"{path} is missing: a part of it is a file") from error
        except OSError as error:
            raise CheckUnknown(
                f"{path} cannot be looked at: {error.strerror}"
            ) from error
        if usage.used + usage.free == 0:
            raise CheckUnknown(f"{path} is on something without a size")
        used = percent_used(usage.used, usage.free)
        if used > limit:
            room = f"{gigabytes(usage.free)} of {gigabytes(usage.total)} free"
            raise CheckFailed(f"{path} is {used}% full, limit {limit}%\n{room}")
        return True


def percent_used(used_bytes: int, free_bytes: int) -> int:
    """Return how full a disk is in per cent, as df does.

    Of what people may use: root's reserve is neither used nor free.  Rounded up.
    """
    return -(-100 * used_bytes // (used_bytes + free_bytes))


def gigabytes(count: int) -> str:
    """Return a number of bytes in gigabytes."""
    return f"{count / 1e9:.1f} GB"

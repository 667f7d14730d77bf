"""[disk NAME]: checks how full a file system is.

The options of the section are in ``lib/config/kinds.py``.
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
    """The file system that a path is on."""

    def formerly(self) -> str:
        """Return an empty text: the older program did not check disks."""
        return ""

    def execute(self) -> bool:
        """Fail if the file system is fuller than ``limit``."""
        path, limit = self.given["path"], self.given["limit"]
        try:
            usage = shutil.disk_usage(path)
        except FileNotFoundError as error:
            raise CheckFailed(f"{path} does not exist") from error
        except NotADirectoryError as error:
            raise CheckFailed(
                f"{path} does not exist: a part of the path is a file"
            ) from error
        except OSError as error:
            raise CheckUnknown(f"{path} cannot be read: {error.strerror}") from error
        if usage.used + usage.free == 0:
            raise CheckUnknown(f"{path} is on a file system without a size")
        used = percent_used(usage.used, usage.free)
        if used > limit:
            free = f"{gigabytes(usage.free)} of {gigabytes(usage.total)} free"
            raise CheckFailed(f"{path} is {used}% full, limit {limit}%\n{free}")
        return True


def percent_used(used_bytes: int, free_bytes: int) -> int:
    """Return how full a file system is in per cent, rounded up, as df does.

    The space reserved for root counts as neither used nor free.
    """
    return -(-100 * used_bytes // (used_bytes + free_bytes))


def gigabytes(count: int) -> str:
    """Return a number of bytes in gigabytes."""
    return f"{count / 1e9:.1f} GB"

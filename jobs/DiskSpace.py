"""[disk NAME]: checks how full a file system is."""

from __future__ import annotations

import shutil

from lib.jobbase import (
    CheckFailed,
    CheckUnknown,
    Deadline,
    JobFrequency,
    Options,
    Target,
    TargetJob,
    Values,
    absolute_path,
    bytes_,
    option,
    percent,
)


class DiskSpace(TargetJob):
    """The file system that a path is on."""

    kind = "disk"
    every = JobFrequency.HOUR
    recheck = "5min"
    options: Options = {
        "path": option(absolute_path, help="any file or folder on the file system"),
        "fail_percent": option(
            percent, 90, help="failing if more than this is used", also="limit"
        ),
        "warn_percent": option(
            percent, None, help="a warning if more than this is used"
        ),
        "fail_free": option(
            bytes_, None, below=True, help="failing if less than this is free: 5GB"
        ),
        "warn_free": option(
            bytes_, None, below=True, help="a warning if less than this is free"
        ),
    }

    def check(self, target: Target, deadline: Deadline) -> Values:
        """Return how much is used, in per cent, and what is free."""
        path = target.path
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
        self.note = f"{path}: {gigabytes(usage.free)} of {gigabytes(usage.total)} free"
        return {
            "used": percent(
                percent_used(usage.used, usage.free),
                warn=target.warn_percent,
                fail=target.fail_percent,
            ),
            "free": bytes_(usage.free, warn=target.warn_free, fail=target.fail_free),
        }


def percent_used(used_bytes: int, free_bytes: int) -> int:
    """Return how full a file system is in per cent, rounded up, as df does.

    The space reserved for root counts as neither used nor free.
    """
    return -(-100 * used_bytes // (used_bytes + free_bytes))


def gigabytes(count: int) -> str:
    """Return a number of bytes in gigabytes."""
    return f"{count / 1e9:.1f} GB"

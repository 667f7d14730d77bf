"""One run at a time: who holds the lock, and who was turned away.

An fcntl lock is the process's own: a child does not hold it, and the kernel frees it
at death.  Closing any descriptor of the file would drop it, so the file is opened here
only, and once.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lib.core import encoding
from lib.core.encoding import Count, Moment, Stored
from lib.system.errors import StateError, trouble
from lib.system.files import Damaged, open_to_write, overwrite, read_capped, write_whole

logger = logging.getLogger(__name__)

#: Who has just got the lock needs a moment to say so.
LOOK_AGAIN_S = 0.02
LOOKS = 40


class Holder(Stored, frozen=True):
    """Who holds the lock, as the lock file tells it."""

    #: 0 where the file does not tell.
    pid: Count = 0
    began_at: Moment | None = None
    ends_by: Moment | None = None


class Lock:
    """The lock of a state folder, and the list of runs that found it taken."""

    def __init__(
        self, folder: Path, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._sleep = sleep
        self._path = folder / "lock"
        self._skipped = folder / "skipped"
        self._descriptor: int | None = None

    def take(self, now: datetime, length: timedelta) -> Holder | None:
        """Take the lock for a run; return None, or who holds it if somebody does.

        Raise StateError if that cannot be found out.
        """
        descriptor = self._open()
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            holder = self._holder(descriptor, now, length)
            os.close(descriptor)
            return holder
        except OSError as error:
            os.close(descriptor)
            raise trouble(self._path, "lock it", error) from error
        self._descriptor = descriptor
        _write_holder(descriptor, Holder(os.getpid(), now, now + length))
        return None

    def give_back(self) -> None:
        """Let go of the lock, if it is held: others may take it."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def count_skip(self, now: datetime) -> None:
        """Note, without the lock, that a run found another at work."""
        try:
            descriptor = open_to_write(self._skipped, append=True)
            try:
                write_whole(descriptor, f"{now.isoformat()}\n".encode())
            finally:
                os.close(descriptor)
        except OSError as error:
            logger.warning("%s", trouble(self._skipped, "count a skipped run", error))

    def take_skips(self, counted: datetime | None) -> tuple[int, datetime | None]:
        """Return how many runs were skipped after ``counted``, and when the last was.

        The list stays until all of it is counted, so that a crash before the number
        is kept loses none and doubles none.
        """
        try:
            lines = read_capped(self._skipped).decode("ascii", "replace").split()
        except FileNotFoundError:
            return 0, None
        except (OSError, Damaged) as error:
            logger.warning("%s: skipped runs are not counted: %s", self._skipped, error)
            return 0, None
        moments = [moment for line in lines if (moment := _moment(line)) is not None]
        if counted in moments:
            last = len(moments) - moments[::-1].index(counted)
            moments = moments[last:]
        if moments:
            return len(moments), moments[-1]
        try:
            os.unlink(self._skipped)
        except OSError as error:
            logger.warning("%s", trouble(self._skipped, "remove it", error))
        return 0, None

    def _holder(self, descriptor: int, now: datetime, length: timedelta) -> Holder:
        """Return who holds the lock.

        A file that tells nothing, or of a run that is past its end, may be one that
        the new holder has not yet written, or is writing.
        """
        for _look in range(LOOKS):
            holder = _read_holder(descriptor, length)
            if holder.pid and holder.ends_by is not None and holder.ends_by >= now:
                return holder
            self._sleep(LOOK_AGAIN_S)
        return _read_holder(descriptor, length)

    def _open(self) -> int:
        try:
            return open_to_write(self._path)
        except OSError as error:
            if not error.errno:
                text = f"{self._path} is no regular file; move it away"
                raise StateError(text) from error
            raise trouble(self._path, "open it", error) from error


def _read_holder(descriptor: int, length: timedelta) -> Holder:
    try:
        return encoding.convert(encoding.decode(os.pread(descriptor, 4096, 0)), Holder)
    except (OSError, ValueError):
        began_at = datetime.fromtimestamp(os.fstat(descriptor).st_mtime, UTC)
        return Holder(0, began_at, began_at + length)


def _write_holder(descriptor: int, holder: Holder) -> None:
    text = encoding.encode(holder) + b"\n"
    try:
        overwrite(descriptor, text)
    except OSError as error:
        # For people only; the lock itself is held.
        logger.warning("the lock file could not be written: %s", error)


def _moment(line: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(line)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None

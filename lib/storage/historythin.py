"""Makes the files of days that are over small: state/history/DAY.log -> DAY.logz.

A run does this when its lock is free again, for at most two seconds; the next one goes
on where it ended.  A DAY.logz holds the same bytes in compressed parts, each with its
sum and its place.  Whoever is killed leaves the DAY.log, or both: then rows that are in
both are read once.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from lib.storage import history
from lib.storage.history import FOLDER, NOW
from lib.system.errors import NewerState, StateError, trouble
from lib.system.files import open_to_write, sync_folder, write_whole

logger = logging.getLogger(__name__)

SLICE_S = 2.0
PART_BYTES = 1024 * 1024
LOCK, UNFINISHED = "lock", ".logz.part"


def compress(
    state: Path,
    slice_s: float = SLICE_S,
    clock: Callable[[], float] = time.monotonic,
) -> bool:
    """Compress days that are over until the time is up; return whether all are done.

    What goes wrong is said in one line; the files stay as they are.  Another process
    that is at it has its own lock: nothing is done then.
    """
    folder, until = state / FOLDER, clock() + slice_s
    try:
        descriptor = open_to_write(folder / LOCK)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return _compress_all(folder, lambda: clock() >= until)
        finally:
            os.close(descriptor)
    except BlockingIOError:
        return False
    except (OSError, StateError) as error:
        if isinstance(error, OSError):
            error = trouble(folder, "compress the history", error)
        logger.warning("%s", error)
        return False


def _compress_all(folder: Path, is_over: Callable[[], bool]) -> bool:
    try:
        now_at = history.read_summary(folder / NOW).day
    except NewerState:
        return False
    # A day that the summary is at may still have blocks to be read again.
    for day in history.day_files(folder):
        if day < now_at and not _compress_day(folder, day, is_over):
            return False
    return True


def _compress_day(folder: Path, day: str, is_over: Callable[[], bool]) -> bool:
    """Compress a day, or a part of it; return whether it is done."""
    path, whole = folder / f"{day}.log", folder / f"{day}.logz"
    content = path.read_bytes()
    if whole.exists():
        # Killed before it was removed; or a clock that was set back wrote a second one.
        if history.unpacked(whole.read_bytes()) == content:
            path.unlink()
        return True
    unfinished = folder / f"{day}{UNFINISHED}"
    descriptor = open_to_write(unfinished, append=True)
    try:
        done, end = _done(os.pread(descriptor, os.fstat(descriptor).st_size, 0))
        os.ftruncate(descriptor, end)
        while done < len(content):
            if is_over():
                return False
            part = content[done : done + PART_BYTES]
            write_whole(descriptor, history.packed_part(part, done))
            done += len(part)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if history.unpacked(unfinished.read_bytes()) != content:
        unfinished.unlink()
        return False
    unfinished.rename(whole)
    sync_folder(folder)
    path.unlink()
    return True


def _done(content: bytes) -> tuple[int, int]:
    """Return how much of a day is in its parts, and where the whole ones end."""
    done = end = 0
    for place, size, after in history.parts_in(content):
        if place != done:
            break
        done, end = done + size, after
    return done, end

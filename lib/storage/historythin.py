"""Makes small what is over in state/history/: logs, hours and days.

A run does this when its lock is free again, for at most two seconds; the next one goes
on where it ended.  ``HOUR.log`` becomes ``HOUR.rows``, and the hours of a day become
``DAY.rows``.  Whoever is killed leaves what a file was made of beside it: rows that are
in both are read once, and it is made again.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from lib.storage import history, historycolumns
from lib.storage.history import FOLDER, LOG, ROWS
from lib.storage.historyblocks import RunLog
from lib.storage.historycolumns import ColumnFile, Source
from lib.storage.historynow import Summary, read_summary
from lib.system.errors import NewerState, StateError, trouble
from lib.system.files import open_to_write

logger = logging.getLogger(__name__)

SLICE_S = 2.0
LOCK = "lock"
#: Of so many days all results are kept.
RAW_DAYS = 14


def thin(
    state: Path,
    slice_s: float = SLICE_S,
    clock: Callable[[], float] = time.monotonic,
) -> bool:
    """Make what is over small until the time is up; return whether all is done.

    What goes wrong is said in one line; the files stay as they are.  Another process
    that is at it has its own lock: nothing is done then.
    """
    folder, until = state / FOLDER, clock() + slice_s
    try:
        descriptor = open_to_write(folder / LOCK)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return _Thinning(folder, lambda: clock() >= until).all()
        finally:
            os.close(descriptor)
    except BlockingIOError:
        return False
    except NewerState as error:
        logger.warning("%s: the history stays as it is: %s", folder, error)
        return False
    except (OSError, StateError) as error:
        if isinstance(error, OSError):
            error = trouble(folder, "thin the history", error)
        logger.warning("%s", error)
        return False


class _Thinning:
    """Goes through what is to be done, until it has no more time."""

    def __init__(self, folder: Path, is_over: Callable[[], bool]) -> None:
        self._folder, self._is_over = folder, is_over
        self._summary: Summary = read_summary(folder)

    def all(self) -> bool:
        """Return whether everything was done in time."""
        return all(not self._is_over() and step() for step in self._steps())

    def _steps(self) -> Iterator[Callable[[], bool]]:
        """Yield what is to be done, in its order."""
        for name in history.row_files(self._folder):
            if name.endswith(LOG) and self._is_read(name):
                yield partial(self._fold, name.removesuffix(LOG) + ROWS, [name])
        hours = dict[str, list[str]]()
        for name in history.row_files(self._folder):
            if "T" in name and name.endswith(ROWS):
                hours.setdefault(name[:10], []).append(name)
        for day, names in hours.items():
            if day < self._summary.log[:10]:
                yield partial(self._fold, day + ROWS, names)
        yield self._remove_old

    def _is_read(self, log: str) -> bool:
        """Return whether no run writes to a log any more, and its rows are counted."""
        size = (self._folder / log).stat().st_size
        is_current = log == self._summary.log
        return not is_current and self._summary.ends.get(log) == size

    def _fold(self, name: str, made_of: list[str]) -> bool:
        """Make one file of others, and of what it has already; remove the others."""
        path = self._folder / name
        if path.exists():
            made_of = [name, *made_of]
        sources = [self._source(one) for one in made_of]
        sizes = [(one, self._size(one)) for one in made_of]
        keys = sorted(set().union(*(source.keys() for source in sources)))
        times = sorted({moment for source in sources for moment in source.times()})

        def block_of(key: str) -> bytes:
            rows = historycolumns.merged(sources, key)
            return historycolumns.packed_rows(key, rows, times)

        if not historycolumns.write(path, sizes, times, keys, block_of, self._is_over):
            return False
        for one, size in sizes:
            # A clock that was set back may just have appended to a log.
            if one != name and self._size(one) == size:
                (self._folder / one).unlink()
        return True

    def _source(self, name: str) -> Source:
        path = self._folder / name
        return RunLog(path.read_bytes()) if name.endswith(LOG) else ColumnFile(path)

    def _size(self, name: str) -> int:
        return (self._folder / name).stat().st_size

    def _remove_old(self) -> bool:
        """Remove the results of the oldest days; their bars and changes stay.

        Days are counted by their files: a clock that is wrong for a while drops none.
        """
        names = history.row_files(self._folder)
        days = sorted({name[:10] for name in names})
        for name in names:
            if name[:10] in days[:-RAW_DAYS]:
                (self._folder / name).unlink()
        return True

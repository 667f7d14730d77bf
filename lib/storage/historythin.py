"""Makes small what is over in state/history/: logs, hours and days.

A run does this when its lock is free again, for at most two seconds; the next one goes
on where it ended.  What is to be done says ``plan`` of ``historyfiles.py``.  Whoever is
killed leaves what a file was made of beside it: rows that are in both are read once,
and it is made again.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Callable, Collection, Sequence
from datetime import tzinfo
from functools import partial
from pathlib import Path

from lib.core.settings import HistoryAges
from lib.storage import historycolumns
from lib.storage.history import History, packed_changes
from lib.storage.historyblocks import Losses, RunLog
from lib.storage.historybuckets import (
    Bucket,
    buckets_of,
    coarser,
    packed_buckets,
    unpacked_buckets,
)
from lib.storage.historycolumns import ColumnFile, Source, merged
from lib.storage.historyfiles import (
    FOLDER,
    HOURS,
    LOG,
    PACKED,
    ROWS,
    STEPS,
    Step,
    gap_before,
    listed,
    plan,
    row_files,
    span_of,
)
from lib.storage.historynames import names_in
from lib.storage.historynow import Summary, read_summary
from lib.storage.historyrecount import recount
from lib.system.errors import NewerState, StateError, trouble
from lib.system.files import open_to_write, replace_files

logger = logging.getLogger(__name__)

SLICE_S = 2.0
DEFAULT_AGES = HistoryAges()
LOCK = "lock"
#: The names of files, and how long each was.
Sizes = list[tuple[str, int]]


def thin(
    state: Path,
    ages: HistoryAges = DEFAULT_AGES,
    slice_s: float = SLICE_S,
    clock: Callable[[], float] = time.monotonic,
    zone: tzinfo | None = None,
) -> bool:
    """Make what is over small until the time is up; return whether all is done.

    Then the time of days is counted anew that bars.log has lost; ``zone`` is where
    people live.
    What goes wrong is said in one line; the files stay as they are.  Another process
    that is at it has its own lock: nothing is done then.
    """
    folder, until = state / FOLDER, clock() + slice_s
    try:
        descriptor = open_to_write(folder / LOCK)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

            def is_over() -> bool:
                return clock() >= until

            is_done = _Thinning(folder, ages, is_over).all()
            return is_done and recount(History(state, zone), is_over)
        finally:
            os.close(descriptor)
    except BlockingIOError:
        return False
    except NewerState as error:
        logger.warning("the history stays as it is: %s", error)
        return False
    except (OSError, StateError) as error:
        if isinstance(error, OSError):
            error = trouble(folder, "thin the history", error)
        logger.warning("%s", error)
        return False


class _Thinning:
    """Goes through what is to be done, until it has no more time."""

    def __init__(
        self, folder: Path, ages: HistoryAges, is_over: Callable[[], bool]
    ) -> None:
        self._folder, self._ages, self._is_over = folder, ages, is_over
        self._summary: Summary = read_summary(folder)
        self._losses = Losses()

    def all(self) -> bool:
        """Return whether everything was done in time."""
        done = set[Step]()
        # What was made may be what the next is made of.
        while step := self._next(done):
            try:
                if self._is_over() or not self._do(step):
                    return False
            except NewerState as error:
                logger.warning("%s stays as it is: %s", ", ".join(step.made_of), error)
            done.add(step)
        for text in self._losses.texts():
            logger.warning("made small without a part: %s", text)
        return True

    def _next(self, done: Collection[Step]) -> Step | None:
        names = listed(self._folder)
        for step in plan(names, self._summary.log, self._ages):
            if step not in done and all(map(self._is_read, step.made_of)):
                return step
        return None

    def _is_read(self, name: str) -> bool:
        """Return whether the rows of a log are counted; other files are of such."""
        if not (name.endswith(LOG) and row_files([name])):
            return True
        return self._summary.ends.get(name) == self._size(name)

    def _do(self, step: Step) -> bool:
        """Return whether a step was done in time."""
        # Of a clock that was set back there may be one that has a part.
        has_one = step.target and (self._folder / step.target).exists()
        made_of = [*([step.target] if has_one else []), *step.made_of]
        sizes = [(name, self._size(name)) for name in made_of]
        if step.target.endswith(ROWS):
            is_done = self._fold(step.target, sizes)
        elif step.target.endswith(PACKED):
            (name,) = step.made_of
            packed = packed_changes((self._folder / name).read_bytes())
            replace_files([(self._folder / step.target, packed)])
            is_done = True
        elif step.target:
            is_done = self._thin(step.target, sizes)
        else:
            is_done = True
        if is_done:
            for name, size in sizes:
                # A clock that was set back may just have appended to a log.
                if name != step.target and self._size(name) == size:
                    (self._folder / name).unlink()
        return is_done

    def _fold(self, target: str, made_of: Sizes) -> bool:
        """Make a file of rows of others."""
        # What becomes of it must not change while it is being made.
        names = names_in(self._folder).until(span_of(target)[1])
        sources = [names.joined(self._source(name)) for name, _size in made_of]
        keys = set().union(*(source.keys() for source in sources))
        day_before = self._day_before(target)
        before = None if day_before is None else names.joined(day_before)
        times = sorted({moment for source in sources for moment in source.times()})

        def block_of(key: str) -> bytes:
            standing = None if before is None else before.after(key)
            rows = merged(sources, key)
            return historycolumns.packed_rows(key, rows, times, standing)

        return self._write(target, made_of, times, sorted(keys), block_of)

    def _day_before(self, target: str) -> ColumnFile | None:
        """Return the day before that of a file, if it has one that can be read.

        Of an hour, no day is asked for.
        """
        names = row_files(listed(self._folder))
        days = [name for name in names if "T" not in name and name < target]
        if "T" in target or not days:
            return None
        try:
            return ColumnFile(self._folder / days[-1], is_strict=True)
        except NewerState:
            return None

    def _thin(self, target: str, made_of: Sizes) -> bool:
        """Make a file of buckets of one that has rows, or shorter buckets."""
        ending = target[target.index(".") :]
        step_s = STEPS[ending]
        # What stood in the days without a file is told by the day after them.
        span = gap_before(target, listed(self._folder))[0], span_of(target)[1]
        files = [
            (
                name,
                ColumnFile(self._folder / name, is_strict=True, losses=self._losses),
            )
            for name, _size in made_of
        ]

        def block_of(key: str) -> bytes:
            buckets: dict[float, Bucket] = {}
            for name, file in files:
                for bucket in _buckets(name, file, key, span, step_s):
                    # What is there already stays.
                    buckets.setdefault(bucket.at, bucket)
            return packed_buckets(key, sorted(buckets.values()))

        keys = set().union(*(file.keys() for _name, file in files))
        return self._write(target, made_of, [], sorted(keys), block_of)

    def _write(
        self,
        target: str,
        made_of: Sizes,
        times: Sequence[int],
        keys: Sequence[str],
        block_of: Callable[[str], bytes],
    ) -> bool:
        path = self._folder / target
        return historycolumns.write(path, made_of, times, keys, block_of, self._is_over)

    def _source(self, name: str) -> Source:
        path = self._folder / name
        if name.endswith(LOG):
            note = partial(self._losses.damaged, path, "results of a run are missing")
            return RunLog(path.read_bytes(), passed_over=note)
        return ColumnFile(path, is_strict=True, losses=self._losses)

    def _size(self, name: str) -> int:
        return (self._folder / name).stat().st_size


def _buckets(
    name: str, file: ColumnFile, key: str, span: tuple[float, float], step_s: int
) -> list[Bucket]:
    """Return the buckets of a job that a file has, or that its rows make."""
    if name.endswith(ROWS):
        return buckets_of(file.rows(key), file.before(key), *span, step_s)
    found = file.block(key)
    if found is None:
        return []
    buckets = unpacked_buckets(*found, STEPS[name[name.index(".") :]])
    return buckets if name.endswith(HOURS) else coarser(buckets, step_s)

"""Counts anew what bars.log of state/history/ has lost, from the results that are kept.

Thinning does that, in its slices, the newest day first.  How far it is with a day is in
``bars.log.part``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from lib.storage.history import History
from lib.storage.historybars import Bars, bars_in, days_in
from lib.storage.historyblocks import bars_block
from lib.storage.historyfiles import BARS, UNFINISHED
from lib.storage.historynow import begin_of, content_of, next_midnight
from lib.system.files import open_to_write, replace_softly, write_whole

logger = logging.getLogger(__name__)


def recount(history: History, is_over: Callable[[], bool]) -> bool:
    """Count anew the time of the days that are lost; return whether all is done.

    Raise NewerState or OSError.
    """
    part = history.folder / (BARS + UNFINISHED)
    lost = history.lost_days()
    if lost and not part.exists():
        for text in history.lost_time():
            logger.warning("%s", text)
        # By it the next run knows that there is something to be done.
        replace_softly(part, b"")
    for day in reversed(lost):
        if is_over() or not _recount_day(history, day, is_over):
            return False
    part.unlink(missing_ok=True)
    return True


def _recount_day(history: History, day: str, is_over: Callable[[], bool]) -> bool:
    """Return whether a day was counted in time; what is done of it is kept."""
    begin = begin_of(day, history.zone)
    end = next_midnight(day, history.zone)
    part = history.folder / (BARS + UNFINISHED)
    bars: Bars = {}
    content = content_of(part)
    if begin in days_in(content).values():
        for _day, known in bars_in(content, day, day):
            bars.update(known)
    left = [
        key
        for key in sorted(history.jobs(begin, end))
        if history.names.key_at(key, end - 1) not in bars
    ]
    for key, share in history.shares(left, begin, end):
        bars[history.names.key_at(key, end - 1)] = list(share)
        if is_over() and key != left[-1]:
            replace_softly(part, bars_block(day, bars, begin))
            return False
    known_of = {key: times for key, times in bars.items() if any(times[:-1])}
    descriptor = open_to_write(history.folder / BARS, append=True)
    try:
        write_whole(descriptor, bars_block(day, known_of, begin))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return True

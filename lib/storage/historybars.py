"""bars.log of state/history/: how long each job was what, by day, for ever.

A run appends a block when a day is over.  What is lost of it is counted anew from what
is kept of the results: thinning does that, in its slices, the newest day first.  How
far it is with a day is in ``bars.log.part``.
"""

from __future__ import annotations

import logging
import os
import zlib
from collections.abc import Callable, Iterator
from datetime import date
from typing import TYPE_CHECKING

import msgspec

from lib.core.text import counted
from lib.storage.historyblocks import (
    BARS_KIND,
    Block,
    bars_block,
    blocks,
    payload_of,
)
from lib.storage.historyfiles import BARS, UNFINISHED
from lib.storage.historynow import content_of, midnight, next_midnight
from lib.system.files import open_to_write, replace_softly, write_whole

if TYPE_CHECKING:
    from lib.storage.history import History

logger = logging.getLogger(__name__)

#: How long each job of a day was what, as ``TIMES``.
Bars = dict[str, list[float]]


def bars_in(content: bytes, first: str, last: str) -> Iterator[tuple[str, Bars]]:
    """Yield the days from the first to the last one, as they were written.

    Raise NewerState where a newer Checker wrote on.
    """
    days = range(
        date.fromisoformat(first).toordinal(), date.fromisoformat(last).toordinal() + 1
    )

    def wants(one: Block) -> bool:
        return one.kind == BARS_KIND and one.names_at in days

    for one in blocks(content, 0, wants):
        text = zlib.decompress(payload_of(content, one))
        yield msgspec.json.decode(text, type=tuple[str, Bars])


def days_in(content: bytes) -> set[int]:
    """Return the days that are there and whole, as dates count them.

    Raise NewerState where a newer Checker wrote on.
    """
    return {one.names_at for one in blocks(content) if one.kind == BARS_KIND}


def which_days(days: list[str]) -> str:
    """Return in words which days these are."""
    if len(days) == 1:
        return days[0]
    return f"{counted(len(days), 'day')} from {days[0]} on"


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
    begin = midnight(date.fromisoformat(day), history.zone)
    end = next_midnight(day, history.zone)
    part = history.folder / (BARS + UNFINISHED)
    bars: Bars = {}
    for _day, known in bars_in(content_of(part), day, day):
        bars.update(known)
    left = [
        key
        for key in sorted(history.jobs(begin, end))
        if history.names.key_at(key, end - 1) not in bars
    ]
    for key, share in history.shares(left, begin, end):
        bars[history.names.key_at(key, end - 1)] = list(share)
        if is_over() and key != left[-1]:
            replace_softly(part, bars_block(day, bars))
            return False
    known_of = {key: times for key, times in bars.items() if any(times[:-1])}
    descriptor = open_to_write(history.folder / BARS, append=True)
    try:
        write_whole(descriptor, bars_block(day, known_of))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return True

"""bars.log of state/history/: how long each job was what, by day, for ever.

A run appends a block when a day is over; of several of one day the last one counts.
``historyrecount`` counts anew what is lost of it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from datetime import date

import msgspec

from lib.core.text import counted
from lib.storage.historyblocks import BARS_KIND, Block, blocks, payload_of

#: How long each job of a day was what, as ``TIMES``.
Bars = dict[str, list[float]]


def bars_in(content: bytes, first: str, last: str) -> Iterator[tuple[str, Bars]]:
    """Yield the days from the first to the last one, as they were written last.

    Raise NewerState where a newer Checker wrote on.
    """
    days = range(ordinal_of(first), ordinal_of(last) + 1)

    def wants(one: Block) -> bool:
        return one.kind == BARS_KIND and one.names_at in days

    # What was counted anew stands behind.
    last_of = {one.names_at: one for one in blocks(content, 0, wants)}
    for one in last_of.values():
        text = zlib.decompress(payload_of(content, one))
        yield msgspec.json.decode(text, type=tuple[str, Bars])


def days_in(
    content: bytes, passed_over: Callable[[], None] = lambda: None
) -> dict[int, float]:
    """Return when each day began that is there and whole; days are as dates count them.

    ``passed_over`` is called where something damaged lies before a block.  Raise
    NewerState where a newer Checker wrote on.
    """
    return {
        one.names_at: one.at_ms / 1000
        for one in blocks(content, 0, None, passed_over)
        if one.kind == BARS_KIND
    }


def ordinal_of(day: str) -> int:
    """Return the number of a day, as dates count them."""
    return date.fromisoformat(day).toordinal()


def which_days(days: list[str]) -> str:
    """Return in words which days these are."""
    if len(days) == 1:
        return days[0]
    return f"{counted(len(days), 'day')} from {days[0]} on"

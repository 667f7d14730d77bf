"""Numbers over a time as a line of bars, ``▁▂▅█``: for tables and mails alike."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import compress, pairwise

BARS, GAP = "▁▂▃▄▅▆▇█", "·"
#: For terminals that have no such characters.
ASCII_BARS, ASCII_GAP = ".:-=+*#@", "_"


def sampled(
    moments: Sequence[float],
    numbers: Sequence[float],
    since: float,
    until: float,
    width: int,
    pick: Callable[[Sequence[float]], float] = max,
) -> list[float | None]:
    """Return the number of each of ``width`` equal parts of a time; None: it has none.

    The moments of the numbers ascend.  ``pick`` says which one stands for several.  The
    time is from ``since`` up to, not including, ``until``.
    """
    if not all(map(math.isfinite, numbers)):
        is_known = list(map(math.isfinite, numbers))
        moments = list(compress(moments, is_known))
        numbers = list(compress(numbers, is_known))
    length = until - since
    edges = [since + length * part / width for part in range(width)]
    places = [bisect_left(moments, edge) for edge in (*edges, until)]
    return [
        pick(numbers[begin:end]) if begin < end else None
        for begin, end in pairwise(places)
    ]


def sparkline(numbers: Sequence[float | None], *, ascii_only: bool = False) -> str:
    """Return a bar per number, the highest for the greatest; a dot where there is none.

    Empty if there is no number at all.  Equal numbers have the lowest bar.
    """
    bars, gap = (ASCII_BARS, ASCII_GAP) if ascii_only else (BARS, GAP)
    known = [number for number in numbers if number is not None]
    if not known:
        return ""
    low, high = min(known), max(known)
    # Halves, because the whole may be more than a float holds.
    spread = high / 2 - low / 2
    last = len(bars) - 1

    def bar(number: float | None) -> str:
        if number is None:
            return gap
        if spread <= 0:
            return bars[0]
        return bars[min(last, int((number / 2 - low / 2) / spread * len(bars)))]

    return "".join(map(bar, numbers))

"""Numbers over a time as a line of bars."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.core.sparkline import BARS, GAP, sampled, sparkline


def _sampled(points, *args):
    moments, numbers = zip(*sorted(points), strict=True) if points else ((), ())
    return sampled(moments, numbers, *args)


@pytest.mark.parametrize(
    ("numbers", "line"),
    [
        ([], ""),
        ([None, None], ""),
        ([0, 1, 2, 3, 4, 5, 6, 7], BARS),
        ([1, None, 2], f"▁{GAP}█"),
        ([5, 5, 5], "▁▁▁"),
        ([-1e308, 1e308, 0], "▁█▅"),
        ([0, 5e-324], "▁▁"),
    ],
)
def test_the_greatest_number_has_the_highest_bar(numbers, line):
    assert sparkline(numbers) == line


def test_a_terminal_without_bars_gets_ascii():
    assert sparkline([0, None, 7], ascii_only=True) == "._@"
    assert sparkline(range(8), ascii_only=True).isascii()


def test_a_part_of_the_time_has_its_highest_number_or_its_lowest():
    points = [(0.0, 1.0), (9.9, 3.0), (10.0, 2.0), (39.999, 4.0)]
    assert _sampled(points, 0, 40, 4) == [3.0, 2.0, None, 4.0]
    assert _sampled(points, 0, 40, 4, min) == [1.0, 2.0, None, 4.0]


def test_what_is_outside_of_the_time_or_no_number_is_left_out():
    points = [(-1.0, 9.0), (40.0, 9.0), (1.0, math.nan), (11.0, math.inf)]
    assert _sampled(points, 0, 40, 4) == [None] * 4
    # The clock was set back.
    assert _sampled(points, 40, 0, 4) == [None] * 4


@given(
    st.lists(st.tuples(st.floats(-10, 110), st.floats(allow_nan=False)), max_size=20)
)
def test_each_part_equals_what_is_read_of_it_one_by_one(points):
    numbers = _sampled(points, 0, 100, 10)
    for place, number in enumerate(numbers):
        inside = [
            one
            for at, one in points
            if 10 * place <= at < 10 * (place + 1) and math.isfinite(one)
        ]
        assert number == (max(inside) if inside else None)
    assert len(sparkline(numbers)) in (0, 10)

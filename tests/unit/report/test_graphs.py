"""Bars and graphs: what they show, and how few letters that takes."""

from __future__ import annotations

import math
import re
from datetime import date

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lib.core.results import Threshold, Unit, Value
from lib.report import graphs
from lib.report.graphs import Series
from lib.storage.history import Share
from tests.support.snapshots import NOON, row

UNTIL = NOON.timestamp()


@pytest.mark.parametrize(
    ("share", "letter"),
    [
        (Share(ok=86_000, failing=1), "f"),
        (Share(ok=86_000, unknown=1, warning=1), "u"),
        (Share(ok=86_000, warning=1, maintenance=3600), "w"),
        (Share(ok=1, maintenance=3600, nothing=80_000), "o"),
        (Share(maintenance=3600, nothing=80_000), "h"),
        (Share(blind=3600), "h"),
        (Share(pending=3600), "p"),
        (Share(nothing=86_400), "n"),
    ],
)
def test_a_day_has_the_letter_of_the_worst_that_was_known(share, letter):
    assert graphs.letter_of(share) == letter


def test_a_bar_ends_today_and_a_day_without_a_result_is_empty():
    names = graphs.day_names(date(2026, 3, 1), 3)
    assert names == ["2026-02-27", "2026-02-28", "2026-03-01"]
    letters = graphs.letters_of({"2026-02-28": Share(ok=1)}, names)
    assert letters == "non"
    assert dict(graphs.bar_paths("oofooo")) == {"o": "M0 10h2M3 10h3", "f": "M2 10h1"}
    assert dict(graphs.bar_paths("nnon")) == {"o": "M2 10h1"}


def test_a_slice_shows_the_worst_number_on_the_side_where_trouble_lies():
    rows = [row(UNTIL - 60 * age, values={"x": float(age)}) for age in (2000, 3, 2, 1)]
    high = {"x": Value(1.0, fail=Threshold(high=9))}
    low = {"x": Value(1.0, warn=Threshold(low=0.5))}
    (of_high,) = graphs.series_of(rows, high, UNTIL)
    (of_low,) = graphs.series_of(rows, low, UNTIL)
    assert (of_high.points[-1], of_low.points[-1]) == (3.0, 1.0)
    assert set(of_high.points[:-1]) == {None}


def test_a_job_that_measures_nothing_has_a_graph_of_its_duration():
    (found,) = graphs.series_of([row(UNTIL - 1, seconds=0.5)], {}, UNTIL, slices=24)
    assert (found.name, found.unit, found.points[-1]) == ("duration", "s", 0.5)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_not_drawn(number):
    rows = [row(UNTIL - 1, values={"x": number})]
    (found,) = graphs.series_of(rows, {"x": Value(1.0)}, UNTIL)
    assert set(found.points) == {None}


def test_thresholds_have_their_place_in_the_graph():
    series = Series("x", Unit.PERCENT, (40.0, 41.0))
    value = Value(41.0, Unit.PERCENT, Threshold(high=80), Threshold(high=100))
    drawn = graphs.drawing(series, value)
    assert (drawn.low, drawn.high) == (0.0, 100.0)
    assert drawn.limits == (("w", "M0 5h2"), ("f", "M0 1h2"))
    assert drawn.line == "M0 12h1"


def test_a_gap_begins_a_new_line_and_a_lone_number_is_seen():
    series = Series("x", Unit.COUNT, (1.0, None, 3.0, 2.0, 2.0, None, None, 1.0))
    line = graphs.drawing(series, None).line
    assert line.count("M") == 3
    assert line.startswith("M0 13h.5M2 1l1")
    assert line.endswith("h.5")


POINTS = st.lists(
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
    min_size=1,
    max_size=96,
)


@given(POINTS)
@example([0.0, 5e-324])
@example([-1.7e308, 1.7e308])
def test_every_graph_stays_within_its_frame(points):
    drawn = graphs.drawing(Series("x", Unit.COUNT, tuple(points)), None)
    x = y = 0.0
    for letter, text in re.findall(r"([Mlh])([^Mlh]*)", drawn.line):
        numbers = [float(one) for one in re.findall(r"-?[\d.]+", text)]
        if letter == "M":
            x, y = numbers
        elif letter == "h":
            x += numbers[0]
        else:
            for step, change in zip(numbers[::2], numbers[1::2], strict=True):
                x, y = x + step, y + change
                assert 0 <= y <= graphs.HEIGHT
        assert 0 <= x <= len(points) and 0 <= y <= graphs.HEIGHT


def test_fewer_slices_keep_the_worst():
    series = Series("x", Unit.COUNT, (1.0, 5.0, None, None, 2.0, 3.0))
    assert graphs.coarser(series, 3).points == (5.0, None, 3.0)
    assert graphs.coarser(series, 3, is_low=True).points == (1.0, None, 2.0)
    assert graphs.coarser(series, 6) is series


@pytest.mark.parametrize(
    ("uptime", "words"),
    [
        (None, "–"),
        (1.0, "100 %"),
        (0.9999999, "99.99 %"),
        (0.5, "50 %"),
        (0.0, "0 %"),
        (0.9986, "99.86 %"),
    ],
)
def test_only_all_of_the_time_is_100_per_cent(uptime, words):
    assert graphs.uptime_words(uptime) == words

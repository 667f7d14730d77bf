"""How measured values are judged, and how they are shown."""

from __future__ import annotations

import pytest

from lib.core.enums import Status
from lib.core.results import (
    Threshold,
    Unit,
    Value,
    amount_words,
    judge,
    spread_words,
    value_lines,
    worst,
)

OK, WARNING, FAILING = Status.OK, Status.WARNING, Status.FAILING


def used(number: float) -> Value:
    """Return a value that warns above 80% and fails above 90%."""
    return Value(
        number,
        Unit.PERCENT,
        warn=Threshold(high=80, option="warn_percent"),
        fail=Threshold(high=90, option="fail_percent"),
    )


def free(number: float) -> Value:
    """Return a value that fails below 1 GB."""
    return Value(number, Unit.BYTES, fail=Threshold(low=1e9, option="fail_free"))


FILES = Threshold(low=1, high=15, option="fail_count")
DAYS = Threshold(low=14)


@pytest.mark.parametrize(
    ("values", "status", "reason"),
    [
        ({}, OK, ""),
        ({"files": Value(3)}, OK, ""),
        ({"used": used(80)}, OK, ""),
        ({"used": used(81)}, WARNING, "used is 81%, over warn_percent = 80%"),
        ({"used": used(90)}, WARNING, "used is 90%, over warn_percent = 80%"),
        ({"used": used(93)}, FAILING, "used is 93%, over fail_percent = 90%"),
        ({"free": free(1e9)}, OK, ""),
        ({"free": free(2e6)}, FAILING, "free is 2MB, under fail_free = 1GB"),
        (
            {"files": Value(17, fail=FILES)},
            FAILING,
            "files is 17, outside fail_count = 1..15",
        ),
        ({"files": Value(0, fail=FILES)}, FAILING, None),
        ({"files": Value(15, fail=FILES)}, OK, ""),
        ({"days": Value(9, fail=DAYS)}, FAILING, "days is 9, under 14"),
    ],
)
def test_a_value_outside_its_range_decides(values, status, reason):
    found, why = judge(values)
    assert found is status
    assert reason is None or why == reason


def test_the_worst_of_several_values_counts_and_all_as_bad_are_named():
    values = {"used": used(85), "free": free(2e6)}
    assert judge(values) == (FAILING, "free is 2MB, under fail_free = 1GB")
    both = {"used": used(95), "free": free(2e6)}
    assert judge(both)[1] == (
        "used is 95%, over fail_percent = 90%; free is 2MB, under fail_free = 1GB"
    )


@pytest.mark.parametrize(
    ("percent", "free_bytes", "status"),
    [(95, 2e6, FAILING), (95, 2e9, WARNING), (75, 2e6, OK), (85, 2e6, WARNING)],
)
def test_need_all_asks_for_every_threshold_at_once(percent, free_bytes, status):
    values = {"used": used(percent), "free": free(free_bytes), "files": Value(3)}
    found, why = judge(values, need_all=True)
    assert found is status
    assert (" and " in why) is (status is FAILING)


@pytest.mark.parametrize(
    ("number", "unit", "words"),
    [
        (93, "%", "93%"),
        (0, "s", "0s"),
        (0.25, "s", "250ms"),
        (2.001, "s", "2.001s"),
        (0.00012, "s", "0.12ms"),
        (172_800, "s", "2d"),
        (-90, "s", "-1.5min"),
        (999.96e6, "B", "1000MB"),
        (3_456_789, "B", "3.457MB"),
        (5e15, "B", "5000TB"),
        (0, "B", "0B"),
        (1_234_567, "count", "1234567"),
        (0.5, "count", "0.5"),
        (12.5, "1/s", "12.5/s"),
    ],
)
def test_a_number_is_shown_as_the_settings_write_it(number, unit, words):
    assert amount_words(number, Unit(unit)) == words


def test_each_value_has_a_line_with_its_thresholds(approved):
    values = {
        "used": used(93),
        "free": free(2e6),
        "files": Value(3, warn=FILES),
        "load": Value(0.5),
    }
    approved("".join(f"{line}\n" for line in value_lines(values)))


def test_a_threshold_of_somebody_else_judges_nothing():
    limit = Threshold(high=1, judges=False)
    assert judge({"load": Value(5, warn=limit, fail=limit)}) == (Status.OK, "")
    own = Threshold(high=4)
    values = {"load": Value(5, warn=own, fail=limit)}
    assert judge(values) == (Status.WARNING, "load is 5, over 4")
    # Where all must be exceeded, it is none of them.
    assert judge(values, need_all=True)[0] is Status.WARNING


def test_a_spread_is_one_number_where_both_read_the_same():
    assert spread_words(61, 93, Unit.PERCENT) == "61%..93%"
    assert spread_words(0.25, 0.25, Unit.SECONDS) == "250ms"
    assert spread_words(1.00001e9, 1.00002e9, Unit.BYTES) == "1GB"


def limited(number, low=None, high=None):
    """Return a number that may not leave a range."""
    return Value(number, Unit.COUNT, fail=Threshold(low, high))


@pytest.mark.parametrize(
    ("one", "other", "is_other"),
    [
        (used(10), used(20), True),
        (used(20), used(10), False),
        (used(20), used(20), False),
        (limited(3, low=7), limited(9, low=7), False),
        (limited(9, low=7), limited(3, low=7), True),
        (limited(0, 1, 5), limited(7, 1, 5), True),
        (limited(-4, 1, 5), limited(7, 1, 5), False),
        (limited(2, 1, 5), limited(0, 1, 5), True),
        (Value(1), Value(2), True),
    ],
)
def test_of_several_places_the_worst_value_counts(one, other, is_other):
    found = worst({"a": {"used": one}, "b": {"used": other}})
    assert found.values == {"used": other if is_other else one}
    assert found.places == {"used": "b" if is_other else "a"}


def test_the_least_is_the_worst_of_what_is_said_to_be_so():
    each = {"a": {"days": Value(9)}, "b": {"days": Value(3)}}
    assert worst(each, least=("days",)).places == {"days": "b"}


def test_each_value_is_the_worst_of_its_own_place():
    each = {
        "a": {"time": used(95), "loss": used(0)},
        "b": {"time": used(1), "loss": used(85)},
    }
    assert worst(each).places == {"time": "a", "loss": "b"}


def test_where_all_must_be_exceeded_they_are_of_one_place():
    each = {
        "a": {"time": used(95), "loss": used(0)},
        "b": {"time": used(92), "loss": used(91)},
    }
    assert worst(each, need_all=True).places == {"time": "b", "loss": "b"}

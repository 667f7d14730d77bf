"""The moments that flags mean."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from lib.cli.moments import next_moment, past_moment

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("24h", NOON - timedelta(days=1)),
        ("90min", NOON - timedelta(minutes=90)),
        # In Berlin it is 13:00.
        ("12:30", NOON - timedelta(minutes=30)),
        ("13:30", NOON - timedelta(hours=23, minutes=30)),
        ("2026-11-01", datetime(2026, 11, 1, tzinfo=BERLIN)),
        # Summer time began at two: the day has 23 hours.
        ("2026-03-29 02:30", datetime(2026, 3, 29, 1, 30, tzinfo=UTC)),
        ("2026-11-01 06:00+00:00", datetime(2026, 11, 1, 6, tzinfo=UTC)),
        # Nothing is known of the future.
        ("2027-01-01", NOON),
    ],
)
def test_a_moment_in_the_past_is_meant_in_many_ways(text, expected):
    assert past_moment("--since", text, BERLIN, NOON) == expected


@pytest.mark.parametrize(
    "text", ["", "24", "yesterday", "25:00", "2026-02-30", "-1h", "1e9d", "0 2 * * sun"]
)
def test_what_is_no_moment_is_said_with_examples(text):
    with pytest.raises(
        ValueError, match="--since .*expected how long ago, such as 24h"
    ):
        past_moment("--since", text, BERLIN, NOON)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("99999d", "expected a time from 0s to 36600d"),
        ("9" * 20 + "h", "expected a time from 0s to 36600d"),
        ("5m", "unknown unit m; the units are ms, s, min, h, d"),
        ("1970-12-31", "expected how long ago.* from 1971 on"),
    ],
)
def test_what_is_too_long_ago_is_said_with_the_limit(text, why):
    with pytest.raises(ValueError, match=f"--since {text}: {why}"):
        past_moment("--since", text, BERLIN, NOON)


def test_a_date_too_far_ahead_is_said_with_the_limit():
    with pytest.raises(ValueError, match="--until .* from 1971 to 9997"):
        next_moment("--until", "9999-12-31 00:00", BERLIN, NOON)

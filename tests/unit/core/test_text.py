from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from lib.core.text import counted, cut, duration, first_line, local, since, wrapped

#: Said in full, since a small machine may have no zone files.
BERLIN = "CET-1CEST,M3.5.0,M10.5.0/3"
NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.fixture
def live_in() -> Iterator[Callable[[str], None]]:
    before = os.environ.get("TZ")

    def move(zone: str) -> None:
        os.environ["TZ"] = zone
        time.tzset()

    yield move
    os.environ.pop("TZ", None)
    if before is not None:
        os.environ["TZ"] = before
    time.tzset()


@pytest.mark.parametrize(
    ("length", "words"),
    [
        (timedelta(0), "0 seconds"),
        (timedelta(seconds=-90), "0 seconds"),
        (timedelta(seconds=0.9), "0 seconds"),
        (timedelta(seconds=1), "1 second"),
        (timedelta(seconds=59.9), "59 seconds"),
        (timedelta(seconds=60), "1 minute"),
        (timedelta(minutes=1, seconds=59), "1 minute"),
        (timedelta(minutes=40), "40 minutes"),
        (timedelta(hours=1), "1 hour"),
        (timedelta(hours=2, minutes=5), "2 hours 5 minutes"),
        (timedelta(hours=1, minutes=1, seconds=59), "1 hour 1 minute"),
        (timedelta(days=1), "1 day"),
        (timedelta(days=3, hours=4, minutes=59), "3 days 4 hours"),
        (timedelta(days=1, minutes=59), "1 day"),
        (timedelta(days=400), "400 days"),
    ],
)
def test_how_long_is_said_in_the_two_largest_units(length, words):
    assert duration(length) == words


@pytest.mark.parametrize(
    ("zone", "words"),
    [
        ("UTC", "2026-11-22 12:00 UTC"),
        (BERLIN, "2026-11-22 13:00 CET"),
        ("<+0545>-5:45", "2026-11-22 17:45 +0545"),
    ],
)
def test_a_moment_is_said_by_the_clock_on_the_wall(live_in, zone, words):
    live_in(zone)
    assert local(NOON) == words


def test_a_moment_without_local_time_is_said_as_it_is(live_in):
    live_in(BERLIN)
    assert local(datetime.max.replace(tzinfo=UTC)).startswith("9999-12-31")
    live_in("EST5")
    assert "0001-01-01" in since(datetime.min.replace(tzinfo=UTC), NOON)


def test_since_says_when_and_for_how_long(live_in):
    live_in(BERLIN)
    words = since(NOON, NOON + timedelta(minutes=40))
    assert words == "since 2026-11-22 13:00 CET (40 minutes)"


def test_a_beginning_in_the_future_counts_as_now(live_in):
    live_in("UTC")
    words = since(NOON + timedelta(days=9), NOON)
    assert words == "since 2026-11-22 12:00 UTC (0 seconds)"


def test_the_night_in_which_clocks_are_set_forward_is_an_hour_short(live_in):
    live_in(BERLIN)
    berlin = ZoneInfo("Europe/Berlin")
    evening = datetime(2026, 3, 28, 22, 0, tzinfo=berlin)
    morning = datetime(2026, 3, 29, 6, 0, tzinfo=berlin)
    assert since(evening, morning) == "since 2026-03-28 22:00 CET (7 hours)"


def test_one_is_not_many():
    assert [counted(n, "mail") for n in (0, 1, 2)] == ["0 mails", "1 mail", "2 mails"]


def test_the_first_line_is_the_first_that_says_something():
    assert first_line("\r\n  refused\nTraceback") == "refused"
    assert first_line("") == ""


def test_sentences_are_lines_that_a_mail_shows_whole():
    url = "https://example.org/" + "x" * 90
    lines = wrapped(f"Look there: {url} and {'then ' * 20}").split("\n")
    assert [line for line in lines if len(line) > 76] == [url]
    assert wrapped("") == ""


def test_a_long_text_ends_with_an_ellipsis():
    assert cut("x" * 20, 20) == "x" * 20
    assert cut("x" * 21, 20) == "x" * 17 + "..."

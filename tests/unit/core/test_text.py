from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from zoneinfo import ZoneInfo

import pytest

from lib.core.text import (
    age,
    counted,
    cut,
    duration,
    first_line,
    mail_time,
    moment_in,
    since,
    table_time,
    wrapped,
    zone_words,
)

#: Said in full, since a small machine may have no zone files.
BERLIN = "CET-1CEST,M3.5.0,M10.5.0/3"
NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
in_utc = partial(mail_time, zone=UTC)


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
        (timedelta(seconds=0.4), "0 seconds"),
        (timedelta(seconds=0.5), "1 second"),
        (timedelta(seconds=59.4), "59 seconds"),
        (timedelta(seconds=59.5), "1 minute"),
        (timedelta(seconds=89), "1 minute"),
        (timedelta(seconds=90), "2 minutes"),
        (timedelta(minutes=25, seconds=50), "26 minutes"),
        (timedelta(minutes=40), "40 minutes"),
        (timedelta(minutes=59, seconds=29), "59 minutes"),
        (timedelta(minutes=59, seconds=30), "1 hour"),
        (timedelta(hours=2, minutes=5), "2 hours 5 minutes"),
        (timedelta(hours=1, minutes=1, seconds=59), "1 hour 2 minutes"),
        (timedelta(hours=23, minutes=40), "23 hours 40 minutes"),
        (timedelta(hours=23, minutes=59, seconds=30), "1 day"),
        (timedelta(days=1), "1 day"),
        (timedelta(days=3, hours=4, minutes=29), "3 days 4 hours"),
        (timedelta(days=3, hours=23, minutes=30), "4 days"),
        (timedelta(days=1, minutes=29), "1 day"),
        (timedelta(days=400), "400 days"),
    ],
)
def test_how_long_is_said_in_the_two_largest_units(length, words):
    assert duration(length) == words


#: As zones are set by TZ, and by [general] timezone.
KATHMANDU = ZoneInfo("Asia/Kathmandu")
EVENING = datetime(2026, 11, 22, 23, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "words"),
    [
        (UTC, "2026-11-22 12:00 UTC"),
        (ZoneInfo("Europe/Berlin"), "2026-11-22 12:00 UTC (13:00 +01:00)"),
        (KATHMANDU, "2026-11-22 12:00 UTC (17:45 +05:45)"),
        # The same time in winter.
        (ZoneInfo("Europe/London"), "2026-11-22 12:00 UTC"),
        (timezone(timedelta(hours=-3)), "2026-11-22 12:00 UTC (09:00 -03:00)"),
    ],
)
def test_a_mail_has_the_time_in_utc_and_in_a_zone(zone, words):
    assert mail_time(NOON, zone) == words


def test_a_mail_has_both_dates_if_they_differ():
    words = "2026-11-22 23:30 UTC (2026-11-23 05:15 +05:45)"
    assert mail_time(EVENING, KATHMANDU) == words


def test_a_zone_that_is_not_given_is_the_one_of_the_machine(live_in):
    live_in(BERLIN)
    assert mail_time(NOON, None) == "2026-11-22 12:00 UTC (13:00 +01:00)"
    assert table_time(NOON, None, NOON) == "2026-11-22 13:00"
    assert zone_words(None, NOON) == "CET, +01:00"
    live_in("UTC")
    assert zone_words(None, NOON) == "UTC"


def test_a_table_names_its_zone_once():
    assert table_time(NOON, KATHMANDU, EVENING) == "2026-11-22 17:45"
    assert zone_words(KATHMANDU, NOON) == "Asia/Kathmandu, +05:45"
    assert zone_words(ZoneInfo("UTC"), NOON) == zone_words(UTC, NOON) == "UTC"


def test_a_time_of_the_other_half_of_the_year_has_its_offset():
    berlin, summer = ZoneInfo("Europe/Berlin"), datetime(2026, 7, 1, 10, tzinfo=UTC)
    assert table_time(summer, berlin, NOON) == "2026-07-01 12:00 +02:00"


def test_the_hour_that_comes_twice_is_told_apart():
    berlin = ZoneInfo("Europe/Berlin")
    first, second = (datetime(2026, 10, 25, hour, 30, tzinfo=UTC) for hour in (0, 1))
    assert [table_time(one, berlin, second) for one in (first, second)] == [
        "2026-10-25 02:30 +02:00",
        "2026-10-25 02:30",
    ]
    assert [mail_time(one, berlin) for one in (first, second)] == [
        "2026-10-25 00:30 UTC (02:30 +02:00)",
        "2026-10-25 01:30 UTC (02:30 +01:00)",
    ]


def test_the_hour_that_is_skipped_has_no_times():
    berlin = ZoneInfo("Europe/Berlin")
    before, after = (datetime(2026, 3, 29, hour, 30, tzinfo=UTC) for hour in (0, 1))
    assert mail_time(before, berlin) == "2026-03-29 00:30 UTC (01:30 +01:00)"
    assert mail_time(after, berlin) == "2026-03-29 01:30 UTC (03:30 +02:00)"


def test_a_moment_without_local_time_is_shown_in_utc():
    assert mail_time(datetime.max.replace(tzinfo=UTC), KATHMANDU).startswith(
        "9999-12-31"
    )
    assert "0001-01-01" in mail_time(
        datetime.min.replace(tzinfo=UTC), timezone(timedelta(hours=-5))
    )


def test_since_says_when_and_for_how_long():
    words = since(NOON, NOON + timedelta(minutes=40), in_utc)
    assert words == "since 2026-11-22 12:00 UTC, for 40 minutes"


def test_a_beginning_in_the_future_counts_as_now():
    words = since(NOON + timedelta(days=9), NOON, in_utc)
    assert words == "since 2026-11-22 12:00 UTC, for 0 seconds"


def test_the_night_in_which_clocks_are_set_forward_is_an_hour_short():
    berlin = ZoneInfo("Europe/Berlin")
    evening = datetime(2026, 3, 28, 22, 0, tzinfo=berlin)
    morning = datetime(2026, 3, 29, 6, 0, tzinfo=berlin)
    assert age(evening, morning) == timedelta(hours=7)


def test_a_moment_in_a_state_file_has_an_offset():
    assert moment_in("2026-11-22T12:00:00+00:00") == NOON
    for text in ("2026-11-22T12:00:00", "noon", "", None, 5):
        assert moment_in(text) is None


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

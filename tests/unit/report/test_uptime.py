"""Uptime and outages: what people read equals what the rows say."""

from __future__ import annotations

from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.core.decisions import Entry, Event, StateDetails
from lib.core.enums import Status
from lib.core.jobs import JobKey
from lib.core.records import Record
from lib.report.uptime import (
    LEFT_OUT_WORDS,
    Outage,
    left_out_words,
    midnights,
    month_days,
    notified_after,
    outages,
    percent_words,
    removed_at,
)
from lib.storage.history import Change, Row, Share, share_of

ROOT = Path(__file__).resolve().parents[3]
KEY = JobKey("DiskSpace", "disk root")
BERLIN = ZoneInfo("Europe/Berlin")
DAY = 86_400.0
#: A letter per result: what is failing in maintenance is M, muted S.
LETTERS = {
    "O": (Status.OK, ""),
    "W": (Status.WARNING, ""),
    "F": (Status.FAILING, ""),
    "U": (Status.UNKNOWN, ""),
    "P": (Status.PENDING, ""),
    "M": (Status.FAILING, "maintenance"),
    "B": (Status.FAILING, "blind"),
    "S": (Status.FAILING, "muted"),
    "N": (Status.OK, "maintenance"),
}


def rows_of(story, step=60.0, holds_s=150.0):
    """Return a row per letter; a space is a time without a result."""
    return [
        Row(place * step, *LETTERS[letter], 0.1, {}, f"{letter}{place}", "p", holds_s)
        for place, letter in enumerate(story)
        if letter != " "
    ]


def changes_of(rows):
    found, before = [], None
    for row in rows:
        if before is None or (row.status, row.code) != (before.status, before.code):
            status = before.status if before else None
            found.append(Change(KEY, row.at, row.status, row.code, row.reason, status))
        before = row
    return found


def told(story, **more):
    """Return began, ended and seconds of each outage of a day, in minutes."""
    rows = rows_of(story, **more)
    edges = (0.0, len(story) * 60.0)
    failing = [share_of(rows, *edges).failing]
    return [
        (one.began / 60, one.ended and one.ended / 60, one.seconds / 60)
        for one in outages(changes_of(rows), edges, failing)
    ]


@pytest.mark.parametrize(
    ("story", "expected"),
    [
        ("OOOO", []),
        ("OFFO", [(1, 3, 2)]),
        ("OFWF", [(1, 2, 1), (3, None, 1)]),
        ("FFFF", [(0, None, 4)]),
        # It goes on in maintenance and while blind, which is not counted.
        ("FMMF", [(0, None, 2)]),
        ("FBUO", [(0, 3, 1)]),
        ("FMNO", [(0, 2, 1)]),
        # A mute hides nothing.
        ("OSSO", [(1, 3, 2)]),
        # What fails in maintenance only is no outage, nor is what is unknown.
        ("OMMO", []),
        ("OUPO", []),
        # Without a result it counts as long as the last one holds: 2.5 minutes.
        ("F      O", [(0, 7, 2.5)]),
    ],
)
def test_which_outages_a_story_has(story, expected):
    assert told(story) == expected


def moment(at_s):
    return datetime.fromtimestamp(at_s, UTC)


def gone(at_s, code=Event.JOB_GONE, unseen_since=None):
    details = StateDetails(
        "failing", unseen_since=unseen_since and moment(unseen_since)
    )
    return Entry(moment(at_s), KEY, "disk root", code, details)


@pytest.mark.parametrize(
    ("unseen_since", "entries", "removed"),
    [
        (None, [], 60),
        (120, [], 120),
        (None, [gone(240, unseen_since=120)], 120),
        # A job that is disabled is closed at once.
        (None, [gone(240)], 240),
        (None, [gone(900, Event.JOB_FORGOTTEN, 120)], 120),
        # It was removed before, and came back.
        (None, [gone(30)], 60),
    ],
)
def test_when_a_job_was_removed(unseen_since, entries, removed):
    record = Record(KEY, unseen_since=unseen_since and moment(unseen_since))
    (last,) = rows_of(" F")
    assert removed_at(record, entries, last) == removed
    assert removed_at(None, [], None) is None


def test_an_outage_is_counted_in_each_period_as_far_as_it_lies_in_it():
    changes = changes_of(rows_of("OFFFFO"))
    (first,) = outages(changes[:2], (0.0, 120.0), [60.0])
    assert first == Outage(60, None, 60, "F1")
    (second,) = outages(changes, (120.0, 600.0), [180.0])
    assert second == Outage(60, 300, 180, "F1")
    assert outages(changes, (300.0, 600.0), [0.0]) == []


def test_where_a_day_has_several_what_is_not_known_is_taken_from_each():
    found = outages(changes_of(rows_of("FFOFFO")), (0.0, 600.0), [120.0])
    assert [one.seconds for one in found] == [60, 60]


@given(
    st.lists(st.sampled_from([*LETTERS, " "]), min_size=1, max_size=40),
    st.integers(1, 7),
    st.sampled_from([60.0, 150.0, 1e6]),
)
def test_outages_add_up_to_the_time_that_is_known_as_failing(story, cut, holds_s):
    rows = rows_of(story, holds_s=holds_s)
    end = len(story) * 60.0
    edges = [place * end / cut for place in range(cut)] + [end]
    failing = [share_of(rows, *pair).failing for pair in pairwise(edges)]
    found = outages(changes_of(rows), edges, failing)
    total = sum(one.seconds for one in found)
    assert total == pytest.approx(share_of(rows, 0, end).failing)
    # A step at a time: an outage is what is failing up to what is OK or a warning.
    counted, is_down = 0, False
    for row in rows:
        status, code = row.status, row.code
        if status in (Status.OK, Status.WARNING):
            is_down = False
        elif status is Status.FAILING and code in ("", "muted") and not is_down:
            counted, is_down = counted + 1, True
    assert len(found) == counted


def test_the_first_message_within_an_outage_tells_when_people_knew():
    outage = Outage(100.7, 400.0, 300.0, "")
    assert notified_after(outage, [50, 160, 220]) == pytest.approx(59.3)
    # The audit log has whole seconds.
    assert notified_after(outage, [100]) == 0
    # It left late, when mail was back; or it is about the next outage.
    assert notified_after(outage, [500]) == pytest.approx(399.3)
    assert notified_after(outage, [500], next_began=450.0) is None
    assert notified_after(outage, []) is None


@pytest.mark.parametrize(
    ("year", "month", "days", "hours"),
    [
        (2026, 2, 28, 28 * 24),
        (2028, 2, 29, 29 * 24),
        (2026, 3, 31, 31 * 24 - 1),
        (2026, 10, 31, 31 * 24 + 1),
        (2026, 12, 31, 31 * 24),
    ],
)
def test_a_month_has_the_hours_that_its_clocks_have(year, month, days, hours):
    found = month_days(year, month)
    assert (found[0], len(found)) == (date(year, month, 1), days)
    edges = midnights(found, BERLIN)
    assert edges[-1] - edges[0] == hours * 3600
    assert datetime.fromtimestamp(edges[-1], BERLIN).day == 1
    assert len(edges) == days + 1


@pytest.mark.parametrize("month", [(2026, 13), (2026, 0), (0, 1), (9999, 12)])
def test_there_are_months_that_do_not_exist(month):
    with pytest.raises(ValueError, match=r"month|year"):
        month_days(*month)


def test_no_outage_is_rounded_away():
    assert percent_words(1.0) == "100%"
    assert percent_words(1 - 1e-12) == "100%"
    assert percent_words(0.99999) == "99.99%"
    assert percent_words(0.5) == "50.00%"
    assert percent_words(0.0) == "0.00%"
    assert percent_words(None) == ""


@pytest.mark.parametrize(
    "file",
    ["docs/page.md", "docs/operations.md", "lib/report/templates/job.html"],
)
def test_all_that_uptime_leaves_out_is_said(file):
    text = " ".join((ROOT / file).read_text().split()).lower()
    first, *others, last = LEFT_OUT_WORDS.values()
    assert f"time {', '.join((first, *others))} or {last}" in text


def test_what_uptime_leaves_out_is_said_but_for_what_passes_between_two_runs():
    share = Share(ok=9, nothing=7200, maintenance=3600, pending=90, unknown=300)
    assert left_out_words(share) == (
        "2 hours without a result, 1 hour in maintenance, 5 minutes unknown"
    )
    assert left_out_words(Share(ok=1)) == ""


def test_midnight_is_that_of_the_zone():
    assert midnights([date(2026, 11, 1)], UTC)[0] == 1793491200.0

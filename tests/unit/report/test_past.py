"""-m history: its lines equal what the rows say."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.core.enums import Status
from lib.core.jobs import JobKey
from lib.core.results import Unit, Value
from lib.core.settings import HistoryAges
from lib.report import past
from lib.report.past import NO_RESULT, NOT_KNOWN, stretches
from lib.report.rows import WORDS
from lib.storage import historylog, historythin
from lib.storage.history import History, Result, Share, share_of
from tests.unit.report.test_uptime import LETTERS, rows_of

KEY = JobKey("DiskSpace", "disk root")
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
AT = NOON.timestamp()


def record(folder, at, status=Status.OK, code="", reason="", **values):
    one = Result.of(KEY, status, code, 0.25, values, reason, b"p", 150.0)
    historylog.record(folder, UTC, at, [one])


def told(story, since=0.0, **more):
    """Return of each stretch its status, its minutes and its results."""
    found = stretches(rows_of(story, **more), since, len(story) * 60.0)
    return [
        (one.status, one.code, (one.ends - one.at) / 60, one.checks) for one in found
    ]


@pytest.mark.parametrize(
    ("story", "expected"),
    [
        ("OOOO", [("ok", "", 4, 4)]),
        ("OFFO", [("ok", "", 1, 1), ("failing", "", 2, 2), ("ok", "", 1, 1)]),
        ("FMS", [("failing", code, 1, 1) for code in ("", "maintenance", "muted")]),
        ("  O", [(NO_RESULT, "", 2, 0), ("ok", "", 1, 1)]),
        ("O    O", [("ok", "", 2.5, 1), (NO_RESULT, "", 2.5, 0), ("ok", "", 1, 1)]),
        ("O   ", [("ok", "", 2.5, 1), (NO_RESULT, "", 1.5, 0)]),
        ("   ", [(NO_RESULT, "", 3, 0)]),
    ],
)
def test_which_stretches_a_story_has(story, expected):
    assert told(story) == expected


def test_what_stood_at_the_beginning_is_shown_and_is_no_result_of_this_time():
    assert told("OF", since=30.0) == [("ok", "", 0.5, 0), ("failing", "", 1, 1)]
    assert told("O    F", since=270.0)[0] == (NO_RESULT, "", 0.5, 0)


@given(
    st.lists(st.sampled_from([*LETTERS, " "]), min_size=1, max_size=30),
    st.sampled_from([60.0, 150.0, 1e6]),
    st.floats(0, 900),
)
def test_stretches_follow_each_other_and_add_up_to_the_shares(story, holds_s, since):
    rows, until = rows_of(story, holds_s=holds_s), len(story) * 60.0
    since = min(since, until - 1)
    # The one that stands then, and those after it.
    before = [row for row in rows if row.at <= since][-1:]
    found = stretches([*before, *(row for row in rows if row.at > since)], since, until)
    assert [found[0].at, *(one.ends for one in found)] == [
        *(one.at for one in found),
        until,
    ]
    share = share_of(rows, since, until)
    sums = dict.fromkeys(share._fields, 0.0)
    for one in found:
        code = one.code if one.code in sums else ""
        name = "nothing" if one.status == NO_RESULT else code or one.status
        sums[name] += one.ends - one.at
    assert sums == pytest.approx(share._asdict())
    assert sum(one.checks for one in found) == sum(row.at >= since for row in rows)


def test_values_have_their_lowest_and_highest_number_and_the_last_reason(tmp_path):
    for minute, used in enumerate((41.5, 40, 43)):
        record(tmp_path, AT - 180 + 60 * minute, reason=f"r{minute}", used=used)
    found = past.past(History(tmp_path, UTC), KEY, "disk root", AT - 180, AT)
    units = {"used": Value(0, Unit.PERCENT)}
    (row,) = past.stretch_rows(found, units, NOON, UTC)
    assert row == {
        "at": "2026-11-22 11:57",
        "for": "3 minutes",
        "status": "ok",
        "held": "",
        "checks": 3,
        "took": "250ms",
        "values": "used 40%..43%",
        "reason": "r2",
    }
    newest, *_, oldest = past.result_rows(found, units, NOON, UTC)
    assert (newest["values"], oldest["values"]) == ({"used": 43}, {"used": 41.5})
    assert newest[WORDS]["values"] == "used 43%"
    assert past.headline(found, NOON, UTC) == "disk root: 100% since 2026-11-22 11:57"


@pytest.mark.parametrize("removed", [AT - 120, AT + 60])
def test_a_job_that_was_removed_has_no_result_since(tmp_path, removed):
    record(tmp_path, AT - 180, Status.FAILING)
    found = past.past(History(tmp_path, UTC), KEY, "disk root", AT - 180, AT, removed)
    known = min(150.0, removed - (AT - 180))
    assert [(one.status, one.ends - one.at) for one in found.stretches] == [
        ("failing", known),
        (NO_RESULT, 180 - known),
    ]
    assert found.share == Share(failing=known, nothing=180 - known)


def test_what_stands_from_a_day_that_was_thinned_is_no_gap(tmp_path):
    day, ages = 86_400, HistoryAges(results=2 * 86_400.0)
    for days in (4, 3, 2, 1, 0):
        one = Result.of(KEY, Status.OK, "", 0.25, {}, "", b"p", 1.5 * day)
        historylog.record(tmp_path, UTC, AT - days * day, [one])
    assert historythin.thin(tmp_path, ages)
    history = History(tmp_path, UTC)
    found = past.past(history, KEY, "disk root", AT - 4 * day, AT)
    assert found.rows_since > AT - 2 * day
    assert [(one.status, one.checks) for one in found.stretches[-1:]] == [("ok", 1)]
    assert found.share == Share(ok=4.0 * day)
    assert [row.at for row in found.rows] == [AT - day]


def test_before_the_oldest_row_the_changes_are_shown(tmp_path):
    day = 86_400
    record(tmp_path, AT - 20 * day, Status.FAILING, reason="full")
    record(tmp_path, AT - 19 * day)
    record(tmp_path, AT - 60)
    # Rows of old days go, changes stay.
    for path in (tmp_path / "history").glob("2026-11-0*"):
        path.unlink()
    history = History(tmp_path, UTC)
    found = past.past(history, KEY, "disk root", AT - 19.5 * day, AT)
    assert found.rows_since == history.rows_since() > AT - day
    # The time of each day is kept for ever.
    minutes = [(one.status, (one.ends - one.at) / 60) for one in found.stretches]
    assert minutes == [
        (NO_RESULT, pytest.approx(720)),
        ("ok", pytest.approx(2.5)),
        (NO_RESULT, pytest.approx(19 * 1440 - 3.5)),
        ("ok", 1),
    ]
    assert past.headline(found, NOON, UTC).endswith(
        "; before 2026-11-22 11:00 only changes of status are listed"
    )
    assert [change["status"] for change in past.data(found, NOON, UTC)["changes"]] == [
        # After so long without a result it begins anew.
        "ok",
        "ok",
    ]


def test_thinning_changes_nothing_of_how_the_time_was(tmp_path):
    day = 86_400.0
    for hours_ago in range(100, 0, -1):
        status = Status.FAILING if 40 < hours_ago < 60 else Status.OK
        record(tmp_path, AT - hours_ago * 3600, status)
    history = History(tmp_path, UTC)
    before = past.past(history, KEY, "x", AT - 4 * day, AT)
    assert before.share.failing == 19 * 150
    while not historythin.thin(tmp_path, HistoryAges(results=day)):
        pass
    after = past.past(history, KEY, "x", AT - 4 * day, AT)
    assert after.share == pytest.approx(before.share)
    assert len(after.rows) < len(before.rows)
    assert after.changes == before.changes


def shown(found):
    """Return each stretch: its status, when it begins, and its minutes."""
    return [
        (one.status, round(one.at), round((one.ends - one.at) / 60, 1))
        for one in found.stretches
    ]


@pytest.mark.parametrize("minutes", ["kept", "hours"])
def test_time_without_a_result_stays_so_when_results_are_thinned(tmp_path, minutes):
    day, history = 86_400.0, History(tmp_path, UTC)
    begin = AT - 10 * day
    for minute in range(240):
        # None for an hour, and none for the rest of the day and three more.
        if not 60 <= minute < 120:
            status = Status.FAILING if 30 <= minute < 150 else Status.OK
            record(tmp_path, begin + minute * 60, status)
    for minute in range(30):
        record(tmp_path, begin + 4 * day + minute * 60)
    for days in (1, 0.01):
        record(tmp_path, AT - days * day)
    before = past.past(history, KEY, "x", begin - 3600, AT)
    assert [status for status, *_more in shown(before)] == [
        NO_RESULT,
        "ok",
        "failing",
        NO_RESULT,
        "failing",
        "ok",
        NO_RESULT,
        "ok",
        NO_RESULT,
        "ok",
        NO_RESULT,
        "ok",
        NO_RESULT,
    ]
    kept = 90 if minutes == "kept" else 1
    ages = HistoryAges(results=day, five_minutes=kept * day)
    while not historythin.thin(tmp_path, ages):
        pass
    after = past.past(history, KEY, "x", begin - 3600, AT)
    assert after.rows_since > AT - day
    assert shown(after) == [
        (status, pytest.approx(at, abs=2 * 3600 if kept == 1 else 300), length)
        for status, at, length in shown(before)
    ]


def test_before_the_first_result_of_all_there_is_nothing_to_say(tmp_path):
    record(tmp_path, AT - 60)
    found = past.past(History(tmp_path, UTC), KEY, "x", AT - 86_400, AT)
    assert past.headline(found, NOON, UTC) == (
        "x: 100% since 2026-11-21 12:00; "
        "not counted: 23 hours 59 minutes without a result"
    )


def test_of_a_job_without_history_there_is_nothing(tmp_path):
    assert past.past(History(tmp_path, UTC), KEY, "disk root", 0, AT) is None


def test_a_time_before_all_history_has_no_result(tmp_path):
    record(tmp_path, AT)
    found = past.past(History(tmp_path, UTC), KEY, "x", AT - 7200, AT - 3600)
    assert found.stretches == [] or found.stretches[0].status == NO_RESULT
    assert past.headline(found, NOON, UTC).startswith("x: nothing known since")


def test_all_results_of_a_young_history_are_on_record(tmp_path):
    """The file of its first results begins at the midnight before them."""
    for days in (2, 1, 0.01):
        record(tmp_path, AT - days * 86_400)
    assert historythin.thin(tmp_path)
    history, since = History(tmp_path, UTC), AT - 40 * 86_400
    assert history.rows_since() > since
    found = past.past(history, KEY, "x", since, AT)
    assert (found.rows_since, len(found.rows)) == (since, 3)
    assert found.stretches[0][:3] == (since, AT - 2 * 86_400, NO_RESULT)


@pytest.mark.parametrize(
    ("removed_days", "is_change_lost"),
    [(50, False), (30, False), (5, False), (5, True)],
)
def test_the_stretches_begin_where_they_were_asked_for(
    tmp_path, removed_days, is_change_lost
):
    """Also where nothing is known of the days before the oldest results."""
    day, key = 86_400.0, JobKey("DiskSpace", "disk other")
    for days in range(60, 0, -10):
        record(tmp_path, AT - days * day)
        if days >= removed_days:
            one = Result.of(key, Status.OK, "", 0.25, {}, "", b"p", 150.0)
            historylog.record(tmp_path, UTC, AT - days * day + 60, [one])
    while not historythin.thin(tmp_path, HistoryAges(results=2 * day)):
        pass
    if is_change_lost:
        (tmp_path / "history" / "changes.log").unlink()
    since, removed = AT - 40 * day, AT - removed_days * day + 120
    found = past.past(History(tmp_path, UTC), key, "x", since, AT, removed)
    assert found.stretches[0].at == since and found.stretches[-1].ends == AT
    for one, following in pairwise(found.stretches):
        assert one.ends == following.at
    assert (found.stretches[0].status == NOT_KNOWN) == is_change_lost

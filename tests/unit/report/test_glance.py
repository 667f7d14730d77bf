"""The table of -m status: what it shows equals what the history and the records say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from lib.core.decisions import Entry, Event, MailDetails, People
from lib.core.enums import Decision, DeliveryResult, MessageKind, Status
from lib.core.jobs import CatalogEntry, JobKey
from lib.core.records import Record
from lib.core.results import Threshold, Unit, Value, telling_value
from lib.core.secret import NO_SECRETS
from lib.core.silences import Mute, Scope, Silences
from lib.report import glance
from lib.report.rows import WORDS
from lib.storage import historylog
from lib.storage.auditlog import AuditLog
from lib.storage.history import History, Result, Share, share_of
from lib.storage.historynames import Names

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
AT = NOON.timestamp()
DISK, SITE = JobKey("DiskSpace", "disk root"), JobKey("HTTPServerChecker", "http a")
HOUR = 3600.0


def result(key=DISK, status=Status.OK, code="", seconds=0.2, holds_s=4000.0, **values):
    return Result.of(key, status, code, seconds, values, "", b"p", holds_s)


def record(folder, hours_ago, *results):
    historylog.record(folder, UTC, AT - hours_ago * HOUR, results)


def look(folder, key=DISK, values=None):
    history = History(folder, UTC)
    latest = history.latest()
    return glance.looks(history, [key], {key: values or {}}, latest, NOON)[key]


def shown(key=DISK, record=None, found=None, catalog=None, **more):
    records = {key: record} if record else {}
    catalog = catalog or {key: CatalogEntry("disk root", "d.py", "minute", judged=True)}
    looks = {key: found} if found else {}
    (row,) = glance.rows([key], records, catalog, looks, {}, NOON, UTC, **more)
    return row


def test_a_job_without_history_has_no_number_at_all(tmp_path):
    found = look(tmp_path)
    assert found.day == Share(nothing=24 * HOUR)
    assert (found.week, found.month, found.value) == (Share(), Share(), None)
    row = shown(found=found)
    assert row["uptime"] == {"24h": None, "7d": None, "30d": None}
    words = row[WORDS]
    assert (words["24h"], words["last_24h"]) == ("", "")
    assert words["not_counted"] == "1 day without a result"


def test_the_sparkline_has_the_worst_number_of_each_hour(tmp_path):
    for hours_ago in (30, 23.5, 23.1, 2.5, 0.5):
        record(tmp_path, hours_ago, result(used=hours_ago, free=hours_ago))
    used = {"used": Value(0.5, Unit.PERCENT, fail=Threshold(high=90))}
    numbers = look(tmp_path, values=used).numbers
    assert (numbers[0], numbers[21], numbers[23]) == (23.5, 2.5, 0.5)
    assert [one for one in numbers if one is not None] == [23.5, 2.5, 0.5]
    free = {"free": Value(0.5, Unit.BYTES, fail=Threshold(low=90))}
    assert look(tmp_path, values=free).numbers[0] == 23.1
    words = shown(found=look(tmp_path, values=used))[WORDS]
    assert words["last_24h"] == "█····················▁·▁ used 0.5%"


def test_a_job_that_measures_nothing_shows_how_long_its_check_took(tmp_path):
    record(tmp_path, 1.5, result(seconds=0.5))
    record(tmp_path, 0.5, result(seconds=2.0))
    found = look(tmp_path)
    assert (found.name, found.value) == ("duration", Value(2.0, Unit.SECONDS))
    assert found.numbers[-2:] == (0.5, 2.0)


def test_uptime_of_24_hours_is_what_the_rows_say_with_the_one_before(tmp_path):
    # A daily result stands at the beginning, though results hold a minute now.
    record(tmp_path, 30, result(status=Status.FAILING, holds_s=26 * HOUR))
    record(tmp_path, 12, result(holds_s=150.0))
    record(tmp_path, 6, result(code="maintenance", holds_s=HOUR))
    found = look(tmp_path)
    rows = History(tmp_path, UTC).rows(DISK, 0, AT)
    assert found.day == share_of(rows, AT - 24 * HOUR, AT)
    assert found.day.failing == 12 * HOUR
    assert (found.day.maintenance, found.day.ok) == (HOUR, 150)
    words = shown(found=found)[WORDS]
    assert words["24h"] == "0.34%"
    assert words["not_counted"] == (
        "10 hours 58 minutes without a result, 1 hour in maintenance"
    )


def test_a_result_of_days_ago_that_stands_counts_in_the_last_24_hours(tmp_path):
    week = result(holds_s=7.7 * 24 * HOUR)
    record(tmp_path, 6 * 24, week, result(SITE))
    record(tmp_path, 1, result(SITE))
    assert look(tmp_path).day == Share(ok=24 * HOUR)
    # Checker itself did not run on some of these days.
    share = History(tmp_path, UTC).share(DISK, AT - 5 * 24 * HOUR, AT)
    assert share == Share(ok=5 * 24 * HOUR)


STEPS = st.lists(
    st.tuples(
        st.sampled_from([60, 600, 5_000, 40_000, 90_000]),
        st.sampled_from([150.0, 5_000.0, 95_000.0]),
        st.sampled_from(list(Status)),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=15)
@given(STEPS)
def test_uptime_of_24_hours_equals_what_all_rows_say(tmp_path_factory, steps):
    folder = tmp_path_factory.mktemp("look")
    ago = sum(step for step, _holds, _status in steps) / HOUR
    for step, holds_s, status in steps:
        ago -= step / HOUR
        record(folder, ago, result(status=status, holds_s=holds_s))
    rows = History(folder, UTC).rows(DISK, 0, AT)
    expected = share_of(rows, AT - 24 * HOUR, AT)
    assert look(folder).day == pytest.approx(expected)


def test_days_before_the_last_seven_count_for_the_month_only(tmp_path):
    for days_ago, status in ((20, Status.FAILING), (2, Status.OK), (0, Status.OK)):
        record(tmp_path, 24 * days_ago, result(status=status))
    found = look(tmp_path)
    assert (found.week.failing, found.month.failing) == (0, 4000)
    assert (found.week.ok, found.month.ok) == (4000, 4000)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({}, ""),
        ({"a": Value(1), "b": Value(2)}, "a"),
        ({"a": Value(1), "b": Value(2, warn=Threshold(high=9))}, "b"),
        # The first, even if another is nearer to its threshold.
        (
            {
                "a": Value(1, fail=Threshold(high=9)),
                "b": Value(2, warn=Threshold(low=1.9)),
            },
            "a",
        ),
        (
            {
                "a": Value(8.9, fail=Threshold(high=9)),
                "b": Value(5, warn=Threshold(high=4)),
                "c": Value(5, fail=Threshold(high=4, judges=False)),
            },
            "b",
        ),
        (
            {
                "a": Value(8.9, fail=Threshold(high=9)),
                "b": Value(5, warn=Threshold(high=4, judges=False)),
            },
            "b",
        ),
        (
            {
                "a": Value(5, warn=Threshold(high=4)),
                "b": Value(0, fail=Threshold(low=1, high=3)),
            },
            "b",
        ),
        ({"a": Value(0, fail=Threshold(high=0))}, "a"),
    ],
)
def test_which_value_stands_for_a_job(values, name):
    assert telling_value(values) == name


def mailed(code, minutes, kind=MessageKind.ALERT, to="ann@example.com", key=DISK):
    at = NOON - timedelta(minutes=minutes)
    details = MailDetails("m", kind, People((to,)))
    return Entry(at, key, "disk root", code, details)


def test_of_a_job_that_is_ok_the_audit_log_has_the_last_alert(tmp_path):
    log = AuditLog(tmp_path, NO_SECRETS)
    log.note(
        [
            mailed(Event.SENT, 50, to="old@example.com"),
            mailed(Event.BUNDLED, 40),
            mailed(Event.SENT, 39.9, to="oncall"),
            mailed(Event.FAILED, 30, to="bob@example.com"),
            mailed(Event.SENT, 20, MessageKind.RECOVERY, to="cy@example.com"),
            mailed(Event.LOGGED, 10, key=SITE),
            mailed(Event.SENT, 9.9, key=SITE, to="oncall"),
        ]
    )
    log.write()
    alerts = glance.last_alerts(tmp_path, {}, [DISK, SITE], Names())
    assert alerts[DISK].at == NOON - timedelta(minutes=39.9)
    # By each way, as one alert.
    assert alerts[DISK].to == ("ann@example.com", "oncall")
    assert alerts[SITE].words == "ann@example.com (logged), oncall"


def test_the_last_alert_of_a_renamed_job_is_known_by_its_old_name(tmp_path):
    old = JobKey("DiskSpace", "disk old")
    log = AuditLog(tmp_path, NO_SECRETS)
    log.note(
        [
            mailed(Event.SENT, 50, key=old),
            # Another job has that name by now.
            mailed(Event.SENT, 10, key=old, to="bob@example.com"),
        ]
    )
    log.write()
    renamed_at = (NOON - timedelta(minutes=30)).timestamp()
    historylog.record(tmp_path, UTC, renamed_at, [result()], [(old, DISK)])
    names = History(tmp_path, UTC).names
    alerts = glance.last_alerts(tmp_path, {}, [DISK, old], names)
    assert alerts[DISK].at == NOON - timedelta(minutes=50)
    assert alerts[old].to == ("bob@example.com",)


def test_a_bundle_that_was_only_logged_told_nobody(tmp_path):
    entry = mailed(Event.BUNDLED, 10)
    details = replace(entry.details, into_delivery=DeliveryResult.LOGGED)
    log = AuditLog(tmp_path, NO_SECRETS)
    log.note([replace(entry, details=details)])
    log.write()
    alerts = glance.last_alerts(tmp_path, {}, [DISK], Names())
    assert alerts[DISK].words == "ann@example.com (logged)"


def test_of_a_job_that_is_not_ok_its_record_has_the_last_alert(tmp_path):
    of_job = Record(
        DISK,
        "disk root",
        Status.FAILING,
        1,
        NOON,
        notified=("ann@example.com",),
        notified_at=NOON,
    )
    alert = glance.last_alerts(tmp_path, {DISK: of_job}, [DISK], Names())[DISK]
    assert (alert.at, alert.words) == (NOON, "ann@example.com")
    assert glance.last_alerts(tmp_path, {}, [DISK], Names()) == {}


def test_what_is_not_ok_comes_first_and_no_more_than_there_is_room():
    bad = [Record(JobKey("X", name), name, Status.FAILING, 1) for name in "zy"]
    catalog = {
        JobKey("X", name): CatalogEntry(name, "x.py", "minute", enabled=name != "b")
        for name in "cbaz"
    }
    names = [key.identity for key in glance.ordered(bad, catalog, 20)]
    assert names == ["z", "y", "a", "c"]
    assert len(glance.ordered(bad, catalog, 3)) == 3
    assert [key.identity for key in glance.ordered(bad, catalog, 1)] == ["z"]


def test_a_mute_is_said_before_the_reason():
    mute = Mute(
        "1",
        NOON,
        Scope(("disk root",)),
        "ann",
        "deploy",
        until=NOON + timedelta(hours=2),
    )
    of_job = Record(
        DISK, "disk root", Status.FAILING, 1, NOON, last_reason="it is full\nmore"
    )
    row = shown(record=of_job, silences=Silences((mute,)))
    assert row["held"]["code"] is Decision.MUTED.value
    assert row[WORDS]["reason"] == (
        "muted until 2026-11-22 14:00 by ann: deploy; it is full"
    )
    assert (row["status"], row["since"]) == ("failing", NOON)


def test_a_disabled_job_and_one_that_has_not_run_say_so():
    off = CatalogEntry("disk root", "d.py", "minute", enabled=False)
    assert shown(catalog={DISK: off})["status"] == "disabled"
    new = CatalogEntry("disk root", "d.py", "minute")
    assert shown(catalog={DISK: new})["status"] == "not_run_yet"


def test_uptime_that_leaves_a_day_out_says_when_the_job_was_last_checked(tmp_path):
    row = shown(found=look(tmp_path), checked={DISK: NOON - timedelta(days=20)})
    assert row["last_run_at"] == NOON - timedelta(days=20)
    words = "1 day without a result; last checked 2026-11-02 12:00"
    assert row[WORDS]["not_counted"] == words
    record(tmp_path, 1, result(status=Status.OK))
    row = shown(found=look(tmp_path), checked={DISK: NOON - timedelta(hours=1)})
    assert "last checked" not in row[WORDS]["not_counted"]


def test_a_terminal_without_bars_gets_ascii(tmp_path):
    record(tmp_path, 0.5, result(seconds=2.0))
    line = shown(found=look(tmp_path), ascii_only=True)[WORDS]["last_24h"]
    assert line.isascii()


# In alerts.

USED = {"used": Value(97, Unit.PERCENT, fail=Threshold(high=90))}


def trend(folder, values):
    return glance.trend(History(folder, UTC), DISK, values, NOON)


def test_an_alert_about_a_value_shows_its_last_24_hours_and_itself(tmp_path):
    record(tmp_path, 25, result(used=99))
    for hours_ago in (22.5, 1.5, 1.2):
        record(tmp_path, hours_ago, result(used=50 + hours_ago))
    assert trend(tmp_path, USED) == "used ·▄····················▁█ 51.5%..97%"
    low = {"used": Value(5, Unit.PERCENT, warn=Threshold(low=10))}
    assert trend(tmp_path, low) == "used ·█····················▆▁ 5%..72.5%"


def test_without_numbers_from_before_an_alert_shows_no_hours(tmp_path):
    assert trend(tmp_path, USED) == ""
    record(tmp_path, 25, result(used=99))
    record(tmp_path, 1, result(free=99))
    assert trend(tmp_path, USED) == ""


def test_a_value_within_its_thresholds_is_not_what_an_alert_is_about(tmp_path):
    record(tmp_path, 1, result(used=50, load=3))
    within = Value(4, fail=Threshold(high=5, judges=False))
    assert trend(tmp_path, {}) == ""
    assert trend(tmp_path, {"load": Value(3), "used": within}) == ""

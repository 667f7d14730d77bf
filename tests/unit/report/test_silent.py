"""What is silent now, as -m status says it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from lib.core.enums import Status
from lib.core.jobs import CatalogEntry, JobKey
from lib.core.records import Acknowledgement, Record
from lib.core.silences import Mute, Scope, Silences, Window
from lib.report import silent

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
MUTE = Mute(
    "a", NOON, Scope(("http *",), ("base",)), "ann", "deploy", until=NOON + HOUR
)
WINDOW = Window("night", Scope(("tcp *",)), "0 12 * * *", 3600.0)
KEY = JobKey("DiskSpace", "disk root")
KNOWN = Record(
    KEY,
    "disk root",
    Status.FAILING,
    failures=1,
    failing_since=NOON - HOUR,
    acknowledged=Acknowledgement(Status.FAILING, NOON, "ben", "a disk is on its way"),
)
NOTHING = Silences()


def said(silences=NOTHING, records=(), catalog=(), now=NOON):
    by_key = {one.key: one for one in records}
    found = silent.data(silences, by_key, dict(catalog), now)
    return [": ".join(row) for row in silent.rows(found, lambda at: f"{at:%H:%M}")]


def test_each_says_who_asked_until_when_and_why():
    off = CatalogEntry("disk off", "D.py", "hour", enabled=False)
    lines = said(
        Silences((MUTE,), (WINDOW,), UTC),
        [KNOWN],
        {JobKey("D", "off"): off, KEY: CatalogEntry("disk root", "D.py", "hour")},
    )
    assert lines == [
        "muted: http *, tag base: until 13:00, by ann: deploy",
        "maintenance: tcp *: until 13:00, window night",
        "acknowledged: disk root: failing, no reminders until it is over, by ben: "
        "a disk is on its way",
        "disabled: disk off",
    ]


def test_what_was_unmuted_since_is_not_meant():
    mute = replace(MUTE, lifted=(Scope(("http shop",)),), why="")
    (line,) = said(Silences((mute,)))
    assert line == "muted: http *, tag base, except http shop: until 13:00, by ann"


def test_a_job_that_was_muted_on_the_page_is_called_by_its_name():
    other = JobKey("DiskSpace", "disk other")
    mute = replace(MUTE, scope=Scope((str(KEY),)), lifted=(Scope((str(other),)),))
    catalog = {
        key: CatalogEntry(key.identity, "DiskSpace.py", "hour") for key in (KEY, other)
    }
    (line,) = said(Silences((mute,)), catalog=catalog)
    words = "muted: disk root, except disk other: until 13:00, by ann: deploy"
    assert line == words


def test_what_is_over_is_not_in_force():
    ok = replace(KNOWN, status=Status.OK, failures=0, failing_since=None)
    assert said(Silences((MUTE,), (WINDOW,), UTC), [ok], now=NOON + HOUR) == []
    assert said(NOTHING, [replace(KNOWN, acknowledged=None)]) == []


def test_of_many_acknowledged_jobs_some_are_named():
    many = [
        replace(KNOWN, key=JobKey("D", f"{number}"), name=f"disk {number}")
        for number in range(silent.MAX_NAMES + 3)
    ]
    lines = said(NOTHING, many)
    assert len(lines) == silent.MAX_NAMES + 1
    assert lines[-1] == ": and 3 more"

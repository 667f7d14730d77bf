"""Whatever TZ holds: no run stops, and every time is told in a zone or in UTC."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from lib.core import calendar
from lib.core.calendar import SummarySeries
from lib.core.settings import SummaryTimes
from lib.core.text import in_zone, mail_time, table_time, zone_words
from tests.support.instance import GENERAL, Instance

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
BOTH = SummaryTimes("08:00", ("mon", "08:00"))
#: None: it is not set.
ZONES = {
    "not set": None,
    "empty": "",
    "unknown": "Nowhere/City",
    "a day to the west": "XXX+24",
    "a day to the east": "XXX-24",
    "more than a day": "UTC+25",
    "as much as there can be": "XXX-24:59:59",
    "a second less than a day": "XXX-23:59:59",
    "a day in summer only": "AAA-23BBB-25,J1/0,J200/0",
    "a day in winter only": "AAA+25BBB+23,M3.2.0,M11.1.0",
    "seconds": "XXX-1:02:03",
    "a place": ":Europe/Berlin",
    "as POSIX writes it": "EST5EDT,M3.2.0,M11.1.0",
    "no rule": "A+167B,J1,J365",
    "no file": "/nonexistent/zone",
    "a folder": ":/usr/share/zoneinfo",
    "no zone file": "/etc/passwd",
    "a file that is empty": "/dev/null",
    "not UTF-8": "\udcff\udcfe5",
    "a long name": "A" * 300 + "5",
    "escapes": "<\x1b[31m>5",
}


@pytest.fixture
def live_in() -> Iterator[Callable[[str | None], None]]:
    before = os.environ.get("TZ")

    def move(zone: str | None) -> None:
        os.environ.pop("TZ", None)
        if zone is not None:
            os.environ["TZ"] = zone
        time.tzset()

    yield move
    move(before)


@pytest.mark.parametrize("zone", ZONES.values(), ids=ZONES)
def test_every_zone_has_times_and_summaries(live_in, zone):
    live_in(zone)
    for hour in range(0, 366 * 24, 59):
        now = NOON + timedelta(hours=hour, minutes=hour % 60)
        assert in_zone(now) == now
        for kind, most in (("daily", 2), ("weekly", 9)):
            next_one = calendar.next_time(BOTH, kind, now)
            assert now < next_one <= now + timedelta(days=most)
            reached = now - timedelta(days=most)
            issue = calendar.due(SummarySeries(kind, 1, reached), BOTH, now)
            assert issue is not None and issue.due_at <= now
    assert table_time(NOON, None, NOON).startswith("2026-11-2")
    for words in (mail_time(NOON, None), zone_words(None, NOON)):
        assert words.isprintable()


def test_a_zone_that_cannot_be_used_counts_as_utc(live_in):
    live_in("UTC+25")
    assert mail_time(NOON, None) == "2026-11-22 12:00 UTC"
    morning = NOON.replace(hour=8) + timedelta(days=1)
    assert calendar.next_time(BOTH, "daily", NOON) == morning


@pytest.mark.long
@pytest.mark.parametrize("zone", ["UTC+25", "XXX-1:02:03"])
def test_a_run_with_a_summary_takes_place(tmp_path, zone):
    due = f"{datetime.now(UTC) - timedelta(minutes=5):%H:%M}"
    there = Instance(
        tmp_path, f"[email]\nnomail = yes\n[summary]\ndaily = {due}\n", GENERAL
    )
    there.environment = {"TZ": zone}
    # History counts its days in that zone too.
    there.add("[disk root]\npath = /\nlimit = 100\nevery = minute\n")
    assert there.cron().silent
    there.pass_time(timedelta(days=2))
    ran = there.cron("minute", "-v")
    assert ran.silent, ran.err
    assert "daily summary 1" in (there.state / "checker.log").read_text()
    for mode in ("list", "status"):
        said = there.run("-m", mode)
        assert "Traceback" not in said.err
        assert said.code == 0, said.err


@pytest.mark.long
@pytest.mark.parametrize("zone", ["Asia/Kathmandu", "America/St_Johns"])
def test_people_read_every_time_in_the_zone_of_the_settings(tmp_path, zone):
    here = ZoneInfo(zone)
    due = f"{datetime.now(here) - timedelta(minutes=5):%H:%M}"
    there = Instance(
        tmp_path,
        "[email]\nnomail = yes\n[disk full]\npath = /\nlimit = 0.001\nevery = minute\n"
        f"[summary]\ndaily = {due}\n",
        f"{GENERAL}timezone = {zone}\n",
    )
    there.environment = {"TZ": "Europe/Berlin"}
    there.cron()
    there.pass_time(timedelta(days=2))
    there.cron("minute", "-v")
    mails = (there.state / "checker.log").read_text()
    assert "daily summary 1: 1 failing" in mails
    offset = re.escape(datetime.now(here).isoformat()[-6:])
    times = re.findall(r"\d\d:\d\d UTC.*", mails)
    assert len(times) > 6
    logged = [line[:29] for line in mails.splitlines() if " INFO " in line]
    assert logged and all(re.search(rf"\d{offset}$", time) for time in logged), logged
    for text in times:
        assert re.match(rf"\d\d:\d\d UTC \(.*{offset}\)", text), text
    table = there.run("-m", "status").out
    assert f"{zone}, {datetime.now(here).isoformat()[-6:]}" in table
    assert f"{datetime.now(here):finished %Y-%m-%d %H:}" in table
    assert " UTC" not in there.run("-m", "list").out

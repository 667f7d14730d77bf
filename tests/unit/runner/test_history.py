"""What a run of cron leaves in state/history/."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta

from lib.core.encoding import convert, decode
from lib.core.enums import Status
from lib.core.jobs import JobKey, Policy, Terms
from lib.report.reader import Reader
from lib.storage.history import History
from tests.support.instance import NO_MAIL, Instance
from tests.support.snapshots import settings

FULL = "[disk full]\npath = /\nlimit = 1\nevery = minute\n"
OK = "[disk root]\npath = /\nlimit = 100\nevery = minute\n"
WINDOW = "[maintenance night]\njobs = disk root\nstart = * * * * *\nlength = 1h\n"


def test_each_result_is_kept_with_why_it_was_held_back(tmp_path):
    instance = Instance(tmp_path, NO_MAIL)
    for section in (FULL, OK, WINDOW, "[disk wrong]\n"):
        instance.add(section)
    instance.cron()
    instance.cron()
    history = History(instance.state)
    full, root = (
        history.rows(JobKey("DiskSpace", f"disk {name}"), 0, 1e10)
        for name in ("full", "root")
    )
    assert [row.status for row in full] == [Status.FAILING] * 2
    assert full[0].reason.startswith("used is ") and full[0].values["used"] > 1
    assert [(row.status, row.code) for row in root] == [(Status.OK, "maintenance")] * 2
    [policy] = {row.policy for row in full + root}
    terms = convert(decode(history.policies()[policy]), Terms)
    assert terms == Terms(Policy(), "minute", ("ops@example.com",), "5min")
    assert JobKey("DiskSpace", "disk wrong") in history.latest()
    assert len(history.changes(JobKey("DiskSpace", "disk full"))) == 1


def test_terms_say_that_a_failing_job_ran_apart_from_its_schedule(tmp_path):
    instance = Instance(tmp_path, NO_MAIL)
    full = FULL.replace("every = minute", "every = hour\nrecheck = 1min\nfailures = 9")
    instance.add(full)
    instance.cron("hour")
    instance.clock_ahead = timedelta(minutes=2)
    instance.cron()
    history = History(instance.state)
    policies = history.policies()
    key = JobKey("DiskSpace", "disk full")
    found = [
        convert(decode(policies[row.policy]), Terms)
        for row in history.rows(key, 0, 1e10)
    ]
    assert [(one.ran_apart, one.recheck) for one in found] == [
        (False, "1min"),
        (True, "1min"),
    ]


def test_an_incident_began_at_one_moment_with_and_without_history(tmp_path):
    instance = Instance(tmp_path, NO_MAIL)
    instance.add(FULL)

    def begun():
        those = Reader(settings(state=instance.state), datetime.now(UTC)).snapshot()
        return [(one.key, one.began_at) for one in those.incidents]

    instance.cron()
    before = begun()
    assert len(before) == 1
    instance.clock_ahead = timedelta(minutes=3)
    instance.cron()
    shutil.rmtree(instance.state / "history")
    assert begun() == before

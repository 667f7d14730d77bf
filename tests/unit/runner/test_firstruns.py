"""The first run of a job: in the first run that meets it, whatever its schedule."""

from __future__ import annotations

import base64
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from lib.core.jobs import EMAIL_CHECKER, CatalogEntry, Job, JobKey
from lib.core.policy import FORGET_AFTER
from lib.runner.firstruns import MAX_FIRST_RUNS, KnownJobs
from lib.storage.history import History
from tests.support.instance import GENERAL, Instance, flag_job

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY = timedelta(days=1)
OLD, NEW = JobKey("Web", "old"), JobKey("Web", "new")
ENTRY = CatalogEntry("old", "/Web.py", "day", judged=True)
NOT_RUN = CatalogEntry("old", "/Web.py", "day")


moment = datetime.fromisoformat


def job(key=NEW, **more):
    return Job(key, key.identity, "/Web.py", "day", **more)


# Which jobs are new.


def test_a_job_that_no_run_has_met_is_new():
    known = KnownJobs({OLD: ENTRY})
    assert known.is_new(job(NEW))
    assert not known.is_new(job(OLD))
    assert KnownJobs().is_new(job(NEW))


def test_a_job_that_was_met_and_has_not_run_yet_is_new():
    assert KnownJobs({OLD: NOT_RUN}).is_new(job(OLD))
    # Nor is it another job under its new name.
    assert KnownJobs({OLD: NOT_RUN}).is_new(job(NEW, was="old"))


def test_where_the_catalog_is_lost_every_job_counts_as_judged():
    assert not KnownJobs(is_lost=True).is_new(job(NEW))
    waiting = replace(NOT_RUN, counts_as_judged=True)
    assert not KnownJobs({OLD: waiting}).is_new(job(OLD))


def test_a_job_that_comes_back_or_is_renamed_was_met_before():
    assert not KnownJobs(gone={OLD: NOON}).is_new(job(OLD))
    assert not KnownJobs({OLD: ENTRY}).is_new(job(NEW, was="old"))
    assert not KnownJobs(gone={OLD: NOON}).is_new(job(NEW, was="old"))


def test_a_job_that_is_gone_is_remembered_as_met_for_thirty_days():
    known = KnownJobs({OLD: ENTRY, NEW: NOT_RUN})
    assert known.gone_after({OLD, NEW}, NOON) == {}
    # One that never ran is new again when it comes back.
    gone = known.gone_after((), NOON)
    assert gone == {OLD: NOON}
    later = KnownJobs(gone=gone)
    assert later.gone_after((), NOON + DAY) == gone
    assert later.gone_after({OLD}, NOON + DAY) == {}
    assert later.gone_after((), NOON + FORGET_AFTER) == {}


# By the program.

SPAWNER = """\
from lib.jobbase import *

class Many(JobSpawner):
    def get_sub_jobs(self, config):
        for number in range({count}):
            yield One(config, number)

class One(JobBase):
    def __init__(self, config, number):
        super().__init__(config, number)
        self.number = number

    def executeEvery(self):
        return {every!r}

    def execute(self):
        with open({ran!r}, "a") as file:
            file.write(f"{{self.number}} ")
        return True
"""


class Minutes:
    """An instance whose runs of each minute are counted."""

    def __init__(self, folder):
        # No run of an hour or a day is due: it is five past, by the clock of the runs.
        self.instance = Instance(folder)
        self.ran = folder / "ran"
        now = datetime.now(UTC)
        five_past = now.replace(minute=5, second=0) + timedelta(hours=1)
        self.instance.clock_ahead = five_past - now

    def many(self, count, every="day", name="Many"):
        text = SPAWNER.format(count=count, every=every, ran=str(self.ran))
        self.instance.job(name, text.replace("Many", name))

    def run(self, ordered="minute"):
        """Return how many jobs a run has run, and how often the busiest of them."""
        self.ran.write_text("")
        self.ran.chmod(0o666)
        assert self.instance.cron(ordered).silent
        self.instance.clock_ahead += timedelta(minutes=1)
        times = Counter(self.ran.read_text().split())
        return sum(times.values()), max(times.values(), default=0)

    def left(self):
        """Return how many jobs have not run yet."""
        rows = self.instance.listed()
        return sum(row["status"] == "not_run_yet" for row in rows)


@pytest.fixture
def minutes(tmp_path):
    return Minutes(tmp_path)


@pytest.mark.parametrize("every", ["hour", "day", "day_noon", "30d", "0 0 1 1 *"])
def test_a_new_job_runs_in_the_first_run_and_then_by_its_schedule(minutes, every):
    minutes.many(1, every)
    assert minutes.run() == (1, 1)
    assert minutes.run() == (0, 0)


def test_a_section_that_is_added_is_checked_in_the_next_run(minutes):
    assert minutes.instance.cron().silent
    minutes.instance.add("[disk root]\npath = /\n")
    assert minutes.instance.cron().silent
    (row,) = minutes.instance.listed()
    assert (row["job"], row["status"]) == ("disk root", "ok")


@pytest.mark.long
def test_of_many_new_jobs_fifty_run_each_minute_whatever_their_files(minutes):
    minutes.many(70)
    minutes.many(50, "hour", name="More")
    runs = [minutes.run()[0] for _ in range(2)]
    assert runs == [MAX_FIRST_RUNS, MAX_FIRST_RUNS]
    assert minutes.left() == 20
    assert minutes.run()[0] == 20
    assert minutes.run()[0] == 0


def test_jobs_that_are_due_in_any_case_do_not_count(minutes):
    minutes.many(60, "hour")
    assert minutes.run("hour") == (60, 1)
    assert minutes.run() == (0, 0)


@pytest.mark.long
def test_where_the_catalog_is_lost_nothing_stampedes(minutes):
    minutes.many(3)
    assert minutes.run()[0] == 3
    for text in (None, "damaged"):
        path = minutes.instance.state / "catalog.json"
        path.unlink() if text is None else path.write_text(text)
        assert minutes.instance.cron().code == 0
        assert minutes.run() == (0, 0)
    # What is new after that is new.
    minutes.many(2, name="More")
    assert minutes.run()[0] == 2


def test_a_file_that_is_gone_for_a_minute_brings_no_first_runs(minutes):
    minutes.many(3)
    assert minutes.run()[0] == 3
    path = minutes.instance.jobs / "Many.py"
    path.rename(path.with_suffix(".txt"))
    assert minutes.run() == (0, 0)
    path.with_suffix(".txt").rename(path)
    assert minutes.run() == (0, 0)


def test_a_disabled_job_has_its_first_run_when_it_is_enabled(minutes):
    minutes.many(1)
    minutes.instance.add("[job Many]\nenabled = no\n")
    assert minutes.run() == (0, 0)
    settings = minutes.instance.settings.read_text()
    minutes.instance.write(settings.replace("enabled = no\n", "notify = day\n"))
    assert minutes.run() == (1, 1)


@pytest.mark.long
def test_a_new_job_that_ends_its_process_is_known_after_that(minutes):
    minutes.many(2)
    path = minutes.instance.jobs / "Many.py"
    text = path.read_text().replace("        return True\n", "        os._exit(3)\n")
    minutes.instance.job("Many", f"import os\n{text}")
    assert minutes.instance.cron().code == 0
    assert {row["status"] for row in minutes.instance.listed()} == {"failing"}
    assert minutes.left() == 0


@pytest.mark.long
def test_jobs_of_the_older_program_are_checked_at_once(minutes, tmp_path):
    """One was OK there, one was failing, and one is new."""
    text = SPAWNER.format(count=3, every="day", ran=str(minutes.ran))
    hook = "    def formerly(self):\n        return f'Old {self.number}'\n"
    minutes.instance.job("Many", f"{text}\n{hook}")
    old = tmp_path / "older"
    states = ("Old 0", "Succeeding"), ("Old 1", "Failing")
    names = [base64.b64encode(name.encode()).decode() for name, _state in states]
    old.write_text(
        "".join(
            f"{name}|{state}|0|0|x|1\n"
            for name, (_name, state) in zip(names, states, strict=True)
        )
    )
    settings = minutes.instance.settings.read_text()
    minutes.instance.write(settings.replace("[email]", f"statefile = {old}\n[email]"))
    assert minutes.run() == (3, 1)
    assert minutes.left() == 0
    assert minutes.run() == (0, 0)


@pytest.mark.long
def test_a_job_that_waits_for_its_time_because_the_catalog_was_lost_has_not_run(
    minutes,
):
    minutes.many(1)
    assert minutes.run() == (1, 1)
    (minutes.instance.state / "catalog.json").unlink()
    assert minutes.instance.cron().code == 0
    assert minutes.left() == 1
    assert minutes.run("day") == (1, 1)
    assert minutes.left() == 0


# EmailChecker: without a mailbox it has nothing to check.


@pytest.mark.parametrize("entry", [None, CatalogEntry("EmailChecker", "/E.py", "hour")])
def test_the_first_round_trip_begins_once_there_is_a_mailbox(entry):
    email = Job(JobKey(EMAIL_CHECKER, "x"), EMAIL_CHECKER, "/E.py", "hour")
    catalog = {email.key: entry} if entry else {}
    assert not KnownJobs(catalog).is_new(email)
    assert KnownJobs(catalog, proves_mail=True).is_new(email)
    judged = {email.key: CatalogEntry("EmailChecker", "/E.py", "hour", judged=True)}
    assert not KnownJobs(judged, proves_mail=True).is_new(email)


def test_a_mailbox_that_is_added_is_proven_at_once(minutes):
    instance = minutes.instance
    mail = "[email]\nsmtpserver = 127.0.0.1\nsmtpport = 1\nsmtpsecurity = none\n"
    instance.write(GENERAL + mail)
    # Its hour comes, and nothing can be proven.
    assert instance.cron("hour").code == 0
    assert "round_trip" not in instance.records()["EmailChecker"]["memory"]
    # Nothing was proven, so there is no uptime of it.
    key = JobKey(EMAIL_CHECKER, EMAIL_CHECKER)
    assert key not in History(instance.state, UTC).latest()
    mailbox = "user = web1@example.com\npass = x\nimapserver = 127.0.0.1\n"
    instance.write(f"{GENERAL}{mail}{mailbox}imapport = 1\nimapsecurity = none\n")
    assert instance.cron().code == 0
    assert "round_trip" in instance.records()["EmailChecker"]["memory"]
    assert key in History(instance.state, UTC).latest()


# What -m list says of the times.


@pytest.mark.long
def test_the_list_says_when_a_job_ran_for_the_first_time_and_runs_next(minutes):
    minutes.many(1)
    assert minutes.run() == (1, 1)
    ran_at = minutes.instance.last_run()["began_at"]
    for _ in range(2):
        (row,) = minutes.instance.listed()
        assert moment(row["last_run_at"]) == moment(ran_at)
        next_at = moment(row["next_check_at"]).astimezone()
        assert (next_at.hour, next_at.minute) == (0, 0)
        # The next run does not run it.
        assert minutes.run() == (0, 0)
    assert minutes.run("day") == (1, 1)
    (row,) = minutes.instance.listed()
    assert row["last_run_at"] == minutes.instance.last_run()["last_runs"]["day"]


@pytest.mark.long
def test_the_list_says_when_a_check_by_hand_ran_a_job(minutes):
    minutes.many(1)
    assert minutes.run() == (1, 1)
    before = moment(minutes.instance.last_run()["began_at"])
    minutes.instance.clock_ahead += timedelta(minutes=5)
    assert minutes.instance.run("-m", "check", "Many*").code == 0
    for _ in range(2):
        (row,) = minutes.instance.listed()
        # The clock of the runs goes on meanwhile.
        after = moment(row["last_run_at"]) - before
        assert timedelta(minutes=6) <= after < timedelta(minutes=7)
        assert minutes.run() == (0, 0)


@pytest.mark.long
def test_a_recheck_that_finds_it_ok_is_its_last_run(minutes):
    flag = minutes.instance.folder / "flag"
    hook = "    def recheckEvery(self):\n        return '1min'\n"
    minutes.instance.job("Flag", flag_job(flag, hook, "DAY"))
    assert minutes.instance.cron().code == 0
    for is_there in (False, False, True):
        if is_there:
            flag.touch()
        minutes.instance.clock_ahead += timedelta(minutes=1)
        assert minutes.instance.cron().code == 0
        (row,) = minutes.instance.listed()
        assert row["status"] == ("ok" if is_there else "failing")
        began_at = moment(minutes.instance.last_run()["began_at"])
        assert moment(row["last_run_at"]) == began_at
    assert minutes.run() == (0, 0)
    (row,) = minutes.instance.listed()
    assert moment(row["last_run_at"]) == began_at


def test_a_run_without_news_leaves_the_catalog_alone(minutes):
    minutes.many(1)
    minutes.many(1, "minute", name="More")
    catalog = minutes.instance.state / "catalog.json"
    assert minutes.instance.cron().silent
    minutes.instance.clock_ahead += timedelta(minutes=1)
    written = catalog.stat().st_mtime_ns
    assert minutes.instance.cron().silent
    assert catalog.stat().st_mtime_ns == written

"""Which job files a run loads, told as stories; then the program itself."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lib.core.enums import JobFrequency, Status
from lib.core.jobs import CatalogEntry, FileScan, JobFile, JobKey
from lib.core.records import Record
from lib.core.schedule import due_in
from lib.runner import selection
from tests.support.instance import NO_MAIL, OWN_JOBS, Instance, flag_job

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
FIVE_MINUTES_AGO = NOON - timedelta(minutes=5)
FILE = JobFile(Path("/jobs/Flag.py"), "Flag")
MINUTE, HOUR, DAY = JobFrequency.MINUTE, JobFrequency.HOUR, JobFrequency.DAY


def jobs(*frequencies):
    return {
        JobKey("Flag", every.value): CatalogEntry(
            every.value, str(FILE.path), every, judged=True
        )
        for every in frequencies
    }


def is_loaded(
    *records,
    has=(HOUR, DAY),
    mark="as it was",
    asked=FIVE_MINUTES_AGO,
    ordered=MINUTE,
    now=NOON,
):
    before = None if asked is None else FileScan(asked, "as it was")
    due = due_in(ordered, {}, now)
    own = selection.by_name(records).get(FILE.name, ())
    return bool(selection.why_load(FILE, mark, before, jobs(*has), own, due, now))


# The rule.


def test_a_file_with_nothing_due_is_not_loaded():
    assert not is_loaded()
    assert not is_loaded(has=())


def test_a_file_with_a_job_that_is_due_is_loaded():
    assert is_loaded(has=(DAY, MINUTE))


@pytest.mark.parametrize("ordered", [HOUR, DAY, JobFrequency.DAY_NOON])
def test_an_order_above_minute_asks_every_file(ordered):
    assert is_loaded(has=(), ordered=ordered)


def test_a_kind_of_which_there_is_no_section_is_not_loaded():
    http = JobFile(Path("/HTTPServerChecker.py"), "HTTPServerChecker", ships=True)
    peers = JobFile(Path("/PeerChecker.py"), "PeerChecker", ships=True)
    words = {"general", "defaults", "httpd"}
    assert not selection.may_have_jobs(http, words, [])
    assert not selection.may_have_jobs(peers, words, [])
    assert selection.may_have_jobs(http, {*words, "http"}, [])
    assert selection.may_have_jobs(peers, {*words, "peers"}, [])
    assert selection.may_have_jobs(http, words, [http.name])
    assert selection.may_have_jobs(FILE, words, [])


def test_a_file_that_was_never_asked_is_loaded():
    assert is_loaded(asked=None)


def test_a_file_that_was_touched_is_asked_again():
    assert is_loaded(mark="another")


def test_a_file_that_cannot_be_told_from_others_is_loaded():
    assert is_loaded(mark="")


def test_each_file_is_asked_at_least_once_an_hour():
    assert not is_loaded(asked=NOON - timedelta(minutes=58))
    assert is_loaded(asked=NOON - timedelta(minutes=59))


def test_a_file_that_was_asked_in_the_future_is_asked_again():
    assert is_loaded(asked=NOON + timedelta(seconds=1))


def test_a_pending_job_has_its_file_loaded():
    assert is_loaded(Record(JobKey("Flag", "hour"), pending_since=NOON))


def test_a_failing_job_that_is_not_due_leaves_its_file_alone():
    failing = Record(JobKey("Flag", "hour"), status=Status.FAILING, failures=2)
    assert not is_loaded(failing)


def test_a_file_that_failed_to_load_is_loaded_again():
    assert is_loaded(Record(JobKey("Flag"), status=Status.FAILING, failures=2))
    assert is_loaded(Record(JobKey("Flag"), unseen_since=NOON))


def test_a_record_of_a_job_that_the_file_did_not_have_asks_it():
    assert is_loaded(Record(JobKey("Flag", "new"), status=Status.FAILING, failures=1))
    assert is_loaded(Record(JobKey("Flag", "hour"), failures=1, unseen_since=NOON))


def test_a_record_of_a_job_that_is_gone_for_good_does_not():
    assert not is_loaded(Record(JobKey("Flag", "gone"), failures=1, unseen_since=NOON))


def test_other_files_records_are_none_of_its_business():
    assert not is_loaded(
        Record(JobKey("Flags", "x"), pending_since=NOON),
        Record(JobKey("Fla"), pending_since=NOON),
    )


def test_when_it_was_asked_is_noted_anew_only_now_and_then():
    before = FileScan(NOON, "x")
    soon, later = NOON + timedelta(minutes=29), NOON + timedelta(minutes=30)
    assert selection.to_note(before, "x", soon) is before
    assert selection.to_note(before, "x", later) == FileScan(later, "x")
    assert selection.to_note(before, "y", soon) == FileScan(soon, "y")
    assert selection.to_note(before, "x", NOON - timedelta(1)).at < NOON
    assert selection.to_note(None, "x", NOON) == before


# What a folder is like.


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "Flag.py").write_text("one")
    (tmp_path / "settings.cfg").write_text("[general]")
    return tmp_path


def mark(folder, at=None):
    later = at or datetime.now(UTC) + timedelta(minutes=1)
    (found,) = selection.marks_of(
        [folder / "jobs"], [folder / "settings.cfg"], later
    ).values()
    return found


def touch(folder):
    (folder / "jobs" / "Flag.py").touch()


def write_the_same_again_with_its_old_time(folder):
    path = folder / "jobs" / "Flag.py"
    before = path.stat()
    time.sleep(0.02)
    path.write_text("two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace_it(folder):
    (folder / "new").write_text("one")
    (folder / "new").rename(folder / "jobs" / "Flag.py")


def add_a_helper(folder):
    (folder / "jobs" / "_helper.py").write_text("")


def remove_it(folder):
    (folder / "jobs" / "Flag.py").unlink()


def change_the_settings(folder):
    (folder / "settings.cfg").write_text("[general]\n")


@pytest.mark.parametrize(
    "change",
    [
        touch,
        write_the_same_again_with_its_old_time,
        replace_it,
        add_a_helper,
        remove_it,
        change_the_settings,
    ],
)
def test_any_change_shows(folder, change):
    before = mark(folder)
    assert before and before == mark(folder)
    time.sleep(0.02)
    change(folder)
    assert mark(folder) != before


def test_what_changed_just_now_has_no_mark_yet(folder):
    touch(folder)
    changed_at = (folder / "jobs" / "Flag.py").stat().st_mtime
    soon = datetime.fromtimestamp(changed_at + selection.SETTLED_AFTER_S / 2, UTC)
    assert mark(folder, soon) == ""


def test_what_cannot_be_looked_at_has_no_mark(folder):
    (folder / "settings.cfg").unlink()
    assert mark(folder) == ""


# The program.


@pytest.fixture
def instance(tmp_path):
    """One whose only job runs hourly, and leaves a trace whenever it is loaded."""
    instance = Instance(tmp_path, NO_MAIL)
    trace = f"open({str(tmp_path / 'loaded')!r}, 'a').write('x')\n"
    instance.job("Flag", trace + flag_job(tmp_path / "flag", frequency="HOUR"))
    (tmp_path / "flag").touch()
    # What has changed just now is not trusted.
    time.sleep(selection.SETTLED_AFTER_S + 0.1)
    return instance


def loaded(instance):
    path = instance.folder / "loaded"
    return len(path.read_text()) if path.exists() else 0


@pytest.mark.long
def test_a_run_with_nothing_due_loads_nothing_and_loses_no_job(instance):
    instance.cron()
    # One worker has met the job, which is new, and another one has run it.
    assert loaded(instance) == 2
    for _ in range(3):
        assert instance.cron().silent
    assert loaded(instance) == 2
    assert instance.last_run()["jobs"] == 1 + len(OWN_JOBS)
    (instance.folder / "flag").unlink()
    instance.cron("hour")
    assert loaded(instance) == 3
    instance.cron()
    record = instance.records()["Flag"]
    assert (record["failures"], "unseen_since" in record) == (1, False)
    assert loaded(instance) == 3
    (row,) = instance.listed()
    assert row["status"] == "failing"


def test_a_job_file_that_was_changed_is_loaded_in_the_next_run(instance):
    instance.cron()
    path = instance.jobs / "Flag.py"
    path.write_text(path.read_text().replace("HOUR", "MINUTE"))
    instance.cron()
    assert instance.last_run()["ran"] == 1


def test_a_catalog_that_was_lost_is_made_anew(instance):
    instance.cron()
    (instance.state / "catalog.json").unlink()
    instance.cron()
    assert loaded(instance) == 3
    assert instance.last_run()["jobs"] == 1 + len(OWN_JOBS)


def test_a_job_file_that_is_gone_is_no_longer_met(instance):
    instance.cron()
    (instance.jobs / "Flag.py").unlink()
    instance.cron()
    assert instance.last_run().get("jobs", 0) == len(OWN_JOBS)

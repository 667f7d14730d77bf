"""What is wrong in settings and folders, as jobs that fail and are mended."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

from msgspec.structs import replace

from lib.core.enums import Decision, Status
from lib.core.ini import IniFile, IniSection
from lib.core.jobs import Job, JobFile, JobKey, page_name
from lib.core.records import Record
from lib.core.results import CheckResult, JobReport, Threshold, Value
from lib.core.settings import LastUsable, Problem
from lib.runner import results
from tests.support.instance import NO_MAIL, Instance
from tests.support.mailing import settings_for

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)

FILE = JobFile(Path("/jobs/Open.py"), "Open", refused="others may write it")
SETTINGS = settings_for(25)
REFUSED, WRONG = JobKey.of_refused_file(FILE.path), JobKey.of_section("htpp x")


def keys(settings):
    return [facts.key for facts, _result in results.stand_ins(settings)]


def test_a_wrong_target_fails_under_the_name_its_job_would_have(approved):
    wrong = Problem("url is missing", "settings.cfg:3", "http home")
    ((facts, result),) = results.stand_ins(replace(SETTINGS, problems=(wrong,)))
    assert facts.key == JobKey("HTTPServerChecker", "http home")
    assert (facts.name, facts.contact) == ("http home", SETTINGS.alertcontact)
    assert result.status is Status.FAILING
    approved(result.reason)


def test_all_problems_of_a_section_are_one_failure():
    wrong = (Problem("a", "s:1", "http x"), Problem("b", "s:2", "http x"))
    ((_facts, result),) = results.stand_ins(replace(SETTINGS, problems=wrong))
    assert result.reason.splitlines() == ["s:1: [http x] a", "s:2: [http x] b"]


def test_a_section_of_no_kind_and_a_problem_of_no_section_fail_too():
    wrong = (Problem("a", "s:1", "htpp x"), Problem("b", "s:2"))
    assert keys(replace(SETTINGS, problems=wrong)) == [
        JobKey.of_section("htpp x"),
        JobKey.of_section(""),
    ]


def test_a_warning_is_no_failure():
    odd = Problem("odd", "s:1", "odd", warning=True)
    assert keys(replace(SETTINGS, problems=(odd,))) == []


def test_a_file_that_must_not_be_loaded_fails_by_its_path(approved):
    settings = replace(SETTINGS, job_files=(FILE,))
    ((facts, result),) = results.stand_ins(settings)
    assert (facts.name, facts.key) == ("Open.py", REFUSED)
    approved(result.reason)


def mended(settings, *keys):
    failing = {"status": Status.FAILING, "failures": 1}
    records = [Record(key, "n", **failing) for key in keys]
    return [facts.key for facts, _result in results.mended(settings, records)]


def with_section(title):
    sections = {title: IniSection("settings.cfg", 1, {})}
    return replace(SETTINGS, ini=IniFile(Path("/etc"), sections=sections))


def test_what_is_there_and_no_longer_wrong_is_ok():
    there = with_section("htpp x")
    assert mended(there, WRONG) == [WRONG]
    wrong = replace(there, problems=(Problem("a", "s:1", "htpp x"),))
    assert mended(wrong, WRONG) == []


def test_a_copy_of_earlier_settings_mends_no_section():
    """It holds the text of the files, not whether an include is there."""
    in_use = LastUsable((), Path("/state/settings/last.json"), NOON)
    there = replace(with_section("htpp x"), last_usable=in_use)
    assert mended(there, WRONG) == []


def test_what_is_not_there_any_more_is_not_ok():
    assert mended(SETTINGS, WRONG, JobKey("Gone"), REFUSED) == []


def test_a_refused_file_that_may_be_loaded_now_is_ok_another_speaks_for_itself():
    there = replace(SETTINGS, job_files=(replace(FILE, refused=""),))
    assert mended(there, JobKey("Open"), REFUSED) == [REFUSED]


def test_a_folder_that_cannot_be_used_is_a_failing_job():
    closed = Problem("others may write to the folder", "s:1", "general")
    settings = replace(SETTINGS, problems=(closed,))
    ((facts, _result),) = results.stand_ins(settings)
    assert facts.name == "settings.cfg [general]"


def test_jobs_of_files_that_are_named_as_what_checker_speaks_of_are_ordinary_ones():
    names = ("settings", "files", "checker")
    files = tuple(JobFile(Path(f"/jobs/{name}.py"), name) for name in names)
    settings = replace(SETTINGS, job_files=files)
    assert mended(settings, *(JobKey(name, "one") for name in names)) == []


def test_an_ordinary_job_is_not_mended_from_here():
    assert (
        mended(
            SETTINGS, JobKey("HTTPServerChecker", "http home"), JobKey("Flag", "Flag")
        )
        == []
    )


def test_an_alert_about_a_value_shows_its_last_day_and_the_page_of_its_job(tmp_path):
    there = Instance(
        tmp_path,
        f"{NO_MAIL}[page]\nurl = https://status.example.com/checks\n"
        "[disk root]\npath = /\nlimit = 100\nevery = minute\n",
    )
    there.cron()
    there.write(there.settings.read_text().replace("limit = 100", "limit = 1"))
    there.pass_time(timedelta(minutes=1))
    there.cron("minute", "--nomail")
    text = (there.state / "checker.log").read_text()
    assert re.search(r"(?m)^ *Last 24 hours: +used ·+[▁-█]+ [0-9.%]+$", text)
    page = page_name(JobKey("DiskSpace", "disk root"))
    assert f"Page:                  https://status.example.com/checks/{page}\n" in text


def test_so_does_one_about_a_value_outside_of_what_a_plugin_says(tmp_path):
    plugin = tmp_path / "check_load"
    plugin.write_text("#!/bin/sh\necho 'LOAD OK | files=3 load=30;50;80'\n")
    plugin.chmod(0o755)
    section = f"[plugin load]\ncommand = {plugin}\nevery = minute\n"
    there = Instance(tmp_path, NO_MAIL + section)
    there.cron()
    bad = "#!/bin/sh\necho 'LOAD CRITICAL | files=3 load=90;50;80'\nexit 2\n"
    plugin.write_text(bad)
    there.pass_time(timedelta(minutes=1))
    there.cron("minute", "--nomail")
    text = (there.state / "checker.log").read_text()
    assert re.search(r"(?m)^ *Last 24 hours: +load ·+[▁-█]+ [0-9.]+$", text)


def test_in_a_storm_the_first_alerts_show_the_last_day():
    values = {"used": Value(97, fail=Threshold(high=90))}
    result = CheckResult(Status.FAILING, "full", values=values)
    job = Job(JobKey("X", "x"), "x", "x.py", "minute")
    report = JobReport(job, result, Decision.FIRST_ALERT)
    ctx = SimpleNamespace(settings=SETTINGS, trends_left=1)
    assert list(results._facts(ctx, report, NOON)) == []
    assert ctx.trends_left == 0
    list(results._facts(ctx, report, NOON))
    assert ctx.trends_left == 0

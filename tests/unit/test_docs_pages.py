"""The pages of docs/: what they promise, held against the code."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import subprocess
from datetime import datetime, timedelta
from fnmatch import fnmatch
from pathlib import Path

import pytest

from lib import jobbase
from lib.alerting import bundling, planning
from lib.alerting import store as letters
from lib.cli.arguments import EXIT_CODES, flags_of
from lib.cli.main import MODES
from lib.cli.settings_page import kinds_page, settings_page, shipped_kinds
from lib.cli.show import SLOTS
from lib.config.ini import IniText
from lib.config.jobsections import JobSections
from lib.config.options import EMAIL, PEERS, STATUS
from lib.config.targets import target_sections
from lib.core import health, policy, ratelimit, schedule
from lib.core.decisions import Event
from lib.core.enums import Decision, Health
from lib.core.enums import JobFailureNotificationFrequency as Every
from lib.core.enums import JobFrequency
from lib.core.ini import IniFile
from lib.core.jobs import MAX_TIMEOUT_S
from lib.mail import proof
from lib.mail.folders import MAX_FOLDERS
from lib.peers import answer, client
from lib.plugins.base import MAX_MAILS
from lib.report import status
from lib.report.summary import DUE_WITHIN
from lib.runner import summaries
from lib.runner.context import RUN_S
from lib.runner.run import MANY
from lib.storage import auditlog, quarantine
from lib.system import log
from lib.system.process import MAX_PRINTED
from lib.web import server
from lib.workers.execute import MAX_MEMORY
from tests.e2e.stories import STORIES
from tests.faults.scenarios import SCENARIOS
from tests.support import pages
from tests.support.instance import Instance, flag_job
from tests.support.pages import blocks, flat, rows, words
from tests.unit.core.test_policy import tell_story

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def page(name: str) -> str:
    return (DOCS / name).read_text("utf-8")


def part(name: str, title: str) -> str:
    """Return what stands below a heading of a page, up to the next one."""
    return pages.part(page(name), title)


#: What faults.md says of the rows that harnesses stand for.
HARNESSES = page("faults.md").partition("harnesses are run")[2].partition("| Row")[0]


# settings.md.


def test_the_page_of_settings_is_what_the_tables_say():
    assert page("settings.md") == settings_page(), "stale: see make docs"


def test_the_page_of_kinds_is_what_the_job_files_say():
    kinds = shipped_kinds(ROOT / "jobs")
    assert page("kinds.md") == kinds_page(kinds), "stale: see make docs"


def test_what_is_wrong_in_the_settings_is_shown_as_validate_shows_it(tmp_path):
    mistakes, _job, _templates = blocks(page("settings.md"), "ini")
    instance = Instance(tmp_path)
    instance.write(mistakes)
    ran = instance.run("-m", "validate")
    (shown,) = blocks(page("settings.md"))
    # Notes follow.
    assert (ran.code, ran.out[: len(shown)]) == (1, shown)


def test_the_example_of_a_job_is_right():
    _mistakes, job, _templates = blocks(page("settings.md"), "ini")
    sections = JobSections(
        IniFile(Path("/"), ("settings.cfg",), IniText(job, "x").sections)
    )
    assert list(sections.problems()) == []
    assert sections.of("Backup", "Backup 1")["notify"] == "day"


def test_the_example_of_templates_makes_the_jobs_it_says():
    _mistakes, _job, templates = blocks(page("settings.md"), "ini")
    ini = IniFile(Path("/"), ("settings.cfg",), IniText(templates, "x").sections)
    found = list(target_sections(ini, "http"))
    assert all(f"`{one.title}`" in page("settings.md") for one in found)
    assert [one.options["timeout"].raw for one in found] == ["10", "20"]


# alerting.md.


@pytest.mark.parametrize(
    "row", rows(part("alerting.md", "When a job counts as failing")), ids=str
)
def test_each_story_is_what_the_policy_says(row):
    (notify,), failures, (runs,), (mails,) = (
        words(row[0]),
        row[1],
        words(row[2]),
        words(row[3]),
    )
    assert tell_story(Every(notify), failures, runs) == mails


def test_reminders_come_as_much_early_as_is_said():
    text = flat(part("alerting.md", "When a job counts as failing"))
    for every, said in {
        "5min": "4 min 30 s",
        "10min": "9 min 15 s",
        "hour": "59 min",
        "day": "23 h 50 min",
    }.items():
        units = {"h": "hours", "min": "minutes", "s": "seconds"}
        length = timedelta(
            **{units[unit]: int(n) for n, unit in re.findall(r"(\d+) (\w+)", said)}
        )
        assert policy.REPEAT_AFTER[Every(every)] == length
        assert f"{said} (`{every}`)" in text


def test_each_code_of_the_audit_log_is_in_the_table():
    shown = [
        words(row[0])[0]
        for row in rows(part("operations.md", "Why was I notified, or not?"))
    ]
    assert shown == [*Decision, *Event]


def test_each_result_on_our_own_mail_is_in_the_table():
    table = rows(part("mail.md", "Proof that mail arrives"))
    assert [words(row[0])[0] for row in table] == list(proof.RESULTS)


def test_the_figures_of_alerting_are_those_of_the_rules():
    text = flat("".join(map(page, ("alerting.md", "mail.md", "operations.md"))))
    first, *others, last = (
        round(wait.total_seconds() / 60) for wait in policy.RETRY_AFTER
    )
    waits = f"{', '.join(map(str, (first, *others[:-1])))} and {others[-1]} minutes"
    assert (f"after about {waits}, then hourly" in text, last) == (True, 60)
    hour, day = EMAIL["mailsperhour"].default, EMAIL["mailsperday"].default
    assert f"`mailsperhour` ({hour}) and `mailsperday` ({day})" in text
    assert (ratelimit.RESERVE, "one fifth is reserved" in text) == (5, True)
    quiet = ratelimit.QUIET.total_seconds() / 60
    assert f"leave in one bundle every {quiet:g} minutes" in text
    assert f"at most {60 / quiet:g} an hour for each set of recipients" in text
    assert f"for the next one, at most {quiet:g} minutes" in text
    assert f"{bundling.FEW_PARTS} parts" in text.replace("three", "3")
    promise = ratelimit.PROMISE.total_seconds() / 60
    assert f"more than {promise:g} minutes after it was queued" in text
    *steps, last = ratelimit.OUTAGE_RETRY_AFTER
    words = f"{', '.join(map(str, steps))} and {last} minutes and then every {last}"
    assert words in text
    stuck = health.STUCK_AFTER.total_seconds() / 60
    assert f"queued for {stuck:g} minutes or more" in text
    assert f"If more than {planning.MAX_SINGLE} mails wait" in text
    assert f"more than {MANY} jobs are still running" in text
    assert f"at most {ratelimit.LOGINS_PER_HOUR} attempts an hour" in text
    assert f"While {summaries.MAX_WAITING} are waiting" in text
    assert f"within {DUE_WITHIN.days} days" in text
    assert f"at most {MAX_FOLDERS}." in text
    assert f"The last {health.MAX_HISTORY} proofs are kept" in text
    assert f"shows the last {status.MAX_PROOFS}." in text
    assert f"met the job for {policy.FORGET_AFTER.days} days" in text


# operations.md.


def test_every_mode_and_every_flag_is_in_the_table():
    shown = [
        one for row in rows(part("operations.md", "Commands")) for one in words(row[0])
    ]
    modes = {flat(f"-m {name} {mode.words}") for name, mode in MODES.items()}
    modes = modes - {"-m cron"} | {"-m cron -c FREQUENCY"}
    assert {one for one in shown if one.startswith("-m ")} == modes
    # -m and -c stand with the modes.
    known = {flag.names[0] for flag in flags_of(MODES)} - {"-m", "-c"}
    assert {one.split()[0] for one in shown if not one.startswith("-m ")} == known


def test_every_exit_code_is_in_the_table():
    shown = [int(row[0]) for row in rows(part("operations.md", "Exit codes"))]
    assert shown == list(EXIT_CODES)


UNITS = ("checker-run.timer", "checker-run.service")


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_is_shown_as_it_is(name):
    unit = (ROOT / "contrib" / name).read_text("utf-8")
    assert unit in blocks(page("operations.md"), "ini")


@pytest.mark.integration
@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path):
    for name in UNITS:
        unit = (ROOT / "contrib" / name).read_text("utf-8")
        # What it starts has to be there.
        (tmp_path / name).write_text(unit.replace("User=checker\n", ""))
    ran = subprocess.run(
        ["systemd-analyze", "verify", *(str(tmp_path / name) for name in UNITS)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    about_us = [line for line in ran.stderr.splitlines() if "checker" in line]
    assert (ran.returncode, about_us) == (0, [])


@pytest.mark.long
def test_the_unit_starts_in_each_minute_what_cron_starts(tmp_path):
    unit = (ROOT / "contrib" / "checker-run.service").read_text("utf-8")
    (line,) = re.findall(r"(?m)^ExecStart=/bin/sh -c '(.*)'$", unit)
    script = line.replace("%%", "%").replace("$$", "$")
    program = "/opt/checker/.venv/bin/python /opt/checker/checker.py"
    assert f"exec {program} -m cron -c " in script
    (tmp_path / "job.sh").write_text(
        'date() { test "$1" = +%H:%M && echo "$now"; }\n'
        "for now in $(cat minutes); do (\n"
        + script.replace(f"exec {program} -m cron -c", "echo")
        + "\n) done\n"
    )
    minutes = [f"{n // 60:02}:{n % 60:02}" for n in range(24 * 60)]
    (tmp_path / "minutes").write_text("\n".join(minutes))
    ran = subprocess.run(
        ["/bin/sh", "job.sh"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.stderr == ""
    started = dict(zip(minutes, ran.stdout.split(), strict=True))
    expected = dict.fromkeys(minutes, "minute")
    for frequency in ("hour", "day", "day_noon"):
        minute, hours, *_days = SLOTS[JobFrequency(frequency)].split()
        for first, _dash, last in (one.partition("-") for one in hours.split(",")):
            for hour in range(int(first), int(last or first) + 1):
                expected[f"{hour:02}:{int(minute):02}"] = frequency
    assert started == expected


@pytest.mark.integration
@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_a_timer_in_utc_does_not_pause_in_autumn():
    def minutes_after(expression: str) -> list[str]:
        ran = subprocess.run(
            ["systemd-analyze", "calendar", "--iterations=3"]
            + ["--base-time=2026-10-25 00:58:30 UTC", expression],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "TZ": "Europe/Berlin", "LC_ALL": "C"},
        )
        return re.findall(r"\(in UTC\): .* (\d\d:\d\d):00 UTC", ran.stdout)

    unit = (ROOT / "contrib" / "checker-run.timer").read_text("utf-8")
    (in_utc,) = re.findall(r"(?m)^OnCalendar=(.*)$", unit)
    assert minutes_after(in_utc) == ["00:59", "01:00", "01:01"]
    local = in_utc.removesuffix(" UTC")
    assert minutes_after(local) == ["00:59", "02:00", "02:01"]


@pytest.mark.long
def test_a_backup_goes_on_on_another_host_where_it_was(tmp_path):
    pack, unpack = (
        next(iter(re.findall(rf"(?m)^ +(tar {how}.*)$", page("operations.md"))))
        for how in ("-czf checker-backup", "-xzpf checker-backup")
    )
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        folder.mkdir()
    here, flag = Instance(old), tmp_path / "flag"
    here.job("Flag", flag_job(flag))
    assert here.cron().silent
    assert here.records()["Flag"]["failures"] == 1
    subprocess.run(shlex.split(pack), cwd=old, check=True, timeout=60)
    there = Instance(new)
    there.job("Flag", flag_job(flag))
    (old / "checker-backup.tar.gz").rename(new / "checker-backup.tar.gz")
    subprocess.run(shlex.split(unpack), cwd=new, check=True, timeout=60)
    assert there.cron().silent
    assert there.records()["Flag"]["failures"] == 2
    flag.touch()
    assert there.cron().silent
    sent = re.findall(
        r"(?m)^.*Subject: (.*)$", (there.state / "checker.log").read_text()
    )
    # The alert came with the log of the old host, and left once.
    assert len(sent) == 2, sent
    assert "Flag" not in there.troubled()


def test_state_of_a_newer_version_is_left_alone(tmp_path):
    instance = Instance(tmp_path)
    assert instance.cron().silent
    instance.mend(lambda content: content.update(format=99), "run.json")
    before = (instance.state / "run.json").read_text()
    ran = instance.cron()
    assert ran.code == 1 and "newer Checker" in ran.err
    assert (instance.state / "run.json").read_text() == before


@pytest.mark.long
def test_every_file_in_the_state_folder_is_named_on_its_page(tmp_path):
    named = (ROOT / "state" / "README.md").read_text("utf-8")
    shown = [name.rstrip("/") for row in rows(named) for name in words(row[0])]
    instance = Instance(tmp_path)
    instance.add("[summary]\ndaily = 08:00\n")
    instance.job("Flag", flag_job(tmp_path / "flag"))
    for _run in range(2):
        assert instance.cron("hour", "-v").silent
    # A damaged record is kept.
    (record,) = (instance.state / "jobs").glob("flag-*.json")
    record.write_text("{")
    instance.cron()
    found = {path.name for path in instance.state.iterdir()}
    assert {"run.json", "jobs", "lock", "quarantine", "checker.log"} <= found
    assert [one for one in found if not any(fnmatch(one, as_) for as_ in shown)] == []


def test_the_figures_of_operations_are_those_of_the_rules():
    text = flat(page("operations.md"))
    missed = schedule.MISSED_AFTER
    hour, day = missed[JobFrequency.HOUR], missed[JobFrequency.DAY]
    assert f"after {hour.total_seconds() / 60:g} minutes" in text
    assert f"after {day.total_seconds() / 3600:g} hours" in text
    assert f"its {RUN_S:g} seconds" in text
    assert f"within {RUN_S:g} seconds" in text
    assert f"forgotten after {policy.FORGET_AFTER.days} days" in text


def test_the_bounds_of_operations_are_those_of_the_files():
    bounds = {row[0]: row[1] for row in rows(part("operations.md", "The log"))}
    assert {name: bound for name, bound in bounds.items() if "B" in bound} == {
        "the log": megabytes(log.MAX_LOG),
        "`state/decisions.log`": megabytes(auditlog.MAX_BYTES),
        "`state/dead/`": (
            f"{letters.MAX_DEAD:,} files, {megabytes(letters.MAX_DEAD_BYTES)}"
        ),
        "`state/quarantine/`": (
            f"{quarantine.MAX_FILES:,} files, {megabytes(quarantine.MAX_BYTES)}"
        ),
    }


def megabytes(size):
    return f"{size // 1024**2} MB"


# peers.md.


def test_each_word_for_peers_is_in_the_table():
    shown = [words(row[0])[0] for row in rows(part("peers.md", "Our answer"))]
    assert shown == list(Health)


def test_the_answer_is_shown_as_it_is_made():
    (shown,) = blocks(part("peers.md", "Our answer"))
    read = answer.judged(
        shown.encode(), now=datetime.fromtimestamp(1795996801).astimezone()
    )
    assert read.answer is not None and read.peer_status is answer.PeerStatus.OK
    assert answer.composed(read.answer).decode() == shown


def test_the_figures_of_peers_are_those_of_the_rules():
    text = flat(page("peers.md"))
    assert f"`after` ({PEERS['after'].default}) requests" in text
    assert f"once an {PEERS['every'].default} (`every`)" in text
    run_age = STATUS["runage"].default // 60
    assert f"within {run_age} minutes (`runage`)" in text
    assert f"for {health.STUCK_AFTER.total_seconds() / 60:g} minutes or more" in text
    assert f"over {answer.MAX_AGE.total_seconds() / 60:g} minutes old" in text
    assert f"At most {answer.MAX_BYTES // 1024} KB are read" in text
    assert f"takes {client.ASK_S:g} seconds at most" in text
    assert f"requests to {server.MAX_HEADER // 1024} KB" in text
    assert (
        f"connections to {server.LONGEST_S:g} seconds and to {server.MAX_CONNECTIONS}"
        in text
    )


# jobs.md.


JOBS = page("jobs.md")
FIRST_JOB, VALUES, KIND, SPAWNER = blocks(JOBS, "python")
KINDS_SECTION, SPAWNERS_SECTION = blocks(JOBS, "ini")


def hooks_shown() -> dict[str, list[str]]:
    return {
        words(row[0])[0].partition("(")[0]: row
        for row in rows(part("jobs.md", "Hooks"))
    }


def test_every_hook_is_in_the_table_and_nothing_else():
    hooks = {
        name
        for name, value in vars(jobbase.JobBase).items()
        if callable(value) and not name.startswith("_")
    }
    assert set(hooks_shown()) == hooks


def test_the_hooks_have_the_defaults_of_the_table():
    config = configparser.ConfigParser()
    config.read_dict({"general": {"alertcontact": "ops@example.com"}})
    job = jobbase.JobBase(config)
    shown = {name: row[1] for name, row in hooks_shown().items()}
    assert words(shown["notifyOnFailureEvery"]) == [job.notifyOnFailureEvery().name]
    assert shown["numberFailuresBeforeNotification"] == str(
        job.numberFailuresBeforeNotification()
    )
    assert shown["timeout"] == f"{job.timeout():g}"
    assert (shown["contact"], job.contact()) == ("alertcontact", ("ops@example.com",))


@pytest.mark.parametrize(
    "choices",
    [
        jobbase.JobFrequency,
        jobbase.JobFailureNotificationFrequency,
        jobbase.JobFailureCountMinimumBeforeNotification,
    ],
)
def test_every_answer_a_hook_may_give_is_in_the_table(choices):
    for choice in choices:
        assert re.search(rf"[`.]{choice.name}`", part("jobs.md", "Hooks")), choice.name


def test_everything_execute_may_raise_is_in_its_table():
    own = {
        name
        for name in jobbase.__all__
        if isinstance(found := getattr(jobbase, name), type)
        and issubclass(found, Exception)
    }
    answers = part("jobs.md", "What execute answers")
    assert set(re.findall(r"raise (\w+)\(", answers)) == own


def test_the_figures_of_jobs_are_those_of_the_rules():
    text = flat(JOBS)
    assert f"at most {MAX_MEMORY // 1024} KB" in text
    assert f"up to {MAX_PRINTED // 1024} KB" in text
    assert f"at most {MAX_TIMEOUT_S} |" in text
    assert f"may send {MAX_MAILS} mails in a run" in text
    assert f"met for {policy.FORGET_AFTER.days} days" in text


def test_the_first_job_is_that_of_readme():
    assert FIRST_JOB in (ROOT / "README.md").read_text("utf-8")


def test_the_kind_and_the_values_work_as_they_are(tmp_path):
    instance = Instance(tmp_path)
    instance.job("QueueLength", KIND)
    instance.add(KINDS_SECTION.replace("/var/spool/outgoing", str(tmp_path / "none")))
    lines = "".join(f"        {line}\n" for line in VALUES.splitlines())
    head = FIRST_JOB.partition("    def execute(")[0].replace(
        "RebootRequired", "Measures"
    )
    head = head.replace(
        "from lib.jobbase import", "from lib.jobbase import bytes_, seconds,"
    )
    body = f"        size, took = 600e6, 1.5\n{lines}        return True\n"
    instance.job("Measures", f"{head}    def execute(self):\n{body}")
    (tmp_path / "none").mkdir()
    run = instance.run("-m", "run", "queue outgoing", "Measures", "--json").json()
    reasons = {row["job"]: row["reason"] for row in run}
    assert reasons == {
        "Measures": "size is 600MB, over 500MB",
        "queue outgoing": "files is 0, outside fail_files = 1..500",
    }


@pytest.mark.long
def test_the_spawner_runs_as_it_is_remembers_and_speaks_for_itself(tmp_path):
    instance = Instance(tmp_path)
    instance.job("Shrinks", SPAWNER)
    instance.add(SPAWNERS_SECTION.replace("/srv", str(tmp_path)))
    for name in ("photos", "scans"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "one").touch()
    assert instance.cron("hour").silent
    (tmp_path / "photos" / "one").unlink()
    assert instance.cron("hour").silent
    log = (instance.state / "checker.log").read_text()
    assert f"Subject: [web1] {tmp_path}/photos shrinks" in log
    assert "0 left. Ask its owner first." in log
    assert instance.run("-m", "validate").code == 0


# testing.md, faults.md.


def test_the_harnesses_go_through_as_many_scenarios_as_is_said():
    assert (len(SCENARIOS), "nineteen scenarios" in flat(page("testing.md"))) == (
        19,
        True,
    )


def test_there_are_as_many_stories_as_is_said():
    assert 60 <= len(STORIES) < 80 and "some seventy stories" in page("testing.md")


def test_every_fault_that_is_tested_is_in_a_table():
    tested: set[str] = set()
    for path in (ROOT / "tests").rglob("*.py"):
        tested |= set(re.findall(r'mark\.fault\(\s*"(\w+)"', path.read_text("utf-8")))
    shown = {row[0] for row in rows(page("faults.md"))}
    assert len(tested) > 80
    assert tested - shown == set(re.findall(r"\b[A-Z]\d+\b", HARNESSES)) - shown

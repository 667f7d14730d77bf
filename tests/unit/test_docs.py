"""What the documents promise, held against the code."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from lib import jobbase
from lib.cli.arguments import EXIT_CODES, OK, TROUBLE, WRONG_USE
from lib.cli.crontab import crontab_lines
from lib.cli.main import MODES
from lib.config.kinds import KINDS, REQUIRED, Option
from lib.config.load import load_settings
from lib.config.options import SECTIONS
from lib.core import health, policy
from lib.core.calendar import Issue
from lib.core.decisions import Entry, JobDetails
from lib.core.enums import Decision, JobFrequency, Status
from lib.core.jobs import MAX_TIMEOUT_S, CatalogEntry, JobKey
from lib.core.messages import Message
from lib.core.records import Record, RunRecord
from lib.core.results import Timing
from lib.core.settings import Mail, Mailbox, Peer, Peers, Settings
from lib.mail import proof
from lib.mail.folders import MAX_FOLDERS
from lib.plugins.target import targets
from lib.report import summary
from lib.report.summary import DUE_WITHIN, Facts
from lib.runner import summaries
from lib.runner.supervisor import RUN_S
from tests.support.instance import Instance
from tests.support.mails import (
    AWAY,
    DISK,
    FULL,
    NIGHT,
    SHOP,
    THERE,
    as_shown,
    failing,
    of_a_job,
    of_peers,
)

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")
NOTHING = "—"


def flat(text: str) -> str:
    """Return the text with every run of spaces and line ends as one space."""
    return " ".join(text.split())


def part(title: str) -> str:
    """Return what stands below a heading, up to the next one."""
    found = re.search(rf"(?ms)^#+ {re.escape(title)}$(.*?)(?=^#+ |\Z)", README)
    assert found, f"README has no {title!r}"
    return found[1]


def rows(text: str) -> list[list[str]]:
    """Return the cells of every table in the text, without the headings."""
    lines = re.findall(r"(?m)^\| (.*) \|$", text)
    return [
        line.split(" | ")
        for line in lines
        if line.startswith("`") or line[0] in "0123456789"
    ]


def blocks(text: str, language: str = "") -> list[str]:
    """Return the fenced blocks in a language."""
    fenced = re.findall(r"(?ms)^```(\w*)\n(.*?)^```$", text)
    return [inside for found, inside in fenced if found == language]


def words(cell: str) -> list[str]:
    """Return what stands in backticks."""
    return re.findall(r"`([^`]+)`", cell)


INSTALL, JOBS = part("Install in five minutes"), part("Write a job")
(FIRST_JOB,) = blocks(JOBS, "python")
(SPAWNER,) = blocks(part("Many jobs from one file"), "python")
(SPAWNERS_SECTION,) = blocks(part("Many jobs from one file"), "ini")
(FIRST_SETTINGS,) = blocks(INSTALL, "ini")


@pytest.fixture(autouse=True)
def _clock_on_the_wall(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


# Write a job.


def test_every_hook_is_in_the_table_and_nothing_else():
    hooks = {
        name
        for name, value in vars(jobbase.JobBase).items()
        if callable(value) and not name.startswith("_")
    }
    shown = {words(row[0])[0].partition("(")[0] for row in rows(part("Hooks"))}
    assert shown == hooks


def test_the_hooks_have_the_defaults_of_the_table():
    config = configparser.ConfigParser()
    config.read_dict({"general": {"alertcontact": "ops@example.com"}})
    job = jobbase.JobBase(config)
    shown = {words(row[0])[0].partition("(")[0]: row[1] for row in rows(part("Hooks"))}
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
        assert re.search(rf"[`.]{choice.name}`", part("Hooks")), choice.name


def test_everything_execute_may_raise_is_in_its_table():
    own = {
        name
        for name in jobbase.__all__
        if isinstance(found := getattr(jobbase, name), type)
        and issubclass(found, Exception)
    }
    assert set(re.findall(r"raise (\w+)\(", part("What execute answers"))) == own


def test_the_first_job_is_ten_lines_and_runs_as_it_is(tmp_path):
    assert len([line for line in FIRST_JOB.splitlines() if line]) <= 10
    instance = Instance(tmp_path)
    instance.job("RebootRequired", FIRST_JOB)
    (found,) = instance.run("-m", "run", "RebootRequired", "--json").json()
    waits = Path("/run/reboot-required").exists()
    assert found["verdict"] == ("failing" if waits else "ok"), found
    assert found["reason"] == ("an update waits for a reboot" if waits else "")


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
    reasons = {
        name: one["last_reason"]
        for name, one in instance.records().items()
        if "last_reason" in one
    }
    assert reasons == {
        "Folder photos": f"{tmp_path}/photos had 1 files, now 0",
    }
    log = (instance.state / "checker.log").read_text()
    assert f"Subject: [web1] {tmp_path}/photos shrinks" in log
    assert "0 left. Ask its owner first." in log
    assert instance.run("-m", "validate").code == 0


# Settings.


def check_default(option: Option, cell: str) -> None:
    if option.default is REQUIRED:
        assert cell == "must be given"
    elif option.default is None:
        assert cell and not words(cell), "no value is the default"
    elif option.default in ("", (), b""):
        assert cell == NOTHING
    else:
        (value,) = words(cell)
        assert option.read(value) == option.default


def tables() -> dict[str, dict[str, Option]]:
    """Return the options by section, as README writes it."""
    found = {f"[{kind} NAME]": dict(known.options) for kind, known in KINDS.items()}
    sections = ("general", "email", "email backup", "defaults", "status", "peers")
    for section in (*sections, "summary"):
        found[f"[{section}]"] = dict(SECTIONS[section])
    return found


def test_every_option_is_in_the_table_once_and_no_other():
    shown = [
        (section, name)
        for row in rows(part("Settings"))
        for section in words(row[0])
        for name in words(row[1])
    ]
    known = [(section, name) for section, table in tables().items() for name in table]
    assert sorted(shown) == sorted(known)


def test_the_table_of_options_shows_the_true_defaults():
    known = tables()
    for sections, names, cell, _why in rows(part("Settings")):
        for section in words(sections):
            for name in words(names):
                check_default(known[section][name], cell)


def test_how_often_each_kind_is_looked_at():
    assert {kind: known.every.value for kind, known in KINDS.items()} == {
        "http": "minute",
        "tcp": "minute",
        "disk": "hour",
        "tls": "day",
    }
    said = "http and tcp targets are looked at every `minute`, disk every `hour` and "
    assert f"{said}tls every `day`" in flat(part("Settings"))


def test_the_first_settings_are_enough(tmp_path):
    path = tmp_path / "settings.cfg"
    path.write_text(FIRST_SETTINGS)
    path.chmod(0o600)
    settings = load_settings(path, base=ROOT)
    assert settings.problems == ()
    assert settings.mail.is_set_up
    assert [one.section for one in targets(settings.config, "http")] == [
        "http homepage"
    ]


def test_what_is_wrong_in_the_settings_is_shown_as_validate_shows_it(tmp_path):
    instance = Instance(tmp_path)
    instance.write(
        FIRST_SETTINGS.replace("expect_text = Welcome", "expect_txt = Welcome")
        + "timeout = 90\n\n[disc data]\npath = /data\n"
    )
    ran = instance.run("-m", "validate")
    assert ran.code == 1
    assert ran.out in blocks(README)


# Command line, cron.


def test_every_mode_and_every_flag_is_in_the_table():
    shown = [one for row in rows(part("Command line")) for one in words(row[0])]
    helped = subprocess.run(
        [sys.executable, str(ROOT / "checker.py"), "-h"],
        capture_output=True,
        text=True,
        timeout=20,
    ).stdout
    modes = {flat(f"-m {name} {mode.words}") for name, mode in MODES.items()}
    modes = modes - {"-m cron"} | {"-m cron -c FREQUENCY"}
    flags = {flag.split()[0] for flag in shown if not flag.startswith("-m ")}
    assert {one for one in shown if one.startswith("-m ")} == modes
    # The first two lines of each; -m and -c stand with the modes.
    known = set(re.findall(r"(?m)^  (--?\w+)\b", helped.split("options:")[1]))
    assert flags == known - {"-m", "-c"}


def test_every_exit_code_is_in_the_table():
    shown = [int(row[0]) for row in rows(part("Command line")) if row[0].isdigit()]
    assert shown == [OK, TROUBLE, WRONG_USE, 130] == list(EXIT_CODES)


def test_the_cron_lines_are_those_of_m_crontab():
    command = [f"{THERE}/.venv/bin/python", f"{THERE}/checker.py"]
    # tests/unit/cli/test_crontab.py shows that these cover each minute of a day exactly
    # once.
    assert "".join(f"{line}\n" for line in crontab_lines(command, [])) in blocks(README)


def test_the_transcript_of_make_run_is_what_it_prints(tmp_path):
    (shown,) = [block for block in blocks(README) if block.startswith("$ make run\n")]
    lines = shown.splitlines()[1:]
    first = next(number for number, line in enumerate(lines) if line.startswith("job "))
    makefile = (ROOT / "Makefile").read_text("utf-8").replace("$(VENV)", ".venv")
    for line in lines[:first]:
        assert " ".join(line.split()[:2]) in makefile
    instance = Instance(tmp_path)
    # Whatever the disk of this machine holds.
    example = (ROOT / "settings.cfg.example").read_text("utf-8")
    instance.write(example.replace("limit = 90", "limit = 100"))
    assert instance.cron("minute", "--nomail").silent
    printed = instance.run("-m", "list").out.replace(str(ROOT), THERE)
    moment = r"\d{4}-\d\d-\d\d \d\d:\d\d \S+"
    for line, real in zip(lines[first:], printed.splitlines(), strict=True):
        assert re.sub(moment, "", flat(line)) == re.sub(moment, "", flat(real))


# Mails.


@pytest.mark.parametrize("number", range(4))
def test_a_mail_is_shown_as_it_is_written(number):
    assert as_shown(of_a_job()[number]) in part("What the mails look like")


def test_a_mail_to_a_peers_admin_is_shown_as_it_is_written():
    _title, first = next(iter(of_peers()))
    assert as_shown(first) in part("Peers, with a friend in five lines")


def the_daily_summary() -> Message:
    """Return the summary of README."""
    morning = NIGHT.replace(hour=8, minute=0)
    hour, day = timedelta(hours=1), timedelta(days=1)
    disk = replace(
        failing(DISK.key, FULL, 9), failing_since=morning - day * 2 - hour / 2
    )
    shop = replace(failing(SHOP.key, AWAY, 9), name="http shop")
    cert = JobKey("TLSCertExpiration", "tls homepage")
    memory = {"expires": (morning + 12 * day + hour).isoformat()}
    sent = [morning - number * hour for number in range(24)]
    history = [[at.isoformat(), "", 4.0, "arrived", ""] for at in sent[::-1]]
    late = (sent[2] + timedelta(minutes=5)).isoformat()
    history[-3] = [sent[2].isoformat(), late, 300, "late", "290 s to mx1"]
    proven = {"verdict": "arrived", "proved_at": morning.isoformat()}
    prover = JobKey("EmailChecker", "EmailChecker")
    known = CatalogEntry("peer friend", "p.py", JobFrequency.HOUR, judged=True)
    found = Facts(
        records={
            DISK.key: replace(disk, name="disk root"),
            SHOP.key: shop,
            cert: Record(cert, "tls homepage", memory=memory),
            prover: Record(prover, memory={"proof": proven, "history": history}),
        },
        catalog=dict.fromkeys(
            [
                DISK.key,
                SHOP.key,
                JobKey.of_peer("friend"),
                *(JobKey("X", str(n)) for n in range(38)),
            ],
            known,
        ),
        run=RunRecord(),
        since=morning - day,
        now=morning,
        entries=tuple(
            Entry(at, JobKey("T", "t"), "tcp mail", Decision.QUIET_RECOVERY, details)
            for at in (morning - 6 * hour, morning - 5 * hour)
            for start in [at - timedelta(minutes=12)]
            for details in [JobDetails(Status.OK, failing_since=start)]
        ),
        slowest=(
            Timing(JobKey("H", "h"), "http shop", 30.0, NIGHT),
            Timing(
                prover, "EmailChecker", 2.312, morning - hour + timedelta(minutes=1)
            ),
        ),
    )
    at = Path("settings.cfg")
    settings = Settings(
        path=at,
        servername="web1",
        alertcontact=("ops@example.com",),
        logfile=at,
        state=at,
        mail=Mail(smtpserver="x.example.com", mailbox=Mailbox("x.example.com")),
        peers=Peers((Peer("friend", "https://example.org/", "a@example.org"),)),
    )
    issue = Issue("daily", 12, morning, found.since, morning + day)
    return summary.message("b", issue, found, settings)


def test_the_daily_summary_is_shown_as_it_is_written():
    assert as_shown(the_daily_summary()) in part("The daily summary")


def test_each_verdict_on_our_own_mail_is_in_the_table():
    text = part("Proof that mail arrives")
    for words, _advice in proof.VERDICTS.values():
        start, _comma, verdict = words.partition("{}")[0].partition("read, ")
        assert start.strip() in text and verdict.removesuffix(": ") in text


# Figures, files, links.


def test_the_figures_are_those_of_the_rules():
    text = flat(README)
    first, *others, last = (
        round(wait.total_seconds() / 60) for wait in policy.RETRY_AFTER
    )
    waits = f"{', '.join(map(str, (first, *others[:-1])))} and {others[-1]} minutes"
    assert (f"after about {waits}, then hourly" in text, last) == (True, 60)
    missed = policy.MISSED_AFTER
    hour, day = missed[JobFrequency.HOUR], missed[JobFrequency.DAY]
    assert f"after {hour.total_seconds() / 60:g} minutes" in text
    assert f"after {day.total_seconds() / 3600:g} hours" in text
    assert f"within {RUN_S:g} seconds" in text
    assert f"every other folder, {MAX_FOLDERS} in all" in text
    assert f"The last {health.MAX_HISTORY} proofs are kept" in text
    assert f"at most {MAX_TIMEOUT_S}" in text
    assert f"forgotten after {policy.FORGET_AFTER.days} days" in text
    assert (summaries.MAX_WAITING, "while seven wait" in text) == (7, True)
    assert f"due within {DUE_WITHIN.days} days" in text


def test_the_map_has_every_package_once_and_no_other():
    shown = [
        words(row[0])[0] for row in rows(part("Want to add something? Start here"))
    ]
    built = [path.parent.name for path in ROOT.glob("lib/*/__init__.py")]
    assert sorted(shown) == sorted(built)


DOCUMENTS = (
    "README.md",
    "CHANGELOG.md",
    "settings.cfg.example",
    "state/README.md",
    "docs/mails.md",
)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_names_no_machine_and_no_host_but_examples(name):
    text = (ROOT / name).read_text("utf-8")
    assert not re.search(r"(?<![\w.])/(root|home|work|tmp/\w)", text)
    hosts = re.findall(r"\b(?:[\w-]+\.)+(?:com|org|net|io|dev|de)\b", text)
    known = {"gmail.com", "smtp.gmail.com", "imap.gmail.com", "myaccount.google.com"}
    examples = r"(.*\.)?example\.(com|org)"
    assert [one for one in hosts if not re.fullmatch(examples, one)] == [
        one for one in hosts if one in known
    ]
    numbers = re.findall(r"\b\d+\.\d+\.\d+\.\d+\b", text)
    assert {one for one in numbers if not one.startswith("127.")} <= {"0.0.0.0"}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_links_to_what_is_there(name):
    text = (ROOT / name).read_text("utf-8")
    titles = {
        re.sub(r"[^\w -]", "", title).lower().replace(" ", "-")
        for title in re.findall(r"(?m)^#+ (.*)$", text)
    }
    for link in re.findall(r"\]\((?!https://)([^)]+)\)", text):
        path, _hash, title = link.partition("#")
        assert (ROOT / name).parent.joinpath(path).exists(), link
        assert not title or title in titles, link
    for path in re.findall(r"`((?:lib|jobs|tests)/[\w/]+\.\w+)`", text):
        assert (ROOT / path).exists(), path


def test_the_commands_of_readme_are_targets_of_the_makefile():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    named = set(re.findall(r"`make (\w+)`", README))
    assert {"run", "test"} <= named
    for target in named:
        assert re.search(rf"(?m)^{target}:", makefile)


# CHANGELOG.md.


def test_the_first_changes_are_those_of_this_version():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", "utf-8")
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    version, changes = re.findall(r"(?ms)^## (\S+)\n(.*?)(?=^## |\Z)", text)[0]
    assert version == setup["metadata"]["version"]
    assert f"version {version}" in README
    assert re.search(r"(?m)^- ", changes)


def test_a_change_says_whether_it_is_new_changed_or_fixed():
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    for line in re.findall(r"(?m)^- (.*)$", text):
        assert re.match(r"(New|Changed|Fixed): \S", line), line

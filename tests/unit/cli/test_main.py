"""What a person types: tables, errors, exit codes; nothing remembered, nothing sent."""

from __future__ import annotations

import configparser
import os
import shlex
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lib.cli import main
from lib.cli.arguments import read, read_plain_order
from lib.cli.show import SLOTS
from lib.core.enums import Status
from lib.core.jobs import KIND_FILES, JobKey
from lib.core.records import Record
from lib.storage.store import State
from tests.support.approved import MOMENT, REAL
from tests.support.instance import CHECKER, Instance, Ran, flag_job
from tests.support.listeners import closed_port
from tests.support.program import our_program
from tests.support.servers import PASSWORD, SmtpServer
from tests.support.terminal import all_of

FULL = "[disk full]\npath = /\nlimit = 1\nevery = minute\n"
OK = "[disk root]\npath = /\nlimit = 100\n"
#: For approved tables: when it was, how full the disk is; columns are as wide as those.
OF_THIS_MACHINE = {
    MOMENT: "MOMENT",
    r"for \d+ seconds?": "for N seconds",
    r"used is \d+%": "used is N%",
    r"\S+ GB of \S+ GB": "N GB of N GB",
    r" {2,}": "  ",
    r"─+": "─",
}


@pytest.fixture
def instance(tmp_path):
    return Instance(tmp_path)


def run_checker(*arguments):
    """Run it with nothing but these words, not even the path of settings."""
    return Ran(*our_program().run(list(arguments), {}))


# The command line.


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["-m", "crown"],
        ["-m", "completion"],
        ["-m", "completion", "fish"],
        ["-m", "cron"],
        ["-m", "cron", "-c", "often"],
        ["-m", "list", "-c", "day"],
        ["-m", "list", "disk"],
        ["-m", "status", "--failing"],
        ["-m", "run", "x", "--tag", "y"],
        ["-m", "run"],
        ["-m", "testmail", "a@b.c", "d@e.f"],
        ["-m", "crontab", "--json"],
        ["-m", "cron", "-c", "day", "--stat", "x"],
        ["-m", "validate", "--settings", "x"],
    ],
)
def test_a_wrong_command_line_is_exit_code_2_and_one_clear_line(arguments, approved):
    ran = run_checker(*arguments)
    assert (ran.code, ran.out) == (2, "")
    # Pythons quote the choices differently.
    approved(ran.err.splitlines()[-1], hide={r" \(choose from .*": ""})


def test_help_names_every_mode():
    shown = run_checker("-h").out
    for mode in ("cron", "list", "run NAME...", "validate", "testmail", "crontab"):
        assert f"-m {mode} " in shown


def test_the_version_is_that_of_the_package():
    setup = configparser.ConfigParser()
    setup.read(CHECKER.parent / "setup.cfg", "utf-8")
    ran = run_checker("--version")
    python = ".".join(map(str, sys.version_info[:3]))
    expected = f"Checker {setup['metadata']['version']}, Python {python}\n"
    assert ran == Ran(0, expected, "")


# list


def test_list_shows_every_job_with_policy_contact_and_status(instance, approved):
    instance.add(FULL + OK + "contact = ops2@example.com\nnotify = day\n")
    instance.cron()
    ran = instance.run("-m", "list")
    approved(ran.out, hide=OF_THIS_MACHINE)
    assert ran.code == 0


@pytest.mark.long
def test_list_shows_what_is_asked_for(instance, approved):
    instance.add(FULL + "tags = web\n" + OK + "tags = web, db\nevery = minute\n")
    instance.cron()

    def names(*flags):
        return [
            row["job"] for row in instance.run("-m", "list", "--json", *flags).json()
        ]

    assert names("--failing") == ["disk full"]
    assert names("--tag", "web") == ["disk full", "disk root"]
    assert names("--tag", "web", "--tag", "db") == ["disk root"]
    shown = instance.run("-m", "list", "--tag", "db", "--failing")
    assert (shown.code, shown.out.splitlines()[0]) == (
        0,
        "No job with the tag db is failing or unknown.",
    )
    assert "DiskSpace.py" in instance.run("-m", "list", "--files").out
    assert "DiskSpace.py" not in instance.run("-m", "list").out
    wrong = instance.run("-m", "list", "--tag", "wep")
    assert wrong.code == 1
    approved(wrong.err)


def test_list_calls_ok_only_what_has_run(instance):
    instance.add(OK)
    first = instance.run("-m", "list", "--json").json()[0]
    instance.cron()
    second = instance.run("-m", "list", "--json").json()[0]
    assert (first["status"], second["status"]) == ("not_run_yet", "ok")


def test_list_names_a_channel_that_fails(instance):
    instance.add(OK)
    since = datetime(2026, 11, 29, 12, tzinfo=UTC)
    oncall = Record(
        JobKey.of_way("oncall"),
        "channel oncall",
        status=Status.FAILING,
        failing_since=since,
    )
    State(instance.state).save([oncall])
    besides = "Besides, channel oncall is failing; see -m status."
    assert besides in instance.run("-m", "list").out.splitlines()
    shown = instance.run("-m", "list", "--failing").out.splitlines()
    assert shown[:2] == ["No job is failing or unknown.", besides]


def test_list_names_files_that_will_not_load_and_files_that_are_no_jobs(
    instance, approved
):
    instance.job("Broken", "(")
    instance.job("Helper", "x = 1")
    out = instance.run("-m", "list").out
    approved(out, hide=OF_THIS_MACHINE)


def test_json_is_json_and_nothing_else(instance):
    instance.add(FULL)
    instance.job("Helper", "x = 1")
    (row,) = instance.listed()
    assert (row["job"], row["every"]) == ("disk full", "minute")


def test_list_does_not_ask_for_the_password(instance):
    marker = instance.folder / "asked"
    instance.write(
        instance.settings.read_text().replace(
            "nomail = True",
            f"smtpserver = mail.example.com\nuser = u\npass_command = touch {marker}",
        )
    )
    assert instance.run("-m", "list").code == 0
    assert not marker.exists()


# run


@pytest.mark.long
def test_a_job_that_is_not_enabled_is_listed_and_not_run(instance):
    instance.add(FULL.replace("disk full", "disk off") + "enabled = no\ntags = a, b\n")
    assert instance.cron("minute", "--nomail").silent
    (row,) = [
        row
        for row in instance.run("-m", "list", "--json").json()
        if row["job"] == "disk off"
    ]
    assert (row["status"], row["tags"]) == ("disabled", ["a", "b"])
    assert instance.run("-m", "run", "disk o*").out == ""
    (ran,) = instance.run("-m", "run", "disk off", "--json").json()
    assert ran["status"] == "failing"


def test_what_was_measured_last_is_listed(instance):
    instance.add(OK)
    assert instance.cron("hour", "--nomail").silent
    row, *_rest = instance.run("-m", "list", "--json").json()
    assert row["values"]["used"]["unit"] == "%" and row["values"]["free"]["number"] > 0
    (instance.state / "values.json").write_text("damaged")
    row, *_rest = instance.run("-m", "list", "--json").json()
    assert (row["status"], row["values"]) == ("ok", {})


def test_the_kinds_and_the_options_of_one_are_shown(instance):
    instance.add(OK)
    rows = instance.run("-m", "kinds", "--json").json()
    assert [row["kind"] for row in rows] == sorted(KIND_FILES)
    shown = instance.run("-m", "kinds", "disk")
    assert "also limit" in shown.out and "90%" in shown.out and shown.code == 0
    wrong = instance.run("-m", "kinds", "disc")
    assert (wrong.code, wrong.err) == (
        1,
        "checker: there is no kind 'disc'; did you mean 'disk'?\n",
    )


def test_run_shows_status_reason_and_time_and_keeps_nothing(instance):
    instance.add(FULL + OK)
    ran = instance.run("-m", "run", "disk *", "--json")
    rows = {row["job"]: row for row in ran.json()}
    assert rows["disk root"]["status"] == "ok"
    assert rows["disk full"]["status"] == "failing"
    assert "over fail_percent = 1%" in rows["disk full"]["reason"]
    used = rows["disk full"]["values"]["used"]
    assert (used["unit"], used["fail"]) == ("%", {"low": None, "high": 1})
    assert rows["disk full"]["seconds"] >= 0
    assert ran.code == 1
    assert list(instance.state.iterdir()) == []


def test_run_calls_no_hook_and_sends_nothing(tmp_path, ca, cafile):
    with SmtpServer(ca) as smtp:
        instance = Instance(tmp_path, smtp.email_section(cafile))
        hook = "    def onFailure(self):\n        open('/', 'w')\n"
        instance.job("Flag", flag_job(tmp_path / "flag", hook))
        assert "the flag is down" in instance.run("-m", "run", "Flag").out
        assert smtp.sessions == 0


@pytest.mark.long
def test_run_gives_a_job_its_memory_and_keeps_what_it_had(instance):
    instance.job(
        "Flag",
        flag_job(instance.folder / "flag").replace(
            "        if not",
            "        self.memory['n'] = self.memory.get('n', 0) + 1\n"
            "        print('run', self.memory['n'])\n"
            "        if not",
        ),
    )
    instance.cron()
    assert "run 2" in instance.run("-m", "run", "Flag").out
    assert "run 2" in instance.run("-m", "run", "Flag").out


def test_run_names_what_matches_nothing_and_what_is_near(instance, approved):
    instance.add(OK)
    ran = instance.run("-m", "run", "disk rot", "disk r*")
    assert ran.code == 1
    approved(ran.err)
    assert "disk root" in ran.out


def test_run_shows_the_traceback_of_a_job_that_raises(instance):
    instance.job(
        "Flag",
        flag_job(instance.folder / "x").replace("raise CheckFailed", "raise OSError"),
    )
    out = instance.run("-m", "run", "Flag").out
    assert "OSError: the flag is down" in out
    assert 'Flag.py", line ' in out


# validate


def test_validate_shows_every_problem_and_exits_1(instance, approved):
    instance.add("[http home]\nurl = ftp://x\nexpect_txt = y\n[htpp z]\n[odd]\n")
    instance.job("Broken", "import nothing_of_that_name")
    instance.job("Open", "").chmod(0o666)
    ran = instance.run("-m", "validate")
    assert ran.code == 1
    approved(ran.out)
    assert "Traceback" not in ran.out + ran.err


@pytest.mark.long
def test_validate_names_each_service_that_apprise_cannot_use(instance, approved):
    pytest.importorskip("apprise")
    instance.add(
        "[channel odd]\nurl = nosuch://canary4711token json://example.invalid/\n"
        "[channel push]\nurl = ntfys://host.example.com\n"
        "[channel good]\nurl = ntfys://host.example.com/topic\n"
        "[channel two]\nurl = ntfys://host.example.com/topic?to=other\n"
        "[channel both]\nurl = matrix://a:b@example.com/x/y?mode=slack\n"
    )
    ran = instance.run("-m", "validate")
    assert (ran.code, ran.err) == (1, "")
    approved(ran.out)


QUEUES = """\
from lib.jobbase import TargetJob

class Queues(TargetJob):
    kind = "queue"

    def check(self, target, deadline):
        return {}
"""


def test_validate_names_each_section_that_is_about_no_job(instance, approved):
    instance.job("Flag", flag_job(instance.folder / "flag"))
    instance.job("Queues", QUEUES)
    names = (
        "Flag",
        "EmailChecker",
        "Flga",
        "disk root",
        "Queues",
        "queue a",
        "DiskSpace",
    )
    instance.add(OK + "[queue a]\n")
    instance.add("".join(f"[job {name}]\nfailures = 2\n" for name in names))
    instance.add("[page]\npublic = nosuch\n")
    # The failing job of its section is none that it could be about.
    instance.add("[job Zebra]\nnotify = daily\n")
    ran = instance.run("-m", "validate")
    assert ran.code == 1
    approved(ran.out)
    # It may be the name of one of its jobs.
    instance.job("Broken", "import nothing_of_that_name")
    out = instance.run("-m", "validate").out
    assert "Flga" not in out and "[disk root] is a section itself" in out


def test_validate_executes_no_job_that_waits_for_a_run(instance, tmp_path):
    asks = 'open("{}", "a").write("x")\n        raise CheckPending("at work")'
    instance.job(
        "Slow",
        "from lib.jobbase import CheckPending, JobBase, JobFrequency\n\n\n"
        "class Slow(JobBase):\n"
        "    def executeEvery(self):\n        return JobFrequency.MINUTE\n\n"
        "    def execute(self):\n        " + asks.format(tmp_path / "asked") + "\n",
    )
    instance.run("-m", "cron", "-c", "minute")
    ran = instance.run("-m", "validate")
    assert (ran.code, "Slow" in ran.out) == (0, False)
    assert (tmp_path / "asked").read_text() == "x"


def test_validate_of_settings_that_stop_every_run_shows_all_of_it(instance, approved):
    instance.write("[general]\nservername = x\n[email]\nsmtpport = 0\n[http x]\n")
    rows = instance.run("-m", "validate", "--json").json()
    texts = [row["text"] for row in rows]
    approved(texts)


def test_what_stops_every_run_hides_no_wrong_target_of_validate(instance, approved):
    instance.job("Queues", QUEUES)
    instance.add("[disk a]\nlimit = x\n[queue a]\nlimit = x\n[od]\n")
    settings = instance.settings.read_text().replace("= web1", "= web1\ntimezone = x")
    instance.write(settings)
    approved(instance.run("-m", "validate").out, "validate")
    # A run says what stops it, and nothing else.
    approved(instance.cron().err, "a run")


def test_what_others_may_have_written_is_not_carried_out(instance):
    ran = instance.folder / "ran"
    command = f"touch {ran}"
    instance.job("Odd", f"open({str(ran)!r}, 'w')\n")
    instance.write(
        f"[general]\nservername = x\nalertcontact = a@b.example\n"
        f"jobs = {instance.jobs}\n"
        "[email]\nsmtpserver = localhost\nuser = a@b.example\n"
        f"pass_command = {command}\n"
        f"[peers]\na = http://a.example/,a@b.example,key_command={command}\n"
    )
    for mode, runs in ((0o666, False), (0o600, True)):
        instance.settings.chmod(mode)
        instance.run("-m", "validate")
        assert ran.exists() is runs


def test_validate_of_an_instance_in_order_says_so(instance, approved):
    instance.add(OK)
    ran = instance.run("-m", "validate")
    assert ran.code == 0
    approved(ran.out)


def test_validate_names_a_missing_state_folder(instance, approved):
    instance.state.rmdir()
    ran = instance.run("-m", "validate")
    assert ran.code == 1
    approved(ran.out)


@pytest.mark.parametrize("words", ["list", "status", "why disk*"])
def test_a_missing_state_folder_is_no_news_about_jobs(instance, words, approved):
    instance.add(OK)
    instance.state.rmdir()
    ran = instance.run("-m", *words.split())
    approved(ran.err)
    assert not instance.state.exists()


def test_a_wrong_folder_on_the_command_line_is_named_as_such(instance, tmp_path):
    command = ["-m", "validate", "--jobs", str(tmp_path / "typo"), "--json"]
    (row,) = instance.run(*command).json()
    assert (row["file"], row["section"], row["severity"]) == (
        "--jobs",
        "general",
        "error",
    )


@pytest.mark.parametrize("mode", ["list", "validate"])
def test_where_mail_is_not_set_up_the_last_line_is_the_next_step(
    tmp_path, mode, approved
):
    instance = Instance(tmp_path, OK)
    ran = instance.run("-m", mode)
    assert ran.code == 0
    approved(ran.out.splitlines()[-1])


# testmail


def test_testmail_sends_one_real_mail_and_shows_each_step(
    tmp_path, ca, cafile, approved
):
    with SmtpServer(ca) as smtp:
        instance = Instance(tmp_path, smtp.email_section(cafile))
        ran = instance.run("-m", "testmail", "me@example.com")
        (mail,) = smtp.wait_for(1)
    assert mail.to == ("me@example.com",)
    approved(mail.subject)
    for step in ("STARTTLS", "certificate verified", "logged in", "RCPT TO"):
        assert step in ran.out
    assert PASSWORD not in ran.out + ran.err
    assert ran.code == 0
    assert list(instance.state.iterdir()) == []


def test_testmail_that_is_refused_says_at_which_step_and_exits_1(
    tmp_path, ca, cafile, approved
):
    with SmtpServer(ca) as smtp:
        smtp.password = "another"
        instance = Instance(tmp_path, smtp.email_section(cafile))
        ran = instance.run("-m", "testmail")
    assert ran.code == 1
    approved(ran.err)
    assert "535" in ran.err


def test_testmail_to_a_server_that_is_not_there_names_it(tmp_path):
    port = closed_port()
    settings = f"[email]\nsmtpserver = 127.0.0.1\nsmtpport = {port}\n"
    ran = Instance(tmp_path, settings).run("-m", "testmail")
    assert ran.code == 1
    assert f"127.0.0.1:{port}" in ran.err
    assert "refused" in ran.err


def test_testmail_wants_a_mail_address(instance, approved):
    ran = instance.run("-m", "testmail", "me at example")
    assert ran.code == 2
    approved(ran.err)


def test_testmail_without_a_mail_server_says_what_to_set(tmp_path, approved):
    ran = Instance(tmp_path, "").run("-m", "testmail")
    assert ran.code == 1
    approved(ran.err)


@pytest.mark.parametrize("given", [(), ("me@example.com",)])
def test_testmail_with_nomail_says_that_nothing_was_sent_and_no_more(
    instance, given, approved
):
    ran = instance.run("-m", "testmail", *given)
    (whom,) = given or ("ops@example.com",)
    said = f"Nothing was sent: nomail is set, so the mail to {whom} is in the log."
    assert (ran.code, ran.out, ran.err) == (0, f"{said}\n", "")
    log = (instance.state / "checker.log").read_text()
    approved(log, hide=REAL)


def test_testmail_with_the_flag_nomail_tries_neither_account(tmp_path):
    settings = """\
[email]
smtpserver = 127.0.0.1
smtpport = 1
[email backup]
smtpserver = 127.0.0.1
smtpport = 1
"""
    ran = Instance(tmp_path, settings).run("-m", "testmail", "--nomail")
    said = "Nothing was sent: --nomail was given, so the mail to ops@example.com "
    assert (ran.code, ran.out) == (0, f"{said}is in the log.\n")


def test_testmail_that_some_did_not_get_says_so(tmp_path, ca, cafile, approved):
    with SmtpServer(ca) as smtp:
        smtp.answer_rcpt = lambda who: "550 5.1.1 no" if "gone" in who else None
        instance = Instance(tmp_path, smtp.email_section(cafile))
        ran = instance.run("-m", "testmail", "me@example.com, gone@example.com")
    assert ran.code == 1
    approved(ran.err)


# crontab


def test_the_crontab_lines_run_as_they_are(tmp_path):
    folder = tmp_path / '50% of it\'s "odd"'
    folder.mkdir()
    instance = Instance(folder)
    instance.add(FULL)
    lines = instance.run("-m", "crontab").out.splitlines()
    assert len(lines) == 4
    fields, command = lines[0].split(maxsplit=5)[:5], lines[0].split(maxsplit=5)[5]
    assert " ".join(fields) == SLOTS["minute"]
    # What cron does with a line: an escaped % is a %, and /bin/sh gets the rest.
    ran = subprocess.run(
        ["/bin/sh", "-c", command.replace("\\%", "%")],
        env={"HOME": "/", "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin"},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    assert instance.last_run()["failing"] == 1


def test_the_crontab_lines_are_absolute_and_redirect_nothing(tmp_path):
    instance = Instance(tmp_path)
    for line in instance.run("-m", "crontab").out.splitlines():
        assert ">" not in line
        command = shlex.split(line.split(maxsplit=5)[5])
        paths = [word for word in command if "/" in word]
        assert all(Path(path).is_absolute() for path in paths)


# The door.


@pytest.mark.long
def test_a_python_without_the_libraries_goes_on_with_the_venv_beside(
    tmp_path, approved
):
    checkout = tmp_path / "check out"
    root = CHECKER.parent
    checkout.mkdir()
    shutil.copy(CHECKER, checkout)
    for name in ("lib", "jobs"):
        shutil.copytree(root / name, checkout / name)
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    command = [bare / "bin/python", checkout / "checker.py", "-h"]
    ran = subprocess.run(command, capture_output=True, text=True, env={})
    assert ran.returncode == 1
    approved(ran.stderr)
    assert len(ran.stderr.splitlines()) == 1
    (checkout / ".venv").symlink_to(sys.prefix)
    ran = subprocess.run(command, capture_output=True, text=True, env={})
    assert ran.returncode == 0, ran.stderr


@pytest.mark.long
def test_a_reader_that_has_seen_enough_is_no_error(instance):
    for number in range(400):
        instance.add(f"[disk d{number}]\npath = /\n")
    command = shlex.join(instance.command("-m", "list"))
    ran = subprocess.run(
        ["/bin/sh", "-c", f"{command} | head -1"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.stderr == ""


@pytest.mark.long
def test_tables_are_for_people_on_a_terminal(instance):
    import pty

    instance.add(FULL)
    instance.cron()
    master, slave = pty.openpty()
    process = subprocess.Popen(
        instance.command("-m", "list"),
        stdout=slave,
        stderr=slave,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"},
    )
    os.close(slave)
    shown = all_of(master)
    assert process.wait(timeout=30) == 0
    assert b"disk full" in shown
    assert "─".encode() in shown or b"\x1b[" in shown


def test_json_of_list_can_be_read_by_machines(instance):
    instance.add(FULL)
    instance.cron()
    (row,) = instance.listed()
    assert row["status"] == "failing"
    assert row["failing_since"].endswith("+00:00")


def test_list_does_not_call_a_job_ok_whose_record_was_lost(instance):
    instance.add(FULL)
    instance.cron()
    next((instance.state / "jobs").iterdir()).write_text("{")
    (row,) = instance.listed()
    assert row["status"] == "unknown"


@pytest.mark.parametrize(
    "line",
    [
        "-m cron -c minute",
        "-m cron -c day_noon -v -d --nomail",
        "-m cron -c hour -f a.cfg --jobs x --jobs y --state z -v",
        "-m cron -c minute -f a.cfg -f b.cfg",
    ],
)
def test_what_cron_says_is_read_alike_with_and_without_argparse(line):
    plain = read_plain_order(line.split())
    assert vars(plain) == vars(read(line.split(), main.MODES))


@pytest.mark.parametrize(
    "line",
    [
        "",
        "-m list",
        "-c minute -m cron",
        "-m cron -c week",
        "-m cron -c",
        "-m cron -c minute -f",
        "-m cron -c minute -f -v",
        "-m cron -c minute --json",
        "-m cron -c minute word",
        "-m cron -c minute --state=x",
    ],
)
def test_any_other_line_is_left_to_argparse(line):
    assert read_plain_order(line.split()) is None


@pytest.mark.parametrize("name", main.MODES)
def test_every_mode_is_carried_out_by_a_function_that_is_there(name):
    assert callable(main.function_of(main.MODES[name]))

"""[command NAME] with real programs: each state, and nothing left when it is over."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import lib.plugins.command
from jobs.CommandChecker import CommandChecker
from lib.core.enums import Status
from lib.core.jobs import JobFile
from lib.core.secret import Secrets
from lib.plugins.discover import discover
from lib.plugins.kind import KindTable
from lib.system.process import start, wait
from tests.support import fakes
from tests.support.listeners import found_by, job_of, result_of
from tests.support.waits import SOON_S


def script(folder: Path, text: str, mode: int = 0o755) -> Path:
    path = folder / "program"
    path.write_text(text)
    path.chmod(mode)
    return path


def is_alive(pid: int) -> bool:
    """Return whether a process runs; one that nobody has waited for does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def is_fastened(pid: int) -> bool:
    """Return whether one of its descriptors sends a signal when it can be read."""
    infos = [path.read_text() for path in Path(f"/proc/{pid}/fdinfo").iterdir()]
    flags = [re.search("flags:\\s*([0-7]+)", info)[1] for info in infos]
    return any(int(one, 8) & 0o20000 for one in flags)


def advice_of(**options: object) -> list[str]:
    target = job_of(CommandChecker, **options).target
    found = CommandChecker.advice(target, Path("/"))
    return [f"{'warning: ' * warns}{name}: {text}" for name, text, warns in found]


#: Options with which a target is OK, and such with which it is not.
CASES = {
    "command": ({"command": "true"}, {"command": "false"}),
    "shell": (
        {"command": 'test "$HOME" -a 1 | true', "shell": "yes"},
        {"command": "true | false", "shell": "yes"},
    ),
    "environment": (
        {"command": 'sh -c \'test "$A" = "1 2"\'', "environment": "A=1 2\n  B=3"},
        {"command": 'sh -c \'test "$A" = "1 2"\'', "environment": "B=3"},
    ),
    "password": (
        {"command": "sh -c 'test \"$CHECKER_PASSWORD\" = word'", "password": "word"},
        {"command": "sh -c 'test \"$CHECKER_PASSWORD\" = word'", "password": "other"},
    ),
    "cwd": (
        {"command": "sh -c 'test $PWD = /usr'", "cwd": "/usr"},
        {"command": "sh -c 'test $PWD = /usr'"},
    ),
    "exit_ok": (
        {"command": "sh -c 'exit 4'", "exit_ok": "0, 3-5"},
        {"command": "sh -c 'exit 6'", "exit_ok": "0, 3-5"},
    ),
    "exit_warn": (
        {"command": "true", "exit_warn": "1"},
        {"command": "false", "exit_warn": "1"},
    ),
    "expect_text": (
        {"command": "echo well done", "expect_text": "well"},
        {"command": "echo well done", "expect_text": "Well"},
    ),
    "reject_text": (
        {"command": "sh -c 'echo well >&2'", "reject_text": "bad"},
        {"command": "sh -c 'echo bad >&2'", "reject_text": "bad"},
    ),
    "expect_regex": (
        {"command": "printf 'a\\nb\\n'", "expect_regex": "^b$"},
        {"command": "printf 'a\\nb\\n'", "expect_regex": "^a b$"},
    ),
    "reject_regex": (
        {"command": "printf 'a\\nb\\n'", "reject_regex": "^c"},
        {"command": "printf 'a\\nb\\n'", "reject_regex": "^b"},
    ),
    "fail_time": (
        {"command": "true", "fail_time": "20s"},
        {"command": "sleep 0.05", "fail_time": "1ms"},
    ),
    "warn_time": (
        {"command": "true", "warn_time": "20s"},
        {"command": "sleep 0.05", "warn_time": "1ms"},
    ),
}


def test_each_option_has_its_case():
    table = KindTable("command", "minute", CommandChecker.options)
    secret = {f"password_{how}" for how in ("file", "env", "command")}
    assert set(table.own) - secret - {"need"} == set(CASES)


@pytest.mark.parametrize("option", CASES)
def test_each_option_turns_the_status_both_ways(option):
    well, ill = CASES[option]
    assert found_by(CommandChecker, **well) == "fine"
    assert found_by(CommandChecker, **ill) != "fine"


@pytest.mark.parametrize(
    ("command", "status", "reason"),
    [
        ("false", Status.FAILING, "ended with exit code 1"),
        (
            "sh -c 'echo it is; echo so; exit 3'",
            Status.FAILING,
            "ended with exit code 3: it is\nit is\nso",
        ),
        ("sh -c 'echo no >&2; exit 3'", Status.FAILING, "ended with exit code 3: no"),
        ("sh -c 'kill -SEGV $$'", Status.FAILING, "killed by SIGSEGV"),
        ("sh -c 'kill -KILL $$'", Status.FAILING, "killed by SIGKILL (out of memory?)"),
        (
            "no-such-program",
            Status.UNKNOWN,
            "there is no program no-such-program in PATH; give its whole path",
        ),
        ("/no/such/program", Status.UNKNOWN, "there is no program /no/such/program"),
        ("/etc", Status.UNKNOWN, "/etc is not a file"),
    ],
)
def test_what_people_read(command, status, reason):
    result = result_of(job_of(CommandChecker, command=command))
    assert (result.status, result.reason) == (status, reason)


def test_in_a_shell_what_is_not_there_is_unknown():
    words = found_by(CommandChecker, command="no-such-program", shell="yes")
    assert words.startswith("unknown: ended with exit code 127: ")


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        ("#!/bin/sh\n", 0o644, "may not be run by this user: chmod a+x "),
        ("#!/bin/sh\n", 0o757, "is not run: anybody can write it: chmod o-w "),
        ("#!/no/such/shell\n", 0o755, "cannot be started: the program that its first"),
        ("#!/bin/sh\r\necho\r\n", 0o755, "cannot be started: the program that its"),
        ("echo\n", 0o755, "cannot be started: it is neither a program of this"),
    ],
)
def test_a_program_that_cannot_run_is_unknown(tmp_path, text, mode, said):
    path = script(tmp_path, text, mode)
    words = found_by(CommandChecker, command=path)
    assert words.startswith(f"unknown: {path} {said}")


def test_a_program_in_a_folder_of_others_is_refused(tmp_path):
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    path = script(folder, "#!/bin/sh\n")
    words = found_by(CommandChecker, command=path)
    assert words.startswith(f"unknown: {path} is not run: its folder {folder}: anybody")
    # Nobody replaces the file of somebody else there.
    folder.chmod(0o1777)
    assert found_by(CommandChecker, command=path) == "fine"


def test_a_link_to_a_program_of_others_is_refused(tmp_path):
    (tmp_path / "real").mkdir()
    script(tmp_path / "real", "#!/bin/sh\n", 0o757)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "real" / "program")
    assert "anybody can write it" in found_by(CommandChecker, command=link)


def test_a_folder_that_is_missing_is_named(tmp_path):
    words = found_by(CommandChecker, command="true", cwd=tmp_path / "gone")
    assert words.startswith(f"unknown: it cannot run in the folder {tmp_path}/gone: ")


def test_what_is_under_way_at_the_deadline_is_ended():
    began = time.monotonic()
    words = found_by(CommandChecker, command="sh -c 'echo on; sleep 60'", timeout="1s")
    assert words == "timed out after 1 s\non"
    assert time.monotonic() - began < SOON_S


def test_a_program_may_tidy_up_at_the_deadline(tmp_path):
    mark = tmp_path / "tidy"
    path = script(
        tmp_path,
        # No process has to begin for it, which takes its time on a busy machine.
        f"#!/bin/sh\ntrap ': >{mark}; exit' TERM\nsleep 30 & wait\n",
    )
    assert "timed out" in found_by(CommandChecker, command=path, timeout="1s")
    assert mark.exists()


def test_sigterm_is_not_the_last_word():
    command = "trap '' TERM; sleep 30; sleep 30"
    words = found_by(CommandChecker, command=command, shell="yes", timeout="500ms")
    assert words == "timed out after 0.5 s"


#: Each leaves a process behind, and prints its number.
LEFT = {
    "in its group": "sleep 30 & echo $!",
    "in a session of its own": "setsid sh -c 'echo $$; : >$B; exec sleep 30' & ",
    "without its output": "setsid sh -c 'echo $$; exec >&- 2>&-; : >$B; sleep 30' & ",
    "twice removed": "setsid sh -c 'setsid sh -c \"echo \\$\\$; : >\\$B; "
    "exec sleep 30\" &' & ",
}
#: It has said so.
HAS_BEGUN = "while [ ! -e $B ]; do sleep 0.01; done"


@pytest.mark.skipif(sys.platform != "linux", reason="orphans are found on Linux only")
@pytest.mark.parametrize("how", LEFT)
@pytest.mark.parametrize("is_late", [False, True])
def test_nothing_is_left_behind(how, is_late, tmp_path):
    command = LEFT[how]
    if "$B" in command:
        command = f"export B='{tmp_path}/begun'; {command}{HAS_BEGUN}"
    command += "; sleep 30" if is_late else ""
    result = result_of(
        job_of(
            CommandChecker,
            command=command,
            shell="yes",
            timeout="1s" if is_late else "20s",
            expect_regex="no such thing",
        )
    )
    pid = int(result.reason.splitlines()[1])
    assert not is_alive(pid)


def test_what_ends_soon_may_write_to_the_end():
    command = "(sleep 0.1; echo the end) & exit 0"
    options = {"command": command, "shell": "yes", "expect_text": "the end"}
    assert found_by(CommandChecker, **options) == "fine"


def test_the_beginning_of_endless_output_is_kept():
    words = found_by(
        CommandChecker, command="head -c 3000000 /dev/zero", expect_text="end"
    )
    assert words.startswith("'end' is not in the first part of the output\n")


def test_a_program_that_writes_without_end_is_ended(monkeypatch):
    monkeypatch.setattr(lib.plugins.command, "MAX_READ", 3 * 1024 * 1024)
    words = found_by(CommandChecker, command="yes", timeout="20s")
    assert words.startswith("wrote more than 3 MB, and was ended\ny\n")


def test_signals_are_as_a_program_expects_them():
    """A worker resets them, whoever ignored or blocked them before."""
    words = []

    def work(emit):
        found = found_by(
            CommandChecker, command="grep Sig /proc/self/status", expect_text="no"
        )
        emit(found)

    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        child = start(work)
        while not child.has_ended():
            wait([child], 1.0)
            words += child.frames()
        words += child.frames()
    finally:
        signal.signal(signal.SIGUSR1, before)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        child.end()
    masks = dict(line.split(":") for line in words[0].splitlines()[1:])
    assert int(masks["SigBlk"], 16) == 0
    # The C library has 32 and 33 for itself, and lets nobody change them.
    assert int(masks["SigIgn"], 16) & ~(0b11 << 31) == 0


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can do it")
def test_a_program_dies_with_the_process_that_started_it(tmp_path):
    number = tmp_path / "pid"
    path = script(
        tmp_path,
        f"#!/bin/sh\necho $$ >{number}.new\nmv {number}.new {number}\nsleep 30\n:\n",
    )
    code = (
        "from tests.support.listeners import found_by\n"
        "from jobs.CommandChecker import CommandChecker\n"
        f"found_by(CommandChecker, command={str(path)!r})\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[3]
    )
    ends_at = time.monotonic() + 20
    while not number.exists() and time.monotonic() < ends_at:
        time.sleep(0.01)
    pid = int(number.read_text())
    # It may be quicker than the process that starts it.
    while not is_fastened(pid) and time.monotonic() < ends_at:
        time.sleep(0.01)
    process.kill()
    process.wait()
    while is_alive(pid) and time.monotonic() < ends_at:
        time.sleep(0.01)
    assert not is_alive(pid)


def test_many_wait_side_by_side():
    jobs = [job_of(CommandChecker, command="sleep 1.5") for _ in range(40)]
    began = time.monotonic()
    done = [
        answer
        for answer in CommandChecker.check_many(
            jobs, lambda group: [job._deadline() for job in group]
        )
        if answer is not None
    ]
    assert len(done) == 40
    assert all(isinstance(values, dict) for _job, values in done)
    assert time.monotonic() - began < SOON_S


def test_no_descriptor_is_left_open():
    found_by(CommandChecker, command="true")
    before = len(os.listdir("/proc/self/fd"))
    for command in ("true", "no-such-program", "sleep 9"):
        found_by(CommandChecker, command=command, timeout="200ms")
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"command": "true"}, []),
        ({"command": "echo a | true", "shell": "yes"}, []),
        (
            {"command": "no-such-program"},
            [
                "command: there is no program no-such-program in PATH; give its whole "
                "path"
            ],
        ),
        ({"command": "true", "cwd": "/no/such"}, ["cwd: there is no folder /no/such"]),
        (
            {"command": "echo a | cat"},
            [
                "warning: command: no shell reads this, so | is an argument; say shell "
                "= yes"
            ],
        ),
        (
            {"command": "echo a >/dev/null"},
            [
                "warning: command: no shell reads this, so >/dev/null is an argument; "
                "say shell = yes"
            ],
        ),
        ({"command": "echo '<title>' '<a@example.com>' '<>'"}, []),
        (
            {"command": "cat <list"},
            [
                "warning: command: no shell reads this, so <list is an argument; say "
                "shell = yes"
            ],
        ),
        (
            {"command": "cronic true"},
            [
                "warning: command: cronic always ends with 0, whatever failed; run the "
                "inner command"
            ],
        ),
    ],
)
def test_validate_says_what_is_hardly_meant(options, said):
    # One that is not installed here is said to be missing, too.
    found = [line for line in advice_of(**options) if "program cronic" not in line]
    assert found == said


def test_validate_names_the_line_of_a_program_that_is_missing():
    ini = fakes.ini("[command a]\ntimeout = 5s\ncommand = no-such-program\n")
    path = Path(__file__).parents[3] / "jobs" / "CommandChecker.py"
    file = JobFile(path, "CommandChecker", ships=True)
    found = discover(file, ini, (), Secrets(), advises=True).problems
    assert [str(one) for one in found] == [
        "settings.cfg:9: [command a] command: there is no program no-such-program in "
        "PATH; give its whole path"
    ]


def test_what_a_shell_reads_is_not_shown_whole():
    job = job_of(CommandChecker, command="login -p secret", shell="yes")
    assert job.shown_target() == "sh -c login ..."
    assert job_of(CommandChecker, command="login -p secret").shown_target() == "login"


def test_no_half_secret_is_left_where_a_line_is_cut():
    for at in (290, 293, 296):
        text = "x" * at + "canary-1"
        job = job_of(CommandChecker, command=f"sh -c 'echo {text}; exit 3'")
        job._checker.known_secrets = Secrets(["canary-1"])
        first = result_of(job).reason.split("\n")[0]
        assert "c" not in first.partition(": ")[2].replace("***", "")

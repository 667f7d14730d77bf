"""Where the log goes, in the program as it is started; and its file."""

from __future__ import annotations

import fcntl
import io
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lib.system.log import LogFile
from tests.support.approved import REAL
from tests.support.instance import GENERAL, NO_MAIL, Instance
from tests.support.kills import each_kill
from tests.support.powers import as_anybody

ROOT = Path(__file__).resolve().parents[3]

FULL = "[disk full]\npath = /\nlimit = 1\nevery = minute\n"


@pytest.fixture
def instance(tmp_path):
    return Instance(tmp_path, NO_MAIL + FULL)


def test_a_logfile_can_be_named(tmp_path):
    general = GENERAL + f"logfile = {tmp_path}/my.log\n"
    instance = Instance(tmp_path, NO_MAIL + FULL, general)
    assert instance.cron("minute", "-v").silent
    assert "INFO disk full" in (tmp_path / "my.log").read_text()
    assert not (instance.state / "checker.log").exists()


def test_d_logs_to_standard_error_and_to_no_file(instance):
    ran = instance.cron("minute", "-d")
    assert "INFO disk full: failing" in ran.err
    assert not (instance.state / "checker.log").exists()


def test_a_log_that_cannot_be_written_is_said_and_monitoring_goes_on(
    tmp_path, approved
):
    general = GENERAL + f"logfile = {tmp_path}/missing/my.log\n"
    instance = Instance(tmp_path, NO_MAIL + FULL, general)
    ran = instance.cron("minute", "-v")
    assert ran.code == 0
    approved(ran.err, hide=REAL)
    assert ran.err.count("cannot be written") <= 3
    assert instance.last_run()["failing"] == 1


def test_a_full_disk_under_the_log_costs_no_run(tmp_path):
    general = GENERAL + "logfile = /dev/full\n"
    instance = Instance(tmp_path, NO_MAIL + FULL, general)
    assert instance.cron("minute", "-v").code == 0
    assert instance.last_run()["failing"] == 1


def test_a_log_that_grew_is_moved_aside_once(instance):
    log = instance.state / "checker.log"
    log.touch()
    os.truncate(log, 11 * 1024 * 1024)
    instance.cron("minute", "-v")
    assert log.stat().st_size < 100_000
    assert (instance.state / "checker.log.1").stat().st_size > 10 * 1024 * 1024


def test_what_a_job_logs_is_not_an_error_of_checkers(instance):
    instance.job(
        "Loud",
        "import logging\nfrom lib.jobbase import *\n\n"
        "class Loud(JobBase):\n"
        "    def executeEvery(self): return JobFrequency.MINUTE\n"
        "    def execute(self):\n"
        "        logging.critical('the sky falls')\n"
        "        return True\n",
    )
    assert instance.cron().silent


# The file, whoever else writes, renames or truncates it.


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checker.log"


@pytest.fixture
def said():
    return io.StringIO()


@pytest.fixture
def opened(path, said):
    """Return a function that opens the log as another process would."""
    handlers = []

    def open_log(where=path, most_bytes=1000):
        handler = LogFile(where, said, most_bytes)
        handlers.append(handler)
        return handler

    yield open_log
    for handler in handlers:
        if handler.stream is not said:
            handler.stream.close()


def write(handler, *lines):
    for line in lines:
        handler.handle(logging.makeLogRecord({"msg": line}))


def older(path):
    return path.with_name(f"{path.name}.1")


def lines_in(path):
    """Return the lines of the log and of the one before, the oldest first."""
    return [
        line
        for each in (older(path), path)
        if each.exists()
        for line in each.read_text().splitlines()
    ]


def numbered(count):
    return [f"line {number:02} {'x' * 90}" for number in range(count)]


def test_a_log_has_a_bound_and_the_newest_lines_stay(path, opened):
    write(opened(), *numbered(50))
    found = lines_in(path)
    assert found == numbered(50)[-len(found) :]
    assert len(found) > 10
    assert max(each.stat().st_size for each in (path, older(path))) <= 1000 + 99
    assert len(list(path.parent.iterdir())) == 2


def test_a_process_that_goes_on_follows_when_another_renames_the_log(path, opened):
    daemon, run = opened(), opened()
    write(daemon, "first")
    write(run, *numbered(30))
    write(daemon, "last")
    assert path.read_text().splitlines()[-1] == "last"
    assert len(list(path.parent.iterdir())) == 2


def test_of_two_that_find_the_log_full_one_renames_it(path, opened):
    write(opened(most_bytes=9999), *numbered(15))
    with open(path) as full:
        fcntl.flock(full, fcntl.LOCK_EX)
        write(opened(), "while another renames it")
        assert not older(path).exists()
    write(opened(), "renamed")
    write(opened(), "not again")
    assert path.read_text().splitlines() == ["renamed", "not again"]
    assert lines_in(path) == [
        *numbered(15),
        "while another renames it",
        "renamed",
        "not again",
    ]


@pytest.mark.parametrize("made", [True, False], ids=["create", "nocreate"])
def test_logrotate_may_rename_the_log(path, opened, made):
    handler = opened()
    write(handler, "before")
    path.rename(older(path))
    if made:
        path.touch()
    write(handler, "after")
    assert path.read_text() == "after\n"
    assert lines_in(path) == ["before", "after"]


def test_logrotate_may_truncate_the_log(path, opened):
    handler = opened()
    write(handler, *numbered(5))
    os.truncate(path, 0)
    write(handler, "after")
    assert path.read_bytes() == b"after\n"


def test_killed_at_any_step_no_line_is_lost(path, opened):
    whole = numbered(12)

    def begin():
        older(path).unlink(missing_ok=True)
        path.write_text("".join(f"{line}\n" for line in whole))

    kills = 0
    for was_killed in each_kill(begin, lambda: write(opened(), "next")):
        assert lines_in(path)[: len(whole)] == whole
        write(opened(), "later")
        assert [line for line in lines_in(path) if line != "next"] == [*whole, "later"]
        kills += was_killed
    assert kills > 2


def test_a_full_log_that_cannot_be_renamed_goes_on(path, opened, caplog, said):
    older(path).mkdir()
    write(opened(), *numbered(30))
    assert path.read_text().splitlines() == numbered(30)
    (warning,) = caplog.messages
    assert warning == f"{path} is full and cannot be renamed: Is a directory"
    assert said.getvalue() == ""


def test_a_log_in_a_folder_of_somebody_else_goes_on(tmp_path):
    folder = tmp_path / "log"
    folder.mkdir()
    path = folder / "checker.log"
    path.write_text("x" * 2000)
    folder.chmod(0o555)
    code = (
        "import logging, sys; from pathlib import Path; from lib.system.log import *;"
        "log = LogFile(Path(sys.argv[1]), sys.stderr, 1000);"
        "logging.getLogger().addHandler(log); logging.warning('goes on')"
    )
    done = subprocess.run(
        as_anybody([sys.executable, "-c", code, str(path)]),
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert path.read_text()[2000:].splitlines() == [
        f"{path} is full and cannot be renamed: Permission denied",
        "goes on",
    ]


def test_a_log_behind_a_link_is_renamed_where_it_is(path, opened, tmp_path):
    there = tmp_path / "elsewhere"
    there.mkdir()
    path.symlink_to(there / "real.log")
    write(opened(), *numbered(20))
    assert path.is_symlink()
    assert sorted(each.name for each in there.iterdir()) == ["real.log", "real.log.1"]
    found = lines_in(there / "real.log")
    assert found == numbered(20)[-len(found) :]


def test_a_log_that_fills_the_disk_goes_on_on_standard_error(opened, said, approved):
    write(opened(Path("/dev/full")), "one", "two")
    approved(said.getvalue())


@pytest.mark.parametrize("flag", ["-v", "--nomail"])
def test_a_log_that_is_standard_error_is_taken_as_it_is_meant(tmp_path, flag):
    general = GENERAL + "logfile = /dev/stderr\n"
    ran = Instance(tmp_path, NO_MAIL + FULL, general).cron("minute", flag)
    assert ran.code == 0
    assert "cannot be written" not in ran.err
    assert ("INFO disk full: failing" in ran.err) is (flag == "-v")

"""[heartbeat NAME]: from the files of a spool to a result, and to their removal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jobs.HeartbeatChecker import PRESETS, HeartbeatChecker, is_gone, remembered
from lib.core.enums import Status
from lib.core.heartbeats import Event, What, encoded
from lib.core.secret import Secrets
from lib.storage import spool
from tests.support.instance import Instance
from tests.support.listeners import job_of, result_of

ROOT = Path(__file__).resolve().parents[3]
#: Not by the name of its package: those of job files take its place.
MODULE = sys.modules[HeartbeatChecker.__module__]


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "spool"
    path.mkdir()
    return path


def write(folder, what=What.END, name="it", **facts):
    facts.setdefault("at", time.time())
    return spool.write(str(folder), encoded(Event(name, what, **facts)))


def found(folder, **options):
    job = job_of(HeartbeatChecker, period="1h", spool=folder, **options)
    return result_of(job), job


def test_what_is_read_is_remembered_and_named_for_removal(folder):
    path = write(folder, code=0, seconds=2.5)
    result, job = found(folder)
    assert result.status is Status.OK
    assert result.values["duration"].number == 2.5
    assert job._checker.consumed == (path,)
    assert list(job.memory["applied"]) == [os.path.basename(path)]
    assert os.path.exists(path)


def test_a_bad_end_is_told_with_the_last_of_the_output(folder):
    write(folder, code=2, program="restic", output="no space\n", host="web1")
    result, _job = found(folder)
    assert result.status is Status.FAILING
    assert result.reason.startswith("restic ended with 2 ")
    assert "The last of its output on web1:\nno space" in result.reason


@pytest.mark.parametrize(
    ("options", "facts", "status"),
    [
        ({"exit_ok": "0, 24"}, {"code": 24}, Status.OK),
        ({"exit_warn": "3"}, {"code": 3}, Status.WARNING),
        ({"fail_duration": "1min..2h"}, {"code": 0, "seconds": 5}, Status.FAILING),
        ({"fail_duration": "2s"}, {"code": 0, "seconds": 5}, Status.FAILING),
        ({"warn_duration": "2s"}, {"code": 0, "seconds": 5}, Status.WARNING),
        ({"expect_text": "done"}, {"code": 0, "output": "x"}, Status.FAILING),
        ({"reject_text": "(x"}, {"code": 0, "output": "a(x"}, Status.FAILING),
        ({"reject_regex": "^x"}, {"code": 0, "output": "a\nx"}, Status.FAILING),
        ({"preset": "rsync"}, {"code": 24}, Status.WARNING),
        ({"preset": "rclone"}, {"code": 9}, Status.OK),
    ],
)
def test_each_option_turns_the_status(folder, options, facts, status):
    write(folder, **facts)
    assert found(folder, **options)[0].status is status


def test_runs_side_by_side_are_trouble_if_asked_for(folder):
    for run in ("a", "b"):
        write(folder, What.START, run=run)
    assert found(folder)[0].status is Status.OK
    assert found(folder, fail_running=1)[0].status is Status.FAILING


def test_another_user_is_not_believed(folder):
    path = write(folder, code=1)
    result, job = found(folder, user="nobody")
    assert result.status is Status.OK
    assert job.memory["refused"]
    assert path not in job._checker.consumed


def test_what_is_no_event_is_removed_and_others_stay(folder):
    bad = folder / "bad.json"
    bad.write_text("{")
    other = write(folder, name="other", code=1)
    result, job = found(folder)
    assert result.status is Status.OK
    assert str(bad) in job._checker.consumed
    assert other not in job._checker.consumed


def test_a_process_that_is_gone_ended_its_run(folder):
    words = [sys.executable, str(ROOT / "checker.py"), "-m", "wrap", "it"]
    command = [*words, "--spool", str(folder), "--", "sleep", "60"]
    with subprocess.Popen(command, start_new_session=True) as process:
        try:
            while not list(folder.glob("*.json")):
                time.sleep(0.02)
            _result, job = found(folder)
            (start,) = remembered(job.memory).open
            assert not is_gone(start)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
    assert is_gone(start)


def test_a_file_that_is_touched(tmp_path, monkeypatch):
    path = tmp_path / "done"
    path.touch()
    job = job_of(HeartbeatChecker, period="1h", file=path)
    assert result_of(job).status is Status.OK
    old = time.time() - 86_400
    os.utime(path, (old, old))
    job = job_of(HeartbeatChecker, period="1min", grace="1s", file=path)
    # However short this machine has been up.
    monkeypatch.setattr(MODULE, "since_boot", lambda: 1e6)
    assert "down: no run since" in result_of(job).reason


def test_a_spool_that_is_missing_is_unknown(tmp_path):
    result, _job = found(tmp_path / "none")
    assert result.status is Status.UNKNOWN
    assert "-m 3733" in result.reason


def test_advice_names_what_hides_the_code_and_needs_the_output(folder):
    job = job_of(HeartbeatChecker, period="1h", spool=folder, preset="restic")
    (text,) = job.advice_of_last_run(job.target, {})
    assert "no run has been seen yet; write -m wrap it --output tail" in text
    last = {"name": "it", "what": "end", "at": 1.0, "through": ["cronic"]}
    texts = list(job.advice_of_last_run(job.target, {"since": 1.0, "last": last}))
    assert texts[0].startswith("cronic always ends with 0; wrap the inner command")


SAID = {
    "restic": "/srv/x does not exist, skipping",
    "borg": "Archive x not found in repository",
    "rsync": "--link-dest arg does not exist: /x",
    "rclone": "2026/11/29 ERROR : x: failed",
    "logrotate": "error: x:3 unknown option 'y' -- ignoring line",
    "apt-get": "W: Failed to fetch http://127.0.0.1:1/x  Could not connect",
    "psql": "psql:/x.sql:2: ERROR:  relation does not exist",
    "duplicity": "Errors 1",
    "zip": "zip warning: name not matched: x",
    "mariadb-check": "error    : Corrupt",
    "pg_dump": 'pg_dump: error: connection failed: FATAL: no database "x"',
    "mariadb-dump": "mysqldump: Got error: 1049: \"Unknown database 'x'\"",
    "redis-cli": "NOAUTH Authentication required.",
}


@pytest.mark.parametrize("preset", [name for name in PRESETS if PRESETS[name].words])
def test_the_words_of_a_preset_show_a_success_that_did_nothing(folder, preset):
    write(folder, code=0, output=f"begin\n{SAID[preset]}\nend\n")
    assert found(folder, preset=preset)[0].status is not Status.OK


@pytest.mark.long
def test_a_run_removes_what_it_has_kept_and_m_run_does_not(tmp_path, folder):
    there = Instance(tmp_path)
    there.add(f"[heartbeat it]\nperiod = 1h\nspool = {folder}\n")
    write(folder, code=5, output="why\n")
    there.run("-m", "run", "heartbeat it")
    assert len(os.listdir(folder)) == 1
    there.cron()
    assert os.listdir(folder) == []
    assert "'failures'" in str(there.troubled())
    write(folder, code=0)
    there.cron()
    assert os.listdir(folder) == []
    assert "'failures'" not in str(there.troubled())


@pytest.mark.parametrize("cut_at", range(1, len("canary-1")))
def test_half_a_secret_where_the_output_was_cut_is_not_kept(folder, cut_at):
    output = f"{'canary-1'[cut_at:]}\nE: {'x' * 190} canary-1\n"
    write(folder, code=0, output=output, cut=True)
    job = job_of(HeartbeatChecker, period="1h", spool=folder, preset="apt-get")
    job._checker.known_secrets = Secrets(["canary-1"])
    result = result_of(job)
    assert result.status is Status.FAILING
    # Nor where the line is cut to be shown.
    assert "canary-1"[cut_at:] + "\n" not in job.memory["last"]["output"]
    assert "canar" not in result.reason.replace("***", "")


def test_no_secret_of_the_settings_is_kept_of_an_output(tmp_path, folder):
    there = Instance(tmp_path)
    there.add(f"[heartbeat it]\nperiod = 1h\nspool = {folder}\n")
    there.add("[http x]\nurl = http://127.0.0.1:1/\npassword = canary-1\nevery = day\n")
    there.add("username = me\n")
    write(folder, code=5, output="login with canary-1\n", trouble="canary-1 fails")
    there.cron()
    (state,) = there.state.glob("jobs/heartbeat*")
    assert "login with ***" in state.read_text()
    # But for the settings, and their copy.
    copies = {there.settings, *there.state.glob("settings/*")}
    files = {path for path in tmp_path.rglob("*") if path.is_file()} - copies
    assert [path for path in files if b"canary-1" in path.read_bytes()] == []

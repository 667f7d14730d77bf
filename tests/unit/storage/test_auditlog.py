"""The audit log: what was noted is on file, the newest of it always, and is read."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lib.core.decisions import Entry, JobDetails
from lib.core.enums import Decision, Status
from lib.core.jobs import JobKey
from lib.storage import auditlog
from lib.storage.auditlog import AuditLog, reaches_back_to, read_entries
from tests.support.kills import each_kill
from tests.support.powers import as_anybody

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
KEY, NAME = JobKey("DiskSpace", "disk full"), "disk full"
ROOT = Path(__file__).resolve().parents[3]


def entry(reason="it was so", at=NOON, key=KEY, name=NAME):
    details = JobDetails(Status.FAILING, 1, reason)
    return Entry(at, key, name, Decision.FIRST_ALERT, details)


def everything(folder):
    return [one.details.reason for one in read_entries(folder, lambda key, name: True)]


def write(folder, *texts, most_bytes=10_000):
    audit_log = AuditLog(folder, (), most_bytes)
    audit_log.note(entry(text) for text in texts)
    audit_log.write()


def test_lines_are_appended_and_read_in_their_order(tmp_path):
    write(tmp_path, "one", "two")
    write(tmp_path, "three")
    assert everything(tmp_path) == ["one", "two", "three"]
    assert (tmp_path / "decisions.log").stat().st_mode & 0o777 == 0o600


def test_nothing_decided_leaves_no_file(tmp_path):
    write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_only_what_is_wanted_is_read(tmp_path):
    audit_log = AuditLog(tmp_path, ())
    audit_log.note([entry("a", key=JobKey("X", "x")), entry("b", name="other")])
    audit_log.write()
    found = read_entries(tmp_path, lambda key, name: key == JobKey("X", "x"))
    assert [one.details.reason for one in found] == ["a"]


def test_of_a_period_only_what_is_later_is_read(tmp_path):
    audit_log = AuditLog(tmp_path, ())
    moments = [NOON, NOON + timedelta(milliseconds=900), NOON + timedelta(seconds=1)]
    audit_log.note(entry(str(at), at) for at in moments)
    audit_log.write()
    found = read_entries(tmp_path, lambda key, name: True, moments[0])
    assert [one.details.reason for one in found] == [str(moments[2])]
    earlier = NOON - timedelta(seconds=1)
    assert len(read_entries(tmp_path, lambda key, name: True, earlier)) == 3


def test_how_far_the_file_reaches_back_is_known_once_lines_were_dropped(tmp_path):
    assert reaches_back_to(tmp_path) is None
    write(tmp_path, "one")
    assert reaches_back_to(tmp_path) is None
    audit_log = AuditLog(tmp_path, (), 1000)
    for number in range(20):
        at = NOON + timedelta(minutes=number)
        audit_log.note([entry(f"{number} {'x' * 100}", at)])
        audit_log.write()
    first, *_rest = read_entries(tmp_path, lambda key, name: True)
    assert reaches_back_to(tmp_path) == first.at > NOON
    older = tmp_path / "decisions.log.1"
    older.write_bytes(older.read_bytes()[5:])
    assert reaches_back_to(tmp_path) == first.at + timedelta(minutes=1)


def test_there_are_two_files_at_most_and_the_newest_lines_stay(tmp_path):
    for number in range(500):
        write(tmp_path, f"{number:03} {'x' * 200}")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["decisions.log", "decisions.log.1"]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 20_000
    found = [text[:3] for text in everything(tmp_path)]
    assert found == [f"{number:03}" for number in range(500 - len(found), 500)]
    assert len(found) > 20


def test_more_at_once_than_a_file_may_hold_keeps_the_newest(tmp_path):
    write(tmp_path, *(f"{number:03} {'x' * 200}" for number in range(500)))
    assert (tmp_path / "decisions.log").stat().st_size <= 10_000
    assert everything(tmp_path)[-1].startswith("499")


def test_after_a_line_that_was_cut_off_a_new_one_begins(tmp_path):
    write(tmp_path, "one", "two")
    path = tmp_path / "decisions.log"
    path.write_bytes(path.read_bytes()[:-9])
    write(tmp_path, "three")
    assert everything(tmp_path) == ["one", "three"]


@pytest.mark.parametrize("how", ["folder", "pipe", "link"])
def test_what_cannot_be_written_is_said_once_and_stops_nothing(
    tmp_path, caplog, how, approved
):
    path = tmp_path / "decisions.log"
    if how == "folder":
        path.mkdir()
    elif how == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(tmp_path / "elsewhere")
    audit_log = AuditLog(tmp_path, ())
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            audit_log.note([entry()])
            audit_log.write()
    (said,) = caplog.messages
    approved(said)
    assert not (tmp_path / "elsewhere").exists()


def test_ten_thousand_lines_cost_little(tmp_path):
    audit_log = AuditLog(tmp_path, ("canary",))
    audit_log.note(entry(f"number {number}") for number in range(10_000))
    began = time.process_time()
    audit_log.write()
    assert time.process_time() - began < 3
    assert len(everything(tmp_path)) == 10_000


# Renaming.


def test_killed_at_any_step_no_line_of_before_is_lost(tmp_path):
    path, older = tmp_path / "decisions.log", tmp_path / "decisions.log.1"
    before = [f"{number:02} {'x' * 100}" for number in range(4)]

    def begin():
        older.unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        write(tmp_path, *before)

    def append():
        write(tmp_path, "next", most_bytes=1000)

    steps = []
    for was_killed in each_kill(begin, append):
        steps.append((older.exists(), path.exists()))
        assert everything(tmp_path) == (before if was_killed else [*before, "next"])
        write(tmp_path, "later", most_bytes=1000)
        assert [each for each in everything(tmp_path) if each != "next"] == [
            *before,
            "later",
        ]
    # Before it, with the file renamed and no new one yet, and whole.
    assert set(steps) == {(False, True), (True, False), (True, True)}


def test_a_reader_begins_again_where_a_run_renames_the_files(tmp_path, monkeypatch):
    write(tmp_path, "one", "two")

    def rename_once_read(path):
        text = read(path)
        if path.name == auditlog.OLDER_NAME and not path.exists():
            write(tmp_path, "three", most_bytes=300)
        return text

    read = auditlog._text
    monkeypatch.setattr(auditlog, "_text", rename_once_read)
    assert everything(tmp_path) == ["one", "two", "three"]


@pytest.mark.long
def test_a_full_disk_cuts_no_line_of_before(tmp_path, caplog):
    write(tmp_path, "one")
    size = (tmp_path / "decisions.log").stat().st_size
    code = (
        "import resource, signal, sys; from pathlib import Path;"
        "from tests.unit.storage.test_auditlog import write;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size + 9}, {size + 9}));"
        "write(Path(sys.argv[1]), 'two')"
    )
    done = in_another_process([sys.executable, "-c", code, str(tmp_path)])
    assert "decisions.log cannot be written: File too large" in done.stderr
    assert everything(tmp_path) == ["one"]
    write(tmp_path, "three")
    assert everything(tmp_path) == ["one", "three"]


@pytest.mark.long
def test_a_folder_that_is_read_only_costs_the_new_lines_only(tmp_path):
    write(tmp_path, "one", "two")
    tmp_path.chmod(0o555)
    code = (
        "import sys; from pathlib import Path;"
        "from tests.unit.storage.test_auditlog import write;"
        "write(Path(sys.argv[1]), 'three', most_bytes=300)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = in_another_process(as_anybody(command))
    tmp_path.chmod(0o755)
    assert "decisions.log cannot be written: Permission denied" in done.stderr
    assert everything(tmp_path) == ["one", "two"]


def in_another_process(command):
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=30
    )

"""What the older program remembered is read once, line by line."""

from __future__ import annotations

import base64
import logging
import os
from datetime import UTC, datetime

import pytest

from lib.core.enums import JobFrequency
from lib.core.jobs import Job, JobKey, OldEntry
from lib.core.policy import unmatched
from lib.core.records import RunRecord
from lib.runner.upgrade import read_old_state, read_once

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECONDS = NOON.timestamp()


def line(name: str, rest: str) -> str:
    return f"{base64.b64encode(name.encode()).decode()}|{rest}\n"


def job(formerly: str) -> Job:
    return Job(JobKey("K", "k"), "n", "f.py", JobFrequency.HOUR, formerly=formerly)


@pytest.fixture
def statefile(tmp_path):
    return tmp_path / "statefile"


@pytest.mark.parametrize(
    ("rest", "entry"),
    [
        ("Succeeding|0|0|Web|0", OldEntry("a|b", False)),
        (
            f"Failing|{SECONDS}|{SECONDS + 60}|Web|7",
            OldEntry("a|b", True, NOON, NOON.replace(minute=1), 7),
        ),
        (f"Failing|{SECONDS}|0|Web|2", OldEntry("a|b", True, NOON, None, 2)),
        (f"Failing|{SECONDS}|0|Web", OldEntry("a|b", True, NOON, None, 1)),
        (f"Failing|{SECONDS}|0", OldEntry("a|b", True, NOON, None, 1)),
        (f"Failing|{SECONDS}|0|a|b|c|5", OldEntry("a|b", True, NOON, None, 5)),
        ("Failing|0|0.0||0", OldEntry("a|b", True, None, None, 0)),
    ],
)
def test_a_line_says_how_a_job_was(statefile, rest, entry):
    statefile.write_text(line("a|b", rest))
    assert read_old_state(statefile) == (entry,)


@pytest.mark.parametrize(
    "bad",
    [
        "nonsense",
        "||||",
        "!!|Failing|0|0|x|1",
        "/w==|Failing|0|0|x|1",
        "YQ==|Failing|soon|0|x|1",
        "YQ==|Failing|inf|0|x|1",
        "YQ==|Failing|0|nan|x|1",
        "YQ==|Failing|-1|0|x|1",
        "YQ==|Failing|1e300|0|x|1",
        "YQ==|Failing|0|0|x|-3",
        f"YQ==|Failing|0|0|x|1{'0' * 30}",
        "YQ==|Failing|0|0|x|many",
        "YQ==|Broken\0|0|0|x|1",
    ],
)
def test_a_damaged_line_is_named_and_the_others_are_read(
    statefile, bad, caplog, approved
):
    good = line("a|b", "Failing|0|0|x|1")
    statefile.write_text(f"{good}\n{bad}\n{good}")
    entries = read_old_state(statefile)
    assert entries is not None
    assert [entry.name for entry in entries] == ["a|b", "a|b"]
    approved(caplog.messages)


def test_line_ends_of_another_system_and_wrong_letters_are_read(statefile):
    good = line("höme|🏠", "Failing|0|0|x|1").replace("\n", "\r\n")
    statefile.write_bytes(good.encode() + b"\xff\xfe\n" + good.encode())
    entries = read_old_state(statefile)
    assert entries is not None
    assert [entry.name for entry in entries] == ["höme|🏠"] * 2


def test_a_missing_file_is_no_trouble(statefile, caplog):
    assert read_old_state(statefile) is None
    assert caplog.text == ""


def test_an_empty_file_is_read(statefile):
    statefile.touch()
    assert read_old_state(statefile) == ()


def test_a_link_to_the_file_is_followed(statefile):
    statefile.with_name("real").write_text(line("a", "Failing|0|0|x|1"))
    statefile.symlink_to("real")
    assert read_old_state(statefile) is not None


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_is_an_error(statefile, make, caplog, approved):
    make(statefile)
    assert read_old_state(statefile) is None
    approved(caplog.messages)
    assert caplog.records[0].levelno == logging.ERROR


def test_the_file_is_not_changed(statefile):
    text = line("a", "Failing|0|0|x|1") + "nonsense\n"
    statefile.write_text(text)
    read_old_state(statefile)
    assert statefile.read_text() == text
    assert [path.name for path in statefile.parent.iterdir()] == ["statefile"]


def test_it_is_read_once(statefile):
    statefile.write_text(line("a", "Failing|0|0|x|1"))
    assert read_once(statefile, RunRecord()) == (OldEntry("a", True, failures=1),)
    assert read_once(statefile, RunRecord(old_statefile=str(statefile))) is None
    assert read_once(None, RunRecord()) is None


def test_it_is_read_when_it_comes(statefile):
    assert read_once(statefile, RunRecord()) is None
    statefile.touch()
    assert read_once(statefile, RunRecord()) == ()


def test_it_is_not_read_again_when_what_says_so_is_lost(statefile, caplog, approved):
    statefile.write_text(line("a", "Failing|0|0|x|1"))
    assert read_once(statefile, RunRecord(), run_is_lost=True) == ()
    approved(caplog.messages)


def test_entries_without_a_job_of_now_are_found():
    known, stranger = OldEntry("Web for a|1", True), OldEntry("Gone|2", True)
    jobs = [job(""), job("Web for a|*"), job("[G]one|3")]
    assert unmatched([known, stranger], jobs) == (stranger,)
    assert unmatched([known, stranger], []) == (known, stranger)


def test_many_entries_and_many_jobs_take_little_time():
    entries = [OldEntry(f"Web for {number}|x", True) for number in range(2000)]
    jobs = [job(f"Web for {number}|*") for number in range(1, 1000)]
    assert len(unmatched(entries, jobs)) == 1001

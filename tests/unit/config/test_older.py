"""What the older program remembered is read once, line by line."""

from __future__ import annotations

import base64
import logging
import os
from datetime import UTC, datetime

import pytest

from lib.config.older import read_state
from lib.core.enums import JobFrequency
from lib.core.jobs import Job, JobKey
from lib.core.records import Record, still_unclaimed
from tests.support.fakes import older_record

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
    ("rest", "records"),
    [
        ("Succeeding|0|0|Web|0", (Record(JobKey(""), "a|b"),)),
        (
            f"Failing|{SECONDS}|{SECONDS + 60}|Web|7",
            (older_record("a|b", NOON, NOON.replace(minute=1), 7),),
        ),
        (f"Failing|{SECONDS}|0|Web|2", (older_record("a|b", NOON, None, 2),)),
        (f"Failing|{SECONDS}|0|Web", (older_record("a|b", NOON, None, 1),)),
        (f"Failing|{SECONDS}|0", (older_record("a|b", NOON, None, 1),)),
        (f"Failing|{SECONDS}|0|a|b|c|5", (older_record("a|b", NOON, None, 5),)),
        ("Failing|0|0.0||0", (older_record("a|b", None, None, 1),)),
    ],
)
def test_a_line_says_how_a_job_was(statefile, rest, records):
    statefile.write_text(line("a|b", rest))
    assert read_state(statefile) == records


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
    records = read_state(statefile)
    assert records is not None
    assert [record.name for record in records] == ["a|b", "a|b"]
    approved(caplog.messages)


def test_line_ends_of_another_system_and_wrong_letters_are_read(statefile):
    good = line("höme|🏠", "Failing|0|0|x|1").replace("\n", "\r\n")
    statefile.write_bytes(good.encode() + b"\xff\xfe\n" + good.encode())
    records = read_state(statefile)
    assert records is not None
    assert [record.name for record in records] == ["höme|🏠"] * 2


def test_a_missing_file_is_no_trouble(statefile, caplog):
    assert read_state(statefile) is None
    assert caplog.text == ""


def test_an_empty_file_is_read(statefile):
    statefile.touch()
    assert read_state(statefile) == ()


def test_a_link_to_the_file_is_followed(statefile):
    statefile.with_name("real").write_text(line("a", "Failing|0|0|x|1"))
    statefile.symlink_to("real")
    assert read_state(statefile) is not None


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_is_an_error(statefile, make, caplog, approved):
    make(statefile)
    assert read_state(statefile) is None
    approved(caplog.messages)
    assert caplog.records[0].levelno == logging.ERROR


def test_the_file_is_not_changed(statefile):
    text = line("a", "Failing|0|0|x|1") + "nonsense\n"
    statefile.write_text(text)
    read_state(statefile)
    assert statefile.read_text() == text
    assert [path.name for path in statefile.parent.iterdir()] == ["statefile"]


def test_entries_without_a_job_of_now_are_found():
    known, stranger = older_record("Web for a|1"), older_record("Gone|2")
    jobs = [job(""), job("Web for a|*"), job("[G]one|3")]
    assert still_unclaimed([known, stranger], jobs) == (stranger,)
    assert still_unclaimed([known, stranger], []) == (known, stranger)


@pytest.mark.long
def test_many_entries_and_many_jobs_take_little_time():
    entries = [older_record(f"Web for {number}|x") for number in range(2000)]
    jobs = [job(f"Web for {number}|*") for number in range(1, 1000)]
    assert len(still_unclaimed(entries, jobs)) == 1001

"""[log NAME] over real files: what is told of the lines that match."""

from __future__ import annotations

import os

import pytest
from msgspec.structs import replace

from jobs.LogChecker import LogChecker
from lib.core import policy
from lib.core.enums import Decision, Status
from lib.core.jobs import Job
from lib.core.records import Acknowledgement, Record
from lib.plugins.discover import LoadedJob
from lib.workers.execute import execute
from tests.support.followed import KEY, NOON, Followed, write
from tests.support.listeners import job_of


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "app.log"
    path.write_text("old ERROR\n")
    return path


@pytest.fixture
def followed(log):
    target = Followed(log)
    assert target.says() == "ok"
    return target


def test_one_line_is_told_at_once_and_what_follows_quietly_ends_it(log, followed):
    write(log, "fine\nERROR 1\n")
    assert followed.says() == "failing: 1 line matches: ERROR 1"
    assert followed.says() == "ok"
    assert followed.told == ["1 line matches: ERROR 1"]


def test_each_check_that_finds_lines_is_told(log, followed):
    for number in range(3):
        write(log, f"ERROR {number}\n")
        followed.check()
    assert followed.told == [f"1 line matches: ERROR {number}" for number in range(3)]


def test_lines_that_come_too_soon_are_in_the_next_alert(log):
    followed = Followed(log, notify="5min")
    followed.check()
    for number in range(3):
        write(log, f"ERROR {number}\n")
        followed.check()
    assert followed.told == ["1 line matches: ERROR 0"]
    followed.check(1)
    # Nothing new matches, but some lines are still to be told.
    assert followed.result.status is Status.FAILING
    followed.check(3)
    assert followed.told[1:] == ["2 lines match: ERROR 1\nERROR 1\nERROR 2"]
    assert followed.says() == "ok"


def test_lines_of_a_muted_log_are_told_when_the_mute_ends(log, followed):
    followed.held = Decision.MUTED
    for number in range(2):
        write(log, f"ERROR {number}\n")
        followed.check()
    for _ in range(3):
        # Nobody knows of them yet.
        assert followed.check().status is Status.FAILING
    assert not followed.told
    followed.held = None
    followed.check()
    assert followed.told == ["2 lines match: ERROR 0\nERROR 0\nERROR 1"]
    assert followed.says() == "ok"


def test_warnings_of_a_muted_log_are_told_when_the_mute_ends(log):
    followed = Followed(log, warn_count=0, fail_count=2)
    followed.check()
    followed.held = Decision.MUTED
    write(log, "ERROR\n")
    for _ in range(3):
        assert followed.check().status is Status.WARNING
    followed.held = None
    followed.check()
    assert followed.told == ["1 line matches: ERROR"]
    assert followed.says() == "ok"


def test_who_knows_of_some_lines_is_told_of_the_next_ones(log, followed):
    write(log, "ERROR 1\n")
    followed.check()
    known = Acknowledgement(Status.FAILING, NOON)
    followed.record = replace(followed.record, acknowledged=known)
    write(log, "ERROR 2\n")
    followed.check()
    assert followed.told[1:] == ["1 line matches: ERROR 2"]


def test_a_quiet_check_does_not_bring_the_next_alert_sooner(log):
    followed = Followed(log, notify="hour")
    followed.check()
    for number in range(3):
        write(log, f"ERROR {number}\n")
        followed.check()
        followed.check()
    assert followed.told == ["1 line matches: ERROR 0"]
    followed.check(60)
    assert followed.told[1:] == ["2 lines match: ERROR 1\nERROR 1\nERROR 2"]
    assert followed.says() == "ok"
    followed.check(60)
    followed.check()
    write(log, "ERROR 3\n")
    followed.check()
    assert followed.told[2:] == ["1 line matches: ERROR 3"]


def test_lines_wait_where_mails_do_not_leave(log, followed):
    from lib.core.enums import MessageKind
    from lib.core.messages import Message

    def queued(number):
        return Message(str(number), MessageKind.ALERT, "", "", (), NOON, is_event=True)

    waiting = tuple(map(queued, range(policy.MAX_EVENTS_QUEUED)))
    followed.record = replace(followed.record, queued=waiting)
    write(log, "ERROR 1\n")
    followed.check()
    followed.check()
    assert not followed.told
    followed.record = replace(followed.record, queued=())
    followed.check()
    assert followed.told == ["1 line matches: ERROR 1"]


def test_warnings_are_told_each_time_too(log):
    followed = Followed(log, warn_count=0, fail_count=2)
    followed.check()
    for number in range(2):
        write(log, f"ERROR {number}\n")
        assert followed.check().status is Status.WARNING
    assert len(followed.told) == 2
    write(log, "ERROR\n" * 3)
    assert followed.check().status is Status.FAILING
    assert followed.says() == "ok"
    assert len(followed.told) == 3


def test_up_to_the_threshold_all_is_well_and_the_lines_are_counted(log):
    followed = Followed(log, fail_count=2)
    followed.check()
    write(log, "ERROR\nERROR\n")
    assert followed.check().status is Status.OK
    assert followed.result.values["matches"].number == 2
    write(log, "ERROR\n" * 3)
    assert followed.check().status is Status.FAILING


def test_too_few_lines_are_no_event(log):
    followed = Followed(log, fail_count="1..5")
    assert followed.says() == "ok"
    assert followed.says() == "failing: matches is 0, under fail_count = 1..5" or (
        "outside fail_count" in followed.result.reason
    )
    assert not followed.result.is_event
    write(log, "ERROR\n")
    assert followed.says() == "ok"


def test_many_lines_are_counted_beyond_those_shown(log, followed):
    write(log, "".join(f"ERROR {number}\n" for number in range(1000)))
    lines = followed.check().reason.splitlines()
    assert lines[0] == "1000 lines match: ERROR 0"
    assert lines[-1] == "and 980 more" and len(lines) == 22


def test_lines_that_are_to_be_ignored_do_not_count(log):
    followed = Followed(log, ignore="harmless|^DEBUG")
    followed.check()
    write(log, "a harmless ERROR\nDEBUG ERROR\nan ERROR\n")
    assert followed.says() == "failing: 1 line matches: an ERROR"


def test_odd_bytes_are_shown_as_text_and_long_lines_are_cut(log, followed):
    write(log, b"\0\0\xff\xfe ERROR \x1b[31mred " + b"x" * 1000 + b"\r\n")
    reason = followed.check().reason
    assert "\0" not in reason and len(reason) < 500
    assert reason.splitlines()[1].endswith(" ...")


def test_a_secret_is_not_cut_in_half(log):
    followed = Followed(log)
    followed.check()
    write(log, "ERROR " + "x" * 285 + " hunter2-and-more\n")
    job = job_of(LogChecker, **followed.options)
    job._checker.known_secrets = ("hunter2-and-more",)
    facts = Job(KEY, "log it", "LogChecker.py", "minute")
    result = execute(LoadedJob(facts, job), followed.record)
    assert "hunter" not in result.reason and "***" in result.reason


# Where to begin, and what is not there.


def test_the_first_check_begins_at_the_end_or_at_the_start(log):
    assert Followed(log).says() == "ok"
    assert Followed(log, first="start").says() == ("failing: 1 line matches: old ERROR")


def test_a_log_that_comes_later_is_read_from_its_start(tmp_path):
    followed = Followed(tmp_path / "app.log", missing="ok")
    assert followed.says() == "ok"
    write(tmp_path / "app.log", "ERROR 1\n")
    assert followed.says() == "failing: 1 line matches: ERROR 1"


def test_a_missing_log_is_failing_and_one_that_goes_is_pending_first(log, followed):
    log.rename(log.with_name("other"))
    assert followed.check().status is Status.PENDING
    assert followed.says().startswith(f"failing: {log} is not there")
    assert not followed.result.is_event
    assert Followed(log).says() == f"failing: {log} is not there"


def test_what_cannot_be_read_is_unknown_with_what_to_do(log, followed, tmp_path):
    assert "unknown: " in Followed(tmp_path).says()
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    assert Followed(fifo).says() == f"unknown: {fifo} cannot be read: it is not a file"
    if os.geteuid():
        log.chmod(0)
        assert "Permission denied; add Checker's user" in followed.says()


def test_a_log_whose_first_check_could_not_read_it_is_read_from_its_end(log):
    target = Followed(log)
    moved = log.with_name("moved")
    log.rename(moved)
    log.mkdir()
    assert target.says().startswith("unknown: ")
    log.rmdir()
    moved.rename(log)
    assert target.says() == "ok"


def test_after_a_lost_record_what_was_not_searched_is_said(log):
    followed = Followed(log)
    followed.record = Record(KEY, status=Status.UNKNOWN)
    assert "since the state was lost" in followed.says()
    assert followed.says() == "ok"


def test_files_of_a_pattern_are_told_apart_and_rotated_ones_left_out(tmp_path):
    one, two = tmp_path / "one.log", tmp_path / "two.log"
    write(one, "x\n")
    followed = Followed(tmp_path / "*.log*")
    assert followed.says() == "ok"
    write(one, "ERROR 1\n")
    one.rename(tmp_path / "one.log.1")
    write(one, "ERROR 2\n")
    write(two, "ERROR 3\n")
    reason = followed.check().reason.splitlines()
    assert reason[0].startswith("3 lines match")
    assert reason[1:] == ["one.log: ERROR 1", "one.log: ERROR 2", "two.log: ERROR 3"]
    two.unlink()
    one.unlink()
    assert Followed(tmp_path / "*.txt").says() == (
        f"failing: no file matches {tmp_path}/*.txt"
    )

"""[log NAME] over real files: what is told of rotation, truncation, and odd bytes."""

from __future__ import annotations

import bz2
import gzip
import itertools
import lzma
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from jobs.LogChecker import (
    BLOCK,
    MAX_SEARCH_S,
    PROGRAM,
    LogChecker,
    mark_of,
    may_run_on,
)
from lib.core import policy
from lib.core.enums import Decision, JobFailureNotificationFrequency, Status
from lib.core.jobs import NEVER_FLAPPING, Job, JobKey, Policy
from lib.core.records import Acknowledgement, Record
from lib.core.results import JobReport
from lib.net.connect import Deadline
from lib.plugins.base import CheckFailed, CheckPending
from lib.plugins.discover import LoadedJob
from lib.workers.execute import execute, memory_to_keep
from tests.support.listeners import job_of

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
KEY = JobKey("LogChecker", "log it")


class Followed:
    """A target whose record is kept from check to check, as runs keep it."""

    def __init__(self, path: Path | str, notify: str = "state_change", **options):
        self.options = {"match": "ERROR", **options}
        if path:
            self.options["path"] = path
        self.record = Record(KEY)
        self.policy = Policy(
            JobFailureNotificationFrequency(notify), flapping=NEVER_FLAPPING
        )
        self.now, self.held = NOON, None
        self.clock = time.time
        #: What people were told.
        self.told: list[str] = []

    def check(self, minutes: float = 1):
        """Check it; return the result."""
        self.now += timedelta(minutes=minutes)
        job = job_of(LogChecker, **self.options)
        job.now = self.clock
        facts = Job(KEY, "log it", "LogChecker.py", "minute", self.policy)
        loaded = LoadedJob(facts, job)
        self.result = execute(loaded, self.record)
        decision = policy.decide(
            self.record, self.result, self.policy, self.now, self.held
        )
        memory = memory_to_keep(loaded, self.record)
        report = JobReport(facts, self.result, decision, memory=memory)
        self.record = policy.advance(self.record, report, self.now)
        if decision.notifies:
            self.told.append(self.result.reason)
        return self.result

    def says(self) -> str:
        """Check it; return the status and the reason."""
        result = self.check()
        return f"{result.status}: {result.reason}" if result.reason else result.status


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


def write(path, text):
    with open(path, "ab") as file:
        file.write(text if isinstance(text, bytes) else text.encode())


# What is told.


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


# Lines.


def test_half_a_line_waits_for_the_rest(log, followed):
    write(log, "ERR")
    assert followed.says() == "ok"
    write(log, "OR 1\n")
    assert followed.says() == "failing: 1 line matches: ERROR 1"


def test_half_a_line_does_not_wait_for_ever(log, followed):
    write(log, "ERROR without an end")
    assert followed.says() == "ok"
    followed.clock = lambda: time.time() + 61
    assert followed.says() == "failing: 1 line matches: ERROR without an end"
    assert followed.says() == "ok"


def test_a_line_of_100_mb_costs_little_and_is_named(log, followed):
    with open(log, "ab") as file:
        file.write(b"ERROR at its start ")
        for _ in range(100):
            file.write(b"x" * BLOCK)
        file.write(b" ERROR\nERROR 2\n")
    reason = followed.check().reason
    assert reason.startswith("2 lines match: ERROR at its start x")
    assert "a line is longer than 1 MB" in reason
    assert followed.says() == "ok"


@pytest.mark.parametrize(
    ("match", "lines"),
    [
        ("^ERROR$", ["ERROR"]),
        (r"ERROR\s", ["ERROR here"]),
        (r"\sERROR", ["an ERROR"]),
        (r"(?<=\s)ERROR", ["an ERROR"]),
        (r"ERROR(?!\s)", ["ERROR", "an ERROR"]),
        (r"\AERROR\Z", ["ERROR"]),
        (r"^(?!.*ERROR)", ["fine", ""]),
        (r"(?s)ERROR.*fine", []),
        (r"ERROR[^x]*here", ["ERROR here"]),
        ("^$", [""]),
        ("()", ["ERROR", "fine", "ERROR here", "an ERROR", ""]),
        ("(ERROR|none)+ here", ["ERROR here"]),
    ],
)
def test_a_pattern_is_for_each_line_by_itself(tmp_path, match, lines):
    log = tmp_path / "log"
    log.write_text("ERROR\nfine\nERROR here\nan ERROR\n\n")
    found = Followed(log, match=match, first="start").check()
    assert found.values["matches"].number == len(lines)
    shown = found.reason.partition(": ")[2].splitlines()
    assert [line for line in lines if line] == (
        [line for line in shown[1:] if line] if len(lines) > 1 else shown
    )


@pytest.mark.parametrize(
    ("pattern", "may"),
    [
        ("ERROR.*disk.*full", False),
        ("(a+)+$", True),
        ("(a|a)*$", True),
        ("(?:foo|bar) +x", False),
        (r"(\w+\s?)+$", True),
        (r"(\d{1,3}\.){3}", False),
    ],
)
def test_patterns_that_may_run_on_are_known(pattern, may):
    assert may_run_on(re.compile(pattern.encode(), re.M)) is may


def test_a_pattern_that_runs_on_ends_at_the_deadline_and_is_named(log):
    followed = Followed(log, match="(x+x+)+y", timeout=4)
    followed.check()
    write(log, "x" * 40 + "\n")
    began = time.monotonic()
    assert "the pattern takes too long on a line of" in followed.says()
    assert time.monotonic() - began < 4
    assert followed.result.status is Status.UNKNOWN


# Rotation.


def renamed(log, to, content=""):
    log.rename(to)
    log.write_text(content)


def copied(log, to, content=""):
    shutil.copy(log, to)
    os.truncate(log, 0)
    write(log, content)


@pytest.mark.parametrize("rotate", [renamed, copied])
def test_the_rest_of_a_rotated_file_is_read_first(log, followed, rotate):
    write(log, "ERROR 1\n")
    rotate(log, log.with_name("app.log.1"), "ERROR 2\n")
    assert followed.says() == "failing: 2 lines match: ERROR 1\nERROR 1\nERROR 2"
    assert followed.says() == "ok"


@pytest.mark.parametrize("rotate", [renamed, copied])
def test_after_several_rotations_all_is_read_in_order(log, followed, rotate):
    for number in range(1, 5):
        write(log, f"ERROR {number}\n")
        for old in range(number, 1, -1):
            log.with_name(f"app.log.{old - 1}").rename(log.with_name(f"app.log.{old}"))
        rotate(log, log.with_name("app.log.1"))
        write(log, f"fine {number}\n")
    assert followed.check().reason.splitlines()[1:] == [
        f"ERROR {number}" for number in range(1, 5)
    ]


@pytest.mark.parametrize(
    "name", ["app.log.1", "app.log-20260101", "app.log.old", "app-20260101.log"]
)
def test_names_of_rotated_files_are_known(log, followed, name):
    write(log, "ERROR 1\n")
    renamed(log, log.with_name(name))
    assert "ERROR 1" in followed.says()


def test_other_logs_are_no_rotated_ones():
    assert not any(
        mark_of(name, "app.log")
        for name in ("app-error.log", "app.log.lock", "apps.log", "app.logs", "app")
    )


def pack(path, how):
    data = path.read_bytes()
    packed = path.with_name(f"{path.name}.{how}")
    if how == "zst":
        subprocess.run(["zstd", "-q", str(path), "-o", str(packed)], check=True)
    else:
        packed.write_bytes({"gz": gzip, "xz": lzma, "bz2": bz2}[how].compress(data))
    shutil.copystat(path, packed)
    path.unlink()


@pytest.mark.parametrize("how", ["gz", "xz", "bz2", "zst"])
def test_what_was_compressed_meanwhile_is_read_too(log, followed, how):
    if how == "zst" and not shutil.which("zstd"):
        pytest.skip("zstd is not installed")
    write(log, "ERROR 1\n")
    renamed(log, log.with_name("app.log.2"), "ERROR 2\n")
    pack(log.with_name("app.log.2"), how)
    renamed(log, log.with_name("app.log.1"), "ERROR 3\n")
    assert followed.check().reason.splitlines()[1:] == ["ERROR 1", "ERROR 2", "ERROR 3"]
    assert followed.says() == "ok"
    write(log, "ERROR 4\n")
    assert followed.says() == "failing: 1 line matches: ERROR 4"


def test_a_damaged_archive_is_named(log, followed):
    write(log, "ERROR 1\n" + "x" * 5000 + "\n")
    renamed(log, log.with_name("app.log.1"))
    pack(log.with_name("app.log.1"), "gz")
    packed = log.with_name("app.log.1.gz")
    info = packed.stat()
    packed.write_bytes(packed.read_bytes()[:-12])
    os.utime(packed, ns=(info.st_atime_ns, info.st_mtime_ns))
    assert "cannot be read" in followed.says()


def test_what_a_daemon_still_writes_to_the_rotated_file_is_read(log, followed):
    with open(log, "a") as daemon:
        log.rename(log.with_name("app.log.1"))
        log.write_text("")
        assert followed.says() == "ok"
        daemon.write("ERROR late\n")
        daemon.flush()
        assert followed.says() == "failing: 1 line matches: ERROR late"
        write(log, "ERROR new\n")
        daemon.write("ERROR later\n")
    assert followed.check().reason.splitlines()[1:] == ["ERROR later", "ERROR new"]


def test_a_rotated_file_is_found_in_its_folder(log):
    followed = Followed(log, olddir=log.parent / "old")
    followed.check()
    (log.parent / "old").mkdir()
    write(log, "ERROR 1\n")
    renamed(log, log.parent / "old" / "app.log.1")
    assert "ERROR 1" in followed.says()


def test_a_log_that_is_not_made_anew_yet_is_read_to_its_end(log, followed):
    write(log, "ERROR 1\n")
    log.rename(log.with_name("app.log.1"))
    assert followed.says().startswith("failing: 1 line matches: ERROR 1")
    write(log, "ERROR 2\n")
    assert followed.says() == "failing: 1 line matches: ERROR 2"


def test_truncation_and_regrowth_beyond_the_offset_is_seen(log, followed):
    log.write_text("".join(f"new {number}\n" for number in range(100)) + "ERROR\n")
    result = followed.check()
    assert result.status is Status.FAILING
    assert result.reason.startswith("1 line matches: ERROR\n")
    assert "was replaced or truncated" in result.reason


def test_truncation_without_a_copy_is_a_warning_or_what_lost_says(log, followed):
    log.write_text("fine\n")
    assert followed.check().status is Status.WARNING
    for lost, status in (("ok", Status.OK), ("fail", Status.FAILING)):
        other = Followed(log, lost=lost)
        log.write_text("first\n")
        other.check()
        log.write_text("and another\n")
        assert other.check().status is status


def test_a_hole_that_a_program_leaves_after_copytruncate_is_skipped(log, followed):
    with open(log, "r+b") as daemon:
        daemon.seek(0, os.SEEK_END)
        shutil.copy(log, log.with_name("app.log.1"))
        os.truncate(log, 0)
        daemon.seek(5 * BLOCK)
        daemon.write(b"ERROR 1\n")
    assert followed.says() == "failing: 1 line matches: ERROR 1"


def test_the_same_number_of_the_next_file_is_not_believed(log, followed):
    # As ext4 gives it; a file that is written in place has it everywhere.
    write(log, "ERROR 1\n")
    shutil.copy2(log, log.with_name("app.log.1"))
    log.write_text("another start\n" * 10 + "ERROR 2\n")
    assert followed.check().reason.splitlines()[1:] == ["ERROR 1", "ERROR 2"]


def test_a_compressed_file_is_not_read_again_in_each_check(log, followed):
    renamed(log, log.with_name("app.log.1"))
    pack(log.with_name("app.log.1"), "gz")
    assert followed.says() == "ok"
    assert len(followed.record.memory["log"]["files"][str(log)]["places"]) == 1


# Time.


def test_what_there_is_no_time_for_is_read_by_the_next_check(log):
    job = job_of(LogChecker, path=log, match="ERROR")
    job.check(job.target, Deadline(60))
    with open(log, "ab") as file:
        for number in range(3):
            file.write(b"fine\n" * (BLOCK // 5))
            file.write(b"ERROR %d\n" % number)
    seen, reasons = [], []
    for _ in range(10):
        # Each look at the clock takes a second of the four.
        deadline = Deadline(4, itertools.count().__next__)
        try:
            job.check(job.target, deadline)
        except (CheckFailed, CheckPending) as told:
            reasons.append(str(told))
        seen.append(job.values["matches"].number)
        if sum(seen) == 3:
            break
    assert len(seen) > 1 and sum(seen) == 3, seen
    assert "it goes on in the next check" in reasons[0]


# Histories.


class History:
    """A log that is written and rotated, and what must be told of it."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "app.log"
        self.log.write_text("start of the log\n")
        self.target = Followed(self.log)
        self.target.check()
        self.written, self.others, self.half = 0, 0, b""
        self.counted, self.seen = 0, []
        self.is_lost = False

    def step(self, name: str) -> None:
        getattr(self, name)()

    def write(self) -> None:
        self.written += 1
        write(self.log, self.half + b"<%d> ERROR\n" % self.written)
        self.half = b""

    def begin_line(self) -> None:
        if not self.half:
            self.others += 1
            write(self.log, b"%d half" % self.others)
            self.half = b" "

    def other(self) -> None:
        self.others += 1
        write(self.log, self.half + b"nothing %d\n" % self.others)
        self.half = b""

    def _shift(self) -> None:
        for number in range(9, 0, -1):
            for ending in ("", ".gz"):
                old = self.log.with_name(f"app.log.{number}{ending}")
                if old.exists():
                    old.rename(self.log.with_name(f"app.log.{number + 1}{ending}"))

    def rename(self) -> None:
        self.other()
        self._shift()
        renamed(self.log, self.log.with_name("app.log.1"))

    def copytruncate(self) -> None:
        self.other()
        self._shift()
        copied(self.log, self.log.with_name("app.log.1"))

    def compress(self) -> None:
        for number in range(1, 10):
            path = self.log.with_name(f"app.log.{number}")
            if path.exists():
                pack(path, "gz")

    def drop(self) -> None:
        for path in self.log.parent.glob("app.log.*"):
            path.unlink()

    def check(self) -> None:
        result = self.target.check()
        self.counted += int(result.values["matches"].number)
        self.is_lost |= "not there any more" in result.reason
        self.seen += sorted(set(map(int, re.findall(r"<(\d+)>", result.reason))))
        assert "cannot be read" not in result.reason


STEPS = (
    "write",
    "write",
    "other",
    "begin_line",
    "rename",
    "copytruncate",
    "compress",
    "check",
    "check",
)

#: Of an empty log that was copied or compressed, and then removed, nothing is known.
WITH_LOSSES = ("write", "write", "other", "begin_line", "rename", "check", "drop")


@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.sampled_from(STEPS), max_size=14))
def test_whatever_is_done_to_a_log_each_line_is_told_once(tmp_path_factory, steps):
    history = History(tmp_path_factory.mktemp("log"))
    for name in steps:
        history.step(name)
    history.check()
    history.check()
    assert history.seen == list(range(1, history.written + 1))
    assert history.counted == history.written
    assert not history.is_lost


@settings(
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.sampled_from(WITH_LOSSES), max_size=12))
def test_where_rotated_files_go_lines_are_told_once_or_named_as_lost(
    tmp_path_factory, steps
):
    history = History(tmp_path_factory.mktemp("log"))
    for name in steps:
        history.step(name)
    history.check()
    history.check()
    assert len(set(history.seen)) == len(history.seen) == history.counted
    if history.counted < history.written:
        assert history.is_lost


def test_a_search_whose_worker_is_gone_ends_by_itself():
    program = PROGRAM.replace(f"({MAX_SEARCH_S})", "(1)")
    words = [sys.executable, "-I", "-S", "-c", program, "a", ""]
    with subprocess.Popen(words, stdin=subprocess.PIPE) as search:
        assert search.wait(timeout=20) == -signal.SIGALRM

"""Logs that are followed: what rotation, truncation and odd lines do to them."""

from __future__ import annotations

import bz2
import gzip
import itertools
import lzma
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.LogChecker import LogChecker
from lib.core.enums import Status
from lib.net.connect import Deadline
from lib.plugins import logfiles, logreader
from lib.plugins.base import CheckFailed, CheckPending
from lib.plugins.logfiles import FEW, mark_of
from lib.plugins.logreader import BLOCK
from lib.plugins.search import Found, Look, News, Search
from tests.support.followed import Followed, write
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
        for _ in range(200):
            file.write(b"x" * BLOCK)
        file.write(b" ERROR\nERROR 2\n")
    reason = followed.check().reason
    assert reason.startswith("2 lines match: ERROR at its start x")
    assert "a line is longer than 1 MB" in reason
    assert followed.says() == "ok"


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.sampled_from(
            (b"ERROR", b"fine", b"", b"\0", b"ERROR ERROR", b"an ER", b"OR")
        ),
        max_size=30,
    ),
    st.integers(1, 20),
    st.sampled_from(("ERROR", "^ERROR", r"\bER+OR")),
)
def test_lines_are_found_wherever_blocks_begin(lines, block, match):
    with (
        tempfile.NamedTemporaryFile() as log,
        pytest.MonkeyPatch.context() as patched,
    ):
        patched.setattr(logreader, "BLOCK", block)
        log.write(b"".join(line + b"\n" for line in lines) + b"ERROR")
        log.flush()
        followed = Followed(log.name, match=match, first="start")
        followed.check()
        # The last line waits for its end.
        assert followed.result.values["matches"].number == sum(
            line.startswith(b"ERROR") for line in lines
        )
        log.write(b"\nERROR\n")
        log.flush()
        assert followed.check().values["matches"].number == 2


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


@pytest.mark.parametrize("size", [5_000, 3_000_000])
def test_a_damaged_archive_is_tried_once_more_and_then_named(log, followed, size):
    write(log, "ERROR 1\n" + "x" * 5000 + "\n" + "fine\n" * (size // 5))
    renamed(log, log.with_name("app.log.1"), "ERROR 2\n")
    pack(log.with_name("app.log.1"), "gz")
    packed = log.with_name("app.log.1.gz")
    whole, info = packed.read_bytes(), packed.stat()

    def put(content):
        packed.write_bytes(content)
        os.utime(packed, ns=(info.st_atime_ns, info.st_mtime_ns))

    put(whole[:-12])
    said = followed.says()
    assert "app.log.1.gz cannot be read: " in said
    assert "it is tried again in the next check" in said
    said = followed.says()
    assert "cannot be read: " in said and "1 line matches: ERROR 2" in said
    write(log, "ERROR 3\n")
    assert followed.says() == "failing: 1 line matches: ERROR 3"


def test_an_archive_that_can_be_read_a_check_later_loses_nothing(log, followed):
    write(log, "ERROR 1\n" + "x" * 5000 + "\n")
    renamed(log, log.with_name("app.log.1"), "ERROR 2\n")
    pack(log.with_name("app.log.1"), "gz")
    packed = log.with_name("app.log.1.gz")
    hidden = packed.read_bytes()
    packed.write_bytes(hidden[:-12])
    assert "it is tried again in the next check" in followed.says()
    packed.write_bytes(hidden)
    followed.says()
    assert [re.findall(r"ERROR \d", told)[1:] for told in followed.told][-1] == [
        "ERROR 1",
        "ERROR 2",
    ]


def test_a_folder_of_rotated_files_that_is_away_is_tried_once_more(log, tmp_path):
    olddir = tmp_path / "old"
    followed = Followed(log, olddir=olddir)
    followed.check()
    write(log, "ERROR 1\n")
    olddir.mkdir()
    renamed(log, olddir / "app.log.1", "ERROR 2\n")
    olddir.rename(tmp_path / "away")
    assert followed.says() == (
        f"pending: {olddir} cannot be read: No such file or directory; it is tried "
        "again in the next check"
    )
    (tmp_path / "away").rename(olddir)
    assert followed.says() == ("failing: 2 lines match: ERROR 1\nERROR 1\nERROR 2")


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


@pytest.mark.parametrize("has_others", [False, True])
def test_what_an_empty_log_got_and_lost_is_named(log, followed, has_others):
    renamed(log, log.with_name("app.log.1"))
    if not has_others:
        log.with_name("app.log.1").unlink()
    followed.check()
    followed.check()
    write(log, "ERROR 1\n")
    copied(log, log.with_name("app.log.2"))
    log.with_name("app.log.2").unlink()
    assert "is not there any more" in followed.says()
    assert followed.says() == "ok"
    write(log, "ERROR 2\n")
    assert followed.says() == "failing: 1 line matches: ERROR 2"


def test_of_an_empty_log_that_is_truncated_or_touched_not_more_is_said(log, followed):
    log.write_text("")
    followed.check()
    os.truncate(log, 0)
    assert "is empty as before, but was changed: it was truncated" in followed.says()
    os.utime(log)
    assert "or only touched; what may have been written" in followed.says()
    assert followed.says() == "ok"


def test_an_empty_log_that_is_copied_and_truncated_has_lost_nothing(log, followed):
    renamed(log, log.with_name("app.log.1"))
    followed.check()
    log.with_name("app.log.1").rename(log.with_name("app.log.2"))
    copied(log, log.with_name("app.log.1"))
    assert followed.says() == "ok"


def test_a_copy_is_not_read_beside_the_log_that_is_still_to_be_truncated(log, followed):
    renamed(log, log.with_name("app.log.2"))
    followed.check()
    write(log, "ERROR 1\n")
    shutil.copy(log, log.with_name("app.log.1"))
    assert followed.says() == "failing: 1 line matches: ERROR 1"
    os.truncate(log, 0)
    write(log, "ERROR 2\n")
    assert followed.says() == "failing: 1 line matches: ERROR 2"


def test_a_copy_that_was_read_as_the_log_is_not_read_after_an_empty_log(log, followed):
    write(log, "x" * 2000 + " ERROR 1\n")
    shutil.copy(log, log.with_name("app.log.1"))
    write(log, "ERROR 2\n")
    followed.check()
    os.truncate(log, 0)
    assert followed.says().startswith("ok: ")
    write(log, "ERROR 3\n")
    assert followed.says() == "failing: 1 line matches: ERROR 3"


def test_a_log_that_is_truncated_while_it_is_read_is_read_in_the_next_check(log):
    log.write_text("ERROR 1\n")
    current = logreader.PlainFile(str(log))
    assert current.head() == b"ERROR 1\n"
    copied(log, log.with_name("app.log.1"), "ERROR 2\n")
    log.write_text("another\n")
    news, within = News(), Deadline(5)
    with Search(re.compile(b"ERROR"), None, within) as search, closing(current):
        with pytest.raises(logreader.Stopped) as stopped:
            look = Look(search, news, within, 0.0)
            logreader.read_on(current, logreader.Place(), Found(), look)
    assert "truncated meanwhile" in str(stopped.value.__cause__)
    assert stopped.value.place.head == logreader.checksum(b"ERROR 1\n")


def test_half_a_line_that_is_truncated_is_named(log, followed):
    renamed(log, log.with_name("app.log.1"), "half of ERROR")
    assert followed.says() == "ok"
    log.write_text("another\n")
    assert "is not there any more" in followed.says()


def test_a_copy_from_before_a_check_is_not_read_once_more_while_the_log_is_empty(
    log, followed
):
    renamed(log, log.with_name("app.log-20260101"), "ERROR 1 " + "x" * 2000 + "\n")
    assert "ERROR 1" in followed.says()
    shutil.copy(log, log.with_name("app.log-20260102"))
    write(log, "ERROR 2\n")
    assert "ERROR 2" in followed.says()
    os.truncate(log, 0)
    assert "it was copied before the last check" in followed.says()
    for _check in range(3):
        assert followed.says() == "ok"
    write(log, "ERROR 3\n")
    assert followed.says() == "failing: 1 line matches: ERROR 3"


def test_a_log_is_known_by_its_bytes_from_before_it_is_compared_with_copies(log):
    with closing(logreader.PlainFile(str(log))) as current:
        copy = logreader.PlainFile(shutil.copy(log, log.with_name("app.log.1")))
        with closing(copy):
            assert logfiles._without_copies(current, [copy], logreader.Place()) == []
        os.truncate(log, 0)
        assert current.head() == b"old ERROR\n"


def test_a_log_that_is_truncated_once_it_is_open_was_empty_from_then_on(log):
    os.utime(log, (0, 0))
    with closing(logreader.PlainFile(str(log))) as current:
        os.truncate(log, 0)
        news, within = News(), Deadline(5)
        with Search(re.compile(b"ERROR"), None, within) as search:
            look = Look(search, news, within, 0.0)
            place = logreader.read_on(current, logreader.Place(), Found(), look)
    assert (place.offset, place.changed_ns) == (0, log.stat().st_mtime_ns)


def test_a_copy_that_is_begun_while_the_log_is_empty_is_not_read(log, followed):
    copied(log, log.with_name("app.log.2"))
    followed.check()
    copy = log.with_name("app.log.1")
    copy.touch()
    assert followed.says() == "ok"
    write(log, "ERROR 1\n")
    assert followed.says() == "failing: 1 line matches: ERROR 1"
    shutil.copy(log, copy)
    assert followed.says() == "ok"
    os.truncate(log, 0)
    assert followed.says() == "ok"


def copy_and_truncate(log, packs):
    """Rotate a log as logrotate does, in steps."""
    first, second = log.with_name("app.log.1"), log.with_name("app.log.2")
    for ending in ("", ".gz"):
        old = log.with_name(f"app.log.1{ending}")
        if old.exists():
            old.rename(log.with_name(f"app.log.2{ending}"))
            yield
    content = log.read_bytes()
    first.write_bytes(content[: len(content) // 2])
    yield
    write(first, content[len(content) // 2 :])
    yield
    os.truncate(log, 0)
    yield
    if packs:
        packed, info = first.with_name("app.log.1.gz"), first.stat()
        packed.write_bytes(gzip.compress(content)[:-20])
        yield
        packed.write_bytes(gzip.compress(content))
        os.utime(packed, ns=(info.st_atime_ns, info.st_mtime_ns))
        yield
        first.unlink()
        yield
    assert not second.exists() or not packs
    write(log, "<3> ERROR\n")


#: What asks the system for a file, or for what is in it.
CALLS = (os.open, os.fstat, os.pread, os.preadv, os.scandir, os.stat)


def check_with(followed, call, step):
    """Check, with a step before such a call; return the result, and if it came."""
    calls, ours = itertools.count(), {logfiles.__file__, logreader.__file__}
    came = []

    def watch(frame, event, what):
        is_ours = event == "c_call" and what in CALLS
        if is_ours and frame.f_code.co_filename in ours and next(calls) == call:
            sys.setprofile(None)
            came.append(next(step, None))

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        return followed.check(), bool(came)
    finally:
        sys.setprofile(before)


@pytest.mark.parametrize(
    ("begun", "packs"),
    [(0, False), (3, False), (0, True), (3, True), (5, True), (6, True)],
)
def test_a_rotation_may_go_on_at_each_call_of_a_check(tmp_path, begun, packs):
    for call in itertools.count():
        log = tmp_path / str(call) / "app.log"
        log.parent.mkdir()
        log.write_text("first " + "x" * 2000 + "\n")
        followed = Followed(log)
        followed.check()
        for _step in copy_and_truncate(log, packs):
            pass
        log.write_text("<1> ERROR " + "x" * 2000 + "\n")
        results = [followed.check()]
        write(log, "<2> ERROR\n")
        steps = copy_and_truncate(log, packs)
        for _step in itertools.islice(steps, begun):
            pass
        result, is_hit = check_with(followed, call, steps)
        results.append(result)
        for _step in steps:
            results.append(followed.check())
        results += [followed.check(), followed.check()]
        said = "\n".join(f"{result.reason}\n{result.output}" for result in results)
        assert "not there any more" not in said and "cannot be read" not in said
        assert set(re.findall(r"<\d>", said)) == {"<1>", "<2>", "<3>"}, call
        counts = [result.values.get("matches") for result in results]
        assert sum(int(count.number) for count in counts if count) == 3
        if not is_hit:
            assert call > 3
            break


def test_a_log_that_was_copied_and_truncated_later_may_have_lost_lines(log):
    followed = Followed(log)
    write(log, "x" * 2000 + "\n")
    followed.check()
    shutil.copy(log, log.with_name("app.log.1"))
    write(log, "fine\n")
    followed.check()
    write(log, "ERROR 1\n")
    log.write_text("")
    assert followed.says() == (
        f"ok: {log} may have been truncated before all of it was read: it was copied "
        "before the last check"
    )


def test_a_small_log_is_known_in_a_copy_from_before_its_last_line(log, followed):
    copy = log.with_name("app.log.1")
    write(log, "ERROR 1 " + "x" * FEW + "\n")
    assert followed.says().startswith("failing: 1 line matches: ERROR 1")
    shutil.copy(log, copy)
    os.utime(copy, ns=(0, log.stat().st_mtime_ns))
    write(log, "ERROR 2\n")
    assert followed.says() == "failing: 1 line matches: ERROR 2"
    os.truncate(log, 0)
    write(log, "ERROR 3\n")
    said = followed.says()
    assert said.startswith("failing: 1 line matches: ERROR 3")
    assert said.endswith("it was copied before the last check")


def test_with_lost_ok_what_was_lost_is_still_said(log):
    followed = Followed(log, lost="ok")
    followed.check()
    log.write_text("fine\n")
    assert followed.says().startswith(f"ok: {log} was replaced or truncated")


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
            file.write(b"fine\n" * (2 * BLOCK // 5))
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
        said = f"{result.reason}\n{result.output}"
        self.is_lost |= "not there any more" in said or "may have been" in said
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

#: What an empty log got that was truncated, before more came, cannot be known once
#: its copy is removed, too.
WITH_LOSSES = (*(step for step in STEPS if step != "copytruncate"), "drop")


@pytest.mark.long
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


@pytest.mark.long
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

"""One run at a time; whoever is turned away learns who holds the lock."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lib.storage.lock import LOOKS, Holder, Lock
from lib.system.errors import StateError
from tests.support.approved import REAL
from tests.support.powers import as_anybody

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LENGTH = timedelta(seconds=55)
ROOT = Path(__file__).resolve().parents[3]

#: Take the lock, say so, do as told, and wait to be ended.
HOLD = """
import os, subprocess, sys, time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from lib.storage.lock import Lock
noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
lock = Lock(Path(sys.argv[1]))
assert lock.take(noon, timedelta(seconds=55)) is None
if sys.argv[2] == "fork":
    child = os.fork()
    if child == 0:
        time.sleep(60)
    print(child, flush=True)
elif sys.argv[2] == "exec":
    sleeper = subprocess.Popen(["sleep", "60"], close_fds=False)
    print(sleeper.pid, flush=True)
else:
    print(0, flush=True)
time.sleep(60)
"""

COUNT_SKIP = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from lib.storage.lock import Lock
Lock(Path(sys.argv[1])).count_skip(datetime.now(UTC))
"""


@contextmanager
def held(
    folder: Path, then: str = "wait"
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Yield a process that holds the lock, and the id of the child it has."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), then],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    child = 0
    try:
        assert holder.stdout is not None
        child = int(holder.stdout.readline())
        yield holder, child
    finally:
        holder.kill()
        if child:
            os.kill(child, signal.SIGKILL)
        holder.communicate()


def test_who_comes_second_sees_who_holds_it(tmp_path):
    with held(tmp_path) as (holder, _child):
        assert Lock(tmp_path).take(NOON, LENGTH) == Holder(
            holder.pid, NOON, NOON + LENGTH
        )


def test_a_holder_that_is_killed_holds_it_no_more(tmp_path):
    with held(tmp_path) as (holder, _child):
        holder.kill()
        holder.wait()
        assert Lock(tmp_path).take(NOON, LENGTH) is None


def test_a_lock_that_is_given_back_is_free_and_leaves_nothing_open(tmp_path):
    before = os.listdir("/dev/fd")
    lock = Lock(tmp_path)
    assert lock.take(NOON, LENGTH) is None
    lock.give_back()
    lock.give_back()
    assert os.listdir("/dev/fd") == before
    with held(tmp_path):
        assert lock.take(NOON, LENGTH) is not None


@pytest.mark.parametrize("then", ["fork", "exec"])
def test_a_child_that_outlives_the_holder_does_not_hold_it(tmp_path, then):
    with held(tmp_path, then) as (holder, child):
        holder.kill()
        holder.wait()
        os.kill(child, 0)
        assert Lock(tmp_path).take(NOON, LENGTH) is None


def test_whoever_is_turned_away_does_not_free_it(tmp_path):
    with held(tmp_path):
        for _again in range(3):
            assert Lock(tmp_path).take(NOON, LENGTH) is not None


@pytest.mark.parametrize(
    "garbage", [b"", b"\0" * 99, b'{"pid": -5}', b'{"pid": "x"}', b"[" * 5000]
)
def test_a_lock_file_of_garbage_still_locks(tmp_path, garbage):
    with held(tmp_path):
        (tmp_path / "lock").write_bytes(garbage)
        os.utime(tmp_path / "lock", (NOON.timestamp(), NOON.timestamp()))
        # What is left to know is when the file was written.
        assert Lock(tmp_path, lambda _seconds: None).take(NOON, LENGTH) == Holder(
            0, NOON, NOON + LENGTH
        )
    assert Lock(tmp_path).take(NOON, LENGTH) is None


def test_what_is_left_of_a_longer_text_is_cut_off(tmp_path):
    (tmp_path / "lock").write_text("x" * 4000)
    with held(tmp_path) as (holder, _child):
        found = Lock(tmp_path).take(NOON, LENGTH)
        assert found is not None
        assert found.pid == holder.pid


def turned_away(folder: Path, text: str) -> Holder | None:
    """Return who is said to hold the lock, if it writes that after the second look."""
    looks = iter(range(1, LOOKS + 1))

    def wait(_seconds: float) -> None:
        if next(looks) == 2:
            (folder / "lock").write_text(text)

    return Lock(folder, wait).take(NOON, LENGTH)


def test_the_holder_before_this_one_is_not_taken_for_it(tmp_path):
    with held(tmp_path) as (holder, _child):
        # As it is in the moment before the new holder has written who it is.
        now = (tmp_path / "lock").read_text()
        late = now.replace("2026-03-01T12", "2026-03-01T11")
        (tmp_path / "lock").write_text(late)
        found = turned_away(tmp_path, now)
        assert found == Holder(holder.pid, NOON, NOON + LENGTH)


@pytest.mark.parametrize("begun", [0, 20])
def test_a_holder_that_is_still_writing_who_it_is_is_waited_for(tmp_path, begun):
    with held(tmp_path) as (holder, _child):
        now = (tmp_path / "lock").read_text()
        (tmp_path / "lock").write_text(now[:begun])
        found = turned_away(tmp_path, now)
        assert found == Holder(holder.pid, NOON, NOON + LENGTH)


def test_a_holder_past_its_end_is_reported_as_it_is(tmp_path):
    with held(tmp_path) as (holder, _child):
        found = Lock(tmp_path).take(NOON + timedelta(hours=1), LENGTH)
        assert found == Holder(holder.pid, NOON, NOON + LENGTH)


def test_a_lock_file_that_cannot_be_opened_is_named_with_the_command(
    tmp_path, approved
):
    code = (
        "import sys; from pathlib import Path; from datetime import *;"
        "from lib.storage.lock import Lock;"
        "Lock(Path(sys.argv[1])).take(datetime.now(UTC), timedelta(seconds=1))"
    )
    (tmp_path / "lock").touch(mode=0o400)
    done = subprocess.run(
        as_anybody([sys.executable, "-c", code, str(tmp_path)]),
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    last = done.stderr.splitlines()[-1]
    approved(last, hide=REAL)


@pytest.mark.parametrize(
    "make",
    [
        os.mkfifo,
        os.mkdir,
        lambda path: os.symlink("x", path),
    ],
    ids=["pipe", "folder", "link"],
)
def test_something_in_the_place_of_the_lock_is_named(tmp_path, make, approved):
    make(tmp_path / "lock")
    with pytest.raises(StateError) as caught:
        Lock(tmp_path).take(NOON, LENGTH)
    approved(str(caught.value), hide=REAL)


def minutes(*numbers: int) -> list[datetime]:
    return [NOON + timedelta(minutes=number) for number in numbers]


def test_skips_are_counted_by_the_next_run(tmp_path):
    lock = Lock(tmp_path)
    for moment in minutes(1, 2, 3):
        lock.count_skip(moment)
    assert lock.take_skips(None) == (3, NOON + timedelta(minutes=3))


def test_a_run_that_could_not_keep_the_number_leaves_the_count_to_the_next(tmp_path):
    lock = Lock(tmp_path)
    lock.count_skip(NOON)
    assert lock.take_skips(None) == (1, NOON)
    assert lock.take_skips(None) == (1, NOON)


def test_what_was_counted_is_not_counted_again(tmp_path):
    lock = Lock(tmp_path)
    first, second, third = minutes(1, 2, 3)
    lock.count_skip(first)
    lock.count_skip(second)
    assert lock.take_skips(None) == (2, second)
    lock.count_skip(third)
    assert lock.take_skips(second) == (1, third)
    assert lock.take_skips(third) == (0, None)
    assert list(tmp_path.iterdir()) == []
    assert lock.take_skips(third) == (0, None)


def test_a_clock_set_back_between_skips_loses_none(tmp_path):
    lock = Lock(tmp_path)
    later, sooner = minutes(60, 1)
    lock.count_skip(later)
    assert lock.take_skips(None) == (1, later)
    lock.count_skip(sooner)
    assert lock.take_skips(later) == (1, sooner)


@pytest.mark.long
def test_runs_that_are_skipped_at_once_are_all_counted(tmp_path):
    command = [sys.executable, "-c", COUNT_SKIP, str(tmp_path)]
    those = [subprocess.Popen(command, cwd=ROOT) for _one in range(10)]
    assert [one.wait(timeout=30) for one in those] == [0] * 10
    assert Lock(tmp_path).take_skips(None)[0] == 10


@pytest.mark.parametrize("garbage", [b"\xff\0\xff\n", b"2026-03-01\n", b"x" * 9999])
def test_damage_in_the_list_of_skips_is_passed_over(tmp_path, garbage):
    (tmp_path / "skipped").write_bytes(garbage)
    assert Lock(tmp_path).take_skips(None) == (0, None)
    (tmp_path / "skipped").write_bytes(garbage + b"\n")
    Lock(tmp_path).count_skip(NOON)
    assert Lock(tmp_path).take_skips(None) == (1, NOON)


def test_something_in_the_place_of_the_list_is_no_reason_to_stop(
    tmp_path, caplog, approved
):
    (tmp_path / "skipped").mkdir()
    Lock(tmp_path).count_skip(NOON)
    assert Lock(tmp_path).take_skips(None) == (0, None)
    approved(caplog.messages, hide=REAL)

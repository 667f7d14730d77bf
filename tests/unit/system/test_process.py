"""A child process that tells, frame by frame, what it does, and that may be killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lib.system import process
from lib.system.process import Child, how_it_ended
from tests.support.waits import SOON_S


def ended(child: Child, limit_s: float = SOON_S) -> list[object]:
    """Return what a child told until it ended."""
    frames: list[object] = []
    deadline = time.monotonic() + limit_s
    while not child.has_ended():
        assert time.monotonic() < deadline, "it does not end"
        process.wait([child], 0.5)
        frames += child.frames()
        child.read_printed()
    frames += child.frames()
    child.read_printed()
    child.end()
    return frames


def is_there(pid: int) -> bool:
    try:
        return "(zombie)" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def gone(pid: int, limit_s: float = SOON_S) -> bool:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if not is_there(pid):
            return True
        time.sleep(0.02)
    return False


def test_frames_come_whole_and_in_order_however_long_they_are():
    child = process.start(
        lambda emit: emit(["a"], ["x" * 1_000_000], {"b": [1.5, None]})
    )
    assert ended(child) == [["a"], ["x" * 1_000_000], {"b": [1.5, None]}]
    assert child.status == 0


def test_what_a_child_prints_is_kept_up_to_a_limit():
    def work(_emit):
        os.write(1, b"one\n")
        os.write(2, b"two\n")
        subprocess.run(["/bin/echo", "three"], check=True)
        for _ in range(1000):
            os.write(1, b"x" * 1000)

    child = process.start(work)
    ended(child)
    assert child.printed.startswith(b"one\ntwo\nthree\nxxx")
    assert len(child.printed) == process.MAX_PRINTED


def test_a_child_whose_own_work_breaks_down_says_so(approved):
    child = process.start(lambda emit: 1 / 0)
    ended(child)
    assert b"ZeroDivisionError" in child.printed
    approved(how_it_ended(child.status))


@pytest.mark.parametrize(
    "work",
    [
        lambda emit: os._exit(3),
        lambda emit: os._exit(0),
        lambda emit: os.kill(os.getpid(), signal.SIGXCPU),
        lambda emit: os.kill(os.getpid(), 9),
        lambda emit: os.kill(os.getpid(), 15),
        lambda emit: os.kill(os.getpid(), 40),
        lambda emit: (os.closerange(3, os.sysconf("SC_OPEN_MAX")), emit(["a"])),
    ],
)
def test_how_a_child_ended_is_said_in_words(work, approved):
    child = process.start(work)
    ended(child)
    approved(how_it_ended(child.status))


@pytest.mark.parametrize(
    "noise", [b"\xff\xff\xff\xff", b"\0\0\0\2{]", b"\0\0\0\3NaN", b"\0\0\0\1\xff"]
)
def test_what_is_no_frame_ends_the_conversation(noise, approved):
    def work(emit):
        descriptor = emit.__closure__[0].cell_contents
        os.write(descriptor, noise)
        time.sleep(60)

    child = process.start(work)
    assert ended(child) == []
    approved(how_it_ended(child.status))


def test_half_a_frame_is_none():
    def work(emit):
        os.write(emit.__closure__[0].cell_contents, b"\0\0\0\x09[1,")

    assert ended(process.start(work)) == []


def test_an_end_takes_along_what_the_child_started():
    def work(emit):
        emit(subprocess.Popen(["sleep", "60"]).pid)
        time.sleep(60)

    child = process.start(work)
    process.wait([child], 5)
    (pid,) = child.frames()
    child.end()
    assert gone(pid)


def test_what_a_child_started_is_gone_when_it_ends_by_itself():
    child = process.start(lambda emit: emit(subprocess.Popen(["sleep", "60"]).pid))
    (pid,) = ended(child)
    assert gone(pid)


def test_a_child_that_ignores_sigterm_is_killed_all_the_same():
    def work(emit):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        emit("ready")
        time.sleep(60)

    child = process.start(work)
    process.wait([child], 5)
    began = time.monotonic()
    child.end()
    assert time.monotonic() - began < SOON_S
    assert os.WTERMSIG(child.status) == signal.SIGKILL


def test_a_daemon_that_holds_the_pipes_does_not_hold_up_its_end():
    def work(emit):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                emit(os.getpid())
                time.sleep(60)
            os._exit(0)
        os.wait()
        time.sleep(0.2)

    began = time.monotonic()
    child = process.start(work)
    (pid,) = ended(child)
    try:
        assert time.monotonic() - began < SOON_S
    finally:
        os.kill(pid, signal.SIGKILL)


def test_a_peer_that_is_gone_raises_and_kills_nobody():
    def work(emit):
        ours, theirs = socket.socketpair()
        theirs.close()
        try:
            ours.send(b"hello")
        except BrokenPipeError:
            emit("raised")

    assert ended(process.start(work)) == ["raised"]


@pytest.mark.parametrize("count", [50, pytest.param(1000, marks=pytest.mark.long)])
def test_no_descriptor_is_left_behind_by_many_children(count):
    program = (
        "import os; from lib.system import process\n"
        "before = os.listdir('/proc/self/fd')\n"
        f"for _ in range({count}):\n"
        "    child = process.start(lambda tell: tell(1))\n"
        "    while not child.has_ended(): process.wait([child], 1)\n"
        "    assert list(child.frames()) == [1]\n"
        "    child.end()\n"
        "print(os.listdir('/proc/self/fd') == before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.stdout, done.stderr) == ("True\n", "")


@pytest.mark.parametrize("alone", [True, False])
def test_a_child_does_not_hold_the_pipes_of_another_nor_its_parents(alone):
    def links(emit):
        emit([pipe_of(int(name)) for name in os.listdir("/proc/self/fd")])

    first = process.start(lambda emit: time.sleep(60))
    child = process.start(links, alone=alone)
    ends = {pipe_of(fd) for one in (first, child) for fd in parents_ends(one)}
    (held,) = ended(child)
    first.end()
    # One end each: of its frames, what it prints and the lifeline.
    assert len(ends & set(held)) == 3
    assert max(held.count(end) for end in ends) == 2


def pipe_of(descriptor: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return ""


def parents_ends(child: Child) -> tuple[int, ...]:
    return (child.frames_fd, child.printed_fd, child._lifeline)


def test_a_child_that_is_alone_has_nothing_open_but_its_own(tmp_path):
    def numbers(emit):
        emit(sorted(os.listdir("/proc/self/fd")))

    with open(tmp_path / "lock", "w") as lock:
        (alone,) = ended(process.start(numbers, alone=True))
        (other,) = ended(process.start(numbers))
        assert str(lock.fileno()) in other
    # The standard three, the frames, the lifeline, and the folder being listed.
    assert len(alone) == 6


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize(
    "loop",
    [
        "time.sleep(60)",
        "re.match(r'(a+)+$', 'a' * 64 + 'b')",
        "signal.pause()",
    ],
)
def test_a_child_ends_soon_after_its_parent_even_in_a_loop_in_c(loop, alone):
    program = (
        "import os, re, signal, time; from lib.system import process\n"
        "def work(tell):\n"
        "    tell(os.getpid())\n"
        f"    {loop}\n"
        f"child = process.start(work, alone={alone})\n"
        "process.wait([child], 5)\n"
        "print(*child.frames(), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30
    )
    assert gone(int(done.stdout))


def test_no_more_processes_is_an_error_that_leaves_nothing_open():
    program = (
        "import os, resource; from lib.system import process\n"
        "before = os.listdir('/proc/self/fd')\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (7, 7))\n"
        "try:\n"
        "    process.start(print)\n"
        "except OSError as error:\n"
        "    print(error.strerror, os.listdir('/proc/self/fd') == before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30
    )
    words = "no more files can be opened: the limit of open files (ulimit -n) is 7"
    assert done.stdout == f"{words} True\n"

"""No descriptor, no process, no thread to be had: one line, and the mail leaves."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from lib.system import process
from lib.system.errors import shortage
from tests.support.instance import NOBODYS, Instance
from tests.support.servers import SmtpServer

DISK = "[disk full]\npath = /\nlimit = 1\nevery = minute\n"
CRON = ("-m", "cron", "-c", "minute")


@pytest.fixture
def smtp():
    with SmtpServer(security="none") as server:
        yield server


@pytest.fixture
def instance(tmp_path, smtp):
    return Instance(tmp_path, smtp.email_section() + DISK)


def with_files(limit):
    return ("sh", "-c", f'ulimit -n {limit}; exec "$@"', "sh")


@pytest.mark.parametrize("limit", [8, pytest.param(10, marks=pytest.mark.long)])
def test_without_descriptors_for_workers_the_limit_is_named_and_mailed(
    instance, smtp, starter, limit
):
    ran = starter.run(instance, CRON, {}, with_files(limit))
    words = (
        f"no more files can be opened: the limit of open files (ulimit -n) is {limit}"
    )
    assert ran.err == f"checker: {words}; the run goes on without it\n"
    assert ran.code == 0
    mails = smtp.wait_for(1)
    assert words in mails[0].subject + mails[0].body
    assert instance.last_run()["ended_at"]
    assert instance.cron().code == 0
    assert instance.records()["disk full"]["status"] == "failing"


@pytest.mark.parametrize(
    "limit", [5, *(pytest.param(limit, marks=pytest.mark.long) for limit in (6, 7))]
)
def test_with_hardly_a_descriptor_a_run_ends_with_lines_that_name_it(
    instance, starter, limit
):
    ran = starter.run(instance, CRON, {}, with_files(limit))
    assert "Traceback" not in ran.err
    assert ran.code != 0 or "ulimit -n" in ran.err
    assert 1 <= len(ran.err.splitlines()) <= 3
    assert "Too many open files" in ran.err or "ulimit -n" in ran.err


@pytest.mark.parametrize(
    "mode", [("list",), ("validate",), ("status",), ("run", "disk*")]
)
def test_what_people_ask_for_says_it_too(instance, starter, mode):
    ran = starter.run(instance, ("-m", *mode), {}, with_files(8))
    assert "Traceback" not in ran.err
    assert len(ran.err.splitlines()) <= 2


@pytest.fixture
def theirs(smtp):
    """Return an instance of a user who has no process yet."""
    if os.geteuid() != 0:
        pytest.skip("only root can be another user")
    # Not below pytest's own folder, which they may not enter.
    with tempfile.TemporaryDirectory() as folder:
        instance = Instance(Path(folder), smtp.email_section() + DISK)
        for path in (instance.folder, *instance.folder.rglob("*")):
            shutil.chown(path, NOBODYS)
        yield instance


def with_processes(limit):
    # Python and the program may lie where nobody else may look.
    read = "+dac_read_search"
    return (
        *("prlimit", f"--nproc={limit}", "setpriv", f"--reuid={NOBODYS}"),
        *("--clear-groups", f"--inh-caps={read}", f"--ambient-caps={read}"),
    )


@pytest.mark.long
@pytest.mark.parametrize(
    ("limit", "what"), [(1, "process"), (2, "thread"), (3, "thread")]
)
def test_without_processes_the_limit_is_named_and_mailed(
    theirs, smtp, starter, limit, what
):
    ran = starter.run(theirs, CRON, {}, with_processes(limit))
    words = (
        f"no {what} can be started: "
        f"the limit of this user's processes (ulimit -u) is {limit}"
    )
    assert ran.err == f"checker: {words}; the run goes on without it\n"
    assert ran.code == 0
    mails = smtp.wait_for(1)
    assert words in mails[0].subject + mails[0].body


def test_without_threads_many_files_are_written_one_by_one(theirs):
    program = (
        "import pathlib, sys; from lib.system.files import replace_files\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "replace_files([(folder / str(one), b'whole') for one in range(100)])\n"
    )
    done = subprocess.run(
        [*with_processes(1), sys.executable, "-c", program, str(theirs.state)],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = [path.read_bytes() for path in theirs.state.iterdir()]
    assert found == [b"whole"] * 100


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENFILE, "x"), "no more files can be opened on this machine"),
        (OSError(errno.ENOMEM, "x"), "no memory is available"),
        (MemoryError(), "no memory is available"),
        (RuntimeError("can't start new thread"), "no thread can be started"),
        (RuntimeError("another"), ""),
        (OSError(errno.EAGAIN, "x"), ""),
        (ValueError("x"), ""),
    ],
)
def test_what_cannot_be_had_is_named(error, words):
    found = shortage(error)
    assert found.startswith(words) and bool(found) == bool(words)


def test_what_is_done_here_tells_as_a_child_does():
    child = process.do_here(lambda emit: emit(["a", ("b",)], {"c": 1}), 5)
    assert child.has_ended()
    assert list(child.frames()) == [["a", ["b"]], {"c": 1}]
    child.end()


def test_what_is_done_here_and_waits_too_long_is_interrupted():
    read, write = os.pipe()

    def work(emit):
        emit(1)
        os.read(read, 1)

    child = process.do_here(work, 0.2)
    assert list(child.frames()) == [1]
    assert child.printed == b"TimeoutError: [Errno 110] it took too long"
    os.close(read)
    os.close(write)

"""Whatever is behind descriptors 0 to 2 and the log: no run is stopped or delayed."""

from __future__ import annotations

import os
import signal
import socket
import time

import pytest

from tests.support.daemon import Daemon
from tests.support.instance import GENERAL, NO_MAIL, Instance
from tests.support.servers import SmtpServer
from tests.support.starters import CLOSED, FULL, GONE, UNREAD
from tests.support.waits import SOON_S, until

DISK = "[disk full]\npath = /\nlimit = 1\nevery = minute\n"
LOUD = """\
import subprocess, sys
from lib.jobbase import *

class Loud(JobBase):
    def executeEvery(self): return JobFrequency.MINUTE
    def execute(self):
        print("from the job")
        print("from its stderr", file=sys.stderr)
        subprocess.run(["echo", "from its command"], check=True)
        assert sys.stdin.read() == ""
        raise CheckFailed("loud")
"""
SLOW = """\
import time
from lib.jobbase import *

class Slow(JobBase):
    def executeEvery(self): return JobFrequency.MINUTE
    def execute(self):
        open({begun!r}, 'w').close()
        time.sleep(40)
        return True
"""
STATES = (CLOSED, FULL, UNREAD, GONE)
EACH = [{number: state} for number in (0, 1, 2) for state in STATES]
ALL = [dict.fromkeys((0, 1, 2), state) for state in STATES]


@pytest.fixture
def smtp():
    with SmtpServer(security="none") as server:
        yield server


@pytest.fixture
def instance(tmp_path, smtp):
    instance = Instance(tmp_path, smtp.email_section() + DISK)
    instance.job("Loud", LOUD)
    return instance


def sample(cases, *those):
    """Return the cases; all but those are long."""
    return [
        case if case in those else pytest.param(case, marks=pytest.mark.long)
        for case in cases
    ]


def named(states):
    """Return the name of a case: what each descriptor is."""
    return " ".join(f"{number} {state}" for number, state in states.items())


@pytest.mark.long
@pytest.mark.parametrize("states", sample(EACH + ALL, ALL[0], ALL[2]), ids=named)
def test_a_run_alerts_and_remembers_whatever_its_descriptors_are(
    instance, smtp, starter, states
):
    ran = starter.run(instance, ("-m", "cron", "-c", "minute", "-d"), states)
    assert ran.code == 0, ran.err
    assert sorted(mail.subject for mail in smtp.wait_for(2)) == [
        "[web1] Loud is failing: loud",
        mail_of_disk(smtp),
    ]
    body = next(mail.body for mail in smtp.mails if "Loud" in mail.subject)
    for line in ("from the job", "from its stderr", "from its command"):
        assert line in body
    # Nothing that was to be shown got into a file of state.
    for path in instance.state.rglob("*"):
        if path.is_file() and path.name != "decisions.log":
            # History is no text.
            assert b"INFO" not in path.read_bytes(), path


def mail_of_disk(smtp):
    (subject,) = (one.subject for one in smtp.mails if "disk full" in one.subject)
    return subject


@pytest.mark.parametrize(
    "states",
    sample([{2: UNREAD}, {1: UNREAD, 2: UNREAD}, {2: CLOSED}], {1: UNREAD, 2: UNREAD}),
    ids=named,
)
def test_settings_that_are_wrong_end_a_run_at_once(instance, starter, states):
    instance.write("[general\n")
    ran = starter.run(instance, ("-m", "cron", "-c", "minute"), states, limit_s=30)
    assert ran.code == 1


@pytest.mark.long
def test_a_run_that_nobody_reads_ends_on_sigterm(instance, starter):
    begun = instance.folder / "begun"
    instance.job("Slow", SLOW.format(begun=str(begun)))
    arguments = ("-m", "cron", "-c", "minute", "-d")
    process = starter.start(instance, arguments, {1: UNREAD, 2: UNREAD})
    try:
        until(begun.exists)
        process.send_signal(signal.SIGTERM)
        assert process.wait(SOON_S) == 0
    finally:
        process.kill()


@pytest.mark.long
def test_what_is_read_late_or_little_by_little_comes_whole(instance, starter):
    for number in range(40):
        instance.add(DISK.replace("full", f"full{number}" + "x" * 100))
    process = starter.start(instance, ("-m", "cron", "-c", "minute", "-d"), {})
    time.sleep(0.5)
    _out, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert sum("INFO disk full" in line for line in err.splitlines()) == 41


@pytest.mark.long
def test_a_socket_that_nobody_reads_stops_no_run(instance, smtp, starter):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                theirs.send(b"x" * 4096)
        theirs.setblocking(True)
        arguments = ("-m", "cron", "-c", "minute", "-d")
        assert starter.run(instance, arguments, {1: theirs, 2: theirs}).code == 0
    assert len(smtp.wait_for(2)) == 2


def test_a_daemon_that_nobody_reads_answers(tmp_path, starter):
    daemon = Daemon(Instance(tmp_path))
    starter.start(daemon.instance, ("-m", "daemon"), {1: UNREAD, 2: UNREAD})
    ends_at = time.monotonic() + 15
    while time.monotonic() < ends_at:
        try:
            assert daemon.word() in ("JobProblem", "MailProblem")
            return
        except ConnectionRefusedError:
            time.sleep(0.1)
    pytest.fail("it never answers")


# What people ask for.

LIST, *OTHERS = ("list",), ("status",), ("why", "disk full"), ("validate",)
MODES = sample([LIST, *OTHERS], LIST)
BOTH_CLOSED = {0: CLOSED, 2: CLOSED}
BESIDE = [{0: CLOSED}, {0: UNREAD}, *({2: state} for state in STATES), BOTH_CLOSED]


@pytest.fixture(scope="module")
def met(tmp_path_factory):
    """Return an instance that has run."""
    instance = Instance(tmp_path_factory.mktemp("met"), NO_MAIL + DISK)
    assert instance.cron().code == 0
    return instance


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode[0])
@pytest.mark.parametrize("states", sample(BESIDE, BOTH_CLOSED, {2: UNREAD}), ids=named)
def test_a_table_is_shown_whatever_is_beside_it(met, starter, mode, states):
    ran = starter.run(met, ("-m", *mode), states)
    assert ran.code == 0, ran.err
    assert ran.out.count("\n") >= 2


@pytest.mark.long
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode[0])
def test_a_table_that_cannot_be_written_is_said_in_one_line(met, starter, mode):
    ran = starter.run(met, ("-m", *mode), {1: FULL})
    assert (ran.code, ran.err) == (
        1,
        "checker: standard output cannot be written: No space left on device\n",
    )


@pytest.mark.long
@pytest.mark.parametrize("mode", [*MODES, ("list", "--help")], ids=lambda mode: mode[0])
@pytest.mark.parametrize("state", [CLOSED, GONE])
def test_who_wants_no_table_gets_the_exit_code(met, starter, mode, state):
    ran = starter.run(met, ("-m", *mode), {1: state})
    assert (ran.code, ran.err) == (0, "")


def test_a_table_waits_for_its_reader_and_can_be_ended(met, starter):
    process = starter.start(met, ("-m", "list"), {1: UNREAD})
    time.sleep(1.5)
    assert process.poll() is None
    process.terminate()
    assert process.wait(SOON_S) == -signal.SIGTERM


@pytest.mark.long
def test_a_table_waits_for_the_reader_of_a_pipe_that_does_not_block(met, starter):
    read, write = os.pipe()
    os.set_blocking(write, False)
    with os.fdopen(read) as pipe, os.fdopen(write, "wb", buffering=0) as ours:
        while ours.write(b"x" * 4095 + b"\n") is not None:
            pass
        process = starter.start(met, ("-m", "list", "--json"), {1: ours})
        time.sleep(1)
        ours.close()
        text = pipe.read()
        assert process.wait(SOON_S) == 0
    assert text.rstrip().endswith("]") and "disk full" in text


# The log file.


def logging_to(tmp_path, smtp, path):
    general = GENERAL + f"logfile = {path}\n"
    return Instance(tmp_path, smtp.email_section() + DISK, general)


KINDS = {"FIFO": "fifo", "folder": "folder", "socket": "socket", "device": "/dev/full"}


@pytest.mark.fault("B14", "the log is no regular file")
@pytest.mark.parametrize("kind", KINDS)
def test_a_log_that_is_no_file_is_said_once_and_the_run_goes_on(
    tmp_path, smtp, kind, approved
):
    path = tmp_path / KINDS[kind]
    server = socket.socket(socket.AF_UNIX)
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "socket":
        server.bind(str(path))
    with server:
        ran = logging_to(tmp_path, smtp, path).cron("minute", "-v")
    assert ran.code == 0
    first, *others = ran.err.splitlines()
    approved(first)
    assert str(path) in first and str(path) not in "".join(others)
    assert "INFO disk full: failing" in ran.err
    assert len(smtp.wait_for(1)) == 1


@pytest.mark.long
@pytest.mark.fault("B14", "the log is a FIFO whose reader does not read")
@pytest.mark.parametrize("flag", ["-v", "--nomail"])
def test_a_log_that_is_a_pipe_nobody_reads_holds_up_no_run(
    tmp_path, smtp, starter, flag
):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    # Open for both, so that it has a reader; full from the beginning.
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    with os.fdopen(descriptor, "r+b", buffering=0) as pipe:
        while pipe.write(b"x" * 4096) is not None:
            pass
        instance = logging_to(tmp_path, smtp, path)
        ran = starter.run(instance, ("-m", "cron", "-c", "minute", flag), {})
    assert ran.code == 0
    assert instance.last_run()["failing"] == 1


def test_a_log_to_nowhere_is_taken_as_it_is_meant(tmp_path, smtp):
    assert logging_to(tmp_path, smtp, "/dev/null").cron("minute", "-v").silent

"""Rows G11, G14 and G15: the endpoint, whatever runs and strangers do."""

from __future__ import annotations

import os
import resource
import socket
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta

import pytest

from lib.peers import answer
from lib.web import server
from tests.support.daemon import Daemon
from tests.support.instance import NO_MAIL, Instance
from tests.support.waits import until

MAIL = "[email]\nsmtpserver = 127.0.0.1\n"


@pytest.fixture
def daemon(tmp_path):
    with Daemon(Instance(tmp_path, NO_MAIL)) as it:
        yield it


def connected(daemon, stack):
    return stack.enter_context(socket.create_connection(("127.0.0.1", daemon.port)))


@contextmanager
def descriptors(count):
    """Let this process open so many, or skip."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        pytest.skip(f"{count} connections need a hard limit of so many files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def open_files(daemon):
    return len(os.listdir(f"/proc/{daemon.process.pid}/fd"))


def is_closed(one):
    one.setblocking(False)
    try:
        return one.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


@pytest.mark.long
@pytest.mark.fault("G11", "our cron stopped: the endpoint tells within 3 min")
def test_g11_cron_that_stopped_is_a_job_problem_at_the_endpoint(tmp_path):
    instance = Instance(tmp_path, MAIL)
    instance.cron()
    with Daemon(instance) as daemon:
        assert daemon.word() == "True"
        # As if that run had been three minutes ago.
        old = (datetime.now(UTC) - timedelta(minutes=3, seconds=1)).isoformat()
        instance.mend(lambda run: run.update(ended_at=old), "run.json")
        assert daemon.word() == "JobProblem"
        instance.cron()
        assert daemon.word() == "True"


@pytest.mark.fault("G11", "our cron stopped: a file that nobody replaces is old")
def test_g11_cron_that_stopped_is_an_old_answer_in_the_file(tmp_path):
    file = tmp_path / "checker.txt"
    instance = Instance(tmp_path, f"{MAIL}[status]\nwrite = {file}\n")
    instance.cron()
    content, now = file.read_bytes(), datetime.now(UTC)
    assert answer.judged(content, now=now).peer_status is answer.PeerStatus.OK
    later = now + answer.MAX_AGE + timedelta(seconds=2)
    assert answer.judged(content, now=later).peer_status is answer.PeerStatus.STALE


@pytest.mark.long
@pytest.mark.fault("G15", "a local user or a web page tries to set the status")
def test_g15_nobody_can_set_how_we_are(tmp_path):
    instance = Instance(tmp_path, NO_MAIL)
    instance.cron()
    kept = instance.everything_written()
    with Daemon(instance) as daemon:
        before = daemon.word()
        for method in ("POST", "PUT", "PATCH", "DELETE", "True"):
            for path in ("/", "/True", "/?True", "/?word=True&nonce=True"):
                assert daemon.ask(path, method)[0] >= 400
        assert daemon.word() == before == "MailProblem"
        assert b"True" not in daemon.ask("/?nonce=True&key=True&server=True")[1]
    assert instance.everything_written() == kept


@pytest.mark.long
@pytest.mark.fault("G14", "300 connections drip a byte at a time")
def test_g14_300_that_drip_a_byte_at_a_time_keep_nobody_waiting_and_live_10_s(daemon):
    over = threading.Event()
    with ExitStack() as stack:
        drips = [connected(daemon, stack) for _ in range(300)]

        def drip():
            while not over.wait(0.5):
                for one in drips:
                    with suppress(OSError):
                        one.send(b"G")

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            took = [daemon.seconds_to_answer() for _ in range(10)]
            assert max(took) < 1.0
            # They were at it all the time, and a byte now and then saves nobody.
            assert open_files(daemon) > 300
            until(lambda: open_files(daemon) < 20, server.LONGEST_S + 15)
        finally:
            over.set()
            thread.join()


@pytest.mark.long
@pytest.mark.fault("G14", "10,000 connections opened at once")
def test_g14_10_000_opened_at_once_keep_nobody_waiting(daemon):
    with descriptors(10_100), ExitStack() as stack:
        began = time.monotonic()
        for _ in range(10_000):
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            with suppress(BlockingIOError):
                one.connect(("127.0.0.1", daemon.port))
        assert daemon.seconds_to_answer() < 10.0
        assert time.monotonic() - began < 30
        assert open_files(daemon) <= server.MAX_CONNECTIONS + 20
        assert daemon.seconds_to_answer() < 1.0


@pytest.mark.fault("G14", "a request line of 1 MB")
def test_g14_a_request_line_of_1_mb_is_refused(daemon):
    with socket.create_connection(("127.0.0.1", daemon.port), timeout=20) as one:
        said = b""
        with suppress(OSError):
            one.sendall(b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\n\r\n")
        with suppress(OSError):
            said = one.recv(1000)
        assert said == b"" or b" 431 " in said
        until(lambda: is_closed(one))
    assert daemon.seconds_to_answer() < 1.0

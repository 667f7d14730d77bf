"""[unix NAME] against real sockets: each option alone turns the status, both ways."""

from __future__ import annotations

import contextlib
import grp  # noqa: F401  # as nobody, Python may not find it any more
import os
import pwd  # noqa: F401
import re
import socket
import tempfile
import threading
import time
from pathlib import Path

import pytest

from jobs.UnixSocketChecker import UnixSocketChecker
from lib.plugins.kind import KindTable
from tests.support.listeners import Datagrams, found_by, job_of, result_of
from tests.support.waits import SOON_S

FORMS = {"stream": socket.SOCK_STREAM, "seqpacket": socket.SOCK_SEQPACKET}


@contextlib.contextmanager
def listening(path, talk=lambda _conn: None, form="stream"):
    """Have a daemon at a path, each connection of which gets ``talk``."""
    server = socket.socket(socket.AF_UNIX, FORMS[form])
    server.bind(path)
    server.listen(8)

    def serve():
        while not over.is_set():
            conn, _peer = server.accept()
            with conn, contextlib.suppress(OSError):
                conn.settimeout(5)
                if not over.is_set():
                    talk(conn)

    over = threading.Event()
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        over.set()
        with socket.socket(socket.AF_UNIX, FORMS[form]) as last:
            last.connect(path)
        thread.join(10)
        server.close()


def daemon(conn):
    """Greet, and answer each line with what it was."""
    conn.sendall(b"hello\n")
    while said := conn.recv(4096):
        conn.sendall(b"re: " + said)


#: Options with which the daemon is OK, and such with which it is not.
CASES = {
    "path": ({}, {"path": "/nowhere/socket"}),
    "type": ({"type": "stream"}, {"type": "datagram"}),
    "banner": ({"banner": "hello"}, {"banner": "goodbye"}),
    "send": (
        {"send": r"a\n", "expect": r"re: a\n"},
        {"send": r"b\n", "expect": r"re: a\n"},
    ),
    "expect": ({"expect": "hello"}, {"expect": "goodbye"}),
    "expect_regex": ({"expect_regex": "^hel+o$"}, {"expect_regex": "^ello"}),
    "dialog": (
        {"dialog": "expect hello\n  send a\n  expect re: a\n  send b\n  expect b"},
        {"dialog": "expect hello\n  send a\n  expect re: a\n  send b\n  expect a"},
    ),
    "fail_time": ({"fail_time": "40s"}, {"fail_time": "0s"}),
    "warn_time": ({"warn_time": "40s"}, {"warn_time": "0s"}),
}


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "s")


def found(path, options, **more):
    given = {"path": path, "timeout": SOON_S, **options, **more}
    return found_by(UnixSocketChecker, **given)


def test_every_option_has_a_case():
    assert set(KindTable("unix", "minute", UnixSocketChecker.options).own) == {*CASES}


@pytest.mark.parametrize("option", CASES)
def test_an_option_alone_turns_the_status(option, path):
    good, bad = CASES[option]
    with listening(path, daemon):
        assert found(path, good) == "fine"
        assert found(path, bad, timeout=0.6) != "fine"


def test_the_time_is_measured(path):
    with listening(path, daemon):
        result = result_of(job_of(UnixSocketChecker, path=path, warn_time="20s"))
    assert result.values["time"].warn.high == 20


def test_an_abstract_socket_works():
    name = f"checker-test-{os.getpid()}"
    with listening(f"\0{name}", daemon):
        assert found(f"@{name}", {"banner": "hello"}) == "fine"
    said = found(f"@{name}", {})
    assert said == f"@{name}: connection refused: nobody listens there"


def test_a_seqpacket_socket_works(path):
    with listening(path, daemon, form="seqpacket"):
        assert found(path, {"type": "seqpacket", "banner": "hello"}) == "fine"
        said = found(path, {"type": "datagram"})
        words = "this is no socket of type datagram; set type = stream or seqpacket"
        assert said == f"{path}: {words}"


def test_a_datagram_socket_is_asked_and_answers(path):
    with Datagrams(lambda said: (b"re: " + said,), path=path) as it:
        options = {"type": "datagram", "send": "a"}
        assert found(path, options) == "fine"
        assert found(path, {**options, "expect": "re: a"}) == "fine"
        said = found(path, {**options, "expect": "no"})
        assert said == (
            f"{path}: did not receive 'no' in the answer; received 5 bytes: 're: a'"
        )
        assert it.heard == [b"a"] * 3


def test_a_datagram_socket_that_is_silent_is_failing_where_an_answer_is_expected(path):
    with Datagrams(path=path):
        said = found(
            path, {"type": "datagram", "send": "a", "expect": "b"}, timeout=0.6
        )
    assert said.startswith(f"{path}: no answer within 0.6 s\n")


# What is wrong.


def test_a_socket_that_is_missing_is_failing(path):
    assert found(path, {}) == f"{path}: there is no such socket"
    assert found(f"{path}/s/t", {}) == f"{path}/s/t: there is no such socket"


def test_a_daemon_that_is_gone_is_failing(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
    assert found(path, {}) == f"{path}: connection refused: nobody listens there"


def test_a_file_is_not_a_socket(path):
    Path(path).write_text("")
    assert found(path, {}) == f"{path}: this is not a socket"


def test_a_daemon_that_is_silent_is_failing_at_the_deadline(path):
    with listening(path, lambda conn: conn.recv(1)):
        said = found(path, {"expect": "hello"}, timeout=0.6)
    words = "connected, but did not receive 'hello' within 0.6 s; received nothing"
    assert said == f"{path}: {words}"


def test_a_daemon_that_lies_is_shown(path):
    with listening(path, lambda conn: conn.sendall(b"I am not it")):
        said = found(path, {"expect": "hello"})
    assert said == (
        f"{path}: connected, but did not receive 'hello' before the connection was "
        "closed; received 11 bytes: 'I am not it'"
    )


def test_a_daemon_that_accepts_nothing_is_failing_at_the_deadline(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(0)
        with socket.socket(socket.AF_UNIX) as first:
            first.connect(path)
            began = time.monotonic()
            said = found(path, {}, timeout=0.6)
            took = time.monotonic() - began
    words = "it takes no connection within 0.6 s, as its queue is full"
    assert said == f"{path}: {words}"
    assert 0.3 < took < SOON_S


def test_a_daemon_that_is_busy_for_a_moment_is_ok(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(0)
        with socket.socket(socket.AF_UNIX) as first:
            first.connect(path)
            timer = threading.Timer(0.1, lambda: server.accept()[0].close())
            timer.start()
            assert found(path, {}) == "fine"
            timer.join()


@pytest.mark.parametrize(
    ("is_there", "is_fine"), [(True, False), (False, True), (None, True)]
)
def test_nobody_may_have_to_listen(is_there, is_fine, path):
    if is_there is None:
        assert found(path, {"expect": "closed"}) == "fine"
        return
    with listening(path, daemon):
        if is_there:
            said = found(path, {"expect": "closed"})
            assert said == f"{path}: somebody listens; expected closed"
    if not is_there:
        assert found(path, {"expect": "closed"}) == "fine"


@contextlib.contextmanager
def as_nobody():
    """Be a user who may do little, if we are root."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_what_this_user_may_not_do_is_unknown():
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = f"{folder}/s"
        with listening(path, daemon):
            os.chmod(path, 0o000)
            with as_nobody():
                said = found(path, {})
                closed = found(path, {"expect": "closed"})
            os.chmod(path, 0o020)
            os.chown(path, -1, 12345)
            with as_nobody():
                grouped = found(path, {})
            os.chmod(folder, 0o600)
            with as_nobody():
                hidden = found(path, {})
            os.chmod(folder, 0o700)
            os.chmod(path, 0o700)
    assert re.match(r"unknown: not checked: the user \S+ may not connect to /", said)
    assert re.search(r", with mode 000; have its daemon make it so that \S+ may", said)
    assert "with mode 020; as root: usermod -a -G 12345 " in grouped
    assert closed.startswith("unknown: ")
    assert hidden.endswith(" may not enter its folder")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("run/x.sock", "expected an absolute path, or @NAME"),
        ("@", "expected an absolute path, or @NAME"),
        ("/" + "x" * 107, "expected at most 107 bytes"),
        ("/" + "ü" * 54, "expected at most 107 bytes"),
    ],
)
def test_a_path_that_cannot_be_used_says_what_was_expected(value, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        UnixSocketChecker.options["path"].read(value)


def test_the_longest_path_works():
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/" + "x" * (106 - len(folder))
        assert UnixSocketChecker.options["path"].read(path) == path
        with listening(path, daemon):
            assert found(path, {"banner": "hello"}) == "fine"

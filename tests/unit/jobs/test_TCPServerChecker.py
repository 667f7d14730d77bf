import socket
import time
from fnmatch import fnmatchcase

import pytest

from jobs.TCPServerChecker import TCPServerChecker
from lib.net.dialog import shown
from tests.support.listeners import (
    HOLD,
    RESET,
    Listener,
    dripping,
    found_by,
    job_of,
    result_of,
    says,
    tls_context,
    write_authority,
)


def found(listener, host="", **options):
    options = {"host": host or listener.host, "port": listener.port, **options}
    return found_by(TCPServerChecker, **options)


def refused_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_a_port_that_accepts_is_ok():
    with Listener(says(HOLD)) as it:
        assert found(it) == "fine"


def test_a_refused_connection_is_named():
    port = refused_port()
    text = found_by(TCPServerChecker, host="127.0.0.1", port=port)
    assert text == f"127.0.0.1:{port}: connection refused"


def test_the_time_until_it_responded_is_measured_and_judged():
    with Listener(says(HOLD)) as it:
        options = {"host": it.host, "port": it.port}
        slow = result_of(job_of(TCPServerChecker, fail_time="0ms", **options))
        quick = result_of(job_of(TCPServerChecker, warn_time="20s", **options))
    assert slow.reason.startswith("time is ")
    assert slow.reason.endswith("ms, over fail_time = 0s")
    assert (quick.status, quick.values["time"].warn.high) == ("ok", 20)


def test_a_failure_is_about_a_host_a_cause_and_addresses():
    job = job_of(TCPServerChecker, host="localhost", port=refused_port())
    about = result_of(job)
    assert (about.host, about.cause) == (
        "localhost",
        "connection refused",
    )
    assert "127.0.0.1" in about.addresses


def test_every_address_of_a_name_is_named_when_none_answers():
    port = refused_port()
    lines = found_by(TCPServerChecker, host="localhost", port=port).split("\n")
    assert lines[0] == f"localhost:{port}: connection refused"
    assert f"tried 127.0.0.1:{port}: connection refused" in lines


def test_a_name_that_does_not_exist_is_named(approved):
    text = found_by(TCPServerChecker, host="x.invalid", port=1, timeout=5)
    # What a resolver says differs.
    approved(text.rpartition(": ")[0])


@pytest.mark.parametrize("name", ["a..b", "x" * 64 + ".example", ".example", "ü" * 70])
def test_a_name_that_can_be_none_is_named(name, approved):
    text = found_by(TCPServerChecker, host=name, port=1, timeout=5)
    approved(text.rpartition(": ")[0])


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_an_ipv6_literal_works(host):
    with Listener(says(HOLD), host="::1") as it:
        assert found(it, host=host) == "fine"


def test_only_the_chosen_family_is_tried(approved):
    with Listener(says(HOLD)) as it:
        assert found(it, host="localhost", family="ipv4") == "fine"
        assert "127.0.0.1" not in found(it, host="localhost", family="ipv6")
        approved(found(it, host="127.0.0.1", family="ipv6", timeout=5))


def test_what_is_expected_makes_it_ok():
    with Listener(says(b"SSH-2.0-x\r\n", HOLD, first=True)) as it:
        assert found(it, expect="SSH-2.0") == "fine"


def test_what_is_expected_may_come_in_pieces():
    with Listener(says(b"+PO", 0.1, b"NG\r\n", HOLD, first=True)) as it:
        assert found(it, expect=r"+PONG\r\n") == "fine"


def test_what_is_to_be_sent_is_sent():
    with Listener(says(b"+PONG\r\n", HOLD)) as it:
        assert found(it, send=r"PING\r\n\r\n", expect="+PONG") == "fine"
        assert it.heard == [b"PING\r\n\r\n"]


def test_silence_instead_of_what_is_expected_is_named(approved):
    with Listener(says(HOLD)) as it:
        approved(found(it, expect=r"SSH\r", timeout=0.5))


def test_something_else_than_what_is_expected_is_shown(approved):
    with Listener(says(b"220 mail\r\n", first=True)) as it:
        approved(found(it, expect="SSH"))


def test_a_reset_is_named(approved):
    with Listener(says(b"22", 0.1, RESET, first=True)) as it:
        approved(found(it, expect="SSH"))


def test_a_drip_ends_at_the_deadline(approved):
    with Listener(dripping(b"")) as it:
        text = found(it, send=r"\r\n\r\n", expect="SSH", timeout=1)
        approved(text, hide={r"\d+ bytes: '(x+)'": "N bytes: 'x...'"})


def test_64_kilobytes_are_read_at_most(approved):
    with Listener(says(bytes(200_000), HOLD, first=True)) as it:
        approved(found(it, expect="SSH", timeout=5), hide={r"(\\x00)+": "..."})


def test_long_answers_are_cut():
    assert shown(b"a" * 100) == f"'{'a' * 60}'..."


def test_the_older_program_knew_the_port_by_this_name():
    job = job_of(TCPServerChecker, host="10.0.0.1", port=22)
    kind = "<class 'jobs.TCPServerChecker.TCPServerChecker.ServerChecker'>"
    old = f"{kind} for my [box](10.0.0.1:22)|10.0.0.1|22|my [box]|minute"
    assert fnmatchcase(old, job.formerly())
    assert not fnmatchcase(old.replace("22", "23"), job.formerly())


@pytest.mark.long
@pytest.mark.parametrize("turned", [1, -1], ids=["first", "last"])
def test_of_every_address_each_time_is_the_longest(tmp_path, turned):
    context = tls_context("pair.example")

    def slow_handshake(conn, _listener):
        time.sleep(0.4)
        with context.wrap_socket(conn, server_side=True) as secure:
            secure.sendall(b"hi")

    def slow_answer(conn, _listener):
        with context.wrap_socket(conn, server_side=True) as secure:
            time.sleep(0.8)
            secure.sendall(b"hi")

    first, last = [slow_handshake, slow_answer][::turned]
    with Listener(first) as it, Listener(last, host="127.0.0.2", port=it.port):
        job = job_of(
            TCPServerChecker,
            host="pair.example",
            port=it.port,
            addresses="every",
            tls="yes",
            cafile=write_authority(tmp_path),
            expect="hi",
            fail_time_tls="0.3s",
        )
        result = result_of(job)
    place = f"127.0.0.{1 if turned == 1 else 2}:{it.port}"
    first_line, named = result.reason.split("\n")
    assert first_line.startswith("time_tls is 4")
    assert named == f"time_tls is that of {place}, the worst of 2"
    assert result.values["time"].number > 0.7

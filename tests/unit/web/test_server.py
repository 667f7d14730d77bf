"""What strangers may do to the endpoint, and who is answered all the while."""

from __future__ import annotations

import socket
from contextlib import ExitStack, suppress

import pytest
from waitress import wasyncore

from lib.web import server
from tests.support.daemon import Daemon
from tests.support.instance import NO_MAIL, Instance
from tests.support.waits import until


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    """One for all that is sent to it, as it is for all strangers."""
    with Daemon(Instance(tmp_path_factory.mktemp("daemon"), NO_MAIL)) as it:
        yield it


def connected(daemon, stack):
    return stack.enter_context(socket.create_connection(("127.0.0.1", daemon.port)))


@pytest.mark.parametrize(
    "garbage",
    [
        b"\r\n\r\n\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 300,
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET http://x.example/ HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 9999999999999\r\n\r\n",
        b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 5000 + b"\r\n",
        b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    ],
    ids=[
        "blank lines",
        "tls",
        "version",
        "a proxy's",
        "a long body",
        "chunks",
        "headers",
        "expect",
    ],
)
def test_garbage_harms_nobody(daemon, garbage):
    with socket.create_connection(("127.0.0.1", daemon.port), timeout=20) as one:
        with suppress(OSError):
            one.sendall(garbage)
        # It holds nobody up until its time is over.
        assert daemon.seconds_to_answer() < server.LONGEST_S * 0.8
    assert daemon.word() == "MailProblem" or daemon.word() == "JobProblem"


def test_one_that_is_answered_is_not_the_one_that_makes_room(daemon):
    with ExitStack() as stack:
        asking = connected(daemon, stack)
        asking.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        for _ in range(server.MAX_CONNECTIONS + 50):
            connected(daemon, stack)
        asking.settimeout(10)
        assert asking.recv(100).startswith(b"HTTP/1.1 200")


def test_of_requests_that_come_at_once_the_first_is_answered(daemon):
    with ExitStack() as stack:
        one = connected(daemon, stack)
        one.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 50)
        one.settimeout(20)
        said = b""
        with suppress(OSError):
            while part := one.recv(4096):
                said += part
        assert said.count(b"HTTP/1.1 200") == 1


def test_a_connection_that_is_closed_for_its_age_takes_no_new_one_with_it(monkeypatch):
    monkeypatch.setattr(server, "LONGEST_S", 0.0)
    monkeypatch.setattr(server, "LOOK_EVERY_S", 0.0)
    one = server.Server()
    ((_host, port),) = one.add(lambda environ, start: [], "127.0.0.1", 0)
    (listener,) = one._listeners
    with ExitStack() as stack:
        for _ in range(5):
            address = ("127.0.0.1", port)
            stack.enter_context(socket.create_connection(address))
        listener.handle_accept()
        assert len(listener.connections) == 5
        # While descriptors are gathered to be waited for, none is closed.
        assert listener.readable()
        assert len(listener.connections) == 5
        listener.close_old()
        assert len(listener.connections) == 0
        wasyncore.close_all(one._map)
        for threads in one._threads:
            threads.shutdown()


def test_of_bodies_that_are_sent_at_once_the_oldest_go_where_they_are_too_many(
    monkeypatch,
):
    monkeypatch.setattr(server, "MAX_BODIES", 100_000)
    one = server.Server()
    ((_host, port),) = one.add(
        lambda environ, start: [], "127.0.0.1", 0, max_body=1_000_000
    )
    (listener,) = one._listeners
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n"
    with ExitStack() as stack:
        address = ("127.0.0.1", port)
        # A form is small, and may come slowly.
        senders = [
            stack.enter_context(socket.create_connection(address)) for _ in range(6)
        ]
        for sender in senders:
            sender.sendall(head + b"x" * 9_000)

        def held():
            one._turn(0.01)
            return [connection.held for connection in listener.connections.values()]

        until(lambda: held() == [9_000] * 6)
        for sender in senders[1:]:
            sender.sendall(b"x" * 31_000)
        until(lambda: held() == [9_000, 40_000, 40_000])
        wasyncore.close_all(one._map)
        for threads in one._threads:
            threads.shutdown()

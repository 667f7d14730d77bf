import errno
import os
import socket

import pytest

from jobs.DNSChecker import DNSChecker
from jobs.HTTPServerChecker import HTTPServerChecker
from jobs.PingChecker import PingChecker
from jobs.TCPServerChecker import TCPServerChecker
from jobs.TLSCertExpiration import TLSCertExpiration
from jobs.UDPServerChecker import UDPServerChecker
from lib.net import connect as net_connect
from lib.net.connect import (
    Deadline,
    Unreachable,
    connect,
    connect_first,
    nobody_answered,
    numeric,
    reason,
    resolve,
    resolver_words,
    shown_address,
    why_unanswered,
)
from tests.support.listeners import HOLD, Listener, found_by, says
from tests.support.network import in_network


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_a_deadline_ends_at_its_limit(approved):
    clock = Clock()
    deadline = Deadline(5, clock)
    assert deadline.left() == pytest.approx(5)
    clock.now += 5
    assert deadline.passed
    with pytest.raises(TimeoutError) as caught:
        deadline.left()
    approved(str(caught.value))


def test_a_margin_is_no_large_part_of_the_time():
    assert Deadline(5, Clock(), margin_s=0.2).left() == pytest.approx(4.8)
    assert Deadline(0.1, Clock(), margin_s=0.2).left() == pytest.approx(0.08)


def test_a_share_is_a_part_of_what_is_left():
    clock = Clock()
    deadline = Deadline(5, clock)
    clock.now += 1
    share = deadline.share(2)
    assert (share.left(), str(share)) == (pytest.approx(2), "2 s")


def test_a_dead_address_leaves_time_for_the_next(monkeypatch, approved):
    with Listener(says(HOLD)) as living, socket.socket() as full:
        # A listener whose queue is full answers no more, as if packets were dropped.
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        dead = full.getsockname()
        waiting = [socket.socket() for _ in range(3)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(dead)
        both = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", dead),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", living.port)),
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_: both)
        with connect("two.example", 1, Deadline(1)) as sock:
            assert sock.getpeername()[1] == living.port
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_: both[:1])
        with pytest.raises(Unreachable) as caught:
            connect("one.example", 1, Deadline(0.5))
        approved(str(caught.value))
        for sock in waiting:
            sock.close()


def test_an_address_that_does_not_answer_is_shown_beside_one_that_does():
    with Listener(says(b"")) as there, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        addresses = [
            (socket.AF_INET, closed.getsockname()),
            (socket.AF_INET, ("127.0.0.1", there.port)),
        ]
        said: list[str] = []
        connect_first("both", 1, addresses, Deadline(5), emit=said.append).close()
    assert said == [f"127.0.0.1:{addresses[0][1][1]}: connection refused"]


def test_a_resolver_that_is_silent_is_named_within_the_deadline(monkeypatch, approved):
    import threading

    over = threading.Event()

    def silent(host, port, family, kind, proto, flags=0):
        if flags:
            raise socket.gaierror(socket.EAI_NONAME, "not an address")
        over.wait(10)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    with pytest.raises(Unreachable) as caught:
        resolve("a.example", 80, Deadline(0.3))
    over.set()
    approved(str(caught.value))


@pytest.mark.parametrize(
    ("code", "family"),
    [
        (socket.EAI_NONAME, "any"),
        (socket.EAI_NONAME, "ipv6"),
        (socket.EAI_AGAIN, "any"),
        (socket.EAI_FAIL, "any"),
        (-5, "ipv4"),
        (-99, "any"),
    ],
)
def test_why_a_name_has_no_address_is_said_in_words(code, family, approved):
    approved(resolver_words(socket.gaierror(code, "odd"), family))


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ECONNREFUSED, "connection refused"),
        (errno.ENETUNREACH, "network is unreachable"),
        (errno.EHOSTUNREACH, "no route to host"),
        (errno.ECONNRESET, "connection reset by peer"),
    ],
)
def test_why_a_connection_did_not_come_about_is_said_in_words(number, words):
    error = OSError(number, os.strerror(number))
    assert reason(error, Deadline(5)) == words


def test_one_address_needs_one_line():
    failure = nobody_answered("10.0.0.1", 80, [(("10.0.0.1", 80), "refused")])
    assert str(failure) == "10.0.0.1:80: refused"
    assert (failure.host, failure.cause) == ("10.0.0.1", "refused")
    assert failure.addresses == ("10.0.0.1",)


def test_different_reasons_are_each_named_at_their_address(approved):
    tried = [(("::1", 80, 0, 0), "refused"), (("127.0.0.1", 80), "no answer")]
    approved(str(nobody_answered("a.example", 80, tried)))


def test_very_many_addresses_are_counted(approved):
    tried = [((f"10.0.0.{n}", 80), f"reason number {n}") for n in range(30)]
    lines = str(nobody_answered("a.example", 80, tried)).split("\n")
    approved(lines[0], "1")
    approved(lines[-1], "2")
    assert len(lines) == 12


def test_what_a_router_says_is_no_trouble_of_this_machine():
    # To itself this machine has a route.
    tried = [(("127.0.0.1", 80), "no route to host")]
    failure = why_unanswered("a.example", 80, tried)
    assert isinstance(failure, Unreachable)
    assert failure.cause == "no route to host"


NO_ROUTE = {"host": "192.0.2.1", "timeout": 5}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a network of its own")
@pytest.mark.parametrize("addresses", ["first", "every"])
@pytest.mark.parametrize(
    ("kind", "more"),
    [
        (TCPServerChecker, {"port": 80}),
        (TCPServerChecker, {"port": 80, "banner": "220"}),
        (TLSCertExpiration, {}),
        (UDPServerChecker, {"port": 53, "send": "x"}),
        (PingChecker, {}),
    ],
)
def test_without_a_route_of_this_machine_each_kind_is_unknown(kind, more, addresses):
    options = {**NO_ROUTE, **more, "addresses": addresses}
    said = in_network(lambda: found_by(kind, **options))
    first, _newline, second = said.partition("\n")
    assert first == "unknown: not checked: this machine has no route to 192.0.2.1"
    assert second == "is its network up? see ip addr and ip route"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a network of its own")
@pytest.mark.parametrize("kind", [TCPServerChecker, UDPServerChecker, PingChecker])
def test_that_one_of_every_address_is_out_of_reach_is_our_own_trouble(kind):
    def inside():
        net_connect.look_up = lambda _host, port, _family: [
            (socket.AF_INET, (one, port)) for one in ("127.0.0.1", "192.0.2.1")
        ]
        how = {"host": "a.example", "addresses": "every", "timeout": 5}
        if kind is PingChecker:
            return found_by(kind, count=1, **how)
        form = socket.SOCK_DGRAM
        if kind is TCPServerChecker:
            form = socket.SOCK_STREAM
        with socket.socket(socket.AF_INET, form) as there:
            there.bind(("127.0.0.1", 0))
            if kind is TCPServerChecker:
                there.listen()
            return found_by(kind, port=there.getsockname()[1], **how)

    assert in_network(inside, answer=lambda _to, _number: "well") == (
        "unknown: not checked: this machine has no route to 1 of 2 addresses of "
        "a.example: 192.0.2.1\n"
        "is its network up? see ip addr and ip route; family = ipv4, or ipv6, asks "
        "such addresses only"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a network of its own")
@pytest.mark.parametrize(
    ("more", "where"),
    [
        ({}, "192.0.2.1"),
        ({"addresses": "every"}, "192.0.2.1"),
        ({"proxy": "http://192.0.2.9:1"}, "the proxy 192.0.2.9:1"),
    ],
)
def test_without_a_route_of_this_machine_a_page_is_unknown(more, where):
    options = {"url": "http://192.0.2.1/", "timeout": 5, **more}
    said = in_network(lambda: found_by(HTTPServerChecker, **options))
    start = f"unknown: not checked: this machine has no route to {where}\n"
    assert said.startswith(start)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a network of its own")
@pytest.mark.parametrize("ask", ["first", "every"])
def test_without_a_route_to_its_servers_a_name_is_unknown(ask):
    options = {"servers": "192.0.2.1, 192.0.2.2", "ask": ask, "timeout": 5}
    said = in_network(lambda: found_by(DNSChecker, host="a.example", **options))
    assert said.startswith("unknown: not checked: this machine has no route to 192.0.2")


def test_an_ipv6_address_is_shown_in_brackets():
    assert shown_address(("::1", 80, 0, 0)) == "[::1]:80"


@pytest.mark.parametrize(
    ("host", "family", "addresses"),
    [
        ("127.0.0.1", "any", [(socket.AF_INET, ("127.0.0.1", 7))]),
        ("127.0.0.1", "ipv4", [(socket.AF_INET, ("127.0.0.1", 7))]),
        ("127.0.0.1", "ipv6", []),
        ("::1", "any", [(socket.AF_INET6, ("::1", 7, 0, 0))]),
        ("::1", "ipv4", []),
        ("localhost", "any", []),
        ("127.0.0.1.example", "any", []),
    ],
)
def test_an_address_is_known_without_a_resolver(host, family, addresses):
    assert numeric(host, 7, family) == addresses

"""[udp NAME] against real sockets: each option alone turns the status, both ways."""

from __future__ import annotations

import re
import socket
import threading
import time

import pytest

from jobs.PingChecker import PingChecker
from jobs.TCPServerChecker import TCPServerChecker
from jobs.UDPServerChecker import UDPServerChecker
from lib.plugins.kind import KindTable
from tests.support.daemon import free_port
from tests.support.listeners import Datagrams, found_by, job_of, result_of
from tests.support.waits import SOON_S


def echo(said):
    return (b"re: " + said,)


def second_time():
    """Return an answer that is given to the second datagram only."""
    count = 0

    def answer(_said):
        nonlocal count
        count += 1
        return (b"well",) if count == 2 else ()

    return answer


#: What the server does; options with which it is OK, and such with which it is not.
CASES = {
    "host": (echo, {"host": "127.0.0.1"}, {"host": "127.0.0.2"}),
    "port": (echo, {}, {"port": "CLOSED"}),
    "send": (
        echo,
        {"send": r"a\x00b", "expect": r"re: a\x00b"},
        {"send": "ab", "expect": r"re: a\x00b"},
    ),
    "expect": (echo, {"expect": "re: "}, {"expect": "no: "}),
    "expect_regex": (echo, {"expect_regex": "^re"}, {"expect_regex": "^: "}),
    "dialog": (
        echo,
        {"dialog": "send a\n  expect re: a\n  send b\n  expect_regex b$"},
        {"dialog": "send a\n  expect re: a\n  send b\n  expect_regex a$"},
    ),
    # Closed, and a firewall delays the word of it: none comes here at all.
    "wait": (second_time, {"wait": "200ms"}, None),
    "addresses": (
        echo,
        {"host": "both.example", "addresses": "first"},
        {"host": "both.example", "addresses": "every"},
    ),
    "family": (
        echo,
        {"host": "both.example", "family": "ipv4"},
        {"host": "both.example", "family": "ipv6"},
    ),
    "fail_time": (echo, {"fail_time": "40s"}, {"fail_time": "0s"}),
    "warn_time": (echo, {"warn_time": "40s"}, {"warn_time": "0s"}),
}


def found(server, options, **more):
    given = {"host": "127.0.0.1", "port": server.port, "timeout": SOON_S}
    given |= {"wait": "100ms", **options}
    if given["port"] == "CLOSED":
        given["port"] = free_port(socket.SOCK_DGRAM)
    return found_by(UDPServerChecker, **given, **more)


def test_every_option_has_a_case():
    assert set(KindTable("udp", "minute", UDPServerChecker.options).own) == {*CASES}


@pytest.mark.parametrize("option", [name for name in CASES if name != "wait"])
def test_an_option_alone_turns_the_status(option):
    talk, good, bad = CASES[option]
    for options, is_good in ((good, True), ({"timeout": 1.2, **bad}, False)):
        with Datagrams(talk() if talk is second_time else talk) as it:
            assert (found(it, options) == "fine") is is_good


@pytest.mark.parametrize(("wait", "is_good"), [("10s", False), ("10ms", True)])
def test_it_is_waited_so_long_for_an_answer_that_none_expects(wait, is_good):
    over = threading.Event()

    def late(_said):
        over.wait(3 * SOON_S if is_good else 0.15)
        return (b"late",)

    options = {"host": "127.0.0.1", "expect": "closed", "wait": wait, "timeout": SOON_S}
    with Datagrams(late) as it:
        said = found_by(UDPServerChecker, port=it.port, **options)
        over.set()
    assert ("an answer came" in said) is not is_good
    assert ("nobody says within 0.01 s" in said) is is_good


# What is said.


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_closed_port_is_seen_at_once(host):
    port, began = free_port(socket.SOCK_DGRAM), time.monotonic()
    options = {"host": host, "port": port, "timeout": 2 * SOON_S}
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    words = f"{place}: the port is closed (port unreachable)"
    assert found_by(UDPServerChecker, **options) == words
    assert found_by(UDPServerChecker, expect="well", **options) == words
    assert found_by(UDPServerChecker, expect="closed", **options) == "fine"
    assert time.monotonic() - began < SOON_S


def test_silence_is_ok_where_no_answer_is_expected_and_has_no_time():
    with Datagrams() as it:
        options = {"host": "127.0.0.1", "port": it.port, "wait": "50ms"}
        result = result_of(job_of(UDPServerChecker, **options))
        assert (result.status, dict(result.values)) == ("ok", {})
        assert it.heard == [b""]


def test_what_no_answer_means_is_said():
    with Datagrams() as it:
        said = found(it, {"expect": "well", "timeout": 0.3})
        place = f"127.0.0.1:{it.port}"
    assert said.split("\n") == [
        f"{place}: no answer within 0.3 s",
        "what was sent or its answer may be lost or filtered, or the service does not "
        "answer that",
    ]


def test_an_answer_that_is_not_as_expected_is_shown_at_once():
    with Datagrams(echo) as it:
        said = found(it, {"send": "hi", "expect": "well"})
    assert said == (
        f"127.0.0.1:{it.port}: did not receive 'well' in the answer; "
        "received 6 bytes: 're: hi'"
    )


def test_an_empty_answer_is_an_answer():
    with Datagrams(lambda _said: (b"",)) as it:
        assert found(it, {"expect": "anything"}) == "fine"
        assert "received 0 bytes" in found(it, {"expect": "well"})


def test_an_answer_that_comes_twice_counts_once():
    def twice(said):
        return (said, said)

    with Datagrams(twice) as it:
        dialog = "send a\n  expect a\n  send b\n  expect b"
        assert found(it, {"dialog": dialog}) == "fine"


def test_an_answer_of_somebody_else_is_none():
    def answer(_said):
        other.socket.sendto(b"well", it.peers[-1])
        return ()

    with Datagrams(answer) as it, Datagrams() as other:
        said = found(it, {"expect": "well", "timeout": 0.5})
    assert "no answer within 0.5 s" in said


def test_an_open_port_is_not_closed():
    with Datagrams(echo) as it:
        said = found(it, {"expect": "closed"})
        assert said.endswith(": an answer came, so the port is open; expected closed")
    with Datagrams() as it:
        said = found(it, {"expect": "closed"})
        assert said == (
            f"127.0.0.1:{it.port}: nobody says within 0.1 s that the port is closed, "
            "so it is open or filtered; expected closed"
        )


def test_every_address_is_asked_and_the_dead_one_is_named():
    with Datagrams(echo) as it:
        said = found(it, {"host": "both.example", "addresses": "every"})
    assert said == (
        "1 of 2 addresses of both.example fail\n"
        f"[::1]:{it.port}: the port is closed (port unreachable)"
    )


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("expect", "filtered", "a port of udp that is silent may be open or filtered"),
        ("dialog", "tls", "begin with one of send, expect, expect_regex"),
    ],
)
def test_what_cannot_be_used_says_what_was_expected(option, value, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        UDPServerChecker.options[option].read(value)


@pytest.mark.parametrize("kind", [TCPServerChecker, UDPServerChecker, PingChecker])
def test_a_name_is_asked_for_as_dns_has_it(kind, monkeypatch):
    asked = []

    def ask(name, *_rest):
        asked.append(name)
        raise socket.gaierror(socket.EAI_NONAME, "")

    monkeypatch.setattr(socket, "getaddrinfo", ask)
    port = {} if kind is PingChecker else {"port": 1}
    said = found_by(kind, host="faß.example", timeout=5, **port)
    assert said.startswith("cannot resolve faß.example: no such name")
    assert asked == [b"xn--fa-hia.example"]

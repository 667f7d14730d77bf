"""[ping NAME]: each option alone turns the status; every way, and whoever answers."""

from __future__ import annotations

import itertools
import os
import re
import socket
import subprocess
import time

import pytest

from jobs.PingChecker import PingChecker
from lib.core import sanitize
from lib.net import bulk, connect, icmp, ping
from lib.net.connect import Deadline, NotTried
from lib.plugins.kind import KindTable
from tests.support.listeners import found_by, job_of, result_of
from tests.support.network import EVERYBODY, NOBODY, in_network
from tests.support.waits import SOON_S

# What runs as nobody finds no module any more.
_LOADED = (sanitize, icmp, subprocess)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs a network of its own")

#: What becomes of pings of each address.
ANSWERS = {
    "127.0.0.1": lambda _number: "well",
    "127.0.0.2": lambda _number: "silent",
    "127.0.0.3": lambda number: "silent" if number == 2 else "well",
    "127.0.0.4": lambda _number: "late",
    "127.0.0.5": lambda _number: "twice",
    "127.0.0.6": lambda _number: "other",
    "127.0.0.7": lambda _number: "garbled",
    "127.0.0.8": lambda _number: "unreachable",
    "127.0.0.9": lambda number: "unreachable" if number == 2 else "well",
    "127.0.0.10": lambda number: "late" if number == 1 else "well",
}
QUICK = {"interval": "10ms", "wait": "150ms", "timeout": 5}


def answer(to, number):
    return ANSWERS[to](number)


def both(host, port, family):
    """Have a name of two addresses, the first of which is silent."""
    four = [(socket.AF_INET, (one, port)) for one in ("127.0.0.2", "127.0.0.1")]
    six = [(socket.AF_INET6, ("::1", port, 0, 0))]
    if host == "worst.example":
        # One is late, and the other one loses some.
        return [(socket.AF_INET, (one, port)) for one in ("127.0.0.4", "127.0.0.3")]
    return {"any": four, "ipv4": four[1:], "ipv6": six}[family]


def found(*many, answer=answer, **how):
    """Return what jobs with these options find in a network of their own."""

    def inside():
        connect.look_up = both
        given = [{"host": "127.0.0.1", **QUICK, **options} for options in many]
        return [found_by(PingChecker, **options) for options in given]

    return in_network(inside, answer=answer, **how)


#: Options with which a host is OK, and such with which it is not.
CASES = {
    "host": ({"host": "127.0.0.1"}, {"host": "127.0.0.2"}),
    "count": (
        {"host": "127.0.0.3", "fail_loss": "40", "count": "3"},
        {"host": "127.0.0.3", "fail_loss": "40", "count": "2"},
    ),
    "wait": (
        {"host": "127.0.0.4", "wait": "2s"},
        {"host": "127.0.0.4", "wait": "100ms"},
    ),
    "addresses": (
        {"host": "both.example", "addresses": "first"},
        {"host": "both.example", "addresses": "every"},
    ),
    "family": (
        {"host": "both.example", "family": "ipv4"},
        {"host": "127.0.0.1", "family": "ipv6"},
    ),
    "fail_time": ({"fail_time": "40s"}, {"fail_time": "0s"}),
    "warn_time": ({"warn_time": "40s"}, {"warn_time": "0s"}),
    "fail_loss": (
        {"host": "127.0.0.3", "fail_loss": "34%"},
        {"host": "127.0.0.3", "fail_loss": "33%"},
    ),
    "warn_loss": (
        {"host": "127.0.0.3", "warn_loss": "34%"},
        {"host": "127.0.0.3", "warn_loss": "33%"},
    ),
}
#: These have tests of their own.
OTHERS = {"interval", "size", "need"}


def test_every_option_has_a_case():
    own = set(KindTable("ping", "minute", PingChecker.options).own)
    assert own == {*CASES, *OTHERS}


@pytest.mark.parametrize("option", CASES)
def test_an_option_alone_turns_the_status(option):
    # Each in a network of its own, in which the counts begin again.
    (good,), (bad,) = (found(options) for options in CASES[option])
    assert good == "fine"
    assert bad != "fine"


def test_the_interval_is_the_time_between_two_pings():
    heard_at = []

    def note(_to, _number):
        heard_at.append(time.monotonic())
        return "well"

    def gaps(interval):
        heard_at.clear()
        options = {"host": "127.0.0.1", "interval": interval, "timeout": SOON_S}
        assert found_by(PingChecker, **options) == "fine"
        return [after - before for before, after in itertools.pairwise(heard_at)]

    quick, slow = in_network(lambda: (gaps("10ms"), gaps("400ms")), answer=note)
    # On a busy machine one of them may be late, seldom all.
    assert min(quick) < 0.3 < max(slow)


def test_so_many_bytes_are_carried():
    # More than IP can carry is refused when the settings are read.
    (said,) = found({"size": "65507"}, answer=None)
    assert said == "fine"

    def sizes():
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, 1) as hears:
            hears.settimeout(5)
            found_by(PingChecker, host="127.0.0.1", count=1, size=1000, **QUICK)
            return sorted({len(hears.recv(2000)) for _ in range(4)})

    assert in_network(sizes, is_root=True) == [20 + 8 + 56, 20 + 8 + 1000]


@pytest.mark.parametrize("need", ["any", "all"])
def test_all_thresholds_may_be_needed(need):
    (said,) = found({"fail_time": "0s", "fail_loss": "50%", "need": need})
    assert (said == "fine") is (need == "all")


# Every way.

WAYS = {
    "datagram": {"may_ping": EVERYBODY},
    "raw": {"may_ping": NOBODY, "is_root": True},
    "command": {"may_ping": NOBODY},
}


@pytest.mark.parametrize("way", WAYS)
def test_each_way_measures(way):
    def inside():
        options = {**QUICK, "timeout": 8, "count": 2}
        four = result_of(job_of(PingChecker, host="127.0.0.1", **options))
        six = result_of(job_of(PingChecker, host="::1", **options))
        return four, six

    if way == "command" and not ping.command():
        pytest.skip("there is no ping command")
    for result in in_network(inside, **WAYS[way]):
        assert result.status == "ok", result.reason
        assert 0 < result.values["time"].number < 1
        assert result.values["loss"].number == 0


@pytest.mark.parametrize("way", WAYS)
def test_each_way_tells_loss_and_who_said_why(way):
    if way == "command" and not ping.command():
        pytest.skip("there is no ping command")
    options = ({"host": "127.0.0.2"}, {"host": "127.0.0.8"}, {"host": "127.0.0.6"})
    silent, unreachable, other = found(*options, **WAYS[way])
    assert silent == "127.0.0.2: no answer to 3 pings"
    assert re.fullmatch(
        "127.0.0.8: no answer to 3 pings: (destination )?host unreachable, "
        "says 127.0.0.99",
        unreachable,
    )
    assert other == "127.0.0.6: no answer to 3 pings"


@pytest.mark.long
def test_a_ping_command_that_is_late_has_said_what_was_answered():
    if not ping.command():
        pytest.skip("there is no ping command")

    def inside():
        options = {"host": "127.0.0.1", "interval": "100ms", "count": 12}
        return result_of(job_of(PingChecker, timeout="1300ms", **options))

    result = in_network(inside, **WAYS["command"])
    assert result.status == "ok", result.reason
    assert result.values["loss"].number == 0


def test_whoever_may_not_ping_does_not_know_and_is_told_what_to_do():
    (said,) = found({}, may_ping=NOBODY, is_confined=True)
    if not ping.command():
        assert said.startswith("unknown: not checked: this user may not send pings\n")
    else:
        assert re.match("unknown: not checked: ping says: .*not permitted", said)
    assert "sysctl -w net.ipv4.ping_group_range='0 2147483647'" in said


def test_without_a_ping_command_it_is_said_what_to_do(monkeypatch):
    monkeypatch.setattr(ping, "command", lambda: "")
    (said,) = found({}, may_ping=NOBODY)
    assert said == f"unknown: not checked: this user may not send pings\n{ping.REMEDY}"


# Whoever answers.


def test_what_comes_late_twice_from_others_or_garbled_counts_as_it_should():
    late, twice, other, garbled, overtaken = found(
        {"host": "127.0.0.4"},
        {"host": "127.0.0.5", "fail_loss": "0%"},
        {"host": "127.0.0.6"},
        {"host": "127.0.0.7"},
        {"host": "127.0.0.10", "wait": "2s", "fail_loss": "0%"},
    )
    assert late == "127.0.0.4: no answer to 3 pings"
    assert twice == overtaken == "fine"
    assert other == "127.0.0.6: no answer to 3 pings"
    assert garbled == "127.0.0.7: no answer to 3 pings"


def test_nothing_has_no_time_and_all_of_it_lost():
    def inside():
        options = {**QUICK, "host": "127.0.0.2", "warn_loss": "10%"}
        return result_of(job_of(PingChecker, **options))

    result = in_network(inside, answer=answer)
    assert result.status == "failing"
    assert {name: value.number for name, value in result.values.items()} == {
        "loss": 100
    }


def test_what_was_said_of_one_that_is_lost_is_below_the_reason():
    (said,) = found({"host": "127.0.0.9", "fail_loss": "10%"})
    assert said.split("\n") == [
        "loss is 33.33%, over fail_loss = 10%",
        "host unreachable, says 127.0.0.99",
    ]


def test_every_address_is_asked_and_the_dead_one_is_named():
    (said,) = found({"host": "both.example", "addresses": "every"})
    assert said.split("\n") == [
        "1 of 2 addresses of both.example fail",
        "tried 127.0.0.2: no answer to 3 pings",
    ]


@pytest.mark.long
def test_of_every_address_time_and_loss_are_each_the_worst():
    target = {"host": "worst.example", "addresses": "every", "wait": "2s"}
    (slow,) = found({**target, "fail_time": "100ms"})
    (lossy,) = found({**target, "fail_loss": "9"})
    assert re.match("time is .*, over fail_time = 100ms\n", slow)
    assert slow.endswith("\ntime is that of 127.0.0.4, the worst of 2")
    assert lossy.startswith("loss is 33.33%, over fail_loss = 9%\n")
    assert lossy.endswith("\nloss is that of 127.0.0.3, the worst of 2")


# This machine itself.


@pytest.mark.long
def test_while_this_machine_does_not_answer_itself_nothing_is_known_of_the_silent():
    def mute(to, _number):
        return "silent" if to in ("127.0.0.1", "127.0.0.2") else "well"

    well, silent = found(
        {"host": "127.0.0.3"}, {"host": "127.0.0.2", "timeout": "0.8"}, answer=mute
    )
    # An answer proves itself.
    assert well == "fine"
    assert silent == (
        "unknown: not checked: pings of this machine itself, 127.0.0.1, have no "
        "answer\nnet.ipv4.icmp_echo_ignore_all is set here; as root: sysctl -w "
        "net.ipv4.icmp_echo_ignore_all=0"
    )


def test_a_machine_without_ipv6_does_not_know_of_a_host_that_has_it():
    def inside():
        with open("/proc/sys/net/ipv6/conf/lo/disable_ipv6", "w") as file:
            file.write("1")
        return found_by(PingChecker, host="2001:db8::1", **QUICK)

    said = in_network(inside, is_root=True)
    assert said.startswith("unknown: not checked: pings of this machine itself, ::1, ")


def test_without_a_route_of_this_machine_a_host_is_unknown():
    (said,) = found({"host": "192.0.2.1"}, answer=None)
    assert said.startswith(
        "unknown: not checked: this machine has no route to 192.0.2.1\n"
    )


# Many.


def test_hundreds_are_pinged_at_once_and_none_is_lost():
    hosts = [f"127.1.{n // 250}.{n % 250 + 1}" for n in range(500)]

    def steps(host, own):
        return (yield ping.Pings((socket.AF_INET, (host, 0)), own, count=2))

    def inside():
        limits = lambda group: [Deadline(SOON_S) for _ in group]  # noqa: E731
        began = time.monotonic()
        every = [one for one in bulk.run(hosts, steps, limits) if one is not None]
        return every, time.monotonic() - began

    every, took_s = in_network(inside)
    assert {host for host, _answers in every} == {*hosts}
    assert [answers for _host, answers in every if len(answers.received) != 2] == []
    assert took_s < SOON_S


def test_hundreds_that_are_silent_end_together():
    hosts = [f"127.1.{n // 250}.{n % 250 + 1}" for n in range(500)]

    def steps(host, own):
        return (yield ping.Pings((socket.AF_INET, (host, 0)), own, wait_s=0.3))

    def inside():
        limits = lambda group: [Deadline(SOON_S) for _ in group]  # noqa: E731
        began = time.monotonic()
        every = [one for one in bulk.run(hosts, steps, limits) if one is not None]
        return every, time.monotonic() - began

    def mute(to, _number):
        return "well" if to == "127.0.0.1" else "silent"

    every, took_s = in_network(inside, answer=mute)
    assert len(every) == 500
    assert all(answers.times == (None,) * 3 for _host, answers in every)
    assert took_s < SOON_S


# The ping command.


@pytest.mark.parametrize(
    ("output", "times", "refusal"),
    [
        (
            "64 bytes from 127.0.0.1: icmp_seq=1 ttl=64 time=0.026 ms\n"
            "64 bytes from 127.0.0.1: icmp_seq=1 ttl=64 time=0.9 ms (DUP!)\n"
            "64 bytes from 127.0.0.1: icmp_seq=3 ttl=64 time<1 ms\n",
            (0.000026, None, 0.001),
            "",
        ),
        (
            "64 bytes from 127.0.0.1: seq=0 ttl=64 time=1.5 ms\n",
            (0.0015, None, None),
            "",
        ),
        (
            "From 127.0.0.99 icmp_seq=1 Destination Host Unreachable\n",
            (None,) * 3,
            "destination host unreachable, says 127.0.0.99",
        ),
        ("64 bytes from 127.0.0.1: icmp_seq=9 ttl=64 time=1 ms", (None,) * 3, ""),
        ("64 bytes from 127.0.0.98: icmp_seq=1 ttl=64 time=1 ms", (None,) * 3, ""),
    ],
)
def test_what_the_ping_command_says_is_read(output, times, refusal):
    assert ping.read_command(output, 3, "127.0.0.1") == ping.Answers(times, refusal)


def test_a_checksum_is_that_of_rfc_1071():
    assert ping._sum(bytes.fromhex("0001f203f4f5f6f7")) == 0x220D
    assert ping._sum(b"\x01") == 0xFEFF


def test_no_descriptor_is_our_own_trouble(monkeypatch):
    def none(*_args):
        raise NotTried("not checked: too many open files")

    monkeypatch.setattr(bulk, "open_socket", none)
    (said,) = found({})
    assert said == "unknown: not checked: too many open files"

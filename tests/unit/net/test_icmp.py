"""What is said of a packet that did not arrive, and who says it."""

from __future__ import annotations

import os
import socket
import struct
import threading

import pytest

from jobs.UDPServerChecker import UDPServerChecker
from lib.net import dialog, icmp  # noqa: F401  # nobody finds no module any more
from tests.support import network
from tests.support.listeners import found_by

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs a network of its own")


def refused(code, kind=3):
    """Return what a udp target finds of whom 127.0.0.99 says that it cannot be had."""

    def inside():
        silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        silent.bind(("127.0.0.1", 0))
        hears = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
        says = socket.socket(socket.AF_INET, socket.SOCK_RAW, 255)

        def say():
            packet = hears.recv(2000)
            content = struct.pack("!BBHI", kind, code, 0, 0) + packet[:28]
            content = content[:2] + network._sum(content) + content[4:]
            addresses = socket.inet_aton("127.0.0.99") + packet[12:16]
            header = struct.pack("!BBHHHBBH", 0x45, 0, 0, 0, 0, 64, 1, 0) + addresses
            says.sendto(header + content, ("127.0.0.1", 0))

        threading.Thread(target=say, daemon=True).start()
        port = silent.getsockname()[1]
        said = found_by(
            UDPServerChecker, host="127.0.0.1", port=port, expect="x", timeout=3
        )
        return said.replace(str(port), "PORT")

    return network.in_network(inside, is_root=True)


@pytest.mark.parametrize(
    ("kind", "code", "words"),
    [
        (3, 0, "network unreachable"),
        (3, 1, "host unreachable"),
        (3, 13, "prohibited by an administrator"),
        (11, 0, "on its way too long (TTL exceeded)"),
    ],
)
def test_the_one_who_says_that_it_does_not_arrive_is_named(kind, code, words):
    assert refused(code, kind) == f"127.0.0.1:PORT: {words}, says 127.0.0.99"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_what_the_host_itself_says_names_nobody(host):
    def inside():
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            icmp.ask_for_refusals(sock)
            sock.connect((host, 9))
            sock.send(b"hello")
            with pytest.raises(ConnectionRefusedError):
                sock.recv(10)
            (said,) = icmp.refusals(sock)
            assert [*icmp.refusals(sock)] == []
            return said.to, said.by, str(said), said.packet

    said = network.in_network(inside)
    assert said == (host, host, "port unreachable", b"hello")

"""ICMP: what routers and hosts say of a packet of ours that did not arrive."""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Iterator
from typing import NamedTuple

#: Linux's numbers of the options, which Python's socket does not have.
_IP_RECVERR, _IPV6_RECVERR = 11, 25
_RECVERR = (
    (socket.IPPROTO_IP, _IP_RECVERR),
    (socket.IPPROTO_IPV6, _IPV6_RECVERR),
)
#: struct sock_extended_err: errno, origin, type, code, a byte, info, data.
_EXTENDED = struct.Struct("=IBBBxII")
_OF_ICMP, _OF_ICMP6 = 2, 3
#: What a packet could not do, by origin, type and code; the kernel's words for others.
_WORDS = {
    (_OF_ICMP, 3, 0): "network unreachable",
    (_OF_ICMP, 3, 1): "host unreachable",
    (_OF_ICMP, 3, 3): "port unreachable",
    (_OF_ICMP, 3, 4): "the packet is too large",
    (_OF_ICMP, 3, 9): "prohibited by an administrator",
    (_OF_ICMP, 3, 10): "prohibited by an administrator",
    (_OF_ICMP, 3, 13): "prohibited by an administrator",
    (_OF_ICMP, 11, 0): "on its way too long (TTL exceeded)",
    (_OF_ICMP6, 1, 0): "network unreachable",
    (_OF_ICMP6, 1, 1): "prohibited by an administrator",
    (_OF_ICMP6, 1, 3): "host unreachable",
    (_OF_ICMP6, 1, 4): "port unreachable",
    (_OF_ICMP6, 2, 0): "the packet is too large",
    (_OF_ICMP6, 3, 0): "on its way too long (hop limit exceeded)",
}


class Refusal(NamedTuple):
    """What was said of a packet of ours."""

    #: Where the packet was to go.
    to: str
    #: Why it did not arrive.
    words: str
    #: The address that says so; empty: this machine.
    by: str
    #: The beginning of the packet, without the header of IP.
    packet: bytes

    def __str__(self) -> str:
        if self.by and self.by != self.to:
            return f"{self.words}, says {self.by}"
        return self.words


def ask_for_refusals(sock: socket.socket) -> None:
    """Have a socket keep all that is said of its packets, not only the final word."""
    if sys.platform == "linux":
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)


def refusals(sock: socket.socket) -> Iterator[Refusal]:
    """Yield what was said of the packets of a socket, each once."""
    if sys.platform != "linux":
        return
    while True:
        try:
            packet, notes, _flags, address = sock.recvmsg(512, 512, socket.MSG_ERRQUEUE)
        except OSError:
            return
        for level, option, note in notes:
            if (level, option) in _RECVERR and len(note) >= _EXTENDED.size:
                number, origin, kind, code, _info, _data = _EXTENDED.unpack_from(note)
                words = _WORDS.get((origin, kind, code)) or _kernel_words(number)
                by = _address(note[_EXTENDED.size :])
                to = address[0] if address else ""
                yield Refusal(to, words, by, packet)


def _kernel_words(number: int) -> str:
    words = os.strerror(number)
    return words[:1].lower() + words[1:]


def _address(sockaddr: bytes) -> str:
    """Return the address in a struct sockaddr; empty if there is none."""
    family = int.from_bytes(sockaddr[:2], sys.byteorder)
    if family == socket.AF_INET and len(sockaddr) >= 8:
        return socket.inet_ntop(socket.AF_INET, sockaddr[4:8])
    if family == socket.AF_INET6 and len(sockaddr) >= 24:
        return socket.inet_ntop(socket.AF_INET6, sockaddr[8:24])
    return ""

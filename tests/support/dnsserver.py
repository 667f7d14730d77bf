"""A name server of the tests, on a port of this machine, over UDP and TCP."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Sequence

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

#: Returns what is sent back; nothing: silence.
Answer = Callable[[dns.message.Message, bool], bytes | None]


class NameServer:
    """Answers by zone lines, such as ``www 300 A 127.0.0.9``, or by ``answer``."""

    def __init__(
        self,
        *lines: str,
        answer: Answer | None = None,
        rcode: str = "",
        flags: int = dns.flags.AA,
        address: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.lines = lines
        self.rcode = rcode
        self.flags = flags
        self.asked: list[str] = []
        self._answer = answer or self.by_lines
        self._tcp = socket.create_server((address, port))
        self.port: int = self._tcp.getsockname()[1]
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind((address, self.port))

    def __enter__(self) -> NameServer:
        for serve in (self._serve_udp, self._serve_tcp):
            threading.Thread(target=serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        # A blocked accept or recvfrom is woken by this only.
        for sock in (self._udp, self._tcp):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def refuse_tcp(self) -> None:
        """Listen for UDP alone from now on."""
        with contextlib.suppress(OSError):
            self._tcp.shutdown(socket.SHUT_RDWR)
        self._tcp.close()

    def by_lines(self, query: dns.message.Message, _by_tcp: bool) -> bytes:
        """Return the answer as a zone of these lines has it, aliases followed."""
        response = dns.message.make_response(query)
        response.flags |= self.flags
        if self.rcode:
            response.set_rcode(dns.rcode.from_text(self.rcode))
            return response.to_wire()
        name, rdtype = query.question[0].name, query.question[0].rdtype
        rrsets = [_rrset(line) for line in self.lines]
        while True:
            own = [rrset for rrset in rrsets if rrset.name == name]
            alias = [rrset for rrset in own if rrset.rdtype == 5 != rdtype]
            response.answer += alias or [one for one in own if one.rdtype == rdtype]
            if not alias or alias[0][0].target == name:
                break
            name = alias[0][0].target
        if not own:
            response.set_rcode(dns.rcode.NXDOMAIN)
        elif not any(one.rdtype == rdtype for one in own):
            response.authority.append(_rrset(f"{name} 60 SOA . . 1 2 3 4 5"))
        return response.to_wire()

    def _serve_udp(self) -> None:
        while True:
            try:
                data, address = self._udp.recvfrom(65_535)
            except OSError:
                return
            if not data:
                # It is shut.
                return
            answer = self._reply(data, by_tcp=False)
            if answer is not None:
                with contextlib.suppress(OSError):
                    self._udp.sendto(answer, address)

    def _serve_tcp(self) -> None:
        while True:
            try:
                conn, _address = self._tcp.accept()
            except OSError:
                return
            with conn:
                (length,) = struct.unpack("!H", conn.recv(2, socket.MSG_WAITALL))
                data = conn.recv(length, socket.MSG_WAITALL)
                answer = self._reply(data, by_tcp=True)
                if answer is not None:
                    conn.sendall(struct.pack("!H", len(answer)) + answer)

    def _reply(self, data: bytes, *, by_tcp: bool) -> bytes | None:
        query = dns.message.from_wire(data)
        (question,) = query.question
        self.asked.append("tcp" if by_tcp else "udp")
        return self._answer(query, by_tcp)


def _rrset(line: str) -> dns.rrset.RRset:
    """Return the records of ``NAME TTL TYPE DATA; DATA``."""
    name, ttl, rdtype, data = line.split(None, 3)
    return dns.rrset.from_text(name, int(ttl), "IN", rdtype, *data.split("; "))


def silent(_query: dns.message.Message, _by_tcp: bool) -> None:
    """Never answer."""


def cut(server: NameServer) -> Answer:
    """Return an answer that has no records over UDP, and the mark that it was cut."""

    def answer(query: dns.message.Message, by_tcp: bool) -> bytes:
        if by_tcp:
            return server.by_lines(query, by_tcp)
        response = dns.message.make_response(query)
        response.flags |= dns.flags.TC
        return response.to_wire()

    return answer


def places(servers: Sequence[NameServer]) -> str:
    """Return these servers as the option has them."""
    return ", ".join(f"127.0.0.1:{server.port}" for server in servers)

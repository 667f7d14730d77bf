"""Ask name servers, and tell their answers apart.

A question goes over a connected UDP socket, so that a closed port is known at once, and
over TCP if the answer was cut.  dnspython writes and reads the messages; the waiting is
that of ``lib/net/bulk.py``, since its own resolver gives all the time to the first
server that is silent.
"""

from __future__ import annotations

import re
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from dns.rdtypes.ANY.TXT import TXT

from lib.net import bulk, connect
from lib.net.connect import Address, Deadline, Unreachable

#: An answer that is lost is asked for again after so long, then twice as long.
AGAIN_AFTER_S = 1.0
#: What fits everywhere without fragments: https://dnsflagday.net/2020
PAYLOAD = 1232
#: The system's resolvers.
RESOLV_CONF = Path("/etc/resolv.conf")
#: So many of these the C library uses; resolv.conf(5).
MAX_SYSTEM_SERVERS = 3

#: What the response codes of RFC 1035, section 4.1.1, mean.
RCODES = {
    "FORMERR": "the server did not understand the question",
    "SERVFAIL": "the server failed",
    "NXDOMAIN": "there is no such name",
    "NOTIMP": "the server does not know such questions",
    "REFUSED": "the server refuses to answer",
}
#: An answer without a record of the type, and one whose aliases lead in a circle; no
#: server says so by a code.
NODATA, CIRCLE = "NODATA", "CIRCLE"


class Question(NamedTuple):
    """What is asked."""

    name: dns.name.Name
    rdtype: dns.rdatatype.RdataType
    recursive: bool = True

    @property
    def type(self) -> str:
        """Return the type as people write it: ``MX``."""
        return dns.rdatatype.to_text(self.rdtype)


class Response(NamedTuple):
    """What a server answered."""

    #: As DNS calls it; NODATA or CIRCLE where NOERROR comes without such a record.
    status: str
    #: The records of the type, as ``plain`` writes them.
    records: tuple[str, ...] = ()
    #: The least time to live of what led to them, in seconds; None if there is none.
    ttl: int | None = None
    #: The name that the one asked for is an alias of; empty if it is none.
    alias_of: str = ""
    #: The names from alias to alias, where they lead back to one of them.
    circle: tuple[str, ...] = ()
    #: Whether the alias leads to a name that is not for this server to know.
    leads_elsewhere: bool = False
    #: The server is one of the zone, or says that it has validated the answer.
    is_authoritative: bool = False
    is_authentic: bool = False
    #: The servers that it refers to instead of answering.
    referred_to: tuple[str, ...] = ()
    #: How long it took.
    seconds: float = 0.0

    def words(self, question: Question) -> str:
        """Return what came instead of records, for people."""
        alias = f"it is an alias of {self.alias_of}, which " if self.alias_of else ""
        if self.status == "NXDOMAIN" and alias:
            return f"{alias}does not exist (NXDOMAIN)"
        if self.circle:
            return f"its aliases are a circle: {' -> '.join(self.circle)}"
        if self.leads_elsewhere:
            return (
                f"it is an alias of {self.alias_of}, of which this server says "
                "nothing; ask a resolver, or set type = CNAME"
            )
        if self.status == NODATA and self.referred_to:
            names = ", ".join(self.referred_to[:3])
            return f"the server knows nothing of it, and refers to {names}"
        if self.status == NODATA:
            return (
                f"{alias or 'it '}has no {question.type} record (the answer is empty)"
            )
        words = RCODES.get(self.status, "the server answers with a code")
        return f"{words} ({self.status})"


def name_of(text: str) -> dns.name.Name:
    """Return a name as it is asked for; of an address the one that PTR records have.

    Raise ValueError if it is none.
    """
    import ipaddress

    from lib.net.address import ascii_domain

    try:
        return dns.name.from_text(ipaddress.ip_address(text).reverse_pointer)
    except ValueError:
        labels = [
            label if label.isascii() else ascii_domain(label)
            for label in text.split(".")
        ]
    try:
        return dns.name.from_text(".".join(labels))
    except dns.exception.DNSException as error:
        raise ValueError(f"{text[:80]!r} is not a name: {error}") from error


def plain(rdtype: dns.rdatatype.RdataType, text: str) -> str:
    """Return a record as ``records`` of a response has it.

    A TXT record may be given as it is, or in quotes as dig prints it.  Raise ValueError
    if it is no record of the type.
    """
    text = text.strip()
    if rdtype == dns.rdatatype.TXT:
        if not re.fullmatch('".*"', text):
            return text
        # In one pair of quotes it may be longer than the strings of a record are.
        if in_quotes := re.fullmatch(r'"([^"\\]*)"', text):
            return in_quotes[1]
    try:
        record = dns.rdata.from_text(
            dns.rdataclass.IN, rdtype, text, origin=dns.name.root, relativize=False
        )
    except (dns.exception.DNSException, ValueError) as error:
        kind = dns.rdatatype.to_text(rdtype)
        raise ValueError(f"{text[:80]!r} is no {kind} record ({error})") from error
    return _words(record)


def _words(record: dns.rdata.Rdata) -> str:
    if isinstance(record, TXT):
        return b"".join(record.strings).decode("utf-8", "replace")
    # Without the last dot of names, as people write them; the root is a dot alone.
    return re.sub(r"(?<=\S)\.(?=\s|$)", "", record.to_text().lower())


def system_servers(path: Path = RESOLV_CONF) -> tuple[list[str], list[str]]:
    """Return the servers of resolv.conf(5), and its lines that name none.

    Without any it is the one on this machine, as for the C library.
    """
    servers, odd = [], []
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0] != "nameserver":
            continue
        if len(words) > 1 and connect.numeric(words[1], 53, "any"):
            servers.append(words[1])
        else:
            odd.append(f"{path}:{number}: {line.strip()[:60]!r} names no address")
    return servers[:MAX_SYSTEM_SERVERS] or ["127.0.0.1"], odd


def asked(
    question: Question,
    server: tuple[int, Address],
    deadline: Deadline,
    *,
    by_tcp: bool = False,
) -> bulk.Steps[Response]:
    """Return the answer of a server; raise Unreachable if there is none."""
    began, query = time.monotonic(), _query(question)
    way = ""
    sending = [_by_tcp] if by_tcp else [_by_udp, _by_tcp]
    try:
        for send in sending:
            message = yield from send(query, server, deadline)
            if message.rcode() in _NO_EDNS and query.edns >= 0:
                query = _query(question, edns=False)
                message = yield from send(query, server, deadline)
            if send is _by_tcp or not message.flags & dns.flags.TC:
                break
            way = "the answer is too long for UDP, and over TCP: "
    except TimeoutError:
        raise Unreachable(f"{way}no answer within {deadline}") from None
    except OSError as error:
        raise Unreachable(way + _refusal(error, deadline)) from error
    return _read(message, question, time.monotonic() - began)


#: Some servers know no EDNS and say so in one of these ways: RFC 6891, section 7.
_NO_EDNS = (dns.rcode.FORMERR, dns.rcode.NOTIMP)


def _refusal(error: OSError, deadline: Deadline) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there (connection refused)"
    return connect.reason(error, deadline)


def _query(question: Question, *, edns: bool = True) -> dns.message.QueryMessage:
    query = dns.message.make_query(
        question.name,
        question.rdtype,
        flags=dns.flags.RD if question.recursive else 0,
    )
    # RFC 6840, section 5.7: whoever sets it gets it back.
    query.flags |= dns.flags.AD
    if edns:
        query.use_edns(0, 0, PAYLOAD)
    return query


def _by_udp(
    query: dns.message.QueryMessage, server: tuple[int, Address], deadline: Deadline
) -> bulk.Steps[dns.message.Message]:
    sock = bulk.open_socket(server[0], socket.SOCK_DGRAM)
    wire, patience_s = query.to_wire(), AGAIN_AFTER_S
    with sock:
        sock.connect(server[1])
        while True:
            sock.send(wire)
            own = deadline.within(patience_s)
            patience_s *= 2
            while (yield bulk.Ready(sock, bulk.READ, own)):
                message = _response(sock.recv(65_535), query)
                if message is not None:
                    return message
            deadline.left()


def _by_tcp(
    query: dns.message.QueryMessage, server: tuple[int, Address], deadline: Deadline
) -> bulk.Steps[dns.message.Message]:
    wire = query.to_wire()
    with bulk.open_socket(server[0]) as sock:
        yield from bulk.connect_socket(sock, server[1], deadline)
        yield from bulk.send(sock, struct.pack("!H", len(wire)) + wire, deadline)
        (length,) = struct.unpack("!H", (yield from _exactly(sock, 2, deadline)))
        data = yield from _exactly(sock, length, deadline)
    message = _response(data, query)
    if message is None:
        raise Unreachable("the answer is to another question")
    return message


def _exactly(sock: socket.socket, count: int, deadline: Deadline) -> bulk.Steps[bytes]:
    data = b""
    while len(data) < count:
        if not (yield bulk.Ready(sock, bulk.READ, deadline)):
            raise TimeoutError
        part = sock.recv(count - len(data))
        if not part:
            raise Unreachable("the server hung up before its answer was whole")
        data += part
    return data


def _response(
    data: bytes, query: dns.message.QueryMessage
) -> dns.message.Message | None:
    """Return a response; None if it is to another question, which does not count."""
    try:
        message = dns.message.from_wire(
            data, ignore_trailing=True, raise_on_truncation=False
        )
    except (dns.exception.DNSException, ValueError, struct.error) as error:
        name = type(error).__name__
        raise Unreachable(f"what came is no DNS message ({name})") from error
    if message.id != query.id or not message.flags & dns.flags.QR:
        return None
    if message.question and message.question != query.question:
        return None
    return message


def _read(message: dns.message.Message, question: Question, seconds: float) -> Response:
    status = dns.rcode.to_text(message.rcode())
    name, ttls, names = question.name, [], []
    found: dns.rrset.RRset | None = None
    circle: tuple[str, ...] = ()
    while name not in names:
        names.append(name)
        found = _of(message, name, question.rdtype)
        if found is not None:
            ttls.append(found.ttl)
            break
        alias = _of(message, name, dns.rdatatype.CNAME)
        if alias is None:
            break
        ttls.append(alias.ttl)
        name = alias[0].target
    else:
        circle = tuple(one.to_text(omit_final_dot=True) for one in (*names, name))
    if status == "NOERROR" and found is None:
        status = CIRCLE if circle else NODATA
    is_alias = name != question.name
    return Response(
        status=status,
        records=tuple(sorted(map(_words, found))) if found is not None else (),
        ttl=min(ttls, default=None),
        alias_of=name.to_text(omit_final_dot=True) if is_alias else "",
        circle=circle,
        leads_elsewhere=is_alias and status == NODATA and _is_silent_on_it(message),
        is_authoritative=bool(message.flags & dns.flags.AA),
        is_authentic=bool(message.flags & dns.flags.AD),
        referred_to=tuple(_referred_to(message)) if status == NODATA else (),
        seconds=seconds,
    )


def _is_silent_on_it(message: dns.message.Message) -> bool:
    """Return whether a server that is no resolver says nothing of where an alias leads.

    With its SOA it says that a name of its own has no such record: RFC 2308, 2.2.
    """
    is_said = any(rrset.rdtype == dns.rdatatype.SOA for rrset in message.authority)
    return not (is_said or message.flags & dns.flags.RA)


def _of(
    message: dns.message.Message, name: dns.name.Name, rdtype: dns.rdatatype.RdataType
) -> dns.rrset.RRset | None:
    for rrset in message.answer:
        if rrset.name == name and rrset.rdtype == rdtype:
            return rrset
    return None


def _referred_to(message: dns.message.Message) -> Iterator[str]:
    if message.flags & (dns.flags.AA | dns.flags.RA):
        return
    for rrset in message.authority:
        if rrset.rdtype == dns.rdatatype.NS:
            yield from (one.target.to_text(omit_final_dot=True) for one in rrset)

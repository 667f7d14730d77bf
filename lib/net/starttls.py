"""STARTTLS: what is said over a connection before the TLS handshake, by protocol.

To support another protocol, write a function that talks up to the handshake and give it
a row in PROTOCOLS.  It raises Unreachable with the server's words if it refuses.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import Any, NamedTuple

from lib.core.sanitize import printable
from lib.net import bulk
from lib.net.connect import Address, Deadline, Unreachable
from lib.net.tls import GREETS_WITHIN_S, SMTP_PORT, client_hello, is_of_tls

#: The most that is read before the TLS handshake.
MAX_BYTES = 65_536
#: So much of a server's words is shown.
MAX_SHOWN = 200


#: Why there is no greeting.
TLS_FIRST = "this port speaks TLS from the start; leave out starttls"


class Plain:
    """A connection on which there is no TLS yet."""

    def __init__(self, sock: socket.socket, domain: str, deadline: Deadline) -> None:
        self._sock = sock
        self._deadline = deadline
        self._size = 0
        self._first = b""
        #: The name that the server is asked for, where the protocol has one.
        self.domain = domain
        #: What is waited for, for people.
        self.step = "the greeting"
        #: What was received and not read.
        self.unread = b""

    @property
    def was_heard(self) -> bool:
        """Return whether the server said anything but TLS."""
        return self._size > 0 and not is_of_tls(self._first)

    def send(self, data: bytes, step: str = "") -> bulk.Steps[None]:
        """Send all of it; what comes next is the answer to ``step``."""
        self.step = step
        yield from bulk.send(self._sock, data, self._deadline)

    def receive(self) -> bulk.Steps[None]:
        """Receive something; raise Unreachable if nothing or too much comes."""
        try:
            data = yield from bulk.receive(self._sock, 4096, self._deadline)
        except TimeoutError:
            raise self.failed(f"no answer within {self._deadline}") from None
        self._size += len(data)
        self._first = self._first or data[:2]
        if not data:
            raise self.failed("the server closed the connection")
        if self._size > MAX_BYTES:
            raise self.failed("the server sent too much")
        self.unread += data

    def line(self) -> bulk.Steps[str]:
        """Return the next line without its end."""
        while b"\n" not in self.unread:
            yield from self.receive()
        line, _end, self.unread = self.unread.partition(b"\n")
        return line.decode("utf-8", "replace").rstrip()

    def exactly(self, count: int) -> bulk.Steps[bytes]:
        """Return so many bytes."""
        while len(self.unread) < count:
            yield from self.receive()
        data, self.unread = self.unread[:count], self.unread[count:]
        return data

    def failed(self, why: str) -> Unreachable:
        """Return what to raise: what was waited for, and why it did not come."""
        return Unreachable(f"{self.step}: {why}")

    def unexpected(self, wanted: str, got: str) -> Unreachable:
        """Return what to raise for an answer that is another than the one wanted."""
        return self.failed(f"expected {wanted}, got {quoted(got)}")


class Protocol(NamedTuple):
    """A protocol with STARTTLS: its usual port, and how to talk up to the handshake."""

    port: int
    talk: Callable[[Plain], bulk.Steps[None]]
    #: False: the client speaks first.
    greets: bool = True


def begin(
    sock: socket.socket, protocol: str, domain: str, deadline: Deadline
) -> bulk.Steps[None]:
    """Talk up to the TLS handshake; raise Unreachable or OSError if that fails.

    What comes before the handshake is not protected: a server that says more than its
    answer fails, since somebody on the way may have said it.
    """
    plain = Plain(sock, domain, deadline)
    place = sock.family, sock.getpeername()
    known = PROTOCOLS[protocol]
    if known.greets:
        # A server that waits for TLS to begin greets nobody.
        soon = deadline.within(min(GREETS_WITHIN_S, deadline.left() * 0.7))
        if not (yield bulk.Ready(sock, bulk.READ, soon)):
            yield from _no_tls_first(place, plain, deadline)
    try:
        yield from known.talk(plain)
    except (Unreachable, OSError):
        if not plain.was_heard:
            yield from _no_tls_first(place, plain, deadline)
        raise
    if plain.unread:
        raise plain.failed("the server sent more before the TLS handshake")


def _no_tls_first(
    place: tuple[int, Address], plain: Plain, deadline: Deadline
) -> bulk.Steps[None]:
    """Raise Unreachable if a server begins with TLS, in a connection of its own."""
    if place[1][1] == SMTP_PORT or deadline.passed:
        return
    said, own = b"", deadline.share(2)
    with contextlib.suppress(OSError), bulk.open_socket(place[0]) as other:
        yield from bulk.connect_socket(other, place[1], own)
        yield from bulk.send(other, client_hello(plain.domain), own)
        said = yield from bulk.receive(other, 5, own)
    if is_of_tls(said):
        raise plain.failed(TLS_FIRST)


def quoted(words: str) -> str:
    """Return a server's words in quotes, short and printable."""
    return repr(printable(words, MAX_SHOWN))


# Protocols of lines.


def _reply(plain: Plain, command: str = "") -> bulk.Steps[list[str]]:
    """Return the lines of a reply as SMTP and FTP have it.

    The last line has a blank after the code, or nothing; what is between may be any
    text (RFC 959, section 4.2).
    """
    if command:
        yield from plain.send(f"{command}\r\n".encode(), command)
    first = yield from plain.line()
    lines = [first]
    is_code = first[:3].isdigit()
    while is_code and first[3:4] == "-" and lines[-1][:4].rstrip() != first[:3]:
        lines.append((yield from plain.line()))
    return lines


def _expect(plain: Plain, code: str, lines: list[str]) -> None:
    if lines[0][:3] != code:
        raise plain.unexpected(code, " ".join(lines))


def _smtp(plain: Plain) -> bulk.Steps[None]:
    """RFC 3207."""
    _expect(plain, "220", (yield from _reply(plain)))
    offers = yield from _reply(plain, "EHLO checker.invalid")
    _expect(plain, "250", offers)
    if "STARTTLS" not in [line[4:].strip().upper() for line in offers[1:]]:
        raise Unreachable("the server does not offer STARTTLS")
    _expect(plain, "220", (yield from _reply(plain, "STARTTLS")))


def _ftp(plain: Plain) -> bulk.Steps[None]:
    """RFC 4217; a server that is not ready yet says 120 first (RFC 959)."""
    greeting = yield from _reply(plain)
    if greeting[0].startswith("120"):
        greeting = yield from _reply(plain)
    _expect(plain, "220", greeting)
    _expect(plain, "234", (yield from _reply(plain, "AUTH TLS")))


def _imap(plain: Plain) -> bulk.Steps[None]:
    """RFC 9051, section 6.2.1."""
    greeting = yield from plain.line()
    if greeting.upper().startswith("* PREAUTH"):
        raise plain.failed(f"STARTTLS is not possible any more: {quoted(greeting)}")
    if not greeting.upper().startswith("* OK"):
        raise plain.unexpected("* OK", greeting)
    yield from plain.send(b"a STARTTLS\r\n", "STARTTLS")
    answer = yield from plain.line()
    while answer.startswith("* ") and not answer.upper().startswith("* BYE"):
        answer = yield from plain.line()
    if not answer.upper().startswith("A OK"):
        raise plain.unexpected("OK", answer)


def _pop3(plain: Plain) -> bulk.Steps[None]:
    """RFC 2595, section 4."""
    for command in ("", "STLS"):
        if command:
            yield from plain.send(f"{command}\r\n".encode(), command)
        answer = yield from plain.line()
        if not answer.upper().startswith("+OK"):
            raise plain.unexpected("+OK", answer)


# Protocols of bytes.

#: RFC 4511, sections 4.12 and 4.14.1: message 1, an extended request, its name.
_LDAP_REQUEST = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x16" + b"1.3.6.1.4.1.1466.20037"
_LDAP_SEQUENCE, _LDAP_EXTENDED_RESPONSE = 0x30, 0x78
#: RFC 4511, section 4.1.9.
_LDAP_RESULTS = {
    1: "operationsError",
    2: "protocolError",
    8: "strongerAuthRequired",
    10: "referral",
    50: "insufficientAccessRights",
    51: "busy",
    52: "unavailable",
    53: "unwillingToPerform",
    80: "other",
}


def _ldap(plain: Plain) -> bulk.Steps[None]:
    """RFC 4511, section 4.14."""
    from lib.net.certificates import elements

    yield from plain.send(_LDAP_REQUEST, "STARTTLS")
    message = yield from _ldap_message(plain)
    try:
        _number, response = list(elements(message))[:2]
        code, _dn, words = list(elements(response.content))[:3]
        result = int.from_bytes(code.content)
    except (ValueError, IndexError):
        raise plain.failed("the answer is not LDAP") from None
    if response.tag != _LDAP_EXTENDED_RESPONSE:
        raise plain.failed("the answer is not LDAP")
    if result:
        name = _LDAP_RESULTS.get(result, "result")
        said = quoted(words.content.decode("utf-8", "replace"))
        raise plain.failed(f"the server refused: {name} ({result}) {said}")


def _ldap_message(plain: Plain) -> bulk.Steps[bytes]:
    """Return the content of a message."""
    tag, length = yield from plain.exactly(2)
    if tag != _LDAP_SEQUENCE or length > 0x84:
        raise plain.failed("the answer is not LDAP")
    if length >= 0x80:
        length = int.from_bytes((yield from plain.exactly(length - 0x80)))
    if length > MAX_BYTES:
        raise plain.failed("the server sent too much")
    return (yield from plain.exactly(length))


#: PostgreSQL, Message Formats, SSLRequest: the length, and 1234 5679.
_POSTGRES_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"


def _postgres(plain: Plain) -> bulk.Steps[None]:
    """PostgreSQL, Message Flow, SSL Session Encryption."""
    yield from plain.send(_POSTGRES_REQUEST, "SSLRequest")
    answer = yield from plain.exactly(1)
    if answer == b"N":
        raise Unreachable("the server does not offer TLS")
    if answer == b"E":
        words = yield from _postgres_error(plain)
        raise plain.failed(f"the server refused: {quoted(words)}")
    if answer != b"S":
        got = answer + plain.unread
        raise plain.unexpected("S", got.decode("utf-8", "replace"))


def _postgres_error(plain: Plain) -> bulk.Steps[str]:
    """Return the message of an ErrorResponse, or of one of before version 3."""
    start = yield from plain.exactly(4)
    length = int.from_bytes(start)
    if length > MAX_BYTES:
        while b"\0" not in plain.unread:
            yield from plain.receive()
        return (start + plain.unread).partition(b"\0")[0].decode("utf-8", "replace")
    fields = (yield from plain.exactly(max(0, length - 4))).split(b"\0")
    found = [one[1:] for one in fields if one[:1] == b"M"]
    return b" ".join(found).decode("utf-8", "replace")


#: MySQL, Capabilities Flags: PROTOCOL_41, SSL, SECURE_CONNECTION.
_MYSQL_41, _MYSQL_SSL, _MYSQL_SECURE = 0x200, 0x800, 0x8000
_MYSQL_ERROR = 0xFF
#: utf8mb4_general_ci.
_MYSQL_CHARSET = 45


def _mysql(plain: Plain) -> bulk.Steps[None]:
    """MySQL, Connection Phase, Protocol::HandshakeV10 and Protocol::SSLRequest."""
    header = yield from plain.exactly(4)
    length = int.from_bytes(header[:3], "little")
    if not 0 < length <= MAX_BYTES:
        said = (header + plain.unread).decode("utf-8", "replace")
        raise plain.failed(f"it is not that of MySQL: {quoted(said)}")
    payload = yield from plain.exactly(length)
    if payload[0] == _MYSQL_ERROR:
        number, words = int.from_bytes(payload[1:3], "little"), payload[3:]
        # Before the client is known the state, #08004, is left out by some.
        words = words[6:] if words[:1] == b"#" else words
        said = quoted(words.decode("utf-8", "replace"))
        raise plain.failed(f"the server refused: error {number} {said}")
    _version, end, rest = payload[1:].partition(b"\0")
    # Thread, part of a challenge, filler; then the lower half of the capabilities.
    flags = rest[4 + 8 + 1 :][:2]
    if payload[0] != 10 or not end or len(flags) < 2:
        said = payload.decode("utf-8", "replace")
        raise plain.failed(f"it is not that of MySQL: {quoted(said)}")
    if not int.from_bytes(flags, "little") & _MYSQL_SSL:
        raise Unreachable("the server does not offer TLS")
    wanted = _MYSQL_41 | _MYSQL_SSL | _MYSQL_SECURE
    request = wanted.to_bytes(4, "little") + (1 << 24).to_bytes(4, "little")
    request += bytes([_MYSQL_CHARSET]) + bytes(23)
    number = (header[3] + 1) % 256
    head = len(request).to_bytes(3, "little") + bytes([number])
    yield from plain.send(head + request, "SSLRequest")


# XMPP.

_STREAMS = "http://etherx.jabber.org/streams"
_TLS = "urn:ietf:params:xml:ns:xmpp-tls"


def _xmpp(plain: Plain) -> bulk.Steps[None]:
    """RFC 6120, section 5.4, as a client."""
    return _xmpp_as(plain, "jabber:client")


def _xmpp_server(plain: Plain) -> bulk.Steps[None]:
    """RFC 6120, section 5.4, as another server."""
    return _xmpp_as(plain, "jabber:server")


def _xmpp_as(plain: Plain, namespace: str) -> bulk.Steps[None]:
    from xml.sax.saxutils import quoteattr

    stream = (
        f"<?xml version='1.0'?><stream:stream xmlns='{namespace}' "
        f"xmlns:stream='{_STREAMS}' to={quoteattr(plain.domain)} version='1.0'>"
    )
    yield from plain.send(stream.encode(), "the stream")
    answers = _Stanzas()
    features = yield from _stanza(plain, answers)
    if features.name != f"{_STREAMS} features":
        raise plain.failed(f"the server refused: {features.words()}")
    if f"{_TLS} starttls" not in features.children:
        raise Unreachable("the server does not offer STARTTLS")
    yield from plain.send(f"<starttls xmlns='{_TLS}'/>".encode(), "STARTTLS")
    answer = yield from _stanza(plain, answers)
    if answer.name != f"{_TLS} proceed":
        raise plain.failed(f"the server refused: {answer.words()}")


class _Stanza:
    """An element of a stream: its name, after that of its space, and what is in it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.children: list[str] = []
        self.text = ""

    def words(self) -> str:
        """Return what it says, for people."""
        conditions = [name.rpartition(" ")[2] for name in self.children]
        found = [self.name.rpartition(" ")[2], *conditions, self.text.strip()]
        return quoted(" ".join(one for one in found if one not in ("", "text")))


class _Stanzas:
    """Reads the elements of a stream, all of it anew whenever more of it has come.

    A parser that gets an element in pieces waits for more than its end (since expat
    2.6).
    """

    def __init__(self) -> None:
        #: The stream up to what was returned last, and how many elements that were.
        self._stream = b""
        self._count = 0

    def next_of(self, data: bytes) -> tuple[_Stanza | None, bytes]:
        """Return the next element, and what follows it; None if it is not whole.

        Raise ValueError if it is no XML.
        """
        stream = self._stream + data
        found = _Parsing(stream).done
        if len(found) <= self._count:
            return None, data
        stanza, end = found[self._count]
        self._count += 1
        self._stream = stream[:end]
        return stanza, stream[end:]


class _Parsing:
    """The elements of a stream, each with its end in it."""

    def __init__(self, stream: bytes) -> None:
        from xml.parsers import expat

        self.done: list[tuple[_Stanza, int]] = []
        self._stream = stream
        self._depth = 0
        self._now: _Stanza | None = None
        self._parser: Any = expat.ParserCreate(namespace_separator=" ")
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._says
        self._parser.StartDoctypeDeclHandler = self._refuse
        try:
            self._parser.Parse(stream, False)
        except expat.ExpatError as error:
            raise ValueError(str(error)) from None

    def _start(self, name: str, _attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth == 2:
            self._now = _Stanza(name)
        elif self._now is not None:
            self._now.children.append(name)

    def _end(self, _name: str) -> None:
        self._depth -= 1
        if self._depth != 1 or self._now is None:
            return
        end = self._parser.CurrentByteIndex
        # That of an element without an end tag is behind it.
        if self._stream.startswith(b"</", end):
            end = self._stream.index(b">", end) + 1
        self.done.append((self._now, end))
        self._now = None

    def _says(self, text: str) -> None:
        if self._now is not None:
            self._now.text += text

    def _refuse(self, *_doctype: object) -> None:
        # RFC 6120, section 11.1; its entities could be without end.
        raise ValueError("a stream has no document type")


def _stanza(plain: Plain, stanzas: _Stanzas) -> bulk.Steps[_Stanza]:
    """Return the next element of a stream."""
    while True:
        try:
            stanza, plain.unread = stanzas.next_of(plain.unread)
        except ValueError as error:
            got = quoted(plain.unread.decode("utf-8", "replace"))
            raise plain.failed(f"the answer is not XMPP: {got}: {error}") from None
        if stanza is not None:
            return stanza
        yield from plain.receive()


PROTOCOLS = {
    "smtp": Protocol(25, _smtp),
    "imap": Protocol(143, _imap),
    "pop3": Protocol(110, _pop3),
    "ftp": Protocol(21, _ftp),
    "ldap": Protocol(389, _ldap, greets=False),
    "postgres": Protocol(5432, _postgres, greets=False),
    "mysql": Protocol(3306, _mysql),
    "xmpp": Protocol(5222, _xmpp, greets=False),
    "xmpp-server": Protocol(5269, _xmpp_server, greets=False),
}

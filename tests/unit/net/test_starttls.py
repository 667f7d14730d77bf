"""Tests of lib/net/starttls.py: each protocol up to the handshake, and refusals."""

from __future__ import annotations

import socket
import time

import pytest

from lib.net import bulk, starttls
from lib.net.connect import Deadline, Unreachable
from tests.support.listeners import HOLD, Listener, says, tls_context

EHLO = b"EHLO checker.invalid\r\n"
LDAP = bytes.fromhex("301d02010177188016") + b"1.3.6.1.4.1.1466.20037"
STREAM = b"<?xml version='1.0'?><stream:stream xmlns='jabber:%s' "
STREAM += b"xmlns:stream='http://etherx.jabber.org/streams' to=\"%s\" version='1.0'>"
TLS = b"xmlns='urn:ietf:params:xml:ns:xmpp-tls'"
OPENED = (
    b"<?xml version='1.0'?><s:stream xmlns='jabber:client' id='1' from='a.example' "
    b"xmlns:s='http://etherx.jabber.org/streams' version='1.0'>"
)
FEATURES = OPENED + b"<s:features><starttls %s><required/></starttls>" % TLS
FEATURES += b"<mechanisms xmlns='x'><mechanism>PLAIN</mechanism></mechanisms>"
FEATURES += b"</s:features>"
STARTTLS = b"<starttls %s/>" % TLS
PROCEED = b"<proceed %s/>" % TLS


def mysql_greeting(flags=0x0800, number=0):
    payload = b"\x0a10.11.19-MariaDB\0" + bytes(4) + b"12345678\0"
    payload += flags.to_bytes(2, "little") + b"\x2d\2\0\xff\x81\x15" + bytes(23)
    return packet(payload, number)


def packet(payload, number=0):
    return len(payload).to_bytes(3, "little") + bytes([number]) + payload


def mysql_request(number=1):
    return packet(
        (0x8A00).to_bytes(4, "little")
        + (1 << 24).to_bytes(4, "little")
        + b"\x2d"
        + bytes(23),
        number,
    )


def ldap_answer(code, words=b"", *, number=1, tag=0x78):
    response = bytes([10, 1, code, 4, 0, 4, len(words)]) + words
    response = bytes([tag, len(response)]) + response
    return bytes([0x30, len(response) + 3, 2, 1, number]) + response


#: What is heard and then said, until TLS begins.
GOOD = {
    "smtp": [
        (b"", b"220-mail.example\r\n220 ready\r\n"),
        (EHLO, b"250-mail.example\r\n250-STARTTLS\r\n250 HELP\r\n"),
        (b"STARTTLS\r\n", b"220 go\r\n"),
    ],
    "imap": [
        (b"", b"* OK [CAPABILITY IMAP4rev1 STARTTLS] ready\r\n"),
        (b"a STARTTLS\r\n", b"* CAPABILITY X\r\na OK go\r\n"),
    ],
    "pop3": [(b"", b"+OK ready <1@a>\r\n"), (b"STLS\r\n", b"+OK go\r\n")],
    "ftp": [
        (
            b"",
            b"120 in 1 minute\r\n220-Welcome\r\n 220 is a code\r\n331 too\r\n220 x\r\n",
        ),
        (b"AUTH TLS\r\n", b"234 go\r\n"),
    ],
    "ldap": [(LDAP, ldap_answer(0))],
    "postgres": [(b"\0\0\0\x08\x04\xd2\x16\x2f", b"S")],
    "mysql": [(b"", mysql_greeting()), (mysql_request(), b"")],
    "xmpp": [
        (STREAM % (b"client", b"localhost"), FEATURES),
        (STARTTLS, PROCEED),
    ],
    "xmpp-server": [
        (STREAM % (b"server", b"localhost"), FEATURES),
        (STARTTLS, b"<proceed %s></proceed>" % TLS),
    ],
}


def conversation(*steps, ends=True):
    """Return a talk of (what to hear, what to say); then it hangs up, or waits."""

    def talk(conn, listener):
        for wanted, answer in steps:
            if wanted:
                heard = b""
                while len(heard) < len(wanted):
                    heard += conn.recv(len(wanted) - len(heard))
                listener.heard.append(heard)
            for piece in answer if isinstance(answer, list) else [answer]:
                conn.sendall(piece)
                if isinstance(answer, list):
                    time.sleep(0.001)
        if not ends:
            listener.over.wait(30)

    return talk


def begun(protocol, *steps, limit_s=5.0, domain="localhost", ends=True):
    """Return what a server has heard until TLS begins; raise Unreachable if not."""
    with Listener(conversation(*steps, ends=ends)) as it:
        deadline = Deadline(limit_s)
        with socket.create_connection(("127.0.0.1", it.port)) as sock:
            sock.setblocking(False)
            bulk.run_one(starttls.begin(sock, protocol, domain, deadline))
    return it.heard


def refused(protocol, *steps, **more):
    """Return the words of what is wrong."""
    with pytest.raises(Unreachable) as caught:
        begun(protocol, *steps, **more)
    return str(caught.value)


def test_every_protocol_has_a_conversation():
    assert set(GOOD) == set(starttls.PROTOCOLS)


@pytest.mark.parametrize("protocol", GOOD)
def test_it_is_spoken_as_its_page_says(protocol):
    heard = begun(protocol, *GOOD[protocol])
    assert heard == [wanted for wanted, _answer in GOOD[protocol] if wanted]


@pytest.mark.parametrize("protocol", GOOD)
def test_an_answer_may_come_byte_by_byte(protocol):
    def piecemeal(answer):
        return [answer[at : at + 1] for at in range(len(answer))]

    begun(protocol, *((heard, piecemeal(said)) for heard, said in GOOD[protocol]))


@pytest.mark.parametrize("protocol", GOOD)
def test_what_is_said_before_the_handshake_drops_the_session(protocol):
    *steps, (wanted, answer) = GOOD[protocol]
    if protocol == "mysql":
        # It has the last word before the handshake itself.
        steps, (wanted, answer) = [], GOOD[protocol][0]
    said = refused(protocol, *steps, (wanted, answer + b"250 injected\r\n"))
    assert said.endswith(": the server sent more before the TLS handshake")


@pytest.mark.parametrize("protocol", GOOD)
@pytest.mark.parametrize("ends", [True, False])
def test_a_server_that_stops_is_named_with_the_step(protocol, ends):
    # The last step of MySQL is ours alone.
    steps = GOOD[protocol][:1] if protocol == "mysql" else GOOD[protocol]
    for count in range(len(steps)):
        wanted, _answer = steps[count]
        said = refused(
            protocol,
            *steps[:count],
            (wanted, b""),
            ends=ends,
            limit_s=1 if ends else 0.2,
        )
        step, why = said.split(": ", 1)
        assert step == step_of(protocol, count)
        words = "the server closed the connection"
        assert why == (words if ends else "no answer within 0.2 s")


def step_of(protocol, count):
    steps = {
        "smtp": ["the greeting", "EHLO checker.invalid", "STARTTLS"],
        "pop3": ["the greeting", "STLS"],
        "ftp": ["the greeting", "AUTH TLS"],
        "ldap": ["STARTTLS"],
        "postgres": ["SSLRequest"],
        "xmpp": ["the stream", "STARTTLS"],
        "xmpp-server": ["the stream", "STARTTLS"],
    }
    return steps.get(protocol, ["the greeting", "STARTTLS"])[count]


@pytest.mark.parametrize("protocol", GOOD)
def test_a_server_that_speaks_tls_only_is_known(protocol):
    with Listener(says(HOLD, first=True), context=tls_context("localhost")) as it:
        deadline = Deadline(0.6)
        with socket.create_connection(("127.0.0.1", it.port)) as sock:
            sock.setblocking(False)
            with pytest.raises(Unreachable) as caught:
                bulk.run_one(starttls.begin(sock, protocol, "localhost", deadline))
    why = str(caught.value).split(": ", 1)[1]
    assert why == "this port speaks TLS from the start; leave out starttls"


@pytest.mark.parametrize("protocol", GOOD)
def test_a_server_that_never_ends_is_cut(protocol):
    first = GOOD[protocol][0][0]
    endless = {"ldap": b"\x30\x84\x7f\xff\xff\xff", "postgres": b"E\x7f\xff\xff\xff"}
    said = refused(protocol, (first, endless.get(protocol, b"220-") + b" <>" * 40_000))
    assert "too much" in said or "not" in said


GREETED = GOOD["smtp"][0]
CASES = [
    (
        "smtp",
        [(b"", b"554-no\r\n554 go away\r\n")],
        "the greeting: expected 220, " "got '554-no 554 go away'",
    ),
    ("smtp", [(b"", b"421 busy\r\n")], "the greeting: expected 220, got '421 busy'"),
    (
        # Not the first of many lines.
        "smtp",
        [(b"", b"SSH-2.0-OpenSSH_9.2\r\n")],
        "the greeting: expected 220, got 'SSH-2.0-OpenSSH_9.2'",
    ),
    (
        "ftp",
        [(b"", b"SSH-2.0-OpenSSH_9.2\r\n")],
        "the greeting: expected 220, got 'SSH-2.0-OpenSSH_9.2'",
    ),
    (
        "smtp",
        [GREETED, (EHLO, b"502 what\r\n")],
        "EHLO checker.invalid: expected 250, " "got '502 what'",
    ),
    (
        "smtp",
        [GREETED, (EHLO, b"250 mail.example\r\n")],
        "the server does not offer STARTTLS",
    ),
    (
        "smtp",
        [*GOOD["smtp"][:2], (b"STARTTLS\r\n", b"454 4.7.0 not now\r\n")],
        "STARTTLS: expected 220, got '454 4.7.0 not now'",
    ),
    (
        "imap",
        [(b"", b"* BYE busy\r\n")],
        "the greeting: expected * OK, " "got '* BYE busy'",
    ),
    (
        "imap",
        [(b"", b"* PREAUTH hi\r\n")],
        "the greeting: STARTTLS is not possible any " "more: '* PREAUTH hi'",
    ),
    (
        "imap",
        [GOOD["imap"][0], (b"a STARTTLS\r\n", b"a BAD what\r\n")],
        "STARTTLS: expected OK, got 'a BAD what'",
    ),
    (
        "imap",
        [GOOD["imap"][0], (b"a STARTTLS\r\n", b"* BYE gone\r\n")],
        "STARTTLS: expected OK, got '* BYE gone'",
    ),
    (
        "pop3",
        [(b"", b"-ERR locked\r\n")],
        "the greeting: expected +OK, " "got '-ERR locked'",
    ),
    (
        "pop3",
        [GOOD["pop3"][0], (b"STLS\r\n", b"-ERR no TLS\r\n")],
        "STLS: expected +OK, got '-ERR no TLS'",
    ),
    ("ftp", [(b"", b"421 full\r\n")], "the greeting: expected 220, got '421 full'"),
    (
        "ftp",
        [GOOD["ftp"][0], (b"AUTH TLS\r\n", b"534 no\r\n")],
        "AUTH TLS: expected 234, got '534 no'",
    ),
    (
        "ldap",
        [(LDAP, ldap_answer(2, b"unsupported extended operation"))],
        "STARTTLS: the server refused: protocolError (2) "
        "'unsupported extended operation'",
    ),
    (
        "ldap",
        [(LDAP, ldap_answer(52, b"bye", number=0))],
        "STARTTLS: the server refused: unavailable (52) 'bye'",
    ),
    (
        "ldap",
        [(LDAP, ldap_answer(99, b"\xff\x1b"))],
        "STARTTLS: the server refused: result (99) '\ufffd'",
    ),
    ("ldap", [(LDAP, ldap_answer(0, tag=0x61))], "STARTTLS: the answer is not LDAP"),
    ("ldap", [(LDAP, b"HTTP/1.1 400 Bad\r\n")], "STARTTLS: the answer is not LDAP"),
    ("ldap", [(LDAP, b"\x30\x01\x02")], "STARTTLS: the answer is not LDAP"),
    ("postgres", [(GOOD["postgres"][0][0], b"N")], "the server does not offer TLS"),
    (
        "postgres",
        [(GOOD["postgres"][0][0], b"HTTP/1.1 400")],
        "SSLRequest: expected S, got 'HTTP/1.1 400'",
    ),
    (
        "postgres",
        [(GOOD["postgres"][0][0], b"Ecould not fork\n\0")],
        "SSLRequest: the server refused: 'could not fork'",
    ),
    (
        "postgres",
        [
            (
                GOOD["postgres"][0][0],
                b"E\0\0\0\x2cSFATAL\0C53300\0Mtoo many clients already\0\0",
            )
        ],
        "SSLRequest: the server refused: 'too many clients already'",
    ),
    ("mysql", [(b"", mysql_greeting(flags=0))], "the server does not offer TLS"),
    (
        "mysql",
        [(b"", packet(b"\xff\x10\x04Too many connections"))],
        "the greeting: the server refused: error 1040 'Too many connections'",
    ),
    (
        "mysql",
        [(b"", packet(b"\xff\x69\x04#HY000Host 'x' is blocked"))],
        "the greeting: the server refused: error 1129 \"Host 'x' is blocked\"",
    ),
    (
        "mysql",
        [(b"", b"SSH-2.0-x\r\n")],
        "the greeting: it is not that of MySQL: 'SSH-2.0-x'",
    ),
    (
        "mysql",
        [(b"", packet(b"\x09old\0"))],
        "the greeting: it is not that of MySQL: 'old'",
    ),
    (
        "xmpp",
        [(STREAM % (b"client", b"localhost"), OPENED + b"<s:features/>")],
        "the server does not offer STARTTLS",
    ),
    (
        "xmpp",
        [
            (
                STREAM % (b"client", b"localhost"),
                OPENED + b"<s:error>"
                b"<host-unknown xmlns='e'/><text xmlns='e'>not here</text></s:error>",
            )
        ],
        "the stream: the server refused: 'error host-unknown not here'",
    ),
    (
        "xmpp",
        [GOOD["xmpp"][0], (STARTTLS, b"<failure %s/>" % TLS)],
        "STARTTLS: the server refused: 'failure'",
    ),
    (
        "xmpp",
        [(STREAM % (b"client", b"localhost"), b"HTTP/1.1 400 Bad\r\n")],
        "the stream: the answer is not XMPP: 'HTTP/1.1 400 Bad': not well-formed "
        "(invalid token): line 1, column 4",
    ),
    (
        "xmpp",
        [
            (
                STREAM % (b"client", b"localhost"),
                b"<!DOCTYPE a [<!ENTITY a 'x'>]><a>&a;</a>",
            )
        ],
        "the stream: the answer is not XMPP: "
        "\"<!DOCTYPE a [<!ENTITY a 'x'>]><a>&a;</a>\": a stream has no document type",
    ),
]


@pytest.mark.parametrize(("protocol", "steps", "words"), CASES)
def test_a_refusal_is_quoted(protocol, steps, words):
    assert refused(protocol, *steps) == words


def test_a_name_of_xmpp_is_quoted_as_xml():
    to = b"a&amp;&lt;b&gt;.example"
    begun(
        "xmpp",
        (STREAM % (b"client", to), FEATURES),
        *GOOD["xmpp"][1:],
        domain="a&<b>.example",
    )


def test_mysql_goes_on_with_the_number_of_the_packet():
    begun("mysql", (b"", mysql_greeting(number=255)), (mysql_request(0), b""))


def test_an_answer_of_ldap_may_have_its_length_in_several_bytes():
    short = ldap_answer(0)
    begun("ldap", (LDAP, b"\x30\x84\0\0\0" + short[1:]))

"""Each option of [tcp NAME] alone turns the status of a real server's target."""

from __future__ import annotations

import re
import socket
import time

import pytest

from jobs.TCPServerChecker import TCPServerChecker
from lib.plugins.kind import KindTable
from tests.support.listeners import (
    HOLD,
    Listener,
    closed_port,
    found_by,
    job_of,
    says,
    self_signed_context,
    tls_context,
    write_authority,
)
from tests.support.waits import SOON_S


def smtp(conn, listener):
    """Greet, and answer each line that is sent with its own number."""
    conn.sendall(b"220 mail.example ESMTP\r\n")
    number = 0
    while line := conn.recv(4096):
        number += 1
        listener.heard.append(line)
        conn.sendall(b"250-one\r\n250 two %d\r\n" % number)


def redis(conn, _listener):
    while line := conn.recv(4096):
        conn.sendall(b"+PONG\r\n" if line == b"PING\r\n" else b"-ERR unknown\r\n")


BANNER = says(b"SSH-2.0-OpenSSH_9.2\r\n", HOLD, first=True)
OPEN = says(HOLD)
#: What the server does; options with which it is OK, and such with which it is not.
CASES = {
    "host": (OPEN, {"host": "127.0.0.1"}, {"host": "127.0.0.2"}),
    "port": (OPEN, {}, {"port": "CLOSED"}),
    "banner": (smtp, {"banner": "220 mail"}, {"banner": "554 mail"}),
    "send": (
        redis,
        {"send": r"PING\r\n", "expect": "+PONG"},
        {"send": r"PONG\r\n", "expect": "+PONG"},
    ),
    "expect": (BANNER, {"expect": "SSH-2.0"}, {"expect": "SSH-1"}),
    "expect_regex": (
        BANNER,
        {"expect_regex": r"^SSH-2\.0-OpenSSH_(9|10)"},
        {"expect_regex": "^OpenSSH"},
    ),
    "dialog": (
        smtp,
        {
            "dialog": "expect 220\n  send EHLO me\\r\\n\n  expect_regex ^250 two 1\\r\n"
            "  send QUIT\\r\\n\n  expect 250 two 2\\r\\n"
        },
        {"dialog": "expect 220\n  send EHLO me\\r\\n\n  expect 250 two 2"},
    ),
    "addresses": (
        OPEN,
        {"host": "both.example", "addresses": "first"},
        {"host": "both.example", "addresses": "every"},
    ),
    "family": (
        OPEN,
        {"host": "both.example", "family": "ipv4"},
        {"host": "both.example", "family": "ipv6"},
    ),
    **{
        f"{word}_time{part}": (
            OPEN,
            {f"{word}_time{part}": "40s"},
            {f"{word}_time{part}": "0s"},
        )
        for word in ("fail", "warn")
        for part in ("", "_connect")
    },
}
#: The same with a server that speaks TLS.
TLS_CASES = {
    "tls": ({"tls": "yes", "verify": "no"}, {"tls": "no", "expect": "SSH"}),
    "cafile": ({"tls": "yes", "cafile": "CA"}, {"tls": "yes"}),
    "verify": ({"tls": "yes", "verify": "no"}, {"tls": "yes", "verify": "yes"}),
    "server_name": (
        {"tls": "yes", "cafile": "CA", "server_name": "localhost"},
        {"tls": "yes", "cafile": "CA", "server_name": "other.example"},
    ),
    **{
        f"{word}_time_tls": (
            {"tls": "yes", "cafile": "CA", f"{word}_time_tls": "40s"},
            {"tls": "yes", "cafile": "CA", f"{word}_time_tls": "0s"},
        )
        for word in ("fail", "warn")
    },
}
#: It has a test of its own below.
OTHERS = {"need"}


def found(listener, options, folder, **more):
    given = {"host": "127.0.0.1", "port": listener.port, "timeout": SOON_S, **options}
    words = {"CLOSED": str(closed_port()), "CA": write_authority(folder)}
    given = {name: words.get(value, value) for name, value in given.items()}
    return found_by(TCPServerChecker, **given, **more)


def test_every_option_has_a_case():
    own = set(KindTable("tcp", "minute", TCPServerChecker.options).own)
    assert own == {*CASES, *TLS_CASES, *OTHERS}


@pytest.mark.parametrize("option", CASES)
def test_an_option_alone_turns_the_status(option, tmp_path):
    talk, good, bad = CASES[option]
    with Listener(talk) as it:
        assert found(it, good, tmp_path) == "fine"
        assert found(it, {"timeout": 1, **bad}, tmp_path) != "fine"


@pytest.mark.parametrize("option", TLS_CASES)
def test_an_option_of_tls_alone_turns_the_status(option, tmp_path):
    good, bad = TLS_CASES[option]
    with Listener(BANNER, context=tls_context()) as it:
        assert found(it, good, tmp_path) == "fine"
        assert found(it, {"timeout": 1, **bad}, tmp_path) != "fine"


@pytest.mark.parametrize("need", ["any", "all"])
def test_all_thresholds_may_be_needed(need, tmp_path):
    options = {"fail_time": "0s", "fail_time_connect": "40s", "need": need}
    with Listener(OPEN) as it:
        assert (found(it, options, tmp_path) == "fine") is (need == "all")


# A port that must not be reached.


def silent_port():
    """Return a server whose queue of connections is full, so that it says nothing."""
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen(0)
    waiting = [socket.socket() for _ in range(4)]
    for one in waiting:
        one.setblocking(False)
        one.connect_ex(server.getsockname())
    return server, waiting


@pytest.mark.parametrize(
    ("expect", "is_open", "is_closed", "is_filtered"),
    [
        ("closed", False, True, False),
        ("filtered", False, False, True),
        ("closed, filtered", False, True, True),
        ("Filtered,CLOSED", False, True, True),
    ],
)
def test_a_port_may_have_to_be_closed_or_filtered(
    expect, is_open, is_closed, is_filtered, tmp_path
):
    options = {"expect": expect, "timeout": "0.5"}
    with Listener(OPEN) as it:
        assert (found(it, options, tmp_path) == "fine") is is_open
        closed = found(it, {**options, "port": "CLOSED"}, tmp_path)
        assert (closed == "fine") is is_closed
    server, waiting = silent_port()
    port = server.getsockname()[1]
    silent = found_by(TCPServerChecker, host="127.0.0.1", port=port, **options)
    assert (silent == "fine") is is_filtered
    for one in (server, *waiting):
        one.close()


def test_what_a_port_is_instead_is_said(tmp_path):
    with Listener(OPEN) as it:
        said = found(it, {"expect": "closed"}, tmp_path)
        assert said == f"127.0.0.1:{it.port}: the port is open; expected closed"
    port = closed_port()
    options = {"host": "127.0.0.1", "port": port, "timeout": 1}
    said = found_by(TCPServerChecker, expect="filtered", **options)
    closed = "connection refused, so the port is closed"
    assert said == f"127.0.0.1:{port}: {closed}; expected filtered"
    server, waiting = silent_port()
    port = server.getsockname()[1]
    options = {"host": "127.0.0.1", "port": port, "timeout": 0.5}
    said = found_by(TCPServerChecker, expect="closed", **options)
    silent = "no answer within 0.5 s, so it is filtered or down"
    assert said == f"127.0.0.1:{port}: {silent}; expected closed"
    for one in (server, *waiting):
        one.close()


def test_each_address_must_be_closed(tmp_path):
    with Listener(OPEN) as it:
        options = {"host": "both.example", "expect": "closed"}
        said = found(it, options, tmp_path)
    assert said == f"127.0.0.1:{it.port}: the port is open; expected closed"


def test_a_machine_without_a_way_there_does_not_know(tmp_path):
    # Nothing is routed there from anywhere.
    said = found_by(
        TCPServerChecker, host="255.255.255.255", port=1, expect="filtered", timeout=1
    )
    assert said.startswith("unknown: 255.255.255.255:1: not known: ")


# Rounds.


def test_anything_is_an_answer_and_silence_is_none(tmp_path):
    with Listener(BANNER) as it:
        assert found(it, {"expect": "anything"}, tmp_path) == "fine"
    with Listener(OPEN) as it:
        said = found(it, {"expect": "anything", "timeout": "0.4"}, tmp_path)
    assert "did not receive anything within 0.4 s; received nothing" in said


def test_a_pattern_that_matches_nothing_asks_for_an_answer(tmp_path):
    with Listener(OPEN) as it:
        options = {"expect_regex": "x*", "timeout": "0.4"}
        assert "received nothing" in found(it, options, tmp_path)


def test_text_and_pattern_may_come_in_any_order(tmp_path):
    with Listener(BANNER) as it:
        options = {"expect": "OpenSSH", "expect_regex": "^SSH-2"}
        assert found(it, options, tmp_path) == "fine"
        options = {**options, "expect_regex": "^SSH-1", "timeout": 1}
        said = found(it, options, tmp_path)
    assert "did not receive a match of '^SSH-1' within 1 s; received 21 bytes" in said


def test_what_one_round_has_taken_is_not_there_for_the_next(tmp_path):
    with Listener(smtp) as it:
        options = {"banner": "220", "expect": "220", "timeout": "0.4"}
        said = found(it, options, tmp_path)
    assert "received 21 bytes: ' mail.example ESMTP\\r\\n'" in said


def test_the_line_of_a_dialog_that_fails_is_named_and_nothing_that_was_sent(tmp_path):
    with Listener(redis) as it:
        dialog = "send AUTH hush\\r\\n\n  expect +OK"
        said = found(it, {"dialog": dialog, "timeout": "0.4"}, tmp_path)
    assert said == (
        f"127.0.0.1:{it.port}: connected, but did not receive '+OK' (line 2 of "
        "dialog) within 0.4 s; received 14 bytes: '-ERR unknown\\r\\n'"
    )


def test_every_address_is_asked_and_the_dead_one_is_named(tmp_path):
    with Listener(OPEN) as it:
        options = {"host": "both.example", "addresses": "every"}
        said = found(it, options, tmp_path)
    assert said == (
        "1 of 2 addresses of both.example fail\n" f"[::1]:{it.port}: connection refused"
    )


# TLS.


def starttls(ready=b"220 go ahead\r\n"):
    context = tls_context()

    def talk(conn, _listener):
        conn.sendall(b"220 mail\r\n")
        conn.recv(4096)
        conn.sendall(ready)
        with context.wrap_socket(conn, server_side=True) as secure:
            secure.sendall(b"250 secure\r\n")
            secure.recv(100)

    return talk


STARTTLS = (
    "expect_regex ^220 .*\\n\n  send STARTTLS\\r\\n\n  expect_regex ^220 .*\\n\n"
    "  tls\n  expect 250 secure"
)


def test_a_dialog_may_begin_tls(tmp_path):
    with Listener(starttls()) as it:
        options = {"dialog": STARTTLS, "cafile": "CA"}
        assert found(it, options, tmp_path) == "fine"


def test_a_certificate_that_is_not_trusted_is_seen_by_a_second_dialog(tmp_path):
    with Listener(starttls()) as it:
        said = found(it, {"dialog": STARTTLS}, tmp_path)
    place = f"127.0.0.1:{it.port}: the certificate of 127.0.0.1"
    assert re.match(rf"{re.escape(place)} is from an unknown issuer, .*; valid", said)


def test_what_is_sent_before_the_handshake_is_refused(tmp_path):
    with Listener(starttls(b"220 go ahead\r\n250 injected\r\n")) as it:
        said = found(it, {"dialog": STARTTLS, "cafile": "CA"}, tmp_path)
    assert said.endswith(": the server sent more before the TLS handshake")


@pytest.mark.parametrize(
    ("context", "said"),
    [
        (lambda _folder: tls_context(ends=-3), "expired 3 days ago"),
        (lambda _folder: tls_context("other.example"), "is for other.example, not for"),
        (self_signed_context, "is self-signed"),
    ],
)
def test_a_certificate_that_is_not_trusted_is_named(context, said, tmp_path):
    with Listener(BANNER, context=context(tmp_path)) as it:
        options = {"tls": "yes", "cafile": "CA"}
        assert said in found(it, options, tmp_path)


def test_a_handshake_that_never_ends_ends_at_the_deadline(tmp_path):
    with Listener(OPEN) as it:
        began = time.monotonic()
        said = found(it, {"tls": "yes", "timeout": "0.5"}, tmp_path)
        assert time.monotonic() - began < SOON_S
    assert said.endswith("connected, but no TLS handshake within 0.5 s")


def test_a_server_without_tls_is_named(tmp_path):
    with Listener(BANNER) as it:
        said = found(it, {"tls": "yes"}, tmp_path)
    assert said == f"127.0.0.1:{it.port}: the server does not speak TLS"


def test_a_cafile_that_is_missing_is_not_the_servers_fault(tmp_path):
    with Listener(BANNER, context=tls_context()) as it:
        said = found(it, {"tls": "yes", "cafile": "/nowhere.pem"}, tmp_path)
    assert said == "unknown: cafile /nowhere.pem: No such file or directory"


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("dialog", "send", "send: expected some text"),
        ("dialog", "expct 220", "did you mean 'expect'?"),
        ("dialog", "PASS hush", "begin with one of send, expect, expect_regex, tls"),
        ("dialog", "tls now", "expected nothing behind tls"),
        ("dialog", "expect_regex (", "expect_regex: expected a regular expression"),
        ("expect_regex", "[", "a regular expression"),
        ("expect", r"\q", "a backslash"),
    ],
)
def test_what_cannot_be_used_says_what_was_expected(option, value, said):
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        TCPServerChecker.options[option].read(value)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"server_name": "a.example"},
            "server_name is about TLS; set tls = yes, or leave it out",
        ),
        (
            {"fail_time_tls": "1s"},
            "fail_time_tls is about TLS; set tls = yes, or leave it out",
        ),
        (
            {"cafile": "/etc/ca.pem"},
            "cafile is about TLS; set tls = yes, or leave it out",
        ),
        ({"verify": "no"}, "verify is about TLS; set tls = yes, or leave it out"),
        ({"verify": "yes"}, ""),
        ({"cafile": "/etc/ca.pem", "verify": "no", "tls": "yes"}, ""),
        ({"server_name": "a.example", "tls": "yes", "warn_time_tls": "1s"}, ""),
        ({"server_name": "a.example", "dialog": "tls"}, ""),
        (
            {"expect": "closed", "fail_time_connect": "1s"},
            "expect = closed means that nobody answers; leave out fail_time_connect",
        ),
        (
            {"expect": "closed", "server_name": "a.example", "fail_time_tls": "1s"},
            "expect = closed means that nobody answers; leave out server_name, "
            "fail_time_tls",
        ),
        ({"expect": "closed", "fail_time": "1s"}, ""),
    ],
)
def test_options_that_do_nothing_are_named(options, said):
    job = job_of(TCPServerChecker, host="127.0.0.1", port=1, **options)
    assert (
        "; ".join(one.text for one in TCPServerChecker.wrong_together(job.target))
        == said
    )

"""Tests of lib/net/tls_errors.py: an error of TLS by class and number, in words."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from lib.net.certificates import Certificate
from lib.net.connect import Deadline, reason
from lib.net.tls_errors import TlsFault, date_words, distrust, error_name

NOON = datetime(2026, 1, 10, 12, tzinfo=UTC)
SEEN = Certificate(
    names=("a.example",),
    issuer="Some CA",
    not_before=NOON - timedelta(days=30),
    not_after=NOON + timedelta(days=30),
)


@pytest.mark.parametrize(
    ("code", "days", "words"),
    [
        (10, -2, "expired 2 days ago, on 2026-01-08"),
        (10, -0.5, "expired less than a day ago, on 2026-01-10"),
        (10, 30, "has expired; valid until 2026-02-09"),
        (18, 30, "is self-signed; valid until 2026-02-09"),
        (18, -1, "is self-signed; expired on 2026-01-09"),
        (20, 30, "is from an unknown issuer, Some CA; valid until 2026-02-09"),
        (62, 30, "is for a.example, not for x; valid until 2026-02-09"),
        (26, 30, "is not meant for a server; valid until 2026-02-09"),
        (999, 30, "is not trusted: odd; valid until 2026-02-09"),
    ],
)
def test_why_a_certificate_is_not_trusted_comes_with_its_dates(code, days, words):
    seen = replace(SEEN, not_after=NOON + timedelta(days=days))
    expected = f"the certificate of x {words}"
    assert distrust("x", code, "odd", [seen], NOON)[1] == expected


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (9, "is not valid yet"),
        (10, "has expired"),
        (18, "is self-signed"),
        (19, "is from an unknown issuer"),
        (20, "is from an unknown issuer"),
        (21, "is from an unknown issuer"),
        (62, "is for another name"),
        (64, "is for another name"),
        (66, "has a key that is too weak"),
        (999, "is not trusted: odd"),
    ],
)
def test_a_certificate_that_was_not_shown_twice_is_named_without_dates(code, words):
    expected = f"the certificate of x {words}"
    assert distrust("x", code, "odd", [], NOON)[1] == expected


def of_chain(name, issuer, *, begins=-300, ends=300, **more):
    return replace(
        SEEN,
        names=(name,),
        name=name,
        subject=name.encode(),
        issuer=issuer,
        issued_by=issuer.encode(),
        not_before=NOON + timedelta(days=begins),
        not_after=NOON + timedelta(days=ends),
        **more,
    )


@pytest.mark.parametrize(
    ("chain", "words"),
    [
        (
            [of_chain("x", "Middle"), of_chain("Middle", "Root", ends=-3)],
            "the certificate of x is not trusted: the intermediate Middle expired "
            "3 days ago, on 2026-01-07; its own is valid until 2026-11-06",
        ),
        (
            [of_chain("x", "Root"), of_chain("Root", "Root", ends=-3)],
            "the certificate of x is not trusted: the root Root expired 3 days ago, on "
            "2026-01-07; its own is valid until 2026-11-06",
        ),
        (
            [of_chain("x", "Middle"), of_chain("Middle", "Root", begins=2)],
            "the certificate of x is not trusted: the intermediate Middle is not valid "
            "before 2026-01-12; its own is valid until 2026-11-06",
        ),
        (
            [of_chain("x", "Middle", begins=2)],
            "the certificate of x is not valid before 2026-01-12; valid until "
            "2026-11-06",
        ),
        ([of_chain("x", "Middle"), of_chain("Middle", "Root")], ""),
    ],
)
def test_the_certificate_of_a_chain_that_is_not_valid_now_is_named(chain, words):
    assert date_words("x", chain, NOON) == words
    if words:
        assert distrust("x", 10, "odd", chain, NOON)[1] == words


def test_a_missing_intermediate_is_told_from_an_unknown_issuer():
    alone, public = of_chain("x", "R3"), of_chain("x", "R3", is_public=True)
    middle = of_chain("R3", "Root")
    until = "valid until 2026-11-06"
    assert distrust("x", 20, "odd", [public], NOON) == (
        TlsFault.MISSING_INTERMEDIATE,
        "the certificate of x is from R3, whose certificate the server does not send; "
        + until,
    )
    for chain, issuer in (([alone], "R3"), ([public, middle], "Root")):
        words = f"the certificate of x is from an unknown issuer, {issuer}; {until}"
        assert distrust("x", 20, "odd", chain, NOON) == (TlsFault.UNKNOWN_ISSUER, words)


def test_a_certificate_for_no_host_says_so():
    words = "the certificate of x names no host in a subjectAltName"
    seen = of_chain("x", "Root", has_alt_name=False)
    assert distrust("x", 62, "odd", [seen], NOON)[1].startswith(words)


def ssl_error(kind=ssl.SSLError, number=1, text="odd", reason=None):
    error = kind(number, text)
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        # Their errno is 8, 6, 5: numbers of TLS, and other things to the system.
        (ssl_error(ssl.SSLEOFError, 8), "the connection was closed"),
        (ssl_error(ssl.SSLZeroReturnError, 6), "the connection was closed"),
        (ssl_error(ssl.SSLSyscallError, 5), "the connection broke"),
        (ssl_error(reason="WRONG_VERSION_NUMBER"), "the server does not speak TLS"),
        (
            ssl_error(reason="UNSUPPORTED_PROTOCOL"),
            "its TLS version is too old (at least 1.2 is needed)",
        ),
        # A Python that is older than the error.
        (
            ssl_error(
                text="[SSL] legacy sigalg disallowed or unsupported (_ssl.c:992)"
            ),
            "its TLS signature algorithm is too old",
        ),
        (ssl_error(reason="SOMETHING_NEW"), "TLS: something new"),
        (ssl_error(text="[SSL] something new (_ssl.c:992)"), "TLS: something new"),
    ],
)
def test_an_error_of_tls_is_known_by_class_and_name(error, words):
    assert reason(error, Deadline(5)) == words


@pytest.mark.parametrize(
    ("reason", "text", "name"),
    [
        ("TLSV1_ALERT_UNKNOWN_CA", "", "ALERT_UNKNOWN_CA"),
        ("TLSV1_UNRECOGNIZED_NAME", "", "ALERT_UNRECOGNIZED_NAME"),
        ("SSLV3_ALERT_HANDSHAKE_FAILURE", "", "ALERT_HANDSHAKE_FAILURE"),
        (
            "SSL/TLS_ALERT_HANDSHAKE_FAILURE",
            "",
            "ALERT_HANDSHAKE_FAILURE",
        ),
        (
            None,
            "[SSL] ssl/tls alert handshake failure (_ssl.c:1)",
            "ALERT_HANDSHAKE_FAILURE",
        ),
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "", "ALERT_CERTIFICATE_REQUIRED"),
        (None, "unknown error (_ssl.c:992)", "UNKNOWN_ERROR"),
        ("SSLV3_ROLLBACK_ATTACK", "", "SSLV3_ROLLBACK_ATTACK"),
    ],
)
def test_an_error_has_one_name_in_every_version(reason, text, name):
    assert error_name(reason, text) == name

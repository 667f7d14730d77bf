import ssl
import threading
from datetime import UTC, datetime, timedelta

import pytest

from lib.reach import Deadline, NotTried
from lib.tls import Certificate, distrust_words, handshake_words, trust
from tests.listeners import write_authority

NOON = datetime(2026, 1, 10, 12, tzinfo=UTC)
SEEN = Certificate(
    names=("a.example",),
    issuer="Some CA",
    not_before=NOON - timedelta(days=30),
    not_after=NOON + timedelta(days=30),
)


def test_one_store_is_read_once_however_many_ask_at_once(tmp_path):
    cafile, found = write_authority(tmp_path), []
    threads = [
        threading.Thread(target=lambda: found.append(trust(cafile))) for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(context) for context in found}) == 1


def test_the_systems_store_is_verified_and_so_is_the_name():
    context = trust()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_a_target_that_is_not_verified_has_a_context_of_its_own():
    assert trust(verify=False) is not trust()
    assert trust(verify=False).verify_mode == ssl.CERT_NONE


def test_a_folder_is_no_file_of_certificates(tmp_path):
    with pytest.raises(NotTried, match="^cafile /"):
        trust(str(tmp_path))


@pytest.mark.parametrize(
    ("code", "days", "words"),
    [
        (10, -2, "the certificate of x expired 2 days ago, on 2026-01-08"),
        (10, -0.5, "the certificate of x expired less than a day ago, on 2026-01-10"),
        (
            10,
            30,
            "the certificate of x is not trusted: odd (in its chain); "
            "its own is valid until 2026-02-09",
        ),
        (18, 30, "the certificate of x is self-signed; valid until 2026-02-09"),
        (18, -1, "the certificate of x is self-signed; expired on 2026-01-09"),
        (
            20,
            30,
            "the certificate of x is from an unknown issuer, Some CA; "
            "valid until 2026-02-09",
        ),
        (
            62,
            30,
            "the certificate of x is for a.example, not for x; valid until 2026-02-09",
        ),
    ],
)
def test_why_a_certificate_is_not_trusted_comes_with_its_dates(code, days, words):
    seen = Certificate(
        SEEN.names, SEEN.issuer, SEEN.not_before, NOON + timedelta(days=days)
    )
    assert distrust_words("x", code, "odd", seen, NOON) == words


def test_a_certificate_that_was_not_shown_twice_is_named_without_dates():
    words = distrust_words("x", 10, "certificate has expired", None, NOON)
    assert words == "the certificate of x is not trusted: certificate has expired"


def ssl_error(reason):
    error = ssl.SSLError(1, "odd")
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (TimeoutError(), "connected, but no TLS handshake within 5 s"),
        (
            ConnectionResetError(104, "reset"),
            "the connection was closed during the TLS handshake",
        ),
        (ssl_error("WRONG_VERSION_NUMBER"), "what answers does not speak TLS"),
        (
            ssl_error("UNSUPPORTED_PROTOCOL"),
            "its TLS protocol is too old (1.2 is the least)",
        ),
        (ssl_error("SOMETHING_NEW"), "TLS: something_new"),
    ],
)
def test_why_a_handshake_did_not_succeed_is_said_in_words(error, words):
    assert handshake_words(error, Deadline(5)) == words

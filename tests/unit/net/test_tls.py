"""Tests of lib/net/tls.py: what is trusted, on every Python, and what is not."""

from __future__ import annotations

import os
import re
import ssl
import threading
import time
from pathlib import Path

import pytest
import trustme

from lib.net.connect import Deadline, NotTried, connect
from lib.net.tls import TlsFailed, handshake, secure, trust
from lib.net.tls_errors import TlsFault
from tests.support.approved import MOMENT
from tests.support.certificates import issued, write_chain
from tests.support.listeners import (
    HOLD,
    RESET,
    Listener,
    answer,
    hear,
    says,
    tls_context,
    write_authority,
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


@pytest.mark.parametrize("verify", [True, False])
def test_a_context_is_the_same_on_every_python(verify):
    context = trust(verify=verify)
    assert not (verify and context.hostname_checks_common_name)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    if verify:
        assert context.verify_flags == (
            ssl.VERIFY_X509_TRUSTED_FIRST | ssl.VERIFY_X509_PARTIAL_CHAIN
        )


def test_every_context_of_the_program_comes_from_here():
    """So that no server is trusted by one part of it and refused by another."""
    makers = re.compile(r"create_default_context|_create_\w+_context|SSLContext\(")
    root = Path(__file__).resolve().parents[3]
    sources = [root / "checker.py", *root.glob("lib/**/*.py"), *root.glob("jobs/*.py")]
    found = {path.name for path in sources if makers.search(path.read_text("utf-8"))}
    assert found == {"tls.py"}


def test_what_is_not_verified_needs_no_store(tmp_path):
    assert trust(str(tmp_path / "none"), verify=False) is trust(verify=False)


def test_a_cafile_that_is_no_file_is_named_and_not_waited_for(tmp_path, approved):
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo"):
        with pytest.raises(NotTried) as caught:
            trust(str(path))
        approved(str(caught.value), "pipe" if path.is_fifo() else "folder")


# Stores as people have them.


def accepted(context, cafile):
    """Return whether a server is trusted by what ``cafile`` has in it; else why not."""
    with Listener(says(answer()), context=context) as it:
        deadline = Deadline(5)
        try:
            secure("localhost", it.port, deadline, trust(str(cafile))).close()
        except TlsFailed as error:
            return str(error)
    return True


def test_an_authority_made_with_the_defaults_of_openssl_is_trusted(tmp_path):
    # No keyUsage, no key identifiers: what VERIFY_X509_STRICT refuses.
    root = issued("Own CA", ca=True, extensions=False)
    leaf = issued("localhost", by=root, extensions=False)
    write_chain(tmp_path / "ca.pem", root)
    assert accepted(leaf.context(tmp_path), tmp_path / "ca.pem") is True


@pytest.mark.parametrize("trusted", ["root", "intermediate", "leaf"])
def test_any_certificate_of_a_chain_can_be_what_is_trusted(tmp_path, trusted):
    root = issued("Root", ca=True)
    intermediate = issued("Intermediate", by=root, ca=True)
    leaf = issued("localhost", by=intermediate)
    chain = {"root": root, "intermediate": intermediate, "leaf": leaf}
    write_chain(tmp_path / "ca.pem", chain[trusted])
    context = leaf.context(tmp_path, intermediate)
    assert accepted(context, tmp_path / "ca.pem") is True


def test_a_stranger_is_not_trusted_whatever_else_is(tmp_path, approved):
    write_chain(tmp_path / "ca.pem", issued("Root", ca=True))
    stranger = issued("localhost", by=issued("Root", ca=True))
    approved(
        accepted(stranger.context(tmp_path), tmp_path / "ca.pem"), hide={MOMENT: "DATE"}
    )


def test_who_was_issued_a_certificate_is_no_authority(tmp_path, approved):
    root = issued("Root", ca=True)
    middle = issued("middle.example", by=root)
    write_chain(tmp_path / "ca.pem", root)
    text = accepted(
        issued("localhost", by=middle).context(tmp_path, middle), tmp_path / "ca.pem"
    )
    approved(text, hide={MOMENT: "DATE"})


def test_a_server_without_forward_secrecy_is_spoken_to_by_every_python(tmp_path):
    ca = trustme.CA(key_type=trustme.KeyType.RSA)
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost", key_type=trustme.KeyType.RSA).configure_cert(context)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AES128-GCM-SHA256")
    assert accepted(context, tmp_path / "ca.pem") is True


# Handshakes that come to nothing, with a server that does as it says.


def alert(number, level=2):
    return bytes((21, 3, 3, 0, 2, level, number))


@pytest.mark.parametrize(
    ("merged_messages", "speaks_no_tls"),
    [
        ((), False),
        ((RESET,), False),
        # close_notify, then silence
        ((alert(0, level=1), HOLD), False),
        ((alert(40),), False),
        ((alert(70),), False),
        ((alert(71),), False),
        ((alert(80),), False),
        ((alert(112),), False),
        ((alert(48),), False),
        ((alert(109),), False),
        ((b"220 mail.example ESMTP\r\n", HOLD), True),
        ((answer("400 Bad Request"), HOLD), True),
        ((b"\0" * 20, HOLD), True),
    ],
)
def test_why_there_is_no_tls_is_said_in_the_same_words_on_every_python(
    merged_messages, speaks_no_tls, approved
):
    def talk(conn, listener):
        conn.recv(4096)
        says(*merged_messages, first=True)(conn, listener)

    with Listener(talk) as it:
        deadline = Deadline(5)
        with pytest.raises(TlsFailed) as caught:
            secure("127.0.0.1", it.port, deadline, trust())
    assert (caught.value.fault == TlsFault.NOT_TLS) is speaks_no_tls
    approved(str(caught.value))


@pytest.mark.parametrize("said", [b"", b"220 mail.example\r\n"])
def test_a_connection_reset_before_the_handshake_is_no_tls(said, approved):
    # ssl.wrap_socket would return a socket that reads what comes as it is.
    connected = threading.Event()

    def talk(conn, listener):
        connected.wait(10)
        says(said, RESET, first=True)(conn, listener)

    with Listener(talk) as it:
        sock = connect("127.0.0.1", it.port, Deadline(5))
        connected.set()
        with pytest.raises(OSError, match="not connected"):
            while sock.getpeername():
                time.sleep(0.01)
        with pytest.raises(TlsFailed) as caught:
            handshake(sock, "127.0.0.1", Deadline(5), trust())
        approved(str(caught.value))
    assert sock.fileno() == -1


def test_a_server_that_has_old_tls_only_is_told_apart(approved):
    context = tls_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    for verify in (True, False):
        with (
            Listener(context=context) as it,
            pytest.raises(TlsFailed) as caught,
        ):
            secure("localhost", it.port, Deadline(5), trust(verify=verify))
        approved(str(caught.value))


@pytest.mark.parametrize(
    "version",
    ["TLSv1_2", "TLSv1_3"],
)
def test_a_server_that_wants_a_certificate_of_us_is_named(tmp_path, version, approved):
    from lib.net.connect import reason

    context = tls_context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = ssl.TLSVersion[version]
    with Listener(hear, context=context) as it:
        deadline = Deadline(5)
        with pytest.raises((TlsFailed, ssl.SSLError)) as caught:
            # With TLS 1.3 the server says so in the answer to what comes next.
            ours = secure(
                "localhost", it.port, deadline, trust(write_authority(tmp_path))
            )
            with ours:
                ours.recv(1)
    approved(reason(caught.value, deadline))


def test_a_handshake_that_failed_leaves_no_socket_open(tmp_path, approved):
    with Listener(context=tls_context()) as it:
        sock = connect("localhost", it.port, Deadline(5))
        with pytest.raises(TlsFailed) as caught:
            handshake(sock, "localhost", Deadline(5), trust())
    assert sock.fileno() == -1
    approved(str(caught.value), hide={MOMENT: "DATE", r"trustme v[\d.]+": "trustme"})


@pytest.mark.parametrize("name", [".example", "ü" * 70 + ".example"])
def test_a_name_that_can_be_in_no_certificate_is_reported(name, approved):
    with Listener(context=tls_context()) as it:
        sock = connect("localhost", it.port, Deadline(5))
        with pytest.raises(TlsFailed) as caught:
            handshake(sock, name, Deadline(5), trust())
        approved(str(caught.value))

"""Whether a mail server is reached, and is who it should be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import trustme

from tests.support.listeners import self_signed_context
from tests.support.mailing import failure, settings_for
from tests.support.servers import SmtpServer, SmtpStub, server_context, smtp_talk_until


def expired(ca):
    now = datetime.now(UTC)
    return server_context(
        ca, not_before=now - timedelta(9), not_after=now - timedelta(2)
    )


def not_yet_valid(ca):
    now = datetime.now(UTC)
    return server_context(
        ca, not_before=now + timedelta(2), not_after=now + timedelta(9)
    )


def of_a_stranger(_ca):
    return server_context(trustme.CA())


def of_another_name(ca):
    return server_context(ca, "elsewhere.example")


@pytest.mark.parametrize("security", ["starttls", "tls"])
@pytest.mark.parametrize(
    ("make", "says"),
    [
        (expired, "has expired; it must be renewed on the server"),
        (not_yet_valid, "is not valid yet; check this machine's clock"),
        (of_a_stranger, "is from an unknown issuer; [email] cafile can name it"),
        (of_another_name, "is for another name; set [email] smtpserver to a name it"),
    ],
)
def test_a_bad_certificate_is_refused_in_words(ca, cafile, make, says, security):
    around = "tls\nhush" if security == "tls" else smtp_talk_until("AUTH", "hush")
    with SmtpStub(around, context=make(ca)) as stub:
        settings = settings_for(stub.port, cafile, smtpsecurity=security)
        error = failure(settings)
    assert f": the certificate of 127.0.0.1 {says}" in str(error)
    assert not error.permanent
    assert not any(b"AUTH" in line for line in stub.heard)


def test_a_self_signed_certificate_is_refused_in_words(cafile, tmp_path):
    context = self_signed_context(tmp_path)
    with SmtpStub("tls\nhush", context=context) as stub:
        error = failure(settings_for(stub.port, cafile, smtpsecurity="tls"))
    assert "is self-signed; [email] cafile can name it" in str(error)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [("missing", None, "No such file"), ("text", "hello", "no file of certificates")],
)
def test_a_cafile_that_is_none_is_named(ca, tmp_path, name, content, says):
    path = tmp_path / name
    if content:
        path.write_text(content)
    with SmtpServer(ca) as server:
        error = failure(settings_for(server.port, path))
    assert says in str(error)
    assert f"[email] cafile {path}" in str(error)


def test_tls_spoken_to_a_server_that_begins_plainly_names_the_option(ca):
    with SmtpServer(ca) as server:
        error = failure(settings_for(server.port, smtpsecurity="tls"))
    assert "does not speak TLS" in str(error)
    assert "smtpsecurity = starttls" in str(error)


def test_without_tls_no_other_machine_is_spoken_to():
    # An address for documentation: nothing is sent to it, or the test would wait.
    settings = settings_for(25, smtpserver="192.0.2.1", smtpsecurity="none")
    error = failure(settings)
    assert "smtpsecurity = none is for a server on this machine only" in str(error)


def test_a_port_where_nobody_listens_is_named():
    with SmtpStub("drop") as stub:
        port = stub.port
    error = failure(settings_for(port))
    assert str(error) == (
        f"127.0.0.1:{port}: connect: connection refused; check [email] smtpserver and "
        "smtpport, and the network between"
    )
    assert (error.permanent, error.code) == (False, None)


@pytest.mark.parametrize("host", ["x" * 70 + ".example", "☃..example"])
def test_a_name_that_is_none_is_said_to_be_none(host):
    error = failure(settings_for(587, smtpserver=host))
    assert (error.permanent, error.step) == (False, "connect")
    assert str(error).endswith("; check [email] smtpserver, and this machine's DNS")

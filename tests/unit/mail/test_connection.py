"""Whether a mail server is reached, and is who it should be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import trustme

from tests.support.approved import MOMENT
from tests.support.listeners import self_signed_context
from tests.support.mailing import failure, settings_for
from tests.support.servers import SmtpServer, SmtpStub, server_context, smtp_talk_until

#: What differs from run to run; its version is a part of the issuer's name.
HIDDEN = {MOMENT: "DATE", r"trustme v[\d.]+": "trustme"}


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
    "make",
    [
        expired,
        not_yet_valid,
        of_a_stranger,
        of_another_name,
    ],
)
def test_a_bad_certificate_is_refused_in_words(ca, cafile, make, security, approved):
    around = "tls\nhush" if security == "tls" else smtp_talk_until("AUTH", "hush")
    with SmtpStub(around, context=make(ca)) as stub:
        settings = settings_for(stub.port, cafile, smtpsecurity=security)
        error = failure(settings)
    approved(str(error), hide=HIDDEN)
    assert not error.permanent
    assert not any(b"AUTH" in line for line in stub.heard)


def test_a_self_signed_certificate_is_refused_in_words(cafile, tmp_path, approved):
    context = self_signed_context(tmp_path)
    with SmtpStub("tls\nhush", context=context) as stub:
        error = failure(settings_for(stub.port, cafile, smtpsecurity="tls"))
    approved(str(error), hide=HIDDEN)


@pytest.mark.parametrize(
    ("name", "content"),
    [("missing", None), ("text", "hello")],
)
def test_a_cafile_that_is_none_is_named(ca, tmp_path, name, content, approved):
    path = tmp_path / name
    if content:
        path.write_text(content)
    with SmtpServer(ca) as server:
        error = failure(settings_for(server.port, path))
    approved(str(error))
    assert f"[email] cafile {path}" in str(error)


def test_tls_spoken_to_a_server_that_begins_plainly_names_the_option(ca, approved):
    with SmtpServer(ca) as server:
        error = failure(settings_for(server.port, smtpsecurity="tls"))
    approved(str(error))
    assert "smtpsecurity = starttls" in str(error)


def test_without_tls_no_other_machine_is_spoken_to(approved):
    # An address for documentation: nothing is sent to it, or the test would wait.
    settings = settings_for(25, smtpserver="192.0.2.1", smtpsecurity="none")
    error = failure(settings)
    approved(str(error))


def test_a_port_where_nobody_listens_is_named(approved):
    with SmtpStub("drop") as stub:
        port = stub.port
    error = failure(settings_for(port))
    approved(str(error))
    assert (error.permanent, error.code) == (False, None)


@pytest.mark.parametrize("host", ["x" * 70 + ".example", "☃..example"])
def test_a_name_that_is_none_is_said_to_be_none(host, approved):
    error = failure(settings_for(587, smtpserver=host))
    assert (error.permanent, error.step) == (False, "connect")
    approved(str(error))

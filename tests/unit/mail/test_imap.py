"""A line to an IMAP server: TLS, the login, and what goes wrong in words."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from lib.mail.mailbox import folders_of
from lib.net.connect import Deadline
from tests.support.imapstub import ImapStub
from tests.support.servers import PASSWORD, USER, server_context
from tests.unit.mail.test_mailbox import failure, look, mailbox, own_mail


def test_a_refused_login_says_so_without_the_password(ca, cafile, approved):
    instead = {"AUTHENTICATE": f"TAG NO no {PASSWORD} here\r\n".encode()}
    with ImapStub(ca, instead=instead) as stub:
        found = failure(stub, cafile)
    approved(found.problem)
    assert PASSWORD not in str(found) and "app password" in str(found)


def test_a_server_without_auth_plain_is_logged_in_to(ca, cafile):
    with ImapStub(ca, mails={"INBOX": [own_mail()]}, capabilities="IMAP4rev1") as it:
        assert look(it, cafile) is not None
    assert any(one.startswith(f'LOGIN "{USER}"') for one in it.heard)


def test_starttls_comes_before_the_password(ca, cafile):
    with ImapStub(ca, mails={"INBOX": [own_mail()]}, security="starttls") as stub:
        assert look(stub, cafile) is not None
    names = [one.split()[0] for one in stub.heard]
    assert names.index("STARTTLS") < names.index("AUTHENTICATE")


@pytest.mark.long
@pytest.mark.parametrize(
    "answer", [b"a BAD no\r\n", b"a OK go\r\n* OK more\r\na", b"x" * 50_000]
)
def test_without_starttls_no_password_leaves(ca, cafile, answer):
    instead = {"STARTTLS": answer}
    with ImapStub(ca, security="starttls", instead=instead) as stub:
        assert failure(stub, cafile, limit_s=3).problem == "unreachable"
    assert not [one for one in stub.heard if one.startswith(("AUTH", "LOGIN"))]


def test_a_server_that_does_not_offer_starttls_hears_no_password(ca, cafile):
    with ImapStub(ca, security="none") as stub:
        found = failure(stub, cafile, security="starttls")
    assert "does not offer it; no password leaves without TLS" in str(found)
    assert not [one for one in stub.heard if one.startswith(("AUTH", "LOGIN"))]


def test_what_was_said_before_tls_is_no_answer_after_it(ca, cafile):
    # Whoever sits on the wire may say what he likes before TLS begins.
    forged = "* LIST () NIL forged\r\n* SEARCH 1\r\n* CAPABILITY AUTH=X\r\n"
    with ImapStub(ca, security="starttls", before_tls=forged) as stub:
        assert folders_of(mailbox(stub, cafile), Deadline(8)) == ["INBOX"]


def test_none_is_for_this_machine(ca, cafile):
    with ImapStub(ca, mails={"INBOX": [own_mail()]}, security="none") as stub:
        assert look(stub, "", password="x") is not None


@pytest.mark.parametrize(
    ("names", "issued", "words"),
    [
        (("other.example",), {}, "is for other.example, not for 127.0.0.1"),
        (("other.example",), {}, "; set [email] imapserver to a name it is for"),
        (
            (),
            {"not_after": datetime(2020, 1, 1, tzinfo=UTC)},
            "on 2020-01-01; it must be renewed on the server",
        ),
    ],
)
def test_a_wrong_certificate_is_refused(ca, cafile, names, issued, words):
    if issued:
        issued["not_before"] = datetime(2019, 1, 1, tzinfo=UTC)
    context = server_context(ca, *names, **issued)
    with ImapStub(ca, context=context) as stub:
        found = failure(stub, cafile)
    assert found.problem == "unreachable" and words in str(found)
    assert stub.heard == []


def test_tls_spoken_to_a_server_that_begins_plainly_names_the_option(ca, approved):
    with ImapStub(ca, security="none") as stub:
        found = failure(stub, "", security="tls")
    approved(str(found))


def test_an_unknown_issuer_is_refused(ca, approved):
    with ImapStub(ca) as stub:
        approved(str(failure(stub, "")), hide={r"trustme v[\d.]+": "trustme"})


def test_an_unknown_issuer_is_named_with_starttls_as_well(ca, approved):
    with ImapStub(ca, security="starttls") as stub:
        found = failure(stub, "", security="starttls")
    approved(str(found), hide={r"trustme v[\d.]+": "trustme"})
    assert not [one for one in stub.heard if one.startswith(("AUTH", "LOGIN"))]

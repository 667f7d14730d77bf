"""Tests of lib/mail/replies.py: what a no means, to the program and to people."""

from __future__ import annotations

import pickle

import pytest

from lib.core.secret import Secret
from lib.core.settings import Mail
from lib.mail.replies import (
    TLS_REMEDIES,
    DeliveryError,
    code_of,
    is_lasting,
    refusal_remedy,
    refuses_login,
    status_of,
    telling,
    tls_remedy,
)
from lib.net.tls_errors import TlsFault


@pytest.mark.parametrize(
    ("step", "answer", "lasting"),
    [
        ("RCPT TO", "550 5.1.1 no such user", True),
        ("RCPT TO", "550 no such user", True),
        ("RCPT TO", "553 5.1.3 that is no address", True),
        ("RCPT TO", "451 4.7.1 greylisted", False),
        ("RCPT TO", "452 4.2.2 mailbox full", False),
        # about us, so about every mail until it is mended
        ("RCPT TO", "554 5.7.1 Client host blocked using a list", False),
        ("RCPT TO", "550 Relaying denied", False),
        ("RCPT TO", "530 5.7.0 log in first", False),
        ("RCPT TO", "550 5.4.5 Daily user sending limit exceeded", False),
        ("end of mail", "554 5.7.1 looks like spam", True),
        ("end of mail", "552 5.3.4 too big", True),
        ("end of mail", "550 5.4.5 Daily user sending limit exceeded", False),
        ("end of mail", "451 try later", False),
        ("DATA", "554 5.5.1 no valid recipients", True),
        ("DATA", "503 5.5.1 bad sequence", False),
        ("MAIL FROM", "552 5.3.4 too big", True),
        ("MAIL FROM", "553 5.7.1 this is not your address", False),
        ("MAIL FROM", "550 5.4.5 Daily user sending limit exceeded", False),
        ("RCPT TO", "550 5.1.8 <us@example.com>: Sender address rejected", False),
        ("RCPT TO", "550 Sender verify failed", False),
        ("RCPT TO", "550 5.2.1 that account is suspended", True),
        # as Microsoft 365, Gmail and Amazon SES refuse an account
        ("end of mail", "550 5.1.8 Access denied, bad outbound sender", False),
        ("end of mail", "554 5.2.0 Submission.Exception:OutboundSpamException", False),
        ("end of mail", "550 5.7.60 SMTP; Client does not have permissions", False),
        ("end of mail", "550 5.7.26 This mail is unauthenticated", False),
        ("end of mail", "554 Message rejected: Email address is not verified.", False),
        ("DATA", "554 Sending suspended for this account", False),
        ("AUTH", "535 5.7.8 wrong", False),
        ("greeting", "554 go away", False),
    ],
)
def test_only_what_speaks_of_this_mail_is_final(step, answer, lasting):
    assert is_lasting(step, answer) is lasting


@pytest.mark.parametrize(
    "host",
    [
        "smtp.gmail.com",
        "smtp.office365.com",
        "mail.example.com",
        "notgmail.com",
    ],
)
def test_a_refused_login_names_the_way_out(host, approved):
    mail = Mail(smtpserver=host)
    approved(refusal_remedy(mail, "AUTH", "535 5.7.8 not accepted"))


@pytest.mark.parametrize(
    ("step", "answer", "has_one"),
    [
        ("AUTH", "454 4.7.0 later", False),
        ("RCPT TO", "550 5.1.1 no such user", False),
        ("RCPT TO", "554 5.7.1 Relay access denied", True),
        ("MAIL FROM", "530 5.7.0 log in first", True),
        ("MAIL FROM", "553 not yours", True),
        ("end of mail", "550 5.4.5 enough for today", True),
        ("end of mail", "554 Email address is not verified.", True),
    ],
)
def test_a_refusal_names_the_way_out_where_there_is_one(
    step, answer, has_one, approved
):
    remedy = refusal_remedy(Mail(smtpserver="mail.example.com"), step, answer)
    assert bool(remedy) is has_one
    approved(remedy)


def test_the_way_out_of_a_wrong_name_is_the_option_that_names_the_server():
    words = "set [email] imapserver to a name it is for"
    assert tls_remedy(TlsFault.WRONG_NAME, "imapserver") == words
    assert tls_remedy(TlsFault.HANDSHAKE, "imapserver") == ""
    assert set(TLS_REMEDIES) < set(TlsFault)


@pytest.mark.parametrize(
    ("answer", "code", "status"),
    [
        ("550 5.1.1 no", 550, "5.1.1"),
        ("421", 421, ""),
        ("", None, ""),
        ("999 x", None, ""),
    ],
)
def test_a_refusal_knows_the_code_and_the_status(answer, code, status):
    error = DeliveryError("text", answer=answer)
    assert (error.code, error.status) == (code, status)


def test_a_refusal_survives_the_way_between_processes():
    error = DeliveryError("a: b: c", step="b", answer="550 5.1.1 no", permanent=True)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.__dict__) == (str(error), error.__dict__)


#: RFC 4954, sections 4 and 6, with RFC 5248, Exim's own 435, and what servers say
#: without an enhanced status: whether user and password are refused.
AUTH_ANSWERS = {
    "421 4.7.0 too many failed logins, closing": False,
    "432 4.7.12 a password transition is needed": False,
    "435 unable to authenticate at present": False,
    "454 4.7.0 temporary authentication failure": False,
    "454 4.3.0 try again later": False,
    "500 5.5.6 authentication exchange line is too long": False,
    "501 5.5.2 cannot base64-decode": False,
    "501 5.7.0 authentication aborted": False,
    "502 5.5.1 not implemented": False,
    "503 5.5.1 authentication not enabled": False,
    "504 5.5.4 unrecognized authentication type": False,
    "504 5.7.4 unrecognized authentication type": False,
    "525 5.7.13 user account disabled": True,
    "530 5.7.0 must issue a STARTTLS command first": False,
    "534 5.7.9 authentication mechanism is too weak": True,
    "535 5.7.8 authentication credentials invalid": True,
    "535 5.7.3 authentication unsuccessful": True,
    "538 5.7.11 encryption required": False,
    "550 5.7.1 this user may not log in here": True,
    "554 5.7.8 wrong": True,
}


@pytest.mark.parametrize("answer", AUTH_ANSWERS)
def test_the_password_is_doubted_only_where_it_was_refused(answer, approved):
    mail = Mail(
        smtpserver="mail.example.com", smtpport=587, user="me", password=Secret("x")
    )
    code, status = code_of(answer), status_of(answer)
    assert refuses_login("AUTH", code, status) is AUTH_ANSWERS[answer]
    remedy = refusal_remedy(mail, "AUTH", answer)
    assert not (answer.startswith("4") and "pass" in remedy)
    approved(remedy)


@pytest.mark.parametrize(
    ("answers", "shown"),
    [
        (["504 5.7.4 no PLAIN", "535 5.7.8 wrong"], "535 5.7.8 wrong"),
        (["535 5.7.8 wrong", "504 5.7.4 no LOGIN"], "535 5.7.8 wrong"),
        (["504 5.7.4 no PLAIN", "454 4.7.0 later"], "454 4.7.0 later"),
        (["454 4.7.0 later", "504 5.7.4 no LOGIN"], "454 4.7.0 later"),
        # An account is locked after too many of these.
        (["535 5.7.8 wrong", "454 4.7.0 too many"], "535 5.7.8 wrong"),
        (["504 5.7.4 no PLAIN", "504 5.7.4 no LOGIN"], "504 5.7.4 no LOGIN"),
    ],
)
def test_of_several_answers_to_a_login_the_telling_one_is_shown(answers, shown):
    assert telling(answers) == shown


@pytest.mark.parametrize("security", ["none", "starttls"])
@pytest.mark.parametrize("password", ["", "x"], ids=["no password", "password"])
@pytest.mark.parametrize(
    "answer",
    [
        "530 5.7.0 authentication required",
        "530 5.7.0 must issue a STARTTLS command first",
        "554 5.7.1 relay access denied",
    ],
)
def test_a_server_that_wants_a_login_gets_the_remedy_for_these_settings(
    security, password, answer, approved
):
    mail = Mail(
        smtpserver="mail.example.com",
        smtpsecurity=security,
        user="me",
        password=Secret(password),
    )
    approved(refusal_remedy(mail, "MAIL FROM", answer))

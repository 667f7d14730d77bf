"""Each way in which a server refuses a session or a login, and what comes of it."""

from __future__ import annotations

import time

import pytest

from lib.alerting.results import DeliveryFailure
from lib.mail import connection, smtp
from lib.mail.replies import DeliveryError
from tests.support.approved import REAL
from tests.support.listeners import HOLD, Listener, says
from tests.support.mailing import failure, message, send, settings_for
from tests.support.servers import SmtpServer, SmtpStub, server_context
from tests.support.waits import SOON_S

#: The codes with which a server may greet (RFC 5321, section 4.3.2; RFC 7504), those
#: of RFC 3463's classes that servers greet with all the same, and their usual words.
GREETINGS = {
    "421 Too many concurrent SMTP connections; please try again later": True,
    "421 4.7.0 Error: too many connections from 192.0.2.1": True,
    "421 4.3.2 system not accepting network messages": True,
    "421 4.4.5 maximum number of connections exceeded": True,
    "421 too many SMTP sessions for this host": True,
    "421 rate limit reached": True,
    "450 4.7.1 too much mail from you": True,
    "451 4.3.0 temporary lookup failure": True,
    "452 4.3.1 insufficient system storage": True,
    "454 4.7.0 TLS not available": True,
    "521 5.3.2 this host takes no mail": False,
    "550 5.7.1 your address is blocked": False,
    "554 5.7.1 no SMTP service here": False,
    "556 5.1.10 no mail": False,
}


def failed(error: DeliveryError) -> DeliveryFailure:
    return DeliveryFailure(
        str(error), error.step, error.code, error.status, error.answer, error.permanent
    )


@pytest.mark.parametrize("greeting", GREETINGS)
def test_a_session_that_is_refused_at_the_greeting_is_tried_again_within_minutes(
    greeting, approved
):
    with SmtpStub(f"send {greeting}\nhear QUIT\nsend 221 bye") as stub:
        error = failure(settings_for(stub.port))
    why = failed(error)
    assert (error.step, error.code) == ("greeting", int(greeting[:3]))
    assert not (why.is_limit or why.is_login or error.permanent)
    assert why.is_about_us and why.is_about_all
    assert ("check [email]" in str(error)) is not GREETINGS[greeting]
    # 421: the server has hung up already.
    assert [line.upper() for line in stub.heard] == [b"QUIT"] * (error.code != 421)
    approved(str(error))


@pytest.mark.parametrize(
    ("step", "answer", "holds"),
    [
        ("MAIL FROM", "450 4.7.1 Error: too much mail from 192.0.2.1", True),
        ("MAIL FROM", "451 4.7.1 rate limit exceeded", True),
        ("end of mail", "421 4.7.28 unusual rate of mail", True),
        ("RCPT TO", "550 5.4.5 Daily user sending limit exceeded", True),
        ("MAIL FROM", "421 4.7.0 too many concurrent connections", False),
        ("AUTH", "454 4.7.0 Too many login attempts, please try again later", False),
        ("EHLO", "421 4.7.0 too many sessions", False),
        ("RCPT TO", "421 4.7.0 mx.example.com Error: too many errors", False),
        ("DATA", "421 4.7.0 too many protocol errors", False),
        ("RCPT TO", "421 Too many bad recipients", False),
        ("STARTTLS", "454 4.7.0 TLS not available, too many handshakes", False),
    ],
)
def test_mail_is_held_for_an_hour_only_where_the_server_wants_less_of_it(
    step, answer, holds
):
    why = DeliveryFailure(
        "why", step, int(answer[:3]), answer[4:].split()[0], answer=answer
    )
    assert why.is_limit is holds


def session(*lines, offered="PLAIN LOGIN"):
    """Return a script up to the login, what is heard and said there, and a mail."""
    return "\n".join(
        [
            "tls",
            "send 220 stub",
            "hear EHLO",
            "send 250-stub",
            f"send 250 AUTH {offered}",
        ]
        + list(lines)
    )


MAIL = (
    *("hear MAIL", "send 250 ok", "hear RCPT", "send 250 ok", "hear DATA"),
    *("send 354 go", "body", "send 250 taken", "hear QUIT", "send 221 bye"),
)


@pytest.fixture
def talk(ca, cafile):
    """Return what sends a mail to a stub of these lines, and the stub's words."""

    def run(*lines, offered="PLAIN LOGIN"):
        script = session(*lines, offered=offered)
        with SmtpStub(script, context=server_context(ca)) as stub:
            settings = settings_for(stub.port, cafile, smtpsecurity="tls")
            try:
                (found,) = send(settings, message(), deadline_s=10)
            except DeliveryError as error:
                found = error
        assert stub.surprises == []
        return found, stub

    return run


@pytest.mark.parametrize("code", [432, 435, 454])
def test_a_login_that_is_not_possible_now_is_no_wrong_password(talk, code, approved):
    found, stub = talk(
        "hear AUTH PLAIN",
        f"send {code} 4.7.0 not now",
        "hear AUTH LOGIN",
        f"send {code} 4.7.0 not now",
        "hear QUIT",
        "send 221 bye",
    )
    assert (found.step, found.code) == ("AUTH", code)
    assert not (failed(found).is_login or failed(found).is_limit)
    assert failed(found).is_about_us
    assert stub.heard[-1].upper() == b"QUIT"
    approved(str(found))


@pytest.mark.parametrize("code", ["500 5.5.1", "501 5.5.4", "504 5.7.4", "534 5.7.9"])
def test_where_the_server_does_not_do_plain_login_is_tried(talk, code):
    found, _stub = talk(
        "hear AUTH PLAIN",
        f"send {code} unrecognized authentication type",
        "hear AUTH LOGIN",
        "send 334 UGFzc3dvcmQ6",
        "hear ",
        "send 235 welcome",
        *MAIL,
    )
    assert found == {}


@pytest.mark.parametrize("code", ["501 5.5.4", "504 5.7.4"])
def test_a_server_that_takes_no_answer_with_the_command_is_answered_after_it(
    talk, code
):
    refused = f"send {code} unrecognized authentication type"
    found, _stub = talk(
        "hear AUTH LOGIN",
        refused,
        "hear AUTH LOGIN",
        "send 334 VXNlcm5hbWU6",
        "hear ",
        "send 334 UGFzc3dvcmQ6",
        "hear ",
        "send 235 welcome",
        *MAIL,
        offered="LOGIN",
    )
    assert found == {}


def test_a_server_that_refuses_all_it_offers_is_not_told_another_password(
    talk, approved
):
    refused = "send 504 5.7.4 unrecognized authentication type"
    again = ("hear AUTH PLAIN", refused, "hear AUTH LOGIN", refused)
    found, _stub = talk(*again, *again, "hear QUIT")
    assert not failed(found).is_login and failed(found).is_about_us
    approved(str(found))


def test_a_wrong_password_is_shown_though_another_mechanism_is_none(talk):
    found, _stub = talk(
        "hear AUTH PLAIN",
        "send 535 5.7.8 wrong",
        "hear AUTH LOGIN",
        "send 504 5.7.4 unrecognized authentication type",
        "hear QUIT",
    )
    assert (found.code, failed(found).is_login) == (535, True)


def test_mechanisms_may_be_written_small(talk):
    found, _stub = talk("hear AUTH PLAIN", "send 235 hi", *MAIL, offered="plain Login")
    assert found == {}


def test_a_server_without_a_login_is_told_so_and_no_password_is_doubted(
    ca, cafile, approved
):
    script = "tls\nsend 220 stub\nhear EHLO\nsend 250 stub\nhear QUIT"
    with SmtpStub(script, context=server_context(ca)) as stub:
        error = failure(settings_for(stub.port, cafile, smtpsecurity="tls"))
    why = failed(error)
    assert (error.step, why.is_login, why.is_about_us) == ("AUTH", False, True)
    approved(str(error))


def test_without_tls_no_login_is_sent_and_the_remedy_is_tls(approved):
    script = (
        "send 220 stub\nhear EHLO\nsend 250-stub\nsend 250 AUTH PLAIN\nhear MAIL\n"
        "send 530 5.7.0 Authentication required\nhear RSET\nsend 250 ok\nhear QUIT"
    )
    with SmtpStub(script) as stub:
        error = failure(settings_for(stub.port, smtpsecurity="none"))
    assert not failed(error).is_login
    approved(str(error))


@pytest.mark.parametrize("security", ["starttls", "none"])
def test_a_port_where_tls_comes_first_is_not_waited_for(
    monkeypatch, security, approved
):
    # The port can be one of the tests' own only, and 5 s need not pass.
    monkeypatch.setattr(connection, "GREETING_S", 0.3)
    with SmtpStub("hush") as stub:
        monkeypatch.setattr(smtp, "PORT_OF_TLS", stub.port)
        began = time.monotonic()
        error = failure(settings_for(stub.port, smtpsecurity=security), deadline_s=30)
    assert time.monotonic() - began < SOON_S
    approved(str(error))


@pytest.mark.parametrize("security", ["starttls", "none"])
def test_at_any_port_a_server_that_speaks_tls_only_is_known(monkeypatch, ca, security):
    monkeypatch.setattr(connection, "GREETS_WITHIN_S", 0.3)
    began = time.monotonic()
    with Listener(says(HOLD, first=True), context=server_context(ca)) as it:
        error = failure(settings_for(it.port, smtpsecurity=security), deadline_s=30)
    assert time.monotonic() - began < SOON_S
    assert str(error).endswith(
        "greeting: no answer within 0.3 s; this port wants smtpsecurity = tls"
    )


def test_a_server_that_greets_late_is_waited_for(monkeypatch):
    monkeypatch.setattr(connection, "GREETS_WITHIN_S", 0.1)
    late = says(0.5, b"554 not you\r\n", first=True)
    with Listener(late) as it:
        error = failure(settings_for(it.port, smtpsecurity="none"), deadline_s=30)
    assert "554 not you" in str(error)


@pytest.mark.parametrize("more", ["250 ok", "235 welcome", "x"])
def test_what_comes_before_the_handshake_ends_the_session(ca, cafile, more, approved):
    script = (
        "send 220 stub\nhear EHLO\nsend 250-stub\nsend 250 STARTTLS\nhear STARTTLS\n"
        rf"raw 220 go\r\n{more}\r\n"
        "\ntls\nhear EHLO\nsend 250 AUTH PLAIN\nhush"
    )
    began = time.monotonic()
    with SmtpStub(script, context=server_context(ca)) as stub:
        error = failure(settings_for(stub.port, cafile))
    assert time.monotonic() - began < SOON_S
    assert error.step == "STARTTLS" and not error.permanent
    assert stub.heard == [stub.heard[0], b"STARTTLS"]
    approved(str(error), hide=REAL)


def test_a_refused_login_is_followed_by_a_goodbye(ca, cafile):
    steps = []
    with SmtpServer(ca) as server:
        server.password = "another"
        failure(settings_for(server.port, cafile), steps=steps)
    assert "QUIT: 221" in "".join(steps)

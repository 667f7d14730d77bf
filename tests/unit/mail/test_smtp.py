"""Who gets a mail, who does not, and who hears the password."""

from __future__ import annotations

import pytest

from lib.alerting.channels import channel_for
from lib.mail.mime import compose
from lib.mail.replies import DeliveryError
from lib.mail.smtp import SmtpChannel
from tests.support.approved import REAL
from tests.support.mailing import (
    CANARY,
    FORMS,
    LOGIN,
    OPS,
    failure,
    message,
    send,
    settings_for,
)
from tests.support.servers import (
    PASSWORD,
    USER,
    SmtpServer,
    SmtpStub,
    server_context,
    smtp_talk_until,
)


@pytest.fixture
def mail_server(ca):
    with SmtpServer(ca) as server:
        yield server


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_mail_arrives_whole_and_each_step_is_shown(ca, cafile, security):
    steps = []
    with SmtpServer(ca, security=security) as server:
        settings = settings_for(server.port, cafile, smtpsecurity=security)
        assert send(settings, message(), steps=steps) == [{}]
        (mail,) = server.mails
    assert (mail.sender, mail.to, mail.user) == (USER, (OPS,), USER)
    assert (mail.subject, mail.body) == ("[web1] disk / is full", "since noon\n")
    assert mail.data == compose(message(), settings)
    shown = "\n".join(steps)
    for part in (
        f"connected to 127.0.0.1 port {server.port}",
        "greeting: 220 mail.test",
        "TLSv1.3, certificate verified for 127.0.0.1",
        f"AUTH: logged in as {USER}",
        f"MAIL FROM {USER}: 250",
        f"RCPT TO {OPS}: 250",
        "end of mail: 250 2.0.0 OK queued as 1",
        "QUIT: 221",
    ):
        assert part in shown
    assert PASSWORD not in shown


def test_many_mails_share_one_session(mail_server, cafile):
    settings = settings_for(mail_server.port, cafile)
    assert send(settings, *(message(f"no {n}") for n in range(20))) == [{}] * 20
    assert (mail_server.sessions, len(mail_server.mails)) == (1, 20)


def test_a_server_that_knows_only_login_gets_a_login(ca, cafile):
    with SmtpServer(ca, auth_exclude_mechanism=["PLAIN"]) as server:
        assert send(settings_for(server.port, cafile), message()) == [{}]


def login_talk(*lines):
    """Return a script up to the login: what is offered, and what is heard and said."""
    offered, *rest = lines
    return "\n".join(
        ["tls", "send 220 stub", "hear EHLO", "send 250-stub"]
        + [f"send 250 AUTH {offered}", *rest]
    )


def login_failure(ca, cafile, *lines):
    steps = []
    with SmtpStub(login_talk(*lines), context=server_context(ca)) as stub:
        settings = settings_for(stub.port, cafile, smtpsecurity="tls", password=CANARY)
        error = failure(settings, deadline_s=5, steps=steps)
    assert not any(form in str(error) + str(steps) for form in FORMS)
    return error


def test_a_mechanism_that_is_refused_leaves_the_others(ca, cafile):
    script = login_talk(
        "CRAM-MD5 PLAIN",
        "hear AUTH CRAM-MD5",
        "send 334 PDE+",
        "hear ",
        "send 535 5.7.8 no such secret",
        f"hear AUTH PLAIN {LOGIN}",
        "send 235 welcome",
        *("hear MAIL", "send 250 ok", "hear RCPT", "send 250 ok"),
        *("hear DATA", "send 354 go", "body", "send 250 taken", "hear QUIT"),
    )
    with SmtpStub(script, context=server_context(ca)) as stub:
        settings = settings_for(stub.port, cafile, smtpsecurity="tls", password=CANARY)
        assert send(settings, message()) == [{}]


def test_a_server_that_hangs_up_at_the_second_mechanism_has_refused_the_first(
    ca, cafile
):
    refused = ("PLAIN LOGIN", "hear AUTH PLAIN", "send 535 5.7.8 wrong", "drop")
    error = login_failure(ca, cafile, *refused)
    assert (error.step, error.code, error.status) == ("AUTH", 535, "5.7.8")


@pytest.mark.parametrize(
    "talk",
    [
        ("GSSAPI SCRAM-SHA-1",),
        ("CRAM-MD5", "hear AUTH", "send 334 x", "hush"),
        ("LOGIN", "hear AUTH", *("send 334 eA==", "hear ") * 8),
    ],
    ids=["unknown mechanisms", "a challenge that is none", "challenges without end"],
)
def test_a_login_that_cannot_be_is_said_to_be_none(ca, cafile, talk, approved):
    error = login_failure(ca, cafile, *talk)
    assert (error.step, error.code) == ("AUTH", None)
    approved(str(error))


@pytest.mark.parametrize(
    "text", ["Grüße 日本語 💥", ".", ".\n..\nFrom me\n", "x" * 5000]
)
def test_any_text_survives_a_server_that_knows_ascii_only(mail_server, cafile, text):
    send(settings_for(mail_server.port, cafile), message(text, text + "\n"))
    (mail,) = mail_server.mails
    assert mail.data.isascii()
    assert mail.body == text + "\n"


def test_the_others_get_a_mail_that_one_recipient_is_refused(mail_server, cafile):
    mail_server.answer_rcpt = lambda address: (
        "550 5.1.1 no such user" if address.startswith("gone") else None
    )
    to = (OPS, "gone@example.com")
    assert send(settings_for(mail_server.port, cafile), message(to=to)) == [
        {"gone@example.com": "550 5.1.1 no such user"}
    ]
    assert [mail.to for mail in mail_server.mails] == [(OPS,)]


def test_a_mail_that_nobody_may_get_does_not_hold_up_the_next(
    mail_server, cafile, approved
):
    mail_server.answer_rcpt = lambda address: (
        "550 5.1.1 no such user" if address.startswith("gone") else None
    )
    first, second = send(
        settings_for(mail_server.port, cafile),
        message(to=("gone@example.com", "gone2@example.com")),
        message(),
    )
    assert (first.permanent, first.step, first.code) == (True, "RCPT TO", 550)
    approved(str(first))
    assert second == {}


@pytest.mark.parametrize(
    ("answer", "permanent", "status"),
    [
        ("451 4.7.1 greylisted, come back", False, "4.7.1"),
        ("550 5.4.5 Daily user sending limit exceeded", False, "5.4.5"),
        ("552 5.3.4 too big", True, "5.3.4"),
        ("554 5.7.1 looks like spam", True, "5.7.1"),
        ("552 too big", True, ""),
    ],
)
def test_a_mail_refused_whole_says_whether_to_try_again(
    mail_server, cafile, answer, permanent, status
):
    mail_server.answer_data = lambda mail: answer if "bad" in mail.subject else None
    first, second = send(
        settings_for(mail_server.port, cafile), message("bad"), message("good")
    )
    assert (first.permanent, first.status) == (permanent, status)
    assert (first.step, first.code) == ("end of mail", int(answer[:3]))
    assert answer in str(first)
    assert second == {}


def test_one_recipient_to_wait_for_makes_it_worth_trying_again(mail_server, cafile):
    answers = {"a@x.example": "550 5.1.1 gone", "b@x.example": "451 4.7.1 later"}
    mail_server.answer_rcpt = answers.get
    error = failure(settings_for(mail_server.port, cafile), message(to=(*answers,)))
    assert not error.permanent
    assert error.refused == answers


def test_a_recipient_whom_the_server_cannot_write_to_is_refused_alone(
    mail_server, cafile, approved
):
    settings = settings_for(mail_server.port, cafile)
    (refused,) = send(settings, message(to=("jürgen@example.com", OPS)))
    assert list(refused) == ["jürgen@example.com"]
    assert "SMTPUTF8" in refused["jürgen@example.com"]
    error = failure(settings, message(to=("jürgen@example.com",)))
    assert error.permanent
    approved(str(error))


def test_a_recipient_beyond_ascii_is_reached_where_the_server_can(ca, cafile):
    to = ("jürgen@example.com", "me@bücher.example")
    with SmtpServer(ca, enable_SMTPUTF8=True) as server:
        assert send(settings_for(server.port, cafile), message(to=to)) == [{}]
        assert server.mails[0].to == ("jürgen@example.com", "me@xn--bcher-kva.example")


# smtplib would send the last two to ops@example.com.
@pytest.mark.parametrize(
    "to",
    [
        (),
        ("a@b\r\nDATA",),
        ("no address",),
        ("ops(on-call)@example.com",),
        ("(on-call)ops@example.com",),
    ],
)
def test_nobody_to_send_to_is_said_and_not_tried(mail_server, cafile, to):
    error = failure(settings_for(mail_server.port, cafile), message(to=to))
    assert error.permanent


def test_a_wrong_password_says_what_to_do(mail_server, cafile, approved):
    mail_server.password = "another"
    steps = []
    error = failure(settings_for(mail_server.port, cafile), steps=steps)
    assert (error.permanent, error.step, error.code) == (False, "AUTH", 535)
    approved(str(error))
    # smtplib tries each mechanism that it shares with the server: PLAIN, then LOGIN.
    assert mail_server.logins == 2
    assert PASSWORD not in str(error) + "".join(steps)


@pytest.mark.parametrize(
    ("script", "step", "says"),
    [
        ("send 250-stub\nsend 250 AUTH PLAIN", "STARTTLS", "does not offer it"),
        (
            "send 250-stub\nsend 250-AUTH PLAIN\nsend 250 STARTTLS\n"
            "hear STARTTLS\nsend 454 4.7.0 not now",
            "STARTTLS",
            "454 4.7.0 not now",
        ),
        (
            "send 250-stub\nsend 250 STARTTLS\nhear STARTTLS\n"
            r"raw 220 go\r\n235 welcome\r\n250 ok\r\n",
            "STARTTLS",
            "",
        ),
    ],
    ids=["not offered", "refused", "answers forged"],
)
def test_without_tls_the_password_is_never_said(script, step, says):
    steps = []
    with SmtpStub(f"send 220 stub\nhear EHLO\n{script}\nhush") as stub:
        settings = settings_for(stub.port, password=CANARY)
        error = failure(settings, deadline_s=1, steps=steps)
    assert error.step == step
    assert says in str(error)
    everything = b"\n".join(stub.heard).decode("latin-1") + str(error) + str(steps)
    assert "AUTH" not in "".join(map(str, stub.heard))
    assert not any(form in everything for form in FORMS)


def test_nothing_that_can_be_printed_holds_the_password():
    mail = settings_for(1, password=CANARY).mail
    channel = SmtpChannel(mail)
    assert CANARY not in repr(channel) + repr(mail)


def test_a_relay_on_this_machine_gets_no_password(approved):
    steps = []
    with SmtpServer(security="none") as server:
        settings = settings_for(server.port, smtpsecurity="none", password=CANARY)
        assert send(settings, message(), steps=steps) == [{}]
        assert server.logins == 0
    approved(steps, hide=REAL)


@pytest.mark.parametrize("missing", [{"user": ""}, {"password": ""}])
def test_without_user_or_password_no_login_is_tried(
    mail_server, cafile, missing, approved
):
    error = failure(settings_for(mail_server.port, cafile, **missing))
    assert mail_server.logins == 0
    assert not error.permanent
    approved(str(error))


def test_a_channel_says_whether_it_can_take_another_mail(ca, cafile):
    script = smtp_talk_until("RCPT", "send 550 no\nhear RSET\nsend 250 ok\nhear MAIL")
    with SmtpStub(script, context=server_context(ca)) as stub:
        settings = settings_for(stub.port, cafile)
        channel = channel_for(settings)
        assert not channel.usable
        with channel:
            for usable in (True, False):
                with pytest.raises(DeliveryError):
                    channel.send(USER, [OPS], compose(message(), settings))
                assert channel.usable is usable

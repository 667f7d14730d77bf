"""Rows E6 to E13: mail servers that say no, and such as are not to be trusted."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
import trustme

from tests.faults.mailed import (
    ALERT,
    FULL,
    GOOD,
    MINUTE,
    NOW,
    account,
    failing,
    mails_heard,
    move_to,
    queued,
)
from tests.faults.rows import cron_at, subjects, with_answer, word
from tests.support.listeners import self_signed_context
from tests.support.mailing import CANARY, FORMS
from tests.support.servers import (
    PASSWORD,
    SmtpServer,
    SmtpStub,
    server_context,
    smtp_talk_until,
)

# Servers that say no, for now.


@pytest.mark.long
@pytest.mark.fault("E6", "451 greylisting three times, then 421")
def test_e6_a_greylisted_mail_comes_once_after_the_delay(tmp_path, ca, cafile):
    later = "send 451 4.7.1 greylisted\nhear RSET\nsend 250 ok\nhear QUIT"
    greylisted = smtp_talk_until("RCPT", later)
    busy = "send 421 4.3.2 not now"
    scripts = [*[greylisted] * 3, busy, GOOD]
    with SmtpStub(scripts, context=server_context(ca)) as stub:
        instance = failing(tmp_path / "it", account(stub.port, cafile))
        heard = []
        for minutes in (0, 1, 2, 4, 9, 12, 18):
            heard.append(stub.connections)
            cron_at(instance, minutes * MINUTE)
            heard[-1] = stub.connections - heard[-1]
    assert heard == [1, 1, 0, 1, 1, 0, 1]
    assert len(mails_heard(stub)) == 1
    assert stub.surprises == []
    assert queued(instance) == []


@pytest.mark.long
@pytest.mark.fault("E9", "535, the login has expired")
def test_e9_a_login_that_has_expired_is_tried_four_times_an_hour(instance, smtp):
    with_answer(instance)
    smtp.password = "another"
    said = []
    for number in range(10):
        # News each minute is no reason to try more often.
        instance.add(FULL.format(number))
        said.append(cron_at(instance, number * MINUTE).err)
    tries = smtp.sessions
    # Each try is smtplib's: PLAIN, and when that is refused, LOGIN.
    assert (tries, smtp.logins) == (4, 8)
    renewals = [text.count("renew the (app) password") for text in said]
    assert (sum(renewals), renewals[-2:]) == (4, [0, 0])
    assert PASSWORD not in "".join(said)
    cron_at(instance, 16 * MINUTE)
    assert (smtp.sessions, word(instance)) == (tries, "MailProblem")
    smtp.password = PASSWORD
    cron_at(instance, 64 * MINUTE)
    assert subjects(smtp)[0].startswith("10 failing") and len(smtp.mails) == 1
    assert word(instance) == "True"


@pytest.mark.long
@pytest.mark.fault("E10", "550 5.4.5, the daily limit")
def test_e10_a_daily_limit_holds_all_mail_and_then_it_comes_in_one(instance, smtp):
    with_answer(instance)
    instance.add(FULL.format(0) + FULL.format(1))
    smtp.answer_data = lambda mail: "550 5.4.5 Daily user sending quota exceeded"
    assert "no mail is sent for an hour" in cron_at(instance, NOW).err
    smtp.answer_data = lambda mail: None
    instance.add(FULL.format(2))
    assert cron_at(instance, 50 * MINUTE).silent
    assert (smtp.mails, smtp.sessions) == ([], 1)
    assert word(instance) == "MailProblem"
    assert cron_at(instance, 70 * MINUTE).silent
    assert subjects(smtp)[0].startswith("3 failing") and len(smtp.mails) == 1
    assert word(instance) == "True"


# Servers that say no, for good.


@pytest.mark.long
@pytest.mark.fault("E7", "550 for one of two recipients")
def test_e7_one_refused_recipient_does_not_cost_the_others_their_mail(
    tmp_path, smtp, cafile
):
    instance = failing(tmp_path / "it", smtp.email_section(cafile))
    instance.write(
        instance.settings.read_text().replace("ops@", "gone@example.com, ops@")
    )
    smtp.answer_rcpt = lambda to: "550 5.1.1 no" if to.startswith("gone") else None
    ran = instance.cron()
    alert, note = smtp.wait_for(2)
    assert (alert.to, note.to) == (("ops@example.com",), ("ops@example.com",))
    assert note.subject == "[web1] mail to gone@example.com is rejected: 550 5.1.1 no"
    assert ALERT in note.body
    assert ran.err == (
        "checker: mail to gone@example.com is rejected: 550 5.1.1 no; correct the "
        "address\n"
    )
    assert queued(instance) == []
    (dead,) = (instance.state / "dead").iterdir()
    assert json.loads(dead.read_text())["why"] == {"gone@example.com": "550 5.1.1 no"}
    assert instance.cron().silent
    assert len(smtp.mails) == 2
    # Of what it never heard of, it does not hear the end.
    smtp.answer_rcpt = lambda to: None
    (instance.folder / "flag").touch()
    assert instance.cron().silent
    assert smtp.wait_for(3)[2].to == ("ops@example.com",)


@pytest.mark.fault("E8", "552 too big, 554 content")
@pytest.mark.parametrize("says", ["552 5.3.4 too big", "554 5.6.0 content"])
def test_e8_a_mail_the_server_will_not_have_is_sent_cut_down(instance, smtp, says):
    instance.add(FULL.format(0))
    smtp.answer_data = lambda mail: None if "(Shortened" in mail.body else says
    assert says in instance.cron().err
    (mail,) = smtp.wait_for(1)
    assert mail.subject.startswith("[web1] disk full0 is failing")
    assert says in mail.body
    assert queued(instance) == []


# Servers that cannot be trusted.


@pytest.mark.fault("E11", "STARTTLS is not offered, or refused")
@pytest.mark.parametrize(
    ("offer", "says"),
    [
        ("send 250-stub\nsend 250 AUTH PLAIN", "the server does not offer it"),
        (
            "send 250-stub\nsend 250-AUTH PLAIN\nsend 250 STARTTLS\n"
            "hear STARTTLS\nsend 454 4.7.0 not now",
            "454 4.7.0 not now",
        ),
    ],
    ids=["not offered", "refused"],
)
def test_e11_without_tls_the_password_is_never_said(tmp_path, offer, says):
    with SmtpStub(f"send 220 stub\nhear EHLO\n{offer}\nhush") as stub:
        instance = failing(tmp_path / "it", account(stub.port, password=CANARY))
        ran = [instance.cron("minute", "-d"), instance.run("-m", "testmail")]
    for one in ran:
        assert f"127.0.0.1:{stub.port}: STARTTLS: " in one.err and says in one.err
    assert [one.code for one in ran] == [0, 1]
    assert len(queued(instance)) == 1
    texts = [one.out + one.err for one in ran] + [instance.everything_written()]
    texts.append(b"\n".join(stub.heard).decode("latin-1"))
    for text in texts:
        assert not any(form in text for form in FORMS)
    assert not any(line.startswith(b"AUTH") for line in stub.heard)


def year(number):
    return datetime(number, 1, 1, tzinfo=UTC)


@pytest.mark.long
@pytest.mark.fault("E13", "expired, wrong name, self-signed, unknown issuer")
def test_e13_a_certificate_that_is_not_right_is_refused_in_clear_text(
    tmp_path, ca, cafile, smtp
):
    expired = server_context(ca, not_before=year(2020), not_after=year(2021))
    own = tmp_path / "own"
    own.mkdir()
    servers = {
        "the certificate of 127.0.0.1 expired ": expired,
        "the certificate of 127.0.0.1 is for other.example, not for 127.0.0.1": (
            server_context(ca, "other.example")
        ),
        "the certificate of 127.0.0.1 is self-signed": self_signed_context(own),
        "the certificate of 127.0.0.1 is from an unknown issuer": server_context(
            trustme.CA()
        ),
    }
    instance = failing(tmp_path / "it", smtp.email_section(cafile))
    port = smtp.port
    for words, context in servers.items():
        with SmtpServer(context=context) as wrong:
            move_to(instance, port, wrong.port)
            port = wrong.port
            ran = instance.cron()
        assert f"127.0.0.1:{port}: STARTTLS: " in ran.err and words in ran.err
        assert (wrong.logins, wrong.mails, len(queued(instance))) == (0, [], 1)
        instance.let_time_pass_for_mails()
    move_to(instance, port, smtp.port)
    assert instance.cron().silent
    assert subjects(smtp) == [ALERT]

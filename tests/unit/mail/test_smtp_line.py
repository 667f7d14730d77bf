"""Tests of lib/mail/smtp.py: servers that hang up, dawdle, babble, or are none."""

from __future__ import annotations

import time

import pytest

from tests.support.mailing import (
    CANARY,
    FORMS,
    LOGIN,
    failure,
    message,
    send,
    settings_for,
)
from tests.support.servers import SmtpStub, server_context, smtp_talk_until
from tests.support.waits import SOON_S


def test_a_server_that_repeats_the_password_does_not_spread_it(ca, cafile):
    script = smtp_talk_until("AUTH", f"send 535 5.7.8 {LOGIN} {CANARY} is wrong")
    steps = []
    with SmtpStub(script, context=server_context(ca)) as stub:
        settings = settings_for(stub.port, cafile, password=CANARY)
        error = failure(settings, steps=steps)
    assert any(LOGIN.encode() in line for line in stub.heard)
    assert str(error).startswith(f"127.0.0.1:{stub.port}: AUTH: 535 5.7.8 *** *** is")
    everything = "".join(map(repr, (error, error.__dict__, error.__cause__, steps)))
    assert not any(form in everything for form in FORMS)


@pytest.mark.parametrize("how", ["drop", "reset", "send 421 4.3.2 shutting down"])
@pytest.mark.parametrize(
    ("at", "step"),
    [
        ("greeting", "greeting"),
        ("EHLO", "EHLO"),
        ("STARTTLS", "STARTTLS"),
        ("AUTH", "AUTH"),
        ("MAIL", "MAIL FROM"),
        ("RCPT", "RCPT TO"),
        ("DATA", "DATA"),
        ("end of mail", "end of mail"),
    ],
)
def test_a_server_that_hangs_up_at_any_step_can_be_tried_again(
    ca, cafile, at, step, how
):
    script = smtp_talk_until(at, how)
    with SmtpStub(script, context=server_context(ca)) as stub:
        settings = settings_for(stub.port, cafile, password=CANARY)
        error = failure(settings)
    # A reset can overtake the end of connecting.
    steps = (step, "connect") if (at, how) == ("greeting", "reset") else (step,)
    assert not error.permanent
    assert error.step in steps
    assert error.code == (421 if how.startswith("send") else None)
    assert str(error).startswith(f"127.0.0.1:{stub.port}: {error.step}: ")
    assert "canary" not in str(error)
    assert stub.connections == 1


@pytest.mark.long
def test_a_server_that_hangs_up_amid_the_text_can_be_tried_again(ca, cafile):
    script = smtp_talk_until("body", "take 1000\nreset")
    with SmtpStub(script, context=server_context(ca)) as stub:
        one = message(body="x" * 8_000_000)
        error = failure(settings_for(stub.port, cafile), one)
    assert not error.permanent
    assert error.step in ("mail text", "end of mail")


def test_after_the_line_is_lost_the_other_mails_stay_queued(ca, cafile, approved):
    script = smtp_talk_until("MAIL", "send 421 4.3.2 shutting down")
    with SmtpStub(script, context=server_context(ca)) as stub:
        first, second = send(settings_for(stub.port, cafile), message(), message())
    assert (first.permanent, second.permanent) == (False, False)
    approved(str(second))
    assert stub.connections == 1


@pytest.mark.parametrize(
    "script",
    [
        "hush",
        "drip 0.1 220 a greeting that takes its time" + ", a byte after the other" * 40,
        "send 220 stub\nhear EHLO\ndrip 0.1 250 slow"
        + ", so slow that nobody waits" * 40,
        "send 220 stub\nhush",
        "send 220 stub\nhear EHLO\nsend 250-stub\nsend 250 STARTTLS\nhear STARTTLS\n"
        "send 220 go\nhush",
    ],
    ids=["silent", "dripping greeting", "dripping EHLO", "silent EHLO", "silent TLS"],
)
def test_a_server_that_takes_its_time_does_not_take_ours(script):
    began = time.monotonic()
    with SmtpStub(script) as stub:
        error = failure(settings_for(stub.port), deadline_s=0.6)
        assert time.monotonic() - began < SOON_S
    assert not error.permanent
    assert "within 0.6 s" in str(error)


def test_an_answer_without_end_does_not_fill_the_memory(approved):
    greeting = "\n".join(["send 220-" + "x" * 500] * 1000)
    with SmtpStub(greeting) as stub:
        error = failure(settings_for(stub.port))
    approved(str(error))


def test_a_goodbye_is_not_waited_for(ca, cafile, approved):
    script = smtp_talk_until("QUIT", "hush")
    steps = []
    began = time.monotonic()
    with SmtpStub(script, context=server_context(ca)) as stub:
        found = send(settings_for(stub.port, cafile), message(), steps=steps)
    assert found == [{}]
    assert time.monotonic() - began < SOON_S
    approved(steps[-1])


def test_what_is_no_mail_server_is_said(approved):
    with SmtpStub("send HTTP/1.1 400 Bad Request\nhush") as stub:
        error = failure(settings_for(stub.port))
    approved(str(error))


def test_a_servers_words_cannot_harm_a_terminal_or_forge_a_line(ca, cafile):
    words = r"raw 550 \x1b[31mred\x07\r550 x\r\n"
    with SmtpStub(
        smtp_talk_until("RCPT", words + "\nhush"), context=server_context(ca)
    ) as stub:
        error = failure(settings_for(stub.port, cafile), deadline_s=1)
    assert str(error).isprintable()


def test_a_server_of_the_old_kind_is_greeted_the_old_way():
    script = (
        "send 220 old\nhear EHLO\nsend 502 what?\nhear HELO\nsend 250 hello\n"
        "hear MAIL\nsend 250 ok\nhear RCPT\nsend 250 ok\nhear DATA\nsend 354 go\n"
        "body\nsend 250 taken\nhear QUIT\nsend 221 bye"
    )
    with SmtpStub(script) as stub:
        settings = settings_for(stub.port, smtpsecurity="none")
        assert send(settings, message()) == [{}]
    assert stub.surprises == []

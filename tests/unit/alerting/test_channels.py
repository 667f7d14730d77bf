"""Which channel a mail takes, and the one of nomail."""

from __future__ import annotations

import logging

from msgspec.structs import replace

from lib.alerting.channels import LogChannel, channel_for
from tests.support.mailing import failure, message, send, settings_for
from tests.support.servers import SmtpStub


def test_no_server_set_is_said_at_once(approved):
    error = failure(settings_for(587, smtpserver=""))
    approved(str(error))


def test_nomail_puts_the_whole_mail_into_the_log(caplog, approved):
    caplog.set_level(logging.INFO)
    settings = settings_for(1, nomail=True)
    text = "Grüße\n2026-11-22 ERROR forged line\x1b[2J"
    assert isinstance(channel_for(settings), LogChannel)
    assert send(settings, message("voll ü", text)) == [{}]
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("lib.alerting.channels", "INFO")
    lines = record.getMessage().splitlines()
    approved(lines[0])
    assert "    Subject: [web1] voll ü" in lines
    assert lines[-2:] == ["    Grüße", "    2026-11-22 ERROR forged line\\x1b[2J"]


def test_nomail_wins_over_a_server_that_is_set_up():
    with SmtpStub("hush") as stub:
        settings = settings_for(stub.port)
        no_mail = replace(settings, mail=replace(settings.mail, nomail=True))
        assert send(no_mail, message()) == [{}]
        assert stub.connections == 0

"""Mails for tests, and what becomes of them on their way to a server of tests."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lib.alerting.channels import channel_for
from lib.core.enums import MessageKind
from lib.core.messages import Message
from lib.core.secret import Secret
from lib.core.settings import Mail, Settings
from lib.mail.mime import compose, sender_of
from lib.mail.replies import DeliveryError
from tests.support.servers import PASSWORD, USER

#: A password that must turn up nowhere, and what it looks like on the wire.
CANARY = "canary-pässword-4711"
LOGIN = base64.b64encode(f"\0{USER}\0{CANARY}".encode()).decode()
FORMS = (CANARY, LOGIN, base64.b64encode(CANARY.encode()).decode())
OPS = "ops@example.com"


def settings_for(port, cafile="", **mail):
    options = {"user": USER, "password": PASSWORD, "smtpserver": "127.0.0.1", **mail}
    options["password"] = Secret(options["password"])
    return Settings(
        path=Path("settings.cfg"),
        servername="web1",
        alertcontact=(OPS,),
        logfile=Path("log"),
        state=Path("state"),
        mail=Mail(smtpport=port, cafile=str(cafile), **options),
    )


def message(subject="disk / is full", body="since noon", to=(OPS,)):
    born_at = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
    return Message("a1" * 16, MessageKind.ALERT, subject, body, to, born_at)


def send(settings, *messages, deadline_s=20.0, steps=None):
    """Send each in one session; return what was refused, or raised, for each."""
    found = []
    on_step = (steps if steps is not None else []).append
    with channel_for(settings, on_step, deadline_s) as channel:
        for one in messages:
            try:
                data = compose(one, settings)
                found.append(channel.send(sender_of(settings), one.to, data))
            except DeliveryError as error:
                found.append(error)
    return found


def failure(settings, one=None, **options):
    """Return the NotSent of a mail that does not leave."""
    with pytest.raises(DeliveryError) as caught:
        (found,) = send(settings, one or message(), **options)
        raise found
    return caught.value

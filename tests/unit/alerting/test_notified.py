"""Who was notified: those whose message has left."""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec.structs import replace

from lib.alerting.templates import MailContext, escalation_message
from lib.core.enums import MessageKind, Status
from lib.core.jobs import JobKey
from lib.core.messages import Message
from lib.core.records import Record

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
WAITING = Message(
    "a" * 32, MessageKind.ALERT, "x", "x", ("b@x.y",), NOON, last_error="451 not now"
)
RECORD = Record(
    JobKey("K", "k"),
    "k",
    Status.FAILING,
    failing_since=NOON,
    notified=("a@x.y", "b@x.y"),
    queued=(WAITING,),
)


def test_who_has_not_accepted_the_message_is_not_named_as_notified():
    assert RECORD.reached == ("a@x.y",)
    mail = escalation_message("b" * 32, RECORD, ("boss@x.y",), MailContext(NOON, UTC))
    assert "Notified:              a@x.y\n" in mail.body
    assert "Not notified yet:      b@x.y: 451 not now\n" in mail.body


def test_of_a_channel_the_services_that_accepted_the_alert_are_named():
    asked = ("a@x.y", "chat/ntfy", "chat/json")
    ntfy, json = (
        replace(WAITING, to=(way,), shared_with=tuple(set(asked) - {way}))
        for way in asked[1:]
    )
    record = replace(RECORD, notified=("a@x.y", "chat"), queued=(ntfy, json))
    assert record.reached == ("a@x.y",)
    assert replace(record, queued=(json,)).reached == ("a@x.y", "chat/ntfy")
    assert replace(record, queued=()).reached == ("a@x.y", "chat")

"""Owed messages: which are tried, in which order, and what becomes of them."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from lib import outbox, process
from lib.model import Message, MessageKind, Record
from lib.outbox import Outbox, Sent, Unsent
from tests.mailing import settings_for
from tests.servers import SmtpServer, SmtpStub, smtp_talk_until

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def message(name, at=NOON, kind=MessageKind.ALERT, to=("ops@example.com",)):
    return Message(name * 8, kind, f"subject {name}", "body", to, at)


def record(key, *owed):
    return Record(key, owed=owed)


def names(batch):
    return [envelope[1].message_id[:1] for envelope in batch]


def test_the_oldest_message_goes_first():
    records = [record("x", message("b", NOON + MINUTE)), record("y", message("a"))]
    assert names(outbox.sendable(records, NOON + 2 * MINUTE)) == ["a", "b"]


def test_a_message_that_waits_holds_back_the_younger_ones_of_its_job_only():
    waiting = replace(message("a"), retry_at=NOON + 5 * MINUTE)
    records = [record("x", waiting, message("b")), record("y", message("c"))]
    assert names(outbox.sendable(records, NOON)) == ["c"]
    assert names(outbox.sendable(records, NOON + 5 * MINUTE)) == ["a", "b", "c"]


def test_an_attempt_is_counted_for_the_batch_and_for_nothing_else():
    records = {"x": record("x", message("a"), message("b")), "y": record("y")}
    batch = [("x", records["x"].owed[0])]
    (counted,) = outbox.counted_attempts(records, batch, NOON).values()
    assert [owed.attempts for owed in counted.owed] == [1, 0]
    assert counted.owed[0].retry_at > NOON


def test_what_was_taken_is_no_longer_owed():
    before = record("x", message("a"), message("b"))
    after = outbox.settle(before, Sent("x", before.owed[0], {}))
    assert after.owed == (before.owed[1],)


def test_a_recipient_that_was_refused_is_still_owed_the_message_and_nobody_else_is():
    before = record("x", message("a", to=("ops@example.com", "gone@example.com")))
    refused = {"gone@example.com": "550 no"}
    (left,) = outbox.settle(before, Sent("x", before.owed[0], refused)).owed
    assert left.to == ("gone@example.com",)
    assert left.last_error == "gone@example.com: 550 no"


def test_what_was_not_taken_stays_with_the_reason():
    before = record("x", message("a"))
    (left,) = outbox.settle(before, Unsent("x", before.owed[0], "no route")).owed
    assert left.last_error == "no route"


def test_the_first_message_waits_a_little_for_company():
    batch = [("x", message("a"))]
    assert not outbox.is_worth_gathering(batch, NOON + timedelta(seconds=4))
    assert outbox.is_worth_gathering(batch, NOON + timedelta(seconds=5))


def test_unsent_mails_are_explained_in_a_line_per_reason():
    lost = [Unsent("x", message("a"), "no route") for _ in range(3)]
    lost.append(Unsent("y", message("b"), "550 no"))
    first, second = outbox.explained(lost)
    assert first.startswith("3 mails not sent, the oldest of 2026-11-22")
    assert first.endswith("no route; kept, and tried again in a later run")
    assert second.startswith("1 mail not sent")


# Sessions, with real servers.


def events(box, limit_s=10):
    """Return all that becomes of a session's messages."""
    found = []
    ends_at = time.monotonic() + limit_s
    while box.is_busy and time.monotonic() < ends_at:
        process.wait(box.children, 0.2)
        found += box.events()
    assert not box.is_busy
    return found


@pytest.fixture
def smtp(ca):
    with SmtpServer(ca) as server:
        yield server


def test_a_session_takes_many_messages(smtp, cafile):
    box = Outbox(settings_for(smtp.port, cafile))
    batch = [(f"k{name}", message(name)) for name in "abc"]
    box.start(batch, 10)
    assert events(box) == [Sent(key, one, {}) for key, one in batch]
    assert (smtp.sessions, box.sent) == (1, 3)


def test_after_one_that_was_refused_the_younger_ones_of_its_job_wait(smtp, cafile):
    smtp.answer_data = lambda mail: "554 no" if "subject a" in mail.subject else None
    box = Outbox(settings_for(smtp.port, cafile))
    box.start([("x", message("a")), ("x", message("b")), ("y", message("c"))], 10)
    first, second, third = events(box)
    assert isinstance(first, Unsent) and "554" in first.why
    assert isinstance(second, Unsent) and "an earlier mail" in second.why
    assert isinstance(third, Sent)


def test_a_server_that_says_nothing_costs_the_session_its_time_and_no_more(cafile):
    with SmtpStub("wait 60") as stub:
        box = Outbox(settings_for(stub.port, cafile))
        started = time.monotonic()
        box.start([("x", message("a"))], 1.5)
        (lost,) = events(box)
    assert isinstance(lost, Unsent)
    assert time.monotonic() - started < 3


def test_a_server_that_drips_is_ended_by_killing_the_session(cafile, ca):
    with SmtpStub("drip 0.2 220 hello there, this is a long greeting\r\n") as stub:
        box = Outbox(settings_for(stub.port, cafile))
        box.start([("x", message("a"))], 1)
        started = time.monotonic()
        (lost,) = events(box)
    assert isinstance(lost, Unsent)
    assert time.monotonic() - started < 2.5


def test_messages_a_broken_session_did_not_reach_are_unsent(cafile, ca):
    from tests.servers import server_context

    script = smtp_talk_until("DATA", instead="drop")
    with SmtpStub(script, context=server_context(ca)) as stub:
        box = Outbox(settings_for(stub.port, cafile))
        box.start([("x", message("a")), ("y", message("b"))], 10)
        lost = events(box)
    assert [type(one) for one in lost] == [Unsent, Unsent]
    assert box.sent == 0


def test_a_session_that_is_stopped_leaves_its_messages_owed(cafile):
    with SmtpStub("wait 60") as stub:
        box = Outbox(settings_for(stub.port, cafile))
        box.start([("x", message("a"))], 30)
        (lost,) = box.stop()
    assert lost.why.startswith("the run had to end")
    assert not box.is_busy


def test_a_mail_for_a_person_who_waits_tells_each_step(smtp, cafile):
    steps = []
    why = outbox.send_now(settings_for(smtp.port, cafile), message("a"), steps.append)
    assert why == ""
    assert any("STARTTLS" in step for step in steps)
    assert len(smtp.wait_for(1)) == 1

"""Which of a job's messages may go now, and which wait for an older one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from lib.alerting import queue
from lib.alerting.queue import BundledIds
from lib.core.enums import MessageKind, Status
from lib.core.jobs import JobKey
from lib.core.messages import Message
from lib.core.records import Record

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
LATER = NOON + 10 * MINUTE
OPS, BOSS = "ops@example.com", "boss@example.com"
NOTHING = BundledIds()


def message(name, kind=MessageKind.ALERT, to=(OPS,), **more):
    subject = f"{name} is failing: no route"
    return Message(name, kind, subject, "body", to, NOON, since=NOON, **more)


def record(key, *queued):
    return Record(JobKey("X", key), key, Status.FAILING, queued=queued)


def queues(one, now=LATER, waiting=NOTHING):
    return {
        to: [message.message_id for message in queue.messages[: queue.ready]]
        for to, queue in queue.queues(one, waiting, now).items()
    }


def test_a_message_that_waits_holds_back_the_younger_ones_of_its_job_only():
    late = message("a", retry_at=LATER + MINUTE)
    assert queues(record("x", late, message("b"))) == {(OPS,): []}
    assert queues(record("x", late, message("b")), LATER + MINUTE) == {
        (OPS,): ["a", "b"]
    }


def test_people_who_share_no_address_do_not_wait_for_each_other():
    late = message("a", retry_at=LATER + MINUTE)
    other = message("b", to=(BOSS,))
    assert queues(record("x", late, other)) == {(OPS,): [], (BOSS,): ["b"]}


def test_a_message_to_more_people_waits_for_the_older_one_to_some_of_them():
    one = record("x", message("a"), message("b", to=(OPS, BOSS)))
    assert queues(one) == {(OPS,): ["a"]}


def test_a_full_mailbox_does_not_keep_the_recovery_from_the_others():
    late = message("a", retry_at=LATER + MINUTE, to=(BOSS,), attempts=3)
    end = message("b", kind=MessageKind.RECOVERY, to=(OPS, BOSS))
    split_by_recipient = queue.split_by_recipient(record("x", late, end), LATER)
    assert [one.to for one in split_by_recipient.queued] == [(BOSS,), (OPS,), (BOSS,)]
    assert len({one.message_id for one in split_by_recipient.queued}) == 3
    assert queues(split_by_recipient) == {(BOSS,): [], (OPS,): ["b"]}
    assert queue.split_by_recipient(split_by_recipient, LATER) == split_by_recipient


def test_what_was_sent_in_a_bundle_holds_nobody_up():
    one = record("x", message("a"), message("b"))
    waiting = BundledIds(sent=frozenset({"a"}))
    assert queues(one, waiting=waiting) == {(OPS,): ["b"]}


def test_what_may_have_been_taken_in_a_bundle_holds_the_younger_ones_up():
    one = record("x", message("a"), message("b"), message("c", to=(BOSS,)))
    waiting = BundledIds(frozen=frozenset({"a"}))
    assert queues(one, waiting=waiting) == {(BOSS,): ["c"]}

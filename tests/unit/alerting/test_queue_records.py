"""What becomes of the records that a parcel's messages lie in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from lib.alerting import queue
from lib.alerting.merge import merged
from lib.alerting.queue import Envelope
from lib.core import policy
from lib.core.enums import DeliveryResult, MessageKind, Status
from lib.core.jobs import JobKey
from lib.core.messages import Message
from lib.core.records import Record

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LATER = NOON + timedelta(minutes=10)
OPS, BOSS = "ops@example.com", "boss@example.com"
SENT, LOGGED, REFUSED = DeliveryResult


def message(name, kind=MessageKind.ALERT, to=(OPS,), **more):
    subject = f"{name} is failing: no route"
    return Message(name, kind, subject, "body", to, NOON, since=NOON, **more)


def record(key, *queued):
    return Record(JobKey("X", key), key, Status.FAILING, queued=queued)


def single(one):
    return Envelope(one, (one.message_id,), JobKey("X", "x"), NOON)


def test_an_attempt_is_counted_for_what_is_tried_and_for_nothing_else():
    one = record("x", message("a"), message("b"))
    tried = [single(message("a"))]
    kept = queue.with_attempts(one, tried, LATER)
    assert [one.attempts for one in kept.queued] == [1, 0]
    assert kept.queued[0].retry_at > LATER
    assert [one.in_doubt for one in kept.queued] == [True, False]


def test_folding_and_counting_are_one_change():
    one = record("x", message("a"), message("r", kind=MessageKind.RECOVERY))
    (merged_message,) = merged("x", one.queued, UTC)
    envelope = Envelope(
        merged_message.message, merged_message.ids, JobKey("X", "x"), NOON
    )
    (left,) = queue.with_attempts(one, [envelope], LATER).queued
    assert (left.message_id, left.attempts) == ("r", 1)
    assert left.merged is not None


@pytest.mark.parametrize(
    ("left", "names_left"), [(None, ["b"]), (message("a"), ["a", "b"])]
)
def test_after_an_attempt_what_is_left_is_queued_in_its_place(left, names_left):
    after = policy.with_left(record("x", message("a"), message("b")), "a", left)
    assert [one.message_id for one in after.queued] == names_left


@pytest.mark.parametrize(
    ("kind", "notified"),
    [
        (MessageKind.ALERT, (OPS,)),
        (MessageKind.REMINDER, (OPS,)),
        (MessageKind.RECOVERY, (OPS, "gone@example.com")),
    ],
)
def test_who_never_hears_of_a_problem_does_not_hear_of_its_end(kind, notified):
    before = Record(
        JobKey("X", "x"), notified=(OPS, "gone@example.com"), notified_at=NOON
    )
    dead = {"gone@example.com": "550 no such user"}
    assert policy.without_dead(before, message("a", kind), dead).notified == notified


def test_where_nobody_would_be_left_the_end_goes_to_everybody():
    before = Record(JobKey("X", "x"), notified=(OPS,), notified_at=NOON)
    assert policy.without_dead(before, message("a"), {OPS: "550 no"}) is before


def test_what_a_sent_bundle_stood_for_leaves_its_record():
    one = record("x", message("a"), message("b"))
    assert [left.message_id for left in policy.without(one, {"a"}).queued] == ["b"]
    assert policy.without(one, {"c"}) is one


@pytest.mark.parametrize(
    ("kind", "result", "refused", "delivery"),
    [
        (MessageKind.ALERT, LOGGED, (), LOGGED),
        (MessageKind.REMINDER, LOGGED, (), LOGGED),
        # What a job sends of its own accord tells nobody that it is failing.
        (MessageKind.NOTE, LOGGED, (), SENT),
        (MessageKind.ALERT, REFUSED, (OPS, BOSS), REFUSED),
        # The other one has it.
        (MessageKind.ALERT, REFUSED, (OPS,), SENT),
    ],
)
def test_what_became_of_the_alert_is_remembered(kind, result, refused, delivery):
    # What a channel has says nothing of the mail.
    notified = (OPS, BOSS, "oncall")
    before = Record(JobKey("X", "x"), notified=notified, notified_at=NOON)
    assert policy.delivered(before, [kind], result, refused).delivery is delivery
    # When it is over nothing is remembered of it.
    over = Record(JobKey("X", "x"))
    assert policy.delivered(over, [kind], result, refused) is over

"""One message for each way: addresses by mail, each way of a channel by itself."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from lib.alerting.routing import channel_of, of_way, split_by_way, ways_of
from lib.core.enums import MessageKind
from lib.core.jobs import JobKey
from lib.core.messages import Message
from lib.core.records import Record
from lib.core.secret import Secret
from lib.core.settings import Channel

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
CHANNELS = {
    "oncall": Channel("oncall", webhook=Secret("https://example.com/")),
    "push": Channel("push", services={"ntfy": Secret("a"), "slack": Secret("b")}),
    "one": Channel("one", services={"ntfy": Secret("a")}),
    "broken": Channel("broken", problem="see settings.cfg:7"),
}


def message(*to, name="a", **more):
    return Message(name * 8, MessageKind.ALERT, "subject", "body", to, NOON, **more)


def record(*messages):
    return Record(JobKey("Job", "j"), "j", queued=messages)


@pytest.mark.parametrize(
    ("to", "parts"),
    [
        (("a@b.c",), [("a@b.c",)]),
        (("a@b.c", "d@e.f"), [("a@b.c", "d@e.f")]),
        (("oncall",), [("oncall",)]),
        (("oncall", "a@b.c", "d@e.f"), [("a@b.c", "d@e.f"), ("oncall",)]),
        (("push",), [("push/ntfy",), ("push/slack",)]),
        (("one", "oncall"), [("one/ntfy",), ("oncall",)]),
        (("broken", "a@b.c"), [("a@b.c",), ("broken",)]),
        (("gone", "a@b.c"), [("a@b.c",), ("gone",)]),
        (("push/ntfy",), [("push/ntfy",)]),
        ((), [()]),
    ],
)
def test_a_message_is_split_by_way(to, parts):
    after = split_by_way(record(message(*to)), CHANNELS)
    assert [one.to for one in after.queued] == parts
    assert len({one.message_id for one in after.queued}) == len(parts)


def test_splitting_again_after_a_crash_gives_the_same_messages():
    before = record(message("a@b.c", "push", "oncall"))
    once = split_by_way(before, CHANNELS)
    assert split_by_way(before, CHANNELS) == once
    assert split_by_way(once, CHANNELS) is once


def test_the_mail_keeps_its_id_and_each_thread_its_alert():
    alert = message("a@b.c", "oncall")
    recovery = message("a@b.c", "oncall", name="r", thread=alert.message_id)
    mail, call, mail_after, call_after = split_by_way(
        record(alert, recovery), CHANNELS
    ).queued
    assert (mail, mail_after.thread) == (replace(alert, to=("a@b.c",)), mail.message_id)
    assert call_after.thread == call.message_id != mail.message_id


def test_each_way_has_its_own_records():
    both = split_by_way(record(message("a@b.c", "push")), CHANNELS)
    mail = record(message("a@b.c"))
    assert ways_of([both, mail]) == {"push/ntfy", "push/slack"}
    (only,) = of_way([both, mail], "push/slack")
    assert [one.to for one in only.queued] == [("push/slack",)]
    assert len(list(of_way([both, mail], ""))) == 2


@pytest.mark.parametrize(
    ("way", "name"),
    [
        ("oncall", "oncall"),
        ("push/ntfy", "push"),
        ("push/discord", None),
        ("push", None),
        ("broken/ntfy", "broken"),
        ("gone", None),
    ],
)
def test_a_way_that_the_settings_no_longer_have_has_no_channel(way, name):
    channel = channel_of(way, CHANNELS)
    assert (channel and channel.name) == name

"""One message for each way: addresses by mail, each way of a channel by itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from lib.alerting.routing import (
    channel_of,
    escalations,
    of_way,
    split_by_way,
    ways_of,
    with_fallbacks,
    without_gone,
    without_minor,
)
from lib.core import policy
from lib.core.enums import Decision, MessageKind, Severity, Status
from lib.core.jobs import JobKey
from lib.core.messages import Message
from lib.core.records import Acknowledgement, Record
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
    to_mail = replace(alert, to=("a@b.c",), shared_with=("oncall",))
    assert (mail, mail_after.thread) == (to_mail, mail.message_id)
    assert call.message_id != mail.message_id
    assert call_after.thread == call.public_id == mail.message_id


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


# Levels and fallbacks.

PAGER = {
    **CHANNELS,
    "pager": Channel(
        "pager",
        webhook=Secret("https://example.com/"),
        level=Severity.CRITICAL,
        fallback=("push", 600.0),
    ),
}


@pytest.mark.parametrize(
    ("more", "is_sent"),
    [
        ({}, True),
        ({"severity": Severity.WARNING}, False),
        ({"severity": Severity.WARNING, "in_doubt": True}, True),
        ({"kind": MessageKind.SUMMARY}, False),
        ({"kind": MessageKind.NOTE, "severity": Severity.WARNING}, True),
        ({"kind": MessageKind.RECOVERY, "severity": Severity.WARNING}, False),
    ],
)
def test_a_critical_channel_gets_no_warnings_and_no_summaries(more, is_sent):
    one = replace(message("pager"), **more)
    other = replace(message("oncall", name="b"), **more)
    left, minor = without_minor(record(one, other), PAGER)
    assert (one in left.queued, one in minor) == (is_sent, not is_sent)
    assert other in left.queued


@pytest.mark.parametrize(
    ("more", "failing", "minutes", "falls_back"),
    [
        ({"attempts": 2, "last_error": "answered 500"}, "", 10, True),
        ({"attempts": 2, "last_error": "answered 500"}, "", 9, False),
        ({}, "", 60, False),
        ({}, "answered 500", 10, True),
        ({"attempts": 2, "fell_back": True}, "answered 500", 60, False),
    ],
)
def test_what_is_not_accepted_goes_to_the_fallback_once(
    more, failing, minutes, falls_back
):
    before = record(replace(message("pager"), **more))
    now = NOON + timedelta(minutes=minutes)
    after = with_fallbacks(before, PAGER, {"pager": failing}, now)
    assert len(after.queued) == 1 + falls_back
    if falls_back:
        own, copy = after.queued
        assert (own.to, own.fell_back, own.message_id) == (("pager",), True, "a" * 8)
        assert (copy.to, copy.attempts, copy.in_doubt) == (("push",), 0, False)
        assert copy.body.startswith("This is for pager, which has not accepted it: ")
        assert "answered 500" in copy.body
        # Its first lines say why it is late.
        assert copy.last_error == "pager has not accepted it: answered 500"
    assert with_fallbacks(after, PAGER, {"pager": failing}, now) == after


def test_a_channel_that_cannot_be_used_has_its_fallback():
    broken = {**PAGER, "pager": Channel("pager", fallback=("push", 60.0), problem="no")}
    now = NOON + timedelta(minutes=1)
    after = with_fallbacks(record(message("pager")), broken, {}, now)
    assert [one.to for one in after.queued] == [("pager",), ("push",)]


def test_the_recovery_of_a_fallback_belongs_to_its_alert():
    alert = replace(message("pager"), attempts=1, last_error="no")
    recovery = replace(
        message("pager", name="r", thread=alert.message_id), attempts=1, last_error="no"
    )
    now = NOON + timedelta(minutes=10)
    after = with_fallbacks(record(alert, recovery), PAGER, {}, now)
    copies = [one for one in after.queued if one.to == ("push",)]
    assert copies[0].message_id != alert.message_id
    assert copies[1].thread == copies[0].public_id == alert.message_id


def test_the_recovery_belongs_to_its_alert_once_others_have_joined():
    alert = replace(message("pager"), attempts=1, last_error="no")
    now = NOON + timedelta(minutes=10)
    after = split_by_way(with_fallbacks(record(alert), PAGER, {}, now), PAGER)
    recovery = message("pager", "push", name="r", thread=alert.message_id)
    ends = split_by_way(record(recovery), PAGER).queued
    assert [one.way for one in after.queued] == [one.way for one in ends]
    ids = {one.public_id for one in after.queued}
    assert {one.thread for one in ends} == ids == {alert.message_id}


def alerted(*queued):
    return Record(
        JobKey("Job", "j"),
        "j",
        Status.FAILING,
        failures=1,
        failing_since=NOON,
        notified_at=NOON,
        alerted_at=NOON,
        notified=("pager",),
        notified_status=Status.FAILING,
        queued=queued,
    )


@pytest.mark.parametrize(
    ("kind", "notified"),
    [
        (MessageKind.ALERT, ("pager", "push")),
        (MessageKind.REMINDER, ("pager", "push")),
        (MessageKind.NOTE, ("pager",)),
    ],
)
def test_who_gets_an_alert_as_a_fallback_is_notified(kind, notified):
    late = replace(message("pager"), kind=kind, attempts=1, last_error="no")
    now = NOON + timedelta(minutes=10)
    after = with_fallbacks(alerted(late), PAGER, {}, now)
    assert after.notified == notified


def test_an_end_that_is_queued_falls_back_with_its_alert():
    alert = replace(message("pager"), attempts=1, last_error="no")
    end = replace(
        message("pager", name="r", thread=alert.message_id),
        kind=MessageKind.RECOVERY,
        born_at=NOON + timedelta(minutes=9),
    )
    after = with_fallbacks(record(alert, end), PAGER, {}, NOON + timedelta(minutes=10))
    copies = [one.kind for one in after.queued if one.to == ("push",)]
    assert copies == [MessageKind.ALERT, MessageKind.RECOVERY]
    only = with_fallbacks(record(end), PAGER, {}, NOON + timedelta(minutes=10))
    assert only.queued == (end,)


def test_what_the_fallback_gets_anyway_does_not_fall_back_to_it():
    parts = split_by_way(record(message("pager", "push")), PAGER)
    now = NOON + timedelta(hours=1)
    after = with_fallbacks(parts, PAGER, {"pager": "answered 500"}, now)
    assert [one.to for one in after.queued] == [
        ("pager",),
        ("push/ntfy",),
        ("push/slack",),
    ]


# Escalations.

BOSS = {
    "oncall": Channel(
        "oncall", webhook=Secret("https://example.com/"), escalate=("boss", 1800.0)
    ),
    "boss": Channel("boss", command=("page",)),
}
FAILING = Record(
    JobKey("Job", "j"),
    "j",
    Status.FAILING,
    failures=9,
    failing_since=NOON,
    notified_at=NOON + timedelta(minutes=25),
    alerted_at=NOON,
    notified=("a@b.c", "oncall"),
    notified_status=Status.FAILING,
)


@pytest.mark.parametrize(
    ("minutes", "more", "names"),
    [
        (29, {}, ()),
        (30, {}, ("boss",)),
        (30, {"status": Status.OK}, ()),
        (30, {"alerted_at": None}, ()),
        (30, {"notified": ("a@b.c",)}, ()),
        (30, {"notified": ("oncall", "boss")}, ()),
        (30, {"held": Decision.MUTED}, ()),
        (30, {"acknowledged": Acknowledgement(Status.FAILING, NOON)}, ()),
        (30, {"acknowledged": Acknowledgement(Status.UNKNOWN, NOON)}, ("boss",)),
    ],
)
def test_what_is_failing_for_long_is_escalated(minutes, more, names):
    now = NOON + timedelta(minutes=minutes)
    assert escalations(replace(FAILING, **more), BOSS, now) == names


# What is gone.


@pytest.mark.parametrize(
    ("way", "to"),
    [
        ("gone", ("ops@example.com", "oncall")),
        ("gone/ntfy", ("ops@example.com", "oncall")),
        ("push/discord", ("ops@example.com", "oncall")),
        ("pager/ntfy", ("push",)),
        ("push/ntfy", None),
        ("push", None),
        ("broken", None),
    ],
)
def test_what_is_for_a_channel_that_is_gone_goes_to_others_with_the_reason(way, to):
    name = way.partition("/")[0]
    late = message(way, attempts=3, last_error="answered 500", in_doubt=True)
    before = replace(alerted(late), notified=(name, "a@b.c"))
    contact = ("ops@example.com", "oncall")
    after, gone = without_gone(before, PAGER, contact)
    if to is None:
        assert (after, gone) == (before, [])
        return
    (one,) = after.queued
    assert (one.to, one.attempts, one.in_doubt) == (to, 0, False)
    assert one.last_error == (
        f"answered 500; it was for the channel {way}, which the settings no longer have"
    )
    assert one.message_id != late.message_id == one.public_id
    assert one.body.startswith(
        f"This is for the channel {way}, which the settings no longer have."
    )
    assert gone == [
        (
            late,
            f"the settings no longer have the channel {way}, so it goes to "
            + ", ".join(to),
        )
    ]
    # They get the recovery; a channel that has lost a service only gets it as well.
    left = (*to, "a@b.c") if name == "gone" else (*to, name, "a@b.c")
    assert after.notified == tuple(dict.fromkeys(left))


def test_what_its_fallback_has_is_not_sent_again():
    after, ((_message, why),) = without_gone(
        record(message("gone", fell_back=True)), PAGER, ("ops@example.com",)
    )
    assert after.queued == ()
    assert why.endswith("the channel gone, and its fallback has it")


BEFORE = {**PAGER, "gone": Channel("gone", command=("a",))}


def split(*to):
    """Return a record with the parts of an alert, of which ``gone`` has not left."""
    return split_by_way(replace(record(message(*to)), notified=to), BEFORE)


def without_sent(before, *ways):
    ids = {one.message_id for one in before.queued if set(one.to) & set(ways)}
    return policy.without(before, ids)


@pytest.mark.parametrize(
    ("to", "sent", "contact", "gets", "what"),
    [
        (("a@b.c",), ["a@b.c"], ["a@b.c"], [], "a@b.c has it"),
        (("oncall",), ["oncall"], ["a@b.c", "oncall"], ["a@b.c"], "oncall has it"),
        (("oncall",), [], ["oncall"], [], "it is queued for oncall already"),
        (("push",), ["push/ntfy"], ["push"], [], "it is queued for push already"),
        (("push",), ["push/ntfy", "push/slack"], ["push"], [], "push has it"),
        (("a@b.c", "oncall"), ["a@b.c"], ["d@e.f"], ["d@e.f"], "it goes to d@e.f"),
    ],
)
def test_nobody_gets_twice_what_is_for_a_channel_that_is_gone(
    to, sent, contact, gets, what
):
    before = without_sent(split(*to, "gone"), *sent)
    after, ((_message, why),) = without_gone(before, PAGER, tuple(contact))
    ids = {one.message_id for one in before.queued}
    new = [one for one in after.queued if one.message_id not in ids]
    assert [name for one in new for name in one.to] == gets
    assert what in why
    assert "gone" not in after.notified
    assert set(gets) <= set(after.notified)


def test_of_two_channels_that_are_gone_one_copy_is_sent():
    channels = {**BEFORE, "lost": Channel("lost", command=("a",))}
    alert = record(message("gone", "lost"))
    before = split_by_way(alert, channels)
    both, gone = without_gone(before, PAGER, ("a@b.c",))
    assert [one.to for one in both.queued] == [("a@b.c",)]
    assert gone[1][1].endswith("so it is queued for a@b.c already")
    # The other one is removed from the settings days after the copy was sent.
    first, _gone = without_gone(before, {**PAGER, "lost": channels["lost"]}, ("a@b.c",))
    later = without_sent(first, "a@b.c")
    last, ((_message, why),) = without_gone(later, PAGER, ("a@b.c",))
    assert (last.queued, why.endswith("so a@b.c has it")) == ((), True)


def test_who_has_it_as_a_fallback_does_not_get_it_again():
    channels = {**BEFORE, "pager": replace(PAGER["pager"], fallback=("oncall", 60.0))}
    before = split_by_way(record(message("pager", "gone")), channels)
    now = NOON + timedelta(hours=1)
    fell = with_fallbacks(before, channels, {"pager": "answered 500"}, now)
    after = without_sent(split_by_way(fell, channels), "oncall")
    _after, ((_message, why),) = without_gone(after, PAGER, ("oncall",))
    assert why.endswith("so oncall has it")


@pytest.mark.parametrize("to", ["a@b.c", "oncall"])
def test_who_rejected_it_for_good_gets_it_again_if_nobody_else_does(to):
    before = split(to, "gone")
    rejected = next(one for one in before.queued if one.to == (to,))
    left = policy.without_dead(without_sent(before, to), rejected, {to: "unknown"})
    after, ((_message, why),) = without_gone(left, PAGER, (to,))
    assert [one.to for one in after.queued] == [(to,)]
    assert why.endswith(f"so it goes to {to}")


def test_what_a_channel_did_not_take_for_its_level_it_does_not_have():
    channels = {
        **BEFORE,
        "loud": Channel("loud", command=("a",), level=Severity.CRITICAL),
    }
    warning = message("loud", "gone", severity=Severity.WARNING)
    left, (minor,) = without_minor(split_by_way(record(warning), channels), channels)
    assert minor.to == ("loud",)
    (one,) = left.queued
    assert one.shared_with == ()

"""One mail for many, as it is kept and as a person reads it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from lib.alerting import bundling
from lib.alerting.bundling import bundle_message
from lib.core.enums import MessageKind, Status
from lib.core.jobs import JobKey
from lib.core.messages import Bundle, Message
from lib.core.records import Record

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
OPS = ("ops@example.com",)


def entry(number, reason="no route", kind=MessageKind.ALERT, job="http"):
    name = f"{job} target{number}"
    ending = "is OK again after 1 hour"
    words = ending if kind is MessageKind.RECOVERY else f"is failing: {reason}"
    at = NOON + timedelta(seconds=number)
    subject = f"{name} {words}"
    why = "" if kind is MessageKind.RECOVERY else reason
    return name, Message(f"m{number}", kind, subject, "", OPS, at, reason=why)


def bundle(entries):
    return bundle_message("d", list(entries), NOON + timedelta(hours=1), UTC)


def test_a_bundle_groups_what_shares_a_reason_and_then_what_is_of_a_kind(approved):
    entries = [
        entry(0),
        entry(1, "503"),
        entry(2),
        entry(3, "full", job="disk"),
        entry(4, kind=MessageKind.RECOVERY),
        entry(5, "gone"),
    ]
    message = bundle(entries)
    approved(message.subject, "subject")
    blocks = message.body.split("\n\n")
    approved(blocks[0], "2")
    approved([block.splitlines()[0] for block in blocks[1:]], "3")
    for _name, one in entries:
        assert one.subject in message.body


def test_warnings_are_counted_as_such():
    entries = [entry(0), entry(1, "slow"), entry(2, kind=MessageKind.RECOVERY)]
    entries += [entry(number, "late") for number in (3, 4)]
    statuses = [Status.FAILING, Status.WARNING, Status.OK, Status.WARNING]
    about = [
        (name, replace(message, status=status))
        for (name, message), status in zip(entries, statuses, strict=False)
    ]
    assert bundle(about).subject == "1 failing, 1 OK again, 2 warnings"


@pytest.mark.parametrize(
    ("kind", "status", "words"),
    [
        (MessageKind.ALERT, Status.FAILING, "2 failing"),
        (MessageKind.ALERT, Status.UNKNOWN, "1 failing, 1 unknown"),
        (MessageKind.REMINDER, Status.UNKNOWN, "1 failing, 1 still unknown"),
        # It begins to flap.
        (MessageKind.ALERT, Status.OK, "1 failing, 1 flapping"),
        (MessageKind.RECOVERY, Status.OK, "1 failing, 1 OK again"),
        (MessageKind.NOTE, None, "1 failing, 1 note"),
    ],
)
def test_a_mixed_bundle_says_what_each_of_its_messages_is(kind, status, words):
    name, message = entry(1, "slow", kind=kind)
    failing = replace(entry(0)[1], status=Status.FAILING)
    mixed = bundle([(name, replace(message, status=status)), ("x", failing)])
    assert mixed.subject.partition(":")[0] == words
    assert f"2 messages: {words}." in mixed.body


def test_a_bundle_of_one_reason_has_it_in_its_subject():
    message = bundle(entry(number) for number in range(12))
    assert message.subject == "12 failing: no route"


def test_a_bundle_of_notes_has_the_first_of_them_in_its_subject():
    message = bundle(entry(number, kind=MessageKind.NOTE) for number in range(2))
    assert message.subject == "http target0 is failing: no route, and 1 more note"


def test_a_bundle_lists_its_messages_in_the_order_of_events():
    message = bundle(entry(number) for number in range(100))
    lines = [line for line in message.body.splitlines() if "target" in line]
    assert lines == sorted(
        lines, key=lambda line: int(line.split("target")[1].split()[0])
    )
    assert len(lines) == 100


def parts_of(entries):
    numbers = bundling.split(entries)
    return [
        bundle_message(
            "d", [entries[one] for one in part], NOON, UTC, (number, len(numbers))
        )
        for number, part in enumerate(numbers, start=1)
    ]


def names_in(message):
    lines = [line for line in message.body.splitlines() if line.startswith("    ")]
    return [name for line in lines for name in line.strip(" ,").split(", ")]


def test_a_bundle_with_too_many_subjects_lists_names(approved):
    entries = [entry(number) for number in range(3000)]
    (message,) = parts_of(entries)
    assert sorted(names_in(message)) == sorted(name for name, _one in entries)
    approved("\n".join(message.body.splitlines()[:9]))


@pytest.mark.parametrize("longer", ["", "-in-the-data-center-of-the-northern-region"])
def test_three_parts_hold_ten_thousand_and_each_name_is_in_one(longer, approved):
    entries = [entry(number, job=f"http shop{longer}") for number in range(9_500)]
    entries += [
        entry(number, kind=MessageKind.RECOVERY) for number in range(9_500, 10_000)
    ]
    parts = parts_of(entries)
    assert len(parts) == 3
    listed = [name for part in parts for name in names_in(part)]
    assert sorted(listed) == sorted(name for name, _one in entries)
    most = 256 * 1024 if longer else 100_000
    assert all(len(part.body.encode()) < most for part in parts)
    approved([part.subject for part in parts])
    approved("\n".join(parts[-1].body.splitlines()[:8]), "the last")


def test_hostile_subjects_break_no_line():
    name, one = entry(0)
    hostile = Message("x", MessageKind.ALERT, "a\nBcc: b\n", "", OPS, NOON)
    body = bundle([(name, one), ("", hostile)]).body
    assert "Bcc" not in body


# As it is kept.


def kept(*, in_doubt=False):
    one = bundle([entry(0), entry(1)])
    return Bundle(replace(one, in_doubt=in_doubt), ("m0", "m1"), NOON)


def owing(*names):
    queued = tuple(
        Message(name, MessageKind.ALERT, "x", "", OPS, NOON) for name in names
    )
    return Record(JobKey("K", "k"), queued=queued)


def test_a_bundle_whose_messages_are_gone_has_no_point_unless_it_is_in_doubt():
    assert bundling.obsolete([owing("m1")], {"d": kept()}) == []
    assert bundling.obsolete([owing("m2")], {"d": kept()}) == ["d"]
    assert bundling.obsolete([], {"d": kept(in_doubt=True)}) == []
    assert bundling.obsolete([], {"d": replace(kept(), sent_at=NOON)}) == []


def test_an_attempt_is_counted_in_the_bundle():
    tried = bundling.attempted(kept(), NOON)
    assert (tried.message.attempts, tried.tried_at) == (1, NOON)
    assert tried.message.in_doubt
    assert tried.message.retry_at > NOON


def test_times_of_a_bundle_that_lie_in_the_future_are_now():
    ahead = bundling.attempted(kept(), NOON + timedelta(days=1))
    settled = bundling.settled(ahead, NOON)
    assert settled.tried_at == settled.message.retry_at == NOON


def test_the_same_messages_have_the_same_digest():
    assert bundling.bundle_id(["a", "b"]) == bundling.bundle_id(["a", "b"])
    assert bundling.bundle_id(["a", "b"]) != bundling.bundle_id(["ab"])
    assert bundling.bundle_id(["\udc80"])

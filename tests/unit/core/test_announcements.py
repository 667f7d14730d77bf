"""Announcements: which are in force, in which order, and who may read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from msgspec.structs import replace

from lib.core import encoding
from lib.core.announcements import (
    MAX_ANNOUNCEMENTS,
    MAX_TEXT,
    Announce,
    Announcement,
    InboxRequest,
    Level,
    Withdraw,
    about,
    for_public,
    in_force,
    named,
    short_id,
    when_words,
    with_request,
)
from lib.core.silences import Scope

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
ONE = Announcement("aaaa0001", NOON, "Shop is down.", who="ann")


def ids(those):
    return [one.id for one in those]


def test_what_is_over_is_in_force_no_longer():
    ends = replace(ONE, id="bbbb0001", until=NOON + HOUR)
    assert ids(in_force([ONE, ends], NOON)) == ["bbbb0001", "aaaa0001"]
    assert ids(in_force([ONE, ends], NOON + HOUR)) == ["aaaa0001"]


def test_what_is_so_now_comes_before_what_is_planned_then_the_most_urgent():
    those = [
        replace(ONE, id=f"{level}-{start}", level=level, start=start and NOON + HOUR)
        for start in (True, None)
        for level in reversed(Level)
    ]
    shown = ids(in_force(those, NOON))
    assert shown[:5] == [f"{level}-None" for level in Level]
    assert shown[5:] == [f"{level}-True" for level in Level]
    # Once it has begun, it is planned no longer: of one level the latest is first.
    assert ids(in_force(those, NOON + HOUR))[:2] == ["outage-True", "outage-None"]


def test_a_change_keeps_its_place_among_the_others_and_only_the_latest_are_kept():
    those = tuple(
        replace(ONE, id=f"{number:08}", at=NOON + timedelta(minutes=number))
        for number in range(MAX_ANNOUNCEMENTS)
    )
    changed = replace(those[3], text="New", changed_at=NOON + HOUR)
    request = Announce("r1", NOON, Scope(), announcement=changed)
    after = with_request(those, request, NOON)
    assert after[0] == changed and len(after) == MAX_ANNOUNCEMENTS
    one_more = replace(ONE, id="ffff0001", at=NOON + HOUR)
    request = Announce("r2", NOON, Scope(), announcement=one_more)
    after = with_request(those, request, NOON)
    assert len(after) == MAX_ANNOUNCEMENTS and "00000000" not in ids(after)
    # Applied again it makes the same.
    assert with_request(after, request, NOON) == after


def test_an_end_does_not_end_what_was_changed_after_it():
    other = replace(ONE, id="bbbb0001", changed_at=NOON + HOUR)
    request = Withdraw("r1", NOON + HOUR / 2, Scope(), ids=(ONE.id, other.id))
    assert with_request((ONE, other), request, NOON) == (other,)


def test_the_public_reads_what_is_about_all_or_about_its_tags_and_no_name():
    inside = replace(ONE, id="bbbb0001", tags=("inside",))
    both = replace(ONE, id="cccc0001", tags=("inside", "web"))
    shown = for_public((ONE, inside, both), ("web", "mail"))
    assert [(one.id, one.tags, one.who) for one in shown] == [
        ("aaaa0001", (), ""),
        ("cccc0001", ("web",), ""),
    ]
    assert about((ONE, inside, both), ("web",)) == (both,)


@pytest.mark.parametrize(
    ("start", "until", "words"),
    [
        (None, None, ""),
        (None, 1, "until 13:00"),
        (-2, None, "since 10:00"),
        (-2, 1, "since 10:00, until 13:00"),
        (1, None, "planned from 13:00"),
        (1, 3, "planned: 13:00 to 15:00"),
    ],
)
def test_from_when_until_when_is_said(start, until, words):
    one = replace(
        ONE,
        start=None if start is None else NOON + start * HOUR,
        until=None if until is None else NOON + until * HOUR,
    )
    assert when_words(one, NOON, lambda moment: f"{moment:%H:%M}") == words


def test_an_id_is_as_long_as_tells_it_apart():
    other = replace(ONE, id="aaaa0002")
    alone = replace(ONE, id="bbbb0001")
    those = (ONE, other, alone)
    assert [short_id(one, those) for one in those] == ["aaaa0001", "aaaa0002", "bbbb"]
    assert ids(named(those, "AAAA")) == ["aaaa0001", "aaaa0002"]
    assert named(those, "bbb") == [] and ids(named(those, "bbbb0")) == ["bbbb0001"]


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("text", "x" * (MAX_TEXT + 100)),
        ("tags", ["x"] * 100),
        ("level", "loud"),
        ("id", ""),
        ("until", "0001-01-01T00:00:00Z"),
        ("html", "<b>"),
    ],
)
def test_a_request_that_is_too_large_or_strange_is_none(member, value):
    request = Announce("r1", NOON, Scope(), announcement=ONE)
    plain = encoding.plain(request)
    assert msgspec.convert(plain, InboxRequest) == request
    plain["announcement"][member] = value
    with pytest.raises(ValueError):
        msgspec.convert(plain, InboxRequest)

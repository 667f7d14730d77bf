"""The way of a mail, by its Received lines."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from lib.mail.proof import hops, longest

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def received(by, when):
    return f"from a.example by {by} with ESMTPS id 1; {when}"


def test_the_step_that_took_longest_is_named(approved):
    lines = [
        received("mx.example.com", "Mon, 23 Nov 2026 13:01:35 +0100 (CET)"),
        received("smtp.example.com", "Mon, 23 Nov 2026 12:00:05 +0000"),
    ]
    steps = hops(lines, NOON, NOON + timedelta(seconds=96))
    approved([str(one) for one in steps], "1")
    approved(longest(steps), "2")


def test_clocks_that_disagree_take_no_time():
    lines = [received("mx.example.com", "Mon, 23 Nov 2026 11:00:00 +0000")]
    assert longest(hops(lines, NOON, None)) == ""


@pytest.mark.parametrize(
    "line", ["", ";", "by x; yesterday", "x" * 10_000, "by \x07; 1", ";;;99 99 99"]
)
def test_a_line_without_a_time_is_no_step(line):
    assert hops([line], NOON, None) == []


def test_a_mail_in_a_circle_has_an_end():
    line = received("mx.example.com", "Mon, 23 Nov 2026 12:00:00 +0000")
    assert len(hops([line] * 5000, NOON, None)) == 50

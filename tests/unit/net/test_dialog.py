"""Rounds of a dialog: their order, and what one leaves to the next."""

from __future__ import annotations

import socket

import pytest

from lib.config import fields
from lib.net import bulk, dialog
from lib.net.connect import Deadline, Unreachable

read = fields.dialog("send", "expect", "expect_regex", "tls")


class Options:
    """The options of a target, as they are if the section says nothing."""

    def __init__(self, **given):
        self.send = self.expect = b""
        self.expect_regex = None
        self.dialog = ()
        vars(self).update(given)


def test_the_rounds_are_in_the_order_in_which_they_are_said():
    options = Options(
        banner=b"hi", send=b"a", expect=b"b", dialog=read("send c\ntls\nexpect d")
    )
    rounds = dialog.rounds_of(options)
    assert [(one.send, one.expect, one.secures) for one in rounds] == [
        (b"", (b"hi",), False),
        (b"a", (), False),
        (b"", (b"b",), False),
        (b"c", (), False),
        (b"", (), True),
        (b"", (b"d",), False),
    ]
    assert rounds[-1].place == "(line 3 of dialog)"


def test_nothing_is_said_where_nothing_is_asked_for():
    assert dialog.rounds_of(Options()) == ()


def held(said, *rounds, limit_s=0.3):
    """Return what is left after these rounds with a peer who says this."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with theirs:
        theirs.sendall(said)
        line = dialog.Line(ours, Deadline(limit_s))
        try:
            bulk.run_one(dialog.hold(line, rounds))
            return line._unread
        finally:
            line.close()


def wants(*wanted):
    return dialog.Round(expect=wanted)


def test_a_round_begins_behind_what_the_one_before_has_matched():
    pattern = fields.bytes_pattern("^a.$")
    assert held(b"ab\nac\nad\n", wants(b"ab"), wants(pattern)) == b"\nad\n"
    with pytest.raises(Unreachable, match="did not receive 'ab' within"):
        held(b"ab\nac\n", wants(b"ab"), wants(b"ab"))


def test_all_of_a_round_is_expected_in_any_order():
    assert held(b"abcd", wants(b"c", b"a")) == b"d"
    with pytest.raises(Unreachable, match="did not receive 'x' within"):
        held(b"abcd", wants(b"a", b"x"))


def test_what_is_expected_is_shown_as_it_is_written():
    assert dialog.shown_wanted(b"a\r\n\x00") == r"'a\r\n\x00'"
    assert dialog.shown_wanted(fields.bytes_pattern("^a")) == "a match of '^a'"
    assert dialog.shown_wanted(dialog.ANYTHING) == "anything"


def test_a_pause_ends_at_its_deadline():
    def steps():
        yield bulk.Pause(Deadline(0.1))
        return "over"

    assert bulk.run_one(steps()) == "over"


@pytest.mark.parametrize(
    ("text", "rounds"),
    [
        (r"send a\r\n", (("send", b"a\r\n"),)),
        (r"expect \x20", (("expect", b" "),)),
        ("send   a b", (("send", b"a b"),)),
        ("\n  tls \n", (("tls", None),)),
    ],
)
def test_a_line_of_a_dialog_is_a_word_and_what_it_says(text, rounds):
    assert read(text) == rounds


def test_within_a_deadline_is_the_earlier_of_two():
    now = [100.0]
    whole = Deadline(10, clock=lambda: now[0])
    assert whole.within(3).ends_at == 103.0
    assert str(whole.within(3)) == "3 s"
    assert whole.within(30) is whole

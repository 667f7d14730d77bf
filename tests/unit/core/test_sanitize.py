"""No secret and no control character reaches a person, a log or a file."""

from __future__ import annotations

import pytest

from lib.core.sanitize import fit, fit_end, harmless, printable, without_half_secret


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("Zürich 東京 🛒", "Zürich 東京 🛒"),
        ("\N{MAN}\u200d\N{ROCKET}", "\N{MAN}\u200d\N{ROCKET}"),
        ("a\x1b[31mred", r"a\x1b[31mred"),
        ("two\r\nlines", r"two\r\nlines"),
        ("bell\x07\x9b", r"bell\x07\x9b"),
        ("turned\u202egpj", r"turned\u202egpj"),
        ("two\u2028lines", r"two\u2028lines"),
        ("half\udcff", r"half\udcff"),
    ],
)
def test_what_is_no_visible_character_is_written_as_an_escape(text, shown):
    assert harmless(text) == shown


def test_text_from_outside_is_one_printable_line():
    assert printable("  200\r\nOK\x1b[2J \udcff ", 40) == "200 OK [2J"
    assert printable("a" * 41, 40) == "a" * 37 + "..."


def test_a_fitting_text_has_no_secret_and_no_control_character():
    assert fit("a s3cret\r\n\tb\x1b[2J\ud800", ("s3cret",), 99) == (
        "a ***\n        b\\x1b[2J\\ud800"
    )


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("ary-1 end", " end"),
        ("1 end", " end"),
        # The longest, of any of them.
        ("word-canary-1 end", " end"),
        ("\ufffd\ufffdssword end", " end"),
        ("clean", "clean"),
        ("", ""),
    ],
)
def test_half_a_secret_at_a_cut_start_is_left_out(text, left):
    secrets = ("pässword", "word-canary-1x", "pass-word-canary-1", "canary-1")
    assert without_half_secret(text, secrets) == left


def test_no_half_secret_stays_where_a_text_is_cut():
    for length in range(20):
        assert "s3c" not in fit("0123456789s3cret789", ("s3cret",), length)
        assert "ret" not in fit_end("0123456789s3cret789", ("s3cret",), length)
    huge = "x" * (256 * 1024 - 3) + "s3cret"
    assert "s3c" not in fit(huge, ("s3cret",), 4000)
    assert "ret" not in fit_end(
        huge[::-1].replace("terc3s", "s3cret"), ("s3cret",), 4000
    )


def test_of_a_text_its_start_is_kept_and_of_a_traceback_its_end():
    assert fit("abcdef", (), 3) == "abc ..."
    assert fit_end("abcdef", (), 3) == "... def"
    assert fit("abc", (), 3) == fit_end("abc", (), 3) == "abc"

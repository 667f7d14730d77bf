import pytest

from lib.config import hints


@pytest.mark.parametrize(
    ("word", "known", "meant"),
    [
        ("tpc", ["tcp"], "tcp"),
        ("header", ["expect_header", "path"], "expect_header"),
        ("imeout", ["timeout"], "timeout"),
        ("redis", ["disk"], ""),
        ("server", ["every"], ""),
    ],
)
def test_only_a_near_name_is_taken_for_the_one_that_was_meant(word, known, meant):
    hint = f"; did you mean {meant!r}?" if meant else ""
    assert hints.nearest(word, known) == hint


@pytest.mark.parametrize(
    ("name", "value", "seen"),
    [
        ("pass", "geheim", "***"),
        ("pass_command", "geheim", "***"),
        ("key", "geheim", "***"),
        ("url", "htp://u:geheim@a/", "***@a/"),
        ("url", "mailto:a:geheim@b.example", "***@b.example"),
        ("runbook", "mailto:ops@b.example x", "mailto:ops@b.example x"),
        ("host", "a\x1b[31m", r"'a\x1b[31m'"),
        ("host", "a" * 100, "a" * 57 + "..."),
        ("host", None, ""),
    ],
)
def test_a_wrong_value_is_shown_short_and_without_secrets(name, value, seen):
    assert hints.shown(name, value) == seen

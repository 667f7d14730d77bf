"""Why something failed, in words that may be shown."""

from __future__ import annotations

import pytest

from lib.core.sanitize import fit, fit_end
from lib.core.text import printed_part
from lib.plugins.errors import described, formatted, shown


class Hostile:
    """Raises whatever it is asked."""

    def __repr__(self) -> str:
        raise SystemExit(1)

    __str__ = __bool__ = __repr__  # type: ignore[assignment]  # as hostile as can be


class HostileError(Exception):
    def __str__(self) -> str:
        raise KeyboardInterrupt


def caught(raises):
    try:
        raises()
    except BaseException as error:  # noqa: B036  # that is what it is for
        return error
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("boom"),
        ValueError(),
        KeyError("x"),
        SystemExit(),
        SystemExit("bye"),
        HostileError(),
        ModuleNotFoundError("No module named 'x'"),
    ],
)
def test_an_exception_says_its_class_and_its_text(error, approved):
    approved(described(error))


def test_a_traceback_of_a_deep_recursion_is_short():
    def deep():
        deep()

    assert len(formatted(caught(deep))) < 5000


def test_a_traceback_survives_hostile_texts():
    def hostile():
        raise HostileError

    assert "HostileError" in formatted(caught(hostile))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "None"),
        ("a\x1b[0m", r"'a\x1b[0m'"),
        (Hostile(), "a Hostile"),
        ("x" * 100, "'" + "x" * 76 + "..."),
    ],
)
def test_any_object_is_shown_in_one_short_line(answer, words):
    assert shown(answer) == words


def test_a_fitting_text_has_no_secret_and_no_control_character():
    assert fit("a s3cret\r\n\tb\x1b[2J\ud800", ("s3cret",), 99) == (
        "a ***\n        b\\x1b[2J\\ud800"
    )


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


def test_nothing_printed_is_nothing_said(approved):
    assert printed_part(" \n") == ""
    assert printed_part("a\n") == "It printed:\na"
    approved(printed_part("a", shared=True))

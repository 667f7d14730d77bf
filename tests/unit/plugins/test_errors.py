"""Why something failed, in words that may be shown."""

from __future__ import annotations

import pytest

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


def test_nothing_printed_is_nothing_said(approved):
    assert printed_part(" \n") == ""
    assert printed_part("a\n") == "It printed:\na"
    approved(printed_part("a", shared=True))

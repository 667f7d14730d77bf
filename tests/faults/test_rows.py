"""Every row of the list of faults has a test that is marked with it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent

#: The rows with a star: they come first.
STARRED = """
    A1 A2 A4 A6 A8 A9 A10
    B1 B2 B4 B9 B10
    C1 C2 C3 C6 C7 C8
    D1 D2 D3 D4 D5 D8 D12 D16 D20
    E1 E2 E5 E6 E7 E9 E10 E11 E13 E14 E15
    F1 F2 F3
    G1 G2 G3 G5 G6 G8 G11 G12
    H1 H2 H3 H6
    T1 T2 T3 T4
    X1 X2 X6
""".split()
#: The rows without one.
OTHERS = """
    A3 A5 A7 A12
    B3 B5 B8 B11 B14 B15
    C4 C10 C11 C12
    D7 D11 D14 D15 D19 D21
    E4 E8 E16 E18 E19
    F5 F6 F8 F10 F11
    G9 G10 G14 G15 G16
    H4 H8 H11 H12
    T6 T7
    X3 X5 X8
""".split()
#: Those that came after the list: requests of commands, at a crash and damaged.
OF_REQUESTS = ["A13", "C13"]
#: And of the history: killed, refused, damaged, the clock set back.
OF_HISTORY = ["A14", "B16", "C14", "T8"]
#: And of the page: killed, refused, of damaged state, the clock stepped.
OF_PAGE = ["A15", "B17", "C15", "T9"]
#: Of these docs/testing.md has what the harnesses found, in a table of its own.
OF_HARNESSES = {"A1", "A2", "A10", "B1", "X8"}
#: What the tests of all others came to, the last time they were all run in full.
TABLE = TESTS.parent / "docs" / "faults.md"

#: The list itself, where it lies beside the checkout.
LIST = TESTS.parent.parent / "shared" / "FAULTS.md"


def marked():
    """Return the rows that tests are marked with."""
    found = set()
    for path in TESTS.rglob("test_*.py"):
        found.update(re.findall(r'mark\.fault\(\s*"(\w+)"', path.read_text()))
    return found


def test_every_row_has_a_test():
    assert {*STARRED, *OTHERS, *OF_REQUESTS, *OF_HISTORY, *OF_PAGE} <= marked()


def test_no_test_is_marked_with_a_row_that_is_none():
    # R4: that wrong designs are caught; a part of the recipe, not a row.
    assert marked() <= {*STARRED, *OTHERS, *OF_REQUESTS, *OF_HISTORY, *OF_PAGE, "R4"}


@pytest.mark.skipif(not LIST.exists(), reason="the list of faults lies elsewhere")
def test_the_rows_are_those_of_the_list():
    rows = re.findall(r"(?m)^\| ([A-Z]\d+)( \*)? \|", LIST.read_text())
    assert [row for row, star in rows if star] == STARRED
    assert [row for row, star in rows if not star] == OTHERS


def test_the_documents_have_what_each_row_came_to():
    rows = re.findall(
        r"(?m)^\| ([A-Z]\d+) \| .* \| (.*) \| [\d.]+ \|$", TABLE.read_text()
    )
    rows_of_all = {
        *STARRED,
        *OTHERS,
        *OF_REQUESTS,
        *OF_HISTORY,
        *OF_PAGE,
    } - OF_HARNESSES
    assert rows_of_all <= {row for row, _result in rows}
    assert {row for row, result in rows if not result.startswith("ok")} == set()

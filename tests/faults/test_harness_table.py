"""The table of faults has a line for each row, in the order of the list."""

from __future__ import annotations

from tests.faults.table import Row, as_text


def test_cases_with_the_same_result_are_one_line():
    rows = [Row("T3", "DST", "ok", 0.5), Row("T3", "DST", "ok", 1.0)]
    rows.append(Row("T3", "DST", "FAILED", 1.0))
    assert as_text(rows).splitlines()[2:] == [
        "| T3 | DST | ok (2 cases) | 1.5 |",
        "| T3 | DST | FAILED | 1.0 |",
    ]


def test_rows_come_in_the_order_of_the_list():
    rows = [Row("A10", "power cut", "ok", 2.04), Row("A2", "killed", "FAILED", 1)]
    assert as_text(rows).splitlines()[2:] == [
        "| A2 | killed | FAILED | 1.0 |",
        "| A10 | power cut | ok | 2.0 |",
    ]

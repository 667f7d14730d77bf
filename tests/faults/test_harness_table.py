"""The table of faults has a line for each row, in the order of the list."""

from __future__ import annotations

from tests.faults.table import Row, as_text


def test_rows_come_in_the_order_of_the_list():
    rows = [Row("A10", "power cut", "ok", 2.04), Row("A2", "killed", "FAILED", 1)]
    assert as_text(rows).splitlines()[2:] == [
        "| A2 | killed | FAILED | 1.0 |",
        "| A10 | power cut | ok | 2.0 |",
    ]

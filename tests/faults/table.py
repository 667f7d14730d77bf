"""The table of faults: which row a test stands for, and how it went.

A test says so with ``@pytest.mark.fault("A1", "kill -9 at every system call")``.  At
the end the table is shown, and kept in the file that CHECKER_FAULTS_TABLE names.
What a test measured goes along if it calls ``measured``.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

#: Whether all of it is asked for; else a sample, a few seconds of each.
LONG = os.environ.get("CHECKER_FAULTS") == "long"
#: Where the table is kept as well; nowhere if empty.
TABLE = os.environ.get("CHECKER_FAULTS_TABLE", "")

_measured: dict[str, str] = {}


@dataclass
class Row:
    """One test of one fault, and what it came to."""

    row: str
    fault: str
    result: str
    seconds: float


def measured(text: str) -> None:
    """Have the table show ``text`` as the result of the test that calls."""
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
    _measured[test] = text


def what_was_measured(test: str) -> str:
    """Return what a test measured, by its node id."""
    return _measured.get(test, "")


def seed() -> int:
    """Return a number that changes with the commit, so that samples do."""
    asked = ["git", "rev-parse", "HEAD"]
    here = Path(__file__).parent
    ran = subprocess.run(asked, cwd=here, capture_output=True, text=True)
    return int(ran.stdout.strip()[:8] or "0", 16) if ran.returncode == 0 else 0


def as_text(rows: list[Row]) -> str:
    """Return the table, in the order of the list; what is alike is one line."""
    lines = ["| Row | Fault | Result | Seconds |", "|---|---|---|---:|"]
    together: dict[tuple[str, str, str], list[Row]] = {}
    for row in sorted(rows, key=_place):
        together.setdefault((row.row, row.fault, row.result), []).append(row)
    for (name, fault, result), those in together.items():
        cases = f" ({len(those)} cases)" if len(those) > 1 else ""
        seconds = sum(one.seconds for one in those)
        lines.append(f"| {name} | {fault} | {result}{cases} | {seconds:.1f} |")
    return "\n".join(lines) + "\n"


def _place(row: Row) -> tuple[str, int, str]:
    found = re.fullmatch(r"(\D*)(\d*)(.*)", row.row)
    assert found is not None
    return found[1], int(found[2] or 0), row.fault

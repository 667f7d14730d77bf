"""Rows whose tests lie beside the room they are about: each is there by its name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

ELSEWHERE = {
    "D8": (
        "tests/test_worker.py"
        "::test_what_a_job_prints_is_kept_up_to_a_limit_and_holds_nobody_up"
    ),
    "B5": "tests/test_state.py::test_a_file_that_may_not_be_read_is_lost",
    "H2": "tests/test_HTTPServerChecker.py",
    "H3": "tests/test_HTTPServerChecker.py",
    "H4": "tests/test_HTTPServerChecker.py",
    "H6": "tests/test_tls.py",
    "H8": "tests/test_reach.py",
    "H11": "tests/test_HTTPServerChecker.py",
    "X6": "tests/test_cron.py::test_no_secret_is_in_any_output",
}


@pytest.mark.parametrize("row", ELSEWHERE)
def test_a_row_that_is_tested_elsewhere_is_there(row):
    name, _colons, test = ELSEWHERE[row].partition("::")
    source = (ROOT / name).read_text()
    assert re.search(rf"^def {test or 'test_'}", source, re.MULTILINE), ELSEWHERE[row]

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
    "F1": (
        "tests/test_EmailChecker.py" "::test_a_mail_under_way_is_looked_for_each_minute"
    ),
    "F2": (
        "tests/test_EmailChecker.py"
        "::test_what_never_arrives_fails_once_and_a_later_proof_ends_it"
    ),
    "F3": (
        "tests/test_mailbox.py" "::test_it_is_found_in_the_last_folder_of_each_provider"
    ),
    "F5": (
        "tests/test_mailbox.py"
        "::test_whatever_a_server_says_memory_and_time_are_bounded"
    ),
    "F6": ("tests/test_mailbox.py" "::test_silence_and_drips_end_at_the_deadline"),
    "F8": ("tests/test_EmailChecker.py" "::test_what_arrives_in_spam_is_no_proof"),
    "F11": (
        "tests/test_EmailChecker.py"
        "::test_own_probes_that_piled_up_go_and_nothing_else"
    ),
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

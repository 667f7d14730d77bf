"""Rows whose tests lie beside the room they are about: each is there by its name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

ELSEWHERE = {
    "A3": "tests/test_cron.py::test_a_terminated_run_keeps_what_is_done_and_ends_soon",
    "D8": (
        "tests/test_worker.py"
        "::test_what_a_job_prints_is_kept_up_to_a_limit_and_holds_nobody_up"
    ),
    "D11": "tests/test_crew.py::test_memory_without_end_costs_its_own_worker_only",
    "B5": "tests/test_state.py::test_a_file_that_may_not_be_read_is_lost",
    "B8": "tests/test_disk.py",
    "E1": "tests/test_smtp.py",
    "E2": (
        "tests/test_outbox.py"
        "::test_a_server_that_says_nothing_costs_the_session_its_time_and_no_more"
    ),
    "E4": "tests/test_smtp.py",
    "E7": (
        "tests/test_cron.py"
        "::test_one_refused_recipient_does_not_cost_the_others_their_mail"
    ),
    "E11": "tests/test_smtp.py",
    "E13": "tests/test_smtp.py",
    "H2": "tests/test_HTTPServerChecker.py",
    "H3": "tests/test_HTTPServerChecker.py",
    "H4": "tests/test_HTTPServerChecker.py",
    "H6": "tests/test_tls.py",
    "H8": "tests/test_reach.py",
    "H11": "tests/test_HTTPServerChecker.py",
    "H12": (
        "tests/test_cron.py" "::test_targets_that_do_not_answer_cost_a_slot_not_the_run"
    ),
    "T7": "tests/test_cron.py::test_a_missed_hour_is_caught_up_once",
    "X6": "tests/test_cron.py::test_no_secret_is_in_any_output",
}


@pytest.mark.parametrize("row", ELSEWHERE)
def test_a_row_that_is_tested_elsewhere_is_there(row):
    name, _colons, test = ELSEWHERE[row].partition("::")
    source = (ROOT / name).read_text()
    assert re.search(rf"^def {test or 'test_'}", source, re.MULTILINE), ELSEWHERE[row]

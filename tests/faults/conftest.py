"""Tests of faults: each is marked with its row, and the rows make a table."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.table import LONG, TABLE, Row, as_text, what_was_measured

_ROWS = pytest.StashKey[list[Row]]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "fault(row, fault): the row of the list of faults, and its words"
    )
    config.stash[_ROWS] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    marks = list(item.iter_markers("fault"))
    if marks and (report.when == "call" or report.outcome != "passed"):
        for mark in marks:
            item.config.stash[_ROWS].append(
                Row(*map(str, mark.args), _result(item, report), call.duration)
            )
    return report


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    rows = config.stash.get(_ROWS, [])
    if not rows or not (LONG or TABLE):
        return
    text = as_text(rows)
    terminalreporter.write_sep("=", "faults")
    terminalreporter.write(text)
    if TABLE:
        Path(TABLE).write_text(text)


def _result(item: pytest.Item, report: pytest.TestReport) -> str:
    if report.skipped and isinstance(report.longrepr, tuple):
        return f"skipped: {report.longrepr[2].removeprefix('Skipped: ')}"
    words = {"passed": "ok", "failed": "FAILED", "skipped": "skipped"}[report.outcome]
    more = what_was_measured(item.nodeid)
    return f"{words}: {more}" if more else words

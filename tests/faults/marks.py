"""Tests that are marked with their row of the list of faults: the rows make a table.

They may lie anywhere below tests/: ``make faults`` runs all that have the mark.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.table import LONG, TABLE, Row, as_text, what_was_measured

#: The rows so far, by the test's id: a test that fails as it ends has one row, not two.
_ROWS = pytest.StashKey[dict[str, list[Row]]]()
#: How long the setting up of a test took; what rows share is a part of their time.
_SET_UP_S = pytest.StashKey[float]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "fault(row, fault): the row of the list of faults, and its words"
    )
    config.stash[_ROWS] = {}
    config.pluginmanager.register(_Collector(config.stash[_ROWS]))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.when == "setup":
        item.stash[_SET_UP_S] = call.duration
    marks = list(item.iter_markers("fault"))
    if marks and (report.when == "call" or report.outcome != "passed"):
        seconds = call.duration + item.stash[_SET_UP_S] * (report.when != "setup")
        rows = [[*map(str, one.args), _result(item, report)] for one in marks]
        # It is another process that runs the test, perhaps; a report travels.
        report.user_properties.append(("rows", [[*one, seconds] for one in rows]))
    return report


class _Collector:
    """Hears the reports of all tests, whichever process ran them."""

    def __init__(self, rows: dict[str, list[Row]]) -> None:
        self._rows = rows

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for name, rows in report.user_properties:
            if name == "rows":
                self._rows[report.nodeid] = [Row(*one) for one in rows]


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    rows = [one for rows in config.stash[_ROWS].values() for one in rows]
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

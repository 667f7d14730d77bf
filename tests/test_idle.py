"""When a run may leave a note that the next ones have nothing to do."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lib.idle import idle_until, is_idle
from lib.model import (
    Asked,
    Condition,
    JobFile,
    JobFrequency,
    Mail,
    Message,
    MessageKind,
    Problem,
    Record,
    RunFacts,
    Settings,
)

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
SETTINGS = Settings(
    path=Path("settings.cfg"),
    servername="web1",
    alertcontact=("ops@example.com",),
    logfile=Path("log"),
    state=Path("state"),
    mail=Mail(),
)
MAIL = Message("a1" * 16, MessageKind.ALERT, "x", "y", ("ops@example.com",), NOON)


def idle(settings=SETTINGS, *records, worked=False, **run):
    return is_idle(settings, RunFacts(**run), records, worked=worked)


def test_a_run_that_found_nothing_to_do_is_idle():
    assert idle()
    # It is not due, and who had to hear of it has heard.
    assert idle(SETTINGS, Record("x", condition=Condition.FAILING, failures=3))


@pytest.mark.parametrize("folder", ["digests", "unread"])
def test_a_run_is_not_idle_while_something_has_to_be_tried_again(tmp_path, folder):
    (tmp_path / folder).mkdir()
    settings = replace(SETTINGS, state=tmp_path)
    assert idle(settings)
    (tmp_path / folder / "a.json").touch()
    assert not idle(settings)


@pytest.mark.parametrize(
    "run",
    [
        {"ordered": JobFrequency.HOUR},
        {"owed": 1},
        {"pending": 1},
        {"sent": 1},
        {"lost_records": ("x",)},
        {"worked": True},
    ],
)
def test_a_run_that_did_or_left_something_is_not(run):
    assert not idle(**run)


@pytest.mark.parametrize(
    "record", [Record("x", pending=True), Record("x", owed=(MAIL,))]
)
def test_what_waits_is_looked_at_each_minute(record):
    assert not idle(SETTINGS, record)


def test_what_is_wrong_in_the_settings_is_judged_each_minute():
    wrong = Problem("unknown option", section="http x")
    assert not idle(replace(SETTINGS, problems=(wrong,)))
    assert idle(replace(SETTINGS, problems=(replace(wrong, warning=True),)))
    refused = JobFile(Path("x.py"), "x", refused="others can write it")
    assert not idle(replace(SETTINGS, job_files=(refused,)))


def test_it_holds_until_a_file_must_be_asked_again_or_a_slot_was_missed():
    asked = {"x.py": Asked(NOON, ""), "y.py": Asked(NOON + timedelta(minutes=9), "")}
    assert idle_until(asked, {}) == NOON + timedelta(minutes=59)
    last = {JobFrequency.HOUR: NOON - timedelta(minutes=30)}
    assert idle_until(asked, last) == NOON + timedelta(minutes=36)
    assert idle_until({}, {}) is None


def test_it_holds_until_a_summary_is_due():
    asked = {"x.py": Asked(NOON, "")}
    morning = NOON + timedelta(minutes=20)
    assert idle_until(asked, {}, morning) == morning
    assert idle_until(asked, {}, NOON + timedelta(hours=9)) == idle_until(asked, {})
    assert idle_until({}, {}, morning) is None

"""Which checks are kept as the slowest, and in what file."""

from __future__ import annotations

import logging
import os
from datetime import UTC, datetime, timedelta

import pytest

from lib.core.jobs import JobKey
from lib.core.results import Timing
from lib.storage import timings
from lib.storage.timings import SlowestChecks

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def slow(name, seconds, at=NOON):
    return Timing(JobKey("Web", name), name, seconds, at)


def test_of_each_job_its_slowest_time_is_kept_and_of_many_the_slowest_first():
    those = [slow(name, number / 10) for number, name in enumerate("abcdefgh")]
    those += [slow("a", 3.0, NOON + MINUTE), slow("h", 0.1)]
    found = timings.merged(those, NOON)
    assert [one.name for one in found] == ["a", "h", "g", "f", "e"]
    assert found[0] == slow("a", 3.0, NOON + MINUTE)


def test_what_was_before_the_last_bulletin_counts_no_more():
    those = [slow("a", 9.0, NOON - MINUTE), slow("b", 0.1)]
    assert timings.merged(those, NOON) == (slow("b", 0.1),)


def test_they_are_read_as_they_were_written(tmp_path):
    assert timings.read(tmp_path) == SlowestChecks()
    kept = SlowestChecks((slow("a", 3.25),), (slow("b", 30.0), slow("a", 3.25)))
    timings.write(tmp_path, kept)
    assert timings.read(tmp_path) == kept
    assert os.listdir(tmp_path) == ["slowest.json"]


@pytest.mark.parametrize("damage", [b"", b"\0" * 300, b'{"format": 1, "daily": 5}'])
def test_what_a_power_cut_left_of_them_is_no_trouble(tmp_path, caplog, damage):
    (tmp_path / "slowest.json").write_bytes(damage)
    with caplog.at_level(logging.WARNING):
        assert timings.read(tmp_path) == SlowestChecks()
    assert caplog.messages == []


def test_where_they_cannot_be_written_the_run_goes_on(tmp_path, caplog):
    (tmp_path / "slowest.json").mkdir()
    timings.write(tmp_path, SlowestChecks())
    assert "slowest.json: cannot rename" in caplog.text

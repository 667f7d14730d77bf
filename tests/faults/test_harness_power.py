"""Harness R: whenever the power fails, nobody misses an alert."""

from __future__ import annotations

import random

import pytest

from tests.faults import harness_power, power_disk
from tests.faults.harness_calls import needs_strace
from tests.faults.scenarios import SCENARIOS, Deadline
from tests.faults.table import LONG, measured, seed

SHORT_S = 2.0
EVERYTHING = list(SCENARIOS.values())
CHOSEN = EVERYTHING if LONG else [EVERYTHING[(seed() + 2) % len(EVERYTHING)]]


@needs_strace
@pytest.mark.fault("A10", "power cut at any point, all that may be left")
@pytest.mark.parametrize("scenario", CHOSEN, ids=lambda one: one.name)
def test_no_power_cut_loses_an_alert_or_repeats_it(world, scenario):
    deadline = Deadline(None if LONG else SHORT_S)
    chance = random.Random(seed())
    tally = harness_power.lose_power(scenario, world, chance, deadline)
    measured(str(tally))
    assert not tally.faults, "\n".join(tally.faults)
    assert tally.points, "nothing was tried"


def test_a_file_that_was_not_synced_may_be_empty_half_zeros_or_whole():
    file = power_disk.File(b"", b"abcd")
    assert file.after_a_crash() == [b"", b"ab", bytes(4), b"abcd"]
    assert power_disk.File(b"abcd", b"abcd").after_a_crash() == [b"abcd"]


def test_a_rename_that_was_not_synced_may_not_have_happened():
    disk = power_disk.Disk(
        {"/jobs": None, "/jobs/new": 0, "/jobs/old": 1},
        {
            0: power_disk.File(b"new", b"new"),
            1: power_disk.File(b"old", b"old"),
        },
    )
    rename = power_disk.Operation(0, "rename", ("/jobs/new", "/jobs/old"))
    disk.do(rename, {"/jobs/new": 0, "/jobs/old": 1})
    left = [one["/jobs/old"] for one in disk.after_a_crash(random.Random(0))]
    assert left == [b"old", b"new"]
    disk.do(power_disk.Operation(1, "fsync", ("/jobs",)), {})
    left = [one["/jobs/old"] for one in disk.after_a_crash(random.Random(0))]
    assert left == [b"new"]


@needs_strace
@pytest.mark.long
def test_the_removal_of_heartbeats_is_among_what_may_be_cut_off(world):
    scenario = SCENARIOS["heartbeats"]
    scenario.set_up(world)
    disk, operations, _heard = harness_power.recorded(scenario, world)
    events = [path for path in disk.tree if path.startswith("/spool/")]
    removed = [one.paths[0] for one in operations if one.name == "unlink"]
    assert len(events) == scenario.lamps and set(events) <= set(removed)
    commits = [one.paths[1] for one in operations if one.name == "rename"]
    assert any(path.startswith("/state/jobs/") for path in commits)

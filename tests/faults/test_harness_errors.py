"""Harness I: whatever call the disk refuses, nobody misses an alert."""

from __future__ import annotations

import random

import pytest

from tests.faults import harness_errors
from tests.faults.harness_calls import needs_strace
from tests.faults.scenarios import SCENARIOS, Deadline
from tests.faults.table import LONG, measured, seed
from tests.faults.world import World
from tests.servers import SmtpServer

SHORT_S = 2.0
EVERYTHING = list(SCENARIOS.values())
CHOSEN = EVERYTHING if LONG else [EVERYTHING[(seed() + 1) % len(EVERYTHING)]]


@pytest.fixture
def world(tmp_path):
    with SmtpServer(security="none") as server:
        yield World(tmp_path / "world", server)


@needs_strace
@pytest.mark.fault("B1", "ENOSPC, EIO, EINTR, EROFS, EDQUOT at every file call")
@pytest.mark.parametrize("scenario", CHOSEN, ids=lambda one: one.name)
def test_no_call_that_is_refused_loses_an_alert(world, scenario):
    deadline = Deadline(None if LONG else SHORT_S)
    tally = harness_errors.refuse(scenario, world, random.Random(seed()), deadline)
    measured(str(tally))
    assert not (tally.lost or tally.stuck or tally.new_id), "\n".join(tally.faults)
    assert tally.points, "nothing was tried"


@pytest.mark.fault("B10", "read-only as soon as a mail is taken, again and again")
def test_a_mail_that_cannot_be_marked_is_not_sent_each_minute(world):
    scenario = SCENARIOS["first alert"]
    scenario.set_up(world)
    tally = harness_errors.read_only_once_taken(scenario, world)
    measured(str(tally))
    assert not tally.faults, "\n".join(tally.faults)


@needs_strace
@pytest.mark.fault("B5", "EIO once while a job's state is opened for reading")
def test_a_record_that_cannot_be_read_once_is_not_taken_for_lost(world):
    scenario = SCENARIOS["recovery"]
    scenario.set_up(world)
    call = next(
        one
        for one in harness_errors.points(scenario, world)
        if one.name == "openat" and "/state/jobs/lamp" in one.text
    )
    tally = harness_errors.refuse_once(scenario, world, call, "EIO")
    measured(str(tally))
    assert not (tally.faults or tally.missed), "\n".join(tally.faults)

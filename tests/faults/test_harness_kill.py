"""Harness K: whenever a run is killed, nobody misses an alert."""

from __future__ import annotations

import random

import pytest

from tests.faults import harness_kill
from tests.faults.harness_calls import needs_strace
from tests.faults.scenarios import SCENARIOS, Deadline, Scenario, Tally
from tests.faults.table import LONG, measured, seed

#: So many random times in the long form, over all scenarios.
RANDOM_TIMES = 1000
SHORT_S = 1.5


def scenarios() -> list[Scenario]:
    """Return all scenarios, or the one whose turn it is."""
    everything = list(SCENARIOS.values())
    return everything if LONG else [everything[seed() % len(everything)]]


def nothing_went_wrong(tally: Tally) -> None:
    measured(str(tally))
    assert not tally.faults, "\n".join(tally.faults)
    assert tally.points, "nothing was tried"


@needs_strace
@pytest.mark.fault("A1", "kill -9 at every system call")
@pytest.mark.parametrize("scenario", scenarios(), ids=lambda one: one.name)
def test_killed_at_any_call_no_alert_is_lost_and_none_is_repeated(world, scenario):
    deadline = Deadline(None if LONG else SHORT_S)
    chance = random.Random(seed())
    nothing_went_wrong(harness_kill.kill_at_calls(scenario, world, chance, deadline))


@pytest.mark.fault("A2", "kill -9 at random times")
@pytest.mark.parametrize("scenario", scenarios(), ids=lambda one: one.name)
def test_killed_at_any_time_no_alert_is_lost_and_none_is_repeated(world, scenario):
    total = Tally()
    chance = random.Random(seed())
    deadline = Deadline(None if LONG else SHORT_S)
    scenario.set_up(world)
    length_s = harness_kill.length_of_run(scenario, world)
    for _ in range(-(-RANDOM_TIMES // len(SCENARIOS))):
        total.add(harness_kill.kill_at_random(scenario, world, length_s, chance))
        if deadline.is_over:
            break
    nothing_went_wrong(total)

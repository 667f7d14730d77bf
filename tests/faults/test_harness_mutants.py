"""The harnesses catch designs that are wrong; all can at least be planted."""

from __future__ import annotations

from contextlib import closing

import pytest

from tests.faults.harness_calls import needs_strace
from tests.faults.mutants import MUTANTS, works_undisturbed
from tests.faults.table import LONG, measured, seed
from tests.faults.world import World
from tests.support.servers import SmtpServer

EVERYTHING = list(MUTANTS.values())
CHOSEN = EVERYTHING if LONG else [EVERYTHING[seed() % len(EVERYTHING)]]


@pytest.mark.parametrize("mutant", EVERYTHING, ids=lambda one: one.name)
def test_a_wrong_design_can_be_planted(mutant):
    compile(mutant.text(), mutant.file, "exec")


@needs_strace
@pytest.mark.fault("R4", "a wrong design is caught")
@pytest.mark.parametrize("mutant", CHOSEN, ids=lambda one: one.name)
def test_a_wrong_design_is_caught(tmp_path, mutant):
    program = tmp_path / "program"
    program.mkdir()
    planted = mutant.plant(program)
    with (
        SmtpServer(security="none") as server,
        closing(World(tmp_path / "world", server, planted)) as world,
    ):
        assert works_undisturbed(world)
        tally = mutant.caught_by(world)
    measured(f"{mutant.name}: {tally}")
    assert mutant.is_caught(tally), f"nobody notices: {mutant.name}: {tally}"

"""While nothing can be written, no summary takes a number."""

from __future__ import annotations

import pytest

from tests.faults.scenarios import SCENARIOS
from tests.faults.world import World


@pytest.mark.long
@pytest.mark.fault("B2", "no room on the disk when a summary is due")
def test_b2_while_nothing_can_be_written_no_summary_takes_a_number(world):
    scenario = SCENARIOS["summary"]
    scenario.set_up(world)
    for _ in range(2):
        code, said = world.run(["prlimit", "--fsize=0"])
        assert (code, "cannot write" in said) == (1, True), said
    assert _summaries(world) == []
    for _ in range(2):
        assert world.run() == (0, "")
    assert _summaries(world) == ["[web1] daily summary 1: all OK"]


def _summaries(world: World) -> list[str]:
    return [mail.subject for mail in world.server.mails if " summary " in mail.subject]

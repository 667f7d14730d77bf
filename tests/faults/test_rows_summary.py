"""Whatever happens to a run that writes a summary, its number comes once."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from tests.faults import harness_kill
from tests.faults.harness_calls import needs_strace
from tests.faults.scenarios import Deadline, Scenario
from tests.faults.table import LONG, measured, seed
from tests.faults.world import World
from tests.support.servers import SmtpServer

SHORT_S = 3.0


def _due(world: World) -> None:
    """Have a summary due, the first."""
    clock = (datetime.now(UTC) - timedelta(minutes=3)).astimezone()
    world.instance.add(f"[summary]\ndaily = {clock:%H:%M}\n")
    world.mail(up=True)
    world.light(on=True)
    world.run()
    world.pass_time(timedelta(days=1))


def _nothing_else(world: World) -> None:
    world.mail(up=True)


@pytest.fixture
def world(tmp_path):
    with SmtpServer(security="none") as server:
        yield World(tmp_path / "world", server)


@needs_strace
@pytest.mark.fault("A1", "kill -9 at every system call of a run with a summary")
def test_killed_at_any_call_a_summary_is_neither_lost_nor_repeated(world):
    # Another one may be due by the time that all is quiet; it has another number.
    notified = "daily summary 1: all OK"
    scenario = Scenario("daily summary", _due, _nothing_else, notified, lamps=1)
    deadline = Deadline(None if LONG else SHORT_S)
    chance = random.Random(seed())
    tally = harness_kill.kill_at_calls(scenario, world, chance, deadline)
    measured(str(tally))
    assert not tally.faults, "\n".join(tally.faults)
    assert tally.points, "nothing was tried"


@pytest.mark.fault("B2", "no room on the disk when a summary is due")
def test_b2_while_nothing_can_be_written_no_summary_takes_a_number(world):
    world.lamps(1)
    _due(world)
    for _ in range(2):
        code, said = world.run(["prlimit", "--fsize=0"])
        assert (code, "cannot write" in said) == (1, True), said
    assert _summaries(world) == []
    for _ in range(2):
        assert world.run() == (0, "")
    assert _summaries(world) == ["[web1] daily summary 1: all OK"]


def _summaries(world: World) -> list[str]:
    return [mail.subject for mail in world.server.mails if " summary " in mail.subject]

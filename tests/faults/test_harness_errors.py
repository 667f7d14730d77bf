"""Harness I: whatever call the disk refuses, nobody misses an alert."""

from __future__ import annotations

import json
import random
from datetime import timedelta

import pytest

from tests.faults import harness_errors
from tests.faults.harness_calls import needs_strace
from tests.faults.scenarios import SCENARIOS, Deadline
from tests.faults.table import LONG, measured, seed

SHORT_S = 2.0
EVERYTHING = list(SCENARIOS.values())
CHOSEN = EVERYTHING if LONG else [EVERYTHING[(seed() + 1) % len(EVERYTHING)]]


@needs_strace
@pytest.mark.fault("B1", "ENOSPC, EIO, EINTR, EROFS, EDQUOT at every file call")
@pytest.mark.parametrize("scenario", CHOSEN, ids=lambda one: one.name)
def test_no_call_that_is_refused_loses_an_alert(world, scenario):
    deadline = Deadline(None if LONG else SHORT_S)
    tally = harness_errors.refuse(scenario, world, random.Random(seed()), deadline)
    measured(str(tally))
    assert not (tally.lost or tally.stuck or tally.new_id), "\n".join(tally.faults)
    assert tally.points, "nothing was tried"


@needs_strace
@pytest.mark.fault("B1", "EIO at every call by which a log is read")
def test_a_log_that_cannot_be_read_for_once_loses_no_line(world):
    scenario = SCENARIOS["logs"]
    scenario.set_up(world)
    deadline = Deadline(None if LONG else SHORT_S)
    chance = random.Random(seed())
    tally = harness_errors.refuse_to_read_logs(scenario, world, chance, deadline)
    measured(str(tally))
    assert not tally.faults, "\n".join(tally.faults)
    assert tally.points, "nothing was tried"


@pytest.mark.long
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


@needs_strace
@pytest.mark.fault("B5", "EIO for two runs whenever a job's state is read")
def test_what_a_record_has_queued_leaves_once_it_can_be_read_again(world):
    world.lamps(2)
    world.mail(up=False)
    world.run()
    (path,) = world.state.glob("jobs/lamp-ant-*.json")
    (queued,) = json.loads(path.read_text())["queued"]
    world.mail(up=True)
    for _run in range(2):
        world.pass_time(timedelta(minutes=1))
        code, said = world.run(refusing_to_open(path))
        assert code == 0, said
        # Wherever it is now, the disk refuses that file, and no other.
        path = next((world.state / "unread").iterdir())
    # Unknown to failing alerts once, and the other job knows nothing of it.
    notified = [mail.subject for mail in world.server.mails]
    assert sorted(notified) == [
        "[web1] Lamp ant is failing: it is dark",
        "[web1] Lamp bee is failing: it is dark",
        "[web1] a state file was lost or damaged",
    ]
    world.pass_time(timedelta(minutes=1))
    assert world.run() == (0, "")
    again = world.server.mails[3:]
    assert [queued["message_id"] in mail.parsed["Message-ID"] for mail in again] == [
        True
    ]
    assert world.run() == (0, "")
    assert len(world.server.mails) == 4


@needs_strace
@pytest.mark.fault("B5", "EIO when a job's state is read that is not due")
def test_a_record_whose_job_was_not_due_is_as_it_was_once_it_can_be_read(world):
    world.lamps(1)
    world.run()
    (path,) = world.state.glob("jobs/lamp-ant-*.json")
    before = json.loads(path.read_text())
    # The job is there, and is run by no run of the minute.
    lamps = world.instance.jobs / "Lamps.py"
    lamps.write_text(lamps.read_text().replace("MINUTE", "HOUR"))
    world.run(refusing_to_open(path))
    assert json.loads(path.read_text())["status"] == "unknown"
    world.pass_time(timedelta(minutes=1))
    world.run()
    after = json.loads(path.read_text())
    assert after["failing_since"] < before["failing_since"]
    assert after["notified_at"] and after["thread"] == before["thread"]
    assert world.server.mails[1].subject == "[web1] a state file was lost or damaged"
    assert len(world.server.mails) == 2


def refusing_to_open(path):
    """Return the command under which a file cannot be opened, as on a bad disk."""
    refuse = ["-e", "trace=openat", "-e", "inject=openat:error=EIO"]
    return ["strace", "-o", "/dev/null", "-P", str(path), *refuse]

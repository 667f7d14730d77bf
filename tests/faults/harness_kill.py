"""Harness K: kill -9 at each point of a run.

Three ways, which together are all points that differ:

- before each call by which the supervisor changes something, and before its exit;
  after a call is before the next one that changes something.
- while the session that sends is at each step, told by the mail server, which kills
  the supervisor before it answers, or a moment after; the session too is killed
  before each call by which it speaks.
- at random times.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from tests.faults.harness_calls import Call, calls, changes_something, traced
from tests.faults.scenarios import Deadline, Scenario, Tally
from tests.faults.world import World

#: Seconds after its answer at which the server kills: while it is noted down.
AFTER_ANSWER = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02)
#: How often at most the session speaks.
MAX_WORDS = 40


def points(scenario: Scenario, world: World) -> list[Call]:
    """Return the calls before which to kill; the world must be set up."""
    scenario.begin(world)
    code, said, lines = traced(world)
    assert code == scenario.code, said
    return [call for call in calls(world, lines) if changes_something(call)]


def kill_before(scenario: Scenario, world: World, call: Call) -> Tally:
    """Return what becomes of a run that is killed before a call."""
    scenario.begin(world)
    inject = f"inject={call.name}:signal=SIGKILL:when={call.number}"
    code, _said, _lines = traced(world, "-e", inject)
    tally = scenario.judge(world, f"killed before {call}")
    tally.missed = int(code != -signal.SIGKILL)
    return tally


def kill_the_session(
    scenario: Scenario, world: World, name: str, number: int
) -> Tally | None:
    """Return what becomes of a run whose session is killed when it speaks.

    None if it speaks not so often.  Only sessions make these calls.
    """
    scenario.begin(world)
    inject = f"inject={name}:signal=SIGKILL:when={number}"
    _code, _said, lines = traced(world, "-f", "-e", f"trace={name}", "-e", inject)
    if not any("killed by SIGKILL" in line for line in lines):
        return None
    return scenario.judge(world, f"session killed before {name} {number}")


def kill_when_asked(scenario: Scenario, world: World) -> list[Callable[[], Tally]]:
    """Return what to do for each step at which the mail server kills."""

    count = 1 if scenario.lamps > 5 else scenario.lamps
    steps = [("DATA", -1.0), *(("DATA", one) for one in AFTER_ANSWER)]
    if not scenario.channel:
        steps.insert(0, ("RCPT", -1.0))
    return [
        partial(_killed_by_server, scenario, world, number, step, delay)
        for number in range(1, count + 1)
        for step, delay in steps
    ]


def _killed_by_server(
    scenario: Scenario, world: World, number: int, step: str, delay: float
) -> Tally:
    scenario.begin(world)
    answer_data, answer_rcpt = world.server.answer_data, world.server.answer_rcpt
    process = world.start()
    counts = {"RCPT": 0, "DATA": 0}
    timers: list[threading.Timer] = []

    def reached(name: str) -> None:
        counts[name] += 1
        if name != step or counts[name] != number:
            return
        if delay < 0:
            process.kill()
        else:
            timers.append(threading.Timer(delay, process.kill))
            timers[-1].start()

    def on_rcpt(address: str) -> str | None:
        reached("RCPT")
        return answer_rcpt(address)

    def on_data(mail: object) -> str | None:
        reached("DATA")
        return answer_data(mail)  # type: ignore[arg-type]

    world.server.answer_rcpt, world.server.answer_data = on_rcpt, on_data
    try:
        process.communicate(timeout=70)
        for timer in timers:
            timer.join()
    finally:
        world.server.answer_rcpt, world.server.answer_data = answer_rcpt, answer_data
    tally = scenario.judge(world, f"killed at {step} {number}, {delay} s after")
    tally.missed = int(process.returncode != -signal.SIGKILL)
    return tally


def kill_at_random(
    scenario: Scenario, world: World, length_s: float, chance: random.Random
) -> Tally:
    """Return what becomes of a run that is killed at any time."""
    scenario.begin(world)
    process = world.start()
    delay = chance.uniform(0, length_s)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=delay)
    with suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=70)
    tally = scenario.judge(world, f"killed after {delay:.4f} s")
    tally.missed = int(process.returncode != -signal.SIGKILL)
    return tally


def length_of_run(scenario: Scenario, world: World) -> float:
    """Return how long the run of a scenario takes."""
    scenario.begin(world)
    began = time.monotonic()
    world.run()
    return time.monotonic() - began


def kill_at_calls(
    scenario: Scenario, world: World, chance: random.Random, deadline: Deadline
) -> Tally:
    """Return what becomes of all kills at calls, as many as there is time for."""
    scenario.set_up(world)
    tasks: list[Callable[[], Tally | None]] = []
    for call in points(scenario, world):
        tasks.append(partial(kill_before, scenario, world, call))
    tasks += kill_when_asked(scenario, world)
    for name, most in (("connect", 4), ("sendto", MAX_WORDS)):
        for number in range(1, most + 1):
            tasks.append(partial(kill_the_session, scenario, world, name, number))
    return sampled(tasks, chance, deadline)


def sampled(
    tasks: list[Callable[[], Tally | None]],
    chance: random.Random,
    deadline: Deadline,
    *,
    until_caught: bool = False,
) -> Tally:
    """Return the sum over tasks in random order, at least one, until time is over."""
    tally = Tally()
    for task in chance.sample(tasks, len(tasks)):
        found = task()
        if found is not None:
            tally.add(found)
        # A session that does not speak so often was no try.
        is_over = deadline.is_over and tally.points
        if is_over or (until_caught and tally.faults):
            break
    tally.seconds = deadline.taken_s
    return tally

"""Harness I: a file system that refuses one call, or every call from one on.

A call that is refused is not carried out.  The errors are those of a full disk, of a
quota, of a device that fails, of one that was remounted read-only, and of a signal.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial

from tests.faults.harness_calls import (
    OF_FILES,
    Call,
    calls,
    touches_state,
    traced,
)
from tests.faults.harness_kill import sampled
from tests.faults.scenarios import Deadline, Scenario, Tally
from tests.faults.world import NAMES, World
from tests.support.powers import as_anybody
from tests.support.servers import SmtpMail

ERRORS = ("ENOSPC", "EIO", "EINTR", "EROFS", "EDQUOT")
#: A disk that is broken stays so for this many runs, one each minute.
RUNS_BROKEN = 2
#: By these a worker reads logs, and how often at most in a run of three logs.
READING, MOST_READS = ("openat", "pread64", "preadv,preadv2", "newfstatat"), 6
#: How it shows in these that nothing can be written.
NEVER = "?fsync,?rename,?mkdir,?unlink,?ftruncate,?pwrite64"
#: What only fails once in earnest, or would stop the program from being read at all.
ONCE_ONLY = ("openat", "close", "write")
#: So many runs meet a state folder that is read-only as soon as a mail is taken.
RUNS_READ_ONLY = 6
#: In their time each message may be tried this often: at once, after 50 s, and after
#: two minutes more.
MAY_BE_TOLD = 3
A_MINUTE = timedelta(minutes=1)


def points(scenario: Scenario, world: World) -> list[Call]:
    """Return the calls to refuse; the world must be set up."""
    scenario.begin(world)
    code, said, lines = traced(world)
    assert code == scenario.code, said
    return [
        call
        for call in calls(world, lines)
        if call.name in OF_FILES and touches_state(call)
    ]


def refuse_once(scenario: Scenario, world: World, call: Call, error: str) -> Tally:
    """Return what becomes of a run with one call refused."""
    scenario.begin(world)
    inject = f"inject={call.name}:error={error}:when={call.number}"
    _code, _said, lines = traced(world, "-e", inject)
    tally = scenario.judge(world, f"{error} at {call}", is_readable=False)
    tally.missed = int(not any("(INJECTED)" in line for line in lines))
    return tally


def refuse_from(scenario: Scenario, world: World, call: Call, error: str) -> Tally:
    """Return what becomes of runs with a kind of call refused from one on.

    In the runs after it nothing at all can be written, until the disk is mended.
    """
    scenario.begin(world)
    inject = f"inject={call.name}:error={error}:when={call.number}+"
    _code, _said, lines = traced(world, "-e", inject)
    for _ in range(RUNS_BROKEN):
        world.pass_time(A_MINUTE)
        traced(world, "-e", f"inject={NEVER}:error={error}:when=1+")
    tally = scenario.judge(world, f"{error} from {call} on", is_readable=False)
    tally.missed = int(not any("(INJECTED)" in line for line in lines))
    return tally


def refuse_to_read_logs(
    scenario: Scenario, world: World, chance: random.Random, deadline: Deadline
) -> Tally:
    """Return what becomes of runs whose worker is refused one call on the logs."""
    logs = [
        f"-P{world.folder / name}.log{end}" for name in NAMES[:3] for end in ("", ".1")
    ]
    tasks: list[Callable[[], Tally | None]] = []
    for name in READING:
        for number in range(1, MOST_READS + 1):
            inject = f"inject={name}:error=EIO:when={number}"
            tasks.append(partial(_refuse_to_read, scenario, world, [*logs, inject]))
    return sampled(tasks, chance, deadline)


def _refuse_to_read(
    scenario: Scenario, world: World, logs: Sequence[str]
) -> Tally | None:
    *paths, inject = logs
    # What can be read is told at once, so that there may be two mails.
    scenario = replace(scenario, notified="ERROR {name} 1", also="ERROR {name} 2")
    scenario.begin(world)
    _code, _said, lines = traced(
        world, "-f", *paths, "-e", "trace=!%process", "-e", inject
    )
    if not any("(INJECTED)" in line for line in lines):
        return None
    return scenario.judge(world, f"{inject} of a log")


def read_only_once_taken(scenario: Scenario, world: World) -> Tally:
    """Return what becomes of runs in which no mail that was taken can be marked.

    State can be written until the server has a mail, and not from then on; a minute
    later it can be again, and so on.
    """
    scenario.begin(world)
    answer = world.server.answer_data
    folders = (world.state, world.state / "jobs")

    def allow(mode: int) -> None:
        for folder in folders:
            if folder.exists():
                folder.chmod(mode)

    def take(mail: SmtpMail) -> str | None:
        allow(0o500)
        return answer(mail)

    for _ in range(RUNS_READ_ONLY):
        world.server.answer_data = take
        world.run(as_anybody([]))
        allow(0o700)
        world.pass_time(A_MINUTE)
    tally = scenario.judge(world, "read-only as soon as a mail is taken")
    ids = Counter(str(mail.parsed["Message-ID"]) for mail in world.server.mails)
    # Once more when all is well again.
    most = max(ids.values(), default=0) - 1
    if most > MAY_BE_TOLD:
        tally.hammered = 1
        tally.faults.append(f"{scenario.name}: told {most} times while read-only")
    return tally


def refuse(
    scenario: Scenario, world: World, chance: random.Random, deadline: Deadline
) -> Tally:
    """Return what becomes of all calls refused, as many as there is time for."""
    scenario.set_up(world)
    tasks: list[Callable[[], Tally | None]] = []
    for call in points(scenario, world):
        for error in ERRORS:
            tasks.append(partial(refuse_once, scenario, world, call, error))
        if call.name not in ONCE_ONLY:
            # Which error it is matters less than that it stays; and a call that is
            # interrupted for ever is none that a kernel makes.
            error = chance.choice([one for one in ERRORS if one != "EINTR"])
            tasks.append(partial(refuse_from, scenario, world, call, error))
    return sampled(tasks, chance, deadline)

"""One soak: its minutes one after the other, each held against the model."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from lib.core.enums import JobFrequency
from tests.faults.soak_jobs import COUNTING, REMEMBERING
from tests.faults.soak_mails import HOUR, Arrived, Reader, compare
from tests.faults.soak_model import Model
from tests.faults.soak_plan import (
    DESK,
    JOBS,
    REMINDS,
    Mail,
    Minute,
    Shape,
    outage_of,
    plan,
)
from tests.faults.soak_replay import differences
from tests.faults.soak_result import Result
from tests.faults.soak_world import Ran, World
from tests.support.replays import replayed
from tests.support.servers import SmtpServer

#: After an outage the last new attempt comes within this: five minutes and a run.
LAST_ATTEMPT_AFTER = timedelta(minutes=6)
#: What is wrong so often is wrong for good.
MAX_FAULTS = 20


class Soak:
    """One soak, from its first minute to its last."""

    def __init__(self, world: World, shape: Shape, chance: random.Random, year: int):
        self._world = world
        self._shape = shape
        self._chance = chance
        self._plan = plan(shape, chance.randrange(2**32), year)
        self.result = Result(outage_of(self._plan))
        begin, end = self.result.outage
        self._trouble = (begin, end + LAST_ATTEMPT_AFTER)
        self._model = Model({**JOBS, DESK: JobFrequency.MINUTE}, frozenset({REMINDS}))
        self._mails: list[Arrived] = []
        self._length_s = 0.5
        self._kills_due = 0
        #: How many tries of the one that is due came too late.
        self._late_kills = 0

    def go(self, say: Callable[[str], None] = lambda _text: None) -> Result:
        """Go through all minutes, and judge."""
        began, result = time.monotonic(), self.result
        for number, minute in enumerate(self._plan, start=1):
            self._pass(minute)
            result.minutes = number
            if number % 1440 == 0:
                took_s, held = time.monotonic() - began, self._world.held()
                say(f"day {number // 1440}: {took_s:.0f} s, {held.memory}")
            if len(result.faults) >= MAX_FAULTS:
                break
        self._judge()
        result.seconds = time.monotonic() - began
        return result

    # A minute.

    def _pass(self, minute: Minute) -> None:
        world = self._world
        world.become(minute.dark, minute.mail)
        before = world.counts()
        if len(minute.orders) > 1:
            self._start_at_once(minute, before)
        elif minute.orders and (minute.is_real or self._kill_is_due(minute)):
            self._start(minute, before)
        elif minute.orders:
            self.result.in_process += 1
            (order,) = minute.orders
            self._take_whole(minute, before, world.run(order, minute.at))
        self._hear(minute.at)
        if minute.is_measured:
            self.result.held.append(world.held())

    def _kill_is_due(self, minute: Minute) -> bool:
        """Return whether a start of this minute is to be killed, if it is real."""
        return self._kills_due > 0 and not minute.is_measured

    def _start(self, minute: Minute, before: Mapping[str, int]) -> None:
        """Have a real start, and kill it if it is its turn."""
        self.result.real += 1
        (order,) = minute.orders
        self._kills_due += minute.is_killed
        after_s = None
        if self._kill_is_due(minute):
            after_s = self._chance.uniform(0.3, 1.0) * self._length_s
            # One that comes too late is tried again in the next minute, and earlier.
            after_s /= 1 + self._late_kills
        began = time.monotonic()
        process = self._world.start(order, minute.at)
        ran = self._world.finish(process, after_s)
        if ran.code == -signal.SIGKILL:
            self._kills_due -= 1
            self._late_kills = 0
            self.result.killed.append(minute.at)
            self._expect(not ran.left, minute, f"killed: {ran.left} processes left")
            self._take_killed(minute, before)
            return
        self._late_kills += after_s is not None
        # Of several that were alike; one that ended before its kill counts as well.
        self._length_s = (3 * self._length_s + time.monotonic() - began) / 4
        self._take_whole(minute, before, ran)

    def _start_at_once(self, minute: Minute, before: Mapping[str, int]) -> None:
        """Have all that cron starts in the same second."""
        self.result.real += len(minute.orders)
        started = [self._world.start(order, minute.at) for order in minute.orders]
        for process in started:
            process.wait()
        for process in started:
            self._expect_well(minute, self._world.finish(process, None))
        executed = self._executed(before)
        # One mostly finds the other at work; or it comes when that is done.
        worked = executed[REMINDS]
        self.result.skipped += len(started) - worked
        self._expect(1 <= worked <= len(started), minute, f"{worked} of them worked")
        seen = {name for name, times in executed.items() if times}
        due = self._model.run(minute.orders[0], minute.at, self._dark(minute), seen)
        expected = {name: worked * (name in due) for name in COUNTING}
        what = f"at once: executed {executed}, expected {expected}"
        self._expect(executed == expected, minute, what)
        for name in due:
            for _again in range(worked - 1):
                self._model.runs[name] += 1
                is_dark = name in self._dark(minute)
                self._model.judge(name, minute.at, is_dark=is_dark)

    def _take_whole(self, minute: Minute, before: Mapping[str, int], ran: Ran) -> None:
        """Hold a run that went well against the model."""
        (order,) = minute.orders
        executed = self._executed(before)
        seen = {name for name, times in executed.items() if times}
        due = self._model.run(order, minute.at, self._dark(minute), seen)
        self._expect_well(minute, ran)
        expected = {name: int(name in due) for name in COUNTING}
        what = f"{order}: executed {executed}, expected {expected}"
        self._expect(executed == expected, minute, what)
        if not self._took_place(minute.at):
            self.result.missed += 1
            self._expect(False, minute, f"no run took place: {self._world.last_run()}")

    def _take_killed(self, minute: Minute, before: Mapping[str, int]) -> None:
        """Read from disk how far a run came that was killed."""
        (order,) = minute.orders
        model, records = self._model, self._world.records()
        executed = self._executed(before)
        due = model.due(order, minute.at, [name for name in executed if executed[name]])
        for name in due:
            record = records.get(name, {})
            notified_at = record.get("notified_at")
            is_dark = record.get("status") == "failing" and notified_at is not None
            if is_dark != (name in model.dark) or (
                is_dark and _minute(notified_at) == minute.at
            ):
                model.decide(name, minute.at, is_dark=is_dark)
            recovering = int(record.get("recovering", 0))
            failures = 0 if recovering else int(record.get("failures", 0))
            model.consecutive[name] = (bool(failures), failures or recovering)
        for name in COUNTING:
            most = int(name in due)
            what = f"killed: {name} executed {executed[name]} times, {most} at most"
            self._expect(executed[name] <= most, minute, what)
        for name in REMEMBERING:
            kept = _count(records, name)
            what = f"killed: {name} remembers {kept} runs of {model.runs[name]}"
            self._expect(0 <= kept - model.runs[name] <= executed[name], minute, what)
            model.runs[name] = kept
        last = self._world.last_run().get("last_runs", {})
        model.last = {JobFrequency(name): _minute(last[name]) for name in last}

    def _dark(self, minute: Minute) -> frozenset[str]:
        return minute.dark | {DESK} if minute.mail is Mail.GONE else minute.dark

    def _executed(self, before: Mapping[str, int]) -> dict[str, int]:
        return {name: now - before[name] for name, now in self._world.counts().items()}

    def _took_place(self, at: datetime) -> bool:
        last = self._world.last_run()
        return _minute(last["began_at"]) == at and bool(last.get("ended_at"))

    def _hear(self, at: datetime) -> None:
        taken = self._world.server.mails
        self._mails += [Arrived(at, mail) for mail in taken]
        taken.clear()

    def _expect_well(self, minute: Minute, ran: Ran) -> None:
        """Expect that a run was silent, unless it said that mail is not taken."""
        begin, end = self._trouble
        self._expect(ran.code == 0, minute, f"exit code {ran.code}: {ran.said}")
        self._expect(not ran.left, minute, f"{ran.left} processes left behind")
        if not begin <= minute.at <= end:
            self._expect(not ran.said, minute, f"it said {ran.said!r}")

    def _expect(self, right: bool, minute: Minute, what: str) -> None:
        if not right:
            self.result.faults.append(f"{minute.at:%Y-%m-%d %H:%M} UTC: {what}")

    # The end.

    def _judge(self) -> None:
        result, model, records = self.result, self._model, self._world.records()
        result.runs, result.news = model.runs, len(model.news)
        reader = Reader(model.jobs)
        result.notified = compare(
            model.news, self._mails, reader, self._trouble, result.killed
        )
        result.faults += result.notified.faults
        self._replay()
        queued = {
            name: len(one["queued"])
            for name, one in records.items()
            if one.get("queued")
        }
        if queued:
            result.faults.append(f"still owed: {queued}")
        skipped = self._world.last_run().get("skipped", 0)
        if skipped != result.skipped:
            what = f"{skipped} runs are counted as skipped, not {result.skipped}"
            result.faults.append(what)
        for name in REMEMBERING:
            kept = _count(records, name)
            if kept != model.runs[name]:
                what = f"{name} remembers {kept} runs of {model.runs[name]}"
                result.faults.append(what)
        if len(result.held) > 1:
            first, last = result.held
            result.faults += last.growth(first, self._shape.memory_mib)

    def _replay(self) -> None:
        """Replay the same settings over the history that there is."""
        result = self.result
        pairs = replayed(self._world.settings(), self._plan[-1].at + HOUR)
        result.decided = sum(pair.sent is not None for pair in pairs)
        result.replayed = sum(pair.is_same for pair in pairs)
        result.faults += differences(pairs, result.killed)


def _minute(moment: str) -> datetime:
    return (
        datetime.fromisoformat(moment).astimezone(UTC).replace(second=0, microsecond=0)
    )


def _count(records: Mapping[str, Mapping[str, Any]], name: str) -> int:
    return int(records.get(name, {}).get("memory", {}).get("count", 0))


def soak(
    folder: Path,
    shape: Shape,
    seed: int,
    year: int,
    program: Path | None = None,
    say: Callable[[str], None] = lambda _text: None,
) -> Result:
    """Return what came of a soak of this program, ours unless another is given."""
    with SmtpServer(security="none") as server:
        world = World(folder, server, program)
        try:
            return Soak(world, shape, random.Random(seed), year).go(say)
        finally:
            world.stop()

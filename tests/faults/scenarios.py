"""What the harnesses go through, and how they judge what became of it.

A scenario is a known state, one run in which something goes wrong, and what people
must have been told when all is quiet again.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta

import pytest

from lib.core.enums import Status
from lib.core.jobs import JobKey
from lib.storage import historylog
from lib.storage.history import History, Result
from tests.faults.world import NAMES, World
from tests.support.servers import SmtpMail

#: Longer than any wait between two attempts, shorter than a reminder's.
LATER = timedelta(hours=2)


@dataclass
class Tally:
    """What was found, summed over the points of a harness."""

    points: int = 0
    #: Points at which nothing went wrong, since the run had not so many calls.
    missed: int = 0
    alerts: int = 0
    lost: int = 0
    same_id: int = 0
    new_id: int = 0
    unreadable: int = 0
    stuck: int = 0
    #: Mails that were repeated more often than their back-off allows.
    hammered: int = 0
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        for each in fields(self):
            mine, theirs = getattr(self, each.name), getattr(other, each.name)
            setattr(self, each.name, mine + theirs)

    def __str__(self) -> str:
        return (
            f"{self.points - self.missed} points, "
            f"{self.lost} of {self.alerts} alerts lost, "
            f"{self.same_id + self.new_id} duplicates ({self.new_id} with a new id), "
            f"{self.unreadable} unreadable, {self.stuck} stuck"
        )


@dataclass(frozen=True)
class Scenario:
    """What is prepared, what the run with the fault meets, and what must be told."""

    name: str
    prepare: Callable[[World], None]
    meet: Callable[[World], None]
    #: With the name of a lamp, how the mail says it.
    notified: str
    lamps: int = 3
    reminds: bool = False
    #: What changes at once goes into one file first, however little it is.
    in_batches: bool = False
    #: What the run that the fault meets ends with, if there is no fault.
    code: int = 0
    #: The kind of the channel by which alerts leave; empty: by mail.
    channel: str = ""
    #: Says what is missing of what must be kept; empty: nothing.
    misses: Callable[[World], str] | None = None
    #: In the run in which something goes wrong nobody is to be notified.
    is_silent: bool = False
    #: What else must be said of each lamp, be it in another mail.
    also: str = ""

    def set_up(self, world: World) -> None:
        """Bring the world to the state the scenario begins with, and keep it."""
        if self.in_batches:
            world.make_batches()
        shutil.rmtree(world.state)
        world.state.mkdir(mode=0o700)
        world.server.mails.clear()
        world.lamps(self.lamps, reminds=self.reminds, channel=self.channel)
        self.prepare(world)
        world.keep()
        self.begin(world)

    def begin(self, world: World) -> None:
        """Go back to the beginning."""
        world.restore()
        self.meet(world)

    def judge(
        self,
        world: World,
        point: str,
        heard: Sequence[SmtpMail] = (),
        *,
        is_readable: bool = True,
    ) -> Tally:
        """Return what is to be said of a fault after normal runs until all is quiet.

        ``heard`` are mails that a server took before, if not the world's.  Not
        ``is_readable``: a mute that the disk would not read holds nothing back.
        """
        world.mail(up=True)
        world.settings(usable=True)
        tally = Tally(points=1, alerts=self.lamps)
        if self.is_silent and is_readable and (heard or world.server.mails):
            tally.new_id += 1
            tally.faults.append(f"{self.name}: {point}: notified in silence")
        for _ in range(4):
            world.pass_time(LATER)
            code, said = world.run()
            if code == 0 and not world.queued():
                break
        else:
            tally.stuck = 1
            tally.faults.append(f"{self.name}: {point}: stuck: {code} {said[:500]}")
        if any((world.state / "quarantine").glob("*")) or "is unknown" in said:
            tally.unreadable = 1
            tally.faults.append(f"{self.name}: {point}: unreadable: {said[:500]}")
        if self.misses is not None and (missing := self.misses(world)):
            tally.unreadable = 1
            tally.faults.append(f"{self.name}: {point}: {missing}")
        mails = [*heard, *world.server.mails]
        wanted = [one for one in (self.notified, self.also) if one]
        for words in (
            one.format(name=name) for name in NAMES[: self.lamps] for one in wanted
        ):
            ids = Counter(_id(mail) for mail in mails if words in _text(mail))
            if not ids:
                tally.lost += 1
                tally.faults.append(f"{self.name}: {point}: lost: {words}")
            if len(ids) > 1:
                tally.new_id += len(ids) - 1
                tally.faults.append(f"{self.name}: {point}: told anew: {words}")
            tally.same_id += ids.total() - len(ids)
        return tally


def _id(mail: SmtpMail) -> str:
    return str(mail.parsed["Message-ID"])


def _text(mail: SmtpMail) -> str:
    # A digest lists the subjects in its body; they may be folded.
    return " ".join(f"{mail.subject}\n{mail.body}".split())


# The scenarios.


def _all_lit(world: World) -> None:
    world.mail(up=True)
    world.light(on=True)
    world.run()


def _alerted(world: World) -> None:
    world.mail(up=True)
    world.light(on=False)
    world.run()


def _alerted_yesterday(world: World) -> None:
    _alerted(world)
    world.pass_time(timedelta(hours=25))


def _owing(world: World) -> None:
    world.mail(up=False)
    world.light(on=False)
    world.run()
    world.pass_time(LATER)


def _asked_for_a_mute(world: World) -> None:
    _all_lit(world)
    # It is over when time has passed.
    ran = world.instance.run("-m", "mute", "Lamps", "--for", "1h")
    assert ran.code == 0, ran.err


def _owing_a_summary(world: World) -> None:
    """Have a summary due, the first."""
    clock = (datetime.now(UTC) - timedelta(minutes=3)).astimezone()
    world.instance.add(f"[summary]\ndaily = {clock:%H:%M}\n")
    _all_lit(world)
    world.pass_time(timedelta(days=1))


def _goes_dark(world: World) -> None:
    world.mail(up=True)
    world.light(on=False)


def _goes_dark_without_mail(world: World) -> None:
    world.mail(up=False)
    world.light(on=False)


def _goes_dark_without_settings(world: World) -> None:
    _goes_dark(world)
    world.settings(usable=False)


def _goes_dark_with_new_settings(world: World) -> None:
    _goes_dark(world)
    world.change_settings()


def _awaiting_heartbeats(world: World) -> None:
    world.await_beats(3)
    world.beat(3, code=0)
    _all_lit(world)


def _heartbeats_fail(world: World) -> None:
    _lights_up(world)
    world.beat(3, code=5)


def _following_logs(world: World) -> None:
    world.follow_logs(3)
    world.write_logs(3, goes_on=False)
    _all_lit(world)


def _lines_come(world: World) -> None:
    _lights_up(world)
    world.write_logs(3, goes_on=True)


def _lights_up(world: World) -> None:
    world.mail(up=True)
    world.light(on=True)


#: When there were results before the run: of three days, and of the hour before.
_HOURS_AGO = (50, 49, 26, 25, 1)


def _keys_of_lamps() -> list[JobKey]:
    """Return the jobs that the history is asked about."""
    return [JobKey("Lamps", f"Lamp|{name}") for name in NAMES[:3]]


def _lit_for_days(world: World) -> None:
    """Have a history of which hours and days are over, and changes to be packed."""
    _all_lit(world)
    shutil.rmtree(world.state / "history")
    now = world.history_at = time.time()
    keys = _keys_of_lamps()
    for hours in _HOURS_AGO:
        results = [
            Result.of(key, Status.OK, "", 0.5, {"light": hours * 1.5}, "", b"{}", 150.0)
            for key in keys
        ]
        historylog.record(world.state, UTC, now - 3600 * hours, results)
    changes = world.state / "history" / "changes.log"
    shutil.copy(changes, changes.with_name("changes-00000000001.log"))


def _missing_of_history(world: World) -> str:
    """Return which results of before, or of the runs since, cannot be read."""
    history = History(world.state, UTC)
    expected = [world.history_at - 3600 * hours for hours in _HOURS_AGO]
    for key in _keys_of_lamps():
        rows = history.rows(key, 0.0, time.time() + 3600)
        before = [row.at for row in rows if row.values]
        if before != pytest.approx(expected, abs=0.001):
            return f"history: of {key} there are {before}"
        if len(rows) == len(before):
            return f"history: no run since is in that of {key}"
        if Status.OK not in [change.status for change in history.changes(key)]:
            return f"history: the changes of {key} are missing"
    return ""


ALERT, AGAIN, STILL = "{name} is failing", "{name} is OK again", "{name} is still"
BEAT = "heartbeat {name} is failing: it ended with 5"
LINES = "2 lines match: ERROR {name} 1 ERROR {name} 1 ERROR {name} 2"
#: Another one may be due by the time that all is quiet; it has another number.
SUMMARY = "daily summary 1: all OK"

SCENARIOS = {
    one.name: one
    for one in (
        Scenario("first alert", _all_lit, _goes_dark, ALERT),
        Scenario("recovery", _alerted, _lights_up, AGAIN),
        Scenario("reminder", _alerted_yesterday, _goes_dark, STILL, reminds=True),
        Scenario("digest", _all_lit, _goes_dark, ALERT, lamps=6),
        Scenario("mail down", _all_lit, _goes_dark_without_mail, ALERT),
        Scenario("mail coming back", _owing, _goes_dark, ALERT),
        Scenario(
            "last usable settings",
            _all_lit,
            _goes_dark_without_settings,
            ALERT,
            code=1,
        ),
        Scenario("settings to copy", _all_lit, _goes_dark_with_new_settings, ALERT),
        Scenario(
            "first alert in a batch", _all_lit, _goes_dark, ALERT, in_batches=True
        ),
        Scenario("recovery in a batch", _alerted, _lights_up, AGAIN, in_batches=True),
        Scenario("mute", _asked_for_a_mute, _goes_dark, ALERT, is_silent=True),
        Scenario("summary", _owing_a_summary, _lights_up, SUMMARY, lamps=1),
        Scenario("heartbeats", _awaiting_heartbeats, _heartbeats_fail, BEAT),
        Scenario("logs", _following_logs, _lines_come, LINES),
        Scenario(
            "history", _lit_for_days, _goes_dark, ALERT, misses=_missing_of_history
        ),
        Scenario("webhook", _all_lit, _goes_dark, ALERT, channel="webhook"),
        Scenario("command", _all_lit, _goes_dark, ALERT, channel="command"),
        Scenario("webhook coming back", _owing, _goes_dark, ALERT, channel="webhook"),
        Scenario(
            "bundle by a command", _all_lit, _goes_dark, ALERT, 6, channel="command"
        ),
    )
}


class Deadline:
    """The end of what a harness may take; with no length there is none."""

    def __init__(self, length_s: float | None) -> None:
        self._began = time.monotonic()
        self._length_s = length_s

    @property
    def is_over(self) -> bool:
        return self._length_s is not None and self.taken_s > self._length_s

    @property
    def taken_s(self) -> float:
        return time.monotonic() - self._began

"""Stories of heartbeats: what a job reported, and what it amounts to."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from itertools import count
from zoneinfo import ZoneInfo

import pytest
from msgspec.structs import replace

from lib.core import heartbeats
from lib.core.enums import Status
from lib.core.heartbeats import Clock, Event, Rule, State, What, Words

BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
HOURLY = Rule(3600.0, UTC, grace=600.0)
NIGHTLY = Rule("30 2 * * *", BERLIN, grace=600.0)


class Story:
    """A heartbeat, and a clock that is turned on by hand."""

    def __init__(self, rule=HOURLY, at=NOON):
        self.rule, self.at = rule, at
        self.booted_at = at - timedelta(days=9)
        self.offset = 0.0
        self.memory = heartbeats.begun(self.clock)
        self._files, self._runs = count(), count()

    @property
    def clock(self):
        return Clock(self.at.timestamp(), self.offset, self.booted_at.timestamp())

    def wait(self, **length):
        self.at += timedelta(**length)
        return self.judge()

    def until(self, hour, minute=0, day=None, zone=BERLIN, fold=0):
        local = self.at.astimezone(zone)
        self.at = local.replace(
            day=day or local.day, hour=hour, minute=minute, second=0, fold=fold
        ).astimezone(UTC)
        return self.judge()

    def start(self, **facts):
        run = f"run{next(self._runs)}"
        self.take(self.event(What.START, run=run, pid=7, **facts))
        return run

    def end(self, run="", code=0, **facts):
        code = None if facts.get("signal") or facts.get("failed") else code
        self.take(self.event(What.END, run=run, code=code, **facts))
        return self.judge()

    def event(self, what, **facts):
        return Event("job", what, self.at.timestamp(), **facts)

    def take(self, *events, gone=(), present=()):
        named = {f"file{next(self._files)}": event for event in events}
        now = self.clock.now
        self.memory = heartbeats.steadied(self.memory, self.clock)
        self.memory = heartbeats.applied(self.memory, named, now, gone, present)
        return named

    def run(self, **length):
        """Start, and end well after some time."""
        run = self.start()
        self.at += timedelta(**length)
        return self.end(run)

    def judge(self):
        self.memory = heartbeats.steadied(self.memory, self.clock)
        judgement = heartbeats.judge(self.memory, self.rule, self.clock)
        self.memory = replace(self.memory, missed=judgement.missed)
        return judgement

    def off(self, **length):
        """The machine is off, and has just been started."""
        self.at += timedelta(**length)
        self.booted_at = self.at
        self.offset += timedelta(**length).total_seconds()
        return self.judge()

    def set_clock(self, **length):
        self.at += timedelta(**length)
        self.booted_at += timedelta(**length)
        self.offset += timedelta(**length).total_seconds()
        return self.judge()


def states(judgement):
    return judgement.state, judgement.status


# In time.


def test_a_new_one_waits_for_a_period_and_its_grace():
    story = Story()
    assert states(story.judge()) == (State.NEW, Status.OK)
    assert states(story.wait(minutes=65)) == (State.LATE, Status.OK)
    down = story.wait(minutes=6)
    assert states(down) == (State.DOWN, Status.FAILING)
    assert "it has never run" in down.reason


def test_it_is_started_up_late_down_and_up_again():
    story = Story()
    run = story.start()
    assert states(story.judge()) == (State.STARTED, Status.OK)
    story.wait(minutes=5)
    assert states(story.end(run)) == (State.UP, Status.OK)
    assert states(story.wait(minutes=56)) == (State.LATE, Status.OK)
    down = story.wait(minutes=10)
    assert states(down) == (State.DOWN, Status.FAILING)
    assert down.reason == (
        "down: no run since 2026-11-29 12:00 UTC; it was due 2026-11-29 13:00 UTC and "
        "10 minutes of grace are over"
    )
    assert states(story.run(minutes=1)) == (State.UP, Status.OK)


def test_a_period_counts_from_start_to_start():
    story = Story()
    for _ in range(3):
        assert story.run(minutes=50).status is Status.OK
        assert story.wait(minutes=10).status is Status.OK


def test_a_ping_without_a_start_counts_as_its_own():
    story = Story()
    story.end()
    assert story.wait(minutes=69).status is Status.OK
    assert story.wait(minutes=2).status is Status.FAILING


@pytest.mark.parametrize(
    ("period", "grace"), [(60.0, 300.0), (7200.0, 1800.0), (86400.0, 3600.0)]
)
def test_the_grace_is_a_quarter_of_the_period_within_limits(period, grace):
    assert heartbeats.grace_of(Rule(period), 0.0) == grace


def test_runs_more_than_asked_for_early_or_side_by_side_are_no_trouble():
    story = Story()
    first, second = story.start(), story.start()
    assert story.judge().status is Status.OK
    assert story.end(second).status is Status.OK
    assert story.end(first).status is Status.OK
    assert story.run(minutes=1).status is Status.OK
    assert story.memory.open == ()


# How it ended.


@pytest.mark.parametrize(
    ("facts", "status", "said"),
    [
        ({"code": 0}, Status.OK, ""),
        ({"code": 24}, Status.OK, ""),
        ({"code": 3}, Status.WARNING, "it ended with 3"),
        ({"code": 1}, Status.FAILING, "it ended with 1"),
        ({"signal": "SIGKILL"}, Status.FAILING, "it was ended by SIGKILL"),
        ({"failed": True}, Status.FAILING, "it said that it failed"),
        ({"code": 127, "trouble": "x: No such file"}, Status.FAILING, "x: No such"),
    ],
)
def test_how_a_run_ended_decides(facts, status, said):
    rule = replace(HOURLY, exit_ok=((0, 0), (20, 30)), exit_warn=((3, 3),))
    story = Story(rule)
    judgement = story.end(story.start(), **facts)
    assert judgement.status is status
    assert judgement.reason.startswith(said)


def test_a_failure_lasts_until_a_run_ends_well():
    story = Story()
    story.end(story.start(), code=2)
    run = story.start()
    assert story.wait(minutes=1).status is Status.FAILING
    assert story.end(run).status is Status.OK


def test_words_of_the_output_show_that_nothing_was_done():
    words = Words(re.compile("does not exist, skipping"), Status.FAILING, "it is gone")
    story = Story(replace(HOURLY, words=(words,)))
    output = "open\n/srv does not exist, skipping\ndone\n"
    judgement = story.end(program="restic", output=output)
    assert judgement.status is Status.FAILING
    assert judgement.reason == (
        "restic ended well 2026-11-29 12:00 UTC, but its output says '/srv does not "
        "exist, skipping': it is gone"
    )
    assert story.end(output="done\n").status is Status.OK
    assert story.end(output=None).status is Status.OK


def test_words_that_must_be_there():
    story = Story(replace(HOURLY, expected=(re.compile("^done$", re.M),)))
    assert story.end(output="x\ndone\n").status is Status.OK
    assert "lacks '^done$'" in story.end(output="x\n").reason


# No end.


def test_a_run_that_was_killed_is_failing_once_its_process_is_gone():
    story = Story()
    run = story.start()
    story.wait(minutes=1)
    story.take(gone=[run])
    judgement = story.judge()
    assert states(judgement) == (State.DOWN, Status.FAILING)
    assert "never ended: its process is gone" in judgement.reason
    # The next one is under way, and ends well.
    run = story.start()
    assert story.judge().status is Status.FAILING
    assert story.end(run).status is Status.OK


def test_an_end_that_comes_late_is_believed():
    story = Story()
    run = story.start()
    story.take(gone=[run])
    assert story.end(run).status is Status.OK


def test_a_run_elsewhere_must_end_before_the_next_one_is_due():
    story = Story()
    story.take(story.event(What.START, run="far"))
    assert story.wait(minutes=60).status is Status.OK
    for _ in range(2):
        story.run(seconds=1)
        story.wait(minutes=5)
    assert "never ended" in story.judge().reason


def test_a_run_that_is_too_long_is_failing_before_it_ends():
    story = Story(replace(HOURLY, longest=600.0, warn_longest=300.0))
    story.start()
    assert story.wait(minutes=4).status is Status.OK
    assert story.wait(minutes=2).status is Status.WARNING
    first = story.wait(minutes=5)
    assert first.status is Status.FAILING
    assert "has not ended within 10 minutes" in first.reason
    # The record is not to be written each minute.
    assert story.wait(minutes=1).reason == first.reason


# Events in any order, and twice.


def test_an_event_that_is_read_again_changes_nothing():
    story = Story()
    named = story.take(story.event(What.START, run="a"), story.event(What.END, run="a"))
    again = heartbeats.applied(story.memory, named, story.clock.now)
    assert again is story.memory


def test_what_was_applied_is_remembered_as_long_as_it_may_lie_there():
    story = Story()
    first = story.take(story.event(What.END))
    second = story.take(story.event(What.END), present=first)
    third = story.take(story.event(What.END), present=second)
    assert set(story.memory.applied) == {*second, *third}


def test_start_and_end_may_come_in_any_order():
    story = Story()
    end = replace(story.event(What.END, run="a", code=0), at=story.clock.now - 5)
    story.take(end, story.event(What.START, run="a"))
    assert story.memory.open == ()
    story.take(story.event(What.END, run="b"))
    story.take(story.event(What.START, run="b"))
    assert story.memory.open == ()


def test_the_last_of_many_decides():
    story = Story()
    events = []
    for code, minute in ((1, 0), (0, 2), (1, 1)):
        at = story.clock.now + 60 * minute
        events.append(replace(story.event(What.END, code=code), at=at))
    story.take(*events)
    assert story.judge().status is Status.OK


def test_what_is_remembered_stays_small():
    story = Story()
    for number in range(100):
        story.take(story.event(What.START, run=f"r{number}"), present=["file0"])
    assert len(story.memory.open) == heartbeats.MOST_OPEN
    assert len(story.memory.applied) <= 2


# Clocks, nights and machines that were off.


def test_a_machine_that_was_off_for_a_day_is_not_late_when_it_is_back():
    story = Story()
    story.run(minutes=1)
    assert story.off(days=1).status is Status.OK
    assert story.wait(minutes=69).status is Status.OK
    assert story.wait(minutes=2).status is Status.FAILING


def test_a_daily_job_that_the_machine_slept_through_is_told_after_two_hours():
    story = Story(replace(NIGHTLY, grace=None), NOON)
    story.run(minutes=1)
    assert story.off(hours=21).status is Status.OK
    assert story.wait(minutes=119).status is Status.OK
    assert "due 2026-11-30 01:30 UTC" in story.wait(minutes=2).reason


def test_a_boot_is_no_recovery_of_what_was_down():
    story = Story()
    story.run(minutes=1)
    assert story.wait(hours=2).status is Status.FAILING
    assert story.off(hours=1).status is Status.FAILING
    assert story.run(minutes=1).status is Status.OK


def test_a_boot_after_the_start_that_was_due_changes_nothing():
    story = Story()
    story.off(minutes=10)
    story.run(minutes=1)
    assert story.wait(minutes=72).status is Status.FAILING


@pytest.mark.parametrize("days", [1, 400])
def test_a_clock_that_is_set_forward_makes_nothing_late(days):
    story = Story()
    story.run(minutes=1)
    assert story.set_clock(days=days).status is Status.OK
    assert story.wait(minutes=59).status is Status.OK
    assert story.run(minutes=1).status is Status.OK
    assert story.set_clock(days=-days).status is Status.OK
    assert story.wait(minutes=80).status is Status.FAILING


def test_a_clock_that_is_set_back_hides_nothing():
    story = Story()
    story.run(minutes=1)
    story.set_clock(days=-1)
    assert story.wait(minutes=60).status is Status.OK
    # The grace, and an hour that is waited for after the clock was set.
    assert story.wait(minutes=11).status is Status.FAILING


def test_a_clock_that_is_set_back_during_a_run_does_not_keep_it_open():
    story = Story()
    run = story.start()
    story.set_clock(hours=-2)
    assert states(story.end(run)) == (State.UP, Status.OK)


def test_a_start_a_little_early_by_another_clock_is_that_one():
    story = Story(NIGHTLY, datetime(2026, 11, 29, 1, 29, 40, tzinfo=UTC))
    story.run(minutes=5)
    assert story.until(3).state is State.UP


def nights(month, day):
    """Return a story at noon before a night, and the rule of that zone."""
    return Story(NIGHTLY, datetime(2026, month, day, 12, tzinfo=BERLIN).astimezone(UTC))


def test_the_night_that_lacks_half_past_two_expects_it_at_three():
    story = nights(3, 28)
    story.run(minutes=1)
    # 03:00 is 01:00 UTC, an hour after 01:00.
    assert story.until(3, 9, day=29).state is State.LATE
    story.until(3, 0, day=29)
    assert states(story.run(minutes=1)) == (State.UP, Status.OK)
    assert story.until(12, 0, day=29).status is Status.OK


def test_that_night_it_is_missed_like_any_other():
    story = nights(3, 28)
    story.run(minutes=1)
    assert story.until(3, 11, day=29).status is Status.FAILING


def test_the_night_that_has_half_past_two_twice_expects_it_once():
    story = nights(10, 24)
    story.run(minutes=1)
    story.until(2, 30, day=25)
    story.run(minutes=1)
    assert story.until(2, 45, day=25, fold=1).status is Status.OK
    assert story.until(12, 0, day=25).status is Status.OK


def test_in_that_night_the_second_one_alone_is_late():
    story = nights(10, 24)
    story.run(minutes=1)
    assert story.until(2, 41, day=25).status is Status.FAILING
    story.until(2, 30, day=25, fold=1)
    assert story.run(minutes=1).status is Status.OK


def test_what_debians_cron_makes_up_for_is_no_trouble():
    # 15,45 2 * * * starts twice in the same second, at 03:00 of the spring night.
    story = Story(
        replace(NIGHTLY, period="15,45 2 * * *"),
        datetime(2026, 3, 28, 1, 45, tzinfo=UTC),
    )
    story.run(minutes=1)
    story.until(3, 0, day=29)
    first, second = story.start(), story.start()
    story.wait(seconds=20)
    story.end(first)
    assert states(story.end(second)) == (State.UP, Status.OK)
    assert story.until(12).status is Status.OK
    assert story.until(2, 14, day=30).status is Status.OK
    assert story.until(2, 26, day=30).status is Status.FAILING


def test_wildcards_of_an_hour_that_is_skipped_expect_nothing_that_day():
    story = Story(
        replace(NIGHTLY, period="*/30 2 * * *"),
        datetime(2026, 3, 28, 1, 30, tzinfo=UTC),
    )
    story.run(minutes=1)
    assert story.until(23, 0, day=29).state is State.UP
    assert story.until(2, 20, day=30).status is Status.FAILING


def test_a_user_who_is_not_believed_is_named():
    story = Story()
    story.memory = replace(story.memory, refused="root")
    assert "set user = root" in story.wait(hours=2).reason


def test_a_thousand_are_judged_in_next_to_no_time():
    stories = []
    for number in range(1000):
        period = f"{number % 60} {number % 24} * * *" if number % 2 else 3600.0
        story = Story(replace(HOURLY, period=period, grace=None))
        story.run(minutes=number % 7)
        stories.append(story)

    def took():
        began = time.thread_time()
        for story in stories:
            heartbeats.judge(story.memory, story.rule, story.clock)
        return time.thread_time() - began

    assert min(took() for _ in range(5)) < 0.03


# What few of the stories above would notice.


def test_a_job_killed_anew_after_a_good_end_is_not_forgotten():
    story = Story()
    first = story.start()
    story.at += timedelta(minutes=5)
    second = story.start()
    story.take(gone={second})
    # The first ends: it began before the one that was killed.
    assert "never ended" in story.end(first).reason
    assert story.run(minutes=1).status is Status.OK


def test_an_end_of_another_clock_in_the_future_counts_as_now():
    story = Story()
    ahead = story.at.timestamp() + 7200
    story.take(Event("job", What.END, ahead, code=0))
    assert story.judge().due_at == story.at.timestamp() + 3600
    story.wait(minutes=65)
    assert story.wait(minutes=6).status is Status.FAILING


def test_of_very_many_runs_side_by_side_the_last_are_remembered():
    story = Story()
    runs = [story.start() for _number in range(heartbeats.MOST_OPEN + 2)]
    assert [one.run for one in story.memory.open] == runs[2:]


def test_the_oldest_of_two_runs_is_the_one_that_is_too_long():
    story = Story(replace(HOURLY, longest=600.0))
    story.start()
    story.at += timedelta(minutes=9)
    story.start()
    assert "too long: started 2026-11-29 12:00" in story.wait(minutes=2).reason


def test_an_end_that_is_dated_before_its_start_is_its_end():
    story = Story()
    start = story.event(What.START, run="a", pid=7)
    end = replace(story.event(What.END, run="a", code=0), at=start.at - 1)
    story.take(end, start)
    assert (story.memory.open, story.memory.last.seconds) == ((), 0.0)


def test_a_run_whose_process_is_known_may_take_longer_than_the_period():
    story = Story()
    story.start()
    story.wait(minutes=50)
    story.start()
    assert story.wait(minutes=65).status is Status.OK


def test_what_was_due_right_after_a_boot_is_waited_for_from_then():
    story = Story(replace(HOURLY, period=60.0, grace=60.0))
    story.booted_at = story.at
    story.at += timedelta(seconds=50)
    story.run(seconds=1)
    # Due at 111 s after the boot, with the grace until 171 s.
    assert story.wait(seconds=110).status is Status.OK
    assert story.wait(seconds=20).status is Status.FAILING


def test_after_a_boot_a_job_is_waited_for_until_its_next_time():
    story = Story(replace(HOURLY, period="*/10 * * * *", grace=60.0))
    story.run(minutes=1)
    story.at += timedelta(hours=5, minutes=2)
    story.booted_at = story.at
    # The next time is at 17:10, not after an hour.
    assert story.wait(minutes=7).status is Status.OK
    assert story.wait(minutes=3).status is Status.FAILING


def test_a_failure_comes_before_a_warning():
    rule = replace(HOURLY, exit_warn=((1, 1),))
    story = Story(rule)
    story.end(story.start(), code=1)
    assert story.judge().status is Status.WARNING
    judgement = story.wait(hours=2)
    assert judgement.status is Status.FAILING
    assert judgement.reason.startswith("down: no run since")
    assert "ended with 1" in judgement.reason

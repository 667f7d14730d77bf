"""The soak in short; what is wrong is found; and how its mails are read."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.utils import format_datetime

import pytest

from lib.core.text import mail_time
from tests.faults.mutants import Planted
from tests.faults.reference import FAILING, OK
from tests.faults.soak_mails import DOUBT, Arrived, Reader, compare
from tests.faults.soak_model import STILL, News
from tests.faults.soak_plan import HOURS, WEEK, ZONE, Mail, plan
from tests.faults.soak_run import soak
from tests.faults.soak_world import COUNTED
from tests.faults.table import LONG, measured, seed
from tests.support.instance import CHECKER
from tests.support.servers import SmtpMail

YEAR = datetime.now(UTC).year + 1


# The short form.


@pytest.mark.integration
@pytest.mark.fault("X8", "soak, some hours: kills, a mail outage, both changes of DST")
def test_some_hours_miss_nothing_and_leave_nothing_behind(tmp_path):
    result = soak(tmp_path, HOURS, seed(), YEAR)
    measured(
        f"{result.minutes} minutes, {result.real} real starts, "
        f"{len(result.killed)} killed: {result.news} news, 0 lost"
    )
    assert not result.faults, "\n".join(result.faults)
    assert result.minutes == HOURS.minutes
    assert result.killed and result.news > 10 and len(result.held) == 2
    assert result.decided >= 10


STOP = "    stop = Stop()\n"
#: The lock that cron's run gives back; -m check has one of its own.
UNLOCK = """\
        # Of one that is killed the kernel takes it back.
        state.unlock()
"""
# The file need not import what is planted.
LEFT = (
    "        if __import__('os').fork() == 0:\n"
    "            __import__('time').sleep(2)\n"
    "            __import__('os')._exit(0)\n"
)
KEPT = "    logger.__dict__.setdefault('kept', []).append(b'x' * 100_000)\n"
MADE = "    (settings.state / f'run-{now():%m%d%H%M}').touch()\n"
CHANGED = "msgspec.structs.replace"
TWO = f"{CHANGED}(job.policy.failures, count=2)"
OTHER_POLICY = f"{CHANGED}(job.policy, failures={TWO})"
#: What is planted: its name, where, what instead of what; and what is said of it.
WRONG = {
    Planted(name, file, ((old, new),)): said
    for name, file, old, new, said in (
        (
            "a file stays",
            "lib/runner/run.py",
            STOP,
            STOP + MADE,
            "a file more: state/run-",
        ),
        (
            "a descriptor stays open",
            "lib/runner/run.py",
            UNLOCK,
            "        pass\n",
            "descriptors",
        ),
        ("memory is kept", "lib/runner/run.py", STOP, STOP + KEPT, "memory: "),
        ("a process stays", "lib/runner/run.py", UNLOCK, UNLOCK + LEFT, "left behind"),
        (
            "a mail is given up after three attempts",
            "lib/alerting/results.py",
            "return AttemptResult(kept)",
            "return AttemptResult(kept if kept.attempts < 3 else None)",
            "lost: ",
        ),
        (
            "a missed hour is not caught up",
            "lib/core/schedule.py",
            "    JobFrequency.HOUR: timedelta(minutes=66),",
            "    JobFrequency.HOUR: timedelta(days=3650),",
            "'Hourly': 0",
        ),
        (
            "the history names another policy",
            "lib/storage/historyrows.py",
            "as_part(Terms(*parts))",
            f"as_part(Terms({OTHER_POLICY}, *parts[1:]))",
            "replayed otherwise: ",
        ),
    )
}
EVERYTHING = list(WRONG)


@pytest.mark.long
@pytest.mark.parametrize("wrong", EVERYTHING, ids=lambda one: one.name)
def test_what_is_wrong_can_be_planted(tmp_path, wrong):
    text = (wrong.plant(tmp_path) / wrong.file).read_text()
    compile(text, wrong.file, "exec")


if LONG:
    # Each is a soak of its own.
    @pytest.mark.fault("X8", "soak: what leaks, or is missed, is found")
    @pytest.mark.parametrize("wrong", EVERYTHING, ids=lambda one: one.name)
    def test_what_is_wrong_is_found(tmp_path, wrong):
        program, world = tmp_path / "program", tmp_path / "world"
        program.mkdir()
        world.mkdir()
        result = soak(world, HOURS, seed(), YEAR, wrong.plant(program))
        found = [one for one in result.faults if WRONG[wrong] in one]
        assert found, f"nobody notices: {wrong.name}: {result.faults}"
        measured(wrong.name)


#: Of each page of small objects one stays.
PIECES = """
from tests.faults.soak_minutes import held
before = held()["in_use"]
kept = [bytes(400) for _ in range(50_000)][::100]
print(held()["in_use"] - before)
"""


def test_memory_is_held_as_far_as_it_is_in_use():
    done = subprocess.run(
        [sys.executable, "-c", PIECES],
        cwd=CHECKER.parent,
        env={**os.environ, **COUNTED},
        capture_output=True,
        text=True,
        check=True,
    )
    assert 500 * 400 < int(done.stdout) < 2 * 500 * 400


@pytest.mark.long
def test_the_week_is_as_long_as_is_said():
    minutes = plan(WEEK, 1, 2027)
    assert len(minutes) == 10_080
    assert sum(one.is_real for one in minutes) >= 500
    for day in range(7):
        of_day = minutes[1440 * day : 1440 * (day + 1)]
        assert sum(one.is_killed for one in of_day) == 3
    away = Counter(one.mail for one in minutes if one.mail is not Mail.TAKES)
    assert away.total() == 6 * 60 and len(away) == 2
    offsets = [one.at.astimezone(ZONE).utcoffset() for one in minutes]
    gone_over = list(zip(offsets, offsets[1:], strict=False))
    assert gone_over.count((timedelta(hours=1), timedelta(hours=2))) == 1
    assert gone_over.count((timedelta(hours=2), timedelta(hours=1))) == 1


# How mails are read.

NOON = datetime(2027, 3, 1, 12, tzinfo=UTC)
READER = Reader(["Lamp ant", "Lamp bee", "Reminds"])
NEVER = (NOON - timedelta(days=2), NOON - timedelta(days=1))


def at(minute):
    return NOON + timedelta(minutes=minute)


def news(*events, job="Lamp ant"):
    return [News(at(minute), job, word) for minute, word in events]


def mail(minute, subject, body="", identity=None, came=0):
    found = EmailMessage()
    found["Date"] = format_datetime(at(minute))
    found["Subject"] = f"[web1] {subject}"
    found["Message-ID"] = identity or f"<{minute} {subject}>"
    found.set_content(body + "\n")
    taken = SmtpMail("", (), found.as_bytes(), "")
    return Arrived(at(minute + came), taken)


def line(minute, text):
    return f"    {mail_time(at(minute), ZONE)}  {text}"


def wrong(happened, mails, trouble=NEVER, kills=()):
    return compare(happened, mails, READER, trouble, kills).faults


DARK, LIT = "Lamp ant is failing: it is dark", "Lamp ant is OK again after 2 minutes"
FLAPS = news((0, FAILING), (2, OK), (3, FAILING), (5, OK))


def test_what_is_reported_in_its_minute_is_as_it_should_be():
    assert not wrong(FLAPS[:2], [mail(0, DARK), mail(2, LIT)])


def test_what_was_not_reported_is_lost():
    assert "lost" in wrong(FLAPS[:2], [mail(0, DARK)])[0]


def test_what_was_not_so_is_not_to_be_reported():
    assert "what was not" in wrong(FLAPS[:1], [mail(0, DARK), mail(2, LIT)])[0]


@pytest.mark.parametrize(
    ("minute", "subject"),
    [
        (5, "Lamp ant is OK again; it failed 2 times in 5 minutes"),
        (3, "Lamp ant is failing: it is dark (the 2nd time in 3 minutes)"),
    ],
)
def test_a_line_of_a_bundle_may_stand_for_several_news(minute, subject):
    until = [one for one in FLAPS if one.at <= at(minute)]
    assert not wrong(until, [mail(5, "2 failing", line(minute, subject))])


@pytest.mark.parametrize(
    ("minute", "subject"),
    [
        (3, "Lamp ant is failing: it is dark (again)"),
        (5, "Lamp ant is OK again; it failed 1 more time in 2 minutes"),
    ],
)
def test_who_hears_that_it_fails_again_knows_that_it_was_ok(minute, subject):
    until = [one for one in FLAPS if one.at <= at(minute)]
    mails = [mail(0, DARK), mail(9, "1 failing", line(minute, subject))]
    assert not wrong(until, mails)


def test_a_mail_that_comes_again_is_wrong_unless_a_run_was_killed():
    mails = [mail(0, DARK, identity="<one>"), mail(0, DARK, identity="<one>", came=1)]
    assert "no run was killed" in wrong(FLAPS[:1], mails)[0]
    assert not wrong(FLAPS[:1], mails, kills=[at(0)])
    mails[1] = mail(0, DARK, "other words", identity="<one>", came=1)
    assert "not the same" in wrong(FLAPS[:1], mails, kills=[at(0)])[0]


def test_news_under_another_name_is_wrong_unless_the_mail_says_so():
    mails = [mail(0, DARK), mail(0, DARK, identity="<another>", came=1)]
    assert "told anew" in wrong(FLAPS[:1], mails, kills=[at(0)])[0]
    mails[1] = mail(0, DARK, f"{DOUBT}.", identity="<another>", came=1)
    assert not wrong(FLAPS[:1], mails, kills=[at(0)])
    assert "told anew" in wrong(FLAPS[:1], mails)[0]


def test_only_while_mail_is_away_news_may_be_late_and_reminders_left_out():
    happened = news((0, FAILING), (10, STILL), (20, STILL), job="Reminds")
    first = mail(0, "Reminds is failing: it is dark", came=30)
    last = mail(20, "Reminds is still failing: it is dark", came=10)
    assert not wrong(happened, [first, last], trouble=(at(0), at(20)))
    assert [one.partition(":")[0] for one in wrong(happened, [first, last])] == [
        "told only at 2027-03-01 12",
        "promised, and told only at 2027-03-01 12",
        "lost",
    ]


def test_a_first_alert_and_its_recovery_come_within_five_minutes():
    once = news((0, FAILING), (2, OK))
    first, end = mail(0, DARK, came=5), mail(2, LIT, came=5)
    assert not wrong(once, [first, end])
    assert "promised" in wrong(once, [mail(0, DARK, came=6), end])[0]
    assert "promised" in wrong(once, [first, mail(2, LIT, came=6)])[0]
    # After a run that was killed, and after an outage, the time begins anew.
    assert not wrong(once, [mail(0, DARK, came=6), end], kills=[at(1)])
    assert not wrong(once, [mail(0, DARK, came=6), end], trouble=(at(0), at(1)))
    # One that failed in the hour before may wait.
    again = news((0, FAILING), (2, OK), (30, FAILING))
    assert not wrong(again, [first, end, mail(30, DARK, came=6)])
    later = news((0, FAILING), (2, OK), (62, FAILING))
    assert "promised" in wrong(later, [first, end, mail(62, DARK, came=6)])[0]


def test_a_mail_that_nobody_expects_is_wrong():
    assert "nobody expects" in wrong([], [mail(0, "all is lost")])[0]
    once = mail(0, "nothing proves that mails arrive")
    again = mail(1, "nothing proves that mails arrive")
    assert not wrong([], [once])
    assert "2 times" in wrong([], [once, again])[0]

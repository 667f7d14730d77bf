"""Rows T: the clock jumps, the machine sleeps, an hour comes twice or not at all."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from lib.core.enums import JobFrequency
from lib.core.schedule import due_in
from tests.faults import rows
from tests.faults.crond import starts
from tests.faults.rows import FLAG_ALERT, job, serving, with_answer
from tests.faults.table import LONG, measured, seed
from tests.support.instance import GENERAL, Instance, flag_job
from tests.support.servers import SmtpServer

HOURLY = """\
    def notifyOnFailureEvery(self):
        return JobFailureNotificationFrequency.EVERYHOUR
"""


def cron_at(instance, handle, ordered="minute"):
    """Run when the clock shows another time than it is."""
    ran = rows.cron_at(instance, handle, ordered, "-d")
    assert ran.code == 0, ran.err
    return ran.err


def subjects(smtp):
    # Said once, by the first run of an hour.
    return [one for one in rows.subjects(smtp) if not one.startswith("nothing proves")]


NOW, YEAR = timedelta(), timedelta(days=365)


@pytest.mark.long
@pytest.mark.fault("T1", "clock forward 1 h, 1 year, and back again")
def test_t1_a_clock_that_jumps_silences_nobody_and_makes_no_burst(instance, smtp):
    flag = instance.folder / "flag"
    instance.job("Flag", flag_job(flag, hooks=HOURLY))
    cron_at(instance, NOW, "hour")
    assert subjects(smtp) == [FLAG_ALERT]
    cron_at(instance, timedelta(hours=1, minutes=1))
    assert len(subjects(smtp)) == 2
    said = cron_at(instance, YEAR)
    assert len(subjects(smtp)) == 3
    assert "missed" in said
    # Back again: at the latest an hour after it the next reminder is due.
    cron_at(instance, timedelta(minutes=2))
    assert len(subjects(smtp)) == 3
    cron_at(instance, timedelta(hours=1, minutes=4))
    assert len(subjects(smtp)) == 4
    flag.touch()
    cron_at(instance, timedelta(hours=1, minutes=5))
    # With hourly reminders no recovery is sent; see docs/alerting.md.
    assert "quiet_recovery" in (instance.state / "decisions.log").read_text()
    assert len(subjects(smtp)) == 4


def counting(instance, name, frequency):
    log = instance.folder / name
    text = job(name, f"open({str(log)!r}, 'a').write('x')\nreturn True")
    instance.job(name, text.replace("JobFrequency.MINUTE", f"JobFrequency.{frequency}"))
    return log


@pytest.mark.fault("T2", "last run in the future")
def test_t2_a_last_run_in_the_future_is_due_now(instance):
    log = counting(instance, "Hourly", "HOUR")
    cron_at(instance, YEAR, "hour")
    assert log.read_text() == "x"
    cron_at(instance, NOW)
    assert log.read_text() == "xx"
    cron_at(instance, timedelta(minutes=1))
    assert log.read_text() == "xx"


@pytest.mark.long
@pytest.mark.fault("T4", "off for 3 days")
def test_t4_after_three_days_off_each_job_runs_once(instance):
    logs = [
        counting(instance, name, frequency)
        for name, frequency in (("Hourly", "HOUR"), ("Daily", "DAY"))
    ]
    cron_at(instance, -timedelta(days=3), "day")
    said = cron_at(instance, NOW)
    assert [log.read_text() for log in logs] == ["xx", "xx"]
    assert said.count("missed") == 1
    assert "missed" not in cron_at(instance, timedelta(minutes=1))
    assert [log.read_text() for log in logs] == ["xx", "xx"]


@pytest.mark.integration
@pytest.mark.fault("T6", "the clock is stepped inside a run")
def test_t6_a_clock_that_is_stepped_inside_a_run_ends_no_job(
    instance, smtp, faked_clock
):
    clock = instance.folder / "clock"
    clock.write_text("+0s\n")
    instance.environment = {
        **faked_clock,
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
    }
    step = f"before = time.time()\nopen({str(clock)!r}, 'w').write('+1d\\n')\n"
    step += "time.sleep(1)\nreturn time.time() - before > 80000"
    instance.job("Stepping", job("Stepping", step))
    ran = instance.cron("minute", "-d")
    assert ran.code == 0
    assert "Stepping: OK" in ran.err, ran.err
    assert subjects(smtp) == []


@pytest.mark.long
@pytest.mark.fault("T7", "the starter is silent for an hour")
def test_t7_after_an_hour_without_runs_a_peer_tells_and_the_next_run_too(
    instance, smtp, tmp_path, ca, cafile
):
    with_answer(instance)
    log = counting(instance, "Hourly", "HOUR")
    cron_at(instance, -timedelta(minutes=70), "hour")
    notified = []
    with serving(instance) as url, SmtpServer(ca) as theirs:
        folder = tmp_path / "friend"
        folder.mkdir()
        peers = f"[peers]\nevery = minute\nweb1 = {url},ops@example.com\n"
        settings = theirs.email_section(cafile) + peers
        friend = Instance(folder, settings, GENERAL.replace("web1", "web2"))
        for minutes in (-69, 0, 0):
            cron_at(friend, timedelta(minutes=minutes))
            notified.append(len(theirs.mails))
        (mail,) = theirs.mails
    assert notified == [0, 0, 1]
    assert mail.to == ("ops@example.com",)
    assert "peer web1 is failing: an old answer: made 1 hour" in mail.subject
    said = cron_at(instance, NOW)
    assert "a run of hour was missed, and is caught up now" in said
    assert log.read_text() == "xx"


# Whatever cron makes of a day on which the clocks change.

CHANGES = [
    ("Europe/Berlin", "2026-03-29"),
    ("Europe/Berlin", "2026-10-25"),
    ("America/New_York", "2026-03-08"),
    ("America/New_York", "2026-11-01"),
    # Midnight is skipped, and comes twice.
    ("America/Havana", "2026-03-08"),
    ("America/Havana", "2026-11-01"),
    ("Asia/Beirut", "2026-03-29"),
    # Half an hour.
    ("Australia/Lord_Howe", "2026-04-05"),
    ("Australia/Lord_Howe", "2026-10-04"),
]


def orders(zone, day):
    """Yield what cron orders, and when, in the days around one."""
    begin = (datetime.fromisoformat(day) - timedelta(days=2)).replace(tzinfo=UTC)
    for moment, ordered in starts(ZoneInfo(zone), begin, 5 * 24 * 60):
        for one in ordered:
            yield moment, one


@pytest.mark.fault("T3", "DST both ways in 5 zones, midnight skipped, 30-minute step")
@pytest.mark.parametrize(("zone", "day"), CHANGES)
def test_t3_each_daily_job_runs_once_a_day_and_each_hourly_once_an_hour(zone, day):
    last, runs = {}, {frequency: [] for frequency in JobFrequency}
    for moment, ordered in orders(zone, day):
        for frequency in due_in(ordered, last, moment).frequencies:
            if last.get(frequency) != moment:
                runs[frequency].append(moment)
            last[frequency] = moment
    for frequency in (JobFrequency.DAY, JobFrequency.DAY_NOON):
        days = [one.astimezone(ZoneInfo(zone)).date() for one in runs[frequency]]
        assert len(days) == len(set(days)), (frequency, days)
        inner = sorted(set(days))
        assert (inner[-1] - inner[0]).days == len(inner) - 1
        assert len(inner) >= 4
    hours = runs[JobFrequency.HOUR]
    gaps = [after - before for before, after in pairwise(hours)]
    assert max(gaps) <= timedelta(minutes=68)
    # The hour that is shorter, or the one after a catch-up, may come early.
    early = [gap for gap in gaps if gap < timedelta(minutes=59)]
    assert len(early) <= 2, early


def around_midnight(zone, day):
    """Yield the orders of that night, of minute runs two an hour."""
    local = ZoneInfo(zone)
    midnight = datetime.fromisoformat(day).replace(tzinfo=local)
    for moment, ordered in orders(zone, day):
        near = -timedelta(minutes=30) < moment - midnight < timedelta(hours=4)
        if near and (ordered is not JobFrequency.MINUTE or moment.minute in (10, 40)):
            yield moment, ordered


@pytest.mark.long
@pytest.mark.fault("T3", "the night of a DST change, as cron starts it")
def test_t3_in_the_night_of_a_change_the_program_does_the_same(instance):
    chosen = CHANGES if LONG else [CHANGES[seed() % len(CHANGES)]]
    logs = {}
    for name, frequency in (("Hourly", "HOUR"), ("Daily", "DAY")):
        logs[name] = instance.folder / name
        text = f"open({str(logs[name])!r}, 'a').write(f'{{time.time()}} ')\nreturn True"
        order = f"JobFrequency.{frequency}"
        instance.job(name, job(name, text).replace("JobFrequency.MINUTE", order))
    count = 0
    for zone, day in chosen:
        instance.environment = {"TZ": zone}
        shutil.rmtree(instance.state)
        instance.state.mkdir(mode=0o700)
        night = list(around_midnight(zone, day))
        # The first run that meets the jobs runs them, whatever their frequency.
        cron_at(instance, night[0][0] - timedelta(minutes=1) - datetime.now(UTC))
        for log in logs.values():
            log.write_text("")
        for number, (moment, ordered) in enumerate(night):
            # Two of the same minute come one after the other.
            later = moment + timedelta(seconds=2 * number)
            cron_at(instance, later - datetime.now(UTC), ordered.value)
            count += 1
        hourly, daily = (
            list(map(float, log.read_text().split())) for log in logs.values()
        )
        assert len(daily) == 1, zone
        gaps = [after - before for before, after in pairwise(hourly)]
        assert len(hourly) >= 4 and max(gaps) <= 90 * 60, (zone, gaps)
        assert len([gap for gap in gaps if gap < 59 * 60]) <= 2, (zone, gaps)
    measured(f"{len(chosen)} of {len(CHANGES)} changes, {count} runs")

"""Summaries as people get them: the program as cron starts it, real mail.

A day goes by in that all that is remembered grows older.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
from datetime import UTC, datetime, timedelta

import pytest

from lib.core.jobs import JobKey
from lib.core.results import Timing
from lib.runner.summaries import (
    MAX_WAITING,
    SlowestChecks,
    read_slowest,
    slowest_of,
    write_slowest,
)
from tests.e2e.test_mailstorm import fail_many
from tests.support.approved import REAL
from tests.support.instance import NO_MAIL, Instance, flag_job
from tests.support.listeners import Listener, tls_context, write_authority

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


def ago(length):
    """Return what the clock of an instance showed then."""
    return datetime.now(UTC) - length


def daily(minutes_ago=3):
    return f"[summary]\ndaily = {ago(minutes_ago * MINUTE):%H:%M}\n"


@pytest.fixture
def mailing(tmp_path, smtp, cafile):
    return Instance(tmp_path, smtp.email_section(cafile) + daily())


#: The slowest checks come in any order.
SOME_TIME = {**REAL, r"\n +[\d.]+ s  .*": ""}


def summaries(smtp):
    return [mail for mail in smtp.mails if " summary " in mail.subject]


def numbers(smtp):
    found = [re.search(r"summary (\d+): ", mail.subject) for mail in summaries(smtp)]
    return [int(one[1]) for one in found if one]


def queued(instance):
    """Return the subjects of the summaries that are still to be sent."""
    state = instance.records().get("state", {})
    return [
        one["subject"] for one in state.get("queued", []) if one["kind"] == "summary"
    ]


def a_day_later(instance, days=1):
    instance.pass_time(days * DAY)
    return instance.cron()


# When it comes.


def test_none_comes_unless_it_is_asked_for(tmp_path, smtp, cafile):
    instance = Instance(tmp_path, smtp.email_section(cafile))
    assert instance.cron().silent
    assert a_day_later(instance).silent
    assert smtp.mails == []
    assert "state" not in instance.records()
    assert not (instance.state / "slowest.json").exists()


@pytest.mark.long
def test_it_comes_once_a_day_and_is_numbered(mailing, smtp, approved):
    assert mailing.cron().silent
    assert mailing.cron().silent
    assert smtp.mails == []
    for number in (1, 2):
        assert a_day_later(mailing).silent
        assert mailing.cron().silent
        assert numbers(smtp) == list(range(1, number + 1))
    first, second = smtp.mails
    approved(first.subject, "subject", hide=REAL)
    assert first.to == ("ops@example.com",)
    approved(first.body, "body", hide=REAL)
    assert ", daily summary 2\n" in first.body
    assert first.parsed["Message-ID"] != second.parsed["Message-ID"]
    assert "late" not in second.body
    lines = mailing.run("-m", "status").out.splitlines()
    (line,) = [line for line in lines if line.startswith("daily summary ")]
    approved(" ".join(line.split()), "3", hide=REAL)
    (daily,) = mailing.run("-m", "status", "--json").json()["summaries"]
    assert (daily["kind"], daily["number"], daily["due_since"]) == ("daily", 2, None)


@pytest.mark.long
def test_the_weekly_one_has_numbers_of_its_own(mailing, smtp, approved):
    mailing.cron()
    a_day_later(mailing)
    when = ago(3 * MINUTE)
    mailing.add(f"weekly = {when:%a} {when:%H:%M}\n".lower())
    mailing.cron()
    assert numbers(smtp) == [1]
    a_day_later(mailing)
    found = sorted(mail.subject.removeprefix("[web1] ") for mail in smtp.mails)
    approved(found, hide=REAL)


def test_after_three_days_off_one_comes_and_says_that_it_is_late(mailing, smtp):
    mailing.cron()
    assert a_day_later(mailing, days=3).silent
    assert mailing.cron().silent
    (mail,) = smtp.mails
    assert re.search(r"This summary is late: it was due \d{4}-\d\d-\d\d ", mail.body)


@pytest.mark.long
def test_switched_off_and_on_again_it_goes_on_counting(mailing, smtp):
    with_digest = mailing.settings.read_text()
    without = with_digest.partition("[summary]")[0]
    mailing.cron()
    a_day_later(mailing)
    mailing.write(without)
    a_day_later(mailing, days=5)
    mailing.write(with_digest)
    assert mailing.cron().silent
    assert numbers(smtp) == [1]
    a_day_later(mailing)
    assert numbers(smtp) == [1, 2]


def test_a_wrong_time_is_a_failing_job_and_no_summary(tmp_path):
    instance = Instance(tmp_path, f"{NO_MAIL}[summary]\ndaily = breakfast\n")
    instance.cron()
    assert "settings.cfg [summary]" in instance.records()
    assert instance.records()["settings.cfg [summary]"]["status"] == "failing"


def test_validate_says_nothing_of_a_right_one(mailing):
    ran = mailing.run("-m", "validate")
    assert (ran.code, "summary" in ran.out) == (0, False), ran.out


# What it tells.


@pytest.mark.long
def test_it_tells_what_is_failing_and_what_recovered(mailing, smtp, tmp_path, approved):
    down, up = tmp_path / "down", tmp_path / "up"
    mailing.job("Down", flag_job(down).replace("Flag", "Down"))
    mailing.job("Up", flag_job(up).replace("Flag", "Up"))
    mailing.cron()
    up.touch()
    assert a_day_later(mailing).silent
    (mail,) = summaries(smtp)
    assert mail.subject == "[web1] daily summary 1: 1 failing, 1 recovered"
    approved(mail.body, hide=SOME_TIME)
    # What this run has found is a part of it, and is not told again.
    assert a_day_later(mailing).silent
    assert "Recovered: none" in summaries(smtp)[1].body


@pytest.mark.long
def test_it_names_certificates_that_are_due(mailing, smtp, tmp_path, approved):
    folder = tmp_path / "ca"
    folder.mkdir()
    cafile = write_authority(folder)
    with (
        Listener(context=tls_context(ends=25.5)) as soon,
        Listener(context=tls_context(ends=50)) as late,
    ):
        for name, one in (("soon", soon), ("late", late)):
            mailing.add(
                f"[tls {name}]\nhost = localhost\nport = {one.port}\n"
                f"cafile = {cafile}\nevery = minute\n"
            )
        assert mailing.cron().silent
        assert a_day_later(mailing).silent
    (mail,) = smtp.mails
    approved(mail.body, hide=SOME_TIME)
    assert set(mailing.records()) >= {"tls soon", "state"}
    assert "tls late" not in mailing.records()


def test_it_counts_the_minutes_that_were_skipped(mailing, smtp, approved):
    mailing.cron()
    (mailing.state / "skipped").write_text(f"{datetime.now(UTC).isoformat()}\n" * 3)
    a_day_later(mailing)
    (mailing.state / "skipped").unlink()
    a_day_later(mailing)
    first, second = summaries(smtp)
    approved(first.body, "body", hide=REAL)
    approved(second.body, "body 2", hide=REAL)


def test_no_secret_is_in_it(mailing, smtp):
    mailing.add("[http x]\nurl = http://user:canary@127.0.0.1:1/\n")
    mailing.cron()
    a_day_later(mailing)
    (mail,) = summaries(smtp)
    assert "http x, since" in mail.body
    assert "canary" not in mail.body + json.dumps(mailing.records())


# How it leaves.


def test_it_is_a_mail_of_its_own_however_much_there_is(mailing, smtp):
    flag = fail_many(mailing, 12)
    flag.touch()
    mailing.cron()
    flag.unlink()
    assert a_day_later(mailing).silent
    bundle, summary = sorted(smtp.mails, key=lambda mail: " summary " in mail.subject)
    assert bundle.subject == "[web1] 12 failing: no route to host"
    assert summary.subject == "[web1] daily summary 1: 12 failing"


def test_it_takes_of_the_room_that_is_kept_for_checker_itself(mailing, smtp):
    flag = fail_many(mailing, 3)
    settings = mailing.settings.read_text()
    mailing.write(settings.replace("[summary]", "mailsperhour = 3\n[summary]"))
    mailing.cron()
    flag.touch()
    mailing.pass_time(DAY)
    # Nothing is left for others in this hour.
    spent = [{"name": f"m{n}", "at": datetime.now(UTC).isoformat()} for n in range(2)]
    mailing.mend(lambda send_log: send_log.update(counted=spent), "outbox.json")
    mailing.cron()
    assert numbers(smtp) == [1]


@pytest.mark.long
def test_while_mail_is_away_it_waits_and_comes_once(mailing, smtp, approved):
    mailing.cron()
    smtp.answer_data = lambda mail: "451 4.3.0 not now"
    approved(a_day_later(mailing).err, "err", hide=REAL)
    approved(queued(mailing), "2", hide=REAL)
    smtp.answer_data = lambda mail: None
    assert mailing.cron().silent
    assert smtp.mails == []
    mailing.let_time_pass_for_mails()
    assert mailing.cron().silent
    assert (numbers(smtp), queued(mailing)) == ([1], [])


@pytest.mark.long
def test_those_of_an_outage_come_one_by_one_in_their_order(mailing, smtp):
    mailing.cron()
    smtp.answer_data = lambda mail: "451 4.3.0 not now"
    for _ in range(3):
        a_day_later(mailing)
    smtp.answer_data = lambda mail: None
    mailing.let_time_pass_for_mails()
    assert mailing.cron().silent
    assert numbers(smtp) == [1, 2, 3]


def test_with_nomail_it_is_in_the_log(tmp_path, approved):
    instance = Instance(tmp_path, f"{NO_MAIL}{daily()}")
    instance.cron()
    assert a_day_later(instance).silent
    log = (instance.state / "checker.log").read_text()
    assert log.count("Subject: [web1] daily summary 1: mail problem") == 1
    approved(log, hide=REAL)
    assert queued(instance) == []


def test_a_run_without_mail_shows_it_and_leaves_it_to_one_with_mail(
    mailing, smtp, approved
):
    mailing.cron()
    mailing.pass_time(DAY)
    mailing.cron("minute", "--nomail")
    log = (mailing.state / "checker.log").read_text()
    approved(log, "log", hide=REAL)
    approved((smtp.mails, queued(mailing)), "2", hide=REAL)
    assert mailing.cron().silent
    assert numbers(smtp) == [1]


@pytest.mark.long
def test_where_no_mail_is_set_up_they_do_not_pile_up(tmp_path, smtp, cafile, approved):
    no_server = "[email]\n"
    instance = Instance(tmp_path, f"{no_server}{daily()}")
    instance.cron()
    most = MAX_WAITING
    for _ in range(most + 2):
        a_day_later(instance)
    assert len(queued(instance)) == most
    instance.write(
        instance.settings.read_text().replace(no_server, smtp.email_section(cafile))
    )
    instance.let_time_pass_for_mails()
    for _ in range(3):
        instance.cron()
    # Those that could not be written are told of by one, which is late.
    assert numbers(smtp) == list(range(1, most + 2))
    approved(summaries(smtp)[-1].body, hide=REAL)


# Crashes.


@pytest.mark.long
def test_killed_while_it_is_sent_it_goes_again_as_the_same_mail(
    mailing, smtp, approved
):
    mailing.cron()
    mailing.pass_time(DAY)
    run = mailing.start("-m", "cron", "-c", "minute")

    def kill(_mail):
        os.kill(run.pid, signal.SIGKILL)
        run.wait()

    smtp.answer_data = kill
    run.communicate(timeout=30)
    (first,) = smtp.wait_for(1)
    approved(queued(mailing), hide=REAL)
    smtp.answer_data = lambda mail: None
    assert mailing.cron().silent
    assert len(smtp.mails) == 1, "not before its time"
    mailing.let_time_pass_for_mails()
    assert mailing.cron().silent
    again = smtp.wait_for(2)[1]
    assert again.parsed["Message-ID"] == first.parsed["Message-ID"]
    assert again.data == first.data
    assert mailing.cron().silent
    assert (len(smtp.mails), queued(mailing)) == (2, [])
    a_day_later(mailing)
    assert numbers(smtp) == [1, 1, 2]


@pytest.mark.long
def test_killed_before_the_server_hears_of_it_it_is_sent_by_the_next_run(mailing, smtp):
    mailing.cron()
    mailing.pass_time(DAY)
    run = mailing.start("-m", "cron", "-c", "minute")

    def kill(_address):
        os.kill(run.pid, signal.SIGKILL)
        run.wait()

    smtp.answer_rcpt = kill
    run.communicate(timeout=30)
    smtp.answer_rcpt = lambda address: None
    mailing.let_time_pass_for_mails()
    assert mailing.cron().silent
    first = {mail.parsed["Message-ID"] for mail in smtp.mails}
    assert (set(numbers(smtp)), len(first), queued(mailing)) == ({1}, 1, [])


# Which checks are kept as the slowest, and in what file.

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def slow(name, seconds, at=NOON):
    return Timing(JobKey("Web", name), name, seconds, at)


def test_of_each_job_its_slowest_time_is_kept_and_of_many_the_slowest_first():
    those = [slow(name, number / 10) for number, name in enumerate("abcdefgh")]
    those += [slow("a", 3.0, NOON + MINUTE), slow("h", 0.1)]
    found = slowest_of(those, NOON)
    assert [one.name for one in found] == ["a", "h", "g", "f", "e"]
    assert found[0] == slow("a", 3.0, NOON + MINUTE)


def test_what_was_before_the_last_summary_counts_no_more():
    those = [slow("a", 9.0, NOON - MINUTE), slow("b", 0.1)]
    assert slowest_of(those, NOON) == (slow("b", 0.1),)


def test_they_are_read_as_they_were_written(tmp_path):
    assert read_slowest(tmp_path) == SlowestChecks()
    kept = SlowestChecks((slow("a", 3.25),), (slow("b", 30.0), slow("a", 3.25)))
    write_slowest(tmp_path, kept)
    assert read_slowest(tmp_path) == kept
    assert os.listdir(tmp_path) == ["slowest.json"]


@pytest.mark.parametrize("damage", [b"", b"\0" * 300, b'{"format": 1, "daily": 5}'])
def test_what_a_power_cut_left_of_them_is_no_trouble(tmp_path, caplog, damage):
    (tmp_path / "slowest.json").write_bytes(damage)
    with caplog.at_level(logging.WARNING):
        assert read_slowest(tmp_path) == SlowestChecks()
    assert caplog.messages == []


def test_where_they_cannot_be_written_the_run_goes_on(tmp_path, caplog):
    (tmp_path / "slowest.json").mkdir()
    write_slowest(tmp_path, SlowestChecks())
    assert "slowest.json: cannot rename" in caplog.text

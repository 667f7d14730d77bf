"""Much news, bad servers and crashes: the program as cron starts it, real mail."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from datetime import datetime, timedelta

import pytest

from tests.support.approved import REAL
from tests.support.instance import flag_job

#: What it finds is the same each time, as of no disk that others write to.
FULL = "[disk full{}]\npath = /nowhere\nlimit = 100\nevery = minute\n"

MANY = """\
import os
from lib.jobbase import *

class Many(JobSpawner):
    def get_sub_jobs(self, config):
        for number in range({count}):
            yield One(config, number)

class One(JobBase):
    def executeEvery(self):
        return JobFrequency.MINUTE

    def execute(self):
        if not os.path.exists({flag!r}):
            raise CheckFailed("no route to host")
        return True
"""

NOISY = "    def notifyOnFailureEvery(self):\n" + (
    "        return JobFailureNotificationFrequency.EVERYTIME\n"
)


def fail_many(instance, count):
    """Have so many jobs that fail until the flag is there; return it."""
    flag = instance.folder / "flag"
    instance.job("Many", MANY.format(count=count, flag=str(flag)))
    return flag


def earlier(value, by):
    """Return a value of JSON with every time in it moved into the past."""
    if isinstance(value, dict):
        return {name: earlier(part, by) for name, part in value.items()}
    if isinstance(value, list):
        return [earlier(part, by) for part in value]
    if isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\dT", value):
        return (datetime.fromisoformat(value) - by).isoformat()
    return value


def let_pass(instance, **length):
    """Move all that is remembered of sending into the past."""

    def change(content):
        content.update(earlier(content, timedelta(**length)))

    for which in ("jobs/*.json", "bundles/*.json", "outbox.json"):
        instance.mend(change, which)


def queued(instance):
    return sum(len(one.get("queued", ())) for one in instance.records().values())


def bundles(instance):
    return [json.loads(path.read_text()) for path in instance.state.glob("bundles/*")]


def counted_in(mails):
    """Return how many messages the mails stand for, as their subjects count them."""
    found = [
        re.match(r"\[web1\] ([\d,]+) (failing|OK again)", one.subject) for one in mails
    ]
    return sum(int(one[1].replace(",", "")) for one in found)


# Storms.


@pytest.mark.long
def test_many_failures_are_one_mail_and_their_end_another(mailing, smtp, approved):
    flag = fail_many(mailing, 40)
    assert mailing.cron().silent
    (bundle,) = smtp.wait_for(1)
    assert bundle.subject == "[web1] 40 failing: no route to host"
    assert {*re.findall(r"Many (\d+) is", bundle.body)} == {*map(str, range(40))}
    # Jobs that run side by side fail in any order.
    approved(bundle.body, "body", hide={**REAL, r"Many \d+": "Many N"})
    assert (queued(mailing), bundles(mailing)) == (0, [])
    flag.touch()
    assert mailing.cron().silent
    assert len(smtp.mails) == 1, "they were mailed to only just now"
    assert queued(mailing) == 40
    let_pass(mailing, minutes=5)
    assert mailing.cron().silent
    approved(smtp.wait_for(2)[1].subject, "subject", hide=REAL)
    assert mailing.troubled() == {}


@pytest.mark.long
def test_a_storm_is_three_mails_in_ten_minutes_and_nothing_is_missing(mailing, smtp):
    fail_many(mailing, 80)
    for _minute in range(4):
        assert mailing.cron().silent
        let_pass(mailing, minutes=2, seconds=30)
    mails = smtp.wait_for(1)
    assert len(mails) <= 3
    assert counted_in(mails) == 80
    assert queued(mailing) == 0


@pytest.mark.long
def test_after_an_outage_all_comes_in_one_mail_in_the_order_of_events(
    mailing, smtp, tmp_path
):
    smtp.answer_data = lambda mail: "451 4.3.0 not now"
    for number in range(8):
        mailing.add(FULL.format(number))
        mailing.cron()
        let_pass(mailing, minutes=10)
    # None that mail is failing, because there is no other way by which it could leave.
    assert (smtp.mails, queued(mailing)) == ([], 8)
    (waiting,) = bundles(mailing)
    # The newest came after the last attempt.
    assert len(waiting["ids"]) == 7
    smtp.answer_data = lambda mail: None
    let_pass(mailing, minutes=70)
    assert mailing.cron().silent
    (mail,) = smtp.wait_for(1)
    order = re.findall(r"disk full(\d) is failing", mail.body)
    assert order == [str(number) for number in range(8)]
    assert waiting["message"]["message_id"] in mail.parsed["Message-ID"]
    assert (queued(mailing), bundles(mailing)) == (0, [])


@pytest.mark.long
def test_a_storm_while_mail_is_down_is_tried_as_one_and_not_each_minute(
    mailing, smtp, approved
):
    fail_many(mailing, 50)
    smtp.answer_data = lambda mail: "451 4.3.0 not now"
    ran = mailing.cron()
    approved(ran.err, hide=REAL)
    (bundle,) = bundles(mailing)
    assert (bundle["message"]["attempts"], len(bundle["ids"])) == (1, 50)
    assert mailing.cron().silent
    assert smtp.sessions == 1


@pytest.mark.long
def test_flapping_while_mail_is_down_is_one_mail(mailing, smtp, tmp_path, approved):
    flag = tmp_path / "flag"
    mailing.job("Flag", flag_job(flag))
    mailing.add("[job Flag]\nflapping = no\n")
    smtp.answer_data = lambda mail: "451 4.3.0 not now"
    for up in (False, True, False, True, False):
        flag.touch() if up else flag.unlink(missing_ok=True)
        mailing.cron()
    smtp.answer_data = lambda mail: None
    let_pass(mailing, hours=2)
    assert mailing.cron().silent
    (mail,) = smtp.wait_for(1)
    approved(mail.subject, "subject", hide=REAL)
    flag.touch()
    mailing.cron()
    end = smtp.wait_for(2)[1]
    approved(end.subject, "subject 2", hide=REAL)
    assert end.parsed["References"] == mail.parsed["Message-ID"]


# Crashes.


@pytest.mark.long
def test_killed_when_the_server_takes_a_bundle_it_goes_again_as_the_same_mail(
    mailing, smtp
):
    fail_many(mailing, 12)
    run = mailing.start("-m", "cron", "-c", "minute")

    def kill(_mail):
        os.kill(run.pid, signal.SIGKILL)
        run.wait()

    smtp.answer_data = kill
    run.communicate(timeout=30)
    (first,) = smtp.wait_for(1)
    assert queued(mailing) == 12
    smtp.answer_data = lambda mail: None
    assert mailing.cron().silent
    assert len(smtp.mails) == 1, "not before its time"
    let_pass(mailing, minutes=1)
    assert mailing.cron().silent
    again = smtp.wait_for(2)[1]
    assert again.parsed["Message-ID"] == first.parsed["Message-ID"]
    assert again.subject == first.subject
    let_pass(mailing, minutes=10)
    assert mailing.cron().silent
    assert (len(smtp.mails), queued(mailing), bundles(mailing)) == (2, 0, [])


@pytest.mark.long
def test_killed_after_a_bundle_was_marked_its_messages_are_never_sent(mailing, smtp):
    fail_many(mailing, 12)
    smtp.answer_data = lambda mail: "451 4.3.0 not now"
    mailing.cron()
    (bundle,) = bundles(mailing)
    smtp.answer_data = lambda mail: None
    sent_at = bundle["tried_at"]
    mailing.mend(lambda content: content.update(sent_at=sent_at), "bundles/*.json")
    let_pass(mailing, hours=1)
    assert mailing.cron().silent
    assert (smtp.mails, queued(mailing), bundles(mailing)) == ([], 0, [])


@pytest.mark.long
def test_a_bundle_that_cannot_be_kept_is_not_sent(mailing, smtp):
    fail_many(mailing, 12)
    (mailing.state / "bundles").write_text("in the way")
    ran = mailing.cron()
    assert "bundles" in ran.err
    assert [mail for mail in smtp.mails if "[web1] 12" in mail.subject] == []
    (mailing.state / "bundles").unlink()
    let_pass(mailing, hours=1)
    mailing.cron()
    assert counted_in(smtp.wait_for(1)[-1:]) == 12


# Servers that say no.


def test_where_the_only_address_is_refused_nobody_is_mailed_about_it(
    mailing, smtp, approved
):
    mailing.add(FULL.format(0))
    smtp.answer_rcpt = lambda to: "550 5.1.1 no such user"
    ran = mailing.cron()
    approved(ran.err, "err", hide=REAL)
    assert queued(mailing) == 0
    (dead,) = (mailing.state / "dead").iterdir()
    assert "disk full0" in dead.read_text()
    let_pass(mailing, hours=1)
    assert mailing.cron().silent
    assert (smtp.mails, smtp.sessions) == ([], 1)


@pytest.mark.long
def test_others_are_notified_once_a_day_that_an_address_is_refused(mailing, smtp):
    mailing.write(
        mailing.settings.read_text().replace("ops@", "gone@example.com, ops@")
    )
    smtp.answer_rcpt = lambda to: "550 5.1.1 no" if "gone" in to else None
    for number in range(3):
        mailing.add(FULL.format(number))
        mailing.cron()
    subjects = [mail.subject for mail in smtp.wait_for(4)]
    assert len(subjects) == 4
    assert sum("mail to gone@example.com is rejected" in one for one in subjects) == 1
    assert len(list((mailing.state / "dead").iterdir())) == 3


@pytest.mark.long
def test_a_bundle_to_two_goes_to_the_one_who_can_have_it_and_later_to_the_other(
    mailing, smtp
):
    mailing.write(
        mailing.settings.read_text().replace("ops@", "full@example.com, ops@")
    )
    fail_many(mailing, 12)
    smtp.answer_rcpt = lambda to: "452 4.2.2 mailbox full" if "full" in to else None
    mailing.cron()
    (first,) = smtp.wait_for(1)
    assert (first.to, queued(mailing)) == (("ops@example.com",), 1)
    smtp.answer_rcpt = lambda to: None
    let_pass(mailing, minutes=6)
    assert mailing.cron().silent
    second = smtp.wait_for(2)[1]
    assert second.to == ("full@example.com",)
    assert second.parsed["Message-ID"] == first.parsed["Message-ID"]
    assert (len(smtp.mails), queued(mailing)) == (2, 0)


def test_a_mail_that_is_refused_cut_down_too_is_kept_as_dead(mailing, smtp, approved):
    mailing.add(FULL.format(0))
    smtp.answer_data = lambda mail: "554 5.6.0 content"
    ran = mailing.cron()
    approved(ran.err, hide=REAL)
    assert (queued(mailing), smtp.mails) == (0, [])
    assert len(list((mailing.state / "dead").iterdir())) == 1
    assert mailing.cron().silent


# The budget.


@pytest.mark.long
def test_more_than_the_hours_mails_are_deferred_and_come_in_one(
    mailing, smtp, tmp_path
):
    mailing.job("Flag", flag_job(tmp_path / "flag", hooks=NOISY))
    mailing.write(
        mailing.settings.read_text().replace("[email]", "[email]\nmailsperhour = 5")
    )
    for _minute in range(7):
        mailing.cron()
    subjects = [mail.subject for mail in smtp.wait_for(5)]
    assert len(subjects) == 5
    assert sum("Flag is " in one for one in subjects) == 4
    assert re.fullmatch(r"\[web1\] 1 mail deferred until .* UTC", subjects[-1])
    assert queued(mailing) == 3
    let_pass(mailing, hours=1)
    assert mailing.cron().silent
    # Of the reminders that waited the last was sent, then that of this run; or the
    # newer in place of both, if it was there when the session began.
    subjects = [mail.subject for mail in smtp.mails[5:]]
    assert 1 <= len(subjects) <= 2
    assert all("still failing" in one for one in subjects)
    assert queued(mailing) == 0


def test_a_flapping_job_does_not_hold_back_the_first_alert_of_another(
    mailing, smtp, tmp_path
):
    flag = tmp_path / "flag"
    mailing.job("Flag", flag_job(flag))
    mailing.write(
        mailing.settings.read_text().replace("[email]", "[email]\nmailsperhour = 5")
    )
    for up in (False, True, False, True, False, True, False):
        flag.touch() if up else flag.unlink(missing_ok=True)
        mailing.cron()
        let_pass(mailing, minutes=1)
    assert len(smtp.mails) == 5
    mailing.add(FULL.format(0))
    flag.touch()
    mailing.cron()
    subjects = [mail.subject for mail in smtp.mails[5:]]
    assert len(subjects) == 1
    assert "disk full0 is failing" in subjects[0]
    # It took none of the room, and the flapping waits as before.
    send_log = json.loads((mailing.state / "outbox.json").read_text())
    # The note about deferred mail and what leaves beside the limits do not count.
    assert len(send_log["counted"]) == 4
    assert set(mailing.records()) == {"Flag", "disk full0"}
    mailing.write(mailing.settings.read_text().replace("/nowhere", "/"))
    mailing.cron()
    assert len(smtp.mails) == 6, "the end is no first alert"


@pytest.mark.long
def test_a_clock_that_was_set_back_holds_no_mail_up(mailing, smtp):
    flag = fail_many(mailing, 12)
    mailing.cron()
    smtp.wait_for(1)
    let_pass(mailing, hours=-3)
    flag.touch()
    mailing.cron()
    let_pass(mailing, minutes=5)
    started = time.monotonic()
    mailing.cron()
    assert time.monotonic() - started < 30
    assert counted_in(smtp.wait_for(2)) == 24

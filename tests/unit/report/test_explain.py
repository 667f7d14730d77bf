"""``-m why``: what it says of a job, told as stories."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime, timedelta

import pytest

from lib.core import decisions
from lib.core.decisions import Entry, Event, MailDetails, People
from lib.core.enums import MessageKind, Status
from lib.core.jobs import CatalogEntry, JobKey
from lib.core.messages import Message
from lib.core.records import Record
from lib.core.secret import NO_SECRETS
from lib.core.silences import Silences
from lib.report.explain import Story, status_lines, stories
from lib.storage import historylog
from lib.storage.auditlog import AuditLog
from lib.storage.history import Result
from tests.support.approved import REAL
from tests.support.instance import NO_MAIL, Instance, flag_job

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
MAIL = MailDetails("m", MessageKind.ALERT, People(("ops@example.com",)))
#: What it finds is the same each time, as of no disk that others write to.
FULL = "[disk full]\npath = /nowhere\nlimit = 100\nevery = minute\n"
OK = "[disk root]\npath = /\nlimit = 100\nevery = minute\n"


def taken_late(_mail):
    """Take a mail only once the checks of that run are judged."""
    time.sleep(1.5)


def why(instance, *names):
    ran = instance.run("-m", "why", *names)
    assert (ran.code, ran.err) == (0, ""), ran
    return ran.out


@pytest.mark.long
def test_while_the_mail_server_is_away_why_says_so_and_later_that_it_left(
    mailing, smtp, approved
):
    mailing.add(FULL)
    smtp.answer_data = lambda mail: "451 4.3.0 try later"
    mailing.cron()
    out = why(mailing, "disk full")
    assert out.startswith("disk full\n    Failing since 20")
    approved(out, "out", hide=REAL)
    assert "451" in out and "; the next attempt comes after 20" in out
    smtp.answer_data = taken_late
    mailing.let_time_pass_for_mails()
    assert mailing.cron().silent
    smtp.wait_for(1)
    out = why(mailing, "disk full")
    assert "Owed" not in out
    approved(out, "out 2", hide=REAL)
    # When that was judged it had not.
    mailing.cron()
    approved(why(mailing, "disk full"), "3", hide=REAL)


@pytest.mark.long
def test_mails_that_wait_in_one_mail_name_it(mailing, smtp, approved):
    for number in range(8):
        mailing.add(FULL.replace("full", f"full{number}"))
    smtp.answer_data = lambda mail: "451 4.3.0 try later"
    mailing.cron()
    out = why(mailing, "disk full3")
    approved(out, "while it waits", hide=REAL)
    smtp.answer_data = taken_late
    mailing.let_time_pass_for_mails()
    assert mailing.cron().silent
    smtp.wait_for(1)
    out = why(mailing, "disk full3")
    approved(out, "when it was sent", hide=REAL)


@pytest.mark.long
def test_a_mail_that_must_wait_for_room_says_since_when_and_until_when(
    mailing, tmp_path, approved
):
    mailing.write(mailing.settings.read_text() + "mailsperhour = 2\n")
    flag = tmp_path / "flag"
    mailing.job("Flag", flag_job(flag))
    for up in (False, True, False, True, False):
        flag.touch() if up else flag.unlink(missing_ok=True)
        mailing.cron()
    out = why(mailing, "Flag")
    approved(out, hide=REAL)


@pytest.mark.long
def test_after_a_mail_for_many_the_next_one_says_how_long_it_waits(mailing, approved):
    for number in range(8):
        mailing.add(FULL.replace("full", f"full{number}"))
    mailing.cron()
    text = mailing.settings.read_text()
    mailing.write(text.replace("/nowhere", "/"))
    mailing.cron()
    out = why(mailing, "disk full3")
    approved(out, hide=REAL)


@pytest.mark.long
def test_a_healthy_job_leaves_no_line_and_why_says_that(tmp_path, approved):
    instance = Instance(tmp_path, NO_MAIL + OK)
    instance.cron()
    assert not (instance.state / "decisions.log").exists()
    out = why(instance, "disk root")
    approved(out, hide=REAL)


@pytest.mark.long
def test_the_same_again_and_again_is_one_line(tmp_path, approved):
    instance = Instance(tmp_path, NO_MAIL + FULL)
    for _ in range(4):
        instance.cron()
    lines = why(instance, "disk full").splitlines()
    codes = [line.split()[2] for line in lines if "consecutive failures: " in line]
    assert codes[-2:] == [
        "first_alert",
        "already_notified",
    ]
    approved(lines[-1], hide=REAL)


def test_a_target_that_cannot_be_run_was_met_and_is_counted(tmp_path):
    instance = Instance(tmp_path, NO_MAIL + "[tcp a]\nhost = h\nport = smtp\n")
    instance.cron()
    assert "found no job" not in why(instance, "tcp a")
    run = json.loads((instance.state / "run.json").read_text())
    assert run["jobs"] >= run["ran"] == 1


def test_a_target_that_is_switched_off_says_so(tmp_path):
    target = "[disk off]\npath = /\nevery = minute\nenabled = no\n"
    instance = Instance(tmp_path, NO_MAIL + target)
    instance.cron()
    assert "Disabled: its section says enabled = no." in why(instance, "disk off")


@pytest.mark.long
def test_a_job_that_is_no_more_is_still_explained(tmp_path, approved):
    instance = Instance(tmp_path, NO_MAIL)
    flag = tmp_path / "flag"
    path = instance.job("Flag", flag_job(flag))
    instance.cron()
    path.unlink()
    instance.cron()
    out = why(instance, "Fl*")
    approved(out, hide=REAL)
    # Once it is closed, nobody can say that it is OK.
    instance.cron()
    assert "OK." not in why(instance, "Fl*")


@pytest.mark.long
def test_an_address_that_takes_no_mail_is_named_and_is_not_tried_again(
    mailing, smtp, approved
):
    mailing.write(
        mailing.settings.read_text().replace("ops@", "gone@example.com, ops@") + FULL
    )
    smtp.answer_rcpt = lambda to: "550 5.1.1 no" if to.startswith("gone") else None
    mailing.cron()
    out = why(mailing, "disk full")
    approved(out, hide=REAL)
    assert " failed " not in out


def test_json_holds_all_of_it(tmp_path):
    instance = Instance(tmp_path, NO_MAIL + FULL)
    instance.cron()
    (found,) = instance.run("-m", "why", "DiskSpace", "--json").json()
    assert (found["job"], found["status"], found["exists"]) == (
        "disk full",
        "failing",
        True,
    )
    first, second, *_more = found["decisions"]
    assert (first["code"], second["code"]) == ("first_alert", "queued")
    assert first["details"]["status"] == "failing"
    assert found["policy"]["failures"] == {"count": 1, "of": None, "seconds": None}


def test_what_flaps_says_so_though_it_is_ok():
    since = datetime(2026, 11, 22, 12, 6, tzinfo=UTC)
    record = Record(JobKey("Flag", "Flag"), "Flag", flapping_since=since)
    story = Story(record.key, "Flag", record)
    lines = list(status_lines(story, since + timedelta(minutes=9), UTC))
    assert lines[:2] == [
        "OK.",
        "Flapping since 2026-11-22 12:06, for 9 minutes; one message follows when it "
        "is steady.",
    ]


def test_a_message_that_was_queued_for_long_says_when_it_left():
    noon = datetime(2026, 11, 22, 12, tzinfo=UTC)
    record = Record(
        JobKey("Flag", "Flag"),
        "Flag",
        Status.FAILING,
        notified=("oncall",),
        notified_at=noon,
    )
    late = Message("a", MessageKind.ALERT, "s", "b", ("oncall",), noon)
    sent = decisions.sent(record.key, "Flag", late, noon + timedelta(minutes=26))
    story = Story(record.key, "Flag", record, entries=(sent,))
    lines = status_lines(story, noon + timedelta(hours=1), UTC)
    assert "Notified oncall at 2026-11-22 12:26." in list(lines)


def test_a_name_that_nobody_knows_is_an_error_with_a_hint(tmp_path, approved):
    instance = Instance(tmp_path, NO_MAIL + FULL)
    instance.cron()
    ran = instance.run("-m", "why", "disk ful")
    assert (ran.code, ran.out) == (1, "")
    approved(ran.err, hide=REAL)


def test_why_needs_a_name(tmp_path):
    assert Instance(tmp_path).run("-m", "why").code == 2


def decided(instance, word):
    lines = (instance.state / "decisions.log").read_text().splitlines()
    return [line for line in lines if line.split("\t")[3] == word]


def test_with_nomail_nobody_is_said_to_have_been_notified(tmp_path, approved):
    instance = Instance(tmp_path, NO_MAIL + FULL)
    instance.cron()
    instance.cron()
    out = why(instance, "disk full")
    approved(out, hide=REAL)
    assert not re.search(r"(?i)(?<!already )\b(told|notified)\b", out)
    assert " sent" not in out
    assert decided(instance, "sent") == []
    (row,) = instance.run("-m", "why", "disk full", "--json").json()
    assert row["delivery"] == "logged"
    run = json.loads((instance.state / "run.json").read_text())
    assert run.get("sent", 0) == 0


def test_with_nomail_many_in_one_are_not_said_to_be_sent_either(tmp_path, approved):
    instance = Instance(tmp_path, NO_MAIL)
    for number in range(8):
        instance.add(FULL.replace("full", f"full{number}"))
    instance.cron()
    out = why(instance, "disk full3")
    approved(out, hide=REAL)
    assert decided(instance, "sent") == []


@pytest.mark.long
def test_with_the_flag_nomail_the_mail_has_still_to_leave(mailing, smtp, approved):
    mailing.add(FULL)
    mailing.cron("minute", "--nomail")
    out = why(mailing, "disk full")
    approved(out, hide=REAL)
    assert decided(mailing, "sent") == decided(mailing, "logged") == []
    run = json.loads((mailing.state / "run.json").read_text())
    assert run.get("sent", 0) == 0
    mailing.cron()
    smtp.wait_for(1)
    assert "Notified ops@example.com at 20" in why(mailing, "disk full")


@pytest.mark.parametrize("count", [1, 8])
def test_whose_mail_was_refused_for_good_is_not_said_to_have_been_notified(
    mailing, smtp, count, approved
):
    for number in range(count):
        mailing.add(FULL.replace("full", f"full{number}"))
    smtp.answer_rcpt = lambda to: "550 5.1.1 no such user"
    mailing.cron()
    out = why(mailing, "disk full0")
    approved(out, hide=REAL)
    assert "Told" not in out and "was sent" not in out


# Renamed jobs.


def test_a_job_has_what_was_decided_under_each_name_it_had(tmp_path):
    minutes = [NOON + timedelta(minutes=number) for number in range(5)]
    first, second, third = (JobKey("DiskSpace", f"disk {name}") for name in "abc")
    log = AuditLog(tmp_path, NO_SECRETS)
    log.note(
        [
            Entry(at, key, key.identity, Event.SENT, MAIL)
            # The first name is another job's by now.
            for at, key in zip(minutes, (first, second, third, first), strict=False)
        ]
    )
    log.write()
    pairs = [(first, second), (second, third)]
    for at, pair in zip(minutes[1:], pairs, strict=False):
        result = Result.of(pair[1], Status.OK, "", 0.2, {}, "", b"p", 90.0)
        historylog.record(tmp_path, UTC, at.timestamp(), [result], [pair])
    catalog = {
        key: CatalogEntry(key.identity, "d.py", "minute") for key in (first, third)
    }

    def told(pattern):
        found, _unmatched = stories(tmp_path, [pattern], {}, catalog, Silences(), NOON)
        return [
            (one.key, [minutes.index(each.at) for each in one.entries]) for one in found
        ]

    assert told("disk c") == [(third, [0, 1, 2])]
    assert told("disk a") == [(first, [3])]
    assert told("disk b") == [(second, [1])]

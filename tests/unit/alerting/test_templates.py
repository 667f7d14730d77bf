"""What a person reads: every sentence of a mail has its facts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from lib.alerting import templates
from lib.core.enums import Decision
from lib.core.enums import JobFailureNotificationFrequency as Every
from lib.core.enums import JobFrequency, MessageKind, Status
from lib.core.jobs import Job, JobKey, Policy
from lib.core.messages import Message
from lib.core.records import Record
from lib.core.results import CheckResult

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LATER = NOON + timedelta(minutes=40)
JOB = Job(
    JobKey("X", "home"),
    "http home",
    "X.py",
    JobFrequency.MINUTE,
    contact=("ops@example.com",),
)
REFUSED = CheckResult(Status.FAILING, "connection refused\nby 192.0.2.1:80", "a trace")
UNKNOWN = CheckResult(Status.UNKNOWN, "no route")
FAILING = Record(
    JobKey("X", "home"),
    status=Status.FAILING,
    failures=40,
    failing_since=NOON,
    notified_at=NOON,
    notified=("first@example.com",),
    thread="t1",
    last_reason="connection refused\nby 192.0.2.1:80",
)


@pytest.fixture(autouse=True)
def _clock_on_the_wall(monkeypatch):
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def mail(decision, result=REFUSED, record=FAILING, job=JOB, now=LATER):
    context = templates.MailContext(now, UTC)
    return templates.default_message("id", job, record, result, decision, context)


def test_an_alert_says_what_and_why_in_its_subject(approved):
    alert = mail(Decision.FIRST_ALERT, record=Record(JobKey("X", "home")), now=NOON)
    approved(alert.subject)
    assert alert.reason == "connection refused"
    assert alert.to == ("ops@example.com",)
    assert (alert.kind, alert.thread) == (MessageKind.ALERT, None)
    approved(alert.body, "body")


def test_a_reminder_says_since_when_and_how_often(approved):
    reminder = mail(Decision.REMINDER)
    approved(reminder.subject, "subject")
    assert (
        "Failing since:         2026-11-22 12:00 UTC, for 40 minutes\n" in reminder.body
    )
    approved(reminder.body, "body")
    assert reminder.thread == "t1"


@pytest.mark.parametrize(
    ("held", "by", "why", "words"),
    [
        (Decision.MUTED, "", "", "muted"),
        (Decision.MUTED, "ann", "deploy", "muted by ann: deploy"),
        (Decision.MAINTENANCE, "", "", "in a maintenance window"),
        (Decision.MAINTENANCE, "night", "", "in the maintenance window night"),
        (Decision.ACKNOWLEDGED, "ann", "", "acknowledged by ann"),
    ],
)
def test_an_alert_that_was_held_back_says_by_what_or_whom(held, by, why, words):
    was_held = replace(FAILING, held=held, held_by=by, held_why=why)
    alert = mail(Decision.FIRST_ALERT, record=was_held)
    assert f"\nHeld back until now:   {words}\n" in alert.body
    reminder = mail(Decision.REMINDER, record=replace(FAILING, held=held))
    assert "Held back" not in reminder.body


def test_a_recovery_goes_to_those_who_were_notified_and_says_how_long_it_lasted(
    approved,
):
    recovery = mail(Decision.RECOVERY, CheckResult(Status.OK))
    approved(recovery.subject, "subject")
    assert recovery.to == ("first@example.com",)
    approved(recovery.body, "body")


def test_a_recovery_whose_alert_was_sent_by_the_author_goes_to_the_contact():
    notified = Record(
        JobKey("X", "home"), failing_since=NOON, notified_at=NOON, failures=1
    )
    recovery = mail(Decision.RECOVERY, CheckResult(Status.OK), notified)
    assert recovery.to == ("ops@example.com",)


def test_a_check_that_could_not_be_made_is_not_called_failing(approved):
    approved(mail(Decision.FIRST_ALERT, UNKNOWN).subject, "subject")
    assert (
        "Unknown since:         2026-11-22" in mail(Decision.FIRST_ALERT, UNKNOWN).body
    )
    approved(mail(Decision.REMINDER, UNKNOWN).subject, "subject 2")


@pytest.mark.parametrize("every", list(Every))
def test_each_policy_says_when_the_next_mail_comes(every, approved):
    job = Job(JobKey("K", "k"), "k", "K.py", JobFrequency.HOUR, Policy(every))
    body = mail(Decision.FIRST_ALERT, job=job).body
    approved(body)


def test_what_is_wrong_in_the_settings_is_looked_at_with_validate(approved):
    own = Job(
        JobKey("settings", "x"), "http x", "s.cfg", JobFrequency.MINUTE, is_own=True
    )
    body = mail(Decision.FIRST_ALERT, job=own).body
    approved(body)


def test_a_name_with_a_quote_can_be_pasted(approved):
    job = Job(JobKey("K", "k"), "bob's disk", "K.py", JobFrequency.MINUTE)
    approved(mail(Decision.FIRST_ALERT, job=job).body)


def test_a_clock_set_back_makes_no_negative_length(approved):
    early = NOON - timedelta(days=1)
    recovery = mail(Decision.RECOVERY, CheckResult(Status.OK), now=early)
    approved(recovery.subject)


def test_an_authors_words_come_first_and_the_facts_below():
    own = Message("id", MessageKind.ALERT, "Oh no", "My words.\n", ("a@b.c",), NOON)
    context = templates.MailContext(LATER, UTC)
    body = templates.with_status_lines(own, JOB, FAILING, REFUSED, context).body
    assert body.startswith("My words.\n\nFailing since:         2026-11-22 12:00 UTC")
    assert "Reason:                connection refused\n" in body


def test_an_authors_empty_mail_holds_the_facts():
    own = Message("id", MessageKind.ALERT, "Oh no", "", ("a@b.c",), NOON)
    context = templates.MailContext(LATER, UTC)
    body = templates.with_status_lines(own, JOB, FAILING, REFUSED, context).body
    assert body.startswith("Failing since:")


def test_lost_records_are_named_and_counted(approved):
    one = templates.lost_records_message("id", ["a.json: empty"], ("a@b.c",), NOON)
    approved(one.subject, "subject")
    assert "    a.json: empty\n" in one.body
    lines = [f"{number}.json: gone" for number in range(201)]
    many = templates.lost_records_message("id", lines, ("a@b.c",), NOON)
    approved(many.subject, "subject 2")
    assert "and 1 more\n" in many.body


def test_the_test_mail_says_that_it_is_one(approved):
    trial = templates.test_message("id", "web1", ("a@b.c",), NOON)
    approved(trial.subject)
    assert "on web1" in trial.body

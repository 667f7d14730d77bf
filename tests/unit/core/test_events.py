"""Results that are news in themselves: each one is told, and no end of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from lib.alerting.merge import merged
from lib.alerting.templates import MailContext, default_message
from lib.core import policy
from lib.core.enums import JobFailureNotificationFrequency, Status
from lib.core.jobs import NEVER_FLAPPING, Job, JobKey, Policy
from lib.core.records import Record
from lib.core.results import CheckResult, JobReport

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
#: An event that is failing or a warning; and what lasts: failing, unknown, OK.
FOUND = {
    "E": (Status.FAILING, True),
    "V": (Status.WARNING, True),
    "F": (Status.FAILING, False),
    "U": (Status.UNKNOWN, False),
    "S": (Status.OK, False),
}


def told(notify, story):
    """Return what is told of each check, a minute apart: Alert, Recovery, or a dot."""
    record = Record(JobKey("X", "it"))
    rules = Policy(JobFailureNotificationFrequency(notify), flapping=NEVER_FLAPPING)
    job = Job(record.key, "it", "X.py", "minute", rules)
    heard = ""
    for minute, letter in enumerate(story):
        status, is_event = FOUND[letter]
        result = CheckResult(status, "why", is_event=is_event)
        now = NOON + timedelta(minutes=minute)
        decision = policy.decide(record, result, rules, now)
        record = policy.advance(record, JobReport(job, result, decision), now)
        heard += {"first_alert": "A", "reminder": "A", "recovery": "R"}.get(
            decision, "."
        )
    return heard


@pytest.mark.parametrize(
    ("notify", "story", "heard"),
    [
        ("state_change", "SEESE", ".AA.A"),
        ("state_change", "VVSV", "AA.A"),
        ("every", "EESE", "AA.A"),
        ("5min", "EEEEEEE", "A....A."),
        # What lasts is told of once, and so is its end.
        ("state_change", "EUUS", "AA.R"),
        ("state_change", "FEFS", "AAAR"),
        ("state_change", "UEES", "AAA."),
        ("state_change", "VUVS", "AAA."),
        ("state_change", "EVES", "AAA."),
    ],
)
def test_each_event_is_told_and_no_end_of_it(notify, story, heard):
    assert told(notify, story) == heard


def test_messages_about_events_are_not_merged():
    job = Job(JobKey("X", "it"), "it", "X.py", "minute")

    def message(number, is_event):
        result = CheckResult(Status.FAILING, f"line {number}", is_event=is_event)
        now = NOON + timedelta(minutes=number)
        alert = policy.Decision.FIRST_ALERT
        record = Record(job.key)
        context = MailContext(now, UTC)
        mail = default_message(str(number), job, record, result, alert, context)
        return replace(mail, to=("ops@example.com",))

    for is_event, count in ((True, 3), (False, 1)):
        waiting = [message(number, is_event) for number in range(3)]
        assert len(merged("it", waiting, UTC)) == count
    assert "Next mail:             as soon as there is more" in message(1, True).body

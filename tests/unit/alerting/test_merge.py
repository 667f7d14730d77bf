"""What is left to say when mail was held up: stories of one job.

A line of a story is what the job found in each minute: S fine, F failing, W warning.
All its mails wait, and then go out at once.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from lib.alerting import templates
from lib.alerting.merge import merged
from lib.core.enums import (
    JobFailureNotificationFrequency,
    JobFrequency,
    MessageKind,
    Status,
)
from lib.core.jobs import NEVER_FLAPPING, FailureRule, Job, JobKey, Policy
from lib.core.messages import Message
from lib.core.policy import advance, attempted, decide
from lib.core.records import Record
from lib.core.results import CheckResult, JobReport

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
CHANGE = JobFailureNotificationFrequency.ONSTATECHANGE
EVERY = JobFailureNotificationFrequency.EVERYTIME
OPS = ("ops@example.com",)
FOUND = {
    "S": CheckResult(Status.OK),
    "F": CheckResult(Status.FAILING, "no route"),
    "W": CheckResult(Status.WARNING, "it is slow"),
}
LETTERS = {"alert": "A", "reminder": "M", "recovery": "R", "note": "N"}


def job(policy):
    return Job(JobKey("K", "k"), "http home", "h.py", JobFrequency.MINUTE, policy, OPS)


def in_utc(now):
    return templates.MailContext(now, UTC)


def waiting_after(story, notify=CHANGE, failures=1, record=None):
    """Return the record whose mails wait after a story."""
    policy = Policy(notify, FailureRule(failures), flapping=NEVER_FLAPPING)
    record = record or Record(JobKey("K", "k"), "http home")
    for minute, letter in enumerate(story):
        now = NOON + minute * MINUTE
        result = FOUND[letter]
        decision = decide(record, result, policy, now)
        messages = ()
        if decision.notifies:
            messages = (
                templates.default_message(
                    f"{minute:032d}", job(policy), record, result, decision, in_utc(now)
                ),
            )
        report = JobReport(job(policy), result, decision, messages)
        record = advance(record, report, now)
    return record


def notified(merged_messages):
    return "".join(
        LETTERS[merged_message.message.kind] for merged_message in merged_messages
    )


def subjects(merged_messages):
    return [merged_message.message.subject for merged_message in merged_messages]


@pytest.mark.parametrize(
    ("notify", "failures", "story", "waited", "left"),
    [
        (CHANGE, 1, "F", "A", "A"),
        (CHANGE, 1, "FS", "AR", "R"),
        (CHANGE, 1, "FSFS", "ARAR", "R"),
        (CHANGE, 1, "FSF", "ARA", "A"),
        (CHANGE, 2, "FFFS", "AR", "R"),
        (EVERY, 1, "FFFF", "AMMM", "AM"),
        (EVERY, 1, "FFSFF", "AMAM", "AM"),
        (EVERY, 1, "FSFSFS", "AAA", "A"),
    ],
)
def test_what_waited_together_is_said_once(notify, failures, story, waited, left):
    queued = waiting_after(story, notify, failures).queued
    assert "".join(LETTERS[one.kind] for one in queued) == waited
    merged_messages = merged("http home", queued, UTC)
    assert notified(merged_messages) == left
    ids = [name for merged_message in merged_messages for name in merged_message.ids]
    assert sorted(ids) == sorted(one.message_id for one in queued), "nothing is missing"


def heard(queued):
    """Return what is still to come when all but these has been heard before."""
    return merged("http home", queued, UTC)


def test_a_recovery_whose_alert_was_heard_stays_as_it_is():
    queued = waiting_after("FS").queued[1:]
    assert heard(queued)[0].message == queued[0]


def test_a_reminder_that_is_overtaken_by_the_recovery_is_not_sent(approved):
    alert, reminder = waiting_after("FF", EVERY).queued
    recovery = waiting_after("FFS").queued[-1]
    (merged_message,) = heard([reminder, recovery])
    assert merged_message.message.kind is MessageKind.RECOVERY
    assert merged_message.message.subject == recovery.subject
    approved(merged_message.message.body)


def test_an_alert_and_its_end_tell_from_when_to_when_and_why_nobody_heard(approved):
    alert, recovery = waiting_after("F" * 40 + "S").queued
    alert = replace(alert, last_error="smtp: RCPT TO: 451 4.3.0 not now", attempts=3)
    (merged_message,) = heard([alert, recovery])
    message = merged_message.message
    approved(message.subject, "subject")
    first, second, *_ = message.body.splitlines()
    approved(first, "first")
    approved(second, "second")
    approved(message.body, "body")
    assert (message.message_id, message.thread) == (recovery.message_id, None)
    assert (message.attempts, message.retry_at) == (0, None)


def test_flaps_tell_how_often_and_the_last_state(approved):
    (fine,) = heard(waiting_after("FSFSFS").queued)
    approved(fine.message.subject, "subject")
    (failing,) = heard(waiting_after("FSFSF").queued)
    approved(failing.message.subject, "subject 2")
    assert failing.message.body.count("\n    2026-11-22") == 5


def test_what_was_heard_before_it_flapped_is_not_called_new(approved):
    queued = waiting_after("FSF").queued[1:]
    (merged_message,) = heard(queued)
    approved(merged_message.message.subject, "subject")
    approved(merged_message.message.body, "body")
    assert merged_message.message.thread is not None


def test_one_that_was_heard_of_and_failed_again_meanwhile_says_so(approved):
    (merged_message,) = heard(waiting_after("FSSFFS").queued[1:])
    approved(merged_message.message.subject, "subject")
    approved(merged_message.message.body, "body")


@pytest.mark.parametrize(
    "story", ["WS", "WSWS", "WSW", "WF", "WFS", "FW", "FWS", "FWFW", "SWFSW"]
)
def test_warnings_that_waited_are_no_failures(story, approved):
    (merged_message,) = heard(waiting_after(story).queued)
    message = merged_message.message
    lead = message.body.splitlines()[0]
    approved(f"{message.subject}\n{lead}\n{message.severity}")


def test_what_was_folded_is_folded_again(approved):
    record = waiting_after("FSF")
    (first,) = heard(record.queued)
    kept = replace(record, queued=(attempted(first.message, NOON),))
    later = waiting_after("SFS", record=replace(kept, queued=()))
    (merged_message,) = heard([replace(kept.queued[0], in_doubt=False), *later.queued])
    assert merged_message.message.merged.times == 3
    approved(merged_message.message.subject)
    assert len(merged_message.message.merged.lines) == 6


def test_what_waited_and_was_never_tried_says_for_what():
    alert, recovery = waiting_after("FS").queued
    (merged_message,) = merged("disk", [alert, recovery], UTC, "the limit was reached")
    second = merged_message.message.body.splitlines()[1]
    assert second == "You were not notified before: the limit was reached."


def test_an_error_that_was_over_is_not_the_reason_why_it_left_only_now():
    alert, recovery = waiting_after("FS").queued
    tried = replace(alert, last_error="451 not now")
    (merged_message,) = merged("disk", [tried, recovery], UTC, "the limit was reached")
    second = merged_message.message.body.splitlines()[1]
    assert second == "You were not notified before: the limit was reached."
    (merged_message,) = merged("disk", [tried, recovery], UTC, "451 not now")
    second = merged_message.message.body.splitlines()[1]
    assert second.endswith("because the mail could not be sent: 451 not now")


def alert(minute, status=Status.FAILING, kind=MessageKind.ALERT, subject="the subject"):
    now = NOON + minute * MINUTE
    name = f"{minute:032d}"
    return Message(name, kind, subject, "", OPS, now, since=NOON, status=status)


def lead_of(*messages):
    (merged_message,) = merged("http home", messages, UTC)
    message = merged_message.message
    return message.subject, message.body.partition("\n")[0]


def test_an_alert_that_repeats_another_one_says_since_when_it_really_is_failing():
    """As where a mute ends before the first alert could leave."""
    assert lead_of(alert(2), alert(120)) == (
        "the subject",
        "http home has been failing since 2026-11-22 12:00 UTC.",
    )
    unknown = alert(2, Status.UNKNOWN)
    _subject, lead = lead_of(unknown, alert(3), alert(9))
    assert lead.endswith(
        "was not OK before and has been failing since 2026-11-22 12:03 UTC."
    )


def test_what_could_not_be_checked_is_not_said_to_have_failed():
    over = alert(5, Status.OK, MessageKind.RECOVERY)
    subject, lead = lead_of(alert(0, Status.UNKNOWN), over)
    assert subject == "http home is OK again; it could not be checked for 5 minutes"
    assert lead.startswith("http home could not be checked for 5 minutes, from 2026-11")
    _subject, lead = lead_of(alert(0, Status.UNKNOWN), alert(3, Status.UNKNOWN))
    assert lead == "http home has been unknown since 2026-11-22 12:00 UTC."
    # It failed as well.
    subject, _lead = lead_of(alert(0, Status.UNKNOWN), alert(1), over)
    assert "failed" in subject or "failing" in subject


def test_the_mail_that_it_flaps_while_it_is_ok_is_no_failure():
    over = MessageKind.RECOVERY
    flaps = alert(5, Status.OK)
    stories = [alert(0), alert(1, Status.OK, over), alert(2), alert(3, Status.OK, over)]
    assert lead_of(*stories, flaps) == (
        "the subject",
        "http home failed 2 times since 2026-11-22 12:00 UTC and has been flapping "
        "since 2026-11-22 12:05 UTC.",
    )
    steady = alert(60, Status.OK, over, "http home is OK again, steady")
    subject, lead = lead_of(flaps, steady)
    assert subject == "http home is OK again, steady"
    assert lead.startswith("http home was flapping for 1 hour, from 2026-11-22 12:00")
    subject, _lead = lead_of(*stories, flaps, steady)
    assert subject == "http home is OK again; it failed 2 times in 1 hour"


def test_the_authors_own_subjects_are_kept():
    alert, recovery = waiting_after("FS").queued
    alert = replace(alert, subject="The shop is shut", body="Call Joe.\n")
    recovery = replace(recovery, subject="The shop is open", body="Thank Joe.\n")
    (merged_message,) = heard([alert, recovery])
    assert "The shop is shut" in merged_message.message.body
    assert "The shop is open" in merged_message.message.body
    assert "Thank Joe." in merged_message.message.body


def test_two_mails_of_one_result_are_no_flapping():
    (alert,) = waiting_after("F").queued
    twin = replace(alert, message_id="b" * 32, subject="and in other words")
    assert subjects(heard([alert, twin])) == [alert.subject, twin.subject]


def test_what_a_job_sends_of_its_own_accord_is_never_folded():
    alert, recovery = waiting_after("FS").queued
    note = Message("c" * 32, MessageKind.NOTE, "numbers", "1 2 3", OPS, NOON)
    merged_messages = heard([note, alert, replace(note, message_id="d" * 32), recovery])
    assert notified(merged_messages) == "NNR"


def test_a_fold_stays_small_however_long_a_job_flaps():
    (merged_message,) = heard(waiting_after("FS" * 500).queued)
    assert merged_message.message.merged.times == 500
    assert len(merged_message.message.body) < 10_000


@pytest.mark.parametrize("story", ["F", "FSF", "W"])
def test_a_job_that_is_gone_is_told_of_with_what_it_was(story, approved):
    record = replace(waiting_after(story), unseen_since=NOON + 4 * MINUTE)
    at = NOON + 5 * MINUTE
    closing = templates.closing_message("f" * 32, record, OPS, in_utc(at))
    (merged_message,) = heard([*record.queued, closing])
    assert merged_message.message.kind is MessageKind.CLOSING
    assert len(merged_message.ids) == len(record.queued) + 1
    body = merged_message.message.body.partition("\n\n")[0]
    approved(f"{merged_message.message.subject}\n\n{body}")


def test_a_closing_message_whose_alert_was_heard_stays_as_it_is():
    record = replace(waiting_after("F"), queued=())
    closing = templates.closing_message("f" * 32, record, OPS, in_utc(NOON + MINUTE))
    (merged_message,) = heard([closing])
    assert merged_message.message == closing

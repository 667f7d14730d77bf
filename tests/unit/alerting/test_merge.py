"""What is left to say when mail was held up: stories of one job.

A line of a story is what the job found in each minute: S fine, F failing.  All its
mails wait, and then go out at once.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from lib.alerting import templates
from lib.alerting.merge import folded
from lib.core.enums import (
    Condition,
    JobFailureNotificationFrequency,
    JobFrequency,
    MessageKind,
)
from lib.core.jobs import JobFacts, JobKey, Policy
from lib.core.messages import Message
from lib.core.policy import advance, attempted, decide
from lib.core.records import Record
from lib.core.results import Outcome, Report

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
CHANGE = JobFailureNotificationFrequency.ONSTATECHANGE
EVERY = JobFailureNotificationFrequency.EVERYTIME
OPS = ("ops@example.com",)
LETTERS = {"alert": "A", "reminder": "M", "recovery": "R", "note": "N"}


def job(policy):
    return JobFacts(
        JobKey("K", "k"), "http home", "h.py", JobFrequency.MINUTE, policy, OPS
    )


def waiting_after(story, notify=CHANGE, failures=1, record=None):
    """Return the record whose mails wait after a story."""
    policy = Policy(notify, failures)
    record = record or Record(JobKey("K", "k"), "http home")
    for minute, letter in enumerate(story):
        now = NOON + minute * MINUTE
        fine = letter == "S"
        condition = Condition.FINE if fine else Condition.FAILING
        outcome = Outcome(condition, "" if fine else "no route")
        decision = decide(record, outcome, policy, now)
        messages = ()
        if decision.notifies:
            messages = (
                templates.default_message(
                    f"{minute:032d}", job(policy), record, outcome, decision, now
                ),
            )
        report = Report(job(policy), outcome, decision, messages)
        record = advance(record, report, now)
    return record


def told(pieces):
    return "".join(LETTERS[piece.message.kind] for piece in pieces)


def subjects(pieces):
    return [piece.message.subject for piece in pieces]


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
    owed = waiting_after(story, notify, failures).owed
    assert "".join(LETTERS[one.kind] for one in owed) == waited
    pieces = folded("http home", owed)
    assert told(pieces) == left
    ids = [name for piece in pieces for name in piece.ids]
    assert sorted(ids) == sorted(one.message_id for one in owed), "nothing is missing"


def heard(owed):
    """Return what is still to come when all but these has been heard before."""
    return folded("http home", owed)


def test_a_recovery_whose_alert_was_heard_stays_as_it_is():
    owed = waiting_after("FS").owed[1:]
    assert heard(owed)[0].message == owed[0]


def test_a_reminder_that_is_overtaken_by_the_recovery_is_not_sent():
    alert, reminder = waiting_after("FF", EVERY).owed
    recovery = waiting_after("FFS").owed[-1]
    (piece,) = heard([reminder, recovery])
    assert piece.message.kind is MessageKind.RECOVERY
    assert piece.message.subject == recovery.subject
    assert "You were not told of all of this before" in piece.message.body


def test_an_alert_and_its_end_tell_from_when_to_when_and_why_nobody_heard():
    alert, recovery = waiting_after("F" * 40 + "S").owed
    alert = replace(alert, last_error="smtp: RCPT TO: 451 4.3.0 not now", attempts=3)
    (piece,) = heard([alert, recovery])
    message = piece.message
    assert message.subject == "http home was failing for 40 minutes, it is fine again"
    first, second, *_ = message.body.splitlines()
    assert first.startswith("http home was failing from 2026-11-22 12:00")
    assert first.endswith("(40 minutes), it is fine again.")
    assert second == (
        "You were not told before, because the mail could not leave: "
        "smtp: RCPT TO: 451 4.3.0 not now"
    )
    assert "Last reason:  no route" in message.body
    assert "http home is failing: no route" in message.body
    assert (message.message_id, message.thread) == (recovery.message_id, None)
    assert (message.attempts, message.retry_at) == (0, None)


def test_flaps_tell_how_often_and_the_last_state():
    (fine,) = heard(waiting_after("FSFSFS").owed)
    assert fine.message.subject == (
        "http home is fine again; it failed 3 times in 5 minutes"
    )
    (failing,) = heard(waiting_after("FSFSF").owed)
    assert failing.message.subject == (
        "http home is failing: no route (the 3rd time in 4 minutes)"
    )
    assert failing.message.body.count("\n    2026-11-22") == 5


def test_what_was_heard_before_it_flapped_is_not_called_new():
    owed = waiting_after("FSF").owed[1:]
    (piece,) = heard(owed)
    assert piece.message.subject == "http home is failing: no route (again)"
    assert "was fine for a while, and is failing again" in piece.message.body
    assert piece.message.thread is not None


def test_one_that_was_heard_of_and_failed_again_meanwhile_is_told_so():
    (piece,) = heard(waiting_after("FSSFFS").owed[1:])
    assert piece.message.subject == (
        "http home is fine again; it failed 1 more time in 2 minutes"
    )
    assert "was fine, failed 1 more time from 2026-11-22 12:03" in piece.message.body


def test_what_was_folded_is_folded_again():
    record = waiting_after("FSF")
    (first,) = heard(record.owed)
    kept = replace(record, owed=(attempted(first.message, NOON),))
    later = waiting_after("SFS", record=replace(kept, owed=()))
    (piece,) = heard([replace(kept.owed[0], in_doubt=False), *later.owed])
    assert piece.message.folded.times == 3
    assert piece.message.subject.startswith("http home is fine again; it failed 3")
    assert len(piece.message.folded.lines) == 6


def test_a_mail_that_may_have_been_taken_makes_no_false_claim():
    alert, recovery = waiting_after("FS").owed
    doubtful = replace(alert, attempts=1, in_doubt=True, last_error="it broke off")
    (piece,) = heard([doubtful, recovery])
    assert "You may have been told before" in piece.message.body
    assert "You were not told" not in piece.message.body


def test_a_folded_mail_never_has_the_id_of_one_that_may_have_been_taken():
    alert, recovery = waiting_after("FS").owed
    doubtful = replace(recovery, attempts=1, in_doubt=True)
    (piece,) = heard([alert, doubtful])
    assert piece.message.message_id not in (alert.message_id, recovery.message_id)
    assert heard([alert, doubtful]) == [piece], "it is the same each time"


def test_the_authors_own_subjects_are_kept():
    alert, recovery = waiting_after("FS").owed
    alert = replace(alert, subject="The shop is shut", body="Call Joe.\n")
    recovery = replace(recovery, subject="The shop is open", body="Thank Joe.\n")
    (piece,) = heard([alert, recovery])
    assert "The shop is shut" in piece.message.body
    assert "The shop is open" in piece.message.body
    assert "Thank Joe." in piece.message.body


def test_two_mails_of_one_verdict_are_no_flapping():
    (alert,) = waiting_after("F").owed
    twin = replace(alert, message_id="b" * 32, subject="and in other words")
    assert subjects(heard([alert, twin])) == [alert.subject, twin.subject]


def test_what_a_job_sends_of_its_own_accord_is_never_folded():
    alert, recovery = waiting_after("FS").owed
    note = Message("c" * 32, MessageKind.NOTE, "numbers", "1 2 3", OPS, NOON)
    pieces = heard([note, alert, replace(note, message_id="d" * 32), recovery])
    assert told(pieces) == "NNR"


def test_a_fold_stays_small_however_long_a_job_flaps():
    (piece,) = heard(waiting_after("FS" * 500).owed)
    assert piece.message.folded.times == 500
    assert len(piece.message.body) < 10_000

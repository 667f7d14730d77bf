"""Each decision as a sentence and as a line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from msgspec.structs import replace

from lib.core import decisions
from lib.core.decisions import (
    DETAILS,
    Entry,
    Event,
    JobDetails,
    MailDetails,
    People,
    RequestDetails,
    sentence,
)
from lib.core.enums import (
    Decision,
    DeliveryResult,
    JobFailureNotificationFrequency,
    JobFrequency,
    MessageKind,
    Status,
)
from lib.core.jobs import OWN_KEY, FailureRule, Job, JobKey, Policy
from lib.core.messages import Message
from lib.core.policy import advance, decide
from lib.core.records import Record
from lib.core.results import CheckResult, JobReport
from lib.core.silences import Held
from lib.core.text import mail_time
from lib.storage.auditlog import as_line, from_line

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
in_utc = partial(mail_time, zone=UTC)
OPS = ("ops@example.com",)
KEY, NAME = JobKey("DiskSpace", "disk full"), "disk full"
JOB = Job(KEY, NAME, "DiskSpace.py", JobFrequency.MINUTE)
OK = CheckResult(Status.OK)
FULL = CheckResult(Status.FAILING, "/ is 93% full\nand more")
ON_CHANGE = Policy()
HOURLY = Policy(JobFailureNotificationFrequency.EVERYHOUR, FailureRule(2))


def mail(**more):
    given = {
        "message_id": "a1" * 16,
        "kind": MessageKind.ALERT,
        "subject": "disk full is failing: / is 93% full",
        "body": "since noon",
        "to": OPS,
        "born_at": NOON,
        **more,
    }
    return Message(**given)


def entry(reason="it was so", at=NOON, key=KEY, name=NAME, **details):
    details = JobDetails(Status.FAILING, 1, reason, **details)
    return Entry(at, key, name, Decision.FIRST_ALERT, details)


def read_back(one):
    """Return the sentence made of what is on file."""
    return sentence(from_line(as_line(one)), in_utc)


def story(policy, outcomes, *, mail_leaves=True, held=None):
    """Return the texts of what is decided when a job finds these, minute by minute.

    ``held`` is what holds alerts back until the result before the last.
    """
    job = Job(KEY, NAME, "DiskSpace.py", JobFrequency.MINUTE, policy, OPS)
    record, now, notified = Record(KEY), NOON, []
    for number, result in enumerate(outcomes, 3):
        holding = held if number <= len(outcomes) else None
        code = holding.code if holding else None
        decision = decide(record, result, policy, now, code)
        messages = (mail(),) if decision.notifies else ()
        report = JobReport(job, result, decision, messages)
        after = advance(record, report, now)
        found = decisions.judged(report, record, after, now, holding)
        notified.append([read_back(one) for one in found])
        record, now = after, now + timedelta(minutes=1)
        if mail_leaves:
            record = replace(record, queued=())
    return notified


# What a run decides, in sentences.


def test_a_job_that_is_ok_and_stays_so_leaves_no_line():
    assert story(ON_CHANGE, [OK, OK]) == [[], []]


def test_an_alert_and_its_end_say_what_was_found_and_what_the_policy_said(approved):
    first, second, third = story(ON_CHANGE, [FULL, FULL, OK])
    approved(first, "first")
    approved(second[0], "second")
    approved(third[0], "third")


def test_while_the_alert_has_not_left_nobody_is_said_to_have_been_notified(approved):
    _first, second, third = story(ON_CHANGE, [FULL, FULL, OK], mail_leaves=False)
    approved(second[0], "second")
    approved(third[0], "third")


def test_those_who_have_it_do_not_wait_for_it():
    queued = (mail(to=("oncall",), message_id="b2" * 16),)
    notified = Record(
        KEY, NAME, notified=(*OPS, "oncall"), notified_at=NOON, queued=queued
    )
    report = JobReport(JOB, FULL, Decision.ALREADY_NOTIFIED)
    (said,) = decisions.judged(report, notified, notified, NOON)
    assert "the mail of 2026-11-22 12:00 UTC to oncall is still queued" in read_back(
        said
    )


def test_several_people_were_notified(approved):
    notified = Record(
        KEY, NAME, notified=("a@b.example", "c@b.example"), notified_at=NOON
    )
    report = JobReport(
        Job(KEY, NAME, "DiskSpace.py", JobFrequency.MINUTE),
        FULL,
        Decision.ALREADY_NOTIFIED,
    )
    (said,) = decisions.judged(report, notified, notified, NOON)
    approved(sentence(said, in_utc))


def test_too_few_failures_and_too_soon_are_said_with_the_policy(approved):
    found = story(HOURLY, [FULL, FULL, FULL, OK])
    approved(found[0][0], "1")
    approved(found[1][0], "2")
    approved(found[2][0], "3")
    approved(found[3][0], "4")


@pytest.mark.parametrize("rule", [FailureRule(3, 4), FailureRule(seconds=900)], ids=str)
def test_too_few_failures_say_how_many_it_takes(rule, approved):
    approved(story(Policy(failures=rule), [FULL]))


def test_what_is_ok_again_before_anybody_heard_of_it_says_so(approved):
    found = story(Policy(failures=FailureRule(3)), [FULL, OK])
    approved(found[1])


def test_an_end_knows_since_when_it_was_for_whoever_counts_them():
    job = Job(KEY, NAME, "DiskSpace.py", JobFrequency.MINUTE, ON_CHANGE, OPS)
    for result, since in ((OK, NOON), (FULL, None)):
        before = Record(KEY, NAME, Status.FAILING, 3, NOON)
        decision = decide(before, result, ON_CHANGE, NOON)
        report = JobReport(job, result, decision)
        after = advance(before, report, NOON)
        (one,) = decisions.judged(report, before, after, NOON)
        assert one.details.failing_since == since


def test_a_warning_says_so_and_why_nobody_hears_of_it(approved):
    slow = CheckResult(Status.WARNING, "it is slow")
    approved(story(ON_CHANGE, [slow, slow, FULL, slow, OK]), "notified")
    approved(story(Policy(notifies_warnings=False), [slow, OK]), "not notified")


def test_a_recovery_that_needs_more_results_says_how_many(approved):
    approved(story(Policy(recoveries=3), [FULL, OK, OK, OK]))


@pytest.mark.parametrize(
    "held",
    [
        Held(Decision.MUTED, "ann", NOON + timedelta(hours=1)),
        Held(Decision.MUTED, "", NOON + timedelta(hours=1)),
        Held(Decision.MAINTENANCE, "night", NOON + timedelta(hours=1)),
        Held(Decision.ACKNOWLEDGED, "ann"),
    ],
    ids=("muted", "muted by nobody", "maintenance", "acknowledged"),
)
def test_what_is_held_back_says_by_whom_and_until_when(held, approved):
    approved(story(ON_CHANGE, [FULL, FULL, FULL, OK], held=held))


def test_what_somebody_asked_for_is_said(approved):
    hour = NOON + timedelta(hours=1)
    asked = {
        Event.MUTE: RequestDetails("http *, tag web", "ann", "deploy", hour),
        Event.UNMUTE: RequestDetails("http shop", "ann"),
        Event.ACKNOWLEDGE: RequestDetails("http shop", "", "disk is on its way"),
        Event.CHECK: RequestDetails("http shop", "ann"),
        Event.ANNOUNCE: RequestDetails("tag web", "ann", "outage: It is down", hour),
        Event.WITHDRAW: RequestDetails("", "ann", "outage: It is down"),
    }
    approved(
        [
            read_back(decisions.requested(event, KEY, NAME, details, NOON))
            for event, details in asked.items()
        ]
    )


@pytest.mark.parametrize(
    ("status", "decision", "words"),
    [
        (Status.OK, Decision.OK, "OK"),
        (Status.FAILING, Decision.FIRST_ALERT, "failing, first alert"),
        (Status.WARNING, Decision.FIRST_ALERT, "warning, first alert"),
        (Status.WARNING, Decision.RECOVERY, "warning, recovery"),
        (Status.PENDING, Decision.PENDING, "pending"),
    ],
)
def test_the_log_has_a_few_words(status, decision, words):
    assert decisions.words(status, decision) == words


def test_a_job_under_way_says_so_once(approved):
    found = story(ON_CHANGE, [CheckResult(Status.PENDING, "wait", ask_again=True)] * 2)
    approved(found)


def test_a_failed_attempt_names_the_step_and_the_next_one(approved):
    tried = mail(attempts=2, retry_at=NOON + timedelta(minutes=5))
    text = read_back(decisions.failed(KEY, NAME, tried, "RCPT TO: 451 later", NOON))
    approved(text)


LATER = NOON + timedelta(minutes=50)


@pytest.mark.parametrize(
    ("kind", "held", "outage", "all_are_due", "retried"),
    [
        ("alert", None, None, False, "retried after 2026-11-22 12:05 UTC"),
        ("alert", None, None, True, "retried in the next run"),
        ("alert", None, NOON, False, "one message is tried after 2026-11-22 12:00 UTC"),
        ("alert", LATER, NOON, False, "is tried after 2026-11-22 12:50 UTC"),
        ("alert", LATER, None, False, "retried after 2026-11-22 12:50 UTC"),
        ("round_trip", None, NOON, False, "retried after 2026-11-22 12:05 UTC"),
    ],
)
def test_a_failed_attempt_says_when_the_next_one_really_comes(
    kind, held, outage, all_are_due, retried
):
    retry_at = NOON + timedelta(minutes=5)
    tried = mail(attempts=2, retry_at=retry_at, kind=MessageKind(kind))
    entry = decisions.failed(KEY, NAME, tried, "451 later", NOON)
    entry = decisions.with_retry(entry, held, outage, all_are_due=all_are_due)
    assert f"{retried}: " in read_back(entry)


def test_a_mail_that_left_late_says_how_late():
    assert " late: " not in read_back(decisions.sent(KEY, NAME, mail(), NOON))
    later = NOON + timedelta(minutes=40)
    assert "sent, 40 minutes late: " in read_back(
        decisions.sent(KEY, NAME, mail(), later)
    )


def test_a_mail_that_went_to_the_log_is_not_said_to_be_sent(approved):
    one = decisions.logged(KEY, NAME, mail(), NOON)
    assert one.code is Event.LOGGED
    said = "alert to ops@example.com was logged, not mailed (nomail): 'disk full"
    assert read_back(one).startswith(said)
    before, into = Record(KEY, NAME, queued=(mail(),)), mail(subject="12 failing")
    after, logged = replace(before, queued=()), DeliveryResult.LOGGED
    (one,) = decisions.bundled(before, after, into, NOON, logged)
    approved(read_back(one))


@pytest.mark.parametrize(
    "result",
    [
        DeliveryResult.SENT,
        DeliveryResult.LOGGED,
        DeliveryResult.REFUSED,
    ],
)
def test_that_somebody_was_notified_is_said_only_where_a_mail_was_taken(
    result, approved
):
    notified = Record(KEY, NAME, notified=OPS, notified_at=NOON, delivery=result)
    job = Job(KEY, NAME, "DiskSpace.py", JobFrequency.MINUTE)
    report = JobReport(job, FULL, Decision.ALREADY_NOTIFIED)
    (one,) = decisions.judged(report, notified, notified, NOON)
    approved(read_back(one))
    assert ("notified at" in read_back(one)) is (result is DeliveryResult.SENT)


def test_mails_that_a_bundle_or_newer_news_stood_for_name_it(approved):
    before = Record(KEY, NAME, queued=(mail(),))
    into = mail(message_id="b2" * 16, subject="12 failing in one mail")
    (one,) = decisions.bundled(before, replace(before, queued=()), into, NOON)
    approved(read_back(one))
    (one,) = decisions.merged(before, replace(before, queued=(into,)), NOON)
    assert list(decisions.merged(before, before, NOON)) == []


def test_of_many_addresses_a_few_are_named():
    many = mail(to=tuple(f"{number}@example.com" for number in range(100)))
    one = decisions.sent(KEY, NAME, many, NOON)
    assert "4@example.com and 95 others" in read_back(one)


def test_what_became_of_state_is_said(approved):
    gone = Record(KEY, NAME, unseen_since=NOON, queued=(mail(),))
    approved(
        [
            read_back(one)
            for one in (
                decisions.forgotten(gone, NOON),
                *decisions.lost(OWN_KEY, ["disk-full-1.json: damaged"], NOON),
                *decisions.read_again([gone], NOON),
                decisions.renamed(JOB, Record(KEY, "disk old"), NOON),
                decisions.renamed(JOB, gone, NOON),
            )
        ]
    )


def test_what_a_server_will_never_take_says_whom_it_does_not_reach(approved):
    one = decisions.dropped(KEY, NAME, mail(), "gone@x.example", "550 no such", NOON)
    approved(read_back(one))


# Lines.


def test_a_line_comes_back_as_it_was():
    one = entry(policy=HOURLY, notified=People(OPS, 3), notified_at=NOON)
    assert from_line(as_line(one) + "\n") == one


def test_a_line_holds_a_code_and_facts_and_no_sentence(approved):
    one, second = decisions.judged(
        JobReport(
            Job(KEY, NAME, "DiskSpace.py", JobFrequency.MINUTE),
            FULL,
            Decision.FIRST_ALERT,
            (mail(),),
        ),
        Record(KEY),
        Record(KEY, NAME, Status.FAILING, 1),
        NOON,
    )
    start = f"2026-11-22T12:00:00+00:00\t{KEY}\t{NAME}"
    assert as_line(one) == (
        f"{start}\tfirst_alert\t"
        '{"status": "failing", "failures": 1, "reason": "/ is 93% full", '
        '"policy": {}, "notified": {}}'
    )
    approved(as_line(second))


def test_each_code_has_its_words():
    assert set(decisions.WORDS) == set(Decision)
    for code, details in DETAILS.items():
        if details is JobDetails:
            made = JobDetails(Status.FAILING)
        elif details is decisions.MailDetails:
            made = details("a1", MessageKind.ALERT, People(OPS))
        else:
            made = details()
        assert read_back(Entry(NOON, KEY, NAME, code, made)), code
    assert not set(Decision) & set(Event)


@pytest.mark.parametrize("nasty", ["a\tb\nc", "\x1b[31mred", "\u202etxt.exe", "\udc80"])
def test_a_line_stays_one_line_and_orders_no_terminal(nasty):
    line = as_line(entry(nasty, key=JobKey("X", nasty), name=nasty))
    assert line.count("\t") == 4
    assert line.replace("\t", "").isprintable()
    assert from_line(line) is not None


@pytest.mark.parametrize("code", [Event.QUEUED, Event.MERGED, Event.BUNDLED])
def test_a_sentence_quotes_a_subject_as_it_is(code):
    subject, shown = '"q" \'é\\n\x1b', "'\"q\" 'é\\n\\x1b'"
    mail = MailDetails(
        "1", MessageKind.ALERT, People(OPS), subject, into_subject=subject
    )
    words = sentence(Entry(NOON, KEY, NAME, code, mail), in_utc)
    assert words.count(shown) == (1 if code is Event.QUEUED else 2)


def test_no_secret_is_in_a_line():
    one = entry("it said canary", notified=People(("canary@x.example",)))
    assert "canary" not in as_line(one, ("canary",))


def test_a_long_reason_is_cut():
    long = CheckResult(Status.FAILING, "x" * 5000)
    ((first, _kept),) = story(ON_CHANGE, [long])
    assert len(first) < 500


@pytest.mark.parametrize(
    "line",
    [
        "",
        "word",
        "a\tb\tc\td\te",
        f"{NOON.isoformat()}\tX/k\tn\tsent\t[1]",
        f"{NOON.isoformat()}\tX/k\tn\tsent\t{{}}",
        f'{NOON.isoformat()}\tX/k\tn\tok\t{{"status": "so"}}',
        f'{NOON.isoformat()}\tX/k\tn\tfailing, reminder\t{{"status": "failing"}}',
        f"{NOON.isoformat()}\tk\tn\tqueued\t{{}}",
        "\0" * 99,
    ],
)
def test_what_is_no_line_of_ours_is_none(line):
    assert from_line(line) is None

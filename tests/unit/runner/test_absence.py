"""Which jobs are gone, and the one message that says so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from lib.alerting.templates import MailContext, closing_message
from lib.core import policy
from lib.core.enums import MessageKind, Severity, Status
from lib.core.jobs import JobKey
from lib.core.records import Record
from lib.runner.absence import Discovery

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
THERE = Discovery(
    files=frozenset({"Flag", "HTTPServerChecker", "PeerChecker"}),
    loaded=frozenset({"Flag", "HTTPServerChecker", "PeerChecker"}),
    paths=frozenset({Path("/jobs/Flag.py")}),
    titles=frozenset({"", "general", "http home"}),
    wrong=frozenset(),
)
FLAG, HOST = JobKey("Flag", "one"), JobKey("HTTPServerChecker", "http web/a")


# What is not there.


@pytest.mark.parametrize(
    "key",
    [
        FLAG,
        HOST,
        JobKey("Gone", "one"),
        JobKey("Gone"),
        JobKey.of_section("htpp x"),
        JobKey.of_refused_file(Path("/jobs/Gone.py")),
    ],
)
def test_what_a_whole_discovery_did_not_find_is_not_there(key):
    assert THERE.lacks(key)
    assert not replace(THERE, is_whole=False).lacks(key)


@pytest.mark.parametrize(
    "key",
    [
        JobKey.of_section("http home"),
        JobKey.of_section(""),
        JobKey.of_refused_file(Path("/jobs/Flag.py")),
    ],
)
def test_a_section_and_a_file_that_are_there_are_not_gone(key):
    assert not THERE.lacks(key)


def test_a_file_that_was_not_loaded_says_nothing_of_its_jobs():
    assert not replace(THERE, loaded=frozenset()).lacks(FLAG)


@pytest.mark.parametrize("title", ["http web", "http web/a", "http"])
def test_a_job_that_a_wrong_section_may_have_is_not_gone(title):
    assert not replace(THERE, wrong=frozenset({title})).lacks(HOST)


def test_a_section_whose_kind_has_lost_its_file_is_failing_and_not_gone():
    unknown = replace(THERE, wrong=frozenset({"queue mails"}))
    assert not unknown.lacks(JobKey("Queue", "queue mails"))
    assert unknown.lacks(JobKey("Queue", "queue other"))


def test_another_sections_mistake_hides_no_job():
    wrong = replace(THERE, wrong=frozenset({"http web"}))
    assert wrong.lacks(JobKey("HTTPServerChecker", "http shop"))
    assert wrong.lacks(FLAG)


def test_a_wrong_line_among_the_peers_hides_each_of_them():
    wrong = replace(THERE, wrong=frozenset({"peers"}))
    assert not wrong.lacks(JobKey.of_peer("friend"))


# What follows.


def failing(status=Status.FAILING, **more):
    return Record(
        FLAG,
        "Flag",
        status=status,
        failures=3,
        failing_since=NOON - timedelta(hours=2),
        notified_at=NOON,
        notified=("ops@example.com",),
        thread="a" * 32,
        last_reason="the flag is down",
        **more,
    )


def test_the_second_complete_discovery_without_it_closes_a_job():
    once = policy.not_found(failing(), NOON)
    assert (once.unseen_since, policy.is_gone(once)) == (NOON, False)
    twice = policy.not_found(once, NOON + MINUTE)
    assert (twice.unseen_since, policy.is_gone(twice)) == (NOON, True)


def test_nothing_is_left_of_the_failure_of_a_job_that_is_gone():
    record = policy.not_found(failing(memory={"a": 1}), NOON)
    left = policy.closed(record, ())
    assert left == Record(FLAG, "Flag", memory={"a": 1}, unseen_since=NOON)


def test_the_closing_message_of_a_job_that_is_disabled(approved):
    mail = closing_message("b", failing(), (), MailContext(NOON, UTC))
    approved(f"{mail.subject}\n\n{mail.body}")


def test_the_closing_message_of_a_peer_names_its_line():
    peer = replace(failing(unseen_since=NOON), key=JobKey.of_peer("web2"))
    mail = closing_message("b", peer, (), MailContext(NOON, UTC))
    assert mail.body.startswith("Its line in [peers] is gone")
    assert "section" not in mail.body


@pytest.mark.parametrize("status", [Status.FAILING, Status.UNKNOWN, Status.WARNING])
def test_the_closing_message(approved, status):
    record = replace(failing(status, unseen_since=NOON), notified=("x@example.com",))
    if status is Status.WARNING:
        since = record.failing_since
        record = replace(record, failures=0, failing_since=None, warning_since=since)
    context = MailContext(NOON + MINUTE, UTC)
    mail = closing_message("b", record, ("ops@example.com",), context)
    assert mail.kind is MessageKind.CLOSING
    assert (mail.to, mail.thread) == (("x@example.com",), "a" * 32)
    is_warning = status is Status.WARNING
    assert (mail.severity is Severity.WARNING) is is_warning
    approved(f"{mail.subject}\n\n{mail.body}")

"""What is on disk at the moment the server hears of a mail, and after."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest

#: What it finds is the same each time, as of no disk that others write to.
FULL = "[disk full{}]\npath = /nowhere\nlimit = 100\nevery = minute\n"


@pytest.fixture
def seen(mailing, smtp):
    """What the state folder held whenever the server was given a mail."""
    found = []

    def look(mail):
        files = mailing.state.glob("*/*.json")
        there = {path.relative_to(mailing.state).parts[0]: [] for path in files}
        for path in mailing.state.glob("*/*.json"):
            there[path.parent.name].append(json.loads(path.read_text()))
        send_log = json.loads((mailing.state / "outbox.json").read_text())
        found.append((mail, there, send_log))

    smtp.answer_data = look
    return found


def test_an_attempt_is_on_disk_before_the_server_hears_of_the_mail(mailing, seen):
    mailing.add(FULL.format(0))
    assert mailing.cron().silent
    ((mail, there, send_log),) = seen
    (message,) = there["jobs"][0]["queued"]
    assert (message["attempts"], message["in_doubt"]) == (1, True)
    assert message["message_id"] in mail.parsed["Message-ID"]
    assert [one["name"] for one in send_log["counted"]] == [message["message_id"]]


@pytest.mark.long
def test_a_bundle_is_on_disk_before_the_server_hears_of_it(mailing, seen):
    for number in range(6):
        mailing.add(FULL.format(number))
    assert mailing.cron().silent
    ((mail, there, send_log),) = seen
    (bundle,) = there["bundles"]
    assert bundle["message"]["attempts"] == 1
    assert bundle["message"]["message_id"] in mail.parsed["Message-ID"]
    queued = [one["queued"][0]["message_id"] for one in there["jobs"]]
    assert sorted(queued) == sorted(bundle["ids"])
    assert len(send_log["counted"]) == 1


@pytest.mark.long
def test_what_was_taken_is_marked_before_the_next_is_given(mailing, seen):
    mailing.add(FULL.format(0))
    mailing.cron()
    mailing.add(FULL.format(1))
    assert mailing.cron().silent
    _first, (mail, there, send_log) = seen
    queued = [one["name"] for one in there["jobs"] if "queued" in one]
    assert queued == ["disk full1"]
    assert "disk full1" in mail.subject
    assert len(send_log["counted"]) == 2


def test_a_mail_that_was_not_taken_is_not_counted(mailing, smtp):
    mailing.add(FULL.format(0))
    smtp.answer_data = lambda mail: "451 4.3.0 not now"
    mailing.cron()
    assert "counted" not in json.loads((mailing.state / "outbox.json").read_text())
    (message,) = mailing.records()["disk full0"]["queued"]
    assert "in_doubt" not in message


def test_who_does_not_get_a_mail_that_others_got_is_one_line_each(mailing, smtp):
    contact = "contact = ops@example.com, grey@example.com, gone@example.com\n"
    mailing.add(FULL.format(0) + contact)
    says = {"grey@example.com": "450 4.2.0 not now", "gone@example.com": "550 5.1.1 no"}
    smtp.answer_rcpt = says.get
    ran = mailing.cron()
    assert sorted(set(ran.err.splitlines())) == [
        "checker: mail to gone@example.com is rejected: 550 5.1.1 no; correct the "
        "address",
        "checker: mail to grey@example.com alone not sent: 450 4.2.0 not now; queued, "
        "a later run tries again",
    ]


@pytest.mark.long
def test_an_attempt_in_vain_says_when_one_is_really_made_again(mailing, smtp):
    mailing.add(FULL.format(0))
    smtp.answer_data = lambda mail: "451 4.3.0 not now"
    for minutes in (1, 2, 4):
        mailing.cron()
        said = mailing.run("-m", "why", "disk full0").out
        send_log = json.loads((mailing.state / "outbox.json").read_text())
        failed_at = datetime.fromisoformat(send_log["failed_at"])
        next_at = failed_at.replace(second=0, microsecond=0)
        next_at += timedelta(minutes=minutes)
        assert f"one message is tried after {next_at:%Y-%m-%d %H:%M}" in said
        mailing.pass_time(timedelta(minutes=5))

"""``-m why``: what it says of a job, told as stories."""

from __future__ import annotations

import json

import pytest

from tests.support.instance import NO_MAIL, Instance, flag_job
from tests.support.servers import SmtpServer

FULL = "[disk full]\npath = /\nlimit = 1\nevery = minute\n"
OK = "[disk root]\npath = /\nlimit = 100\nevery = minute\n"


@pytest.fixture
def smtp(ca):
    with SmtpServer(ca) as server:
        yield server


@pytest.fixture
def mailing(tmp_path, smtp, cafile):
    return Instance(tmp_path, smtp.email_section(cafile))


def why(instance, *names):
    ran = instance.run("-m", "why", *names)
    assert (ran.code, ran.err) == (0, ""), ran
    return ran.out


def test_while_the_mail_server_is_away_why_says_so_and_later_that_it_left(
    mailing, smtp
):
    mailing.add(FULL)
    smtp.answer_data = lambda mail: "451 4.3.0 try later"
    mailing.cron()
    out = why(mailing, "disk full")
    assert out.startswith("disk full\n    Failing since 20")
    assert "Owed to ops@example.com since 20" in out
    assert "tried 1 time, the last time: " in out
    assert "451" in out and "; the next attempt comes after 20" in out
    assert "first alert, as the policy is: on change" in out
    assert "failed           attempt 1 to send alert to ops@example.com failed: " in out
    smtp.answer_data = lambda mail: None
    mailing.let_time_pass_for_mails()
    assert mailing.cron().silent
    smtp.wait_for(1)
    out = why(mailing, "disk full")
    assert "Owed" not in out
    assert "sent             alert to ops@example.com was sent" in out
    # When that was judged it had not.
    assert "no mail: the mail of 20" in out
    mailing.cron()
    assert "no mail: ops@example.com was told at 20" in why(mailing, "disk full")


def test_mails_that_wait_in_one_mail_name_it(mailing, smtp):
    for number in range(8):
        mailing.add(FULL.replace("full", f"full{number}"))
    smtp.answer_data = lambda mail: "451 4.3.0 try later"
    mailing.cron()
    out = why(mailing, "disk full3")
    assert "; a part of the mail '8 failing" in out
    assert "; tried 1 time, the last time: " in out
    smtp.answer_data = lambda mail: None
    for path in (mailing.state / "digests").iterdir():
        content = json.loads(path.read_text())
        content["message"].pop("retry_at")
        content.pop("sum")
        path.write_text(json.dumps(content))
    assert mailing.cron().silent
    smtp.wait_for(1)
    out = why(mailing, "disk full3")
    assert "Owed" not in out
    assert (
        "bundled          alert to ops@example.com was sent as a part of '8 failing"
        in out
    )


def test_a_mail_that_must_wait_for_room_says_since_when_and_until_when(
    mailing, tmp_path
):
    mailing.write(mailing.settings.read_text() + "mailsperhour = 2\n")
    flag = tmp_path / "flag"
    mailing.job("Flag", flag_job(flag))
    for up in (False, True, False, False):
        flag.touch() if up else flag.unlink(missing_ok=True)
        mailing.cron()
    out = why(mailing, "Flag")
    assert "The last news of it has still to leave, see below." in out
    reason = "as many mails have left as mailsperhour and mailsperday allow"
    assert "'Flag is failing: the flag is down" in out
    assert f"; {reason}; there is room after 20" in out
    assert f"deferred         alert to ops@example.com waits: {reason}" in out
    assert "no mail: the mail of 20" in out


def test_after_a_mail_for_many_the_next_one_says_how_long_it_waits(mailing):
    for number in range(8):
        mailing.add(FULL.replace("full", f"full{number}"))
    mailing.cron()
    mailing.add(FULL.replace("full", "late"))
    mailing.cron()
    reason = "a mail that stood for many has gone to the same people; the next one"
    out = why(mailing, "disk late")
    assert out.count(reason) == 2
    assert (
        f"deferred         alert to ops@example.com waits: {reason} comes after 20"
        in out
    )


def test_a_healthy_job_leaves_no_line_and_why_says_that(tmp_path):
    instance = Instance(tmp_path, NO_MAIL + OK)
    instance.cron()
    assert not (instance.state / "decisions.log").exists()
    out = why(instance, "disk root")
    assert "Fine, as far as is remembered." in out
    assert "No decision is on file" in out


def test_the_same_again_and_again_is_one_line(tmp_path):
    instance = Instance(tmp_path, NO_MAIL + FULL)
    for _ in range(4):
        instance.cron()
    lines = why(instance, "disk full").splitlines()
    assert [line.split()[3] for line in lines if " in a row: " in line][-2:] == [
        "first_alert",
        "already_notified",
    ]
    assert "(the same 3 times since 20" in lines[-1]


def test_a_job_that_is_no_more_is_still_explained(tmp_path):
    instance = Instance(tmp_path, NO_MAIL)
    flag = tmp_path / "flag"
    path = instance.job("Flag", flag_job(flag))
    instance.cron()
    path.unlink()
    instance.cron()
    out = why(instance, "Fl*")
    assert "No job of this name was met by the last run." in out
    assert "failing, 1 in a row: the flag is down" in out


def test_an_address_that_takes_no_mail_is_named_and_is_not_tried_again(mailing, smtp):
    mailing.write(
        mailing.settings.read_text().replace("ops@", "gone@example.com, ops@") + FULL
    )
    smtp.answer_rcpt = lambda to: "550 5.1.1 no" if to.startswith("gone") else None
    mailing.cron()
    out = why(mailing, "disk full")
    assert "sent             alert to ops@example.com was sent" in out
    assert "dropped          alert to gone@example.com was refused and is not" in out
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
    assert first["text"].endswith("; first alert, as the policy is: on change")
    assert first["details"]["status"] == "failing"


def test_a_name_that_nobody_knows_is_an_error_with_a_hint(tmp_path):
    instance = Instance(tmp_path, NO_MAIL + FULL)
    instance.cron()
    ran = instance.run("-m", "why", "disk ful")
    assert (ran.code, ran.out) == (1, "")
    assert "nothing is remembered of a job 'disk ful'; did you mean 'disk full'" in (
        ran.err
    )


def test_why_needs_a_name(tmp_path):
    assert Instance(tmp_path).run("-m", "why").code == 2


def decided(instance, word):
    lines = (instance.state / "decisions.log").read_text().splitlines()
    return [line for line in lines if line.split("\t")[3] == word]


def test_with_nomail_nobody_is_said_to_have_been_told(tmp_path):
    instance = Instance(tmp_path, NO_MAIL + FULL)
    instance.cron()
    instance.cron()
    out = why(instance, "disk full")
    assert "The mail of 20" in out
    assert "to ops@example.com was logged, not mailed (nomail)." in out
    assert "alert to ops@example.com was logged, not mailed (nomail): " in out
    assert "no mail: the mail of 20" in out
    assert "told" not in out.replace("already told", "").replace("Told", "told")
    assert " sent" not in out.replace("is to be sent", "")
    assert decided(instance, "sent") == []
    (row,) = instance.run("-m", "why", "disk full", "--json").json()
    assert row["delivery"] == "logged"
    run = json.loads((instance.state / "run.json").read_text())
    assert run.get("sent", 0) == 0


def test_with_nomail_many_in_one_are_not_said_to_be_sent_either(tmp_path):
    instance = Instance(tmp_path, NO_MAIL)
    for number in range(8):
        instance.add(FULL.replace("full", f"full{number}"))
    instance.cron()
    out = why(instance, "disk full3")
    assert "was logged, not mailed (nomail) as a part of '8 failing" in out
    assert "to ops@example.com was logged, not mailed (nomail).\n" in out
    assert decided(instance, "sent") == []


def test_with_the_flag_nomail_the_mail_has_still_to_leave(mailing, smtp):
    mailing.add(FULL)
    mailing.cron("minute", "--nomail")
    out = why(mailing, "disk full")
    assert "The last news of it has still to leave" in out
    assert decided(mailing, "sent") == decided(mailing, "logged") == []
    run = json.loads((mailing.state / "run.json").read_text())
    assert run.get("sent", 0) == 0
    mailing.cron()
    smtp.wait_for(1)
    assert "Told ops@example.com at 20" in why(mailing, "disk full")


@pytest.mark.parametrize("count", [1, 8])
def test_whose_mail_was_refused_for_good_is_not_said_to_have_been_told(
    mailing, smtp, count
):
    for number in range(count):
        mailing.add(FULL.replace("full", f"full{number}"))
    smtp.answer_rcpt = lambda to: "550 5.1.1 no such user"
    mailing.cron()
    out = why(mailing, "disk full0")
    assert "The mail of 20" in out
    assert "to ops@example.com was refused for good.\n" in out
    assert "Told" not in out and "was sent" not in out

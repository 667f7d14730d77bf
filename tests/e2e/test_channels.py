"""Channels as people have them: each way gets each message, whatever the others do."""

from __future__ import annotations

import os
import re
import signal
import time
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.instance import GENERAL, Instance, flag_job
from tests.support.receiver import Receiver, silent

NOISY = "    def notifyOnFailureEvery(self):\n" + (
    "        return JobFailureNotificationFrequency.EVERYTIME\n"
)
CANARY = "canary4711token"
CHANNELS = """\
[email]
nomail = yes
[channel chat]
webhook = {0}/chat/{1}
timeout = 5
[channel pager]
webhook = {0}/pager
timeout = 5
[channel siren]
command = ./siren --loud
timeout = 5
"""
TO_ALL = GENERAL.replace("ops@example.com", "ops@example.com, chat, pager, siren")


@pytest.fixture
def receiver():
    with Receiver() as it:
        yield it


THREAD = """grep -o '"thread": *"[^"]*"' | cut -d'"' -f4 >> ids\n"""


def add_siren(folder):
    siren = folder / "siren"
    siren.write_text("#!/bin/sh\necho $CHECKER_TYPE $CHECKER_JOB >> rung\n" + THREAD)
    siren.chmod(0o700)
    folder.chmod(0o700)


@pytest.fixture
def instance(tmp_path, receiver):
    add_siren(tmp_path)
    settings = CHANNELS.format(receiver.url(""), CANARY)
    it = Instance(tmp_path, settings, TO_ALL)
    it.job("Flag", flag_job(tmp_path / "flag"))
    return it


def types(requests):
    return [request.json["type"] for request in requests]


def rung(instance):
    path = instance.folder / "rung"
    return path.read_text().splitlines() if path.exists() else []


def until(happened):
    ends_at = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < ends_at, "it never happened"
        time.sleep(0.02)


def test_each_way_gets_the_alert_and_its_recovery_once(instance, receiver):
    assert instance.cron().silent
    assert instance.cron().silent
    (instance.folder / "flag").touch()
    assert instance.cron().silent
    for path in (f"/chat/{CANARY}", "/pager"):
        alert, recovery = receiver.at(path)
        assert types([alert, recovery]) == ["alert", "recovery"]
        assert recovery.json["data"]["thread"] == alert.json["data"]["id"]
    assert rung(instance) == ["alert Flag", "recovery Flag"]
    assert not any(record.get("queued") for record in instance.records().values())


@pytest.mark.long
def test_with_nomail_each_is_named_with_what_became_of_it(instance):
    ran = instance.run("-m", "check", "Flag")
    became = "the mail was logged, not mailed (nomail)"
    assert f"first alert, sent to chat, pager, siren; {became}" in _one_line(ran.out)
    (row,) = [row for row in instance.listed() if row["job"] == "Flag"]
    assert row["notified"] == ["ops@example.com", "chat", "pager", "siren"]
    assert "ops@example.com (logged), chat" in _one_line(instance.run("-m", "list").out)
    why = _one_line(instance.run("-m", "why", "Flag").out)
    assert "Notified chat, pager, siren at" in why
    assert "to ops@example.com was logged, not mailed (nomail)." in why
    instance.cron()
    why = _one_line(instance.run("-m", "why", "Flag").out)
    assert re.search(
        "no mail: chat, pager, siren were notified at [^,]*, the mail", why
    )


def _one_line(text):
    return " ".join(text.split())


@pytest.mark.long
def test_a_way_that_fails_is_tried_again_alone(instance, receiver):
    receiver.answers["/pager"] = 500
    ran = instance.cron()
    assert "1 message to pager not sent" in ran.err
    assert "answered 500" in ran.err
    assert list(instance.last_run()["failing_ways"]) == ["pager"]
    why = instance.run("-m", "why", "Flag").out
    assert "Queued for pager since" in why
    assert "one message is tried" in why or "the next attempt comes after" in why
    receiver.answers.clear()
    instance.let_time_pass_for_mails()
    assert instance.cron().silent
    first, second = receiver.at("/pager")
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert len(receiver.at(f"/chat/{CANARY}")) == len(rung(instance)) == 1
    assert "failing_ways" not in instance.last_run()


@pytest.mark.long
def test_one_that_hangs_delays_no_other(instance, receiver):
    receiver.answers[f"/chat/{CANARY}"] = silent
    process = instance.start("-m", "cron", "-c", "minute")
    until(lambda: receiver.at(f"/chat/{CANARY}"))
    began = time.monotonic()
    until(lambda: receiver.at("/pager") and rung(instance))
    assert time.monotonic() - began < 4.5
    _out, err = process.communicate(timeout=30)
    assert "chat: not done within 5 s" in err


@pytest.mark.long
def test_kill_9_between_two_loses_neither_and_repeats_none(instance, receiver):
    receiver.answers["/pager"] = silent
    process = instance.start("-m", "cron", "-c", "minute")
    until(lambda: receiver.at("/pager") and receiver.at(f"/chat/{CANARY}"))
    until(lambda: [one["to"] for one in instance.records()["Flag"]["queued"]][-1:])
    until(lambda: len(instance.records()["Flag"]["queued"]) == 1)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=10)
    receiver.answers.clear()
    instance.let_time_pass_for_mails()
    assert instance.cron().silent
    before, after = receiver.at("/pager")
    assert (before.headers["webhook-id"], before.body) == (
        after.headers["webhook-id"],
        after.body,
    )
    assert len(receiver.at(f"/chat/{CANARY}")) == len(rung(instance)) == 1


@pytest.mark.long
def test_secrets_of_channels_are_written_nowhere(instance, receiver):
    receiver.answers[f"/chat/{CANARY}"] = 302
    shown = [instance.cron("minute", "-v", "-v")]
    receiver.answers[f"/chat/{CANARY}"] = 404
    instance.let_time_pass_for_mails()
    shown.append(instance.cron("minute", "-v", "-v"))
    for words in (["list"], ["why", "Flag"], ["status"], ["show", "channel *"]):
        shown.append(instance.run("-m", *words))
        shown.append(instance.run("-m", *words, "--json"))
    shown.append(instance.run("-m", "validate"))
    texts = [text for ran in shown for text in (ran.out, ran.err)]
    assert not any(CANARY in text for text in [*texts, instance.everything_written()])


@pytest.mark.long
def test_with_nomail_on_the_command_line_nothing_leaves(instance, receiver):
    ran = instance.cron("minute", "--nomail", "-v")
    assert receiver.received == []
    assert len(instance.records()["Flag"]["queued"]) == 1
    assert "ops@example.com, chat, pager, siren" in ran.err + ran.out + (
        instance.everything_written()
    )
    assert instance.cron().silent
    assert types(receiver.at("/pager")) == ["alert"]


@pytest.mark.long
@pytest.mark.parametrize(
    ("contact", "sent", "becomes"),
    [
        ("chat, pager", ["alert Flag"], "it goes to siren"),
        ("chat, pager, siren", [], "siren has it"),
    ],
)
def test_what_was_for_a_channel_that_is_gone_goes_to_alertcontact_once(
    instance, receiver, contact, sent, becomes
):
    instance.add(f"[defaults]\ncontact = ops@example.com, {contact}\n")
    before = ["alert Flag"] * ("siren" in contact) + ["alert channel pager"]
    receiver.answers["/pager"] = 500
    instance.cron()
    instance.pass_time(timedelta(minutes=16))
    instance.cron()
    assert rung(instance) == before
    assert (instance.state / "channels" / "pager.json").exists()
    instance.write(
        TO_ALL.replace("chat, pager, siren", "siren").replace("ops@example.com, ", "")
        + CHANNELS.format(receiver.url(""), CANARY).replace("pager", "other")
    )
    assert instance.cron().silent
    assert rung(instance) == before + sent
    assert not any(record.get("queued") for record in instance.records().values())
    assert not (instance.state / "dead").exists()
    assert not (instance.state / "channels" / "pager.json").exists()
    assert "failing_ways" not in instance.last_run()
    why = instance.run("-m", "why", "Flag").out
    assert (
        "alert to pager is not sent: the settings no longer have the channel pager, so "
        f"{becomes}: "
    ) in " ".join(why.split())
    # No closing message of the way, and the recovery goes to those who have the alert.
    (instance.folder / "flag").touch()
    instance.cron()
    assert instance.cron().silent
    assert rung(instance) == before + sent + ["recovery Flag"]


@pytest.mark.long
def test_a_way_that_fails_for_15_minutes_is_an_alert_by_the_others(instance, receiver):
    receiver.answers["/pager"] = 500
    instance.cron()
    assert rung(instance) == ["alert Flag"]
    instance.pass_time(timedelta(minutes=16))
    instance.cron()
    alert = receiver.at(f"/chat/{CANARY}")[-1].json["data"]
    assert alert["job"] == "channel pager"
    assert "answered 500" in alert["reason"]
    since = datetime.fromisoformat(alert["since"])
    assert datetime.now(UTC) - since >= timedelta(minutes=16)
    assert "-m test pager " in alert["text"]
    assert ", for 16 min" in alert["text"]
    assert rung(instance) == ["alert Flag", "alert channel pager"]
    instance.cron()
    assert len(rung(instance)) == 2
    status = instance.run("-m", "status").out
    assert "MailProblem: no message could be sent to pager since" in status
    receiver.answers.clear()
    instance.let_time_pass_for_mails()
    instance.cron()
    assert instance.cron().silent
    assert rung(instance)[2:] == ["recovery channel pager"]


@pytest.mark.long
def test_a_test_message_shows_each_step(instance, receiver):
    ran = instance.run("-m", "test", "pager")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines()[1:] == [
        "pager: answered 200",
        "The message to pager was accepted.  Did it arrive?",
    ]
    (request,) = receiver.received
    assert request.json["data"]["subject"] == "test message, nothing is wrong"
    receiver.answers["/pager"] = 403
    ran = instance.run("-m", "test", "pager")
    assert (ran.code, "answered 403" in ran.err) == (1, True)
    assert instance.run("-m", "test", "paging").code == 2


@pytest.mark.long
def test_a_test_message_goes_by_one_service_of_a_channel(instance, receiver):
    pytest.importorskip("apprise")
    where = f"127.0.0.1:{receiver.port}"
    instance.add(f"[channel ap]\nurl = ntfy://{where}/one json://{where}/two\n")
    ran = instance.run("-m", "test", "ap/ntfy")
    assert (ran.code, ran.err) == (0, "")
    assert "The message to ap/ntfy was accepted." in ran.out
    (request,) = receiver.received
    assert request.json["topic"] == "one"
    ran = instance.run("-m", "test", "ap/ntfi")
    assert (ran.code, "did you mean 'ap/ntfy'?" in ran.err) == (2, True)


@pytest.mark.long
def test_a_retry_reaches_only_the_recipient_that_has_not_accepted(instance, receiver):
    pytest.importorskip("apprise")
    url = f"signal://127.0.0.1:{receiver.port}/15550000001/15550000002/15550000003"
    instance.write(
        f"{GENERAL.replace('ops@example.com', 'ap')}[channel ap]\nurl = {url}\n"
    )

    def refuse_the_second(handler):
        refused = "+15550000003" in receiver.received[-1].json["recipients"]
        handler.send_response(400 if refused else 201)
        handler.end_headers()

    receiver.answers["/v2/send"] = refuse_the_second
    ran = instance.cron()
    assert "1 message to ap/signal-2 not sent" in ran.err
    receiver.answers["/v2/send"] = 201
    instance.let_time_pass_for_mails()
    assert instance.cron().silent
    assert sorted(one.json["recipients"] for one in receiver.received) == [
        ["+15550000002"],
        ["+15550000003"],
        ["+15550000003"],
    ]


@pytest.mark.long
def test_who_gets_an_alert_for_a_service_that_is_gone_gets_the_recovery(
    instance, receiver
):
    pytest.importorskip("apprise")
    siren = GENERAL.replace("ops@example.com", "siren")
    siren += "[channel siren]\ncommand = ./siren\n[job Flag]\ncontact = ap\n"
    where = f"127.0.0.1:{receiver.port}"
    instance.write(f"{siren}[channel ap]\nurl = json://{where}/a json://{where}/b\n")
    receiver.answers["/b"] = 500
    instance.cron()
    instance.pass_time(timedelta(minutes=16))
    instance.cron()
    assert rung(instance) == ["alert channel ap/json-2"]
    instance.write(f"{siren}[channel ap]\nurl = json://{where}/a\n")
    for _minute in range(3):
        assert instance.cron().silent
    (instance.folder / "flag").touch()
    assert instance.cron().silent
    # The service that is gone is not said to be OK again.
    assert rung(instance)[1:] == ["alert Flag", "recovery Flag"]
    assert [one.json["type"] for one in receiver.at("/a")] == ["failure", "success"]
    assert {row["status"] for row in instance.listed()} == {"ok"}


def test_a_test_without_a_name_tries_every_way(instance, receiver):
    ran = instance.run("-m", "test")
    assert ran.code == 0
    assert "nomail is set" in ran.out
    assert (len(receiver.received), len(rung(instance))) == (2, 1)


def test_where_only_channels_are_notified_no_mail_is_needed(tmp_path, receiver):
    tmp_path.chmod(0o700)
    general = GENERAL.replace("ops@example.com", "pager")
    settings = f"[channel pager]\nwebhook = {receiver.url('/pager')}\n"
    instance = Instance(tmp_path, settings, general)
    instance.job("Flag", flag_job(tmp_path / "flag"))
    assert instance.cron().silent
    assert len(receiver.at("/pager")) == 1
    status = instance.run("-m", "status", "--json").json()
    assert "True" in str(status)


@pytest.mark.long
def test_a_fallback_gets_what_is_not_accepted_with_what_was_tried(instance, receiver):
    instance.write(
        GENERAL.replace("ops@example.com", "pager")
        + CHANNELS.format(receiver.url(""), CANARY).replace(
            "[channel siren]", "fallback = siren after 10min\n[channel siren]"
        )
    )
    receiver.answers["/pager"] = 500
    instance.cron()
    instance.pass_time(timedelta(minutes=9))
    instance.cron()
    assert rung(instance) == []
    instance.pass_time(timedelta(minutes=1))
    instance.cron()
    instance.cron()
    assert rung(instance) == ["alert Flag"]
    assert len(instance.records()["Flag"]["queued"]) == 1
    # It hears of the end, although the other has accepted it by then.
    receiver.answers.clear()
    instance.let_time_pass_for_mails()
    instance.cron()
    assert types(receiver.at("/pager"))[-1] == "alert"
    (instance.folder / "flag").touch()
    instance.cron()
    instance.pass_time(timedelta(minutes=20))
    instance.cron()
    assert rung(instance) == ["alert Flag", "recovery Flag"]
    assert types(receiver.at("/pager"))[-2:] == ["alert", "recovery"]


@pytest.mark.long
def test_what_nobody_acknowledges_is_escalated_once(instance, receiver):
    instance.write(
        GENERAL.replace("ops@example.com", "pager")
        + CHANNELS.format(receiver.url(""), CANARY).replace(
            "[channel siren]", "escalate = siren after 30min\n[channel siren]"
        )
    )
    instance.cron()
    instance.pass_time(timedelta(minutes=29))
    instance.cron()
    assert rung(instance) == []
    instance.pass_time(timedelta(minutes=1))
    instance.cron()
    instance.cron()
    assert rung(instance) == ["alert Flag"]
    (instance.folder / "flag").touch()
    instance.cron()
    assert rung(instance) == ["alert Flag", "recovery Flag"]
    alert, recovery = receiver.at("/pager")
    assert types([alert, recovery]) == ["alert", "recovery"]
    assert recovery.json["data"]["thread"] == alert.json["data"]["id"]
    *_, first, last = (instance.folder / "ids").read_text().split()
    assert first == last == alert.json["data"]["id"]


def escalating(receiver, successor, *channels, contact="pager"):
    """Return settings in which the pager escalates, with these channels only."""
    texts = CHANNELS.format(receiver.url(""), CANARY).split("[channel ")
    kept = [text for text in texts[1:] if text.partition("]")[0] in channels]
    escalate = f"escalate = {successor} after 30min\n"
    return (
        GENERAL.replace("ops@example.com", contact)
        + texts[0]
        + "".join(
            f"[channel {text}" + (escalate if text.startswith("pager") else "")
            for text in kept
        )
    )


@pytest.mark.long
def test_an_escalation_that_waits_for_a_channel_that_is_gone_goes_to_the_contact(
    instance, receiver
):
    siren = instance.folder / "siren"
    siren.write_text("#!/bin/sh\nexit 1\n")
    instance.write(escalating(receiver, "siren", "pager", "siren"))
    instance.cron()
    instance.pass_time(timedelta(minutes=30))
    assert "siren ended with exit code 1" in instance.cron().err
    # It is escalated to another channel, and what waited for the old one is not lost.
    instance.write(escalating(receiver, "chat", "pager", "chat", contact="pager, chat"))
    assert instance.cron().silent
    assert types(receiver.at(f"/chat/{CANARY}")) == ["alert"]
    assert types(receiver.at("/pager")) == ["alert"]
    (instance.folder / "flag").touch()
    instance.cron()
    assert types(receiver.at(f"/chat/{CANARY}")) == ["alert", "recovery"]
    assert types(receiver.at("/pager")) == ["alert", "recovery"]
    assert not any(record.get("queued") for record in instance.records().values())


@pytest.mark.long
def test_what_was_escalated_to_a_channel_that_is_gone_is_escalated_to_the_next(
    instance, receiver
):
    instance.write(escalating(receiver, "siren", "pager", "siren"))
    instance.cron()
    instance.pass_time(timedelta(minutes=30))
    instance.cron()
    assert rung(instance) == ["alert Flag"]
    # Where the settings name a channel that is gone, that is said, and the rest runs.
    instance.write(escalating(receiver, "siren", "pager", "chat"))
    assert instance.cron().silent
    *_, told = receiver.at("/pager")
    assert (
        "escalate = siren: there is no [channel siren]" in told.json["data"]["reason"]
    )
    assert receiver.at(f"/chat/{CANARY}") == []
    instance.write(escalating(receiver, "chat", "pager", "chat"))
    assert instance.cron().silent
    assert instance.cron().silent
    assert types(receiver.at(f"/chat/{CANARY}")) == ["alert"]
    (instance.folder / "flag").touch()
    assert instance.cron().silent
    assert types(receiver.at(f"/chat/{CANARY}")) == ["alert", "recovery"]
    jobs = [one.json["data"]["job"] for one in receiver.at("/pager")]
    assert jobs == ["Flag", "channel pager", "channel pager", "Flag"]
    assert rung(instance) == ["alert Flag"]


@pytest.mark.long
@pytest.mark.parametrize("contact", ["ops@example.com, siren", "siren"])
def test_the_notice_of_an_address_that_is_rejected_leaves_by_each_way(
    tmp_path, smtp, cafile, contact
):
    add_siren(tmp_path)
    settings = f"{smtp.email_section(cafile)}[channel siren]\ncommand = ./siren\n"
    settings += "[defaults]\ncontact = gone@example.com\n"
    general = GENERAL.replace("ops@example.com", contact)
    instance = Instance(tmp_path, settings, general)
    instance.job("Flag", flag_job(tmp_path / "flag"))
    smtp.answer_rcpt = lambda to: "550 5.1.1 unknown" if to.startswith("gone") else None
    ran = instance.cron()
    assert "mail to gone@example.com is rejected" in ran.err
    assert "siren" not in ran.err
    assert rung(instance) == ["note state"]
    assert [mail.to for mail in smtp.mails] == [("ops@example.com",)] * ("@" in contact)
    assert len(list((instance.state / "dead").iterdir())) == 1
    assert instance.cron().silent


@pytest.mark.long
def test_the_note_about_deferred_mail_leaves_by_each_way(tmp_path, smtp, cafile):
    add_siren(tmp_path)
    email = smtp.email_section(cafile).replace("[email]", "[email]\nmailsperhour = 2")
    settings = f"{email}[channel siren]\ncommand = ./siren\n"
    settings += "[defaults]\ncontact = ops@example.com\n"
    general = GENERAL.replace("ops@example.com", "ops@example.com, siren")
    instance = Instance(tmp_path, settings, general)
    instance.job("Flag", flag_job(tmp_path / "flag", hooks=NOISY))
    for _minute in range(3):
        instance.cron()
    assert rung(instance) == ["note state"]
    assert [mail.to for mail in smtp.mails] == [("ops@example.com",)] * 2
    assert "deferred until" in smtp.mails[-1].subject
    assert not (instance.state / "dead").exists()

"""Proof that mail arrives: the real program, a real account, one round trip."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.support.approved import REAL
from tests.support.instance import Instance
from tests.support.proofs import instance_of, memory, record, turn_back, until_proven
from tests.support.servers import PASSWORD, SmtpServer


@pytest.mark.parametrize("folder", ["INBOX", "Trash", 'A "b" & Körbe/c'])
def test_a_mail_to_ourselves_is_found_and_deleted(tmp_path, account, cafile, folder):
    account.goes_to(folder)
    account.put("INBOX", b"Subject: lunch\r\n\r\nat noon\r\n")
    instance = instance_of(tmp_path, account, cafile)
    assert instance.cron("hour").silent
    assert "proof" not in memory(instance)
    account.wait_for(folder, 2 if folder == "INBOX" else 1)
    proof = until_proven(instance)
    assert (proof["result"], proof["interval_s"]) == ("arrived", 3600)
    assert proof["seconds"] < 20 and "failed_at" not in proof
    assert account.subjects("INBOX") == ["lunch"]
    assert folder == "INBOX" or account.subjects(folder) == []
    ((_sent, _arrived, seconds, result, _hop),) = memory(instance)["history"]
    assert (seconds, result) == (proof["seconds"], "arrived")
    (row,) = instance.run("-m", "list", "--json").json()
    assert row["status"] == "ok"


@pytest.mark.long
def test_a_mail_under_way_is_looked_for_each_minute(tmp_path, account, cafile):
    account.goes_to("INBOX", after_s=6)
    instance = instance_of(tmp_path, account, cafile)
    instance.cron("hour")
    assert instance.cron().silent
    assert record(instance)["pending_since"] and "round_trip" in memory(instance)
    proof = until_proven(instance)
    assert proof["result"] == "arrived" and 5 <= proof["seconds"] < 20
    assert int(proof["hop"].split()[0]) >= 5, proof


@pytest.mark.long
@pytest.mark.fault("F8", "our own mail is found in spam")
def test_what_arrives_in_spam_is_no_proof(tmp_path, account, cafile, approved):
    account.goes_to("Junk")
    instance = instance_of(tmp_path, account, cafile)
    instance.cron("hour")
    account.wait_for("Junk")
    proof = until_proven(instance)
    assert proof["result"] == "spam" and "proved_at" not in proof
    approved(record(instance)["last_reason"], "1", hide=REAL)
    approved(account.notified()[-1].subject, "subject", hide=REAL)


@pytest.mark.long
def test_what_never_arrives_fails_once_and_a_later_proof_ends_it(
    tmp_path, account, cafile, approved
):
    account.goes_to(None)
    instance = instance_of(tmp_path, account, cafile)
    instance.cron("hour")
    instance.cron()
    assert record(instance)["pending_since"]
    turn_back(instance, minutes=11)
    instance.cron()
    proof = memory(instance)["proof"]
    assert proof["result"] == "never" and proof["failed_at"]
    reason = record(instance)["last_reason"]
    approved(reason, "reason", hide=REAL)
    account.goes_to("INBOX")
    instance.cron("hour")
    proof = until_proven(instance)
    assert proof["result"] == "arrived" and "failed_at" not in proof
    alert, recovery = (one.subject for one in account.notified(2))
    approved(alert, "alert", hide=REAL)
    approved(recovery, "recovery", hide=REAL)


@pytest.mark.long
def test_a_late_mail_is_a_warning_and_yet_a_proof(tmp_path, account, cafile, approved):
    instance = instance_of(tmp_path, account, cafile)
    instance.cron("hour")
    account.wait_for("INBOX")
    turn_back(instance, minutes=5)
    proof = until_proven(instance)
    assert proof["result"] == "late" and proof["proved_at"]
    assert 298 <= proof["seconds"] < 330 and "failed_at" not in proof
    approved(record(instance)["last_reason"], hide={r"\b\d+ s\b": "N s"})


@pytest.mark.long
def test_a_login_that_is_refused_is_not_tried_each_minute(
    tmp_path, account, cafile, approved
):
    instance = instance_of(tmp_path, account, cafile)
    instance.cron("hour")
    account.wait_for("INBOX")
    # The mail server knows the new password, the mailbox does not.
    account.let_smtp_know("another")
    instance.write(instance.settings.read_text().replace(PASSWORD, "another"))
    instance.cron()
    approved(memory(instance)["proof"]["result"], "1", hide=REAL)
    assert "round_trip" not in memory(instance) and not record(instance).get(
        "pending_since"
    )
    (alert,) = account.notified()
    approved(alert.subject, "subject", hide=REAL)
    assert "https://myaccount.google.com/apppasswords" in alert.body
    assert "another" not in instance.everything_written()


@pytest.mark.long
def test_a_round_trip_mail_that_is_refused_says_what_the_server_said(
    tmp_path, account, cafile, approved
):
    account.answer = "550 5.1.1 no such user"
    instance = instance_of(tmp_path, account, cafile)
    instance.cron("hour")
    instance.cron()
    proof = memory(instance)["proof"]
    approved(proof["result"], "1", hide=REAL)
    approved(record(instance)["last_reason"], "2", hide={r"checker\d*@": "checker@"})


@pytest.mark.long
def test_a_round_trip_mail_that_waits_fails_after_the_grace_and_goes_on(
    tmp_path, account, cafile, approved
):
    account.answer = "451 4.7.1 greylisted"
    instance = instance_of(tmp_path, account, cafile)
    instance.cron("hour")
    assert record(instance)["pending_since"] and "proof" not in memory(instance)
    turn_back(instance, minutes=11)
    instance.cron()
    approved(memory(instance)["proof"]["result"], hide=REAL)
    assert "greylisted" in record(instance)["last_reason"]
    token = memory(instance)["round_trip"]["token"]
    account.answer = None
    instance.let_time_pass_for_mails()
    instance.cron()
    account.wait_for("INBOX")
    instance.cron("hour")
    assert until_proven(instance)["result"] in ("arrived", "late")
    assert token in memory(instance)["tokens"]


@pytest.mark.long
def test_after_an_outage_the_mail_that_left_late_is_looked_for_in_the_next_minutes(
    tmp_path, account, cafile
):
    served = tmp_path / "www"
    served.mkdir()
    file = served / "checker.txt"
    account.answer = "451 4.3.2 not now"
    instance = instance_of(tmp_path, account, cafile, f"[status]\nwrite = {file}\n")
    instance.cron("hour")
    turn_back(instance, minutes=11)
    instance.cron()
    assert memory(instance)["proof"]["result"] == "send failed"
    # Its hour is not over, so it is not asked while the mail is queued.
    assert not record(instance).get("pending_since")
    account.answer = None
    instance.let_time_pass_for_mails()
    instance.cron()
    assert record(instance)["pending_since"]
    words = [file.read_text().splitlines()[0]]
    account.wait_for("INBOX")
    assert until_proven(instance)["result"] in ("arrived", "late")
    words.append(file.read_text().splitlines()[0])
    assert words == ["MailProblem", "True"]
    assert record(instance).get("status", "ok") != "failing"


@pytest.mark.long
def test_a_mailbox_that_is_away_is_reported_after_the_grace(tmp_path, account, cafile):
    instance = instance_of(tmp_path, account, cafile)
    instance.cron("hour")
    text = instance.settings.read_text()
    instance.write(text.replace(f"imapport = {account.imapport}", "imapport = 1"))
    instance.cron()
    assert record(instance)["pending_since"] and "proof" not in memory(instance)
    turn_back(instance, minutes=11)
    instance.cron()
    assert memory(instance)["proof"]["result"] == "unreachable"
    assert "imapport" in record(instance)["last_reason"]
    # It is looked for in the next minutes, and the proof tells when it arrived.
    instance.cron()
    assert record(instance)["status"] == "failing"
    instance.write(text)
    account.wait_for("INBOX")
    instance.cron()
    assert memory(instance)["proof"]["result"] in ("arrived", "late")
    assert not record(instance).get("pending_since")


@pytest.mark.long
def test_without_imapserver_it_says_so_once(tmp_path, ca, cafile, approved):
    with SmtpServer(ca) as server:
        instance = Instance(tmp_path, server.email_section(cafile))
        instance.cron("hour")
        instance.cron("hour")
        (note,) = server.wait_for(1)
        approved(note.subject, "subject", hide=REAL)
        (row,) = instance.run("-m", "list", "--json").json()
    approved(row["status"], "2", hide=REAL)
    approved(memory(instance)["proof"]["result"], "3", hide=REAL)


@pytest.mark.long
def test_what_was_proven_is_still_known_when_it_is_not_set_up_any_more(
    tmp_path, account, cafile, approved
):
    instance = instance_of(tmp_path, account, cafile)
    instance.cron("hour")
    account.wait_for("INBOX")
    until_proven(instance)
    text = instance.settings.read_text()
    instance.write(text.replace("imapserver =", "#imapserver ="))
    instance.cron("hour")
    approved(memory(instance)["proof"]["result"], hide=REAL)
    assert len(memory(instance)["history"]) == 1


def test_a_mailbox_without_a_login_is_not_set_up(tmp_path, approved):
    with SmtpServer(security="none") as server:
        email = f"{server.email_section()}imapserver = 127.0.0.1\n"
        instance = Instance(tmp_path, f"{email}sender = alerts@example.com\n")
        instance.cron("hour")
        (note,) = server.wait_for(1)
    approved(note.body, "body", hide=REAL)
    status = instance.run("-m", "status").out
    approved(status, "status", hide={**REAL, r"\S+ of state": "N kB of state"})


def test_with_nomail_there_is_no_round_trip_mail_and_no_note(tmp_path, approved):
    instance = Instance(tmp_path)
    instance.cron("hour")
    (row,) = instance.run("-m", "list", "--json").json()
    approved(row["status"], hide=REAL)
    assert record(instance).get("queued", ()) == ()
    assert "nomail" in memory(instance)["proof"]["why"]


def test_a_run_with_the_nomail_flag_sends_no_round_trip_mail(tmp_path, account, cafile):
    instance = instance_of(tmp_path, account, cafile)
    instance.cron("hour", "--nomail")
    assert account.asked_for() == []
    assert record(instance)["pending_since"] and not record(instance).get("memory")


@pytest.mark.long
def test_trying_it_logs_in_and_sends_nothing(tmp_path, account, cafile):
    instance = instance_of(tmp_path, account, cafile)
    account.put("Trash", b"Subject: x\r\n\r\n")
    ran = instance.run("-m", "run", "EmailChecker")
    assert ran.code == 0
    assert "sends nothing" in ran.out and "INBOX, Trash" in ran.out
    assert account.asked_for() == [] and instance.records() == {}
    (row,) = instance.run("-m", "run", "EmailChecker", "--json").json()
    assert row["status"] == "ok"


@pytest.mark.long
@pytest.mark.fault("F11", "old round-trip mails pile up")
def test_own_round_trip_mails_that_piled_up_go_and_nothing_else(
    tmp_path, account, cafile
):
    instance = instance_of(tmp_path, account, cafile)
    account.goes_to(None)
    instance.cron("hour")
    lost = memory(instance)["round_trip"]["token"]
    turn_back(instance, minutes=11)
    instance.cron()
    for token, name in ((lost, "web1"), ("f" * 32, "web2")):
        head = f"Message-ID: <{token}@x>\r\nX-Checker-Round-Trip: {token}\r\n"
        head += f"Subject: [{name}] round-trip mail {token}\r\nFrom: {account.user}\r\n"
        account.put("INBOX", head.encode() + b"\r\nx\r\n")
    account.goes_to("INBOX")
    instance.cron("hour")
    account.wait_for("INBOX", 3)
    until_proven(instance)
    left = [one for one in account.subjects("INBOX") if "round-trip mail" in one]
    assert left == [f"[web2] round-trip mail {'f' * 32}"]


@pytest.mark.long
def test_a_round_trip_mail_that_state_has_forgotten_is_known_by_whom_it_comes_from(
    tmp_path, account, cafile
):
    sender = "alerts@example.com"
    instance = instance_of(tmp_path, account, cafile, f"sender = {sender}\n")
    for number, who in enumerate((sender, "someone@example.com")):
        token = f"{number}" * 32
        head = f"X-Checker-Round-Trip: {token}\r\n"
        head += f"Subject: [web1] round-trip mail {token}\r\n"
        head += f"Message-ID: <{token}@x>\r\nFrom: {who}\r\n"
        long_ago = datetime.now(UTC) - timedelta(days=3)
        account.put("INBOX", head.encode() + b"\r\nx\r\n", long_ago)
    instance.cron("hour")
    account.wait_for("INBOX", 3)
    until_proven(instance)
    assert account.subjects("INBOX") == [f"[web1] round-trip mail {'1' * 32}"]


@pytest.mark.long
def test_a_proof_holds_for_the_time_to_the_next_which_no_round_trip_mail_may_outlast(
    tmp_path, account, cafile
):
    instance = instance_of(tmp_path, account, cafile, "imapevery = minute\n")
    instance.cron()
    account.wait_for("INBOX")
    assert until_proven(instance)["interval_s"] == 600

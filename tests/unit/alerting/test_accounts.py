"""By which account mail leaves: the rules, and the program with two real servers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from lib.alerting.planning import HELD, Accounts, accounts
from lib.core import ratelimit
from lib.core.jobs import JobKey
from lib.core.ratelimit import SendLog
from lib.core.records import Record
from lib.core.settings import Mail
from tests.support.approved import REAL
from tests.support.imapserver import PymapAccount
from tests.support.instance import Instance, flag_job
from tests.support.proofs import memory, record, turn_back, until_proven
from tests.support.servers import SmtpServer, SmtpStub

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
SECOND = Mail(smtpserver="smtp.example.net")
MAIL = Mail(smtpserver="smtp.example.com", backup=SECOND)


def ago(**length):
    return (NOON - timedelta(**length)).isoformat()


def proof(**memory):
    return Record(JobKey("EmailChecker", "EmailChecker"), memory={"proof": memory})


@pytest.mark.long
def test_without_a_second_account_there_is_one_way():
    failed = proof(failed_at=ago(minutes=5))
    assert accounts(Mail(), SendLog(), [failed], NOON, UTC) == Accounts()


@pytest.mark.parametrize(
    ("memory", "why"),
    [
        ({}, ""),
        ({"result": "not set up"}, ""),
        ({"proved_at": ago(minutes=50), "interval_s": 3600}, ""),
        ({"proved_at": ago(hours=1, minutes=59), "interval_s": 3600}, ""),
        ({"proved_at": ago(hours=2, minutes=1), "interval_s": 3600}, "too old"),
        ({"proved_at": ago(hours=1), "failed_at": ago(minutes=1)}, "has failed"),
        ({"failed_at": "no time"}, ""),
    ],
)
def test_the_second_is_for_when_the_first_is_not_proven(memory, why):
    found = accounts(MAIL, SendLog(), [proof(**memory)], NOON, UTC)
    assert found.backup is SECOND
    assert why in found.why_not_primary
    assert bool(why) is bool(found.why_not_primary)


def test_the_second_is_for_when_the_first_holds_us_off():
    send_log = SendLog(held_until=NOON + timedelta(minutes=10))
    found = accounts(MAIL, send_log, [], NOON, UTC)
    assert (found.backup, found.why_not_primary) == (SECOND, HELD)


def test_a_second_that_would_not_do_either_is_left_alone_for_a_while():
    send_log = ratelimit.holding_backup(SendLog(), NOON)
    assert accounts(MAIL, send_log, [], NOON, UTC) == Accounts()
    later = NOON + timedelta(minutes=15)
    found = accounts(MAIL, send_log, [], later, UTC)
    assert (found.backup, found.why_not_primary) == (SECOND, "")


# The program.


def two_accounts(tmp_path, first, second):
    lines = second.email_section().replace("[email]", "[email backup]")
    instance = Instance(tmp_path, first.email_section() + lines)
    instance.job("Flag", flag_job(tmp_path / "flag"))
    return instance


def refused_login(address):
    return "535 5.7.8 no" if address else None


def test_what_the_first_account_refuses_goes_by_the_second_and_says_so(
    tmp_path, approved
):
    with SmtpServer(security="none") as first, SmtpServer(security="none") as second:
        instance = two_accounts(tmp_path, first, second)
        first.answer_rcpt = refused_login
        ran = instance.cron()
        (mail,) = second.wait_for(1)
        assert "Flag" in mail.subject
        approved(mail.body, "body", hide=REAL)
        assert "535 5.7.8 no" in " ".join(mail.body.split())
        approved(ran.err, "err", hide=REAL)
        assert not first.mails
        assert all(
            not one["queued"] for one in instance.records().values() if "queued" in one
        )


def test_what_cannot_be_reached_is_passed_by(tmp_path):
    with SmtpServer(security="none") as gone:
        pass
    with SmtpServer(security="none") as second:
        instance = two_accounts(tmp_path, gone, second)
        instance.cron()
        assert "connect" in second.wait_for(1)[0].body


@pytest.mark.parametrize(
    "script",
    [
        "hear MAIL\nsend 421 4.3.2 shutting down",
        "hear MAIL\nsend 452 4.3.1 disk full",
        "hear MAIL\nsend 250 ok\nhear RCPT\nsend 421 4.3.0 too busy",
        "hear MAIL\nsend 250 ok\nhear RCPT\ndrop",
    ],
)
def test_what_a_server_in_trouble_does_not_take_goes_by_the_second(tmp_path, script):
    hello = "send 220 stub\nhear EHLO\nsend 250 stub"
    stub = SmtpStub(f"{hello}\n{script}\ndrop")
    with stub as first, SmtpServer(security="none") as second:
        lines = second.email_section().replace("[email]", "[email backup]")
        at_first = second.email_section().replace(str(second.port), str(first.port))
        instance = Instance(tmp_path, at_first + lines)
        instance.job("Flag", flag_job(tmp_path / "flag"))
        instance.cron()
        (mail,) = second.wait_for(1)
    assert "Flag is failing" in mail.subject
    assert "sent by the backup account" in mail.body


def test_a_mail_that_the_server_will_not_have_is_not_tried_by_the_second(tmp_path):
    with SmtpServer(security="none") as first, SmtpServer(security="none") as second:
        instance = two_accounts(tmp_path, first, second)
        first.answer_data = lambda mail: "451 4.3.0 not now"
        instance.cron()
        assert not second.mails
        first.answer_data = lambda mail: None
        instance.let_time_pass_for_mails()
        instance.cron()
        assert len(first.wait_for(1)) == 1


@pytest.mark.parametrize("refuses", ["answer_data", "answer_rcpt"])
def test_what_the_first_puts_off_goes_by_the_second_when_it_is_late(tmp_path, refuses):
    with SmtpServer(security="none") as first, SmtpServer(security="none") as second:
        instance = two_accounts(tmp_path, first, second)
        instance.job("Other", flag_job(tmp_path / "other").replace("Flag", "Other"))
        (tmp_path / "other").touch()
        setattr(first, refuses, lambda _mail: "451 4.3.0 not now")
        for minute in range(6):
            instance.cron()
            instance.clock_ahead += timedelta(minutes=1)
            if minute == 1:
                assert not second.mails
                # One more, which has its turn before.
                (tmp_path / "other").unlink()
        subjects = [mail.subject for mail in second.mails]
        body = second.mails[0].body
    assert [subject for subject in subjects if "Flag is failing" in subject]
    assert "451 4.3.0 not now" in " ".join(body.split())


def test_a_mailbox_that_is_full_is_no_reason_for_the_second(tmp_path):
    with SmtpServer(security="none") as first, SmtpServer(security="none") as second:
        instance = two_accounts(tmp_path, first, second)
        first.answer_rcpt = lambda _address: "452 4.2.2 mailbox full"
        for _ in range(3):
            instance.cron()
            instance.clock_ahead += timedelta(minutes=10)
        assert not second.mails


def test_what_the_first_rejects_also_when_shortened_goes_by_the_second(tmp_path):
    with SmtpServer(security="none") as first, SmtpServer(security="none") as second:
        instance = two_accounts(tmp_path, first, second)
        first.answer_data = lambda _mail: "554 Transaction failed"
        instance.cron()
        instance.clock_ahead += timedelta(minutes=1)
        instance.cron()
        (mail,) = second.mails
        assert "554 Transaction failed" in mail.body
        assert not list(instance.state.glob("dead/*"))


def test_what_is_refused_because_of_the_account_waits_for_it(tmp_path):
    with SmtpServer(security="none") as first:
        instance = Instance(tmp_path, first.email_section())
        instance.job("Flag", flag_job(tmp_path / "flag"))
        first.answer_data = lambda _mail: "554 Sending suspended for this account."
        for _ in range(3):
            instance.cron()
            instance.clock_ahead += timedelta(minutes=10)
        first.answer_data = lambda _mail: None
        instance.cron()
        (mail,) = first.mails
    assert "Flag is failing" in mail.subject


def test_after_a_failed_proof_mail_leaves_by_the_second_until_there_is_another(
    tmp_path,
    approved,
):
    with SmtpServer(security="none") as first, SmtpServer(security="none") as second:
        instance = two_accounts(tmp_path, first, second)
        (tmp_path / "flag").touch()
        instance.cron()
        first.mails.clear()
        kept = instance.state / "jobs"
        now = datetime.now(UTC).isoformat()
        record = Record(
            JobKey("EmailChecker", "EmailChecker"), memory={"proof": {"failed_at": now}}
        )
        _keep(kept, record)
        (tmp_path / "flag").unlink()
        instance.cron()
        (mail,) = second.wait_for(1)
        approved(mail.body, hide=REAL)
        assert not first.mails


@pytest.mark.long
def test_a_round_trip_mail_goes_by_the_primary_account_and_can_prove_it_again(
    tmp_path, ca, cafile, approved
):
    with PymapAccount(ca) as first, SmtpServer(security="none") as second:
        lines = second.email_section().replace("[email]", "[email backup]")
        instance = Instance(tmp_path, first.settings(cafile) + lines)
        first.goes_to(None)
        instance.cron("hour")
        turn_back(instance, minutes=11)
        instance.cron()
        assert memory(instance)["proof"]["result"] == "never"
        (alert,) = second.wait_for(1)
        first.goes_to("INBOX")
        instance.cron("hour")
        first.wait_for("INBOX")
        assert until_proven(instance)["result"] == "arrived"
        assert len(second.mails) == 1
        (recovery,) = first.notified()
    approved(recovery.subject, hide=REAL)


@pytest.mark.long
def test_a_round_trip_mail_that_the_first_refuses_never_goes_by_the_second(
    tmp_path, ca, cafile, approved
):
    with PymapAccount(ca) as first, SmtpServer(security="none") as second:
        lines = second.email_section().replace("[email]", "[email backup]")
        instance = Instance(tmp_path, first.settings(cafile) + lines)
        instance.job("Flag", flag_job(tmp_path / "flag"))
        first.smtp.password = "another"
        instance.cron("hour")
        (alert,) = second.wait_for(1)
        approved(alert.subject, "subject", hide=REAL)
        turn_back(instance, minutes=11)
        instance.cron()
        approved(memory(instance)["proof"]["result"], "2", hide=REAL)
        assert "AUTH" in record(instance)["last_reason"]
        subjects = [one.subject for one in second.wait_for(2)]
    assert not [one for one in subjects if "round-trip mail" in one]
    assert first.smtp.mails == []


def test_the_test_mail_goes_by_both(tmp_path, approved):
    with SmtpServer(security="none") as first, SmtpServer(security="none") as second:
        instance = two_accounts(tmp_path, first, second)
        ran = instance.run("-m", "testmail")
        assert ran.code == 0
        approved(ran.out, hide=REAL)
        assert len(first.mails) == len(second.mails) == 1
        first.answer_rcpt = refused_login
        ran = instance.run("-m", "testmail")
        assert (ran.code, len(second.mails)) == (1, 2)


def test_a_wrong_second_account_is_a_failing_job_and_the_first_tells_of_it(
    tmp_path, approved
):
    with SmtpServer(security="none") as server:
        wrong = "[email backup]\nsmtpport = 587\n"
        instance = Instance(tmp_path, server.email_section() + wrong)
        instance.cron()
        (mail,) = server.wait_for(1)
    approved(mail.subject, "subject", hide=REAL)
    approved(mail.body, "body", hide=REAL)


def _keep(folder, record):
    from lib.core.jobs import file_stem
    from lib.storage.codec import packed

    path = folder / f"{file_stem(record.key)}.json"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.write_bytes(packed(record))
    path.chmod(0o600)

"""What EmailChecker does to a mailbox on real servers, and what comes of its proofs."""

from __future__ import annotations

import time

import pytest
import trustme

from tests.support.approved import MOMENT, REAL
from tests.support.instance import Instance, flag_job
from tests.support.postfixdovecot import PostfixAccount
from tests.support.proofs import instance_of, memory, record, turn_back, until_proven
from tests.support.servers import PASSWORD

LUNCH = b"Subject: lunch\r\n\r\nat noon\r\n"

pytestmark = pytest.mark.long


@pytest.fixture
def on_postfix(ca, postfix_dovecot):
    """An account where it can be seen what is asked of the mailbox."""
    with PostfixAccount(ca, postfix_dovecot) as it:
        yield it


def proof_of(instance, account, folder="INBOX", count=1):
    """Send a round-trip mail, and look for it once it is there."""
    instance.cron("hour")
    account.wait_for(folder, count)
    return until_proven(instance)


def test_a_mail_that_somebody_has_marked_as_deleted_stays(tmp_path, account, cafile):
    account.put("INBOX", LUNCH, flags=r"(\Deleted)")
    instance = instance_of(tmp_path, account, cafile)
    assert proof_of(instance, account, count=2)["result"] == "arrived"
    assert account.subjects("INBOX", "ALL") == ["lunch"]


def test_the_mails_of_others_stay_as_new_as_they_were(tmp_path, account, cafile):
    account.goes_to("Trash")
    account.put("INBOX", LUNCH)
    instance = instance_of(tmp_path, account, cafile)
    assert proof_of(instance, account, "Trash")["folder"] == "Trash"
    with account.opened() as session:
        state = session.status("INBOX", "(RECENT UNSEEN)")[1][0]
    assert b"RECENT 1" in state and b"UNSEEN 1" in state


def test_folders_are_opened_read_only_until_it_is_found(tmp_path, on_postfix, cafile):
    on_postfix.goes_to("Junk")
    on_postfix.put("INBOX", LUNCH)
    on_postfix.put("Trash", LUNCH)
    instance = instance_of(tmp_path, on_postfix, cafile)
    instance.cron("hour")
    on_postfix.wait_for("Junk")
    on_postfix.listen_in()
    assert until_proven(instance)["result"] == "spam"
    heard = on_postfix.heard()
    writing = ("SELECT", "UID STORE", "UID EXPUNGE", "EXPUNGE", "UID MOVE", "CLOSE")
    written = [one for one in heard if one.startswith(writing)]
    assert written == [
        'SELECT "Junk"',
        r"UID STORE 1 +FLAGS.SILENT (\Deleted)",
        "UID EXPUNGE 1",
    ]
    opened = [one for one in heard if one.startswith("EXAMINE")]
    assert opened == ['EXAMINE "INBOX"', 'EXAMINE "Trash"', 'EXAMINE "Junk"']
    assert heard.index(opened[-1]) < heard.index(written[0])


@pytest.mark.parametrize(
    ("option", "looked_into"),
    [
        ("ideletesentmessagesautomatically = yes\n", ['EXAMINE "Trash"']),
        ("imapfolder = Trash\n", ['EXAMINE "Trash"']),
        ("", ['EXAMINE "INBOX"', 'EXAMINE "Trash"']),
    ],
    ids=["trash first", "pinned", "as it comes"],
)
def test_settings_say_where_to_look(tmp_path, on_postfix, cafile, option, looked_into):
    on_postfix.goes_to("Trash")
    instance = instance_of(tmp_path, on_postfix, cafile, option)
    instance.cron("hour")
    on_postfix.wait_for("Trash")
    on_postfix.listen_in()
    assert until_proven(instance)["result"] == "arrived"
    heard = on_postfix.heard()
    assert [one for one in heard if one.startswith("EXAMINE")] == looked_into


def test_a_pinned_folder_that_is_not_there_is_named(
    tmp_path, account, cafile, approved
):
    instance = instance_of(tmp_path, account, cafile, "imapfolder = Nowhere\n")
    approved(proof_of(instance, account)["result"], "1", hide=REAL)
    # Dovecot 2.4 says it by a code of RFC 5530, too.
    code = {r"\[NONEXISTENT\] ": ""}
    approved(record(instance)["last_reason"], "2", hide={**REAL, **code})


def test_a_folder_is_spam_by_its_mark_whatever_its_name(
    tmp_path, on_postfix, cafile, approved
):
    on_postfix.goes_to("Zurückgehalten")
    instance = instance_of(tmp_path, on_postfix, cafile)
    assert proof_of(instance, on_postfix, "Zurückgehalten")["result"] == "spam"
    approved(record(instance)["last_reason"], hide=REAL)


@pytest.mark.parametrize("lost", ["Message-ID", "X-Checker-Round-Trip"])
def test_a_round_trip_mail_whose_header_was_rewritten_on_its_way_is_deleted_too(
    tmp_path, on_postfix, cafile, lost
):
    on_postfix.filter(
        'require "editheader";\n'
        f'deleteheader "{lost}";\naddheader "{lost}" "<1@elsewhere.example>";\n'
    )
    on_postfix.put("INBOX", LUNCH)
    instance = instance_of(tmp_path, on_postfix, cafile)
    assert proof_of(instance, on_postfix, count=2)["result"] == "arrived"
    assert on_postfix.subjects("INBOX", "ALL") == ["lunch"]


@pytest.mark.parametrize(
    "mails", [3_000, pytest.param(100_000, marks=pytest.mark.long)]
)
def test_in_a_full_mailbox_the_work_is_bounded(tmp_path, on_postfix, cafile, mails):
    on_postfix.fill(mails)
    instance = instance_of(tmp_path, on_postfix, cafile)
    instance.cron("hour")
    on_postfix.wait_for("INBOX", mails + 1)
    on_postfix.listen_in()
    began = time.monotonic()
    assert until_proven(instance)["result"] == "arrived"
    assert time.monotonic() - began < 40
    heard = on_postfix.heard()
    searched = {one.split()[2] for one in heard if one.startswith("UID SEARCH")}
    fetched = {one.split()[2] for one in heard if one.startswith("UID FETCH")}
    assert (searched, fetched) == ({f"{mails - 1998}:*"}, {f"{mails + 1}"})


def test_tls_may_begin_at_once_or_when_asked_for(tmp_path, on_postfix, cafile):
    # The other account of the tests has it the other way round.
    ports = on_postfix.servers.ports
    on_postfix.smtpport, on_postfix.smtpsecurity = ports["submissions"], "tls"
    text = on_postfix.settings(cafile).replace(
        f"imapport = {ports['imaps']}\nimapsecurity = tls",
        f"imapport = {ports['imap']}\nimapsecurity = starttls",
    )
    instance = Instance(tmp_path, text)
    assert proof_of(instance, on_postfix)["result"] == "arrived"


def test_nothing_is_said_to_servers_whose_issuer_is_unknown(
    tmp_path, account, cafile, approved
):
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    instance = instance_of(tmp_path, account, other)
    instance.cron("hour")
    assert account.asked_for() == []
    instance.cron()
    (queued,) = record(instance)["queued"]
    approved(queued["last_error"], hide={MOMENT: "DATE", r"trustme v[\d.]+": "trustme"})


def test_an_alert_and_its_end_arrive(tmp_path, account, cafile, approved):
    instance = instance_of(tmp_path, account, cafile)
    instance.job("Flag", flag_job(tmp_path / "flag"))
    instance.cron()
    (alert,) = account.notified()
    approved(alert.subject, "subject", hide=REAL)
    (tmp_path / "flag").touch()
    instance.cron()
    _alert, recovery = account.notified(2)
    approved(recovery.subject, "subject 2", hide=REAL)
    assert recovery.parsed["In-Reply-To"] == alert.parsed["Message-ID"]


def test_peers_hear_of_a_mail_problem_until_there_is_a_proof(tmp_path, account, cafile):
    served = tmp_path / "www"
    served.mkdir()
    file = served / "checker.txt"
    account.goes_to(None)
    instance = instance_of(tmp_path, account, cafile, f"[status]\nwrite = {file}\n")

    def word():
        return file.read_text().splitlines()[0]

    instance.cron("hour")
    assert word() == "MailProblem"
    account.goes_to("INBOX")
    turn_back(instance, minutes=11)
    instance.cron()
    assert memory(instance)["proof"]["result"] == "never"
    # The alert about it was taken, and proves nothing.
    account.notified()
    assert word() == "MailProblem"
    proof_of(instance, account)
    assert word() == "True"


@pytest.mark.parametrize("why", ["535 5.7.8", "failed: never"])
def test_an_alert_arrives_by_the_second_account_and_says_why(
    tmp_path, on_postfix, cafile, why, approved
):
    more = (
        f"[email backup]\nsmtpserver = 127.0.0.1\nsmtpport = {on_postfix.smtpport}\n"
        f"smtpsecurity = starttls\nuser = {on_postfix.contact}\npass = {PASSWORD}\n"
        f"cafile = {cafile}\n"
    )
    instance = instance_of(tmp_path, on_postfix, cafile, more)
    if why.startswith("535"):
        on_postfix.let_smtp_know("another")
    else:
        on_postfix.goes_to(None)
        instance.cron("hour")
        turn_back(instance, minutes=11)
        instance.cron()
        on_postfix.notified()
    instance.job("Flag", flag_job(tmp_path / "flag"))
    instance.cron()
    found = on_postfix.notified(1 if why.startswith("535") else 2)
    (alert,) = (one for one in found if "Flag is failing" in one.subject)
    approved(alert.body, hide=REAL)
    assert why in alert.body
    assert on_postfix.contact in str(alert.parsed["From"])

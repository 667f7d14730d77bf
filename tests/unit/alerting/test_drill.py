"""-m drill: a failure that is none, told for real, and kept nowhere."""

from __future__ import annotations

import pytest

from lib.alerting import drill
from lib.core.enums import JobFailureNotificationFrequency, JobFrequency
from lib.core.jobs import FailureRule, Job, JobKey, Policy, page_name
from tests.support.approved import REAL
from tests.support.instance import Instance, flag_job
from tests.support.servers import SmtpServer

WHO = "    def contact(self): return ('someone@example.com',)\n"


@pytest.fixture
def server():
    with SmtpServer(security="none") as it:
        yield it


def test_the_alert_of_the_job_goes_to_its_people_and_says_it_is_a_drill(
    tmp_path, server, approved
):
    instance = Instance(tmp_path, server.email_section())
    instance.job("Flag", flag_job(tmp_path / "flag", hooks=WHO))
    (tmp_path / "flag").touch()
    instance.cron()
    before = instance.last_run(), instance.records()
    ran = instance.run("-m", "drill", "Flag")
    assert ran.code == 0, ran.err
    (mail,) = server.mails
    assert mail.to == ("someone@example.com",)
    approved(mail.subject, "subject", hide=REAL)
    approved(mail.body, "body", hide=REAL)
    said = ran.out.splitlines()
    approved([*said[:4], *said[-2:]], "out")
    assert (instance.last_run(), instance.records()) == before


def test_the_link_to_the_page_of_the_job_can_be_tried(tmp_path, server):
    instance = Instance(tmp_path, server.email_section())
    instance.add("[page]\nurl = https://status.example.com/\n")
    instance.job("Flag", flag_job(tmp_path / "flag", hooks=WHO))
    (tmp_path / "flag").touch()
    assert instance.run("-m", "drill", "Flag").code == 0
    (mail,) = server.mails
    page = page_name(JobKey("Flag", "Flag"))
    assert f"https://status.example.com/{page}" in mail.body
    assert page.startswith("job-flag")


@pytest.mark.long
def test_patterns_name_the_jobs_as_with_run(tmp_path, server):
    instance = Instance(tmp_path, server.email_section())
    for name in ("Flag", "Flat", "Other"):
        instance.job(name, flag_job(tmp_path / "flag").replace("Flag", name))
    ran = instance.run("-m", "drill", "Fla?", "Nothing*")
    assert (ran.code, len(server.mails)) == (1, 2)
    assert ran.err == "checker: no job is called 'Nothing*'; see -m list\n"
    for name in ("Flag", "Flat"):
        assert sum(f"DRILL: {name} is failing" in mail.subject for mail in server.mails)


def test_a_job_that_is_not_there_is_named_with_the_nearest(tmp_path, server, approved):
    instance = Instance(tmp_path, server.email_section())
    instance.job("Flag", flag_job(tmp_path / "flag"))
    ran = instance.run("-m", "drill", "Flog")
    assert ran.code == 1
    approved(ran.err, hide=REAL)
    assert instance.run("-m", "drill").code == 2
    assert server.mails == []


def test_a_drill_that_cannot_be_sent_says_why_and_owes_nothing(tmp_path, server):
    instance = Instance(tmp_path, server.email_section())
    instance.job("Flag", flag_job(tmp_path / "flag"))
    server.answer_data = lambda mail: "451 4.3.0 not now"
    ran = instance.run("-m", "drill", "Flag")
    assert ran.code == 1 and "451 4.3.0 not now" in ran.err
    assert instance.records() == {}


def test_the_policy_is_reported_in_words(approved):
    job = Job(
        JobKey("X", "x"),
        "disk root",
        "x.py",
        JobFrequency.HOUR,
        Policy(JobFailureNotificationFrequency.EVERYDAY, FailureRule(3)),
        ("a@example.com", "b@example.com"),
    )
    approved(list(drill.policy_rows(job)), hide=REAL)


@pytest.mark.long
def test_where_the_mailbox_is_ours_it_says_that_it_arrived_and_leaves_it_there(
    tmp_path, account, cafile, approved
):
    instance = Instance(tmp_path, account.settings(cafile))
    contact = f"    def contact(self): return ({account.user!r},)\n"
    instance.job("Flag", flag_job(tmp_path / "flag", hooks=contact))
    ran = instance.run("-m", "drill", "Flag")
    assert ran.code == 0, ran.err
    approved(ran.out.splitlines()[-1], hide={r"checker\d*@": "checker@"})
    assert [one for one in account.subjects() if "DRILL: Flag" in one]


@pytest.mark.long
def test_what_arrives_as_spam_is_said_to(tmp_path, account, cafile, approved):
    account.goes_to("Junk")
    sender = "alerts@example.com"
    instance = Instance(tmp_path, account.settings(cafile))
    contact = f"    def contact(self): return ({sender!r}, {account.user!r})\n"
    instance.job("Flag", flag_job(tmp_path / "flag", hooks=contact))
    ran = instance.run("-m", "drill", "Flag")
    approved(ran.out.splitlines()[-1], hide={r"checker\d*@": "checker@"})


def test_with_nomail_nothing_is_claimed_to_be_sent(tmp_path, approved):
    instance = Instance(tmp_path)
    instance.job("Flag", flag_job(tmp_path / "flag"))
    ran = instance.run("-m", "drill", "Flag")
    assert ran.code == 0
    assert "Nothing was sent: nomail is set" in ran.out and "was sent to" not in ran.out
    approved((instance.state / "checker.log").read_text(), hide=REAL)


def test_an_address_that_is_refused_is_named(tmp_path, server, approved):
    server.answer_rcpt = lambda who: "550 5.1.1 no" if who.startswith("b@") else None
    contact = "    def contact(self): return ('a@example.com', 'b@example.com')\n"
    instance = Instance(tmp_path, server.email_section())
    instance.job("Flag", flag_job(tmp_path / "flag", hooks=contact))
    ran = instance.run("-m", "drill", "Flag")
    assert ran.code == 1 and len(server.mails) == 1
    approved(ran.err, hide=REAL)


def test_what_nobody_can_see_is_not_claimed():
    from tests.support.mailing import message, settings_for

    sent = message(to=("someone@example.com",))
    assert drill.arrival(settings_for(25), sent, limit_s=1) == ""

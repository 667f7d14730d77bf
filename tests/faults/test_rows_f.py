"""Rows F: our own mail is late, lost, or lies where nobody expects it.

F5, F6, F8 and F11 are marked where mailbox and job are tested.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from lib.mail.folders import encoded
from tests.faults.rows import cron_at, subjects, with_answer, word
from tests.faults.table import LONG, measured, seed
from tests.support.imapserver import PymapAccount
from tests.support.imapstub import ImapStub, StubMail
from tests.support.instance import Instance
from tests.support.servers import USER
from tests.unit.mail.test_folders import NAME_SETS

NOW, SECOND, MINUTE = timedelta(), timedelta(seconds=1), timedelta(minutes=1)
HOUR = timedelta(hours=1)


@pytest.fixture
def account(ca):
    """Return an account at which mails arrive when a test lays them there."""
    with PymapAccount(ca) as account:
        account.goes_to(None)
        yield account


def memory(instance):
    return instance.records()["EmailChecker"]["memory"]


def notified(account):
    """Return the subjects of the alerts about mail, without the round-trip mails."""
    return [one for one in subjects(account.smtp) if one.startswith("EmailChecker")]


def round_trip_mails(account):
    return [one for one in account.smtp.mails if "X-Checker-Round-Trip" in one.parsed]


@pytest.mark.long
@pytest.mark.fault("F1", "the mail arrives after 10 s, 2 min, 20 min")
@pytest.mark.parametrize(
    ("late", "grace", "looks"),
    [
        (10 * SECOND, 600, [1]),
        (2 * MINUTE, 600, [1, 3]),
        (20 * MINUTE, 1500, [1, 12, 21]),
    ],
    ids=["10 s", "2 min", "20 min"],
)
def test_f1_a_mail_under_way_is_no_alarm_and_the_next_run_goes_on_with_it(
    tmp_path, account, cafile, late, grace, looks
):
    more = f"imapgrace = {grace}\nimapslow = {grace}\n"
    instance = Instance(tmp_path, account.settings(cafile, more))
    began = datetime.now(UTC)
    assert cron_at(instance, NOW, "hour").silent
    (round_trip_mail,) = account.smtp.mails
    for minute in looks:
        if minute * MINUTE > late:
            account.put("INBOX", round_trip_mail.data, began + late)
        assert cron_at(instance, minute * MINUTE).silent
    assert account.smtp.mails == [round_trip_mail]
    proof = memory(instance)["proof"]
    assert proof["result"] == "arrived"
    # It left a moment after the run began, and a mailbox counts whole seconds.
    assert late.total_seconds() - 10 < proof["seconds"] <= late.total_seconds()
    assert account.subjects() == []


@pytest.mark.long
@pytest.mark.fault("F2", "the mail never arrives")
def test_f2_a_mail_that_never_arrives_is_one_failure_until_a_later_proof(
    tmp_path, account, cafile
):
    instance = with_answer(Instance(tmp_path, account.settings(cafile)))
    cron_at(instance, NOW, "hour")
    cron_at(instance, 9 * MINUTE)
    assert notified(account) == []
    for minutes in (11, 12, 40):
        cron_at(instance, minutes * MINUTE)
        assert word(instance) == "MailProblem"
    (alert,) = notified(account)
    assert "our own mail did not arrive within 600 s" in alert
    cron_at(instance, HOUR, "hour")
    account.put("INBOX", round_trip_mails(account)[-1].data)
    assert word(instance) == "MailProblem"
    cron_at(instance, HOUR + MINUTE)
    assert word(instance) == "True"
    _alert, recovery = notified(account)
    assert "is OK again" in recovery


#: The lines of LIST of each provider, and the folder that is looked into last.
PLACES = {
    name: (tuple(line.decode() for line in lines), order.split(",")[-1])
    for name, (lines, order) in NAME_SETS.items()
    # The stub says no literals.
    if isinstance(lines[0], bytes)
}
CHOSEN = list(PLACES) if LONG else random.Random(seed()).sample(sorted(PLACES), 3)


@pytest.mark.long
@pytest.mark.fault("F3", "localised folders, Google, no SPECIAL-USE, UTF-7, hidden")
def test_f3_a_mail_is_found_in_whatever_folder_of_whatever_provider(
    tmp_path, ca, cafile, smtp
):
    with ImapStub(ca) as stub:
        more = f"imapserver = 127.0.0.1\nimapport = {stub.port}\nimapevery = minute\n"
        instance = Instance(tmp_path, smtp.email_section(cafile) + more)
        for provider in CHOSEN:
            stub.folders, folder = PLACES[provider]
            assert found_in(instance, stub, folder) in ("arrived", "spam"), provider
        # LIST does not show it; whoever knows its name can say it.
        instance.add("imapfolder = Müll\n")
        stub.folders = ()
        assert found_in(instance, stub, "Müll") == "arrived"
    measured(f"{len(CHOSEN) + 1} of {len(PLACES) + 1} sets of names")


def found_in(instance, stub, folder):
    """Put a round-trip mail into a folder; return the result once it is deleted."""
    raw = encoded(folder).decode()
    stub.mails = {}
    instance.cron()
    token = memory(instance)["round_trip"]["token"]
    header = f"Message-ID: <{token}@x>\r\nX-Checker-Round-Trip: {token}\r\n"
    header += f"Subject: [web1] round-trip mail {token}\r\nFrom: {USER}\r\n\r\n"
    stub.mails[raw] = [StubMail(header)]
    instance.cron()
    assert stub.mails[raw][0].deleted
    assert "round_trip" not in memory(instance)
    return memory(instance)["proof"]["result"]


@pytest.mark.fault("F10", "midnight, zone edges")
@pytest.mark.parametrize(
    ("zone", "hours"),
    [("Pacific/Kiritimati", -12), ("America/New_York", 14)],
    ids=["far east", "west"],
)
def test_f10_a_mail_is_found_though_it_is_another_day_there(
    tmp_path, ca, cafile, smtp, zone, hours
):
    here = datetime.now(ZoneInfo(zone))
    midnight = datetime.combine(
        here.date() + timedelta(days=1), datetime.min.time(), here.tzinfo
    )
    before = midnight - 10 * SECOND - here
    there = (midnight + 5 * SECOND).astimezone(timezone(hours * HOUR))
    with ImapStub(ca) as stub:
        more = f"imapserver = 127.0.0.1\nimapport = {stub.port}\n"
        instance = Instance(tmp_path, smtp.email_section(cafile) + more)
        instance.environment = {"TZ": zone}
        cron_at(instance, before, "hour")
        token = memory(instance)["round_trip"]["token"]
        header = f"Message-ID: <{token}@x>\r\nX-Checker-Round-Trip: {token}\r\n\r\n"
        came = f"{there:%d-%b-%Y %H:%M:%S %z}"
        stub.mails["INBOX"] = [StubMail(header, came)]
        assert cron_at(instance, before + MINUTE).silent
    proof = memory(instance)["proof"]
    assert proof["result"] == "arrived" and 0 <= proof["seconds"] <= 16
    assert not any("SINCE" in one or "BEFORE" in one for one in stub.heard)

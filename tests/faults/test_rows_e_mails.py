"""Rows E14, E15, E16, E19: mails that vanish, very many of them, in any letters."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta

import pytest

from lib.core.enums import MessageKind
from lib.core.jobs import JobKey
from lib.core.messages import Message
from lib.core.records import Record
from lib.storage.store import State
from tests.faults.mailed import (
    GOOD,
    HOUR,
    MINUTE,
    NOW,
    SECOND,
    account,
    failing,
    mails_heard,
    queued,
)
from tests.faults.rows import cron_at, serving, subjects, with_answer, word
from tests.faults.table import LONG, measured
from tests.support.imapserver import PymapAccount
from tests.support.instance import GENERAL, Instance, flag_job
from tests.support.servers import USER, SmtpMail, SmtpStub, server_context


@pytest.mark.long
@pytest.mark.fault("E14", "250, and the mail vanishes")
def test_e14_mails_that_vanish_are_noticed_within_an_interval_and_peers_are_notified(
    tmp_path, ca, cafile, smtp
):
    for name in ("ours", "friend"):
        (tmp_path / name).mkdir()
    with PymapAccount(ca) as mails:
        mails.goes_to(None)
        instance = with_answer(Instance(tmp_path / "ours", mails.settings(cafile)))
        cron_at(instance, NOW, "hour")
        assert len(mails.smtp.wait_for(1)) == 1
        cron_at(instance, MINUTE)
        cron_at(instance, 11 * MINUTE)
        assert word(instance) == "MailProblem"
        reason = instance.records()["EmailChecker"]["last_reason"]
        assert "our own mail did not arrive within 600 s" in reason
    with serving(instance) as url:
        peer = f"[peers]\nevery = minute\nweb1 = {url},ops@example.com\n"
        general = GENERAL.replace("web1", "web2")
        settings = smtp.email_section(cafile) + peer
        friend = Instance(tmp_path / "friend", settings, general)
        cron_at(friend, 11 * MINUTE)
    (mail,) = smtp.mails
    assert mail.to == ("ops@example.com",)
    assert mail.subject == (
        "[web2] peer web1 is failing: it says that it cannot send mail"
    )


# Much mail.

WAVES = """\
import os
from lib.jobbase import *

class Wave(JobSpawner):
    def get_sub_jobs(self, config):
        for number in range({count}):
            yield One(config, f"n{{number:03}}")

class One(JobBase):
    def __init__(self, config, name):
        super().__init__(config, name)
        self.trouble = os.path.join({folder!r}, name)

    def executeEvery(self):
        return JobFrequency.MINUTE

    def execute(self):
        if os.path.exists(self.trouble):
            raise CheckFailed("no route to host")
        return True
"""


@pytest.mark.long
@pytest.mark.fault("E15", "an outage of 8 hours with 200 changes")
def test_e15_after_eight_hours_all_changes_come_in_one_bundle_in_time_order(
    instance, smtp, tmp_path
):
    waves, each = (16, 10) if LONG else (4, 40)
    passing = [f"n{number:03}" for number in range(160, 180)]
    instance.job("Wave", WAVES.format(count=180, folder=str(tmp_path)))
    smtp.answer_data = lambda mail: "451 4.3.0 not now"
    for wave in range(waves):
        for number in range(wave * each, (wave + 1) * each):
            (tmp_path / f"n{number:03}").touch()
        for name in passing:
            if wave == waves // 4:
                (tmp_path / name).touch()
            elif wave == waves // 2:
                (tmp_path / name).unlink()
        assert cron_at(instance, wave * 8 * HOUR / waves).code == 0
    assert smtp.mails == []
    smtp.answer_data = lambda mail: None
    for minutes in (480, 550):
        assert cron_at(instance, minutes * MINUTE).code == 0
    (mail,) = smtp.mails
    lasting = re.findall(r"Wave n(\d+) is failing: no route to host", mail.body)
    order = [int(number) // each for number in lasting]
    assert (order, len(set(lasting))) == (sorted(order), 160)
    over = re.findall(r"Wave (n\d+) is OK again; it was failing for ", mail.body)
    assert sorted(over) == passing
    assert queued(instance) == []
    measured("200 changes in 1 mail")


@pytest.mark.fault("E16", "no 8BITMIME or SMTPUTF8; Unicode subject and body")
def test_e16_unicode_reaches_a_server_that_knows_ascii_only(tmp_path, ca, cafile):
    words = "Grüße aus 東京 💥"
    assert "8BITMIME" not in GOOD and "SMTPUTF8" not in GOOD
    with SmtpStub(GOOD, context=server_context(ca)) as stub:
        instance = failing(tmp_path / "it", account(stub.port, cafile))
        text = flag_job(tmp_path / "flag").replace("the flag is down", f"{words}\\n.")
        instance.job("Flag", text)
        assert instance.cron().silent
        (lines,) = mails_heard(stub)
    data = b"\r\n".join(lines)
    assert data.isascii()
    mail = SmtpMail(USER, ("ops@example.com",), data, USER)
    assert mail.subject == f"[web1] Flag is failing: {words}"
    assert f"    {words}\n" in mail.body


@pytest.mark.long
@pytest.mark.fault("E19", "50,000 queued mails")
def test_e19_a_long_queue_is_bounded_work_and_leaves_the_oldest_first(instance, smtp):
    count, each = (50_000, 100) if LONG else (2_000, 100)
    assert instance.cron().silent
    began = datetime.now(UTC) - timedelta(days=2)
    State(instance.state).save(
        Record(
            JobKey("queue", f"{first}"),
            f"queue {first}",
            queued=tuple(
                Message(
                    f"{number:032x}",
                    MessageKind.NOTE,
                    f"number {number:05}",
                    "news",
                    ("ops@example.com",),
                    began + number * SECOND,
                )
                for number in range(first, first + each)
            ),
        )
        for first in range(0, count, each)
    )
    longest = 0.0
    for minutes in (0, 6, 12):
        started = time.monotonic()
        assert cron_at(instance, minutes * MINUTE).code == 0
        longest = max(longest, time.monotonic() - started)
    # The first one is named, and how many others are in the bundle.
    others = [re.findall(r"and ([\d,]+) more", subject) for subject in subjects(smtp)]
    sizes = [int(count.replace(",", "")) + 1 for (count,) in others]
    assert sizes == ([20_000, 20_000, 10_000] if LONG else [count])
    first = re.findall(r"number (\d{5})", smtp.mails[0].body)
    assert first == sorted(first) and first[0] == "00000"
    assert queued(instance) == []
    assert longest < 55
    measured(f"{count:,} in {len(sizes)} mails, {longest:.1f} s the longest run")

"""Rows X: very many at once, and a password that must turn up nowhere."""

from __future__ import annotations

import re
import subprocess
import threading
import time
from datetime import timedelta

import pytest

from tests.faults.rows import CALM, job
from tests.faults.table import LONG, measured
from tests.support.listeners import Listener, answer, says
from tests.support.mailing import FORMS
from tests.support.servers import PASSWORD

MANY = """\
import os
from lib.jobbase import *

class Many(JobSpawner):
    def get_sub_jobs(self, config):
        for number in range({count}):
            yield One(config, f"n{{number}}")

class One(JobBase):
    def executeEvery(self):
        return JobFrequency.MINUTE

    def execute(self):
        if not os.path.exists({flag!r}):
            raise CheckFailed("the flag is down")
        return True
"""
COUNT = 10_000 if LONG else 300


def notified_status(mails):
    """Return how many messages these mails account for, by their own words."""
    found = 0
    for mail in mails:
        numbers = re.findall(r"\b\d[\d,]{2,6}\b", mail.subject)
        found += max((int(one.replace(",", "")) for one in numbers), default=1)
    return found


@pytest.mark.long
@pytest.mark.fault("X1", "10,000 jobs fail in one minute")
@pytest.mark.fault("X2", "all recover")
def test_x1_and_x2_ten_thousand_make_few_mails_and_all_are_accounted_for(
    instance, smtp, tmp_path
):
    flag = tmp_path / "flag"
    instance.job("Many", MANY.format(count=COUNT, flag=str(flag)))
    began = time.monotonic()
    assert instance.cron().code == 0
    first = time.monotonic() - began
    assert len(instance.records()) >= COUNT
    # What is left of the first digest is in the next, five minutes later.
    instance.clock_ahead = timedelta(seconds=330)
    assert [instance.cron().code for _ in range(2)] == [0, 0]
    failed = list(smtp.mails)
    assert 1 <= len(failed) <= 3, [mail.subject for mail in failed]
    assert notified_status(failed) == COUNT, [mail.subject for mail in failed]
    flag.touch()
    # The first to recover come in one mail, most in the next, the rest in a third.
    for later in (700, 1040, 1380):
        instance.clock_ahead = timedelta(seconds=later)
        assert instance.cron().code == 0
    recovered = smtp.mails[len(failed) :]
    assert 1 <= len(recovered) <= 3, [mail.subject for mail in recovered]
    assert notified_status(recovered) == COUNT, [mail.subject for mail in recovered]
    measured(f"{len(failed)} and {len(recovered)} mails; first run {first:.1f} s")


@pytest.mark.long
@pytest.mark.fault("X6", "a canary password turns up nowhere")
def test_x6_the_password_is_in_no_log_mail_state_traceback_or_process_list(
    instance, smtp
):
    leak = "print(dict(self.config['email']))\nraise ValueError(self.config['email'])"
    leak = f"print({PASSWORD!r})\nself.memory['it'] = {PASSWORD!r}\n" + leak.replace(
        "self.config['email']", f"{PASSWORD!r}"
    ).replace("dict(", "str(")
    instance.is_started_whole = True
    instance.job("Leak", job("Leak", leak))
    instance.job("Calm", CALM)
    seen: list[str] = []
    over = threading.Event()

    def watch():
        while not over.wait(0.05):
            listed = subprocess.run(
                ["ps", "axeww", "-o", "args"], capture_output=True, text=True
            )
            seen.append(listed.stdout)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        ran = [instance.cron("minute", "-v"), instance.cron("minute", "-d")]
        smtp.password = "another"
        ran.append(instance.cron("minute", "-d"))
        ran += [instance.run("-m", mode) for mode in ("list", "validate", "testmail")]
        ran.append(instance.run("-m", "run", "Leak"))
    finally:
        over.set()
        watching.join()
    texts = [one.out + one.err for one in ran] + seen
    texts += [f"{mail.subject} {mail.body}" for mail in smtp.mails]
    texts.append(instance.everything_written())
    assert seen and smtp.mails
    for text in texts:
        assert PASSWORD not in text
        assert not any(form in text for form in FORMS)


@pytest.mark.long
@pytest.mark.fault("X6", "the copy of the settings is the one place that has it")
def test_x6_with_the_last_usable_settings_the_password_is_in_their_copy_alone(
    instance, smtp
):
    instance.job("Calm", CALM)
    assert instance.cron().code == 0
    text = instance.settings.read_text()
    ran = []
    # In a line that is none, in a title, and for an option that it is not of.
    for line in (PASSWORD, f"[email {PASSWORD}", f"smtpport = {PASSWORD}"):
        instance.write(f"{text}{line}\n")
        ran.append(instance.cron("minute", "-v"))
        assert ran[-1].code == 1
        ran += [instance.run("-m", mode) for mode in ("status", "list", "validate")]
    ran.append(instance.run("-m", "why", "settings.cfg"))
    texts = [one.out + one.err for one in ran] + [instance.everything_written()]
    texts += [f"{mail.subject} {mail.body}" for mail in smtp.mails]
    assert len(smtp.mails) == 2
    for said in texts:
        assert PASSWORD not in said and not any(form in said for form in FORMS)
    (copy,) = (instance.state / "settings").iterdir()
    assert PASSWORD in copy.read_text() and copy.stat().st_mode & 0o077 == 0


@pytest.mark.long
@pytest.mark.fault("X3", "1,000 jobs flap each minute for an hour")
def test_x3_jobs_that_flap_make_few_mails_and_the_last_state_is_reported(
    instance, smtp, tmp_path
):
    count, minutes = (1000, 60) if LONG else (40, 4)
    flag = tmp_path / "flag"
    instance.job("Many", MANY.format(count=count, flag=str(flag)))
    # Odd, so that they are failing in the end.
    for minute in range(minutes + 1):
        flag.unlink(missing_ok=True) if minute % 2 == 0 else flag.touch()
        instance.clock_ahead = timedelta(minutes=minute)
        assert instance.cron().code == 0
    within = len(smtp.mails)
    for later in (6, 12):
        instance.clock_ahead = timedelta(minutes=minutes + later)
        assert instance.cron().code == 0
    assert within < 20
    last = smtp.mails[-1]
    text = " ".join(f"{last.subject} {last.body}".split())
    assert "failing" in text
    assert not any(
        one["queued"] for one in instance.records().values() if "queued" in one
    )
    measured(f"{within} mails in {minutes} minutes")


@pytest.mark.fault("X5", "HTML and script in names and answers")
def test_x5_what_looks_like_html_is_text_in_a_mail(instance, smtp):
    name, said = "<script>alert(1)</script>", b"<img src=x onerror=alert(2)>"
    with Listener(says(answer("500 <b>no</b>", said))) as there:
        instance.add(f"[http {name}]\nurl = {there.url()}\nfailures = 1\n")
        assert instance.cron().silent
    (mail,) = smtp.mails
    assert mail.parsed.get_content_type() == "text/plain"
    assert mail.subject.startswith(f"[web1] http {name} is failing: ")
    for text in (name, "<b>no</b>", said.decode()):
        assert text in mail.body

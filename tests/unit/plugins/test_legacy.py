"""Job files written for the older public Checker load unchanged."""

from __future__ import annotations

import pytest

from lib.core.enums import JobFailureNotificationFrequency, JobFrequency, Status
from lib.core.jobs import JobKey
from tests.support.approved import REAL
from tests.support.fakes import NOON, Folder, failing_record, ini, older_record

# They use logging.warn, which newer Pythons would rather not see.  Only that is let
# pass: a fork beside the thread of xdist's worker warns from Python 3.12 on.
pytestmark = pytest.mark.filterwarnings("ignore:The 'warn' function:DeprecationWarning")

FAILING, OK = Status.FAILING, Status.OK

#: The two manners of the older program's files: before and after Python 3.
HEADS = {
    "from . import": "from builtins import str\nfrom . import JobBase\n"
    "from . import JobSpawner\n",
    "import": "import JobBase\nimport JobSpawner\n",
}

ONE_JOB = """\
import os
import logging

class OldOne(JobBase.JobBase):
    def executeEvery(self):
        return JobBase.JobFrequency.HOUR
    def notifyOnFailureEvery(self):
        return JobBase.JobFailureNotificationFrequency.EVERYTIME
    def numberFailuresBeforeNotification(self):
        return JobBase.JobFailureCountMinimumBeforeNotification.ONE
    def execute(self):
        if self.config.getboolean('email', 'nomail'):
            logging.warn("the relay is broken?")
            self.logdetails = "no answer"
            return False
        return True
    def onFailure(self):
        return self.sendEmail("Relay failure", self.logdetails)
"""

MANY_JOBS = """\
class OldMany(JobSpawner.JobSpawner):
    servers = [
        ("http://a.example", JobBase.JobFrequency.MINUTE,
         JobBase.JobFailureNotificationFrequency.ONSTATECHANGE,
         JobBase.JobFailureCountMinimumBeforeNotification.TWO),
        ("http://b.example", "minute", "5min", 1),
    ]

    class ServerChecker(JobBase.JobBase):
        def __init__(self, config, url, frequency, notify, failures):
            self.config = config
            self.url = url
            self.frequency = frequency
            self.notify = notify
            self.failures = failures
            super(OldMany.ServerChecker, self).__init__(config, url, "x")

        def getName(self):
            return str(self.__class__) + " for " + self.url
        def executeEvery(self):
            return self.frequency
        def notifyOnFailureEvery(self):
            return self.notify
        def numberFailuresBeforeNotification(self):
            return self.failures
        def execute(self):
            self.failuremsg = "Could not hit " + self.url
            return "b.example" in self.url
        def onFailure(self):
            return self.sendEmail(self.failuremsg, "", "one@e.example, two@e.example")
        def onStateChangeSuccess(self):
            return JobBase.sendEmail(self.config, "Hit " + self.url, "", "n@e.example")

    def get_sub_jobs(self, config):
        for s in self.servers:
            yield self.ServerChecker(config, s[0], s[1], s[2], s[3])
"""


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_a_job_of_the_older_program_runs_and_speaks(folder, head, approved):
    entries = (older_record("another"),)
    notified = folder.run_one("OldOne", head + ONE_JOB, unclaimed=entries)
    facts = notified.jobs["OldOne"]
    assert facts.schedule == JobFrequency.HOUR
    assert facts.policy.notify is JobFailureNotificationFrequency.EVERYTIME
    approved(facts.formerly, "formerly", hide=REAL)
    (mail,) = notified.mails("OldOne")
    assert mail.subject == "Relay failure"
    approved(mail.body, "body", hide=REAL)
    assert mail.to == ("ops@example.com",)
    assert notified.outcomes["OldOne"].output.endswith("the relay is broken?")


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_a_spawner_of_the_older_program_runs_and_speaks(folder, head, approved):
    folder.add("OldMany", head + MANY_JOBS)
    name = "<class 'jobs.OldMany.OldMany.ServerChecker'> for http://{}.example"
    a, b = name.format("a"), name.format("b")
    key = "OldMany/OldMany.ServerChecker|http://{}.example|x"
    before = failing_record(JobKey.parse(key.format("a")), notified_at=None, failures=1)
    entries = (older_record("another"),)
    notified = folder.run(stored=before, unclaimed=entries)
    assert notified.conditions == {a: FAILING, b: OK}
    assert str(notified.jobs[a].policy.failures) == "2"
    assert notified.jobs[b].policy.notify == "5min"
    assert notified.jobs[a].formerly == f"{a}|http://a.example|x"
    (mail,) = notified.mails(a)
    approved(mail.subject, hide=REAL)
    assert mail.to == ("one@e.example", "two@e.example")


def test_the_function_send_email_speaks_for_the_job_at_work(folder, approved):
    text = MANY_JOBS.replace("5min", "state_change")
    folder.add("OldMany", HEADS["import"] + text)
    name = "<class 'jobs.OldMany.OldMany.ServerChecker'> for http://b.example"
    before = failing_record(
        JobKey("OldMany", "OldMany.ServerChecker|http://b.example|x")
    )
    (mail,) = folder.run(stored=before).mails(name)
    assert (mail.subject, mail.to) == ("Hit http://b.example", ("n@e.example",))
    assert mail.thread == "abc"
    approved(mail.body, hide=REAL)


def test_send_email_where_no_job_is_at_work_is_an_error(folder, approved):
    text = "import JobBase\nJobBase.sendEmail(None, 'a', 'b')\n"
    result = folder.run_one("Early", text).outcomes["Early.py"]
    approved(result.reason, hide=REAL)


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_old_copies_of_the_base_do_not_shadow_the_bridge(folder, head):
    for name in ("JobBase", "JobSpawner"):
        (folder.path / f"{name}.py").write_text("raise SystemExit('the old copy')\n")
    notified = folder.run_one("OldOne", head + ONE_JOB)
    assert notified.mails("OldOne")[0].subject == "Relay failure"


@pytest.mark.parametrize(
    "line",
    [
        "from . import helper",
        "from .helper import answer",
        "from jobs import helper",
        "from jobs.helper import answer",
        "import jobs.helper",
        "import helper",
        "from helper import answer",
    ],
)
def test_a_helper_beside_a_job_file_can_be_imported(folder, line):
    (folder.path / "helper.py").write_text("import JobBase\nanswer = True\n")
    text = (
        f"{line}\nimport JobBase\n"
        "class Asks(JobBase.JobBase):\n"
        "    def executeEvery(self): return 'minute'\n"
        "    def execute(self): return True\n"
    )
    assert folder.run_one("Asks", text).conditions == {"Asks": OK}


def test_a_helper_cannot_stand_in_front_of_a_library(folder):
    (folder.path / "json.py").write_text("raise SystemExit\n")
    (folder.path / "requests.py").write_text("raise SystemExit\n")
    text = "import json, requests\n" + HEADS["import"] + ONE_JOB
    assert folder.run_one("OldOne", text).conditions == {"OldOne": FAILING}


@pytest.mark.parametrize(
    ("answer", "status"),
    [("1", OK), ("'yes'", OK), ("[0]", OK), ("None", FAILING), ("0", FAILING)],
)
def test_whatever_is_true_counts_as_success(folder, answer, status):
    text = HEADS["import"] + ONE_JOB
    text = text.replace("if self.config", f"return {answer}\n        if self.config")
    assert folder.run_one("OldOne", text).conditions == {"OldOne": status}


def test_hooks_that_are_missing_are_heard_not_silent(folder, approved):
    text = (
        "import JobBase\n"
        "class Bare(JobBase.JobBase):\n"
        "    def executeEvery(self): return JobBase.JobFrequency.MINUTE\n"
    )
    notified = folder.run_one("Bare", text)
    approved(notified.outcomes["Bare"].reason, "detail", hide=REAL)
    approved(notified.mails("Bare")[0].subject, "subject", hide=REAL)


def test_both_manners_can_be_used_beside_each_other(folder):
    folder.add("OldOne", HEADS["import"] + ONE_JOB)
    folder.add("OldMany", HEADS["from . import"] + MANY_JOBS)
    assert len(folder.run().conditions) == 3


def test_what_the_older_program_remembered_is_taken_over(folder):
    entry = older_record("<class 'jobs.OldOne.OldOne'>|", NOON, NOON, 4)
    folder.add("OldOne", HEADS["import"] + ONE_JOB.replace("EVERYTIME", "EVERYDAY"))
    notified = folder.run(ini(), unclaimed=(entry,))
    (mail,) = notified.mails("OldOne")
    assert mail.kind == "reminder"
    assert "failures:  5" in mail.body

"""One job, from its execution to what it has to say."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib.core.enums import Decision, MessageKind, Status
from lib.core.jobs import KIND_FILES, JobFile, JobKey
from lib.core.results import Value
from lib.plugins.discover import discover
from lib.workers import execute as executing
from tests.support.approved import REAL
from tests.support.fakes import Folder, failing_record, ini, job, spawner

FAILING, OK = Status.FAILING, Status.OK
UNKNOWN, PENDING = Status.UNKNOWN, Status.PENDING
WARNING = Status.WARNING

HOSTILE = """
class Hostile:
    def __bool__(self): raise ValueError('no bool')
    def __repr__(self): raise ValueError('no repr')
return Hostile()
"""

#: What one Python says in more words than another; a long text.
OF_PYTHON = {
    r"(recursion depth exceeded|JSON compliant|JSON serializable).*": r"\1",
    r"x{4000}": "xxx",
}

#: What execute does, and what it comes to.
EXECUTIONS = {
    "return True": OK,
    "return False": FAILING,
    "return None": FAILING,
    "return 1": FAILING,
    "return 'ok'": FAILING,
    HOSTILE: FAILING,
    "raise CheckFailed('it is down')": FAILING,
    "raise CheckFailed": FAILING,
    "raise CheckWarning('nearly full')": WARNING,
    "raise CheckWarning": WARNING,
    "raise CheckUnknown('cannot say')": UNKNOWN,
    "raise CheckPending('a moment')": PENDING,
    "raise ValueError('boom')": FAILING,
    "import sys; sys.exit()": FAILING,
    "raise KeyboardInterrupt": FAILING,
    "raise GeneratorExit": FAILING,
    "def f(): f()\nf()": FAILING,
    "raise MemoryError": FAILING,
    "raise CheckFailed('x' * 100_000)": FAILING,
    "self.memory = {1, 2}": FAILING,
    "self.memory['x'] = {1}\nreturn True": FAILING,
    "self.memory['x'] = float('nan')\nreturn True": FAILING,
    "self.memory['x'] = self.memory\nreturn True": FAILING,
    "self.memory[1] = 2\nreturn True": FAILING,
    "self.memory = None\nreturn True": FAILING,
    "self.memory['x'] = 'x' * 10_000_000\nreturn True": FAILING,
    "self.memory['x'] = 'x' * 100_000\nreturn True": FAILING,
    "x = []\nfor n in range(9999): x = [x]\nself.memory['x'] = x\nreturn True": FAILING,
    "self.values = [1]\nreturn True": FAILING,
    "self.values['x'] = 'many'\nreturn True": FAILING,
    "self.values['x'] = True\nreturn True": FAILING,
    "self.values['x'] = float('nan')\nreturn True": FAILING,
    "self.values['x'] = 10 ** 19\nreturn True": FAILING,
    "self.values['x' * 61] = 1\nreturn True": FAILING,
    "self.values['a\\nb'] = 1\nreturn True": FAILING,
    "self.values[1] = 1\nreturn True": FAILING,
    "self.values.update((str(n), n) for n in range(51))\nreturn True": FAILING,
    "self.values['x'] = Value(1, 'litres')\nreturn True": FAILING,
    "self.values['x'] = Value(1, fail=3)\nreturn True": FAILING,
    "self.values['x'] = float('nan')\nraise CheckFailed('it is down')": FAILING,
    "self.values['x'] = Value(11, fail=Threshold(high=10))\nreturn True": FAILING,
    "self.values['x'] = Value(11, warn=Threshold(low=12))\nreturn True": WARNING,
    "self.values['x'] = Value(11, warn=Threshold(low=11))\nreturn True": OK,
}


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    folder = Folder(tmp_path_factory.mktemp("executions"))
    for number, execute in enumerate(EXECUTIONS):
        folder.add(f"Case{number}", job(f"Case{number}", execute))
    return folder.run()


@pytest.mark.parametrize("execute", EXECUTIONS)
def test_whatever_execute_does_becomes_an_outcome(executed, execute, approved):
    result = executed.outcomes[f"Case{list(EXECUTIONS).index(execute)}"]
    assert result.status is EXECUTIONS[execute]
    approved(result.reason, hide=OF_PYTHON)
    assert len(result.reason) <= 4004


def test_a_traceback_begins_in_the_authors_own_code_and_is_cut(folder):
    execute = """
        def deep(n):
            if n == 0: raise ValueError("the bottom")
            deep(n - 1) if n % 2 else deeper(n)
        def deeper(n): deep(n - 1)
        deep(400)
    """
    folder.add("Short", job("Short", "x = 1\nreturn 1 / 0"))
    notified = folder.run_one("Deep", job("Deep", execute))
    assert "Short.py" in notified.outcomes["Short"].output.splitlines()[1]
    output = notified.outcomes["Deep"].output
    assert output.endswith("ValueError: the bottom")
    assert 4000 < len(output) < 4200


def test_truth_is_enough_for_job_files_in_the_older_manner(folder, approved):
    text = "import JobBase\n" + job("Old", "return [1]").replace(
        "(JobB", "(JobBase.JobB"
    )
    text = text.replace(
        "from lib.jobbase import *\n", "from lib.jobbase import JobFrequency\n"
    )
    assert folder.run_one("Old", text).outcomes["Old"].status is OK
    mute = text.replace("return [1]", "return None")
    reason = folder.run_one("Old", mute).outcomes["Old"].reason
    approved(reason, hide=REAL)


def test_values_are_kept_with_the_result_whatever_it_is(folder):
    execute = """
        self.values.update(files=3, load=0.5)
        if {!r}: raise CheckFailed("down")
        return True
    """
    folder.add("Good", job("Good", execute.format("")))
    notified = folder.run_one("Bad", job("Bad", execute.format("yes")))
    for name, status in ("Good", OK), ("Bad", FAILING):
        result = notified.outcomes[name]
        assert result.status is status
        assert result.values == {"files": Value(3), "load": Value(0.5)}


def test_no_secret_leaves_in_the_name_of_a_value(folder):
    folder.add("Talks", job("Talks", "self.values['of geheim'] = 1\nreturn True"))
    result = folder.run(secrets=("geheim",)).outcomes["Talks"]
    assert (result.status, result.values) == (OK, {"of ***": Value(1)})


def test_names_that_are_new_are_the_authors_own_in_the_older_manner(folder):
    text = """
import JobBase
class Old(JobBase.JobBase):
    kind, options, check = "mine", 5, None
    timeout, contact = 99, "nobody"
    def executeEvery(self): return JobBase.JobFrequency.MINUTE
    def execute(self):
        self.values, self.memory = [float("nan")], {1, 2}
        return self.memory
"""
    notified = folder.run_one("Old", text)
    assert notified.conditions == {"Old": OK}
    assert notified.jobs["Old"].timeout_s == 30
    assert notified.jobs["Old"].contact == ("ops@example.com",)


def test_a_memory_is_kept_where_it_changed_and_comes_back(folder):
    execute = "self.memory['n'] = self.memory.get('n', 0) + 1\nreturn True"
    folder.add("Same", job("Same", "self.memory['n'] = 1\nreturn True"))
    notified = folder.run_one("Count", job("Count", execute))
    assert notified.reports["Count"].memory == {"n": 1}
    before = failing_record(JobKey("Count", "Count"), memory={"n": 1})
    before |= failing_record(JobKey("Same", "Same"), memory={"n": 1})
    notified = folder.run(stored=before)
    assert notified.reports["Count"].memory == {"n": 2}
    assert notified.reports["Same"].memory is None


ABOUT = """
raise CheckFailed('a.example: s3cret', host='a.example', cause='s3cret',
                  addresses=['192.0.2.7'] * 100)
"""
OF_ITS_OWN = """
class Failed(CheckFailed):
    def __init__(self, why): self.host = why
raise Failed({})
"""


def test_what_a_failure_is_about_leaves_with_its_result(folder):
    folder.add("About", job("About", ABOUT))
    folder.add("OfItsOwn", job("OfItsOwn", OF_ITS_OWN))
    outcomes = folder.run(secrets=("s3cret",)).outcomes
    about = outcomes["About"]
    assert (about.host, about.cause) == ("a.example", "***")
    assert about.addresses == ("192.0.2.7",) * 20
    assert (outcomes["OfItsOwn"].host, outcomes["OfItsOwn"].cause) == ("", "")


def test_no_secret_leaves_a_job(folder):
    execute = """
        print("s3cret")
        self.memory["s3cret"] = ["my s3cret"]
        self.sendEmail("s3cret", "a s3cret")
        raise ValueError("s3cret")
    """
    more = "def onFailure(self): raise KeyError('s3cret')"
    notified = folder.run_one("Leak", job("Leak", execute, more), secrets=("s3cret",))
    report = notified.reports["Leak"]
    mails = notified.mails("Leak")
    assert len(mails) == 2
    for words in (str(report), str(mails)):
        assert "s3cret" not in words.replace('raise ValueError("s3cret")', "")
    assert report.memory == {"***": ["my ***"]}


# Hooks.


def hooked(folder, more, execute="self.why = 'down'; return False", **order):
    """Return the messages of a failing job."""
    return folder.run_one("Job", job("Job", execute, more), **order).mails("Job")


def test_without_a_hook_the_default_mail_goes_to_the_contact(folder, approved):
    (mail,) = hooked(folder, "", "raise CheckFailed('it is down')")
    assert mail.kind is MessageKind.ALERT
    assert mail.to == ("ops@example.com",)
    approved(mail.subject, hide=REAL)


def test_a_hook_has_what_execute_set_and_the_facts_stand_below_its_words(
    folder, approved
):
    more = (
        "def onFailure(self): return self.sendEmail('No backup', f'It is {self.why}.')"
    )
    (mail,) = hooked(folder, more)
    assert (mail.subject, mail.kind) == ("No backup", MessageKind.ALERT)
    approved(mail.reason, "reason")
    approved(mail.body, "body", hide=REAL)


@pytest.mark.parametrize(
    "body",
    [
        "pass",
        "return None",
        "return False",
        "return 'sent'",
        "return 1",
        "raise ValueError('no')",
        "raise SystemExit",
        "return self.no_such_attribute",
        "self.sendEmail('a', 'b', 'x@y.z\\r\\nBcc: spam@example.com')",
        "self.sendEmail('a', 'b', ['nobody'])",
        "self.sendEmail('a', 'b', 5)",
    ],
)
def test_a_hook_that_tells_nobody_has_the_default_mail_in_its_place(
    folder, body, approved
):
    (mail,) = hooked(folder, f"def onFailure(self): {body}")
    approved(mail.subject, hide=REAL)
    assert mail.to == ("ops@example.com",)


def test_the_default_mail_says_what_the_hook_raised(folder, approved):
    (mail,) = hooked(folder, "def onFailure(self): raise ValueError('no')")
    approved(mail.body, hide=REAL)
    assert "Job.py" in mail.body


def test_what_a_hook_sent_before_it_raised_is_kept(folder):
    more = "def onFailure(self):\n    self.sendEmail('half', '')\n    1 / 0"
    default, sent = hooked(folder, more)
    assert "ZeroDivisionError" in default.body
    assert sent.subject == "half"


def test_a_hook_that_says_it_notified_somebody_is_believed(folder):
    assert hooked(folder, "def onFailure(self): return True") == ()


@pytest.mark.parametrize(
    ("to", "addresses"),
    [
        ("'a@b.example'", ("a@b.example",)),
        ("'a@b.example, c@d.example'", ("a@b.example", "c@d.example")),
        ("['a@b.example', 'c@d.example']", ("a@b.example", "c@d.example")),
        ("('a@b.example',)", ("a@b.example",)),
        ("''", ("ops@example.com",)),
        ("None", ("ops@example.com",)),
    ],
)
def test_a_mail_goes_where_its_author_wants(folder, to, addresses):
    more = f"def onFailure(self): self.sendEmail('a', 'b', {to})"
    (mail,) = hooked(folder, more)
    assert mail.to == addresses


def test_a_hook_that_does_not_come_back_has_the_default_mail_in_its_place(
    folder, approved
):
    more = "def onFailure(self):\n    import time; time.sleep(60)"
    (mail,) = hooked(folder, more, hook_timeout_s=0.3)
    approved(mail.subject, "subject", hide=REAL)
    approved(mail.body, "body", hide=REAL)


def test_what_a_hook_sent_before_it_stuck_is_enough(folder):
    more = (
        "def onFailure(self): self.sendEmail('mine', ''); import time; time.sleep(60)"
    )
    (mail,) = hooked(folder, more, hook_timeout_s=0.3)
    assert mail.subject == "mine"


def test_a_hook_that_takes_its_worker_down_has_the_default_mail_in_its_place(
    folder, approved
):
    more = "def onFailure(self):\n    import os; os._exit(3)"
    text = job("Job", "raise CheckFailed('it is down')", more)
    result = folder.run_one("Job", text).lost["Job"]
    assert (result.status, result.reason) == (FAILING, "it is down")
    approved(result.output, hide=REAL)


RECOVERED = failing_record(JobKey("Job", "Job"))


def test_a_recovery_goes_to_those_who_got_the_alert(folder, approved):
    more = "def onStateChangeSuccess(self): return self.sendEmail('up', 'again')"
    for name, hook in (("author's", more), ("default", "")):
        (mail,) = hooked(folder, hook, "return True", stored=RECOVERED)
        assert mail.kind is MessageKind.RECOVERY
        assert mail.to == ("first@example.com",)
        assert mail.thread == "abc"
        approved(mail.body, name, hide=REAL)


def test_a_recovery_is_reported_on_state_change_only(folder):
    more = """
        def notifyOnFailureEvery(self): return JobFailureNotificationFrequency.EVERYTIME
        def onStateChangeSuccess(self): return self.sendEmail('up', 'again')
    """
    notified = folder.run_one("Job", job("Job", more=more), stored=RECOVERED)
    assert notified.mails("Job") == ()
    assert notified.reports["Job"].decision is Decision.QUIET_RECOVERY


def test_no_hook_speaks_of_what_nobody_has_seen(folder, approved):
    more = "def onFailure(self): return self.sendEmail('it is down!', '')"
    (mail,) = hooked(folder, more, "raise CheckUnknown('no route')")
    approved(mail.subject, hide=REAL)


def test_nobody_is_asked_where_people_only_look(folder):
    more = "def onFailure(self): return self.sendEmail('it is down!', '')"
    assert hooked(folder, more, notifies=False) == ()


def test_a_job_may_send_of_its_own_accord_and_the_alert_comes_first(folder, approved):
    execute = "self.sendEmail('probe', '', 'probe@example.com')\nreturn False"
    alert, note = hooked(folder, "", execute)
    assert (alert.kind, note.kind) == (MessageKind.ALERT, MessageKind.NOTE)
    assert (note.subject, note.to) == ("probe", ("probe@example.com",))
    approved(note.body, hide=REAL)


def test_a_job_that_sends_without_end_is_stopped(folder, approved):
    execute = "while True: self.sendEmail('again', '')"
    mails = hooked(folder, "", execute)
    assert len(mails) == 101
    approved(mails[0].subject, hide=REAL)


def test_a_huge_mail_is_cut(folder):
    execute = "return self.sendEmail('x' * 10_000, 'y' * 10_000_000)"
    (mail,) = hooked(folder, "", execute)
    assert len(mail.subject) < 1100
    assert len(mail.body) < 300_000
    assert mail.body.endswith("... (cut)\n")


def test_every_hook_of_a_spawned_job_is_its_own(folder):
    more = "def onFailure(self): return self.sendEmail(self.getName(), '')"
    jobs = "for n in range(50): yield One(config, n)"
    notified = folder.run_one("Many", spawner("Many", jobs, "return False", more))
    for number in range(50):
        (mail,) = notified.mails(f"Many {number}")
        assert mail.subject == f"Many {number}"


def test_a_job_of_its_own_section_reads_it(folder):
    execute = "return self.config.get('Job', 'path') == '/srv'"
    folder.add("Job", job("Job", execute))
    notified = folder.run(ini("[Job]\npath = /srv\n"))
    assert notified.conditions == {"Job": OK}


def targets_of(kind, *sections):
    """Return the targets of a kind that ships, loaded."""
    path = Path(__file__).parents[3] / "jobs" / f"{KIND_FILES[kind]}.py"
    titled = (f"[{kind} t{number}]\n{one}\n" for number, one in enumerate(sections))
    return discover(JobFile(path, path.stem, ships=True), ini("".join(titled)), ()).jobs


def test_targets_share_what_is_kept_of_each_until_it_begins():
    url = "url = http://127.0.0.1/"
    loaded = targets_of("http", url, url, f"{url}\ninvert = yes")
    first, second, inverted = (one.instance for one in loaded)
    assert first._checker is second._checker
    assert (second._checker.invert, inverted._checker.invert) == (False, True)
    (record,) = failing_record(loaded[0].job.key).values()
    executing.equip(first, record)
    assert first._checker.record is record
    assert second._checker.record is inverted._checker.record is None


def test_a_secret_is_of_one_target_only():
    url = "url = http://127.0.0.1/"
    loaded = targets_of("http", f"{url}\npassword = canary-1", url)
    first, second = (one.instance for one in loaded)
    assert executing.prepare(first) is None
    assert list(first._checker.secrets) == ["canary-1"]
    assert not second._checker.secrets


def test_each_of_several_inverted_groups_is_turned_round():
    section = "of = disk root\ninvert = yes"
    loaded = targets_of("group", section, section)
    assert [one.job.rule.is_inverted for one in loaded] == [True, True]
    assert not any(one.instance._checker.invert for one in loaded)

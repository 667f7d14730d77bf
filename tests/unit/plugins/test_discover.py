"""One job file -> its jobs, however awkward the file is."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from lib.core.enums import JobFailureNotificationFrequency, JobFrequency, Status
from lib.core.ini import IniFile
from lib.core.jobs import FailureRule, JobFile, JobKey
from lib.core.records import Record
from lib.plugins.discover import discover
from tests.support.fakes import HEAD, Folder, ini, job, spawner

FAILING, OK = Status.FAILING, Status.OK


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def test_a_job_says_what_it_is(folder):
    more = """
        def notifyOnFailureEvery(self): return JobFailureNotificationFrequency.EVERYDAY
        def numberFailuresBeforeNotification(self): return 3
        def contact(self): return "a@example.com, b@example.com"
    """
    notified = folder.run_one("Backup", job("Backup", more=more))
    facts = notified.jobs["Backup"]
    assert (facts.key, facts.schedule) == (
        JobKey("Backup", "Backup"),
        JobFrequency.MINUTE,
    )
    assert facts.policy.notify is JobFailureNotificationFrequency.EVERYDAY
    assert facts.policy.failures == FailureRule(3)
    assert facts.contact == ("a@example.com", "b@example.com")
    assert facts.timeout_s == 5
    assert notified.jobs["Backup.py"].is_own
    assert notified.conditions == {"Backup": OK}


def test_the_jobs_of_a_spawner_come_in_its_order(folder):
    jobs = "for name in 'cab': yield One(config, name)"
    notified = folder.run_one("Many", spawner("Many", jobs))
    assert list(notified.jobs) == ["Many.py", "Many c", "Many a", "Many b"]
    assert [facts.key for facts in notified.jobs.values()][1] == JobKey("Many", "One|c")


def test_jobs_of_two_classes_that_would_be_named_alike_are_told_apart(folder):
    two = spawner("Many", "yield One(config, 1)\nyield Two(config, 1)")
    notified = folder.run_one("Many", f"{two}\n\nclass Two(One):\n    pass\n")
    assert notified.conditions == {"Many One 1": OK, "Many Two 1": OK}


def test_a_spawned_job_without_an_identity_has_its_class_in_its_name(folder):
    notified = folder.run_one("Many", spawner("Many", "yield One(config)"))
    assert notified.conditions == {"Many One": OK}


def test_a_list_is_as_good_as_a_generator(folder):
    notified = folder.run_one("Many", spawner("Many", "return [One(config, 1)]"))
    assert notified.conditions == {"Many 1": OK}


#: What one Python says in other words than the next.
OF_PYTHON = {
    r"(recursion depth exceeded).*": r"\1",
    r"\w+Error: source code .*": "SomeError: source code ...",
}

#: Files that will not load.
BROKEN = {
    "Syntax": "def broken(:\n",
    "Import": "import no_such_thing\n",
    "Exits": "import sys\nsys.exit(3)\n",
    "Interrupts": "raise KeyboardInterrupt\n",
    "Generator": "raise GeneratorExit('x')\n",
    "Raises": "1 / 0\n",
    "Recurses": "def f(): f()\nf()\n",
    "Leaves": "import os\nos._exit(3)\n",
    "Crashes": "import ctypes\nctypes.string_at(0)\n",
    "Loops": "while True: pass\n",
    "Nul": "x = '\0'\n",
    "Latin": "# -*- coding: no-such-code -*-\n",
    "Mute": "class E(Exception):\n    def __str__(self): raise KeyError\nraise E\n",
}


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    folder = Folder(tmp_path_factory.mktemp("broken"))
    for name, text in BROKEN.items():
        folder.add(name, text)
    folder.add("Fine", job("Fine"))
    return folder.run(load_timeout_s=2.0)


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_will_not_load_is_a_failing_job_that_says_why(
    broken, name, approved
):
    result = broken.outcomes[f"{name}.py"]
    assert result.status is FAILING
    assert f"{name}.py" in result.reason
    approved(result.reason, hide=OF_PYTHON)


def test_broken_files_harm_no_other(broken):
    assert broken.outcomes["Fine"].status is OK
    assert set(broken.conditions) == {"Fine", *(f"{name}.py" for name in BROKEN)}


def test_a_traceback_begins_in_the_authors_own_file(broken):
    first, where, *_ = broken.outcomes["Raises.py"].output.splitlines()
    assert first == "Traceback (most recent call last):"
    assert "Raises.py" in where
    assert "line 1" in where


def test_a_crash_in_c_says_in_which_line_of_the_file(broken):
    assert "Segmentation fault" in broken.outcomes["Crashes.py"].output
    assert "Crashes.py" in broken.outcomes["Crashes.py"].output


def test_what_a_broken_file_printed_is_shown(folder, approved):
    notified = folder.run_one("Loud", "print('so far so good')\n1 / 0\n")
    approved(notified.outcomes["Loud.py"].output.rpartition("\n\n")[2])


def test_a_file_that_was_mended_is_ok_again(folder):
    assert folder.run_one("Backup", "1 /").conditions == {"Backup.py": FAILING}
    notified = folder.run_one("Backup", job("Backup"))
    assert notified.outcomes["Backup.py"].status is OK
    assert notified.conditions == {"Backup": OK}


@pytest.mark.parametrize(
    "text",
    [
        "x = 1\n",
        f"{HEAD}class Other(JobBase): pass\n",
        "class Backup: pass\n",
        "Backup = 1\n",
        f"{HEAD}Backup = JobBase(None)\n",
    ],
)
def test_a_file_without_such_a_class_is_one_warning(folder, text, approved):
    notified = folder.run_one("Backup", text)
    (warning,) = notified.warnings
    approved(warning)
    assert notified.conditions == {}


def test_a_spawner_that_raises_half_way_keeps_what_it_yielded(folder, approved):
    jobs = "yield One(config, 1)\nyield One(config, 2)\nraise ValueError('no list')"
    notified = folder.run_one("Many", spawner("Many", jobs))
    assert notified.conditions == {"Many 1": OK, "Many 2": OK, "Many.py": FAILING}
    reason = notified.outcomes["Many.py"].reason
    approved(reason)


@pytest.mark.parametrize(
    "text",
    [
        spawner("Many", "pass"),
        spawner("Many", "return 5"),
        f"{HEAD}class Many(JobSpawner): pass\n",
        f"{HEAD}class Many(JobSpawner):\n    def __init__(self, x): pass\n",
        f"{HEAD}class Many(JobBase):\n    def __init__(self): pass\n",
    ],
)
def test_a_class_that_cannot_be_used_is_a_failing_file(folder, text, approved):
    notified = folder.run_one("Many", text)
    assert notified.conditions == {"Many.py": FAILING}
    approved(notified.outcomes["Many.py"].reason)


def test_a_spawner_that_does_not_end_is_stopped(folder, approved):
    notified = folder.run_one("Many", spawner("Many", "while True: yield None"))
    approved(notified.outcomes["Many.py"].reason)
    assert len(notified.jobs) == 101


def test_many_jobs_that_cannot_run_are_not_an_alert_each(folder, approved):
    jobs = "for n in range(150): yield One(config, n)"
    more = "def timeout(self): return None if int(self.getName()[4:]) else 5"
    notified = folder.run_one("Many", spawner("Many", jobs, more=more))
    approved(notified.outcomes["Many.py"].reason)
    found = list(notified.conditions.values())
    assert (found.count(FAILING), found.count(OK)) == (101, 1)


def test_two_jobs_that_are_the_same_are_one_error_that_names_both(folder, approved):
    jobs = """
        for number, name in enumerate("abaa"):
            job = One(config, name)
            job.number = number
            yield job
    """
    more = "def getName(self): return f'number {self.number}'"
    notified = folder.run_one("Many", spawner("Many", jobs, more=more))
    assert notified.conditions == {"number 0": OK, "number 1": OK, "number 2": FAILING}
    assert notified.jobs["number 2"].key == JobKey("Many", "One|a#2")
    approved(notified.outcomes["number 2"].reason)


def test_an_init_that_forgets_jobbases_is_a_failing_job_that_says_so(folder, approved):
    more = "def __init__(self, config): self.config = config"
    notified = folder.run_one("Backup", job("Backup", more=more))
    assert notified.conditions == {"Backup": FAILING}
    approved(notified.outcomes["Backup"].reason)


@pytest.mark.parametrize(
    "yielded",
    [
        "'a string'",
        "None",
        "One",
    ],
)
def test_what_is_no_job_is_a_failing_one(folder, yielded, approved):
    jobs = f"yield {yielded}\nyield One(config, 2)"
    notified = folder.run_one("Many", spawner("Many", jobs))
    assert notified.conditions == {"Many #1": FAILING, "Many 2": OK}
    approved(notified.outcomes["Many #1"].reason)


#: What a hook answers.
NONSENSE = {
    "executeEvery": [
        "return 'weekly'",
        "return None",
        "return []",
        "raise SystemExit",
        "return 1 / 0",
    ],
    "notifyOnFailureEvery": ["return 'weekly'", "raise GeneratorExit"],
    "numberFailuresBeforeNotification": [
        "return 0",
        "return True",
        "return '2'",
        "return 1.5",
    ],
    "contact": [
        "return 'nobody'",
        "return 5",
        "return 'a@b.c\\r\\nBcc: x@y.z'",
        "return [None]",
        "raise KeyboardInterrupt",
    ],
    "timeout": [
        "return 60",
        "return 0",
        "return float('nan')",
        "return '5'",
        "return None",
    ],
    "getName": ["return None", "return ' \\n'", "def f(): f()\n    f()"],
    "getStateName": ["return ''", "return b'x'"],
    "formerly": ["return 1 / 0"],
}
CASES = [(hook, body) for hook, bodies in NONSENSE.items() for body in bodies]


@pytest.fixture(scope="module")
def nonsense(tmp_path_factory):
    folder = Folder(tmp_path_factory.mktemp("nonsense"))
    for number, (hook, body) in enumerate(CASES):
        hook_only = f"def {hook}(self):\n    {body}\n"
        folder.add(f"Odd{number}", job(f"Odd{number}", more=hook_only))
    # Only then are jobs asked for their names in the older program.
    failing = Record(JobKey(""), "no job of now", failures=1)
    return folder.run(unclaimed=(failing,))


@pytest.mark.parametrize(("hook", "body"), CASES)
def test_a_nonsensical_answer_is_a_failing_job_with_clear_words(
    nonsense, hook, body, approved
):
    name = f"Odd{CASES.index((hook, body))}"
    (result,) = (
        report.result
        for report in nonsense.reports.values()
        if report.job.key.file == name and not report.job.is_own
    )
    assert result.status is FAILING
    reason = result.reason.replace(name, "Odd")
    approved(reason, hide=OF_PYTHON)
    assert reason.isprintable()


def test_trouble_is_mailed_to_the_jobs_own_contact_if_that_is_known(folder):
    more = """
        def contact(self): return "mine@example.com"
        def timeout(self): return 99
    """
    notified = folder.run_one("Backup", job("Backup", more=more))
    assert notified.jobs["Backup"].contact == ("mine@example.com",)


#: Names that must not break a line, a screen, a file or a mail.
NAMES = {
    "two words/and a slash": "two words/and a slash",
    "a\r\nBcc: x@y.z": "a Bcc: x@y.z",
    "a\tb\u2028c": "a b c",
    "caf\u00e9 \U0001f600": "caf\u00e9 \U0001f600",
    "\x1b[31mred\x1b[0m": r"\x1b[31mred\x1b[0m",
    "\u202eabc": r"\u202eabc",
    "half \ud800 pair": r"half \ud800 pair",
    "null \0": r"null \x00",
    "x" * 10_000: "x" * 200 + "...",
}


def test_any_name_is_survived_and_shown_in_one_line(folder):
    jobs = f"for name in {list(NAMES)!a}: yield One(config, name)"
    more = "def getName(self): return self.name"
    init = "def __init__(self, c, n): super().__init__(c, n); self.name = n\n"
    notified = folder.run_one("Many", spawner("Many", jobs, more=init + more))
    assert set(notified.jobs) == {"Many.py", *NAMES.values()}
    assert set(notified.conditions.values()) == {OK}
    keys = {str(facts.key) for facts in notified.jobs.values()}
    assert len(keys) == len(NAMES) + 1
    assert all(key.isprintable() and len(key) < 1100 for key in keys)


def test_no_name_holds_a_secret(folder):
    jobs = "yield One(config, 'https://me:s3cret@host/')"
    folder.add("Many", spawner("Many", jobs))
    notified = folder.run(secrets=("s3cret",))
    facts = list(notified.jobs.values())[1]
    assert facts.name == "Many https://me:***@host/"
    assert "s3cret" not in str(facts.key)


#: Jobs of a few classes, each as it should be described beside any other.
SIBLINGS = HEAD + """
import configparser

class Many(JobSpawner):
    def get_sub_jobs(self, config):
        other = configparser.ConfigParser()
        other.read_string("[general]\\nalertcontact = other@b.example")
        other.read_string("[defaults]\\ntimeout = 9\\nflapping = 3/9\\nevery = day")
        jobs = [
            One(config, "first"), One(config, "second"), Two(config, 1), Two(config, 2),
            One(other, "elsewhere"), Two(config, 3), One(config, "said"), Three(config),
            One(config, "own"), One(config, "last"), Three(config, "x"), Two(other, 4),
            Four(config, 5), Four(config, 6),
        ]
        jobs[8].timeout = lambda: 11
        jobs[8].former_identity = "One|before"
        jobs[9].is_across_network = True
        yield from jobs[WHICH]

class One(JobBase):
    def executeEvery(self): return JobFrequency.HOUR
    def execute(self): return True

class Two(JobBase):
    def __init__(self, config, number):
        super().__init__(config, number)
        self.number = number

    def numberFailuresBeforeNotification(self): return self.number
    def notifyOnFailureEvery(self): return JobFailureNotificationFrequency.EVERYDAY
    def contact(self): return f"two-{self.number}@b.example"
    def timeout(self): return self.number
    def recheckEvery(self): return f"{self.number}min"
    def flappingAfter(self): return f"{self.number + 2}/20"
    def execute(self): return True

class Three(One):
    check_now = "status"
    def executeEvery(self): return f"{len(self.getName())}min"

class Four(Two):
    former_identity = property(lambda self: f"Once|{self.number}")
"""


def test_jobs_of_one_class_are_described_as_each_alone(tmp_path):
    settings = "[general]\nalertcontact = ops@b.example\n[defaults]\nevery = 5min\n"
    settings = ini(f"{settings}notify = hour\n[job Many said]\nevery = 2h\n")

    def described(which: str):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}" / "Many.py"
        path.parent.mkdir()
        path.write_text(SIBLINGS.replace("WHICH", which))
        found = discover(JobFile(path, "Many"), settings, ("ops@b.example",))
        less = discover(
            JobFile(path, "Many"), settings, ("ops@b.example",), formerly=False
        )
        whole = [replace(each.job, file="", formerly="") for each in found.jobs]
        assert [replace(each.job, file="") for each in less.jobs] == whole
        return whole

    together = described(":")
    assert together == [described(f"{at}:{at + 1}")[0] for at in range(len(together))]
    facts = {job.key.identity: job for job in together}
    assert [facts[f"Two|{at}"].policy.failures.count for at in (1, 2, 3)] == [1, 2, 3]
    assert facts["Two|2"].contact == ("two-2@b.example",)
    assert (facts["One|second"].timeout_s, facts["One|elsewhere"].timeout_s) == (30, 9)
    assert facts["One|elsewhere"].contact == ("other@b.example",)
    assert (facts["One|said"].schedule, facts["One|last"].schedule) == ("2h", "hour")
    assert (facts["One|own"].timeout_s, facts["One|own"].was) == (11, "One|before")
    assert (facts["Four|5"].was, facts["Four|6"].was) == ("Once|5", "Once|6")
    assert [job.is_across_network for job in together].count(True) == 1


def test_hooks_that_answer_none_have_the_default_as_in_older_files(folder):
    more = """
        def notifyOnFailureEvery(self): pass
        def numberFailuresBeforeNotification(self): pass
        def contact(self): pass
    """
    notified = folder.run_one("Backup", job("Backup", more=more))
    assert notified.conditions == {"Backup": OK}
    assert notified.jobs["Backup"].contact == ("ops@example.com",)


def test_defaults_of_the_settings_hold_where_the_class_does_not_say(folder):
    folder.add(
        "Backup", f"{HEAD}class Backup(JobBase):\n    execute = lambda s: True\n"
    )
    defaults = "[defaults]\nevery = day\nnotify = hour\nfailures = two\ntimeout = 7\n"
    defaults += "recoveries = 3\nnotify_warnings = no\n"
    facts = folder.run(ini(f"{defaults}contact = a@b.example\n")).jobs["Backup"]
    assert (facts.schedule, facts.policy.notify) == ("day", "hour")
    assert (facts.policy.failures, facts.timeout_s) == (FailureRule(2), 7.0)
    assert (facts.policy.recoveries, facts.policy.notifies_warnings) == (3, False)
    assert facts.contact == ("a@b.example",)


JOB_SECTIONS = """\
[defaults]
tags = everywhere
recoveries = 3
[template night]
every = 30 2 * * *
notify = day
[job Many]
use = night
failures = 3
contact = many@b.example
runbook = https://wiki.example.com/many
[job Many a]
notify = hour
enabled = no
description = The first one
timeout = 7
notify_warnings = no
"""


def test_a_section_of_the_settings_goes_before_what_the_class_says(folder):
    more = """
        def notifyOnFailureEvery(self): return JobFailureNotificationFrequency.EVERYTIME
        def numberFailuresBeforeNotification(self): return 9
        def contact(self): return "class@b.example"
    """
    jobs = "for name in 'ab': yield One(config, name)"
    folder.add("Many", spawner("Many", jobs, more=more))
    folder.add("Other", job("Other", more=more))
    met = folder.run(ini(JOB_SECTIONS)).jobs
    a, b, other = met["Many a"], met["Many b"], met["Other"]
    assert a.schedule == b.schedule == "30 2 * * *" and other.schedule == "minute"
    assert [one.policy.notify for one in (a, b, other)] == ["hour", "day", "every"]
    assert [str(one.policy.failures) for one in (a, b, other)] == ["3", "3", "9"]
    assert [one.policy.recoveries for one in (a, b, other)] == [3, 3, 3]
    assert [one.policy.notifies_warnings for one in (a, b)] == [False, True]
    assert [one.contact for one in (b, other)] == [
        ("many@b.example",),
        ("class@b.example",),
    ]
    assert [one.enabled for one in (a, b, other)] == [False, True, True]
    assert [one.description for one in (a, b)] == ["The first one", ""]
    assert [one.timeout_s for one in (a, b)] == [7, 5]
    assert b.runbook == "https://wiki.example.com/many" and b.tags == ("everywhere",)


def test_what_is_wrong_in_a_section_leaves_the_rest_of_it(folder):
    text = "[job Backup]\nevery = often\nuse = nobody\nfailures = 4\nurl = x\n"
    folder.add("Backup", job("Backup"))
    met = folder.run(ini(text)).jobs["Backup"]
    assert (met.schedule, met.policy.failures) == ("minute", FailureRule(4))


def test_what_a_hook_sends_goes_to_the_contact_of_the_section(folder):
    more = "def onFailure(self): return self.sendEmail('broken', 'text')"
    folder.add("Backup", job("Backup", "return False", more=more))
    notified = folder.run(ini("[job Backup]\ncontact = a@b.example\n"))
    (mail,) = notified.mails("Backup")
    assert mail.to == ("a@b.example",)


def test_a_section_may_invert_a_job(folder):
    folder.add("Backup", job("Backup"))
    notified = folder.run(ini("[job Backup]\ninvert = yes\n"))
    assert notified.conditions == {"Backup": FAILING}


def test_a_class_that_does_not_say_how_often_it_runs_names_the_way_out(
    folder, approved
):
    text = f"{HEAD}class Backup(JobBase):\n    def execute(self): return True\n"
    reason = folder.run_one("Backup", text).outcomes["Backup"].reason
    approved(reason)


# A file that is no job, and names that are no hooks.


def test_a_file_that_had_a_job_and_has_none_now_is_failing(folder, approved):
    notified = folder.run_one("Flag", f"{HEAD}class Flags: pass\n", had_jobs={"Flag"})
    assert notified.warnings == []
    assert notified.conditions == {"Flag.py": FAILING}
    approved(notified.outcomes["Flag.py"].reason)


def test_a_file_that_may_have_jobs_which_cannot_be_named_is_partial(folder):
    named = "    def getStateName(self): raise OSError\n"
    folder.add("Nameless", job("Nameless", more=named))
    folder.add("Broken", "def broken(:\n")
    folder.add("Wrong", job("Wrong", more="def timeout(self): return -1\n"))
    folder.add("Whole", job("Whole"))
    assert set(folder.run().partial) == {"Nameless", "Broken"}


MISSPELT = """
from lib.jobbase import *

class Flag(JobBase):
    def executeEvery(self): return JobFrequency.MINUTE
    def excute(self): return True
    def on_failure(self): return True
    def getname(self): return "mine"
    def notified(self): return []

class Spawn(JobSpawner):
    def get_subjobs(self, config): return []

class Kind(TargetJob):
    def chek(self, target, deadline): return {}

class Calm(JobBase):
    def execute(self): return self.executes()
    def executes(self): return True
"""


def test_a_method_whose_name_is_nearly_that_of_a_hook_is_a_warning(folder, approved):
    notified = folder.run_one("Flag", MISSPELT, describes=True, only=frozenset())
    approved("\n".join(sorted(notified.warnings)).replace(str(folder.path), "JOBS"))
    assert folder.run().warnings == []


def test_in_an_older_job_file_the_newer_hooks_are_the_authors_own_names(folder):
    older = "from . import JobBase\nclass Old(JobBase.JobBase):\n"
    older += "    def executeEvery(self): return JobBase.JobFrequency.MINUTE\n"
    older += "    def execute(self): return True\n    def contacts(self): return 1\n"
    assert folder.run_one("Old", older, describes=True).warnings == []


LAMP = """
from lib.jobbase import CheckFailed, Clash, TargetJob, option, plain, secret

class Lamp(TargetJob):
    kind = "lamp"
    yields = ("token", "user", "watts")
    options = {
        "colour": option(plain, "", help="what it shows"),
        "token": option(secret, None, help="what it wants"),
        "user": option(plain, "", help="who it knows"),
        "watts": option(plain, "", help="how much it takes"),
    }

    @classmethod
    def wrong_together(cls, target):
        if "token" in target.places and target.user:
            yield Clash("these are two logins; keep one", ("token", "user"))
        if target.colour == "none":
            yield Clash("expected one, or none of watts", ("colour",))
        if target.watts and not target.colour:
            yield Clash("it is about a colour; give colour", ("watts",))
        if target.user == "eve":
            yield "eve knows no lamp"

    def check(self, target, deadline):
        raise CheckFailed(f"it has {sorted(target.given_options)}")
"""


@pytest.mark.parametrize(
    ("defaults", "section", "said"),
    [
        # What a section gives goes before the defaults of its kind.
        ("user = bob", "token_env = HOME", "it has ['token', 'token_env']"),
        ("token_env = HOME", "user = bob", "it has ['user']"),
        ("watts = 5", "", "it has []"),
        ("watts = 5", "colour = red", "it has ['colour', 'watts']"),
        # There is no telling which of two was meant, nor what else was.
        ("token_env = HOME\nuser = bob", "", "these are two logins; keep one"),
        # What is wrong, or may be meant, never does.
        ("colour = none", "watts = 5", "expected one, or none of watts"),
        ("", "watts = 5", "it is about a colour; give colour"),
        ("", "user = eve", "[lamp a] eve knows no lamp"),
    ],
)
def test_a_default_that_does_not_go_with_a_section_yields(
    folder, defaults, section, said
):
    folder.add("Lamp", LAMP)
    told = folder.run(ini(f"[defaults lamp]\n{defaults}\n[lamp a]\n{section}\n"))
    assert told.outcomes["lamp a"].reason.endswith(said)


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ("colour = none\nwatts = 5\n", 2),
        ("user = bob\ntoken_env = HOME\n", 3),
        ("colour = red\nuser = bob\ntoken_env = HOME\n", 4),
    ],
)
def test_a_clash_names_the_line_of_its_first_option(folder, section, line):
    folder.add("Lamp", LAMP)
    settings = ini(f"[lamp a]\n{section}")
    told = folder.run(settings)
    begins = int(settings.where("lamp a").rpartition(":")[2])
    place = f"settings.cfg:{begins + line - 1}: "
    assert told.outcomes["lamp a"].reason.startswith(place)


def test_a_contact_that_is_no_channel_hides_nothing_else(folder):
    folder.add("Lamp", LAMP)
    told = folder.run(
        ini(
            "[channel oncall]\n[defaults lamp]\ncontact = oncal\nwats = 5\n"
            "[lamp a]\ncolur = red\ncontact = a@example.com, pager\n"
            "[lamp b]\ncontact = oncall\n[lamp c]\n"
        )
    )
    reasons = {name: told.outcomes[name].reason for name in ("defaults lamp", "lamp a")}
    assert {name: reason.count("\n") for name, reason in reasons.items()} == {
        "defaults lamp": 1,
        "lamp a": 1,
    }
    assert "[channel oncal]; did you mean 'oncall'?" in reasons["defaults lamp"]
    assert "unknown option 'wats'" in reasons["defaults lamp"]
    assert "contact = pager: it is no mail address" in reasons["lamp a"]
    assert "unknown option 'colur'" in reasons["lamp a"]
    assert told.jobs["lamp b"].contact == ("oncall",)
    # What is wrong in the defaults of a kind is told once, and no target takes it.
    assert told.jobs["lamp c"].contact != ("oncal",)


def test_a_renamed_section_with_a_mistake_is_known_by_its_former_name(folder):
    folder.add("Lamp", LAMP)
    told = folder.run(
        ini(
            "[lamp a]\nwas = lamp old\ncolur = red\n"
            "[lamp b]\nwas = former\nuse = nothing\n"
            "[lamp c]\nhosts = x\nwas = c0\ncolur = red\n"
        )
    )
    assert {name: job.was for name, job in told.jobs.items() if job.was} == {
        "lamp a": "lamp old",
        "lamp b": "lamp former",
        "lamp c/x": "lamp c0/x",
    }


def test_of_two_sections_with_one_former_name_the_first_has_the_history(folder):
    folder.add("Lamp", LAMP)
    told = folder.run(ini("[lamp b]\nwas = a\n[lamp c]\nwas = a\n"))
    assert (told.jobs["lamp b"].was, told.jobs["lamp c"].was) == ("lamp a", "")


@pytest.mark.parametrize(
    ("uses", "said"),
    [
        # What a template says goes before what it uses, the first before the second.
        ("near", "it has ['token']"),
        ("near, far", "it has ['token']"),
        ("far, near", "it has ['token', 'token_env']"),
    ],
)
def test_the_nearest_layer_gives_a_secret_whatever_lies_farther(folder, uses, said):
    folder.add("Lamp", LAMP)
    told = folder.run(
        ini(
            "[defaults lamp]\ntoken = abc\n[template far]\ntoken_env = HOME\n"
            "[template near]\nuse = far\ntoken = abcd\n"
            f"[lamp a]\nuse = {uses}\n"
        )
    )
    assert told.outcomes["lamp a"].reason == said


def test_contacts_of_their_own_do_not_have_each_target_read_all_sections(monkeypatch):
    sections = [
        f"[tcp t{number}]\nhost = 127.0.0.1\nport = 9\n"
        f"contact = chat, ops-{number}@b.example\n"
        for number in range(100)
    ]
    settings = ini("\n".join(["[channel chat]\nwebhook = http://[::1]/", *sections]))
    read = []
    titles = IniFile.__iter__
    monkeypatch.setattr(
        IniFile, "__iter__", lambda self: read.append(1) or titles(self)
    )
    path = Path(__file__).parents[3] / "jobs" / "TCPServerChecker.py"
    found = discover(JobFile(path, path.stem), settings, ("ops@b.example",))
    assert len(found.jobs) == 100
    assert not found.problems
    assert len(read) < 20

"""The contract with job authors, as they read it and as it is kept."""

from __future__ import annotations

import inspect
import pydoc
import re

import pytest

from lib import jobbase
from lib.core.enums import MessageKind
from lib.jobbase import JobBase, JobSpawner, TargetJob
from tests.support.fakes import Folder, settings

#: DESIGN.md's contract: every name of it.
CONTRACT = {
    "JobFrequency": "MINUTE HOUR DAY DAY_NOON",
    "JobFailureNotificationFrequency": (
        "EVERYTIME EVERYFIVEMINUTES EVERYTENMINUTES EVERYHOUR EVERYDAY ONSTATECHANGE"
    ),
    "JobFailureCountMinimumBeforeNotification": "ONE TWO FIVE TEN",
    "JobBase": (
        "executeEvery notifyOnFailureEvery numberFailuresBeforeNotification execute"
        " onFailure onStateChangeSuccess sendEmail getName getStateName contact timeout"
    ),
    "JobSpawner": "get_sub_jobs",
    "CheckFailed": "",
    "CheckUnknown": "",
    "CheckPending": "",
    "CheckWarning": "",
    "Deadline": "",
    "TargetJob": "kind every options check",
}


class Mine(JobBase):
    """A job with nothing of its own."""


@pytest.mark.parametrize("name", CONTRACT)
def test_every_name_of_the_contract_is_there(name):
    assert name in jobbase.__all__
    found = getattr(jobbase, name)
    assert all(hasattr(found, member) for member in CONTRACT[name].split())


@pytest.mark.parametrize("thing", [JobBase, JobSpawner, TargetJob])
def test_everything_an_author_meets_is_explained(thing):
    assert thing.__doc__
    for name, member in inspect.getmembers(thing, inspect.isfunction):
        if not name.startswith("_") and name in vars(thing):
            assert member.__doc__, name


def test_the_example_in_the_help_is_a_job_that_runs(tmp_path, approved):
    text = pydoc.plain(pydoc.render_doc(JobBase))
    start = text.index("import os\n")
    lines = text[start : text.index("Try it with")].splitlines()
    margin = re.match(r"\W*", text[:start].splitlines()[-1])
    assert margin
    code = "\n".join(
        line[len(margin[0]) :] if margin[0] in line else "" for line in lines
    )
    assert "class Backup(JobBase):" in code
    folder = Folder(tmp_path)
    notified = folder.run_one(
        "Backup", "import os\n" + "\n".join(code.splitlines()[1:]) + "\n"
    )
    approved(notified.outcomes["Backup"].reason)


def test_help_names_what_an_author_needs():
    text = pydoc.plain(pydoc.render_doc(JobBase))
    for words in (
        "from lib.jobbase import",
        "checker.py -m run Backup",
        "self.memory",
        "self.config",
        "CheckUnknown",
        "CheckPending",
        "at most 50",
        "super().__init__(config, path)",
        "ONSTATECHANGE (the default)",
    ):
        assert words in text


def test_what_is_not_given_has_a_default_that_is_heard():
    mine = Mine(settings())
    assert mine.notifyOnFailureEvery() == "state_change"
    assert mine.numberFailuresBeforeNotification() == 1
    assert mine.contact() == ("ops@example.com",)
    assert mine.timeout() == 30.0
    assert mine.onFailure() is False
    assert mine.onStateChangeSuccess() is False
    assert mine.memory == {}


def test_settings_have_defaults_for_every_job():
    defaults = (
        "[defaults]\nevery = hour\nnotify = day\nfailures = five\ntimeout = 0.5\n"
    )
    mine = Mine(settings(f"{defaults}contact = a@b.example, c@d.example\n"))
    assert mine.executeEvery() == "hour"
    assert mine.notifyOnFailureEvery() == "day"
    assert mine.numberFailuresBeforeNotification() == 5
    assert mine.contact() == ("a@b.example", "c@d.example")
    assert mine.timeout() == 0.5


def test_a_default_that_is_wrong_is_none(approved):
    wrong = "[defaults]\nevery = weekly\nnotify = never\nfailures = 0\ntimeout = 99\n"
    mine = Mine(settings(f"{wrong}contact = nobody\n"))
    with pytest.raises(NotImplementedError) as caught:
        mine.executeEvery()
    approved(str(caught.value))
    assert mine.numberFailuresBeforeNotification() == 1
    assert mine.timeout() == 30.0
    assert mine.contact() == ("ops@example.com",)


def test_a_name_is_made_of_the_class_and_what_tells_it_apart():
    assert Mine(settings()).getName() == "Mine"
    assert Mine(settings(), "a", 5).getName() == "Mine a 5"
    assert Mine(settings(), "a", 5).getStateName() == "Mine|a|5"


def test_a_mail_is_kept_with_whom_it_goes_to():
    mine = Mine(settings())
    assert mine.sendEmail("subject", "body") is True
    (mail,) = mine._checker.outgoing
    assert (mail.subject, mail.body) == ("subject", "body")
    assert mail.to == ("ops@example.com",)
    assert mail.kind is MessageKind.NOTE
    assert mail.born_at.tzinfo is not None
    assert len(mail.message_id) == 32


@pytest.mark.parametrize("to", ["nobody", "a@b.c\r\nBcc: x@y.z", ["a@b.c", "x"], ","])
def test_what_is_no_address_is_refused(to):
    with pytest.raises(ValueError, match="expected|it is no mail address"):
        Mine(settings()).sendEmail("subject", "body", to)


def test_a_mail_may_go_to_a_channel():
    mine = Mine(settings("[channel oncall]\nwebhook = https://example.com/\n"))
    assert mine.sendEmail("subject", "body", to="oncall, a@b.c") is True
    (mail,) = mine._checker.outgoing
    assert mail.to == ("oncall", "a@b.c")
    with pytest.raises(ValueError, match="did you mean 'oncall'"):
        mine.sendEmail("subject", "body", to="oncal")


def test_an_older_jobs_name_is_found_literally():
    assert Mine(settings()).formerly() == f"{str(Mine)}|"
    assert Mine(settings(), "a*", "[b]").formerly() == f"{str(Mine)}|a[*]|[[]b]"

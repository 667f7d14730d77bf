"""A kind with ``check_many``: all its due targets at once, each with its own result."""

from __future__ import annotations

import pytest

from lib.core.enums import Status
from tests.support.fakes import Folder, ini

FAILING, OK, UNKNOWN = Status.FAILING, Status.OK, Status.UNKNOWN

KIND = """
import os, time
from lib.jobbase import CheckFailed, TargetJob, option, secret, text

class Pond(TargetJob):
    kind = "pond"
    options = {{
        "says": option(text, "well", help="what it is"),
        "word": option(secret, None, help="a secret"),
    }}

    def check(self, target, deadline):
        return self.found(target, "alone")

    def found(self, target, how):
        if target.says == "die": os._exit(3)
        if target.says == "wait": raise CheckFailed(self.waited(how))
        if target.says == "raise": raise CheckFailed(how + " " + str(target.word))
        return {{how: 1}}

    def waited(self, how):
        began, deadline = time.monotonic(), self._deadline()
        while not deadline.passed:
            time.sleep(0.01)
        took = time.monotonic() - began
        return how + (" all of it" if took >= deadline.limit_s else f" {{took}} s")

    @classmethod
    def check_many(cls, jobs, deadline):
{body}
"""
#: Each after the other, what it raises in place of its values.
PLAIN = """
        for job in jobs:
            deadline([job])
            try:
                yield job, job.found(job.target, "many")
            except Exception as error:
                yield job, error
"""


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def found_of(folder, sections, body=PLAIN, **order):
    folder.add("Pond", KIND.format(body=body))
    return folder.run(ini("".join(sections)), **order)


def ponds(count, says="well"):
    return [f"[pond p{number}]\nsays = {says}\n" for number in range(count)]


def how(told):
    """Return how each target was checked: many, or alone."""
    return {
        name.removeprefix("pond "): next(iter(result.values), "")
        for name, result in told.outcomes.items()
        if name.startswith("pond ")
    }


def test_all_targets_are_checked_at_once_and_one_by_itself_alone(folder):
    assert set(how(found_of(folder, ponds(5))).values()) == {"many"}
    assert set(how(found_of(folder, ponds(1))).values()) == {"alone"}


def test_each_has_its_own_status_reason_and_values(folder):
    sections = [
        *ponds(3),
        "[pond bad]\nsays = raise\n[pond not]\nsays=raise\ninvert=yes\n",
    ]
    told = found_of(folder, sections)
    assert told.conditions["pond bad"] is FAILING
    assert told.outcomes["pond bad"].reason.startswith("many ")
    assert told.conditions["pond not"] is OK
    assert told.conditions["pond p1"] is OK


def test_each_has_the_time_limit_of_its_own_section(folder):
    body = """
        for job, own in zip(jobs, deadline(jobs)):
            yield job, {"limit": own.limit_s}
"""
    limits = {"a": 3, "b": 7, "c": 3}
    sections = [f"[pond {name}]\ntimeout = {limits[name]}\n" for name in limits]
    told = found_of(folder, sections, body)
    found = {name: told.outcomes[f"pond {name}"].values["limit"] for name in limits}
    assert {name: value.number for name, value in found.items()} == limits


@pytest.mark.parametrize("count, how", [(1, "alone"), (2, "many")])
def test_a_check_has_all_of_its_time_and_then_says_what_it_came_to(folder, count, how):
    sections = [f"[pond p{n}]\ntimeout = 0.4\nsays = wait\n" for n in range(count)]
    # A busy machine may take too long to say it, but not each time.
    said = (found_of(folder, sections).outcomes["pond p0"].reason for _ in range(4))
    assert f"{how} all of it" in said


def test_a_secret_is_had_and_is_in_no_result(folder, monkeypatch):
    monkeypatch.setenv("POND", "hush-hush-1")
    lines = "says = raise\nword_env = POND\n"
    told = found_of(folder, [f"[pond p{n}]\n{lines}" for n in range(2)])
    assert told.outcomes["pond p0"].reason == "many ***"


def test_what_cannot_be_had_is_unknown_for_that_target_only(folder):
    told = found_of(folder, [*ponds(3), "[pond bad]\nword_env = NO_SUCH\n"])
    assert told.conditions["pond bad"] is UNKNOWN
    assert told.conditions["pond p2"] is OK


def test_one_whose_secret_needs_a_command_has_no_other_wait(folder):
    sections = [*ponds(3), "[pond slow]\nword_command = echo hush-hush-1\n"]
    assert how(found_of(folder, sections))["slow"] == "alone"


def test_what_makes_it_fail_is_tried_alone_and_the_rest_again(folder):
    body = """
        for job in jobs:
            deadline([job])
            if job.target.name == "p2":
                raise ValueError("a bug")
            yield job, job.found(job.target, "many")
    """
    told = found_of(folder, ponds(5), body)
    assert set(told.conditions.values()) == {OK}
    assert how(told) == {
        "p0": "many", "p1": "many", "p2": "alone", "p3": "many", "p4": "many"
    }  # fmt: skip


@pytest.mark.parametrize(
    "body", ["        raise SystemExit(1)\n", "        return ()\n"]
)
def test_one_that_does_nothing_has_each_target_checked_alone(folder, body):
    told = found_of(folder, ponds(3), body)
    assert set(how(told).values()) == {"alone"}


def test_values_that_are_none_fail_for_that_target_only(folder):
    body = """
        for job in jobs:
            deadline([job])
            yield job, None if job.target.name == "p1" else {"many": 1}
    """
    told = found_of(folder, ponds(3), body)
    assert told.conditions["pond p1"] is FAILING
    assert "expected a dict of values" in told.outcomes["pond p1"].reason
    assert told.conditions["pond p2"] is OK


def test_what_is_more_than_ok_is_said(folder):
    body = """
        from lib.jobbase import count
        for job in jobs:
            deadline([job])
            name, values = job.target.name, {"many": 1}
            if name == "memory": job.memory["seen"] = 1
            if name == "mail": job.sendEmail("look", "at this")
            if name == "remark": job.remark = "after two tries"
            if name == "limit": values = {"many": count(5, fail=3)}
            if name == "name": values = {"a\\nb": 1}
            if name == "plain": values = {"many": count(1)}
            if name == "own": job.values["own"] = 2
            yield job, values
    """
    names = ("plain", "memory", "mail", "remark", "limit", "name", "own")
    told = found_of(folder, [f"[pond {name}]\n" for name in names], body)
    assert told.reports["pond memory"].memory == {"seen": 1}
    assert [mail.subject for mail in told.mails("pond mail")] == ["look"]
    assert told.outcomes["pond remark"].reason == "after two tries"
    assert told.conditions["pond limit"] is FAILING
    assert told.conditions["pond name"] is FAILING
    assert set(told.outcomes["pond own"].values) == {"many", "own"}
    assert told.outcomes["pond plain"].values["many"].number == 1


def test_a_job_that_is_done_is_freed_while_others_run(folder):
    body = """
        import weakref
        done = []
        while jobs:
            job = jobs.pop()
            deadline([job])
            kept = sum(one() is not None for one in done)
            done.append(weakref.ref(job))
            yield job, {"kept": kept}
    """
    told = found_of(folder, ponds(5), body)
    kept = [
        result.values["kept"].number
        for result in told.outcomes.values()
        if result.values
    ]
    # The last one is still at hand.
    assert sorted(kept) == [0, 1, 1, 1, 1]


def test_a_hook_of_its_own_is_called(folder):
    hook = """
    def onFailure(self):
        return self.sendEmail("it is " + self.target.says, "body")
"""
    folder.add("Pond", KIND.format(body=PLAIN) + hook)
    told = folder.run(ini("".join(ponds(2, "raise"))))
    assert [mail.subject for mail in told.mails("pond p1")] == ["it is raise"]


@pytest.mark.long
@pytest.mark.parametrize("count", [5, 60])
def test_the_one_that_kills_the_worker_is_named_and_the_others_run(folder, count):
    # All of them are under way when it happens.
    body = """
        deadline(jobs)
        for job in jobs:
            yield job, job.found(job.target, "many")
    """
    sections = [*ponds(count), "[pond deadly]\nsays = die\n"]
    told = found_of(folder, sections, body)
    assert told.conditions.pop("pond deadly") is FAILING
    assert told.lost["pond deadly"].reason == "called os._exit(3)"
    assert {
        status for name, status in told.conditions.items() if name != "pond deadly"
    } == {OK}
    assert len(told.conditions) == count + 1


def test_what_it_knows_goes_on_its_way_before_a_pause(folder):
    body = """
        deadline(jobs)
        yield jobs[0], {"many": 1}
        yield None
        os._exit(3)
    """
    told = found_of(folder, ponds(2), body)
    assert told.conditions["pond p0"] is OK
    assert "pond p0" in told.reports

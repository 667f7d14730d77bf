"""-m check: a run of just some jobs, with all that a run does about them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from lib.runner.run import wait_for_lock
from lib.storage.lock import Holder
from lib.system.errors import StateError
from tests.support.instance import Instance, flag_job
from tests.support.servers import SmtpServer

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
FULL = "[disk full]\npath = /\nlimit = 1\n"
ROOT = "[disk root]\npath = /\nlimit = 100\n"
GONE = "[disk gone]\npath = /no/such/folder\nevery = minute\n"
UNSURE = """\
from lib.jobbase import CheckUnknown, JobBase, JobFrequency

class Unsure(JobBase):
    def executeEvery(self):
        return JobFrequency.MINUTE

    def execute(self):
        raise CheckUnknown("who knows")
"""


@pytest.fixture
def instance(tmp_path):
    return Instance(tmp_path)


def test_a_job_is_checked_with_state_and_notification(tmp_path, ca, cafile):
    with SmtpServer(ca) as smtp:
        instance = Instance(tmp_path, smtp.email_section(cafile))
        instance.job("Flag", flag_job(tmp_path / "flag", frequency="DAY"))
        instance.add(GONE)
        ran = instance.run("-m", "check", "Flag", "--json")
        (row,) = ran.json()
        assert (ran.code, row["status"], row["decision"]) == (
            1,
            "failing",
            "first_alert",
        )
        assert row["notified"] == ["ops@example.com"] and not row["queued_messages"]
        (tmp_path / "flag").touch()
        ran = instance.run("-m", "check", "Flag", "--json")
        assert (ran.code, ran.json()[0]["decision"]) == (0, "recovery")
        alert, recovery = smtp.wait_for(2)
    assert alert.subject == "[web1] Flag is failing: the flag is down"
    assert recovery.subject.startswith("[web1] Flag is OK again after ")
    assert "failing_since" not in instance.records().get("Flag", {})


@pytest.mark.long
def test_nothing_counts_as_a_run_of_crons(instance):
    instance.add(FULL + ROOT)
    instance.cron("hour")
    before = instance.last_run()
    assert instance.run("-m", "check", "disk full").code == 1
    after = instance.last_run()
    for name in ("began_at", "ended_at", "last_runs", "jobs", "ran", "failing"):
        assert after.get(name) == before.get(name), name
    assert instance.records()["disk full"]["failures"] == 2


@pytest.mark.long
def test_jobs_that_are_not_checked_stay_as_they_were(instance):
    instance.job("Flag", flag_job(instance.folder / "flag"))
    instance.add(FULL + ROOT + GONE)
    instance.cron("hour")
    before = instance.records()
    assert instance.run("-m", "check", "disk root").code == 0
    assert instance.records() == before
    assert {row["job"]: row["status"] for row in instance.listed()} == {
        "Flag": "failing",
        "disk full": "failing",
        "disk gone": "failing",
        "disk root": "ok",
    }


def test_other_new_jobs_of_the_file_are_still_new_to_the_next_run(instance):
    instance.add(FULL + ROOT)
    assert instance.run("-m", "check", "disk root").code == 0
    catalog = instance.state / "catalog.json"
    assert "disk root" in catalog.read_text()
    assert "disk full" not in catalog.read_text()


@pytest.mark.long
def test_what_was_lost_of_others_is_not_forgotten(instance):
    instance.job("Flag", flag_job(instance.folder / "flag"))
    instance.add(ROOT)
    instance.cron("hour")
    (instance.state / "jobs").joinpath(
        next(path.name for path in (instance.state / "jobs").glob("flag*"))
    ).unlink()
    assert instance.run("-m", "check", "disk root").code == 0
    statuses = {row["job"]: row["status"] for row in instance.listed()}
    assert statuses == {"Flag": "unknown", "disk root": "ok"}


@pytest.mark.long
@pytest.mark.parametrize("mode", ["run", "check"])
def test_the_exit_code_says_how_the_worst_job_is(instance, mode):
    instance.job("Unsure", UNSURE)
    instance.add(FULL + ROOT)

    def code(*names):
        return instance.run("-m", mode, *names).code

    assert code("disk root") == 0
    assert code("Unsure", "disk root") == 3
    assert code("Unsure", "disk *") == 1
    assert code("disk root", "nothing") == 1
    assert code("nothing") == 1


def test_a_broken_file_and_a_wrong_section_can_be_checked_by_their_names(instance):
    instance.job("Broken", "(")
    instance.add("[disk odd]\npath = relative\n[htpp x]\n")
    ran = instance.run("-m", "check", "Broken.py", "disk odd", "htpp x", "--json")
    assert ran.code == 1
    assert {row["job"]: row["decision"] for row in ran.json()} == dict.fromkeys(
        ("Broken.py", "disk odd", "htpp x"), "first_alert"
    )


def test_a_state_folder_that_cannot_be_used_is_one_line(instance):
    instance.add(ROOT)
    instance.state.chmod(0o777)
    ran = instance.run("-m", "check", "disk root")
    assert (ran.code, ran.out) == (1, "")
    assert len(ran.err.splitlines()) == 1 and "chmod" in ran.err


@pytest.mark.long
def test_another_run_is_waited_for_and_named(instance):
    slow = flag_job(instance.folder).replace("return True", "time.sleep(1.5)")
    instance.job("Flag", slow.replace("import os", "import os, time"))
    instance.add(ROOT)
    with instance.start("-m", "cron", "-c", "minute") as run:
        while not (instance.state / "run.json").exists():
            assert run.poll() is None
        ran = instance.run("-m", "check", "disk root")
        assert run.wait() == 0
    assert ran.code == 0
    begin = "checker: waiting up to 55 s for the run in progress (process "
    assert ran.err.startswith(f"{begin}{run.pid}, since ")


class Locked:
    """A state folder whose lock another run has for so many looks."""

    def __init__(self, looks, holder):
        self.left, self.holder = looks, holder

    def lock(self, _now, _length):
        self.left -= 1
        return self.holder if self.left >= 0 else None


def test_a_run_that_does_not_end_is_named_and_nothing_is_checked(approved):
    said = []
    locked = Locked(1000, Holder(4711, NOON, NOON))
    with pytest.raises(StateError) as caught:
        wait_for_lock(locked, lambda: NOON, said.append, zone=UTC, wait_s=0.01)
    approved(str(caught.value), "error")
    approved(said, "said")


def test_a_free_lock_is_not_waited_for():
    said = []
    wait_for_lock(Locked(0, Holder()), lambda: NOON, said.append)
    assert said == []

"""``retries``: what is failing or unknown is tried again within the run."""

from __future__ import annotations

import time
from collections import deque

import pytest

from jobs.CommandChecker import CommandChecker
from jobs.HTTPServerChecker import HTTPServerChecker
from jobs.UDPServerChecker import UDPServerChecker
from lib.config.targets import target_sections
from lib.core.enums import Status
from lib.core.jobs import KIND_FILES, Job, JobFile, JobFrequency, JobKey
from lib.core.records import Record
from lib.jobbase import (
    CheckFailed,
    CheckPending,
    CheckUnknown,
    CheckWarning,
    Deadline,
    TargetJob,
    count,
    option,
)
from lib.net import bulk
from lib.net.connect import Unreachable
from lib.plugins.discover import LoadedJob, kind_of
from lib.plugins.kind import KindTable
from lib.workers.execute import execute
from tests.support import fakes
from tests.support.listeners import Datagrams, Listener, answer, job_of, result_of, says
from tests.support.waits import SOON_S
from tests.unit.config.test_load import BASE

OK, FAILING, UNKNOWN = Status.OK, Status.FAILING, Status.UNKNOWN


class Scripted(TargetJob):
    """A kind that comes to one thing after the other."""

    kind = "scripted"
    options = {"fail_count": option(count, 5, help="above")}
    script: deque

    def check(self, target, deadline):
        self.seen = [*getattr(self, "seen", ()), (dict(self.memory), deadline)]
        self.memory["runs"] = self.memory.get("runs", 0) + 1
        self.note = f"note {len(self.seen)}"
        outcome = self.script.popleft()
        if isinstance(outcome, Exception):
            raise outcome
        return {"count": count(outcome, fail=target.fail_count)}


class Stepping(bulk.InBulk, Scripted):
    """The same as steps, many at once."""

    def steps(self, target, deadline):
        yield bulk.Pause(deadline.within(0))
        return Scripted.check(self, target, deadline)


def found(script, kind=Scripted, **options):
    """Return the job, and the result of a script."""
    job = job_of(kind, **{"retry_pause": "1ms", "timeout": 5, **options})
    job.script = deque(script)
    return job, result_of(job)


@pytest.mark.parametrize("kind", [Scripted, Stepping])
@pytest.mark.parametrize(
    ("script", "retries", "status", "tries"),
    [
        ([CheckFailed("no"), 1], 0, FAILING, 1),
        ([CheckFailed("no"), 1], 1, OK, 2),
        ([Unreachable("no"), CheckUnknown("no"), 1], 2, OK, 3),
        ([OSError("no"), 1], 1, OK, 2),
        ([9, 1], 1, OK, 2),
        ([9, 9, 1], 1, FAILING, 2),
        ([CheckFailed("a"), CheckUnknown("b")], 1, UNKNOWN, 2),
        ([1, 9], 3, OK, 1),
        # What is none of the two, and what is news, is not asked twice.
        ([CheckWarning("hm"), 1], 3, Status.WARNING, 1),
        ([CheckPending("wait"), 1], 3, Status.PENDING, 1),
        ([CheckFailed("news", event=True), 1], 3, FAILING, 1),
    ],
)
def test_what_is_failing_or_unknown_is_tried_again(
    kind, script, retries, status, tries
):
    job, result = found(script, kind, retries=retries)
    assert (result.status, len(job.seen)) == (status, tries)


@pytest.mark.parametrize("kind", [Scripted, Stepping])
def test_many_at_once_are_tried_again_by_themselves(kind):
    jobs = []
    for number in range(3):
        job = job_of(kind, retries=1, retry_pause="1ms", timeout=5)
        job.script = deque([CheckFailed("no"), 1] if number else [1])
        jobs.append(job)
    if kind is Scripted:
        assert not any(job.checks_many for job in jobs)
        return
    assert all(job.checks_many for job in jobs)
    deadlines = kind.check_many(jobs, lambda some: [Deadline(5) for _ in some])
    outcomes = dict(filter(None, deadlines))
    assert {len(job.seen) for job in outcomes} == {1, 2}
    assert all(outcomes[job]["count"].number == 1 for job in jobs)


def test_with_invert_it_is_tried_again_while_the_check_is_ok():
    job, result = found([1, CheckFailed("gone")], retries=1, invert="yes")
    assert (result.status, len(job.seen)) == (OK, 2)
    job, result = found([CheckFailed("gone"), 1], retries=1, invert="yes")
    assert (result.status, len(job.seen)) == (OK, 1)


def test_each_try_begins_as_the_first_did_and_the_last_one_counts():
    job = job_of(Scripted, retries=2, retry_pause="1ms", timeout=5)
    job.script = deque([CheckFailed("a"), CheckFailed("b"), 9])
    facts = Job(JobKey("X", "it"), "it", "X.py", JobFrequency.MINUTE)
    record = Record(facts.key, memory={"runs": 7})
    result = execute(LoadedJob(facts, job), record)
    assert [memory for memory, _own in job.seen] == [{"runs": 7}] * 3
    assert job.memory == {"runs": 8}
    assert result.reason.endswith("note 3")
    assert result.values["count"].number == 9


def test_what_is_ok_after_a_failed_try_says_so():
    _job, result = found([CheckFailed("refused\nmore"), 9, 1], retries=2)
    assert result.reason == "it was tried again; before: refused"
    _job, result = found([1], retries=2)
    assert result.reason == ""


def test_all_tries_share_the_timeout():
    job, _result = found([CheckFailed("a")] * 3, retries=2, retry_pause="50ms")
    own = [deadline for _memory, deadline in job.seen]
    assert [round(one.limit_s) for one in own] == [2, 2, 5]


@pytest.mark.parametrize("kind", [Scripted, Stepping])
def test_nothing_is_tried_again_where_the_pause_does_not_fit(kind):
    began = time.monotonic()
    options = {"timeout": 40, "retries": 1, "retry_pause": "50s"}
    job, result = found([CheckFailed("a"), 1], kind, **options)
    assert (result.status, len(job.seen)) == (FAILING, 1)
    assert job.seen[0][1].limit_s == 40
    assert time.monotonic() - began < SOON_S


def test_every_kind_has_it_but_those_that_look_at_news():
    files = (JobFile(BASE / f"jobs/{name}.py", name) for name in KIND_FILES.values())
    kinds = map(kind_of, files)
    assert {kind.kind for kind in kinds if not kind.retries} == {
        "group",
        "heartbeat",
        "log",
    }


def test_pauses_that_do_not_fit_are_warned_of():
    ini = fakes.ini("[scripted it]\nretries = 3\nretry_pause = 2s\ntimeout = 5\n")
    table = KindTable(Scripted.kind, Scripted.every, Scripted.options)
    (section,) = target_sections(ini, "scripted")
    target, _problems = table.target(section)
    assert [str(problem) for problem in table.advice(section, target, BASE)] == [
        "settings.cfg:8: [scripted it] retries: 3 pauses of 2 s do not fit into "
        "timeout = 5s, so it is tried less often"
    ]


@pytest.mark.parametrize(("retries", "status"), [(1, OK), (0, FAILING)])
def test_a_program_is_run_again(retries, status, tmp_path):
    tmp_path.chmod(0o755)
    line = f"rmdir {tmp_path}/first 2> {tmp_path}/said || exit 0; exit 1"
    (tmp_path / "first").mkdir()
    job = job_of(
        CommandChecker, command=line, shell="yes", retries=retries, retry_pause="1ms"
    )
    assert result_of(job).status == status


@pytest.mark.parametrize(("retries", "status"), [(2, OK), (0, FAILING)])
def test_a_lost_packet_is_sent_again(retries, status):
    answers = deque([(), (b"well",)])
    with Datagrams(lambda _said: answers.popleft()) as it:
        given = {"expect": "well", "timeout": 0.6, "retry_pause": "1ms"}
        job = job_of(
            UDPServerChecker, host="127.0.0.1", port=it.port, retries=retries, **given
        )
        assert result_of(job).status == status


@pytest.mark.parametrize(("retries", "status"), [(1, OK), (0, FAILING)])
def test_a_page_is_fetched_again(retries, status):
    with Listener(says(answer("500 Oops")), says(answer())) as it:
        job = job_of(
            HTTPServerChecker, url=it.url(), retries=retries, retry_pause="1ms"
        )
        assert result_of(job).status == status

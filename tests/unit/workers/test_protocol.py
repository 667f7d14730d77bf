"""What a worker says to the supervisor comes back as it was said, or not at all."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from lib.core import encoding
from lib.core.enums import Decision, JobFrequency, MessageKind, Status
from lib.core.jobs import Job, JobKey
from lib.core.messages import Message
from lib.core.results import CheckResult, JobReport, Threshold, Unit, Value
from lib.workers import protocol
from tests.support.fakes import NOON

JOB = Job(JobKey("X", "\ud800"), "x \U0001f600", "/jobs/X.py", JobFrequency.HOUR)
OTHER = Job(JobKey("X", "y"), "y", "/jobs/X.py", JobFrequency.MINUTE, is_own=True)
JOBS = {job.key: job for job in (JOB, OTHER)}
VALUES = {"used": Value(93, Unit.PERCENT, fail=Threshold(high=90, option="limit"))}
FAILED = CheckResult(Status.FAILING, "down", "a\nb", 0.5)
MAIL = Message("id", MessageKind.ALERT, "down", "it is down", ("a@b.example",), NOON)


def through(frame):
    """Return what is heard of a frame that went through a pipe."""
    return protocol.read(encoding.decode(encoding.encode(frame)), JOBS)


@pytest.mark.parametrize(
    "report",
    [
        JobReport(JOB, CheckResult(Status.OK, seconds=0.25), Decision.OK),
        JobReport(JOB, CheckResult(Status.OK, values=VALUES), Decision.OK),
        JobReport(JOB, CheckResult(Status.WARNING, values=VALUES), Decision.NOT_YET),
        JobReport(JOB, CheckResult(Status.OK), Decision.OK, memory={"n": [1, None]}),
        JobReport(JOB, CheckResult(Status.OK), Decision.RECOVERY, (MAIL,)),
        JobReport(OTHER, FAILED, Decision.FIRST_ALERT, (MAIL, MAIL), {}),
        JobReport(JOB, CheckResult(Status.PENDING, "a moment"), Decision.PENDING),
    ],
)
def test_a_report_comes_back_as_it_was(report):
    assert through(protocol.report(report)) == report


def test_a_report_of_nothing_is_short():
    report = JobReport(OTHER, CheckResult(Status.OK, seconds=0.25), Decision.OK)
    assert protocol.report(report) == ["ok", OTHER.key, 0.25, {}]


def test_everything_else_comes_back_too():
    (some,) = protocol.jobs(list(JOBS.values()), [JOB.key])
    assert through(some) == protocol.Jobs(JOBS, frozenset({JOB.key}))
    assert through(protocol.loaded(["odd"])) == protocol.Loaded(("odd",))
    partial = protocol.Loaded(partial=("Flag",))
    assert through(protocol.loaded([], partial=["Flag"])) == partial
    assert through(protocol.started(JOB.key)) == protocol.Started((JOB,))
    assert through(protocol.notifying(JOB.key, FAILED)) == protocol.Notifying(
        JOB, FAILED
    )
    assert through(protocol.PULSE) is None
    assert through(protocol.END) == protocol.Ended()


def test_many_jobs_are_sent_in_several_frames():
    many = [
        replace(OTHER, key=JobKey("X", str(number)))
        for number in range(protocol.JOBS_PER_FRAME + 1)
    ]
    parts = [
        through(frame) for frame in protocol.jobs(many, [many[0].key, many[-1].key])
    ]
    assert [len(part.jobs) for part in parts] == [protocol.JOBS_PER_FRAME, 1]
    assert [part.wanted for part in parts] == [{many[0].key}, {many[-1].key}]


@pytest.mark.parametrize(
    "frame",
    [
        None,
        5,
        [],
        {},
        "started",
        ["what"],
        ["started"],
        ["started", "X/unknown"],
        ["started", ["X/y"]],
        ["ok", "X/y"],
        ["ok", "X/y", "soon", {}],
        ["ok", "X/y", True, {}],
        ["ok", "X/y", 0.1, {"x": 1}],
        ["notifying", "X/y", {"status": "sunny"}],
        ["report", "X/y", {"status": "ok"}, "dandy", [], None],
        ["report", "X/y", {"status": "ok"}, "ok", [{}], None],
        ["report", "X/y", {"status": "ok"}, "ok", [], [1]],
        ["report", "X/y", {"status": "ok"}, "ok", None, None],
        ["jobs", [{}], []],
        ["started", "X"],
        ["jobs", [{"key": "a"}], []],
        ["jobs", 5, []],
        ["jobs", []],
        ["loaded"],
        ["loaded", 5],
    ],
)
def test_what_is_none_of_ours_is_refused(frame):
    with pytest.raises((ValueError, TypeError, KeyError, IndexError)):
        protocol.read(frame, JOBS)

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
    assert through(protocol.report(report)) == protocol.Reports((report,))


def test_reports_of_nothing_are_short_and_go_together():
    fine = JobReport(OTHER, CheckResult(Status.OK, seconds=0.25), Decision.OK)
    also = JobReport(JOB, CheckResult(Status.OK, values=VALUES), Decision.OK)
    worse = JobReport(OTHER, FAILED, Decision.NOT_YET)
    assert protocol.report(fine) == ["ok", "X", ("y", 0.25, {})]
    frames = protocol.together(map(protocol.report, (fine, worse, also)))
    assert [through(frame).reports for frame in frames] == [(fine, also), (worse,)]


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


def test_targets_that_differ_in_their_names_are_sent_once():
    first = replace(OTHER, is_own=False, contact=("a@b.example",))
    alike = [replace(first, key=JobKey("X", name), name=name) for name in "abc"]
    other = replace(first, key=JobKey("X", "d"), name="another name")
    jobs = [*alike, other]
    (frame,) = protocol.jobs(jobs, [job.key for job in jobs if job.name != "b"])
    assert [len(names) for _wanted, _job, names in frame[1]] == [0, 0, 0, 0]
    (frame,) = protocol.jobs(jobs, [job.key for job in jobs])
    assert [names for _wanted, _job, names in frame[1]] == [["b", "c"], []]
    by_key = {job.key: job for job in jobs}
    assert through(frame) == protocol.Jobs(by_key, frozenset(by_key))


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
        ["started", "X", ["y", "z"]],
        ["ok"],
        ["ok", "X", "y"],
        ["ok", "X", ["z", 0.1, {}]],
        ["ok", "X", ["y", "soon", {}]],
        ["ok", "X", ["y", True, {}]],
        ["ok", "X", ["y", 0.1, {"x": 1}]],
        ["ok", ["X"], ["y", 0.1, {}]],
        ["notifying", "X/y", {"status": "sunny"}],
        ["report", "X/y", {"status": "ok"}, "dandy", [], None],
        ["report", "X/y", {"status": "ok"}, "ok", [{}], None],
        ["report", "X/y", {"status": "ok"}, "ok", [], [1]],
        ["report", "X/y", {"status": "ok"}, "ok", None, None],
        ["jobs", [{}]],
        ["started", "X"],
        ["jobs", [[True, {"key": "a"}, []]]],
        ["jobs", 5],
        ["jobs"],
        ["loaded"],
        ["loaded", 5],
    ],
)
def test_what_is_none_of_ours_is_refused(frame):
    with pytest.raises((ValueError, TypeError, KeyError, IndexError)):
        protocol.read(frame, JOBS)

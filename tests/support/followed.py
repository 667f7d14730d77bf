"""A log that is followed: checked as runs check it, with its record kept between."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from jobs.LogChecker import LogChecker
from lib.core import policy
from lib.core.enums import JobFailureNotificationFrequency
from lib.core.jobs import NEVER_FLAPPING, Job, JobKey, Policy
from lib.core.records import Record
from lib.core.results import JobReport
from lib.plugins.discover import LoadedJob
from lib.workers.execute import execute, memory_to_keep
from tests.support.listeners import job_of

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
KEY = JobKey("LogChecker", "log it")


class Followed:
    """A target whose record is kept from check to check, as runs keep it."""

    def __init__(self, path: Path | str, notify: str = "state_change", **options):
        self.options = {"match": "ERROR", **options}
        if path:
            self.options["path"] = path
        self.record = Record(KEY)
        self.policy = Policy(
            JobFailureNotificationFrequency(notify), flapping=NEVER_FLAPPING
        )
        self.now, self.held = NOON, None
        self.clock = time.time
        #: What people were told.
        self.told: list[str] = []

    def check(self, minutes: float = 1):
        """Check it; return the result."""
        self.now += timedelta(minutes=minutes)
        job = job_of(LogChecker, **self.options)
        job.now = self.clock
        facts = Job(KEY, "log it", "LogChecker.py", "minute", self.policy)
        loaded = LoadedJob(facts, job)
        self.result = execute(loaded, self.record)
        decision = policy.decide(
            self.record, self.result, self.policy, self.now, self.held
        )
        memory = memory_to_keep(loaded, self.record)
        report = JobReport(facts, self.result, decision, memory=memory)
        self.record = policy.advance(self.record, report, self.now)
        if decision.notifies:
            self.told.append(self.result.reason)
        return self.result

    def says(self) -> str:
        """Check it; return the status and the reason."""
        result = self.check()
        return f"{result.status}: {result.reason}" if result.reason else result.status


def write(path, text):
    with open(path, "ab") as file:
        file.write(text if isinstance(text, bytes) else text.encode())

"""What runs leave in state/ of jobs whose results are told, a letter for each minute.

It decides, queues and notes as ``lib/runner`` does, without workers and mail.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from lib.alerting.templates import MailContext, default_message
from lib.core import decisions, policy
from lib.core.enums import Decision, Status
from lib.core.jobs import Job, JobKey, Policy, Terms
from lib.core.records import Record
from lib.core.results import CheckResult, JobReport
from lib.core.secret import Secrets
from lib.storage import historylog
from lib.storage.auditlog import AuditLog
from lib.storage.codec import as_part
from lib.storage.history import Result

#: What happens in a minute: a result, and what holds its alerts back.
LETTERS = {
    "O": (Status.OK, ""),
    "W": (Status.WARNING, ""),
    "F": (Status.FAILING, ""),
    "U": (Status.UNKNOWN, ""),
    "P": (Status.PENDING, ""),
    "M": (Status.FAILING, "maintenance"),
    "N": (Status.OK, "maintenance"),
    "S": (Status.FAILING, "muted"),
    "R": (Status.FAILING, "unreachable"),
    "B": (Status.UNKNOWN, "blind"),
}
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
OPS = "ops@example.com"


def job_of(title: str, file: str = "DiskSpace", **more: object) -> Job:
    """Return a job that is checked each minute."""
    contact: Any = more.pop("contact", (OPS,))
    rule = Policy(**more)  # type: ignore[arg-type]
    return Job(JobKey(file, title), title, "", "minute", rule, contact)


class Played:
    """The state folder of an instance whose runs are told."""

    def __init__(self, state: Path, begins_at: datetime = NOON) -> None:
        self.state = state
        self.now = begins_at
        self._records: dict[JobKey, Record] = {}
        self._count = 0

    def play(self, stories: Mapping[Job, str], **kills: bool) -> None:
        """Have a run each minute; the jobs are keys of what they find, by letters."""
        length = max(map(len, stories.values()))
        for number in range(length):
            self.run({job: story[number] for job, story in stories.items()}, **kills)

    def run(
        self,
        found: Mapping[Job, str],
        *,
        no_history: bool = False,
        no_audit_log: bool = False,
    ) -> None:
        """Have one run; a killed one leaves no history, or no entries either."""
        log, rows = AuditLog(self.state, Secrets()), []
        for job, letter in found.items():
            if letter == " ":
                continue
            report, code = self._judged(job, *LETTERS[letter])
            before = self._records.get(job.key, Record(job.key))
            after = policy.advance(policy.settled(before, self.now), report, self.now)
            entries = list(decisions.judged(report, before, after, self.now))
            if no_audit_log:
                # The next run sends what was queued.
                entries = [
                    decisions.sent(job.key, job.name, message, self.now)
                    for message in report.messages
                ]
            log.note(entries)
            rows.append(self._row(job, report, code))
            self._records[job.key] = replace(after, queued=())
        log.write()
        if rows and not no_history:
            at = self.now.timestamp() + 0.25
            historylog.record(self.state, UTC, at, rows)
        self.now += timedelta(minutes=1)

    def _judged(self, job: Job, status: Status, code: str) -> tuple[JobReport, str]:
        record = policy.settled(self._records.get(job.key, Record(job.key)), self.now)
        result = CheckResult(status, "" if status is Status.OK else "why")
        held = Decision(code) if code else None
        way = held if held is not None and held.is_about_the_way else None
        silent = None if way else held
        decision = policy.decide(record, result, job.policy, self.now, silent)
        if way is not None:
            decision = policy.out_of_reach(decision, way)
        report = JobReport(job, result, decision)
        if decision.notifies:
            self._count += 1
            message_id, context = f"{self._count:032}", MailContext(self.now, UTC)
            message = default_message(
                message_id, job, record, result, decision, context
            )
            report = replace(report, messages=(message,))
        held_back = decision if decision.holds_back else silent
        return report, str(held_back or "")

    def _row(self, job: Job, report: JobReport, code: str) -> Result:
        terms = Terms(job.policy, job.schedule, job.contact)
        result, text = report.result, bytes(as_part(terms))
        values: dict[str, float] = {}
        return Result.of(
            job.key, result.status, code, 0.1, values, result.reason, text, 150.0
        )

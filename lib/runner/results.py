"""What a run has found so far: the jobs it met, and how each was judged.

What a worker says, and what nobody at work can say of a job any more, becomes a record
in the ledger and a line of the journal.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime

from lib.alerting import templates
from lib.core import decisions, policy
from lib.core.enums import Decision, Status
from lib.core.jobs import CatalogEntry, Job, JobKey
from lib.core.messages import fit_mail
from lib.core.records import RunRecord
from lib.core.results import CheckResult, JobReport
from lib.core.text import first_line
from lib.runner.blame import LostJob
from lib.runner.manager import Event, JobsMet
from lib.runner.selection import Selection
from lib.runner.summaries import Summaries
from lib.storage.auditlog import AuditLog
from lib.storage.session import StoreSession

logger = logging.getLogger(__name__)


class JobResults:
    """The jobs of one run, and what became of those that were due."""

    def __init__(
        self,
        session: StoreSession,
        audit_log: AuditLog,
        selection: Selection,
        summaries: Summaries,
        now: Callable[[], datetime],
        secrets: tuple[str, ...] = (),
    ) -> None:
        self._session = session
        self._secrets = secrets
        self._audit_log = audit_log
        self._selection = selection
        self._summaries = summaries
        self._now = now
        #: The jobs there are, by key, due or not.
        self.met: dict[JobKey, Job] = {}
        #: Those that were judged; one of Checker's own only if it is not fine.
        self.judged: dict[JobKey, Status] = {}

    def hear(self, event: Event) -> None:
        """Take in what the crew tells."""
        if isinstance(event, LostJob):
            self.judge(event.job, event.result)
        elif isinstance(event, JobsMet):
            for warning in event.warnings:
                logger.warning("%s", warning)
            self._selection.hear(event.jobs, is_odd=bool(event.warnings))
            for job in event.jobs:
                self.met[job.key] = job
                self._session.meet(job)
        else:
            self._take(event.report)

    def judge(self, job: Job, result: CheckResult) -> None:
        """Judge what no worker could: its job is lost, or is one of Checker's own."""
        record, now = self._session.record_of(job), self._now()
        decision = policy.decide(record, result, job.policy, now)
        notifies = decision.notifies
        self._take(JobReport(job, result, decision, default_mail=notifies))

    def put_off(self, lost: LostJob, *, was_told_to_end: bool) -> None:
        """Have a job asked again next minute, since this run had no time for it.

        Once is nothing to alarm people with, a reboot does it; twice is not fine.
        """
        twice = self._session.record_of(lost.job).pending and not was_told_to_end
        status = Status.UNKNOWN if twice else Status.PENDING
        self.judge(lost.job, replace(lost.result, status=status))

    def _take(self, report: JobReport) -> None:
        job = report.job
        self.met[job.key] = job
        before, now = self._session.record_of(job), self._now()
        mails = templates.compose(report, before, now, os.urandom(16).hex())
        fitted = tuple(fit_mail(mail, self._secrets) for mail in mails)
        report = replace(report, messages=fitted)
        after = policy.advance(before, report, now)
        self._session.keep(after)
        self._audit_log.note(decisions.judged(report, before, after, now))
        if job.is_own and report.decision is Decision.OK:
            return
        self.judged[job.key] = report.result.status
        self._summaries.hear(report, now)
        reason = first_line(report.result.reason)
        words = decisions.WORDS[report.decision]
        logger.info("%s: %s%s", job.name, words, f": {reason}" * bool(reason))

    # For those that come after the run.

    def counted(self, facts: RunRecord) -> RunRecord:
        """Return the facts of the run with how many jobs it met, and found how."""
        found = list(self.judged.values())
        return replace(
            facts,
            jobs=len([job for job in self.met.values() if not job.is_own]),
            ran=len(found),
            failing=found.count(Status.FAILING),
            unknown=found.count(Status.UNKNOWN),
            pending=found.count(Status.PENDING),
        )

    def known(
        self, before: Mapping[JobKey, CatalogEntry]
    ) -> dict[JobKey, CatalogEntry]:
        """Return what to keep of the jobs that were met, after what was known."""
        return {
            key: CatalogEntry(
                job.name,
                job.file,
                job.frequency,
                job.policy,
                job.contact,
                judged=key in self.judged or (key in before and before[key].judged),
            )
            for key, job in self.met.items()
            if not job.is_own
        }

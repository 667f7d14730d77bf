"""Turn the reports of workers into records and lines of the audit log."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from datetime import datetime, tzinfo

from msgspec.structs import replace

from lib.alerting import templates
from lib.core import decisions, policy
from lib.core.enums import Decision, Status
from lib.core.jobs import CatalogEntry, Job, JobKey
from lib.core.messages import fit_mail
from lib.core.records import RunRecord
from lib.core.results import CheckResult, JobReport
from lib.core.secret import NO_SECRETS, Secrets
from lib.core.text import first_line
from lib.runner.manager import Event, JobsMet, LostJob
from lib.runner.selection import Selection
from lib.runner.summaries import Summaries
from lib.storage.auditlog import AuditLog
from lib.storage.session import StoreSession

logger = logging.getLogger(__name__)


class JobResults:
    """The jobs of one run, and the results of those that were due."""

    def __init__(
        self,
        session: StoreSession,
        audit_log: AuditLog,
        selection: Selection,
        summaries: Summaries,
        now: Callable[[], datetime],
        secrets: Secrets = NO_SECRETS,
        zone: tzinfo | None = None,
    ) -> None:
        self._session = session
        self._secrets = secrets
        self._zone = zone
        self._audit_log = audit_log
        self._selection = selection
        self._summaries = summaries
        self._now = now
        #: All jobs, by key, due or not.
        self.met: dict[JobKey, Job] = {}
        #: Those that were judged; one of Checker's own only if it is not OK.
        self.judged: dict[JobKey, Status] = {}

    def hear(self, event: Event) -> None:
        """Handle an event of the worker manager."""
        if isinstance(event, LostJob):
            self.judge(event.job, event.result)
        elif isinstance(event, JobsMet):
            for warning in event.warnings:
                logger.warning("%s", warning)
            self._selection.note_loaded(event.jobs, has_warnings=bool(event.warnings))
            for job in event.jobs:
                self.met[job.key] = job
                if before := self._session.meet(job):
                    self._audit_log.note([decisions.renamed(job, before, self._now())])
        else:
            self._take(event)

    def judge(self, job: Job, result: CheckResult) -> None:
        """Record a result that no worker reported."""
        record, now = self._session.record_of(job), self._now()
        decision = policy.decide(record, result, job.policy, now)
        notifies = decision.notifies
        self._take(JobReport(job, result, decision, default_mail=notifies))

    def put_off(self, lost: LostJob, *, was_told_to_end: bool) -> None:
        """Leave a job to the next minute run, because this one has no time left.

        Once it is pending, as after a reboot; the second time it is unknown.
        """
        twice = self._session.record_of(lost.job).pending and not was_told_to_end
        status = Status.UNKNOWN if twice else Status.PENDING
        self.judge(lost.job, replace(lost.result, status=status))

    def _take(self, report: JobReport) -> None:
        job = report.job
        self.met[job.key] = job
        before, now = self._session.record_of(job), self._now()
        message_id = os.urandom(16).hex()
        mails = templates.compose(report, before, now, message_id, self._zone)
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
        words = decisions.words(report.result.status, report.decision)
        logger.info("%s: %s%s", job.name, words, f": {reason}" * bool(reason))

    # For the runs after this one.

    def counted(self, facts: RunRecord) -> RunRecord:
        """Return the facts of the run with how many jobs it met, and found how."""
        found = list(self.judged.values())
        return replace(
            facts,
            jobs=len([job for job in self.met.values() if not job.is_own]),
            ran=len(found),
            failing=found.count(Status.FAILING),
            unknown=found.count(Status.UNKNOWN),
            warning=found.count(Status.WARNING),
            pending=found.count(Status.PENDING),
        )

    def known(
        self, before: Mapping[JobKey, CatalogEntry]
    ) -> dict[JobKey, CatalogEntry]:
        """Return the catalog to save: the jobs that this run met."""
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

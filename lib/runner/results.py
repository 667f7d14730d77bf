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
from lib.core.enums import Condition, Decision
from lib.core.jobs import JobFacts, JobKey, Known
from lib.core.messages import Message
from lib.core.records import RunFacts
from lib.core.results import Outcome, Report
from lib.core.text import first_line
from lib.runner.blame import Lost
from lib.runner.manager import Event, Met
from lib.runner.selection import Roster
from lib.runner.summaries import Bulletins
from lib.storage.auditlog import Journal
from lib.storage.session import Ledger

logger = logging.getLogger(__name__)


class Findings:
    """The jobs of one run, and what became of those that were due."""

    def __init__(
        self,
        ledger: Ledger,
        journal: Journal,
        roster: Roster,
        bulletins: Bulletins,
        now: Callable[[], datetime],
    ) -> None:
        self._ledger = ledger
        self._journal = journal
        self._roster = roster
        self._bulletins = bulletins
        self._now = now
        #: The jobs there are, by key, due or not.
        self.met: dict[JobKey, JobFacts] = {}
        #: Those that were judged; one of Checker's own only if it is not fine.
        self.judged: dict[JobKey, Condition] = {}

    def hear(self, event: Event) -> None:
        """Take in what the crew tells."""
        if isinstance(event, Lost):
            self.judge(event.job, event.outcome)
        elif isinstance(event, Met):
            for warning in event.warnings:
                logger.warning("%s", warning)
            self._roster.hear(event.jobs, is_odd=bool(event.warnings))
            for job in event.jobs:
                self.met[job.key] = job
                self._ledger.meet(job)
        else:
            self._take(event.report)

    def judge(self, job: JobFacts, outcome: Outcome) -> None:
        """Judge what no worker could: its job is lost, or is one of Checker's own."""
        record, now = self._ledger.record_of(job), self._now()
        decision = policy.decide(record, outcome, job.policy, now)
        messages: tuple[Message, ...] = ()
        if decision.notifies:
            identity = os.urandom(16).hex()
            messages = (
                templates.default_message(
                    identity, job, record, outcome, decision, now
                ),
            )
        self._take(Report(job, outcome, decision, messages))

    def put_off(self, lost: Lost, *, was_told_to_end: bool) -> None:
        """Have a job asked again next minute, since this run had no time for it.

        Once is nothing to alarm people with, a reboot does it; twice is not fine.
        """
        twice = self._ledger.record_of(lost.job).pending and not was_told_to_end
        condition = Condition.UNKNOWN if twice else Condition.PENDING
        self.judge(lost.job, replace(lost.outcome, condition=condition))

    def _take(self, report: Report) -> None:
        job = report.job
        self.met[job.key] = job
        before, now = self._ledger.record_of(job), self._now()
        after = policy.advance(before, report, now)
        self._ledger.keep(after)
        self._journal.note(decisions.judged(report, before, after, now))
        if job.is_own and report.decision is Decision.OK:
            return
        self.judged[job.key] = report.outcome.condition
        self._bulletins.hear(report, now)
        reason = first_line(report.outcome.detail)
        words = decisions.WORDS[report.decision]
        logger.info("%s: %s%s", job.name, words, f": {reason}" * bool(reason))

    # For those that come after the run.

    def counted(self, facts: RunFacts) -> RunFacts:
        """Return the facts of the run with how many jobs it met, and found how."""
        found = list(self.judged.values())
        return replace(
            facts,
            jobs=len([job for job in self.met.values() if not job.is_own]),
            ran=len(found),
            failing=found.count(Condition.FAILING),
            unknown=found.count(Condition.UNKNOWN),
            pending=found.count(Condition.PENDING),
        )

    def known(self, before: Mapping[JobKey, Known]) -> dict[JobKey, Known]:
        """Return what to keep of the jobs that were met, after what was known."""
        return {
            key: Known(
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

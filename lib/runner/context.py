"""The context of one run: what it reads from state/ and writes back at its end.

``RunContext`` holds the parts of a run.  ``RunRecorder`` writes run.json: when the run
began, before its first job, and that it has ended.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection
from datetime import datetime

from msgspec.structs import replace

from lib.alerting.templates import lost_records_message
from lib.core import decisions, health, policy
from lib.core.enums import JobFrequency
from lib.core.jobs import OWN_KEY, CatalogEntry, FileScan, JobFile, JobKey
from lib.core.messages import Message
from lib.core.records import Record, RunRecord
from lib.core.settings import Settings
from lib.runner.results import JobResults
from lib.runner.selection import Selection
from lib.runner.summaries import Summaries
from lib.runner.upgrade import read_once
from lib.storage.auditlog import AuditLog
from lib.storage.lost import RUN
from lib.storage.session import StoreSession
from lib.storage.store import Remembered, State, last_runs

logger = logging.getLogger(__name__)


class RunContext:
    """The parts that a run works with."""

    def __init__(
        self,
        settings: Settings,
        state: State,
        ordered: JobFrequency,
        now: Callable[[], datetime],
    ) -> None:
        self._settings = settings
        self._state = state
        self._now = now
        state.clear_leftovers()
        read = state.writer.read_or_freeze
        found = state.with_read_again(read(state.load, Remembered()), now())
        old = read_once(
            settings.old_statefile, found.run, run_is_lost=RUN in found.lost
        )
        has_read = str(settings.old_statefile) if old is not None else None
        self.run_recorder = RunRecorder(state, found.run, ordered, now(), has_read)
        self.session = StoreSession(state, found, old or (), now())
        self.audit_log = AuditLog(settings.state, settings.secrets)
        none: tuple[dict[JobKey, CatalogEntry], dict[str, FileScan]] = ({}, {})
        catalog, scans = read(state.load_catalog_and_scans, none)
        self._selection = Selection(
            settings, catalog, scans, self.run_recorder.began_at
        )
        self.summaries = Summaries(
            settings,
            self.session,
            self.audit_log,
            self._selection.catalog,
            self.run_recorder.facts,
        )
        self.results = JobResults(
            self.session,
            self.audit_log,
            self._selection,
            self.summaries,
            now,
            settings.secrets,
            settings.zone,
        )

    def begin(self) -> None:
        """Report lost state, and record that a run has begun."""
        # First, because run.json may be lost itself.
        now = self._now()
        lost = self.session.notify_of_lost(self._lost_message, now)
        self.audit_log.note(decisions.lost(OWN_KEY, lost, now))
        read_again = self.session.keep_read_again()
        self.audit_log.note(decisions.read_again(read_again, now))
        # This also proves that state can be written, before anything is sent.
        self.run_recorder.begin()
        if missed := self.run_recorder.missed:
            words = ", ".join(sorted(missed))
            logger.warning("a run of %s was missed, and is caught up now", words)

    def _lost_message(self, lines: list[str], now: datetime) -> Message:
        to = self._settings.alertcontact
        return lost_records_message(os.urandom(16).hex(), lines, to, now)

    def files_to_load(self) -> list[JobFile]:
        """Return the job files to load; the jobs of the others count as met."""
        session = self.session
        files, resting = self._selection.to_load(
            list(session.records.values()),
            self.run_recorder.due,
            all_of_them=bool(session.lost or session.old_entries),
        )
        self.results.met.update({job.key: job for job in resting})
        return files

    def close(
        self,
        sent: int,
        tried: Collection[str],
        *,
        was_told_to_end: bool,
        settle_until: float,
    ) -> None:
        """Save what the next run has to know; raise StateError.

        ``sent`` is how many mails were sent; ``tried`` are the ids of messages whose
        bundle was not sent.  A run that was told to end forgets no job, because it has
        not met all.
        """
        now, met = self._now(), self.results.met
        if not was_told_to_end:
            for record in self.session.forget_unmet(met, now):
                self.audit_log.note([decisions.forgotten(record, now)])
        self.session.commit()
        self.write_audit_log()
        listed, gone = self.session.drop_default(met)
        self._state.settle(settle_until)
        self.run_recorder.end(
            self.results,
            self.session.records.values(),
            listed,
            sent,
            tried,
            now,
        )
        # They are no longer listed, so a crash here does not make them count as lost.
        self._state.forget(gone)
        self._save_catalog()

    def write_audit_log(self) -> None:
        """Append what was decided, unless nothing of it is kept."""
        if not self._state.writer.frozen:
            self.audit_log.write()

    def _save_catalog(self) -> None:
        selection = self._selection
        jobs = self.results.known(selection.catalog)
        if (jobs, selection.asked) != (selection.catalog, selection.asked_before):
            self._state.save_catalog(jobs, selection.asked)


class RunRecorder:
    """Writes run.json."""

    def __init__(
        self,
        state: State,
        before: RunRecord,
        ordered: JobFrequency,
        now: datetime,
        read_from: str | None,
    ) -> None:
        self._state = state
        self.began_at = now
        #: The frequencies whose jobs are due.
        self.due = policy.due_frequencies(ordered, last_runs(before), now)
        #: Those of them that should have run before.
        self.missed = self.due - set(policy.INCLUDES[ordered])
        skips, skipped_at = state.take_skips(before.skipped_at)
        #: The record as it is on disk.
        self.facts = replace(
            before,
            began_at=now,
            ordered=ordered,
            skipped=before.skipped + skips,
            skipped_at=skipped_at or before.skipped_at,
        )
        #: The older program's state file, if it was read by now.
        self._read_from = read_from or before.old_statefile

    def begin(self) -> None:
        """Record that the run has begun; raise StateError."""
        self._state.save_run(self.facts)

    def end(
        self,
        results: JobResults,
        records: Collection[Record],
        listed: Collection[str],
        sent: int,
        tried: Collection[str],
        now: datetime,
    ) -> None:
        """Record that the run has ended, and its counts; raise StateError.

        ``listed`` are the file stems of the jobs that have a record, ``tried`` the ids
        of messages whose bundle was not sent.
        """
        # A run counts for the slot in which it began.
        ran_now = dict.fromkeys(map(str, self.due), self.began_at.isoformat())
        ended = replace(
            results.counted(self.facts),
            ended_at=now,
            last_runs={**self.facts.last_runs, **ran_now},
            sent=sent,
            queued=sum(len(record.queued) for record in records),
            records=tuple(listed),
            old_statefile=self._read_from,
        )
        ended = health.with_inputs(ended, records, tried)
        self._state.save_run(ended)
        # A run that could not be recorded counts as not ended.
        if not self._state.writer.frozen:
            self.facts = ended

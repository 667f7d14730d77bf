"""All that one run remembers and learns: read from state/, written back at its end.

What a run is on record for: the slots it stands for, and run.json.

It says when the run began, from before its first job, and that it has ended.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import datetime

from lib.core import decisions, health, policy
from lib.core.enums import JobFrequency
from lib.core.jobs import OWN_KEY, JobFile
from lib.core.records import Record, RunFacts
from lib.core.settings import Settings
from lib.runner.results import Findings
from lib.runner.selection import Roster
from lib.runner.summaries import Bulletins
from lib.runner.upgrade import read_once
from lib.storage.auditlog import Journal
from lib.storage.session import Ledger
from lib.storage.store import RUN, CautiousState, last_runs

logger = logging.getLogger(__name__)


class Casebook:
    """What a run works with, each part in a room of its own."""

    def __init__(
        self,
        settings: Settings,
        state: CautiousState,
        ordered: JobFrequency,
        now: Callable[[], datetime],
    ) -> None:
        self._settings = settings
        self._state = state
        self._now = now
        state.clear_leftovers()
        found = state.take_back(state.load(), now())
        self._taken_back = [found.records[key] for key in sorted(found.taken_back)]
        old = read_once(
            settings.old_statefile, found.run, run_is_lost=RUN in found.lost
        )
        has_read = str(settings.old_statefile) if old is not None else None
        self.heartbeat = Heartbeat(state, found.run, ordered, now(), has_read)
        self.ledger = Ledger(state, found, old or (), now())
        self.journal = Journal(settings.state, settings.secrets)
        self._roster = Roster(settings, *state.load_met(), self.heartbeat.began_at)
        self.bulletins = Bulletins(
            settings,
            self.ledger,
            self.journal,
            self._roster.catalogue,
            self.heartbeat.facts,
        )
        self.findings = Findings(
            self.ledger, self.journal, self._roster, self.bulletins, now
        )

    def begin(self) -> None:
        """Tell what is lost, and put on record that a run is at work."""
        # First of all: run.json may itself be among what is lost.
        now = self._now()
        lost = self.ledger.tell_of_lost(self._settings.alertcontact, now)
        self.journal.note(decisions.lost(OWN_KEY, lost, now))
        if self._taken_back:
            self.ledger.commit()
            self._state.drop_taken_back()
            self.journal.note(decisions.read_again(self._taken_back, now))
        # This also proves that state can be written, before anything is sent.
        self.heartbeat.begin()
        if missed := self.heartbeat.missed:
            words = ", ".join(sorted(missed))
            logger.warning("a run of %s was missed, and is caught up now", words)

    def files_to_load(self) -> list[JobFile]:
        """Return the job files that may have something due; the rest counts as met."""
        ledger = self.ledger
        files, resting = self._roster.to_load(
            list(ledger.records.values()),
            self.heartbeat.due,
            all_of_them=bool(ledger.lost or ledger.old_entries),
        )
        self.findings.met.update({job.key: job for job in resting})
        return files

    def close(
        self,
        sent: int,
        tried: Collection[str],
        *,
        was_told_to_end: bool,
        settle_until: float,
    ) -> None:
        """Write down what the next run has to know.

        ``sent`` is how many mails were taken; ``tried`` are the ids of messages for
        which one mail was tried in vain.  A run that was told to end has not seen
        all there is, and forgets nobody.
        """
        now, met = self._now(), self.findings.met
        if not was_told_to_end:
            for record in self.ledger.forget_unmet(met, now):
                self.journal.note([decisions.forgotten(record, now)])
        self.ledger.commit()
        self.journal.write()
        listed, gone = self.ledger.drop_plain(met)
        self._state.settle(settle_until)
        self.heartbeat.end(
            self.findings,
            self.ledger.records.values(),
            listed,
            self.ledger.still_lost(met),
            sent,
            tried,
            now,
        )
        # Listed no more, so that a crash here does not make them lost ones.
        self._state.forget(gone)
        self._save_catalogue()

    def _save_catalogue(self) -> None:
        roster = self._roster
        jobs = self.findings.known(roster.catalogue)
        if (jobs, roster.asked) != (roster.catalogue, roster.asked_before):
            self._state.save_catalogue(jobs, roster.asked)


class Heartbeat:
    """One run, as those after it know of it."""

    def __init__(
        self,
        state: CautiousState,
        before: RunFacts,
        ordered: JobFrequency,
        now: datetime,
        read_from: str | None,
    ) -> None:
        self._state = state
        self.began_at = now
        #: The frequencies whose jobs it runs.
        self.due = policy.due_frequencies(ordered, last_runs(before), now)
        #: Those of them that should have run before.
        self.missed = self.due - set(policy.INCLUDES[ordered])
        skips, skipped_at = state.take_skips(before.skipped_at)
        #: What is on record of it by now.
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
        """Put on record that it is at work; raise StateError."""
        self._state.save_run(self.facts)

    def end(
        self,
        findings: Findings,
        records: Collection[Record],
        listed: Collection[str],
        still_lost: Collection[str],
        sent: int,
        tried: Collection[str],
        now: datetime,
    ) -> None:
        """Put on record that it has ended, and what it found; raise StateError.

        ``listed`` are the file stems of the jobs that have a record, ``tried`` the ids
        of messages for which one mail was tried in vain.
        """
        # When it began: that is the slot it stands for.
        ran_now = dict.fromkeys(map(str, self.due), self.began_at.isoformat())
        ended = replace(
            findings.counted(self.facts),
            ended_at=now,
            last_runs={**self.facts.last_runs, **ran_now},
            sent=sent,
            owed=sum(len(record.owed) for record in records),
            records=tuple(listed),
            lost_records=tuple(still_lost),
            old_statefile=self._read_from,
        )
        ended = health.witnessed(ended, records, tried)
        self._state.save_run(ended)
        # A run that could not be written down has not ended for anybody.
        if not self._state.frozen:
            self.facts = ended

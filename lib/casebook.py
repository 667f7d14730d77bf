"""All that one run remembers and learns: read from state/, written back at its end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from datetime import datetime

from lib import decisions
from lib.bulletins import Bulletins
from lib.cautious import CautiousState
from lib.findings import Findings
from lib.heartbeat import Heartbeat
from lib.journal import Journal
from lib.ledger import Ledger
from lib.model import OWN_KEY, JobFile, JobFrequency, Settings
from lib.oldstate import read_once
from lib.roster import Roster
from lib.state import RUN

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

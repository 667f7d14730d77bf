"""The records of a run at work: what is remembered, what has changed, what is kept.

Everything a run learns goes through ``keep``; ``commit`` makes it durable, each
record with the messages it owes, before anything of it is sent.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType

from lib import decide, letters
from lib.model import JobFacts, OldEntry, Record, file_stem
from lib.state import Remembered, State
from lib.worker import record_of

logger = logging.getLogger(__name__)

#: Where the messages of Checker's own are kept.
OWN_KEY = "checker/state"


class Ledger:
    """Records in memory, and how they differ from those on disk."""

    def __init__(
        self,
        state: State,
        found: Remembered,
        old_entries: tuple[OldEntry, ...],
        now: datetime,
    ) -> None:
        self._state = state
        self._records = {
            key: decide.settled(record, now) for key, record in found.records.items()
        }
        self._on_disk = set(found.records)
        self._changed: set[str] = set()
        self._changed_at = 0.0
        self._lost = dict(found.lost)
        self._told_lost = frozenset(found.run.lost_records)
        self.old_entries = old_entries

    @property
    def records(self) -> Mapping[str, Record]:
        """Return the records, by key; a job that is plainly fine may have none."""
        return MappingProxyType(self._records)

    @property
    def lost(self) -> frozenset[str]:
        """Return the file stems of the records that were lost or damaged."""
        return frozenset(self._lost)

    @property
    def waiting_since(self) -> float | None:
        """Return since when, by the monotonic clock, something is not yet durable."""
        return self._changed_at if self._changed else None

    def record_of(self, job: JobFacts) -> Record:
        """Return what is remembered of a job, a new record if nothing is."""
        return record_of(
            job.key,
            self._records,
            self.lost,
            job.formerly,
            self.old_entries,
            job.contact,
        )

    def meet(self, job: JobFacts) -> None:
        """Write down what is known of a job that has no record of its own yet.

        That its record was lost, or what the older program remembered of it.
        """
        if job.key not in self._records:
            self.keep(self.record_of(job))

    def keep(self, record: Record) -> None:
        """Remember a record from here on; ``commit`` makes it durable."""
        if record == self._records.get(record.key):
            return
        if record.is_plain and record.key not in self._on_disk:
            self._records.pop(record.key, None)
            self._changed.discard(record.key)
            return
        self._records[record.key] = record
        if not self._changed:
            self._changed_at = time.monotonic()
        self._changed.add(record.key)

    def commit(self) -> None:
        """Make all that was kept durable; raise StateError if that fails."""
        self._state.save(self._records[key] for key in sorted(self._changed))
        self._on_disk |= self._changed
        self._changed.clear()

    def tell_of_lost(self, to: tuple[str, ...], now: datetime) -> None:
        """Keep damaged files in quarantine, and owe one mail that names what is lost."""
        fresh = []
        for stem, line in self._lost.items():
            logger.warning("%s; its job is unknown", line)
            # One whose job no run meets stays lost, but is told of once.
            fresh += [line] if stem not in self._told_lost else []
        if not fresh:
            return
        self._state.quarantine(self._lost, now)
        message = letters.lost_records_message(os.urandom(16).hex(), fresh, to, now)
        own = self._records.get(OWN_KEY, Record(OWN_KEY, "state"))
        self.keep(replace(own, owed=(*own.owed, message)))
        self.commit()

    def forget_unmet(self, met: Collection[str], now: datetime) -> None:
        """Note the jobs that a whole run did not meet; drop those long unmet."""
        for record in list(self._records.values()):
            if record.key in met or record.key == OWN_KEY:
                continue
            after = decide.unmet(record, now)
            if after is None:
                del self._records[record.key]
                self._changed.discard(record.key)
            else:
                self.keep(after)

    def drop_plain(self, met: Collection[str]) -> tuple[list[str], list[str]]:
        """Let go of records that say nothing; return the file stems to list, to remove.

        To list are also those still lost: their jobs were not met.
        """
        for key in [key for key, one in self._records.items() if one.is_plain]:
            del self._records[key]
            self._changed.discard(key)
        kept = {file_stem(key) for key in self._records}
        found = {file_stem(key) for key in met}
        gone = {file_stem(key) for key in self._on_disk - set(self._records)}
        gone |= set(self._lost) & found - kept
        return sorted(kept.union(self.still_lost(met))), sorted(gone - kept)

    def still_lost(self, met: Collection[str]) -> list[str]:
        """Return the file stems of lost records whose jobs were not met."""
        found = {file_stem(key) for key in met}
        return sorted(stem for stem in self._lost if stem not in found)

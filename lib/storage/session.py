"""The records of a run at work: what is remembered, what has changed, what is kept.

Everything a run learns goes through ``keep``; ``commit`` makes it durable, each
record with its queued messages, before anything of it is sent.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from types import MappingProxyType

from msgspec.structs import replace

from lib.core import policy
from lib.core.calendar import SummarySeries
from lib.core.jobs import OWN_KEY, Job, JobKey, OldEntry, file_stem
from lib.core.messages import Message
from lib.core.policy import record_of
from lib.core.records import Record
from lib.storage.own_record import (
    OWN_STEM,
    Notes,
    notes_of,
    reviewed,
    waiting,
    with_notes,
)
from lib.storage.records import STEM
from lib.storage.store import RUN, Remembered, State

logger = logging.getLogger(__name__)


class StoreSession:
    """Records in memory, and how they differ from those on disk."""

    def __init__(
        self,
        state: State,
        found: Remembered,
        old_entries: tuple[OldEntry, ...],
        now: datetime,
    ) -> None:
        self._state = state
        #: Writes the other files of the state folder, too.
        self.writer = state.writer
        self._now = now
        self._records: dict[JobKey, Record] = {}
        self._on_disk = set(found.records)
        self._changed: set[JobKey] = set()
        self._changed_at = 0.0
        for key, record in found.records.items():
            self._records[key] = policy.settled(record, now)
            if self._records[key] is not record:
                self._note_change(key)
        for key in found.taken_back:
            self._note_change(key)
        self._notes = notes_of(self._own())
        self._lost = {**self._still_gone(), **found.lost}
        failing = tuple(entry for entry in old_entries if entry.failing)
        if failing:
            notes = replace(self._notes, old_entries=failing, old_read_at=now)
            self._note(notes)

    @property
    def records(self) -> Mapping[JobKey, Record]:
        """Return the records, by key; a job that is OK may have none."""
        return MappingProxyType(self._records)

    @property
    def lost(self) -> frozenset[str]:
        """Return the file stems of the records that were lost or damaged."""
        return frozenset(self._lost)

    @property
    def old_entries(self) -> tuple[OldEntry, ...]:
        """Return what the older program remembered of jobs that were not met yet."""
        return self._notes.old_entries

    @property
    def summaries(self) -> tuple[SummarySeries, ...]:
        """Return the last summary of each kind."""
        return self._notes.summaries

    @property
    def waiting_since(self) -> float | None:
        """Return since when, by the monotonic clock, something is not yet durable."""
        return self._changed_at if self._changed else None

    def record_of(self, job: Job) -> Record:
        """Return what is remembered of a job, a new record if nothing is."""
        return record_of(
            job.key,
            self._records,
            self.lost,
            job.formerly,
            self.old_entries,
            job.contact,
        )

    def meet(self, job: Job) -> None:
        """Write down what is known of a job that has no record of its own yet.

        That its record was lost, or what the older program remembered of it.
        """
        record = self._records.get(job.key)
        if record is None:
            self.keep(replace(self.record_of(job), name=job.name))
        elif record.unseen_since is not None:
            self.keep(replace(record, unseen_since=None))

    def keep(self, record: Record) -> None:
        """Remember a record from here on; ``commit`` makes it durable."""
        key = record.key
        if record == self._records.get(key):
            return
        # In the place of a lost one even a plain one is written: from then on it is
        # there, and no longer lost.
        needs_file = not record.is_default or key in self._on_disk or self._is_lost(key)
        if needs_file:
            self._records[key] = record
            self._note_change(key)
        else:
            self._records.pop(key, None)
            self._changed.discard(key)

    def commit(self) -> None:
        """Make all that was kept durable; raise StateError if that fails."""
        if self._changed:
            self._state.save(self._records[key] for key in sorted(self._changed))
            self._on_disk |= self._changed
            self._changed.clear()

    def keep_summaries(self, those: tuple[SummarySeries, ...], *new: Message) -> None:
        """Remember the last summary of each kind, and queue those that are new.

        ``commit`` makes a number and its mail durable in one step.
        """
        if new or those != self._notes.summaries:
            self._note(replace(self._notes, summaries=those), *new)

    # What is lost.

    def tell_of_lost(
        self, compose: Callable[[list[str], datetime], Message], now: datetime
    ) -> list[str]:
        """Queue one mail that names what is lost, and return that, a line for each.

        ``compose`` makes the mail of these lines.

        Damaged files are put into quarantine.

        In this order: when a file has gone from its place, that it is lost is noted,
        and stays so until its job is met.  What was noted is not notified again.
        """
        notified = self._notes.lost
        fresh = {
            stem: line for stem, line in self._lost.items() if stem not in notified
        }
        if fresh:
            for line in fresh.values():
                logger.warning("%s; what it held is unknown", line)
            # Its place is needed for the mail; what it held is lost in any case.
            self._state.quarantine([OWN_STEM] if OWN_STEM in fresh else [], now)
            since = {stem: now.isoformat() for stem in fresh}
            message = compose(list(fresh.values()), now)
            self._note(replace(self._notes, lost={**notified, **since}), message)
            self.commit()
        self._state.quarantine(self._lost, now)
        return list(fresh.values())

    def still_lost(self, met: Collection[JobKey]) -> list[str]:
        """Return the file stems of lost records whose jobs are still to be met."""
        if not self._lost:
            return []
        over = {RUN, OWN_STEM, *(file_stem(key) for key in met)}
        over |= {stem for stem in self._lost if STEM.fullmatch(stem)}
        return waiting(self._notes, self._lost.keys() - over, self._now)

    # The end of a run.

    def forget_unmet(self, met: Collection[JobKey], now: datetime) -> list[Record]:
        """Note the jobs that a whole run did not meet; drop, and return, the long
        unmet."""
        forgotten = []
        for record in list(self._records.values()):
            if record.key in met or record.key == OWN_KEY:
                continue
            after = policy.unseen(record, now)
            if after is None:
                del self._records[record.key]
                self._changed.discard(record.key)
                forgotten.append(record)
            else:
                self.keep(after)
        return forgotten

    def drop_default(self, met: Mapping[JobKey, Job]) -> tuple[list[str], list[str]]:
        """Let go of records that say nothing; return the file stems to list, to remove.

        All that was kept is durable before, so that what is now there is no longer
        noted as lost.  To list are also those still lost.
        """
        still_lost = self.still_lost(met)
        self._note(reviewed(self._notes, still_lost, met.values(), self._now))
        self.commit()
        for key in [key for key, one in self._records.items() if one.is_default]:
            del self._records[key]
        kept = {file_stem(key) for key in self._records}
        gone = {file_stem(key) for key in self._on_disk - set(self._records)}
        return sorted(kept.union(still_lost)), sorted(gone - kept)

    def _own(self) -> Record:
        return self._records.get(OWN_KEY, Record(OWN_KEY, "state"))

    def _note(self, notes: Notes, *messages: Message) -> None:
        """Keep these notes from here on, and queue the messages with them."""
        self._notes = notes
        own = self._own()
        self.keep(with_notes(replace(own, queued=(*own.queued, *messages)), notes))

    def _note_change(self, key: JobKey) -> None:
        if not self._changed:
            self._changed_at = time.monotonic()
        self._changed.add(key)

    def _is_lost(self, key: JobKey) -> bool:
        return bool(self._lost) and file_stem(key) in self._lost

    def _still_gone(self) -> dict[str, str]:
        """Return the records that were noted as lost and have not come back."""
        if not self._notes.lost:
            return {}
        there = {file_stem(key) for key in self._records}
        gone = set(self._notes.lost) - there - {RUN}
        gone = {stem for stem in gone if not STEM.fullmatch(stem)}
        return {stem: f"{stem}: it was lost before" for stem in gone}

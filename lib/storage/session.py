"""The records of a run at work: what is remembered, what has changed, what is kept.

Everything a run learns goes through ``keep``; ``commit`` makes it durable, each
record with its queued messages, before anything of it is sent.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from lib.core import encoding, policy
from lib.core.calendar import ProofSeries, SummarySeries
from lib.core.encoding import Moment, Stored
from lib.core.jobs import OWN_KEY, Job, JobKey, file_stem
from lib.core.messages import Message
from lib.core.records import KnownRecords, Record, still_unclaimed
from lib.storage.lost import (
    OWN_STEM,
    known_lost,
    not_noted,
    waited_for,
    with_all_noted,
)
from lib.storage.store import Remembered, State

if TYPE_CHECKING:
    from lib.core.announcements import Announcement
    from lib.core.silences import Mute

logger = logging.getLogger(__name__)

#: How long a failing job of the older program may take to turn up among ours: as long
#: as it may take to mend a broken job file.
UNCLAIMED_KEPT = timedelta(days=7)


class Notes(Stored, frozen=True):
    """What people were notified of, and what still waits for its job.

    In the memory of a record of Checker's own, because a note that somebody was
    notified must be durable in one step with the mail that tells.
    """

    #: The file stems of the lost records, and since when; people were notified.
    lost: Mapping[str, Any] = {}
    #: The older program's records of failing jobs that no run has met yet.
    unclaimed: tuple[Record, ...] = ()
    unclaimed_since: Moment | None = None
    #: The summaries so far: the number of each is durable in one step with its mail.
    summaries: tuple[SummarySeries, ...] = ()
    #: The test messages of channels so far, in the same way.
    proofs: tuple[ProofSeries, ...] = ()
    #: The mutes in force, as ``lib/core/silences.py`` has them.
    mutes: tuple[dict[str, Any], ...] = ()
    #: The announcements, as ``lib/core/announcements.py`` has them.
    announcements: tuple[dict[str, Any], ...] = ()
    #: The ids of the requests that were applied and may be there still.
    applied: tuple[str, ...] = ()


def notes_of(own: Record) -> Notes:
    """Return the notes in a record; none if they cannot be used."""
    try:
        return encoding.convert(dict(own.memory), Notes)
    except ValueError as error:
        logger.warning("the record of Checker's own cannot be used: %s", error)
        return Notes()


def notes_in(records: Mapping[JobKey, Record]) -> Notes:
    """Return the notes in the record of Checker's own, if that is there."""
    own = records.get(OWN_KEY)
    return notes_of(own) if own is not None else Notes()


def mutes_of(notes: Notes) -> tuple[Mute, ...]:
    """Return the mutes that are noted; one that cannot be used is left out."""
    from lib.core.silences import Mute

    mutes = []
    for plain in notes.mutes:
        try:
            mutes.append(encoding.convert(plain, Mute))
        except ValueError as error:
            logger.error("a mute that is noted cannot be used, and is over: %s", error)
    return tuple(mutes)


def announcements_of(notes: Notes) -> tuple[Announcement, ...]:
    """Return the announcements that are noted; one that cannot be used is left out."""
    if not notes.announcements:
        return ()
    from lib.core.announcements import Announcement

    found = []
    for plain in notes.announcements:
        try:
            found.append(encoding.convert(plain, Announcement))
        except ValueError as error:
            logger.error("an announcement that is noted cannot be used: %s", error)
    return tuple(found)


def with_notes(own: Record, notes: Notes) -> Record:
    """Return the record with these notes in it."""
    return replace(own, memory=encoding.plain(notes))


def reviewed(
    notes: Notes,
    still_lost: Collection[str],
    met: Collection[Job],
    now: datetime,
) -> Notes:
    """Return what is still to be noted after a run that met these jobs."""
    lost = {stem: since for stem, since in notes.lost.items() if stem in still_lost}
    left = still_unclaimed(notes.unclaimed, met)
    read_at = notes.unclaimed_since or now
    is_over = now - read_at > UNCLAIMED_KEPT
    if is_over or read_at == now:
        for record in left:
            logger.warning(
                "%s was failing when the older program last ran, and no job of now is "
                "it: %s",
                record.name,
                "it is forgotten" if is_over else "it is waited for, for some days",
            )
    if is_over or not left:
        return replace(notes, lost=lost, unclaimed=(), unclaimed_since=None)
    return replace(notes, lost=lost, unclaimed=left, unclaimed_since=read_at)


def _within(queued: tuple[Message, ...], when: str) -> tuple[Message, ...]:
    """Return messages with the window that their job has now.

    What may have been accepted already is repeated as it is.
    """
    if all(message.when == when or message.in_doubt for message in queued):
        return queued
    return tuple(
        message if message.in_doubt else replace(message, when=when)
        for message in queued
    )


class StoreSession:
    """Records in memory, and how they differ from those on disk."""

    def __init__(
        self,
        state: State,
        found: Remembered,
        unclaimed: tuple[Record, ...],
        now: datetime,
    ) -> None:
        """``unclaimed`` are records that the older program has left just now."""
        self._state = state
        #: Writes the other files of the state folder, too.
        self.writer = state.writer
        self._now = now
        self._records: dict[JobKey, Record] = {}
        #: The keys of those with messages in their queues.
        self._queued: set[JobKey] = set()
        self._on_disk = set(found.records)
        self._changed: set[JobKey] = set()
        self._changed_at = 0.0
        #: The keys under which records were, and those under which they are now.
        self._renamed: dict[JobKey, JobKey] = {}
        for key, record in found.records.items():
            settled = policy.settled(record, now)
            self._put(settled)
            if settled is not record:
                self._note_change(key)
        self._read_again = [found.records[key] for key in sorted(found.read_again)]
        for record in self._read_again:
            self._note_change(record.key)
        self._notes = notes_of(self._own())
        self._lost = known_lost(
            found.lost, self._notes.lost, map(file_stem, self._records)
        )
        if unclaimed:
            notes = replace(self._notes, unclaimed=unclaimed, unclaimed_since=now)
            self._note(notes)

    @property
    def records(self) -> Mapping[JobKey, Record]:
        """Return the records, by key; a job that is OK may have none."""
        return MappingProxyType(self._records)

    @property
    def has_queued(self) -> bool:
        """Return whether a message of any record is queued."""
        return bool(self._queued)

    @property
    def lost(self) -> frozenset[str]:
        """Return the file stems of the records that were lost or damaged."""
        return frozenset(self._lost.why)

    @property
    def known(self) -> KnownRecords:
        """Return all that is remembered of jobs, as it is now."""
        return KnownRecords(self._records, self._lost.why, self._notes.unclaimed)

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
        record = self._records.get(job.key)
        return self.known.of(job) if record is None else record

    def has_nothing_of(self, job: Job) -> bool:
        """Return whether nothing at all is remembered of a job."""
        return not (
            job.key in self._records
            or job.key in self._on_disk
            or job.was
            or self._lost.why
            or self._notes.unclaimed
        )

    def meet(self, job: Job) -> Record | None:
        """Write down what is known of a job that has no record of its own yet.

        That its record was lost, or what the older program remembered of it, or its
        record under another name: return that, which is the job's from here on.
        """
        record = self._records.get(job.key)
        if record is None:
            if self.has_nothing_of(job):
                return None
            known = replace(self.record_of(job), name=job.name)
            self.keep(replace(known, unseen_since=None, absences=0))
            return self._take_over(job)
        queued = _within(record.queued, job.policy.when)
        if record.unseen_since is not None or queued is not record.queued:
            self.keep(replace(record, queued=queued, unseen_since=None, absences=0))
        return None

    def _take_over(self, job: Job) -> Record | None:
        """Empty the record that a renamed job had before, and return it, if any."""
        before = self._records.get(job.key_before) if job.key_before else None
        if before is None or before.is_default:
            return None
        self._put(Record(before.key, before.name))
        self._note_change(before.key)
        self._renamed[before.key] = job.key
        return before

    def key_now(self, key: JobKey) -> JobKey:
        """Return the key of a record that this run may have renamed."""
        return self._renamed.get(key, key)

    def keep(self, record: Record) -> None:
        """Remember a record from here on; ``commit`` makes it durable."""
        key = record.key
        if record == self._records.get(key):
            return
        # In the place of a lost one even a plain one is written: from then on it is
        # there, and no longer lost.
        needs_file = not record.is_default or key in self._on_disk or self._is_lost(key)
        if needs_file:
            self._put(record)
            self._note_change(key)
        else:
            self._drop(key)

    def commit(self) -> None:
        """Make all that was kept durable; raise StateError if that fails."""
        if not self._changed:
            return
        records = self._records
        # Where the job is OK by now, there is nothing under its new name to keep.
        renamed = [
            (old, new)
            for old, new in self._renamed.items()
            if old in self._changed and new in records
        ]
        if renamed:
            self._state.move((records[old], records[new]) for old, new in renamed)
        others = self._changed.difference(*renamed)
        if others:
            self._state.save(records[key] for key in sorted(others))
        self._on_disk |= self._changed
        self._changed.clear()

    def keep_summaries(self, those: tuple[SummarySeries, ...], *new: Message) -> None:
        """Remember the last summary of each kind, and queue those that are new.

        ``commit`` makes a number and its mail durable in one step.
        """
        if new or those != self._notes.summaries:
            self._note(replace(self._notes, summaries=those), *new)

    def keep_proofs(self, those: tuple[ProofSeries, ...], *new: Message) -> None:
        """Remember the last test message of each channel, and queue new ones."""
        if new or those != self._notes.proofs:
            self._note(replace(self._notes, proofs=those), *new)

    @property
    def notes(self) -> Notes:
        """Return what is noted in the record of Checker's own."""
        return self._notes

    def keep_requests(
        self,
        mutes: tuple[dict[str, Any], ...],
        announcements: tuple[dict[str, Any], ...],
        applied: tuple[str, ...],
    ) -> None:
        """Remember what is in force, and which requests it comes from."""
        notes = replace(
            self._notes, mutes=mutes, announcements=announcements, applied=applied
        )
        if notes != self._notes:
            self._note(notes)

    # What is lost.

    def notify_of_lost(
        self, compose: Callable[[list[str], datetime], Message], now: datetime
    ) -> list[str]:
        """Queue one mail that names what is lost, and return that, a line for each.

        ``compose`` makes the mail of these lines.  Damaged files go to quarantine after
        that: what has gone from its place is noted as lost, and what was noted is not
        notified again.
        """
        lines = not_noted(self._lost)
        if lines:
            for line in lines.values():
                logger.warning("%s; what it held is unknown", line)
            # Its place is needed for the mail; what it held is lost in any case.
            self._state.quarantine([OWN_STEM] if OWN_STEM in lines else [], now)
            self._lost = with_all_noted(self._lost, now)
            message = compose(list(lines.values()), now)
            self._note(replace(self._notes, lost=self._lost.noted), message)
            self.commit()
        self._state.quarantine(self._lost.why, now)
        return list(lines.values())

    def keep_read_again(self) -> list[Record]:
        """Make durable what could not be read before, and return those records."""
        if self._read_again:
            self.commit()
            self._state.drop_read_again()
        return self._read_again

    # The end of a run.

    def forget_unmet(self, met: Collection[JobKey], now: datetime) -> list[Record]:
        """Note the jobs that a whole run did not meet; drop, and return, the long
        unmet."""
        forgotten = []
        for record in list(self._records.values()):
            if record.key in met or record.key == OWN_KEY or record.is_default:
                continue
            after = policy.unseen(record, now)
            if after is None:
                self._drop(record.key)
                forgotten.append(record)
            else:
                self.keep(after)
        return forgotten

    def drop_default(self, met: Mapping[JobKey, Job]) -> tuple[list[str], list[str]]:
        """Let go of records that say nothing; return the file stems to list, to remove.

        All that was kept is durable before, so that what is now there is no longer
        noted as lost.  To list are also those still lost.
        """
        keys = (key for job in met.values() for key in (job.key, job.key_before) if key)
        still_lost = waited_for(self._lost, map(file_stem, keys), self._now)
        self._note(reviewed(self._notes, still_lost, met.values(), self._now))
        self.commit()
        for key in [key for key, one in self._records.items() if one.is_default]:
            self._drop(key)
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

    def _put(self, record: Record) -> None:
        self._records[record.key] = record
        if record.queued:
            self._queued.add(record.key)
        else:
            self._queued.discard(record.key)

    def _drop(self, key: JobKey) -> None:
        self._records.pop(key, None)
        self._queued.discard(key)
        self._changed.discard(key)

    def _note_change(self, key: JobKey) -> None:
        if not self._changed:
            self._changed_at = time.monotonic()
        self._changed.add(key)

    def _is_lost(self, key: JobKey) -> bool:
        return bool(self._lost.why) and file_stem(key) in self._lost.why

"""What is remembered of Checker's own state: the memory of a record of its own.

In a record, because a note that somebody was notified must be durable in one step with
the mail that tells.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import replace

from lib.core import encoding
from lib.core.calendar import SummarySeries
from lib.core.encoding import Moment, Stored
from lib.core.jobs import OWN_KEY, Job, OldEntry, file_stem
from lib.core.policy import FORGET_AFTER, unmatched
from lib.core.records import Record

logger = logging.getLogger(__name__)

#: The file of the record.
OWN_STEM = file_stem(OWN_KEY)

#: How long a failing job of the older program may take to turn up among ours: as long
#: as it may take to mend a broken job file.
OLD_ENTRIES_KEPT = timedelta(days=7)


class Notes(Stored, frozen=True):
    """What people were notified of, and what still waits for its job."""

    #: The file stems of the lost records, and since when; people were notified.
    lost: Mapping[str, Any] = {}
    #: What was failing under the older program and no run has met yet.
    old_entries: tuple[OldEntry, ...] = ()
    old_read_at: Moment | None = None
    #: The summaries so far: the number of each is durable in one step with its mail.
    summaries: tuple[SummarySeries, ...] = ()


def notes_of(own: Record) -> Notes:
    """Return the notes in a record; none if they cannot be used."""
    try:
        return encoding.convert(dict(own.memory), Notes)
    except ValueError as error:
        logger.warning("the record of Checker's own cannot be used: %s", error)
        return Notes()


def with_notes(own: Record, notes: Notes) -> Record:
    """Return the record with these notes in it."""
    return replace(own, memory=encoding.plain(notes))


def waiting(notes: Notes, stems: Collection[str], now: datetime) -> list[str]:
    """Return which of these lost records are still waited for.

    For as long as the records of jobs are kept that no run meets.
    """
    return sorted(
        stem
        for stem in stems
        if now - _moment(notes.lost.get(stem), now) <= FORGET_AFTER
    )


def reviewed(
    notes: Notes,
    still_lost: Collection[str],
    met: Collection[Job],
    now: datetime,
) -> Notes:
    """Return what is still to be noted after a run that met these jobs."""
    lost = {stem: since for stem, since in notes.lost.items() if stem in still_lost}
    left = unmatched(notes.old_entries, met)
    read_at = notes.old_read_at or now
    is_over = now - read_at > OLD_ENTRIES_KEPT
    if is_over or read_at == now:
        for entry in left:
            logger.warning(
                "%s was failing when the older program last ran, and no job of now is "
                "it: %s",
                entry.name,
                "it is forgotten" if is_over else "it is waited for, for some days",
            )
    if is_over or not left:
        return replace(notes, lost=lost, old_entries=(), old_read_at=None)
    return replace(notes, lost=lost, old_entries=left, old_read_at=read_at)


def _moment(text: Any, otherwise: datetime) -> datetime:
    try:
        return min(datetime.fromisoformat(text), otherwise)
    except (TypeError, ValueError):
        return otherwise

"""State that a run may go on with once it can no longer be written.

The first error freezes it: from there on what is remembered may be read as far as it
goes, nothing is written, and nothing that is owed is sent.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path

from lib.lock import Holder
from lib.model import Asked, JobKey, Known, Record, RunFacts
from lib.process import Child
from lib.remedy import NewerState, StateError
from lib.state import Remembered, State

logger = logging.getLogger(__name__)


class CautiousState(State):
    """A state folder that is only read from the first write on that failed."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        #: Why nothing is written any more; empty while all is well.
        self.frozen = ""

    def freeze(self, error: StateError) -> None:
        """Write nothing any more."""
        if not self.frozen:
            self.frozen = str(error)
            logger.error("%s; this run judges, keeps nothing, sends no alert", error)

    def lock(self, now: datetime, length: timedelta) -> Holder | None:
        """Take the lock; without a folder for it, go on without, and frozen."""
        try:
            return super().lock(now, length)
        except StateError as error:
            self.freeze(error)
            return None

    def load(self) -> Remembered:
        """Return what is remembered; frozen, at least what of it can be read."""
        try:
            return super().load()
        except NewerState:
            raise
        except StateError as error:
            self.freeze(error)
            return Remembered()

    def load_met(self) -> tuple[dict[JobKey, Known], dict[str, Asked]]:
        """Return the jobs that were met; frozen, none where that cannot be read."""
        try:
            return super().load_met()
        except NewerState:
            raise
        except StateError as error:
            self.freeze(error)
            return {}, {}

    def clear_leftovers(self) -> None:
        """Remove what was left half written, unless frozen."""
        if not self.frozen:
            super().clear_leftovers()

    def take_skips(
        self, counted: datetime | None = None
    ) -> tuple[int, datetime | None]:
        """Return the skipped runs that are not counted yet; frozen, count none."""
        return (0, None) if self.frozen else super().take_skips(counted)

    def quarantine(self, stems: Iterable[str], now: datetime) -> None:
        """Move damaged files out of the way, unless frozen."""
        if not self.frozen:
            super().quarantine(stems, now)

    def take_back(self, found: Remembered, now: datetime) -> Remembered:
        """Return what is remembered with what can be read again, unless frozen."""
        return found if self.frozen else super().take_back(found, now)

    def drop_taken_back(self) -> None:
        """Remove the files of what was taken back, unless frozen."""
        if not self.frozen:
            super().drop_taken_back()

    def save(self, records: Iterable[Record]) -> None:
        """Commit records, unless frozen."""
        if not self.frozen:
            super().save(records)

    def settle(self, until: float) -> None:
        """Put what is in batches into files of its own, unless frozen."""
        if not self.frozen:
            super().settle(until)

    def forget(self, stems: Iterable[str]) -> None:
        """Remove the files of jobs, unless frozen."""
        if not self.frozen:
            super().forget(stems)

    def save_run(self, run: RunFacts) -> None:
        """Commit what is remembered of the runs, unless frozen."""
        if not self.frozen:
            super().save_run(run)

    def save_catalogue(
        self, jobs: Mapping[JobKey, Known], asked: Mapping[str, Asked] | None = None
    ) -> None:
        """Replace the list of jobs, unless frozen."""
        if not self.frozen:
            super().save_catalogue(jobs, asked)


class NoPostman:
    """Stands in for the postman in a run that may send nothing."""

    sent = 0
    is_busy = False
    is_idle = True
    children: list[Child] = []
    tried_in_digests: frozenset[str] = frozenset()

    def next_deadline(self) -> float:
        """Return when something is over: never."""
        return float("inf")

    def hear(self) -> None:
        """Nothing was handed over."""

    def stop(self) -> None:
        """Nothing is at work."""

    def note_waiting(self, since: datetime) -> None:
        """Nothing is noted."""

    def send(self, *, jobs_done: bool, jobs_left: int, left_s: float) -> None:
        """What is owed stays owed."""


# The one mail an hour.

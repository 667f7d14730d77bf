"""A job that no run has judged before runs in the first run that meets it.

Whatever its schedule: a certificate that is added at 13:31 is not checked at midnight
only.  Of the jobs that do not run each minute at most MAX_FIRST_RUNS do so in one run;
the others are noted in the catalog and follow in the next minutes.  If the catalog is
lost, every job counts as judged, so that not all run at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Self

import msgspec

from lib.core.enums import JobFrequency
from lib.core.jobs import EMAIL_CHECKER, CatalogEntry, Job, JobKey
from lib.core.policy import FORGET_AFTER
from lib.core.records import RunRecord
from lib.core.settings import Mail
from lib.storage.store import Catalog

MAX_FIRST_RUNS = 50


class KnownJobs(msgspec.Struct, frozen=True):
    """Which jobs earlier runs have met."""

    #: As the last run met them.
    catalog: Mapping[JobKey, CatalogEntry] = {}
    #: Those that runs before have met, and since when runs do not meet them.
    gone: Mapping[JobKey, datetime] = {}
    #: The catalog is lost: any job may have run before.
    is_lost: bool = False
    #: Mail is sent, and there is a mailbox to find it in.
    proves_mail: bool = False

    @classmethod
    def of(cls, whole: Catalog, run: RunRecord, mail: Mail) -> Self:
        """Return the jobs of a catalog as it is on disk; ``run`` is the last one."""
        return cls(
            whole.jobs,
            whole.gone,
            # A fresh start has none either, and nothing to lose.
            is_lost=whole.is_lost and run.ended_at is not None,
            proves_mail=mail.mailbox is not None and not mail.nomail,
        )

    def is_new(self, job: Job) -> bool:
        """Return whether a job is still to have its first run."""
        entry = self.entry_of(job)
        if job.key.file == EMAIL_CHECKER and entry is not None:
            return self.can_check(job) and not entry.judged
        if entry is not None:
            return entry.is_new
        return not (self.is_lost or self._is_gone(job)) and self.can_check(job)

    def can_check(self, job: Job) -> bool:
        """Return whether a job has what it needs: of EmailChecker that is a mailbox.

        Without one it has a note for people, which may come in its hour; its first run
        is the first one with a mailbox.
        """
        return self.proves_mail or job.key.file != EMAIL_CHECKER

    def entry_of(self, job: Job) -> CatalogEntry | None:
        """Return what the last run knew of a job, be it under its old name."""
        entry = self.catalog.get(job.key)
        if entry is None and job.key_before is not None:
            entry = self.catalog.get(job.key_before)
        return entry

    def _is_gone(self, job: Job) -> bool:
        return job.key in self.gone or job.key_before in self.gone

    def gone_after(
        self, met: Collection[JobKey], now: datetime
    ) -> dict[JobKey, datetime]:
        """Return those that are gone after a run that met these."""
        since = {
            key: now
            for key, entry in self.catalog.items()
            if key not in met and not entry.is_new
        }
        since.update(self.gone)
        return {
            key: at
            for key, at in since.items()
            if key not in met and now - at < FORGET_AFTER
        }


def to_run(
    known: KnownJobs, jobs: Iterable[Job], wanted: Collection[JobKey]
) -> Iterator[Job]:
    """Yield the jobs that are to have their first run; ``wanted`` run in any case."""
    for job in jobs:
        if job.is_own or not job.enabled or job.schedule == JobFrequency.MINUTE:
            continue
        if job.key not in wanted and known.is_new(job):
            yield job

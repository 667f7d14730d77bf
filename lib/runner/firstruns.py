"""A job that no run has met before runs in the first run that meets it.

Whatever its schedule: a certificate that is added at 13:31 is not checked at midnight
only.  Of the jobs that do not run each minute at most MAX_FIRST_RUNS do so in one run;
the others are noted in the catalog and follow in the next minutes.  If the catalog is
lost, every job counts as met, so that not all run at once.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from fnmatch import fnmatchcase

import msgspec

from lib.core.enums import JobFrequency
from lib.core.jobs import EMAIL_CHECKER, CatalogEntry, Job, JobKey
from lib.core.policy import FORGET_AFTER

MAX_FIRST_RUNS = 50


def with_patterns(names: Iterable[str]) -> frozenset[str]:
    """Return ``KnownJobs.older`` for these names."""
    names = list(names)
    if not names:
        return frozenset()
    import glob

    return frozenset((*names, *map(glob.escape, names)))


def _has_wildcard(pattern: str) -> bool:
    """Return whether a pattern is more than an escaped name."""
    return bool(re.search(r"[*?\[]", re.sub(r"\[[*?\[]\]", "", pattern)))


class KnownJobs(msgspec.Struct, frozen=True):
    """Which jobs earlier runs have met."""

    #: As the last run met them.
    catalog: Mapping[JobKey, CatalogEntry] = {}
    #: Those that runs before have met, and since when runs do not meet them.
    gone: Mapping[JobKey, datetime] = {}
    #: The names of the jobs in the older program's state file, once it is read; each
    #: also as the pattern that matches just it.
    older: frozenset[str] = frozenset()
    #: The catalog is lost: any job may have been met.
    is_lost: bool = False

    def is_new(self, job: Job) -> bool:
        """Return whether a job is still to have its first run."""
        entry = self.catalog.get(job.key)
        if entry is not None:
            return entry.is_new
        if self.is_lost or job.key in self.gone:
            return False
        before = job.key_before
        if before is not None and (before in self.catalog or before in self.gone):
            return False
        return not self._was_older(job.formerly)

    def _was_older(self, pattern: str) -> bool:
        """Return whether the older program had a job that is this one now."""
        if not pattern:
            return False
        # Nearly all patterns are a name, escaped.
        if pattern in self.older:
            return True
        return _has_wildcard(pattern) and any(
            fnmatchcase(name, pattern) for name in self.older
        )

    def gone_after(
        self, met: Collection[JobKey], now: datetime
    ) -> dict[JobKey, datetime]:
        """Return those that are gone after a run that met these."""
        gone = {key: entry for key, entry in self.catalog.items() if not entry.is_new}
        since = {**dict.fromkeys(gone, now), **self.gone}
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
        # Its mails have their own clock, imapevery.
        if job.key.file == EMAIL_CHECKER:
            continue
        if job.key not in wanted and known.is_new(job):
            yield job

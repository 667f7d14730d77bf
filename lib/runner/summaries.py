"""Queue the summaries of ``[summary]`` that are due in this run.

Number and mail are saved together, in Checker's own record; the text is made by
``lib/report/summary.py``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path

from msgspec.structs import replace

from lib.core import calendar, decisions
from lib.core.calendar import DAILY, WEEKLY, DueSummary, SummarySeries
from lib.core.encoding import Stored
from lib.core.enums import MessageKind
from lib.core.jobs import OWN_KEY, CatalogEntry, JobKey
from lib.core.messages import Message
from lib.core.records import RunRecord
from lib.core.results import JobReport, Timing
from lib.core.sanitize import scrubbed
from lib.core.settings import Settings
from lib.storage import auditlog
from lib.storage.auditlog import AuditLog
from lib.storage.codec import packed, read_value
from lib.storage.session import StoreSession
from lib.system.errors import StateError
from lib.system.files import Damaged, replace_softly

logger = logging.getLogger(__name__)

#: With this many queued no other is written; the next one covers the whole period.
MAX_WAITING = 7


class Summaries:
    """The summaries of one run."""

    def __init__(
        self,
        settings: Settings,
        session: StoreSession,
        audit_log: AuditLog,
        catalog: Mapping[JobKey, CatalogEntry],
        run: RunRecord,
    ) -> None:
        """``catalog``: the jobs that the run before has met; ``run``: this one."""
        self._settings = settings
        self._times, self._zone = settings.summary, settings.zone
        self._session = session
        self._audit_log = audit_log
        self._catalog = catalog
        self._run = run
        self._is_on = any(calendar.is_on(self._times, one) for one in calendar.KINDS)
        self._has_looked = False
        #: How long each check took, with its key, its name, and when.
        self._took: list[tuple[float, JobKey, str, datetime]] = []

    def hear(self, report: JobReport, now: datetime) -> None:
        """Note how long a check took."""
        if self._is_on:
            job = report.job
            self._took.append((report.result.seconds, job.key, job.name, now))

    def write_due(self, now: datetime) -> None:
        """Queue the summaries that are due, after all jobs; raise StateError."""
        if self._has_looked or not (self._is_on or self._session.summaries):
            return
        self._has_looked = True
        those = calendar.updated(
            self._session.summaries, self._times, self._run.skipped, now, self._zone
        )
        slow = self._slowest(those)
        room = MAX_WAITING - self._waiting()
        kept: list[SummarySeries] = []
        new: list[Message] = []
        for series in those:
            issue = calendar.due(series, self._times, now, self._zone)
            if issue is None or len(new) >= room:
                kept.append(series)
                continue
            new.append(self._written(issue, series, slow, now))
            skipped = self._run.skipped
            kept.append(
                calendar.advanced(series, self._times, skipped, now, self._zone)
            )
        self._session.keep_summaries(tuple(kept), *new)

    def _waiting(self) -> int:
        own = self._session.records.get(OWN_KEY)
        queued = own.queued if own else ()
        return sum(one.kind is MessageKind.SUMMARY for one in queued)

    def _written(
        self,
        issue: DueSummary,
        series: SummarySeries,
        slow: SlowestChecks,
        now: datetime,
    ) -> Message:
        from lib.report import summary
        from lib.report.summary import SummaryInput

        # What this run has decided is a part of it, and is not in the next one.
        self._session.commit()
        self._audit_log.write()
        folder, secrets = self._settings.state, self._settings.secrets
        found = auditlog.read_entries(folder, _any, after=issue.since)
        facts = SummaryInput(
            records=self._session.records,
            catalog=self._catalog,
            run=self._run,
            since=issue.since,
            now=now,
            entries=tuple(found),
            on_file_since=auditlog.reaches_back_to(folder),
            slowest=slow.daily if issue.kind == DAILY else slow.weekly,
            # Less than before where run.json was lost.
            skipped=max(0, self._run.skipped - series.skipped),
            zone=self._zone,
        )
        message = summary.message(os.urandom(16).hex(), issue, facts, self._settings)
        logger.info("%s", message.subject)
        self._audit_log.note([decisions.queued(OWN_KEY, "state", message, now)])
        return replace(
            message,
            subject=scrubbed(message.subject, secrets),
            body=scrubbed(message.body, secrets),
        )

    def _slowest(self, those: Iterable[SummarySeries]) -> SlowestChecks:
        """Return the slowest checks since the last summaries, and keep them."""
        import heapq

        folder = self._settings.state
        took = heapq.nlargest(MOST_SLOW, self._took)
        new = [Timing(key, name, seconds, at) for seconds, key, name, at in took]
        before = read_slowest(folder)
        since = {one.kind: one.written_at for one in those}
        daily, weekly = (
            slowest_of((*known, *new), start) if start else ()
            for known, start in (
                (before.daily, since.get(DAILY)),
                (before.weekly, since.get(WEEKLY)),
            )
        )
        slowest = SlowestChecks(daily, weekly)
        if new and slowest != before:
            write_slowest(folder, slowest)
        return slowest


def _any(_key: JobKey, _name: str) -> bool:
    return True


#: Which checks took longest since the last summary of each kind.  Nothing is judged by
#: it, so it is written without fsync: after a power cut it may be made anew.
SLOWEST = "slowest.json"
#: As many as a summary names.
MOST_SLOW = 5


class SlowestChecks(Stored, frozen=True):
    """The slowest checks, one by one the slowest first."""

    daily: tuple[Timing, ...] = ()
    weekly: tuple[Timing, ...] = ()


def slowest_of(timings: Iterable[Timing], since: datetime) -> tuple[Timing, ...]:
    """Return the slowest of them after a moment, of each job its slowest time."""
    import heapq

    by_key: dict[JobKey, Timing] = {}
    for timing in timings:
        known = by_key.get(timing.key)
        if timing.at >= since and (known is None or timing.seconds > known.seconds):
            by_key[timing.key] = timing
    return tuple(heapq.nlargest(MOST_SLOW, by_key.values(), key=_seconds))


def _seconds(timing: Timing) -> float:
    return timing.seconds


def read_slowest(folder: Path) -> SlowestChecks:
    """Return what is on file; nothing if that is lost."""
    try:
        return read_value(folder / SLOWEST, SlowestChecks)
    except FileNotFoundError:
        return SlowestChecks()
    except (Damaged, StateError) as error:
        logger.info("%s: %s; it is made anew", folder / SLOWEST, error)
        return SlowestChecks()


def write_slowest(folder: Path, slowest: SlowestChecks) -> None:
    """Replace what is on file; where that fails, the run goes on."""
    try:
        replace_softly(folder / SLOWEST, packed(slowest))
    except StateError as error:
        logger.warning("%s; the run goes on", error)

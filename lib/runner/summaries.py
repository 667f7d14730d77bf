"""Queue the summaries of ``[summary]``, and the test messages of ``proof``, when due.

Number and mail are saved together, in Checker's own record; the text is made by
``lib/report/summary.py``.
"""

from __future__ import annotations

import heapq
import logging
import os
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from pathlib import Path

from msgspec.structs import replace

from lib.core import calendar, decisions
from lib.core.calendar import (
    DAILY,
    WEEKLY,
    DueSummary,
    ProofSeries,
    SummarySeries,
)
from lib.core.encoding import Stored
from lib.core.enums import MessageKind
from lib.core.jobs import OWN_KEY, JobKey
from lib.core.messages import Message
from lib.core.results import Timing
from lib.core.sanitize import scrubbed
from lib.runner.context import RunContext
from lib.storage import auditlog
from lib.storage.codec import packed, read_value
from lib.storage.session import StoreSession
from lib.system.errors import StateError
from lib.system.files import Damaged, replace_softly

logger = logging.getLogger(__name__)

#: With this many queued no other is written; the next one covers the whole period.
MAX_WAITING = 7


def queue_due(ctx: RunContext) -> None:
    """Queue the summaries that are due, once all jobs are done; raise StateError."""
    times, zone, now = ctx.settings.summary, ctx.settings.zone, ctx.now()
    skipped = ctx.run.skipped
    all_series = calendar.updated(ctx.session.summaries, times, skipped, now, zone)
    slowest = _slowest(ctx, all_series)
    room = MAX_WAITING - _waiting(ctx.session)
    kept: list[SummarySeries] = []
    new: list[Message] = []
    for series in all_series:
        due = calendar.due(series, times, now, zone)
        if due is None or len(new) >= room:
            kept.append(series)
            continue
        new.append(_written(ctx, due, series, slowest, now))
        kept.append(calendar.advanced(series, times, skipped, now, zone))
    ctx.session.keep_summaries(tuple(kept), *new)


def _waiting(session: StoreSession) -> int:
    own = session.records.get(OWN_KEY)
    queued = own.queued if own else ()
    return sum(message.kind is MessageKind.SUMMARY for message in queued)


def _written(
    ctx: RunContext,
    due: DueSummary,
    series: SummarySeries,
    slowest: SlowestChecks,
    now: datetime,
) -> Message:
    from lib.report import summary
    from lib.report.summary import SummaryInput

    # What this run has decided is a part of it, and is not in the next one.
    ctx.session.commit()
    ctx.audit_log.write()
    settings, folder = ctx.settings, ctx.settings.state
    facts = SummaryInput(
        records=ctx.session.records,
        catalog=ctx.catalog,
        run=ctx.run,
        since=due.since,
        now=now,
        entries=tuple(auditlog.read_entries(folder, _any, after=due.since)),
        on_file_since=auditlog.reaches_back_to(folder),
        slowest=slowest.daily if due.kind == DAILY else slowest.weekly,
        # Less than before where run.json was lost.
        skipped=max(0, ctx.run.skipped - series.skipped),
        zone=settings.zone,
        silences=ctx.silences,
    )
    message = summary.message(os.urandom(16).hex(), due, facts, settings)
    logger.info("%s", message.subject)
    ctx.audit_log.note([decisions.queued(OWN_KEY, "state", message, now)])
    return replace(
        message,
        subject=scrubbed(message.subject, settings.secrets),
        body=scrubbed(message.body, settings.secrets),
    )


def queue_proofs(
    ctx: RunContext,
    all_series: tuple[ProofSeries, ...],
    due: Collection[ProofSeries],
    every: Mapping[str, str],
) -> None:
    """Queue a test message for each channel of which one is due.

    One that still waits stands for this one.
    """
    from lib.alerting.templates import proof_message

    settings, now = ctx.settings, ctx.now()
    own = ctx.session.records.get(OWN_KEY)
    waiting = {
        message.to[0].partition("/")[0]
        for message in (own.queued if own else ())
        if message.kind is MessageKind.PROOF
    }
    kept: list[ProofSeries] = []
    new: list[Message] = []
    for series in all_series:
        if series not in due:
            kept.append(series)
            continue
        name = series.channel
        last, coming = calendar.proof_times(every[name], now, settings.zone)
        number = series.number + (name not in waiting)
        kept.append(ProofSeries(name, number, last))
        if name not in waiting:
            facts = (name, number, every[name], coming)
            message_id = os.urandom(16).hex()
            new.append(proof_message(message_id, *facts, now, settings.zone))
    ctx.audit_log.note(
        decisions.queued(OWN_KEY, "state", message, now) for message in new
    )
    ctx.session.keep_proofs(tuple(kept), *new)


def _slowest(ctx: RunContext, all_series: Iterable[SummarySeries]) -> SlowestChecks:
    """Return the slowest checks since the last summaries, and keep them."""
    folder = ctx.settings.state
    new = heapq.nlargest(MOST_SLOW, ctx.timings or (), key=_seconds)
    before = read_slowest(folder)
    since = {series.kind: series.written_at for series in all_series}
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

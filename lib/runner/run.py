"""One run as cron starts it: ``run`` has its lock, ``carry_out`` lists its stages.

``check`` is such a run of just some jobs, for a person at a terminal.

A report of a worker becomes a record.  Record and queued messages are committed
together before anything is sent.  Where state cannot be written, the jobs still run and
are judged, and nothing is sent but the hourly mail of ``lib/runner/emergency.py``.
Job code never runs here.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from lib.core import calendar, health
from lib.core.enums import JobFrequency
from lib.core.jobs import OWN_KEY, RUN_PROGRAMS, JobKey
from lib.core.messages import Message
from lib.core.records import RunRecord
from lib.core.settings import Settings
from lib.core.text import moment_in, table_time
from lib.runner import results
from lib.runner.context import PAGE, RUN_S, RunContext, Stop, files_for_people
from lib.runner.selection import files_to_load
from lib.storage.lock import Holder
from lib.storage.store import SETTINGS_COPY, TEMPLATES, State
from lib.system import orphans, process
from lib.system.clock import utc_now
from lib.system.errors import StateError, trouble

if TYPE_CHECKING:
    from lib.alerting.planning import Progress

logger = logging.getLogger(__name__)

#: What is left when what many records are in is put into files of their own.
SETTLE_BEFORE_S = 3.0
#: With more jobs than this still running, one failure may be the first of many.
MANY = 20
#: A report waits at most this long for others to be committed with it.
COMMIT_AFTER_S = 0.5
#: How much earlier than another time a run may come.
PAGE_JITTER_S = 30.0
#: When an announcement begins and ends, as the notes have it.
TURNS = ("start", "until")


def run(
    settings: Settings,
    ordered: JobFrequency,
    now: Callable[[], datetime] = utc_now,
) -> int:
    """Carry out one run; return the exit code.

    0: it took place, or another one is at work.  1: state cannot be used or written,
    or the run at work is past its end.
    """
    state = State(settings.state)
    stop = Stop()
    try:
        # Without a folder for it the run goes on without a lock, and keeps nothing.
        holder = state.writer.read_or_freeze(
            lambda: state.lock(now(), timedelta(seconds=RUN_S)), None
        )
        if holder is not None:
            state.count_skip(now())
            return _turned_away(holder, now())
        ctx = RunContext.open(settings, state, ordered, now, stop)
        carry_out(ctx)
    except StateError as error:
        logger.error("%s", error)
        return 1
    finally:
        # Of one that is killed the kernel takes it back.
        state.unlock()
    report(ctx)
    return int(ctx.is_frozen)


#: How long -m check waits for another run: as long as one may take.
WAIT_S = RUN_S
LOOK_AGAIN_S = 0.2


def check(
    settings: Settings,
    only: frozenset[JobKey],
    now: Callable[[], datetime] = utc_now,
    *,
    on_wait: Callable[[str], None],
) -> RunContext:
    """Run just these jobs, due or not, as a run of cron's does; return its context.

    If another run is at work it is waited for, and ``on_wait`` is told whose it is.
    Raise StateError if the state folder cannot be used, or if that run does not end.
    """
    state = State(settings.state)
    try:
        wait_for_lock(state, now, on_wait, zone=settings.zone)
        ctx = RunContext.open(settings, state, JobFrequency.MINUTE, now, Stop(), only)
        carry_out(ctx)
    finally:
        state.unlock()
    report(ctx)
    return ctx


def wait_for_lock(
    state: State,
    now: Callable[[], datetime],
    on_wait: Callable[[str], None],
    *,
    zone: tzinfo | None = None,
    wait_s: float = WAIT_S,
) -> None:
    """Take the lock; raise StateError if another run has it for as long as that."""
    until = time.monotonic() + wait_s
    said = False
    while holder := state.lock(now(), timedelta(seconds=RUN_S)):
        whose = _whose(holder, now(), zone)
        if not said:
            on_wait(f"waiting up to {wait_s:g} s for {whose}")
            said = True
        if time.monotonic() >= until:
            raise StateError(
                f"nothing was checked: {whose} did not end within {wait_s:g} s"
            )
        time.sleep(min(LOOK_AGAIN_S, wait_s))


def _whose(holder: Holder, now: datetime, zone: tzinfo | None) -> str:
    """Return which run holds the lock, and since when."""
    who = f"process {holder.pid}" if holder.pid else "process not known"
    began_at = holder.began_at or now
    return f"the run in progress ({who}, since {table_time(began_at, zone, now)})"


def _turned_away(holder: Holder, now: datetime) -> int:
    """Say who is at work, and return the exit code: 1 where that one is stuck."""
    late = holder.ends_by is not None and now > holder.ends_by
    logger.log(
        logging.ERROR if late else logging.INFO,
        "a run (process %d) is in progress since %s%s; this one ends",
        holder.pid,
        holder.began_at or "an unknown time",
        ", past its end: is it stopped, or waiting for a disk?" * late,
    )
    return int(late)


def carry_out(ctx: RunContext) -> None:
    """Take a run through its stages."""
    try:
        _guarded(begin, ctx)
        select(ctx)
        while not is_over(ctx):
            collect(ctx)
            _guarded(commit, ctx)
            _guarded(dispatch, ctx)
    finally:
        stop(ctx)
    _guarded(close, ctx)


def _guarded(stage: Callable[[RunContext], None], ctx: RunContext) -> None:
    """Do a stage that writes; if that fails, write and send nothing more."""
    try:
        stage(ctx)
    except StateError as error:
        ctx.state.writer.freeze(error)
        with contextlib.suppress(StateError):
            _stop_sending(ctx)


# The stages.


def begin(ctx: RunContext) -> None:
    """Report lost state, and record that a run has begun; raise StateError."""
    # First, because run.json may be lost itself.
    lost = ctx.session.notify_of_lost(
        lambda *facts: _lost_message(ctx, *facts), ctx.now()
    )
    read_again = ctx.session.keep_read_again()
    if lost or read_again:
        from lib.core import decisions

        ctx.audit_log.note(decisions.lost(OWN_KEY, lost, ctx.now()))
        ctx.audit_log.note(decisions.read_again(read_again, ctx.now()))
    if ctx.requests is not None:
        from lib.runner import requests

        requests.finish(ctx.requests, ctx.session, ctx.state, ctx.now())
        ctx.audit_log.note(ctx.requests.entries)
    # This also proves that state can be written, before anything is sent.
    ctx.state.save_run(ctx.run)
    if ctx.missed:
        words = ", ".join(sorted(ctx.missed))
        logger.warning("a run of %s was missed, and is caught up now", words)


def _lost_message(ctx: RunContext, lines: list[str], now: datetime) -> Message:
    from lib.alerting.templates import lost_records_message

    to = ctx.settings.alertcontact
    return lost_records_message(os.urandom(16).hex(), lines, to, now)


def select(ctx: RunContext) -> None:
    """Start workers for the job files that have something due."""
    files = files_to_load(ctx)
    # The other kinds that ship leave no processes behind.
    ctx.adopts = (
        any(not file.ships or file.name in RUN_PROGRAMS for file in files)
        and orphans.adopt()
    )
    ctx.workers.start(files)
    if ctx.run.blind_since is not None or (
        ctx.settings.anchors
        and any(record.pending for record in ctx.session.records.values())
    ):
        from lib.runner import reachability

        reachability.look_again(ctx)
    records = list(ctx.session.records.values())
    for job, result in (
        *results.stand_ins(ctx.settings),
        *results.mended(ctx.settings, records),
        *results.failing_ways(ctx),
    ):
        if ctx.only is None or job.key in ctx.only:
            results.judge(ctx, job, result)


def is_over(ctx: RunContext) -> bool:
    """Return whether all is done, or no time is left."""
    if ctx.stop.asked or time.monotonic() >= ctx.ends_at:
        return True
    if not ctx.workers.is_done or ctx.session.waiting_since is not None:
        return False
    if ctx.has_waiting:
        return False
    if not (ctx.has_reviewed or ctx.is_frozen):
        # Also where no file was loaded: what is gone, and what is due by the clock.
        return False
    if ctx.dispatcher is None:
        return ctx.is_frozen or not _has_mail(ctx)
    return not ctx.dispatcher.is_busy and (ctx.is_frozen or ctx.dispatcher.is_idle)


def collect(ctx: RunContext) -> None:
    """Wait for an event, and keep what the workers have reported."""
    children = list(ctx.workers.children)
    if ctx.reach is not None and ctx.reach.child is not None:
        children.append(ctx.reach.child)
    if ctx.dispatcher is not None:
        children += ctx.dispatcher.children
    if children:
        process.wait(children, _until_next(ctx))
    for event in ctx.workers.events():
        if results.may_be_out_of_reach(event, ctx):
            from lib.runner import reachability

            reachability.take(ctx, event)
        else:
            results.take(ctx, event)
    is_late = time.monotonic() >= ctx.jobs_end_at
    if is_late:
        for lost in ctx.workers.stop():
            results.put_off(ctx, lost)
    if ctx.reach is not None:
        from lib.runner import reachability

        reachability.go_on(ctx, is_last=is_late)


def _until_next(ctx: RunContext) -> float:
    moments = [
        ctx.workers.next_deadline(),
        ctx.ends_at if ctx.workers.is_done else ctx.jobs_end_at,
    ]
    if ctx.dispatcher is not None:
        moments.append(ctx.dispatcher.next_deadline())
    if (since := ctx.session.waiting_since) is not None:
        moments.append(since + COMMIT_AFTER_S)
    # If another process holds its pipe open, a dead child causes no event.
    return max(0.0, min(1.0, min(moments) - time.monotonic()))


def commit(ctx: RunContext) -> None:
    """Make what was kept durable, unless more is about to come; raise StateError."""
    is_reviewed = ctx.is_frozen or ctx.has_reviewed or ctx.has_waiting
    if ctx.workers.is_done and not is_reviewed:
        ctx.has_reviewed = True
        if any(
            key not in ctx.met or not ctx.met[key].enabled
            for key in ctx.session.records
        ):
            from lib.runner.absence import close_gone

            close_gone(ctx)
        if any(channel.escalate for channel in ctx.settings.channels.values()):
            results.escalate(ctx)
        if ctx.timings is not None or ctx.session.summaries:
            from lib.runner.summaries import queue_due

            queue_due(ctx)
        proofs = {
            name: channel.proof
            for name, channel in ctx.settings.channels.items()
            if channel.proof
        }
        if ctx.only is None and (proofs or ctx.session.notes.proofs):
            _queue_proofs(ctx, proofs)
    since = ctx.session.waiting_since
    if since is not None and (
        ctx.workers.is_done or time.monotonic() >= since + COMMIT_AFTER_S
    ):
        ctx.session.commit()
    if ctx.consumed and ctx.session.waiting_since is None:
        _remove_consumed(ctx)


def _remove_consumed(ctx: RunContext) -> None:
    """Remove the files of spools whose content is durable now.

    One that stays is known to its job, and read again to no effect.
    """
    paths, ctx.consumed = ctx.consumed, []
    if ctx.is_frozen:
        return
    for path in paths:
        try:
            os.unlink(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            logger.error("%s", trouble(Path(path), "remove it", error))


def _queue_proofs(ctx: RunContext, every: dict[str, str]) -> None:
    """Queue the test messages of channels that are due."""
    now, zone = ctx.now(), ctx.settings.zone
    all_series = calendar.proof_series(ctx.session.notes.proofs, every, now)
    due = [
        series
        for series in all_series
        if calendar.is_proof_due(series, every[series.channel], now, zone)
    ]
    if not due:
        ctx.session.keep_proofs(all_series)
        return
    from lib.runner.summaries import queue_proofs

    queue_proofs(ctx, all_series, due, every)


def dispatch(ctx: RunContext) -> None:
    """Note what was sent, and send what is to be sent now; raise StateError."""
    if ctx.dispatcher is None and not ctx.is_frozen and _has_mail(ctx):
        from lib.alerting.dispatcher import Dispatcher

        ctx.dispatcher = Dispatcher(
            ctx.settings, ctx.session, ctx.now, ctx.audit_log, ctx.queued_before
        )
    if ctx.dispatcher is not None:
        ctx.dispatcher.save_results()
        if not (ctx.stop.asked or ctx.is_frozen):
            ctx.dispatcher.send(_progress(ctx), ctx.ends_at - time.monotonic())
    # After the mails, which must not wait for it.
    if ctx.session.waiting_since is None:
        _write_audit_log(ctx)


def _progress(ctx: RunContext) -> Progress:
    from lib.alerting.planning import Progress

    return Progress(
        ctx.began_at,
        ctx.workers.is_done,
        ctx.workers.left > MANY,
        ctx.judged,
        sees_since=ctx.reach.sees_since if ctx.reach else None,
    )


def _has_mail(ctx: RunContext) -> bool:
    """Return whether a message is queued, or a bundle is not done with."""
    return ctx.has_bundles or ctx.session.has_queued


def _write_audit_log(ctx: RunContext) -> None:
    """Append what was decided, unless nothing of it is kept."""
    if not ctx.is_frozen:
        ctx.audit_log.write()


def stop(ctx: RunContext) -> None:
    """Leave no process behind, whatever happened; put off what is not done."""
    unfinished = list(ctx.workers.stop())
    if ctx.reach is not None:
        from lib.runner import reachability

        reachability.go_on(ctx, is_last=True)
    _guarded(_stop_sending, ctx)
    if ctx.adopts:
        orphans.end_all(process.at_work)
    for lost in unfinished:
        results.put_off(ctx, lost)


def _stop_sending(ctx: RunContext) -> None:
    if ctx.dispatcher is not None:
        ctx.dispatcher.stop()


def close(ctx: RunContext) -> None:
    """Save what the next run has to know; raise StateError.

    A run that was told to end forgets no job, because it has not met all; nor does one
    of just some jobs.
    """
    now = ctx.now()
    if ctx.dispatcher is not None and not ctx.is_frozen:
        ctx.dispatcher.log_deferred(ctx.began_at)
    is_whole = ctx.only is None and ctx.settings.last_usable is None
    if is_whole and not ctx.stop.asked:
        for record in ctx.session.forget_unmet(ctx.met, now):
            from lib.core import decisions

            ctx.audit_log.note([decisions.forgotten(record, now)])
    ctx.session.commit()
    _remove_consumed(ctx)
    _write_audit_log(ctx)
    listed, gone = ctx.session.drop_default(ctx.met)
    ctx.state.settle(ctx.ends_at - SETTLE_BEFORE_S)
    _save_run(ctx, listed, now)
    # They are no longer listed, so a crash here does not make them count as lost.
    ctx.state.forget(gone)
    no_more = _no_more(ctx)
    _save_catalog(ctx, no_more)
    _save_values(ctx, no_more)
    _append_history(ctx)


def _save_run(ctx: RunContext, listed: list[str], now: datetime) -> None:
    """Record that the run has ended; ``listed`` are the stems of all record files."""
    records = ctx.session.records.values()
    ended = ctx.run
    # One of just some jobs says nothing of whether cron starts runs.
    if ctx.only is None:
        # A run counts for the slot in which it began.
        ran_now = dict.fromkeys(map(str, ctx.due.frequencies), ctx.began_at.isoformat())
        ended = replace(
            results.with_counts(ctx.run, ctx),
            ended_at=now,
            last_runs={**ctx.run.last_runs, **ran_now},
            sent=ctx.dispatcher.sent if ctx.dispatcher is not None else 0,
        )
    broken = results.settings_record(ctx)
    ended = replace(
        ended,
        queued=sum(len(record.queued) for record in records),
        records=tuple(listed),
        old_statefile=ctx.old_statefile,
        settings_copied=_settings_copied(ctx),
        settings_failing_since=broken.failing_since if broken else None,
    )
    if ctx.dispatcher is None:
        ended = health.with_inputs(ended, records)
    else:
        failing = ctx.dispatcher.failing(ctx.run.failing_ways)
        ended = replace(ended, failing_ways=failing)
        left = ctx.dispatcher.deferred()
        ended = health.with_inputs(
            ended, records, left.messages, left.count, left.stuck
        )
    ctx.state.save_run(ended)
    # A run that could not be recorded counts as not ended.
    if not ctx.is_frozen:
        ctx.run = ended


def _settings_copied(ctx: RunContext) -> str:
    """Copy settings that can be used, if they have changed; return what is copied."""
    settings, before = ctx.settings, ctx.run.settings_copied
    if ctx.is_frozen or settings.last_usable is not None:
        return before
    # Where the folder is may be noted in a place that is gone after a restart.
    is_minute = ctx.due.frequencies <= {JobFrequency.MINUTE}
    is_current = settings.digest == before and os.path.isfile(
        settings.state / SETTINGS_COPY
    )
    if is_current and is_minute:
        return before
    from lib.runner.lastusable import keep

    return keep(ctx, is_current=is_current)


def _no_more(ctx: RunContext) -> dict[JobKey, datetime]:
    """Return the jobs that are gone, and since when, as long as that is remembered."""
    if ctx.only is None:
        return ctx.known_jobs.gone_after(ctx.met, ctx.now())
    return dict(ctx.known_jobs.gone)


def _save_catalog(ctx: RunContext, gone: dict[JobKey, datetime]) -> None:
    catalog, known = results.catalog_of(ctx), ctx.known_jobs
    if ctx.only is not None and known.is_lost:
        # The next run is to see that it is, so that not all jobs run at once.
        return
    before = (ctx.catalog, ctx.scans_before, known.gone)
    if (catalog, ctx.scans, gone) != before:
        ctx.state.save_catalog(catalog, ctx.scans, gone)


def _save_values(ctx: RunContext, gone: Collection[JobKey]) -> None:
    """Keep what the jobs measured and noted, if any was judged in this run.

    Those that are gone have a history, and its numbers their units.
    """
    if not ctx.judged or ctx.is_frozen:
        return
    known = {*ctx.met, *gone} if gone else ctx.met
    ctx.state.save_values(ctx.measured.texts(), known, ctx.notes, ctx.judged)


def _append_history(ctx: RunContext) -> None:
    """Append the results of this run to the history, if there are any."""
    if ctx.results is None or ctx.is_frozen:
        return
    from lib.storage import historylog

    settings, at = ctx.settings, ctx.began_at.timestamp()
    renamed = [(job.key_before, job.key) for job in ctx.met.values() if job.key_before]
    historylog.record(settings.state, settings.zone, at, list(ctx.results), renamed)


# After the lock.


def report(ctx: RunContext) -> None:
    """Write the answer for peers, and ask the outside service of [general] ping.

    Mail the admin if state cannot be written.
    """
    settings, frozen = ctx.settings, ctx.state.writer.frozen
    if settings.status.write:
        from lib.peers import publish

        publish.write(settings, _run_for_others(ctx), ctx.now())
    if not ctx.is_read:
        _say_what_stays(settings)
    elif settings.metrics.write:
        from lib.runner.metrics import write

        write(ctx, _run_for_others(ctx))
    if settings.ping and ctx.only is None:
        from lib.runner import ping

        ping.send(settings, _run_for_others(ctx), ctx.now(), ctx.ends_at)
    if frozen and not ctx.stop.asked:
        from lib.runner import emergency

        records = ctx.session.records.values()
        left_s = ctx.ends_at - time.monotonic()
        emergency.emit(settings, frozen, records, ctx.began_at, left_s)
    _thin_history(ctx)
    page = settings.page
    is_wanted = page.write or page.public_write or page.templates
    if is_wanted and ctx.is_read and ctx.only is None:
        _write_page(ctx)


def _say_what_stays(settings: Settings) -> None:
    """Say which files would forget what is not known now, and so are not written."""
    files = files_for_people(settings)
    those = ", ".join(f"{option} ({path})" for option, path in files.items())
    if those:
        logger.error("state cannot be read, so these stay as they are: %s", those)


def _write_page(ctx: RunContext) -> None:
    """Write the page, unless that of an earlier run is new enough."""
    page, now = ctx.settings.page, ctx.now()
    left_s = ctx.ends_at - time.monotonic()
    if left_s < 2 * SETTLE_BEFORE_S or ctx.stop.asked:
        return
    try:
        path = f"{page.write or page.public_write}/{PAGE}"
        if not (page.write or page.public_write):
            # Only the daemon shows it, and the templates are tried.
            path = str(ctx.settings.state / TEMPLATES)
        age_s = now.timestamp() - os.stat(path).st_mtime
    except OSError:
        age_s = page.every_s
    # Who has announced something wants it to be read, and to be gone at its end.
    announced = ctx.session.notes.announcements
    is_news = ctx.requests is not None and ctx.requests.changes_announcements
    is_news = is_news or _begins_or_ends(announced, now, age_s)
    # Where the clock was set back, it is written all the same.
    if 0 <= age_s < page.every_s - PAGE_JITTER_S and not is_news:
        return
    try:
        from lib.runner.page import write
    except ModuleNotFoundError as error:
        logger.error("[page] write: %s; install it: make venv", error)
        return
    write(ctx.settings, now, left_s)


def _begins_or_ends(
    announced: Iterable[Mapping[str, Any]], now: datetime, age_s: float
) -> bool:
    """Return whether something that is announced did so since so many seconds."""
    moments = (moment_in(one.get(name)) for one in announced for name in TURNS)
    return any(
        moment is not None and 0 <= (now - moment).total_seconds() < age_s
        for moment in moments
    )


def _thin_history(ctx: RunContext) -> None:
    """Make small what is over or old in the history, for two seconds."""
    if ctx.results is None or ctx.is_frozen or ctx.stop.asked or ctx.only is not None:
        return
    from lib.storage.historyfiles import FOLDER, is_anything_due

    ages, state = ctx.settings.history, ctx.settings.state
    left_s = ctx.ends_at - time.monotonic()
    if left_s < 2 * SETTLE_BEFORE_S:
        return
    if is_anything_due(state / FOLDER, ctx.began_at.timestamp(), ages):
        from lib.storage import historythin

        historythin.thin(state, ages, zone=ctx.settings.zone)


def _run_for_others(ctx: RunContext) -> RunRecord:
    """Return the record of this run; one that cannot be saved counts as not ended."""
    return replace(ctx.run, ended_at=None) if ctx.state.writer.frozen else ctx.run

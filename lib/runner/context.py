"""The context of one run: what it has read, and what it has found since.

``lib/runner/run.py`` lists the stages that it goes through.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Mapping
from datetime import datetime, tzinfo
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from lib.core import calendar, schedule
from lib.core.enums import JobFrequency, Status
from lib.core.jobs import CatalogEntry, FileScan, Job, JobKey
from lib.core.records import Record, RunRecord
from lib.core.results import JobReport, Timing
from lib.core.schedule import Due
from lib.core.settings import Problem, Settings
from lib.runner.firstruns import KnownJobs
from lib.runner.manager import LostJob, WorkerManager, order_by
from lib.storage.auditlog import AuditLog
from lib.storage.lost import RUN
from lib.storage.session import StoreSession
from lib.storage.store import (
    BUNDLES,
    INBOX,
    TEMPLATES,
    Catalog,
    Measured,
    Remembered,
    State,
    last_runs,
)
from lib.system.clock import since_boot
from lib.workers.worker import Order

if TYPE_CHECKING:
    from lib.alerting.dispatcher import Dispatcher
    from lib.core.dependencies import Dependencies
    from lib.core.silences import Silences
    from lib.runner.requests import Taken
    from lib.storage.historyrows import Results
    from lib.system.process import Child

logger = logging.getLogger(__name__)

#: A run ends within this, so that one lock suffices and is never stale.
RUN_S = 55.0
#: The front page in its folder.
PAGE = "index.html"
#: Jobs get this much of it; the rest is for their mails.
JOBS_S = 50.5


class Stop:
    """Whether somebody asked the run to end: SIGTERM, or Ctrl-C."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def _ask(self, number: int, _frame: FrameType | None) -> None:
        if not self.asked:
            logger.warning("%s: the run ends early", signal.Signals(number).name)
        self.asked = True


class Reach(msgspec.Struct, eq=False):
    """What a run knows of what can be reached."""

    #: The reports that came just now.
    new: list[JobReport] = []
    #: Those that wait, by what is to be known before they are judged.
    waiting: dict[JobKey, list[JobReport]] = {}
    #: The jobs of both.
    unjudged: set[JobKey] = set()
    #: Asks the anchors; None before and after that.
    child: Child | None = None
    #: Why no anchor answers, by each; empty: one does.  None: they were not asked.
    silent: dict[str, str] | None = None
    #: The run has to end before one has answered, or all have had their time.
    is_cut_short: bool = False
    #: When one was found to answer, after this machine had been blind.
    sees_since: datetime | None = None


class RunContext(msgspec.Struct, eq=False, kw_only=True):
    """What the stages of one run work with."""

    settings: Settings
    #: Nothing is written or sent once its writer is frozen.
    state: State
    now: Callable[[], datetime]
    stop: Stop
    began_at: datetime
    #: By the monotonic clock: the end of the run, and of the time for its jobs.
    ends_at: float
    jobs_end_at: float
    #: What is due, and the frequencies that were missed.
    due: Due
    missed: frozenset[JobFrequency]
    #: run.json, as it is on disk once the run has begun.
    run: RunRecord
    #: Whether it could be read what earlier runs have kept.
    is_read: bool
    #: The records, and what has changed of them.
    session: StoreSession
    #: What was decided, on its way to the file.
    audit_log: AuditLog
    #: The jobs that the last runs met, and when each job file was loaded.
    catalog: Mapping[JobKey, CatalogEntry]
    scans_before: Mapping[str, FileScan]
    #: Which jobs are still to have their first run.
    known_jobs: KnownJobs
    workers: WorkerManager
    #: The older program's state file, if it was read by now.
    old_statefile: str
    #: Whether a bundle is on disk, which may have to be sent again or removed.
    has_bundles: bool
    #: With --nomail: the ids of the messages that were queued before this run.
    queued_before: frozenset[str]

    #: Run just these jobs, due or not: -m check; None: those that are due.
    only: frozenset[JobKey] | None = None
    #: With ``only``: what was reported of them.
    reports: list[JobReport] = []
    #: What the jobs of each folder depend on, as it was before any file is loaded.
    marks: dict[str, str] = {}
    #: The job files that were loaded in this run, or need not be.
    scans: dict[str, FileScan] = {}
    #: The names of those that this run loaded, if no job of theirs can be missing.
    loaded: set[str] = set()
    #: The names of those some of whose jobs may be missing.
    partial: set[str] = set()
    #: The jobs that run because no run has met them before.
    first_runs: dict[JobKey, Job] = {}
    #: All jobs, by key, due or not.
    met: dict[JobKey, Job] = {}
    #: The catalog to save, once all is judged.
    catalog_now: dict[JobKey, CatalogEntry] | None = None
    #: Those that were judged; one of Checker's own only if it is not OK.
    judged: dict[JobKey, Status] = {}
    #: What they measured.
    measured: Measured = msgspec.field(default_factory=Measured)
    #: What those that are OK say beside it, by key.
    notes: dict[JobKey, str] = {}
    #: Jobs whose workers were stopped before they were done.
    unfinished: list[LostJob] = []
    #: Files of spools that were read, to be removed after the commit.
    consumed: list[str] = []
    #: What goes into the history; None: nothing yet.
    results: Results | None = None
    #: Of how many jobs alerts may still show their last 24 hours: each is a reading of
    #: some 20 ms, and a storm has no time for hundreds.
    trends_left: int = 20
    #: How long each check took, if there are summaries.
    timings: list[Timing] | None = None
    #: What people asked for, applied; None: nothing, and nothing is silent.
    requests: Taken | None = None
    #: Whether what follows from all results was done.
    has_reviewed: bool = False
    #: Whether orphans of job code become children of this process.
    adopts: bool = False
    #: What can be reached; None until a report asks.
    reach: Reach | None = None
    #: What depends on what, and which jobs were met when that was made: how many, and
    #: whether all.
    known_dependencies: tuple[tuple[int, bool], Dependencies] | None = None
    #: Whether anything depends on another, likewise.
    known_depends: tuple[int, bool] | None = None
    #: How long this machine has been up, in seconds.
    since_boot: Callable[[], float] = since_boot
    #: What holds alerts back; None: nothing does.
    silences: Silences | None = None
    #: None until there is something to send.
    dispatcher: Dispatcher | None = None

    @classmethod
    def open(
        cls,
        settings: Settings,
        state: State,
        ordered: JobFrequency,
        now: Callable[[], datetime],
        stop: Stop,
        only: frozenset[JobKey] | None = None,
    ) -> RunContext:
        """Return the context of a run that begins now, and holds the lock.

        With ``only`` it runs just these jobs, and does not count as a run of cron's.
        What cannot be read freezes the state folder; raise NewerState if a file is of
        a newer Checker.
        """
        started, began_at = time.monotonic(), now()
        settings = _with_templates(settings)
        state.clear_leftovers()
        read = state.writer.read_or_freeze
        nothing, no_catalog = Remembered(), Catalog()
        remembered = read(state.load, nothing)
        is_read = remembered is not nothing
        remembered = state.with_read_again(remembered, began_at)
        before = remembered.run
        older = _older_records(settings, remembered)
        unclaimed = tuple(record for record in older or () if record.failures)
        session = StoreSession(state, remembered, unclaimed, began_at)
        whole = read(state.load_whole_catalog, no_catalog)
        is_read = is_read and whole is not no_catalog and not state.why_not_known()
        if is_read and before == RunRecord() and RUN not in remembered.lost:
            _say_if_there_was_one(settings)
        catalog, scans = whole.jobs, whole.scans
        known_jobs = KnownJobs.of(whole, before, settings.mail)
        if whole.is_lost and (RUN in remembered.lost or state.writer.frozen):
            known_jobs = replace(known_jobs, is_lost=True)
        requests = _requests(settings, session, catalog, began_at)
        silences = _silences(requests, session, catalog, before, settings.zone)
        due = schedule.Due()
        if only is None:
            due = schedule.due_in(ordered, last_runs(before), began_at, settings.zone)
            if requests is not None and requests.checks:
                due = replace(due, asked=requests.checks)
        skips, skipped_at = state.take_skips(before.skipped_at)
        run = replace(
            before,
            skipped=before.skipped + skips,
            skipped_at=skipped_at or before.skipped_at,
        )
        if run.blind_since is not None and run.blind_since > began_at:
            # The clock was set back.
            run = replace(run, blind_since=began_at)
        if only is None:
            run = replace(run, began_at=began_at, ordered=ordered)
        return cls(
            settings=settings,
            state=state,
            now=now,
            stop=stop,
            began_at=began_at,
            ends_at=started + RUN_S,
            jobs_end_at=started + JOBS_S,
            due=due,
            missed=due.frequencies - set(schedule.INCLUDES[ordered]),
            run=run,
            is_read=is_read,
            session=session,
            audit_log=AuditLog(settings.state, settings.secrets),
            catalog=catalog,
            scans_before=scans,
            known_jobs=known_jobs,
            workers=WorkerManager(
                settings.ini,
                _order(settings, session, catalog, due, state, now, silences, only),
            ),
            old_statefile=(
                before.old_statefile if older is None else str(settings.old_statefile)
            ),
            has_bundles=_has_files(settings.state / BUNDLES),
            queued_before=_queued(session) if settings.mail.holds else frozenset(),
            timings=_timings(settings) if only is None else None,
            requests=requests,
            silences=silences,
            only=only,
            # That is left to the next run of cron's, which meets all jobs.
            has_reviewed=only is not None,
        )

    @property
    def is_discovery_whole(self) -> bool:
        """Return whether all jobs are known: each job file can be loaded whole."""
        return not (
            self.partial
            or any(
                (key.is_file or key.is_refused_file) and status is not Status.OK
                for key, status in self.judged.items()
            )
        )

    @property
    def has_depends(self) -> bool:
        """Return whether any job that is known by now depends on another."""
        if self.known_depends is None or self.known_depends[0] != len(self.met):
            has = any(job.depends for job in self.met.values()) or any(
                entry.depends for entry in self.catalog.values()
            )
            self.known_depends = len(self.met), has
        return self.known_depends[1]

    def dependencies(self) -> Dependencies:
        """Return what depends on what, of the jobs that are known by now."""
        state = len(self.met), self.has_met_all
        if self.known_dependencies is None or self.known_dependencies[0] != state:
            from lib.core.dependencies import Dependencies, Dependent

            # Without those that are gone since the last run.
            jobs: dict[JobKey, Dependent] = {} if state[1] else dict(self.catalog)
            for key, job in self.met.items():
                if key.is_check:
                    jobs[key] = job
                    if job.key_before in jobs and job.key_before not in self.met:
                        # Another one by now.
                        del jobs[job.key_before]
            self.known_dependencies = state, Dependencies(jobs)
        return self.known_dependencies[1]

    @property
    def has_met_all(self) -> bool:
        """Return whether this run has met each job that there is."""
        is_over = self.workers.is_done and not self.stop.asked
        return is_over and self.only is None and self.is_discovery_whole

    @property
    def has_waiting(self) -> bool:
        """Return whether reports wait until it is known what can be reached."""
        return self.reach is not None and bool(self.reach.unjudged)

    @property
    def is_frozen(self) -> bool:
        """Return whether nothing is written or sent any more."""
        return bool(self.state.writer.frozen)


def files_for_people(settings: Settings) -> dict[str, str]:
    """Return the files that runs write for others, by the option that names them."""
    page = settings.page
    folders = {"[page] write": page.write, "[page] public_write": page.public_write}
    files = {option: f"{folder}/{PAGE}" for option, folder in folders.items() if folder}
    if settings.metrics.write:
        files["[metrics] write"] = settings.metrics.write
    return files


def _say_if_there_was_one(settings: Settings) -> None:
    """Say that state begins anew, if files for people show that there was some."""
    from lib.report.ours import was_written

    for option, path in files_for_people(settings).items():
        if was_written(Path(path)):
            logger.error(
                "the state folder %s is empty, though %s was written before (%s); all "
                "begins anew: is its disk mounted?",
                settings.state,
                path,
                option,
            )
            return


def _with_templates(settings: Settings) -> Settings:
    """Return the settings, and what was wrong when pages were last made of templates.

    They are made after a run, so the next one tells of it.
    """
    if not settings.page.templates:
        return settings
    try:
        content = (settings.state / TEMPLATES).read_bytes()
        lines = msgspec.json.decode(content, type=list[str])
    except (OSError, ValueError):
        # No page has been made yet, or the next one says so anew.
        return settings
    where = settings.ini.where("page", "templates")
    problems = (Problem(f"templates: {line}", where, "page") for line in lines)
    return replace(settings, problems=(*settings.problems, *problems))


def _has_files(folder: Path) -> bool:
    try:
        return bool(os.listdir(folder))
    except OSError:
        # It does not exist yet, or writing into it gives the error.
        return False


def _older_records(
    settings: Settings, remembered: Remembered
) -> tuple[Record, ...] | None:
    """Return the older program's records; None if they are not read in this run."""
    path, run = settings.old_statefile, remembered.run
    if path is None or str(path) == run.old_statefile:
        return None
    from lib.config.older import read_state

    if RUN in remembered.lost:
        # What the file says of a job may have been overtaken long ago.
        logger.warning("statefile %s is not read again: run.json was lost", path)
        return ()
    return read_state(path)


def _timings(settings: Settings) -> list[Timing] | None:
    is_on = any(calendar.is_on(settings.summary, kind) for kind in calendar.KINDS)
    return [] if is_on else None


def _requests(
    settings: Settings,
    session: StoreSession,
    catalog: Mapping[JobKey, CatalogEntry],
    now: datetime,
) -> Taken | None:
    """Return what the requests come to, their acknowledgements kept in the session."""
    notes = session.notes
    is_silent = notes.mutes or notes.applied or settings.maintenance
    if not (is_silent or _has_files(settings.state / INBOX)):
        return None
    from lib.runner import requests

    taken = requests.take(settings, notes, catalog, session.records, now)
    for record in taken.records:
        session.keep(record)
    return taken


def _silences(
    requests: Taken | None,
    session: StoreSession,
    catalog: Mapping[JobKey, CatalogEntry],
    before: RunRecord,
    zone: tzinfo | None,
) -> Silences | None:
    """Return what holds alerts back, jobs out of reach included; None: nothing does."""
    silences = requests.silences if requests is not None else None
    records = session.records
    if not any(record.is_out_of_reach for record in records.values()):
        return silences
    from lib.core.dependencies import out_of_reach
    from lib.core.silences import Silences

    last, is_blind = last_runs(before), before.blind_since is not None

    def ok_at(key: JobKey) -> datetime | None:
        entry, record = catalog.get(key), records.get(key)
        return schedule.ok_by_record(key, entry, record, last, zone)

    keys = out_of_reach(records, catalog, ok_at, is_blind=is_blind)
    return replace(silences or Silences(), out_of_reach=keys)


def _order(
    settings: Settings,
    session: StoreSession,
    catalog: Mapping[JobKey, CatalogEntry],
    due: Due,
    state: State,
    now: Callable[[], datetime],
    silences: Silences | None,
    only: frozenset[JobKey] | None,
) -> Order:
    return order_by(
        settings,
        due=due,
        only=only,
        known=replace(session.known, stored=dict(session.records)),
        had_jobs=frozenset(key.file for key in (*catalog, *session.records)),
        # Messages of hooks could not be saved.
        notifies=not state.writer.frozen,
        silences=silences,
        now=now,
    )


def _queued(session: StoreSession) -> frozenset[str]:
    return frozenset(
        message.message_id
        for record in session.records.values()
        for message in record.queued
    )

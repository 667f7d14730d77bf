"""Imports and runs job code, in a process of its own that may be killed.

A worker loads its job files, reports which jobs they define, and runs those that are
due.  Its messages are in ``lib/workers/protocol.py``, its threads in
``lib/workers/pool.py``.
"""

from __future__ import annotations

import faulthandler
import gc
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from lib.core.ini import IniFile
from lib.core.jobs import Job, JobFile, JobKey, KindInfo
from lib.core.records import KnownRecords, Record
from lib.core.schedule import Due, is_due, is_wanted
from lib.core.secret import Secrets
from lib.core.settings import Limits, Mail, Problem
from lib.system.clock import utc_now
from lib.system.process import MAX_PRINTED, Emit
from lib.workers import protocol

if TYPE_CHECKING:
    from lib.core.silences import Silences
    from lib.plugins.discover import Discovered, LoadedJob
    from lib.workers.output import OutputCapture


#: How many new objects cause a garbage collection, and how many of these one of older
#: objects, too.
COLLECT_AFTER, COLLECT_AFTER_MORE = 20_000, 50
#: The limit for a hook, which only composes a mail.
HOOK_TIMEOUT_S = 10.0


class Order(msgspec.Struct, frozen=True):
    """What a worker does, and the data it needs."""

    due: Due = Due()
    #: What the record of each job is.
    known: KnownRecords = KnownRecords()
    #: The names of the job files that had a job, or were failing, in earlier runs.
    had_jobs: frozenset[str] = frozenset()
    contact: tuple[str, ...] = ()
    secrets: Secrets = Secrets()
    #: Run exactly these jobs, due or not; None: the jobs that are due.
    only: frozenset[JobKey] | None = None
    #: Execute jobs; False: only say which there are, and which cannot run.
    executes: bool = True
    #: Call the hooks; False for -m run.
    notifies: bool = True
    #: Describe the kinds in the files, for people.
    describes: bool = False
    #: For -m validate: what is right and hardly meant so is a problem, too.
    advises: bool = False
    hook_timeout_s: float = HOOK_TIMEOUT_S
    limits: Limits = Limits()
    #: The settings for mail, for the jobs that ship with Checker.
    mail: Mail | None = None
    #: For the times in their mails.
    zone: tzinfo | None = None
    #: Where the daemon puts the pings that it takes.
    pings: str = ""
    #: What holds alerts back; None: nothing does.
    silences: Silences | None = None
    #: The run's clock, which decides what is due; job code uses the machine's clock.
    now: Callable[[], datetime] = utc_now


def prepare(files: Iterable[JobFile]) -> None:
    """Import what the workers of these files need before they are forked; no job code.

    People's own jobs get the settings as a ConfigParser.
    """
    if not all(file.ships for file in files):
        import configparser  # noqa: F401
    import lib.plugins.legacy  # noqa: F401
    import lib.system.limits  # noqa: F401
    import lib.workers.pool  # noqa: F401


def work(
    files: tuple[JobFile, ...],
    ini: IniFile,
    order: Order,
    emit: Emit,
) -> None:
    """Load ``files``, report their jobs, and run those that ``order`` asks for."""
    from lib.system.limits import hold, open_as_many_files_as_allowed
    from lib.workers.output import OutputCapture

    hold(order.limits)
    if all(file.ships for file in files):
        open_as_many_files_as_allowed()
    # A garbage collection would copy the memory shared with the supervisor.
    gc.freeze()
    # Thousands of targets are no garbage; looking for cycles among them takes long.
    gc.set_threshold(COLLECT_AFTER, COLLECT_AFTER_MORE)
    gc.enable()
    capture = OutputCapture()
    # After a crash in C, the output ends with the line of the job.
    faulthandler.enable(capture.outside, all_threads=False)
    _keep_log(capture)
    try:
        _load_and_run(files, ini, order, emit, capture)
    except BaseException:
        # The last words of this process, which nobody would be there to pass on.
        capture.release()
        raise


def _load_and_run(
    files: tuple[JobFile, ...],
    ini: IniFile,
    order: Order,
    emit: Emit,
    capture: OutputCapture,
) -> None:
    from lib.workers.pool import Rules, TaskPool

    warnings: list[str] = []
    problems: list[Problem] = []
    kinds: list[KindInfo] = []
    partial: list[str] = []
    wanted: list[LoadedJob] = []
    for file in files:
        discovered = _load(file, ini, order, capture)
        if discovered.warning:
            warnings.append(discovered.warning)
        problems += discovered.problems
        if order.advises:
            problems += _advice(discovered, order)
        if not discovered.is_whole:
            partial.append(file.name)
        if order.describes and discovered.table is not None:
            kinds.append(discovered.table.info(str(file.path)))
        if order.describes and not file.ships:
            warnings += _misspelt_hooks(file)
        wanted += _announce((discovered.file, *discovered.jobs), order, emit)
        del discovered
    # All that jobs are made of has been read.
    ini.pack()
    emit(protocol.loaded(warnings, problems, kinds, partial))
    if order.known.any_pending:
        # A job that is pending since the last run comes first.
        wanted.sort(key=lambda loaded: not order.known.of(loaded.job).pending)
    rules = Rules(
        secrets=order.secrets,
        notifies=order.notifies,
        hook_timeout_s=order.hook_timeout_s,
        silences=order.silences,
        due=order.due,
        now=order.now,
    )
    pool = TaskPool(
        wanted, lambda loaded: order.known.of(loaded.job), rules, emit, capture
    )
    # So that the memory of each job is freed as soon as the job is done.
    del wanted
    pool.run()
    emit(protocol.END)


def _advice(discovered: Discovered, order: Order) -> Iterator[Problem]:
    """Yield what kinds advise about their targets and what the last run remembered."""
    from lib.core.encoding import plain_memory
    from lib.core.sanitize import fit
    from lib.plugins.errors import REASON_TEXT_LENGTH
    from lib.plugins.target import TargetJob

    for loaded in discovered.jobs:
        job = loaded.instance
        if isinstance(job, TargetJob):
            memory = plain_memory(dict(order.known.of(loaded.job).memory))
            for text in job.advice_of_last_run(job.target, memory):
                yield Problem(
                    fit(text, order.secrets, REASON_TEXT_LENGTH),
                    job._ini.where(job.target.title),
                    job.target.title,
                    warning=True,
                )


def _announce(jobs: Sequence[LoadedJob], order: Order, emit: Emit) -> list[LoadedJob]:
    """Report which jobs there are; return those that are to run."""
    wanted = [loaded for loaded in jobs if _is_wanted(loaded, order)]
    keys = {loaded.job.key for loaded in wanted}
    for frame in protocol.jobs([loaded.job for loaded in jobs], keys):
        emit(frame)
    return wanted


def _misspelt_hooks(file: JobFile) -> list[str]:
    from lib.plugins.discover import module_of
    from lib.plugins.inspect import misspelt_hooks

    module = module_of(file)
    return list(misspelt_hooks(module)) if module else []


def _load(
    file: JobFile,
    ini: IniFile,
    order: Order,
    capture: OutputCapture,
) -> Discovered:
    """Return the job that stands for a file, and the jobs in it."""
    from lib.core import sanitize
    from lib.core.text import paragraphs, printed_part
    from lib.plugins import legacy
    from lib.plugins.discover import discover
    from lib.workers.output import KeptOutput

    kept = KeptOutput()
    capture.begin(kept)
    legacy.build(file.path.parent)
    discovered = discover(
        file,
        ini,
        order.contact,
        order.secrets,
        formerly=bool(order.known.unclaimed),
        advises=order.advises,
        describes=order.describes,
        had_jobs=file.name in order.had_jobs,
    )
    capture.end(kept)
    if file.ships:
        for loaded in discovered.jobs:
            if loaded.instance is not None:
                context = loaded.instance._checker
                context.mail = order.mail
                context.zone = order.zone
                context.pings = order.pings
                context.ini = ini
                context.known_secrets = order.secrets
                context.is_trial = not order.notifies
    if not discovered.file.problem:
        return discovered
    capture.drain()
    text = sanitize.fit(kept.text, order.secrets, MAX_PRINTED)
    printed = printed_part(text)
    output = paragraphs(discovered.file.output, printed)
    return replace(discovered, file=replace(discovered.file, output=output))


def _is_wanted(loaded: LoadedJob, order: Order) -> bool:
    job = loaded.job
    if order.only is not None:
        return job.key in order.only
    if not job.enabled:
        return False
    # A job that cannot run is failing in every run, whatever its schedule.
    if loaded.problem or not order.executes:
        return bool(loaded.problem)
    # As most are in most runs, whatever is remembered of them.
    if is_due(job.schedule, job.key, order.due):
        return True
    record = order.known.of(job)
    if is_wanted(job, record, order.due):
        return True
    return record.held is not None and _is_held_no_longer(job, record, order)


def _is_held_no_longer(job: Job, record: Record, order: Order) -> bool:
    from lib.core.silences import has_ended

    return has_ended(record, job.name, job.tags, order.silences, order.due.now)


#: The supervisor's handlers.  Kept, since freeing them would close descriptors whose
#: numbers may be in use for something else.
_log_before: list[logging.Handler] = []


def _keep_log(capture: OutputCapture) -> None:
    """Send what job code logs to ``capture``."""
    from lib.workers.output import JobLog

    root = logging.getLogger()
    _log_before.extend(root.handlers)
    root.handlers = [JobLog(capture)]
    root.setLevel(logging.INFO)

"""Imports and runs job code, in a process that may be killed.

One worker loads its job files, says which jobs they hold, and runs those that are
due.  What it says is in ``lib/workers/protocol.py``, how it runs them in
``lib/workers/pool.py``.
"""

from __future__ import annotations

import configparser
import faulthandler
import gc
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from lib.core.enums import JobFrequency
from lib.core.jobs import JobFile, JobKey, OldEntry
from lib.core.policy import is_due, record_of
from lib.core.records import Record
from lib.core.settings import Limits, Mail
from lib.system.process import MAX_PRINTED, Emit
from lib.workers import protocol

if TYPE_CHECKING:
    from lib.plugins.discover import Found
    from lib.workers.output import OutputCapture


#: A hook composes a mail; what takes longer is stuck, and the default mail goes out.
HOOK_TIMEOUT_S = 10.0


def utc_now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Order:
    """What a worker is to do."""

    due: frozenset[JobFrequency] = frozenset()
    records: Mapping[JobKey, Record] = field(default_factory=dict)
    #: File stems of records that were lost or damaged.
    lost: frozenset[str] = frozenset()
    old_entries: tuple[OldEntry, ...] = ()
    contact: tuple[str, ...] = ()
    secrets: tuple[str, ...] = field(default=(), repr=False)
    #: Run these jobs and no others, due or not; None: those that are due.
    only: frozenset[JobKey] | None = None
    #: Call the hooks; not where people only want to look.
    notifies: bool = True
    hook_timeout_s: float = HOOK_TIMEOUT_S
    limits: Limits = Limits()
    #: How mail leaves and arrives, for the jobs that ship.
    mail: Mail | None = field(default=None, repr=False)
    #: The run's clock, by which jobs are judged; what they do goes by the machine's.
    now: Callable[[], datetime] = utc_now


def prepare() -> None:
    """Import what each worker needs, so that they all share it.  No job code yet."""
    import lib.plugins.legacy  # noqa: F401  # noqa: F401
    import lib.system.limits  # noqa: F401  # noqa: F401
    import lib.workers.pool  # noqa: F401  # noqa: F401


def work(
    files: tuple[JobFile, ...],
    config: configparser.ConfigParser,
    order: Order,
    emit: Emit,
) -> None:
    """Load ``files``, tell which jobs they hold, run those the order names."""
    from lib.system.limits import hold
    from lib.workers.output import OutputCapture
    from lib.workers.pool import Rules, TaskPool

    hold(order.limits)
    # To look through what the supervisor made would be to copy it.
    gc.freeze()
    printing = OutputCapture()
    # A crash in C says in which line of the job it was, as its last words.
    faulthandler.enable(printing.outside, all_threads=False)
    _keep_log(printing)
    warnings: list[str] = []
    wanted: list[Found] = []
    for file in files:
        wanted += _told(_load(file, config, order, printing, warnings), order, emit)
    emit(protocol.loaded(warnings))
    # A job that was left over from the last run comes first.
    wanted.sort(key=lambda one: not _record(one, order).pending)
    rules = Rules(
        order.secrets,
        order.notifies,
        hook_timeout_s=order.hook_timeout_s,
        now=order.now,
    )
    bench = TaskPool(wanted, lambda one: _record(one, order), rules, emit, printing)
    # From here on each job is let go of as it is done.
    del wanted
    bench.run()
    emit(protocol.END)


def _told(jobs: Sequence[Found], order: Order, emit: Emit) -> list[Found]:
    """Tell which jobs there are; return those that are to run."""
    wanted = [one for one in jobs if _is_wanted(one, _record(one, order), order)]
    keys = {one.facts.key for one in wanted}
    for frame in protocol.jobs([one.facts for one in jobs], keys):
        emit(frame)
    return wanted


def _load(
    file: JobFile,
    config: configparser.ConfigParser,
    order: Order,
    printing: OutputCapture,
    warnings: list[str],
) -> tuple[Found, ...]:
    """Return the jobs of a file, itself the first."""
    from lib.core import sanitize
    from lib.core.text import paragraphs, printed_part
    from lib.plugins import legacy
    from lib.plugins.discover import discover
    from lib.workers.output import KeptOutput

    kept = KeptOutput()
    printing.begin(kept)
    legacy.build(file.path.parent)
    formerly = bool(order.old_entries)
    found = discover(file, config, order.contact, order.secrets, formerly=formerly)
    printing.end(kept)
    if found.warning:
        warnings.append(found.warning)
    if file.ships:
        for one in found.jobs:
            if one.job is not None:
                one.job._checker.mail = order.mail
                one.job._checker.is_trial = not order.notifies
    if not found.file.trouble:
        return (found.file, *found.jobs)
    printing.drain()
    text = sanitize.fit(kept.text, order.secrets, MAX_PRINTED)
    printed = printed_part(text)
    output = paragraphs(found.file.output, printed)
    return (replace(found.file, output=output), *found.jobs)


def _record(found: Found, order: Order) -> Record:
    facts = found.facts
    return record_of(
        facts.key,
        order.records,
        order.lost,
        facts.formerly,
        order.old_entries,
        facts.contact,
    )


def _is_wanted(found: Found, record: Record, order: Order) -> bool:
    if order.only is not None:
        return found.facts.key in order.only
    # What cannot run says so each minute, whatever it asked for.
    return bool(found.trouble) or is_due(found.facts.frequency, record, order.due)


#: The supervisor's: not to be let go, for that would close descriptors by numbers
#: that are others' by now.
_log_before: list[logging.Handler] = []


def _keep_log(printing: OutputCapture) -> None:
    """Have what job code logs kept with what it prints."""
    from lib.workers.output import JobLog

    root = logging.getLogger()
    _log_before.extend(root.handlers)
    root.handlers = [JobLog(printing)]
    root.setLevel(logging.INFO)

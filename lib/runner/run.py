"""One run as cron starts it: the lock and the exit code."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from lib.core.enums import JobFrequency
from lib.core.settings import Settings
from lib.runner.supervisor import RUN_S, Stop, Supervisor
from lib.storage.lock import Holder
from lib.storage.store import State
from lib.system.clock import utc_now
from lib.system.errors import StateError

logger = logging.getLogger(__name__)


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
        Supervisor(settings, state, ordered, now, stop).carry_out()
    except StateError as error:
        logger.error("%s", error)
        return 1
    finally:
        # Of one that is killed the kernel takes it back.
        state.unlock()
    return int(bool(state.writer.frozen))


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

"""state/slowest.json: which checks took longest since the last summary of each kind.

Nothing is judged by it, so it is written without fsync: after a power cut it may be
made anew.  It is written only when a check was slower than one of those in it.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from lib.core.encoding import Stored
from lib.core.jobs import JobKey
from lib.core.results import Timing
from lib.storage.codec import packed, read_value
from lib.system.errors import StateError
from lib.system.files import Damaged, replace_softly

logger = logging.getLogger(__name__)

NAME = "slowest.json"
#: As many as a summary names.
MOST = 5


class SlowestChecks(Stored, frozen=True):
    """The slowest checks, one by one the slowest first."""

    daily: tuple[Timing, ...] = ()
    weekly: tuple[Timing, ...] = ()


def merged(those: Iterable[Timing], since: datetime) -> tuple[Timing, ...]:
    """Return the slowest of them after a moment, of each job its slowest time."""
    by_key: dict[JobKey, Timing] = {}
    for one in those:
        known = by_key.get(one.key)
        if one.at >= since and (known is None or one.seconds > known.seconds):
            by_key[one.key] = one
    return tuple(heapq.nlargest(MOST, by_key.values(), key=lambda one: one.seconds))


def read(folder: Path) -> SlowestChecks:
    """Return what is on file; nothing if that is lost."""
    try:
        return read_value(folder / NAME, SlowestChecks)
    except FileNotFoundError:
        return SlowestChecks()
    except (Damaged, StateError) as error:
        logger.info("%s: %s; it is made anew", folder / NAME, error)
        return SlowestChecks()


def write(folder: Path, slowest: SlowestChecks) -> None:
    """Replace what is on file; where that fails, the run goes on."""
    try:
        replace_softly(folder / NAME, packed(slowest))
    except StateError as error:
        logger.warning("%s; the run goes on", error)

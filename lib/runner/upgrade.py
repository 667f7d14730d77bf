"""The state file of the older public Checker, read once at an upgrade.

One job a line: ``base64 of its name|Succeeding or Failing|first failure|last
notify|friendly name|failures in a row``, times in seconds since 1970, 0 for never.
The oldest versions wrote fewer columns.  It is never changed.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from lib.core.jobs import OldEntry
from lib.core.records import RunRecord
from lib.system.files import Damaged, read_capped

logger = logging.getLogger(__name__)


def read_once(
    path: Path | None, run: RunRecord, *, run_is_lost: bool = False
) -> tuple[OldEntry, ...] | None:
    """Return what the older program remembered; None if it is not, or not yet, read.

    Where ``run``, which says whether it was read, is lost, it counts as read: what it
    says of a job may have been overtaken long ago.
    """
    if path is None or str(path) == run.old_statefile:
        return None
    if run_is_lost:
        logger.warning("statefile %s is not read again: run.json was lost", path)
        return ()
    return read_old_state(path)


def read_old_state(path: Path) -> tuple[OldEntry, ...] | None:
    """Return what the older program remembered; None if there is no such file.

    A line that cannot be read is named in a warning and left out.
    """
    try:
        # It is the user's own, and may be a symbolic link.
        text = read_capped(path.resolve()).decode("utf-8", "replace")
    except FileNotFoundError:
        return None
    except (OSError, Damaged) as error:
        logger.error("statefile %s cannot be read: %s", path, error)
        return None
    return tuple(_entries(path, text))


def _entries(path: Path, text: str) -> Iterator[OldEntry]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            yield _entry(line.strip())
        except ValueError as error:
            logger.warning("%s:%d is left out, it is no state: %s", path, number, error)


def _entry(line: str) -> OldEntry:
    columns = line.split("|")
    if len(columns) < 4:
        raise ValueError(f"it has {len(columns)} columns, and not 4 or more")
    if columns[1] not in ("Succeeding", "Failing"):
        raise ValueError(f"{columns[1][:40]!r} is neither Succeeding nor Failing")
    return OldEntry(
        name=_decoded(columns[0]),
        failing=columns[1] == "Failing",
        failing_since=_moment(columns[2]),
        notified_at=_moment(columns[3]),
        # The last one, since there may be a | in the name before it.
        failures=_count(columns[-1]) if len(columns) > 5 else 1,
    )


def _decoded(name: str) -> str:
    try:
        return base64.b64decode(name, validate=True).decode("utf-8")
    except ValueError as error:
        raise ValueError(f"its first column is not base64 ({error})") from error


def _count(text: str) -> int:
    if not 0 <= int(text) < 1e9:
        raise ValueError(f"{text[:40]!r} is no count of failures")
    return int(text)


def _moment(text: str) -> datetime | None:
    """Return a time; None for never.  Some thousand years ahead is no time."""
    seconds = float(text)
    if not 0 <= seconds < 1e11:
        raise ValueError(f"{text[:40]!r} is no time in seconds")
    return datetime.fromtimestamp(seconds, UTC) if seconds else None

"""What the older public Checker left, converted once: its names and its state file.

Everything else sees only new names and records.  What the older program's job files
expect is in ``lib/plugins/legacy.py``.

The state file has one job a line: ``base64 of its name|Succeeding or Failing|first
failure|last notify|friendly name|failures in a row``, times in seconds since 1970, 0
for never.  The oldest versions wrote fewer columns.  It is never changed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from lib.core.enums import Status
from lib.core.jobs import JobKey
from lib.core.records import Record
from lib.system.files import Damaged, read_capped

logger = logging.getLogger(__name__)

#: Old names of sections, and the present ones.
SECTIONS = {"digest": "summary"}
#: Files in its job folder that are no jobs; ``lib/plugins/legacy.py`` replaces them.
NO_JOBS = frozenset({"JobBase", "JobSpawner"})


def read_state(path: Path) -> tuple[Record, ...] | None:
    """Return the records of all jobs, under their older names; None for no file.

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
    return tuple(_records(path, text))


def _records(path: Path, text: str) -> Iterator[Record]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            yield _record(line.strip())
        except ValueError as error:
            logger.warning("%s:%d is left out, it is no state: %s", path, number, error)


def _record(line: str) -> Record:
    columns = line.split("|")
    if len(columns) < 4:
        raise ValueError(f"it has {len(columns)} columns, and not 4 or more")
    if columns[1] not in ("Succeeding", "Failing"):
        raise ValueError(f"{columns[1][:40]!r} is neither Succeeding nor Failing")
    name, failing_since = _decoded(columns[0]), _moment(columns[2])
    notified_at = _moment(columns[3])
    # The last one, since there may be a | in the name before it.
    failures = _count(columns[-1]) if len(columns) > 5 else 1
    # No job of now is known yet.
    if columns[1] == "Succeeding":
        return Record(JobKey(""), name)
    return Record(
        JobKey(""),
        name,
        Status.FAILING,
        failures=max(1, failures),
        failing_since=failing_since,
        notified_at=notified_at,
        notified_status=Status.FAILING if notified_at else None,
        last_reason="it was failing when the older program last ran",
    )


def _decoded(name: str) -> str:
    import base64

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

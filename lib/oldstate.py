"""The state file of the older public Checker, read once at an upgrade.

One job a line: ``base64 of its name|Succeeding or Failing|first failure|last
notify|friendly name|failures in a row``, times in seconds since 1970, 0 for never.
The oldest versions wrote fewer columns.
"""

from __future__ import annotations

import base64
import binascii
import logging
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from lib.disk import Damaged, read_capped
from lib.model import JobFacts, OldEntry

logger = logging.getLogger(__name__)


def read_old_state(path: Path) -> tuple[OldEntry, ...] | None:
    """Return what the older program remembered; None if there is no such file.

    A line that cannot be read is named in a warning and left out.
    """
    try:
        text = read_capped(path).decode("utf-8", "replace")
    except FileNotFoundError:
        return None
    except (OSError, Damaged) as error:
        logger.warning("statefile %s cannot be read: %s", path, error)
        return None
    return tuple(_entries(path, text))


def _entries(path: Path, text: str) -> Iterator[OldEntry]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            yield _entry(line.strip())
        except (ValueError, IndexError, OverflowError, OSError) as error:
            logger.warning("%s:%d is left out, it is no state: %s", path, number, error)


def _entry(line: str) -> OldEntry:
    columns = line.split("|")
    if columns[1] not in ("Succeeding", "Failing"):
        raise ValueError(f"{columns[1][:40]!r} is neither Succeeding nor Failing")
    return OldEntry(
        name=_decoded(columns[0]),
        failing=columns[1] == "Failing",
        failing_since=_moment(columns[2]),
        told_at=_moment(columns[3]),
        failures=max(0, int(columns[5])) if len(columns) > 5 else 1,
    )


def _decoded(name: str) -> str:
    try:
        return base64.b64decode(name, validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ValueError(f"its first column is not base64 ({error})") from error


def _moment(seconds: str) -> datetime | None:
    return datetime.fromtimestamp(float(seconds), UTC) if float(seconds) > 0 else None


def warn_of_strangers(entries: Iterable[OldEntry], jobs: Iterable[JobFacts]) -> None:
    """Name the jobs that were failing then and that no job of today is."""
    from fnmatch import fnmatchcase

    entries = [entry for entry in entries if entry.failing]
    patterns = [job.formerly for job in jobs if job.formerly] if entries else []
    for entry in entries:
        if not any(fnmatchcase(entry.name, pattern) for pattern in patterns):
            logger.warning(
                "%s was failing when the older program last ran; no job of now is it",
                entry.name,
            )

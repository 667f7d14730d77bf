"""state/decisions.log: what ``lib/core/decisions.py`` has of entries, kept and read.

A line is an entry: when, the job's key and its name, a code, and what belongs to the
code as JSON, with tabs between.  For people who ask why; nothing is judged by it.  So
it is written without fsync, after what it tells of was kept, and a run that cannot
write it goes on.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from lib.core import encoding
from lib.core.jobs import JobKey
from lib.core.sanitize import harmless, scrubbed
from lib.core.secret import NO_SECRETS, Secrets
from lib.system.files import Damaged, open_to_write, read_capped, write_whole

if TYPE_CHECKING:
    from lib.core.decisions import Entry
    from lib.storage.historynames import Names

logger = logging.getLogger(__name__)

NAME, OLDER_NAME = "decisions.log", "decisions.log.1"
#: There are two files at most, of this size.
MAX_BYTES = 5 * 1024 * 1024
#: How often a reader begins again because a run has renamed the files.
ATTEMPTS = 3


class AuditLog:
    """What a run has decided, on its way to the file."""

    def __init__(
        self, folder: Path, secrets: Secrets, most_bytes: int = MAX_BYTES
    ) -> None:
        self._path = folder / NAME
        self._older = folder / OLDER_NAME
        self._secrets = secrets
        self._most_bytes = most_bytes
        self._waiting: list[Entry] = []
        self._has_failed = False

    def note(self, entries: Iterable[Entry]) -> None:
        """Take entries; ``write`` appends them."""
        self._waiting += entries

    def write(self) -> None:
        """Append what was noted, in one write; say once if that cannot be done."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        if self._has_failed:
            return
        lines = [f"{as_line(one, self._secrets)}\n" for one in waiting]
        try:
            self._append("".join(lines).encode("utf-8", "backslashreplace"))
        except OSError as error:
            self._has_failed = True
            why = error.strerror or error
            logger.warning("%s cannot be written: %s; the run goes on", self._path, why)

    def _append(self, text: bytes) -> None:
        descriptor = open_to_write(self._path, append=True)
        try:
            size = os.fstat(descriptor).st_size
            if size and size + len(text) > self._most_bytes:
                os.rename(self._path, self._older)
                os.close(descriptor)
                descriptor = open_to_write(self._path, append=True)
                size = os.fstat(descriptor).st_size
            # After a line that a full disk cut off, a new one begins.
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                text = b"\n" + text
            # More than a file may hold: the newest lines.
            text = text[-self._most_bytes :]
            write_whole(descriptor, text)
        finally:
            os.close(descriptor)


def read_entries(
    folder: Path,
    is_wanted: Callable[[JobKey, str], bool],
    after: datetime | None = None,
) -> list[Entry]:
    """Return the entries on file, the oldest first, about the jobs that are wanted.

    ``is_wanted`` is asked with a job's key and its name.  ``after``: only those of
    later seconds.  Lines that are not whole are passed over.
    """
    found = []
    second = _second(after) if after else ""
    for text in _texts(folder):
        for line in text.split("\n"):
            # Most of them are old, and are not to be taken apart.
            if second and line[: len(second)] <= second:
                continue
            parts = line.split("\t", 3)
            if len(parts) == 4 and (key := _key(parts[1])):
                entry = from_line(line) if is_wanted(key, parts[2]) else None
                found += [entry] if entry else []
    return found


def entries_of(folder: Path, keys: Collection[JobKey], names: Names) -> list[Entry]:
    """Return the entries on file about jobs, whatever they were called then.

    Each is by the key that its job has now; the oldest is first.
    """
    known_as = {part.key for key in keys for part in names.parts(key)}
    entries = read_entries(folder, lambda key, _name: str(key) in known_as)
    owned = (
        replace(entry, key=names.owner(entry.key, entry.at.timestamp()))
        for entry in entries
    )
    return [entry for entry in owned if entry.key in keys]


def lines_by_job(folder: Path) -> dict[str, list[str]]:
    """Return the lines on file by the text of the job's key, the oldest first.

    For who needs those of many jobs: ``from_line`` makes a line an entry.
    """
    found: dict[str, list[str]] = {}
    for text in _texts(folder):
        for line in text.split("\n"):
            parts = line.split("\t", 2)
            if len(parts) == 3:
                found.setdefault(parts[1], []).append(line)
    return found


def complete_since(folder: Path) -> datetime | None:
    """Return from when on all entries are on file; None: from the first one on."""
    text = _text(folder / OLDER_NAME)
    if not text:
        return None
    try:
        return datetime.fromisoformat(text.partition("\t")[0])
    except ValueError:
        return None


def _texts(folder: Path) -> list[str]:
    """Return what the files hold, the older one first.

    Read again where a run has renamed them meanwhile.
    """
    for _attempt in range(ATTEMPTS):
        before = _inode(folder / NAME)
        texts = [_text(folder / name) for name in (OLDER_NAME, NAME)]
        if _inode(folder / NAME) == before:
            break
    return texts


def _text(path: Path) -> str:
    try:
        return read_capped(path).decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    except (OSError, Damaged) as error:
        logger.error("%s cannot be read: %s", path, error)
        return ""


def _inode(path: Path) -> int | None:
    try:
        return os.lstat(path).st_ino
    except OSError:
        return None


def reaches_back_to(folder: Path) -> datetime | None:
    """Return when what is on file begins; None where nothing older was dropped."""
    try:
        text = read_capped(folder / OLDER_NAME).decode("utf-8", "replace")
    except (OSError, Damaged):
        return None
    for line in text.split("\n", 2)[:2]:
        try:
            return datetime.fromisoformat(line.partition("\t")[0])
        except ValueError:
            # Its beginning was dropped.
            continue
    return None


def as_line(entry: Entry, secrets: Secrets = NO_SECRETS) -> str:
    """Return an entry as a line: its parts with tabs between, the details as JSON.

    No secret is in it, and no letter that a terminal takes for an order.
    """
    import json

    parts: tuple[str, ...] = (
        _second(entry.at),
        str(entry.key),
        entry.name,
        entry.code,
    )
    details = encoding.plain(entry.details)
    if secrets:
        parts = tuple(scrubbed(part, secrets) for part in parts)
        details = _scrubbed(details, secrets)
    safe = map(harmless, parts)
    return "\t".join((*safe, json.dumps(details)))


def from_line(line: str) -> Entry | None:
    """Return the entry of a line; None if the line is not whole, or none of ours."""
    from lib.core.decisions import CODES, DETAILS, Entry

    parts = line.rstrip("\n").split("\t")
    if len(parts) != 5:
        return None
    second, text, name, word, details = parts
    try:
        at, key, code = datetime.fromisoformat(second), JobKey.parse(text), CODES[word]
        found = encoding.convert(encoding.decode(details.encode()), DETAILS[code])
    except (ValueError, KeyError):
        return None
    return Entry(at, key, name, code, found) if at.tzinfo else None


def _key(text: str) -> JobKey | None:
    try:
        return JobKey.parse(text)
    except ValueError:
        return None


def _second(moment: datetime) -> str:
    """Return a moment as a line begins with it; as text they have their order too."""
    return moment.astimezone(UTC).isoformat(timespec="seconds")


def _scrubbed(value: Any, secrets: Secrets) -> Any:
    if isinstance(value, dict):
        return {name: _scrubbed(part, secrets) for name, part in value.items()}
    if isinstance(value, list):
        return [_scrubbed(part, secrets) for part in value]
    return scrubbed(value, secrets) if isinstance(value, str) else value

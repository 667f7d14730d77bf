"""Files of the state folder that are of no use, or not now: quarantine/ and unread/.

What is damaged goes into quarantine.  But a disk that will not read a file has not
damaged it: such a file is tried again in each run, and then what it holds counts again.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from msgspec.structs import replace

from lib.core.enums import Status
from lib.core.jobs import file_stem
from lib.core.policy import FORGET_AFTER
from lib.core.records import Record
from lib.storage.codec import read_value
from lib.storage.records import STEM, Batch
from lib.storage.writer import Writer
from lib.system.files import Damaged, NotRead, listed

logger = logging.getLogger(__name__)

QUARANTINE, UNREAD = "quarantine", "unread"
#: The most in quarantine: as many files as there may be records, which a disk may
#: damage all at once.
MAX_FILES, MAX_BYTES = 10_000, 200 * 1024 * 1024
#: As ``move_away`` names them: what it was called, and since when it is here.
_DATED = r"(?P<stem>.+)\.(?P<since>\d{8}T\d{6}\.\d{6})\.json"


class Quarantine:
    """Where they are put."""

    def __init__(self, state: Path, writer: Writer) -> None:
        self._writer = writer
        self._quarantine = state / QUARANTINE
        self._unread = state / UNREAD
        self._not_read: set[Path] = set()
        self._read: list[Path] = []

    def noted(self, path: Path, error: Damaged) -> str:
        """Return what is wrong with a file, for people; it goes to quarantine."""
        if not isinstance(error, NotRead):
            return f"{path}: {error}"
        self._not_read.add(path)
        return f"{path}: {error}; it is tried again in each run"

    def put(self, paths: Iterable[Path], now: datetime) -> None:
        """Move files out of the way; one that cannot be moved stays."""
        paths = {path for path in paths if os.path.lexists(path)}
        self._writer.move_away(sorted(paths & self._not_read), self._unread, now)
        self._put_away(sorted(paths - self._not_read), now)

    def read_again(self, now: datetime) -> list[Record]:
        """Return the records in the unread files that can be read by now.

        In another order each time, and no further than to the first that still cannot
        be: a disk that is ill may take long to say so.
        """
        names = listed(self._unread)
        if len(names) > 1:
            import random

            random.shuffle(names)
        found: list[Record] = []
        for name in names:
            path = self._unread / name
            try:
                found += _records_in(path)
            except NotRead as error:
                if now - _since(name, now) > FORGET_AFTER:
                    self._give_up(path, error, now)
                return found
            except Damaged as error:
                self._give_up(path, error, now)
                continue
            logger.warning("%s can be read again; what it holds counts again", path)
            self._read.append(path)
        return found

    def drop(self) -> None:
        """Remove what was read again, now that it is kept elsewhere."""
        self._writer.remove(self._read)
        self._read = []

    def _give_up(self, path: Path, error: Damaged, now: datetime) -> None:
        logger.warning("%s: %s; it is put into quarantine", path, error)
        self._put_away([path], now)

    def _put_away(self, paths: list[Path], now: datetime) -> None:
        if paths:
            self._writer.move_away(paths, self._quarantine, now)
            self._writer.thin(
                self._quarantine, most_files=MAX_FILES, most_bytes=MAX_BYTES
            )


def rejoined(record: Record | None, old: Record) -> Record:
    """Return a job's record with that of before, which could not be read meanwhile.

    Queued messages are queued again; the rest counts only if the job was not judged
    since.
    """
    if record is None:
        return old
    there = {one.message_id for one in record.queued}
    again = tuple(one for one in old.queued if one.message_id not in there)
    queued = (*again, *record.queued)
    was_judged = record.status is not Status.UNKNOWN or record.failures > 0
    if was_judged:
        return replace(record, queued=queued)
    memory = record.memory or old.memory
    return replace(
        old,
        queued=queued,
        memory=memory,
        pending_since=old.pending_since or record.pending_since,
    )


def _records_in(path: Path) -> tuple[Record, ...]:
    match = re.fullmatch(_DATED, path.name)
    stem = match["stem"] if match else path.stem
    try:
        if STEM.fullmatch(stem):
            return read_value(path, Batch).records
        record = read_value(path, Record)
    except FileNotFoundError:
        return ()
    if file_stem(record.key) != stem:
        raise Damaged(f"it is the record of another job, {str(record.key)[:60]!r}")
    return (record,)


def _since(name: str, otherwise: datetime) -> datetime:
    match = re.fullmatch(_DATED, name)
    if match is None:
        return otherwise
    return datetime.strptime(match["since"], "%Y%m%dT%H%M%S.%f").replace(tzinfo=UTC)

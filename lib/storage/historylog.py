"""The writing side of state/history/: what a run has found is appended, in one write.

``lib/storage/history.py`` has the format.  Only the run that holds the lock appends.
What cannot be written is said in one line, and the run goes on.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from datetime import tzinfo
from pathlib import Path

import msgspec

from lib.storage import history
from lib.storage.history import (
    BARS,
    CHANGES,
    FOLDER,
    NOW,
    POLICIES,
    Counted,
    Result,
    Row,
    Summary,
)
from lib.system.errors import NewerState, StateError, trouble
from lib.system.files import open_to_write, replace_softly, write_whole

logger = logging.getLogger(__name__)

#: Of so many days all results are kept.
RAW_DAYS = 14
#: Where now.bin was lost, it is made anew from so much of the last file.
MAX_READ_AGAIN = 4 * 1024 * 1024


def record(
    state: Path, zone: tzinfo | None, at: float, results: Sequence[Result]
) -> None:
    """Append the results of a run that began at ``at``; say it if that fails."""
    if not results:
        return
    folder = state / FOLDER
    try:
        _record(folder, zone, at, results)
    except NewerState as error:
        logger.warning("%s: the history is not written: %s", folder, error)
    except (StateError, OSError) as error:
        if isinstance(error, OSError):
            error = trouble(folder, "write the history", error)
        logger.warning("%s; the run goes on", error)


def _record(
    folder: Path, zone: tzinfo | None, at: float, results: Sequence[Result]
) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    summary = history.read_summary(folder / NOW)
    counted = Counted(summary, zone)
    day = history.utc_day(at)
    path = folder / f"{day}.log"
    catch_up(folder, counted)
    descriptor = open_to_write(path, append=True)
    try:
        end = os.fstat(descriptor).st_size
        if summary.day != day:
            summary.day, summary.names_at = day, -1
            _drop_old(folder)
        hashes = _keep_policies(folder, summary, results)
        content, names_at = _blocks_of(summary, at, end, results, hashes)
        write_whole(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    summary.end, summary.names_at = end + len(content), names_at
    at = round(at * 1000) / 1000
    counted.begin(at)
    for result, policy in zip(results, hashes, strict=True):
        counted.take(str(result.key), _row(at, result, policy))
    _save(folder, counted)


def _drop_old(folder: Path) -> None:
    """Remove the results of the oldest days; their bars and changes stay.

    Days are counted by their files: a clock that is wrong for a while drops nothing.
    """
    for day in history.all_days(folder)[:-RAW_DAYS]:
        for ending in (".log", ".logz", ".logz.part"):
            path = folder / f"{day}{ending}"
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                logger.warning("%s", trouble(path, "remove it", error))


def _row(at: float, result: Result, policy: str) -> Row:
    return Row(
        at,
        result.status,
        result.code,
        result.seconds,
        result.values,
        result.reason,
        policy,
        result.holds_s,
    )


def _blocks_of(
    summary: Summary,
    at: float,
    end: int,
    results: Sequence[Result],
    hashes: Sequence[str],
) -> tuple[bytes, int]:
    """Return what to append at ``end``, and where the names are then."""
    at_ms, names_at, names = round(at * 1000), summary.names_at, list(summary.jobs)
    places = {name: place for place, name in enumerate(names)}
    for result in results:
        places.setdefault(str(result.key), len(places))
    content = b""
    if names_at < 0 or len(places) > len(names):
        content, names_at = history.names_block(list(places), at_ms), end
    rows = sorted(
        (
            history.Entry(places[str(result.key)], result, policy)
            for result, policy in zip(results, hashes, strict=True)
        ),
        key=lambda entry: entry.position,
    )
    return content + history.run_block(at_ms, names_at, rows), names_at


def _keep_policies(
    folder: Path, summary: Summary, results: Iterable[Result]
) -> list[str]:
    """Return the hash of the policy of each result; append those that are new."""
    hashes: dict[bytes, str] = {}
    known, new = set(summary.policies), []
    for result in results:
        if result.policy not in hashes:
            name = hashes[result.policy] = history.hash_of(result.policy)
            if name not in known:
                known.add(name)
                new.append(b"%s %s\n" % (name.encode(), result.policy))
                summary.policies.append(name)
    if new:
        _append(folder / POLICIES, b"".join(new))
    return [hashes[result.policy] for result in results]


def catch_up(folder: Path, counted: Counted) -> None:
    """Take the blocks that now.bin does not sum up.

    It was lost, or the run was killed before it was written.
    """
    summary = counted.summary
    is_new = not summary.day
    days = [day for day in history.day_files(folder) if day >= summary.day]
    for day in days[-1:] if is_new else days:
        path = folder / f"{day}.log"
        start = summary.end if day == summary.day else 0
        size = path.stat().st_size
        if day == summary.day and size == start:
            continue
        content = path.read_bytes()
        if start > size:
            # An older copy of it was put back.
            start, summary.names_at = size, -1
        if is_new:
            start = max(0, size - MAX_READ_AGAIN)
        last = None
        for block, rows in history.runs_in(content, start):
            counted.begin(block.at_ms / 1000)
            for key, row in rows:
                counted.take(key, row)
            last = block
        # The places of jobs may have been others there.
        summary.day, summary.end, summary.names_at = day, size, -1
        if last is not None and not is_new:
            logger.info("%s: read again up to byte %d", path, last.end)


def _save(folder: Path, counted: Counted) -> None:
    """Keep what follows from the blocks."""
    if counted.changes:
        lines = b"".join(map(history.change_line, counted.changes))
        _append(folder / CHANGES, lines)
    if counted.bars:
        blocks = [history.bars_block(day, bars) for day, bars in counted.bars]
        _append(folder / BARS, b"".join(blocks), sync=True)
    payload = msgspec.json.encode(counted.summary)
    replace_softly(folder / NOW, history.block(history.NOW_KIND, 0, 0, 0, payload))


def _append(path: Path, content: bytes, *, sync: bool = False) -> None:
    descriptor = open_to_write(path, append=True)
    try:
        size = os.fstat(descriptor).st_size
        is_text = path.name in (CHANGES, POLICIES)
        # After a line that a full disk cut off, a new one begins.
        if is_text and size and os.pread(descriptor, 1, size - 1) != b"\n":
            content = b"\n" + content
        write_whole(descriptor, content)
        if sync:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""The writing side of state/history/: what a run has found is appended, in one write.

``lib/storage/history.py`` has the files.  Only the run that holds the lock appends.
What cannot be written is said in one line, and the run goes on.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from datetime import tzinfo
from operator import itemgetter
from pathlib import Path

import msgspec

from lib.core.jobs import JobKey
from lib.storage.historyblocks import (
    NOW_KIND,
    Entry,
    RunLog,
    bars_block,
    block,
    names_block,
    naming,
    run_block,
)
from lib.storage.historyfiles import (
    BARS,
    CHANGES,
    FOLDER,
    LOG,
    OLD_CHANGES,
    POLICIES,
    RENAMES,
    listed,
    row_files,
    utc_hour,
)
from lib.storage.historynames import names_in, new_renames, rename_line
from lib.storage.historynow import (
    BEFORE,
    NOW,
    SAID_FOR_S,
    Counted,
    Summary,
    are_changes_lost,
    lost_changes,
    read_summary,
    size_of,
)
from lib.storage.historyrows import Rename, Result, change_line, hash_of
from lib.system.errors import NewerState, StateError, trouble
from lib.system.files import open_to_write, replace_softly, sync_folder, write_whole

logger = logging.getLogger(__name__)

#: Where now.bin was lost, it is made anew from so much of the last file.
MAX_READ_AGAIN = 4 * 1024 * 1024
#: Changes of status are set aside when they have so many bytes.
MAX_CHANGES = 1024 * 1024


def record(
    state: Path,
    zone: tzinfo | None,
    at: float,
    results: Sequence[Result],
    renamed: Iterable[tuple[JobKey, JobKey]] = (),
) -> None:
    """Append the results of a run that began at ``at``; say it if that fails.

    ``renamed``: the old and the new key of jobs whose section says ``was``.
    """
    if not results:
        return
    folder = state / FOLDER
    try:
        _record(folder, zone, at, results, renamed)
    except NewerState as error:
        logger.error("the history is not written, the run goes on: %s", error)
    except (StateError, OSError) as error:
        if isinstance(error, OSError):
            error = trouble(folder, "write the history", error)
        logger.error("%s; the run goes on", error)


def _record(
    folder: Path,
    zone: tzinfo | None,
    at: float,
    results: Sequence[Result],
    renamed: Iterable[tuple[JobKey, JobKey]],
) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    summary = read_summary(folder)
    renames = _keep_renames(folder, round(at * 1000) / 1000, renamed)
    counted = Counted(summary, zone, renames)
    log = utc_hour(at) + LOG
    path = folder / log
    catch_up(folder, counted)
    if not summary.log and row_files(listed(folder)):
        summary.today_since = at
    _note_lost_changes(folder, summary, at)
    if summary.log != log:
        _keep_before(folder, summary)
        summary.log, summary.names_at = log, -1
    descriptor = open_to_write(path, append=True)
    try:
        end = os.fstat(descriptor).st_size
        hashes = _keep_policies(folder, summary, results)
        keys = [str(result.key) for result in results]
        rows = list(zip(keys, results, hashes, strict=True))
        content, names_at = _blocks_of(summary, at, end, rows)
        write_whole(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if not end:
        sync_folder(folder)
    summary.ends[log], summary.names_at = end + len(content), names_at
    at = round(at * 1000) / 1000
    counted.begin(at)
    for key, result, policy in rows:
        counted.take(key, at, result, policy)
    _save(folder, counted)


def _keep_before(folder: Path, summary: Summary) -> None:
    """Keep what now.bin says up to a new log, for the case that now.bin is lost."""
    if summary.log:
        replace_softly(folder / BEFORE, _now_block(summary))


def _blocks_of(
    summary: Summary, at: float, end: int, rows: Sequence[tuple[str, Result, str]]
) -> tuple[bytes, int]:
    """Return what to append at ``end``, and where the names are then."""
    at_ms, names_at, known = round(at * 1000), summary.names_at, len(summary.jobs)
    places = {name: place for place, name in enumerate(summary.jobs)}
    entries: list[Entry] = [
        (places.setdefault(key, len(places)), result, policy)
        for key, result, policy in rows
    ]
    content = b""
    if names_at < 0 or len(places) > known:
        content, names_at = names_block(list(places), at_ms), end
    entries.sort(key=itemgetter(0))
    return content + run_block(at_ms, names_at, entries), names_at


def _keep_renames(
    folder: Path, at: float, renamed: Iterable[tuple[JobKey, JobKey]]
) -> list[Rename]:
    """Return all renames; append those that are new."""
    known = names_in(folder).renames
    new = new_renames(known, renamed, at)
    if new:
        _append(folder / RENAMES, b"".join(map(rename_line, new)), sync=True)
    return [*known, *new]


def _keep_policies(
    folder: Path, summary: Summary, results: Iterable[Result]
) -> list[str]:
    """Return the hash of the policy of each result; append those that are new."""
    hashes: dict[bytes, str] = {}
    known, new = set(summary.policies), []
    for result in results:
        if result.policy not in hashes:
            name = hashes[result.policy] = hash_of(result.policy)
            if name not in known:
                known.add(name)
                new.append(b"%s %s\n" % (name.encode(), result.policy))
                summary.policies.append(name)
    if new:
        _append(folder / POLICIES, b"".join(new), sync=True)
    return [hashes[result.policy] for result in results]


def _note_lost_changes(folder: Path, summary: Summary, at: float) -> None:
    """Note that changes of status are gone which a run had written; say it once."""
    size = size_of(folder / CHANGES)
    if are_changes_lost(folder, summary):
        if not summary.changes_lost_at:
            summary.changes_lost_at = at
            logger.warning("%s", lost_changes(folder))
    elif size > summary.changes_bytes or at > summary.changes_lost_at + SAID_FOR_S:
        # They were put back, or everybody has read it.
        summary.changes_lost_at = 0.0


def catch_up(folder: Path, counted: Counted) -> None:
    """Take the runs that now.bin does not sum up.

    It was lost, or the run was killed before it was written.
    """
    summary = counted.summary
    # Where they cannot be listed, nothing is counted as if there were none.
    names = sorted(os.listdir(folder))
    logs = [name for name in row_files(names) if name.endswith(LOG)]
    sizes = {name: (folder / name).stat().st_size for name in logs}
    ends, is_new = summary.ends, not summary.log
    summary.ends = sizes
    if summary.log not in sizes:
        # It was moved away, with the names that it had.
        summary.names_at = -1
    for name, size in sizes.items():
        start = ends.get(name, 0)
        if start == size or (is_new and name != logs[-1]):
            continue
        if name == summary.log:
            # The names that it has may be others now.
            summary.names_at = -1
        if start > size:
            # An older copy of it was put back.
            continue
        if is_new:
            start, summary.log = max(0, size - MAX_READ_AGAIN), name
        for one, rows in _log(folder / name, start).runs():
            if is_new and not summary.jobs and (start or len(row_files(names)) > 1):
                summary.today_since = one.at_ms / 1000
            counted.begin(one.at_ms / 1000)
            for key, row in rows:
                counted.take(key, row.at, row, row.policy)
        if not is_new:
            logger.info("%s: read again from byte %d", folder / name, start)


def _log(path: Path, start: int) -> RunLog:
    """Return a log from a byte on; raise NewerState, which names the file."""
    with naming(path):
        return RunLog(path.read_bytes(), start)


def _save(folder: Path, counted: Counted) -> None:
    """Keep what follows from the blocks."""
    if counted.changes:
        lines = b"".join(map(change_line, counted.changes))
        _append(folder / CHANGES, lines, sync=True)
        _begin_changes_anew(folder, counted.changes[-1].at)
    if counted.bars:
        days = [bars_block(*each) for each in counted.bars]
        _append(folder / BARS, b"".join(days), sync=True)
    counted.summary.changes_bytes = size_of(folder / CHANGES)
    replace_softly(folder / NOW, _now_block(counted.summary))


def _begin_changes_anew(folder: Path, at: float) -> None:
    """Set the changes aside when they are many, to be compressed."""
    path, aside = folder / CHANGES, folder / f"{OLD_CHANGES}{int(at):011}{LOG}"
    if path.stat().st_size > MAX_CHANGES and not aside.exists():
        path.rename(aside)


def _now_block(summary: Summary) -> bytes:
    return block(NOW_KIND, 0, 0, 0, msgspec.msgpack.encode(summary))


def _append(path: Path, content: bytes, *, sync: bool = False) -> None:
    descriptor = open_to_write(path, append=True)
    try:
        size = os.fstat(descriptor).st_size
        is_text = path.name in (CHANGES, POLICIES, RENAMES)
        # After a line that a full disk cut off, a new one begins.
        if is_text and size and os.pread(descriptor, 1, size - 1) != b"\n":
            content = b"\n" + content
        write_whole(descriptor, content)
        if sync:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Select the job files that a run loads.

Loading a file costs a process, so a file with no job due is not loaded while the file,
its folder, the settings and Checker itself are unchanged.  Each file is loaded at least
once an hour.  The cases are in ``tests/unit/runner/test_selection.py``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Container, Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from lib.core.encoding import digest
from lib.core.enums import JobFrequency
from lib.core.jobs import (
    KIND_FILES,
    PEER_CHECKER,
    CatalogEntry,
    FileScan,
    Job,
    JobFile,
    JobKey,
    job_of,
)
from lib.core.records import Record
from lib.core.schedule import Due, is_due, is_recheck

if TYPE_CHECKING:
    from lib.core.silences import Silences
    from lib.runner.context import RunContext

#: An hourly run loads every file; this is for when that run is missed.
ASK_AGAIN_AFTER = timedelta(minutes=59)
#: Saved only this often, so that a run without changes writes nothing.
NOTE_AGAIN_AFTER = timedelta(minutes=30)
#: The sections that the jobs of a file that ships are made of.
_SECTION_OF = {
    PEER_CHECKER: "peers",
    **{file: kind for kind, file in KIND_FILES.items()},
}
#: A file that changed this lately may change again with the same timestamp.
SETTLED_AFTER_S = 2.0


def why_load(
    file: JobFile,
    mark: str,
    asked: FileScan | None,
    jobs: Mapping[JobKey, CatalogEntry],
    records: Iterable[Record],
    due: Due,
    now: datetime,
    silences: Silences | None = None,
) -> str:
    """Return why a file has to be loaded in this run; nothing if it need not be.

    ``jobs`` are the jobs it had when it was last loaded (``asked``), ``records`` those
    of its jobs; ``mark`` is that of its folder now, see ``marks_of``.
    """
    if due.frequencies - {JobFrequency.MINUTE}:
        return "an order above minute asks everybody"
    if asked is None:
        return "it was not asked yet"
    if not mark or asked.mark != mark:
        return "it, or something it depends on, has changed"
    if not timedelta(0) <= now - asked.at < ASK_AGAIN_AFTER:
        return "it was asked too long ago"
    if any(job.enabled and is_due(job.schedule, key, due) for key, job in jobs.items()):
        return "a job of it is due"
    if any(job.enabled and job.is_new for job in jobs.values()):
        return "a job of it has not run yet"
    for record in records:
        entry = jobs.get(record.key)
        if (
            entry
            and entry.enabled
            and is_recheck(job_of(record.key, entry), record, due)
        ):
            return "a failing job of it is checked again"
        if record.key.is_file:
            return "the file itself was in trouble"
        if record.pending:
            return "a job of it is under way"
        if record.held is not None and _has_ended(record, jobs, silences, now):
            return "alerts of a job of it are held back no longer"
        if (record.key in jobs) is (record.unseen_since is not None):
            return "it is not sure which of its jobs there are"
        if record.absences:
            return "a job of it seems to be gone"
    return ""


def _has_ended(
    record: Record,
    jobs: Mapping[JobKey, CatalogEntry],
    silences: Silences | None,
    now: datetime,
) -> bool:
    from lib.core.silences import has_ended

    tags = jobs[record.key].tags if record.key in jobs else ()
    return has_ended(record, record.name, tags, silences, now)


def to_note(before: FileScan | None, mark: str, now: datetime) -> FileScan:
    """Return what to save about a file that was loaded now."""
    if (
        before is not None
        and before.mark == mark
        and timedelta(0) <= now - before.at < NOTE_AGAIN_AFTER
    ):
        return before
    return FileScan(now, mark)


def by_file(
    catalog: Mapping[JobKey, CatalogEntry],
) -> dict[str, dict[JobKey, CatalogEntry]]:
    """Return the jobs by their file's path, and then by key."""
    jobs_of: dict[str, dict[JobKey, CatalogEntry]] = {}
    for key, entry in catalog.items():
        jobs_of.setdefault(entry.file, {})[key] = entry
    return jobs_of


def by_name(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Return the records by the name of their job's file."""
    records_of: dict[str, list[Record]] = {}
    for record in records:
        records_of.setdefault(record.key.file, []).append(record)
    return records_of


def marks_of(
    folders: Iterable[Path], settings: Iterable[Path], now: datetime
) -> dict[str, str]:
    """Return a digest of each job folder, with the settings and Checker itself.

    It is empty if a file cannot be read or has changed just now.
    """
    try:
        common = [
            *(_stat(path) for path in settings),
            *(each for package in _packages() for each in _stats_of_folder(package)),
        ]
    except OSError:
        return {str(folder): "" for folder in folders}
    return {str(folder): _mark_of(folder, common, now) for folder in folders}


def _mark_of(folder: Path, common: list[_Stat], now: datetime) -> str:
    try:
        stats = [*common, *_stats_of_folder(folder)]
    except OSError:
        return ""
    newest = max(float(changed) for _name, changed, *_rest in stats)
    if newest / 1e9 > now.timestamp() - SETTLED_AFTER_S:
        return ""
    text = repr((sys.version, stats))
    return digest(text.encode("utf-8", "surrogatepass"))[:32]


def _packages() -> list[Path]:
    lib = Path(__file__).parents[1]
    return [lib, *sorted(init.parent for init in lib.glob("*/__init__.py"))]


#: Name, change of inode, change of content, size, inode, device.
_Stat = tuple[str, int, int, int, int, int]


def _stat(path: Path | os.DirEntry[str]) -> _Stat:
    status = path.stat()
    return (
        os.fspath(path),
        # The one time that nobody can set.
        status.st_ctime_ns,
        status.st_mtime_ns,
        status.st_size,
        status.st_ino,
        status.st_dev,
    )


def _stats_of_folder(folder: Path) -> list[_Stat]:
    with os.scandir(folder) as entries:
        return sorted(_stat(entry) for entry in entries if entry.name.endswith(".py"))


def files_to_load(ctx: RunContext) -> list[JobFile]:
    """Return the files that this run loads; the jobs of the others count as met."""
    usable = [file for file in ctx.settings.job_files if not file.refused]
    all_of_them = bool(ctx.session.lost or ctx.session.known.unclaimed)
    if ctx.only is not None:
        return _files_of(ctx, ctx.only, usable, all_of_them)
    # Before any file is loaded, so that a change meanwhile shows the next time.
    folders = {file.path.parent for file in usable}
    ctx.marks.update(marks_of(folders, ctx.settings.files, ctx.began_at))
    jobs_of = by_file(ctx.catalog)
    records = by_name(ctx.session.records.values())
    words = {title.partition(" ")[0] for title in ctx.settings.ini}
    usable = [file for file in usable if may_have_jobs(file, words, records)]
    files: list[JobFile] = []
    for file in usable:
        path, mark = str(file.path), ctx.marks[str(file.path.parent)]
        before, jobs = ctx.scans_before.get(path), jobs_of.get(path, {})
        if (
            all_of_them
            or before is None
            or why_load(
                file,
                mark,
                before,
                jobs,
                records.get(file.name, ()),
                ctx.due,
                ctx.began_at,
                ctx.silences,
            )
        ):
            files.append(file)
            continue
        ctx.scans[path] = before
        ctx.met.update({key: job_of(key, entry) for key, entry in jobs.items()})
    return files


def _files_of(
    ctx: RunContext, keys: Collection[JobKey], files: list[JobFile], all_of_them: bool
) -> list[JobFile]:
    """Return the files of just these jobs; all other jobs count as met.

    Nothing is noted of the files, so the next run loads what it would have loaded.
    """
    ctx.scans = dict(ctx.scans_before)
    ctx.met.update({key: job_of(key, entry) for key, entry in ctx.catalog.items()})
    names = {key.file for key in keys}
    return [file for file in files if all_of_them or file.name in names]


def may_have_jobs(
    file: JobFile, words: Collection[str], on_record: Container[str]
) -> bool:
    """Return whether a file may have jobs: not a kind of which there is no section.

    ``words`` are those with which the titles of the sections begin, ``on_record`` the
    files whose jobs have records.  Loading what a kind imports costs more than the
    whole rest of a run.
    """
    section = _SECTION_OF.get(file.name)
    if section is None or not file.ships:
        return True
    if section in words:
        return True
    # The job of a section that is gone, or the file itself, which was broken.
    return file.name in on_record


def section_of(file: str) -> str:
    """Return the word that the sections of a job file that ships begin with, or ""."""
    return _SECTION_OF.get(file, "")


def note_loaded(ctx: RunContext, jobs: Iterable[Job], *, has_warnings: bool) -> None:
    """Note the files of these jobs as loaded, unless there were warnings."""
    for job in jobs:
        if not job.is_own or has_warnings:
            continue
        mark = ctx.marks.get(str(Path(job.file).parent))
        if mark:
            before = ctx.scans_before.get(job.file)
            ctx.scans[job.file] = to_note(before, mark, ctx.began_at)

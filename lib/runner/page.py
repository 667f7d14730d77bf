"""Writes the page of ``[page] write`` into its folder, after a run.

With ``[page] templates`` it also tries what only the daemon shows, and notes for the
next run why a template is not used.

The front page is written when it is due.  The pages of jobs follow in slices: those
whose status has changed first, then the oldest, as many as two seconds allow; the next
time goes on with them.  What else lies in the folder is left alone.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import time
from collections.abc import Collection, Iterator
from datetime import datetime
from pathlib import Path

import msgspec

from lib.core.jobs import JobKey
from lib.core.settings import Settings
from lib.report.graphs import slices_for
from lib.report.ours import is_ours
from lib.report.page import (
    INDEX,
    Look,
    job_page,
    keys_of,
    link_of,
    overview,
    public,
)
from lib.report.reader import Graph, Reader, graphs_in
from lib.storage.store import TEMPLATES
from lib.system.errors import StateError
from lib.system.files import Damaged, read_capped, replace_softly

logger = logging.getLogger(__name__)

#: The graphs of the front page as they were last made, in the state folder.
GRAPHS = "graphs.json"
#: How long the pages of jobs may take at a time.
SLICE_S = 2.0
#: The age from which on no run is at work on a file: longer than a run may take.
LONGEST_S = 120.0
#: Whoever may read the folder may read the page.
MODE = 0o644
_JOB_PAGE = re.compile(r"job-[a-z0-9-]+-[0-9a-f]{10}\.html")
_LEFTOVER = re.compile(r"\.(index|job-[a-z0-9-]+)\.html\.[0-9a-f]{8}\.tmp")


def write(settings: Settings, now: datetime, left_s: float) -> None:
    """Write the pages; log one error for each folder where that fails.

    ``left_s``: the seconds that the run has.
    """
    if not settings.page.templates:
        with contextlib.suppress(OSError):
            (settings.state / TEMPLATES).unlink()
        _write_all(Reader(settings, now), Look(every_s=settings.page.every_s), left_s)
        return
    from lib.report.owntemplates import WAIT_S, OwnTemplates

    folder = Path(settings.page.templates)
    own = OwnTemplates(folder, wait_s=min(WAIT_S, left_s / 4))
    own.refresh()
    try:
        reader = Reader(settings, now)
        look = Look(every_s=settings.page.every_s, templates=own)
        _write_all(reader, look, left_s)
        # What cannot be read of state was said.
        with contextlib.suppress(OSError, StateError):
            _try_others(reader, look)
    finally:
        own.close()
    try:
        replace_softly(settings.state / TEMPLATES, msgspec.json.encode(own.problems))
    except StateError as error:
        logger.warning("%s; -m list does not show what is wrong with templates", error)


def trouble_with_templates(settings: Settings, now: datetime) -> list[str]:
    """Return what is wrong with the templates of ``[page] templates``, a line each."""
    from lib.report.owntemplates import OwnTemplates

    own = OwnTemplates(Path(settings.page.templates))
    own.refresh()
    try:
        _try_others(Reader(settings, now), Look(templates=own), writes=False)
    finally:
        own.close()
    return list(own.problems)


def _try_others(reader: Reader, look: Look, *, writes: bool = True) -> None:
    """Make the pages of which no file was written, for what is wrong with them."""
    page = reader.settings.page
    snapshot = reader.snapshot()
    if not (writes and page.write):
        overview(snapshot, look)
        for key in keys_of(snapshot)[:1]:
            job_page(snapshot, key, reader.story(key, reader.rows(key)), look)
    if page.public and not (writes and page.public_write):
        public(snapshot, look)


def _write_all(reader: Reader, look: Look, left_s: float) -> None:
    page = reader.settings.page
    if page.write:
        with _said("write"):
            _write(reader, Path(page.write), look, min(SLICE_S, left_s / 2))
    if page.public_write:
        with _said("public_write"):
            _write_public(reader, Path(page.public_write), look)


@contextlib.contextmanager
def _said(option: str) -> Iterator[None]:
    try:
        yield
    except (OSError, StateError) as error:
        logger.error("[page] %s: %s", option, error)


def _write_public(reader: Reader, folder: Path, look: Look) -> None:
    _check_ours(folder / INDEX)
    content = public(reader.snapshot(), look).encode()
    replace_softly(folder / INDEX, content, mode=MODE)
    _remove_leftovers(folder, reader.now)


def _write(reader: Reader, folder: Path, look: Look, slice_s: float) -> None:
    _check_ours(folder / INDEX)
    until = time.monotonic() + slice_s
    settings = reader.settings
    known = _known_graphs(settings)
    slices = slices_for(len(reader.bare.catalog))
    foreign: list[Path] = []
    for key, rows in reader.rows_of(_in_turn(reader, folder)):
        if time.monotonic() >= until:
            break
        known[link_of(key)] = reader.graph(key, rows, slices)
        path = folder / link_of(key)
        if _is_in_the_way(path):
            foreign.append(path)
            continue
        content = job_page(reader.bare, key, reader.story(key, rows), look)
        replace_softly(path, content.encode(), mode=MODE)
    snapshot = reader.snapshot(known)
    replace_softly(folder / INDEX, overview(snapshot, look).encode(), mode=MODE)
    is_current = {link_of(key) for key in keys_of(snapshot)}
    _keep_graphs(
        settings, {link: one for link, one in known.items() if link in is_current}
    )
    _remove_gone(folder, is_current)
    _remove_leftovers(folder, reader.now)
    if foreign:
        raise _left_alone(foreign[0])


def in_the_way(settings: Settings) -> dict[str, str]:
    """Return why no page is written, by the option that names its folder."""
    page, found = settings.page, {}
    for option, folder in (("write", page.write), ("public_write", page.public_write)):
        if folder and _is_in_the_way(path := Path(folder) / INDEX):
            found[option] = str(_left_alone(path))
    return found


def _check_ours(path: Path) -> None:
    """Raise StateError if something is in the way that is not ours."""
    if _is_in_the_way(path):
        raise _left_alone(path)


def _is_in_the_way(path: Path) -> bool:
    return os.path.lexists(path) and not is_ours(path)


def _left_alone(path: Path) -> StateError:
    return StateError(
        f"{path} is no page of Checker's, and is left alone; move it away, or name "
        "another folder"
    )


def _in_turn(reader: Reader, folder: Path) -> list[JobKey]:
    """Return the jobs in the order in which their pages are to be written."""
    now, snapshot = reader.now.timestamp(), reader.bare
    changes = reader.changes_by_job

    def urgency(key: JobKey) -> float:
        try:
            written_at = os.stat(folder / link_of(key)).st_mtime
        except OSError:
            return float("inf")
        if written_at > now:
            # The clock was set back.
            return float("inf")
        those = changes.get(key)
        if those and those[-1].at >= written_at:
            return 1e9
        # What is not OK is looked at more often.
        return (now - written_at) * (4 if key in snapshot.records else 1)

    return sorted(keys_of(snapshot), key=urgency, reverse=True)


def _known_graphs(settings: Settings) -> dict[str, Graph]:
    try:
        return graphs_in(read_capped(settings.state / GRAPHS))
    except (OSError, Damaged):
        return {}


def _keep_graphs(settings: Settings, known: dict[str, Graph]) -> None:
    try:
        replace_softly(settings.state / GRAPHS, msgspec.json.encode(known))
    except StateError as error:
        logger.warning("%s; the graphs of the page are made anew", error)


def _remove_gone(folder: Path, is_current: Collection[str]) -> None:
    """Remove the pages of jobs that are gone."""
    for name in os.listdir(folder):
        if _JOB_PAGE.fullmatch(name) and name not in is_current:
            _remove_ours(folder / name)


def _remove_leftovers(folder: Path, now: datetime) -> None:
    """Remove what killed runs left of pages."""
    for name in os.listdir(folder):
        if _LEFTOVER.fullmatch(name) and _is_old(folder / name, now):
            _remove_ours(folder / name)


def _remove_ours(path: Path) -> None:
    if is_ours(path):
        with contextlib.suppress(OSError):
            path.unlink()


def _is_old(path: Path, now: datetime) -> bool:
    """Return whether the run that began a file is over, or of another clock."""
    try:
        return abs(now.timestamp() - os.lstat(path).st_mtime) > LONGEST_S
    except OSError:
        return False

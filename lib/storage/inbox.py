"""state/inbox/: what commands and the daemon ask of the next run.

A request is one small file, written whole and without the lock.  The next run applies
it, and removes it after the commit that applied it; ``lib/runner/requests.py`` does so.
To add a request, add its class to ``lib/core/silences.py`` or beside it, as
``lib/core/announcements.py`` does, and what a run does with it.
"""

from __future__ import annotations

import logging
import os
import time
from datetime import UTC
from pathlib import Path

import msgspec

from lib.core.announcements import InboxRequest
from lib.core.sanitize import harmless
from lib.core.text import first_line
from lib.storage.codec import packed, read_value
from lib.storage.store import INBOX, PINGS
from lib.system.errors import NewerState, StateError, trouble
from lib.system.files import Damaged, NotRead, listed, replace_files, sync_folder

logger = logging.getLogger(__name__)

#: The most requests that wait, and the most bytes of one.
MAX_REQUESTS, MAX_BYTES = 1000, 64 * 1024
#: What a command that was killed left half written is removed after this.
LEFTOVER_S = 3600.0


class Waiting(msgspec.Struct, frozen=True):
    """The requests that wait, the oldest first."""

    requests: tuple[InboxRequest, ...] = ()
    #: Their files.
    paths: tuple[Path, ...] = ()
    #: Files that are no request, and what is wrong with each.
    damaged: dict[Path, str] = {}


def submit(state: Path, request: InboxRequest) -> None:
    """Write a request for the next run; raise StateError if it cannot be taken."""
    folder = state / INBOX
    if len(_names(folder)) >= MAX_REQUESTS:
        raise StateError(
            f"{folder} holds {MAX_REQUESTS} requests that no run has applied; does "
            "cron start checker.py?"
        )
    content = packed(request)
    if len(content) > MAX_BYTES:
        raise StateError(
            f"the request has {len(content)} bytes, and {MAX_BYTES} are allowed; name "
            "the jobs by a pattern or a tag"
        )
    _make(folder)
    at = request.at.astimezone(UTC)
    replace_files([(folder / f"{at:%Y%m%dT%H%M%S.%f}-{request.id}.json", content)])


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        return
    except OSError as error:
        raise trouble(folder, "make it", error) from error
    sync_folder(folder.parent)


def waiting(state: Path) -> Waiting:
    """Return the requests that wait; raise StateError if they cannot be listed.

    One that the disk will not read waits on.
    """
    folder = state / INBOX
    requests: list[InboxRequest] = []
    paths: list[Path] = []
    damaged: dict[Path, str] = {}
    for name in _names(folder)[:MAX_REQUESTS]:
        path = folder / name
        try:
            requests.append(_read(path))
        except FileNotFoundError:
            # Another run has applied it.
            continue
        except NotRead as error:
            logger.warning("%s: %s; it is tried again in each run", path, error)
            continue
        except (Damaged, NewerState) as error:
            damaged[path] = harmless(first_line(str(error)))
            continue
        paths.append(path)
    return Waiting(tuple(requests), tuple(paths), damaged)


def _read(path: Path) -> InboxRequest:
    if (size := os.lstat(path).st_size) > MAX_BYTES:
        raise Damaged(f"it has {size} bytes, too many for a request")
    request: InboxRequest = read_value(path, InboxRequest)  # type: ignore[arg-type]
    return request


def _names(folder: Path) -> list[str]:
    """Return the names of what may be requests, the oldest first."""
    return [
        name
        for name in listed(folder)
        if not name.startswith(".") and name != PINGS.name
    ]


def remove_leftovers(state: Path) -> None:
    """Remove what a command that was killed left half written, unless it is at work."""
    folder = state / INBOX
    try:
        names = listed(folder)
    except StateError:
        # Reading the requests has said so.
        return
    for name in names:
        if not name.startswith("."):
            continue
        try:
            if time.time() - os.lstat(folder / name).st_mtime > LEFTOVER_S:
                os.unlink(folder / name)
        except OSError as error:
            logger.warning("%s", trouble(folder / name, "remove it", error))

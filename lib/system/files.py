"""Writes to files and pipes: all of the content is written, or the write fails.

A file is replaced whole or not at all: the new content is synced in a temporary file
beside it, which is renamed to it, and the folder is synced.  A crash at any point
leaves the old file or the new one; see rename(2) and fsync(2).  No other module opens
a file for writing or calls ``os.write``.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import stat
from collections.abc import Iterable
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from lib.system.errors import StateError as StateError
from lib.system.errors import trouble

logger = logging.getLogger(__name__)

#: Larger than anything we write; a larger file is damaged, and is not read.
MAX_FILE = 64 * 1024 * 1024
#: From this many files on they are written in parallel: most of the time is waiting.
PARALLEL_FROM = 32
WRITERS = 8
#: The most left-over files that are removed at once.
MAX_LEFTOVERS = 50_000

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")


class Damaged(Exception):
    """A file does not hold what was written; the text says why."""


class NotRead(Damaged):
    """A file cannot be read; its content may be intact."""


def replace_files(contents: Iterable[tuple[str | Path, bytes]]) -> None:
    """Replace each file by its content, all in one batch; raise StateError.

    Each file changes in one step; together they do not.  After an error some may be
    new and the rest are as they were.
    """
    # As text: thousands of Paths cost more than what is written.
    texts = [(os.fspath(path), content) for path, content in contents]
    moves: list[tuple[str, str]] = []
    try:
        _write_all(texts, moves)
        for temporary, path in moves:
            _rename(temporary, path)
        for folder in dict.fromkeys(os.path.dirname(path) for path, _content in texts):
            sync_folder(Path(folder))
    except BaseException:
        for temporary, _path in moves:
            _remove_quietly(temporary)
        raise


def replace_softly(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Replace a file in one step without syncing it; raise StateError.

    Cheap, for what may be lost: after a power cut it may be damaged.
    """
    temporary = _write_new(os.fspath(path), content, sync=False, mode=mode)
    try:
        _rename(temporary, os.fspath(path))
    except BaseException:
        _remove_quietly(temporary)
        raise


def open_to_write(
    path: str | Path, *, append: bool = False, folder: int | None = None
) -> int:
    """Return a descriptor to read and write a file; one that is missing is made.

    Raise OSError, also if it is a link or not a regular file.  ``folder`` is a
    descriptor of the folder where a relative path starts.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    if append:
        flags |= os.O_APPEND
    descriptor = os.open(path, flags, 0o600, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(0, "it is not a regular file")
    return descriptor


def write_whole(descriptor: int, content: bytes | bytearray) -> None:
    """Write all of the content; raise OSError if the last byte cannot be written.

    A single write may take only a part: the disk or a pipe is full, or a signal came.
    """
    left = memoryview(content)
    while left:
        left = left[_taken(os.write(descriptor, left)) :]


def overwrite(descriptor: int, content: bytes) -> None:
    """Replace the content of an open file in place; raise OSError.

    For a file that is locked.  It is truncated last, so that a full disk does not leave
    it empty.
    """
    left, done = memoryview(content), 0
    while left:
        count = _taken(os.pwrite(descriptor, left, done))
        left, done = left[count:], done + count
    os.ftruncate(descriptor, len(content))


def _taken(count: int) -> int:
    """Return how many bytes a write took; raise OSError if none."""
    if count == 0:
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    return count


def sync_folder(folder: Path) -> None:
    """Make renames and removals in ``folder`` durable; raise StateError."""
    descriptor = _step(folder, "open", os.open, folder, os.O_RDONLY)
    try:
        _step(folder, "fsync", os.fsync, descriptor)
    finally:
        os.close(descriptor)


def listed(folder: Path) -> list[str]:
    """Return the names in a folder, sorted; none if it is missing; raise StateError."""
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise trouble(folder, "list it", error) from error


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that a killed run left behind; nothing else."""
    names = (name for name in listed(folder) if _TEMPORARY.fullmatch(name))
    for name in islice(names, MAX_LEFTOVERS):
        try:
            os.unlink(folder / name)
        except OSError as error:
            logger.warning("%s", trouble(folder / name, "remove it", error))


def move_away(paths: Iterable[Path], folder: Path, now: datetime) -> None:
    """Move those of the paths that exist into ``folder``, each under a dated name.

    A file that cannot be moved stays, with an error in the log.
    """
    existing = [path for path in paths if os.path.lexists(path)]
    if not existing:
        return
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        for path in existing:
            dated = f"{path.stem}.{now:%Y%m%dT%H%M%S.%f}{path.suffix}"
            _step(path, f"move it to {folder}", os.rename, path, folder / dated)
        for changed in dict.fromkeys([folder, *(path.parent for path in existing)]):
            sync_folder(changed)
    except OSError as error:
        logger.error("%s", trouble(folder, "make it", error))
    except StateError as error:
        logger.error("%s", error)


def thin(folder: Path, *, most_files: int, most_bytes: int) -> None:
    """Remove the oldest files of a folder where there are too many, or too much.

    The newest always stays.  What cannot be removed stays, with a line in the log.
    """
    try:
        with os.scandir(folder) as entries:
            files = [entry for entry in entries if entry.is_file(follow_symlinks=False)]
        sizes = [_dated(entry) for entry in files]
    except OSError as error:
        logger.warning("%s", trouble(folder, "list it", error))
        return
    for name in beyond(sizes, most_files, most_bytes):
        try:
            os.unlink(folder / name)
        except OSError as error:
            logger.warning("%s", trouble(folder / name, "remove it", error))


def _dated(entry: os.DirEntry[str]) -> DatedFile:
    status = entry.stat(follow_symlinks=False)
    # The time that nobody can set; what it takes of the disk, which may be less.
    return DatedFile(status.st_ctime_ns, entry.name, status.st_blocks * 512)


class DatedFile(NamedTuple):
    """A file as ``thin`` sees it."""

    changed_ns: int
    name: str
    size: int


def beyond(files: Iterable[DatedFile], most_files: int, most_bytes: int) -> list[str]:
    """Return the names of the files that are too many, the oldest first."""
    newest_first = sorted(files, reverse=True)
    size = 0
    for count, file in enumerate(newest_first):
        size += file.size
        if count and (count >= most_files or size > most_bytes):
            return [file.name for file in reversed(newest_first[count:])]
    return []


def read_capped(path: str | Path) -> bytes:
    """Return a file's content; raise Damaged if it cannot be one of ours.

    That is one that is too large, or not a regular file.  Raise OSError if reading
    fails twice: a single error of a device loses nothing.
    """
    try:
        return _read_capped(path)
    except FileNotFoundError:
        raise
    except OSError:
        return _read_capped(path)


def _read_capped(path: str | Path) -> bytes:
    # O_NONBLOCK: opening a pipe must not wait for a writer.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Damaged("it is a symbolic link") from error
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Damaged("it is not a regular file")
        if status.st_size > MAX_FILE:
            raise Damaged(f"it has {status.st_size} bytes, too many for a file of ours")
        content = os.read(descriptor, status.st_size + 1)
        # All of it, and less than was asked for: its end was met.
        while content and len(content) != status.st_size:
            part = os.read(descriptor, status.st_size + 1)
            if not part:
                break
            content += part
            if len(content) > MAX_FILE:
                raise Damaged("it grows while it is read")
        return content
    finally:
        os.close(descriptor)


def _write_all(contents: list[tuple[str, bytes]], moves: list[tuple[str, str]]) -> None:
    """Write each content beside its file; add each rename to ``moves``."""

    def write(some: list[tuple[str, bytes]]) -> None:
        for path, content in some:
            moves.append((_written_beside(path, content), path))

    if len(contents) < PARALLEL_FROM:
        write(contents)
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(WRITERS) as pool:
        shares = [contents[first::WRITERS] for first in range(WRITERS)]
        try:
            for task in [pool.submit(write, share) for share in shares]:
                task.result()
        except RuntimeError:
            # No thread can be started: write one after the other.
            pool.shutdown(cancel_futures=True)
    written = {path for _temporary, path in moves}
    write([pair for pair in contents if pair[0] not in written])


def _written_beside(path: str, content: bytes) -> str:
    """Return a new file in the same folder that holds ``content`` durably.

    Tried once more with another file if it fails: a failed fsync must not be repeated
    on the same descriptor, which would report success for data that was dropped.
    """
    try:
        return _write_new(path, content)
    except StateError:
        return _write_new(path, content)


def _write_new(
    path: str, content: bytes, *, sync: bool = True, mode: int = 0o600
) -> str:
    folder, name = os.path.split(path)
    new = f".{name}.{os.urandom(4).hex()}.tmp"
    temporary = os.path.join(folder, new)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = _step(path, f"create {new}", os.open, temporary, flags, 0o600)
    try:
        try:
            _step(path, f"write {new}", write_whole, descriptor, content)
            if mode != 0o600:
                # Whatever the umask is.
                _step(path, f"chmod {new}", os.fchmod, descriptor, mode)
            if sync:
                _step(path, f"fsync {new}", os.fsync, descriptor)
        finally:
            _step(path, f"close {new}", os.close, descriptor)
    except BaseException:
        _remove_quietly(temporary)
        raise
    return temporary


def _rename(temporary: str, path: str) -> None:
    what = f"rename {os.path.basename(temporary)} to it"
    _step(path, what, os.rename, temporary, path)


def _step(path: str | Path, what: str, call: Any, *arguments: Any) -> Any:
    """Return what a system call returns; raise its error as a StateError."""
    try:
        return call(*arguments)
    except OSError as error:
        raise trouble(Path(path), what, error) from error


def _remove_quietly(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        return

"""Files that are replaced whole, or not at all.

A write makes the new content durable beside the old, then moves it into place, then
makes the move durable: a crash at any point leaves the old file or the new one.  For
the order of the calls see rename(2) and fsync(2).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lib import plain

FORMAT = 1
#: Nothing we write comes near this; a larger file is no record, and is not read.
MAX_FILE = 64 * 1024 * 1024
TEMPORARY = ".tmp"


class StateError(Exception):
    """State cannot be used; the text says which file, why, and what to do."""


class Damaged(Exception):
    """A file does not hold what was written; the text says how it shows."""


def replace_files(contents: Iterable[tuple[Path, bytes]]) -> None:
    """Replace each file by its content, all in one batch; raise StateError.

    Each file changes in one step; together they do not.  After an error some may be
    new and the rest are as they were.
    """
    moves = []
    try:
        for path, content in contents:
            moves.append((_written_beside(path, content), path))
        for temporary, path in moves:
            _step("rename", path, os.rename, temporary, path)
        for folder in dict.fromkeys(path.parent for _temporary, path in moves):
            sync_folder(folder)
    except StateError:
        for temporary, _path in moves:
            _remove_quietly(temporary)
        raise


def sync_folder(folder: Path) -> None:
    """Make renames and removals in ``folder`` durable; raise StateError."""
    descriptor = _step("open", folder, os.open, folder, os.O_RDONLY)
    try:
        _step("fsync", folder, os.fsync, descriptor)
    finally:
        os.close(descriptor)


def packed(value: Any) -> bytes:
    """Return a value as the text of a file: JSON that people can read, with its sum."""
    import json

    body = {"format": FORMAT, **plain.to_plain(value)}
    body["sum"] = _sum(body)
    return (json.dumps(body, indent=1, ensure_ascii=False) + "\n").encode(
        "utf-8", "surrogatepass"
    )


def unpacked(content: bytes) -> tuple[dict[str, Any], bool]:
    """Return what the text of a file holds, and whether its sum was there.

    Raise Damaged if it is no such text, or its sum is wrong; StateError if it was
    written by a newer Checker.  A person who edits a file takes its sum out.
    """
    try:
        body = plain.loads(content.decode("utf-8", "surrogatepass"))
    except ValueError as error:
        raise Damaged(f"it is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise Damaged("it is no JSON object")
    version = body.pop("format", None)
    if type(version) is not int:
        raise Damaged("it does not say its format")
    if version > FORMAT:
        raise StateError(
            f"it was written by a newer Checker (format {version}, this one knows "
            f"{FORMAT}): upgrade, or move it away"
        )
    found = body.pop("sum", None)
    if found is not None and found != _sum({"format": version, **body}):
        raise Damaged("its sum does not fit its content")
    return body, found is not None


def read_capped(path: Path) -> bytes:
    """Return a file's content; raise Damaged if it is too large to be one of ours.

    Raise OSError as open and read do.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_FILE:
            raise Damaged(f"it has {size} bytes, which is no record")
        return file.read(MAX_FILE)


def _sum(body: dict[str, Any]) -> str:
    import json

    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:32]


def _written_beside(path: Path, content: bytes) -> Path:
    """Return a new file in the same folder that holds ``content`` durably.

    Tried once more with another name if it fails: a failed fsync must not be repeated
    on the same descriptor, which would report success for data that was dropped.
    """
    try:
        return _write_new(path, content)
    except StateError:
        return _write_new(path, content)


def _write_new(path: Path, content: bytes) -> Path:
    temporary = path.parent / f".{path.name}.{os.urandom(4).hex()}{TEMPORARY}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = _step("create", temporary, os.open, temporary, flags, 0o600)
    try:
        try:
            data = memoryview(content)
            while data:
                data = data[_step("write", temporary, os.write, descriptor, data) :]
            _step("fsync", temporary, os.fsync, descriptor)
        finally:
            _step("close", temporary, os.close, descriptor)
    except StateError:
        _remove_quietly(temporary)
        raise
    return temporary


def _step(what: str, path: Path, call: Any, *arguments: Any) -> Any:
    """Return what a system call returns; its error is a StateError that names both."""
    try:
        return call(*arguments)
    except OSError as error:
        raise StateError(f"{path}: cannot {what}: {error.strerror}") from error


def _remove_quietly(path: Path) -> None:
    try:
        os.unlink(path)
    except OSError:
        return

"""What is in a file: whether it is whole, has its checksum, and holds what it should.

It is read to its end, which may take long; see lib/plugins/aside.py.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, NamedTuple

from lib.plugins import archives
from lib.plugins.base import CheckFailed
from lib.plugins.files import amount

#: How much of a file is searched at once, and how long a line may be.
SEARCHED, OVERLAP = 1024 * 1024, 64 * 1024

#: So much of a line is shown.
MAX_SHOWN = 200

#: Says how far it is, in words that are made if somebody wants them.
Progress = Callable[[Callable[[], str]], None]


class Asked(NamedTuple):
    """What is asked of the contents; empty, False or None: nothing."""

    #: A format of lib/plugins/archives.py, or ``auto``.
    integrity: str = ""
    #: A dump of lib/plugins/backups.py.
    complete: str = ""
    #: The name of a checksum that is to be returned, and whether SHA-256 is as well.
    checksum: str = ""
    digest: bool = False
    expect: bytes = b""
    expect_regex: re.Pattern[bytes] | None = None
    forbid_regex: re.Pattern[bytes] | None = None


def read(
    path: str,
    facts: os.stat_result,
    asked: Asked,
    progress: Progress,
    scrub: Callable[[str], str] = str,
) -> dict[str, str]:
    """Return ``checksum``, ``digest`` and ``words`` for people, as far as asked for.

    ``scrub`` removes secrets from a line that is shown.  Raise CheckFailed if it is not
    as it should be, CheckUnknown if that cannot be told.
    """

    def tell(words: str) -> None:
        progress(lambda: words)

    try:
        if stat.S_ISDIR(facts.st_mode) and asked.complete == "pg_dump":
            from lib.plugins import backups

            return {"words": backups.check_folder_of_postgres(path, tell)}
        if not stat.S_ISREG(facts.st_mode):
            raise CheckFailed(f"{path} is not a file, so it is not read")
        with _opened(path) as file:
            source = archives.Source(file, lambda it: progress(lambda: _how_far(it)))
            if asked.integrity:
                archives.check(source, asked.integrity)
            if asked.complete:
                from lib.plugins import backups

                backups.check_dump(source, asked.complete, tell)
            _search(source, asked, path, scrub)
            return _digests(source, asked)
    except archives.Damaged as error:
        raise CheckFailed(f"{path}: {error}") from error


def _opened(path: str) -> IO[bytes]:
    """Return a file, open; what became a pipe meanwhile is not waited for."""
    file = open(path, "rb", buffering=0, opener=_open_at_once)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is not a file any more", path)
    return file


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _how_far(source: archives.Source) -> str:
    return f"{amount(source.at)} of {amount(source.size)} are read"


def _digests(source: archives.Source, asked: Asked) -> dict[str, str]:
    import hashlib

    hashes: dict[str, Any] = {}
    if asked.checksum:
        hashes["checksum"] = hashlib.new(asked.checksum, usedforsecurity=False)
    if asked.digest:
        hashes["digest"] = hashlib.sha256()
    for chunk in source.chunks() if hashes else ():
        for one in hashes.values():
            one.update(chunk)
    return {name: one.hexdigest() for name, one in hashes.items()}


def _search(
    source: archives.Source, asked: Asked, path: str, scrub: Callable[[str], str]
) -> None:
    """Raise CheckFailed if the contents are not as expected."""
    wanted = [asked.expect, asked.expect_regex]
    missing = [one for one in wanted if one]
    if not missing and not asked.forbid_regex:
        return
    name = archives.format_of(source.head(archives.BLOCK))
    is_packed = name not in ("", "tar", "zip")
    chunks = archives.contents(source, name) if is_packed else source.chunks()
    for block in blocks(chunks):
        missing = [one for one in missing if not _is_in(one, block)]
        if asked.forbid_regex and (match := asked.forbid_regex.search(block)):
            line = scrub(_line_of(block, match.start()))[:MAX_SHOWN]
            raise CheckFailed(f"{path} matches forbid_regex: {line}")
        if not missing and not asked.forbid_regex:
            return
    if missing:
        sought = missing[0]
        words = sought if isinstance(sought, bytes) else sought.pattern
        shown = words.decode("utf-8", "replace")[:MAX_SHOWN]
        raise CheckFailed(f"{path} does not contain {shown!r}")


def _is_in(wanted: bytes | re.Pattern[bytes], block: bytes) -> bool:
    if isinstance(wanted, bytes):
        return wanted in block
    return wanted.search(block) is not None


def _line_of(block: bytes, at: int) -> str:
    begin, end = block.rfind(b"\n", 0, at) + 1, block.find(b"\n", at)
    line = block[begin : end if end >= 0 else len(block)]
    return line.decode("utf-8", "replace").strip()


def blocks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield contents in blocks of whole lines, each with the last lines before it.

    So ``^`` and ``$`` are those of lines, and what spans two blocks is found.  A line
    longer than a block is cut.
    """
    before, rest = b"", bytearray()
    for chunk in chunks:
        rest += chunk
        if len(rest) < SEARCHED:
            continue
        end = rest.rfind(b"\n") + 1 or len(rest)
        block = before + bytes(rest[:end])
        yield block
        del rest[:end]
        before = block[-OVERLAP:]
        before = before[before.find(b"\n") + 1 :]
    if rest or not before:
        yield before + bytes(rest)

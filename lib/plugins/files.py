"""What is there: the facts of a file, the files of a pattern, what is below a folder.

All of it may hang on a file system that does not answer, and belongs into a child; see
lib/plugins/aside.py.
"""

from __future__ import annotations

import fnmatch
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple


class LeftOut(NamedTuple):
    """What is not finished, and so does not count."""

    #: Patterns of names.
    patterns: tuple[str, ...] = ()
    #: What was changed in so many seconds before now.
    settled_s: float = 0.0

    def has(self, path: str, facts: os.stat_result, now: float) -> bool:
        """Return whether a file is left out."""
        if self.settled_s and now - facts.st_mtime < self.settled_s:
            return True
        name = os.path.basename(path)
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.patterns)


def facts_of(path: str, *, or_link: bool = False) -> os.stat_result:
    """Return the facts of a file; with ``or_link`` of a link that leads nowhere, too.

    Raise FileNotFoundError, which says why in a sentence.
    """
    try:
        return os.stat(path)
    except FileNotFoundError as error:
        if os.path.islink(path):
            if or_link:
                return os.lstat(path)
            raise FileNotFoundError(
                f"{path} is a link to {os.readlink(path)}, which does not exist"
            ) from error
        raise FileNotFoundError(f"{path} does not exist") from error
    except NotADirectoryError as error:
        raise FileNotFoundError(
            f"{path} does not exist: a part of the path is a file"
        ) from error


def matching(pattern: str, left_out: LeftOut) -> Iterator[tuple[float, str]]:
    """Yield when each file or folder of a pattern was changed, and its path.

    Raise OSError if the folder that the pattern begins with cannot be read.
    """
    import glob

    # glob takes a folder that it may not read for one that is empty.
    folder = os.path.dirname(re.split(r"[*?\[]", pattern)[0]) or "/"
    try:
        with os.scandir(folder):
            pass
    except FileNotFoundError:
        return
    now = time.time()
    for path in glob.iglob(pattern, recursive=True):
        try:
            facts = os.stat(path)
        except FileNotFoundError:
            # It was removed meanwhile, or is a link to nothing.
            continue
        is_wanted = stat.S_ISREG(facts.st_mode) or stat.S_ISDIR(facts.st_mode)
        if is_wanted and not left_out.has(path, facts, now):
            yield facts.st_mtime, path


def count_in(folder: str, left_out: LeftOut) -> int:
    """Return how many files and folders are in a folder."""
    now = time.time()
    with os.scandir(folder) as entries:
        return sum(
            not left_out.has(entry.path, entry.stat(follow_symlinks=False), now)
            for entry in entries
        )


class Folder(NamedTuple):
    """All files below a folder: their size in bytes, and when the newest changed."""

    files: int
    size: int
    newest: float


def folder_of(path: str, tell: Callable[[str], None]) -> Folder:
    """Return what is below a folder; tell all the while how far that is."""
    size = files = 0
    newest = 0.0
    for facts in _below(path):
        size, files = size + facts.st_size, files + 1
        newest = max(newest, facts.st_mtime)
        if not files % 100:
            tell(f"{files} files so far, {amount(size)}")
    return Folder(files, size, newest)


def _below(path: str) -> Iterator[os.stat_result]:
    """Yield the facts of each file below a folder; links are not followed."""
    waiting = [path]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif not entry.is_symlink():
                        yield entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            # It was removed meanwhile.
            continue


def amount(size: float) -> str:
    """Return a number of bytes for people, such as ``1.5 GB``."""
    words = {"TB": 1e12, "GB": 1e9, "MB": 1e6, "kB": 1e3}
    for word, unit in words.items():
        if size >= unit:
            return f"{size / unit:.3g} {word}"
    return f"{size:g} B"


def user_of(number: int) -> tuple[str, str]:
    """Return the name of a user, empty if it has none, and its number."""
    import pwd

    try:
        return pwd.getpwuid(number).pw_name, str(number)
    except KeyError:
        return "", str(number)


def group_of(number: int) -> tuple[str, str]:
    """Return the name of a group, empty if it has none, and its number."""
    import grp

    try:
        return grp.getgrgid(number).gr_name, str(number)
    except KeyError:
        return "", str(number)

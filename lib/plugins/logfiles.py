"""Follows log files: reads what is new, through every kind of rotation.

What is unread of rotated files is read first, in the order in which it was written.
Each of them is looked for by what it holds; see lib/plugins/logreader.py.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lib.plugins.logreader import (
    PackedFile,
    Place,
    PlainFile,
    Source,
    Stopped,
    Truncated,
    checksum,
    read_on,
)
from lib.plugins.search import Found, Look, TooSlow

#: The most files of a pattern, and rotated ones of a file.
MAX_FILES, MAX_ROTATED = 100, 200
#: Of so many rotated files that were read whole the first bytes are remembered.
MAX_DONE = 20
#: Fewer first bytes are found in other files, too.
FEW = 64
#: What is left of a file that is gone says nothing if it was older than this.
RECENT_S = 3600.0
#: How long copying and truncating a log may take.
COPY_NS = 3600_000_000_000
#: By how much the time of a compressed file may be earlier than the original's.
ROUNDED_NS = 2_000_000_000

#: How often rotated files are listed if they are renamed meanwhile.
MAX_LISTINGS = 4

#: What a rotated file has behind the name of the log, or before its extension.
_ROTATED = re.compile(
    r"[-._]?(?P<mark>\d[\d._T:-]*|old|bak|prev)(?P<packed>\.(?:gz|xz|lzma|bz2|zst))?"
)


def follow(
    look: Look, path: str, olddir: str, before: Mapping[str, Any]
) -> dict[str, Any]:
    """Read on in the log at ``path``, or in all of a pattern; return how far.

    ``before`` is what the last check returned, empty in the first one.  Rotated files
    are in ``olddir``, if it is not empty, else beside the log.
    """
    stored = before.get("files")
    is_first = not isinstance(stored, dict)
    known = plain_dict(stored)
    is_one = not any(sign in path for sign in "*?[")
    paths = [path] if is_one else _matching(look, path, known)
    after: dict[str, Any] = {}
    for each in paths:
        log = _Log(look, each, olddir, is_one=is_one)
        kept = log.read(known.get(each), is_first=is_first)
        if kept is not None:
            after[each] = kept
        look.news.take(log.found, "" if is_one else os.path.basename(each))
    if not (is_one or after or look.may_be_missing):
        look.news.missing.append(f"no file matches {path}")
    return {"files": after}


def plain_dict(value: object) -> dict[str, Any]:
    """Return a dict as it was stored; an empty one for anything else."""
    return dict(value) if isinstance(value, dict) else {}


def _matching(look: Look, pattern: str, known: Mapping[str, Any]) -> list[str]:
    """Return the files of a pattern, without rotated ones, and those known before."""
    import glob

    paths = set(glob.glob(pattern))
    every = {*paths, *known}
    folders: dict[str, list[str]] = {}
    for path in every:
        folders.setdefault(os.path.dirname(path), []).append(os.path.basename(path))
    rotated = {
        os.path.join(folder, name)
        for folder, names in folders.items()
        for base in names
        for name in names
        if name != base and mark_of(name, base)
    }
    live = sorted(path for path in every - rotated if path in known or _is_log(path))
    if len(live) > MAX_FILES:
        look.news.unknown.append(
            f"{len(live)} files match {pattern}; the first {MAX_FILES} are " "read"
        )
    return live[:MAX_FILES]


def _is_log(path: str) -> bool:
    """Return whether it may be a log: a file that is not compressed."""
    is_packed = path.endswith((".gz", ".xz", ".lzma", ".bz2", ".zst"))
    return not is_packed and not os.path.isdir(path)


def mark_of(name: str, base: str) -> re.Match[str] | None:
    """Return what tells a rotated file from its log; None if it is none of it."""
    if name.startswith(base):
        return _ROTATED.fullmatch(name, len(base))
    stem, extension = os.path.splitext(base)
    if not (extension and name.startswith(stem)):
        return None
    # The number may be before the extension.
    at = name.rfind(extension)
    if at < len(stem):
        return None
    return _ROTATED.fullmatch(name[len(stem) : at] + name[at + len(extension) :])


class _Rotated(NamedTuple):
    path: str
    is_packed: bool
    mark: str
    changed_ns: int
    #: Its number in the file system.
    number: int

    @property
    def numbers(self) -> tuple[int, ...]:
        return tuple(map(int, re.findall(r"\d+", self.mark)))

    @property
    def is_dated(self) -> bool:
        return len(re.sub(r"\D", "", self.mark)) > 4


def rotated_files(path: str, olddir: str, since_ns: int) -> list[_Rotated]:
    """Return what is rotated of a log and was changed since a time, newest first.

    Raise OSError if the folder cannot be read.
    """
    folder, base = os.path.split(path)
    files: dict[str, _Rotated] = {}
    with os.scandir(olddir or folder) as entries:
        for entry in entries:
            mark = mark_of(entry.name, base) if entry.name != base else None
            if mark is None:
                continue
            one = _rotated(entry, mark)
            if one is None or one.changed_ns < since_ns:
                continue
            # Beside a file that is just being compressed its copy is not whole.
            if not (one.is_packed and one.mark in files):
                files[one.mark] = one
    every = list(files.values())
    if any(one.is_dated for one in every) and not all(one.is_dated for one in every):
        every.sort(key=lambda one: -one.changed_ns)
    else:
        is_dated = bool(every) and every[0].is_dated
        every.sort(key=lambda one: one.numbers, reverse=is_dated)
    return every[:MAX_ROTATED]


def _rotated(entry: os.DirEntry[str], mark: re.Match[str]) -> _Rotated | None:
    """Return a rotated file; None if it is no file, or gone."""
    try:
        info = entry.stat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(info.st_mode):
        return None
    is_packed = bool(mark["packed"])
    # Who compresses a file gives it the time of the original, and may round it.
    changed_ns = info.st_mtime_ns + (ROUNDED_NS if is_packed else 0)
    return _Rotated(entry.path, is_packed, mark["mark"], changed_ns, info.st_ino)


class _Log:
    """One log with what is rotated of it."""

    def __init__(self, look: Look, path: str, olddir: str, *, is_one: bool) -> None:
        self.found = Found()
        self._look, self._path, self._olddir, self._is_one = look, path, olddir, is_one
        self._open: list[Source] = []
        #: How often in a row it was not there before.
        self._gone = 0
        self._is_waiting = False
        #: Whether the last check, and this one, could not read what is there.
        self._has_failed = self._fails = False
        #: Since when rotated files were listed, and what they were.
        self._listing: tuple[int, list[tuple[str, int]]] | None = None
        #: The first bytes of rotated files that were read whole.
        self._done: list[tuple[int, int]] = []

    def read(self, stored: object, *, is_first: bool) -> dict[str, Any] | None:
        """Read on; return what to remember of it, None for nothing."""
        kept = plain_dict(stored)
        places = [place for one in kept.get("places", ()) if (place := Place.of(one))]
        self._gone = int(kept.get("gone", 0))
        self._has_failed = kept.get("failed") is True
        self._done = [(int(size), int(sum_)) for size, sum_ in kept.get("done", ())]
        try:
            current = self._current()
        except OSError as error:
            self._look.news.unknown.append(_why_not_read(self._path, error))
            return kept or {"first": True}
        is_first = kept.get("first") is True or (is_first and not kept)
        try:
            if is_first:
                places = self._first(current)
            else:
                places = self._read_all(current, places)
        except OSError as error:
            self._look.news.unknown.append(_why_not_read(self._path, error))
            return kept or {"first": True}
        finally:
            for source in self._open:
                source.close()
        gone = 0 if current else self._missing(places, kept)
        if current is None and not self._is_one and gone > 1:
            return None
        return {
            "places": [list(place) for place in places],
            "gone": gone,
            "failed": self._fails,
            "done": self._done[-MAX_DONE:],
        }

    def _current(self) -> PlainFile | None:
        """Return the log itself; None if it is not there."""
        try:
            source = PlainFile(self._path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        self._open.append(source)
        if not source.is_regular:
            source.close()
            raise OSError(0, "it is not a file")
        return source

    def _missing(self, places: Sequence[Place], kept: Mapping[str, Any]) -> int:
        """Say that it is not there; return how many times in a row that was so."""
        gone = self._gone + 1
        news, is_expected = self._look.news, self._look.may_be_missing
        if is_expected or not self._is_one:
            return gone
        if gone == 1 and kept:
            news.pending.append(f"{self._path} is not there: it may just be rotated")
        else:
            news.missing.append(f"{self._path} is not there")
        return gone

    def _first(self, current: PlainFile | None) -> list[Place]:
        if current is None:
            return []
        if self._look.is_from_end:
            return [current.end()]
        return self._read_each([(current, Place())])

    def _read_all(
        self, current: PlainFile | None, places: Sequence[Place]
    ) -> list[Place]:
        """Read all that is new, in the order in which it was written."""
        if not places:
            return self._read_each([(current, Place())] if current else [])
        try:
            steps = self._settled_steps(current, places)
        except TimeoutError:
            self._say_pending()
            return list(places)
        except TryAgain as error:
            self._look.news.pending.append(str(error))
            return list(places)
        return list(places) if self._is_waiting else self._read_each(steps)

    def _settled_steps(
        self, current: PlainFile | None, places: Sequence[Place]
    ) -> list[tuple[Source, Place]]:
        """Return what to read, and from where, of files that are not being renamed."""
        news = self._look.news
        said: list[list[Any]] = [news.lost, news.unsure, self._done]
        lengths = [len(each) for each in said]
        for listing in range(1, MAX_LISTINGS + 1):
            try:
                steps = self._steps(current, places)
                self._check_settled(current)
                return steps
            except Moved:
                for each, length in zip(said, lengths, strict=True):
                    del each[length:]
                if listing == MAX_LISTINGS:
                    raise
            current, self._listing = self._current(), None
        raise AssertionError

    def _check_settled(self, current: PlainFile | None) -> None:
        """Raise Moved if the log was rotated while it was looked for."""
        if self._listing is None:
            return
        since_ns, before = self._listing
        if current is None:
            is_settled = not os.path.exists(self._path)
        else:
            is_settled = current.is_at_path()
        files = rotated_files(self._path, self._olddir, since_ns)
        if not is_settled or [(one.path, one.number) for one in files] != before:
            raise Moved(self._path)

    def _steps(
        self, current: PlainFile | None, places: Sequence[Place]
    ) -> list[tuple[Source, Place]]:
        """Return what to read, and from where."""
        last = places[-1]
        if not last.offset:
            return self._steps_from_start(current, places)
        earliest_ns = min(place.changed_ns for place in places)
        is_it = current is not None and current.at(last)
        is_same = current is not None and current.number == last.file
        if current is not None and is_it and is_same and len(places) == 1:
            return [(current, last)]
        rotated = [
            source
            for one in self._rotated(earliest_ns - COPY_NS)
            if (source := self._opened(one))
        ]
        steps: list[tuple[Source, Place]] = []
        former = None
        if len(places) > 1:
            number = self._holder(rotated, places[0])
            former = None if number is None else rotated[number]
            self._say_former(former, places[0])
        others = [one for one in rotated if one is not former]
        if is_it and not is_same:
            # The same bytes in another file: it is new if the old one is there.
            is_it = not any(self._is_at(one, last) for one in others)
        newer: list[Source] = []
        if former is not None:
            steps.append((former, places[0]))
        if not is_it:
            newer, held = self._newer(others, last, current)
            newer = _without_copies(current, newer, last)
            if held is not None:
                steps.append((held, last))
        steps += [(one, Place()) for one in reversed(newer)]
        if current is not None:
            steps.append((current, last if is_it else Place()))
            if is_it:
                current.at(last)
        return steps

    def _steps_from_start(
        self, current: PlainFile | None, places: Sequence[Place]
    ) -> list[tuple[Source, Place]]:
        """Return what to read where nothing was read yet of the log as it was.

        It was empty, or had half a line.  All is unread that is newer than what was
        read before it.
        """
        last, former, is_found = places[-1], None, False
        newer: list[Source] = []
        for one in self._rotated(0):
            source = self._opened(one)
            if source is None:
                continue
            if len(places) > 1 and self._is_at(source, places[0]):
                former, is_found = source, True
                break
            if is_found:
                continue
            # All that is older was read, too.
            is_found = checksum(source.head()) in self._done
            if not is_found:
                newer.append(source)
            elif len(places) == 1:
                break
        if len(places) > 1:
            self._say_former(former, places[0])
        if not is_found:
            newer = [
                one
                for one in newer
                if _changed_ns(one) >= last.changed_ns or one.begins_as(last)
            ]
        is_gone = not any(
            _may_be(one, last) for one in (current, former, *newer) if one
        )
        if is_gone:
            self._say_lost(last)
        elif current and not newer and _was_emptied(current, last):
            self._look.news.lost.append(
                f"{self._path} is empty as before, but was changed: it was truncated, "
                "or only touched; what may have been written to it after the last "
                "check is not there any more"
            )
        newer = _without_copies(current, newer, last)
        steps: list[tuple[Source, Place]] = []
        if former is not None:
            steps.append((former, places[0]))
        steps += [(one, Place()) for one in reversed(newer)]
        if current is not None:
            steps.append((current, Place() if newer else last))
        self._is_waiting = not steps and not self._gone
        return steps

    def _say_former(self, former: Source | None, place: Place) -> None:
        """Remember a rotated file of which nothing more is to come."""
        if former is None and place.head[0]:
            self._done.append(place.head)

    def _newer(
        self, rotated: Sequence[Source], last: Place, current: Source | None
    ) -> tuple[list[Source], Source | None]:
        """Return what is unread, newest first, and the file of the last place."""
        number = self._holder(rotated, last)
        if number is not None:
            return list(rotated[:number]), rotated[number]
        for number, one in enumerate(rotated):
            # A copy from before the last check, all of which was read.
            if one.begins_as(last) or one.was(last):
                if min(last.head[0], len(one.head())) < FEW:
                    break
                self._say_unsure("it was copied before the last check")
                self._done += [last.head, checksum(one.head())]
                return list(rotated[:number]), None
        # It may just be moved: the next check says that it is lost.
        self._is_waiting = current is None and not self._gone
        if not self._is_waiting:
            self._say_lost(last)
            self._done.append(last.head)
        unread = [
            one
            for one in rotated
            if _changed_ns(one) >= last.changed_ns
            and not (one.begins_as(last) or one.was(last))
            and checksum(one.head()) not in self._done
        ]
        return unread, None

    def _rotated(self, since_ns: int) -> list[_Rotated]:
        """Return what is rotated, and remember it for ``_check_settled``."""
        try:
            files = rotated_files(self._path, self._olddir, since_ns)
        except OSError as error:
            self._say_unread(self._olddir or os.path.dirname(self._path), error)
            return []
        self._listing = since_ns, [(one.path, one.number) for one in files]
        return files

    def _opened(self, one: _Rotated) -> Source | None:
        try:
            source: Source = (
                PackedFile(one.path, self._look.within)
                if one.is_packed
                else PlainFile(one.path)
            )
            self._open.append(source)
            source.head()
        except TimeoutError:
            raise
        except OSError as error:
            if not os.path.exists(one.path):
                raise Moved(self._path) from error
            self._say_unread(one.path, error)
            return None
        if source.info.st_ino != one.number:
            raise Moved(self._path)
        return source

    def _holder(self, rotated: Sequence[Source], place: Place) -> int | None:
        """Return which file a place is in; None if it is in none of them."""
        numbers = [
            number for number, one in enumerate(rotated) if self._is_at(one, place)
        ]
        same = [number for number in numbers if rotated[number].number == place.file]
        every = same or numbers
        return every[-1] if every else None

    def _is_at(self, source: Source, place: Place) -> bool:
        """Go to a place in a rotated file; return whether it is the file of that."""
        try:
            return source.at(place)
        except TimeoutError:
            raise
        except OSError as error:
            self._say_unread(source.path, error)
            return False

    def _say_unread(self, path: str, error: OSError) -> None:
        """Say that a file cannot be read; raise TryAgain if it could in the last check.

        An error may be gone a minute later, or the file is about to be compressed.
        """
        self._fails = True
        why = _why_not_read(path, error)
        if not self._has_failed:
            raise TryAgain(f"{why}; it is tried again in the next check")
        if why not in self._look.news.lost:
            self._look.news.lost.append(why)

    def _say_unsure(self, why: str) -> None:
        self._look.news.unsure.append(
            f"{self._path} may have been truncated before all of it was read: {why}"
        )

    def _say_lost(self, last: Place) -> None:
        is_old = self._look.now - last.changed_ns / 1e9 > RECENT_S
        if is_old and not os.path.exists(self._path):
            self._say_unsure("it was removed")
            return
        self._look.news.lost.append(
            f"{self._path} was replaced or truncated, and what was written to it after "
            f"the last check, behind byte {last.offset}, is not there any more"
        )

    def _read_each(self, steps: Sequence[tuple[Source, Place]]) -> list[Place]:
        """Read the sources; return the places of the last two."""
        places: list[Place] = []
        for number, (source, place) in enumerate(steps):
            is_last_two = number >= len(steps) - 2
            if not is_last_two:
                source.is_final = True
            try:
                place = read_on(source, place, self.found, self._look)
            except Stopped as stopped:
                place = stopped.place
                if not self._goes_on(source, stopped):
                    places.append(place)
                    break
            # Nothing is to come of one that is final.
            if not source.is_final or number == len(steps) - 1:
                places.append(place)
            elif place.head[0]:
                self._done.append(place.head)
        return places[-2:]

    def _goes_on(self, source: Source, stopped: Stopped) -> bool:
        """Say why a file was not read to its end; return whether the others are."""
        why = stopped.__cause__
        if isinstance(why, TooSlow):
            self._look.news.unknown.append(
                f"the pattern takes too long on a line of {source.path} behind byte "
                f"{stopped.place.offset}; write it without repeats of what repeats"
            )
            return False
        if isinstance(why, Truncated):
            self._look.news.pending.append(str(Moved(source.path)))
            return False
        if not isinstance(why, OSError) or isinstance(why, TimeoutError):
            self._say_pending(source.path, stopped.place.offset)
            return False
        try:
            self._say_unread(source.path, why)
        except TryAgain as error:
            self._look.news.pending.append(str(error))
            return False
        return True

    def _say_pending(self, path: str = "", offset: int = 0) -> None:
        where = f"{path or self._path} was read up to byte {offset}"
        self._look.news.pending.append(
            f"there is more than could be read in time: {where}; it goes on in the "
            "next check"
        )


def _may_be(source: Source, place: Place) -> bool:
    """Return whether a file may be that of which nothing was read, or a copy of it."""
    if place.head[0]:
        return source.begins_as(place)
    return source.is_packed or source.number == place.file


def _without_copies(
    current: PlainFile | None, rotated: Sequence[Source], last: Place
) -> list[Source]:
    """Leave out copies of the log that is to be truncated only now, or renamed.

    Of a log that was not replaced an empty file is a copy, too, perhaps one that is
    only begun.
    """
    if current is None:
        return list(rotated)
    current.look_again()
    # If it is truncated after a copy was left out, these bytes tell of that.
    current.head()
    is_copied = current.number == last.file
    left = [
        one
        for one in rotated
        if not (current.holds(one) or (is_copied and not one.head()))
    ]
    if len(left) == len(rotated):
        current.look_again()
    return left


def _was_emptied(source: Source, place: Place) -> bool:
    """Return whether a file that was empty is so again: it may have been written to.

    Truncating or touching an empty file changes the same times.
    """
    return not source.info.st_size and source.info.st_mtime_ns != place.changed_ns


class TryAgain(Exception):
    """Something cannot be read that perhaps can be in the next check."""


class Moved(TryAgain):
    """Rotated files are renamed, or compressed, while they are looked for."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} is just being rotated; it is read in the next check")


def _changed_ns(source: Source) -> int:
    return source.info.st_mtime_ns + (ROUNDED_NS if source.is_packed else 0)


def _why_not_read(path: str, error: OSError) -> str:
    why = error.strerror or str(error)
    if isinstance(error, PermissionError):
        why += "; add Checker's user to the group of the log, on Debian adm"
    return f"{path} cannot be read: {why}"

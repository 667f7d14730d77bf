"""Reads a log, as it is or compressed, from a place in it, in whole lines.

A place says how far a file was read, and how the file is known again: by its first
bytes and by those before the offset, not by its number, which ext4 gives to the next
file.
"""

from __future__ import annotations

import os
import re
import stat
import sys
import zlib
from typing import Any, NamedTuple

from lib.net.connect import Deadline
from lib.plugins.child import Child
from lib.plugins.search import Found, Look, TooSlow

#: How much is read, and searched, at once: it stays in the cache of a processor.
BLOCK = 512 * 1024
#: Of a longer line only the start is searched.
MAX_LINE = 1024 * 1024
#: Where a block is read to, a whole number of pages: before it is room for a line that
#: has no end yet, and for what that line follows.
BLOCK_AT = MAX_LINE + 4096
#: A file is known again by so many of its first bytes, and of those before the offset.
HEAD, TAIL = 1024, 256
#: A line without an end counts as whole if nothing has come for so long.
HALF_LINE_S = 60.0
#: A copy of a log that was so small, and has so few lines, is known though it has less
#: than the first bytes that are compared.
SMALL, MAX_STARTS = 64 * 1024, 40


class Place(NamedTuple):
    """How far a file was read, and how it is known again."""

    offset: int = 0
    #: The number of its file system, its own, and which file of that number it is.
    file: tuple[int, int, int] = (0, 0, 0)
    #: How many of its first bytes, and of those before the offset, and their checksums.
    head: tuple[int, int] = (0, 0)
    tail: tuple[int, int] = (0, 0)
    #: When it was last changed, in ns.
    changed_ns: int = 0
    #: Since when half a line waits, and how long it is.
    half: tuple[float, int] = (0.0, 0)
    #: Within a line that is too long, the rest of which is not searched.
    is_in_line: bool = False
    #: While the file is small: the checksum of its start up to the end of each line.
    starts: tuple[int, ...] = ()

    @classmethod
    def of(cls, stored: Any) -> Place | None:
        """Return a place as it was stored; None if it is none."""
        try:
            offset, file, head, tail, changed_ns, half, is_in_line, starts = stored
            return cls(
                int(offset),
                (int(file[0]), int(file[1]), int(file[2])),
                (int(head[0]), int(head[1])),
                (int(tail[0]), int(tail[1])),
                int(changed_ns),
                (float(half[0]), int(half[1])),
                bool(is_in_line),
                tuple(map(int, starts)),
            )
        except (TypeError, ValueError, IndexError):
            return None


def checksum(data: bytes) -> tuple[int, int]:
    """Return the length of some bytes, and their checksum."""
    return len(data), zlib.crc32(data)


def starts_of(head: bytes, offset: int) -> tuple[int, ...]:
    """Return the checksum of a small file's start up to the end of each line."""
    if offset > SMALL:
        return ()
    lines = head[:offset].split(b"\n", MAX_STARTS)[:-1]
    sums, last = [], 0
    for line in lines[:MAX_STARTS]:
        last = zlib.crc32(b"\n", zlib.crc32(line, last))
        sums.append(last)
    return tuple(sums)


class Source:
    """Something that is read like a file, from its start or from a place in it."""

    #: Its bytes are not its content.
    is_packed = False
    #: Nothing is appended to it any more.
    is_final = False

    def __init__(self, path: str, info: os.stat_result) -> None:
        self.path = path
        self.info = info
        self.number = (info.st_dev, info.st_ino, 0)

    def begins_as(self, place: Place) -> bool:
        """Return whether it has the first bytes of a file, which had some."""
        start = self.head()[: place.head[0]]
        return bool(start) and checksum(start) == place.head

    def was(self, place: Place) -> bool:
        """Return whether it is a copy of a file from before that grew to a place."""
        start = self.head()
        if not start.endswith(b"\n") or self.info.st_mtime_ns > place.changed_ns:
            return False
        lines = start.count(b"\n")
        if lines > len(place.starts) or len(start) >= HEAD:
            return False
        return zlib.crc32(start) == place.starts[lines - 1]

    def head(self) -> bytes:
        """Return its first bytes."""
        raise NotImplementedError

    def rewind(self) -> None:
        """Go to its start."""
        raise NotImplementedError

    def at(self, place: Place) -> bool:
        """Go to a place; return whether this is the file that it is in."""
        raise NotImplementedError

    def read_into(self, room: memoryview) -> int:
        """Read the next bytes; return how many, 0 at the end.

        Raise OSError, or TimeoutError if there is no time.
        """
        raise NotImplementedError

    def is_unchanged(self) -> bool:
        """Return whether it still has the first bytes that it is known by."""
        return True

    def changed_ns(self, *, is_empty: bool) -> int:
        """Return when it was last changed, as of when it was read, in ns."""
        return self.info.st_mtime_ns

    def close(self) -> None:
        """Close it."""
        raise NotImplementedError


#: Linux's FS_IOC_GETVERSION, on most processors.
_GET_VERSION = 0x80087601


def _generation(descriptor: int) -> int:
    """Return what tells a file from an earlier one of the same number.

    ext4, XFS and btrfs have that; 0 where there is none.
    """
    import fcntl

    try:
        answer = fcntl.ioctl(descriptor, _GET_VERSION, bytes(8))
    except OSError:
        return 0
    return int.from_bytes(answer[:4], sys.byteorder)


class PlainFile(Source):
    """A file as it is."""

    def __init__(self, path: str) -> None:
        """Open it; raise OSError."""
        # A pipe must not block.
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        super().__init__(path, os.fstat(self._fd))
        self.number = (*self.number[:2], _generation(self._fd))
        self._read_at = 0
        self._head: bytes | None = None

    @property
    def is_regular(self) -> bool:
        """Return whether it is a file, not a folder or a pipe."""
        return stat.S_ISREG(self.info.st_mode)

    def head(self) -> bytes:
        """Return its first bytes, as they were when it was opened or a little later."""
        if self._head is None:
            self._head = os.pread(self._fd, HEAD, 0)
        return self._head

    def at(self, place: Place) -> bool:
        """Go to a place; return whether this is the file that it is in."""
        # One that was empty is known by nothing else.
        is_it = self.begins_as(place) if place.head[0] else self.number == place.file
        if not is_it or self.info.st_size < place.offset:
            return False
        self._read_at = place.offset
        size = place.tail[0]
        return checksum(os.pread(self._fd, size, place.offset - size)) == place.tail

    def rewind(self) -> None:
        """Go to its start."""
        self._read_at = 0

    def read_into(self, room: memoryview) -> int:
        """Read the next bytes; return how many."""
        info = os.fstat(self._fd)
        # Up to where a page begins: from within one the kernel copies more slowly.
        room = room[: len(room) - self._read_at % len(room)]
        number = os.preadv(self._fd, [room], self._read_at)
        self._read_at += number
        if not number and info.st_size == self._read_at:
            self._know_whole(info)
        return number

    def _know_whole(self, info: os.stat_result) -> None:
        """Remember what it is like now that it is read to its end."""
        head = os.pread(self._fd, HEAD, 0)
        if head.startswith(self._head or b""):
            self._head, self.info = head, info

    def look_again(self) -> None:
        """Have its first bytes read anew: it may be truncated by now."""
        self._head = None

    def is_unchanged(self) -> bool:
        """Return whether it still has the first bytes that it is known by."""
        known = self._head or b""
        return os.pread(self._fd, len(known), 0) == known

    def is_at_path(self) -> bool:
        """Return whether it is where it was opened, no shorter, with that start."""
        try:
            info = os.stat(self.path)
        except OSError:
            return False
        is_it = (info.st_dev, info.st_ino) == self.number[:2]
        return is_it and info.st_size >= self.info.st_size and self.is_unchanged()

    def changed_ns(self, *, is_empty: bool) -> int:
        """Return when it was last changed; of an empty one when it became empty.

        It may have been truncated after it was opened.
        """
        if is_empty and self.info.st_size:
            self.info = os.fstat(self._fd)
        return self.info.st_mtime_ns

    def holds(self, other: Source) -> bool:
        """Return whether it begins with all that another file holds, a copy of it."""
        if not isinstance(other, PlainFile):
            return False
        at = 0
        while data := os.pread(other._fd, BLOCK, at):
            if os.pread(self._fd, len(data), at) != data:
                return False
            at += len(data)
        return bool(self.head())

    def end(self) -> Place:
        """Return the place where its last line begins that has no end, or its end."""
        size = self.info.st_size
        start = max(0, size - MAX_LINE)
        last = os.pread(self._fd, size - start, start)
        offset = start + last.rfind(b"\n") + 1
        tail = os.pread(self._fd, min(TAIL, offset), max(0, offset - TAIL))
        return Place(
            offset,
            self.number,
            checksum(self.head()),
            checksum(tail),
            self.info.st_mtime_ns,
            starts=starts_of(self.head(), offset),
        )

    def close(self) -> None:
        """Close it."""
        os.close(self._fd)


class PackedFile(Source):
    """A rotated file that is compressed; offsets are those of its content."""

    is_packed = is_final = True

    def __init__(self, path: str, deadline: Deadline) -> None:
        """Remember it; raise OSError if it is not there."""
        super().__init__(path, os.stat(path))
        self._deadline = deadline
        self._stream: Any = None
        self._ahead = self._head = b""

    def _open(self) -> None:
        """Begin at its start, with the first bytes read."""
        self.close()
        ending = self.path.rpartition(".")[2]
        if ending == "gz":
            import gzip

            self._stream = gzip.open(self.path)
        elif ending == "bz2":
            import bz2

            self._stream = bz2.open(self.path)
        elif ending == "zst":
            self._stream = Child(["zstd", "-dcq", "--", self.path], self._deadline)
        else:
            import lzma

            self._stream = lzma.open(self.path)
        start = b""
        while len(start) < HEAD and (data := self._next(BLOCK)):
            start += data
        self._ahead, self._head = start, start[:HEAD]

    def _next(self, most: int) -> bytes:
        if self._deadline.passed:
            raise TimeoutError
        try:
            data = bytes(self._stream.read(most))
        except OSError:
            raise
        except Exception as error:  # each of the formats has errors of its own
            raise OSError(0, f"it is damaged: {error}") from error
        if not data and isinstance(self._stream, Child) and self._stream.ended():
            raise OSError(0, "zstd cannot read it")
        return data

    def rewind(self) -> None:
        """Go to its start."""
        self._open()

    def head(self) -> bytes:
        """Return the first bytes of its content."""
        if self._stream is None:
            self._open()
        return self._head

    def at(self, place: Place) -> bool:
        """Go to a place; return whether this is the file that it is in."""
        self._open()
        if not self.begins_as(place):
            return False
        left, tail = place.offset, b""
        while left:
            data = self._read(min(left, BLOCK))
            if not data:
                return False
            left -= len(data)
            tail = (tail + data)[-TAIL:]
        size = place.tail[0]
        return checksum(tail[len(tail) - size :]) == place.tail

    def read_into(self, room: memoryview) -> int:
        """Read the next bytes; return how many; raise OSError if it is damaged."""
        if self._stream is None:
            self._open()
        data = self._read(len(room))
        room[: len(data)] = data
        return len(data)

    def _read(self, most: int) -> bytes:
        if not self._ahead:
            return self._next(most)
        data, self._ahead = self._ahead[:most], self._ahead[most:]
        return data

    def close(self) -> None:
        """Close it."""
        if isinstance(self._stream, Child):
            self._stream.end()
        elif self._stream is not None:
            self._stream.close()
        self._stream = None


def read_on(source: Source, place: Place, found: Found, look: Look) -> Place:
    """Return how far a source was read and searched, from a place that it is at.

    Raise Stopped, with that, if there was no time for all of it, or some of it cannot
    be read.
    """
    reader = _Reader(source, place, found, look)
    try:
        if not place.offset:
            source.rewind()
        reader.read()
    except (OSError, TooSlow) as error:
        raise Stopped(reader.place()) from error
    return reader.place()


class Truncated(OSError):
    """A file was truncated while it was read."""

    def __init__(self) -> None:
        super().__init__(0, "it was truncated meanwhile")


class Stopped(Exception):
    """Not all of a file was read."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.place = place


class _Reader:
    """Reads a source to its end, in whole lines."""

    def __init__(self, source: Source, place: Place, found: Found, look: Look) -> None:
        self._source, self._before, self._found, self._look = source, place, found, look
        self._offset = place.offset
        self._is_in_line = place.is_in_line
        self._half = (0.0, 0)
        self._tail = b""
        #: None: not known yet.
        self._head: bytes | None = None
        #: A block comes to the same place each time: the kernel copies to some places
        #: at half the speed.
        self._data = bytearray(BLOCK_AT + BLOCK)
        #: What of it is not searched yet.
        self._start = self._end = BLOCK_AT

    def read(self) -> None:
        """Read and search all that there is."""
        # Before anything is read: it may be truncated meanwhile.
        self._head = self._source.head()
        room = memoryview(self._data)[BLOCK_AT:]
        while True:
            if self._look.within.passed:
                raise TimeoutError
            self._make_room()
            number = self._source.read_into(room)
            if not number:
                break
            if not self._offset and self._start == self._end:
                self._begin(bytes(room[: min(HEAD, number)]))
            elif not self._source.is_unchanged():
                raise Truncated
            self._end += number
            self._take()
        self._head = self._source.head()
        self._take_half()

    def _make_room(self) -> None:
        """Move the line that has no end yet before the next block."""
        start = BLOCK_AT - (self._end - self._start)
        self._data[start:BLOCK_AT] = self._data[self._start : self._end]
        self._start, self._end = start, BLOCK_AT

    def _begin(self, start: bytes) -> None:
        known = self._head or b""
        if not start.startswith(known[: len(start)]):
            # Its copy is to be read first, which the next check finds by these bytes.
            raise Truncated
        self._head = known or start

    def _take(self) -> None:
        """Search the lines that are whole now; keep half a line."""
        data = self._data
        if self._is_in_line:
            end = data.find(b"\n", self._start, self._end) + 1
            self._is_in_line = not end
            self._pass(end or self._end)
        if data.startswith(b"\0", self._start, self._end):
            # What a program writes on at its offset after copytruncate.
            self._pass(_first_other(data, self._start, self._end))
        # Before this block no line has an end.
        end = data.rfind(b"\n", max(BLOCK_AT, self._start), self._end) + 1
        if end:
            # A pattern may look at what is before a line.
            data[self._start - 1] = ord("\n")
            self._look.search.lines(data, self._found, self._start, end)
            self._pass(end)
        if self._end - self._start > MAX_LINE:
            self._search_alone(self._start + MAX_LINE)
            self._is_in_line = True
            self._look.news.lost.append(
                f"{self._source.path}: a line is longer than {MAX_LINE // 1024**2} MB; "
                "its start was searched"
            )
            self._pass(self._end)

    def _take_half(self) -> None:
        """Search half a line if nothing more is to come."""
        length = self._end - self._start
        if not length:
            return
        since, former_length = self._before.half
        now = self._look.now
        is_same = former_length == length and self._offset == self._before.offset
        is_whole = is_same and now - since >= HALF_LINE_S
        if self._source.is_final or is_whole:
            self._search_alone(self._end)
            self._pass(self._end)
        else:
            self._half = (min(since, now) if is_same else now, length)

    def _search_alone(self, end: int) -> None:
        """Search what is read up to ``end`` as one line."""
        line = bytes(self._data[self._start : end]) + b"\n"
        self._look.search.lines(line, self._found)

    def _pass(self, end: int) -> None:
        """Go behind what was searched."""
        self._offset += end - self._start
        last = self._data[max(self._start, end - TAIL) : end]
        self._tail = (self._tail + last)[-TAIL:]
        self._start = end

    def place(self) -> Place:
        """Return how far all was searched."""
        tail = checksum(self._tail) if self._tail else self._before.tail
        before = self._before
        number = self._offset + self._end - self._start
        changed_ns = self._source.changed_ns(is_empty=not number)
        # Of a file that was truncated before it was read the first bytes are known.
        head = self._head and self._head[: number or HEAD]
        return Place(
            self._offset,
            self._source.number,
            before.head if head is None else checksum(head),
            tail,
            changed_ns,
            self._half,
            self._is_in_line,
            before.starts if head is None else starts_of(head, self._offset),
        )


_OTHER = re.compile(rb"[^\0]")


def _first_other(data: bytearray, start: int, end: int) -> int:
    """Return where the first byte is that is not 0, at most ``end``."""
    match = _OTHER.search(data, start, end)
    return match.start() if match else end

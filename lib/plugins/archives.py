"""Whether compressed files and archives are whole: they are read to their end.

``contents(file, ...)`` yields what is in a compressed file, and raises Damaged where
it ends too early, is changed, or where something else follows it.  Zeros may follow, as
tapes and copies in blocks leave them.  A format that Python cannot read is read by its
own program.  A file is never held in memory whole.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import IO, Any

from lib.plugins.base import CheckUnknown

#: How much is read, and how much is unpacked, at once.
CHUNK, UNPACKED = 256 * 1024, 1024 * 1024
BLOCK = 512
#: The formats, and how their files begin.
MAGICS = {
    "gzip": b"\x1f\x8b",
    "xz": b"\xfd7zXZ\0",
    "zstd": b"\x28\xb5\x2f\xfd",
    "bzip2": b"BZh",
    "lz4": b"\x04\x22\x4d\x18",
    "zip": b"PK",
}
FORMATS = ("gzip", "xz", "zstd", "bzip2", "lz4", "tar", "zip")
_ENDS_EARLY = "it is cut: its data end too early"
_SKIPPED = range(0x184D2A50, 0x184D2A60)


class Damaged(Exception):
    """A file is not whole; the text says why."""


class Source:
    """A file that is read from its begin on; ``at`` is how far."""

    def __init__(self, file: IO[bytes], report: Callable[[Source], None]) -> None:
        self.file = file
        self.size = os.fstat(file.fileno()).st_size
        self.at = 0
        self._report = report

    def chunks(self, end: int | None = None) -> Iterator[bytes]:
        """Yield the bytes up to ``end``, or to the end of the file."""
        self.file.seek(0)
        self.at = 0
        while chunk := self.file.read(
            min(CHUNK, CHUNK if end is None else end - self.at)
        ):
            self.moved(len(chunk))
            yield chunk

    def moved(self, count: int) -> None:
        """Note that so many bytes more are read."""
        self.at += count
        self._report(self)

    def walked_to(self, at: int) -> None:
        """Note that what stands there is looked at next."""
        self.at = at
        self._report(self)

    def head(self, count: int) -> bytes:
        """Return the first bytes."""
        return os.pread(self.file.fileno(), count, 0)

    def tail(self, count: int) -> bytes:
        """Return the last bytes."""
        return os.pread(self.file.fileno(), count, max(0, self.size - count))


def format_of(head: bytes) -> str:
    """Return the format that a file begins as; empty if it is none that is known."""
    number = int.from_bytes(head[:4], "little")
    if number in _SKIPPED and len(head) > 8:
        # As pzstd begins its files.
        return format_of(head[8 + int.from_bytes(head[4:8], "little") :])
    for name, magic in MAGICS.items():
        if head.startswith(magic):
            return name
    return "tar" if is_tar(head) else ""


def is_tar(head: bytes) -> bool:
    """Return whether a block is the header of a member of a tar archive."""
    if head[257:262] == b"ustar":
        return True
    # The oldest form has a checksum only.
    try:
        return bool(head[:1].strip(b"\0")) and _member(head[:BLOCK]) is not None
    except Damaged:
        return False


def contents(source: Source, name: str) -> Iterator[bytes]:
    """Yield what is in a file of a format; raise Damaged, or CheckUnknown."""
    if name in ("zstd", "lz4"):
        return _by_program(source, name)
    if name in _UNPACKERS:
        return _by_library(source, name)
    return source.chunks()


def check(source: Source, wanted: str) -> str:
    """Return the format of a file that is whole, such as ``tar in gzip``.

    ``wanted`` is a format, or ``auto``.  Raise Damaged if it is another one, or is not
    whole, and CheckUnknown if that cannot be told.
    """
    if not source.size:
        raise Damaged("it is empty (0 bytes)")
    # A zip archive may have a program in front of it, which unpacks it.
    name = "zip" if wanted == "zip" else format_of(source.head(BLOCK))
    if wanted == "tar" and not name and not source.head(BLOCK).strip(b"\0"):
        name = "tar"
    if not name:
        raise Damaged(f"it does not begin as {wanted_words(wanted)} does")
    if wanted not in ("auto", "tar", name):
        raise Damaged(f"it is {name}, not {wanted}")
    if name == "zip":
        if wanted == "tar":
            raise Damaged("it is zip, not tar")
        check_zip(source)
        return name
    inner = Inner(must_be_tar=wanted == "tar" or name == "tar")
    for chunk in contents(source, name):
        inner.feed(chunk)
    inner.end()
    if not inner.tar or name == "tar":
        return name
    return f"tar in {name}"


def wanted_words(wanted: str) -> str:
    """Return a format for people."""
    return f"any of {', '.join(FORMATS)}" if wanted == "auto" else wanted


class Inner:
    """What a compressed file holds; an archive in it is checked, too."""

    def __init__(self, *, must_be_tar: bool) -> None:
        self.tar: Tar | None = None
        self._must_be_tar = must_be_tar
        self._head = b""
        self._is_known = False

    def feed(self, chunk: bytes) -> None:
        """Take what comes next."""
        if not self._is_known:
            self._head += chunk
            if len(self._head) < BLOCK:
                return
            chunk = self._head
            self._decide()
        if self.tar:
            self.tar.feed(chunk)

    def _decide(self) -> None:
        self._is_known = True
        if is_tar(self._head[:BLOCK]):
            self.tar = Tar()
        elif self._must_be_tar and self._head[:BLOCK].strip(b"\0"):
            raise Damaged("there is no tar archive in it")
        elif self._must_be_tar:
            raise Damaged("the archive holds no file")

    def end(self) -> None:
        """Raise Damaged if that cannot be all."""
        if not self._head:
            raise Damaged("it holds nothing (0 bytes)")
        if not self._is_known:
            self._decide()
        if self.tar:
            self.tar.end()


# What Python unpacks.


def _gzip() -> tuple[Any, tuple[type[Exception], ...]]:
    import zlib

    return zlib.decompressobj(31), (zlib.error,)


def _bzip2() -> tuple[Any, tuple[type[Exception], ...]]:
    import bz2

    return bz2.BZ2Decompressor(), (OSError, ValueError)


def _xz() -> tuple[Any, tuple[type[Exception], ...]]:
    import lzma

    return lzma.LZMADecompressor(lzma.FORMAT_XZ), (lzma.LZMAError,)


_UNPACKERS = {"gzip": _gzip, "bzip2": _bzip2, "xz": _xz}


def _by_library(source: Source, name: str) -> Iterator[bytes]:
    magic = MAGICS[name]
    unpacker: Any = None
    errors: tuple[type[Exception], ...] = ()
    rest = b""
    for chunk in source.chunks():
        rest += chunk
        while rest:
            if unpacker is None:
                # Between members, and behind the last one, zeros may stand.
                rest = rest.lstrip(b"\0") if errors else rest
                if len(rest) < len(magic):
                    break
                if not rest.startswith(magic):
                    raise _other(len(rest) + source.size - source.at, name)
                unpacker, errors = _UNPACKERS[name]()
            try:
                for part in _unpacked(unpacker, rest):
                    source.moved(0)
                    yield part
            except errors as error:
                raise Damaged(f"it is damaged: {error}") from error
            rest = unpacker.unused_data if unpacker.eof else b""
            if unpacker.eof:
                unpacker = None
    if unpacker is not None:
        raise Damaged(_ENDS_EARLY)
    if rest:
        raise _other(len(rest), name)


def _unpacked(unpacker: Any, data: bytes) -> Iterator[bytes]:
    """Yield what the data unpack to, little by little."""
    while True:
        part = unpacker.decompress(data, UNPACKED)
        if part:
            yield part
        # zlib hands back what it has not read, the others keep it.
        data = getattr(unpacker, "unconsumed_tail", b"")
        if unpacker.eof or (len(part) < UNPACKED and not data):
            return


def _other(count: int, name: str) -> Damaged:
    return Damaged(
        f"{count} bytes that are no {name} follow its data: the rest of a cut part, or "
        "of another file"
    )


# What is unpacked by a program.


def _by_program(source: Source, name: str) -> Iterator[bytes]:
    end = frames_end(source, name)
    program = shutil.which(name)
    if program is None:
        raise CheckUnknown(
            f"there is no program {name} to read it with; install the package {name}"
        )
    more = ["--long=31", "-M2048MB"] if name == "zstd" else []
    process = subprocess.Popen(
        [program, "-dcq", *more],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "LC_ALL": "C"},
    )
    assert process.stdin and process.stdout and process.stderr
    feeder = threading.Thread(
        target=feed, args=(source.chunks(end), process.stdin), daemon=True
    )
    feeder.start()
    try:
        while part := process.stdout.read(UNPACKED):
            source.moved(0)
            yield part
        said = process.stderr.read(10_000).decode("utf-8", "replace").strip()
        if process.wait():
            # The program's name for its input is of no use.
            raise Damaged(f"it is damaged: {' '.join(said.split())[:200]}")
    finally:
        process.kill()
        with process:
            feeder.join()


def feed(chunks: Iterator[bytes], pipe: IO[bytes]) -> None:
    """Write the chunks to a program, which may end before it has read all."""
    try:
        with pipe:
            for chunk in chunks:
                pipe.write(chunk)
    except OSError:
        # Its exit code tells.
        return


def frames_end(source: Source, name: str) -> int:
    """Return where the last frame of a zstd or lz4 file ends; zeros may follow.

    Raise Damaged if a frame is cut, or something else follows.
    Formats: RFC 8878, section 3; lz4_Frame_format.md of LZ4.
    """
    walk = _zstd_frame if name == "zstd" else _lz4_frame
    descriptor, at, end = source.file.fileno(), 0, 0
    while at < source.size:
        source.walked_to(at)
        magic = os.pread(descriptor, 4, at)
        number = int.from_bytes(magic, "little")
        if number in _SKIPPED:
            at += 8 + _number(descriptor, at + 4)
        elif magic == MAGICS[name]:
            at = walk(source, at + 4)
        elif end and not magic.strip(b"\0") and _only_zeros(source, at):
            return end
        elif name == "lz4" and number == 0x184C2102:
            # The legacy frame has no end of its own.
            return source.size
        else:
            raise _other(source.size - at, name)
        if at > source.size:
            raise Damaged(_ENDS_EARLY)
        end = at
    return end


def _number(descriptor: int, at: int, count: int = 4) -> int:
    data = os.pread(descriptor, count, at)
    if len(data) < count:
        raise Damaged(_ENDS_EARLY)
    return int.from_bytes(data, "little")


def _zstd_frame(source: Source, at: int) -> int:
    descriptor = source.file.fileno()
    flags = _number(descriptor, at, 1)
    is_single = bool(flags & 0x20)
    size_of_size = (1 if is_single else 0, 2, 4, 8)[flags >> 6]
    at += 1 + (not is_single) + (0, 1, 2, 4)[flags & 3] + size_of_size
    while True:
        header = _number(descriptor, at, 3)
        at += 3 + (1 if header >> 1 & 3 == 1 else header >> 3)
        if header & 1:
            return at + (4 if flags & 4 else 0)
        source.walked_to(at)


def _lz4_frame(source: Source, at: int) -> int:
    descriptor = source.file.fileno()
    flags = _number(descriptor, at, 1)
    at += 2 + (8 if flags & 8 else 0) + (4 if flags & 1 else 0) + 1
    while header := _number(descriptor, at):
        at += 4 + (header & 0x7FFFFFFF) + (4 if flags & 0x10 else 0)
        source.walked_to(at)
    return at + 4 + (4 if flags & 4 else 0)


def _only_zeros(source: Source, at: int) -> bool:
    source.file.seek(at)
    while chunk := source.file.read(CHUNK):
        if chunk.strip(b"\0"):
            return False
    return True


# Archives.


class Tar:
    """A tar archive, block by block: whether it ends as archives end.

    tar itself, and tarfile, take one that is cut at a header for whole.
    """

    def __init__(self) -> None:
        #: The names of the first members.
        self.names: list[str] = []
        self.members = 0
        self._rest = b""
        #: Bytes of a member that are still to come.
        self._skip = 0
        self._pax: bytearray | None = None
        self._size_of_next: int | None = None
        self._is_extended = False
        self._zeros = 0

    def feed(self, chunk: bytes) -> None:
        """Take what comes next; raise Damaged if that is no tar."""
        data = memoryview(self._rest + chunk if self._rest else chunk)
        at = 0
        while at < len(data):
            if self._skip:
                part = min(self._skip, len(data) - at)
                if self._pax is not None:
                    self._pax += data[at : at + part]
                self._skip -= part
                at += part
                continue
            if len(data) - at < BLOCK:
                break
            self._block(bytes(data[at : at + BLOCK]))
            at += BLOCK
        self._rest = bytes(data[at:])

    def end(self) -> None:
        """Raise Damaged unless it has ended."""
        if self._skip or (self._rest and self._zeros < 2):
            raise Damaged(f"the tar archive is cut within its member {self.members}")
        if self._zeros >= 2 and self._rest.strip(b"\0"):
            raise self._followed()
        if self._zeros < 2:
            raise Damaged(
                f"the tar archive is cut behind its member {self.members}: the two "
                "empty blocks at its end are missing"
            )
        if not self.members:
            raise Damaged("the tar archive holds no file")

    def _followed(self) -> Damaged:
        return Damaged(
            f"something follows the end of the tar archive, behind its {self.members} "
            "members: tar does not read it (but with -i)"
        )

    def _block(self, block: bytes) -> None:
        if self._is_extended:
            # More of the map of a sparse file, in GNU's old form.
            self._is_extended = bool(block[504])
            return
        if not block.strip(b"\0"):
            self._zeros += 1
            return
        if self._zeros >= 2:
            raise self._followed()
        self._zeros = 0
        self._finish_pax()
        member = _member(block)
        if member.type in (b"x", b"g"):
            self._pax = bytearray() if member.type == b"x" else None
            self._skip = _padded(member.size)
            return
        size = member.size
        if self._size_of_next is not None and member.type not in (b"L", b"K"):
            size, self._size_of_next = self._size_of_next, None
        # A link, a folder or a device has no data, whatever its size says.
        has_none = member.type in (b"1", b"2", b"3", b"4", b"5", b"6")
        self._skip = 0 if has_none else _padded(size)
        self._is_extended = member.type == b"S" and bool(block[482])
        if member.type not in (b"L", b"K"):
            self.members += 1
            if len(self.names) < 100:
                self.names.append(member.name)

    def _finish_pax(self) -> None:
        """Take the size of the next member out of an extended header."""
        if self._pax is None:
            return
        records, self._pax = bytes(self._pax), None
        at = 0
        while at < len(records) and records[at : at + 1] not in (b"\0", b""):
            length, _space, _rest = records[at:].partition(b" ")
            if not length.isdigit() or not int(length):
                return
            record = records[at + len(length) + 1 : at + int(length)]
            if record.startswith(b"size="):
                self._size_of_next = int(record[5:].strip())
            at += int(length)


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _member(block: bytes) -> Any:
    """Return the header of a member; raise Damaged if it is none."""
    import tarfile

    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise Damaged(f"the tar archive is damaged: {error}") from error


#: How a member of a zip archive begins.
_ZIP_MEMBER = b"PK\3\4"
#: The record at the end of a zip archive: how it begins, its length and where in it
#: the length of the comment behind it stands; that comment is 64 kB long at most.
_ZIP_END, _ZIP_END_SIZE, _ZIP_COMMENT_AT = b"PK\5\6", 22, 20


def _raise_if_zip_is_followed(source: Source) -> None:
    """Raise Damaged if something else than zeros stands behind the archive."""
    tail = source.tail(_ZIP_END_SIZE + 65_535)
    at = tail.rfind(_ZIP_END)
    size = tail[at + _ZIP_COMMENT_AT : at + _ZIP_END_SIZE]
    end = at + _ZIP_END_SIZE + int.from_bytes(size, "little")
    if at >= 0 and tail[end:].strip(b"\0"):
        raise _other(len(tail) - end, "zip")


def check_zip(source: Source) -> None:
    """Raise Damaged unless each member of a zip archive can be read."""
    import zipfile
    import zlib

    _raise_if_zip_is_followed(source)
    try:
        with zipfile.ZipFile(source.file) as archive:
            members = archive.infolist()
            if not members:
                raise Damaged("the zip archive holds no file")
            begins_at = min(member.header_offset for member in members)
            if begins_at and source.head(4) == _ZIP_MEMBER:
                raise Damaged(
                    f"it is two zip archives: another one is before that which unzip "
                    f"reads, of {begins_at} bytes"
                )
            for member in members:
                if member.flag_bits & 1:
                    raise CheckUnknown(
                        "the zip archive is encrypted, so it cannot be checked"
                    )
                with archive.open(member) as file:
                    at = source.at
                    while file.read(CHUNK):
                        source.at = min(at + member.compress_size, source.file.tell())
                        source.moved(0)
    except NotImplementedError as error:
        raise CheckUnknown(f"the zip archive cannot be checked: {error}") from error
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        ValueError,
        struct.error,
    ) as error:
        raise Damaged(f"the zip archive is damaged or cut: {error}") from error

"""An HTTP response: read piece by piece, until there is enough of it."""

from __future__ import annotations

import functools
import resource
from collections.abc import Callable, Mapping, Sequence

import msgspec

from lib.core.sanitize import printable
from lib.net.connect import Unreachable, shown_address

#: The most of a body that is looked at, decoded.
MAX_BYTES = 10_000_000
#: The most that comes where its size is wanted; only the rest of it is counted.
MAX_COUNTED = 1_000_000_000
#: The line that ends the headers.
_BLANK = (b"\r\n", b"\n")


#: How much of the memory that a process may use is for the bodies that it keeps.
_SHARE = 0.4
#: How much that is where the memory has no limit.
_WITHOUT_LIMIT = 400_000_000


class NoRoom(Exception):
    """Others keep so much of their bodies that this one cannot be kept now."""


class Room:
    """Memory for bodies, of which many are read at once."""

    def __init__(self, size: int) -> None:
        self.left = size

    def take(self, size: int) -> bool:
        """Return whether there is so much left, which is then taken."""
        if size > self.left:
            return False
        self.left -= size
        return True

    def give_back(self, size: int) -> None:
        """Have others use what was taken."""
        self.left += size


@functools.cache
def room() -> Room:
    """Return the memory for bodies of this process."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_DATA)
    has_limit = soft != resource.RLIM_INFINITY
    return Room(int(soft * _SHARE) if has_limit else _WITHOUT_LIMIT)


class Reader:
    """Takes a body piece by piece; this one wants nothing of it."""

    #: Whether its size is wanted, be it more than is looked at.
    counts = False

    def wants(self, answer: Response) -> bool:
        """Return whether the body is wanted, now that the headers are there."""
        return False

    def is_enough(self, part: bytes, *, is_all: bool = False) -> bool:
        """Return whether no more than this piece is needed, after those before it."""
        return True


class Response(msgspec.Struct):
    """A response, so far as it was read."""

    status: int
    #: The lines of the headers as they came, the first of which has the status.
    lines: list[bytes]
    #: How many bytes of the body came, decoded.
    size: int = 0
    #: Who answered.
    address: str = ""
    port: int = 0
    #: Why the body is not complete; None if it is, or if no more was wanted.
    trouble: Unreachable | None = None
    #: If it was asked for, how long each part took in seconds: dns, connect, tls,
    #: first_byte.
    times: Mapping[str, float] = {}
    #: The server's certificates, its own one first, if they were asked for.
    chain: Sequence[bytes] = ()
    #: Those that are kept; None if it says nothing of cookies.
    cookies: Sequence[str] | None = None
    #: By what way the server was asked, if it is not the one of its URL.
    route: str = ""
    #: Whether the address is a proxy's.
    is_of_proxy: bool = False

    @property
    def is_cut(self) -> bool:
        """Return whether the body is longer than what was looked at."""
        return self.size > MAX_BYTES

    @property
    def phrase(self) -> str:
        """Return the server's own words for the status, printable and short."""
        words = self.lines[0].split(None, 2)
        return printable(words[2].decode("latin-1").strip(), 60) if words[2:] else ""

    @property
    def peer(self) -> str:
        """Return who answered, as ``address:port``."""
        if not self.address:
            return "?"
        peer = shown_address((self.address, self.port))
        return f"the proxy {peer}" if self.is_of_proxy else peer

    def header(self, name: str) -> str:
        """Return the first value of a header, named in lower case; empty without."""
        start = name.encode()
        for line in self.lines[1:]:
            if line[: len(start)].lower() == start:
                known, value = _header(line)
                if known == name:
                    return value
        return ""

    def headers(self, name: str) -> list[str]:
        """Return each value of a header, named in lower case."""
        headers = [_header(line) for line in self.lines[1:]]
        return [value for known, value in headers if known == name]


class Reading:
    """What a server has sent so far; libcurl calls these for each piece."""

    __slots__ = (
        "_reader",
        "status",
        "lines",
        "size",
        "received",
        "is_complete",
        "is_stopped",
        "error",
    )

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.status = 0
        #: The lines of the last header.
        self.lines: list[bytes] = []
        #: How many bytes of the body came, decoded; and of all, headers too.
        self.size = 0
        self.received = 0
        #: Whether the headers are there.
        self.is_complete = False
        #: Whether the transfer was ended since enough is there.
        self.is_stopped = False
        #: What the reader raised.
        self.error: Exception | None = None

    def on_header(self, line: bytes) -> int | None:
        """Take a line of the headers; end the transfer where the body is not wanted."""
        self.received += len(line)
        if line[:5] == b"HTTP/" and (self.is_complete or not self.lines):
            self.lines = [line]
            self.is_complete = False
        elif line not in _BLANK:
            self.lines.append(line)
        else:
            words = self.lines[0].split(None, 2) if self.lines else []
            self.status = int(words[1]) if words[1:] and words[1].isdigit() else 0
            # 1xx comes before the response itself.
            if self.status >= 200 or self.status == 101:
                self.is_complete = True
                return self._go_on(self._wants_body)
            self.lines = []
        return None

    def _wants_body(self) -> bool:
        return self._reader.wants(self.answer())

    def on_body(self, data: bytes) -> int | None:
        """Take a piece of the body, decoded; end the transfer once it is enough."""
        self.received += len(data)
        part = data[: max(0, MAX_BYTES - self.size)]
        self.size += len(data)
        return self._go_on(lambda: self._wants_more(part))

    def _wants_more(self, part: bytes) -> bool:
        is_enough = bool(part) and self._reader.is_enough(part)
        if self.size > MAX_BYTES:
            return self._reader.counts and self.size < MAX_COUNTED
        return not is_enough

    def _go_on(self, wants_more: Callable[[], bool]) -> int | None:
        """Return what has libcurl go on, or end the transfer."""
        try:
            if wants_more():
                return None
        except Exception as error:
            self.error = error
        self.is_stopped = True
        # Anything but the length of what it was called with.
        return -1

    def end(self) -> None:
        """Tell the reader that nothing more comes."""
        if self.error is not None:
            raise self.error
        if not self.is_stopped and self.is_complete:
            self._reader.is_enough(b"", is_all=True)

    @property
    def ends_with_connection(self) -> bool:
        """Return whether the end of the connection is all that ends the body.

        Many servers close it without TLS's own word for that, which OpenSSL reports.
        """
        if not self.is_complete:
            return False
        answer = self.answer()
        return not (
            answer.header("content-length") or answer.header("transfer-encoding")
        )

    def answer(self) -> Response:
        """Return the response, so far as it is there."""
        return Response(self.status, self.lines, self.size)


def _header(line: bytes) -> tuple[str, str]:
    """Return name and value; bytes beyond ASCII are UTF-8, or else Latin-1."""
    name, _colon, value = line.partition(b":")
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        text = value.decode("latin-1")
    return name.decode("latin-1").strip().lower(), text.strip()

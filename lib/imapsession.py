"""A session with an IMAP server: Python's imaplib, with an end to all that it reads.

Every wait ends at one deadline, and every answer at an amount of memory.
"""

from __future__ import annotations

import base64
import imaplib
import io
import socket
from typing import Any

from lib.dial import Answers
from lib.reach import Deadline, TimedSocket, Unreachable

#: One answer is no longer, unless somebody wants to fill our memory.
MOST_BYTES = 2_000_000
#: Nor is one piece of it: we ask for headers only.
MOST_LITERAL = 500_000
#: As much as a server may say before TLS begins.
_MOST_BEFORE_TLS = 16_384


class Session(imaplib.IMAP4):
    """imaplib on a connection that is there, with an end to all that it reads."""

    def __init__(
        self, sock: socket.socket, deadline: Deadline, greeting: bytes
    ) -> None:
        self._given = sock
        self._deadline = deadline
        self._greeting = greeting
        self.answers = Answers(sock, deadline, MOST_BYTES)
        self._reader = io.BufferedReader(self.answers)
        super().__init__()

    def open(self, host: str = "", port: int = 143, timeout: Any = None) -> None:
        """Take the connection that is there."""
        self.host, self.port, self.sock = host, port, self._given

    def read(self, size: int) -> bytes:
        """Return a literal; raise OSError for one that nobody asked for."""
        if size > MOST_LITERAL:
            raise OSError(f"the server announced {size} bytes, and we take no more")
        data = self._reader.read(size)
        if len(data) < size:
            raise self.abort("socket error: EOF")
        return data

    def readline(self) -> bytes:
        """Return a line."""
        if self._greeting:
            line, self._greeting = self._greeting, b""
            return line
        # An answer to SEARCH is one line, however much was found.
        return self._reader.readline(MOST_BYTES)

    def send(self, data: Any) -> None:
        """Send it all before the deadline."""
        self.sock.settimeout(self._deadline.left())
        self.sock.sendall(data)

    def shutdown(self) -> None:
        """Hang up."""
        self.sock.close()

    def told(self, name: str, *words: str | bytes) -> tuple[str, list[Any]]:
        """Say a command, return the server's verdict and what came of that name."""
        itself: Any = self
        done, data = itself._simple_command(name, *words)
        if done != "OK":
            return str(done), list(data)
        return "OK", list(self.untagged_responses.pop(name, []))

    def prove(self, secret: bytes) -> tuple[str, list[Any]]:
        """Return the answer to AUTHENTICATE PLAIN."""
        itself: Any = self
        self._secret = secret
        # imaplib asks a method, and would count the bytes of anything else.
        itself.literal = self._respond
        done, data = itself._simple_command("AUTHENTICATE", "PLAIN")
        return str(done), list(data)

    def _respond(self, _challenge: bytes) -> bytes:
        return base64.b64encode(self._secret)


def start_tls(sock: TimedSocket) -> None:
    """Take the conversation to where TLS begins; raise Unreachable if it stops."""
    greeting, rest = _heard(sock, b"")
    if not greeting.upper().startswith(b"* OK"):
        raise Unreachable(f"no IMAP greeting but {_short(greeting)}")
    sock.sendall(b"a STARTTLS\r\n")
    answer, rest = _heard(sock, rest)
    while answer.startswith(b"* "):
        answer, rest = _heard(sock, rest)
    if not answer.upper().startswith(b"A OK"):
        raise Unreachable(
            f"STARTTLS was refused: {_short(answer)}; no password leaves without TLS"
        )
    if rest:
        raise Unreachable("something was said between STARTTLS and TLS")


def _heard(sock: TimedSocket, rest: bytes) -> tuple[bytes, bytes]:
    """Return the next line, and what came after it."""
    while b"\n" not in rest:
        more = sock.recv(4096)
        rest += more
        if not more or sock.received > _MOST_BEFORE_TLS:
            trouble = "went on and on" if more else "closed the connection"
            raise Unreachable(f"the server {trouble} before TLS began")
    line, _end, rest = rest.partition(b"\n")
    return line.strip(), rest


def _short(line: bytes) -> str:
    return repr(line.decode("ascii", "replace")[:200])

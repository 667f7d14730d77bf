"""An IMAP server of a few lines, as rude as a test wants it."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import trustme

from tests.support.servers import server_context

CAPABILITIES = "IMAP4rev1 AUTH=PLAIN UIDPLUS"


@dataclass
class StubMail:
    """A mail as the stub keeps it: its header, and when it came."""

    header: str
    came: str = "23-Nov-2026 01:00:00 +0000"
    deleted: bool = False
    gone: bool = False


@dataclass
class ImapStub:
    r"""A server with folders of its own, each a line of LIST: ``(\Trash) "/" "Bin"``.

    ``mails`` are by the folder's raw name.  ``instead`` says what happens at a command
    (``UID SEARCH``, ``LIST``, ``greeting``) in place of the answer: bytes to say, in
    which ``TAG`` is the command's tag, or a function of the socket.  ``heard`` keeps
    the commands.
    """

    ca: trustme.CA
    folders: tuple[str, ...] = ()
    mails: dict[str, list[StubMail]] = field(default_factory=dict)
    capabilities: str = CAPABILITIES
    instead: Mapping[str, Any] = field(default_factory=dict)
    security: str = "tls"
    #: What is said before the answer to STARTTLS.
    before_tls: str = ""
    context: ssl.SSLContext | None = None
    heard: list[str] = field(default_factory=list)
    port: int = 0

    def __enter__(self) -> ImapStub:
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.05)
        self.port = self._listener.getsockname()[1]
        self.context = self.context or server_context(self.ca)
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    @property
    def over(self) -> bool:
        """Return whether the test is done with it."""
        return self._over.is_set()

    def _accept(self) -> None:
        while not self.over:
            with contextlib.suppress(TimeoutError):
                sock, _address = self._listener.accept()
                thread = threading.Thread(target=self._talk, args=(sock,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _talk(self, sock: socket.socket) -> None:
        sock.settimeout(10)
        with contextlib.suppress(OSError, EOFError), sock:
            if self.security == "tls":
                assert self.context is not None
                sock = self.context.wrap_socket(sock, server_side=True)
            talk = _Talk(self, sock)
            try:
                talk.go()
            finally:
                talk.sock.close()
        with contextlib.suppress(OSError):
            sock.close()


class _Talk:
    """One connection."""

    def __init__(self, stub: ImapStub, sock: socket.socket) -> None:
        self.stub, self.sock = stub, sock
        self.unread = b""
        self.open: list[StubMail] = []

    def go(self) -> None:
        self.say("greeting", "", "* OK stub\r\n")
        while True:
            line = self.line()
            tag, _space, command = line.partition(" ")
            self.stub.heard.append(command)
            words = command.upper().split()
            name = " ".join(words[:2] if words[0] == "UID" else words[:1])
            if name == "AUTHENTICATE" and name not in self.stub.instead:
                self.sock.sendall(b"+ \r\n")
                self.stub.heard.append(self.line())
            answer = getattr(self, name.lower().replace(" ", "_"), lambda _c: "")
            said = "" if name in self.stub.instead else answer(command)
            self.say(name, tag, f"{said}TAG OK done\r\n")
            if name == "STARTTLS" and name not in self.stub.instead:
                assert self.stub.context is not None
                self.sock = self.stub.context.wrap_socket(
                    self.sock, server_side=True, do_handshake_on_connect=False
                )
                self.sock.do_handshake()
            if name == "LOGOUT":
                return

    def say(self, name: str, tag: str, text: str) -> None:
        said = self.stub.instead.get(name, text.encode())
        if callable(said):
            said(self.sock, tag)
        else:
            self.sock.sendall(said.replace(b"TAG", tag.encode()))

    def line(self) -> str:
        while b"\r\n" not in self.unread:
            more = self.sock.recv(65536)
            if not more:
                raise EOFError
            self.unread += more
        line, _end, self.unread = self.unread.partition(b"\r\n")
        return line.decode()

    # The commands that have something to say.

    def capability(self, _command: str) -> str:
        plain = not isinstance(self.sock, ssl.SSLSocket)
        more = " STARTTLS" if plain and self.stub.security == "starttls" else ""
        return f"* CAPABILITY {self.stub.capabilities}{more}\r\n"

    def starttls(self, _command: str) -> str:
        return self.stub.before_tls

    def list(self, _command: str) -> str:
        return "".join(f"* LIST {one}\r\n" for one in self.stub.folders)

    def examine(self, command: str) -> str:
        name = command.partition(" ")[2].strip('"')
        name = re.sub(r"\\(.)", r"\1", name)
        self.open = self.stub.mails.setdefault(name, [])
        return f"* {len(self.open)} EXISTS\r\n"

    select = examine

    def uid_search(self, command: str) -> str:
        token = re.search(r'"([0-9a-f]*)"', command)
        found = [
            str(at)
            for at, one in enumerate(self.open, 1)
            if token and token[1] in one.header and not one.deleted
        ]
        return f"* SEARCH {' '.join(found)}\r\n"

    def fetch(self, command: str) -> str:
        numbers = command.upper().removeprefix("UID ").split()[1]
        found = []
        for part in numbers.split(","):
            first, _colon, last = part.partition(":")
            end = len(self.open) if last == "*" else int(last or first)
            found += range(int(first), end + 1)
        text = ""
        for at in found:
            one = self.open[at - 1]
            if one.gone:
                continue
            if "FLAGS" in command:
                flags = r"\Seen" + r" \Deleted" * one.deleted
                text += f"* {at} FETCH (UID {at} FLAGS ({flags}))\r\n"
                continue
            size = len(one.header.encode())
            text += (
                f'* {at} FETCH (UID {at} INTERNALDATE "{one.came}"'
                f" BODY[HEADER.FIELDS (X)] {{{size}}}\r\n{one.header})\r\n"
            )
        return text

    uid_fetch = fetch

    def uid_expunge(self, command: str) -> str:
        for number in command.split()[2].split(","):
            self.open[int(number) - 1].gone = True
        return ""

    def uid_store(self, command: str) -> str:
        for number in command.split()[2].split(","):
            self.open[int(number) - 1].deleted = True
        return ""


def hush(seconds: float = 60) -> Callable[[socket.socket, str], None]:
    """Return what says nothing for so long, or until the other side hangs up."""

    def wait(sock: socket.socket, _tag: str) -> None:
        sock.settimeout(seconds)
        sock.recv(1)
        raise EOFError

    return wait


def drip(text: bytes, every_s: float = 0.2) -> Callable[[socket.socket, str], None]:
    """Return what says a byte at a time, again and again."""

    def say(sock: socket.socket, _tag: str) -> None:
        for _round in range(1000):
            for byte in text:
                sock.sendall(bytes([byte]))
                time.sleep(every_s)

    return say


def flood(text: bytes, times: int = 1_000_000) -> Callable[[socket.socket, str], None]:
    """Return what says the same again and again, as fast as it is read."""

    def say(sock: socket.socket, _tag: str) -> None:
        for _round in range(times):
            sock.sendall(text * 1000)

    return say

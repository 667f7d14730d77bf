"""An SMTP server that follows a script, and is as rude as the script says."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Sequence

#: A session as it should be, by step; each step is lines of a script for SmtpStub.
SMTP_TALK = {
    "greeting": "send 220 stub ESMTP",
    "EHLO": "hear EHLO\nsend 250-stub\nsend 250-SIZE 1000000\nsend 250 STARTTLS",
    "STARTTLS": "hear STARTTLS\nsend 220 go\ntls\n"
    "hear EHLO\nsend 250-stub\nsend 250 AUTH PLAIN LOGIN",
    "AUTH": "hear AUTH\nsend 235 2.7.0 welcome",
    "MAIL": "hear MAIL\nsend 250 ok",
    "RCPT": "hear RCPT\nsend 250 ok",
    "DATA": "hear DATA\nsend 354 go on",
    "body": "body",
    "end of mail": "send 250 2.0.0 queued as 1",
    "QUIT": "hear QUIT\nsend 221 bye",
}


def smtp_talk_until(step: str, instead: str = "drop") -> str:
    """Return the script of a good session that does ``instead`` at this step.

    Before it answers, the stub hears the step's command: ``hear`` is left in place.
    """
    lines: list[str] = []
    for name, part in SMTP_TALK.items():
        if name == step:
            if part.startswith("hear"):
                lines.append(part.partition("\n")[0])
            return "\n".join([*lines, instead])
        lines.append(part)
    raise KeyError(step)


class SmtpStub:
    r"""A server that follows a script, a step a line, the same for each connection.

    send TEXT          say a line
    drip SECONDS TEXT  say it a byte at a time, this long between two
    raw TEXT           say bytes as in a Python literal (\r\n is not added)
    hear WORD          wait for a line that starts with WORD
    body               wait for a mail's end, the line with the dot
    take N             wait for N bytes and read no more
    tls                answer a TLS handshake (needs a ``context``)
    wait SECONDS       say and hear nothing for so long
    hush               say and hear nothing until the other side hangs up
    drop, reset        hang up; hang up with a TCP reset.  The script's end drops too

    With a list of scripts the n-th connection has the n-th, later ones the last.  What
    was heard is in ``heard``, line by line; ``connections`` counts.  A line that is
    not the one to hear ends the connection and is in ``surprises``.
    """

    def __init__(
        self, script: str | Sequence[str], *, context: ssl.SSLContext | None = None
    ) -> None:
        self._scripts = [script] if isinstance(script, str) else list(script)
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self.port = self._listener.getsockname()[1]
        self.heard: list[bytes] = []
        self.surprises: list[bytes] = []
        self.connections = 0

    def __enter__(self) -> SmtpStub:
        self._listener.settimeout(0.05)
        self._start(self._accept)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(timeout=10)
        self._listener.close()

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                sock, _address = self._listener.accept()
            except TimeoutError:
                continue
            number = min(self.connections, len(self._scripts) - 1)
            self.connections += 1
            self._start(self._talk, sock, self._scripts[number])

    def _talk(self, sock: socket.socket, script: str) -> None:
        conversation = _Conversation(self, sock)
        # The other side may hang up at any step; that is what is tested.
        with contextlib.suppress(OSError, EOFError), contextlib.closing(conversation):
            for line in script.splitlines():
                step, _space, rest = line.strip().partition(" ")
                getattr(conversation, step)(rest)


class _Conversation:
    """One connection of a stub; a method per step of the script."""

    def __init__(self, stub: SmtpStub, sock: socket.socket) -> None:
        self._stub = stub
        self._sock = sock
        self._sock.settimeout(10)
        self._unread = b""

    def close(self) -> None:
        self._sock.close()

    def send(self, text: str) -> None:
        self._sock.sendall(f"{text}\r\n".encode())

    def raw(self, text: str) -> None:
        self._sock.sendall(text.encode().decode("unicode_escape").encode("latin-1"))

    def drip(self, rest: str) -> None:
        seconds, _space, text = rest.partition(" ")
        for byte in f"{text}\r\n".encode():
            self._sock.sendall(bytes([byte]))
            self.wait(seconds)

    def hear(self, word: str) -> None:
        line = self._line()
        if not line.upper().startswith(word.upper().encode()):
            self._stub.surprises.append(line)
            raise EOFError

    def body(self, _rest: str) -> None:
        while self._line() != b".":
            pass

    def take(self, count: str) -> None:
        self._stub.heard.append(self._sock.recv(int(count)))

    def tls(self, _rest: str) -> None:
        assert self._stub._context is not None, "the stub was given no context"
        self._sock = self._stub._context.wrap_socket(self._sock, server_side=True)

    def wait(self, seconds: str) -> None:
        if self._stub._over.wait(float(seconds)):
            raise EOFError

    def hush(self, _rest: str) -> None:
        self._sock.settimeout(0.05)
        while not self._stub._over.is_set():
            with contextlib.suppress(TimeoutError):
                if not self._sock.recv(1 << 16):
                    return

    def drop(self, _rest: str) -> None:
        raise EOFError

    def reset(self, _rest: str) -> None:
        self._sock.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        raise EOFError

    def _line(self) -> bytes:
        while b"\r\n" not in self._unread:
            more = self._sock.recv(1 << 16)
            if not more:
                raise EOFError
            self._unread += more
        line, _end, self._unread = self._unread.partition(b"\r\n")
        self._stub.heard.append(line)
        return line

"""Connects to an IMAP server over TLS, logs in, and sends commands.

Every wait ends at one deadline, and every response has a size limit.  All errors are
raised as LookFailed with a reason for people.  What to search for is in
``lib/mail/mailbox.py``.
"""

from __future__ import annotations

import base64
import contextlib
import imaplib
import io
import ipaddress
import re
import socket
from collections.abc import Generator
from typing import Any

from lib.core.sanitize import scrubbed
from lib.core.settings import Mailbox
from lib.mail.connection import Answers
from lib.mail.replies import LOGIN_REMEDIES, LOGIN_REMEDY, tls_remedy, with_remedy
from lib.net import tls
from lib.net.address import ascii_domain
from lib.net.connect import (
    Deadline,
    NotTried,
    TimedSocket,
    Unreachable,
    connect,
    reason,
)
from lib.net.tls_errors import TlsFault

#: One answer is no longer, unless somebody wants to fill our memory.
MAX_BYTES = 2_000_000
#: Nor is one piece of it: we ask for headers only.
MAX_LITERAL = 500_000
#: As much as a server may say before TLS begins.
_MAX_BEFORE_TLS = 16_384


class Session(imaplib.IMAP4):
    """imaplib on a connection that is there, with an end to all that it reads."""

    def __init__(
        self, sock: socket.socket, deadline: Deadline, greeting: bytes
    ) -> None:
        self._given = sock
        self._deadline = deadline
        self._greeting = greeting
        self.answers = Answers(sock, deadline, MAX_BYTES)
        self._reader = io.BufferedReader(self.answers)
        super().__init__()

    def open(self, host: str = "", port: int = 143, timeout: Any = None) -> None:
        """Take the connection that is there."""
        self.host, self.port, self.sock = host, port, self._given

    def read(self, size: int) -> bytes:
        """Return a literal; raise OSError for one that nobody asked for."""
        if size > MAX_LITERAL:
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
        return self._reader.readline(MAX_BYTES)

    def send(self, data: Any) -> None:
        """Send it all before the deadline."""
        self.sock.settimeout(self._deadline.left())
        self.sock.sendall(data)

    def shutdown(self) -> None:
        """Hang up."""
        self.sock.close()

    def notified(self, name: str, *words: str | bytes) -> tuple[str, list[Any]]:
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
        if not more or sock.received > _MAX_BEFORE_TLS:
            trouble = "went on and on" if more else "closed the connection"
            raise Unreachable(f"the server {trouble} before TLS began")
    line, _end, rest = rest.partition(b"\n")
    return line.strip(), rest


def _short(line: bytes) -> str:
    return repr(line.decode("ascii", "replace")[:200])


SHOWN = 300


class LookFailed(Exception):
    """Nothing can be said of the mailbox; the text says why, and what to do.

    ``problem`` is one of: unreachable, login failed, folder missing.
    """

    def __init__(self, text: str, problem: str = "unreachable") -> None:
        super().__init__(text, problem)
        self.problem = problem

    def __str__(self) -> str:
        return str(self.args[0])


class Line:
    """One connection to a mailbox, logged in; whatever goes wrong is a LookFailed."""

    def __init__(self, mailbox: Mailbox, deadline: Deadline) -> None:
        self._mailbox = mailbox
        self._deadline = deadline
        self._host = mailbox.server.strip("[]")
        host = f"[{self._host}]" if ":" in self._host else self._host
        self._where = f"{host}:{mailbox.port}"
        self._step = "connect"
        with self._in_words():
            sock, greeting = self._reach()
            try:
                self._step = "greeting"
                self._imap = Session(sock, deadline, greeting)
            except BaseException:
                sock.close()
                raise
        try:
            self._log_in()
        except BaseException:
            self.close()
            raise

    def has(self, capability: str) -> bool:
        """Return whether the server offers it."""
        return capability in self._imap.capabilities

    def ask(self, name: str, *words: str | bytes) -> tuple[bool, list[Any]]:
        """Return whether the server did as it was told, and what it said of it."""
        self._step = name
        with self._in_words():
            try:
                return self._ask(name, *words)
            except imaplib.IMAP4.abort:
                raise
            except imaplib.IMAP4.error as error:
                # BAD: the server does not know how to do that.
                return False, [str(error).encode("utf-8", "replace")]

    def _ask(self, name: str, *words: str | bytes) -> tuple[bool, list[Any]]:
        imap: Any = self._imap
        imap.answers.taken = 0
        imap.untagged_responses.clear()
        if name in ("SEARCH", "FETCH", "STORE", "EXPUNGE", "MOVE"):
            done, data = imap.uid(name, *words)
        elif name == "NUMBERED FETCH":
            done, data = imap.notified("FETCH", *words)
        elif name in ("SELECT", "EXAMINE"):
            done, data = imap.select(words[0], name == "EXAMINE")
        else:
            done, data = imap.notified(name, *words)
        return done == "OK", [one for one in data if one is not None]

    def failure(self, data: list[Any]) -> str:
        """Return what the server said with its no, as one line."""
        return self._shown(data[-1] if data else b"")

    def close(self) -> None:
        """Hang up; nothing hangs on how the server takes it."""
        with contextlib.suppress(imaplib.IMAP4.error, OSError, ValueError):
            self._imap.answers.taken = 0
            if self._deadline.left() > 1:
                self._imap.send(b"bye LOGOUT\r\n")
        with contextlib.suppress(OSError):
            self._imap.shutdown()

    def _reach(self) -> tuple[socket.socket, bytes]:
        """Return a connection, and the greeting where it was heard already."""
        box = self._mailbox
        if box.security == "none":
            sock = connect(ascii_domain(self._host), box.port, self._deadline)
            if not ipaddress.ip_address(sock.getpeername()[0]).is_loopback:
                sock.close()
                raise Unreachable(
                    "imapsecurity = none is for a server on this machine only; "
                    "use tls or starttls"
                )
            return sock, b""
        starts = box.security == "starttls"
        return (
            tls.secure(
                ascii_domain(self._host),
                box.port,
                self._deadline,
                tls.trust(box.cafile),
                talk=start_tls if starts else None,
            ),
            b"* OK TLS began\r\n" if starts else b"",
        )

    def _log_in(self) -> None:
        """Log in; the password leaves by this line only, which is in TLS."""
        box, imap = self._mailbox, self._imap
        if imap.state != "NONAUTH":
            return
        self._step = "login"
        user, word = box.user.encode(), box.password.encode()
        if "LOGINDISABLED" in imap.capabilities and "AUTH=PLAIN" not in (
            imap.capabilities
        ):
            raise self._failed("the server offers no login that we know", "")
        with self._in_words():
            imap.answers.taken = 0
            if "AUTH=PLAIN" in imap.capabilities:
                done, data = imap.prove(b"\0" + user + b"\0" + word)
            else:
                done, data = imap.notified("LOGIN", _quoted(user), _quoted(word))
            if done != "OK":
                text = self._shown(data[-1] if data else b"")
                if re.search(r"UNAVAILABLE|try again|too many", text, re.I):
                    raise Unreachable(f"the login is not possible now: {text}")
                remedy = next(
                    (
                        words
                        for ending, words in LOGIN_REMEDIES.items()
                        if self._host == ending or self._host.endswith(f".{ending}")
                    ),
                    LOGIN_REMEDY,
                )
                raise self._failed(f"the login was refused: {text}", remedy)
            imap.state = "AUTH"
            # Most servers offer more to those they know.
            _done, data = imap.notified("CAPABILITY")
            words = b" ".join(one for one in data if isinstance(one, bytes))
            imap.capabilities = tuple(words.decode("ascii", "replace").upper().split())

    def _failed(self, text: str, remedy: str) -> LookFailed:
        return LookFailed(f"{self._where}: {with_remedy(text, remedy)}", "login failed")

    @contextlib.contextmanager
    def _in_words(self) -> Generator[None]:
        try:
            yield
        except (Unreachable, NotTried) as error:
            text = str(error).partition("\n")[0]
            if isinstance(error, tls.TlsFailed):
                remedy = tls_remedy(error.fault, "imapserver")
                if error.fault == TlsFault.NOT_TLS:
                    remedy = "port 143 wants imapsecurity = starttls"
            else:
                remedy = next((r for w, r in _REMEDIES.items() if w in text), "")
            where = "" if self._host in text else f"{self._where}: "
            raise LookFailed(f"{where}{with_remedy(text, remedy)}") from None
        except imaplib.IMAP4.abort as error:
            if isinstance(error.__context__, OSError):
                words = reason(error.__context__, self._deadline)
            elif "EOF" in str(error):
                words = "the server hung up"
            else:
                words = f"this is no IMAP: {self._shown(str(error).encode())}"
            # The cause may quote the command, and with it the password.
            raise LookFailed(f"{self._where}: {self._step}: {words}") from None
        except (imaplib.IMAP4.error, ValueError) as error:
            words = self._shown(str(error).encode("utf-8", "replace"))
            raise LookFailed(f"{self._where}: {self._step}: {words}") from None
        except OSError as error:
            words = reason(error, self._deadline)
            raise LookFailed(f"{self._where}: {self._step}: {words}") from None

    def _shown(self, said: Any) -> str:
        """Return a server's words as one line that cannot harm a terminal or a log."""
        text = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
        if self._mailbox.password:
            text = scrubbed(text, (self._mailbox.password,))
        text = "".join(char if char.isprintable() else " " for char in text)
        return text[:SHOWN].strip() or "no reason given"


#: What to do about what was found wrong, by words in it.
_REMEDIES = {
    "cannot resolve": "check [email] imapserver, and this machine's DNS",
    "refused": "check [email] imapserver and imapport",
    "no answer": "check [email] imapserver and imapport, and the network between",
    "unreachable": "check the network between",
}


def _quoted(word: bytes) -> bytes:
    if re.search(rb"[\r\n\0]", word):
        raise ValueError("a login is one line")
    return b'"' + re.sub(rb'(["\\])', rb"\\\1", word) + b'"'

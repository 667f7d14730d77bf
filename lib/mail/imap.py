"""Connects to an IMAP server over TLS, logs in, and sends commands.

Every wait ends at one deadline, and every answer has a size limit.  All errors are
raised as LookFailed with a reason for people.  What to search for is in
``lib/mail/mailbox.py``; answers are parsed by IMAPClient, which is slow to import.
"""

from __future__ import annotations

import contextlib
import imaplib
import re
from collections.abc import Callable, Generator
from typing import Any

from lib.core.sanitize import printable, scrubbed
from lib.core.settings import Mailbox
from lib.mail.connection import (
    GOODBYE_S,
    MailSocket,
    StartTls,
    reach,
    silent_for_tls,
)
from lib.mail.replies import (
    LOGIN_REMEDY,
    imap_problem,
    login_remedy,
    reach_remedy,
    tls_remedy,
    with_remedy,
)
from lib.net import tls
from lib.net.address import ascii_domain
from lib.net.connect import Deadline, NotTried, Unreachable, reason
from lib.net.tls_errors import TlsFault

#: Where TLS comes before the greeting.
PORT_OF_TLS = 993
#: One answer is no longer, unless somebody wants to fill our memory.
MAX_ANSWER_BYTES = 2_000_000
#: Of an answer people see this much.
SHOWN_ANSWER = 300
#: A way to log in that is refused in these words leaves the others.
_NO_WAY = re.compile(r"command error: BAD|\[CANNOT\]|mechanism|not supported", re.I)
#: Dovecot says behind each answer how long it took.
_TIMES = re.compile(r" \(\d+\.\d+ \+ [\d.+ ]+ secs\)")
#: What is said of us to a server that wants to know (RFC 2971).
_ID = '("name" "Checker")'

#: Whether the server did what it was told, and what it said of it, as imaplib has it.
Answer = tuple[bool, list[Any]]

#: What IMAPClient raises at an answer that is no IMAP: a ProtocolError, which is an
#: IMAP4.error, for some, and for others whatever its code stumbles over.
UNREADABLE = (
    imaplib.IMAP4.error,
    AttributeError,
    IndexError,
    RecursionError,
    TypeError,
    ValueError,
)


class LookFailed(Exception):
    """Nothing can be said of the mailbox; the text says why, and what to do.

    ``problem`` is one of: unreachable, which may pass; login failed; folder missing;
    refused.
    """

    def __init__(self, text: str, problem: str = "unreachable") -> None:
        super().__init__(text, problem)
        self.problem = problem

    def __str__(self) -> str:
        return str(self.args[0])


class ImapSession:
    """A mailbox, logged in; whatever goes wrong is a LookFailed.

    To have another command, write a method that hands imaplib's own to ``_ask``.
    """

    def __init__(self, mailbox: Mailbox, deadline: Deadline) -> None:
        self._mailbox = mailbox
        self._deadline = deadline
        self._host = mailbox.server.strip("[]")
        host = f"[{self._host}]" if ":" in self._host else self._host
        self._where = f"{host}:{mailbox.port}"
        self._step = "connect"
        with self._at("connect"):
            self._imap = self._begin()
        self._has_id = False
        try:
            self._log_in()
            self._capabilities = self._offered()
            if self.has("ID"):
                self._say_id()
        except BaseException:
            self.close()
            raise

    def has(self, capability: str) -> bool:
        """Return whether the server offers it."""
        return capability in self._capabilities

    def list_folders(self, pattern: str) -> Answer:
        """List the folders of a pattern, which RETURN and its options may follow."""
        return self._ask("LIST", self._imap.list, '""', pattern)

    def open(self, folder: bytes, *, read_only: bool) -> Answer:
        """Open a folder; the server says how many mails are in it."""
        step = "EXAMINE" if read_only else "SELECT"
        done, data = self._ask(step, self._imap.select, folder, read_only)
        if not done and not self._has_id:
            # Some servers open no folder to whom they do not know.
            self._say_id()
            done, data = self._ask(step, self._imap.select, folder, read_only)
        return done, data

    def fetch(self, numbers: str, what: str) -> Answer:
        """Fetch parts of mails by their number in the folder."""
        return self._ask("FETCH", self._imap.fetch, numbers, what)

    def uid(self, command: str, *words: str | bytes) -> Answer:
        """Search, or do something to mails by their UID."""
        return self._ask(command, self._imap.uid, command, *words)

    def not_done(
        self, name: str, data: list[Any], problem: str = "refused", what: str = "open"
    ) -> LookFailed:
        """Return what to raise where the server does not open or show a folder.

        ``problem``: what it is where the server's words do not say.
        """
        said = self.failure(data)
        problem, remedy = imap_problem(said, problem)
        text = with_remedy(f"the server does not {what} {name!r}: {said}", remedy)
        return LookFailed(f"{self._where}: {text}", problem)

    def failure(self, data: list[Any]) -> str:
        """Return what the server said with its no, as one line."""
        return self._shown(data[-1] if data else b"")

    def close(self) -> None:
        """Say goodbye, and hang up; nothing hangs on how the server takes it."""
        with contextlib.suppress(imaplib.IMAP4.error, OSError, ValueError):
            left = min(GOODBYE_S, self._deadline.left())
            self._imap.connection.deadline = Deadline(left)
            self._imap.is_over = True
            self._imap.logout()
        with contextlib.suppress(OSError):
            self._imap.shutdown()

    def _begin(self) -> TimedImap:
        """Connect, greet, and go into TLS."""
        box = self._mailbox
        if box.security == "tls":
            host = ascii_domain(self._host)
            sock = tls.secure(host, box.port, self._deadline, tls.trust(box.cafile))
            self._step = "greeting"
            imap = TimedImap(MailSocket(sock, self._deadline, MAX_ANSWER_BYTES))
        else:
            imap = self._begin_plainly()
        if box.security == "starttls":
            self._step = "STARTTLS"
            try:
                self._start_tls(imap)
            except BaseException:
                imap.shutdown()
                raise
        return imap

    def _begin_plainly(self) -> TimedImap:
        """Connect and greet."""
        option = "imapsecurity" if self._mailbox.security == "none" else ""
        port = self._mailbox.port
        sock = reach(self._host, port, self._deadline, without_tls=option)
        self._step = "greeting"
        connection = MailSocket(sock, self._deadline, MAX_ANSWER_BYTES)
        if silent_for_tls(connection, self._host, port, PORT_OF_TLS):
            connection.close()
            words = "no greeting; this port wants imapsecurity = tls"
            raise LookFailed(f"{self._where}: {self._step}: {words}")
        return TimedImap(connection)

    def _start_tls(self, imap: TimedImap) -> None:
        box = self._mailbox
        context: Any = StartTls(self._host, box.cafile)
        try:
            if "STARTTLS" not in imap.capabilities:
                raise imap.error("the server does not offer it")
            imap.starttls(context)
        except imaplib.IMAP4.abort:
            raise
        except imaplib.IMAP4.error as error:
            raise Unreachable(f"{error}; no password leaves without TLS") from None

    def _log_in(self) -> None:
        """Log in; the password leaves by these lines only, which are in TLS."""
        if self._imap.state != "NONAUTH":
            return
        ways = self._ways_to_log_in()
        if not ways:
            raise self._no_way()
        with self._at("login"):
            for number, way in enumerate(ways, 1):
                try:
                    way()
                    return
                except imaplib.IMAP4.abort:
                    raise
                except imaplib.IMAP4.error as error:
                    if number == len(ways) or not _NO_WAY.search(str(error)):
                        raise self._refused(self._shown(error)) from None

    def _ways_to_log_in(self) -> list[Callable[[], object]]:
        """Return the ways that the server and we know, the simplest first."""
        imap, user = self._imap, self._mailbox.user
        password = self._mailbox.password.reveal()
        offered = imap.capabilities
        ways: list[Callable[[], object]] = []
        if "AUTH=PLAIN" in offered:
            plain = f"\0{user}\0{password}".encode()
            ways.append(lambda: imap.authenticate("PLAIN", lambda _challenge: plain))
        if "LOGINDISABLED" not in offered:
            ways.append(lambda: self._say_login(user, password))
        if "AUTH=LOGIN" in offered:
            words = iter((user.encode(), password.encode()))
            answer: Any = lambda _challenge: next(words, b"")  # noqa: E731
            ways.append(lambda: imap.authenticate("LOGIN", answer))
        if "AUTH=CRAM-MD5" in offered:
            ways.append(lambda: imap.login_cram_md5(user, password))
        return ways

    def _no_way(self) -> LookFailed:
        if self._mailbox.security == "none":
            text = (
                "the server takes no login without TLS; set [email] imapsecurity = "
                "starttls"
            )
            return LookFailed(f"{self._where}: {text}", "refused")
        offered = [name[5:] for name in self._imap.capabilities if name[:5] == "AUTH="]
        text = (
            f"no way to log in fits: the server offers {', '.join(offered) or 'none'}, "
            "and Checker can do PLAIN, LOGIN and CRAM-MD5"
        )
        return LookFailed(f"{self._where}: {self._shown(text)}", "refused")

    def _say_login(self, user: str, password: str) -> None:
        """Log in by LOGIN; imaplib's own takes ASCII only."""
        imap: Any = self._imap
        words = (quoted(user.encode()), quoted(password.encode()))
        status, data = imap.xatom("LOGIN", *words)
        if status != "OK":
            raise imap.error(self.failure(data))
        imap.state = "AUTH"

    def _say_id(self) -> None:
        """Say who we are; nothing hangs on the answer."""
        self._has_id = True
        self._ask("ID", self._imap.xatom, "ID", _ID)

    def _offered(self) -> set[str]:
        """Return what the server offers; most offer more to those they know."""
        _done, data = self._ask("CAPABILITY", self._imap.capability)
        words = b" ".join(line for line in data if isinstance(line, bytes))
        return set(words.decode("ascii", "replace").upper().split())

    def _ask(
        self, step: str, command: Callable[..., tuple[str, list[Any]]], *words: Any
    ) -> Answer:
        with self._at(step):
            # What nobody asked for, or what was said before TLS, is no part of the
            # answer; imaplib would take it for one.
            self._imap.untagged_responses.clear()
            try:
                status, data = command(*words)
            except imaplib.IMAP4.readonly:
                return False, [b"the folder is read-only"]
            except imaplib.IMAP4.abort:
                raise
            except imaplib.IMAP4.error as error:
                # BAD: the server does not know how to do that.
                return False, [str(error).encode("utf-8", "replace")]
        return status == "OK", [part for part in data if part is not None]

    @contextlib.contextmanager
    def _at(self, step: str) -> Generator[None]:
        """Set the step; raise what goes wrong at it as a LookFailed."""
        self._step = step
        try:
            yield
        except (Unreachable, NotTried) as error:
            raise LookFailed(f"{self._where}: {self._why_unreached(error)}") from None
        # The cause may quote the command, and with it the password.
        except imaplib.IMAP4.abort as error:
            cause = error.__context__
            words = f"the session broke off: {self._shown(error)}"
            if isinstance(cause, OSError):
                words = reason(cause, self._deadline)
            raise LookFailed(f"{self._where}: {self._step}: {words}") from None
        except (imaplib.IMAP4.error, ValueError) as error:
            words = f"this is no IMAP: {self._shown(error)}"
            raise LookFailed(f"{self._where}: {self._step}: {words}") from None
        except Goodbye as error:
            words = f"the server ended the session: {self._shown(error.words)}"
            raise LookFailed(f"{self._where}: {self._step}: {words}") from None
        except OSError as error:
            words = reason(error, self._deadline)
            raise LookFailed(f"{self._where}: {self._step}: {words}") from None

    def _why_unreached(self, error: Unreachable | NotTried) -> str:
        if isinstance(error, NotTried):
            return f"[email] {error}"
        if not isinstance(error, tls.TlsFailed):
            return with_remedy(error.cause, reach_remedy(error.step, "imap"))
        if error.fault == TlsFault.NOT_TLS and self._mailbox.security == "tls":
            return with_remedy(error.cause, "port 143 wants imapsecurity = starttls")
        return with_remedy(error.cause, tls_remedy(error.fault, "imapserver"))

    def _refused(self, answer: str) -> LookFailed:
        problem, remedy = imap_problem(answer, "login failed")
        if problem == "unreachable":
            text = f"the login is not possible now: {answer}"
        else:
            if remedy == LOGIN_REMEDY or (problem == "login failed" and not remedy):
                remedy = login_remedy(self._host)
            text = with_remedy(f"the login was refused: {answer}", remedy)
        return LookFailed(f"{self._where}: {text}", problem)

    def _shown(self, answer: Any) -> str:
        """Return a server's words as one line that cannot harm a terminal or a log."""
        if not isinstance(answer, bytes):
            answer = str(answer).encode("utf-8", "replace")
        text = _TIMES.sub("", answer.decode("utf-8", "replace"))
        if self._mailbox.password:
            text = scrubbed(text, (self._mailbox.password.reveal(),))
        return printable(text, SHOWN_ANSWER) or "no reason given"


class Goodbye(OSError):
    """The server ended the session, in these words."""

    def __init__(self, words: bytes) -> None:
        super().__init__("the server ended the session")
        self.words = words


class TimedImap(imaplib.IMAP4):
    """imaplib on a connection that is there, with an end to all that it reads."""

    def __init__(self, connection: MailSocket) -> None:
        self.connection = connection
        #: We have said goodbye ourselves.
        self.is_over = False
        super().__init__()

    def open(self, host: str = "", port: int = 143, timeout: Any = None) -> None:
        """Take the connection that is there."""
        self.host, self.port = host, port
        # imaplib needs of a socket only what a MailSocket has.
        self.sock = self.connection  # type: ignore[assignment]  # see above

    def read(self, size: int) -> bytes:
        """Return a literal; raise OSError for one that nobody asked for."""
        return self._current().read_exactly(size)

    def readline(self) -> bytes:
        """Return a line; raise OSError at the end, and Goodbye before it."""
        # An answer to SEARCH is one line, however much was found.
        line = self._current().reader.readline(MAX_ANSWER_BYTES)
        if not line:
            raise ConnectionAbortedError("the server hung up")
        if line[:6].upper() == b"* BYE " and not self.is_over:
            raise Goodbye(line[6:].strip())
        return line

    def send(self, data: Any) -> None:
        """Send it all before the deadline."""
        self._current().sendall(data)

    def shutdown(self) -> None:
        """Hang up."""
        self._current().close()

    def _current(self) -> MailSocket:
        # starttls puts another one in place of the first.
        sock: Any = self.sock
        assert isinstance(sock, MailSocket)
        self.connection = sock
        return sock


def quoted(raw: bytes) -> bytes:
    """Return a folder's name, or a user's, as a command takes it."""
    if re.search(rb"[\r\n\0]", raw):
        raise ValueError("it is not one line")
    return b'"' + re.sub(rb'(["\\])', rb"\\\1", raw) + b'"'

"""Sends mails over SMTP: one session for many mails, with TLS before any password.

``SmtpChannel`` is the dialogue, step by step; ``Session`` is smtplib on our own
connection.  What a refusal means, and what to do, is in ``lib/mail/replies.py``.
"""

from __future__ import annotations

import base64
import re
import smtplib
import socket
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import Any, Self

from lib.core.sanitize import printable, scrubbed
from lib.core.settings import Mail
from lib.mail.connection import (
    GOODBYE_S,
    MailSocket,
    StartTls,
    ignore,
    reach,
    silent_for_tls,
)
from lib.mail.mime import wire_address
from lib.mail.replies import (
    DeliveryError,
    is_lasting,
    reach_remedy,
    refusal_remedy,
    telling,
    tls_remedy,
    with_remedy,
)
from lib.net.connect import MARGIN_S, Deadline, NotTried, Unreachable, reason
from lib.net.tls import TlsFailed

DEADLINE_S = 30
#: Where TLS comes before the greeting.
PORT_OF_TLS = 465
#: No answer is longer, unless somebody wants to fill our memory.
MAX_ANSWER_BYTES = 64 * 1024
#: Of an answer people see this much.
SHOWN_ANSWER = 300
#: A name for this machine that a server will take in EHLO.
_FULL_NAME = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", re.ASCII)
#: What to say of a server that lacks what a step needs.
_NOT_OFFERED = {
    "STARTTLS": "the server does not offer it, and without it no password and no mail "
    "is sent; it may want smtpsecurity = tls and smtpport = 465",
    "AUTH": "the server offers no login; a server that wants no login wants no [email] "
    "user",
}


class SmtpChannel:
    """One SMTP session, in which every wait ends at one deadline.

    The password is said in TLS only, and appears in nothing that is told or raised.
    """

    def __init__(
        self,
        mail: Mail,
        on_step: Callable[[str], None] = ignore,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self._mail = mail
        self._on_step = on_step
        self._deadline_s = deadline_s
        self._session: Session | None = None

    @property
    def usable(self) -> bool:
        """Return whether the session can take another mail."""
        return self._session is not None and not self._session.ended

    def __enter__(self) -> Self:
        """Connect, go into TLS, log in; raise DeliveryError if one of these fails."""
        if not self._mail.smtpserver:
            raise DeliveryError("[email] smtpserver is not set", step="connect")
        session = self._session = Session(self._mail, self._on_step, self._deadline_s)
        try:
            session.begin()
            self._log_in(session)
        except DeliveryError:
            # The server waits for it, also after a no (RFC 5321, section 4.1.1.10).
            session.say_goodbye()
            raise
        except BaseException:
            session.end("it was closed")
            raise
        return self

    def send(self, sender: str, to: Iterable[str], data: bytes) -> dict[str, str]:
        """Hand over one mail; return what was said to each recipient refused.

        An empty dict: all were accepted.  Raise DeliveryError if none was, or if the
        mail was not; ``usable`` then says whether the session can take another.
        """
        session = self._open_session()
        try:
            return self._hand_over(session, sender, list(dict.fromkeys(to)), data)
        except DeliveryError:
            if not session.ended:
                self._forget_mail(session)
            raise

    def __exit__(self, *exc_info: object) -> None:
        """Say goodbye, within two seconds, whatever the server does."""
        self._open_session().say_goodbye()

    def _log_in(self, session: Session) -> None:
        mail = self._mail
        if not (mail.user and mail.password):
            return session.emit("no login: [email] has no user or no password")
        if mail.smtpsecurity == "none":
            return session.emit("no login: smtpsecurity is none, a password wants TLS")
        session.log_in(mail.user, mail.password.reveal())

    def _hand_over(
        self, session: Session, sender: str, to: list[str], data: bytes
    ) -> dict[str, str]:
        addresses, refused = _addresses(to, takes_utf8=session.has_extn("smtputf8"))
        if not addresses:
            raise _nobody_accepted(session, refused)
        options = [f"SIZE={len(data)}"] if session.has_extn("size") else []
        if not all(address.isascii() for address in addresses.values()):
            options.append("SMTPUTF8")
        with session.at("MAIL FROM"):
            session.mail(sender, options)
        session.emit(f"MAIL FROM {sender}: {session.answer}")
        session.expect("2")
        try:
            for address, on_the_wire in addresses.items():
                with session.at("RCPT TO"):
                    session.rcpt(on_the_wire)
                session.emit(f"RCPT TO {on_the_wire}: {session.answer}")
                if not session.answer.startswith("2"):
                    refused[address] = session.answer
            if len(refused) == len(to):
                raise _nobody_accepted(session, refused)
            with session.at("DATA"):
                session.data(data)
        except DeliveryError as error:
            if error.code in (None, 421):
                # Where the server ends the session after it has refused one recipient,
                # the others get the mail without that one.
                error.refused = refused
            raise
        session.emit(f"end of mail: {session.answer}")
        session.expect("2")
        return refused

    def _forget_mail(self, session: Session) -> None:
        try:
            with session.at("RSET"):
                session.rset()
            session.expect("2")
        except DeliveryError as error:
            # The mail's own refusal is what its sender must hear, not this.
            session.emit(str(error))
            session.end(str(error))

    def _open_session(self) -> Session:
        if self._session is None:
            raise RuntimeError("an SmtpChannel is a context manager; enter it first")
        return self._session


def _addresses(
    to: Iterable[str], *, takes_utf8: bool
) -> tuple[dict[str, str], dict[str, str]]:
    """Return each address as SMTP has it, and what is wrong with the others."""
    addresses, refused = {}, {}
    for address in to:
        try:
            on_the_wire = wire_address(address)
        except ValueError as error:
            refused[address] = f"553 5.1.3 {error}"
            continue
        if smtplib.quoteaddr(on_the_wire) != f"<{on_the_wire}>":
            # smtplib reads it as a header would, and makes another address of it.
            refused[address] = f"553 5.1.3 {address[:80]!r} is not a mail address"
        elif not (takes_utf8 or on_the_wire.isascii()):
            refused[address] = (
                "553 5.6.7 the server takes no letters beyond ASCII before the @ "
                "(it has no SMTPUTF8)"
            )
        else:
            addresses[address] = on_the_wire
    return addresses, refused


def _nobody_accepted(session: Session, refused: dict[str, str]) -> DeliveryError:
    """Return what to raise when not one recipient was accepted.

    It is permanent only if trying again can help none of them.
    """
    passing = [why for why in refused.values() if not is_lasting("RCPT TO", why)]
    answer = [*passing, *refused.values(), "554 5.5.1 the mail is to nobody"][0]
    session.step = "RCPT TO"
    return session.failure(answer, permanent=not passing, refused=refused)


class Session(smtplib.SMTP):
    """smtplib on our own connection; whatever goes wrong is a DeliveryError.

    ``step`` is where the session is, ``answer`` what the server said last, ``ended``
    why the session is of no more use, empty while it is.
    """

    def __init__(
        self, mail: Mail, emit: Callable[[str], None], deadline_s: float
    ) -> None:
        # The name is set once connected; left to smtplib it is a slow DNS lookup.
        super().__init__(local_hostname="localhost")
        self._mail = mail
        self._emit = emit
        self._secrets = _forms_of_the_password(mail)
        # Its process is killed then.
        self._deadline = Deadline(deadline_s, margin_s=MARGIN_S)
        self._server = mail.smtpserver.strip("[]")
        host = f"[{self._server}]" if ":" in self._server else self._server
        self._where = f"{host}:{mail.smtpport}"
        self.step = "connect"
        self.answer = ""
        self.ended = ""
        #: The answers that were a no to a way to log in.
        self._no_logins: list[str] = []

    def emit(self, text: str) -> None:
        """Show a step to whoever watches, without the secrets."""
        self._emit(scrubbed(text, self._secrets))

    def begin(self) -> None:
        """Connect, greet, and go into TLS."""
        security = self._mail.smtpsecurity
        with self.at("connect"):
            sock = reach(
                self._server,
                self._mail.smtpport,
                self._deadline,
                without_tls="smtpsecurity" if security == "none" else "",
                emit=self.emit,
            )
        self.local_hostname = _own_name(sock)
        self._use(MailSocket(sock, self._deadline, MAX_ANSWER_BYTES))
        tls: Any = StartTls(self._server, self._mail.cafile)
        if security == "tls":
            with self.at("TLS"):
                self._use(tls.wrap_socket(self._connection))
            self._show_tls()
        with self.at("greeting"):
            self._hear_greeting()
        self.emit(f"greeting: {self.answer}")
        self.expect("2")
        self._greet()
        if security not in ("tls", "none"):
            with self.at("STARTTLS"):
                self.starttls(context=tls)
            self._show_tls()
            self._greet()

    def _hear_greeting(self) -> None:
        mail = self._mail
        if mail.smtpsecurity != "tls":
            limit_s = silent_for_tls(
                self._connection, self._server, mail.smtpport, PORT_OF_TLS
            )
            if limit_s:
                words = f"no answer within {limit_s:g} s"
                remedy = "this port wants smtpsecurity = tls"
                raise self._lost(with_remedy(words, remedy))
        self.getreply()

    def log_in(self, user: str, password: str) -> None:
        """Log in with what smtplib chooses of the mechanisms that the server offers."""
        with self.at("AUTH"):
            try:
                self._log_in(user, _Utf8(password))
            except (DeliveryError, smtplib.SMTPAuthenticationError):
                if not self._no_logins:
                    raise
                # Some servers hang up at the second mechanism, or have it in the list
                # only; another no says why.
                raise self.failure(telling(self._no_logins)) from None
        self.emit(f"AUTH: logged in as {user}")

    def _log_in(self, user: str, password: str) -> None:
        try:
            self.login(user, password)
        except smtplib.SMTPAuthenticationError:
            # To a server that knows AUTH from before RFC 2554 the first answer is not
            # said with the command.
            if not all(said.startswith("50") for said in self._no_logins):
                raise
            self.login(user, password, initial_response_ok=False)

    def expect(self, good: str) -> None:
        """Raise DeliveryError unless the last answer starts with what is good here."""
        if not self.answer.startswith(good):
            raise self.failure(self.answer)

    def say_goodbye(self) -> None:
        """Say QUIT, wait a little for the answer, and hang up."""
        if self.sock is None:
            return
        try:
            left = min(GOODBYE_S, self._deadline.left())
            self._deadline = self._connection.deadline = Deadline(left)
            with self.at("QUIT"):
                self.quit()
            self.emit(f"QUIT: {self.answer}")
        except (DeliveryError, TimeoutError) as error:
            # Every mail had its answer before; nothing hangs on this one.
            self.emit(str(error))
        finally:
            self.end("it was closed")

    def end(self, why: str) -> None:
        """Hang up; the session is of no more use."""
        self.ended = self.ended or why
        self.close()

    @contextmanager
    def at(self, step: str) -> Generator[None]:
        """Set the step; raise what goes wrong at it as a DeliveryError."""
        self.step = step
        try:
            yield
        except smtplib.SMTPNotSupportedError as error:
            raise self._lost(_NOT_OFFERED.get(step, str(error))) from None
        except smtplib.SMTPResponseException:
            raise self.failure(self.answer) from None
        except smtplib.SMTPException:
            raise self._lost(self._no_login()) from None
        except (Unreachable, NotTried) as error:
            raise self._lost(self._why_unreached(error)) from error
        except ValueError as error:
            # The cause may quote the command, and with it the password.
            raise self._lost(f"this is no SMTP: {error}") from None

    # What smtplib calls: all that is sent and heard passes here.

    def send(self, s: Any) -> None:
        """Send a command, or as bytes the text of a mail."""
        if self.ended or self.sock is None:
            raise self._lost(f"the session is over ({self.ended or 'not begun'})")
        if isinstance(s, bytes):
            self.step = "mail text"
        try:
            super().send(s)
        except OSError as error:
            raise self._lost(self._why_lost(error)) from None
        if isinstance(s, bytes):
            self.emit(f"mail text: {len(s)} bytes sent")
            self.step = "end of mail"

    def getreply(self) -> tuple[int, bytes]:
        """Return the code and the words of an answer; keep it in ``answer``."""
        try:
            code, words = super().getreply()
        except smtplib.SMTPResponseException:
            raise self._lost("this is no SMTP: a line has no end") from None
        except OSError as error:
            raise self._lost(self._why_lost(error)) from None
        text = _readable(words, self._secrets)
        if code == -1:
            raise self._lost(f"this is no SMTP: {text!r}")
        self.answer = f"{code} {text}".rstrip()
        if code == 421:
            raise self._lost(self.answer, self.answer)
        if self.step == "AUTH" and code >= 400 and code != 503:
            # smtplib takes 503 for "logged in already".
            self._no_logins.append(self.answer)
        return code, words

    # smtplib encodes logins as ASCII; RFC 4616 has them in UTF-8.

    def auth_plain(self, challenge: Any = None) -> str:
        """Return the answer to a challenge of PLAIN."""
        return _Utf8(super().auth_plain(challenge))

    def auth_login(self, challenge: Any = None) -> str:
        """Return the answer to a challenge of LOGIN."""
        return _Utf8(super().auth_login(challenge))

    def auth_cram_md5(self, challenge: Any = None) -> Any:
        """Return the answer to a challenge of CRAM-MD5; None asks for one."""
        answer = super().auth_cram_md5(challenge)
        return None if answer is None else _Utf8(answer)

    def failure(
        self,
        answer: str,
        *,
        permanent: bool | None = None,
        refused: Mapping[str, str] | None = None,
    ) -> DeliveryError:
        """Return what to raise when the server said no, and the session lives on."""
        if permanent is None:
            permanent = is_lasting(self.step, answer)
        words = "; ".join(f"{who}: {why}" for who, why in (refused or {}).items())
        remedy = refusal_remedy(self._mail, self.step, answer)
        text = f"{self._where}: {self.step}: {with_remedy(words or answer, remedy)}"
        return DeliveryError(
            scrubbed(text, self._secrets),
            step=self.step,
            answer=answer,
            permanent=permanent,
            refused=refused,
        )

    @property
    def _connection(self) -> MailSocket:
        sock: Any = self.sock
        assert isinstance(sock, MailSocket)
        return sock

    def _use(self, sock: MailSocket) -> None:
        # smtplib needs of a socket only what a MailSocket has.
        self.sock, self.file = sock, None  # type: ignore[assignment]  # see above

    def _greet(self) -> None:
        with self.at("EHLO"):
            self.ehlo_or_helo_if_needed()
        if "auth" in self.esmtp_features:
            # smtplib knows the mechanisms in capitals only.
            self.esmtp_features["auth"] = self.esmtp_features["auth"].upper()
        offers = ", ".join(sorted(self.esmtp_features)).upper()
        self.emit(f"EHLO: ok, the server offers {offers or 'nothing'}")

    def _show_tls(self) -> None:
        sock: Any = self._connection.sock
        self.emit(
            f"{self.step}: {sock.version()}, certificate verified for {self._server}"
        )

    def _lost(self, why: str, answer: str = "") -> DeliveryError:
        """Return what to raise when the session is of no more use, and hang up."""
        self.end(f"{self.step}: {why}")
        text = scrubbed(f"{self._where}: {self.step}: {why}", self._secrets)
        return DeliveryError(text, step=self.step, answer=answer)

    def _why_lost(self, error: OSError) -> str:
        # smtplib keeps what the socket said as the context only.
        cause = error.__context__ if isinstance(error.__context__, OSError) else error
        if isinstance(cause, smtplib.SMTPServerDisconnected):
            return "the server hung up"
        return reason(cause, self._deadline)

    def _why_unreached(self, error: Unreachable | NotTried) -> str:
        if isinstance(error, NotTried):
            return f"[email] {error}"
        if not isinstance(error, TlsFailed):
            for line in str(error).splitlines()[1:]:
                self.emit(line)
            return with_remedy(error.cause, reach_remedy(error.step, "smtp"))
        remedy = tls_remedy(error.fault, "smtpserver")
        if not remedy and self._mail.smtpsecurity == "tls":
            if self._mail.smtpport != 465:
                remedy = "most ports but 465 want smtpsecurity = starttls"
        return with_remedy(error.cause, remedy)

    def _no_login(self) -> str:
        if self.answer.startswith("334"):
            return f"the login has no end: {self.answer}"
        offered = self.esmtp_features.get("auth", "").strip()
        return f"the server offers {offered}; Checker can do CRAM-MD5, PLAIN and LOGIN"


class _Utf8(str):
    """Text that is encoded as UTF-8, whatever encoding is asked for."""

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """Return it in UTF-8."""
        return super().encode("utf-8", "surrogateescape")


def _forms_of_the_password(mail: Mail) -> tuple[str, ...]:
    password = mail.password.reveal()
    if not password:
        return ()
    login = _base64(f"\0{mail.user}\0{password}")
    # The longest first: a part of it must not be hidden before the whole.
    forms = (password, _base64(password), login)
    return tuple(sorted(forms, key=len, reverse=True))


def _base64(text: str) -> str:
    return base64.b64encode(text.encode("utf-8", "surrogateescape")).decode("ascii")


def _own_name(sock: socket.socket) -> str:
    """Return what to call this machine in EHLO, without asking DNS."""
    name = socket.gethostname()
    if _FULL_NAME.fullmatch(name):
        return name
    address = str(sock.getsockname()[0]).partition("%")[0]
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"


def _readable(words: bytes, secrets: tuple[str, ...]) -> str:
    """Return a server's words as one line that cannot harm a terminal or a log."""
    # Before it is cut: half a secret would not be known for one.
    lines = scrubbed(words.decode("utf-8", "replace"), secrets).splitlines()
    # Each line of a long answer starts with the status again.
    status = re.match(r"\d\.\d{1,3}\.\d{1,3} ", lines[0]) if lines else None
    if status:
        lines[1:] = [line.removeprefix(status[0]) for line in lines[1:]]
    return printable(" ".join(lines), SHOWN_ANSWER)

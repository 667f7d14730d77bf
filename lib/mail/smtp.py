"""Sends mails over SMTP: one session for many mails, with TLS before any password.

``SmtpChannel`` is the dialogue, ``Line`` the connection below it.  What a refusal
means, and what to do about it, is in ``lib/mail/replies.py``.
"""

from __future__ import annotations

import base64
import io
import re
import smtplib
import socket
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Self

from lib.core.sanitize import scrubbed
from lib.core.settings import Mail
from lib.mail.connection import Answers, DialFailed, connect, host_of, secured
from lib.mail.mime import wire_address
from lib.mail.replies import DeliveryError, is_lasting, refusal_remedy, with_remedy
from lib.net.connect import Deadline, reason

DEADLINE_S = 30
#: Saying goodbye is polite; waiting for the answer is not worth a run's time.
QUIT_S = 2


def ignore(_line: str) -> None:
    """Take the line of a step and do nothing with it."""


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
        self._line: Line | None = None

    @property
    def usable(self) -> bool:
        """Return whether the session can take another mail."""
        return self._line is not None and not self._line.dead

    def __enter__(self) -> Self:
        """Connect, go into TLS, log in; raise NotSent if one of these cannot be."""
        mail = self._mail
        if not mail.smtpserver:
            raise DeliveryError("[email] smtpserver is not set", step="connect")
        line = self._line = Line(
            mail,
            emit=self._on_step,
            deadline_s=self._deadline_s,
            secrets=_forms_of_the_password(mail),
        )
        try:
            line.connect()
            if mail.smtpsecurity == "tls":
                line.secure("TLS")
            self._greet(line)
            if mail.smtpsecurity not in ("tls", "none"):
                self._start_tls(line)
            self._log_in(line)
        except BaseException:
            line.close()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Take leave quietly, within two seconds, whatever the server does."""
        self._open_line().say_goodbye(QUIT_S)

    def send(self, sender: str, to: Iterable[str], data: bytes) -> dict[str, str]:
        """Hand over one mail; return what was said to each recipient refused.

        An empty dict: all were accepted.  Raise NotSent if none was, or if the mail
        was not; ``usable`` then says whether the session can take another.
        """
        line = self._open_line()
        try:
            return self._hand_over(line, sender, list(dict.fromkeys(to)), data)
        except DeliveryError:
            if not line.dead:
                self._forget_mail(line)
            raise

    def _greet(self, line: Line) -> None:
        _expect(line, "greeting", line.ask("greeting"))
        _expect(line, "EHLO", line.ehlo())

    def _start_tls(self, line: Line) -> None:
        if line.offers("starttls") is None:
            raise line.lost(
                "STARTTLS",
                "the server does not offer it, and without it no password and no mail "
                "is sent; it may want smtpsecurity = tls and smtpport = 465",
            )
        _expect(line, "STARTTLS", line.ask("STARTTLS", "STARTTLS"))
        line.secure("STARTTLS")
        # What was offered before TLS may have been somebody else's words.
        _expect(line, "EHLO", line.ehlo())

    def _log_in(self, line: Line) -> None:
        mail = self._mail
        if not (mail.user and mail.password):
            return line.emit("no login: [email] has no user or no password")
        if mail.smtpsecurity == "none":
            return line.emit("no login: smtpsecurity is none, a password wants TLS")
        offered = (line.offers("auth") or "").upper().split()
        if "PLAIN" in offered:
            login = _base64(f"\0{mail.user}\0{mail.password}")
            answer = line.ask("AUTH", f"AUTH PLAIN {login}", notified=False)
        elif "LOGIN" in offered:
            answer = line.ask(
                "AUTH", f"AUTH LOGIN {_base64(mail.user)}", notified=False
            )
            if answer.startswith("334"):
                answer = line.ask("AUTH", _base64(mail.password), notified=False)
        else:
            what = f"offers {' '.join(offered)}" if offered else "offers no login"
            raise line.lost(
                "AUTH",
                with_remedy(
                    f"the server {what}; Checker can do PLAIN and LOGIN",
                    "a server that wants no login wants no [email] user"
                    * (not offered),
                ),
            )
        _expect(line, "AUTH", answer)
        line.emit(f"AUTH: logged in as {mail.user}")

    def _hand_over(
        self, line: Line, sender: str, to: list[str], data: bytes
    ) -> dict[str, str]:
        takes_utf8 = line.offers("smtputf8") is not None
        wanted, refused = _addresses(to, takes_utf8=takes_utf8)
        if not wanted:
            raise _nobody_accepted(line, refused)
        options = f" SIZE={len(data)}" if line.offers("size") is not None else ""
        if not all(address.isascii() for address in wanted.values()):
            options += " SMTPUTF8"
        answer = line.ask("MAIL FROM", f"MAIL FROM:<{sender}>{options}", notified=False)
        line.emit(f"MAIL FROM {sender}: {answer}")
        _expect(line, "MAIL FROM", answer)
        for address, on_the_wire in wanted.items():
            answer = line.ask("RCPT TO", f"RCPT TO:<{on_the_wire}>", notified=False)
            line.emit(f"RCPT TO {on_the_wire}: {answer}")
            if not answer.startswith("2"):
                refused[address] = answer
        if len(refused) == len(to):
            raise _nobody_accepted(line, refused)
        _expect(line, "DATA", line.ask("DATA", "DATA", notified=False), "354")
        _expect(line, "end of mail", line.pour(data))
        return refused

    def _forget_mail(self, line: Line) -> None:
        try:
            _expect(line, "RSET", line.ask("RSET", "RSET", notified=False))
        except DeliveryError as error:
            # The mail's own refusal is what its sender must hear, not this.
            line.emit(str(error))
            line.close()

    def _open_line(self) -> Line:
        if self._line is None:
            raise RuntimeError("an SmtpChannel is a context manager; enter it first")
        return self._line


def _expect(line: Line, step: str, answer: str, good: str = "2") -> None:
    """Raise NotSent unless the answer starts with what is good here."""
    if not answer.startswith(good):
        raise line.failure(step, answer, permanent=is_lasting(step, answer))


def _addresses(
    to: Iterable[str], *, takes_utf8: bool
) -> tuple[dict[str, str], dict[str, str]]:
    """Return each address as SMTP has it, and what is wrong with the others."""
    wanted, refused = {}, {}
    for address in to:
        try:
            wanted[address] = wire_address(address)
        except ValueError as error:
            refused[address] = f"553 5.1.3 {error}"
            continue
        if not (takes_utf8 or wanted[address].isascii()):
            del wanted[address]
            refused[address] = (
                "553 5.6.7 the server takes no letters beyond ASCII before the @ "
                "(it has no SMTPUTF8)"
            )
    return wanted, refused


def _nobody_accepted(line: Line, refused: dict[str, str]) -> DeliveryError:
    """Return what to raise when not one recipient was accepted.

    It is permanent only if trying again can help none of them.
    """
    passing = [why for why in refused.values() if not is_lasting("RCPT TO", why)]
    answer = [*passing, *refused.values(), "554 5.5.1 the mail is to nobody"][0]
    return line.failure("RCPT TO", answer, permanent=not passing, refused=refused)


def _forms_of_the_password(mail: Mail) -> tuple[str, ...]:
    if not mail.password:
        return ()
    login = _base64(f"\0{mail.user}\0{mail.password}")
    # The longest first: a part of it must not be hidden before the whole.
    forms = (mail.password, _base64(mail.password), login)
    return tuple(sorted(forms, key=len, reverse=True))


def _base64(text: str) -> str:
    return base64.b64encode(text.encode("utf-8", "surrogateescape")).decode("ascii")


#: Of an answer people see this much.
SHOWN_ANSWER = 300
#: A name for this machine that a server will take in EHLO.
_FULL_NAME = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", re.ASCII)


class Line:
    """One connection to ``mail.smtpserver``; whatever goes wrong is a NotSent.

    ``secrets`` are kept out of everything that is told or raised.
    """

    def __init__(
        self,
        mail: Mail,
        *,
        emit: Callable[[str], None],
        deadline_s: float,
        secrets: tuple[str, ...] = (),
    ) -> None:
        self._mail = mail
        self._emit = emit
        self._secrets = secrets
        self._deadline = Deadline(deadline_s)
        self._host = host_of(mail)
        host = f"[{self._host}]" if ":" in self._host else self._host
        self._where = f"{host}:{mail.smtpport}"
        # The name is set once connected; left to smtplib it is a slow DNS lookup.
        self._smtp = smtplib.SMTP(local_hostname="localhost")
        self._smtp.command_encoding = "utf-8"
        #: Why the line is of no more use; empty while it is.
        self.dead = ""

    def emit(self, text: str) -> None:
        """Show a step to whoever watches, without the secrets."""
        self._emit(scrubbed(text, self._secrets))

    def connect(self) -> None:
        """Connect to the first address of the server that answers."""
        try:
            sock = connect(self._mail, self._deadline, self.emit)
        except DialFailed as error:
            raise self.lost("connect", str(error)) from error
        self._smtp.local_hostname = _own_name(sock)
        self._use(sock)

    def secure(self, step: str) -> None:
        """Go on in TLS; what was said before it counts no more."""
        plain = self._smtp.sock
        assert plain is not None
        try:
            sock = secured(plain, self._mail, self._deadline)
        except DialFailed as error:
            raise self.lost(step, str(error)) from error
        self._use(sock)
        self.emit(f"{step}: {sock.version()}, certificate verified for {self._host}")

    def ask(self, step: str, command: str = "", *, notified: bool = True) -> str:
        """Say a command (none: just listen), return the answer: ``250 2.0.0 OK``.

        Raise NotSent if the connection ends instead, or ends with the answer.
        """
        say = partial(self._smtp.docmd, command) if command else self._smtp.getreply
        return self._ask(step, say, notified=notified)

    def ehlo(self) -> str:
        """Return the answer to EHLO; ``offers`` tells what was in it."""
        answer = self._ask("EHLO", self._smtp.ehlo, notified=False)
        if not answer.startswith("2"):
            # A server of the old kind, which offers nothing.
            return self._ask("HELO", self._smtp.helo)
        offers = ", ".join(sorted(self._smtp.esmtp_features)).upper()
        self.emit(f"EHLO: ok, the server offers {offers or 'nothing'}")
        return answer

    def offers(self, feature: str) -> str | None:
        """Return the parameters of an extension; None if the server has it not."""
        return self._smtp.esmtp_features.get(feature)

    def pour(self, data: bytes) -> str:
        """Send a mail's text after DATA, return the answer to it."""
        text = re.sub(rb"(?m)^\.", b"..", data)
        ending = b".\r\n" if text.endswith(b"\r\n") else b"\r\n.\r\n"

        def say() -> tuple[int, bytes]:
            self._smtp.send(text + ending)
            return 0, b""

        self._ask("mail text", say, notified=False)
        self.emit(f"mail text: {len(data)} bytes sent")
        return self.ask("end of mail")

    def say_goodbye(self, seconds: float) -> None:
        """Say QUIT, wait for the answer at most this long, and hang up."""
        sock = self._smtp.sock
        if sock is None:
            return
        try:
            self._deadline = Deadline(min(seconds, self._deadline.left()))
            self._use(sock)
            self.ask("QUIT", "QUIT")
        except (DeliveryError, TimeoutError) as error:
            # Every mail had its answer before; nothing hangs on this one.
            self.emit(str(error))
        finally:
            self.close()

    def close(self) -> None:
        """Hang up."""
        self.dead = self.dead or "it was closed"
        self._smtp.close()

    def failure(
        self,
        step: str,
        answer: str,
        *,
        permanent: bool = False,
        refused: Mapping[str, str] | None = None,
    ) -> DeliveryError:
        """Return what to raise when the server said no, and the line lives on."""
        words = "; ".join(f"{who}: {why}" for who, why in (refused or {}).items())
        remedy = refusal_remedy(self._host, step, answer)
        text = f"{self._where}: {step}: {with_remedy(words or answer, remedy)}"
        return DeliveryError(
            scrubbed(text, self._secrets),
            step=step,
            answer=answer,
            permanent=permanent,
            refused=refused,
        )

    def lost(self, step: str, why: str, answer: str = "") -> DeliveryError:
        """Return what to raise when the line is of no more use, and hang up."""
        self.dead = self.dead or f"{step}: {why}"
        self.close()
        text = scrubbed(f"{self._where}: {step}: {why}", self._secrets)
        return DeliveryError(text, step=step, answer=answer)

    def _use(self, sock: socket.socket) -> None:
        self._answers = Answers(sock, self._deadline)
        self._smtp.sock = sock
        self._smtp.file = io.BufferedReader(self._answers)

    def _ask(
        self, step: str, say: Callable[[], tuple[int, bytes]], *, notified: bool = True
    ) -> str:
        sock = self._smtp.sock
        if sock is None:
            raise self.lost(step, f"the session is over ({self.dead})")
        try:
            sock.settimeout(self._deadline.left())
            self._answers.taken = 0
            code, words = say()
        except OSError as error:
            # The cause may quote the command, and with it the password.
            raise self.lost(step, self._reason(step, error)) from None
        text = _readable(words, self._secrets)
        answer = f"{code} {text}".rstrip()
        if code == 421:
            raise self.lost(step, answer, answer)
        if code == -1:
            raise self.lost(step, f"this is no SMTP: {text!r}")
        if notified:
            self.emit(f"{step}: {answer}")
        return answer

    def _reason(self, step: str, error: OSError) -> str:
        # smtplib keeps what the socket said as the context only.
        cause = error.__context__ if isinstance(error.__context__, OSError) else error
        if isinstance(cause, smtplib.SMTPServerDisconnected):
            return "the server hung up"
        wants_tls = self._mail.smtpport == 465 and self._mail.smtpsecurity == "starttls"
        waits = step == "greeting" and isinstance(cause, TimeoutError)
        remedy = "port 465 wants smtpsecurity = tls" * (waits and wants_tls)
        return with_remedy(reason(cause, self._deadline), remedy)


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
    text = " ".join(line.strip() for line in lines)
    plain = "".join(char if char.isprintable() else " " for char in text)
    return plain if len(plain) <= SHOWN_ANSWER else f"{plain[: SHOWN_ANSWER - 1]}…"

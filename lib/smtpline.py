"""A line to an SMTP server: commands and answers, as plain text.

Only the speaking: what to say is lib/smtp.py's, what an answer means lib/refusal.py's.
"""

from __future__ import annotations

import io
import re
import smtplib
import socket
from collections.abc import Callable, Mapping
from functools import partial

from lib.dial import Answers, DialFailed, connect, host_of, secured
from lib.model import Mail, scrubbed
from lib.reach import Deadline, reason
from lib.refusal import NotSent, refusal_remedy, with_remedy

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
        tell: Callable[[str], None],
        deadline_s: float,
        secrets: tuple[str, ...] = (),
    ) -> None:
        self._mail = mail
        self._tell = tell
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

    def tell(self, text: str) -> None:
        """Show a step to whoever watches, without the secrets."""
        self._tell(scrubbed(text, self._secrets))

    def connect(self) -> None:
        """Connect to the first address of the server that answers."""
        try:
            sock = connect(self._mail, self._deadline, self.tell)
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
        self.tell(f"{step}: {sock.version()}, certificate verified for {self._host}")

    def ask(self, step: str, command: str = "", *, told: bool = True) -> str:
        """Say a command (none: just listen), return the answer: ``250 2.0.0 OK``.

        Raise NotSent if the connection ends instead, or ends with the answer.
        """
        say = partial(self._smtp.docmd, command) if command else self._smtp.getreply
        return self._ask(step, say, told=told)

    def ehlo(self) -> str:
        """Return the answer to EHLO; ``offers`` tells what was in it."""
        answer = self._ask("EHLO", self._smtp.ehlo, told=False)
        if not answer.startswith("2"):
            # A server of the old kind, which offers nothing.
            return self._ask("HELO", self._smtp.helo)
        offers = ", ".join(sorted(self._smtp.esmtp_features)).upper()
        self.tell(f"EHLO: ok, the server offers {offers or 'nothing'}")
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

        self._ask("mail text", say, told=False)
        self.tell(f"mail text: {len(data)} bytes sent")
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
        except (NotSent, TimeoutError) as error:
            # Every mail had its answer before; nothing hangs on this one.
            self.tell(str(error))
        finally:
            self.close()

    def close(self) -> None:
        """Hang up."""
        self.dead = self.dead or "it was closed"
        self._smtp.close()

    def refusal(
        self,
        step: str,
        answer: str,
        *,
        permanent: bool = False,
        refused: Mapping[str, str] | None = None,
    ) -> NotSent:
        """Return what to raise when the server said no, and the line lives on."""
        words = "; ".join(f"{who}: {why}" for who, why in (refused or {}).items())
        remedy = refusal_remedy(self._host, step, answer)
        text = f"{self._where}: {step}: {with_remedy(words or answer, remedy)}"
        return NotSent(
            scrubbed(text, self._secrets),
            step=step,
            answer=answer,
            permanent=permanent,
            refused=refused,
        )

    def lost(self, step: str, why: str, answer: str = "") -> NotSent:
        """Return what to raise when the line is of no more use, and hang up."""
        self.dead = self.dead or f"{step}: {why}"
        self.close()
        text = scrubbed(f"{self._where}: {step}: {why}", self._secrets)
        return NotSent(text, step=step, answer=answer)

    def _use(self, sock: socket.socket) -> None:
        self._answers = Answers(sock, self._deadline)
        self._smtp.sock = sock
        self._smtp.file = io.BufferedReader(self._answers)

    def _ask(
        self, step: str, say: Callable[[], tuple[int, bytes]], *, told: bool = True
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
        if told:
            self.tell(f"{step}: {answer}")
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

"""Hand mails to an SMTP server: one session for many, safe before it is anything else.

The dialogue only; lib/smtpline.py does the speaking, lib/refusal.py knows what a no
means.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Self

from lib.compose import wire_address
from lib.model import Mail
from lib.refusal import NotSent, is_lasting, with_remedy

if TYPE_CHECKING:
    from lib.smtpline import Line

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
        from lib.smtpline import Line

        mail = self._mail
        if not mail.smtpserver:
            raise NotSent("[email] smtpserver is not set", step="connect")
        line = self._line = Line(
            mail,
            tell=self._on_step,
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
        except NotSent:
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
            return line.tell("no login: [email] has no user or no password")
        if mail.smtpsecurity == "none":
            return line.tell("no login: smtpsecurity is none, a password wants TLS")
        offered = (line.offers("auth") or "").upper().split()
        if "PLAIN" in offered:
            login = _base64(f"\0{mail.user}\0{mail.password}")
            answer = line.ask("AUTH", f"AUTH PLAIN {login}", told=False)
        elif "LOGIN" in offered:
            answer = line.ask("AUTH", f"AUTH LOGIN {_base64(mail.user)}", told=False)
            if answer.startswith("334"):
                answer = line.ask("AUTH", _base64(mail.password), told=False)
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
        line.tell(f"AUTH: logged in as {mail.user}")

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
        answer = line.ask("MAIL FROM", f"MAIL FROM:<{sender}>{options}", told=False)
        line.tell(f"MAIL FROM {sender}: {answer}")
        _expect(line, "MAIL FROM", answer)
        for address, on_the_wire in wanted.items():
            answer = line.ask("RCPT TO", f"RCPT TO:<{on_the_wire}>", told=False)
            line.tell(f"RCPT TO {on_the_wire}: {answer}")
            if not answer.startswith("2"):
                refused[address] = answer
        if len(refused) == len(to):
            raise _nobody_accepted(line, refused)
        _expect(line, "DATA", line.ask("DATA", "DATA", told=False), "354")
        _expect(line, "end of mail", line.pour(data))
        return refused

    def _forget_mail(self, line: Line) -> None:
        try:
            _expect(line, "RSET", line.ask("RSET", "RSET", told=False))
        except NotSent as error:
            # The mail's own refusal is what its sender must hear, not this.
            line.tell(str(error))
            line.close()

    def _open_line(self) -> Line:
        if self._line is None:
            raise RuntimeError("an SmtpChannel is a context manager; enter it first")
        return self._line


def _expect(line: Line, step: str, answer: str, good: str = "2") -> None:
    """Raise NotSent unless the answer starts with what is good here."""
    if not answer.startswith(good):
        raise line.refusal(step, answer, permanent=is_lasting(step, answer))


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


def _nobody_accepted(line: Line, refused: dict[str, str]) -> NotSent:
    """Return what to raise when not one recipient was accepted.

    It is permanent only if trying again can help none of them.
    """
    passing = [why for why in refused.values() if not is_lasting("RCPT TO", why)]
    answer = [*passing, *refused.values(), "554 5.5.1 the mail is to nobody"][0]
    return line.refusal("RCPT TO", answer, permanent=not passing, refused=refused)


def _forms_of_the_password(mail: Mail) -> tuple[str, ...]:
    if not mail.password:
        return ()
    login = _base64(f"\0{mail.user}\0{mail.password}")
    # The longest first: a part of it must not be hidden before the whole.
    forms = (mail.password, _base64(mail.password), login)
    return tuple(sorted(forms, key=len, reverse=True))


def _base64(text: str) -> str:
    return base64.b64encode(text.encode("utf-8", "surrogateescape")).decode("ascii")

"""What a server's reply means for a message: sent, retried, shortened or given up."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime

import msgspec
from msgspec.structs import replace

from lib.core import policy
from lib.core.messages import Message
from lib.core.text import first_line
from lib.mail.replies import is_lasting, refuses_login, refuses_sender

#: The length of a shortened mail.
SHORT_BODY = 1000
SHORT_SUBJECT = 100


def shortened(message: Message, why: str) -> Message:
    """Return the message shortened and in plain ASCII."""
    body = plain(message.body)[:SHORT_BODY].rstrip()
    return replace(
        message,
        subject=plain(message.subject)[:SHORT_SUBJECT],
        body=(
            f"{body}\n\n(Shortened, because the mail server rejected the whole mail: "
            f"{plain(first_line(why))[:300]})\n"
        ),
        preface="",
        shortened=True,
        retry_at=None,
        last_error=why,
        in_doubt=False,
    )


def plain(text: str) -> str:
    """Return the text with a question mark for each letter that is not ASCII."""
    return "".join(
        letter if letter == "\n" or " " <= letter <= "~" else "?" for letter in text
    )


#: Replies that demand a login or TLS, or reject the login.
_LOGIN_CODES = (530, 534, 535, 538)
#: Steps before the first mail: what is refused there holds for all of them.
_SESSION_STEPS = ("connect", "TLS", "greeting", "EHLO", "STARTTLS", "AUTH")
#: Steps at which the server may have accepted the mail without a reply.
_LAST_STEPS = ("", "mail text", "end of mail")
_ABOUT_MAILBOX = re.compile(r"\d{3}[ -]+\d\.[12]\.")
#: Why a mail was not tried.
NOT_YET = "an earlier mail of this job must be sent first"
_TOO_MUCH = re.compile(r"\brate\b|limit|quota|too many|too much|throttl", re.I)
#: Too many at once, or in one session: another may be taken a moment later.  Postfix
#: ends a session with "too many errors" after one refused recipient, if it is busy.
_AT_ONCE = re.compile(
    r"concurrent|simultaneous|connection|session"
    r"|too many (\w+ ){0,2}(errors|commands)|too many (bad|invalid|unknown) ",
    re.I,
)


class DeliveryFailure(msgspec.Struct, frozen=True):
    """Why a mail was not accepted."""

    why: str
    #: The SMTP step; empty if the session itself ended.
    step: str = ""
    #: The reply code; None without a reply.
    code: int | None = None
    status: str = ""
    #: The server's own words; empty without a reply.
    answer: str = ""
    #: A retry cannot help.
    permanent: bool = False
    #: The reply for each recipient, if that was the reason.
    refused: Mapping[str, str] = {}
    #: The session had begun to send this mail.
    begun: bool = False

    @property
    def in_doubt(self) -> bool:
        """Return whether the mail may have been accepted nevertheless."""
        return self.begun and self.code is None and self.step in _LAST_STEPS

    @property
    def is_about_all(self) -> bool:
        """Return whether the same may hold for any mail, not just for this one.

        A reply to each recipient may be about the server; one with status 4.1 or 4.2
        is about that mailbox.
        """
        if self.permanent or self.why == NOT_YET:
            return False
        if refuses_sender(self.step, self.answer):
            return True
        return not any(
            said.startswith("5") or _ABOUT_MAILBOX.match(said)
            for said in self.refused.values()
        )

    @property
    def is_login(self) -> bool:
        """Return whether user and password were refused, and not for now only."""
        return refuses_login(self.step, self.code, self.status)

    def is_of_this_session(self, *, is_first: bool) -> bool:
        """Return whether the next mail may be taken in another session at once.

        ``is_first``: the mail was the first of its session.  With 421 before it knows
        the mail the server goes away, or has taken so many mails as it takes in one
        session; later it ends the session for what it is about to take.
        """
        if self.code == 421 and self.step == "MAIL FROM":
            return not is_first
        if self.in_doubt or self.is_limit or self.is_login:
            return False
        return self.step not in _SESSION_STEPS

    @property
    def is_about_us(self) -> bool:
        """Return whether another account may be able to send the same mail."""
        if self.in_doubt or self.permanent:
            return False
        about_sender = (
            self.step in _SESSION_STEPS
            or self.code in _LOGIN_CODES
            or refuses_sender(self.step, self.answer)
        )
        relay = self.status.startswith("5.7.") or "relay" in self.answer.lower()
        return about_sender or self.is_login or self.is_limit or relay

    @property
    def is_servers_trouble(self) -> bool:
        """Return whether the server takes no mail for now, whatever the mail.

        It goes away, hangs up before it has the mail, or refuses its sender.
        """
        if self.in_doubt or self.permanent:
            return False
        hung_up = self.code is None and self.step not in _LAST_STEPS
        return hung_up or self.code == 421 or self.step == "MAIL FROM"

    @property
    def is_limit(self) -> bool:
        """Return whether the server wants no more mail for a time: the rate, the day.

        Not so a session that is refused: that is tried again within minutes.
        """
        if self.status == "5.4.5":
            return True
        if self.step in _SESSION_STEPS or _AT_ONCE.search(self.answer):
            return False
        # A reply to a recipient is mostly about that mailbox.
        about_us = not self.refused or self.status.startswith("4.7.")
        if _ABOUT_MAILBOX.match(self.answer):
            return False
        passing = self.code is not None and 400 <= self.code < 500
        return passing and about_us and bool(_TOO_MUCH.search(self.answer))


class AttemptResult(msgspec.Struct, frozen=True):
    """What is left of a message after an attempt."""

    #: The message to keep in the queue; None: nothing is left.
    left: Message | None
    #: The addresses that will never get it, with the reply.
    dead: Mapping[str, str] = {}
    #: The content was rejected, not an address.
    content: bool = False


def after_acceptance(message: Message, refused: Mapping[str, str]) -> AttemptResult:
    """Return what is left of a message that was accepted for all but ``refused``."""
    return _for_the_rest(replace(message, in_doubt=False), refused, refused)


def after_failure(
    message: Message, failure: DeliveryFailure, *, was_in_doubt: bool = False
) -> AttemptResult:
    """Return what is left of a message that was accepted for nobody.

    ``was_in_doubt``: an earlier attempt may have been accepted, whatever the reply now.
    """
    in_doubt = was_in_doubt or failure.in_doubt
    kept = replace(message, last_error=failure.why, in_doubt=in_doubt)
    if failure.refused:
        everybody = {to: failure.refused.get(to, failure.why) for to in message.to}
        return _for_the_rest(kept, failure.refused, everybody)
    if not failure.permanent:
        return AttemptResult(kept)
    if message.shortened:
        dead = {to: failure.why for to in message.to}
        return AttemptResult(None, dead, content=True)
    return AttemptResult(shortened(kept, failure.why))


def put_off(attempt_result: AttemptResult, now: datetime) -> AttemptResult:
    """Return the result with the time of the next attempt, unless that is at once."""
    left = attempt_result.left
    if left is None or left.retry_at is None:
        return attempt_result
    return replace(attempt_result, left=policy.put_off(left, now))


def _for_the_rest(
    message: Message, refused: Mapping[str, str], queued: Mapping[str, str]
) -> AttemptResult:
    """Return what is left of a message that is still queued for some addresses."""
    dead = {to: said for to, said in refused.items() if is_lasting("RCPT TO", said)}
    to = tuple(who for who in message.to if who in queued and who not in dead)
    if not to:
        return AttemptResult(None, dead)
    said = "; ".join(f"{who}: {queued[who]}" for who in to if who in refused)
    why = said or message.last_error
    return AttemptResult(replace(message, to=to, last_error=why), dead)

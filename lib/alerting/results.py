"""The text of mails that stand for others, or tell of mail itself.

Pure: messages in, a message out.  For the mails about jobs see ``letters``.

What a server's answer means for a message: gone, tried again, cut down, or dead.

Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from lib.core.messages import Message
from lib.core.text import first_line
from lib.mail.replies import is_lasting

#: What is left of a body that a server would not take.
SHORT_BODY = 1000
SHORT_SUBJECT = 100


def shortened(message: Message, why: str) -> Message:
    """Return the message cut down to a few plain words."""
    body = _plain(message.body)[:SHORT_BODY].rstrip()
    return replace(
        message,
        subject=_plain(message.subject)[:SHORT_SUBJECT],
        body=(
            f"{body}\n\n(The mail server refused this mail as it was, so it was cut "
            f"down: {_plain(first_line(why))[:300]})\n"
        ),
        shortened=True,
        retry_at=None,
        last_error=why,
        in_doubt=False,
    )


def _plain(text: str) -> str:
    return "".join(
        letter if letter == "\n" or " " <= letter <= "~" else "?" for letter in text
    )


#: Answers that say: log in first, or not like this.
_LOGIN_CODES = (530, 534, 535, 538)
#: Steps after which the server may have taken the mail, whatever we heard.
_LAST_STEPS = ("", "mail text", "end of mail")
_TOO_MUCH = re.compile(r"\brate\b|limit|quota|too many|too much|throttl", re.I)


@dataclass(frozen=True)
class DeliveryFailure:
    """Why a mail was not taken, as the session tells it."""

    why: str
    #: The step of the dialogue; empty where the session itself was cut off.
    step: str = ""
    #: The server's; None where it gave none.
    code: int | None = None
    status: str = ""
    #: Trying the same again cannot help.
    permanent: bool = False
    #: What was said to each recipient, where that was the reason.
    refused: Mapping[str, str] = field(default_factory=dict)
    #: The mail itself was begun; else the session did not come to it.
    begun: bool = False

    @property
    def in_doubt(self) -> bool:
        """Return whether the mail may have been taken all the same."""
        return self.begun and self.code is None and self.step in _LAST_STEPS

    @property
    def is_login(self) -> bool:
        """Return whether our login was not taken."""
        return self.step == "AUTH" or self.code in _LOGIN_CODES

    @property
    def is_about_us(self) -> bool:
        """Return whether another account may have more luck with the same mail."""
        if self.in_doubt or self.permanent:
            return False
        about_sender = self.step in ("connect", "greeting", "EHLO", "STARTTLS")
        relay = self.status.startswith("5.7.") or "relay" in self.why
        return about_sender or self.is_login or self.is_limit or relay

    @property
    def is_limit(self) -> bool:
        """Return whether the server has had too much of us for now."""
        if self.status == "5.4.5":
            return True
        # What is said to a recipient is mostly about that mailbox.
        about_us = not self.refused or self.status.startswith("4.7.")
        passing = self.code is not None and 400 <= self.code < 500
        return passing and about_us and bool(_TOO_MUCH.search(self.why))


@dataclass(frozen=True)
class AttemptResult:
    """What becomes of a message after an attempt."""

    #: What is still owed; None: nothing.
    left: Message | None
    #: Who will never get it, and what was said.
    dead: Mapping[str, str] = field(default_factory=dict)
    #: It is not an address that is refused but the message.
    content: bool = False


def after_taken(message: Message, refused: Mapping[str, str]) -> AttemptResult:
    """Return the fate of a message that was taken for all but those refused."""
    return _for_the_refused(replace(message, in_doubt=False), refused, refused)


def after_refusal(
    message: Message, failure: DeliveryFailure, *, was_in_doubt: bool = False
) -> AttemptResult:
    """Return the fate of a message that was not taken for anybody.

    ``was_in_doubt``: already before this attempt; a no does not take back a yes.
    """
    in_doubt = was_in_doubt or failure.in_doubt
    kept = replace(message, last_error=failure.why, in_doubt=in_doubt)
    if failure.refused:
        everybody = {to: failure.refused.get(to, failure.why) for to in message.to}
        return _for_the_refused(kept, failure.refused, everybody)
    if not failure.permanent:
        return AttemptResult(kept)
    if message.shortened:
        dead = {to: failure.why for to in message.to}
        return AttemptResult(None, dead, content=True)
    return AttemptResult(shortened(kept, failure.why))


def _for_the_refused(
    message: Message, refused: Mapping[str, str], queued: Mapping[str, str]
) -> AttemptResult:
    """Return the fate of a message that is still owed to the ``owed``."""
    dead = {to: said for to, said in refused.items() if is_lasting("RCPT TO", said)}
    to = tuple(one for one in message.to if one in queued and one not in dead)
    if not to:
        return AttemptResult(None, dead)
    said = "; ".join(f"{one}: {queued[one]}" for one in to if one in refused)
    why = said or message.last_error
    return AttemptResult(replace(message, to=to, last_error=why), dead)

"""What Checker says of mail itself, and remembers to have said.

Pure: each takes the postbook, and returns it as it is after that.  A failure to mail
never causes a mail about it to somebody who is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from lib import budget, summaries
from lib.budget import Limits, Postbook
from lib.fates import Fate, Refusal
from lib.model import Message

LOGIN_REFUSED = (
    "the login was refused: renew the (app) password in [email]; it is tried "
    f"{budget.LOGINS_PER_HOUR} times an hour at most"
)
NO_MORE_FOR_NOW = "the mail server wants no more for now: mail waits an hour"


def of_held(
    book: Postbook,
    limits: Limits | None,
    count: int,
    to: tuple[str, ...],
    now: datetime,
) -> tuple[Postbook, Message | None]:
    """Return the mail that says that so many are held back; None if it was said."""
    told_at = book.told_held_at
    if limits is None or (told_at and now - told_at < budget.HOUR):
        return book, None
    message = summaries.held_back_message(
        _id("held", now.isoformat()),
        count,
        budget.room_at(book, limits, now),
        (limits.per_hour, limits.per_day),
        to,
        now,
    )
    return replace(book, told_held_at=now), message


def of_refused(
    book: Postbook,
    message: Message,
    fate: Fate,
    contact: tuple[str, ...],
    now: datetime,
) -> tuple[Postbook, list[Message]]:
    """Return what to tell of those who will never get a message, once a day each.

    The others who get it are told, or else the ``contact``.
    """
    told = []
    for address, said in fate.dead.items():
        others = _reachable(message.to, book, fate) or _reachable(contact, book, fate)
        if not others or budget.knows_refused(book, address):
            continue
        name = _id("refused", address, message.message_id)
        told.append(
            summaries.refused_message(name, address, said, message.subject, others, now)
        )
        book = budget.telling_refused(book, address, now)
    return book, told


def learnt(
    book: Postbook, refusals: Sequence[Refusal], now: datetime
) -> tuple[Postbook, list[str]]:
    """Return what a session's refusals say of us, not of a mail, with lines to log."""
    lines = []
    if any(one.is_login for one in refusals):
        book = budget.after_refused_login(book, now)
        lines.append(LOGIN_REFUSED)
    if any(one.is_limit for one in refusals):
        book = replace(book, held_until=now + budget.HOUR)
        lines.append(NO_MORE_FOR_NOW)
    return book, lines


def _reachable(those: Iterable[str], book: Postbook, fate: Fate) -> tuple[str, ...]:
    return tuple(
        one
        for one in those
        if one not in fate.dead and not budget.knows_refused(book, one)
    )


def _id(*words: str) -> str:
    text = " ".join(words).encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).hexdigest()[:32]

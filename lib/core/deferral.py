"""Why a mail that is owed has not left, in words.  Pure."""

from __future__ import annotations

from datetime import datetime

from lib.core import ratelimit
from lib.core.enums import MessageKind
from lib.core.messages import Digest, Message
from lib.core.ratelimit import Postbook
from lib.core.text import counted, first_line, local


def why_waits(
    message: Message, digest: Digest | None, book: Postbook, now: datetime
) -> str:
    """Return why a mail has not left and when it may; ``digest`` is what it waits in.

    Nothing if there is no reason but that nobody has come to it.
    """
    part = ""
    if digest is not None:
        message = digest.message
        part = f"a part of the mail {first_line(message.subject)!r}"
    said = (part, _tried(message), _holds(message, book, now))
    return "; ".join(one for one in said if one)


def _tried(message: Message) -> str:
    if not message.attempts:
        return ""
    words = f"tried {counted(message.attempts, 'time')}"
    if message.last_error:
        words += f", the last time: {first_line(message.last_error)}"
    return words


def _holds(message: Message, book: Postbook, now: datetime) -> str:
    """Return what holds a mail back; nothing if the next run may send it."""
    if book.held_until is not None and now < book.held_until:
        return f"the mail server wants no more before {local(book.held_until)}"
    if ratelimit.is_held(book, now):
        again = local(min(book.refused_logins) + ratelimit.HOUR)
        return f"the login was refused too often; the next attempt comes after {again}"
    if message.retry_at is not None and now < message.retry_at:
        return f"the next attempt comes after {local(message.retry_at)}"
    if message.kind is MessageKind.PROBE:
        return ""
    if (quiet_until := ratelimit.quiet_until(book, message.to)) and now < quiet_until:
        return (
            "a mail that stood for many has gone to the same people; the next one "
            f"comes after {local(quiet_until)}"
        )
    if book.full_until is not None and now < book.full_until:
        return (
            "as many mails have left as mailsperhour and mailsperday allow; there is "
            f"room after {local(book.full_until)}"
        )
    return ""

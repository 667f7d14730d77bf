"""Why a mail that is owed has not left, in words.  Pure."""

from __future__ import annotations

from datetime import datetime

from lib.core import ratelimit
from lib.core.enums import MessageKind
from lib.core.messages import Bundle, Message
from lib.core.ratelimit import SendLog
from lib.core.text import counted, first_line, local


def why_waits(
    message: Message, bundle: Bundle | None, send_log: SendLog, now: datetime
) -> str:
    """Return why a mail has not left and when it may; ``digest`` is what it waits in.

    Nothing if there is no reason but that nobody has come to it.
    """
    part = ""
    if bundle is not None:
        message = bundle.message
        part = f"a part of the mail {first_line(message.subject)!r}"
    said = (part, _tried(message), _holds(message, send_log, now))
    return "; ".join(one for one in said if one)


def _tried(message: Message) -> str:
    if not message.attempts:
        return ""
    words = f"tried {counted(message.attempts, 'time')}"
    if message.last_error:
        words += f", the last time: {first_line(message.last_error)}"
    return words


def _holds(message: Message, send_log: SendLog, now: datetime) -> str:
    """Return what holds a mail back; nothing if the next run may send it."""
    if send_log.held_until is not None and now < send_log.held_until:
        return f"the mail server wants no more before {local(send_log.held_until)}"
    if ratelimit.is_held(send_log, now):
        again = local(min(send_log.refused_logins) + ratelimit.HOUR)
        return f"the login was refused too often; the next attempt comes after {again}"
    if message.retry_at is not None and now < message.retry_at:
        return f"the next attempt comes after {local(message.retry_at)}"
    if message.kind is MessageKind.ROUND_TRIP:
        return ""
    if (
        quiet_until := ratelimit.quiet_until(send_log, message.to)
    ) and now < quiet_until:
        return (
            "a mail that stood for many has gone to the same people; the next one "
            f"comes after {local(quiet_until)}"
        )
    if send_log.full_until is not None and now < send_log.full_until:
        return (
            "as many mails have left as mailsperhour and mailsperday allow; there is "
            f"room after {local(send_log.full_until)}"
        )
    return ""

"""Why a queued message was not sent yet, in words."""

from __future__ import annotations

from datetime import datetime

from lib.core import ratelimit
from lib.core.enums import MessageKind
from lib.core.messages import Bundle, Message
from lib.core.ratelimit import SendLog
from lib.core.text import TimeText, counted, first_line


def why_deferred(
    message: Message,
    bundle: Bundle | None,
    send_log: SendLog,
    now: datetime,
    time_text: TimeText,
) -> str:
    """Return why a message is still queued and when it may be sent.

    ``bundle`` is the one it is part of.  Empty if the next run may send it.
    """
    part = ""
    if bundle is not None:
        message = bundle.message
        part = f"part of the bundle {first_line(message.subject)!r}"
    reasons = (
        part,
        _attempt_words(message),
        _limit_words(message, send_log, now, time_text),
    )
    return "; ".join(reason for reason in reasons if reason)


def _attempt_words(message: Message) -> str:
    if not message.attempts:
        return ""
    words = counted(message.attempts, "attempt")
    if message.last_error:
        words += f", last error: {first_line(message.last_error)}"
    return words


def _limit_words(
    message: Message, send_log: SendLog, now: datetime, time_text: TimeText
) -> str:
    """Return what holds a message back; empty if the next run may send it."""
    if send_log.held_until is not None and now < send_log.held_until:
        until = time_text(send_log.held_until)
        return f"the mail server is rate-limiting us until {until}"
    if ratelimit.is_held(send_log, now):
        again = time_text(min(send_log.refused_logins) + ratelimit.HOUR)
        return f"too many failed logins; the next attempt comes after {again}"
    if message.retry_at is not None and now < message.retry_at:
        return f"the next attempt comes after {time_text(message.retry_at)}"
    if message.kind is MessageKind.ROUND_TRIP:
        return ""
    quiet_until = ratelimit.quiet_until(send_log, message.to)
    if quiet_until is not None and now < quiet_until:
        return (
            "a bundle was sent to the same recipients; the next mail comes after "
            f"{time_text(quiet_until)}"
        )
    if send_log.limited_until is not None and now < send_log.limited_until:
        return (
            "the rate limit (mailsperhour, mailsperday) is reached; it ends after "
            f"{time_text(send_log.limited_until)}"
        )
    return ""

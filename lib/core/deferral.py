"""Deferred messages: which ones are still queued, why, and until when.

A run lists what it leaves in the queue in run.json, so that ``-m status``, the answer
to peers and the note to alertcontact say the same.  What waits for STUCK_AFTER or
longer is stuck (``lib/core/health.py``); what waits for its window does so by intent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from heapq import nsmallest

import msgspec

from lib.core import ratelimit
from lib.core.enums import DeferralCode, MessageKind
from lib.core.health import STUCK_AFTER
from lib.core.hours import NO_WINDOWS, Windows
from lib.core.messages import Bundle, Deferral, DeferredMessage, Message
from lib.core.ratelimit import SendLog
from lib.core.records import Record
from lib.core.sanitize import quoted
from lib.core.text import TimeText, counted, first_line, some_of

#: The most deferred messages that are listed, the oldest first.
MAX_LISTED = 100
#: The most of a subject or an error that is listed.
MAX_LENGTH = 300


class Deferred(msgspec.Struct, frozen=True):
    """All that a run leaves in the queue."""

    count: int = 0
    #: How many of these are stuck.
    stuck: int = 0
    #: The oldest.
    messages: tuple[DeferredMessage, ...] = ()


def deferred(
    records: Iterable[Record],
    bundles: Iterable[Bundle],
    send_log: SendLog,
    now: datetime,
    windows: Windows = NO_WINDOWS,
) -> Deferred:
    """Return the messages that are queued, the oldest first, at most MAX_LISTED.

    The last are those that wait for their window.  Round-trip mails are left out:
    EmailChecker watches them.
    """
    queued = [
        (windows.due_at(message, now), number, message, record)
        for record in records
        for number, message in enumerate(record.queued)
        if message.kind is not MessageKind.ROUND_TRIP
    ]
    if not queued:
        return Deferred()
    in_bundle = by_message_id(bundles)
    oldest = nsmallest(MAX_LISTED, queued, key=lambda one: (one[0], one[3].key, one[1]))
    return Deferred(
        len(queued),
        sum(now - due_at >= STUCK_AFTER for due_at, *_rest in queued),
        tuple(
            DeferredMessage(
                record.name,
                message.kind,
                first_line(message.subject)[:MAX_LENGTH],
                message.to,
                message.born_at,
                why_deferred(
                    record,
                    message,
                    in_bundle.get(message.message_id),
                    send_log,
                    now,
                    windows,
                ),
                due_at if due_at != message.born_at else None,
            )
            for due_at, _number, message, record in oldest
        ),
    )


def of_all(parts: Iterable[Deferred]) -> Deferred:
    """Return what several ways leave in the queue, the oldest first."""
    parts = list(parts)
    messages = sorted(
        (message for part in parts for message in part.messages),
        key=lambda message: message.due_at or message.since,
    )
    return Deferred(
        sum(part.count for part in parts),
        sum(part.stuck for part in parts),
        tuple(messages[:MAX_LISTED]),
    )


def by_message_id(bundles: Iterable[Bundle]) -> Mapping[str, Bundle]:
    """Return the bundles that are not sent yet, by the ids of their messages."""
    return {
        name: bundle
        for bundle in bundles
        if bundle.sent_at is None
        for name in bundle.ids
    }


def why_deferred(
    record: Record,
    message: Message,
    bundle: Bundle | None,
    send_log: SendLog,
    now: datetime,
    windows: Windows = NO_WINDOWS,
) -> Deferral:
    """Return why a message of a record is still queued and when it may be sent.

    ``bundle`` is the one it is part of.
    """
    subject = ""
    opens_at = windows.opens_at(message, now)
    if opens_at is not None:
        error = first_line(message.last_error)[:MAX_LENGTH]
        return Deferral(DeferralCode.WINDOW, opens_at, message.attempts, error)
    limited = send_log.limited_until
    is_limited = limited is not None and now < limited
    is_repeated = is_limited and _is_repeated(record, message, send_log, now)
    if bundle is not None:
        message = bundle.message
        subject = first_line(message.subject)[:MAX_LENGTH]
    code, until = _reason(message, send_log, now, is_repeated=is_repeated)
    error = first_line(message.last_error or send_log.last_error)[:MAX_LENGTH]
    return Deferral(code, until, message.attempts, error, subject)


def _is_repeated(
    record: Record, message: Message, send_log: SendLog, now: datetime
) -> bool:
    """Return whether a message is none that leaves whatever the rate limit."""
    about = [
        one
        for one in record.queued
        if one.kind is MessageKind.ALERT or one.kind.ends_trouble
    ]
    if message not in about:
        return True
    if about[0].kind.ends_trouble and about[-1].kind.ends_trouble:
        return False
    notified = ratelimit.notified_lately(send_log, now)
    return ratelimit.is_known(notified, record.key, message.severity) and any(
        ratelimit.alerts_in(queued) for queued in about
    )


def _reason(
    message: Message, send_log: SendLog, now: datetime, *, is_repeated: bool
) -> tuple[DeferralCode, datetime | None]:
    """Return what holds a message back, and until when."""
    if send_log.held_until is not None and now < send_log.held_until:
        return DeferralCode.SERVER_LIMIT, send_log.held_until
    if ratelimit.is_held(send_log, now):
        until = min(send_log.refused_logins) + ratelimit.HOUR
        return DeferralCode.LOGIN_REFUSED, until
    attempt_at = ratelimit.next_attempt_at(send_log) or message.retry_at
    if attempt_at is not None and now < attempt_at:
        return DeferralCode.RETRY, attempt_at
    if message.kind is MessageKind.ROUND_TRIP:
        return DeferralCode.NEXT_RUN, None
    limited = send_log.limited_until
    if is_repeated and limited is not None and now < limited:
        return DeferralCode.RATE_LIMIT, limited
    quiet = ratelimit.quiet_until(send_log, message.to)
    if quiet is not None and now < quiet:
        return DeferralCode.NEXT_BUNDLE, quiet
    return DeferralCode.NEXT_RUN, None


# In words.


#: What a message waits for; "{until}" is when that is over.
_WORDS = {
    DeferralCode.NEXT_RUN: "",
    DeferralCode.RETRY: "the next attempt comes after {until}",
    DeferralCode.SERVER_LIMIT: "the mail server is rate-limiting us until {until}",
    DeferralCode.LOGIN_REFUSED: (
        "too many failed logins; the next attempt comes after {until}"
    ),
    DeferralCode.NEXT_BUNDLE: (
        "a bundle was sent to the same recipients; the next mail comes after {until}"
    ),
    DeferralCode.WINDOW: "waits for its window until {until}",
    DeferralCode.RATE_LIMIT: (
        "the rate limit (mailsperhour, mailsperday) is reached; it ends after {until}"
    ),
}


def words(why: Deferral, time_text: TimeText) -> str:
    """Return a reason in words; empty if the next run may send the message."""
    until = time_text(why.until) if why.until else "some time"
    reasons = (
        f"part of the bundle {why.bundle!r}" if why.bundle else "",
        _attempt_words(why),
        _WORDS[why.code].format(until=until),
    )
    return "; ".join(reason for reason in reasons if reason)


def _attempt_words(why: Deferral) -> str:
    attempts = counted(why.attempts, "attempt") if why.attempts else ""
    error = f"last error: {why.error}" if why.error else ""
    return ", ".join(filter(None, (attempts, error)))


def line(message: DeferredMessage, time_text: TimeText) -> str:
    """Return a deferred message as a line: its subject, to whom, since when, why."""
    why = words(message.why, time_text) or "the next run sends it"
    to = f" to {some_of(message.to, 3)}" if message.to else ""
    return (
        f"{quoted(message.subject)}{to}, queued since {time_text(message.since)}: {why}"
    )

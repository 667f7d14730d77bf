"""Mails about mail: deferred messages and rejected addresses.

Each function takes the send log and returns it with the notice noted, so that a notice
is sent once.  No notice goes to an address that is rejected.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime, tzinfo

from msgspec.structs import replace

from lib.alerting.results import AttemptResult, DeliveryFailure
from lib.core import ratelimit
from lib.core.enums import MessageKind
from lib.core.messages import Message
from lib.core.ratelimit import Limits, SendLog
from lib.core.text import counted, first_line, mail_time


def deferred_message(
    message_id: str,
    count: int,
    until: datetime,
    limits: tuple[int, int],
    to: tuple[str, ...],
    now: datetime,
    zone: tzinfo | None,
) -> Message:
    """Return the mail that says how many messages are deferred, and until when."""
    at = mail_time(until, zone)
    hour, day = limits
    return Message(
        message_id=message_id,
        kind=MessageKind.NOTE,
        subject=f"{counted(count, 'mail')} deferred until {at}",
        body=(
            f"{counted(count, 'mail')} to you or others will be sent in one mail, at\n"
            f"{at}.\n"
            "The rate limit is reached: [email] mailsperhour and mailsperday allow\n"
            f"{hour} mails an hour and {day} a day.\n"
            "The first alert of a job without mail in the last hour is still sent.\n\n"
            "Check now:  checker.py -m list\n"
        ),
        to=to,
        born_at=now,
    )


def rejected_message(
    message_id: str,
    address: str,
    said: str,
    subject: str,
    to: tuple[str, ...],
    now: datetime,
) -> Message:
    """Return the mail that says that an address is rejected."""
    return Message(
        message_id=message_id,
        kind=MessageKind.NOTE,
        subject=f"mail to {address} is rejected: {first_line(said)}",
        body=(
            f"The mail server rejects mail to {address}:\n\n    {first_line(said)}\n\n"
            f"The first mail rejected today:\n\n    {first_line(subject)}\n\n"
            "Rejected mails are kept in dead/ in the state folder, and not retried.\n"
            "Correct the address in settings.cfg or in the job that sets it.\n"
        ),
        to=to,
        born_at=now,
    )


LOGIN_REFUSED = (
    "the login was refused: renew the (app) password in [email]; there are at most "
    f"{ratelimit.LOGINS_PER_HOUR} attempts an hour"
)
RATE_LIMITED = "the mail server is rate-limiting us: no mail is sent for an hour"


def deferral_notice(
    send_log: SendLog,
    limits: Limits | None,
    count: int,
    to: tuple[str, ...],
    now: datetime,
    zone: tzinfo | None,
) -> tuple[SendLog, Message | None]:
    """Return the notice about deferred messages; None if it was sent this hour."""
    notified_at = send_log.deferral_notified_at
    if limits is None or (notified_at and now - notified_at < ratelimit.HOUR):
        return send_log, None
    message = deferred_message(
        _id("held", now.isoformat()),
        count,
        ratelimit.room_at(send_log, limits, now),
        (limits.per_hour, limits.per_day),
        to,
        now,
        zone,
    )
    return replace(send_log, deferral_notified_at=now), message


def rejection_notices(
    send_log: SendLog,
    message: Message,
    attempt_result: AttemptResult,
    contact: tuple[str, ...],
    now: datetime,
) -> tuple[SendLog, list[Message]]:
    """Return a notice for each rejected address, once a day each.

    It goes to the other recipients of the message, or else to ``contact``.
    """
    notified = []
    for address, said in attempt_result.dead.items():
        others = _reachable(message.to, send_log, attempt_result) or _reachable(
            contact, send_log, attempt_result
        )
        if not others or ratelimit.is_refused(send_log, address):
            continue
        name = _id("refused", address, message.message_id)
        notified.append(
            rejected_message(name, address, said, message.subject, others, now)
        )
        send_log = ratelimit.with_refused(send_log, address, now)
    return send_log, notified


def after_session(
    send_log: SendLog, refusals: Sequence[DeliveryFailure], now: datetime
) -> tuple[SendLog, list[str]]:
    """Return the send log after failures of the account itself, and lines to log."""
    lines = []
    if any(failure.is_login for failure in refusals):
        send_log = ratelimit.after_refused_login(send_log, now)
        lines.append(LOGIN_REFUSED)
    if any(failure.is_limit for failure in refusals):
        send_log = replace(send_log, held_until=now + ratelimit.HOUR)
        lines.append(RATE_LIMITED)
    return send_log, lines


def _reachable(
    addresses: Iterable[str], send_log: SendLog, attempt_result: AttemptResult
) -> tuple[str, ...]:
    return tuple(
        address
        for address in addresses
        if address not in attempt_result.dead
        and not ratelimit.is_refused(send_log, address)
    )


def _id(*words: str) -> str:
    text = " ".join(words).encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).hexdigest()[:32]

"""The text of mails that stand for others, or tell of mail itself.

Pure: messages in, a message out.  For the mails about jobs see ``letters``.

What Checker says of mail itself, and remembers to have said.

Pure: each takes the postbook, and returns it as it is after that.  A failure to mail
never causes a mail about it to somebody who is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from lib.alerting.results import AttemptResult, DeliveryFailure
from lib.core import ratelimit
from lib.core.enums import MessageKind
from lib.core.messages import Message
from lib.core.ratelimit import Limits, SendLog
from lib.core.text import counted, first_line, local

# Mail about mail.


def held_back_message(
    message_id: str,
    count: int,
    until: datetime,
    limits: tuple[int, int],
    to: tuple[str, ...],
    now: datetime,
) -> Message:
    """Return the mail that says that others have no room until a time."""
    # Within half a day the clock on the wall is enough.
    soon = until - now < timedelta(hours=12)
    at = local(until).split(" ")[1] if soon else local(until)
    hour, day = limits
    return Message(
        message_id=message_id,
        kind=MessageKind.NOTE,
        subject=f"{counted(count, 'mail')} held back until {at}",
        body=(
            f"{counted(count, 'mail')} for you or others must wait until {at}: of\n"
            f"{hour} mails an hour and {day} a day, as [email] mailsperhour and\n"
            "mailsperday say, the most have left.  Then they come in one mail.\n"
            "The first alert of a job that was quiet for an hour is not held back.\n\n"
            "Look now:  checker.py -m list\n"
        ),
        to=to,
        born_at=now,
    )


def refused_message(
    message_id: str,
    address: str,
    said: str,
    subject: str,
    to: tuple[str, ...],
    now: datetime,
) -> Message:
    """Return the mail that tells others that one address takes no mail."""
    return Message(
        message_id=message_id,
        kind=MessageKind.NOTE,
        subject=f"mail to {address} is refused: {first_line(said)}",
        body=(
            f"The mail server refuses mail to {address}:\n\n    {first_line(said)}\n\n"
            f"The first mail today that it did not get:\n\n    {first_line(subject)}\n"
            "\nWhat is refused is kept in dead/ of the state folder, and not sent "
            "again.\n"
            "Correct the address in settings.cfg or in the job that names it.\n"
        ),
        to=to,
        born_at=now,
    )


LOGIN_REFUSED = (
    "the login was refused: renew the (app) password in [email]; it is tried "
    f"{ratelimit.LOGINS_PER_HOUR} times an hour at most"
)
NO_MORE_FOR_NOW = "the mail server wants no more for now: mail waits an hour"


def of_held(
    send_log: SendLog,
    limits: Limits | None,
    count: int,
    to: tuple[str, ...],
    now: datetime,
) -> tuple[SendLog, Message | None]:
    """Return the mail that says that so many are held back; None if it was said."""
    notified_at = send_log.deferral_notified_at
    if limits is None or (notified_at and now - notified_at < ratelimit.HOUR):
        return send_log, None
    message = held_back_message(
        _id("held", now.isoformat()),
        count,
        ratelimit.room_at(send_log, limits, now),
        (limits.per_hour, limits.per_day),
        to,
        now,
    )
    return replace(send_log, deferral_notified_at=now), message


def of_refused(
    send_log: SendLog,
    message: Message,
    attempt_result: AttemptResult,
    contact: tuple[str, ...],
    now: datetime,
) -> tuple[SendLog, list[Message]]:
    """Return what to tell of those who will never get a message, once a day each.

    The others who get it are told, or else the ``contact``.
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
            refused_message(name, address, said, message.subject, others, now)
        )
        send_log = ratelimit.with_refused(send_log, address, now)
    return send_log, notified


def learnt(
    send_log: SendLog, refusals: Sequence[DeliveryFailure], now: datetime
) -> tuple[SendLog, list[str]]:
    """Return what a session's refusals say of us, not of a mail, with lines to log."""
    lines = []
    if any(one.is_login for one in refusals):
        send_log = ratelimit.after_refused_login(send_log, now)
        lines.append(LOGIN_REFUSED)
    if any(one.is_limit for one in refusals):
        send_log = replace(send_log, held_until=now + ratelimit.HOUR)
        lines.append(NO_MORE_FOR_NOW)
    return send_log, lines


def _reachable(
    those: Iterable[str], send_log: SendLog, attempt_result: AttemptResult
) -> tuple[str, ...]:
    return tuple(
        one
        for one in those
        if one not in attempt_result.dead and not ratelimit.is_refused(send_log, one)
    )


def _id(*words: str) -> str:
    text = " ".join(words).encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).hexdigest()[:32]

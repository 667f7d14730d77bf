"""Mails about mail: deferred messages and rejected addresses.

Each function takes the send log and returns it with the notice noted, so that a notice
is sent once.  No notice goes to an address that is rejected.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime, tzinfo

from msgspec.structs import replace

from lib.alerting.planning import Held
from lib.alerting.results import AttemptResult, DeliveryFailure
from lib.core import ratelimit
from lib.core.enums import MessageKind
from lib.core.jobs import JobKey
from lib.core.messages import Message
from lib.core.ratelimit import Limits, SendLog
from lib.core.settings import Command, bare_command
from lib.core.text import counted, first_line, mail_time

#: The most jobs that a note about deferred mail lists.
MAX_JOBS = 200


def deferred_message(
    message_id: str,
    held: Sequence[Held],
    until: datetime,
    limits: Limits,
    to: tuple[str, ...],
    now: datetime,
    zone: tzinfo | None,
    command: Command = bare_command,
) -> Message:
    """Return the mail that lists what is deferred, by job, until when and why."""
    at = mail_time(until, zone)
    by_job: dict[JobKey, list[Held]] = {}
    for message in held:
        by_job.setdefault(message.key, []).append(message)
    lines = [_job_line(messages, zone) for messages in by_job.values()]
    if len(lines) > MAX_JOBS:
        lines = [*lines[:MAX_JOBS], f"    and {len(lines) - MAX_JOBS:,} more jobs"]
    return Message(
        message_id=message_id,
        kind=MessageKind.NOTE,
        subject=f"{counted(len(held), 'mail')} deferred until {at}",
        body="\n".join(
            (
                "The mails of these jobs are deferred, and will be sent together:",
                "",
                *lines,
                "",
                f"Until:  {at}",
                "Why:    the rate limit is reached:",
                f"        {limits.per_hour} mails an hour ([email] mailsperhour), "
                f"{limits.per_day} a day (mailsperday)",
                "",
                "Deferred are reminders, repeated alerts with their recoveries, and",
                "what jobs send of their own accord.  The first alert of a job within",
                "an hour and its recovery are not: they leave in one mail each 5",
                "minutes.  You get this list again if another job joins.",
                "",
                f"Check now:  {command('status')}",
            )
        )
        + "\n",
        to=to,
        born_at=now,
        lists_deferred=True,
    )


def _job_line(held: Sequence[Held], zone: tzinfo | None) -> str:
    """Return a job with the number of its mails, since when, and the last of them."""
    oldest, last = held[0].message, held[-1].message
    since = mail_time(oldest.born_at, zone)
    count = f"{counted(len(held), 'mail')}, since {since}"
    return f"    {held[0].name}: {count}\n        {first_line(last.subject)}"


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


def deferral_note(
    send_log: SendLog,
    limits: Limits,
    held: Sequence[Held],
    to: tuple[str, ...],
    now: datetime,
    zone: tzinfo | None,
    command: Command = bare_command,
) -> tuple[SendLog, Message | None]:
    """Return the note about deferred messages; None if it is not due.

    It is due each hour, and when another job joins, at most each 5 minutes.
    """
    notified_at = send_log.deferral_notified_at
    jobs = tuple(dict.fromkeys(message.key for message in held))
    if notified_at is not None:
        joined = set(jobs[:MAX_JOBS]).difference(send_log.deferral_jobs)
        is_due = now - notified_at >= ratelimit.HOUR or (
            joined and now >= ratelimit.after_quiet(notified_at)
        )
        if not is_due:
            return send_log, None
    message = deferred_message(
        _id("held", now.isoformat()),
        held,
        ratelimit.room_at(send_log, limits, now),
        limits,
        to,
        now,
        zone,
        command,
    )
    send_log = replace(
        send_log,
        deferral_notified_at=now,
        deferral_note=message.message_id,
        deferral_jobs=jobs[:MAX_JOBS],
    )
    return send_log, message


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

"""Choose the account that sends: the primary, or the backup while that one fails."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, tzinfo
from functools import partial

import msgspec

from lib.core import health, ratelimit
from lib.core.ratelimit import SendLog
from lib.core.records import Record
from lib.core.settings import Mail
from lib.core.text import mail_time

#: Why the primary account is not used.
HELD = "it refused the login too often, or is rate-limiting us"


class Accounts(msgspec.Struct, frozen=True):
    """The accounts that a session may use."""

    #: None if there is no backup account, or it is not to be used now.
    backup: Mail | None = None
    #: Why the primary account is skipped; empty: it is tried.
    why_not_primary: str = ""


def accounts(
    mail: Mail,
    send_log: SendLog,
    records: Iterable[Record],
    now: datetime,
    zone: tzinfo | None,
) -> Accounts:
    """Return the accounts to use now.

    The primary account is skipped while it is held, and if its last round-trip mail
    failed or is too old.  Before the first round-trip mail it is used.
    """
    if mail.backup is None or ratelimit.backup_is_held(send_log, now):
        return Accounts()
    if ratelimit.is_held(send_log, now):
        return Accounts(mail.backup, HELD)
    time_text = partial(mail_time, zone=zone)
    why = health.trouble(health.proof_in(records), now, time_text)
    return Accounts(mail.backup, why)

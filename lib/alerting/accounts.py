"""By which account mail leaves: the first, or the second while that will not do.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from lib.core import health, ratelimit
from lib.core.ratelimit import SendLog
from lib.core.records import Record
from lib.core.settings import Mail

HELD = "the first account has refused us too often, or wants no more mail for now"


@dataclass(frozen=True)
class Accounts:
    """Which accounts a session may use."""

    #: None where there is no second account, or it is not to be used now.
    second: Mail | None = None
    #: Why not the first; empty: try it.
    why_not_first: str = ""


def accounts(
    mail: Mail, send_log: SendLog, records: Iterable[Record], now: datetime
) -> Accounts:
    """Return by which accounts to send now.

    The second one is for when the first is refused, or when the last proof that its
    mail arrives has failed or is too old.  Before the first proof nothing is known
    against it.
    """
    if mail.backup is None or ratelimit.backup_is_held(send_log, now):
        return Accounts()
    if ratelimit.is_held(send_log, now):
        return Accounts(mail.backup, HELD)
    return Accounts(mail.backup, health.trouble(health.proof_in(records), now))

"""Recognizes our round-trip mails, and reads from their headers which hop was slow.

The random token is in the Message-ID, in a header of its own and in the subject, since
relays and filters change headers.  Replies and bounces, whose subject begins with other
words, do not count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

#: What is to be known of a mail.
FIELDS = "MESSAGE-ID X-CHECKER-ROUND-TRIP SUBJECT FROM RECEIVED"
#: Another instance with our name may wait for a younger one.
LEFT_ALONE = timedelta(days=2)

_TOKEN = "[0-9a-f]{32}"
_IN_ID = re.compile(rf"<({_TOKEN})@")
#: Filters put tags in brackets or stars before it.
_IN_SUBJECT = re.compile(
    rf"[\[(*{{].*\] round-trip mail ({_TOKEN})( \([0-9a-f]{{6}}\))?"
)


class RoundTripMail(msgspec.Struct, frozen=True):
    """The mail that is looked for, and what tells ours from others'."""

    token: str
    sent_at: datetime
    #: As subjects begin: ``[web1]``.
    servername: str = ""
    #: What it comes from.
    address: str = ""
    #: Tokens of those sent before, which may lie there still.
    earlier: tuple[str, ...] = ()

    def is_it(self, mail: Seen) -> bool:
        """Return whether this is the mail."""
        return self.token in mail.tokens(self.address)

    def is_ours(self, mail: Seen) -> bool:
        """Return whether it is ours and no longer waited for."""
        if {self.token, *self.earlier}.intersection(mail.tokens(self.address)):
            return True
        # What state has forgotten is known by its words, once nobody can wait for it.
        if not re.fullmatch(_TOKEN, mail.says("X-Checker-Round-Trip")):
            return False
        by_name = mail.says("Subject").startswith(f"[{self.servername}] ")
        age = self.sent_at - (mail.arrived_at or self.sent_at)
        return by_name and mail.is_from(self.address) and age > LEFT_ALONE


class Seen(msgspec.Struct, frozen=True):
    """A mail's header, as far as we asked for it."""

    uid: str
    #: When the mailbox took it; None if it does not say.
    arrived_at: datetime | None
    #: An email.message.Message.
    fields: Any

    def says(self, name: str) -> str:
        """Return a field as a person reads it, in one line."""
        from email.errors import HeaderParseError
        from email.header import decode_header, make_header

        text = str(self.fields.get(name, ""))
        try:
            text = str(make_header(decode_header(text)))
        except (HeaderParseError, LookupError, ValueError):
            pass  # as it stands
        return " ".join(text.split())

    def is_from(self, address: str) -> bool:
        """Return whether it comes from this address."""
        return address != "" and address.lower() in self.says("From").lower()

    def tokens(self, address: str) -> set[str]:
        """Return the tokens of round-trip mails that ``address`` may have sent."""
        return set(self._tokens(address))

    def _tokens(self, address: str) -> Iterator[str]:
        yield self.says("X-Checker-Round-Trip")
        if found := _IN_ID.match(self.says("Message-ID")):
            yield found[1]
        found = _IN_SUBJECT.fullmatch(self.says("Subject"))
        if found and self.is_from(address):
            yield found[1]


#: A mail that has gone round in circles has no more to tell.
MAX_HOPS = 50


class Hop(msgspec.Struct, frozen=True):
    """One step of the way: who took the mail, and how long after the one before."""

    by: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.seconds:.0f} s to {self.by}"


def hops(
    received: Sequence[str], sent_at: datetime, arrived_at: datetime | None
) -> list[Hop]:
    """Return the steps in the order in which they were made.

    ``received`` are the Received lines as they stand in the mail, the last step first.
    """
    before = sent_at
    found = []
    for by, at in _steps(received, arrived_at):
        found.append(Hop(by, max(0.0, (at - before).total_seconds())))
        before = at
    return found


def longest(steps: Sequence[Hop]) -> str:
    """Return which step took longest, in words; empty if none took time."""
    most = max(steps, key=lambda hop: hop.seconds, default=None)
    return str(most) if most is not None and most.seconds >= 1 else ""


def _steps(
    received: Sequence[str], arrived_at: datetime | None
) -> Iterator[tuple[str, datetime]]:
    for line in reversed(received[:MAX_HOPS]):
        at = _hop_moment(line)
        if at is not None:
            by = re.search(r"\bby\s+([^\s;()]{1,100})", line)
            yield (by[1] if by and by[1].isprintable() else "a server"), at
    if arrived_at is not None:
        yield "the mailbox", arrived_at


def _hop_moment(line: str) -> datetime | None:
    from email.utils import parsedate_to_datetime

    try:
        found = parsedate_to_datetime(line.rpartition(";")[2].strip()[:80])
        return found if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None

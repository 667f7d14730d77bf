"""The proof that mail arrives: our round-trip mail, what is kept of it, the texts.

A round-trip mail is recognised by a random token, which is in its Message-ID, in a
header of its own and in its subject, since relays and filters change headers.  Replies
and bounces, whose subject begins with other words, do not count.  Each way to fail has
its own text and advice: to add one, give it a row in RESULTS.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from lib.core.health import MAX_HISTORY, proof_facts
from lib.core.text import wrapped

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
        if match := _IN_ID.match(self.says("Message-ID")):
            yield match[1]
        match = _IN_SUBJECT.fullmatch(self.says("Subject"))
        if match and self.is_from(address):
            yield match[1]


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
    steps = []
    for by, at in _moments(received, arrived_at):
        steps.append(Hop(by, max(0.0, (at - before).total_seconds())))
        before = at
    return steps


def _moments(
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
        moment = parsedate_to_datetime(line.rpartition(";")[2].strip()[:80])
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def longest(steps: Sequence[Hop]) -> str:
    """Return which step took longest, in words; empty if none took time."""
    most = max(steps, key=lambda hop: hop.seconds, default=None)
    return str(most) if most is not None and most.seconds >= 1 else ""


# What EmailChecker remembers; ``round_trip_mail`` is what it knows of the mail.


def proven(
    result: str,
    round_trip_mail: Mapping[str, Any],
    interval_s: int,
    now: datetime,
    *,
    folder: str,
    trouble: str = "",
) -> dict[str, Any]:
    """Return the proof to keep of a mail that was found."""
    kept = {
        **proof_facts(result, round_trip_mail, interval_s),
        "proved_at": now.isoformat(),
        "folder": folder,
    }
    return {**kept, "trouble": trouble} if trouble else kept


def failed(
    result: str,
    round_trip_mail: Mapping[str, Any],
    interval_s: int,
    now: datetime,
    before: Any,
) -> dict[str, Any]:
    """Return the proof to keep of one that failed, after the one ``before``."""
    kept = {
        **proof_facts(result, round_trip_mail, interval_s),
        "failed_at": now.isoformat(),
    }
    if isinstance(before, dict) and "proved_at" in before:
        kept["proved_at"] = before["proved_at"]
    return kept


def with_line(
    history: Any, round_trip_mail: Mapping[str, Any], result: str
) -> list[Any]:
    """Return the history with one proof more.

    When it was sent, when it arrived, seconds, the result, the longest step.
    """
    line = [
        round_trip_mail.get("taken") or round_trip_mail.get("sent"),
        round_trip_mail.get("arrived"),
        round_trip_mail.get("seconds"),
        result,
        round_trip_mail.get("hop", ""),
    ]
    before = history if isinstance(history, list) else []
    return [*before, line][-MAX_HISTORY:]


#: By the result of a round trip: what the subject says, with the detail in {}, and
#: what to do.
RESULTS = {
    "late": (
        "our own mail arrived late, {}",
        "Alerts come as late as this.  The step that took longest is named above; if "
        "such delays are usual, raise [email] imapslow.",
    ),
    "spam": (
        "our own mail arrived in the spam folder {}",
        "Alerts probably go there too.  Mark the mail as no spam, or give the mailbox "
        "a filter that keeps mail from this sender, and check SPF and DKIM of its "
        "domain.",
    ),
    "never": (
        "our own mail did not arrive {}",
        "Alerts may be lost as well.  Send one with -m testmail and look for it in the "
        "mailbox by hand: a filter may delete or forward it, the account may be full, "
        "or its folder may be hidden from IMAP (in Gmail: Settings, Labels, Show in "
        "IMAP).  If mail often takes longer, raise [email] imapgrace.",
    ),
    "send failed": (
        "our own mail was not sent: {}",
        "No alert leaves by this account either.  Those go by [email backup], if there "
        "is one.  -m testmail shows each step.",
    ),
    "login failed": (
        "the mailbox cannot be read, login failed: {}",
        "Whether mail arrives is not known until this works.  For Gmail: [email] pass "
        "is an app password, from https://myaccount.google.com/apppasswords",
    ),
    "folder missing": (
        "the mailbox cannot be read, folder missing: {}",
        "Whether mail arrives is not known until this works.  Without imapfolder every "
        "folder is looked into.",
    ),
    "refused": (
        "the mailbox cannot be read: {}",
        "Whether mail arrives is not known until this works.  -m run EmailChecker "
        "tries it again.",
    ),
    "unreachable": (
        "the mailbox cannot be read, unreachable: {}",
        "Mail leaves, but whether it arrives is not known until the mailbox can be "
        "read.",
    ),
}

_NOT_SET_UP = """\
Checker hands its mails to {server}, but nothing proves that they arrive:
{why}.

Say in [email] where this account's own mail can be read.  For Gmail:

    imapserver = imap.gmail.com
    user = somebody@gmail.com
    pass = an app password

Then {every} one mail is sent to that account, found there again, and deleted;
if it does not arrive, you hear of it, and your peers do.  Try it with
checker.py -m run EmailChecker, which logs in and sends nothing.

This is said once.
"""


def reason(result: str, detail: str) -> str:
    """Return why the proof has failed: the detail, and below it what to do."""
    first, _end, more = detail.partition("\n")
    words, advice = RESULTS[result]
    return "\n".join(filter(None, (words.format(first), more, wrapped(advice))))


def late(seconds: float, most_s: float, hop: str) -> str:
    """Return how late a mail was, and what took longest."""
    longest = f"; the longest step: {hop}" if hop else ""
    return f"after {seconds:.0f} s (limit {most_s:.0f}){longest}"


def nowhere(grace_s: float, folders: tuple[str, ...], unseen: int) -> str:
    """Return for how long, and where, a mail was looked for."""
    shown = ", ".join(folders[:5])
    more = f" and {len(folders) - 5} more" if len(folders) > 5 else ""
    where = f"It was looked for in {shown}{more}."
    if unseen:
        where += f"  {unseen} more folders were not looked into; see imapfolder."
    return f"within {grace_s:.0f} s\n{wrapped(where)}"


def not_set_up(why: str, server: str, every: str) -> tuple[str, str]:
    """Return the subject and the text of the note that nothing is proven."""
    text = _NOT_SET_UP.format(why=why, server=server, every=every)
    return "nothing proves that mails arrive", text

"""What EmailChecker remembers of its round-trip mails, and the texts about them.

Each way to fail has its own text and advice: to add one, give it a row in VERDICTS.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from lib.core.health import MAX_HISTORY, proof_facts
from lib.core.text import wrapped

# As EmailChecker keeps it; ``round-trip mail`` is what it knows of the mail.


def proven(
    verdict: str,
    round_trip_mail: Mapping[str, Any],
    interval_s: int,
    now: datetime,
    *,
    folder: str,
    trouble: str = "",
) -> dict[str, Any]:
    """Return the proof to keep of a mail that was found."""
    kept = {
        **proof_facts(verdict, round_trip_mail, interval_s),
        "proved_at": now.isoformat(),
    }
    return {**kept, "folder": folder, **({"trouble": trouble} if trouble else {})}


def failed(
    verdict: str,
    round_trip_mail: Mapping[str, Any],
    interval_s: int,
    now: datetime,
    before: Any,
) -> dict[str, Any]:
    """Return the proof to keep of one that failed, after the one ``before``."""
    kept = {
        **proof_facts(verdict, round_trip_mail, interval_s),
        "failed_at": now.isoformat(),
    }
    if isinstance(before, dict) and "proved_at" in before:
        kept["proved_at"] = before["proved_at"]
    return kept


def with_line(
    history: Any, round_trip_mail: Mapping[str, Any], verdict: str
) -> list[Any]:
    """Return the history with one proof more.

    When it was sent, when it arrived, seconds, the verdict, the longest step.
    """
    line = [
        round_trip_mail.get("taken") or round_trip_mail.get("sent"),
        round_trip_mail.get("arrived"),
        round_trip_mail.get("seconds"),
        verdict,
        round_trip_mail.get("hop", ""),
    ]
    before = history if isinstance(history, list) else []
    return [*before, line][-MAX_HISTORY:]


#: The verdict: what the subject says, with what was seen in {}, and what to do.
VERDICTS = {
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


def reason(verdict: str, seen: str) -> str:
    """Return why the proof has failed: what was seen, and below it what to do."""
    first, _end, more = seen.partition("\n")
    words, advice = VERDICTS[verdict]
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

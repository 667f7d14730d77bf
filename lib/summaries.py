"""The text of mails that stand for others, or tell of mail itself.

Pure: messages in, a message out.  For the mails about jobs see ``letters``.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from lib.model import Folded, Message, MessageKind
from lib.wording import counted, duration, first_line, local

#: What is left of a body that a server would not take.
SHORT_BODY = 1000
SHORT_SUBJECT = 100


def line_of(message: Message) -> str:
    """Return a message as a line of those that another stands for."""
    return f"{local(message.born_at)}  {first_line(message.subject)}"


# Stale news.


def folded_message(
    message_id: str, name: str, last: Message, fold: Folded, why: str
) -> Message:
    """Return the message that tells what has been, and what is now, as ``last`` has it.

    ``why`` is what kept the others from leaving, if that is known.
    """
    over = last.kind is MessageKind.RECOVERY
    return replace(
        last,
        message_id=message_id,
        subject=_folded_subject(name, last, fold),
        body="\n\n".join(
            (
                f"{_lead(name, last, fold)}\n{_why_only_now(fold, why, over=over)}",
                last.body.rstrip(),
                "This mail stands for:\n"
                + "\n".join(f"    {line}" for line in fold.lines),
            )
        )
        + "\n",
        attempts=0,
        retry_at=None,
        last_error=why,
        in_doubt=False,
        since=fold.since,
        folded=fold,
    )


def _folded_subject(name: str, last: Message, fold: Folded) -> str:
    long = duration(last.born_at - fold.since)
    if last.kind is not MessageKind.RECOVERY:
        again = f"{_ordinal(fold.times)} time in {long}" if fold.times > 1 else "again"
        return f"{first_line(last.subject)} ({again})"
    if fold.told and fold.times:
        more = counted(fold.times, "more time")
        return f"{name} is fine again; it failed {more} in {long}"
    if fold.times > 1:
        return f"{name} is fine again; it failed {fold.times} times in {long}"
    if fold.told:
        return first_line(last.subject)
    return f"{name} was failing for {long}, it is fine again"


def _lead(name: str, last: Message, fold: Folded) -> str:
    start, end = local(fold.since), local(last.born_at)
    span = f"from {start} to {end} ({duration(last.born_at - fold.since)})"
    if last.kind is not MessageKind.RECOVERY:
        if fold.times > 1:
            times = f"{name} failed {fold.times} times since {start}"
            return f"{times}; the last time is below."
        return f"{name} was fine for a while, and is failing again since {end}."
    if fold.told and fold.times:
        more = counted(fold.times, "more time")
        return f"{name} was fine, failed {more} {span}, and is fine again."
    verb = f"failed {fold.times} times" if fold.times > 1 else "was failing"
    return f"{name} {verb} {span}, it is fine again."


def _why_only_now(fold: Folded, why: str, *, over: bool) -> str:
    if fold.doubtful:
        start = (
            "You may have been told before: a mail may have left when the line broke"
        )
        return f"{start}: {why}" if why else f"{start}."
    what = "of all of this" if fold.told else ""
    start = " ".join(f"You were not told {what} before".split())
    if why:
        return f"{start}, because the mail could not leave: {why}"
    return f"{start}, because the mail waited for others to go with it."


def _ordinal(number: int) -> str:
    ending = (
        "th"
        if number % 100 in (11, 12, 13)
        else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    )
    return f"the {number}{ending}"


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


def shortened(message: Message, why: str) -> Message:
    """Return the message cut down to a few plain words."""
    body = _plain(message.body)[:SHORT_BODY].rstrip()
    return replace(
        message,
        subject=_plain(message.subject)[:SHORT_SUBJECT],
        body=(
            f"{body}\n\n(The mail server refused this mail as it was, so it was cut "
            f"down: {_plain(first_line(why))[:300]})\n"
        ),
        shortened=True,
        retry_at=None,
        last_error=why,
        in_doubt=False,
    )


def _plain(text: str) -> str:
    return "".join(
        letter if letter == "\n" or " " <= letter <= "~" else "?" for letter in text
    )

"""Why somebody was told, or was not: each decision in a sentence.

A decision is about one job: what was found and what the policy said, or what became of
a mail.  A job that is fine and stays so leaves none.  The text is for people, the
details are for programs; ``lib/journal.py`` keeps the lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from lib.model import Condition, Message, Record, Report, Verdict
from lib.wording import counted, duration, first_line, local, policy_words

#: As much of a reason, a subject or a server's answer as a line holds.
MOST_LETTERS = 300
#: Of many addresses a line names so many.
MOST_ADDRESSES = 5


@dataclass(frozen=True)
class Decision:
    """What was decided about a job, and why."""

    at: datetime
    #: The job's key and its name.
    key: str
    name: str
    #: What kind of decision: judged, kept, sent, unsent, refused, folded, forgotten...
    word: str
    text: str
    details: Mapping[str, Any] = field(default_factory=dict)


# What a run decides.


def judged(
    report: Report, before: Record, after: Record, now: datetime
) -> Iterator[Decision]:
    """Yield what was said to a job's outcome, and each mail that is owed for it.

    Nothing for a job that is fine and stays so, or that is merely under way again.
    """
    job, outcome, verdict = report.job, report.outcome, report.verdict
    is_news = outcome.condition is not Condition.FINE or verdict is not Verdict.FINE
    if verdict is Verdict.PENDING:
        is_news = not before.pending or before.failures > 0
    if is_news:
        reason = _cut(first_line(outcome.detail))
        found = _found(report, after)
        over = outcome.condition is Condition.FINE and before.failing_since
        yield Decision(
            now,
            job.key,
            job.name,
            "judged",
            f"{found}{f': {reason}' * bool(reason)}; {_policy(report, before, now)}",
            {
                "condition": outcome.condition,
                "verdict": verdict,
                "failures": after.failures,
                "policy": policy_words(job.policy),
                "reason": reason,
                **({"since": before.failing_since} if over else {}),
            },
        )
    for message in report.messages:
        yield kept(job.key, job.name, message, now)


def kept(key: str, name: str, message: Message, now: datetime) -> Decision:
    """Return that a mail is owed from now on."""
    text = f"{message.kind} to {_people(message.to)} is to be sent: {_subject(message)}"
    return Decision(now, key, name, "kept", text, _mail(message))


def sent(
    key: str, name: str, message: Message, now: datetime, *, by_second: bool = False
) -> Decision:
    """Return that a mail was taken by the mail server."""
    waited = now - message.born_at
    late = f", {duration(waited)} late" if waited.total_seconds() >= 60 else ""
    way = ", by the second account" * by_second
    people = _people(message.to)
    text = f"{message.kind} to {people} was sent{late}{way}: {_subject(message)}"
    return Decision(now, key, name, "sent", text, _mail(message))


def unsent(key: str, name: str, message: Message, why: str, now: datetime) -> Decision:
    """Return that an attempt failed; ``message`` as it is kept after it."""
    again = (
        f"tried again after {local(message.retry_at)}"
        if message.retry_at
        else "tried again in the next run"
    )
    attempt = f"attempt {message.attempts} to send " if message.attempts else ""
    text = (
        f"{attempt}{message.kind} to {_people(message.to)} failed: "
        f"{_cut(first_line(why))}; {again}: {_subject(message)}"
    )
    details = {**_mail(message), "why": _cut(first_line(why))}
    if message.retry_at:
        details["retry_at"] = message.retry_at
    return Decision(now, key, name, "unsent", text, details)


def waits(record: Record, message: Message, why: str, now: datetime) -> Decision:
    """Return that a mail has not left in the run in which it was born, and why."""
    why = _cut(why or "it was not its turn yet")
    text = f"{message.kind} to {_people(message.to)} waits: {why}: {_subject(message)}"
    details = {**_mail(message), "why": why}
    return Decision(now, record.key, record.name, "waits", text, details)


def refused(
    key: str, name: str, message: Message, address: str, said: str, now: datetime
) -> Decision:
    """Return that the mail server will not take a mail for an address."""
    said = _cut(first_line(said))
    text = f"{message.kind} to {address} was refused: {said}: {_subject(message)}"
    details = {**_mail(message), "to": [address], "why": said}
    return Decision(now, key, name, "refused", text, details)


def replaced(before: Record, after: Record, now: datetime) -> Iterator[Decision]:
    """Yield the mails that newer news of the same job stands in for, if any."""
    there = {one.message_id for one in before.owed}
    for into in [one for one in after.owed if one.message_id not in there]:
        for message in _gone(before, after):
            why = "was not sent in time, and is a part of newer news,"
            yield _folded(before, message, into, why, now)


def digested(
    before: Record, after: Record, digest: Message, sent_at: datetime | None
) -> Iterator[Decision]:
    """Yield the mails of a job that a digest, which was sent, stood for."""
    if sent_at is not None:
        for message in _gone(before, after):
            why = "was sent as a part of"
            yield _folded(before, message, digest, why, sent_at)


def _gone(before: Record, after: Record) -> list[Message]:
    left = {one.message_id for one in after.owed}
    return [one for one in before.owed if one.message_id not in left]


def _folded(
    record: Record, message: Message, into: Message, why: str, now: datetime
) -> Decision:
    text = (
        f"{message.kind} to {_people(message.to)} {why} {_subject(into)}: "
        f"{_subject(message)}"
    )
    details = {**_mail(message), "into": into.message_id}
    return Decision(now, record.key, record.name, "folded", text, details)


def forgotten(record: Record, now: datetime) -> Decision:
    """Return that a job which no run meets any more is forgotten."""
    since = f" since {local(record.unseen_since)}" if record.unseen_since else ""
    text = f"no run met this job{since}; what was remembered of it is forgotten"
    return Decision(now, record.key, record.name, "forgotten", text)


def lost(key: str, lines: Iterable[str], now: datetime) -> Iterator[Decision]:
    """Yield what of our memory was lost; ``key`` is that of Checker's own record."""
    for line in lines:
        text = f"what was remembered is gone: {_cut(line)}"
        yield Decision(now, key, "state", "lost", text)


def taken_back(records: Iterable[Record], now: datetime) -> Iterator[Decision]:
    """Yield that what was remembered of these jobs can be read again."""
    for record in records:
        text = "its state file, which could not be read, can be read again"
        owes = f"; {counted(len(record.owed), 'mail')} owed" * bool(record.owed)
        yield Decision(now, record.key, record.name, "taken back", text + owes)


# Words.


def _found(report: Report, after: Record) -> str:
    condition = report.outcome.condition
    if condition in (Condition.FAILING, Condition.UNKNOWN):
        return f"{condition}, {after.failures} in a row"
    return "under way" if condition is Condition.PENDING else str(condition)


def _policy(report: Report, before: Record, now: datetime) -> str:
    """Return what the policy said, and to what."""
    verdict, policy = report.verdict, report.job.policy
    told = _told(before, now)
    rule = policy_words(policy)
    if verdict is Verdict.FIRST_ALERT:
        return f"first alert, as the policy is: {rule}"
    if verdict is Verdict.NOT_YET:
        return f"no mail yet: the first one comes after {policy.failures} in a row"
    if verdict is Verdict.TOO_SOON:
        return f"no mail, too soon: {told}, and the policy is: {rule}"
    if verdict is Verdict.ALREADY_TOLD:
        return f"no mail: {told}; the next one comes when it is fine again"
    if verdict is Verdict.REMINDER:
        return f"reminder: {told}, and the policy is: {rule}"
    if verdict is Verdict.RECOVERY:
        return f"recovery mail: {told}"
    if verdict is Verdict.QUIET_RECOVERY:
        if before.told_at is None:
            return "fine again, no mail: nobody was told that it was not"
        return f"fine again, no mail: the policy is {rule} it fails; {told}"
    return "asked again in the next minute run"


def _told(record: Record, now: datetime) -> str:
    """Return who was told, and when; or that the mail that tells has not left."""
    people, at = _people(record.told), local(record.told_at or now)
    if any(one.kind.is_about_trouble for one in record.owed):
        return f"the mail of {at} to {people} has still to leave"
    return f"{people} {'was' if len(record.told) == 1 else 'were'} told at {at}"


def _people(addresses: tuple[str, ...]) -> str:
    more = len(addresses) - MOST_ADDRESSES
    words = ", ".join(addresses[:MOST_ADDRESSES]) or "nobody"
    return f"{words} and {counted(more, 'other')}" if more > 0 else words


def _subject(message: Message) -> str:
    return repr(_cut(first_line(message.subject)))


def _mail(message: Message) -> dict[str, Any]:
    return {
        "mail": message.message_id,
        "kind": message.kind,
        "to": message.to[:MOST_ADDRESSES],
        "subject": _cut(first_line(message.subject)),
    }


def _cut(text: str, most: int = MOST_LETTERS) -> str:
    return text if len(text) <= most else f"{text[: most - 4]} ..."

"""The mail that a bulletin is: the numbered summary that ``[summary]`` asks for.

Pure.  It is read at breakfast: the first line says whether all is well.  Below, each
thing has its place, in one order, also where there is nothing to tell of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from lib import health, overview
from lib.model import (
    Condition,
    Health,
    Message,
    MessageKind,
    Record,
    Settings,
)
from lib.overview import Facts
from lib.timetable import Issue
from lib.wording import counted, local

#: A list has so many lines at most, and a line so many letters.
MOST_LINES, MOST_LETTERS = 20, 200
#: Cron and the jobs of its run take a while; what comes later is late.
LATE_AFTER = timedelta(minutes=10)


def message(message_id: str, issue: Issue, facts: Facts, settings: Settings) -> Message:
    """Return the bulletin that is due."""
    bad = overview.not_fine(facts)
    doubt = _why_mail_is_doubted(facts, settings)
    body = [
        _first_line(bad, facts),
        *([f"Mail is in doubt: {doubt}."] if doubt else []),
        *_late(issue, facts.now),
        "",
        *_lists(bad, facts, settings),
        "",
        f"About:     {local(facts.since)} to {local(facts.now)}",
        f"Next:      {_name(issue, 1)}, {local(issue.next_at)}; if it is missing, look",
        "Look now:  checker.py -m status",
    ]
    return Message(
        message_id=message_id,
        kind=MessageKind.BULLETIN,
        subject=f"{_name(issue)}: {_gist(bad, facts, mail_is_in_doubt=bool(doubt))}",
        body="\n".join(body) + "\n",
        to=settings.alertcontact,
        born_at=facts.now,
    )


def _name(issue: Issue, more: int = 0) -> str:
    return f"{issue.kind} summary {issue.number + more}"


# What it comes to.


def _first_line(bad: Sequence[Record], facts: Facts) -> str:
    jobs = counted(len({*facts.catalogue, *(one.key for one in bad)}), "job")
    failing, unknown = _failing_and_unknown(bad)
    if not bad:
        return f"All is well: {jobs}, none failing."
    unknowns = f"{unknown} of unknown state" if unknown else ""
    if not failing:
        return f"Of {jobs} none is failing, {unknowns}."
    words = f"{failing} of {jobs} {'is' if failing == 1 else 'are'} failing"
    return f"{words}{f', {unknowns}' if unknowns else ''}."


def _gist(bad: Sequence[Record], facts: Facts, *, mail_is_in_doubt: bool) -> str:
    failing, unknown = _failing_and_unknown(bad)
    recovered = len(overview.recoveries(facts))
    words = [
        f"{failing} failing" if failing else "",
        f"{unknown} unknown" if unknown else "",
        "mail in doubt" if mail_is_in_doubt else "",
        "" if bad or mail_is_in_doubt else "all is well",
        f"{recovered} recovered" if recovered else "",
    ]
    return ", ".join(filter(None, words))


def _failing_and_unknown(bad: Sequence[Record]) -> tuple[int, int]:
    unknown = sum(one.condition is Condition.UNKNOWN for one in bad)
    return len(bad) - unknown, unknown


def _why_mail_is_doubted(facts: Facts, settings: Settings) -> str:
    # That no run has finished lately is no news in a mail that a run writes, nor is
    # --nomail in one that a run with mail will send.
    run, mail = replace(facts.run, ended_at=facts.now), settings.mail
    mail = replace(mail, nomail=mail.nomail and not mail.holds)
    evidence = health.evidence(health.witnessed(run, facts.records.values()))
    how = health.judged(evidence, replace(settings, mail=mail), facts.now)
    return "" if how.word is Health.OK else how.why


def _late(issue: Issue, now: datetime) -> Iterator[str]:
    if now - issue.due_at >= LATE_AFTER:
        yield (
            f"This summary is late: it was due {local(issue.due_at)}, and no run "
            "wrote it before."
        )


# The lists.


def _lists(bad: Sequence[Record], facts: Facts, settings: Settings) -> Iterator[str]:
    failing = [overview.failing_line(one, facts.now) for one in bad]
    certificates = overview.certificate_lines(facts)
    peers = overview.peer_lines(facts, settings)
    slow = overview.slow_lines(facts)
    recovered = _count(overview.recoveries(facts))
    yield from _listed("Failing", _count(bad), failing)
    yield from _listed("Recovered", recovered, overview.recovery_lines(facts))
    yield from _listed(
        "Certificates due within 30 days", _count(certificates), certificates
    )
    yield from _listed("Slowest checks", _count(slow), slow)
    yield from _listed("Proof of mail", *overview.proofs(facts, settings))
    yield from _listed("Peers", _count(peers), peers)
    yield from _listed("Skipped minutes", overview.skipped_words(facts), [])


def _count(those: Sequence[object]) -> str:
    return str(len(those) or "none")


def _listed(title: str, words: str, lines: Iterable[str]) -> Iterator[str]:
    """Yield a heading and its lines, as many as a mail has room for."""
    lines = list(lines)
    yield f"{title}: {words}"
    for line in lines[:MOST_LINES]:
        yield f"    {_cut(line)}"
    if len(lines) > MOST_LINES:
        yield f"    and {len(lines) - MOST_LINES} more"


def _cut(text: str) -> str:
    return text if len(text) <= MOST_LETTERS else f"{text[: MOST_LETTERS - 4]} ..."

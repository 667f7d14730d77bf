"""How all is, thing by thing: what state/ says for a bulletin, in lines.

Pure.  A thing is a function of the Facts; ``lib/report/summary.py`` puts them under
their headings.

The mail that a bulletin is: the numbered summary that ``[summary]`` asks for.

Pure.  It is read at breakfast: the first line says whether all is well.  Below, each
thing has its place, in one order, also where there is nothing to tell of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from lib.core import health
from lib.core.calendar import DueSummary
from lib.core.decisions import Entry, JobDetails
from lib.core.enums import Decision, Health, MessageKind, Status
from lib.core.health import prover
from lib.core.jobs import CERTIFICATE_CHECKER, CatalogEntry, JobKey
from lib.core.messages import Message
from lib.core.records import Record, RunRecord
from lib.core.results import Timing
from lib.core.settings import Settings
from lib.core.text import counted, duration, first_line, local, since
from lib.report import status

#: Certificates that end sooner are named.
DUE_WITHIN = timedelta(days=30)

_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_ENDS = (Decision.RECOVERY, Decision.QUIET_RECOVERY)


@dataclass(frozen=True)
class Facts:
    """What state/ says, for one bulletin."""

    records: Mapping[JobKey, Record]
    #: The jobs there are.
    catalog: Mapping[JobKey, CatalogEntry]
    run: RunRecord
    #: It tells of what was from here on.
    since: datetime
    now: datetime
    #: What was decided since then.
    entries: tuple[Entry, ...] = ()
    #: What was decided before this is on file no more; None: all of it is.
    on_file_since: datetime | None = None
    slowest: tuple[Timing, ...] = ()
    #: How many runs found another at work since then.
    skipped: int = 0


@dataclass(frozen=True)
class Recovery:
    """A job that is fine again."""

    name: str
    #: When it last was so again, and since when it had not been.
    at: datetime
    since: datetime | None
    times: int = 1


def not_fine(facts: Facts) -> list[Record]:
    """Return what is failing or unknown, of the jobs there are, the latest first."""
    bad = [
        one
        for one in facts.records.values()
        if one.status in (Status.FAILING, Status.UNKNOWN) and one.unseen_since is None
    ]
    bad.sort(key=lambda one: one.name)
    return sorted(bad, key=lambda one: one.failing_since or _LONG_AGO, reverse=True)


def failing_line(record: Record, now: datetime) -> str:
    """Return since when a job is failing or unknown, and why."""
    words = [record.name or str(record.key)]
    words += ["unknown"] if record.status is Status.UNKNOWN else []
    words += [since(record.failing_since, now)] if record.failing_since else []
    reason = first_line(record.last_reason)
    return ", ".join(words) + (f": {reason}" if reason else "")


def recoveries(facts: Facts) -> list[Recovery]:
    """Return the jobs that were not fine for a while and are, the latest first."""
    bad = {one.key for one in not_fine(facts)}
    found: dict[JobKey, Recovery] = {}
    for one in facts.entries:
        details = one.details
        if isinstance(details, JobDetails) and one.code in _ENDS and one.key not in bad:
            times = found[one.key].times + 1 if one.key in found else 1
            start = details.failing_since
            # The other end has no parts of a second.
            start = start.replace(microsecond=0) if start else None
            found[one.key] = Recovery(one.name, one.at, start, times)
    return sorted(found.values(), key=lambda one: one.at, reverse=True)


def recovery_lines(facts: Facts) -> Iterator[str]:
    """Yield when each was fine again, and after how long."""
    start = facts.on_file_since
    if start is not None and start > facts.since:
        yield f"(of the time before {local(start)} nothing is on file any more)"
    for one in recoveries(facts):
        times = f"{one.times} times, the last " if one.times > 1 else ""
        length = f", after {duration(one.at - one.since)}" if one.since else ""
        yield f"{one.name}, {times}{local(one.at)}{length}"


def certificate_lines(facts: Facts) -> list[str]:
    """Return the certificates that end soon, the first to end first."""
    found = []
    for key, record in facts.records.items():
        ends_at = _moment(record.memory.get("expires"))
        is_there = key.file == CERTIFICATE_CHECKER and record.unseen_since is None
        if is_there and ends_at is not None and ends_at - facts.now <= DUE_WITHIN:
            found.append((ends_at, record.name))
    return [f"{name}, {_left(ends_at, facts.now)}" for ends_at, name in sorted(found)]


def _left(ends_at: datetime, now: datetime) -> str:
    left, day = ends_at - now, f"{ends_at:%Y-%m-%d}"
    if left <= timedelta(0):
        return f"expired on {day}"
    days = counted(left.days, "day") if left.days else "less than a day"
    return f"in {days}, on {day}"


def slow_lines(facts: Facts) -> list[str]:
    """Return the slowest checks, each with its longest time."""
    return [
        f"{one.seconds:.3g} s  {one.name}, {local(one.at)}" for one in facts.slowest
    ]


def proofs(facts: Facts, settings: Settings) -> tuple[str, list[str]]:
    """Return what to say of the proofs that mail arrives, and those that failed."""
    record = prover(facts.records.values())
    memory = record.memory if record else {}
    proof, history = memory.get("proof"), memory.get("history")
    if isinstance(proof, dict) and proof.get("verdict") == "not set up":
        return f"not set up: {proof.get('why', '')}", []
    if settings.mail.mailbox is None:
        return "not set up: [email] imapserver is not given", []
    made = [
        line
        for line in (history if isinstance(history, list) else [])
        if _is_proof(line) and (_moment(line[0]) or facts.since) > facts.since
    ]
    if not made:
        return "none was made", []
    failed = [line for line in made if line[3] != "arrived"]
    words = f"{len(made) - len(failed)} of {len(made)} arrived in time"
    seconds = [line[2] for line in made if isinstance(line[2], int | float)]
    if seconds:
        words += f", after {max(seconds):g} s at most"
    return words, [status.proof_line(line) for line in reversed(failed)]


def _is_proof(line: object) -> bool:
    return isinstance(line, list) and len(line) >= 4


def peer_lines(facts: Facts, settings: Settings) -> list[str]:
    """Return how each peer is."""
    peers = status.peer_words(settings, facts.records, facts.catalog, facts.now)
    return [f"{name}: {words}" for name, words in peers]


def skipped_words(facts: Facts) -> str:
    """Return how many minutes had no run of their own."""
    if not facts.skipped:
        return "none"
    at = facts.run.skipped_at
    last = f", the last {local(at)}" if at else ""
    return f"{facts.skipped}{last}; the run before was still at work"


def _moment(text: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo else None


#: A list has so many lines at most, and a line so many letters.
MAX_LINES, MAX_CHARACTERS = 20, 200
#: Cron and the jobs of its run take a while; what comes later is late.
LATE_AFTER = timedelta(minutes=10)


def message(
    message_id: str, issue: DueSummary, facts: Facts, settings: Settings
) -> Message:
    """Return the bulletin that is due."""
    bad = not_fine(facts)
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
        kind=MessageKind.SUMMARY,
        subject=f"{_name(issue)}: {_gist(bad, facts, mail_is_in_doubt=bool(doubt))}",
        body="\n".join(body) + "\n",
        to=settings.alertcontact,
        born_at=facts.now,
    )


def _name(issue: DueSummary, more: int = 0) -> str:
    return f"{issue.kind} summary {issue.number + more}"


# What it comes to.


def _first_line(bad: Sequence[Record], facts: Facts) -> str:
    jobs = counted(len({*facts.catalog, *(one.key for one in bad)}), "job")
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
    recovered = len(recoveries(facts))
    words = [
        f"{failing} failing" if failing else "",
        f"{unknown} unknown" if unknown else "",
        "mail in doubt" if mail_is_in_doubt else "",
        "" if bad or mail_is_in_doubt else "all is well",
        f"{recovered} recovered" if recovered else "",
    ]
    return ", ".join(filter(None, words))


def _failing_and_unknown(bad: Sequence[Record]) -> tuple[int, int]:
    unknown = sum(one.status is Status.UNKNOWN for one in bad)
    return len(bad) - unknown, unknown


def _why_mail_is_doubted(facts: Facts, settings: Settings) -> str:
    # That no run has finished lately is no news in a mail that a run writes, nor is
    # --nomail in one that a run with mail will send.
    run, mail = replace(facts.run, ended_at=facts.now), settings.mail
    mail = replace(mail, nomail=mail.nomail and not mail.holds)
    output = health.inputs_of(health.with_inputs(run, facts.records.values()))
    how = health.assess(output, replace(settings, mail=mail), facts.now)
    return "" if how.word is Health.OK else how.why


def _late(issue: DueSummary, now: datetime) -> Iterator[str]:
    if now - issue.due_at >= LATE_AFTER:
        yield (
            f"This summary is late: it was due {local(issue.due_at)}, and no run "
            "wrote it before."
        )


# The lists.


def _lists(bad: Sequence[Record], facts: Facts, settings: Settings) -> Iterator[str]:
    failing = [failing_line(one, facts.now) for one in bad]
    certificates = certificate_lines(facts)
    peers = peer_lines(facts, settings)
    slow = slow_lines(facts)
    recovered = _count(recoveries(facts))
    yield from _listed("Failing", _count(bad), failing)
    yield from _listed("Recovered", recovered, recovery_lines(facts))
    yield from _listed(
        "Certificates due within 30 days", _count(certificates), certificates
    )
    yield from _listed("Slowest checks", _count(slow), slow)
    yield from _listed("Proof of mail", *proofs(facts, settings))
    yield from _listed("Peers", _count(peers), peers)
    yield from _listed("Skipped minutes", skipped_words(facts), [])


def _count(those: Sequence[object]) -> str:
    return str(len(those) or "none")


def _listed(title: str, words: str, lines: Iterable[str]) -> Iterator[str]:
    """Yield a heading and its lines, as many as a mail has room for."""
    lines = list(lines)
    yield f"{title}: {words}"
    for line in lines[:MAX_LINES]:
        yield f"    {_cut(line)}"
    if len(lines) > MAX_LINES:
        yield f"    and {len(lines) - MAX_LINES} more"


def _cut(text: str) -> str:
    return text if len(text) <= MAX_CHARACTERS else f"{text[: MAX_CHARACTERS - 4]} ..."

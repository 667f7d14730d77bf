"""How all is, thing by thing: what state/ says for a bulletin, in lines.

Pure.  A thing is a function of the Facts; ``lib/bulletin.py`` puts them under their
headings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from lib import statusmode
from lib.decisions import Entry, JobDetails
from lib.model import (
    CERTIFICATE_CHECKER,
    Condition,
    Decision,
    JobKey,
    Known,
    Record,
    RunFacts,
    Settings,
    Slow,
)
from lib.proof import prover
from lib.wording import counted, duration, first_line, local, since

#: Certificates that end sooner are named.
DUE_WITHIN = timedelta(days=30)

_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_ENDS = (Decision.RECOVERY, Decision.QUIET_RECOVERY)


@dataclass(frozen=True)
class Facts:
    """What state/ says, for one bulletin."""

    records: Mapping[JobKey, Record]
    #: The jobs there are.
    catalogue: Mapping[JobKey, Known]
    run: RunFacts
    #: It tells of what was from here on.
    since: datetime
    now: datetime
    #: What was decided since then.
    entries: tuple[Entry, ...] = ()
    #: What was decided before this is on file no more; None: all of it is.
    on_file_since: datetime | None = None
    slowest: tuple[Slow, ...] = ()
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
        if one.condition in (Condition.FAILING, Condition.UNKNOWN)
        and one.unseen_since is None
    ]
    bad.sort(key=lambda one: one.name)
    return sorted(bad, key=lambda one: one.failing_since or _LONG_AGO, reverse=True)


def failing_line(record: Record, now: datetime) -> str:
    """Return since when a job is failing or unknown, and why."""
    words = [record.name or str(record.key)]
    words += ["unknown"] if record.condition is Condition.UNKNOWN else []
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
    return words, [statusmode.proof_line(line) for line in reversed(failed)]


def _is_proof(line: object) -> bool:
    return isinstance(line, list) and len(line) >= 4


def peer_lines(facts: Facts, settings: Settings) -> list[str]:
    """Return how each peer is."""
    peers = statusmode.peer_words(settings, facts.records, facts.catalogue, facts.now)
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

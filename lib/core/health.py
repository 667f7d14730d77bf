"""How we are, from evidence with an age: the word for peers, and why.  Pure.

Nothing here is a flag that somebody sets: a finished run, a proven mail and what is
still owed are read from what is kept, so that starting anything anew changes nothing.

The last proof that our own mail arrives, and those before it.  Pure.

EmailChecker keeps them in its memory.  The last one says ``proved_at`` or
``failed_at``, the verdict in a word, and ``interval_s``, how far apart two of them may
be: what peers are told and by which account mail leaves go by it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from lib.core.enums import Health, MessageKind
from lib.core.jobs import EMAIL_CHECKER
from lib.core.records import Record, RunRecord
from lib.core.settings import Mail, Settings
from lib.core.text import local

#: Mail that was tried and did not leave for longer is stuck.
STUCK_AFTER = timedelta(minutes=15)


@dataclass(frozen=True)
class Evidence:
    """What is known, and of when it is."""

    last_run: datetime | None = None
    #: When the oldest mail that was tried in vain was born.
    unsent_since: datetime | None = None
    #: What EmailChecker remembers of its last probe.
    proof: Proof | None = None


@dataclass(frozen=True)
class State:
    """How we are."""

    word: Health
    #: Why, in words; empty where all is well.
    why: str = ""
    proved_at: datetime | None = None


def witnessed(
    run: RunRecord, records: Iterable[Record], in_bundles: Collection[str] = ()
) -> RunRecord:
    """Return what is kept of a run, with the evidence that its records give.

    ``in_digests``: the ids of messages for which one mail was tried in their place.
    """
    unsent: list[datetime] = []
    records = list(records)
    for record in records:
        unsent += [
            one.born_at
            for one in record.queued
            if (one.attempts or one.message_id in in_bundles)
            and one.kind is not MessageKind.ROUND_TRIP
        ]
    proof = proof_in(records) or {}
    return replace(run, unsent_since=min(unsent, default=None), proof=proof)


def output(run: RunRecord) -> Evidence:
    """Return the evidence that is kept of the last run.

    All of it lies in one file, so that answering costs the same however much is wrong.
    """
    return Evidence(run.ended_at, run.unsent_since, run.proof or None)


def judged(found: Evidence, settings: Settings, now: datetime) -> State:
    """Return how we are.

    Where no mailbox is set up nothing proves that mail arrives, and nothing says that
    it does not: then only what is stuck is a problem, and the answer has no age of a
    proof.
    """
    proven = proved_at(found.proof)
    run_age = timedelta(seconds=settings.status.runage)
    if found.last_run is None or now - found.last_run > run_age:
        when = f" since {local(found.last_run)}" if found.last_run else ""
        return State(Health.JOB_PROBLEM, f"no run has finished{when}", proven)
    why = _why_no_mail(found, settings.mail, now)
    return State(Health.MAIL_PROBLEM if why else Health.OK, why, proven)


def _why_no_mail(found: Evidence, mail: Mail, now: datetime) -> str:
    if mail.nomail:
        return "" if mail.nomail_is_ok else "nomail is set: mails go to the log"
    if not mail.is_set_up:
        return "mail is not set up"
    if found.unsent_since is not None and now - found.unsent_since > STUCK_AFTER:
        return f"mail has not left since {local(found.unsent_since)}"
    if mail.mailbox is None:
        return ""
    doubt = trouble(found.proof, now)
    if doubt or proved_at(found.proof) is not None:
        return doubt
    return "it is not proven yet that mail arrives"


#: So many are remembered.
MAX_HISTORY = 48
_INTERVAL_S = 3600

Proof = Mapping[str, Any]


def proof_facts(
    verdict: str, round_trip_mail: Mapping[str, Any], interval_s: int
) -> dict[str, Any]:
    return {
        "verdict": verdict,
        "interval_s": interval_s,
        "seconds": round_trip_mail.get("seconds"),
        "hop": round_trip_mail.get("hop", ""),
    }


# As it is read.


def prover(records: Iterable[Record]) -> Record | None:
    """Return the record that knows whether our own mail arrives, if there is one."""
    return next(
        (one for one in records if one.key.file == EMAIL_CHECKER and one.key.is_check),
        None,
    )


def proof_in(records: Iterable[Record]) -> Proof | None:
    """Return the last proof; None where none was tried."""
    record = prover(records)
    found = record.memory.get("proof") if record else None
    return found if isinstance(found, dict) else None


def proved_at(proof: Proof | None) -> datetime | None:
    """Return when a mail was last seen to arrive; None if none was."""
    return _moment(proof, "proved_at")


def trouble(proof: Proof | None, now: datetime) -> str:
    """Return why the last proof does not stand; nothing if it does, or there is none.

    It stands until one fails, for twice the time between two of them.
    """
    failed_at, seen_at = _moment(proof, "failed_at"), proved_at(proof)
    if proof is not None and failed_at is not None:
        verdict = proof.get("verdict", "")
        return (
            f"the proof of {local(failed_at)} that mail arrives has failed: {verdict}"
        )
    if proof is None or seen_at is None:
        return ""
    interval_s = proof.get("interval_s")
    length = timedelta(seconds=interval_s if type(interval_s) is int else _INTERVAL_S)
    if now - seen_at > 2 * length:
        return f"the last proof that mail arrives is too old: {local(seen_at)}"
    return ""


def _moment(proof: Proof | None, name: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(str((proof or {})[name]))
    except (KeyError, ValueError):
        return None
    return found if found.tzinfo else None

"""How this instance is: the word for peers, and why.

Health is computed from facts with an age: the last finished run, the oldest queued
message and the last proof by EmailChecker that mail arrives (a round trip).  No flag
is set anywhere, so restarting anything changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import msgspec
from msgspec.structs import replace

from lib.core.enums import DeferralCode, Health
from lib.core.jobs import EMAIL_CHECKER
from lib.core.messages import DeferredMessage
from lib.core.records import FailingWay, Record, RunRecord
from lib.core.settings import MAIL, Settings
from lib.core.text import TimeText, counted, mail_time, moment_in

#: A message that is queued for as long, for whatever reason, is stuck.
STUCK_AFTER = timedelta(minutes=15)
#: A machine that no anchor answers for as long is blind, and people must hear of it.
BLIND_AFTER = timedelta(minutes=5)
#: The number of past proofs that EmailChecker's memory keeps.
MAX_HISTORY = 48
_INTERVAL_S = 3600

Proof = Mapping[str, Any]


class HealthInputs(msgspec.Struct, frozen=True):
    """The facts that health is computed from."""

    last_run: datetime | None = None
    #: The oldest messages that the last run left in the queue, the very oldest first.
    deferred: tuple[DeferredMessage, ...] = ()
    #: How many messages in the queue were stuck then, listed or not.
    stuck: int = 0
    #: The last proof that mail arrives, or that it does not.
    proof: Proof | None = None
    #: Since when runs go on with the last usable settings.
    settings_failing_since: datetime | None = None
    #: The ways by which nothing could be sent, and since when.
    failing_ways: Mapping[str, FailingWay] = {}
    #: Since when no anchor answers.
    blind_since: datetime | None = None


class State(msgspec.Struct, frozen=True):
    """How this instance is."""

    word: Health
    #: Why, in words; empty if OK.
    why: str = ""
    proved_at: datetime | None = None
    #: How many messages are stuck, and since when the oldest is queued.
    stuck: int = 0
    stuck_since: datetime | None = None


def with_inputs(
    run: RunRecord,
    records: Iterable[Record],
    deferred: Sequence[DeferredMessage] = (),
    count: int = 0,
    stuck: int = 0,
) -> RunRecord:
    """Return the run's record with the facts for health.

    ``deferred``: the oldest messages that it leaves in the queue, of ``count``;
    ``stuck`` of these are stuck.
    """
    return replace(
        run,
        deferred=tuple(deferred),
        deferred_count=count,
        stuck_count=stuck,
        proof=proof_in(records) or {},
    )


def inputs_of(run: RunRecord) -> HealthInputs:
    """Return the facts for health that the last run stored.

    They lie in one file, so that answering a peer costs the same in any state.
    """
    return HealthInputs(
        run.ended_at,
        run.deferred,
        run.stuck_count,
        run.proof or None,
        run.settings_failing_since,
        failing_ways=run.failing_ways,
        blind_since=run.blind_since,
    )


def is_stuck(message: DeferredMessage, now: datetime) -> bool:
    """Return whether a message is queued for so long that people must hear of it.

    The time for which it waits for its window does not count.
    """
    return now - (message.due_at or message.since) >= STUCK_AFTER


def have_runs_stopped(
    last_run: datetime | None, settings: Settings, now: datetime
) -> bool:
    """Return whether no run has finished for ``[status] runage``."""
    run_age = timedelta(seconds=settings.status.runage)
    return last_run is None or now - last_run > run_age


def assess(
    inputs: HealthInputs,
    settings: Settings,
    now: datetime,
    time_text: TimeText | None = None,
) -> State:
    """Return the word for peers, and why.

    Without a mailbox nothing can prove that mail arrives: then only a stuck message
    is a mail problem, and ``proved_at`` is None.  ``time_text`` makes the times in the
    reason; by default they are those of a mail.
    """
    time_text = time_text or partial(mail_time, zone=settings.zone)
    proven = proved_at(inputs.proof)
    stuck = _stuck_count(inputs, now)
    state = State(
        Health.OK,
        proved_at=proven,
        stuck=stuck,
        stuck_since=inputs.deferred[0].since if stuck else None,
    )
    if have_runs_stopped(inputs.last_run, settings, now):
        when = f" since {time_text(inputs.last_run)}" if inputs.last_run else ""
        why = f"no run has finished{when}"
        return replace(state, word=Health.JOB_PROBLEM, why=why)
    since = inputs.settings_failing_since
    if since is not None and now - since >= STUCK_AFTER:
        why = f"{settings.path.name} has been unusable since {time_text(since)}"
        return replace(state, word=Health.JOB_PROBLEM, why=why)
    since = inputs.blind_since
    if since is not None and now - since >= BLIND_AFTER:
        why = f"this machine is blind: no anchor answers since {time_text(since)}"
        return replace(state, word=Health.JOB_PROBLEM, why=why)
    why = _mail_problem(inputs, stuck, settings, now, time_text)
    if not why:
        return state
    return replace(state, word=Health.MAIL_PROBLEM, why=why)


def _stuck_count(inputs: HealthInputs, now: datetime) -> int:
    """Return how many messages are stuck now; of those not listed: as the run ended."""
    listed = sum(is_stuck(message, now) for message in inputs.deferred)
    return max(listed, inputs.stuck) if listed else 0


def _mail_problem(
    inputs: HealthInputs,
    stuck: int,
    settings: Settings,
    now: datetime,
    time_text: TimeText,
) -> str:
    for way, failing in stuck_ways(inputs.failing_ways, now).items():
        if way != MAIL:
            since = time_text(failing.since)
            return f"no message could be sent to {way} since {since}: {failing.why}"
    mail = settings.mail
    # Where only channels are notified, mail may be missing.
    needs_mail = not _are_channels(settings.alertcontact)
    if mail.nomail and needs_mail:
        return "" if mail.nomail_is_ok else "nomail is set: mails go to the log"
    if not mail.is_set_up and needs_mail:
        return mail.trouble or "mail is not set up"
    if stuck:
        return _stuck_words(stuck, inputs.deferred[0], time_text)
    if mail.mailbox is None:
        return ""
    problem = trouble(inputs.proof, now, time_text)
    if problem or proved_at(inputs.proof) is not None:
        return problem
    return "it is not proven yet that mail arrives"


def _are_channels(contact: Sequence[str]) -> bool:
    return bool(contact) and all("@" not in to for to in contact)


def stuck_ways(
    failing: Mapping[str, FailingWay], now: datetime
) -> dict[str, FailingWay]:
    """Return the ways that have failed for so long that people must hear of it."""
    return {
        way: since for way, since in failing.items() if now - since.since >= STUCK_AFTER
    }


def _stuck_words(count: int, oldest: DeferredMessage, time_text: TimeText) -> str:
    since, why = time_text(oldest.since), oldest.why
    if why.error:
        what = "message" if _are_channels(oldest.to) else "mail"
        return f"no {what} could be sent since {since}: {why.error}"
    words = f"{counted(count, 'message')} deferred, the oldest since {since}"
    if why.code is DeferralCode.RATE_LIMIT:
        return f"{words}: the rate limit is reached"
    return words


def proof_facts(
    result: str, round_trip_mail: Mapping[str, Any], interval_s: int
) -> dict[str, Any]:
    """Return a proof as EmailChecker's memory keeps it, without its time."""
    return {
        "result": result,
        "interval_s": interval_s,
        "seconds": round_trip_mail.get("seconds"),
        "hop": round_trip_mail.get("hop", ""),
    }


def prover(records: Iterable[Record]) -> Record | None:
    """Return EmailChecker's record; None if there is none."""
    for record in records:
        if record.key.file == EMAIL_CHECKER and record.key.is_check:
            return record
    return None


def proof_in(records: Iterable[Record]) -> Proof | None:
    """Return the last proof; None if none was attempted."""
    record = prover(records)
    proof = record.memory.get("proof") if record else None
    return proof if isinstance(proof, dict) else None


def proved_at(proof: Proof | None) -> datetime | None:
    """Return when a round-trip mail last arrived; None if none did."""
    return _moment(proof, "proved_at")


def trouble(proof: Proof | None, now: datetime, time_text: TimeText) -> str:
    """Return why the last proof is not valid; empty if it is, or if there is none.

    A proof is valid until one fails, for at most twice the interval.
    """
    failed_at, arrived_at = _moment(proof, "failed_at"), proved_at(proof)
    if proof is not None and failed_at is not None:
        reason = proof.get("result", "")
        return f"the round-trip mail of {time_text(failed_at)} has failed: {reason}"
    if proof is None or arrived_at is None:
        return ""
    interval_s = proof.get("interval_s")
    length = timedelta(seconds=interval_s if type(interval_s) is int else _INTERVAL_S)
    if now - arrived_at > 2 * length:
        return f"the last proof that mail arrives is too old: {time_text(arrived_at)}"
    return ""


def _moment(proof: Proof | None, name: str) -> datetime | None:
    return moment_in((proof or {}).get(name))

"""One job, from its execution to what it has to say.

Other people's code is called here, and whatever it does becomes a value: an Outcome,
or the messages of a hook with the default mail where the hook sent none.
"""

from __future__ import annotations

import logging
import os
import time
from dataclasses import replace
from datetime import datetime

from lib import jobbase, letters, plain
from lib.discover import Found, described, formatted
from lib.model import Condition, JobFacts, Message, Outcome, Record, Verdict

logger = logging.getLogger(__name__)

#: As much of a reason as is kept; a page of HTML in an exception is not a reason.
DETAIL_LENGTH = 4000


def execute(found: Found, record: Record) -> Outcome:
    """Return what one execution of the job found, and how long it took."""
    started = time.monotonic()
    outcome = _execute(found, record)
    _memory, trouble = memory_after(found)
    if trouble and outcome.condition is Condition.FINE:
        outcome = Outcome(Condition.FAILING, trouble)
    return replace(
        outcome,
        detail=outcome.detail[:DETAIL_LENGTH],
        seconds=round(time.monotonic() - started, 3),
    )


def _execute(found: Found, record: Record) -> Outcome:
    job = found.job
    if job is None:
        condition = Condition.FAILING if found.trouble else Condition.FINE
        return Outcome(condition, found.trouble, found.evidence)
    job.memory = plain.plain_memory(dict(record.memory))
    try:
        answer = job.execute()
        found_well = bool(answer) if job.truth_is_enough else answer
        outcome = _judged(found_well)
    except jobbase.CheckFailed as failed:
        outcome = Outcome(Condition.FAILING, _reason(failed))
    except jobbase.CheckUnknown as unknown:
        outcome = Outcome(Condition.UNKNOWN, _reason(unknown))
    except jobbase.CheckPending as pending:
        outcome = Outcome(Condition.PENDING, _reason(pending))
    except BaseException as error:
        outcome = Outcome(Condition.FAILING, described(error), formatted(error))
    return outcome


def memory_after(found: Found) -> tuple[dict[str, object] | None, str]:
    """Return the job's memory to keep, and why it cannot be kept if it cannot."""
    if found.job is None:
        return None, ""
    try:
        return plain.plain_memory(found.job.memory), ""
    except Exception as error:
        return None, f"self.memory holds what cannot be kept: {described(error)}"


def speak(
    found: Found, record: Record, outcome: Outcome, verdict: Verdict, now: datetime
) -> tuple[Message, ...]:
    """Return the messages for a verdict that speaks: the hook's, or the default one."""
    job = found.job
    hook_fits = outcome.condition is not Condition.UNKNOWN
    if job is not None and hook_fits:
        said = _ask_hook(job, found.facts, record, outcome, verdict, now)
        if said is not None:
            return said
    return (default(found.facts, record, outcome, verdict, now),)


def default(
    facts: JobFacts, record: Record, outcome: Outcome, verdict: Verdict, now: datetime
) -> Message:
    """Return the default mail, under a name of its own."""
    return letters.default_message(
        os.urandom(16).hex(), facts, record, outcome, verdict, now
    )


def collected(found: Found) -> tuple[Message, ...]:
    """Return what the job has sent since it was last asked."""
    if found.job is None:
        return ()
    messages = tuple(found.job._outgoing)
    found.job._outgoing.clear()
    return messages


def _ask_hook(
    job: jobbase.JobBase,
    facts: JobFacts,
    record: Record,
    outcome: Outcome,
    verdict: Verdict,
    now: datetime,
) -> tuple[Message, ...] | None:
    """Return what the hook said; None if it told nobody."""
    recovery = verdict is Verdict.RECOVERY
    job._speaks_as = letters.KIND_OF[verdict]
    job._speaks_to = record.told if recovery else ()
    job._thread = record.thread
    before = len(job._outgoing)
    try:
        hook = job.onStateChangeSuccess if recovery else job.onFailure
        told_otherwise = hook() is True
    except BaseException as error:
        told_otherwise = False
        logger.warning(
            "%s: its hook raised %s; the default mail goes out in its place",
            facts.name,
            described(error),
        )
        del job._outgoing[before:]
    said = job._outgoing[before:]
    del job._outgoing[before:]
    if not said and not told_otherwise:
        return None
    return tuple(
        letters.with_facts(message, facts, record, outcome, now) for message in said
    )


def _judged(answer: object) -> Outcome:
    if answer is True:
        return Outcome(Condition.FINE)
    if answer is False:
        return Outcome(Condition.FAILING, "execute returned False, and gave no reason")
    return Outcome(
        Condition.FAILING,
        f"execute returned {_shown(answer)}, which is neither True nor False",
    )


def _reason(error: BaseException) -> str:
    """Return the text of one of our exceptions, as its author gave it."""
    try:
        return str(error).strip() or "no reason was given"
    except BaseException:
        return "the reason could not be made into text"


def _shown(answer: object) -> str:
    try:
        return repr(answer)[:80]
    except BaseException:
        return f"a {type(answer).__name__}"

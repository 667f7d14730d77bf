"""Who is to blame when a worker dies or stalls, and who runs again.  Judges only.

The jobs that were under way run again once, each alone in a process of its own, so
that the guilty one is named; those that had not begun run again together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from lib.core.enums import Condition
from lib.core.jobs import JobFacts, JobFile, JobKey
from lib.core.results import Outcome
from lib.core.text import paragraphs, printed_part
from lib.runner.handle import Shift, Work

#: How often workers may die before the jobs they were for have begun.
MOST_ATTEMPTS = 2


@dataclass(frozen=True)
class Lost:
    """A job took its worker down, or went down with it; the outcome says how."""

    job: JobFacts
    outcome: Outcome


@dataclass(frozen=True)
class Ruling:
    """What follows from the end of a worker."""

    lost: tuple[Lost, ...] = ()
    again: tuple[Work, ...] = ()


def unknown(job: JobFacts, why: str) -> Lost:
    """Return a job of which nobody can say anything, to be asked again."""
    return Lost(job, Outcome(Condition.UNKNOWN, why, ask_again=True))


def ruling(
    shift: Shift,
    how: str,
    now: float,
    file_facts: Callable[[JobFile], JobFacts],
    load_timeout_s: float,
) -> Ruling:
    """Return what follows from the end of a worker that had not come to its end.

    ``how`` says how the process ended; nothing if it did not answer and was killed.
    """
    if shift.jobs is None:
        how = how or f"that took over {load_timeout_s:g} s"
        return _while_loading(shift, how, file_facts)
    left = dict(shift.left)
    suspects = [left.pop(key) for key in list(left) if key in shift.stuck_at]
    alone = len(suspects) == 1
    lost: list[Lost] = []
    again: list[Work] = []
    for job in suspects:
        outcome = shift.found.get(job.key)
        if outcome is not None:
            lost.append(Lost(job, _without_hook(outcome, how)))
        elif alone and (how or shift.is_late(job.key, now)):
            lost.append(_guilty(shift, job, how))
        else:
            again.append(shift.work.only({job.key: job}))
    attempts = 0 if suspects else shift.work.attempts + 1
    rest = _of_the_rest(shift.work, left, attempts, how)
    return Ruling((*lost, *rest.lost), (*again, *rest.again))


def _while_loading(
    shift: Shift, how: str, file_facts: Callable[[JobFile], JobFacts]
) -> Ruling:
    """Rule that the file is to blame; of many, each gets its own worker."""
    work = shift.work
    if work.jobs:
        return _of_the_rest(work, shift.left, work.attempts + 1, how)
    if len(work.files) > 1:
        return Ruling(again=tuple(replace(work, files=(one,)) for one in work.files))
    facts = file_facts(work.files[0])
    return Ruling((_guilty(shift, facts, f"{work} cannot be loaded: {how}"),))


def _of_the_rest(
    work: Work, left: dict[JobKey, JobFacts], attempts: int, how: str
) -> Ruling:
    """Rule that a new worker runs what had not begun, unless that came to nothing."""
    if not left:
        return Ruling()
    if attempts < MOST_ATTEMPTS:
        return Ruling(again=(work.only(left, attempts),))
    why = f"its worker {how or 'got stuck'} before it began"
    return Ruling(tuple(unknown(job, why) for job in left.values()))


def _guilty(shift: Shift, job: JobFacts, how: str) -> Lost:
    late = f"timed out after {job.timeout_s:g} s, and had to be killed"
    evidence = printed_part(shift.printed, shared=len(shift.left) > 1)
    return Lost(job, Outcome(Condition.FAILING, how or late, evidence))


def _without_hook(outcome: Outcome, how: str) -> Outcome:
    why = how or "did not answer any more and was killed"
    note = f"While its hook was at work, its worker {why}; this is the default mail."
    return replace(outcome, evidence=paragraphs(outcome.evidence, note))

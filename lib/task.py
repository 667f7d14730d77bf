"""One job on its way through a worker, and what is said of it at the end."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from lib import execute, fitting
from lib.discover import Found
from lib.model import Condition, Decision, Message, Outcome, Record, Report
from lib.printed import Kept
from lib.reasons import paragraphs, whereabouts


@dataclass(frozen=True)
class Rules:
    """What holds for all tasks of a worker."""

    secrets: tuple[str, ...] = field(default=(), repr=False)
    speaks: bool = True
    hook_timeout_s: float = 10.0
    #: The clock of the run.
    now: Callable[[], datetime] = field(kw_only=True)


class Stage(enum.Enum):
    """How far a job has come; whoever moves it on goes on with it."""

    EXECUTING = enum.auto()
    SPEAKING = enum.auto()
    DONE = enum.auto()


@dataclass(eq=False, slots=True)
class Task:
    """A job on its way through the worker."""

    found: Found
    record: Record
    stage: Stage = Stage.EXECUTING
    deadline: float = float("inf")
    thread: int = 0
    kept: Kept = field(default_factory=Kept)
    #: Its thread is still in it; what it remembers is half done.
    late: bool = False
    #: What was found, and is to be said, once it is known.
    outcome: Outcome = Outcome(Condition.UNKNOWN)
    decision: Decision = Decision.OK

    def timed_out(self) -> Outcome:
        """Return what is found of a job that is not done in its time."""
        limit = self.found.facts.timeout_s
        detail = f"timed out after {limit:g} s"
        return Outcome(Condition.FAILING, detail, whereabouts(self.thread), limit)

    def said_instead(self, rules: Rules) -> tuple[Message, ...]:
        """Return the messages of a job whose hook did not come back."""
        if not (self.decision.notifies and rules.speaks):
            return ()
        limit = rules.hook_timeout_s
        why = f"Its hook took over {limit:g} s; this mail goes out in its place."
        evidence = paragraphs(self.outcome.evidence, why)
        outcome = replace(self.outcome, evidence=evidence)
        return execute.speak_instead(
            self.found, self.record, outcome, self.decision, rules.now()
        )

    def report(self, messages: tuple[Message, ...], rules: Rules) -> Report:
        """Return what the supervisor is told, with the messages of the job's hook."""
        secrets = rules.secrets
        memory = None if self.late else execute.memory_to_keep(self.found, self.record)
        # The alert first: later mails are threaded to it.
        mails = (*messages, *execute.notes(self.found))
        return Report(
            self.found.facts,
            self.outcome,
            self.decision,
            tuple(fitting.fit_mail(mail, secrets) for mail in mails),
            fitting.fit_memory(memory, secrets),
        )

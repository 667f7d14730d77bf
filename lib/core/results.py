"""The nouns of Checker: enums for choices, frozen dataclasses for facts.

Nothing here acts, and nothing of ours is imported.  A value that two rooms pass
to each other has its class here; one of which there may be thousands has slots.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lib.core.enums import Decision, Status
from lib.core.jobs import Job, JobKey
from lib.core.messages import Message


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one execution of one job found."""

    status: Status
    #: The reason, for people; its first line goes into subjects.
    reason: str = ""
    #: What helps to understand it: a traceback, what the job printed.
    output: str = ""
    seconds: float = 0.0
    #: Ask again in the next minute run, whatever the job's frequency.
    ask_again: bool = False


@dataclass(frozen=True, slots=True)
class JobReport:
    """What one execution of a job came to: its way from a worker to the supervisor."""

    job: Job
    result: CheckResult
    decision: Decision
    messages: tuple[Message, ...] = ()
    #: The job's memory after the run; None: leave what is remembered.
    memory: Mapping[str, Any] | None = None
    #: Somebody is to be notified, and the hook did not: the default mail goes out.
    default_mail: bool = False
    #: Why it goes out in the hook's place, with the traceback; empty if it just does.
    hook_trouble: str = ""


@dataclass(frozen=True)
class Timing:
    """How long a check has taken, and when."""

    key: JobKey
    name: str
    seconds: float
    at: datetime

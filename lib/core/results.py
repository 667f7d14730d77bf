"""What the execution of a job came to."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

from lib.core.encoding import Moment, Seconds, Stored
from lib.core.enums import Decision, Status
from lib.core.jobs import Job, JobKey
from lib.core.messages import Message


class Unit(enum.StrEnum):
    """What a value is measured in."""

    SECONDS = "s"
    BYTES = "B"
    PERCENT = "%"
    COUNT = "count"
    PER_SECOND = "1/s"


class Threshold(Stored, frozen=True):
    """The range that is allowed; a number below ``low`` or above ``high`` is not."""

    low: float | None = None
    high: float | None = None

    def allows(self, number: float) -> bool:
        """Return whether a number is within the range."""
        if self.low is not None and number < self.low:
            return False
        return self.high is None or number <= self.high


class Value(Stored, frozen=True):
    """A number that a check measured, and what it is measured against."""

    number: float
    unit: Unit = Unit.COUNT
    #: Outside of these ranges the result is a warning, or failing.
    warn: Threshold | None = None
    fail: Threshold | None = None


class CheckResult(Stored, frozen=True):
    """What one execution of one job found."""

    status: Status
    #: The reason, for people; its first line goes into subjects.
    reason: str = ""
    #: More for people: a traceback, what the job printed.
    output: str = ""
    seconds: Seconds = 0.0
    #: What the failure is about, for grouping: the reason without the host in one line,
    #: the host, and its addresses that were tried.  Empty if there is none.
    cause: str = ""
    host: str = ""
    addresses: tuple[str, ...] = ()
    #: Check again in the next minute run, whatever the job's frequency.
    ask_again: bool = False
    #: What was measured, by name.
    values: Mapping[str, Value] = {}


class JobReport(Stored, frozen=True):
    """A result, its decision and its messages, as a worker sends them."""

    job: Job
    result: CheckResult
    decision: Decision
    messages: tuple[Message, ...] = ()
    #: The job's memory after the run; None: unchanged.
    memory: Mapping[str, Any] | None = None
    #: The hook did not notify although it is due: send the default mail.
    default_mail: bool = False
    #: What went wrong in the hook, with the traceback; empty if nothing did.
    hook_trouble: str = ""


class Timing(Stored, frozen=True):
    """How long a check took, and when."""

    key: JobKey
    name: str
    seconds: Seconds
    at: Moment

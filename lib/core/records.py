"""The nouns of Checker: enums for choices, frozen dataclasses for facts.

Nothing here acts, and nothing of ours is imported.  A value that two rooms pass
to each other has its class here; one of which there may be thousands has slots.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from lib.core.enums import DeliveryResult, JobFrequency, Status
from lib.core.jobs import JobKey
from lib.core.messages import Gone, Message


@dataclass(frozen=True, slots=True)
class Record:
    """What is remembered of one job, and the messages still owed."""

    key: JobKey
    name: str = ""
    status: Status = Status.OK
    #: Executions in a row that did not find it fine.
    failures: int = 0
    failing_since: datetime | None = None
    #: When the last alert or reminder was kept; None while nobody was told.
    notified_at: datetime | None = None
    #: Who got the alert, and so gets the recovery.
    notified: tuple[str, ...] = ()
    #: What they were told it is: failing or unknown.
    notified_status: Status | None = None
    #: What became of the mail of ``told_at``, once it is owed no more.
    delivery: DeliveryResult = DeliveryResult.SENT
    #: The message_id of the first alert.
    thread: str | None = None
    last_reason: str = ""
    pending: bool = False
    #: What the job keeps from run to run.
    memory: Mapping[str, Any] = field(default_factory=dict)
    queued: tuple[Message, ...] = ()
    #: Since when no run has met this job; None while runs meet it.
    unseen_since: datetime | None = None
    #: The last of its probes that are owed no longer.
    gone: tuple[Gone, ...] = ()
    #: Of two files that hold it, the one with the higher number tells the truth.
    revision: int = field(default=0, compare=False)

    @property
    def is_default(self) -> bool:
        """Return whether there is nothing in it that a new record would not hold."""
        return self == Record(self.key, self.name)


@dataclass(frozen=True)
class RunRecord:
    """What is remembered of the runs themselves: run.json."""

    began_at: datetime | None = None
    #: When one last came to its end: before ``began_at`` while one is at work, or if
    #: it was killed.
    ended_at: datetime | None = None
    ordered: JobFrequency = JobFrequency.MINUTE
    #: When jobs of each frequency last ran; the values are datetimes as text.
    last_runs: Mapping[str, Any] = field(default_factory=dict)
    jobs: int = 0
    ran: int = 0
    failing: int = 0
    unknown: int = 0
    pending: int = 0
    sent: int = 0
    queued: int = 0
    #: Runs that found another one at work, since Checker was set up.
    skipped: int = 0
    skipped_at: datetime | None = None
    #: The file stems of the jobs that have a record.
    records: tuple[str, ...] = ()
    #: Of these, the ones that were lost, told of, and whose jobs have not run since.
    lost_records: tuple[str, ...] = ()
    #: The older program's state file, once it was read.
    old_statefile: str = ""
    #: As this run left it: since when the oldest mail that was tried does not leave,
    #: and what EmailChecker remembers of its last proof.
    unsent_since: datetime | None = None
    proof: Mapping[str, Any] = field(default_factory=dict)

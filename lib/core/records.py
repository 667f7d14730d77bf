"""What is remembered from run to run: of each job, and of the runs themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from lib.core.enums import DeliveryResult, JobFrequency, Status
from lib.core.jobs import JobKey
from lib.core.messages import Message, RoundTripDelivery


@dataclass(frozen=True, slots=True)
class Record:
    """What is remembered of one job, and the messages still queued."""

    key: JobKey
    name: str = ""
    status: Status = Status.OK
    #: Consecutive results that were failing or unknown.
    failures: int = 0
    failing_since: datetime | None = None
    #: When the last alert or reminder was queued; None while nobody was notified.
    notified_at: datetime | None = None
    #: Who was notified, and so gets the recovery.
    notified: tuple[str, ...] = ()
    #: The status they were notified of: failing or unknown.
    notified_status: Status | None = None
    #: What became of the message of ``notified_at``, once it is no longer queued.
    delivery: DeliveryResult = DeliveryResult.SENT
    #: The message_id of the first alert.
    thread: str | None = None
    last_reason: str = ""
    pending: bool = False
    #: The job's ``self.memory``.
    memory: Mapping[str, Any] = field(default_factory=dict)
    queued: tuple[Message, ...] = ()
    #: Since when no run has met this job; None while runs meet it.
    unseen_since: datetime | None = None
    #: Its last round-trip mails that are no longer queued.
    round_trips: tuple[RoundTripDelivery, ...] = ()
    #: If two files hold this record, the one with the higher number is valid.
    revision: int = field(default=0, compare=False)

    @property
    def is_default(self) -> bool:
        """Return whether it holds nothing that a new record would not."""
        return self == Record(self.key, self.name)


@dataclass(frozen=True)
class RunRecord:
    """What is remembered of the runs themselves: run.json."""

    began_at: datetime | None = None
    #: When a run last finished: before ``began_at`` during a run, or if it was killed.
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
    #: Runs that found another one under way, since Checker was set up.
    skipped: int = 0
    skipped_at: datetime | None = None
    #: The file stems of the jobs that have a record.
    records: tuple[str, ...] = ()
    #: Those that were lost and reported, and whose jobs have not run since.
    lost_records: tuple[str, ...] = ()
    #: The older program's state file, once it was read.
    old_statefile: str = ""
    #: For health: the time of the oldest message that was attempted and not sent, and
    #: EmailChecker's last proof.
    unsent_since: datetime | None = None
    proof: Mapping[str, Any] = field(default_factory=dict)

"""What is remembered from run to run: of each job, and of the runs themselves."""

import re
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from fnmatch import fnmatchcase, translate
from operator import attrgetter
from typing import Any

import msgspec
from msgspec.structs import astuple, replace

from lib.core.encoding import Count, Moment, Stored, check_depth, check_moments
from lib.core.enums import (
    Decision,
    DeliveryResult,
    JobFrequency,
    MessageKind,
    Status,
)
from lib.core.jobs import CatalogEntry, Job, JobKey, file_stem
from lib.core.messages import DeferredMessage, Message, RoundTripDelivery


class Acknowledgement(Stored, frozen=True):
    """Somebody knows of a failure or a warning: ``-m ack``."""

    #: What it was then.
    status: Status
    at: Moment
    who: str = ""
    why: str = ""

    def __post_init__(self) -> None:
        """Raise ValueError if it holds what nothing of ours writes."""
        check_moments(self.at)

    def covers(self, status: Status) -> bool:
        """Return whether this status is what they know of, or no worse."""
        return status in _NO_WORSE.get(self.status, ())


_NO_WORSE: Mapping[Status, Collection[Status]] = {
    Status.WARNING: (Status.WARNING,),
    Status.UNKNOWN: (Status.UNKNOWN,),
    Status.FAILING: (Status.FAILING, Status.UNKNOWN),
}


class Change(Stored, frozen=True):
    """A check whose status was another than the check before it."""

    #: Its number, by ``checks`` of the record.
    check: Count
    at: Moment
    status: Status


class Record(Stored, frozen=True, eq=False):
    """What is remembered of one job, and the messages still queued."""

    key: JobKey
    name: str = ""
    status: Status = Status.OK
    #: Consecutive results that were failing or unknown, not counting those of a
    #: recovery that came to nothing.
    failures: Count = 0
    failing_since: Moment | None = None
    #: The last results before the first alert, where ``failures`` is N of M: F for a
    #: failure, a dot for any other; it begins with a failure.
    recent: str = ""
    #: Since that failure, the last consecutive results that were OK or a warning.
    recovering: Count = 0
    #: Consecutive results that were a warning.
    warnings: Count = 0
    warning_since: Moment | None = None
    #: When the run began that first found it not OK: the moment that history has of it.
    first_bad_at: Moment | None = None
    #: When the last alert or reminder was queued; None while nobody was notified.
    notified_at: Moment | None = None
    #: When the first alert of this failure was queued, or the one after a silence: for
    #: the escalation.
    alerted_at: Moment | None = None
    #: Who was notified, and so gets the recovery.
    notified: tuple[str, ...] = ()
    #: The status they were notified of: failing, unknown or warning.
    notified_status: Status | None = None
    #: They were notified of an event, of whose end there is no mail.
    notified_of_event: bool = False
    #: What became of the message of ``notified_at``, once it is no longer queued.
    delivery: DeliveryResult = DeliveryResult.SENT
    #: The message_id of the first alert.
    thread: str | None = None
    last_reason: str = ""
    #: Since when it is pending, or is to be asked again; None if it is neither.
    pending_since: Moment | None = None
    #: The last changes of status, as ``lib/core/flapping.py`` counts them, and the
    #: number of checks since that counting began.
    changes: tuple[Change, ...] = ()
    checks: Count = 0
    #: Since when it is flapping; None if it is not.
    flapping_since: Moment | None = None
    #: The job's ``self.memory``.
    memory: Mapping[str, Any] = {}
    queued: tuple[Message, ...] = ()
    #: Since when no run has met this job; None while runs meet it.
    unseen_since: Moment | None = None
    #: How many complete discoveries in a row did not find it while it was not OK.
    absences: Count = 0
    #: Its last round-trip mails that are no longer queued.
    round_trips: tuple[RoundTripDelivery, ...] = ()
    #: Why the alerts of its last result were held back; None: they were not.
    held: Decision | None = None
    #: Who muted or acknowledged it, the maintenance window, or which parents were
    #: failing; and why.
    held_by: str = ""
    held_why: str = ""
    #: None: nobody has acknowledged what is wrong.
    acknowledged: Acknowledgement | None = None
    #: If two files hold this record, the one with the higher number is valid.
    revision: Count = 0

    def __post_init__(self) -> None:
        """Raise ValueError if it holds what nothing of ours writes."""
        moments = _moments(self)
        if any(moments) or self.changes:
            check_moments(*moments, *(change.at for change in self.changes))
        if self.memory:
            check_depth(self.memory)

    def __eq__(self, other: object) -> bool:
        """Return whether both say the same of a job, whatever their revisions."""
        if type(other) is not Record:
            return NotImplemented
        return bool(_content(self) == _content(other))

    def __ne__(self, other: object) -> bool:
        """Return the opposite; Python would ask Struct for it, not ``__eq__``."""
        return not self == other

    @property
    def pending(self) -> bool:
        """Return whether the next minute run is to ask it again."""
        return self.pending_since is not None

    @property
    def is_out_of_reach(self) -> bool:
        """Return whether its target could not be reached to be judged."""
        return self.in_the_way is not None

    @property
    def in_the_way(self) -> Decision | None:
        """Return why it could not be judged, unreachable or blind; None: it could."""
        held = self.held
        return held if held is not None and held.is_about_the_way else None

    @property
    def is_not_set_up(self) -> bool:
        """Return whether it lacks what it needs to check: its OK proves nothing."""
        proof = self.memory.get("proof")
        is_none = isinstance(proof, dict) and proof.get("result") == "not set up"
        return is_none and self.status is Status.OK and not self.pending

    @property
    def since(self) -> datetime | None:
        """Return since when it is failing, unknown or a warning; None if it is not."""
        return self.failing_since or self.warning_since

    @property
    def reached(self) -> tuple[str, ...]:
        """Return who was notified, without those whose alert is still queued.

        Of a channel with services those that have accepted it, such as ``oncall/ntfy``.
        """
        alerts = [one for one in self.queued if one.kind is MessageKind.ALERT]
        waiting = {to for alert in alerts for to in alert.to}
        ways = dict.fromkeys(way for alert in alerts for way in alert.shared_with)
        accepted = [way for way in ways if way not in waiting]
        partly = {to.partition("/")[0] for to in waiting if "/" in to}
        reached: list[str] = []
        for to in self.notified:
            if to in partly:
                reached += [way for way in accepted if way.partition("/")[0] == to]
            elif to not in waiting:
                reached.append(to)
        return tuple(reached)

    @property
    def reached_at(self) -> datetime | None:
        """Return when they were last notified, as far as the record says.

        While a reminder is queued that is the time of the first alert.
        """
        is_queued = any(message.kind.is_about_trouble for message in self.queued)
        return self.alerted_at or self.notified_at if is_queued else self.notified_at

    @property
    def delivery_result(self) -> DeliveryResult | None:
        """Return what became of the mail to them; None: nobody was notified."""
        return self.delivery if self.notified_at is not None else None

    @property
    def is_default(self) -> bool:
        """Return whether it holds nothing that a new record would not."""
        return astuple(self)[2:-1] == _NOTHING


_moments = attrgetter(
    "failing_since",
    "warning_since",
    "first_bad_at",
    "notified_at",
    "alerted_at",
    "pending_since",
    "flapping_since",
    "unseen_since",
)
#: All that a record says, without its revision.
_content = attrgetter(*Record.__struct_fields__[:-1])
_NOTHING = astuple(Record(JobKey("")))[2:-1]


class KnownRecords(msgspec.Struct, frozen=True):
    """All that is remembered of jobs, from which each job's record follows."""

    stored: Mapping[JobKey, Record] = {}
    #: The file stems of the records that were lost or damaged.
    lost: Collection[str] = ()
    #: The older program's, under its names, whose jobs no run has met yet.
    unclaimed: tuple[Record, ...] = ()

    @property
    def any_pending(self) -> bool:
        """Return whether any job is pending."""
        records = (*self.stored.values(), *self.unclaimed)
        return any(record.pending for record in records)

    def of(self, job: Job) -> Record:
        """Return a job's record: stored, lost (unknown), the older program's, or new.

        A record that is stored or lost under the key that the job had before its
        section was renamed is the job's, unless it has one of its own.
        """
        key, before = job.key, job.key_before
        if key in self.stored:
            return self.stored[key]
        if before is not None and before in self.stored:
            return replace(self.stored[before], key=key)
        if self.lost:
            keys = [key] if before is None else [key, before]
            if any(file_stem(known) in self.lost for known in keys):
                return Record(key, status=Status.UNKNOWN)
        for record in self.unclaimed:
            if job.formerly and fnmatchcase(record.name, job.formerly):
                # Alerts went to those who get them now.
                notified = job.contact if record.notified_at else ()
                return replace(record, key=key, name="", notified=notified)
        return Record(key)


def with_lost(
    records: Mapping[JobKey, Record], lost: Collection[str], keys: Iterable[JobKey]
) -> Mapping[JobKey, Record]:
    """Return records, and one of each of these jobs whose own was lost: it is unknown.

    ``lost`` has the file stems of those.
    """
    if not lost:
        return records
    why = "its record in state/ is damaged or missing"
    unknown = {
        key: Record(key, status=Status.UNKNOWN, last_reason=why)
        for key in keys
        if file_stem(key) in lost
    }
    return {**unknown, **records}


def counted_jobs(
    catalog: Mapping[JobKey, CatalogEntry], records: Mapping[JobKey, Record]
) -> list[JobKey]:
    """Return what counts as a job, wherever jobs are counted.

    That is each job of the catalog, run by now or not, switched off or not; and what
    else is not OK now, such as a section of the settings or a broken job file.
    """
    others = [
        key
        for key, record in records.items()
        if key not in catalog
        and record.status is not Status.OK
        and record.unseen_since is None
        and key.is_job
    ]
    return [*catalog, *others]


def still_unclaimed(
    records: Iterable[Record], jobs: Iterable[Job]
) -> tuple[Record, ...]:
    """Return those of the older program's records that are of none of these jobs."""
    left = list(records)
    for pattern in {job.formerly for job in jobs if job.formerly}:
        if not left:
            break
        matches = re.compile(translate(pattern)).match
        left = [record for record in left if not matches(record.name)]
    return tuple(left)


class FailingWay(Stored, frozen=True):
    """Mail, or a way of a channel, that has failed since a moment."""

    since: Moment
    why: str = ""


class RunRecord(Stored, frozen=True):
    """What is remembered of the runs themselves: run.json."""

    began_at: Moment | None = None
    #: When a run last finished: before ``began_at`` during a run, or if it was killed.
    ended_at: Moment | None = None
    ordered: JobFrequency = JobFrequency.MINUTE
    #: When jobs of each frequency last ran; the values are datetimes as text.
    last_runs: Mapping[str, Any] = {}
    jobs: Count = 0
    ran: Count = 0
    failing: Count = 0
    unknown: Count = 0
    warning: Count = 0
    pending: Count = 0
    #: Not judged, since a parent was failing or this machine was blind; they count as
    #: nothing else.
    unreachable: Count = 0
    sent: Count = 0
    queued: Count = 0
    #: Runs that found another one under way, since Checker was set up.
    skipped: Count = 0
    skipped_at: Moment | None = None
    #: The file stems of the jobs that have a record, or whose record is lost.
    records: tuple[str, ...] = ()
    #: The older program's state file, once it was read.
    old_statefile: str = ""
    #: The digest of the settings of which there is a copy.
    settings_copied: str = ""
    #: Since when the settings cannot be used, and the last usable ones are.
    settings_failing_since: Moment | None = None
    #: Since when no anchor answers.
    blind_since: Moment | None = None
    #: The messages that the last run left in the queue: how many, without round-trip
    #: mails, and the oldest of them.
    deferred: tuple[DeferredMessage, ...] = ()
    deferred_count: Count = 0
    #: How many of all these were stuck as the run ended.
    stuck_count: Count = 0
    #: For health: EmailChecker's last proof.
    proof: Mapping[str, Any] = {}
    #: The ways whose last attempt failed: ``mail``, and those of channels.
    failing_ways: Mapping[str, FailingWay] = {}

    def __post_init__(self) -> None:
        """Raise ValueError if it holds what nothing of ours writes."""
        check_moments(self.began_at, self.ended_at, self.skipped_at)
        check_moments(self.settings_failing_since, self.blind_since)
        check_moments(*(message.since for message in self.deferred))
        check_moments(*(message.due_at for message in self.deferred))

"""Silence without going blind: mutes, acknowledgements and maintenance windows.

While one is in force, a job is checked as before and its alerts are held back.  People
ask for mutes and acknowledgements by requests, which the next run applies; windows are
sections of the settings.  What each means for an alert is decided in
``lib/core/policy.py``.
Pure functions of values; the stories are in ``tests/unit/core/test_silences.py``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Protocol

import msgspec
from msgspec.structs import replace

from lib.core import schedule
from lib.core.encoding import Moment, Seconds, Stored, check_moments
from lib.core.enums import Decision
from lib.core.jobs import Job, JobKey, is_named
from lib.core.records import Acknowledgement, Record
from lib.core.text import TimeText, in_zone

#: The longest mute; what is to be silent for longer is switched off.
MAX_MUTE = timedelta(days=30)
#: How many windows that begin before the one before them ends are followed.
MAX_OVERLAP = 100
#: The most mutes in force; when there are more, those that end first are dropped.
MAX_MUTES = 250


class Scope(Stored, frozen=True):
    """Which jobs are meant: those of a name or a shell pattern, and those of a tag."""

    patterns: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()

    def includes(self, key: JobKey, name: str, tags: Iterable[str] = ()) -> bool:
        """Return whether a job is meant."""
        return any(is_named(pattern, key, name) for pattern in self.patterns) or (
            bool(self.tags) and not set(self.tags).isdisjoint(tags)
        )

    def following(self, before: JobKey, now: JobKey) -> Scope:
        """Return a scope that means a target by its new name, if it did by the old."""
        meant = self.includes(before, before.identity)
        if not meant or self.includes(now, now.identity):
            return self
        return replace(self, patterns=(*self.patterns, now.identity))

    def words(self, names: Mapping[str, str]) -> str:
        """Return it for people; ``names`` are those of jobs, by their keys as text."""
        patterns = (names.get(pattern, pattern) for pattern in self.patterns)
        return ", ".join((*patterns, *(f"tag {tag}" for tag in self.tags)))

    def __str__(self) -> str:
        return self.words({})


class NamedJob(Protocol):
    """A job that may be meant."""

    @property
    def key(self) -> JobKey: ...

    @property
    def name(self) -> str: ...

    @property
    def tags(self) -> tuple[str, ...]: ...


class Request(Stored, frozen=True, tag_field="request"):
    """What somebody asks of the next run."""

    #: Random; a request of the same id is applied once.
    id: str
    at: Moment
    scope: Scope
    #: The login name of who asks, and why.
    who: str = ""
    why: str = ""


class Mute(Request, frozen=True, tag="mute"):
    """No alert of these jobs leaves until then."""

    until: Moment = datetime.min.replace(tzinfo=UTC)
    #: The jobs that were unmuted since.
    lifted: tuple[Scope, ...] = ()

    def __post_init__(self) -> None:
        """Raise ValueError if a time does not exist in every time zone."""
        check_moments(self.at, self.until)

    def covers(self, key: JobKey, name: str, tags: Iterable[str] = ()) -> bool:
        """Return whether a job is muted by it, unless it is over."""
        if not self.scope.includes(key, name, tags):
            return False
        return not any(scope.includes(key, name, tags) for scope in self.lifted)

    def following(self, before: JobKey, now: JobKey) -> Mute:
        """Return a mute that holds for a renamed target what it held before."""
        lifted = tuple(scope.following(before, now) for scope in self.lifted)
        return replace(self, scope=self.scope.following(before, now), lifted=lifted)


class Unmute(Request, frozen=True, tag="unmute"):
    """The mutes and acknowledgements of these jobs end."""


class Acknowledge(Request, frozen=True, tag="acknowledge"):
    """Somebody knows that these jobs are failing: no reminder until it is over."""


class CheckNow(Request, frozen=True, tag="check"):
    """Somebody wants these jobs to be checked in the next run, due or not."""


AnyRequest = Mute | Unmute | Acknowledge | CheckNow


class Window(Stored, frozen=True):
    """A maintenance window, ``[maintenance NAME]``."""

    name: str
    scope: Scope
    #: Once, as a moment in ISO 8601; or again and again, as a cron expression.
    start: str
    length_s: Seconds

    def began_at(self, now: datetime, zone: tzinfo | None) -> datetime | None:
        """Return when the window that is open now began; None if none is.

        An hour of it is 60 minutes, also in the nights in which clocks are changed.
        """
        before = in_zone(now, UTC) - timedelta(seconds=self.length_s)
        if " " in self.start:
            start = schedule.next_after(self.start, before, zone)
        else:
            start = in_zone(datetime.fromisoformat(self.start), UTC)
        return start if start and before < start <= in_zone(now, UTC) else None

    def ends_at(self, start: datetime, now: datetime, zone: tzinfo | None) -> datetime:
        """Return when the window that began then ends, or a later one that is open."""
        length = timedelta(seconds=self.length_s)
        for _ in range(MAX_OVERLAP if " " in self.start else 0):
            later = schedule.next_after(self.start, start, zone)
            if later is None or later > now:
                break
            start = later
        return start + length


class Held(msgspec.Struct, frozen=True):
    """Why the alerts of a job are held back, by whom and until when."""

    code: Decision
    #: Who muted or acknowledged it; the name of the maintenance window.
    by: str = ""
    #: None: until the failure is over, or gets worse.
    until: datetime | None = None
    why: str = ""

    def words(self, time_text: TimeText) -> str:
        """Return it for people: ``muted until 14:00 by ann: deploy``."""
        words = str(self.code)
        if self.code.is_about_the_way:
            return f"{words}: {self.by}"
        if self.code is Decision.MAINTENANCE:
            words = f"in the maintenance window {self.by}"
        if self.until is not None:
            words += f" until {time_text(self.until)}"
        if self.by and self.code is not Decision.MAINTENANCE:
            words += f" by {self.by}"
        return f"{words}: {self.why}" if self.why else words


class Silences(msgspec.Struct, frozen=True):
    """The mutes and the maintenance windows that count now."""

    mutes: tuple[Mute, ...] = ()
    windows: tuple[Window, ...] = ()
    #: The zone of the windows; None: that of this machine.
    zone: tzinfo | None = None
    #: The jobs that could not be reached, and what for has not changed.
    out_of_reach: frozenset[JobKey] = frozenset()

    def holding(
        self, key: JobKey, name: str, tags: Iterable[str], now: datetime
    ) -> Held | None:
        """Return what holds the alerts of a job back.

        A window comes first, since its time is left out of uptime; then the longest
        mute.
        """
        return self.window(key, name, tags, now) or self._mute(key, name, tags, now)

    def window(
        self, key: JobKey, name: str, tags: Iterable[str], now: datetime
    ) -> Held | None:
        """Return the maintenance window that a job is in."""
        for window in self.windows:
            if window.scope.includes(key, name, tags):
                start = window.began_at(now, self.zone)
                if start is not None:
                    end = window.ends_at(start, now, self.zone)
                    return Held(Decision.MAINTENANCE, window.name, end)
        return None

    def _mute(
        self, key: JobKey, name: str, tags: Iterable[str], now: datetime
    ) -> Held | None:
        mutes = [
            mute
            for mute in self.mutes
            if mute.until > now and mute.covers(key, name, tags)
        ]
        if not mutes:
            return None
        mute = max(mutes, key=lambda mute: mute.until)
        return Held(Decision.MUTED, mute.who, mute.until, mute.why)

    def code(self, job: Job, now: datetime) -> Decision | None:
        """Return why the alerts of a job are held back; None if they are not.

        That it is out of reach, the run says when it knows of all jobs.
        """
        held = self.holding(job.key, job.name, job.tags, now)
        return held.code if held else None

    def holding_record(
        self, record: Record, name: str, tags: Iterable[str], now: datetime
    ) -> Held | None:
        """Return the same, or who acknowledged what the job has now.

        Or else why it is out of reach, by its record.
        """
        held = self.holding(record.key, name, tags, now)
        if held is None and record.in_the_way is not None:
            return Held(record.in_the_way, record.held_by)
        known = record.acknowledged
        if held is None and known is not None and known.covers(record.status):
            return Held(Decision.ACKNOWLEDGED, known.who, None, known.why)
        return held


def has_ended(
    record: Record,
    name: str,
    tags: Iterable[str],
    silences: Silences | None,
    now: datetime,
) -> bool:
    """Return whether alerts of a failure were held back, and are not any more.

    Such a job is checked in the next run, whatever its schedule: a daily job that
    failed in a window of each night would never be alerted.
    """
    if record.held is None:
        return False
    silences = silences or Silences()
    if record.is_out_of_reach:
        return record.key not in silences.out_of_reach
    return silences.holding_record(record, name, tags, now) is None


# Requests.


def with_request(
    mutes: tuple[Mute, ...],
    request: AnyRequest,
    now: datetime,
    jobs: Collection[NamedJob] = (),
) -> tuple[Mute, ...]:
    """Return the mutes in force after a request; ``jobs`` are those that are known."""
    if isinstance(request, Mute):
        others = tuple(
            mute
            for mute in mutes
            if mute.id != request.id and mute.scope != request.scope
        )
        mutes = (*others, request)
    elif isinstance(request, Unmute):
        lifted = (_lifted(mute, request, jobs) for mute in mutes)
        mutes = tuple(mute for mute in lifted if mute is not None)
    return in_force(mutes, now)


def _lifted(mute: Mute, request: Unmute, jobs: Iterable[NamedJob]) -> Mute | None:
    """Return a mute without the jobs of a request; None if none of them is left."""
    if request.at < mute.at or request.scope in mute.lifted:
        return mute
    muted = [job for job in jobs if mute.covers(job.key, job.name, job.tags)]
    left = [
        job for job in muted if not request.scope.includes(job.key, job.name, job.tags)
    ]
    if muted and len(left) == len(muted):
        return mute
    if muted and not left:
        return None
    return replace(mute, lifted=(*mute.lifted, request.scope))


def in_force(mutes: Iterable[Mute], now: datetime) -> tuple[Mute, ...]:
    """Return the mutes that are not over, no longer than a mute may be.

    One that ends later than that was made before the clock was set back.
    """
    latest = now + MAX_MUTE
    left = [
        replace(mute, until=min(mute.until, latest))
        for mute in mutes
        if mute.until > now and mute.scope not in mute.lifted
    ]
    return tuple(sorted(left, key=lambda mute: (mute.until, mute.id))[-MAX_MUTES:])


def with_acknowledgement(
    record: Record, name: str, tags: Iterable[str], request: AnyRequest
) -> Record:
    """Return a job's record after a request: acknowledged, or not any more.

    Only what began before somebody asked: the next failure is another one.
    """
    if not request.scope.includes(record.key, name, tags):
        return record
    known = record.acknowledged
    if isinstance(request, Unmute):
        is_ended = known is not None and known.at <= request.at
        return replace(record, acknowledged=None) if is_ended else record
    is_new = known is None or known.at < request.at
    if isinstance(request, Acknowledge) and is_new and may_acknowledge(record, request):
        acknowledgement = Acknowledgement(
            record.status, request.at, request.who, request.why
        )
        return replace(record, acknowledged=acknowledgement)
    return record


def may_acknowledge(record: Record, request: AnyRequest) -> bool:
    """Return whether a job has what somebody could have meant when they asked."""
    return record.since is not None and record.since <= request.at

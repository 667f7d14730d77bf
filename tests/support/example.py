"""An instance as its admin might have it, for the pictures of README.

Its state is written as runs write it: a shop is down, a disk is rather full, and all
the rest is well.  Nothing of it is asked, and each host is example.com's.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from lib.core.decisions import Entry, Event, MailDetails, People
from lib.core.enums import JobFrequency, MessageKind, Status
from lib.core.jobs import KIND_FILES, CatalogEntry, JobKey
from lib.core.records import Record, RunRecord
from lib.core.results import Threshold, Unit, Value
from lib.storage import historylog
from lib.storage.auditlog import AuditLog
from lib.storage.history import Result
from lib.storage.store import State
from tests.support.instance import Instance

#: When it is looked at.
NOW = datetime(2026, 11, 22, 12, 0, 20, tzinfo=UTC)
SETTINGS = """\
[email]
smtpserver = smtp.example.com
imapserver = imap.example.com
user = ops@example.com
pass = the password
[page]
title = Status of example.com
token = 0123456789abcdef
"""
SHOP, DISK = JobKey("HTTPServerChecker", "http shop"), JobKey("DiskSpace", "disk root")
PROVER = JobKey("EmailChecker", "EmailChecker")
#: The shop began to fail, and the disk is fuller than it should be, for so long.
DOWN_FOR = timedelta(minutes=30, seconds=19)
FULL_FOR = timedelta(hours=7, minutes=50, seconds=19)
REASON = "503 Service Unavailable, expected 200"
DISK_USED = 84
DAY = timedelta(days=1)


class Example(NamedTuple):
    """A job, and the value that says most of it."""

    title: str
    tag: str
    value: str
    unit: Unit
    usual: float
    #: How much of it comes and goes within a day, and at random.
    wave: float = 0.0
    noise: float = 0.0
    warn: Threshold | None = None
    fail: Threshold | None = None

    @property
    def key(self) -> JobKey:
        return JobKey(KIND_FILES.get(self.title.split()[0], self.title), self.title)

    def number(self, at: datetime) -> float:
        """Return its value at a time."""
        wave = self.wave * math.sin((at.hour + at.minute / 60 - 9) / 12 * math.pi)
        noise = self.noise * random.Random(f"{self.title} {at}").uniform(-1, 1)
        number = self.usual + wave + noise
        return round(number, 2 if self.unit is Unit.COUNT else 4)


def over(high: float) -> Threshold:
    return Threshold(high=high)


SECONDS = Unit.SECONDS
JOBS = (
    Example("http shop", "web", "time", SECONDS, 0.21, 0.08, 0.05, fail=over(2)),
    Example("http homepage", "web", "time", SECONDS, 0.09, 0.03, 0.02, fail=over(2)),
    Example("dns example.com", "web", "time", SECONDS, 0.012, 0.002, 0.004),
    Example("tls example.com", "web", "days", Unit.COUNT, 62, fail=Threshold(low=7)),
    Example(
        "disk root",
        "machine",
        "used",
        Unit.PERCENT,
        DISK_USED,
        warn=over(80),
        fail=over(90),
    ),
    Example("load", "machine", "load5", Unit.COUNT, 0.9, 0.5, 0.3, fail=over(8)),
    Example("heartbeat backup", "machine", "took", SECONDS, 840, 0, 60),
    Example("EmailChecker", "", "delivery", SECONDS, 7.5, 0, 3),
)
#: The days ago on whose mornings a job was failing.
BAD_DAYS = {"http shop": (61, 19), "http homepage": (40,), "heartbeat backup": (33,)}


def instance_in(folder: Path) -> Instance:
    """Return an instance with what 90 days of runs leave behind."""
    instance = Instance(folder, SETTINGS)
    state = State(instance.state)
    state.save([_shop(), _disk(), _prover()])
    ended = NOW - timedelta(seconds=18)
    run = RunRecord(
        began_at=ended - timedelta(seconds=2),
        ended_at=ended,
        last_runs={frequency: ended.isoformat() for frequency in JobFrequency},
        jobs=len(JOBS),
        ran=len(JOBS),
        failing=1,
        warning=1,
        proof=_proof(),
    )
    state.save_run(run)
    keys = {job.key: None for job in JOBS}
    state.save_catalog({job.key: _entry(job) for job in JOBS})
    values = {job.key: {job.value: _value(job)} for job in JOBS}
    state.save_values(values, keys, {}, set(keys))
    for at, holds_s in _times():
        results = [_result(job, at, holds_s) for job in JOBS]
        historylog.record(instance.state, UTC, at.timestamp(), results)
    log = AuditLog(instance.state, ())
    log.note([_alert(SHOP, DOWN_FOR), _alert(DISK, FULL_FOR)])
    log.write()
    return instance


def _times() -> Iterator[tuple[datetime, float]]:
    """Yield when it was checked, and for how many seconds a result holds.

    Twice a day, and in the last 30 hours each 10 minutes: enough for all that is shown.
    """
    at = NOW.replace(second=1) - 90 * DAY
    while at < NOW:
        is_recent = NOW - at <= timedelta(hours=30)
        step = timedelta(minutes=10) if is_recent else timedelta(hours=12)
        yield at, 1.1 * step.total_seconds()
        at += step


def _result(job: Example, at: datetime, holds_s: float) -> Result:
    ago = NOW - at
    status, reason, values = Status.OK, "", {job.value: job.number(at)}
    is_down = job.key == SHOP and ago <= DOWN_FOR
    if is_down or (ago.days in BAD_DAYS.get(job.title, ()) and at.hour < 12):
        status, reason = Status.FAILING, REASON
    elif job.key == DISK:
        # It fills up; it was tidied up a day and a half ago.
        used = max(61, DISK_USED - ago // timedelta(hours=2))
        values = {job.value: used}
        if used > 80:
            status, reason = Status.WARNING, f"used is {used}%, over warn_percent = 80%"
    return Result.of(job.key, status, "", 0.08, values, reason, b"{}", holds_s)


def _value(job: Example) -> Value:
    return Value(job.number(NOW), job.unit, job.warn, job.fail)


def _entry(job: Example) -> CatalogEntry:
    tags = (job.tag,) if job.tag else ()
    return CatalogEntry(job.title, job.key.file, "minute", judged=True, tags=tags)


def _shop() -> Record:
    return Record(
        SHOP,
        SHOP.identity,
        Status.FAILING,
        failures=31,
        failing_since=NOW - DOWN_FOR,
        notified_at=NOW - DOWN_FOR + timedelta(minutes=2),
        notified=("ops@example.com",),
        notified_status=Status.FAILING,
        last_reason=REASON,
    )


def _disk() -> Record:
    since = NOW - FULL_FOR
    return Record(
        DISK,
        DISK.identity,
        Status.WARNING,
        warnings=471,
        warning_since=since,
        notified_at=since,
        notified=("ops@example.com",),
        notified_status=Status.WARNING,
        last_reason="used is 84%, over warn_percent = 80%",
    )


def _proof() -> Mapping[str, object]:
    return {
        "proved_at": (NOW - timedelta(minutes=12)).isoformat(),
        "result": "arrived after 7 seconds",
    }


def _prover() -> Record:
    return Record(PROVER, PROVER.identity, memory={"proof": _proof()})


def _alert(key: JobKey, ago: timedelta) -> Entry:
    details = MailDetails(
        "1",
        MessageKind.ALERT,
        People(("ops@example.com",)),
        f"{key.identity} is failing",
    )
    at = NOW - ago + timedelta(minutes=2)
    return Entry(at, key, key.identity, Event.SENT, details)

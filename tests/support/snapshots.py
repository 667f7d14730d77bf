"""Snapshots of state as the page is made of them: few jobs or many, in every status."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

from msgspec.structs import replace

from lib.core.announcements import Announcement, Level
from lib.core.decisions import Event
from lib.core.enums import Decision, Status
from lib.core.jobs import CatalogEntry, JobKey
from lib.core.records import Record, RunRecord
from lib.core.results import Threshold, Unit, Value
from lib.core.settings import Mail, Page, Settings
from lib.report.graphs import FINE, Series, day_names
from lib.report.incidents import Incident, Sending
from lib.report.page import JobStory
from lib.report.snapshot import Snapshot
from lib.storage.history import Row, Share

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
HTTP = "HTTPServerChecker"
DAY = 86_400.0
#: A name and a reason that nobody should ever see run.
HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7*7 }}\x1b[31m"


def settings(page: Page | None = None, **more: object) -> Settings:
    """Return settings of a server web1 that cannot send mail."""
    given: dict[str, object] = {
        "path": Path("settings.cfg"),
        "servername": "web1",
        "alertcontact": ("ops@example.com",),
        "logfile": Path("log"),
        "state": Path("state"),
        "mail": Mail(nomail=True),
        "zone": UTC,
        "page": page or Page(),
    }
    return Settings(**{**given, **more})  # type: ignore[arg-type]


def snapshot(jobs: int = 3, **more: object) -> Snapshot:
    """Return a snapshot of so many jobs that are OK, with 90 days and 24 hours each."""
    keys = [JobKey(HTTP, f"http shop-{number:04}") for number in range(jobs)]
    names = day_names(NOON.date())
    values = {
        "time": Value(0.08, Unit.SECONDS, fail=Threshold(high=2.0)),
        "days": Value(60.0, Unit.COUNT, Threshold(low=30.0), Threshold(low=7.0)),
    }
    given = {
        "run": RunRecord(
            began_at=NOON - timedelta(seconds=1.5), ended_at=NOON, jobs=jobs, ran=jobs
        ),
        "catalog": {key: entry(key, number) for number, key in enumerate(keys)},
        "values": dict.fromkeys(keys, values),
        "latest": {key: row() for key in keys},
        "days": {key: days_of(number, names) for number, key in enumerate(keys)},
        "series": {key: (series(number),) for number, key in enumerate(keys)},
    }
    return Snapshot(settings(), NOON, **{**given, **more})  # type: ignore[arg-type]


def entry(key: JobKey, number: int = 0, **more: object) -> CatalogEntry:
    """Return what the catalog has of a job, in one of ten groups."""
    given: dict[str, object] = {"judged": True, "tags": (f"group-{number % 10}",)}
    return CatalogEntry(
        key.identity, key.file, "minute", **{**given, **more}  # type: ignore[arg-type]
    )


def row(at: float = 1_795_348_800.0, **more: object) -> Row:
    """Return a result that took 80 milliseconds."""
    given = {"status": Status.OK, "code": "", "seconds": 0.08, "values": {}}
    given |= {"reason": "", "policy": "", "holds_s": 150.0}
    return Row(at, **{**given, **more})  # type: ignore[arg-type]


def days_of(number: int, names: list[str]) -> dict[str, Share]:
    """Return 90 days, with a bad hour each week or so."""
    return {
        name: (
            Share(ok=DAY - 3600, failing=3600)
            if (place * 7 + number * 13) % 61 == 0
            else Share(ok=DAY)
        )
        for place, name in enumerate(names)
    }


def series(number: int, name: str = "time") -> Series:
    """Return the response times of a day: a wave, noise, and a peak."""
    points = [
        0.08 + 0.03 * math.sin(place / 9 + number) + 0.01 * ((place * 37 + number) % 7)
        for place in range(FINE)
    ]
    points[number % FINE] = 1.2
    return Series(name, Unit.SECONDS, tuple(points))


def every_level() -> tuple[Announcement, ...]:
    """Return an announcement of each level, all but one for everybody."""
    hour = timedelta(hours=1)
    text = f"Shop is down.\n{HOSTILE} see https://example.com/{'x' * 90}\"onclick=a"
    plain = tuple(
        Announcement(f"{number}000aaaa", NOON - hour, text, level, who=HOSTILE)
        for number, level in enumerate(Level)
    )
    inside = replace(plain[0], id="9000aaaa", text="Only us", tags=("inside",))
    planned = replace(plain[2], start=NOON + hour, until=NOON + 2 * hour)
    about = replace(plain[1], tags=("group-0", "inside"), changed_at=NOON)
    return (plain[0], about, inside, *plain[3:], planned)


def story_of(snapshot: Snapshot) -> JobStory:
    """Return the last nine minutes of a job, two graphs and all incidents."""
    rows = tuple(row(row().at - 60 * age) for age in range(9, 0, -1))
    return JobStory(rows, (series(1), series(2, HOSTILE)), snapshot.incidents)


def every_status() -> Snapshot:
    """Return a snapshot with a job in each status, with hostile and long names."""
    found = snapshot(3)
    catalog, records = dict(found.catalog), {}
    for number, (status, more) in enumerate(
        [
            (Status.FAILING, {"failures": 3, "last_reason": f"503: {HOSTILE}\nat all"}),
            (Status.UNKNOWN, {"failures": 1, "last_reason": "no route"}),
            (Status.WARNING, {"warnings": 2, "last_reason": "time is 1.5s"}),
            (Status.OK, {"pending_since": NOON - timedelta(minutes=1)}),
            (Status.FAILING, {"held": Decision.UNREACHABLE, "held_by": "ping gate"}),
            (Status.FAILING, {"held": Decision.BLIND}),
        ]
    ):
        key = JobKey("Own", f"{status} {number} {HOSTILE if number == 0 else ''}")
        catalog[key] = entry(key, number, runbook="javascript:alert(3)")
        since = NOON - timedelta(minutes=40)
        if status.is_failure:
            more["failing_since"] = since
        elif status is Status.WARNING:
            more["warning_since"] = since
        records[key] = Record(key, key.identity, status, **more)
    long = JobKey("Own", "http " + "a-very-long-name-without-any-space" * 8)
    catalog[long] = entry(long, tags=(), runbook="https://example.com/runbook")
    new = JobKey("Own", "new one")
    catalog[new] = entry(new, judged=False)
    off = JobKey("Own", "switched off")
    catalog[off] = entry(off, enabled=False)
    first = next(iter(records))
    sending = Sending(NOON, Event.SENT, f"alert to ops@example.com was sent: {HOSTILE}")
    incident = Incident(
        first,
        NOON - timedelta(minutes=40),
        None,
        Status.FAILING,
        HOSTILE,
        sendings=(sending, replace(sending, proved_at=NOON)),
    )
    return replace(
        found,
        catalog=catalog,
        records=records,
        incidents=(incident, replace(incident, ended_at=NOON, sendings=())),
        announcements=every_level(),
    )


class Recorder:
    """Notes what each template gets, and makes no page."""

    def __init__(self):
        self.facts = {}

    def text_of(self, name):
        return None

    def render(self, name, facts):
        self.facts[name] = facts
        return None

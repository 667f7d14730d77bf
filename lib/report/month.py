"""-m report: a month of all jobs, for people who ask how it went.

``report`` reads state/, and what follows from it are functions of values: ``data`` for
JSON, ``job_rows`` and ``outage_rows`` for tables, ``csv_text``, ``html``.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta, tzinfo
from functools import partial
from itertools import pairwise, zip_longest
from operator import sub
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from lib.core.decisions import Entry, delivery_of
from lib.core.enums import DeliveryResult, Status
from lib.core.jobs import JobKey
from lib.core.records import Record
from lib.core.results import Unit, amount_words
from lib.core.text import (
    counted,
    duration,
    offset_words,
    table_time,
    utc,
    zone_words,
)
from lib.report.glance import alerts_in
from lib.report.rows import WORDS
from lib.report.uptime import (
    Outage,
    left_out_words,
    midnights,
    month_days,
    notified_after,
    outages,
    percent_words,
    removed_at,
)
from lib.storage import auditlog
from lib.storage.history import TIMES, Change, History, Row, Share, share_of
from lib.storage.historynames import Names

JOB_COLUMNS = (
    "job",
    "uptime",
    "outages",
    "failing",
    "longest",
    "notified_after",
    "slowest",
    "not_counted",
)
OUTAGE_COLUMNS = ("began", "job", "lasted", "notified_after", "reason")
#: How many outages a table shows, the longest; CSV and JSON have all.
MAX_OUTAGES = 20
#: History has nothing before; some zones have no time long before it.
_FIRST_MONTH = date(1971, 1, 1)
NOT_KNOWN = "not known"
_TEMPLATES = Path(__file__).parent / "templates"


class Period(NamedTuple):
    """A month, or what has passed of it."""

    #: ``2026-11``.
    month: str
    days: Sequence[date]
    #: Where the days begin, and where the time ends.
    edges: Sequence[float]
    is_over: bool

    @property
    def length_s(self) -> float:
        """Return how long it is."""
        return self.edges[-1] - self.edges[0]


class Told(NamedTuple):
    """An outage, and when people were notified of it."""

    outage: Outage
    #: How many seconds after its begin the first alert left; None: none did.
    after_s: float | None
    #: Whether the audit log reaches back to its begin.
    is_known: bool


class JobMonth(NamedTuple):
    """The month of one job."""

    key: JobKey
    name: str
    #: It does not exist any more.
    is_gone: bool
    share: Share
    outages: Sequence[Told]
    #: How many seconds the slowest check took, and when that was; None: there is none.
    slowest: tuple[float, float] | None

    @property
    def mean_after_s(self) -> float | None:
        """Return how long people waited on average; None: nobody was notified."""
        known = [one.after_s for one in self.outages if one.after_s is not None]
        return sum(known) / len(known) if known else None


class Report(NamedTuple):
    """A month of all jobs, the lowest uptime first."""

    period: Period
    jobs: Sequence[JobMonth]

    @property
    def share(self) -> Share:
        """Return the time of all jobs."""
        return sum((job.share for job in self.jobs), Share())


def period_of(text: str, now: datetime, zone: tzinfo | None) -> Period:
    """Return the month that is meant: ``2026-11``, ``this`` or ``last``.

    Raise ValueError if there is none, or it has not begun.
    """
    from lib.core.text import in_zone

    today = in_zone(now, zone).date()
    first = today.replace(day=1)
    if text == "last":
        first = (first - timedelta(days=1)).replace(day=1)
    elif text != "this":
        try:
            first = datetime.strptime(text, "%Y-%m").date()
            if first < _FIRST_MONTH:
                raise ValueError
            month_days(first.year, first.month)
        except ValueError:
            raise ValueError(
                f"--month {text[:20]!r}: expected a month such as 2026-11, from "
                "1971-01 on, this or last"
            ) from None
    if first > today:
        raise ValueError(f"--month {text}: that has not begun yet")
    days = [day for day in month_days(first.year, first.month) if day <= today]
    edges, end = midnights(days, zone), now.timestamp()
    is_over = edges[-1] <= end
    if not is_over:
        edges[-1] = max(edges[-2], end)
    return Period(f"{first:%Y-%m}", days, edges, is_over)


def report(
    history: History,
    audit: Path,
    names: Mapping[JobKey, str],
    period: Period,
    *,
    disabled: Collection[JobKey] = (),
    records: Mapping[JobKey, Record] = MappingProxyType({}),
) -> Report:
    """Return the month of the jobs that exist, and of those that were removed since.

    ``audit`` is the folder of the audit log, ``names`` has what counts as a job now, of
    which some may be ``disabled``.  Of something else that was not OK, such as a
    section of the settings, there is no more once it is mended.
    """
    begin, end = period.edges[0], period.edges[-1]
    bars = history.days(None, len(period.days), end - 1)
    changes: dict[JobKey, list[Change]] = {}
    for change in history.changes(None, 0, end):
        changes.setdefault(change.key, []).append(change)
    gone = {
        key
        for key, of_job in changes.items()
        if (key not in names or key in disabled) and of_job[-1].status is not Status.OK
    }
    latest = history.latest()
    removed = removals(latest, audit, gone, records)
    last_run = max((row.at for row in latest.values()), default=0.0)
    for key in removed.keys() & bars.keys() & latest.keys():
        bars[key] = _up_to(removed[key], bars[key], latest[key], last_run, period)
    found = {
        key: outages(
            changes.get(key, ()),
            period.edges,
            _failing(bars.get(key, {}), period.days),
            removed.get(key),
        )
        for key in {*names, *(key for key in bars if key.is_check)}
    }
    failed = {key for key, them in found.items() if them}
    sent = _sent(audit, failed, history.names)
    reaches = auditlog.reaches_back_to(audit)
    known_from = reaches.timestamp() if reaches else 0.0
    slowest = history.slowest(found, begin, end)
    jobs = [
        JobMonth(
            key,
            names.get(key) or key.identity or str(key),
            key not in names,
            _whole(sum(bars.get(key, {}).values(), Share()), period.length_s),
            list(_told(found[key], sent.get(key, ()), known_from)),
            slowest.get(key),
        )
        for key in found
    ]
    return Report(period, sorted(jobs, key=_order))


def removals(
    latest: Mapping[JobKey, Row],
    audit: Path,
    keys: Collection[JobKey],
    records: Mapping[JobKey, Record],
) -> dict[JobKey, float]:
    """Return when these jobs, which are no longer checked, were removed.

    ``latest`` has their last results.
    """
    entries: dict[JobKey, list[Entry]] = {}
    if keys:
        for entry in auditlog.read_entries(audit, lambda key, _name: key in keys):
            entries.setdefault(entry.key, []).append(entry)
    found = {
        key: removed_at(records.get(key), entries.get(key, ()), latest.get(key))
        for key in keys
    }
    return {key: at for key, at in found.items() if at is not None}


def _order(job: JobMonth) -> tuple[float, bool, str, JobKey]:
    uptime = job.share.uptime
    return (2.0 if uptime is None else uptime), not job.outages, job.name, job.key


def _failing(bars: Mapping[str, Share], days: Iterable[date]) -> list[float]:
    nothing = Share()
    return [bars.get(day.isoformat(), nothing).failing for day in days]


def _up_to(
    removed: float,
    bars: Mapping[str, Share],
    last: Row,
    last_run: float,
    period: Period,
) -> dict[str, Share]:
    """Return the days of a job without the time for which its last result stands on.

    They are counted up to the last run of any job.
    """
    found = dict(bars)
    for day, edges in zip(period.days, pairwise(period.edges), strict=True):
        name, begin, end = day.isoformat(), max(edges[0], removed), edges[1]
        if name in found and min(end, last_run) > begin:
            after = share_of([last], begin, min(end, last_run))._replace(nothing=0.0)
            found[name] = Share(*map(sub, found[name], after))
    return found


def _whole(share: Share, length_s: float) -> Share:
    """Return the time of a job, with that of days without any result."""
    return share._replace(nothing=share.nothing + max(0.0, length_s - sum(share)))


def _sent(
    audit: Path, keys: Collection[JobKey], names: Names
) -> dict[JobKey, list[float]]:
    """Return when alerts about these jobs were sent; with nomail none was."""
    found: dict[JobKey, list[float]] = {}
    if keys:
        wanted = {part.key for key in keys for part in names.parts(key)}
        entries = auditlog.read_entries(audit, lambda key, _name: str(key) in wanted)
        for entry, _people in alerts_in(entries):
            if delivery_of(entry) is DeliveryResult.SENT:
                at = entry.at.timestamp()
                found.setdefault(names.owner(entry.key, at), []).append(at)
    return {key: sorted(moments) for key, moments in found.items()}


def _told(
    them: Sequence[Outage], sent: Sequence[float], known_from: float
) -> Iterator[Told]:
    for outage, following in zip_longest(them, them[1:]):
        next_began = following.began if following else math.inf
        after_s = notified_after(outage, sent, next_began)
        yield Told(outage, after_s, outage.began >= known_from)


# In words.


def headline(found: Report, zone: tzinfo | None) -> str:
    """Return the month in a line."""
    share, period = found.share, found.period
    count = sum(len(job.outages) for job in found.jobs)
    until = ""
    if not period.is_over:
        end = utc(period.edges[-1])
        until = f" until {table_time(end, zone, end)}"
    words = f"{period.month}{until}: {counted(len(found.jobs), 'job')}"
    words += f", uptime {percent_words(share.uptime) or 'not known'}"
    those = [one.outage for job in found.jobs for one in job.outages]
    total = _total_words(share.failing, those)
    lasted = f", failing for {total} in all" if count else ""
    if total == NOT_KNOWN:
        lasted = f", of a length that is {NOT_KNOWN}"
    return f"{words}, {counted(count, 'outage')}{lasted}."


def job_rows(found: Report, zone: tzinfo | None) -> list[dict[str, Any]]:
    """Return a row per job, the lowest uptime first: as data, and in words."""
    now = utc(found.period.edges[-1])
    return [
        _job_row(job, partial(table_time, zone=zone, now=now)) for job in found.jobs
    ]


def _job_row(job: JobMonth, time_text: Any) -> dict[str, Any]:
    lengths = [_known_s(one.outage) for one in job.outages]
    known = [seconds for seconds in lengths if seconds is not None]
    not_notified = sum(one.is_known and one.after_s is None for one in job.outages)
    return {
        "job": job.name,
        "key": str(job.key),
        "exists": not job.is_gone,
        "uptime": job.share.uptime,
        "time_s": dict(zip(TIMES, job.share, strict=True)),
        "longest_s": max(known, default=None),
        "notified_after_s": job.mean_after_s,
        "not_notified": not_notified,
        "slowest_s": job.slowest[0] if job.slowest else None,
        "slowest_at": utc(job.slowest[1]) if job.slowest else None,
        "outages": [
            {
                "began_at": utc(one.outage.began),
                "ended_at": (
                    None if one.outage.ended is None else utc(one.outage.ended)
                ),
                "failing_s": seconds,
                "held": one.outage.held or None,
                "reason": one.outage.reason,
                "notified": one.after_s is not None if one.is_known else None,
                "notified_after_s": one.after_s,
            }
            for one, seconds in zip(job.outages, lengths, strict=True)
        ],
        WORDS: {
            "job": f"{job.name} (removed)" if job.is_gone else job.name,
            "uptime": percent_words(job.share.uptime),
            "outages": str(len(lengths)) if lengths else "",
            "failing": _failing_words(job),
            "longest": _longest_words(job),
            "notified_after": _mean_words(job, not_notified),
            "slowest": _slowest_words(job, time_text),
            "not_counted": left_out_words(job.share),
        },
    }


def _failing_words(job: JobMonth) -> str:
    if not job.outages:
        return ""
    return _total_words(job.share.failing, [one.outage for one in job.outages])


def _total_words(seconds: float, those: Iterable[Outage]) -> str:
    """Return how long outages lasted in all, as far as that is known."""
    if all(map(_is_length_known, those)):
        return _words(seconds)
    return f"{_words(seconds)} and more" if seconds else NOT_KNOWN


def _longest_words(job: JobMonth) -> str:
    those = [one.outage for one in job.outages]
    if not those:
        return ""
    words = _length_words(max(those, key=_seconds_of))
    is_more = words != NOT_KNOWN and not all(map(_is_length_known, those))
    return f"at least {words}" if is_more else words


def _mean_words(job: JobMonth, not_notified: int) -> str:
    mean = job.mean_after_s
    words = [] if mean is None else [_words(mean)]
    if not_notified:
        words.append(f"{not_notified} not notified")
    return ", ".join(words)


def _slowest_words(job: JobMonth, time_text: Any) -> str:
    if job.slowest is None:
        return ""
    seconds, at = job.slowest
    return f"{amount_words(seconds, Unit.SECONDS)} at {time_text(utc(at))}"


def outage_rows(found: Report, zone: tzinfo | None) -> list[dict[str, Any]]:
    """Return a row per outage, the longest first."""
    now = utc(found.period.edges[-1])
    pairs = [(one, job) for job in found.jobs for one in job.outages]
    pairs.sort(key=lambda pair: (-pair[0].outage.seconds, pair[0].outage.began))
    return [
        {
            "began": table_time(utc(one.outage.began), zone, now),
            "job": job.name,
            "lasted": _lasted_words(one.outage, found.period),
            "notified_after": _told_words(one),
            "reason": one.outage.reason,
        }
        for one, job in pairs
    ]


def began_heading(found: Report, zone: tzinfo | None) -> str:
    """Return the heading of ``began``: with the offset of rows that name none."""
    return f"began {offset_words(zone, utc(found.period.edges[-1]))}"


def _lasted_words(outage: Outage, period: Period) -> str:
    words = _length_words(outage)
    if outage.began < period.edges[0]:
        words += " of this month"
    is_over = outage.ended is not None and outage.ended <= period.edges[-1]
    if is_over:
        return words
    # What came after a month that is over is in the report of the next one.
    return f"{words}, not over by its end" if period.is_over else f"{words}, not over"


def _seconds_of(outage: Outage) -> float:
    return outage.seconds


def _length_words(outage: Outage) -> str:
    """Return how long an outage is known to have lasted."""
    return _words(outage.seconds) if _is_length_known(outage) else NOT_KNOWN


def _known_s(outage: Outage) -> float | None:
    """Return the same in seconds; None: it is not known."""
    return outage.seconds if _is_length_known(outage) else None


def _is_length_known(outage: Outage) -> bool:
    """Return whether it is; one that is over has lasted for some time.

    Unless alerts were held back: that is time of a maintenance or the like.
    """
    return bool(outage.seconds or outage.held or outage.ended is None)


def _told_words(one: Told) -> str:
    if one.after_s is not None:
        return _words(one.after_s)
    if not one.is_known:
        return "not on record"
    return f"nobody: {one.outage.held}" if one.outage.held else "nobody"


# As data.


def data(found: Report, zone: tzinfo | None) -> dict[str, Any]:
    """Return all of it for --json."""
    period, share = found.period, found.share
    return {
        "month": period.month,
        "since": utc(period.edges[0]),
        "until": utc(period.edges[-1]),
        "complete": period.is_over,
        "time_zone": zone_words(zone, utc(period.edges[-1])).partition(",")[0],
        "uptime": share.uptime,
        "time_s": dict(zip(TIMES, share, strict=True)),
        "outages": sum(len(job.outages) for job in found.jobs),
        "jobs": job_rows(found, zone),
    }


def csv_text(found: Report, zone: tzinfo | None) -> str:
    """Return a line per job, as CSV with a heading; times in seconds and ISO 8601."""
    import csv
    import io

    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    heading: list[str] | None = None
    for row in job_rows(found, zone):
        at = row["slowest_at"]
        time_s = {f"{name}_s": seconds for name, seconds in row["time_s"].items()}
        if row["outages"] and row[WORDS]["failing"] == NOT_KNOWN:
            time_s["failing_s"] = None
        cells = {
            "month": found.period.month,
            "job": row["job"],
            "key": row["key"],
            "uptime": row["uptime"],
            "outages": len(row["outages"]),
            **time_s,
            "longest_s": row["longest_s"],
            "notified_after_s": row["notified_after_s"],
            "not_notified": row["not_notified"],
            "slowest_s": row["slowest_s"],
            "slowest_at": at.isoformat() if at else None,
        }
        if heading is None:
            heading = list(cells)
            writer.writerow(heading)
        writer.writerow(map(_cell, cells.values()))
    return out.getvalue()


def _cell(value: Any) -> Any:
    """Return what a cell holds: no formula, where a spreadsheet would see one."""
    if isinstance(value, float):
        return f"{value:.6g}" if value < 1 else f"{value:.3f}".rstrip("0").rstrip(".")
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@")):
        return f"'{value}"
    return value


def html(found: Report, server: str, zone: tzinfo | None) -> str:
    """Return it as a page in one file, which asks for nothing else."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    shown = [{**row, **row[WORDS]} for row in job_rows(found, zone)]
    return made.get_template("month.html").render(
        title=f"{server}, {found.period.month}",
        headline=headline(found, zone),
        zone=zone_words(zone, utc(found.period.edges[-1])),
        job_columns=[(name, name.replace("_", " ")) for name in JOB_COLUMNS],
        jobs=shown,
        outage_columns=[(name, name.replace("_", " ")) for name in OUTAGE_COLUMNS],
        outages=outage_rows(found, zone),
    )


def _words(seconds: float) -> str:
    return duration(timedelta(seconds=seconds))

"""The table of -m status: how each job is, and how it was in the last 24 hours.

``looks`` reads the history, ``rows`` makes a row per job of that and of the records,
``listed`` does both.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from lib.core import decisions
from lib.core.decisions import Entry, Event, MailDetails
from lib.core.enums import Status
from lib.core.jobs import CatalogEntry, JobKey
from lib.core.records import Record
from lib.core.results import (
    DURATION,
    Unit,
    Value,
    Values,
    amount_words,
    spread_words,
    telling_value,
)
from lib.core.sparkline import sampled, sparkline
from lib.core.text import TimeText, first_line, some_of, table_time
from lib.report.rows import (
    DISABLED,
    MAX_NOTIFIED,
    NOT_SET_UP,
    WORDS,
    checked_at,
    held_row,
    notified_words,
    status_of,
)
from lib.report.uptime import left_out_words, percent_words
from lib.storage import auditlog
from lib.storage.history import TIMES, History, Row, Share

if TYPE_CHECKING:
    from pathlib import Path

    from lib.core.silences import Silences
    from lib.report.snapshot import Snapshot
    from lib.storage.historynames import Names

COLUMNS = (
    "job",
    "status",
    "since",
    "24h",
    "7d",
    "30d",
    "last_24h",
    "alert",
    "not_counted",
    "reason",
)
HEADINGS = {
    "24h": "24 h",
    "7d": "7 d",
    "30d": "30 d",
    "last_24h": "last 24 h",
    "not_counted": "not counted in 24 h",
}
#: The bars of a sparkline: one per hour.
WIDTH = 24
_DAY_S = 86_400.0
_DAY = timedelta(seconds=_DAY_S)
#: What leaves by several ways within so long counts as one alert.
ONE_ALERT = timedelta(minutes=1)


class Look(NamedTuple):
    """What history says of one job."""

    #: How its time was shared.
    day: Share = Share()
    week: Share = Share()
    month: Share = Share()
    #: The value that says most, and its numbers, one per hour; None: there was none.
    name: str = ""
    value: Value | None = None
    numbers: tuple[float | None, ...] = ()


class Alert(NamedTuple):
    """The last alert about a job that left: when, and to whom."""

    at: datetime
    to: tuple[str, ...]
    #: To whom, in words: the first of many, and if that was no mail at all.
    words: str


def looks(
    history: History,
    keys: Collection[JobKey],
    measured: Mapping[JobKey, Values],
    latest: Mapping[JobKey, Row],
    now: datetime,
) -> dict[JobKey, Look]:
    """Return what history says of these jobs up to now; ``latest``: their last rows.

    A week and a month are those of the last 7 and 30 days, today included.
    """
    until = now.timestamp()
    weeks, months = (history.uptimes(keys, days, until) for days in (7, 30))
    shown = {key: _value(measured.get(key, {}), latest.get(key)) for key in keys}
    names = {
        key: name if name in measured.get(key, ()) else None
        for key, (name, _value) in shown.items()
    }
    since, found = until - _DAY_S, {}
    for key, trace in history.traces(names, since, until):
        name, value = shown[key]
        pick = min if value is not None and value.is_low_bad else max
        # Whose value is not known, has none of before.
        moments, numbers = trace.moments, trace.numbers
        if value is None:
            moments = numbers = ()
        found[key] = Look(
            trace.share(since, until),
            weeks.get(key, Share()),
            months.get(key, Share()),
            name,
            value,
            tuple(sampled(moments, numbers, since, until, WIDTH, pick)),
        )
    return found


def _value(values: Values, latest: Row | None) -> tuple[str, Value | None]:
    """Return the value that is shown; the seconds of its check if it has none."""
    name = telling_value(values)
    if name:
        return name, values[name]
    if latest is None:
        return "", None
    return DURATION, Value(latest.seconds, Unit.SECONDS)


def trend(history: History, key: JobKey, values: Values, now: datetime) -> str:
    """Return the last 24 hours of the value that a result is about, as for a mail.

    ``values`` are those of the result, which is not in the history yet.  Empty if none
    of them is outside of its thresholds, or nothing is known of it from before.
    """
    name = telling_value(values)
    if not name or not values[name].is_outside:
        return ""
    value, at = values[name], now.timestamp()
    since = at - _DAY_S
    known = [row for row in history.rows(key, since, at) if name in row.values]
    moments = [*(row.at for row in known), at]
    numbers = [*(row.values[name] for row in known), value.number]
    pick = min if value.is_low_bad else max
    samples = sampled(moments, numbers, since, at + 1, WIDTH, pick)
    shown = [number for number in samples if number is not None]
    if not known or not shown:
        return ""
    ends = spread_words(min(shown), max(shown), value.unit)
    return f"{name} {sparkline(samples)} {ends}"


def last_alerts(
    folder: Path,
    records: Mapping[JobKey, Record],
    keys: Collection[JobKey],
    names: Names,
) -> dict[JobKey, Alert]:
    """Return the last alert of each job that had one, by its record or the audit log.

    The audit log reaches back as far as its two files do.  ``names``: what the jobs
    were called before.
    """
    found = {
        key: Alert(record.notified_at, record.reached, notified_words(record))
        for key in keys
        if (record := records.get(key)) and record.notified_at and record.reached
        # What is queued has not been sent yet; the audit log knows what was.
        and record.reached_at == record.notified_at
    }
    wanted = set(keys) - found.keys()
    if not wanted:
        return found
    alerts: dict[JobKey, list[tuple[Entry, tuple[str, ...]]]] = {}
    entries = auditlog.entries_of(folder, wanted, names)
    for entry, people in alerts_in(entries):
        same = alerts.get(entry.key, [])
        # Each way has an entry of its own.
        if not same or entry.at - same[0][0].at >= ONE_ALERT:
            same = alerts[entry.key] = []
        same.append((entry, people))
    for key, parts in alerts.items():
        people_of = {to: None for _entry, people in parts for to in people}
        words = {to: None for one in parts for to in _marked(*one)}
        some = some_of(tuple(words), MAX_NOTIFIED)
        found[key] = Alert(parts[-1][0].at, tuple(people_of), some)
    return found


def _marked(entry: Entry, people: Iterable[str]) -> tuple[str, ...]:
    result = decisions.delivery_of(entry)
    return decisions.marked(people, result) if result else ()


def alerts_in(entries: Sequence[Entry]) -> Iterator[tuple[Entry, tuple[str, ...]]]:
    """Yield the entries that say that an alert or a reminder left, and to whom.

    So did one for a failure and its end, if an alert had become part of it.
    """
    mails = [
        (entry, details)
        for entry in entries
        if isinstance(details := entry.details, MailDetails)
        and details.kind.is_about_trouble
    ]
    merged = {
        details.into
        for entry, details in mails
        if entry.code is Event.MERGED and not details.kind.ends_trouble
    }
    for entry, details in mails:
        is_alert = not details.kind.ends_trouble or details.message_id in merged
        if is_alert and decisions.delivery_of(entry) is not None:
            yield entry, details.to.addresses


def ordered(
    bad: Sequence[Record],
    catalog: Mapping[JobKey, CatalogEntry],
    most: int,
) -> list[JobKey]:
    """Return the jobs to show: what is not OK first, then the others by name."""
    keys = [record.key for record in bad][:most]
    others = sorted(
        (known.name, key)
        for key, known in catalog.items()
        if known.enabled and key not in set(keys)
    )
    if len(bad) >= most:
        return keys
    return [*keys, *(key for _name, key in others)][:most]


def listed(
    keys: Sequence[JobKey],
    snapshot: Snapshot,
    history: History,
    *,
    ascii_only: bool = False,
) -> list[dict[str, Any]]:
    """Return a row per job, with what history and the audit log say of it."""
    settings, now = snapshot.settings, snapshot.now
    latest = history.latest()
    return rows(
        keys,
        snapshot.records,
        snapshot.catalog,
        looks(history, keys, snapshot.values, latest, now),
        last_alerts(settings.state, snapshot.records, keys, history.names),
        now,
        settings.zone,
        checked=_checked(keys, snapshot, latest),
        silences=snapshot.silences,
        ascii_only=ascii_only,
    )


def _checked(
    keys: Iterable[JobKey], snapshot: Snapshot, latest: Mapping[JobKey, Row]
) -> dict[JobKey, datetime]:
    """Return when each of the jobs was last checked, if that is known."""
    found = {}
    for key in keys:
        record = snapshot.records.get(key, Record(key))
        known = snapshot.catalog.get(key)
        at = checked_at(
            key, record, known, latest.get(key), snapshot.run, snapshot.settings.zone
        )
        if at is not None:
            found[key] = at
    return found


def rows(
    keys: Iterable[JobKey],
    records: Mapping[JobKey, Record],
    catalog: Mapping[JobKey, CatalogEntry],
    found: Mapping[JobKey, Look],
    alerts: Mapping[JobKey, Alert],
    now: datetime,
    zone: tzinfo | None,
    *,
    checked: Mapping[JobKey, datetime] = MappingProxyType({}),
    silences: Silences | None = None,
    ascii_only: bool = False,
) -> list[dict[str, Any]]:
    """Return a row per job.

    ``checked``: when each was last checked.  ``ascii_only``: the terminal has no bars.
    """
    return [
        _row(
            key,
            records.get(key, Record(key)),
            catalog.get(key),
            found.get(key, Look()),
            alerts.get(key),
            checked.get(key),
            now,
            zone,
            silences,
            ascii_only,
        )
        for key in keys
    ]


def _row(
    key: JobKey,
    record: Record,
    known: CatalogEntry | None,
    look: Look,
    alert: Alert | None,
    last_run_at: datetime | None,
    now: datetime,
    zone: tzinfo | None,
    silences: Silences | None,
    ascii_only: bool,
) -> dict[str, Any]:
    time_text = partial(table_time, zone=zone, now=now)
    name = known.name if known else record.name or str(key)
    tags = known.tags if known else ()
    status = status_of(record, known is not None and known.judged)
    if known is not None and not known.enabled:
        status = DISABLED
    if status == NOT_SET_UP:
        # That it is OK to have no mailbox says nothing of mail.
        look = Look()
    held = silences.holding_record(record, name, tags, now) if silences else None
    reason = first_line(record.last_reason)
    is_fine = record.status is Status.OK or status == DISABLED
    since = record.pending_since if is_fine else record.since
    value, shares = look.value, (look.day, look.week, look.month)
    line = sparkline(look.numbers, ascii_only=ascii_only)
    amount = f"{look.name} {amount_words(value.number, value.unit)}" if value else ""
    return {
        "job": name,
        "key": str(key),
        "status": status,
        "since": since,
        "reason": "" if is_fine else reason,
        "held": held_row(held),
        "value": value
        and {
            "name": look.name,
            "number": value.number,
            "unit": value.unit.value,
        },
        "last_run_at": last_run_at,
        "last_alert_at": alert.at if alert else None,
        "last_alert_to": alert.to if alert else (),
        "uptime": {
            time: share.uptime
            for time, share in zip(("24h", "7d", "30d"), shares, strict=True)
        },
        "time_s": {
            time: dict(zip(TIMES, share, strict=True))
            for time, share in zip(("24h", "7d", "30d"), shares, strict=True)
        },
        "last_24h": look.numbers,
        "runbook": known.runbook if known else "",
        WORDS: {
            "status": status,
            "since": time_text(since) if since else "",
            "24h": percent_words(look.day.uptime),
            "7d": percent_words(look.week.uptime),
            "30d": percent_words(look.month.uptime),
            "last_24h": " ".join(filter(None, (line, amount))),
            "alert": f"{time_text(alert.at)} to {alert.words}" if alert else "",
            "not_counted": _not_counted(look.day, last_run_at, now, time_text),
            "reason": "; ".join(
                filter(
                    None,
                    (held.words(time_text) if held else "", "" if is_fine else reason),
                )
            ),
        },
    }


def _not_counted(
    day: Share, last_run_at: datetime | None, now: datetime, time_text: TimeText
) -> str:
    """Return what uptime leaves out; if that is since before, from which check on."""
    words = left_out_words(day)
    if words and last_run_at is not None and now - last_run_at > _DAY:
        return f"{words}; last checked {time_text(last_run_at)}"
    return words

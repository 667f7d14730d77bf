"""What the HTTP API answers beside ``-m status --json``: jobs and their history.

``openapi.json`` beside this file describes it; a test holds the answers against that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from lib.core.enums import Status
from lib.core.jobs import JobKey
from lib.core.records import Record
from lib.core.text import in_zone, utc
from lib.report import graphs, status
from lib.report.incidents import Incident
from lib.report.page import keys_of, link_of
from lib.report.rows import (
    DISABLED,
    checked_at,
    held_row,
    policy_row,
    status_of,
    value_rows,
)
from lib.report.snapshot import Snapshot
from lib.storage.history import Row, Share

#: The most results of one answer; ``next`` says where the rest begins.
MAX_ROWS = 10_000
OPENAPI = Path(__file__).parent / "openapi.json"
#: Over how many days uptime is told.
UPTIME_DAYS = (7, 30, 90)


@lru_cache
def openapi() -> bytes:
    """Return the document that describes the API."""
    return OPENAPI.read_bytes()


def status_data(
    snapshot: Snapshot, listed: Sequence[Mapping[str, Any]], state_bytes: int
) -> dict[str, Any]:
    """Return what ``-m status --json`` prints, and each job in a few words.

    ``listed`` are rows of ``glance``, ``state_bytes`` is the size of the state folder.
    """
    return {
        **status.data(snapshot, listed=listed, state_bytes=state_bytes),
        "all": [_short(snapshot, key) for key in keys_of(snapshot)],
    }


def find(snapshot: Snapshot, name: str) -> list[JobKey]:
    """Return the jobs of a name or a key; several if files have the same name."""
    return _called(snapshot, keys_of(snapshot), name)


def find_on_record(snapshot: Snapshot, name: str) -> list[JobKey]:
    """Return the jobs of a name or a key; if there are none, those that history has."""
    return find(snapshot, name) or _called(snapshot, snapshot.latest, name)


def called_now(snapshot: Snapshot, name: str) -> str:
    """Return what the job that had this name or key is called now, or nothing."""
    names = {key: known.name for key, known in snapshot.catalog.items()}
    return snapshot.names.called_now(name, names)


def _called(snapshot: Snapshot, keys: Iterable[JobKey], name: str) -> list[JobKey]:
    listed = list(keys)
    exact = [key for key in listed if str(key) == name]
    return exact or [key for key in listed if name_of(snapshot, key) == name]


def name_of(snapshot: Snapshot, key: JobKey) -> str:
    """Return a job's name."""
    known, record = snapshot.catalog.get(key), snapshot.records.get(key)
    name = known.name if known else record.name if record else ""
    return name or key.identity or str(key)


def _short(snapshot: Snapshot, key: JobKey) -> dict[str, Any]:
    record, known = snapshot.records.get(key, Record(key)), snapshot.catalog.get(key)
    code = status_of(record, known is not None and known.judged)
    return {
        "job": name_of(snapshot, key),
        "key": str(key),
        "status": DISABLED if known is not None and not known.enabled else code,
        "since": record.since,
        "tags": known.tags if known else (),
        "runbook": known.runbook if known else "",
    }


def job_data(
    snapshot: Snapshot, key: JobKey, incidents: Iterable[Incident]
) -> dict[str, Any]:
    """Return all that is known of a job."""
    record, known = snapshot.records.get(key, Record(key)), snapshot.catalog.get(key)
    latest, days = snapshot.latest.get(key), snapshot.days.get(key, {})
    short = _short(snapshot, key)
    held = snapshot.silences.holding_record(
        record, short["job"], short["tags"], snapshot.now
    )
    names = graphs.day_names(in_zone(snapshot.now, snapshot.settings.zone).date())
    return {
        **short,
        "reason": record.last_reason if record.status is not Status.OK else "",
        "note": snapshot.notes.get(key, ""),
        "failures": record.failures,
        "notified": record.reached,
        "notified_at": record.reached_at,
        "delivery": record.delivery_result,
        "held": held_row(held),
        "queued_messages": len(record.queued),
        "last_run_at": checked_at(
            key, record, known, latest, snapshot.run, snapshot.settings.zone
        ),
        "seconds": latest.seconds if latest else None,
        "values": value_rows(snapshot.values.get(key, {})),
        "every": known.schedule if known else None,
        "policy": policy_row(known.policy) if known else None,
        "contact": known.contact if known else (),
        "description": known.description if known else "",
        "uptime": {
            f"{count}d": sum(
                (days[name] for name in names[-count:] if name in days), Share()
            ).uptime
            for count in UPTIME_DAYS
        },
        "incidents": [_incident(one) for one in incidents],
        "page": link_of(key),
    }


def _incident(incident: Incident) -> dict[str, Any]:
    return {
        "began_at": incident.began_at,
        "began_before": incident.began_before,
        "ended_at": incident.ended_at,
        "status": incident.shown_status,
        "reason": incident.reason,
        "held": incident.held,
        "messages": [
            {
                "at": one.at,
                "code": one.code.value,
                "text": one.words,
                "proved_at": one.proved_at,
            }
            for one in incident.sendings
        ],
    }


def history_data(
    snapshot: Snapshot, key: JobKey, rows: list[Row], since: datetime, until: datetime
) -> dict[str, Any]:
    """Return a job's results, the oldest first; ``next`` is where others begin."""
    shown = rows[:MAX_ROWS]
    return {
        "job": name_of(snapshot, key),
        "key": str(key),
        "since": since,
        "until": until,
        "results": [
            {
                "at": utc(row.at),
                "status": row.status.value,
                "held": row.code,
                "seconds": row.seconds,
                "values": dict(row.values),
                "reason": row.reason,
                "policy": row.policy,
            }
            for row in shown
        ],
        "next": utc(rows[MAX_ROWS].at) if len(rows) > MAX_ROWS else None,
    }

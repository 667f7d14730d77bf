"""What is silent now, for -m status: mutes, acknowledgements, windows, disabled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from lib.core.jobs import CatalogEntry, JobKey
from lib.core.records import Record
from lib.core.silences import Silences
from lib.core.text import TimeText, some_of

#: The most acknowledged or disabled jobs that a line names.
MAX_NAMES = 20


def data(
    silences: Silences,
    records: Mapping[JobKey, Record],
    catalog: Mapping[JobKey, CatalogEntry],
    now: datetime,
) -> dict[str, Any]:
    """Return what is in force now: who asked for it, until when, and why."""
    # What is asked for on a page names the key of its job.
    names = {str(key): known.name for key, known in catalog.items() if silences.mutes}
    acknowledged = [
        (record, record.acknowledged)
        for record in records.values()
        if record.acknowledged is not None and record.acknowledged.covers(record.status)
    ]
    return {
        "mutes": [
            {
                "jobs": mute.scope.words(names),
                "except": ", ".join(scope.words(names) for scope in mute.lifted),
                "until": mute.until,
                "by": mute.who,
                "why": mute.why,
            }
            for mute in silences.mutes
            if mute.until > now
        ],
        "maintenance": list(_windows(silences, now)),
        "acknowledged": [
            {
                "job": record.name,
                "key": str(record.key),
                "status": record.status.value,
                "at": known.at,
                "by": known.who,
                "why": known.why,
            }
            for record, known in sorted(acknowledged, key=lambda one: one[0].name)
        ],
        "disabled": sorted(job.name for job in catalog.values() if not job.enabled),
    }


def _windows(silences: Silences, now: datetime) -> Iterator[dict[str, Any]]:
    for window in silences.windows:
        start = window.began_at(now, silences.zone)
        if start is not None:
            until = window.ends_at(start, now, silences.zone)
            yield {"name": window.name, "jobs": str(window.scope), "until": until}


def rows(found: Mapping[str, Any], time_text: TimeText) -> Iterator[tuple[str, str]]:
    """Yield a line for each mute, window and acknowledgement, and what is disabled."""
    for mute in found["mutes"]:
        but = f", except {mute['except']}" if mute["except"] else ""
        until = time_text(mute["until"])
        yield "muted", f"{mute['jobs']}{but}: until {until}{_who_and_why(mute)}"
    for window in found["maintenance"]:
        until = time_text(window["until"])
        yield "maintenance", f"{window['jobs']}: until {until}, window {window['name']}"
    known = found["acknowledged"]
    for one in known[:MAX_NAMES]:
        words = f"{one['job']}: {one['status']}, no reminders until it is over"
        yield "acknowledged", f"{words}{_who_and_why(one)}"
    if len(known) > MAX_NAMES:
        yield "", f"and {len(known) - MAX_NAMES} more"
    if found["disabled"]:
        yield "disabled", some_of(found["disabled"], MAX_NAMES)


def _who_and_why(one: Mapping[str, Any]) -> str:
    by = f", by {one['by']}" if one["by"] else ""
    return f"{by}: {one['why']}" if one["why"] else by

"""Reads state/ for the pages: what ``lib/report/page.py`` makes them of.

Nothing is written here.  Graphs of 24 hours cost a reading of history for each job, so
that of many jobs only some are read anew each time; ``Graphs`` has the others.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import cached_property, partial
from typing import Any

import msgspec
from msgspec.structs import replace

from lib.core.announcements import in_force
from lib.core.decisions import Entry
from lib.core.jobs import JobKey
from lib.core.records import Record, with_lost
from lib.core.results import DURATION, Values, telling_value
from lib.core.settings import Settings
from lib.core.silences import Silences
from lib.core.text import table_time
from lib.report import glance, graphs
from lib.report.graphs import DAYS, GRAPH_S, Series
from lib.report.incidents import BAD, Incident, incidents, with_sendings
from lib.report.page import (
    INCIDENT_DAYS,
    MAX_INCIDENTS,
    JobStory,
    link_of,
    proof_of,
)
from lib.report.snapshot import Snapshot
from lib.report.status import MAX_DOWN, bad_records
from lib.report.uptime import removed_at
from lib.storage import auditlog
from lib.storage.history import Change, History, Row
from lib.storage.session import announcements_of, mutes_of, notes_in
from lib.storage.store import State
from lib.system.errors import StateError

logger = logging.getLogger(__name__)

DAY_S = 86_400.0
#: The most entries of the audit log that are read of one job: a day of one that fails
#: each minute.
MAX_ENTRIES = 1500


class Graph(msgspec.Struct, frozen=True):
    """The graph that stands for a job in a list, and as of when it is."""

    at: float
    series: Series


#: By the file of the job's page.
Graphs = Mapping[str, Graph]


def graphs_in(content: bytes) -> dict[str, Graph]:
    """Return graphs that were kept; none where that cannot be read."""
    try:
        return msgspec.json.decode(content, type=dict[str, Graph])
    except (ValueError, RecursionError):
        return {}


class Reader:
    """What state/ says at one moment; each part is read when it is first needed."""

    def __init__(self, settings: Settings, now: datetime) -> None:
        self.settings, self.now = settings, now
        self.history = History(settings.state, settings.zone)

    @cached_property
    def bare(self) -> Snapshot:
        """Return all but graphs and incidents.

        Raise StateError where nothing is known: nothing is not what is to be shown.
        """
        state = State(self.settings.state)
        if why := state.why_not_known():
            raise StateError(why)
        stored, catalog = state.load(), state.load_catalog()
        values, notes = state.load_values_and_notes()
        records = with_lost(stored.records, stored.lost, catalog)
        noted = notes_in(records)
        return Snapshot(
            self.settings,
            self.now,
            stored.run,
            catalog,
            records,
            values,
            notes,
            Silences(mutes_of(noted), self.settings.maintenance, self.settings.zone),
            noted.summaries,
            self.history.latest(),
            self.history.days(None, DAYS, self.now.timestamp()),
            names=self.history.names,
            history=tuple(self.history.troubles(self.now)),
            announcements=in_force(announcements_of(noted), self.now),
        )

    def snapshot(self, known: Graphs | None = None) -> Snapshot:
        """Return all that the front page is made of."""
        bare, found = self.bare, {}
        for key in bare.catalog:
            graph = (known or {}).get(link_of(key))
            # What is older is no graph of the last 24 hours; nor is one of the future.
            if graph and abs(graph.at - self.now.timestamp()) < DAY_S / 4:
                found[key] = (graph.series,)
        those = self._last_incidents
        # What has been read by now may have been damaged.
        troubles = tuple(self.history.troubles(self.now))
        return replace(bare, series=found, incidents=those, history=troubles)

    @cached_property
    def _last_incidents(self) -> tuple[Incident, ...]:
        since = self.now - timedelta(days=INCIDENT_DAYS)
        those = [
            incident
            for incident in incidents(
                self._changes, self._records_of_jobs(), self._removed
            )
            if incident.ended_at is None or incident.ended_at >= since
        ][:MAX_INCIDENTS]
        return self._with_sendings(those)

    @cached_property
    def listed(self) -> list[dict[str, Any]]:
        """Return the rows of -m status, in its order."""
        bare = self.bare
        bad = bad_records(bare.records, bare.catalog)
        keys = glance.ordered(bad, bare.catalog, MAX_DOWN)
        return glance.listed(keys, bare, self.history)

    @cached_property
    def state_bytes(self) -> int:
        """Return how large the state folder is."""
        return State(self.settings.state).size()

    def rows(self, key: JobKey) -> list[Row]:
        """Return the results of a job in the last 24 hours, and the one before them."""
        ((_key, rows),) = self.rows_of((key,))
        return rows

    def rows_of(self, keys: Iterable[JobKey]) -> Iterator[tuple[JobKey, list[Row]]]:
        """Yield each of many jobs with the same; history is opened once for them."""
        until = self.now.timestamp()
        return self.history.stands(keys, until - GRAPH_S, until + 1)

    def graph(self, key: JobKey, rows: list[Row], slices: int) -> Graph:
        """Return the graph that stands for a job."""
        values, at = self._values_of(key), self.now.timestamp()
        name = telling_value(values)
        chosen = {name: values[name]} if name else {}
        (series,) = graphs.series_of(rows, chosen, at, slices=slices)
        points = tuple(
            None if point is None else float(f"{point:.4g}") for point in series.points
        )
        return Graph(at, replace(series, points=points))

    def is_of_now(self, key: JobKey, graph: Graph) -> bool:
        """Return whether a graph is of the value that stands for a job now."""
        return graph.series.name == (telling_value(self._values_of(key)) or DURATION)

    def story(self, key: JobKey, rows: list[Row]) -> JobStory:
        """Return what the page of a job has beside the snapshot."""
        record = self.bare.records.get(key)
        changes = self.changes_by_job.get(key, ())
        of_job = {key: record} if record else {}
        those = incidents(changes, of_job, self._removed)[:MAX_INCIDENTS]
        at = self.now.timestamp()
        return JobStory(
            tuple(rows),
            graphs.series_of(rows, self._values_of(key), at),
            self._with_sendings(those),
            tuple(self._entries(key)),
        )

    def _values_of(self, key: JobKey) -> Values:
        return self.bare.values.get(key, {})

    def _records_of_jobs(self) -> dict[JobKey, Record]:
        return {
            key: record
            for key, record in self.bare.records.items()
            if key not in self.bare.catalog or self.bare.catalog[key].enabled
        }

    @cached_property
    def _removed(self) -> dict[JobKey, float]:
        """Return when jobs that were not OK were removed or disabled."""
        found = {}
        for key, changes in self.changes_by_job.items():
            known = self.bare.catalog.get(key)
            if (known and known.enabled) or changes[-1].status not in BAD:
                continue
            last = self.bare.latest.get(key)
            record = self.bare.records.get(key)
            at = removed_at(record, self._entries(key), last)
            if at is not None:
                found[key] = at
        return found

    @cached_property
    def changes_by_job(self) -> dict[JobKey, list[Change]]:
        """Return the changes of status of each job, the oldest first."""
        found: dict[JobKey, list[Change]] = {}
        for change in self._changes:
            found.setdefault(change.key, []).append(change)
        return found

    @cached_property
    def _changes(self) -> list[Change]:
        since = self.now.timestamp() - DAYS * DAY_S
        return self.history.changes(None, since)

    def _with_sendings(self, those: Iterable[Incident]) -> tuple[Incident, ...]:
        listed = list(those)
        keys = dict.fromkeys(incident.key for incident in listed)
        entries = [entry for key in keys for entry in self._entries(key)]
        time_text = partial(table_time, zone=self.settings.zone, now=self.now)
        return tuple(with_sendings(listed, entries, time_text, proof_of(self.bare)))

    @cached_property
    def _lines(self) -> dict[str, list[str]]:
        return auditlog.lines_by_job(self.settings.state)

    def _entries(self, key: JobKey) -> list[Entry]:
        """Return the last entries of the audit log about a job, the oldest first."""
        names, found = self.history.names, []
        for part in names.parts(key):
            lines = self._lines.get(part.key, [])[-MAX_ENTRIES:]
            entries = (entry for line in lines if (entry := auditlog.from_line(line)))
            found += [
                replace(entry, key=key)
                for entry in entries
                if names.owner(entry.key, entry.at.timestamp()) == key
            ]
        return sorted(found, key=lambda entry: entry.at)[-MAX_ENTRIES:]

"""A snapshot: what ``-m status``, the page and the API are made of.

``lib/report/reader.py`` reads one for the page and the API, ``lib/cli/look.py`` one for
``-m status``, which has no need of days, graphs and incidents.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec

from lib.core.jobs import CatalogEntry, JobKey
from lib.core.records import Record, RunRecord
from lib.core.silences import Silences
from lib.storage.historynames import Names

if TYPE_CHECKING:
    from lib.core.announcements import Announcement
    from lib.core.calendar import SummarySeries
    from lib.core.results import Values
    from lib.core.settings import Settings
    from lib.report.graphs import Series
    from lib.report.incidents import Incident
    from lib.storage.history import Row, Share


class Snapshot(msgspec.Struct, frozen=True):
    """What state/ held at one moment, as far as it was asked for."""

    settings: Settings
    now: datetime
    run: RunRecord = RunRecord()
    catalog: Mapping[JobKey, CatalogEntry] = MappingProxyType({})
    records: Mapping[JobKey, Record] = MappingProxyType({})
    values: Mapping[JobKey, Values] = MappingProxyType({})
    notes: Mapping[JobKey, str] = MappingProxyType({})
    silences: Silences = Silences()
    summaries: tuple[SummarySeries, ...] = ()
    latest: Mapping[JobKey, Row] = MappingProxyType({})
    #: The time of each job by day, 90 of them; the graphs of 24 hours that are known.
    days: Mapping[JobKey, Mapping[str, Share]] = MappingProxyType({})
    series: Mapping[JobKey, tuple[Series, ...]] = MappingProxyType({})
    #: The last incidents, the latest first.
    incidents: tuple[Incident, ...] = ()
    #: What jobs were called before.
    names: Names = Names()
    #: What is missing of the history, in words.
    history: tuple[str, ...] = ()
    #: What is announced, in the order in which it is shown.
    announcements: tuple[Announcement, ...] = ()

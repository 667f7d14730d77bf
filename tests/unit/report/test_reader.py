"""What the pages read of state/, and that they equal what is in there."""

from __future__ import annotations

from datetime import UTC, timedelta

import msgspec
import pytest

from lib.core.enums import Status
from lib.core.jobs import JobKey
from lib.core.records import Record, RunRecord
from lib.core.results import Threshold, Unit, Value
from lib.report.page import job_page, link_of, overview
from lib.report.reader import Reader, graphs_in
from lib.storage import historylog
from lib.storage.auditlog import AuditLog
from lib.storage.history import Result
from lib.storage.store import State
from tests.support.snapshots import NOON, entry, settings
from tests.unit.report.test_incidents import mail as mail_entry

KEY, OTHER = JobKey("Own", "a"), JobKey("Own", "b")


def result(key=KEY, status=Status.OK, used=40.0, reason=""):
    values = {"used": used}
    return Result.of(key, status, "", 0.02, values, reason, b"{}", 150.0)


def written(tmp_path):
    """Return settings of a state folder in which a job began to fail."""
    state = State(tmp_path)
    record = Record(
        KEY, "a", Status.FAILING, failures=1, failing_since=NOON, last_reason="full"
    )
    state.save([record])
    state.save_run(RunRecord(began_at=NOON, ended_at=NOON))
    state.save_catalog({KEY: entry(KEY), OTHER: entry(OTHER)})
    used = Value(95.0, Unit.PERCENT, fail=Threshold(high=90))
    state.save_values({KEY: {"used": used}}, {KEY: None, OTHER: None}, {}, {KEY})
    at = NOON.timestamp()
    for minute in range(-3, 1):
        bad = result(KEY, Status.FAILING, 95.0, "full") if minute == 0 else result()
        historylog.record(tmp_path, UTC, at + 60 * minute, [bad, result(OTHER)])
    log = AuditLog(tmp_path, ())
    from lib.core.decisions import Event

    log.note([mail_entry(0, Event.SENT, key=KEY), mail_entry(0, Event.SENT, key=OTHER)])
    log.write()
    return settings(state=tmp_path)


def test_the_pages_of_a_state_folder(tmp_path):
    reader = Reader(written(tmp_path), NOON + timedelta(seconds=30))
    rows = reader.rows(KEY)
    assert [one.values["used"] for one in rows] == [40.0, 40.0, 40.0, 95.0]
    graph = reader.graph(KEY, rows, 24)
    snapshot = reader.snapshot({link_of(KEY): graph})
    assert snapshot.series[KEY][0].points[-1] == 95.0
    assert set(snapshot.series) == {KEY}
    (incident,) = snapshot.incidents
    assert (incident.key, incident.began_at, incident.reason) == (KEY, NOON, "full")
    assert len(incident.sendings) == 1
    text = overview(snapshot)
    assert "a</a> <b>failing</b>" in text and ">95%" in text
    story = reader.story(KEY, rows)
    assert len(story.entries) == 1 and story.incidents == (incident,)
    assert "full" in job_page(reader.bare, KEY, story)


@pytest.mark.parametrize("catalog", [{}, {KEY: entry(KEY, enabled=False)}])
def test_the_incident_of_a_job_that_is_not_checked_any_more_is_over(tmp_path, catalog):
    settings, state = written(tmp_path), State(tmp_path)
    state.save_catalog({OTHER: entry(OTHER), **catalog})
    state.save([Record(KEY, "a", unseen_since=NOON + timedelta(minutes=1))])
    reader = Reader(settings, NOON + timedelta(minutes=20))
    (incident,) = reader.snapshot().incidents
    assert incident.ended_at == NOON + timedelta(minutes=1)
    assert reader.story(KEY, []).incidents == (incident,)


def test_a_graph_that_is_too_old_is_not_shown(tmp_path):
    reader = Reader(written(tmp_path), NOON)
    graph = reader.graph(KEY, reader.rows(KEY), 24)
    later = Reader(reader.settings, NOON + timedelta(hours=7))
    assert later.snapshot({link_of(KEY): graph}).series == {}


def test_graphs_that_cannot_be_read_are_made_anew(tmp_path):
    reader = Reader(written(tmp_path), NOON)
    graph = reader.graph(KEY, [], 24)
    assert graphs_in(msgspec.json.encode({"x": graph})) == {"x": graph}
    assert graphs_in(b"[" * 100_000) == {}
    assert graphs_in(b'{"x": 1}') == {}


def test_an_empty_state_folder_is_a_page(tmp_path):
    text = overview(Reader(settings(state=tmp_path), NOON).snapshot())
    assert "Nothing is known yet" in text

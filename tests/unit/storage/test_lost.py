"""Lost records as values: noted once, and waited for until their jobs are met."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from lib.storage.lost import (
    OWN_STEM,
    RUN,
    LostRecords,
    known_lost,
    not_noted,
    waited_for,
    with_all_noted,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
A, B, BATCH = "a-0123456789", "b-0123456789", "batch-00000001"


def test_what_was_noted_is_lost_until_its_record_is_there_again():
    noted = {A: NOON.isoformat(), B: NOON.isoformat(), RUN: "x", BATCH: "x"}
    lost = known_lost({"c": "c.json: it is empty"}, noted, [B])
    assert lost.why == {A: f"{A}: it was lost before", "c": "c.json: it is empty"}
    assert lost.noted == noted


def test_what_is_found_lost_says_what_is_wrong_though_it_was_noted():
    assert known_lost({A: "it is empty"}, {A: "x"}, []).why == {A: "it is empty"}


def test_each_is_noted_once():
    lost = LostRecords({A: "a: empty", B: "b: empty"}, {A: NOON.isoformat()})
    assert not_noted(lost) == {B: "b: empty"}
    after = with_all_noted(lost, NOON + DAY)
    assert after.noted == {A: NOON.isoformat(), B: (NOON + DAY).isoformat()}
    assert not_noted(after) == {}
    assert with_all_noted(after, NOON + 2 * DAY) == after


@pytest.mark.parametrize(
    ("met", "days", "waited"),
    [([], 0, [A, B]), ([A], 0, [B]), ([A, B], 0, []), ([], 30, [A, B]), ([], 31, [])],
)
def test_a_lost_record_is_waited_for_until_its_job_is_met_or_a_month(met, days, waited):
    why = dict.fromkeys((A, B, RUN, OWN_STEM, BATCH), "it is empty")
    lost = with_all_noted(LostRecords(why), NOON)
    assert waited_for(lost, met, NOON + days * DAY) == waited


@pytest.mark.parametrize("since", [None, 5, "soon", "9999-01-01T00:00:00+00:00"])
def test_a_note_without_a_time_counts_from_now(since):
    assert waited_for(LostRecords({A: ""}, {A: since}), [], NOON) == [A]


def test_where_nothing_is_lost_no_job_is_looked_at():
    def met():
        raise AssertionError("looked at")
        yield

    assert waited_for(LostRecords(), met(), NOON) == []

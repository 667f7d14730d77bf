"""How long a proof that mail arrives stands."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from lib.core.enums import Status
from lib.core.health import MAX_HISTORY, proof_in, proved_at, trouble
from lib.core.jobs import JobKey
from lib.core.records import Record
from lib.mail.proof import failed, proven, with_line

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def proof(interval_s=3600, **times):
    found = {name: (NOON - length).isoformat() for name, length in times.items()}
    return {**found, "result": "never", "interval_s": interval_s}


def test_it_is_what_emailchecker_remembers():
    mine = Record(JobKey("EmailChecker", "EmailChecker"), memory={"proof": proof()})
    others = Record(
        JobKey("Others", "EmailChecker"), memory={"proof": {"failed_at": "x"}}
    )
    assert proof_in([others, mine]) == proof()
    assert proof_in([others]) is None
    broken_file = Record(JobKey("EmailChecker"), status=Status.FAILING)
    assert proof_in([broken_file, mine]) == proof()
    assert (
        proof_in([Record(JobKey("EmailChecker", "x"), memory={"proof": "none"})])
        is None
    )


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (None, ""),
        ({"result": "not set up"}, ""),
        (proof(proved_at=timedelta(hours=2)), ""),
        (proof(proved_at=timedelta(hours=2, seconds=1)), "too old"),
        (proof(600, proved_at=timedelta(minutes=21)), "too old"),
        (proof("x", proved_at=timedelta(hours=1)), ""),
        (proof(failed_at=timedelta()), "has failed: never"),
        (proof(proved_at=timedelta(), failed_at=timedelta()), "has failed: never"),
        ({"failed_at": "no time", "proved_at": "2026-11-22T12:00:00"}, ""),
    ],
)
def test_it_stands_until_one_fails_for_twice_the_time_between_two(found, said):
    found = trouble(found, NOON, str)
    assert said in found and bool(said) is bool(found)


def test_a_moment_without_a_zone_is_none():
    assert proved_at({"proved_at": "2026-11-22T12:00:00"}) is None
    assert proved_at(proof(proved_at=timedelta())) == NOON


ROUND_TRIP = {"token": "x", "taken": "11:00", "arrived": "11:01", "seconds": 60.0}


def test_what_is_kept_of_a_proof_is_what_is_read():
    kept = proven("arrived", ROUND_TRIP, 3600, NOON, folder="INBOX")
    assert (kept["seconds"], kept["folder"]) == (60.0, "INBOX")
    assert proved_at(kept) == NOON and trouble(kept, NOON, str) == ""
    assert "trouble" not in kept
    later = NOON + timedelta(hours=1)
    after = failed("never", {"token": "y"}, 3600, later, kept)
    assert proved_at(after) == NOON and "has failed: never" in trouble(
        after, later, str
    )
    assert "failed_at" not in proven(
        "late", ROUND_TRIP, 60, later, folder="x", trouble="y"
    )
    assert "proved_at" not in failed("never", ROUND_TRIP, 60, NOON, None)


def test_the_last_proofs_are_remembered_each_as_a_line():
    line = ["11:00", "11:01", 60.0, "late", ""]
    assert with_line(None, ROUND_TRIP, "late") == [line]
    assert with_line([], {"sent": "10:59"}, "never") == [
        ["10:59", None, None, "never", ""]
    ]
    many = with_line([number for number in range(100)], ROUND_TRIP, "late")
    assert len(many) == MAX_HISTORY and many[-2:] == [99, line]

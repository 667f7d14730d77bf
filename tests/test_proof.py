"""How long a proof that mail arrives stands."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from lib.model import Record
from lib.proof import proof_in, proved_at, trouble

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def proof(interval_s=3600, **times):
    found = {name: (NOON - length).isoformat() for name, length in times.items()}
    return {**found, "verdict": "never", "interval_s": interval_s}


def test_it_is_what_emailchecker_remembers():
    mine = Record("EmailChecker/EmailChecker", memory={"proof": proof()})
    others = Record("Others/EmailChecker", memory={"proof": {"failed_at": "x"}})
    assert proof_in([others, mine]) == proof()
    assert proof_in([others]) is None
    assert proof_in([Record("EmailChecker/x", memory={"proof": "none"})]) is None


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (None, ""),
        ({"verdict": "not set up"}, ""),
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
    found = trouble(found, NOON)
    assert said in found and bool(said) is bool(found)


def test_a_moment_without_a_zone_is_none():
    assert proved_at({"proved_at": "2026-11-22T12:00:00"}) is None
    assert proved_at(proof(proved_at=timedelta())) == NOON

"""What other thresholds make of values on record."""

from __future__ import annotations

import pytest

from lib.config.ini import read_ini
from lib.config.thresholds import Thresholds
from lib.core.enums import Status
from lib.core.jobs import JobKey
from lib.core.results import Threshold, Unit, Value

DISK = JobKey("DiskSpace", "disk /")
OK, WARNING, FAILING, UNKNOWN = (
    Status.OK,
    Status.WARNING,
    Status.FAILING,
    Status.UNKNOWN,
)
MEASURED = {
    DISK: {
        "used": Value(
            50.0,
            Unit.PERCENT,
            Threshold(high=80.0, option="warn_percent"),
            Threshold(high=90.0, option="fail_percent"),
        ),
        "free": Value(5e9, Unit.BYTES, fail=Threshold(low=1e9, option="fail_free")),
        "count": Value(3.0, fail=Threshold(1.0, 15.0, "fail_count")),
    }
}


def thresholds(folder, before, after):
    """Return what becomes of thresholds by the options of a section."""
    inis = []
    for name, options in (("before.cfg", before), ("after.cfg", after)):
        path = folder / name
        path.write_text(f"[disk /]\npath = /\n{options}\n")
        path.chmod(0o600)
        inis.append(read_ini(path).ini)
    return Thresholds(*inis, MEASURED)


def status(found, was, **numbers):
    return found.status(DISK, was, {"used": 50.0, "free": 5e9, "count": 3.0, **numbers})


@pytest.mark.parametrize(
    ("before", "after", "was", "numbers", "expected"),
    [
        ("limit = 90", "limit = 95", FAILING, {"used": 92.0}, WARNING),
        ("limit = 90", "limit = 95", FAILING, {"used": 96.0}, FAILING),
        ("limit = 90", "limit = 70", OK, {"used": 75.0}, FAILING),
        ("", "warn_percent = 60%", OK, {"used": 61.0}, WARNING),
        ("fail_free = 1GB", "fail_free = 6GB", OK, {}, FAILING),
        # The side is that of the other threshold of the value.
        ("", "warn_free = 6GB", OK, {}, WARNING),
        ("", "fail_count = 1..2", OK, {}, FAILING),
        # Something else than a threshold: it stays.
        ("limit = 90", "limit = 95", FAILING, {"used": 50.0}, FAILING),
        ("limit = 90", "limit = 95", UNKNOWN, {"used": 92.0}, UNKNOWN),
        ("limit = 90\nneed = all", "limit = 70\nneed = all", OK, {"used": 92.0}, OK),
    ],
)
def test_values_are_judged_by_other_thresholds(
    tmp_path, before, after, was, numbers, expected
):
    found = thresholds(tmp_path, before, after)
    assert found.take(DISK) and not found.not_replayed
    assert status(found, was, **numbers) is expected


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "fail_inodes = 50"),
        ("limit = 90", ""),
        ("", "fail_free = 5%"),
        ("", "fail_count = 3"),
        ("", "every = hour"),
        ("", "fail_percent = many"),
    ],
)
def test_what_cannot_be_told_is_left_to_new_checks(tmp_path, before, after):
    found = thresholds(tmp_path, before, after)
    assert not found.take(DISK)
    assert len(found.not_replayed) == 1 and not found.replayed
    assert status(found, FAILING, used=99.0) is FAILING


def test_the_same_thresholds_change_nothing(tmp_path):
    found = thresholds(tmp_path, "limit = 90", "limit = 90\nfailures = 3")
    assert not found.take(DISK)
    assert (found.replayed, found.not_replayed) == ([], [])

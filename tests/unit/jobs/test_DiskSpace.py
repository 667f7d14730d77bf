import shutil
import subprocess

import pytest

from jobs.DiskSpace import DiskSpace, percent_used
from tests.support.listeners import found_by, job_of, result_of


def found(**options):
    return found_by(DiskSpace, **options)


def test_a_disk_below_its_limit_is_ok(tmp_path):
    assert found(path=tmp_path, limit=100) == "fine"


def test_a_disk_above_its_limit_is_named_with_what_is_free(tmp_path, approved):
    usage = shutil.disk_usage(tmp_path)
    used = percent_used(usage.used, usage.free)
    if used <= 1:
        pytest.skip("this disk is empty")
    first, second = found(path=tmp_path, limit=1).split("\n")
    approved(first, hide={r"is \d+%": "is N%"})
    assert second.startswith(f"{tmp_path}: ") and second.endswith(" GB free")


def test_what_is_used_and_free_is_measured(tmp_path):
    result = result_of(job_of(DiskSpace, path=tmp_path, limit=100, warn_free="1B"))
    used, free = result.values["used"], result.values["free"]
    assert 0 <= used.number <= 100 and free.number > 0
    assert (used.fail.high, free.warn.low, free.fail) == (100, 1, None)


def test_too_little_that_is_free_fails_however_large_the_disk(tmp_path):
    few = {"path": tmp_path, "fail_free": "999TB", "limit": "100%"}
    assert " under fail_free = 999TB\n" in found(**few)
    assert found(**few, need="all") == "fine"


@pytest.mark.parametrize(
    ("used", "free", "percent"),
    [(0, 100, 0), (1, 999, 1), (90, 10, 90), (901, 99, 91), (100, 0, 100)],
)
def test_per_cent_are_rounded_up(used, free, percent):
    assert percent_used(used, free) == percent


def test_per_cent_are_those_of_df(tmp_path):
    usage = shutil.disk_usage(tmp_path)
    line = subprocess.run(
        ["df", "-P", str(tmp_path)], capture_output=True, text=True, check=True
    ).stdout.splitlines()[1]
    shown = int(line.split("%")[0].split()[-1])
    # Other programs write while we count.
    assert abs(percent_used(usage.used, usage.free) - shown) <= 1


def test_a_missing_path_is_named(tmp_path, approved):
    approved(found(path=tmp_path / "no"), "1")
    (tmp_path / "file").write_text("")
    approved(found(path=tmp_path / "file" / "x"), "2")


def test_a_disk_without_a_size_is_unknown(approved):
    approved(found(path="/proc"))

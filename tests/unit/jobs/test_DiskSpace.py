import shutil
import subprocess

import pytest

from jobs.DiskSpace import DiskSpace, percent_used
from tests.support.listeners import found_by


def found(**options):
    return found_by(DiskSpace(), "disk", **options)


def test_a_disk_below_its_limit_is_ok(tmp_path):
    assert found(path=tmp_path, limit=100) == "fine"


def test_a_disk_above_its_limit_is_named_with_what_is_free(tmp_path, approved):
    usage = shutil.disk_usage(tmp_path)
    used = percent_used(usage.used, usage.free)
    if used <= 1:
        pytest.skip("this disk is empty")
    first, second = found(path=tmp_path, limit=1).split("\n")
    approved(first, hide={r"\d+% full": "N% full"})
    assert second.endswith(" GB free")


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

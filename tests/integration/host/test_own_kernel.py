"""[memory], [load], [disk] and [clock] in a kernel of the test's own.

It has what this machine shares with everybody, or lacks: cgroups of the second kind
with limits, a kernel's NFS whose server goes away, and a clock that can be set.
"""

from __future__ import annotations

import signal

import pytest

from tests.support import ownkernel

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What was found in that kernel, by the name of the look."""
    if reason := ownkernel.why_not():
        pytest.skip(reason)
    return ownkernel.looks(tmp_path_factory.mktemp("kernel"))


@pytest.fixture
def look(found, request):
    """What one look has found: the first word of the test's name says which."""
    one = found[request.node.name.split("_")[1]]
    assert "error" not in one, one["error"]
    if "skipped" in one:
        pytest.skip(one["skipped"])
    return one


def test_cgroup_limits_of_the_second_kind_are_those_that_count(look):
    assert look["idle"][0] == "ok"
    status, reason, _cores = look["used"]
    assert status == "warning"
    assert "of 0.1 GB available, the cgroup's limit" in reason


def test_cgroup_kills_for_memory_are_told_once(look):
    assert look["killed"] == -signal.SIGKILL
    assert look["told"][0].startswith("warning: oom_kills is 1, over warn_oom_kills")
    assert look["told"][1].startswith("ok")


def test_cgroup_quotas_count_as_cores_of_the_load(look):
    cores, before, of_a_core, after = look["half a core"]
    assert cores == 0.5
    low, high = sorted((before, after))
    assert 2 * low - 0.02 <= of_a_core <= 2 * high + 0.02
    assert high > 0.02


def test_nfs_that_hangs_is_unknown_until_it_answers(look):
    said = "unknown: the file system at /mnt/nfs (nfs4, 127.0.0.1:/) does not answer"
    assert look["hung"].startswith(f"{said} within ")
    assert look["took"] < 10
    # The mounts beside it are judged all the same.
    assert look["every"].startswith("unknown: the file system at /mnt/nfs (nfs4")
    assert "/mnt/disk used" in look["values"]
    assert "/mnt/nfs used" not in look["values"]


def test_timesyncd_is_judged_by_when_it_last_set_the_clock(look):
    assert look["none"].startswith("unknown: systemd-timesyncd: there is no /run/")
    # It runs, and nobody answers; that would be failing five minutes after the boot.
    assert look["alone"].startswith(
        "pending: systemd-timesyncd: the clock is not synchronised; this machine has"
    )
    assert look["synchronised"] == "ok: "
    assert look["later"].startswith("failing: age is 3h, over fail_age = 2h")

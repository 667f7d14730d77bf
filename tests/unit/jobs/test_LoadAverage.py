import os

import pytest

from jobs.LoadAverage import LoadAverage, read_loads
from lib.jobbase import CheckUnknown
from tests.support.machine import Machine

#: Half a core.
QUOTA = {
    "proc/self/cgroup": "0::/box\n",
    "sys/fs/cgroup/box/cpu.max": "50000 100000\n",
}


@pytest.mark.parametrize(
    ("loads", "options", "said"),
    [
        ("9 1 1", {"fail_load1": 8}, "failing: load1 is 9, over fail_load1 = 8"),
        ("9 3 1", {"warn_load5": 2.5}, "warning: load5 is 3, over warn_load5 = 2.5"),
        ("9 9 2", {"fail_load15": 2}, "ok"),
        ("1 1 1", {"fail_load1": 1, "per_core": "yes"}, "failing: load1 is 2, over"),
        # Without a threshold that of 15 minutes is judged, for each core.
        ("99 99 2", {}, "ok"),
        ("0 0 2.6", {}, "warning: load15_per_core is 5.2, over 5"),
        ("0 0 6", {}, "failing: load15_per_core is 12, over 10"),
        ("words", {}, "unknown: /proc/loadavg is not understood"),
    ],
)
def test_the_load_is_judged_on_half_a_core(tmp_path, loads, options, said):
    machine = Machine(LoadAverage, tmp_path, **options)
    files = {**QUOTA, "proc/loadavg": f"{loads} 1/200 4711\n"}
    found = machine.found(files)
    assert found.startswith(said) and (said != "ok" or found == said)


def test_without_proc_the_load_is_unknown(tmp_path):
    found = Machine(LoadAverage, tmp_path).found({})
    assert found.startswith("unknown: /proc/loadavg cannot be read")


def test_the_load_of_this_machine_is_measured():
    if not os.path.exists("/proc/loadavg"):
        pytest.skip("needs /proc")
    with open("/proc/loadavg") as file:
        assert len(read_loads(file.read())) == 3


def test_two_numbers_are_no_load():
    with pytest.raises(CheckUnknown):
        read_loads("1 2")

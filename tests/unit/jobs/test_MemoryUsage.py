import pytest

from jobs.MemoryUsage import MemoryUsage, since
from tests.support.machine import Machine

MB = 1024 * 1024


def meminfo(available_mb, total_mb=10_000):
    text = f"MemTotal: {total_mb * 1024} kB\nMemAvailable: {available_mb * 1024} kB\n"
    return {"proc/meminfo": text}


def cgroup(limit_mb, used_mb, cache_mb=0, folder="/box"):
    top = f"sys/fs/cgroup{folder}"
    return {
        "proc/self/cgroup": f"0::{folder}\n",
        f"{top}/memory.max": f"{limit_mb * MB}\n",
        f"{top}/memory.current": f"{used_mb * MB}\n",
        f"{top}/memory.stat": f"anon 1\ninactive_file {cache_mb * MB}\n",
    }


@pytest.mark.parametrize(
    ("available_mb", "options", "said"),
    [
        (1100, {}, "ok"),
        (900, {}, "warning: available_percent is 9%, under warn_available = 10%"),
        (400, {}, "failing: available_percent is 4%, under fail_available = 5%"),
        (400, {"fail_available": "300MB", "warn_available": "1%"}, "ok"),
        (400, {"fail_available": "500MB"}, "failing: available is 419.4MB, under fail"),
        # A warning of 10% behind a failing of 20% does not count.
        (1500, {"fail_available": "20%"}, "failing: available_percent is 15%, under"),
    ],
)
def test_what_is_available_is_judged(tmp_path, available_mb, options, said):
    found = Machine(MemoryUsage, tmp_path, **options).found(meminfo(available_mb))
    assert found.startswith(said)


@pytest.mark.parametrize(
    ("files", "percent"),
    [
        (cgroup(1000, 970), 3),
        # A cache that can be dropped at once is available.
        (cgroup(1000, 970, cache_mb=470), 50),
        # A cgroup above ours counts, too.
        ({**cgroup(1000, 900), "proc/self/cgroup": "0::/box/inner\n"}, 10),
        # A limit above what the machine has is none.
        (cgroup(20_000, 19_999), 80),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, 80),
        # The older cgroups; their word for no limit is a number.
        (
            {
                "proc/self/cgroup": "5:cpu,memory:/box\n1:name=systemd:/\n",
                "sys/fs/cgroup/memory/box/memory.limit_in_bytes": f"{1000 * MB}\n",
                "sys/fs/cgroup/memory/box/memory.usage_in_bytes": f"{300 * MB}\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": "1\n",
            },
            70,
        ),
        ({}, 80),
    ],
)
def test_the_limit_of_the_cgroup_counts_where_less_is_left(tmp_path, files, percent):
    machine = Machine(MemoryUsage, tmp_path)
    machine.found({**meminfo(8000), **files})
    assert machine.number("available_percent") == percent


def test_a_process_that_was_killed_warns_once(tmp_path):
    machine = Machine(MemoryUsage, tmp_path)
    said = [
        machine.found(
            {**meminfo(9000), "proc/vmstat": f"pgfault 9\noom_kill {kills}\n"}
        )
        for kills in (7, 7, 9, 9, 1)
    ]
    warning = "warning: oom_kills is {}, over warn_oom_kills = 0"
    assert said == ["ok", "ok", warning.format(2), "ok", warning.format(1)]


def test_a_kernel_that_does_not_count_kills_is_ok(tmp_path):
    machine = Machine(MemoryUsage, tmp_path)
    assert machine.found({**meminfo(9000), "proc/vmstat": "pgfault 9\n"}) == "ok"
    assert "oom_kills" not in machine.result.values


def test_without_what_is_available_it_is_unknown(tmp_path):
    found = Machine(MemoryUsage, tmp_path).found({"proc/meminfo": "MemTotal: 9 kB\n"})
    assert found.startswith("unknown: /proc/meminfo has no MemAvailable")


@pytest.mark.parametrize(
    ("before", "now", "killed"), [(None, 5, 0), (5, 5, 0), (5, 8, 3), (5, 2, 2)]
)
def test_what_was_killed_before_the_first_run_does_not_count(before, now, killed):
    assert since(before, now) == killed


@pytest.mark.parametrize(
    ("available_mb", "kills", "options", "said"),
    [
        (400, 0, {}, "failing: available_percent is 4%, under fail_available = 5%"),
        # Too little and what was killed for it; either of them alone is neither.
        (
            700,
            1,
            {},
            "warning: available_percent is 7%, under warn_available = 10% and",
        ),
        (700, 0, {}, "ok"),
        (9000, 1, {}, "ok"),
        (700, 0, {"warn_available": "20%"}, "warning: available_percent is 7%, under"),
        (9000, 1, {"warn_oom_kills": 0}, "warning: oom_kills is 1, over"),
    ],
)
def test_need_all_is_about_what_is_given(tmp_path, available_mb, kills, options, said):
    machine = Machine(MemoryUsage, tmp_path, need="all", **options)
    machine.found(meminfo(9000) | {"proc/vmstat": "oom_kill 7\n"})
    files = meminfo(available_mb) | {"proc/vmstat": f"oom_kill {7 + kills}\n"}
    assert machine.found(files).startswith(said)

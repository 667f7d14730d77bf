import pytest

from jobs.SwapUsage import SwapUsage, rate_of
from tests.support.machine import Machine


def files(used, total=1000, pages=0):
    return {
        "proc/meminfo": f"SwapTotal: {total} kB\nSwapFree: {total - used} kB\n",
        "proc/vmstat": f"pswpin {pages}\npswpout {pages}\n",
    }


@pytest.mark.parametrize(
    ("used", "total", "options", "said"),
    [
        (0, 0, {}, "ok"),
        (800, 1000, {}, "ok"),
        (810, 1000, {}, "warning: used is 81%, over warn_percent = 80%"),
        (910, 1000, {}, "failing: used is 91%, over fail_percent = 90%"),
        (910, 1000, {"fail_percent": "95%", "warn_percent": "92%"}, "ok"),
        # The default warning gives way.
        (60, 100, {"fail_percent": "70%"}, "ok"),
        (75, 100, {"fail_percent": "70%"}, "failing: used is 75%, over fail_percent"),
    ],
)
def test_what_is_used_is_judged(tmp_path, used, total, options, said):
    found = Machine(SwapUsage, tmp_path, **options).found(files(used, total))
    assert found.startswith(said) and (said != "ok" or found == said)


def test_pages_are_those_since_the_run_before(tmp_path):
    machine = Machine(SwapUsage, tmp_path, fail_paging=100)
    said = [
        machine.found(files(1, pages=pages)) for pages in (9000, 9000, 15_000, 15_000)
    ]
    failing = "failing: paging is 200/s, over fail_paging = 100/s"
    assert said == ["ok", "ok", failing, "ok"]


@pytest.mark.parametrize(
    ("before", "now", "rate"),
    [
        (None, (100.0, 5), None),
        ([40.0, 5], (100.0, 605), 10.0),
        # After a boot, and after the clock was set back.
        ([40.0, 605], (100.0, 5), None),
        ([140.0, 5], (100.0, 605), None),
    ],
)
def test_pages_need_an_earlier_look(before, now, rate):
    assert rate_of(before, now) == rate


def test_without_swap_in_meminfo_it_is_unknown(tmp_path):
    found = Machine(SwapUsage, tmp_path).found({"proc/meminfo": "MemTotal: 9 kB\n"})
    assert found == "unknown: /proc/meminfo has no SwapTotal and SwapFree"

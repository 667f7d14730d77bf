import errno

import pytest

from jobs.PressureStall import PressureStall, read_averages
from tests.support.machine import Machine


def stalls(**shares):
    """Return the files of a kernel; ``cpu_some`` is the average of 300 seconds."""
    lines = {"cpu": "", "memory": "", "io": ""}
    for resource in lines:
        for word in ("some", "full"):
            share = shares.get(f"{resource}_{word}", 0.0)
            lines[
                resource
            ] += f"{word} avg10=0.50 avg60=1.00 avg300={share:.2f} total=1\n"
    return {f"proc/pressure/{name}": text for name, text in lines.items()}


@pytest.mark.parametrize(
    ("shares", "options", "said"),
    [
        ({}, {}, "ok"),
        ({"cpu_some": 51}, {}, "warning: cpu_some is 51%, over warn_cpu_some = 50%"),
        ({"memory_full": 11}, {}, "warning: memory_full is 11%, over warn_memory_full"),
        ({"memory_full": 41}, {}, "failing: memory_full is 41%, over fail_memory_full"),
        ({"io_full": 45}, {}, "warning: io_full is 45%, over warn_io_full = 40%"),
        ({"io_some": 99}, {}, "ok"),
        ({"io_some": 99}, {"fail_io_some": 90}, "failing: io_some is 99%, over fail"),
        # All of a machine is never short of CPU; the kernel's figure means nothing.
        ({"cpu_full": 99}, {}, "ok"),
        (
            {"cpu_some": 99},
            {"average": 60, "warn_cpu_some": 0.9},
            "warning: cpu_some is 1",
        ),
        ({"cpu_some": 99}, {"average": 10, "warn_cpu_some": 0.9}, "ok"),
    ],
)
def test_stalls_are_judged(tmp_path, shares, options, said):
    found = Machine(PressureStall, tmp_path, **options).found(stalls(**shares))
    assert found.startswith(said) and (said != "ok" or found == said)


def test_a_kernel_without_pressure_says_what_it_needs(tmp_path, approved):
    approved(Machine(PressureStall, tmp_path).found({}))


def test_pressure_that_is_switched_off_says_so(tmp_path, approved, monkeypatch):
    machine = Machine(PressureStall, tmp_path)
    # Only a kernel that was started so answers like this.
    monkeypatch.setattr("builtins.open", _switched_off)
    job = machine.job
    try:
        job.check(job.target, None)
    except Exception as error:
        said = str(error)
    monkeypatch.undo()
    approved(said)


def _switched_off(*_args, **_options):
    raise OSError(errno.EOPNOTSUPP, "Operation not supported")


def test_other_text_is_unknown(tmp_path):
    files = {f"proc/pressure/{name}": "?\n" for name in ("cpu", "memory", "io")}
    found = Machine(PressureStall, tmp_path).found(files)
    assert found == "unknown: /proc/pressure is not understood"


def test_averages_are_read_by_their_seconds():
    text = "some avg10=1.25 avg60=0.00 avg300=3 total=9\n"
    assert read_averages(text) == {"some": {"10": 1.25, "60": 0.0, "300": 3.0}}


@pytest.mark.parametrize(
    ("shares", "options", "said"),
    [
        ({"memory_full": 99}, {}, "failing: memory_full is 99%, over fail_memory_full"),
        ({"cpu_some": 99, "memory_full": 30}, {}, "ok"),
        ({"cpu_some": 99, "memory_full": 30}, {"warn_cpu_some": 50},
         "warning: cpu_some is 99%, over"),
        ({"cpu_some": 99}, {"warn_cpu_some": 50, "warn_io_some": 50}, "ok"),
        ({"cpu_some": 99, "io_some": 60}, {"warn_cpu_some": 50, "warn_io_some": 50},
         "warning: cpu_some is 99%, over warn_cpu_some = 50% and io_some is 60%, over"),
    ],
)  # fmt: skip
def test_need_all_is_about_what_is_given(tmp_path, shares, options, said):
    machine = Machine(PressureStall, tmp_path, need="all", **options)
    assert machine.found(stalls(**shares)).startswith(said)

"""[clock NAME]: what chronyc 4.3 and ntpq print, and how it is judged."""

from __future__ import annotations

import os
import sys
import time

import pytest

from jobs.ClockChecker import ClockChecker, clock_of_ntpd, ntp_time
from lib.jobbase import CheckUnknown
from tests.support.listeners import job_of, result_of

#: As chronyc -c prints it; its reference time is put in.
NORMAL = "7F000001,127.0.0.1,4,{at},{off},0.000000271,0.000002480,-0.514,0.000,3.549,0.000007892,0.000009621,2.0,Normal"  # noqa: E501
UNSYNCED = "00000000,,0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0,1.0,0.0,Not synchronised"
LOCAL = "7F7F0101,,10,{at},0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,Normal"
ANSWERS = "^,*,127.0.0.1,3,0,377,0,0.000011529,0.000012521,0.000014824"
DEAD = "^,?,127.0.0.1,3,1,0,14,0.000011529,0.000012521,0.000014824"
NEVER = "^,?,127.0.0.2,0,6,0,4294967295,0.0,0.0,0.0"

RV = """associd=0 status=0615 leap_none, sync_ntp, 1 event, clock_sync,
version="ntpd ntpsec-1.2.2", processor="x86_64",
system="Linux", leap=00, stratum=2, precision=-24, rootdelay=0.5,
rootdisp=1.2, refid=127.0.0.1,
reftime=ecc0a1b2.80000000 2025-11-11T00:00:00.5Z,
offset={off}, sys_jitter=0.01
"""
PEERS = """     remote           refid      st t when poll reach  delay  offset  jitter
==============================================================================
 0.pool.example  .POOL.          16 p    -   64    0   0.000    0.000   0.001
*127.0.0.1       .GPS.            1 u   12   64  {reach}   0.100    0.010   0.002
"""


def program(folder, name, answers, code=0):
    """Write a program that prints what is said of its last argument."""
    path = folder / name
    path.write_text(
        f"#!{sys.executable} -S\nimport os, sys\n"
        "assert os.environ['LC_ALL'] == 'C'\n"
        f"print({answers!r}[sys.argv[-1]])\nsys.exit({code})\n"
    )
    path.chmod(0o755)
    return (str(path),)


@pytest.fixture
def clock(tmp_path):
    """A function that returns what is found of a machine with these daemons."""

    folder = tmp_path / "timesync"

    def found(*, chrony=None, ntpd=None, timesyncd=None, code=0, **options):
        job = job_of(ClockChecker, **options)
        job.chronyc = job.ntpq = ("/nowhere/program",)
        job.timesyncd = str(folder / "synchronized")
        if chrony:
            answers = dict(zip(("tracking", "sources"), chrony, strict=True))
            job.chronyc = program(tmp_path, "chronyc", answers, code)
        if ntpd:
            answers = dict(zip(("rv", "-pn"), ntpd, strict=True))
            job.ntpq = program(tmp_path, "ntpq", answers, code)
        if timesyncd is not None:
            folder.mkdir(exist_ok=True)
            (folder / "synchronized").touch()
            at = time.time() - timesyncd
            os.utime(job.timesyncd, (at, at))
        result = result_of(job)
        return f"{result.status.value}: {result.reason}"

    return found


def tracking(line, seconds_ago=3.0, off=0.000002):
    return line.format(at=time.time() - seconds_ago, off=off)


@pytest.mark.parametrize(
    ("line", "ago", "off", "sources", "options", "said"),
    [
        (NORMAL, 3, 0, ANSWERS, {}, "ok: "),
        (NORMAL, 3, 0, f"{DEAD}\n{ANSWERS}", {}, "ok: "),
        # Its only source has died: all else is as it was.
        (NORMAL, 900, 0, DEAD, {}, "failing: chrony: no source has answered one of th"),
        (NORMAL, 3, 0, f"{DEAD}\n{NEVER}", {}, "failing: chrony: no source has answer"),
        (NORMAL, 3, 0, "", {}, "failing: chrony: it has no source"),
        (NORMAL, 7300, 0, ANSWERS, {}, "failing: age is 2."),
        (NORMAL, 7300, 0, ANSWERS, {"fail_age": "3h"}, "ok: "),
        (
            NORMAL,
            7300,
            0,
            ANSWERS,
            {"fail_age": "3h", "warn_age": "1h"},
            "warning: age",
        ),
        (NORMAL, 3, 1.5, ANSWERS, {}, "failing: offset is 1.5s, over fail_offset = 1s"),
        (NORMAL, 3, -1.5, ANSWERS, {}, "failing: offset is 1.5s, over"),
        (NORMAL, 3, -0.2, ANSWERS, {}, "warning: offset is 200ms, over warn_offset"),
        (NORMAL, 3, 1.5, ANSWERS, {"fail_offset": "2s", "warn_offset": "2s"}, "ok: "),
        (UNSYNCED, 3, 0, ANSWERS, {}, "failing: chrony: the clock is not synchronised"),
        (LOCAL, 3, 0, DEAD, {}, "failing: chrony: it follows only its own clock"),
        (LOCAL, 9999, 0, DEAD, {"local": "yes"}, "ok: "),
        ("rubbish", 3, 0, ANSWERS, {"daemon": "chrony"}, "unknown: chronyc printed so"),
    ],
)
def test_what_chrony_says_is_judged_by_its_sources(
    clock, line, ago, off, sources, options, said, settled
):
    answers = (tracking(line, ago, off), sources)
    assert clock(chrony=answers, **options).startswith(said)


@pytest.fixture
def settled():
    """Skip where this machine was started just now, so that troubles are pending."""
    if time.clock_gettime(time.CLOCK_BOOTTIME) < 300:
        pytest.skip("this machine was started just now")


@pytest.mark.parametrize(
    ("off", "reach", "said"),
    [
        (0.2, 377, "ok: "),
        (150.0, 377, "warning: offset is 150ms"),
        (-1500.0, 1, "failing: offset is 1.5s"),
        (0.2, 0, "failing: ntpd: no source has answered"),
    ],
)
def test_what_ntpd_says_is_judged_by_its_sources(clock, off, reach, said, settled):
    answers = (RV.format(off=off), PEERS.format(reach=reach))
    assert clock(ntpd=answers, fail_age="3650d").startswith(said)
    assert clock(ntpd=answers, daemon="chrony").startswith("unknown: ")


def test_ntpd_has_times_of_its_own():
    clock = clock_of_ntpd(RV.format(off=1), PEERS.format(reach=1))
    assert (clock.heard_at, clock.offset_s) == (ntp_time("ecc0a1b2.80000000"), 0.001)
    assert ntp_time("83aa7e80.00000000") == 0 and ntp_time("00000000.0") is None
    # After the 7th of February 2036 the seconds begin anew.
    assert ntp_time("00000001.0") == (1 << 32) + 1 - 2_208_988_800
    with pytest.raises(CheckUnknown, match="ntpq printed something else"):
        clock_of_ntpd("nonsense", "")


def test_timesyncd_is_judged_by_when_it_last_set_the_clock(clock):
    assert clock(timesyncd=60) == "ok: "
    assert clock(timesyncd=8000).startswith("failing: age is 2.2")
    assert clock(timesyncd=60, daemon="chrony").startswith("unknown: ")


def test_timesyncd_that_has_never_set_the_clock_is_failing(clock, tmp_path):
    (tmp_path / "timesync").mkdir()
    said = "systemd-timesyncd: the clock is not synchronised"
    assert clock().startswith(f"failing: {said}")
    assert clock(daemon="ntpd").startswith("unknown: ")


def test_where_no_daemon_answers_nothing_is_known(clock):
    said = clock()
    assert said.startswith("unknown: no daemon says how it keeps the clock\n")
    assert said.count("\nprogram is not installed") == 2
    assert len(said.splitlines()) == 4
    bad = ("506 Cannot talk to daemon", "")
    said = clock(chrony=bad, code=1, daemon="chrony")
    assert said == "unknown: chronyc: 506 Cannot talk to daemon"

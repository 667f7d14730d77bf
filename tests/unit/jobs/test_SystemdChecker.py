"""[systemd NAME] against a stand-in of systemctl that prints what systemd 252 does."""

from __future__ import annotations

import sys
import time

import pytest

from jobs.SystemdChecker import SystemdChecker, listed, moment, unit_name
from lib.core.enums import Status
from tests.support.listeners import job_of, result_of

#: What systemd says of a unit of which it knows nothing but the file.
NEVER = {
    "LoadState": "loaded",
    "ActiveState": "inactive",
    "SubState": "dead",
    "Result": "success",
    "NRestarts": "0",
    "Type": "simple",
    "RemainAfterExit": "no",
    "ExecMainStatus": "0",
    "ExecMainExitTimestamp": "",
    "ConditionResult": "no",
    "ConditionTimestamp": "",
    "AssertResult": "no",
}
UP = {"ActiveState": "active", "SubState": "running", "ConditionResult": "yes"}
LOOP = {"ActiveState": "activating", "SubState": "auto-restart", "NRestarts": "7"}
ONESHOT = {"Type": "oneshot"}
GONE = {"LoadState": "not-found"}
TIMER = {"Unit": "it.service", "ActiveState": "active", "SubState": "waiting"}


def at(seconds_ago):
    """Return a time as systemd shows it."""
    when = time.gmtime(time.time() - seconds_ago)
    return time.strftime("%a %Y-%m-%d %H:%M:%S UTC", when)


def ran(seconds_ago, **more):
    """Return the properties of a oneshot that ended so long ago."""
    shown = at(seconds_ago)
    times = {"ExecMainExitTimestamp": shown, "ConditionTimestamp": shown}
    return {**ONESHOT, **times, "ConditionResult": "yes", **more}


@pytest.fixture
def asked(tmp_path):
    """A function that returns a job to which systemd says this of its units."""

    def job(units, program="", **options):
        blocks = {}
        for name, changes in units.items():
            lines = {"Id": name, **NEVER, **changes}.items()
            blocks[name] = "\n".join(f"{key}={value}" for key, value in lines)
        script = tmp_path / "systemctl"
        script.write_text(
            f"#!{sys.executable} -S\nimport os, sys, time\n{program}\n"
            f"blocks = {blocks!r}\nname = sys.argv[-1]\n"
            "assert os.environ['LC_ALL'] == 'C' and os.environ['TZ'] == 'UTC'\n"
            "chosen = blocks.values() if name == '*' else [blocks[name]]\n"
            "print('\\n\\n'.join(chosen))\n"
        )
        script.chmod(0o755)
        one = job_of(SystemdChecker, **options)
        one.systemctl = (str(script),)
        one.booted = str(tmp_path)
        return one

    return job


def found(job):
    """Return the word of the status, and the reason."""
    result = result_of(job)
    return f"{result.status.value}: {result.reason}"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (UP, "ok: "),
        ({**UP, "SubState": "exited", **ONESHOT, "RemainAfterExit": "yes"}, "ok: "),
        ({**UP, "ActiveState": "reloading"}, "ok: "),
        (NEVER, "failing: it.service is inactive"),
        ({"ExecMainStatus": "3"}, "failing: it.service is inactive (status 3)"),
        (GONE, "failing: there is no unit it.service"),
        ({**GONE, **UP}, "warning: it.service still runs, but its file is gone"),
        ({"LoadState": "masked"}, "failing: it.service is masked"),
        ({"LoadState": "bad-setting"}, "failing: it.service cannot be loaded: bad-s"),
        (
            {"ActiveState": "failed", "Result": "signal", "ExecMainStatus": "9"},
            "failing: it.service has failed (signal, status 9)",
        ),
        # Another program of it failed, so the status of the main one is 0.
        (
            {"ActiveState": "failed", "Result": "exit-code"},
            "failing: it.service has failed (exit-code)",
        ),
        (LOOP, "failing: it.service ended and is started again and again, 7 times"),
        ({"ActiveState": "activating", "SubState": "start"}, "pending: it.service is "),
        # Of a oneshot: it ran well, never, was skipped, failed, or its run is old.
        (ran(60), "ok: "),
        (ran(60, ExecMainStatus="1"), "ok: "),
        (ONESHOT, "warning: it.service has not run since this machine started"),
        (
            {**ONESHOT, "ConditionTimestamp": at(5)},
            "failing: it.service: its last start was skipped",
        ),
        (
            {**ran(600), "ConditionResult": "no", "ConditionTimestamp": at(5)},
            "failing: it.service: its last start was skipped",
        ),
        (
            {**ran(600), "AssertResult": "no", "ConditionTimestamp": at(5)},
            "failing: it.service: its last start was refused",
        ),
        (ran(60, Result="exit-code"), "failing: it.service: its last run was no succ"),
        ({**ran(60), "ActiveState": "activating", "SubState": "start"}, "ok: "),
        ({**ONESHOT, "ActiveState": "activating"}, "pending: it.service is running"),
    ],
)  # fmt: skip
def test_a_unit_is_found_as_systemd_has_it(asked, changes, said):
    assert found(asked({"it.service": changes}, unit="it")).startswith(said)


@pytest.mark.parametrize(
    ("timer", "service", "said"),
    [
        ({}, ran(60), "ok: "),
        ({"LastTriggerUSec": at(61)}, ran(60), "ok: "),
        ({"SubState": "running"}, {**UP, **ONESHOT}, "warning: "),
        ({"SubState": "elapsed"}, ran(60), "failing: it.timer has elapsed for the la"),
        ({"ActiveState": "inactive"}, ran(60), "failing: it.timer is inactive, so it"),
        (GONE | {"ActiveState": "inactive"}, {}, "failing: there is no unit it.timer"),
        ({}, GONE, "failing: there is no unit it.service"),
        # A dependency failed: systemd knows of no run, but the timer has elapsed.
        ({"LastTriggerUSec": at(9)}, ONESHOT, "failing: it.service: its timer has st"),
        ({"LastTriggerUSec": at(9)}, ran(99), "failing: it.service: its timer has st"),
        (
            {"SubState": "running"},
            {**ran(99), **UP, "SubState": "exited", "RemainAfterExit": "yes"},
            "failing: it.service has RemainAfterExit=yes",
        ),
    ],
)  # fmt: skip
def test_a_timer_is_judged_with_its_service(asked, timer, service, said):
    units = {"it.timer": {**TIMER, **timer}, "it.service": service}
    assert found(asked(units, unit="it.timer")).startswith(said)


def test_a_last_success_has_an_age(asked):
    units = {"it.service": ran(7200)}
    assert found(asked(units, unit="it", fail_age="3h", warn_age="3h")) == "ok: "
    assert found(asked(units, unit="it", fail_age="1h")).startswith(
        "failing: age is 2h"
    )
    assert found(asked(units, unit="it", warn_age="1h")).startswith(
        "warning: age is 2h"
    )


def test_a_success_is_remembered_when_systemd_has_forgotten_it(asked):
    job = asked({"it.service": ONESHOT}, unit="it", fail_age="1d")
    job.memory = {"success_at": time.time() - 3600}
    assert 3590 < job.check(job.target, job._deadline())["age"].number < 3700
    job.memory = {"success_at": time.time() - 90_000}
    values = job.check(job.target, job._deadline())
    assert not values["age"].fail.allows(values["age"].number)


def test_what_has_no_success_since_the_boot_is_too_old_some_day(asked):
    said = found(asked({"it.service": ONESHOT}, unit="it", fail_age="1ms"))
    assert said == "failing: it.service has not run since this machine started"


def test_restarts_are_counted_since_the_last_check(asked):
    units = {"it.service": {**UP, "NRestarts": "9"}}
    job = asked(units, unit="it", fail_restarts="3", warn_restarts="1")

    def restarts(before):
        job.memory = before
        return job.check(job.target, job._deadline())["restarts"].number

    assert restarts({}) == 0
    assert restarts({"restarts": {}}) == 9
    assert restarts({"restarts": {"it.service": 5}}) == 4
    # reset-failed, or a boot.
    assert restarts({"restarts": {"it.service": 20}}) == 9
    assert job.memory == {"restarts": {"it.service": 9}}


def test_all_units_are_looked_at_where_none_is_named(asked):
    units = {"a.service": UP, "b.service": NEVER, "c.service": GONE}
    assert found(asked(units)) == "ok: "
    units["d.service"] = {"ActiveState": "failed", "Result": "timeout"}
    assert found(asked(units)) == "failing: d.service has failed (timeout)"
    assert found(asked(units, ignore="x, d.*")) == "ok: "
    units["e.service"] = LOOP
    assert found(asked(units)).startswith("failing: 2 units have failed\nd.service")


def test_many_failed_units_are_counted():
    assert listed([f"{n}" for n in range(7)]).splitlines()[-1] == "and 2 more"


def test_without_an_answer_nothing_is_known(asked):
    units = {"it.service": UP}
    said = found(asked(units, "sys.exit('Failed to connect to bus')", unit="it"))
    assert said == "unknown: systemctl: Failed to connect to bus"
    said = found(asked(units, "time.sleep(30)", unit="it", timeout="0.5s"))
    assert said == "unknown: systemctl did not answer within 0.5 s"
    job = asked(units, unit="it")
    job.booted = "/nowhere"
    assert found(job).startswith("unknown: systemd does not run this machine")
    job = asked(units, unit="it")
    job.systemctl = ("/nowhere/systemctl",)
    assert result_of(job).status is Status.UNKNOWN


def test_many_units_are_asked_side_by_side(asked):
    # None of them answers before all are asked.
    waits = (
        "open(f'{sys.argv[0]}.{os.getpid()}', 'w')\n"
        "while len(os.listdir(os.path.dirname(sys.argv[0]))) < 9: time.sleep(.05)"
    )
    jobs = [asked({"it.service": UP}, waits, unit="it") for _ in range(8)]
    done = list(
        filter(
            None,
            SystemdChecker.check_many(jobs, lambda all_: [j._deadline() for j in all_]),
        )
    )
    assert len(done) == 8 and all(type(values) is dict for _job, values in done)


@pytest.mark.parametrize(
    ("given", "name"),
    [("nginx", "nginx.service"), ("a.timer", "a.timer"), ("a@b.service",) * 2],
)
def test_a_unit_without_a_suffix_is_a_service(given, name):
    assert unit_name(given) == name


@pytest.mark.parametrize("given", ["", "--now", "a b", "*.service", "a/b"])
def test_what_is_no_unit_is_refused(given):
    with pytest.raises(ValueError, match="expected the name of one unit"):
        unit_name(given)


def test_times_are_those_of_systemd():
    assert moment("Thu 1970-01-01 00:01:40 UTC") == 100
    assert moment("") is moment("n/a") is moment("[not set]") is None

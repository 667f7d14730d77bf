"""[systemd NAME] in a booted systemd, and [clock NAME] beside chrony."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from jobs.ClockChecker import ClockChecker
from jobs.SystemdChecker import PROPERTIES, units_in, why_failed, why_not_run, why_wrong
from tests.support.listeners import job_of, result_of

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[3]


def oneshot(program, more=""):
    """Return the service of a timer."""
    return f"[Unit]\n{more}\n[Service]\nType=oneshot\nExecStart=/bin/{program}\n"


TIMER = "[Timer]\nOnActiveSec=0\nOnUnitInactiveSec=1h\nAccuracySec=1ms\n"
UNITS = {
    "up.service": "[Service]\nExecStart=/bin/sleep 60\n",
    "loop.service": "[Service]\nRestart=always\nRestartSec=30\nExecStart=/bin/false\n",
    "bad.service": oneshot("false"),
    "empty.service": "",
    "well.service": oneshot("true"),
    "failed.service": oneshot("false"),
    "skipped.service": oneshot("true", "ConditionPathExists=/none"),
    "waits.service": oneshot("true", "Requires=bad.service\nAfter=bad.service"),
    "never.service": oneshot("true"),
    **{f"{name}.timer": TIMER for name in ("well", "failed", "skipped", "waits")},
    "never.timer": "[Timer]\nOnCalendar=2099-01-01\n",
    "clock.service": "[Service]\nExecStart=/usr/sbin/chronyd -x -d -u root -f /clock\n",
}
CLOCK = """local stratum 3
port 0
cmdport 1323
bindcmdaddress 127.0.0.1
bindcmdaddress /
pidfile /run/chronyd.pid
"""
TIMERS = [name for name in UNITS if name.endswith(".timer")]
LOOK = """[Service]
Type=oneshot
Environment=LC_ALL=C TZ=UTC
ExecStart=/bin/sh -c 'systemctl start up loop bad clock {timers}; \
sleep 1; for unit in {units}; do systemctl show --no-pager --all --property={names} \
-- $unit; echo; done >/out/shown; {python} /out/ask.py 2>/out/errors; systemctl exit'
"""
#: What is asked in the container: the options of a section, and its kind.
ASKED = [
    *((name, "systemd", {"unit": name}) for name in UNITS if name != "clock.service"),
    ("never, aged", "systemd", {"unit": "never.timer", "fail_age": "1s"}),
    ("all", "systemd", {}),
    ("all but", "systemd", {"ignore": "bad.service, failed.service, loop.service"}),
    ("clock", "clock", {}),
    ("local clock", "clock", {"local": "yes"}),
]
ASK = """\
import json, sys
sys.path.insert(0, {root!r})
from jobs.ClockChecker import ClockChecker
from jobs.SystemdChecker import SystemdChecker
from tests.support.listeners import job_of, result_of
kinds = dict(systemd=SystemdChecker, clock=ClockChecker)
found = {{}}
for name, kind, options in {asked!r}:
    job = job_of(kinds[kind], **options)
    if kind == "clock":
        job.chronyc = ("chronyc", "-h", "127.0.0.1", "-p", "1323")
    result = result_of(job)
    found[name] = [result.status.value, result.reason, sorted(result.values)]
with open("/out/found", "w") as file:
    json.dump(found, file)
"""


@dataclass
class Booted:
    """What a booted systemd says of its units, by name, and what the kinds find."""

    units: dict
    found: dict

    def said(self, name):
        status, reason, _values = self.found[name]
        return f"{status}: {reason}"


@pytest.fixture(scope="module")
def booted(tmp_path_factory):
    """What a systemd that was booted in a container says of some units, by name."""
    if os.geteuid() != 0 or not shutil.which("systemd-nspawn"):
        pytest.skip("needs root and systemd-nspawn (systemd-container)")
    if not os.path.exists("/usr/sbin/chronyd"):
        pytest.skip("needs chrony")
    root, out = tmp_path_factory.mktemp("root"), tmp_path_factory.mktemp("out")
    units = root / "etc/systemd/system"
    units.mkdir(parents=True)
    for name in ("usr", "var", "run", "tmp", "proc", "sys", "dev", "out"):
        (root / name).mkdir()
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    (root / "etc/os-release").write_text("ID=test\n")
    (root / "etc/machine-id").write_text("")
    (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    for name, content in UNITS.items():
        (units / name).write_text(content)
    names = " ".join((*UNITS, "none.service"))
    look = LOOK.format(
        units=names,
        names=",".join(PROPERTIES),
        timers=" ".join(TIMERS),
        python=sys.executable,
    )
    (root / "clock").write_text(CLOCK)
    (out / "ask.py").write_text(ASK.format(root=str(ROOT), asked=ASKED))
    (units / "look.service").write_text(look)
    command = ["systemd-nspawn", "-q", "-D", str(root), "--private-network"]
    command += ["--register=no", "--keep-unit", "--bind-ro=/usr", f"--bind={out}:/out"]
    for folder in dict.fromkeys((sys.base_prefix, sys.prefix, str(ROOT))):
        if not folder.startswith("/usr"):
            command += [f"--bind-ro={folder}"]
    command += ["-b", "systemd.unit=look.service"]
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=40
        )
    if not (out / "shown").exists():
        pytest.skip("systemd cannot be booted in a container here")
    errors = (out / "errors").read_text()
    assert (out / "found").exists(), errors
    units = units_in((out / "shown").read_text())
    return Booted(
        {unit["Id"]: unit for unit in units}, json.loads((out / "found").read_text())
    )


def test_a_booted_systemd_is_read_as_it_is(booted):
    booted = booted.units
    assert not why_wrong("up.service", booted["up.service"])
    assert not why_failed(booted["up.service"])
    assert booted["up.service"]["ActiveState"] == "active"
    assert "again and again (exit-code, status 1)" in why_failed(booted["loop.service"])
    assert "has failed (exit-code" in why_failed(booted["bad.service"])
    assert "masked" in why_wrong("empty.service", booted["empty.service"])
    assert "there is no" in why_wrong("none.service", booted["none.service"])
    assert "no success" in why_not_run(booted["bad.service"], booted["bad.service"])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("up.service", "ok: "),
        ("loop.service", "failing: loop.service ended and is started again and again"),
        ("bad.service", "failing: bad.service has failed (exit-code"),
        ("empty.service", "failing: empty.service is masked"),
        ("well.timer", "ok: "),
        ("failed.timer", "failing: failed.service has failed (exit-code"),
        ("skipped.timer", "failing: skipped.service: its last start was skipped"),
        ("waits.timer", "failing: waits.service: "),
        ("never.timer", "warning: never.service has not run since this machine"),
        ("never, aged", "failing: never.service has not run since this machine"),
        ("all", "failing: "),
        ("all but", "ok: "),
        ("clock", "failing: chrony: "),
        ("local clock", "ok: "),
    ],
)
def test_what_the_kinds_find_in_a_booted_systemd(booted, name, said):
    assert booted.said(name).startswith(said)


def test_all_units_that_have_failed_are_named(booted):
    reason = booted.said("all")
    for name in ("bad.service", "failed.service", "loop.service"):
        assert name in reason
    assert "skipped" not in reason and "well" not in reason
    assert booted.found["well.timer"][2] == ["age", "restarts"]


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@contextlib.contextmanager
def chronyd(folder, name, lines):
    path = folder / f"{name}.conf"
    path.write_text("\n".join((*lines, f"pidfile {folder}/{name}.pid", "")))
    command = ["/usr/sbin/chronyd", "-x", "-d", "-u", "root", "-f", str(path)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as daemon:
        try:
            yield daemon
        finally:
            daemon.terminate()


def test_chrony_whose_only_source_has_died_is_failing(tmp_path):
    if os.geteuid() != 0 or not os.path.exists("/usr/sbin/chronyd"):
        pytest.skip("needs root and chrony")
    port, control = free_port(), free_port()
    server = ("local stratum 3", "allow 127.0.0.1", f"port {port}", "cmdport 0")
    server += ("bindcmdaddress /",)
    client = (f"server 127.0.0.1 port {port} iburst minpoll 0 maxpoll 0", "port 0")
    client += (f"cmdport {control}", "bindcmdaddress 127.0.0.1")
    client += (f"bindcmdaddress {tmp_path}/socket",)
    job = job_of(ClockChecker, daemon="chrony")
    job.chronyc = ("chronyc", "-h", "127.0.0.1", "-p", str(control))

    def found(until):
        ends_at = time.monotonic() + 40
        while time.monotonic() < ends_at:
            result = result_of(job)
            said = f"{result.status.value}: {result.reason}"
            if until in said:
                break
            time.sleep(0.5)
        return said

    with chronyd(tmp_path, "client", client):
        with chronyd(tmp_path, "server", server):
            assert found("ok: ") == "ok: "
        assert "no source has answered" in found("no source has answered")
        asked = subprocess.run(
            [*job.chronyc, "-c", "tracking"], capture_output=True, text=True
        )
        assert asked.stdout.strip().endswith(",Normal")
    assert found("unknown: ").startswith("unknown: chronyc: 506 ")

"""[systemd NAME] in a booted systemd, and [clock NAME] beside chrony."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time

import pytest

from jobs.ClockChecker import ClockChecker
from jobs.SystemdChecker import PROPERTIES, units_in, why_failed, why_not_run, why_wrong
from tests.support.listeners import job_of, result_of

pytestmark = pytest.mark.integration

UNITS = {
    "up.service": "[Service]\nExecStart=/bin/sleep 60\n",
    "loop.service": "[Service]\nRestart=always\nRestartSec=30\nExecStart=/bin/false\n",
    "bad.service": "[Service]\nType=oneshot\nExecStart=/bin/false\n",
    "empty.service": "",
}
LOOK = """[Service]
Type=oneshot
Environment=LC_ALL=C TZ=UTC
ExecStart=/bin/sh -c 'systemctl start up; systemctl start loop; systemctl start bad; \
sleep 1; for unit in {units}; do systemctl show --no-pager --all --property={names} \
-- $unit; echo; done >/out/shown; systemctl exit'
"""


@pytest.fixture(scope="module")
def booted(tmp_path_factory):
    """What a systemd that was booted in a container says of some units, by name."""
    if os.geteuid() != 0 or not shutil.which("systemd-nspawn"):
        pytest.skip("needs root and systemd-nspawn (systemd-container)")
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
    look = LOOK.format(units=names, names=",".join(PROPERTIES))
    (units / "look.service").write_text(look)
    command = ["systemd-nspawn", "-q", "-D", str(root), "--private-network"]
    command += ["--register=no", "--keep-unit", "--bind-ro=/usr", f"--bind={out}:/out"]
    command += ["-b", "systemd.unit=look.service"]
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=40
        )
    if not (out / "shown").exists():
        pytest.skip("systemd cannot be booted in a container here")
    return {unit["Id"]: unit for unit in units_in((out / "shown").read_text())}


def test_a_booted_systemd_is_read_as_it_is(booted):
    assert not why_wrong("up.service", booted["up.service"])
    assert not why_failed(booted["up.service"])
    assert booted["up.service"]["ActiveState"] == "active"
    assert "again and again (exit-code, status 1)" in why_failed(booted["loop.service"])
    assert "has failed (exit-code" in why_failed(booted["bad.service"])
    assert "masked" in why_wrong("empty.service", booted["empty.service"])
    assert "there is no" in why_wrong("none.service", booted["none.service"])
    assert "no success" in why_not_run(booted["bad.service"], booted["bad.service"])


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

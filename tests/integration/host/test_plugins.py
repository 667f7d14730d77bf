"""[plugin NAME] with every plugin of Debian's three packages, and real command lines.

They need monitoring-plugins-basic, -standard and -contrib without what these recommend:
that plugins find their libraries missing is a part of it.
"""

from __future__ import annotations

import http.server
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from jobs.PluginChecker import PluginChecker
from lib.core.enums import Status
from lib.core.results import CheckResult, Unit
from tests.support.listeners import closed_port, job_of, result_of

FOLDER = Path("/usr/lib/nagios/plugins")
#: One of each package.
NEEDED = {
    "check_load": "monitoring-plugins-basic",
    "check_snmp": "monitoring-plugins-standard",
    "check_raid": "monitoring-plugins-contrib",
}
MISSING = [package for name, package in NEEDED.items() if not (FOLDER / name).exists()]

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        bool(MISSING), reason=f"as root: apt-get install {' '.join(MISSING)}"
    ),
]

PLUGINS = sorted(
    path.name
    for path in (FOLDER.iterdir() if FOLDER.is_dir() else ())
    if path.is_file() and os.access(path, os.X_OK)
    # It knows no --help, and would ask the name servers of this machine.
    and path.name != "check_etc_resolv"
)
#: These take --help for something to check, or do nothing, and are right.
NO_HELP = {"check_etc_hosts", "utils.sh"}


def run(command: str, **options: str) -> CheckResult:
    return result_of(job_of(PluginChecker, command=command, **options))


@pytest.mark.parametrize("name", PLUGINS)
def test_every_plugin_asked_for_its_help_is_not_ok(name):
    result = run(f"{name} --help", timeout="30s")
    assert result.reason or name in NO_HELP
    assert (result.status is Status.OK) == (name in NO_HELP), result.reason
    # No exception of ours.
    assert not result.output


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        codes = {"/": 200, "/gone": 404, "/away": 301}
        self.send_response(codes.get(self.path, 500), "A | phrase")
        self.send_header("Content-Length", "5")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


#: A command line, its status, how its text begins, and the values that it has.
LINES: Sequence[tuple[str, Status, str, set[str]]] = [
    ("check_dummy 0", Status.OK, "", set()),
    ("check_dummy 1 so", Status.WARNING, "WARNING: so", set()),
    ("check_dummy 2 so", Status.FAILING, "CRITICAL: so", set()),
    ("check_dummy 3 so", Status.UNKNOWN, "UNKNOWN: so", set()),
    ("check_dummy 9", Status.UNKNOWN, "UNKNOWN: Status 9 is not", set()),
    (
        "check_load -w 900,900,900 -c 999,999,999",
        Status.OK,
        "",
        {"load1", "load5", "load15"},
    ),
    (
        "check_load -w 0,0,0 -c 0,0,0",
        Status.FAILING,
        "LOAD CRITICAL - total",
        {"load1"},
    ),
    ("check_disk -w 0% -c 0% -p /", Status.OK, "", {"/"}),
    ("check_disk -w 0% -c 100% -p /", Status.FAILING, "DISK CRITICAL", {"/"}),
    ("check_disk -w 1 -c 1 -u GB -p /nothing", Status.FAILING, "DISK CRITICAL", set()),
    ("check_procs -w 1:99999", Status.OK, "", {"procs"}),
    ("check_procs -c 99999:", Status.FAILING, "PROCS CRITICAL", {"procs"}),
    ("check_users -w 900 -c 999", Status.OK, "", {"users"}),
    (
        "check_file_age -w 99999999999 -c 99999999999 -f /etc/passwd",
        Status.OK,
        "",
        {"age", "size"},
    ),
    ("check_file_age -f /no/such", Status.FAILING, "FILE_AGE CRITICAL", set()),
    ("check_tcp -H 127.0.0.1 -p {port}", Status.OK, "", {"time"}),
    ("check_tcp -H 127.0.0.1 -p {port} -w 0.5", Status.OK, "", {"time"}),
    ("check_tcp -H 127.0.0.1 -p {closed}", Status.FAILING, "connect to address", set()),
    ("check_http -H 127.0.0.1 -p {port}", Status.OK, "", {"time", "size"}),
    (
        "check_http -H 127.0.0.1 -p {port} -u /gone",
        Status.WARNING,
        "HTTP WARNING",
        {"time"},
    ),
    (
        "check_http -H 127.0.0.1 -p {port} -u /other",
        Status.FAILING,
        "HTTP CRITICAL",
        {"time"},
    ),
    (
        "check_http -H 127.0.0.1 -p {port} -s nothing",
        Status.FAILING,
        "HTTP CRITICAL",
        {"size"},
    ),
    (
        "check_http -H 127.0.0.1 -p {closed}",
        Status.FAILING,
        "connect to address",
        set(),
    ),
    (
        "check_time -H 127.0.0.1 -p {closed}",
        Status.UNKNOWN,
        "connect to address",
        set(),
    ),
    ("check_ntp_time", Status.UNKNOWN, "", set()),
    (
        "check_curl -H 127.0.0.1",
        Status.UNKNOWN,
        "the plugin ended with exit code 127",
        set(),
    ),
    ("check_clamav", Status.UNKNOWN, "the plugin did not run", set()),
    ("check_mysql_health", Status.UNKNOWN, "the plugin did not run", set()),
    (
        "check_soas",
        Status.UNKNOWN,
        "/usr/lib/nagios/plugins/check_soas cannot be started",
        set(),
    ),
    ("check_madrisan_uptime", Status.OK, "", {"uptime"}),
    ("check_madrisan_load", Status.OK, "", set()),
    ("check_cluster -s -d 0,2 -c 5", Status.OK, "", set()),
    (
        "/usr/lib/nagios/plugins/negate /usr/lib/nagios/plugins/check_dummy 2",
        Status.OK,
        "",
        set(),
    ),
    ("negate check_dummy 2", Status.UNKNOWN, "negate: Require path to command", set()),
]


@pytest.mark.parametrize(("command", "status", "text", "names"), LINES)
def test_a_real_command_line(command, status, text, names, port):
    result = run(command.format(port=port, closed=closed_port()))
    assert result.status is status, result.reason
    assert result.reason.startswith(text)
    assert names <= result.values.keys(), result.values
    assert not result.output


def test_the_numbers_are_in_our_units(port):
    values = run(f"check_http -H 127.0.0.1 -p {port}").values
    assert values["time"].unit is Unit.SECONDS and values["time"].number < 5
    assert values["size"].unit is Unit.BYTES and 5 < values["size"].number < 500
    used = run("check_disk -w 0% -c 0% -p / -u MB").values["/"]
    stat = os.statvfs("/")
    real = (stat.f_blocks - stat.f_bfree) * stat.f_frsize
    assert used.unit is Unit.BYTES and abs(used.number - real) < 0.02 * real + 1e8


def test_a_german_locale_changes_nothing(port):
    options = {"environment": "LC_ALL=de_DE.UTF-8\n  LANG=de_DE.UTF-8"}
    result = run(f"check_tcp -H 127.0.0.1 -p {port} -w 0.5", **options)
    assert result.status is Status.OK
    assert result.values["time"].warn.high == 0.5


def test_a_log_whose_state_cannot_be_written_says_so(tmp_path):
    log = tmp_path / "log"
    log.write_text("all is well\n")
    result = run(f"check_log -F {log} -O {tmp_path}/no/such/state -q error")
    assert result.status is Status.OK
    assert result.reason.startswith("on standard error: ")

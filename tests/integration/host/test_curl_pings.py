"""Pings of curl and wget, called in the forms that Healthchecks' documentation shows.

Those are in its pages on shell scripts, cron jobs, systemd, attached logs, run times
and the pinging API; what stands for the job there is another command here.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import mounts
from tests.support.daemon import Daemon, free_port
from tests.support.instance import NO_MAIL, Instance

pytestmark = pytest.mark.integration

#: curl as the forms have it: quiet but for errors, and an answer of 400 is one.
QUIET = "curl -fsS -m 10 --retry 5 -o /dev/null"
JOB = "sh -c 'echo copied; echo oops >&2; exit 3'"
LARGE = "seq 400000"

#: A line of the shell, its exit code, and what is kept of it, one for each event.
CASES: dict[str, tuple[str, int, list[dict[str, Any]]]] = {
    "a ping": ("curl -m 10 --retry 5 $URL", 0, [{"what": "end"}]),
    "a silent one": (f"{QUIET} $URL", 0, [{"what": "end"}]),
    "only after success": (f"false && {QUIET} $URL", 1, []),
    "the exit code of a job": (f"{JOB}; curl -m 10 $URL/$?", 0, [{"code": 3}]),
    "an exit code of 0": ("true; curl --retry 3 $URL/$?", 0, [{"code": 0}]),
    "a failure": ("curl --retry 3 $URL/fail", 0, [{"failed": True}]),
    "output": (
        f'm=$({JOB} 2>&1); {QUIET} --data-raw "$m" $URL',
        0,
        [{"what": "end", "output": "copied\noops"}],
    ),
    "output and the exit code": (
        f'm=$({JOB} 2>&1); {QUIET} --data-raw "$m" $URL/$?',
        0,
        [{"code": 3, "output": "copied\noops"}],
    ),
    "no output": (
        f'm=$(true); {QUIET} --data-raw "$m" $URL',
        0,
        [{"what": "end", "output": None}],
    ),
    "output, as a POST": (
        f"url=$URL; m=$({JOB} 2>&1); if [ $? -ne 0 ]; then url=$url/fail; fi;"
        ' curl -fsS --retry 3 -X POST --data-raw "$m" $url',
        0,
        [{"failed": True, "output": "copied\noops"}],
    ),
    "in one line": (
        f'm=$({JOB} 2>&1); curl -fsS -X POST --data-raw "$m"'
        ' "$URL$([ $? -ne 0 ] && echo -n /fail)"',
        0,
        [{"failed": True}],
    ),
    "in one line, without a failure": (
        'm=$(true); curl -fsS -X POST --data-raw "$m"'
        ' "$URL$([ $? -ne 0 ] && echo -n /fail)"',
        0,
        [{"what": "end", "failed": False}],
    ),
    "output that looks like a file's name": (
        f"{QUIET} --data-raw '@/etc/hostname & x=%41' $URL",
        0,
        [{"output": "@/etc/hostname & x=%41"}],
    ),
    "output through a pipe": (
        f"{LARGE} | {QUIET} --data-binary @- $URL",
        0,
        [{"cut": True, "what": "end"}],
    ),
    "output of a file": (
        f"{LARGE} >out; {QUIET} --data-binary @out $URL/1",
        0,
        [{"cut": True, "code": 1}],
    ),
    "a start and an end": (
        f"{QUIET} $URL/start; {QUIET} $URL",
        0,
        [{"what": "start"}, {"what": "end"}],
    ),
    "both of one run": (
        'id=$(cat /proc/sys/kernel/random/uuid); curl -fsS "$URL/start?rid=$id";'
        f' {JOB}; curl -fsS "$URL/$??rid=$id"',
        0,
        [{"what": "start"}, {"what": "end", "code": 3}],
    ),
    "an id that is none": ('curl -fsS "$URL?rid=5"', 22, []),
    "a log": (
        f"{QUIET} --data-raw 'half way' $URL/log",
        0,
        [{"what": "log", "output": "half way"}],
    ),
    "HEAD": ("curl -fsS --head $URL", 0, [{"what": "end"}]),
    "POST without a body": ("curl -fsS -X POST $URL", 0, [{"what": "end"}]),
    "HTTP/1.0": ("curl -fsS --http1.0 $URL", 0, [{"what": "end"}]),
    "two of one connection": (
        "curl -fsS $URL/start $URL",
        0,
        [{"what": "start"}, {"what": "end"}],
    ),
    # The line of a unit: ExecStopPost=curl ... $URL/${EXIT_STATUS}
    "systemd's word for a signal": (
        "EXIT_STATUS=KILL; curl -sS -m 10 --retry 5 $URL/${EXIT_STATUS}",
        0,
        [{"signal": "SIGKILL"}],
    ),
    "systemd's exit code": (
        "EXIT_STATUS=255; curl -sS -m 10 --retry 5 $URL/${EXIT_STATUS}",
        0,
        [{"code": 255}],
    ),
    "one that is to be created": (
        "curl -fsS -m 10 $BASE/0123456789abcdef/$(hostname)?create=1",
        22,
        [],
    ),
    "wget": ("wget -q -T 10 -t 5 -O /dev/null $URL", 0, [{"what": "end"}]),
    "output by wget": (
        f'm=$({JOB} 2>&1); wget -q -O - --post-data="$m" $URL/$? >/dev/null',
        0,
        [{"code": 3, "output": "copied\noops"}],
    ),
}
NAMES = dict(zip(CASES, (f"case{n}" for n in range(len(CASES))), strict=True))


def token_of(case: str) -> str:
    return f"token-of-{NAMES[case]}-0123456789"


class Taker:
    """A daemon that takes pings, and what it has kept."""

    def __init__(self, instance: Instance, daemon: Daemon, port: int) -> None:
        self.instance, self.daemon = instance, daemon
        self.base = f"http://127.0.0.1:{port}/ping"
        self.folder = Path(instance.state, "inbox", "heartbeats")

    def run(self, line: str, token: str) -> tuple[int, str]:
        """Run a line of the shell; return its exit code, and what it printed."""
        done = subprocess.run(
            ["sh", "-c", line],
            cwd=self.instance.folder,
            env={**os.environ, "URL": f"{self.base}/{token}", "BASE": self.base},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
        return done.returncode, done.stdout

    def events(self) -> list[dict[str, Any]]:
        """Return what was kept, by its time; it is kept no longer."""
        found = []
        for path in self.folder.glob("*"):
            assert path.suffix == ".json", path
            found.append(json.loads(path.read_bytes()))
            path.unlink()
        return sorted(found, key=lambda event: event["at"])


@contextlib.contextmanager
def taking(folder: Path, sections: str) -> Iterator[Taker]:
    if shutil.which("curl") is None:
        pytest.skip("as root: apt-get install curl")
    instance = Instance(folder, NO_MAIL)
    port = free_port()
    instance.add(f"[page]\nping = yes\nlisten = 127.0.0.1:{port}\n{sections}")
    with Daemon(instance) as daemon:
        # It says where it takes pings once it does.
        assert daemon.process.stdout is not None
        while "takes pings on" not in daemon.process.stdout.readline():
            continue
        yield Taker(instance, daemon, port)


@pytest.fixture(scope="module")
def taker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Taker]:
    """Return a daemon with a heartbeat for each case."""
    sections = "".join(
        f"[heartbeat {NAMES[case]}]\nperiod = 1d\ntoken = {token_of(case)}\n"
        for case in CASES
    )
    with taking(tmp_path_factory.mktemp("taker"), sections) as it:
        yield it


@pytest.mark.parametrize("case", CASES)
def test_a_form_of_the_documentation(taker, case):
    line, code, expected = CASES[case]
    if line.startswith("wget") and shutil.which("wget") is None:
        pytest.skip("as root: apt-get install wget")
    assert taker.run(line, token_of(case))[0] == code
    events = taker.events()
    assert len(events) == len(expected)
    for event, wanted in zip(events, expected, strict=True):
        assert event["name"] == NAMES[case]
        defaults = {"output": None, "failed": False, "code": None, "signal": ""}
        known = {**defaults, **event}
        assert {name: known[name] for name in wanted} == wanted
        if event.get("cut"):
            assert known["output"].endswith("\n399999\n400000\n")
            assert len(known["output"]) == 10_000
    if "rid" in line and events:
        start, end = events
        assert start["run"] == end["run"] != ""


def test_who_is_limited_is_told_when_to_try_again_and_curl_does(taker):
    # So many are taken at once.
    case = "a ping"
    line = "for n in $(seq 40); do curl -s -o /dev/null -w '%{http_code} ' $URL; done"
    said = taker.run(line, token_of(case))[1]
    assert "429" in said.split()
    assert taker.run(f"{QUIET} $URL/fail", token_of(case))[0] == 0
    assert taker.events()[-1]["failed"]


def test_a_full_disk_is_answered_with_503_and_nothing_is_lost(tmp_path):
    if reason := mounts.why_not_small():
        pytest.skip(reason)
    token = "token-of-full-0123456789"
    section = f"[heartbeat full]\nperiod = 1d\ntoken = {token}\n"
    with taking(tmp_path, section) as taker:
        taker.folder.parent.mkdir(exist_ok=True)
        with mounts.small(taker.folder) as small:
            filler = mounts.fill(small)
            ask = "curl -s -m 10 -o /dev/null -w '%{http_code} %{time_total}'"
            for sent in ("", "--data-raw 'some output'"):
                code, said = taker.run(f"{ask} {sent} $URL/1", token)
                status, took_s = said.split()
                assert (code, status) == (0, "503")
                assert float(took_s) < 1
            # Nothing half written stays behind.
            assert list(small.iterdir()) == [filler]
            # A client that tries again is served once there is room.
            line = f"(sleep 1; rm {filler}) & {QUIET} --retry-delay 1 $URL/7; echo $?"
            assert taker.run(line, token)[1].split()[-1] == "0"
            assert [event["code"] for event in taker.events()] == [7]
            mounts.fill(small)
            assert taker.run(f"{QUIET} --retry 0 $URL", token)[0] == 22
    # It says why, and whose token it is stays unsaid.
    assert "a ping cannot be stored: No space left on device" in taker.daemon.err
    assert token not in taker.daemon.err

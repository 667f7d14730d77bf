"""The page of a daemon under what strangers may do to it, while peers ask it.

300 connections that read slowly, and 10,000 requests of guessers, of other sites and of
who looks for a way out of the folder: each is refused, and costs what is bounded.
"""

from __future__ import annotations

import http.client
import multiprocessing
import os
import re
import resource
import socket
import time
from collections import Counter
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

import pytest

from lib.core.jobs import JobKey
from lib.core.records import RunRecord
from lib.core.secret import Secret
from lib.report.page import link_of
from lib.storage import inbox
from lib.storage.store import State
from lib.web import forms, server
from tests.support.daemon import Daemon, free_port
from tests.support.instance import NO_MAIL, Instance
from tests.support.snapshots import HTTP, entry
from tests.support.waits import until

pytestmark = pytest.mark.integration

TOKEN = "3f0c-the-right-one-5e1d"
GUESS = "a-wrong-one-it-is"
REQUESTS, AT_ONCE, SLOW = 10_000, 4, 300
#: How many descriptors the daemon may have, as is usual.
DESCRIPTORS = 1024
#: What the storm may cost, beside what a daemon has that was asked for each page once.
MORE_MB = 40
GROUPS = [f"group-{number}" for number in range(10)]
#: Long names, so that no buffer of the system takes a whole page.
LONG = "-".join(["shop"] * 80)
KEYS = [JobKey(HTTP, f"http {LONG}-{number:04}") for number in range(1000)]


class Said(NamedTuple):
    """What a request got."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Shown:
    """The page of a daemon, asked with bytes as they are."""

    def __init__(self, port: int) -> None:
        self.port = port

    def connected(self, source: str = "127.0.0.1", **given: int) -> socket.socket:
        one = socket.socket()
        one.settimeout(60)
        if buffer := given.get("buffer"):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        one.bind((source, 0))
        one.connect(("127.0.0.1", self.port))
        return one

    def ask(self, raw: bytes, source: str = "127.0.0.1") -> Said:
        with self.connected(source) as one:
            one.sendall(raw)
            return answer_from(one)

    def get(self, path: str, *headers: str, source: str = "127.0.0.1") -> Said:
        return self.ask(request("GET", path, *headers), source)


def answer_from(one: socket.socket) -> Said:
    answer = http.client.HTTPResponse(one)
    answer.begin()
    headers = tuple(pair for pair in answer.getheaders() if pair[0] != "Date")
    return Said(answer.status, headers, answer.read())


def request(method: str, path: str, *headers: str, body: str = "") -> bytes:
    if not any(line.startswith("Host:") for line in headers):
        headers = ("Host: localhost:5001", *headers)
    if body:
        form = "Content-Type: application/x-www-form-urlencoded"
        headers = (*headers, form, f"Content-Length: {len(body)}")
    lines = "".join(f"{line}\r\n" for line in headers)
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n{body}".encode("latin-1")


BEARER = f"Authorization: Bearer {TOKEN}"


def form(key=KEYS[0], hours=0, user="", **more) -> str:
    """Return the form that mutes a job, as it was given out so many hours ago."""
    at = datetime.now(UTC) - timedelta(hours=hours)
    codes = forms.codes(Secret(TOKEN), user, key, at)
    given = {"job": str(key), "action": "mute", "for": "1h", "code": codes["mute"]}
    return urlencode({**given, **more})


#: What is asked again and again: from where, with what, and what it may get.
STORM = {
    "a guess": (2, lambda n: ("GET", "/", f"Authorization: Bearer {GUESS}{n}"), 401),
    "a guess behind a proxy": (
        2,
        lambda n: (
            "GET",
            "/metrics",
            f"Authorization: Bearer {GUESS}{n}",
            f"X-Forwarded-For: 192.0.2.{n % 250}",
            f"Forwarded: for=192.0.2.{n % 250};host=localhost",
            f"X-Real-IP: 192.0.2.{n % 250}",
        ),
        401,
    ),
    "no token": (3, lambda n: ("GET", f"/{link_of(KEYS[n % 1000])}"), 401),
    "no token in a browser": (
        3,
        lambda n: ("GET", f"/{'x/' * (n % 99)}", "Accept: text/html"),
        401,
    ),
    "a token in the query": (3, lambda n: ("GET", f"/?token={TOKEN}&n={n}"), 401),
    "another Host": (4, lambda n: ("GET", "/", f"Host: evil{n}.example", BEARER), 421),
    "a Host of a proxy": (
        4,
        lambda n: (
            "GET",
            "/",
            "Host: x.example",
            "X-Forwarded-Host: localhost",
            BEARER,
        ),
        421,
    ),
    "a way out": (4, lambda n: ("GET", f"/{'../' * (n % 9)}settings.cfg", BEARER), 404),
    "a way out, encoded": (
        4,
        lambda n: ("GET", f"/job-{'%2e%2e%2f' * (n % 9)}etc%2fpasswd.html", BEARER),
        404,
    ),
    "a header in the path": (
        4,
        lambda n: ("GET", f"/x%0d%0aX-Injected:%20{n}%0d%0a%0d%0aHTTP/1.1", BEARER),
        404,
    ),
    "a header in a question": (
        4,
        lambda n: ("GET", f"/api/v1/jobs/x%0d%0aX-Injected:%20{n}?x=%0d%0aA:b", BEARER),
        404,
    ),
    "what cannot be read": (
        4,
        lambda n: ("GET", f"/%ff%00%{n % 90 + 10}", BEARER),
        404,
    ),
    "another site": (
        4,
        lambda n: ("POST", "/ask", "Origin: https://evil.example", BEARER),
        403,
    ),
    "no site": (4, lambda n: ("POST", "/ask", "Origin: null", BEARER), 403),
}


def storm(port: int, first: int, step: int, count: int) -> Counter:
    """Ask so often, each time something else; return how often what was answered."""
    shown, found, kept = Shown(port), Counter(), {}
    names = list(STORM)
    for number in range(first, count, step):
        name = names[number // step % len(names)]
        last, made, _status = STORM[name]
        method, path, *headers = made(number)
        body = form() if method == "POST" else ""
        source = f"127.0.0.{last}"
        for _try in range(2):
            try:
                one = kept.get(source) or shown.connected(source)
                one.sendall(request(method, path, *headers, body=body))
                said = answer_from(one)
            except (OSError, http.client.HTTPException):
                # A connection lasts for ten seconds.
                kept.pop(source, one).close()
                continue
            kept[source] = one
            odd = {"X-Injected", "Set-Cookie"} & {name for name, _value in said.headers}
            found[name, said.status, bool(odd)] += 1
            break
        else:
            found[name, 0, False] += 1
    for one in kept.values():
        one.close()
    return found


def status_of(daemon, name):
    text = Path(f"/proc/{daemon.process.pid}/status").read_text()
    return int(re.search(rf"{name}:\s+(\d+)", text)[1])


def open_files(daemon):
    return len(os.listdir(f"/proc/{daemon.process.pid}/fd"))


def keeps_a_second(took):
    """Return whether answers came within a second; a busy machine delays one or two."""
    return sorted(took)[-3] < 1.0 and max(took) < 5.0


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return tmp_path_factory.mktemp("log") / "checker.log"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory, log):
    """One with a thousand jobs, for all that is done to it."""
    instance = Instance(tmp_path_factory.mktemp("daemon"), NO_MAIL)
    text = instance.settings.read_text()
    instance.write(text.replace("[general]\n", f"[general]\nlogfile = {log}\n"))
    state = State(instance.state)
    now = datetime.now(UTC)
    state.save_run(RunRecord(began_at=now, ended_at=now))
    state.save_catalog({key: entry(key, n) for n, key in enumerate(KEYS)})
    instance.add(
        f"[page]\nlisten = 127.0.0.1:{free_port()}\ntoken = {TOKEN}\n"
        f"public = {', '.join(GROUPS)}\n"
    )
    with Daemon(instance, 0, "-v") as it:
        limits = (DESCRIPTORS, DESCRIPTORS)
        resource.prlimit(it.process.pid, resource.RLIMIT_NOFILE, limits)
        for _line in range(2):
            assert "page on" in it.process.stdout.readline()
        yield it


@pytest.fixture(scope="module")
def shown(daemon):
    text = daemon.instance.settings.read_text()
    return Shown(int(re.search(r"(?s)\[page\]\nlisten = [\d.]+:(\d+)", text)[1]))


def test_a_storm_of_strangers_gets_nothing_and_keeps_no_peer_waiting(
    daemon, shown, log
):
    for path in ("/", "/public", "/metrics", "/api/v1/status"):
        assert shown.get(path, BEARER).status == 200
    files, memory = open_files(daemon), status_of(daemon, "VmRSS")
    took, most_files, most_memory = [], files, memory
    with ExitStack() as stack:
        slow = []
        for number in range(SLOW):
            one = stack.enter_context(shown.connected(buffer=2048))
            path = ("/", "/public")[number % 2]
            one.sendall(request("GET", path, BEARER))
            slow.append(one)
        pool = stack.enter_context(multiprocessing.get_context("fork").Pool(AT_ONCE))
        work = [(shown.port, first, AT_ONCE, REQUESTS) for first in range(AT_ONCE)]
        asked = pool.starmap_async(storm, work)
        while not asked.ready():
            took.append(daemon.seconds_to_answer())
            most_files = max(most_files, open_files(daemon))
            most_memory = max(most_memory, status_of(daemon, "VmRSS"))
            for one in slow:
                one.setblocking(False)
                with suppress(OSError):
                    one.recv(1)
        found = sum(asked.get(), Counter())
    assert keeps_a_second(took)
    assert sum(found.values()) == REQUESTS
    for name, (source, _made, status) in STORM.items():
        # Who guesses waits: of thousands of guesses some are compared.
        allowed = {status, 429} if source == 2 else {status}
        those = {key[1:] for key in found if key[0] == name}
        assert those == {(one, False) for one in allowed}, name
    assert inbox.waiting(daemon.instance.state).requests == ()
    assert most_files < 2 * server.MAX_CONNECTIONS
    assert (most_memory - memory) / 1024 < MORE_MB
    until(lambda: open_files(daemon) <= files + 5, server.LONGEST_S + 15)
    assert shown.get("/", BEARER).status == 200
    # Nobody has anything to do about it, and who guesses writes no log of ours.
    said = log.read_text() if log.exists() else ""
    assert said == ""


def test_who_asks_much_at_once_and_reads_nothing_keeps_nobody_from_the_page(
    daemon, shown
):
    memory = status_of(daemon, "VmRSS")
    with ExitStack() as stack:
        for _ in range(40):
            one = stack.enter_context(shown.connected(buffer=2048))
            one.sendall(b"GET /public HTTP/1.1\r\nHost:localhost\r\n\r\n" * 90)
        most, until_s = 0, time.monotonic() + 8
        while time.monotonic() < until_s:
            assert daemon.seconds_to_answer() < 1.0
            most = max(most, status_of(daemon, "VmRSS") - memory)
            time.sleep(0.1)
        assert shown.get("/api/v1/status", BEARER).status == 200
        assert most / 1024 < MORE_MB


def test_more_slow_readers_than_descriptors_keep_no_peer_waiting(daemon, shown):
    memory = status_of(daemon, "VmRSS")
    with ExitStack() as stack:
        for _ in range(1500):
            one = stack.enter_context(shown.connected(buffer=2048))
            one.sendall(request("GET", "/public"))
        # They all come at once, and cost a busy machine some seconds.
        took = [daemon.seconds_to_answer() for _ in range(20)]
        assert max(took) < 10.0
        assert keeps_a_second(took[5:])
        assert shown.get("/api/v1/status", BEARER).status == 200
        assert (status_of(daemon, "VmRSS") - memory) / 1024 < MORE_MB
        assert open_files(daemon) < 2 * server.MAX_CONNECTIONS
    assert shown.get("/api/v1/status", BEARER).status == 200


def test_without_the_token_a_job_that_exists_is_not_told_from_one_that_does_not(shown):
    there, nowhere = link_of(KEYS[0]), "job-nobody-0123456789.html"
    name = KEYS[0].identity.replace(" ", "%20")
    for known, unknown in (
        (f"/{there}", f"/{nowhere}"),
        (f"/api/v1/jobs/{name}", "/api/v1/jobs/nobody"),
        (f"/badge/job/{name}.svg", "/badge/job/nobody.svg"),
        ("/badge/tag/group-0.svg", "/badge/tag/nobody.svg"),
        (f"/api/v1/history?job={name}", "/api/v1/history?job=nobody"),
        ("/metrics", "/nowhere"),
    ):
        said = shown.get(known)
        assert said == shown.get(unknown)
        assert said.status == 401 and b"shop" not in said.body
        assert shown.get(known, BEARER).status == 200
        assert shown.get(unknown, BEARER).status == 404


def asked(shown, body, *headers):
    origin = ("Origin: http://localhost:5001",) if not headers else headers
    return shown.ask(request("POST", "/ask", BEARER, *origin, body=body)).status


def test_a_form_counts_from_our_own_page_with_the_code_of_this_hour_or_the_last(
    daemon, shown
):
    for headers in (
        ("Origin: null",),
        ("Origin: https://evil.example",),
        ("Origin: http://localhost:5002",),
        ("Origin: http://localhost:5001.evil.example",),
        ("Origin: http://x@localhost:5001",),
        ("X-Forwarded-Host: evil.example", "Origin: http://evil.example"),
        ("Referer: http://localhost:5001/",),
        ("Origin: http://localhost:5001", "Sec-Fetch-Site: cross-site"),
    ):
        assert asked(shown, form(), *headers) == 403, headers
    for body in (
        form(hours=2),
        form(hours=-1),
        form(user="ann"),
        form(KEYS[1], job=KEYS[0]),
        form(action="unmute"),
        form(code=""),
        form(code=TOKEN),
        form() + "&x" * 20,
        "x" * 20_000,
    ):
        assert asked(shown, body) in (403, 413), body[:300]
    assert inbox.waiting(daemon.instance.state).requests == ()
    assert asked(shown, form(hours=1)) == 303
    assert asked(shown, form(KEYS[1])) == 303
    waiting = inbox.waiting(daemon.instance.state).requests
    assert sorted(one.scope.patterns[0] for one in waiting) == sorted(
        map(str, KEYS[:2])
    )

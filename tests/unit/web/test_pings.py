"""Pings as Healthchecks documents them, and what the next run finds of each."""

from __future__ import annotations

import http.client
import json
import os
from pathlib import Path

import pytest

from lib.config.load import load_settings
from lib.config.pings import tokens_of
from lib.core.heartbeats import What, decoded
from lib.web import pings
from tests.support.daemon import Daemon, free_port
from tests.support.instance import CHECKER, GENERAL, NO_MAIL, Instance

TOKEN = "8f3c1b2a-0d4e-4f5a-9b6c-7d8e9f0a1b2c"
RID = "0c1d2e3f-4a5b-4c6d-8e7f-901234567890"
SECTION = f"[heartbeat backup]\nperiod = 1d\ntoken = {TOKEN}\n"


@pytest.fixture
def load(tmp_path):
    def loaded(text):
        path = tmp_path / "settings.cfg"
        path.write_text(text)
        path.chmod(0o600)
        return load_settings(path, base=CHECKER.parent, state=tmp_path / "state")

    return loaded


class Service:
    """The pings of an instance, called as its daemon calls them."""

    def __init__(self, load, settings=SECTION):
        self.settings = load(GENERAL + NO_MAIL + settings)
        self.now = 1_000_000.0
        self.pings = pings.Pings(lambda: self.settings, self.time, self.time)
        self.folder = self.settings.state / "inbox" / "heartbeats"

    def time(self):
        return self.now

    def ask(self, path, query="", body=""):
        return self.pings.reply(path, query, lambda: (body, False))

    def events(self):
        return [decoded(path.read_bytes()) for path in sorted(self.folder.glob("*"))]


@pytest.fixture
def service(load):
    return Service(load)


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ("", {"what": What.END, "code": None, "failed": False}),
        ("/start", {"what": What.START}),
        ("/log", {"what": What.LOG}),
        ("/fail", {"what": What.END, "failed": True}),
        ("/0", {"what": What.END, "code": 0}),
        ("/255", {"what": What.END, "code": 255}),
        ("/KILL", {"what": What.END, "signal": "SIGKILL"}),
    ],
)
def test_each_path_is_an_event(service, said, what):
    assert service.ask(f"/ping/{TOKEN}{said}") == pings.OK
    (event,) = service.events()
    assert (event.name, event.at) == ("backup", service.now)
    assert {name: getattr(event, name) for name in what} == what


@pytest.mark.parametrize(
    ("path", "query", "reply"),
    [
        ("/ping/", "", pings.UNKNOWN),
        ("/ping/0123456789abcdef", "", pings.UNKNOWN),
        ("/ping/0123456789abcdef", "create=1", pings.UNKNOWN),
        (f"/ping/{TOKEN}/backup", "create=1", pings.UNKNOWN),
        (f"/ping/{TOKEN}/start/now", "", pings.UNKNOWN),
        (f"/ping/{TOKEN}/256", "", pings.MALFORMED),
        (f"/ping/{TOKEN}/0000", "", pings.MALFORMED),
        (f"/ping/{TOKEN}/START", "", pings.UNKNOWN),
        (f"/ping/{TOKEN}", "rid=mine", pings.NO_UUID),
        (f"/ping/{TOKEN}", "&".join("abcdefghi"), pings.OK),
    ],
)
def test_nothing_is_stored_that_is_not_understood(service, path, query, reply):
    assert service.ask(path, query) == reply
    assert len(service.events() if service.folder.exists() else []) == (
        reply == pings.OK
    )


def test_a_start_and_its_end_have_a_rid_and_the_end_an_output(service):
    service.ask(f"/ping/{TOKEN}/start", f"rid={RID}")
    service.ask(f"/ping/{TOKEN}/1", f"rid={RID}", body="no space left")
    start, end = sorted(service.events(), key=lambda event: event.what, reverse=True)
    assert start.run == end.run == RID
    assert (start.output, end.output) == (None, "no space left")


def test_one_that_pings_too_often_harms_no_other(load):
    other = "0123456789abcdef"
    service = Service(
        load, SECTION + f"[heartbeat other]\nperiod = 1d\ntoken = {other}\n"
    )
    replies = [service.ask(f"/ping/{TOKEN}") for _ in range(pings.BURST + 1)]
    assert replies == [pings.OK] * pings.BURST + [pings.TOO_MANY]
    assert service.ask(f"/ping/{other}") == pings.OK
    service.now += 1 / pings.PER_SECOND
    assert service.ask(f"/ping/{TOKEN}") == pings.OK


def test_who_guesses_tokens_is_slowed_down_and_delays_nobody(service):
    guesses = [f"/ping/{number:032}" for number in range(pings.STRANGERS_BURST + 1)]
    replies = [service.ask(guess) for guess in guesses]
    assert replies[-2:] == [pings.UNKNOWN, pings.TOO_MANY]
    assert service.ask(f"/ping/{TOKEN}") == pings.OK


def test_what_cannot_be_stored_is_to_be_tried_again(service, monkeypatch, caplog):
    assert service.ask(f"/ping/{TOKEN}") == pings.OK
    monkeypatch.setattr(pings, "MAX_WAITING", 1)
    assert service.ask(f"/ping/{TOKEN}") == pings.NOT_STORED
    assert "does cron start checker.py?" in caplog.text
    for path in service.folder.iterdir():
        path.unlink()
    service.now += pings.COUNT_EVERY_S
    assert service.ask(f"/ping/{TOKEN}") == pings.OK


def test_a_folder_that_is_none_is_said(service, caplog):
    service.folder.parent.mkdir(parents=True)
    service.folder.write_text("")
    assert service.ask(f"/ping/{TOKEN}") == pings.NOT_STORED
    (line,) = caplog.messages
    assert "a ping cannot be stored" in line
    assert TOKEN not in line


def test_a_token_that_is_none_is_named_without_it(load, tmp_path):
    secret = tmp_path / "token"
    secret.write_text(f"{TOKEN}\n")
    secret.chmod(0o600)
    settings = load(
        f"{GENERAL}{NO_MAIL}[heartbeat a]\ntoken_file = {secret}\n"
        f"[heartbeat b]\ntoken = {TOKEN}\n[heartbeat c]\ntoken = short\n"
        "[heartbeat d]\nperiod = 1h\n"
    )
    tokens, problems = tokens_of(settings.ini, tmp_path)
    assert list(tokens.values()) == ["a"]
    same, short = map(str, problems)
    assert "[heartbeat a] has the same one" in same
    assert "openssl rand -hex 16" in short
    assert TOKEN not in same
    assert "short" not in short


# The daemon.


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    instance = Instance(tmp_path_factory.mktemp("daemon"), NO_MAIL)
    instance.add(f"[page]\nping = yes\nlisten = 127.0.0.1:{free_port()}\n{SECTION}")
    with Daemon(instance) as it:
        assert it.process.stdout is not None
        line = it.process.stdout.readline()
        assert "takes pings on http://127.0.0.1:" in line
        it.pings = int(line.rpartition(":")[2].partition("/")[0])
        yield it


def ask(daemon, method, path, body=None):
    line = http.client.HTTPConnection("127.0.0.1", daemon.pings, timeout=20)
    try:
        line.request(method, path, body)
        said = line.getresponse()
        return said.status, said.read(), said.headers
    finally:
        line.close()


def stored(daemon):
    """Return the last event, which is removed."""
    folder = Path(daemon.instance.state, "inbox", "heartbeats")
    (path,) = folder.iterdir()
    event = json.loads(path.read_bytes())
    assert path.stat().st_mode & 0o777 == 0o640
    os.unlink(path)
    return event


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_the_daemon_takes_a_ping(daemon, method):
    status, body, headers = ask(daemon, method, f"/ping/{TOKEN}")
    assert (status, body) == (200, b"" if method == "HEAD" else b"OK")
    assert headers["Ping-Body-Limit"] == "10000"
    assert stored(daemon)["name"] == "backup"


def test_the_end_of_a_long_body_is_kept(daemon):
    body = b"x" * 1_000_000 + "the end of ünits".encode()
    assert ask(daemon, "POST", f"/ping/{TOKEN}/1", body)[0] == 200
    event = stored(daemon)
    output = event["output"]
    assert len(output) <= 10_000
    assert event["cut"]
    assert output.endswith("xthe end of ünits")


def test_other_paths_and_methods_are_refused(daemon):
    assert ask(daemon, "GET", "/")[0] == 404
    assert ask(daemon, "PUT", f"/ping/{TOKEN}")[0] == 405
    assert ask(daemon, "POST", "/ping/0123456789abcdef", b"a")[:2] == (
        404,
        b"not found",
    )


def test_peers_are_asked_at_their_own_port_only(daemon):
    status, word = daemon.ask(f"/ping/{TOKEN}")
    assert (status, word.split(b"\n")[0]) == (200, b"JobProblem")
    folder = Path(daemon.instance.state, "inbox", "heartbeats")
    assert list(folder.glob("*")) == []


@pytest.mark.long
def test_the_next_run_finds_what_was_pinged(daemon):
    instance = daemon.instance

    def status():
        assert instance.cron().code == 0
        (row,) = instance.listed()
        assert not list(Path(instance.state, "inbox", "heartbeats").glob("*.json"))
        return row["status"], row["reason"]

    assert ask(daemon, "POST", f"/ping/{TOKEN}/1", b"disk full")[0] == 200
    code, reason = status()
    assert code == "failing"
    assert "disk full" in reason or "1" in reason
    assert TOKEN not in instance.everything_written()
    assert ask(daemon, "GET", f"/ping/{TOKEN}")[0] == 200
    assert status()[0] == "ok"

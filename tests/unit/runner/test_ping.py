"""What an outside service of [general] ping is asked, and what is said if it is not."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from lib.core.records import RunRecord
from lib.core.secret import Secret
from lib.runner.ping import failing_url, send
from tests.support.instance import Instance
from tests.support.listeners import Listener, answer, closed_port, dripping, says
from tests.support.mailing import settings_for

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
WELL = RunRecord(began_at=NOON, ended_at=NOON)
TOKEN = "0123456789abcdef"


def asked_by(run, url, tmp_path, left_s=30.0):
    settings = replace(settings_for(tmp_path), ping=Secret(url))
    send(settings, run, NOON, time.monotonic() + left_s)


def paths_asked(listener):
    return [content.split()[1].decode() for content in listener.heard]


def test_a_run_that_is_well_asks_the_url_as_it_is(tmp_path, caplog):
    with Listener(says(answer())) as service:
        asked_by(WELL, service.url(f"/{TOKEN}"), tmp_path)
    assert paths_asked(service) == [f"/{TOKEN}"]
    assert not caplog.messages


def test_one_that_is_not_well_adds_fail(tmp_path):
    unwell = replace(WELL, ended_at=NOON - timedelta(hours=1))
    with Listener(says(answer())) as service:
        asked_by(unwell, service.url(f"/{TOKEN}?from=here"), tmp_path)
    assert paths_asked(service) == [f"/{TOKEN}/fail?from=here"]


@pytest.mark.parametrize(
    ("talk", "why"),
    [
        (says(answer("404 Not Found")), "status 404 Not Found"),
        (says(answer("302 Found", b"", "Location: /elsewhere")), "status 302 Found"),
        (says(b""), "the connection was closed without a response"),
        (dripping(b"HTTP/1.1 200 OK\r\nX: ", every_s=0.1), "no answer within 1 s"),
    ],
)
def test_what_the_service_does_not_take_is_one_line_without_its_token(
    tmp_path, caplog, talk, why
):
    with Listener(talk) as service:
        asked_by(WELL, service.url(f"/{TOKEN}"), tmp_path, left_s=0)
    (line,) = caplog.messages
    place = f"127.0.0.1:{service.port}"
    assert line.startswith(f"[general] ping: {place}: {why}")
    assert TOKEN not in line


def test_a_service_that_is_not_there_delays_nobody(tmp_path, caplog):
    asked_by(WELL, f"http://127.0.0.1:{closed_port()}/{TOKEN}", tmp_path)
    assert "refused" in caplog.text


@pytest.mark.parametrize(
    ("url", "failing"),
    [
        ("https://hc.example.com/uuid", "https://hc.example.com/uuid/fail"),
        ("https://hc.example.com/uuid/", "https://hc.example.com/uuid/fail"),
        ("https://hc.example.com/a?b=c#d", "https://hc.example.com/a/fail?b=c"),
    ],
)
def test_the_url_of_failing(url, failing):
    assert failing_url(Secret(url)).reveal() == failing


@pytest.mark.long
def test_each_run_of_cron_asks_and_a_check_by_hand_does_not(tmp_path):
    instance = Instance(tmp_path)
    secret = tmp_path / "ping"
    with Listener(says(answer())) as service:
        secret.write_text(service.url(f"/{TOKEN}"))
        secret.chmod(0o600)
        text = instance.settings.read_text()
        ping = f"[general]\nping_file = {secret}\n"
        instance.settings.write_text(text.replace("[general]\n", ping))
        instance.add("[disk root]\npath = /\nlimit = 100\nevery = minute\n")
        assert instance.cron().code == 0
        assert instance.run("-m", "check", "disk root").code == 0
    (path,) = paths_asked(service)
    assert path.startswith(f"/{TOKEN}")
    assert TOKEN not in instance.everything_written()

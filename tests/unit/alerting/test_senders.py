"""Channels, against real receivers: what they get, and what becomes of the message."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import os
import signal
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

# Loaded here, so that not every call has to load it.
import requests  # noqa: F401
from msgspec.structs import replace

from lib.alerting import senders
from lib.alerting.delivery import ChannelOutbox, Sent, Unsent
from lib.alerting.queue import Envelope
from lib.core.enums import MessageKind, Severity, Status
from lib.core.messages import Message
from lib.core.secret import Secret
from lib.core.settings import Channel
from lib.system import process
from tests.support.listeners import closed_port
from tests.support.mailing import settings_for
from tests.support.receiver import Receiver, dripping, garbage, silent
from tests.support.waits import SOON_S, until

#: Apprise and what it imports warn about Python itself.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
ROOT = Path("/")
KEY = b"0123456789abcdef01234567"
TOKEN = "canary4711token"
HOSTILE = "<b>disk</b> *is* _full_ `now` [link](x) & @everyone"
ALERT = Message(
    "a1" * 16,
    MessageKind.ALERT,
    "disk root is failing: " + HOSTILE,
    HOSTILE + "\n\n    indented\n# no heading\n",
    ("oncall",),
    NOON,
    since=NOON,
    reason="used is 99%",
    status=Status.FAILING,
    severity=Severity.CRITICAL,
)


@pytest.fixture
def receiver():
    with Receiver() as it:
        yield it


def outcome(channel, way="", message=ALERT, folder=ROOT):
    """Return what becomes of a message, after a call in a process of its own."""
    settings = replace(settings_for(25), path=folder / "settings.cfg")
    way = way or channel.ways[0]
    box = ChannelOutbox(settings, way)
    box.call(channel, Envelope(message, (message.message_id,), None, NOON), "disk root")
    found = []
    ends_at = time.monotonic() + 20
    while box.is_busy and time.monotonic() < ends_at:
        process.wait(box.children, 0.1)
        found += box.events()
    (event,) = found
    return event


def failure(channel, **more):
    event = outcome(channel, **more)
    assert isinstance(event, Unsent), event
    return event.failure


def webhook(receiver, path=f"/hook/{TOKEN}", **more):
    more = {"timeout_s": 10.0, **more}
    return Channel("oncall", webhook=Secret(receiver.url(path)), **more)


# A webhook.


def test_a_webhook_gets_the_message_as_json(receiver, approved):
    assert isinstance(outcome(webhook(receiver)), Sent)
    (request,) = receiver.received
    assert request.method == "POST"
    assert request.headers["content-type"] == "application/json"
    assert "webhook-signature" not in request.headers
    assert request.json["data"]["subject"] == ALERT.subject
    approved(request.json)


def test_it_is_signed_as_standard_webhooks_has_it(receiver):
    secret = Secret("whsec_" + base64.b64encode(KEY).decode())
    outcome(webhook(receiver, secret=secret, token=Secret("bearer-4711")))
    (request,) = receiver.received
    headers = request.headers
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode()
    digest = hmac.new(KEY, signed + request.body, hashlib.sha256).digest()
    assert headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    assert headers["authorization"] == "Bearer bearer-4711"


def test_a_retry_has_the_same_id_and_the_same_body(receiver):
    outcome(webhook(receiver))
    outcome(webhook(receiver), message=replace(ALERT, attempts=3))
    first, second = receiver.received
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body


@pytest.mark.parametrize(
    ("answer", "why", "in_doubt"),
    [
        (500, "answered 500 Internal Server Error: no room here", False),
        (302, "answered 302 Found, a redirect, which is not followed", False),
        (404, "answered 404 Not Found: no room here", False),
        (garbage, "the connection was closed without an answer in HTTP", True),
        # By the library's limit or by that of the whole, whichever is first.
        (silent, ("no answer in time", "oncall: not done within 1 s"), True),
        (dripping, "oncall: not done within 1 s", True),
    ],
)
def test_what_a_webhook_does_not_accept_is_sent_again(receiver, answer, why, in_doubt):
    receiver.answers[f"/hook/{TOKEN}"] = answer
    began = time.monotonic()
    never = answer in (silent, dripping)
    found = failure(webhook(receiver, timeout_s=1.0 if never else 10.0))
    reasons = (why,) if isinstance(why, str) else why
    assert any(reason in found.why for reason in reasons)
    assert (found.in_doubt, found.permanent) == (in_doubt, False)
    assert TOKEN not in found.why
    assert time.monotonic() - began < SOON_S
    assert [request.method for request in receiver.received] == ["POST"]


def test_nobody_listening_is_no_doubt():
    port = closed_port()
    found = failure(Channel("oncall", webhook=Secret(f"http://127.0.0.1:{port}/x")))
    assert found.why == f"127.0.0.1:{port}: no connection: Connection refused"
    assert not found.in_doubt


def test_https_to_a_port_without_tls_has_a_reason(receiver):
    url = receiver.url(f"/{TOKEN}").replace("http:", "https:")
    found = failure(Channel("oncall", webhook=Secret(url)))
    where = f"127.0.0.1:{receiver.port}"
    assert found.why == f"{where}: no TLS connection: the server does not speak TLS"
    assert not found.in_doubt


def test_a_message_that_is_too_large_is_shortened(receiver):
    receiver.answers[f"/hook/{TOKEN}"] = 413
    assert failure(webhook(receiver)).permanent


def test_no_proxy_of_the_environment_is_asked(receiver, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port()}")
    assert isinstance(outcome(webhook(receiver)), Sent)


# A command.


def program(folder, text):
    path = folder / "notify"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return Channel("oncall", command=(str(path), "--to", "a b;c"), timeout_s=10.0)


def test_a_command_gets_words_variables_and_json(tmp_path):
    channel = program(tmp_path, 'printf "%s\\n" "$@" > words; env > facts; cat > json')
    subject = "line\nbreak \x1b[31m " + "ä" * 4000
    message = replace(ALERT, subject=subject)
    assert isinstance(outcome(channel, message=message, folder=tmp_path), Sent)
    assert (tmp_path / "words").read_text() == "--to\na b;c\n"
    facts = dict(
        line.split("=", 1)
        for line in (tmp_path / "facts").read_text().splitlines()
        if line.startswith("CHECKER_")
    )
    assert facts["CHECKER_JOB"] == "disk root"
    assert facts["CHECKER_STATUS"] == "failing"
    assert facts["CHECKER_SUBJECT"].startswith("line break  [31m ää")
    assert len(facts["CHECKER_SUBJECT"].encode()) <= 4096
    assert (
        subject
        in msgspec.json.decode((tmp_path / "json").read_bytes())["data"]["subject"]
    )


def test_a_command_that_reads_nothing_may_accept(tmp_path):
    message = replace(ALERT, body="x" * 200_000)
    assert isinstance(outcome(program(tmp_path, "exit 0"), message=message), Sent)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            "echo 'no such\033 user'; exit 3",
            "notify ended with exit code 3: no such user",
        ),
        ("kill -SEGV $$", "notify killed by SIGSEGV"),
    ],
)
def test_a_command_that_fails_is_run_again(tmp_path, text, why):
    found = failure(program(tmp_path, text))
    assert (found.why, found.in_doubt) == (why, False)


def test_a_command_is_killed_with_what_it_started(tmp_path):
    channel = program(tmp_path, f"sleep 60 & echo $! > {tmp_path}/pid; sleep 60")
    began = time.monotonic()
    found = failure(replace(channel, timeout_s=1.0))
    assert found.why == "oncall: not done within 1 s"
    assert time.monotonic() - began < SOON_S
    pid = int((tmp_path / "pid").read_text())
    until(lambda: not _is_alive(pid))


def _is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]


def test_a_call_that_crashes_is_in_doubt(receiver, monkeypatch):
    def crash(call, report):
        report.begun()
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(senders, "send", crash)
    found = failure(webhook(receiver))
    assert (found.why, found.in_doubt) == (
        "oncall: the call ended unexpectedly",
        True,
    )


# Services of Apprise.


@functools.cache
def load_apprise():
    """Have Apprise load its services here, so that not every call has to."""
    pytest.importorskip("apprise").Apprise.instantiate("json://127.0.0.1")


def services(receiver, *urls, **more):
    load_apprise()
    words = {url.partition(":")[0]: url for url in urls}
    where = f"127.0.0.1:{receiver.port}"
    return Channel(
        "oncall",
        services={word: Secret(url.format(where)) for word, url in words.items()},
        timeout_s=15.0,
        **more,
    )


NTFY = "ntfy://{}/topic?x=" + TOKEN


def test_ntfy_gets_title_and_text_as_they_are(receiver):
    event = outcome(services(receiver, NTFY))
    assert isinstance(event, Sent), event.failure
    (request,) = receiver.received
    assert request.json == {
        "topic": "topic",
        "title": f"[web1] {ALERT.subject}",
        "message": ALERT.body.rstrip(),
    }


def test_slack_gets_text_that_stays_text(receiver, monkeypatch):
    pytest.importorskip("apprise")
    from apprise.plugins.slack import NotifySlack

    monkeypatch.setattr(NotifySlack, "webhook_url", receiver.url("/services"))
    url = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/"
    event = outcome(services(receiver, url))
    assert isinstance(event, Sent), event.failure
    sent = receiver.received[0].json
    assert sent["mrkdwn"] is False
    (attachment,) = sent["attachments"]
    assert "&lt;b&gt;disk&lt;/b&gt; *is* _full_" in attachment["text"]
    assert "icon_url" not in sent


def test_a_service_that_always_shows_markdown_gets_it_escaped(receiver):
    outcome(services(receiver, "mmost://{}/abcdefghijklmnopqrst"))
    text = receiver.received[0].json["text"]
    assert r"\<b\>disk\</b\> \*is\* \_full\_ \`now\` \[link\](x)" in text
    assert "@\u200beveryone" in text
    assert "\n   indented\n\\# no heading" in text


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (302, "oncall/ntfy answered with a redirect to 127.0.0.1"),
        (403, "oncall/ntfy did not accept it: Failed to send ntfy notification"),
    ],
)
def test_what_a_service_does_not_accept_is_sent_again(receiver, answer, why):
    receiver.answers["/"] = answer
    found = failure(services(receiver, NTFY + "&redirect=yes"))
    assert found.why.startswith(why)
    assert TOKEN not in found.why
    assert "'topic'" not in found.why
    assert [request.method for request in receiver.received] == ["POST"]


def test_what_a_service_cuts_is_named(receiver):
    outcome(services(receiver, NTFY), message=replace(ALERT, body="é\n" * 5000))
    text = receiver.received[0].json["message"]
    assert len(text.encode()) <= 3900
    assert text.endswith(
        "(Cut: this service takes no more; the whole is 9,999 characters.)"
    )


def test_a_url_that_apprise_cannot_use_is_named_without_it():
    pytest.importorskip("apprise")
    channel = Channel("oncall", services={"slack": Secret(f"slack://{TOKEN}")})
    assert "oncall/slack: Apprise cannot use the URL" in failure(channel).why


@pytest.mark.parametrize("verify", ["definitely", "", "%6Eo"])
def test_a_service_that_verifies_nothing_is_refused_unless_insecure(receiver, verify):
    url = f"json://{{}}/{TOKEN}?VERIFY={verify}"
    assert "turns off the verification" in failure(services(receiver, url)).why
    assert receiver.received == []
    assert isinstance(outcome(services(receiver, url, insecure=True)), Sent)


# The text.


@pytest.mark.parametrize(
    ("text", "most", "shown"),
    [("short", 10, "short"), ("äöü", 6, "äöü"), ("x" * 30, 12, "x" * 9 + "…")],
)
def test_a_text_is_cut_at_a_byte_and_says_so(text, most, shown):
    assert senders.shortened(text, most, octets, mark="…") == shown


def octets(char):
    return len(char.encode())

"""The page behind Debian's nginx, with the settings that docs/page.md has for it."""

from __future__ import annotations

import base64
import re
from contextlib import ExitStack
from datetime import UTC, datetime
from urllib.parse import urlencode

import pytest

from lib.core.jobs import JobKey
from lib.core.secret import Secret
from lib.report.page import link_of
from lib.storage import inbox
from lib.web import forms, pages
from tests.integration.web.test_page_under_load import Shown, request
from tests.support.benchserver import ROOT
from tests.support.daemon import Daemon, free_port
from tests.support.debian import nginx_running
from tests.support.fakes import job
from tests.support.instance import NO_MAIL, Instance

pytestmark = pytest.mark.integration

TOKEN = "0123456789abcdef!x"
KEY = JobKey("Fine", "Fine")
HTTP = """\
    access_log off;
    server {{
        listen 127.0.0.1:{port};
        {location}
    }}
"""


def documented(port):
    """Return the location that docs/page.md has."""
    text = (ROOT / "docs" / "page.md").read_text()
    found = re.search(r"(?s)    location / \{\n.*?\n    \}\n", text)[0]
    return found.replace("127.0.0.1:5001", f"127.0.0.1:{port}")


def login(user, password):
    pair = base64.b64encode(f"{user}:{password}".encode()).decode()
    return f"Authorization: Basic {pair}"


@pytest.fixture(scope="module")
def behind(tmp_path_factory):
    """Return an instance, and its page as it is seen at the proxy."""
    folder = tmp_path_factory.mktemp("nginx")
    instance = Instance(tmp_path_factory.mktemp("instance"), NO_MAIL)
    instance.job("Fine", job("Fine"))
    port, seen = free_port(), free_port()
    instance.add(
        f"[page]\nlisten = 127.0.0.1:{port}\ntoken = {TOKEN}\n"
        f"url = http://status.example.com:{seen}/\n"
    )
    instance.cron()
    http = HTTP.format(port=seen, location=documented(port))
    with ExitStack() as stack:
        it = stack.enter_context(Daemon(instance))
        assert "shows the page" in it.process.stdout.readline()
        stack.enter_context(nginx_running(folder, http, seen))
        yield instance, Shown(seen)


def test_a_form_counts_that_was_sent_to_the_proxy(behind):
    instance, shown = behind
    host = f"Host: status.example.com:{shown.port}"
    ann = login("ann", TOKEN)
    said = shown.get(f"/{link_of(KEY)}", host, ann)
    assert said.status == 200
    (code,) = set(
        re.findall(r'name="code" value="([0-9a-f]+)"', said.body.decode())
    ) & {forms.codes(Secret(TOKEN), "ann", KEY, datetime.now(UTC))["check"]}
    form = urlencode({"job": str(KEY), "action": "check", "code": code})
    for origin, status in (
        ("http://status.example.com", 403),
        ("https://evil.example", 403),
        (f"http://status.example.com:{shown.port}", 303),
    ):
        raw = request("POST", "/ask", host, ann, f"Origin: {origin}", body=form)
        assert shown.ask(raw).status == status, origin
    (asked,) = inbox.waiting(instance.state).requests
    assert asked.who == "ann"
    assert shown.get("/", "Host: evil.example", ann).status == 421


def test_strangers_that_guess_behind_the_same_proxy_keep_no_known_name_out(behind):
    _instance, shown = behind
    host = f"Host: status.example.com:{shown.port}"
    assert shown.get("/", host, login("ann", TOKEN)).status == 200
    found = [
        shown.get("/", host, login("admin", f"wrong {number}")).status
        for number in range(pages.BURST + 10)
    ]
    assert found[0] == 401 and found[-1] == 429
    assert shown.get("/", host, login("ann", TOKEN)).status == 200
    assert shown.get("/", host, login("bob", TOKEN)).status == 429

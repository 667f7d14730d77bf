"""What the page may ask of the next run, and what does not count."""

from __future__ import annotations

import html
import io
import re
from datetime import timedelta
from urllib.parse import urlencode

import pytest
from msgspec.structs import replace

from lib.core.secret import Secret
from lib.core.settings import Page
from lib.core.silences import Acknowledge, CheckNow, Mute, Unmute
from lib.report.page import link_of
from lib.storage import inbox
from lib.storage.store import State
from lib.web import forms
from lib.web.pages import pages
from tests.support.fakes import job
from tests.support.instance import Instance
from tests.support.snapshots import NOON
from tests.unit.report.test_reader import KEY, OTHER, written
from tests.unit.web.test_pages import TOKEN, basic

NOW = NOON + timedelta(seconds=30)
ANN = basic("ann", TOKEN)


class Browser:
    """Asks as a browser does that somebody has logged in with."""

    def __init__(self, given):
        self.settings, self.now = given, NOW
        self._app = pages(lambda: self.settings, lambda: self.now)

    def ask(self, method, path, body=b"", **given):
        environ = {
            "REQUEST_METHOD": method,
            "PATH_INFO": path.partition("?")[0],
            "QUERY_STRING": path.partition("?")[2],
            "REMOTE_ADDR": "127.0.0.1",
            "HTTP_HOST": "localhost:5001",
            "HTTP_AUTHORIZATION": ANN,
            "CONTENT_TYPE": forms.FORM,
            "wsgi.input": io.BytesIO(body),
            **given,
        }
        said = []
        text = b"".join(self._app(environ, lambda *one: said.append(one))).decode()
        ((status, headers),) = said
        return int(status[:3]), dict(headers), text

    def form(self, action, key=KEY):
        """Return the fields of a form as the page of a job has it."""
        _status, _headers, text = self.ask("GET", f"/{link_of(key)}")
        pattern = f'value="{action}">.*?name="code" value="([0-9a-f]+)"'
        (code,) = re.findall(pattern, text)
        return {"action": action, "job": str(key), "code": code}

    def post(self, fields, **given):
        given = {"HTTP_ORIGIN": "http://localhost:5001", **given}
        return self.ask("POST", "/ask", urlencode(fields).encode(), **given)

    def waiting(self):
        return inbox.waiting(self.settings.state).requests


@pytest.fixture
def browser(tmp_path):
    return Browser(replace(written(tmp_path), page=Page(token=Secret(TOKEN))))


@pytest.mark.parametrize(
    ("action", "more", "kind"),
    [
        ("mute", {"for": "4h", "why": "deploy\n now"}, Mute),
        ("ack", {"why": "on it"}, Acknowledge),
        ("check", {}, CheckNow),
    ],
)
def test_a_form_becomes_a_request_of_who_asked(browser, action, more, kind):
    status, headers, _text = browser.post({**browser.form(action), **more})
    assert (status, headers["Location"]) == (303, f"{link_of(KEY)}?asked={action}")
    (request,) = browser.waiting()
    assert type(request) is kind
    assert (request.who, request.scope.patterns) == ("ann", (str(KEY),))
    assert request.scope.includes(KEY, "a") and not request.scope.includes(OTHER, "b")
    assert request.why == " ".join(more.get("why", "").split())
    if isinstance(request, Mute):
        assert request.until == NOW + timedelta(hours=4)
    text = browser.ask("GET", f"/{headers['Location']}")[2]
    assert forms.ACTIONS[action] in text


def test_what_cannot_be_asked_has_no_form(browser):
    text = browser.ask("GET", f"/{link_of(OTHER)}")[2]
    assert "Mute" in text and "Acknowledge" not in text and "End mutes" not in text
    code = forms.codes(browser.settings.page.token, "ann", OTHER, NOW)["unmute"]
    browser.post({"action": "unmute", "job": str(OTHER), "code": code})
    assert type(browser.waiting()[0]) is Unmute


def test_nothing_is_asked_of_a_disabled_job(browser):
    fields = {**browser.form("check"), "job": str(KEY)}
    state = State(browser.settings.state)
    catalog = state.load_catalog()
    state.save_catalog({**catalog, KEY: replace(catalog[KEY], enabled=False)})
    browser = Browser(browser.settings)
    text = browser.ask("GET", f"/{link_of(KEY)}?asked=check")[2]
    assert forms.ACTIONS["check"] not in text
    assert "disabled" in text and "<form" not in text.partition("<main")[2]
    status, _headers, text = browser.post(fields)
    assert status == 403 and "the job is disabled" in text
    assert not browser.waiting()


@pytest.mark.parametrize(
    "given",
    [
        {"HTTP_ORIGIN": "null"},
        {"HTTP_ORIGIN": ""},
        {"HTTP_ORIGIN": "http://localhost"},
        {"HTTP_ORIGIN": "http://evil.example"},
        {"HTTP_ORIGIN": "http://localhost:5001.evil.example"},
        {"HTTP_ORIGIN": "http://localhost:5001@evil.example"},
        {"HTTP_ORIGIN": "file://localhost:5001"},
        {"HTTP_SEC_FETCH_SITE": "cross-site"},
        {"HTTP_SEC_FETCH_SITE": "same-site"},
        {"CONTENT_TYPE": "text/plain"},
        {"CONTENT_TYPE": "multipart/form-data"},
    ],
)
def test_a_form_of_another_page_counts_for_nothing(browser, given):
    status, _headers, text = browser.post(browser.form("check"), **given)
    assert status == 403 and text
    assert browser.waiting() == ()


@pytest.mark.parametrize(
    ("action", "more", "said"),
    [
        ("mute", {}, "for is missing: expected 1h, 4h, 1d or 7d"),
        ("mute", {"for": "999999h"}, "for = '999999h': expected 1h, 4h, 1d or 7d"),
        ("mute", {"for": "9" * 99}, f"for = '{'9' * 37}...': expected"),
        (
            "check",
            {"action": "go"},
            "action = 'go': expected mute, unmute, ack or check",
        ),
        ("check", {"action": ""}, "action is missing: expected mute, unmute, ack"),
        ("check", {"code": ""}, "code is missing: load the page again"),
        ("check", {"code": "0"}, "the form is too old: load the page again"),
        ("check", {"job": "Own/nobody"}, "there is no such job"),
        ("check", {"job": ""}, "job is missing"),
        ("ack", {"why": "x" * 301}, "why is longer than 300 characters"),
        ("ack", {"why": "x" * 10_001}, "the form is longer than 10000 bytes"),
    ],
)
def test_what_is_wrong_with_a_form_is_said_with_what_is_allowed(
    browser, action, more, said
):
    status, _headers, text = browser.post({**browser.form(action), **more})
    assert status in (403, 404) and said in html.unescape(text)
    assert browser.waiting() == ()


def test_a_proxy_with_tls_is_the_same_page(browser):
    form = browser.form("check")
    assert browser.post(form, HTTP_ORIGIN="https://localhost:5001")[0] == 303


def test_a_code_is_good_for_its_user_action_job_and_two_hours(browser):
    form = browser.form("check")
    for wrong in (
        {"code": ""},
        {"code": "é"},
        {"code": form["code"][:-1]},
        {"action": "unmute"},
        {"action": "nothing"},
        {"action": "mute", "for": "1h"},
        {"job": str(OTHER)},
    ):
        assert browser.post({**form, **wrong})[0] == 403, wrong
    assert browser.post(form, HTTP_AUTHORIZATION=basic("bob", TOKEN))[0] == 403
    assert browser.post({**form, "job": "nobody"})[0] == 404
    assert browser.waiting() == ()
    browser.now = NOW + timedelta(hours=1)
    assert browser.post(form)[0] == 303
    browser.now = NOW + timedelta(hours=2)
    assert browser.post(form)[0] == 403


def test_a_mute_says_for_how_long(browser):
    form = browser.form("mute")
    for length in ("", "10y", "-1h", "1"):
        assert browser.post({**form, "for": length})[0] == 403
    assert browser.waiting() == ()


def test_without_a_password_nobody_asks_for_anything(browser):
    form = browser.form("check")
    assert browser.post(form, HTTP_AUTHORIZATION="")[0] == 401
    page = Page(token=browser.settings.page.token, open=True)
    browser.settings = replace(browser.settings, page=page)
    assert browser.post(form)[0] == 405
    assert "<form method" not in browser.ask("GET", f"/{link_of(KEY)}")[2]
    assert browser.waiting() == ()


def test_a_form_is_short_and_is_posted(browser):
    form = browser.form("check")
    assert browser.post({**form, "why": "x" * forms.MAX_FORM})[0] == 403
    assert browser.ask("GET", f"/ask?{urlencode(form)}")[0] == 405
    assert browser.ask("POST", f"/{link_of(KEY)}", b"")[0] == 405
    assert browser.waiting() == ()


def test_who_asks_is_shown_without_secret_and_control_characters(browser):
    for user in ("", "a\x1b[1m" + "n" * 99):
        login = basic(user, TOKEN)
        code = forms.codes(browser.settings.page.token, user, KEY, NOW)["check"]
        form = {"action": "check", "job": str(KEY), "code": code}
        assert browser.post(form, HTTP_AUTHORIZATION=login)[0] == 303
    nobody, long = sorted((one.who for one in browser.waiting()), key=len)
    assert nobody == forms.NOBODY
    assert long.startswith("a\\x1b[1mnn") and len(long) < 2 * forms.MAX_WHO


def test_where_nothing_can_be_written_the_page_says_so(browser):
    form = browser.form("check")
    (browser.settings.state / "inbox").write_text("")
    status, _headers, text = browser.post(form)
    assert status == 503 and "log" in text


def test_the_next_run_checks_what_was_asked_for(tmp_path):
    instance = Instance(tmp_path)
    text = job("Daily").replace("JobFrequency.MINUTE", "JobFrequency.DAY")
    instance.job("Daily", text)
    instance.cron()

    def last_run():
        (row,) = [
            row
            for row in instance.run("-m", "list", "--json").json()
            if row["job"] == "Daily"
        ]
        return row["last_run_at"]

    before = last_run()
    instance.clock_ahead = timedelta(minutes=5)
    instance.cron()
    assert last_run() == before
    now = NOON.now(NOON.tzinfo)
    request = CheckNow("c1", now, forms.Scope(("Daily",)), "ann")
    inbox.submit(instance.state, request)
    instance.clock_ahead = timedelta(minutes=10)
    instance.cron()
    assert last_run() > before
    told = instance.run("-m", "why", "Daily").out
    assert "a check now was asked for by ann" in " ".join(told.split())

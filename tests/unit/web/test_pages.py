"""What the daemon shows, and to whom: the page, badges, the feed, metrics, the API."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import urllib.error
import urllib.request
from datetime import UTC, timedelta
from itertools import pairwise
from urllib.parse import quote
from xml.etree import ElementTree

import jsonschema
import pytest
from msgspec.structs import replace

from lib.config.load import load_settings
from lib.core.enums import Status
from lib.core.jobs import JobKey
from lib.core.records import Record, RunRecord
from lib.core.secret import Secret
from lib.core.settings import Page
from lib.report import api, feed
from lib.report.page import link_of
from lib.report.table import plain
from lib.storage import historylog
from lib.storage.store import State
from lib.system.clock import utc_now
from lib.web import pages
from lib.web.pages import Guard, hosts_of
from tests.support.daemon import Daemon, free_port
from tests.support.instance import NO_MAIL, Instance
from tests.support.snapshots import HOSTILE, NOON, entry, every_status, settings
from tests.unit.report.test_reader import KEY, OTHER, result, written

TOKEN = "0123456789abcdef!x"
NOW = NOON + timedelta(seconds=30)
ATOM = "{http://www.w3.org/2005/Atom}"


def basic(user, password):
    pair = base64.b64encode(f"{user}:{password}".encode()).decode()
    return f"Basic {pair}"


class Asked:
    """An application, asked as waitress does."""

    uri = ""

    def __init__(self, given, now=NOW):
        self.settings = given
        self._app = pages.pages(lambda: self.settings, lambda: now)

    def __call__(self, path, query="", *, method="GET", **headers):
        environ = {
            "REQUEST_METHOD": method,
            "PATH_INFO": path.encode().decode("latin-1"),
            "REQUEST_URI": self.uri,
            "QUERY_STRING": query,
            "REMOTE_ADDR": "127.0.0.1",
            "HTTP_HOST": "localhost:5001",
            "HTTP_AUTHORIZATION": f"Bearer {TOKEN}",
            **{f"HTTP_{name.upper()}": value for name, value in headers.items()},
        }
        self.said = []
        content = self._app(environ, lambda *said: self.said.append(said))
        ((status, fields),) = self.said
        self.headers = dict(fields)
        return int(status[:3]), b"".join(content).decode()

    def json(self, path, query=""):
        status, text = self(path, query)
        assert self.headers["Content-Type"] == "application/json"
        return status, json.loads(text)


@pytest.fixture
def asked(tmp_path):
    return Asked(replace(written(tmp_path), page=Page(token=Secret(TOKEN))))


PATHS = [
    "/",
    "/index.html",
    f"/{link_of(KEY)}",
    "/badge/job/a.svg",
    "/badge/tag/group-0.svg",
    "/feed.atom",
    "/metrics",
    "/api/v1/status",
    "/api/v1/jobs/a",
    "/api/v1/openapi.json",
]


@pytest.mark.parametrize("path", [*PATHS, "/nowhere", "/job-x.html", "/api/v1/x"])
def test_everything_needs_the_password(asked, path):
    for login in (
        "",
        "Bearer",
        "Bearer wrong",
        "Basic",
        "Basic !!!",
        basic("ann", ""),
        basic("ann", TOKEN + "x"),
        basic(TOKEN, "ann"),
        f"Digest {TOKEN}",
        TOKEN,
    ):
        status, text = asked(path, f"token={TOKEN}", authorization=login)
        assert status == 401, login
        assert "Basic" in asked.headers["WWW-Authenticate"]
        assert "failing" not in text


@pytest.mark.parametrize("path", PATHS)
def test_with_it_all_is_shown_and_nothing_may_be_kept_or_framed(asked, path):
    for login in (f"Bearer {TOKEN}", f"bearer  {TOKEN}", basic("ann", TOKEN)):
        status, text = asked(path, authorization=login)
        assert (status, bool(text)) == (200, True)
    assert asked.headers["Cache-Control"] == "no-store"
    assert asked.headers["Referrer-Policy"] == "same-origin"
    assert asked.headers["X-Content-Type-Options"] == "nosniff"
    policy = asked.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy and "Set-Cookie" not in asked.headers
    status, nothing = asked(path, method="HEAD")
    assert (status, nothing) == (200, "")
    assert asked.headers["Content-Length"] == str(len(text.encode()))


@pytest.mark.parametrize(
    ("path", "home"), [("/nowhere", "./"), ("/badge/job/nobody.svg", "../../")]
)
def test_a_browser_is_told_in_a_page_why_it_gets_nothing(asked, path, home):
    accept = "text/html,application/xhtml+xml,*/*;q=0.8"
    status, text = asked(path, accept=accept)
    assert (status, asked.headers["Content-Type"]) == (404, pages.HTML)
    assert "<h1>404 Not Found</h1>" in text and f'<a href="{home}">' in text
    assert asked(path, accept="*/*")[1].startswith(("not found", "there is no such"))
    assert asked.headers["Content-Type"] == pages.TEXT
    # Strangers learn no more of what is here.
    status, text = asked(path, accept=accept, authorization="")
    assert (status, "web1" in text, "http a" in text) == (401, False, False)
    assert "The password is [page] token of settings.cfg." in text
    assert "Basic" in asked.headers["WWW-Authenticate"]
    assert asked("/api/v1/jobs/x", accept=accept)[1].startswith("{")


def test_the_policy_of_content_allows_styles_of_ones_own(tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "page.css").write_text("p{}")
    made = replace(
        written(tmp_path), page=Page(token=Secret(TOKEN), templates=str(mine))
    )
    asked = Asked(made)
    for styles in ("p{}", "p{color:red}"):
        (mine / "page.css").write_text(styles)
        _status, text = asked("/")
        policy = asked.headers["Content-Security-Policy"]
        assert f"<style>{styles}</style>" in text
        digest = base64.b64encode(hashlib.sha256(styles.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy and digest in text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "TRACE", "OPTIONS"])
def test_nothing_is_changed(asked, method):
    assert asked("/", method=method)[0] == 405
    assert asked.headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST.:5001", 200),
        ("127.0.0.1:5001", 200),
        ("[::1]:80", 200),
        ("status.example.com", 200),
        ("alias.example.com:444", 200),
        ("", 400),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("evil.example:localhost", 421),
        ("localhost@evil.example", 421),
        ("localhost:5001, evil.example", 421),
        ("[::1]:80, evil.example", 421),
    ],
)
def test_it_is_asked_by_a_name_of_ours_only(asked, host, status):
    page = Page(
        token=Secret(TOKEN),
        url="https://status.example.com/x",
        hosts=("alias.example.com",),
    )
    asked.settings = replace(asked.settings, page=page)
    assert asked("/", host=host, x_forwarded_host="localhost")[0] == status


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("http://localhost:5001/", 200),
        ("/?q=http://evil.example/", 200),
        ("http://evil.example/", 421),
        ("HTTP://evil.example?x", 421),
        ("http://localhost@evil.example/", 421),
        ("http:///", 421),
    ],
)
def test_a_whole_url_names_a_host_of_ours_too(asked, target, status):
    asked.uri = target
    assert asked("/")[0] == status


def test_the_public_page_and_nothing_else_needs_no_password(asked):
    assert asked("/public", authorization="")[0] == 401
    page = Page(public=("group-0",))
    for token in (Secret(), Secret(TOKEN)):
        asked.settings = replace(asked.settings, page=replace(page, token=token))
        status, text = asked("/public", authorization="")
        assert status == 200 and "1 of 2 jobs is not OK" in text
        assert "full" not in text and "ops@" not in text
        assert asked("/public", host="evil.example")[0] == 421
        for path in (*PATHS, "/public/", "/public/x", "/Public", "//public"):
            assert asked(path, authorization="")[0] == (401 if token else 404), path


def test_the_wildcard_is_no_name():
    given = settings(Page(listen=("0.0.0.0", 5001)))
    assert "0.0.0.0" not in hosts_of(given)
    assert "[::]" not in hosts_of(settings(Page(listen=("::", 5001))))
    assert "web.example" in hosts_of(settings(Page(listen=("web.example", 5001))))


def test_without_a_token_there_is_nothing_unless_it_is_open(asked):
    asked.settings = replace(asked.settings, page=Page())
    assert asked("/")[0] == 404
    assert asked("/", authorization=basic("ann", ""))[0] == 404
    asked.settings = replace(asked.settings, page=Page(open=True))
    assert asked("/", authorization="")[0] == 200
    assert asked("/", host="evil.example")[0] == 421


class Guarded:
    """A guard, asked from an address, with a name and a password, at a time."""

    def __init__(self):
        self.now = 0.0
        self.guard = Guard(lambda: self.now)
        self._given = settings(Page(token=Secret(TOKEN)))

    def __call__(self, password, address="127.0.0.2", name="ann"):
        environ = {
            "HTTP_HOST": "localhost",
            "REMOTE_ADDR": address,
            "HTTP_X_FORWARDED_FOR": f"192.0.2.{self.now:.0f}",
            "HTTP_AUTHORIZATION": basic(name, password),
        }
        try:
            assert self.guard.admit(environ, self._given) == name
        except pages.Refused as refused:
            return refused.status[:3]
        return "200"


def test_wrong_passwords_of_an_address_are_limited_and_others_are_not():
    status = Guarded()
    wrong = [status("wrong") for _ in range(pages.BURST + 5)]
    assert wrong == ["401"] * pages.BURST + ["429"] * 5
    # Guessing gets no further: not even the right one is told from others.
    assert status(TOKEN) == "429"
    assert status(TOKEN, "127.0.0.3") == "200"
    status.now += 10
    assert status(TOKEN) == "200"
    for number in range(2 * pages.MAX_NETWORKS):
        status("wrong", f"address {number}")
    assert len(status.guard._limits) <= pages.MAX_NETWORKS


def test_who_guesses_with_other_names_keeps_no_known_one_out():
    status = Guarded()
    assert status(TOKEN) == "200"
    for number in range(3 * pages.BURST):
        status("wrong", name=f"name {number}")
    assert status(TOKEN) == "200"
    assert status("wrong", name="bob") == status(TOKEN, name="bob") == "429"
    # A known name is guessed with no more often than others.
    wrong = [status("wrong") for _ in range(pages.BURST + 5)]
    assert wrong == ["401"] * pages.BURST + ["429"] * 5
    assert status(TOKEN) == "429"


def test_names_give_guessers_few_tries_more():
    status = Guarded()
    for number in range(3 * pages.MAX_NAMES):
        assert status(TOKEN, name=f"name {number}") == "200"
    tries = [
        status("wrong", name=f"name {number}")
        for number in range(3 * pages.MAX_NAMES)
        for _ in range(2 * pages.BURST)
    ]
    assert tries.count("401") == (pages.MAX_NAMES + 1) * pages.BURST


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("::1", "::"),
        ("fe80::1:2%eth0", "fe80::"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("", ""),
    ],
)
def test_an_address_of_ipv6_is_counted_with_its_neighbours(address, network):
    assert pages.network_of(address) == network


def test_the_front_page_searches_without_script(asked):
    assert "1 of 2" in asked("/", "q=failing")[1]
    assert "No job is called so." in asked("/", f"q={quote(HOSTILE)}")[1]
    assert "<script>alert" not in asked("/", f"q={quote(HOSTILE)}")[1]


def test_a_path_leads_nowhere_else(asked):
    for path in (
        "/../settings.cfg",
        "/job-../../etc/passwd.html",
        "/job-%2e%2e.html",
        "/badge/job/../a.svg",
        "/api/v1/jobs/../../x",
        "/\r\nX: y",
        "/\x00",
        "/job-" + "x" * 5000 + ".html",
        "/\udcff",
    ):
        environ_path = path.encode("utf-8", "surrogatepass").decode("latin-1")
        status, text = asked(environ_path)
        assert status == 404, path
        assert "X" not in asked.headers


def test_badges_are_svg_of_a_job_and_of_a_tag(asked):
    text = asked("/badge/job/a.svg")[1]
    assert ElementTree.fromstring(text).tag.endswith("svg")
    assert "a: failing" in text and feed.COLORS["f"] in text
    text = asked("/badge/tag/group-0.svg")[1]
    assert "group-0: 1 of 2 not OK" in text
    assert asked("/badge/job/b.svg")[1].count(feed.COLORS["o"]) == 1
    assert asked("/badge/tag/nothing.svg")[0] == 404
    assert asked("/badge/job/nothing.svg")[0] == 404


@pytest.mark.parametrize("name", [HOSTILE, "x" * 5000, "\x00\x0b\ufffe\ud800", "日本"])
def test_a_badge_and_a_feed_are_whole_xml_whatever_names_are(name):
    ElementTree.fromstring(feed.badge(name, name, "f"))
    one = every_status()
    key = one.incidents[0].key
    records = {key: replace(one.records[key], name=name)}
    catalog = {key: entry(JobKey(key.file, name))}
    changed = replace(one, records=records, catalog=catalog)
    ElementTree.fromstring(feed.feed(changed, "https://example.com/"))


def test_the_api_has_announcements_as_its_description_says():
    data = json.loads(json.dumps(plain(api.status_data(every_status(), [], 0))))
    jsonschema.validate(
        data,
        schema_of("/api/v1/status"),
        format_checker=jsonschema.FormatChecker(),
    )
    assert len(data["announcements"]) == 6
    assert data["announcements"][2]["tags"] == ["inside"]


def test_the_feed_has_announcements_with_ids_that_a_change_keeps():
    one = every_status()
    tree = ElementTree.fromstring(feed.feed(one, "https://example.com/"))
    titles = [found.text for found in tree.iterfind("{*}entry/{*}title")]
    assert titles[:2] == ["Outage: Shop is down.", "Warning: Shop is down."]
    changed = replace(one.announcements[0], text="Back", changed_at=one.now)
    later = replace(one, announcements=(changed,))
    entry = ElementTree.fromstring(feed.feed(later, "https://example.com/")).find(
        "{*}entry"
    )
    assert entry.find("{*}id").text == tree.find("{*}entry/{*}id").text
    assert entry.find("{*}updated").text == "2026-11-22T12:00:00+00:00"
    assert entry.find("{*}link").get("href") == (
        "https://example.com/#announcement-0000aaaa"
    )


def test_a_feed_is_the_same_until_something_happens():
    one = every_status()
    later = replace(one, now=one.now + timedelta(minutes=5))
    texts = [feed.feed(each, "https://example.com/") for each in (one, later)]
    assert one.incidents and texts[0] == texts[1]


def test_the_feed_has_the_incidents_with_lasting_ids(asked):
    asked.settings = replace(
        asked.settings,
        page=Page(token=Secret(TOKEN), url="https://status.example.com"),
    )
    tree = ElementTree.fromstring(asked("/feed.atom")[1])
    (one,) = tree.findall(f"{ATOM}entry")
    assert one.findtext(f"{ATOM}title") == "a is failing"
    link = one.find(f"{ATOM}link").get("href")
    assert link == f"https://status.example.com/{link_of(KEY)}"
    assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", one.findtext(f"{ATOM}id"))
    later = Asked(asked.settings, NOW + timedelta(days=1))
    again = ElementTree.fromstring(later("/feed.atom")[1])
    assert again.find(f"{ATOM}entry/{ATOM}id").text == one.findtext(f"{ATOM}id")


def test_an_incident_keeps_its_id_when_its_job_is_renamed(asked, tmp_path):
    def entry_now():
        later = Asked(asked.settings, NOW + timedelta(minutes=30))
        (one,) = ElementTree.fromstring(later("/feed.atom")[1]).iter(f"{ATOM}entry")
        return one.findtext(f"{ATOM}title"), one.findtext(f"{ATOM}id")

    _title, first_id = entry_now()
    state, keys = State(tmp_path), [KEY, JobKey("Own", "x"), JobKey("Own", "y")]
    for minute, (old, new) in enumerate(pairwise(keys), start=1):
        failing = state.load().records[old]
        state.save([Record(old), replace(failing, key=new, name=new.identity)])
        state.save_catalog({new: entry(new), OTHER: entry(OTHER)})
        at = (NOON + timedelta(minutes=minute)).timestamp()
        found = result(new, Status.FAILING, 95.0, "full")
        historylog.record(tmp_path, UTC, at, [found], [(old, new)])
        assert entry_now() == (f"{new.identity} is failing", first_id)


def test_metrics_are_those_of_the_file(asked):
    text = asked("/metrics")[1]
    assert asked.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert 'checker_job_status{server="web1",name="a",kind="Own"} 2' in text


def schema_of(path, status="200"):
    document = json.loads(api.openapi())
    answer = document["paths"][path]["get"]["responses"][status]
    return {
        **answer["content"]["application/json"]["schema"],
        "components": document["components"],
    }


def valid(data, path, status="200"):
    jsonschema.validate(
        data,
        schema_of(path, status),
        format_checker=jsonschema.FormatChecker(),
    )


def test_the_api_answers_as_its_document_says(asked):
    status, data = asked.json("/api/v1/status")
    valid(data, "/api/v1/status")
    assert [one["job"] for one in data["all"]] == ["a", "b"]
    for name in ("a", "b", str(KEY)):
        status, data = asked.json(f"/api/v1/jobs/{name}")
        assert status == 200
        valid(data, "/api/v1/jobs/{name}")
    status, data = asked.json("/api/v1/jobs/a")
    assert (data["status"], data["reason"]) == ("failing", "full")
    assert data["values"]["used"]["fail"] == {"low": None, "high": 90.0}
    assert len(data["incidents"]) == 1 and len(data["incidents"][0]["messages"]) == 1
    status, data = asked.json("/api/v1/history", "job=a")
    valid(data, "/api/v1/history")
    assert [one["values"]["used"] for one in data["results"]] == [40, 40, 40, 95]
    assert data["next"] is None
    document = asked.json("/api/v1/openapi.json")[1]
    assert document == json.loads(api.openapi())


def test_an_old_name_is_answered_by_the_new_one(asked):
    folder, new = asked.settings.state, JobKey("Own", "new")
    State(folder).save([Record(KEY, unseen_since=NOON)])
    State(folder).save_catalog({new: entry(new)})
    historylog.record(folder, UTC, NOW.timestamp(), [result(new)], [(KEY, new)])
    for path, query in (("/api/v1/jobs/a", ""), ("/api/v1/history", "job=a")):
        status, text = asked(path, query)
        assert status == 404
        assert "there is no such job; it is called 'new' now" in text


def test_a_removed_job_has_no_page_no_link_and_a_history(asked):
    State(asked.settings.state).save_catalog({OTHER: entry(OTHER)})
    gone = Record(KEY, unseen_since=NOON + timedelta(seconds=9))
    State(asked.settings.state).save([gone])
    assert asked(f"/{link_of(KEY)}")[0] == 404
    text = asked("/")[1]
    assert link_of(KEY) not in text and "a <b>failing</b>" in text
    (one,) = ElementTree.fromstring(asked("/feed.atom")[1]).iter(f"{ATOM}entry")
    assert one.findtext(f"{ATOM}title") == "a was failing"
    assert one.find(f"{ATOM}link") is None
    status, data = asked.json("/api/v1/history", "job=a")
    assert (status, data["job"], len(data["results"])) == (200, "a", 4)
    assert asked.json("/api/v1/history", f"job={quote(str(KEY))}")[1] == data
    assert asked.json("/api/v1/jobs/a")[0] == 404


def test_the_description_of_the_api_has_each_refusal(asked):
    paths = json.loads(api.openapi())["paths"]
    refused = {
        asked("/metrics", host="")[0],
        asked("/metrics", host="evil.example")[0],
        asked("/metrics", method="POST")[0],
        asked("/metrics", authorization="")[0],
        Asked(replace(asked.settings, state=asked.settings.state / "x"))("/metrics")[0],
    }
    assert refused == {400, 401, 405, 421, 503}
    for path, methods in paths.items():
        assert refused <= set(map(int, methods["get"]["responses"])), path


def test_history_is_asked_for_by_times(asked):
    since = quote((NOON - timedelta(minutes=1)).isoformat())
    data = asked.json("/api/v1/history", f"job=a&since={since}")[1]
    assert len(data["results"]) == 2
    # As it stands, + is a blank.
    until = NOON.isoformat()
    data = asked.json("/api/v1/history", f"job=a&until={until}")[1]
    assert len(data["results"]) == 3


@pytest.mark.parametrize(
    ("query", "status", "word"),
    [
        ("", 400, "job"),
        ("job=", 400, "job"),
        ("job=nobody", 404, "no such job"),
        ("job=a&since=yesterday", 400, "since"),
        ("job=a&since=2026-11-22T12:00:00", 400, "since"),
        ("job=a&until=9999-12-31T23:59:59-14:00", 400, "until"),
        ("&".join(["job=a"] * 30), 400, "job"),
    ],
)
def test_a_wrong_question_is_told_what_is_wrong(asked, query, status, word):
    found, data = asked.json("/api/v1/history", query)
    assert found == status and word in data["error"]
    valid(data, "/api/v1/history", str(status))


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("since=0001-01-01T00:00:00Z", 4),
        ("since=0001-01-01T00:00:00Z&until=9999-12-31T23:59:59Z", 4),
        ("until=0001-01-01T00:00:00Z", 0),
        ("since=2026-11-23T00:00:00Z&until=2026-11-22T00:00:00Z", 0),
    ],
)
def test_any_time_may_be_asked_for(asked, query, count):
    status, data = asked.json("/api/v1/history", f"job=a&{query}")
    assert (status, len(data["results"])) == (200, count)


def test_of_very_many_results_the_rest_is_asked_for_by_next(asked, monkeypatch):
    monkeypatch.setattr(api, "MAX_ROWS", 3)
    data = asked.json("/api/v1/history", "job=a")[1]
    assert len(data["results"]) == 3
    rest = asked.json("/api/v1/history", f"job=a&since={quote(data['next'])}")[1]
    assert [one["values"]["used"] for one in rest["results"]] == [95]


def test_a_name_of_two_jobs_is_asked_for_by_its_key(asked, tmp_path):
    twin = JobKey("Twin", "a")
    State(tmp_path).save_catalog(
        {KEY: entry(KEY), OTHER: entry(OTHER), twin: entry(twin)}
    )
    status, data = asked.json("/api/v1/jobs/a")
    assert status == 409 and str(twin) in data["error"]
    assert asked.json(f"/api/v1/jobs/{twin}")[1]["key"] == str(twin)


def test_what_is_shown_is_read_anew_after_some_seconds(tmp_path):
    given = replace(written(tmp_path), page=Page(token=Secret(TOKEN)))
    now = [0.0]
    site = pages.Site(lambda: given, lambda: NOW, lambda: now[0])
    before = site._facts()
    assert site._facts() is not before and site._facts()[1] is before[1]
    now[0] += pages.FRESH_S
    assert site._facts()[1] is not before[1]


def test_the_daemon_shows_it_as_the_settings_say(tmp_path):
    instance, port = Instance(tmp_path), free_port()
    page = f"[page]\nlisten = 127.0.0.1:{port}\ntoken = {TOKEN}\nping = yes\n"
    instance.add(page)
    with Daemon(instance) as daemon:
        said = [daemon.process.stdout.readline() for _line in range(2)]
        assert f"shows the page on http://127.0.0.1:{port}/" in "".join(said)
        request = urllib.request.Request(f"http://127.0.0.1:{port}/")
        request.add_header("Authorization", basic("ann", TOKEN))
        with urllib.request.urlopen(request) as answer:
            assert "Nothing is known yet" in answer.read().decode()
        for path, status in (("", 401), ("ping/nobody", 404)):
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}")
            assert refused.value.code == status
            refused.value.close()
        # What is opened to peers shows nothing of it.
        assert "MailProblem" in daemon.word() or "JobProblem" in daemon.word()


def test_pings_are_taken_beside_the_page():
    def named(name):
        return lambda environ, start_response: [name]

    both = pages.beside_pings(named("ping"), named("page"))
    assert both({"PATH_INFO": "/ping/x"}, None) == ["ping"]
    assert both({"PATH_INFO": "/pings"}, None) == ["page"]
    alone = pages.beside_pings(None, named("page"))
    assert alone({"PATH_INFO": "/ping/x"}, None) == ["page"]


def test_the_api_has_all_that_status_prints(tmp_path):
    instance = Instance(tmp_path, NO_MAIL)
    instance.add("[disk root]\npath = /\nlimit = 100\n[disk gone]\npath = /nowhere\n")
    instance.add(f"[page]\ntoken = {TOKEN}\n")
    instance.cron()
    asked = Asked(
        load_settings(instance.settings, base=tmp_path, state=instance.state), utc_now()
    )
    _status, data = asked.json("/api/v1/status")
    printed = instance.run("-m", "status", "--json").json()
    assert set(data) == {*printed, "all"}
    assert data["state_bytes"] == printed["state_bytes"] > 0
    for one in (data, printed):
        # The clock went on between the two.
        del one["at"]
        for row in one["listed"]:
            del row["time_s"]
    assert {name: data[name] for name in printed} == printed
    assert [row["job"] for row in data["listed"]][0] == "disk gone"


def test_a_job_that_history_has_forgotten_was_still_checked(asked, tmp_path):
    state = State(tmp_path)
    judged = replace(entry(KEY), schedule="day", judged=True)
    state.save_catalog({KEY: judged})
    ran = NOON - timedelta(days=36)
    run = RunRecord(began_at=NOON, ended_at=NOON, last_runs={"day": ran.isoformat()})
    state.save_run(run)
    shutil.rmtree(tmp_path / "history")
    data = asked.json("/api/v1/jobs/a")[1]
    assert data["last_run_at"] == ran.isoformat()
    assert f'seconds{{server="web1",name="a",kind="Own"}} {ran.timestamp():.0f}' in (
        asked("/metrics")[1]
    )
    assert "none yet" not in asked(f"/{link_of(KEY)}")[1]

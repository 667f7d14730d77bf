"""The page as HTML: what it says, that nothing in it is run, and how large it is."""

from __future__ import annotations

import json
import re
import time
from contextlib import nullcontext
from datetime import UTC, timedelta
from html.parser import HTMLParser

import pytest
from msgspec.structs import replace

from lib.config import fields
from lib.core.decisions import Entry, JobDetails
from lib.core.enums import Decision, Status
from lib.core.jobs import JobKey
from lib.core.records import Record, RunRecord
from lib.core.settings import Page
from lib.core.silences import Scope, Silences, Window
from lib.report import feed, page
from lib.report.owntemplates import plain
from lib.report.page import JobStory, Look, link_of, overview
from lib.report.snapshot import Snapshot
from lib.storage.history import Share
from tests.support.snapshots import (
    DAY,
    HOSTILE,
    NOON,
    Recorder,
    entry,
    every_status,
    row,
    series,
    settings,
    snapshot,
)

VOID = {"meta", "link", "input", "path", "img"}
#: Their ends may be left out.
OPTIONAL = {"th", "td", "tr", "thead", "tbody", "p", "li"}


class Read(HTMLParser):
    """Reads a page: its elements, its texts, and whether all are closed."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.texts, self.open = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        while self.open and self.open[-1] != tag and self.open[-1] in OPTIONAL:
            self.open.pop()
        assert self.open and self.open.pop() == tag, tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("style", "script"):
            self.texts.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


def pages():
    every = every_status()
    yield overview(every)
    yield overview(every, Look(is_file=False, query="shop"))
    for key in every.catalog:
        rows = tuple(row(NOON.timestamp() - 60 * age) for age in range(3))
        story = JobStory(rows, (series(1, HOSTILE),), every.incidents)
        yield page.job_page(every, key, story)


def test_every_page_is_whole_html_and_runs_nothing_but_our_script():
    for text in pages():
        read = Read(text)
        assert read.open == []
        assert len(read.all("script")) == 1 and not read.all("img")
        for tag, attrs in read.elements:
            assert not any(name.startswith("on") for name in attrs), tag
            assert "style" not in attrs
            for name in ("href", "src", "action"):
                link = attrs.get(name) or ""
                assert not link.lower().startswith("javascript:")
                assert tag == "a" or "//" not in link or link.startswith("data:")


def test_what_a_job_says_is_shown_as_it_is_without_control_characters():
    texts = Read(overview(every_status())).text
    assert "<script>alert(1)</script>" in texts
    assert "{{ 7*7 }}" in texts and "49" not in texts
    assert "\x1b" not in texts and "\\x1b[31m" in texts


@pytest.mark.parametrize(
    ("url", "is_followed"),
    [
        ("https://example.com/book", True),
        ("http://example.com", True),
        ("mailto:ops@example.com", True),
        ("HTTPS://example.com", True),
        ("javascript:alert(1)", False),
        (" javascript:alert(1)", False),
        ("data:text/html,x", False),
        ("//example.com", False),
        ("", False),
    ],
)
def test_a_runbook_is_a_link_to_the_web_or_a_mail(url, is_followed):
    assert bool(page.safe_link(url)) == is_followed
    # settings.cfg takes the same ones.
    with nullcontext() if is_followed else pytest.raises(ValueError):
        assert fields.link(url) == page.safe_link(url)


def test_ids_are_unique_and_labels_name_their_fields():
    for text in pages():
        elements = Read(text).elements
        ids = [attrs["id"] for _tag, attrs in elements if "id" in attrs]
        assert len(ids) == len(set(ids))
        for _tag, attrs in elements:
            for name in ("for", "aria-labelledby"):
                assert name not in attrs or attrs[name] in ids


def of(*letters):
    """Return the sentence about jobs in these statuses."""
    lines = [
        page.JobLine(JobKey("Own", letter), "", "", letter, "", (), "", "", "", "")
        for letter in letters
    ]
    return page.sentence_of(lines, Snapshot(settings(), NOON, RunRecord(ended_at=NOON)))


def test_the_state_of_everything_is_one_sentence():
    assert of("o", "o", "p") == "All 3 jobs are OK."
    assert of("o") == "The only job is OK."
    assert of() == "There are no jobs yet."
    assert of("f", "o") == "1 of 2 jobs is not OK: 1 failing."
    assert of("f", "u", "w", "r", "o") == (
        "4 of 5 jobs are not OK: 1 failing, 1 unknown, 1 warning, 1 out of reach."
    )
    assert of("o", "n") == "Nothing is down; 1 of 2 jobs can be judged."
    nothing = overview(snapshot(1, run=RunRecord()))
    assert "Nothing is known yet: no run has finished." in nothing


def test_once_runs_have_stopped_nothing_is_said_of_now():
    public = settings(Page(public=("group-0",)))
    one = replace(snapshot(3), settings=public)
    later = replace(one, now=one.run.ended_at + timedelta(days=5))
    words = (
        "Nothing has been checked since 2026-11-22 12:00; all that is shown is older."
    )
    for made in (overview, page.public):
        assert "Nothing has been checked" not in Read(made(one)).text
        text = made(later)
        assert words in Read(text).text
        assert '<p class="sentence u">' in text
    key = next(iter(one.catalog))
    for make, now in ((feed.badge_of_job, key), (feed.badge_of_tag, "group-0")):
        assert "OK" in make(one, now) and "not checked" not in make(one, now)
        text = make(later, now)
        assert "not checked" in text and "OK" not in text
        assert feed.COLORS["o"] not in text


def test_what_is_failing_comes_first_in_its_part_and_in_its_group():
    read = Read(overview(every_status()))
    links = [one["href"] for one in read.all("a") if one["href"].startswith("job-")]
    assert links[0].startswith("job-failing-0")
    assert links.index(link_of(JobKey("Own", "unknown 1 "))) < links.index(
        link_of(JobKey("Own", "warning 2 "))
    )
    words = read.text
    assert (
        "since 2026-11-22 11:20, for 40 minutes, 3 consecutive failures: 503" in words
    )
    assert "group-0 : 4 jobs, 1 not OK" in words
    assert "unreachable" in words and "not run yet" in words and "disabled" in words


def test_a_broken_job_file_is_listed_and_what_no_run_meets_is_not():
    broken, gone = JobKey("Mine"), JobKey("Own", "gone")
    records = {
        broken: Record(broken, "Mine.py", Status.FAILING, failing_since=NOON),
        gone: Record(gone, "gone", Status.FAILING, unseen_since=NOON),
    }
    text = overview(snapshot(1, records=records))
    assert "Mine.py" in text and link_of(gone) not in text


def test_incidents_say_what_was_sent_and_whether_it_arrived():
    words = Read(overview(every_status())).text
    assert "alert to ops@example.com was sent" in words
    assert "mail was proved to arrive at 2026-11-22 12:00" in words
    assert "Nobody was notified." in words


def test_a_search_without_script_finds_names_statuses_and_tags():
    every = every_status()

    def found(query):
        read = Read(overview(every, Look(is_file=False, query=query)))
        rows = [attrs for attrs in read.all("tr") if "class" in attrs]
        return len(rows)

    assert found("SHOP-0001") == 1
    assert found("shop") == 3
    assert found("group-0 failing") == 1
    assert found("nowhere") == 0
    assert 'value="&#34;&gt;&lt;b&gt;"' in overview(every, Look(query='"><b>'))


def test_a_search_without_script_shows_the_incidents_of_what_it_finds():
    one = every_status()
    first, *_others, last = one.catalog
    told = tuple(replace(one.incidents[0], key=key) for key in (first, last))
    one = replace(one, incidents=told)
    text = overview(one, Look(is_file=False, query=one.catalog[first].name))
    shown = re.findall(r'<li class="\w"><p><a href="([^"]+)">', text)
    assert shown == [link_of(first)]


def test_a_file_has_no_form_that_nobody_answers_and_loads_itself_again():
    as_file, served = overview(snapshot(1)), overview(snapshot(1), Look(is_file=False))
    assert re.search(r"<form [^>]*hidden", as_file)
    assert not re.search(r"<form [^>]*hidden", served)
    refresh = '<noscript><meta http-equiv="refresh" content="300"></noscript>'
    assert refresh in as_file


def test_the_heading_is_the_title_or_the_server():
    assert "<h1>web1</h1>" in overview(snapshot(1))
    given = settings(Page(title="Status & more"))
    assert "<h1>Status &amp; more</h1>" in overview(
        replace(snapshot(1), settings=given)
    )


def test_a_job_page_has_its_graphs_thresholds_days_and_uptimes():
    one = snapshot(1)
    (key,) = one.catalog
    until = NOON.timestamp()
    rows = [
        *(row(until - 60 * age) for age in range(30, 0, -1)),
        row(until, status=Status.FAILING),
    ]
    story = JobStory(tuple(rows), (series(1),))
    read = Read(page.job_page(one, key, story))
    words = read.text
    assert "time: from 51.07ms to 1.2s in the last 24 hours" in words
    assert "time: 80ms (failing above 2s)" in words
    assert "24 hours 100 %" in words and "90 days 99.9 %" in words
    assert "2026-08-25 95.83 % 1 hour" in words
    assert any(attrs.get("class") == "f" for attrs in read.all("path"))


def test_a_day_of_which_something_is_left_out_was_not_ok_throughout():
    one = snapshot(1)
    (key,) = one.catalog
    days = {
        "2026-11-18": Share(ok=DAY),
        "2026-11-19": Share(ok=300.0, nothing=DAY - 300.0),
        "2026-11-20": Share(ok=DAY - 3600.0, maintenance=3600.0),
    }
    text = page.job_page(replace(one, days={key: days}), key, JobStory())
    words = Read(text).text
    assert "2026-11-20 100 % – 1 hour 2026-11-19 100 % – 23 hours 55 minutes" in words
    assert "2026-11-18" not in words


def test_the_public_sees_chosen_tags_without_hosts_reasons_or_contacts():
    page_ = Page(public=("shown", "empty", "more"))
    one = every_status()
    secret = "db7.internal.example.com"
    shown = JobKey("HTTPServerChecker", f"http shop/{secret}")
    named = JobKey("TCPServerChecker", "tcp 10")
    hidden = JobKey("Own", "hidden one")
    catalog = {
        **one.catalog,
        shown: entry(shown, tags=("shown",)),
        named: entry(named, tags=("more", "shown"), description="Our <shop>"),
        hidden: entry(hidden, tags=("other",)),
    }
    records = {
        **one.records,
        shown: Record(
            shown,
            shown.identity,
            Status.FAILING,
            failing_since=NOON,
            last_reason=f"{secret}: refused",
            notified=("ops@example.com",),
            held=Decision.UNREACHABLE,
            held_by="ping gate",
        ),
    }
    told = replace(
        one.incidents[0],
        key=shown,
        reason=f"{secret}: refused",
        in_the_way=Decision.UNREACHABLE.value,
    )
    whole = replace(
        one,
        settings=settings(page_),
        catalog=catalog,
        records=records,
        incidents=(told, *one.incidents),
    )
    text = page.public(whole)
    words = Read(text).text
    assert "1 of 2 jobs is not OK: 1 unknown." in words
    assert (
        "Our <shop>" in words and "Incidents of the last 7 days shop unknown" in words
    )
    others = ("web1", "refused", "ops@", "ping gate", "hidden one", "empty")
    for never in (secret, *others):
        assert never not in text, never
    assert "group-0" not in text and "job-" not in text
    # Nor does a template of somebody's own get it.
    recorder = Recorder()
    page.public(whole, Look(templates=recorder))
    given = json.dumps(plain(recorder.facts["public.html"]))
    for never in (secret, *others, "group-0", "job-", "nomail"):
        assert never not in given, never


def test_what_is_decided_again_and_again_hides_nothing_else():
    one = snapshot(1)
    key = next(iter(one.catalog))

    def entry_of(minute, code, failures):
        details = JobDetails(Status.FAILING, failures, "503")
        return Entry(NOON + timedelta(minutes=minute), key, key.identity, code, details)

    first = entry_of(0, Decision.FIRST_ALERT, 1)
    others = [
        entry_of(minute, Decision.ALREADY_NOTIFIED, minute + 1)
        for minute in range(1, 101)
    ]
    story = JobStory(entries=(first, *others))
    words = Read(page.job_page(one, key, story)).text
    assert "12:00 failing (consecutive failures: 1): 503; first alert" in words
    assert "(100 times since 2026-11-22 12:01)" in words


def test_the_public_is_told_of_maintenance_and_not_of_a_failure_in_it():
    one = replace(every_status(), settings=settings(Page(public=("group-0",))))
    key, *_others = one.catalog
    failing = Record(key, status=Status.FAILING, failures=1, failing_since=one.now)
    one = replace(one, records={key: failing}, incidents=())
    words = Read(page.public(one)).text
    assert "1 failing." in words and "maintenance" not in words
    scope = Scope((one.catalog[key].name,))
    start = (one.now - timedelta(minutes=5)).isoformat()
    window = Window("night", scope, start, 3600.0)
    planned = Silences(windows=(window,), zone=UTC)
    words = Read(page.public(replace(one, silences=planned))).text
    assert "Nothing is down" in words and " maintenance " in words


def test_announcements_are_on_every_page_that_they_are_about():
    one = every_status()
    words = Read(overview(one)).text
    assert "Announcements Outage Shop is down." in words and "Only us" in words
    assert "Maintenance planned: 2026-11-22 13:00 to 2026-11-22 14:00" in words
    assert "announced 2026-11-22 11:00 by \"'><script>" in words
    assert "Warning : group-0, inside" in words
    first, other = list(one.catalog)[:2]
    assert "Warning : group-0" in Read(page.job_page(one, first, JobStory())).text
    assert "Announcements" not in page.job_page(one, other, JobStory())
    assert "Announcements" not in overview(snapshot())


def test_the_public_reads_announcements_without_names_and_other_tags():
    one = replace(every_status(), settings=settings(Page(public=("group-0",))))
    text = page.public(one)
    words = Read(text).text
    assert (
        "Warning : group-0 " in words and "changed 2026-11-22 12:00 Shop" not in words
    )
    assert "Only us" not in words and "inside" not in words and " by " not in words


def test_only_addresses_of_the_web_are_links_in_an_announcement():
    read = Read(overview(every_status()))
    links = {one["href"] for one in read.all("a") if "noopener" in one.get("rel", "")}
    assert links == {f"https://example.com/{'x' * 90}\"onclick=a"}
    assert not any("onclick" in one for one in read.all("a"))


def test_a_job_without_a_result_has_a_page():
    key = JobKey("Own", "new")
    words = Read(page.job_page(snapshot(0), key, JobStory())).text
    assert "There is no result." in words and "not run yet" in words


@pytest.mark.parametrize("jobs", [0, 3, 50])
def test_few_jobs_are_a_small_page(jobs):
    assert len(overview(snapshot(jobs)).encode()) < 11_000 + 600 * jobs


@pytest.mark.long
def test_a_thousand_jobs_are_within_400_kB_and_half_a_second():
    many = snapshot(1000)
    begun = time.process_time()
    size = len(overview(many).encode())
    spent = time.process_time() - begun
    assert size <= 400_000
    assert spent <= 0.5


def test_of_very_many_that_fail_the_first_are_told_and_the_rest_are_counted():
    many = snapshot(60)
    records = {
        key: Record(key, key.identity, Status.FAILING, failing_since=NOON)
        for key in many.catalog
    }
    text = overview(replace(many, records=records))
    assert "And 10 more, which the list below has." in text
    assert text.count("<li class=") == page.MAX_TROUBLE

"""The page in a real browser: few jobs and many, narrow and wide, light and dark."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping

import pytest
from msgspec.structs import replace

from lib.core.jobs import JobKey
from lib.core.settings import Page
from lib.core.silences import Acknowledge, CheckNow, Mute, Unmute
from lib.report.owntemplates import SHIPPED, OwnTemplates
from lib.report.page import Look, job_page, link_of, overview, public
from lib.storage import inbox
from tests.support import browser
from tests.support.browser import DOWN, ENTER, SPACE, TAB
from tests.support.daemon import Daemon, free_port
from tests.support.fakes import job
from tests.support.instance import Instance
from tests.support.snapshots import (
    HOSTILE,
    every_status,
    settings,
    snapshot,
    story_of,
)
from tests.support.waits import until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(bool(browser.why_not()), reason=browser.why_not()),
]

WIDTHS = (360, 1400)
TOKEN = "0123456789abcdef"
DOWN_KEY = JobKey("Down", "Down")
URL = "url = https://status.example.com/\n"
SCHEMES = {"light": "rgb(27, 31, 36)", "dark": "rgb(230, 232, 235)"}
#: Of each kind of page one is enough for axe-core, which takes its time.
KINDS = ("every", "public", "job failing", "job long")


@pytest.fixture(scope="module")
def driver() -> Iterator[str]:
    with browser.driver() as base:
        yield base


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, str]:
    """Return the address of each page that is written as a file, by its name."""
    folder = tmp_path_factory.mktemp("page")
    every = every_status()
    texts = {f"{jobs}": overview(snapshot(jobs)) for jobs in (3, 50, 1000)}
    texts["every"] = overview(every)
    groups = Page(public=("group-0", "group-1"))
    texts["public"] = public(replace(every, settings=settings(groups)))
    names = {"failing 0": "failing", "http a-very": "long", "switched": "off"}
    for key in every.catalog:
        text = job_page(every, key, story_of(every))
        (folder / link_of(key)).write_text(text)
        short = [
            name for start, name in names.items() if key.identity.startswith(start)
        ]
        texts[f"job {short[0] if short else key}"] = text
    texts["own"] = of_own_templates(folder / "templates", every)
    found = {}
    for number, (name, text) in enumerate(texts.items()):
        path = folder / f"{number}.html"
        path.write_text(text)
        found[name] = path.as_uri()
    return found


def of_own_templates(folder, every):
    """Return the page made of templates of somebody's own."""
    folder.mkdir()
    top = f"<p id=brand>ACME {{{{ title }}}} {{{{ '{'x' * 200}' }}}}</p>"
    (folder / "page.html").write_text(
        '{% extends "ours/page.html" %}\n{% block top %}' + top + "{% endblock %}"
    )
    css = (SHIPPED / "page.css").read_text() + "#brand{border:3px solid}"
    (folder / "page.css").write_text(css)
    own = OwnTemplates(folder)
    own.refresh()
    try:
        return overview(every, Look(templates=own))
    finally:
        own.close()


def test_the_styles_of_templates_of_ones_own_are_applied(driver, pages):
    with browser.window(driver, 1400) as one:
        one.open(pages["own"])
        width = "return getComputedStyle(document.getElementById('brand')).borderWidth"
        assert one.run(width) == "3px"
        assert one.said() == []


def test_an_announcement_runs_nothing_and_its_lines_are_lines(driver, pages):
    with browser.window(driver, 1400) as one:
        for name in ("every", "public"):
            one.open(pages[name])
            text = one.run(
                "return document.querySelector('.announced .text').innerText"
            )
            assert text.startswith("Shop is down.\n\"'><script>alert(1)</script>")
            assert one.said() == []


@pytest.fixture(scope="module")
def instance(tmp_path_factory) -> Instance:
    """Return an instance with a job that fails, and says what nobody may run."""
    made = Instance(tmp_path_factory.mktemp("instance"))
    made.job("Fine", job("Fine"))
    reason = json.dumps(f"503: {HOSTILE}\nand more")
    made.job("Down", job("Down", f"raise CheckFailed({reason})"))
    made.cron()
    return made


@pytest.fixture(scope="module")
def served(request, instance) -> Iterator[Mapping[str, str]]:
    """Yield the address of each page that the daemon shows, with ``url`` or without."""
    port, before = free_port(), instance.settings.read_text()
    page = f"[page]\nlisten = 127.0.0.1:{port}\ntoken = {TOKEN}\npublic = web\n"
    instance.add(page + getattr(request, "param", URL))
    base = f"http://ann:{TOKEN}@127.0.0.1:{port}/"
    with Daemon(instance) as daemon:
        for what in ("the page", "the public page"):
            assert f"shows {what} on" in daemon.process.stdout.readline()
        # A browser without a window asks for no password, and shows nothing.
        refused = instance.folder / "401.html"
        refused.write_text(refusal(f"http://127.0.0.1:{port}/"))
        yield {
            "served": base,
            "served job": base + link_of(DOWN_KEY),
            "served public": f"{base}public",
            "404": f"{base}nowhere",
            "401": refused.as_uri(),
        }
    instance.write(before)


def refusal(url: str) -> str:
    """Return the page that somebody gets who gives no password."""
    request = urllib.request.Request(url, headers={"Accept": "text/html"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    with refused.value as answer:
        assert answer.code == 401
        return answer.read().decode()


def fits(one: browser.Browser, name: str, url: str, width: int) -> None:
    """Open a page; fail if it is wider than the window, or if the console has some."""
    one.open(url)
    wide = one.run("return document.documentElement.scrollWidth")
    # Of an error the browser says so itself.
    said = [line for line in one.said() if f"a status of {name} " not in line]
    assert (wide, said) == (width, []), name
    assert one.run("return document.title"), name


@pytest.mark.parametrize("width", WIDTHS)
def test_no_page_is_wider_than_the_window_or_says_anything_to_the_console(
    driver, pages, width
):
    with browser.window(driver, width) as one:
        for name, url in pages.items():
            fits(one, name, url, width)


@pytest.mark.parametrize("width", WIDTHS)
def test_nor_does_any_page_that_is_served(driver, served, width):
    with browser.window(driver, width) as one:
        for name, url in served.items():
            fits(one, name, url, width)
            assert one.run("return document.contentType") == "text/html", name


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_nothing_keeps_people_from_using_the_page(driver, pages, served, scheme, width):
    with browser.window(driver, width) as one:
        one.look(scheme)
        for name, url in ({name: pages[name] for name in KINDS} | dict(served)).items():
            one.open(url)
            assert one.barriers() == [], name
            # So that a scheme that is not applied does not pass.
            color = one.run("return getComputedStyle(document.body).color")
            assert color == SCHEMES[scheme], name


@pytest.mark.parametrize("jobs", ["50", "1000"])
def test_nor_are_many_jobs_in_the_way(driver, pages, jobs):
    with browser.window(driver, 1400) as one:
        one.open(pages[jobs])
        assert one.barriers() == []


def test_what_is_in_the_way_is_noticed(driver, pages):
    with browser.window(driver, 360) as one:
        one.open(pages["3"])
        one.run("document.querySelector('label').remove()")
        one.run("document.querySelector('.sentence').style.color = 'silver'")
        found = one.barriers()
    assert {line.partition(":")[0] for line in found} == {"color-contrast", "label"}


def test_a_keyboard_reaches_the_content_and_finds_jobs(driver, pages):
    shown = (
        "return [...document.querySelectorAll('.group tbody tr')]"
        ".filter(row => row.checkVisibility()).length"
    )
    with browser.window(driver, 1400) as one:
        one.open(pages["50"])
        one.type(TAB)
        assert one.run("return document.activeElement.className") == "skip"
        one.type(TAB)
        assert one.run("return document.activeElement.id") == "q"
        assert one.run(shown) == 50
        one.type(*"shop-001")
        assert one.run(shown) == 10
        assert one.run("return document.getElementById('found').textContent") == (
            "10 of 50"
        )
        one.run("document.getElementById('q').value = ''")
        one.type("x", "\ue003")
        assert one.run(shown) == 50


def test_a_search_shows_what_is_not_ok_and_incidents_of_what_it_finds(driver, pages):
    shown = (
        "return [...document.querySelectorAll('{}')]"
        ".filter(one => one.checkVisibility()).map(one => one.querySelector('a').text)"
    )
    cards, incidents = (
        shown.format(which)
        for which in ("[aria-labelledby=trouble] li", ".incidents > li")
    )
    with browser.window(driver, 1400) as one:
        one.open(pages["every"])
        all_cards, all_incidents = one.run(cards), one.run(incidents)
        name = all_incidents[0]
        one.run("document.getElementById('q').focus()")
        one.type(*"warning")
        assert one.run(cards) == [card for card in all_cards if "warning" in card]
        assert name not in one.run(incidents)
        rows, heads = (
            f"return [...document.querySelectorAll('{which}')]"
            ".map(one => one.textContent)"
            for which in (
                ".group tbody tr:not([hidden])",
                ".group:not([hidden]) summary",
            )
        )
        numbers = [re.search(r": (\d+) jobs?\b", head)[1] for head in one.run(heads)]
        assert sum(map(int, numbers)) == len(one.run(rows))
        one.run("document.getElementById('q').value = ''")
        one.type("x", "\ue003")
        assert (one.run(cards), one.run(incidents)) == (all_cards, all_incidents)
        # Nothing is under a heading of its own.
        headings = (
            "return [...document.querySelectorAll('h2')]"
            ".filter(one => one.checkVisibility()).map(one => one.id)"
        )
        before = one.run(headings)
        one.type(*"nowhere")
        assert one.run(headings) == ["announcements", "jobs", "self"]
        none = "return document.getElementById('none').checkVisibility()"
        assert one.run(none)
        one.run("document.getElementById('q').value = ''")
        one.type("x", "\ue003")
        assert not one.run(none)
        assert one.run(headings) == before
        # The name of a group is a tag of its jobs.
        one.type(*"group-0")
        assert one.run("return document.getElementById('found').textContent") != (
            "0 of 7"
        )
        assert one.run(cards)


def test_of_a_thousand_jobs_the_groups_open_when_one_is_searched(driver, pages):
    opened = "return document.querySelectorAll('.group[open]').length"
    with browser.window(driver, 1400) as one:
        one.open(pages["1000"])
        assert one.run(opened) == 0
        one.run("document.getElementById('q').focus()")
        one.type(*"0123")
        assert one.run(opened) == 10
        visible = "return document.querySelectorAll('.group:not([hidden])').length"
        assert one.run(visible) == 1


def test_without_script_all_is_there_but_the_search(driver, pages):
    with browser.window(driver, 1400, script=False) as one:
        one.open(pages["50"])
        picture = one.source()
        assert picture.count("shop-00") >= 50
        assert "hidden" in picture.partition("<form")[2].partition(">")[0]


def test_without_script_the_daemon_searches(driver, served):
    with browser.window(driver, 1400, script=False) as one:
        one.open(served["served"])
        one.type(TAB, TAB, *"down", ENTER)
        until(lambda: ">1 of 3</output>" in one.source())
        rows = one.source().partition('<section aria-labelledby="jobs">')[2]
        assert ">Down</a>" in rows and ">Fine</a>" not in rows


@pytest.mark.parametrize("script", [True, False])
def test_the_page_is_loaded_again_with_script_or_without(driver, tmp_path, script):
    path = tmp_path / "index.html"
    path.write_text(overview(snapshot(3), Look(every_s=1)))
    with browser.window(driver, 1400, script=script) as one:
        one.open(path.as_uri())
        assert "shop-0003" not in one.source()
        path.write_text(overview(snapshot(4), Look(every_s=1)))
        until(lambda: "shop-0003" in one.source())


def test_what_somebody_is_writing_is_not_lost(driver, tmp_path):
    path = tmp_path / "index.html"
    path.write_text(overview(snapshot(3), Look(every_s=3)))
    with browser.window(driver, 1400) as one:
        one.open(path.as_uri())
        one.run(
            "const field = document.getElementById('q'); field.value = 'shop';"
            "window.kept = 0; setInterval(() => { window.kept += 1 }, 100)"
        )

        def kept() -> int:
            return one.run("return window.kept === undefined ? -1 : window.kept")

        until(lambda: kept() > 40)
        # Nor is the page loaded again by who does not want that.
        one.tab_to("#refresh")
        one.type(SPACE)
        one.run("document.getElementById('q').value = ''; window.kept = 0")
        until(lambda: kept() > 40)
        one.type(SPACE)
        until(lambda: kept() == -1)


@pytest.mark.parametrize("served", ["", URL], indirect=True)
def test_forms_are_filled_in_by_keyboard_alone(driver, instance, served):
    said = "return (document.querySelector('.said') || {}).textContent || ''"
    mute, other = "form:has([value=mute])", "form:has([value={}])"
    with browser.window(driver, 360) as one:
        one.open(served["served"])
        # The link of the card: what is not OK comes first.
        one.tab_to(".cards a")
        one.type(ENTER)
        until(lambda: one.run("return document.title").startswith("Down: failing"))
        one.tab_to(f"{mute} select")
        one.type(DOWN)
        one.tab_to(f"{mute} [name=why]")
        one.type(*"deploy", ENTER)
        until(lambda: "Muted" in one.run(said))
        one.tab_to(f"{other.format('ack')} [name=why]")
        one.type(*"known")
        one.tab_to(f"{other.format('ack')} button")
        one.type(SPACE)
        until(lambda: "Acknowledged" in one.run(said))
        one.tab_to(f"{other.format('check')} button")
        one.type(ENTER)
        until(lambda: "checked in the next run" in one.run(said))
        asked = inbox.waiting(instance.state).requests
        kinds = {type(request): request for request in asked}
        assert set(kinds) == {Mute, Acknowledge, CheckNow}
        assert {request.who for request in asked} == {"ann"}
        muted = kinds[Mute]
        assert round((muted.until - muted.at).total_seconds()) == 4 * 3600
        assert (muted.why, kinds[Acknowledge].why) == ("deploy", "known")
        instance.cron()
        # What is shown is at most 5 seconds old.
        unmute = f"{other.format('unmute')} button"
        until(lambda: one.open(served["served job"]) or has(one, unmute))
        one.tab_to(unmute)
        one.type(ENTER)
        until(lambda: "leave again" in one.run(said))
        (request,) = inbox.waiting(instance.state).requests
        assert isinstance(request, Unmute) and request.who == "ann"
        assert one.said() == []
        instance.cron()


def has(one: browser.Browser, selector: str) -> bool:
    return bool(one.run("return !!document.querySelector(arguments[0])", selector))

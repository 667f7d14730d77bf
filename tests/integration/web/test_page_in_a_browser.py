"""The page in a real browser: few jobs and many, narrow and wide, light and dark."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from lib.core.jobs import JobKey
from lib.core.settings import Page
from lib.report.page import JobStory, job_page, link_of, overview, public
from lib.storage import inbox
from tests.support import browser
from tests.support.daemon import Daemon, free_port
from tests.support.fakes import job
from tests.support.instance import Instance
from tests.support.snapshots import (
    HOSTILE,
    every_status,
    row,
    series,
    settings,
    snapshot,
)
from tests.support.waits import until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(bool(browser.why_not()), reason=browser.why_not()),
]

#: Contrast of a text with its background by WCAG 2, of each element that has text.
POOR_CONTRAST = """
function channels(color) { return color.match(/[0-9.]+/g).map(Number); }
function light(color) {
  const [r, g, b] = channels(color).map(c => c / 255)
    .map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function back(element) {
  for (let one = element; one; one = one.parentElement) {
    const color = getComputedStyle(one).backgroundColor;
    if (channels(color)[3] !== 0) return color;
  }
  return 'rgb(255, 255, 255)';
}
const poor = [];
for (const one of document.querySelectorAll('body *')) {
  const hasText = [...one.childNodes].some(n => n.nodeType === 3 && n.data.trim());
  if (!hasText || !one.checkVisibility() || one.closest('script')) continue;
  const [a, b] = [light(getComputedStyle(one).color), light(back(one))];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < 4.5) poor.push(one.tagName + ' ' + one.textContent.slice(0, 40) + ratio);
}
return poor;
"""


@pytest.fixture(scope="module")
def driver():
    with browser.driver() as base:
        yield base


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Return the address of each page, by its name."""
    folder = tmp_path_factory.mktemp("page")
    every = every_status()
    texts = {f"{jobs}": overview(snapshot(jobs)) for jobs in (3, 50, 1000)}
    texts["every"] = overview(every)
    groups = Page(public=("group-0", "group-1"))
    texts["public"] = public(replace(every, settings=settings(groups)))
    for key in every.catalog:
        rows = tuple(row(row().at - 60 * age) for age in range(9, 0, -1))
        graphs = (series(1), series(2, HOSTILE))
        story = JobStory(rows, graphs, every.incidents)
        (folder / link_of(key)).write_text(job_page(every, key, story))
        texts[f"job {key}"] = job_page(every, key, story)
    found = {}
    for number, (name, text) in enumerate(texts.items()):
        path = folder / f"{number}.html"
        path.write_text(text)
        found[name] = path.as_uri()
    return found


@pytest.mark.parametrize("width", [360, 1400])
def test_no_page_is_wider_than_the_window_or_says_anything_to_the_console(
    driver, pages, width
):
    with browser.window(driver, width) as one:
        for name, url in pages.items():
            one.open(url)
            wide = one.run("return document.documentElement.scrollWidth")
            assert (wide, one.said()) == (width, []), name
            assert one.run("return document.title"), name


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read_in_both_schemes(driver, pages, scheme):
    backs = []
    with browser.window(driver, 1400) as one:
        one.look(scheme)
        for name, url in pages.items():
            if name == "1000":
                continue
            one.open(url)
            assert one.run(POOR_CONTRAST) == [], name
            backs.append(one.run("return getComputedStyle(document.body).color"))
    # So that a scheme that is not applied does not pass.
    assert len(set(backs)) == 1
    assert (
        backs[0] == {"light": "rgb(27, 31, 36)", "dark": "rgb(230, 232, 235)"}[scheme]
    )


def test_a_keyboard_reaches_the_content_and_finds_jobs(driver, pages):
    shown = (
        "return [...document.querySelectorAll('.group tbody tr')]"
        ".filter(row => row.checkVisibility()).length"
    )
    with browser.window(driver, 1400) as one:
        one.open(pages["50"])
        one.type("\ue004")
        assert one.run("return document.activeElement.className") == "skip"
        one.type("\ue004")
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


def test_a_form_is_filled_in_by_keyboard(driver, tmp_path):
    instance, port, token = Instance(tmp_path), free_port(), "0123456789abcdef"
    instance.job("Fine", job("Fine"))
    instance.add(f"[page]\nlisten = 127.0.0.1:{port}\ntoken = {token}\n")
    instance.cron()
    link = link_of(JobKey("Fine", "Fine"))
    with Daemon(instance) as daemon, browser.window(driver, 360) as one:
        assert "shows the page" in daemon.process.stdout.readline()
        one.open(f"http://ann:{token}@127.0.0.1:{port}/{link}")
        assert one.run("return document.title").startswith("Fine: OK")
        one.run("document.querySelector('[name=why]').focus()")
        one.type(*"deploy", "\ue007")
        said = "return (document.querySelector('.said') || {}).textContent || ''"
        until(lambda: "Muted" in one.run(said))
        assert one.said() == []
    (request,) = inbox.waiting(instance.state).requests
    assert (request.who, request.why) == ("ann", "deploy")

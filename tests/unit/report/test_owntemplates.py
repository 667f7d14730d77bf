"""[page] templates: whose files count, what becomes of bad ones, what they get."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from markupsafe import Markup
from msgspec.structs import replace

from lib.core.settings import Page
from lib.report import owntemplates, page
from lib.report.ours import MARK
from lib.report.owntemplates import AGAIN_S, OwnTemplates, plain
from lib.report.page import Forms, JobStory, Look, content_policy
from tests.support.pages import part, rows, words
from tests.support.snapshots import HOSTILE, Recorder, every_status, settings, snapshot

DOCS = Path(__file__).resolve().parents[3] / "docs" / "page.md"
#: The process is tried by few tests only.
MINE = (
    '{% extends "ours/page.html" %}{% block top %}<p>ACME {{ title }}</p>{% endblock %}'
)


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "templates"
    made.mkdir()
    return made


@pytest.fixture
def own(folder):
    """Return the templates of the folder."""
    one = OwnTemplates(folder, limit_s=0.2)
    yield one
    one.close()


def pages(look=page.PLAIN):
    """Yield each kind of page, of every status."""
    every = replace(every_status(), settings=settings(Page(public=("group-0",))))
    yield page.overview(every, look)
    yield page.public(every, look)
    key = next(iter(every.catalog))
    forms = Forms({"mute": "a", "unmute": "b", "ack": "c", "check": "d"}, ("1h",))
    story = JobStory(incidents=every.incidents)
    yield page.job_page(every, key, story, look, forms)


def test_their_pages_are_ours_where_they_replace_nothing(own, folder):
    (folder / "other.html").write_text("{# nobody uses it #}")
    own.refresh()
    assert list(pages(Look(templates=own))) == list(pages())
    assert own.problems == []


def test_a_template_of_theirs_is_used_and_what_jobs_say_is_escaped(own, folder):
    (folder / "page.html").write_text(MINE)
    (folder / "page.css").write_text("p{color:red}")
    own.refresh()
    front, *others = pages(Look(templates=own))
    assert "<p>ACME web1</p>" in front and "<style>p{color:red}</style>" in front
    assert "<script>alert" not in front and "ACME" not in "".join(others)
    assert HOSTILE.replace("\x1b", "\\x1b") in Markup(front).unescape()
    assert own.problems == []
    # Both may be on a page: ours if theirs fails.
    assert set(re.findall("sha256-[^']+", content_policy())) < set(
        re.findall("sha256-[^']+", content_policy(own))
    )


@pytest.mark.parametrize(
    "name", ["page.html", pytest.param("base.html", marks=pytest.mark.long)]
)
def test_one_that_fails_is_one_line_and_the_page_is_ours(own, folder, name, caplog):
    (folder / name).write_text("\n{{ foo }}")
    own.refresh()
    look = Look(templates=own)
    assert page.overview(snapshot(), look) == page.overview(snapshot())
    assert page.overview(snapshot(), look) == page.overview(snapshot())
    (said,) = caplog.messages
    assert said == f"[page] templates: {own.problems[0]}"
    assert own.problems == [
        f"{folder}/{name}, line 2: 'foo' is undefined; our own template is used; "
        "docs/page.md says what a template gets"
    ]
    (folder / name).write_text("mended" if name == "base.html" else MINE)
    own.refresh()
    assert page.overview(snapshot(), look) != page.overview(snapshot())
    assert own.problems == []


def test_each_of_several_bad_ones_is_named(own, folder):
    (folder / "page.html").write_text("{{ foo }}")
    (folder / "base.html").write_text("{% nothing %}")
    (folder / "job.html").write_text("\n{{ }")
    (folder / "public.html").write_text(MINE)
    own.refresh()
    page.overview(snapshot(), Look(templates=own))
    names = [line.partition(":")[0] for line in own.problems]
    assert names == [
        f"{folder}/page.html, line 1",
        f"{folder}/base.html, line 1",
        f"{folder}/job.html, line 2",
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}"
            "{% endfor %}",
            "line 1: it takes more than 0.2 seconds of CPU time",
        ),
        pytest.param(
            "{{ 'x' * 9999999999 }}",
            ": it takes too much memory",
            marks=pytest.mark.long,
        ),
        pytest.param(
            "{{ 2 ** (10 ** 9) }}",
            ": no page was made within 2 seconds",
            marks=pytest.mark.long,
        ),
    ],
    ids=("loop", "memory", "power"),
)
def test_one_without_end_ends(folder, text, why):
    (folder / "page.html").write_text(text)
    wait_s = 2.0 if "**" in text else 15.0
    own = OwnTemplates(folder, limit_s=0.2, wait_s=wait_s)
    own.refresh()
    try:
        assert page.overview(snapshot(), Look(templates=own)).startswith("<!doctype")
        (said,) = own.problems
        assert why in said
    finally:
        own.close()


def test_one_that_failed_is_tried_again_after_a_time(folder, monkeypatch):
    now = [0.0]
    own = OwnTemplates(folder, monotonic=lambda: now[0])
    asked = []

    def fails(name, facts):
        asked.append(name)
        raise owntemplates._Broken("so it is")

    monkeypatch.setattr(own, "_asked", fails)
    (folder / "page.html").write_text("x")
    own.refresh()
    for at in (0.0, 1.0, AGAIN_S + 1):
        now[0] = at
        assert own.render("page.html", {}) is None
    assert asked == ["page.html"] * 2
    # Of the same line one is enough.
    assert len(own.problems) == 1


def test_files_that_others_may_write_or_that_are_strange_are_not_used(own, folder):
    (folder / "page.html").write_text("x")
    (folder / "page.html").chmod(0o666)
    (folder / "base.html").write_bytes(b"\xff")
    (folder / "big.html").write_text("x" * 300_000)
    (folder / "folder.html").mkdir()
    (folder / "gone.html").symlink_to("nowhere")
    (folder / "page.css").write_text("</style><script>")
    for name in (".hidden.html", "page.html~", "notes.txt"):
        (folder / name).write_text("{{ foo }}")
    own.refresh()
    assert own.render("page.html", {}) is None
    said = {one.partition(" is not used: ")[0]: one for one in own.problems}
    assert sorted(os.path.basename(path) for path in said) == [
        "base.html",
        "big.html",
        "folder.html",
        "gone.html",
        "page.css",
        "page.html",
    ]
    assert "chmod o-w" in said[f"{folder}/page.html"]
    assert "it is not UTF-8" in said[f"{folder}/base.html"]
    folder.chmod(0o777)
    own.refresh()
    (line,) = own.problems
    assert line.startswith(f"{folder} is not used: anybody can write it: chmod o-w")
    folder.chmod(0o755)


def test_of_very_many_files_none_is_used(own, folder):
    for number in range(owntemplates.MAX_FILES + 1):
        (folder / f"{number}.html").touch()
    own.refresh()
    assert own.problems[0].startswith(f"{folder} has more than 50 files; ")


@pytest.mark.parametrize(
    "text", ["<!DOCTYPE html>\n<html>", "<html>", "", "<p>x" + "y" * 2000 + MARK]
)
def test_every_page_has_the_mark_by_which_it_may_be_replaced(text):
    marked = page.with_mark(text)
    assert MARK in marked[:1000]
    assert page.with_mark(marked) == marked
    assert marked.lower().startswith(text[:14].lower() if "DOCTYPE" in text else "<!--")


# What a template gets.


def recorded():
    recorder = Recorder()
    list(pages(Look(templates=recorder)))
    return recorder.facts


def test_what_they_get_is_text_numbers_lists_and_dicts():
    def check(value):
        if isinstance(value, dict):
            assert all(isinstance(name, str) for name in value)
            for one in value.values():
                check(one)
        elif isinstance(value, list):
            for one in value:
                check(one)
        else:
            assert value is None or type(value) in (str, int, float, bool), value

    for facts in recorded().values():
        check(plain(facts))
    assert plain(Markup("<p>")) == {owntemplates.HTML: "<p>"}


def test_the_page_says_what_each_template_gets():
    facts = recorded()
    by_name = {}
    for template, given in facts.items():
        for name in given:
            by_name.setdefault(name, set()).add(template)
    table = rows(part(DOCS.read_text(), "What a template gets"))
    said = {
        name: set(words(cells[1])) or set(owntemplates.PAGES)
        for cells in table
        for name in words(cells[0])
    }
    assert said == by_name


def test_the_page_says_what_each_of_these_has():
    table = rows(part(DOCS.read_text(), "What each of these has"))
    said = {words(cells[0])[0]: words(cells[1]) for cells in table}
    assert said == {
        "line": list(page.JobLine._fields),
        "group": list(page.Group._fields),
        "trouble": list(page.Trouble._fields),
        "incident": list(page.IncidentLine._fields),
        "announcement": list(page.AnnouncementLine._fields),
        "graph": list(page.LargeGraph._fields),
        "known": list(page.Known._fields),
        "forms": list(Forms.__struct_fields__),
    }


def test_the_page_names_the_blocks_and_the_templates():
    text = DOCS.read_text()
    table = rows(part(text, "Your own templates"))
    said = {words(cells[0])[0]: words(cells[1]) for cells in table}
    for name in (*owntemplates.PAGES, "base.html"):
        source = (owntemplates.SHIPPED / name).read_text()
        blocks = re.findall(r"\{% block (\w+) %\}", source)
        assert said.pop(name) == blocks, name
    assert set(said) == {"parts.html", "page.css", "page.js"}

"""-m announce, as a person types it; the runs are those of cron."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from lib.core.announcements import MAX_ANNOUNCEMENTS, MAX_TEXT, Announce, Announcement
from lib.core.silences import Scope
from lib.storage import inbox
from tests.support.approved import REAL
from tests.support.instance import NO_MAIL, Instance
from tests.unit.cli.test_json import wrong_in

JOBS = (
    "[disk root]\npath = /\nlimit = 100\nevery = minute\ntags = web\n"
    "[disk tmp]\npath = /\nlimit = 100\nevery = minute\ntags = inside\n"
)
#: An id, and what a terminal of its own has of people.
HIDE = {r"\b[0-9a-f]{4}\b(?!-)": "ID", r" by \S+?(?=[,\s]|$)": " by SOMEBODY", **REAL}


@pytest.fixture(scope="module")
def met(tmp_path_factory):
    """Return an instance with a page, whose jobs a run has met."""
    folder = tmp_path_factory.mktemp("announce")
    (folder / "www").mkdir()
    (folder / "public").mkdir()
    page = (
        f"[page]\nwrite = {folder}/www\npublic = web\npublic_write = {folder}/public\n"
    )
    instance = Instance(folder, NO_MAIL + JOBS + page)
    assert instance.cron().code == 0
    return instance


@pytest.fixture
def instance(met):
    """Return the same, with nothing announced."""
    yield met
    ids = [one["id"] for one in listed(met)]
    if ids:
        assert typed(met, *(word for one in ids for word in ("--end", one)))[0] == 0
        assert met.cron().code == 0


def typed(instance, *words):
    """Return exit code, what was said, and what was complained of."""
    ran = instance.run("-m", "announce", *words)
    return ran.code, ran.out, ran.err


def table(instance):
    """Return the table, whose columns are as wide as the names of people."""
    return re.sub(" +", " ", typed(instance)[1])


def listed(instance):
    return instance.run("-m", "announce", "--json").json()


def texts(instance, folder):
    return (instance.folder / folder / "index.html").read_text()


def test_an_announcement_is_on_both_pages_after_the_next_run(instance, approved):
    assert typed(instance) == (0, "Nothing is announced.\n", "")
    words = ("The <b>shop</b> moves:\nsee https://example.com/?a=1&b=2", "--tag", "web")
    code, out, err = typed(
        instance, *words, "--level", "maintenance", "--from", "23:00", "--for", "2h"
    )
    assert (code, err) == (0, "")
    approved(out, "said", hide=HIDE)
    assert typed(instance, "Only us", "--tag", "inside")[0] == 0
    approved(table(instance), "waits", hide=HIDE)
    assert "Announcements" not in texts(instance, "www")
    # The page is not due yet, but there is news.
    assert instance.cron().code == 0
    approved(table(instance), "listed", hide=HIDE)
    own, public = texts(instance, "www"), texts(instance, "public")
    assert "The &lt;b&gt;shop&lt;/b&gt; moves:\nsee <a href=" in own
    assert "The &lt;b&gt;shop" in public and "Only us" in own
    assert "Only us" not in public and " by " not in public
    found = instance.run("-m", "status", "--json").json()
    assert (
        wrong_in("status", found) == [] and wrong_in("announce", listed(instance)) == []
    )
    assert [one["text"] for one in found["announcements"]] == [
        "Only us",
        "The <b>shop</b> moves:\nsee https://example.com/?a=1&b=2",
    ]
    lines = instance.run("-m", "status").out.splitlines()
    approved([one for one in lines if one.startswith("announced")], "status", hide=HIDE)


@pytest.mark.long
def test_it_disappears_at_its_end(instance):
    assert typed(instance, "Soon over", "--for", "2min")[0] == 0
    instance.cron()
    assert [one["text"] for one in listed(instance)] == ["Soon over"]
    # Before the page is due.
    instance.clock_ahead = timedelta(minutes=2)
    try:
        assert listed(instance) == []
        instance.cron()
        assert "Soon over" not in texts(instance, "public")
    finally:
        instance.clock_ahead = timedelta()


def test_a_change_keeps_what_is_not_given_and_resolved_lasts_a_day(instance, approved):
    typed(instance, "Shop is down", "--level", "outage", "--tag", "web")
    (before,) = listed(instance)
    code, out, _err = typed(
        instance, "--change", before["id"][:4], "--level", "resolved", "A disk broke"
    )
    assert code == 0
    approved(out, hide=HIDE)
    (after,) = listed(instance)
    assert (after["id"], after["at"], after["tags"]) == (
        before["id"],
        before["at"],
        ["web"],
    )
    assert (after["text"], after["level"]) == ("A disk broke", "resolved")
    length = datetime.fromisoformat(after["until"]) - datetime.now(UTC)
    assert timedelta(hours=23) < length <= timedelta(days=1)
    code, out, err = typed(instance, "--change", before["id"], "--level", "resolved")
    assert (code, out) == (1, "") and err.endswith("is like that; nothing changes\n")
    assert listed(instance) == [after]


@pytest.mark.long
def test_ended_is_gone_from_the_page_after_the_next_run(instance, approved):
    typed(instance, "Shop is down")
    instance.cron()
    (one,) = listed(instance)
    code, out, _err = typed(instance, "--end", one["id"])
    assert (code, "Shop is down" in out) == (0, True)
    assert typed(instance)[1] == (
        "Nothing is announced.\n"
        "Until the next run the page has 1 that you have ended.\n"
    )
    instance.cron()
    assert "Shop is down" not in texts(instance, "www")
    log = (instance.state / "decisions.log").read_text()
    assert re.findall(r"announcements\t(\w+)", log)[-2:] == ["announce", "withdraw"]


@pytest.mark.parametrize(
    "words",
    [
        "--level outage",
        "text --tag wbe",
        "--end abcd text",
        "--change abcd",
        "text --from pass=hunter",
        *(
            pytest.param(words, marks=pytest.mark.long)
            for words in (
                "text --for ever",
                "text --for 1h --until 22:00",
                "text --until 2020-01-01T00:00",
                "text --until 2999-01-01T00:00",
                "text --from soon",
                "text --from 2020-01-01T00:00",
                "text --from 2999-01-01T00:00",
                "text --for 400d",
                "--end abcd",
                "--end ab --change abcd",
                "--change abcd text",
                "text --why so",
            )
        ),
    ],
)
def test_what_cannot_be_meant_is_one_line_and_asks_for_nothing(words, met, approved):
    code, out, err = typed(met, *words.split(" "))
    assert (code in (1, 2), out) == (True, "")
    assert "hunter" not in err
    approved(f"{code}: {err.splitlines()[-1]}")
    assert inbox.waiting(met.state) == inbox.Waiting()


@pytest.mark.parametrize("words", [("",), (" ", "\n"), ("", "--for", "1h")])
def test_an_empty_text_is_no_question_what_is_announced(met, words):
    said = "checker: -m announce: the text is empty\n"
    assert typed(met, *words) == (2, "", said)


def test_a_level_is_one_of_five(met):
    code, _out, err = typed(met, "text", "--level", "loud")
    assert code == 2 and "maintenance" in err.splitlines()[-1]


@pytest.mark.long
def test_a_secret_and_control_characters_are_shown_nowhere(instance):
    secret = "hunter2hunter2hunter2"
    instance.write(instance.settings.read_text() + f"token = {secret}\n")
    code, _out, _err = typed(instance, f"It is {secret} \x1b[31m\u202e", "x" * 2000)
    assert code == 0
    (one,) = listed(instance)
    assert one["text"].startswith("It is *** \\x1b[31m\\u202e xxx")
    assert MAX_TEXT < len(one["text"]) < MAX_TEXT + 10


def test_no_more_are_taken_than_are_kept(met, approved):
    now = datetime.now(UTC)
    for number in range(MAX_ANNOUNCEMENTS):
        one = Announcement(f"{number:08}", now, "x", until=now + timedelta(hours=1))
        request = Announce(f"{number}", now, Scope(), announcement=one)
        inbox.submit(met.state, request)
    code, _out, err = typed(met, "one more")
    assert code == 1
    approved(err)
    # Their ids begin alike.
    code, _out, err = typed(met, "--end", "0000")
    assert code == 1
    approved(err, "alike")
    for path in inbox.waiting(met.state).paths:
        path.unlink()

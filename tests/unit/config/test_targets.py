"""Targets with their layers: the section, its templates, the defaults, its hosts."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib.config import fields
from lib.config.advice import advice
from lib.config.ini import IniText
from lib.config.options import Option
from lib.config.targets import (
    TargetSection,
    hosts_of_no_section,
    idle_former_names,
    renamed_targets,
    target_sections,
    typed,
)
from lib.core.ini import IniFile

ROOT = Path("/")


def targets(text: str, kind: str = "http", folder: Path = ROOT) -> list[TargetSection]:
    sections = IniText(text, "settings.cfg").sections
    ini = IniFile(folder, ("settings.cfg",), sections)
    return list(target_sections(ini, kind))


def texts(target: TargetSection) -> dict[str, str]:
    return {name: value.raw for name, value in target.options.items()}


def problems(text: str, **more) -> list[tuple[str, str]]:
    found = [(one.title, one.problem) for one in targets(text, **more)]
    return [(title, str(problem)) for title, problem in found if problem]


def test_a_target_has_the_options_of_its_section_and_their_lines():
    (target,) = targets("[http a]\nurl = x\n[tcp b]\nhost = y\n")
    assert (target.title, target.name, target.where) == (
        "http a",
        "a",
        "settings.cfg:1",
    )
    url = target.options["url"]
    assert (url.raw, url.where, url.section) == ("x", "settings.cfg:2", "http a")
    assert (target.host, target.problem) == ("", None)


LAYERS = """\
[defaults]
every = hour
timeout = 1
[defaults http]
timeout = 2
method = a
[template web]
method = b
verify = b
use = base
[template base]
verify = c
redirects = c
[template other]
redirects = d
method = d
cafile = d
[http a]
use = web, other
url = x
"""


def test_the_nearest_layer_counts():
    (target,) = targets(LAYERS)
    assert texts(target) == {
        "every": "hour",
        "timeout": "2",
        "method": "b",
        "verify": "b",
        "redirects": "c",
        "cafile": "d",
        "url": "x",
    }
    assert target.options["redirects"].section == "template base"
    assert target.options["timeout"].section == "defaults http"


def test_the_section_itself_goes_before_all_else():
    (target,) = targets(LAYERS + "method = e\ntimeout = 9\n")
    assert (texts(target)["method"], texts(target)["timeout"]) == ("e", "9")


def test_what_is_wrong_in_the_defaults_is_no_matter_of_each_target():
    (target,) = targets("[defaults]\ntimeout = x\nevery =\nurl = y\n[http a]\n")
    assert texts(target) == {}


def test_the_defaults_of_a_kind_are_for_that_kind():
    text = "[defaults tcp]\ntimeout = 5\n[http a]\n[tcp b]\n"
    assert texts(targets(text)[0]) == {}
    assert texts(targets(text, "tcp")[0]) == {"timeout": "5"}


@pytest.mark.parametrize(
    "text",
    [
        "[http a]\nuse = wep\n[template web]\n",
        "[http a]\nuse = web\n[template web]\nuse = web\n",
        "[http a]\nuse = b\n[template b]\nuse = c\n[template c]\nuse = d, b\n"
        "[template d]\n",
        "[http a]\nuse = 0\n"
        + "".join(f"[template {n}]\nuse = {n + 1}\n" for n in range(100)),
        "[http a]\nuse =\n",
    ],
    ids=["missing", "itself", "loop", "deep", "empty"],
)
def test_a_broken_use_is_one_line_and_the_other_targets_are_there(text, approved):
    found = targets(text + "[http z]\nurl = x\n")
    assert texts(found[-1]) == {"url": "x"}
    approved(problems(text))


def test_many_templates_that_share_others_are_resolved_once():
    text = "[http a]\nuse = 0\n[template 19]\nurl = x\n"
    for number in range(19):
        text += f"[template {number}]\nuse = {number + 1}, {number + 1}\n"
    assert texts(targets(text)[0]) == {"url": "x"}


def test_each_host_is_a_target_of_its_own():
    text = "[http web]\nhosts = a, b\n  c\nurl = https://{host}/{host}\nmethod = get\n"
    found = targets(text)
    assert [one.title for one in found] == ["http web/a", "http web/b", "http web/c"]
    assert [one.host for one in found] == ["a", "b", "c"]
    assert texts(found[1]) == {"url": "https://b/b", "method": "get"}
    assert found[1].options["url"].where == "settings.cfg:4"


def test_the_hosts_may_be_those_of_a_template():
    text = "[template dc]\nhosts = a, b\nurl = {host}\n[http web]\nuse = dc\n"
    assert [texts(one) for one in targets(text)] == [{"url": "a"}, {"url": "b"}]


def test_one_host_may_differ():
    text = (
        "[http web/b]\nuse = slow\nmethod = {host}\n[template slow]\ntimeout = 9\n"
        "[http web]\nhosts = a, b\ntimeout = 1\n"
    )
    found = {one.name: texts(one) for one in targets(text)}
    assert found == {
        "web/a": {"timeout": "1"},
        "web/b": {"timeout": "9", "method": "b"},
    }


def test_the_name_before_is_that_of_the_section_and_so_of_each_host():
    text = (
        "[http a]\nhosts = x, y, z\nwas = b\n"
        "[http a/y]\nwas = alone\n[http c]\nhosts = x\nwas = {host}\n"
    )
    before = {one.name: one.options["was"].raw for one in targets(text)}
    assert before == {"a/x": "b/x", "a/y": "alone", "a/z": "b/z", "c/x": "x"}


def test_a_host_of_no_section_is_a_warning_where_it_looks_like_one(approved):
    text = (
        "[http shop]\nhosts = a, b\n[http shpo/c]\n[http other/a]\n"
        "[http x/y]\n[http /z]\n[http shop/a]\n[http lost]\nuse = none\n"
    )
    ini = IniFile(ROOT, ("s.cfg",), IniText(text, "s.cfg").sections)
    approved([str(problem) for problem in hosts_of_no_section(ini, "http")])


def test_the_section_of_a_host_may_use_the_template_that_has_its_hosts():
    text = "[template t]\nhosts = a, b\nurl = x\n[http web]\nuse = t\n"
    found = targets(text + "[http web/a]\nuse = t\nmethod = get\n")
    assert [(one.title, one.problem, len(one.options)) for one in found] == [
        ("http web/a", None, 2),
        ("http web/b", None, 1),
    ]


def test_a_host_whose_section_was_removed_is_no_target_beside_its_failing_job():
    text = "[http web]\nhosts = a, b\nurl = {host}\n[http web/a]\nurl = x\n"
    assert names_without("http web/a", text) == ["http web/b"]
    assert names_without("http  web/a", text.replace("web/a", " web/a")) == [
        "http web/b"
    ]
    # Nor is a host of a section that was removed.
    assert names_without("http web", text) == []
    template = "[template t]\nhosts = a\n[http web]\nuse = t\n[http web/a]\nurl = x\n"
    assert names_without("http web", template) == []
    alone = "[http web]\nurl = x\n[http web/a]\nurl = x\n"
    assert names_without("http web", alone) == ["http web/a"]


def names_without(removed: str, text: str) -> list[str]:
    ini = IniFile(ROOT, ("settings.cfg",), IniText(text, "settings.cfg").sections)
    ini.remove(removed)
    return [one.title for one in target_sections(ini, "http")]


def test_a_slash_in_a_name_means_nothing_without_hosts():
    text = "[http web]\nurl = x\n[http web/b]\nurl = y\n[http /]\nurl = z\n"
    assert [one.name for one in targets(text)] == ["web", "web/b", "/"]


def test_hosts_may_stand_in_a_file(tmp_path):
    (tmp_path / "hosts.txt").write_text("# ours\na\n\nb # the slow one\n")
    text = "[http web]\nhosts = z\nhosts_file = hosts.txt\nurl = {host}\n"
    found = targets(text, folder=tmp_path)
    assert [one.host for one in found] == ["z", "a", "b"]


@pytest.mark.parametrize(
    "text",
    [
        "[http web]\nhosts =\n",
        "[http web]\nhosts = a, b c\n",
        "[http web]\nhosts = a, u:p@b\n",
        "[http web]\nhosts = u:p@b, c d\n",
        "[http web]\n"
        "hosts = *.example, -x, {host}, fe80::1, a:80, a_b, fass\u00e9.example\n",
        "[http web]\nhosts = a\n[http web/aa]\nurl = x\n",
        "[http web]\nhosts = a\nurl = x\n[http web/a]\nuse = none\n",
        "[http web]\nhosts = a, b\nurl = x\n[http web/b]\nhosts = c\n",
        "[http web]\nuse = none\n[http web/a]\nurl = x\n",
    ],
    ids=[
        "none",
        "blank",
        "path",
        "no good one",
        "forms",
        "no such host",
        "override",
        "hosts of a host",
        "base",
    ],
)
def test_wrong_hosts_are_one_line(text, approved):
    approved(problems(text))


def test_the_good_hosts_are_checked_beside_a_bad_line(tmp_path):
    (tmp_path / "farm").write_text("a\n\nb web # no\n*.c\nd\n")
    text = "[tcp farm]\nhosts_file = farm\nhost = {host}\ncontact = c@example.com\n"
    found = targets(text, "tcp", tmp_path)
    assert [(one.title, one.problem is None) for one in found] == [
        ("tcp farm/a", True),
        ("tcp farm/d", True),
        ("tcp farm/b web", False),
        ("tcp farm/*.c", False),
    ]
    assert texts(found[2]) == {"contact": "c@example.com"}
    assert [one.problem.where for one in found[2:]] == ["farm:3", "farm:4"]


def test_a_host_may_have_its_port_with_it():
    found = targets(
        "[http web]\nhosts = a:81, a:82, straße.b, strasse.b\nurl = http://{host}/\n"
    )
    assert [texts(one)["url"] for one in found] == [
        "http://a:81/",
        "http://a:82/",
        "http://straße.b/",
        "http://strasse.b/",
    ]


def test_a_repeated_host_is_a_warning_and_is_checked_once(tmp_path, approved):
    (tmp_path / "farm").write_text("a\nb\n[::1]\n0::1\nA\n")
    text = "[http web]\nhosts = b, c\nhosts_file = farm\n"
    found = targets(text, folder=tmp_path)
    assert [one.host for one in found] == ["b", "c", "a", "::1"]
    ini = IniFile(tmp_path, ("s.cfg",), IniText(text, "s.cfg").sections)
    approved([str(problem) for problem in advice(ini, ["http"])])


@pytest.mark.parametrize(
    ("given", "becomes"),
    [
        ("http://{host}/", "http://[::1]/"),
        ("http://{host}:81/{host}", "http://[::1]:81/::1"),
        ("http://[{host}]:81/", "http://[::1]:81/"),
        ("http://u:p@{host}:81/", "http://u:p@[::1]:81/"),
        ("http://u:p@{host}", "http://u:p@[::1]"),
        ("{host}:5353", "[::1]:5353"),
        ("{host}", "::1"),
        ("of {host}: slow", "of ::1: slow"),
    ],
)
def test_an_ipv6_address_has_brackets_where_it_needs_them(given, becomes):
    (target,) = targets(f"[http web]\nhosts = ::1\nurl = {given}\n")
    assert texts(target)["url"] == becomes
    (target,) = targets(f"[http web]\nhosts = 1.2.3.4\nurl = {given}\n")
    as_name = becomes.replace("[::1]", "::1").replace("::1", "1.2.3.4")
    assert texts(target)["url"] == as_name or "[{host}]" in given


@pytest.mark.parametrize(
    "name", ["missing", "folder", "latin1", "empty", "wrong", "writable"]
)
def test_a_wrong_file_of_hosts_is_one_line(name, tmp_path, approved):
    # Whoever may write a folder, as /tmp.
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder").chmod(0o777)
    for file, content in (
        ("latin1", b"a\n\xfc\n"),
        ("empty", b"# none\n"),
        ("wrong", b"a\n\nb c\n"),
        ("writable", b"a\n"),
    ):
        (tmp_path / file).write_bytes(content)
    (tmp_path / "writable").chmod(0o666)
    text = f"[http web]\nurl = x\nhosts_file = {name}\n"
    (problem,) = problems(text, folder=tmp_path)
    approved(problem[1].replace(str(tmp_path), "FOLDER"))


def test_a_kind_types_the_options_and_each_mistake_has_its_line(approved):
    table = {
        "url": Option(fields.url, help="what to fetch"),
        "verify": Option(fields.switch, True),
        "fail_days": Option(fields.whole(0, 99), 14, also="days"),
    }
    text = (
        "[template web]\nverify = maybe ; or not\ndays = 3\n[http a]\nuse = web\n"
        "colour = red\n[http b]\nurl = https://b/\ndays = 1\nfail_days = 2\n"
    )
    one, two = targets(text)
    values, wrong = typed(one, table)
    assert values == {"fail_days": 3}
    approved([str(problem) for problem in wrong], "1")
    values, wrong = typed(two, table)
    assert values == {"url": "https://b/", "fail_days": 2}
    approved([str(problem) for problem in wrong], "2")


RENAMED = """\
[tcp new]
was = old
[tcp new2]
was = tcp old
[tcp there]
[tcp third]
was = there
[tcp kind]
was = http old
[tcp same]
was = same
[tcp fine]
was = long ago
[tcp farm]
hosts = a, b
was = former
"""


def test_a_former_name_that_takes_no_history_is_a_warning(approved):
    found = targets(RENAMED, "tcp")
    titles = {one.title for one in found}
    renamed = [one for one in found if "was" in one.options]
    approved([str(problem) for problem in idle_former_names(renamed, titles)])


def test_a_template_may_say_what_targets_were_called():
    text = f"{RENAMED}[template t]\nwas = {{host}}\n[ping p]\nuse = t\nhosts = a\n"
    ini = IniFile(ROOT, ("settings.cfg",), IniText(text, "settings.cfg").sections)
    assert set(renamed_targets(ini)) == {
        ("tcp old", "tcp new"),
        ("tcp old", "tcp new2"),
        ("tcp http old", "tcp kind"),
        ("tcp long ago", "tcp fine"),
        ("tcp former/a", "tcp farm/a"),
        ("tcp former/b", "tcp farm/b"),
        ("ping a", "ping p/a"),
    }

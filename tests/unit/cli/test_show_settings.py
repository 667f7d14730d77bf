"""-m show: sections as they count, and where each value comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib.cli import show_settings
from lib.config import fields
from lib.config.ini import IniText
from lib.config.options import Option, secret_options
from lib.config.targets import target_sections, typed
from lib.core.ini import IniFile
from tests.support.instance import Instance

TABLES = {
    "http": {
        "url": Option(fields.url, help="what to fetch"),
        "verify": Option(fields.switch, True),
        "contact": Option(fields.addresses, None),
        "fail_days": Option(fields.whole(0, 99), 14, also="days"),
        **secret_options("login", "what it wants"),
    }
}
TEXT = """\
[general]
alertcontact = ops@example.com
[defaults http]
days = 3
[template web]
verify = no
[http a]
use = web
url = https://{host}/
hosts = a1, a2
login = abc
login_command = echo abc
[http a/a2]
contact = a2@example.com
[http b]
use = none
url = https://me:verysecret@b/
[http c]
url = c
[job Backup]
use = web
contact = me@example.com
[job Restore]
use = none
[peers]
friend = https://x/,a@b.example,key=abc
other = https://y/,a@b.example,key_command=echo abc
"""


def shown(*patterns: str) -> tuple[dict[str, list[str]], list[str]]:
    ini = IniFile(Path("/"), ("settings.cfg",), IniText(TEXT, "settings.cfg").sections)
    problems = [
        problem
        for target in target_sections(ini, "http")
        for problem in (
            [target.problem] if target.problem else typed(target, TABLES["http"])[1]
        )
    ]
    named, unmatched = show_settings.sections(
        ini, patterns, TABLES, ("verysecret",), problems
    )
    lines = {
        title: [" | ".join(row.values()) for row in rows]
        for title, rows in named.items()
    }
    return lines, unmatched


@pytest.mark.parametrize(
    "pattern",
    ["http a/*", "http b", "http c", "template web", "job *", "peers", "summary"],
)
def test_each_value_says_where_it_is_from(pattern, approved):
    lines, unmatched = shown(pattern)
    assert unmatched == []
    approved([line for title, rows in lines.items() for line in (f"[{title}]", *rows)])


def test_no_secret_is_shown():
    lines, _unmatched = shown("*")
    everything = str(lines)
    assert "verysecret" not in everything and "abc" not in everything
    assert "https://me:***@b/" in everything


def test_what_is_not_there_is_unmatched():
    lines, unmatched = shown("http a/a1", "nobody", "tcp *")
    assert [*lines] == ["http a/a1"]
    assert unmatched == ["nobody", "tcp *"]


def test_a_former_name_that_is_no_longer_free_is_in_the_log_of_a_run(tmp_path):
    instance = Instance(tmp_path)
    instance.add("[disk old]\npath = /\nfail_percent = 100\n")
    instance.add("[disk new]\npath = /\nfail_percent = 100\nwas = old\n")
    instance.run("-m", "cron", "-c", "hour", "-v")
    words = "[disk new] was = old: [disk old] is still there, and keeps its history"
    assert words in (instance.folder / "state" / "checker.log").read_text()
    assert words.partition("] ")[2] in instance.run("-m", "validate").out
    assert "error" not in instance.run("-m", "show", "disk new").out


def test_the_command_prints_a_table_for_each_section(tmp_path):
    instance = Instance(tmp_path)
    instance.add("[disk root]\npath = /\nlimit = x\n")
    instance.add("[tcp up]\nhosts = a, b\nhost = {host}\nport = 1\n")
    ran = instance.run("-m", "show", "disk root", "summary", "disk rot")
    assert "[disk root]\n" in ran.out and "\n\n[summary]\n" in ran.out
    assert "limit = x: expected" in ran.out
    assert "no section 'disk rot'; did you mean 'disk root'?" in ran.err
    assert ran.code == 1
    ran = instance.run("-m", "show", "tcp up", "tcp up/a")
    assert "no section 'tcp up'; it has hosts, each a job: 'tcp up/*'" in ran.err
    (failures,) = [line.split() for line in ran.out.splitlines() if "failures " in line]
    assert failures[:2] == ["failures", "3"]
    ran = instance.run("-m", "run", "tcp up")
    assert "no job is called 'tcp up'; it has hosts, each a job: 'tcp up/*'" in ran.err
    first, *rows = instance.run("-m", "show", "disk root", "--json").json()
    assert first["section"] == "disk root" and first["value"] == "/"
    assert (first["source"], first["file"], first["line"], first["layer"]) == (
        "settings",
        "settings.cfg",
        7,
        "disk root",
    )
    origin = {row["option"]: row["source"] for row in rows}
    assert origin["every"] == origin["warn_percent"] == "default"
    assert origin["contact"] == "settings" and origin["error"] == "error"


def test_a_default_that_does_not_count_is_not_shown_as_if_it_did(tmp_path):
    instance = Instance(tmp_path)
    instance.add("[defaults tcp]\nserver_name = a.example\nfail_time = soon\n")
    instance.add("[defaults disk]\nlimit = 20%\n[disk d]\npath = /\n")
    instance.add("fail_percent = 100%\n")
    instance.add("[tcp plain]\nhost = 127.0.0.1\nport = 1\n")
    instance.add("[tcp safe]\nhost = 127.0.0.1\nport = 1\ntls = yes\n")
    rows = instance.run("-m", "show", "tcp *", "disk d", "--json").json()
    of = {(row["section"], row["option"]): row["value"] for row in rows}
    assert of["tcp safe", "server_name"] == "a.example"
    assert of["tcp plain", "server_name"] == of["tcp plain", "fail_time"] == ""
    assert of["disk d", "fail_percent"] == "100%" and ("disk d", "limit") not in of
    assert "does not count" not in instance.run("-m", "validate").out


LAMP = """\
from lib.jobbase import TargetJob, option, secret

class Lamp(TargetJob):
    kind = "lamp"
    options = {"pin": option(secret, None, help="what it wants")}

    def check(self, target, deadline):
        return {}
"""


def test_a_secret_of_ones_own_kind_is_shown_in_no_layer(tmp_path):
    instance = Instance(tmp_path)
    instance.job("Lamp", LAMP)
    instance.add("[defaults lamp]\npin = canary1\n[template t]\npin = canary2\n")
    instance.add("[template u]\npin_command = echo canary3\npin_file = /the/file\n")
    # A misspelt one is none, and is known by what it is near.
    instance.add("[lamp a]\npim = canary4\n")
    out = instance.run("-m", "show", "lamp a", "defaults lamp", "template *").out
    assert "canary" not in out and out.count("***") == 5
    assert "/the/file" in out

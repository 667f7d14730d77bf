"""--json: what each mode prints is what docs/json.schema.json says."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from lib.cli.main import MODES
from tests.support.instance import Instance
from tests.support.listeners import closed_port

ROOT = Path(__file__).resolve().parents[3]
SCHEMA = json.loads((ROOT / "docs" / "json.schema.json").read_text("utf-8"))
SETTINGS = """\
[email]
nomail = yes
imapserver = 127.0.0.1
[summary]
daily = 08:00
weekly = mon 08:00
[disk full]
path = /
limit = 1
every = minute
tags = storage, web
runbook = https://wiki.example.com/disk
[disk warns]
path = /
warn_percent = 1
limit = 100
every = minute
failures = 3/4
[disk off]
path = /
enabled = no
[tcp nobody]
host = 127.0.0.1
port = 1
every = minute
failures = 15min
[htpp typo]
url = https://example.com/
"""


def wrong_in(mode: str, value: object) -> list[str]:
    """Return what the schema does not allow in the output of a mode."""
    schema = {**SCHEMA["properties"][mode], "$defs": SCHEMA["$defs"]}
    errors = jsonschema.Draft202012Validator(schema).iter_errors(value)
    return [f"{list(error.absolute_path)}: {error.message[:300]}" for error in errors]


@pytest.fixture(scope="module")
def instance(tmp_path_factory):
    instance = Instance(tmp_path_factory.mktemp("json"), SETTINGS)
    instance.add(f"[peers]\nfriend = http://127.0.0.1:{closed_port()}/,a@example.org\n")
    instance.job("Broken", "(")
    instance.cron("hour")
    instance.cron("minute", "--nomail")
    return instance


@pytest.mark.parametrize(
    "words",
    [
        "list",
        "list --failing",
        "list --tag web",
        "show disk* peers general",
        "kinds",
        "kinds http",
        "run disk* tcp* Broken*",
        "check disk* tcp*",
        "why *",
        "validate",
        "status",
        "status disk*",
        "history *full",
        "report",
        "replay",
        "peers",
    ],
)
def test_each_mode_prints_what_its_schema_says(instance, words):
    mode, *more = words.split()
    ran = instance.run("-m", mode, *more, "--json")
    value = ran.json()
    assert value, ran.err
    assert wrong_in(mode, value) == []


def test_every_mode_with_json_has_a_schema():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert [*SCHEMA["properties"]] == [
        name for name, mode in MODES.items() if mode.takes_json
    ]


def test_what_is_not_in_the_schema_is_found(instance):
    data = instance.run("-m", "status", "--json").json()
    assert wrong_in("status", {**data, "more": 1})
    assert wrong_in("status", {**data, "at": "yesterday"})
    data["down"][0]["status"] = "broken"
    assert wrong_in("status", data)


def test_what_to_do_about_a_job_is_said_with_its_status(instance):
    data = instance.run("-m", "status", "--json").json()
    runbooks = {row["job"]: row["runbook"] for row in data["listed"]}
    assert runbooks["disk full"] == "https://wiki.example.com/disk"
    assert runbooks["disk warns"] == ""
    (down,) = [row for row in data["down"] if row["job"] == "disk full"]
    assert down["runbook"] == runbooks["disk full"]


def test_before_the_first_run_the_schema_holds_as_well(tmp_path):
    instance = Instance(tmp_path, SETTINGS)
    for mode in ("list", "status"):
        assert wrong_in(mode, instance.run("-m", mode, "--json").json()) == []

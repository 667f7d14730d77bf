"""The API as served, asked by schemathesis what its own document says may be asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from lib.report import api
from tests.support.daemon import Daemon, free_port
from tests.support.fakes import job
from tests.support.instance import Instance

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        find_spec("schemathesis") is None,
        reason="schemathesis is missing: make integration installs it",
    ),
]

TOKEN = "0123456789abcdef"
#: The most answers of each operation that chance makes questions for.
EXAMPLES = 25
#: Two files with jobs of one name: the API asks for a key then.
TWIN = "def getName(self): return 'twins'"


@dataclass(frozen=True)
class Fuzzed:
    """What schemathesis found, and what it was answered."""

    code: int
    out: str
    #: How often which status came, by operation.
    answers: dict[str, Counter[int]]
    #: The names of the checks that failed.
    failed: set[str]

    @property
    def statuses(self) -> set[int]:
        return {status for counts in self.answers.values() for status in counts}


@pytest.fixture(scope="module")
def instance(tmp_path_factory) -> Instance:
    """Return an instance with jobs that are OK, that fail, and that share a name."""
    made = Instance(tmp_path_factory.mktemp("fuzzed"))
    made.job("Fine", job("Fine"))
    for name in ("Castor", "Pollux"):
        made.job(name, job(name, more=TWIN))
    made.add(
        # The job of which the document's examples speak; nobody listens there.
        f"[http shop]\nurl = http://127.0.0.1:{free_port()}/\ntags = web\n"
        "failures = 1\n"
        "[disk root]\npath = /\n"
    )
    for _minute in range(3):
        assert made.cron("hour").code == 0
    return made


@pytest.fixture
def served(instance) -> Iterator[str]:
    """Serve the page to who has the token; yield its address."""
    yield from _served(instance, f"token = {TOKEN}")


@pytest.fixture
def served_openly(instance) -> Iterator[str]:
    """Serve the page to everybody of this machine; yield its address."""
    yield from _served(instance, "open = yes")


def _served(instance: Instance, access: str) -> Iterator[str]:
    port, before = free_port(), instance.settings.read_text()
    instance.add(f"[page]\nlisten = 127.0.0.1:{port}\n{access}\n")
    with Daemon(instance) as daemon:
        assert "shows the page" in daemon.process.stdout.readline()
        yield f"http://127.0.0.1:{port}"
    instance.write(before)


def fuzzed(
    url: str,
    folder: Path,
    *options: str,
    token: str = TOKEN,
    change: Callable[[Any], object] = lambda document: None,
) -> Fuzzed:
    """Have schemathesis ask all that the document says, once ``change`` changed it."""
    document = json.loads(api.openapi())
    change(document)
    (folder / "openapi.json").write_text(json.dumps(document))
    command = [sys.executable, "-m", "schemathesis.cli", "run", "openapi.json"]
    command += ["--url", url, "--max-examples", str(EXAMPLES)]
    command += ["--report", "ndjson", "--report-ndjson-path", "events.ndjson"]
    command += ["--output-sanitize", "false", *options]
    if token:
        command += ["--header", f"Authorization: Bearer {token}"]
    if os.environ.get("CI"):
        command += ["--seed", "1"]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=300
    )
    answers: dict[str, Counter[int]] = {}
    failed = set()
    for line in (folder / "events.ndjson").read_text().splitlines():
        recorder = json.loads(line).get("ScenarioFinished", {}).get("recorder", {})
        counts = answers.setdefault(recorder.get("label", ""), Counter())
        for interaction in recorder.get("interactions", {}).values():
            if interaction["response"]:
                counts[interaction["response"]["status_code"]] += 1
        for checks in recorder.get("checks", {}).values():
            failed |= {one["name"] for one in checks if one["status"] == "failure"}
    del answers[""]
    return Fuzzed(done.returncode, done.stdout + done.stderr, answers, failed)


def operations() -> set[str]:
    return {f"GET {path}" for path in json.loads(api.openapi())["paths"]}


def test_every_answer_is_as_the_document_says(served, tmp_path):
    found = fuzzed(served, tmp_path)
    assert (found.code, found.failed) == (0, set()), found.out
    assert found.answers.keys() == operations()
    assert all(counts[200] for counts in found.answers.values()), found.answers
    # Strangers are among who asks, methods that there are not, and names of no job;
    # 409, for a name of two jobs, is met if chance takes it from an answer.
    assert found.statuses - {409} == {200, 400, 401, 404, 405}, found.answers


def test_without_the_token_nobody_gets_anything(served, tmp_path):
    found = fuzzed(served, tmp_path, "--phases", "examples,coverage", token="")
    assert found.answers.keys() == operations()
    assert found.statuses == {401}, found.answers


def test_a_wrong_document_is_noticed(served, tmp_path):
    def without_failing(document):
        jobs = document["paths"]["/api/v1/status"]["get"]["responses"]["200"]
        shown = jobs["content"]["application/json"]["schema"]["properties"]["all"]
        shown["items"]["properties"]["status"]["enum"].remove("failing")

    only = ("--include-path", "/api/v1/status", "--phases", "coverage")
    found = fuzzed(served, tmp_path, *only, change=without_failing)
    assert found.failed == {"response_schema_conformance"}, found.out
    assert found.code == 1


def test_a_page_that_asks_for_no_password_is_noticed(served_openly, tmp_path):
    found = fuzzed(served_openly, tmp_path, "--phases", "coverage")
    assert found.failed == {"ignored_auth"}, found.out
    assert found.code == 1

"""README, CONTRIBUTING and CHANGELOG: what they promise, held against the code.

What each page of docs/ promises is in tests/unit/test_docs_pages.py.
"""

from __future__ import annotations

import configparser
import re
import time
from pathlib import Path

import pytest

from lib.cli.settings_page import shipped_kinds
from lib.cli.show import crontab_lines
from lib.config.load import load_settings
from lib.config.options import DEFAULTS, SECTIONS
from lib.config.targets import target_sections
from lib.core.jobs import EMAIL_CHECKER, MAX_TIMEOUT_S, PEER_CHECKER
from tests.support import pages
from tests.support.instance import Instance
from tests.support.mails import THERE, as_shown, of_a_job
from tests.support.pages import anchors, blocks, flat, rows, words

ROOT = Path(__file__).resolve().parents[2]
#: A time as tables have it.
MOMENT = r"\d{4}-\d\d-\d\d \d\d:\d\d"
README_PATH = ROOT / "README.md"
README = README_PATH.read_text("utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
CHANGELOG = (ROOT / "CHANGELOG.md").read_text("utf-8")


def part(title: str, text: str = README) -> str:
    """Return what stands below a heading, up to the next one."""
    return pages.part(text, title)


INSTALL = part("Install in five minutes")
(FIRST_JOB,) = blocks(part("Write a job"), "python")
(FIRST_SETTINGS,) = blocks(INSTALL, "ini")


@pytest.fixture(autouse=True)
def _clock_on_the_wall(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


# Write a job.


def test_the_first_job_is_ten_lines_and_runs_as_it_is(tmp_path):
    assert len([line for line in FIRST_JOB.splitlines() if line]) <= 10
    instance = Instance(tmp_path)
    instance.job("RebootRequired", FIRST_JOB)
    (found,) = instance.run("-m", "run", "RebootRequired", "--json").json()
    waits = Path("/run/reboot-required").exists()
    assert found["status"] == ("failing" if waits else "ok"), found
    assert found["reason"] == ("an update waits for a reboot" if waits else "")


# Settings.


def test_every_kind_is_in_the_table_with_how_often_it_is_checked():
    shown = {
        word: row[2] for row in rows(part("What to check")) for word in words(row[0])
    }
    known = {
        f"[{kind.kind} NAME]": str(kind.every) for kind in shipped_kinds(ROOT / "jobs")
    }
    system = {
        EMAIL_CHECKER: SECTIONS["email"]["imapevery"].default.value,
        PEER_CHECKER: SECTIONS["peers"]["every"].default.value,
    }
    assert shown == known | system


def test_the_options_of_every_job_are_in_the_table_with_their_defaults():
    shown = {words(row[0])[0]: row[1] for row in rows(part("Who is notified"))}
    # The others of every job say nothing about who is notified when.
    assert sorted(shown) == sorted({*DEFAULTS} - {"tags", "runbook"})
    for name, cell in shown.items():
        option = DEFAULTS[name]
        if option.default is None:
            assert cell and not words(cell), "no value is the default"
        else:
            (value,) = words(cell)
            assert option.read(value) == option.default
    assert f"at most {MAX_TIMEOUT_S}" in part("Who is notified")


def test_the_first_settings_are_enough(tmp_path):
    path = tmp_path / "settings.cfg"
    path.write_text(FIRST_SETTINGS)
    path.chmod(0o600)
    settings = load_settings(path, base=ROOT)
    assert settings.problems == ()
    assert settings.mail.is_set_up
    assert [one.title for one in target_sections(settings.ini, "http")] == [
        "http homepage"
    ]


# The commands.


def test_the_cron_lines_are_those_of_m_crontab(approved):
    command = [f"{THERE}/.venv/bin/python", f"{THERE}/checker.py"]
    # tests/unit/cli/test_crontab.py shows that these cover each minute of a day exactly
    # once.
    lines = crontab_lines(command, [])
    approved("".join(f"{line}\n" for line in lines), "crontab", file=README_PATH)


def aligned(printed):
    """Return a table laid out anew, since its paths were replaced by longer ones."""
    lines = [re.split(" {2,}", line) for line in printed.splitlines()]
    rows = [cells for cells in lines if len(cells) == len(lines[0])]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for cells in rows:
        cells[:] = [
            cell.ljust(width) for cell, width in zip(cells, widths, strict=True)
        ]
    return "".join("  ".join(cells).rstrip() + "\n" for cells in lines)


def test_the_transcript_of_make_run_is_what_it_prints(tmp_path, approved):
    makefile = (ROOT / "Makefile").read_text("utf-8").replace("$(VENV)", ".venv")
    first = (
        "Making .venv with python3 ...",
        "Installing what requirements.txt lists ...",
        "settings.cfg is new, a copy of settings.cfg.example: say there what to check.",
    )
    for line in first:
        assert " ".join(line.split()[:2]) in makefile
    instance = Instance(tmp_path)
    # Whatever the disk of this machine holds.
    example = (ROOT / "settings.cfg.example").read_text("utf-8")
    instance.write(example.replace("fail_percent = 90", "fail_percent = 100"))
    assert instance.cron("minute", "--nomail").silent
    printed = instance.run("-m", "list").out.replace(str(ROOT), THERE)
    approved(
        ["$ make run", *first, aligned(printed)],
        "make run",
        hide={
            rf"{MOMENT}(?=  minute)": "2026-11-22 21:52",
            rf"{MOMENT}(?=  hour)": "2026-11-22 22:00",
            rf"{MOMENT}(?!  (minute|hour))": "2026-11-22 21:51",
        },
        file=README_PATH,
    )


# Mails.


def test_the_alert_is_shown_as_it_is_written(approved):
    approved(as_shown(of_a_job()[0]), "alert", file=README_PATH)


# Figures, files, links.


def test_readme_is_read_in_a_few_minutes():
    assert len(README.splitlines()) <= 250


def test_the_map_has_every_package_once_in_the_order_of_its_layers():
    shown = [words(row[0])[0] for row in rows(part("The packages", CONTRIBUTING))]
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", "utf-8")
    layers = setup["importlinter:contract:layers"]["layers"].split()
    assert [*reversed(shown)] == [layer for layer in layers if layer != "jobbase"]


def test_the_map_names_modules_that_are_there():
    for package, _what, modules in rows(part("The packages", CONTRIBUTING)):
        for module in words(modules):
            folder = ROOT / "lib" / words(package)[0]
            assert (folder / f"{module}.py").exists(), f"{package}: {module}"


@pytest.mark.parametrize(
    ("table", "path"),
    [
        ("KIND_FILES", "lib/core/jobs.py"),
        ("SENDERS", "lib/alerting/senders.py"),
        ("MODES", "lib/cli/main.py"),
    ],
)
def test_a_table_that_wants_a_row_is_in_the_file_that_is_named(table, path):
    text = flat(CONTRIBUTING)
    assert f"`{path}`: a row in `{table}`" in text
    assert re.search(rf"(?m)^{table}\b.* = \{{$", (ROOT / path).read_text("utf-8"))


DOCUMENTS = (
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md"),
    *("settings.cfg.example", "state/README.md"),
    *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))),
)


# faults.md is written by make faults.
@pytest.mark.parametrize("name", [n for n in DOCUMENTS if n != "docs/faults.md"])
def test_a_document_names_no_machine_and_no_host_but_examples(name):
    text = (ROOT / name).read_text("utf-8")
    assert not re.search(r"(?<![\w.])/(root|home|work|tmp/\w)", text)
    hosts = re.findall(r"\b(?:[\w-]+\.)+(?:com|org|net|io|dev|de)\b", text)
    known = {"gmail.com", "smtp.gmail.com", "imap.gmail.com", "myaccount.google.com"}
    known |= {"github.com", "www.standardwebhooks.com"}
    examples = r"(.*\.)?example\.(com|org)"
    assert [one for one in hosts if not re.fullmatch(examples, one)] == [
        one for one in hosts if one in known
    ]
    numbers = re.findall(r"\b\d+\.\d+\.\d+\.\d+\b", text)
    assert {one for one in numbers if not one.startswith("127.")} <= {"0.0.0.0"}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_links_to_what_is_there(name):
    text = (ROOT / name).read_text("utf-8")
    for link in re.findall(r"\]\((?!https://)([^)]+)\)", text):
        path, _hash, title = link.partition("#")
        page = (ROOT / name).parent.joinpath(path) if path else ROOT / name
        assert page.exists(), link
        assert not title or title in anchors(page.read_text("utf-8")), link
    for path in re.findall(r"`((?:lib|jobs|tests|contrib)/[\w/.-]+)`", text):
        assert (ROOT / path).exists(), path


def test_the_commands_that_are_named_are_targets_of_the_makefile():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    text = "".join((ROOT / name).read_text("utf-8") for name in DOCUMENTS)
    named = set(re.findall(r"(?m)(?:`|^    )make ([a-z-]+)", text))
    assert {"run", "test"} <= named
    for target in named:
        assert re.search(rf"(?m)^{target}:", makefile), target


# CHANGELOG.md.


def test_the_first_changes_are_those_of_this_version():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", "utf-8")
    version, changes = re.findall(r"(?ms)^## (\S+)\n(.*?)(?=^## |\Z)", CHANGELOG)[0]
    assert version == setup["metadata"]["version"]
    assert f"version {version}" in README
    assert re.search(r"(?m)^- ", changes)


def test_a_change_says_whether_it_is_new_changed_or_fixed():
    for line in re.findall(r"(?m)^- (.*)$", CHANGELOG):
        assert re.match(r"(New|Changed|Fixed): \S", line), line

"""-m status, history and report: the command line, and what they print."""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime, timedelta

import pytest

from lib.cli import look
from lib.core.enums import Status
from lib.core.jobs import JobKey
from lib.storage import auditlog, historylog
from lib.storage.history import Result
from lib.storage.historyblocks import blocks
from tests.support.instance import NO_MAIL, Instance
from tests.support.terminal import watched

SETTINGS = f"""\
{NO_MAIL}
[disk root]
path = /
limit = 100
every = minute
[disk gone]
path = /nowhere
every = minute
"""


@pytest.fixture(scope="module")
def instance(tmp_path_factory):
    instance = Instance(tmp_path_factory.mktemp("look"), SETTINGS)
    # No month ends while these tests run.
    now = datetime.now(UTC)
    instance.clock_ahead = now.replace(day=15, hour=12) + timedelta(days=31) - now
    instance.cron()
    return instance


def test_named_jobs_are_listed_what_is_failing_first(instance):
    ran = instance.run("-m", "status", "disk*")
    lines = ran.out.splitlines()
    assert (ran.code, ran.err) == (0, "")
    assert lines[0].split("  ")[0] == "job"
    assert [line.split("  ")[0] for line in lines[1:3]] == ["disk gone", "disk root"]
    assert "0.00%" in lines[1] or "-" in lines[1]
    assert "/nowhere does not exist" in lines[1]
    assert lines[3].startswith("Checker: last run ")
    assert len(lines) == 4


@pytest.mark.parametrize("words", [(), ("disk*",)])
def test_once_runs_have_stopped_that_is_said_first(tmp_path, words):
    there = Instance(tmp_path, SETTINGS)
    there.cron()
    there.clock_ahead = timedelta(days=2)
    first = there.run("-m", "status", *words).out.splitlines()[0]
    assert re.fullmatch(
        r"Nothing has been checked since [-\d]+ [:\d]+; all that is shown is older.",
        first,
    )


def test_a_name_of_no_job_is_said_and_the_others_are_shown(instance):
    ran = instance.run("-m", "status", "disk rot", "disk root")
    assert ran.code == 1
    assert "there is no job 'disk rot'" in ran.err and "disk root" in ran.err
    assert "disk root" in ran.out


def test_a_pipe_is_not_watched(instance):
    ran = instance.run("-m", "status", "--watch")
    assert (ran.code, ran.out) == (1, "")
    assert "it needs a terminal" in ran.err
    assert "--json" in instance.run("-m", "status", "--watch", "--json").err


def test_a_name_of_no_job_is_not_watched(instance):
    words = instance.command("-m", "status", "disk root", "disk rot", "--watch")
    screen = watched(words[1:], "of state")
    assert screen.startswith("checker: there is no job 'disk rot'")
    assert "\x1b" not in screen


def test_what_is_watched_is_drawn_again_until_ctrl_c():
    out, drawn, pauses = io.StringIO(), [], []

    def draw():
        drawn.append(1)
        out.write("table")
        return 1

    def pause(seconds):
        pauses.append(seconds)
        if len(pauses) == 2:
            raise KeyboardInterrupt

    assert look.watch(draw, out, pause) == 1
    assert (len(drawn), pauses) == (2, [look.WATCH_S] * 2)
    assert out.getvalue() == "\x1b[2J\x1b[Htable" * 2


@pytest.mark.parametrize("words", [(), ("disk*",)])
def test_what_is_watched_fits_on_the_terminal(tmp_path, words):
    there = Instance(tmp_path)
    for number in range(9):
        path = f"/nowhere/{number}{'x' * 100}"
        there.add(f"[disk gone{number}]\npath = {path}\nevery = minute\n")
    there.cron()
    command = there.command("-m", "status", *words, "--watch")[1:]
    screen = watched(command, " of state", lines=24).rpartition("\x1b[H")[2]
    lines = re.sub(r"\x1b\[[0-9;]*m", "", screen).splitlines()
    assert sum(max(1, -(-len(line) // 80)) for line in lines) < 24
    more = re.search(r"and (\d) more", screen)
    shown = len(set(re.findall(r"disk gone\d", screen)))
    assert more and shown + int(more[1]) in (9, 10)
    assert words or "9 failing" in screen


def test_in_a_small_terminal_the_end_of_what_is_watched_is_cut(tmp_path):
    there = Instance(tmp_path)
    there.add(f"[disk gone]\npath = /nowhere/{'x' * 300}\nevery = minute\n")
    there.cron()
    command = there.command("-m", "status", "--watch")[1:]
    screen = watched(command, "1 failing", lines=7).rpartition("\x1b[H")[2]
    lines = re.sub(r"\x1b\[[0-9;]*m", "", screen).splitlines()
    assert lines[0] == "1 failing; 2 jobs."
    assert 3 <= sum(max(1, -(-len(line) // 80)) for line in lines) < 7


@pytest.mark.parametrize(("encoding", "expected"), [("utf-8", False), ("ascii", True)])
def test_bars_are_written_where_they_can_be(encoding, expected):
    assert look.has_no_bars(io.TextIOWrapper(io.BytesIO(), encoding)) is expected


# -m history.


def test_the_history_of_a_job_has_a_line_per_change(instance):
    ran = instance.run("-m", "history", "disk gone")
    first, heading, newest, *_ = ran.out.splitlines()
    assert (ran.code, ran.err) == (0, "")
    assert first.startswith("disk gone: 0.00% since ")
    assert heading.startswith("at UTC")
    assert "failing" in newest and "/nowhere does not exist" in newest
    every = instance.run("-m", "history", "disk gone", "--all").out
    assert "checks" not in every and "failing" in every


def test_the_history_is_of_one_job_that_is_known(instance):
    many = instance.run("-m", "history", "disk*")
    assert (many.code, many.out) == (1, "")
    assert "means several jobs: disk gone, disk root" in many.err
    assert "there is no job 'dsk root'" in instance.run("-m", "history", "dsk root").err
    none = instance.run("-m", "history")
    assert none.code == 2 and "needs the name of a job" in none.err
    new = instance.run("-m", "history", "EmailChecker")
    assert (new.code, new.err) == (1, "checker: nothing is on record of EmailChecker\n")
    wrong = instance.run("-m", "history", "disk root", "--since", "1h", "--until", "2h")
    assert wrong.code == 2 and "not before the end" in wrong.err


def test_of_a_job_that_was_removed_the_history_is_shown(tmp_path):
    there = Instance(tmp_path, SETTINGS)
    there.cron()
    there.write(there.settings.read_text().replace("[disk gone]", "[disk new]"))
    there.cron()
    ran = there.run("-m", "history", "disk gone")
    assert ran.code == 0 and ran.out.startswith("disk gone: 0.00%")
    # Its numbers have the units that they had.
    there.write(there.settings.read_text().replace("[disk root]", "[disk other]"))
    for _ in range(2):
        there.cron()
    said = there.run("-m", "history", "disk root").out
    assert re.search(r"free [\d.]+[kMGT]B, inodes \d+%", said)


def test_an_old_name_is_answered_by_the_new_one_everywhere(tmp_path):
    there = Instance(tmp_path, SETTINGS)
    there.cron()
    renamed = there.settings.read_text().replace(
        "[disk gone]", "[disk new]\nwas = gone"
    )
    there.write(renamed)
    there.cron()
    # Where a run has seen it, the line may go.
    there.write(there.settings.read_text().replace("was = gone\n", ""))
    there.cron()
    said = "checker: there is no job 'disk gone'; it is called 'disk new' now\n"
    for mode in ("status", "history", "replay"):
        ran = there.run("-m", mode, "disk gone")
        assert (ran.code, ran.err) == (1, said)
    why = there.run("-m", "why", "disk gone")
    assert "It is called disk new now." in why.out
    assert "found no job of this name" not in why.out
    (there.state / auditlog.NAME).unlink()
    assert there.run("-m", "why", "disk gone").err == said.replace(
        "there is no job", "nothing is on record about a job"
    )


# -m report.


def test_a_month_is_shown_as_text_as_csv_and_as_a_page(instance):
    text = instance.run("-m", "report")
    assert (text.code, text.err) == (0, "")
    first, heading, worst, *_ = text.out.splitlines()
    month = f"{datetime.now(UTC) + instance.clock_ahead:%Y-%m}"
    assert first.startswith(f"{month} until ") and "1 outage" in first
    assert heading.split() == [
        *("job", "uptime", "outages", "failing", "longest", "notified", "after"),
        *("slowest", "not", "counted"),
    ]
    assert worst.startswith("disk gone")
    table = instance.run("-m", "report", "--csv").out
    assert table.startswith("month,job,key,uptime,outages,ok_s,")
    page = instance.run("-m", "report", "--html").out
    assert page.startswith("<!DOCTYPE html>") and page.endswith("</html>\n")
    assert "no outage" not in page
    before = instance.run("-m", "report", "--month", "last")
    assert before.code == 0 and "uptime not known, 0 outages" in before.out


def test_one_format_of_a_month_that_exists_is_asked_for(instance):
    both = instance.run("-m", "report", "--csv", "--html")
    assert (both.code, both.out) == (2, "")
    assert both.err == "checker: give one of --json, --csv and --html\n"
    wrong = instance.run("-m", "report", "--month", "2026-13")
    assert wrong.code == 2 and "expected a month" in wrong.err


# What is missing.


def test_what_is_missing_of_the_history_is_said_wherever_it_is_shown(tmp_path):
    page = tmp_path / "page"
    page.mkdir()
    there = Instance(tmp_path, f"{SETTINGS}\n[page]\nwrite = {page}\n")
    there.cron()
    changes = tmp_path / "state" / "history" / "changes.log"
    changes.write_bytes(b"")
    (page / "index.html").unlink()
    ran = there.cron("minute", "-v")
    assert (ran.code, ran.out + ran.err) == (0, "")
    said = f"{changes} is shorter than it was: changes of status are missing"
    assert said in (there.state / "checker.log").read_text()
    status = there.run("-m", "status").out
    assert [line for line in status.splitlines() if line.startswith("history ")]
    (text,) = there.run("-m", "status", "--json").json()["history"]
    assert text.startswith("since ") and said in text
    assert there.run("-m", "status", "disk gone").out.splitlines()[-1] == (
        f"History: {text}"
    )
    for words in (("history", "disk gone"), ("report",), ("report", "--csv")):
        assert there.run("-m", *words).err == f"checker: history: {text}\n"
    assert said in (page / "index.html").read_text()
    # No settings mend it.
    assert severities(there, said) == ["warning"]


def test_validate_names_files_of_results_that_are_damaged(tmp_path):
    there, key = Instance(tmp_path, SETTINGS), JobKey("DiskSpace", "disk gone")
    before = datetime.now(UTC) - timedelta(days=2)
    result = Result.of(key, Status.OK, "", 0.1, {}, "", b"{}", 60.0)
    historylog.record(there.state, None, before.timestamp(), [result])
    for _run in range(2):
        there.cron()
    (rows,) = (there.state / "history").glob("*.rows")
    log, *_none = (there.state / "history").glob("*T*.log")
    assert severities(there, "is damaged") == []
    for path, what in (
        (rows, "what it has of disk gone is missing"),
        (log, "results of a run are missing"),
    ):
        content = bytearray(path.read_bytes())
        # The second block is that of the job, or of the first run.
        content[list(blocks(bytes(content)))[1].start + 9] ^= 1
        path.write_bytes(content)
        assert severities(there, f"history: {path} is damaged: {what}") == ["warning"]


def severities(there, said):
    """Return how grave a problem is by -m validate."""
    found = there.run("-m", "validate", "--json").json()
    return [one["severity"] for one in found if said in one["text"]]


def test_a_history_that_cannot_be_read_is_said_where_status_is_watched(tmp_path):
    there = Instance(tmp_path, SETTINGS)
    (tmp_path / "state" / "history").write_text("not a folder")
    words = there.command("-m", "status", "--watch")[1:]
    assert "History: nothing is shown" in watched(words, "move it away")


def test_a_history_that_cannot_be_read_is_said_where_bars_are_unknown(tmp_path):
    there = Instance(tmp_path, SETTINGS)
    folder = tmp_path / "state" / "history"
    folder.write_text("not a folder")
    there.cron("minute", "-v")
    (text,) = there.run("-m", "status", "--json").json()["history"]
    assert text.startswith(f"nothing is shown: {folder}: cannot read it: Not a dir")
    assert "move it away" in (there.state / "checker.log").read_text()

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from rich.cells import cell_len

from lib.core.enums import (
    Decision,
    DeliveryResult,
    JobFailureNotificationFrequency,
    JobFrequency,
    MessageKind,
    Status,
)
from lib.core.jobs import FailureRule, Job, JobKey, Policy
from lib.core.messages import Message
from lib.core.records import Record
from lib.core.results import CheckResult, JobReport
from lib.core.settings import Problem
from lib.core.silences import Mute, Scope, Silences
from lib.core.text import policy_words
from lib.report import table
from lib.report.rows import (
    JOB_COLUMNS,
    PROBLEM_COLUMNS,
    RESULT_COLUMNS,
    WORDS,
    detail_lines,
    job_rows,
    listed,
    notified_words,
    problem_rows,
    result_rows,
)

NOW = datetime(2026, 11, 22, 12, 40, tzinfo=UTC)
SINCE = NOW - timedelta(minutes=40)
NOON_AND_MORE = NOW + timedelta(hours=1)
MAIL = Message("1", MessageKind.ALERT, "s", "b", ("ops@example.com",), SINCE)


def key(name: str) -> JobKey:
    return JobKey("X", name)


def facts(name: str = "http homepage", **more: Any) -> Job:
    more.setdefault("contact", ("ops@example.com",))
    return Job(key(name), name, "jobs/X.py", JobFrequency.MINUTE, **more)


def shown_of(record: Record | None, judged: Sequence[JobKey] = ()) -> str:
    records = {} if record is None else {record.key: record}
    (row,) = job_rows([facts("k")], records, judged, NOW, UTC)
    text = f"{row['status']} | {row[WORDS]['details']}"
    return re.sub(r" \d{4}-\S+ \S+ \S+ \(", " THEN (", text)


def piped(columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> list[str]:
    out = io.StringIO()
    table.show(columns, rows, as_json=False, out=out, title="Title")
    return out.getvalue().splitlines()


def on_terminal(
    columns: Sequence[str],
    rows: Sequence[dict[str, Any]],
    *,
    wide: int = 80,
    encoding: str = "utf-8",
) -> str:
    """Return what a terminal ``wide`` columns wide was sent."""
    main, other = pty.openpty()
    size = struct.pack("HHHH", 24, wide, 0, 0)
    fcntl.ioctl(other, termios.TIOCSWINSZ, size)
    reader = subprocess.Popen(
        [sys.executable, "-c", "import os\nwhile b := os.read(0, 999): os.write(1, b)"],
        stdin=main,
        stdout=subprocess.PIPE,
        # Reading a terminal that was hung up is an error on Linux.
        stderr=subprocess.DEVNULL,
    )
    os.close(main)
    with open(other, "w", encoding=encoding) as out:
        table.show(columns, rows, as_json=False, out=out, title="Title")
    return reader.communicate(timeout=10)[0].decode().replace("\r\n", "\n")


def test_a_path_is_not_broken_where_a_long_name_would_be() -> None:
    path = "/etc/checker/conf.d/web-servers-of-the-shop.cfg:12"
    row = {"where": path, "problem": "error", "text": "it is wrong"}
    assert path in plain(on_terminal(list(row), [row]))


@pytest.mark.parametrize("wide", [30, 80])
def test_a_terminal_without_lines_gets_ascii(wide: int) -> None:
    rows = [{"job": "http shop", "status": "failing", "reason": "it answers " * 4}]
    shown = on_terminal(list(rows[0]), rows, wide=wide, encoding="ascii")
    assert "---" in shown and "http shop" in shown


def plain(shown: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", shown)


@pytest.fixture(autouse=True)
def an_ordinary_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)


# What is said of a job.


@pytest.mark.parametrize(
    ("record", "judged"),
    [
        (None, ()),
        (None, (key("k"),)),
        (Record(key("k"), "the job"), ()),
        (Record(key("k"), queued=(MAIL,)), ()),
        (Record(key("k"), pending_since=NOW), ()),
        (
            Record(
                key("k"),
                "",
                Status.FAILING,
                5,
                SINCE,
                last_reason="refused\nmore",
            ),
            (key("k"),),
        ),
        (
            Record(
                key("k"),
                "",
                Status.FAILING,
                1,
                SINCE,
                pending_since=NOW,
                queued=(MAIL,) * 2,
            ),
            (key("k"),),
        ),
        (
            Record(
                key("k"),
                "",
                Status.UNKNOWN,
                last_reason="its record was damaged",
            ),
            (),
        ),
    ],
)
def test_status_and_details_say_what_is_on_record(record, judged, approved):
    approved(shown_of(record, judged))


@pytest.mark.parametrize("notify", JobFailureNotificationFrequency)
def test_every_policy_has_words(notify):
    assert policy_words(Policy(notify))
    assert policy_words(Policy(notify, FailureRule(2))).endswith(", after 2")


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (Policy(), "on change"),
        (Policy(failures=FailureRule(3, 4)), "on change, after 3 of 4"),
        (Policy(failures=FailureRule(seconds=900)), "on change, after 15 minutes"),
        (Policy(recoveries=3), "on change, recovery after 3"),
        (Policy(notifies_warnings=False), "on change, no warnings"),
    ],
)
def test_a_policy_in_words(policy, words):
    assert policy_words(policy) == words


def test_a_row_of_a_job_keeps_for_machines_what_it_says_in_words():
    record = Record(key("k"), "", Status.FAILING, 5, SINCE, last_reason="refused")
    job = replace(facts("k"), tags=("web",), description="Words", runbook="https://r/")
    (row,) = job_rows([job], {key("k"): record}, (), NOW, UTC, ran_at={key("k"): NOW})
    out = io.StringIO()
    table.show(JOB_COLUMNS, [row], as_json=True, out=out)
    (read,) = json.loads(out.getvalue())
    assert all(re.fullmatch("[a-z_]+", key) for key in read)
    assert read["status"] == "failing"
    assert read["failing_since"] == "2026-11-22T12:00:00+00:00"
    assert read["last_run_at"] == "2026-11-22T12:40:00+00:00"
    assert (read["failures"], read["reason"], read["queued_messages"]) == (
        5,
        "refused",
        0,
    )
    assert (read["tags"], read["description"], read["runbook"]) == (
        ["web"],
        "Words",
        "https://r/",
    )
    assert (read["policy"]["notify"], read["contact"]) == (
        "state_change",
        ["ops@example.com"],
    )
    assert "details" not in read and WORDS not in read


def test_a_result_says_the_first_line_of_its_reason_and_the_time_taken(approved):
    result = CheckResult(Status.FAILING, "refused\nby all addresses", seconds=0.1234)
    rows = result_rows([JobReport(facts(), result, Decision.FIRST_ALERT)])
    approved(piped(RESULT_COLUMNS, rows))


def test_what_has_no_place_in_a_table_of_results_follows_it():
    outcomes = [
        CheckResult(Status.FAILING, "refused\nby all\x1b[2J", output="Traceback"),
        CheckResult(Status.FAILING, "refused"),
        CheckResult(Status.OK),
    ]
    reports = [
        JobReport(facts(f"job {n}\r"), result, Decision.OK)
        for n, result in enumerate(outcomes)
    ]
    assert list(detail_lines(reports)) == [
        "\njob 0\\r:",
        "    refused",
        "    by all\\x1b[2J",
        "    Traceback",
    ]


def test_a_problem_says_where_and_whether_anything_fails_for_it(approved):
    rows = problem_rows(
        [
            Problem("url is missing", "settings.cfg:12", "http a"),
            Problem("nothing reads this section", "settings.cfg:40", "b", warning=True),
        ]
    )
    approved(piped(PROBLEM_COLUMNS, rows))


# How it is shown.


def test_a_column_in_which_no_row_says_anything_is_left_out_on_a_terminal():
    rows = [{"a": "x", "b": ""}]
    *_above, title, rule, cell = plain(on_terminal(["a", "b"], rows)).split()
    assert (title, set(rule), cell) == ("a", {"─"}, "x")
    assert piped(["a", "b"], rows) == ["a  b", "x  -"]
    assert piped(["a", "b"], []) == ["a  b"]


def test_a_long_cell_in_a_pipe_is_whole_and_one_line():
    long = "x" * 10_000
    rows = [{"a": "1", "b": long}, {"a": "2", "b": "y"}]
    assert piped(["a", "b"], rows) == ["a  b", f"1  {long}", "2  y"]


def test_each_line_in_a_pipe_has_as_many_columns():
    rows = [{"a": "one", "b": "", "c": "x"}, {"a": "two words", "b": "y", "c": ""}]
    lines = piped(["a", "b", "c"], rows)
    assert [re.split("  +", line) for line in lines] == [
        ["a", "b", "c"],
        ["one", "-", "x"],
        ["two words", "y", "-"],
    ]


def test_wide_letters_are_aligned_by_what_they_take():
    lines = piped(["a", "b"], [{"a": "東京🛒", "b": "1"}, {"a": "abc", "b": "2"}])
    assert lines[1:] == ["東京🛒  1", "abc     2"]
    assert [cell_len(text) for text in ("e\u0301", "👨\u200d👩\u200d👧", "ab")] == [
        1,
        2,
        2,
    ]


@pytest.mark.parametrize("name", ["a\r\nb", "a\x1b[2Jb", "a\u202eb", "a\u2028b"])
def test_no_name_ends_a_line_or_moves_a_cursor(name):
    escaped = name.encode("unicode_escape").decode()
    assert piped(["job"], [{"job": name}]) == ["job", escaped]
    shown = plain(on_terminal(["job", "reason"], [{"job": name, "reason": name}]))
    assert re.search(rf"{re.escape(escaped)} +{re.escape(escaped)} *\n", shown)


def test_what_the_output_cannot_say_is_escaped():
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding="ascii") as out:
        table.show(["job"], [{"job": "東\udcff"}], as_json=False, out=out)
        out.flush()
        assert raw.getvalue() == b"job\n\\u6771\\udcff\n"


def test_json_is_an_array_whatever_is_in_it():
    out = io.StringIO()
    row = {
        "length": timedelta(minutes=1.5),
        "nan": float("nan"),
        "moment": NOW,
        "words": ("\udcff", Status.OK),
        "none": None,
        "flag": True,
    }
    table.show(["words"], [row], as_json=True, out=out)
    (read,) = json.loads(out.getvalue())
    assert read.pop("moment") == NOW.isoformat()
    assert read == {
        "length": 90.0,
        "nan": None,
        "words": ["\udcff", "ok"],
        "none": None,
        "flag": True,
    }
    out = io.StringIO()
    table.show(["words"], [], as_json=True, out=out)
    assert json.loads(out.getvalue()) == []


@pytest.mark.parametrize(
    ("record", "words", "code"),
    [
        (None, "not run yet", 33),
        (Record(key("k"), "n"), "ok", 32),
        (Record(key("k"), "n", Status.FAILING), "failing", 31),
        (Record(key("k"), "n", Status.UNKNOWN), "unknown", 33),
        (Record(key("k"), "n", pending_since=NOW), "pending", 33),
    ],
)
def test_a_status_has_a_colour_on_a_terminal(record, words, code):
    rows = job_rows([facts("k")], {key("k"): record} if record else {}, (), NOW, UTC)
    shown = on_terminal(JOB_COLUMNS, rows)
    assert f"\x1b[{code}m{words}\x1b[0m" in shown


@pytest.mark.parametrize("wide", [40, 80, 132, 250])
def test_a_table_fits_its_terminal_and_says_everything(wide):
    name, contacts = "long name " * 6, ("first@example.com", "second@example.com")
    record = Record(
        key(name),
        name,
        Status.FAILING,
        5,
        SINCE,
        last_reason="no answer in 10 s " * 3,
    )
    jobs = [facts(name, contact=contacts), facts("short")]
    rows = job_rows(jobs, {key(name): record}, (key("short"),), NOW, UTC)
    lines = plain(on_terminal(JOB_COLUMNS, rows, wide=wide)).splitlines()
    assert max(map(cell_len, lines)) <= wide
    # Words side by side in two columns are lines apart in one.
    for word in ("Title", "failing", "consecutive", "change", "minute", "ok", "first@"):
        assert any(word in line for line in lines)


@pytest.mark.parametrize(
    ("name", "wide"),
    [("x" * 90, 80), ("long name " * 9, 80), ("数据" * 20, 90), ("x" * 90, 140)],
)
def test_one_long_name_takes_no_column_from_the_others(name, wide):
    columns = ("job", "status", "uptime", "outages", "longest", "reason")
    short = ("failing", "99.98%", "20", "3 h 26 min", "no answer")
    rows = [dict(zip(columns, (one, *short), strict=True)) for one in (name, "web")]
    lines = plain(on_terminal(columns, rows, wide=wide)).splitlines()
    assert max(map(cell_len, lines)) <= wide
    heading = next(line.split() for line in lines if "status" in line)
    assert heading[:5] == list(columns[:5])
    assert any(line.split()[:3] == ["web", "failing", "99.98%"] for line in lines)
    # What is wrapped is whole.
    shown = "".join(re.sub(r"failing.*|[^x数据a-z]", "", line) for line in lines)
    assert name.replace(" ", "") in shown
    assert piped(columns, rows)[1].startswith(name.strip())


def test_what_has_no_place_on_a_narrow_terminal_is_said_once_if_all_are_alike():
    people = ("first.person@example.com", "second.person@example.com")
    jobs = [facts(name, contact=people) for name in ("one", "two", "three")]
    rows = job_rows(jobs, {}, {job.key for job in jobs}, NOW, UTC)
    rows[0][WORDS]["details"] = "no answer within ten seconds from anybody"
    shown = " ".join(plain(on_terminal(JOB_COLUMNS, rows)).split())
    assert shown.count("first.person@example.com") == 1
    assert "each: contact first.person@example.com, second" in shown
    rows[2]["contact"] = ()
    shown = " ".join(plain(on_terminal(JOB_COLUMNS, rows)).split())
    assert shown.count("first.person@example.com") == 1
    assert "three ok minute on change contact -" in shown
    assert shown.endswith("second.person@example.com, unless a line says otherwise")


def test_what_is_a_jobs_own_is_not_said_of_all_though_others_have_it_too():
    columns = ("job", "status", "last_24h", "reason")
    rows = [
        {
            "job": f"job {number}",
            "status": "failing",
            "last_24h": "▁" * 24 + (" duration 0s" if number < 3 else " used 93%"),
            "reason": "no answer within ten seconds from anybody",
        }
        for number in range(4)
    ]
    shown = " ".join(plain(on_terminal(columns, rows, wide=40)).split())
    assert shown.count("duration 0s") == 3
    assert "unless a line says otherwise" not in shown


def test_a_word_that_fits_in_a_line_is_not_broken():
    url = f"http://{'shop.' * 9}example.com/checkout"
    rows = job_rows([facts("k")], {}, (key("k"),), NOW, UTC)
    rows[0][WORDS]["details"] = f"no answer from {url} within 10 s"
    lines = plain(on_terminal(JOB_COLUMNS, rows)).splitlines()
    assert any(url in line for line in lines)
    assert max(map(cell_len, lines)) <= 80


def test_a_list_begins_with_what_is_failing():
    statuses = ("ok", "pending", "failing", "disabled", "warning", "unknown", "failing")
    rows = [
        {"job": number, "status": status, "tags": ("web",) if number % 2 else ()}
        for number, status in enumerate(statuses)
    ]
    assert [row["job"] for row in listed(rows)] == [2, 6, 5, 4, 1, 0, 3]
    assert [row["job"] for row in listed(rows, failing=True)] == [2, 6, 5]
    assert [row["job"] for row in listed(rows, failing=True, tags=["web"])] == [5]
    assert listed(rows, tags=["web", "db"]) == []


def test_a_title_is_for_terminals_only():
    rows = [{"job": "a"}]
    assert "Title" in on_terminal(["job"], rows)
    assert piped(["job"], rows) == ["job", "a"]


def test_no_word_is_broken_on_80_columns():
    where = "/etc/checker/conf.d/web.cfg:123"
    record = Record(
        key("k"), "", Status.FAILING, 5, SINCE, last_reason="503 Unavailable"
    )
    jobs = job_rows(
        [facts("k", contact=("second.person@example.org",))],
        {key("k"): record},
        (),
        NOW,
        UTC,
        ran_at={key("k"): NOW},
    )
    problems = problem_rows([Problem("unknown option 'verfy'" * 3, where, "http a")])
    for columns, rows in ((JOB_COLUMNS, jobs), (PROBLEM_COLUMNS, problems)):
        expected = re.findall(r"[\w@./:-]+", piped(columns, rows)[1])
        shown = plain(on_terminal(columns, rows))
        assert {*expected} <= {*re.findall(r"[\w@./:-]+", shown)} | {"-"}


def test_a_sentence_in_a_pipe_is_one_line():
    words = "Failing since 2026-11-22 12:00, for 40 minutes: " + "no answer " * 9
    out = io.StringIO()
    table.say(f"{words}\x1b[2J", out, indent=4)
    assert out.getvalue() == f"    {words}\\x1b[2J\n"


@pytest.mark.parametrize(("as_json", "loaded"), [(True, []), (False, ["rich.cells"])])
def test_rich_lays_out_for_a_terminal_only(as_json, loaded):
    program = (
        "import io, sys; from lib.report import table; "
        f"table.show(['a'], [{{'a': 'ok'}}], as_json={as_json}, out=io.StringIO()); "
        "print([name for name in ('rich.cells', 'rich.table') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=20
    )
    assert (done.stdout, done.stderr) == (f"{loaded}\n", "")


def test_a_word_that_is_longer_than_a_line_stays_whole_so_that_it_can_be_copied():
    url = f"https://tickets.example.com/{'a-long/way/' * 9}"
    details = f"muted by ann: see {url} 数据 since noon, and more words that go on"
    columns = ("job", "status", "last_run", "every", "details")
    row = dict.fromkeys(columns, "ok") | {"job": "x" * 40, "details": details}
    shown = plain(on_terminal(columns, [row], wide=60))
    lines = [line.rstrip() for line in shown.splitlines()]
    first = lines.index("      muted by ann: see")
    words = "数据 since noon, and more words that go on"
    assert lines[first + 1 : first + 3] == [f"      {url}", f"      {words}"]
    assert all(cell_len(line) <= 60 for line in lines if url not in line)


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_a_terminal_without_colours_gets_none(name, value, monkeypatch):
    monkeypatch.setenv(name, value)
    shown = on_terminal(["job", "status"], [{"job": "a", "status": "failing"}])
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", shown)


def test_a_job_whose_alerts_are_held_back_says_so_first():
    record = Record(key("k"), "k", Status.FAILING, 2, SINCE, last_reason="why")
    mute = Mute("m", SINCE, Scope(("k",)), "ann", "deploy", until=NOON_AND_MORE)
    (row,) = job_rows(
        [facts("k")],
        {record.key: record},
        (),
        NOW,
        UTC,
        silences=Silences((mute,)),
    )
    assert row[WORDS]["details"] == (
        "muted until 2026-11-22 13:40 by ann: deploy; since 2026-11-22 12:00, for 40 "
        "minutes, 2 consecutive failures: why"
    )
    assert row["held"] == {
        "code": "muted",
        "by": "ann",
        "until": NOON_AND_MORE,
        "why": "deploy",
    }
    (row,) = job_rows([facts("k")], {record.key: record}, (), NOW, UTC)
    assert row["held"] is None


@pytest.mark.parametrize(
    ("notified", "delivery", "words"),
    [
        ((), "sent", ""),
        (("a@b.c", "oncall"), "sent", "a@b.c, oncall"),
        (("a@b.c", "oncall"), "logged", "a@b.c (logged), oncall"),
        (("a@b.c", "oncall"), "refused", "a@b.c (rejected), oncall"),
        (("a@b.c",), "logged", "a@b.c (logged)"),
        (("a@b.c",), "refused", "a@b.c (rejected)"),
        (("a", "b", "c", "d", "e"), "sent", "a, b, c and 2 more"),
    ],
)
def test_a_row_names_who_was_notified(notified, delivery, words):
    record = Record(
        JobKey("Job", "j"), notified=notified, delivery=DeliveryResult(delivery)
    )
    assert notified_words(record) == words


def test_who_waits_for_the_message_is_not_named():
    waits = Message("a" * 8, MessageKind.ALERT, "s", "b", ("oncall",), SINCE)
    record = Record(JobKey("Job", "j"), notified=("a@b.c", "oncall"), queued=(waits,))
    assert notified_words(record) == "a@b.c"


def test_who_waits_for_a_reminder_has_had_the_alert():
    waits = Message("a" * 8, MessageKind.REMINDER, "s", "b", ("a@b.c",), SINCE)
    later = SINCE + timedelta(minutes=9)
    key = JobKey("Job", "j")
    record = Record(key, notified=("a@b.c",), notified_at=later, alerted_at=SINCE)
    assert (record.reached, record.reached_at) == (("a@b.c",), later)
    record = replace(record, queued=(waits,))
    assert (record.reached, record.reached_at) == (("a@b.c",), SINCE)
    alert = replace(waits, kind=MessageKind.ALERT)
    assert replace(record, queued=(alert,)).reached == ()


@pytest.mark.parametrize("held", [Decision.UNREACHABLE, Decision.BLIND])
def test_what_was_not_reached_is_no_failing_job_and_listed_behind_those(held):
    away = Record(key("a"), status=Status.FAILING, failing_since=SINCE, held=held)
    muted = replace(away, key=key("b"), held=Decision.MUTED)
    jobs = [facts("a"), facts("b")]
    records = {record.key: record for record in (away, muted)}
    rows = listed(job_rows(jobs, records, (), NOW, UTC))
    assert [row["job"] for row in rows] == ["b", "a"]
    assert [row["status"] for row in rows] == ["failing", held.value]
    assert listed(rows, failing=True) == rows

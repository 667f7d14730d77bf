"""-m status: how Checker itself is, told from what is kept."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from msgspec.structs import replace

from lib.core import deferral, health
from lib.core.calendar import SummarySeries
from lib.core.enums import JobFrequency, MessageKind, Status
from lib.core.jobs import CatalogEntry, JobKey
from lib.core.messages import Message
from lib.core.ratelimit import SendLog
from lib.core.records import Record, RunRecord
from lib.core.settings import (
    Mail,
    Mailbox,
    Peer,
    Peers,
    Settings,
    SummaryTimes,
    bare_command,
)
from lib.report import status
from lib.report.rows import WORDS
from lib.report.snapshot import Snapshot
from lib.report.status import rows
from tests.support.approved import REAL
from tests.support.instance import NO_MAIL, Instance

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
RUN = RunRecord(ended_at=NOON - timedelta(seconds=20), jobs=3, ran=2, failing=1)
SETTINGS = Settings(
    path=Path("settings.cfg"),
    servername="web1",
    alertcontact=("ops@example.com",),
    logfile=Path("log"),
    state=Path("state"),
    mail=Mail(smtpserver="smtp.example.com"),
)
BOX = replace(
    SETTINGS,
    mail=replace(SETTINGS.mail, mailbox=Mailbox("imap.example.com")),
)


def by_key(records):
    return {record.key: record for record in records}


def said(settings=SETTINGS, run=RUN, *records):
    found = rows(Snapshot(settings, NOON, run, records=by_key(records)))
    return [(row["item"], row["value"]) for row in found]


def test_all_well(approved):
    lines = dict(said())
    assert lines["answer to peers"] == "True"
    assert "3 jobs, 2 ran, 1 failing" in lines["last run"]
    assert lines["queued messages"] == "none"
    approved(lines["round-trip mail"], hide=REAL)


def test_before_the_first_run_nothing_has_finished(approved):
    lines = dict(said(run=RunRecord()))
    approved(lines["answer to peers"], "1", hide=REAL)
    approved(lines["last run"], "2", hide=REAL)


def test_what_is_queued_says_since_when_and_why(approved):
    message = Message(
        "a1", MessageKind.ALERT, "x", "y", ("o@x.org",), NOON - timedelta(hours=1)
    )
    message = replace(message, attempts=2, last_error="451 not now")
    record = Record(JobKey("X", "x"), queued=(message,))
    left = deferral.deferred([record], (), SendLog(), NOON)
    run = health.with_inputs(RUN, [record], left.messages, left.count, left.stuck)
    lines = dict(said(SETTINGS, run, record))
    approved(lines[""], "each")
    approved(lines["queued messages"])
    assert "451 not now" in lines["queued messages"]
    approved(lines["answer to peers"], "2", hide=REAL)


def test_the_proofs_are_shown_the_last_first():
    history = [
        ["2026-11-22T10:00:00+00:00", "2026-11-22T10:00:04+00:00", 4.2, "arrived", ""],
        ["2026-11-22T11:00:00+00:00", None, None, "never", ""],
        ["2026-11-22T11:30:00+00:00", "2026-11-22T11:31:40+00:00", 100, "late", "90 s"],
        "no proof at all",
    ]
    proof = {"result": "late", "proved_at": NOON.isoformat(), "interval_s": 3600}
    memory = {"proof": proof, "history": history}
    lines = said(
        BOX, RUN, Record(JobKey("EmailChecker", "EmailChecker"), memory=memory)
    )
    proofs = [text for what, text in lines if what in ("round-trip mail", "")]
    assert proofs[0] == "late"
    assert "late" in proofs[1] and "after 100 s; slowest hop: 90 s" in proofs[1]
    assert "never" in proofs[2] and "arrived" in proofs[3]
    assert len(proofs) == 4


def test_each_peer_has_a_line(approved):
    names = ("a", "b", "c", "d", "e")
    peers = [Peer(name, "https://x.example/", "a@x.org") for name in names]
    settings = replace(SETTINGS, peers=Peers(tuple(peers)))
    records = [
        Record(
            JobKey.of_peer("b"),
            "peer b",
            Status.FAILING,
            1,
            NOON,
            last_reason="why\nmore",
        ),
        Record(JobKey.of_peer("c"), "peer c", pending_since=NOON),
        Record(JobKey.of_peer("e"), "peer e", Status.UNKNOWN),
    ]
    catalog = {
        JobKey.of_peer(name): CatalogEntry(
            f"peer {name}", "x.py", JobFrequency.HOUR, judged=name != "d"
        )
        for name in names
    }
    later = NOON + timedelta(hours=2)
    found = rows(Snapshot(settings, later, RUN, catalog, by_key(records)))
    lines = {row["item"]: row["value"] for row in found}
    assert lines["peer a"] == "OK"
    assert lines["peer b"].startswith("failing since 2026-11-22 ")
    assert lines["peer b"].endswith(", for 2 hours: why")
    approved(lines["peer c"], "1", hide=REAL)
    approved(lines["peer d"], "2", hide=REAL)
    assert lines["peer e"] == "unknown"


def test_a_job_that_has_the_name_of_a_peer_is_not_the_peer():
    settings = replace(SETTINGS, peers=Peers((Peer("a", "https://x.org/", "a@x.org"),)))
    twin = Record(JobKey("Mine", "x"), "peer a", Status.FAILING, 1, NOON)
    known = CatalogEntry("peer a", "x.py", JobFrequency.HOUR, judged=True)
    catalog = {JobKey.of_peer("a"): known, twin.key: known}
    found = rows(Snapshot(settings, NOON, RUN, catalog, {twin.key: twin}))
    lines = {row["item"]: row["value"] for row in found}
    assert lines["peer a"] == "OK"


def test_each_summary_says_which_was_the_last_and_when_the_next_comes(approved):
    assert "daily summary" not in dict(said())
    times = SummaryTimes("08:00", ("mon", "09:30"))
    settings = replace(SETTINGS, summary=times)
    series = SummarySeries("daily", 12, NOON, NOON - timedelta(hours=4))
    found = rows(Snapshot(settings, NOON, RUN, summaries=(series,)))
    lines = {row["item"]: row["value"] for row in found}
    assert re.fullmatch(
        r"number 12 was written 2026-11-22 .*, number 13 is due 2026-11-2\d 08:00",
        lines["daily summary"],
    )
    assert re.fullmatch(r"number 1 is due 2026-11-23 09:30", lines["weekly summary"])
    late = replace(series, covered_until=NOON - timedelta(days=2))
    found = rows(Snapshot(settings, NOON, RUN, summaries=(late,)))
    lines = {row["item"]: row["value"] for row in found}
    approved(lines["daily summary"], hide=REAL)


def test_the_mode_shows_it_as_a_table_and_as_json(tmp_path, approved):
    instance = Instance(tmp_path)
    instance.cron()
    ran = instance.run("-m", "status")
    assert ran.code == 0
    approved(ran.out, "out", hide={**REAL, r"\S+ of state": "N kB of state"})
    data = instance.run("-m", "status", "--json").json()
    assert [*data][:5] == ["at", "server", "time_zone", "down", "warnings"]
    assert (data["down"], data["health"]["word"]) == ([], "MailProblem")


def bad(name, status, minutes, **more):
    at = NOON - timedelta(minutes=minutes)
    since = {"warning_since" if status is Status.WARNING else "failing_since": at}
    key = JobKey("X", name)
    return Record(key, name, status, last_reason=f"{name}\nmore", **since, **more)


def test_what_is_down_comes_first(approved):
    records = [
        bad("slow", Status.WARNING, 1),
        bad("old", Status.FAILING, 50, failures=3, notified=("ops@example.com",)),
        bad("new", Status.FAILING, 5),
        bad("unsure", Status.UNKNOWN, 2),
        bad("gone", Status.FAILING, 2, unseen_since=NOON),
        bad("off", Status.FAILING, 2),
        Record(JobKey("X", "fine"), "fine"),
    ]
    known = by_key(records)
    catalog = {
        record.key: CatalogEntry(
            record.name, "x.py", "minute", enabled=record.name != "off"
        )
        for record in records
        if record.name != "gone"
    }
    found = status.bad_records(known, catalog)
    assert [one.name for one in found] == ["new", "old", "unsure", "slow"]
    approved(
        status.headline(found, Snapshot(SETTINGS, NOON, RUN, catalog, known)),
        "headline",
    )
    approved(status.headline([], Snapshot(SETTINGS, NOON, RUN, catalog)), "nothing")
    approved(status.headline([], Snapshot(SETTINGS, NOON)), "first")
    later = Snapshot(SETTINGS, NOON + timedelta(days=1), RUN, catalog, known)
    assert status.headline(found, later) == (
        "Nothing has been checked since 2026-11-22 11:59; all that is shown is older."
    )
    shown = status.down_rows(found, {}, NOON, UTC)
    assert shown[0][WORDS]["since"] == "2026-11-22 11:55"
    data = status.data(Snapshot(SETTINGS, NOON, RUN, catalog, known))
    assert [row["job"] for row in data["down"]] == ["new", "old", "unsure"]
    assert [row["job"] for row in data["warnings"]] == ["slow"]
    assert data["jobs"] == {
        "total": 6,
        "failing": 2,
        "unknown": 1,
        "warning": 1,
        "unreachable": 0,
        "blind": 0,
        "disabled": 1,
    }


def test_of_many_that_are_down_the_first_are_shown(tmp_path):
    instance = Instance(tmp_path, NO_MAIL)
    one = "[disk {0}]\npath = /nowhere/{0}\nevery = minute\nfailures = 1\n"
    instance.add("".join(one.format(number) for number in range(status.MAX_DOWN + 3)))
    instance.cron()
    out = instance.run("-m", "status").out
    (more,) = (line for line in out.splitlines() if line.startswith("and "))
    assert more.startswith("and 3 more: ") and " -m list --failing" in more
    assert out.count("/nowhere/") == status.MAX_DOWN
    assert len(instance.run("-m", "status", "--json").json()["down"]) == 23


def test_warnings_that_are_not_shown_are_not_in_the_list_of_what_is_failing():
    bad = [Record(JobKey("X", f"{number}"), f"{number}") for number in range(21)]
    warned = [replace(one, status=Status.WARNING) for one in bad]
    keys = [one.key for one in bad]
    assert status.more(warned, {}, keys[:20], bare_command) == (
        "and 1 more: checker.py -m list"
    )
    assert status.more(warned, {}, keys, bare_command) == ""


def test_of_what_is_ok_and_not_shown_the_number_is_said_and_no_disabled_ones():
    catalog = {
        JobKey("X", f"{number}"): CatalogEntry(
            f"{number}", "x.py", "minute", enabled=number > 1
        )
        for number in range(30)
    }
    shown = [*catalog][-20:]
    assert status.more([], catalog, shown, bare_command) == (
        "and 8 more: checker.py -m list"
    )


def test_checker_itself_is_one_line(approved):
    line = status.own_line(Snapshot(SETTINGS, NOON, RUN), 4_200_000)
    approved(line, "no-mailbox")
    approved(status.own_line(Snapshot(BOX, NOON), 0), "first")
    proof = {
        "result": "never",
        "proved_at": (NOON - timedelta(hours=3)).isoformat(),
        "failed_at": (NOON - timedelta(minutes=4)).isoformat(),
    }
    peer = Peer("a", "https://x.example/", "a@x.org")
    settings = replace(BOX, peers=Peers((peer, replace(peer, name="b"))))
    message = Message("a1", MessageKind.ALERT, "x", "y", ("o@x.org",), NOON)
    records = [
        Record(JobKey("EmailChecker", "EmailChecker"), memory={"proof": proof}),
        Record(JobKey.of_peer("b"), "peer b", Status.FAILING, 1, NOON),
        Record(JobKey("X", "x"), queued=(message, message)),
    ]
    known = CatalogEntry("peer a", "x.py", JobFrequency.HOUR, judged=True)
    run, catalog = replace(RUN, skipped=2), {JobKey.of_peer("a"): known}
    snapshot = Snapshot(settings, NOON, run, catalog, by_key(records))
    line = status.own_line(snapshot, 123)
    approved(line, "all")

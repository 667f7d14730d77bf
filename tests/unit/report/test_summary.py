"""The summary as somebody reads it at breakfast, made of nothing but values."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from lib.core import decisions
from lib.core.calendar import DueSummary
from lib.core.decisions import Entry, JobDetails
from lib.core.enums import Decision, JobFrequency, MessageKind, Status
from lib.core.jobs import CatalogEntry, JobKey
from lib.core.messages import Message
from lib.core.records import Acknowledgement, Record, RunRecord
from lib.core.results import Timing
from lib.core.settings import Mail, Mailbox, Peer, Peers, Settings
from lib.core.silences import Mute, Scope, Silences, Window
from lib.report import summary
from lib.report.summary import MAX_LINES, SummaryInput

MORNING = datetime(2026, 11, 22, 8, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
YESTERDAY, TOMORROW = MORNING - DAY, MORNING + DAY
ISSUE = DueSummary("daily", 12, MORNING, YESTERDAY, TOMORROW)
SETTINGS = Settings(
    path=Path("settings.cfg"),
    servername="web1",
    alertcontact=("ops@example.com",),
    logfile=Path("log"),
    state=Path("state"),
    mail=Mail(smtpserver="smtp.example.com", mailbox=Mailbox("imap.example.com")),
    peers=Peers((Peer("friend", "https://x.example/", "a@x.org"),)),
)
PROVER = JobKey("EmailChecker", "EmailChecker")
#: The lists of a summary, in their order.
(
    FAILING,
    WARNINGS,
    SILENT,
    RECOVERED,
    CERTIFICATES,
    SLOWEST,
    PROOFS,
    PEERS,
    SKIPPED,
) = range(9)


def proof(at=MORNING - HOUR, result="arrived", seconds=4.2):
    arrived = (at + timedelta(seconds=seconds)).isoformat() if seconds else None
    return [at.isoformat(), arrived, seconds, result, ""]


def prover(*history, **memory):
    said = {"proved_at": MORNING.isoformat(), "result": "arrived", "interval_s": 3600}
    return Record(PROVER, memory={"proof": said, "history": list(history), **memory})


PROVEN = prover(*(proof(YESTERDAY + number * HOUR) for number in range(1, 25)))


def key_of(name):
    peer = name.removeprefix("peer ")
    return JobKey.of_peer(peer) if peer != name else JobKey("Web", name)


def failing(name, since=MORNING - HOUR, reason="why", **more):
    key = key_of(name)
    status = more.pop("status", Status.FAILING)
    return Record(key, name, status, 3, since, last_reason=reason, **more)


def again(name, at, length=None, code=Decision.RECOVERY):
    since = at - length if length else None
    details = JobDetails(Status.OK, failing_since=since)
    return Entry(at, JobKey("Web", name), name, code, details)


def mail_of_job():
    return Message("m", MessageKind.ALERT, "s", "b", ("o@x.org",), MORNING - HOUR)


def certificate(name, left, **more):
    memory = {"expires": (MORNING + left).isoformat()}
    return Record(JobKey("TLSCertExpiration", name), name, memory=memory, **more)


def known(*names):
    return {
        key_of(name): CatalogEntry(name, "x.py", JobFrequency.MINUTE, judged=True)
        for name in names
    }


def facts(*records, jobs=("a", "b", "c", "peer friend"), **more):
    by_key = {one.key: one for one in (PROVEN, *records)}
    return SummaryInput(
        by_key, known(*jobs), RunRecord(), since=YESTERDAY, now=MORNING, **more
    )


def mail(found, issue=ISSUE, settings=SETTINGS):
    return summary.message("b1", issue, found, settings)


def test_a_machine_that_is_blind_has_no_mail_problem():
    blind = replace(facts(), run=RunRecord(blind_since=MORNING - 10 * MINUTE))
    found = mail(blind)
    assert found.subject == "daily summary 12: job problem"
    assert "\nJob problem: this machine is blind: no anchor answers since" in found.body


def below(part, found, **more):
    """Return the words of a list's heading and the lines below it."""
    (lists,) = mail(found, **more).body.split("\n\n")[1:-1]
    headings = re.findall(r"(?m)^\S.*(?:\n    .*)*", lists)
    heading, *lines = headings[part].splitlines()
    return heading.partition(": ")[2], [line.strip() for line in lines]


def last_lines(found):
    return found.body.split("\n\n")[-1]


@pytest.fixture(autouse=True)
def _clock_on_the_wall(monkeypatch):
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


# What it comes to.


def test_the_first_line_and_the_subject_say_that_all_is_well(approved):
    found = mail(facts())
    approved([found.subject, found.body])
    assert (found.to, found.born_at) == (("ops@example.com",), MORNING)
    assert found.kind is MessageKind.SUMMARY


@pytest.mark.parametrize(
    "records",
    [
        [failing("a")],
        [failing("a"), failing("b")],
        [failing("a"), failing("x", status=Status.UNKNOWN)],
        [failing("b", status=Status.UNKNOWN)],
    ],
    ids=["one", "two", "unknown, too", "unknown"],
)
def test_the_first_line_and_the_subject_count_what_is_not_ok(records, approved):
    found = mail(facts(*records))
    approved([found.subject, found.body.splitlines()[0]])


def test_all_is_not_well_while_nothing_proves_that_mail_arrives(approved):
    found = mail(facts(prover(proof=None)))
    approved([found.subject, found.body], "not proven")
    stuck = mail_of_job()
    stuck = replace(stuck, attempts=3)
    found = mail(facts(failing("a", queued=(stuck,))))
    approved([found.subject, found.body], "has not left")


def test_it_says_which_time_it_is_about_and_when_the_next_one_comes(approved):
    approved(last_lines(mail(facts())), "daily")
    weekly = DueSummary("weekly", 3, MORNING, MORNING - 7 * DAY, MORNING + 7 * DAY)
    found = mail(facts(), weekly)
    approved([found.subject, last_lines(found)], "weekly")


def test_one_that_is_late_says_so(approved):
    late = mail(facts(), replace(ISSUE, due_at=MORNING - 3 * DAY)).body
    in_time = mail(facts(), replace(ISSUE, due_at=MORNING - MINUTE)).body
    assert in_time == mail(facts()).body
    (line,) = set(late.splitlines()) - set(in_time.splitlines())
    approved(line)


# Thing by thing.


def test_the_things_come_in_one_order_whether_there_is_anything_or_not(approved):
    titles = [
        line.partition(":")[0]
        for line in mail(facts()).body.splitlines()[2:]
        if line and not line.startswith(" ")
    ]
    approved(titles)


def test_what_is_failing_is_named_with_since_when_and_why_the_latest_first(approved):
    old = failing("a", MORNING - 3 * DAY, "it is dark\nand cold")
    new = failing("b", MORNING - 12 * MINUTE, "")
    unknown = failing("c", None, "lost", status=Status.UNKNOWN)
    approved(below(FAILING, facts(old, new, unknown)))


def test_a_job_that_is_no_more_is_not_failing(approved):
    gone = failing("a", unseen_since=MORNING - HOUR)
    approved(below(FAILING, facts(gone)))


def test_a_list_is_cut_and_says_by_how_much(approved):
    many = [failing(f"{n:02}", MORNING - n * MINUTE) for n in range(MAX_LINES + 5)]
    words, lines = below(FAILING, facts(*many))
    assert (words, len(lines)) == ("25", MAX_LINES + 1)
    assert lines[0].startswith("00, ")
    approved(lines[-1])
    long = below(FAILING, facts(failing("a", reason="x" * 900)))[1][0]
    assert len(long) < 210 and long.endswith("x...")


def test_what_recovered_is_reported_once_with_how_often_and_how_long(approved):
    said = (
        again("a", MORNING - 9 * HOUR, 12 * MINUTE),
        again("b", MORNING - 8 * HOUR, HOUR, Decision.QUIET_RECOVERY),
        again("a", MORNING - 2 * HOUR, 3 * MINUTE),
        again("c", MORNING - 3 * HOUR),
        again("e", MORNING - 10 * HOUR, MINUTE - timedelta(milliseconds=700)),
        Entry(
            MORNING,
            JobKey("Web", "d"),
            "d",
            Decision.REMINDER,
            JobDetails(Status.FAILING),
        ),
        decisions.sent(JobKey("Web", "d"), "d", mail_of_job(), MORNING),
    )
    found = facts(entries=said)
    approved([mail(found).subject, below(RECOVERED, found)])


def test_what_is_failing_again_has_not_recovered(approved):
    said = (again("a", MORNING - 2 * HOUR),)
    found = facts(failing("a"), entries=said)
    approved([mail(found).subject, below(RECOVERED, found)])


def test_where_the_file_of_decisions_was_too_short_it_says_so(approved):
    approved(below(RECOVERED, facts(on_file_since=MORNING - HOUR)))
    assert below(RECOVERED, facts(on_file_since=YESTERDAY))[1] == []


def test_certificates_that_end_within_thirty_days_are_named_the_first_first(approved):
    records = [
        certificate("tls late", 29 * DAY + 23 * HOUR),
        certificate("tls soon", 3 * HOUR),
        certificate("tls over", -5 * DAY),
        certificate("tls next", DAY + HOUR),
        certificate("tls far", 30 * DAY + HOUR),
        certificate("tls gone", DAY, unseen_since=YESTERDAY),
        Record(JobKey("TLSCertExpiration", "odd"), "odd", memory={"expires": "soon"}),
        Record(JobKey("Mine", "x"), "x", memory={"expires": MORNING.isoformat()}),
    ]
    approved(below(CERTIFICATES, facts(*records)))


def test_the_slowest_checks_say_how_long_and_when(approved):
    slow = (
        Timing(JobKey("Web", "a"), "a", 30.0, MORNING - HOUR),
        Timing(JobKey("Web", "b"), "b", 0.04, MORNING),
    )
    approved(below(SLOWEST, facts(slowest=slow)))


def test_the_proofs_are_counted_and_those_that_failed_are_named(approved):
    approved(below(PROOFS, facts()), "all arrived")
    some = prover(
        proof(YESTERDAY - HOUR, "never", None),
        proof(MORNING - 3 * HOUR, "never", None),
        proof(MORNING - 2 * HOUR, "late", 300),
        proof(),
        "no proof at all",
    )
    approved(below(PROOFS, facts(some)), "some did")


def test_where_nothing_is_proven_it_says_why(approved):
    approved(below(PROOFS, facts(prover())), "no mail was sent")
    bare = replace(SETTINGS, mail=Mail(smtpserver="smtp.example.com"))
    approved(below(PROOFS, facts(prover()), settings=bare), "no mailbox")
    said = {"result": "not set up", "why": "nomail = yes: no mail leaves"}
    approved(below(PROOFS, facts(prover(proof=said))), "nomail")


def test_each_peer_has_a_line(approved):
    approved(below(PEERS, facts()), "fine")
    record = failing("peer friend", reason="it says that it cannot send mail")
    approved(below(PEERS, facts(record)), "failing")
    alone = replace(SETTINGS, peers=Peers())
    approved(below(PEERS, facts(), settings=alone), "no peers")


def test_skipped_minutes_are_counted(approved):
    approved(below(SKIPPED, facts()), "none")
    run = RunRecord(skipped=9, skipped_at=MORNING - HOUR)
    found = replace(facts(skipped=3), run=run)
    approved(below(SKIPPED, found), "some")


def test_the_facts_may_be_as_odd_as_a_file_mended_by_hand():
    odd = Record(PROVER, memory={"proof": 5, "history": {"a": [1]}})
    none = summary.proofs(facts(prover()), SETTINGS)
    assert summary.proofs(facts(odd), SETTINGS) == none
    line = ["x", "y", "z", 4]
    assert summary.proofs(facts(prover(line)), SETTINGS) == none


# Warnings.


def test_warnings_have_a_section_of_their_own_and_are_no_failures(approved):
    slow = Record(
        JobKey("Web", "slow"),
        "slow",
        Status.WARNING,
        warnings=3,
        warning_since=MORNING - HOUR,
        last_reason="it takes 3 s",
    )
    sent = mail(facts(slow))
    approved(sent.subject, "subject")
    approved(sent.body, "body")


def test_what_is_muted_or_disabled_is_named_with_who_and_why(approved):
    muted = Mute(
        "m", YESTERDAY, Scope(("web *",)), "ann", "deploy", until=MORNING + HOUR
    )
    window = Window("night", Scope(tags=("db",)), "0 7 * * *", HOUR.total_seconds() * 2)
    known = Acknowledgement(Status.FAILING, MORNING - HOUR, "bob", "disk is on its way")
    names = (*(f"web {number}" for number in range(1, 8)), "db", "old", "a", "fine")
    found = facts(
        failing("a", acknowledged=known),
        failing("gone.py"),
        jobs=names,
        silences=Silences((muted,), (window,), UTC),
    )
    catalog = dict(found.catalog)
    catalog[key_of("db")] = replace(catalog[key_of("db")], tags=("db",))
    catalog[key_of("old")] = replace(catalog[key_of("old")], enabled=False)
    approved(below(SILENT, replace(found, catalog=catalog)), "some")
    # Without a mute and a window, what was acknowledged is.
    approved(below(SILENT, replace(found, silences=None)), "acknowledged")
    broken = Silences((replace(muted, scope=Scope(("gone.py",))),))
    approved(below(SILENT, replace(found, silences=broken)), "a broken file")

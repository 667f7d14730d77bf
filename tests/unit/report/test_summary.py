"""The summary as somebody reads it at breakfast, made of nothing but values."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lib.core import decisions
from lib.core.calendar import Issue
from lib.core.decisions import Entry, JobDetails
from lib.core.enums import Decision, JobFrequency, MessageKind, Status
from lib.core.jobs import CatalogEntry, JobKey
from lib.core.messages import Message
from lib.core.records import Record, RunRecord
from lib.core.results import Timing
from lib.core.settings import Mail, Mailbox, Peer, Peers, Settings
from lib.report import summary
from lib.report.summary import MAX_LINES, Facts

MORNING = datetime(2026, 11, 22, 8, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
YESTERDAY, TOMORROW = MORNING - DAY, MORNING + DAY
ISSUE = Issue("daily", 12, MORNING, YESTERDAY, TOMORROW)
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


def proof(at=MORNING - HOUR, verdict="arrived", seconds=4.2):
    arrived = (at + timedelta(seconds=seconds)).isoformat() if seconds else None
    return [at.isoformat(), arrived, seconds, verdict, ""]


def prover(*history, **memory):
    said = {"proved_at": MORNING.isoformat(), "verdict": "arrived", "interval_s": 3600}
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
    return Facts(
        by_key, known(*jobs), RunRecord(), since=YESTERDAY, now=MORNING, **more
    )


def mail(found, issue=ISSUE, settings=SETTINGS):
    return summary.message("b1", issue, found, settings)


def below(title, found, **more):
    """Return the heading's own words and the lines below it."""
    lines = iter(mail(found, **more).body.splitlines())
    words = next(
        line.removeprefix(f"{title}: ") for line in lines if line.startswith(title)
    )
    listed = []
    for line in lines:
        if not line.startswith("    "):
            break
        listed.append(line.strip())
    return words, listed


@pytest.fixture(autouse=True)
def _clock_on_the_wall(monkeypatch):
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


# What it comes to.


def test_the_first_line_and_the_subject_say_that_all_is_well():
    found = mail(facts())
    assert found.subject == "daily summary 12: all is well"
    assert found.body.startswith(
        "All is well: 4 jobs, none failing.\n\nFailing: none\n"
    )
    assert (found.to, found.born_at) == (("ops@example.com",), MORNING)
    assert found.kind is MessageKind.SUMMARY


@pytest.mark.parametrize(
    ("records", "first", "gist"),
    [
        ([failing("a")], "1 of 4 jobs is failing.", "1 failing"),
        ([failing("a"), failing("b")], "2 of 4 jobs are failing.", "2 failing"),
        (
            [failing("a"), failing("x", status=Status.UNKNOWN)],
            "1 of 5 jobs is failing, 1 of unknown state.",
            "1 failing, 1 unknown",
        ),
        (
            [failing("b", status=Status.UNKNOWN)],
            "Of 4 jobs none is failing, 1 of unknown state.",
            "1 unknown",
        ),
    ],
    ids=["one", "two", "unknown, too", "unknown"],
)
def test_the_first_line_and_the_subject_count_what_is_not_fine(records, first, gist):
    found = mail(facts(*records))
    assert found.body.splitlines()[0] == first
    assert found.subject == f"daily summary 12: {gist}"


def test_all_is_not_well_while_nothing_proves_that_mail_arrives():
    found = mail(facts(prover(proof=None)))
    assert found.subject == "daily summary 12: mail in doubt"
    assert "\nMail is in doubt: it is not proven yet that mail arrives.\n" in found.body
    stuck = mail_of_job()
    stuck = replace(stuck, attempts=3)
    found = mail(facts(failing("a", queued=(stuck,))))
    assert found.subject == "daily summary 12: 1 failing, mail in doubt"
    assert "mail has not left since 2026-11-22 07:00 UTC" in found.body


def test_it_says_which_time_it_is_about_and_when_the_next_one_comes():
    body = mail(facts()).body
    assert "About:     2026-11-21 08:00 UTC to 2026-11-22 08:00 UTC\n" in body
    assert "Next:      daily summary 13, 2026-11-23 08:00 UTC; if it is m" in body
    weekly = Issue("weekly", 3, MORNING, MORNING - 7 * DAY, MORNING + 7 * DAY)
    found = mail(facts(), weekly)
    assert found.subject == "weekly summary 3: all is well"
    assert "weekly summary 4, 2026-11-29 08:00 UTC" in found.body


def test_one_that_is_late_says_so():
    late = replace(ISSUE, due_at=MORNING - 3 * DAY)
    line = "This summary is late: it was due 2026-11-19 08:00 UTC"
    assert line in mail(facts(), late).body
    assert "late" not in mail(facts(), replace(ISSUE, due_at=MORNING - MINUTE)).body


# Thing by thing.


def test_the_things_come_in_one_order_whether_there_is_anything_or_not():
    titles = [
        line.partition(":")[0]
        for line in mail(facts()).body.splitlines()[2:]
        if line and not line.startswith(" ")
    ]
    assert titles == [
        "Failing",
        "Recovered",
        "Certificates due within 30 days",
        "Slowest checks",
        "Proof of mail",
        "Peers",
        "Skipped minutes",
        "About",
        "Next",
        "Look now",
    ]


def test_what_is_failing_is_named_with_since_when_and_why_the_latest_first():
    old = failing("a", MORNING - 3 * DAY, "it is dark\nand cold")
    new = failing("b", MORNING - 12 * MINUTE, "")
    unknown = failing("c", None, "lost", status=Status.UNKNOWN)
    assert below("Failing", facts(old, new, unknown)) == (
        "3",
        [
            "b, since 2026-11-22 07:48 UTC (12 minutes)",
            "a, since 2026-11-19 08:00 UTC (3 days): it is dark",
            "c, unknown: lost",
        ],
    )


def test_a_job_that_is_no_more_is_not_failing():
    gone = failing("a", unseen_since=MORNING - HOUR)
    assert below("Failing", facts(gone)) == ("none", [])


def test_a_list_is_cut_and_says_by_how_much():
    many = [failing(f"{n:02}", MORNING - n * MINUTE) for n in range(MAX_LINES + 5)]
    words, lines = below("Failing", facts(*many))
    assert (words, len(lines)) == ("25", MAX_LINES + 1)
    assert lines[0].startswith("00, ")
    assert lines[-1] == "and 5 more"
    long = below("Failing", facts(failing("a", reason="x" * 900)))[1][0]
    assert len(long) < 210 and long.endswith("x ...")


def test_what_recovered_is_told_once_with_how_often_and_how_long():
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
    assert below("Recovered", found) == (
        "4",
        [
            "a, 2 times, the last 2026-11-22 06:00 UTC, after 3 minutes",
            "c, 2026-11-22 05:00 UTC",
            "b, 2026-11-22 00:00 UTC, after 1 hour",
            "e, 2026-11-21 22:00 UTC, after 1 minute",
        ],
    )
    assert mail(found).subject == "daily summary 12: all is well, 4 recovered"


def test_what_is_failing_again_has_not_recovered():
    said = (again("a", MORNING - 2 * HOUR),)
    found = facts(failing("a"), entries=said)
    assert below("Recovered", found) == ("none", [])
    assert mail(found).subject == "daily summary 12: 1 failing"


def test_where_the_file_of_decisions_was_too_short_it_says_so():
    found = facts(on_file_since=MORNING - HOUR)
    gap = "(of the time before 2026-11-22 07:00 UTC nothing is on file any more)"
    assert below("Recovered", found) == ("none", [gap])
    assert below("Recovered", facts(on_file_since=YESTERDAY)) == ("none", [])


def test_certificates_that_end_within_thirty_days_are_named_the_first_first():
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
    assert below("Certificates due within 30 days", facts(*records)) == (
        "4",
        [
            "tls over, expired on 2026-11-17",
            "tls soon, in less than a day, on 2026-11-22",
            "tls next, in 1 day, on 2026-11-23",
            "tls late, in 29 days, on 2026-12-22",
        ],
    )


def test_the_slowest_checks_say_how_long_and_when():
    slow = (
        Timing(JobKey("Web", "a"), "a", 30.0, MORNING - HOUR),
        Timing(JobKey("Web", "b"), "b", 0.04, MORNING),
    )
    assert below("Slowest checks", facts(slowest=slow)) == (
        "2",
        ["30 s  a, 2026-11-22 07:00 UTC", "0.04 s  b, 2026-11-22 08:00 UTC"],
    )


def test_the_proofs_are_counted_and_those_that_failed_are_named():
    assert below("Proof of mail", facts()) == (
        "24 of 24 arrived in time, after 4.2 s at most",
        [],
    )
    some = prover(
        proof(YESTERDAY - HOUR, "never", None),
        proof(MORNING - 3 * HOUR, "never", None),
        proof(MORNING - 2 * HOUR, "late", 300),
        proof(),
        "no proof at all",
    )
    words, lines = below("Proof of mail", facts(some))
    assert words == "1 of 3 arrived in time, after 300 s at most"
    assert [line.partition(",")[0] for line in lines] == [
        "sent 2026-11-22 06:00 UTC",
        "sent 2026-11-22 05:00 UTC",
    ]
    assert "late, arrived 2026-11-22 06:05 UTC after 300 s" in lines[0]


def test_where_nothing_is_proven_it_says_why():
    assert below("Proof of mail", facts(prover()))[0] == "none was made"
    bare = replace(SETTINGS, mail=Mail(smtpserver="smtp.example.com"))
    no_box = "not set up: [email] imapserver is not given"
    assert below("Proof of mail", facts(prover()), settings=bare)[0] == no_box
    said = {"verdict": "not set up", "why": "nomail = yes: no mail leaves"}
    words, _lines = below("Proof of mail", facts(prover(proof=said)))
    assert words == "not set up: nomail = yes: no mail leaves"


def test_each_peer_has_a_line():
    assert below("Peers", facts()) == ("1", ["friend: fine"])
    record = failing("peer friend", reason="it says that it cannot send mail")
    words, (line,) = below("Peers", facts(record))
    assert line.startswith(
        "friend: failing since 2026-11-22 07:00 UTC (1 hour): it says"
    )
    alone = replace(SETTINGS, peers=Peers())
    assert below("Peers", facts(), settings=alone) == ("none", [])


def test_skipped_minutes_are_counted():
    assert below("Skipped minutes", facts()) == ("none", [])
    run = RunRecord(skipped=9, skipped_at=MORNING - HOUR)
    found = replace(facts(skipped=3), run=run)
    words = "3, the last 2026-11-22 07:00 UTC; the run before was still at work"
    assert below("Skipped minutes", found)[0] == words


def test_the_facts_may_be_as_odd_as_a_file_mended_by_hand():
    odd = Record(PROVER, memory={"proof": 5, "history": {"a": [1]}})
    assert summary.proofs(facts(odd), SETTINGS) == ("none was made", [])
    line = ["x", "y", "z", 4]
    words, lines = summary.proofs(facts(prover(line)), SETTINGS)
    assert (words, lines) == ("none was made", [])

"""Every mail that Checker writes itself, made by the code that writes it.

``make approve`` writes them to ``docs/mails.md``.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.policy import default
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from lib.alerting import (
    bundling,
    delivery,
    drill,
    merge,
    notices,
    planning,
    templates,
)
from lib.alerting.planning import Held
from lib.core import health
from lib.core.calendar import DueSummary
from lib.core.decisions import Entry, JobDetails
from lib.core.enums import (
    Decision,
    Health,
    JobFailureNotificationFrequency,
    JobFrequency,
    MessageKind,
    Status,
)
from lib.core.jobs import CatalogEntry, FailureRule, Job, JobKey, Policy
from lib.core.messages import Message
from lib.core.policy import advance, decide
from lib.core.ratelimit import Limits, SendLog
from lib.core.records import Acknowledgement, Record, RunRecord
from lib.core.results import CheckResult, JobReport, Threshold, Timing, Unit, Value
from lib.core.settings import Mail, Mailbox, Peer, Peers, Settings
from lib.core.sparkline import sparkline
from lib.core.text import mail_time, wrapped
from lib.mail import proof
from lib.mail.mime import compose
from lib.peers import templates as peer_templates
from lib.peers.answer import Answer, PeerStatus
from lib.report import summary
from lib.report.summary import SummaryInput
from lib.runner import emergency
from lib.runner.emergency import Stamp

#: Where the checkout of the transcripts lies.
THERE = "/opt/checker"
ZONE = ZoneInfo("Europe/Berlin")


def settings_to(to: tuple[str, ...]) -> Settings:
    at, mail = Path("settings.cfg"), Mail(user="ops@example.com")
    return Settings(
        at, "web1", to, at, at, mail, zone=ZONE, checker=f"{THERE}/checker.py"
    )


COMMAND = settings_to(()).command
NIGHT = datetime(2026, 11, 22, 3, 12, tzinfo=UTC)
LATER = NIGHT + timedelta(minutes=61)
OPS, FRIEND = ("ops@example.com",), ("admin@example.org",)
OK = CheckResult(Status.OK)
FULL = CheckResult(
    Status.FAILING,
    "used is 93%, over fail_percent = 90%\n/: 9.1 GB of 130.0 GB free",
    values={
        "used": Value(
            93,
            Unit.PERCENT,
            warn=Threshold(high=80, option="warn_percent"),
            fail=Threshold(high=90, option="fail_percent"),
        ),
        "free": Value(9.1e9, Unit.BYTES),
    },
    target="/",
)
FILLED_UP = templates.fact_line(
    "Last 24 hours", f"used {sparkline([*[61] * 8, *range(63, 94, 2)])} 61%..93%"
)
FILLING = CheckResult(Status.WARNING, "used is 85%, over warn_percent = 80%")
AWAY = CheckResult(
    Status.FAILING,
    "expected status 200, got 503 Service Unavailable\n"
    "the response begins: the shop is away",
    target="https://shop.example.com/cart",
    answered_by="127.0.0.1:443",
)

DISK = Job(JobKey("D", "d"), "disk root", "d.py", JobFrequency.MINUTE, contact=OPS)
HOURLY = Policy(JobFailureNotificationFrequency.EVERYHOUR, FailureRule(2))
SHOP = Job(JobKey("H", "h"), "http shop", "h.py", JobFrequency.MINUTE, HOURLY, OPS)
PROVER = Job(JobKey("E", "e"), "EmailChecker", "e.py", JobFrequency.HOUR, contact=OPS)
DAILY = Policy(JobFailureNotificationFrequency.EVERYDAY, notifies_recovery=True)
PEER = Job(
    JobKey("P", "p"),
    "peer friend",
    "p.py",
    JobFrequency.HOUR,
    DAILY,
    FRIEND,
    check_now="status",
)

US = {"us": "web1", "url": "https://example.org/checker.txt"}

Titled = tuple[str, Message]


def failing(key: JobKey, result: CheckResult, failures: int) -> Record:
    """Return the record of a job that has been failing since that night."""
    return Record(
        key,
        status=Status.FAILING,
        failures=failures,
        failing_since=NIGHT,
        notified_at=NIGHT,
        notified=OPS,
        last_reason=result.reason,
    )


def context(now: datetime, facts: tuple[str, ...] = ()) -> templates.MailContext:
    return templates.MailContext(now, ZONE, COMMAND, facts)


def alert(job: Job, result: CheckResult, number: str = "a") -> Message:
    return templates.default_message(
        number,
        job,
        Record(job.key),
        result,
        Decision.FIRST_ALERT,
        context(NIGHT, facts=(FILLED_UP,) if result is FULL else ()),
    )


def reminder(job: Job, result: CheckResult, failures: int, now: datetime) -> Message:
    record = failing(job.key, result, failures)
    return templates.default_message(
        "c", job, record, result, Decision.REMINDER, context(now)
    )


def recovery(job: Job, result: CheckResult, failures: int, now: datetime) -> Message:
    record = failing(job.key, result, failures)
    return templates.default_message(
        "b", job, record, OK, Decision.RECOVERY, context(now)
    )


def eased() -> Message:
    """Return the recovery of a failure that leaves a warning."""
    record = failing(DISK.key, FULL, 61)
    return templates.default_message(
        "e", DISK, record, FILLING, Decision.RECOVERY, context(LATER)
    )


def gone() -> Message:
    """Return the closing message of a job that is not checked any more."""
    record = replace(failing(DISK.key, FULL, 61), name=DISK.name, unseen_since=LATER)
    to, at = ("ops@example.com",), LATER + timedelta(minutes=1)
    return templates.closing_message("f", record, to, context(at))


def flapping(*then: CheckResult) -> Message:
    """Return the mail of a job that begins to flap, or the last one after it."""
    job, record, now = replace(SHOP, policy=Policy()), Record(SHOP.key), NIGHT
    for result in (*(AWAY, OK) * 3, *then):
        decision = decide(record, result, job.policy, now)
        if decision.notifies:
            last = (job, record, result, decision, context(now))
        record = advance(record, JobReport(job, result, decision), now)
        now += timedelta(minutes=2)
    return templates.default_message("f", *last)


def end_of_warning() -> Message:
    record = Record(
        DISK.key,
        status=Status.WARNING,
        warnings=61,
        warning_since=NIGHT,
        notified_at=NIGHT,
        notified=OPS,
        notified_status=Status.WARNING,
        last_reason=FILLING.reason,
    )
    return templates.default_message(
        "f", DISK, record, OK, Decision.RECOVERY, context(LATER)
    )


def note(subject: str, body: str, to: tuple[str, ...] = OPS) -> Message:
    return Message("n", MessageKind.NOTE, subject, body, to, NIGHT)


def of_a_job() -> list[Message]:
    """Return the mails of a job: an alert, its end, a reminder, lost state."""
    lost = f"{THERE}/state/jobs/disk-root-de1582e67f.json: it is missing"
    return [
        alert(DISK, FULL),
        recovery(DISK, FULL, 61, LATER),
        reminder(SHOP, AWAY, 61, LATER),
        templates.lost_records_message("d", [lost], OPS, LATER),
    ]


# The page.


def _failed(reason: str) -> CheckResult:
    return CheckResult(Status.FAILING, reason)


#: What each decision on our own mail may have seen.
SEEN = {
    "late": proof.late(300, 120, "290 s to mx1"),
    "spam": "'Junk'",
    "never": proof.nowhere(600, ("INBOX", "Trash", "Junk", "Archive"), 0),
    "send failed": "smtp.example.com:587: end of mail: 451 4.7.1 greylisted (for 660 s "
    "now)",
    "login failed": "imap.gmail.com:993: the login was refused: [AUTHENTICATIONFAILED] "
    "Invalid credentials (Failure); Google takes no account password here: make an "
    "app password at https://myaccount.google.com/apppasswords and set it as [email] "
    "pass",
    "folder missing": "there is no folder 'Alerts' in the mailbox; check [email] "
    "imapfolder",
    "refused": "imap.example.com:993: the server does not open 'INBOX': [NOPERM] not "
    "for you; the account may not do that: ask the server's admin",
    "unreachable": "imap.example.com:993: connection refused; check [email] "
    "imapserver and imapport",
}

#: What is seen where a peer's answer is not to be believed.
WHY = {
    None: "example.org:443: connection refused",
    PeerStatus.WRONG: "<html><title>Welcome to nginx</title>",
    PeerStatus.UNSIGNED: "it has no signature",
    PeerStatus.FORGED: "",
    PeerStatus.STALE: "made 3 hours ago",
    PeerStatus.AHEAD: "made 1 hour from now",
    PeerStatus.OURS: "signed by 'web1'",
    PeerStatus.ANOTHERS: "signed by 'web3', and before by 'web2'",
}


def _of_our_own_mail() -> Iterator[Titled]:
    for decision, seen in SEEN.items():
        yield decision, alert(PROVER, _failed(proof.reason(decision, seen)))
    never = _failed(proof.reason("never", SEEN["never"]))
    yield "recovery", recovery(PROVER, never, 1, LATER)
    words = proof.not_set_up("imapserver is not set", "smtp.x.org", "every hour")
    subject, body = (text.replace("smtp.x.org", "smtp.example.com") for text in words)
    yield "not set up", note(subject, body)


def of_peers() -> Iterator[Titled]:
    ill = Answer(Health.MAIL_PROBLEM, NIGHT, NIGHT, mail_proof_age_s=7500)
    mail = _failed(peer_templates.problem(PeerStatus.MAIL_PROBLEM, ill, **US))
    stopped = replace(ill, last_run=NIGHT - timedelta(minutes=20))
    jobs = _failed(peer_templates.problem(PeerStatus.JOB_PROBLEM, stopped, **US))
    yield "it cannot send mail", alert(PEER, mail)
    yield "it runs no jobs", alert(PEER, jobs)
    for peer_status, why in WHY.items():
        text = peer_templates.not_answered(peer_status, why, times=2, **US)
        yield peer_status.value if peer_status else "no answer", alert(
            PEER, _failed(text)
        )
    yield "a day later", reminder(PEER, mail, 24, NIGHT + timedelta(days=1))
    yield "recovery", recovery(PEER, mail, 3, NIGHT + timedelta(hours=3))
    yield "our own network connection", note(*peer_templates.uplink_down(NIGHT, ZONE))


def _of_ways() -> Iterator[Titled]:
    proof = {"failed_at": NIGHT.isoformat(), "result": "never"}
    doubt = health.trouble(proof, NIGHT, partial(mail_time, zone=ZONE))
    found = alert(DISK, FULL)
    line = delivery.BY_BACKUP.format(why=doubt)
    # As delivery.py puts it there.
    yield "sent by the backup account", replace(
        found, body=f"{found.body.rstrip()}\n\n{wrapped(line)}\n"
    )
    yield "a drill", drill.message(settings_to(OPS), DISK, NIGHT)
    yield "a test mail", templates.test_message("t", "web1", OPS, NIGHT)


def _of_many() -> Iterator[Titled]:
    refused = replace(
        _failed("127.0.0.1:25: connection refused"),
        cause="connection refused",
        host="127.0.0.1",
    )
    entries = []
    for number in range(6):
        name = f"tcp mail{number}"
        job = Job(JobKey("T", name), name, "t.py", JobFrequency.MINUTE, contact=OPS)
        entries.append((name, alert(job, refused, str(number))))
    yield "a bundle", bundling.bundle_message(
        "d", entries, NIGHT, ZONE, command=COMMAND
    )
    pair = (alert(DISK, FULL), recovery(DISK, FULL, 61, LATER))
    waited = "smtp.example.com:587: connect: connection refused"
    queued = [replace(one, attempts=1, last_error=waited) for one in pair]
    (merged_message,) = merge.merged("disk root", queued, ZONE)
    yield "an alert merged with its recovery", merged_message.message
    yield "an alert that is late", _late(queued[0])
    held = [Held(DISK.key, DISK.name, one) for one in pair]
    held.append(Held(JobKey("T", "tcp mail0"), "tcp mail0", entries[0][1]))
    yield (
        "rate limit reached",
        notices.deferred_message(
            "h", held, LATER, Limits(20, 100), OPS, NIGHT, ZONE, COMMAND
        ),
    )
    yield (
        "an address that is rejected",
        notices.rejected_message(
            "r", "x@example.com", "550 5.1.1 no such user", pair[0].subject, OPS, NIGHT
        ),
    )


def _late(alert: Message) -> Message:
    """Return an alert that left 25 minutes after it was queued."""
    record = Record(DISK.key, DISK.name, queued=(alert,))
    now = alert.born_at + timedelta(minutes=25)
    (envelope,) = planning.plan([record], {}, SendLog(), None, now).envelopes
    return envelope.message


def _of_state() -> Iterator[Titled]:
    *_others, lost = of_a_job()
    yield "state lost", lost
    why = f"{THERE}/state/run.json: cannot write it: No space left on device; make "
    why += f"room on the disk (df -h {THERE}/state; df -i {THERE}/state)"
    records = [replace(failing(DISK.key, FULL, 9), name="disk root")]
    yield "state cannot be written", emergency.message_of(
        Stamp(NIGHT, "s"), why, records, OPS, ZONE
    )


def _of_jobs() -> Iterator[Titled]:
    first, end, again, _lost = of_a_job()
    yield "an alert", first
    yield "a recovery", end
    yield "a reminder", again
    unknown = CheckResult(
        Status.UNKNOWN, "cannot resolve shop.example.com: the resolver"
    )
    unknown = replace(unknown, reason=f"{unknown.reason} gave no answer within 30 s")
    yield "an unknown status", alert(SHOP, unknown)
    yield "a warning", alert(DISK, FILLING)
    yield "the end of a warning", end_of_warning()
    yield "the end of a failure that leaves a warning", eased()
    yield "a job that begins to flap", flapping()
    yield "a job that is steady again", flapping(*[OK] * 10)
    yield "a failing job that is gone", gone()


def the_daily_summary() -> Message:
    """Return a daily summary in which there is something to say."""
    morning = NIGHT.replace(hour=8, minute=0)
    hour, day = timedelta(hours=1), timedelta(days=1)
    disk = replace(
        failing(DISK.key, FULL, 9), failing_since=morning - day * 2 - hour / 2
    )
    shop = replace(failing(SHOP.key, AWAY, 9), name="http shop")
    cert = JobKey("TLSCertExpiration", "tls homepage")
    memory = {"expires": (morning + 12 * day + hour).isoformat()}
    sent = [morning - number * hour for number in range(24)]
    history = [[at.isoformat(), "", 4.0, "arrived", ""] for at in sent[::-1]]
    late = (sent[2] + timedelta(minutes=5)).isoformat()
    history[-3] = [sent[2].isoformat(), late, 300, "late", "290 s to mx1"]
    proven = {"result": "arrived", "proved_at": morning.isoformat()}
    prover = JobKey("EmailChecker", "EmailChecker")
    known = CatalogEntry("peer friend", "p.py", JobFrequency.HOUR, judged=True)
    acknowledged = Acknowledgement(
        Status.FAILING, morning - day, "ann", "a larger disk comes on Monday"
    )
    found = SummaryInput(
        records={
            DISK.key: replace(disk, name="disk root", acknowledged=acknowledged),
            SHOP.key: shop,
            cert: Record(cert, "tls homepage", memory=memory),
            prover: Record(prover, memory={"proof": proven, "history": history}),
        },
        catalog={DISK.key: replace(known, name="disk root")}
        | dict.fromkeys(
            [
                SHOP.key,
                JobKey.of_peer("friend"),
                *(JobKey("X", str(n)) for n in range(38)),
            ],
            known,
        ),
        run=RunRecord(),
        since=morning - day,
        now=morning,
        entries=tuple(
            Entry(at, JobKey("T", "t"), "tcp mail", Decision.QUIET_RECOVERY, details)
            for at in (morning - 6 * hour, morning - 5 * hour)
            for start in [at - timedelta(minutes=12)]
            for details in [JobDetails(Status.OK, failing_since=start)]
        ),
        slowest=(
            Timing(JobKey("H", "h"), "http shop", 30.0, NIGHT),
            Timing(
                prover, "EmailChecker", 2.312, morning - hour + timedelta(minutes=1)
            ),
        ),
        zone=ZONE,
    )
    at = Path("settings.cfg")
    settings = Settings(
        path=at,
        servername="web1",
        alertcontact=("ops@example.com",),
        logfile=at,
        state=at,
        zone=ZONE,
        mail=Mail(smtpserver="x.example.com", mailbox=Mailbox("x.example.com")),
        peers=Peers((Peer("friend", "https://example.org/", "a@example.org"),)),
    )
    issue = DueSummary("daily", 12, morning, found.since, morning + day)
    return summary.message("b", issue, found, settings)


def _of_summary() -> Iterator[Titled]:
    yield "an ordinary day", the_daily_summary()


PARTS = {
    "Jobs": (
        "Sent to the job's contact according to its policy. Reminders and the recovery "
        "are replies to the alert.",
        _of_jobs,
    ),
    "Round-trip mail": (
        "Sent by EmailChecker to alertcontact on failure and on recovery. "
        "The first line says what was found, the rest what to do.",
        _of_our_own_mail,
    ),
    "Peers": (
        "Sent by PeerChecker to the admin of the peer, who may not know us, with a "
        "copy to alertcontact if `copy = yes`. The last one goes to alertcontact only.",
        of_peers,
    ),
    "Backup account, drill and test": (
        "A mail sent by the backup account, and two that somebody asked for.",
        _of_ways,
    ),
    "Bundles, merged mails, and mail about mail": (
        "Sent where single mails would be too many or too late.",
        _of_many,
    ),
    "State": (
        "Sent to alertcontact when Checker cannot write or read its state.",
        _of_state,
    ),
    "The daily summary": (
        "Sent to alertcontact if `[summary] daily` is set; a weekly one is alike.",
        _of_summary,
    ),
}

HEAD = """\
# What each mail looks like

Every mail that Checker writes itself. `web1` is `[general] servername`, `friend` is a
line of `[peers]`. Generated by `make approve` from the code that writes the mails.
[alerting.md](alerting.md) says when each is sent.
"""


def page() -> str:
    """Return docs/mails.md."""
    parts = [HEAD]
    for title, (words, mails) in PARTS.items():
        parts.append(f"\n## {title}\n\n{textwrap.fill(words, 95)}\n")
        for name, message in mails():
            parts.append(
                f"\n{name[0].upper()}{name[1:]}:\n\n```\n{as_shown(message)}```\n"
            )
    return "".join(parts)


def as_shown(message: Message) -> str:
    """Return a mail as a person reads it."""
    settings = settings_to(message.to)
    mail: Any = message_from_bytes(compose(message, settings), policy=default)
    assert str(mail["From"]) == '"web1 (Checker)" <ops@example.com>'
    body = mail.get_content().replace("\r\n", "\n")
    return f"Subject: {' '.join(mail['Subject'].split())}\n\n{body}"

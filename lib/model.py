"""The nouns of Checker: enums for choices, frozen dataclasses for facts.

Nothing here acts, and nothing of ours is imported.  A value that two rooms pass
to each other has its class here; one of which there may be thousands has slots.
"""

from __future__ import annotations

import configparser
import enum
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, Self

DEFAULT_TIMEOUT_S = 30
#: A run ends within 55 s; a job that needs longer has a cron line of its own.
MAX_TIMEOUT_S = 50


class JobFrequency(enum.StrEnum):
    """How often a job runs; the values are those of ``-c`` and of ``every =``."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    DAY_NOON = "day_noon"


class JobFailureNotificationFrequency(enum.StrEnum):
    """How often people hear of a failure that lasts; ``notify =`` in settings."""

    EVERYTIME = "every"
    EVERYFIVEMINUTES = "5min"
    EVERYTENMINUTES = "10min"
    EVERYHOUR = "hour"
    EVERYDAY = "day"
    ONSTATECHANGE = "state_change"


class JobFailureCountMinimumBeforeNotification(enum.IntEnum):
    """How many failures in a row come before the first alert; any int >= 1 will do."""

    ONE = 1
    TWO = 2
    FIVE = 5
    TEN = 10


class Condition(enum.StrEnum):
    """What an execution found, and what a job is remembered to be."""

    FINE = "fine"
    FAILING = "failing"
    #: The check could not be made, or what was remembered is lost: not fine.
    UNKNOWN = "unknown"
    #: Under way: asked again in the next minute run.
    PENDING = "pending"


class Decision(enum.StrEnum):
    """What follows from a result: a stable code, as the audit log stores it.

    ``lib/decisions.py`` has the words for people.
    """

    OK = "ok"
    PENDING = "pending"
    #: Failing, and not often enough in a row for an alert.
    NOT_YET = "not_yet"
    FIRST_ALERT = "first_alert"
    REMINDER = "reminder"
    #: Failing, and it is not time for a reminder.
    TOO_SOON = "too_soon"
    #: Failing, and there are no reminders.
    ALREADY_NOTIFIED = "already_notified"
    RECOVERY = "recovery"
    #: OK again, and no mail says so.
    QUIET_RECOVERY = "quiet_recovery"

    @property
    def notifies(self) -> bool:
        """Return whether a message is due."""
        return self in (Decision.FIRST_ALERT, Decision.REMINDER, Decision.RECOVERY)


class Health(enum.StrEnum):
    """The word a peer is told, alone on the first line of our answer."""

    OK = "True"
    MAIL_PROBLEM = "MailProblem"
    JOB_PROBLEM = "JobProblem"


class DeliveryResult(enum.StrEnum):
    """What became of a message that is queued no longer."""

    #: A mail server took it.
    SENT = "sent"
    #: With nomail: it was written to the log, and nobody was mailed.
    LOGGED = "logged"
    #: It was refused for good.
    REFUSED = "refused"


class MessageKind(enum.StrEnum):
    """Why a message exists."""

    ALERT = "alert"
    REMINDER = "reminder"
    RECOVERY = "recovery"
    #: Anything else: what a job sends of its own accord, a summary of Checker's.
    NOTE = "note"
    #: A mail to ourselves, to see that mail arrives: it never waits for others.
    PROBE = "probe"
    #: What ``[summary]`` asks for; people read its number, so it is a mail of its own.
    BULLETIN = "summary"

    @property
    def is_about_trouble(self) -> bool:
        """Return whether it tells how a job is, by its policy."""
        return self in (
            MessageKind.ALERT,
            MessageKind.REMINDER,
            MessageKind.RECOVERY,
        )


#: The job files that ship and watch Checker itself: its mail, and its peers.
EMAIL_CHECKER, PEER_CHECKER = "EmailChecker", "PeerChecker"
#: The one whose jobs may know when a certificate ends.
CERTIFICATE_CHECKER = "TLSCertExpiration"
#: In the place of a job file where there is none: no job file's name begins with _.
_CHECKER, _SETTINGS, _REFUSED = "_checker", "_settings", "_refused"


class JobKey(NamedTuple):
    """What tells a job from every other: its file, and what identifies it there.

    Its text, ``file/identity``, is made and read back here and nowhere else.
    """

    #: The job file's name without ``.py``.
    file: str
    #: Empty: the file itself, as a job that fails while the file is broken.
    identity: str = ""

    def __str__(self) -> str:
        return f"{self.file}/{self.identity}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the key of this text; raise ValueError if it is that of none."""
        file, slash, identity = text.partition("/")
        if not (file and slash):
            raise ValueError(f"{text[:60]!r} is no key of a job")
        return cls(file, identity)

    @classmethod
    def of_section(cls, section: str) -> Self:
        """Return what stands for a section of the settings that no job is about."""
        return cls(_SETTINGS, section)

    @classmethod
    def of_refused_file(cls, path: Path) -> Self:
        """Return what stands for a job file that must not be loaded."""
        return cls(_REFUSED, str(path))

    @classmethod
    def of_peer(cls, name: str) -> Self:
        """Return the key of the job that asks a peer."""
        return cls(PEER_CHECKER, name)

    @property
    def is_section(self) -> bool:
        """Return whether it stands for a section of the settings."""
        return self.file == _SETTINGS

    @property
    def is_refused_file(self) -> bool:
        """Return whether it stands for a job file that must not be loaded."""
        return self.file == _REFUSED

    @property
    def is_file(self) -> bool:
        """Return whether it is a job file itself."""
        return not self.identity and self.file not in (_CHECKER, _SETTINGS, _REFUSED)

    @property
    def is_check(self) -> bool:
        """Return whether it is a job of a job file, and not Checker speaking."""
        return bool(self.identity) and self.file not in (_CHECKER, _SETTINGS, _REFUSED)

    @property
    def is_about_checker(self) -> bool:
        """Return whether it says how Checker itself is, mail and peers included."""
        return self.file in (_CHECKER, EMAIL_CHECKER, PEER_CHECKER)


#: The record of Checker's own state: where the messages of its own are kept too.
OWN_KEY = JobKey(_CHECKER, "state")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one execution of one job found."""

    condition: Condition
    #: The reason, for people; its first line goes into subjects.
    detail: str = ""
    #: What helps to understand it: a traceback, what the job printed.
    evidence: str = ""
    seconds: float = 0.0
    #: Ask again in the next minute run, whatever the job's frequency.
    ask_again: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """When people want to hear of a job."""

    notify: JobFailureNotificationFrequency = (
        JobFailureNotificationFrequency.ONSTATECHANGE
    )
    #: How many failures in a row come before the first alert, at least 1.
    failures: int = 1
    #: The end is told also where there are reminders.
    tells_end: bool = False


@dataclass(frozen=True, slots=True)
class Folded:
    """What a message stands for beside its own news."""

    #: How many problems it tells of, since the first began.
    times: int
    since: datetime
    #: The moment and the subject of each message that it stands for.
    lines: tuple[str, ...] = ()
    #: Somebody had heard of the first of them.
    told: bool = False
    #: One of them may have been taken after all.
    doubtful: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """Something somebody is owed, from the moment it is committed.

    ``message_id`` is random and stays: a mail that is sent again is the same mail.
    """

    message_id: str
    kind: MessageKind
    subject: str
    body: str
    to: tuple[str, ...]
    #: The time of the event; the mail's Date.
    born_at: datetime
    #: The first alert of the same trouble, for threading.
    thread: str | None = None
    #: Counted on disk before each attempt, so that a crash cannot hide one.
    attempts: int = 0
    retry_at: datetime | None = None
    #: Why the last attempt did not succeed.
    last_error: str = ""
    #: Attempted, and it is not known that it was not taken.
    in_doubt: bool = False
    #: Cut down because the server would not have it as it was.
    shortened: bool = False
    #: Since when the job was failing; None where it tells of no problem.
    since: datetime | None = None
    folded: Folded | None = None
    #: Why the job is failing, in one line; empty where it tells of no problem.
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Gone:
    """What became of a probe: a server took it, or refused it for good."""

    message_id: str
    at: datetime
    #: Why it was refused; empty where it was taken.
    error: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """What is remembered of one job, and the messages still owed."""

    key: JobKey
    name: str = ""
    condition: Condition = Condition.FINE
    #: Executions in a row that did not find it fine.
    failures: int = 0
    failing_since: datetime | None = None
    #: When the last alert or reminder was kept; None while nobody was told.
    told_at: datetime | None = None
    #: Who got the alert, and so gets the recovery.
    told: tuple[str, ...] = ()
    #: What they were told it is: failing or unknown.
    told_of: Condition | None = None
    #: What became of the mail of ``told_at``, once it is owed no more.
    delivery: DeliveryResult = DeliveryResult.SENT
    #: The message_id of the first alert.
    thread: str | None = None
    last_reason: str = ""
    pending: bool = False
    #: What the job keeps from run to run.
    memory: Mapping[str, Any] = field(default_factory=dict)
    owed: tuple[Message, ...] = ()
    #: Since when no run has met this job; None while runs meet it.
    unseen_since: datetime | None = None
    #: The last of its probes that are owed no longer.
    gone: tuple[Gone, ...] = ()
    #: Of two files that hold it, the one with the higher number tells the truth.
    revision: int = field(default=0, compare=False)

    @property
    def is_plain(self) -> bool:
        """Return whether there is nothing in it that a new record would not hold."""
        return self == Record(self.key, self.name)


@dataclass(frozen=True, slots=True)
class JobFacts:
    """What a job says of itself before it runs."""

    key: JobKey
    name: str
    #: The job file, for people: its path.
    file: str
    frequency: JobFrequency
    policy: Policy = Policy()
    contact: tuple[str, ...] = ()
    timeout_s: float = DEFAULT_TIMEOUT_S
    #: A glob over the older program's decoded state names: what this job was there.
    formerly: str = ""
    #: Not somebody's check but Checker speaking of a job file or a section.
    is_own: bool = False
    #: The mode that shows more of it; empty: run, with its name.
    look_now: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What one execution of a job came to: its way from a worker to the supervisor."""

    job: JobFacts
    outcome: Outcome
    decision: Decision
    messages: tuple[Message, ...] = ()
    #: The job's memory after the run; None: leave what is remembered.
    memory: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Slow:
    """How long a check has taken, and when."""

    key: JobKey
    name: str
    seconds: float
    at: datetime


@dataclass(frozen=True, slots=True)
class Known:
    """A job as the last run met it: what can be said of it without loading it."""

    name: str
    file: str
    frequency: JobFrequency
    policy: Policy = Policy()
    contact: tuple[str, ...] = ()
    #: Whether it has ever been judged.
    judged: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """When a job file was last asked for its jobs, and what it was like then."""

    at: datetime
    #: Equal as long as nothing has changed that its jobs may depend on.
    mark: str


@dataclass(frozen=True)
class RunFacts:
    """What is remembered of the runs themselves: run.json."""

    began_at: datetime | None = None
    #: When one last came to its end: before ``began_at`` while one is at work, or if
    #: it was killed.
    ended_at: datetime | None = None
    ordered: JobFrequency = JobFrequency.MINUTE
    #: When jobs of each frequency last ran; the values are datetimes as text.
    last_runs: Mapping[str, Any] = field(default_factory=dict)
    jobs: int = 0
    ran: int = 0
    failing: int = 0
    unknown: int = 0
    pending: int = 0
    sent: int = 0
    owed: int = 0
    #: Runs that found another one at work, since Checker was set up.
    skipped: int = 0
    skipped_at: datetime | None = None
    #: The file stems of the jobs that have a record.
    records: tuple[str, ...] = ()
    #: Of these, the ones that were lost, told of, and whose jobs have not run since.
    lost_records: tuple[str, ...] = ()
    #: The older program's state file, once it was read.
    old_statefile: str = ""
    #: As this run left it: since when the oldest mail that was tried does not leave,
    #: and what EmailChecker remembers of its last proof.
    unsent_since: datetime | None = None
    proof: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class JobFile:
    """A file in a job folder, not yet loaded."""

    path: Path
    #: The file's name without ``.py``, which is its class's name too.
    name: str
    ships: bool = False
    #: Why it must not be loaded; empty where it may.
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """A section ``[kind name]`` of the settings, every option typed."""

    kind: str
    name: str
    values: Mapping[str, Any]

    @property
    def section(self) -> str:
        """Return the section's title, which is also the job's name."""
        return f"{self.kind} {self.name}"


@dataclass(frozen=True)
class Problem:
    """Something wrong in the settings, and where."""

    text: str
    #: ``settings.cfg:12`` or just the file.
    where: str = ""
    section: str = ""
    #: What is wrong makes a run impossible.
    fatal: bool = False
    #: Worth saying, but nothing fails for it.
    warning: bool = False
    #: Nothing wrong, but a person should know of it, and perhaps do the next step.
    note: bool = False

    def __str__(self) -> str:
        section = f"[{self.section}] " if self.section else ""
        return f"{self.where}: {section}{self.text}" if self.where else self.text


@dataclass(frozen=True)
class Mailbox:
    """Where our own mail arrives: the imap options of ``[email]``."""

    server: str
    port: int = 993
    #: tls, starttls or none.
    security: str = "tls"
    user: str = ""
    password: str = field(default="", repr=False)
    cafile: str = ""
    #: The only folder to look in; empty: find it.
    folder: str = ""
    #: How long a probe may be under way, and how long is worth a warning.
    grace_s: float = 600.0
    slow_s: float = 120.0
    #: A filter throws our own mail away: look there first.
    trash_first: bool = False


@dataclass(frozen=True)
class Mail:
    """How mail leaves: ``[email]``."""

    #: Log each mail instead of sending it; it is owed no longer then.
    nomail: bool = False
    #: For this run only: log each new mail, and go on owing it.
    holds: bool = False
    user: str = ""
    password: str = field(default="", repr=False)
    smtpserver: str = ""
    smtpport: int = 587
    #: starttls, tls or none.
    smtpsecurity: str = "starttls"
    cafile: str = ""
    bustgmailthreading: bool = False
    #: The address mails come from; empty: ``user``, where that is an address.
    sender: str = ""
    #: More are held back; a digest counts as one.
    mailsperhour: int = 20
    mailsperday: int = 100
    #: A second account, for when this one will not do: ``[email backup]``.
    backup: Mail | None = None
    #: Where our own mail arrives; None where that is not set up.
    mailbox: Mailbox | None = None
    #: Peers are told that an instance without mail is fine.
    nomail_is_fine: bool = False

    @property
    def is_set_up(self) -> bool:
        """Return whether there is a server to hand mail to."""
        return bool(self.smtpserver)


@dataclass(frozen=True)
class Limits:
    """What a worker may take."""

    memory_mb: int = 1024
    files: int = 1024
    processes: int = 4096


@dataclass(frozen=True)
class Peer:
    """Another instance, which watches us as we watch it: a line of ``[peers]``."""

    name: str
    url: str
    #: Its admin, who hears of it.
    contact: str
    #: What both sides share, for signatures; empty: words only.
    key: str = field(default="", repr=False)


@dataclass(frozen=True)
class Peers:
    """``[peers]``."""

    peers: tuple[Peer, ...] = ()
    every: JobFrequency = JobFrequency.HOUR
    #: How many silences in a row come before the peer's admin is told.
    after: int = 2
    #: Our own alertcontact hears of it, too.
    copy: bool = False


@dataclass(frozen=True)
class Status:
    """Where our answer to peers is given: ``[status]``."""

    listen: tuple[str, int] = ("0.0.0.0", 5000)
    #: A file that each run replaces; empty: none.
    write: str = ""
    #: Seconds: no run finished for longer, and nobody looks.
    runage: int = 180


@dataclass(frozen=True)
class DigestTimes:
    """When a summary is due, by the local clock: ``[summary]``."""

    #: ``08:00``; empty: never.
    daily: str = ""
    #: ``("mon", "08:00")``; None: never.
    weekly: tuple[str, str] | None = None


@dataclass(frozen=True)
class Settings:
    """settings.cfg, checked and typed."""

    path: Path
    servername: str
    alertcontact: tuple[str, ...]
    logfile: Path
    state: Path
    mail: Mail
    #: The older program's state file, read once; None where none is named.
    old_statefile: Path | None = None
    job_files: tuple[JobFile, ...] = ()
    #: The files all this was read from.
    files: tuple[Path, ...] = ()
    limits: Limits = Limits()
    peers: Peers = Peers()
    status: Status = Status()
    digest: DigestTimes = DigestTimes()
    #: What is wrong but does not stop a run, and what is merely odd.
    problems: tuple[Problem, ...] = ()
    #: The same settings as job authors see them.
    config: configparser.ConfigParser = field(
        default_factory=configparser.ConfigParser, repr=False, compare=False
    )
    #: Words that no log, mail or state may carry.
    secrets: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class OldEntry:
    """A line of the older program's state file."""

    #: Its decoded name, ``<class 'jobs.X.X'>|what|tells|it|apart``.
    name: str
    failing: bool
    failing_since: datetime | None = None
    told_at: datetime | None = None
    failures: int = 0


def file_stem(key: JobKey) -> str:
    """Return the name, without ending, of the file that keeps a job's record.

    It is made of the key's own words, for people who look into the folder, and of a
    digest, so that no two jobs share one whatever their words are.
    """
    words = key.identity or key.file
    slug = re.sub(r"[^A-Za-z0-9]+", "-", words).strip("-").lower()[:60].rstrip("-")
    text = str(key).encode("utf-8", "surrogatepass")
    digest = hashlib.sha256(text).hexdigest()[:10]
    return f"{slug or 'job'}-{digest}"


def scrubbed(text: str, secrets: tuple[str, ...]) -> str:
    """Return ``text`` with every secret replaced by ``***``."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return text

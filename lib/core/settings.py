"""The nouns of Checker: enums for choices, frozen dataclasses for facts.

Nothing here acts, and nothing of ours is imported.  A value that two rooms pass
to each other has its class here; one of which there may be thousands has slots.
"""

from __future__ import annotations

import configparser
from dataclasses import dataclass, field
from pathlib import Path

from lib.core.enums import JobFrequency
from lib.core.jobs import JobFile


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
    nomail_is_ok: bool = False

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
class AnswerEndpoint:
    """Where our answer to peers is given: ``[status]``."""

    listen: tuple[str, int] = ("0.0.0.0", 5000)
    #: A file that each run replaces; empty: none.
    write: str = ""
    #: Seconds: no run finished for longer, and nobody looks.
    runage: int = 180


@dataclass(frozen=True)
class SummaryTimes:
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
    status: AnswerEndpoint = AnswerEndpoint()
    bundle: SummaryTimes = SummaryTimes()
    #: What is wrong but does not stop a run, and what is merely odd.
    problems: tuple[Problem, ...] = ()
    #: The same settings as job authors see them.
    config: configparser.ConfigParser = field(
        default_factory=configparser.ConfigParser, repr=False, compare=False
    )
    #: Words that no log, mail or state may carry.
    secrets: tuple[str, ...] = field(default=(), repr=False)

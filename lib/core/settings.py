"""settings.cfg as values: a class for each section, and ``Settings`` for the whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from lib.core.enums import JobFrequency, Severity
from lib.core.ini import IniFile
from lib.core.jobs import JobFile
from lib.core.secret import Secret, Secrets

if TYPE_CHECKING:
    from lib.core.silences import Window


class Problem(msgspec.Struct, frozen=True):
    """Something wrong in the settings, and where."""

    text: str
    #: ``settings.cfg:12`` or just the file.
    where: str = ""
    section: str = ""
    #: It makes a run impossible.
    fatal: bool = False
    #: Worth saying, but nothing fails for it.
    warning: bool = False
    #: Nothing is wrong, but a person should know, and perhaps do something.
    note: bool = False

    def __str__(self) -> str:
        section = f"[{self.section}] " if self.section else ""
        return f"{self.where}: {section}{self.text}" if self.where else self.text


class LastUsable(msgspec.Struct, frozen=True):
    """Why a copy of earlier settings is in use, and which."""

    #: What is wrong with the settings of now.
    problems: tuple[Problem, ...]
    #: The copy, and since when the settings are what it holds.
    path: Path
    at: datetime


class Mailbox(msgspec.Struct, frozen=True):
    """Where our own mail arrives: the imap options of ``[email]``."""

    server: str
    port: int = 993
    #: tls, starttls or none.
    security: str = "tls"
    user: str = ""
    password: Secret = Secret()
    cafile: str = ""
    #: The only folder to search; empty: search all.
    folder: str = ""
    #: How long a round-trip mail may take, and from when to warn.
    grace_s: float = 600.0
    slow_s: float = 120.0
    #: A filter moves our mail to the trash: search there first.
    trash_first: bool = False


class Mail(msgspec.Struct, frozen=True):
    """How mail leaves: ``[email]``."""

    #: Log each mail instead of sending it, and remove it from the queue.
    nomail: bool = False
    #: For this run only: log each new mail, and keep it queued.
    holds: bool = False
    user: str = ""
    password: Secret = Secret()
    smtpserver: str = ""
    smtpport: int = 587
    #: starttls, tls or none.
    smtpsecurity: str = "starttls"
    cafile: str = ""
    bustgmailthreading: bool = False
    #: The address mails come from; empty: ``user``, where that is an address.
    sender: str = ""
    #: The rate limits; a bundle counts as one mail.
    mailsperhour: int = 20
    mailsperday: int = 100
    #: The backup account, used when this one fails: ``[email backup]``.
    backup: Mail | None = None
    #: Where our own mail arrives; None if not set up.
    mailbox: Mailbox | None = None
    #: Report OK to peers although mail is switched off.
    nomail_is_ok: bool = False
    #: Why no mail can leave for now; empty: it can.
    trouble: str = ""
    #: When mails may leave, as ``lib/core/hours.py`` reads it; empty: always.
    when: str = ""

    @property
    def is_set_up(self) -> bool:
        """Return whether there is a server to hand mail to."""
        return bool(self.smtpserver) and not self.trouble


class Limits(msgspec.Struct, frozen=True):
    """The resource limits of a worker."""

    memory_mb: int = 1024
    files: int = 1024
    processes: int = 4096


class Peer(msgspec.Struct, frozen=True):
    """Another instance, which watches us as we watch it: a line of ``[peers]``."""

    name: str
    #: Its answer, without the login.
    url: str
    #: Its admin, who is notified.
    contact: str
    #: The shared secret for signatures; empty: answers are not signed.
    key: Secret = Secret()
    #: ``user:password``, if its web server wants one.
    login: Secret = Secret()

    @property
    def address(self) -> str:
        """Return the URL with the login in it."""
        scheme, _slashes, rest = self.url.partition("://")
        login = f"{self.login.reveal()}@" if self.login else ""
        return f"{scheme}://{login}{rest}"


class Peers(msgspec.Struct, frozen=True):
    """``[peers]``."""

    peers: tuple[Peer, ...] = ()
    every: str = JobFrequency.HOUR
    #: Consecutive missing answers before the peer's admin is notified.
    after: int = 2
    #: Notify our own alertcontact, too.
    copy: bool = False


class AnswerEndpoint(msgspec.Struct, frozen=True):
    """Where our answer to peers is given: ``[status]``."""

    listen: tuple[str, int] = ("127.0.0.1", 5000)
    #: A file that each run replaces; empty: none.
    write: str = ""
    #: Seconds without a finished run after which we report JobProblem.
    runage: int = 180


class Page(msgspec.Struct, frozen=True):
    """The page, and what ``-m daemon`` serves apart from our answer to peers."""

    #: Its heading; empty: servername.
    title: str = ""
    #: Where people find it, for links in alerts; empty: that is not known.
    url: str = ""
    #: A folder that runs write it into, and how often; empty: none.
    write: str = ""
    every_s: float = 300.0
    listen: tuple[str, int] = ("127.0.0.1", 5001)
    #: By what names it may be asked for, beside those of this machine and ``url``.
    hosts: tuple[str, ...] = ()
    #: The password of the page; empty: the daemon does not show it.
    token: Secret = Secret()
    #: It is shown without one, to this machine only.
    open: bool = False
    #: The tags whose jobs anybody may see, and the folder for that page.
    public: tuple[str, ...] = ()
    public_write: str = ""
    #: A folder of somebody's own templates; empty: none.
    templates: str = ""
    #: Pings of other people's jobs are taken.
    ping: bool = False

    @property
    def is_shown(self) -> bool:
        """Return whether the daemon shows it."""
        return self.open or bool(self.token)


class Metrics(msgspec.Struct, frozen=True):
    """``[metrics]``."""

    #: The file that each run replaces; empty: none.
    write: str = ""


class HistoryAges(msgspec.Struct, frozen=True):
    """How long results are kept, in seconds: ``[history]``."""

    #: Each result.
    results: float = 14 * 86_400.0
    #: What is left of them for each five minutes, and for each hour.
    five_minutes: float = 90 * 86_400.0
    hours: float = 1825 * 86_400.0


class SummaryTimes(msgspec.Struct, frozen=True):
    """When a summary is due, by the local clock: ``[summary]``."""

    #: ``08:00``; empty: never.
    daily: str = ""
    #: ``("mon", "08:00")``; None: never.
    weekly: tuple[str, str] | None = None


#: What mail is called among the ways by which messages leave.
MAIL = "mail"


class Channel(msgspec.Struct, frozen=True):
    """A way beside mail in which messages leave: ``[channel NAME]``.

    It has services of Apprise, or a webhook, or a command.
    """

    name: str
    #: The services: the word by which each is known, such as ntfy, and its URL.
    services: Mapping[str, Secret] = {}
    webhook: Secret = Secret()
    #: The program and its arguments.
    command: tuple[str, ...] = ()
    #: Signs what a webhook gets.
    secret: Secret = Secret()
    #: What a webhook gets as ``Authorization: Bearer``.
    token: Secret = Secret()
    cafile: str = ""
    #: TLS need not be verified, and http to another host is allowed.
    insecure: bool = False
    #: How long one message may take.
    timeout_s: float = 10.0
    #: Less severe messages do not take it.
    level: Severity = Severity.WARNING
    #: The channel that gets what this one has not accepted for so many seconds.
    fallback: tuple[str, float] | None = None
    #: The channel that hears of what is failing for so many seconds after its alert,
    #: and is not acknowledged.
    escalate: tuple[str, float] | None = None
    #: When its messages may leave, as ``lib/core/hours.py`` reads it; empty: always.
    when: str = ""
    #: How often it gets a test message: daily, weekly or monthly; empty: never.
    proof: str = ""
    #: Why it cannot be used; empty if it can.
    problem: str = ""

    @property
    def kind(self) -> str:
        """Return the option that says where it goes: url, webhook or command."""
        if self.services:
            return "url"
        return "webhook" if self.webhook else "command"

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """Return all its secrets."""
        return (*self.services.values(), self.webhook, self.secret, self.token)

    @property
    def ways(self) -> tuple[str, ...]:
        """Return the names of its ways, each of which gets each message.

        A service of Apprise is a way of its own, and is called ``oncall/ntfy``.
        """
        if self.services:
            return tuple(f"{self.name}/{word}" for word in self.services)
        return (self.name,)


class Settings(msgspec.Struct, frozen=True):
    """settings.cfg, checked and typed."""

    path: Path
    servername: str
    alertcontact: tuple[str, ...]
    logfile: Path
    state: Path
    mail: Mail
    #: Where the times are local that people read; None: in the zone of this machine.
    zone: tzinfo | None = None
    #: The older program's state file, read once; None if not set.
    old_statefile: Path | None = None
    job_files: tuple[JobFile, ...] = ()
    #: The files all this was read from.
    files: tuple[Path, ...] = ()
    limits: Limits = Limits()
    peers: Peers = Peers()
    #: Hosts and ports elsewhere; if none answers, this machine has no network.
    anchors: tuple[tuple[str, int], ...] = ()
    #: What is asked at the end of each run, so that an outside service notices if this
    #: machine dies; empty: nothing.
    ping: Secret = Secret()
    status: AnswerEndpoint = AnswerEndpoint()
    page: Page = Page()
    metrics: Metrics = Metrics()
    history: HistoryAges = HistoryAges()
    summary: SummaryTimes = SummaryTimes()
    #: ``[maintenance NAME]``.
    maintenance: tuple[Window, ...] = ()
    #: The channels, by name; those that cannot be used as well.
    channels: Mapping[str, Channel] = {}
    #: Problems that do not stop a run, and warnings.
    problems: tuple[Problem, ...] = ()
    #: How a command is typed: the path of checker.py, and the -f, --jobs and --state of
    #: this one.
    checker: str = "checker.py"
    flags: tuple[str, ...] = ()
    #: The text of all sections, which workers type.
    ini: IniFile = msgspec.field(default_factory=lambda: IniFile(Path()))
    #: The secrets: no log, mail or state may contain them.
    secrets: Secrets = Secrets()
    #: A digest of the text of the files.
    digest: str = ""
    #: Set if these are the last usable settings, as those of now cannot be used.
    last_usable: LastUsable | None = None

    def command(self, mode: str, *words: str) -> str:
        """Return a command to paste: ``/opt/checker/checker.py -m run 'disk root'``."""
        return _as_typed(self.checker, "-m", mode, *words, *self.flags)


#: Returns a command to paste: ``Settings.command``.
Command = Callable[..., str]


def bare_command(mode: str, *words: str) -> str:
    """Return a command for where its folder and its flags are not known."""
    return _as_typed("checker.py", "-m", mode, *words)


def _as_typed(*words: str) -> str:
    import shlex

    return shlex.join(words)

"""JobBase and JobSpawner, the base classes of all jobs.

Job files import them from ``lib.jobbase``.  A new hook gets a method here, and its
answer is checked in ``lib/plugins/inspect.py``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from datetime import tzinfo
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

import msgspec

from lib.config import fields, hints, options
from lib.core.enums import JobFailureNotificationFrequency, MessageKind
from lib.core.ini import IniFile
from lib.core.jobs import DEFAULT_TIMEOUT_S, FailureRule, FlappingRule
from lib.core.messages import Message, RoundTripDelivery
from lib.core.results import Value
from lib.core.sanitize import scrubbed, without_half_secret
from lib.core.secret import NO_SECRETS, Secrets
from lib.core.settings import Mail
from lib.system.clock import utc_now

if TYPE_CHECKING:
    import configparser

    from lib.core.records import Record
    from lib.net.connect import Unreachable


class CheckFailed(Exception):
    """The check found a problem.  The text is the reason; its first line is short.

    ``host`` is the host that it is about, ``cause`` the reason without the host, and
    ``addresses`` are those that were tried.  Alerts that share one come as a group.
    With ``event`` it is news in itself, such as lines of a log: each one is notified,
    also while the job is failing, and nobody of its end.  With ``ask_again`` the job
    runs again in the next minute run, however seldom it is due.
    """

    # For a class of an author's own that does not call this one's __init__.
    host = cause = ""
    addresses: tuple[str, ...] = ()
    event = ask_again = False

    # Copies and pickles need the text only; they carry the rest in __dict__.
    def __init__(  # noqa: B042
        self,
        *args: object,
        host: str = "",
        cause: str = "",
        addresses: Iterable[str] = (),
        event: bool = False,
        ask_again: bool = False,
    ) -> None:
        super().__init__(*args)
        self.event = event
        self.ask_again = ask_again
        self.host = host
        self.cause = cause
        self.addresses = tuple(addresses)

    @classmethod
    def about(cls, error: Unreachable) -> Self:
        """Return the failure of a target that did not answer as it should."""
        return cls(
            str(error), host=error.host, cause=error.cause, addresses=error.addresses
        )


class CheckWarning(Exception):
    """The check found something worth a look that is no failure; the text says what.

    ``event`` is that of CheckFailed.
    """

    event = False

    def __init__(self, *args: object, event: bool = False) -> None:  # noqa: B042
        super().__init__(*args)
        self.event = event


class CheckUnknown(Exception):
    """The check could not be carried out; the text says why."""


class CheckPending(Exception):
    """The check is not finished; run the job again in the next minute run."""


#: The most mails that a job may send in one run; more is a loop.
MAX_MAILS = 100


class JobContext(msgspec.Struct):
    """What Checker keeps with a job; not for job code."""

    #: What tells the job from others of its class.
    identity: tuple[str, ...] = ()
    #: The name of its job file; empty until Checker has met the job.
    file: str = ""
    #: Messages of ``sendEmail`` that were not yet reported to the supervisor.
    outgoing: tuple[Message, ...] = ()
    #: Kind, recipients and thread of the next message.
    kind: MessageKind = MessageKind.NOTE
    to: tuple[str, ...] = ()
    thread: str | None = None
    #: The id of the next message; empty: a random one.
    message_id: str = ""
    #: The settings for mail; None unless the job ships with Checker.
    mail: Mail | None = None
    zone: tzinfo | None = None
    #: The settings themselves; None unless the job ships with Checker.
    ini: IniFile | None = None
    #: What is remembered of the job, from before this run.
    record: Record | None = None
    #: The secrets of the settings; none unless the job ships with Checker.
    known_secrets: Secrets = NO_SECRETS
    #: Where the daemon puts the pings that it takes.
    pings: str = ""
    #: The job's messages that are still queued, and how its round-trip mails ended.
    queued: tuple[Message, ...] = ()
    round_trips: tuple[RoundTripDelivery, ...] = ()
    #: OK counts as failing, and a failed check as OK.
    invert: bool = False
    #: The recipients that ``[job NAME]`` gives; empty: those of contact().
    contact: tuple[str, ...] = ()
    #: It is failing only if every value with a threshold exceeds it.
    need_all: bool = False
    #: The job's own secrets, which nothing that leaves the worker may contain.
    secrets: Secrets = NO_SECRETS
    #: Files of a spool that are in the job's memory now.  The run removes them after
    #: the commit of that memory, so that nothing is lost or counted twice.
    consumed: tuple[str, ...] = ()
    #: True for ``-m run``: nothing is kept and nothing sent.
    is_trial: bool = False

    def scrubbed(self, text: str, *, was_cut: bool = False) -> str:
        """Return a text of others without our secrets, before it is cut to be shown.

        ``was_cut``: its start is missing, and with it perhaps half a secret.
        """
        secrets = self.known_secrets
        if self.secrets:
            secrets = Secrets((*secrets, *self.secrets))
        return scrubbed(
            without_half_secret(text, secrets) if was_cut else text, secrets
        )


class JobBase:
    """One check.  Define ``executeEvery`` and ``execute``; the rest is optional.

    In jobs/Backup.py (file and class have the same name; other classes in the file are
    helpers, and a file whose name starts with _ is not a job file):

        import os
        from lib.jobbase import CheckFailed, JobBase, JobFrequency

        class Backup(JobBase):
            def executeEvery(self):
                return JobFrequency.HOUR

            def execute(self):
                if not os.path.exists("/backup/today"):
                    raise CheckFailed("there is no backup of today")
                return True

    Try it with ``checker.py -m run Backup``, which mails nobody.

    By default a mail goes to ``contact()`` after the first failure, with the name, the
    reason and since when, and another one when the job is OK again.  The alert also
    shows what the job printed.

    ``self.config`` is the ConfigParser of settings.cfg; a job may have a section of
    its own there, named after its class.  ``self.memory`` is a small dict of plain
    values (anything that JSON can hold, at most 64 KB) that is kept between runs:

        before = self.memory.get("size", 0)
        self.memory["size"] = size

    ``self.values`` is a dict for what the check measured, shown in alerts and lists: a
    number, or a number with its unit and thresholds, which then decide:

        self.values["queue"] = 12
        self.values["size"] = bytes_(size, fail=500e6)

    Other attributes set in ``execute`` are available to the hooks of the same run and
    lost afterwards.  Jobs run in parallel threads: a job must not change the working
    directory, signal handlers or global state.  For many jobs of one kind see
    JobSpawner.
    """

    config: configparser.ConfigParser
    memory: dict[str, Any]
    values: dict[str, Value | float]

    #: Notify of recovery also with reminders; for the jobs that ship.
    notifies_recovery = False
    #: False: it may be pending for as long as it likes; for the jobs that ship.
    has_pending_limit = True
    #: True if it is reached across a network, where single failures come and go.
    is_across_network = False
    #: The mode that mails suggest for checking now; empty: run, with the job's name.
    check_now = ""
    #: What getStateName returned before the job was renamed; its history is kept.
    former_identity = ""

    #: True for job files of the older program: any true value means success.
    truth_is_enough = False

    def __init__(
        self, config: configparser.ConfigParser, *what_tells_it_apart: object
    ) -> None:
        """Keep the settings, and what tells this job from others of its class.

        If you override this, call it with what identifies the job (a host, a path)
        and never changes, since the job's history is stored under it:

            def __init__(self, config, path):
                super().__init__(config, path)
                self.path = path
        """
        self.config = config
        self.memory = {}
        self.values = {}
        self._checker = JobContext(tuple(str(part) for part in what_tells_it_apart))

    def executeEvery(self) -> str:
        """Return how often to run: JobFrequency.MINUTE, HOUR, DAY or DAY_NOON.

        Or a text: an interval such as ``"5min"`` or ``"2h"``, or the five fields of
        cron, ``"30 2 * * mon-fri"``, in the time zone of the settings.  Required,
        unless ``[defaults] every`` is set.
        """
        every = default_of(self.config, "every")
        if every is None:
            raise NotImplementedError(
                f"{type(self).__name__} does not say how often it runs; "
                "define executeEvery, or set every in [defaults]"
            )
        return str(every)

    def notifyOnFailureEvery(self) -> JobFailureNotificationFrequency:
        """Return how often to send reminders of a failure that lasts.

        JobFailureNotificationFrequency.EVERYTIME, EVERYFIVEMINUTES, EVERYTENMINUTES,
        EVERYHOUR, EVERYDAY, or ONSTATECHANGE (the default): one mail when the job
        starts to fail, one when it is OK again.  ``[defaults] notify`` changes the
        default.
        """
        notify = default_of(self.config, "notify")
        return JobFailureNotificationFrequency(notify or "state_change")

    def numberFailuresBeforeNotification(self) -> int | FailureRule:
        """Return how many consecutive failures come before the first alert.

        Any int of 1 or more, or JobFailureCountMinimumBeforeNotification.ONE, TWO,
        FIVE, TEN.  Default: one, or ``[defaults] failures``.
        """
        rule: FailureRule = default_of(self.config, "failures") or FailureRule()
        return rule if rule.of or rule.seconds else rule.count

    def recheckEvery(self) -> str:
        """Return how soon the job runs again while it is failing: ``"5min"``.

        For a job that runs less often: the recovery is then sent in minutes, and not
        after the next day's check.  An interval, or an empty text (the default): as
        ``executeEvery`` says.
        """
        return ""

    def flappingAfter(self) -> str | FlappingRule:
        """Return how many changes within how many checks are flapping, or ``"no"``.

        Default: ``[defaults] flapping``, or ``"6/20"``; but ``"no"`` for a class that
        says itself how often it notifies, with ``notifyOnFailureEvery``.
        """
        if type(self).notifyOnFailureEvery is not JobBase.notifyOnFailureEvery:
            return "no"
        rule: FlappingRule | None = default_of(self.config, "flapping")
        return rule or FlappingRule()

    def execute(self) -> bool:
        """Carry out the check; return True if it is OK and False if it is failing.

        Better than False: raise CheckFailed("why"); people read the text.  Raise
        CheckWarning("why") for what is no failure yet, CheckUnknown("why") if the check
        could not be carried out, CheckPending("why") to run again in the next minute
        run.  Any other exception is a failure with a
        traceback.  Returning anything but a bool is a failure that says so.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define execute")

    def onFailure(self) -> bool:
        """Notify somebody that the job is failing; return True if that was done.

        Called when an alert or reminder is due; see ``notifyOnFailureEvery`` and
        ``numberFailuresBeforeNotification``.  For example:
        ``return self.sendEmail("No backup", self.details)``.  Since when, how often and
        why is appended.  The default mail goes out instead if this neither sends a mail
        nor returns True, raises, or takes over 10 seconds.  It is not called when the
        status is unknown: then the default mail goes out.
        """
        return False

    def onStateChangeSuccess(self) -> bool:
        """Notify somebody that the job is OK again; return True if that was done.

        Called for ONSTATECHANGE only, and only if somebody was notified of the failure.
        As with onFailure, the default mail goes out if nothing was sent.
        """
        return False

    def sendEmail(
        self, subject: str, body: str, to: str | Iterable[str] | None = None
    ) -> bool:
        """Queue a mail and return True; it is sent after the run, retried if need be.

        ``to`` is an address, several separated by commas, or a list.  Default: the
        job's contact, and for a recovery those who got the alert.  The server's name
        is put before the subject.  Instead of an address it may be the name of a
        channel of the settings, ``to="oncall"``.  Raise ValueError if an address is not
        valid, or if there is no such channel.
        """
        job_context = self._checker
        if len(job_context.outgoing) >= MAX_MAILS:
            raise RuntimeError(f"a job may send at most {MAX_MAILS} mails in a run")
        message = Message(
            message_id=job_context.message_id or os.urandom(16).hex(),
            kind=job_context.kind,
            subject=str(subject),
            body=str(body),
            to=contact_of(self, to)
            or job_context.to
            or job_context.contact
            or self.contact(),
            born_at=utc_now(),
            thread=job_context.thread,
        )
        job_context.outgoing = (*job_context.outgoing, message)
        return True

    def contact(self) -> tuple[str, ...]:
        """Return who is notified: addresses, and names of channels of the settings.

        Default: ``[defaults] contact``, or alertcontact.
        """
        contact = default_of(self.config, "contact") or ()
        # A channel that does not exist is a problem of the settings.
        if contact and not _unknown_channels(self, contact):
            return tuple(contact)
        return read_contacts(self.config.get("general", "alertcontact"))

    def timeout(self) -> float:
        """Return how many seconds ``execute`` may take; at most 50.

        Default: 30, or ``[defaults] timeout``.  A job that takes longer is failing.
        """
        return float(default_of(self.config, "timeout") or DEFAULT_TIMEOUT_S)

    def formerly(self) -> str:
        """Return a glob that matches this job's names in the older program's state."""
        import glob

        name = self.getName()
        if type(self).getName is JobBase.getName:
            name = str(type(self))
        return glob.escape("|".join((name, *(self._checker.identity or ("",)))))

    def getName(self) -> str:
        """Return the name for people, as in mails and lists."""
        cls = type(self).__name__
        file = self._checker.file or cls
        # Of a spawner's jobs without an identity the class is what tells them apart.
        words = self._checker.identity or ((cls,) if cls != file else ())
        return " ".join((file, *words))

    def getStateName(self) -> str:
        """Return what identifies the job within its file; it must never change."""
        return "|".join((type(self).__qualname__, *self._checker.identity))


def send_round_trip(job: JobBase, token: str, subject: str, body: str, to: str) -> bool:
    """Queue a round-trip mail, which is sent the way alerts are; return True.

    ``token`` is its message id.  It is never merged, and no rate limit applies to it.
    ``round_trips`` of the record says how its delivery ended.
    """
    job_context = job._checker
    before = (job_context.kind, job_context.message_id)
    job_context.kind, job_context.message_id = MessageKind.ROUND_TRIP, token
    try:
        return job.sendEmail(subject, body, to)
    finally:
        job_context.kind, job_context.message_id = before


class JobSpawner:
    """Many jobs of one file.

    The class has the name of its file and takes no arguments; it yields jobs of a
    helper class in the same file, which derives from JobBase:

        class Folders(JobSpawner):
            def get_sub_jobs(self, config):
                for path in ("/srv/a", "/srv/b"):
                    yield Folder(config, path)

    No two jobs may pass the same identity to JobBase.__init__.
    """

    def get_sub_jobs(self, config: configparser.ConfigParser) -> Iterator[JobBase]:
        """Yield the jobs.

        If this raises, the jobs yielded so far run, and the job that stands for the
        file fails with the traceback.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define get_sub_jobs")


def default_of(config: configparser.ConfigParser, option: str) -> Any:
    """Return the value of an option of [defaults], typed; None if unset or invalid."""
    if not config.has_option("defaults", option):
        return None
    given = {option: config.get("defaults", option)}
    values, _wrong = options.read_options(given, options.POLICY_OPTIONS)
    return values.get(option)


def contact_of(job: JobBase, to: str | Iterable[str] | None) -> tuple[str, ...]:
    """Return the addresses and channels in ``to``.

    Raise ValueError if an address is not valid, or if there is no such channel.
    """
    contact = read_contacts(to)
    for name in _unknown_channels(job, contact):
        channels = options.channels_in(_sections(job))
        raise ValueError(hints.no_contact(name, channels))
    return contact


def _unknown_channels(job: JobBase, contact: Iterable[str]) -> list[str]:
    names = [name for name in contact if "@" not in name]
    # Without a name there is no need to make the settings.
    return options.unknown_channels(names, _sections(job)) if names else []


def _sections(job: JobBase) -> IniFile | configparser.ConfigParser:
    """Return the titles of the settings."""
    # A target's settings, without making a ConfigParser of thousands of sections.
    return getattr(job, "_ini", None) or job.config


def read_contacts(to: str | Iterable[str] | None) -> tuple[str, ...]:
    """Return the addresses and names of channels in ``to``.

    Raise ValueError if one is neither.
    """
    if not to:
        return ()
    return _contacts(to if isinstance(to, str) else ",".join(to))


@lru_cache
def _contacts(text: str) -> tuple[str, ...]:
    # Cached, since thousands of jobs may have the same contact.
    return fields.contacts(text)

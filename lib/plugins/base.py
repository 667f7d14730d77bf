"""JobBase and JobSpawner themselves; job files get them from ``lib.jobbase``.

What job code reads of the settings: targets, defaults, addresses.
"""

from __future__ import annotations

import configparser
import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from lib.config import fields, kinds
from lib.core.enums import JobFailureNotificationFrequency, JobFrequency, MessageKind
from lib.core.jobs import DEFAULT_TIMEOUT_S
from lib.core.messages import Message, RoundTripDelivery
from lib.core.settings import Mail


class CheckFailed(Exception):
    """The check found trouble; the text is the reason, its first line the short one."""


class CheckUnknown(Exception):
    """The check could not be made, so nothing is known; the text says why."""


class CheckPending(Exception):
    """Under way: ask me again in the next minute run, whatever my frequency."""


#: What a job may send in one run; more is a loop, and nobody reads it.
MAX_MAILS = 100


@dataclass(slots=True)
class JobContext:
    """What Checker keeps with a job; job code has no business here."""

    #: What tells the job from others of its class.
    apart: tuple[str, ...] = ()
    #: Mails taken and not yet reported.
    outgoing: list[Message] = field(default_factory=list)
    #: What a mail taken now is, whom it goes to, and what it follows.
    kind: MessageKind = MessageKind.NOTE
    to: tuple[str, ...] = ()
    thread: str | None = None
    #: The id of the next mail; empty: one of its own.
    message_id: str = ""
    #: How mail leaves and where it arrives; only the jobs that ship are told.
    mail: Mail | None = None
    #: What is still owed of what the job sent, and what became of its probes.
    queued: tuple[Message, ...] = ()
    round_trips: tuple[RoundTripDelivery, ...] = ()
    #: Somebody tries the job: nothing is kept and nothing sent.
    is_trial: bool = False


class JobBase:
    """One check.  ``executeEvery`` and ``execute`` must be given, the rest may be.

    In jobs/Backup.py (file and class have the same name; other classes in the file are
    helpers, and a file whose name starts with _ is no job):

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

    Hooks left alone are heard: after the first failure a mail goes to ``contact()``
    with the name, the reason and since when, and another when the job is fine again.
    A failure also shows what the job printed.

    ``self.config`` is the ConfigParser of settings.cfg; a job may have a section of
    its own there, named after its class.  ``self.memory`` is a small dict of plain
    values (what JSON can hold, at most 64 KB), kept from run to run:

        before = self.memory.get("size", 0)
        self.memory["size"] = size

    Other attributes set in ``execute`` are there in the hooks of the same run, and
    gone in the next.  Jobs run side by side, in threads: a job touches only itself
    and what it checks.  For many jobs of one kind see JobSpawner.
    """

    config: configparser.ConfigParser
    memory: dict[str, Any]

    #: People hear of the end also where they are reminded; for the jobs that ship.
    notifies_recovery = False
    #: What a mail tells people to ask Checker for; empty: to run the job.
    check_now = ""

    #: Job files in the older manner: anything true that execute returns is a success.
    truth_is_enough = False

    def __init__(
        self, config: configparser.ConfigParser, *what_tells_it_apart: object
    ) -> None:
        """Keep the settings, and what tells this job from others of its class.

        A class that overrides this must call it, with what identifies the job (a
        host, a path) and nothing that changes, since its history hangs on that:

            def __init__(self, config, path):
                super().__init__(config, path)
                self.path = path
        """
        self.config = config
        self.memory = {}
        self._checker = JobContext(tuple(str(part) for part in what_tells_it_apart))

    def executeEvery(self) -> JobFrequency:
        """Return how often to run: JobFrequency.MINUTE, HOUR, DAY or DAY_NOON.

        Must be given, unless ``[defaults] every`` says it for all.
        """
        every = default_of(self.config, "every")
        if every is None:
            raise NotImplementedError(
                f"{type(self).__name__} does not say how often it runs: "
                "define executeEvery, or set every in [defaults]"
            )
        return JobFrequency(every)

    def notifyOnFailureEvery(self) -> JobFailureNotificationFrequency:
        """Return how often people hear of a failure that lasts.

        JobFailureNotificationFrequency.EVERYTIME, EVERYFIVEMINUTES, EVERYTENMINUTES,
        EVERYHOUR, EVERYDAY, or ONSTATECHANGE (the default): once when it starts to
        fail, once when it is fine again.  ``[defaults] notify`` changes the default.
        """
        notify = default_of(self.config, "notify")
        return JobFailureNotificationFrequency(notify or "state_change")

    def numberFailuresBeforeNotification(self) -> int:
        """Return how many failures in a row come first, at least 1.

        Any int, or JobFailureCountMinimumBeforeNotification.ONE, TWO, FIVE, TEN.
        Default: one, or ``[defaults] failures``.
        """
        return int(default_of(self.config, "failures") or 1)

    def execute(self) -> bool:
        """Make the check; return True if all is well and False if not.

        Better than False: raise CheckFailed("why"), which people will read.  Raise
        CheckUnknown("why") if it could not be judged, CheckPending("why") to be asked
        again in the next minute run.  Anything else raised is a failure with a
        traceback; anything but a bool returned is a failure that says so.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define execute")

    def onFailure(self) -> bool:
        """Tell somebody that the job fails; return True if that was done.

        Called when ``notifyOnFailureEvery`` and ``numberFailuresBeforeNotification``
        say it is time.  Example: ``return self.sendEmail("No backup", self.details)``;
        since when, how often and why is put below.  If this neither sends anything
        nor returns True, or raises, or takes over 10 seconds, the default mail goes
        out; so it does, without asking, when a check could not be made.
        """
        return False

    def onStateChangeSuccess(self) -> bool:
        """Tell somebody that the job is fine again; return True if that was done.

        Called for ONSTATECHANGE only, and only if the failure was told.  As with
        onFailure, the default mail goes out if nothing was sent.
        """
        return False

    def sendEmail(
        self, subject: str, body: str, to: str | Iterable[str] | None = None
    ) -> bool:
        """Take a mail to send; return True: it is kept from now on, sent or retried.

        ``to`` is an address, several with commas between, or a list.  Default: the
        job's contact, and for a recovery those who got the alert.  The server's name
        is put before the subject.  Raise ValueError for what is no address.
        """
        job_context = self._checker
        if len(job_context.outgoing) >= MAX_MAILS:
            raise RuntimeError(f"a job may send {MAX_MAILS} mails in a run, no more")
        job_context.outgoing.append(
            Message(
                message_id=job_context.message_id or os.urandom(16).hex(),
                kind=job_context.kind,
                subject=str(subject),
                body=str(body),
                to=read_addresses(to) or job_context.to or self.contact(),
                born_at=datetime.now(UTC),
                thread=job_context.thread,
            )
        )
        return True

    def contact(self) -> tuple[str, ...]:
        """Return who is told.  Default: ``[defaults] contact``, then alertcontact."""
        found = default_of(self.config, "contact")
        if found:
            return tuple(found)
        return read_addresses(self.config.get("general", "alertcontact"))

    def timeout(self) -> float:
        """Return how many seconds ``execute`` may take in all; at most 50.

        Default: 30, or ``[defaults] timeout``.  A job that takes longer is failing.
        """
        return float(default_of(self.config, "timeout") or DEFAULT_TIMEOUT_S)

    def formerly(self) -> str:
        """Return a glob over the older program's state names that meant this job."""
        name = self.getName()
        if type(self).getName is JobBase.getName:
            name = str(type(self))
        return glob.escape("|".join((name, *(self._checker.apart or ("",)))))

    def getName(self) -> str:
        """Return the name people read, in mails and in lists."""
        return " ".join((type(self).__name__, *self._checker.apart))

    def getStateName(self) -> str:
        """Return what identifies the job among those of its file; never changes."""
        return "|".join((type(self).__qualname__, *self._checker.apart))


def send_round_trip(job: JobBase, token: str, subject: str, body: str, to: str) -> bool:
    """Take a mail to ourselves by the road of every other; return True.

    ``token`` is its id.  It is never folded, and no budget holds it back.  The record
    says in ``gone`` what became of it.
    """
    job_context = job._checker
    before = (job_context.kind, job_context.message_id)
    job_context.kind, job_context.message_id = MessageKind.ROUND_TRIP, token
    try:
        return job.sendEmail(subject, body, to)
    finally:
        job_context.kind, job_context.message_id = before


class JobSpawner:
    """Many jobs from one file: yield them.

    The class has the name of its file and takes no arguments; the jobs it yields are
    of a helper class in the same file, which derives from JobBase:

        class Folders(JobSpawner):
            def get_sub_jobs(self, config):
                for path in ("/srv/a", "/srv/b"):
                    yield Folder(config, path)

    No two of them may be told the same apart; see JobBase.__init__.
    """

    def get_sub_jobs(self, config: configparser.ConfigParser) -> Iterator[JobBase]:
        """Yield the jobs.

        If this raises half-way, the jobs yielded so far run, and one more job of the
        file's name fails with the traceback.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define get_sub_jobs")


def default_of(config: configparser.ConfigParser, option: str) -> Any:
    """Return what [defaults] says of ``option``, typed; None if nothing usable."""
    if not config.has_option("defaults", option):
        return None
    given = {option: config.get("defaults", option)}
    values, _wrong = kinds.read_options(given, kinds.POLICY_OPTIONS)
    return values.get(option)


def read_addresses(to: str | Iterable[str] | None) -> tuple[str, ...]:
    """Return the addresses in what an author gave; raise ValueError for a wrong one."""
    if not to:
        return ()
    return _addresses(to if isinstance(to, str) else ",".join(to))


@lru_cache
def _addresses(text: str) -> tuple[str, ...]:
    # Thousands of jobs have the same contact.
    return fields.addresses(text)

"""The contract with job authors: derive from JobBase, or from JobSpawner.

A job file needs nothing else of ours.  ``help(JobBase)`` is meant to be enough to
write a job; README.md has one to start from.
"""

from __future__ import annotations

import configparser
import os
import threading
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from lib import fetch, kinds, reach, readers, tls
from lib.model import (
    DEFAULT_TIMEOUT_S,
    MAX_TIMEOUT_S,
    JobFailureCountMinimumBeforeNotification,
    JobFailureNotificationFrequency,
    JobFrequency,
    Message,
    MessageKind,
    Target,
)

__all__ = [
    "CheckFailed",
    "CheckPending",
    "CheckUnknown",
    "JobBase",
    "JobFailureCountMinimumBeforeNotification",
    "JobFailureNotificationFrequency",
    "JobFrequency",
    "JobSpawner",
    "MAX_TIMEOUT_S",
    "Target",
    "TargetJob",
    "fetch",
    "reach",
    "targets",
    "tls",
]


class CheckFailed(Exception):
    """The check found trouble; the text is the reason, its first line the short one."""


class CheckUnknown(Exception):
    """The check could not be made, so nothing is known; the text says why."""


class CheckPending(Exception):
    """Under way: ask me again in the next minute run, whatever my frequency."""


class JobBase:
    """One check.  ``executeEvery`` and ``execute`` must be given, the rest may be.

    In jobs/Backup.py (file and class have the same name):

        from lib.jobbase import CheckFailed, JobBase, JobFrequency

        class Backup(JobBase):
            def executeEvery(self):
                return JobFrequency.HOUR

            def execute(self):
                if not os.path.exists("/backup/today"):
                    raise CheckFailed("there is no backup of today")
                return True

    Untouched hooks are heard: after the first failure a mail goes to ``contact()``
    with the name, the reason and since when, and another when the job is fine again.

    ``self.config`` is the ConfigParser of settings.cfg.  ``self.memory`` is a small
    dict of plain values (what JSON can hold), kept from run to run.  Jobs run side by
    side: a job touches only itself and what it checks.
    """

    config: configparser.ConfigParser
    memory: dict[str, Any]

    #: Job files in the older manner: anything true that execute returns is a success.
    truth_is_enough = False

    def __init__(
        self, config: configparser.ConfigParser, *what_tells_it_apart: object
    ) -> None:
        """Keep the settings, and what tells this job from others of its class.

        A class that overrides this must call it, with what identifies the job (a
        host, a path) and nothing that changes, since its history hangs on that.
        """
        self.config = config
        self.memory = {}
        self._apart = tuple(str(part) for part in what_tells_it_apart)
        self._outgoing: list[Message] = []
        self._speaks_as = MessageKind.NOTE
        self._speaks_to: tuple[str, ...] = ()
        self._thread: str | None = None

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
        again in the next minute.  Anything else raised is a failure with a traceback;
        anything but a bool returned is a failure that says so.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define execute")

    def onFailure(self) -> bool:
        """Tell somebody that the job fails; return True if that was done.

        Called when ``notifyOnFailureEvery`` and ``numberFailuresBeforeNotification``
        say it is time, and when a check could not be made.  Example:
        ``return self.sendEmail("Backup is missing", self.details)``.  If this neither
        sends anything nor returns True, or raises, the default mail goes out.
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
        self._outgoing.append(
            Message(
                message_id=os.urandom(16).hex(),
                kind=self._speaks_as,
                subject=str(subject),
                body=str(body),
                to=read_addresses(to) or self._speaks_to or self.contact(),
                born_at=datetime.now(UTC),
                thread=self._thread,
            )
        )
        return True

    def contact(self) -> tuple[str, ...]:
        """Return who is told.  Default: ``[defaults] contact``, then alertcontact."""
        found = default_of(self.config, "contact")
        if found:
            return tuple(found)
        return readers.addresses(self.config.get("general", "alertcontact"))

    def timeout(self) -> float:
        """Return how many seconds ``execute`` may take in all; at most 50.

        Default: 30, or ``[defaults] timeout``.  A job that takes longer is failing.
        """
        return float(default_of(self.config, "timeout") or DEFAULT_TIMEOUT_S)

    def formerly(self) -> str:
        """Return a glob over the older program's state names that meant this job."""
        import glob

        name = self.getName()
        if type(self).getName is JobBase.getName:
            name = str(type(self))
        return glob.escape("|".join((name, *(self._apart or ("",)))))

    def getName(self) -> str:
        """Return the name people read, in mails and in lists."""
        return " ".join((type(self).__name__, *self._apart))

    def getStateName(self) -> str:
        """Return what identifies the job among those of its file; never changes."""
        return "|".join((type(self).__qualname__, *self._apart))


class _Speaking(threading.local):
    """Which job is at work in this thread."""

    job: JobBase | None = None


_speaking = _Speaking()


def speaking_job() -> JobBase | None:
    """Return the job whose code runs in this thread; None if there is none."""
    return _speaking.job


def set_speaking_job(job: JobBase | None) -> None:
    """Say whose code runs in this thread from here on."""
    _speaking.job = job


class JobSpawner:
    """Many jobs from one file: yield them.

    The class has the name of its file and takes no arguments; the jobs it yields are
    of a helper class in the same file, which derives from JobBase.
    """

    def get_sub_jobs(self, config: configparser.ConfigParser) -> Iterator[JobBase]:
        """Yield the jobs.

        If this raises half-way, the jobs yielded so far run, and one more job of the
        file's name fails with the traceback.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define get_sub_jobs")


class TargetJob(JobBase):
    """One target of the settings; what it may say of itself is in ``lib/kinds.py``.

    A subclass gives ``execute`` only; ``self.values`` holds the section's options.
    """

    def __init__(self, config: configparser.ConfigParser, target: Target) -> None:
        super().__init__(config, target.name)
        self.target = target
        self.values = target.values

    def executeEvery(self) -> JobFrequency:
        """Return ``every`` of the section, of [defaults], or of the kind."""
        return JobFrequency(self.values["every"])

    def notifyOnFailureEvery(self) -> JobFailureNotificationFrequency:
        """Return ``notify`` of the section or of [defaults]."""
        return JobFailureNotificationFrequency(self.values["notify"])

    def numberFailuresBeforeNotification(self) -> int:
        """Return ``failures`` of the section or of [defaults]."""
        return int(self.values["failures"])

    def contact(self) -> tuple[str, ...]:
        """Return ``contact`` of the section, of [defaults], or alertcontact."""
        return tuple(self.values["contact"] or super().contact())

    def timeout(self) -> float:
        """Return ``timeout`` of the section or of [defaults], in seconds."""
        return float(self.values["timeout"])

    def getName(self) -> str:
        """Return the section's title."""
        return self.target.section

    def getStateName(self) -> str:
        """Return the section's title, so that changing the URL keeps the history."""
        return self.target.section


def targets(config: configparser.ConfigParser, kind: str) -> Iterator[Target]:
    """Yield the targets of the sections ``[kind name]`` in which nothing is wrong.

    The others are reported as failing jobs already, by whoever read the settings.
    """
    defaults = _defaults(config)
    for section in config.sections():
        word, _space, name = section.partition(" ")
        if word == kind and name.strip():
            given = dict(config.items(section))
            target, wrong = kinds.read_target(kind, name.strip(), given, defaults)
            if not wrong:
                yield target


def default_of(config: configparser.ConfigParser, option: str) -> Any:
    """Return what [defaults] says of ``option``, typed; None if nothing usable."""
    raw = config.get("defaults", option, fallback=None)
    if raw is None:
        return None
    values, _wrong = kinds.read_options({option: raw}, kinds.POLICY_OPTIONS)
    return values.get(option)


def read_addresses(to: str | Iterable[str] | None) -> tuple[str, ...]:
    """Return the addresses in what an author gave; raise ValueError for a wrong one."""
    if not to:
        return ()
    return readers.addresses(to if isinstance(to, str) else ",".join(to))


def _defaults(config: configparser.ConfigParser) -> dict[str, Any]:
    if not config.has_section("defaults"):
        return {}
    given = dict(config.items("defaults"))
    return kinds.read_options(given, kinds.POLICY_OPTIONS)[0]

"""What a job is: its key and policy, and the job files and targets it comes from."""

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Self

import msgspec

from lib.core.encoding import Count, Moment, Seconds, Stored, digest
from lib.core.enums import JobFailureNotificationFrequency, JobFrequency

DEFAULT_TIMEOUT_S = 30
DEFAULT_PENDING_LIMIT_S = 3600.0
#: A run ends within 55 s; a job that needs longer has a cron line of its own.
MAX_TIMEOUT_S = 50
#: The job files that ship and watch Checker itself: its mail, and its peers.
EMAIL_CHECKER, PEER_CHECKER = "EmailChecker", "PeerChecker"
#: The job file whose jobs know when a certificate expires.
CERTIFICATE_CHECKER = "TLSCertExpiration"
#: The kinds of targets that ship, and the job file of each.
KIND_FILES = {
    "http": "HTTPServerChecker",
    "tcp": "TCPServerChecker",
    "udp": "UDPServerChecker",
    "unix": "UnixSocketChecker",
    "ping": "PingChecker",
    "dns": "DNSChecker",
    "tls": CERTIFICATE_CHECKER,
    "disk": "DiskSpace",
    "command": "CommandChecker",
    "plugin": "PluginChecker",
    "process": "ProcessChecker",
    "systemd": "SystemdChecker",
    "clock": "ClockChecker",
    "heartbeat": "HeartbeatChecker",
    "log": "LogChecker",
    "load": "LoadAverage",
    "cpu": "CPUUsage",
    "memory": "MemoryUsage",
    "swap": "SwapUsage",
    "pressure": "PressureStall",
    "group": "GroupChecker",
    "file": "FileChecker",
}
_KINDS = {file: kind for kind, file in KIND_FILES.items()}
#: The job files that ship and run programs of other people's.
RUN_PROGRAMS = frozenset({"CommandChecker", "PluginChecker"})
#: All job files that ship.
SHIPPED = frozenset({EMAIL_CHECKER, PEER_CHECKER, *KIND_FILES.values()})
#: Stand in for a job file where there is none: no job file's name begins with _.
_CHECKER, _SETTINGS, _REFUSED = "_checker", "_settings", "_refused"
_WAY, _NETWORK = "_way", "_network"
#: Those that have no job file.
_NO_FILE = (_CHECKER, _SETTINGS, _REFUSED, _WAY, _NETWORK)


class JobKey(Stored, frozen=True, order=True, array_like=True, gc=False):
    """The identity of a job: its file, and its name within the file.

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
        """Return the key that a text stands for; raise ValueError if it is none."""
        file, slash, identity = text.partition("/")
        if not (file and slash):
            raise ValueError(f"{text[:60]!r} is not a job key")
        return cls(file, identity)

    @classmethod
    def of_section(cls, section: str) -> Self:
        """Return the key of a section of the settings that no job reads."""
        return cls(_SETTINGS, section)

    @classmethod
    def of_refused_file(cls, path: Path) -> Self:
        """Return the key of a job file that must not be loaded."""
        return cls(_REFUSED, str(path))

    @classmethod
    def of_peer(cls, name: str) -> Self:
        """Return the key of the job that asks a peer."""
        return cls(PEER_CHECKER, name)

    @classmethod
    def of_way(cls, way: str) -> Self:
        """Return the key of a way by which messages leave: ``mail``, ``oncall``."""
        return cls(_WAY, way)

    @property
    def kind(self) -> str:
        """Return the kind of its section, such as ``disk``; else its file's name."""
        return _KINDS.get(self.file) or self.file.lstrip("_")

    @property
    def is_way(self) -> bool:
        """Return whether it stands for a way by which messages leave."""
        return self.file == _WAY

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
        return not self.identity and self.file not in _NO_FILE

    @property
    def is_job(self) -> bool:
        """Return whether it stands for something that is found, or not, in each run."""
        return self.file != _CHECKER

    @property
    def is_check(self) -> bool:
        """Return whether it is a job of a job file, not one of Checker's own."""
        return bool(self.identity) and self.file not in _NO_FILE

    @property
    def is_about_checker(self) -> bool:
        """Return whether it is about Checker itself, its mail and peers included."""
        own = (_CHECKER, _WAY, _NETWORK, EMAIL_CHECKER, PEER_CHECKER)
        return self.file in own


#: What makes a name a shell pattern.
WILDCARDS = frozenset("*?[")


def is_named(pattern: str, key: JobKey, name: str) -> bool:
    """Return whether a job is meant by its name, file or key, or by a shell pattern."""
    if pattern in (name, key.file, str(key)):
        return True
    # Thousands of plain names cost nothing then.
    return not WILDCARDS.isdisjoint(pattern) and fnmatchcase(name, pattern)


#: The key of Checker's own record, which holds Checker's own messages.
OWN_KEY = JobKey(_CHECKER, "state")
#: The key of the settings as a whole, which fail while they cannot be used.
SETTINGS_KEY = JobKey.of_section("")
#: The key of this machine's network, which fails while no anchor answers.
NETWORK_KEY = JobKey(_NETWORK)


class FailureRule(Stored, frozen=True):
    """How many failures come before the first alert: ``3``, ``3/4`` or ``15min``."""

    #: So many consecutive failures, at least 1.
    count: Count = 1
    #: Or so many of this many results; 0: they are consecutive.
    of: Count = 0
    #: Or failing for so many seconds; 0: the count decides.
    seconds: Seconds = 0.0

    def __str__(self) -> str:
        if self.seconds:
            return period_text(self.seconds)
        return f"{self.count}/{self.of}" if self.of else str(self.count)


class FlappingRule(Stored, frozen=True):
    """How many changes within how many checks are too many: ``6/20``, or ``no``."""

    #: 0: no number of them is.
    changes: Count = 6
    checks: Count = 20

    def __str__(self) -> str:
        return f"{self.changes}/{self.checks}" if self.changes else "no"


NEVER_FLAPPING = FlappingRule(0, 0)


def period_text(seconds: float) -> str:
    """Return a time as settings have it, in the largest unit that fits: ``15min``."""
    units = ((86_400, "d"), (3_600, "h"), (60, "min"))
    size, unit = next((pair for pair in units if not seconds % pair[0]), (1, "s"))
    return f"{seconds / size:g}{unit}"


class Policy(Stored, frozen=True, cache_hash=True):
    """When to notify about a job."""

    notify: JobFailureNotificationFrequency = (
        JobFailureNotificationFrequency.ONSTATECHANGE
    )
    failures: FailureRule = FailureRule()
    #: Send a recovery mail also where there are reminders.
    notifies_recovery: bool = False
    #: Consecutive results that are OK or a warning before a failure that somebody was
    #: notified of is over, at least 1.
    recoveries: Count = 1
    #: Notify when a warning begins and when it is over.
    notifies_warnings: bool = True
    #: From how many changes on the job is flapping.
    flapping: FlappingRule = FlappingRule()
    #: A job that is pending for longer is unknown; 0: never.
    pending_limit_s: Seconds = DEFAULT_PENDING_LIMIT_S
    #: When its messages may leave, as ``lib/core/hours.py`` reads it; empty: always.
    when: str = ""


class Terms(Stored, frozen=True):
    """By what a result was judged: what history keeps of it, each once.

    ``-m replay`` judges results again by these, without the job's code.
    """

    policy: Policy = Policy()
    schedule: str = ""
    contact: tuple[str, ...] = ()
    recheck: str = ""
    is_across_network: bool = False
    #: The job was failing, and did not run by its schedule.
    ran_apart: bool = False
    #: The result was news in itself.
    is_event: bool = False
    #: It was Checker's own report, such as on a section that is wrong.
    is_own: bool = False


class Dependency(Stored, frozen=True):
    """A job that another one depends on: ``NAME``, or ``NAME (warning)``."""

    name: str
    #: A warning of it counts too, not only a failure.
    on_warning: bool = False

    def __str__(self) -> str:
        return f"{self.name} (warning)" if self.on_warning else self.name


class Rule(Stored, frozen=True):
    """What other jobs must be like, in place of a check: ``lib/core/groups.py``."""

    #: Names of jobs and shell patterns, and the jobs that have one of these tags.
    of: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    #: How many of them must be OK; 0: all.
    need: Count = 0
    #: OK stands for failing, and failing for OK.
    is_inverted: bool = False


class Job(Stored, frozen=True, gc=False):
    """A job, as described by its class before it runs."""

    key: JobKey
    name: str
    #: The path of the job file, for people.
    file: str
    #: When it runs, as ``lib/core/schedule.py`` reads it.
    schedule: str
    policy: Policy = Policy()
    contact: tuple[str, ...] = ()
    #: How soon it runs again while it is failing, such as ``5min``; empty: as always.
    recheck: str = ""
    timeout_s: Seconds = DEFAULT_TIMEOUT_S
    #: A glob over the older program's decoded state names that matches this job.
    formerly: str = ""
    #: The identity it had before its section was renamed: ``was``.
    was: str = ""
    #: False: it is not run.
    enabled: bool = True
    #: What people may say of it in the settings.
    tags: tuple[str, ...] = ()
    runbook: str = ""
    description: str = ""
    #: While one of these is failing, it is unreachable.
    depends: tuple[Dependency, ...] = ()
    #: How many jobs depend on it; known where an alert about it is written.
    dependents: Count = 0
    #: What judges it, once the results of the run are in; None: its check.
    rule: Rule | None = None
    #: It is reached across a network: what it finds counts only if that works.
    is_across_network: bool = False
    #: Not a check, but Checker's own report on a job file or a section.
    is_own: bool = False
    #: The mode that shows more of it; empty: ``-m run`` with its name.
    check_now: str = ""

    @property
    def key_before(self) -> JobKey | None:
        """Return the key it had before its section was renamed; None if it was not."""
        before = JobKey(self.key.file, self.was) if self.was else None
        return None if before == self.key else before

    @classmethod
    def stand_in(
        cls, key: JobKey, name: str, file: str, contact: tuple[str, ...]
    ) -> Self:
        """Return Checker's own job about a job file or a section.

        Each change of it is somebody's edit, so it never counts as flapping.
        """
        policy = Policy(flapping=NEVER_FLAPPING)
        return cls(key, name, file, JobFrequency.MINUTE, policy, contact, is_own=True)

    @classmethod
    def of_file(cls, file: "JobFile", contact: tuple[str, ...]) -> Self:
        """Return the job that stands for a job file, which fails if it is broken."""
        return cls.stand_in(
            JobKey(file.name), f"{file.name}.py", str(file.path), contact
        )


class CatalogEntry(Stored, frozen=True, gc=False):
    """A job as the last run met it: what is known without loading its file."""

    name: str
    file: str
    schedule: str
    policy: Policy = Policy()
    contact: tuple[str, ...] = ()
    recheck: str = ""
    #: Whether it ever had a result.
    judged: bool = False
    #: It may have had results before, of which nothing is known: the catalog was lost.
    counts_as_judged: bool = False
    #: When it last ran apart from its schedule: ``lib/core/schedule.py`` knows when it
    #: ran by it, so that this changes seldom.
    ran_at: Moment | None = None
    #: False: it is not run.
    enabled: bool = True
    tags: tuple[str, ...] = ()
    #: The identity it had before its section was renamed.
    was: str = ""
    depends: tuple[Dependency, ...] = ()
    rule: Rule | None = None
    runbook: str = ""
    description: str = ""

    @property
    def is_new(self) -> bool:
        """Return whether it is still to have its first run, whatever its schedule."""
        return not (self.judged or self.counts_as_judged)

    @property
    def is_own(self) -> bool:
        """Return False: no report of Checker's own is in the catalog."""
        return False


class FileScan(Stored, frozen=True):
    """When a job file was last asked for its jobs, and what it was like then."""

    at: Moment
    #: A fingerprint of everything that its jobs depend on.
    mark: str


class JobFile(msgspec.Struct, frozen=True):
    """A file in a job folder, not yet loaded."""

    path: Path
    #: The file's name without ``.py``, which is its class's name too.
    name: str
    ships: bool = False
    #: Why it must not be loaded; empty if it may.
    refused: str = ""


class OptionInfo(Stored, frozen=True):
    """An option of a kind, as people read of it."""

    help: str = ""
    default: str = ""
    #: It must be given.
    required: bool = False
    #: Another name of it.
    also: str = ""
    is_secret: bool = False


class KindInfo(Stored, frozen=True):
    """A kind of target, as the worker that loads its job file describes it."""

    kind: str
    #: The job file's path.
    file: str
    every: str
    about: str = ""
    #: Its own options, by name; every kind has others as well.
    options: Mapping[str, OptionInfo] = {}
    recheck: str = "no"
    #: What docs/kinds.md says below its options.
    guide: str = ""
    #: Whether its targets may be tried again within a run.
    retries: bool = True


_NO_WORD = re.compile(r"[^A-Za-z0-9]+")


def page_name(key: JobKey) -> str:
    """Return the file of a job's page, beside the front page."""
    return f"job-{file_stem(key)}.html"


#: Asked several times in a run for each record there is.
@lru_cache(maxsize=16_384)
def file_stem(key: JobKey) -> str:
    """Return the name, without ending, of the file that keeps a job's record.

    It is made of the key's words, for people who look into the folder, and of a
    digest, so that no two jobs share a file.
    """
    words = key.identity or key.file
    slug = _NO_WORD.sub("-", words).strip("-").lower()[:60].rstrip("-")
    text = str(key).encode("utf-8", "surrogatepass")
    return f"{slug or 'job'}-{digest(text)[:10]}"


def job_of(key: JobKey, entry: CatalogEntry) -> Job:
    """Return a job as the last run met it."""
    return Job(
        key,
        entry.name,
        entry.file,
        entry.schedule,
        entry.policy,
        entry.contact,
        entry.recheck,
        enabled=entry.enabled,
        tags=entry.tags,
        was=entry.was,
        depends=entry.depends,
        rule=entry.rule,
    )

"""Job files, and the crew that runs them as a run of the program does."""

from __future__ import annotations

import configparser
import textwrap
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from lib.alerting import templates
from lib.config.ini import IniText
from lib.core.enums import JobFrequency, Status
from lib.core.ini import IniFile
from lib.core.jobs import Job, JobFile, JobKey
from lib.core.messages import Message, fit_mail
from lib.core.records import KnownRecords, Record
from lib.core.results import CheckResult, JobReport
from lib.core.schedule import Due
from lib.runner.manager import JobsMet, LostJob, WorkerManager
from lib.system import process
from lib.workers.worker import Order

#: Long ago, so that every reminder is due.
NOON = datetime(2020, 1, 1, 12, tzinfo=UTC)
CONTACT = ("ops@example.com",)
SETTINGS = """\
[general]
servername = web1
alertcontact = ops@example.com
[email]
nomail = True
user = me@example.com
"""

#: What a job file in the tests begins with.
HEAD = "from lib.jobbase import *\n"


def job(name: str, execute: str = "return True", more: str = "") -> str:
    """Return a job file with one job; its hooks stand in ``more``."""
    return (
        f"{HEAD}class {name}(JobBase):\n"
        "    def executeEvery(self): return JobFrequency.MINUTE\n"
        "    def timeout(self): return 5\n"
        f"    def execute(self):\n{_indented(execute, 8)}{_indented(more, 4)}"
    )


def spawner(name: str, jobs: str, one: str = "return True", more: str = "") -> str:
    """Return a job file whose spawner has ``jobs`` as its body, of class One."""
    return (
        f"{job('One', one, more)}"
        f"class {name}(JobSpawner):\n"
        f"    def get_sub_jobs(self, config):\n{_indented(jobs, 8)}"
    )


def _indented(text: str, width: int) -> str:
    return textwrap.indent(textwrap.dedent(text).strip("\n") + "\n", " " * width)


def ini(text: str = "") -> IniFile:
    """Return the settings as workers get them."""
    sections = IniText(SETTINGS + text, "settings.cfg").sections
    return IniFile(Path("/"), ("settings.cfg",), sections)


def settings(text: str = "") -> configparser.ConfigParser:
    """Return the settings as job authors see them."""
    return ini(text).parser()


@dataclass
class Told:
    """What a crew has told, by the names of jobs."""

    jobs: dict[str, Job] = field(default_factory=dict)
    reports: dict[str, JobReport] = field(default_factory=dict)
    lost: dict[str, CheckResult] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    partial: list[str] = field(default_factory=list)
    #: The keys of the jobs that were judged, each once.
    judged: set[JobKey] = field(default_factory=set)
    seconds: float = 0.0
    #: What the workers were given.
    order: Order = field(default_factory=Order)

    @property
    def outcomes(self) -> dict[str, CheckResult]:
        """Return what was found, however it was told."""
        found = {name: report.result for name, report in self.reports.items()}
        return {**found, **self.lost}

    @property
    def conditions(self) -> dict[str, Status]:
        """Return the conditions of the jobs, and of the files that are broken."""
        return {
            name: result.status
            for name, result in self.outcomes.items()
            if not name.endswith(".py") or result.status is not Status.OK
        }

    def mails(self, name: str) -> tuple[Message, ...]:
        """Return the messages that are queued for a job, as the supervisor does."""
        report = self.reports[name]
        record = self.order.known.of(report.job)
        context = templates.MailContext(self.order.now(), UTC)
        mails = templates.compose(report, record, "00" * 16, context)
        return tuple(fit_mail(mail, self.order.secrets) for mail in mails)


class Folder:
    """A folder of job files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files: dict[str, JobFile] = {}

    def add(self, name: str, text: str, *, ships: bool = False) -> JobFile:
        """Write a job file."""
        path = self.path / f"{name}.py"
        path.write_text(text, "utf-8")
        self.files[name] = JobFile(path, name, ships=ships)
        return self.files[name]

    def workers(
        self,
        content: IniFile | None = None,
        *,
        load_timeout_s: float = 10.0,
        at_once: int = 64,
        **order: object,
    ) -> WorkerManager:
        """Return a crew at work on the files."""
        workers = WorkerManager(
            content or ini(),
            order_of(order),
            load_timeout_s=load_timeout_s,
            at_once=at_once,
        )
        workers.start(self.files.values())
        return workers

    def run(
        self,
        content: IniFile | None = None,
        *,
        load_timeout_s: float = 10.0,
        at_once: int = 64,
        **order: object,
    ) -> Told:
        """Return all that a crew told, when it is done."""
        began = time.monotonic()
        workers = self.workers(
            content, load_timeout_s=load_timeout_s, at_once=at_once, **order
        )
        notified = Told(order=order_of(order))
        try:
            while not workers.is_done:
                listen(workers, notified)
                assert time.monotonic() < began + 90, f"still at work: {notified}"
        finally:
            list(workers.stop())
        notified.seconds = time.monotonic() - began
        return notified

    def run_one(self, name: str, text: str, **order: object) -> Told:
        """Return all that is told of one more job file."""
        self.add(name, text)
        return self.run(**order)  # type: ignore[arg-type]  # fields of Order


#: What is remembered is one field of an order.
KNOWN = ("stored", "lost", "unclaimed")


def older_record(
    name: str,
    failing_since: datetime | None = NOON,
    notified_at: datetime | None = NOON,
    failures: int = 1,
) -> Record:
    """Return what is read of a failing job in the older program's state file."""
    return Record(
        JobKey(""),
        name,
        Status.FAILING,
        failures=failures,
        failing_since=failing_since,
        notified_at=notified_at,
        notified_status=Status.FAILING if notified_at else None,
        last_reason="it was failing when the older program last ran",
    )


def order_of(fields: Mapping[str, object]) -> Order:
    """Return an order for all jobs, with these fields."""
    given = {"due": Due(frozenset(JobFrequency)), "contact": CONTACT, **fields}
    known = {name: given.pop(name) for name in KNOWN if name in given}
    given["known"] = KnownRecords(**known)  # type: ignore[arg-type]  # by their names
    return Order(**given)  # type: ignore[arg-type]  # by the names of its fields


def listen(workers: WorkerManager, notified: Told) -> None:
    """Hear what the crew has to tell by now, or soon."""
    until = min(1.0, max(0.0, workers.next_deadline() - time.monotonic()))
    process.wait(workers.children, until)
    for event in workers.events():
        if isinstance(event, JobsMet):
            notified.jobs.update({job.name: job for job in event.jobs})
            notified.warnings += event.warnings
            notified.partial += event.partial
        elif isinstance(event, LostJob):
            notified.lost[_judged(event.job, notified)] = event.result
        else:
            notified.reports[_judged(event.job, notified)] = event


def _judged(job: Job, notified: Told) -> str:
    """Return the name of a job that was judged, with its key if another has it too."""
    assert job.key not in notified.judged, "told twice"
    notified.judged.add(job.key)
    return f"{job.name} ({job.key})" if job.name in notified.outcomes else job.name


def failing_record(key: JobKey, **more: object) -> dict[JobKey, Record]:
    """Return the records of a run before, in which the job was failing and told."""
    given = {
        "status": Status.FAILING,
        "failures": 3,
        "failing_since": NOON,
        "notified_at": NOON,
        "notified": ("first@example.com",),
        "notified_status": Status.FAILING,
        "thread": "abc",
        "last_reason": "it was down",
        **more,
    }
    return {key: Record(key, **given)}  # type: ignore[arg-type]  # fields of Record

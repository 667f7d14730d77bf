"""One job file -> its jobs.

The class with the file's name is the job, or the spawner of its jobs.  A file that
will not load, and a job that cannot say what it is, becomes a job that fails and
tells why: nothing here raises because of what a job file does.
"""

from __future__ import annotations

import configparser
import importlib.util
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from types import ModuleType

from lib.core.enums import JobFrequency
from lib.core.jobs import Job, JobFile, JobKey
from lib.core.sanitize import fit, fit_end
from lib.plugins.base import JobBase, JobContext, JobSpawner
from lib.plugins.errors import (
    REASON_TEXT_LENGTH,
    TRACEBACK_LENGTH,
    described,
    formatted,
    shown,
)
from lib.plugins.inspect import JobInspector, WrongAnswer

#: A spawner that yields more is one that does not end.
MAX_JOBS = 50_000
#: As many jobs that cannot run are told of one by one; each is an alert.
MAX_TROUBLES = 100


@dataclass(frozen=True, slots=True)
class Found:
    """A job of a file, or trouble that stands in for one."""

    facts: Job
    job: JobBase | None = None
    #: Why it cannot run; the outcome of the job instead of an execution.
    trouble: str = ""
    output: str = ""


@dataclass(frozen=True)
class Discovered:
    """What a job file holds."""

    #: The file itself as a job: fails while the file, or a part of it, is broken.
    file: Found
    jobs: tuple[Found, ...] = ()
    #: Set where the file defines no job at all, which is odd but no failure.
    warning: str = ""


def facts_of_file(file: JobFile, contact: tuple[str, ...]) -> Job:
    """Return how a job file is known as a job of its own."""
    return Job(
        key=JobKey(file.name),
        name=f"{file.name}.py",
        file=str(file.path),
        frequency=JobFrequency.MINUTE,
        contact=contact,
        is_own=True,
    )


def discover(
    file: JobFile,
    config: configparser.ConfigParser,
    contact: tuple[str, ...],
    secrets: tuple[str, ...] = (),
    *,
    formerly: bool = True,
) -> Discovered:
    """Return the jobs of ``file``, in the order in which it gives them.

    ``contact`` hears of what has none of its own.  No name holds a secret.
    ``formerly``: keep what each was called by the older program, which is long.
    """
    return _Discovery(file, config, contact, secrets, formerly).carry_out()


@dataclass
class _Discovery:
    """One job file on its way."""

    file: JobFile
    config: configparser.ConfigParser
    contact: tuple[str, ...]
    secrets: tuple[str, ...]
    formerly: bool
    jobs: dict[JobKey, Found] = field(default_factory=dict)
    #: What is being done, for the sentence that says what did not work.
    at: str = ""
    troubles: int = 0

    def carry_out(self) -> Discovered:
        facts = facts_of_file(self.file, self.contact)
        warning = ""
        file = Found(facts)
        try:
            warning = self._load()
        # What a job file raises is its own affair, SystemExit included.
        except BaseException as error:  # noqa: B036
            so_far = f", after {len(self.jobs)} jobs" if self.jobs else ""
            trouble = f"{self.at}{so_far}: {described(error)}"
            file = self._broken(facts, trouble, formatted(error))
        if self.troubles > MAX_TROUBLES and not file.trouble:
            more = self.troubles - MAX_TROUBLES
            file = replace(file, trouble=f"{more} more of its jobs cannot run")
        return Discovered(file, tuple(self.jobs.values()), warning)

    def _load(self) -> str:
        """Find all jobs; return a warning if there is no class for them."""
        name, path = self.file.name, self.file.path
        self.at = f"{path} cannot be loaded"
        made = getattr(_import(self.file), name, None)
        self.at = f"{name} of {path} cannot be made"
        if isinstance(made, type) and issubclass(made, JobBase):
            self._add(made(self.config), 1)
        elif isinstance(made, type) and issubclass(made, JobSpawner):
            spawner = made()
            self.at = f"get_sub_jobs of {path} failed"
            self._add_all(spawner.get_sub_jobs(self.config))
        else:
            return (
                f"{path} is no job: it has no class {name} that derives "
                "from JobBase or JobSpawner; a helper's name starts with _"
            )
        return ""

    def _add_all(self, jobs: Iterable[object]) -> None:
        for number, job in enumerate(jobs, 1):
            if number > MAX_JOBS:
                raise OverflowError(f"more than {MAX_JOBS} jobs; does it not end?")
            self._add(job, number)

    def _add(self, job: object, number: int) -> None:
        found = self._known(job, number)
        self.troubles += bool(found.trouble)
        if found.trouble and self.troubles > MAX_TROUBLES:
            return
        twin = self.jobs.get(found.facts.key)
        if twin is None:
            self.jobs[found.facts.key] = found
            return
        # One for all that are the same, however many there are.
        key = JobKey(self.file.name, f"{found.facts.key.identity}#2")
        facts = self._facts(key, found.facts.name, found.facts.contact)
        text = (
            f"two jobs of {self.file.path} are the same to Checker, "
            f"{twin.facts.name!r} and {found.facts.name!r}: give JobBase.__init__ "
            "what tells them apart"
        )
        self.jobs.setdefault(key, Found(facts, trouble=text))

    def _known(self, job: object, number: int) -> Found:
        """Return the job with what it says of itself, or with the trouble in that."""
        key, name = JobKey(self.file.name, f"#{number}"), type(job).__name__
        if not isinstance(job, JobBase):
            text = f"{shown(job)} is no job: it does not derive from JobBase"
            return Found(self._facts(key, f"{self.file.name} #{number}"), trouble=text)
        if not _has_job_context(job):
            text = (
                f"__init__ of {name} does not call JobBase's: "
                "add super().__init__(config)"
            )
            return Found(self._facts(key, name), trouble=text)
        asked = JobInspector(
            self.file, job, self.contact, self.secrets, formerly=self.formerly
        )
        try:
            return Found(asked.facts(), job)
        except WrongAnswer as wrong:
            facts = self._facts(asked.key or key, asked.name or name, asked.contact)
            return self._broken(facts, wrong.text, wrong.output)

    def _facts(
        self, key: JobKey, name: str, contact: tuple[str, ...] | None = None
    ) -> Job:
        """Return what is known of a job that cannot say it, or is not to be run."""
        return Job(
            key,
            name,
            str(self.file.path),
            JobFrequency.MINUTE,
            contact=self.contact if contact is None else contact,
        )

    def _broken(self, facts: Job, trouble: str, output: str) -> Found:
        return Found(
            facts,
            trouble=fit(trouble, self.secrets, REASON_TEXT_LENGTH),
            output=fit_end(output, self.secrets, TRACEBACK_LENGTH),
        )


def _has_job_context(job: JobBase) -> bool:
    """Return whether JobBase.__init__ was called, without asking the job's own code."""
    try:
        # Not ``vars``, which would make a dict of what is kept in less.
        return isinstance(object.__getattribute__(job, "_checker"), JobContext)
    except AttributeError:
        return False


def _import(file: JobFile) -> ModuleType:
    # The name is what the older program gave it, so that str(class) is as it was.
    name = f"jobs.{file.name}"
    spec = importlib.util.spec_from_file_location(name, file.path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file.path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module

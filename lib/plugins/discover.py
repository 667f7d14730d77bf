"""Loads a job file and returns its jobs.

The class with the file's name is the job, or the spawner of its jobs.  Nothing here
raises because of a job file: a file that cannot be loaded, or a job whose hooks return
something invalid, becomes a failing job with the reason.
"""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from collections.abc import (
    Container,
    Hashable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from functools import partial
from types import ModuleType

import msgspec
from msgspec.structs import replace

from lib.config.ini import in_order
from lib.config.jobsections import JobSections
from lib.config.options import SECRET_SUFFIXES
from lib.config.sections import title_of
from lib.config.targets import (
    Contacts,
    TargetSection,
    defaults_section,
    idle_former_names,
    target_sections,
    title_before,
)
from lib.core.enums import JobFrequency
from lib.core.ini import IniFile
from lib.core.jobs import KIND_FILES, Job, JobFile, JobKey, KindInfo
from lib.core.sanitize import fit, fit_end
from lib.core.secret import NO_SECRETS, Secrets
from lib.core.settings import Problem
from lib.plugins.base import JobBase, JobContext, JobSpawner
from lib.plugins.errors import (
    REASON_TEXT_LENGTH,
    TRACEBACK_LENGTH,
    described,
    formatted,
    shown,
)
from lib.plugins.inspect import JobInspector, WrongAnswer, named, policy_said
from lib.plugins.kind import Clash, KindTable, Target
from lib.plugins.target import TargetJob

#: The most jobs that one file may have, against a spawner that does not end.
MAX_JOBS = 50_000
#: The most broken jobs that are reported one by one, since each is an alert.
MAX_BROKEN_JOBS = 100
#: So many targets are kept to describe others by.
MAX_ALIKE = 1000


class LoadedJob(msgspec.Struct, frozen=True):
    """A job of a file, or a placeholder for one that cannot run."""

    job: Job
    #: The object whose hooks are called; None for a placeholder.
    instance: JobBase | None = None
    #: Why it cannot run: the reason of its result, in place of an execution.
    problem: str = ""
    output: str = ""


class Discovered(msgspec.Struct, frozen=True):
    """What a job file holds."""

    #: The file itself as a job, which fails while the file cannot be loaded whole.
    file: LoadedJob
    jobs: tuple[LoadedJob, ...] = ()
    #: Set if the file defines no job, which is a warning and no failure.
    warning: str = ""
    #: What is wrong in the sections of its targets, whose jobs are failing for it.
    problems: tuple[Problem, ...] = ()
    #: The options of the kind that it is, if it is one.
    table: KindTable | None = None
    #: False: it may have jobs that are not among these.
    is_whole: bool = True


def discover(
    file: JobFile,
    ini: IniFile,
    contact: tuple[str, ...],
    secrets: Secrets = NO_SECRETS,
    *,
    formerly: bool = True,
    advises: bool = False,
    describes: bool = False,
    had_jobs: bool = False,
) -> Discovered:
    """Return the jobs of ``file``, in the order in which the file yields them.

    ``contact`` is the recipient for jobs without a contact of their own.  ``secrets``
    are removed from every name.  With ``formerly``, each job's name in the older
    program is kept; these names are long.  With ``advises``, the problems include what
    is right and hardly meant so, and each secret that is not to be had; with
    ``describes`` a note for each option of a target that does not count.  ``had_jobs``:
    in an earlier run the file had a job, or could not be loaded, so it is no helper.
    """
    return _Discoverer(
        file, ini, contact, secrets, formerly, advises, describes, had_jobs
    ).run()


class _Discoverer(msgspec.Struct):
    """The state of loading one job file."""

    file: JobFile
    ini: IniFile
    contact: tuple[str, ...]
    secrets: Secrets
    formerly: bool
    advises: bool
    describes: bool
    had_jobs: bool
    jobs: dict[JobKey, LoadedJob] = {}
    #: The current step, for the error message.
    step: str = ""
    broken_jobs: int = 0
    #: How many of those have no key that stays the same.
    nameless_jobs: int = 0
    problems: list[Problem] = []
    table: KindTable | None = None
    #: A target for each of what sections say of when it runs and who is notified.
    alike: dict[Hashable, Job] = {}
    #: The first job of each class, and its settings, to describe others by.
    classes: dict[type, tuple[object, Job]] = {}
    #: What ``[job NAME]`` says; None for a kind, whose targets have own sections.
    sections: JobSections | None = None

    def run(self) -> Discovered:
        job = Job.of_file(self.file, self.contact)
        warning = ""
        file = LoadedJob(job)
        try:
            warning = self._load()
        # A job file may raise anything, SystemExit included.
        except BaseException as error:  # noqa: B036
            so_far = f", after {len(self.jobs)} jobs" if self.jobs else ""
            problem = f"{self.step}{so_far}: {described(error)}"
            file = self._broken_job(job, problem, formatted(error))
        if warning and self.had_jobs:
            # Not a helper, and not OK: what it checked is not checked any more.
            file, warning = replace(file, problem=warning), ""
        if self.broken_jobs > MAX_BROKEN_JOBS and not file.problem:
            more = self.broken_jobs - MAX_BROKEN_JOBS
            file = replace(file, problem=f"{more} more jobs of this file cannot run")
        taken: set[JobKey] = set()
        jobs = [self._with_free_name(loaded, taken) for loaded in self.jobs.values()]
        names = Counter([loaded.job.name for loaded in jobs])
        if len(names) < len(jobs):
            jobs = [self._with_own_name(loaded, names) for loaded in jobs]
        return Discovered(
            file,
            tuple(jobs),
            warning,
            tuple(self.problems),
            self.table,
            is_whole=not (file.problem or self.nameless_jobs),
        )

    def _with_free_name(self, loaded: LoadedJob, taken: set[JobKey]) -> LoadedJob:
        """Return the job; without its old name if that is another job's by now.

        ``taken`` are the old names of the jobs before it, to which it adds its own.
        """
        before = loaded.job.key_before
        if before is None:
            return loaded
        # For a section that was removed there is a failing job.
        is_there = before in self.jobs or before.identity in self.ini.removed
        if is_there or before in taken:
            return replace(loaded, job=replace(loaded.job, was=""))
        taken.add(before)
        return loaded

    def _with_own_name(self, loaded: LoadedJob, names: Mapping[str, int]) -> LoadedJob:
        """Return the job; with its class in its name if another one is named alike."""
        if names[loaded.job.name] == 1 or loaded.instance is None:
            return loaded
        words = loaded.job.name.split(" ")
        words.insert(1, type(loaded.instance).__name__)
        return replace(loaded, job=replace(loaded.job, name=" ".join(words)))

    def _load(self) -> str:
        """Load the file and collect its jobs; return a warning if it has no job."""
        name, path = self.file.name, self.file.path
        self.step = f"{path} cannot be loaded"
        cls = getattr(_import(self.file), name, None)
        self.step = f"{name} of {path} cannot be created"
        if not (isinstance(cls, type) and issubclass(cls, TargetJob)):
            self.sections = JobSections(self.ini)
        config = partial(self.ini.parser, with_targets=not self.file.ships)
        if isinstance(cls, type) and issubclass(cls, TargetJob):
            self.table = table_of(self.file, cls)
            self.step = f"the targets of {path} cannot be read"
            self._add_targets(cls, self.table)
        elif isinstance(cls, type) and issubclass(cls, JobBase):
            self._add(cls(config()), 1)
        elif isinstance(cls, type) and issubclass(cls, JobSpawner):
            spawner = cls()
            self.step = f"get_sub_jobs of {path} failed"
            self._add_all(spawner.get_sub_jobs(config()))
        else:
            return (
                f"{path} is not a job file: it has no class {name} that derives from "
                "JobBase or JobSpawner; if it is a helper, start its name with _"
            )
        return ""

    def _add_targets(self, cls: type[TargetJob], table: KindTable) -> None:
        contacts = Contacts(self.ini)
        wrong = self._add_defaults(table, contacts)
        renamed: list[TargetSection] = []
        sections = target_sections(self.ini, table.kind, wrong)
        for number, section in enumerate(sections, 1):
            if number > MAX_JOBS:
                raise OverflowError(f"there are more than {MAX_JOBS} targets")
            if "was" in section.options:
                renamed.append(section)
            whole = section
            target, problems = table.target(section)
            while not problems and (clashes := _clashes(cls, target)):
                less = _with_fewer_defaults(section, clashes, cls.yields)
                if less is None:
                    problems = [
                        Problem(clash.text, _place(section, clash), section.title)
                        for clash in clashes
                    ]
                else:
                    section = less
                    target, problems = table.target(section)
            if self.describes:
                self.problems += _idle_options(whole, table.nearest(section))
            if wrong_contact := contacts.problem(section):
                problems.append(wrong_contact)
            if not problems:
                self._add(cls(self.ini, table, target), number)
                if self.advises:
                    more = table.advice(section, target, self.ini.folder)
                    self.problems += map(self._clean, more)
                    for option, text, is_warning in cls.advice(target, self.ini.folder):
                        given = section.options.get(option)
                        where = given.where if given else section.where
                        text, title = f"{option}: {text}", section.title
                        problem = Problem(text, where, title, warning=is_warning)
                        self.problems.append(self._clean(problem))
                continue
            clean = in_order(map(self._clean, problems), self.ini.names)
            self.problems += clean
            was = title_of(title_before(section))
            self._add_wrong_target(section.title, clean, was)
        if renamed:
            titles = {loaded.job.name for loaded in self.jobs.values()}
            titles.update(self.ini.removed)
            idle = idle_former_names(renamed, titles)
            self.problems += map(self._clean, idle)

    def _add_defaults(self, table: KindTable, contacts: Contacts) -> Container[str]:
        """Add a job that fails while ``[defaults KIND]`` is wrong, and is OK after.

        Return the options that are wrong, which no target takes.
        """
        section = defaults_section(self.ini, table.kind)
        if section is None:
            return ()
        wrong = table.wrong_defaults(section)
        if wrong_contact := contacts.problem(section):
            wrong.setdefault("contact", wrong_contact)
        clean = in_order(map(self._clean, wrong.values()), self.ini.names)
        self.problems += clean
        self._add_wrong_target(section.title, clean)
        return wrong

    def _clean(self, problem: Problem) -> Problem:
        text = fit(problem.text, self.secrets, REASON_TEXT_LENGTH)
        return replace(problem, text=text, section=title_of(problem.section))

    def _add_wrong_target(
        self, title: str, problems: Sequence[Problem], was: str = ""
    ) -> None:
        """Add a job that stands for a section, and fails while it has problems.

        ``was`` is the identity that it had before, which it is known by at once.
        """
        self.broken_jobs += bool(problems)
        if self.broken_jobs > MAX_BROKEN_JOBS:
            return
        name = title_of(title)
        key = JobKey(self.file.name, name)
        job = Job.stand_in(key, name, str(self.file.path), self.contact)
        job = replace(job, was=was)
        reason = "\n".join(map(str, problems))
        self.jobs.setdefault(key, LoadedJob(job, problem=reason))

    def _add_all(self, jobs: Iterable[object]) -> None:
        for number, job in enumerate(jobs, 1):
            if number > MAX_JOBS:
                raise OverflowError(f"it yields more than {MAX_JOBS} jobs")
            self._add(job, number)

    def _add(self, job: object, number: int) -> None:
        loaded = self._inspect(job, number)
        self.broken_jobs += bool(loaded.problem)
        if loaded.problem and self.broken_jobs > MAX_BROKEN_JOBS:
            return
        twin = self.jobs.get(loaded.job.key)
        if twin is None:
            self.jobs[loaded.job.key] = loaded
            return
        # One placeholder for all duplicates, however many there are.
        key = JobKey(self.file.name, f"{loaded.job.key.identity}#2")
        job_info = self._placeholder(key, loaded.job.name, loaded.job.contact)
        text = (
            f"two jobs of {self.file.path} have the same identity, "
            f"{twin.job.name!r} and {loaded.job.name!r}: pass what tells them apart "
            "to JobBase.__init__"
        )
        self.jobs.setdefault(key, LoadedJob(job_info, problem=text))

    def _inspect(self, job: object, number: int) -> LoadedJob:
        """Return the job with the answers of its hooks, or a placeholder for it."""
        if not isinstance(job, JobBase):
            self.nameless_jobs += 1
            text = f"{shown(job)} is not a job: it does not derive from JobBase"
            known = self._placeholder(*self._by_number(job, number))
            return LoadedJob(known, problem=text)
        if not _has_job_context(job):
            self.nameless_jobs += 1
            text = (
                f"__init__ of {type(job).__name__} does not call JobBase.__init__: "
                "add super().__init__(config)"
            )
            known = self._placeholder(*self._by_number(job, number))
            return LoadedJob(known, problem=text)
        job._checker.file = self.file.name
        said = None
        if isinstance(job, TargetJob) and not self.formerly:
            said = policy_said(job)
            if said in self.alike:
                like = named(self.alike[said], job.target.title, self.secrets)
                if like is not None:
                    return LoadedJob(like, job)
        inspector = JobInspector(
            self.file,
            job,
            self.contact,
            self.secrets,
            formerly=self.formerly,
            sections=self.sections,
            alike=self.classes,
        )
        try:
            described_job = inspector.inspect()
            if said is not None and len(self.alike) < MAX_ALIKE:
                self.alike[said] = described_job
            return LoadedJob(described_job, job)
        except WrongAnswer as wrong:
            self.nameless_jobs += inspector.key is None
            key, name = self._by_number(job, number)
            known = self._placeholder(
                inspector.key or key, inspector.name or name, inspector.contact
            )
            return self._broken_job(known, wrong.text, wrong.output)

    def _by_number(self, job: object, number: int) -> tuple[JobKey, str]:
        """Return a key and a name for a job that does not say its own."""
        name = self.file.name
        key = JobKey(name, f"#{number}")
        return key, name if type(job).__name__ == name else f"{name} #{number}"

    def _placeholder(
        self, key: JobKey, name: str, contact: tuple[str, ...] | None = None
    ) -> Job:
        """Return a job for one whose hooks cannot be used, or that cannot run."""
        return Job(
            key,
            name,
            str(self.file.path),
            JobFrequency.MINUTE,
            contact=self.contact if contact is None else contact,
        )

    def _broken_job(self, job: Job, problem: str, output: str) -> LoadedJob:
        return LoadedJob(
            job,
            problem=fit(problem, self.secrets, REASON_TEXT_LENGTH),
            output=fit_end(output, self.secrets, TRACEBACK_LENGTH),
        )


def table_of(file: JobFile, cls: type[TargetJob]) -> KindTable:
    """Return the options of a kind; raise TypeError if its class is not right."""
    first_line = (sys.modules[cls.__module__].__doc__ or "").strip().partition("\n")[0]
    about = first_line.removeprefix(f"[{cls.kind} NAME]: ").rstrip(".")
    table = KindTable(
        cls.kind,
        cls.every,
        cls.options,
        about,
        recheck=cls.recheck,
        retries=cls.can_retry,
        means_need=not cls.judges_need,
    )
    ships = KIND_FILES.get(table.kind, file.name)
    if ships != file.name:
        raise TypeError(
            f"kind = {table.kind!r} is that of {ships}.py, which ships; give it another"
        )
    return table


def kind_of(file: JobFile) -> KindInfo:
    """Return what people read of the kind in a job file that ships."""
    cls = getattr(_import(file), file.name)
    info = table_of(file, cls).info(str(file.path))
    return replace(info, guide=cls.guide)


def _clashes(cls: type[TargetJob], target: Target) -> list[Clash]:
    """Return what does not go together; a class of one's own may yield bare texts."""
    return [
        one if isinstance(one, Clash) else Clash(str(one), ())
        for one in cls.wrong_together(target)
    ]


def _given(options: Container[str], clash: Clash) -> dict[str, str]:
    """Return the options of a clash by their names among those that are given.

    There may be ``password_file`` for ``password``.
    """
    names = {
        name + suffix: name for name in clash.options for suffix in SECRET_SUFFIXES
    }
    return {name: names[name] for name in names if name in options}


def _place(section: TargetSection, clash: Clash) -> str:
    """Return where the first option of a clash is given; else where the section is."""
    for name in _given(section.options, clash):
        return section.options[name].where
    return section.where


def _idle_options(whole: TargetSection, section: TargetSection) -> Iterator[Problem]:
    """Yield a note for each option of a target that is not in what counts of it."""
    for name, value in whole.options.items():
        if name not in section.options:
            text = f"{name} of [{value.section}] does not count here"
            yield Problem(text, value.where, whole.title, warning=True, note=True)


def _with_fewer_defaults(
    section: TargetSection, clashes: Iterable[Clash], yields: Container[str]
) -> TargetSection | None:
    """Return the section without defaults of its kind that do not go with the rest.

    These are of ``yields``; None: there are none, or two of them contradict each other.
    """
    options = dict(section.options)
    for clash in clashes:
        given = _given(options, clash)
        by_default = [
            name
            for name in given
            if options[name].section.startswith("defaults ") and given[name] in yields
        ]
        if len(by_default) == 1 or len(by_default) < len(given):
            for name in by_default:
                del options[name]
    if len(options) == len(section.options):
        return None
    return replace(section, options=options)


def _has_job_context(job: JobBase) -> bool:
    """Return whether JobBase.__init__ was called, without running the job's code."""
    try:
        # Not ``vars``, which would create a dict for each job and take more memory.
        return isinstance(object.__getattribute__(job, "_checker"), JobContext)
    except AttributeError:
        return False


def _import(file: JobFile) -> ModuleType:
    name = _module_name(file)
    spec = importlib.util.spec_from_file_location(name, file.path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file.path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def module_of(file: JobFile) -> ModuleType | None:
    """Return the module of a job file as far as it was loaded; None if it was not."""
    return sys.modules.get(_module_name(file))


def _module_name(file: JobFile) -> str:
    # That of the older program, so that str(class) is the same.
    return f"jobs.{file.name}"

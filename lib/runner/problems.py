"""Turn problems of the settings and job files into failing jobs.

Each wrong section and each refused job file is a failing job of its name: alerted once,
OK again when it is corrected.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lib.config.kinds import KINDS
from lib.core.enums import JobFrequency, Status
from lib.core.jobs import Job, JobFile, JobKey
from lib.core.records import Record
from lib.core.results import CheckResult
from lib.core.settings import Problem, Settings


def stand_ins(settings: Settings) -> Iterator[tuple[Job, CheckResult]]:
    """Yield a failing job for each wrong section and each refused job file."""
    by_section: dict[str, list[Problem]] = {}
    for problem in settings.problems:
        if not problem.warning:
            by_section.setdefault(problem.section, []).append(problem)
    for section, problems in by_section.items():
        reason = "\n".join(str(problem) for problem in problems)
        name = section if " " in section else _place(settings, section)
        facts = _facts(section_key(section), name, str(settings.path), settings)
        yield facts, CheckResult(Status.FAILING, reason)
    for file in settings.job_files:
        if file.refused:
            facts = _facts(
                JobKey.of_refused_file(file.path),
                f"{file.name}.py",
                str(file.path),
                settings,
            )
            yield facts, CheckResult(Status.FAILING, file.refused)


def mended(
    settings: Settings, records: Iterable[Record]
) -> Iterator[tuple[Job, CheckResult]]:
    """Yield the stand-ins on record that are no longer needed, as OK."""
    broken = {facts.key for facts, _result in stand_ins(settings)}
    # If a folder cannot be read, it is not known which files are gone.
    knows_files = not any(
        problem.section == "general" and not problem.warning
        for problem in settings.problems
    )
    files = {file.name for file in settings.job_files}
    for record in records:
        key = record.key
        is_gone = key.is_refused_file or (key.is_file and key.file not in files)
        stands_in = key.is_section or (knows_files and is_gone)
        if stands_in and key not in broken:
            facts = _facts(key, record.name, str(settings.path), settings)
            yield facts, CheckResult(Status.OK)


def facts_of_file(file: JobFile, settings: Settings) -> Job:
    """Return how a job file that was not loaded is known as a job."""
    return _facts(JobKey(file.name), f"{file.name}.py", str(file.path), settings)


def section_key(section: str) -> JobKey:
    """Return the key of the job a section is about, or of the section itself."""
    kind = KINDS.get(section.partition(" ")[0])
    return JobKey(kind.file, section) if kind else JobKey.of_section(section)


def _place(settings: Settings, section: str) -> str:
    return f"{settings.path.name} [{section}]" if section else settings.path.name


def _facts(key: JobKey, name: str, file: str, settings: Settings) -> Job:
    return Job(
        key,
        name,
        file,
        JobFrequency.MINUTE,
        contact=settings.alertcontact,
        is_own=True,
    )

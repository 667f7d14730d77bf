"""One job file -> its jobs.

The class with the file's name is the job, or the spawner of its jobs.  A file that
will not load, and a job that cannot say what it is, becomes a job that fails and
tells why: nothing here raises because of what a job file does.
"""

from __future__ import annotations

import configparser
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from lib.jobbase import JobBase, JobSpawner, read_addresses
from lib.model import (
    MAX_TIMEOUT_S,
    JobFacts,
    JobFailureNotificationFrequency,
    JobFile,
    JobFrequency,
    Policy,
)

#: As much of a traceback as is kept; the end is what tells.
TRACEBACK_LENGTH = 4096
NAME_LENGTH = 200


@dataclass(frozen=True)
class Found:
    """A job of a file, or trouble that stands in for one."""

    facts: JobFacts
    job: JobBase | None = None
    #: Why it cannot run; the outcome of the job instead of an execution.
    trouble: str = ""
    evidence: str = ""


@dataclass
class Discovered:
    """What a job file holds."""

    #: The file itself as a job: fails while the file, or a part of it, is broken.
    file: Found
    jobs: list[Found] = field(default_factory=list)
    #: Set where the file defines no job at all, which is odd but no failure.
    warning: str = ""


def facts_of_file(file: JobFile, contact: tuple[str, ...]) -> JobFacts:
    """Return how a job file is known as a job of its own."""
    return JobFacts(
        key=f"{file.name}/",
        name=f"{file.name}.py",
        file=str(file.path),
        frequency=JobFrequency.MINUTE,
        contact=contact,
        is_own=True,
    )


def discover(
    file: JobFile, config: configparser.ConfigParser, contact: tuple[str, ...]
) -> Discovered:
    """Return the jobs of ``file``, in the order in which it gives them."""
    as_job = facts_of_file(file, contact)
    found = Discovered(Found(as_job))
    try:
        module = _import(file)
        made = getattr(module, file.name, None)
        if isinstance(made, type) and issubclass(made, JobBase):
            _add(found, file, made(config), contact)
        elif isinstance(made, type) and issubclass(made, JobSpawner):
            for job in made().get_sub_jobs(config):
                _add(found, file, job, contact)
        else:
            found.warning = (
                f"{file.path} is no job: it has no class {file.name} that derives "
                "from JobBase or JobSpawner; a helper's name starts with _"
            )
    # What a job file raises is its own affair, SystemExit included.
    except BaseException as error:
        found.file = Found(
            as_job,
            trouble=f"{_what_broke(found, file)}: {described(error)}",
            evidence=formatted(error),
        )
    return found


def described(error: BaseException) -> str:
    """Return an exception in one line: its class, its text, where syntax is wrong."""
    try:
        text = str(error).strip()
    except BaseException:
        text = "(its text could not be made)"
    if isinstance(error, SystemExit):
        return f"it called sys.exit({text})"
    if isinstance(error, SyntaxError) and error.lineno:
        text = f"{error.msg} (line {error.lineno})"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def formatted(error: BaseException) -> str:
    """Return the traceback, from the job's own code on, cut to TRACEBACK_LENGTH."""
    trace = error.__traceback__
    while trace is not None and _is_ours(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    try:
        lines = traceback.format_exception(type(error), error, trace or None)
        text = "".join(lines)
    except BaseException:
        text = type(error).__name__
    return text if len(text) <= TRACEBACK_LENGTH else f"...{text[-TRACEBACK_LENGTH:]}"


def _is_ours(filename: str) -> bool:
    return filename.startswith("<frozen importlib") or filename in (
        __file__,
        __file__.replace("discover.py", "execute.py"),
        importlib.util.__file__,
    )


def _what_broke(found: Discovered, file: JobFile) -> str:
    if found.jobs:
        return f"after {len(found.jobs)} jobs, get_sub_jobs of {file.path} raised"
    return f"{file.path} cannot be loaded"


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


def _add(
    found: Discovered, file: JobFile, job: object, contact: tuple[str, ...]
) -> None:
    number = len(found.jobs) + 1
    added = _known(file, job, contact, number)
    twin = next(
        (other for other in found.jobs if other.facts.key == added.facts.key), None
    )
    if twin is not None:
        added = _trouble(
            file,
            contact,
            f"{added.facts.key}#{number}",
            added.facts.name,
            f"two jobs of {file.path} are the same to Checker, "
            f"{twin.facts.name!r} and {added.facts.name!r}: give JobBase.__init__ "
            "what tells them apart",
        )
    found.jobs.append(added)


def _known(file: JobFile, job: object, contact: tuple[str, ...], number: int) -> Found:
    """Return the job with what it says of itself, or with the trouble in that."""
    key, name = f"{file.name}/#{number}", f"{file.name} #{number}"
    if not isinstance(job, JobBase):
        text = f"{type(job).__name__} is no job: it does not derive from JobBase"
        return _trouble(file, contact, key, name, text)
    if not hasattr(job, "_apart"):
        return _trouble(
            file,
            contact,
            key,
            type(job).__name__,
            f"__init__ of {type(job).__name__} does not call JobBase's: "
            "add super().__init__(config)",
        )
    asked = "getStateName"
    try:
        key = f"{file.name}/{_line(job.getStateName())}"
        asked = "getName"
        name = _line(job.getName())[:NAME_LENGTH] or name
        for asked, answer in _answers(job):
            if asked == "contact":
                contact = answer()
            else:
                answer()
        facts = JobFacts(
            key=key,
            name=name,
            file=str(file.path),
            frequency=_frequency(job),
            policy=Policy(_notify(job), _failures(job)),
            contact=contact,
            timeout_s=_timeout(job),
            formerly=job.formerly(),
        )
    except BaseException as error:
        text = f"{asked} of {type(job).__name__} raised {described(error)}"
        return _trouble(file, contact, key, name, text, formatted(error))
    return Found(facts, job)


def _answers(job: JobBase) -> Iterator[tuple[str, Callable[[], Any]]]:
    yield "executeEvery", lambda: _frequency(job)
    yield "notifyOnFailureEvery", lambda: _notify(job)
    yield "numberFailuresBeforeNotification", lambda: _failures(job)
    yield "contact", lambda: _contact(job)
    yield "timeout", lambda: _timeout(job)
    yield "formerly", job.formerly


def _trouble(
    file: JobFile,
    contact: tuple[str, ...],
    key: str,
    name: str,
    text: str,
    evidence: str = "",
) -> Found:
    facts = JobFacts(key, name, str(file.path), JobFrequency.MINUTE, contact=contact)
    return Found(facts, trouble=text, evidence=evidence)


def _line(value: object) -> str:
    """Return text in one line, with nothing in it that a screen would obey."""
    words = " ".join(str(value).split())
    return "".join(letter if letter.isprintable() else "?" for letter in words)


def _frequency(job: JobBase) -> JobFrequency:
    answer = job.executeEvery()
    try:
        return JobFrequency(answer)
    except ValueError:
        raise _expected(answer, "one of JobFrequency") from None


def _notify(job: JobBase) -> JobFailureNotificationFrequency:
    # In the older program a hook that was not given answered None.
    answer = job.notifyOnFailureEvery() or JobBase.notifyOnFailureEvery(job)
    try:
        return JobFailureNotificationFrequency(answer)
    except ValueError:
        raise _expected(answer, "one of JobFailureNotificationFrequency") from None


def _failures(job: JobBase) -> int:
    answer = job.numberFailuresBeforeNotification()
    if answer is None:
        return JobBase.numberFailuresBeforeNotification(job)  # type: ignore[unreachable]  # older job files
    if isinstance(answer, bool) or not isinstance(answer, int) or answer < 1:
        raise _expected(answer, "a whole number of 1 or more")
    return int(answer)


def _contact(job: JobBase) -> tuple[str, ...]:
    return read_addresses(job.contact()) or JobBase.contact(job)


def _timeout(job: JobBase) -> float:
    answer = job.timeout()
    if isinstance(answer, bool) or not isinstance(answer, int | float):
        raise _expected(answer, "seconds")
    if not 0 < answer <= MAX_TIMEOUT_S:
        raise _expected(answer, f"seconds, more than 0 and at most {MAX_TIMEOUT_S}")
    return float(answer)


def _expected(answer: object, what: str) -> ValueError:
    return ValueError(f"expected {what}, not {repr(answer)[:80]}")

"""The job files in the job folders, and which of them must not be loaded."""

from __future__ import annotations

import keyword
import os
import stat
from collections.abc import Container, Sequence
from pathlib import Path

from lib.config import older
from lib.core.jobs import JobFile
from lib.core.sanitize import harmless
from lib.core.settings import Problem
from lib.system.permissions import why_not_run


def find_job_files(
    shipped: Path, own: Sequence[Path], shipped_names: Container[str]
) -> tuple[tuple[JobFile, ...], tuple[Problem, ...]]:
    """Return the job files, by folder and then by name, and the problems.

    A folder that is missing, or that others may write to, is a problem of section
    general, and none of its files is returned.  Of two files with the same name the
    later one is refused.
    """
    files: list[JobFile] = []
    problems: list[Problem] = []
    seen: set[tuple[int, int]] = set()
    by_name: dict[str, Path] = {}
    for folder in (shipped, *own):
        try:
            status = os.stat(folder)
            refused = why_not_run(folder)
            names = sorted(os.listdir(folder))
        except FileNotFoundError:
            problems.append(
                Problem(f"the job folder {folder} is missing", section="general")
            )
            continue
        except OSError as error:
            text = f"the job folder {folder} cannot be read: {error.strerror}"
            problems.append(Problem(text, section="general"))
            continue
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        if refused:
            text = f"no job of the folder {folder} runs: {refused}"
            problems.append(Problem(text, section="general"))
            continue
        for path in _python_files(folder, names):
            if not _is_python_name(path.stem):
                problems.append(_misnamed(path))
                continue
            ships = folder is shipped and path.stem in shipped_names
            other = by_name.setdefault(path.stem, path)
            refused = _why_refused(path, other)
            files.append(JobFile(path, path.stem, ships=ships, refused=refused))
    return tuple(files), tuple(problems)


def _python_files(folder: Path, names: list[str]) -> list[Path]:
    """Return the files that may be jobs: no folders, backups or helpers."""
    return [
        folder / name
        for name in names
        if name.endswith(".py")
        and not name.startswith((".", "_", "#"))
        and name.removesuffix(".py") not in older.NO_JOBS
        and not os.path.isdir(folder / name)
    ]


def _is_python_name(name: str) -> bool:
    return name.isidentifier() and not keyword.iskeyword(name)


def _misnamed(path: Path) -> Problem:
    text = (
        f"{harmless(path.name)} is not a job file: a class cannot have that name; "
        "use letters, digits and _ only"
    )
    return Problem(text, where=harmless(str(path.parent)), warning=True)


def _why_refused(path: Path, other: Path) -> str:
    """Return why the file must not be loaded, or ""."""
    if other != path:
        return f"{path} has the name of {other}: rename one, and its class"
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return f"{path} is not a file"
        refused = why_not_run(path)
    except FileNotFoundError:
        return f"{path} is a link to a file that is missing"
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"
    return f"{path} is not run: {refused}" if refused else ""

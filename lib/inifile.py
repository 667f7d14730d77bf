"""An INI file and the files it includes, as one, with the line of every option.

``include = conf.d/*.cfg`` in [general] reads further files, each of them once, beside
the including one.  Whatever is wrong in any of them is told at once.
"""

from __future__ import annotations

import configparser
import glob
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lib.config import Config
from lib.initext import IniText, Unreadable, decoded, file_content, twice_text
from lib.model import Problem
from lib.places import Entry, Places, Source
from lib.readers import shown
from lib.trust import why_not_write

MAX_INCLUDES_DEEP = 8
#: What is wrong in these cannot be passed over.
VITAL = frozenset({"general", "email"})


class IniError(Exception):
    """The file cannot be used; ``problems`` says why, all of it."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


@dataclass(frozen=True)
class IniFile:
    """What an INI file and its includes say, and where."""

    config: configparser.ConfigParser
    places: Places
    problems: tuple[Problem, ...]
    #: The files that were read, as people know them, in order; the first is the main.
    names: tuple[str, ...]
    #: The sections that stand in two places or hold a line that nobody can read.
    broken: frozenset[str]

    def where(self, section: str, option: str | None = None) -> str:
        """Return the line of an option, or else of its section, or else the file."""
        found = self.places.get(section, option) or self.places.get(section)
        return str(found) if found else self.names[0]


def read_ini(path: Path) -> IniFile:
    """Return what the file at ``path`` and its includes say.

    Raise IniError if a file cannot be read, or if nobody can tell what section a line
    is part of.  A section that is not whole is in ``broken``, and what is wrong with it
    among the problems: fatal if it is one of VITAL.
    """
    reading = _Reading(path)
    reading.add(path, path.name)
    problems = in_order(reading.problems, reading.names)
    if any(problem.fatal and not problem.section for problem in problems):
        raise IniError(problems)
    return IniFile(
        reading.config,
        reading.places,
        problems,
        tuple(reading.names),
        frozenset(reading.broken),
    )


def in_order(problems: Iterable[Problem], names: Iterable[str]) -> tuple[Problem, ...]:
    """Return the problems by file, in the order of ``names``, and by line."""
    order = {name: index for index, name in enumerate(names)}

    def place(problem: Problem) -> tuple[int, int]:
        name, _colon, line = problem.where.rpartition(":")
        if name in order and line.isdecimal():
            return order[name], int(line)
        return order.get(problem.where, -1), 0

    return tuple(sorted(problems, key=place))


class _Reading:
    """The files read so far, merged."""

    def __init__(self, main: Path) -> None:
        self.folder = main.parent
        self.config = Config()
        self.places = Places()
        self.problems: list[Problem] = []
        self.names: list[str] = []
        self.broken: set[str] = set()
        self._seen: set[tuple[int, int]] = set()

    def add(self, path: Path, name: str, deep: int = 0, asked_at: str = "") -> None:
        """Add what the file says, then what its includes say."""
        try:
            identity, content = file_content(path, is_main=not deep)
            if identity in self._seen:
                return
            self._seen.add(identity)
            self.names.append(name)
            source = Source(path, name)
            found = IniText(decoded(content), source)
        except Unreadable as error:
            where = f"{name}:{error.line}" if error.line else name
            self.names += [name] if name not in self.names else []
            text = error.text + (f"; {asked_at} includes it" if asked_at else "")
            self.problems.append(Problem(text, where, fatal=True))
            return
        for fault in found.faults:
            self._add_fault(f"{name}:{fault.line}", fault.section, fault.text)
        patterns = found.config.get("general", "include", fallback="").split(",")
        if not deep:
            self.config = found.config
        self.places.add(found.entries)
        for entry in found.entries:
            self._merge(entry, found.config)
        if not deep:
            self.config.remove_section(configparser.DEFAULTSECT)
            self.config.default_section = configparser.DEFAULTSECT
        where = f"{name}:{_line_of_include(found)}"
        for pattern in patterns:
            if pattern.strip():
                self._include(pattern.strip(), path.parent, where, deep + 1)

    def _add_fault(self, where: str, section: str, text: str) -> None:
        is_fatal = not section or section in VITAL
        self.problems.append(Problem(text, where, section, fatal=is_fatal))
        self.broken.add(section)

    def _merge(self, entry: Entry, config: Config) -> None:
        """Add one section or option to those of the files before."""
        section, option = entry.section, entry.option
        if section == configparser.DEFAULTSECT:
            # As ConfigParser's own default section it would be part of every target.
            text = "nothing reads this section; [defaults] is for all jobs"
            problem = Problem(text, str(entry), section, warning=True)
            self.problems += [problem] if option is None else []
            return
        if config is self.config:
            # It is the main file's, the first of all.
            return
        if option is None and not self.config.has_section(section):
            self.config.add_section(section)
        elif option is not None and not self.config.has_option(section, option):
            self.config.set(section, option, config.get(section, option))
        else:
            self._tell_twice(entry)

    def _tell_twice(self, entry: Entry) -> None:
        """Add a fault if it stands in another file, too, and must not."""
        first = self.places.get(entry.section, entry.option)
        is_told = first is None or first.source == entry.source
        if is_told or (entry.section, entry.option) == ("general", "include"):
            return
        # A section of one word may go on in another file, a target may not.
        if entry.option is not None or " " in entry.section:
            text = twice_text(entry, str(first))
            self._add_fault(str(entry), entry.section, text)

    def _include(self, pattern: str, folder: Path, where: str, deep: int) -> None:
        """Add the files that the pattern names, in sorted order."""
        try:
            if deep > MAX_INCLUDES_DEEP:
                raise OSError(0, f"more than {MAX_INCLUDES_DEEP} includes deep")
            found = _matches(pattern, folder)
            self._check_folders(pattern, found, where)
        except FileNotFoundError:
            text = f"include = {shown('', pattern)}: there is no such folder"
            self.problems.append(Problem(text, where, "general", warning=True))
            return
        except OSError as error:
            text = f"include = {shown('', pattern)}: {error.strerror}"
            self.problems.append(Problem(text, where, fatal=True))
            return
        for path in found:
            beside = path.is_relative_to(self.folder)
            name = str(path.relative_to(self.folder) if beside else path)
            self.add(path, name, deep, where)

    def _check_folders(self, pattern: str, found: list[Path], where: str) -> None:
        """Add a fault for each folder in which others may add a file to these."""
        if not glob.has_magic(pattern):
            return
        for folder in dict.fromkeys(path.parent for path in found):
            if why := why_not_write(folder):
                text = f"include = {shown('', pattern)}: no file there is read: {why}"
                self.problems.append(Problem(text, where, fatal=True))


def _line_of_include(text: IniText) -> int:
    lines = [
        entry.line
        for entry in text.entries
        if (entry.section, entry.option) == ("general", "include")
    ]
    return lines[-1] if lines else 0


def _matches(pattern: str, folder: Path) -> list[Path]:
    """Return the files that a pattern names, sorted; raise OSError if one cannot look.

    A name without wildcard is returned whether there is such a file or not.
    """
    pattern = os.path.expanduser(pattern)
    if not glob.has_magic(pattern):
        return [folder / pattern]
    parts = Path(pattern).parts
    plain = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    # glob() takes a folder that it may not read for an empty one.
    os.listdir(folder.joinpath(*parts[:plain]))
    found = glob.glob(pattern, root_dir=folder)
    return [folder / name for name in sorted(found) if not os.path.isdir(folder / name)]

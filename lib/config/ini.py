"""settings.cfg and the files it includes, read as one, with the line of every option.

``include = conf.d/*.cfg`` in [general] reads further files, each of them once.  The
standard ConfigParser does the reading; its documented hooks SECTCRE and optionxform
tell the line of each section and option.  All problems are reported at once.
"""

from __future__ import annotations

import bisect
import configparser
import glob
import os
import re
import stat
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast, overload

from lib.config.fields import shown
from lib.core.settings import Problem
from lib.system.permissions import why_not_write

MAX_INCLUDES_DEEP = 8
#: Problems in these sections are fatal.
VITAL = frozenset({"general", "email"})
MAX_BYTES = 16 * 1024 * 1024
#: Longer than any value; ConfigParser's pattern is very slow on long blanks.
MAX_LINE = 100_000
_BLANKS = re.compile(r"\S\s{1000}")
#: No section can have this name, so no section is ConfigParser's default section.
_NO_SECTION = "\0"
_TITLE = re.compile(r"\s*\[.+\]")

NO_TITLE_YET = "this line is before the first section; begin with [general]"
BROKEN_TITLE = (
    "this section title has no closing bracket; "
    "write it like [general] or [http homepage]"
)
NEITHER = (
    "this line is neither a [section] nor an option = value; "
    "a comment begins with #, a continuation line with spaces"
)
TOO_LONG = f"this line has over {MAX_LINE} characters, or 1000 blanks in a row"


class IniError(Exception):
    """The file cannot be used; ``problems`` lists every reason."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


@dataclass(frozen=True)
class IniFile:
    """The content of an INI file and its includes, and where each part is."""

    config: configparser.ConfigParser
    places: Places
    problems: tuple[Problem, ...]
    #: The files that were read, named from the settings' folder; the main file first.
    names: tuple[str, ...]
    #: The sections that are there twice or have a line that cannot be read.
    broken: frozenset[str]

    def where(self, section: str, option: str | None = None) -> str:
        """Return the line of an option, or else of its section, or else the file."""
        entry = self.places.get(section, option) or self.places.get(section)
        return str(entry) if entry else self.names[0]


def read_ini(path: Path) -> IniFile:
    """Return the content of the file at ``path`` and its includes.

    Raise IniError if a file cannot be read, or if it is unclear which section a line
    is part of.  A section with a faulty line is in ``broken``, and the fault among the
    problems: fatal if the section is one of VITAL.
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
        """Add the content of a file, then of its includes."""
        try:
            identity, content = file_content(path, is_main=not deep)
            if identity in self._seen:
                return
            self._seen.add(identity)
            self.names.append(name)
            source = Source(path, name)
            text = IniText(decoded(content), source)
        except Unreadable as error:
            where = f"{name}:{error.line}" if error.line else name
            self.names += [name] if name not in self.names else []
            why = error.text + (f"; {asked_at} includes it" if asked_at else "")
            self.problems.append(Problem(why, where, fatal=True))
            return
        for fault in text.faults:
            self._add_fault(f"{name}:{fault.line}", fault.section, fault.text)
        patterns = text.config.get("general", "include", fallback="").split(",")
        if not deep:
            self.config = text.config
        self.places.add(text.entries)
        for entry in text.entries:
            self._merge(entry, text.config)
        if not deep:
            self.config.remove_section(configparser.DEFAULTSECT)
            self.config.default_section = configparser.DEFAULTSECT
        where = f"{name}:{_line_of_include(text)}"
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
            # ConfigParser would add its default section to every target.
            text = "nothing reads this section; [defaults] is for all jobs"
            problem = Problem(text, str(entry), section, warning=True)
            self.problems += [problem] if option is None else []
            return
        if config is self.config:
            # The main file is read first.
            return
        if option is None and not self.config.has_section(section):
            self.config.add_section(section)
        elif option is not None and not self.config.has_option(section, option):
            self.config.set(section, option, config.get(section, option))
        else:
            self._add_duplicate(entry)

    def _add_duplicate(self, entry: Entry) -> None:
        """Add a fault if an entry is in another file, too, and must not be."""
        first = self.places.get(entry.section, entry.option)
        is_allowed = first is None or first.source == entry.source
        if is_allowed or (entry.section, entry.option) == ("general", "include"):
            return
        # A section of one word may continue in another file, a target may not.
        if entry.option is not None or " " in entry.section:
            text = twice_text(entry, str(first))
            self._add_fault(str(entry), entry.section, text)

    def _include(self, pattern: str, folder: Path, where: str, deep: int) -> None:
        """Add the files that the pattern names, in sorted order."""
        try:
            if deep > MAX_INCLUDES_DEEP:
                raise OSError(0, f"more than {MAX_INCLUDES_DEEP} includes deep")
            paths = _matches(pattern, folder)
            self._check_folders(pattern, paths, where)
        except FileNotFoundError:
            text = f"include = {shown('', pattern)}: there is no such folder"
            self.problems.append(Problem(text, where, "general", warning=True))
            return
        except OSError as error:
            text = f"include = {shown('', pattern)}: {error.strerror}"
            self.problems.append(Problem(text, where, fatal=True))
            return
        for path in paths:
            is_inside = path.is_relative_to(self.folder)
            name = str(path.relative_to(self.folder) if is_inside else path)
            self.add(path, name, deep, where)

    def _check_folders(self, pattern: str, paths: list[Path], where: str) -> None:
        """Add a fault for each folder into which other users may put files."""
        if not glob.has_magic(pattern):
            return
        for folder in dict.fromkeys(path.parent for path in paths):
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
    """Return the files that a pattern names, sorted; raise OSError if that fails.

    A name without a wildcard is returned whether there is such a file or not.
    """
    pattern = os.path.expanduser(pattern)
    if not glob.has_magic(pattern):
        return [folder / pattern]
    parts = Path(pattern).parts
    plain = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    # glob() treats an unreadable folder as an empty one.
    os.listdir(folder.joinpath(*parts[:plain]))
    names = glob.glob(pattern, root_dir=folder)
    return [folder / name for name in sorted(names) if not os.path.isdir(folder / name)]


class Unreadable(Exception):
    """A file cannot be read at all; ``line`` is 0 if it is not about a line."""

    def __init__(self, text: str, line: int = 0) -> None:
        super().__init__(text, line)
        self.text = text
        self.line = line


def file_content(path: Path, *, is_main: bool) -> tuple[tuple[int, int], bytes]:
    """Return the identity (device, inode) and the bytes of a file.

    Raise Unreadable if it is missing, or if it ``is_main`` and is empty.
    """
    hint = f"; copy settings.cfg.example to {path}" if is_main else ""
    try:
        # Opening a pipe without a writer would block.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(handle)
            if stat.S_ISDIR(status.st_mode):
                raise Unreadable(f"{path} is a folder, not a file")
            if not stat.S_ISREG(status.st_mode):
                raise Unreadable(f"{path} is not a file")
            with open(handle, "rb", closefd=False) as file:
                content = file.read(MAX_BYTES + 1)
        finally:
            os.close(handle)
    except FileNotFoundError as error:
        raise Unreadable(f"the file is missing{hint}") from error
    except OSError as error:
        raise Unreadable(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > MAX_BYTES:
        raise Unreadable(f"the file is bigger than {MAX_BYTES >> 20} MB")
    if is_main and not content.strip():
        raise Unreadable(f"the file is empty{hint}")
    return (status.st_dev, status.st_ino), content


def decoded(content: bytes) -> str:
    """Return the text of a file; raise Unreadable naming a line that is not UTF-8."""
    nul = content.find(b"\0")
    if nul >= 0:
        text = "there is a NUL byte in this line; is the file whole?"
        raise Unreadable(text, content.count(b"\n", 0, nul) + 1)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        byte = content[error.start]
        text = f"byte 0x{byte:02x} in this line is not UTF-8; save the file as UTF-8"
        line = content.count(b"\n", 0, error.start) + 1
        raise Unreadable(text, line) from error


@dataclass(frozen=True)
class Fault:
    """A faulty line; ``section`` is "" if it is unclear which one it is part of."""

    line: int
    section: str
    text: str


class IniText:
    """The content of one file: ``entries`` in order, ``config``, and ``faults``.

    Duplicates are all among the entries; ``config`` has the last one.
    """

    def __init__(self, text: str, source: Source) -> None:
        self.entries = Entries(source)
        self.faults: list[Fault] = []
        self.config = Config(strict=False, default_section=_NO_SECTION)
        #: What the parser accepts as options although it is none.
        self._no_options: set[tuple[str, str]] = set()
        self._line = 0
        self._section = ""
        self._read(text.replace("\r\n", "\n").replace("\r", "\n"))
        self.faults += twice(self.entries)
        self.faults.sort(key=lambda fault: fault.line)

    def _read(self, text: str) -> None:
        dropped = self._unreadable(text)
        parser = self.config
        parser.SECTCRE = cast("re.Pattern[str]", _Titles(self))
        parser.optionxform = self._option  # type: ignore[assignment]  # a hook
        try:
            parser.read_file(self._counted(text, dropped))
        except configparser.ParsingError as error:
            lines = list(_lines_of(text))
            for line, _words in error.errors:
                self._add_fault(line, lines[line - 1])
        # The lines are counted no longer.
        for hook in ("SECTCRE", "optionxform"):
            delattr(parser, hook)
        for section, option in self._no_options:
            parser.remove_option(section, option)

    def _unreadable(self, text: str) -> set[int]:
        """Add faults for lines that ConfigParser cannot read; return them."""
        dropped = set()
        early = 0
        has_starts = False
        for number, line in enumerate(_lines_of(text), start=1):
            if len(line) > MAX_LINE or _BLANKS.search(line.rstrip()):
                self.faults.append(Fault(number, "", TOO_LONG))
                dropped.add(number)
                continue
            has_starts = has_starts or bool(_TITLE.match(line))
            if not has_starts and _has_content(line):
                early = early or number
                dropped.add(number)
        if early:
            self.faults.append(Fault(early, "", NO_TITLE_YET))
        return dropped

    def _counted(self, text: str, dropped: set[int]) -> Iterator[str]:
        for number, line in enumerate(_lines_of(text), start=1):
            self._line = number
            yield "\n" if number in dropped else line

    def begin(self, section: str) -> None:
        """Record that a section begins on the current line."""
        self._section = section
        self.entries.add(self._line, section, None)

    def _option(self, words: str) -> str:
        option = Config.optionxform(self.config, words)
        if option and not option.startswith("["):
            self.entries.add(self._line, self._section, option)
            return option
        if option:
            self._add_fault(self._line, option)
        self._no_options.add((self._section, option))
        return option

    def _add_fault(self, line: int, words: str) -> None:
        if words.lstrip().startswith("["):
            # The lines below would count as part of the section before.
            self.faults.append(Fault(line, "", BROKEN_TITLE))
            return
        before = bisect.bisect(self.entries, line, key=lambda entry: entry.line) - 1
        self.faults.append(Fault(line, self.entries[before].section, NEITHER))


@dataclass(frozen=True)
class _Titles:
    """Replaces ConfigParser's pattern of section titles, and records each title."""

    text: IniText

    def match(self, words: str) -> re.Match[str] | None:
        """Return what ConfigParser's own pattern returns."""
        match = configparser.RawConfigParser.SECTCRE.match(words)
        if match:
            self.text.begin(match["header"])
        return match


def twice(entries: Iterable[Entry]) -> Iterator[Fault]:
    """Yield a fault for each section or option that is there twice.

    The options of a duplicate section are not reported as well.
    """
    titles: dict[str, int] = {}
    options: dict[str, int] = {}
    for entry in entries:
        if entry.option is None:
            options = {}
            line = titles.setdefault(entry.section, entry.line)
        else:
            line = options.setdefault(entry.option, entry.line)
        if line != entry.line:
            text = twice_text(entry, f"line {line}")
            yield Fault(entry.line, entry.section, text)


def twice_text(entry: Entry, first: str) -> str:
    """Return the sentence for a duplicate entry; ``first`` is where the first is."""
    what = f"the option {entry.option!r}" if entry.option else "this section"
    return f"{what} is there twice, first at {first}; keep one"


def _lines_of(text: str) -> Iterator[str]:
    first = 0
    while first < len(text):
        end = text.find("\n", first) + 1 or len(text)
        yield text[first:end]
        first = end


def _has_content(line: str) -> bool:
    words = line.strip()
    return bool(words) and words[0] not in "#;"


@dataclass(frozen=True)
class Source:
    """A file of the settings."""

    path: Path
    #: Its path relative to the settings' folder, for people.
    name: str


@dataclass(frozen=True)
class Entry:
    """A section's title (``option`` None) or an option, and its line."""

    line: int
    section: str
    option: str | None
    source: Source

    def __str__(self) -> str:
        return f"{self.source.name}:{self.line}"


class Entries(Sequence[Entry]):
    """The entries of a file in order, in columns, as there may be very many."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._lines = array("L")
        self._sections: list[str] = []
        self._options: list[str | None] = []

    def add(self, line: int, section: str, option: str | None) -> None:
        """Add a section's title, or an option."""
        self._lines.append(line)
        self._sections.append(section)
        self._options.append(option)

    def __len__(self) -> int:
        return len(self._lines)

    @overload
    def __getitem__(self, index: int) -> Entry: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Entry]: ...

    def __getitem__(self, index: int | slice) -> Entry | Sequence[Entry]:
        if isinstance(index, slice):
            return [self[number] for number in range(len(self))[index]]
        where = self._lines[index], self._sections[index], self._options[index]
        return Entry(*where, self.source)

    def part_of(self, section: str) -> Iterator[Entry]:
        """Yield the titles of a section, each with its options."""
        for first in self._starts.get(section, ()):
            yield self[first]
            for index in range(first + 1, len(self)):
                if self._options[index] is None:
                    break
                yield self[index]

    @cached_property
    def _starts(self) -> dict[str, list[int]]:
        starts: dict[str, list[int]] = {}
        for index, option in enumerate(self._options):
            if option is None:
                starts.setdefault(self._sections[index], []).append(index)
        return starts


class Places:
    """The line of each section and each option."""

    def __init__(self) -> None:
        self._files: list[Entries] = []

    def add(self, entries: Entries) -> None:
        """Add the entries of another file."""
        self._files.append(entries)

    def get(self, section: str, option: str | None = None) -> Entry | None:
        """Return where a section begins, or an option is; None: nowhere.

        The first file that has it counts; within a file the last duplicate of an
        option, as for the parser.
        """
        for entries in self._files:
            part = entries.part_of(section)
            if matches := [entry for entry in part if entry.option == option]:
                return matches[0] if option is None else matches[-1]
        return None

    @property
    def sources(self) -> list[Source]:
        """Return the files that have entries."""
        return [entries.source for entries in self._files if entries]


class Config(configparser.ConfigParser):
    """The settings as job authors see them: a ConfigParser without interpolation.

    Without its converters, a section needs a kilobyte less; there may be thousands.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(interpolation=None, **options)
        for kind in tuple(self.converters):
            del self.converters[kind]

    def optionxform(self, optionstr: str) -> str:
        """Return an option's name, which thousands of sections share."""
        return sys.intern(optionstr.lower())

    def __getitem__(self, key: str) -> configparser.SectionProxy:
        """Return a section; raise KeyError if there is none of that name."""
        if key != self.default_section and not self.has_section(key):
            raise KeyError(key)
        return _Section(self, key)


class _Section(configparser.SectionProxy):
    """A section with getint, getfloat and getboolean."""

    def getint(self, option: str, *more: Any, **options: Any) -> Any:
        """Return an option as a whole number."""
        return self.get(option, *more, _impl=self.parser.getint, **options)

    def getfloat(self, option: str, *more: Any, **options: Any) -> Any:
        """Return an option as a number."""
        return self.get(option, *more, _impl=self.parser.getfloat, **options)

    def getboolean(self, option: str, *more: Any, **options: Any) -> Any:
        """Return an option as yes or no."""
        return self.get(option, *more, _impl=self.parser.getboolean, **options)

"""settings.cfg and the files it includes, read as one, with the line of every option.

``include = conf.d/*.cfg`` in [general] reads further files, each of them once.  What
has no fault reads as the standard ConfigParser reads it; a test compares them.  All
problems are reported at once.
"""

from __future__ import annotations

import io
import os
import re
import stat
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from lib.config.hints import shown
from lib.core.encoding import digest
from lib.core.ini import IniFile, IniSection, OptionValue
from lib.core.settings import Problem
from lib.system.permissions import why_not_write

MAX_INCLUDES_DEEP = 8
#: Problems in these sections are fatal.
VITAL = frozenset({"general", "email"})
MAX_BYTES = 16 * 1024 * 1024
#: Longer than any value; the reason is a file that is no settings.
MAX_LINE = 100_000
MAX_BLANKS = 1000
#: What ConfigParser calls its default section.
DEFAULT_SECTION = "DEFAULT"
_BLANKS = rf"\S\s{{{MAX_BLANKS}}}"
_DELIMITER = "[=:]"
#: The line of an option as nearly all are: it begins at the margin, in ASCII.
_PLAIN_OPTION = re.compile(r"([a-z0-9_]++) *+[=:]([ -~]*+)\n?")

NO_TITLE_YET = "this line is before the first section; begin with [general]"
BROKEN_TITLE = (
    "this section title has no closing bracket; "
    "write it like [general] or [http homepage]"
)
NEITHER = (
    "this line is neither a [section] nor an option = value; is the = missing? "
    "A comment begins with #, a continuation line with spaces"
)
TOO_LONG = f"this line has over {MAX_LINE} characters, or {MAX_BLANKS} blanks in a row"


class IniError(Exception):
    """The file cannot be used; ``problems`` lists every reason."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


class IniContent(msgspec.Struct, frozen=True):
    """What the files hold, and what is wrong with them."""

    ini: IniFile
    problems: tuple[Problem, ...]
    #: The sections that are there twice or have a line that cannot be read.
    broken: frozenset[str]
    #: The problems that an included file is missing.
    missing: tuple[Problem, ...] = ()
    #: A digest of the text of all files.
    digest: str = ""


def read_ini(path: Path) -> IniContent:
    """Return the content of the file at ``path`` and its includes.

    Raise IniError if a file cannot be read, or if it is unclear which section a line
    is part of.  A section with a faulty line is in ``broken``, and the fault among the
    problems: fatal if the section is one of VITAL.
    """
    reading = _Reading(path)
    reading.add(path, path.name)
    all_problems = (*reading.problems, *reading.missing)
    problems = in_order(all_problems, reading.names)
    if any(problem.fatal and not problem.section for problem in problems):
        raise IniError(problems)
    ini = IniFile(path.parent, tuple(reading.names), reading.sections)
    return IniContent(
        ini,
        problems,
        frozenset(reading.broken),
        tuple(reading.missing),
        _digest_of(reading.digests),
    )


def read_copy(path: Path, texts: Mapping[str, str]) -> IniContent:
    """Return the content of a copy of the file at ``path`` and its includes.

    ``texts`` are by name, the main file first.  What they refer to is beside ``path``.
    """
    reading = _Reading(path)
    for name, text in texts.items():
        reading.add_text(name, text)
    problems = in_order(reading.problems, reading.names)
    if any(problem.fatal and not problem.section for problem in problems):
        raise IniError(problems)
    ini = IniFile(path.parent, tuple(reading.names), reading.sections)
    return IniContent(ini, problems, frozenset(reading.broken))


def texts_of(ini: IniFile) -> tuple[dict[str, str], str]:
    """Return the text of each file that was read, as it is now, and their digest.

    Raise Unreadable if one cannot be read any more.
    """
    texts = {
        name: decoded(file_content(ini.folder / name, is_main=False)[1])
        for name in ini.names
    }
    return texts, _digest_of(_text_digest(*item) for item in texts.items())


def _text_digest(name: str, text: str) -> str:
    return digest(f"{name}\0{text}".encode("utf-8", "surrogateescape"))


def _digest_of(digests: Iterable[str]) -> str:
    return digest(" ".join(digests).encode())


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
        self.sections: dict[str, IniSection] = {}
        self.problems: list[Problem] = []
        self.names: list[str] = []
        self.broken: set[str] = set()
        self.missing: list[Problem] = []
        self.digests: list[str] = []
        self._seen: set[tuple[int, int]] = set()

    def add(self, path: Path, name: str, deep: int = 0, asked_at: str = "") -> None:
        """Add the content of a file, then of its includes."""
        try:
            identity, content = file_content(path, is_main=not deep)
            if identity in self._seen:
                return
            self._seen.add(identity)
            text = decoded(content)
        except Unreadable as error:
            where = f"{name}:{error.line}" if error.line else name
            self.names += [name] if name not in self.names else []
            why = error.text + (f"; {asked_at} includes it" if asked_at else "")
            self.problems.append(Problem(why, where, fatal=True))
            return
        include = self.add_text(name, text).value("general", "include")
        for pattern in include.raw.split(",") if include else ():
            if include and pattern.strip():
                self._include(pattern.strip(), path.parent, include.where, deep + 1)

    def add_text(self, name: str, text: str) -> IniText:
        """Add the content of a file, but not of its includes; return it."""
        self.names += [name] if name not in self.names else []
        self.digests.append(_text_digest(name, text))
        ini = IniText(text, name)
        for fault in ini.faults:
            self._add_fault(f"{name}:{fault.line}", fault.section, fault.text)
        for title, section in ini.sections.items():
            self._merge(title, section)
        return ini

    def _add_fault(self, where: str, section: str, text: str) -> None:
        is_fatal = not section or section in VITAL
        self.problems.append(Problem(text, where, section, fatal=is_fatal))
        self.broken.add(section)

    def _merge(self, title: str, section: IniSection) -> None:
        """Add a section to those of the files before."""
        if title == DEFAULT_SECTION:
            # ConfigParser would add its default section to every target.
            text = "nothing reads this section; [defaults] is for all jobs"
            self.problems.append(Problem(text, section.where, title, warning=True))
            return
        before = self.sections.setdefault(title, section)
        if before is section:
            return
        # A section of one word may continue in another file, a target may not.
        if " " in title:
            self._add_fault(section.where, title, twice("", before.where))
        for option, value in section.options.items():
            first = before.options.setdefault(option, value)
            if first is not value and (title, option) != ("general", "include"):
                self._add_fault(value.where, title, twice(option, first.where))

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
        if not paths:
            text = f"include = {shown('', pattern)}: there is no such file"
            self.problems.append(Problem(text, where, "general", warning=True))
        for path in paths:
            if not os.path.lexists(path):
                # Its targets are missing, so this is no mere warning.
                text = f"include = {shown('', pattern)}: there is no file {path}"
                self.missing.append(Problem(text, where, "general"))
                continue
            is_inside = path.is_relative_to(self.folder)
            name = str(path.relative_to(self.folder) if is_inside else path)
            self.add(path, name, deep, where)

    def _check_folders(self, pattern: str, paths: list[Path], where: str) -> None:
        """Add a fault for each folder into which other users may put files."""
        if not _has_wildcard(pattern):
            return
        for folder in dict.fromkeys(path.parent for path in paths):
            if why := why_not_write(folder):
                text = f"include = {shown('', pattern)}: no file there is read: {why}"
                self.problems.append(Problem(text, where, fatal=True))


def _has_wildcard(pattern: str) -> bool:
    return any(char in pattern for char in "*?[")


def _matches(pattern: str, folder: Path) -> list[Path]:
    """Return the files that a pattern names, sorted; raise OSError if that fails.

    A name without a wildcard is returned whether there is such a file or not.
    """
    pattern = os.path.expanduser(pattern)
    if not _has_wildcard(pattern):
        return [folder / pattern]
    parts = Path(pattern).parts
    plain = next(i for i, part in enumerate(parts) if _has_wildcard(part))
    # glob() treats an unreadable folder as an empty one.
    os.listdir(folder.joinpath(*parts[:plain]))
    import glob

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


class Fault(msgspec.Struct, frozen=True):
    """A faulty line; ``section`` is "" if it is unclear which one it is part of."""

    line: int
    section: str
    text: str


class IniText:
    """The content of one file: its sections in order, and its faults.

    Of a duplicate option the last one counts, as in ConfigParser.
    """

    def __init__(self, text: str, name: str) -> None:
        self.name = name
        self.sections: dict[str, IniSection] = {}
        self.faults: list[Fault] = []
        #: The section and the option that the current line may be part of.
        self._title = ""
        self._section: IniSection | None = None
        self._option = ""
        self._option_line = 0
        self._value: list[str] = []
        #: How far the line of that option is indented.
        self._indent = 0
        #: The lines of the options since the last title.
        self._lines: dict[str, int] = {}
        self._has_early_fault = False
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        for number, line in enumerate(io.StringIO(text, newline="\n"), start=1):
            self._read_line(number, line)
        self._end_option()

    def value(self, section: str, option: str) -> OptionValue | None:
        """Return an option; None if it is not there."""
        known = self.sections.get(section)
        return known.options.get(option) if known else None

    def _read_line(self, number: int, line: str) -> None:
        section = self._section
        if section is not None and len(line) <= MAX_BLANKS:
            plain = _PLAIN_OPTION.fullmatch(line)
            if plain is not None:
                self._indent = 0
                self._begin_option(number, plain[1], plain[2].strip())
                return
        words = line.strip()
        if len(line) > MAX_BLANKS and _is_too_long(line):
            self._add_fault(number, "", TOO_LONG)
            words = ""
        if not words:
            # An empty line within a value is part of it.
            self._value.append("")
            return
        if words[0] in "#;":
            return
        indent = 0
        if line[0].isspace():
            indent = len(line) - len(line.lstrip())
        if self._option and indent > self._indent:
            self._value.append(words)
            return
        self._indent = indent
        if words[0] == "[" and (end := words.rfind("]")) > 1:
            self._begin_section(number, words[1:end])
        elif section is None:
            self._add_early_fault(number)
        else:
            self._read_option(number, words)

    def _begin_section(self, number: int, title: str) -> None:
        self._end_option()
        self._option = ""
        self._title = title
        self._lines = {}
        known = self.sections.get(title)
        if known is None:
            known = self.sections[title] = IniSection(self.name, number, {})
        else:
            self._add_fault(number, title, twice("", f"line {known.line}"))
        self._section = known

    def _read_option(self, number: int, words: str) -> None:
        delimiter = re.search(_DELIMITER, words)
        if delimiter is None:
            self._add_unclear(number, words)
            return
        option = words[: delimiter.start()].rstrip().lower()
        if not option or option[0] == "[":
            self._end_option()
            self._option = ""
            self._add_unclear(number, words)
            return
        self._begin_option(number, option, words[delimiter.end() :].strip())

    def _begin_option(self, number: int, option: str, value: str) -> None:
        self._end_option()
        # Thousands of sections share the names of their options.
        self._option = sys.intern(option)
        self._option_line = number
        self._value = [value]
        first = self._lines.setdefault(self._option, number)
        if first != number:
            self._add_fault(number, self._title, twice(option, f"line {first}"))

    def _end_option(self) -> None:
        """Keep the value of the option before the current line."""
        if self._option and self._section is not None:
            lines = self._value
            raw = lines[0] if len(lines) == 1 else "\n".join(lines).rstrip()
            self._section.options[self._option] = OptionValue(
                raw, self.name, self._option_line, self._title
            )
        self._value = []

    def _add_early_fault(self, number: int) -> None:
        if not self._has_early_fault:
            self._has_early_fault = True
            self._add_fault(number, "", NO_TITLE_YET)

    def _add_unclear(self, number: int, words: str) -> None:
        """Add a fault for a line that is neither a title nor an option."""
        if words[0] == "[":
            # The lines below would count as part of the section before.
            self._add_fault(number, "", BROKEN_TITLE)
        else:
            self._add_fault(number, self._title, NEITHER)

    def _add_fault(self, number: int, section: str, text: str) -> None:
        self.faults.append(Fault(number, section, text))


def _is_too_long(line: str) -> bool:
    return len(line) > MAX_LINE or bool(re.search(_BLANKS, line.rstrip()))


def twice(option: str, first: str) -> str:
    """Return the sentence for a duplicate; ``first`` is where the first one is."""
    what = f"the option {option!r}" if option else "this section"
    return f"{what} is there twice, first at {first}; keep one"

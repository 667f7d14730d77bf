"""One INI file: its text, and its sections and options, each with its line.

The standard ConfigParser reads.  Its two documented hooks, SECTCRE and optionxform,
tell which line it is at when it meets a section or an option.
"""

from __future__ import annotations

import bisect
import configparser
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from lib.config import Config
from lib.places import Entries, Entry, Source

MAX_BYTES = 16 * 1024 * 1024
#: Longer than any value; ConfigParser's pattern takes for ever on lines of blanks.
MAX_LINE = 100_000
_BLANKS = re.compile(r"\S\s{1000}")
#: No section can have this name, so that none leaks its options into the others.
_NO_SECTION = "\0"
_TITLE = re.compile(r"\s*\[.+\]")

NO_TITLE_YET = "this line stands before the first section; begin with [general]"
BROKEN_TITLE = "this title does not end; write it like [general] or [http homepage]"
NEITHER = (
    "this line is neither a [section] nor an option = value; "
    "a comment begins with #, a line that goes on from the one above with spaces"
)
TOO_LONG = f"this line has over {MAX_LINE} characters, or 1000 blanks in a row"


class Unreadable(Exception):
    """A file that cannot be read at all; the line is 0 where it is not about one."""

    def __init__(self, text: str, line: int = 0) -> None:
        super().__init__(text, line)
        self.text = text
        self.line = line


def file_content(path: Path, *, is_main: bool) -> tuple[tuple[int, int], bytes]:
    """Return what tells the file from others, and its bytes.

    Raise Unreadable if there is no such file, or nothing in one that ``is_main``.
    """
    way_out = f"; copy settings.cfg.example to {path}" if is_main else ""
    try:
        # A pipe that nobody writes to would wait for ever.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            facts = os.fstat(handle)
            if not stat.S_ISREG(facts.st_mode):
                is_folder = stat.S_ISDIR(facts.st_mode)
                raise Unreadable(f"{path} is {'a folder, ' * is_folder}not a file")
            with open(handle, "rb", closefd=False) as file:
                content = file.read(MAX_BYTES + 1)
        finally:
            os.close(handle)
    except FileNotFoundError as error:
        raise Unreadable(f"the file is missing{way_out}") from error
    except OSError as error:
        raise Unreadable(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > MAX_BYTES:
        raise Unreadable(f"the file is bigger than {MAX_BYTES >> 20} MB")
    if is_main and not content.strip():
        raise Unreadable(f"the file is empty{way_out}")
    return (facts.st_dev, facts.st_ino), content


def decoded(content: bytes) -> str:
    """Return the text of a file; raise Unreadable naming the line that is none."""
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
    """A line that is wrong; the section it is part of is "" where nobody can tell."""

    line: int
    section: str
    text: str


class IniText:
    """What a text says: ``entries`` in order, ``config`` with the values, ``faults``.

    What is there twice is twice among the entries, too; ``config`` has the later one.
    """

    def __init__(self, text: str, source: Source) -> None:
        self.entries = Entries(source)
        self.faults: list[Fault] = []
        self.config = Config(strict=False, default_section=_NO_SECTION)
        #: What the parser takes for options, and is none.
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
        # Not counting any more.
        for hook in ("SECTCRE", "optionxform"):
            delattr(parser, hook)
        for section, option in self._no_options:
            parser.remove_option(section, option)

    def _unreadable(self, text: str) -> set[int]:
        """Name the lines that ConfigParser would stop at or be slow on; return them."""
        dropped = set()
        early = 0
        has_begun = False
        for number, line in enumerate(_lines_of(text), start=1):
            if len(line) > MAX_LINE or _BLANKS.search(line.rstrip()):
                self.faults.append(Fault(number, "", TOO_LONG))
                dropped.add(number)
                continue
            has_begun = has_begun or bool(_TITLE.match(line))
            if not has_begun and _says_something(line):
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
        """Note that a section begins on the line that is being read."""
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
            # What follows would count as part of the section before.
            self.faults.append(Fault(line, "", BROKEN_TITLE))
            return
        before = bisect.bisect(self.entries, line, key=lambda entry: entry.line) - 1
        self.faults.append(Fault(line, self.entries[before].section, NEITHER))


@dataclass(frozen=True)
class _Titles:
    """Stands in for ConfigParser's pattern of section titles, and tells of each."""

    text: IniText

    def match(self, words: str) -> re.Match[str] | None:
        """Return what ConfigParser's own pattern returns."""
        found = configparser.RawConfigParser.SECTCRE.match(words)
        if found:
            self.text.begin(found["header"])
        return found


def twice(entries: Iterable[Entry]) -> Iterator[Fault]:
    """Yield a fault for each section or option that is there a second time.

    The options of a section that is there twice are not told as well.
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
    """Return the sentence for an entry that stands elsewhere already."""
    what = f"the option {entry.option!r}" if entry.option else "this section"
    return f"{what} is there twice, first at {first}; keep one"


def _lines_of(text: str) -> Iterator[str]:
    first = 0
    while first < len(text):
        end = text.find("\n", first) + 1 or len(text)
        yield text[first:end]
        first = end


def _says_something(line: str) -> bool:
    words = line.strip()
    return bool(words) and words[0] not in "#;"

"""The content of settings.cfg and its includes, with the line of every option.

``lib/config/ini.py`` reads it.  Values are text here; ``lib/config/load.py`` types the
sections about Checker itself, each kind of target types its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import configparser


class OptionValue:
    """The text of an option, and where it is; only ``raw`` shows the text."""

    # No Struct, which would become JSON with its text.  Tens of thousands of them are
    # kept, so the place is no text of its own.
    __slots__ = ("raw", "file", "line", "section")

    def __init__(self, raw: str, file: str, line: int, section: str) -> None:
        self.raw = raw
        self.file = file
        self.line = line
        #: The title of the section that gives it.
        self.section = section

    @property
    def where(self) -> str:
        """Return its place, ``settings.cfg:12``."""
        return f"{self.file}:{self.line}"

    def __repr__(self) -> str:
        # The text may be a password.
        return f"<option of [{self.section}], {self.where}>"

    def with_raw(self, raw: str) -> OptionValue:
        """Return another text in the same place."""
        return OptionValue(raw, self.file, self.line, self.section)


class IniSection(msgspec.Struct, frozen=True):
    """A section: where its title is, and its options."""

    file: str
    line: int
    options: dict[str, OptionValue]

    @property
    def where(self) -> str:
        """Return the place of its title, ``settings.cfg:12``."""
        return f"{self.file}:{self.line}"


class IniFile:
    """The sections of settings.cfg and its includes."""

    def __init__(
        self,
        folder: Path,
        names: tuple[str, ...] = ("settings.cfg",),
        sections: dict[str, IniSection] | None = None,
    ) -> None:
        #: Where relative paths start.
        self.folder = folder
        #: The files that were read, named from the folder; the main file comes first.
        self.names = names
        self.sections = sections or {}
        self._parsers: dict[bool, configparser.ConfigParser] = {}

    def __contains__(self, section: str) -> bool:
        return section in self.sections

    def __iter__(self) -> Iterator[str]:
        return iter(self.sections)

    def words(self) -> set[str]:
        """Return the first words of the titles of all sections that have several."""
        parts = (title.partition(" ") for title in self.sections)
        return {word for word, blank, _name in parts if blank}

    def options(self, section: str) -> dict[str, OptionValue]:
        """Return the options of a section; empty if there is no such section."""
        return self.sections[section].options if section in self.sections else {}

    def get(self, section: str, option: str, default: str = "") -> str:
        """Return the text of an option."""
        value = self.options(section).get(option)
        return default if value is None else value.raw

    def given(self, section: str) -> dict[str, str]:
        """Return the options of a section that have a value."""
        options = self.options(section).items()
        return {name: value.raw for name, value in options if value.raw}

    def where(self, section: str, option: str = "") -> str:
        """Return the line of an option, or else of its section, or else the file."""
        if section not in self.sections:
            return self.names[0]
        value = self.sections[section].options.get(option)
        return value.where if value else self.sections[section].where

    def parser(self, *, with_targets: bool = True) -> configparser.ConfigParser:
        """Return it as job authors see it, a ConfigParser without interpolation.

        It is made once, where it is asked for.  A section in it takes two kilobytes, so
        the jobs that ship go ``with_targets`` False: without ``[kind name]``.
        """
        import configparser

        if with_targets not in self._parsers:
            parser = configparser.ConfigParser(interpolation=None)
            parser.read_dict(
                {
                    title: {name: value.raw for name, value in section.options.items()}
                    for title, section in self.sections.items()
                    if with_targets or " " not in title or _is_channel(title)
                }
            )
            self._parsers[with_targets] = parser
        return self._parsers[with_targets]


def _is_channel(title: str) -> bool:
    return title.startswith("channel ")

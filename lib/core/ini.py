"""The content of settings.cfg and its includes, with the line of every option.

``lib/config/ini.py`` reads it.  Values are text here; ``lib/config/load.py`` types the
sections about Checker itself, each kind of target types its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import accumulate
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


class PackedSections(Mapping[str, IniSection]):
    """Sections as text, each of which is read whenever it is asked for.

    Packed before a worker is forked they are in memory once: what is read in the worker
    of a section goes as soon as its target is made.
    """

    def __init__(self, sections: Mapping[str, IniSection]) -> None:
        from array import array

        encode = msgspec.msgpack.Encoder().encode
        texts = [
            encode(
                (
                    section.file,
                    section.line,
                    {
                        name: (value.raw, value.file, value.line)
                        for name, value in section.options.items()
                    },
                )
            )
            for section in sections.values()
        ]
        self._titles = encode(tuple(sections))
        self._text = b"".join(texts)
        #: Where each text ends.
        self._ends = array("L", accumulate(map(len, texts)))
        self._decoder = msgspec.msgpack.Decoder(
            tuple[str, int, dict[str, tuple[str, str, int]]]
        )

    # Made where a section is asked for, which the supervisor hardly ever does.
    @cached_property
    def _numbers(self) -> dict[str, int]:
        titles = msgspec.msgpack.decode(self._titles)
        return {title: number for number, title in enumerate(titles)}

    def forget_places(self) -> None:
        """Free what finds sections by title; it is made again where it is needed."""
        vars(self).pop("_numbers", None)

    def __contains__(self, title: object) -> bool:
        return title in self._numbers

    def __iter__(self) -> Iterator[str]:
        return iter(self._numbers)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, title: str) -> IniSection:
        number = self._numbers[title]
        start = self._ends[number - 1] if number else 0
        text = memoryview(self._text)[start : self._ends[number]]
        file, line, options = self._decoder.decode(text)
        return IniSection(
            file,
            line,
            {name: OptionValue(*value, title) for name, value in options.items()},
        )


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
        #: The sections that were removed, each of which a failing job stands for.
        self.removed: dict[str, IniSection] = {}
        self._sections = sections or {}
        self._packed: PackedSections | None = None
        self._parsers: dict[bool, configparser.ConfigParser] = {}

    @property
    def sections(self) -> Mapping[str, IniSection]:
        """Return the sections, by title."""
        return self._sections if self._packed is None else self._packed

    def remove(self, section: str) -> None:
        """Remove a section, before all of them are packed."""
        self.removed[section] = self._sections.pop(section)

    def pack(self) -> None:
        """Keep the sections as text alone; the memory of thousands is free again."""
        if self._packed is None:
            self._packed = PackedSections(self._sections)
            self._sections = {}
        self._packed.forget_places()

    def __contains__(self, section: object) -> bool:
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
                    title: {
                        name: value.raw for name, value in self.options(title).items()
                    }
                    for title in self.sections
                    if with_targets or " " not in title or _is_channel(title)
                }
            )
            self._parsers[with_targets] = parser
        return self._parsers[with_targets]


def _is_channel(title: str) -> bool:
    return title.startswith("channel ")

"""Where each section and each option of the settings stands.

There may be very many, so they are kept in columns, and looked for when somebody asks.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import overload


@dataclass(frozen=True)
class Source:
    """A file of the settings."""

    path: Path
    #: As people know it: seen from the settings' folder.
    name: str


@dataclass(frozen=True)
class Entry:
    """A section's title (no option), or an option, and where it stands."""

    line: int
    section: str
    option: str | None
    source: Source

    def __str__(self) -> str:
        return f"{self.source.name}:{self.line}"


class Entries(Sequence[Entry]):
    """The entries of a file in order: very many, perhaps, so in columns."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._lines = array("L")
        self._sections: list[str] = []
        self._options: list[str | None] = []

    def add(self, line: int, section: str, option: str | None) -> None:
        """Note a section's title, or an option."""
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
        for first in self._begun.get(section, ()):
            yield self[first]
            for index in range(first + 1, len(self)):
                if self._options[index] is None:
                    break
                yield self[index]

    @cached_property
    def _begun(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for index, option in enumerate(self._options):
            if option is None:
                found.setdefault(self._sections[index], []).append(index)
        return found


class Places:
    """Where each section and each option stands."""

    def __init__(self) -> None:
        self._files: list[Entries] = []

    def add(self, entries: Entries) -> None:
        """Note what another file says."""
        self._files.append(entries)

    def get(self, section: str, option: str | None = None) -> Entry | None:
        """Return where a section begins, or an option stands; None: nowhere.

        What was read first counts; of an option that is twice in a file the later one,
        as for the parser.
        """
        for entries in self._files:
            here = entries.part_of(section)
            if found := [entry for entry in here if entry.option == option]:
                return found[0] if option is None else found[-1]
        return None

    @property
    def sources(self) -> list[Source]:
        """Return the files that say something."""
        return [entries.source for entries in self._files if entries]

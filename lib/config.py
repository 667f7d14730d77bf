"""The settings as job authors see them: a ConfigParser in little memory.

Each process of a run has it, and there may be thousands of sections.
"""

from __future__ import annotations

import configparser
import sys
from typing import Any


class Config(configparser.ConfigParser):
    """A ConfigParser without interpolation, so that ``%`` is a letter like any other.

    A plain one gives each section ways of its own to ask for numbers, which is a
    kilobyte; here a section has them once it is asked for.
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
    """A section with the ways to ask for numbers."""

    def getint(self, option: str, *more: Any, **options: Any) -> Any:
        """Return an option as a whole number."""
        return self.get(option, *more, _impl=self.parser.getint, **options)

    def getfloat(self, option: str, *more: Any, **options: Any) -> Any:
        """Return an option as a number."""
        return self.get(option, *more, _impl=self.parser.getfloat, **options)

    def getboolean(self, option: str, *more: Any, **options: Any) -> Any:
        """Return an option as yes or no."""
        return self.get(option, *more, _impl=self.parser.getboolean, **options)

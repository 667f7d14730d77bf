"""Checks the sections of the settings: those about Checker, targets, and unknown ones.

A problem in one target never stops the others: its section is left out.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

from msgspec.structs import replace

from lib.config import older
from lib.config.hints import nearest
from lib.config.ini import VITAL
from lib.config.options import (
    CHANNEL_WORD,
    MAINTENANCE_WORD,
    NAMED_SECTIONS,
    REQUIRED,
    SECTIONS,
    Option,
    hint_of,
    read_options,
    table_of,
)
from lib.config.targets import JOB, TEMPLATE
from lib.core.ini import IniFile
from lib.core.jobs import KIND_FILES, JobFile
from lib.core.secret import Secret
from lib.core.settings import Problem

#: A target's name goes into the subjects of mails.
MAX_NAME = 200
MAX_TITLE = MAX_NAME + 20
#: The sections about Checker itself.
_OURS = (*SECTIONS, *older.SECTIONS)
#: A title such as nearly all have: a word, a blank and a name, and nothing in either
#: that may be a secret or that does not print.
_PLAIN = re.compile(r"[!-?A-~]+ [!-?A-~]+")
#: The defaults for which an empty value needs no warning.
_NOTHING = (REQUIRED, None, "", (), Secret())
_NO_VALUE = "no value is given, so the default applies; give one, or delete the line"
#: How a job file of one's own says which kind it is.
_KIND_LINE = r"""(?m)^\s+kind(?:\s*:[^=\n]+)?\s*=\s*["']([a-z][a-z0-9_-]*)["']"""
_JOB_SECTION_HINT = "; a section for a job of your own is named after its file"


def read_section(
    ini: IniFile, section: str, options: Mapping[str, Option]
) -> tuple[dict[str, Any], list[Problem]]:
    """Return the values given in a section about Checker itself, and the problems.

    An option with nothing after its ``=`` counts as not given, unless it is unknown or
    a peer.  A wrong value in a section of VITAL is fatal; an unknown option is not.
    """
    given = ini.given(section)
    known = table_of(older.SECTIONS.get(section, section))
    empty = [name for name in ini.options(section) if name not in given]
    more = {name: "" for name in empty if name not in known}
    values, wrong = read_options({**given, **more}, options)
    problems = [
        replace(problem, fatal=section in VITAL and option in options)
        for option, problem in _problems(ini, section, wrong)
    ]
    problems += [
        Problem(
            f"{name} = : {_NO_VALUE}", ini.where(section, name), section, warning=True
        )
        for name in empty
        if name in known and known[name].default not in _NOTHING
    ]
    return values, problems


def check_titles(
    ini: IniFile, broken: Collection[str], own_kinds: Kinds, job_names: Collection[str]
) -> list[Problem]:
    """Return the problems of the titles of all sections but our own.

    The options of a target are typed in the worker that runs it.  A section whose first
    word is in ``job_names`` is left to that job class.  A target whose title is wrong,
    or that is one of ``broken``, is removed from ``ini``, where jobs would find it.
    """
    problems: list[Problem] = []
    first: dict[str, str] = {}
    wrong_titles = {title_of(section) for section in broken}
    titles = _Titles(ini, own_kinds, job_names)
    sections = [section for section in ini if titles.is_to_be_checked(section)]
    for section in sections:
        title = title_of(section)
        wrong = list(titles.problems(section, title))
        other = first.setdefault(title, section)
        if other != section:
            text = f"this section is there twice, first at {ini.where(other)}; keep one"
            wrong.append(Problem(text, ini.where(section), title))
        if wrong:
            problems += wrong
            wrong_titles |= {one.section for one in wrong if not one.warning}
    for section in sections if wrong_titles else ():
        word = section.partition(" ")[0]
        if title_of(section) in wrong_titles and titles.is_kind(word):
            ini.remove(section)
    return problems


def title_of(section: str) -> str:
    """Return a section's title without secrets, which is also its target's name."""
    if _is_plain(section):
        return section
    word, space, name = section.partition(" ")
    title = f"{word} {name.strip()}" if space else section
    title = re.sub(r"\S*[:/]\S*@", "***@", title[:MAX_TITLE])
    return title if title.isprintable() else repr(title)[1:-1]


def _is_plain(section: str) -> bool:
    """Return whether a title needs no further look, as nearly all."""
    return len(section) <= MAX_NAME and _PLAIN.fullmatch(section) is not None


class Kinds:
    """The kinds of targets: those that ship, and those of people's own job files.

    Own job files are read where a section has a word that is not known otherwise; none
    is loaded here.
    """

    def __init__(self, own_files: Iterable[JobFile] = ()) -> None:
        self._own_files = tuple(own_files)

    @cached_property
    def own(self) -> dict[str, str]:
        """Return the own kinds, each with the name of its job file."""
        own: dict[str, str] = {}
        for file in self._own_files:
            try:
                text = file.path.read_text("utf-8")
            except (OSError, ValueError):
                # The worker that loads the file says so.
                continue
            for kind in re.findall(_KIND_LINE, text):
                own.setdefault(kind, file.name)
        return own

    def file_of(self, word: str) -> str:
        """Return the name of the job file of a kind; empty if there is none."""
        return KIND_FILES.get(word) or self.own.get(word, "")

    def __iter__(self) -> Iterator[str]:
        return iter((*KIND_FILES, *self.own))


class _Titles:
    """What a section's title may be."""

    def __init__(self, ini: IniFile, kinds: Kinds, job_names: Collection[str]) -> None:
        self._ini = ini
        self._kinds = kinds
        self._job_names = job_names

    def is_kind(self, word: str) -> bool:
        return bool(self._kinds.file_of(word))

    def is_to_be_checked(self, section: str) -> bool:
        """Return whether nobody else reads a section of this title, or checks it."""
        word = section.partition(" ")[0]
        if word in self._job_names:
            return False
        return word in KIND_FILES or not (
            section in _OURS or table_of(section) or self._is_layer(section)
        )

    def _is_layer(self, section: str) -> bool:
        """Return whether jobs take options from a section of this title."""
        word, _space, name = section.partition(" ")
        if word == "defaults":
            return self.is_kind(name)
        return word in (TEMPLATE, JOB) and name != "" and name == name.strip()

    def problems(self, section: str, title: str) -> Iterator[Problem]:
        """Yield the problem of a section's title, if there is one."""
        if section.partition(" ")[0] in KIND_FILES and _is_plain(section):
            return
        where, wrong = self._ini.where(section), self._wrong(section)
        if wrong:
            yield Problem(wrong, where, title, fatal=section.strip() in VITAL)
        elif " " not in section:
            known = [name for name in _OURS if " " not in name]
            hint = nearest(section.lower(), (*known, *self._kinds, *self._job_names))
            text = f"nothing reads this section{hint or _JOB_SECTION_HINT}"
            # Without [email] no alert can be sent.
            is_email = "'email'" in hint and "email" not in self._ini
            yield Problem(text, where, title, fatal=is_email, warning=not is_email)

    def _wrong(self, section: str) -> str:
        """Return what is wrong with the title of a section, or ""."""
        word, space, name = section.partition(" ")
        first, *rest = section.split(None, 1) or [""]
        clean = " ".join((first, *rest)).rstrip()
        if clean == CHANNEL_WORD:
            return f"a channel needs a name of its own, such as [{CHANNEL_WORD} oncall]"
        if clean == MAINTENANCE_WORD:
            return f"a window needs a name of its own, such as [{clean} night]"
        if clean == TEMPLATE:
            return f"a template needs a name of its own, such as [{TEMPLATE} web]"
        if clean == JOB:
            return f"write the name of a job or of its file, such as [{JOB} Backup]"
        if " " not in clean and self.is_kind(clean):
            return f"a target needs a name of its own, such as [{clean} homepage]"
        if word == "defaults" and name.strip() == name != "":
            return self._unknown_kind(name)
        if not self.is_kind(word) and first in (
            *self._kinds,
            *_OURS,
            *NAMED_SECTIONS,
            TEMPLATE,
            JOB,
            *self._job_names,
        ):
            if section == clean:
                titles = [f"[{one}]" for one in _OURS if one.split()[0] == first]
                return f"write the title as {' or '.join(titles)}"
            return f"write the title as [{clean[:MAX_NAME]}], with single spaces"
        if not space:
            return ""
        if not self.is_kind(word):
            return self._unknown_kind(word)
        if not name.isprintable() or len(name) > MAX_NAME:
            return f"expected a name of at most {MAX_NAME} printable characters"
        if re.search(r"[:/]\S*@", name):
            return (
                "the name is shown in mails and tables; it must not contain a password"
            )
        return ""

    def _unknown_kind(self, word: str) -> str:
        words = (*self._kinds, TEMPLATE, JOB, *NAMED_SECTIONS, *self._job_names)
        hint = nearest(word.lower(), words)
        known = ", ".join(sorted(self._kinds))
        return f"unknown kind {word[:60]!r}{hint or f'; the kinds are {known}'}"


def _problems(
    ini: IniFile, section: str, wrong: Mapping[str, str]
) -> Iterator[tuple[str, Problem]]:
    for option, text in wrong.items():
        hint = hint_of(ini.get(section, option))
        where = ini.where(section, option)
        yield option, Problem(text + hint, where, title_of(section))

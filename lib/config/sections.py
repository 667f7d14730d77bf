"""Checks the sections of the settings: those about Checker, targets, and unknown ones.

A problem in one target never stops the others: its section is left out.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from lib.config.fields import nearest
from lib.config.ini import VITAL
from lib.config.kinds import KINDS, read_target
from lib.config.options import (
    OLD_NAMES,
    REQUIRED,
    SECTIONS,
    Option,
    hint_of,
    read_options,
)
from lib.config.targets import TEMPLATE
from lib.core.ini import IniFile
from lib.core.secret import Secret
from lib.core.settings import Problem

#: A target's name goes into the subjects of mails.
MAX_NAME = 200
MAX_TITLE = MAX_NAME + 20
#: The sections about Checker itself.
_OURS = (*SECTIONS, *OLD_NAMES)
#: The defaults for which an empty value needs no warning.
_NOTHING = (REQUIRED, None, "", (), Secret())
_NO_VALUE = "no value is given, so the default applies; give one, or delete the line"
_JOB_SECTION_HINT = "; a section for a job of your own is named after its file"


def read_section(
    ini: IniFile, section: str, options: Mapping[str, Option]
) -> tuple[dict[str, Any], list[Problem]]:
    """Return the values given in a section about Checker itself, and the problems.

    An option with nothing after its ``=`` counts as not given, unless it is unknown or
    a peer.  A wrong value in a section of VITAL is fatal; an unknown option is not.
    """
    given = ini.given(section)
    known = SECTIONS[OLD_NAMES.get(section, section)]
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


def check_targets(
    ini: IniFile,
    broken: Collection[str],
    defaults: Mapping[str, Any],
    job_names: Collection[str],
) -> list[Problem]:
    """Return the problems of the sections ``[kind name]``.

    A section whose first word is in ``job_names`` is left to that job class.  A faulty
    section, also one of ``broken``, is removed from ``ini``, where jobs would find it.
    """
    problems: list[Problem] = []
    first: dict[str, str] = {}
    wrong_titles = {title_of(section) for section in broken}
    target_sections = [
        section
        for section in ini
        if section not in _OURS
        and section.partition(" ")[0] not in job_names
        and not _is_layer(section)
    ]
    for section in target_sections:
        wrong = _check_target(ini, section, defaults, job_names)
        other = first.setdefault(title_of(section), section)
        if other != section:
            text = f"this section is there twice, first at {ini.where(other)}; keep one"
            wrong.append(Problem(text, ini.where(section), title_of(section)))
        problems += wrong
        wrong_titles |= {problem.section for problem in wrong if not problem.warning}
    for section in target_sections:
        if section.partition(" ")[0] in KINDS and title_of(section) in wrong_titles:
            del ini.sections[section]
    return problems


def _is_layer(section: str) -> bool:
    """Return whether targets take options from a section of this title."""
    word, _space, name = section.partition(" ")
    if word == "defaults":
        return name in KINDS
    return word == TEMPLATE and name != "" and name == name.strip()


def title_of(section: str) -> str:
    """Return a section's title without secrets, which is also its target's name."""
    if _is_plain(section):
        return section
    word, space, name = section.partition(" ")
    title = f"{word} {name.strip()}" if space else section
    title = re.sub(r"\S*[:/]\S*@", "***@", title[:MAX_TITLE])
    return title if title.isprintable() else repr(title)[1:-1]


def _is_plain(section: str) -> bool:
    """Return whether a title is well formed and holds no secret, as nearly all do."""
    words = section.split(" ", 2)
    return (
        len(section) <= MAX_NAME
        and section.isprintable()
        and "@" not in section
        and len(words) == 2
        and all(words)
        and words[1].strip() == words[1]
    )


def _check_target(
    ini: IniFile,
    section: str,
    defaults: Mapping[str, Any],
    job_names: Collection[str],
) -> list[Problem]:
    """Return the problems of a section that should be a target."""
    wrong = _wrong_title(section, job_names)
    if wrong:
        problem = Problem(wrong, ini.where(section), title_of(section))
        return [replace(problem, fatal=section.strip() in VITAL)]
    word, space, name = section.partition(" ")
    if not space:
        known = [name for name in _OURS if " " not in name]
        hint = nearest(section.lower(), (*known, *KINDS, *job_names))
        text = f"nothing reads this section{hint or _JOB_SECTION_HINT}"
        # Without [email] no alert can be sent.
        is_email = "'email'" in hint and "email" not in ini
        problem = Problem(text, ini.where(section), title_of(section))
        return [replace(problem, fatal=is_email, warning=not is_email)]
    given = {name: value.raw for name, value in ini.options(section).items()}
    _target, wrong_options = read_target(word, name.strip(), given, defaults)
    return [problem for _option, problem in _problems(ini, section, wrong_options)]


def _wrong_title(section: str, job_names: Collection[str]) -> str:
    """Return what is wrong with the title of a section, or ""."""
    word, space, name = section.partition(" ")
    if word in KINDS and _is_plain(section):
        return ""
    first, *rest = section.split(None, 1) or [""]
    clean = " ".join((first, *rest)).rstrip()
    if clean == TEMPLATE:
        return f"a template needs a name of its own, such as [{TEMPLATE} web]"
    if clean in KINDS:
        return f"a target needs a name of its own, such as [{clean} homepage]"
    if word == "defaults" and name.strip() == name != "":
        return _unknown_kind(name, job_names)
    if word not in KINDS and first in (*KINDS, *_OURS, TEMPLATE, *job_names):
        return f"write the title as [{clean[:MAX_NAME]}], with single spaces"
    if not space:
        return ""
    if word not in KINDS:
        return _unknown_kind(word, job_names)
    if not name.isprintable() or len(name) > MAX_NAME:
        return f"expected a name of at most {MAX_NAME} printable characters"
    if re.search(r"[:/]\S*@", name):
        return "the name is shown in mails and tables; it must not contain a password"
    return ""


def _unknown_kind(word: str, job_names: Collection[str]) -> str:
    hint = nearest(word.lower(), (*KINDS, TEMPLATE, *job_names))
    known = ", ".join(sorted(KINDS))
    return f"unknown kind {word[:60]!r}{hint or f'; the kinds are {known}'}"


def _problems(
    ini: IniFile, section: str, wrong: Mapping[str, str]
) -> Iterator[tuple[str, Problem]]:
    for option, text in wrong.items():
        hint = hint_of(ini.get(section, option))
        where = ini.where(section, option)
        yield option, Problem(text + hint, where, title_of(section))

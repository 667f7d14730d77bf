"""-m show: a section of the settings as it counts, and where each value comes from."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from msgspec.structs import replace

from lib.cli.settings_page import WHERE_NOT_GIVEN
from lib.config import older
from lib.config.fields import plain, secret
from lib.config.hints import is_secret_name, nearest
from lib.config.options import (
    POLICY_OPTIONS,
    REQUIRED,
    SECTIONS,
    Option,
    policy_options,
    table_of,
    written,
)
from lib.config.peers import peer_options
from lib.config.targets import (
    JOB,
    TEMPLATE,
    LayerError,
    Layers,
    TargetSection,
    target_sections,
)
from lib.core.ini import IniFile, OptionValue
from lib.core.jobs import Job, KindInfo, OptionInfo
from lib.core.sanitize import scrubbed
from lib.core.secret import Secrets
from lib.core.settings import Problem
from lib.report.rows import WORDS, place_row

COLUMNS = ("option", "value", "from")
OPTION_COLUMNS = ("option", "default", "purpose")
_PEER_KEY = re.compile(r"(,\s*key(?:_command)?\s*=).*")
#: The options of each kind.
Tables = Mapping[str, Mapping[str, Option]]


def sections(
    ini: IniFile,
    patterns: Sequence[str],
    tables: Tables,
    secrets: Secrets,
    problems: Iterable[Problem] = (),
    jobs: Iterable[Job] = (),
    idle: Iterable[Problem] = (),
) -> tuple[dict[str, list[dict[str, str]]], list[str]]:
    """Return the rows of each section that a pattern names, and the unmatched patterns.

    ``tables`` has the options of each kind, ``problems`` what is wrong in targets,
    ``jobs`` what sections make, ``idle`` the options of targets that do not count.  A
    section about Checker itself is there also if the file does not have it.  No secret
    is in the rows.
    """
    problems = tuple(problems)
    # No target takes what is wrong in the defaults of its kind.
    of_defaults = [one for one in problems if one.section.startswith("defaults ")]
    wrong = [one for one in of_defaults if not one.warning]
    places = {(one.section, one.where) for one in (*idle, *wrong)}
    known = dict(_all(ini, tables, places))
    for job in jobs:
        for title in (job.name, f"{JOB} {job.name}"):
            if title in known:
                known[title] = [_as_counts(row, job) for row in known[title]]
    for problem in problems:
        if problem.section in known:
            known[problem.section].append(
                _row("error", problem.text, problem.where, "error", problem.where)
            )
    named: dict[str, list[dict[str, str]]] = {}
    unmatched = []
    for pattern in patterns:
        titles = [title for title in known if _matches(title, pattern)]
        for title in titles:
            named[title] = [_clean(row, secrets) for row in known[title]]
        if not titles:
            unmatched.append(pattern)
    return named, unmatched


def _as_counts(row: dict[str, str], job: Job) -> dict[str, str]:
    """Return a row of a job; what the kind or the class chose is in it."""
    chosen = {
        "failures": str(job.policy.failures),
        "recoveries": str(job.policy.recoveries),
    }
    if row["source"] != "not_given" or row["option"] not in chosen:
        return row
    return {**row, "value": chosen[row["option"]], "source": "default"}


def tables_of(kinds: Iterable[KindInfo]) -> dict[str, dict[str, Option]]:
    """Return all options of each kind, those of every kind included."""
    return {
        kind.kind: {
            **{name: _option(info) for name, info in kind.options.items()},
            **policy_options(kind.every, kind.recheck, retries=kind.retries),
        }
        for kind in kinds
    }


def option_rows(kind: KindInfo) -> Iterator[dict[str, Any]]:
    """Yield a row for each option of a kind: its default, and what it is for."""
    for name, option in tables_of([kind])[kind.kind].items():
        if option.default is REQUIRED:
            default = "(must be given)"
        elif option.default is None:
            default = WHERE_NOT_GIVEN.get(name, "").replace("`", "")
        else:
            default = written(option.default, option.unit)
        purpose = option.help
        if option.also:
            purpose = f"{purpose}; also {option.also}"
        yield {
            "option": name,
            "default": None if option.default in (REQUIRED, None) else default,
            "required": option.default is REQUIRED,
            "help": option.help,
            "also": option.also,
            WORDS: {"default": default, "purpose": purpose},
        }


def _option(info: OptionInfo) -> Option:
    return Option(
        secret if info.is_secret else plain,
        REQUIRED if info.required else info.default,
        info.help,
        info.also,
    )


def _matches(title: str, pattern: str) -> bool:
    return title == pattern or fnmatchcase(title, pattern)


def _clean(row: Mapping[str, str], secrets: Secrets) -> dict[str, str]:
    return {name: scrubbed(text, secrets) for name, text in row.items()}


#: Options by the title that they do not count for, and their places.
Idle = Collection[tuple[str, str]]


def _all(
    ini: IniFile, tables: Tables, idle: Idle
) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Yield the title and the rows of every section."""
    for title in {**dict.fromkeys(SECTIONS), **dict.fromkeys(ini)}:
        if title.partition(" ")[0] not in tables:
            yield title, list(_rows_of_section(ini, title, tables))
    for kind, table in tables.items():
        for target in target_sections(ini, kind):
            counts = _as_it_counts(target, idle)
            yield target.title, list(_rows_of_target(ini, counts, table))


def _as_it_counts(target: TargetSection, idle: Idle) -> TargetSection:
    """Return a target without the options that do not count."""
    titles = (target.title, f"defaults {target.title.partition(' ')[0]}")
    options = {
        name: value
        for name, value in target.options.items()
        if not any((title, value.where) in idle for title in titles)
    }
    return replace(target, options=options)


def _rows_of_section(
    ini: IniFile, title: str, tables: Tables
) -> Iterator[dict[str, str]]:
    """Yield the rows of a section that is no target."""
    table = table_of(older.SECTIONS.get(title, title))
    options = ini.options(title)
    if title == "peers":
        table = {**table, **peer_options(options)}
    if title.startswith(f"{JOB} "):
        # A template that is missing is among the problems.
        with contextlib.suppress(LayerError):
            options = Layers(ini).of(title)
    is_layer = title.partition(" ")[0] in ("defaults", TEMPLATE)
    known = _options_in(tables) if is_layer else {}
    yield from _given(title, options, {**known, **table})
    yield from _by_default(ini, options, table, "default")


def _options_in(tables: Tables) -> dict[str, Option]:
    """Return the options of all kinds: what is a secret of one is a secret."""
    options: dict[str, Option] = {}
    for table in tables.values():
        for name, option in table.items():
            if name not in options or option.read is secret:
                options[name] = option
    return options


def _rows_of_target(
    ini: IniFile, target: TargetSection, table: Mapping[str, Option]
) -> Iterator[dict[str, str]]:
    """Yield the rows of a target."""
    yield from _given(target.title, target.options, table)
    of_kind = {
        name: option
        for name, option in table.items()
        if name not in POLICY_OPTIONS or option != POLICY_OPTIONS[name]
    }
    yield from _by_default(ini, target.options, of_kind, "default of the kind")
    others = {name: table[name] for name in table if name not in of_kind}
    yield from _by_default(ini, target.options, others, "default")


def _given(
    title: str, options: Mapping[str, OptionValue], table: Mapping[str, Option]
) -> Iterator[dict[str, str]]:
    for name, value in options.items():
        layer = "" if value.section == title else f" [{value.section}]"
        yield _row(
            name,
            _shown(name, value.raw, table),
            f"{value.where}{layer}",
            "settings",
            value.where,
            value.section,
        )


def _by_default(
    ini: IniFile,
    options: Mapping[str, OptionValue],
    table: Mapping[str, Option],
    default: str,
) -> Iterator[dict[str, str]]:
    for name, option in table.items():
        if name in options or option.also in options or option.default is REQUIRED:
            continue
        if name == "contact" and option.default is None:
            place = ini.where("general", "alertcontact")
            value = ini.get("general", "alertcontact")
            yield _row(name, value, f"{place} [general]", "settings", place, "general")
        elif option.default is None:
            yield _row(name, "", WHERE_NOT_GIVEN.get(name, ""), "not_given")
        else:
            yield _row(name, written(option.default, option.unit), default, "default")


def _row(
    option: str,
    value: str,
    where: str,
    source: str,
    place: str = "",
    layer: str = "",
) -> dict[str, str]:
    """Return a row: ``source`` is settings, default, not_given or error.

    ``layer`` is the section that gives the value, which may be a template or defaults.
    """
    return {
        "option": option,
        "value": value,
        "from": where,
        "source": source,
        "place": place,
        "layer": layer,
    }


def data_of(title: str, row: Mapping[str, str]) -> dict[str, Any]:
    """Return a row of a section as JSON has it."""
    return {
        "section": title,
        "option": row["option"],
        "value": row["value"],
        "source": row["source"],
        **place_row(row["place"]),
        "layer": row["layer"],
    }


def _shown(name: str, raw: str, table: Mapping[str, Option]) -> str:
    """Return a value as people may see it.

    A secret is ``***``, and so is a command that prints one, or what may be meant so.
    """
    option = table.get(name.removesuffix("_command"))
    if option is None:
        names = [one for one in table if table[one].read is secret]
        is_secret = bool(nearest(name, names))
    else:
        is_secret = option.read is secret
    if is_secret or (is_secret_name(name) and not name.endswith(("_file", "_env"))):
        return "***" if raw else ""
    return _PEER_KEY.sub(r"\1***", raw)

"""The targets of a kind: the sections ``[kind name]`` with their layers resolved.

An option comes from the section itself, from the templates that ``use =`` names (the
first that has it), from ``[defaults KIND]``, or from ``[defaults]``.  Its text is typed
by the kind, in the worker that runs it.  ``hosts =`` and ``hosts_file =`` make one
target for each host.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from lib.config.fields import CHANNEL_NAME, HOST_NAME
from lib.config.fields import host as host_field
from lib.config.fields import many
from lib.config.hints import nearest, no_contact, shown
from lib.config.ini import Unreadable, decoded, file_content
from lib.config.options import (
    DEFAULTS,
    LAYOUT_OPTIONS,
    POLICY_OPTIONS,
    Option,
    channels_in,
    hint_of,
    read_options,
    unknown_channels,
)
from lib.core.ini import IniFile, OptionValue
from lib.core.jobs import KIND_FILES
from lib.core.settings import Problem
from lib.system.permissions import why_not_write

TEMPLATE = "template"
#: The first word of ``lib/config/jobsections.py``'s sections.
JOB = "job"
#: How many templates may use one another.
MAX_DEEP = 20
#: The options that name hosts.
HOSTS_OPTIONS = frozenset({"hosts", "hosts_file"})
#: Stands for the host in the other options.
HOST = "{host}"
#: ``{host}`` where an IPv6 address needs brackets: in a URL, and before a port.
_BEFORE_PORT = r"(?<=://)\{host\}|(?<!\[)\{host\}(?=:[0-9])"
_AFTER_LOGIN = r"(://[^\s/?#@]*@)\{host\}"


class TargetSection(msgspec.Struct, frozen=True):
    """A target of the settings, its options not yet typed."""

    #: The name of its job, ``kind name``; for one of ``hosts =``, ``kind name/host``.
    title: str
    where: str
    options: Mapping[str, OptionValue]
    #: Which of ``hosts =`` it is; empty if the section has none.
    host: str = ""
    #: Why it cannot be run (a broken ``use``, ``hosts_file``), with file and line; the
    #: options are then those of the section and the defaults.  For a line that is no
    #: host they are those of its policy.
    problem: Problem | None = None

    @property
    def name(self) -> str:
        """Return its title without the kind."""
        return self.title.partition(" ")[2]


class Hosts(msgspec.Struct, frozen=True):
    """What ``hosts`` and ``hosts_file`` of a section name."""

    #: Each host with its place, an IPv6 address without brackets.
    places: dict[str, str] = {}
    #: What is no host, as a job may be called, and why with its place.
    wrong: dict[str, LayerError] = {}
    #: A host that is there again: the place of the second, and what is wrong with it.
    repeated: tuple[LayerError, ...] = ()


class LayerError(Exception):
    """A ``use`` or ``hosts_file`` that is broken, and where."""

    def __init__(self, where: str, text: str) -> None:
        super().__init__(where, text)
        self.where = where
        self.text = text

    def problem(self, title: str) -> Problem:
        """Return it as a problem of a target."""
        return Problem(self.text, self.where, title)


def target_sections(
    ini: IniFile, kind: str, without: Container[str] = ()
) -> Iterator[TargetSection]:
    """Yield the targets of a kind, in the order of the settings.

    ``{host}`` in an option is replaced.  ``without`` are the options of
    ``[defaults KIND]`` that do not count, because they are wrong.
    """
    sections = _Sections(ini, kind, without)
    for name in sections.titles:
        yield from sections.targets(name)


def place_of_option(ini: IniFile, title: str, option: str) -> str:
    """Return the place of an option of a job, or else of its section.

    ``title`` is the job's name.  It may be one of a section with ``hosts``, and a
    template may give the option.
    """
    kind = title.partition(" ")[0]
    for section in target_sections(ini, kind):
        if section.title == title:
            value = section.options.get(option)
            return value.where if value else section.where
    own = f"{JOB} {title}"
    return ini.where(own if own in ini else title, option)


def defaults_section(ini: IniFile, kind: str) -> TargetSection | None:
    """Return ``[defaults KIND]``, ``{host}`` replaced; None if there is none."""
    title = f"defaults {kind}"
    if title not in ini:
        return None
    options = {
        name: _with_host(value, "host") for name, value in ini.options(title).items()
    }
    return TargetSection(title, ini.where(title), options)


def hosts_of_no_section(ini: IniFile, kind: str) -> Iterator[Problem]:
    """Yield a warning for each ``[KIND NAME/host]`` with a NAME that no section has."""
    sections = _Sections(ini, kind)
    with_hosts: dict[str, Mapping[str, str]] = {}
    for name in sections.titles:
        with contextlib.suppress(LayerError):
            with_hosts[name] = sections.hosts_of(name).places
    with_hosts = {name: hosts for name, hosts in with_hosts.items() if hosts}
    for name, title in sections.titles.items():
        base, _slash, host = name.rpartition("/")
        if not base or base in sections.titles or base in sections.removed:
            continue
        hint = nearest(base, with_hosts)
        if hint or any(host in hosts for hosts in with_hosts.values()):
            text = f"there is no [{kind} {shown('', base)}] with hosts{hint}"
            yield Problem(text, ini.where(title), title, warning=True)


def repeated_hosts(ini: IniFile, kind: str) -> Iterator[Problem]:
    """Yield a warning for each host that a section names again."""
    sections = _Sections(ini, kind)
    for name, title in sections.titles.items():
        with contextlib.suppress(LayerError):
            for error in sections.hosts_of(name).repeated:
                yield Problem(error.text, error.where, title, warning=True)


def hosts_of_no_option(ini: IniFile, kind: str) -> Iterator[Problem]:
    """Yield a warning for each section with hosts, two of which check the same."""
    sections = _Sections(ini, kind)
    for name, title in sections.titles.items():
        with contextlib.suppress(LayerError):
            option = sections.names_hosts_in_vain(name)
            if option is not None:
                text = (
                    f"{HOST} is in no option, so the jobs of its hosts check the same"
                )
                yield Problem(text, option.where, title, warning=True)


def idle_former_names(
    renamed: Iterable[TargetSection], titles: Container[str]
) -> Iterator[Problem]:
    """Yield a warning for each ``was`` that takes no history, or not for certain.

    ``renamed`` are the targets of a kind that have one, ``titles`` the names of all of
    its jobs.  A name that never was cannot be told from one of long ago.
    """
    first: dict[str, TargetSection] = {}
    for target in renamed:
        kind, value = target.title.partition(" ")[0], target.options["was"]
        word, _space, _rest = value.raw.partition(" ")
        before = title_before(target)
        same = first.setdefault(before, target)
        text = ""
        if before == target.title:
            text = "it has this name now"
        elif before in titles:
            text = f"[{before}] is still there, and keeps its history"
        elif word != kind and word in KIND_FILES and value.raw != word:
            text = f"that is of kind {word}; history stays within a kind"
        elif same is not target:
            place = same.options["was"].where
            text = f"[{same.title}] says the same at {place}; one alone has the history"
        if text:
            shown_text = f"was = {shown('was', value.raw)}: {text}"
            yield Problem(shown_text, value.where, target.title, warning=True)


def renamed_targets(ini: IniFile) -> Iterator[tuple[str, str]]:
    """Yield the former name and the name of each target that was renamed.

    Not where the former name is another target's by now.
    """
    kinds = {title.partition(" ")[0] for title in ini if "was" in ini.options(title)}
    if TEMPLATE in kinds:
        kinds = ini.words() - {TEMPLATE, JOB}
    for kind in sorted(kinds):
        targets = list(target_sections(ini, kind))
        titles = {target.title for target in targets}
        for target in targets:
            before = title_before(target)
            if before and before not in titles:
                yield before, target.title


def title_before(target: TargetSection) -> str:
    """Return the name that a target had before, its kind included; empty: none."""
    value = target.options.get("was")
    return former_title(target.title.partition(" ")[0], value.raw) if value else ""


def former_title(kind: str, raw: str) -> str:
    """Return the name that ``was`` gives, its kind included; empty: it gives none.

    The name may begin with the kind, as titles do.
    """
    name = raw.removeprefix(f"{kind} ").strip()
    return f"{kind} {name}" if name else ""


def typed(
    target: TargetSection, options: Mapping[str, Option]
) -> tuple[dict[str, Any], list[Problem]]:
    """Return the values of a target by a kind's table, and every problem with its line.

    An option that is not given is in neither, unless it is required.
    """
    given = {name: value.raw for name, value in target.options.items()}
    values, wrong = read_options(given, options)
    return values, [problem_of(target, name, text) for name, text in wrong.items()]


def problem_of(target: TargetSection, option: str, text: str) -> Problem:
    """Return what is wrong with an option of a target, with its line."""
    value = target.options.get(option)
    if value is None:
        return Problem(text, target.where, target.title)
    return Problem(text + hint_of(value.raw), value.where, target.title)


class Contacts:
    """Finds names in contacts that are those of no channel."""

    def __init__(self, ini: IniFile) -> None:
        self._ini = ini
        #: What is wrong with each text; thousands of targets may have the same.
        self._wrong: dict[str, str] = {}

    def problem(self, target: TargetSection) -> Problem | None:
        """Return what is wrong with the contact of a target; None: nothing."""
        value = target.options.get("contact")
        text = self.why_not(value.raw) if value else ""
        if value is None or not text:
            return None
        return Problem(f"contact = {text}", value.where, target.title)

    def why_not(self, raw: str) -> str:
        """Return the first name that is that of no channel, and that; empty: none is.

        What cannot be a name is wrong as it stands.
        """
        if raw not in self._wrong:
            self._wrong[raw] = self._read(raw)
        return self._wrong[raw]

    def _read(self, raw: str) -> str:
        names = [name for name in many(raw) if re.fullmatch(CHANNEL_NAME, name)]
        unknown = unknown_channels(names, self._ini)
        if not unknown:
            return ""
        return f"{unknown[0]}: {no_contact(unknown[0], channels_in(self._ini))}"


class _Sections:
    """The sections of a kind, by the names of their targets."""

    def __init__(self, ini: IniFile, kind: str, without: Container[str] = ()) -> None:
        self.ini = ini
        self.kind = kind
        self.titles = _titles_by_name(ini, kind)
        #: Those that were taken out of the settings.
        self.removed = _titles_by_name(ini.removed, kind)
        of_kind = ini.options(f"defaults {kind}").items()
        self._defaults = {
            **_defaults(ini),
            **{name: value for name, value in of_kind if name not in without},
        }
        self._layers = Layers(ini)
        self._hosts: dict[str, Hosts] = {}

    def targets(self, name: str) -> Iterator[TargetSection]:
        """Yield the target of a section, or one for each of its hosts."""
        own_title = self.titles[name]
        section = self.ini.sections[own_title]
        where = section.where
        try:
            if self._is_override(name):
                return
            own = self._layers.with_templates(own_title, section.options)
            hosts = self._hosts_in(name, own)
        except LayerError as error:
            options = _over(self._defaults, section.options)
            title = self._clean_title(name)
            problem = error.problem(title)
            yield TargetSection(title, where, options, problem=problem)
            return
        options = _without_layout(_over(self._defaults, own))
        if not hosts.places:
            yield TargetSection(self._clean_title(name), where, options)
        for host in hosts.places:
            if f"{name}/{host}" not in self.removed:
                yield self._of_host(name, host, options)
        policy = {word: options[word] for word in options if word in POLICY_OPTIONS}
        for word, why in hosts.wrong.items():
            title = f"{self.kind} {name}/{word}"
            yield TargetSection(title, where, policy, word, why.problem(title))

    def _of_host(
        self, base: str, host: str, options: dict[str, OptionValue]
    ) -> TargetSection:
        """Return one of several hosts; a section of its own says what differs."""
        name = f"{base}/{host}"
        title = self.titles.get(name, self.titles[base])
        where = self.ini.where(title)
        try:
            own = self._own_of_host(title) if name in self.titles else {}
        except LayerError as error:
            problem = error.problem(f"{self.kind} {name}")
            return TargetSection(f"{self.kind} {name}", where, options, host, problem)
        if "was" in options:
            # Of a section with hosts it is the NAME of all its targets.
            options = {**options, "was": _of_each_host(options["was"])}
        merged = _over(options, _without_layout(own))
        with_host = {
            option: _with_host(value, host) for option, value in merged.items()
        }
        return TargetSection(f"{self.kind} {name}", where, with_host, host)

    def _own_of_host(self, title: str) -> dict[str, OptionValue]:
        """Return the options of the section of one host; raise LayerError."""
        given = self.ini.options(title)
        # A template may have them for the section of all hosts.
        for option in HOSTS_OPTIONS & given.keys():
            text = f"{option}: this section is about one host; leave it out"
            raise LayerError(given[option].where, text)
        return self._layers.of(title)

    def _clean_title(self, name: str) -> str:
        """Return the title with single spaces: that of the file, if it is so."""
        clean, title = f"{self.kind} {name}", self.titles[name]
        return title if title == clean else clean

    def _is_override(self, name: str) -> bool:
        """Return whether a section is about a host of another section.

        Raise LayerError if that section does not have this host.
        """
        base, _slash, host = name.rpartition("/")
        if base in self.removed:
            return self._had_hosts(base)
        if base not in self.titles:
            return False
        try:
            found = self.hosts_of(base)
        except LayerError:
            # It is reported with the other section, which cannot be run either.
            return True
        hosts = found.places
        if host in found.wrong:
            return True
        if hosts and host not in hosts:
            where = self.ini.where(self.titles[name])
            raise LayerError(
                where,
                f"[{self.kind} {base}] has no host {shown('', host)}"
                f"{nearest(host, hosts)}",
            )
        return bool(hosts)

    def _had_hosts(self, name: str) -> bool:
        """Return whether a section that was removed has hosts, or may have them."""
        title = self.removed[name]
        options = self.ini.removed[title].options
        try:
            return _gives_hosts(self._layers.with_templates(title, options))
        except LayerError:
            return True

    def hosts_of(self, name: str) -> Hosts:
        """Return the hosts of a section; raise LayerError."""
        return self._hosts_in(name, self._layers.of(self.titles[name]))

    def names_hosts_in_vain(self, name: str) -> OptionValue | None:
        """Return the option with the hosts of a section, if two of them are the same.

        One with a section of its own may differ by that.  Raise LayerError.
        """
        options = self._layers.of(self.titles[name])
        hosts = self._hosts_in(name, options).places
        alike = [host for host in hosts if f"{name}/{host}" not in self.titles]
        checked = {**self._defaults, **options}.items()
        if len(alike) < 2 or any(
            HOST in value.raw for word, value in checked if word not in POLICY_OPTIONS
        ):
            return None
        return next(options[word] for word in sorted(HOSTS_OPTIONS) if word in options)

    def _hosts_in(self, name: str, options: Mapping[str, OptionValue]) -> Hosts:
        if not _gives_hosts(options):
            return _NO_HOSTS
        if name not in self._hosts:
            self._hosts[name] = hosts_in(self.ini.folder, options)
        return self._hosts[name]


def _titles_by_name(titles: Iterable[str], kind: str) -> dict[str, str]:
    """Return the titles of a kind's sections, by the names of their targets."""
    names = {}
    for title in titles:
        word, _space, name = title.partition(" ")
        if word == kind and name.strip():
            names[name.strip()] = title
    return names


def _gives_hosts(options: Mapping[str, OptionValue]) -> bool:
    return not HOSTS_OPTIONS.isdisjoint(options)


def _defaults(ini: IniFile) -> dict[str, OptionValue]:
    """Return the options of [defaults], without the wrong ones.

    Those are reported once, with the section.
    """
    return {
        name: value
        for name, value in ini.options("defaults").items()
        if name in DEFAULTS and not read_options({name: value.raw}, DEFAULTS)[1]
    }


def _over(
    farther: Mapping[str, OptionValue], nearer: Mapping[str, OptionValue]
) -> dict[str, OptionValue]:
    """Return the options of two layers, those of the nearer one last.

    Of several names of one option, or ways to give one secret, the last one counts.
    """
    if farther.keys().isdisjoint(nearer):
        return {**farther, **nearer}
    left = {name: value for name, value in farther.items() if name not in nearer}
    return {**left, **nearer}


class Layers:
    """The options of sections with those of the templates that they use."""

    def __init__(self, ini: IniFile) -> None:
        self._ini = ini
        self._templates: dict[str, dict[str, OptionValue]] = {}

    def of(self, title: str) -> dict[str, OptionValue]:
        """Return the options of a section and of the templates it uses.

        Raise LayerError if a template is missing, or if templates use each other.
        """
        return self.with_templates(title, self._ini.options(title))

    def with_templates(
        self, title: str, own: dict[str, OptionValue], users: tuple[str, ...] = ()
    ) -> dict[str, OptionValue]:
        """Return a section's own options with those of the templates it uses.

        ``users`` are the titles of those that use it.  Raise LayerError as ``of`` does.
        """
        if "use" not in own:
            return own
        names = names_in(own["use"].raw)
        if not names:
            raise LayerError(own["use"].where, "use: expected the name of a template")
        layers: dict[str, OptionValue] = {}
        # The first template that is named wins, so it is applied last.
        for name in reversed(names):
            template = self._template(name, own["use"], (*users, title))
            layers = _over(layers, template)
        return _over(layers, own)

    def _template(
        self, name: str, use: OptionValue, users: tuple[str, ...]
    ) -> dict[str, OptionValue]:
        template = f"{TEMPLATE} {name}"
        if template in self._templates:
            return self._templates[template]
        if template not in self._ini:
            known = [
                title.partition(" ")[2] for title in self._ini if is_template(title)
            ]
            text = f"there is no [{TEMPLATE} {shown('', name)}]{nearest(name, known)}"
        elif template in users:
            text = f"[{template}] uses itself, directly or through another template"
        elif len(users) > MAX_DEEP:
            text = f"more than {MAX_DEEP} templates use one another"
        else:
            own = self._ini.options(template)
            self._templates[template] = self.with_templates(template, own, users)
            return self._templates[template]
        raise LayerError(use.where, f"use = {shown('', name)}: {text}")


def is_template(title: str) -> bool:
    """Return whether a section is a template."""
    word, _space, name = title.partition(" ")
    return word == TEMPLATE and bool(name.strip())


def hosts_in(folder: Path, options: Mapping[str, OptionValue]) -> Hosts:
    """Return the hosts that a section names; none: no such option.

    ``folder`` is where a relative hosts_file starts.  Raise LayerError if an option is
    given and names no host.
    """
    places: dict[str, str] = {}
    first: dict[str, str] = {}
    wrong: dict[str, LayerError] = {}
    repeated: list[LayerError] = []
    for option in sorted(HOSTS_OPTIONS):
        value = options.get(option)
        if value is None:
            continue
        named = list(_named(folder, option, value))
        if not named:
            file = f" in {folder / value.raw}" if option == "hosts_file" else ""
            text = f"{option}: expected at least one host{file}"
            raise LayerError(value.where, text)
        for word, where in named:
            host = _host_of(word)
            if host is None:
                text = f"{option}: {_expected(option, word)}, not {shown('', word)}"
                wrong.setdefault(shown("", word), LayerError(where, text))
                continue
            same = _same_for(host)
            if same in first:
                text = f"{option}: the host {host} is there twice, first at "
                text += f"{first[same]}; it is checked once"
                repeated.append(LayerError(where, text))
            else:
                first[same] = places[host] = where
    if wrong and not places:
        raise next(iter(wrong.values()))
    return Hosts(places, wrong, tuple(repeated))


_NO_HOSTS = Hosts()


def _host_of(word: str) -> str | None:
    """Return a host name or an address, without brackets; None if it is neither."""
    if re.fullmatch(HOST_NAME, word):
        return word if word.isprintable() else None
    name, colon, port = word.partition(":")
    if not colon:
        return None
    if port.isdecimal() and re.fullmatch(HOST_NAME, name):
        # In a URL it may have its port with it.
        return word
    try:
        return host_field(word)
    except ValueError:
        return None


def _same_for(host: str) -> str:
    """Return what is the same for each way to write a host."""
    if not _is_ipv6(host):
        return host.lower()
    import ipaddress

    return str(ipaddress.IPv6Address(host))


def _is_ipv6(host: str) -> bool:
    return host.count(":") > 1


def _expected(option: str, word: str) -> str:
    """Return what was expected where something is no host."""
    if option == "hosts_file" and re.search(r"[\s,]", word):
        return "expected one host name or address a line"
    if " " in word:
        return "expected host names or addresses with commas between"
    if _is_ipv6(word):
        try:
            host_field(word)
        except ValueError as error:
            return str(error)
    return "expected a host name or an address"


def _named(folder: Path, option: str, value: OptionValue) -> Iterator[tuple[str, str]]:
    """Yield the hosts of an option, each with its place."""
    if option == "hosts":
        for host in names_in(value.raw):
            yield host, value.where
        return
    path = folder / os.path.expanduser(value.raw)
    try:
        # Who may write a folder such as /tmp is no matter of ours.
        if refused := "" if path.is_dir() else why_not_write(path):
            raise Unreadable(refused)
        text = decoded(file_content(path, is_main=False)[1])
    except FileNotFoundError:
        raise LayerError(value.where, f"hosts_file: there is no file {path}") from None
    except Unreadable as error:
        line = f"line {error.line}: " if error.line else ""
        raise LayerError(value.where, f"hosts_file: {line}{error.text}") from error
    except OSError as error:
        raise LayerError(
            value.where, f"hosts_file: {path}: {error.strerror}"
        ) from error
    for number, line in enumerate(text.splitlines(), start=1):
        host = line.partition("#")[0].strip()
        if host:
            yield host, f"{value.raw}:{number}"


def names_in(raw: str) -> list[str]:
    """Return what a value lists, by commas or line by line."""
    return [part.strip() for part in re.split(r"[,\n]", raw) if part.strip()]


def _without_layout(options: dict[str, OptionValue]) -> dict[str, OptionValue]:
    if LAYOUT_OPTIONS.keys().isdisjoint(options):
        return options
    return {
        name: value for name, value in options.items() if name not in LAYOUT_OPTIONS
    }


def _of_each_host(was: OptionValue) -> OptionValue:
    return was if HOST in was.raw else was.with_raw(f"{was.raw}/{HOST}")


def _with_host(value: OptionValue, host: str) -> OptionValue:
    raw = value.raw
    if HOST not in raw:
        return value
    if _is_ipv6(host):
        raw = re.sub(_BEFORE_PORT, f"[{HOST}]", raw)
        raw = re.sub(_AFTER_LOGIN, rf"\1[{HOST}]", raw)
    return value.with_raw(raw.replace(HOST, host))

"""The channels of ``[channel NAME]``, and the contacts that name one."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from msgspec.structs import replace

from lib.config.fields import (
    CHANNEL_NAME,
    is_this_machine,
    shell_sign,
    url,
)
from lib.config.hints import no_channel
from lib.config.ini import VITAL
from lib.config.options import CHANNEL, CHANNEL_WORD, SECRET_SUFFIXES
from lib.config.secrets import read_secret, urls_in
from lib.config.sections import read_section, title_of
from lib.config.targets import JOB, TEMPLATE, Contacts
from lib.core.ini import IniFile
from lib.core.secret import Secret
from lib.core.settings import Channel, Problem
from lib.system.permissions import why_not_run

#: The options of which exactly one is given.
KINDS = ("url", "webhook", "command")
NO_APPRISE = "url needs Apprise, which is not installed: pip install 'apprise>=2.3,<3'"
#: Not the name of a channel: reports call mail so.
_RESERVED = ("mail",)
#: Where a service of Apprise begins: ``ntfys://``.
_SERVICE = re.compile(r"[a-z][a-z0-9_-]{0,19}(?=://)", re.I)
#: Apprise takes each ``verify`` that it does not know for no; so only these are yes.
_VERIFIED = ("yes", "true", "1", "on")
#: By schema: how many parts of the path of a URL come before the recipients, and the
#: options with which they are told apart otherwise, or are all in one call.  A test
#: holds each against Apprise.
RECIPIENTS: Mapping[str, tuple[int, frozenset[str]]] = {
    "line": (0, frozenset()),
    "mailgun": (1, frozenset({"batch"})),
    "mailto": (0, frozenset()),
    "mailtos": (0, frozenset()),
    "matrix": (0, frozenset({"mode"})),
    "matrixs": (0, frozenset({"mode"})),
    "msgbird": (1, frozenset()),
    "nexmo": (0, frozenset()),
    "ntfy": (0, frozenset()),
    "ntfys": (0, frozenset()),
    "signal": (1, frozenset({"batch", "from"})),
    "signals": (1, frozenset({"batch", "from"})),
    "sinch": (0, frozenset()),
    "slack": (2, frozenset({"mode", "token"})),
    "tgram": (0, frozenset()),
    "twilio": (0, frozenset()),
    "vonage": (0, frozenset()),
}
#: In ``?to=`` services differ in whether these stand between recipients; a comma does.
_BETWEEN_PERHAPS = re.compile(r"[][;|/\\\s]|[^,]#")
#: What a secret for signatures begins with, by Standard Webhooks.
SECRET_PREFIX = "whsec_"


def read_channels(
    ini: IniFile, folder: Path, with_secrets: bool
) -> tuple[dict[str, Channel], list[Problem]]:
    """Return the channels by name, those that are wrong as well, and the problems.

    ``with_secrets`` False: a secret in a file, variable or command is not read, and the
    channel cannot be used.
    """
    channels: dict[str, Channel] = {}
    problems: list[Problem] = []
    for section in ini:
        word, _space, name = section.partition(" ")
        if word != CHANNEL_WORD or not name:
            continue
        reader = _Reader(ini, section, name, folder, with_secrets)
        channel = reader.channel()
        wrong = [problem for problem in reader.problems if not problem.warning]
        if wrong:
            problem = f"see {wrong[0].where} of the settings"
            channel = Channel(name, fallback=channel.fallback, problem=problem)
        channels[name] = channel
        problems += reader.problems
    problems += _wrong_successors(ini, channels)
    return channels, problems


def _wrong_successors(ini: IniFile, channels: dict[str, Channel]) -> Iterator[Problem]:
    """Yield what is wrong with fallback and escalate, and take them away.

    They may name a channel that does not exist, or go round in a circle.
    """
    for option in ("fallback", "escalate"):
        for name, channel in list(channels.items()):
            successor = getattr(channel, option)
            if successor is None:
                continue
            text = ""
            if successor[0] not in channels:
                others = [other for other in channels if other != name]
                text = no_channel(successor[0], others)
            elif circle := _circle(name, option, channels):
                text = f"{' -> '.join(circle)} is a circle; leave one of them out"
            if text:
                section = f"{CHANNEL_WORD} {name}"
                where = ini.where(section, option)
                yield Problem(f"{option} = {successor[0]}: {text}", where, section)
                channels[name] = replace(channel, **{option: None})


def _circle(name: str, option: str, channels: Mapping[str, Channel]) -> list[str]:
    """Return the names of a circle that begins at a channel; empty if there is none."""
    names = [name]
    while (successor := getattr(channels[names[-1]], option)) is not None:
        names.append(successor[0])
        if successor[0] == name:
            return names
        if successor[0] not in channels or len(names) > len(channels):
            break
    return []


class _Reader:
    """Reads one section."""

    def __init__(
        self, ini: IniFile, section: str, name: str, folder: Path, with_secrets: bool
    ) -> None:
        self._ini = ini
        self._section = section
        self._name = name
        self._folder = folder
        self._with_secrets = with_secrets
        self.values, self.problems = read_section(ini, section, CHANNEL)

    def channel(self) -> Channel:
        """Return the channel; its problems are in ``problems``."""
        if not re.fullmatch(CHANNEL_NAME, self._name) or self._name in _RESERVED:
            text = "expected a name of letters, digits, - and _"
            if self._name in _RESERVED:
                text = f"{self._name} is not the name of a channel; choose another one"
            self._add("", text)
        values = self.values
        self._check_kinds()
        channel = Channel(
            self._name,
            services=self._services(),
            webhook=self._webhook(),
            command=self._command(),
            secret=self._signing_secret(),
            token=self._secret("token"),
            cafile=self._cafile(),
            insecure=values.get("insecure", False),
            timeout_s=values.get("timeout", CHANNEL["timeout"].default),
            level=values.get("level", CHANNEL["level"].default),
            fallback=values.get("fallback"),
            escalate=values.get("escalate"),
            when=values.get("when", ""),
            proof=values.get("proof", ""),
        )
        return channel

    def _check_kinds(self) -> None:
        given = self._given()
        kinds = [
            kind for kind in KINDS if any(self._kind_of(one) == kind for one in given)
        ]
        if not kinds:
            self._add(
                "", "expected one of url, webhook, command: the way messages take"
            )
        elif len(kinds) > 1:
            self._add(kinds[-1], f"{' and '.join(kinds)} are given; keep one")
        if kinds != ["webhook"]:
            for name in ("secret", "token"):
                if any(self._base_of(one) == name for one in given):
                    self._add(name, f"{name} is for webhook only; delete it")

    def _given(self) -> list[str]:
        return list(self._ini.given(self._section))

    @staticmethod
    def _kind_of(option: str) -> str:
        return option if option == "command" else _Reader._base_of(option)

    @staticmethod
    def _base_of(option: str) -> str:
        for name in ("url", "webhook", "secret", "token"):
            if option in (name + suffix for suffix in SECRET_SUFFIXES):
                return name
        return ""

    def _secret(self, name: str) -> Secret:
        if not self._with_secrets and name not in self.values:
            return Secret()
        try:
            return read_secret(name, self.values, self._folder)
        except ValueError as error:
            options = [one for one in self._given() if self._base_of(one) == name]
            self._add(options[-1], str(error))
            return Secret()

    def _services(self) -> dict[str, Secret]:
        given = self._secret("url")
        is_url = any(self._base_of(one) == "url" for one in self._given())
        if is_url and importlib.util.find_spec("apprise") is None:
            self._add("url", NO_APPRISE)
            return {}
        services: dict[str, Secret] = {}
        for number, text in enumerate(urls_in(given.reveal()), start=1):
            begin = _SERVICE.match(text)
            if begin is None:
                expected = "expected services of Apprise, such as ntfys://host/topic"
                self._add("url", f"url: {expected}")
                return {}
            if not _is_verified(text) and not self.values.get("insecure"):
                self._add(
                    "url",
                    f"url: service {number} turns off the verification of TLS; "
                    "write verify=yes, or set insecure = yes",
                )
            for one in one_recipient_each(text):
                services[_free_word(begin[0].lower(), services)] = Secret(one)
        return services

    def _webhook(self) -> Secret:
        given = self._secret("webhook")
        if not given:
            return given
        try:
            parts = urlsplit(url(given.reveal()))
        except ValueError as error:
            self._add("webhook", f"webhook: {error}")
            return given
        host = parts.hostname or ""
        is_plain = parts.scheme == "http" and not is_this_machine(host)
        if is_plain and not self.values.get("insecure"):
            self._add(
                "webhook",
                "webhook: http to another host sends alerts and secrets unencrypted; "
                "use https, or set insecure = yes",
            )
        return given

    def _signing_secret(self) -> Secret:
        given = self._secret("secret")
        if given and signing_key(given) is None:
            self._add(
                "secret",
                f"secret: expected {SECRET_PREFIX} and 24 to 64 bytes in base64; make "
                "one with: echo whsec_$(openssl rand -base64 32)",
            )
        return given

    def _cafile(self) -> str:
        given = self.values.get("cafile", "")
        path = str(self._folder / os.path.expanduser(given)) if given else ""
        if path and not os.path.isfile(path):
            self._add("cafile", f"cafile: there is no file {path}")
        return path

    def _command(self) -> tuple[str, ...]:
        words = self.values.get("command", ())
        if not words:
            return ()
        program = _program(words[0], self._folder)
        if why := _why_not_program(words[0], program):
            self._add("command", f"command: {why}")
            return ()
        if sign := shell_sign(words):
            self._add(
                "command",
                f"command: no shell reads this, so {sign} is an argument of "
                f"{program.name if program else words[0]}; write a script, or use "
                "sh -c '...'",
                is_warning=True,
            )
        return (str(program), *words[1:])

    def _add(self, option: str, text: str, *, is_warning: bool = False) -> None:
        options = [one for one in self._given() if self._base_of(one) == option]
        where = self._ini.where(self._section, options[0] if options else option)
        self.problems.append(
            Problem(text, where, title_of(self._section), warning=is_warning)
        )


def _is_verified(service: str) -> bool:
    """Return whether a service's URL leaves the verification of TLS as it is, on."""
    query = service.partition("?")[2].replace(";", "&")
    return all(
        value.strip().lower() in _VERIFIED
        for name, value in parse_qsl(query, keep_blank_values=True)
        if name.strip().lower() == "verify"
    )


def one_recipient_each(service: str) -> list[str]:
    """Return a service's URL for each of its recipients, so that a retry reaches one.

    They are parts of its path, and those of ``to`` in its query.  Where its form does
    not tell them apart without Apprise: the URL alone.
    """
    place, _mark, query = service.partition("?")
    schema, _colon, rest = place.partition("://")
    host, *parts = [part for part in rest.split("/") if part] or [""]
    options = [option.partition("=") for option in query.split("&") if option]
    names = [unquote(name).strip().lower() for name, _equals, _value in options]
    before = _parts_before_recipients(schema.lower(), host, names)
    to = [unquote(value) for name, (_, _, value) in zip(names, options) if name == "to"]
    is_clear = len(to) < 2 and not _BETWEEN_PERHAPS.search("".join(to))
    if before is None or ";" in query or not is_clear:
        return [service]
    to_names = [quote(one, safe="") for one in "".join(to).split(",") if one]
    recipients = list(dict.fromkeys([*parts[before:], *to_names]))
    if len(recipients) < 2:
        return [service]
    start = "/".join([f"{schema}://{host}", *parts[:before]])
    others = ["".join(option) for name, option in zip(names, options) if name != "to"]
    mark = "?" if others else ""
    return [f"{start}/{one}{mark}{'&'.join(others)}" for one in recipients]


def _parts_before_recipients(
    schema: str, host: str, options: Iterable[str]
) -> int | None:
    """Return how many parts of a path are no recipients; None if that is not known."""
    count, other_form = RECIPIENTS.get(schema, (None, frozenset(options)))
    if not other_form.isdisjoint(options):
        return None
    # The token of a bot at Slack is one part, that of a webhook three.
    is_bot = schema == "slack" and host.rpartition("@")[2].startswith("xo")
    return 0 if is_bot else count


def _free_word(word: str, taken: Mapping[str, Any]) -> str:
    """Return the word, with a number if it is taken: ``ntfy-2``."""
    number = 1
    name = word
    while name in taken:
        number += 1
        name = f"{word}-{number}"
    return name


def _program(word: str, folder: Path) -> Path | None:
    """Return the program's path; None if there is none of that name in PATH."""
    if "/" in word or word.startswith("~"):
        return folder / os.path.expanduser(word)
    found = shutil.which(word)
    return Path(found).absolute() if found else None


def _why_not_program(word: str, program: Path | None) -> str:
    """Return why a program is not run, and what to do, or ""."""
    if program is None:
        return f"there is no program {word[:60]!r} in PATH; give its whole path"
    try:
        if not stat.S_ISREG(os.stat(program).st_mode):
            return f"{program} is not a file"
        if not os.access(program, os.X_OK):
            return f"{program} may not be run: chmod u+x {program}"
        refused = why_not_run(program) or why_not_run(program.parent)
    except OSError as error:
        return f"{program} cannot be run: {error.strerror}"
    return f"{program} is not run: {refused}" if refused else ""


def signing_key(secret: Secret) -> bytes | None:
    """Return the key of a secret of Standard Webhooks; None if it is none."""
    import base64

    text = secret.reveal()
    if not text.startswith(SECRET_PREFIX):
        return None
    try:
        key = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except ValueError:
        return None
    return key if 24 <= len(key) <= 64 else None


# Contacts.


def check_contacts(ini: IniFile) -> Iterator[Problem]:
    """Yield a problem for each contact that names a channel that does not exist.

    ``[defaults]``, templates and ``[job NAME]`` lose it, so that ``alertcontact``
    applies.  Those of targets and of ``[defaults KIND]`` are read with their options.
    """
    contacts = Contacts(ini)
    for section in ini:
        option = "alertcontact" if section == "general" else "contact"
        value = ini.options(section).get(option)
        is_layer = section.partition(" ")[0] in (TEMPLATE, JOB) or section == "defaults"
        if value is None or not (section in VITAL or is_layer):
            continue
        if text := contacts.why_not(value.raw):
            where, fatal = value.where, section in VITAL
            text = f"{option} = {text}"
            yield Problem(text, where, title_of(section), fatal=fatal)
            if is_layer:
                del ini.sections[section].options[option]

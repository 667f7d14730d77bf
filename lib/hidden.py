"""The secrets in the settings, and who can read the files they stand in."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path

from lib.inifile import IniFile
from lib.model import Problem
from lib.places import Source
from lib.trust import why_not_run, why_not_secret, why_not_write

#: Shorter words would be struck out of texts that have nothing to do with them.
MIN_LENGTH = 4
#: A user name without password in a URL that is as long as this is a token.
MIN_TOKEN = 16
PASSWORD_OPTIONS = frozenset({"pass", "password", "passwd"})
#: Options that lead to a password.
_LEADING = ("pass_command", "pass_file")
_IN_URL = re.compile(r"//([^/@\s]{1,500})@")
_PEER_KEY = re.compile(r",\s*key\s*=\s*([^,]+)")


def secrets_in(ini: IniFile, *more: str) -> tuple[str, ...]:
    """Return the words that no log, mail or state may carry, the longest first."""
    from urllib.parse import unquote

    found = {secret for _option, secret in _secrets(ini)} | set(more)
    found |= {unquote(secret) for secret in found}
    long_enough = (secret for secret in found if len(secret) >= MIN_LENGTH)
    return tuple(sorted(long_enough, key=lambda secret: (-len(secret), secret)))


def file_problems(ini: IniFile) -> Iterator[Problem]:
    """Yield what makes a file of the settings unsafe: who can read or write it."""
    with_secret = _sources(ini, {key for key, _secret in _secrets(ini)})
    accounts = ("email", "email backup")
    with_command = _sources(ini, product(accounts, _LEADING))
    for source in ini.places.sources:
        path = source.path
        try:
            text = _why_not(path, source in with_secret, source in with_command)
        except OSError as error:
            text = f"{path} cannot be read: {error.strerror}"
        if text:
            yield Problem(text, source.name, fatal=True)


def _sources(ini: IniFile, keys: Iterable[tuple[str, str | None]]) -> set[Source]:
    """Return the files in which these stand."""
    found = (ini.places.get(*key) for key in keys)
    return {entry.source for entry in found if entry}


def _why_not(path: Path, has_secret: bool, has_command: bool) -> str:
    if has_secret and (refused := why_not_secret(path)):
        return f"a password is in the file, and {refused}"
    if has_command and (refused := why_not_run(path)):
        return f"the file leads to a password, and {refused}"
    # What root goes by must be root's.
    return why_not_run(path) if os.geteuid() == 0 else why_not_write(path)


def _secrets(ini: IniFile) -> Iterator[tuple[tuple[str, str | None], str]]:
    """Yield where a secret stands, and the secret."""
    for section in ini.config.sections():
        for secret in _in_urls(section):
            yield (section, None), secret
        for option, value in ini.config.items(section):
            found = list(_in_urls(value))
            if option in PASSWORD_OPTIONS and value:
                found.append(value)
            if section == "peers":
                found += (key.strip() for key in _PEER_KEY.findall(value))
            for secret in found:
                yield (section, option), secret


def _in_urls(value: str) -> Iterator[str]:
    """Yield the passwords of URLs such as ``https://user:password@host/``."""
    for before_host in _IN_URL.findall(value):
        user, _colon, password = before_host.partition(":")
        if password:
            yield password
        elif len(user) >= MIN_TOKEN:
            yield user

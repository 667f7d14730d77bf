"""The secrets in the settings: where each comes from, and who can read its file.

No error here repeats an option's value, which may be a secret in the wrong place.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from lib.config.hints import shown
from lib.config.options import CHANNEL_WORD, SECRET_SUFFIXES
from lib.core.ini import IniFile
from lib.core.sanitize import secrets_in_headers, secrets_in_variables
from lib.core.secret import Secret, Secrets
from lib.core.settings import Problem
from lib.system.errors import shortage
from lib.system.permissions import why_not_run, why_not_secret, why_not_write

COMMAND_TIMEOUT_S = 10
MAX_BYTES = 64 * 1024
#: Shorter secrets would be removed from texts that have nothing to do with them.
MIN_LENGTH = 4
#: A user name without password in a URL that is at least this long is a token.
MIN_TOKEN = 16
PASSWORD_OPTIONS = frozenset({"pass", "password", "passwd"})
#: A file with one of the others may be readable: it was so for jobs from before.
SECRET_OPTIONS = PASSWORD_OPTIONS | {"passphrase", "secret", "token"}
#: The options of a channel that are secrets; the file of one must be private.
_CHANNEL_OPTIONS = frozenset({"url", "webhook", "secret", "token"})
#: What looks like a token: it is long, or not too short and holds a digit.
_TOKEN = rf"[\w~%.-]{{{MIN_TOKEN},}}|(?=[\w~%.-]*\d)[\w~%.-]{{8,}}"
#: The ends of options that say how to get a secret.
_INDIRECT = ("_command", "_file")
_PING_INDIRECT = frozenset(f"ping{how}" for how in _INDIRECT)
_ALWAYS_INDIRECT = frozenset(base + how for base in SECRET_OPTIONS for how in _INDIRECT)
_CHANNEL_INDIRECT = frozenset(
    base + how for base in _CHANNEL_OPTIONS for how in _INDIRECT
)
#: How the title of a channel begins.
_CHANNEL = f"{CHANNEL_WORD} "
#: The options that may have secrets among other text.
_WITH_SECRETS = frozenset({"headers", "environment"})
_IN_URL = r"//([^/@\s]{1,500})@"
_BETWEEN_URLS = r"[\s,]+(?=[A-Za-z][A-Za-z0-9_-]{0,19}://)"
_PEER_KEY = r",\s*key\s*=\s*([^,]+)"
_PEER_INDIRECT = r",\s*key_(command|file)\s*="


def read_secret(
    name: str,
    values: Mapping[str, Any],
    folder: Path,
    timeout_s: float = COMMAND_TIMEOUT_S,
) -> Secret:
    """Return the secret of an option that may be given in four ways.

    ``values`` are those of a table with ``secret_options(name, ...)``; ``folder`` is
    where a relative path starts, ``timeout_s`` what a command may take.  An empty
    Secret means that none is given.  Raise ValueError in one line if two are given, or
    if the secret cannot be had.
    """
    options = [name + suffix for suffix in SECRET_SUFFIXES if values.get(name + suffix)]
    if len(options) > 1:
        raise ValueError(f"{' and '.join(options)} are given; keep one")
    for option in options:
        try:
            return find_secret(option, values[option], folder, timeout_s=timeout_s)
        except ValueError as error:
            raise ValueError(f"{option}: {error}") from error
    return Secret()


def find_secret(
    option: str,
    value: Any,
    folder: Path,
    *,
    environ: Mapping[str, str] = os.environ,
    timeout_s: float = COMMAND_TIMEOUT_S,
) -> Secret:
    """Return the secret that an option (``pass``, ``pass_file``, ...) gives.

    ``folder`` is where a relative path starts.  Raise ValueError saying what to do.
    """
    if option.endswith("_file"):
        path = folder / os.path.expanduser(value)
        return Secret(_first_line(_of_file(path, folder)))
    if option.endswith("_env"):
        return Secret(_of_environment(value, environ))
    if option.endswith("_command"):
        return Secret(_first_line(_of_command(value, folder, timeout_s)))
    return value if isinstance(value, Secret) else Secret(value)


def _of_file(path: Path, folder: Path) -> bytes:
    try:
        if path.is_dir():
            raise ValueError("this is a folder; name the file that holds the secret")
        refused = why_not_secret(path)
        if refused:
            raise ValueError(f"the file holds the secret, and {refused}")
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(handle, "rb") as file:
            return file.read(MAX_BYTES) or b""
    except FileNotFoundError as error:
        text = f"there is no such file (a relative path starts at {folder})"
        raise ValueError(text) from error
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}") from error


def _of_environment(name: str, environ: Mapping[str, str]) -> str:
    text = environ.get(name, "")
    # What is no usual name may be the secret itself.
    is_name = name in environ or re.fullmatch("[A-Z_][A-Z0-9_]*", name)
    variable = f"the environment variable {name if is_name else 'of that name'}"
    if not text:
        raise ValueError(
            f"{variable} is not set, or is empty; "
            "set it where Checker is started, such as at the top of the crontab"
        )
    try:
        return _first_line(text.encode("utf-8", "surrogateescape"))
    except ValueError as error:
        raise ValueError(f"{variable}: {error}") from None


def _of_command(words: Sequence[str], folder: Path, timeout_s: float) -> bytes:
    """Return what a command prints; it runs without a shell and without input."""
    import signal
    import subprocess

    try:
        process = subprocess.Popen(
            words,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        why = shortage(error, of_process=True)
        why = why or getattr(error, "strerror", None) or "it is not a command"
        raise ValueError(f"the command cannot be started: {why}") from error
    with process:
        assert process.stdout and process.stderr
        try:
            printed, said = _gathered(process.stdout, process.stderr, timeout_s)
            code = process.wait(1)
        except (TimeoutError, subprocess.TimeoutExpired) as error:
            os.killpg(process.pid, signal.SIGKILL)
            text = f"the command did not end within {timeout_s:g} s"
            raise ValueError(text) from error
    if code < 0:
        raise ValueError(f"the command was ended by signal {-code}")
    if code:
        first = said.decode(errors="replace").strip().partition("\n")[0]
        more = f": {shown('', first)}" if first else ""
        raise ValueError(f"the command ended with exit code {code}{more}")
    return printed


def _gathered(
    stdout: IO[bytes], stderr: IO[bytes], timeout_s: float
) -> tuple[bytes, bytes]:
    """Return the beginning of what comes from both pipes until they are closed.

    Raise TimeoutError if that takes longer: a child of the command may hold them open.
    """
    import selectors

    ends_at = time.monotonic() + timeout_s
    content = {stdout.fileno(): b"", stderr.fileno(): b""}
    with selectors.DefaultSelector() as waiting:
        for number in content:
            waiting.register(number, selectors.EVENT_READ)
        while waiting.get_map():
            ready = waiting.select(max(0, ends_at - time.monotonic()))
            if time.monotonic() >= ends_at:
                raise TimeoutError
            for key, _events in ready:
                part = os.read(key.fd, MAX_BYTES)
                if not part:
                    waiting.unregister(key.fd)
                content[key.fd] = (content[key.fd] + part)[:MAX_BYTES]
    return content[stdout.fileno()], content[stderr.fileno()]


def _first_line(content: bytes) -> str:
    try:
        line = content.decode("utf-8-sig").partition("\n")[0].rstrip("\r")
    except UnicodeDecodeError as error:
        raise ValueError("the secret is not UTF-8") from error
    if not line:
        raise ValueError("the first line is empty; the secret must be in it")
    if not line.isprintable():
        raise ValueError("the first line holds a control character")
    return line


def secrets_in(ini: IniFile, more: Iterable[Secret]) -> Secrets:
    """Return the secrets that no log, mail or state may contain.

    ``more`` are those that are not in the text.
    """
    from urllib.parse import unquote

    secrets = {secret for _where, secret in _secrets(ini, SECRET_OPTIONS)}
    for secret in more:
        secrets |= {secret.reveal(), *_parts_of_urls(secret.reveal())}
    secrets |= {unquote(secret) for secret in secrets}
    return Secrets(secret for secret in secrets if len(secret) >= MIN_LENGTH)


def urls_in(text: str) -> list[str]:
    """Return the URLs that blanks and commas separate in the value of an option."""
    return [url for url in re.split(_BETWEEN_URLS, text) if url]


def _parts_of_urls(text: str) -> Iterator[str]:
    """Yield each URL, if there are several, and the parts of each that are secrets."""
    urls = urls_in(text)
    if len(urls) > 1:
        yield from urls
    for url in urls:
        yield from parts_of_url(url)


def parts_of_url(text: str) -> Iterator[str]:
    """Yield the parts of a URL that are secrets of their own, tokens in its path."""
    _scheme, slashes, rest = text.partition("://")
    if not slashes:
        return
    yield from _in_urls(text)
    _host, slash, path = rest.partition("/")
    if len(path) >= MIN_TOKEN:
        yield f"{slash}{path}"
    yield from re.findall(_TOKEN, path)


def file_problems(ini: IniFile) -> Iterator[Problem]:
    """Yield a problem for each settings file that others can read or write."""
    telling = _TellingFiles(ini)
    for name in ini.names:
        path = ini.folder / name
        try:
            text = _why_not(path, name, telling)
        except OSError as error:
            text = f"{path} cannot be read: {error.strerror}"
        if text:
            yield Problem(text, name, fatal=True)


def _indirect(ini: IniFile) -> Iterator[str]:
    """Yield the line of each option that says what to run, or how to get a secret."""
    for title, section in ini.sections.items():
        is_ours = _is_ours(title)
        for option, value in section.options.items():
            if (
                option == "command"
                or option in _ALWAYS_INDIRECT
                or (is_ours and _is_indirect_of_ours(title, option, value.raw))
            ):
                yield value.where


def _is_ours(title: str) -> bool:
    """Return whether a section has options that are secrets in no other."""
    return title in ("general", "peers") or title.startswith(_CHANNEL)


def _is_indirect_of_ours(title: str, option: str, text: str) -> bool:
    if title == "general":
        return option in _PING_INDIRECT
    if title == "peers":
        return bool(re.search(_PEER_INDIRECT, text))
    return option in _CHANNEL_INDIRECT


def _file(where: str) -> str:
    """Return the file of a line such as ``settings.cfg:12``."""
    return where.rpartition(":")[0]


class _TellingFiles:
    """The names of the files with a password, and of those that say what to run.

    All options are looked through for that, and only if somebody asks.
    """

    def __init__(self, ini: IniFile) -> None:
        self._ini = ini

    @cached_property
    def with_secret(self) -> set[str]:
        return {_file(where) for where, _text in _secrets(self._ini, PASSWORD_OPTIONS)}

    @cached_property
    def with_command(self) -> set[str]:
        return {_file(where) for where in _indirect(self._ini)}


def _why_not(path: Path, name: str, telling: _TellingFiles) -> str:
    if (refused := why_not_secret(path)) and name in telling.with_secret:
        return f"a password is in the file, and {refused}"
    if (refused := why_not_run(path)) and name in telling.with_command:
        return f"the file says what to run or how to get a secret, and {refused}"
    # Settings that root uses must be root's.
    return why_not_run(path) if os.geteuid() == 0 else why_not_write(path)


def _secrets(ini: IniFile, names: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Yield the line of each secret, and the secret; ``names`` are those of options."""
    telling = names | _WITH_SECRETS if names is SECRET_OPTIONS else names
    for title, section in ini.sections.items():
        if "@" in title:
            for secret in _in_urls(title):
                yield section.where, secret
        is_ours = _is_ours(title)
        for option, value in section.options.items():
            # Nearly all options of thousands of targets hold none.
            if is_ours or option in telling or "@" in value.raw:
                for secret in _secrets_of(title, option, value.raw, names):
                    yield value.where, secret


def _secrets_of(
    title: str, option: str, text: str, names: frozenset[str]
) -> Iterator[str]:
    """Yield the secrets in the text of an option."""
    yield from _in_urls(text)
    if not text:
        return
    if option in names:
        yield text
    if option == "headers" and names is SECRET_OPTIONS:
        yield from secrets_in_headers(text)
    if option == "environment" and names is SECRET_OPTIONS:
        yield from secrets_in_variables(text)
    if option in _CHANNEL_OPTIONS and title.startswith(_CHANNEL):
        yield text
        yield from _parts_of_urls(text)
    if (title, option) == ("general", "ping"):
        yield text
    if title == "peers":
        yield from (key.strip() for key in re.findall(_PEER_KEY, text))


def _in_urls(value: str) -> Iterator[str]:
    """Yield the passwords of URLs such as ``https://user:password@host/``."""
    for before_host in re.findall(_IN_URL, value):
        user, _colon, password = before_host.partition(":")
        if password:
            yield password
        elif len(user) >= MIN_TOKEN:
            yield user

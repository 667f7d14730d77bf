"""Readers of option values: each takes the text and returns the value.

A reader raises ValueError that says what was expected.  The tables that name a reader
for each option are in ``lib/config/options.py`` and in the job files of the kinds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, tzinfo
from functools import cache
from typing import Any, NamedTuple

from lib.config.hints import nearest, shown
from lib.core import schedule
from lib.core.enums import JobFailureCountMinimumBeforeNotification
from lib.core.jobs import (
    MAX_TIMEOUT_S,
    NEVER_FLAPPING,
    Dependency,
    FailureRule,
    FlappingRule,
)
from lib.core.results import UNIT_WORDS, Unit
from lib.core.secret import Secret

MAX_PORT = 65535
#: The longest name of this machine, or of a peer.
MAX_NAME = 100
#: The most jobs that a job may depend on.
MAX_PARENTS = 20


def text(value: str) -> str:
    """Return the text, which must not be empty."""
    if not value:
        raise ValueError("expected some text")
    return value


def _between(
    low: float, high: float, what: str, form: str, cast: Callable[[str], Any]
) -> Callable[[str], Any]:
    def read(value: str) -> Any:
        # float() and int() accept nan, 1_0, and digits of other scripts.
        if re.fullmatch(form, value, re.ASCII) and low <= cast(value) <= high:
            return cast(value)
        raise ValueError(f"expected {what} from {low} to {high}")

    return read


def number(low: float, high: float, what: str = "a number") -> Callable[[str], float]:
    """Return a reader of numbers from ``low`` to ``high``."""
    return _between(low, high, what, r"[0-9]{1,12}(\.[0-9]{1,6})?", float)


def whole(low: int, high: int, what: str = "a whole number") -> Callable[[str], int]:
    """Return a reader of whole numbers from ``low`` to ``high``."""
    return _between(low, high, what, r"[0-9]{1,12}", int)


#: The words that configparser accepts as a bool.
_SWITCH = {
    **dict.fromkeys(("1", "yes", "true", "on"), True),
    **dict.fromkeys(("0", "no", "false", "off"), False),
}


def switch(value: str) -> bool:
    """Return True for yes, true, on, 1 and False for no, false, off, 0."""
    if value.lower() not in _SWITCH:
        raise ValueError("expected yes or no")
    return _SWITCH[value.lower()]


def one_of(choices: Iterable[str]) -> Callable[[str], str]:
    """Return a reader of one of ``choices``, in any case; it returns the choice."""
    known = {str(choice): choice for choice in choices}

    def read(value: str) -> str:
        if value.lower() not in known:
            raise ValueError(f"expected one of {', '.join(known)}")
        return known[value.lower()]

    return read


port = whole(1, MAX_PORT, "a port")


def failure_count(value: str) -> int:
    """Return how many consecutive failures come before an alert."""
    words = JobFailureCountMinimumBeforeNotification.__members__
    if value.upper() in words:
        return int(words[value.upper()])
    return whole(1, 1_000_000, "a number of consecutive failures")(value)


#: The most results that ``failures = 3/4`` looks at; a record holds them.
MAX_WINDOW = 100


def failures(value: str) -> FailureRule:
    """Return when failures bring an alert: a count, ``3/4``, or a time, ``15min``."""
    if "/" in value:
        return _count_of(value)
    if re.fullmatch("[0-9].*[a-z]", value):
        return FailureRule(seconds=_failing_for(value))
    try:
        return FailureRule(failure_count(value))
    except ValueError as error:
        text = f"{error}, N/M such as 3/4 (three of four), or a time such as 15min"
        raise ValueError(text) from None


def _count_of(value: str) -> FailureRule:
    low, _slash, high = value.partition("/")
    read = whole(1, MAX_WINDOW)
    try:
        count, of = read(low.strip()), read(high.strip())
    except ValueError:
        count = of = 0
    if not 0 < count <= of:
        raise ValueError(
            "expected N/M, such as 3/4 for three of the last four results, with N not "
            f"above M, and M from 2 to {MAX_WINDOW}"
        )
    # Of three results all three: three in a row.
    return FailureRule(count) if count == of else FailureRule(count, of)


def flapping(value: str) -> FlappingRule:
    """Return how many changes within how many checks are flapping: ``6/20``, ``no``."""
    if _SWITCH.get(value.lower()) is False:
        return NEVER_FLAPPING
    low, _slash, high = value.partition("/")
    read = whole(2, MAX_WINDOW)
    try:
        changes, checks = read(low.strip()), read(high.strip())
    except ValueError:
        changes, checks = 1, 0
    if changes > checks:
        raise ValueError(
            "expected N/M, such as 6/20 for six changes within the last 20 checks, "
            f"with N from 2 to M, and M at most {MAX_WINDOW}; or no"
        )
    return FlappingRule(changes, checks)


#: The part of RFC 5322 and 5321 that ordinary addresses use; nothing in it can end a
#: header line or add an address.
_ADDRESS = re.compile(
    r"[^\s@<>()\[\],;:\\\"\x00-\x1f\x7f]{1,64}@"
    r"(?:{part}(?:\.{part})*|\[[0-9A-Fa-f.:]+\])".replace(
        "{part}", r"[^\s@<>()\[\],;:\\\".\x00-\x1f\x7f]{1,63}"
    )
)


def addresses(value: str) -> tuple[str, ...]:
    """Return the mail addresses of a list with commas, at least one."""
    parts = tuple(part.strip() for part in value.split(",") if part.strip())
    for address in parts:
        if not _ADDRESS.fullmatch(address):
            raise ValueError(
                "expected mail addresses separated by commas, "
                f"not {shown('', address)}"
            )
    if not parts:
        raise ValueError("expected at least one mail address")
    return parts


#: The name of a channel; it holds no @, so it is never taken for an address.
CHANNEL_NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,49}"


def contacts(value: str) -> tuple[str, ...]:
    """Return the mail addresses and names of channels of a list, at least one.

    Whether there is such a channel is checked where the settings are loaded.
    """
    parts = many(value)
    for part in parts:
        if "@" in part:
            addresses(part)
        elif not re.fullmatch(CHANNEL_NAME, part):
            raise ValueError(
                "expected mail addresses and names of channels separated by commas, "
                f"not {shown('', part)}"
            )
    if not parts:
        raise ValueError("expected at least one mail address or name of a channel")
    return tuple(dict.fromkeys(parts))


def when(value: str) -> str:
    """Return when messages may leave: ``mon-fri 08:00-20:00``; empty for always."""
    from lib.core import hours

    return hours.read(value)


def after(value: str) -> tuple[str, float]:
    """Return the name of a channel and seconds, of ``NAME after 10min``."""
    match = re.fullmatch(r"(\S+)\s+after\s+(\S+)", value)
    if match and "@" in match[1]:
        raise ValueError("expected the name of a channel, not a mail address")
    if not match or not re.fullmatch(CHANNEL_NAME, match[1]):
        raise ValueError("expected NAME after a time, such as oncall after 10min")
    return match[1], _after(match[2])


def url(value: str) -> str:
    """Return an http or https URL with a host, and a port in range."""
    return value if plain_url().fullmatch(value) else any_url(value)


def any_url(value: str) -> str:
    """Return the same of any form, which takes longer."""
    from urllib.parse import urlsplit

    expected = "expected http://host/... or https://host/..."
    if re.search(r"[\s\x00-\x1f\x7f]", value):
        raise ValueError(f"{expected}, without spaces")
    try:
        parts = urlsplit(value)
        url_port = parts.port
    except ValueError as error:
        if str(error).startswith("Port out of range"):
            raise ValueError(f"{expected} with a port from 1 to {MAX_PORT}") from error
        # The error's text may contain what was meant to be a password.
        raise ValueError(f"{expected}, with a number for a port if any") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(expected)
    if not _is_host_of_url(parts.hostname):
        raise ValueError(
            f"{expected}, an IPv4 address with all of its four numbers, none of which "
            "begins with 0"
        )
    if url_port == 0:
        raise ValueError(f"{expected} with a port from 1 to {MAX_PORT}")
    return value


def base_url(value: str) -> str:
    """Return an http or https URL to which a path may be added, for people to open."""
    from urllib.parse import urlsplit

    found = urlsplit(url(value))
    if "@" in found.netloc or "?" in value or "#" in value:
        raise ValueError(
            "expected http://host/ or https://host/path/, without user, ? and #: links "
            "begin with it"
        )
    return value


def link(value: str) -> str:
    """Return a link for people: an http or https URL, or a mailto of addresses."""
    scheme, colon, rest = value.partition(":")
    if scheme.lower() in ("http", "https"):
        return url(value)
    if scheme.lower() != "mailto" or not colon:
        raise ValueError(
            "expected http://host/..., https://host/... or mailto:you@example.com"
        )
    if re.search(r"[\s\x00-\x1f\x7f]", value):
        raise ValueError("expected mailto:you@example.com with %20 for a space")
    addresses(rest.partition("?")[0])
    return value


@cache
def plain_url() -> re.Pattern[str]:
    """Return the pattern of what nearly all URLs are, and of nothing that is refused.

    With a host in lower-case ASCII, and a slash if more than that follows.
    """
    host = rf"(?:(?:[a-z0-9-]+\.)*[a-z][a-z0-9-]*|(?:{_OCTET}\.){{3}}{_OCTET})"
    port = "(?::(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}))?"
    return re.compile(rf"https?://{host}{port}(?:/[!-~]*)?")


_OCTET = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"


def _is_host_of_url(host: str) -> bool:
    """Return False for an address in a form that programs read in different ways.

    ``127.1`` and ``0177.0.0.1`` are 127.0.0.1 for some, and a name for others.
    """
    last = host.rstrip(".").rpartition(".")[2]
    if not re.fullmatch("[0-9]+|0x[0-9a-f]*", last):
        return True
    return bool(re.fullmatch(rf"({_OCTET}\.){{3}}{_OCTET}", host))


def absolute_path(value: str) -> str:
    """Return an absolute path: cron's working directory is not the user's."""
    if not value.startswith("/") or "\0" in value:
        raise ValueError("expected an absolute path, such as /var")
    return value


#: The bytes in struct sockaddr_un, less one that ends it.
MAX_SOCKET_PATH = 107


def metrics_file(value: str) -> str:
    """Return the absolute path of a file that node_exporter reads."""
    path = absolute_path(value)
    if not path.endswith(".prom") or path.endswith("/.prom"):
        raise ValueError(
            "expected a file ending in .prom; node_exporter reads no other"
        )
    return path


def socket_path(value: str) -> str:
    """Return the path of a unix socket, or ``@NAME`` of one that is in no folder."""
    if not re.fullmatch(r"[/@].+", value) or "\0" in value:
        raise ValueError("expected an absolute path, or @NAME for an abstract socket")
    if len(value.encode()) > MAX_SOCKET_PATH:
        raise ValueError(
            f"expected at most {MAX_SOCKET_PATH} bytes, as the system takes no longer "
            "path of a socket"
        )
    return value


#: A host name: of ASCII only letters, digits, ``-``, ``.`` and ``_``.
HOST_NAME = r"(?!-)[^\s\x00-,/:-@\[-^`{-\x7f]{1,253}"


def host(value: str) -> str:
    """Return a host name or an address; an IPv6 address may stand in brackets."""
    bare = value[1:-1] if value.startswith("[") and value.endswith("]") else value
    if not bare or re.search(r"[\s/@\[\]\x00-\x1f\x7f]", bare):
        raise ValueError("expected a host name or an IP address")
    if ":" not in bare and not re.fullmatch(HOST_NAME, bare):
        hint = "; {host} is for sections with hosts =" if "{" in bare else ""
        raise ValueError(f"expected a host name or an IP address{hint}")
    if ":" in bare:
        import ipaddress

        try:
            address = ipaddress.IPv6Address(bare)
        except ValueError as error:
            raise ValueError(
                "expected a host name or an IP address, "
                "the port as an option of its own"
            ) from error
        if address.is_link_local and not address.scope_id:
            raise ValueError(f"expected its interface, too, such as {bare}%eth0")
    return bare


def is_this_machine(host: str) -> bool:
    """Return whether a host is this machine (loopback)."""
    import ipaddress

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def statuses(value: str) -> tuple[tuple[int, int], ...]:
    """Return ranges of HTTP status codes: ``200``, ``200, 301-308``, ``2xx``."""
    ranges = []
    for part in value.split(","):
        match = re.fullmatch(
            r"\s*(?:([1-5])xx|([1-5]\d\d)(?:\s*-\s*([1-5]\d\d))?)\s*",
            part,
            re.ASCII | re.IGNORECASE,
        )
        if not match:
            raise ValueError("expected HTTP status codes such as 200, 301-308 or 2xx")
        hundred, low, high = match.groups()
        first = int(hundred) * 100 if hundred else int(low)
        last = first + 99 if hundred else int(high or low)
        if last < first:
            raise ValueError(f"expected the lower status first, not {part.strip()}")
        ranges.append((first, last))
    return tuple(ranges)


def exit_codes(value: str) -> tuple[tuple[int, int], ...]:
    """Return ranges of exit codes of programs: ``0``, ``0, 24``, ``100-127``."""
    ranges = []
    for part in re.sub(r"\s*-\s*", "-", value.strip()).replace(",", " ").split():
        match = re.fullmatch(r"(\d{1,3})(?:-(\d{1,3}))?", part, re.ASCII)
        low, high = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not low <= high <= 255:
            raise ValueError(
                "expected exit codes from 0 to 255, such as 0, 24 or 100-127"
            )
        ranges.append((low, high))
    if not ranges:
        raise ValueError("expected exit codes, such as 0, 24 or 100-127")
    return tuple(ranges)


def escaped(value: str) -> bytes:
    r"""Return the bytes of a text with ``\r \n \t \\ \xNN`` for other bytes."""
    plain = {"r": b"\r", "n": b"\n", "t": b"\t", "0": b"\0", "\\": b"\\"}
    content = bytearray()
    for match in re.finditer(r"\\x([0-9A-Fa-f]{2})|\\(.?)|([^\\]+)", value, re.DOTALL):
        code, letter, words = match.groups()
        if code:
            content.append(int(code, 16))
        elif words:
            content += words.encode()
        elif letter in plain:
            content += plain[letter]
        else:
            raise ValueError(r"expected text in which a backslash starts \r \n \t \xNN")
    if not content:
        raise ValueError("expected some text")
    return bytes(content)


def regex(value: str) -> re.Pattern[str]:
    """Return a pattern of Python's, in which ^ and $ stand for those of a line."""
    try:
        return re.compile(text(value), re.M)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"expected a regular expression: {error}") from error


def bytes_pattern(value: str) -> re.Pattern[bytes]:
    """Return a pattern of Python's for bytes, in which ^ and $ are those of a line."""
    try:
        return re.compile(text(value).encode(), re.M)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"expected a regular expression: {error}") from error


def pattern(value: str) -> re.Pattern[str]:
    """Return a pattern of Python's for text."""
    try:
        return re.compile(text(value))
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"expected a regular expression: {error}") from error


#: The words that begin a line of a dialog, and what reads the rest of it.
_ROUNDS: Mapping[str, Callable[[str], Any] | None] = {
    "send": escaped,
    "expect": escaped,
    "expect_regex": bytes_pattern,
    "tls": None,
}


def dialog(*words: str) -> Callable[[str], tuple[tuple[str, Any], ...]]:
    """Return a reader of lines that begin with one of these words: ``send QUIT``.

    It returns for each line the word, and what it says.
    """

    def read(value: str) -> tuple[tuple[str, Any], ...]:
        lines = [line.strip() for line in value.split("\n") if line.strip()]
        return tuple(_round(line, words) for line in lines)

    return read


def _round(line: str, words: Iterable[str]) -> tuple[str, Any]:
    word, _space, rest = line.partition(" ")
    if word not in words:
        known = ", ".join(words)
        # Not the rest of the line, which may be a password.
        hint = nearest(word, words)
        raise ValueError(f"expected lines that begin with one of {known}{hint}")
    reader = _ROUNDS[word]
    try:
        if reader:
            return word, reader(rest.strip())
    except ValueError as error:
        raise ValueError(f"{word}: {error}") from error
    if rest:
        raise ValueError(f"expected nothing behind {word}")
    return word, None


def plain(value: str) -> str:
    """Return one line of text without control characters."""
    if not value or not value.isprintable():
        raise ValueError("expected one line of printable text")
    return value


def server_name(value: str) -> str:
    """Return the name of this machine in mails."""
    if not value.isprintable() or not 0 < len(value) <= MAX_NAME:
        raise ValueError(f"expected one line of 1 to {MAX_NAME} printable characters")
    return value


def sender(value: str) -> str:
    """Return one mail address."""
    senders = addresses(value)
    if len(senders) > 1:
        raise ValueError("expected one mail address")
    return senders[0]


def many(value: str) -> tuple[str, ...]:
    """Return the parts of a list with commas."""
    return tuple(part.strip() for part in value.split(",") if part.strip())


def host_names(value: str) -> tuple[str, ...]:
    """Return the host names of a list with commas, each without scheme and path."""
    names = many(value)
    if not all(re.fullmatch(_NAME_IN_REQUEST, name) for name in names):
        raise ValueError(
            "expected whole names such as status.example.com, without http:// and *; "
            "an IPv6 address in brackets"
        )
    return names


_NAME_IN_REQUEST = r"(\[[0-9A-Fa-f:.]+\]|[^][\s:/@*?]+)(:[0-9]+)?"


#: What has angle brackets on both sides, such as ``<title>``, is meant as it is.
_SHELL_SIGN = r"\||\|\||&|&&|;|[0-9&]?>{1,2}(&[0-9])?\S*|<[^\s>]*"


def shell_sign(words: Iterable[str]) -> str:
    """Return the first word of a command that only a shell understands, or ""."""
    return next((word for word in words if re.fullmatch(_SHELL_SIGN, word)), "")


def command(value: str) -> tuple[str, ...]:
    """Return a command's words; no shell reads it."""
    import shlex

    try:
        words = tuple(shlex.split(value))
    except ValueError as error:
        raise ValueError("expected a command with its quotes closed") from error
    if not words:
        raise ValueError("expected a command")
    return words


def endpoint(value: str) -> tuple[str, int]:
    """Return the host and the port of ``host:port``."""
    before, colon, after = value.rpartition(":")
    if not colon or (":" in before and not before.startswith("[")):
        raise ValueError("expected host:port, such as 127.0.0.1:5000 or [::1]:5000")
    return host(before), port(after)


MAX_ANCHORS = 10


def anchors(value: str) -> tuple[tuple[str, int], ...]:
    """Return the hosts and ports of ``host:port, ...``."""
    words = many(value)
    if len(words) > MAX_ANCHORS:
        raise ValueError(f"expected at most {MAX_ANCHORS} of host:port")
    found = []
    for word in words:
        try:
            found.append(endpoint(word))
        except ValueError as error:
            raise ValueError(f"{shown('', word)}: {error}") from None
    return tuple(dict.fromkeys(found))


def time_zone(value: str) -> tzinfo:
    """Return the zone of a name such as ``Europe/Berlin``."""
    import zoneinfo

    try:
        return zoneinfo.ZoneInfo(value)
    except (OSError, ValueError, zoneinfo.ZoneInfoNotFoundError) as error:
        names = zoneinfo.available_timezones()
        if not names:
            raise ValueError("this machine has no time zones; install tzdata") from None
        raise ValueError(
            f"expected a time zone such as Europe/Berlin{nearest(value, names)}"
        ) from error


def clock(value: str) -> str:
    """Return a time of day, ``HH:MM``."""
    if not re.fullmatch(r"([01]?[0-9]|2[0-3]):[0-5][0-9]", value, re.ASCII):
        raise ValueError("expected a time of day such as 08:00")
    return value.rjust(5, "0")


def weekly_clock(value: str) -> tuple[str, str]:
    """Return a day of the week and a time of day, ``mon 08:00``."""
    day, _space, time = value.partition(" ")
    if day.lower() not in ("mon", "tue", "wed", "thu", "fri", "sat", "sun"):
        raise ValueError("expected a day and a time such as mon 08:00")
    return day.lower(), clock(time.strip())


_DATE_AND_TIME = (
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[ T]([0-9]{1,2}:[0-9]{2})"
    r" ?(Z|[+-][0-9]{2}:[0-9]{2})?"
)


def window_start(value: str) -> str:
    """Return a cron expression, or a date and a time in ISO 8601, with its offset if
    that was given."""
    if len(value.split()) == 5:
        return schedule.read(value)
    match = re.fullmatch(_DATE_AND_TIME, value)
    try:
        if match:
            text = f"{match[1]}T{match[2].rjust(5, '0')}:00{match[3] or ''}"
            start = datetime.fromisoformat(text)
            # Years that have a time in every zone.
            if 1970 < start.year < 9998:
                return text
    except ValueError:
        pass
    raise ValueError(
        "expected a date and a time such as 2026-12-24 22:00, from 1971 to 9997, or "
        "the five fields of cron such as 0 2 * * sun"
    )


class Range(NamedTuple):
    """A range of good values, such as ``1..15``; a single number is no range."""

    low: float
    high: float


#: The suffixes of quantities, and what they stand for.
TIME_UNITS, SIZE_UNITS = UNIT_WORDS[Unit.SECONDS], UNIT_WORDS[Unit.BYTES]
_QUANTITY = r"(?a)([0-9]{1,12}(?:\.[0-9]{1,6})?)\s*([^\s0-9.]*)"


def quantity(
    what: str, units: Mapping[str, float], low: float, high: float, bare: str
) -> Callable[[str], float]:
    """Return a reader of numbers with a unit; ``bare`` is the unit of one without.

    ``what`` is for people.  The limits and what is returned are in the unit that counts
    1.  If ``bare`` is empty, a unit must be given.
    """
    expected = f"expected {what} from {written(low, units)} to {written(high, units)}"

    def read(value: str) -> float:
        match = re.fullmatch(_QUANTITY, value)
        if not match:
            raise ValueError(expected)
        number, unit = match[1], match[2] or bare
        if unit not in units:
            known = ", ".join(units)
            if unit:
                are = "units are" if len(units) > 1 else "unit is"
                raise ValueError(f"unknown unit {shown('', unit)}; the {are} {known}")
            raise ValueError(f"expected a unit behind the number: {known}")
        # Not 0.1 + 1e-17 for 100ms.
        amount = round(float(number) * units[unit], 9)
        if not low <= amount <= high:
            raise ValueError(expected)
        return amount

    return read


def written(amount: float, units: Mapping[str, float]) -> str:
    """Return an amount with the largest unit in which it is a short number."""
    for unit, size in sorted(units.items(), key=lambda item: -item[1]):
        count = amount / size
        if count >= 1 and round(count, 3) == count:
            return f"{count:g}{unit}"
    return f"{amount:.15g}{next(unit for unit, size in units.items() if size == 1)}"


def duration(low: float, high: float, bare: str = "s") -> Callable[[str], float]:
    """Return a reader of times such as ``500ms`` or ``2h``; it returns seconds."""
    return quantity("a time", TIME_UNITS, low, high, bare)


def size(low: float, high: float, bare: str = "") -> Callable[[str], float]:
    """Return a reader of sizes such as ``500MB``; it returns bytes."""
    return quantity("a size", SIZE_UNITS, low, high, bare)


def percent(low: float = 0, high: float = 100) -> Callable[[str], float]:
    """Return a reader of percentages, ``90%`` or ``90``."""
    return quantity("a percentage", {"%": 1.0}, low, high, "%")


def percent_up_to(high: float) -> Callable[[str], float]:
    """Return a reader of percentages up to ``high``, such as those of many cores."""
    return percent(0, high)


class Share(float):
    """Per cent of the whole, where other numbers are bytes."""


def share_or_size(value: str) -> float:
    """Return a Share for ``10%``, bytes for ``5GB``; a bare number is neither."""
    if value.rstrip().endswith("%"):
        return Share(percent()(value))
    try:
        return size(0, 1e18)(value)
    except ValueError as error:
        raise ValueError(f"{error}; or a share such as 10%") from None


def or_range(read: Callable[[str], float]) -> Callable[[str], float | Range]:
    """Return a reader that takes a range, ``1..15``, as well as what ``read`` takes."""

    def read_range(value: str) -> float | Range:
        low, dots, high = value.partition("..")
        if not dots:
            return read(value)
        ends = Range(read(low.strip()), read(high.strip()))
        if ends.low > ends.high:
            raise ValueError("expected the lower number first, such as 1..15")
        return ends

    return read_range


timeout = duration(0.1, MAX_TIMEOUT_S)
pending_limit = duration(60, 30 * 86_400)
_after = quantity("a time", TIME_UNITS, 60, 7 * 86_400, "")
_failing_for = quantity("a time", TIME_UNITS, 60, 30 * 86_400, "")


def secret(value: str) -> Secret:
    """Return a password, token or key."""
    return Secret(plain(value))


def tags(value: str) -> tuple[str, ...]:
    """Return words that jobs are grouped by."""
    words = many(value)
    for word in words:
        if not re.fullmatch(r"\w[\w.-]{0,49}", word):
            raise ValueError(
                "expected words of letters, digits, dots, dashes, with commas between"
            )
    return words


_ON_WARNING = "(warning)"


def depends(value: str) -> tuple[Dependency, ...]:
    """Return names of jobs; behind one may be ``(warning)``."""
    names = many(value)
    if len(names) > MAX_PARENTS:
        raise ValueError(f"expected at most {MAX_PARENTS} names")
    found = []
    for word in names:
        name = word.removesuffix(_ON_WARNING).strip()
        if not name:
            raise ValueError("expected names of jobs, such as ping gateway (warning)")
        found.append(Dependency(name, name != word))
    return tuple(found)

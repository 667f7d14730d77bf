"""What a target of each kind may say, and what a word in the settings means.

A kind is one row in KINDS: the job file that watches it, and its options.  An
option is a reader (text in, value out; ValueError says what was expected) and a
default.  ``lib/settings.py`` checks the sections with these tables, the jobs get
the same values through ``lib.jobbase.targets``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lib.model import (
    MAX_TIMEOUT_S,
    JobFailureCountMinimumBeforeNotification,
    JobFailureNotificationFrequency,
    JobFrequency,
    Target,
)

#: A port that has none of its own in the settings.
MAX_PORT = 65535


class _Required:
    """Stands where an option has no default."""

    def __repr__(self) -> str:
        return "(must be given)"


REQUIRED = _Required()


@dataclass(frozen=True)
class Option:
    """One option: how to read it, and its value where it is not given."""

    read: Callable[[str], Any]
    default: Any = REQUIRED
    #: What it is for, in a line; README and settings.cfg.example agree with it.
    why: str = ""


# Readers: the text of an option -> its value; ValueError names what was expected.


def text(value: str) -> str:
    """Return the text, which must not be empty."""
    if not value:
        raise ValueError("expected some text")
    return value


def number(low: float, high: float, what: str = "a number") -> Callable[[str], float]:
    """Return a reader of numbers from ``low`` to ``high``."""

    def read(value: str) -> float:
        expected = f"expected {what} from {low:g} to {high:g}"
        # float() would take nan, inf, 1_0 and digits of other scripts.
        if not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,6})?", value, re.ASCII):
            raise ValueError(expected)
        found = float(value)
        if not low <= found <= high:
            raise ValueError(expected)
        return found

    return read


def whole(low: int, high: int, what: str = "a whole number") -> Callable[[str], int]:
    """Return a reader of whole numbers from ``low`` to ``high``."""

    def read(value: str) -> int:
        expected = f"expected {what} from {low} to {high}"
        if not re.fullmatch(r"[0-9]{1,12}", value, re.ASCII):
            raise ValueError(expected)
        found = int(value)
        if not low <= found <= high:
            raise ValueError(expected)
        return found

    return read


#: The words configparser takes for a bool.
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
    """Return a reader that takes one of ``choices`` and returns it as it is there."""
    known = {str(choice): choice for choice in choices}

    def read(value: str) -> str:
        if value.lower() not in known:
            raise ValueError(f"expected one of {', '.join(known)}")
        return known[value.lower()]

    return read


port = whole(1, MAX_PORT, "a port")
timeout = number(0.1, MAX_TIMEOUT_S, "seconds")


def failures(value: str) -> int:
    """Return how many failures in a row come before an alert."""
    words = JobFailureCountMinimumBeforeNotification.__members__
    if value.upper() in words:
        return int(words[value.upper()])
    return whole(1, 1_000_000, "how many failures in a row,")(value)


#: As much of RFC 5322 and 5321 as an address needs that we would write to; what can
#: end a header line or add an address is not in it.
_ADDRESS = re.compile(
    r"[^\s@<>()\[\],;:\\\"\x00-\x1f\x7f]{1,64}@"
    r"(?:{part}(?:\.{part})*|\[[0-9A-Fa-f.:]+\])".replace(
        "{part}", r"[^\s@<>()\[\],;:\\\".\x00-\x1f\x7f]{1,63}"
    )
)


def addresses(value: str) -> tuple[str, ...]:
    """Return the mail addresses of a list with commas, at least one."""
    found = tuple(part.strip() for part in value.split(",") if part.strip())
    for address in found:
        if not _ADDRESS.fullmatch(address):
            raise ValueError(
                "expected mail addresses with commas between, "
                f"not {shown('', address)}"
            )
    if not found:
        raise ValueError("expected at least one mail address")
    return found


def url(value: str) -> str:
    """Return an http or https URL with a host, and a port in range."""
    from urllib.parse import urlsplit

    expected = "expected http://host/... or https://host/..."
    if re.search(r"[\s\x00-\x1f\x7f]", value):
        raise ValueError(f"{expected}, without spaces")
    try:
        parts = urlsplit(value)
        found_port = parts.port
    except ValueError as error:
        # Its own words may hold what was meant to be a password.
        raise ValueError(f"{expected}, with a number for a port if any") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(expected)
    if found_port == 0:
        raise ValueError(f"{expected} with a port from 1 to {MAX_PORT}")
    return value


def absolute_path(value: str) -> str:
    """Return the path, which starts with a slash: cron has a folder of its own."""
    if not value.startswith("/") or "\0" in value:
        raise ValueError("expected an absolute path, such as /var")
    return value


def host(value: str) -> str:
    """Return a host name or an address; an IPv6 address may stand in brackets."""
    bare = value[1:-1] if value.startswith("[") and value.endswith("]") else value
    if not bare or re.search(r"[\s/@\[\]\x00-\x1f\x7f]", bare):
        raise ValueError("expected a host name or an IP address")
    if ":" in bare:
        import ipaddress

        try:
            ipaddress.IPv6Address(bare)
        except ValueError as error:
            raise ValueError(
                "expected a host name or an IP address, "
                "the port as an option of its own"
            ) from error
    return bare


def statuses(value: str) -> tuple[tuple[int, int], ...]:
    """Return ranges of HTTP status codes: ``200``, ``200, 301-308``, ``2xx``."""
    found = []
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
        found.append((first, last))
    return tuple(found)


def escaped(value: str) -> bytes:
    r"""Return the bytes of a text with ``\r \n \t \\ \xNN`` for what has no letter."""
    plain = {"r": b"\r", "n": b"\n", "t": b"\t", "0": b"\0", "\\": b"\\"}
    found = bytearray()
    for match in re.finditer(r"\\x([0-9A-Fa-f]{2})|\\(.?)|([^\\]+)", value, re.DOTALL):
        code, letter, words = match.groups()
        if code:
            found.append(int(code, 16))
        elif words:
            found += words.encode()
        elif letter in plain:
            found += plain[letter]
        else:
            raise ValueError(r"expected text in which a backslash starts \r \n \t \xNN")
    if not found:
        raise ValueError("expected some text")
    return bytes(found)


# The options.

#: What every target of every kind may say; also what [defaults] may hold.
POLICY_OPTIONS = {
    "every": Option(one_of(JobFrequency), None, "minute, hour, day or day_noon"),
    "notify": Option(
        one_of(JobFailureNotificationFrequency),
        JobFailureNotificationFrequency.ONSTATECHANGE,
        "every, 5min, 10min, hour, day or state_change",
    ),
    "failures": Option(failures, 1, "how many failures in a row come first"),
    "contact": Option(addresses, None, "who is told; alertcontact where not given"),
    "timeout": Option(timeout, 30.0, f"seconds in all, at most {MAX_TIMEOUT_S}"),
}

_FAMILY = Option(one_of(("any", "ipv4", "ipv6")), "any", "any, ipv4 or ipv6")
_CAFILE = Option(absolute_path, "", "trust this CA file instead of the system's store")


@dataclass(frozen=True)
class Kind:
    """One kind of target."""

    #: The job file in jobs/ that watches it.
    file: str
    options: Mapping[str, Option]
    #: How often, where neither the section nor [defaults] says.
    every: JobFrequency = JobFrequency.MINUTE

    @property
    def all_options(self) -> dict[str, Option]:
        """Return its own options and those of every kind."""
        return {**POLICY_OPTIONS, **self.options}


KINDS: dict[str, Kind] = {
    "http": Kind(
        "HTTPServerChecker",
        {
            "url": Option(url, why="what to fetch; http or https"),
            "method": Option(one_of(("get", "head")), "get", "get or head"),
            "expect_status": Option(
                statuses, ((200, 200),), "e.g. 200, or 200-299, 401"
            ),
            "expect_text": Option(text, "", "words that must be in the answer"),
            "redirects": Option(
                one_of(("same_host", "any", "none")),
                "same_host",
                "same_host, any or none: which redirects to follow, at most 5",
            ),
            "cafile": _CAFILE,
            "verify": Option(switch, True, "no: do not verify this target's TLS"),
        },
    ),
    "tcp": Kind(
        "TCPServerChecker",
        {
            "host": Option(host, why="a name or an address"),
            "port": Option(port, why="1 to 65535"),
            "send": Option(escaped, b"", r"sent once connected; \r \n \t \xNN"),
            "expect": Option(escaped, b"", "must be in what comes back"),
            "family": _FAMILY,
        },
    ),
    "tls": Kind(
        "TLSCertExpiration",
        {
            "host": Option(host, why="a name or an address"),
            "port": Option(port, 443, "1 to 65535"),
            "days": Option(whole(0, 3650, "days"), 14, "fail with fewer days left"),
            "starttls": Option(one_of(("smtp", "imap")), "", "smtp or imap"),
            "cafile": _CAFILE,
            "family": _FAMILY,
        },
        every=JobFrequency.DAY,
    ),
    "disk": Kind(
        "DiskSpace",
        {
            "path": Option(absolute_path, why="any file or folder on it, from /"),
            "limit": Option(whole(1, 100, "per cent"), 90, "fail above this"),
        },
        every=JobFrequency.HOUR,
    ),
}


def read_options(
    given: Mapping[str, str], options: Mapping[str, Option]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the values of the options given, and what is wrong, by option.

    An option that is not given is in neither, unless it must be given.
    """
    values: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    for name, raw in given.items():
        option = options.get(name)
        if option is None:
            # More words than one may be a line without its "=", and a password in it.
            word, *more = name.split()
            words = shown("", word) + " ..." * bool(more)
            wrong[name] = f"unknown option {words!r}{nearest(name, options)}"
            continue
        try:
            values[name] = option.read((raw or "").strip())
        except ValueError as error:
            wrong[name] = f"{name} = {shown(name, raw)}: {error}"
    for name, option in options.items():
        if option.default is REQUIRED and name not in given:
            wrong[name] = f"{name} is missing{': ' * bool(option.why)}{option.why}"
    return values, wrong


def read_target(
    kind: str, name: str, given: Mapping[str, str], defaults: Mapping[str, Any]
) -> tuple[Target, dict[str, str]]:
    """Return the target of section ``[kind name]``, and what is wrong, by option.

    What the section does not say is taken from ``defaults`` (the values of
    [defaults]), then from the kind.  The target of a section in which something is
    wrong has no value for it, and must not be run.
    """
    known = KINDS[kind]
    options = known.all_options
    values, wrong = read_options(given, options)
    built_in = {
        option_name: option.default
        for option_name, option in options.items()
        if option.default is not REQUIRED
    }
    merged = {**built_in, "every": known.every, **defaults, **values}
    return Target(kind, name, merged), wrong


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the known word that is nearest, or nothing."""
    import difflib

    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {found[0]!r}?" if found else ""


def shown(name: str, raw: str | None) -> str:
    """Return a value as an error may show it: short, one line, no secret in it."""
    if name.startswith("pass") or name.endswith("key"):
        return "***"
    words, *more = (raw or "").strip().split("\n")
    before, _at, after = words.rpartition("@")
    # user:password@host, also where the password holds a slash or the // is missing
    if re.search("[:/]", before):
        words = f"***@{after}"
    words = words[:200]
    # https://user:password, the host forgotten
    words = re.sub(r"(//[^/:\[\s]*:)(?![0-9]+(/|$))[^/@\s]*(?=/|$)", r"\1***", words)
    # Lines that ran together must not show what the second one holds.
    words = re.sub(r"(?i)(pass\w*|key)\s*[=:].*", r"\1=***", words)
    words = words if words.isprintable() else repr(words)
    words += " ..." * bool(more)
    return words if len(words) <= 60 else f"{words[:57]}..."

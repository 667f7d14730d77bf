"""Removal of secrets and control characters from text that is shown, sent or stored."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from lib.core.secret import Secrets
from lib.core.text import cut

#: Texts are cut twice: to this length before secrets are removed, so that no half
#: secret stays, and to their final length after.
RAW_LENGTH = 256 * 1024
#: Control and format characters, lone surrogates, line and paragraph separators.
_CONTROL_CATEGORIES = ("Cc", "Cf", "Cs", "Zl", "Zp")

#: Headers of HTTP that log in, by a part of their names.
_SECRET_HEADER = "(?i)auth|cookie|token|key|secret|password|session"
#: Variables that do.
_SECRET_NAME = _SECRET_HEADER + "|pass|pwd|credential"
#: Parameters that do, by the last word of their names: a ``keyword`` or an ``author``
#: says what everybody may read.
_SECRET_PARAMETER = (
    "(?i)(.*[^a-z])?(access|api|auth|client|private|refresh|session)?"
    "(key|token|auth|secret|password|passwd|pass|pwd|session|sessionid|sig|signature)"
    r"\]?"
)


def scrubbed(text: str, secrets: Iterable[str]) -> str:
    """Return ``text`` with every secret replaced by ``***``."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


def without_half_secret(text: str, secrets: Iterable[str]) -> str:
    """Return a text that was cut at its start, without what may be half a secret there.

    That is the longest end of a secret with which it starts.
    """
    # What is left of a character that was cut.
    rest = text.lstrip("\ufffd")
    most = 0
    for secret in secrets:
        ends = range(min(len(secret) - 1, len(rest)), most, -1)
        most = next((n for n in ends if rest.startswith(secret[-n:])), most)
    return rest[most:]


def secrets_in_headers(raw: str) -> Iterator[str]:
    """Yield what logs in among the headers of an HTTP request, one in each line.

    A server may repeat it whole, or the password alone.
    """
    for line in raw.split("\n"):
        name, _colon, value = (part.strip() for part in line.partition(":"))
        if not re.search(_SECRET_HEADER, name):
            continue
        if name.lower() == "cookie":
            pairs = (pair.partition("=") for pair in value.split(";"))
            yield from (word.strip() for _name, _equals, word in pairs)
            continue
        scheme, _space, rest = value.partition(" ")
        is_login = name.lower().endswith("authorization")
        yield (rest.strip() or value) if is_login else value
        if scheme.lower() == "basic":
            yield _password_of_basic(rest)


def secrets_in_query(raw: str) -> Iterator[str]:
    """Yield what is secret in the query of a URL, or in a form, by the name.

    Only what looks like one, long or with a digit: others say what everybody may read.
    As it is sent: a server may repeat it unquoted.
    """
    for pair in re.split("[&;]", raw):
        name, _equals, value = pair.partition("=")
        if _is_secret_parameter(name, value):
            yield value


def secrets_in_json(raw: str) -> Iterator[str]:
    """Yield what is secret in JSON, by the names and looks of ``secrets_in_query``.

    As it is sent, in quotes of JSON.
    """
    for name, value in re.findall(r'"([^"\\]*)"\s*:\s*"((?:[^"\\]|\\.)*)"', raw):
        if _is_secret_parameter(name, value):
            yield value


def _is_secret_parameter(name: str, value: str) -> bool:
    looks_so = len(value) >= 16 or (len(value) >= 6 and re.search(r"\d", value))
    return bool(looks_so and re.fullmatch(_SECRET_PARAMETER, name))


def secrets_in_variables(raw: str) -> Iterator[str]:
    """Yield what is secret among lines of ``NAME=value``, by a part of the name.

    A path is none: it is that of a file that holds a secret.
    """
    for line in raw.split("\n"):
        name, _equals, value = (part.strip() for part in line.partition("="))
        is_secret = re.search(_SECRET_NAME, name)
        if is_secret and not value.startswith("/"):
            yield value


def _password_of_basic(text: str) -> str:
    """Return the password in credentials of HTTP Basic; empty if there is none."""
    from binascii import a2b_base64

    try:
        return a2b_base64(text).decode("utf-8").partition(":")[2]
    except ValueError:
        return ""


def harmless(text: str) -> str:
    """Return the text with every control character written as an escape."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(char) if _is_control(char) else char for char in text)


def quoted(text: str) -> str:
    """Return text of others in quotes: as it is, but for control characters."""
    return f"'{harmless(text)}'"


def printable(text: str, length: int) -> str:
    """Return text from outside as one printable line, cut at ``length`` characters."""
    start = text[: 4 * length]
    words = "".join(char if char.isprintable() else " " for char in start).split()
    return cut(" ".join(words), length)


def _is_control(char: str) -> bool:
    import unicodedata

    # The zero-width joiner is part of visible characters.
    return unicodedata.category(char) in _CONTROL_CATEGORIES and char != "\u200d"


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def fit(text: str, secrets: Secrets, length: int) -> str:
    """Return a text as it may be shown: no secret, no control character, its start."""
    words = _clean(text[:RAW_LENGTH], secrets)
    return words if len(words) <= length else f"{words[:length]} ..."


def fit_end(text: str, secrets: Secrets, length: int) -> str:
    """Return a text as it may be shown: no secret, no control character, its end."""
    words = _clean(text[-RAW_LENGTH:], secrets)
    return words if len(words) <= length else f"... {words[-length:]}"


def _clean(text: str, secrets: Secrets) -> str:
    if not text:
        return ""
    lines = scrubbed(text, secrets).expandtabs().splitlines()
    return "\n".join(harmless(line) for line in lines)

"""The nouns of Checker: enums for choices, frozen dataclasses for facts.

Nothing here acts, and nothing of ours is imported.  A value that two rooms pass
to each other has its class here; one of which there may be thousands has slots.

Times, lengths, policies and strangers' words as people read them, mail or table.

Why something failed, in words: what job code raised, returned or printed.

Whatever a stranger's object does while it is asked for its text, there is an answer.
"""

from __future__ import annotations

import unicodedata


def scrubbed(text: str, secrets: tuple[str, ...]) -> str:
    """Return ``text`` with every secret replaced by ``***``."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


#: Controls, formats such as turns of direction, halves of pairs, ends of lines.
_ACTING = ("Cc", "Cf", "Cs", "Zl", "Zp")


def harmless(text: str) -> str:
    """Return the text with what is no visible character written as an escape."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(letter) if _acts(letter) else letter for letter in text)


def _acts(letter: str) -> bool:
    return unicodedata.category(letter) in _ACTING and letter != "\u200d"


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


#: Texts are cut twice, here before secrets are removed, so that no half one stays.
RAW_LENGTH = 256 * 1024


def fit(text: str, secrets: tuple[str, ...], length: int) -> str:
    """Return a text as it may be shown: no secret, no control character, its start."""
    words = _clean(text[:RAW_LENGTH], secrets)
    return words if len(words) <= length else f"{words[:length]} ..."


def fit_end(text: str, secrets: tuple[str, ...], length: int) -> str:
    """Return a text as it may be shown: no secret, no control character, its end."""
    words = _clean(text[-RAW_LENGTH:], secrets)
    return words if len(words) <= length else f"... {words[-length:]}"


def _clean(text: str, secrets: tuple[str, ...]) -> str:
    lines = scrubbed(text, secrets).expandtabs().splitlines()
    return "\n".join(harmless(line) for line in lines)

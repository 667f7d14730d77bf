"""What an error says of a name or value: which was meant perhaps, and no secret."""

from __future__ import annotations

import re
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the nearest known word, or "".

    A name has to be nearer if it neither begins with the same letter nor has the word
    in it: ``redis`` is no misspelt ``disk``, nor ``server`` a misspelt ``every``, but
    ``tpc`` is a misspelt ``tcp``, and ``header`` means ``expect_header``.
    """
    import difflib

    names = list(known)
    alike = [name for name in names if name[:1] == word[:1] or word in name]
    matches = difflib.get_close_matches(word, names, n=1, cutoff=0.75)
    matches += difflib.get_close_matches(word, alike, n=1, cutoff=0.6)
    return f"; did you mean {matches[0]!r}?" if matches else ""


def nearest_job(name: str, known: Iterable[str]) -> str:
    """Return which jobs are meant by what is the name of none, or "".

    That may be a section with ``hosts``, each of which is a job.
    """
    names = list(known)
    if any(other.startswith(f"{name}/") for other in names):
        return f"; it has hosts, each a job: {f'{name}/*'!r}"
    return nearest(name, names)


def no_tag(tag: str, known: Iterable[str]) -> str:
    """Return the sentence about a tag that no job has; ``known``: those of jobs."""
    hint = nearest(tag, known) or "; give it to jobs with tags = in their section"
    return f"no job has this tag{hint}"


def no_channel(name: str, known: Iterable[str]) -> str:
    """Return the sentence about a channel that does not exist."""
    names = sorted(known)
    hint = nearest(name, names)
    if not hint and names:
        hint = f"; the channels are {', '.join(names)}"
    return f"there is no [channel {name}]{hint}"


def no_contact(name: str, known: Iterable[str]) -> str:
    """Return the sentence about a contact that is none; ``known``: the channels."""
    return f"it is no mail address, and {no_channel(name, known)}"


def is_secret_name(name: str) -> bool:
    """Return whether an option of this name gives a secret, or says how to get it."""
    base = re.sub("_(file|env|command)$", "", name)
    # Headers may be those of a login, and what is sent its password.
    if base in ("headers", "send", "dialog"):
        return True
    return base.startswith("pass") or base.endswith(("key", "secret", "token"))


def shown(name: str, raw: str | None) -> str:
    """Return a value as an error may show it: short, one line, no secret in it."""
    if is_secret_name(name):
        return "***"
    words, *more = (raw or "").strip().split("\n")
    before, _at, after = words.rpartition("@")
    # user:password@host, also where the password holds a slash or the // is missing
    if re.search("[:/]", re.sub("(?i)^mailto:", "", before)):
        words = f"***@{after}"
    words = words[:200]
    # https://user:password, the host forgotten
    words = re.sub(r"(//[^/:\[\s]*:)(?![0-9]+(/|$))[^/@\s]*(?=/|$)", r"\1***", words)
    # If two lines ran together, the second one may be a password.
    words = re.sub(r"(?i)(pass\w*|key|secret|token)\s*[=:].*", r"\1=***", words)
    words = words if words.isprintable() else repr(words)
    if more:
        words += " ..."
    return words if len(words) <= 60 else f"{words[:57]}..."

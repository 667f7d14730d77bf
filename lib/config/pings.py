"""The tokens of ``[heartbeat NAME]``, by which its pings are known."""

from __future__ import annotations

import re
from pathlib import Path

from lib.config.options import read_options, secret_options
from lib.config.secrets import read_secret
from lib.config.targets import TargetSection, problem_of, target_sections
from lib.core.ini import IniFile
from lib.core.secret import Secret
from lib.core.settings import Problem

HEARTBEAT = "heartbeat"
#: The options that give the token of a heartbeat.
TOKEN = secret_options("token", "the secret in the URL of its pings, /ping/TOKEN")
#: A UUID has 36 characters, and ``openssl rand -hex 16`` prints 32.
_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,200}")
EXPECTED = (
    "expected 16 to 200 letters, digits, - and _; make one with: openssl rand -hex 16"
)


def why_no_token(token: Secret) -> str:
    """Return what is wrong with a token, without it; empty if nothing is."""
    return "" if _TOKEN.fullmatch(token.reveal()) else EXPECTED


def tokens_of(ini: IniFile, folder: Path) -> tuple[dict[Secret, str], list[Problem]]:
    """Return the name of the heartbeat of each token, and what is wrong with others.

    ``folder`` is where the relative path of a file with a token starts.
    """
    tokens: dict[Secret, str] = {}
    problems: list[Problem] = []
    for target in target_sections(ini, HEARTBEAT):
        given = {name: target.options[name] for name in TOKEN if name in target.options}
        if not given:
            continue
        option = next(iter(given))
        try:
            token = _token_of(target, folder)
            if why := why_no_token(token):
                raise ValueError(f"{option}: {why}")
            if token in tokens:
                raise ValueError(
                    f"{option}: [{HEARTBEAT} {tokens[token]}] has the same one; give "
                    "each its own"
                )
        except ValueError as error:
            problems.append(problem_of(target, option, str(error)))
            continue
        tokens[token] = target.name
    return tokens, problems


def _token_of(target: TargetSection, folder: Path) -> Secret:
    raw = {name: target.options[name].raw for name in TOKEN if name in target.options}
    values, wrong = read_options(raw, TOKEN)
    for text in wrong.values():
        raise ValueError(text)
    return read_secret("token", values, folder)

"""The man page, ``contrib/checker.1``, generated from the same tables as ``--help``.

``make man`` writes it: ``python -m lib.cli.manpage``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from lib.cli.arguments import ABOUT, EXIT_CODES, Flag, Mode, flags_of
from lib.core.enums import VERSION

#: Paragraphs that --help does not have.
_DESCRIPTION = (
    "Each minute cron starts it to run the jobs that are due, to mail those who want "
    "to hear of them, and to remember what it must in small files. No process stays "
    "between the runs.",
    "What to check, whom to mail and how is in settings.cfg; every option is in "
    "settings.cfg.example.",
)
_FILES = {
    "settings.cfg": "the settings, beside checker.py unless -f names another file",
    "state/": "what is remembered, beside checker.py unless --state or [general] state "
    "names another folder; state/README.md names its files",
    "jobs/": "the kinds of check that ship; your own are in [general] jobs",
}
#: When what the page says last changed; a formatter wants to know.
DATE = "2026-11-29"
_EXAMPLES = {
    "checker.py -m cron -c minute": "run what is due this minute, as cron does",
    "checker.py -m crontab": "print the lines for your crontab",
    "checker.py -m list": "show every job and what was last found",
    "checker.py -m run 'http *'": "run all HTTP checks now, and mail nobody",
}


def man_page(modes: Mapping[str, Mode]) -> str:
    """Return the page as roff, for man(1)."""
    flags = flags_of(modes)
    lines = [
        '.\\" Made by: make man',
        f'.TH CHECKER 1 "{DATE}" "Checker {VERSION}" "User Commands"',
        ".SH NAME",
        f"checker.py {_MINUS} {_text(ABOUT[0].lower() + ABOUT[1:].rstrip('.'))}",
        ".SH SYNOPSIS",
        ".B checker.py",
        f"{_bold('-m')} {_italic('MODE')}",
        *(f"[{_short(flag)}]" for flag in flags if flag.names != ("-m",)),
        f"[{_italic('WORD')} ...]",
        ".SH DESCRIPTION",
        *_paragraphs((ABOUT, *_DESCRIPTION)),
        ".SH MODES",
        *_items(
            (" ".join((_bold(f"-m {name}"), _italic(mode.words))).strip(), mode.what)
            for name, mode in modes.items()
        ),
        ".SH OPTIONS",
        *_items((_shown(flag), flag.what.replace("above", "MODES")) for flag in flags),
        ".SH EXIT STATUS",
        *_items((_bold(str(code)), what) for code, what in EXIT_CODES.items()),
        ".SH FILES",
        *_items((_italic(name), what) for name, what in _FILES.items()),
        ".SH EXAMPLES",
        *_items((_bold(line), what) for line, what in _EXAMPLES.items()),
        ".SH SEE ALSO",
        ".BR cron (8),",
        ".BR crontab (5)",
    ]
    return "\n".join(lines) + "\n"


_MINUS = r"\-"


def _shown(flag: Flag) -> str:
    names = ", ".join(map(_bold, flag.names))
    return f"{names} {_italic(flag.value)}" if flag.value else names


def _short(flag: Flag) -> str:
    return _shown(replace(flag, names=flag.names[:1]))


def _items(items: Iterable[tuple[str, str]]) -> Iterable[str]:
    for term, what in items:
        yield from (".TP", term, _text(what[:1].upper() + what[1:]) + ".")


def _paragraphs(paragraphs: Iterable[str]) -> Iterable[str]:
    for number, paragraph in enumerate(paragraphs):
        # The first one follows a heading.
        if number:
            yield ".PP"
        yield from (_text(line) for line in re.split(r"(?<=\.) ", paragraph))


def _bold(text: str) -> str:
    return rf"\fB{_text(text)}\fR"


def _italic(text: str) -> str:
    return rf"\fI{_text(text)}\fR" if text else ""


def _text(text: str) -> str:
    """Return a text with the special characters of roff escaped."""
    text = text.replace("\\", r"\e").replace("-", _MINUS).replace("'", r"\(aq")
    return rf"\&{text}" if text.startswith(".") else text


if __name__ == "__main__":
    from lib.cli.main import MODES

    print(man_page(MODES), end="")

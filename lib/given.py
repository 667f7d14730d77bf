"""What modes share: the settings of a command line, and what stands below a table."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.model import Settings

if TYPE_CHECKING:
    import argparse

#: Exit codes, as README.md lists them.
OK, TROUBLE, WRONG_USE = 0, 1, 2


def settings_of(given: argparse.Namespace, *, with_password: bool = False) -> Settings:
    """Return the settings, with the log started as the flags say."""
    from lib.log import start_log

    settings = read_settings(given, with_password=with_password)
    if os.geteuid() == 0:
        from lib.asowner import check_owner

        check_owner(settings.state, settings.path)
    start_log(
        settings.logfile,
        settings.secrets,
        to_file=given.verbose,
        to_stderr=given.debug,
        mails_to_file=settings.mail.nomail,
    )
    return settings


def read_settings(
    given: argparse.Namespace, *, with_password: bool = False
) -> Settings:
    """Return the settings that a command line names."""
    from lib.settings import load_settings

    return load_settings(
        given.file,
        jobs=[Path(folder) for folder in given.jobs],
        state=Path(given.state) if given.state else None,
        nomail=given.nomail,
        base=given.base,
        with_password=with_password,
    )


def say_more(
    given: argparse.Namespace, settings: Settings, warnings: tuple[str, ...]
) -> None:
    """Print what a person should know below a table, the next step last."""
    out: Any = sys.stderr if given.json else sys.stdout
    for warning in warnings:
        print(f"warning: {warning}", file=out)
    if settings.mail.nomail and not given.nomail:
        print("Mail: nomail is set, so mails go to the log and to nobody.", file=out)
    notes = [problem for problem in settings.problems if problem.note]
    # The next step stands last, where the eye ends.
    notes.sort(key=lambda note: note.section == "email" and not settings.mail.is_set_up)
    for note in notes:
        print(f"Note: {note}", file=out)

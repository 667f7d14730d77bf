"""The modes that do the work: a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib.given import settings_of
from lib.model import JobFrequency

if TYPE_CHECKING:
    import argparse


def cron(given: argparse.Namespace) -> int:
    import logging

    from lib.run import run

    settings = settings_of(given, with_password=True)
    for problem in settings.problems:
        if problem.warning:
            level = logging.INFO if problem.note else logging.WARNING
            logging.getLogger(__name__).log(level, "%s", problem)
    return run(settings, JobFrequency(given.ordered), command=given.command)

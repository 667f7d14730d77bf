"""The modes that do the work: a run, and the endpoint for peers."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from lib.cli.arguments import OK, TROUBLE, read_settings, settings_of
from lib.core.enums import JobFrequency

if TYPE_CHECKING:
    import argparse


def cron(given: argparse.Namespace) -> int:
    import logging

    from lib.runner.run import run

    settings = settings_of(given, with_password=True)
    for problem in settings.problems:
        if problem.warning:
            level = logging.INFO if problem.note else logging.WARNING
            logging.getLogger(__name__).log(level, "%s", problem)
    return run(settings, JobFrequency(given.ordered))


def daemon(given: argparse.Namespace) -> int:
    """Answer peers until SIGTERM or Ctrl-C."""
    from lib.config.reload import FreshSettings
    from lib.net.listen import CannotListen
    from lib.system.streams import best_effort
    from lib.web.routes import application
    from lib.web.server import Server

    settings = settings_of(given)
    fresh = FreshSettings(settings, lambda: read_settings(given))
    try:
        server = Server(application(fresh), *settings.status.listen)
    except CannotListen as error:
        print(f"checker: [status] listen: {error}", file=sys.stderr)
        return TROUBLE
    said = best_effort(sys.stdout.fileno())
    for host, port in server.addresses:
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        print(
            f"checker: process {os.getpid()} answers peers on http://{where}/",
            file=said,
        )
    server.serve()
    return OK

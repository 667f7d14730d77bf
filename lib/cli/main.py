"""The entry point of the command line; each mode is a row in MODES.

To add a mode, write a function that takes the arguments and returns an exit code, in a
module of this package, and give it a row.  Only the module of that mode is loaded.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.cli.arguments import (
    OK,
    STOPPED,
    TROUBLE,
    Mode,
    read,
    read_plain_order,
    read_settings,
    settings_of,
)
from lib.core.enums import JobFrequency

if TYPE_CHECKING:
    import argparse

    from lib.config.fresh import FreshSettings
    from lib.core.settings import Settings
    from lib.web.routes import Application


def main(arguments: list[str], here: str) -> int:
    """Carry out a command line; return the exit code.

    ``here`` is the checkout: where jobs that ship and the default settings lie.
    """
    from lib.system.streams import OutputError

    try:
        try:
            return _carry_out(arguments, here)
        finally:
            # Here, where it can be said that nobody takes it.
            sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our table has seen enough.
        return OK
    except OutputError as error:
        print(
            f"checker: standard output cannot be written: {error.strerror}",
            file=sys.stderr,
        )
        return TROUBLE


def _carry_out(arguments: list[str], here: str) -> int:
    from lib.config.load import SettingsError
    from lib.system.errors import StateError, shortage
    from lib.system.streams import OutputError

    args: Any = read_plain_order(arguments) or read(arguments, MODES)
    args.base = Path(here)
    args.modes = MODES
    args.file = Path(args.file) if args.file else args.base / "settings.cfg"
    try:
        if os.geteuid() == 0:
            from lib.cli.as_owner import become_owner

            become_owner(args, arguments)
        return function_of(MODES[args.mode])(args)
    except SettingsError as error:
        # The others are news of -m validate.
        for problem in error.problems:
            if problem.fatal:
                print(f"checker: {problem}", file=sys.stderr)
        return TROUBLE
    except StateError as error:
        print(f"checker: {error}", file=sys.stderr)
        return TROUBLE
    except (BrokenPipeError, OutputError):
        raise
    except KeyboardInterrupt:
        return STOPPED
    except (OSError, RuntimeError, MemoryError) as error:
        words = shortage(error)
        if not words:
            raise
        print(f"checker: {words}; -m {args.mode} ends early", file=sys.stderr)
        return TROUBLE


def function_of(mode: Mode) -> Callable[[argparse.Namespace], int]:
    """Return what carries out a mode, its module loaded."""
    module, _colon, name = mode.act.partition(":")
    function: Callable[[argparse.Namespace], int]
    function = getattr(importlib.import_module(f"lib.cli.{module}"), name)
    return function


def cron(args: argparse.Namespace) -> int:
    import logging

    from lib.runner.run import run

    # A run is over before the few cycles that it makes would matter.
    gc.disable()
    settings = settings_of(args, with_password=True, or_last=True)
    for problem in settings.problems:
        if problem.warning:
            level = logging.INFO if problem.note else logging.WARNING
            logging.getLogger(__name__).log(level, "%s", problem)
    code = run(settings, JobFrequency(args.ordered))
    return TROUBLE if settings.last_usable else code


def daemon(args: argparse.Namespace) -> int:
    """Answer peers, take pings and show the page, until SIGTERM or Ctrl-C."""
    from lib.config.fresh import FreshSettings
    from lib.system.streams import best_effort
    from lib.web.pings import MAX_BODY
    from lib.web.routes import application
    from lib.web.server import MAX_FORM, CannotListen, Server

    settings = settings_of(args, or_last=True)
    fresh = FreshSettings(settings, lambda: read_settings(args))
    server = Server()
    listening: list[tuple[str, tuple[str, int], str]] = []
    section = "status"
    try:
        for address in server.add(application(fresh), *settings.status.listen):
            listening.append(("answers peers", address, ""))
        page = settings.page
        if page.ping or page.is_shown or page.public:
            section = "page"
            for address in server.add(
                _page_application(fresh, settings),
                *page.listen,
                max_body=MAX_BODY if page.ping else MAX_FORM,
            ):
                if page.ping:
                    listening.append(("takes pings", address, "ping/TOKEN"))
                if page.is_shown:
                    listening.append(("shows the page", address, ""))
                if page.public:
                    listening.append(("shows the public page", address, "public"))
    except CannotListen as error:
        print(f"checker: [{section}] listen: {error}", file=sys.stderr)
        return TROUBLE
    out = best_effort(sys.stdout.fileno())
    for what, (host, port), path in listening:
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        print(
            f"checker: process {os.getpid()} {what} on http://{where}/{path}", file=out
        )
    server.serve()
    return OK


def _page_application(fresh: FreshSettings, settings: Settings) -> Application:
    """Return what answers on [page] listen: pings, the page, or both."""
    from lib.web.pings import pings

    if not (settings.page.is_shown or settings.page.public):
        return pings(fresh)
    from lib.web.pages import beside_pings, pages

    return beside_pings(pings(fresh) if settings.page.ping else None, pages(fresh))


MODES: dict[str, Mode] = {
    "cron": Mode("main:cron", "run what is due; needs -c"),
    "daemon": Mode(
        "main:daemon", "answer peers, take pings, show the page: [status], [page]"
    ),
    "list": Mode(
        "show:list_jobs",
        "every job with its status, failing first",
        takes_json=True,
        flags=("failing", "files", "tag"),
    ),
    "show": Mode(
        "show:show",
        "sections as they count, and where each value is from",
        words="SECTION...",
        most_words=1_000_000,
        takes_json=True,
        takes_jobs=True,
    ),
    "kinds": Mode(
        "show:kinds",
        "what can be checked, or the options of one kind",
        words="[KIND]",
        most_words=1,
        takes_json=True,
    ),
    "run": Mode(
        "tryout:run_jobs",
        "run these jobs now; keep no state, send no mail",
        words="NAME...",
        most_words=1_000_000,
        takes_json=True,
        takes_jobs=True,
    ),
    "check": Mode(
        "tryout:check",
        "run these jobs now, with state and notification",
        words="NAME...",
        most_words=1_000_000,
        takes_json=True,
        takes_jobs=True,
    ),
    "why": Mode(
        "show:why",
        "why these jobs did or did not notify",
        words="NAME...",
        most_words=1_000_000,
        takes_json=True,
        takes_jobs=True,
    ),
    "mute": Mode(
        "silence:mute",
        "no alert of these jobs; needs --for or --until",
        words="NAME...",
        most_words=1_000_000,
        takes_jobs=True,
        flags=("for", "until", "why", "tag"),
    ),
    "unmute": Mode(
        "silence:unmute",
        "end mutes and acknowledgements of these jobs",
        words="NAME...",
        most_words=1_000_000,
        takes_jobs=True,
        flags=("why", "tag"),
    ),
    "ack": Mode(
        "silence:acknowledge",
        "you know what is failing: no reminders",
        words="NAME...",
        most_words=1_000_000,
        takes_jobs=True,
        flags=("why", "tag"),
    ),
    "announce": Mode(
        "announce:announce",
        "tell those who look at the page; list it, end it",
        words="[TEXT]",
        most_words=1_000_000,
        takes_json=True,
        flags=("for", "from", "until", "tag", "level", "change", "end"),
    ),
    "validate": Mode(
        "tryout:validate", "every problem in settings and jobs", takes_json=True
    ),
    "test": Mode(
        "tryout:test",
        "send one message by a channel or by mail, show each step",
        words="[NAME or ADDRESS]",
        most_words=1,
    ),
    "testmail": Mode(
        "tryout:testmail",
        "send one mail, show each step",
        words="[ADDRESS]",
        most_words=1,
    ),
    "status": Mode(
        "look:status",
        "how these or all jobs are, and Checker itself",
        words="[NAME...]",
        most_words=1_000_000,
        takes_json=True,
        takes_jobs=True,
        flags=("watch",),
    ),
    "history": Mode(
        "look:history",
        "what the results of a job were, the newest first",
        words="NAME",
        most_words=1,
        takes_json=True,
        takes_jobs=True,
        flags=("since", "until", "all"),
    ),
    "report": Mode(
        "look:report",
        "a month: uptime, outages, time to notify, slowest",
        takes_json=True,
        flags=("month", "csv", "html"),
    ),
    "replay": Mode(
        "replay:replay",
        "what other settings would have sent, beside what was",
        words="[NAME...]",
        most_words=1_000_000,
        takes_json=True,
        takes_jobs=True,
        flags=("since", "until", "settings", "all"),
    ),
    "peers": Mode("peers:peers", "ask each peer for its status now", takes_json=True),
    "peerkey": Mode(
        "peers:peerkey",
        "a new key for a peer, for both sides",
        words="NAME",
        most_words=1,
    ),
    "drill": Mode(
        "tryout:drill",
        "send the alert of these jobs to their contacts as a drill",
        words="NAME...",
        most_words=1_000_000,
        takes_jobs=True,
    ),
    "crontab": Mode("show:crontab", "the lines for your crontab"),
    "wrap": Mode(
        "wrap:elsewhere",
        "run a command for a heartbeat; stands first",
        words="NAME -- COMMAND",
        most_words=1_000_000,
        flags=("output", "spool"),
    ),
    "completion": Mode(
        "show:completion",
        "a completion script for your shell (bash, zsh)",
        words="SHELL",
        most_words=1,
        choices=("bash", "zsh", "jobs"),
    ),
}

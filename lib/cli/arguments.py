"""The command line: modes, flags and exit codes, and the settings they lead to."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from lib.core.enums import VERSION, JobFrequency
from lib.core.settings import Settings

if TYPE_CHECKING:
    import argparse


class Mode(msgspec.Struct, frozen=True):
    """A mode: what ``-m NAME`` does."""

    #: ``module:function`` in lib.cli; the function takes the arguments and returns an
    #: exit code.
    act: str
    #: A line for --help.
    what: str
    #: Its arguments, as --help shows them; empty if it takes none.
    words: str = ""
    #: The maximum number of arguments.
    most_words: int = 0
    takes_json: bool = False
    #: True if the arguments are job names, which a shell completes.
    takes_jobs: bool = False
    #: The arguments that it accepts; empty: any.
    choices: tuple[str, ...] = ()
    #: The flags that only some modes take, see OPTIONAL_FLAGS.
    flags: tuple[str, ...] = ()


class Flag(msgspec.Struct, frozen=True):
    """A flag, as --help, the man page and shell completion show it."""

    names: tuple[str, ...]
    what: str
    #: The name of its value; empty if it takes none.
    value: str = ""
    choices: tuple[str, ...] = ()
    repeats: bool = False


ABOUT = "A monitor that cron starts."
EXIT_CODES = {
    0: "done; a failing job is news, not an error",
    1: "it could not start, or what was asked for did not go well; of -m run and -m "
    "check: a job is failing",
    2: "the command line was wrong",
    3: "of -m run and -m check: a job is unknown, and none is failing",
    130: "Ctrl-C was pressed",
}


#: The flags that only some modes take, as they are when they are not given.
OPTIONAL_FLAGS: Mapping[str, Any] = {
    "failing": False,
    "files": False,
    "for": None,
    "until": None,
    "from": None,
    "why": None,
    "level": None,
    "change": None,
    "end": [],
    "tag": [],
    "output": None,
    "spool": None,
    "watch": False,
    "since": None,
    "all": False,
    "settings": None,
    "month": None,
    "csv": False,
    "html": False,
}
#: What does for every mode what a flag does for a few.
_INSTEAD = {"settings": "-f FILE"}


def read_plain_order(arguments: list[str]) -> SimpleNamespace | None:
    """Return the arguments of a command line of cron; None: use ``read``.

    The same as ``read`` returns, without the cost of importing argparse.
    """
    flags = {"-v": "verbose", "-d": "debug", "--nomail": "nomail"}
    args = SimpleNamespace(
        mode="cron", file=None, jobs=[], state=None, json=False, words=[]
    )
    vars(args).update(OPTIONAL_FLAGS)
    args.verbose = args.debug = args.nomail = False
    if arguments[:3] != ["-m", "cron", "-c"] or len(arguments) < 4:
        return None
    args.ordered = arguments[3]
    if args.ordered not in list(JobFrequency):
        return None
    left = iter(arguments[4:])
    for word in left:
        if word in flags:
            setattr(args, flags[word], True)
            continue
        value = next(left, "")
        if not value or value.startswith("-"):
            return None
        if word == "--jobs":
            args.jobs.append(value)
        elif word in ("-f", "--state"):
            setattr(args, "file" if word == "-f" else "state", value)
        else:
            return None
    return args


def read(arguments: list[str], modes: Mapping[str, Mode]) -> argparse.Namespace:
    """Return the arguments, checked; a wrong one ends the program with exit code 2."""
    parser = parser_of(modes)
    args = parser.parse_intermixed_args(arguments)
    mode = modes[args.mode]
    if args.mode == "cron" and args.ordered is None:
        parser.error("-m cron needs -c minute, hour, day or day_noon")
    if args.mode != "cron" and args.ordered is not None:
        parser.error(f"-m {args.mode} takes no -c")
    if len(args.words) > mode.most_words:
        parser.error(f"-m {args.mode} does not take {args.words[mode.most_words]!r}")
    for flag, nothing in OPTIONAL_FLAGS.items():
        if getattr(args, flag) != nothing and flag not in mode.flags:
            hint = f"; it takes {_INSTEAD[flag]}" if flag in _INSTEAD else ""
            parser.error(f"-m {args.mode} takes no --{flag}{hint}")
    needs_words = mode.words.endswith("...") or (mode.words and mode.takes_jobs)
    if needs_words and "[" not in mode.words and not (args.words or args.tag):
        what = "section" if mode.words == "SECTION..." else "job; see -m list"
        parser.error(f"-m {args.mode} needs the name of a {what}")
    if mode.choices and not set(args.words) & set(mode.choices):
        *first, last = mode.choices
        parser.error(f"-m {args.mode} needs {', '.join(first)} or {last}")
    if args.json and not mode.takes_json:
        parser.error(f"-m {args.mode} has no --json")
    return args


def parser_of(modes: Mapping[str, Mode]) -> argparse.ArgumentParser:
    """Return the parser; --help, the man page and shell completion are made from it."""
    import argparse
    import platform

    from lib.core.announcements import Level

    lines = "\n".join(
        f"  -m {' '.join((name, mode.words)).strip():<23} {mode.what}"
        for name, mode in modes.items()
    )
    codes = "\n".join(f"  {code:<5} {what}" for code, what in EXIT_CODES.items())
    parser = argparse.ArgumentParser(
        prog="checker.py",
        description=f"{ABOUT}\n\nmodes:\n{lines}",
        epilog=f"exit codes:\n{codes}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "--version",
        action="version",
        version=f"Checker {VERSION}, Python {platform.python_version()}",
        help="show the version and exit",
    )
    add(
        "-m",
        dest="mode",
        metavar="MODE",
        required=True,
        choices=[*modes],
        help="what to do, see above",
    )
    add(
        "-c",
        dest="ordered",
        metavar="FREQUENCY",
        type=str,
        choices=[frequency.value for frequency in JobFrequency],
        help="with -m cron: minute, hour, day or day_noon",
    )
    add("-v", dest="verbose", action="store_true", help="write to the log file")
    add("-d", dest="debug", action="store_true", help="log to standard error")
    add("--nomail", action="store_true", help="log each mail whole, send none")
    add("-f", dest="file", metavar="FILE", help="settings (default: settings.cfg)")
    add(
        "--jobs",
        metavar="DIR",
        action="append",
        default=[],
        help="your own job folder, instead of [general] jobs; may be repeated",
    )
    add("--state", metavar="DIR", help="state folder, instead of [general] state")
    add("--json", action="store_true", help="tables as JSON")
    add("--failing", action="store_true", help="with list: only what is failing")
    add("--files", action="store_true", help="with list: the job files, too")
    add(
        "--for",
        metavar="LENGTH",
        help="with mute and announce: for how long, such as 2h",
    )
    add(
        "--until",
        metavar="TIME",
        help="with mute, announce, history and replay: until when, such as 06:00",
    )
    add("--from", metavar="TIME", help="with announce: from when on, such as 22:00")
    add("--why", metavar="TEXT", help="with mute, unmute and ack: why, for the others")
    add(
        "--tag",
        metavar="TAG",
        action="append",
        default=[],
        help="with list, mute, unmute and ack: the jobs with this tag; with announce: "
        "what it is about; may be repeated",
    )
    add(
        "--level",
        metavar="LEVEL",
        choices=[level.value for level in Level],
        help="with announce: outage, warning, maintenance, information or resolved",
    )
    add("--change", metavar="ID", help="with announce: change this one")
    add(
        "--end",
        metavar="ID",
        action="append",
        default=[],
        help="with announce: show this one no longer; may be repeated",
    )
    add("--output", metavar="tail", help="with wrap: keep the last 4 kB of the output")
    add("--spool", metavar="DIR", help="with wrap: instead of /var/spool/checker")
    add(
        "--since",
        metavar="TIME",
        help="with history and replay: from when on, such as 7d",
    )
    add(
        "--all",
        action="store_true",
        help="with history: each result by itself; with replay: all notifications",
    )
    add(
        "--settings",
        metavar="FILE",
        help="with replay: the settings to judge by, instead of settings.cfg",
    )
    add("--month", metavar="MONTH", help="with report: 2026-11, this or last")
    add("--csv", action="store_true", help="with report: as CSV")
    add("--html", action="store_true", help="with report: as a page")
    add("--watch", action="store_true", help="with status: again every 10 seconds")
    add("words", metavar="...", nargs="*", help="what a mode takes, see above")
    return parser


def flags_of(modes: Mapping[str, Mode]) -> list[Flag]:
    """Return the flags as --help has them."""
    return [
        Flag(
            tuple(action.option_strings),
            action.help or "",
            str(action.metavar or ""),
            tuple(action.choices or ()),
            repeats=isinstance(action.default, list),
        )
        for action in parser_of(modes)._actions
        if action.option_strings
    ]


#: Exit codes; EXIT_CODES has the words.
OK, TROUBLE, WRONG_USE, UNKNOWN, STOPPED = 0, 1, 2, 3, 130


def settings_of(
    args: argparse.Namespace, *, with_password: bool = False, or_last: bool = False
) -> Settings:
    """Return the settings, and start the log as the flags say.

    ``or_last``: the last usable ones while those of now cannot be used, which is then
    an error in the log.
    """
    from lib.config.load import SettingsError
    from lib.system.log import start_log

    try:
        settings = read_settings(args, with_password=with_password)
    except SettingsError as error:
        if not or_last:
            raise
        from functools import partial

        from lib.cli.lastusable import last_usable

        load = partial(read_settings, args, with_password=with_password)
        settings = last_usable(args, error, load)
    if os.geteuid() == 0:
        from lib.cli.as_owner import check_owner

        check_owner(settings.state, settings.path)
    start_log(
        settings.logfile,
        settings.secrets,
        to_file=args.verbose,
        to_stderr=args.debug,
        mails_to_file=settings.mail.nomail,
        zone=settings.zone,
    )
    if settings.last_usable is not None:
        from lib.cli.lastusable import log_use

        log_use(settings.last_usable, settings)
    return settings


def read_settings(
    args: argparse.Namespace,
    *,
    with_password: bool = False,
    copy: Mapping[str, str] | None = None,
    state: Path | None = None,
) -> Settings:
    """Return the settings, with what the command line overrides.

    ``copy``: the texts of an earlier time, read in place of the files.  ``state``: the
    folder, if --state does not name another.
    """
    from lib.config.load import load_settings

    settings = load_settings(
        args.file,
        jobs=[Path(folder) for folder in args.jobs],
        state=Path(args.state) if args.state else state,
        nomail=args.nomail,
        base=args.base,
        with_password=with_password,
        copy=copy,
    )
    return replace(
        settings, checker=str(args.base / "checker.py"), flags=flags_in(args)
    )


def flags_in(args: argparse.Namespace) -> tuple[str, ...]:
    """Return the -f, --jobs and --state of a command line, their paths absolute."""
    flags: tuple[str, ...] = ()
    if args.file != args.base / "settings.cfg":
        flags += ("-f", str(args.file.absolute()))
    for folder in args.jobs:
        flags += ("--jobs", str(Path(folder).absolute()))
    if args.state:
        flags += ("--state", str(Path(args.state).absolute()))
    return flags


def say_more(
    args: argparse.Namespace, settings: Settings, warnings: tuple[str, ...]
) -> None:
    """Print warnings and notes below a table, the next step last."""
    out: Any = sys.stderr if args.json else sys.stdout
    for warning in warnings:
        print(f"warning: {warning}", file=out)
    if settings.mail.nomail and not args.nomail:
        print("Mail: nomail is set, so mails go to the log and to nobody.", file=out)
    notes = [problem for problem in settings.problems if problem.note]
    # The next step stands last, where the eye ends.
    notes.sort(key=lambda note: note.section == "email" and not settings.mail.is_set_up)
    for note in notes:
        print(f"Note: {note}", file=out)

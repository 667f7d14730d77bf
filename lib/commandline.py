"""A command line, read: which mode is asked for, with which words and flags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING

from lib.model import JobFrequency

if TYPE_CHECKING:
    import argparse


@dataclass(frozen=True)
class Mode:
    """What a word behind ``-m`` does."""

    #: ``room:function``; the function takes the arguments and returns an exit code.
    act: str
    #: A line for --help.
    what: str
    #: What stands behind it on the command line; empty where nothing may.
    words: str = ""
    #: How many of these there may be.
    most_words: int = 0
    takes_json: bool = False


def read_plain_order(arguments: list[str]) -> SimpleNamespace | None:
    """Return the arguments if they are what cron says each minute; else None.

    As ``read`` would, but without argparse, whose loading each run would pay for.
    """
    flags = {"-v": "verbose", "-d": "debug", "--nomail": "nomail"}
    given = SimpleNamespace(
        mode="cron", file=None, jobs=[], state=None, json=False, words=[]
    )
    given.verbose = given.debug = given.nomail = False
    if arguments[:3] != ["-m", "cron", "-c"] or len(arguments) < 4:
        return None
    given.ordered = arguments[3]
    if given.ordered not in list(JobFrequency):
        return None
    left = iter(arguments[4:])
    for word in left:
        if word in flags:
            setattr(given, flags[word], True)
            continue
        value = next(left, "")
        if not value or value.startswith("-"):
            return None
        if word == "--jobs":
            given.jobs.append(value)
        elif word in ("-f", "--state"):
            setattr(given, "file" if word == "-f" else "state", value)
        else:
            return None
    return given


def read(arguments: list[str], modes: Mapping[str, Mode]) -> argparse.Namespace:
    """Return the arguments, checked; a wrong one ends the program with exit code 2."""
    import argparse

    lines = "\n".join(
        f"  -m {' '.join((name, mode.words)).strip():<20} {mode.what}"
        for name, mode in modes.items()
    )
    parser = argparse.ArgumentParser(
        prog="checker.py",
        description="A monitor that cron starts.\n\nmodes:\n" + lines,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("-m", dest="mode", metavar="MODE", required=True, choices=[*modes])
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
    add("words", metavar="...", nargs="*", help="what a mode takes, see above")
    given = parser.parse_intermixed_args(arguments)
    mode = modes[given.mode]
    if given.mode == "cron" and given.ordered is None:
        parser.error("-m cron needs -c minute, hour, day or day_noon")
    if given.mode != "cron" and given.ordered is not None:
        parser.error(f"-m {given.mode} takes no -c")
    if len(given.words) > mode.most_words:
        parser.error(f"-m {given.mode} does not take {given.words[mode.most_words]!r}")
    if mode.words.endswith("NAME...") and not given.words:
        parser.error(f"-m {given.mode} needs the name of a job; see -m list")
    if given.json and not mode.takes_json:
        parser.error(f"-m {given.mode} has no --json")
    return given

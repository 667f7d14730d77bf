"""The command line: what can be asked of Checker, a row in MODES each.

To add a mode, write a function that takes the arguments and returns an exit code, and
give it a row.  It imports what it needs itself, so that no other mode pays for it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from lib.model import JobFrequency, Problem, Settings

if TYPE_CHECKING:
    import argparse

#: Exit codes, as README.md lists them.
OK, TROUBLE, WRONG_USE = 0, 1, 2


@dataclass(frozen=True)
class Mode:
    """What a word behind ``-m`` does."""

    act: Callable[[argparse.Namespace], int]
    #: A line for --help.
    what: str
    #: What stands behind it on the command line; empty where nothing may.
    words: str = ""
    #: How many of these there may be.
    most_words: int = 0
    takes_json: bool = False


def main(arguments: list[str], here: str) -> int:
    """Carry out a command line; return the exit code.

    ``here`` is the checkout: where jobs that ship and the default settings lie.
    """
    from lib.remedy import StateError
    from lib.settings import SettingsError

    given: Any = _read_plain_order(arguments) or _read(arguments)
    given.base = Path(here)
    given.command = (arguments, here)
    given.file = Path(given.file) if given.file else given.base / "settings.cfg"
    try:
        return MODES[given.mode].act(given)
    except SettingsError as error:
        for problem in error.problems:
            print(f"checker: {problem}", file=sys.stderr)
        return TROUBLE
    except StateError as error:
        print(f"checker: {error}", file=sys.stderr)
        return TROUBLE
    except BrokenPipeError:
        # Whoever read our table has seen enough; nothing is left to be flushed.
        sys.stdout = None
        return OK
    except KeyboardInterrupt:
        return 130


def _read_plain_order(arguments: list[str]) -> SimpleNamespace | None:
    """Return the arguments if they are what cron says each minute; else None.

    As ``_read`` would, but without argparse, whose loading takes longer than a run in
    which nothing is due.
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


def _read(arguments: list[str]) -> argparse.Namespace:
    """Return the arguments, checked; a wrong one ends the program with exit code 2."""
    import argparse

    modes = "\n".join(
        f"  -m {' '.join((name, mode.words)).strip():<20} {mode.what}"
        for name, mode in MODES.items()
    )
    parser = argparse.ArgumentParser(
        prog="checker.py",
        description="A monitor that cron starts.\n\nmodes:\n" + modes,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("-m", dest="mode", metavar="MODE", required=True, choices=[*MODES])
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
    mode = MODES[given.mode]
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


def _settings(given: argparse.Namespace, *, with_password: bool = False) -> Settings:
    """Return the settings, with the log started as the flags say."""
    from lib.log import start_log
    from lib.settings import load_settings

    settings = load_settings(
        given.file,
        jobs=[Path(folder) for folder in given.jobs],
        state=Path(given.state) if given.state else None,
        nomail=given.nomail,
        base=given.base,
        with_password=with_password,
    )
    start_log(
        settings.logfile,
        settings.secrets,
        to_file=given.verbose,
        to_stderr=given.debug,
        mails_to_file=settings.mail.nomail,
    )
    return settings


def _cron(given: argparse.Namespace) -> int:
    import logging

    from lib.run import run

    settings = _settings(given, with_password=True)
    for problem in settings.problems:
        if problem.warning:
            level = logging.INFO if problem.note else logging.WARNING
            logging.getLogger(__name__).log(level, "%s", problem)
    return run(settings, JobFrequency(given.ordered), command=given.command)


def _list(given: argparse.Namespace) -> int:
    from lib import look, report
    from lib.run import utc_now
    from lib.state import State, last_runs
    from lib.worker import record_of

    settings = _settings(given)
    there = look.meet(settings)
    state = State(settings.state)
    found = state.load()
    last = last_runs(found.run)
    judged = {key for key, job in state.load_catalogue().items() if job.judged}
    rows = report.job_rows(
        there.jobs,
        {job.key: record_of(job.key, found.records, found.lost) for job in there.jobs},
        judged,
        utc_now(),
        ran_at={
            job.key: last[job.frequency]
            for job in there.jobs
            if job.frequency in last and job.key in judged
        },
    )
    report.show(
        report.JOB_COLUMNS, rows, as_json=given.json, out=sys.stdout, title="jobs"
    )
    _say_more(given, settings, there.warnings)
    return OK


def _run(given: argparse.Namespace) -> int:
    from lib import look, report
    from lib.readers import nearest

    settings = _settings(given)
    found, unmatched = look.try_jobs(settings, given.words)
    for pattern in unmatched:
        hint = nearest(pattern, [job.name for job in found.jobs])
        print(
            f"checker: no job is called {pattern!r}{hint or '; see -m list'}",
            file=sys.stderr,
        )
    if found.reports:
        rows = report.result_rows(found.reports)
        report.show(report.RESULT_COLUMNS, rows, as_json=given.json, out=sys.stdout)
        if not given.json:
            for line in report.detail_lines(found.reports):
                print(line)
    return TROUBLE if unmatched else OK


def _drill(given: argparse.Namespace) -> int:
    from lib import drill, look
    from lib.outbox import send_now
    from lib.readers import nearest
    from lib.run import utc_now

    if not given.words:
        print("checker: -m drill: expected the name of a job", file=sys.stderr)
        return WRONG_USE
    settings = _settings(given, with_password=True)
    there = look.meet(settings)
    name = given.words[0]
    job = next((one for one in there.jobs if one.name == name), None)
    if job is None:
        hint = nearest(name, [one.name for one in there.jobs])
        print(
            f"checker: no job is called {name!r}{hint or '; see -m list'}",
            file=sys.stderr,
        )
        return TROUBLE
    for line in drill.policy_lines(job):
        print(line)
    message = drill.message(settings, job, utc_now())
    why = send_now(settings, message, on_step=print)
    if why:
        print(f"checker: the mail was not sent: {why}", file=sys.stderr)
        return TROUBLE
    print(f"A drill was sent to {', '.join(message.to)}: {message.subject}")
    seen = drill.arrival(settings, message)
    print(seen or "Did it arrive, and not as spam?  We cannot see that mailbox.")
    return OK


def _validate(given: argparse.Namespace) -> int:
    from lib import look, report
    from lib.settings import SettingsError

    problems: tuple[Problem, ...]
    try:
        settings: Settings | None = _settings(given, with_password=True)
    except SettingsError as error:
        settings, problems = None, error.problems
    if settings is not None:
        there = look.meet(settings)
        problems = (*settings.problems, *look.problems_of(settings, there))
        problems = tuple(one for one in problems if not one.note)
    if problems or given.json:
        rows = report.problem_rows(problems)
        report.show(report.PROBLEM_COLUMNS, rows, as_json=given.json, out=sys.stdout)
    elif settings is not None:
        print(f"{settings.path}: nothing is wrong; {len(there.jobs)} jobs")
    if settings is not None:
        _say_more(given, settings, ())
    return TROUBLE if problems else OK


def _why(given: argparse.Namespace) -> int:
    from lib import report, why
    from lib.readers import nearest
    from lib.run import utc_now
    from lib.state import State

    settings = _settings(given)
    state = State(settings.state)
    records, catalogue = state.load().records, state.load_catalogue()
    told, unmatched = why.stories(settings.state, given.words, records, catalogue)
    for pattern in unmatched:
        hint = nearest(pattern, [known.name for known in catalogue.values()])
        print(
            f"checker: nothing is remembered of a job {pattern!r}"
            f"{hint or '; see -m list'}",
            file=sys.stderr,
        )
    now = utc_now()
    if given.json:
        rows = [why.row_of(story, now) for story in told]
        report.show((), rows, as_json=True, out=sys.stdout)
    else:
        for number, story in enumerate(told):
            for line in ("", *why.lines_of(story, now))[not number :]:
                print(line)
    return TROUBLE if unmatched else OK


def _testmail(given: argparse.Namespace) -> int:
    from lib import letters, readers
    from lib.outbox import send_now
    from lib.run import utc_now

    settings = _settings(given, with_password=True)
    to = settings.alertcontact
    if given.words:
        try:
            to = readers.addresses(given.words[0])
        except ValueError as error:
            print(f"checker: -m testmail: {error}", file=sys.stderr)
            return WRONG_USE
    mail = settings.mail
    if not (mail.is_set_up or mail.nomail):
        print(
            f"checker: {settings.path}: mail is not set up: give smtpserver, user and "
            "pass in [email]",
            file=sys.stderr,
        )
        return TROUBLE
    code = OK
    for account in (mail, mail.backup) if mail.backup and not mail.nomail else (mail,):
        message = letters.trial_message(
            os.urandom(16).hex(), settings.servername, to, utc_now()
        )
        if account is mail.backup:
            print("\nThe second account, [email backup]:")
        alone = replace(settings, mail=replace(account, backup=None))
        why = send_now(alone, message, on_step=print)
        if why:
            print(f"checker: the mail was not sent: {why}", file=sys.stderr)
            code = TROUBLE
        else:
            whom = ", ".join(to)
            print(f"The mail to {whom} was accepted. Did it arrive, and not as spam?")
    return code


def _status(given: argparse.Namespace) -> int:
    from lib import report, statusmode
    from lib.run import utc_now
    from lib.state import State

    settings = _settings(given)
    found = State(settings.state).load()
    rows = statusmode.rows(settings, found.run, found.records, utc_now())
    report.show(statusmode.COLUMNS, rows, as_json=given.json, out=sys.stdout)
    return OK


def _peers(given: argparse.Namespace) -> int:
    from lib import peermodes, report

    settings = _settings(given)
    rows = peermodes.rows(settings)
    if not rows and not given.json:
        print(f"{settings.path}: [peers] names nobody")
        return OK
    report.show(peermodes.COLUMNS, rows, as_json=given.json, out=sys.stdout)
    return OK


def _peerkey(given: argparse.Namespace) -> int:
    from lib import peermodes

    if not given.words:
        print("checker: -m peerkey: expected the name of a peer", file=sys.stderr)
        return WRONG_USE
    for line in peermodes.key_lines(_settings(given), given.words[0]):
        print(line)
    return OK


def _crontab(given: argparse.Namespace) -> int:
    from lib.crontab import crontab_lines

    # The settings are read so that nobody pastes a line that cannot work.
    _settings(given)
    command = [sys.executable, str(given.base / "checker.py")]
    options = []
    if given.file != given.base / "settings.cfg":
        options += ["-f", str(given.file.absolute())]
    for folder in given.jobs:
        options += ["--jobs", str(Path(folder).absolute())]
    if given.state:
        options += ["--state", str(Path(given.state).absolute())]
    for line in crontab_lines(command, options):
        print(line)
    return OK


def _say_more(
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


MODES: dict[str, Mode] = {
    "cron": Mode(_cron, "run what is due; needs -c"),
    "list": Mode(_list, "every job and its last verdict", takes_json=True),
    "run": Mode(
        _run,
        "run these jobs now; keep no state, send no mail",
        words="NAME...",
        most_words=1_000_000,
        takes_json=True,
    ),
    "why": Mode(
        _why,
        "why somebody was told of these jobs, or was not",
        words="NAME...",
        most_words=1_000_000,
        takes_json=True,
    ),
    "validate": Mode(_validate, "every problem in settings and jobs", takes_json=True),
    "testmail": Mode(
        _testmail, "send one mail, show each step", words="[ADDRESS]", most_words=1
    ),
    "status": Mode(_status, "how Checker itself is, and its mail", takes_json=True),
    "peers": Mode(_peers, "ask each peer now how it is", takes_json=True),
    "peerkey": Mode(
        _peerkey, "a new key for a peer, for both sides", words="NAME", most_words=1
    ),
    "drill": Mode(
        _drill, "send a job's alert as a drill to its people", words="JOB", most_words=1
    ),
    "crontab": Mode(_crontab, "the lines for your crontab"),
}

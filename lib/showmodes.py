"""The modes that show what is there and what is remembered; they change nothing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lib.given import OK, TROUBLE, WRONG_USE, say_more, settings_of

if TYPE_CHECKING:
    import argparse

    from lib.model import Settings
    from lib.state import State


def list_jobs(given: argparse.Namespace) -> int:
    from lib import look, report
    from lib.state import last_runs
    from lib.worker import record_of, utc_now

    settings = settings_of(given)
    there = look.meet(settings)
    state = _state_of(settings)
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
    say_more(given, settings, there.warnings)
    return OK


def why(given: argparse.Namespace) -> int:
    from lib import report, why
    from lib.readers import nearest
    from lib.worker import utc_now

    settings = settings_of(given)
    state = _state_of(settings)
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


def status(given: argparse.Namespace) -> int:
    from lib import report, statusmode
    from lib.model import OWN_KEY
    from lib.notes import notes_of
    from lib.worker import utc_now

    settings = settings_of(given)
    state = _state_of(settings)
    found, catalogue = state.load(), state.load_catalogue()
    own = found.records.get(OWN_KEY)
    rows = statusmode.rows(
        settings,
        found.run,
        found.records,
        utc_now(),
        catalogue,
        notes_of(own).bulletins if own else (),
    )
    report.show(statusmode.COLUMNS, rows, as_json=given.json, out=sys.stdout)
    return OK


def peers(given: argparse.Namespace) -> int:
    from lib import peermodes, report

    settings = settings_of(given)
    rows = peermodes.rows(settings)
    if not rows and not given.json:
        print(f"{settings.path}: [peers] names nobody")
        return OK
    report.show(peermodes.COLUMNS, rows, as_json=given.json, out=sys.stdout)
    return OK


def peerkey(given: argparse.Namespace) -> int:
    from lib import peerlines, peermodes

    settings = settings_of(given)
    try:
        name = peerlines.peer_name("".join(given.words), settings.servername)
    except ValueError as error:
        print(f"checker: -m peerkey: {error}", file=sys.stderr)
        return WRONG_USE
    for line in peermodes.key_lines(settings, name):
        print(line)
    return OK


def crontab(given: argparse.Namespace) -> int:
    from lib.crontab import crontab_lines

    # The settings are read so that nobody pastes a line that cannot work.
    settings_of(given)
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


def completion(given: argparse.Namespace) -> int:
    """Print a shell's script, or for such a script the names of the known jobs."""
    from lib import completion
    from lib.state import State

    (what,) = given.words
    if what in completion.SCRIPTS:
        print(completion.SCRIPTS[what](given.modes), end="")
        return OK
    # Asked at each press of a key: no job code is loaded for it.
    catalogue = State(settings_of(given).state).load_catalogue()
    for name in sorted({known.name for known in catalogue.values()}):
        if name.isprintable():
            print(name)
    return OK


def _state_of(settings: Settings) -> State:
    """Return the state folder; say so if others may write what is shown from it."""
    from lib.state import State

    state = State(settings.state)
    if why := state.why_not_safe():
        print(f"checker: warning: {why}", file=sys.stderr)
    return state

"""The modes that only show something: list, show, why, kinds, crontab."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from lib.cli.arguments import OK, TROUBLE, flags_in, say_more, settings_of
from lib.core.enums import JobFrequency

if TYPE_CHECKING:
    import argparse

    from lib.core.jobs import CatalogEntry, Job, JobKey
    from lib.core.records import Record
    from lib.core.settings import Settings
    from lib.runner.requests import Taken
    from lib.storage.historynames import Names
    from lib.storage.store import Catalog, Remembered, State


def list_jobs(args: argparse.Namespace) -> int:
    from lib.core.text import offset_words
    from lib.report import table
    from lib.report.rows import JOB_COLUMNS, listed
    from lib.report.status import bad_records
    from lib.runner import adhoc
    from lib.system.clock import utc_now

    settings = settings_of(args, or_last=True)
    loaded, state = adhoc.meet(settings), state_of(settings)
    now, stored, whole = utc_now(), state.load(), state.load_whole_catalog()
    rows = _rows_of(loaded.jobs, settings, state, stored, whole, now)
    unknown_tags = _say_unknown_tags(args.tag, loaded.jobs)
    shown = listed(rows, failing=args.failing, tags=args.tag)
    if shown or args.json:
        table.show(
            (*JOB_COLUMNS[:-1], "file", "details") if args.files else JOB_COLUMNS,
            shown,
            as_json=args.json,
            out=sys.stdout,
            headings={"last_run": f"last run {offset_words(settings.zone, now)}"},
        )
    elif not unknown_tags:
        with_tags = f" with the tag {' and '.join(args.tag)}" if args.tag else ""
        is_so = "is failing or unknown" if args.failing else "is there"
        print(f"No job{with_tags} {is_so}.")
    if not (args.json or args.tag):
        keys = {job.key for job in loaded.jobs}
        for record in bad_records(stored.records, whole.jobs):
            if record.key not in keys:
                print(f"Besides, {record.name} is {record.status}; see -m status.")
    say_more(args, settings, loaded.warnings)
    return TROUBLE if unknown_tags or settings.last_usable else OK


def _rows_of(
    jobs: Sequence[Job],
    settings: Settings,
    state: State,
    stored: Remembered,
    whole: Catalog,
    now: datetime,
) -> list[dict[str, Any]]:
    """Return a row for each of the jobs: how it is, when it ran, when it runs next."""
    from lib.core.hours import windows_of
    from lib.core.records import KnownRecords
    from lib.core.schedule import last_run, next_check
    from lib.report.rows import job_rows
    from lib.runner.firstruns import KnownJobs
    from lib.storage.store import last_runs

    zone, last = settings.zone, last_runs(stored.run)
    measured, notes = state.load_values_and_notes()
    taken = requests_of(settings, stored.records, whole.jobs, now)
    known = KnownRecords(after(stored.records, taken), stored.lost)
    records = {job.key: known.of(job) for job in jobs}
    judged = {key: entry for key, entry in whole.jobs.items() if entry.judged}
    known_jobs = KnownJobs.of(whole, stored.run, settings.mail)
    return job_rows(
        jobs,
        records,
        judged,
        now,
        zone,
        ran_at={
            job.key: last_run(job, records[job.key], judged[job.key].ran_at, last, zone)
            for job in jobs
            if job.key in judged
        },
        next_at={
            job.key: next_check(
                job, records[job.key], now, zone, is_new=known_jobs.is_new(job)
            )
            for job in jobs
            if job.enabled
        },
        measured=measured,
        notes=notes,
        silences=taken.silences,
        windows=windows_of(settings),
    )


def _say_unknown_tags(tags: Iterable[str], jobs: Iterable[Job]) -> list[str]:
    """Return the tags that no job has, after saying so."""
    from lib.config.hints import nearest

    known = {tag for job in jobs for tag in job.tags}
    unknown = [tag for tag in tags if tag not in known]
    for tag in unknown:
        hint = nearest(tag, known)
        print(f"checker: no job has the tag {tag!r}{hint}", file=sys.stderr)
    return unknown


def why(args: argparse.Namespace) -> int:
    from lib.core.hours import windows_of
    from lib.core.text import offset_words
    from lib.report import explain, table
    from lib.system.clock import utc_now

    settings = settings_of(args, or_last=True)
    state = state_of(settings)
    records, catalog, now = state.load().records, state.load_catalog(), utc_now()
    taken = requests_of(settings, records, catalog, now)
    matching, unmatched = explain.stories(
        settings.state,
        args.words,
        after(records, taken),
        catalog,
        taken.silences,
        now,
        windows_of(settings),
        state.load_values_and_notes()[1],
    )
    for pattern in unmatched:
        names = {key: known.name for key, known in catalog.items()}
        hint = hint_for(pattern, names, explain.former_names(settings.state, catalog))
        print(
            f"checker: nothing is on record about a job {pattern!r}{hint}",
            file=sys.stderr,
        )
    zone = settings.zone
    if args.json:
        rows = [explain.row_of(story, now) for story in matching]
        table.show((), rows, as_json=True, out=sys.stdout)
        return TROUBLE if unmatched or settings.last_usable else OK
    for number, story in enumerate(matching):
        if number:
            print()
        table.say(story.name, sys.stdout)
        for line in explain.status_lines(story, now, zone):
            table.say(line, sys.stdout, indent=4)
        if story.entries:
            print()
            table.show(
                explain.COLUMNS,
                explain.decision_rows(story, now, zone),
                as_json=False,
                out=sys.stdout,
                headings={"at": f"at {offset_words(zone, now)}"},
            )
    return TROUBLE if unmatched or settings.last_usable else OK


def show(args: argparse.Namespace) -> int:
    """Print sections of the settings as they count, each option with its origin."""
    from lib.cli import show_settings
    from lib.config.hints import nearest_job
    from lib.config.ini import read_ini
    from lib.report import table
    from lib.runner import adhoc

    settings = settings_of(args)
    loaded = adhoc.meet(settings)
    tables = show_settings.tables_of(loaded.kinds)
    wrong = [problem for problem in loaded.problems if not problem.warning]
    # Read again, because the sections that are wrong were taken out.
    ini = read_ini(settings.path).ini
    named, unmatched = show_settings.sections(
        ini,
        args.words,
        tables,
        settings.secrets,
        (*settings.problems, *wrong),
        loaded.jobs,
        [problem for problem in loaded.problems if problem.note],
    )
    names = [*ini, *(job.name for job in loaded.jobs)]
    for pattern in unmatched:
        hint = nearest_job(pattern, names)
        print(f"checker: there is no section {pattern!r}{hint}", file=sys.stderr)
    if args.json:
        rows = [
            show_settings.data_of(title, row)
            for title, rows in named.items()
            for row in rows
        ]
        table.show((), rows, as_json=True, out=sys.stdout)
        return TROUBLE if unmatched else OK
    for number, (title, rows) in enumerate(named.items()):
        if number > 0:
            print()
        print(f"[{title}]")
        table.show(show_settings.COLUMNS, rows, as_json=False, out=sys.stdout)
    return TROUBLE if unmatched else OK


def kinds(args: argparse.Namespace) -> int:
    """Print the kinds of targets, or the options of one."""
    from lib.cli import show_settings
    from lib.config.hints import nearest
    from lib.report import table
    from lib.runner import adhoc

    settings = settings_of(args)
    met = adhoc.meet(settings).kinds
    known = {kind.kind: kind for kind in sorted(met, key=lambda kind: kind.kind)}
    if not args.words:
        rows = [
            {
                "kind": kind.kind,
                "every": kind.every,
                "about": kind.about,
                "file": kind.file,
            }
            for kind in known.values()
        ]
        table.show(("kind", "every", "about"), rows, as_json=args.json, out=sys.stdout)
        return OK
    (word,) = args.words
    if word not in known:
        hint = nearest(word, known) or f"; the kinds are {', '.join(sorted(known))}"
        print(f"checker: there is no kind {word!r}{hint}", file=sys.stderr)
        return TROUBLE
    rows = list(show_settings.option_rows(known[word]))
    table.show(show_settings.OPTION_COLUMNS, rows, as_json=args.json, out=sys.stdout)
    return OK


def crontab(args: argparse.Namespace) -> int:
    # Wrong settings are reported here, before the lines are used.
    settings_of(args)
    command = [sys.executable, str(args.base / "checker.py")]
    for line in crontab_lines(command, flags_in(args)):
        print(line)
    return OK


#: Together these cover each minute of a day exactly once: ``-c hour`` also runs the
#: minute jobs, ``-c day`` and ``-c day_noon`` also the hour jobs.
SLOTS = {
    JobFrequency.MINUTE: "1-59 * * * *",
    JobFrequency.HOUR: "0 1-11,13-23 * * *",
    JobFrequency.DAY: "0 0 * * *",
    JobFrequency.DAY_NOON: "0 12 * * *",
}


def crontab_lines(command: Sequence[str], options: Sequence[str]) -> Iterator[str]:
    """Yield a line per frequency.

    Nothing is redirected: a healthy run is silent, and what an unhealthy one says is
    what cron should mail.  Raise ValueError for a path no crontab can hold.
    """
    for frequency, slot in SLOTS.items():
        words = [*command, "-m", "cron", "-c", frequency.value, *options]
        line = " ".join(shlex.quote(word) for word in words)
        if "\n" in line or "\r" in line:
            raise ValueError("a crontab cannot hold a path with a line break")
        # To cron an unescaped % is the end of the command, quoted or not.
        yield f"{slot:<18} {line.replace('%', chr(92) + '%')}"


def completion(args: argparse.Namespace) -> int:
    """Print a shell's script, or for such a script the names of the known jobs."""
    from lib.cli.completion import SCRIPTS
    from lib.storage.store import State

    (what,) = args.words
    if what in SCRIPTS:
        print(SCRIPTS[what](args.modes), end="")
        return OK
    # Asked at each press of a key: no job code is loaded for it.
    catalog = State(settings_of(args).state).load_catalog()
    for name in sorted({known.name for known in catalog.values()}):
        if name.isprintable():
            print(name)
    return OK


def state_of(settings: Settings) -> State:
    """Return the state folder; say so if others may write there, or it is missing."""
    from lib.storage.store import State

    state = State(settings.state)
    why = state.why_not_safe()
    if not settings.state.is_dir():
        why = f"there is no state folder {settings.state}, so nothing is known of jobs"
    if why:
        print(f"checker: warning: {why}", file=sys.stderr)
    return state


def requests_of(
    settings: Settings,
    records: Mapping[JobKey, Record],
    catalog: Mapping[JobKey, CatalogEntry],
    now: datetime,
) -> Taken:
    """Return what holds alerts back, with what was asked for since the last run."""
    from lib.runner.requests import take
    from lib.storage.session import notes_in

    return take(settings, notes_in(records), catalog, records, now)


def after(records: Mapping[JobKey, Record], taken: Taken) -> dict[JobKey, Record]:
    """Return the records, with what the next run makes of them."""
    return {**records, **{record.key: record for record in taken.records}}


def hint_for(pattern: str, names: Mapping[JobKey, str], former: Names) -> str:
    """Return which job may be meant by what is the name of none."""
    from lib.config.hints import nearest_job

    if called := former.called_now(pattern, names):
        return f"; it is called {called!r} now"
    return nearest_job(pattern, names.values()) or "; see -m list"

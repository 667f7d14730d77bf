"""The modes that look at how jobs are and were: status, history, report.

They read state/ and run nothing.
"""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from lib.cli.arguments import OK, TROUBLE, WRONG_USE, settings_of
from lib.cli.show import after, hint_for, requests_of, state_of

if TYPE_CHECKING:
    import argparse
    from datetime import datetime

    from lib.core.jobs import CatalogEntry, JobKey
    from lib.core.records import Record
    from lib.core.settings import Settings
    from lib.report.snapshot import Snapshot
    from lib.storage.history import History
    from lib.storage.historynames import Names
    from lib.storage.store import State

#: How often --watch looks.
WATCH_S = 10.0


def status(args: argparse.Namespace) -> int:
    """Print how jobs are, what is not OK first, then how Checker itself is."""
    settings = settings_of(args, or_last=True)
    if not args.watch:
        return _status(args, settings)
    if args.json or not sys.stdout.isatty():
        why = "--json" if args.json else "a pipe or a file; it needs a terminal"
        print(f"checker: --watch does not go with {why}", file=sys.stderr)
        return TROUBLE
    # The first screen would wipe off what is said of a name of no job.
    if args.words:
        _keys, code = _meant(args.words, _snapshot(state_of(settings), settings))
        if code:
            return code
    return watch(lambda: _status(args, settings), sys.stdout)


def watch(
    draw: Callable[[], int],
    out: TextIO,
    pause: Callable[[float], None] = time.sleep,
) -> int:
    """Draw on a cleared terminal, again and again; return the last code at Ctrl-C."""
    code = OK
    try:
        while True:
            # Home, and clear from there: the lines before stay in the history.
            out.write("\x1b[2J\x1b[H")
            code = draw()
            out.flush()
            pause(WATCH_S)
    except KeyboardInterrupt:
        return code


def _status(args: argparse.Namespace, settings: Settings) -> int:
    from msgspec.structs import replace

    from lib.report import glance
    from lib.report import status as status_report
    from lib.report import table
    from lib.storage.history import History

    state = state_of(settings)
    snapshot = _snapshot(state, settings)
    code = TROUBLE if settings.last_usable else OK
    bad = status_report.bad_records(snapshot.records, snapshot.catalog)
    if args.words:
        keys, unmatched = _meant(args.words, snapshot)
        code = unmatched or code
    else:
        keys = glance.ordered(bad, snapshot.catalog, status_report.MAX_DOWN)
    reader, is_ascii = History(settings.state, settings.zone), has_no_bars(sys.stdout)
    listed = glance.listed(keys, snapshot, reader, ascii_only=is_ascii)
    # What has been read by now may have been damaged.
    snapshot = replace(snapshot, history=tuple(reader.troubles(snapshot.now)))
    size = state.size()
    if args.json:
        data = status_report.data(snapshot, listed=listed, state_bytes=size)
        table.show_json(data, sys.stdout)
        return code
    are_all = not args.words

    def show(count: int, out: TextIO) -> None:
        shown = listed[:count]
        _show_jobs(keys[:count], shown, bad, snapshot, are_all=are_all, out=out)
        if args.words and count < len(keys):
            more = f"{len(keys) - count:,} more, for which there is no room"
            table.say(f"and {more}", out)
        table.say(status_report.own_line(snapshot, size), out)
        if args.words or args.watch:
            for text in snapshot.history:
                table.say(f"History: {text}", out)

    if args.watch:
        sys.stdout.write(_fitting(show, len(keys), sys.stdout))
        return code
    show(len(keys), sys.stdout)
    if not args.words:
        print()
        rows = status_report.rows(snapshot)
        table.show(status_report.COLUMNS, rows, as_json=False, out=sys.stdout)
    return code


class _Screen(io.StringIO):
    """What is to be drawn on a terminal, as that has it."""

    def __init__(self, terminal: TextIO) -> None:
        super().__init__()
        self._terminal = terminal

    @property
    def encoding(self) -> str:  # type: ignore[override]  # str | None there
        return self._terminal.encoding

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._terminal.fileno()


def _fitting(show: Callable[[int, TextIO], None], jobs: int, terminal: TextIO) -> str:
    """Return what ``show`` writes of as many jobs as the terminal has room for.

    Where there is none for one job, what is at the end is cut.
    """
    from lib.report import table

    columns, lines = os.get_terminal_size(terminal.fileno())
    while True:
        screen = _Screen(terminal)
        show(jobs, screen)
        drawn = screen.getvalue()
        # The cursor is in the line after.
        if table.height(drawn, columns) < lines:
            return drawn
        if jobs <= 1:
            return table.top(drawn, columns, lines - 1)
        jobs -= 1


def _snapshot(state: State, settings: Settings) -> Snapshot:
    """Return what state/ holds, with what was asked for since the last run."""
    from lib.core.jobs import OWN_KEY
    from lib.core.records import with_lost
    from lib.report.snapshot import Snapshot
    from lib.storage.session import notes_of
    from lib.system.clock import utc_now

    stored, catalog, now = state.load(), state.load_catalog(), utc_now()
    own = stored.records.get(OWN_KEY)
    taken = requests_of(settings, stored.records, catalog, now)
    values, notes = state.load_values_and_notes()
    return Snapshot(
        settings,
        now,
        stored.run,
        catalog,
        with_lost(after(stored.records, taken), stored.lost, catalog),
        values,
        notes,
        taken.silences,
        notes_of(own).summaries if own else (),
        announcements=taken.announcements,
    )


def _meant(patterns: list[str], snapshot: Snapshot) -> tuple[list[JobKey], int]:
    """Return the jobs that are named, what is not OK first, and the exit code.

    It is OK if each pattern means a job; those that mean none are said.
    """
    from lib.report.status import bad_records
    from lib.storage.history import History

    catalog = snapshot.catalog
    bad = bad_records(snapshot.records, catalog)
    names = {key: known.name for key, known in catalog.items()}
    names |= {record.key: record.name or str(record.key) for record in bad}
    keys, unmatched = named(patterns, names)
    order = {record.key: place for place, record in enumerate(bad)}
    keys.sort(key=lambda key: order.get(key, len(order)))
    former = History(snapshot.settings.state).names
    return keys, say_unmatched(unmatched, names, former)


def _show_jobs(
    keys: Sequence[JobKey],
    listed: Sequence[Mapping[str, Any]],
    bad: Sequence[Record],
    snapshot: Snapshot,
    *,
    are_all: bool,
    out: TextIO,
) -> None:
    """Print the table of jobs; of all, also what is down and how many are left out."""
    from lib.report import glance
    from lib.report import status as status_report
    from lib.report import table

    settings, catalog = snapshot.settings, snapshot.catalog
    if are_all:
        table.say(status_report.headline(bad, snapshot), out)
    elif older := status_report.past_sentence(snapshot):
        table.say(older, out)
    if listed:
        headings = _headings(settings, snapshot.now)
        table.show(glance.COLUMNS, listed, as_json=False, out=out, headings=headings)
    more = status_report.more(bad, catalog, keys, settings.command)
    if are_all and more:
        table.say(more, out)


def _headings(settings: Settings, now: datetime) -> dict[str, str]:
    from lib.core.text import offset_words
    from lib.report.glance import HEADINGS

    return {**HEADINGS, "since": f"since {offset_words(settings.zone, now)}"}


def has_no_bars(out: TextIO) -> bool:
    """Return whether the characters of a sparkline cannot be written there."""
    from lib.core.sparkline import BARS, GAP

    try:
        (BARS + GAP).encode(out.encoding or "utf-8")
    except UnicodeEncodeError:
        return True
    return False


def history(args: argparse.Namespace) -> int:
    """Print what a job's results were, the newest first."""
    from lib.cli.moments import past_moment, since_moment
    from lib.core.text import offset_words
    from lib.report import month, past, table
    from lib.storage.history import History
    from lib.system.clock import utc_now

    settings, now = settings_of(args, or_last=True), utc_now()
    zone = settings.zone
    try:
        until = past_moment("--until", args.until, zone, now) if args.until else now
        since = since_moment(args.since or "24h", zone, now, until)
    except ValueError as error:
        print(f"checker: {error}", file=sys.stderr)
        return WRONG_USE
    state, reader = state_of(settings), History(settings.state, zone)
    catalog = state.load_catalog()
    names = names_of(catalog, reader)
    keys, _unmatched = named(args.words, names)
    if len(keys) != 1:
        return _say_not_one(args.words[0], keys, names, reader.names)
    (key,) = keys
    known, removed = catalog.get(key), None
    if known is None or not known.enabled:
        records = state.load().records
        last = reader.latest()
        removed = month.removals(last, settings.state, {key}, records).get(key)
    begin, end = since.timestamp(), until.timestamp()
    found = past.past(reader, key, names[key], begin, end, removed)
    code = TROUBLE if settings.last_usable else OK
    _say_what_is_missing(reader, now)
    if found is None:
        print(f"checker: nothing is on record of {names[key]}", file=sys.stderr)
        return TROUBLE
    if args.json:
        table.show_json(past.data(found, now, zone), sys.stdout)
        return code
    table.say(past.headline(found, now, zone), sys.stdout)
    units = state.load_values().get(key, {})
    make = past.result_rows if args.all else past.stretch_rows
    rows = make(found, units, now, zone)
    shown = rows if args.all else rows[: past.MAX_SHOWN]
    table.show(
        past.ALL_COLUMNS if args.all else past.COLUMNS,
        shown,
        as_json=False,
        out=sys.stdout,
        headings={"at": f"at {offset_words(zone, now)}"},
    )
    if len(shown) < len(rows):
        more = f"and {len(rows) - len(shown):,} earlier; --until, or --all for each"
        table.say(f"{more} result", sys.stdout)
    return code


def report(args: argparse.Namespace) -> int:
    """Print a month of all jobs: as text, CSV, JSON or HTML."""
    from lib.core.records import counted_jobs, with_lost
    from lib.report import month, table
    from lib.storage.history import History
    from lib.system.clock import utc_now

    settings, now = settings_of(args, or_last=True), utc_now()
    zone = settings.zone
    if args.json + args.csv + args.html > 1:
        print("checker: give one of --json, --csv and --html", file=sys.stderr)
        return WRONG_USE
    try:
        period = month.period_of(args.month or "this", now, zone)
    except ValueError as error:
        print(f"checker: {error}", file=sys.stderr)
        return WRONG_USE
    state = state_of(settings)
    stored, catalog = state.load(), state.load_catalog()
    records = with_lost(stored.records, stored.lost, catalog)
    past = History(settings.state, zone)
    found = month.report(
        past,
        settings.state,
        {
            key: catalog[key].name if key in catalog else records[key].name
            for key in counted_jobs(catalog, records)
        },
        period,
        disabled=[key for key, known in catalog.items() if not known.enabled],
        records=stored.records,
    )
    _say_what_is_missing(past, now)
    code = TROUBLE if settings.last_usable else OK
    if args.json:
        table.show_json(month.data(found, zone), sys.stdout)
    elif args.csv:
        sys.stdout.write(month.csv_text(found, zone))
    elif args.html:
        sys.stdout.write(month.html(found, settings.servername, zone))
    if args.json or args.csv or args.html:
        return code
    table.say(month.headline(found, zone), sys.stdout)
    if rows := month.job_rows(found, zone):
        table.show(month.JOB_COLUMNS, rows, as_json=False, out=sys.stdout)
    outages = month.outage_rows(found, zone)
    if outages:
        print()
        table.show(
            month.OUTAGE_COLUMNS,
            outages[: month.MAX_OUTAGES],
            as_json=False,
            out=sys.stdout,
            headings={"began": month.began_heading(found, zone)},
        )
    if len(outages) > month.MAX_OUTAGES:
        more = len(outages) - month.MAX_OUTAGES
        table.say(f"and {more:,} shorter ones; --json has all", sys.stdout)
    return code


def _say_what_is_missing(reader: History, now: datetime) -> None:
    """Say on stderr what is missing of the history, as far as it was read."""
    for text in reader.troubles(now):
        print(f"checker: history: {text}", file=sys.stderr)


def names_of(
    catalog: Mapping[JobKey, CatalogEntry], reader: History
) -> dict[JobKey, str]:
    """Return the names of the jobs that exist, and of those that history has."""
    names = {key: key.identity or str(key) for key in reader.latest()}
    return {**names, **{key: known.name for key, known in catalog.items()}}


def _say_not_one(
    pattern: str, keys: list[JobKey], names: Mapping[JobKey, str], former: Names
) -> int:
    """Say that a pattern does not mean just one job."""
    from lib.core.text import some_of

    if not keys:
        return say_unmatched([pattern], names, former)
    which = some_of([names[key] for key in keys], 5)
    print(f"checker: {pattern!r} means several jobs: {which}", file=sys.stderr)
    return TROUBLE


def named(
    patterns: list[str], names: dict[JobKey, str]
) -> tuple[list[JobKey], list[str]]:
    """Return the jobs that the patterns mean, by name, and those that mean none."""
    from lib.core.jobs import is_named

    found = [
        key
        for key, name in sorted(names.items(), key=lambda item: (item[1], item[0]))
        if any(is_named(pattern, key, name) for pattern in patterns)
    ]
    unmatched = [
        pattern
        for pattern in patterns
        if not any(is_named(pattern, key, names[key]) for key in found)
    ]
    return found, unmatched


def say_unmatched(
    patterns: Iterable[str], names: Mapping[JobKey, str], former: Names
) -> int:
    """Say which patterns mean no job; return the exit code."""
    code = OK
    for pattern in patterns:
        hint = hint_for(pattern, names, former)
        print(f"checker: there is no job {pattern!r}{hint}", file=sys.stderr)
        code = TROUBLE
    return code

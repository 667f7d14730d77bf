"""The modes that look at how jobs are and were: status.

They read state/ and run nothing.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TextIO

from lib.cli.arguments import OK, TROUBLE, settings_of
from lib.cli.show import after, requests_of, state_of

if TYPE_CHECKING:
    import argparse
    from datetime import datetime

    from lib.core.jobs import JobKey
    from lib.core.settings import Settings

#: How often --watch looks.
WATCH_S = 10.0
#: How many lines a job takes in a narrow terminal, and what else there is.
_LINES_PER_JOB, _OTHER_LINES = 3, 8


def status(args: argparse.Namespace) -> int:
    """Print how jobs are, what is not OK first, then how Checker itself is."""
    settings = settings_of(args, or_last=True)
    if not args.watch:
        return _status(args, settings)
    if args.json or not sys.stdout.isatty():
        why = "--json" if args.json else "a pipe or a file; it needs a terminal"
        print(f"checker: --watch does not go with {why}", file=sys.stderr)
        return TROUBLE
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
    from lib.core.jobs import OWN_KEY
    from lib.report import glance
    from lib.report import status as status_report
    from lib.report import table
    from lib.storage.history import History
    from lib.storage.session import notes_of
    from lib.system.clock import utc_now

    state = state_of(settings)
    stored, catalog, now = state.load(), state.load_catalog(), utc_now()
    own = stored.records.get(OWN_KEY)
    summaries = notes_of(own).summaries if own else ()
    taken = requests_of(settings, stored.records, catalog, now)
    records = after(stored.records, taken)
    code = TROUBLE if settings.last_usable else OK
    facts = (settings, stored.run, records, now, catalog, summaries, taken.silences)
    measured, notes = state.load_values_and_notes()
    bad = status_report.bad_records(records, catalog)
    names = {key: known.name for key, known in catalog.items()}
    names |= {record.key: record.name or str(record.key) for record in bad}
    if args.words:
        keys, unmatched = _named(args.words, names)
        order = {record.key: place for place, record in enumerate(bad)}
        keys.sort(key=lambda key: order.get(key, len(order)))
        code = _say_unmatched(unmatched, names.values()) or code
    else:
        keys = glance.ordered(bad, catalog, _most_jobs(args))
    found = glance.rows(
        keys,
        records,
        catalog,
        glance.looks(History(settings.state, settings.zone), keys, measured, now),
        glance.last_alerts(settings.state, records, keys),
        now,
        settings.zone,
        silences=taken.silences,
        ascii_only=has_no_bars(sys.stdout),
    )
    size = state.size()
    if args.json:
        data = status_report.data(*facts, listed=found, state_bytes=size)
        table.show_json(data, sys.stdout)
        return code
    if not args.words:
        headline = status_report.headline(bad, catalog, stored.run)
        table.say(headline, sys.stdout)
    if found:
        table.show(
            glance.COLUMNS,
            found,
            as_json=False,
            out=sys.stdout,
            headings=_headings(settings, now),
        )
    if not args.words:
        more = status_report.more(bad, catalog, keys, settings.command)
        if more:
            table.say(more, sys.stdout)
    line = status_report.own_line(settings, stored.run, records, now, catalog, size)
    table.say(line, sys.stdout)
    if args.words or args.watch:
        return code
    print()
    rows = status_report.rows(*facts, notes)
    table.show(status_report.COLUMNS, rows, as_json=False, out=sys.stdout)
    return code


def _headings(settings: Settings, now: datetime) -> dict[str, str]:
    from lib.core.text import offset_words
    from lib.report.glance import HEADINGS

    return {**HEADINGS, "since": f"since {offset_words(settings.zone, now)}"}


def _most_jobs(args: argparse.Namespace) -> int:
    """Return how many jobs are shown: as many as a terminal has room for if watched."""
    from lib.report.status import MAX_DOWN

    if not args.watch:
        return MAX_DOWN
    lines = os.get_terminal_size(sys.stdout.fileno()).lines
    return min(MAX_DOWN, max(1, (lines - _OTHER_LINES) // _LINES_PER_JOB))


def has_no_bars(out: TextIO) -> bool:
    """Return whether the characters of a sparkline cannot be written there."""
    from lib.core.sparkline import BARS, GAP

    try:
        (BARS + GAP).encode(out.encoding or "utf-8")
    except UnicodeEncodeError:
        return True
    return False


def _named(
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


def _say_unmatched(patterns: Iterable[str], known: Iterable[str]) -> int:
    """Say which patterns mean no job; return the exit code."""
    from lib.config.fields import nearest

    names, code = list(known), OK
    for pattern in patterns:
        hint = nearest(pattern, names) or "; see -m list"
        print(f"checker: there is no job {pattern!r}{hint}", file=sys.stderr)
        code = TROUBLE
    return code

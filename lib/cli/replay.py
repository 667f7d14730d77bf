"""-m replay: other settings over recorded history, beside what was sent.

It reads state/ and runs nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lib.cli.arguments import OK, TROUBLE, WRONG_USE, read_settings, settings_of
from lib.cli.look import named, names_of, say_unmatched
from lib.cli.show import state_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from lib.alerting.onrecord import OnRecord
    from lib.alerting.replay import TermsBy
    from lib.config.thresholds import Thresholds
    from lib.core.jobs import JobKey
    from lib.core.replay import Pair
    from lib.core.settings import Settings
    from lib.report.replay import Replayed
    from lib.storage.store import State


def replay(args: argparse.Namespace) -> int:
    """Print which notifications would have gone to whom, beside those that did."""
    from lib.alerting.onrecord import OnRecord
    from lib.config.policies import Policies
    from lib.config.thresholds import Thresholds
    from lib.system.clock import utc_now

    settings, now = settings_of(args, or_last=True), utc_now()
    try:
        since, until = _period(args, settings, now)
    except ValueError as error:
        print(f"checker: {error}", file=sys.stderr)
        return WRONG_USE
    other = _other_settings(args, settings)
    on_record = OnRecord(settings, until)
    state = state_of(settings)
    names, keys, code = _meant(args.words, settings, state, on_record)
    if args.words and not names:
        return code
    if why := _why_not(args, settings, on_record, until, now):
        print(f"checker: {why}", file=sys.stderr)
        return TROUBLE
    policies = Policies(other, settings)
    problems = _problems(policies.problems(names), other)
    for problem in problems:
        print(f"checker: {problem}", file=sys.stderr)
    if problems and args.settings:
        return TROUBLE
    measured = state.load_values() if other is not settings else {}
    thresholds = Thresholds(settings.ini, other.ini, measured)
    keys |= {key for key in sorted(names) if thresholds.take(key)}
    of_jobs = {key: names[key] for key in keys}
    by = _Judged(args.settings or settings.path.name, other, policies.terms, thresholds)
    found = _replayed(by, on_record, of_jobs, since, until)
    _show(found, args, settings, now)
    return TROUBLE if problems else code


def _period(
    args: argparse.Namespace, settings: Settings, now: datetime
) -> tuple[datetime | None, datetime]:
    """Return from when until when to replay; None: as far back as results reach."""
    from lib.cli.moments import past_moment, since_moment

    zone = settings.zone
    until = past_moment("--until", args.until, zone, now) if args.until else now
    since = since_moment(args.since, zone, now, until) if args.since else None
    return since, until


def _meant(
    words: list[str], settings: Settings, state: State, on_record: OnRecord
) -> tuple[dict[JobKey, str], set[JobKey], int]:
    """Return the names of the jobs that are meant, those that may have notified, and
    the exit code; say which words mean none."""
    from lib.storage.history import History

    code = TROUBLE if settings.last_usable else OK
    reader = History(settings.state, settings.zone)
    names = names_of(state.load_catalog(), reader)
    keys = on_record.keys()
    names |= {key: on_record.name_of(key) for key in keys if key not in names}
    if not words:
        return names, keys, code
    wanted, unmatched = named(words, names)
    code = say_unmatched(unmatched, names, reader.names) or code
    return {key: names[key] for key in wanted}, keys & set(wanted), code


def _why_not(
    args: argparse.Namespace,
    settings: Settings,
    on_record: OnRecord,
    until: datetime,
    now: datetime,
) -> str:
    """Return why nothing can be replayed; empty if something can."""
    from lib.core.text import table_time, utc

    if on_record.rows_since is None:
        return f"there is no history in {settings.state}, so nothing can be replayed"
    if until.timestamp() > on_record.rows_since:
        return ""
    begun = table_time(utc(on_record.rows_since), settings.zone, now)
    return (
        f"--until {args.until}: results are kept one by one since {begun}; what was "
        "before cannot be replayed"
    )


def _show(
    found: Replayed, args: argparse.Namespace, settings: Settings, now: datetime
) -> None:
    """Print what the replay came to."""
    from lib.core.text import offset_words
    from lib.report import replay as replay_report
    from lib.report import table

    zone = settings.zone
    if args.json:
        table.show_json(replay_report.data(found), sys.stdout)
        return
    table.say(replay_report.headline(found, zone, now), sys.stdout)
    for line in replay_report.remarks(found, zone, now):
        table.say(line, sys.stdout)
    listed = replay_report.shown(found.pairs, all_of_them=args.all)
    if listed:
        table.show(
            replay_report.COLUMNS,
            replay_report.rows(listed, zone, now),
            as_json=False,
            out=sys.stdout,
            headings={"at": f"at {offset_words(zone, now)}"},
        )
    if more := replay_report.more(found.pairs, listed):
        table.say(more, sys.stdout)
    table.say(replay_report.summary(found.pairs), sys.stdout)


def _other_settings(args: argparse.Namespace, settings: Settings) -> Settings:
    """Return the settings to judge by; raise SettingsError."""
    if not args.settings:
        return settings
    import argparse

    others = argparse.Namespace(**{**vars(args), "file": Path(args.settings)})
    return read_settings(others, state=settings.state)


class _Judged(NamedTuple):
    """By what results are judged again."""

    #: The settings as they were named.
    name: str
    settings: Settings
    terms: TermsBy
    thresholds: Thresholds


def _replayed(
    by: _Judged,
    on_record: OnRecord,
    names: Mapping[JobKey, str],
    since: datetime | None,
    until: datetime,
) -> Replayed:
    """Return what the replay of these jobs came to."""
    from lib.alerting.replay import Replay
    from lib.core.replay import compared
    from lib.core.text import utc
    from lib.report.replay import Replayed

    assert on_record.rows_since is not None
    rows_since = utc(on_record.rows_since)
    begin = max(filter(None, (since, rows_since, on_record.sent_since)))
    escalates = any(channel.escalate for channel in by.settings.channels.values())
    run_times = on_record.run_times(names) if escalates else ()
    status_by = by.thresholds.status if by.thresholds.replayed else None
    judge = Replay(by.settings, by.terms, run_times, status_by)
    pairs: list[Pair] = []
    own_people: list[str] = []
    for past in on_record.pasts(names):
        would_be = judge.told(past)
        if past.has_own_people:
            own_people.append(past.name)
        pairs += compared(past.sent.within(begin, until), would_be.within(begin, until))
    pairs.sort(key=lambda pair: pair.either.at)
    return Replayed(
        by.name,
        begin,
        until,
        pairs,
        on_record.unknown,
        by.thresholds.not_replayed,
        by.thresholds.replayed,
        own_people,
        rows_since if since is not None and since < rows_since else None,
        on_record.sent_since if begin == on_record.sent_since else None,
        has_audit_log=on_record.has_audit_log,
    )


def _problems(of_jobs: Iterable[object], settings: Settings) -> list[str]:
    """Return what is wrong with the settings, each once."""
    own = [problem for problem in settings.problems if not problem.warning]
    return list(dict.fromkeys(map(str, (*own, *of_jobs))))

"""-m replay: the notifications that were sent beside those that would be, as a table.

docs/json.schema.json documents its members.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, tzinfo
from functools import partial
from typing import Any, NamedTuple

from lib.core.decisions import People
from lib.core.replay import Notification, Pair, What, sum_of
from lib.core.text import counted, duration, some_of, table_time

COLUMNS = ("at", "job", "what", "outcome", "to")
#: How many lines are shown without --all: what differs, the newest.
MAX_SHOWN = 40
_WORDS = {
    **{what: what.replace("_", " ") for what in What},
    What.CLOSING: "no longer checked",
}
#: How many jobs, or options, a line names.
_MAX_NAMED = 5


class Replayed(NamedTuple):
    """What a replay came to."""

    #: The settings by which it was judged, as they were given.
    settings: str
    since: datetime
    until: datetime
    #: In the order of time.
    pairs: Sequence[Pair]
    #: The jobs of which it is not known by what they were judged.
    unknown: Sequence[str] = ()
    #: Options that differ and cannot be replayed, with their sections.
    not_replayed: Sequence[tuple[str, str]] = ()
    #: Thresholds that differ, by which values on record were judged again.
    thresholds: Sequence[tuple[str, str]] = ()
    #: The jobs whose own code says who is notified.
    own_people: Sequence[str] = ()
    #: From when on results, and what was sent, are known; None: since ``since``.
    rows_since: datetime | None = None
    sent_since: datetime | None = None
    has_audit_log: bool = True


def headline(found: Replayed, zone: tzinfo | None, now: datetime) -> str:
    """Return of which time it is, and by which settings."""
    begin, end = (
        table_time(moment, zone, now) for moment in (found.since, found.until)
    )
    return f"{begin} to {end}, by {found.settings}"


def remarks(found: Replayed, zone: tzinfo | None, now: datetime) -> Iterator[str]:
    """Yield what was left out, a line each."""
    time_text = partial(table_time, zone=zone, now=now)
    if found.rows_since is not None:
        yield (
            f"Results are kept one by one since {time_text(found.rows_since)} "
            "([history] results); what was before cannot be replayed."
        )
    if found.sent_since is not None:
        yield (
            f"The audit log begins at {time_text(found.sent_since)}; what was sent "
            "before is not known."
        )
    if not found.has_audit_log:
        yield "There is no audit log, so it is not known what was sent."
    if found.thresholds:
        yield (
            "Judged again by the values on record, which have four digits: "
            f"{_options(found.thresholds)}."
        )
    if found.not_replayed:
        yield (
            "Not replayed, since it needs new checks: "
            f"{_options(found.not_replayed)}; results count as they were judged."
        )
    if found.unknown:
        yield (
            "Left out, since the history does not say by which policy they were "
            f"judged: {some_of(list(found.unknown), _MAX_NAMED)}."
        )
    if found.own_people:
        yield (
            "Their own code says who is notified, and is not asked: "
            f"{some_of(list(found.own_people), _MAX_NAMED)}."
        )


def _options(options: Sequence[tuple[str, str]]) -> str:
    return some_of([f"{option} of [{title}]" for option, title in options], _MAX_NAMED)


def _as_options(options: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"section": title, "option": option} for option, title in options]


def shown(pairs: Sequence[Pair], *, all_of_them: bool) -> list[Pair]:
    """Return the pairs to show, the newest first: all if they are few."""
    newest = list(reversed(pairs))
    if all_of_them or len(pairs) <= MAX_SHOWN:
        return newest
    return [pair for pair in newest if not pair.is_same][:MAX_SHOWN]


def more(pairs: Sequence[Pair], listed: Sequence[Pair]) -> str:
    """Return what is not shown; empty if all is."""
    left = len(pairs) - len(listed)
    if not left:
        return ""
    same = sum(pair.is_same for pair in pairs)
    if len(pairs) - same == len(listed):
        return f"and {same:,} that are the same; --all lists them"
    words = f"and {left:,} more"
    if same:
        words += f", {same:,} of them the same"
    return f"{words}; --all lists them"


def rows(
    pairs: Sequence[Pair], zone: tzinfo | None, now: datetime
) -> list[dict[str, Any]]:
    """Return a row for each pair."""
    return [
        {
            "at": table_time(pair.either.at, zone, now),
            "job": pair.either.name,
            "what": _WORDS[pair.either.what],
            "outcome": _outcome(pair),
            "to": str(pair.either.to),
        }
        for pair in pairs
    ]


def _outcome(pair: Pair) -> str:
    """Return whether it was sent, would be, or both, and how these differ."""
    if pair.would_be is None or pair.sent is None:
        return "would be only" if pair.would_be else "sent only"
    words = []
    if pair.delay:
        late = "later" if pair.delay > timedelta(0) else "earlier"
        words.append(f"{duration(abs(pair.delay))} {late}")
    if pair.would_be.what is not pair.sent.what:
        words.append(f"as {_WORDS[pair.would_be.what]}")
    if pair.would_be.to != pair.sent.to:
        words.append(f"to {pair.would_be.to}")
    return ", ".join(words) or "both"


def summary(pairs: Sequence[Pair]) -> str:
    """Return what differs in a line: ``42 sent, 31 would be; ...``."""
    found = sum_of(pairs)
    logged = f" ({found.logged:,} logged, not mailed: nomail)" if found.logged else ""
    words = [f"{found.sent:,} sent{logged}, {found.would_be:,} would be"]
    if pairs and all(pair.is_same for pair in pairs):
        return f"{words[0]}: the same."
    words += _shifted(found.later, "later")
    words += _shifted(found.earlier, "earlier")
    if found.never:
        words.append(f"{counted(found.never, 'problem')} never told")
    if found.new:
        words.append(f"{counted(found.new, 'problem')} told of that nobody was")
    if found.elsewhere:
        words.append(f"{counted(found.elsewhere, 'notification')} to others")
    return f"{'; '.join(words)}."


def _shifted(delays: Sequence[timedelta], how: str) -> Iterator[str]:
    if delays:
        most = duration(max(delays))
        at_most = "" if len(delays) == 1 else "up to "
        yield f"{counted(len(delays), 'problem')} told {at_most}{most} {how}"


def data(found: Replayed) -> dict[str, Any]:
    """Return all of it for --json, in the order of time."""
    total = sum_of(found.pairs)
    return {
        "settings": found.settings,
        "since": found.since,
        "until": found.until,
        "sent": total.sent,
        "logged": total.logged,
        "would_be": total.would_be,
        "later": len(total.later),
        "latest_s": max(total.later, default=timedelta(0)),
        "earlier": len(total.earlier),
        "never": total.never,
        "new": total.new,
        "thresholds": _as_options(found.thresholds),
        "not_replayed": _as_options(found.not_replayed),
        "unknown": list(found.unknown),
        "own_people": list(found.own_people),
        "rows_since": found.rows_since,
        "sent_since": found.sent_since,
        "has_audit_log": found.has_audit_log,
        "notifications": [
            {
                "job": pair.either.name,
                "key": str(pair.either.key),
                "sent": _as_data(pair.sent),
                "would_be": _as_data(pair.would_be),
                "is_same": pair.is_same,
            }
            for pair in found.pairs
        ],
    }


def _as_data(one: Notification | None) -> dict[str, Any] | None:
    if one is None:
        return None
    return {
        "what": one.what,
        "at": one.at,
        "leaves_at": one.leaves_at,
        "to": _people(one.to),
        "logged": one.is_logged,
    }


def _people(people: People) -> dict[str, Any]:
    return {"addresses": list(people.addresses), "more": people.more}

"""The moments and lengths of time that flags give: --since, --until, --from, --for.

What is not understood raises ValueError, which names the flag and what was expected.
"""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import datetime, timedelta, tzinfo

from lib.config import fields, hints
from lib.core.calendar import local_moment
from lib.core.text import in_zone

#: The farthest that --since looks back.
_LONGEST_AGO = timedelta(days=100 * 366)
#: What is meant as a length, even if it is none: a number and a unit.
_LENGTH = re.compile(r"[0-9][0-9.]*\s*[^\W\d_]+", re.ASCII)


def since_moment(
    text: str, zone: tzinfo | None, now: datetime, until: datetime
) -> datetime:
    """Return the moment that --since means; it is before ``until``."""
    since = past_moment("--since", text, zone, now)
    if since >= until:
        raise ValueError(f"--since {text}: that is not before the end")
    return since


def past_moment(flag: str, text: str, zone: tzinfo | None, now: datetime) -> datetime:
    """Return the moment in the past that is meant.

    ``24h``: so long ago; ``06:00``: when it was last; a date, or a date and a time.
    """
    if _LENGTH.fullmatch(text):
        try:
            return now - _length(text, timedelta(0), _LONGEST_AGO)
        except ValueError as error:
            raise ValueError(f"{flag} {_shown(text)}: {error}") from error
    for read in (_last_clock, _past_date):
        with suppress(ValueError):
            return read(text, zone, now)
    raise ValueError(
        f"{flag} {_shown(text)}: expected how long ago, such as 24h or 7d, a time such "
        "as 06:00, or a date such as 2026-11-01, from 1971 on"
    )


def _last_clock(text: str, zone: tzinfo | None, now: datetime) -> datetime:
    clock, today = fields.clock(text), in_zone(now, zone).date()
    moment = local_moment(today, clock, zone)
    if moment <= now:
        return moment
    return local_moment(today - timedelta(days=1), clock, zone)


def _past_date(text: str, zone: tzinfo | None, now: datetime) -> datetime:
    is_date = re.fullmatch(r"[0-9]{4}(-[0-9]{2}){2}", text)
    moment = _date_and_time(f"{text} 00:00" if is_date else text, zone)
    # Nothing is known of the future.
    return min(moment, now)


def next_moment(flag: str, text: str, zone: tzinfo | None, after: datetime) -> datetime:
    """Return the moment of a time of day, the next one, or of a date and a time."""
    with suppress(ValueError):
        return _next_clock(text, zone, after)
    with suppress(ValueError):
        return _date_and_time(text, zone)
    raise ValueError(
        f"{flag} {_shown(text)}: expected a time such as 06:00, or a date and a time "
        "such as '2026-12-24 22:00', from 1971 to 9997"
    )


def _next_clock(text: str, zone: tzinfo | None, after: datetime) -> datetime:
    clock, today = fields.clock(text), in_zone(after, zone).date()
    days = (today, today + timedelta(days=1), today + timedelta(days=2))
    moments = (local_moment(day, clock, zone) for day in days)
    return next(moment for moment in moments if moment > after)


def _date_and_time(text: str, zone: tzinfo | None) -> datetime:
    if len(text.split()) > 3:
        raise ValueError("the five fields of cron are no moment")
    moment = datetime.fromisoformat(fields.window_start(text))
    if moment.tzinfo is None:
        return local_moment(moment.date(), f"{moment:%H:%M}", zone)
    return moment


def length_of(text: str, most: timedelta) -> timedelta:
    """Return the length that --for gives: from a minute up to ``most``."""
    try:
        return _length(text, timedelta(minutes=1), most)
    except ValueError as error:
        raise ValueError(f"--for {hints.shown('', text)}: {error}") from error


def _length(text: str, least: timedelta, most: timedelta) -> timedelta:
    read = fields.duration(least.total_seconds(), most.total_seconds(), "")
    return timedelta(seconds=read(text))


def _shown(text: str) -> str:
    return hints.shown("", text) or "''"

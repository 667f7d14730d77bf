"""Announcements: what people write for those who look at the page.

``-m announce`` asks for one by a request, which the next run applies, as it does mutes;
``lib/core/silences.py`` has those.  What it concerns are tags: with some, the public
page shows it if one of them is public; without, every page does.
Pure functions of values.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Annotated, Any

import msgspec
from msgspec.structs import replace

from lib.core.encoding import Moment, Stored, check_moments
from lib.core.silences import AnyRequest, Request
from lib.core.text import TimeText

#: The most announcements in force, and the most characters of one; a note that it was
#: cut comes on top.
MAX_ANNOUNCEMENTS, MAX_TEXT = 20, 1000
_ROOM = 10
#: The most tags of one, and how far ahead it may begin and end.
MAX_TAGS, MAX_AHEAD = 20, timedelta(days=366)
#: How long it is said that something is resolved, unless somebody says how long.
RESOLVED_FOR = timedelta(days=1)
#: The least of an id that is shown and may be typed.
SHORT_ID = 4


class Level(enum.StrEnum):
    """What an announcement is, the most urgent first."""

    OUTAGE = "outage"
    WARNING = "warning"
    MAINTENANCE = "maintenance"
    INFORMATION = "information"
    RESOLVED = "resolved"


_URGENCY = {level: place for place, level in enumerate(Level)}


class Announcement(Stored, frozen=True):
    """What somebody wants people to know."""

    #: Random; a change keeps it.
    id: Annotated[str, msgspec.Meta(min_length=SHORT_ID, max_length=40)]
    #: When it was first announced, and last changed.
    at: Moment
    text: Annotated[str, msgspec.Meta(max_length=MAX_TEXT + _ROOM)]
    level: Level = Level.INFORMATION
    #: What it concerns; empty: everything.
    tags: Annotated[tuple[str, ...], msgspec.Meta(max_length=MAX_TAGS)] = ()
    #: From when until when it is so; it disappears at its end.
    start: Moment | None = None
    until: Moment | None = None
    changed_at: Moment | None = None
    #: The login name of who announced it.
    who: str = ""

    def __post_init__(self) -> None:
        """Raise ValueError if a time does not exist in every time zone."""
        check_moments(self.at, self.start, self.until, self.changed_at)

    @property
    def told_at(self) -> datetime:
        """Return when it was last announced or changed."""
        return self.changed_at or self.at

    def is_planned(self, now: datetime) -> bool:
        """Return whether it has not begun."""
        return self.start is not None and self.start > now


class Announce(Request, frozen=True, kw_only=True, tag="announce"):
    """Show an announcement; that of the same id is replaced."""

    announcement: Announcement


class Withdraw(Request, frozen=True, tag="withdraw"):
    """Show these announcements no longer."""

    ids: Annotated[tuple[str, ...], msgspec.Meta(max_length=MAX_ANNOUNCEMENTS)] = ()


#: All that may lie in state/inbox/.
InboxRequest = AnyRequest | Announce | Withdraw


def with_request(
    those: tuple[Announcement, ...], request: InboxRequest, now: datetime
) -> tuple[Announcement, ...]:
    """Return the announcements in force after a request."""
    if isinstance(request, Announce):
        new = request.announcement
        those = (*(one for one in those if one.id != new.id), new)
    elif isinstance(request, Withdraw):
        those = tuple(
            one
            for one in those
            if one.id not in request.ids or one.told_at > request.at
        )
    return in_force(those, now)


def in_force(those: Iterable[Announcement], now: datetime) -> tuple[Announcement, ...]:
    """Return the announcements that are not over, in the order in which they are shown.

    What is so now comes before what is planned, then the most urgent, then the latest.
    Of too many the latest are kept.
    """
    left = [one for one in those if one.until is None or one.until > now]
    left.sort(key=lambda one: (one.told_at, one.id), reverse=True)
    left = left[:MAX_ANNOUNCEMENTS]
    return tuple(
        sorted(left, key=lambda one: (one.is_planned(now), _URGENCY[one.level]))
    )


def about(
    those: Iterable[Announcement], tags: Collection[str]
) -> tuple[Announcement, ...]:
    """Return those that name one of these tags."""
    return tuple(one for one in those if not set(tags).isdisjoint(one.tags))


def for_public(
    those: Iterable[Announcement], tags: Collection[str]
) -> tuple[Announcement, ...]:
    """Return what the public may read: of these tags or of none, without a name."""
    return tuple(
        replace(one, tags=tuple(tag for tag in one.tags if tag in tags), who="")
        for one in those
        if not one.tags or not set(tags).isdisjoint(one.tags)
    )


def named(those: Iterable[Announcement], word: str) -> list[Announcement]:
    """Return those whose id begins with a word, as ``-m announce`` shows it."""
    word = word.strip().lower()
    if len(word) < SHORT_ID:
        return []
    return [one for one in those if one.id.startswith(word)]


def short_id(one: Announcement, those: Iterable[Announcement]) -> str:
    """Return as much of an id as tells it apart from the others."""
    others = [other.id for other in those if other.id != one.id]
    length = SHORT_ID
    while length < len(one.id) and any(
        other.startswith(one.id[:length]) for other in others
    ):
        length += 1
    return one.id[:length]


def when_words(one: Announcement, now: datetime, time_text: TimeText) -> str:
    """Return from when until when it is so: ``planned: 22:00 to 23:00``; or ""."""
    start = time_text(one.start) if one.start else ""
    until = time_text(one.until) if one.until else ""
    if one.is_planned(now):
        return f"planned: {start} to {until}" if until else f"planned from {start}"
    parts = (f"since {start}" if start else "", f"until {until}" if until else "")
    return ", ".join(filter(None, parts))


def data(those: Iterable[Announcement]) -> list[dict[str, Any]]:
    """Return announcements as data, for JSON."""
    return [
        {
            "id": one.id,
            "level": one.level.value,
            "text": one.text,
            "tags": one.tags,
            "from": one.start,
            "until": one.until,
            "at": one.at,
            "changed_at": one.changed_at,
            "by": one.who,
        }
        for one in those
    ]

"""Hours: when messages may leave, as ``when = mon-fri 08:00-20:00`` has it.

A channel and a section may have such a window.  Outside it a message waits, and leaves
when the window opens next; one that has two windows leaves where both are open.
``read`` checks a text, ``Windows`` knows which of them hold for a message.
Pure functions of values; the cases, the nights in which clocks are changed among them,
are in ``tests/unit/core/test_hours.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta, tzinfo
from functools import lru_cache

import msgspec

from lib.core.calendar import local_moment
from lib.core.enums import MessageKind
from lib.core.messages import Message
from lib.core.settings import Settings
from lib.core.text import in_zone

_WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
#: The word for no window.
ALWAYS = "always"
_EXPECTED = (
    "expected days and times such as mon-fri 08:00-20:00, sat 10:00-14:00; or always"
)
_TIMES = re.compile(r"([0-9]{1,2}):([0-9]{2})-([0-9]{1,2}):([0-9]{2})")
_WHOLE_DAY = (0, 1440)
#: A window opens at least once a week; so many days around a moment show it.
_DAYS_AROUND = 9

#: The day of the week, 0 is Monday, and the minutes of the day from and to which it is
#: open; where the end is not after the start, it is on the next day.
Range = tuple[int, int, int]
Span = tuple[datetime, datetime]


def read(text: str) -> str:
    """Return a text as it is kept, empty for ``always``; raise ValueError if wrong.

    Ranges are separated by commas.  One without days has those of the range before it,
    the first one all days; days without a time are whole days.
    """
    text = re.sub(r"\s*-\s*", "-", " ".join(text.lower().split()))
    if text == ALWAYS:
        return ""
    if not ranges(text):
        raise ValueError(_EXPECTED)
    return text


@lru_cache(maxsize=256)
def ranges(text: str) -> tuple[Range, ...]:
    """Return the ranges of a text; raise ValueError if it is wrong."""
    found: list[Range] = []
    days: tuple[int, ...] = tuple(range(7))
    named: list[int] = []
    for part in text.split(","):
        words = part.split()
        if not words:
            raise ValueError(_EXPECTED)
        has_times = ":" in words[-1]
        for word in words[:-1] if has_times else words:
            named += _days(word)
        if not has_times:
            continue
        days, named = tuple(named) or days, []
        found += ((day, *_times(words[-1])) for day in days)
    found += ((day, *_WHOLE_DAY) for day in named)
    return tuple(dict.fromkeys(found))


def _days(word: str) -> list[int]:
    """Return the days of ``mon`` or ``fri-mon``."""
    first, dash, last = word.partition("-")
    for name in (first, last) if dash else (first,):
        if not name.isalpha():
            raise ValueError(_EXPECTED)
        if name not in _WEEK:
            raise ValueError(
                f"there is no day {name[:20]!r}; the days are {', '.join(_WEEK)}"
            )
    start = _WEEK.index(first)
    count = (_WEEK.index(last) - start) % 7 if dash else 0
    return [(start + number) % 7 for number in range(count + 1)]


def _times(word: str) -> tuple[int, int]:
    """Return the minutes of ``08:00-20:00``."""
    match = _TIMES.fullmatch(word)
    if not match:
        raise ValueError(_EXPECTED)
    hour, minute, to_hour, to_minute = map(int, match.groups())
    start, end = hour * 60 + minute, to_hour * 60 + to_minute
    if minute > 59 or to_minute > 59 or start >= 1440 or end > 1440:
        raise ValueError(
            f"{word} has a time that no day has; a day is from 00:00 to 24:00"
        )
    if start == end:
        raise ValueError(f"{word} has no length; the whole day is 00:00-24:00")
    return start, end


# When it is open.


def opens_at(
    texts: tuple[str, ...], now: datetime, zone: tzinfo | None
) -> datetime | None:
    """Return when the windows are all open next; None if they are now."""
    if not texts:
        return None
    around = _spans(texts, in_zone(now, zone).date(), zone)
    if any(start <= now < end for start, end in around):
        return None
    return min((start for start, _end in around if start > now), default=None)


def opened_at(
    texts: tuple[str, ...], now: datetime, zone: tzinfo | None
) -> datetime | None:
    """Return when the windows that are open now have opened; None if one is closed.

    At most some days ago.
    """
    around = _spans(texts, in_zone(now, zone).date(), zone)
    return next((start for start, end in around if start <= now < end), None)


@lru_cache(maxsize=512)
def _spans(texts: tuple[str, ...], day: date, zone: tzinfo | None) -> tuple[Span, ...]:
    """Return when all the windows are open, around a day.

    Of windows that are never open at the same time the first one counts, so that no
    message waits for ever.
    """
    common: list[Span] = []
    for text in texts:
        spans = _joined(sorted(_spans_of(text, day, zone)))
        common = list(_overlaps(common, spans)) or common or spans
    return tuple(common)


def _spans_of(text: str, day: date, zone: tzinfo | None) -> Iterator[Span]:
    by_day: dict[int, list[Range]] = {}
    for one in ranges(text):
        by_day.setdefault(one[0], []).append(one)
    for number in range(-_DAYS_AROUND, _DAYS_AROUND + 1):
        begins = day + timedelta(days=number)
        for _day, start, end in by_day.get(begins.weekday(), ()):
            length = timedelta(minutes=(end - start) % 1440 or 1440)
            first = _moment(begins, start, zone)
            last = _moment(begins, end if end > start else end + 1440, zone)
            # Of one that summer time skips nothing is left: it begins after the gap.
            yield first, last if last > first else first + length


def _moment(day: date, minutes: int, zone: tzinfo | None) -> datetime:
    days, minutes = divmod(minutes, 1440)
    clock = f"{minutes // 60:02}:{minutes % 60:02}"
    return local_moment(day + timedelta(days=days), clock, zone)


def _joined(spans: list[Span]) -> list[Span]:
    """Return spans in order without those that touch each other."""
    joined: list[Span] = []
    for start, end in spans:
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def _overlaps(some: list[Span], others: list[Span]) -> Iterator[Span]:
    for start, end in some:
        for begin, until in others:
            first, last = max(start, begin), min(end, until)
            if first < last:
                yield first, last


# Which hold for a message.


class Windows(msgspec.Struct, frozen=True):
    """The windows of all ways by which messages leave, and the zone of their times."""

    #: By the name of a channel; that of mail is under "".
    by_name: Mapping[str, str] = {}
    zone: tzinfo | None = None

    def texts(self, message: Message) -> tuple[str, ...]:
        """Return the windows that hold for a message: its way's, and its job's."""
        if message.kind is MessageKind.ROUND_TRIP:
            return ()
        of_way = self.by_name.get(message.way.partition("/")[0], "")
        if not (of_way or message.when):
            return ()
        return tuple(dict.fromkeys(filter(None, (of_way, message.when))))

    def opens_at(self, message: Message, now: datetime) -> datetime | None:
        """Return until when a message waits for its window; None if that is open."""
        return opens_at(self.texts(message), now, self.zone)

    def due_at(self, message: Message, now: datetime) -> datetime:
        """Return since when, or from when on, a message may leave."""
        texts = self.texts(message)
        if not texts:
            return message.born_at
        coming = opens_at(texts, now, self.zone)
        if coming is not None:
            return coming
        return max(message.born_at, opened_at(texts, now, self.zone) or message.born_at)

    def first_open(self, message: Message) -> datetime:
        """Return the first moment at which a message could leave, from its event on."""
        return self.opens_at(message, message.born_at) or message.born_at

    def has_waited(self, message: Message, now: datetime) -> bool:
        """Return whether a window was closed between a message's event and now."""
        return self.due_at(message, now) > message.born_at

    def words(self, message: Message) -> str:
        """Return the windows of a message as the settings have them."""
        return " and ".join(f"when = {text}" for text in self.texts(message))


NO_WINDOWS = Windows()


def windows_of(settings: Settings) -> Windows:
    """Return when messages may leave by each way."""
    whens = {name: channel.when for name, channel in settings.channels.items()}
    whens[""] = settings.mail.when
    given = {name: when for name, when in whens.items() if when}
    return Windows(given, settings.zone)

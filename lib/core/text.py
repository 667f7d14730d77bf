"""Times, lengths, policies and strangers' words as people read them, mail or table.

Why something failed, in words: what job code raised, returned or printed.

Whatever a stranger's object does while it is asked for its text, there is an answer.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

from lib.core.enums import JobFailureNotificationFrequency
from lib.core.jobs import Policy

#: The largest unit that applies, and the smaller one said beside it.
_UNITS = (
    (86_400, "day", 3_600, "hour"),
    (3_600, "hour", 60, "minute"),
    (60, "minute", 0, ""),
)


NOTIFY_WORDS = {
    JobFailureNotificationFrequency.EVERYTIME: "every time",
    JobFailureNotificationFrequency.EVERYFIVEMINUTES: "every 5 minutes",
    JobFailureNotificationFrequency.EVERYTENMINUTES: "every 10 minutes",
    JobFailureNotificationFrequency.EVERYHOUR: "every hour",
    JobFailureNotificationFrequency.EVERYDAY: "every day",
    JobFailureNotificationFrequency.ONSTATECHANGE: "on change",
}


def policy_words(policy: Policy) -> str:
    """Return when people hear of a job: ``on change``, ``every hour, after 2``."""
    words = NOTIFY_WORDS[policy.notify]
    return f"{words}, after {policy.failures}" if policy.failures > 1 else words


def duration(length: timedelta) -> str:
    """Return how long in words: ``45 seconds``, ``2 hours 5 minutes``, ``1 day``.

    Rounded down.  Less than nothing, as after a clock was set back, is 0 seconds.
    """
    seconds = max(0, int(length.total_seconds()))
    for size, unit, small_size, small_unit in _UNITS:
        if seconds < size:
            continue
        words = counted(seconds // size, unit)
        rest = seconds % size // small_size if small_size else 0
        return f"{words} {counted(rest, small_unit)}" if rest else words
    return counted(seconds, "second")


def in_zone(moment: datetime, zone: tzinfo | None = None) -> datetime:
    """Return the same moment in a zone; None: that of this machine.

    In UTC where the zone has no time for it, or one that is a day or more from UTC, as
    ``TZ=UTC+25`` asks for.  The moment itself where there is none in UTC either.
    """
    for one in (zone, UTC):
        try:
            return moment.astimezone(one)
        except (OverflowError, ValueError, OSError):
            # Years 1 and 9999 have no local time; a mended state file may hold them.
            continue
    return moment


def local(moment: datetime) -> str:
    """Return a moment as the clock on this machine's wall: ``2026-11-22 12:00 CET``."""
    here = in_zone(moment)
    return f"{here.isoformat(' ', 'minutes')[:16]} {here.tzname() or f'{here:%z}'}"


def since(moment: datetime, now: datetime) -> str:
    """Return since when and for how long: ``since 2026-11-22 12:00 CET (40 minutes)``.

    A moment in the future counts as now.
    """
    # In one zone datetime subtracts wall clocks, which jump twice a year.
    length = in_zone(now, UTC) - in_zone(moment, UTC)
    return f"since {local(min(moment, now))} ({duration(length)})"


def counted(count: int, thing: str) -> str:
    """Return the thing counted: ``1 mail``, ``2 mails``."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def first_line(text: str) -> str:
    """Return the first line in which something is said, or nothing."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def wrapped(text: str) -> str:
    """Return sentences as lines that a mail shows whole, also behind four spaces."""
    import textwrap

    return textwrap.fill(text, 76, break_long_words=False, break_on_hyphens=False)


def printed_part(text: str, *, shared: bool = False) -> str:
    """Return what was printed, with a line that says so; nothing if it was nothing."""
    who = "It, or a job beside it," if shared else "It"
    return f"{who} printed:\n{text.rstrip()}" if text.strip() else ""


def paragraphs(*parts: str) -> str:
    """Return the parts that hold something, an empty line between."""
    return "\n\n".join(part.rstrip() for part in parts if part.strip())

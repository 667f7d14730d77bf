"""Times, durations, counts and policies in words, for mails and tables alike."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

from lib.core.enums import JobFailureNotificationFrequency
from lib.core.jobs import Policy

#: Each unit with its seconds, and the smaller unit shown with it.
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
    """Return a policy in words: ``on change``, ``every hour, after 2``."""
    words = NOTIFY_WORDS[policy.notify]
    return f"{words}, after {policy.failures}" if policy.failures > 1 else words


def duration(length: timedelta) -> str:
    """Return a duration in words: ``45 seconds``, ``2 hours 5 minutes``, ``1 day``.

    Rounded down.  A negative one, as after the clock was set back, is 0 seconds.
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
    """Return the same moment in a zone; None: the zone of this machine.

    In UTC if the zone cannot express it, as ``TZ=UTC+25`` (a day or more from UTC)
    cannot.  The moment itself if UTC cannot either.
    """
    for target in (zone, UTC):
        try:
            return moment.astimezone(target)
        except (OverflowError, ValueError, OSError):
            # Years 1 and 9999 have no local time; an edited state file may hold them.
            continue
    return moment


def local(moment: datetime) -> str:
    """Return a moment in local time: ``2026-11-22 12:00 CET``."""
    here = in_zone(moment)
    return f"{here.isoformat(' ', 'minutes')[:16]} {here.tzname() or f'{here:%z}'}"


def since(moment: datetime, now: datetime) -> str:
    """Return since when and for how long: ``since 2026-11-22 12:00 CET (40 minutes)``.

    A moment in the future counts as now.
    """
    # Within one zone datetime subtracts local times, which jump twice a year.
    length = in_zone(now, UTC) - in_zone(moment, UTC)
    return f"since {local(min(moment, now))} ({duration(length)})"


def counted(count: int, thing: str) -> str:
    """Return the thing counted: ``1 mail``, ``2 mails``."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def first_line(text: str) -> str:
    """Return the first line that is not blank, stripped; empty if there is none."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def cut(text: str, length: int) -> str:
    """Return the text, cut with an ellipsis if it is longer than ``length``."""
    return text if len(text) <= length else f"{text[: length - 3]}..."


def wrapped(text: str) -> str:
    """Return a text wrapped for a mail, also if indented by four spaces."""
    import textwrap

    return textwrap.fill(text, 76, break_long_words=False, break_on_hyphens=False)


def printed_part(text: str, *, shared: bool = False) -> str:
    """Return printed text under a heading; empty if nothing was printed."""
    who = "It, or a job beside it," if shared else "It"
    return f"{who} printed:\n{text.rstrip()}" if text.strip() else ""


def paragraphs(*parts: str) -> str:
    """Return the parts that are not blank, separated by empty lines."""
    return "\n\n".join(part.rstrip() for part in parts if part.strip())

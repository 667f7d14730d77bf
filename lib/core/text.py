"""Times, durations, counts and policies in words, for mails and tables alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, tzinfo

from lib.core.enums import JobFailureNotificationFrequency
from lib.core.jobs import FailureRule, Policy

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
    words, rule = NOTIFY_WORDS[policy.notify], policy.failures
    if rule.seconds:
        words += f", after {duration(timedelta(seconds=rule.seconds))}"
    elif rule.of:
        words += f", after {rule.count} of {rule.of}"
    elif rule.count > 1:
        words += f", after {rule.count}"
    if policy.recoveries > 1:
        words += f", recovery after {policy.recoveries}"
    if policy.when:
        words += f", within {policy.when}"
    return words if policy.notifies_warnings else f"{words}, no warnings"


def failures_words(rule: FailureRule) -> str:
    """Return after what the first alert comes, in words."""
    if rule.seconds:
        return f"{duration(timedelta(seconds=rule.seconds))} of failing"
    if rule.of:
        return f"{rule.count} failures among the last {rule.of} results"
    if rule.count == 1:
        return "the first failure"
    return f"{rule.count} consecutive failures"


def duration(length: timedelta) -> str:
    """Return a duration in words: ``45 seconds``, ``2 hours 5 minutes``, ``1 day``.

    Rounded to the smallest unit that is shown, halves up: seconds below a minute,
    minutes below a day, hours above.  A negative one, as after the clock was set back,
    is 0 seconds.
    """
    length = max(length, timedelta(0))
    seconds, minutes, hours = (_rounded(length, size) for size in (1, 60, 3600))
    if seconds < 60:
        return counted(seconds, "second")
    if minutes < 60:
        return counted(minutes, "minute")
    if minutes < 24 * 60:
        return _with_rest(counted(minutes // 60, "hour"), minutes % 60, "minute")
    return _with_rest(counted(hours // 24, "day"), hours % 24, "hour")


def _rounded(length: timedelta, size_s: int) -> int:
    """Return how many units of so many seconds a duration is, halves up."""
    return (length + timedelta(seconds=size_s / 2)) // timedelta(seconds=size_s)


def _with_rest(words: str, rest: int, unit: str) -> str:
    return f"{words} {counted(rest, unit)}" if rest else words


def utc(seconds: float) -> datetime:
    """Return the moment of so many seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC)


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


#: Returns a moment as text: ``mail_time`` or ``table_time`` with a zone filled in.
TimeText = Callable[[datetime], str]


def mail_time(moment: datetime, zone: tzinfo | None) -> str:
    """Return a moment in UTC and in a zone: ``2026-11-22 12:00 UTC (13:00 +01:00)``.

    The date stands twice where it differs, the time once where it is the same.
    """
    utc, _offset = _wall_and_offset(moment, UTC)
    wall, offset = _wall_and_offset(moment, zone)
    if wall == utc:
        return f"{utc} UTC"
    same_day = wall[:10] == utc[:10]
    return f"{utc} UTC ({wall[11:] if same_day else wall} {offset})"


def day_time(moment: datetime, zone: tzinfo | None) -> str:
    """Return the time of the day in a zone, for a subject: ``13:00``."""
    return _wall_and_offset(moment, zone)[0][11:]


def table_time(moment: datetime, zone: tzinfo | None, now: datetime) -> str:
    """Return a moment in a zone, ``2026-11-22 13:00``, for a table that names the zone.

    With its offset if that differs from the one of now: ``2026-10-25 02:30 +02:00``.
    """
    wall, offset = _wall_and_offset(moment, zone)
    same = offset == _wall_and_offset(now, zone)[1]
    return wall if same else f"{wall} {offset}"


def zone_words(zone: tzinfo | None, now: datetime) -> str:
    """Return a zone and its offset now: ``Europe/Berlin, +01:00``; ``UTC`` for UTC."""
    name = str(zone) if zone is not None else in_zone(now).tzname()
    offset = offset_words(zone, now)
    return offset if name == offset else f"{name}, {offset}"


def offset_words(zone: tzinfo | None, now: datetime) -> str:
    """Return the offset of a zone now: ``+01:00``, or ``UTC`` if there is none."""
    offset = _wall_and_offset(now, zone)[1]
    return "UTC" if offset == "+00:00" else offset


def _wall_and_offset(moment: datetime, zone: tzinfo | None) -> tuple[str, str]:
    text = in_zone(moment, zone).isoformat(" ", "minutes")
    return text[:16], text[16:]


def since(moment: datetime, now: datetime, time_text: TimeText) -> str:
    """Return since when and for how long: ``since 2026-11-22 12:00, for 40 minutes``.

    A moment in the future counts as now.
    """
    return f"since {time_text(min(moment, now))}, for {duration(age(moment, now))}"


def age(moment: datetime, now: datetime) -> timedelta:
    """Return how long ago a moment was, whatever zones the two are in."""
    # Within one zone datetime subtracts local times, which jump twice a year.
    return in_zone(now, UTC) - in_zone(moment, UTC)


def moment_in(text: object) -> datetime | None:
    """Return the moment that a text in ISO 8601 names; None if it names none."""
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.tzinfo else None


def counted(count: int, thing: str) -> str:
    """Return the thing counted: ``1 mail``, ``2 mails``."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def some_of(names: Sequence[str], most: int) -> str:
    """Return names with commas between, the first of many: ``a, b and 3 more``."""
    words = ", ".join(names[:most])
    return f"{words} and {len(names) - most} more" if len(names) > most else words


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

"""What Debian's cron starts minute by minute, also where the clocks change."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from lib.core.enums import JobFrequency

MINUTE = timedelta(minutes=1)


def starts(
    zone: ZoneInfo, begin: datetime, minutes: int
) -> Iterator[tuple[datetime, list[JobFrequency]]]:
    """Yield each minute, and what the crontab's lines order in it.

    Slots that the clock on the wall skips are started at once, and none twice.  A slot
    of every hour (``1-59 *``) goes by that clock alone.
    """
    reached: datetime | None = None
    for number in range(minutes):
        moment = begin + number * MINUTE
        wall = moment.astimezone(zone).replace(tzinfo=None)
        ordered = []
        if reached is None or wall > reached:
            one = wall if reached is None else reached + MINUTE
            while one <= wall:
                if _slot(one) is not JobFrequency.MINUTE or one == wall:
                    ordered.append(_slot(one))
                one += MINUTE
            reached = wall
        elif wall.minute:
            ordered.append(JobFrequency.MINUTE)
        yield moment, ordered


def _slot(wall: datetime) -> JobFrequency:
    """Return what the lines of the crontab order at a time on the wall."""
    if wall.minute:
        return JobFrequency.MINUTE
    whole_hours = {0: JobFrequency.DAY, 12: JobFrequency.DAY_NOON}
    return whole_hours.get(wall.hour, JobFrequency.HOUR)

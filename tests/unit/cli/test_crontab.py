"""The lines for cron: what they cover, and how they are quoted."""

from __future__ import annotations

import pytest

from lib.cli.show import SLOTS, crontab_lines
from lib.core.enums import JobFrequency
from lib.core.schedule import INCLUDES


def values(field, size):
    """Return the values a field of crontab(5) stands for."""
    if field == "*":
        return set(range(size))
    found = set()
    for part in field.split(","):
        low, _, high = part.partition("-")
        found |= set(range(int(low), int(high or low) + 1))
    return found


def started(minute, hour):
    """Return the frequencies whose line starts a run at this minute of any day."""
    found = []
    for frequency, slot in SLOTS.items():
        minutes, hours, *rest = slot.split()
        assert rest == ["*", "*", "*"]
        if minute in values(minutes, 60) and hour in values(hours, 24):
            found.append(frequency)
    return found


def test_the_lines_cover_each_minute_of_a_day_exactly_once():
    for hour in range(24):
        for minute in range(60):
            assert len(started(minute, hour)) == 1, (hour, minute)


def test_the_jobs_of_each_frequency_run_as_often_as_it_says():
    runs = dict.fromkeys(JobFrequency, 0)
    for hour in range(24):
        for minute in range(60):
            for frequency in INCLUDES[started(minute, hour)[0]]:
                runs[frequency] += 1
    assert runs == {"minute": 24 * 60, "hour": 24, "day": 1, "day_noon": 1}


def test_what_a_shell_or_cron_would_take_for_its_own_is_quoted():
    line = next(crontab_lines(["/opt/my py", "/a/50%/checker.py"], ["-f", "it's"]))
    assert line.endswith(
        "'/opt/my py' '/a/50\\%/checker.py' -m cron -c minute -f 'it'\"'\"'s'"
    ) or line.endswith(
        "'/opt/my py' /a/50\\%/checker.py -m cron -c minute -f 'it'\"'\"'s'"
    )


def test_a_path_no_crontab_can_hold_is_refused(approved):
    with pytest.raises(ValueError) as caught:
        list(crontab_lines(["/a\nb"], []))
    approved(str(caught.value))

"""The lines that make cron start Checker: see crontab(5)."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from lib.core.enums import JobFrequency

#: Together these cover each minute of a day exactly once: ``-c hour`` also runs the
#: minute jobs, ``-c day`` and ``-c day_noon`` also the hour jobs.
SLOTS = {
    JobFrequency.MINUTE: "1-59 * * * *",
    JobFrequency.HOUR: "0 1-11,13-23 * * *",
    JobFrequency.DAY: "0 0 * * *",
    JobFrequency.DAY_NOON: "0 12 * * *",
}


def crontab_lines(command: Sequence[str], options: Sequence[str]) -> Iterator[str]:
    """Yield a line per frequency.

    Nothing is redirected: a healthy run is silent, and what an unhealthy one says is
    what cron should mail.  Raise ValueError for a path no crontab can hold.
    """
    for frequency, slot in SLOTS.items():
        words = [*command, "-m", "cron", "-c", frequency.value, *options]
        line = " ".join(shlex.quote(word) for word in words)
        if "\n" in line or "\r" in line:
            raise ValueError("a crontab cannot hold a path with a line break")
        # To cron an unescaped % is the end of the command, quoted or not.
        yield f"{slot:<18} {line.replace('%', chr(92) + '%')}"

"""``[maintenance NAME]``: when checks go on and no alert leaves.

``read_maintenance`` types the sections, ``odd_windows`` says what is right and yet not
what anybody means; what a window holds back is in ``lib/core/silences.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo

from lib.config.hints import nearest_job, no_tag, shown
from lib.config.options import MAINTENANCE, MAINTENANCE_WORD
from lib.config.sections import read_section, title_of
from lib.core.calendar import local_moment
from lib.core.ini import IniFile
from lib.core.jobs import Job
from lib.core.settings import Problem, Settings
from lib.core.silences import Scope, Window
from lib.core.text import duration, in_zone, table_time

#: How many windows in a row are followed to see that one ends.
_FOLLOWED = 5000


def titles(ini: IniFile) -> list[str]:
    """Return the titles of the sections."""
    return [title for title in ini if title.startswith(f"{MAINTENANCE_WORD} ")]


def read_maintenance(
    ini: IniFile, zone: tzinfo | None
) -> tuple[tuple[Window, ...], list[Problem]]:
    """Return the windows that are right, and what is wrong in the others."""
    windows: list[Window] = []
    problems: list[Problem] = []
    for title in titles(ini):
        values, wrong = read_section(ini, title, MAINTENANCE)
        if not wrong and not (values.get("jobs") or values.get("tags")):
            text = "jobs is missing: names of jobs or patterns such as http *; or tags"
            wrong = [Problem(text, ini.where(title), title_of(title))]
        problems += wrong
        if all(problem.warning for problem in wrong):
            windows.append(
                Window(
                    title.partition(" ")[2].strip(),
                    Scope(values.get("jobs", ()), values.get("tags", ())),
                    _start(values["start"], zone),
                    values["length"],
                )
            )
    return tuple(windows), problems


def _start(text: str, zone: tzinfo | None) -> str:
    """Return a cron expression as it is, and a time of the zone as a moment."""
    if " " in text:
        return text
    start = datetime.fromisoformat(text)
    if start.tzinfo is None:
        start = local_moment(start.date(), f"{start:%H:%M}", zone)
    return in_zone(start, UTC).isoformat()


def odd_windows(
    settings: Settings, jobs: Iterable[Job], now: datetime
) -> Iterator[Problem]:
    """Yield a warning for each pattern without a job, and for windows without an end.

    And for those that are over.
    """
    jobs = list(jobs)
    for window in settings.maintenance:
        title = f"{MAINTENANCE_WORD} {window.name}"
        for option, text in (
            *_without_jobs(window, jobs),
            *_never_or_always(window, settings.zone, now),
        ):
            where = settings.ini.where(title, option)
            yield Problem(text, where, title_of(title), warning=True)


def _without_jobs(window: Window, jobs: list[Job]) -> Iterator[tuple[str, str]]:
    for pattern in window.scope.patterns:
        if not any(Scope((pattern,)).includes(job.key, job.name) for job in jobs):
            hint = nearest_job(pattern, [job.name for job in jobs]) or "; see -m list"
            text = f"jobs = {shown('jobs', pattern)}: no job has this name{hint}"
            yield "jobs", text
    known = {tag for job in jobs for tag in job.tags}
    for tag in window.scope.tags:
        if tag not in known:
            yield "tags", f"tags = {tag}: {no_tag(tag, known)}"


def _never_or_always(
    window: Window, zone: tzinfo | None, now: datetime
) -> Iterator[tuple[str, str]]:
    length = timedelta(seconds=window.length_s)
    if " " not in window.start:
        end = datetime.fromisoformat(window.start) + length
        if end <= now:
            at = table_time(end, zone, now)
            yield "start", f"it has been over since {at}; remove the section"
    elif _never_ends(window, zone, now):
        yield "length", (
            f"length = {duration(length)}: the next window begins before this one "
            "ends, so no alert ever leaves; shorten it, or write enabled = no in the "
            "jobs' sections"
        )


def _never_ends(window: Window, zone: tzinfo | None, now: datetime) -> bool:
    """Return whether one window is open whenever another one ends, for 40 days."""
    moment = now
    for _ in range(_FOLLOWED):
        start = window.began_at(moment, zone)
        if start is None:
            return False
        moment = start + timedelta(seconds=window.length_s)
        if moment > now + timedelta(days=40):
            return True
    return False

"""What a story is: settings, job files, minutes, and in each what was mailed.

The minutes are a table of three columns, ``|`` between:

    10:01 | web: closed            | alert: tcp web
    10:05 | web: open              | recovery: tcp web ^10:01

When the program is started (``Tue`` or another weekday before it, where a new day
begins), what happened before (``world.py`` knows the words), and which mails came.
What is too long goes on in a line without a time.  A mail in the words of ``mails.py``:
its kind, the jobs that it names, ``>`` who got it unless that is ops@example.com alone,
``^`` the minute of the mail to which it is an answer, ``(2)`` by the second server.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

#: A day that no clock changes, and none of the real ones.
MONDAY = datetime(2031, 3, 3)
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(frozen=True)
class Minute:
    """A line of the table."""

    #: As it stands there.
    when: str
    at: datetime
    ordered: str
    events: tuple[tuple[str, str], ...]
    mails: tuple[str, ...]


@dataclass(frozen=True)
class Story:
    """A row of STORIES."""

    name: str
    minutes: str
    #: What stands below [general] and [email]; {kind:name} is a server's port.
    settings: str = ""
    #: Job files: hooks of a job that does what the story says, or the whole text.
    jobs: Mapping[str, str] = field(default_factory=dict)
    #: More lines of [general] and of [email].
    general: str = ""
    email: str = ""
    #: The mail server wants TLS and a password.
    secure: bool = False
    #: What jobs are called, where settings and files do not say.
    spawned: tuple[str, ...] = ()
    #: Other settings and job files, which come later.
    texts: Mapping[str, str] = field(default_factory=dict)
    zone: str = "UTC"
    #: It is about the defaults of kinds, which are not those of then.
    has_own_defaults: bool = False
    #: What commit 0bca2c4 did wrong here; it must not tell this story.
    mended: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Return what the jobs are called."""
        text = "\n".join((self.settings, *self.texts.values()))
        targets = re.findall(r"^\[((?:tcp|http|tls|disk) .+)\]$", text, re.M)
        peers = re.findall(r"^(\w+) = http://.+@", text, re.M)
        return (
            *targets,
            *(f"peer {name}" for name in peers),
            *self.jobs,
            *self.spawned,
            "EmailChecker",
        )

    def lines(self) -> list[Minute]:
        """Return the table, read."""
        found: list[Minute] = []
        day = MONDAY
        for line in self.minutes.strip().splitlines():
            when, events, mail = (cell.strip() for cell in line.split("|"))
            happened = tuple(map(_event, filter(None, re.split(r"\s*;\s*", events))))
            if not when:
                last = found.pop()
                mails = (*last.mails, mail) if mail else last.mails
                found.append(replace(last, events=last.events + happened, mails=mails))
                continue
            weekday, _space, clock = when.rpartition(" ")
            if weekday:
                ahead = (DAYS.index(weekday) - day.weekday()) % 7
                day += timedelta(days=ahead)
            hour, minute = map(int, clock.split(":"))
            wall = day.replace(hour=hour, minute=minute, tzinfo=ZoneInfo(self.zone))
            found.append(
                Minute(
                    when,
                    wall.astimezone(UTC),
                    ordered(hour, minute),
                    happened,
                    (mail,) if mail else (),
                )
            )
        return found


def ordered(hour: int, minute: int) -> str:
    """Return what the crontab orders at this time of the day."""
    if minute:
        return "minute"
    return {0: "day", 12: "day_noon"}.get(hour, "hour")


def _event(text: str) -> tuple[str, str]:
    what, _colon, how = text.partition(":")
    return what.strip(), how.strip()


def _job_of(mail: str) -> str:
    """Return which job a mail is about.

    Those of several jobs leave in the order in which their workers were done.
    """
    return mail.partition(": ")[2].partition(" ^")[0]


def as_table(story: Story, mails: list[tuple[str, ...]]) -> str:
    """Return the story's table with these mails, to be compared with its own."""
    rows = []
    for minute, came in zip(story.lines(), mails, strict=True):
        events = "; ".join(f"{what}: {how}".strip() for what, how in minute.events)
        first, *others = sorted(came, key=_job_of) or ("",)
        rows.append((minute.when, events, first))
        rows += [("", "", other) for other in others]
    widths = [max(len(row[at]) for row in rows) for at in (0, 1)]
    return "\n".join(
        f"{row[0]:<{widths[0]}} | {row[1]:<{widths[1]}} | {row[2]}".rstrip()
        for row in rows
    )

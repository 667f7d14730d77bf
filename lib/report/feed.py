"""Badges and the Atom feed of incidents and announcements (RFC 4287), as XML."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from lib.core.jobs import JobKey
from lib.core.text import cut
from lib.report.graphs import NOTHING
from lib.report.page import (
    NOT_OK,
    JobLine,
    announcement_lines,
    environment,
    incident_line,
    job_lines,
    title_of,
)
from lib.report.snapshot import Snapshot
from lib.report.status import is_of_the_past

#: The ground of a badge; white on it can be read.
COLORS: Mapping[str, str] = {
    "f": "#b3261e",
    "u": "#7b3fa0",
    "w": "#8a5a00",
    "r": "#5c636b",
    "p": "#0b57a4",
    "o": "#1e6b34",
}
_GREY = "#5c636b"
#: About the width of a letter of 11 pixels.
_LETTER_PX = 7
MAX_LABEL = 60
#: The most of an announcement in a title.
MAX_TITLE = 100


def badge(label: str, message: str, letter: str) -> str:
    """Return a badge in SVG: what it is about, and how that is."""
    label, message = _xml(label[:MAX_LABEL]), _xml(message[:MAX_LABEL])
    return (
        environment()
        .get_template("badge.svg")
        .render(
            label=label,
            message=message,
            left=_LETTER_PX * len(label) + 10,
            right=_LETTER_PX * len(message) + 10,
            color=COLORS.get(letter, _GREY),
        )
    )


def badge_of_job(snapshot: Snapshot, key: JobKey) -> str:
    """Return the badge of a job: its name and its status."""
    line = next(line for line in job_lines(snapshot, []) if line.key == key)
    return badge(line.name, *_now(snapshot, line.status, line.letter))


def badge_of_tag(snapshot: Snapshot, tag: str) -> str:
    """Return the badge of a tag: how many of its jobs are not OK; "" if it has none."""
    those = [line for line in job_lines(snapshot, []) if tag in line.tags]
    return badge(tag, *_now(snapshot, *_of_many(those))) if those else ""


def _now(snapshot: Snapshot, message: str, letter: str) -> tuple[str, str]:
    """Return what a badge says, which has no room for its age."""
    return ("not checked", NOTHING) if is_of_the_past(snapshot) else (message, letter)


def _of_many(those: list[JobLine]) -> tuple[str, str]:
    bad = [line.letter for line in those if line.letter in NOT_OK]
    if not bad:
        return f"{len(those)} OK", "o"
    return f"{len(bad)} of {len(those)} not OK", min(bad, key=NOT_OK.index)


class _Entry(NamedTuple):
    title: str
    id: str
    began: str
    updated: str
    link: str
    text: str


def feed(snapshot: Snapshot, base: str) -> str:
    """Return announcements and incidents as a feed.

    ``base``: the URL of the page, with a / last.
    """
    entries = [*_announcements(snapshot), *_entries(snapshot)]
    updated = max((one.updated for one in entries), default=_rfc3339(snapshot.now))
    server = snapshot.settings.servername
    return (
        environment()
        .get_template("feed.atom")
        .render(
            title=_xml(title_of(snapshot.settings)),
            server=_xml(server),
            id=_urn(server),
            base=base,
            updated=updated,
            entries=entries,
        )
    )


def _entries(snapshot: Snapshot) -> Iterable[_Entry]:
    server = snapshot.settings.servername
    for incident in snapshot.incidents:
        line = incident_line(incident, snapshot)
        began = incident.began_at.timestamp()
        # A rename since then makes it no other incident.
        key = snapshot.names.then(incident.key, began)
        is_over = incident.ended_at is not None
        told = [incident.ended_at or incident.began_at]
        told += [one.at for one in incident.sendings]
        # Of one that goes on the length would change each time that it is read.
        when = line.when if is_over else line.span
        text = "\n".join((when, line.reason, line.held, *line.sendings))
        yield _Entry(
            _xml(f"{line.name} {'was' if is_over else 'is'} {line.status}"),
            _urn(f"{server} {key} {began:.0f}"),
            _rfc3339(incident.began_at),
            _rfc3339(max(told)),
            line.link,
            _xml(text.strip()),
        )


def _announcements(snapshot: Snapshot) -> Iterable[_Entry]:
    lines = announcement_lines(snapshot.announcements, snapshot)
    for one, line in zip(snapshot.announcements, lines, strict=True):
        first = cut(one.text.partition("\n")[0], MAX_TITLE)
        about = (line.when, line.tags, one.text, line.told)
        yield _Entry(
            _xml(f"{line.level}: {first}"),
            _urn(f"{snapshot.settings.servername} announcement {one.id}"),
            _rfc3339(one.at),
            _rfc3339(one.told_at),
            f"#{line.anchor}",
            _xml("\n".join(filter(None, about))),
        )


def _urn(words: str) -> str:
    return uuid.uuid5(uuid.NAMESPACE_URL, f"checker:{words}").urn


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")


def _xml(text: str) -> str:
    """Return text without what XML cannot hold."""
    return "".join(
        letter
        for letter in text
        if letter in "\t\n"
        or "\x20" <= letter <= "\ud7ff"
        or "\ue000" <= letter <= "\ufffd"
        or letter >= "\U00010000"
    )

"""-m announce: tell those who look at the page; list, change and end what is told.

Like ``lib/cli/silence.py`` it writes a request, which the next run applies;
``lib/core/announcements.py`` says what each means.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, tzinfo
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from lib.cli.arguments import OK, TROUBLE, WRONG_USE, settings_of
from lib.cli.moments import length_of, next_moment
from lib.cli.silence import MAX_WHO, who_asks
from lib.config import hints
from lib.core import announcements
from lib.core.announcements import (
    MAX_AHEAD,
    MAX_ANNOUNCEMENTS,
    MAX_TAGS,
    MAX_TEXT,
    RESOLVED_FOR,
    Announce,
    Announcement,
    Level,
    Withdraw,
    short_id,
    when_words,
)
from lib.core.sanitize import fit
from lib.core.settings import Settings
from lib.core.silences import Scope
from lib.core.text import some_of, table_time
from lib.runner.requests import take
from lib.storage import inbox
from lib.storage.session import announcements_of, notes_in
from lib.storage.store import State
from lib.system.clock import utc_now

if TYPE_CHECKING:
    import argparse

COLUMNS = ("id", "level", "when", "tags", "announced", "text")
#: The flags that say what an announcement is.
_TOLD = ("level", "from", "until", "for", "tag")
#: What has begun when it is announced.
_PAST = (Level.OUTAGE, Level.RESOLVED)


class _Refused(Exception):
    """A request that is not made; the text says why."""


class _WrongUse(_Refused):
    """The command line is wrong."""


def announce(args: argparse.Namespace) -> int:
    """Announce a text, change or end announcements, or list them."""
    settings, now = settings_of(args, or_last=True), utc_now()
    text = _text(args.words, settings)
    given = [flag for flag in _TOLD if getattr(args, flag)]
    known = _Known(settings, now)
    try:
        if args.end:
            return _end(args, known, text, given)
        if args.change or text:
            if not (text or given):
                flags = ", ".join(f"--{flag}" for flag in _TOLD)
                raise _WrongUse(
                    "-m announce --change: nothing is given to change; give a text or "
                    f"one of {flags}"
                )
            return _announce(args, known, text)
        if args.words:
            raise _WrongUse("-m announce: the text is empty")
        if given:
            raise _WrongUse(f"-m announce: --{given[0]} needs a text, or --change ID")
    except _Refused as refused:
        print(f"checker: {refused}", file=sys.stderr)
        return WRONG_USE if isinstance(refused, _WrongUse) else TROUBLE
    return _list(args, known)


def _text(words: Iterable[str], settings: Settings) -> str:
    """Return the words as one text, its lines without blanks around them."""
    text = fit(" ".join(words), settings.secrets, MAX_TEXT)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    return "\n".join(lines).strip()


class _Known:
    """What is announced, together with what was asked since the last run."""

    def __init__(self, settings: Settings, now: datetime) -> None:
        self.settings, self.now = settings, now
        self.time_text = partial(table_time, zone=settings.zone, now=now)
        state = State(settings.state)
        stored, catalog = state.load(), state.load_catalog()
        notes = notes_in(stored.records)
        taken = take(settings, notes, catalog, stored.records, now)
        self.those = taken.announcements
        #: What the page has by now.
        self.shown = announcements_of(notes)
        self.has_jobs = bool(catalog)
        tags = {tag for entry in catalog.values() for tag in entry.tags}
        self.tags = tags.union(settings.page.public)

    def only(self, word: str) -> Announcement:
        """Return the announcement that is meant; raise _Refused if it is not one."""
        found = announcements.named(self.those, word)
        if len(found) == 1:
            return found[0]
        shown = hints.shown("", word)
        if found:
            ids = some_of([short_id(one, self.those) for one in found], 10)
            raise _Refused(f"{shown} is the beginning of several: {ids}")
        ids = some_of([short_id(one, self.those) for one in self.those], 10)
        there_is = f"there are {ids}" if ids else "nothing is announced"
        raise _Refused(f"no announcement is called {shown}; {there_is}")

    def check_tags(self, tags: Sequence[str]) -> None:
        """Raise _Refused for a tag that no job has."""
        if len(tags) > MAX_TAGS:
            raise _WrongUse(f"--tag: at most {MAX_TAGS} tags are named")
        for tag in tags:
            if tag not in self.tags:
                hint = hints.nearest(tag, self.tags)
                if not self.has_jobs:
                    hint = ": no run has met a job yet; does cron start checker.py?"
                raise _Refused(f"no job has the tag {tag!r}{hint}")

    def submit(self, request: Announce | Withdraw) -> None:
        """Leave a request for the next run."""
        inbox.submit(self.settings.state, request)


def _announce(args: argparse.Namespace, known: _Known, text: str) -> int:
    before = known.only(args.change) if args.change else None
    tags = tuple(dict.fromkeys(args.tag))
    known.check_tags(tags)
    if before is None and len(known.those) >= MAX_ANNOUNCEMENTS:
        raise _Refused(
            f"there are {len(known.those)} announcements, and no more are kept; end "
            "one: -m announce --end ID"
        )
    try:
        one = _wanted(args, known, text, tags, before)
    except ValueError as error:
        raise _WrongUse(f"-m announce: {error}") from error
    if before and replace(one, changed_at=before.changed_at, who=before.who) == before:
        raise _Refused(f"{short_id(before, known.those)} is like that; nothing changes")
    scope = Scope(tags=one.tags)
    request = Announce(_new_id(), known.now, scope, one.who, announcement=one)
    known.submit(request)
    those = [*(other for other in known.those if other.id != one.id), one]
    name, done = short_id(one, those), "Changed" if before else "Announced"
    when = when_words(one, known.now, known.time_text)
    said = ", ".join(filter(None, (one.level, when, *_tag_words(one))))
    print(f"{done} as {name}, from the next run on: {said}.")
    print(_where(one, known.settings))
    if len(text) > MAX_TEXT:
        print(f"The text was cut: {MAX_TEXT} characters are shown.")
    if one.until is None:
        print(f"It stays until you end it: -m announce --end {name}")
    return OK


def _wanted(
    args: argparse.Namespace,
    known: _Known,
    text: str,
    tags: tuple[str, ...],
    before: Announcement | None,
) -> Announcement:
    """Return what is to be announced; raise ValueError that says what was expected."""
    now, who = known.now, fit(who_asks(), known.settings.secrets, MAX_WHO)
    old = before or Announcement(_new_id(), now, text, who=who)
    level = Level(args.level) if args.level else old.level
    zone = known.settings.zone
    start, until = old.start, old.until
    if given := getattr(args, "from"):
        start = _start(given, zone, now, is_past=level in _PAST)
    length = getattr(args, "for")
    is_new_end = bool(length or args.until)
    if is_new_end:
        until = _end_time(length, args.until, start, zone, now)
    elif level is Level.RESOLVED and old.level is not level:
        until = now + RESOLVED_FOR
        is_new_end = True
    elif before is None:
        until = None
    if start is not None and until is not None and until <= start:
        flag = "--until" if is_new_end else "--from"
        raise ValueError(f"{flag}: it would end before it begins")
    return replace(
        old,
        text=text or old.text,
        level=level,
        tags=tags or old.tags,
        start=start,
        until=until,
        changed_at=now if before else None,
        who=who,
    )


def _start(text: str, zone: tzinfo | None, now: datetime, *, is_past: bool) -> datetime:
    """Return when it begins: a time of day is the next one, or the last one."""
    after = now - timedelta(days=1) if is_past else now
    moment = next_moment("--from", text, zone, after)
    if not now - MAX_AHEAD <= moment <= now + MAX_AHEAD:
        raise ValueError(f"--from {text}: that is more than {MAX_AHEAD.days} days away")
    return moment


def _end_time(
    length: str | None,
    until: str | None,
    start: datetime | None,
    zone: tzinfo | None,
    now: datetime,
) -> datetime:
    """Return when it is over: so long after it begins, or at a time after that."""
    if length and until:
        raise ValueError("give either --for or --until, not both")
    begins = max(start or now, now)
    if length:
        end = begins + length_of(length, MAX_AHEAD)
    else:
        end = next_moment("--until", until or "", zone, begins)
        if end <= now:
            raise ValueError(f"--until {until}: that is in the past")
    if end > now + MAX_AHEAD:
        flag = f"--for {length}" if length else f"--until {until}"
        raise ValueError(f"{flag}: that is more than {MAX_AHEAD.days} days ahead")
    return end


def _tag_words(one: Announcement) -> tuple[str, ...]:
    return (f"tags {', '.join(one.tags)}",) if one.tags else ()


def _where(one: Announcement, settings: Settings) -> str:
    """Return on which pages it is shown."""
    page = settings.page
    if not (page.write or page.is_shown or page.public):
        return "There is no page, but -m status shows it; [page] makes one."
    if not page.public:
        return "It is on the page; there is no public one."
    if announcements.for_public((one,), page.public):
        return "It is on the page and on the public page: anybody may read it."
    which = "none of its tags is" if len(one.tags) > 1 else "its tag is not"
    return f"It is on the page, and not on the public one: {which} in [page] public."


def _end(
    args: argparse.Namespace, known: _Known, text: str, given: Sequence[str]
) -> int:
    if text or given or args.change:
        what = f"--{given[0]}" if given else "text"
        raise _WrongUse(
            f"-m announce --end takes no {'--change' if args.change else what}; to say "
            "that it is over: --change ID --level resolved TEXT"
        )
    those = list(dict.fromkeys(known.only(word) for word in args.end))
    tags = tuple(dict.fromkeys(tag for one in those for tag in one.tags))
    ids = tuple(one.id for one in those)
    who = fit(who_asks(), known.settings.secrets, MAX_WHO)
    known.submit(Withdraw(_new_id(), known.now, Scope(tags=tags), who, ids=ids))
    print("No longer announced, from the next run on:")
    for one in those:
        print(f"  {one.level}: {_first_line(one)}")
    return OK


def _first_line(one: Announcement) -> str:
    first, _end, rest = one.text.partition("\n")
    return f"{first} ..." if rest else first


def _list(args: argparse.Namespace, known: _Known) -> int:
    from lib.report import table

    code = TROUBLE if known.settings.last_usable else OK
    if args.json:
        table.show_json(announcements.data(known.those), sys.stdout)
        return code
    if not known.those:
        print("Nothing is announced.")
    else:
        rows = [_row(one, known) for one in known.those]
        table.show(COLUMNS, rows, as_json=False, out=sys.stdout)
    gone = {one.id for one in announcements.in_force(known.shown, known.now)}
    gone -= {one.id for one in known.those}
    if gone:
        print(f"Until the next run the page has {len(gone)} that you have ended.")
    return code


def _row(one: Announcement, known: _Known) -> dict[str, Any]:
    announced = known.time_text(one.told_at)
    by = f" by {one.who}" if one.who else ""
    waits = "" if one in known.shown else ", from the next run on"
    return {
        "id": short_id(one, known.those),
        "level": one.level,
        "when": when_words(one, known.now, known.time_text),
        "tags": one.tags,
        "announced": f"{announced}{by}{waits}",
        "text": " ".join(one.text.split()),
    }


def _new_id() -> str:
    return os.urandom(8).hex()

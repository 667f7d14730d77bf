"""The modes that ask for silence: mute, unmute, ack.

They write a request, which the next run applies; ``lib/core/silences.py`` says what
each means.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, tzinfo
from functools import partial
from typing import TYPE_CHECKING

from lib.cli.arguments import OK, TROUBLE, WRONG_USE, settings_of
from lib.cli.moments import length_of, next_moment
from lib.config import hints
from lib.core.sanitize import fit
from lib.core.secret import NO_SECRETS
from lib.core.settings import Settings
from lib.core.silences import (
    MAX_MUTE,
    MAX_MUTES,
    Acknowledge,
    AnyRequest,
    Held,
    Mute,
    Scope,
    Silences,
    Unmute,
    with_request,
)
from lib.core.text import since, some_of, table_time
from lib.runner.requests import KnownJob, known_jobs, take
from lib.storage import inbox
from lib.storage.session import notes_in
from lib.storage.store import State
from lib.system.clock import utc_now
from lib.system.permissions import user_name

if TYPE_CHECKING:
    import argparse

#: The most of a name, and of a reason, that a request holds.
MAX_WHO, MAX_WHY = 60, 300
_INSTEAD = (
    "; to switch a job off, write enabled = no into its section: it is listed as "
    "disabled, also in the summary"
)


def mute(args: argparse.Namespace) -> int:
    """Ask that no alert of these jobs leaves for a time."""
    settings, now = settings_of(args, or_last=True), utc_now()
    try:
        until = until_of(getattr(args, "for"), args.until, settings.zone, now)
    except ValueError as error:
        print(f"checker: -m mute: {error}", file=sys.stderr)
        return WRONG_USE
    asked = _Asked(args, settings, now)
    if not asked.is_known:
        return TROUBLE
    if asked.mutes >= MAX_MUTES:
        print(
            f"checker: there are {asked.mutes} mutes, and no more are kept; use a "
            "pattern or a tag, or -m unmute",
            file=sys.stderr,
        )
        return TROUBLE
    request = Mute(*asked.request, until=until)
    asked.submit(request)
    at = asked.time_text(until)
    print(f"Muted until {at}, from the next run on: {asked.names(asked.jobs)}.")
    for line in asked.longer_lines(request):
        print(line)
    print("What is failing when the mute ends gives a first alert.")
    return OK


def unmute(args: argparse.Namespace) -> int:
    """Ask that the mutes and acknowledgements of these jobs end."""
    settings, now = settings_of(args, or_last=True), utc_now()
    asked = _Asked(args, settings, now)
    if not asked.is_known:
        return TROUBLE
    silent = [job for job in asked.jobs if asked.is_muted(job)]
    if not silent:
        print(
            f"checker: nobody muted or acknowledged {asked.names(asked.jobs)}"
            f"{asked.window_hint()}",
            file=sys.stderr,
        )
        return TROUBLE
    asked.submit(Unmute(*asked.request))
    if free := [job for job in silent if not asked.window(job)]:
        print(f"Alerts leave again, from the next run on: {asked.names(free)}.")
    for line in asked.window_lines(silent):
        print(line)
    return OK


def acknowledge(args: argparse.Namespace) -> int:
    """Tell that somebody knows what is failing: no reminder until it is over."""
    settings, now = settings_of(args, or_last=True), utc_now()
    asked = _Asked(args, settings, now)
    if not asked.is_known:
        return TROUBLE
    failing = [job for job in asked.jobs if job.record.since is not None]
    if not failing:
        print(
            "checker: there is nothing to acknowledge, as nothing is failing: "
            f"{asked.names(asked.jobs)}",
            file=sys.stderr,
        )
        return TROUBLE
    new = [job for job in failing if job.record.acknowledged is None]
    if new:
        asked.submit(Acknowledge(*asked.request))
        print("Acknowledged, from the next run on:")
        _print_some(asked.status_line(job) for job in new)
    if len(new) < len(failing):
        print("Acknowledged already:")
        _print_some(asked.known_line(job) for job in failing if job not in new)
    print("No reminder and no escalation until it is over, or gets worse.")
    return OK


def _print_some(lines: Iterable[str]) -> None:
    """Print the first lines, and how many more there are."""
    listed = list(lines)
    for line in listed[:10]:
        print(f"  {line}")
    if len(listed) > 10:
        print(f"  and {len(listed) - 10} more")


def until_of(
    length: str | None, until: str | None, zone: tzinfo | None, now: datetime
) -> datetime:
    """Return the end of a mute; raise ValueError that says what was expected."""
    if (length is None) == (until is None):
        what = "either --for or --until, not both" if length else "--for or --until"
        raise ValueError(f"give {what}, such as --for 2h or --until 06:00")
    if length is not None:
        try:
            return now + length_of(length, MAX_MUTE)
        except ValueError as error:
            hint = "" if re.fullmatch("[0-9.]+", length) else _INSTEAD
            raise ValueError(f"{error}{hint}") from error
    end = next_moment("--until", until or "", zone, now)
    if not now < end <= now + MAX_MUTE:
        which = "in the past" if end <= now else f"more than {MAX_MUTE.days} days ahead"
        hint = "" if end <= now else _INSTEAD
        raise ValueError(f"--until {until}: that is {which}{hint}")
    return end


class _Asked:
    """What a command line asks for, and the jobs that are meant."""

    def __init__(
        self, args: argparse.Namespace, settings: Settings, now: datetime
    ) -> None:
        self._settings = settings
        self.time_text = partial(table_time, zone=settings.zone, now=now)
        self._now = now
        state = State(settings.state)
        stored, catalog = state.load(), state.load_catalog()
        # Together with what was asked since the last run.
        taken = take(settings, notes_in(stored.records), catalog, stored.records, now)
        records = {**stored.records, **{one.key: one for one in taken.records}}
        self._silences: Silences = taken.silences
        known = known_jobs(catalog, records)
        scope = Scope(tuple(args.words), tuple(args.tag))
        self.jobs = [
            job for job in known if scope.includes(job.key, job.name, job.tags)
        ]
        #: False: a name, pattern or tag means no job, and a line says so.
        self.is_known = not _unknown(scope, known)
        why = fit(" ".join((args.why or "").split()), settings.secrets, MAX_WHY)
        #: What each request begins with.
        self.request = (os.urandom(8).hex(), now, scope, who_asks(), why)

    @property
    def mutes(self) -> int:
        """Return how many mutes are in force."""
        return len(self._silences.mutes)

    def submit(self, request: AnyRequest) -> None:
        """Leave a request for the next run."""
        inbox.submit(self._settings.state, request)

    def names(self, jobs: Sequence[KnownJob]) -> str:
        """Return the names of jobs, the first of many."""
        return some_of([job.name for job in jobs], 10)

    def status_line(self, job: KnownJob) -> str:
        """Return a failing job in a line: its status, and since when."""
        start = job.record.since or self._now
        words = since(start, self._now, self.time_text)
        return f"{job.name}, {job.record.status} {words}"

    def known_line(self, job: KnownJob) -> str:
        """Return an acknowledged job in a line: since when, by whom and why."""
        known = job.record.acknowledged
        assert known is not None
        words = f"{job.name}, {since(known.at, self._now, self.time_text)}"
        by = f" by {known.who}" if known.who else ""
        return f"{words}{by}{f': {known.why}' if known.why else ''}"

    def is_muted(self, job: KnownJob) -> bool:
        """Return whether somebody muted or acknowledged it."""
        is_muted = any(
            mute.covers(job.key, job.name, job.tags) for mute in self._silences.mutes
        )
        return is_muted or job.record.acknowledged is not None

    def longer_lines(self, request: Mute) -> Iterator[str]:
        """Yield a line for each job that an earlier mute keeps muted for longer."""
        mutes = with_request(self._silences.mutes, request, self._now)
        silences = Silences(mutes)
        longer = [
            (job.name, held.until)
            for job in self.jobs
            if (held := silences.holding(job.key, job.name, job.tags, self._now))
            and held.until is not None
            and held.until > request.until
        ]
        for name, until in longer[:10]:
            yield (
                f"{name} stays muted until {self.time_text(until)} by an earlier mute; "
                f"to end both: -m unmute {shlex.quote(name)}"
            )
        if len(longer) > 10:
            yield f"and {len(longer) - 10} more stay muted for longer; see -m list"

    def window(self, job: KnownJob) -> Held | None:
        """Return the maintenance window that a job is in, which no command ends."""
        return self._silences.window(job.key, job.name, job.tags, self._now)

    def window_lines(self, jobs: Iterable[KnownJob]) -> Iterator[str]:
        """Yield a line for each job that stays silent though it is no longer muted."""
        held = [(job.name, held) for job in jobs if (held := self.window(job))]
        for name, window in held[:10]:
            yield (
                f"{name} stays silent: it is {window.words(self.time_text)}; "
                f"change [maintenance {window.by}] in the settings"
            )
        if len(held) > 10:
            yield f"and {len(held) - 10} more stay silent in a window; see -m list"

    def window_hint(self) -> str:
        """Return what a command cannot end: a maintenance window of one of the jobs."""
        for job in self.jobs:
            if held := self.window(job):
                words = held.words(self.time_text)
                window = f"[maintenance {held.by}]"
                return f"; {job.name} is {words}: change {window} in the settings"
        return ""


def _unknown(scope: Scope, jobs: Iterable[KnownJob]) -> bool:
    """Say which names, patterns and tags mean no job; return whether one does."""
    jobs = list(jobs)
    lines = []
    if not jobs:
        lines.append("no run has met a job yet; does cron start checker.py?")
    else:
        for pattern in scope.patterns:
            if not any(Scope((pattern,)).includes(job.key, job.name) for job in jobs):
                hint = hints.nearest_job(pattern, [job.name for job in jobs])
                lines.append(f"no job is called {pattern!r}{hint or '; see -m list'}")
        tags = {tag for job in jobs for tag in job.tags}
        for tag in scope.tags:
            if tag not in tags:
                hint = hints.nearest(tag, tags)
                lines.append(f"no job has the tag {tag!r}{hint}")
    for line in lines:
        print(f"checker: {line}", file=sys.stderr)
    return bool(lines)


def who_asks() -> str:
    """Return the login name of who types: of who called sudo, not of root."""
    name = os.environ.get("SUDO_USER", "")
    if not name:
        try:
            name = os.getlogin()
        except OSError:
            # No terminal, as in a script that cron starts.
            name = user_name(os.getuid())
    return fit(name, NO_SECRETS, MAX_WHO)

"""What people asked for since the last run: silence, checks, announcements.

``take`` applies the requests in state/inbox/ before any job is judged, ``finish`` makes
that durable and removes them.  If a run is killed in between, the next one finds their
ids noted, or applies them again: what it makes of them is the same.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

import msgspec

from lib.config.targets import renamed_targets
from lib.core import announcements, decisions, encoding
from lib.core.announcements import Announce, Announcement, Withdraw
from lib.core.decisions import Entry, Event, RequestDetails
from lib.core.enums import Status
from lib.core.jobs import OWN_KEY, CatalogEntry, JobKey
from lib.core.records import Record
from lib.core.settings import Settings
from lib.core.silences import (
    Acknowledge,
    AnyRequest,
    CheckNow,
    Mute,
    Silences,
    Unmute,
    in_force,
    with_acknowledgement,
    with_request,
)
from lib.core.text import cut
from lib.storage import inbox
from lib.storage.inbox import Waiting
from lib.storage.session import (
    Notes,
    StoreSession,
    announcements_of,
    mutes_of,
)
from lib.storage.store import State
from lib.system.errors import StateError

logger = logging.getLogger(__name__)

_EVENTS = {
    Mute: Event.MUTE,
    Unmute: Event.UNMUTE,
    Acknowledge: Event.ACKNOWLEDGE,
    CheckNow: Event.CHECK,
}


class KnownJob(msgspec.Struct, frozen=True):
    """What is known of a job without loading its file."""

    key: JobKey
    name: str
    tags: tuple[str, ...]
    record: Record


class Taken(msgspec.Struct, frozen=True):
    """The requests of a run, applied in memory."""

    waiting: Waiting = Waiting()
    silences: Silences = Silences()
    #: The records that changed.
    records: tuple[Record, ...] = ()
    #: For the audit log.
    entries: tuple[Entry, ...] = ()
    #: The jobs that are to be checked in this run, due or not.
    checks: frozenset[JobKey] = frozenset()
    #: What is announced from here on.
    announcements: tuple[Announcement, ...] = ()
    #: Whether something is announced, or is no longer, since the last run.
    changes_announcements: bool = False


def known_jobs(
    catalog: Mapping[JobKey, CatalogEntry], records: Mapping[JobKey, Record]
) -> list[KnownJob]:
    """Return the jobs that the last runs met, broken job files and sections too."""
    jobs = [
        KnownJob(key, entry.name, entry.tags, records.get(key, Record(key)))
        for key, entry in catalog.items()
    ]
    jobs += [
        KnownJob(key, record.name, (), record)
        for key, record in records.items()
        if key not in catalog and key != OWN_KEY and record.status is not Status.OK
    ]
    return jobs


def take(
    settings: Settings,
    notes: Notes,
    catalog: Mapping[JobKey, CatalogEntry],
    records: Mapping[JobKey, Record],
    now: datetime,
) -> Taken:
    """Return what the requests that wait make of mutes and records; change nothing."""
    try:
        waiting = inbox.waiting(settings.state)
    except StateError as error:
        # Nobody is to miss an alert for it.
        logger.error("%s; requests wait until that is mended", error)
        waiting = Waiting()
    new = [one for one in waiting.requests if one.id not in notes.applied]
    mutes = in_force(mutes_of(notes), now)
    noted = announcements_of(notes)
    announced = announcements.in_force(noted, now)
    changed: dict[JobKey, Record] = {}
    entries: list[Entry] = []
    jobs = known_jobs(catalog, records) if new else []
    for request in new:
        if isinstance(request, Announce | Withdraw):
            entries.append(_announced(request, announced, now))
            announced = announcements.with_request(announced, request, now)
            continue
        mutes = with_request(mutes, request, now, jobs)
        entries += _applied(request, jobs, changed, now)
    mutes = _following(mutes, settings, catalog) if mutes else ()
    silences = Silences(mutes, settings.maintenance, settings.zone)
    checks = frozenset(entry.key for entry in entries if entry.code is Event.CHECK)
    return Taken(
        waiting,
        silences,
        tuple(changed.values()),
        tuple(entries),
        checks,
        announced,
        announced != noted,
    )


def _following(
    mutes: tuple[Mute, ...],
    settings: Settings,
    catalog: Mapping[JobKey, CatalogEntry],
) -> tuple[Mute, ...]:
    """Return mutes that go on for targets that were renamed since the last run."""
    keys = {key.identity: key for key in catalog if key.is_check}
    for before, name in renamed_targets(settings.ini):
        if before in keys:
            key = keys[before]
            now = JobKey(key.file, name)
            mutes = tuple(mute.following(key, now) for mute in mutes)
    return mutes


def _announced(
    request: Announce | Withdraw, before: tuple[Announcement, ...], now: datetime
) -> Entry:
    """Return the entry of an announcement, or of its end."""
    if isinstance(request, Announce):
        event, those = Event.ANNOUNCE, [request.announcement]
        until = request.announcement.until
    else:
        event, until = Event.WITHDRAW, None
        those = [one for one in before if one.id in request.ids]
    texts = "; ".join(f"{one.level}: {one.text}" for one in those)
    text = cut(" ".join(texts.split()), decisions.MAX_CHARACTERS)
    details = RequestDetails(str(request.scope), request.who, text, until)
    return decisions.requested(event, OWN_KEY, "announcements", details, now)


def _applied(
    request: AnyRequest,
    jobs: Iterable[KnownJob],
    changed: dict[JobKey, Record],
    now: datetime,
) -> Iterator[Entry]:
    """Yield an entry for each job that a request is about, and note its record."""
    until = request.until if isinstance(request, Mute) else None
    known = list(jobs)
    # What is asked for on a page names the key of its job.
    scope = request.scope.words({str(job.key): job.name for job in known})
    details = RequestDetails(scope, request.who, request.why, until)
    event = _EVENTS[type(request)]
    for job in known:
        if not request.scope.includes(job.key, job.name, job.tags):
            continue
        before = changed.get(job.key, job.record)
        after = with_acknowledgement(before, job.name, job.tags, request)
        if after is not before:
            changed[job.key] = after
        if event is not Event.ACKNOWLEDGE or after is not before:
            yield decisions.requested(event, job.key, job.name, details, now)


def finish(taken: Taken, session: StoreSession, state: State, now: datetime) -> None:
    """Make durable what was taken, and remove the requests; raise StateError.

    Acknowledgements come first: once the ids are noted, nothing is applied again.
    """
    session.commit()
    mutes = tuple(encoding.plain(mute) for mute in taken.silences.mutes)
    announced = tuple(encoding.plain(one) for one in taken.announcements)
    applied = tuple(one.id for one in taken.waiting.requests)
    session.keep_requests(mutes, announced, applied)
    session.commit()
    state.writer.remove(taken.waiting.paths)
    for path, why in taken.waiting.damaged.items():
        logger.error("%s: %s; the request is not applied, make it again", path, why)
    state.put_away(taken.waiting.damaged, now)
    if not state.writer.frozen:
        inbox.remove_leftovers(state.folder)

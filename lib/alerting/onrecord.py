"""What is on record of jobs, for -m replay: their results, and what was sent of them.

Results are those of the history; what was queued for people, and what else changed who
was to be notified, the audit log says.  Both are joined job by job; nothing is written.
"""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from typing import NamedTuple

from msgspec.structs import replace

from lib.alerting import routing
from lib.core import encoding
from lib.core.decisions import (
    Entry,
    Event,
    JobDetails,
    MailDetails,
    People,
    StateDetails,
    delivery_of,
    people_of,
)
from lib.core.enums import Decision, DeliveryResult, MessageKind, Status
from lib.core.hours import Windows, windows_of
from lib.core.jobs import OWN_KEY, JobKey, Terms, file_stem
from lib.core.messages import Message
from lib.core.records import Record
from lib.core.replay import SAME_RUN, Notification, Told, What, what_of
from lib.core.settings import Settings
from lib.core.text import utc
from lib.storage import auditlog
from lib.storage.history import History, Row
from lib.storage.historyfiles import FOLDER
from lib.storage.historynow import read_summary

logger = logging.getLogger(__name__)

_RUN_S = SAME_RUN.total_seconds()
#: The kinds of messages that follow from a decision about a result.
_OF_RESULTS = frozenset({MessageKind.ALERT, MessageKind.REMINDER, MessageKind.RECOVERY})
#: What is neither OK nor still to be known.
_BAD = frozenset({Status.WARNING, Status.FAILING, Status.UNKNOWN})
#: What a job's contact gets, unless its own code says who does.
TO_CONTACT = frozenset({*(what for what in What if what.begins), What.REMINDER})


class PastResult(NamedTuple):
    """A result as it was judged, by the history or by the audit log."""

    #: When its run began, in seconds since 1970, and when it was judged.
    run_at: float
    at: datetime
    status: Status
    #: Why its alerts were held back; empty if they were not.
    code: str
    reason: str
    terms: Terms
    #: What was measured.
    numbers: Mapping[str, float] = {}


class Past(NamedTuple):
    """What is on record of one job."""

    key: JobKey
    name: str
    #: Its results and the entries of the audit log that say that it is gone, in order.
    steps: Sequence[PastResult | Entry]
    #: What it was when they begin.
    before: Record
    sent: Told
    #: Its own code said who was notified, other than its contact.
    has_own_people: bool = False
    #: When its own code was to notify, and sent nothing by Checker.
    silent_at: frozenset[datetime] = frozenset()

    def own_people(self, at: datetime) -> People:
        """Return whom its code notified last, or else first; nobody if it never did."""
        alerts = [one for one in self.sent.notifications if one.what in TO_CONTACT]
        if not alerts:
            return People()
        earlier = [one for one in alerts if one.at <= at]
        return (earlier[-1] if earlier else alerts[0]).to


# What is on file.


class OnRecord:
    """The history and the audit log of an instance, for a replay.  Nothing is written.

    Raise StateError if a newer Checker wrote the history.
    """

    def __init__(self, settings: Settings, until: datetime) -> None:
        """``settings``: those of the instance, by which messages left."""
        read_summary(settings.state / FOLDER)
        self._history = History(settings.state, settings.zone)
        self._until = until.timestamp()
        self._ways = Ways.by(settings)
        #: From when on results are kept one by one; None: there are none.
        self.rows_since = self._history.rows_since()
        #: From when on all is known that was sent; None: from the beginning on.
        self.sent_since = auditlog.complete_since(settings.state)
        self._lines = auditlog.lines_by_job(settings.state)
        self.has_audit_log = bool(self._lines)
        self._terms = _terms_of(self._history.policies())
        self._losses = [
            entry
            for entry in self._entries_of(OWN_KEY)
            if entry.code is Event.STATE_LOST
        ]
        #: The names of jobs of which it is not known by what they were judged.
        self.unknown: list[str] = []

    def keys(self) -> set[JobKey]:
        """Return the jobs that may have notified somebody: not always OK."""
        if self.rows_since is None:
            return set()
        changes = self._history.changes(None, self.rows_since, self._until)
        # The first result of a job is one, too.
        found = {
            one.key for one in changes if one.before or one.status is not Status.OK
        }
        found |= {
            key
            for key, row in self._history.latest().items()
            if row.status is not Status.OK
        }
        keys = (JobKey.parse(text) for text in self._lines if "/" in text)
        renamed = {one.old for one in self._history.names.renames}
        of_log = {
            self._owner(key) if key in renamed else key for key in keys if key.file
        }
        return (found | of_log) - {OWN_KEY}

    def _owner(self, key: JobKey) -> JobKey:
        """Return the key that the job has now that the audit log calls ``key`` last."""
        under = self._under(key)
        return self._history.names.owner(key, _second(under[-1])) if under else key

    def name_of(self, key: JobKey) -> str:
        """Return the name of a job by the audit log, or else by its key."""
        entries = self._entries_of(key)
        return entries[-1].name if entries else key.identity or str(key)

    def run_times(self, keys: Iterable[JobKey]) -> list[float]:
        """Return when runs began, as far as these jobs have results of them."""
        times: set[float] = set()
        for _key, rows in self._rows_of(keys):
            times.update(row.at for row in rows)
        return sorted(times)

    def pasts(self, names: Mapping[JobKey, str]) -> Iterator[Past]:
        """Yield what is on record of each of these jobs, by their names."""
        entries = {key: self._entries_of(key) for key in names}
        before = _renamed(entries, names)
        rows_by_old = dict(self._rows_of(before.values()))
        left = [key for key in names if key not in set(before.values())]
        for key, rows in self._rows_of(left):
            name, of_job, old = names[key], entries[key], before.get(key)
            first_key = key
            if old is not None:
                # It has the record of its old name.
                rows = [*rows_by_old[old], *rows]
                of_job = sorted([*entries[old], *of_job], key=lambda one: one.at)
                first_key = old
            found = list(self._found(rows))
            if not found:
                if rows or any(isinstance(one.code, Decision) for one in of_job):
                    self.unknown.append(name)
                continue
            at = rows[0].at if rows else self._until
            if len(self._history.names.parts(key)) > 1:
                # What is read is by the new name already.
                first_key = key
            was = self._before(first_key, name, of_job, at)
            of_job = sorted([*of_job, *self._losses_of(key)], key=attrgetter("at"))
            wanted = [one for one in of_job if one.at.timestamp() >= int(at)]
            yield past(key, name, found, wanted, replace(was, key=key), self._ways)

    def _rows_of(self, keys: Iterable[JobKey]) -> Iterator[tuple[JobKey, list[Row]]]:
        since = self.rows_since or 0.0
        return self._history.rows_of(tuple(keys), since, self._until)

    def _entries_of(self, key: JobKey) -> list[Entry]:
        """Return the entries about a job, by whatever names."""
        # They are of whole seconds, and a rename is of a moment.
        found = [
            entry
            for part in self._history.names.parts(key)
            for entry in self._under(part.key)
            if part.since - 1 < _second(entry) <= part.until - 1
        ]
        return sorted(found, key=attrgetter("at"))

    def _under(self, key: JobKey | str) -> list[Entry]:
        lines = self._lines.get(str(key), ())
        entries = (entry for line in lines if (entry := auditlog.from_line(line)))
        return [entry for entry in entries if entry.at.timestamp() < self._until]

    def _losses_of(self, key: JobKey) -> list[Entry]:
        """Return the entries that say that the record of a job was lost."""
        return [
            entry
            for entry in self._losses
            if isinstance(entry.details, StateDetails)
            and file_stem(key) in entry.details.what
        ]

    def _found(self, rows: Sequence[Row]) -> Iterator[PastResult]:
        """Yield rows with their terms; of damaged ones those of the row before."""
        known = (self._terms[row.policy] for row in rows if row.policy in self._terms)
        terms = next(known, None)
        if terms is None:
            return
        of_all = self._terms
        for row in rows:
            terms = of_all.get(row.policy, terms)
            at = utc(row.at + min(row.seconds, _RUN_S))
            yield PastResult(
                row.at, at, row.status, row.code, row.reason, terms, row.values
            )

    def _before(
        self, key: JobKey, name: str, entries: Sequence[Entry], at: float
    ) -> Record:
        """Return the record of a job before its first row: as far as it is known."""
        earlier = self._history.changes(key, 0.0, at)
        status = earlier[-1].status if earlier else None
        since = next(
            (one.at for one in reversed(earlier) if one.before not in _BAD), at
        )
        first = next(
            (
                one.details
                for one in entries
                if 0 <= one.at.timestamp() - int(at) < _RUN_S
                and isinstance(one.details, JobDetails)
            ),
            None,
        )
        record = Record(key, name)
        if first is not None:
            return _before_first(record, first, status, utc(since))
        if status not in _BAD:
            return record
        # Whoever was to be notified was so long ago.
        return _known(_bad(record, status, utc(since)), utc(since), ())


def _before_first(
    record: Record, first: JobDetails, status: Status | None, since: datetime
) -> Record:
    """Return the record of before the first entry: that says who knew of trouble.

    ``status`` is that of the result before, if there is one on record.
    """
    is_new = first.failures <= 1 or not first.status.is_failure
    if first.notified_at is None and first.held_before is None and is_new:
        return record
    if status not in _BAD:
        status = first.status if first.status in _BAD else Status.FAILING
    since = min(since, first.failing_since or first.notified_at or since)
    record = _bad(record, status, since, max(1, first.failures - 1))
    record = replace(record, held=first.held_before)
    if first.notified_at is None:
        return record
    return _known(record, first.notified_at, first.notified.addresses)


def _bad(record: Record, status: Status, since: datetime, failures: int = 1) -> Record:
    if status is Status.WARNING:
        return replace(record, status=status, warnings=1, warning_since=since)
    return replace(record, status=status, failures=failures, failing_since=since)


def _known(record: Record, at: datetime, to: tuple[str, ...]) -> Record:
    """Return the record of a job of whose trouble people know."""
    is_failure = record.status.is_failure
    return replace(
        record,
        notified_at=at,
        alerted_at=at if is_failure else None,
        notified=to,
        notified_status=record.status,
    )


def _renamed(
    entries: Mapping[JobKey, Sequence[Entry]], names: Mapping[JobKey, str]
) -> dict[JobKey, JobKey]:
    """Return the keys that jobs had before they were renamed, by those of now."""
    found = {}
    for key, of_job in entries.items():
        for entry in of_job:
            if entry.code is not Event.JOB_RENAMED:
                continue
            assert isinstance(entry.details, StateDetails)
            was = entry.details.what
            for other, name in names.items():
                if other.file == key.file and name == was and other != key:
                    found[key] = other
    return found


def _second(entry: Entry) -> float:
    return entry.at.timestamp()


def _terms_of(policies: Mapping[str, bytes]) -> dict[str, Terms]:
    """Return the terms that runs recorded, by their hash; not what cannot be read."""
    found = {}
    for name, text in policies.items():
        try:
            found[name] = encoding.convert(encoding.decode(text), Terms)
        except ValueError as error:
            logger.warning("the policy %s of the history is not read: %s", name, error)
    return found


# What was.


def past(
    key: JobKey,
    name: str,
    rows: Iterable[PastResult],
    entries: Sequence[Entry],
    before: Record,
    ways: Ways,
) -> Past:
    """Return what is on record of a job: its rows, and what the audit log adds.

    ``rows`` are those of the history.  A run that was killed may have left its results
    in the audit log only, or nothing but the messages that it queued.
    """
    found = _Joined(key, name, list(rows), ways)
    for entry in entries:
        found.take(entry)
    # What is lost is noticed before anything is judged.
    losses = [one for one in found.others if one.code is Event.STATE_LOST]
    others = [one for one in found.others if one.code is not Event.STATE_LOST]
    steps: list[PastResult | Entry] = [*losses, *found.rows, *others]
    steps.sort(key=attrgetter("at"))
    told = found.told()
    has_own = found.has_own_people or bool(found.silent_at)
    silent_at = frozenset(found.silent_at)
    return Past(key, name, steps, before, told, has_own, silent_at)


class _Joined:
    """The rows of a job with the entries about it, which come in their order."""

    def __init__(
        self, key: JobKey, name: str, rows: list[PastResult], ways: Ways
    ) -> None:
        self.rows = rows
        #: What else changes who is notified.
        self.others: list[Entry] = []
        self.has_own_people = False
        self._key, self._name, self._ways = key, name, ways
        self._starts = [row.run_at for row in rows]
        #: Which row has an entry; what history lacks is added behind.
        self._taken: dict[int, Entry] = {}
        self._last: tuple[Entry, What] | None = None
        self._sent: dict[str, tuple[What, Entry]] = {}
        self._ends: list[datetime] = []
        self._skipped: dict[str, set[str]] = {}
        #: What became of each message by each of its ways.
        self._delivered: dict[str, set[DeliveryResult]] = {}
        self._queued_for: set[str] = set()
        self.silent_at: set[datetime] = set()

    def take(self, entry: Entry) -> None:
        details = entry.details
        if isinstance(details, JobDetails) and isinstance(entry.code, Decision):
            self._take_decision(entry, entry.code, details)
        elif entry.code in (Event.JOB_GONE, Event.JOB_FORGOTTEN):
            self.others.append(entry)
            self._ends.append(entry.at)
        elif entry.code is Event.STATE_LOST:
            self.others.append(entry)
        elif isinstance(details, MailDetails):
            self._take_message(entry, details)

    def _take_decision(self, entry: Entry, code: Decision, details: JobDetails) -> None:
        if code in (Decision.RECOVERY, Decision.QUIET_RECOVERY):
            self._ends.append(entry.at)
        what = what_of(code, details.status, details.flapping)
        self._last = (entry, what) if code.notifies else None
        if code.notifies:
            # Until the entry of its message comes.
            self.silent_at.add(entry.at)
        place = self._place(entry.at.timestamp(), details.status)
        if place is None:
            held = code if code.holds_back else ""
            terms = replace(self._terms_at(entry.at), policy=details.policy)
            self._add(entry.at, details.status, held, details.reason, terms)
            return
        self._taken[place] = entry
        self.rows[place] = self.rows[place]._replace(at=entry.at)

    def _place(self, second: float, status: Status) -> int | None:
        """Return the row of the run that wrote an entry; None: history lacks it.

        An entry says the second, and a run ends within 55 s.
        """
        place = bisect_right(self._starts, second + 1) - 1
        while place >= 0 and second - self._starts[place] < _RUN_S:
            if place not in self._taken and self.rows[place].status is status:
                return place
            place -= 1
        return None

    def _is_covered(self, second: float) -> bool:
        """Return whether there is a result of a run of that time."""
        place = bisect_right(self._starts, second + 1) - 1
        if place >= 0 and second - self._starts[place] < _RUN_S:
            return True
        later = self.rows[len(self._starts) :]
        return any(0 <= second + 1 - row.run_at < _RUN_S for row in later)

    def _add(
        self, at: datetime, status: Status, code: str, reason: str, terms: Terms
    ) -> None:
        self.rows.append(PastResult(at.timestamp(), at, status, code, reason, terms))

    def _terms_at(self, at: datetime) -> Terms:
        """Return the terms of the result before a moment, or else of the first."""
        place = bisect_right(self._starts, at.timestamp()) - 1
        return self.rows[max(0, place)].terms if self._starts else Terms()

    def _take_message(self, entry: Entry, mail: MailDetails) -> None:
        if entry.code is Event.SKIPPED:
            people = self._skipped.setdefault(mail.kind + str(mail.born_at), set())
            people.update(mail.to.addresses)
            return
        if not (mail.kind in _OF_RESULTS or mail.kind is MessageKind.CLOSING):
            return
        if result := delivery_of(entry):
            self._delivered.setdefault(mail.message_id, set()).add(result)
        names = {to.partition("/")[0] for to in mail.to.addresses}
        is_alert = not mail.kind.ends_trouble
        if entry.code is Event.DROPPED:
            self.others.append(entry)
        elif entry.code is Event.SENT and is_alert and names - self._queued_for:
            # It fell back, or its channel is gone: these get the recovery, too.
            self.others.append(entry)
        if mail.message_id in self._sent:
            return
        if entry.code is Event.QUEUED:
            self.silent_at -= {entry.at, entry.at - timedelta(seconds=1)}
            self._queued_for |= names
            self._sent[mail.message_id] = self._what(entry, mail), entry
        elif mail.born_at is not None and mail.kind in _OF_RESULTS:
            self._take_unlogged(entry, mail, mail.born_at)

    def _what(self, entry: Entry, mail: MailDetails) -> What:
        if mail.kind is MessageKind.CLOSING:
            return What.CLOSING
        if mail.kind is MessageKind.RECOVERY:
            return What.RECOVERY
        last = self._last
        if last is not None and abs(entry.at - last[0].at) <= timedelta(seconds=1):
            return last[1]
        return What.ESCALATION

    def _take_unlogged(self, entry: Entry, mail: MailDetails, born: datetime) -> None:
        """Take a message of a run that was killed before it could write an entry."""
        born = born.replace(microsecond=0)
        if self._is_covered(born.timestamp()):
            # A part or a copy of what is known, or several merged into one.
            return
        is_over = mail.kind is MessageKind.RECOVERY
        status = Status.OK if is_over else Status.FAILING
        what = What.RECOVERY if is_over else What.FIRST_ALERT
        if mail.kind is MessageKind.REMINDER:
            what = What.REMINDER
        if is_over:
            self._ends.append(born)
        self._add(born, status, "", "", self._terms_at(born))
        self._sent[mail.message_id] = what, replace(entry, at=born)

    def told(self) -> Told:
        """Return the notifications that were queued, those of one decision as one."""
        joined: dict[tuple[datetime, What], Notification] = {}
        for what, entry in self._sent.values():
            one = self._notification(what, entry)
            if one is None:
                continue
            other = joined.get((one.at, one.what))
            if other is not None:
                # The hook of a job may send several.
                everybody = (*other.to.addresses, *one.to.addresses)
                one = other._replace(
                    to=people_of(everybody, other.to.more),
                    is_logged=one.is_logged and other.is_logged,
                )
            joined[one.at, one.what] = one
        ordered = sorted(joined.values(), key=lambda one: one.at)
        return Told(ordered, sorted(self._ends))

    def _notification(self, what: What, entry: Entry) -> Notification | None:
        mail = entry.details
        assert isinstance(mail, MailDetails)
        minor = self._skipped.get(mail.kind + str(entry.at), set())
        to = tuple(one for one in mail.to.addresses if one not in minor)
        if not to:
            return None
        terms = self._terms_at(entry.at)
        message = Message(
            mail.message_id, mail.kind, "", "", to, entry.at, when=terms.policy.when
        )
        if what in TO_CONTACT and mail.to != people_of(terms.contact):
            self.has_own_people = True
        _people, leaves_at = self._ways.of(message)
        to_people = people_of(to, mail.to.more)
        results = self._delivered.get(mail.message_id)
        return Notification(
            self._key,
            self._name,
            what,
            entry.at,
            leaves_at or entry.at,
            to_people,
            is_logged=results == {DeliveryResult.LOGGED},
        )


# Whom a message reaches.


class Ways(NamedTuple):
    """By which ways messages leave, and when."""

    settings: Settings
    windows: Windows

    @classmethod
    def by(cls, settings: Settings) -> Ways:
        """Return the ways of the settings."""
        return cls(settings, windows_of(settings))

    def of(self, message: Message) -> tuple[tuple[str, ...], datetime | None]:
        """Return who of a message's contact gets it, and when the first one may.

        Not those whose channel takes critical messages only; None: there is nobody.
        """
        channels = self.settings.channels
        whole = Record(JobKey("replay", "one"), queued=(message,))
        split = routing.split_by_way(whole, channels)
        left, _minor = routing.without_minor(split, channels)
        names = {to.partition("/")[0] for part in left.queued for to in part.to}
        people = tuple(
            to for to in message.to if "@" in to or to.partition("/")[0] in names
        )
        at = message.born_at
        opens = [self.windows.opens_at(part, at) or at for part in left.queued]
        return people, min(opens, default=None)

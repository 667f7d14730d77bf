"""Incidents: from a job's first result that is not OK to the next that is.

They are made from the changes of status that history has, and from the audit log, which
says what was sent to whom and what became of it.  Pure functions of values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from lib.core import decisions
from lib.core.decisions import Entry, Event, MailDetails
from lib.core.enums import Decision, DeliveryResult, Status
from lib.core.jobs import JobKey
from lib.core.records import Record
from lib.core.text import TimeText, utc
from lib.storage.history import Change

#: The statuses of an incident; the worst is last.
BAD = (Status.WARNING, Status.UNKNOWN, Status.FAILING)
#: How long before a change of status its messages may have been written.
_SLACK = timedelta(minutes=1)


class Sending(msgspec.Struct, frozen=True):
    """A message about an incident, and what became of it."""

    at: datetime
    code: Event
    #: For people, recipients included.
    words: str
    #: When mail was proved to arrive after it was accepted; None: that is not known.
    proved_at: datetime | None = None


class Incident(msgspec.Struct, frozen=True):
    """A time in which a job was not OK."""

    key: JobKey
    began_at: datetime
    #: None: it lasts.
    ended_at: datetime | None
    #: The worst that was judged, and the reason it gave first; what was not judged
    #: counts as long as nothing was.
    status: Status
    reason: str
    #: Why alerts were held back when it began; empty if they were not.
    held: str = ""
    #: It began before what is on record.
    began_before: bool = False
    sendings: tuple[Sending, ...] = ()
    #: What was in the way of its last result: unreachable or blind.
    in_the_way: str = ""
    was_judged: bool = True

    @property
    def shown_status(self) -> str:
        """Return its status as all reports show it: also unreachable or blind.

        That of one that lasts is how the job is now.
        """
        if self.in_the_way and not (self.was_judged and self.ended_at):
            return self.in_the_way
        return self.status.value


def incidents(
    changes: Iterable[Change],
    records: Mapping[JobKey, Record] | None = None,
    removed: Mapping[JobKey, float] | None = None,
) -> list[Incident]:
    """Return the incidents of changes in their order, the latest first.

    ``records``: what is not OK now, of which history may have no change.  ``removed``:
    when jobs that are no longer checked were removed, which ends their incidents.
    """
    under_way: dict[JobKey, Incident] = {}
    over: list[Incident] = []
    for change in changes:
        at = utc(change.at)
        known = under_way.get(change.key)
        if change.status in BAD:
            under_way[change.key] = _continued(known, change, at)
        elif change.status is Status.OK and known is not None:
            over.append(replace(under_way.pop(change.key), ended_at=at))
    for key, removed_at in (removed or {}).items():
        if key in under_way:
            over.append(replace(under_way.pop(key), ended_at=utc(removed_at)))
    for record in (records or {}).values():
        if record.status in BAD and record.key.is_job and record.unseen_since is None:
            known = under_way.get(record.key) or _of_record(record)
            way = record.in_the_way.value if record.in_the_way else ""
            under_way[record.key] = replace(known, in_the_way=way)
    lasting = {(one.key, one.began_at) for one in under_way.values()}
    # One that has not recovered for good lasts, whatever its last result was.
    over = [one for one in over if (one.key, one.began_at) not in lasting]
    found = [*over, *under_way.values()]
    return sorted(found, key=lambda one: (one.began_at, one.key), reverse=True)


def _continued(known: Incident | None, change: Change, at: datetime) -> Incident:
    way = _in_the_way(change.code)
    if known is None:
        began_before = change.before in BAD
        return Incident(
            change.key,
            at,
            None,
            change.status,
            change.reason,
            change.code,
            began_before,
            in_the_way=way,
            was_judged=not way,
        )
    is_first_judged = not (way or known.was_judged)
    is_worse = BAD.index(change.status) > BAD.index(known.status)
    if is_first_judged or (is_worse and not (way and known.was_judged)):
        reason = change.reason or known.reason
        known = replace(known, status=change.status, reason=reason)
    return replace(known, in_the_way=way, was_judged=known.was_judged or not way)


def _in_the_way(code: str) -> str:
    return code if code and Decision(code).is_about_the_way else ""


def _of_record(record: Record) -> Incident:
    first_bad_at = record.first_bad_at or record.since or utc(0)
    # As history has it, in milliseconds: an incident is the same before and after.
    began_at = utc(round(first_bad_at.timestamp() * 1000) / 1000)
    return Incident(
        record.key,
        began_at,
        None,
        record.status,
        record.last_reason,
        record.held.value if record.held else "",
        was_judged=record.in_the_way is None,
    )


def with_sendings(
    those: Iterable[Incident],
    entries: Iterable[Entry],
    time_text: TimeText,
    proved_at: datetime | None = None,
) -> list[Incident]:
    """Return incidents with what was sent about each, by entries of the audit log.

    ``proved_at``: when a mail to ourselves was last found to have arrived.
    """
    listed = list(those)
    by_job: dict[JobKey, list[tuple[datetime, int]]] = {}
    for place, incident in enumerate(listed):
        by_job.setdefault(incident.key, []).append((incident.began_at, place))
    places: dict[str, int] = {}
    last: dict[str, Entry] = {}
    for entry in entries:
        details = entry.details
        if not isinstance(details, MailDetails):
            continue
        name = f"{details.message_id} {details.to}"
        if name not in places:
            # It is about the last one that had begun by then.
            begun = [
                pair
                for pair in by_job.get(entry.key, ())
                if pair[0] <= entry.at + _SLACK
            ]
            if not begun:
                continue
            places[name] = max(begun)[1]
        last[name] = entry
    sendings: dict[int, list[Sending]] = {}
    for name, entry in last.items():
        sending = _sending(entry, time_text, proved_at)
        sendings.setdefault(places[name], []).append(sending)
    return [
        replace(incident, sendings=tuple(sorted(sendings.get(place, ()), key=_moment)))
        for place, incident in enumerate(listed)
    ]


def _moment(sending: Sending) -> datetime:
    return sending.at


def _sending(entry: Entry, time_text: TimeText, proved_at: datetime | None) -> Sending:
    details, code = entry.details, entry.code
    assert isinstance(details, MailDetails) and isinstance(code, Event)
    is_mail = any("@" in address for address in details.to.addresses)
    has_left = decisions.delivery_of(entry) is DeliveryResult.SENT and is_mail
    is_proved = has_left and proved_at is not None and proved_at >= entry.at
    return Sending(
        entry.at,
        code,
        decisions.sentence(entry, time_text),
        proved_at if is_proved else None,
    )

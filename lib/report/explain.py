"""-m why: why a job did or did not notify, read from its record and the audit log.

``status_lines`` and ``decision_rows`` are for people, ``row_of`` is for ``--json``.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, tzinfo
from functools import partial
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

from lib.core import decisions, deferral, encoding
from lib.core.decisions import DELIVERED, Entry, JobDetails, People, sent_and_not
from lib.core.enums import Status
from lib.core.hours import NO_WINDOWS, Windows
from lib.core.jobs import CatalogEntry, JobKey, is_named
from lib.core.messages import Bundle, Message
from lib.core.ratelimit import SendLog
from lib.core.records import Record
from lib.core.sanitize import quoted
from lib.core.text import (
    TimeText,
    counted,
    first_line,
    policy_words,
    since,
    table_time,
)
from lib.report.rows import held_row, policy_row, trouble_row
from lib.storage import auditlog
from lib.storage.codec import read_value
from lib.storage.history import History
from lib.storage.historynames import Names
from lib.storage.historyrows import Rename
from lib.storage.store import send_log_path
from lib.system.files import Damaged

if TYPE_CHECKING:
    from lib.core.silences import Held, Silences

COLUMNS = ("at", "code", "decision")
#: How many decisions of a job are shown, the newest.
MAX_SHOWN = 40


class Story(msgspec.Struct, frozen=True):
    """The record, the decisions and the bundles of one job."""

    key: JobKey
    name: str
    record: Record
    #: None if the last run found no such job.
    known: CatalogEntry | None = None
    entries: tuple[Entry, ...] = ()
    #: Bundles that are not sent yet, by the ids of the messages in them.
    bundles: Mapping[str, Bundle] = {}
    send_log: SendLog = SendLog()
    #: What holds its alerts back now; None: nothing does.
    held: Held | None = None
    #: What was sent by the ways of channels by which its messages are to leave.
    channel_logs: Mapping[str, SendLog] = {}
    windows: Windows = NO_WINDOWS
    #: What it says though it is OK.
    note: str = ""
    #: Its name of now, if this is one that it had before.
    called_now: str = ""

    def log_of(self, message: Message) -> SendLog:
        """Return what was sent by the way of a message."""
        return self.channel_logs.get(message.way, self.send_log)

    @property
    def is_met(self) -> bool:
        """Return whether the last run met it, be it as a job that cannot be run."""
        if self.known is not None:
            return True
        return self.record.unseen_since is None and not self.record.is_default


def stories(
    folder: Path,
    patterns: Sequence[str],
    records: Mapping[JobKey, Record],
    catalog: Mapping[JobKey, CatalogEntry],
    silences: Silences,
    now: datetime,
    windows: Windows = NO_WINDOWS,
    notes: Mapping[JobKey, str] = MappingProxyType({}),
) -> tuple[list[Story], list[str]]:
    """Return the story of each job that matches, and the patterns that match none.

    A shell pattern is compared with a job's name, its key and its file name.  Removed
    jobs match as long as the audit log has a line about them.  The story of a job whose
    section was renamed begins with what its old name has there.
    """
    names = {record.key: record.name or str(record.key) for record in records.values()}
    names.update({key: known.name for key, known in catalog.items()})
    wanted = {key for key, name in names.items() if _matches(key, name, patterns)}
    former = former_names(folder, catalog)
    by_key = _entries_by_key(folder, patterns, wanted, former)
    # Of those that are removed the audit log has the names.
    names |= {key: by_key[key][0].name for key in by_key if key not in names}
    bundles, send_log = _bundles(folder), send_log_of(folder)
    ways = {one.way for key in by_key if key in records for one in records[key].queued}
    channel_logs = {way: send_log_of(folder, way) for way in ways if way}
    matching = []
    for key in sorted(by_key, key=lambda key: (names[key], key)):
        record, known = records.get(key, Record(key)), catalog.get(key)
        tags = known.tags if known else ()
        matching.append(
            Story(
                key,
                names[key],
                record,
                known,
                tuple(by_key[key]),
                bundles,
                send_log,
                silences.holding_record(record, names[key], tags, now),
                channel_logs,
                windows,
                notes.get(key, ""),
                "" if known else former.called_now(str(key), names),
            )
        )
    unmatched = [
        pattern
        for pattern in patterns
        if not any(_matches(story.key, story.name, [pattern]) for story in matching)
    ]
    return matching, unmatched


def _entries_by_key(
    folder: Path,
    patterns: Sequence[str],
    wanted: Collection[JobKey],
    names: Names,
) -> dict[JobKey, list[Entry]]:
    """Return what the audit log has of the wanted jobs, and of removed ones that match.

    What it has of a job's old name comes under the new one.
    """
    known_as = {part.key for key in wanted for part in names.parts(key)}
    entries = auditlog.read_entries(
        folder,
        lambda key, name: str(key) in known_as or _matches(key, name, patterns),
    )
    by_key: dict[JobKey, list[Entry]] = {key: [] for key in wanted}
    for entry in entries:
        owner = names.owner(entry.key, entry.at.timestamp())
        if owner in wanted:
            by_key[owner].append(entry)
        if entry.key not in wanted and _matches(entry.key, entry.name, patterns):
            by_key.setdefault(entry.key, []).append(entry)
    return by_key


def former_names(folder: Path, catalog: Mapping[JobKey, CatalogEntry]) -> Names:
    """Return what jobs were called before, as the history has it, or else ``was``."""
    known = History(folder).names.renames
    pairs = {(rename.old, rename.new) for rename in known}
    others = [
        Rename(math.inf, old, key)
        for key, entry in catalog.items()
        if entry.was and (old := JobKey(key.file, entry.was)) not in catalog
        if (old, key) not in pairs
    ]
    return Names([*known, *others])


def status_lines(story: Story, now: datetime, zone: tzinfo | None) -> Iterator[str]:
    """Yield how a job is now: its status, who was notified, what is queued."""
    yield from _present(story, now, partial(table_time, zone=zone, now=now))
    if len(story.entries) > MAX_SHOWN:
        yield f"The last {MAX_SHOWN} decisions follow; {auditlog.NAME} has older ones."
    if not story.entries:
        yield "No decisions are recorded: as far as known, the job was always OK."


def decision_rows(
    story: Story, now: datetime, zone: tzinfo | None
) -> list[dict[str, Any]]:
    """Return a row per decision, the last MAX_SHOWN; repeated ones share a row."""
    time_text = partial(table_time, zone=zone, now=now)
    return [
        {"at": time_text(last.at), "code": last.code, "decision": text}
        for last, text in folded(story.entries, time_text)[-MAX_SHOWN:]
    ]


def folded(entries: Iterable[Entry], time_text: TimeText) -> list[tuple[Entry, str]]:
    """Return entries in words, those that repeat each other as the last of them."""
    found = []
    for _same, group in groupby(entries, _kind):
        same = list(group)
        text = decisions.sentence(same[-1], time_text)
        if len(same) > 1:
            text += f" ({len(same)} times since {time_text(same[0].at)})"
        found.append((same[-1], text))
    return found


def row_of(story: Story, now: datetime) -> dict[str, Any]:
    """Return the same as a row for JSON."""
    record, known = story.record, story.known
    return {
        "job": story.name,
        "key": str(story.key),
        "exists": story.is_met,
        "enabled": known is None or known.enabled,
        "status": record.status.value,
        "pending": record.pending,
        **trouble_row(record),
        "policy": policy_row(known.policy) if known else None,
        "contact": known.contact if known else (),
        "notified": record.reached,
        "notified_at": record.reached_at,
        "delivery": record.delivery_result,
        "held": held_row(story.held),
        "queued": [_queued_row(message, story, now) for message in record.queued],
        "decisions": [
            {
                "at": entry.at,
                "code": entry.code.value,
                "details": encoding.plain(entry.details),
            }
            for entry in story.entries
        ],
    }


def _queued_row(message: Message, story: Story, now: datetime) -> dict[str, Any]:
    bundle = story.bundles.get(message.message_id)
    why = deferral.why_deferred(
        story.record, message, bundle, story.log_of(message), now, story.windows
    )
    return {
        "mail": message.message_id,
        "kind": message.kind.value,
        "to": message.to,
        "subject": message.subject,
        "born_at": message.born_at,
        "code": why.code.value,
        "until": why.until,
        "attempts": why.attempts,
        "error": why.error,
        "bundle": why.bundle,
    }


def send_log_of(folder: Path, way: str = "") -> SendLog:
    """Return what was sent by mail (""), or by a way of a channel."""
    try:
        return read_value(send_log_path(folder, way), SendLog)
    except (FileNotFoundError, Damaged):
        return SendLog()


def _bundles(folder: Path) -> dict[str, Bundle]:
    bundles: dict[str, Bundle] = {}
    for path in sorted((folder / "bundles").glob("*.json")):
        try:
            bundle = read_value(path, Bundle)
        except (FileNotFoundError, Damaged):
            # The next run logs it and makes a new one.
            continue
        bundles.update(dict.fromkeys(bundle.ids, bundle))
    return bundles


def _matches(key: JobKey, name: str, patterns: Iterable[str]) -> bool:
    return any(is_named(pattern, key, name) for pattern in patterns)


# The status now.


def _present(story: Story, now: datetime, time_text: TimeText) -> Iterator[str]:
    record, known = story.record, story.known
    is_gone = not story.is_met and story.key.is_check
    if is_gone and story.called_now:
        yield f"It is called {story.called_now} now."
    elif is_gone:
        yield "The last run found no job of this name."
    if known is not None and not known.enabled:
        yield "Disabled: its section says enabled = no."
    if story.held is not None:
        words = story.held.words(time_text)
        yield f"{words[:1].upper()}{words[1:]}."
    if not (is_gone and record.status is Status.OK):
        words = _status(record, known, now, time_text)
        yield f"OK: {story.note}" if words == "OK." and story.note else words
    if record.flapping_since is not None:
        lasts = since(record.flapping_since, now, time_text)
        yield f"Flapping {lasts}; one message follows when it is steady."
    if any(message.kind.is_about_trouble for message in record.queued):
        if record.reached and record.notified_at is not None:
            yield f"Notified so far: {', '.join(record.reached)}."
        yield "The latest message is still queued, see below."
    elif record.notified_at is not None:
        at = time_text(_left_at(story, record.notified_at))
        notified, others = sent_and_not(People(record.notified), record.delivery)
        if notified.addresses:
            yield f"Notified {notified} at {at}."
        if others.addresses:
            yield f"The mail of {at} to {others} was {DELIVERED[record.delivery]}."
    elif record.status is not Status.OK:
        yield "Nobody was notified yet."
    if known is not None:
        people = ", ".join(known.contact)
        yield f"Policy: {policy_words(known.policy)}, to {people}."
    for message in record.queued:
        yield _queued(message, story, now, time_text)


def _left_at(story: Story, queued_at: datetime) -> datetime:
    """Return when the last message about trouble left: it may have been queued long."""
    from lib.report.glance import alerts_in

    left = (entry.at for entry, _people in alerts_in(story.entries))
    return max((queued_at, *left))


def _status(
    record: Record, known: CatalogEntry | None, now: datetime, time_text: TimeText
) -> str:
    if record.status is Status.OK:
        if record.pending:
            return "Pending; the next minute run asks again."
        if known is not None and not known.judged:
            return "Not run yet."
        return "OK."
    words = str(record.status).capitalize()
    if record.since is not None:
        words += f" {since(record.since, now, time_text)}"
    if record.failures:
        words += f", {counted(record.failures, 'consecutive failure')}"
    if record.recovering:
        words += f", OK the last {counted(record.recovering, 'time')}"
    reason = first_line(record.last_reason)
    return f"{words}: {reason}" if reason else f"{words}."


def _queued(message: Message, story: Story, now: datetime, time_text: TimeText) -> str:
    bundle = story.bundles.get(message.message_id)
    deferral_reason = deferral.why_deferred(
        story.record, message, bundle, story.log_of(message), now, story.windows
    )
    why = deferral.words(deferral_reason, time_text) or "the next run sends it"
    return (
        f"Queued for {', '.join(message.to)} since {time_text(message.born_at)}: "
        f"{quoted(first_line(message.subject))}; {why.rstrip('.')}."
    )


def _kind(entry: Entry) -> object:
    """Return what is equal for entries that repeat each other."""
    if isinstance(entry.details, JobDetails):
        return entry.code, entry.details.status, entry.details.reason
    return id(entry)

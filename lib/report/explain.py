"""Why somebody was told, or was not: what is remembered of a job, in plain words.

For people at a terminal; it reads state/ and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from itertools import groupby
from pathlib import Path
from typing import Any

from lib.core import decisions, plain
from lib.core.decisions import DELIVERED, Entry, JobDetails
from lib.core.deferral import why_waits
from lib.core.enums import Condition, DeliveryResult
from lib.core.jobs import JobKey, Known
from lib.core.messages import Digest, Message
from lib.core.ratelimit import Postbook
from lib.core.records import Record
from lib.core.sanitize import harmless
from lib.core.text import counted, first_line, local, policy_words, since
from lib.storage import auditlog
from lib.storage.codec import read_value
from lib.system.files import Damaged

#: Of each job as many decisions are shown, the newest.
MOST_SHOWN = 40


@dataclass(frozen=True)
class Story:
    """All that is remembered of one job."""

    key: JobKey
    name: str
    record: Record
    #: None where the last run met no such job.
    known: Known | None = None
    entries: tuple[Entry, ...] = ()
    #: The digests that are on their way, by the ids of the mails in them.
    digests: Mapping[str, Digest] = field(default_factory=dict)
    book: Postbook = Postbook()


def stories(
    folder: Path,
    patterns: Sequence[str],
    records: Mapping[JobKey, Record],
    catalogue: Mapping[JobKey, Known],
) -> tuple[list[Story], list[str]]:
    """Return what is remembered of the jobs that match, and what matches none.

    A pattern is a shell's; it is held against a job's name, its key and its file's
    name.  Jobs that are no more count as long as there is a line about them.
    """
    names = {record.key: record.name or str(record.key) for record in records.values()}
    names.update({key: known.name for key, known in catalogue.items()})
    wanted = {key for key, name in names.items() if _matches(key, name, patterns)}
    found = auditlog.read_entries(
        folder, lambda key, name: key in wanted or _matches(key, name, patterns)
    )
    by_key: dict[JobKey, list[Entry]] = {key: [] for key in wanted}
    for entry in found:
        by_key.setdefault(entry.key, []).append(entry)
        names.setdefault(entry.key, entry.name)
    digests, book = _digests(folder), _book(folder)
    told = [
        Story(
            key,
            names[key],
            records.get(key, Record(key)),
            catalogue.get(key),
            tuple(by_key[key]),
            digests,
            book,
        )
        for key in sorted(by_key, key=lambda key: (names[key], key))
    ]
    unmatched = [
        pattern
        for pattern in patterns
        if not any(_matches(story.key, story.name, [pattern]) for story in told)
    ]
    return told, unmatched


def lines_of(story: Story, now: datetime) -> Iterator[str]:
    """Yield what to print about a job: how it is now, then how it came to that."""
    yield harmless(story.name)
    for line in _present(story, now):
        yield f"    {harmless(line)}"
    yield ""
    shown = list(_history(story.entries))
    if not shown:
        yield "    No decision is on file: it was fine all the time, as far as known."
    elif len(shown) > MOST_SHOWN:
        yield f"    The last {MOST_SHOWN} decisions; {auditlog.NAME} has more:"
    for line in shown[-MOST_SHOWN:]:
        yield f"    {harmless(line)}"


def row_of(story: Story, now: datetime) -> dict[str, Any]:
    """Return the same for a program."""
    record = story.record
    return {
        "job": story.name,
        "key": str(story.key),
        "exists": story.known is not None,
        "condition": record.condition.value,
        "failing_since": record.failing_since,
        "failures": record.failures,
        "reason": record.last_reason,
        "told": record.told,
        "told_at": record.told_at,
        "delivery": record.delivery if record.told_at else None,
        "owed": [
            {
                "mail": one.message_id,
                "kind": one.kind.value,
                "to": one.to,
                "subject": one.subject,
                "born_at": one.born_at,
                "attempts": one.attempts,
                "retry_at": one.retry_at,
                "last_error": one.last_error,
            }
            for one in record.owed
        ],
        "now": list(_present(story, now)),
        "decisions": [
            {
                "at": one.at,
                "code": one.code.value,
                "text": decisions.sentence(one),
                "details": plain.to_plain(one.details),
            }
            for one in story.entries
        ],
    }


def _book(folder: Path) -> Postbook:
    try:
        return read_value(folder / "outbox.json", Postbook)
    except (FileNotFoundError, Damaged):
        return Postbook()


def _digests(folder: Path) -> dict[str, Digest]:
    found = {}
    for path in sorted((folder / "digests").glob("*.json")):
        try:
            digest = read_value(path, Digest)
        except (FileNotFoundError, Damaged):
            # The next run says so, and makes it anew.
            continue
        found.update(dict.fromkeys(digest.ids, digest))
    return found


def _matches(key: JobKey, name: str, patterns: Iterable[str]) -> bool:
    return any(
        pattern in (name, key.file, str(key)) or fnmatchcase(name, pattern)
        for pattern in patterns
    )


# How it is now.


def _present(story: Story, now: datetime) -> Iterator[str]:
    record, known = story.record, story.known
    if known is None and story.key.is_check:
        yield "No job of this name was met by the last run."
    yield _condition(record, known, now)
    if any(one.kind.is_about_trouble for one in record.owed):
        yield "The last news of it has still to leave, see below."
    elif record.told_at is not None:
        people, at = ", ".join(record.told), local(record.told_at)
        if record.delivery is DeliveryResult.SENT:
            yield f"Told {people} at {at}."
        else:
            yield f"The mail of {at} to {people} was {DELIVERED[record.delivery]}."
    elif record.condition is not Condition.FINE:
        yield "Nobody was told yet."
    if known is not None:
        people = ", ".join(known.contact)
        yield f"The policy: {policy_words(known.policy)}, to {people}."
    for message in record.owed:
        yield _owed(message, story, now)


def _condition(record: Record, known: Known | None, now: datetime) -> str:
    if record.condition is Condition.FINE:
        if record.pending:
            return "Under way; it is asked again in the next minute run."
        if known is not None and not known.judged:
            return "It has not run yet."
        return "Fine, as far as is remembered."
    words = str(record.condition).capitalize()
    if record.failing_since is not None:
        words += f" {since(record.failing_since, now)}"
    if record.failures:
        words += f", {record.failures} in a row"
    reason = first_line(record.last_reason)
    return f"{words}: {reason}" if reason else f"{words}."


def _owed(message: Message, story: Story, now: datetime) -> str:
    digest = story.digests.get(message.message_id)
    why = why_waits(message, digest, story.book, now) or "the next run sends it"
    return (
        f"Owed to {', '.join(message.to)} since {local(message.born_at)}: "
        f"{first_line(message.subject)!r}; {why}."
    )


# How it came to that.


#: As wide as the longest code.
_WIDTH = max(map(len, decisions.DETAILS))


def _history(entries: Iterable[Entry]) -> Iterator[str]:
    """Yield a line for each entry; the same again and again is one."""
    for _same, group in groupby(entries, _kind):
        several = list(group)
        last = several[-1]
        line = f"{local(last.at)}  {last.code:<{_WIDTH}} {decisions.sentence(last)}"
        if len(several) > 1:
            line += f" (the same {counted(len(several), 'time')} since "
            line += f"{local(several[0].at)})"
        yield line


def _kind(entry: Entry) -> object:
    """Return what is equal for entries that say the same."""
    if isinstance(entry.details, JobDetails):
        return entry.code, entry.details.reason
    return id(entry)

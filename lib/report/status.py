"""-m status: what is down, then the health of Checker itself, read from state/.

``headline`` and ``down_rows`` say what is down, ``rows`` how Checker is: to add a line,
add a pair of item and value there.  ``data`` is the same for ``--json``; the schema in
docs/json.schema.json documents its members.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from functools import partial
from typing import TYPE_CHECKING, Any

from lib.core import calendar, deferral, health
from lib.core.calendar import SummarySeries
from lib.core.enums import IN_THE_WAY, Decision, Status
from lib.core.health import prover
from lib.core.jobs import CatalogEntry, JobKey
from lib.core.messages import DeferredMessage
from lib.core.records import Record, RunRecord, counted_jobs
from lib.core.results import Unit, amount_words
from lib.core.settings import Command, Settings
from lib.core.text import (
    TimeText,
    age,
    counted,
    duration,
    first_line,
    moment_in,
    since,
    some_of,
    table_time,
    zone_words,
)
from lib.report import silent
from lib.report.rows import WORDS, notified_words, status_words

if TYPE_CHECKING:
    from lib.core.announcements import Announcement
    from lib.report.snapshot import Snapshot

COLUMNS = ("item", "value")
#: How many round-trip mails are shown, the last first.
MAX_PROOFS = 10
_BAD = (Status.FAILING, Status.UNKNOWN, Status.WARNING)
_LONG_AGO = datetime.min.replace(tzinfo=UTC)
#: How many jobs that are not OK are shown; Checker's own state comes below them.
MAX_DOWN = 20
#: How many deferred messages are shown, the oldest.
MAX_DEFERRED = 20
#: How many jobs that are OK and say something are named.
MAX_NOTED = 5


def bad_records(
    records: Mapping[JobKey, Record], catalog: Mapping[JobKey, CatalogEntry]
) -> list[Record]:
    """Return the existing jobs that are failing, unknown or a warning, in this order.

    Of each status the latest comes first.
    """
    bad = [
        record
        for record in records.values()
        if record.status in _BAD
        and record.unseen_since is None
        and (record.key not in catalog or catalog[record.key].enabled)
    ]
    bad.sort(key=lambda record: record.name)
    bad.sort(key=lambda record: record.since or _LONG_AGO, reverse=True)
    bad.sort(key=lambda record: _BAD.index(record.status))
    # What holds them up is not to be hidden behind thousands of them.
    return sorted(bad, key=lambda record: record.is_out_of_reach)


def is_of_the_past(snapshot: Snapshot) -> bool:
    """Return whether runs have stopped, so that nothing is known of now."""
    return health.have_runs_stopped(
        snapshot.run.ended_at, snapshot.settings, snapshot.now
    )


def past_sentence(snapshot: Snapshot) -> str:
    """Return since when nothing is known, if runs have stopped; or nothing."""
    last, now = snapshot.run.ended_at, snapshot.now
    if last is None or not is_of_the_past(snapshot):
        return ""
    since = table_time(last, snapshot.settings.zone, now)
    return f"Nothing has been checked since {since}; all that is shown is older."


def headline(bad: Sequence[Record], snapshot: Snapshot) -> str:
    """Return what is down, in a line: ``2 failing, 1 unknown; 7 jobs.``

    If runs have stopped it says so instead.
    """
    if snapshot.run.ended_at is None and not bad:
        return "Nothing is known yet: no run has finished."
    if older := past_sentence(snapshot):
        return older
    jobs = counted(len(counted_jobs(snapshot.catalog, snapshot.records)), "job")
    counts: Counter[Status | Decision] = Counter(
        record.in_the_way or record.status for record in bad
    )
    failures = [
        f"{counts[word]} {word}"
        for word in (Status.FAILING, Status.UNKNOWN, *IN_THE_WAY)
        if counts[word]
    ]
    down = ", ".join(failures) or "Nothing is down"
    warnings = counts[Status.WARNING]
    more = f", {counted(warnings, 'warning')}" if warnings else ""
    return f"{down}{more}; {jobs}."


def down_rows(
    bad: Iterable[Record],
    catalog: Mapping[JobKey, CatalogEntry],
    now: datetime,
    zone: tzinfo | None,
) -> list[dict[str, Any]]:
    """Return a row per job that is not OK: since when, why, who was notified."""
    time_text = partial(table_time, zone=zone, now=now)
    return [
        {
            "job": record.name or str(record.key),
            "key": str(record.key),
            "status": status_words(record, record.status),
            "since": record.since,
            "failures": record.failures,
            "reason": first_line(record.last_reason),
            "notified": record.reached,
            "notified_at": record.reached_at,
            "delivery": record.delivery_result,
            "runbook": catalog[record.key].runbook if record.key in catalog else "",
            WORDS: {
                "status": status_words(record, record.status),
                "since": time_text(record.since) if record.since else "",
                "reason": _reason(record),
                "notified": notified_words(record),
            },
        }
        for record in bad
    ]


def _reason(record: Record) -> str:
    reason = first_line(record.last_reason)
    if record.held is Decision.UNREACHABLE:
        return f"{record.held}: {record.held_by}; {reason}"
    return reason


def more(
    bad: Sequence[Record],
    catalog: Mapping[JobKey, CatalogEntry],
    shown: Collection[JobKey],
    command: Command,
) -> str:
    """Return how many jobs are not shown, and what shows them; empty if all are."""
    hidden = [record for record in bad if record.key not in shown]
    known = {key for key, known in catalog.items() if known.enabled}
    count = len((known | {record.key for record in bad}) - set(shown))
    if not count:
        return ""
    all_failing = bool(hidden) and all(record.status.is_failure for record in hidden)
    words = ("--failing",) if all_failing else ()
    # What is OK is no news.
    count = len(hidden) or count
    return f"and {count:,} more: {command('list', *words)}"


def rows(snapshot: Snapshot) -> list[dict[str, Any]]:
    """Return a row per item; the first is the answer that peers get."""
    settings, run, now = snapshot.settings, snapshot.run, snapshot.now
    records, catalog = snapshot.records, snapshot.catalog
    time_text = partial(table_time, zone=settings.zone, now=now)
    answer = health.assess(health.inputs_of(run), settings, now, time_text)
    because = f": {answer.why}" if answer.why else ""
    peers = peer_words(settings, records, catalog, now, time_text)
    lines = [
        ("answer to peers", f"{answer.word}{because}"),
        ("last run", _last_run(run, now, time_text)),
        ("settings", _settings(settings, run, time_text)),
        *(("history", text) for text in snapshot.history),
        *_skips(run, time_text),
        ("queued messages", _queued(records, time_text)),
        *_deferred(run, now, time_text),
        *silent.rows(silent.data(snapshot.silences, records, catalog, now), time_text),
        *_announced(snapshot.announcements, now, time_text),
        *_noted(snapshot.notes, catalog),
        *_proof(settings, records, time_text),
        *((f"peer {name}", words) for name, words in peers),
        *_summaries(settings, snapshot.summaries, now, time_text),
        *_proofs(settings, records, now, time_text),
        ("time zone", zone_words(settings.zone, now)),
    ]
    return [dict(zip(COLUMNS, line, strict=True)) for line in lines]


def own_line(snapshot: Snapshot, state_bytes: int) -> str:
    """Return how Checker itself is, in a line; ``rows`` says more."""
    settings, run, now = snapshot.settings, snapshot.run, snapshot.now
    records = snapshot.records
    last = "no run has finished yet"
    if run.ended_at is not None:
        last = f"last run {duration(age(run.ended_at, now))} ago"
    queued = sum(len(record.queued) for record in records.values())
    parts = [
        last,
        counted(run.skipped, "skipped minute"),
        _proof_in_short(_round_trip_data(settings, records), now),
        f"{counted(queued, 'message')} queued" if queued else "nothing queued",
    ]
    peers = list(_peers_data(settings, records, snapshot.catalog))
    if peers:
        fine = sum(peer["status"] == Status.OK for peer in peers)
        parts.append(f"{fine} of {counted(len(peers), 'peer')} OK")
    parts.append(f"{amount_words(state_bytes, Unit.BYTES)} of state")
    return f"Checker: {'; '.join(parts)}."


def _proof_in_short(proof: Mapping[str, Any], now: datetime) -> str:
    if not proof["set_up"]:
        return "no proof of mail is set up"
    if proof["proved_at"] is None:
        return "mail not proven yet"
    words = f"mail proven {duration(age(proof['proved_at'], now))} ago"
    failed_at = proof["failed_at"]
    if failed_at is not None and failed_at > proof["proved_at"]:
        words += f", failed {duration(age(failed_at, now))} ago"
    return words


def _announced(
    those: Sequence[Announcement], now: datetime, time_text: TimeText
) -> Iterator[tuple[str, str]]:
    """Yield a line for each announcement."""
    if not those:
        return
    from lib.core.announcements import when_words

    for one in those:
        tags = ", ".join(one.tags)
        parts = (one.level, when_words(one, now, time_text), tags)
        by = f" (by {one.who})" if one.who else ""
        text = " ".join(one.text.split())
        yield "announced", f"{', '.join(filter(None, parts))}: {text}{by}"


def _noted(
    notes: Mapping[JobKey, str], catalog: Mapping[JobKey, CatalogEntry]
) -> Iterator[tuple[str, str]]:
    """Yield which jobs say something though they are OK."""
    names = sorted(catalog[key].name for key in notes if key in catalog)
    if names:
        yield "OK, with a note", f"{some_of(names, MAX_NOTED)}; -m list shows it"


def data(
    snapshot: Snapshot,
    *,
    listed: Sequence[Mapping[str, Any]] = (),
    state_bytes: int = 0,
) -> dict[str, Any]:
    """Return the same as data: what is down first.

    ``listed`` are rows of ``glance``, ``state_bytes`` is the size of the state folder.
    """
    settings, run, now = snapshot.settings, snapshot.run, snapshot.now
    records, catalog = snapshot.records, snapshot.catalog
    bad = bad_records(records, catalog)
    answer = health.assess(health.inputs_of(run), settings, now)
    counts = Counter(status_words(record, record.status) for record in bad)
    in_use = settings.last_usable
    return {
        "at": now,
        "server": settings.servername,
        "time_zone": zone_words(settings.zone, now).partition(",")[0],
        "down": down_rows(
            (one for one in bad if one.status.is_failure), catalog, now, settings.zone
        ),
        "warnings": down_rows(
            (one for one in bad if not one.status.is_failure),
            catalog,
            now,
            settings.zone,
        ),
        "jobs": {
            "total": len(counted_jobs(catalog, records)),
            **{code.value: counts[code.value] for code in (*_BAD, *IN_THE_WAY)},
            "disabled": sum(not job.enabled for job in catalog.values()),
        },
        "listed": list(listed),
        "silent": silent.data(snapshot.silences, records, catalog, now),
        "announcements": _announcements_data(snapshot.announcements),
        "health": {
            "word": answer.word.value,
            "reason": answer.why,
            "proved_at": answer.proved_at,
            "stuck": answer.stuck,
            "stuck_since": answer.stuck_since,
        },
        "last_run": {
            "began_at": run.began_at,
            "ended_at": run.ended_at,
            "ordered": run.ordered.value,
            "jobs": run.jobs,
            "ran": run.ran,
            "failing": run.failing,
            "unreachable": run.unreachable,
            "unknown": run.unknown,
            "warning": run.warning,
            "pending": run.pending,
            "sent": run.sent,
        },
        "settings": {
            "file": str(settings.path),
            "failing_since": run.settings_failing_since,
            "copy_in_use": str(in_use.path) if in_use else None,
            "copy_of": in_use.at if in_use else None,
            "problems": [str(problem) for problem in in_use.problems] if in_use else [],
        },
        "skipped_runs": {"count": run.skipped, "last_at": run.skipped_at},
        "queued": sum(len(record.queued) for record in records.values()),
        "deferred": {
            "count": run.deferred_count,
            "messages": [_deferred_data(message, now) for message in run.deferred],
        },
        "round_trip": _round_trip_data(settings, records),
        "peers": list(_peers_data(settings, records, catalog)),
        "summaries": list(_summaries_data(settings, snapshot.summaries, now)),
        "proofs": list(_proofs_data(settings, records, now)),
        "history": list(snapshot.history),
        "state_bytes": state_bytes,
    }


def _announcements_data(those: Sequence[Announcement]) -> list[dict[str, Any]]:
    if not those:
        return []
    from lib.core import announcements

    return announcements.data(those)


def _deferred_data(message: DeferredMessage, now: datetime) -> dict[str, Any]:
    return {
        "job": message.job,
        "kind": message.kind.value,
        "subject": message.subject,
        "to": message.to,
        "since": message.since,
        "stuck": health.is_stuck(message, now),
        "code": message.why.code.value,
        "until": message.why.until,
        "attempts": message.why.attempts,
        "error": message.why.error,
        "bundle": message.why.bundle,
    }


def _round_trip_data(
    settings: Settings, records: Mapping[JobKey, Record]
) -> dict[str, Any]:
    record = prover(records.values())
    memory = record.memory if record else {}
    proof, history = memory.get("proof"), memory.get("history")
    proof = proof if isinstance(proof, dict) else {}
    lines = [
        line
        for line in (history if isinstance(history, list) else [])
        if isinstance(line, list) and len(line) >= 4
    ]
    return {
        "set_up": settings.mail.mailbox is not None,
        "result": str(proof.get("result", "")),
        "proved_at": moment_in(proof.get("proved_at")),
        "failed_at": moment_in(proof.get("failed_at")),
        "mails": [
            {
                "sent_at": moment_in(sent),
                "arrived_at": moment_in(arrived),
                "seconds": seconds if isinstance(seconds, int | float) else None,
                "result": str(result),
                "slowest_hop": str(hop[0]) if hop and hop[0] else "",
            }
            for sent, arrived, seconds, result, *hop in reversed(lines)
        ],
    }


def _peers_data(
    settings: Settings,
    records: Mapping[JobKey, Record],
    catalog: Mapping[JobKey, CatalogEntry],
) -> Iterator[dict[str, Any]]:
    for peer in settings.peers.peers:
        key = JobKey.of_peer(peer.name)
        record, known = records.get(key, Record(key)), catalog.get(key)
        status = record.status.value
        if record.status is Status.OK:
            was_asked = known is not None and known.judged
            status = "ok" if was_asked else "not_asked_yet"
            status = Status.PENDING.value if record.pending else status
        yield {
            "name": peer.name,
            "status": status,
            "since": record.since,
            "reason": first_line(record.last_reason),
        }


def _summaries_data(
    settings: Settings, summaries: Iterable[SummarySeries], now: datetime
) -> Iterator[dict[str, Any]]:
    known = {series.kind: series for series in summaries}
    for kind in calendar.KINDS:
        next_at = calendar.next_time(settings.summary, kind, now, settings.zone)
        if next_at is None:
            continue
        series = known.get(kind, SummarySeries(kind))
        issue = calendar.due(series, settings.summary, now, settings.zone)
        yield {
            "kind": kind,
            "number": series.number,
            "written_at": series.written_at if series.number else None,
            "next_at": next_at,
            "due_since": issue.due_at if issue else None,
        }


def _last_run(run: RunRecord, now: datetime, time_text: TimeText) -> str:
    if run.ended_at is None:
        return "no run has finished yet"
    statuses = (
        f"{run.failing} failing, {run.unknown} unknown, "
        f"{counted(run.warning, 'warning')}, {run.pending} pending"
    )
    if run.unreachable:
        statuses += f", {run.unreachable} unreachable or blind"
    return (
        f"finished {time_text(run.ended_at)}, {duration(age(run.ended_at, now))} ago: "
        f"{counted(run.jobs, 'job')}, {run.ran} ran, {statuses}"
    )


def _settings(settings: Settings, run: RunRecord, time_text: TimeText) -> str:
    """Return which settings are in use."""
    in_use, since = settings.last_usable, run.settings_failing_since
    if in_use is None and since is not None:
        # A password is looked for by runs only.
        return (
            f"{settings.path}; runs have not been able to use them since "
            f"{time_text(since)}: "
            f"{settings.command('validate')} says why"
        )
    if in_use is None:
        return str(settings.path)
    what = f"has been unusable since {time_text(since)}" if since else "cannot be used"
    return (
        f"{settings.path} {what}: {in_use.problems[0]}; in use are those "
        f"of {time_text(in_use.at)}: {in_use.path}"
    )


def _skips(run: RunRecord, time_text: TimeText) -> Iterator[tuple[str, str]]:
    if run.skipped and run.skipped_at:
        last = f"last {time_text(run.skipped_at)}"
        yield "skipped runs", f"{run.skipped}, {last}: the run before was not finished"


def _queued(records: Mapping[JobKey, Record], time_text: TimeText) -> str:
    messages = [message for record in records.values() for message in record.queued]
    if not messages:
        return "none"
    oldest = min(message.born_at for message in messages)
    words = f"{len(messages)}, the oldest from {time_text(oldest)}"
    errors = [message.last_error for message in messages if message.last_error]
    return f"{words}: {errors[0]}" if errors else words


def _deferred(
    run: RunRecord, now: datetime, time_text: TimeText
) -> Iterator[tuple[str, str]]:
    """Yield a line for each message that the last run left in the queue."""
    for message in run.deferred[:MAX_DEFERRED]:
        stuck = "stuck: " if health.is_stuck(message, now) else ""
        yield "", f"{stuck}{deferral.line(message, time_text)}"
    more = run.deferred_count - MAX_DEFERRED
    if more > 0:
        yield "", f"and {more:,} more"


def _proof(
    settings: Settings, records: Mapping[JobKey, Record], time_text: TimeText
) -> Iterator[tuple[str, str]]:
    record = prover(records.values())
    proof = record.memory.get("proof") if record else None
    if settings.mail.mailbox is None:
        yield "round-trip mail", "not set up: [email] imapserver is not set"
        return
    if record is None or not isinstance(proof, dict):
        yield "round-trip mail", "none sent yet"
        return
    status, more = proof.get("result", ""), proof.get("why") or proof.get("trouble")
    yield "round-trip mail", f"{status}: {more}" if more else f"{status}"
    history = record.memory.get("history")
    for line in reversed(history[-MAX_PROOFS:] if isinstance(history, list) else []):
        if isinstance(line, list) and len(line) >= 4:
            yield "", proof_line(line, time_text)


def proof_line(line: list[Any], time_text: TimeText) -> str:
    """Return a round-trip mail: sent, status, arrived, seconds, slowest hop."""
    sent, arrived, seconds, status, *hop = line
    words = f"sent {_shown(sent, time_text)}"
    if status != "arrived":
        words += f", {status}"
    if arrived:
        words += f", arrived {_shown(arrived, time_text)}"
    if isinstance(seconds, int | float):
        words += f" after {seconds:g} s"
    return words + (f"; slowest hop: {hop[0]}" if hop and hop[0] else "")


def peer_words(
    settings: Settings,
    records: Mapping[JobKey, Record],
    catalog: Mapping[JobKey, CatalogEntry],
    now: datetime,
    time_text: TimeText,
) -> Iterator[tuple[str, str]]:
    """Yield each peer's name and its status."""
    for peer in settings.peers.peers:
        key = JobKey.of_peer(peer.name)
        record, known = records.get(key, Record(key)), catalog.get(key)
        if record.status is not Status.OK:
            reason = first_line(record.last_reason)
            words = str(record.status)
            if record.since:
                words += f" {since(record.since, now, time_text)}"
            yield peer.name, f"{words}{f': {reason}' if reason else ''}"
        elif record.pending:
            yield peer.name, "no answer, asked again in the next run"
        else:
            was_asked = known is not None and known.judged
            yield peer.name, "OK" if was_asked else "not asked yet"


def _summaries(
    settings: Settings,
    summaries: Iterable[SummarySeries],
    now: datetime,
    time_text: TimeText,
) -> Iterator[tuple[str, str]]:
    known = {series.kind: series for series in summaries}
    for kind in calendar.KINDS:
        next_at = calendar.next_time(settings.summary, kind, now, settings.zone)
        series = known.get(kind, SummarySeries(kind))
        if next_at is None:
            continue
        issue = calendar.due(series, settings.summary, now, settings.zone)
        when = time_text(next_at)
        coming = f"number {series.number + 1} is due {when}"
        if issue is not None:
            when = time_text(issue.due_at)
            coming = f"number {issue.number} was due {when} and is not written yet"
        if series.number and series.written_at:
            last = f"number {series.number} was written {time_text(series.written_at)}"
            coming = f"{last}, {coming}"
        yield f"{kind} summary", coming


def _proofs_data(
    settings: Settings, records: Mapping[JobKey, Record], now: datetime
) -> Iterator[dict[str, Any]]:
    """Yield the last test message of each way of a channel that has ``proof``."""
    channels = [one for one in settings.channels.values() if one.proof]
    if not channels:
        return
    from lib.report.explain import send_log_of
    from lib.storage.session import notes_in

    numbers = {one.channel: one.number for one in notes_in(records).proofs}
    for channel in channels:
        _last, next_at = calendar.proof_times(channel.proof, now, settings.zone)
        for way in channel.ways:
            yield {
                "channel": way,
                "number": numbers.get(channel.name, 0),
                "accepted_at": send_log_of(settings.state, way).proof_accepted_at,
                "next_at": next_at,
            }


def _proofs(
    settings: Settings,
    records: Mapping[JobKey, Record],
    now: datetime,
    time_text: TimeText,
) -> Iterator[tuple[str, str]]:
    for proof in _proofs_data(settings, records, now):
        accepted_at, number = proof["accepted_at"], proof["number"]
        words = "none was sent yet"
        if number:
            words = f"number {number} was queued, none was accepted yet"
        if accepted_at:
            words = f"the last one was accepted {time_text(accepted_at)}"
        coming = f"number {number + 1} is due {time_text(proof['next_at'])}"
        yield f"proof of {proof['channel']}", f"{words}, {coming}"


def _shown(text: object, time_text: TimeText) -> str:
    moment = moment_in(text)
    return time_text(moment) if moment else str(text)[:40]

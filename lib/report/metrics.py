"""What Prometheus reads of us: the text format 0.0.4 of its exposition formats.

Each metric is a row of METRICS, which the documents, the alert rules in contrib/ and
the dashboard there are held against.  A HELP text never changes: node_exporter drops
the samples of a second file whose text differs, and reports no error.  Units are base
units, per cent are a ratio.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from lib.core import health
from lib.core.enums import IN_THE_WAY, Health, Status
from lib.core.jobs import CatalogEntry, JobKey
from lib.core.ratelimit import SendLog
from lib.core.records import Record, RunRecord, counted_jobs
from lib.core.results import Unit, Values
from lib.core.sanitize import harmless
from lib.core.settings import MAIL, Settings
from lib.report.rows import DISABLED, NOT_RUN_YET, NOT_SET_UP, checked_at, status_of
from lib.storage.codec import read_value
from lib.storage.store import send_log_path
from lib.system.errors import NewerState, StateError
from lib.system.files import Damaged

if TYPE_CHECKING:
    from lib.storage.historyrows import Row

GAUGE, COUNTER = "gauge", "counter"


class Metric(NamedTuple):
    """A metric: its type, what it is, and its labels beside ``server``."""

    type: str
    help: str
    labels: tuple[str, ...] = ()


#: The numbers of ``checker_job_status``; more is worse, but for pending.
STATUS_NUMBERS = {
    Status.OK: 0,
    Status.WARNING: 1,
    Status.FAILING: 2,
    Status.UNKNOWN: 3,
    Status.PENDING: 4,
}
_STATUSES = frozenset(map(str, STATUS_NUMBERS))
_SEVERITIES = {Status.WARNING: 1, Status.FAILING: 2, Status.UNKNOWN: 2}
_VALUE_NAMES = {
    Unit.SECONDS: "checker_job_value_seconds",
    Unit.BYTES: "checker_job_value_bytes",
    Unit.PERCENT: "checker_job_value_ratio",
    Unit.COUNT: "checker_job_value",
    Unit.PER_SECOND: "checker_job_value_per_second",
}
# Not job, nor instance: these two are Prometheus' own of each series that it reads.
_OF_JOB = ("name", "kind")
_OF_VALUE = ("name", "kind", "value")
METRICS: Mapping[str, Metric] = {
    "checker_build_info": Metric(
        GAUGE, "The version of Checker and of Python; always 1.", ("version", "python")
    ),
    "checker_healthy": Metric(
        GAUGE, "1 if the word for peers is True, 0 if it is another.", ("word",)
    ),
    "checker_last_run_timestamp_seconds": Metric(
        GAUGE, "When the last finished run ended, in seconds of the epoch."
    ),
    "checker_last_run_duration_seconds": Metric(
        GAUGE, "How long the last finished run took."
    ),
    "checker_mail_proof_timestamp_seconds": Metric(
        GAUGE, "When a mail to ourselves was last found to have arrived."
    ),
    "checker_skipped_runs_total": Metric(
        COUNTER, "Runs that ended at once since another one was at work."
    ),
    "checker_queued_messages": Metric(
        GAUGE, "Messages to people that have not left yet."
    ),
    "checker_stuck_messages": Metric(
        GAUGE, "Messages to people that should have left 15 minutes ago or more."
    ),
    "checker_notifications_total": Metric(
        COUNTER,
        "Messages that a channel accepted, those only logged with nomail, and attempts "
        "that failed.",
        ("channel", "result"),
    ),
    "checker_jobs": Metric(GAUGE, "Jobs by status.", ("status",)),
    "checker_job_status": Metric(
        GAUGE, "0 OK, 1 warning, 2 failing, 3 unknown, 4 pending.", _OF_JOB
    ),
    "checker_job_severity": Metric(
        GAUGE, "0 nothing to tell, 1 a warning, 2 critical.", _OF_JOB
    ),
    "checker_job_held": Metric(
        GAUGE,
        "1 while alerts of a job are held back, and why.",
        (*_OF_JOB, "reason"),
    ),
    "checker_job_failing_since_timestamp_seconds": Metric(
        GAUGE, "Since when a job is not OK, in seconds of the epoch.", _OF_JOB
    ),
    "checker_job_last_check_timestamp_seconds": Metric(
        GAUGE, "When a job was last checked, in seconds of the epoch.", _OF_JOB
    ),
    "checker_job_duration_seconds": Metric(
        GAUGE, "How long the last check of a job took.", _OF_JOB
    ),
    _VALUE_NAMES[Unit.SECONDS]: Metric(
        GAUGE, "What a job measured last, in seconds.", _OF_VALUE
    ),
    _VALUE_NAMES[Unit.BYTES]: Metric(
        GAUGE, "What a job measured last, in bytes.", _OF_VALUE
    ),
    _VALUE_NAMES[Unit.PERCENT]: Metric(
        GAUGE, "What a job measured last; 1 is 100 per cent.", _OF_VALUE
    ),
    _VALUE_NAMES[Unit.COUNT]: Metric(
        GAUGE, "What a job measured last, a number without unit.", _OF_VALUE
    ),
    _VALUE_NAMES[Unit.PER_SECOND]: Metric(
        GAUGE, "What a job measured last, per second.", _OF_VALUE
    ),
}

#: The labels in the order of the metric's, and the number.
Sample = tuple[tuple[str, ...], float]


class Sent(NamedTuple):
    """How many messages a way has taken, and how many attempts failed, by result."""

    sent: int
    #: With nomail.
    logged: int
    failed: int


class Facts(msgspec.Struct, frozen=True):
    """What the metrics are made of."""

    settings: Settings
    version: str
    run: RunRecord
    catalog: Mapping[JobKey, CatalogEntry]
    records: Mapping[JobKey, Record]
    values: Mapping[JobKey, Values]
    #: By way: ``mail``, a channel, or one of its services.
    sent: Mapping[str, Sent]
    now: datetime
    #: The last result of each job, by the history.
    latest: Mapping[JobKey, Row] = MappingProxyType({})


def read_sent(settings: Settings) -> dict[str, Sent]:
    """Return what each way has sent, mail among them, as its file says.

    One whose file cannot be used is left out: a counter that is 0 has been reset.
    """
    ways = [way for one in settings.channels.values() for way in one.ways]
    sent: dict[str, Sent] = {}
    for way in ("", *ways):
        try:
            log = read_value(send_log_path(settings.state, way), SendLog)
        except FileNotFoundError:
            log = SendLog()
        except (OSError, Damaged, NewerState, StateError):
            # The next session says so, if it is damaged.
            continue
        sent[way or MAIL] = Sent(log.accepted_count, log.logged_count, log.failed_count)
    return sent


def exposition(facts: Facts) -> str:
    """Return the metrics as Prometheus reads them."""
    samples = {**_of_jobs(facts), **_of_ourselves(facts)}
    lines: list[str] = []
    server = facts.settings.servername
    for name, metric in METRICS.items():
        # Twice the same series, and node_exporter drops both without a word.
        by_labels = dict(samples.get(name, ()))
        if not by_labels:
            continue
        lines += [f"# HELP {name} {metric.help}", f"# TYPE {name} {metric.type}"]
        for labels, number in by_labels.items():
            pairs = zip(("server", *metric.labels), (server, *labels), strict=True)
            shown = ",".join(f'{label}="{_escaped(text)}"' for label, text in pairs)
            lines.append(f"{name}{{{shown}}} {_number(number)}")
    return "\n".join(lines) + "\n"


def _of_ourselves(facts: Facts) -> dict[str, list[Sample]]:
    run = facts.run
    state = health.assess(health.inputs_of(run), facts.settings, facts.now)
    samples: dict[str, list[Sample]] = {
        "checker_build_info": [((facts.version, platform.python_version()), 1)],
        "checker_healthy": [((state.word.value,), int(state.word is Health.OK))],
        "checker_skipped_runs_total": [((), run.skipped)],
        "checker_queued_messages": [((), run.queued)],
        "checker_stuck_messages": [((), state.stuck)],
        "checker_notifications_total": [
            ((way, result), number)
            for way, sent in facts.sent.items()
            for result, number in sent._asdict().items()
        ],
    }
    if run.ended_at is not None:
        ended_at = run.ended_at.timestamp()
        samples["checker_last_run_timestamp_seconds"] = [((), ended_at)]
        if run.began_at is not None and run.began_at <= run.ended_at:
            took = (run.ended_at - run.began_at).total_seconds()
            samples["checker_last_run_duration_seconds"] = [((), took)]
    if state.proved_at is not None:
        proved_at = state.proved_at.timestamp()
        samples["checker_mail_proof_timestamp_seconds"] = [((), proved_at)]
    return samples


def _of_jobs(facts: Facts) -> dict[str, list[Sample]]:
    samples: dict[str, list[Sample]] = {name: [] for name in METRICS}
    others = (*IN_THE_WAY, NOT_RUN_YET, NOT_SET_UP, DISABLED)
    counts = dict.fromkeys(map(str, (*Status, *others)), 0)
    for key, labels in _labels(facts):
        record, entry = facts.records.get(key), facts.catalog.get(key)
        was_judged = entry is not None and entry.judged
        is_off = entry is not None and not entry.enabled
        code = DISABLED if is_off else status_of(record or Record(key), was_judged)
        counts[code] += 1
        is_in_the_way = record is not None and code in IN_THE_WAY
        if code not in _STATUSES and not is_in_the_way:
            # There is no result of it.
            continue
        status = record.status if record and is_in_the_way else Status(code)
        # What is in the way tells it.
        severity = 0 if is_in_the_way else _SEVERITIES.get(status, 0)
        samples["checker_job_status"].append((labels, STATUS_NUMBERS[status]))
        samples["checker_job_severity"].append((labels, severity))
        if record is not None and record.since is not None:
            since = record.since.timestamp()
            samples["checker_job_failing_since_timestamp_seconds"].append(
                (labels, since)
            )
        if record is not None and record.held is not None:
            held = (*labels, record.held.value)
            samples["checker_job_held"].append((held, 1))
        last, zone = facts.latest.get(key), facts.settings.zone
        at = checked_at(key, record or Record(key), entry, last, facts.run, zone)
        if at is not None:
            samples["checker_job_last_check_timestamp_seconds"].append(
                (labels, at.timestamp())
            )
        if last is not None:
            samples["checker_job_duration_seconds"].append((labels, last.seconds))
        for name, value in facts.values.get(key, {}).items():
            number = value.number
            if value.unit is Unit.PERCENT:
                number /= 100
            samples[_VALUE_NAMES[value.unit]].append(((*labels, name), number))
    samples["checker_jobs"] = [((code,), number) for code, number in counts.items()]
    return samples


def _labels(facts: Facts) -> Iterator[tuple[JobKey, tuple[str, str]]]:
    """Yield what counts as a job, and its labels: its name and kind."""
    keys = counted_jobs(facts.catalog, facts.records)
    known = {key: entry.name for key, entry in facts.catalog.items()}
    names = {key: known.get(key) or facts.records[key].name for key in keys}
    times = Counter(names.values())
    for key in keys:
        # Two files may have a job of the same name.
        name = names[key] if times[names[key]] == 1 else ""
        yield key, (name or str(key), key.kind)


def _escaped(text: str) -> str:
    """Return a label's text: backslash, quote and line feed are escaped."""
    clean = harmless(text)
    return clean.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(number: float) -> str:
    return str(int(number)) if number == int(number) else repr(float(number))

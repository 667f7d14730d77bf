"""From what a worker reports of a job to its record, its messages and its decision.

A worker has decided with ``policy.decide``, and says what a hook sent.  Here the
default mail is composed where none was sent, and ``policy.advance`` makes the record to
keep.  Wrong sections and refused job files are failing jobs of their name, which no
worker reports: alerted once, OK again when they are corrected.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, TypeGuard

from msgspec.structs import replace

from lib.config.sections import title_of
from lib.core import health, policy, schedule
from lib.core.enums import (
    Decision,
    JobFailureNotificationFrequency,
    MessageKind,
    Status,
)
from lib.core.jobs import (
    KIND_FILES,
    NEVER_FLAPPING,
    SETTINGS_KEY,
    CatalogEntry,
    Job,
    JobKey,
    Policy,
)
from lib.core.messages import Message, fit_mail
from lib.core.records import Record, RunRecord
from lib.core.results import CheckResult, JobReport, Timing
from lib.core.sanitize import fit
from lib.core.schedule import is_wanted
from lib.core.settings import MAIL, LastUsable, Problem, Settings
from lib.core.text import first_line, mail_time
from lib.runner.context import RunContext
from lib.runner.firstruns import MAX_FIRST_RUNS, to_run
from lib.runner.manager import Event, JobsMet, LostJob
from lib.runner.selection import note_loaded
from lib.system.errors import StateError

if TYPE_CHECKING:
    from lib.core.silences import Held

logger = logging.getLogger(__name__)

#: The most characters of a note of a job that is OK that are kept.
MAX_NOTE = 300


def take(ctx: RunContext, event: Event) -> None:
    """Keep what an event of the worker manager says."""
    if isinstance(event, JobReport):
        keep(ctx, event)
    elif isinstance(event, LostJob):
        judge(ctx, event.job, event.result)
    else:
        for warning in event.warnings:
            logger.warning("%s", warning)
        for problem in event.problems:
            if problem.warning:
                logger.warning("%s", problem)
        note_loaded(ctx, event.jobs, has_warnings=bool(event.warnings))
        ctx.loaded.update(job.key.file for job in event.jobs if job.key.is_file)
        ctx.loaded.difference_update(event.partial)
        ctx.partial.update(event.partial)
        for job in event.jobs:
            ctx.met[job.key] = job
            if before := ctx.session.meet(job):
                from lib.core import decisions

                ctx.audit_log.note([decisions.renamed(job, before, ctx.now())])
        _start_first_runs(ctx, event)


def _start_first_runs(ctx: RunContext, met: JobsMet) -> None:
    """Run the jobs that no run has met before, as many as one run may."""
    left = MAX_FIRST_RUNS - len(ctx.first_runs)
    # The run of -m check is of just the jobs that it names.
    if left <= 0 or ctx.only is not None:
        return
    new = islice(to_run(ctx.known_jobs, met.jobs, met.wanted), left)
    chosen = {job.key: job for job in new}
    if chosen:
        ctx.first_runs.update(chosen)
        ctx.workers.run_also(chosen)


#: The network may need so many seconds after a boot.
SETTLES_S = 120.0


def may_be_out_of_reach(event: Event, ctx: RunContext) -> TypeGuard[JobReport]:
    """Return whether a result has to wait for what else the run finds.

    It says something only if its target could be reached, or it follows from others.
    """
    if not isinstance(event, JobReport):
        return False
    job, status = event.job, event.result.status
    if job.rule is not None and not job.is_own:
        return True
    if job.depends:
        # Also where it is OK: what it names may be no job.
        return not job.is_own
    if status is Status.OK or not may_be_the_network(event):
        return False
    return bool(ctx.settings.anchors or ctx.since_boot() < SETTLES_S)


def may_be_the_network(report: JobReport) -> bool:
    """Return whether what a report says may be due to this machine's network.

    A failure may be, and one attempt of several, such as at a peer that is silent.
    A job that may be pending for ever waits for something else.
    """
    job, status = report.job, report.result.status
    is_attempt = status is Status.PENDING and job.policy.pending_limit_s > 0
    return job.is_across_network and (status.is_failure or is_attempt)


def judge(ctx: RunContext, job: Job, result: CheckResult) -> None:
    """Decide about a result that no worker reported, and keep it."""
    record, now = ctx.session.record_of(job), ctx.now()
    held = ctx.silences.code(job, now) if ctx.silences is not None else None
    decision, memory = policy.decide(record, result, job.policy, now, held), None
    if job.key == SETTINGS_KEY:
        decision = policy.settings_decision(record, decision, now)
        memory = policy.settings_memory(decision, now)
    report = JobReport(job, result, decision, default_mail=decision.notifies)
    keep(ctx, replace(report, memory=memory))


def put_off(ctx: RunContext, lost: LostJob) -> None:
    """Leave a job to the next minute run, because this one has no time left.

    Once it is pending, as after a reboot; the second time it is unknown.
    """
    twice = ctx.session.record_of(lost.job).pending and not ctx.stop.asked
    status = Status.UNKNOWN if twice else Status.PENDING
    judge(ctx, lost.job, replace(lost.result, status=status))


def keep(ctx: RunContext, report: JobReport) -> None:
    """Keep the record that follows from a report, with the messages that it queues."""
    job, now = report.job, ctx.now()
    ctx.met[job.key] = job
    ctx.consumed += report.consumed
    # As nearly all jobs in nearly all runs.
    is_as_ever = (
        policy.says_only_ok(report)
        and not report.default_mail
        and ctx.session.has_nothing_of(job)
    )
    if not is_as_ever:
        report = _keep_record(ctx, report, now)
    if ctx.only is not None:
        ctx.reports.append(report)
    if not (job.is_own and report.decision is Decision.OK):
        is_set_up = is_as_ever or not ctx.session.record_of(job).is_not_set_up
        _note_result(ctx, report, now, is_set_up=is_set_up)


def _keep_record(ctx: RunContext, report: JobReport, now: datetime) -> JobReport:
    """Keep what is to be remembered of a job; return its report with its messages."""
    from lib.core import decisions

    before = ctx.session.record_of(report.job)
    if report.messages or report.default_mail:
        report = replace(report, messages=_messages(ctx, report, before, now))
    after = policy.advance(before, report, now)
    after = replace(after, first_bad_at=_first_bad_at(ctx, before, after))
    if held := _held(ctx, report, after, now):
        after = replace(after, held_by=held.by, held_why=held.why)
    ctx.session.keep(after)
    ctx.audit_log.note(decisions.judged(report, before, after, now, held))
    return report


def _first_bad_at(ctx: RunContext, before: Record, after: Record) -> datetime | None:
    """Return when the run began that first found a job not OK; None if it is OK."""
    if after.since is None:
        return None
    return ctx.began_at if before.since is None else before.first_bad_at


def _note_result(
    ctx: RunContext, report: JobReport, now: datetime, *, is_set_up: bool
) -> None:
    """Note what a check found: for people, for the next run, and for history."""
    job, result = report.job, report.result
    ctx.judged[job.key] = result.status
    if is_set_up:
        _note_for_history(ctx, report, now)
    if result.values:
        ctx.measured.add(job.key, result.values)
    if result.status is Status.OK and result.reason:
        ctx.notes[job.key] = fit(
            first_line(result.reason), ctx.settings.secrets, MAX_NOTE
        )
    if ctx.timings is not None:
        ctx.timings.append(Timing(job.key, job.name, result.seconds, now))
    if logger.isEnabledFor(logging.INFO):
        from lib.core import decisions

        words = decisions.words(result.status, report.decision)
        reason = first_line(result.reason)
        logger.info("%s: %s", job.name, f"{words}: {reason}" if reason else words)


def _note_for_history(ctx: RunContext, report: JobReport, now: datetime) -> None:
    """Note a result, which ``run.close`` appends to the history."""
    if ctx.results is None:
        from lib.storage.historyrows import Results

        ctx.results = Results()
    job, result = report.job, report.result
    code: Decision | None = report.decision if report.decision.holds_back else None
    if code is None and ctx.silences is not None:
        # A maintenance window counts for what is OK too.
        code = ctx.silences.code(job, now)
    reason = result.reason
    if reason:
        from lib.storage.historyrows import MAX_REASON

        reason = fit(first_line(reason), ctx.settings.secrets, MAX_REASON)
    ran_apart = (
        bool(job.recheck)
        and result.status.is_failure
        and not schedule.is_due(job.schedule, job.key, ctx.due)
    )
    ctx.results.add(job, code or "", result, reason, ran_apart=ran_apart)


def _held(
    ctx: RunContext, report: JobReport, after: Record, now: datetime
) -> Held | None:
    """Return what holds the alerts of a job back, if that is the decision."""
    if not report.decision.holds_back:
        return None
    from lib.core.silences import Held, Silences

    if report.held_by:
        return Held(report.decision, report.held_by)
    job = report.job
    silences = ctx.silences or Silences()
    return silences.holding_record(after, job.name, job.tags, now)


def _messages(
    ctx: RunContext, report: JobReport, before: Record, now: datetime
) -> tuple[Message, ...]:
    """Return what a report queues: what the job sent, and the default mail."""
    from lib.alerting.templates import MailContext, compose

    settings, message_id = ctx.settings, os.urandom(16).hex()
    job = replace(report.job, dependents=_dependents(ctx, report))
    report = replace(report, job=job)
    facts = tuple(_facts(ctx, report, now))
    context = MailContext(now, settings.zone, settings.command, facts)
    mails = compose(report, before, message_id, context)
    when = report.job.policy.when
    return tuple(
        replace(
            fit_mail(mail, settings.secrets),
            when=when,
            dependents=job.dependents if mail.kind in _OF_TROUBLE else 0,
        )
        for mail in mails
    )


_OF_TROUBLE = (MessageKind.ALERT, MessageKind.REMINDER)


def _facts(ctx: RunContext, report: JobReport, now: datetime) -> Iterator[str]:
    """Yield the lines of an alert about the last 24 hours, and about the job's page."""
    from lib.alerting.templates import fact_line, page_line

    settings, job, result = ctx.settings, report.job, report.result
    if result.status is Status.OK or job.is_own:
        return
    if ctx.trends_left > 0 and any(one.is_outside for one in result.values.values()):
        from lib.report import glance
        from lib.storage.history import History

        ctx.trends_left -= 1
        try:
            history = History(settings.state, settings.zone)
            words = glance.trend(history, job.key, result.values, now)
        except (OSError, ValueError, LookupError, StateError) as error:
            # The alert counts; what it shows beside its reason does not.
            logger.warning("%s: its history cannot be read: %s", job.name, error)
            words = ""
        if words:
            yield fact_line("Last 24 hours", words)
    yield from page_line(settings, job.key)


def _dependents(ctx: RunContext, report: JobReport) -> int:
    """Return how many jobs are unreachable while this one is failing."""
    # A section that is wrong says nothing of whether it can be reached.
    is_judged = report.result.status.is_failure and not report.job.is_own
    if not (is_judged and ctx.has_depends):
        return 0
    return ctx.dependencies().dependents(report.job.key)


# What no worker reports.


def stand_ins(settings: Settings) -> Iterator[tuple[Job, CheckResult]]:
    """Yield a failing job for each wrong section and each refused job file.

    And one for the settings as a whole, if they cannot be used.
    """
    if settings.last_usable is not None:
        job = _stand_in(SETTINGS_KEY, settings.path.name, settings)
        yield job, _unusable(settings.last_usable, settings)
    by_section: dict[str, list[Problem]] = {}
    for problem in settings.problems:
        if not problem.warning:
            by_section.setdefault(problem.section, []).append(problem)
    for section, problems in by_section.items():
        reason = "\n".join(str(problem) for problem in problems)
        name = section if " " in section else _place(settings, section)
        job = _stand_in(section_key(section), name, settings)
        yield job, CheckResult(Status.FAILING, reason)
    for file in settings.job_files:
        if file.refused:
            key, path = JobKey.of_refused_file(file.path), str(file.path)
            job = Job.stand_in(key, f"{file.name}.py", path, settings.alertcontact)
            yield job, CheckResult(Status.FAILING, file.refused)


def mended(
    settings: Settings, records: Iterable[Record]
) -> Iterator[tuple[Job, CheckResult]]:
    """Yield the stand-ins on record that are no longer needed, as OK.

    A section or a file that is not there any more is not OK: see
    ``lib/runner/absence.py``.  Nor is a section while earlier settings are in use:
    their copy does not show whether an include is there.
    """
    is_copy = settings.last_usable is not None
    records = [
        record
        for record in records
        if record.status is not Status.OK
        and (record.key.is_refused_file or (record.key.is_section and not is_copy))
    ]
    if not records:
        return
    broken = {job.key for job, _result in stand_ins(settings)}
    there = {JobKey.of_section(title) for title in titles_of(settings)}
    there.update(JobKey.of_refused_file(file.path) for file in settings.job_files)
    for record in records:
        if record.key in there and record.key not in broken:
            job = _stand_in(record.key, record.name, settings)
            yield job, CheckResult(Status.OK)


def escalate(ctx: RunContext) -> None:
    """Queue an alert to whom what is failing for long is escalated."""
    from lib.alerting import routing
    from lib.alerting.templates import MailContext, escalation_message
    from lib.core import decisions

    settings, now = ctx.settings, ctx.now()
    context = MailContext(now, settings.zone, settings.command)
    for record in list(ctx.session.records.values()):
        when = _when_of(ctx, record.key)
        names = routing.escalations(record, settings.channels, now, settings.zone, when)
        if not names:
            continue
        message = escalation_message(os.urandom(16).hex(), record, names, context)
        # The recovery belongs to it: its thread is that of the first alert.
        message = replace(
            fit_mail(message, settings.secrets),
            origin=record.thread or "",
            when=when,
            shared_with=routing.people_of(record.notified, settings.channels),
        )
        people = routing.people_of(names, settings.channels)
        queued = routing.shared(record.queued, message.origin, people)
        ctx.session.keep(
            replace(
                record,
                queued=(*queued, message),
                notified=(*record.notified, *names),
            )
        )
        ctx.audit_log.note([decisions.queued(record.key, record.name, message, now)])


def _when_of(ctx: RunContext, key: JobKey) -> str:
    """Return when messages of a job may leave; empty: always."""
    job = ctx.met.get(key) or ctx.catalog.get(key)
    return job.policy.when if job else ""


def failing_ways(ctx: RunContext) -> Iterator[tuple[Job, CheckResult]]:
    """Yield a failing job for each way that has failed for long, and the OK of others.

    A way is mail or that of a channel.  The alert leaves by the others.  Where none is
    left there is no alert, for it would arrive when all is over: health says it, and
    each message that is late says why.
    """
    failing = health.stuck_ways(ctx.run.failing_ways, ctx.began_at)
    others = _by_others(ctx.settings, failing)
    contact = others or ctx.settings.alertcontact
    for way, since in failing.items():
        if not others and JobKey.of_way(way) not in ctx.session.records:
            continue
        at = mail_time(since.since, ctx.settings.zone)
        reason = f"nothing could be sent since {at}: {since.why}"
        result = CheckResult(Status.FAILING, reason, since=since.since)
        yield _way(ctx, way, contact), result
    for record in list(ctx.session.records.values()):
        way = record.key.identity
        if not record.key.is_way or _is_gone(ctx, way):
            continue
        if record.since and way not in ctx.run.failing_ways:
            yield _way(ctx, way, contact), CheckResult(Status.OK)


def _is_gone(ctx: RunContext, way: str) -> bool:
    from lib.alerting import routing

    return way != MAIL and routing.is_gone(way, ctx.settings.channels)


def _way(ctx: RunContext, way: str, contact: tuple[str, ...]) -> Job:
    name = way if way == MAIL else f"channel {way}"
    job = Job.stand_in(JobKey.of_way(way), name, str(ctx.settings.path), contact)
    return replace(job, check_now="testmail" if way == MAIL else "")


def _by_others(settings: Settings, failing: Collection[str]) -> tuple[str, ...]:
    """Return whom to notify of ways that fail, by other ways; nobody if none is left.

    It is alertcontact by the other ways, or else all other channels.
    """
    names = {way.partition("/")[0] for way in failing}
    others = tuple(
        to for to in settings.alertcontact if (MAIL if "@" in to else to) not in names
    )
    usable = tuple(
        name
        for name, channel in settings.channels.items()
        if name not in names and not channel.problem
    )
    return others or usable


def mend(ctx: RunContext, record: Record) -> None:
    """Judge a stand-in that is no longer needed as OK."""
    job = _stand_in(record.key, record.name, ctx.settings)
    judge(ctx, job, CheckResult(Status.OK))


def settings_record(ctx: RunContext) -> Record | None:
    """Return the record of settings that this run could not use."""
    if ctx.settings.last_usable is None:
        return None
    return ctx.session.records.get(SETTINGS_KEY)


def titles_of(settings: Settings) -> set[str]:
    """Return the titles of all sections as stand-ins have them, and that of all."""
    return {"", *map(title_of, settings.ini)}


def section_key(section: str) -> JobKey:
    """Return the key of the job a section is about, or of the section itself."""
    file = KIND_FILES.get(section.partition(" ")[0])
    return JobKey(file, section) if file else JobKey.of_section(section)


#: While the settings cannot be used people are reminded.  They are OK in the next run:
#: ``policy.settings_decision`` keeps those that are broken again and again to an alert
#: an hour.
SETTINGS_POLICY = Policy(
    JobFailureNotificationFrequency.EVERYHOUR,
    notifies_recovery=True,
    flapping=NEVER_FLAPPING,
)


def _unusable(in_use: LastUsable, settings: Settings) -> CheckResult:
    """Return the result of settings that cannot be used."""
    reason = "\n".join(map(str, in_use.problems))
    output = (
        "Runs go on with the settings that could last be used, those of\n"
        f"{mail_time(in_use.at, settings.zone)}; they are copied in\n"
        f"{in_use.path}.\n"
        "What was changed since then has no effect until this is corrected.  After 15\n"
        "minutes peers are told JobProblem."
    )
    return CheckResult(Status.FAILING, reason, output)


def _place(settings: Settings, section: str) -> str:
    return f"{settings.path.name} [{section}]" if section else settings.path.name


def _stand_in(key: JobKey, name: str, settings: Settings) -> Job:
    job = Job.stand_in(key, name, str(settings.path), settings.alertcontact)
    return replace(job, policy=SETTINGS_POLICY) if key == SETTINGS_KEY else job


# For the runs after this one.


def with_counts(run: RunRecord, ctx: RunContext) -> RunRecord:
    """Return run.json with how many jobs this run met, and found how."""
    records = ctx.session.records
    reached = [
        status
        for key, status in ctx.judged.items()
        if key not in records or not records[key].is_out_of_reach
    ]
    return replace(
        run,
        # A job that cannot be run has Checker's own in its place.
        jobs=len(
            [key for key, job in ctx.met.items() if not job.is_own or key in ctx.judged]
        ),
        ran=len(ctx.judged),
        failing=reached.count(Status.FAILING),
        unknown=reached.count(Status.UNKNOWN),
        warning=reached.count(Status.WARNING),
        pending=reached.count(Status.PENDING),
        unreachable=len(ctx.judged) - len(reached),
    )


def catalog_of(ctx: RunContext) -> dict[JobKey, CatalogEntry]:
    """Return the catalog to save: the jobs that this run met.

    A run of just some jobs adds no others: they are new to the next run as well.
    """
    before, only = ctx.catalog, ctx.only
    if ctx.catalog_now is None:
        ctx.catalog_now = {
            key: _entry(ctx, job)
            for key, job in ctx.met.items()
            if not job.is_own and (only is None or key in only or key in before)
        }
    return ctx.catalog_now


#: What an entry says as the job itself does.
_described = attrgetter(
    "name",
    "file",
    "schedule",
    "policy",
    "contact",
    "recheck",
    "enabled",
    "tags",
    "was",
    "depends",
    "rule",
)


def _entry(ctx: RunContext, job: Job) -> CatalogEntry:
    known = ctx.known_jobs
    before = known.entry_of(job)
    is_judged = before is not None and before.judged
    ran_at = before.ran_at if before is not None else None
    if job.key in ctx.judged and known.can_check(job):
        is_judged = True
        ran_at = ctx.began_at if _ran_apart(ctx, job) else ran_at
    if before is not None and (
        before.judged == is_judged
        and before.counts_as_judged == (not is_judged and not known.is_new(job))
        and before.ran_at is ran_at
        and _described(before) == _described(job)
    ):
        return before
    return CatalogEntry(
        job.name,
        job.file,
        job.schedule,
        job.policy,
        job.contact,
        job.recheck,
        judged=is_judged,
        counts_as_judged=not is_judged and not known.is_new(job),
        ran_at=ran_at,
        enabled=job.enabled,
        tags=job.tags,
        was=job.was,
        depends=job.depends,
        rule=job.rule,
        runbook=job.runbook,
        description=job.description,
    )


def _ran_apart(ctx: RunContext, job: Job) -> bool:
    """Return whether neither the schedule of a job nor its record says that it ran now.

    As in its first run, by -m check, or by the recheck that found it OK.
    """
    if job.schedule in ctx.due.frequencies:
        return False
    record = ctx.session.records.get(job.key) or Record(job.key)
    due = replace(ctx.due, asked=frozenset())
    return not is_wanted(job, record, due)

"""Whether a target that fails could be reached to be judged at all.

A job whose ``depends`` names one that is failing is unreachable.  If no anchor answers,
this machine is blind, and no network check says anything.  Just after a boot, neither
does.  Nobody is notified of such a job; it is checked again when that is over.

What a worker reports of such a job waits here until it is known.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import partial
from typing import Any

from msgspec.structs import replace

from lib.config.hints import nearest
from lib.config.targets import place_of_option
from lib.core import policy
from lib.core.dependencies import (
    HELD_WORDS,
    Dependencies,
    DependencyError,
    Look,
    NotThereError,
    Parent,
    last_status,
)
from lib.core.enums import Decision, MessageKind, Status
from lib.core.health import BLIND_AFTER
from lib.core.jobs import (
    NETWORK_KEY,
    OWN_KEY,
    Dependency,
    FailureRule,
    Job,
    JobKey,
    Policy,
)
from lib.core.messages import Message
from lib.core.records import Record
from lib.core.results import CheckResult, JobReport
from lib.core.schedule import is_recheck, last_run, ok_by_record
from lib.core.settings import Problem, Settings
from lib.core.text import counted, first_line, mail_time
from lib.runner import results
from lib.runner.context import Reach, RunContext
from lib.storage.store import last_runs
from lib.system import process
from lib.system.process import Emit

logger = logging.getLogger(__name__)


def reach_of(ctx: RunContext) -> Reach:
    """Return what this run knows of what can be reached."""
    if ctx.reach is None:
        ctx.reach = Reach()
    return ctx.reach


# Each event.


def take(ctx: RunContext, report: JobReport) -> None:
    """Have a report of a worker wait for ``go_on``."""
    reach_of(ctx).new.append(report)
    if results.may_be_the_network(report):
        ask_anchors(ctx)


def go_on(ctx: RunContext, *, is_last: bool = False) -> None:
    """Judge the reports whose way is known by now; with ``is_last``, all of them."""
    reach = reach_of(ctx)
    _read_answer(ctx, is_last=is_last)
    reach.unjudged.update(report.job.key for report in reach.new)
    ready, reach.new = [*reach.new, *_released(ctx, is_last=is_last)], []
    while ready:
        for report in ready:
            awaited = _awaited(ctx, report, is_last=is_last)
            if awaited is not None:
                reach.waiting.setdefault(awaited, []).append(report)
                continue
            reach.unjudged.discard(report.job.key)
            results.keep(ctx, _judged(ctx, report))
        ready = _released(ctx, is_last=is_last)


def _released(ctx: RunContext, *, is_last: bool) -> list[JobReport]:
    """Return the reports, no longer waiting, of which something new is known."""
    waiting = reach_of(ctx).waiting
    return [
        report
        for awaited in list(waiting)
        if not _is_open(ctx, awaited, is_last=is_last)
        for report in waiting.pop(awaited)
    ]


#: What reports wait for whose parents are not met yet: that all files are loaded.
_LOADING = OWN_KEY
#: What the reports of groups wait for: that all workers are done.
_RESULTS = JobKey.of_section("results")


def _awaited(
    ctx: RunContext, report: JobReport, *, is_last: bool = False
) -> JobKey | None:
    """Return what is to be known before a report is judged; None: nothing.

    It is a parent, this machine's network, or what jobs there are.
    """
    job = report.job
    if results.may_be_the_network(report):
        if _is_open(ctx, NETWORK_KEY, is_last=is_last):
            return NETWORK_KEY
    if job.rule is not None and _is_open(ctx, _RESULTS, is_last=is_last):
        return _RESULTS
    if not (job.depends or job.rule):
        return None
    known = ctx.dependencies()
    try:
        # Those that depend on one another would wait for one another.
        known.check(job.key)
        if not _counts_on_parents(report):
            return None
        ends = partial(_is_judged, ctx)
        parents = [*known.ancestors(job.key, ends), *known.members(job.key)]
    except DependencyError:
        # A name may be that of a job that is not met yet.
        parents = [_LOADING]
    return next((key for key in parents if _is_open(ctx, key, is_last=is_last)), None)


def _counts_on_parents(report: JobReport) -> bool:
    """Return whether how its parents are changes what is decided about a report."""
    status = report.result.status
    if status.is_failure or status is Status.WARNING or report.job.rule is not None:
        return True
    return results.may_be_the_network(report)


def _is_open(ctx: RunContext, awaited: JobKey, *, is_last: bool) -> bool:
    """Return whether what reports wait for is not known yet, and may be soon.

    With ``is_last`` nothing more comes, but parents are still judged before children.
    """
    if awaited == NETWORK_KEY:
        return reach_of(ctx).child is not None
    if awaited == _LOADING:
        return not (is_last or ctx.workers.have_loaded)
    if awaited == _RESULTS:
        return not (is_last or ctx.workers.is_done)
    if awaited in ctx.judged:
        return False
    if awaited in reach_of(ctx).unjudged:
        return True
    return not is_last and ctx.workers.may_report(awaited)


def _judged(ctx: RunContext, report: JobReport) -> JobReport:
    """Return a report as it is to be kept, now that its way is known."""
    job = report.job
    has_parents = bool(job.depends)
    if has_parents or job.rule is not None:
        try:
            ctx.dependencies().check(job.key)
        except NotThereError as error:
            if _are_names_known(ctx, job):
                return _with_problem(ctx, report, error)
            # The one meant may be in a job file that cannot be loaded now.
            if job.rule is not None:
                return _not_made(report, f"not all of its jobs are known: {error}")
            has_parents = False
        except DependencyError as error:
            return _with_problem(ctx, report, error)
    if job.rule is not None:
        report = _by_rule(ctx, report)
        if report.result.status in (Status.OK, Status.PENDING):
            return report
    if results.may_be_the_network(report):
        reach = reach_of(ctx)
        if reach.silent:
            return _blind(ctx, report, reach.silent)
        if reach.is_cut_short:
            return _not_made(report, "the run had to end before an anchor answered")
        if _is_settling(ctx):
            since = f"this machine started {ctx.since_boot():.0f} s ago"
            return _not_made(report, since)
    if has_parents and _counts_on_parents(report):
        return _behind_parents(ctx, report)
    return report


def _are_names_known(ctx: RunContext, job: Job) -> bool:
    """Return whether a name that no job has is wrong, and not that of one to come."""
    if not (ctx.is_discovery_whole and ctx.workers.have_loaded):
        return False
    if ctx.only is None:
        return True
    # A check of some jobs loads not all files.  If it is wrong, runs have said so.
    return job.rule is None and last_status(ctx.session.record_of(job)).is_failure


def _by_rule(ctx: RunContext, report: JobReport) -> JobReport:
    """Return the report of a group as follows from its members."""
    if report.result.status is not Status.OK:
        return report
    if ctx.stop.asked:
        return _not_made(report, "the run had to end early")
    from lib.runner import groups

    known = groups.Known(
        ctx.met,
        ctx.catalog,
        ctx.session.record_of,
        ctx.run,
        ctx.judged,
        ctx.silences,
        ctx.settings.zone,
    )
    found = groups.found(known, ctx.dependencies(), report.job, ctx.now())
    result = replace(report.result, status=found.status, reason=found.reason)
    report = _decided(ctx, report, result)
    if found.way is None:
        return report
    return _held_back(report, found.way, first_line(found.reason))


def _behind_parents(ctx: RunContext, report: JobReport) -> JobReport:
    """Return a report as unreachable, if a parent is failing."""
    parents = list(_failing_parents(ctx, report.job))
    if parents:
        words = "; ".join(parent.words(ctx.now()) for parent in parents)
        return _held_back(report, Decision.UNREACHABLE, words)
    return report


def _failing_parents(ctx: RunContext, job: Job) -> Iterator[Parent]:
    """Yield the parents that are failing.

    In the place of one of which this run knows no more than that it was OK, such as one
    that is not due or is switched off, stand its own parents.
    """
    last, zone = last_runs(ctx.run), ctx.settings.zone
    found: dict[JobKey, Parent] = {}

    def look(key: JobKey, dependency: Dependency) -> Look:
        parent, record = _parent(ctx, key), ctx.session.records.get(key)
        if parent is not None and parent.holds(dependency):
            found[key] = parent
            return Look(is_failing=True, since=record.since if record else None)
        if _is_judged(ctx, key):
            return Look()
        ok_at = ok_by_record(key, ctx.catalog.get(key), record, last, zone)
        return Look(is_open=True, ok_at=ok_at)

    for key in ctx.dependencies().failing(job.key, look):
        yield found[key]


def _is_judged(ctx: RunContext, key: JobKey) -> bool:
    """Return whether this run knows by itself how a job is."""
    return ctx.judged.get(key, Status.PENDING) is not Status.PENDING


def _parent(ctx: RunContext, key: JobKey) -> Parent | None:
    """Return how a parent is; None if it is not checked, or cannot be."""
    job = ctx.met.get(key)
    entry = ctx.catalog.get(key)
    known = job or entry
    if job is not None and job.is_own or known is not None and not known.enabled:
        return None
    record = ctx.session.records.get(key, Record(key))
    name = job.name if job else entry.name if entry else record.name
    tags = job.tags if job else entry.tags if entry else ()
    status = ctx.judged.get(key)
    at = None
    if status is None or status is Status.PENDING:
        status, at = last_status(record), _judged_at(ctx, job, record)
    held = None
    if ctx.silences is not None:
        held = ctx.silences.holding(key, name, tags, ctx.now())
    words = HELD_WORDS.get(held.code, "") if held else ""
    return Parent(name, status, at, words, record.in_the_way)


def _judged_at(ctx: RunContext, job: Job | None, record: Record) -> datetime | None:
    entry = ctx.catalog.get(record.key)
    if job is None or entry is None:
        return record.since
    last = last_runs(ctx.run)
    return last_run(job, record, entry.ran_at, last, ctx.settings.zone) or record.since


def _held_back(report: JobReport, why: Decision, by: str) -> JobReport:
    """Return a report without its alert; what the job sends beside it stays."""
    decision = policy.out_of_reach(report.decision, why)
    if not decision.is_about_the_way:
        return report
    return _without_alert(report, decision=decision, held_by=by)


def _without_alert(report: JobReport, **changes: Any) -> JobReport:
    """Return a report with these changes and without its alert."""
    return replace(
        report,
        messages=_of_its_own_accord(report),
        default_mail=False,
        hook_trouble="",
        **changes,
    )


def _of_its_own_accord(report: JobReport) -> tuple[Message, ...]:
    return tuple(
        message for message in report.messages if not message.kind.is_about_trouble
    )


def _blind(ctx: RunContext, report: JobReport, silent: dict[str, str]) -> JobReport:
    """Return a report as unknown, since nothing elsewhere can be reached.

    What the job has noted does not count either, such as how often a peer was silent.
    """
    found = first_line(report.result.reason)
    reason = f"this machine is blind, {silent_words(silent)}; the check said: {found}"
    result = replace(report.result, status=Status.UNKNOWN, reason=reason)
    since = ctx.run.blind_since or ctx.began_at
    words = f"no anchor answers since {mail_time(since, ctx.settings.zone)}"
    report = replace(report, result=result, memory=None)
    if report.decision is Decision.PENDING:
        return _without_alert(report, decision=Decision.BLIND, held_by=words)
    return _held_back(report, Decision.BLIND, words)


def _not_made(report: JobReport, why: str) -> JobReport:
    """Return a report as not yet made: whether there is a network is about to show."""
    reason = f"{why}; the check said: {first_line(report.result.reason)}"
    result = replace(report.result, status=Status.PENDING, reason=reason)
    return _without_alert(report, result=result, decision=Decision.PENDING, memory=None)


def _with_problem(
    ctx: RunContext, report: JobReport, error: DependencyError
) -> JobReport:
    """Return a report as failing, because its ``depends`` cannot be used.

    What is wrong with its target is said as well.
    """
    problem = _problem(ctx.settings, report.job, ctx.dependencies(), error)
    found, reason = report.result, str(problem)
    if found.reason and found.status is not Status.OK:
        reason = f"{reason}; the check said: {first_line(found.reason)}"
    return _decided(ctx, report, CheckResult(Status.FAILING, reason))


def _decided(ctx: RunContext, report: JobReport, result: CheckResult) -> JobReport:
    """Return a report with another result, and what is decided about that."""
    job, now = report.job, ctx.now()
    before = ctx.session.record_of(job)
    result = policy.limited(before, result, job.policy, now)
    held = ctx.silences.code(job, now) if ctx.silences else None
    decision = policy.decide(
        before,
        result,
        job.policy,
        now,
        held,
        is_recheck=is_recheck(job, before, ctx.due),
    )
    return replace(
        report,
        result=result,
        decision=decision,
        messages=_of_its_own_accord(report),
        default_mail=decision.notifies,
    )


def problems(settings: Settings, jobs: Iterable[Job]) -> Iterator[Problem]:
    """Yield what is wrong with ``depends``, ``of`` and the anchors; these are asked."""
    by_key = {job.key: job for job in jobs}
    known = Dependencies(by_key)
    for key, job in by_key.items():
        try:
            known.check(key)
        except DependencyError as error:
            yield _problem(settings, job, known, error)
    if settings.anchors:
        from lib.net.anchors import answers
        from lib.net.connect import shown_address

        where, found = settings.ini.where("general", "anchors"), settings.anchors
        for anchor, why in sorted(answers(found), key=lambda one: found.index(one[0])):
            if why:
                text = f"anchors: {shown_address(anchor)} does not answer: {why}"
                yield Problem(text, where, "general", warning=True)


def _problem(
    settings: Settings, job: Job, known: Dependencies, error: DependencyError
) -> Problem:
    others = [name for name in known.names if name != job.name]
    text = error.with_hint(lambda name: nearest(name, others))
    where = place_of_option(settings.ini, job.name, error.option)
    return Problem(f"{error.option}: {text}", where, job.name)


# This machine's network.


#: A minute without network is told afterwards; from here on it is an alert.
_POLICY = Policy(failures=FailureRule(seconds=BLIND_AFTER.total_seconds()))


def ask_anchors(ctx: RunContext) -> None:
    """Ask the anchors, if there are any, once in a run."""
    reach, anchors = reach_of(ctx), ctx.settings.anchors
    if not anchors or reach.child is not None or reach.silent is not None:
        return

    def ask(emit: Emit) -> None:
        from lib.net.anchors import why_silent

        emit(why_silent(anchors))

    try:
        reach.child = process.start(ask)
    except OSError:
        # Our own trouble: nothing is known of the network.
        reach.silent = {}


def look_again(ctx: RunContext) -> None:
    """Ask the anchors at once: this machine was blind, or the last run had no time."""
    ask_anchors(ctx)
    if not ctx.settings.anchors:
        see_again(ctx)


def _read_answer(ctx: RunContext, *, is_last: bool) -> None:
    reach = reach_of(ctx)
    if reach.child is None:
        return
    has_ended = reach.child.has_ended()
    answers = list(reach.child.frames())
    if not (answers or has_ended or is_last):
        return
    reach.child.end()
    reach.child = None
    reach.is_cut_short = not (answers or has_ended)
    reach.silent = answers[0] if answers and isinstance(answers[0], dict) else {}
    if reach.silent and ctx.run.blind_since is None and _is_settling(ctx):
        # Nothing is blind that has not looked yet.
        reach.silent = {}
    elif reach.silent:
        _go_blind(ctx, reach.silent)
    elif answers:
        see_again(ctx)


def _is_settling(ctx: RunContext) -> bool:
    return ctx.since_boot() < results.SETTLES_S


def _go_blind(ctx: RunContext, silent: dict[str, str]) -> None:
    since = ctx.run.blind_since or ctx.began_at
    ctx.run = replace(ctx.run, blind_since=since)
    reason = f"this machine is blind: {silent_words(silent)}"
    output = "\n".join(
        (
            *(f"{anchor}: {why}" for anchor, why in silent.items()),
            "",
            "Nothing elsewhere can be reached, so network checks are unknown, and",
            "nobody is notified of them.  Is it the cable, the route, the name server?",
        )
    )
    result = CheckResult(Status.FAILING, reason, output, since=since)
    results.judge(ctx, _network(ctx.settings), result)


def see_again(ctx: RunContext) -> None:
    """Say from when until when this machine was blind, if it was.

    What could not be sent meanwhile is tried at once: no alert is due about that.
    """
    since, now = ctx.run.blind_since, ctx.now()
    if since is None:
        return
    reach_of(ctx).sees_since = now
    from lib.alerting.templates import blind_message

    ctx.run = replace(ctx.run, blind_since=None)
    job = _network(ctx.settings)
    before = ctx.session.record_of(job)
    result = CheckResult(Status.OK)
    decision = policy.decide(before, result, job.policy, now)
    kind = MessageKind.RECOVERY if decision.notifies else MessageKind.NOTE
    message = blind_message(
        os.urandom(16).hex(),
        kind,
        since,
        before.notified or ctx.settings.alertcontact,
        now,
        ctx.settings.zone,
        before.thread,
    )
    results.keep(ctx, JobReport(job, result, decision, (message,)))


def _network(settings: Settings) -> Job:
    job = Job.stand_in(
        NETWORK_KEY, "network", str(settings.path), settings.alertcontact
    )
    return replace(job, policy=replace(_POLICY, flapping=job.policy.flapping))


def silent_words(silent: dict[str, str]) -> str:
    """Return which anchors do not answer: ``none of 2 anchors answers (a:1, b:2)``."""
    names = ", ".join(list(silent)[:3]) + ", ..." * (len(silent) > 3)
    if len(silent) == 1:
        return f"its anchor {names} does not answer"
    return f"none of its {counted(len(silent), 'anchor')} answers ({names})"

"""Calls ``execute`` and the hooks of one job.

Whatever job code does becomes a value, a CheckResult or a HookResult.  Secrets are
removed and long texts are cut before a value leaves the worker.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from lib.core import encoding
from lib.core.encoding import builtins, convert
from lib.core.enums import Decision, Status
from lib.core.messages import KIND_OF, Message
from lib.core.policy import is_for_hooks
from lib.core.records import Record
from lib.core.results import CheckResult, Unit, Value, Values, judge
from lib.core.sanitize import fit, fit_end, scrubbed
from lib.core.secret import NO_SECRETS, Secrets
from lib.core.text import first_line, paragraphs, printed_part
from lib.plugins import base
from lib.plugins.discover import LoadedJob
from lib.plugins.errors import (
    REASON_TEXT_LENGTH,
    TRACEBACK_LENGTH,
    described,
    formatted,
    shown,
    text_of,
)
from lib.plugins.target import TargetJob
from lib.system.process import MAX_PRINTED
from lib.workers.output import KeptOutput

#: The most of what a failure is about, which goes into titles.
SUBJECT_LENGTH = 300
MAX_ADDRESSES = 20
#: The most bytes of a job's memory as JSON; it is read in every run.
MAX_MEMORY = 64 * 1024
#: The most values of a job, how long the name of one may be, and how large the number.
MAX_VALUES = 50
MAX_VALUE_NAME = 60
MAX_NUMBER = 1e18


def execute(loaded: LoadedJob, record: Record) -> CheckResult:
    """Return the result of one execution of the job, with its duration."""
    started = time.monotonic()
    job = loaded.instance
    if job is None:
        status = Status.FAILING if loaded.problem else Status.OK
        result = CheckResult(status, loaded.problem, loaded.output)
    else:
        result = _result(job, lambda: equip(job, record).execute())
    return _finished(loaded, result, time.monotonic() - started)


def prepare(job: TargetJob) -> CheckResult | None:
    """Give a job its secrets for ``check_many``; return a result if it has none."""
    try:
        job.target = job._with_secrets()
    except base.CheckUnknown as unknown:
        return CheckResult(Status.UNKNOWN, _reason(unknown))
    except Exception as error:
        return CheckResult(Status.FAILING, described(error), formatted(error))
    return None


def finish(loaded: LoadedJob, outcome: object, seconds: float) -> CheckResult:
    """Return the result of a job that ``check_many`` has yielded."""
    job = loaded.instance
    assert isinstance(job, TargetJob)
    return _finished(loaded, _result(job, lambda: job._take(outcome)), seconds)


def only_ok(job: TargetJob, record: Record, outcome: object) -> Values | None:
    """Return the values of a job that ``check_many`` has yielded, if it is only OK.

    None: ``finish`` has more to say.  Of thousands of targets most are only OK.
    """
    own, context = vars(job), job._checker
    is_more = (
        type(outcome) is not dict
        or len(outcome) > MAX_VALUES
        or not record.is_default
        or "values" in own
        or "memory" in own
        or job.remark
        or context.invert
        or context.outgoing
        or context.consumed
    )
    if is_more:
        return None
    values: dict[Any, Any] = outcome  # type: ignore[assignment]  # as was asked above
    for name, value in values.items():
        if type(value) is not Value or not _is_plain(value) or not _is_name(name):
            return None
    return values


def _finished(loaded: LoadedJob, result: CheckResult, seconds: float) -> CheckResult:
    _memory, problem = memory_after(loaded)
    if problem and result.status is Status.OK:
        result = CheckResult(Status.FAILING, problem)
    return replace(result, seconds=round(seconds, 3))


def equip(job: base.JobBase, record: Record) -> base.JobBase:
    """Give a job what is remembered of it; return it."""
    context = job._checker
    if isinstance(job, TargetJob):
        # Until now it had that of others.
        context = job._checker = replace(context)
    context.record = record
    context.queued = record.queued
    context.round_trips = record.round_trips
    if record.memory and not job.truth_is_enough:
        # A copy, since it is compared with the original afterwards.
        job.memory = encoding.plain_memory(dict(record.memory))
    elif isinstance(job, TargetJob):
        # It has one where it asks for it.
        vars(job).pop("memory", None)
    elif not job.truth_is_enough:
        job.memory = {}
    return job


def _result(job: base.JobBase, call: Callable[[], object]) -> CheckResult:
    """Return what the job's code came to, whatever it does."""
    try:
        result = _result_of(job, call())
    except base.CheckFailed as failed:
        result = CheckResult(
            Status.FAILING,
            _reason(failed),
            cause=_text(failed.cause),
            host=_text(failed.host),
            addresses=tuple(map(_text, failed.addresses)),
            is_event=failed.event is True,
            ask_again=failed.ask_again is True,
        )
    except base.CheckWarning as warning:
        result = CheckResult(
            Status.WARNING, _reason(warning), is_event=warning.event is True
        )
    except base.CheckUnknown as unknown:
        return CheckResult(Status.UNKNOWN, _reason(unknown))
    except base.CheckPending as pending:
        return CheckResult(Status.PENDING, _reason(pending))
    except BaseException as error:  # noqa: B036  # SystemExit is a failure here
        return CheckResult(Status.FAILING, described(error), formatted(error))
    return _with_values(job, result)


def _with_values(job: base.JobBase, result: CheckResult) -> CheckResult:
    """Return a result with the job's values; if it is OK, they decide."""
    values: Mapping[str, Value] = {}
    # In a job file of the older manner the name is the author's own.
    if not job.truth_is_enough:
        try:
            values = checked_values(job.values)
        except BaseException as error:  # noqa: B036  # a __repr__ may raise anything
            problem = f"self.values cannot be used: {text_of(error)}"
            if result.status is Status.OK:
                return CheckResult(Status.FAILING, problem)
    if result.status is Status.OK:
        status, reason = judge(values, need_all=job._checker.need_all)
        if isinstance(job, TargetJob) and (note := job.note if reason else job.remark):
            reason = f"{reason}\n{note}" if reason else note
        result = CheckResult(status, reason, values=values)
    elif values:
        result = replace(result, values=values)
    return _inverted(result) if job._checker.invert else result


def _inverted(result: CheckResult) -> CheckResult:
    """Return OK for a failed check, and failing for one that found no failure."""
    if result.status is Status.FAILING:
        return CheckResult(Status.OK, values=result.values)
    reason = "the check is OK, and invert = yes asks that it fails"
    lines = "\n".join(filter(None, (reason, result.reason)))
    return CheckResult(Status.FAILING, lines, values=result.values)


def checked_values(values: object) -> Mapping[str, Value]:
    """Return what a job measured, a plain number as a count.

    Raise ValueError if it is no dict, if it is too large, or if a number is none.
    """
    if type(values) is not dict and not isinstance(values, Mapping):
        raise ValueError(f"expected a dict of values, not {shown(values)}")
    if len(values) > MAX_VALUES:
        raise ValueError(f"there are {len(values)} values; the limit is {MAX_VALUES}")
    return {_value_name(name): _value(name, value) for name, value in values.items()}


def _value_name(name: object) -> str:
    if not _is_name(name):
        raise ValueError(
            f"the name {shown(name)}: expected 1 to {MAX_VALUE_NAME} printable "
            "characters"
        )
    return str(name)


def _is_name(name: object) -> bool:
    return (
        isinstance(name, str) and name.isprintable() and 0 < len(name) <= MAX_VALUE_NAME
    )


def _value(name: object, value: object) -> Value:
    if type(value) is Value and _is_plain(value):
        return value
    number = value.number if isinstance(value, Value) else value
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise ValueError(f"{name}: expected a number, not {shown(number)}")
    # Not ``abs(number) > ...``, which would accept NaN.
    if not abs(number) <= MAX_NUMBER:
        raise ValueError(f"{name}: {shown(number)} is not a number that can be kept")
    if not isinstance(value, Value):
        return Value(number)
    return convert(builtins(value), Value)


def _is_plain(value: Value) -> bool:
    """Return whether a value can be kept as it is."""
    return (
        type(value.number) in (int, float)
        and abs(value.number) <= MAX_NUMBER
        and type(value.unit) is Unit
        and value.warn is value.fail is None
    )


def _result_of(job: base.JobBase, answer: object) -> CheckResult:
    if answer is True or (job.truth_is_enough and answer):
        return CheckResult(Status.OK)
    if answer is False or job.truth_is_enough:
        reason = f"execute returned {shown(answer)} without a reason"
        return CheckResult(Status.FAILING, reason)
    reason = f"execute returned {shown(answer)}, which is neither True nor False"
    return CheckResult(Status.FAILING, reason)


def _text(value: object) -> str:
    return value if type(value) is str else ""


def _reason(error: BaseException) -> str:
    return text_of(error) or "no reason given"


def memory_after(loaded: LoadedJob) -> tuple[dict[str, Any] | None, str]:
    """Return the job's memory, or None and why it cannot be kept."""
    job = loaded.instance
    if job is None or job.truth_is_enough:
        return None, ""
    if isinstance(job, TargetJob) and "memory" not in vars(job):
        return {}, ""
    try:
        return _plain_memory(job.memory), ""
    except BaseException as error:  # noqa: B036  # a __repr__ may raise anything
        return None, f"self.memory cannot be stored: {text_of(error)}"


def _plain_memory(memory: Any) -> dict[str, Any]:
    if type(memory) is dict and not memory:
        return {}
    kept = encoding.plain_memory(memory)
    if any(not isinstance(name, str) for name in memory):
        raise ValueError("a key is not a str")
    import json

    length = len(json.dumps(kept))
    if length > MAX_MEMORY:
        limit = MAX_MEMORY // 1024
        raise ValueError(f"it is {length // 1024} KB as JSON; the limit is {limit} KB")
    return kept


class HookResult(msgspec.Struct, frozen=True):
    """The result of calling onFailure or onStateChangeSuccess."""

    #: The messages that it sent about the failure or the recovery.
    messages: tuple[Message, ...] = ()
    #: It notified nobody, so the default mail goes out.
    default_mail: bool = False
    #: Why the hook did not work; empty if it did.
    problem: str = ""


def call_hook(
    loaded: LoadedJob,
    record: Record,
    result: CheckResult,
    decision: Decision,
    now: datetime,
    secrets: Secrets = NO_SECRETS,
) -> HookResult:
    """Call onStateChangeSuccess for a recovery, onFailure for any other decision."""
    job = loaded.instance
    if job is None or not is_for_hooks(
        record, result, decision, loaded.job.policy, now
    ):
        return HookResult(default_mail=True)
    recovery = decision is Decision.RECOVERY
    job_context = job._checker
    job_context.kind = KIND_OF[decision]
    job_context.to = record.notified if recovery else ()
    job_context.thread = record.thread
    try:
        answer = job.onStateChangeSuccess() if recovery else job.onFailure()
        notified = answer is True or (job.truth_is_enough and bool(answer))
    except BaseException as error:  # noqa: B036  # SystemExit too
        hook = "onStateChangeSuccess" if recovery else "onFailure"
        cause = fit(described(error), secrets, REASON_TEXT_LENGTH)
        why = f"{hook} failed, so this is the default mail: {cause}"
        trace = fit_end(formatted(error), secrets, TRACEBACK_LENGTH)
        return HookResult(sent_by_hook(loaded), True, paragraphs(why, trace))
    sent = sent_by_hook(loaded)
    return HookResult(sent, default_mail=not (sent or notified))


def overdue_hook(loaded: LoadedJob, limit_s: float) -> HookResult:
    """Return the result of a hook that did not return in time."""
    sent = sent_by_hook(loaded)
    why = f"The hook took over {limit_s:g} s, so this is the default mail."
    return HookResult(sent, default_mail=not sent, problem=why)


def sent_by_hook(loaded: LoadedJob) -> tuple[Message, ...]:
    """Return the messages that the hook sent about the failure or the recovery."""
    return tuple(
        message for message in _outgoing(loaded) if message.kind.is_about_trouble
    )


def notes(loaded: LoadedJob) -> tuple[Message, ...]:
    """Return the messages that the job sent outside the hooks."""
    return tuple(
        message for message in _outgoing(loaded) if not message.kind.is_about_trouble
    )


def _outgoing(loaded: LoadedJob) -> tuple[Message, ...]:
    job = loaded.instance
    return job._checker.outgoing if job is not None else ()


def consumed(loaded: LoadedJob) -> tuple[str, ...]:
    """Return the files of a spool that are in the job's memory now."""
    job = loaded.instance
    if job is None or not job._checker.consumed:
        return ()
    _memory, problem = memory_after(loaded)
    return () if problem else job._checker.consumed


def memory_to_keep(loaded: LoadedJob, record: Record) -> dict[str, Any] | None:
    """Return the job's memory; None if the stored one stays as it is."""
    memory, _trouble = memory_after(loaded)
    return None if memory == record.memory else memory


def with_target(result: CheckResult, loaded: LoadedJob) -> CheckResult:
    """Return a result that says what was checked, and who answered."""
    job = loaded.instance
    if not isinstance(job, TargetJob):
        return result
    try:
        target, answered_by = str(job.shown_target()), str(job.answered_by)
    except Exception as error:
        target, answered_by = f"shown_target failed: {described(error)}", ""
    return replace(result, target=target, answered_by=answered_by)


def fit_result(result: CheckResult, kept: KeptOutput, secrets: Secrets) -> CheckResult:
    """Return a result without secrets and cut to size, with what the job printed."""
    trace = fit_end(result.output, secrets, TRACEBACK_LENGTH)
    printed = printed_part(fit(kept.text, secrets, MAX_PRINTED), shared=kept.shared)
    return replace(
        result,
        reason=fit(result.reason, secrets, REASON_TEXT_LENGTH),
        cause=fit(first_line(result.cause), secrets, SUBJECT_LENGTH),
        target=fit(first_line(result.target), secrets, SUBJECT_LENGTH),
        answered_by=fit(first_line(result.answered_by), secrets, SUBJECT_LENGTH),
        host=fit(result.host, secrets, SUBJECT_LENGTH),
        addresses=tuple(
            fit(address, secrets, SUBJECT_LENGTH)
            for address in result.addresses[:MAX_ADDRESSES]
        ),
        output=paragraphs(trace, printed),
        values=fit_values(result.values, secrets),
    )


def fit_values(values: Mapping[str, Value], secrets: Secrets) -> Mapping[str, Value]:
    """Return values without secrets in their names."""
    return {scrubbed(name, secrets): value for name, value in values.items()}


def fit_memory(memory: Any, secrets: Secrets) -> Any:
    """Return a memory, or a part of one, with secrets removed from every text."""
    if isinstance(memory, str):
        return scrubbed(memory, secrets)
    if isinstance(memory, dict):
        return {
            scrubbed(name, secrets): fit_memory(part, secrets)
            for name, part in memory.items()
        }
    if isinstance(memory, list):
        return [fit_memory(part, secrets) for part in memory]
    return memory

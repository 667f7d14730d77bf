"""One job: its execution, and the hook that notifies somebody.

Other people's code is called here, and whatever it does becomes a value: a CheckResult
or a HookResult.  What leaves a worker holds no secret and is not too long.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from typing import Any

from lib.core import plain
from lib.core.enums import Decision, Status
from lib.core.messages import KIND_OF, Message
from lib.core.records import Record
from lib.core.results import CheckResult
from lib.core.sanitize import fit, fit_end, scrubbed
from lib.core.text import paragraphs, printed_part
from lib.plugins import base
from lib.plugins.discover import Found
from lib.plugins.errors import (
    REASON_TEXT_LENGTH,
    TRACEBACK_LENGTH,
    described,
    formatted,
    shown,
    text_of,
)
from lib.system.process import MAX_PRINTED
from lib.workers.output import KeptOutput

#: A memory is written whenever it changes, and read in each run.
MAX_MEMORY = 64 * 1024


def execute(found: Found, record: Record) -> CheckResult:
    """Return what one execution of the job found, and how long it took."""
    started = time.monotonic()
    result = _execute(found, record)
    _memory, trouble = memory_after(found)
    if trouble and result.status is Status.OK:
        result = CheckResult(Status.FAILING, trouble)
    seconds = round(time.monotonic() - started, 3)
    return replace(result, seconds=seconds)


def _execute(found: Found, record: Record) -> CheckResult:
    job = found.job
    if job is None:
        status = Status.FAILING if found.trouble else Status.OK
        return CheckResult(status, found.trouble, found.output)
    try:
        job._checker.queued, job._checker.round_trips = (
            record.queued,
            record.round_trips,
        )
        # A copy: what the job makes of it is compared with what it was.
        job.memory = plain.plain_memory(dict(record.memory)) if record.memory else {}
        return _judged(job, job.execute())
    except base.CheckFailed as failed:
        return CheckResult(Status.FAILING, _reason(failed))
    except base.CheckUnknown as unknown:
        return CheckResult(Status.UNKNOWN, _reason(unknown))
    except base.CheckPending as pending:
        return CheckResult(Status.PENDING, _reason(pending))
    except BaseException as error:  # noqa: B036  # SystemExit is a failure here
        return CheckResult(Status.FAILING, described(error), formatted(error))


def _judged(job: base.JobBase, answer: object) -> CheckResult:
    if answer is True or (job.truth_is_enough and answer):
        return CheckResult(Status.OK)
    if answer is False or job.truth_is_enough:
        reason = f"execute returned {shown(answer)}, and gave no reason"
        return CheckResult(Status.FAILING, reason)
    reason = f"execute returned {shown(answer)}, which is neither True nor False"
    return CheckResult(Status.FAILING, reason)


def _reason(error: BaseException) -> str:
    return text_of(error) or "no reason was given"


def memory_after(found: Found) -> tuple[dict[str, Any] | None, str]:
    """Return the job's memory to keep, and why it cannot be kept if it cannot."""
    if found.job is None:
        return None, ""
    try:
        return _plain_memory(found.job.memory), ""
    except BaseException as error:  # noqa: B036  # a repr of the author's may raise
        return None, f"self.memory cannot be kept: {text_of(error)}"


def _plain_memory(memory: Any) -> dict[str, Any]:
    if type(memory) is dict and not memory:
        return {}
    kept = plain.plain_memory(memory)
    if any(not isinstance(name, str) for name in memory):
        raise ValueError("its keys are not all text")
    length = len(json.dumps(kept))
    if length > MAX_MEMORY:
        limit = MAX_MEMORY // 1024
        raise ValueError(f"it is {length // 1024} KB as JSON, and {limit} is the limit")
    return kept


@dataclass(frozen=True, slots=True)
class HookResult:
    """What came of the hook that was to notify somebody."""

    #: What it sent, the mails about the failure itself.
    messages: tuple[Message, ...] = ()
    #: It notified nobody: the default mail is to go out.
    default_mail: bool = False
    #: Why that is, where the hook broke down.
    trouble: str = ""


def call_hook(
    found: Found,
    record: Record,
    result: CheckResult,
    decision: Decision,
    secrets: tuple[str, ...] = (),
) -> HookResult:
    """Call onFailure or onStateChangeSuccess, as the decision wants it."""
    job = found.job
    # What a hook says would be the author's words about what nobody has seen.
    if job is None or result.status is Status.UNKNOWN:
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
        why = f"This mail goes out in place of {hook}: {described(error)}"
        trace = fit_end(formatted(error), secrets, TRACEBACK_LENGTH)
        return HookResult(sent_by_hook(found), True, paragraphs(why, trace))
    sent = sent_by_hook(found)
    return HookResult(sent, default_mail=not (sent or notified))


def overdue_hook(found: Found, limit_s: float) -> HookResult:
    """Return what came of a hook that did not return in time."""
    sent = sent_by_hook(found)
    why = f"Its hook took over {limit_s:g} s; this mail goes out in its place."
    return HookResult(sent, default_mail=not sent, trouble=why)


def sent_by_hook(found: Found) -> tuple[Message, ...]:
    """Return what the hook has sent about the failure or its end."""
    return tuple(one for one in _outgoing(found) if one.kind.is_about_trouble)


def notes(found: Found) -> tuple[Message, ...]:
    """Return what the job has sent of its own accord, outside the hooks."""
    return tuple(one for one in _outgoing(found) if not one.kind.is_about_trouble)


def _outgoing(found: Found) -> list[Message]:
    return list(found.job._checker.outgoing) if found.job is not None else []


def memory_to_keep(found: Found, record: Record) -> dict[str, Any] | None:
    """Return the job's memory, None to leave what is remembered as it is."""
    memory, _trouble = memory_after(found)
    return None if memory == dict(record.memory) else memory


def fit_outcome(
    result: CheckResult, kept: KeptOutput, secrets: tuple[str, ...]
) -> CheckResult:
    """Return an outcome as it may be shown, with what the job printed."""
    trace = fit_end(result.output, secrets, TRACEBACK_LENGTH)
    printed = printed_part(fit(kept.text, secrets, MAX_PRINTED), shared=kept.shared)
    return replace(
        result,
        reason=fit(result.reason, secrets, REASON_TEXT_LENGTH),
        output=paragraphs(trace, printed),
    )


def fit_memory(memory: Any, secrets: tuple[str, ...]) -> Any:
    """Return a memory, or a part of one, without a secret in any text of it."""
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

"""One job, from its execution to what it has to say.

Other people's code is called here, and whatever it does becomes a value: an Outcome,
or the messages of a hook with the default mail where the hook sent none.

What leaves a worker: outcomes, mails, memories, with no secret and not too long.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from datetime import datetime
from typing import Any

from lib.alerting import templates
from lib.core import messages, plain
from lib.core.enums import Decision, Status
from lib.core.messages import Message
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
        job._checker.queued, job._checker.gone = record.queued, record.gone
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


def speak(
    found: Found,
    record: Record,
    result: CheckResult,
    decision: Decision,
    now: datetime,
    secrets: tuple[str, ...] = (),
) -> tuple[Message, ...]:
    """Return the messages of a decision that notifies: the hook's, or the default."""
    job = found.job
    # What a hook says would be the author's words about what nobody has seen.
    if job is None or result.status is Status.UNKNOWN:
        return (default(found, record, result, decision, now),)
    recovery = decision is Decision.RECOVERY
    job_context = job._checker
    job_context.kind = messages.KIND_OF[decision]
    job_context.to = record.notified if recovery else ()
    job_context.thread = record.thread
    try:
        answer = job.onStateChangeSuccess() if recovery else job.onFailure()
        notified = answer is True or (job.truth_is_enough and bool(answer))
    except BaseException as error:  # noqa: B036  # SystemExit too
        hook = "onStateChangeSuccess" if recovery else "onFailure"
        why = f"This mail goes out in place of {hook}: {described(error)}"
        trace = fit_end(formatted(error), secrets, TRACEBACK_LENGTH)
        output = paragraphs(result.output, why, trace)
        result = replace(result, output=output)
        sent = sent_by_hook(found, record, result, now)
        return (default(found, record, result, decision, now), *sent)
    sent = sent_by_hook(found, record, result, now)
    if sent or notified:
        return sent
    return (default(found, record, result, decision, now),)


def speak_instead(
    found: Found, record: Record, result: CheckResult, decision: Decision, now: datetime
) -> tuple[Message, ...]:
    """Return the messages where the hook did not come back: its own, or the default."""
    return sent_by_hook(found, record, result, now) or (
        default(found, record, result, decision, now),
    )


def default(
    found: Found, record: Record, result: CheckResult, decision: Decision, now: datetime
) -> Message:
    """Return the default mail, under a name of its own."""
    return templates.default_message(
        os.urandom(16).hex(), found.facts, record, result, decision, now
    )


def sent_by_hook(
    found: Found, record: Record, result: CheckResult, now: datetime
) -> tuple[Message, ...]:
    """Return what the hook has sent, the facts below its author's words."""
    return tuple(
        templates.with_facts(message, found.facts, record, result, now)
        for message in _outgoing(found)
        if message.kind.is_about_trouble
    )


def notes(found: Found) -> tuple[Message, ...]:
    """Return what the job has sent of its own accord, outside the hooks."""
    return tuple(one for one in _outgoing(found) if not one.kind.is_about_trouble)


def _outgoing(found: Found) -> list[Message]:
    return list(found.job._checker.outgoing) if found.job is not None else []


def memory_to_keep(found: Found, record: Record) -> dict[str, Any] | None:
    """Return the job's memory, None to leave what is remembered as it is."""
    memory, _trouble = memory_after(found)
    return None if memory == dict(record.memory) else memory


MAX_SUBJECT = 1000
#: As much of a mail's text as is sent.
MAX_BODY = 256 * 1024


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


def fit_mail(message: Message, secrets: tuple[str, ...]) -> Message:
    """Return a mail as it may be sent."""
    body = scrubbed(message.body, secrets)
    if len(body) > MAX_BODY:
        body = f"{body[:MAX_BODY]}\n... (cut)\n"
    return replace(
        message,
        subject=fit(message.subject, secrets, MAX_SUBJECT),
        reason=fit(message.reason, secrets, MAX_SUBJECT),
        # Halves of surrogate pairs are in no mail.
        body=body.encode("utf-8", "replace").decode(),
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

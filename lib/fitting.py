"""What leaves a worker: outcomes, mails, memories, with no secret and not too long."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lib.model import Message, Outcome, scrubbed
from lib.printed import Kept
from lib.process import MAX_PRINTED
from lib.reasons import (
    DETAIL_LENGTH,
    TRACEBACK_LENGTH,
    fit,
    fit_end,
    paragraphs,
    printed_part,
)

MAX_SUBJECT = 1000
#: As much of a mail's text as is sent.
MAX_BODY = 256 * 1024


def fit_outcome(outcome: Outcome, kept: Kept, secrets: tuple[str, ...]) -> Outcome:
    """Return an outcome as it may be shown, with what the job printed."""
    trace = fit_end(outcome.evidence, secrets, TRACEBACK_LENGTH)
    printed = printed_part(fit(kept.text, secrets, MAX_PRINTED), shared=kept.shared)
    return replace(
        outcome,
        detail=fit(outcome.detail, secrets, DETAIL_LENGTH),
        evidence=paragraphs(trace, printed),
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

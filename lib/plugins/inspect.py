"""Calls the hooks that describe a job, once each, and validates their answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from lib.core import schedule
from lib.core.encoding import digest, same
from lib.core.enums import JobFailureNotificationFrequency, JobFrequency
from lib.core.jobs import MAX_TIMEOUT_S, FailureRule, Job, JobFile, JobKey, Policy
from lib.core.sanitize import harmless, scrubbed
from lib.core.secret import Secrets
from lib.plugins.base import JobBase, default_of, read_addresses
from lib.plugins.errors import described, formatted, shown
from lib.plugins.target import TargetJob

T = TypeVar("T")

NAME_LENGTH = 200
#: A longer identity is cut to this and ends with a digest of the whole.
KEY_LENGTH = 1000
#: Hooks that the older program did not have.
_NEWER = ("contact", "timeout")


class WrongAnswer(Exception):
    """A hook raised, or returned something invalid; the text says which and what."""

    def __init__(self, text: str, output: str = "") -> None:
        super().__init__(text, output)
        self.text = text
        self.output = output


class JobInspector:
    """Calls the hooks of one job.

    ``key``, ``name`` and ``contact`` keep what is known so far if a later hook fails.
    With ``formerly``, the job's name in the older program is kept.
    """

    def __init__(
        self,
        file: JobFile,
        job: JobBase,
        contact: tuple[str, ...],
        secrets: Secrets,
        *,
        formerly: bool = True,
    ) -> None:
        self._formerly = formerly
        self._file = file
        self._job = job
        self._secrets = secrets
        self.key: JobKey | None = None
        self.name = ""
        self.contact = contact

    def inspect(self) -> Job:
        """Return the job as its hooks describe it; raise WrongAnswer if one fails."""
        job = self._job
        self.key = key = self._key(self._ask("getStateName", _text))
        name = self._line(self._ask("getName", _text))
        # Of thousands of targets each is kept once.
        self.name = key.identity if name == key.identity else name
        self.contact = self._ask("contact", read_addresses) or JobBase.contact(job)
        formerly = self._ask("formerly", str)
        return Job(
            key=key,
            name=self.name,
            file=str(self._file.path),
            schedule=self._ask("executeEvery", _schedule),
            policy=same(self._policy()),
            contact=self.contact,
            timeout_s=self._ask("timeout", _seconds),
            formerly=formerly if self._formerly else "",
            was=self._former_identity(),
            check_now=str(job.check_now),
            **self._said_in_settings(),
        )

    def _policy(self) -> Policy:
        job = self._job
        return Policy(
            # In the older program a hook that was not overridden returned None.
            self._ask("notifyOnFailureEvery", _notify)
            or JobBase.notifyOnFailureEvery(job),
            self._ask("numberFailuresBeforeNotification", _failures)
            or _failures(JobBase.numberFailuresBeforeNotification(job))
            or FailureRule(),
            notifies_recovery=job.notifies_recovery is True,
            **self._policy_in_settings(),
        )

    def _policy_in_settings(self) -> dict[str, Any]:
        """Return the parts of the policy that only settings have."""
        if isinstance(self._job, TargetJob):
            target = self._job.target
            recoveries, warnings = target.recoveries, target.notify_warnings
        else:
            recoveries = default_of(self._job.config, "recoveries") or 1
            warnings = default_of(self._job.config, "notify_warnings")
        return {"recoveries": recoveries, "notifies_warnings": warnings is not False}

    def _said_in_settings(self) -> dict[str, Any]:
        """Return what the section of a target says of it."""
        if not isinstance(self._job, TargetJob):
            return {}
        target = self._job.target
        return {
            "enabled": target.enabled,
            "tags": target.tags,
            "runbook": target.runbook,
            "description": self._line(target.description),
        }

    def _ask(self, hook: str, read: Callable[[Any], T]) -> T:
        try:
            answer = self._method(hook)()
        except BaseException as error:  # noqa: B036  # SystemExit too
            text = f"{hook} of {type(self._job).__name__}: {described(error)}"
            raise WrongAnswer(text, formatted(error)) from error
        try:
            return read(answer)
        except (ValueError, TypeError) as error:
            what = f"{hook} of {type(self._job).__name__} returned {shown(answer)}"
            raise WrongAnswer(f"{what}: {error}") from error

    def _former_identity(self) -> str:
        before = str(self._job.former_identity)
        return self._key(before).identity if before else ""

    def _method(self, hook: str) -> Callable[[], Any]:
        method: Any = getattr(self._job, hook)
        if self._job.truth_is_enough and hook in _NEWER and not callable(method):
            # In a job file of the older manner the name is the author's own.
            method = getattr(JobBase, hook).__get__(self._job)
        return method  # type: ignore[no-any-return]  # a hook of an author's class

    def _key(self, text: str) -> JobKey:
        words = harmless(scrubbed(text, self._secrets))
        if len(words) > KEY_LENGTH:
            words = f"{words[:KEY_LENGTH]}...{digest(words.encode())[:16]}"
        return JobKey(self._file.name, words)

    def _line(self, text: str) -> str:
        words = harmless(" ".join(scrubbed(text, self._secrets).split()))
        return words if len(words) <= NAME_LENGTH else f"{words[:NAME_LENGTH]}..."


def _text(answer: object) -> str:
    if not isinstance(answer, str) or not answer.strip():
        raise ValueError("expected a text that is not empty")
    return str(answer)


def _schedule(answer: Any) -> str:
    if not isinstance(answer, str):
        raise ValueError(f"expected {_choices(JobFrequency)}, or a text such as 5min")
    return schedule.read(answer)


def _notify(answer: Any) -> JobFailureNotificationFrequency | None:
    if answer is None:
        return None
    try:
        return JobFailureNotificationFrequency(answer)
    except ValueError:
        expected = _choices(JobFailureNotificationFrequency)
        raise ValueError(f"expected {expected}") from None


def _choices(choices: type[JobFrequency | JobFailureNotificationFrequency]) -> str:
    *most, last = choices.__members__
    return f"{choices.__name__}.{', '.join(most)} or {last}"


def _failures(answer: Any) -> FailureRule | None:
    if answer is None or isinstance(answer, FailureRule):
        return answer
    if isinstance(answer, bool) or not isinstance(answer, int) or answer < 1:
        raise ValueError("expected a whole number of 1 or more")
    return FailureRule(int(answer))


def _seconds(answer: Any) -> float:
    expected = f"expected seconds, more than 0 and at most {MAX_TIMEOUT_S}"
    if isinstance(answer, bool) or not isinstance(answer, int | float):
        raise ValueError(expected)
    # Not ``answer <= 0 or ...``, which would accept NaN.
    if not 0 < answer <= MAX_TIMEOUT_S:
        raise ValueError(expected)
    return float(answer)

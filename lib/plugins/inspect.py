"""Calls the hooks that describe a job, once each, and validates their answers."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from functools import lru_cache, partial
from types import FunctionType, ModuleType
from typing import Any, TypeVar

from msgspec.structs import replace

from lib.config.fields import flapping
from lib.config.jobsections import JobSections
from lib.config.options import DEFAULTS, POLICY_OPTIONS
from lib.core import schedule
from lib.core.encoding import digest, same
from lib.core.enums import JobFailureNotificationFrequency, JobFrequency
from lib.core.jobs import (
    MAX_TIMEOUT_S,
    FailureRule,
    FlappingRule,
    Job,
    JobFile,
    JobKey,
    Policy,
    Rule,
)
from lib.core.sanitize import harmless, scrubbed
from lib.core.secret import Secrets
from lib.plugins.base import JobBase, JobSpawner, contact_of, default_of
from lib.plugins.errors import described, formatted, shown
from lib.plugins.target import TargetJob

T = TypeVar("T")

NAME_LENGTH = 200
#: A longer identity is cut to this and ends with a digest of the whole.
KEY_LENGTH = 1000
#: How alike a method's name and a hook's are if the hook is what was meant.
ALIKE = 0.85
#: Methods that say nothing of the job; ``formerly`` is asked of each or of none.
_OF_THE_CHECK = (
    "check",
    "execute",
    "formerly",
    "onFailure",
    "onStateChangeSuccess",
    "sendEmail",
    "shown_target",
)
#: Hooks that the older program did not have.
_NEWER = ("contact", "timeout", "recheckEvery", "flappingAfter")


class WrongAnswer(Exception):
    """A hook raised, or returned something invalid; the text says which and what."""

    def __init__(self, text: str, output: str = "") -> None:
        super().__init__(text, output)
        self.text = text
        self.output = output


class JobInspector:
    """Calls the hooks of one job.

    ``key``, ``name`` and ``contact`` keep what is known so far if a later hook fails.
    With ``formerly``, the job's name in the older program is kept.  ``alike`` has, by
    class, a job of the same file that was described before, and its settings.
    """

    def __init__(
        self,
        file: JobFile,
        job: JobBase,
        contact: tuple[str, ...],
        secrets: Secrets,
        *,
        formerly: bool = True,
        sections: JobSections | None = None,
        alike: dict[type, tuple[object, Job]] | None = None,
    ) -> None:
        self._formerly = formerly
        self._alike = {} if alike is None else alike
        self._sections = sections
        #: What ``[job NAME]`` says, which goes before the hooks.
        self._said: Mapping[str, Any] = {}
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
        self._read_sections()
        if not self._is_as_its_class():
            return self._described()
        settings, like = self._alike.get(type(job), (None, None))
        if like is None or settings is not job.config:
            described_job = self._described()
            self._alike[type(job)] = (job.config, described_job)
            return described_job
        return self._described_like(like)

    def _described(self) -> Job:
        assert self.key is not None
        job = self._job
        self.contact = self._contact()
        formerly = self._ask("formerly", str) if self._formerly else ""
        return Job(
            key=self.key,
            name=self.name,
            file=str(self._file.path),
            schedule=self._schedule(),
            recheck=self._recheck(),
            policy=same(self._policy()),
            contact=self.contact,
            timeout_s=self._timeout(),
            formerly=formerly,
            was=self._former_identity(),
            check_now=str(job.check_now),
            enabled=self._of_settings("enabled"),
            tags=self._of_settings("tags"),
            runbook=self._of_settings("runbook"),
            description=self._line(self._of_settings("description")),
            depends=same(self._of_settings("depends")),
            rule=self._rule(),
            is_across_network=job.is_across_network is True,
        )

    def _is_as_its_class(self) -> bool:
        """Return whether what its class and the settings say holds for it, too."""
        cls: Any = type(self._job)
        return not (
            self._formerly
            or self._said
            or isinstance(self._job, TargetJob)
            or not _OF_A_JOB.isdisjoint(vars(self._job))
            or _computes_values(cls)
        )

    def _described_like(self, like: Job) -> Job:
        """Return the job, of whose hooks only those of its own class are asked.

        What JobBase answers was asked for another job of the class.
        """
        cls: Any = type(self._job)
        own = _own_hooks(cls)
        if "contact" in own:
            self.contact = self._contact()
        else:
            self.contact = like.contact
        policy = {field: ask(self) for hook, field, ask in _POLICY_HOOKS if hook in own}
        return replace(
            like,
            key=self.key,
            name=self.name,
            contact=self.contact,
            policy=same(replace(like.policy, **policy)) if policy else like.policy,
            **{field: ask(self) for hook, field, ask in _JOB_HOOKS if hook in own},
        )

    def _read_sections(self) -> None:
        """Read what ``[job NAME]`` says of the job; a target has its own section."""
        job = self._job
        if self._sections is None or isinstance(job, TargetJob):
            return
        self._said = self._sections.of(self._file.name, self.name)
        job._checker.contact = self._said.get("contact") or ()
        job._checker.invert = self._of_settings("invert")

    def _contact(self) -> tuple[str, ...]:
        return (
            self._said.get("contact")
            or self._ask("contact", partial(contact_of, self._job))
            or JobBase.contact(self._job)
        )

    def _schedule(self) -> str:
        said = self._said.get("every")
        return str(same(said or self._ask("executeEvery", _schedule)))

    def _timeout(self) -> float:
        return float(self._said.get("timeout") or self._ask("timeout", _seconds))

    def _policy(self) -> Policy:
        return Policy(
            self._notify(),
            self._failures(),
            notifies_recovery=self._job.notifies_recovery is True,
            recoveries=self._recoveries(),
            flapping=self._flapping(),
            pending_limit_s=self._pending_limit(),
            notifies_warnings=self._of_settings("notify_warnings"),
            when=self._of_settings("when"),
        )

    # In the older program a hook that was not overridden returned None.

    def _notify(self) -> JobFailureNotificationFrequency:
        return (
            self._said.get("notify")
            or self._ask("notifyOnFailureEvery", _notify)
            or JobBase.notifyOnFailureEvery(self._job)
        )

    def _failures(self) -> FailureRule:
        return (
            self._said.get("failures")
            or self._ask("numberFailuresBeforeNotification", _failures)
            or _failures(JobBase.numberFailuresBeforeNotification(self._job))
            or FailureRule()
        )

    def _flapping(self) -> FlappingRule:
        said: FlappingRule | None = self._said.get("flapping")
        return said or self._ask("flappingAfter", _flapping)

    def _rule(self) -> Rule | None:
        """Return what judges the job in place of its check; None: nothing does."""
        job = self._job
        if not isinstance(job, TargetJob):
            return None
        rule = self._ask("rule", _rule)
        if rule is None or not job._checker.invert:
            return rule
        # The rule is turned round, and not what the worker finds.
        job._checker = replace(job._checker, invert=False)
        return replace(rule, is_inverted=True)

    def _recheck(self) -> str:
        """Return how soon it runs again while it is failing; empty for no."""
        said = self._said.get("recheck") or self._ask("recheckEvery", _recheck)
        return "" if said == "no" else str(same(said))

    def _recoveries(self) -> int:
        if isinstance(self._job, TargetJob):
            return self._job.recoveries()
        return self._of_settings("recoveries") or 1

    def _pending_limit(self) -> float:
        """Return how long it may be pending, in seconds; 0 for ever."""
        if not self._job.has_pending_limit:
            return 0
        return float(self._of_settings("pendinglimit"))

    def _of_settings(self, option: str) -> Any:
        """Return the value of an option for which there is no hook.

        It is that of the target's section; of a class of one's own, that of
        ``[job NAME]``, of [defaults], or the default.
        """
        if isinstance(self._job, TargetJob):
            return getattr(self._job.target, option)
        if option in self._said:
            return self._said[option]
        value = None
        if option in DEFAULTS:
            value = default_of(self._job.config, option)
        return POLICY_OPTIONS[option].default if value is None else value

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


# Jobs of one class, of which there may be thousands.

#: What the hooks of a class may say of each of its jobs, in the order of asking.
_JOB_HOOKS = (
    ("executeEvery", "schedule", JobInspector._schedule),
    ("recheckEvery", "recheck", JobInspector._recheck),
    ("timeout", "timeout_s", JobInspector._timeout),
)
_POLICY_HOOKS = (
    ("notifyOnFailureEvery", "notify", JobInspector._notify),
    ("numberFailuresBeforeNotification", "failures", JobInspector._failures),
    ("flappingAfter", "flapping", JobInspector._flapping),
)
_HOOKS = ("contact", *(hook for hook, *_how in (*_JOB_HOOKS, *_POLICY_HOOKS)))
#: What a class says of its jobs beside its hooks.
_VALUES = (
    "check_now",
    "former_identity",
    "has_pending_limit",
    "is_across_network",
    "notifies_recovery",
)
#: What is the class's, unless a job has it itself.
_OF_A_JOB = frozenset((*_HOOKS, *_VALUES))


@lru_cache
def _own_hooks(cls: Any) -> frozenset[str]:
    """Return the hooks that a class does not leave to JobBase."""
    return frozenset(
        hook for hook in _HOOKS if getattr(cls, hook) is not getattr(JobBase, hook)
    )


@lru_cache
def _computes_values(cls: Any) -> bool:
    """Return whether one of these is a property, so that each job has its own."""
    return any(hasattr(getattr(cls, name), "__get__") for name in _VALUES)


# Targets, of which thousands may be alike.


def policy_said(job: TargetJob) -> Hashable | None:
    """Return what a section says of when a target runs and who is notified how.

    Targets of one kind that say the same differ in their names only.  None if the hooks
    of each must be asked, since the class has hooks of its own.
    """
    cls: Any = type(job)
    if not _leaves_hooks(cls):
        return None
    given = job.target.given_options
    if POLICY_OPTIONS.keys().isdisjoint(given):
        return ()
    return tuple(
        (name, getattr(job.target, name)) for name in given if name in POLICY_OPTIONS
    )


@lru_cache
def _leaves_hooks(cls: Any) -> bool:
    """Return whether a class leaves to TargetJob what describes its jobs."""
    names = (*_own_methods(TargetJob), *_own_methods(JobBase), "__init__")
    return all(
        getattr(cls, name) is getattr(TargetJob, name)
        for name in names
        if name not in _OF_THE_CHECK
    )


def named(like: Job, title: str, secrets: Secrets) -> Job | None:
    """Return a job like another for the target of this title.

    None if the title cannot be its name and its key as it is.
    """
    is_plain = title.isprintable() and title.isascii() and "  " not in title
    if not is_plain or len(title) > NAME_LENGTH or scrubbed(title, secrets) != title:
        return None
    return replace(like, key=JobKey(like.key.file, title), name=title)


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


def _recheck(answer: Any) -> str:
    if not answer:
        return ""
    if not isinstance(answer, str):
        raise ValueError("expected a text such as 5min, or an empty one")
    return schedule.read_recheck(answer)


def _flapping(answer: Any) -> FlappingRule:
    if isinstance(answer, FlappingRule):
        return answer
    if not isinstance(answer, str):
        raise ValueError("expected a text such as 6/20, or no")
    return flapping(answer)


def _rule(answer: Any) -> Rule | None:
    if answer is not None and not isinstance(answer, Rule):
        raise ValueError("expected a Rule, or None")
    return answer


def _seconds(answer: Any) -> float:
    expected = f"expected seconds, more than 0 and at most {MAX_TIMEOUT_S}"
    if isinstance(answer, bool) or not isinstance(answer, int | float):
        raise ValueError(expected)
    # Not ``answer <= 0 or ...``, which would accept NaN.
    if not 0 < answer <= MAX_TIMEOUT_S:
        raise ValueError(expected)
    return float(answer)


# Names that are nearly those of hooks.


def misspelt_hooks(module: ModuleType) -> Iterator[str]:
    """Yield a warning for each method whose name is nearly that of a missing hook."""
    for cls in vars(module).values():
        if not isinstance(cls, type) or cls.__module__ != module.__name__:
            continue
        missing = {_plain(hook): hook for hook in _missing_hooks(cls)}
        for name in _own_methods(cls) if missing else ():
            hook = _nearest(_plain(name), missing)
            if hook:
                yield (
                    f"{module.__file__}: {cls.__name__} has a method {name}, which is "
                    f"no hook; did you mean {hook!r}?"
                )


def _missing_hooks(cls: type) -> Iterator[str]:
    """Yield the hooks that a class leaves to its base class."""
    for base in (TargetJob, JobBase, JobSpawner):
        if not issubclass(cls, base):
            continue
        is_older = issubclass(cls, JobBase) and cls.truth_is_enough
        for hook in _own_methods(base):
            is_ours = getattr(cls, hook) is getattr(base, hook)
            if is_ours and hook != "sendEmail" and not (is_older and hook in _NEWER):
                yield hook


def _own_methods(cls: type) -> list[str]:
    return [
        name
        for name, value in vars(cls).items()
        if isinstance(value, FunctionType) and not name.startswith("_")
    ]


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def _nearest(name: str, hooks: dict[str, str]) -> str:
    import difflib

    nearest = difflib.get_close_matches(name, hooks, n=1, cutoff=ALIKE)
    return hooks[nearest[0]] if nearest else ""

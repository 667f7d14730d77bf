"""TargetJob, the base class of kinds, and settings for the jobs that ship."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from msgspec.structs import replace

from lib.config import options, peers
from lib.config.targets import former_title
from lib.core.enums import JobFailureNotificationFrequency, JobFrequency, Status
from lib.core.ini import IniFile
from lib.core.jobs import NEVER_FLAPPING, FailureRule, FlappingRule, Rule
from lib.core.policy import default_failures, default_recoveries
from lib.core.results import Value, judge, telling_value, worst
from lib.core.settings import Peers
from lib.core.text import first_line
from lib.plugins.base import (
    CheckFailed,
    CheckPending,
    CheckUnknown,
    CheckWarning,
    JobBase,
    JobContext,
    read_contacts,
)
from lib.plugins.errors import shown
from lib.plugins.kind import Clash, KindTable, Options, Target

if TYPE_CHECKING:
    import configparser

    from lib.net.connect import Deadline

#: What a check returns: what it measured, by name; a plain number is a count.
Values = Mapping[str, Value | float]


NO_NOTES: Mapping[str, str] = {}


class TargetJob(JobBase):
    """A kind of target: one job for each section ``[kind NAME]`` of settings.cfg.

    A subclass is a kind; it says its word, its options, and how it checks:

        class QueueLength(TargetJob):
            kind = "queue"
            every = JobFrequency.HOUR
            options = {
                "path": option(absolute_path, help="the folder of the queue"),
                "fail_files": option(count, 100, help="failing above this"),
            }

            def check(self, target, deadline):
                files = os.listdir(target.path)
                return {"files": count(len(files), fail=target.fail_files)}

    Write ``kind`` as a literal: settings.cfg is checked without loading the file.
    """

    kind: str = ""
    every: str = JobFrequency.MINUTE
    #: How soon a failing target that is checked less often is checked again.
    recheck: str = "no"
    options: Options = {}
    #: False: it has no ``retries``, as what it looks at is news only once.
    can_retry = True
    #: True: what ``need = all`` is about, ``check`` says itself.
    judges_need = False
    #: Options that are left out where ``[defaults KIND]`` gives them and they do not go
    #: with what a section gives (``wrong_together``).
    yields: Container[str] = ()
    #: False: that it comes and goes is flapping only if the settings say so.
    flaps = True
    #: What people read below the reason when a threshold decides; set it in ``check``.
    note = ""
    #: What people read of a target that is OK, in lists, ``-m check`` and the log; set
    #: it in ``check``.
    remark = ""
    #: What docs/kinds.md says below the options of the kind, as Markdown.
    guide: str = ""
    #: The address that answered; set it in ``check``.
    answered_by = ""

    def __init__(self, ini: IniFile, table: KindTable, target: Target) -> None:
        """Keep the target; called by Checker, once for each section."""
        self.target = target
        self._ini = ini
        self._table = table
        # One for thousands; each has its own from when it begins.
        shared = (target.invert, target.need == "all")
        context: JobContext | None = table.contexts.get(shared)
        if context is None:
            invert, need_all = shared
            context = JobContext(invert=invert, need_all=need_all)
            table.contexts[shared] = context
        self._checker = context
        if target.was:
            self.former_identity = former_title(target.kind, target.was)

    # Of thousands of targets each has these only where it is used.
    @cached_property
    def memory(self) -> dict[str, Any]:  # type: ignore[override]
        """A small dict of plain values that is kept between runs."""
        return {}

    @cached_property
    def values(self) -> dict[str, Value | float]:  # type: ignore[override]
        """What the check measured, beside what ``check`` returns."""
        return {}

    @property
    def config(self) -> configparser.ConfigParser:  # type: ignore[override]
        """The settings as a ConfigParser, made where a kind asks for it."""
        return self._ini.parser()

    def check(self, target: Target, deadline: Deadline) -> Values:
        """Return what was measured, by name, with its thresholds.

        They are judged, the worst decides.  Or raise CheckFailed, CheckWarning,
        CheckUnknown or CheckPending with the reason.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define check")

    @classmethod
    def wrong_together(cls, target: Target) -> Iterable[Clash]:
        """Return what is wrong in options that are right one by one.

        Such a target is not checked.  Default: nothing.
        """
        return ()

    def worst_of(
        self,
        each: Mapping[str, dict[str, Value]],
        notes: Mapping[str, str] = NO_NOTES,
        least: Container[str] = (),
    ) -> dict[str, Value]:
        """Return the worst of the values that were measured at several addresses.

        ``least`` are the names of those of which the least is the worst.  The note says
        whose the values are that are outside of a threshold, with the notes of these;
        ``answered_by`` is the address of the value that stands for the job.
        """
        if len(each) == 1:
            ((self.answered_by, values),) = each.items()
            if notes:
                self.note = notes[self.answered_by]
            return values
        values, places = worst(each, need_all=self.target.need == "all", least=least)
        self.answered_by = places[telling_value(values)]
        outside = [name for name, value in values.items() if value.is_outside]
        told = dict.fromkeys([self.answered_by, *(places[name] for name in outside)])
        lines = [
            *(notes.get(place, "") for place in told),
            *(
                f"{name} is that of {places[name]}, the worst of {len(each)}"
                for name in outside
            ),
        ]
        self.note = "\n".join(filter(None, lines))
        return values

    def fails_by(self, values: Mapping[str, Value]) -> bool:
        """Return whether these values alone make the job failing."""
        status, _reason = judge(values, need_all=self.target.need == "all")
        return status is Status.FAILING

    @classmethod
    def advice(cls, target: Target, folder: Path) -> Iterable[tuple[str, str, bool]]:
        """Yield what ``-m validate`` says of a target that can be checked.

        That is the option, what is wrong with it, and whether that is only a warning,
        such as for a file that is missing.  ``folder`` is that of settings.cfg.
        Default: nothing.
        """
        return ()

    @classmethod
    def advice_of_last_run(
        cls, target: Target, memory: Mapping[str, Any]
    ) -> Iterable[str]:
        """Return what ``-m validate`` warns of, a sentence each.

        ``memory`` is that of the last run.  Default: nothing.
        """
        return ()

    def shown_target(self) -> str:
        """Return what is checked, for alerts: no credentials may be in it.

        Default: the option ``url``, else ``host`` and ``port``, else ``path``.
        """
        options = {
            name: getattr(self.target, name, None)
            for name in ("url", "host", "port", "path")
        }
        if options["url"]:
            from lib.net.address import shown_url

            return shown_url(str(options["url"]))
        host, port = options["host"], options["port"]
        if host:
            host = f"[{host}]" if port and ":" in str(host) else host
            return f"{host}:{port}" if port else str(host)
        return str(options["path"] or "")

    @classmethod
    def check_many(
        cls,
        jobs: Sequence[Self],
        deadline: Callable[[Sequence[Self]], Sequence[Deadline]],
    ) -> Iterable[tuple[Self, Values | Exception] | None]:
        """Check the targets of many jobs at once; yield each with its values.

        For a kind that mostly waits: a class that defines this has its due targets
        checked here, one alone by ``check``.  ``job.target`` is the target.
        ``deadline`` is called with the jobs that begin now; it returns for each when it
        must end.  In place of values an exception may be yielded.  Yield None before a
        pause, so that what is known goes on its way.  What is under way when this
        raises, or is not yielded, is checked alone.
        """
        raise NotImplementedError(f"{cls.__name__} does not define check_many")

    def execute(self) -> bool:
        """Check the target; its values are judged afterwards."""
        self.target = self._with_secrets()
        tries = self.tries(self._deadline())
        while True:
            try:
                outcome: object = self.check(self.target, tries.deadline())
            except Exception as error:
                outcome = error
            pause = tries.pause_after(outcome)
            if pause is None:
                return self._take(outcome)
            time.sleep(max(0.0, pause.ends_at - time.monotonic()))

    def tries(self, deadline: Deadline) -> Tries:
        """Return the tries of a check that begins now."""
        return Tries(self, deadline)

    def _deadline(self) -> Deadline:
        """Return the end of a check that begins now."""
        from lib.net.connect import Deadline

        return Deadline(self.timeout())

    def _begin_again(self) -> None:
        """Have all as it was before the check, but for the target."""
        for name in ("memory", "values", "note", "remark", "answered_by"):
            vars(self).pop(name, None)
        record = self._checker.record
        if record is not None and record.memory:
            from lib.core import encoding

            self.memory = encoding.plain_memory(dict(record.memory))

    def _trouble(self, outcome: object) -> str:
        """Return why a target is failing or unknown; empty if it is not so."""
        from lib.net.connect import Unreachable

        if isinstance(outcome, CheckFailed | CheckWarning) and outcome.event:
            return ""
        inverts = self.target.invert
        if isinstance(outcome, CheckFailed | Unreachable):
            return "" if inverts else str(outcome)
        if isinstance(outcome, CheckPending):
            return ""
        if isinstance(outcome, Exception) and not isinstance(outcome, CheckWarning):
            return str(outcome) or type(outcome).__name__
        reason = ""
        if isinstance(outcome, Mapping):
            values = {
                name: value
                for name, value in outcome.items()
                if isinstance(value, Value)
            }
            status, reason = judge(values, need_all=self._checker.need_all)
            if status is Status.FAILING:
                return "" if inverts else reason
        return reason or "the check is OK" if inverts else ""

    def _take(self, outcome: object) -> bool:
        """Keep what a check returned, or raise what it raised."""
        if isinstance(outcome, dict):
            before = vars(self).get("values")
            self.values = {**before, **outcome} if before else outcome
            return True
        from lib.net.connect import NotTried, Unreachable

        if isinstance(outcome, Unreachable):
            raise CheckFailed.about(outcome) from outcome
        if isinstance(outcome, NotTried):
            raise CheckUnknown(str(outcome)) from outcome
        if isinstance(outcome, Exception):
            raise outcome
        if not isinstance(outcome, Mapping):
            raise TypeError(
                f"check returned {shown(outcome)}; expected a dict of values"
            )
        self.values = {**self.values, **outcome}
        return True

    @property
    def checks_many(self) -> bool:
        """Return whether ``check_many`` checks it, if there are others."""
        if getattr(self.check_many, "__func__", None) is _CHECK_MANY:
            return False
        # What is in bulk pauses there, without a thread.
        return not self.target.retries or hasattr(self, "all_steps")

    @property
    def runs_a_command(self) -> bool:
        """Return whether a command must be run for one of its secrets."""
        # Its section gives no secret, as that of most.
        if not self.target.places:
            return False
        return any(
            getattr(self.target, f"{name}_command", None)
            for name in self._table.secrets
        )

    def _with_secrets(self) -> Target:
        """Return the target with its secrets; raise CheckUnknown without them."""
        if not self.target.places:
            return self.target
        try:
            target, secrets = self._table.with_secrets(self.target, self._ini.folder)
        except ValueError as error:
            raise CheckUnknown(str(error)) from error
        self._checker = replace(self._checker, secrets=secrets)
        return target

    def rule(self) -> Rule | None:
        """Return what judges the target, once the results of the run are in.

        That is how many of which other jobs must be OK; ``check`` is then for what no
        rule can say, and usually returns nothing.  Default: None, ``check`` judges it.
        """
        return None

    def executeEvery(self) -> str:
        """Return ``every`` of the section, of its defaults, or of the kind."""
        return str(self.target.every)

    def notifyOnFailureEvery(self) -> JobFailureNotificationFrequency:
        """Return ``notify`` of the section or its defaults."""
        return JobFailureNotificationFrequency(self.target.notify)

    def numberFailuresBeforeNotification(self) -> int | FailureRule:
        """Return ``failures`` of the section or its defaults."""
        rule: FailureRule | None = self.target.failures
        return rule or default_failures(
            self.executeEvery(),
            self.recheckEvery(),
            is_across_network=self.is_across_network,
        )

    def recoveries(self) -> int:
        """Return ``recoveries`` of the section or its defaults."""
        return self.target.recoveries or default_recoveries(
            self.executeEvery(), is_across_network=self.is_across_network
        )

    def recheckEvery(self) -> str:
        """Return ``recheck`` of the section or its defaults; empty for no."""
        recheck = str(self.target.recheck)
        return "" if recheck == "no" else recheck

    def flappingAfter(self) -> FlappingRule:
        """Return ``flapping`` of the section or its defaults."""
        if not (self.flaps or self.target.gives("flapping")):
            return NEVER_FLAPPING
        rule: FlappingRule = self.target.flapping
        return rule

    def contact(self) -> tuple[str, ...]:
        """Return ``contact`` of the section or its defaults, or alertcontact."""
        return tuple(
            self.target.contact
            or read_contacts(self._ini.get("general", "alertcontact"))
        )

    def timeout(self) -> float:
        """Return ``timeout`` of the section or its defaults, in seconds."""
        return float(self.target.timeout)

    def formerly(self) -> str:
        """Return an empty text: the older program did not have this kind."""
        return ""

    def getName(self) -> str:
        """Return the section's title."""
        return self.target.title

    def getStateName(self) -> str:
        """Return the section's title, so that changing the URL keeps the history."""
        return self.target.title


class Tries:
    """The tries of one check, all within its deadline."""

    def __init__(self, job: TargetJob, deadline: Deadline) -> None:
        self._job = job
        self._deadline = deadline
        self._left: int = job.target.retries
        self._first = ""

    def deadline(self) -> Deadline:
        """Return that of the next try: an equal part of what is left, without pauses.

        For the last one it is that of the check.
        """
        if not self._left or self._deadline.passed:
            return self._deadline
        pauses_s = self._left * self._job.target.retry_pause
        part_s = (self._deadline.left() - pauses_s) / (self._left + 1)
        return self._deadline.within(part_s) if part_s > 0 else self._deadline

    def pause_after(self, outcome: object) -> Deadline | None:
        """Return the end of the pause before the next try; None if there is none.

        The job is then as before the check.
        """
        if not (self._left or self._first):
            return None
        trouble = self._job._trouble(outcome)
        if not trouble:
            if self._first:
                self._job.remark = self._remark()
            return None
        pause = self._deadline.within(self._job.target.retry_pause)
        if not self._left or pause is self._deadline:
            return None
        self._left -= 1
        self._first = self._first or trouble
        self._job._begin_again()
        return pause

    def _remark(self) -> str:
        before = f"it was tried again; before: {first_line(self._first)}"
        return "\n".join(filter(None, (self._job.remark, before)))


def deadlines(jobs: Sequence[TargetJob]) -> list[Deadline]:
    """Return the ends of checks that begin now: one for all that may take as long."""
    of_limit: dict[float, Deadline] = {}
    ends = []
    for job in jobs:
        limit_s = job.timeout()
        if limit_s not in of_limit:
            of_limit[limit_s] = job._deadline()
        ends.append(of_limit[limit_s])
    return ends


#: The one that is to be overridden.
_CHECK_MANY = getattr(TargetJob.check_many, "__func__", None)


def peers_of(config: configparser.ConfigParser) -> Peers:
    """Return the peers with valid lines in [peers], and its options."""
    values, _wrong = peers.read_peers(_given(config, "peers"))
    status, _wrong = options.read_options(_given(config, "status"), options.STATUS)
    servername = config.get("general", "servername", fallback="")
    left, _ourselves = peers.without_ourselves(values, servername.strip(), status)
    return peers.peers_in(left)


def email_option(config: configparser.ConfigParser, option: str) -> Any:
    """Return the value of an option of [email], typed, or its default."""
    known = options.EMAIL[option]
    raw = config.get("email", option, fallback="").strip()
    values, _wrong = options.read_options({option: raw} if raw else {}, {option: known})
    return values.get(option, known.default)


def _given(config: configparser.ConfigParser, section: str) -> dict[str, str]:
    """Return the options of a section that have a value."""
    if not config.has_section(section):
        return {}
    return {name: raw for name, raw in config.items(section) if raw.strip()}

"""What settings say of the policy of a job, on top of what its runs recorded.

No job's code is asked: what a class or a kind says itself is in the recorded terms.
Where that shows, a default follows: what a target of a kind that ships has if its
section does not say it, and what a class has from [defaults].
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import msgspec
from msgspec.structs import replace

from lib.config.jobsections import JobSections
from lib.config.options import DEFAULTS, POLICY_OPTIONS, read_options
from lib.config.targets import Contacts, TargetSection, target_sections, typed
from lib.core.ini import IniFile
from lib.core.jobs import KIND_FILES, JobKey, Policy, Terms
from lib.core.policy import default_failures, default_recoveries
from lib.core.settings import Problem, Settings

_KINDS = {file: kind for kind, file in KIND_FILES.items()}
#: The option of each part of a policy that a replay can change.
_FIELDS = {
    "notify": "notify",
    "failures": "failures",
    "recoveries": "recoveries",
    "flapping": "flapping",
    "notify_warnings": "notifies_warnings",
    "when": "when",
}
#: Those for which a class has no hook.
_NO_HOOK = ("recoveries", "notify_warnings", "when")
#: What a class has that says nothing, nor does [defaults].
_OF_A_CLASS = Policy()


class Given(msgspec.Struct, frozen=True):
    """What the settings say of a job."""

    #: Typed, by the names of the options.
    values: Mapping[str, Any]
    #: It is the target of a section.
    is_target: bool


class Policies:
    """What settings make of the terms that runs recorded."""

    def __init__(self, settings: Settings, before: Settings) -> None:
        """``before``: the settings by which runs were made; they may be the same."""
        self._ini = settings.ini
        self._contact = settings.alertcontact
        self._contact_before = before.alertcontact
        self._sections = JobSections(settings.ini)
        self._contacts = Contacts(settings.ini)
        self._targets: dict[str, dict[str, TargetSection]] = {}
        self._defaults = _defaults(settings.ini)
        self._defaults_before = _defaults(before.ini)
        self._problems: list[Problem] = []
        self._of: dict[JobKey, Given] = {}

    def terms(self, key: JobKey, name: str, recorded: Terms) -> Terms | None:
        """Return the terms of a job by these settings; None: it is disabled."""
        if recorded.is_own or not key.is_check:
            return replace(recorded, contact=self._own_contact(recorded))
        given = self._given(key, name)
        if given.values.get("enabled") is False:
            return None
        make = _of_target if given.is_target else self._of_class
        policy = make(given.values, recorded, key)
        contact = given.values.get("contact") or self._contact_of(given, recorded)
        return replace(recorded, policy=policy, contact=contact)

    def problems(self, names: Mapping[JobKey, str]) -> list[Problem]:
        """Return what is wrong in the sections of these jobs that are targets."""
        for key, name in names.items():
            if key.is_check:
                self._given(key, name)
        return self._problems

    def _given(self, key: JobKey, name: str) -> Given:
        if key not in self._of:
            self._of[key] = self._read(key, name)
        return self._of[key]

    def _read(self, key: JobKey, name: str) -> Given:
        kind = _KINDS.get(key.file) or key.identity.partition(" ")[0]
        section = self._targets_of(kind).get(key.identity)
        if section is None:
            return Given(self._sections.of(key.file, name), is_target=False)
        own = {
            option: value
            for option, value in section.options.items()
            if option in POLICY_OPTIONS
        }
        values, wrong = typed(replace(section, options=own), POLICY_OPTIONS)
        if wrong_contact := self._contacts.problem(section):
            values = {**values, "contact": ()}
            wrong = [*wrong, wrong_contact]
        self._problems += wrong
        if section.problem is not None:
            self._problems.append(section.problem)
        return Given(values, is_target=True)

    def _targets_of(self, kind: str) -> dict[str, TargetSection]:
        if kind not in self._targets:
            self._targets[kind] = {
                section.title: section for section in target_sections(self._ini, kind)
            }
        return self._targets[kind]

    def _of_class(
        self, said: Mapping[str, Any], recorded: Terms, _key: JobKey
    ) -> Policy:
        """Return the policy of a job whose class may say more than the settings."""
        changed = {
            field: said.get(option, self._default_of_class(option, recorded.policy))
            for option, field in _FIELDS.items()
        }
        return replace(recorded.policy, **changed)

    def _default_of_class(self, option: str, recorded: Policy) -> Any:
        """Return what counts where no section says it.

        What is recorded is the class's own, unless it is as [defaults] said.
        """
        field = _FIELDS[option]
        was, of_a_class = getattr(recorded, field), getattr(_OF_A_CLASS, field)
        if option in _NO_HOOK or was == self._defaults_before.get(option, of_a_class):
            return self._defaults.get(option, of_a_class)
        return was

    def _contact_of(self, given: Given, recorded: Terms) -> tuple[str, ...]:
        if given.is_target:
            return self._contact
        was = self._defaults_before.get("contact") or self._contact_before
        if recorded.contact == was:
            return tuple(self._defaults.get("contact") or self._contact)
        return recorded.contact

    def _own_contact(self, recorded: Terms) -> tuple[str, ...]:
        is_default = recorded.contact == self._contact_before
        return self._contact if is_default else recorded.contact


def _of_target(given: Mapping[str, Any], recorded: Terms, key: JobKey) -> Policy:
    """Return the policy of a target: what its section does not say is the default."""
    was = recorded.policy
    if key.file not in _KINDS:
        # A kind of somebody's own may have other defaults.
        changed = {_FIELDS[name]: given[name] for name in _FIELDS if name in given}
        return replace(was, **changed)
    across = recorded.is_across_network
    schedule, recheck = recorded.schedule, recorded.recheck
    failures = given.get("failures") or default_failures(
        schedule, recheck, is_across_network=across
    )
    recoveries = given.get("recoveries") or default_recoveries(
        schedule, is_across_network=across
    )
    # Some kinds never flap unless their section says so.
    flapping = given.get("flapping", was.flapping)
    return replace(
        was,
        notify=given.get("notify", _OF_A_CLASS.notify),
        failures=failures,
        recoveries=recoveries,
        flapping=flapping,
        notifies_warnings=given.get("notify_warnings", True),
        when=given.get("when", ""),
    )


def _defaults(ini: IniFile) -> Mapping[str, Any]:
    """Return what [defaults] says, typed, without what is wrong there."""
    given = {name: value.raw for name, value in ini.options("defaults").items()}
    return read_options(given, DEFAULTS)[0]


#: What only new checks could show: their options, by what they change.
_NEEDS_CHECKS = ("every", "recheck", "invert", "depends", "pendinglimit", "timeout")


def needs_checks(
    before: IniFile, after: IniFile, key: JobKey
) -> Iterator[tuple[str, str]]:
    """Yield each option of a target that differs and cannot be replayed, its section.

    Those are the options of what is checked, thresholds among them.
    """
    one, other = raw_options(before, key), raw_options(after, key)
    for option in sorted({*one, *other}):
        is_policy = option in POLICY_OPTIONS and option not in _NEEDS_CHECKS
        if not is_policy and one.get(option) != other.get(option):
            yield option, key.identity


def raw_options(ini: IniFile, key: JobKey) -> Mapping[str, str]:
    """Return the options of a target with their texts; none: it has no section."""
    kind = _KINDS.get(key.file) or key.identity.partition(" ")[0]
    return _raw(ini, kind).get(key.identity, {})


@lru_cache(maxsize=64)
def _raw(ini: IniFile, kind: str) -> dict[str, dict[str, str]]:
    return {
        section.title: {name: value.raw for name, value in section.options.items()}
        for section in target_sections(ini, kind)
    }

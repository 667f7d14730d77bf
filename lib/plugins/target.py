"""Targets: jobs that are sections of settings.cfg, and settings for shipped jobs."""

from __future__ import annotations

import configparser
from collections.abc import Iterator
from typing import Any

from lib.config import kinds, options, peers
from lib.core.enums import JobFailureNotificationFrequency, JobFrequency
from lib.core.jobs import FailureRule, Target
from lib.core.settings import Peers
from lib.plugins.base import JobBase


def targets(config: configparser.ConfigParser, kind: str) -> Iterator[Target]:
    """Yield the targets of the valid sections ``[kind name]``.

    Invalid sections are reported as failing jobs when the settings are loaded.
    """
    defaults = _defaults(config)
    for section in config.sections():
        word, _space, name = section.partition(" ")
        if word == kind and name.strip():
            given = dict(config.items(section))
            target, wrong = kinds.read_target(kind, name.strip(), given, defaults)
            if not wrong:
                yield target


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


def _defaults(config: configparser.ConfigParser) -> dict[str, Any]:
    if not config.has_section("defaults"):
        return {}
    given = dict(config.items("defaults"))
    return options.read_options(given, options.POLICY_OPTIONS)[0]


class TargetJob(JobBase):
    """A job for one section of settings.cfg; its options are in lib/config/kinds.py.

    A subclass defines ``execute`` only; ``self.given`` holds the section's options.
    """

    def __init__(self, config: configparser.ConfigParser, target: Target) -> None:
        super().__init__(config, target.name)
        self.target = target
        self.given = target.values
        if was := self.given.get("was"):
            self.former_identity = f"{target.kind} {was}"

    def executeEvery(self) -> JobFrequency:
        """Return ``every`` of the section, of [defaults], or of the kind."""
        return JobFrequency(self.given["every"])

    def notifyOnFailureEvery(self) -> JobFailureNotificationFrequency:
        """Return ``notify`` of the section or of [defaults]."""
        return JobFailureNotificationFrequency(self.given["notify"])

    def numberFailuresBeforeNotification(self) -> int | FailureRule:
        """Return ``failures`` of the section or of [defaults]."""
        rule: FailureRule = self.given["failures"]
        return rule

    def contact(self) -> tuple[str, ...]:
        """Return ``contact`` of the section, of [defaults], or alertcontact."""
        return tuple(self.given["contact"] or super().contact())

    def timeout(self) -> float:
        """Return ``timeout`` of the section or of [defaults], in seconds."""
        return float(self.given["timeout"])

    def getName(self) -> str:
        """Return the section's title."""
        return self.target.section

    def getStateName(self) -> str:
        """Return the section's title, so that changing the URL keeps the history."""
        return self.target.section

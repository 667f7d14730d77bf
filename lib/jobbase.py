"""The contract with job authors: derive from JobBase, or from JobSpawner.

A job file needs nothing else of ours.  ``help(JobBase)`` is meant to be enough to
write a job; README.md has one to start from.
"""

from __future__ import annotations

import configparser

from lib.core.enums import (
    JobFailureCountMinimumBeforeNotification,
    JobFailureNotificationFrequency,
    JobFrequency,
)
from lib.core.jobs import MAX_TIMEOUT_S, Target
from lib.core.settings import Peer, Peers
from lib.plugins.base import (
    CheckFailed,
    CheckPending,
    CheckUnknown,
    JobBase,
    JobSpawner,
    send_probe,
)
from lib.plugins.target import email_option, peers_of, targets

__all__ = [
    "CheckFailed",
    "CheckPending",
    "CheckUnknown",
    "JobBase",
    "JobFailureCountMinimumBeforeNotification",
    "JobFailureNotificationFrequency",
    "JobFrequency",
    "JobSpawner",
    "Peer",
    "Peers",
    "MAX_TIMEOUT_S",
    "Target",
    "TargetJob",
    "email_option",
    "fetch",
    "peers_of",
    "reach",
    "send_probe",
    "targets",
    "tls",
]


class TargetJob(JobBase):
    """One target of the settings; what it may say of itself is in ``lib/config/kinds.py``.

    A subclass gives ``execute`` only; ``self.values`` holds the section's options.
    """

    def __init__(self, config: configparser.ConfigParser, target: Target) -> None:
        super().__init__(config, target.name)
        self.target = target
        self.values = target.values

    def executeEvery(self) -> JobFrequency:
        """Return ``every`` of the section, of [defaults], or of the kind."""
        return JobFrequency(self.values["every"])

    def notifyOnFailureEvery(self) -> JobFailureNotificationFrequency:
        """Return ``notify`` of the section or of [defaults]."""
        return JobFailureNotificationFrequency(self.values["notify"])

    def numberFailuresBeforeNotification(self) -> int:
        """Return ``failures`` of the section or of [defaults]."""
        return int(self.values["failures"])

    def contact(self) -> tuple[str, ...]:
        """Return ``contact`` of the section, of [defaults], or alertcontact."""
        return tuple(self.values["contact"] or super().contact())

    def timeout(self) -> float:
        """Return ``timeout`` of the section or of [defaults], in seconds."""
        return float(self.values["timeout"])

    def getName(self) -> str:
        """Return the section's title."""
        return self.target.section

    def getStateName(self) -> str:
        """Return the section's title, so that changing the URL keeps the history."""
        return self.target.section

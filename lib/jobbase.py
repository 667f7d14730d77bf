"""What job files import: derive your class from JobBase, or from JobSpawner.

``help(JobBase)`` says how to write a job; docs/jobs.md has one to start from.
"""

from __future__ import annotations

from lib.core.enums import (
    JobFailureCountMinimumBeforeNotification,
    JobFailureNotificationFrequency,
    JobFrequency,
)
from lib.core.jobs import MAX_TIMEOUT_S, Target
from lib.core.results import Threshold, Unit, Value
from lib.core.settings import Peer, Peers
from lib.plugins.base import (
    CheckFailed,
    CheckPending,
    CheckUnknown,
    CheckWarning,
    JobBase,
    JobSpawner,
    send_round_trip,
)
from lib.plugins.target import TargetJob, email_option, peers_of, targets

__all__ = [
    "CheckFailed",
    "CheckPending",
    "CheckUnknown",
    "CheckWarning",
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
    "Threshold",
    "Unit",
    "Value",
    "email_option",
    "peers_of",
    "send_round_trip",
    "targets",
]

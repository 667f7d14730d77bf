"""What job files import: derive your class from JobBase, JobSpawner or TargetJob.

``help(JobBase)`` says how to write a job, ``help(TargetJob)`` how to write a kind of
target; docs/jobs.md has one of each to start from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lib.config.fields import (
    Share,
    absolute_path,
    addresses,
    bytes_pattern,
    dialog,
    endpoint,
    escaped,
    exit_codes,
    host,
    many,
    one_of,
    pattern,
    percent_up_to,
    plain,
    port,
    regex,
    secret,
    share_or_size,
    socket_path,
    statuses,
    switch,
    text,
    time_zone,
    url,
    whole,
)
from lib.core.enums import (
    JobFailureCountMinimumBeforeNotification,
    JobFailureNotificationFrequency,
    JobFrequency,
)
from lib.core.jobs import MAX_TIMEOUT_S, Rule
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
from lib.plugins.kind import (
    ADDRESS_OPTIONS,
    DIALOG_OPTIONS,
    SERVER_NAME,
    TRUST_OPTIONS,
    Clash,
    Options,
    Quantity,
    Target,
    anything_or_text,
    bytes_,
    count,
    option,
    per_second,
    percent,
    seconds,
    talk_with_nobody,
    text_options,
    with_free,
)
from lib.plugins.target import TargetJob, Values, email_option, peers_of

if TYPE_CHECKING:
    from lib.net.connect import Deadline
    from lib.plugins import (
        aside,
        backups,
        contents,
        files,
        journal,
        kernel,
        logfiles,
        processes,
        search,
    )
    from lib.plugins.command import (
        COMMAND_OPTIONS,
        CommandJob,
        Ended,
        first_of,
        output_of,
    )

__all__ = [
    "ADDRESS_OPTIONS",
    "COMMAND_OPTIONS",
    "CommandJob",
    "Ended",
    "DIALOG_OPTIONS",
    "SERVER_NAME",
    "TRUST_OPTIONS",
    "CheckFailed",
    "CheckPending",
    "CheckUnknown",
    "CheckWarning",
    "Clash",
    "Deadline",
    "JobBase",
    "JobFailureCountMinimumBeforeNotification",
    "JobFailureNotificationFrequency",
    "JobFrequency",
    "JobSpawner",
    "MAX_TIMEOUT_S",
    "Options",
    "Peer",
    "Peers",
    "Quantity",
    "Share",
    "Rule",
    "Target",
    "TargetJob",
    "Threshold",
    "Unit",
    "Value",
    "Values",
    "absolute_path",
    "addresses",
    "aside",
    "backups",
    "anything_or_text",
    "bytes_",
    "bytes_pattern",
    "contents",
    "count",
    "dialog",
    "email_option",
    "endpoint",
    "escaped",
    "exit_codes",
    "files",
    "first_of",
    "host",
    "journal",
    "kernel",
    "logfiles",
    "many",
    "one_of",
    "option",
    "output_of",
    "pattern",
    "peers_of",
    "per_second",
    "percent",
    "percent_up_to",
    "plain",
    "port",
    "processes",
    "regex",
    "search",
    "seconds",
    "secret",
    "send_round_trip",
    "share_or_size",
    "socket_path",
    "statuses",
    "switch",
    "talk_with_nobody",
    "text",
    "text_options",
    "time_zone",
    "url",
    "whole",
    "with_free",
]


#: For kinds that run programs.
_OF_COMMANDS = (
    "COMMAND_OPTIONS",
    "CommandJob",
    "Ended",
    "first_of",
    "output_of",
)


def __getattr__(name: str) -> Any:
    """Return what is in a module that is imported only where a job file asks for it."""
    if name in _OF_COMMANDS:
        from lib.plugins import command

        return getattr(command, name)
    if name == "aside":
        from lib.plugins import aside

        return aside
    if name == "backups":
        from lib.plugins import backups

        return backups
    if name == "contents":
        from lib.plugins import contents

        return contents
    if name == "Deadline":
        from lib.net.connect import Deadline

        return Deadline
    if name == "files":
        from lib.plugins import files

        return files
    if name == "journal":
        from lib.plugins import journal

        return journal
    if name == "kernel":
        from lib.plugins import kernel

        return kernel
    if name == "logfiles":
        from lib.plugins import logfiles

        return logfiles
    if name == "processes":
        from lib.plugins import processes

        return processes
    if name == "search":
        from lib.plugins import search

        return search
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

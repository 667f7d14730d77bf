"""The nouns of Checker: enums for choices, frozen dataclasses for facts.

Nothing here acts, and nothing of ours is imported.  A value that two rooms pass
to each other has its class here; one of which there may be thousands has slots.
"""

from __future__ import annotations

import enum


class JobFrequency(enum.StrEnum):
    """How often a job runs; the values are those of ``-c`` and of ``every =``."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    DAY_NOON = "day_noon"


class JobFailureNotificationFrequency(enum.StrEnum):
    """How often people hear of a failure that lasts; ``notify =`` in settings."""

    EVERYTIME = "every"
    EVERYFIVEMINUTES = "5min"
    EVERYTENMINUTES = "10min"
    EVERYHOUR = "hour"
    EVERYDAY = "day"
    ONSTATECHANGE = "state_change"


class JobFailureCountMinimumBeforeNotification(enum.IntEnum):
    """How many failures in a row come before the first alert; any int >= 1 will do."""

    ONE = 1
    TWO = 2
    FIVE = 5
    TEN = 10


class Status(enum.StrEnum):
    """What an execution found, and what a job is remembered to be."""

    OK = "ok"
    FAILING = "failing"
    #: The check could not be made, or what was remembered is lost: not fine.
    UNKNOWN = "unknown"
    #: Under way: asked again in the next minute run.
    PENDING = "pending"


class Decision(enum.StrEnum):
    """What follows from a result: a stable code, as the audit log stores it.

    ``lib/core/decisions.py`` has the words for people.
    """

    OK = "ok"
    PENDING = "pending"
    #: Failing, and not often enough in a row for an alert.
    NOT_YET = "not_yet"
    FIRST_ALERT = "first_alert"
    REMINDER = "reminder"
    #: Failing, and it is not time for a reminder.
    TOO_SOON = "too_soon"
    #: Failing, and there are no reminders.
    ALREADY_NOTIFIED = "already_notified"
    RECOVERY = "recovery"
    #: OK again, and no mail says so.
    QUIET_RECOVERY = "quiet_recovery"

    @property
    def notifies(self) -> bool:
        """Return whether a message is due."""
        return self in (Decision.FIRST_ALERT, Decision.REMINDER, Decision.RECOVERY)


class Health(enum.StrEnum):
    """The word a peer is told, alone on the first line of our answer."""

    OK = "True"
    MAIL_PROBLEM = "MailProblem"
    JOB_PROBLEM = "JobProblem"


class DeliveryResult(enum.StrEnum):
    """What became of a message that is queued no longer."""

    #: A mail server took it.
    SENT = "sent"
    #: With nomail: it was written to the log, and nobody was mailed.
    LOGGED = "logged"
    #: It was refused for good.
    REFUSED = "refused"


class MessageKind(enum.StrEnum):
    """Why a message exists."""

    ALERT = "alert"
    REMINDER = "reminder"
    RECOVERY = "recovery"
    #: Anything else: what a job sends of its own accord, a summary of Checker's.
    NOTE = "note"
    #: A mail to ourselves, to see that mail arrives: it never waits for others.
    ROUND_TRIP = "probe"
    #: What ``[summary]`` asks for; people read its number, so it is a mail of its own.
    SUMMARY = "summary"

    @property
    def is_about_trouble(self) -> bool:
        """Return whether it tells how a job is, by its policy."""
        return self in (
            MessageKind.ALERT,
            MessageKind.REMINDER,
            MessageKind.RECOVERY,
        )

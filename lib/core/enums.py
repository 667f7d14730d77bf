"""Enums for choices.  A value is the stable code in files, JSON and the peer answer."""

from __future__ import annotations

import enum

#: That of Checker, as setup.cfg has it.
VERSION = "0.1.0"


class JobFrequency(enum.StrEnum):
    """How often a job runs; the values are those of ``-c`` and of ``every =``."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    DAY_NOON = "day_noon"


class JobFailureNotificationFrequency(enum.StrEnum):
    """How often a lasting failure is notified; ``notify =`` in settings."""

    EVERYTIME = "every"
    EVERYFIVEMINUTES = "5min"
    EVERYTENMINUTES = "10min"
    EVERYHOUR = "hour"
    EVERYDAY = "day"
    ONSTATECHANGE = "state_change"


class JobFailureCountMinimumBeforeNotification(enum.IntEnum):
    """Consecutive failures before the first alert; any int >= 1 is accepted."""

    ONE = 1
    TWO = 2
    FIVE = 5
    TEN = 10


class Status(enum.StrEnum):
    """The status of a result, and of a job by its record."""

    OK = "ok"
    #: Notified when it begins and when it is over; no failure.
    WARNING = "warning"
    FAILING = "failing"
    #: The check could not be made, or the record was lost: notified as failing is.
    UNKNOWN = "unknown"
    #: Under way: checked again in the next minute run.
    PENDING = "pending"

    @property
    def is_failure(self) -> bool:
        """Return whether it counts as a failure: failing or unknown."""
        return self in (Status.FAILING, Status.UNKNOWN)


class Severity(enum.StrEnum):
    """How bad the news of a message is, its recovery included."""

    WARNING = "warning"
    #: Failing or unknown.
    CRITICAL = "critical"


class Decision(enum.StrEnum):
    """What follows from a result: a stable code, as the audit log stores it.

    ``lib/core/decisions.py`` has the words for people.
    """

    OK = "ok"
    PENDING = "pending"
    #: Failing, with too few consecutive failures for an alert.
    NOT_YET = "not_yet"
    FIRST_ALERT = "first_alert"
    REMINDER = "reminder"
    #: Failing, and it is not time for a reminder.
    TOO_SOON = "too_soon"
    #: Failing, and there are no reminders.
    ALREADY_NOTIFIED = "already_notified"
    #: Flapping: the changes are not notified one by one, and no reminder is due.
    FLAPPING = "flapping"
    #: OK or a warning, with too few results of that kind to end the failure.
    RECOVERING = "recovering"
    #: The failure is over, or the warning.
    RECOVERY = "recovery"
    #: It is over, and no mail says so.
    QUIET_RECOVERY = "quiet_recovery"
    #: A warning, and no mail says so: ``notify_warnings = no``.
    QUIET_WARNING = "quiet_warning"
    #: An alert is held back: somebody muted the job.
    MUTED = "muted"
    #: Somebody knows of the failure: no reminder, unless it gets worse.
    ACKNOWLEDGED = "acknowledged"
    #: An alert is held back by a maintenance window.
    MAINTENANCE = "maintenance"
    #: What the job depends on is failing.
    UNREACHABLE = "unreachable"
    #: No anchor answers: this machine has no network.
    BLIND = "blind"

    @property
    def notifies(self) -> bool:
        """Return whether a message is due."""
        return self in (Decision.FIRST_ALERT, Decision.REMINDER, Decision.RECOVERY)

    @property
    def holds_back(self) -> bool:
        """Return whether an alert is held back."""
        return self in _HOLDS_BACK

    @property
    def is_about_the_way(self) -> bool:
        """Return whether it says that the target could not be reached to be judged."""
        return self in IN_THE_WAY


#: What says that a target could not be reached to be judged.
IN_THE_WAY = (Decision.UNREACHABLE, Decision.BLIND)
_HOLDS_BACK = frozenset(
    {
        Decision.MUTED,
        Decision.ACKNOWLEDGED,
        Decision.MAINTENANCE,
        *IN_THE_WAY,
    }
)


class Health(enum.StrEnum):
    """The word for peers, alone on the first line of our answer."""

    OK = "True"
    MAIL_PROBLEM = "MailProblem"
    JOB_PROBLEM = "JobProblem"


class DeliveryResult(enum.StrEnum):
    """What became of a message that is no longer queued."""

    #: A mail server accepted it.
    SENT = "sent"
    #: With nomail: written to the log instead of sent.
    LOGGED = "logged"
    #: Rejected for good.
    REFUSED = "refused"


class DeferralCode(enum.StrEnum):
    """What a queued message waits for."""

    #: Nothing: the next run sends it.
    NEXT_RUN = "next_run"
    #: The last attempt failed; another one comes.
    RETRY = "retry"
    #: The mail server is rate-limiting us.
    SERVER_LIMIT = "server_limit"
    #: The login was refused too often.
    LOGIN_REFUSED = "login_refused"
    #: The next bundle to the same recipients.
    NEXT_BUNDLE = "next_bundle"
    #: Our own rate limit.
    RATE_LIMIT = "rate_limit"
    #: The window of its channel or its job: ``when``.
    WINDOW = "window"


class MessageKind(enum.StrEnum):
    """Why a message exists."""

    ALERT = "alert"
    REMINDER = "reminder"
    RECOVERY = "recovery"
    #: The job is gone, and was not OK.
    CLOSING = "closing"
    #: Anything else: what a job sends of its own accord, Checker's own notices.
    NOTE = "note"
    #: A mail to ourselves that proves that mail arrives; never held back.
    ROUND_TRIP = "round_trip"
    #: A summary of ``[summary]``; it is numbered, and never bundled.
    SUMMARY = "summary"
    #: A numbered test message of a channel, ``proof = weekly``; never bundled.
    PROOF = "proof"

    @property
    def is_about_trouble(self) -> bool:
        """Return whether it notifies of a job's status, by its policy."""
        return self in _ABOUT_TROUBLE

    @property
    def ends_trouble(self) -> bool:
        """Return whether it tells of the end of what people were notified of."""
        return self in (MessageKind.RECOVERY, MessageKind.CLOSING)


_ABOUT_TROUBLE = frozenset(
    {
        MessageKind.ALERT,
        MessageKind.REMINDER,
        MessageKind.RECOVERY,
        MessageKind.CLOSING,
    }
)

"""When a job is flapping: it changes so often that a message for each change is noise.

A job begins to flap when its status has changed ``flapping`` times, by default 6 within
the last 20 checks, and within 24 hours.  One message then names the changes and their
times.  After it no change is notified, and reminders follow the policy, until the
status has been steady for 10 checks or for an hour; then one message says how it is.

Other monitors were the starting point:

- Nagios weighs the changes among the last 21 checks and begins at 20% or 30%, ends at
  5% or 20%.  It leaves out failures below ``max_check_attempts``, so what fails at
  every other check is never told at all.
  https://assets.nagios.com/downloads/nagioscore/docs/nagioscore/4/en/flapping.html
- Icinga 2 weighs the last 20 results, each of them, and has 30% and 25%.
  https://icinga.com/docs/icinga-2/latest/doc/08-advanced-topics/#check-flapping
- Healthchecks has no such state; its grace time delays the alert, see
  https://github.com/healthchecks/healthchecks/issues/858

6 of 20 are the 30% of both.  Each result counts, as in Icinga: ``failures`` may hide a
short failure, but not that there is one every few minutes.  Changes are not weighed,
so that a person can count them in the message and see why it came.  The end is a rule
of its own, because a percentage falls for reasons that nobody can see: a status that
has not changed for 10 checks is steady.  A limit of 24 hours keeps daily jobs out.
"""

from __future__ import annotations

import enum
from datetime import datetime, timedelta

from msgspec.structs import replace

from lib.core.enums import Decision, Status
from lib.core.jobs import Policy
from lib.core.records import Change, Record

#: Changes longer ago than this do not count.
WINDOW = timedelta(hours=24)
#: So many checks without a change, or so long, end it.
STEADY_CHECKS = 10
#: A little shorter than an hour, so that an hourly check is never just too early.
STEADY_FOR = timedelta(minutes=59, seconds=30)
#: From the worst on.
_SEVERITY = (Status.FAILING, Status.UNKNOWN, Status.WARNING)


class Phase(enum.StrEnum):
    """What a check says of flapping."""

    BEGINS = "begins"
    LASTS = "lasts"
    IS_OVER = "is_over"


def phase(
    record: Record, status: Status, policy: Policy, now: datetime
) -> Phase | None:
    """Return what a check with this status says of flapping; None for nothing.

    ``record`` is from before the check.
    """
    if record.flapping_since is not None:
        is_over = _is_steady(counted(record, status, policy, now), now)
        return Phase.IS_OVER if is_over else Phase.LASTS
    return Phase.BEGINS if _begins(record, status, policy, now) else None


def phase_of(
    record: Record, status: Status, decision: Decision, policy: Policy, now: datetime
) -> Phase | None:
    """Return the same after ``decide``, which had a clock of its own."""
    if record.flapping_since is not None:
        if decision in (Decision.FLAPPING, Decision.REMINDER):
            return Phase.LASTS
        if decision is Decision.FIRST_ALERT and record.held is not None:
            # The end of a mute and the like says nothing of flapping.
            return phase(record, status, policy, now)
        if decision in (Decision.FIRST_ALERT, Decision.RECOVERY):
            return Phase.IS_OVER
        return phase(record, status, policy, now)
    if decision is Decision.FIRST_ALERT and _begins(record, status, policy, now):
        return Phase.BEGINS
    return None


def counted(record: Record, status: Status, policy: Policy, now: datetime) -> Record:
    """Return the record with one more check, and the changes that still count."""
    if not policy.flapping.changes:
        return _without(record) if record.changes else record
    status = _as_counted(status, policy)
    is_change = _is_change(record, status, policy)
    if not (record.changes or is_change):
        return record
    check = record.checks + 1
    changes = [
        change
        for change in record.changes
        if check - change.check < policy.flapping.checks and now - change.at < WINDOW
    ]
    if is_change:
        changes.append(Change(check, now, status))
    elif not changes and record.flapping_since is not None:
        # The one since which it has been steady.
        changes = [record.changes[-1]]
    if not changes:
        return _without(record)
    return replace(record, changes=tuple(changes), checks=check)


def settled(record: Record, now: datetime) -> Record:
    """Return the record without changes that are too old, and none in the future."""
    if not record.changes:
        return record
    changes = [
        change if change.at <= now else replace(change, at=now)
        for change in record.changes
    ]
    if record.flapping_since is None:
        changes = [change for change in changes if now - change.at < WINDOW]
    elif record.flapping_since > now:
        record = replace(record, flapping_since=now)
    if not changes:
        return _without(record)
    return (
        record
        if list(record.changes) == changes
        else replace(record, changes=tuple(changes))
    )


def over(record: Record) -> Record:
    """Return the record of a job that is steady; counting begins anew."""
    return replace(_without(record), flapping_since=None)


def worst(record: Record) -> Status:
    """Return the worst status among the changes that count."""
    statuses = [change.status for change in record.changes]
    return next((status for status in _SEVERITY if status in statuses), Status.FAILING)


def _begins(record: Record, status: Status, policy: Policy, now: datetime) -> bool:
    # Without a change it does not begin, also where the rule was made stricter.
    if not policy.flapping.changes or not _is_change(record, status, policy):
        return False
    changes = counted(record, status, policy, now).changes
    return len(changes) >= policy.flapping.changes


def _is_steady(record: Record, now: datetime) -> bool:
    if not record.changes:
        # As with ``flapping = no``, since the last check.
        return True
    last = record.changes[-1]
    if now - last.at >= STEADY_FOR:
        return True
    return record.checks - last.check >= STEADY_CHECKS


def _without(record: Record) -> Record:
    return replace(record, changes=(), checks=0)


def _is_change(record: Record, status: Status, policy: Policy) -> bool:
    last = _last_status(record, policy)
    return last is not None and _as_counted(status, policy) is not last


def _last_status(record: Record, policy: Policy) -> Status | None:
    """Return the status of the last check; None if its record was lost.

    While a failure is not over for want of ``recoveries``, that is not the job's.
    """
    if record.changes:
        return record.changes[-1].status
    if record.recovering:
        return Status.OK
    if record.status is Status.UNKNOWN and not record.failures:
        return None
    return _as_counted(record.status, policy)


def _as_counted(status: Status, policy: Policy) -> Status:
    """Return OK for a warning that nobody wants to be notified of."""
    is_quiet = status is Status.WARNING and not policy.notifies_warnings
    return Status.OK if is_quiet else status

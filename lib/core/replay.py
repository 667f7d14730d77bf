"""Notifications that were sent beside those that other settings would have sent.

``compared`` pairs the two: what was decided in the same run, then what is about the
same failure at another time.  ``lib/alerting/replay.py`` makes the notifications.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

from lib.core.decisions import People
from lib.core.enums import Decision, Status
from lib.core.flapping import Phase
from lib.core.jobs import JobKey

#: The same run: it ends within 55 s, and the next one begins a minute after it.
SAME_RUN = timedelta(seconds=55)


class What(enum.StrEnum):
    """What a notification says: a stable code."""

    FIRST_ALERT = "first_alert"
    WARNING = "warning"
    FLAPPING = "flapping"
    REMINDER = "reminder"
    ESCALATION = "escalation"
    RECOVERY = "recovery"
    #: The job is no longer checked, and was not OK.
    CLOSING = "closing"

    @property
    def begins(self) -> bool:
        """Return whether it is the first that people hear of a failure or warning."""
        return self in (What.FIRST_ALERT, What.WARNING, What.FLAPPING)


def what_of(decision: Decision, status: Status, phase: Phase | None) -> What:
    """Return what a decision that notifies says."""
    if decision is Decision.REMINDER:
        return What.REMINDER
    if decision is Decision.RECOVERY:
        return What.RECOVERY
    if phase is Phase.BEGINS:
        return What.FLAPPING
    return What.WARNING if status is Status.WARNING else What.FIRST_ALERT


class Notification(NamedTuple):
    """A notification about one job, as it is queued for people."""

    key: JobKey
    name: str
    what: What
    #: When it was decided.
    at: datetime
    #: When it may leave: later, where it waits for its window.
    leaves_at: datetime
    to: People
    #: With nomail: it was written to the log instead of sent.
    is_logged: bool = False


class Told(NamedTuple):
    """The notifications of one job in their order."""

    notifications: Sequence[Notification] = ()
    #: When what people knew of was over, whether or not they were notified of that.
    ends: Sequence[datetime] = ()

    def within(self, since: datetime, until: datetime) -> Told:
        """Return those of a time, with all ends."""
        found = [one for one in self.notifications if since <= one.at < until]
        return Told(found, self.ends)


class Pair(NamedTuple):
    """A notification that was sent, and the one that would be; None: there is none."""

    sent: Notification | None
    would_be: Notification | None

    @property
    def either(self) -> Notification:
        """Return the one that was sent, or else the one that would be."""
        found = self.sent or self.would_be
        assert found is not None
        return found

    @property
    def delay(self) -> timedelta:
        """Return how much later it would be; nothing if there is one of them only.

        Within a run it is no delay.
        """
        if self.sent is None or self.would_be is None:
            return timedelta(0)
        delay = self.would_be.leaves_at - self.sent.leaves_at
        return delay if abs(delay) >= SAME_RUN else timedelta(0)

    @property
    def is_same(self) -> bool:
        """Return whether nothing differs."""
        if self.sent is None or self.would_be is None or self.delay:
            return False
        return (self.sent.what, self.sent.to) == (self.would_be.what, self.would_be.to)


def compared(sent: Told, would_be: Told) -> list[Pair]:
    """Return what was sent to people about one job beside what would be, in order."""
    pairs, others = _of_same_runs(sent.notifications, would_be.notifications)
    pairs += _of_same_failures(sent, would_be, pairs, others)
    return sorted(pairs, key=lambda pair: (pair.either.at, pair.either.what))


class _Others(NamedTuple):
    """What has no counterpart yet."""

    sent: list[Notification]
    would_be: list[Notification]


def _of_same_runs(
    sent: Iterable[Notification], would_be: Iterable[Notification]
) -> tuple[list[Pair], _Others]:
    """Return the pairs that were decided in one run, and what is left."""
    pairs, left, free = [], [], list(would_be)
    for one in sent:
        same = [
            other
            for other in free
            if other.what is one.what and abs(other.at - one.at) < SAME_RUN
        ]
        if not same:
            left.append(one)
            continue
        nearest = min(same, key=lambda other: abs(other.at - one.at))
        free.remove(nearest)
        pairs.append(Pair(one, nearest))
    return pairs, _Others(left, free)


class _Failure(NamedTuple):
    """From the first that people hear of a failure until it is over for them."""

    first: Notification
    ends_at: datetime | None

    def holds(self, moment: datetime) -> bool:
        return self.first.at <= moment and (
            self.ends_at is None or moment <= self.ends_at
        )


def _failures(told: Told) -> list[_Failure]:
    firsts = [one for one in told.notifications if one.what.begins]
    found = []
    for one, following in pairwise([*firsts, None]):
        assert one is not None
        ends = [end for end in told.ends if end >= one.at]
        if following is not None:
            ends.append(following.at)
        found.append(_Failure(one, min(ends, default=None)))
    return found


def _overlap(one: _Failure, other: _Failure) -> bool:
    return one.holds(other.first.at) or other.holds(one.first.at)


def _of_same_failures(
    sent: Told, would_be: Told, pairs: Sequence[Pair], others: _Others
) -> Iterator[Pair]:
    """Yield the pairs of what is left: of one failure, or without a counterpart."""
    counterparts = {pair.sent: pair.would_be for pair in pairs}
    candidates = _failures(would_be)
    for failure in _failures(sent):
        counterpart = counterparts.get(failure.first)
        match = _same_failure(failure, counterpart, candidates, others)
        if match is not None:
            candidates.remove(match)
            yield from _of_failure(failure, match, others)
    for one in others.sent:
        yield Pair(one, None)
    for one in others.would_be:
        yield Pair(None, one)


def _same_failure(
    failure: _Failure,
    counterpart: Notification | None,
    candidates: Iterable[_Failure],
    others: _Others,
) -> _Failure | None:
    """Return the failure that would be in place of one; None: there would be none.

    It begins with the counterpart of the first alert.  Where that has none, it is the
    earliest that overlaps.
    """
    for candidate in candidates:
        if counterpart is not None:
            is_same = candidate.first == counterpart
        else:
            is_free = candidate.first in others.would_be
            is_same = is_free and _overlap(failure, candidate)
        if is_same:
            return candidate
    return None


def _of_failure(failure: _Failure, match: _Failure, others: _Others) -> Iterator[Pair]:
    """Yield the pairs of one failure, and remove them from what is left."""
    for one in [one for one in others.sent if failure.holds(one.at)]:
        for other in others.would_be:
            if match.holds(other.at) and _is_alike(one, other, failure, match):
                others.sent.remove(one)
                others.would_be.remove(other)
                yield Pair(one, other)
                break


def _is_alike(
    one: Notification, other: Notification, failure: _Failure, match: _Failure
) -> bool:
    """Return whether one of a failure says what the other says of its match."""
    if one.what is not other.what:
        # A failure may begin with a warning, and its match with an alert.
        return one == failure.first and other == match.first
    if one.what is not What.REMINDER:
        return True
    # All of it may be later by as much as the first alert; beyond that reminders are
    # others.
    shift = abs(match.first.at - failure.first.at) + SAME_RUN
    return abs(other.at - one.at) < shift


class Sum(NamedTuple):
    """What differs between what was sent and what would be."""

    sent: int
    #: How many of them were only logged, with nomail.
    logged: int
    would_be: int
    #: By how much the first alerts of failures would be later, or earlier.
    later: Sequence[timedelta]
    earlier: Sequence[timedelta]
    #: Failures of which nobody would hear, and of which only now somebody would.
    never: int
    new: int
    #: What would go to others.
    elsewhere: int


def sum_of(pairs: Iterable[Pair]) -> Sum:
    """Return what differs."""
    pairs = list(pairs)
    firsts = [pair for pair in pairs if pair.either.what.begins]
    delays = [pair.delay for pair in firsts]
    return Sum(
        sum(pair.sent is not None for pair in pairs),
        sum(pair.sent is not None and pair.sent.is_logged for pair in pairs),
        sum(pair.would_be is not None for pair in pairs),
        [delay for delay in delays if delay > timedelta(0)],
        [-delay for delay in delays if delay < timedelta(0)],
        sum(pair.would_be is None for pair in firsts),
        sum(pair.sent is None for pair in firsts),
        sum(
            pair.sent is not None
            and pair.would_be is not None
            and pair.sent.to != pair.would_be.to
            for pair in pairs
        ),
    )

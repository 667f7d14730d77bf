"""What a group finds: how many of its members must be OK, ``[group NAME]``.

Members that say nothing of what they watch (unknown, unreachable, not checked yet) may
be OK or failing: a group is OK or failing only if it would be so either way.
Pure functions of values; the stories are in ``tests/unit/core/test_groups.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from lib.core.enums import Decision, Status
from lib.core.jobs import Rule
from lib.core.text import age, duration, some_of

#: So many members are named in the first line, and so many have a line of their own.
NAMED, LINES = 3, 20


class Member(msgspec.Struct, frozen=True):
    """How a member of a group is, by its last result."""

    name: str
    #: PENDING: it has had no result yet.
    status: Status
    #: When it was found so; None: in this run, or not known.
    at: datetime | None = None
    #: UNREACHABLE or BLIND, if that is why it says nothing.
    way: Decision | None = None
    #: Why nobody is notified of it: ``muted``; empty: they are.
    held: str = ""
    reason: str = ""

    def words(self, now: datetime) -> str:
        """Return it for people: ``http b is failing (5 minutes ago), muted``."""
        status = str(self.way or self.status)
        if self.status is Status.PENDING:
            status = "not checked yet"
        when = f" ({duration(age(self.at, now))} ago)" if self.at else ""
        held = f", {self.held}" if self.held else ""
        return f"{self.name} is {status}{when}{held}"


class Found(msgspec.Struct, frozen=True):
    """What follows for a group from its members."""

    status: Status
    reason: str
    #: UNREACHABLE or BLIND, if it would be known but for members that are.
    way: Decision | None = None


def found(
    rule: Rule, members: Sequence[Member], now: datetime, *, disabled: int = 0
) -> Found:
    """Return what follows from the members, ``disabled`` ones left out."""
    status, way = status_of(rule, members)
    reason = _reason(rule, members, now, disabled)
    if rule.is_inverted and status is Status.FAILING:
        status = Status.OK
    elif rule.is_inverted and status in (Status.OK, Status.WARNING):
        status = Status.FAILING
        reason = f"invert = yes asks that it fails, and {reason}"
    return Found(status, reason, way)


def status_of(rule: Rule, members: Sequence[Member]) -> tuple[Status, Decision | None]:
    """Return the status of a group, and what keeps it from being known.

    A warning counts as OK where it decides nothing; the group is a warning if it needs
    one.  What has had no result yet has the group wait, and what is unreachable has it
    be so, too.
    """
    if not members:
        return Status.UNKNOWN, None
    need = rule.need or len(members)
    ways = [member.way for member in members if member.way is not None]
    reached = [member.status for member in members if member.way is None]
    enough = reached.count(Status.OK)
    if enough >= need:
        return Status.OK, None
    # In this order: each may be what is missing.
    for status in (Status.WARNING, Status.PENDING):
        enough += reached.count(status)
        if enough >= need:
            return status, None
    if enough + len(ways) >= need:
        return Status.UNKNOWN, max(ways, key=lambda way: way is Decision.BLIND)
    if enough + len(ways) + reached.count(Status.UNKNOWN) >= need:
        return Status.UNKNOWN, None
    return Status.FAILING, None


def _reason(rule: Rule, members: Sequence[Member], now: datetime, disabled: int) -> str:
    """Return how many members are OK, which are not, and why each is not."""
    if not members:
        return "all its members are disabled" if disabled else "it has no members"
    others = sorted(
        (member for member in members if _is_worth_naming(member)), key=_severity
    )
    good = len(members) - len(others)
    verb = "is" if good == 1 else "are"
    line = f"{good} of {len(members)} {verb} OK, need = {rule.need or 'all'}"
    if disabled:
        line += f", {disabled} more disabled"
    if others:
        line += f": {some_of([member.words(now) for member in others], NAMED)}"
    else:
        line += _oldest(members, now)
    lines = [f"{member.name}: {member.reason}" for member in others if member.reason]
    return "\n".join((line, *lines[:LINES]))


def _is_worth_naming(member: Member) -> bool:
    return member.way is not None or member.status is not Status.OK


_ORDER = (Status.FAILING, Status.UNKNOWN, Status.WARNING, Status.PENDING)


def _severity(member: Member) -> tuple[bool, int]:
    is_reached = member.way is None
    return not is_reached, _ORDER.index(member.status) if is_reached else 0


def _oldest(members: Sequence[Member], now: datetime) -> str:
    times = [member.at for member in members if member.at is not None]
    if not times:
        return ""
    return f"; the oldest result is {duration(age(min(times), now))} old"

"""Unchanged settings over the soak's history give the notifications of the audit log.

Exactly: for each job the same notifications to the same people, decided in the same
second.  Only where a run was killed after it had stored its decision, and before it
could write anything else, the next run of its job may be the one that says it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from lib.core.replay import Pair
from tests.support.replays import words

#: So long after a kill its job may be counted otherwise: until a target is failing, or
#: OK again, for as many runs as its policy asks for.
AFTER_A_KILL = timedelta(minutes=4)


def differences(pairs: Iterable[Pair], killed: Iterable[datetime]) -> list[str]:
    """Return what a replay of unchanged settings has otherwise, but for kills."""
    kills = [moment.astimezone(UTC) for moment in killed]
    return [
        f"replayed otherwise: {words(pair)}"
        for pair in pairs
        if not pair.is_same and not _is_of_a_kill(pair, kills)
    ]


def _is_of_a_kill(pair: Pair, kills: Iterable[datetime]) -> bool:
    at = pair.either.at
    return any(kill <= at <= kill + AFTER_A_KILL for kill in kills)

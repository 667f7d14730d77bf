"""Unchanged settings over the soak's history give the notifications of the audit log.

Exactly: for each job the same notifications to the same people, decided in the same
second.  Only where a run was killed after it had stored its decision, and before it
could write anything else, the next run of its job may be the one that says it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from lib.alerting.replay import OnRecord, Replay
from lib.config.policies import Policies
from lib.core.replay import Notification, Pair, compared
from lib.core.settings import Settings

#: So long after a kill its job may be counted otherwise: until a target is failing, or
#: OK again, for as many runs as its policy asks for.
AFTER_A_KILL = timedelta(minutes=4)


def replayed(settings: Settings, until: datetime) -> list[Pair]:
    """Return what was sent beside what the same settings would send, of all jobs."""
    on_record = OnRecord(settings, until)
    names = {key: on_record.name_of(key) for key in on_record.keys()}
    judge = Replay(settings, Policies(settings, settings).terms)
    return [
        pair
        for past in on_record.pasts(names)
        for pair in compared(past.sent, judge.told(past))
    ]


def differences(pairs: Iterable[Pair], killed: Iterable[datetime]) -> list[str]:
    """Return what a replay of unchanged settings has otherwise, but for kills."""
    kills = [moment.astimezone(UTC) for moment in killed]
    return [
        f"replayed otherwise: {pair.either.name}: {_words(pair.sent)}, replayed "
        f"{_words(pair.would_be)}"
        for pair in pairs
        if not pair.is_same and not _is_of_a_kill(pair, kills)
    ]


def _words(one: Notification | None) -> str:
    return "nothing" if one is None else f"{one.what} of {one.at} to {one.to}"


def _is_of_a_kill(pair: Pair, kills: Iterable[datetime]) -> bool:
    at = pair.either.at
    return any(kill <= at <= kill + AFTER_A_KILL for kill in kills)

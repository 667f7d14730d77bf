"""Unchanged settings over the history that there is, beside what the audit log has."""

from __future__ import annotations

from datetime import datetime

from lib.alerting.onrecord import OnRecord
from lib.alerting.replay import Replay
from lib.config.policies import Policies
from lib.core.replay import Notification, Pair, compared
from lib.core.settings import Settings


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


def words(pair: Pair) -> str:
    """Return a pair in a line, for people."""
    sent, would_be = map(_words, pair)
    return f"{pair.either.name}: {sent}, replayed {would_be}"


def _words(one: Notification | None) -> str:
    return "nothing" if one is None else f"{one.what} of {one.at} to {one.to}"

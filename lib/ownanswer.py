"""Our own answer to peers, from what is kept of the last run.  Pure.

The endpoint and the file both give it, so that they say the same in the same bytes.
"""

from __future__ import annotations

from datetime import datetime

from lib import answer, health
from lib.model import RunFacts, Settings


def content(
    settings: Settings,
    run: RunFacts,
    now: datetime,
    *,
    nonce: str = "",
    signed: bool = True,
) -> bytes:
    """Return the answer as it goes over the line.

    ``nonce`` is what it was asked with.  ``signed`` False is for those who share no
    key: what is bad then has nothing in it but the word, times and digits.
    """
    how = health.judged(health.evidence(run), settings, now)
    age = int((now - how.proved_at).total_seconds()) if how.proved_at else None
    said = answer.Answer(how.word, now, run.ended_at, age, nonce, settings.servername)
    return answer.composed(said, keys_of(settings) if signed else ())


def keys_of(settings: Settings) -> list[str]:
    """Return the keys that we share with peers, each once."""
    keys = (peer.key for peer in settings.peers.peers)
    return list(dict.fromkeys(key for key in keys if key))

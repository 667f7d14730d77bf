"""[status] write: our answer to peers as a file, which any web server may carry.

Our own answer to peers, from what is kept of the last run.  Pure.

The endpoint and the file both give it, so that they say the same in the same bytes.
"""

from __future__ import annotations

import logging
from datetime import datetime
from pathlib import Path

from lib.core import health
from lib.core.records import RunRecord
from lib.core.settings import Settings
from lib.peers import answer
from lib.system.errors import StateError
from lib.system.files import replace_softly

logger = logging.getLogger(__name__)


def write(settings: Settings, run: RunRecord, now: datetime) -> None:
    """Replace the file whole; where that fails, one line in the log says so.

    It is signed with the key of each peer, and readable by everybody: a web server is
    somebody else.
    """
    path = settings.status.write
    content = own_answer(settings, run, now)
    try:
        # Not synced: after a power cut the next run writes another.
        replace_softly(Path(path), content, mode=0o644)
    except StateError as error:
        logger.error(
            "[status] write: %s cannot be written: %s; peers that read it will miss us",
            path,
            getattr(error.__cause__, "strerror", error),
        )


def own_answer(
    settings: Settings,
    run: RunRecord,
    now: datetime,
    *,
    nonce: str = "",
    signed: bool = True,
) -> bytes:
    """Return the answer as it goes over the line.

    ``nonce`` is what it was asked with.  ``signed`` False is for those who share no
    key: what is bad then has nothing in it but the word, times and digits.
    """
    how = health.assess(health.inputs_of(run), settings, now)
    age = int((now - how.proved_at).total_seconds()) if how.proved_at else None
    said = answer.Answer(how.word, now, run.ended_at, age, nonce, settings.servername)
    return answer.composed(said, keys_of(settings) if signed else ())


def keys_of(settings: Settings) -> list[str]:
    """Return the keys that we share with peers, each once."""
    keys = (peer.key for peer in settings.peers.peers)
    return list(dict.fromkeys(key for key in keys if key))

"""Our own answer to peers, made from the record of the last run.

The endpoint of ``-m daemon`` and the file of ``[status] write`` both serve it.
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
    """Replace the file of ``[status] write``; log an error if that fails.

    The answer is signed with the key of each peer.  Everybody may read the file, since
    the web server runs as another user.
    """
    path = settings.status.write
    content = own_answer(settings, run, now)
    try:
        # Not synced: after a power cut the next run writes it again.
        replace_softly(Path(path), content, mode=0o644)
    except StateError as error:
        logger.error(
            "[status] write: cannot write %s: %s; peers that read it will report us "
            "as failing",
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
    """Return the answer as bytes.

    ``nonce`` is the one of the request.  With ``signed`` False, for requests without a
    key, the answer has no server name and no signature.
    """
    state = health.assess(health.inputs_of(run), settings, now)
    age = int((now - state.proved_at).total_seconds()) if state.proved_at else None
    own = answer.Answer(
        state.word,
        now,
        run.ended_at,
        age,
        nonce,
        settings.servername,
        state.stuck,
        state.stuck_since,
    )
    return answer.composed(own, keys_of(settings) if signed else ())


def keys_of(settings: Settings) -> list[str]:
    """Return the keys that we share with peers, without duplicates."""
    keys = (peer.key.reveal() for peer in settings.peers.peers)
    return list(dict.fromkeys(key for key in keys if key))

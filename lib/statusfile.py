"""[status] write: our answer to peers as a file, which any web server may carry."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from datetime import datetime

from lib import answer, health
from lib.model import Record, RunFacts, Settings

logger = logging.getLogger(__name__)


def write(
    settings: Settings, run: RunFacts, records: Iterable[Record], now: datetime
) -> None:
    """Replace the file whole; where that fails, one line in the log says so.

    It is signed with the key of each peer, and readable by everybody: a web server is
    somebody else.
    """
    path = settings.status.write
    how = health.judged(health.evidence(run, records), settings.mail, now)
    age = int((now - how.proved_at).total_seconds()) if how.proved_at else None
    said = answer.Answer(how.word, now, run.ended_at, age, server=settings.servername)
    content = answer.composed(said, [peer.key for peer in settings.peers.peers])
    temporary = f"{path}.{os.urandom(4).hex()}.tmp"
    try:
        _write(temporary, path, content)
    except OSError as error:
        logger.error(
            "[status] write: %s cannot be written: %s; peers that read it will miss us",
            path,
            error.strerror,
        )


def _write(temporary: str, path: str, content: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o644)
    try:
        try:
            os.fchmod(descriptor, 0o644)
            os.write(descriptor, content)
        finally:
            os.close(descriptor)
        # Not synced: after a power cut the next run writes another.
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise

"""[status] write: our answer to peers as a file, which any web server may carry."""

from __future__ import annotations

import logging
import os
from datetime import datetime

from lib import ownanswer
from lib.model import RunFacts, Settings

logger = logging.getLogger(__name__)


def write(settings: Settings, run: RunFacts, now: datetime) -> None:
    """Replace the file whole; where that fails, one line in the log says so.

    It is signed with the key of each peer, and readable by everybody: a web server is
    somebody else.
    """
    path = settings.status.write
    content = ownanswer.content(settings, run, now)
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

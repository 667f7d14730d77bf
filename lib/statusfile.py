"""[status] write: our answer to peers as a file, which any web server may carry."""

from __future__ import annotations

import logging
from datetime import datetime
from pathlib import Path

from lib import ownanswer
from lib.disk import replace_softly
from lib.model import RunFacts, Settings
from lib.remedy import StateError

logger = logging.getLogger(__name__)


def write(settings: Settings, run: RunFacts, now: datetime) -> None:
    """Replace the file whole; where that fails, one line in the log says so.

    It is signed with the key of each peer, and readable by everybody: a web server is
    somebody else.
    """
    path = settings.status.write
    content = ownanswer.content(settings, run, now)
    try:
        # Not synced: after a power cut the next run writes another.
        replace_softly(Path(path), content, mode=0o644)
    except StateError as error:
        logger.error(
            "[status] write: %s cannot be written: %s; peers that read it will miss us",
            path,
            getattr(error.__cause__, "strerror", error),
        )

"""Asks the outside service of ``[general] ping`` at the end of each run.

If this machine dies, nothing here can say so: an outside service, such as Healthchecks,
notices that it was not asked.  If our word for peers is not True, ``/fail`` is added to
the path of the URL, as that service has it.
"""

from __future__ import annotations

import logging
import time
from datetime import datetime
from urllib.parse import urlsplit

from lib.core import health
from lib.core.enums import Health
from lib.core.records import RunRecord
from lib.core.secret import Secret
from lib.core.settings import Settings
from lib.net.address import place_of
from lib.system import process
from lib.system.process import Emit

logger = logging.getLogger(__name__)

#: The most seconds that the service may take to answer.
ANSWER_S = 5.0
#: Also a run that used all its time asks.
LEAST_S = 1.0


def send(settings: Settings, run: RunRecord, now: datetime, ends_at: float) -> None:
    """Ask the URL, in a child process; log why it was not answered, if it was not.

    ``ends_at`` is when this run has to end, by the monotonic clock.
    """
    word = health.assess(health.inputs_of(run), settings, now).word
    url = settings.ping if word == Health.OK else failing_url(settings.ping)
    limit_s = min(ANSWER_S, max(LEAST_S, ends_at - time.monotonic()))
    if why := _why_not_asked(url, limit_s):
        logger.warning("[general] ping: %s", why)


def failing_url(url: Secret) -> Secret:
    """Return the URL that says that we are not well; a query stays as it is."""
    parts = urlsplit(url.reveal())
    path = f"{parts.path.rstrip('/')}/fail"
    return Secret(parts._replace(path=path, fragment="").geturl())


def _why_not_asked(url: Secret, limit_s: float) -> str:
    """Return why the service did not answer with a status of 2xx; empty if it did."""
    place = place_of(url.reveal())

    def ask(emit: Emit) -> None:
        from lib.net import http
        from lib.net.connect import MARGIN_S, Deadline, NotTried, Unreachable

        deadline = Deadline(limit_s, margin_s=MARGIN_S)
        try:
            with http.ask("get", url.reveal(), deadline) as response:
                status = f"{place}: status {response.status} {response.phrase}".strip()
                emit("" if response.status // 100 == 2 else status)
        except (Unreachable, NotTried) as error:
            emit(str(error))

    try:
        child = process.start(ask)
    except OSError as error:
        return f"{place} was not asked: {error}"
    until = time.monotonic() + limit_s
    try:
        while child.status is None and (left_s := until - time.monotonic()) > 0:
            process.wait([child], left_s)
            child.has_ended()
            for why in child.frames():
                return str(why)
        status = child.status
    finally:
        child.end()
    if status is not None:
        return f"{place} was not asked: {process.how_it_ended(status)}"
    return f"{place}: no answer within {limit_s:.3g} s"
